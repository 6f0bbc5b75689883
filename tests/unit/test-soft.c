/* SPDX-License-Identifier: MIT */
/* The soft host: what a page is to plain accesses, and whose interrupt a wire becomes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hw/isa/piix3.h"
#include "hw/pci/i440fx.h"
#include "ioreq/soft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

struct rig {
    struct soft_host *s;
    struct machine *m;
    unsigned changes, wrotes, unlogs;
    uint64_t wrote_at;
    bool irq[16];
    unsigned tells;
};

static void changed(void *o)
{
    ((struct rig *)o)->changes++;
}

static void wrote(void *o, uint64_t gpa, uint64_t len)
{
    (void)len;
    ((struct rig *)o)->wrotes++;
    ((struct rig *)o)->wrote_at = gpa;
}

static void unlogged(void *o, uint64_t gpa, uint64_t len)
{
    (void)gpa, (void)len;
    ((struct rig *)o)->unlogs++;
}

static void irq(void *o, unsigned n, bool level)
{
    ((struct rig *)o)->irq[n] = level;
    ((struct rig *)o)->tells++;
}

static void msi(void *o, uint64_t addr, uint32_t data)
{
    (void)o, (void)addr, (void)data;
}

static const struct soft_listener listener = { changed, wrote, unlogged };
static const struct soft_sink sink = { irq, msi };

static void make(struct rig *r, uint64_t ram, uint64_t below)
{
    struct soft_options o = { .ram_bytes = ram, .below_4g = below };
    struct err e = { 0 };
    *r = (struct rig){ 0 };
    r->s = soft_new(&o, &e);
    assert_non_null(r->s);
    r->m = machine_new("pc", &soft_host_ops, r->s);
    soft_attach(r->s, r->m, NULL, NULL);
    soft_set_listener(r->s, &listener, r);
    soft_set_sink(r->s, &sink, r);
}

static void unmake(struct rig *r)
{
    machine_free(r->m);
    soft_free(r->s);
}

static struct device *add(struct rig *r, const struct dev_class *class, const char *addr)
{
    struct device *d = dev_new(r->m, class, NULL);
    struct err e = { 0 };
    if (addr) {
        dev_set_str(d, "addr", addr);
    }
    assert_int_equal(dev_init(d, &e), 0);
    return d;
}

static unsigned flags_of(struct rig *r, uint64_t gpa, bool smm)
{
    unsigned flags = 77;
    uint8_t *p = soft_page(r->s, gpa, smm, &flags);
    assert_int_equal(!p, flags == 0);
    return flags;
}

static void test_soft_when_ram_is_cut_then_both_parts_and_a_hole_between(void **state)
{
    struct rig r;
    unsigned flags;
    (void)state;
    make(&r, 8 * MIB, 4 * MIB);
    assert_int_equal(flags_of(&r, 0, false), SOFT_READ | SOFT_WRITE);
    assert_int_equal(flags_of(&r, 4 * MIB - 1, false), SOFT_READ | SOFT_WRITE);
    assert_int_equal(flags_of(&r, 4 * MIB, false), 0);
    assert_int_equal(flags_of(&r, 1ull << 32, false), SOFT_READ | SOFT_WRITE);
    assert_int_equal(flags_of(&r, (1ull << 32) + 4 * MIB, false), 0);
    assert_int_equal(flags_of(&r, UINT64_MAX, false), 0);
    assert_int_equal(flags_of(&r, 0xa0000, false), 0);
    assert_int_equal(flags_of(&r, 0xf0000, false), 0);
    assert_ptr_equal(soft_page(r.s, 0x12345, false, &flags), soft_ram(r.s, 0x12000, 4096));
    assert_null(soft_ram(r.s, 4 * MIB - 1, 2));
    assert_null(soft_ram(r.s, UINT64_MAX, 2));
    assert_non_null(soft_ram(r.s, (1ull << 32) + MIB, 3 * MIB));
    unmake(&r);
}

static void test_soft_when_pam_is_written_then_rom_shadow_and_protection_follow(void **state)
{
    static uint8_t rom[0x20000];
    struct rig r;
    struct err e;
    uint8_t b;
    unsigned flags;
    (void)state;
    make(&r, 8 * MIB, 0);
    add(&r, &i440fx_class, NULL);
    memset(rom, 0x5a, sizeof(rom));
    assert_int_equal(soft_add_rom(r.s, 0xe0000, rom, sizeof(rom), &e), 0);
    assert_int_equal(flags_of(&r, 0xfffff, false), SOFT_READ | SOFT_IGNORE);
    assert_int_equal(*soft_page(r.s, 0xf0000, false, &flags), 0x5a);
    assert_int_equal(flags_of(&r, 0xc8000, false), 0);
    machine_enter(r.m);
    assert_int_equal(gmem_read(r.m, 0xf0123, &b, 1), 0); /* DMA may read a ROM */
    assert_int_equal(b, 0x5a);
    assert_int_equal(gmem_write(r.m, 0xf0123, &b, 1), -EFAULT);
    machine_leave(r.m);

    r.wrotes = 0;
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x59), 1, 0x30); /* 0xf0000: read and write RAM */
    assert_int_equal(r.wrotes, 1); /* other bytes are there: code made from the ROM's is stale */
    assert_int_equal(r.wrote_at, 0xf0000);
    assert_int_equal(flags_of(&r, 0xf0000, false), SOFT_READ | SOFT_WRITE);
    assert_int_equal(*soft_page(r.s, 0xf0000, false, &flags), 0);
    assert_int_equal(*soft_page(r.s, 0xe0000, false, &flags), 0x5a);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x59), 1, 0x10); /* read-only RAM */
    assert_int_equal(flags_of(&r, 0xf0000, false), SOFT_READ | SOFT_IGNORE);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x5a), 1, 0x30); /* PAM1's upper half: 0xc4000 */
    assert_int_equal(flags_of(&r, 0xc4000, false), SOFT_READ | SOFT_WRITE);
    assert_int_equal(flags_of(&r, 0xc0000, false), 0);
    unsigned before = r.changes;
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x5a), 1, 0x30); /* nothing new */
    assert_int_equal(r.changes, before);
    machine_enter(r.m);
    machine_reset(r.m);
    machine_leave(r.m);
    assert_int_equal(flags_of(&r, 0xc4000, false), 0);
    assert_int_equal(*soft_page(r.s, 0xf0000, false, &flags), 0x5a);
    unmake(&r);
}

