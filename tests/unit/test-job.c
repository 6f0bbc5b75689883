/* SPDX-License-Identifier: MIT */
/* tests/unit/test-job.c - jobs on disks that take their time, while a guest writes.
 *
 * Each kind of job runs many times, with random writes of a guest's between all of its steps. What
 * the guest reads is always what it wrote last; what the job promises of its target holds in the
 * end; and neither changes when an I/O fails, the job is cancelled anywhere, or power goes.
 *
 *   KEEL_JOB_ROUNDS=N  how often each is tried
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "block/bitmap.h"
#include "block/jobs.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "tests/unit/lag-node.h"

enum { DISK = 1 << 20, GUEST_OPS = 6, LAYERS = 4 };

struct guest_op {
    struct node_req r;
    struct iovec iov;
    struct rig *g;
    bool busy;
    uint8_t bytes[16 << 10];
};

struct rig {
    struct ev_loop *loop;
    struct node_ctx *ctx;
    struct jobs *jobs;
    struct node_root disk; /* the guest's */
    uint8_t *model;        /* what it reads as */
    struct guest_op op[GUEST_OPS];
    unsigned acts; /* how often the guest may still act: a job has to catch up some day */
    char events[1024];
    int errors, guest_errors;
};

static unsigned rounds(unsigned usual)
{
    const char *n = getenv("KEEL_JOB_ROUNDS");

    return n ? (unsigned)atoi(n) : usual;
}

static void see(void *opaque, struct job *j, enum job_event what)
{
    struct rig *g = opaque;
    static const char *const names[] = { NULL, "READY", "PENDING", "COMPLETED", "CANCELLED" };
    const char *s = what == JOB_EV_STATUS ? job_status_name(j->status) : names[what];
    size_t n = strlen(g->events);

    if (what == JOB_EV_COMPLETED && j->ret < 0) {
        s = "FAILED";
    }
    snprintf(g->events + n, sizeof(g->events) - n, "%s ", s);
}

static void see_error(void *opaque, struct job *j, const struct job_error *error)
{
    (void)j;
    (void)error;
    ((struct rig *)opaque)->errors++;
}

static void rig_make(struct rig *g)
{
    *g = (struct rig){ .loop = ev_loop_new(NULL, NULL, NULL), .acts = 300 };
    struct jobs_watch w = { see, see_error, g };

    g->ctx = node_ctx_new(g->loop);
    g->jobs = jobs_new(g->ctx);
    jobs_set_watch(g->jobs, &w);
    g->model = xcalloc(1, DISK);
}

static void rig_free(struct rig *g)
{
    node_ctx_drain(g->ctx);
    jobs_free(g->jobs);
    node_root_del(&g->disk);
    node_ctx_free(g->ctx);
    ev_loop_free(g->loop);
    free(g->model);
}

/* ---- the guest ---- */

static void guest_done(struct node_req *r, int ret)
{
    struct guest_op *op = container_of(r, struct guest_op, r);

    op->busy = false;
    if (ret < 0) {
        op->g->guest_errors++;
    } else if (r->op == NODE_READ) {
        assert_memory_equal(op->bytes, op->g->model + r->offset, r->len);
    }
}

static bool overlaps(const struct rig *g, uint64_t offset, uint64_t len)
{
    for (unsigned i = 0; i < GUEST_OPS; i++) {
        const struct node_req *r = &g->op[i].r;
        if (g->op[i].busy && r->offset < offset + len && offset < r->offset + r->len) {
            return true;
        }
    }
    return false;
}

static void guest_act(struct rig *g)
{
    struct guest_op *op = &g->op[lag_rnd(GUEST_OPS)];
    uint64_t len = (1 + lag_rnd(32)) * 512, offset = lag_rnd((DISK - len) / 512 + 1) * 512;
    uint64_t what = lag_rnd(10);

    if (op->busy || overlaps(g, offset, len)) {
        return;
    }
    op->g = g;
    op->busy = true;
    op->iov = (struct iovec){ op->bytes, len };
    op->r = (struct node_req){ .op = what < 6   ? NODE_WRITE
                                     : what < 7 ? NODE_ZERO
                                     : what < 8 ? NODE_FLUSH
                                                : NODE_READ,
                               .offset = offset,
                               .len = len,
                               .iov = &op->iov,
                               .iovcnt = 1,
                               .done = guest_done };
    if (op->r.op == NODE_WRITE) {
        memset(op->bytes, 1 + (int)lag_rnd(250), len);
        memcpy(g->model + offset, op->bytes, len);
    } else if (op->r.op == NODE_ZERO) {
        memset(g->model + offset, 0, len);
    } else if (op->r.op == NODE_FLUSH) {
        op->r.offset = op->r.len = 0;
    }
    node_submit(g->disk.node, &op->r);
}

