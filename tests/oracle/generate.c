/* SPDX-License-Identifier: MIT */
/* tests/oracle/generate.c - random instructions with states under which they do something.
 *
 * At the start every combination of encoding, map, mandatory prefix, W, L, opcode and ModRM.reg is
 * shown to the decoder; what it accepts and a set allows becomes a form, filed by mnemonic. A test
 * picks a mnemonic, then a form, then registers, addressing, immediate and prefixes at random.
 * Address registers get values that lead to the data pages: mostly to the part that is random,
 * sometimes across a page, into read-only memory or nowhere.
 */
#include "tests/oracle/oracle.h"

#include <Zydis/Zydis.h>
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum encoding { LEGACY, VEX };
struct form {
    uint8_t encoding, map, pp, opcode, reg, w, l;
    uint8_t modrm; /* mod and rm as enumerated: mod 3 or memory; x87 keeps rm */
};

struct mnemonic {
    unsigned id;
    struct form *form;
    unsigned n, room;
};

static struct mnemonic *mnemonics;
static unsigned mnemonic_count;
static ZydisDecoder decoder;

struct insn {
    ZydisDecodedInstruction in;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

uint64_t rnd(struct rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static bool decode(const uint8_t *b, size_t n, struct insn *i)
{
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, b, n, &i->in, i->op));
}

/* ---- which instructions ---- */

/* Sets by name, and where CPUID says that this processor has them (leaf 0: always). */
static const struct {
    ZydisISAExt ext;
    unsigned leaf, reg, bit; /* reg: 0 eax 1 ebx 2 ecx 3 edx */
} sets[] = {
    { ZYDIS_ISA_EXT_BASE, 0, 0, 0 },
    { ZYDIS_ISA_EXT_LONGMODE, 0, 0, 0 },
    { ZYDIS_ISA_EXT_X87, 0, 0, 0 },
    { ZYDIS_ISA_EXT_MMX, 0, 0, 0 },
    { ZYDIS_ISA_EXT_SSE, 0, 0, 0 },
    { ZYDIS_ISA_EXT_SSE2, 0, 0, 0 },
    { ZYDIS_ISA_EXT_SSE3, 1, 2, 0 },
    { ZYDIS_ISA_EXT_SSSE3, 1, 2, 9 },
    { ZYDIS_ISA_EXT_SSE4, 1, 2, 20 },
    { ZYDIS_ISA_EXT_AVX, 1, 2, 28 },
    { ZYDIS_ISA_EXT_AVX2, 7, 1, 5 },
    { ZYDIS_ISA_EXT_AVX2GATHER, 7, 1, 5 },
    { ZYDIS_ISA_EXT_FMA, 1, 2, 12 },
    { ZYDIS_ISA_EXT_F16C, 1, 2, 29 },
    { ZYDIS_ISA_EXT_AES, 1, 2, 25 },
    { ZYDIS_ISA_EXT_AVXAES, 1, 2, 25 },
    { ZYDIS_ISA_EXT_PCLMULQDQ, 1, 2, 1 },
    { ZYDIS_ISA_EXT_SHA, 7, 1, 29 },
    { ZYDIS_ISA_EXT_BMI1, 7, 1, 3 },
    { ZYDIS_ISA_EXT_BMI2, 7, 1, 8 },
    { ZYDIS_ISA_EXT_LZCNT, 0x80000001, 2, 5 },
    { ZYDIS_ISA_EXT_MOVBE, 1, 2, 22 },
    { ZYDIS_ISA_EXT_ADOX_ADCX, 7, 1, 19 },
    { ZYDIS_ISA_EXT_CLFSH, 1, 3, 19 },
    { ZYDIS_ISA_EXT_PAUSE, 0, 0, 0 },
};

static bool host_has(unsigned leaf, unsigned reg, unsigned bit)
{
    unsigned r[4] = { 0 };
    if (!leaf) {
        return true;
    }
    return __get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]) && r[reg] >> bit & 1;
}

static bool in_list(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') {
        if (strcspn(p, ",") == n && !strncasecmp(p, name, n)) {
            return true;
        }
    }
    return false;
}

static bool has_prefix(const ZydisDecodedInstruction *in, uint8_t byte)
{
    for (unsigned i = 0; i < in->raw.prefix_count; i++) {
        if (in->raw.prefixes[i].value == byte) {
            return true;
        }
    }
    return false;
}