static void test_soft_when_smram_opens_then_only_those_who_may_see_it(void **state)
{
    struct rig r;
    (void)state;
    make(&r, 8 * MIB, 0);
    add(&r, &i440fx_class, NULL);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x72), 1, 0x48); /* D_OPEN, G_SMRAME */
    assert_int_equal(flags_of(&r, 0xa0000, false), SOFT_READ | SOFT_WRITE);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x72), 1, 0x08);
    assert_int_equal(flags_of(&r, 0xa0000, false), 0);
    assert_int_equal(flags_of(&r, 0xbf000, true), SOFT_READ | SOFT_WRITE);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x72), 1, 0x18); /* locked */
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x72), 1, 0x00);
    assert_int_equal(flags_of(&r, 0xa0000, true), SOFT_READ | SOFT_WRITE);
    unmake(&r);
}

static void test_soft_when_a_block_is_lent_then_plain_and_its_stores_are_logged(void **state)
{
    struct rig r;
    struct err e;
    struct gmem_block b = { .name = "vram", .len = 128 * 4096 };
    uint64_t bits[2];
    unsigned flags;
    (void)state;
    make(&r, 8 * MIB, 0);
    machine_enter(r.m);
    assert_int_equal(gmem_block_new(r.m, &b, &e), 0);
    assert_true(gmem_block_lend(r.m, &b, 0xfd000000));
    assert_int_equal(r.changes, 1);
    assert_int_equal(flags_of(&r, 0xfd001000, false), SOFT_READ | SOFT_WRITE | SOFT_LOG);
    assert_ptr_equal(soft_page(r.s, 0xfd001000, false, &flags), b.host + 4096);
    soft_mark_dirty(r.s, 0xfd001fff);
    soft_mark_dirty(r.s, 0xfd000000 + 127 * 4096);
    gmem_block_dirty(r.m, &b, 0, b.len, bits);
    assert_int_equal(bits[0], 2);
    assert_int_equal(bits[1], 1ull << 63);
    assert_int_equal(r.unlogs, 1);
    gmem_block_dirty(r.m, &b, 0, b.len, bits);
    assert_int_equal(bits[0] | bits[1], 0);
    assert_int_equal(r.unlogs, 1); /* nothing was taken */
    assert_int_equal(gmem_write(r.m, 0xfd003000, "x", 1), 0);
    assert_int_equal(r.wrote_at, 0xfd003000);
    gmem_block_dirty(r.m, &b, 4096, 4096 * 4, bits);
    assert_int_equal(bits[0], 4);
    soft_mark_dirty(r.s, 0x1000); /* not logged: nothing */
    gmem_block_lend(r.m, &b, GMEM_NOWHERE);
    assert_int_equal(flags_of(&r, 0xfd001000, false), 0);
    gmem_block_free(r.m, &b);
    machine_leave(r.m);
    unmake(&r);
}

static uint64_t no_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off, (void)size;
    return 0;
}