static void step(struct rig *g, bool writes)
{
    if (writes && g->acts && lag_rnd(4) == 0) {
        g->acts--;
        guest_act(g);
    }
    ev_loop_turn(g->loop, 0);
}

static void expect_disk(struct node *n, const uint8_t *want)
{
    uint8_t *got = xcalloc(1, DISK);

    assert_int_equal(node_read(n, 0, got, DISK), 0);
    for (unsigned i = 0; i < DISK; i += 512) {
        if (memcmp(got + i, want + i, 512) != 0) {
            fail_msg("sector %u of %s: %02x for %02x", i / 512, n->ops->name, got[i], want[i]);
        }
    }
    free(got);
}

static void expect_guest(struct rig *g)
{
    node_ctx_drain(g->ctx);
    expect_disk(g->disk.node, g->model);
}

static void fill_disk(struct rig *g)
{
    for (unsigned i = 0; i < 20; i++) {
        uint64_t len = (1 + lag_rnd(100)) * 512, at = lag_rnd((DISK - len) / 512) * 512;
        memset(g->model + at, 1 + (int)lag_rnd(250), len);
    }
}

/* ---- disks ---- */

static struct node *qcow2_on(struct node_ctx *c, struct node *file, struct node *backing,
                             const char *backing_name)
{
    struct qcow2_create create = { .size = DISK,
                                   .version = 3,
                                   .cluster_bits = 12,
                                   .refcount_bits = 16,
                                   .backing_file = backing_name,
                                   .backing_format = backing_name ? "qcow2" : NULL };
    struct qcow2_open o = { .pass_discard = true };
    struct err e = { 0 };
    struct node *n;

    (void)c;
    if (qcow2_create(file, &create, &e) < 0 || !(n = qcow2_open(file, &o, &e))) {
        fail_msg("%s", e.msg);
        return NULL;
    }
    n->backing = backing;
    return n;
}

struct chain {
    struct lag_node *file[LAYERS];
    struct node *node[LAYERS]; /* 0 is the base */
    unsigned n;
};

/* Layers with random contents each; the disk stands on the last. */
static void make_chain(struct rig *g, struct chain *ch, unsigned n)
{
    static const char *const names[LAYERS] = { NULL, "l0", "l1", "l2" };

    ch->n = n;
    for (unsigned i = 0; i < n; i++) {
        ch->file[i] = lag_node_new(g->ctx, NULL, 0);
        ch->node[i] =
            qcow2_on(g->ctx, &ch->file[i]->ram.base, i ? ch->node[i - 1] : NULL, names[i]);
        for (unsigned k = 0; k < 12; k++) {
            uint64_t len = (1 + lag_rnd(60)) * 512, at = lag_rnd((DISK - len) / 512) * 512;
            memset(g->model + at, 1 + (int)lag_rnd(250), len);
            assert_int_equal(node_write(ch->node[i], at, g->model + at, len), 0);
        }
        assert_int_equal(node_flush(ch->node[i]), 0);
        if (i + 1 < n) {
            struct err e;
            assert_int_equal(node_reopen(ch->node[i], true, &e), 0);
        }
        free(ch->node[i]->filename);
        ch->node[i]->filename = xasprintf("l%u", i);
    }
    node_root_add(&g->disk, ch->node[n - 1]);
}

