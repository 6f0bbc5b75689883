/* SPDX-License-Identifier: MIT */
/* tests/oracle/compare.c - what two engines must agree on.
 *
 * Everything but what the architecture leaves undefined: the flags that the decoder's tables call
 * undefined for an instruction, those of the table below, and RF, which only tells how the state was
 * reached. docs/translator.md lists all of it.
 */
#include "tests/oracle/oracle.h"

#include <Zydis/Zydis.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Undefined beyond what the decoder says. */
static const struct {
    ZydisMnemonic mnemonic;
    uint32_t flags;
} undefined_too[] = {
    /* CF after a count of at least the operand's size, OF after a count other than 1 */
    { ZYDIS_MNEMONIC_SHL, 0x811 },  { ZYDIS_MNEMONIC_SHR, 0x811 },  { ZYDIS_MNEMONIC_SAR, 0x810 },
    { ZYDIS_MNEMONIC_SHLD, 0x810 }, { ZYDIS_MNEMONIC_SHRD, 0x810 }, { ZYDIS_MNEMONIC_ROL, 0x800 },
    { ZYDIS_MNEMONIC_ROR, 0x800 },  { ZYDIS_MNEMONIC_RCL, 0x800 },  { ZYDIS_MNEMONIC_RCR, 0x800 },
};

struct text {
    char *at;
    size_t left;
};

static void add(struct text *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(x->at, x->left, fmt, ap);
    va_end(ap);
    n = n < 0 ? 0 : (size_t)n < x->left ? n : (int)x->left - 1;
    x->at += n;
    x->left -= (size_t)n;
}

/* A small count by immediate leaves more defined than the table says; it is not worth the code. */
static uint32_t undefined_of(const ZydisDecodedInstruction *in)
{
    uint32_t f = in->cpu_flags ? in->cpu_flags->undefined : 0;
    for (unsigned i = 0; i < sizeof(undefined_too) / sizeof(undefined_too[0]); i++) {
        f |= undefined_too[i].mnemonic == in->mnemonic ? undefined_too[i].flags : 0;
    }
    return f & FLAGS_ARITH;
}

/* After the instructions that ran: a fault leaves the one at its RIP and those behind undone. */
static uint32_t undefined_flags(const struct test *t, const struct outcome *o)
{
    ZydisDecoder d;
    ZydisDecodedInstruction in;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    uint32_t f = 0;
    bool straight = true;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < t->insns; i++) {
        if (o->vector != ENDED_INT3 && o->out.rip == t->in.rip + t->start[i]) {
            break;
        }
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, t->code + t->start[i],
                                                 (size_t)t->start[i + 1] - t->start[i], &in, op))) {
            continue;
        }
        straight &= in.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE;
        if (straight) {
            f &= ~written_flags(&in, op);
        }
        f |= undefined_of(&in);
    }
    return f;
}

static bool is_memory_fault(uint32_t vector)
{
    return vector >= 12 && vector <= 17 && vector != 16;
}

/* REP CMPS or SCAS that faults has the flags of before, or of the last element it compared. */
static bool repeats_comparison(const struct test *t)
{
    char text[1024];
    disassemble(t, text, sizeof(text));
    return strstr(text, "rep") && (strstr(text, "cmps") || strstr(text, "scas"));
}

#define FLAGS_COMPARED ((uint64_t)(FLAGS_ARITH | FLAG_DF | FLAG_AC | FLAG_ID | 0x4300))

/* A fault behind the first instruction may find flags that the faulting one or a later one would have
 * overwritten (tcg/ir.h): they are not compared. */
static uint64_t flags_mask(enum engine_kind kind, const struct test *t, const struct outcome *o)
{
    uint64_t mask = FLAGS_COMPARED;
    if (kind != ENGINE_NATIVE && o->vector != ENDED_INT3 && o->out.rip != t->in.rip) {
        mask &= ~(uint64_t)FLAGS_ARITH;
    }
    if (kind != ENGINE_NATIVE && is_memory_fault(o->vector) && repeats_comparison(t)) {
        mask &= ~(uint64_t)FLAGS_ARITH;
    }
    return mask & ~(uint64_t)undefined_flags(t, o);
}

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

static void compare_gprs(const struct state *w, const struct state *g, uint64_t mask,
                         struct text *x)
{
    for (unsigned i = 0; i < 16; i++) {
        if ((w->gpr[i] ^ g->gpr[i]) & mask) {
            add(x, " %s=%llx(%llx)", gpr_names[i], (unsigned long long)g->gpr[i],
                (unsigned long long)w->gpr[i]);
        }
    }
}

