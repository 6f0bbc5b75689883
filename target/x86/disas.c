/* SPDX-License-Identifier: MIT */
/* target/x86/disas.c - guest and host code as text, for -d in_asm and -d out_asm. */
#include "target/x86/disas.h"

#include "target/x86/cpu.h"

#include <Zydis/Zydis.h>
#include <inttypes.h>

static void show_bytes(FILE *out, const uint8_t *code, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        fprintf(out, "%02x", code[i]);
    }
    for (unsigned i = n; i < 10; i++) {
        fputs("  ", out);
    }
}

static void show(FILE *out, ZydisMachineMode m, ZydisStackWidth w, uint64_t pc, const uint8_t *code,
                 unsigned len)
{
    ZydisDecoder dec;
    ZydisFormatter fmt;
    ZydisDecoderInit(&dec, m, w);
    ZydisFormatterInit(&fmt, ZYDIS_FORMATTER_STYLE_INTEL);
    for (unsigned at = 0; at < len;) {
        ZydisDecodedInstruction in;
        ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "(bad)";
        unsigned n = 1;
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, code + at, len - at, &in, op))) {
            n = in.length;
            ZydisFormatterFormatInstruction(&fmt, &in, op, in.operand_count_visible, text,
                                            sizeof(text), pc + at, NULL);
        }
        fprintf(out, "0x%016" PRIx64 "  ", pc + at);
        show_bytes(out, code + at, n);
        fprintf(out, "  %s\n", text);
        at += n;
    }
}

void x86_disas(FILE *out, uint64_t pc, const uint8_t *code, unsigned len, uint32_t flags)
{
    ZydisMachineMode m = flags & MODE_CS64   ? ZYDIS_MACHINE_MODE_LONG_64
                         : flags & MODE_CS32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                         : flags & MODE_PE   ? ZYDIS_MACHINE_MODE_LEGACY_16
                                             : ZYDIS_MACHINE_MODE_REAL_16;
    ZydisStackWidth w = flags & MODE_CS64   ? ZYDIS_STACK_WIDTH_64
                        : flags & MODE_SS32 ? ZYDIS_STACK_WIDTH_32
                                            : ZYDIS_STACK_WIDTH_16;
    show(out, m, w, pc, code, len);
}

void x86_host_disas(FILE *out, uint64_t pc, const uint8_t *code, unsigned len)
{
    show(out, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, pc, code, len);
}
