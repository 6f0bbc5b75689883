/* SPDX-License-Identifier: MIT */
/* target/x86/translate-sys.c - system instructions, I/O and strings: mostly calls of helpers.
 *
 * Privilege is part of a block's key, so it is checked here; what depends on more is the helper's.
 */
#include "target/x86/translate-int.h"

#include <stddef.h>

static int64_t next_arg(const struct dc *d)
{
    return (int64_t)d->next;
}

/* helper(a, b, next), which may change the mode: the block ends */
static void call_and_leave(struct dc *d, const struct ir_helper *h, struct ir_arg a,
                           struct ir_arg b)
{
    call(d, h, ir_none(), a, b, ir_const(next_arg(d)));
    leave_to_loop(d);
}

static bool umip_allows(struct dc *d)
{
    if ((d->mode & MODE_UMIP) && d->cpl) {
        raise_gp0(d);
        return false;
    }
    return true;
}

/* Instructions of protected mode: #UD in real and virtual-8086 mode. */
static bool protected_mode(struct dc *d)
{
    if (d->real || d->vm86) {
        emit_ud(d);
        return false;
    }
    return true;
}

/* ---- segments ---- */

static size_t selector_offset(unsigned seg)
{
    return offsetof(struct x86_cpu, seg) + seg * sizeof(struct x86_segment) +
           offsetof(struct x86_segment, sel);
}

/* A selector to a register of the operand's size, or 16 bits of it to memory. */
static void store_selector(struct dc *d, unsigned i, size_t off, unsigned from)
{
    struct ir_arg t = zx(d, ld_state(d, from, off), from);
    write_op(d, i, is_mem(d, i) ? 2 : op_size(d, i), t);
}

void emit_mov_seg(struct dc *d)
{
    ZydisRegister r = is_reg(d, 0) ? d->op[0].reg.value : ZYDIS_REGISTER_NONE;
    if (r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS) {
        if (r == ZYDIS_REGISTER_CS) {
            emit_ud(d);
            return;
        }
        struct ir_arg sel = zx(d, read_op(d, 1, 2), 2);
        call(d, &x86_h_load_seg, ir_none(), ir_const(r - ZYDIS_REGISTER_ES), sel,
             ir_const(next_arg(d)));
        leave(d);
        return;
    }
    store_selector(d, 0, selector_offset(d->op[1].reg.value - ZYDIS_REGISTER_ES), 2);
}

void emit_pop_seg(struct dc *d, unsigned seg)
{
    struct ir_arg sel = zx(d, peek(d, insn_size(d), 0), 2);
    call(d, &x86_h_load_seg, ir_none(), ir_const(seg), sel, ir_const(next_arg(d)));
    drop(d, insn_size(d));
    leave(d);
}

/* LDS and friends; arg: the segment register */
void emit_load_far(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_mem m = mem_operand(d, 1, size + 2, ACCESS_R);
    struct ir_arg off = load(d, &m, size);
    m.disp += size;
    struct ir_arg sel = zx(d, load(d, &m, 2), 2);
    call(d, &x86_h_load_seg, ir_none(), ir_const(d->arg), sel, ir_const(next_arg(d)));
    mov(d, size, reg_arg(d->op[0].reg.value), off);
    leave(d);
}

static unsigned table_size(const struct dc *d)
{
    return d->code64 ? 8 : insn_size(d) == 2 ? 2 : 4;
}

void emit_lgdt(struct dc *d)
{
    if (privileged(d)) {
        struct ir_arg at = linear_operand(d, 0, d->code64 ? 10 : 6, ACCESS_R);
        call(d, d->arg ? &x86_h_lidt : &x86_h_lgdt, ir_none(), at, ir_const(table_size(d)),
             ir_none());
    }
}

void emit_sgdt(struct dc *d)
{
    if (umip_allows(d)) {
        struct ir_arg at = linear_operand(d, 0, d->code64 ? 10 : 6, ACCESS_W);
        call(d, d->arg ? &x86_h_sidt : &x86_h_sgdt, ir_none(), at, ir_const(table_size(d)),
             ir_none());
    }
}

