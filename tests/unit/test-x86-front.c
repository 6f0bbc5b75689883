/* SPDX-License-Identifier: MIT */
/* Snippets of guest code in every mode, run on the interpreter and the generator: what only the front
 * end decides. The arithmetic itself is compared with the processor's in tests/oracle/. */
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "target/x86/cpu.h"
#include "target/x86/cpuid.h"
#include "target/x86/vcpu.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RAM = 4 << 20, CODE = 0x10000, DATA = 0x20000, STACK = 0x30000, TABLES = 0x100000 };

struct rig {
    struct soft_host *soft;
    struct machine *m;
    struct vcpus *v;
    struct x86_cpu *c;
    uint8_t *ram;
};

static void no_timer(void *o, int64_t when_ns)
{
    (void)o;
    (void)when_ns;
}

static void rig_init(struct rig *r, enum tcg_engine engine, const char *model)
{
    struct soft_options so = { .ram_bytes = RAM };
    struct vcpu_options vo = { .cpus = 1, .model = model, .icount_shift = -1 };
    struct err e = { 0 };
    vo.tcg.engine = engine;
    vo.tcg.passes = PASS_ALL;
    r->soft = soft_new(&so, &e);
    assert_non_null(r->soft);
    r->m = machine_new("test", &soft_host_ops, r->soft);
    soft_attach(r->soft, r->m, no_timer, NULL);
    r->v = vcpus_new(r->m, r->soft, &vo, &e);
    if (!r->v && engine == TCG_JIT) {
        skip(); /* no generator for this host */
    }
    assert_non_null(r->v);
    r->c = vcpus_cpu(r->v, 0);
    r->ram = soft_ram(r->soft, 0, RAM);
    assert_non_null(r->ram);
    r->c->a20_mask = UINT64_MAX;
}

static void rig_fini(struct rig *r)
{
    vcpus_free(r->v);
    machine_free(r->m);
    soft_free(r->soft);
}

enum mode { REAL16, PROT16, PROT32, LONG64, MODES };

static void identity_tables(struct rig *r)
{
    uint64_t *pml4 = (uint64_t *)(r->ram + TABLES), *pdp = pml4 + 512, *pd = pdp + 512;
    pml4[0] = (TABLES + 0x1000) | 7;
    pdp[0] = (TABLES + 0x2000) | 7;
    for (uint64_t i = 0; i < RAM >> 21; i++) {
        pd[i] = i << 21 | 0x87;
    }
}

static void set_all(struct x86_cpu *c, uint32_t limit, uint16_t flags, unsigned dpl)
{
    for (unsigned s = ES; s <= GS; s++) {
        x86_set_segment(c, (enum x86_seg)s, (uint16_t)(0x10 | dpl), 0, limit,
                        (uint16_t)(flags | 0x93 | dpl << 5));
    }
}

/* CPL 0 and flat, or real mode with CS = SS = DS = 0x1000 << 4. */
static void enter(struct rig *r, enum mode m)
{
    struct x86_cpu *c = r->c;
    x86_reset(c, true);
    c->fpu.image[0] = 0x7f; /* FCW after FNINIT */
    c->fpu.image[1] = 3;
    c->cr0 = CR0_ET | CR0_NE | (m == REAL16 ? 0 : CR0_PE);
    c->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (m == REAL16) {
        for (unsigned s = ES; s <= GS; s++) {
            x86_set_segment(c, (enum x86_seg)s, 0x1000, CODE, 0xffff, 0x93);
        }
        c->tcg.pc = 0;
        c->tcg.gpr[RSP] = 0x8000;
    } else {
        set_all(c, UINT32_MAX, m == PROT16 ? 0 : SEG_DB | SEG_G, 0);
        x86_set_segment(c, CS, 8, 0, UINT32_MAX,
                        (uint16_t)(0x9b | SEG_G |
                                   (m == PROT32   ? SEG_DB
                                    : m == LONG64 ? SEG_L
                                                  : 0)));
        c->tcg.pc = CODE;
        c->tcg.gpr[RSP] = m == PROT16 ? 0x8000 : STACK;
    }
    if (m == LONG64) {
        identity_tables(r);
        c->cr3 = TABLES;
        c->cr4 |= CR4_PAE;
        c->efer = EFER_LME | EFER_LMA | EFER_SCE;
        c->cr0 |= CR0_PG;
    }
    x86_mode_changed(c);
    x86_tlb_flush(c, true);
}

