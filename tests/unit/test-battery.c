/* SPDX-License-Identifier: MIT */
/* tests/unit/test-battery.c - what every device class in the registry must stand.
 *
 * For each class: a machine with the device and what it needs is poked at random through the door,
 * over every window it has, and must survive; reset must be idempotent; saved state must come back
 * byte for byte, drive the same lines, and leave a second machine that goes on exactly like the
 * first (so state covers everything a guest can see); no truncation of its stream may load, and one
 * with wrong contents under a right checksum must do no harm.
 * The random sequence is the same in every run.
 */
#include "pc-loop.h"

#include "block/blk.h"
#include "dm/base/bytes.h"
#include "hw/registry.h"
#include "ui/con.h"

#include <errno.h>
#include <zlib.h>

#define DISK_LEN (1u << 20)
#define HOSTILE_STREAMS 150
#define ROUNDS 24 /* a lost bit shows only when it happens to be set */

/* ---- a drive in memory ---- */

struct ram_image {
    struct blk_image i; /* first */
    uint8_t bytes[DISK_LEN];
};

static void ram_submit(struct blk_image *i, struct blk_req *r)
{
    uint8_t *at = ((struct ram_image *)i)->bytes + r->offset;

    for (int n = 0; n < r->iovcnt && r->op <= BLK_WRITE; n++) {
        if (r->op == BLK_READ) {
            memcpy(r->iov[n].iov_base, at, r->iov[n].iov_len);
        } else {
            memcpy(at, r->iov[n].iov_base, r->iov[n].iov_len);
        }
        at += r->iov[n].iov_len;
    }
    blk_complete(r, 0);
}

static void ram_close(struct blk_image *i)
{
    free(i->filename);
    free(i);
}

static const struct blk_image_ops ram_ops = { .format = "raw",
                                              .submit = ram_submit,
                                              .close = ram_close };

/* ---- a machine with one device under test ---- */

struct rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct con *con;
    struct blk *blk[4];
    struct ram_image *image[4];
    unsigned ndrives;
    struct device *d;
};

/* What a class cannot do without, besides the host bridge. */
static const struct {
    const char *class, *needs;
} needs[] = {
    { "ide-cd", "piix3-ide" },   { "ide-hd", "piix3-ide" },   { "isa-fdc", "i8257" },
    { "scsi-cd", "lsi53c895a" }, { "scsi-hd", "lsi53c895a" },
};

static struct blk *add_drive(struct rig *r)
{
    struct ram_image *i = calloc(1, sizeof(*i));
    char id[16];

    assert_non_null(i);
    i->i.ops = &ram_ops;
    i->i.len = DISK_LEN;
    i->i.filename = strdup("ram");
    snprintf(id, sizeof(id), "drive%u", r->ndrives);
    r->blk[r->ndrives] = blk_new(r->loop, id);
    blk_set_image(r->blk[r->ndrives], &i->i);
    r->image[r->ndrives] = i;
    return r->blk[r->ndrives++];
}

static void fill_props(struct rig *r, struct device *d)
{
    for (const struct dev_prop *p = d->class->props; p && p->kind != PROP_END; p++) {
        if (p->kind == PROP_BLK) {
            dev_set_ptr(d, p->name, add_drive(r));
        } else if (!strcmp(p->name, "con")) {
            dev_set_ptr(d, "con", r->con);
        } else if (!strcmp(p->name, "serial")) {
            dev_set_str(d, "serial", "battery");
        } else if (!strcmp(p->name, "bus")) {
            const char *n = d->class->name;
            dev_set_str(d, "bus",
                        strncmp(n, "ide", 3) == 0    ? "ide.0"
                        : strncmp(n, "scsi", 4) == 0 ? "scsi.0"
                                                     : "pci.0");
        }
    }
}

static void rig_make(struct rig *r, const struct dev_class *c)
{
    memset(r, 0, sizeof(*r));
    r->pc.f = flat_new(1 << 20);
    r->pc.f->refuse_lend = true; /* the device answers for itself */
    r->pc.m = machine_new("pc", &flat_host_ops, r->pc.f);
    r->loop = pc_loop_new(&r->pc);
    r->con = con_new();
    machine_enter(r->pc.m);
    if (strcmp(c->name, "i440FX") != 0) {
        pc_add(&r->pc, hw_find("i440FX"));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
        if (!strcmp(needs[i].class, c->name)) {
            pc_add(&r->pc, hw_find(needs[i].needs));
        }
    }
    r->d = dev_new(r->pc.m, c, "dut");
    fill_props(r, r->d);
    pc_start(r->d);
    machine_set_run_state(r->pc.m, RUN_RUNNING);
    machine_leave(r->pc.m);
}

