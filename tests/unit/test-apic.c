/* SPDX-License-Identifier: MIT */
/* Local APICs and the I/O APIC together, from the processors' and the pins' side. */
#include "flat-pc.h"

#include "hw/intc/apic.h"
#include "hw/intc/ioapic.h"

#define CPUS 4u
#define WINDOW 0xfee00000u

struct rig {
    struct flat_pc pc;
    struct device *apic, *ioapic;
    bool intr[CPUS];
    unsigned nmis[CPUS], smis[CPUS], inits[CPUS], sipis[CPUS];
    uint8_t sipi_vector;
    unsigned pic_acks;
    int64_t tsc_scale; /* ns a TSC count, 0: never reached */
};

static void w_intr(void *o, unsigned cpu, bool level)
{
    ((struct rig *)o)->intr[cpu] = level;
}

static void w_nmi(void *o, unsigned cpu)
{
    ((struct rig *)o)->nmis[cpu]++;
}

static void w_smi(void *o, unsigned cpu)
{
    ((struct rig *)o)->smis[cpu]++;
}

static void w_init(void *o, unsigned cpu)
{
    ((struct rig *)o)->inits[cpu]++;
}

static void w_sipi(void *o, unsigned cpu, uint8_t vector)
{
    ((struct rig *)o)->sipis[cpu]++;
    ((struct rig *)o)->sipi_vector = vector;
}

static int64_t w_tsc(void *o, unsigned cpu, uint64_t tsc)
{
    int64_t scale = ((struct rig *)o)->tsc_scale;
    (void)cpu;
    return scale ? (int64_t)tsc * scale : INT64_MAX;
}

static const struct cpu_wires wires = {
    .intr = w_intr, .nmi = w_nmi, .smi = w_smi, .init = w_init, .sipi = w_sipi, .tsc_due = w_tsc
};

static int pic_ack(void *o)
{
    ((struct rig *)o)->pic_acks++;
    return 0x08;
}

static void eoi(void *o, uint8_t vector)
{
    ioapic_eoi(((struct rig *)o)->ioapic, vector);
}

static void message(void *o, const struct apic_message *msg)
{
    apic_deliver(((struct rig *)o)->apic, msg);
}

static void make(struct rig *r)
{
    struct apic_pic pic = { pic_ack, r };
    struct apic_eoi end = { eoi, r };
    struct ioapic_bus bus = { message, r };
    *r = (struct rig){ .tsc_scale = 1 };
    pc_make(&r->pc, false);
    cpu_set_wires(r->pc.m, &wires, r, CPUS);
    r->apic = dev_new(r->pc.m, &apic_class, NULL);
    dev_set_u32(r->apic, "cpus", CPUS);
    dev_set_ptr(r->apic, "pic", &pic);
    dev_set_ptr(r->apic, "eoi", &end);
    pc_start(r->apic);
    r->ioapic = dev_new(r->pc.m, &ioapic_class, NULL);
    dev_set_ptr(r->ioapic, "messages", &bus);
    pc_start(r->ioapic);
    cpu_set_intc(r->pc.m, &apic_cpu_intc, r->apic);
}

static uint32_t get(struct rig *r, unsigned cpu, unsigned reg)
{
    struct io_req req = { .addr = WINDOW + reg, .count = 1, .size = 4, .space = IO_MMIO };
    req.cpu = (uint8_t)cpu;
    assert_int_equal(ioreq_run(r->pc.m, &req), 0);
    return (uint32_t)req.data;
}

static void put(struct rig *r, unsigned cpu, unsigned reg, uint32_t val)
{
    struct io_req req = {
        .addr = WINDOW + reg, .data = val, .count = 1, .size = 4, .space = IO_MMIO, .write = true
    };
    req.cpu = (uint8_t)cpu;
    assert_int_equal(ioreq_run(r->pc.m, &req), 0);
}

static void enable_all(struct rig *r)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        put(r, cpu, 0xf0, 0x1ff);
    }
}

static int ack(struct rig *r, unsigned cpu)
{
    machine_enter(r->pc.m);
    int v = cpu_ack(r->pc.m, cpu);
    machine_leave(r->pc.m);
    return v;
}

static bool wrmsr(struct rig *r, unsigned cpu, uint32_t msr, uint64_t val)
{
    machine_enter(r->pc.m);
    bool ok = cpu_apic_wrmsr(r->pc.m, cpu, msr, val);
    machine_leave(r->pc.m);
    return ok;
}