static size_t put(struct rig *r, uint32_t at, const char *hex)
{
    size_t n = 0;
    for (; *hex; hex++) {
        if (*hex != ' ') {
            char two[3] = { hex[0], hex[1], 0 };
            r->ram[at + n++] = (uint8_t)strtoul(two, NULL, 16);
            hex++;
        }
    }
    tcg_invalidate(vcpus_tcg(r->v), NULL, at, n);
    return n;
}

/* Runs hex followed by HLT; the vector raised, or -1. */
static int run(struct rig *r, const char *hex)
{
    struct x86_cpu *c = r->c;
    size_t n = put(r, CODE, hex);
    put(r, (uint32_t)(CODE + n), "f4");
    c->raised = -1;
    c->halted = false;
    for (unsigned i = 0; i < 1000; i++) {
        enum tcg_exit why = tcg_run(&c->tcg);
        if (why == TCG_EXIT_RAISED && c->raised >= 0) {
            return c->raised;
        }
        if (c->halted || c->db_pending) {
            return -1;
        }
    }
    fail_msg("does not halt");
    return -2;
}

#define GPR(n) r->c->tcg.gpr[n]
static uint32_t flags(const struct rig *r)
{
    return (uint32_t)r->c->tcg.flags & F_ALL;
}

static uint64_t mem(const struct rig *r, uint32_t at, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, r->ram + at, size);
    return v;
}

/* ---- the tests; each is run on both engines ---- */

static void partial_registers(struct rig *r)
{
    enter(r, LONG64);
    GPR(RAX) = 0x1122334455667788;
    assert_int_equal(run(r, "b4 ab"), -1); /* mov ah, 0xab */
    assert_int_equal(GPR(RAX), 0x112233445566ab88);
    enter(r, LONG64);
    GPR(RAX) = GPR(RSI) = 0x1122334455667788;
    assert_int_equal(run(r, "66b83412 40b67f 31db 89c3"), -1);
    assert_int_equal(GPR(RAX), 0x1122334455661234);
    assert_int_equal(GPR(RSI), 0x112233445566777f);
    assert_int_equal(GPR(RBX), 0x55661234); /* 32-bit writes clear the upper half */
    enter(r, LONG64);
    GPR(RCX) = 0x1234;
    GPR(RBX) = 0x5678;
    assert_int_equal(run(r, "86e9 00f9 28fd"), -1); /* xchg cl,ch; add cl,bh; sub ch,bh */
    assert_int_equal(GPR(RCX), 0xde68);
}

static void stack_of_each_width(struct rig *r)
{
    enter(r, REAL16);
    GPR(RAX) = 0xaabbccdd;
    GPR(RSP) = 0xffff8000;
    assert_int_equal(run(r, "50 6650 6a80"), -1); /* push ax; push eax; push -128 */
    assert_int_equal(GPR(RSP), 0xffff7ff8);
    assert_int_equal(mem(r, CODE + 0x7ffe, 2), 0xccdd);
    assert_int_equal(mem(r, CODE + 0x7ffa, 4), 0xaabbccdd);
    assert_int_equal(mem(r, CODE + 0x7ff8, 2), 0xff80);
    enter(r, REAL16);
    GPR(RSP) = 0; /* wraps */
    GPR(RAX) = 0x1234;
    assert_int_equal(run(r, "50 5b"), -1);
    assert_int_equal(GPR(RSP) & 0xffff, 0);
    assert_int_equal(GPR(RBX) & 0xffff, 0x1234);
    assert_int_equal(mem(r, CODE + 0xfffe, 2), 0x1234);
    enter(r, LONG64);
    GPR(RAX) = 0x1122334455667788;
    assert_int_equal(run(r, "50 6650 6aff 8f442408 54 5b"), -1);
    assert_int_equal(mem(r, STACK - 10, 8), 0x3344556677887788);
    assert_int_equal(mem(r, STACK - 2, 8), UINT64_MAX); /* [rsp+8] with rsp already risen */
    assert_int_equal(GPR(RBX), STACK - 10);
    assert_int_equal(GPR(RSP), STACK - 10);
}

static void pusha_and_popa(struct rig *r)
{
    enter(r, PROT32);
    for (unsigned i = 0; i < 8; i++) {
        if (i != RSP) {
            GPR(i) = 0x100 + i;
        }
    }
    assert_int_equal(run(r, "60 31c0 31c9 31db 31f6 61"), -1);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(GPR(i), i == RSP ? STACK : 0x100 + i);
    }
    assert_int_equal(mem(r, STACK - 20, 4), STACK);
}