static void test_soft_when_a_region_covers_ram_then_whole_pages_leave_the_map(void **state)
{
    static const struct region_ops ops = { no_read, NULL, 4, NULL };
    struct rig r;
    struct region region;
    (void)state;
    make(&r, 8 * MIB, 0);
    struct device *d = add(&r, &i440fx_class, NULL);
    machine_enter(r.m);
    region_init(&region, d, &ops, IO_MMIO, 0x100, "TEST");
    region_map(&region, 0x200ff0);
    machine_leave(r.m);
    assert_int_equal(flags_of(&r, 0x1ff000, false), SOFT_READ | SOFT_WRITE);
    assert_int_equal(flags_of(&r, 0x200000, false), 0);
    assert_int_equal(flags_of(&r, 0x201000, false), 0);
    assert_int_equal(flags_of(&r, 0x202000, false), SOFT_READ | SOFT_WRITE);
    machine_enter(r.m);
    region_map(&region, 0xfe000000); /* over nothing: nobody needs to hear of it */
    unsigned before = r.changes;
    region_unmap(&region);
    machine_leave(r.m);
    assert_int_equal(r.changes, before);
    unmake(&r);
}

static void test_soft_when_pirqs_share_an_isa_irq_then_their_or_is_told_once(void **state)
{
    struct rig r;
    struct line a, b, isa;
    (void)state;
    make(&r, 8 * MIB, 0);
    struct device *d = add(&r, &i440fx_class, NULL);
    add(&r, &piix3_class, "1.0");
    machine_enter(r.m);
    line_init(&a, d, LINE_INTX, 3 << 3 << 2 | 0); /* slot 3, INTA: link (3 + 0 - 1) & 3 = C */
    line_init(&b, d, LINE_INTX, 2 << 3 << 2 | 1); /* slot 2, INTB: the same */
    line_init(&isa, d, LINE_ISA, 11);
    machine_leave(r.m);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(8, 0x62), 1, 11);
    machine_enter(r.m);
    line_set(&a, true);
    line_set(&b, true);
    assert_true(r.irq[11]);
    assert_int_equal(r.tells, 1);
    line_set(&a, false);
    assert_true(r.irq[11]);
    line_set(&isa, true);
    line_set(&b, false);
    assert_true(r.irq[11]);
    line_set(&isa, false);
    assert_false(r.irq[11]);
    line_set(&a, true);
    machine_leave(r.m);
    io_write(r.m, IO_PCI, PCI_CFG_ADDR(8, 0x62), 1, 10); /* routed elsewhere while high */
    assert_false(r.irq[11]);
    assert_true(r.irq[10]);
    machine_enter(r.m);
    line_fini(&a);
    line_fini(&b);
    line_fini(&isa);
    machine_leave(r.m);
    unmake(&r);
}

struct reader {
    struct rig *r;
    bool stop, torn;
    uint64_t looked;
};

/* 0xe0000 is always there; 0xc4000 is the shadow page or nothing, never something else. */
static void *read_pages(void *o)
{
    struct reader *w = o;
    uint8_t *shadow = soft_ram(w->r->s, 0xc4000, 4096), *low = soft_ram(w->r->s, 0x5000, 4096);
    while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        unsigned f1, f2;
        uint8_t *p = soft_page(w->r->s, 0xc4000, false, &f1);
        uint8_t *q = soft_page(w->r->s, 0x5000, false, &f2);
        w->torn |= (p && p != shadow) || q != low || f2 != (SOFT_READ | SOFT_WRITE);
        w->looked++;
    }
    return NULL;
}

static void test_soft_when_read_during_changes_then_never_torn(void **state)
{
    struct rig r;
    struct reader w = { &r, false, false, 0 };
    pthread_t t;
    (void)state;
    make(&r, 8 * MIB, 0);
    add(&r, &i440fx_class, NULL);
    pthread_create(&t, NULL, read_pages, &w);
    for (unsigned i = 0; i < 20000; i++) {
        io_write(r.m, IO_PCI, PCI_CFG_ADDR(0, 0x5a), 1, i & 1 ? 0x30 : 0x03);
    }
    __atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    assert_false(w.torn);
    assert_true(w.looked > 0);
    unmake(&r);
}

static void test_soft_when_more_ram_than_there_is_then_one_line(void **state)
{
    struct soft_options o = { .ram_bytes = 1ull << 46 };
    struct err e = { 0 };
    (void)state;
    assert_null(soft_new(&o, &e));
    assert_non_null(strstr(e.msg, "guest memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_soft_when_ram_is_cut_then_both_parts_and_a_hole_between),
        cmocka_unit_test(test_soft_when_pam_is_written_then_rom_shadow_and_protection_follow),
        cmocka_unit_test(test_soft_when_smram_opens_then_only_those_who_may_see_it),
        cmocka_unit_test(test_soft_when_a_block_is_lent_then_plain_and_its_stores_are_logged),
        cmocka_unit_test(test_soft_when_a_region_covers_ram_then_whole_pages_leave_the_map),
        cmocka_unit_test(test_soft_when_pirqs_share_an_isa_irq_then_their_or_is_told_once),
        cmocka_unit_test(test_soft_when_read_during_changes_then_never_torn),
        cmocka_unit_test(test_soft_when_more_ram_than_there_is_then_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
