/* SPDX-License-Identifier: MIT */
/* tests/unit/test-pci.c - a PCI function with one of everything, through configuration space. */
#include "flat-pc.h"

#include <errno.h>

struct toy {
    struct pci_dev pci;
    struct gmem_block vram, rom;
    char vram_name[48], rom_name[48]; /* unique in a machine */
    uint8_t io[256];
    unsigned wrote; /* config_wrote calls */
};

static uint64_t toy_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct toy *)d)->io[off & 0xff];
}

static void toy_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    ((struct toy *)d)->io[off & 0xff] = (uint8_t)val;
}

static uint64_t vram_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct toy *)d)->vram.host[off];
}

static const struct region_ops toy_ops = { toy_read, toy_write, 1, NULL };
static const struct region_ops vram_ops = { vram_read, toy_write, 1, NULL };

static void toy_config_wrote(struct pci_dev *p, unsigned off, unsigned size)
{
    (void)off, (void)size;
    ((struct toy *)p)->wrote++;
}

static int toy_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0xfeed,
        .device = 0x0001,
        .subvendor = 0xabcd,
        .subdevice = 0x4321,
        .class = 0x030000,
        .revision = 7,
        .int_pin = 2,
    };
    struct toy *s = (struct toy *)d;
    int ret = pci_init(&s->pci, &info, e);

    if (ret < 0) {
        return ret;
    }
    snprintf(s->vram_name, sizeof(s->vram_name), "%s.vram", d->id);
    snprintf(s->rom_name, sizeof(s->rom_name), "%s.rom", d->id);
    s->vram.name = s->vram_name;
    s->vram.len = 0x10000;
    s->rom.name = s->rom_name;
    s->rom.len = 0x1000;
    if (gmem_block_new(d->m, &s->vram, e) < 0 || gmem_block_new(d->m, &s->rom, e) < 0) {
        return -1;
    }
    pci_add_bar(&s->pci, 0, true, 16, &toy_ops, "TOY_IO");
    pci_add_bar(&s->pci, 1, false, 0x100, &toy_ops, "TOY_MEM");
    pci_add_block_bar(&s->pci, 2, &s->vram, true, &vram_ops, "TOY_VRAM");
    pci_add_block_bar(&s->pci, PCI_ROM_BAR, &s->rom, false, &toy_ops, "TOY_ROM");
    assert_int_equal(pci_add_cap(&s->pci, 0x09, 6), 0x40);
    pci_add_msi(&s->pci);
    s->pci.config_wrote = toy_config_wrote;
    return 0;
}

static void toy_reset(struct device *d)
{
    pci_reset(&((struct toy *)d)->pci);
}

static int toy_loaded(struct device *d, struct err *e)
{
    return pci_loaded(&((struct toy *)d)->pci, e);
}

static void toy_fini(struct device *d)
{
    struct toy *s = (struct toy *)d;

    if (s->pci.bus) {
        pci_fini(&s->pci);
        gmem_block_free(d->m, &s->vram);
        gmem_block_free(d->m, &s->rom);
    }
}

static const struct dev_prop toy_props[] = {
    PCI_PROPS(struct toy),
    { NULL, PROP_END, 0, 0, NULL },
};
static const struct state_field toy_state[] = { PCI_STATE(struct toy), FIELD_END };
static const struct dev_class toy_class = {
    .name = "toy",
    .size = sizeof(struct toy),
    .props = toy_props,
    .state = toy_state,
    .state_version = 1,
    .init = toy_init,
    .reset = toy_reset,
    .loaded = toy_loaded,
    .fini = toy_fini,
};

#define DF PCI_DEVFN(1, 0)
enum { MSI = 0x48 };

static struct toy *start(struct flat_pc *pc)
{
    pc_make(pc, true);
    return (struct toy *)pc_add(pc, &toy_class);
}

static void test_pci_header_when_read_then_identity_and_readonly(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc);
    assert_int_equal(cfg(&pc, DF, 0, 4), 0x0001feed);
    assert_int_equal(cfg(&pc, DF, 8, 4), 0x03000007);
    assert_int_equal(cfg(&pc, DF, 0x2c, 4), 0x4321abcd);
    assert_int_equal(cfg(&pc, DF, 0x3d, 1), 2);
    assert_int_equal(cfg(&pc, DF, 0x0e, 1), 0);
    for (unsigned reg = 0; reg < 4; reg++) {
        cfg_set(&pc, DF, reg, 1, 0x55);
    }
    assert_int_equal(cfg(&pc, DF, 0, 4), 0x0001feed);
    assert_int_equal(cfg(&pc, PCI_DEVFN(2, 0), 0, 4), 0xffffffff);
    assert_int_equal(pci_cfg_read(pc.m, 1, DF, 0, 4), 0xffffffff);
    assert_int_equal(pci_cfg_read(pc.m, 0, DF, 0xff, 2), 0xffff);
    pc_free(&pc);
}

