/* SPDX-License-Identifier: MIT */
/* tests/unit/test-x86-system.c - segments, gates, exceptions, tasks, strings, SMM, state images, CPU
 * models.
 */
#include "target/x86/cpuid.h"
#include "x86-rig.h"

#include <stdlib.h>

enum { GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, TSS2 = 0x3800, STACK0 = 0x8000, STACK3 = 0x9000 };

static void descriptor(struct rig *r, unsigned sel, uint32_t base, uint32_t limit, unsigned flags)
{
    uint64_t d = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
                 (uint64_t)(flags & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
                 (uint64_t)(flags >> 8 & 0xf0) << 48 | (uint64_t)(base >> 24) << 56;
    rig_put(r, GDT + sel, 8, d);
}

static void gate32(struct rig *r, unsigned v, unsigned sel, uint32_t off, unsigned type)
{
    rig_put(r, IDT + 8 * v, 8,
            (off & 0xffff) | (uint64_t)sel << 16 | (uint64_t)type << 40 |
                (uint64_t)(off >> 16) << 48);
}

/* 32-bit protected mode with a GDT, an IDT and a TSS. */
static struct rig protected_rig(unsigned cpl)
{
    struct rig r = rig_new("qemu32");
    descriptor(&r, 0x08, 0, 0xfffff, 0xc09b);
    descriptor(&r, 0x10, 0, 0xfffff, 0xc093);
    descriptor(&r, 0x18, 0, 0xfffff, 0xc0fb);
    descriptor(&r, 0x20, 0, 0xfffff, 0xc0f3);
    descriptor(&r, 0x28, TSS, 0x67, 0x8b);
    descriptor(&r, 0x30, TSS2, 0x67, 0x89);
    descriptor(&r, 0x38, 0, 0xfffff, 0xc013); /* not present */
    descriptor(&r, 0x40, 0, 0xfffff, 0xc091); /* read-only */
    r.c->gdt = (struct x86_table){ GDT, 0x47 };
    r.c->idt = (struct x86_table){ IDT, 0x7ff };
    r.c->tr = (struct x86_system_segment){ .sel = 0x28, .flags = 0x8b, .limit = 0x67, .base = TSS };
    rig_put(&r, TSS + 4, 4, STACK0);
    rig_put(&r, TSS + 8, 2, 0x10);
    rig_flat(&r, 32, cpl);
    r.c->tcg.gpr[RSP] = cpl ? STACK3 : STACK0;
    r.c->tcg.pc = 0x5000;
    return r;
}

/* ---- segments ---- */

static void test_loading_a_segment_is_checked(void **state)
{
    static const struct {
        unsigned seg, sel, cpl;
        int raised;
        uint32_t code;
    } loads[] = {
        { DS, 0x10, 0, RIG_OK, 0 },   { DS, 0, 0, RIG_OK, 0 },      { SS, 0, 0, EX_GP, 0 },
        { SS, 0x40, 0, EX_GP, 0x40 }, { DS, 0x40, 0, RIG_OK, 0 },   { DS, 0x38, 0, EX_NP, 0x38 },
        { SS, 0x38, 0, EX_SS, 0x38 }, { DS, 0x48, 0, EX_GP, 0x48 }, { DS, 0x13, 3, EX_GP, 0x10 },
        { DS, 0x23, 3, RIG_OK, 0 },   { SS, 0x20, 3, EX_GP, 0x20 }, { DS, 0x28, 0, EX_GP, 0x28 },
        { DS, 0x0c, 0, EX_GP, 0x0c },
    };
    (void)state;
    for (volatile size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        struct rig r = protected_rig(loads[i].cpl);
        int got = RIG_CATCH(&r, x86_load_segment(r.c, loads[i].seg, (uint16_t)loads[i].sel));
        if (got != loads[i].raised || (got >= 0 && r.c->raised_code != loads[i].code)) {
            fail_msg("load %zu: %d %x", i, got, r.c->raised_code);
        }
        rig_free(&r);
    }
}

static void test_real_mode_keeps_a_big_limit(void **state)
{
    (void)state;
    struct rig r = protected_rig(0);
    x86_load_segment(r.c, DS, 0x10);
    x86_set_cr0(r.c, r.c->cr0 & ~(uint64_t)CR0_PE);
    x86_load_segment(r.c, DS, 0x1234);
    assert_int_equal(r.c->tcg.seg_base[DS], 0x12340);
    assert_true(r.c->seg[DS].limit == UINT32_MAX);
    rig_free(&r);
}

/* ---- delivery ---- */

static void test_real_mode_interrupt_and_iret(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    struct x86_cpu *c = r.c;
    x86_set_segment(c, CS, 0x100, 0x1000, 0xffff, 0x9b);
    c->idt = (struct x86_table){ 0, 0x3ff };
    c->tcg.pc = 0x22;
    c->tcg.gpr[RSP] = 0x7000;
    x86_set_eflags(c, EF_IF | F_CF, EF_IF | F_CF);
    rig_put(&r, 8 * 4, 4, 0x20000456);
    assert_true(x86_deliver_interrupt(c, 8));
    assert_int_equal(c->tcg.pc, 0x456);
    assert_int_equal(c->seg[CS].sel, 0x2000);
    assert_int_equal(c->tcg.gpr[RSP], 0x6ffa);
    assert_int_equal(rig_get(&r, 0x6ffa, 2), 0x22);
    assert_int_equal(rig_get(&r, 0x6ffc, 2), 0x100);
    assert_int_equal(rig_get(&r, 0x6ffe, 2), 0x203);
    assert_false(c->eflags & EF_IF);
    assert_int_equal(RIG_CATCH(&r, x86_h_iret.fn(&c->tcg, 2, 0, 0)), RIG_OK);
    assert_int_equal(c->tcg.pc, 0x22);
    assert_int_equal(c->seg[CS].sel, 0x100);
    assert_int_equal(x86_get_eflags(c), 0x203);
    rig_free(&r);
}

static void test_user_exception_goes_to_the_inner_stack_and_back(void **state)
{
    (void)state;
    struct rig r = protected_rig(3);
    struct x86_cpu *c = r.c;
    gate32(&r, EX_GP, 0x08, 0x12345, 0x8e);
    x86_set_eflags(c, EF_IF, EF_IF);
    c->raised = EX_GP;
    c->raised_has_code = true;
    c->raised_code = 0x50;
    assert_true(x86_deliver_raised(c));
    assert_int_equal(c->tcg.pc, 0x12345);
    assert_int_equal(x86_cpl(c), 0);
    assert_int_equal(c->tcg.gpr[RSP], STACK0 - 24);
    static const uint32_t frame[] = { 0x50, 0x5000, 0x1b, EF_RF | 0x202, STACK3, 0x23 };
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(rig_get(&r, STACK0 - 24 + 4 * i, 4), frame[i]);
    }
    c->tcg.gpr[RSP] += 4;
    assert_int_equal(RIG_CATCH(&r, x86_h_iret.fn(&c->tcg, 4, 0, 0)), RIG_OK);
    assert_int_equal(x86_cpl(c), 3);
    assert_int_equal(c->tcg.pc, 0x5000);
    assert_int_equal(c->tcg.gpr[RSP], STACK3);
    assert_true(c->tcg.tlb == &c->tcg.tlbs[TLB_USER]);
    rig_free(&r);
}

