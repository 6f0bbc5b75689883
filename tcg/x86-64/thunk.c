/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/thunk.c - the way into translated code and out of it, and from it to C functions.
 *
 * Translated code runs with RSP at struct tcg_cpu; a call pushes its return address just below. A
 * thunk stores every guest register, goes to the C stack that `enter` left in host_sp, calls, and
 * loads them again. So C code sees, and may change, the guest's exact state.
 * Scratch registers survive because C functions keep R12 to R15.
 *
 * Vectors and MXCSR come into the processor when a block needs them (vec_in), and go back to memory
 * before any C code. Behind a memory access they are brought in again, because the block counts on
 * them; behind a helper they stay out: a system without vector code never pays for them.
 */
#include "tcg/eval.h"
#include "tcg/x86-64/gen.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>

#define CPU(field) offsetof(struct tcg_cpu, field)
enum { MXCSR_STICKY = 0x3f };

/* ---- what is called ---- */

static void c_load(struct tcg_cpu *cpu)
{
    uint64_t v = cpu->tcg->target->load(cpu, cpu->slow_addr, cpu->slow_size);
    store_le(cpu->bounce, 8, v);
}

static void c_store(struct tcg_cpu *cpu)
{
    uint64_t v = load_le(cpu->bounce, 8);
    cpu->tcg->target->store(cpu, cpu->slow_addr, cpu->slow_size, v);
}

static void c_rmw_load(struct tcg_cpu *cpu)
{
    cpu->tcg->target->probe_write(cpu, cpu->slow_addr, cpu->slow_size);
    c_load(cpu);
}

static void c_native_load(struct tcg_cpu *cpu)
{
    cpu->tcg->target->load_bytes(cpu, cpu->slow_addr, cpu->bounce, cpu->slow_size);
}

static void c_native_store(struct tcg_cpu *cpu)
{
    cpu->tcg->target->store_bytes(cpu, cpu->slow_addr, cpu->bounce, cpu->slow_size);
}

static void c_probe(struct tcg_cpu *cpu)
{
    cpu->tcg->target->probe_write(cpu, cpu->slow_addr, cpu->slow_size);
}

/* Where a group's bytes are; else code that goes on without groups, if there is some already. */
static void c_plain(struct tcg_cpu *cpu)
{
    unsigned size = cpu->slow_size & 0xffff;
    bool aligned = !(cpu->slow_size & PLAIN_ALIGNED) || !(cpu->slow_addr & (size - 1));
    void *p = aligned
                  ? cpu->tcg->target->plain(cpu, cpu->slow_addr, size, cpu->slow_size & PLAIN_WRITE)
                  : NULL;
    cpu->arg[0] = (uintptr_t)p;
    if (!p) {
        if ((cpu->slow_addr & 0xfff) + size > 0x1000) {
            misfit_note(cpu);
            cpu->uncounted = MISFIT_SAMPLE - 1;
        }
        cpu->arg[1] = (uintptr_t)jc_apart(cpu);
    }
}

static void c_native_sem(struct tcg_cpu *cpu)
{
    native_by_c(cpu, cpu->call_fn, cpu->slow_addr, cpu->slow_op);
}

static void c_atomic(struct tcg_cpu *cpu)
{
    uint64_t at = cpu->slow_addr, *arg = cpu->arg;
    unsigned size = cpu->slow_size, op = cpu->slow_op;
    uint32_t flags = (uint32_t)cpu->flags;
    if (op == IR_A_XCHG) {
        arg[0] = slow_xchg(cpu, at, size, arg[0]);
    } else if (op == IR_A_CMPXCHG) {
        uint64_t expect = arg[0];
        arg[0] = slow_cmpxchg(cpu, at, size, expect, arg[1]);
        cpu->flags = ir_eval(IR_SUB, size, expect, arg[0], 0, 0).flags;
    } else {
        arg[0] = slow_rmw(cpu, at, op, size, arg[1], &flags);
        cpu->flags = flags;
    }
}

