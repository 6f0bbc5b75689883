/* SPDX-License-Identifier: MIT */
/* tests/unit/test-x86-features.c - what system software finds behind feature bits: UMIP, PCID, INVPCID,
 * pages of 1 GiB, debug registers, MTRRs and PAT, the XSAVE family, task gates. Each runs as guest code.
 */
#include "tests/unit/x86-rig.h"

#include <stdlib.h>

enum { CODE = 0x20000, DATA = 0x30000, STACK = 0x38000, GDT = 0x1000, IDT = 0x1800, TSS = 0x2000 };
#define GPR(n) r->c->tcg.gpr[n]

static unsigned put(struct rig *r, uint32_t at, const char *hex)
{
    unsigned n = 0;
    for (; *hex; hex += *hex == ' ' ? 1 : 2) {
        char two[3] = { hex[0], hex[1], 0 };
        if (*hex != ' ') {
            r->ram[at + n++] = (uint8_t)strtoul(two, NULL, 16);
        }
    }
    return n;
}

/* Runs the code with a HLT behind it: the vector it raised, or RIG_OK at the HLT or a debug trap. */
static int run(struct rig *r, const char *hex)
{
    struct x86_cpu *c = r->c;
    put(r, CODE + put(r, CODE, hex), "f4");
    tcg_flush(c->tcg.tcg);
    tcg_jc_flush(&c->tcg);
    c->tcg.pc = CODE;
    c->raised = RAISED_NONE;
    c->halted = false;
    c->db_pending = 0;
    for (unsigned i = 0; i < 1000; i++) {
        if (tcg_run(&c->tcg) == TCG_EXIT_RAISED && c->raised >= 0) {
            return c->raised;
        }
        if (c->halted || c->db_pending) {
            return RIG_OK;
        }
    }
    fail_msg("does not halt: %s", hex);
    return -2;
}

/* Long mode at a privilege, with registers that point somewhere good. */
static struct rig long_rig(const char *model, unsigned cpl)
{
    struct rig made = rig_new(model), *r = &made;
    r->c->a20_mask = UINT64_MAX;
    rig_long(r, cpl);
    GPR(RSP) = STACK;
    GPR(RBX) = DATA;
    return made;
}

static void set_cr4(struct rig *r, uint64_t bits)
{
    r->c->cr4 |= bits;
    x86_mode_changed(r->c);
}

static void test_umip_keeps_tables_from_the_user(void **state)
{
    static const char *const code[] = { "0f0103", "0f010b", "660f00c0", "660f00c8", "0f01e0" };
    (void)state;
    for (unsigned i = 0; i < 5; i++) { /* SGDT SIDT SLDT STR SMSW */
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            struct rig made = long_rig("max", cpl), *r = &made;
            assert_int_equal(run(r, code[i]), cpl ? EX_GP : RIG_OK); /* the user's HLT */
            assert_true(r->c->tcg.pc > CODE);
            set_cr4(r, CR4_UMIP);
            assert_int_equal(run(r, code[i]), cpl ? EX_GP : RIG_OK);
            assert_int_equal(r->c->tcg.pc > CODE, cpl == 0);
            rig_free(r);
        }
    }
}

static void test_a_page_of_one_gigabyte(void **state)
{
    (void)state;
    for (unsigned has = 0; has < 2; has++) {
        struct rig made = long_rig(has ? "max" : "max,-pdpe1gb", 0), *r = &made;
        rig_put(r, RIG_PDPT + 8, 8, 0x87); /* 1 GiB at 1 GiB: memory from 0 on */
        rig_put(r, DATA, 8, 0x1234567);
        GPR(RBX) = 0x40000000 + DATA;
        assert_int_equal(run(r, "488b03"), has ? RIG_OK : EX_PF);
        if (has) {
            assert_int_equal(GPR(RAX), 0x1234567);
        } else {
            assert_int_equal(r->c->raised_code & 9, 9); /* present, reserved bits */
        }
        rig_put(r, RIG_PDPT + 8, 8, 0x2087); /* not aligned: reserved */
        x86_tlb_flush(r->c, true);
        assert_int_equal(run(r, "488b03"), EX_PF);
        assert_int_equal(r->c->raised_code & 9, 9);
        rig_free(r);
    }
}

static void test_pcid_is_switched_on_and_used_by_the_rules(void **state)
{
    (void)state;
    struct rig made = long_rig("max", 0), *r = &made;
    uint64_t on = r->c->cr4 | CR4_PCIDE;
    GPR(RAX) = on;
    r->c->cr3 = RIG_PML4 | 5; /* PWT and PCD are bits of a PCID: not while it goes on */
    assert_int_equal(run(r, "0f22e0"), EX_GP);
    r->c->cr3 = RIG_PML4;
    GPR(RAX) = RIG_PML4 | 1ull << 63;
    assert_int_equal(run(r, "0f22d8"), EX_GP);
    GPR(RAX) = on;
    assert_int_equal(run(r, "0f22e0"), RIG_OK);
    GPR(RAX) = RIG_PML4 | 7 | 1ull << 63;
    assert_int_equal(run(r, "0f22d8"), RIG_OK);
    assert_int_equal(run(r, "0f20d8"), RIG_OK);
    assert_int_equal(GPR(RAX), RIG_PML4 | 7); /* bit 63 is no part of CR3 */
    rig_free(r);
    made = long_rig("max,-pcid", 0);
    GPR(RAX) = made.c->cr4 | CR4_PCIDE;
    assert_int_equal(run(&made, "0f22e0"), EX_GP);
    rig_free(&made);
}

