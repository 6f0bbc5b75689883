/* SPDX-License-Identifier: MIT */
/* tests/unit/test-blk.c - drives on fake images, raw images on real files. */
#include "fake-image.h"

#include "block/file.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    struct ev_loop *loop;
    struct blk *blk;
    char path[64];
};

struct want {
    struct blk_req r;
    struct iovec iov[8];
    int called, ret;
    bool in_submit; /* set while blk_submit runs */
};

static void done(struct blk_req *r, int ret)
{
    struct want *w = r->opaque;

    assert_false(w->in_submit);
    assert_null(r->blk);
    w->called++;
    w->ret = ret;
}

static void submit(struct rig *g, struct want *w, enum blk_op op, uint64_t offset, uint64_t len)
{
    w->r.op = op;
    w->r.offset = offset;
    w->r.len = len;
    w->r.iov = w->iov;
    w->r.done = done;
    w->r.opaque = w;
    w->called = 0;
    w->in_submit = true;
    blk_submit(g->blk, &w->r);
    w->in_submit = false;
}

static int run(struct rig *g, struct want *w, enum blk_op op, uint64_t offset, uint64_t len)
{
    submit(g, w, op, offset, len);
    while (!w->called) {
        ev_loop_turn(g->loop, 1000);
    }
    assert_int_equal(w->called, 1);
    assert_int_equal(blk_in_flight(g->blk), 0);
    return w->ret;
}

static int run_buf(struct rig *g, enum blk_op op, uint64_t offset, void *buf, uint64_t len)
{
    struct want w = { 0 };

    w.iov[0] = (struct iovec){ buf, len };
    w.r.iovcnt = buf ? 1 : 0;
    return run(g, &w, op, offset, len);
}

static void rig_make(struct rig *g)
{
    *g = (struct rig){ 0 };
    g->loop = ev_loop_new(NULL, NULL, NULL);
    g->blk = blk_new(g->loop, "d0");
}

static void rig_free(struct rig *g)
{
    blk_free(g->blk);
    ev_loop_free(g->loop);
    if (g->path[0]) {
        unlink(g->path);
    }
}

static struct fake_image *with_fake(struct rig *g)
{
    struct fake_image *f = fake_image_new(65536);

    rig_make(g);
    blk_set_image(g->blk, &f->base);
    return f;
}

/* ---- drives ---- */

static void test_blk_completes_once_and_never_inside_submit(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    uint8_t buf[1024];

    (void)s;
    assert_int_equal(run_buf(&g, BLK_READ, 512, buf, 1024), 0);
    assert_memory_equal(buf, f->data + 512, 1024);
    assert_int_equal(blk_stats(g.blk)->ops[BLK_READ], 1);
    assert_int_equal(blk_stats(g.blk)->bytes[BLK_READ], 1024);
    f->fail = -EIO;
    assert_int_equal(run_buf(&g, BLK_WRITE, 512, buf, 1024), -EIO);
    assert_int_equal(blk_stats(g.blk)->errors[BLK_WRITE], 1);
    rig_free(&g);
}

