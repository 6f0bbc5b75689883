/* SPDX-License-Identifier: MIT */
/* tests/unit/test-job-fault.c - each system call of each job fails once.
 *
 * A job runs beside a guest that writes, on files one call of which fails (fault-rig.h). Whatever fails:
 * nobody crashes; the guest gets an error for calls of its own disk alone; the job ends with an error
 * or, told to, stops and goes on when it is resumed; the disk reads as what the guest wrote; a target or a
 * chain of layers is what a finished job promises; every image is free of corruption; and the job that
 * failed, started again at once or after all was closed and opened, ends well.
 */
#include "tests/unit/fault-rig.h"

#include "block/bitmap.h"
#include "block/commit.h"
#include "block/jobs.h"
#include "block/qcow2.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"

enum { LAYERS = 4, TARGET = LAYERS, FILES, TOP = LAYERS - 1 };
/* More pieces than are copied at once. */
enum { DISK = 1280 << 10, STEP = 160 << 10, LEN = 8 << 10, TURNS = 100000 };

enum kind { MIRROR, BACKUP, COMMIT_TOP, COMMIT_MIDDLE, COMMIT_STILL, STREAM_ALL, STREAM_PART };

/* What the guest does meanwhile: a letter and a slot each. w write, z zero, d discard, f flush, r read. */
static const char acts[] = "w7 w0 w5 f w1 z2 r3 w3 f d4 w0 r1 w6 f";

struct plot {
    const char *name;
    enum kind kind;
    bool raw;      /* the disk and the target, or the lowest layer */
    bool blocking; /* a mirror: the guest's writes reach the target before they end */
    bool bitmap;   /* a backup: of what changed */
    bool compress; /* a backup: its target */
};

static const struct plot plots[] = {
    { "mirror of a raw disk", MIRROR, .raw = true },
    { "mirror", MIRROR },
    { "mirror that writes with the guest", MIRROR, .blocking = true },
    { "backup of a raw disk", BACKUP, .raw = true },
    { "backup", BACKUP },
    { "backup of what changed", BACKUP, .bitmap = true },
    { "compressed backup", BACKUP, .compress = true },
    { "commit of the top", COMMIT_TOP },
    { "commit of layers between", COMMIT_MIDDLE },
    { "commit into a raw disk", COMMIT_MIDDLE, .raw = true },
    { "commit of a disk that stands still", COMMIT_STILL },
    { "stream of all", STREAM_ALL },
    { "stream down to a raw disk", STREAM_PART, .raw = true },
};

/* ---- files ---- */

static char names[FILES][64];
static uint8_t *fresh[FILES];
static uint64_t fresh_len[FILES];
static struct slots fresh_slots;

struct world {
    const struct plot *p;
    bool stop; /* the job stops for errors */
    struct ev_loop *loop;
    struct node_ctx *ctx;
    struct jobs *jobs;
    struct node_root disk; /* the guest's */
    struct node *layer[LAYERS], *target;
    struct slots then; /* the disk when the job began */

    const char *act; /* the guest's next */
    int value;
    struct node_req r;
    struct iovec iov;
    uint8_t bytes[LEN];
    bool busy;
    bool before; /* its request in flight began after the call had failed */

    bool completed, failed;
    int errors;
};

static bool is_raw(const struct plot *p, int i)
{
    return p->raw && (i == 0 || i == TARGET);
}

static struct node *open_file(struct world *w, int i, bool read_only, bool faulty)
{
    struct file_open how = { .growable = !is_raw(w->p, i),
                             .read_only = read_only,
                             .aio = BLK_AIO_THREADS,
                             .cache = BLK_NONE };

    return fault_file_open(w->ctx, names[i], &how, faulty);
}

/* Image i and what it says it stands on, which is called l0, l1, ... NULL: a call failed. */
static struct node *open_chain(struct world *w, int i, bool read_only, bool faulty)
{
    struct qcow2_open o = { .pass_discard = true, .read_only = read_only };
    struct node *n = open_file(w, i, read_only, faulty);
    struct qcow2_info info = { 0 };
    struct err e = { 0 };

    if (!is_raw(w->p, i)) {
        n = qcow2_open(n, &o, &e);
    }
    if (!n) {
        assert_true(e.msg[0]);
        fault_expected(w->p->name, e.msg, false, e.code);
        return NULL;
    }
    free(n->filename);
    n->filename = xasprintf("l%d", i);
    if (i < LAYERS) {
        w->layer[i] = n;
    }
    if (!is_raw(w->p, i)) {
        qcow2_info(n, &info);
    }
    if (info.backing_file) {
        n->backing = open_chain(w, info.backing_file[1] - '0', true, faulty);
        if (!n->backing) {
            node_close(n);
            return NULL;
        }
    }
    return n;
}