/* SLDT 0, STR 1 */
void emit_sldt(struct dc *d)
{
    if (protected_mode(d) && umip_allows(d)) {
        store_selector(
            d, 0, d->arg ? offsetof(struct x86_cpu, tr.sel) : offsetof(struct x86_cpu, ldt.sel), 2);
    }
}

/* LLDT 0, LTR 1 */
void emit_lldt(struct dc *d)
{
    if (protected_mode(d) && privileged(d)) {
        struct ir_arg sel = zx(d, read_op(d, 0, 2), 2);
        call(d, d->arg ? &x86_h_ltr : &x86_h_lldt, ir_none(), sel, ir_none(), ir_none());
    }
}

void emit_smsw(struct dc *d)
{
    if (umip_allows(d)) {
        store_selector(d, 0, offsetof(struct x86_cpu, cr0), 4);
    }
}

void emit_lmsw(struct dc *d)
{
    if (privileged(d)) {
        call_and_leave(d, &x86_h_lmsw, zx(d, read_op(d, 0, 2), 2), ir_none());
    }
}

/* LAR 0, LSL 1 */
void emit_lar(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!protected_mode(d)) {
        return;
    }
    struct ir_arg sel = zx(d, read_op(d, 1, 2), 2);
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    struct ir_arg t = temp(d);
    call(d, d->arg ? &x86_h_lsl : &x86_h_lar, t, sel, zx(d, dst, size), ir_const(size));
    if (size == 4) {
        /* not even the upper half changes when the selector is refused */
        emit(d, IR_CMOV, 8, dst, dst, t)->cond = CC_E;
    } else {
        emit(d, IR_CMOV, size, dst, dst, t)->cond = CC_E;
    }
}

/* VERR 0, VERW 1 */
void emit_verr(struct dc *d)
{
    if (protected_mode(d)) {
        struct ir_arg sel = zx(d, read_op(d, 0, 2), 2);
        call(d, d->arg ? &x86_h_verw : &x86_h_verr, ir_none(), sel, ir_none(), ir_none());
    }
}

void emit_arpl(struct dc *d)
{
    if (!protected_mode(d)) {
        return;
    }
    struct ir_arg src = zx(d, reg_arg(d->op[1].reg.value), 2);
    struct ir_arg t = temp(d);
    if (is_mem(d, 0)) {
        struct ir_mem m = mem_operand(d, 0, 2, ACCESS_RW);
        call(d, &x86_h_arpl, t, zx(d, load(d, &m, 2), 2), src, ir_none());
        store(d, &m, 2, t);
    } else {
        struct ir_arg dst = reg_arg(d->op[0].reg.value);
        call(d, &x86_h_arpl, t, zx(d, dst, 2), src, ir_none());
        mov(d, 2, dst, t);
    }
}

/* ---- control and debug registers, paging ---- */

static bool is_cr(unsigned n)
{
    return n == 0 || n == 2 || n == 3 || n == 4 || n == 8;
}

void emit_mov_cr(struct dc *d)
{
    bool to = is_reg(d, 0) && d->op[0].reg.value >= ZYDIS_REGISTER_CR0 &&
              d->op[0].reg.value <= ZYDIS_REGISTER_CR15;
    unsigned n = d->op[to ? 0 : 1].reg.value - ZYDIS_REGISTER_CR0;
    unsigned size = d->code64 ? 8 : 4;
    if (!is_cr(n)) {
        emit_ud(d);
        return;
    }
    if (!privileged(d)) {
        return;
    }
    struct ir_arg r = reg_arg(d->op[to ? 1 : 0].reg.value);
    if (to) {
        call(d, &x86_h_mov_to_cr, ir_none(), ir_const(n), zx(d, r, size), ir_const(next_arg(d)));
        n == 3 ? leave(d) : leave_to_loop(d);
        return;
    }
    struct ir_arg t = temp(d);
    call(d, &x86_h_mov_from_cr, t, ir_const(n), ir_none(), ir_none());
    mov(d, size, r, t);
}

