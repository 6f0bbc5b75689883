/* SPDX-License-Identifier: MIT */
/* tests/unit/test-luks-slots.c - changes of LUKS key slots that fail or lose power anywhere.
 *
 * A change runs over a disk in memory that logs its writes and flushes, and over a file one of whose system
 * calls fails. Each state that a loss of power could leave (any subset of the sectors written since the last
 * flush) and each state behind a call that fails must still open with the passphrase that was not touched,
 * or with one of the two when one replaces the other, and decrypt the same.
 */
#include "block/luks.h"
#include "dm/base/err.h"
#include "tests/unit/fault-rig.h"
#include "tests/unit/ram-node.h"

enum { EVENTS = 64, VARIANTS = 5 };

static const struct luks_key first = { (const uint8_t *)"first", 5, NULL },
                             second = { (const uint8_t *)"second", 6, NULL },
                             third = { (const uint8_t *)"third", 5, NULL };

static struct node_ctx *ctx;
static uint8_t *start; /* the image before a change */
static uint64_t len;
static uint8_t plain[LUKS_SECTOR]; /* a sector of zeros as the master key decrypts it */

/* ---- the disk ---- */

static struct event {
    bool flush;
    uint64_t offset, len;
    uint8_t *bytes;
} log_of[EVENTS];
static unsigned events;

struct disk {
    struct node base; /* first */
    struct node *ram;
};

static void disk_submit(struct node *n, struct node_req *r)
{
    struct disk *d = (struct disk *)n;
    if (r->op == NODE_WRITE || r->op == NODE_FLUSH) {
        assert_true(events < EVENTS);
        struct event *e = &log_of[events++];
        *e = (struct event){ .flush = r->op == NODE_FLUSH, .offset = r->offset };
        if (!e->flush) {
            e->len = r->len;
            e->bytes = xcalloc(1, r->len);
            node_iov_to_buf(r->iov, r->iovcnt, 0, e->bytes, r->len);
        }
    }
    node_complete(r, ram_do((struct ram_node *)d->ram, r));
}

static int disk_close(struct node *n)
{
    int ret = node_close(((struct disk *)n)->ram);
    free(n);
    return ret;
}

static const struct node_ops disk_ops = { .name = "disk",
                                          .submit = disk_submit,
                                          .close = disk_close };

static struct node *disk_new(const uint8_t *image)
{
    struct disk *d = xcalloc(1, sizeof(*d));
    d->ram = ram_node_new(ctx, image, len);
    d->base.ops = &disk_ops;
    d->base.ctx = ctx;
    d->base.filename = xstrdup("disk");
    d->base.len = len;
    return &d->base;
}

static void forget_events(void)
{
    while (events) {
        free(log_of[--events].bytes);
    }
}

/* ---- what opens ---- */

static bool opens(const uint8_t *image, const struct luks_key *key)
{
    struct err e = { 0 };
    struct node *n = ram_node_new(ctx, image, len);
    struct luks *l = luks_open(n, 0, len, key, &e);
    bool ok = l != NULL;
    if (ok) {
        uint8_t sector[LUKS_SECTOR] = { 0 };
        luks_crypt(l, false, 0, sector, sizeof(sector));
        assert_memory_equal(sector, plain, sizeof(sector)); /* the same master key */
        luks_free(l);
    } else {
        assert_int_equal(e.code, -EACCES);
    }
    assert_int_equal(node_close(n), 0);
    return ok;
}

/* What must hold in every state. */
typedef void check_fn(const uint8_t *image);

static void second_stays(const uint8_t *image)
{
    assert_true(opens(image, &second));
}

static void one_of_two(const uint8_t *image)
{
    assert_true(opens(image, &first) || opens(image, &second));
}

static void first_stays(const uint8_t *image)
{
    assert_true(opens(image, &first));
}

/* ---- crashes ---- */

/* Sectors of pending writes that reached the disk: none, all, every second, or some at random. */
static bool there(unsigned variant, uint64_t sector)
{
    return variant == 1   ? true
           : variant == 2 ? sector & 1
           : variant == 3 ? !(sector & 1)
           : variant == 4 ? random() & 1
                          : false;
}

static void look_at_state(unsigned flushed, unsigned upto, unsigned variant, check_fn *check)
{
    uint8_t *image = xcalloc(1, len);
    memcpy(image, start, len);
    for (unsigned i = 0; i < upto; i++) {
        const struct event *e = &log_of[i];
        for (uint64_t at = 0; at < e->len; at += 512) {
            if (i < flushed || there(variant, (e->offset + at) / 512)) {
                memcpy(image + e->offset + at, e->bytes + at, 512);
            }
        }
    }
    check(image);
    free(image);
}

static unsigned look_at_crashes(check_fn *check)
{
    unsigned flushed = 0, states = 0;
    for (unsigned upto = 0; upto <= events; upto++) {
        for (unsigned v = 0; v < VARIANTS; v++, states++) {
            look_at_state(flushed, upto, v, check);
        }
        if (upto < events && log_of[upto].flush) {
            flushed = upto + 1;
        }
    }
    return states;
}

