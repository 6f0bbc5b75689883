/* SPDX-License-Identifier: MIT */
/* target/x86/fault-kind.c - which exception an address that cannot be used becomes.
 *
 * Translated memory operands do not say what matters for faults only: whether a non-canonical address
 * was made through the stack segment, and whether the instruction would rather report an x87
 * exception. So the instruction is decoded once more when a fault comes up.
 * Reference: SDM volume 3, 6.9 (priority), 6.15, interrupt 12.
 */
#include "target/x86/x86-int.h"

#include <Zydis/Zydis.h>

static bool read_code(struct x86_cpu *c, uint64_t at, uint8_t *buf, unsigned n)
{
    for (unsigned got = 0, avail; got < n; got += avail) {
        bool fault = false;
        const uint8_t *h = x86_fetch(c, at + got, &avail, &fault);
        if (!h || fault) {
            memset(buf + got, 0x90, n - got);
            return got > 0;
        }
        avail = avail < n - got ? avail : n - got;
        memcpy(buf + got, h, avail);
    }
    return true;
}

static uint64_t gpr(const struct x86_cpu *c, ZydisRegister r)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
    return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15
               ? c->tcg.gpr[whole - ZYDIS_REGISTER_RAX]
               : 0;
}

/* Whether the operand, which is not in the stack segment, covers linear. */
static bool covers(const struct x86_cpu *c, const ZydisDecodedInstruction *in,
                   const ZydisDecodedOperand *op, uint64_t linear)
{
    uint64_t at =
        gpr(c, op->mem.base) + gpr(c, op->mem.index) * op->mem.scale + (uint64_t)op->mem.disp.value;
    if (op->mem.base == ZYDIS_REGISTER_RIP) {
        at += c->tcg.pc + in->length;
    }
    at += op->mem.segment == ZYDIS_REGISTER_FS   ? c->tcg.seg_base[FS]
          : op->mem.segment == ZYDIS_REGISTER_GS ? c->tcg.seg_base[GS]
                                                 : 0;
    return linear - at < (op->size ? op->size / 8u : 1u);
}

/* The instruction at RIP with its operands. */
struct current {
    ZydisDecodedInstruction in;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

static bool decode_current(struct x86_cpu *c, struct current *k)
{
    ZydisDecoder d;
    uint8_t code[15];
    bool code64 = c->mode & MODE_CS64, code32 = c->mode & MODE_CS32;
    uint64_t at = code64 ? c->tcg.pc : (uint32_t)(c->tcg.pc + c->tcg.seg_base[CS]);
    ZydisDecoderInit(&d,
                     code64   ? ZYDIS_MACHINE_MODE_LONG_64
                     : code32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                              : ZYDIS_MACHINE_MODE_LEGACY_16,
                     code64   ? ZYDIS_STACK_WIDTH_64
                     : code32 ? ZYDIS_STACK_WIDTH_32
                              : ZYDIS_STACK_WIDTH_16);
    return read_code(c, at, code, sizeof(code)) &&
           ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, code, sizeof(code), &k->in, k->op));
}

static bool through_stack_segment(struct x86_cpu *c, uint64_t linear)
{
    struct current k;
    bool stack = false;
    if (c->outside || !decode_current(c, &k)) {
        return false;
    }
    for (unsigned i = 0; i < k.in.operand_count; i++) {
        if (k.op[i].type != ZYDIS_OPERAND_TYPE_MEMORY) {
            continue;
        }
        if (k.op[i].mem.segment == ZYDIS_REGISTER_SS) {
            stack = true;
        } else if (covers(c, &k.in, &k.op[i], linear)) {
            return false;
        }
    }
    return stack;
}

void x86_raise_noncanonical(struct x86_cpu *c, uint64_t linear)
{
    x86_raise_code(c, through_stack_segment(c, linear) ? EX_SS : EX_GP, 0);
}

static bool uses_mmx(const struct current *k)
{
    for (unsigned i = 0; i < k->in.operand_count_visible; i++) {
        if (k->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(k->op[i].reg.value) == ZYDIS_REGCLASS_MMX) {
            return true;
        }
    }
    return false;
}

static bool waits(const struct current *k)
{
    switch (k->in.mnemonic) {
    case ZYDIS_MNEMONIC_FNSTCW:
    case ZYDIS_MNEMONIC_FNSTSW:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
        return false;
    default:
        return k->in.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (k->in.opcode & 0xf8) == 0xd8;
    }
}

void x86_mf_before_fault(struct x86_cpu *c)
{
    struct current k;
    if (x86_x87_pending(c) && decode_current(c, &k) && (waits(&k) || uses_mmx(&k))) {
        x86_fp_exception(&c->tcg, TCG_X87);
    }
}