static void test_invpcid_drops_a_page_and_checks_its_operands(void **state)
{
    (void)state;
    struct rig made = long_rig("max", 0), *r = &made;
    enum { SEEN = 0x50000, OTHER = 0x51000, DESC = DATA };
    rig_put(r, SEEN, 8, 1);
    rig_put(r, OTHER, 8, 2);
    GPR(RBX) = SEEN;
    assert_int_equal(run(r, "488b03"), RIG_OK);
    assert_int_equal(GPR(RAX), 1);
    rig_put(r, RIG_PT + 8 * (SEEN >> 12), 8, OTHER | 7);
    rig_put(r, DESC, 8, 0);
    rig_put(r, DESC + 8, 8, SEEN);
    GPR(RSI) = DESC;
    GPR(RCX) = 0;
    assert_int_equal(run(r, "660f38820e 488b03"), RIG_OK);
    assert_int_equal(GPR(RAX), 2);
    for (unsigned type = 0; type < 6; type++) {
        GPR(RCX) = type;
        assert_int_equal(run(r, "660f38820e"), type < 4 ? RIG_OK : EX_GP);
    }
    GPR(RCX) = 1;
    rig_put(r, DESC, 8, 0x1000); /* no PCID */
    assert_int_equal(run(r, "660f38820e"), EX_GP);
    GPR(RCX) = 0;
    rig_put(r, DESC, 8, 0);
    rig_put(r, DESC + 8, 8, 1ull << 47); /* not canonical */
    assert_int_equal(run(r, "660f38820e"), EX_GP);
    rig_free(r);
    made = long_rig("max", 3);
    GPR(RSI) = DESC;
    assert_int_equal(run(r, "660f38820e"), EX_GP);
    rig_free(r);
    made = long_rig("max,-invpcid", 0);
    assert_int_equal(run(r, "660f38820e"), EX_UD);
    rig_free(r);
}

static void test_debug_registers_trap_data_and_fault_on_code(void **state)
{
    (void)state;
    struct rig made = long_rig("max", 0), *r = &made;
    GPR(RAX) = DATA + 4;
    GPR(RCX) = 0xd0101; /* DR0: writes, four bytes; enabled */
    assert_int_equal(run(r, "0f23c0 0f23f9 8b4304 8903 894304 90"), RIG_OK);
    assert_int_equal(r->c->db_pending & 0xf, 1);
    assert_int_equal(r->c->tcg.pc, CODE + 6 + 3 + 2 + 3); /* a trap: behind the store */
    GPR(RAX) = CODE + 7;
    GPR(RCX) = 0x101; /* DR0: execution */
    assert_int_equal(run(r, "0f23c0 0f23f9 90 90"), EX_DB);
    assert_int_equal(r->c->tcg.pc, CODE + 7); /* a fault: before the instruction */
    r->c->dr[7] = 0x400 | 1 << 13;            /* GD */
    x86_mode_changed(r->c);
    assert_int_equal(run(r, "0f21c0"), EX_DB);
    assert_true(r->c->dr[6] & 1 << 13);
    r->c->dr[7] = 0x400;
    x86_mode_changed(r->c);
    GPR(RAX) = 1ull << 32;
    assert_int_equal(run(r, "0f23f8"), EX_GP);  /* DR7's upper half */
    assert_int_equal(run(r, "0f21e0"), RIG_OK); /* DR4 is DR6 ... */
    set_cr4(r, CR4_DE);
    assert_int_equal(run(r, "0f21e0"), EX_UD); /* ... or nothing */
    rig_free(r);
}

/* WRMSR, then RDMSR of the same. */
static int set_msr(struct rig *r, uint32_t msr, uint64_t v)
{
    GPR(RCX) = msr;
    GPR(RAX) = (uint32_t)v;
    GPR(RDX) = v >> 32;
    int raised = run(r, "0f30 31c0 31d2 0f32");
    if (raised == RIG_OK) {
        assert_int_equal(GPR(RAX) | GPR(RDX) << 32, v);
    }
    return raised;
}