static uint64_t rdmsr(struct rig *r, unsigned cpu, uint32_t msr)
{
    uint64_t val = 0;
    machine_enter(r->pc.m);
    assert_true(cpu_apic_rdmsr(r->pc.m, cpu, msr, &val));
    machine_leave(r->pc.m);
    return val;
}

static void msi(struct rig *r, uint64_t addr, uint32_t data)
{
    machine_enter(r->pc.m);
    apic_msi(r->apic, addr, data);
    machine_leave(r->pc.m);
}

static void pin(struct rig *r, unsigned n, bool level)
{
    machine_enter(r->pc.m);
    ioapic_set_pin(r->ioapic, n, level);
    machine_leave(r->pc.m);
}

static void entry(struct rig *r, unsigned n, uint64_t rte)
{
    io_write(r->pc.m, IO_MMIO, IOAPIC_BASE, 4, 0x11 + 2 * n);
    io_write(r->pc.m, IO_MMIO, IOAPIC_BASE + 0x10, 4, rte >> 32);
    io_write(r->pc.m, IO_MMIO, IOAPIC_BASE, 4, 0x10 + 2 * n);
    io_write(r->pc.m, IO_MMIO, IOAPIC_BASE + 0x10, 4, rte & 0xffffffff);
}

static uint32_t entry_low(struct rig *r, unsigned n)
{
    io_write(r->pc.m, IO_MMIO, IOAPIC_BASE, 4, 0x10 + 2 * n);
    return (uint32_t)io_read(r->pc.m, IO_MMIO, IOAPIC_BASE + 0x10, 4);
}

/* ---- priorities ---- */

static void test_apic_when_urgent_arrives_then_it_nests_and_eoi_ends_the_highest(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    msi(&r, WINDOW, 0x41);
    assert_true(r.intr[0]);
    assert_int_equal(ack(&r, 0), 0x41);
    assert_int_equal(get(&r, 0, 0xa0), 0x40); /* PPR */
    msi(&r, WINDOW, 0x45);                    /* the same class waits */
    assert_false(r.intr[0]);
    msi(&r, WINDOW, 0x61);
    assert_int_equal(ack(&r, 0), 0x61);
    assert_int_equal(get(&r, 0, 0x130), 2); /* ISR 0x60..0x7f */
    put(&r, 0, 0xb0, 0);
    assert_false(r.intr[0]);
    put(&r, 0, 0xb0, 0);
    assert_int_equal(ack(&r, 0), 0x45);
    assert_int_equal(ack(&r, 0), -1);
    pc_free(&r.pc);
}

static void test_apic_when_tpr_rises_then_it_holds_back_and_cr8_is_its_class(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 0, 0x80, 0x50);
    msi(&r, WINDOW, 0x5f);
    assert_false(r.intr[0]);
    machine_enter(r.pc.m);
    assert_int_equal(cpu_tpr(r.pc.m, 0), 5);
    cpu_set_tpr(r.pc.m, 0, 4);
    machine_leave(r.pc.m);
    assert_true(r.intr[0]);
    assert_int_equal(get(&r, 0, 0x80), 0x40);
    pc_free(&r.pc);
}

static void test_apic_when_software_disabled_then_lvts_are_masked_and_nothing_enters(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    put(&r, 1, 0x320, 0x20);
    assert_int_equal(get(&r, 1, 0x320), 0x10020);
    msi(&r, WINDOW | 1 << 12, 0x41);
    assert_false(r.intr[1]);
    put(&r, 1, 0xf0, 0x1ff);
    assert_false(r.intr[1]);
    msi(&r, WINDOW | 1 << 12, 0x41);
    assert_true(r.intr[1]);
    pc_free(&r.pc);
}

static void test_apic_when_vector_is_reserved_then_esr_says_who_did_it(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 0, 0x370, 0x33);
    msi(&r, WINDOW, 0x0f);
    assert_int_equal(ack(&r, 0), 0x33);
    put(&r, 0, 0x310, 0);
    put(&r, 0, 0x300, 0x05);
    assert_int_equal(get(&r, 0, 0x280), 0);
    put(&r, 0, 0x280, 0);
    assert_int_equal(get(&r, 0, 0x280), 0x60);
    put(&r, 0, 0x280, 0);
    assert_int_equal(get(&r, 0, 0x280), 0);
    put(&r, 0, 0x3f0, 1); /* no such register */
    put(&r, 0, 0x280, 0);
    assert_int_equal(get(&r, 0, 0x280), 0x80);
    pc_free(&r.pc);
}