static void test_int_n_needs_a_gate_for_its_level(void **state)
{
    (void)state;
    struct rig r = protected_rig(3);
    struct x86_cpu *c = r.c;
    gate32(&r, 0x80, 0x08, 0x6000, 0x8e);
    gate32(&r, EX_GP, 0x08, 0x7000, 0x8e);
    assert_int_equal(RIG_CATCH(&r, x86_h_int.fn(&c->tcg, 0x80, 0x5002, 0)), 0x80);
    assert_true(x86_deliver_raised(c));
    assert_int_equal(c->tcg.pc, 0x7000); /* a fault of the INT instruction itself */
    assert_int_equal(rig_get(&r, STACK0 - 24, 4), 0x80 * 8 + 2);
    assert_int_equal(rig_get(&r, STACK0 - 20, 4), 0x5000);
    rig_free(&r);

    r = protected_rig(3);
    gate32(&r, 0x80, 0x08, 0x6000, 0xee);
    assert_int_equal(RIG_CATCH(&r, x86_h_int.fn(&r.c->tcg, 0x80, 0x5002, 0)), 0x80);
    assert_true(x86_deliver_raised(r.c));
    assert_int_equal(r.c->tcg.pc, 0x6000);
    assert_int_equal(rig_get(&r, STACK0 - 20, 4), 0x5002);
    rig_free(&r);
}

