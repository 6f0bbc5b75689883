/* SPDX-License-Identifier: MIT */
/* tests/unit/test-qcow2.c - named dangers of qcow2, and each system call failing once. */
#include "block/bitmap.h"
#include "block/file.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "tests/unit/ram-node.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { CLUSTER = 4096 };

static struct node_ctx *ctx;

static const struct qcow2_create small = {
    .size = 1 << 20, .version = 3, .cluster_bits = 12, .refcount_bits = 16
};

/* ---- a disk that keeps writes back ---- */

struct slow {
    struct node base; /* first */
    struct node *ram;
    bool hold;
    struct node_req *held[16];
    unsigned n;
    unsigned at_once; /* reads answered by slow_read_now */
};

static struct slow *slow_new(struct node *ram);

static void slow_submit(struct node *n, struct node_req *r)
{
    struct slow *s = (struct slow *)n;

    if (s->hold && r->op == NODE_WRITE) {
        assert_true(s->n < ARRAY_SIZE(s->held));
        s->held[s->n++] = r;
    } else {
        node_complete(r, ram_do((struct ram_node *)s->ram, r));
        n->len = s->ram->len;
    }
}

static void slow_release(struct slow *s)
{
    s->hold = false;
    for (unsigned i = 0; i < s->n; i++) {
        node_complete(s->held[i], ram_do((struct ram_node *)s->ram, s->held[i]));
    }
    s->base.len = s->ram->len;
    s->n = 0;
}

static int slow_close(struct node *n)
{
    struct slow *s = (struct slow *)n;
    int ret = node_close(s->ram);

    free(s);
    return ret;
}

static bool slow_read_now(struct node *n, uint64_t offset, const struct iovec *iov, int iovcnt,
                          uint64_t len)
{
    struct slow *s = (struct slow *)n;
    struct node_req r = {
        .op = NODE_READ, .offset = offset, .len = len, .iov = iov, .iovcnt = iovcnt
    };

    s->at_once++;
    return ram_do((struct ram_node *)s->ram, &r) == 0;
}

static const struct node_ops slow_ops = {
    .name = "slow", .read_now = slow_read_now, .submit = slow_submit, .close = slow_close
};

static struct slow *slow_new(struct node *ram)
{
    struct slow *s = xcalloc(1, sizeof(*s));

    s->base = *ram;
    s->base.ops = &slow_ops;
    s->base.filename = xstrdup("slow");
    s->base.in_flight = 0;
    s->ram = ram;
    return s;
}

struct request {
    struct node_req r;
    struct iovec iov;
    bool ended;
    int ret;
};

static void request_done(struct node_req *r, int ret)
{
    struct request *q = container_of(r, struct request, r);

    q->ended = true;
    q->ret = ret;
}

static void start(struct node *n, struct request *q, enum node_op op, uint64_t at, void *buf,
                  uint64_t len)
{
    *q = (struct request){ .iov = { buf, len } };
    q->r = (struct node_req){ .op = op,
                              .offset = at,
                              .len = len,
                              .iov = &q->iov,
                              .iovcnt = buf ? 1 : 0,
                              .done = request_done };
    node_submit(n, &q->r);
    while (node_ctx_poll(ctx, false)) {
    }
}

static struct node *open_node(struct node *file)
{
    struct qcow2_open o = { .pass_discard = true };
    struct err e = { 0 };
    struct node *n = qcow2_open(file, &o, &e);

    if (!n) {
        fail_msg("%s", e.msg);
    }
    return n;
}

static struct slow *slow_image(struct node **n)
{
    struct err e = { 0 };
    struct slow *s = slow_new(ram_node_new(ctx, NULL, 0));

    assert_int_equal(qcow2_create(&s->base, &small, &e), 0);
    *n = open_node(&s->base);
    return s;
}

static void check_clean(struct node *n)
{
    struct qcow2_check c = { 0 };

    assert_int_equal(qcow2_check(n, QCOW2_CHECK_ONLY, &c), 0);
    assert_int_equal(c.corruptions, 0);
    assert_int_equal(c.leaks, 0);
}