/* Depends on what a process may not know or set: descriptor tables, the kernel, time, chance, where
 * the last x87 instruction was; or leaves the code pages in ways the test cannot follow. */
static bool excluded(const ZydisDecodedInstruction *in)
{
    switch (in->meta.category) {
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SEGOP:
        return true;
    default:
        break;
    }
    if (in->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && has_prefix(in, 0x66)) {
        return true; /* Intel ignores it, AMD cuts RIP to 16 bits */
    }
    bool rep = has_prefix(in, 0xf2) || has_prefix(in, 0xf3);
    if (rep && (in->mnemonic == ZYDIS_MNEMONIC_LOOPE || in->mnemonic == ZYDIS_MNEMONIC_LOOPNE)) {
        return true; /* AMD takes the condition from the prefix */
    }
    if (in->mnemonic == ZYDIS_MNEMONIC_MOVSXD && in->operand_width == 16) {
        return true; /* AMD reads four bytes */
    }
    if (in->mnemonic == ZYDIS_MNEMONIC_PAUSE && in->raw.rex.B) {
        return true; /* for AMD, XCHG */
    }
    if (in->opcode_map == ZYDIS_OPCODE_MAP_0F && in->opcode == 0x0d && in->raw.modrm.mod == 3) {
        return true; /* AMD: #UD */
    }
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_UD1: /* whether their operands are looked at differs between makers */
    case ZYDIS_MNEMONIC_UD0:
        return true;
    default:
        return in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    }
}

static bool names_segment(const struct insn *i)
{
    for (unsigned k = 0; k < i->in.operand_count_visible; k++) {
        ZydisRegister r = i->op[k].reg.value;
        if (i->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_SEGMENT)) {
            return true;
        }
    }
    return false;
}

static bool chosen(const struct insn *i, const char *list)
{
    const char *ext = ZydisISAExtGetString(i->in.meta.isa_ext);
    const char *name = ZydisMnemonicGetString(i->in.mnemonic);
    for (unsigned k = 0; k < sizeof(sets) / sizeof(sets[0]); k++) {
        if (sets[k].ext == i->in.meta.isa_ext) {
            return host_has(sets[k].leaf, sets[k].reg, sets[k].bit) && !excluded(&i->in) &&
                   !names_segment(i) && (!list || in_list(list, ext) || in_list(list, name));
        }
    }
    return false;
}

/* ---- encodings ---- */

static const uint8_t prefix_bytes[4] = { 0, 0x66, 0xf3, 0xf2 };

static size_t put_opcode(const struct form *f, uint8_t *p)
{
    size_t n = 0;
    if (f->map) {
        p[n++] = 0x0f;
    }
    if (f->map == 2) {
        p[n++] = 0x38;
    } else if (f->map == 3) {
        p[n++] = 0x3a;
    }
    p[n++] = f->opcode;
    return n;
}

/* rex: bits W R X B; v: VEX.vvvv. */
static size_t put_head(const struct form *f, unsigned rex, bool need_rex, unsigned v, uint8_t *p)
{
    size_t n = 0;
    if (f->encoding == VEX) {
        p[n++] = 0xc4;
        p[n++] = (uint8_t)((~rex & 7) << 5 | f->map);
        p[n++] = (uint8_t)(f->w << 7 | (~v & 15) << 3 | f->l << 2 | f->pp);
        p[n++] = f->opcode;
        return n;
    }
    if (f->pp) {
        p[n++] = prefix_bytes[f->pp];
    }
    rex = (rex & 7) | (unsigned)f->w << 3;
    if (rex || need_rex) {
        p[n++] = (uint8_t)(0x40 | rex);
    }
    return n + put_opcode(f, p + n);
}

static void add_form(const struct form *f, unsigned id)
{
    struct mnemonic *m = NULL;
    for (unsigned i = 0; i < mnemonic_count && !m; i++) {
        m = mnemonics[i].id == id ? &mnemonics[i] : NULL;
    }
    if (!m) {
        mnemonics = realloc(mnemonics, (mnemonic_count + 1) * sizeof(*mnemonics));
        m = &mnemonics[mnemonic_count++];
        *m = (struct mnemonic){ .id = id };
    }
    if (m->n == m->room) {
        m->room = m->room * 2 + 8;
        m->form = realloc(m->form, m->room * sizeof(*m->form));
    }
    m->form[m->n++] = *f;
}