static void test_faults_while_delivering_double_and_triple(void **state)
{
    (void)state;
    struct rig r = protected_rig(0);
    gate32(&r, EX_GP, 0x38, 0x7000, 0x8e); /* its code segment is not present */
    gate32(&r, EX_DF, 0x08, 0x7100, 0x8e);
    r.c->raised = EX_GP;
    r.c->raised_has_code = true;
    r.c->raised_code = 0;
    assert_true(x86_deliver_raised(r.c));
    assert_int_equal(r.c->tcg.pc, 0x7100);
    assert_int_equal(rig_get(&r, STACK0 - 16, 4), 0);
    gate32(&r, EX_DF, 0x38, 0x7100, 0x8e);
    r.c->raised = EX_GP;
    assert_false(x86_deliver_raised(r.c));
    rig_free(&r);
}

static void test_long_mode_uses_the_interrupt_stack_table(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    struct x86_cpu *c = r.c;
    rig_put(&r, GDT + 8, 8, 0x00af9b000000ffffull);
    c->gdt = (struct x86_table){ GDT, 0x0f };
    c->idt = (struct x86_table){ IDT, 0xfff };
    c->tr = (struct x86_system_segment){ .sel = 0x28, .flags = 0x8b, .limit = 0x67, .base = TSS };
    rig_put(&r, TSS + 36, 8, STACK0 + 8); /* IST1; gets aligned */
    rig_put(&r, IDT + 16 * 2, 8, 0x00008e0100080000ull | 0x4321);
    rig_put(&r, IDT + 16 * 2 + 8, 8, 0);
    rig_long(&r, 3);
    c->tcg.gpr[RSP] = 0x9008;
    c->tcg.pc = 0x5000;
    assert_true(x86_deliver_nmi(c));
    assert_int_equal(c->tcg.pc, 0x4321);
    assert_int_equal(c->tcg.gpr[RSP], STACK0 - 40);
    assert_int_equal(rig_get(&r, STACK0 - 8, 8), 0x23);
    assert_int_equal(rig_get(&r, STACK0 - 16, 8), 0x9008);
    assert_int_equal(rig_get(&r, STACK0 - 40, 8), 0x5000);
    assert_true(c->nmi_blocked);
    assert_int_equal(c->seg[SS].sel, 0);
    rig_free(&r);
}

static void test_vm86_by_iret_and_back_by_an_exception(void **state)
{
    (void)state;
    struct rig r = protected_rig(0);
    struct x86_cpu *c = r.c;
    static const uint32_t frame[] = { 0x100,  0x2000, EF_VM | 0x202, 0xfffe, 0x3000,
                                      0x4000, 0x5000, 0x6000,        0x7000 };
    c->tcg.gpr[RSP] = STACK0 - sizeof(frame);
    memcpy(rig_at(&r, STACK0 - sizeof(frame)), frame, sizeof(frame));
    assert_int_equal(RIG_CATCH(&r, x86_h_iret.fn(&c->tcg, 4, 0, 0)), RIG_OK);
    assert_true(c->mode & MODE_VM86);
    assert_int_equal(x86_cpl(c), 3);
    assert_int_equal(c->tcg.seg_base[DS], 0x50000);
    assert_int_equal(c->tcg.seg_base[SS], 0x30000);
    gate32(&r, EX_UD, 0x08, 0x7000, 0x8e);
    c->raised = EX_UD;
    c->raised_has_code = false;
    c->raised_soft = SOFT_NOT;
    assert_true(x86_deliver_raised(c));
    assert_false(c->mode & MODE_VM86);
    assert_int_equal(c->tcg.gpr[RSP], STACK0 - 36);
    assert_int_equal(rig_get(&r, STACK0 - 36, 4), 0x100);
    assert_int_equal(rig_get(&r, STACK0 - 4, 4), 0x7000); /* GS */
    assert_int_equal(c->seg[DS].sel, 0);
    rig_free(&r);
}