/* ---- who is meant ---- */

static unsigned receivers(struct rig *r, uint8_t vector)
{
    unsigned set = 0;
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        if (ack(r, cpu) == vector) {
            set |= 1u << cpu;
        }
        put(r, cpu, 0xb0, 0);
    }
    return set;
}

static unsigned ipi(struct rig *r, unsigned from, uint32_t icr, uint8_t dest)
{
    put(r, from, 0x310, (uint32_t)dest << 24);
    put(r, from, 0x300, icr);
    return receivers(r, (uint8_t)icr);
}

static void test_apic_when_ipi_has_a_shorthand_then_those_get_it(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    assert_int_equal(ipi(&r, 1, 0x04050, 2), 1 << 2);
    assert_int_equal(ipi(&r, 1, 0x04050, 0xff), 0xf);
    assert_int_equal(ipi(&r, 1, 0x44050, 0), 1 << 1);
    assert_int_equal(ipi(&r, 1, 0x84050, 0), 0xf);
    assert_int_equal(ipi(&r, 1, 0xc4050, 0), 0xd);
    assert_int_equal(ipi(&r, 1, 0x04050, 9), 0);
    pc_free(&r.pc);
}

static void test_apic_when_logical_then_flat_and_cluster_pick_by_ldr(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        put(&r, cpu, 0xd0, 1u << (24 + cpu));
    }
    assert_int_equal(ipi(&r, 0, 0x04850, 0x0a), 0xa);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) { /* two clusters of two */
        put(&r, cpu, 0xe0, 0x0fffffff);
        put(&r, cpu, 0xd0, (cpu / 2 << 4 | 1u << cpu % 2) << 24);
    }
    assert_int_equal(ipi(&r, 0, 0x04850, 0x13), 0xc);
    assert_int_equal(ipi(&r, 0, 0x04850, 0x02), 0x2);
    pc_free(&r.pc);
}

static void test_apic_when_lowest_priority_then_the_idlest_takes_it(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        put(&r, cpu, 0xd0, 1u << (24 + cpu));
        put(&r, cpu, 0x80, cpu == 2 ? 0x10 : 0x40);
    }
    msi(&r, WINDOW | 0x0f << 12 | 4, 0x150);
    assert_int_equal(receivers(&r, 0x50), 1 << 2);
    put(&r, 2, 0x80, 0x40); /* all alike: in turn */
    msi(&r, WINDOW | 0x0f << 12 | 4, 0x151);
    assert_int_equal(receivers(&r, 0x51), 1 << 3);
    msi(&r, WINDOW | 0x0f << 12 | 4, 0x152);
    assert_int_equal(receivers(&r, 0x52), 1 << 0);
    pc_free(&r.pc);
}

static void test_apic_when_init_sipi_nmi_smi_are_sent_then_wires_carry_them(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 0, 0x300, 0xc4500); /* INIT, all others */
    put(&r, 0, 0x300, 0xc8500); /* level de-assert: nothing */
    put(&r, 0, 0x300, 0xc469a); /* SIPI */
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        assert_int_equal(r.inits[cpu], cpu != 0);
        assert_int_equal(r.sipis[cpu], cpu != 0);
    }
    assert_int_equal(r.sipi_vector, 0x9a);
    put(&r, 0, 0x310, 3u << 24);
    put(&r, 0, 0x300, 0x04400);
    put(&r, 0, 0x300, 0x04200);
    assert_int_equal(r.nmis[3], 1);
    assert_int_equal(r.smis[3], 1);
    assert_int_equal(r.nmis[0] + r.nmis[1] + r.nmis[2], 0);
    pc_free(&r.pc);
}

/* ---- PIC and NMI wires ---- */