static void rig_free(struct rig *r)
{
    machine_free(r->pc.m);
    for (unsigned i = 0; i < r->ndrives; i++) {
        blk_free(r->blk[i]);
    }
    ev_loop_free(r->loop);
    con_free(r->con);
    flat_free(r->pc.f);
}

/* Lets back ends complete what they can. */
static void rig_settle(struct rig *r)
{
    for (unsigned i = 0; i < 64 && ev_loop_turn(r->loop, 0) > 0; i++) {
    }
}

static void rig_reset(struct rig *r)
{
    machine_enter(r->pc.m);
    machine_reset(r->pc.m);
    machine_leave(r->pc.m);
    rig_settle(r);
}

/* Gives every BAR of every function a place of its own and turns decoding and mastering on. */
static void rig_map_bars(struct rig *r)
{
    uint32_t mem = 0xe0000000, io = 0xc000;

    for (unsigned devfn = 0; r->pc.m->pci && devfn < 256; devfn++) {
        struct pci_dev *p = r->pc.m->pci->fn[devfn];
        for (unsigned n = 0; p && n <= PCI_ROM_BAR; n++) {
            struct pci_bar *b = &p->bar[n];
            uint32_t *next = b->io ? &io : &mem, size = (uint32_t)b->size;
            if (b->used) {
                *next = (*next + size - 1) & ~(size - 1);
                cfg_set(&r->pc, devfn, n == PCI_ROM_BAR ? PCI_ROM : PCI_BAR0 + 4 * n, 4,
                        *next | (n == PCI_ROM_BAR));
                *next += size;
            }
        }
        if (p) {
            cfg_set(&r->pc, devfn, PCI_COMMAND, 2, 7);
        }
    }
}

/* ---- random accesses ---- */

/* splitmix64: choices are taken from its low bits, which must not depend on each other. */
static uint64_t rnd(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Mostly values that mean something: single bits, small numbers, extremes. */
static uint64_t rnd_value(uint64_t *s)
{
    uint64_t v = rnd(s);

    switch (rnd(s) % 5) {
    case 0:
        return 1ull << (v & 31);
    case 1:
        return v & 15;
    case 2:
        return v & 1 ? UINT64_MAX : 0;
    default:
        return v;
    }
}

struct poke {
    enum io_space space;
    uint64_t addr, val;
    unsigned size;
    bool write;
};

/* One access to some window of the machine; BARs and COMMAND are left alone so that windows stay.
 */
static bool choose(struct machine *m, uint64_t *s, struct poke *p)
{
    size_t n;
    p->space = (enum io_space)(rnd(s) % IO_SPACES);
    const struct region_span *spans = region_spans(m, p->space, &n);
    uint64_t pick = rnd(s), off = rnd(s), len;

    p->size = 1u << rnd(s) % (p->space == IO_MMIO ? 4 : 3);
    p->write = rnd(s) % 2;
    p->val = rnd_value(s);
    if (n == 0) {
        return false;
    }
    spans += pick % n;
    len = spans->last - spans->first + 1;
    p->addr = spans->first + off % len;
    if (p->space == IO_PCI && p->write) {
        uint64_t reg = p->addr & 0xff;
        return reg >= 0x34 || reg + p->size <= 4;
    }
    return true;
}

static uint64_t do_poke(struct rig *r, const struct poke *p)
{
    struct io_req q = { .addr = p->addr,
                        .data = p->val,
                        .count = 1,
                        .size = (uint8_t)p->size,
                        .space = (uint8_t)p->space,
                        .write = p->write };

    (void)ioreq_run(r->pc.m, &q);
    return p->write ? 0 : q.data & ones(p->size);
}

static void con_refresh_locked(struct rig *r)
{
    machine_enter(r->pc.m);
    con_refresh(r->con, true);
    machine_leave(r->pc.m);
}

static void poke_many(struct rig *r, uint64_t *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct poke p;
        if (choose(r->pc.m, s, &p)) {
            (void)do_poke(r, &p);
        }
        if (i % 64 == 63) {
            flat_advance(r->pc.f, r->pc.m, (int64_t)(rnd(s) % 2000000));
            rig_settle(r);
            if (rnd(s) % 16 == 0) {
                con_refresh_locked(r);
            }
        }
    }
}