static void enter_and_leave(struct rig *r)
{
    enter(r, LONG64);
    GPR(RBP) = 0x1234;
    assert_int_equal(run(r, "c8200000 c9"), -1);
    assert_int_equal(GPR(RBP), 0x1234);
    assert_int_equal(GPR(RSP), STACK);
    enter(r, PROT32);
    GPR(RBP) = STACK + 0x100;
    assert_int_equal(run(r, "c8080003"), -1); /* three levels */
    assert_int_equal(GPR(RBP), STACK - 4);
    assert_int_equal(GPR(RSP), STACK - 4 - 12 - 8);
    assert_int_equal(mem(r, STACK - 16, 4), STACK - 4);
}

static void addresses_wrap(struct rig *r)
{
    enter(r, REAL16);
    GPR(RBX) = 0xfff0;
    GPR(RSI) = 0x20;
    r->ram[CODE + 0x15] = 0x77;
    assert_int_equal(run(r, "8a4005"), -1); /* mov al, [bx+si+5] = [0x15] */
    assert_int_equal(GPR(RAX) & 0xff, 0x77);
    enter(r, LONG64);
    GPR(RBX) = 0xfffffffff0000000;
    r->ram[DATA] = 0x66;
    assert_int_equal(run(r, "678a8300000210"), -1); /* mov al, [ebx+0x10020000] */
    assert_int_equal(GPR(RAX) & 0xff, 0x66);
    enter(r, LONG64);
    assert_int_equal(run(r, "8a05faff0000"), -1); /* rip-relative */
    assert_int_equal(GPR(RAX) & 0xff, 0x66);
}

static void segment_overrides(struct rig *r)
{
    enter(r, PROT32);
    x86_set_segment(r->c, GS, 0x18, DATA, 0xfff, 0x93 | SEG_DB);
    x86_mode_changed(r->c);
    r->ram[DATA + 8] = 0x5a;
    assert_int_equal(run(r, "658a0508000000 658b1d08000000"), -1);
    assert_int_equal(GPR(RAX) & 0xff, 0x5a);
    enter(r, LONG64);
    r->c->tcg.seg_base[FS] = DATA;
    assert_int_equal(run(r, "648a042508000000 3e8a1c2508000200"), -1);
    assert_int_equal(GPR(RAX) & 0xff, 0x5a);
    assert_int_equal(GPR(RBX) & 0xff, 0x5a);
    enter(r, REAL16);
    x86_set_segment(r->c, ES, 0x2000, DATA, 0xffff, 0x93);
    x86_mode_changed(r->c);
    assert_int_equal(run(r, "26a00800"), -1);
    assert_int_equal(GPR(RAX) & 0xff, 0x5a);
}

static void limits_are_checked(struct rig *r)
{
    enter(r, PROT32);
    x86_set_segment(r->c, DS, 0x18, 0, 0xfffff, 0x93 | SEG_DB);
    x86_mode_changed(r->c);
    GPR(RBX) = 0xffffc;
    assert_int_equal(run(r, "8b03 8b4301"), EX_GP);
    assert_int_equal(r->c->tcg.pc, CODE + 2);
    enter(r, PROT32);
    x86_set_segment(r->c, DS, 0x18, 0, UINT32_MAX, 0x91 | SEG_DB | SEG_G); /* read-only */
    x86_mode_changed(r->c);
    GPR(RBX) = DATA;
    assert_int_equal(run(r, "8b03 8903"), EX_GP);
    assert_int_equal(r->c->tcg.pc, CODE + 2);
    enter(r, PROT32);
    x86_set_segment(r->c, SS, 0x18, 0, 0xfff, 0x93 | SEG_DB);
    x86_mode_changed(r->c);
    GPR(RSP) = 0x1004;
    assert_int_equal(run(r, "50 50"), EX_SS);
    assert_int_equal(r->c->tcg.pc, CODE);
    assert_int_equal(GPR(RSP), 0x1004);
}