void emit_mov_dr(struct dc *d)
{
    bool to = d->op[0].reg.value >= ZYDIS_REGISTER_DR0 && d->op[0].reg.value <= ZYDIS_REGISTER_DR15;
    unsigned n = d->op[to ? 0 : 1].reg.value - ZYDIS_REGISTER_DR0;
    unsigned size = d->code64 ? 8 : 4;
    if (n > 7) {
        emit_ud(d);
        return;
    }
    if (!privileged(d)) {
        return;
    }
    struct ir_arg r = reg_arg(d->op[to ? 1 : 0].reg.value);
    if (to) {
        call_and_leave(d, &x86_h_mov_to_dr, ir_const(n), zx(d, r, size));
        return;
    }
    struct ir_arg t = temp(d);
    call(d, &x86_h_mov_from_dr, t, ir_const(n), ir_none(), ir_none());
    mov(d, size, r, t);
}

void emit_clts(struct dc *d)
{
    if (privileged(d)) {
        call_and_leave(d, &x86_h_clts, ir_none(), ir_none());
    }
}

void emit_invlpg(struct dc *d)
{
    if (privileged(d)) {
        struct ir_mem m = mem_address(d, 0);
        call(d, &x86_h_invlpg, ir_none(), linear(d, &m), ir_none(), ir_const(next_arg(d)));
        leave(d);
    }
}

void emit_invpcid(struct dc *d)
{
    if (need(d, X86_INVPCID) && protected_mode(d) && privileged(d)) {
        struct ir_arg at = linear_operand(d, 1, 16, ACCESS_R);
        unsigned size = d->code64 ? 8 : 4;
        call_and_leave(d, &x86_h_invpcid, zx(d, reg_arg(d->op[0].reg.value), size), at);
    }
}

/* ---- MSRs, counters, identification ---- */

void emit_rdmsr(struct dc *d)
{
    if (need(d, X86_MSR) && privileged(d)) {
        call_k(d, &x86_h_rdmsr, 0, 0, 0);
    }
}

void emit_wrmsr(struct dc *d)
{
    if (need(d, X86_MSR) && privileged(d)) {
        call_and_leave(d, &x86_h_wrmsr, ir_none(), ir_none());
    }
}

static bool tsc_allowed(struct dc *d)
{
    if ((d->mode & MODE_TSD) && d->cpl) {
        raise_gp0(d);
        return false;
    }
    return true;
}

void emit_rdtsc(struct dc *d)
{
    if (need(d, X86_TSC) && tsc_allowed(d)) {
        call_k(d, &x86_h_rdtsc, 0, 0, 0);
    }
}

void emit_rdtscp(struct dc *d)
{
    if (need(d, X86_RDTSCP) && tsc_allowed(d)) {
        call_k(d, &x86_h_rdtscp, 0, 0, 0);
    }
}

void emit_rdpmc(struct dc *d)
{
    call_k(d, &x86_h_rdpmc, 0, 0, 0);
}

void emit_cpuid(struct dc *d)
{
    call_k(d, &x86_h_cpuid, 0, 0, 0);
}

static bool os_xsave(struct dc *d)
{
    if (!(d->mode & MODE_OSXSAVE)) {
        emit_ud(d);
        return false;
    }
    return true;
}

void emit_xgetbv(struct dc *d)
{
    if (os_xsave(d)) {
        call_k(d, &x86_h_xgetbv, 0, 0, 0);
    }
}

void emit_xsetbv(struct dc *d)
{
    if (os_xsave(d) && privileged(d)) {
        call_and_leave(d, &x86_h_xsetbv, ir_none(), ir_none());
    }
}

