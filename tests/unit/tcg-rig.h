/* SPDX-License-Identifier: MIT */
/* tests/unit/tcg-rig.h - a toy target for the translator: blocks are built by the test, memory is 64 KiB
 * that linear addresses 0x10000.. map to one to one. */
#ifndef TESTS_UNIT_TCG_RIG_H
#define TESTS_UNIT_TCG_RIG_H

#include "tcg/eval.h"
#include "tcg/tcg-int.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RIG_BASE = 0x10000, RIG_BYTES = 0x10000, RIG_CODE = 0x1e000 };

typedef void (*rig_build_fn)(struct ir_block *b, const struct tb_key *key);

struct rig_cpu {
    struct tcg_cpu tcg;
    int raised;     /* what the test's helpers and callbacks noted */
    uint64_t fault; /* linear address */
    unsigned loads, stores;
    bool no_tlb;                /* nothing is plain */
    uint64_t read_only, device; /* linear pages: stores there fault; never plain */
    bool vanish;                /* a load from the device makes everything devices */
    uint32_t state32;
    uint64_t far_page, far_phys; /* the page behind RIP far_page lies there, if that is not 0 */
};

struct rig {
    struct tcg *t;
    struct tcg_cpu *cpu;
    struct rig_cpu *c;
};

/* The test's own: one machine at a time. */
static rig_build_fn rig_build;
static uint8_t rig_mem[RIG_BYTES] __attribute__((aligned(4096)));
enum { RAISED_FAULT = 1, RAISED_ALIGN, RAISED_FP, RAISED_HELPER };

static inline struct rig_cpu *rig_of(struct tcg_cpu *cpu)
{
    return (struct rig_cpu *)cpu;
}

static void rig_translate(struct tcg_cpu *cpu, const struct tb_key *key, struct ir_block *b,
                          uint16_t *len, uint64_t *phys2)
{
    (void)cpu;
    (void)phys2;
    rig_build(b, key);
    b->insns = b->insns ? b->insns : 1;
    *len = 16;
}

static void rig_key(struct tcg_cpu *cpu, struct tb_key *key)
{
    const struct rig_cpu *c = rig_of(cpu);
    key->pc = cpu->pc;
    key->phys = cpu->pc;
    if (c->far_phys && (cpu->pc & ~0xfffull) == c->far_page) {
        key->phys = c->far_phys + (cpu->pc & 0xfff);
    }
}

static void rig_check(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    if (linear < RIG_BASE || linear > RIG_BASE + RIG_BYTES - size) {
        rig_of(cpu)->raised = RAISED_FAULT;
        rig_of(cpu)->fault = linear;
        tcg_raise(cpu);
    }
    uint64_t page = linear & ~0xfffull;
    if (!rig_of(cpu)->no_tlb && page != rig_of(cpu)->device) {
        bool write = !tcg_page_has_code(cpu->tcg, linear) && page != rig_of(cpu)->read_only;
        tcg_tlb_set(cpu->tlb, linear, rig_mem + (page - RIG_BASE), true, write, true);
    }
}

static void rig_check_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    if ((linear & ~0xfffull) == rig_of(cpu)->read_only) {
        rig_of(cpu)->raised = RAISED_FAULT;
        rig_of(cpu)->fault = linear;
        tcg_raise(cpu);
    }
    rig_check(cpu, linear, size);
}

static uint64_t rig_load(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    rig_check(cpu, linear, size);
    rig_of(cpu)->loads++;
    if (rig_of(cpu)->vanish && (linear & ~0xfffull) == rig_of(cpu)->device) {
        rig_of(cpu)->no_tlb = true;
        tcg_tlb_flush(cpu);
    }
    return load_le(rig_mem + (linear - RIG_BASE), size);
}

static void rig_store(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t v)
{
    rig_check_write(cpu, linear, size);
    rig_of(cpu)->stores++;
    if (tcg_invalidate(cpu->tcg, cpu, linear, size)) {
        tcg_retry_single(cpu);
    }
    store_le(rig_mem + (linear - RIG_BASE), size, v);
}

static void rig_load_bytes(struct tcg_cpu *cpu, uint64_t linear, void *buf, unsigned size)
{
    rig_check(cpu, linear, size);
    memcpy(buf, rig_mem + (linear - RIG_BASE), size);
}

static void rig_store_bytes(struct tcg_cpu *cpu, uint64_t linear, const void *buf, unsigned size)
{
    rig_check_write(cpu, linear, size);
    memcpy(rig_mem + (linear - RIG_BASE), buf, size);
}

static void rig_probe_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    rig_check_write(cpu, linear, size);
}

