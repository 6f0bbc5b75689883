/* SPDX-License-Identifier: MIT */
/* tests/unit/test-mapped-crash.c - every crash of a VHD, VDI or VMDK image, on a simulated disk.
 *
 * The real drivers run random workloads on the disk of crash-rig.h: writes, zeros, discards, reads,
 * flushes, several in flight. Each state that a loss of power could leave opens, its check finds no block
 * that lies nowhere or over another (leaks are allowed), and every sector reads as what it held at the
 * last flush or something written since. Now and then it is written to and looked at again.
 *
 *   KEEL_CRASH_STATES=N  how many states to try (a bounded slice otherwise)
 *   KEEL_CRASH_SEED=N    where to begin
 */
#include "block/format.h"
#include "dm/base/err.h"
#define CRASH_SECTORS 8192
#include "tests/unit/crash-rig.h"

static const struct shape {
    const struct format *format;
    struct format_create c;
    uint64_t size;
} shapes[] = {
    /* Small disks of few blocks, so that most are taken in a workload. */
    { &format_vpc, { .force_size = true }, 4 << 20 },
    { &format_vdi, { 0 }, 3 << 20 },
    { &format_vmdk, { 0 }, 1 << 20 },
    { &format_vmdk, { .zeroed_grain = true }, 1 << 20 },
};

static struct {
    uint64_t states, wanted, written;
    unsigned every, variants;
    bool off;
    const struct shape *shape;
    struct node_ctx *ctx; /* where crash states are looked at */
} crash;

static struct sim *the_sim;

static void crash_fail(const uint8_t *image, uint64_t len, const char *what)
{
    FILE *f = fopen("/var/tmp/keel-crash.image", "wb");

    if (f) {
        fwrite(image, 1, len, f);
        fclose(f);
    }
    fail_msg("seed %" PRIu64 ", state %" PRIu64 ", %s: %s (image in /var/tmp/keel-crash.image)",
             workload_seed, crash.states, crash.shape->format->name, what);
}

static struct node *open_node(struct node *file, bool read_only, struct err *e)
{
    struct image_open o = {
        .fd = -1, .format = crash.shape->format->name, .read_only = read_only, .discard = true
    };

    return crash.shape->format->open(file, &o, e);
}

static void check(struct node *n, const uint8_t *image, uint64_t len)
{
    struct format_check c = { 0 };

    if (crash.shape->format->check(n, &c) < 0 || c.corruptions || c.errors) {
        crash_fail(image, len, "the check finds corruption");
    }
}

static void compare(struct node *n, const uint8_t *image, uint64_t len)
{
    uint8_t *buf = xcalloc(model.sectors, 512);

    if (node_read(n, 0, buf, model.sectors * 512) < 0) {
        crash_fail(image, len, "it cannot be read");
    }
    for (uint64_t i = 0; i < model.sectors; i++) {
        if (!sector_allows(&model.s[i], i, buf + i * 512)) {
            char msg[80];
            uint32_t id;
            memcpy(&id, buf + i * 512, 4);
            snprintf(msg, sizeof(msg), "sector %" PRIu64 " reads as write %u", i, id);
            crash_fail(image, len, msg);
        }
    }
    free(buf);
}

static void write_on(uint8_t *image, uint64_t len)
{
    struct err e = { 0 };
    struct node *n = open_node(ram_node_new(crash.ctx, image, len), false, &e);
    uint8_t buf[2048], back[2048];
    uint64_t at;

    if (!n) {
        crash_fail(image, len, e.msg);
    }
    at = rnd(n->len / 512 - 4) * 512;
    memset(buf, 0x5a, sizeof(buf));
    if (node_write(n, at, buf, sizeof(buf)) < 0 || node_flush(n) < 0 ||
        node_read(n, at, back, sizeof(back)) < 0 || memcmp(buf, back, sizeof(buf)) != 0) {
        crash_fail(image, len, "it does not take a write");
    }
    check(n, image, len);
    node_close(n);
    crash.written++;
}