static void until(struct rig *g, enum job_status s, bool writes)
{
    for (unsigned i = 0; i < 1000000; i++) {
        struct job *j = jobs_first(g->jobs);
        if (!j || j->status == s) {
            return;
        }
        step(g, writes);
    }
    struct job *j = jobs_first(g->jobs);
    fail_msg("stuck: %s %s in flight %u dirty %lu", j->ops->type, g->events, j->copy.in_flight,
             j->copy.todo->dirty);
}

static struct job *start_or_fail(struct job *j, const struct err *e)
{
    if (!j) {
        fail_msg("%s", e->msg);
    }
    return j;
}

/* ---- mirror ---- */

static struct job *mirror(struct rig *g, struct node *target, bool blocking)
{
    struct job_mirror o = { .common = { .id = "j", .chunk = 64 << 10 },
                            .write_blocking = blocking };
    struct err e = { 0 };

    return start_or_fail(job_mirror_start(g->jobs, g->disk.node, target, &o, &e), &e);
}

static void raw_disk(struct rig *g, struct lag_node **source, struct lag_node **target)
{
    fill_disk(g);
    *source = lag_node_new(g->ctx, g->model, DISK);
    *target = lag_node_new(g->ctx, NULL, DISK);
    node_root_add(&g->disk, &(*source)->ram.base);
}

static void test_job_mirror_catches_up_and_takes_over(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(30); i++) {
        struct rig g;
        struct lag_node *source, *target;
        struct err e;

        rig_make(&g);
        raw_disk(&g, &source, &target);
        struct node *t = node_share(&target->ram.base);
        struct job *j = mirror(&g, t, i % 2);
        node_close(t);
        until(&g, JOB_READY, true);
        for (uint64_t k = lag_rnd(100); k; k--) {
            step(&g, true);
        }
        while (j->status != JOB_READY) {
            step(&g, true);
        }
        assert_int_equal(job_complete(j, &e), 0);
        until(&g, JOB_NULL, i % 4 > 1);
        assert_null(jobs_first(g.jobs));
        assert_string_equal(g.events, "created running ready READY waiting pending COMPLETED "
                                      "concluded null ");
        expect_guest(&g);
        assert_ptr_equal(g.disk.node, t);
        assert_int_equal(g.guest_errors, 0);
        node_close(t);
        rig_free(&g);
    }
}

static void test_job_mirror_that_is_cancelled_leaves_a_copy(void **state)
{
    struct rig g;
    struct lag_node *source, *target;
    struct err e;

    (void)state;
    rig_make(&g);
    raw_disk(&g, &source, &target);
    struct job *j = mirror(&g, &target->ram.base, false);
    until(&g, JOB_READY, true);
    assert_int_equal(job_cancel(j, false, &e), 0);
    until(&g, JOB_NULL, false);
    assert_non_null(strstr(g.events, "COMPLETED"));
    expect_guest(&g);
    expect_disk(&target->ram.base, g.model);
    assert_ptr_equal(g.disk.node, &source->ram.base);
    node_close(&target->ram.base);
    rig_free(&g);
}

/* ---- backup ---- */

static void test_job_backup_keeps_the_moment_it_began(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(30); i++) {
        struct rig g;
        struct lag_node *source, *target;
        struct job_backup o = { .common = { .id = "j", .chunk = 64 << 10 } };
        struct err e = { 0 };
        uint8_t *then = xcalloc(1, DISK);

        rig_make(&g);
        raw_disk(&g, &source, &target);
        for (unsigned k = 0; k < 50; k++) {
            step(&g, true);
        }
        node_ctx_drain(g.ctx);
        memcpy(then, g.model, DISK);
        start_or_fail(job_backup_start(g.jobs, g.disk.node, &target->ram.base, &o, &e), &e);
        until(&g, JOB_NULL, true);
        assert_string_equal(g.events, "created running waiting pending COMPLETED concluded null ");
        expect_guest(&g);
        expect_disk(&target->ram.base, then);
        node_close(&target->ram.base);
        rig_free(&g);
        free(then);
    }
}

static struct job *incremental(struct rig *g, struct node *target, struct bitmap *b)
{
    struct job_backup o = { .common = { .id = "j", .chunk = 64 << 10 },
                            .sync = SYNC_INCREMENTAL,
                            .bitmap = b };
    struct err e = { 0 };