static void *rig_plain(struct tcg_cpu *cpu, uint64_t linear, unsigned size, bool write)
{
    unsigned slot = tcg_tlb_slot(linear);
    uint64_t page = linear & ~0xfffull;
    if (linear < RIG_BASE || linear > RIG_BASE + RIG_BYTES - size ||
        (linear & 0xfff) + size > 4096) {
        return NULL;
    }
    rig_check(cpu, linear, size);
    return (write ? cpu->tlb->write[slot] : cpu->tlb->read[slot]) == page
               ? rig_mem + (linear - RIG_BASE)
               : NULL;
}

static void *rig_host_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    rig_check_write(cpu, linear, size);
    return rig_of(cpu)->no_tlb ? NULL : rig_mem + (linear - RIG_BASE);
}

static void rig_x87_sync(struct tcg_cpu *cpu, bool to_processor)
{
    cpu->x87_live = to_processor;
    if (to_processor) {
        __asm__ volatile("fninit");
    }
}

static void rig_fp_exception(struct tcg_cpu *cpu, enum tcg_unit unit)
{
    (void)unit;
    rig_of(cpu)->raised = RAISED_FP;
    tcg_raise(cpu);
}

static void rig_unaligned(struct tcg_cpu *cpu, uint64_t linear)
{
    rig_of(cpu)->raised = RAISED_ALIGN;
    rig_of(cpu)->fault = linear;
    tcg_raise(cpu);
}

static const struct tcg_target rig_target = {
    .name = "toy",
    .cpu_size = sizeof(struct rig_cpu),
    .translate = rig_translate,
    .key = rig_key,
    .load = rig_load,
    .store = rig_store,
    .load_bytes = rig_load_bytes,
    .store_bytes = rig_store_bytes,
    .probe_write = rig_probe_write,
    .plain = rig_plain,
    .host_write = rig_host_write,
    .x87_sync = rig_x87_sync,
    .fp_exception = rig_fp_exception,
    .unaligned = rig_unaligned,
};

static inline void rig_open_with(struct rig *r, struct tcg_options o)
{
    struct err e = { 0 };
    o.cache_bytes = 8 << 20;
    o.verify = true;
    if (getenv("RIG_DUMP")) {
        o.dump = TCG_DUMP_OP | TCG_DUMP_OP_OPT | TCG_DUMP_OUT;
    }
    r->t = tcg_new(&rig_target, &o, &e);
    if (!r->t) {
        fail_msg("%s", e.msg);
    }
    r->cpu = tcg_cpu_new(r->t);
    r->c = rig_of(r->cpu);
    r->cpu->pc = RIG_CODE;
}

static inline void rig_close(struct rig *r)
{
    tcg_cpu_free(r->cpu);
    tcg_free(r->t);
}

/* Runs what rig_build makes, freshly translated. */
static inline enum tcg_exit rig_run(struct rig *r)
{
    tcg_flush(r->t);
    r->cpu->pc = RIG_CODE;
    r->c->raised = 0;
    return tcg_run(r->cpu);
}

/* The engines and the ways to use them that every test goes through. */
struct rig_way {
    const char *name;
    enum tcg_engine engine;
    unsigned passes;
    enum tcg_slots slots;
};
static const struct rig_way rig_ways[] = {
    { "interpreter", TCG_INTERP, PASS_ALL, 0 },
    { "interpreter, no passes", TCG_INTERP, 0, 0 },
    { "generator by BEXTR", TCG_JIT, PASS_ALL, TCG_SLOTS_BEXTR },
    { "generator by RORX", TCG_JIT, PASS_ALL, TCG_SLOTS_RORX },
    { "generator, no passes", TCG_JIT, 0, TCG_SLOTS_SHR },
};
enum { RIG_WAYS = sizeof(rig_ways) / sizeof(rig_ways[0]) };
static inline unsigned rig_ways_here(void)
{
    return jit_exists ? RIG_WAYS : 2;
}

static inline void rig_open(struct rig *r, const struct rig_way *way)
{
    rig_open_with(r, (struct tcg_options){
                         .engine = way->engine, .passes = way->passes, .slots = way->slots });
}

static uint64_t rig_seed = 88172645463325252ull;
static inline uint64_t rig_random(void)
{
    rig_seed ^= rig_seed << 13;
    rig_seed ^= rig_seed >> 7;
    rig_seed ^= rig_seed << 17;
    return rig_seed;
}
/* A value that is often near an edge. */
static inline uint64_t rig_value(void)
{
    static const uint64_t edges[] = { 0,
                                      1,
                                      2,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0xffff,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x7fffffffffffffff,
                                      0x8000000000000000,
                                      UINT64_MAX };
    uint64_t r = rig_random();
    return r & 3 ? rig_random() : edges[(r >> 8) % 15];
}

#endif