static void c_eval(struct tcg_cpu *cpu)
{
    struct ir_val v = ir_eval(cpu->slow_op, cpu->slow_size, cpu->arg[0], cpu->arg[1], cpu->arg[2],
                              (uint32_t)cpu->flags);
    cpu->arg[0] = v.lo;
    cpu->arg[1] = v.hi;
    cpu->flags = v.flags;
}

static void c_x87_in(struct tcg_cpu *cpu)
{
    cpu->tcg->target->x87_sync(cpu, true);
}

static void c_unaligned(struct tcg_cpu *cpu)
{
    cpu->tcg->target->unaligned(cpu, cpu->slow_addr);
}

/* signal.c left which unit it was. */
static void c_fp_fault(struct tcg_cpu *cpu)
{
    cpu->tcg->target->fp_exception(cpu, (enum tcg_unit)cpu->slow_op);
}

static const struct {
    void (*fn)(struct tcg_cpu *cpu);
    bool keep_flags;
    bool vec_out; /* does not bring the vectors in again */
} functions[THUNKS] = {
    [TH_LOAD] = { c_load, false },
    [TH_STORE] = { c_store, true },
    [TH_RMW_LOAD] = { c_rmw_load, false },
    [TH_NATIVE_LOAD] = { c_native_load, false },
    [TH_NATIVE_PROBE] = { c_probe, false },
    [TH_NATIVE_STORE] = { c_native_store, true },
    [TH_NATIVE_SEM] = { c_native_sem, false, true },
    [TH_PROBE] = { c_probe, false },
    [TH_ATOMIC] = { c_atomic, false },
    [TH_EVAL] = { c_eval, false },
    [TH_HELPER] = { NULL, false, true }, /* helper_call */
    [TH_X87_IN] = { c_x87_in, false },
    [TH_UNALIGNED] = { c_unaligned, false },
    [TH_PLAIN] = { c_plain, false },
};

/* ---- state to and from struct tcg_cpu ---- */

static void mxcsr_code(struct as *a, bool load, struct rm m)
{
    as_rm(a, M_0F | 0xae, 4, load ? 2 : 3, m);
}

static void vec_code(struct jit *j, struct as *a, unsigned base, bool load, int32_t below)
{
    for (unsigned i = 0; i < 16; i++) {
        struct rm m = rm_at(base, (int32_t)(CPU(vec) + i * sizeof(union tcg_vec)) + below);
        if (j->has.avx) {
            as_vex(a, M_0F | (load ? 0x10 : 0x11), false, true, i, 0, &m);
        } else {
            as_rm(a, M_0F | (load ? 0x10 : 0x11), 4, i, m);
        }
    }
    if (j->has.avx && !load) {
        as_byte(a, 0xc5); /* vzeroupper */
        as_byte(a, 0xf8);
        as_byte(a, 0x77);
    }
}

/* Vectors and MXCSR to memory if they are not there, from RBP. */
static void vec_save_code(struct jit *j, struct as *a)
{
    as_alu_imm(a, ALU_CMP, 1, rm_at(BP, CPU(vec_live)), 0);
    uint8_t *out = as_jcc_ahead(a, CC_E);
    as_mov_imm(a, 1, rm_at(BP, CPU(vec_live)), 0);
    vec_code(j, a, BP, false, 0);
    mxcsr_code(a, false, rm_at(BP, CPU(mxcsr)));
    as_mov(a, 4, AX, rm_at(BP, CPU(mxcsr)));
    as_alu(a, ALU_XOR, 4, AX, rm_at(BP, CPU(mxcsr_host)));
    as_digit(a, 0xf6, 4, 0, rm_reg(AX)); /* test */
    as_imm(a, 4, ~MXCSR_STICKY);
    uint8_t *same = as_jcc_ahead(a, CC_E);
    mxcsr_code(a, true, rm_at(BP, CPU(mxcsr_host)));
    as_land(a, same);
    as_land(a, out);
}

/* The reverse, from base, which points `below` bytes under struct tcg_cpu. */
static void vec_load_code(struct jit *j, struct as *a, unsigned base, int32_t below)
{
    mxcsr_code(a, true, rm_at(base, (int32_t)CPU(mxcsr) + below));
    vec_code(j, a, base, true, below);
    as_mov_imm(a, 1, rm_at(base, (int32_t)CPU(vec_live) + below), 1);
}