static void test_blk_refuses_bad_requests(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    uint8_t buf[1024];

    (void)s;
    assert_int_equal(run_buf(&g, BLK_READ, 65536 - 512, buf, 1024), -EINVAL);
    assert_int_equal(run_buf(&g, BLK_READ, UINT64_MAX - 511, buf, 512), -EINVAL);
    assert_int_equal(run_buf(&g, BLK_READ, 1, buf, 512), -EINVAL);
    assert_int_equal(run_buf(&g, BLK_READ, 0, buf, 100), -EINVAL);
    f->base.read_only = true;
    assert_int_equal(run_buf(&g, BLK_WRITE, 0, buf, 512), -EROFS);
    assert_int_equal(run_buf(&g, BLK_DISCARD, 0, NULL, 512), -EROFS);
    assert_int_equal(run_buf(&g, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(f->count[BLK_READ] + f->count[BLK_WRITE], 0);
    blk_set_image(g.blk, NULL);
    assert_false(blk_present(g.blk));
    assert_int_equal(run_buf(&g, BLK_READ, 0, buf, 512), -ENOMEDIUM);
    assert_false(blk_present(NULL));
    rig_free(&g);
}

static void test_blk_cancel_waits_and_stays_silent(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    struct want a = { 0 }, b = { 0 };

    (void)s;
    f->hold = true;
    submit(&g, &a, BLK_FLUSH, 0, 0);
    submit(&g, &b, BLK_FLUSH, 0, 0);
    blk_cancel(&a.r);
    assert_int_equal(f->waits, 1);
    assert_int_equal(a.called, 0);
    assert_int_equal(b.called, 0); /* came back meanwhile: the loop tells, not the canceller */
    ev_loop_turn(g.loop, 0);
    assert_int_equal(a.called, 0);
    assert_int_equal(b.called, 1);
    blk_cancel(&a.r); /* harmless */
    f->hold = false;
    submit(&g, &a, BLK_FLUSH, 0, 0); /* finished, not delivered */
    blk_cancel(&a.r);
    ev_loop_turn(g.loop, 0);
    assert_int_equal(a.called, 0);
    f->hold = f->no_wait = true; /* an image that cannot wait */
    submit(&g, &a, BLK_FLUSH, 0, 0);
    blk_cancel(&a.r);
    assert_int_equal(f->forgotten, 1);
    assert_int_equal(blk_in_flight(g.blk), 0);
    rig_free(&g);
}

static struct rig *again_rig;

static void again(struct blk_req *r, int ret)
{
    int *left = r->opaque;

    assert_int_equal(ret, 0);
    if (--*left) {
        blk_submit(again_rig->blk, r);
    }
}

static void test_blk_drain_follows_requests_made_in_done(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    int left = 5;
    struct blk_req r = { .op = BLK_FLUSH, .done = again, .opaque = &left };
    struct want w = { 0 };

    (void)s;
    again_rig = &g;
    f->hold = true;
    blk_submit(g.blk, &r);
    blk_drain(g.blk);
    assert_int_equal(left, 0);
    f->no_wait = true;
    submit(&g, &w, BLK_FLUSH, 0, 0);
    blk_drain(g.blk);
    assert_int_equal(w.ret, -EIO);
    assert_int_equal(w.called, 1);
    rig_free(&g);
}

static void test_blk_complete_from_the_loop_is_delivered_at_once(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    struct want w = { 0 };

    (void)s;
    f->hold = true;
    submit(&g, &w, BLK_FLUSH, 0, 0);
    fake_release(f);
    assert_int_equal(w.called, 1);
    rig_free(&g);
}

static void changed(void *opaque)
{
    ++*(int *)opaque;
}

static void test_blk_change_of_image_drains_and_tells(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    static const struct blk_user user = { changed, NULL, NULL };
    struct want w = { 0 };
    bool closed = false;
    int told = 0;

    (void)s;
    blk_set_user(g.blk, &user, &told);
    f->hold = true;
    f->closed = &closed;
    submit(&g, &w, BLK_FLUSH, 0, 0);
    blk_set_image(g.blk, &fake_image_new(512)->base);
    assert_int_equal(w.called, 1);
    assert_true(closed);
    assert_int_equal(told, 1);
    assert_int_equal(blk_len(g.blk), 512);
    rig_free(&g);
}

static unsigned watched[2];

static void saw_submit(void *opaque, const struct blk_req *r)
{
    (void)opaque;
    (void)r;
    watched[0]++;
}

static void saw_complete(void *opaque, const struct blk_req *r, int ret)
{
    (void)opaque;
    (void)r;
    watched[1] += ret == 0;
}

static void test_blk_watcher_sees_both_ends(void **s)
{
    struct rig g;
    struct fake_image *f = with_fake(&g);
    static const struct blk_watch watch = { saw_submit, saw_complete };
    struct want w = { 0 };

    (void)s;
    blk_set_watch(g.blk, &watch, NULL);
    run_buf(&g, BLK_FLUSH, 0, NULL, 0);
    f->hold = true;
    submit(&g, &w, BLK_FLUSH, 0, 0);
    blk_cancel(&w.r);
    assert_int_equal(watched[0], 2);
    assert_int_equal(watched[1], 1);
    rig_free(&g);
}

/* ---- what becomes of errors ---- */

static struct {
    unsigned n;
    int ret;
    enum blk_on_error action;
} seen;

static void saw_error(void *opaque, struct blk *b, enum blk_op op, int ret,
                      enum blk_on_error action)
{
    (void)opaque;
    (void)b;
    (void)op;
    seen.n++;
    seen.ret = ret;
    seen.action = action;
}

static struct fake_image *with_policy(struct rig *g, enum blk_on_error rerror,
                                      enum blk_on_error werror)
{
    struct fake_image *f = with_fake(g);

    seen.n = 0;
    blk_set_on_error(g->blk, rerror, werror);
    blk_on_io_error(g->blk, saw_error, NULL);
    return f;
}

static void test_blk_when_error_stops_then_the_request_is_tried_again(void **s)
{
    struct rig g;
    struct fake_image *f = with_policy(&g, BLK_REPORT, BLK_ENOSPC);
    uint8_t buf[512] = { 9 };
    struct want w = { .iov = { { buf, 512 } }, .r.iovcnt = 1 };

    (void)s;
    f->fail = -ENOSPC;
    submit(&g, &w, BLK_WRITE, 1024, 512);
    blk_drain(g.blk);
    assert_int_equal(w.called, 0);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.action, BLK_STOP);
    assert_int_equal(blk_held_error(g.blk), -ENOSPC);
    blk_retry(g.blk); /* the disk is still full */
    blk_drain(g.blk);
    assert_int_equal(w.called, 0);
    assert_int_equal(seen.n, 2);
    f->fail = 0;
    blk_retry(g.blk);
    blk_drain(g.blk);
    assert_int_equal(w.called, 1);
    assert_int_equal(w.ret, 0);
    assert_int_equal(f->data[1024], 9);
    assert_int_equal(blk_held_error(g.blk), 0);
    f->fail = -EIO; /* not for lack of room: reported */
    assert_int_equal(run_buf(&g, BLK_WRITE, 0, buf, 512), -EIO);
    assert_int_equal(seen.action, BLK_REPORT);
    rig_free(&g);
}

static void test_blk_held_request_can_be_cancelled_and_ends_with_the_medium(void **s)
{
    struct rig g;
    struct fake_image *f = with_policy(&g, BLK_STOP, BLK_STOP);
    uint8_t buf[512];
    struct want w = { .iov = { { buf, 512 } }, .r.iovcnt = 1 };

    (void)s;
    f->fail = -EIO;
    submit(&g, &w, BLK_READ, 0, 512);
    blk_drain(g.blk);
    blk_cancel(&w.r);
    assert_int_equal(w.called, 0);
    assert_int_equal(blk_in_flight(g.blk), 0);
    submit(&g, &w, BLK_READ, 0, 512);
    blk_drain(g.blk);
    blk_set_image(g.blk, NULL);
    assert_int_equal(w.called, 1);
    assert_int_equal(w.ret, -EIO);
    rig_free(&g);
}

static void test_blk_when_errors_are_ignored_then_requests_succeed(void **s)
{
    struct rig g;
    struct fake_image *f = with_policy(&g, BLK_REPORT, BLK_IGNORE);
    uint8_t buf[512] = { 0 };

    (void)s;
    f->fail = -EIO;
    assert_int_equal(run_buf(&g, BLK_WRITE, 0, buf, 512), 0);
    assert_int_equal(seen.action, BLK_IGNORE);
    assert_int_equal(run_buf(&g, BLK_READ, 0, buf, 512), -EIO);
    assert_int_equal(blk_stats(g.blk)->errors[BLK_WRITE], 1);
    rig_free(&g);
}

/* ---- raw images ---- */

static uint8_t *file_bytes(size_t len)
{
    uint8_t *p = malloc(len);

    for (size_t i = 0; i < len; i++) {
        p[i] = fake_byte(i);
    }
    return p;
}

/* A file of len known bytes; on a real file system, where O_DIRECT works. */
static void make_file(struct rig *g, size_t len)
{
    uint8_t *p = file_bytes(len);
    int fd;

    snprintf(g->path, sizeof(g->path), "/var/tmp/keel-test-blk-XXXXXX");
    fd = mkstemp(g->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, len), len);
    close(fd);
    free(p);
}