/* Shows one encoding to the decoder. Immediate bytes behind are 0. */
static void try_form(const struct form *f, const char *list)
{
    uint8_t b[16] = { 0 };
    struct insn i;
    size_t n = put_head(f, 0, false, 0, b);
    b[n++] = (uint8_t)(f->modrm | f->reg << 3);
    if (f->modrm == 4) {
        b[n] = 0x03; /* SIB: index 0, base 3 */
    }
    if (decode(b, sizeof(b), &i) && i.in.length >= n - 1 && chosen(&i, list)) {
        add_form(f, i.in.mnemonic);
    }
}

/* Memory with a plain base, memory with a SIB byte (gathers need one), a register. */
static void try_modrm(struct form *f, const char *list)
{
    static const uint8_t shapes[] = { 0x03, 0x04, 0xc3 };
    bool x87 = f->encoding == LEGACY && !f->map && (f->opcode & 0xf8) == 0xd8;
    for (f->reg = 0; f->reg < 8; f->reg++) {
        for (unsigned i = 0; i < 2; i++) {
            f->modrm = shapes[i];
            try_form(f, list);
        }
        for (unsigned rm = x87 || (f->map == 1 && f->opcode == 1) ? 0 : 3; rm < 8; rm++) {
            f->modrm = (uint8_t)(0xc0 | rm);
            try_form(f, list);
            if (!x87 && !(f->map == 1 && f->opcode == 1)) {
                break;
            }
        }
    }
}

static bool is_prefix(const struct form *f)
{
    static const uint8_t bytes[] = { 0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66,
                                     0x67, 0xf0, 0xf2, 0xf3, 0xc4, 0xc5, 0x62, 0xcc };
    if (f->encoding == VEX) {
        return false;
    }
    if (f->map == 1 && (f->opcode == 0x38 || f->opcode == 0x3a)) {
        return true;
    }
    return !f->map && ((f->opcode & 0xf0) == 0x40 || memchr(bytes, f->opcode, sizeof(bytes)));
}

unsigned generate_init(const char *list)
{
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < 2 * 4 * 4 * 2 * 2 * 256; i++) {
        struct form f = { .opcode = i & 255,
                          .w = i >> 8 & 1,
                          .l = i >> 9 & 1,
                          .pp = i >> 10 & 3,
                          .map = i >> 12 & 3,
                          .encoding = i >> 14 & 1 };
        if ((f.encoding == LEGACY && f.l) || (f.encoding == VEX && !f.map) || is_prefix(&f)) {
            continue;
        }
        try_modrm(&f, list);
    }
    return mnemonic_count;
}

/* ---- values ---- */

static uint64_t edge(struct rng *r)
{
    uint64_t v;
    switch (below(r, 8)) {
    case 0:
        v = 0;
        break;
    case 1:
        v = 1ull << below(r, 64);
        break;
    case 2:
        v = (1ull << below(r, 64)) - 1;
        break;
    case 3:
        v = ~(1ull << below(r, 64));
        break;
    case 4:
        return below(r, 33);
    case 5:
        return DATA_BASE + below(r, DATA_SIZE);
    default:
        v = rnd(r);
    }
    return chance(r, 20) ? 0 - v : v;
}

static uint32_t single(struct rng *r)
{
    static const uint32_t v[] = { 0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                  0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0xffbfffff,
                                  0x00000001, 0x807fffff, 0x00800000, 0x80800000, 0x7f7fffff,
                                  0xff7fffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000,
                                  0x477ff000, 0x38800000, 0x33000000, 0x387fe000 };
    unsigned k = below(r, 10);
    if (k < 4) {
        return v[below(r, sizeof(v) / sizeof(v[0]))];
    }
    if (k < 6) {
        return (uint32_t)rnd(r);
    }
    /* near one another, so that sums cancel and products stay finite */
    return (uint32_t)((rnd(r) & 0x807fffff) | (uint64_t)(k == 9 ? below(r, 40) : 120 + below(r, 16))
                                                  << 23);
}

