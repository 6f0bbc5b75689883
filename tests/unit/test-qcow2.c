/* SPDX-License-Identifier: MIT */
/* tests/unit/test-qcow2.c - named dangers of qcow2. */
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "tests/unit/ram-node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

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
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
