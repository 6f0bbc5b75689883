/* SPDX-License-Identifier: MIT */
/* target/x86/translate-simd.c - vector, MMX and x87 instructions become NATIVE operations.
 *
 * Nearly all follow one rule: the decoder says which operand stands in ModRM.reg, ModRM.rm and
 * VEX.vvvv, of what class it is, and whether it is read or written. Exceptions have their own
 * emitters below, found through `special`.
 */
#include "target/x86/translate-int.h"

#include <stddef.h>
#include <string.h>

enum unit { UNIT_X87, UNIT_MMX, UNIT_SSE, UNIT_AVX };

static bool is_x87_opcode(const struct dc *d)
{
    return d->in.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (d->in.opcode & 0xf8) == 0xd8;
}

static bool has_feature_of(const struct dc *d, bool vex)
{
    const struct x86_cpu *c = d->c;
    if (vex && !x86_has(c, X86_AVX)) {
        return false;
    }
    switch (d->in.meta.isa_set) {
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_I86:
        return is_x87_opcode(d) && x86_has(c, X86_FPU);
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_PPRO: /* FCOMI; UD2 came with it as well */
        return is_x87_opcode(d) && x86_has(c, X86_FPU) && x86_has(c, X86_CMOV);
    case ZYDIS_ISA_SET_PENTIUMMMX:
        return x86_has(c, X86_MMX);
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSEMXCSR:
        return x86_has(c, X86_SSE);
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
        return x86_has(c, X86_SSE2);
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE3X87:
        return x86_has(c, X86_SSE3);
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
        return x86_has(c, X86_SSSE3);
    case ZYDIS_ISA_SET_SSE4:
        return x86_has(c, X86_SSE41);
    case ZYDIS_ISA_SET_SSE42:
        return x86_has(c, X86_SSE42);
    case ZYDIS_ISA_SET_AES:
        return x86_has(c, X86_AES);
    case ZYDIS_ISA_SET_AVXAES:
        return x86_has(c, X86_AES);
    case ZYDIS_ISA_SET_PCLMULQDQ:
        return x86_has(c, X86_PCLMULQDQ);
    case ZYDIS_ISA_SET_SHA:
        return x86_has(c, X86_SHA_NI);
    case ZYDIS_ISA_SET_AVX:
        return d->in.mnemonic != ZYDIS_MNEMONIC_VPCLMULQDQ || x86_has(c, X86_PCLMULQDQ);
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER:
        return x86_has(c, X86_AVX2);
    case ZYDIS_ISA_SET_F16C:
        return x86_has(c, X86_F16C);
    case ZYDIS_ISA_SET_FMA:
        return x86_has(c, X86_FMA);
    default:
        return false;
    }
}

static bool uses(const struct dc *d, ZydisRegister first, ZydisRegister last)
{
    for (unsigned i = 0; i < d->in.operand_count_visible; i++) {
        if (is_reg(d, i) && d->op[i].reg.value >= first && d->op[i].reg.value <= last) {
            return true;
        }
    }
    return false;
}

static bool uses_mmx(const struct dc *d)
{
    return uses(d, ZYDIS_REGISTER_MM0, ZYDIS_REGISTER_MM7) || d->in.mnemonic == ZYDIS_MNEMONIC_EMMS;
}

static enum unit unit_of(const struct dc *d)
{
    if (d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        return UNIT_AVX;
    }
    if (d->in.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        return UNIT_X87;
    }
    return uses_mmx(d) ? UNIT_MMX : UNIT_SSE;
}

/* Whether the unit may be used now; if not, the helper knows which exception. */
static bool unit_on(struct dc *d, enum unit u)
{
    static const struct {
        uint32_t mode;
        const struct ir_helper *off;
    } units[] = { [UNIT_X87] = { MODE_FPU, &x86_h_no_fpu },
                  [UNIT_MMX] = { MODE_FPU, &x86_h_no_mmx },
                  [UNIT_SSE] = { MODE_SSE, &x86_h_no_sse },
                  [UNIT_AVX] = { MODE_AVX, &x86_h_no_avx } };
    if (d->mode & units[u].mode) {
        return true;
    }
    call_k(d, units[u].off, 0, 0, 0);
    leave(d);
    return false;
}

/* ---- the rule ---- */

struct reg_use {
    uint8_t class, num;
};

