/* SPDX-License-Identifier: MIT */
/* tests/unit/test-msix.c - MSI-X vectors: masks, pending bits, the capability. PCI 3.0, 6.8.2. */
#include "flat-pc.h"

#include "hw/pci/msix.h"

enum { VECTORS = 3, FN = 4 << 3, TABLE = 0xe0000000u, CONTROL = 2, ENABLE = 0x8000, MASK = 0x4000 };

struct toy {
    struct pci_dev pci;
    struct pci_msix msix;
};

static int toy_init(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;
    const struct pci_info info = { .vendor = 0x1234, .device = 1, .class = 0xff0000, .int_pin = 1 };
    int ret = pci_init(&t->pci, &info, e);
    if (ret == 0) {
        msix_init(&t->pci, &t->msix, VECTORS, 1);
    }
    return ret;
}

static void toy_reset(struct device *d)
{
    pci_reset(&((struct toy *)d)->pci);
    msix_reset(&((struct toy *)d)->msix);
}

static int toy_loaded(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;
    int ret = msix_loaded(&t->msix, e);
    return ret ? ret : pci_loaded(&t->pci, e);
}

static void toy_fini(struct device *d)
{
    pci_fini(&((struct toy *)d)->pci);
}

static const struct state_field toy_state[] = { PCI_STATE(struct toy), MSIX_STATE(struct toy, msix),
                                                FIELD_END };
static const struct dev_prop toy_props[] = { PCI_PROPS(struct toy),
                                             { NULL, PROP_END, 0, 0, NULL } };
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

struct rig {
    struct flat_pc pc;
    struct toy *t;
};

static void make(struct rig *r)
{
    pc_make(&r->pc, true);
    struct device *d = dev_new(r->pc.m, &toy_class, NULL);
    dev_set_str(d, "addr", "4");
    r->t = (struct toy *)pc_start(d);
    cfg_set(&r->pc, FN, PCI_BAR0 + 4, 4, TABLE);
    cfg_set(&r->pc, FN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void set_entry(struct rig *r, unsigned v, uint64_t addr, uint32_t data, uint32_t control)
{
    io_write(r->pc.m, IO_MMIO, TABLE + v * 16, 8, addr);
    io_write(r->pc.m, IO_MMIO, TABLE + v * 16 + 8, 4, data);
    io_write(r->pc.m, IO_MMIO, TABLE + v * 16 + 12, 4, control);
}

static void set_control(struct rig *r, uint16_t val)
{
    cfg_set(&r->pc, FN, r->t->msix.cap + CONTROL, 2, val);
}

static void notify(struct rig *r, unsigned v)
{
    machine_enter(r->pc.m);
    msix_notify(&r->t->msix, v);
    machine_leave(r->pc.m);
}

static void test_msix_when_read_then_the_capability_tells_size_and_place(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    unsigned cap = r.t->msix.cap;
    assert_int_equal(cfg(&r.pc, FN, PCI_CAP_PTR, 1), cap);
    assert_int_equal(cfg(&r.pc, FN, cap, 1), 0x11);
    set_control(&r, 0x3fff); /* the size is read-only */
    assert_int_equal(cfg(&r.pc, FN, cap + CONTROL, 2), VECTORS - 1);
    assert_int_equal(cfg(&r.pc, FN, cap + 4, 4), 1);
    assert_int_equal(cfg(&r.pc, FN, cap + 8, 4), MSIX_PBA | 1);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE + 12, 4), 1); /* masked at power-on */
    pc_free(&r.pc);
}

static void test_msix_when_enabled_then_messages_go_where_the_table_says(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set_entry(&r, 2, 0xfee01000, 0x4142, 0);
    notify(&r, 2);
    assert_int_equal(r.pc.f->msi_count, 0); /* not enabled: nothing is remembered either */
    set_control(&r, ENABLE);
    assert_int_equal(r.pc.f->msi_count, 0);
    notify(&r, 2);
    assert_int_equal(r.pc.f->msi_count, 1);
    assert_int_equal(r.pc.f->msi_addr, 0xfee01000);
    assert_int_equal(r.pc.f->msi_data, 0x4142);
    notify(&r, VECTORS);
    notify(&r, 63);
    assert_int_equal(r.pc.f->msi_count, 1);
    pc_free(&r.pc);
}

static void test_msix_when_masked_then_pending_until_unmasked(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set_entry(&r, 0, 0xfee00000, 7, 1);
    set_entry(&r, 1, 0xfee00000, 8, 0);
    set_control(&r, ENABLE);
    notify(&r, 0);
    notify(&r, 0);
    assert_int_equal(r.pc.f->msi_count, 0);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE + MSIX_PBA, 8), 1);
    set_control(&r, ENABLE | MASK);
    notify(&r, 1);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE + MSIX_PBA, 4), 3);
    set_entry(&r, 0, 0xfee00000, 7, 0); /* the function is still masked */
    assert_int_equal(r.pc.f->msi_count, 0);
    set_control(&r, ENABLE);
    assert_int_equal(r.pc.f->msi_count, 2);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE + MSIX_PBA, 4), 0);
    pc_free(&r.pc);
}

static void test_msix_when_the_table_is_written_oddly_then_it_keeps_its_bounds(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set_entry(&r, 0, 0x1122334455667788, 0x99aabbcc, 0);
    io_write(r.pc.m, IO_MMIO, TABLE, 1, 0);
    io_write(r.pc.m, IO_MMIO, TABLE + 2, 2, 0);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE, 8), 0x1122334455667788);
    for (unsigned off = VECTORS * 16; off < MSIX_BAR_LEN; off += 4) {
        io_write(r.pc.m, IO_MMIO, TABLE + off, 4, 0xffffffff);
        assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE + off, 4), 0);
    }
    io_write(r.pc.m, IO_MMIO, TABLE + VECTORS * 16 - 4, 8, UINT64_MAX);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, TABLE + VECTORS * 16, 4), 0);
    pc_free(&r.pc);
}

static void test_msix_when_saved_and_loaded_then_it_goes_on(void **state)
{
    struct rig r, s;
    (void)state;
    make(&r);
    make(&s);
    set_entry(&r, 0, 0xfee00000, 7, 1);
    set_control(&r, ENABLE);
    notify(&r, 0);
    pc_move(&r.pc, &s.pc);
    assert_int_equal(s.pc.f->msi_count, 0);
    set_entry(&s, 0, 0xfee00000, 7, 0);
    assert_int_equal(s.pc.f->msi_count, 1);
    pc_free(&r.pc);
    pc_free(&s.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_msix_when_read_then_the_capability_tells_size_and_place),
        cmocka_unit_test(test_msix_when_enabled_then_messages_go_where_the_table_says),
        cmocka_unit_test(test_msix_when_masked_then_pending_until_unmasked),
        cmocka_unit_test(test_msix_when_the_table_is_written_oddly_then_it_keeps_its_bounds),
        cmocka_unit_test(test_msix_when_saved_and_loaded_then_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