/* FS and GS have limits of their own, with ES, SS and DS flat. */
static void limits_of_fs_and_gs(struct rig *r)
{
    for (unsigned seg = FS; seg <= GS; seg++) {
        const char *code = seg == FS ? "648b03 648b4301" : "658b03 658b4301";
        enter(r, PROT32);
        x86_set_segment(r->c, seg, 0x18, 0, 0xfffff, 0x93 | SEG_DB);
        x86_mode_changed(r->c);
        GPR(RBX) = 0xffffc;
        assert_int_equal(run(r, code), EX_GP);
        assert_int_equal(r->c->tcg.pc, CODE + 3);
        enter(r, PROT32);
        x86_set_segment(r->c, seg, 0x18, 0, UINT32_MAX, 0x91 | SEG_DB | SEG_G); /* read-only */
        x86_mode_changed(r->c);
        GPR(RBX) = DATA;
        assert_int_equal(run(r, seg == FS ? "648b03 648903" : "658b03 658903"), EX_GP);
        assert_int_equal(r->c->tcg.pc, CODE + 3);
    }
    enter(r, PROT32);
    set_all(r->c, UINT32_MAX, SEG_DB | SEG_G, 3);
    x86_set_segment(r->c, CS, 0x1b, 0, UINT32_MAX, 0xfb | SEG_DB | SEG_G);
    x86_set_segment(r->c, GS, 0, 0, 0, 0); /* null, for the user */
    x86_mode_changed(r->c);
    GPR(RBX) = DATA;
    assert_int_equal(run(r, "8b03 658b03"), EX_GP);
    assert_int_equal(r->c->tcg.pc, CODE + 2);
    enter(r, PROT32);
    x86_set_segment(r->c, FS, 0x18, 0, 0xfff, 0x93 | SEG_DB); /* strings take it too */
    x86_mode_changed(r->c);
    GPR(RSI) = 0x0ffc;
    assert_int_equal(run(r, "64ad 64ad"), EX_GP);
    assert_int_equal(r->c->tcg.pc, CODE + 2);
}

/* 32-bit addresses reach 64 KiB in virtual-8086 mode; in real mode whatever they say. */
static void limits_of_real_mode(struct rig *r)
{
    enter(r, REAL16);
    GPR(RBX) = 0x10000;
    assert_int_equal(run(r, "67668b03"), -1);
    enter(r, REAL16);
    r->c->cr0 |= CR0_PE;
    r->c->eflags |= EF_VM;
    r->c->seg[SS].flags |= 0x60;
    x86_mode_changed(r->c);
    GPR(RBX) = 0xfffc;
    assert_int_equal(run(r, "67668b03 67668b4301"), EX_GP);
    assert_int_equal(r->c->tcg.pc, 4);
}

static void faults_change_nothing(struct rig *r)
{
    static const char *const each[] = {
        "5b",     "8f00",     "50",         "ff10",      "e800000000", "c3",       "c9",
        "0fc10b", "f00fc10b", "8703",       "1103",      "0fb10b",     "f00fb10b", "a4",
        "ab",     "ac",       "0f2803",     "d903",      "c5fc2803",   "60",       "0fab03",
        "d113",   "0fc70b",   "6803000000", "0fa403 05", "660f7e03",   "0f9403",   "8f0424"
    };
    for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        struct tcg_cpu before;
        if (i == 19) { /* PUSHA */
            continue;
        }
        enter(r, LONG64);
        r->c->cr4 |= CR4_OSXSAVE;
        r->c->xcr0 = 7;
        x86_mode_changed(r->c);
        for (unsigned k = 0; k < 16; k++) {
            GPR(k) = 0x40000000 + k * 0x1000; /* not mapped */
        }
        r->c->tcg.flags = F_CF | F_ZF;
        memcpy(before.gpr, r->c->tcg.gpr, sizeof(before.gpr));
        int vector = run(r, each[i]);
        if (vector != EX_PF) {
            fail_msg("%s: vector %d", each[i], vector);
        }
        assert_memory_equal(before.gpr, r->c->tcg.gpr, sizeof(before.gpr));
        assert_int_equal(r->c->tcg.pc, CODE);
    }
}

static void adc_waits_for_its_store(struct rig *r)
{
    enter(r, LONG64);
    uint64_t *pd = (uint64_t *)(r->ram + TABLES + 0x2000);
    pd[1] = (1 << 21) | 0x85; /* read-only */
    r->c->cr0 |= CR0_WP;
    x86_mode_changed(r->c);
    x86_tlb_flush(r->c, true);
    GPR(RBX) = 0x200000;
    memset(r->ram + 0x200000, 0xff, 8);
    r->c->tcg.flags = F_CF;
    assert_int_equal(run(r, "488313 00"), EX_PF); /* adc qword [rbx], 0 */
    assert_int_equal(flags(r) & F_CF, F_CF);
    pd[1] = (1 << 21) | 0x87;
    x86_tlb_flush(r->c, true);
    assert_int_equal(run(r, "488313 00"), -1);
    assert_int_equal(mem(r, 0x200000, 8), 0);
    assert_int_equal(flags(r) & F_CF, F_CF);
}