    return start_or_fail(job_backup_start(g->jobs, g->disk.node, target, &o, &e), &e);
}

static void test_job_backup_by_bitmap_copies_what_changed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(20); i++) {
        struct rig g;
        struct lag_node *source, *target;
        struct err e;
        uint8_t *then = xcalloc(1, DISK);

        rig_make(&g);
        raw_disk(&g, &source, &target);
        memcpy(target->ram.data, g.model, DISK); /* the backup before */
        struct bitmap *b = bitmap_new(g.disk.node, "b", 0, &e);
        assert_non_null(b);
        for (unsigned pass = 0; pass < 3; pass++) {
            for (unsigned k = 0; k < 40; k++) {
                step(&g, true);
            }
            node_ctx_drain(g.ctx);
            memcpy(then, g.model, DISK);
            /* The second one is cancelled half way: nothing of what changed is forgotten. */
            struct job *j = incremental(&g, &target->ram.base, b);
            for (uint64_t k = lag_rnd(20); pass == 1 && k; k--) {
                step(&g, true);
            }
            if (pass == 1 && jobs_first(g.jobs)) {
                assert_int_equal(job_cancel(j, false, &e), 0);
            }
            until(&g, JOB_NULL, true);
            if (pass != 1) {
                expect_disk(&target->ram.base, then);
            }
        }
        assert_null(bitmap_find(&source->ram.base, "#backup"));
        expect_guest(&g);
        node_close(&target->ram.base);
        rig_free(&g);
        free(then);
    }
}

static void test_job_backup_whose_target_fails_spares_the_guest(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 12; i++) {
        struct rig g;
        struct lag_node *source, *target;
        struct job_backup o = { .common = { .id = "j", .chunk = 64 << 10 },
                                .sync = i == 2 ? SYNC_FULL : SYNC_NONE };
        struct err e = { 0 };

        rig_make(&g);
        raw_disk(&g, &source, &target);
        target->fail_at = i;
        target->fail_with = -EIO;
        target->fail_on = true;
        start_or_fail(job_backup_start(g.jobs, g.disk.node, &target->ram.base, &o, &e), &e);
        until(&g, JOB_NULL, true);
        assert_non_null(strstr(g.events, "FAILED"));
        assert_true(g.errors > 0 || i > 1); /* a flush at the end is no piece */
        for (unsigned k = 0; k < 50; k++) {
            step(&g, true);
        }
        expect_guest(&g);
        assert_int_equal(g.guest_errors, 0);
        node_close(&target->ram.base);
        rig_free(&g);
    }
}

/* ---- commit and stream ---- */

enum kind { COMMIT_ACTIVE, COMMIT_MIDDLE, STREAM_ALL, STREAM_PART, KINDS };

static struct job *shorten(struct rig *g, struct chain *ch, enum kind k,
                           const struct job_options *o, struct err *e)
{
    struct job_commit c = { .common = *o };
    struct job_stream s = { .common = *o };

    switch (k) {
    case COMMIT_ACTIVE:
        return job_commit_start(g->jobs, ch->node[3], ch->node[1], &c, e);
    case COMMIT_MIDDLE:
        return job_commit_start(g->jobs, ch->node[2], ch->node[0], &c, e);
    case STREAM_ALL:
        return job_stream_start(g->jobs, ch->node[3], NULL, &s, e);
    default:
        return job_stream_start(g->jobs, ch->node[3], ch->node[0], &s, e);
    }
}

static void finish(struct rig *g, bool writes)
{
    struct job *j = jobs_first(g->jobs);
    struct err e;

    until(g, JOB_READY, writes);
    j = jobs_first(g->jobs);
    if (j) {
        assert_int_equal(job_complete(j, &e), 0);
    }
    until(g, JOB_NULL, writes);
}

static void expect_shape(const struct rig *g, enum kind k)
{
    static const unsigned below[KINDS] = { 1, 1, 0, 1 };
    unsigned n = 0;

    for (struct node *b = g->disk.node->backing; b; b = b->backing) {
        n++;
    }
    assert_false(g->disk.node->ops->filter);
    assert_int_equal(n, below[k]);
    if (k != COMMIT_ACTIVE) {
        struct qcow2_info info;
        qcow2_info(g->disk.node, &info);
        if (k == STREAM_ALL) {
            assert_null(info.backing_file);
        } else {
            assert_string_equal(info.backing_file, "l0");
        }
    }
}

