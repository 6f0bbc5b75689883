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

struct chain {
    struct lag_node *file[LAYERS];
    struct node *node[LAYERS]; /* 0 is the base */
};

struct rig {
    struct ev_loop *loop;
    struct node_ctx *ctx;
    struct jobs *jobs;
    struct node_root disk; /* the guest's: source, or the chain's last */
    struct lag_node *source, *target;
    struct chain chain;
    uint8_t *model; /* what it reads as */
    struct guest_op op[GUEST_OPS];
    unsigned acts; /* how often the guest may still act: a job has to catch up some day */
    char events[1024];
    bool target_stops; /* when the job has copied everything */
    int errors, guest_errors;
    unsigned guest_done;
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
    if (g->target_stops && what == JOB_EV_STATUS && j->status == JOB_WAITING) {
        lag_stand_still(g->target, true);
    }
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
    if (g->target) {
        node_close(&g->target->ram.base);
    }
    node_ctx_free(g->ctx);
    ev_loop_free(g->loop);
    free(g->model);
}

static void expect_guest(struct rig *g);

/* Does it as often as is usual, or asked for, each time anew; what the guest reads is right in the end. */
static void each_round(unsigned usual, void (*round)(struct rig *g, unsigned i))
{
    for (unsigned i = 0; i < rounds(usual); i++) {
        struct rig g;

        rig_make(&g);
        round(&g, i);
        expect_guest(&g);
        rig_free(&g);
    }
}

/* ---- the guest ---- */

static void guest_done(struct node_req *r, int ret)
{
    struct guest_op *op = container_of(r, struct guest_op, r);

    op->busy = false;
    op->g->guest_done++;
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
    node_root_submit(&g->disk, &op->r);
}

static void step(struct rig *g, bool writes)
{
    if (writes && g->acts && lag_rnd(4) == 0) {
        g->acts--;
        guest_act(g);
    }
    ev_loop_turn(g->loop, 0);
}

static void steps(struct rig *g, uint64_t n)
{
    for (; n; n--) {
        step(g, true);
    }
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

/* Changes up to `most` sectors of what the guest shall read; says where, and returns how many bytes. */
static uint64_t fill_some(struct rig *g, unsigned most, uint64_t *at)
{
    uint64_t len = (1 + lag_rnd(most)) * 512;

    *at = lag_rnd((DISK - len) / 512) * 512;
    memset(g->model + *at, 1 + (int)lag_rnd(250), len);
    return len;
}

/* ---- disks ---- */

static struct node *qcow2_on(struct node *file, struct node *backing, const char *backing_name)
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

    if (qcow2_create(file, &create, &e) < 0 || !(n = qcow2_open(file, &o, &e))) {
        fail_msg("%s", e.msg);
        return NULL;
    }
    n->backing = backing;
    return n;
}

/* Layers with random contents each; the disk stands on the last. */
static void make_chain(struct rig *g)
{
    static const char *const names[LAYERS] = { NULL, "l0", "l1", "l2" };
    struct chain *ch = &g->chain;
    struct err e;

    for (unsigned i = 0; i < LAYERS; i++) {
        ch->file[i] = lag_node_new(g->ctx, NULL, 0);
        ch->node[i] = qcow2_on(&ch->file[i]->ram.base, i ? ch->node[i - 1] : NULL, names[i]);
        for (unsigned k = 0; k < 12; k++) {
            uint64_t at, len = fill_some(g, 60, &at);
            assert_int_equal(node_write(ch->node[i], at, g->model + at, len), 0);
        }
        assert_int_equal(node_flush(ch->node[i]), 0);
        if (i + 1 < LAYERS) {
            assert_int_equal(node_reopen(ch->node[i], true, &e), 0);
        }
        free(ch->node[i]->filename);
        ch->node[i]->filename = xasprintf("l%u", i);
    }
    node_root_add(&g->disk, ch->node[LAYERS - 1]);
}

/* A raw disk with random contents, and an empty target. */
static void make_raw(struct rig *g)
{
    uint64_t at;

    for (unsigned i = 0; i < 20; i++) {
        fill_some(g, 100, &at);
    }
    g->source = lag_node_new(g->ctx, g->model, DISK);
    g->target = lag_node_new(g->ctx, NULL, DISK);
    node_root_add(&g->disk, &g->source->ram.base);
}

/* ---- jobs ---- */

static const struct job_options usual = { .id = "j", .chunk = 64 << 10 };

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

static struct job *mirror(struct rig *g, bool blocking)
{
    struct job_mirror o = { .common = usual, .write_blocking = blocking };
    struct err e = { 0 };