static void undefined_opcodes(struct rig *r)
{
    static const struct {
        enum mode m;
        const char *hex;
    } each[] = {
        { LONG64, "0f0b" },
        { LONG64, "0fb9c0" },
        { LONG64, "0fff00" },
        { LONG64, "f001d8" },
        { LONG64, "f08b03" },
        { LONG64, "06" },
        { LONG64, "27" },
        { LONG64, "62f17c4858c0" },
        { LONG64, "c5f8ae"
                  "d0" },
        { REAL16, "63c8" },
        { REAL16, "0f00c0" },
        { REAL16, "c5f858c0" },
        { PROT32, "0f01f8" },
        { LONG64, "8ec8" },
        { LONG64, "0f20c8" },
        { LONG64, "8fe8"
                  "78c0"
                  "c000" },
        { LONG64, "f00fa303" },
        { PROT32, "62c8" },
        { LONG64, "0faa" },
        { LONG64, "d9d1" },
    };
    for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        enter(r, each[i].m);
        GPR(RBX) = DATA;
        int vector = run(r, each[i].hex);
        if (vector != EX_UD) {
            fail_msg("%s: vector %d", each[i].hex, vector);
        }
        assert_int_equal(r->c->tcg.pc, each[i].m == REAL16 ? 0 : CODE);
    }
}

static void too_long(struct rig *r)
{
    enter(r, LONG64);
    assert_int_equal(run(r, "66666666666666666666666666666690"), EX_GP);
    enter(r, LONG64);
    assert_int_equal(run(r, "666666666666666666666666666690"), -1); /* fifteen bytes */
}

static void privilege(struct rig *r)
{
    static const char *const each[] = { "f4",     "0f22c0", "0f20c0", "0f23f8", "0f32", "0f30",
                                        "0f011b", "0f0113", "0f06",   "0f0138", "0f08", "0f09",
                                        "0f01f8", "0f00d0", "0f00d8", "0f01f0", "0f07" };
    for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        enter(r, LONG64);
        set_all(r->c, UINT32_MAX, SEG_DB | SEG_G, 3);
        x86_set_segment(r->c, CS, 0x33, 0, UINT32_MAX, 0xfb | SEG_L | SEG_G);
        x86_mode_changed(r->c);
        GPR(RBX) = DATA;
        int vector = run(r, each[i]);
        if (vector != EX_GP) {
            fail_msg("%s: vector %d", each[i], vector);
        }
    }
}

static void branches(struct rig *r)
{
    enter(r, LONG64);
    GPR(RCX) = 5;
    assert_int_equal(run(r, "31c0 ffc0 e2fc"), -1); /* loop */
    assert_int_equal(GPR(RAX), 5);
    assert_int_equal(GPR(RCX), 0);
    enter(r, LONG64);
    GPR(RCX) = 0x100000001;
    assert_int_equal(run(r, "67e2 02 ffc0 90"), -1); /* ecx: 1 - 1 */
    assert_int_equal(GPR(RAX), 1);
    assert_int_equal(GPR(RCX), 0);
    enter(r, PROT32);
    GPR(RCX) = 10;
    GPR(RDI) = DATA;
    memcpy(r->ram + DATA, "aaab", 4);
    assert_int_equal(run(r, "803f61 8d7f01 e1f8"), -1); /* cmp, lea, loope */
    assert_int_equal(GPR(RDI), DATA + 4);
    assert_int_equal(flags(r) & F_ZF, 0);
    enter(r, REAL16);
    assert_int_equal(run(r, "31c9 e301 40 40"), -1); /* jcxz over one inc */
    assert_int_equal(GPR(RAX) & 0xffff, 1);
    enter(r, LONG64);
    assert_int_equal(run(r, "e801000000 f4 58"), -1); /* call over hlt; pop rax */
    assert_int_equal(GPR(RAX), CODE + 5);
}

static void flags_survive(struct rig *r)
{
    /* stc; then instructions that leave CF alone; then adc rax, 0 */
    static const char *const each[] = { "89c8", "8d4801",     "fec3",        "50 59",  "f7d3",
                                        "0fc8", "fc",         "fd fc",       "e300",   "e200",
                                        "eb00", "86c4",       "0f44c1",      "0fb6d9", "99",
                                        "98",   "480fb64b01", "c8000000 c9", "d7",     "ac",
                                        "90" };
    for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        enter(r, LONG64);
        GPR(RBX) = GPR(RSI) = GPR(RBP) = DATA;
        GPR(RCX) = 2;
        char *code = xasprintf("f9 %s b800000000 4883d000", each[i]);
        int vector = run(r, code);
        if (vector != -1 || GPR(RAX) != 1) {
            fail_msg("%s: vector %d, rax %llx", each[i], vector, (unsigned long long)GPR(RAX));
        }
        free(code);
    }
}