static void test_job_commit_and_stream_keep_what_the_guest_reads(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(40); i++) {
        struct rig g;
        struct chain ch;
        struct job_options o = { .id = "j", .chunk = 64 << 10 };
        struct err e = { 0 };

        rig_make(&g);
        make_chain(&g, &ch, LAYERS);
        start_or_fail(shorten(&g, &ch, i % KINDS, &o, &e), &e);
        finish(&g, true);
        assert_non_null(strstr(g.events, "COMPLETED"));
        expect_guest(&g);
        expect_shape(&g, i % KINDS);
        rig_free(&g);
    }
}

static void test_job_cancelled_anywhere_changes_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(80); i++) {
        struct rig g;
        struct chain ch;
        struct job_options o = { .id = "j", .chunk = 64 << 10 };
        struct err e = { 0 };
        struct job *j;

        rig_make(&g);
        make_chain(&g, &ch, LAYERS);
        j = start_or_fail(shorten(&g, &ch, i % KINDS, &o, &e), &e);
        for (unsigned k = i / KINDS * 3; k && jobs_first(g.jobs); k--) {
            step(&g, true);
        }
        if (jobs_first(g.jobs)) {
            assert_int_equal(job_cancel(j, true, &e), 0);
            until(&g, JOB_NULL, true);
            assert_non_null(strstr(g.events, "CANCELLED"));
            assert_ptr_equal(g.disk.node, ch.node[3]);
        }
        expect_guest(&g);
        rig_free(&g);
    }
}

static void test_job_io_that_fails_once_ends_or_pauses_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(80); i++) {
        struct rig g;
        struct chain ch;
        bool stop = i & 4;
        struct job_options o = { .id = "j",
                                 .chunk = 64 << 10,
                                 .on_source_error = stop ? JOB_STOP : JOB_REPORT,
                                 .on_target_error = stop ? JOB_STOP : JOB_REPORT };
        struct err e = { 0 };
        enum kind kind = i % KINDS;

        rig_make(&g);
        make_chain(&g, &ch, LAYERS);
        struct lag_node *victim = ch.file[lag_rnd(LAYERS)];
        node_share(&victim->ram.base); /* the job may let go of its layer */
        victim->fail_at = victim->ios + 1 + i / 3;
        victim->fail_with = -EIO;
        struct job *j = shorten(&g, &ch, kind, &o, &e);
        for (unsigned k = 0; j && jobs_first(g.jobs) && k < 100000; k++) {
            step(&g, false);
            if (jobs_first(g.jobs) && job_paused(j)) {
                assert_true(stop);
                assert_int_equal(job_resume(j, &e), 0);
            } else if (jobs_first(g.jobs) && j->status == JOB_READY) {
                assert_int_equal(job_complete(j, &e), 0);
            }
        }
        assert_null(jobs_first(g.jobs));
        victim->fail_at = 0;
        node_close(&victim->ram.base);
        expect_guest(&g);
        if (g.disk.node == ch.node[3] && kind == COMMIT_ACTIVE) {
            assert_true(strstr(g.events, "FAILED") || !j);
        }
        rig_free(&g);
    }
}

/* ---- the loss of power ---- */

/* What the image says it stands on, as far as the files of the chain tell. */
static struct node *reopen(struct chain *ch, struct node_ctx *c, unsigned i)
{
    struct qcow2_open o = { .check = false };
    struct err e = { 0 };
    struct qcow2_info info;
    struct node *n = qcow2_open(lag_crash(ch->file[i], c), &o, &e);
    struct qcow2_check check = { 0 };

    if (!n) {
        fail_msg("layer %u: %s", i, e.msg);
    }
    assert_int_equal(qcow2_check(n, QCOW2_CHECK_ONLY, &check), 0);
    assert_int_equal(check.corruptions, 0);
    qcow2_info(n, &info);
    if (info.backing_file) {
        n->backing = reopen(ch, c, (unsigned)(info.backing_file[1] - '0'));
    }
    return n;
}