    return start_or_fail(job_mirror_start(g->jobs, g->disk.node, &g->target->ram.base, &o, &e), &e);
}

static void mirror_takes_over(struct rig *g, unsigned i)
{
    struct err e;

    make_raw(g);
    struct job *j = mirror(g, i % 2);
    until(g, JOB_READY, true);
    steps(g, lag_rnd(100));
    while (j->status != JOB_READY) {
        step(g, true);
    }
    assert_int_equal(job_complete(j, &e), 0);
    until(g, JOB_NULL, i % 4 > 1);
    assert_null(jobs_first(g->jobs));
    assert_string_equal(g->events, "created running ready READY waiting pending COMPLETED "
                                   "concluded null ");
    assert_ptr_equal(g->disk.node, &g->target->ram.base);
    node_ctx_drain(g->ctx);
    assert_int_equal(g->guest_errors, 0);
}

static void test_job_mirror_catches_up_and_takes_over(void **state)
{
    (void)state;
    each_round(30, mirror_takes_over);
}

static void test_job_mirror_that_is_cancelled_leaves_a_copy(void **state)
{
    struct rig g;
    struct err e;

    (void)state;
    rig_make(&g);
    make_raw(&g);
    struct job *j = mirror(&g, false);
    until(&g, JOB_READY, true);
    assert_int_equal(job_cancel(j, false, &e), 0);
    until(&g, JOB_NULL, false);
    assert_non_null(strstr(g.events, "COMPLETED"));
    expect_guest(&g);
    expect_disk(&g.target->ram.base, g.model);
    assert_ptr_equal(g.disk.node, &g.source->ram.base);
    rig_free(&g);
}

/* ---- backup ---- */

static struct job *backup(struct rig *g, const struct job_options *common, enum job_sync sync,
                          struct bitmap *b)
{
    struct job_backup o = { .common = *common, .sync = sync, .bitmap = b };
    struct err e = { 0 };

    return start_or_fail(job_backup_start(g->jobs, g->disk.node, &g->target->ram.base, &o, &e), &e);
}

/* What the guest reads after some more of its writes; free() it. */
static uint8_t *some_moment(struct rig *g, unsigned n)
{
    uint8_t *then = xcalloc(1, DISK);

    steps(g, n);
    node_ctx_drain(g->ctx);
    return memcpy(then, g->model, DISK);
}

static void backup_of_a_moment(struct rig *g, unsigned i)
{
    (void)i;
    make_raw(g);
    uint8_t *then = some_moment(g, 50);
    backup(g, &usual, SYNC_FULL, NULL);
    until(g, JOB_NULL, true);
    assert_string_equal(g->events, "created running waiting pending COMPLETED concluded null ");
    expect_guest(g);
    expect_disk(&g->target->ram.base, then);
    free(then);
}

static void test_job_backup_keeps_the_moment_it_began(void **state)
{
    (void)state;
    each_round(30, backup_of_a_moment);
}

static void backups_of_changes(struct rig *g, unsigned i)
{
    struct err e;

    (void)i;
    make_raw(g);
    memcpy(g->target->ram.data, g->model, DISK); /* the backup before */
    struct bitmap *b = bitmap_new(g->disk.node, "b", 0, &e);
    assert_non_null(b);
    for (unsigned pass = 0; pass < 3; pass++) {
        uint8_t *then = some_moment(g, 40);
        struct job *j = backup(g, &usual, SYNC_INCREMENTAL, b);
        if (pass == 1) { /* cancelled half way: nothing of what changed is forgotten */
            steps(g, lag_rnd(20));
        }
        if (pass == 1 && jobs_first(g->jobs)) {
            assert_int_equal(job_cancel(j, false, &e), 0);
        }
        until(g, JOB_NULL, true);
        if (pass != 1) {
            expect_disk(&g->target->ram.base, then);
        }
        free(then);
    }
    assert_null(bitmap_find(&g->source->ram.base, "#backup"));
}

static void test_job_backup_by_bitmap_copies_what_changed(void **state)
{
    (void)state;
    each_round(20, backups_of_changes);
}

static void test_job_backup_whose_target_fails_spares_the_guest(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 12; i++) {
        struct rig g;

        rig_make(&g);
        make_raw(&g);
        g.target->fail_at = i;
        g.target->fail_with = -EIO;
        g.target->fail_on = true;
        backup(&g, &usual, i == 2 ? SYNC_FULL : SYNC_NONE, NULL);
        until(&g, JOB_NULL, true);
        assert_non_null(strstr(g.events, "FAILED"));
        assert_true(g.errors > 0 || i > 1); /* a flush at the end is no piece */
        steps(&g, 50);
        expect_guest(&g);
        assert_int_equal(g.guest_errors, 0);
        rig_free(&g);
    }
}

