/* SPDX-License-Identifier: MIT */
/* target/x86/translate-flow.c - stack and control transfers. */
#include "target/x86/translate-int.h"

#include <stddef.h>

/* ---- stack ---- */

static bool segment_register(const struct dc *d, unsigned i, unsigned *seg)
{
    if (!is_reg(d, i)) {
        return false;
    }
    ZydisRegister r = d->op[i].reg.value;
    *seg = r - ZYDIS_REGISTER_ES;
    return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS;
}

static size_t selector_offset(unsigned seg)
{
    return offsetof(struct x86_cpu, seg) + seg * sizeof(struct x86_segment) +
           offsetof(struct x86_segment, sel);
}

void emit_push(struct dc *d)
{
    unsigned size = insn_size(d), seg;
    if (segment_register(d, 0, &seg)) {
        struct ir_arg t = temp(d);
        emit(d, IR_LD_STATE, 2, t, ir_none(), ir_none())->imm = (int64_t)selector_offset(seg);
        push(d, size, zx(d, t, 2));
        return;
    }
    push(d, size, read_op(d, 0, size));
}

void emit_pop(struct dc *d)
{
    unsigned size = insn_size(d), seg;
    if (segment_register(d, 0, &seg)) {
        emit_pop_seg(d, seg);
        return;
    }
    struct ir_arg v = peek(d, size, 0);
    if (is_mem(d, 0)) {
        /* the address is computed with the stack pointer already raised */
        if (d->op[0].mem.base == ZYDIS_REGISTER_RSP || d->op[0].mem.base == ZYDIS_REGISTER_ESP) {
            d->op[0].mem.disp.value += size;
        }
        write_op(d, 0, size, v);
        drop(d, size);
        return;
    }
    drop(d, size);
    mov(d, size, reg_arg(d->op[0].reg.value), v);
}

void emit_pusha(struct dc *d)
{
    unsigned size = insn_size(d);
    for (unsigned i = 0; i < 8; i++) {
        struct ir_mem m = mem_at(d, SS, ir_gpr(RSP), -(int64_t)(size * (i + 1)), d->ssz);
        check_mem(d, &m, SS, size, ACCESS_W);
        store(d, &m, size, ir_gpr(i));
    }
    drop(d, -8 * (int64_t)size);
}

void emit_popa(struct dc *d)
{
    unsigned size = insn_size(d);
    struct ir_arg v[8];
    for (unsigned i = 0; i < 8; i++) {
        if (i != RSP) {
            v[i] = peek(d, size, size * (7 - i));
        }
    }
    drop(d, 8 * (int64_t)size);
    for (unsigned i = 0; i < 8; i++) {
        if (i != RSP) {
            mov(d, size, ir_gpr(i), v[i]);
        }
    }
}

static struct ir_arg sum(struct dc *d, struct ir_arg a, struct ir_arg b)
{
    struct ir_arg t = temp(d);
    struct ir_op *o = emit(d, IR_LEA, 8, t, ir_none(), ir_none());
    o->mem = (struct ir_mem){ .base = a, .index = b, .scale = 1, .addr_size = 8, .seg = -1 };
    return t;
}

/* EFLAGS as PUSHF shows them: RF is 0, VM is known to be. */
static struct ir_arg flags_image(struct dc *d)
{
    struct ir_arg e = zx(d, ld_state(d, 4, offsetof(struct x86_cpu, eflags)), 4);
    struct ir_arg low = zx(d, e, 2);
    struct ir_arg high = emit_t(d, IR_SHRX, 8, e, ir_const(17)); /* above RF, which is bit 16 */
    struct ir_arg up = emit_t(d, IR_SHLX, 8, high, ir_const(17));
    return sum(d, sum(d, low, up), emit_t(d, IR_F_GET, 8, ir_none(), ir_none()));
}

void emit_pushf(struct dc *d)
{
    unsigned size = insn_size(d);
    if (!d->vm86) {
        push(d, size, flags_image(d));
        return;
    }
    struct ir_arg image = temp(d);
    call(d, &x86_h_pushf, image, ir_const(size), ir_none(), ir_none());
    push(d, size, image);
}

/* The supervisor's POPF: IF, DF and the arithmetic flags are taken here; a helper does it again when
 * others change or something waits for IF. */