static uint64_t twice(struct rng *r)
{
    static const uint64_t v[] = {
        0,
        0x8000000000000000u,
        0x3ff0000000000000u,
        0xbff0000000000000u,
        0x7ff0000000000000u,
        0xfff0000000000000u,
        0x7ff8000000000000u,
        0xfff8000000000001u,
        0x7ff0000000000001u,
        0xfff7ffffffffffffu,
        1,
        0x800fffffffffffffu,
        0x0010000000000000u,
        0x7fefffffffffffffu,
        0xffefffffffffffffu,
        0x41dfffffffc00000u,
        0xc1e0000000000000u,
        0x43e0000000000000u,
        0xc3e0000000000000u,
        0x3fe0000000000000u,
        0x380fffffffffffffu,
        0x36a0000000000000u,
        0x47efffffffffffffu,
    };
    unsigned k = below(r, 10);
    if (k < 4) {
        return v[below(r, sizeof(v) / sizeof(v[0]))];
    }
    if (k < 6) {
        return rnd(r);
    }
    return (rnd(r) & 0x800fffffffffffffu) | (uint64_t)(k == 9 ? below(r, 80) : 1016 + below(r, 16))
                                                << 52;
}

/* 32 bytes of elements that belong together. */
static void vector(struct rng *r, uint64_t v[4])
{
    unsigned kind = below(r, 6);
    uint32_t *d = (uint32_t *)v;
    for (unsigned i = 0; i < 8; i++) {
        switch (kind) {
        case 0:
        case 1:
            d[i] = single(r);
            break;
        case 2:
        case 3:
            if (!(i & 1)) {
                v[i / 2] = twice(r);
            }
            break;
        case 4:
            d[i] = (uint32_t)edge(r);
            break;
        default:
            d[i] = (uint32_t)rnd(r);
            if (chance(r, 30)) {
                d[i] &= 0x007f80ff;
            }
        }
    }
}

static void extended(struct rng *r, uint8_t *st)
{
    uint64_t m = rnd(r);
    uint16_t e = (uint16_t)rnd(r);
    switch (below(r, 10)) {
    case 0:
        m = 0, e &= 0x8000;
        break;
    case 1:
        m = 1ull << 63, e |= 0x7fff;
        break;
    case 2:
        m |= 1ull << 63, e |= 0x7fff; /* NaNs */
        break;
    case 3:
        e &= 0x8000; /* denormals, pseudo-denormals */
        break;
    case 4: /* anything, unnormals as well */
        break;
    case 5:
        m = (uint64_t)(below(r, 2000) + 1) << (63 - 11);
        m |= 1ull << 63;
        e = (uint16_t)((e & 0x8000) | (0x3fff + below(r, 11)));
        break;
    default:
        m |= 1ull << 63;
        m &= chance(r, 50) ? ~0ull << below(r, 64) : ~0ull;
        m |= 1ull << 63;
        e = (uint16_t)((e & 0x8000) | (0x3fff - 30 + below(r, 60)));
    }
    memcpy(st, &m, 8);
    memcpy(st + 8, &e, 2);
}

/* The summary bits follow from flags and masks, as the processor itself would have it. */
static uint16_t status(struct rng *r, uint16_t control)
{
    uint16_t s = (uint16_t)(below(r, 8) << 11 | (rnd(r) & 0x4700));
    if (chance(r, 30)) {
        s |= rnd(r) & 0x7f;
    }
    if (s & ~control & 0x3f) {
        s |= 0x8080;
    }
    return s;
}

static void x87_state(struct rng *r, struct state *s)
{
    uint16_t fcw = (uint16_t)(0x037f | (rnd(r) & 0x0c00));
    if (chance(r, 30)) {
        static const uint16_t precision[4] = { 0x000, 0x200, 0x300, 0x300 };
        fcw = (uint16_t)((fcw & ~0x300) | precision[below(r, 4)]);
    }
    if (chance(r, 10)) {
        fcw &= (uint16_t)(rnd(r) | 0xffc0);
    }
    uint16_t fsw = status(r, fcw);
    memset(s->x87, 0, sizeof(s->x87));
    memcpy(s->x87, &fcw, 2);
    memcpy(s->x87 + 2, &fsw, 2);
    s->x87[4] = chance(r, 60) ? 0xff : chance(r, 50) ? 0 : (uint8_t)rnd(r);
    for (unsigned i = 0; i < 8; i++) {
        extended(r, s->x87 + 32 + 16 * i);
    }
}

static uint32_t mxcsr(struct rng *r)
{
    uint32_t v = 0x1f80 | (uint32_t)(rnd(r) & 0x6000);
    if (chance(r, 40)) {
        v |= (uint32_t)(rnd(r) & 0x8040); /* FTZ, DAZ */
    }
    if (chance(r, 15)) {
        v &= ~(uint32_t)(rnd(r) & 0x1f80);
    }
    if (chance(r, 20)) {
        v |= (uint32_t)(rnd(r) & 0x3f);
    }
    return v;
}

