/* SPDX-License-Identifier: MIT */
/* tests/unit/test-relay.c - block/relay.h: a thread works on a node of another context. */
#include "block/relay.h"

#include "dm/base/err.h"
#include "ram-node.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PIECE = 4096, PIECES = 64 };

struct bed {
    struct node_ctx *ctx;
    struct node *ram;
    struct relay *relay;
    struct node_work end;
    pthread_t thread;
    bool ended, held;
    unsigned asked;
    /* the thread's */
    int (*work)(struct node *n);
    int ret;
};

static void asked(void *opaque)
{
    struct bed *b = opaque;

    b->asked++;
    if (!b->held) {
        relay_carry(b->relay);
    }
}

static void ended(struct node_work *w)
{
    container_of(w, struct bed, end)->ended = true;
}

static void *thread(void *opaque)
{
    struct bed *b = opaque;
    struct node_ctx *c = node_ctx_new(NULL);
    struct node *n = relay_open(b->relay, c);

    b->ret = b->work(n);
    node_close(n);
    node_ctx_free(c);
    node_ctx_end(&b->end);
    return NULL;
}

static void begin(struct bed *b, int (*work)(struct node *n))
{
    *b = (struct bed){ .ctx = node_ctx_new(NULL), .end.done = ended, .work = work };
    b->ram = ram_node_new(b->ctx, NULL, 0);
    b->relay = relay_new(b->ram, asked, b);
    node_ctx_begin(b->ctx, &b->end);
    assert_int_equal(pthread_create(&b->thread, NULL, thread, b), 0);
}

static void finish(struct bed *b)
{
    while (!b->ended) {
        node_ctx_poll(b->ctx, true);
    }
    pthread_join(b->thread, NULL);
    relay_free(b->relay);
    node_close(b->ram);
    node_ctx_free(b->ctx);
}

/* ---- everything a node can be asked for ---- */

static int write_and_look(struct node *n)
{
    uint8_t out[PIECE], in[PIECE];
    struct node_status st;
    struct err e = { 0 };
    bool ok = true;

    for (unsigned i = 0; i < PIECES; i++) {
        memset(out, (int)i + 1, sizeof(out));
        ok = ok && node_write(n, i * PIECE, out, sizeof(out)) == 0 && n->len == (i + 1) * PIECE;
    }
    for (unsigned i = 0; i < PIECES; i++) {
        ok = ok && node_read(n, i * PIECE, in, sizeof(in)) == 0 && in[7] == i + 1;
    }
    ok = ok && node_rw(n, NODE_ZERO, 0, NULL, PIECE, 0) == 0 && node_read(n, 0, in, PIECE) == 0 &&
         node_is_zero(in, PIECE);
    ok = ok && node_status(n, 0, PIECE, &st) == 0 && st.len >= 512;
    ok = ok && node_flush(n) == 0;
    ok = ok && node_resize(n, 512, &e) == 0 && n->len == 512;
    return ok ? 0 : -EIO;
}

static void test_relay_when_a_thread_works_on_it_then_the_node_has_its_bytes(void **state)
{
    struct bed b;

    (void)state;
    begin(&b, write_and_look);
    while (!b.ended) {
        node_ctx_poll(b.ctx, true);
    }
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.ram->len, 512);
    assert_true(b.asked > PIECES);
    finish(&b);
}

/* ---- holding, stopping ---- */

static int write_once(struct node *n)
{
    static const uint8_t data[512] = { 1 };

    return node_write(n, 0, data, sizeof(data));
}

static void test_relay_when_it_is_held_then_what_is_asked_for_waits(void **state)
{
    struct bed b;

    (void)state;
    begin(&b, write_once);
    b.held = true;
    while (!b.asked) {
        node_ctx_poll(b.ctx, true);
    }
    node_ctx_drain(b.ctx);
    assert_int_equal(b.ram->len, 0);
    assert_false(b.ended);
    relay_carry(b.relay);
    finish(&b);
    assert_int_equal(b.ret, 0);
}

/* Also the second try, which nobody carries. */
static int write_and_resize(struct node *n)
{
    struct err e = { 0 };
    int ret = write_once(n);

    return ret == -ECANCELED && node_resize(n, 512, &e) == -ECANCELED && e.code == -ECANCELED
               ? ret
               : -EIO;
}

static void test_relay_when_it_is_stopped_then_everything_is_cancelled(void **state)
{
    struct bed b;

    (void)state;
    begin(&b, write_and_resize);
    b.held = true;
    while (!b.asked) {
        node_ctx_poll(b.ctx, true);
    }
    relay_stop(b.relay);
    finish(&b);
    assert_int_equal(b.ret, -ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_when_a_thread_works_on_it_then_the_node_has_its_bytes),
        cmocka_unit_test(test_relay_when_it_is_held_then_what_is_asked_for_waits),
        cmocka_unit_test(test_relay_when_it_is_stopped_then_everything_is_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