static void popf_supervisor(struct dc *d, unsigned size, struct ir_arg image)
{
    enum { HERE = EF_IF | EF_DF, OTHERS = EF_TF | EF_IOPL | EF_NT | EF_AC | EF_ID };
    struct ir_arg old = zx(d, ld_state(d, 4, offsetof(struct x86_cpu, eflags)), 4);
    struct ir_arg diff = emit_t(d, IR_XOR, 8, old, image);
    struct ir_arg others = emit_t(d, IR_AND, 8, diff, ir_const(OTHERS));
    struct ir_arg rf = emit_t(d, IR_AND, 8, old, ir_const(EF_RF));
    struct ir_arg pending = zx(d, ld_state(d, 4, offsetof(struct x86_cpu, pending)), 4);
    struct ir_arg top = emit_t(d, IR_SHLX, 8, image, ir_const(63 - 9)); /* IF: all ones or none */
    struct ir_arg lets_in = emit_t(d, IR_AND, 8, pending, emit_t(d, IR_SARX, 8, top, ir_const(63)));
    struct ir_arg rare = emit_t(d, IR_OR, 8, emit_t(d, IR_OR, 8, others, rf), lets_in);
    struct ir_arg here = emit_t(d, IR_AND, 8, diff, ir_const(HERE));
    st_state(d, 4, offsetof(struct x86_cpu, eflags), emit_t(d, IR_XOR, 4, old, here));
    emit(d, IR_F_SET, 8, ir_none(), image, ir_none())->imm = F_ALL;
    drop(d, size);
    call(d, size == 8 ? &x86_h_popf_rare8 : &x86_h_popf_rare4, ir_none(), image,
         ir_const((int64_t)d->next), rare)
        ->imm = 1;
    jump_to(d, ir_const((int64_t)d->next), IR_JMP_MODE);
}

void emit_popf(struct dc *d)
{
    unsigned size = insn_size(d);
    struct ir_arg image = zx(d, peek(d, size, 0), size);
    if (!d->cpl && !d->real && size > 2) {
        popf_supervisor(d, size, image);
        return;
    }
    call(d, &x86_h_popf, ir_none(), image, ir_const(size), ir_const((int64_t)d->next));
    drop(d, size);
    leave(d);
}

void emit_enter(struct dc *d)
{
    unsigned size = insn_size(d);
    int64_t frame = (int64_t)(d->op[0].imm.value.u & 0xffff);
    unsigned level = d->op[1].imm.value.u & 31;
    if (level) {
        call_k(d, &x86_h_enter, frame, level, size | (int64_t)d->ssz << 8);
        return;
    }
    struct ir_mem m = mem_at(d, SS, ir_gpr(RSP), -(int64_t)size, d->ssz);
    check_mem(d, &m, SS, size, ACCESS_W);
    store(d, &m, size, ir_gpr(RBP));
    if (frame) { /* the new top of the stack must be writable */
        struct ir_mem top = mem_at(d, SS, ir_gpr(RSP), -(int64_t)size - frame, d->ssz);
        check_mem(d, &top, SS, 1, ACCESS_W);
        emit(d, IR_LDST_PROBE, 1, ir_none(), ir_none(), ir_none())->mem = top;
    }
    lea(d, size, ir_gpr(RBP), ir_gpr(RSP), -(int64_t)size, d->ssz);
    drop(d, -(int64_t)size - frame);
}

void emit_leave(struct dc *d)
{
    unsigned size = insn_size(d);
    struct ir_mem m = mem_at(d, SS, ir_gpr(RBP), 0, d->ssz);
    check_mem(d, &m, SS, size, ACCESS_R);
    struct ir_arg v = load(d, &m, size);
    lea(d, d->ssz, ir_gpr(RSP), ir_gpr(RBP), size, d->ssz);
    mov(d, size, ir_gpr(RBP), v);
}

/* ---- near transfers ---- */

/* Where a relative branch leads: cut to the operand size outside 64-bit mode. */
static uint64_t branch_target(const struct dc *d)
{
    uint64_t pc = d->next + d->op[0].imm.value.u;
    return d->code64 ? pc : insn_size(d) == 2 ? (uint16_t)pc : (uint32_t)pc;
}

static void branch(struct dc *d, enum ir_opcode op, unsigned size, struct ir_arg a, unsigned cond,
                   uint64_t yes, uint64_t no)
{
    emit(d, op, size, ir_none(), a, ir_none())->cond = (uint8_t)cond;
    two_exits(d, yes, no);
}

void emit_jcc(struct dc *d)
{
    branch(d, IR_BRCC, 0, ir_none(), d->in.opcode & 15, branch_target(d), d->next);
}

static bool is_far(const struct dc *d)
{
    return d->op[0].type == ZYDIS_OPERAND_TYPE_POINTER ||
           (is_mem(d, 0) && d->in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) ||
           (is_mem(d, 0) && d->op[0].size > d->in.operand_width);
}

static void far_transfer(struct dc *d, const struct ir_helper *h)
{
    unsigned size = insn_size(d);
    struct ir_arg off, sel;
    if (d->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
        off = ir_const(d->op[0].ptr.offset);
        sel = ir_const(d->op[0].ptr.segment);
    } else {
        size = op_size(d, 0) - 2;
        struct ir_mem m = mem_operand(d, 0, size + 2, ACCESS_R);
        off = zx(d, load(d, &m, size), size);
        m.disp += size;
        sel = zx(d, load(d, &m, 2), 2);
    }
    call(d, h, ir_none(), sel, off, ir_const((int64_t)(d->next << 8 | size)));
    leave(d);
}

/* The target of an indirect transfer, 64 bits wide, in a temporary of its own. */
static struct ir_arg indirect_target(struct dc *d)
{
    unsigned size = insn_size(d);
    struct ir_arg t = read_op(d, 0, size);
    if (size < 8) {
        return zx(d, t, size);
    }
    return t.kind == IR_GPR ? emit_t(d, IR_MOV, 8, t, ir_none()) : t;
}