/* Flags were stored as two bytes, which a wider load right behind would wait for, and OF at bit 8 or 11:
 * C finds one store. */
static void flags_whole(struct as *a)
{
    struct rm low = rm_at(BP, CPU(flags)), high = rm_at(BP, CPU(flags) + 1);
    as_rm(a, M_0F | 0xb6, 4, AX, high); /* movzx */
    as_rm(a, M_0F | 0xb6, 4, CX, low);
    as_lea(a, 4, AX, rm_sum(AX, AX, 8, 0)); /* either of bits 0 and 3 is bit 3 then */
    as_digit(a, 0xc0, 4, 4, rm_reg(AX));    /* shl */
    as_byte(a, 8);
    as_alu(a, ALU_OR, 4, AX, rm_reg(CX));
    as_alu_imm(a, ALU_AND, 4, rm_reg(AX), F_ALL);
    as_mov_to(a, 8, low, AX);
}

/* RSP is `below` bytes under struct tcg_cpu; afterwards RBP points at it. */
static void save_code(struct as *a, int32_t below)
{
    for (unsigned i = 0; i < 16; i++) {
        if (gpr_home[i] != NO_REG) {
            as_mov_to(a, 8, rm_at(SP, (int32_t)gpr_off(i) + below), gpr_home[i]);
        }
    }
    as_lea(a, 8, BP, rm_at(SP, below));
    flags_whole(a);
}

/* The reverse, from RBP, which is loaded last. */
static void load_code(struct as *a)
{
    for (unsigned i = 0; i < 16; i++) {
        if (gpr_home[i] != NO_REG && gpr_home[i] != BP) {
            as_mov(a, 8, gpr_home[i], rm_at(BP, (int32_t)gpr_off(i)));
        }
    }
    as_mov(a, 8, BP, rm_at(BP, (int32_t)gpr_off(5)));
}

static void call_c(struct as *a, void (*fn)(struct tcg_cpu *))
{
    as_mov(a, 8, DI, rm_reg(BP));
    as_mov(a, 8, SP, rm_at(BP, CPU(host_sp)));
    as_const(a, AX, (uint64_t)(uintptr_t)fn);
    as_rm(a, 0xff, 4, 2, rm_reg(AX)); /* call */
}

/* The helper itself, without a function of ours in between. */
static void helper_call(struct as *a)
{
    static const uint8_t arg[] = { SI, DX, CX };
    for (unsigned i = 0; i < 3; i++) {
        as_mov(a, 8, arg[i], rm_at(BP, (int32_t)(CPU(arg) + i * 8)));
    }
    as_mov(a, 8, DI, rm_reg(BP));
    as_mov(a, 8, SP, rm_at(BP, CPU(host_sp)));
    as_rm(a, 0xff, 4, 2, rm_at(BP, CPU(call_fn)));
    as_mov_to(a, 8, rm_at(BP, CPU(arg)), AX);
}

static const uint8_t callee_saved[] = { BX, BP, R12, R13, R14, R15 };

static void push_pop(struct as *a, unsigned reg, bool push)
{
    if (reg >= R8) {
        as_byte(a, 0x41);
    }
    as_byte(a, (push ? 0x50 : 0x58) | (reg & 7));
}

/* Everything to memory; R12 is what enter returns. */
static void leave_code(struct jit *j, struct as *a)
{
    save_code(a, 0);
    vec_save_code(j, a);
    as_mov(a, 8, AX, rm_reg(R12));
    as_mov(a, 8, SP, rm_at(BP, CPU(host_sp)));
    as_alu_imm(a, ALU_ADD, 8, rm_reg(SP), 8);
    for (unsigned i = sizeof(callee_saved); i-- > 0;) {
        push_pop(a, callee_saved[i], false);
    }
    as_byte(a, 0xc3);
}