static uint64_t hash(struct rig *r)
{
    uint64_t h;

    machine_enter(r->pc.m);
    h = machine_state_hash(r->pc.m);
    machine_leave(r->pc.m);
    return h;
}

/* ---- the battery ---- */

static void check_every_register(struct rig *r, uint64_t *s)
{
    for (unsigned space = 0; space < IO_SPACES; space++) {
        size_t n;
        (void)region_spans(r->pc.m, space, &n);
        for (size_t i = 0; i < n; i++) {
            const struct region_span *sp = region_spans(r->pc.m, space, &n);
            if (i >= n) { /* a write moved windows */
                break;
            }
            uint64_t first = sp[i].first, len = min_u64(sp[i].last - first + 1, 512);
            for (uint64_t k = 0; k < len * 4; k++) {
                struct poke p = { space, first + k / 4, rnd_value(s), 1u << k % 4, rnd(s) % 2 };
                (void)do_poke(r, &p);
            }
            rig_settle(r);
        }
    }
}

static void check_reset_idempotent(struct rig *r)
{
    uint64_t h;

    rig_reset(r);
    h = hash(r);
    rig_reset(r);
    if (h != hash(r)) {
        fail_msg("%s: a second reset changes state", r->d->class->name);
    }
}

static void copy_world(struct rig *a, struct rig *b)
{
    memcpy(b->pc.f->ram, a->pc.f->ram, a->pc.f->ram_len);
    for (unsigned i = 0; i < a->ndrives; i++) {
        memcpy(b->image[i]->bytes, a->image[i]->bytes, DISK_LEN);
    }
    b->pc.f->wall = a->pc.f->wall;
}

static void check_lines_equal(struct rig *a, struct rig *b)
{
    const struct flat_host *f = a->pc.f, *g = b->pc.f;

    assert_memory_equal(f->isa, g->isa, sizeof(f->isa));
    assert_memory_equal(f->intx, g->intx, sizeof(f->intx));
    assert_memory_equal(f->link, g->link, sizeof(f->link));
}

static void fail_step(struct rig *a, unsigned i, const struct poke *p, uint64_t x, uint64_t y)
{
    fail_msg("%s: step %u: %s %u bytes at space %u 0x%llx: 0x%llx in the first machine, 0x%llx in "
             "the second",
             a->d->class->name, i, p->write ? "write" : "read", p->size, p->space,
             (unsigned long long)p->addr, (unsigned long long)x, (unsigned long long)y);
}

/* Both machines get the same accesses at the same times and must say the same. */
static void check_lockstep(struct rig *a, struct rig *b, uint64_t *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct poke p;
        if (choose(a->pc.m, s, &p)) {
            uint64_t x = do_poke(a, &p), y = do_poke(b, &p);
            if (x != y) {
                fail_step(a, i, &p, x, y);
            }
        }
        if (i % 32 == 31) {
            int64_t ns = (int64_t)(rnd(s) % 2000000);
            flat_advance(a->pc.f, a->pc.m, ns);
            flat_advance(b->pc.f, b->pc.m, ns);
            rig_settle(a);
            rig_settle(b);
            check_lines_equal(a, b);
        }
    }
    if (hash(a) != hash(b)) {
        fail_msg("%s: the machines part ways after a move", a->d->class->name);
    }
}

static void check_move(struct rig *a, uint64_t *s)
{
    struct rig b;

    rig_make(&b, a->d->class);
    copy_world(a, &b);
    pc_move(&a->pc, &b.pc);
    check_lines_equal(a, &b);
    if (hash(a) != hash(&b)) {
        fail_msg("%s: state differs after a move", a->d->class->name);
    }
    rig_settle(a);
    rig_settle(&b);
    check_lockstep(a, &b, s, 600);
    rig_free(&b);
}