/* CF made in one block is read behind a jump, with and without code in between that kills it. */
static void flags_cross_blocks(struct rig *r)
{
    enter(r, LONG64);
    assert_int_equal(run(r, "f9 eb01 f4 eb00 19c0 "), -1); /* sbb eax, eax */
    assert_int_equal(GPR(RAX), 0xffffffff);
    enter(r, LONG64);
    assert_int_equal(run(r, "f9 eb01 f4 83c000 19c0"), -1);
    assert_int_equal(GPR(RAX), 0);
    enter(r, LONG64); /* inc keeps CF; shift by cl = 0 keeps everything */
    GPR(RCX) = 0;
    assert_int_equal(run(r, "f9 eb01 f4 ffc3 d3e3 eb00 19c0"), -1);
    assert_int_equal(GPR(RAX), 0xffffffff);
}

/* The code that an earlier block's liveness was derived from changes. */
static void liveness_follows_code(struct rig *r)
{
    enter(r, LONG64);
    /* stc; jmp +0; add eax,0 (kills CF); setc bl */
    assert_int_equal(run(r, "f9 eb00 83c000 0f92c3"), -1);
    assert_int_equal(GPR(RBX) & 0xff, 0);
    enter(r, LONG64);
    assert_int_equal(run(r, "f9 eb00 90 9090 0f92c3"), -1);
    assert_int_equal(GPR(RBX) & 0xff, 1);
}

static void crosses_pages(struct rig *r)
{
    enter(r, LONG64);
    /* mov eax, 0x12345678 across the end of a page, behind a nop */
    put(r, CODE + 0xffd, "90 b878563412 f4");
    assert_int_equal(run(r, "e9f80f0000"), -1);
    assert_int_equal(GPR(RAX), 0x12345678);
    assert_int_equal(r->c->tcg.pc, CODE + 0x1004);
    put(r, CODE + 0x1000, "ff"); /* its second half changes */
    enter(r, LONG64);
    assert_int_equal(run(r, "e9f80f0000"), -1);
    assert_int_equal(GPR(RAX), 0x1234ff78);
}

static void writes_itself(struct rig *r)
{
    enter(r, LONG64);
    /* mov byte [rip+2], 0x42 (immediate of the next but one); nop; mov al, 0 */
    assert_int_equal(run(r, "c605020000 0042 90 b000"), -1);
    assert_int_equal(GPR(RAX) & 0xff, 0x42);
}

static void bit_strings(struct rig *r)
{
    enter(r, LONG64);
    GPR(RBX) = DATA;
    memset(r->ram + DATA - 8, 0, 32);
    GPR(RCX) = (uint64_t)-5;
    GPR(RDX) = 77;
    assert_int_equal(run(r, "480fab0b 480fab13"), -1);
    assert_int_equal(mem(r, DATA - 8, 8), 1ull << 59);
    assert_int_equal(mem(r, DATA + 8, 8), 1ull << 13);
    enter(r, REAL16);
    GPR(RBX) = DATA - CODE;
    GPR(RCX) = 0xfff0; /* -16 */
    memset(r->ram + DATA - 8, 0, 32);
    GPR(RBX) = 0x100;
    assert_int_equal(run(r, "0fab0f"), -1);
    assert_int_equal(mem(r, CODE + 0xfe, 2), 1);
}

static void strings(struct rig *r)
{
    enter(r, LONG64);
    memcpy(r->ram + DATA, "abcdefgh", 8);
    GPR(RSI) = DATA;
    GPR(RDI) = DATA + 0x100;
    GPR(RCX) = 3;
    assert_int_equal(run(r, "a4 fd 48a5 fc f3a4 f3aa"), -1);
    assert_memory_equal(r->ram + DATA + 0x100, "a", 1);
    assert_int_equal(GPR(RCX), 0);
    enter(r, REAL16);
    x86_set_segment(r->c, ES, 0x2000, DATA, 0xffff, 0x93);
    x86_mode_changed(r->c);
    GPR(RDI) = 0x7000ffff;
    GPR(RAX) = 0x41;
    assert_int_equal(run(r, "aa aa"), -1); /* DI wraps */
    assert_int_equal(GPR(RDI), 0x70000001);
    assert_int_equal(r->ram[DATA + 0xffff], 0x41);
    assert_int_equal(r->ram[DATA], 0x41);
}