static void test_a_task_switch_saves_loads_and_nests(void **state)
{
    (void)state;
    struct rig r = protected_rig(0);
    struct x86_cpu *c = r.c;
    rig_put(&r, TSS2 + 32, 4, 0x6666);
    rig_put(&r, TSS2 + 36, 4, 2);
    rig_put(&r, TSS2 + 40, 4, 0xaaaa);
    rig_put(&r, TSS2 + 56, 4, 0x9100);
    static const uint16_t seg[] = { 0x10, 0x08, 0x10, 0x10, 0, 0 };
    for (unsigned i = 0; i < 6; i++) {
        rig_put(&r, TSS2 + 72 + 4 * i, 2, seg[i]);
    }
    c->tcg.gpr[RAX] = 0xbbbb;
    assert_int_equal(RIG_CATCH(&r, x86_h_call_far.fn(&c->tcg, 0x30, 0, 4 | 0x5007ull << 8)),
                     RIG_OK);
    assert_int_equal(c->tcg.pc, 0x6666);
    assert_int_equal(c->tcg.gpr[RAX], 0xaaaa);
    assert_int_equal(c->tr.sel, 0x30);
    assert_true(c->eflags & EF_NT);
    assert_int_equal(rig_get(&r, TSS2, 2), 0x28);
    assert_int_equal(rig_get(&r, TSS + 32, 4), 0x5007);
    assert_int_equal(rig_get(&r, TSS + 40, 4), 0xbbbb);
    assert_int_equal(rig_get(&r, GDT + 0x30 + 5, 1), 0x8b);
    assert_int_equal(RIG_CATCH(&r, x86_h_iret.fn(&c->tcg, 4, 0x6667, 0)), RIG_OK);
    assert_int_equal(c->tcg.pc, 0x5007);
    assert_int_equal(c->tcg.gpr[RAX], 0xbbbb);
    assert_int_equal(c->tr.sel, 0x28);
    assert_int_equal(rig_get(&r, GDT + 0x30 + 5, 1), 0x89);
    rig_free(&r);
}

/* ---- strings ---- */

static void model_movs(uint8_t *m, uint32_t si, uint32_t di, uint32_t n, unsigned size, bool df)
{
    for (; n; n--) {
        uint64_t v = load_le(m + si, size);
        store_le(m + di, size, v);
        si = df ? si - size : si + size;
        di = df ? di - size : di + size;
    }
}

static void test_rep_movs_overlaps_as_element_by_element(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    rig_flat(&r, 32, 0);
    uint8_t *model = malloc(0x10000);
    srand(1);
    for (unsigned k = 0; k < 3000; k++) {
        unsigned size = 1u << rand() % 4, n = (unsigned)rand() % 3000;
        bool df = rand() & 1;
        uint32_t si = 0x6000 + (uint32_t)rand() % 64, di = 0x6000 + (uint32_t)rand() % 64;
        if (k % 3 == 0) {
            di += (uint32_t)rand() % 5000;
        }
        if (df) {
            n %= 2500;
            si += n * size > 0x6000 ? 0 : n * size;
        }
        n = n * size > 0x5000 ? 0x5000 / size : n;
        for (unsigned i = 0; i < 0x10000; i += 4) {
            store_le(model + i, 4, (uint64_t)rand());
        }
        memcpy(rig_at(&r, 0), model, 0x10000);
        model_movs(model, si, di, n, size, df);
        r.c->eflags = EF_FIXED | (df ? EF_DF : 0);
        r.c->tcg.gpr[RSI] = si;
        r.c->tcg.gpr[RDI] = di;
        r.c->tcg.gpr[RCX] = n;
        x86_h_movs.fn(&r.c->tcg, size | 4u << 8 | 1u << 16 | DS << 24, 0x100, 0x10);
        if (memcmp(rig_at(&r, 0), model, 0x10000) != 0) {
            fail_msg("case %u: size %u n %u df %d %x -> %x", k, size, n, df, si, di);
        }
        assert_int_equal(r.c->tcg.gpr[RCX], 0);
        assert_int_equal(r.c->tcg.pc, 0x100);
    }
    free(model);
    rig_free(&r);
}