static void see(void *opaque, struct job *j, enum job_event what)
{
    struct world *w = opaque;

    w->completed |= what == JOB_EV_COMPLETED && j->ret == 0;
    if (what == JOB_EV_COMPLETED && j->ret < 0) {
        w->failed = true;
        assert_non_null(j->error);
        fault_expected(w->p->name, j->error, false, j->ret);
    }
}

static void see_error(void *opaque, struct job *j, const struct job_error *error)
{
    (void)j;
    (void)error;
    ((struct world *)opaque)->errors++;
}

/* The machine starts, with `top` as its disk. False: a call failed. */
static bool world_open(struct world *w, const struct plot *p, int top, bool stop, bool faulty)
{
    *w = (struct world){ .p = p, .stop = stop, .act = acts, .value = 10 };
    struct jobs_watch watch = { see, see_error, w };
    struct node *n;

    w->loop = ev_loop_new(NULL, NULL, NULL);
    w->ctx = node_ctx_new(w->loop);
    node_ctx_no_threads(w->ctx);
    w->jobs = jobs_new(w->ctx);
    jobs_set_watch(w->jobs, &watch);
    n = open_chain(w, top, false, faulty);
    if (n) {
        node_root_add(&w->disk, n);
    }
    if (n && top != TARGET && (p->kind == MIRROR || p->kind == BACKUP)) {
        w->target = open_chain(w, TARGET, false, faulty);
    }
    return n && (w->target || top == TARGET || (p->kind != MIRROR && p->kind != BACKUP));
}

static void world_close(struct world *w)
{
    bool before = fault.hit;
    bool known = w->disk.node != NULL;
    int ret;

    node_ctx_drain(w->ctx);
    jobs_free(w->jobs);
    ret = node_root_del(&w->disk);
    if (ret < 0) {
        fault_expected(w->p->name, "closing the disk", before, ret);
    } else if (known) {
        slots_flushed();
    }
    before = fault.hit;
    ret = node_close(w->target);
    if (ret < 0) {
        fault_expected(w->p->name, "closing the target", before, ret);
    }
    node_ctx_free(w->ctx);
    ev_loop_free(w->loop);
}

/* ---- the guest ---- */

static void guest_done(struct node_req *r, int ret)
{
    struct world *w = container_of(r, struct world, r);
    int i = (int)(r->offset / STEP);

    w->busy = false;
    if (ret < 0) {
        fault_expected(w->p->name, "a request of the guest's", w->before, ret);
        if (strcmp(fault.where, names[TARGET]) == 0 && w->disk.node != w->target) {
            fail_msg("%s: call %d: the guest hears of the target", w->p->name, fault.nth);
        }
    }
    if (r->op == NODE_WRITE) {
        slots_changed(i, w->bytes[0], ret == 0);
    } else if (r->op == NODE_ZERO || r->op == NODE_DISCARD) {
        slots_changed(i, 0, ret == 0 && r->op == NODE_ZERO);
    } else if (r->op == NODE_FLUSH && ret == 0) {
        slots_flushed();
    } else if (r->op == NODE_READ && ret == 0) {
        slots_expect(w->p->name, i, w->bytes);
    }
}

static void guest_act(struct world *w)
{
    static const char letters[] = "wzdfr";
    static const enum node_op ops[] = { NODE_WRITE, NODE_ZERO, NODE_DISCARD, NODE_FLUSH,
                                        NODE_READ };

    if (w->busy || !*w->act) {
        return;
    }
    enum node_op op = ops[strchr(letters, *w->act) - letters];
    w->iov = (struct iovec){ w->bytes, LEN };
    w->r = (struct node_req){ .op = op, .iov = &w->iov, .iovcnt = 1, .done = guest_done };
    if (op != NODE_FLUSH) {
        w->r.offset = (uint64_t)(w->act[1] - '0') * STEP;
        w->r.len = LEN;
    }
    memset(w->bytes, w->value++, LEN);
    w->act += strcspn(w->act, " ");
    w->act += *w->act == ' ';
    w->busy = true;
    w->before = fault.hit;
    node_submit(w->disk.node, &w->r);
}

