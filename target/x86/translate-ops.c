/* SPDX-License-Identifier: MIT */
/* target/x86/translate-ops.c - operands, stack and ends of blocks for the front end.
 *
 * Small idioms here use LEA, NOT and the BMI2 shifts where an ADD or AND would do: those leave the
 * current flags alone.
 */
#include "target/x86/translate-int.h"

#include <stddef.h>

/* ---- values ---- */

struct ir_arg emit_t(struct dc *d, enum ir_opcode op, unsigned size, struct ir_arg a,
                     struct ir_arg b)
{
    struct ir_arg t = temp(d);
    emit(d, op, size, t, a, b);
    return t;
}

void mov(struct dc *d, unsigned size, struct ir_arg dst, struct ir_arg a)
{
    emit(d, IR_MOV, size, dst, a, ir_none());
}

struct ir_arg imm(uint64_t v, unsigned size)
{
    unsigned spare = 64 - 8 * size;
    return ir_const((int64_t)(v << spare) >> spare);
}

struct ir_arg zx(struct dc *d, struct ir_arg a, unsigned size)
{
    if (size == 8) {
        return a;
    }
    if (a.kind == IR_CONST) {
        return ir_const((int64_t)((uint64_t)a.value & ((1ull << 8 * size) - 1)));
    }
    return emit_t(d, size == 4 ? IR_ZX32 : size == 2 ? IR_ZX16 : IR_ZX8, 8, a, ir_none());
}

struct ir_op *call(struct dc *d, const struct ir_helper *h, struct ir_arg dst, struct ir_arg a,
                   struct ir_arg b, struct ir_arg c)
{
    struct ir_op *o = emit(d, IR_CALL, 8, dst, a, b);
    o->c = c;
    o->helper = h;
    return o;
}

void call_k(struct dc *d, const struct ir_helper *h, int64_t a, int64_t b, int64_t c)
{
    call(d, h, ir_none(), ir_const(a), ir_const(b), ir_const(c));
}

struct ir_arg ld_state(struct dc *d, unsigned size, size_t off)
{
    struct ir_arg t = temp(d);
    emit(d, IR_LD_STATE, size, t, ir_none(), ir_none())->imm = (int64_t)off;
    return t;
}

void st_state(struct dc *d, unsigned size, size_t off, struct ir_arg v)
{
    emit(d, IR_ST_STATE, size, ir_none(), v, ir_none())->imm = (int64_t)off;
}

struct ir_arg reg_arg(ZydisRegister r)
{
    if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15) {
        return ir_gpr(r - ZYDIS_REGISTER_RAX);
    }
    if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D) {
        return ir_gpr(r - ZYDIS_REGISTER_EAX);
    }
    if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W) {
        return ir_gpr(r - ZYDIS_REGISTER_AX);
    }
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL) {
        return ir_gpr(r - ZYDIS_REGISTER_AL);
    }
    if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
        struct ir_arg a = ir_gpr(r - ZYDIS_REGISTER_AH);
        a.high = true;
        return a;
    }
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B) {
        return ir_gpr(r - ZYDIS_REGISTER_SPL + 4);
    }
    return ir_none();
}

/* ---- memory ---- */

/* What the IR is told: nothing is added for a base known to be 0. */
static int8_t ir_segment(const struct dc *d, unsigned seg)
{
    if (d->code64 ? seg < FS : (d->mode & MODE_ZERO_BASES) && seg < FS) {
        return -1;
    }
    return (int8_t)seg;
}

struct ir_mem mem_at(struct dc *d, unsigned seg, struct ir_arg base, int64_t disp, unsigned asize)
{
    struct ir_mem m = { .base = base, .scale = 1, .disp = disp, .addr_size = (uint8_t)asize };
    m.seg = ir_segment(d, seg);
    m.lin32 = !d->code64 && m.seg >= 0; /* a sum of 32 bits or less needs no cutting */
    return m;
}

unsigned segment_of(struct dc *d, unsigned i)
{
    ZydisRegister s = d->op[i].mem.segment;
    return s >= ZYDIS_REGISTER_ES && s <= ZYDIS_REGISTER_GS ? s - ZYDIS_REGISTER_ES : DS;
}

/* A SIB byte's base 101 is none when mod is 0. The decoder gets that wrong for 32-bit addresses with
 * REX.B: it says R13D and leaves out the displacement. */
static bool no_base(const struct dc *d)
{
    return d->code64 && d->in.address_width == 32 && d->in.raw.modrm.mod == 0 &&
           d->in.raw.modrm.rm == 4 && d->in.raw.sib.base == 5;
}