/* One queue writes to a cluster, another discards it, a third takes the cluster that fell free: the
 * first write, still on its way to the disk, must not land in the third's data. */
static void test_qcow2_discard_does_not_free_a_cluster_that_is_being_written(void **state)
{
    struct node *n;
    struct slow *s = slow_image(&n);
    uint8_t one[CLUSTER], two[CLUSTER], three[CLUSTER], back[CLUSTER];
    struct request write, discard, flush, other;

    (void)state;
    memset(one, 1, CLUSTER);
    memset(two, 2, CLUSTER);
    memset(three, 3, CLUSTER);
    assert_int_equal(node_write(n, 0, one, CLUSTER), 0);
    assert_int_equal(node_flush(n), 0);
    s->hold = true;
    start(n, &write, NODE_WRITE, 0, two, CLUSTER);
    assert_int_equal(s->n, 1);
    s->hold = false;
    start(n, &discard, NODE_DISCARD, 0, NULL, CLUSTER);
    start(n, &flush, NODE_FLUSH, 0, NULL, 0);
    start(n, &other, NODE_WRITE, 5 * CLUSTER, three, CLUSTER);
    assert_true(other.ended);
    assert_false(discard.ended);
    slow_release(s);
    node_drain(n);
    assert_true(write.ended && discard.ended);
    assert_int_equal(node_read(n, 5 * CLUSTER, back, CLUSTER), 0);
    assert_memory_equal(back, three, CLUSTER);
    assert_int_equal(node_flush(n), 0);
    check_clean(n);
    assert_int_equal(node_close(n), 0);
}

/* A read is answered on the spot, but not while a write gives clusters a place, wherever. */
static void test_qcow2_read_waits_for_whoever_changes_its_mapping(void **state)
{
    struct node *n;
    struct slow *s = slow_image(&n);
    uint8_t one[CLUSTER], back[2 * CLUSTER];
    struct request write, read;

    (void)state;
    memset(one, 1, CLUSTER);
    assert_int_equal(node_write(n, 0, one, CLUSTER), 0);
    assert_int_equal(node_read(n, 0, back, CLUSTER), 0);
    assert_int_equal(s->at_once, 1);
    assert_memory_equal(back, one, CLUSTER);
    assert_int_equal(node_read(n, 7 * CLUSTER, back, CLUSTER), 0);
    assert_true(node_is_zero(back, CLUSTER));
    s->hold = true;
    start(n, &write, NODE_WRITE, CLUSTER, one, CLUSTER);
    assert_false(write.ended);
    start(n, &read, NODE_READ, 0, back, 2 * CLUSTER);
    assert_false(read.ended);
    slow_release(s);
    node_drain(n);
    assert_true(write.ended && read.ended);
    assert_memory_equal(back, one, CLUSTER);
    assert_memory_equal(back + CLUSTER, one, CLUSTER);
    assert_int_equal(s->at_once, 1);
    assert_int_equal(node_close(n), 0);
}

/* What a discard freed is not handed out before the disk knows that nobody refers to it. */
static void test_qcow2_freed_cluster_is_reused_only_after_a_flush(void **state)
{
    struct node *n;
    struct node_status st;
    uint8_t buf[CLUSTER];
    uint64_t was;

    (void)state;
    slow_image(&n);
    memset(buf, 1, CLUSTER);
    assert_int_equal(node_write(n, 0, buf, CLUSTER), 0);
    assert_int_equal(node_status(n, 0, CLUSTER, &st), 0);
    was = st.mapped;
    assert_int_equal(node_rw(n, NODE_DISCARD, 0, NULL, CLUSTER, 0), 0);
    assert_int_equal(node_write(n, 5 * CLUSTER, buf, CLUSTER), 0);
    assert_int_equal(node_status(n, 5 * CLUSTER, CLUSTER, &st), 0);
    assert_int_not_equal(st.mapped, was);
    assert_int_equal(node_flush(n), 0);
    assert_int_equal(node_write(n, 9 * CLUSTER, buf, CLUSTER), 0);
    assert_int_equal(node_status(n, 9 * CLUSTER, CLUSTER, &st), 0);
    assert_int_equal(st.mapped, was);
    check_clean(n);
    assert_int_equal(node_close(n), 0);
}

