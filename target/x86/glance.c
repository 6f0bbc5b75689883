/* SPDX-License-Identifier: MIT */
/* target/x86/glance.c - length, flags and direction of instructions, remembered by kind.
 *
 * Only for 64-bit code. A kind is: opcode, with or without 0F, REX.W, and of ModRM the middle field and whether
 * it names a register. Where more than that matters (other prefixes, other maps, VEX, shifts by a constant that
 * may be 0, x87, the groups that look at all of ModRM) Zydis is asked each time.
 */
#include "target/x86/glance.h"

#include "dm/base/util.h"
#include "target/x86/x86-int.h"

#include <stdlib.h>

enum { MAX_LEN = 15, KINDS = 16 };

struct kind {
    uint16_t tested, killed;
    uint8_t rest; /* bytes of immediate operands, and one more; 0: not known yet */
    uint8_t flow;
};
enum { MODRM_UNKNOWN, MODRM_NO, MODRM_YES };
struct glances {
    uint8_t modrm[2][256];              /* by map and opcode */
    struct kind kind[2][2][256][KINDS]; /* map, REX.W, opcode, of ModRM */
};

struct glances *glances_new(void)
{
    return xcalloc(1, sizeof(struct glances));
}

void glances_free(struct glances *t)
{
    free(t);
}

/* ---- by Zydis ---- */

static bool conditional_shift(const ZydisDecodedInstruction *in)
{
    bool by_none = !(in->raw.imm[0].value.u & (in->operand_width == 64 ? 63 : 31));
    if (in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        return in->opcode == 0xd2 || in->opcode == 0xd3 ||
               ((in->opcode == 0xc0 || in->opcode == 0xc1) && by_none);
    }
    if (in->opcode_map != ZYDIS_OPCODE_MAP_0F) {
        return false;
    }
    return in->opcode == 0xa5 || in->opcode == 0xad ||
           ((in->opcode == 0xa4 || in->opcode == 0xac) && by_none);
}

/* Flags the instruction surely writes. */
static uint16_t killed_by(const ZydisDecodedInstruction *in)
{
    const ZydisAccessedFlags *f = in->cpu_flags;
    if (!f || in->meta.category == ZYDIS_CATEGORY_STRINGOP ||
        (in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && conditional_shift(in))) {
        return 0;
    }
    return (f->modified | f->set_0 | f->set_1 | f->undefined) & F_ALL;
}

static bool opaque(const ZydisDecodedInstruction *in)
{
    switch (in->meta.category) {
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_RET:
        return true;
    default:
        return in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
               in->meta.isa_ext == ZYDIS_ISA_EXT_INVALID;
    }
}

static enum glance_flow flow_of(const ZydisDecodedInstruction *in)
{
    bool code64 = in->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
    if (in->meta.branch_type == ZYDIS_BRANCH_TYPE_NONE) {
        return GLANCE_NEXT;
    }
    if (!in->raw.imm[0].is_relative || (!code64 && in->operand_width == 16)) {
        return GLANCE_LOST;
    }
    return in->meta.category == ZYDIS_CATEGORY_COND_BR ? GLANCE_BRANCH : GLANCE_JUMP;
}

static bool decode(const ZydisDecoder *d, const uint8_t *bytes, unsigned avail,
                   ZydisDecodedInstruction *in, struct glance *g)
{
    ZydisDecoderContext ctx;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(d, &ctx, bytes, avail, in)) || opaque(in)) {
        return false;
    }
    g->tested = in->cpu_flags ? in->cpu_flags->tested & F_ALL : 0;
    g->killed = killed_by(in);
    g->length = in->length;
    g->flow = (uint8_t)flow_of(in);
    g->rel = g->flow == GLANCE_BRANCH || g->flow == GLANCE_JUMP ? in->raw.imm[0].value.s : 0;
    return true;
}

bool glance_properly(const ZydisDecoder *d, const uint8_t *bytes, unsigned avail, struct glance *g)
{
    ZydisDecodedInstruction in;
    return decode(d, bytes, avail, &in, g);
}

/* ---- by kind ---- */