static void compare_registers(const struct state *w, const struct state *g, uint32_t mxcsr_mask,
                              struct text *x)
{
    for (unsigned i = 0; i < VEC_COUNT; i++) {
        for (unsigned k = 0; k < 4; k++) {
            if (w->vec[i][k] != g->vec[i][k]) {
                add(x, " v%u[%u]=%016llx(%016llx)", i, k, (unsigned long long)g->vec[i][k],
                    (unsigned long long)w->vec[i][k]);
            }
        }
    }
    if ((w->mxcsr ^ g->mxcsr) & mxcsr_mask) {
        add(x, " mxcsr=%x(%x)", g->mxcsr, w->mxcsr);
    }
}

static void compare_x87(const struct state *w, const struct state *g, struct text *x)
{
    uint16_t a[2], b[2];
    memcpy(a, w->x87, 4);
    memcpy(b, g->x87, 4);
    if (a[0] != b[0] || a[1] != b[1] || w->x87[4] != g->x87[4]) {
        add(x, " fcw=%x(%x) fsw=%x(%x) ftw=%x(%x)", b[0], a[0], b[1], a[1], g->x87[4], w->x87[4]);
    }
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *p = w->x87 + 32 + 16 * i, *q = g->x87 + 32 + 16 * i;
        if (memcmp(p, q, 10)) {
            uint64_t m[2];
            uint16_t e[2];
            memcpy(&m[0], p, 8);
            memcpy(&m[1], q, 8);
            memcpy(&e[0], p + 8, 2);
            memcpy(&e[1], q + 8, 2);
            add(x, " st%u=%04x:%016llx(%04x:%016llx)", i, e[1], (unsigned long long)m[1], e[0],
                (unsigned long long)m[0]);
        }
    }
}

static void compare_memory(const struct outcome *w, const struct outcome *g, struct text *x)
{
    unsigned n = 0;
    for (unsigned i = 0; i < DATA_WRITABLE; i++) {
        if (w->data[i] != g->data[i] && n++ < 16) {
            add(x, " [%llx]=%02x(%02x)", DATA_BASE + i, g->data[i], w->data[i]);
        }
    }
}

/* A fault of an MMX instruction's memory operand may come before or behind the change of the tags. */
static bool mmx_fault(const struct test *t, const struct outcome *o)
{
    char text[1024];
    disassemble(t, text, sizeof(text));
    return is_memory_fault(o->vector) && strstr(text, " mm");
}

/* Intel's processors ask for an x87 store's memory only if there is something to be stored, AMD's first. */
static bool nothing_to_store(const char *text, const struct outcome *w, const struct outcome *g)
{
    bool stores = strstr(text, "fist") || strstr(text, "fst") || strstr(text, "fbst");
    enum { FSW_ES = 0x80 };
    return stores && w->out.x87[2] & FSW_ES && is_memory_fault(g->vector) &&
           (g->vector != w->vector || g->out.rip != w->out.rip);
}

/* The same with an exception of VCVTPS2PH, which comes before or behind the fault. */
static bool half_floats_first(const char *text, const struct outcome *w, const struct outcome *g)
{
    return strstr(text, "cvtps2ph") && w->vector == 19 && is_memory_fault(g->vector);
}

/* A REP STOS or MOVS that reaches code: how far the registers have come when it meets its own bytes. */
static bool string_over_code(const char *text, const struct outcome *o)
{
    bool string = strstr(text, "stos") || strstr(text, "movs");
    return string && strstr(text, "rep") && o->out.gpr[7] - CODE_BASE < CODE_SIZE + 64;
}

static bool is_nan32(uint32_t v)
{
    return (v & 0x7fffffff) > 0x7f800000;
}

/* The sums of DPPS and DPPD: which of two NaNs comes out. */
static bool other_nan(const struct outcome *w, const struct outcome *g)
{
    const uint32_t *a = (const uint32_t *)(const void *)w->out.vec;
    const uint32_t *b = (const uint32_t *)(const void *)g->out.vec;
    for (unsigned i = 0; i < VEC_COUNT * 8; i++) {
        unsigned top = i | 1; /* of the double this is half of */
        bool nan64 = (a[top] & 0x7ff00000) == 0x7ff00000 && (b[top] & 0x7ff00000) == 0x7ff00000;
        if (a[i] != b[i] && !(is_nan32(a[i]) && is_nan32(b[i])) && !nan64) {
            return false;
        }
    }
    return true;
}

/* Ten bytes over two pages of which the second faults: the first one's may have been stored. */
static bool may_store_half(const struct test *t, const struct outcome *w)
{
    char text[1024];
    disassemble(t, text, sizeof(text));
    return w->vector == 14 && (strstr(text, "fbstp") || strstr(text, "fstp"));
}

static bool stack_fault_may_be_gp;

void compare_stack_faults_loosely(bool on)
{
    stack_fault_may_be_gp = on;
}