void emit_jmp(struct dc *d)
{
    if (is_imm(d, 0)) {
        go_to(d, branch_target(d));
    } else if (is_far(d)) {
        far_transfer(d, &x86_h_jmp_far);
    } else {
        jump_to(d, indirect_target(d), IR_JMP_PLAIN);
    }
}

/* The block's end is a call that pushed size bytes. */
static void mark_call(struct dc *d, unsigned size)
{
    struct ir_op *o = &d->b->op[d->b->n - 1];
    if (o->op == IR_GOTO || o->op == IR_JMP) { /* no single step */
        o->imm = IR_JMP_CALL;
        o->imm2 = size;
        d->b->exit[1].pc = d->next;
    }
}

void emit_call(struct dc *d)
{
    unsigned size = insn_size(d);
    if (is_imm(d, 0)) {
        push(d, size, imm(d->next, size));
        go_to(d, branch_target(d));
        mark_call(d, size);
    } else if (is_far(d)) {
        far_transfer(d, &x86_h_call_far);
    } else {
        struct ir_arg t = indirect_target(d);
        push(d, size, imm(d->next, size));
        jump_to(d, t, IR_JMP_PLAIN);
        mark_call(d, size);
    }
}

void emit_ret(struct dc *d)
{
    unsigned size = insn_size(d);
    int64_t extra = d->in.operand_count_visible ? (int64_t)(d->op[0].imm.value.u & 0xffff) : 0;
    if (d->in.opcode >= 0xca) { /* CA, CB: far */
        call_k(d, &x86_h_ret_far, size, extra, 0);
        leave(d);
        return;
    }
    struct ir_arg t = zx(d, peek(d, size, 0), size);
    drop(d, size + extra);
    jump_to(d, t, IR_JMP_RET);
}

/* LOOP 0, LOOPE 1, LOOPNE 2 */
void emit_loop(struct dc *d)
{
    unsigned asize = addr_size(d);
    struct ir_arg count = ir_gpr(RCX);
    lea(d, asize, count, count, -1, asize);
    if (d->arg) {
        struct ir_arg wide = zx(d, count, asize);
        struct ir_arg go_on = temp(d);
        emit(d, IR_CMOV, 8, go_on, ir_const(0), wide)->cond = d->arg == 1 ? CC_E : CC_NE;
        branch(d, IR_BRNZ, 8, go_on, 0, branch_target(d), d->next);
        return;
    }
    branch(d, IR_BRNZ, asize, count, 0, branch_target(d), d->next);
}

void emit_jcxz(struct dc *d)
{
    branch(d, IR_BRNZ, addr_size(d), ir_gpr(RCX), 0, d->next, branch_target(d));
}

/* ---- interrupts and the system's entries ---- */

void emit_int(struct dc *d)
{
    call_k(d, &x86_h_int, (int64_t)(d->op[0].imm.value.u & 0xff), (int64_t)d->next, 0);
    leave(d);
}

void emit_int3(struct dc *d)
{
    call_k(d, &x86_h_int3, (int64_t)d->next, 0, 0);
    leave(d);
}

void emit_into(struct dc *d)
{
    call_k(d, &x86_h_into_if, (int64_t)d->next, 0, 0);
}

void emit_int1(struct dc *d)
{
    call_k(d, &x86_h_int1, (int64_t)d->next, 0, 0);
    leave(d);
}

void emit_iret(struct dc *d)
{
    call_k(d, &x86_h_iret, insn_size(d), (int64_t)d->next, 0);
    leave(d);
}

void emit_bound(struct dc *d)
{
    unsigned size = insn_size(d);
    struct ir_arg at = linear_operand(d, 1, size * 2, ACCESS_R);
    struct ir_arg v = zx(d, reg_arg(d->op[0].reg.value), size);
    call(d, &x86_h_bound, ir_none(), v, at, ir_const(size));
}

void emit_syscall(struct dc *d)
{
    if (!need(d, X86_SYSCALL)) {
        return;
    }
    call_k(d, &x86_h_syscall, (int64_t)d->next, 0, 0);
    leave(d);
}

void emit_sysret(struct dc *d)
{
    if (!need(d, X86_SYSCALL)) {
        return;
    }
    call_k(d, &x86_h_sysret, d->in.attributes & ZYDIS_ATTRIB_HAS_REX && d->in.raw.rex.W ? 8 : 4, 0,
           0);
    leave(d);
}

void emit_sysenter(struct dc *d)
{
    if (!need(d, X86_SEP)) {
        return;
    }
    call_k(d, &x86_h_sysenter, 0, 0, 0);
    leave(d);
}

void emit_sysexit(struct dc *d)
{
    if (!need(d, X86_SEP)) {
        return;
    }
    call_k(d, &x86_h_sysexit, d->in.attributes & ZYDIS_ATTRIB_HAS_REX && d->in.raw.rex.W ? 8 : 4, 0,
           0);
    leave(d);
}