static void single_step(struct rig *r)
{
    enter(r, LONG64);
    x86_set_eflags(r->c, EF_TF, EF_TF);
    assert_int_equal(run(r, "ffc0 ffc0"), -1);
    assert_int_equal(GPR(RAX), 1);
    assert_int_equal(r->c->tcg.pc, CODE + 2);
    assert_int_equal(r->c->db_pending, 1 << 14);
    r->c->db_pending = 0;
    enter(r, LONG64);
    GPR(RCX) = 7;
    r->c->tcg.flags = F_CF;
    x86_set_eflags(r->c, EF_TF, EF_TF);
    assert_int_equal(run(r, "e201 90"), -1); /* loop: where to is computed without flags */
    assert_int_equal(r->c->tcg.pc, CODE + 3);
    assert_int_equal(flags(r), F_CF);
    r->c->db_pending = 0;
}

static void alignment(struct rig *r)
{
    enter(r, LONG64);
    GPR(RBX) = DATA + 8;
    assert_int_equal(run(r, "0f1003 f30f1003 660f1303"), -1); /* movups, movss, movlpd */
    enter(r, LONG64);
    GPR(RBX) = DATA + 8;
    assert_int_equal(run(r, "0f2803"), EX_GP); /* movaps */
    enter(r, LONG64);
    GPR(RBX) = DATA + 8;
    assert_int_equal(run(r, "0f5803"), EX_GP); /* addps */
    enter(r, LONG64);
    r->c->cr4 |= CR4_OSXSAVE;
    r->c->xcr0 = 7;
    x86_mode_changed(r->c);
    GPR(RBX) = DATA + 8;
    assert_int_equal(run(r, "c5f85803 c5fc1003"), -1); /* VEX forms do not care */
    enter(r, LONG64);
    r->c->cr4 |= CR4_OSXSAVE;
    r->c->xcr0 = 7;
    x86_mode_changed(r->c);
    GPR(RBX) = DATA + 16;
    assert_int_equal(run(r, "c5f82803 c5fc2803"), EX_GP); /* vmovaps of 16 and of 32 */
    assert_int_equal(r->c->tcg.pc, CODE + 4);
}

static void units_switched_off(struct rig *r)
{
    static const struct {
        uint64_t cr0, cr4;
        const char *hex;
        int vector;
    } each[] = {
        { CR0_TS, CR4_OSFXSR, "d9e8", EX_NM },
        { CR0_EM, CR4_OSFXSR, "d9e8", EX_NM },
        { CR0_TS, CR4_OSFXSR, "0f58c0", EX_NM },
        { CR0_TS, CR4_OSFXSR, "0f0b", EX_UD }, /* UD2 is of no unit */
        { CR0_EM, CR4_OSFXSR, "0f58c0", EX_UD },
        { 0, 0, "0f58c0", EX_UD },
        { CR0_EM, CR4_OSFXSR, "0f77", EX_UD },
        { CR0_TS, CR4_OSFXSR, "0f77", EX_NM },
        { 0, CR4_OSFXSR, "c5f858c0", EX_UD },
        { CR0_TS | CR0_MP, CR4_OSFXSR, "9b", EX_NM },
        { CR0_TS, CR4_OSFXSR, "9b", -1 },
        { 0, CR4_OSFXSR, "0f01d0", EX_UD },
    };
    for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        enter(r, LONG64);
        r->c->cr0 |= each[i].cr0;
        r->c->cr4 = (r->c->cr4 & ~(uint64_t)CR4_OSFXSR) | each[i].cr4;
        x86_mode_changed(r->c);
        int vector = run(r, each[i].hex);
        if (vector != each[i].vector) {
            fail_msg("%s with cr0 %llx: vector %d", each[i].hex, (unsigned long long)each[i].cr0,
                     vector);
        }
    }
}

static void divisions(struct rig *r)
{
    enter(r, LONG64);
    GPR(RAX) = 0xffffffff00000065;
    GPR(RDX) = 0xffffffff00000000;
    GPR(RCX) = 7;
    assert_int_equal(run(r, "f7f1"), -1);
    assert_int_equal(GPR(RAX), 14);
    assert_int_equal(GPR(RDX), 3);
    enter(r, LONG64);
    GPR(RAX) = (uint64_t)-101;
    GPR(RDX) = UINT64_MAX;
    GPR(12) = 7;
    assert_int_equal(run(r, "49f7fc"), -1); /* r12: not at home in a register */
    assert_int_equal((int64_t)GPR(RAX), -14);
    assert_int_equal((int64_t)GPR(RDX), -3);
    enter(r, LONG64);
    GPR(RAX) = 5;
    GPR(RBX) = DATA;
    memset(r->ram + DATA, 0, 8);
    r->c->tcg.flags = F_CF | F_ZF;
    assert_int_equal(run(r, "90 48f73b"), EX_DE); /* by zero in memory */
    assert_int_equal(r->c->tcg.pc, CODE + 1);
    assert_int_equal(GPR(RAX), 5);
    enter(r, PROT32);
    GPR(RAX) = 0;
    GPR(RDX) = 5;
    GPR(RBX) = 5;
    assert_int_equal(run(r, "f7f3"), EX_DE); /* too large */
    assert_int_equal(GPR(RDX), 5);
    enter(r, REAL16);
    GPR(RAX) = 0x1234;
    GPR(RBX) = 0x10;
    assert_int_equal(run(r, "31d2 f7f3 f6f3"), -1);
    assert_int_equal(GPR(RAX) & 0xffff, 0x0312);
}