void emit_swapgs(struct dc *d)
{
    if (!d->code64) {
        emit_ud(d);
    } else if (privileged(d)) {
        call_k(d, &x86_h_swapgs, 0, 0, 0);
    }
}

static bool fsgsbase(struct dc *d)
{
    if (!d->code64 || !(d->mode & MODE_FSGSBASE)) {
        emit_ud(d);
        return false;
    }
    return true;
}

/* arg: FS or GS */
void emit_rdbase(struct dc *d)
{
    if (fsgsbase(d)) {
        unsigned size = op_size(d, 0);
        mov(d, size, reg_arg(d->op[0].reg.value),
            ld_state(d, 8, offsetof(struct tcg_cpu, seg_base) + d->arg * 8u));
    }
}

void emit_wrbase(struct dc *d)
{
    if (fsgsbase(d)) {
        unsigned size = op_size(d, 0);
        call(d, &x86_h_wrfsbase, ir_none(), ir_const(d->arg),
             zx(d, reg_arg(d->op[0].reg.value), size), ir_const(size));
    }
}

/* STAC 1, CLAC 0: EFLAGS.AC chooses the soft TLB */
void emit_stac(struct dc *d)
{
    if (!need(d, X86_SMAP)) {
        return;
    }
    if (d->cpl) {
        emit_ud(d);
        return;
    }
    call_k(d, d->arg ? &x86_h_stac : &x86_h_clac, 0, 0, next_arg(d));
    leave(d);
}

void emit_wbinvd(struct dc *d)
{
    if (privileged(d)) {
        call_k(d, &x86_h_wbinvd, 0, 0, 0);
    }
}

void emit_monitor(struct dc *d)
{
    if (!need(d, X86_MONITOR)) {
        return;
    }
    if (d->cpl) {
        emit_ud(d);
        return;
    }
    struct ir_mem m = mem_at(d, DS, ir_gpr(RAX), 0, addr_size(d));
    check_mem(d, &m, DS, 1, ACCESS_R);
    call(d, &x86_h_monitor, ir_none(), linear(d, &m), ir_none(), ir_none());
}

void emit_mwait(struct dc *d)
{
    if (!need(d, X86_MONITOR)) {
        return;
    }
    if (d->cpl) {
        emit_ud(d);
        return;
    }
    call_k(d, &x86_h_mwait, next_arg(d), 0, 0);
    leave_to_loop(d);
}

/* Whoever waits for another processor on the same thread must let it run. */
void emit_pause(struct dc *d)
{
    if (x86_takes_turns(d->c)) {
        call_k(d, &x86_h_pause, next_arg(d), 0, 0);
        leave(d);
    }
}

void emit_hlt(struct dc *d)
{
    if (privileged(d)) {
        call_k(d, &x86_h_hlt, next_arg(d), 0, 0);
        leave_to_loop(d);
    }
}

/* The next instruction still belongs to the shadow: it is translated into the same block. */
void emit_sti(struct dc *d)
{
    unsigned iopl = (d->mode & MODE_IOPL) >> MODE_IOPL_SHIFT;
    call_k(d, &x86_h_sti, 0, 0, next_arg(d));
    if (d->cpl > iopl || d->vm86) {
        leave(d);
        return;
    }
    d->last_after_next = true;
}

/* RDRAND 0, RDSEED 1 */
void emit_rdrand(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, d->arg ? X86_RDSEED : X86_RDRAND)) {
        return;
    }
    struct ir_arg t = temp(d);
    call(d, d->arg ? &x86_h_rdseed : &x86_h_rdrand, t, ir_const(size), ir_none(), ir_none());
    mov(d, size, reg_arg(d->op[0].reg.value), t);
}

void emit_rdpid(struct dc *d)
{
    if (need(d, X86_RDPID)) {
        struct ir_arg t = temp(d);
        call(d, &x86_h_rdpid, t, ir_none(), ir_none(), ir_none());
        mov(d, d->code64 ? 8 : 4, reg_arg(d->op[0].reg.value), t);
    }
}