struct ir_mem mem_address(struct dc *d, unsigned i)
{
    const ZydisDecodedOperandMem *z = &d->op[i].mem;
    struct ir_mem m = mem_at(d, segment_of(d, i), ir_none(), z->disp.value, addr_size(d));
    if (z->base == ZYDIS_REGISTER_RIP || z->base == ZYDIS_REGISTER_EIP) {
        m.disp += (int64_t)d->next;
        if (z->base == ZYDIS_REGISTER_EIP) {
            m.disp = (uint32_t)m.disp;
        }
    } else if (no_base(d)) {
        m.disp = d->in.raw.disp.value;
    } else {
        m.base = reg_arg(z->base);
    }
    if (z->index != ZYDIS_REGISTER_NONE && z->type != ZYDIS_MEMOP_TYPE_VSIB) {
        m.index = reg_arg(z->index);
        m.scale = z->scale ? z->scale : 1;
    }
    return m;
}

struct ir_arg effective(struct dc *d, const struct ir_mem *m)
{
    struct ir_arg t = temp(d);
    struct ir_op *o = emit(d, IR_LEA, 8, t, ir_none(), ir_none());
    o->mem = *m;
    o->mem.seg = -1;
    o->mem.lin32 = false;
    return t;
}

struct ir_arg linear(struct dc *d, const struct ir_mem *m)
{
    struct ir_arg t = temp(d);
    emit(d, IR_LINEAR, 8, t, ir_none(), ir_none())->mem = *m;
    return t;
}

/* QUIRK: in real mode a 32-bit address may lie behind the segment's end. The VGA BIOS reads flat memory that
 * way, and works under loaders that left no large limits (u-boot) only where nobody looks. In virtual-8086
 * mode segments end at 64 KiB; a 16-bit address is taken to lie inside, and an operand that begins at the very
 * end goes on behind it. */
void check_mem(struct dc *d, const struct ir_mem *m, unsigned seg, unsigned size, unsigned access)
{
    uint32_t which = seg < FS ? MODE_SEGLIMITS : MODE_SEGLIMITS | MODE_FSGS_LIMITS;
    bool wide = d->mode & MODE_VM86 && m->addr_size == 4;
    if (access && (d->mode & which || wide) && !d->code64) {
        call(d, &x86_h_check_seg, ir_none(), ir_const(seg | (access & ACCESS_W ? 1u << 8 : 0)),
             effective(d, m), ir_const(size));
    }
    if (access && (d->mode & MODE_AC) && size > 1 && size <= 8) {
        call(d, &x86_h_check_align, ir_none(), linear(d, m), ir_const(size), ir_none());
    }
}

struct ir_mem mem_operand(struct dc *d, unsigned i, unsigned size, unsigned access)
{
    struct ir_mem m = mem_address(d, i);
    check_mem(d, &m, segment_of(d, i), size, access);
    return m;
}

struct ir_arg load(struct dc *d, const struct ir_mem *m, unsigned size)
{
    struct ir_arg t = temp(d);
    emit(d, IR_LD, size, t, ir_none(), ir_none())->mem = *m;
    return t;
}

void store(struct dc *d, const struct ir_mem *m, unsigned size, struct ir_arg v)
{
    emit(d, IR_ST, size, ir_none(), v, ir_none())->mem = *m;
}

struct ir_arg linear_operand(struct dc *d, unsigned i, unsigned size, unsigned access)
{
    struct ir_mem m = mem_operand(d, i, size, access);
    return linear(d, &m);
}

void lea(struct dc *d, unsigned size, struct ir_arg dst, struct ir_arg base, int64_t disp,
         unsigned asize)
{
    struct ir_op *o = emit(d, IR_LEA, size, dst, ir_none(), ir_none());
    o->mem.base = base;
    o->mem.scale = 1;
    o->mem.disp = disp;
    o->mem.addr_size = (uint8_t)asize;
}

struct ir_arg read_op(struct dc *d, unsigned i, unsigned size)
{
    const ZydisDecodedOperand *o = &d->op[i];
    switch (o->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return reg_arg(o->reg.value);
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        return imm(o->imm.value.u, size);
    default: {
        struct ir_mem m = mem_operand(d, i, size, ACCESS_R);
        return load(d, &m, size);
    }
    }
}

void write_op(struct dc *d, unsigned i, unsigned size, struct ir_arg v)
{
    if (is_mem(d, i)) {
        struct ir_mem m = mem_operand(d, i, size, ACCESS_W);
        store(d, &m, size, v);
    } else {
        mov(d, size, reg_arg(d->op[i].reg.value), v);
    }
}