static struct reg_use reg_use(ZydisRegister r)
{
    struct reg_use u = { RC_NONE, 0 };
    if (r >= ZYDIS_REGISTER_XMM0 && r <= ZYDIS_REGISTER_XMM15) {
        u = (struct reg_use){ RC_VEC, (uint8_t)(r - ZYDIS_REGISTER_XMM0) };
    } else if (r >= ZYDIS_REGISTER_YMM0 && r <= ZYDIS_REGISTER_YMM15) {
        u = (struct reg_use){ RC_VEC, (uint8_t)(r - ZYDIS_REGISTER_YMM0) };
    } else if (r >= ZYDIS_REGISTER_MM0 && r <= ZYDIS_REGISTER_MM7) {
        u = (struct reg_use){ RC_MMX, (uint8_t)(r - ZYDIS_REGISTER_MM0) };
    } else if (r >= ZYDIS_REGISTER_ST0 && r <= ZYDIS_REGISTER_ST7) {
        u = (struct reg_use){ RC_ST, (uint8_t)(r - ZYDIS_REGISTER_ST0) };
    } else {
        struct ir_arg a = reg_arg(r);
        if (a.kind == IR_GPR) {
            u = (struct reg_use){ RC_GPR, (uint8_t)a.num };
        }
    }
    return u;
}

static uint8_t mandatory_prefix(const struct dc *d)
{
    for (unsigned i = 0; i < d->in.raw.prefix_count; i++) {
        if (d->in.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY) {
            uint8_t v = d->in.raw.prefixes[i].value;
            return v == 0x66 ? 1 : v == 0xf3 ? 2 : v == 0xf2 ? 3 : 0;
        }
    }
    return 0;
}

static void describe_encoding(const struct dc *d, struct ir_native *n)
{
    const ZydisDecodedInstruction *in = &d->in;
    n->opcode = in->opcode;
    n->map = (uint8_t)in->opcode_map;
    if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        n->encoding = ENC_VEX;
        n->pp = in->raw.vex.pp;
        n->w = in->raw.vex.W;
        n->l = in->raw.vex.L;
    } else if (in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        n->encoding = ENC_X87;
    } else {
        n->encoding = ENC_LEGACY;
        n->pp = mandatory_prefix(d);
        n->w = (in->attributes & ZYDIS_ATTRIB_HAS_REX) && in->raw.rex.W;
    }
    if (in->raw.imm[0].size) {
        n->has_imm = true;
        n->imm = (uint8_t)in->raw.imm[0].value.u;
    }
    n->len = in->length;
    memcpy(n->bytes, d->bytes, in->length);
}

static void describe_gpr(struct ir_native *n, const ZydisDecodedOperand *o)
{
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
        n->gpr_size = o->size == 64 ? 8 : 4;
    }
}

/* The place of memory operand i within mem. */
static void describe_operand(struct ir_native *n, const ZydisDecodedOperand *o)
{
    bool reads = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    bool writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
        n->mem_size = (uint8_t)(o->size / 8);
        n->mem_read = reads;
        n->mem_write = writes;
        return;
    }
    if (o->type != ZYDIS_OPERAND_TYPE_REGISTER) {
        return;
    }
    struct reg_use u = reg_use(o->reg.value);
    if (u.class == RC_GPR) {
        describe_gpr(n, o);
    }
    switch (o->encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        n->reg_class = u.class;
        n->reg = u.num;
        n->reg_read = reads;
        n->reg_write = writes;
        break;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        n->rm_class = u.class;
        n->rm = u.num;
        n->rm_read = reads;
        n->rm_write = writes;
        break;
    case ZYDIS_OPERAND_ENCODING_NDSNDD:
        n->v_class = u.class;
        n->v = u.num;
        break;
    default: /* is4 is in the immediate, others are implied by the opcode */
        break;
    }
}

static void describe_operands(const struct dc *d, struct ir_native *n)
{
    for (unsigned i = 0; i < d->in.operand_count_visible; i++) {
        describe_operand(n, &d->op[i]);
    }
    if (d->in.attributes & ZYDIS_ATTRIB_HAS_MODRM) {
        if (n->reg_class == RC_NONE) {
            n->reg_class = RC_FIXED;
            n->reg = d->in.raw.modrm.reg;
        }
        if (n->rm_class == RC_NONE && d->in.raw.modrm.mod == 3) {
            n->rm_class = RC_FIXED;
            n->rm = d->in.raw.modrm.rm;
        }
    }
    if (d->in.cpu_flags) {
        const ZydisAccessedFlags *f = d->in.cpu_flags;
        /* the decoder forgets some of the flags that comparisons clear */
        n->fw = f->modified ? F_ALL : 0;
        n->fr = f->tested & F_ALL;
        if (d->in.meta.isa_ext == ZYDIS_ISA_EXT_AVX && n->fw == (F_ZF | F_CF)) {
            n->fw =
                F_ALL; /* VPTEST, VTESTPS: the decoder does not know that they clear the others */
        }
    }
}