void fill_data(uint8_t *data, const struct test *t)
{
    static uint64_t pattern[DATA_WRITABLE / 8];
    if (!pattern[0]) {
        struct rng r = { 1 };
        for (unsigned i = 0; i < DATA_WRITABLE / 8; i++) {
            pattern[i] = rnd(&r);
        }
    }
    memcpy(data, pattern, DATA_WRITABLE);
    memcpy(data + PATCH_AT, t->patch, PATCH_SIZE);
}

void fill_readonly(uint8_t *data)
{
    struct rng r = { 2 };
    for (unsigned i = 0; i < DATA_SIZE - DATA_WRITABLE; i += 8) {
        uint64_t v = rnd(&r);
        memcpy(data + i, &v, 8);
    }
}

/* ---- addresses ---- */

/* valid: no faults; aligned: nothing else. */
static uint64_t target(struct rng *r, unsigned size, bool valid, bool aligned)
{
    unsigned k = below(r, aligned ? 62 : valid ? 90 : 100);
    size = size ? size : 1;
    if (k < 62) { /* aligned, inside the random part */
        return DATA_BASE + PATCH_AT + 32u * below(r, PATCH_SIZE / 32);
    }
    if (k < 80) {
        return DATA_BASE + PATCH_AT + below(r, PATCH_SIZE - 64);
    }
    if (k < 90) {
        return DATA_BASE + 0x1000 - below(r, size + 1);
    }
    if (k < 95) {
        return DATA_BASE + DATA_WRITABLE - below(r, size + 1);
    }
    if (k < 98) {
        return DATA_BASE + DATA_SIZE - below(r, size + 1);
    }
    return k == 98 ? below(r, 4096) : 0x8000000000000000ull >> below(r, 8) | rnd(r) >> 12;
}

static int gpr_number(ZydisRegister reg)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15
               ? (int)whole - ZYDIS_REGISTER_RAX
               : -1;
}

struct maker {
    struct rng *r;
    struct test *t;
    uint16_t fixed;   /* registers that have their value */
    uint32_t unknown; /* flags that are undefined by now */
    bool last;        /* nothing may come behind: a register's value is undefined */
    struct {
        uint8_t at, size, from; /* of the displacement; the instruction behind is number from */
    } branch[MAX_INSNS];
    unsigned branches;
};

static void set_gpr(struct maker *m, int reg, uint64_t v)
{
    if (reg >= 0 && !(m->fixed >> reg & 1)) {
        m->t->in.gpr[reg] = v;
        m->fixed |= (uint16_t)(1u << reg);
    }
}

static void set_disp(uint8_t *code, const ZydisDecodedInstruction *in, uint64_t v)
{
    memcpy(code + in->raw.disp.offset, &v, in->raw.disp.size / 8);
}

/* Small offsets around the base for the elements of a gather. */
static void set_vector_index(struct maker *m, const ZydisDecodedOperand *op)
{
    unsigned i = ((unsigned)op->mem.index - ZYDIS_REGISTER_XMM0) % 16;
    if (op->mem.index >= ZYDIS_REGISTER_YMM0 && op->mem.index <= ZYDIS_REGISTER_YMM15) {
        i = op->mem.index - ZYDIS_REGISTER_YMM0;
    }
    bool wide = chance(m->r, 50);
    for (unsigned k = 0; k < 8; k++) {
        int32_t v = (int32_t)below(m->r, 16) - 8;
        uint32_t *d = (uint32_t *)m->t->in.vec[i];
        d[k] = wide && (k & 1) ? (d[k - 1] >> 31 ? UINT32_MAX : 0) : (uint32_t)v;
    }
}