static void test_rep_movs_restarts_at_a_fault(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    struct x86_cpu *c = r.c;
    rig_long(&r, 0);
    c->cr0 |= CR0_WP;
    rig_put(&r, RIG_PT + 8 * 0x41, 8, 0);
    memset(rig_at(&r, 0x30000), 0x5a, 0x2000);
    c->tcg.gpr[RSI] = 0x30000;
    c->tcg.gpr[RDI] = 0x40ffc;
    c->tcg.gpr[RCX] = 0x1000;
    assert_int_equal(
        RIG_CATCH(&r, x86_h_movs.fn(&c->tcg, 1 | 8 << 8 | 1 << 16 | DS << 24, 0x100, 0x10)), EX_PF);
    assert_int_equal(c->tcg.gpr[RCX], 0x1000 - 4);
    assert_int_equal(c->tcg.gpr[RDI], 0x41000);
    assert_int_equal(c->cr2, 0x41000);
    rig_put(&r, RIG_PT + 8 * 0x41, 8, 0x41000 | 7);
    assert_int_equal(
        RIG_CATCH(&r, x86_h_movs.fn(&c->tcg, 1 | 8 << 8 | 1 << 16 | DS << 24, 0x100, 0x10)),
        RIG_OK);
    assert_int_equal(c->tcg.gpr[RCX], 0);
    assert_memory_equal(rig_at(&r, 0x40ffc), rig_at(&r, 0x30000), 0x1000);
    rig_free(&r);
}

static void test_addresses_of_strings_wrap_at_16_bits(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    struct x86_cpu *c = r.c;
    c->tcg.gpr[RDI] = 0xffff0000fffeull;
    c->tcg.gpr[RCX] = 4;
    c->tcg.gpr[RAX] = 0x77;
    x86_set_segment(c, ES, 0x1000, 0x10000, 0xffff, 0x93);
    x86_h_stos.fn(&c->tcg, 1 | 2 << 8 | 1 << 16, 0x100, 0x10);
    assert_int_equal(rig_get(&r, 0x1fffe, 2), 0x7777);
    assert_int_equal(rig_get(&r, 0x10000, 4), 0x7777);
    assert_int_equal(rig_get(&r, 0x20000, 2), 0);
    assert_true(c->tcg.gpr[RDI] == 0xffff00000002ull);
    rig_free(&r);
}

static void test_scas_and_cmps_stop_where_they_should(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    struct x86_cpu *c = r.c;
    rig_flat(&r, 32, 0);
    memset(rig_at(&r, 0x5000), 1, 0x3000);
    *rig_at(&r, 0x6234) = 9;
    c->tcg.gpr[RDI] = 0x5000;
    c->tcg.gpr[RCX] = 0xffffffff;
    c->tcg.gpr[RAX] = 9;
    x86_h_scas.fn(&c->tcg, 1 | 4 << 8 | 2 << 16, 0x100, 0x10);
    assert_int_equal(c->tcg.gpr[RDI], 0x6235);
    assert_int_equal(c->tcg.flags, F_ZF | F_PF);
    c->tcg.gpr[RSI] = 0x5000;
    c->tcg.gpr[RDI] = 0x6000;
    c->tcg.gpr[RCX] = 0x1000;
    x86_h_cmps.fn(&c->tcg, 1 | 4 << 8 | 1 << 16 | DS << 24, 0x100, 0x10);
    assert_int_equal(c->tcg.gpr[RDI], 0x6235);
    assert_int_equal(c->tcg.gpr[RCX], 0x1000 - 0x235);
    assert_int_equal(c->tcg.flags, F_CF | F_SF | F_AF | F_PF * (1 ^ __builtin_parity(0xf8)));
    rig_free(&r);
}

/* ---- divisions ---- */