/* MFENCE and SFENCE order; LFENCE has nothing to add here */
void emit_fence(struct dc *d)
{
    if (d->arg) {
        emit(d, IR_FENCE, 0, ir_none(), ir_none(), ir_none());
    }
}

/* Faults as a load of a byte does. */
void emit_clflush(struct dc *d)
{
    struct ir_mem m = mem_operand(d, 0, 1, ACCESS_R);
    load(d, &m, 1);
}

void emit_rsm(struct dc *d)
{
    if (!(d->mode & MODE_SMM)) {
        emit_ud(d);
        return;
    }
    call_k(d, &x86_h_rsm, 0, 0, 0);
    leave_to_loop(d);
}

/* ---- ports ---- */

static struct ir_arg port(struct dc *d, unsigned i)
{
    return is_imm(d, i) ? ir_const(d->op[i].imm.value.u & 0xff) : zx(d, ir_gpr(RDX), 2);
}

void emit_in(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg t = temp(d);
    call(d, &x86_h_in, t, port(d, 1), ir_const(size), ir_none());
    mov(d, size, ir_gpr(RAX), t);
    d->last = true;
}

void emit_out(struct dc *d)
{
    unsigned size = op_size(d, 1);
    call(d, &x86_h_out, ir_none(), port(d, 0), ir_const(size), zx(d, ir_gpr(RAX), size));
    d->last = true;
}

/* ---- strings ---- */

enum { STR_MOVS, STR_STOS, STR_LODS, STR_CMPS, STR_SCAS, STR_INS, STR_OUTS };

static unsigned source_segment(const struct dc *d)
{
    static const uint64_t prefix[] = { ZYDIS_ATTRIB_HAS_SEGMENT_ES, ZYDIS_ATTRIB_HAS_SEGMENT_CS,
                                       ZYDIS_ATTRIB_HAS_SEGMENT_SS, ZYDIS_ATTRIB_HAS_SEGMENT_DS,
                                       ZYDIS_ATTRIB_HAS_SEGMENT_FS, ZYDIS_ATTRIB_HAS_SEGMENT_GS };
    for (unsigned i = 0; i < 6; i++) {
        if (d->in.attributes & prefix[i]) {
            return i;
        }
    }
    return DS;
}

/* What SI and DI move by, as EFLAGS.DF says, in a temporary of 8 bytes; flags stay. */
static struct ir_arg string_step(struct dc *d, unsigned size)
{
    unsigned log2_size = size == 8 ? 3 : size == 4 ? 2 : size - 1;
    struct ir_arg e = zx(d, ld_state(d, 4, offsetof(struct x86_cpu, eflags)), 4);
    struct ir_arg up = emit_t(d, IR_SHLX, 8, e, ir_const(63 - 10));
    struct ir_arg down = emit_t(d, IR_SHRX, 8, up, ir_const(63));
    struct ir_arg twice = emit_t(d, IR_SHLX, 8, down, ir_const(log2_size + 1));
    struct ir_arg minus = emit_t(d, IR_NOT, 8, twice, ir_none());
    struct ir_arg out = temp(d);
    lea(d, 8, out, minus, (int64_t)size + 1, 8);
    return out;
}

static void advance(struct dc *d, unsigned reg, struct ir_arg step, unsigned asize)
{
    struct ir_op *o = emit(d, IR_LEA, asize, ir_gpr(reg), ir_none(), ir_none());
    o->mem.base = ir_gpr(reg);
    o->mem.index = step;
    o->mem.scale = 1;
    o->mem.addr_size = (uint8_t)asize;
}

