/* SPDX-License-Identifier: MIT */
/* tests/unit/test-piix4-pm.c - power management as hvmloader, SeaBIOS and ACPI drivers use it. */
#include "flat-pc.h"
#include "hw/acpi/piix4-pm.h"

#include <errno.h>

#define DF PCI_DEVFN(1, 3)
enum { PM = 0xb000, EVT = PM, CNT = PM + 4, TMR = PM + 8, GPE = 0xafe0, SMB = 0xb100 };

static struct device *start(struct flat_pc *pc, bool xen)
{
    struct device *d;

    pc_make(pc, true);
    d = dev_new(pc->m, &piix4_pm_class, NULL);
    dev_set_str(d, "addr", "1.3");
    dev_set_bool(d, "xen", xen);
    return pc_start(d);
}

/* As hvmloader's pci_setup does. */
static void hvmloader_setup(struct flat_pc *pc)
{
    cfg_set(pc, DF, 0x20, 2, 0);
    cfg_set(pc, DF, 0xd2, 2, 0);
    cfg_set(pc, DF, 0x22, 2, 0);
    cfg_set(pc, DF, 0x3c, 2, 9);
    cfg_set(pc, DF, 0x3d, 2, 1);
    cfg_set(pc, DF, 0x40, 4, PM | 1);
    cfg_set(pc, DF, 0x80, 1, 1);
}

static void test_pm_identity_when_read_then_as_hvmloader_asserts(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, true);
    assert_int_equal(cfg(&pc, DF, 0, 4), 0x71138086);
    assert_int_equal(cfg(&pc, DF, 0x0a, 2), 0x0680);
    hvmloader_setup(&pc);
    assert_int_equal(cfg(&pc, DF, 0x3c, 2), 0x0109);
    assert_int_equal(cfg(&pc, DF, 0x40, 4), 0xb001);
    pc_free(&pc);
}

static void test_pm_when_f1_to_smi_port_then_sci_en(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, true);
    assert_int_equal(in(&pc, CNT, 2), 0xffff); /* not there before PMBA */
    hvmloader_setup(&pc);
    assert_int_equal(in(&pc, CNT, 2), 0);
    out(&pc, 0xb2, 1, 0xf1);
    assert_int_equal(in(&pc, CNT, 2), 1);
    assert_int_equal(in(&pc, 0xb2, 1), 0xf1);
    out(&pc, 0xb2, 1, 0xf0);
    assert_int_equal(in(&pc, CNT, 2), 0);
    out(&pc, 0xb3, 1, 0x77);
    assert_int_equal(in(&pc, 0xb3, 1), 0x77);
    pc_free(&pc);
}

static void test_pm_when_xen_then_only_control_is_claimed(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, true);
    hvmloader_setup(&pc);
    assert_int_equal(in(&pc, EVT, 2), 0xffff);
    assert_int_equal(in(&pc, TMR, 4), 0xffffffff);
    assert_int_equal(in(&pc, CNT + 2, 2), 0xffff);
    cfg_set(&pc, DF, 0x80, 1, 0);
    assert_int_equal(in(&pc, CNT, 2), 0xffff);
    cfg_set(&pc, DF, 0x80, 1, 1);
    cfg_set(&pc, DF, 0x40, 4, 1); /* base 0 is nowhere */
    assert_int_equal(in(&pc, 4, 2), 0xffff);
    pc_free(&pc);
}

static void test_pm_timer_when_time_passes_then_counts_and_overflows(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, false);
    hvmloader_setup(&pc);
    flat_advance(pc.f, pc.m, 1000000000);
    assert_int_equal(in(&pc, TMR, 4), 3579545);
    assert_int_equal(in(&pc, TMR + 1, 1), 3579545 >> 8 & 0xff);
    out(&pc, TMR, 4, 0);
    assert_int_equal(in(&pc, TMR, 4), 3579545);
    assert_int_equal(in(&pc, EVT, 2), 0);
    flat_advance(pc.f, pc.m, 1400000000); /* past 0x800000 ticks at 2.343 s */
    assert_int_equal(in(&pc, EVT, 2), 1);
    out(&pc, EVT, 2, 1);
    assert_int_equal(in(&pc, EVT, 2), 0);
    out(&pc, 0xb2, 1, 0xf1);
    out(&pc, EVT + 2, 2, 1);
    assert_false(pc.f->isa[9]);
    flat_advance(pc.f, pc.m, 2500000000); /* 24 bits wrap at 4.687 s */
    assert_true(pc.f->isa[9]);
    assert_true(in(&pc, TMR, 4) < 0x800000);
    out(&pc, EVT, 2, 1);
    assert_false(pc.f->isa[9]);
    pc_free(&pc);
}