/* Behind c_plain: back to a block that has its address now, or on as a TB_APART block. */
static void plain_or_apart(struct jit *j, struct as *a)
{
    as_alu_imm(a, ALU_CMP, 8, rm_cpu(8 + CPU(arg)), 0);
    uint8_t *apart = as_jcc_ahead(a, CC_E);
    as_byte(a, 0xc3); /* ret */
    as_land(a, apart);
    as_lea(a, 8, SP, rm_cpu(8));
    as_mov(a, 8, R12, rm_cpu(CPU(arg) + 8));
    as_op(a, 0x84, 8, R12, rm_reg(R12)); /* test */
    uint8_t *known = as_jcc_ahead(a, CC_NE);
    as_const(a, R12, LEAVE_APART);
    leave_code(j, a);
    as_land(a, known);
    as_rm(a, 0xff, 4, 4, rm_reg(R12)); /* jmp */
}

static const uint8_t *thunk_code(struct jit *j, struct as *a, enum thunk t)
{
    const uint8_t *start = as_here(a);
    bool keep_flags = functions[t].keep_flags, again = !functions[t].vec_out;
    int32_t below = keep_flags ? 16 : 8;
    if (keep_flags) {
        as_byte(a, 0x9c); /* pushf */
    }
    save_code(a, below);
    if (again) {
        as_mov(a, 1, AX, rm_at(BP, CPU(vec_live)));
        as_mov_to(a, 1, rm_at(BP, CPU(vec_again)), AX);
    }
    vec_save_code(j, a);
    t == TH_HELPER ? helper_call(a) : call_c(a, functions[t].fn);
    as_lea(a, 8, SP, rm_at(BP, -below));
    if (again) {
        as_alu_imm(a, ALU_CMP, 1, rm_at(BP, CPU(vec_again)), 0);
        uint8_t *out = as_jcc_ahead(a, CC_E);
        vec_load_code(j, a, BP, 0);
        as_land(a, out);
    }
    load_code(a);
    if (keep_flags) {
        as_byte(a, 0x9d); /* popf */
    }
    if (t == TH_PLAIN) {
        plain_or_apart(j, a);
    } else {
        as_byte(a, 0xc3); /* ret */
    }
    return start;
}

/* The jump cache's entry at R15; RSP is `below` bytes under struct tcg_cpu. */
static struct rm jc_entry(unsigned mode, int32_t below)
{
    size_t jc = CPU(jcs) + mode * sizeof(((struct tcg_cpu *)0)->jcs[0]);
    return rm_sum(SP, R15, 1, (int32_t)jc + below);
}

/* For TH_PLAIN, by blocks of the mode. A group across two pages has no one address. Deep in a stack that is common, so
 * the way to the TB_APART block is short when the jump cache knows it; now and then C counts. */
static const uint8_t *plain_code(struct jit *j, struct as *a, unsigned mode)
{
    const uint8_t *start = as_here(a);
    struct rm keep[] = { rm_cpu(8 + CPU(arg) + 8), rm_cpu(8 + CPU(arg) + 16) };
    as_mov_to(a, 8, keep[0], R14);
    as_mov_to(a, 8, keep[1], R15);
    as_mov(a, 4, R14, rm_cpu(8 + CPU(slow_addr)));
    as_alu_imm(a, ALU_AND, 4, rm_reg(R14), 0xfff);
    as_rm(a, M_0F | 0xb7, 4, R15, rm_cpu(8 + CPU(slow_size))); /* movzx */
    as_alu(a, ALU_ADD, 4, R14, rm_reg(R15));
    as_alu_imm(a, ALU_CMP, 4, rm_reg(R14), 0x1000);
    uint8_t *one_page = as_jcc_ahead(a, CC_BE);
    as_alu_imm(a, ALU_SUB, 4, rm_cpu(8 + CPU(uncounted)), 1);
    uint8_t *count = as_jcc_ahead(a, CC_B);
    as_mov(a, 8, R14, rm_cpu(8 + CPU(pc)));
    jc_slot_code(a, R15, R14, JC_SIZE);
    as_alu_imm(a, ALU_XOR, 4, rm_reg(R15), JC_APART * sizeof(struct tcg_jc_entry));
    struct rm entry = jc_entry(mode, 8);
    as_alu(a, ALU_CMP, 8, R14, entry);
    uint8_t *unknown = as_jcc_ahead(a, CC_NE);
    entry.disp += (int32_t)offsetof(struct tcg_jc_entry, code);
    as_mov(a, 8, R15, entry);
    as_lea(a, 8, SP, rm_cpu(8));
    as_rm(a, 0xff, 4, 4, rm_reg(R15)); /* jmp */
    as_land(a, one_page);
    as_land(a, count);
    as_land(a, unknown);
    as_mov(a, 8, R14, keep[0]);
    as_mov(a, 8, R15, keep[1]);
    as_jmp(a, j->thunk[TH_PLAIN]);
    return start;
}