static void test_divisions_overflow_and_not(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    uint64_t *g = r.c->tcg.gpr;
    struct tcg_cpu *t = &r.c->tcg;
    g[RAX] = 0;
    g[RDX] = 1ull << 63;
    assert_int_equal(RIG_CATCH(&r, x86_h_idiv.fn(t, UINT64_MAX, 8, 0)), EX_DE);
    g[RAX] = 1ull << 63;
    g[RDX] = UINT64_MAX;
    assert_int_equal(RIG_CATCH(&r, x86_h_idiv.fn(t, UINT64_MAX, 8, 0)), EX_DE);
    assert_int_equal(RIG_CATCH(&r, x86_h_idiv.fn(t, 1, 8, 0)), RIG_OK);
    assert_true(g[RAX] == 1ull << 63 && g[RDX] == 0);
    g[RAX] = 0xffffffff80000000ull;
    g[RDX] = 0xaaaaaaaaffffffffull;
    assert_int_equal(RIG_CATCH(&r, x86_h_idiv.fn(t, 0x10000000000007ull, 4, 0)), RIG_OK);
    assert_int_equal((int32_t)g[RAX], INT32_MIN / 7);
    assert_int_equal((int32_t)g[RDX], INT32_MIN % 7);
    g[RAX] = 5;
    g[RDX] = 4;
    assert_int_equal(RIG_CATCH(&r, x86_h_div.fn(t, 4, 8, 0)), EX_DE);
    g[RDX] = 3;
    assert_int_equal(RIG_CATCH(&r, x86_h_div.fn(t, 4, 8, 0)), RIG_OK);
    assert_true(g[RAX] == 0xc000000000000001ull && g[RDX] == 1);
    g[RAX] = 0x1ff;
    assert_int_equal(RIG_CATCH(&r, x86_h_div.fn(t, 2, 1, 0)), RIG_OK);
    assert_int_equal(g[RAX], 0x1ff);
    assert_int_equal(RIG_CATCH(&r, x86_h_div.fn(t, 1, 1, 0)), EX_DE);
    rig_free(&r);
}

/* ---- SMM ---- */

static void smi_round_trip(const char *model, uint32_t revision)
{
    struct rig r = rig_new(model);
    struct x86_cpu *c = r.c;
    rig_flat(&r, 32, 0);
    for (unsigned i = 0; i < 8; i++) {
        c->tcg.gpr[i] = 0x1000 + i;
    }
    c->tcg.pc = 0x5555;
    x86_set_eflags(c, EF_IF | F_CF, EF_IF | F_CF);
    c->dr[7] = 0x455;
    x86_smi(c);
    assert_true(c->smm);
    assert_int_equal(c->tcg.pc, 0x8000);
    assert_int_equal(c->tcg.seg_base[CS], 0x30000);
    assert_int_equal(rig_get(&r, 0x3fefc, 4), revision);
    rig_put(&r, revision & 0x64 ? 0x3ff00 : 0x3fef8, 4, 0xa0000); /* relocate */
    memset(c->tcg.gpr, 0, sizeof(c->tcg.gpr));
    assert_int_equal(RIG_CATCH(&r, x86_h_rsm.fn(&c->tcg, 0, 0, 0)), RIG_OK);
    assert_false(c->smm);
    assert_int_equal(c->smbase, 0xa0000);
    assert_int_equal(c->tcg.pc, 0x5555);
    assert_int_equal(x86_get_eflags(c), 0x203);
    assert_int_equal(c->dr[7], 0x455);
    assert_true(c->mode & MODE_CS32);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(c->tcg.gpr[i], 0x1000 + i);
    }
    rig_free(&r);
}

static void test_smi_and_rsm(void **state)
{
    (void)state;
    smi_round_trip("qemu64", 0x20064);
    smi_round_trip("qemu32", 0x20000);
}

/* ---- state images ---- */