/* ---- commit and stream ---- */

enum kind { COMMIT_ACTIVE, COMMIT_MIDDLE, STREAM_ALL, STREAM_PART, KINDS };

static struct job *shorten(struct rig *g, enum kind k, const struct job_options *o, struct err *e)
{
    struct job_commit c = { .common = *o };
    struct job_stream s = { .common = *o };
    struct node *const *layer = g->chain.node;

    switch (k) {
    case COMMIT_ACTIVE:
        return job_commit_start(g->jobs, layer[3], layer[1], &c, e);
    case COMMIT_MIDDLE:
        return job_commit_start(g->jobs, layer[2], layer[0], &c, e);
    case STREAM_ALL:
        return job_stream_start(g->jobs, layer[3], NULL, &s, e);
    default:
        return job_stream_start(g->jobs, layer[3], layer[0], &s, e);
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

static struct job *begin(struct rig *g, enum kind k)
{
    struct err e = { 0 };

    return start_or_fail(shorten(g, k, &usual, &e), &e);
}

static void shorten_to_the_end(struct rig *g, unsigned i)
{
    make_chain(g);
    begin(g, i % KINDS);
    finish(g, true);
    assert_non_null(strstr(g->events, "COMPLETED"));
    expect_guest(g);
    expect_shape(g, i % KINDS);
}

static void test_job_commit_and_stream_keep_what_the_guest_reads(void **state)
{
    (void)state;
    each_round(40, shorten_to_the_end);
}

static void cancel_after_some_steps(struct rig *g, unsigned i)
{
    struct err e;

    make_chain(g);
    struct job *j = begin(g, i % KINDS);
    for (unsigned k = i / KINDS * 3; k && jobs_first(g->jobs); k--) {
        step(g, true);
    }
    if (jobs_first(g->jobs)) {
        assert_int_equal(job_cancel(j, true, &e), 0);
        until(g, JOB_NULL, true);
        assert_non_null(strstr(g->events, "CANCELLED"));
        assert_ptr_equal(g->disk.node, g->chain.node[3]);
    }
}

static void test_job_cancelled_anywhere_changes_nothing(void **state)
{
    (void)state;
    each_round(80, cancel_after_some_steps);
}

/* Resumes and completes the job, which may not have begun, until it is over. */
static void see_through(struct rig *g, struct job *j, bool may_stop)
{
    struct err e;

    for (unsigned k = 0; j && jobs_first(g->jobs) && k < 100000; k++) {
        step(g, false);
        if (jobs_first(g->jobs) && job_paused(j)) {
            assert_true(may_stop);
            assert_int_equal(job_resume(j, &e), 0);
        } else if (jobs_first(g->jobs) && j->status == JOB_READY) {
            assert_int_equal(job_complete(j, &e), 0);
        }
    }
    assert_null(jobs_first(g->jobs));
}

static void fail_one_io(struct rig *g, unsigned i)
{
    bool stop = i & 4;
    struct job_options o = usual;
    struct err e = { 0 };
    enum kind kind = i % KINDS;

    o.on_source_error = o.on_target_error = stop ? JOB_STOP : JOB_REPORT;
    make_chain(g);
    struct lag_node *victim = g->chain.file[lag_rnd(LAYERS)];
    node_share(&victim->ram.base); /* the job may let go of its layer */
    victim->fail_at = victim->ios + 1 + i / 3;
    victim->fail_with = -EIO;
    struct job *j = shorten(g, kind, &o, &e);
    see_through(g, j, stop);
    victim->fail_at = 0;
    node_close(&victim->ram.base);
    if (g->disk.node == g->chain.node[3] && kind == COMMIT_ACTIVE) {
        assert_true(strstr(g->events, "FAILED") || !j);
    }
}

static void test_job_io_that_fails_once_ends_or_pauses_it(void **state)
{
    (void)state;
    each_round(80, fail_one_io);
}

/* ---- disks that do not answer ---- */

static void start_kind(struct rig *g, unsigned i)
{
    if (i < KINDS) {
        make_chain(g);
        begin(g, i);
    } else {
        make_raw(g);
        if (i == KINDS) {
            mirror(g, false);
        } else {
            backup(g, &usual, SYNC_FULL, NULL);
        }
    }
}

static void end_beside_another_disk(struct rig *g, unsigned i)
{
    struct lag_node *other = lag_node_new(g->ctx, NULL, DISK);
    struct guest_op op = { .g = g, .busy = true };
    struct node_root root = { 0 };

    node_root_add(&root, &other->ram.base);
    start_kind(g, i);
    lag_stand_still(other, true);
    op.r = (struct node_req){ .op = NODE_FLUSH, .done = guest_done };
    node_root_submit(&root, &op.r);
    finish(g, true);
    assert_non_null(strstr(g->events, "COMPLETED"));
    assert_true(op.busy);
    lag_stand_still(other, false);
    expect_guest(g);
    assert_false(op.busy);
    node_root_del(&root);
}

static void test_job_ends_while_another_disk_does_not_answer(void **state)
{
    (void)state;
    each_round(KINDS + 2, end_beside_another_disk);
}

/* The loop goes on, and what comes of the job depends on what the user says meanwhile. */
static void end_on_a_target_that_stops(struct rig *g, unsigned i)
{
    bool backs_up = i % 2, cancel = i & 2;
    struct err e;

    g->target_stops = true;
    start_kind(g, KINDS + backs_up);
    struct job *j = jobs_first(g->jobs);
    if (!backs_up) {
        until(g, JOB_READY, true);
        assert_int_equal(job_complete(j, &e), 0);
    }
    until(g, JOB_WAITING, true);
    g->acts = 300;
    unsigned done = g->guest_done;
    steps(g, 300);
    assert_int_equal(j->status, JOB_WAITING);
    assert_true(!backs_up || g->guest_done > done); /* a mirror's guest waits for its new disk */
    if (cancel) {
        assert_int_equal(job_cancel(j, true, &e), 0);
        steps(g, 100);
        assert_int_equal(j->status, JOB_ABORTING);
    }
    lag_stand_still(g->target, false);
    until(g, JOB_NULL, true);
    assert_non_null(strstr(g->events, cancel ? "CANCELLED" : "COMPLETED"));
    assert_ptr_equal(g->disk.node,
                     backs_up || cancel ? &g->source->ram.base : &g->target->ram.base);
    steps(g, 100);
    assert_int_equal(g->guest_errors, 0);
}

static void test_job_whose_target_does_not_answer_ends_when_it_does(void **state)
{
    (void)state;
    each_round(8, end_on_a_target_that_stops);
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
static unsigned cut_top; /* the layer the machine would be started with */

static void cut_power(void)
{
    if (lag_rnd(6) == 0) {
        struct node_ctx *c = node_ctx_new(NULL);
        struct node *n = reopen(&cut_rig->chain, c, cut_top);
        expect_disk(n, cut_rig->model);
        node_close(n);
        node_ctx_free(c);
    }
}

static void lose_power(struct rig *g, unsigned i)
{
    make_chain(g);
    for (unsigned k = 0; k < LAYERS; k++) {
        lag_keep_log(g->chain.file[k]);
    }
    cut_rig = g;
    cut_top = 3;
    lag_hook = cut_power;
    begin(g, i % KINDS);
    finish(g, false);
    /* The user may name the image that a commit went into from now on. */
    cut_top = i % KINDS == COMMIT_ACTIVE ? 1 : 3;
    expect_guest(g);
    lag_hook = NULL;
}

static void test_job_power_lost_at_any_step_loses_nothing(void **state)
{
    (void)state;
    each_round(12, lose_power);
}

/* ---- what the user may do ---- */

static void test_job_pause_resume_and_speed(void **state)
{
    struct rig g;
    struct job_options o = usual;
    struct err e = { 0 };

    (void)state;
    rig_make(&g);
    make_raw(&g);
    o.speed = 1 << 20;
    o.no_dismiss = o.no_finalize = true;
    struct job *j = backup(&g, &o, SYNC_FULL, NULL);
    int64_t began = ev_now_ns();
    assert_null(job_mirror_start(g.jobs, g.disk.node->file, &g.target->ram.base,
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
    until(&g, JOB_PENDING, false);
    assert_int_equal(job_dismiss(j, &e), -EPERM);
    assert_int_equal(job_finalize(j, &e), 0);
    assert_int_equal(j->status, JOB_CONCLUDED);
    assert_int_equal(job_cancel(j, true, &e), -EPERM);
    assert_int_equal(job_dismiss(j, &e), 0);
    expect_guest(&g);
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
        cmocka_unit_test(test_job_ends_while_another_disk_does_not_answer),
        cmocka_unit_test(test_job_whose_target_does_not_answer_ends_when_it_does),
        cmocka_unit_test(test_job_power_lost_at_any_step_loses_nothing),
        cmocka_unit_test(test_job_pause_resume_and_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