/* An L2 entry that points at the L1 table: the write is refused, the image marked. */
static void test_qcow2_data_mapped_onto_metadata_are_not_written(void **state)
{
    struct node *ram = ram_node_new(ctx, NULL, 0), *n;
    struct qcow2_open o = { 0 };
    struct err e = { 0 };
    struct qcow2_info info;
    uint8_t buf[CLUSTER] = { 7 }, *copy;
    uint64_t len, l2;

    (void)state;
    assert_int_equal(qcow2_create(ram, &small, &e), 0);
    n = open_node(ram);
    assert_int_equal(node_write(n, 0, buf, CLUSTER), 0);
    assert_int_equal(node_flush(n), 0);
    len = ram->len;
    copy = xcalloc(1, len);
    memcpy(copy, ((struct ram_node *)ram)->data, len);
    assert_int_equal(node_close(n), 0);
    uint64_t l1 = __builtin_bswap64(*(uint64_t *)(copy + 40));
    l2 = __builtin_bswap64(*(uint64_t *)(copy + l1)) & 0x00fffffffffffe00ull;
    *(uint64_t *)(copy + l2) = __builtin_bswap64(l1 | 1ull << 63);
    ram = ram_node_new(ctx, copy, len);
    n = open_node(ram);
    assert_int_equal(node_write(n, 0, buf, CLUSTER), -EIO);
    assert_int_equal(node_write(n, CLUSTER, buf, CLUSTER), -EIO);
    qcow2_info(n, &info);
    assert_true(info.corrupt);
    assert_int_equal(node_flush(n), 0);
    memcpy(copy, ((struct ram_node *)ram)->data, len);
    node_close(n);
    assert_null(qcow2_open(ram_node_new(ctx, copy, len), &o, &e));
    assert_non_null(strstr(e.msg, "corrupt"));
    free(copy);
}

/* ---- each system call fails once ---- */

enum { WRITES = 10 };

/* How the files are reached: through the page cache by what is best here, or as a test says. */
static struct way {
    enum blk_aio aio;
    enum blk_cache cache;
} way;

static struct {
    int left, with; /* calls until the one that fails; errno, 0: a short count */
    bool hit;
} fault;

static bool fails(void)
{
    if (__atomic_sub_fetch(&fault.left, 1, __ATOMIC_SEQ_CST) == 0) {
        fault.hit = true;
        errno = fault.with;
        return true;
    }
    return false;
}

static ssize_t short_or_error(bool write, int fd, const struct iovec *iov, off_t at)
{
    size_t sector = way.cache == BLK_NONE || way.cache == BLK_DIRECTSYNC ? 512 : 1;
    struct iovec part = { iov->iov_base, iov->iov_len / 2 / sector * sector };

    if (fault.with) {
        return -1;
    }
    part.iov_len = part.iov_len ? part.iov_len : iov->iov_len;
    return write ? pwritev(fd, &part, 1, at) : preadv(fd, &part, 1, at);
}

static ssize_t f_preadv(int fd, const struct iovec *iov, int n, off_t at)
{
    return fails() ? short_or_error(false, fd, iov, at) : preadv(fd, iov, n, at);
}

static ssize_t f_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    return fails() ? short_or_error(true, fd, iov, at) : pwritev(fd, iov, n, at);
}

static int f_fdatasync(int fd)
{
    (void)fd; /* nothing is pulled out in this test */
    return fails() && fault.with ? -1 : 0;
}

static int f_fallocate(int fd, int mode, off_t at, off_t len)
{
    return fails() && fault.with ? -1 : fallocate(fd, mode, at, len);
}

static int f_ftruncate(int fd, off_t len)
{
    return fails() && fault.with ? -1 : ftruncate(fd, len);
}

