/* SPDX-License-Identifier: MIT */
/* tcg/jc.c - a vCPU's own shortcuts: the jump caches and the soft TLBs, entered and emptied.
 *
 * Emptying happens often (each CR3 load); both remember what was filled since, up to a number.
 */
#include "tcg/tcg-int.h"

#include <string.h>

#define JC_LISTED (sizeof(((struct engine_cpu *)0)->jc_list[0]) / sizeof(uint16_t))
#define CODE_LISTED (sizeof(((struct engine_cpu *)0)->code_list[0]) / sizeof(uint16_t))

/* Makes the second cache's entries of a mode wrong, and what calls said of their returns. */
static void grow_old(struct tcg_cpu *cpu, unsigned mode)
{
    struct engine_cpu *e = engine_of(cpu);
    if (e->jc2_ages == UINT32_MAX) {
        memset(cpu->jc2, 0, sizeof(cpu->jc2));
        memset(cpu->ret, 0, sizeof(cpu->ret));
        for (e->jc2_ages = 0; e->jc2_ages < TLB_MODES; e->jc2_ages++) {
            cpu->jc2_age[e->jc2_ages] = e->jc2_ages + 1;
        }
    }
    cpu->jc2_age[mode] = ++e->jc2_ages;
}

void jc_init(struct tcg_cpu *cpu)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        for (unsigned i = 0; JC_EMPTY(i); i++) { /* the others are empty as they come */
            cpu->jcs[m][i].pc = JC_EMPTY(i);
        }
        grow_old(cpu, m);
    }
    tcg_tlb_flush_page(cpu, 0);
    tcg_tlb_flush_page(cpu, (uint64_t)(TLB_SIZE - 1) << 12);
}

static uint32_t place(const struct tcg *t, const struct block *b)
{
    return (uint32_t)((const uint8_t *)b->tb.code - t->cache.rx);
}

static void note_code_page(struct tcg_cpu *cpu, const struct tb_key *k)
{
    struct engine_cpu *e = engine_of(cpu);
    unsigned slot = code_page_slot(k->pc + k->cs_base);
    uint32_t *page = &cpu->code_page[k->mode][slot];
    if (*page == k->page) {
        return;
    }
    *page = k->page;
    if (e->code_filled[k->mode] < CODE_LISTED) {
        e->code_list[k->mode][e->code_filled[k->mode]] = (uint16_t)slot;
    }
    e->code_filled[k->mode]++;
}

static void forget_code_pages(struct tcg_cpu *cpu, unsigned mode)
{
    struct engine_cpu *e = engine_of(cpu);
    if (e->code_filled[mode] > CODE_LISTED) {
        memset(cpu->code_page[mode], 0, sizeof(cpu->code_page[mode]));
    } else {
        for (unsigned i = 0; i < e->code_filled[mode]; i++) {
            cpu->code_page[mode][e->code_list[mode][i]] = 0;
        }
    }
    e->code_filled[mode] = 0;
}

void jc_enter(struct tcg_cpu *cpu, struct block *b)
{
    struct engine_cpu *e = engine_of(cpu);
    unsigned mode = b->tb.key.mode, slot = jc_slot_of(&b->tb.key);
    cpu->jcs[mode][slot] = (struct tcg_jc_entry){ b->tb.key.pc, b->tb.code };
    if (e->jc_filled[mode] < JC_LISTED) {
        e->jc_list[mode][e->jc_filled[mode]] = (uint16_t)slot;
    }
    e->jc_filled[mode]++;
    if (cpu->tcg->jit && !(b->tb.key.cflags & TB_APART)) {
        cpu->jc2[jc2_slot(b->tb.key.pc)] =
            (struct tcg_jc2_entry){ b->tb.key.pc, place(cpu->tcg, b), cpu->jc2_age[mode] };
    }
    note_code_page(cpu, &b->tb.key);
}

void jc_forget(struct tcg *t, struct block *b)
{
    unsigned mode = b->tb.key.mode, slot = jc_slot_of(&b->tb.key), slot2 = jc2_slot(b->tb.key.pc);
    for (struct engine_cpu *e = t->cpus; e; e = e->next) {
        struct tcg_jc_entry *j = &e->cpu->jcs[mode][slot];
        if (j->code == b->tb.code) {
            __atomic_store_n(&j->pc, JC_EMPTY(slot), __ATOMIC_RELEASE);
        }
        struct tcg_jc2_entry *j2 = &e->cpu->jc2[slot2];
        if (t->jit && j2->code == place(t, b)) {
            __atomic_store_n(&j2->pc, JC_EMPTY(slot2), __ATOMIC_RELEASE);
        }
    }
}

const void *jc_apart(const struct tcg_cpu *cpu)
{
    struct tb_key k = { .pc = cpu->pc, .cflags = TB_APART };
    const struct tcg_jc_entry *j = &cpu->jcs[cpu->tlb - cpu->tlbs][jc_slot_of(&k)];
    const void *code = j->code;
    return __atomic_load_n(&j->pc, __ATOMIC_ACQUIRE) == cpu->pc ? code : NULL;
}

void tcg_jc_flush_mode(struct tcg_cpu *cpu, unsigned mode)
{
    struct engine_cpu *e = engine_of(cpu);
    struct tcg_jc_entry *jc = cpu->jcs[mode];
    unsigned n = e->jc_filled[mode];
    if (n <= JC_LISTED) {
        for (unsigned i = 0; i < n; i++) {
            unsigned slot = e->jc_list[mode][i];
            jc[slot].pc = JC_EMPTY(slot);
        }
    } else {
        for (unsigned i = 0; i < JC_SIZE; i++) {
            jc[i].pc = JC_EMPTY(i);
        }
    }
    e->jc_filled[mode] = 0;
    grow_old(cpu, mode);
    forget_code_pages(cpu, mode);
}

void tcg_jc_flush(struct tcg_cpu *cpu)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        tcg_jc_flush_mode(cpu, m);
    }
}

void tcg_tlb_flush(struct tcg_cpu *cpu)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            tcg_tlb_set(&cpu->tlbs[m], (uint64_t)i << 12, NULL, false, false, false);
        }
    }
}

void tcg_tlb_flush_page(struct tcg_cpu *cpu, uint64_t linear)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        tcg_tlb_set(&cpu->tlbs[m], linear, NULL, false, false, false);
    }
}