/* Opcodes of which a kind says too little, a bit each: 16 a row. */
static const uint16_t too_little[2][16] = {
    { [0x2] = 1 << 0x6 | 1 << 0xe, /* prefixes */
      [0x3] = 1 << 0x6 | 1 << 0xe,
      [0x4] = 0xffff,
      [0x6] = 1 << 0x2 | 1 << 0x4 | 1 << 0x5 | 1 << 0x6 | 1 << 0x7,
      [0x8] = 1 << 0xf,
      [0xc] = 1 << 0x0 | 1 << 0x1 | 1 << 0x4 | 1 << 0x5,
      [0xd] = 0xff00,
      [0xf] = 1 << 0x0 | 1 << 0x2 | 1 << 0x3 },
    { [0x0] = 1 << 0x1 | 1 << 0xf,
      [0x1] = 1 << 0xa | 1 << 0xb, /* MPX */
      [0x2] = 0x00ff,
      [0x3] = 1 << 0x8 | 1 << 0xa,
      [0xa] = 1 << 0x4 | 1 << 0x6 | 1 << 0x7 | 1 << 0xc | 1 << 0xe,
      [0xc] = 1 << 0x7 },
};

struct shape {
    bool rex_w, map_0f;
    uint8_t opcode;
    unsigned head; /* bytes up to the opcode */
};

static bool shape_of(const uint8_t *bytes, struct shape *s)
{
    unsigned n = 0;
    bool rex = (bytes[0] & 0xf0) == 0x40;
    s->rex_w = rex && bytes[0] & 8;
    n += rex;
    s->map_0f = bytes[n] == 0x0f;
    n += s->map_0f;
    s->opcode = bytes[n++];
    s->head = n;
    return !(too_little[s->map_0f][s->opcode >> 4] >> (s->opcode & 15) & 1);
}

/* Bytes of ModRM, SIB and displacement. */
static unsigned address_bytes(const uint8_t *modrm)
{
    static const uint8_t disp[4] = { 0, 1, 4, 0 };
    unsigned mod = modrm[0] >> 6, rm = modrm[0] & 7;
    if (mod == 3) {
        return 1;
    }
    bool sib = rm == 4, no_base = (sib ? modrm[1] & 7 : rm) == 5;
    return 1u + sib + (mod == 0 && no_base ? 4 : disp[mod]);
}

static struct kind *kind_of(struct glances *t, const struct shape *s, const uint8_t *bytes,
                            unsigned *before_rest)
{
    unsigned which = 0;
    *before_rest = s->head;
    if (t->modrm[s->map_0f][s->opcode] == MODRM_YES) {
        uint8_t m = bytes[s->head];
        which = (m >> 3 & 7) | (m >= 0xc0 ? 8 : 0);
        *before_rest += address_bytes(bytes + s->head);
    }
    return &t->kind[s->map_0f][s->rex_w][s->opcode][which];
}

static void learn(struct glances *t, const struct shape *s, const uint8_t *bytes,
                  const ZydisDecodedInstruction *in, const struct glance *g)
{
    unsigned before_rest;
    if (in->meta.isa_set == ZYDIS_ISA_SET_RTM) { /* all of ModRM matters */
        return;
    }
    t->modrm[s->map_0f][s->opcode] = in->attributes & ZYDIS_ATTRIB_HAS_MODRM ? MODRM_YES : MODRM_NO;
    *kind_of(t, s, bytes, &before_rest) =
        (struct kind){ .tested = g->tested,
                       .killed = g->killed,
                       .rest = (uint8_t)(g->length - before_rest + 1),
                       .flow = g->flow };
}

static int64_t relative(const uint8_t *end, unsigned bytes)
{
    if (bytes == 1) {
        return (int8_t)end[-1];
    }
    int32_t v;
    memcpy(&v, end - 4, 4);
    return v;
}

bool glance(struct glances *t, const ZydisDecoder *d, const uint8_t *bytes, unsigned avail,
            struct glance *g)
{
    struct shape s;
    unsigned before_rest;
    if (d->machine_mode != ZYDIS_MACHINE_MODE_LONG_64 || avail < MAX_LEN || !shape_of(bytes, &s)) {
        return glance_properly(d, bytes, avail, g);
    }
    const struct kind *k = kind_of(t, &s, bytes, &before_rest);
    if (t->modrm[s.map_0f][s.opcode] == MODRM_UNKNOWN || !k->rest) {
        ZydisDecodedInstruction in;
        bool ok = decode(d, bytes, avail, &in, g);
        if (ok) {
            learn(t, &s, bytes, &in, g);
        }
        return ok;
    }
    unsigned rest = k->rest - 1u;
    *g = (struct glance){ .tested = k->tested,
                          .killed = k->killed,
                          .length = (uint8_t)(before_rest + rest),
                          .flow = k->flow };
    if (k->flow == GLANCE_BRANCH || k->flow == GLANCE_JUMP) {
        g->rel = relative(bytes + g->length, rest);
    }
    return true;
}