/* ---- failures ---- */

static int amend(struct node *n, const struct luks_amend *a, struct err *e)
{
    *e = (struct err){ 0 };
    return luks_amend(n, 0, len, a, e);
}

struct change {
    const struct luks_amend *a;
    check_fn *check;
    char name[64];
};

static void failing_change(void *opaque)
{
    const struct change *c = opaque;
    const struct file_open how = { .aio = BLK_AIO_THREADS, .cache = BLK_NONE };
    struct err e;
    uint64_t l;

    fault_file_put(c->name, start, len);
    struct node *n = fault_file_open(ctx, c->name, &how, true);
    int ret = amend(n, c->a, &e);
    assert_int_equal(node_close(n), 0);
    if (ret < 0) {
        assert_true(e.msg[0] != '\0');
        fault_expected("change", e.msg, false, ret);
    }
    fault_over();
    uint8_t *image = fault_file_get(c->name, &l);
    assert_int_equal(l, len);
    c->check(image);
    free(image);
}

static void look_at_failures(const struct luks_amend *a, check_fn *check)
{
    struct change c = { a, check, "/dev/shm/keel-test-luks-XXXXXX" };

    fault_file_new(c.name);
    fault_each(failing_change, &c);
    unlink(c.name);
}

/* A change that works, then all of its crashes and failures. The image is changed afterwards. */
static void change(const struct luks_amend *a, check_fn *check)
{
    struct err e;
    struct node *n = disk_new(start);
    int ret = amend(n, a, &e);
    if (ret < 0) {
        fail_msg("%s", e.msg);
    }
    uint8_t *after = xcalloc(1, len);
    memcpy(after, ((struct ram_node *)((struct disk *)n)->ram)->data, len);
    assert_int_equal(node_close(n), 0);

    assert_true(events >= 4); /* it writes and flushes more than once */
    assert_true(look_at_crashes(check) >= 5 * VARIANTS);
    forget_events();
    look_at_failures(a, check);
    free(start);
    start = after;
}

/* ---- tests ---- */

static int new_image(void **state)
{
    struct err e;
    const struct luks_create c = { .key_bits = 128, .iter_ms = 1, .hash = "sha256" };
    (void)state;
    ctx = node_ctx_new(NULL);
    node_ctx_no_threads(ctx);
    start = luks_create(&c, &first, &len, &e);
    assert_non_null(start);
    struct node *n = ram_node_new(ctx, start, len);
    struct luks *l = luks_open(n, 0, len, &first, &e);
    assert_non_null(l);
    memset(plain, 0, sizeof(plain));
    luks_crypt(l, false, 0, plain, sizeof(plain));
    luks_free(l);
    assert_int_equal(node_close(n), 0);
    return 0;
}

static int drop_image(void **state)
{
    (void)state;
    free(start);
    node_ctx_free(ctx);
    return 0;
}

static const struct luks_amend add_second = {
    .activate = true, .slot = -1, .key = &first, .other = &second, .iter_ms = 1
};

static void test_luks_slots_when_one_is_added_then_the_old_one_opens_all_along(void **state)
{
    (void)state;
    change(&add_second, first_stays);
    assert_true(opens(start, &first) && opens(start, &second) && !opens(start, &third));
}

static void test_luks_slots_when_one_goes_then_the_other_opens_all_along(void **state)
{
    (void)state;
    change(&add_second, first_stays);
    change(&(struct luks_amend){ .slot = -1, .other = &first }, second_stays);
    assert_true(!opens(start, &first) && opens(start, &second));
}

static void test_luks_slots_when_a_passphrase_is_replaced_then_one_of_two_opens(void **state)
{
    (void)state;
    change(&add_second, one_of_two);
    change(&(struct luks_amend){ .slot = 0 }, one_of_two);
    assert_true(!opens(start, &first) && opens(start, &second));
}

static void test_luks_slots_when_one_in_use_is_written_over_then_the_other_opens(void **state)
{
    (void)state;
    change(&add_second, first_stays);
    change(&(struct luks_amend){ .activate = true,
                                 .force = true,
                                 .slot = 0,
                                 .key = &second,
                                 .other = &third,
                                 .iter_ms = 1 },
           second_stays);
    assert_true(!opens(start, &first) && opens(start, &second) && opens(start, &third));
}

#define SLOTS(name) cmocka_unit_test_setup_teardown(name, new_image, drop_image)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SLOTS(test_luks_slots_when_one_is_added_then_the_old_one_opens_all_along),
        SLOTS(test_luks_slots_when_one_goes_then_the_other_opens_all_along),
        SLOTS(test_luks_slots_when_a_passphrase_is_replaced_then_one_of_two_opens),
        SLOTS(test_luks_slots_when_one_in_use_is_written_over_then_the_other_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
