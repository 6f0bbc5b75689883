/* SPDX-License-Identifier: MIT */
/* target/x86/x86-int.h - what the system files of target/x86/ share among themselves.
 *
 * Two situations. Inside tcg_run, helpers and callbacks raise by tcg_raise. Outside, while the loop
 * delivers an exception or an interrupt, the delivery has set c->outside and raising jumps there.
 */
#ifndef TARGET_X86_X86_INT_H
#define TARGET_X86_X86_INT_H

#include "dm/base/bytes.h"
#include "target/x86/cpu.h"
#include "target/x86/helper.h"

#include <string.h>

/* Defines the helper x86_h_NAME; the body follows. */
#define X86_HELPER(name, flags)                                                                    \
    static uint64_t do_##name(struct tcg_cpu *t, uint64_t a, uint64_t b, uint64_t cc);             \
    const struct ir_helper x86_h_##name = { #name, do_##name, flags };                             \
    static uint64_t do_##name(struct tcg_cpu *t, uint64_t a, uint64_t b, uint64_t cc)

enum { RAISED_NONE = -1 };

/* ---- memory with chosen rights ---- */

static inline unsigned x86_data_mode(const struct x86_cpu *c)
{
    if (x86_cpl(c) == 3) {
        return TLB_USER;
    }
    return c->eflags & EF_AC ? TLB_KERNEL_AC : TLB_KERNEL;
}
uint64_t x86_ld_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size);
void x86_st_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size, uint64_t val);
/* Raises what a store there would. */
void x86_probe_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size);
/* Host memory of [linear, linear + size) when that is plain and on one page; else NULL. */
const uint8_t *x86_plain_read(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size);
uint8_t *x86_plain_write(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size);
/* Bytes of any count, page by page. */
void x86_read_bytes(struct x86_cpu *c, unsigned mode, uint64_t linear, void *buf, unsigned size);
void x86_write_bytes(struct x86_cpu *c, unsigned mode, uint64_t linear, const void *buf,
                     unsigned size);
/* Physical memory, for SMM. */
uint64_t x86_ld_phys(struct x86_cpu *c, uint64_t phys, unsigned size);
void x86_st_phys(struct x86_cpu *c, uint64_t phys, unsigned size, uint64_t val);

/* Drops write tags of pages in [first, last], guest-physical, in any vCPU's table from any thread. */
void x86_tlb_drop_writes(struct x86_cpu *c, uint64_t first, uint64_t last);

/* fault-kind.c. Raises what a non-canonical address makes of the current instruction: #SS or #GP. */
void x86_raise_noncanonical(struct x86_cpu *c, uint64_t linear) __attribute__((noreturn));
/* Before a memory operand's fault is raised: #MF when the instruction is x87 or MMX and one is
 * pending, since that comes first. */
void x86_mf_before_fault(struct x86_cpu *c);
/* fpu.c: an unmasked x87 exception waits for the next x87 instruction. */
bool x86_x87_pending(const struct x86_cpu *c);

/* The privilege level or EFLAGS.AC changed: other tables from now on. */
void x86_rights_changed(struct x86_cpu *c);

static inline bool x86_canonical(uint64_t a)
{
    return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

/* ---- descriptors ---- */

struct x86_desc {
    uint32_t lo, hi;
    uint64_t at; /* linear address, or 0 */
};
static inline uint64_t desc_base(const struct x86_desc *d)
{
    return d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000u);
}
static inline uint32_t desc_limit(const struct x86_desc *d)
{
    uint32_t l = (d->lo & 0xffff) | (d->hi & 0xf0000);
    return d->hi & 1u << 23 ? l << 12 | 0xfff : l;
}
static inline uint16_t desc_flags(const struct x86_desc *d)
{
    return (uint16_t)(d->hi >> 8 & 0xf0ff);
}
static inline unsigned desc_dpl(const struct x86_desc *d)
{
    return d->hi >> 13 & 3;
}
static inline unsigned desc_type(const struct x86_desc *d)
{
    return d->hi >> 8 & 0xf;
}
static inline bool desc_s(const struct x86_desc *d)
{
    return d->hi & 1u << 12;
}
static inline bool desc_p(const struct x86_desc *d)
{
    return d->hi & 1u << 15;
}
static inline bool desc_is_code(const struct x86_desc *d)
{
    return desc_s(d) && (desc_type(d) & 8);
}
/* False: selector beyond its table, or a null LDT. May raise #PF. */
bool x86_read_desc(struct x86_cpu *c, uint16_t sel, struct x86_desc *d);
/* Sets the accessed bit if it is not. */
void x86_touch_desc(struct x86_cpu *c, struct x86_desc *d);
void x86_load_desc(struct x86_cpu *c, enum x86_seg s, uint16_t sel, const struct x86_desc *d);
/* Checks and fetches a new stack segment for privilege level dpl; #TS or as asked. */
void x86_check_ss(struct x86_cpu *c, uint16_t sel, unsigned dpl, enum x86_vector v,
                  struct x86_desc *d);