/* ---- jobs ---- */

static struct job *start(struct world *w, struct err *e)
{
    enum job_on_error on = w->stop ? JOB_STOP : JOB_REPORT;
    struct job_options o = {
        .id = "j", .chunk = 64 << 10, .on_source_error = on, .on_target_error = on
    };
    struct job_mirror m = { .common = o, .write_blocking = w->p->blocking };
    struct job_backup b = { .common = o, .compress = w->p->compress };
    struct job_commit c = { .common = o };
    struct job_stream s = { .common = o };

    switch (w->p->kind) {
    case MIRROR:
        return job_mirror_start(w->jobs, w->disk.node, w->target, &m, e);
    case BACKUP:
        b.bitmap = w->p->bitmap ? bitmap_find(w->disk.node, "b") : NULL;
        b.sync = b.bitmap ? SYNC_INCREMENTAL : SYNC_FULL;
        return job_backup_start(w->jobs, w->disk.node, w->target, &b, e);
    case COMMIT_TOP:
        return job_commit_start(w->jobs, w->layer[3], w->layer[1], &c, e);
    case COMMIT_MIDDLE:
        return job_commit_start(w->jobs, w->layer[2], w->layer[0], &c, e);
    case STREAM_ALL:
        return job_stream_start(w->jobs, w->layer[3], NULL, &s, e);
    default:
        return job_stream_start(w->jobs, w->layer[3], w->layer[0], &s, e);
    }
}

/* The job that waits for somebody gets what it waits for. */
static void attend(struct world *w, struct job *j)
{
    struct err e = { 0 };

    if (job_paused(j)) {
        assert_true(w->stop && w->errors && j->io_error);
        fault_expected(w->p->name, "a piece", false, j->io_error);
        assert_int_equal(job_resume(j, &e), 0);
    } else if (j->status == JOB_READY && !*w->act && !w->busy) {
        assert_int_equal(job_complete(j, &e), 0);
    }
}

/* From beginning to end, beside what is left of the guest's story. */
static void run(struct world *w)
{
    bool before = fault.hit;
    struct err e = { 0 };

    w->completed = w->failed = false;
    w->errors = 0;
    w->then = slots;
    if (w->p->kind == COMMIT_STILL) {
        w->completed = commit_near(w->disk.node, &e) == 0;
    } else if (start(w, &e)) {
        for (int i = 0; i < TURNS && (jobs_first(w->jobs) || w->busy); i++) {
            if (i % 2 && jobs_first(w->jobs)) {
                guest_act(w);
            }
            ev_loop_turn(w->loop, 0);
            if (jobs_first(w->jobs)) {
                attend(w, jobs_first(w->jobs));
            }
        }
        assert_null(jobs_first(w->jobs));
        assert_true(w->completed != w->failed);
    }
    if (e.code) {
        assert_true(e.msg[0]);
        fault_expected(w->p->name, e.msg, before, e.code);
    }
    node_ctx_drain(w->ctx);
}

static void check_image(const struct plot *p, struct node *n)
{
    struct qcow2_check c = { 0 };

    for (; n; n = n->backing) {
        if (qcow2_is(n) && (qcow2_check(n, QCOW2_CHECK_ONLY, &c) < 0 || c.corruptions)) {
            fail_msg("%s: call %d fails with %d: %s is corrupt", p->name, fault.nth, fault.with,
                     n->filename);
        }
    }
}

/* What the guest reads, and what a job that ended well promises besides. */
static void expect(struct world *w)
{
    static const int layers[] = { [MIRROR] = 0,       [COMMIT_TOP] = 2, [COMMIT_MIDDLE] = 2,
                                  [COMMIT_STILL] = 4, [STREAM_ALL] = 1, [STREAM_PART] = 2 };
    struct node *n = w->disk.node;

    slots_expect_all(w->p->name, n);
    if (w->completed && w->p->kind == BACKUP) {
        struct slots now = slots;
        slots = w->then;
        slots_expect_all("the backup", w->target);
        slots = now;
    } else if (w->completed && w->p->kind == MIRROR) {
        assert_ptr_equal(n, w->target);
    } else if (w->completed) {
        int depth = 1;
        for (struct node *b = n->backing; b; b = b->backing) {
            depth++;
        }
        assert_int_equal(depth, layers[w->p->kind]);
    }
}