/* Makes a memory operand point to where it should; code is the instruction's. */
static void aim(struct maker *m, uint8_t *code, const struct insn *i, const ZydisDecodedOperand *op)
{
    const ZydisDecodedInstruction *in = &i->in;
    /* Whether SHA needs alignment and MASKMOV faults with an empty mask differs between makers, and so
     * does which operand of CMPS is looked at first. */
    bool masked = in->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
                  in->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
                  in->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
    bool compares = in->mnemonic >= ZYDIS_MNEMONIC_CMPSB && in->mnemonic <= ZYDIS_MNEMONIC_CMPSW;
    uint64_t to =
        target(m->r, op->size / 8u, masked || compares, in->meta.isa_ext == ZYDIS_ISA_EXT_SHA);
    uint64_t disp = (uint64_t)op->mem.disp.value;
    bool no_base = in->raw.modrm.mod == 0 && in->raw.modrm.rm == 4 && in->raw.sib.base == 5;
    int base = no_base ? -1 : gpr_number(op->mem.base), index = gpr_number(op->mem.index);
    if (op->mem.segment == ZYDIS_REGISTER_GS) {
        to -= GS_BASE;
    }
    if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
        uint64_t next = m->t->in.rip + (uint64_t)(code - m->t->code) + in->length;
        set_disp(code, in, to - next);
        return;
    }
    if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
        set_vector_index(m, op);
        set_gpr(m, base, to - disp);
        return;
    }
    if (index >= 0 && !(m->fixed >> index & 1)) {
        set_gpr(m, index,
                index == base      ? (to - disp) / (op->mem.scale + 1u)
                : chance(m->r, 80) ? below(m->r, 64) - 32
                                   : rnd(m->r));
    }
    uint64_t scaled = index < 0 ? 0 : m->t->in.gpr[index] * op->mem.scale;
    if (base < 0 || m->fixed >> base & 1) {
        if (in->raw.disp.size >= 32) { /* moffs have theirs in the displacement too */
            set_disp(code, in, to - scaled - (base < 0 ? 0 : m->t->in.gpr[base]));
        }
        return;
    }
    uint64_t v = to - disp - scaled;
    if (in->address_width == 32 && op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
        v = (v & 0xffffffff) | rnd(m->r) << 32;
    }
    set_gpr(m, base, v);
}

/* ---- one instruction ---- */

static unsigned random_rex(struct rng *r)
{
    return chance(r, 50) ? 0 : below(r, 8);
}

static size_t encode(struct rng *r, const struct form *f, uint8_t *p)
{
    size_t n = 0;
    bool legacy = f->encoding == LEGACY;
    if (legacy && chance(r, 3)) {
        p[n++] = 0xf0;
    }
    if (chance(r, 4)) {
        p[n++] = 0x65;
    }
    if (chance(r, 4)) {
        p[n++] = 0x67;
    }
    if (legacy && f->pp > 1 && chance(r, 20)) {
        p[n++] = 0x66;
    }
    n += put_head(f, random_rex(r), chance(r, 20), chance(r, 30) ? 0 : below(r, 16), p + n);
    if ((f->modrm & 0xc0) == 0xc0) {
        bool x87 = legacy && !f->map && (f->opcode & 0xf8) == 0xd8;
        unsigned rm = x87 || (f->map == 1 && f->opcode == 1) ? f->modrm & 7u : below(r, 8);
        p[n++] = (uint8_t)(0xc0 | f->reg << 3 | rm);
    } else {
        p[n++] = (uint8_t)(below(r, 3) << 6 | f->reg << 3 | (f->modrm == 4 ? 4 : below(r, 8)));
    }
    for (unsigned i = 0; i < 14; i++) { /* SIB, displacement, immediate */
        p[n + i] = (uint8_t)(chance(r, 30) ? below(r, 5) - 2 : rnd(r));
    }
    return n + 14;
}