static void test_pm_power_button_when_enabled_then_sci(void **state)
{
    struct flat_pc pc;
    struct device *d = start(&pc, false);

    (void)state;
    hvmloader_setup(&pc);
    out(&pc, EVT + 2, 2, 0xffff);
    assert_int_equal(in(&pc, EVT + 2, 2), 0x0521);
    machine_enter(pc.m);
    piix4_pm_power_button(d);
    machine_leave(pc.m);
    assert_false(pc.f->isa[9]); /* not without SCI_EN */
    out(&pc, 0xb2, 1, 0xf1);
    assert_true(pc.f->isa[9]);
    assert_int_equal(in(&pc, EVT, 4), 0x05210100);
    out(&pc, EVT + 1, 1, 1);
    assert_false(pc.f->isa[9]);
    assert_int_equal(in(&pc, EVT, 2), 0);
    pc_free(&pc);
}

static void test_pm_when_slp_en_then_power_event_of_the_type(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, true);
    hvmloader_setup(&pc);
    out(&pc, CNT, 2, 0x0400); /* type alone */
    assert_int_equal(pc.f->power_count, 0);
    out(&pc, CNT, 2, 0x2400);
    assert_int_equal(pc.f->power_count, 1);
    assert_int_equal(pc.f->power, POWER_SUSPEND);
    assert_int_equal(in(&pc, CNT, 2), 0x0400); /* SLP_EN reads as zero */
    out(&pc, CNT, 2, 0x2000);
    assert_int_equal(pc.f->power, POWER_OFF);
    out(&pc, CNT, 2, 0x0800);
    out(&pc, CNT + 1, 1, 0x28);
    assert_int_equal(pc.f->power_count, 3);
    out(&pc, CNT, 2, 0x3c00);
    assert_int_equal(pc.f->power_count, 3);
    pc_free(&pc);
}

static void test_pm_when_cpu_plugged_then_bit_gpe2_and_sci(void **state)
{
    struct flat_pc pc;
    struct device *d = start(&pc, true);

    (void)state;
    hvmloader_setup(&pc);
    out(&pc, 0xb2, 1, 0xf1);
    out(&pc, GPE + 2, 2, 0x0006);
    assert_int_equal(in(&pc, 0xaf00, 1), 1);
    machine_enter(pc.m);
    piix4_pm_cpu_plug(d, 1);
    piix4_pm_cpu_plug(d, 255);
    machine_leave(pc.m);
    assert_int_equal(in(&pc, 0xaf00, 1), 3);
    assert_int_equal(in(&pc, 0xaf1f, 1), 0x80);
    assert_int_equal(in(&pc, GPE, 2), 4);
    assert_true(pc.f->isa[9]);
    out(&pc, 0xaf00, 1, 0);
    assert_int_equal(in(&pc, 0xaf00, 1), 3);
    out(&pc, GPE, 1, 4);
    assert_false(pc.f->isa[9]);
    assert_int_equal(in(&pc, GPE, 4), 0x00060000);
    machine_enter(pc.m);
    machine_reset(pc.m);
    machine_leave(pc.m);
    assert_int_equal(in(&pc, 0xaf00, 1), 3); /* the processor stays */
    pc_free(&pc);
}

static void ejected(void *opaque, unsigned slot)
{
    *(unsigned *)opaque = slot;
}

static void test_pm_when_pci_plugged_and_ejected_then_registers_tell(void **state)
{
    struct flat_pc pc;
    struct device *d;
    unsigned slot = 0;
    struct piix4_pm_eject hook = { ejected, &slot };

    (void)state;
    pc_make(&pc, true);
    d = dev_new(pc.m, &piix4_pm_class, NULL);
    dev_set_str(d, "addr", "1.3");
    dev_set_ptr(d, "eject", &hook);
    pc_start(d);
    out(&pc, GPE + 2, 1, 2);
    machine_enter(pc.m);
    piix4_pm_pci_plug(d, 4);
    piix4_pm_pci_unplug_request(d, 6);
    machine_leave(pc.m);
    assert_int_equal(in(&pc, GPE, 1), 2);
    assert_int_equal(in(&pc, 0xae00, 4), 0x10);
    assert_int_equal(in(&pc, 0xae00, 4), 0); /* told once */
    assert_int_equal(in(&pc, 0xae04, 4), 0x40);
    assert_int_equal(in(&pc, 0xae08, 4), 0);          /* no features */
    assert_int_equal(in(&pc, 0xae0c, 4), 0xfffffffc); /* the chipset stays */
    out(&pc, 0xae08, 4, 0x40 | 1);
    assert_int_equal(slot, 6);
    assert_int_equal(in(&pc, 0xae04, 4), 0);
    out(&pc, 0xae10, 4, 1); /* another bus: nothing there */
    assert_int_equal(in(&pc, 0xae0c, 4), 0);
    out(&pc, 0xae08, 4, 0xffffffff);
    assert_int_equal(slot, 6);
    pc_free(&pc);
}