/* ---- stack ---- */

void push(struct dc *d, unsigned size, struct ir_arg v)
{
    struct ir_mem m = mem_at(d, SS, ir_gpr(RSP), -(int64_t)size, d->ssz);
    check_mem(d, &m, SS, size, ACCESS_W);
    store(d, &m, size, v);
    drop(d, -(int64_t)size);
}

struct ir_arg peek(struct dc *d, unsigned size, int64_t at)
{
    struct ir_mem m = mem_at(d, SS, ir_gpr(RSP), at, d->ssz);
    check_mem(d, &m, SS, size, ACCESS_R);
    return load(d, &m, size);
}

void drop(struct dc *d, int64_t bytes)
{
    lea(d, d->ssz, ir_gpr(RSP), ir_gpr(RSP), bytes, d->ssz);
}

/* ---- ends ---- */

static void end(struct dc *d, enum ir_opcode op)
{
    emit(d, op, 0, ir_none(), ir_none(), ir_none());
    d->ended = true;
}

void raise_vector(struct dc *d, enum x86_vector v)
{
    call_k(d, &x86_h_raise, v, 0, 0);
    end(d, IR_EXIT);
}

void raise_gp0(struct dc *d)
{
    call_k(d, &x86_h_raise_code, EX_GP, 0, 0);
    end(d, IR_EXIT);
}

void emit_ud(struct dc *d)
{
    raise_vector(d, EX_UD);
}

bool privileged(struct dc *d)
{
    if (d->cpl) {
        raise_gp0(d);
        return false;
    }
    return true;
}

bool need(struct dc *d, enum x86_feature f)
{
    if (!x86_has(d->c, f)) {
        emit_ud(d);
        return false;
    }
    return true;
}

/* A trap flag set as the instruction began: #DB behind it. The helper leaves next in cpu->pc. */
static void step(struct dc *d, struct ir_arg next)
{
    call(d, &x86_h_singlestep, ir_none(), next, ir_none(), ir_none());
    end(d, IR_EXIT);
}

void go_to(struct dc *d, uint64_t pc)
{
    if (d->mode & MODE_TF) {
        step(d, ir_const((int64_t)pc));
        return;
    }
    d->b->exit[0] = (struct ir_exit){ .pc = pc, .live_flags = x86_flags_live(d, pc) };
    end(d, IR_GOTO);
}

void two_exits(struct dc *d, uint64_t pc0, uint64_t pc1)
{
    struct ir_op *o = &d->b->op[d->b->n - 1];
    if (d->mode & MODE_TF) {
        /* where to is only known at run time */
        struct ir_op branch = *o;
        d->b->n--;
        struct ir_arg t = temp(d);
        struct ir_arg a = temp(d), b = temp(d);
        mov(d, 8, a, ir_const((int64_t)pc1));
        mov(d, 8, b, ir_const((int64_t)pc0));
        if (branch.op == IR_BRNZ) {
            struct ir_arg flags = emit_t(d, IR_F_GET, 8, ir_none(), ir_none());
            emit(d, IR_SUB, branch.size, ir_none(), branch.a, ir_const(0));
            emit(d, IR_CMOV, 8, t, a, b)->cond = CC_NE;
            emit(d, IR_F_SET, 8, ir_none(), flags, ir_none())->imm = F_ALL;
        } else {
            emit(d, IR_CMOV, 8, t, a, b)->cond = branch.cond;
        }
        jump_to(d, t, IR_JMP_PLAIN);
        return;
    }
    d->b->exit[0] = (struct ir_exit){ .pc = pc0, .live_flags = x86_flags_live(d, pc0) };
    d->b->exit[1] = (struct ir_exit){ .pc = pc1, .live_flags = x86_flags_live(d, pc1) };
    d->ended = true;
}

void jump_to(struct dc *d, struct ir_arg target, int hint)
{
    if (d->mode & MODE_TF) {
        step(d, target);
        return;
    }
    emit(d, IR_JMP, 8, ir_none(), target, ir_none())->imm = hint;
    d->ended = true;
}

void leave(struct dc *d)
{
    jump_to(d, ld_state(d, 8, offsetof(struct tcg_cpu, pc)), IR_JMP_MODE);
}

void leave_to_loop(struct dc *d)
{
    if (d->mode & MODE_TF) {
        step(d, ld_state(d, 8, offsetof(struct tcg_cpu, pc)));
        return;
    }
    end(d, IR_EXIT);
}