/* The image that the machine is started with the next time. */
static int next_top(const struct world *w)
{
    bool taken = w->completed && w->p->kind == MIRROR;

    return taken                                                         ? TARGET
           : w->completed && w->p->kind == COMMIT_TOP                    ? 1
           : w->p->raw && (w->p->kind == MIRROR || w->p->kind == BACKUP) ? 0
                                                                         : TOP;
}

static void changed_a_little(struct world *w)
{
    struct err e = { 0 };
    struct bitmap *b = bitmap_new(w->disk.node, "b", 0, &e);

    bitmap_set(b, 0, DISK);
}

/* All layers are there. */
static bool may_run(const struct world *w)
{
    return w->p->kind < COMMIT_TOP || (w->layer[0] && w->layer[1] && w->layer[2] && w->layer[3]);
}

/* Opened again, with nothing that fails: all is as it was, and the job can be run (again). */
static void afterwards(const struct plot *p, int top, bool done)
{
    struct world w;

    assert_true(world_open(&w, p, top, false, false));
    slots_reopened();
    check_image(p, w.disk.node);
    check_image(p, w.target);
    expect(&w);
    /* One that failed after it had written the header has done what it was for. */
    done |= !may_run(&w);
    if (!done) {
        if (p->bitmap) {
            changed_a_little(&w);
        }
        w.act = "";
        run(&w);
        assert_true(w.completed);
        expect(&w);
        check_image(p, w.disk.node);
    }
    world_close(&w);
}

static void story(void *opaque)
{
    const struct plot *p = opaque;
    struct world w = { .p = p };

    for (int i = 0; i < FILES; i++) {
        fault_file_put(names[i], fresh[i], fresh_len[i]);
    }
    slots = fresh_slots;
    if (world_open(&w, p, next_top(&w), fault.nth % 2, true)) {
        if (p->bitmap) {
            changed_a_little(&w);
        }
        run(&w);
        expect(&w);
        if (!w.completed && fault.with == EIO) { /* at once */
            run(&w);
            assert_true(w.completed);
            expect(&w);
        }
        assert_true(w.completed || fault_hard());
    }
    world_close(&w);
    fault_over();
    afterwards(p, next_top(&w), w.completed);
}

/* ---- the beginning ---- */

/* Layer i has every (i + 1)th slot, full of i + 1. */
static void make_layer(struct world *w, int i)
{
    struct node *n = open_file(w, i, false, false);
    struct err e = { 0 };
    char below[8];

    snprintf(below, sizeof(below), "l%d", i - 1);
    struct qcow2_create c = { .size = DISK, .version = 3, .cluster_bits = 12, .refcount_bits = 16 };
    if (i && i != TARGET) {
        c.backing_file = below;
        c.backing_format = i == 1 && w->p->raw ? "raw" : "qcow2";
    }
    if (is_raw(w->p, i)) {
        assert_int_equal(node_resize(n, DISK, &e), 0);
    } else {
        assert_int_equal(qcow2_create(n, &c, &e), 0);
        n = qcow2_open(n, &(struct qcow2_open){ 0 }, &e);
    }
    for (int s = 0; s < FAULT_SLOTS && i != TARGET; s += i + 1) {
        uint8_t buf[LEN];
        memset(buf, i + 1, LEN);
        assert_int_equal(node_write(n, (uint64_t)s * STEP, buf, LEN), 0);
        if (!w->p->raw || w->p->kind >= COMMIT_TOP || i == 0) {
            slots.last[s] = i + 1;
            slots.may[s] = 1u << (i + 1);
        }
    }
    assert_int_equal(node_close(n), 0);
}

static void make_fresh(const struct plot *p)
{
    struct world w = { .p = p, .ctx = node_ctx_new(NULL) };

    slots = slots_full_of(STEP, LEN, 0);
    for (int i = 0; i < FILES; i++) {
        fault_file_put(names[i], "", 0);
        make_layer(&w, i);
        fresh[i] = fault_file_get(names[i], &fresh_len[i]);
    }
    fresh_slots = slots;
    node_ctx_free(w.ctx);
}

static void test_job_fault_when_any_call_fails_once_nothing_is_lost(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(plots); i++) {
        make_fresh(&plots[i]);
        fault_each(story, (void *)&plots[i]);
        for (int k = 0; k < FILES; k++) {
            free(fresh[k]);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    for (int i = 0; i < FILES; i++) {
        strcpy(names[i], "/dev/shm/keel-test-job-XXXXXX");
        fault_file_new(names[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        unlink(names[i]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_fault_when_any_call_fails_once_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