static void test_pci_slots_when_no_addr_then_in_order(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct err e = { 0 };

    (void)state;
    start(&pc);
    d = dev_new(pc.m, &toy_class, "there");
    dev_set_str(d, "addr", "1f.7");
    ((struct toy *)pc_start(d))->wrote = 0;
    assert_int_equal(cfg(&pc, PCI_DEVFN(0x1f, 7), 0, 2), 0xfeed);
    for (const char *const *bad =
             (const char *const[]){ "20", "1.8", "x", "1.", "-1", "1.0.0", "", NULL };
         *bad; bad++) {
        d = dev_new(pc.m, &toy_class, "bad");
        dev_set_str(d, "addr", *bad);
        assert_int_equal(dev_init(d, &e), -EINVAL);
        dev_free(d);
    }
    d = dev_new(pc.m, &toy_class, "bad");
    dev_set_str(d, "addr", "1");
    assert_int_equal(dev_init(d, &e), -EBUSY);
    assert_non_null(strstr(e.msg, "toy.0"));
    dev_free(d);
    pc_free(&pc);
}

static void test_pci_bus_when_full_then_refused(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct err e = { 0 };

    (void)state;
    start(&pc);
    for (unsigned slot = 2; slot < 32; slot++) {
        pc.m->pci->fn[PCI_DEVFN(slot, 3)] = pc.m->pci->fn[0]; /* one function takes the slot */
    }
    d = dev_new(pc.m, &toy_class, "late");
    assert_int_equal(dev_init(d, &e), -EBUSY);
    dev_free(d);
    pc_free(&pc);
}

static void test_pci_bar_when_sized_with_decoding_on_then_mask_and_same_place(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    cfg_set(&pc, DF, 0x10, 4, 0xc000);
    cfg_set(&pc, DF, 0x14, 4, 0xf0000000);
    cfg_set(&pc, DF, 4, 2, 7);
    s->io[3] = 0x77;
    assert_int_equal(in(&pc, 0xc003, 1), 0x77);
    cfg_set(&pc, DF, 0x10, 4, 0xffffffff);
    assert_int_equal(cfg(&pc, DF, 0x10, 4), 0xfffffff1);
    assert_int_equal(in(&pc, 0xc003, 1), 0xff);
    assert_int_equal(in(&pc, 0xfff3, 1), 0xff);
    cfg_set(&pc, DF, 0x14, 4, 0xffffffff);
    assert_int_equal(cfg(&pc, DF, 0x14, 4), 0xffffff00);
    assert_int_equal(pci_bar_at(&s->pci, 1), PCI_BAR_OFF);
    cfg_set(&pc, DF, 0x10, 4, 0xc000);
    cfg_set(&pc, DF, 0x14, 4, 0xf0000000);
    assert_int_equal(in(&pc, 0xc003, 1), 0x77);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xf0000003, 1), 0x77);
    /* unimplemented BARs are hard-wired to zero */
    cfg_set(&pc, DF, 0x1c, 4, 0xffffffff);
    assert_int_equal(cfg(&pc, DF, 0x1c, 4), 0);
    pc_free(&pc);
}

static void test_pci_bar_when_decode_bits_off_then_unclaimed(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    cfg_set(&pc, DF, 0x10, 4, 0xc000);
    cfg_set(&pc, DF, 0x14, 4, 0xf0000000);
    s->io[0] = 0x11;
    assert_int_equal(in(&pc, 0xc000, 1), 0xff);
    cfg_set(&pc, DF, 4, 2, PCI_COMMAND_IO);
    assert_int_equal(in(&pc, 0xc000, 1), 0x11);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xf0000000, 1), 0xff);
    cfg_set(&pc, DF, 4, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(in(&pc, 0xc000, 1), 0xff);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xf0000000, 1), 0x11);
    cfg_set(&pc, DF, 0x10, 4, 0x1c000); /* above the port space: nowhere */
    cfg_set(&pc, DF, 4, 2, 3);
    assert_int_equal(in(&pc, 0xc000, 1), 0xff);
    cfg_set(&pc, DF, 0x10, 4, 0);
    assert_int_equal(pci_bar_at(&s->pci, 0), PCI_BAR_OFF);
    pc_free(&pc);
}

static void test_pci_bars_when_swapped_then_both_answer(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    cfg_set(&pc, DF, 4, 2, 2);
    cfg_set(&pc, DF, 0x14, 4, 0xf0000000);
    cfg_set(&pc, DF, 0x18, 4, 0xe0000000);
    cfg_set(&pc, DF, 0x14, 4, 0xe0000000);
    cfg_set(&pc, DF, 0x18, 4, 0xf0000000);
    assert_int_equal(pci_bar_at(&s->pci, 1), 0xe0000000);
    assert_int_equal(pci_bar_at(&s->pci, 2), 0xf0000000);
    pc_free(&pc);
}