static void try_state(void)
{
    uint64_t len = the_sim->base.len;
    uint8_t *image = crash_image(the_sim, (enum how)rnd(HOWS));
    struct err e = { 0 };
    struct node *n = open_node(ram_node_view(crash.ctx, image, len), true, &e);

    crash.states++;
    if (!n) {
        crash_fail(image, len, e.msg);
    }
    check(n, image, len);
    compare(n, image, len);
    node_close(n);
    if (crash.states % 16 == 0) {
        write_on(image, len);
    }
    free(image);
}

static void crash_point(void)
{
    if (crash.off || !the_sim || crash.states >= crash.wanted || rnd(crash.every)) {
        return;
    }
    crash.off = true;
    for (unsigned i = 0; i < crash.variants; i++) {
        try_state();
    }
    crash.off = false;
}

/* ---- workloads ---- */

static void random_op(struct node *n, unsigned *in_flight)
{
    static const enum node_op ops[] = { NODE_WRITE, NODE_WRITE, NODE_WRITE,  NODE_READ,
                                        NODE_ZERO,  NODE_FLUSH, NODE_DISCARD };
    enum node_op op = ops[rnd(ARRAY_SIZE(ops))];
    uint64_t first = rnd(model.sectors);
    uint64_t len = min_u64(1 + rnd(rnd(3) ? 8 : 300), model.sectors - first);

    if (op == NODE_READ || op == NODE_FLUSH || rnd(4) == 0 || !any_busy(first, len)) {
        guest_submit(n, op, first, len, op == NODE_ZERO && rnd(2) ? NODE_UNMAP : 0, in_flight,
                     false);
    }
}

static void model_reset(uint64_t sectors)
{
    memset(&model, 0, sizeof(model));
    model.sectors = min_u64(sectors, MAX_SECTORS);
    model.clock = 1;
    for (uint64_t i = 0; i < model.sectors; i++) {
        model.s[i].n = 1;
    }
}

/* A fresh image on a simulated disk. */
static struct node *start(struct node_ctx *ctx)
{
    struct format_create c = crash.shape->c;
    struct node *r = ram_node_new(crash.ctx, NULL, 0), *n;
    struct err e = { 0 };

    c.size = crash.shape->size;
    if (crash.shape->format->create(r, &c, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    the_sim = sim_new(ctx, ((struct ram_node *)r)->data, r->len);
    the_sim->slot = &the_sim;
    node_close(r);
    n = open_node(&the_sim->base, false, &e);
    if (!n) {
        fail_msg("%s", e.msg);
    }
    model_reset(n->len / 512);
    return n;
}

static void wait_for(struct node_ctx *ctx, const unsigned *in_flight, unsigned most)
{
    while (*in_flight > most) {
        node_ctx_poll(ctx, true);
    }
}

static void one_workload(uint64_t seed)
{
    struct node_ctx *ctx = node_ctx_new(NULL);
    unsigned in_flight = 0;

    workload_seed = seed;
    rng = seed * 0x9e3779b97f4a7c15ull + 1;
    next_id = next_tag = 0;
    crash.shape = &shapes[seed % ARRAY_SIZE(shapes)];
    crash.every = 1 + (unsigned)rnd(6);
    crash.variants = 4;
    node_ctx_no_threads(ctx);
    struct node *n = start(ctx);
    for (unsigned i = 0; i < 120 && crash.states < crash.wanted; i++) {
        random_op(n, &in_flight);
        for (unsigned k = (unsigned)rnd(6); k && in_flight; k--) {
            node_ctx_poll(ctx, true);
        }
        wait_for(ctx, &in_flight, 10);
    }
    wait_for(ctx, &in_flight, 0);
    assert_int_equal(node_close(n), 0);
    node_ctx_free(ctx);
}

static void test_mapped_after_any_crash_holds_what_was_flushed(void **state)
{
    uint64_t seed = env_number("KEEL_CRASH_SEED", 1);

    (void)state;
    crash.wanted = env_number("KEEL_CRASH_STATES", 3000);
    for (crash.states = 0; crash.states < crash.wanted; seed++) {
        one_workload(seed);
    }
    print_message("%" PRIu64 " states: none corrupt; %" PRIu64 " written on\n", crash.states,
                  crash.written);
}

static int setup(void **state)
{
    (void)state;
    crash.ctx = crash_context();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    node_ctx_free(crash.ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapped_after_any_crash_holds_what_was_flushed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