/* MOVS, STOS or LODS of one element, as loads and stores. */
static void string_once(struct dc *d, unsigned kind, unsigned size)
{
    unsigned asize = addr_size(d);
    struct ir_arg v = ir_gpr(RAX);
    if (kind != STR_STOS) {
        unsigned seg = source_segment(d);
        struct ir_mem m = mem_at(d, seg, ir_gpr(RSI), 0, asize);
        check_mem(d, &m, seg, size, ACCESS_R);
        v = load(d, &m, size);
    }
    if (kind != STR_LODS) {
        struct ir_mem m = mem_at(d, ES, ir_gpr(RDI), 0, asize);
        check_mem(d, &m, ES, size, ACCESS_W);
        store(d, &m, size, v);
    }
    struct ir_arg step = string_step(d, size);
    if (kind != STR_STOS) {
        advance(d, RSI, step, asize);
    }
    if (kind != STR_LODS) {
        advance(d, RDI, step, asize);
    } else {
        mov(d, size, ir_gpr(RAX), v);
    }
}

/* The mnemonic says the size; arg: kind | size << 4 */
void emit_string(struct dc *d)
{
    static const struct ir_helper *const fn[] = { &x86_h_movs, &x86_h_stos, &x86_h_lods,
                                                  &x86_h_cmps, &x86_h_scas, &x86_h_ins,
                                                  &x86_h_outs };
    unsigned kind = d->arg & 15, size = d->arg >> 4;
    unsigned prefix = d->in.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE) ? 1
                      : d->in.attributes & ZYDIS_ATTRIB_HAS_REPNE                       ? 2
                                                                                        : 0;
    if (!prefix && kind <= STR_LODS) {
        string_once(d, kind, size);
        return;
    }
    int64_t how = size | addr_size(d) << 8 | prefix << 16 | (int64_t)source_segment(d) << 24;
    call_k(d, fn[kind], how, next_arg(d), (int64_t)d->pc);
    leave(d);
}

/* ---- state images ---- */

static bool fpu_on(struct dc *d)
{
    if (!(d->mode & MODE_FPU)) {
        call_k(d, &x86_h_no_fpu, 0, 0, 0);
        leave(d);
        return false;
    }
    return true;
}

/* FXSAVE 0, FXRSTOR 1; the 64-bit forms have REX.W */
void emit_fxsave(struct dc *d)
{
    if (need(d, X86_FXSR) && fpu_on(d)) {
        struct ir_arg at = linear_operand(d, 0, 512, d->arg ? ACCESS_R : ACCESS_W);
        call(d, d->arg ? &x86_h_fxrstor : &x86_h_fxsave, ir_none(), at, ir_const(insn_size(d) == 8),
             ir_none());
    }
}

/* XSAVE 0, XSAVEOPT 1, XSAVEC 2, XSAVES 3, XRSTOR 4, XRSTORS 5 */
void emit_xsave(struct dc *d)
{
    static const struct ir_helper *const fn[] = { &x86_h_xsave,  &x86_h_xsaveopt, &x86_h_xsavec,
                                                  &x86_h_xsaves, &x86_h_xrstor,   &x86_h_xrstors };
    static const enum x86_feature feature[] = { X86_XSAVE,  X86_XSAVEOPT, X86_XSAVEC,
                                                X86_XSAVES, X86_XSAVE,    X86_XSAVES };
    if (!need(d, feature[d->arg]) || !os_xsave(d)) {
        return;
    }
    if ((d->arg == 3 || d->arg == 5) && !privileged(d)) {
        return;
    }
    if (!fpu_on(d)) {
        return;
    }
    struct ir_arg at = linear_operand(d, 0, 64, d->arg >= 4 ? ACCESS_R : ACCESS_W);
    struct ir_arg high = emit_t(d, IR_SHLX, 8, ir_gpr(RDX), ir_const(32));
    struct ir_arg low = zx(d, ir_gpr(RAX), 4);
    struct ir_arg mask = temp(d);
    struct ir_op *o = emit(d, IR_LEA, 8, mask, ir_none(), ir_none());
    o->mem = (struct ir_mem){ .base = high, .index = low, .scale = 1, .addr_size = 8, .seg = -1 };
    call(d, fn[d->arg], ir_none(), at, ir_const(insn_size(d) == 8), mask);
}