static void test_pci_block_bar_when_lent_then_not_trapped_else_region(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    s->vram.host[5] = 0x5a;
    assert_int_equal(cfg(&pc, DF, 0x18, 4), 8); /* prefetchable */
    cfg_set(&pc, DF, 0x18, 4, 0xe0000000);
    cfg_set(&pc, DF, 4, 2, 2);
    assert_int_equal(s->vram.gpa, 0xe0000000);
    assert_false(s->pci.bar[2].region.mapped);
    cfg_set(&pc, DF, 4, 2, 0);
    assert_true(s->vram.gpa == GMEM_NOWHERE);
    pc.f->refuse_lend = true;
    cfg_set(&pc, DF, 4, 2, 2);
    assert_true(s->pci.bar[2].region.mapped);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xe0000005, 1), 0x5a);
    pc_free(&pc);
}

static void test_pci_rom_when_enable_bit_then_decoded(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    cfg_set(&pc, DF, 0x30, 4, 0xfffffffe); /* hvmloader sizes it so */
    assert_int_equal(cfg(&pc, DF, 0x30, 4), 0xfffff000);
    cfg_set(&pc, DF, 0x30, 4, 0xfe000000);
    cfg_set(&pc, DF, 4, 2, 2);
    assert_true(s->rom.gpa == GMEM_NOWHERE);
    cfg_set(&pc, DF, 0x30, 4, 0xfe000001);
    assert_int_equal(s->rom.gpa, 0xfe000000);
    cfg_set(&pc, DF, 4, 2, 0);
    assert_true(s->rom.gpa == GMEM_NOWHERE);
    pc_free(&pc);
}

static void test_pci_intx_when_disabled_then_status_bit_only(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    machine_enter(pc.m);
    pci_set_intx(&s->pci, true);
    machine_leave(pc.m);
    assert_true(pc.f->intx[DF][1]);
    assert_int_equal(cfg(&pc, DF, 6, 2) & 8, 8);
    cfg_set(&pc, DF, 4, 2, PCI_COMMAND_INTX_DISABLE);
    assert_false(pc.f->intx[DF][1]);
    assert_int_equal(cfg(&pc, DF, 6, 2) & 8, 8);
    cfg_set(&pc, DF, 4, 2, 0);
    assert_true(pc.f->intx[DF][1]);
    cfg_set(&pc, DF, 6, 2, 0xffff); /* not the guest's to clear */
    assert_true(pc.f->intx[DF][1]);
    machine_enter(pc.m);
    machine_reset(pc.m);
    machine_leave(pc.m);
    assert_false(pc.f->intx[DF][1]);
    pc_free(&pc);
}

static void test_pci_msi_when_enabled_then_message_per_edge_and_no_wire(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    assert_int_equal(cfg(&pc, DF, 0x34, 1), 0x40);
    assert_int_equal(cfg(&pc, DF, 0x40, 2), 0x4809);
    assert_int_equal(cfg(&pc, DF, MSI, 4), 0x00800005);
    assert_int_equal(cfg(&pc, DF, 6, 2) & 0x10, 0x10);
    cfg_set(&pc, DF, MSI + 4, 4, 0xfee01003);
    cfg_set(&pc, DF, MSI + 8, 4, 1);
    cfg_set(&pc, DF, MSI + 12, 4, 0x12344041);
    cfg_set(&pc, DF, MSI + 2, 2, 0xffff);
    assert_int_equal(cfg(&pc, DF, MSI + 2, 2), 0x81);
    machine_enter(pc.m);
    pci_set_intx(&s->pci, true);
    pci_set_intx(&s->pci, true);
    machine_leave(pc.m);
    assert_int_equal(pc.f->msi_count, 1);
    assert_true(pc.f->msi_addr == 0x1fee01000);
    assert_int_equal(pc.f->msi_data, 0x4041);
    assert_false(pc.f->intx[DF][1]);
    machine_enter(pc.m);
    pci_set_intx(&s->pci, false);
    pci_set_intx(&s->pci, true);
    machine_leave(pc.m);
    assert_int_equal(pc.f->msi_count, 2);
    pc_free(&pc);
}