static void test_pm_smbus_when_started_then_device_error(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, true);
    assert_int_equal(in(&pc, SMB, 1), 0);
    out(&pc, SMB + 4, 1, 0xa1);
    out(&pc, SMB + 2, 1, 0x48 | 1);
    assert_int_equal(in(&pc, SMB, 1), 4);
    assert_int_equal(in(&pc, SMB + 2, 1), 9);
    assert_true(pc.f->isa[9]);
    out(&pc, SMB, 1, 0xff);
    assert_int_equal(in(&pc, SMB, 1), 0);
    assert_false(pc.f->isa[9]);
    out(&pc, SMB + 2, 1, 2); /* kill */
    assert_int_equal(in(&pc, SMB, 1), 0x10);
    for (unsigned i = 0; i < 100; i++) { /* the block index wraps */
        out(&pc, SMB + 7, 1, i);
    }
    in(&pc, SMB + 2, 1);
    assert_int_equal(in(&pc, SMB + 7, 1), 96);
    hvmloader_setup(&pc); /* turns it off */
    assert_int_equal(in(&pc, SMB, 1), 0xff);
    pc_free(&pc);
}

static void test_pm_when_moved_then_windows_and_sci_follow(void **state)
{
    struct flat_pc a, b;
    struct device *d = start(&a, true);

    (void)state;
    start(&b, true);
    hvmloader_setup(&a);
    out(&a, 0xb2, 1, 0xf1);
    out(&a, GPE + 2, 1, 4);
    machine_enter(a.m);
    piix4_pm_cpu_plug(d, 3);
    machine_leave(a.m);
    pc_move(&a, &b);
    assert_true(b.f->isa[9]);
    assert_int_equal(in(&b, CNT, 2), 1);
    assert_int_equal(in(&b, 0xaf00, 1), 9);
    pc_free(&a);
    pc_free(&b);
}

static void test_pm_when_moved_then_timer_interrupt_still_comes(void **state)
{
    struct flat_pc a, b;

    (void)state;
    start(&a, false);
    start(&b, false);
    hvmloader_setup(&a);
    out(&a, 0xb2, 1, 0xf1);
    out(&a, EVT + 2, 2, 1);
    flat_advance(a.f, a.m, 1000000000);
    pc_move(&a, &b);
    assert_false(b.f->isa[9]);
    flat_advance(b.f, b.m, 1400000000);
    assert_true(b.f->isa[9]);
    pc_free(&a);
    pc_free(&b);
}

static void test_pm_when_acpi_off_then_no_acpi_ports(void **state)
{
    struct flat_pc pc;
    struct device *d;

    (void)state;
    pc_make(&pc, true);
    d = dev_new(pc.m, &piix4_pm_class, NULL);
    dev_set_str(d, "addr", "1.3");
    dev_set_bool(d, "acpi", false);
    pc_start(d);
    hvmloader_setup(&pc);
    assert_int_equal(in(&pc, GPE, 4), 0xffffffff);
    assert_int_equal(in(&pc, CNT, 2), 0xffff);
    pc_free(&pc);
}

static void test_pm_cpus_when_out_of_range_then_refused(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct err e = { 0 };

    (void)state;
    pc_make(&pc, true);
    d = dev_new(pc.m, &piix4_pm_class, NULL);
    dev_set_u32(d, "cpus", 257);
    assert_int_equal(dev_init(d, &e), -EINVAL);
    dev_free(d);
    d = dev_new(pc.m, &piix4_pm_class, NULL);
    dev_set_u32(d, "cpus", 12);
    pc_start(d);
    assert_int_equal(in(&pc, 0xaf00, 2), 0x0fff);
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pm_identity_when_read_then_as_hvmloader_asserts),
        cmocka_unit_test(test_pm_when_f1_to_smi_port_then_sci_en),
        cmocka_unit_test(test_pm_when_xen_then_only_control_is_claimed),
        cmocka_unit_test(test_pm_timer_when_time_passes_then_counts_and_overflows),
        cmocka_unit_test(test_pm_power_button_when_enabled_then_sci),
        cmocka_unit_test(test_pm_when_slp_en_then_power_event_of_the_type),
        cmocka_unit_test(test_pm_when_cpu_plugged_then_bit_gpe2_and_sci),
        cmocka_unit_test(test_pm_when_pci_plugged_and_ejected_then_registers_tell),
        cmocka_unit_test(test_pm_smbus_when_started_then_device_error),
        cmocka_unit_test(test_pm_when_moved_then_windows_and_sci_follow),
        cmocka_unit_test(test_pm_when_moved_then_timer_interrupt_still_comes),
        cmocka_unit_test(test_pm_when_acpi_off_then_no_acpi_ports),
        cmocka_unit_test(test_pm_cpus_when_out_of_range_then_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