/* What an engine's call ended with: the error, or half of what it moved. */
static long f_heard(long res)
{
    if (!fails()) {
        return res;
    }
    return fault.with ? -fault.with : res > 0 ? res / 2 & ~511l : res;
}

static bool f_may_send(void)
{
    return !fails();
}

static const struct file_calls failing = { f_preadv,    f_pwritev, f_fdatasync, f_fallocate,
                                           f_ftruncate, f_heard,   f_may_send };

static struct node *open_file(const char *name, const struct file_calls *calls)
{
    struct file_open o = { .filename = name,
                           .fd = -1,
                           .growable = true,
                           .aio = way.aio,
                           .cache = calls ? way.cache : BLK_UNSAFE,
                           .calls = calls };
    struct err e = { 0 };
    struct node *n = file_open(ctx, &o, &e);

    if (!n) {
        fail_msg("%s", e.msg);
    }
    return n;
}

/* What images fail in. */
static const struct life {
    struct qcow2_create c;
    bool bitmap;
} lives[] = {
    { .c = { .size = 1 << 20, .version = 3, .cluster_bits = 12, .refcount_bits = 16 } },
    { .c = { .size = 1 << 20,
             .version = 3,
             .cluster_bits = 14,
             .refcount_bits = 16,
             .extended_l2 = true },
      .bitmap = true },
    { .c = { .size = 1 << 20,
             .version = 3,
             .cluster_bits = 12,
             .refcount_bits = 16,
             .data_file = "data" },
      .bitmap = true },
};

struct files {
    char image[64], data[64];
};

/* NULL: a call failed. */
static struct node *open_life(const struct files *f, const struct life *l,
                              const struct file_calls *calls)
{
    struct qcow2_open o = { .pass_discard = true };
    struct err e = { 0 };
    struct node *n = qcow2_open(open_file(f->image, calls), &o, &e);

    if (n && l->c.data_file) {
        qcow2_set_data(n, open_file(f->data, calls));
    }
    return n;
}

static void make_life(const struct files *f, const struct life *l)
{
    struct err e = { 0 };
    struct node *n;

    assert_int_equal(truncate(f->image, 0), 0);
    assert_int_equal(truncate(f->data, 0), 0);
    n = open_file(f->image, NULL);
    assert_int_equal(qcow2_create(n, &l->c, &e), 0);
    node_close(n);
    n = open_life(f, l, NULL);
    if (l->bitmap) {
        bitmap_new(n, "b", CLUSTER, &e)->persistent = true;
    }
    assert_int_equal(node_close(n), 0);
}

/* Overwrites, allocates, packs, zeroes and discards; says what surely is on disk. */
static bool faulty_life(struct node *n, const struct life *l, bool *durable, bool *ended_well)
{
    bool pack = l->c.cluster_bits == 12 && !l->c.data_file, all = true;
    uint8_t buf[CLUSTER];

    for (int i = 0; i < WRITES; i++) {
        memset(buf, i + 1, CLUSTER);
        int ret = node_rw(n, NODE_WRITE, (uint64_t)i * 3 * CLUSTER, buf, CLUSTER,
                          pack && i % 4 == 3 ? NODE_COMPRESS : 0);
        ended_well[i] = ret == 0;
        all &= ret == 0;
        all &= node_rw(n, i % 2 ? NODE_ZERO : NODE_DISCARD, (uint64_t)(i * 3 + 1) * CLUSTER, NULL,
                       CLUSTER, NODE_UNMAP) == 0;
        if (i % 3 == 2) {
            bool flushed = node_flush(n) == 0;
            for (int k = 0; k <= i && flushed; k++) {
                durable[k] |= ended_well[k];
            }
            all &= flushed;
        }
    }
    bool closed = node_close(n) == 0;
    for (int k = 0; k < WRITES && closed; k++) {
        durable[k] |= ended_well[k];
    }
    return all && closed;
}