static void test_apic_when_pic_asks_then_lint0_decides(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    machine_enter(r.pc.m);
    apic_set_pic(r.apic, true);
    machine_leave(r.pc.m);
    assert_true(r.intr[0]); /* as it is after reset */
    assert_false(r.intr[1]);
    assert_int_equal(ack(&r, 0), 0x08);
    enable_all(&r);
    put(&r, 0, 0x350, 0x10700);
    assert_false(r.intr[0]);
    assert_int_equal(ack(&r, 0), -1);
    put(&r, 1, 0x350, 0x700);
    assert_true(r.intr[1]);
    assert_int_equal(r.pic_acks, 1);
    msi(&r, WINDOW | 1 << 12, 0x41); /* its own come first */
    assert_int_equal(ack(&r, 1), 0x41);
    assert_int_equal(ack(&r, 1), 0x08);
    pc_free(&r.pc);
}

static void test_apic_when_nmi_pin_rises_then_lint1_decides(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 2, 0x360, 0x400);
    machine_enter(r.pc.m);
    apic_nmi(r.apic);
    machine_leave(r.pc.m);
    assert_int_equal(r.nmis[2], 1);
    assert_int_equal(r.nmis[0], 0);
    pc_free(&r.pc);
}

/* ---- the timer ---- */

static void test_apic_timer_when_one_shot_then_once_and_count_reaches_zero(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 0, 0x3e0, 3); /* divided by 16 */
    put(&r, 0, 0x320, 0x40);
    put(&r, 0, 0x380, 100);
    flat_advance(r.pc.f, r.pc.m, 160);
    assert_int_equal(get(&r, 0, 0x390), 90);
    flat_advance(r.pc.f, r.pc.m, 1439);
    assert_false(r.intr[0]);
    flat_advance(r.pc.f, r.pc.m, 1);
    assert_int_equal(ack(&r, 0), 0x40);
    assert_int_equal(get(&r, 0, 0x390), 0);
    put(&r, 0, 0xb0, 0);
    flat_advance(r.pc.f, r.pc.m, 1000000);
    assert_false(r.intr[0]);
    assert_int_equal(r.pc.f->timer_at, -1);
    pc_free(&r.pc);
}

static void test_apic_timer_when_periodic_then_every_period_and_masked_costs_nothing(void **state)
{
    struct rig r;
    unsigned n = 0;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 0, 0x3e0, 0xb); /* divided by 1 */
    put(&r, 0, 0x320, 0x20040);
    put(&r, 0, 0x380, 1000);
    for (unsigned i = 0; i < 100; i++) {
        flat_advance(r.pc.f, r.pc.m, 500);
        if (r.intr[0]) {
            assert_int_equal(ack(&r, 0), 0x40);
            put(&r, 0, 0xb0, 0);
            n++;
        }
    }
    assert_int_equal(n, 50);
    put(&r, 0, 0x320, 0x30040);
    assert_int_equal(r.pc.f->timer_at, -1);
    flat_advance(r.pc.f, r.pc.m, 250);
    assert_int_equal(get(&r, 0, 0x390), 750); /* it counts all the same */
    pc_free(&r.pc);
}

static void test_apic_timer_when_tsc_deadline_then_at_that_tsc(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    r.tsc_scale = 2;
    assert_true(wrmsr(&r, 0, 0x6e0, 500));
    assert_int_equal(rdmsr(&r, 0, 0x6e0), 0); /* another mode: ignored */
    put(&r, 0, 0x320, 0x40040);
    put(&r, 0, 0x380, 100); /* no such thing in this mode */
    assert_true(wrmsr(&r, 0, 0x6e0, 500));
    flat_advance(r.pc.f, r.pc.m, 999);
    assert_int_equal(rdmsr(&r, 0, 0x6e0), 500);
    assert_false(r.intr[0]);
    flat_advance(r.pc.f, r.pc.m, 1);
    assert_int_equal(ack(&r, 0), 0x40);
    assert_int_equal(rdmsr(&r, 0, 0x6e0), 0);
    assert_true(wrmsr(&r, 0, 0x6e0, 100000));
    assert_true(wrmsr(&r, 0, 0x6e0, 0));
    assert_int_equal(r.pc.f->timer_at, -1);
    pc_free(&r.pc);
}

/* ---- x2APIC and the base register ---- */

