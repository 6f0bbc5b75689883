/* SPDX-License-Identifier: MIT */
/* target/x86/simd-string.c - PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
 * Reference: SDM volume 2, chapter 4.1 "Imm8 control byte operation".
 */
#include "target/x86/simd-int.h"

#include <string.h>

enum { AGG_ANY, AGG_RANGES, AGG_EACH, AGG_ORDERED };

struct strings {
    int a[16], b[16]; /* elements, sign-extended when the immediate says so */
    unsigned la, lb;  /* how many of them are valid */
    unsigned n;       /* 8 or 16 */
};

static int element(const union lane *v, unsigned i, unsigned imm)
{
    switch (imm & 3) {
    case 0:
        return v->u8[i];
    case 1:
        return v->u16[i];
    case 2:
        return v->s8[i];
    }
    return v->s16[i];
}

static unsigned implicit_length(const int *v, unsigned n)
{
    unsigned i = 0;
    while (i < n && v[i]) {
        i++;
    }
    return i;
}

static unsigned explicit_length(uint64_t reg, bool wide, unsigned n)
{
    int64_t v = wide ? (int64_t)reg : (int32_t)reg;
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    return magnitude > n ? n : (unsigned)magnitude;
}

static void get_strings(const struct simd *s, bool lengths, struct strings *t)
{
    t->n = s->imm & 1 ? 8 : 16;
    for (unsigned i = 0; i < t->n; i++) {
        t->a[i] = element(&s->a.lane[0], i, s->imm);
        t->b[i] = element(&s->b.lane[0], i, s->imm);
    }
    if (lengths) {
        t->la = explicit_length(s->cpu->gpr[RAX], s->n->w, t->n);
        t->lb = explicit_length(s->cpu->gpr[RDX], s->n->w, t->n);
    } else {
        t->la = implicit_length(t->a, t->n);
        t->lb = implicit_length(t->b, t->n);
    }
}

static bool any_of(const struct strings *t, unsigned i)
{
    for (unsigned j = 0; j < t->la; j++) {
        if (t->a[j] == t->b[i]) {
            return i < t->lb;
        }
    }
    return false;
}

static bool in_ranges(const struct strings *t, unsigned i)
{
    for (unsigned j = 0; j + 1 < t->la; j += 2) {
        if (t->a[j] <= t->b[i] && t->b[i] <= t->a[j + 1]) {
            return i < t->lb;
        }
    }
    return false;
}

static bool same_at(const struct strings *t, unsigned i)
{
    bool va = i < t->la, vb = i < t->lb;
    return va && vb ? t->a[i] == t->b[i] : va == vb;
}

static bool substring_at(const struct strings *t, unsigned i)
{
    for (unsigned j = 0; i + j < t->n && j < t->la; j++) {
        if (i + j >= t->lb || t->a[j] != t->b[i + j]) {
            return false;
        }
    }
    return true;
}

static uint32_t aggregate(const struct strings *t, unsigned imm)
{
    static bool (*const how[4])(const struct strings *t,
                                unsigned i) = { [AGG_ANY] = any_of,
                                                [AGG_RANGES] = in_ranges,
                                                [AGG_EACH] = same_at,
                                                [AGG_ORDERED] = substring_at };
    uint32_t r = 0;
    for (unsigned i = 0; i < t->n; i++) {
        r |= (uint32_t)how[imm >> 2 & 3](t, i) << i;
    }
    switch (imm >> 4 & 3) {
    case 1:
        return r ^ ((1u << t->n) - 1);
    case 3:
        return r ^ ((1u << t->lb) - 1);
    }
    return r;
}

/* Sets the flags and returns the bits of the matching elements. */
static uint32_t compare(struct simd *s, bool lengths, unsigned *n)
{
    struct strings t;
    get_strings(s, lengths, &t);
    uint32_t r = aggregate(&t, s->imm);
    s->cpu->flags = (uint64_t)(r ? F_CF : 0) | (uint64_t)(t.lb < t.n ? F_ZF : 0) |
                    (uint64_t)(t.la < t.n ? F_SF : 0) | (uint64_t)(r & 1 ? F_OF : 0);
    *n = t.n;
    s->done = true;
    return r;
}

static void to_index(struct simd *s, bool lengths)
{
    unsigned n;
    uint32_t r = compare(s, lengths, &n);
    if (!r) {
        s->cpu->gpr[RCX] = n;
    } else {
        s->cpu->gpr[RCX] = s->imm & 0x40 ? 31 - __builtin_clz(r) : __builtin_ctz(r);
    }
}

static void to_mask(struct simd *s, bool lengths)
{
    unsigned n;
    uint32_t r = compare(s, lengths, &n);
    union lanes d;
    memset(&d, 0, sizeof(d));
    if (!(s->imm & 0x40)) {
        d.u32[0] = r;
    } else {
        for (unsigned i = 0; i < 16; i++) {
            d.u8[i] = r >> (i * n / 16) & 1 ? 0xff : 0;
        }
    }
    simd_write(s->cpu, s->n, RC_VEC, 0, &d, 16);
}

static void whole_pcmpestri(struct simd *s)
{
    to_index(s, true);
}

static void whole_pcmpistri(struct simd *s)
{
    to_index(s, false);
}

static void whole_pcmpestrm(struct simd *s)
{
    to_mask(s, true);
}

static void whole_pcmpistrm(struct simd *s)
{
    to_mask(s, false);
}
SEM_WHOLE(pcmpestri, whole_pcmpestri)
SEM_WHOLE(pcmpistri, whole_pcmpistri)
SEM_WHOLE(pcmpestrm, whole_pcmpestrm)
SEM_WHOLE(pcmpistrm, whole_pcmpistrm)