static void check_truncations(struct rig *r, uint64_t *s)
{
    struct state_buf buf = { 0 };
    struct err e = { 0 };
    uint8_t *exact;

    machine_set_run_state(r->pc.m, RUN_PAUSED);
    machine_enter(r->pc.m);
    dev_save(r->d, &buf);
    for (size_t i = 0; i<buf.len; i += buf.len> 4096 ? 1 + rnd(s) % (buf.len / 64) : 1) {
        exact = malloc(i ? i : 1); /* so that a read past the end is seen */
        assert_non_null(exact);
        memcpy(exact, buf.p, i);
        if (dev_load(r->d, exact, i, &e) >= 0) {
            fail_msg("%s: a stream cut at byte %zu loads", r->d->class->name, i);
        }
        free(exact);
    }
    if (dev_load(r->d, buf.p, buf.len, &e) != (long)buf.len) {
        fail_msg("%s", e.msg);
    }
    machine_leave(r->pc.m);
    machine_set_run_state(r->pc.m, RUN_RUNNING);
    free(buf.p);
}

/* Streams with a right checksum and wrong contents: refused or taken, and the device lives on. A
 * record is a byte, the length of its body, the body, and the body's CRC (ioreq/state.c). */
static void check_hostile_streams(struct rig *r, uint64_t *s)
{
    for (unsigned i = 0; i < HOSTILE_STREAMS; i++) {
        struct state_buf buf = { 0 };
        struct err e = { 0 };

        rig_map_bars(r);
        poke_many(r, s, 20);
        machine_set_run_state(r->pc.m, RUN_PAUSED);
        machine_enter(r->pc.m);
        dev_save(r->d, &buf);
        for (unsigned n = 1 + rnd(s) % 4; n > 0; n--) {
            buf.p[5 + rnd(s) % (buf.len - 9)] = (uint8_t)rnd_value(s);
        }
        store_le(buf.p + buf.len - 4, 4, crc32_z(0, buf.p + 5, buf.len - 9));
        if (dev_load(r->d, buf.p, buf.len, &e) < 0) {
            assert_true(e.msg[0]);
        }
        machine_leave(r->pc.m);
        machine_set_run_state(r->pc.m, RUN_RUNNING);
        free(buf.p);
        poke_many(r, s, 80);
        con_refresh_locked(r);
    }
}

static void run_class(const struct dev_class *c)
{
    struct rig r;
    uint64_t seed = 0x9e3779b97f4a7c15;

    for (const char *p = c->name; *p; p++) {
        seed = (seed ^ (uint8_t)*p) * 0x100000001b3;
    }
    rig_make(&r, c);
    check_reset_idempotent(&r);
    check_move(&r, &seed);
    rig_map_bars(&r);
    check_every_register(&r, &seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        rig_map_bars(&r);
        poke_many(&r, &seed, 400);
        check_move(&r, &seed);
    }
    check_truncations(&r, &seed);
    check_hostile_streams(&r, &seed);
    poke_many(&r, &seed, 500);
    check_reset_idempotent(&r);
    rig_free(&r);
}

static void test_battery_class(void **state)
{
    run_class(*state);
}

static void test_registry_when_searched_then_sorted_and_found(void **state)
{
    (void)state;
    for (const struct dev_class *const *c = hw_registry; *c; c++) {
        assert_ptr_equal(hw_find((*c)->name), *c);
        assert_non_null((*c)->desc);
        assert_true((*c)->state_version >= 1);
        assert_true(!c[1] || strcmp(c[0]->name, c[1]->name) < 0);
    }
    assert_null(hw_find("no-such-device"));
    assert_null(hw_find(""));
}

/* With a name on the command line: that class alone. */
int main(int argc, char **argv)
{
    struct CMUnitTest tests[128] = {
        cmocka_unit_test(test_registry_when_searched_then_sorted_and_found),
    };
    unsigned n = 1;

    log_set_level(LOG_ERROR); /* random accesses are odd by nature */
    for (const struct dev_class *const *c = hw_registry; *c && n < ARRAY_SIZE(tests); c++) {
        if (argc < 2 || !strcmp(argv[1], (*c)->name)) {
            tests[n++] = (struct CMUnitTest){ .name = (*c)->name,
                                              .test_func = test_battery_class,
                                              .initial_state = (void *)(uintptr_t)*c };
        }
    }
    return _cmocka_run_group_tests("battery", tests, n, NULL, NULL);
}