/* Registers that decide what an instruction does, beside its operands. */
static void set_special(struct maker *m, const struct insn *i)
{
    struct rng *r = m->r;
    struct state *s = &m->t->in;
    switch (i->in.mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        if (chance(r, 80)) {
            set_gpr(m, 2, chance(r, 50) ? 0 : (uint64_t)((int64_t)s->gpr[0] >> 63));
        }
        break;
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_VPCMPESTRI:
    case ZYDIS_MNEMONIC_VPCMPESTRM:
        set_gpr(m, 0, (uint64_t)(int64_t)(below(r, 40) - 20));
        set_gpr(m, 2, (uint64_t)(int64_t)(below(r, 40) - 20));
        break;
    case ZYDIS_MNEMONIC_XLAT:
        set_gpr(m, 3, DATA_BASE + PATCH_AT - below(r, 128));
        break;
    default:
        break;
    }
    if (i->in.attributes &
        (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) {
        set_gpr(m, 1, below(r, 24));
    }
    if (i->in.meta.category == ZYDIS_CATEGORY_COND_BR) { /* LOOP: rcx as it comes */
        set_gpr(m, 1, below(r, 3));
    }
}

/* Bit strings: the register selects a byte far away. */
static void set_bit_offset(struct maker *m, const struct insn *i)
{
    bool bt = i->in.mnemonic == ZYDIS_MNEMONIC_BT || i->in.mnemonic == ZYDIS_MNEMONIC_BTS ||
              i->in.mnemonic == ZYDIS_MNEMONIC_BTR || i->in.mnemonic == ZYDIS_MNEMONIC_BTC;
    if (bt && i->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
        i->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        set_gpr(m, gpr_number(i->op[1].reg.value), (uint64_t)(int64_t)(below(m->r, 2000) - 1000));
    }
}

/* Indirect jumps and returns go behind the code, where INT3s are. False: this one would not. */
static bool set_indirect(struct maker *m, const struct insn *i)
{
    uint64_t to = m->t->in.rip + MAX_CODE + 8;
    ZydisInstructionCategory c = i->in.meta.category;
    bool jump = c == ZYDIS_CATEGORY_UNCOND_BR || c == ZYDIS_CATEGORY_CALL;
    if (jump && i->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        int reg = gpr_number(i->op[0].reg.value);
        set_gpr(m, reg, to);
        return m->t->in.gpr[reg] == to && i->op[0].size == 64;
    }
    if (jump || c == ZYDIS_CATEGORY_RET) {
        for (unsigned k = 0; k < PATCH_SIZE; k += 8) { /* wherever it is read from */
            memcpy(m->t->patch + k, &to, 8);
        }
        return i->in.operand_width == 64;
    }
    return true;
}

/* Relative jumps go forward; where to is decided when all instructions stand. */
static bool set_branch(struct maker *m, const uint8_t *code, const struct insn *i)
{
    for (unsigned k = 0; k < 2; k++) {
        if (i->in.raw.imm[k].is_relative) {
            unsigned at = (unsigned)(code - m->t->code) + i->in.raw.imm[k].offset;
            m->branch[m->branches].at = (uint8_t)at;
            m->branch[m->branches].size = i->in.raw.imm[k].size / 8;
            m->branch[m->branches++].from = (uint8_t)(m->t->insns + 1);
            return true;
        }
    }
    return set_indirect(m, i);
}

static void resolve_branches(struct maker *m)
{
    struct test *t = m->t;
    for (unsigned k = 0; k < m->branches; k++) {
        unsigned from = m->branch[k].from;
        unsigned to = from + below(m->r, t->insns - from + 1u);
        uint64_t v = (uint64_t)(t->start[to] - t->start[from]);
        memcpy(t->code + m->branch[k].at, &v, m->branch[k].size);
    }
}

/* 16-bit double shifts by more than 16, and operands of gathers that are the same register. */
static bool undefined_result(struct maker *m, uint8_t *code, const struct insn *i)
{
    if (i->in.mnemonic == ZYDIS_MNEMONIC_SHLD || i->in.mnemonic == ZYDIS_MNEMONIC_SHRD) {
        if (i->in.operand_width == 16 && m->t->insns) {
            return true; /* CL may be another by then */
        }
        if (i->in.operand_width == 16 && i->op[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            code[i->in.raw.imm[0].offset] &= 15;
        } else if (i->in.operand_width == 16) {
            set_gpr(m, 1, below(m->r, 17));
            return (m->t->in.gpr[1] & 31) > 16;
        }
    }
    return false;
}

uint32_t written_flags(const void *instruction, const void *operands)
{
    const ZydisDecodedInstruction *in = instruction;
    const ZydisDecodedOperand *op = operands;
    ZydisInstructionCategory c = in->meta.category;
    bool counted = c == ZYDIS_CATEGORY_SHIFT || c == ZYDIS_CATEGORY_ROTATE;
    bool rep =
        in->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
    for (unsigned i = 1; counted && i < in->operand_count_visible; i++) {
        if (op[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op[i].imm.value.u & 31) {
            counted = false;
        }
    }
    if (!in->cpu_flags || counted || rep) {
        return 0;
    }
    return in->cpu_flags->modified | in->cpu_flags->set_0 | in->cpu_flags->set_1;
}

static uint32_t undefined_flags(const struct insn *i)
{
    return i->in.cpu_flags ? i->in.cpu_flags->undefined : 0;
}

static bool pushes_flags(const ZydisDecodedInstruction *in)
{
    return in->mnemonic == ZYDIS_MNEMONIC_PUSHF || in->mnemonic == ZYDIS_MNEMONIC_PUSHFD ||
           in->mnemonic == ZYDIS_MNEMONIC_PUSHFQ || in->mnemonic == ZYDIS_MNEMONIC_LAHF;
}

/* Appends one; false: try another. */
static bool add_insn(struct maker *m)
{
    struct test *t = m->t;
    const struct mnemonic *mn = &mnemonics[below(m->r, mnemonic_count)];
    const struct form *f = &mn->form[below(m->r, mn->n)];
    uint8_t b[48] = { 0 }, *code = t->code + t->code_len;
    struct insn i;
    size_t n = encode(m->r, f, b);
    if (!decode(b, n > 15 ? 15 : n, &i) || i.in.mnemonic != mn->id || excluded(&i.in) ||
        names_segment(&i) || t->code_len + i.in.length > MAX_CODE - 16 || i.in.length > 15) {
        return false;
    }
    const ZydisAccessedFlags *fl = i.in.cpu_flags;
    if (m->unknown & FLAGS_ARITH & (fl ? fl->tested : 0)) {
        return false;
    }
    if (m->unknown & FLAGS_ARITH && pushes_flags(&i.in)) {
        return false;
    }
    memcpy(code, b, i.in.length);
    uint16_t fixed = m->fixed;
    unsigned branches = m->branches;
    if (!set_branch(m, code, &i) || undefined_result(m, code, &i)) {
        m->fixed = fixed;
        m->branches = branches;
        return false;
    }
    set_special(m, &i);
    set_bit_offset(m, &i);
    for (unsigned k = 0; k < i.in.operand_count; k++) {
        bool lea = i.in.mnemonic == ZYDIS_MNEMONIC_LEA || i.in.mnemonic == ZYDIS_MNEMONIC_NOP;
        if (i.op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && (!lea || chance(m->r, 50))) {
            aim(m, code, &i, &i.op[k]);
        }
    }
    if (fl) {
        m->unknown &= m->branches ? ~0u : ~written_flags(&i.in, i.op); /* it may be jumped over */
        m->unknown |= undefined_flags(&i);
    }
    m->last = i.in.mnemonic == ZYDIS_MNEMONIC_BSF || i.in.mnemonic == ZYDIS_MNEMONIC_BSR;
    t->code_len = (uint16_t)(t->code_len + i.in.length);
    t->insns++;
    t->start[t->insns] = (uint8_t)t->code_len;
    return true;
}

static void random_state(struct rng *r, struct test *t)
{
    for (unsigned i = 0; i < 16; i++) {
        t->in.gpr[i] = edge(r);
    }
    t->in.gpr[4] = DATA_BASE + 0x1000 - 32 + 8u * below(r, 8);
    t->in.flags = rnd(r) & (FLAGS_ARITH | (chance(r, 20) ? FLAG_DF : 0));
    t->in.mxcsr = mxcsr(r);
    x87_state(r, &t->in);
    for (unsigned i = 0; i < VEC_COUNT; i++) {
        vector(r, t->in.vec[i]);
    }
    for (unsigned i = 0; i < PATCH_SIZE / 32; i++) {
        uint64_t v[4];
        vector(r, v);
        memcpy(t->patch + 32 * i, v, 32);
    }
}

void generate(struct rng *r, struct test *t)
{
    struct maker m = { .r = r, .t = t };
    unsigned want = chance(r, 60) ? 1 : 2 + below(r, MAX_INSNS - 1);
    memset(t, 0, sizeof(*t));
    random_state(r, t);
    t->code_at = (uint16_t)(chance(r, 80) ? 64 * below(r, 16) : 0x1000 - below(r, 40));
    t->in.rip = CODE_BASE + t->code_at;
    m.fixed = 1 << 4; /* rsp stays a stack pointer */
    for (unsigned tries = 0; t->insns < want && (tries < 60 || !t->insns) && !m.last; tries++) {
        add_insn(&m);
    }
    resolve_branches(&m);
}

bool decode_test(struct test *t)
{
    struct insn i;
    unsigned at = 0;
    t->insns = 0;
    while (at < t->code_len && t->insns < MAX_INSNS) {
        if (!decode(t->code + at, t->code_len - at, &i)) {
            return false;
        }
        at += i.in.length;
        t->start[++t->insns] = (uint8_t)at;
    }
    return at == t->code_len;
}