static void test_apic_when_base_changes_then_only_legal_steps_pass(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    assert_int_equal(rdmsr(&r, 0, 0x1b), 0xfee00900);
    assert_int_equal(rdmsr(&r, 1, 0x1b), 0xfee00800);
    assert_false(wrmsr(&r, 1, 0x1b, 0xfee00400)); /* x2APIC without enable */
    assert_false(wrmsr(&r, 1, 0x1b, 0xfee00801)); /* reserved */
    assert_true(wrmsr(&r, 1, 0x1b, 0xfee00c00));
    assert_false(wrmsr(&r, 1, 0x1b, 0xfee00800)); /* back to xAPIC */
    assert_true(wrmsr(&r, 1, 0x1b, 0xfee00000));
    assert_false(wrmsr(&r, 1, 0x1b, 0xfee00c00)); /* straight from off */
    assert_true(wrmsr(&r, 1, 0x1b, 0xfee00800));
    assert_true(wrmsr(&r, 0, 0x1b, 0xfed10900)); /* the window moves */
    assert_int_equal(io_read(r.pc.m, IO_MMIO, 0xfed10030, 4), 0x01050014);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, 0xfee00030, 4), 0xffffffff);
    pc_free(&r.pc);
}

static void test_apic_when_x2apic_then_msrs_work_and_reserved_bits_fault(void **state)
{
    struct rig r;
    uint64_t v;
    (void)state;
    make(&r);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        assert_true(wrmsr(&r, cpu, 0x1b, rdmsr(&r, cpu, 0x1b) | 0x400));
        assert_true(wrmsr(&r, cpu, 0x80f, 0x1ff));
    }
    assert_int_equal(get(&r, 3, 0x30), 0xffffffff); /* no window any more */
    assert_int_equal(rdmsr(&r, 3, 0x802), 3);
    assert_int_equal(rdmsr(&r, 3, 0x80d), 8);
    assert_true(wrmsr(&r, 0, 0x830, 3ull << 32 | 0x50));
    assert_int_equal(ack(&r, 3), 0x50);
    assert_true(wrmsr(&r, 3, 0x80b, 0));
    assert_true(wrmsr(&r, 0, 0x830, 0x6ull << 32 | 0x851)); /* logical: 1 and 2 */
    assert_int_equal(ack(&r, 1), 0x51);
    assert_int_equal(ack(&r, 2), 0x51);
    assert_true(wrmsr(&r, 2, 0x83f, 0x77));
    assert_int_equal(ack(&r, 2), 0x77);
    assert_true(wrmsr(&r, 0, 0x830, 0xffffffffull << 32 | 0x52));
    assert_int_equal(ack(&r, 0), 0x52);
    assert_false(wrmsr(&r, 0, 0x80b, 1));
    assert_false(wrmsr(&r, 0, 0x808, 0x100));
    assert_false(wrmsr(&r, 0, 0x802, 1));
    assert_false(wrmsr(&r, 0, 0x832, 1u << 20));
    machine_enter(r.pc.m);
    assert_false(cpu_apic_rdmsr(r.pc.m, 0, 0x80e, &v)); /* no DFR */
    assert_false(cpu_apic_rdmsr(r.pc.m, 0, 0x8ff, &v));
    machine_leave(r.pc.m);
    pc_free(&r.pc);
}

/* ---- I/O APIC ---- */

static void test_ioapic_when_edge_then_once_and_masked_is_lost(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    io_write(r.pc.m, IO_MMIO, IOAPIC_BASE, 4, 1);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, IOAPIC_BASE + 0x10, 4), 0x170020);
    entry(&r, 4, 1ull << 56 | 0x31);
    pin(&r, 4, true);
    pin(&r, 4, true);
    assert_int_equal(ack(&r, 1), 0x31);
    put(&r, 1, 0xb0, 0);
    assert_false(r.intr[1]);
    pin(&r, 4, false);
    entry(&r, 4, 1ull << 56 | 0x10031);
    pin(&r, 4, true);
    entry(&r, 4, 1ull << 56 | 0x31);
    assert_false(r.intr[1]);
    pc_free(&r.pc);
}

static void test_ioapic_when_level_then_remote_irr_waits_for_the_end(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    entry(&r, 11, 0x8041);
    pin(&r, 11, true);
    assert_int_equal(entry_low(&r, 11), 0xc041);
    assert_int_equal(ack(&r, 0), 0x41);
    put(&r, 0, 0xb0, 0); /* still asserted: again */
    assert_int_equal(ack(&r, 0), 0x41);
    pin(&r, 11, false);
    put(&r, 0, 0xb0, 0);
    assert_false(r.intr[0]);
    assert_int_equal(entry_low(&r, 11), 0x8041);
    pc_free(&r.pc);
}