/* SS:ESP (or RSP) of an inner level from the TSS. */
void x86_tss_stack(struct x86_cpu *c, unsigned dpl, uint16_t *ss, uint64_t *sp);
/* Hidden parts of a VM86 or real-mode segment. */
void x86_load_seg_vm86(struct x86_cpu *c, enum x86_seg s, uint16_t sel);
void x86_set_cpl(struct x86_cpu *c, unsigned cpl);

enum x86_task_why { TASK_JMP, TASK_CALL, TASK_IRET };
/* Switches to the task whose TSS descriptor is d; next: RIP saved in the old one. */
void x86_task_switch(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, enum x86_task_why why,
                     uint64_t next);

/* ---- stacks ---- */

struct x86_stack {
    struct x86_cpu *c;
    uint64_t sp, base;
    uint64_t mask; /* 0xffff, 0xffffffff, all ones */
    unsigned mode; /* rights */
    unsigned size; /* bytes a push */
};
static inline uint64_t stack_mask(const struct x86_cpu *c)
{
    return c->mode & MODE_CS64 ? UINT64_MAX : c->mode & MODE_SS32 ? 0xffffffffu : 0xffff;
}
static inline void stack_push(struct x86_stack *s, uint64_t val)
{
    s->sp -= s->size;
    uint64_t at = s->base + (s->sp & s->mask);
    x86_st_as(s->c, s->mode, s->mask == UINT64_MAX ? at : (uint32_t)at, s->size, val);
}
static inline uint64_t stack_pop(struct x86_stack *s)
{
    uint64_t at = s->base + (s->sp & s->mask);
    uint64_t v = x86_ld_as(s->c, s->mode, s->mask == UINT64_MAX ? at : (uint32_t)at, s->size);
    s->sp += s->size;
    return v;
}
/* The present stack, for items of size bytes. */
struct x86_stack x86_stack_here(struct x86_cpu *c, unsigned size);
/* Writes back what the pushes and pops did to RSP. */
static inline void stack_commit(const struct x86_stack *s)
{
    uint64_t *sp = &s->c->tcg.gpr[RSP];
    *sp = s->mask == 0xffff ? (*sp & ~0xffffull) | (s->sp & 0xffff) : s->sp & s->mask;
}

/* Faults on an address a far transfer wants to go to. */
static inline void check_limit(struct x86_cpu *c, uint32_t limit, uint64_t rip)
{
    if (rip > limit) {
        x86_raise_code(c, EX_GP, 0);
    }
}

/* A control transfer is done: an interrupt that became deliverable must be looked at. */
static inline uint64_t x86_go(struct x86_cpu *c, uint64_t rip)
{
    uint32_t wanted = c->eflags & EF_IF ? ~0u : ~(uint32_t)PEND_INTR;
    c->tcg.pc = rip;
    if (__atomic_load_n(&c->pending, __ATOMIC_RELAXED) & wanted) {
        __atomic_store_n(&c->tcg.exit_request, 1, __ATOMIC_RELAXED);
    }
    return rip;
}

#define EFLAGS_ARITH 0x8d5u

/* ---- others ---- */

uint64_t x86_tsc(struct x86_cpu *c);
void x86_set_cr0(struct x86_cpu *c, uint64_t v);
void x86_set_cr3(struct x86_cpu *c, uint64_t v);
void x86_set_cr4(struct x86_cpu *c, uint64_t v);
/* #DB with these DR6 bits after the present instruction. */
void x86_debug_trap(struct x86_cpu *c, uint64_t dr6);
/* Whether a data breakpoint lies in [linear, linear + size). */
bool x86_watch_page(const struct x86_cpu *c, uint64_t linear);
void x86_watch_check(struct x86_cpu *c, uint64_t linear, unsigned size, bool write);
void x86_smi(struct x86_cpu *c);
/* SIGFPE in translated code: #XM, #MF, or FERR#. */
void x86_fp_exception(struct tcg_cpu *cpu, enum tcg_unit unit);

#endif
