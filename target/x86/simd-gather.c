/* SPDX-License-Identifier: MIT */
/* target/x86/simd-gather.c - VGATHER*, VPGATHER*, VMASKMOV* and VPMASKMOV*: each element may fault.
 *
 * Helpers, because one host instruction cannot stand for accesses to several pages. A gather that
 * faults keeps the elements it has, with their mask bits cleared, and goes on from there when the
 * instruction runs again; a masked store first makes sure that nothing will fault.
 * Reference: SDM volume 2, VGATHERDPD and VMASKMOV.
 */
#include "target/x86/x86-int.h"

static bool selected(const union tcg_vec *mask, unsigned i, unsigned size)
{
    return mask->b[i * size + size - 1] & 0x80;
}

static void set_element(union tcg_vec *v, unsigned i, unsigned size, uint64_t val)
{
    memcpy(v->b + i * size, &val, size);
}

struct gather {
    union tcg_vec *dst, *mask;
    const union tcg_vec *index;
    unsigned scale;     /* log2 */
    unsigned elements;  /* how many */
    unsigned size;      /* bytes of an element */
    bool wide_index;    /* 8 bytes */
    unsigned addr, seg; /* bytes of an address; segment, 7: none */
};

static struct gather gather_of(struct tcg_cpu *cpu, uint64_t how)
{
    struct gather g = {
        .dst = &cpu->vec[how & 15],
        .index = &cpu->vec[how >> 4 & 15],
        .mask = &cpu->vec[how >> 8 & 15],
        .scale = how >> 12 & 3,
        .size = how >> 15 & 1 ? 8 : 4,
        .wide_index = how >> 16 & 1,
        .addr = how >> 20 & 15,
        .seg = how >> 24 & 7,
    };
    unsigned step = g.wide_index || g.size == 8 ? 8 : 4;
    g.elements = (how >> 14 & 1 ? 32u : 16u) / step;
    return g;
}

static uint64_t gather_address(const struct x86_cpu *c, const struct gather *g, uint64_t base,
                               unsigned i)
{
    int64_t index = g->wide_index ? (int64_t)g->index->q[i] : (int32_t)g->index->d[i];
    uint64_t at = base + ((uint64_t)index << g->scale);
    at = g->addr == 8 ? at : g->addr == 4 ? (uint32_t)at : (uint16_t)at;
    at += g->seg < 6 ? c->tcg.seg_base[g->seg] : 0;
    return c->mode & MODE_CS64 ? at : (uint32_t)at;
}

/* a: base and displacement, b: see helper.h */
X86_HELPER(vgather, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_VECTOR)
{
    struct x86_cpu *c = x86_of(t);
    struct gather g = gather_of(t, b);
    unsigned used = g.elements * g.size;
    (void)cc;
    for (unsigned i = 0; i < g.elements; i++) {
        if (selected(g.mask, i, g.size)) {
            set_element(g.dst, i, g.size, x86_ld(c, gather_address(c, &g, a, i), g.size));
        }
        set_element(g.mask, i, g.size, 0);
    }
    memset(g.dst->b + used, 0, sizeof(*g.dst) - used);
    memset(g.mask, 0, sizeof(*g.mask));
    return 0;
}

static void masked_store(struct x86_cpu *c, uint64_t at, const union tcg_vec *v,
                         const union tcg_vec *mask, unsigned bytes, unsigned size)
{
    for (unsigned i = 0; i < bytes / size; i++) {
        if (selected(mask, i, size)) {
            x86_mmu_probe_write(&c->tcg, at + i * size, size);
        }
    }
    for (unsigned i = 0; i < bytes / size; i++) {
        uint64_t val = 0;
        memcpy(&val, v->b + i * size, size);
        if (selected(mask, i, size)) {
            x86_st(c, at + i * size, size, val);
        }
    }
}

/* a: linear address, b: see helper.h */
X86_HELPER(vmaskmov, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_VECTOR)
{
    struct x86_cpu *c = x86_of(t);
    union tcg_vec *v = &t->vec[b & 15], r = { { 0 } };
    const union tcg_vec *mask = &t->vec[b >> 4 & 15];
    unsigned bytes = b >> 8 & 1 ? 32 : 16, size = b >> 9 & 1 ? 8 : 4;
    (void)cc;
    if (b >> 10 & 1) {
        masked_store(c, a, v, mask, bytes, size);
        return 0;
    }
    for (unsigned i = 0; i < bytes / size; i++) {
        if (selected(mask, i, size)) {
            set_element(&r, i, size, x86_ld(c, a + i * size, size));
        }
    }
    *v = r;
    return 0;
}