static void test_fxsave_and_back(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    struct x86_cpu *c = r.c;
    rig_long(&r, 0);
    c->cr4 |= CR4_OSFXSR;
    for (unsigned i = 0; i < 16; i++) {
        memset(c->tcg.vec[i].b, (int)i + 1, 32);
    }
    c->tcg.mxcsr = 0x1fa0;
    store_le(c->fpu.image, 2, 0x27f);
    assert_int_equal(RIG_CATCH(&r, x86_h_fxsave.fn(&c->tcg, 0x6008, 0, 0)), EX_GP);
    assert_int_equal(RIG_CATCH(&r, x86_h_fxsave.fn(&c->tcg, 0x6000, 0, 0)), RIG_OK);
    memset(c->tcg.vec, 0, sizeof(c->tcg.vec));
    c->tcg.mxcsr = 0x1f80;
    x86_fpu_reset(c);
    assert_int_equal(RIG_CATCH(&r, x86_h_fxrstor.fn(&c->tcg, 0x6000, 0, 0)), RIG_OK);
    assert_int_equal(c->tcg.mxcsr, 0x1fa0);
    assert_int_equal(c->tcg.vec[15].b[15], 16);
    assert_int_equal(c->tcg.vec[15].b[16], 0);
    assert_int_equal(load_le(c->fpu.image, 2), 0x27f);
    rig_put(&r, 0x6018, 4, 0x10000);
    assert_int_equal(RIG_CATCH(&r, x86_h_fxrstor.fn(&c->tcg, 0x6000, 0, 0)), EX_GP);
    rig_free(&r);
}

static void test_xrstor_refuses_a_bad_header(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    struct x86_cpu *c = r.c;
    rig_long(&r, 0);
    c->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    c->xcr0 = 3;
    memset(c->tcg.vec[3].b, 0x42, 16);
    assert_int_equal(RIG_CATCH(&r, x86_h_xsave.fn(&c->tcg, 0x6000, 0, 3)), RIG_OK);
    assert_int_equal(rig_get(&r, 0x6200, 8), 3);
    memset(c->tcg.vec[3].b, 0, 16);
    assert_int_equal(RIG_CATCH(&r, x86_h_xrstor.fn(&c->tcg, 0x6000, 0, 2)), RIG_OK);
    assert_int_equal(c->tcg.vec[3].b[7], 0x42);
    rig_put(&r, 0x6200, 8, 1); /* SSE in its initial state */
    assert_int_equal(RIG_CATCH(&r, x86_h_xrstor.fn(&c->tcg, 0x6000, 0, 3)), RIG_OK);
    assert_int_equal(c->tcg.vec[3].b[7], 0);
    rig_put(&r, 0x6200, 8, 4); /* not in XCR0 */
    assert_int_equal(RIG_CATCH(&r, x86_h_xrstor.fn(&c->tcg, 0x6000, 0, 3)), EX_GP);
    rig_put(&r, 0x6200, 8, 1);
    rig_put(&r, 0x6208, 8, 1);
    assert_int_equal(RIG_CATCH(&r, x86_h_xrstor.fn(&c->tcg, 0x6000, 0, 3)), EX_GP);
    rig_free(&r);
}

/* ---- models ---- */

static void test_cpu_models_and_their_flags(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct x86_model *m = x86_model_new("Haswell,-avx2,+sha-ni,smap=on", false, &e);
    assert_non_null(m);
    assert_true(x86_model_has(m, X86_AVX) && !x86_model_has(m, X86_AVX2));
    assert_true(x86_model_has(m, X86_SHA_NI) && x86_model_has(m, X86_SMAP));
    assert_int_equal(cpuid_signature(m), 0x306c4);
    free(m);
    m = x86_model_new("max,-xsave", false, &e); /* takes AVX along */
    assert_non_null(m);
    assert_false(x86_model_has(m, X86_AVX) || x86_model_has(m, X86_AVX2));
    free(m);
    assert_null(x86_model_new("i386sx", false, &e));
    assert_string_equal(e.msg, "-cpu: unknown CPU model 'i386sx'");
    assert_null(x86_model_new("max,+warp", false, &e));
    assert_string_equal(e.msg, "-cpu: unknown feature 'warp'");
    assert_null(x86_model_new("max,avx=maybe", false, &e));
}

/* ---- saved state ---- */

static struct rig saved_rig(void)
{
    struct rig r = rig_new("max");
    struct err e = { 0 };
    assert_int_equal(vcpus_add_state(r.v, &e), 0);
    assert_int_equal(soft_add_state(r.soft, r.m, &e), 0);
    return r;
}