static void sahf_and_lahf(struct rig *r)
{
    enter(r, PROT32);
    GPR(RAX) = 0xd500;
    r->c->tcg.flags = F_OF;
    assert_int_equal(run(r, "9e b400 9f"), -1);
    assert_int_equal(GPR(RAX), 0xd700);
    assert_int_equal(flags(r), F_ALL);
}

static void compares_and_exchanges(struct rig *r)
{
    static const char *const forms[] = { "0fb10b", "f00fb10b" };
    for (unsigned i = 0; i < 2; i++) {
        enter(r, LONG64);
        GPR(RBX) = DATA;
        GPR(RAX) = 0xffffffff00000005;
        GPR(RCX) = 9;
        put(r, DATA, "05000000");
        assert_int_equal(run(r, forms[i]), -1);
        assert_int_equal(mem(r, DATA, 4), 9);
        assert_int_equal(GPR(RAX), 0xffffffff00000005); /* equal: not written */
        assert_int_equal(flags(r) & F_ZF, F_ZF);
        enter(r, LONG64);
        GPR(RBX) = DATA;
        GPR(RAX) = 0xffffffff00000005;
        assert_int_equal(run(r, forms[i]), -1);
        assert_int_equal(GPR(RAX), 9);
        assert_int_equal(flags(r) & F_ZF, 0);
    }
}

static const struct {
    const char *name;
    void (*fn)(struct rig *r);
} cases[] = {
#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
    CASE(partial_registers),
    CASE(stack_of_each_width),
    CASE(pusha_and_popa),
    CASE(enter_and_leave),
    CASE(addresses_wrap),
    CASE(segment_overrides),
    CASE(limits_are_checked),
    CASE(limits_of_fs_and_gs),
    CASE(limits_of_real_mode),
    CASE(faults_change_nothing),
    CASE(adc_waits_for_its_store),
    CASE(undefined_opcodes),
    CASE(too_long),
    CASE(privilege),
    CASE(branches),
    CASE(flags_survive),
    CASE(flags_cross_blocks),
    CASE(liveness_follows_code),
    CASE(crosses_pages),
    CASE(writes_itself),
    CASE(bit_strings),
    CASE(strings),
    CASE(single_step),
    CASE(alignment),
    CASE(units_switched_off),
    CASE(divisions),
    CASE(sahf_and_lahf),
    CASE(compares_and_exchanges),
};

static void run_case(enum tcg_engine engine, void (*fn)(struct rig *r))
{
    struct rig r;
    rig_init(&r, engine, "max");
    fn(&r);
    rig_fini(&r);
}

static void on_interpreter(void **state)
{
    run_case(TCG_INTERP, *(void (**)(struct rig *)) * state);
}

/* cmocka takes SIGFPE for itself around each test; the engine installed its own once. */
static struct sigaction engine_sigfpe;

static void learn_sigfpe(void)
{
    struct rig r;
    rig_init(&r, TCG_JIT, "max");
    sigaction(SIGFPE, NULL, &engine_sigfpe);
    rig_fini(&r);
}

static void on_generator(void **state)
{
    if (!engine_sigfpe.sa_sigaction) {
        learn_sigfpe();
    }
    sigaction(SIGFPE, &engine_sigfpe, NULL);
    run_case(TCG_JIT, *(void (**)(struct rig *)) * state);
}

int main(void)
{
    enum { N = sizeof(cases) / sizeof(cases[0]) };
    static struct CMUnitTest tests[2 * N];
    static char names[2 * N][64];
    alarm(60); /* a guest that never halts */
    for (unsigned i = 0; i < 2 * N; i++) {
        snprintf(names[i], sizeof(names[i]), "%s_%s", cases[i / 2].name, i & 1 ? "jit" : "interp");
        tests[i].name = names[i];
        tests[i].test_func = i & 1 ? on_generator : on_interpreter;
        tests[i].initial_state = (void *)&cases[i / 2].fn;
    }
    return _cmocka_run_group_tests("x86-front", tests, 2 * N, NULL, NULL);
}