static struct rig *cut_rig;
static struct chain *cut_chain;
static unsigned cut_top; /* the layer the machine would be started with */

static void cut_power(void)
{
    if (lag_rnd(6) == 0) {
        struct node_ctx *c = node_ctx_new(NULL);
        struct node *n = reopen(cut_chain, c, cut_top);
        expect_disk(n, cut_rig->model);
        node_close(n);
        node_ctx_free(c);
    }
}

static void test_job_power_lost_at_any_step_loses_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rounds(12); i++) {
        struct rig g;
        struct chain ch;
        struct job_options o = { .id = "j", .chunk = 64 << 10 };
        struct err e = { 0 };

        rig_make(&g);
        make_chain(&g, &ch, LAYERS);
        for (unsigned k = 0; k < LAYERS; k++) {
            lag_keep_log(ch.file[k]);
        }
        cut_rig = &g;
        cut_chain = &ch;
        cut_top = 3;
        lag_hook = cut_power;
        start_or_fail(shorten(&g, &ch, i % KINDS, &o, &e), &e);
        finish(&g, false);
        /* The user may name the image that a commit went into from now on. */
        cut_top = i % KINDS == COMMIT_ACTIVE ? 1 : 3;
        expect_guest(&g);
        lag_hook = NULL;
        rig_free(&g);
    }
}

/* ---- what the user may do ---- */

static void test_job_pause_resume_and_speed(void **state)
{
    struct rig g;
    struct lag_node *source, *target;
    struct err e = { 0 };

    (void)state;
    rig_make(&g);
    raw_disk(&g, &source, &target);
    struct job_backup o = { .common = { .id = "j",
                                        .chunk = 64 << 10,
                                        .speed = 1 << 20,
                                        .no_dismiss = true,
                                        .no_finalize = true } };
    struct job *j =
        start_or_fail(job_backup_start(g.jobs, g.disk.node, &target->ram.base, &o, &e), &e);
    int64_t began = ev_now_ns();
    assert_null(job_mirror_start(g.jobs, g.disk.node->file, &target->ram.base,
                                 &(struct job_mirror){ .common = { .id = "k" } }, &e));
    assert_non_null(strstr(e.msg, "in use by block job: backup"));
    assert_int_equal(job_pause(j, &e), 0);
    assert_int_equal(job_pause(j, &e), -EBUSY);
    until(&g, JOB_PAUSED, false);
    uint64_t done = j->done;
    for (unsigned i = 0; i < 100; i++) {
        step(&g, false);
    }
    assert_int_equal(job_cancel(j, false, &e), -EBUSY);
    assert_true(j->done == done && done < DISK);
    assert_int_equal(job_resume(j, &e), 0);
    while (j->status == JOB_RUNNING) {
        ev_loop_turn(g.loop, 50);
    }
    assert_true(ev_now_ns() - began > 500000000);
    assert_int_equal(j->status, JOB_PENDING);
    assert_int_equal(job_dismiss(j, &e), -EPERM);
    assert_int_equal(job_finalize(j, &e), 0);
    assert_int_equal(j->status, JOB_CONCLUDED);
    assert_int_equal(job_cancel(j, true, &e), -EPERM);
    assert_int_equal(job_dismiss(j, &e), 0);
    expect_guest(&g);
    node_close(&target->ram.base);
    rig_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_mirror_catches_up_and_takes_over),
        cmocka_unit_test(test_job_mirror_that_is_cancelled_leaves_a_copy),
        cmocka_unit_test(test_job_backup_keeps_the_moment_it_began),
        cmocka_unit_test(test_job_backup_by_bitmap_copies_what_changed),
        cmocka_unit_test(test_job_backup_whose_target_fails_spares_the_guest),
        cmocka_unit_test(test_job_commit_and_stream_keep_what_the_guest_reads),
        cmocka_unit_test(test_job_cancelled_anywhere_changes_nothing),
        cmocka_unit_test(test_job_io_that_fails_once_ends_or_pauses_it),
        cmocka_unit_test(test_job_power_lost_at_any_step_loses_nothing),
        cmocka_unit_test(test_job_pause_resume_and_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