/* A bitmap is in use, or knows of each write. */
static void look_at_bitmap(const struct node *n, bool lived)
{
    const struct bitmap *b = bitmap_find(n, "b");

    assert_non_null(b);
    for (int i = 0; i < WRITES && lived && !b->inconsistent; i++) {
        assert_true(bitmap_get(b, (uint64_t)i * 3 * CLUSTER));
    }
}

static void look_after(const struct files *f, const struct life *l, const bool *durable, bool lived)
{
    struct node *n = open_life(f, l, NULL);
    struct qcow2_check c = { 0 };
    uint8_t buf[CLUSTER];

    assert_non_null(n);
    if (l->bitmap) {
        look_at_bitmap(n, lived);
    }
    assert_int_equal(qcow2_check(n, QCOW2_CHECK_ONLY, &c), 0);
    assert_int_equal(c.corruptions, 0);
    for (int i = 0; i < WRITES; i++) {
        assert_int_equal(node_read(n, (uint64_t)i * 3 * CLUSTER, buf, CLUSTER), 0);
        for (int k = 0; k < CLUSTER; k++) {
            if (buf[k] != i + 1 && (durable[i] || buf[k] != 0)) {
                fail_msg("aio %d, cache %d: call fails with %d: write %d is lost", way.aio,
                         way.cache, fault.with, i);
            }
        }
    }
    assert_int_equal(node_close(n), 0);
}

/* The nth call fails, be it while the image is opened, used or closed. False: there were fewer. */
static bool fail_once(const struct files *f, const struct life *l, int with, int nth)
{
    bool durable[WRITES] = { 0 }, ended[WRITES] = { 0 }, well;
    struct node *n;

    make_life(f, l);
    fault.hit = false;
    fault.with = with;
    fault.left = nth;
    n = open_life(f, l, &failing);
    well = n && faulty_life(n, l, durable, ended);
    if (with == EINTR || with == EAGAIN || with == 0) {
        if (!well) {
            fail_msg("aio %d, cache %d: call %d fails with %d", way.aio, way.cache, nth, with);
        }
    }
    fault.left = 0;
    look_after(f, l, durable, n != NULL);
    return fault.hit;
}

static void fail_each_call(const struct files *f, const struct life *l)
{
    static const int errors[] = { EIO, ENOSPC, EINTR, EAGAIN, 0 };

    for (size_t w = 0; w < ARRAY_SIZE(errors); w++) {
        for (int nth = 1; fail_once(f, l, errors[w], nth); nth++) {
        }
    }
}

static void test_qcow2_when_any_call_fails_once_nothing_is_lost_silently(void **state)
{
    static const struct way ways[] = { { BLK_AIO_THREADS, BLK_DIRECTSYNC },
                                       { BLK_AIO_NATIVE, BLK_NONE },
                                       { BLK_AIO_IO_URING, BLK_WRITEBACK },
                                       { BLK_AIO_IO_URING, BLK_WRITETHROUGH },
                                       { BLK_AIO_IO_URING, BLK_NONE } };
    struct files f = { "/dev/shm/keel-test-qcow2-XXXXXX", "/dev/shm/keel-test-qcow2-XXXXXX" };

    (void)state;
    close(mkstemp(f.image));
    close(mkstemp(f.data));
    for (size_t l = 0; l < ARRAY_SIZE(lives); l++) {
        fail_each_call(&f, &lives[l]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        way = ways[i];
        fail_each_call(&f, &lives[i % ARRAY_SIZE(lives)]);
    }
    way = (struct way){ 0 };
    unlink(f.image);
    unlink(f.data);
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    ctx = node_ctx_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    node_ctx_free(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qcow2_discard_does_not_free_a_cluster_that_is_being_written),
        cmocka_unit_test(test_qcow2_read_waits_for_whoever_changes_its_mapping),
        cmocka_unit_test(test_qcow2_freed_cluster_is_reused_only_after_a_flush),
        cmocka_unit_test(test_qcow2_data_mapped_onto_metadata_are_not_written),
        cmocka_unit_test(test_qcow2_when_any_call_fails_once_nothing_is_lost_silently),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