/* CVE-2020-13754 and -27821 in configuration space: every offset and width, all bits set. */
static void test_pci_msi_when_written_at_every_offset_then_only_its_own_bits_change(void **state)
{
    static const uint8_t may[14] = { 0,    0,    1,    0,    0xfc, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    for (unsigned at = MSI - 3; at < MSI + 16; at++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            uint8_t was[256];
            memcpy(was, s->pci.config, 256);
            io_write(pc.m, IO_PCI, PCI_CFG_ADDR(DF, at), size, UINT64_MAX);
            for (unsigned i = 0; i < 256; i++) {
                unsigned mask = i >= MSI && i < MSI + 14 ? may[i - MSI] : 0;
                assert_int_equal((s->pci.config[i] ^ was[i]) & ~mask, 0);
            }
        }
    }
    machine_enter(pc.m);
    pci_set_intx(&s->pci, true);
    machine_leave(pc.m);
    assert_int_equal(pc.f->msi_count, 1); /* wherever it points: Xen decides what that is */
    assert_true(pc.f->msi_addr == ~3ull);
    pc_free(&pc);
}

static void test_pci_dma_when_not_master_then_refused(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);
    uint8_t buf[4] = { 1, 2, 3, 4 };

    (void)state;
    machine_enter(pc.m);
    assert_int_equal(pci_dma_write(&s->pci, 0x100, buf, 4), -EPERM);
    machine_leave(pc.m);
    cfg_set(&pc, DF, 4, 2, PCI_COMMAND_MASTER);
    machine_enter(pc.m);
    assert_int_equal(pci_dma_write(&s->pci, 0x100, buf, 4), 0);
    assert_int_equal(pci_dma_write(&s->pci, (1 << 20) - 2, buf, 4), -EFAULT);
    machine_leave(pc.m);
    assert_memory_equal(pc.f->ram + 0x100, buf, 4);
    pc_free(&pc);
}

static void test_pci_config_when_moved_then_windows_and_lines_follow(void **state)
{
    struct flat_pc a, b;
    struct toy *s = start(&a), *t = start(&b);

    (void)state;
    cfg_set(&a, DF, 0x10, 4, 0xc000);
    cfg_set(&a, DF, 0x18, 4, 0xe0000000);
    cfg_set(&a, DF, 4, 2, 3);
    cfg_set(&a, DF, 0x3c, 1, 11);
    machine_enter(a.m);
    pci_set_intx(&s->pci, true);
    machine_leave(a.m);
    pc_move(&a, &b);
    assert_int_equal(pci_bar_at(&t->pci, 0), 0xc000);
    assert_int_equal(pci_bar_at(&t->pci, 2), 0xe0000000);
    assert_int_equal(cfg(&b, DF, 0x3c, 1), 11);
    assert_true(b.f->intx[DF][1]);
    pc_free(&a);
    pc_free(&b);
}

static void test_pci_config_when_readonly_bytes_differ_then_load_refused(void **state)
{
    struct flat_pc a, b;
    struct toy *s = start(&a);
    struct state_buf buf = { 0 };
    struct err e = { 0 };

    (void)state;
    start(&b);
    s->pci.config[0] = 0x12;
    dev_save(&s->pci.dev, &buf);
    machine_set_run_state(b.m, RUN_PAUSED);
    machine_enter(b.m);
    assert_int_equal(dev_load(machine_find(b.m, "toy.0"), buf.p, buf.len, &e), -EINVAL);
    machine_leave(b.m);
    assert_non_null(strstr(e.msg, "0x00"));
    assert_int_equal(cfg(&b, DF, 0, 2), 0xfeed);
    free(buf.p);
    pc_free(&a);
    pc_free(&b);
}

static void test_pci_config_when_written_then_hook_called(void **state)
{
    struct flat_pc pc;
    struct toy *s = start(&pc);

    (void)state;
    cfg_set(&pc, DF, 0x40, 4, 0);
    assert_int_equal(s->wrote, 1);
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pci_header_when_read_then_identity_and_readonly),
        cmocka_unit_test(test_pci_slots_when_no_addr_then_in_order),
        cmocka_unit_test(test_pci_bus_when_full_then_refused),
        cmocka_unit_test(test_pci_bar_when_sized_with_decoding_on_then_mask_and_same_place),
        cmocka_unit_test(test_pci_bar_when_decode_bits_off_then_unclaimed),
        cmocka_unit_test(test_pci_bars_when_swapped_then_both_answer),
        cmocka_unit_test(test_pci_block_bar_when_lent_then_not_trapped_else_region),
        cmocka_unit_test(test_pci_rom_when_enable_bit_then_decoded),
        cmocka_unit_test(test_pci_intx_when_disabled_then_status_bit_only),
        cmocka_unit_test(test_pci_msi_when_enabled_then_message_per_edge_and_no_wire),
        cmocka_unit_test(test_pci_msi_when_written_at_every_offset_then_only_its_own_bits_change),
        cmocka_unit_test(test_pci_dma_when_not_master_then_refused),
        cmocka_unit_test(test_pci_config_when_moved_then_windows_and_lines_follow),
        cmocka_unit_test(test_pci_config_when_readonly_bytes_differ_then_load_refused),
        cmocka_unit_test(test_pci_config_when_written_then_hook_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