/* Called by translated code that wants vectors; EFLAGS are free. */
static const uint8_t *vec_in_code(struct jit *j, struct as *a)
{
    const uint8_t *start = as_here(a);
    vec_load_code(j, a, SP, 8);
    as_byte(a, 0xc3);
    return start;
}

/* ---- in and out ---- */

/* uint64_t enter(struct tcg_cpu *cpu, const void *code) */
static const uint8_t *enter_code(struct as *a)
{
    const uint8_t *start = as_here(a);
    for (unsigned i = 0; i < sizeof(callee_saved); i++) {
        push_pop(a, callee_saved[i], true);
    }
    as_alu_imm(a, ALU_SUB, 8, rm_reg(SP), 8); /* C functions are called from here */
    as_mov_to(a, 8, rm_at(DI, CPU(host_sp)), SP);
    as_mov(a, 8, SP, rm_reg(DI));
    as_mov(a, 8, BP, rm_reg(DI));
    as_mov(a, 8, R12, rm_reg(SI));
    load_code(a);
    as_rm(a, 0xff, 4, 4, rm_reg(R12)); /* jmp */
    return start;
}

/* R14: RIP, which is not in the first jump cache of the mode. */
static const uint8_t *leave_missed_code(struct jit *j, struct as *a, unsigned mode)
{
    const uint8_t *start = as_here(a);
    jc_slot_code(a, R15, R14, JC2_SIZE);
    struct rm entry = rm_sum(SP, R15, 1, CPU(jc2)), code = entry, age = entry;
    code.disp += (int32_t)offsetof(struct tcg_jc2_entry, code);
    age.disp += (int32_t)offsetof(struct tcg_jc2_entry, age);
    as_mov(a, 4, R12, rm_cpu(CPU(jc2_age) + mode * sizeof(uint32_t)));
    as_alu(a, ALU_CMP, 8, R14, entry);
    as_jcc(a, CC_NE, j->leave_pc);
    as_alu(a, ALU_CMP, 4, R12, age);
    as_jcc(a, CC_NE, j->leave_pc);
    as_mov(a, 4, R15, code);
    as_const(a, R12, (uint64_t)(uintptr_t)j->t->cache.rx);
    as_alu(a, ALU_ADD, 8, R12, rm_reg(R15));
    as_rm(a, 0xff, 4, 4, rm_reg(R12)); /* jmp */
    return start;
}

/* R12: a link that leads nowhere yet, cannot lead to a block on two pages, or to another page whose guard did
 * not fit. */
static const uint8_t *leave_far_code(struct jit *j, struct as *a, unsigned mode)
{
    const uint8_t *start = as_here(a);
    as_alu_imm(a, ALU_CMP, 1, rm_at(R12, offsetof(struct tcg_link, ask)), 0);
    as_jcc(a, CC_NE, j->leave_link);
    as_mov(a, 8, R14, rm_at(R12, offsetof(struct tcg_link, pc)));
    j->leave_return[mode] = as_here(a);
    jc_slot_code(a, R15, R14, JC_SIZE);
    struct rm entry = jc_entry(mode, 0);
    as_alu(a, ALU_CMP, 8, R14, entry);
    as_jcc(a, CC_NE, j->leave_missed[mode]);
    entry.disp += (int32_t)offsetof(struct tcg_jc_entry, code);
    as_rm(a, 0xff, 4, 4, entry); /* jmp */
    return start;
}

static const uint8_t *leave_with(struct jit *j, struct as *a, enum leave why)
{
    const uint8_t *start = as_here(a);
    as_const(a, R12, why);
    leave_code(j, a);
    return start;
}