static void test_mtrrs_and_pat_take_what_there_is(void **state)
{
    (void)state;
    struct rig made = long_rig("max", 0), *r = &made;
    assert_int_equal(set_msr(r, 0x277, 0x0007040600070406), RIG_OK);
    assert_int_equal(set_msr(r, 0x277, 0x0007040600070402), EX_GP); /* no type 2 */
    assert_int_equal(set_msr(r, 0x2ff, 0xc06), RIG_OK);
    assert_int_equal(set_msr(r, 0x2ff, 0xc02), EX_GP);
    assert_int_equal(set_msr(r, 0x250, 0x0606060606060606), RIG_OK);
    assert_int_equal(set_msr(r, 0x250, 0x0206060606060606), EX_GP);
    assert_int_equal(set_msr(r, 0x200, 0xc0000006), RIG_OK);
    assert_int_equal(set_msr(r, 0x201, 0xffc0000800), RIG_OK);
    assert_int_equal(set_msr(r, 0x201, 1ull << 62), EX_GP); /* behind the physical addresses */
    GPR(RCX) = 0xfe;
    assert_int_equal(run(r, "0f32"), RIG_OK);
    assert_true((GPR(RAX) & 0xff) >= 1 && GPR(RAX) & 1 << 8);
    assert_int_equal(set_msr(r, 0xfe, 0), EX_GP);
    rig_free(r);
}

static void test_xsave_family_saves_compact_and_restores(void **state)
{
    (void)state;
    struct rig made = long_rig("max", 0), *r = &made;
    set_cr4(r, CR4_OSFXSR | CR4_OSXSAVE);
    r->c->xcr0 = 7;
    x86_mode_changed(r->c);
    GPR(RAX) = 7;
    GPR(RDX) = 0;
    /* YMM1 all ones; XSAVEC; YMM1 zero; XRSTOR; YMM1 to memory at +0x1000. */
    assert_int_equal(run(r, "c5f5 76c9 c4e37518c901 0fc723 c5f457c9 0fae2b c5fe7f8b00100000"),
                     RIG_OK);
    assert_int_equal(rig_get(r, DATA + 512 + 8, 8) >> 63, 1); /* XCOMP_BV: compact */
    for (unsigned i = 0; i < 32; i += 8) {
        assert_true(rig_get(r, DATA + 0x1000 + i, 8) == UINT64_MAX);
    }
    rig_put(r, DATA + 512, 8, 0);
    assert_int_equal(run(r, "0fc72b"), RIG_OK); /* XSAVES */
    assert_int_equal(run(r, "0fc71b"), RIG_OK); /* XRSTORS */
    GPR(RBX) = DATA + 8;
    assert_int_equal(run(r, "0fae23"), EX_GP); /* not on 64 bytes */
    rig_free(r);
    made = long_rig("max,-xsaves", 0);
    set_cr4(r, CR4_OSFXSR | CR4_OSXSAVE);
    assert_int_equal(run(r, "0fc72b"), EX_UD);
    rig_free(r);
}

static void test_an_interrupt_through_a_task_gate_nests(void **state)
{
    (void)state;
    struct rig made = rig_new("qemu32"), *r = &made;
    struct x86_cpu *c = r->c;
    rig_put(r, GDT + 0x08, 8, 0x00cf9b000000ffff);
    rig_put(r, GDT + 0x10, 8, 0x00cf93000000ffff);
    rig_put(r, GDT + 0x18, 8, 0x00008b0020000067);
    rig_put(r, GDT + 0x20, 8, 0x0000890021000067);
    rig_put(r, IDT + 8 * 0x40, 8, 0x0000850000200000); /* task gate: selector 0x20 */
    c->gdt = (struct x86_table){ GDT, 0x27 };
    c->idt = (struct x86_table){ IDT, 0x7ff };
    c->tr = (struct x86_system_segment){ .sel = 0x18, .flags = 0x8b, .limit = 0x67, .base = TSS };
    rig_put(r, TSS + 0x100 + 32, 4, 0x6666);
    rig_put(r, TSS + 0x100 + 36, 4, 2);
    rig_put(r, TSS + 0x100 + 56, 4, 0x9100);
    static const uint16_t seg[] = { 0x10, 0x08, 0x10, 0x10, 0, 0 };
    for (unsigned i = 0; i < 6; i++) {
        rig_put(r, TSS + 0x100 + 72 + 4 * i, 2, seg[i]);
    }
    c->a20_mask = UINT64_MAX;
    rig_flat(r, 32, 0);
    GPR(RSP) = STACK;
    assert_int_equal(run(r, "cd40"), 0x40);
    assert_true(x86_deliver_raised(c));
    assert_int_equal(c->tcg.pc, 0x6666);
    assert_int_equal(c->tr.sel, 0x20);
    assert_true(c->eflags & EF_NT);
    assert_int_equal(rig_get(r, TSS + 0x100, 2), 0x18);  /* back link */
    assert_int_equal(rig_get(r, TSS + 32, 4), CODE + 2); /* where it goes on */
    rig_free(r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_umip_keeps_tables_from_the_user),
        cmocka_unit_test(test_a_page_of_one_gigabyte),
        cmocka_unit_test(test_pcid_is_switched_on_and_used_by_the_rules),
        cmocka_unit_test(test_invpcid_drops_a_page_and_checks_its_operands),
        cmocka_unit_test(test_debug_registers_trap_data_and_fault_on_code),
        cmocka_unit_test(test_mtrrs_and_pat_take_what_there_is),
        cmocka_unit_test(test_xsave_family_saves_compact_and_restores),
        cmocka_unit_test(test_an_interrupt_through_a_task_gate_nests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