static void open_file(struct rig *g, enum blk_cache cache, enum blk_aio aio)
{
    struct blk_open o = {
        .filename = g->path, .fd = -1, .cache = cache, .aio = aio, .discard = true
    };
    struct err e = { 0 };
    struct blk_image *i = blk_open_image(g->loop, &o, &e);

    if (!i) {
        fail_msg("%s", e.msg);
    }
    blk_set_image(g->blk, i);
}

static void read_back(struct rig *g, uint64_t offset, const void *want, size_t len)
{
    uint8_t *p = malloc(len);
    int fd = open(g->path, O_RDONLY);

    assert_int_equal(pread(fd, p, len, (off_t)offset), len);
    assert_memory_equal(p, want, len);
    close(fd);
    free(p);
}

/* Odd pieces: none of them fit for direct I/O. */
static void scatter(struct want *w, uint8_t *p, size_t len)
{
    static const size_t cut[] = { 3, 1021, 512, 7 };
    size_t at = 0;

    w->r.iovcnt = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(cut); i++) {
        w->iov[w->r.iovcnt++] = (struct iovec){ p + at, cut[i] };
        at += cut[i];
    }
    w->iov[w->r.iovcnt++] = (struct iovec){ p + at, len - at };
}

static void exercise(struct rig *g)
{
    enum { LEN = 16384 };
    uint8_t *aligned = NULL, *odd = malloc(LEN + 1), *want = file_bytes(1 << 20);
    struct want w = { 0 };

    assert_int_equal(posix_memalign((void **)&aligned, 4096, LEN), 0);
    assert_int_equal(run_buf(g, BLK_READ, 4096, aligned, LEN), 0);
    assert_memory_equal(aligned, want + 4096, LEN);
    assert_int_equal(run_buf(g, BLK_READ, 512, odd + 1, 1536), 0);
    assert_memory_equal(odd + 1, want + 512, 1536);
    memset(aligned, 0x11, LEN);
    assert_int_equal(run_buf(g, BLK_WRITE, 512, aligned, LEN), 0);
    read_back(g, 512, aligned, LEN);
    memset(odd, 0x22, LEN + 1);
    scatter(&w, odd + 1, LEN);
    assert_int_equal(run(g, &w, BLK_WRITE, 65536, LEN), 0);
    read_back(g, 65536, odd, LEN);
    memset(odd, 0, LEN);
    assert_int_equal(run(g, &w, BLK_READ, 65536 + 512, LEN), 0);
    memset(aligned, 0x22, LEN);
    assert_memory_equal(odd + 1, aligned, LEN - 512);
    assert_memory_equal(odd + 1 + LEN - 512, want + 65536 + LEN, 512);
    assert_int_equal(run_buf(g, BLK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(run_buf(g, BLK_DISCARD, 131072, NULL, 65536), 0);
    assert_int_equal(run_buf(g, BLK_READ, 131072, aligned, LEN), 0);
    memset(odd, 0, LEN);
    assert_memory_equal(aligned, odd, LEN);
    free(aligned);
    free(odd);
    free(want);
}

/* discard=ignore, the default: the guest's TRIM changes nothing. */
static void test_raw_discard_is_ignored_unless_asked_for(void **s)
{
    struct rig g;
    uint8_t buf[4096], want[4096];
    struct blk_image *i;
    struct err e = { 0 };
    (void)s;
    rig_make(&g);
    make_file(&g, 65536);
    struct blk_open o = { .filename = g.path, .fd = -1 };
    i = blk_open_image(g.loop, &o, &e);
    assert_non_null(i);
    blk_set_image(g.blk, i);
    memset(want, 0x5a, sizeof(want));
    assert_int_equal(run_buf(&g, BLK_WRITE, 0, want, sizeof(want)), 0);
    assert_int_equal(run_buf(&g, BLK_DISCARD, 0, NULL, sizeof(want)), 0);
    assert_int_equal(run_buf(&g, BLK_READ, 0, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, want, sizeof(buf));
    rig_free(&g);
}

static void test_raw_every_mode_moves_the_same_bytes(void **s)
{
    (void)s;
    for (unsigned mode = 0; mode < 20; mode++) {
        struct rig g;

        rig_make(&g);
        make_file(&g, 1 << 20);
        open_file(&g, (enum blk_cache)(mode / 4), (enum blk_aio)(mode % 4));
        assert_int_equal(blk_len(g.blk), 1 << 20);
        exercise(&g);
        rig_free(&g);
    }
}

/* A length that is no multiple of 512 is rounded up, and the rest reads as zeros. */
static void test_raw_tail_reads_as_zeros(void **s)
{
    static const enum blk_cache modes[] = { BLK_WRITEBACK, BLK_NONE, BLK_DIRECTSYNC };
    uint8_t *want = file_bytes(10000), *buf = NULL, zero[512] = { 0 };

    (void)s;
    assert_int_equal(posix_memalign((void **)&buf, 4096, 4096), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct rig g;

        rig_make(&g);
        make_file(&g, 10000);
        open_file(&g, modes[i], BLK_AIO_AUTO);
        assert_int_equal(blk_len(g.blk), 10240);
        memset(buf, 0xee, 4096);
        assert_int_equal(run_buf(&g, BLK_READ, 8192, buf, 2048), 0);
        assert_memory_equal(buf, want + 8192, 10000 - 8192);
        assert_memory_equal(buf + 10000 - 8192, zero, 240);
        assert_int_equal(truncate(g.path, 1000), 0); /* behind our back */
        memset(buf, 0xee, 4096);
        assert_int_equal(run_buf(&g, BLK_READ, 4096, buf, 512), 0);
        assert_memory_equal(buf, zero, 512);
        rig_free(&g);
    }
    free(want);
    free(buf);
}

static void test_raw_cancel_in_flight(void **s)
{
    static const enum blk_cache modes[] = { BLK_WRITEBACK, BLK_NONE };
    uint8_t *buf = NULL;

    (void)s;
    assert_int_equal(posix_memalign((void **)&buf, 4096, 6 * 65536), 0);
    for (unsigned i = 0; i < 80; i++) {
        struct rig g;
        struct want w[6] = { 0 };

        rig_make(&g);
        make_file(&g, 1 << 20);
        open_file(&g, modes[i % 2], (enum blk_aio)(i / 2 % 4));
        for (unsigned n = 0; n < ARRAY_SIZE(w); n++) {
            w[n].iov[0] = (struct iovec){ buf + n * 65536, 65536 };
            w[n].r.iovcnt = 1;
            submit(&g, &w[n], i % 3 ? BLK_READ : BLK_WRITE, n * 65536, 65536);
        }
        for (unsigned n = 0; n < ARRAY_SIZE(w); n += 2) {
            blk_cancel(&w[n].r);
        }
        blk_drain(g.blk);
        for (unsigned n = 0; n < ARRAY_SIZE(w); n++) {
            assert_int_equal(w[n].called, n % 2);
        }
        rig_free(&g);
    }
    free(buf);
}

static unsigned sends;

static bool count_send(void)
{
    sends++;
    return true;
}

static void count_end(struct node_req *r, int ret)
{
    assert_int_equal(ret, 0);
    ++*(unsigned *)r->opaque;
}

/* Sixteen requests in one hold go to the kernel in one call, by either engine. */
static void test_raw_requests_of_one_hold_go_in_one_call(void **s)
{
    static const struct file_calls calls = { preadv,    pwritev, fdatasync, fallocate,
                                             ftruncate, NULL,    count_send };
    enum { N = 16 };
    uint8_t *buf = NULL;

    (void)s;
    assert_int_equal(posix_memalign((void **)&buf, 4096, N * 4096), 0);
    for (unsigned i = 0; i < 4; i++) {
        struct node_req r[N] = { 0 };
        struct iovec iov[N];
        unsigned ended = 0;
        struct err e = { 0 };
        struct rig g;

        rig_make(&g);
        make_file(&g, 1 << 20);
        struct node_ctx *c = node_ctx_new(g.loop);
        struct file_open o = { .filename = g.path,
                               .fd = -1,
                               .cache = BLK_NONE,
                               .calls = &calls,
                               .aio = i % 2 ? BLK_AIO_NATIVE : BLK_AIO_IO_URING };
        struct node *n = file_open(c, &o, &e);
        assert_non_null(n);
        sends = 0;
        node_ctx_hold(c);
        for (unsigned k = 0; k < N; k++) {
            iov[k] = (struct iovec){ buf + k * 4096, 4096 };
            r[k] = (struct node_req){ .op = i / 2 ? NODE_READ : NODE_WRITE,
                                      .offset = k * 8192,
                                      .len = 4096,
                                      .iov = &iov[k],
                                      .iovcnt = 1,
                                      .done = count_end,
                                      .opaque = &ended };
            node_submit(n, &r[k]);
        }
        assert_int_equal(sends, 0);
        node_ctx_release(c);
        assert_int_equal(sends, 1);
        while (ended < N) {
            ev_loop_turn(g.loop, -1);
        }
        node_close(n);
        node_ctx_free(c);
        rig_free(&g);
    }
    free(buf);
}

/* No descriptor is left for a ring: whoever asked for it is told, everybody else gets another way. */
static void test_raw_when_io_uring_cannot_be_had_then_only_who_named_it_is_refused(void **s)
{
    struct rlimit keep, few;
    struct rig g;
    struct err e = { 0 };

    (void)s;
    rig_make(&g);
    make_file(&g, 65536);
    struct node_ctx *c = node_ctx_new(g.loop);
    struct blk_open o = { .filename = g.path, .fd = -1, .aio = BLK_AIO_IO_URING, .ctx = c };
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &keep);
    few = (struct rlimit){ (rlim_t)next + 1, keep.rlim_max };
    setrlimit(RLIMIT_NOFILE, &few);
    assert_null(blk_open_image(g.loop, &o, &e));
    assert_non_null(strstr(e.msg, "aio=io_uring: the kernel refuses it: Too many open files"));
    o.aio = BLK_AIO_AUTO;
    struct blk_image *i = blk_open_image(g.loop, &o, &e);
    setrlimit(RLIMIT_NOFILE, &keep);
    assert_non_null(i);
    blk_set_image(g.blk, i);
    uint8_t buf[512];
    assert_int_equal(run_buf(&g, BLK_READ, 512, buf, 512), 0);
    assert_int_equal(run_buf(&g, BLK_WRITE, 512, buf, 512), 0);
    blk_set_image(g.blk, NULL);
    node_ctx_free(c);
    rig_free(&g);
}

/* The kernel's no reaches the guest: a file that may not grow. */
static void test_raw_write_error_is_passed_on(void **s)
{
    struct rlimit keep, small = { 4096, 4096 };
    uint8_t buf[512] = { 0 };
    struct rig g;

    (void)s;
    rig_make(&g);
    make_file(&g, 10000);
    open_file(&g, BLK_WRITEBACK, BLK_AIO_AUTO);
    getrlimit(RLIMIT_FSIZE, &keep);
    small.rlim_max = keep.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(run_buf(&g, BLK_WRITE, 8192, buf, 512), -EFBIG);
    setrlimit(RLIMIT_FSIZE, &keep);
    rig_free(&g);
}

/* Somebody on the host cuts the image short while the guest runs. */
static void test_raw_when_file_shrinks_then_zeros_are_read_and_writes_still_land(void **s)
{
    static const enum blk_cache modes[] = { BLK_WRITEBACK, BLK_NONE };
    uint8_t buf[512], zero[512] = { 0 }, back[512];

    (void)s;
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct rig g;

        rig_make(&g);
        make_file(&g, 1 << 20);
        open_file(&g, modes[i], BLK_AIO_AUTO);
        assert_int_equal(truncate(g.path, 4096), 0);
        memset(buf, 0xaa, sizeof(buf));
        assert_int_equal(run_buf(&g, BLK_READ, 8192, buf, 512), 0);
        assert_memory_equal(buf, zero, 512);
        assert_int_equal(run_buf(&g, BLK_READ, 4096 - 512, buf, 512), 0);
        memset(buf, 0x77, sizeof(buf));
        assert_int_equal(run_buf(&g, BLK_WRITE, 8192, buf, 512), 0);
        assert_int_equal(run_buf(&g, BLK_READ, 8192, back, 512), 0);
        assert_memory_equal(back, buf, 512);
        assert_int_equal(run_buf(&g, BLK_READ, (1 << 20) - 512, buf, 512), 0);
        assert_int_equal(run_buf(&g, BLK_READ, 1 << 20, buf, 512), -EINVAL);
        rig_free(&g);
    }
}

static struct blk_image *try_open(struct rig *g, const char *name, int fd, bool read_only,
                                  struct err *e)
{
    struct blk_open o = { .filename = name, .fd = fd, .read_only = read_only };

    *e = (struct err){ 0 };
    return blk_open_image(g->loop, &o, e);
}

static void test_raw_explains_why_it_cannot_open(void **s)
{
    struct rig g;
    struct err e;

    (void)s;
    rig_make(&g);
    assert_null(try_open(&g, "/nonexistent/disk.raw", -1, false, &e));
    assert_int_equal(e.code, -ENOENT);
    assert_non_null(strstr(e.msg, "/nonexistent/disk.raw"));
    assert_non_null(strstr(e.msg, "No such file"));
    assert_null(try_open(&g, "/tmp", -1, false, &e));
    assert_int_equal(e.code, -EISDIR);
    assert_null(try_open(&g, "/tmp", -1, true, &e));
    assert_int_equal(e.code, -EISDIR);
    assert_null(try_open(&g, "/dev/null", -1, true, &e));
    assert_non_null(strstr(e.msg, "neither a file nor a block device"));
    make_file(&g, 512);
    assert_null(try_open(&g, "/dev/fdset/3", open(g.path, O_RDONLY), false, &e));
    assert_int_equal(e.code, -EACCES);
    assert_non_null(strstr(e.msg, "/dev/fdset/3"));
    rig_free(&g);
}

static void test_raw_uses_a_descriptor_it_was_given(void **s)
{
    struct rig g;
    struct err e;
    struct blk_image *i;
    uint8_t buf[512], *want = file_bytes(4096);

    (void)s;
    rig_make(&g);
    make_file(&g, 4096);
    i = try_open(&g, "/dev/fdset/0", open(g.path, O_RDONLY), true, &e);
    assert_non_null(i);
    assert_string_equal(i->filename, "/dev/fdset/0");
    assert_string_equal(i->ops->format, "raw");
    blk_set_image(g.blk, i);
    unlink(g.path);
    assert_int_equal(run_buf(&g, BLK_READ, 512, buf, 512), 0);
    assert_memory_equal(buf, want + 512, 512);
    assert_int_equal(run_buf(&g, BLK_WRITE, 512, buf, 512), -EROFS);
    free(want);
    rig_free(&g);
}

static void test_raw_idle_costs_no_wakeups(void **s)
{
    struct rig g;
    uint8_t buf[512];
    uint64_t before;

    (void)s;
    rig_make(&g);
    make_file(&g, 4096);
    open_file(&g, BLK_WRITEBACK, BLK_AIO_AUTO);
    run_buf(&g, BLK_READ, 0, buf, 512);
    ev_loop_turn(g.loop, 0);
    before = ev_wakeups(g.loop);
    assert_int_equal(ev_loop_turn(g.loop, 50), 0);
    assert_true(ev_wakeups(g.loop) - before <= 1);
    rig_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blk_completes_once_and_never_inside_submit),
        cmocka_unit_test(test_blk_refuses_bad_requests),
        cmocka_unit_test(test_blk_when_error_stops_then_the_request_is_tried_again),
        cmocka_unit_test(test_blk_held_request_can_be_cancelled_and_ends_with_the_medium),
        cmocka_unit_test(test_blk_when_errors_are_ignored_then_requests_succeed),
        cmocka_unit_test(test_blk_cancel_waits_and_stays_silent),
        cmocka_unit_test(test_blk_drain_follows_requests_made_in_done),
        cmocka_unit_test(test_blk_complete_from_the_loop_is_delivered_at_once),
        cmocka_unit_test(test_blk_change_of_image_drains_and_tells),
        cmocka_unit_test(test_blk_watcher_sees_both_ends),
        cmocka_unit_test(test_raw_discard_is_ignored_unless_asked_for),
        cmocka_unit_test(test_raw_every_mode_moves_the_same_bytes),
        cmocka_unit_test(test_raw_tail_reads_as_zeros),
        cmocka_unit_test(test_raw_cancel_in_flight),
        cmocka_unit_test(test_raw_when_io_uring_cannot_be_had_then_only_who_named_it_is_refused),
        cmocka_unit_test(test_raw_requests_of_one_hold_go_in_one_call),
        cmocka_unit_test(test_raw_write_error_is_passed_on),
        cmocka_unit_test(test_raw_when_file_shrinks_then_zeros_are_read_and_writes_still_land),
        cmocka_unit_test(test_raw_explains_why_it_cannot_open),
        cmocka_unit_test(test_raw_uses_a_descriptor_it_was_given),
        cmocka_unit_test(test_raw_idle_costs_no_wakeups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