/* Where processors differ among themselves, or the translator on purpose (docs/translator.md). */
static bool tolerated(enum engine_kind kind, const struct test *t, const struct outcome *w,
                      const struct outcome *g)
{
    char text[1024];
    bool faults = w->vector >= 12 && w->vector <= 17 && g->vector >= 12 && g->vector <= 17;
    bool jump_away = (g->out.rip + 0x800000000000u) >> 48;
    disassemble(t, text, sizeof(text));
    if (stack_fault_may_be_gp && w->vector == 13 && g->vector == 12 && !w->error && !g->error) {
        return true;
    }
    if (strstr(text, "maskmov") && (w->vector == 14 || w->vector == 13)) {
        return true; /* an empty mask may fault */
    }
    if (strstr(text, "ldmxcsr") && g->vector == 13) {
        return true; /* AMD has bit 17 */
    }
    if (g->cr2 >= 0x7fffffffff00u && g->cr2 < 0x800000000000u) {
        return true; /* across the end of the canonical addresses */
    }
    if (strstr(text, "sha") && g->vector == 13) {
        return true; /* alignment of SHA's operands */
    }
    bool vectors = strstr(text, "popf") || strstr(text, "mm"); /* only POPF sets AC */
    if ((w->vector == 17 || g->vector == 17) && g->vector < ENDED_CRASH && (faults || vectors)) {
        return true; /* alignment checks of vector operands; which of two faults an operand has */
    }
    if (jump_away && w->vector == 13) {
        return true; /* a jump to a non-canonical address faults there, not here */
    }
    if (kind == ENGINE_TCI && w->vector == 19 && g->vector == 19 &&
        (w->out.mxcsr ^ g->out.mxcsr) == 0x20) {
        return true; /* PE beside an unmasked OE or UE */
    }
    if (nothing_to_store(text, w, g) || half_floats_first(text, w, g) ||
        string_over_code(text, w) || string_over_code(text, g)) {
        return true;
    }
    if (kind == ENGINE_TCI && strstr(text, "dpp") && (t->insns > 1 || other_nan(w, g))) {
        return true; /* what follows may have used it */
    }
    return strstr(text, "cmps") && faults; /* which operand is looked at first */
}

/* BSF and BSR of 0 leave a 32-bit register's upper half, or clear it; so do string instructions by 32-bit
 * addresses with a count of 0. */
static bool upper_half_undefined(const struct test *t)
{
    char text[1024];
    disassemble(t, text, sizeof(text));
    bool string = strstr(text, "rep") && memchr(t->code, 0x67, t->code_len);
    return strstr(text, "bsf") || strstr(text, "bsr") || string;
}

/* VCVTPS2PH to memory that faults may have its flags set. */
static uint32_t mxcsr_mask(const struct test *t, const struct outcome *w)
{
    enum { FLAGS = 0x3f };
    char text[1024];
    disassemble(t, text, sizeof(text));
    return strstr(text, "cvtps2ph") && is_memory_fault(w->vector) ? 0xffff & ~FLAGS : 0xffff;
}

void compare(enum engine_kind kind, const struct test *t, const struct outcome *w,
             const struct outcome *g, char *why, size_t len)
{
    struct text x = { why, len };
    uint64_t flags;
    *why = 0;
    if (w->vector != g->vector || w->error != g->error || w->cr2 != g->cr2) {
        add(&x, " vector=%u:%x:%llx(%u:%x:%llx)", g->vector, g->error, (unsigned long long)g->cr2,
            w->vector, w->error, (unsigned long long)w->cr2);
    }
    if (g->vector >= ENDED_CRASH || w->vector >= ENDED_CRASH) {
        add(&x, " %s", g->vector == ENDED_HANG ? "hang" : "crash");
        return;
    }
    if (w->out.rip != g->out.rip) {
        add(&x, " rip=%llx(%llx)", (unsigned long long)g->out.rip, (unsigned long long)w->out.rip);
    }
    flags = (w->out.flags ^ g->out.flags) & FLAGS_COMPARED;
    if (flags && flags & flags_mask(kind, t, w)) { /* most agree: nothing has to be decoded */
        add(&x, " flags=%llx(%llx)", (unsigned long long)g->out.flags & 0xfffff,
            (unsigned long long)w->out.flags & 0xfffff);
    }
    if (memcmp(w->out.gpr, g->out.gpr, sizeof(w->out.gpr)) && !upper_half_undefined(t)) {
        compare_gprs(&w->out, &g->out, ~0ull, &x);
    } else {
        compare_gprs(&w->out, &g->out, UINT32_MAX, &x);
    }
    bool same_mxcsr = w->out.mxcsr == g->out.mxcsr; /* else a look at the text is worth its time */
    compare_registers(&w->out, &g->out, same_mxcsr ? 0xffff : mxcsr_mask(t, w), &x);
    if (memcmp(w->out.x87, g->out.x87, X87_SIZE) && !mmx_fault(t, w)) {
        compare_x87(&w->out, &g->out, &x);
    }
    if (memcmp(w->data, g->data, DATA_WRITABLE) && !may_store_half(t, w)) {
        compare_memory(w, g, &x);
    }
    if (*why && tolerated(kind, t, w, g)) {
        *why = 0;
    }
}