static void detect(struct cpu_features *h)
{
    __builtin_cpu_init();
    unsigned eax, ebx, ecx, edx;
    h->avx = __builtin_cpu_supports("avx");
    h->avx2 = __builtin_cpu_supports("avx2");
    h->bmi1 = __builtin_cpu_supports("bmi");
    h->bmi2 = __builtin_cpu_supports("bmi2");
    h->popcnt = __builtin_cpu_supports("popcnt");
    h->sse42 = __builtin_cpu_supports("sse4.2");
    h->lzcnt = __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && ecx & bit_LZCNT;
    h->adx = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ebx & bit_ADX;
}

/* As asked for, if the processor has it. */
static enum tcg_slots slots_by(const struct cpu_features *h, enum tcg_slots asked)
{
    bool quick_bextr = __builtin_cpu_is("amd"); /* one cycle for two */
    if (h->bmi1 && (asked == TCG_SLOTS_BEXTR || (asked == TCG_SLOTS_QUICKEST && quick_bextr))) {
        return TCG_SLOTS_BEXTR;
    }
    return h->bmi2 && asked != TCG_SLOTS_SHR ? TCG_SLOTS_RORX : TCG_SLOTS_SHR;
}

static void thunks_make(struct jit *j)
{
    struct tcg_cache *c = &j->t->cache;
    struct as a = { .p = c->rw, .end = c->rw + c->bytes, .rx = c->rx - c->rw };
    j->enter = (uint64_t(*)(struct tcg_cpu *, const void *))(uintptr_t)enter_code(&a);
    for (unsigned i = 0; i < THUNKS; i++) {
        j->thunk[i] = thunk_code(j, &a, (enum thunk)i);
    }
    j->vec_in = vec_in_code(j, &a);
    j->fp_fault = as_here(&a);
    as_const(&a, R12, 0);
    as_alu_imm(&a, ALU_SUB, 8, rm_reg(SP), 8);
    save_code(&a, 8);
    vec_save_code(j, &a);
    call_c(&a, c_fp_fault);
    j->leave_link = as_here(&a);
    leave_code(j, &a);
    j->leave_pc = as_here(&a);
    as_mov_to(&a, 8, rm_cpu(CPU(pc)), R14);
    as_const(&a, R12, LEAVE_LOOKUP);
    leave_code(j, &a);
    for (unsigned m = 0; m < TLB_MODES; m++) {
        j->plain[m] = plain_code(j, &a, m);
        j->leave_missed[m] = leave_missed_code(j, &a, m);
        j->leave_far[m] = leave_far_code(j, &a, m);
    }
    j->leave_block = leave_with(j, &a, LEAVE_BLOCK);
    j->leave_icount = leave_with(j, &a, LEAVE_ICOUNT);
    c->thunks = (size_t)(a.p - c->rw);
    cache_begin(c, 0);
}

struct jit *jit_new(struct tcg *t, struct err *e)
{
    struct jit *j = xcalloc(1, sizeof(*j));
    j->t = t;
    j->gen = xcalloc(1, sizeof(*j->gen));
    j->gen->jit = j;
    j->gen->t = t;
    detect(&j->has);
    j->slots = slots_by(&j->has, t->opt.slots);
    if (t->cache.bytes < 1u << 20) {
        err_set(e, -EINVAL, "tb-size: the code cache needs at least 1 MiB");
        jit_free(j);
        return NULL;
    }
    thunks_make(j);
    signal_init();
    return j;
}

void jit_free(struct jit *j)
{
    if (j) {
        free(j->gen);
        free(j);
    }
}

enum leave jit_run(struct tcg_cpu *cpu, const void *code, struct tcg_link **link)
{
    jit_running = cpu;
    uint64_t v = cpu->tcg->jit->enter(cpu, code);
    jit_running = NULL;
    if (v > LEAVE_APART) {
        *link = (struct tcg_link *)(uintptr_t)v;
        cpu->pc = (*link)->pc;
        return LEAVE_LOOKUP;
    }
    *link = NULL;
    return (enum leave)v;
}