static void test_state_goes_out_and_comes_back(void **s)
{
    (void)s;
    struct rig a = saved_rig(), b = saved_rig();
    struct state_buf first = { 0 }, second = { 0 };
    struct err e = { 0 };
    for (unsigned i = 0; i < 16; i++) {
        a.c->tcg.gpr[i] = i * 0x0123456789abcdefull;
        a.c->tcg.vec[i].q[3] = ~(uint64_t)i;
    }
    a.c->pending = PEND_NMI | PEND_STOP;
    a.c->halted = true;
    rig_put(&a, 0x1234, 8, 0x5566778899aabbcc);
    assert_int_equal(machine_save(a.m, &first, &e), 0);
    assert_int_equal(machine_load(b.m, first.p, first.len, &e), 0);
    assert_int_equal(b.c->tcg.gpr[15], 15 * 0x0123456789abcdefull);
    assert_int_equal(b.c->tcg.vec[7].q[3], ~7ull);
    assert_int_equal(b.c->pending, PEND_NMI);
    assert_true(b.c->halted);
    assert_int_equal(rig_get(&b, 0x1234, 8), 0x5566778899aabbcc);
    assert_int_equal(machine_save(b.m, &second, &e), 0);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.p, second.p, first.len);
    free(first.p);
    free(second.p);
    rig_free(&a);
    rig_free(&b);
}

static void test_a_state_no_processor_can_have_is_refused(void **s)
{
    (void)s;
    struct rig good = saved_rig();
    for (unsigned i = 0; i < 9; i++) {
        struct rig bad = saved_rig();
        struct state_buf b = { 0 };
        struct err e = { 0 };
        struct x86_cpu *c = bad.c;
        uint64_t *const wide[] = { &c->cr0,  &c->cr4,        &c->efer,     &c->xcr0,
                                   &c->xcr0, &c->db_pending, &c->a20_mask, &c->tcg.flags };
        static const uint64_t value[] = { CR0_PG, 1ull << 40, 8, 0, 5, DB_WATCHED, 0, 2 };
        static const char *const name[] = { "cr0",  "cr4",        "efer", "xcr0",
                                            "xcr0", "db_pending", "pins", "eflags" };
        if (i < 8) {
            *wide[i] = value[i];
        } else {
            c->tcg.mxcsr = 0x10000;
        }
        assert_int_equal(machine_save(bad.m, &b, &e), 0);
        assert_true(machine_load(good.m, b.p, b.len, &e) < 0);
        assert_non_null(strstr(e.msg, i < 8 ? name[i] : "mxcsr"));
        free(b.p);
        rig_free(&bad);
    }
    rig_free(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loading_a_segment_is_checked),
        cmocka_unit_test(test_real_mode_keeps_a_big_limit),
        cmocka_unit_test(test_real_mode_interrupt_and_iret),
        cmocka_unit_test(test_user_exception_goes_to_the_inner_stack_and_back),
        cmocka_unit_test(test_int_n_needs_a_gate_for_its_level),
        cmocka_unit_test(test_faults_while_delivering_double_and_triple),
        cmocka_unit_test(test_long_mode_uses_the_interrupt_stack_table),
        cmocka_unit_test(test_vm86_by_iret_and_back_by_an_exception),
        cmocka_unit_test(test_a_task_switch_saves_loads_and_nests),
        cmocka_unit_test(test_rep_movs_overlaps_as_element_by_element),
        cmocka_unit_test(test_rep_movs_restarts_at_a_fault),
        cmocka_unit_test(test_addresses_of_strings_wrap_at_16_bits),
        cmocka_unit_test(test_scas_and_cmps_stop_where_they_should),
        cmocka_unit_test(test_divisions_overflow_and_not),
        cmocka_unit_test(test_smi_and_rsm),
        cmocka_unit_test(test_fxsave_and_back),
        cmocka_unit_test(test_xrstor_refuses_a_bad_header),
        cmocka_unit_test(test_cpu_models_and_their_flags),
        cmocka_unit_test(test_state_goes_out_and_comes_back),
        cmocka_unit_test(test_a_state_no_processor_can_have_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
