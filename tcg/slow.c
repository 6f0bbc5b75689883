/* SPDX-License-Identifier: MIT */
/* tcg/slow.c - atomic operations by C code: for the interpreter, and for the generator where memory is
 * not plain.
 *
 * Plain memory is changed by compare-and-swap, which is atomic against host code of other vCPUs. For what
 * is not plain (a device, two pages) the others stand aside: they may be storing to it without a lock.
 */
#include "tcg/eval.h"
#include "tcg/tcg-int.h"

#include "dm/base/bytes.h"

static void *plain_for_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    unsigned slot = tcg_tlb_slot(linear);
    if (cpu->tlb->write[slot] == ((linear + size - 1) & ~0xfffull)) {
        return tcg_tlb_host(cpu->tlb, linear);
    }
    return cpu->tcg->target->host_write(cpu, linear, size);
}

/* *p = new if it is still old. Any alignment: the processor locks the line or the bus. */
static bool swap_if(void *p, unsigned size, uint64_t old, uint64_t val)
{
    switch (size) {
    case 1:
        return __sync_bool_compare_and_swap((uint8_t *)p, (uint8_t)old, (uint8_t)val);
    case 2:
        return __sync_bool_compare_and_swap((uint16_t *)p, (uint16_t)old, (uint16_t)val);
    case 4:
        return __sync_bool_compare_and_swap((uint32_t *)p, (uint32_t)old, (uint32_t)val);
    default:
        return __sync_bool_compare_and_swap((uint64_t *)p, old, val);
    }
}

struct rmw {
    unsigned op, size; /* IR_MOV: exchange; IR_A_CMPXCHG */
    uint64_t val, expect;
    uint32_t flags;
};

static uint64_t rmw_new(struct rmw *r, uint64_t old)
{
    if (r->op == IR_A_CMPXCHG) {
        return ev_zx(old, r->size) == ev_zx(r->expect, r->size) ? r->val : old;
    }
    if (r->op == IR_MOV) {
        return r->val;
    }
    struct ir_val v = ir_eval(r->op, r->size, old, r->val, 0, r->flags);
    r->flags = v.flags;
    return v.lo;
}

void tcg_alone(struct tcg_cpu *cpu)
{
    if (cpu->tcg->target->alone) {
        cpu->tcg->target->alone(cpu, true);
    }
    engine_of(cpu)->alone = true;
}

void tcg_together(struct tcg_cpu *cpu)
{
    engine_of(cpu)->alone = false;
    if (cpu->tcg->target->alone) {
        cpu->tcg->target->alone(cpu, false);
    }
}

static uint64_t rmw_locked(struct tcg_cpu *cpu, uint64_t linear, struct rmw *r)
{
    const struct tcg_target *t = cpu->tcg->target;
    t->probe_write(cpu, linear, r->size);
    tcg_alone(cpu);
    uint64_t old = t->load(cpu, linear, r->size);
    t->store(cpu, linear, r->size, rmw_new(r, old));
    tcg_together(cpu);
    return old;
}

static uint64_t rmw(struct tcg_cpu *cpu, uint64_t linear, struct rmw *r)
{
    void *p = plain_for_write(cpu, linear, r->size);
    if (!p) {
        return rmw_locked(cpu, linear, r);
    }
    uint32_t flags = r->flags;
    for (;;) {
        uint64_t old = load_le(p, r->size);
        r->flags = flags;
        if (swap_if(p, r->size, old, rmw_new(r, old))) {
            return old;
        }
    }
}

uint64_t slow_rmw(struct tcg_cpu *cpu, uint64_t linear, unsigned op, unsigned size, uint64_t val,
                  uint32_t *flags)
{
    struct rmw r = { .op = op, .size = size, .val = val, .flags = *flags };
    uint64_t old = rmw(cpu, linear, &r);
    *flags = r.flags;
    return old;
}

uint64_t slow_xchg(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t val)
{
    struct rmw r = { .op = IR_MOV, .size = size, .val = val };
    return rmw(cpu, linear, &r);
}

uint64_t slow_cmpxchg(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t expect,
                      uint64_t val)
{
    struct rmw r = { .op = IR_A_CMPXCHG, .size = size, .val = val, .expect = expect };
    return rmw(cpu, linear, &r);
}
