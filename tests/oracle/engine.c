/* SPDX-License-Identifier: MIT */
/* tests/oracle/engine.c - runs tests under the translator: a whole processor in user mode on page
 * tables that look like the native process's memory.
 */
#include "tests/oracle/oracle.h"

#include "dm/base/err.h"
#include "ioreq/soft.h"
#include "target/x86/vcpu.h"
#include "target/x86/x86-int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Guest-physical places. */
enum {
    RAM_BYTES = 0x400000,
    PML4 = 0x1000,
    PDPT = 0x2000,
    PAGE_DIRS = 0x3000, /* for the first GiB */
    CODE_TABLE = 0x4000,
    DATA_TABLE = 0x5000,
    CODE_PHYS = 0x200000,
    DATA_PHYS = 0x210000,
};
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4 };
#define PTE_NX (1ull << 63)
enum { RUNS = 100000 }; /* exits without an end: it hangs */

static struct x86_cpu *cpu;
static struct tcg *tcg;
static uint8_t *ram;

static void set_entry(uint64_t table, uint64_t index, uint64_t entry)
{
    memcpy(ram + table + 8 * index, &entry, 8);
}

static void map(uint64_t table, uint64_t linear, uint64_t phys, unsigned pages, uint64_t rights)
{
    set_entry(PAGE_DIRS, linear >> 21, table | PTE_P | PTE_W | PTE_U);
    for (unsigned i = 0; i < pages; i++) {
        set_entry(table, (linear >> 12 & 511) + i, (phys + 4096u * i) | PTE_P | PTE_U | rights);
    }
}

static void make_tables(void)
{
    set_entry(PML4, 0, PDPT | PTE_P | PTE_W | PTE_U);
    set_entry(PDPT, 0, PAGE_DIRS | PTE_P | PTE_W | PTE_U);
    map(CODE_TABLE, CODE_BASE, CODE_PHYS, CODE_SIZE / 4096, PTE_W);
    map(DATA_TABLE, DATA_BASE, DATA_PHYS, DATA_WRITABLE / 4096, PTE_W | PTE_NX);
    set_entry(DATA_TABLE, DATA_WRITABLE / 4096,
              (DATA_PHYS + DATA_WRITABLE) | PTE_P | PTE_U | PTE_NX);
    fill_readonly(ram + DATA_PHYS + DATA_WRITABLE);
}

/* As Linux has it for its processes. */
static void enter_user_mode(void)
{
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    cpu->cr4 =
        CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE | CR4_UMIP;
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->cr3 = PML4;
    cpu->xcr0 = 7;
    for (unsigned s = 0; s < 6; s++) {
        x86_set_segment(cpu, s, 0, s == GS ? GS_BASE : 0, 0, 0);
    }
    x86_set_segment(cpu, CS, 0x33, 0, UINT32_MAX, 0xfb | SEG_L | SEG_G);
    x86_set_segment(cpu, SS, 0x2b, 0, UINT32_MAX, 0xf3 | SEG_DB | SEG_G);
    cpu->tr.limit = 0; /* no port is allowed */
    x86_mode_changed(cpu);
    x86_tlb_flush(cpu, true);
}

static void die(struct err *e)
{
    fprintf(stderr, "oracle: %s\n", e->msg);
    exit(2);
}

void translator_init(enum engine_kind kind)
{
    struct err e = { 0 };
    struct vcpu_options o = { .cpus = 1, .model = "max", .icount_shift = -1 };
    struct soft_options so = { .ram_bytes = RAM_BYTES };
    struct soft_host *soft = soft_new(&so, &e);
    if (!soft) {
        die(&e);
    }
    struct machine *m = machine_new("oracle", &soft_host_ops, soft);
    soft_attach(soft, m, NULL, NULL);
    o.tcg.engine = kind == ENGINE_TCI ? TCG_INTERP : TCG_JIT;
    o.tcg.passes = kind == ENGINE_JIT0 ? 0 : PASS_ALL;
    struct vcpus *v = vcpus_new(m, soft, &o, &e);
    if (!v) {
        die(&e);
    }
    cpu = vcpus_cpu(v, 0);
    tcg = vcpus_tcg(v);
    ram = soft_ram(soft, 0, RAM_BYTES);
    if (!ram) {
        fprintf(stderr, "oracle: no memory\n");
        exit(2);
    }
    make_tables();
    enter_user_mode();
}

static void load(const struct test *t)
{
    memset(ram + CODE_PHYS, 0xcc, CODE_SIZE);
    memcpy(ram + CODE_PHYS + t->code_at, t->code, t->code_len);
    tcg_invalidate(tcg, NULL, CODE_PHYS, CODE_SIZE);
    fill_data(ram + DATA_PHYS, t);
    memcpy(cpu->tcg.gpr, t->in.gpr, sizeof(cpu->tcg.gpr));
    memcpy(cpu->tcg.vec, t->in.vec, sizeof(cpu->tcg.vec));
    cpu->tcg.pc = t->in.rip;
    cpu->tcg.mxcsr = t->in.mxcsr;
    x86_x87_sync(&cpu->tcg, false);
    memset(cpu->fpu.image, 0, sizeof(cpu->fpu.image));
    memcpy(cpu->fpu.image, t->in.x87, X87_SIZE);
    x86_set_eflags(cpu, t->in.flags | EF_IF, ~0ull);
    cpu->cr2 = 0;
    cpu->db_pending = 0;
}

/* False: went on for too long. */
static bool run(struct outcome *o)
{
    for (unsigned i = 0; i < RUNS; i++) {
        cpu->raised = RAISED_NONE;
        __atomic_store_n(&cpu->tcg.exit_request, 0, __ATOMIC_SEQ_CST);
        enum tcg_exit why = tcg_run(&cpu->tcg);
        if (why == TCG_EXIT_RAISED && cpu->raised >= 0) {
            o->vector = (uint32_t)cpu->raised;
            o->error = cpu->raised_has_code ? cpu->raised_code : 0;
            return true;
        }
        if (cpu->db_pending) {
            o->vector = EX_DB;
            return true;
        }
    }
    return false;
}

static void save(struct outcome *o)
{
    x86_x87_sync(&cpu->tcg, false);
    memcpy(o->out.gpr, cpu->tcg.gpr, sizeof(o->out.gpr));
    memcpy(o->out.vec, cpu->tcg.vec, sizeof(o->out.vec));
    o->out.mxcsr = cpu->tcg.mxcsr;
    o->out.rip = o->vector == EX_BP ? cpu->raised_next : cpu->tcg.pc;
    o->out.flags = x86_get_eflags(cpu);
    memcpy(o->out.x87, cpu->fpu.image, 6);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(o->out.x87 + 32 + 16 * i, cpu->fpu.image + 32 + 16 * i, 10);
    }
    o->cr2 = o->vector == EX_PF ? cpu->cr2 : 0;
    memcpy(o->data, ram + DATA_PHYS, DATA_WRITABLE);
}

void translator_run(const struct test *t, struct outcome *o)
{
    load(t);
    if (!run(o)) {
        o->vector = ENDED_HANG;
        return;
    }
    save(o);
}