static void test_ioapic_when_broadcast_is_suppressed_then_the_eoi_register_ends(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    put(&r, 0, 0xf0, 0x11ff);
    entry(&r, 11, 0x8041);
    pin(&r, 11, true);
    assert_int_equal(ack(&r, 0), 0x41);
    pin(&r, 11, false);
    put(&r, 0, 0xb0, 0);
    assert_int_equal(entry_low(&r, 11), 0xc041);
    io_write(r.pc.m, IO_MMIO, IOAPIC_BASE + 0x40, 4, 0x41);
    assert_int_equal(entry_low(&r, 11), 0x8041);
    pc_free(&r.pc);
}

static void test_ioapic_when_turned_to_edge_then_a_stuck_remote_irr_is_freed(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable_all(&r);
    entry(&r, 11, 0x8041);
    pin(&r, 11, true);
    entry(&r, 11, 0x10041);
    assert_int_equal(entry_low(&r, 11), 0x10041);
    entry(&r, 11, 0x8041);
    assert_int_equal(entry_low(&r, 11), 0xc041); /* asserted: sent again */
    pc_free(&r.pc);
}

static void test_apic_when_saved_with_work_in_flight_then_it_arrives(void **state)
{
    struct rig a, b;
    (void)state;
    make(&a);
    make(&b);
    enable_all(&a);
    entry(&a, 11, 0x8041);
    pin(&a, 11, true);
    put(&a, 1, 0x3e0, 0xb);
    put(&a, 1, 0x320, 0x50);
    put(&a, 1, 0x380, 1000);
    flat_advance(a.pc.f, a.pc.m, 400);
    pc_move(&a.pc, &b.pc);
    assert_true(b.intr[0]);
    assert_int_equal(ack(&b, 0), 0x41);
    flat_advance(b.pc.f, b.pc.m, 599);
    assert_false(b.intr[1]);
    flat_advance(b.pc.f, b.pc.m, 1);
    assert_int_equal(ack(&b, 1), 0x50);
    pc_free(&a.pc);
    pc_free(&b.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apic_when_urgent_arrives_then_it_nests_and_eoi_ends_the_highest),
        cmocka_unit_test(test_apic_when_tpr_rises_then_it_holds_back_and_cr8_is_its_class),
        cmocka_unit_test(test_apic_when_software_disabled_then_lvts_are_masked_and_nothing_enters),
        cmocka_unit_test(test_apic_when_vector_is_reserved_then_esr_says_who_did_it),
        cmocka_unit_test(test_apic_when_ipi_has_a_shorthand_then_those_get_it),
        cmocka_unit_test(test_apic_when_logical_then_flat_and_cluster_pick_by_ldr),
        cmocka_unit_test(test_apic_when_lowest_priority_then_the_idlest_takes_it),
        cmocka_unit_test(test_apic_when_init_sipi_nmi_smi_are_sent_then_wires_carry_them),
        cmocka_unit_test(test_apic_when_pic_asks_then_lint0_decides),
        cmocka_unit_test(test_apic_when_nmi_pin_rises_then_lint1_decides),
        cmocka_unit_test(test_apic_timer_when_one_shot_then_once_and_count_reaches_zero),
        cmocka_unit_test(test_apic_timer_when_periodic_then_every_period_and_masked_costs_nothing),
        cmocka_unit_test(test_apic_timer_when_tsc_deadline_then_at_that_tsc),
        cmocka_unit_test(test_apic_when_base_changes_then_only_legal_steps_pass),
        cmocka_unit_test(test_apic_when_x2apic_then_msrs_work_and_reserved_bits_fault),
        cmocka_unit_test(test_ioapic_when_edge_then_once_and_masked_is_lost),
        cmocka_unit_test(test_ioapic_when_level_then_remote_irr_waits_for_the_end),
        cmocka_unit_test(test_ioapic_when_broadcast_is_suppressed_then_the_eoi_register_ends),
        cmocka_unit_test(test_ioapic_when_turned_to_edge_then_a_stuck_remote_irr_is_freed),
        cmocka_unit_test(test_apic_when_saved_with_work_in_flight_then_it_arrives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