static bool may_raise(const struct dc *d)
{
    switch (d->in.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE3:
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11:
        return true;
    default:
        return d->in.meta.category == ZYDIS_CATEGORY_CONVERT ||
               d->in.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT; /* x87 */
    }
}

/* #GP unless 16-byte aligned: all legacy 16-byte operands but a few; of VEX only class 1. */
static bool needs_alignment(const struct dc *d, const struct ir_native *n)
{
    if (n->encoding == ENC_VEX) {
        return d->in.meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX1;
    }
    if (n->encoding != ENC_LEGACY || n->mem_size != 16) {
        return false;
    }
    switch (d->in.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return false;
    default:
        return true;
    }
}

static unsigned memory_index(const struct dc *d)
{
    unsigned i = 0;
    while (i < d->in.operand_count_visible && !is_mem(d, i)) {
        i++;
    }
    return i;
}

static void emit_rule(struct dc *d, enum unit u)
{
    struct ir_native *n = &d->b->native[d->b->natives];
    memset(n, 0, sizeof(*n));
    describe_encoding(d, n);
    describe_operands(d, n);
    n->x87 = u == UNIT_X87 || uses_mmx(d);
    n->may_raise = may_raise(d);
    n->sem = u == UNIT_X87 ? x86_fpu_semantics(d->in.mnemonic, n)
                           : x86_simd_semantics(d->in.mnemonic, n);
    if (!n->sem) {
        emit_ud(d);
        return;
    }
    d->b->natives++;
    struct ir_mem m = { .seg = -1, .addr_size = 8 };
    if (n->mem_size) {
        m = mem_operand(d, memory_index(d), n->mem_size, n->mem_write ? ACCESS_W : ACCESS_R);
        m.flags = needs_alignment(d, n) ? IR_MEM_ALIGN : 0;
    }
    struct ir_op *o = emit(d, IR_NATIVE, 0, ir_none(), ir_none(), ir_none());
    o->native = n;
    o->mem = m;
    o->fneed = n->fw;
}

/* ---- exceptions to the rule ---- */

static void ldmxcsr(struct dc *d)
{
    struct ir_arg v = zx(d, read_op(d, 0, 4), 4);
    call(d, &x86_h_ldmxcsr, ir_none(), v, ir_none(), ir_none());
}

static void stmxcsr(struct dc *d)
{
    struct ir_mem m = mem_operand(d, 0, 4, ACCESS_W);
    struct ir_arg t = temp(d);
    call(d, &x86_h_stmxcsr, t, ir_none(), ir_none(), ir_none());
    store(d, &m, 4, t);
}

static unsigned segment_prefix(const struct dc *d)
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

/* MASKMOVQ, MASKMOVDQU: stores through DS:rDI */
static void maskmov(struct dc *d)
{
    struct reg_use data = reg_use(d->op[d->in.operand_count_visible - 2].reg.value);
    struct reg_use mask = reg_use(d->op[d->in.operand_count_visible - 1].reg.value);
    unsigned seg = segment_prefix(d), size = data.class == RC_MMX ? 8 : 16;
    struct ir_mem m = mem_at(d, seg, ir_gpr(RDI), 0, addr_size(d));
    check_mem(d, &m, seg, size, ACCESS_W);
    call(d, &x86_h_maskmov, ir_none(), linear(d, &m), ir_const(data.num | mask.num << 8),
         ir_const(size));
}

/* VMASKMOVPS/PD, VPMASKMOVD/Q */
static void vmaskmov(struct dc *d)
{
    unsigned mem_at_op = memory_index(d);
    bool is_store = mem_at_op == 0;
    struct reg_use reg = reg_use(d->op[is_store ? 2 : 0].reg.value);
    struct reg_use mask = reg_use(d->op[1].reg.value);
    bool wide =
        d->in.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD || d->in.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
    struct ir_mem m = mem_operand(d, mem_at_op, 4, is_store ? ACCESS_W : ACCESS_R);
    call(d, &x86_h_vmaskmov, ir_none(), linear(d, &m),
         ir_const(reg.num | mask.num << 4 | d->in.raw.vex.L << 8 | wide << 9 | is_store << 10),
         ir_none());
}

/* VGATHERDPS and the seven others: destination, VSIB, mask */
static void vgather(struct dc *d)
{
    struct reg_use dst = reg_use(d->op[0].reg.value), mask = reg_use(d->op[2].reg.value);
    struct reg_use index = reg_use(d->op[1].mem.index);
    if (dst.num == mask.num || dst.num == index.num || mask.num == index.num) {
        emit_ud(d);
        return;
    }
    unsigned scale = d->op[1].mem.scale, scale_log2 = scale == 8 ? 3 : scale == 4 ? 2 : scale - 1;
    bool index8 = d->in.opcode & 1, elem8 = d->in.raw.vex.W;
    struct ir_mem m = mem_address(d, 1);
    int64_t how = dst.num | index.num << 4 | mask.num << 8 | (int64_t)(scale_log2 & 3) << 12 |
                  (int64_t)d->in.raw.vex.L << 14 | (int64_t)elem8 << 15 | (int64_t)index8 << 16 |
                  (int64_t)addr_size(d) << 20 | (int64_t)(m.seg < 0 ? 7 : m.seg) << 24;
    call(d, &x86_h_vgather, ir_none(), effective(d, &m), ir_const(how), ir_none());
}

static void environment(struct dc *d, const struct ir_helper *h, bool write)
{
    unsigned size = insn_size(d) == 2 ? 2 : 4;
    struct ir_arg at = linear_operand(d, 0, size == 2 ? 14 : 28, write ? ACCESS_W : ACCESS_R);
    call(d, h, ir_none(), at, ir_const(size), ir_none());
}

static void fnstsw(struct dc *d)
{
    struct ir_arg t = temp(d);
    call(d, &x86_h_fnstsw, t, ir_none(), ir_none(), ir_none());
    mov(d, 2, ir_gpr(RAX), t);
}

/* True when the instruction has been dealt with. */
static bool special(struct dc *d)
{
    switch (d->in.mnemonic) {
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
        ldmxcsr(d);
        return true;
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
        stmxcsr(d);
        return true;
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        maskmov(d);
        return true;
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        vmaskmov(d);
        return true;
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERDD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
        vgather(d);
        return true;
    case ZYDIS_MNEMONIC_FNSTENV:
        environment(d, &x86_h_fnstenv, true);
        return true;
    case ZYDIS_MNEMONIC_FLDENV:
        environment(d, &x86_h_fldenv, false);
        return true;
    case ZYDIS_MNEMONIC_FNSAVE:
        environment(d, &x86_h_fnsave, true);
        return true;
    case ZYDIS_MNEMONIC_FRSTOR:
        environment(d, &x86_h_frstor, false);
        return true;
    case ZYDIS_MNEMONIC_FNSTSW:
        if (is_reg(d, 0)) {
            fnstsw(d);
            return true;
        }
        return false;
    default:
        return false;
    }
}

static void emit_fwait(struct dc *d)
{
    if (d->mode & MODE_MP_TS) {
        raise_vector(d, EX_NM);
        return;
    }
    call_k(d, &x86_h_fwait, 0, 0, 0);
}

bool emit_native(struct dc *d)
{
    bool vex = d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if (d->in.mnemonic == ZYDIS_MNEMONIC_FWAIT) {
        emit_fwait(d);
        return true;
    }
    if (!vex && d->in.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
        return false;
    }
    if (is_x87_opcode(d) && !x86_has(d->c, X86_FPU)) {
        call_k(d, &x86_h_no_fpu, 0, 0, 0);
        leave(d);
        return true;
    }
    if (!has_feature_of(d, vex) || (!vex && !is_x87_opcode(d) && d->in.opcode_map == 0)) {
        return false;
    }
    enum unit u = unit_of(d);
    if (u == UNIT_MMX && uses(d, ZYDIS_REGISTER_XMM0, ZYDIS_REGISTER_XMM15) &&
        !unit_on(d, UNIT_SSE)) {
        return true;
    }
    if (!unit_on(d, u) || special(d)) {
        return true;
    }
    emit_rule(d, u);
    return true;
}
