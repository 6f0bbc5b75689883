/* SPDX-License-Identifier: MIT */
/* dm/hmp-cpu.c - registers and page tables for the monitor.
 *
 * A running vCPU's registers are in the host's: it is made to stand still for the look, and goes on.
 * Waiting for it needs the machine lock given back, which the loop holds around every command.
 */
#include "dm/hmp-cpu.h"

#include "dm/base/util.h"
#include "dm/hmp-int.h"
#include "dm/keel.h"
#include "dm/text.h"
#include "target/x86/cpu.h"
#include "target/x86/disas.h"
#include "target/x86/dump.h"
#include "target/x86/vcpu.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns whether they ran and have to be let go again. */
static bool hold(struct keel *k)
{
    bool ran = vcpus_running(k->vcpus);
    machine_leave(k->m);
    vcpus_pause(k->vcpus);
    machine_enter(k->m);
    return ran;
}

static void let_go(struct keel *k, bool ran)
{
    if (ran) {
        machine_leave(k->m);
        vcpus_resume(k->vcpus);
        machine_enter(k->m);
    }
}

/* The first n lines of p. Those of the monitor end in CR LF. */
static void put_some_lines(struct text *out, const char *p, unsigned long n)
{
    for (; *p && n; p++) {
        text_put(out, *p == '\n' ? "\r\n" : p, *p == '\n' ? 2 : 1);
        n -= *p == '\n';
    }
}

static void put_lines(struct text *out, const char *p)
{
    put_some_lines(out, p, ULONG_MAX);
}

static void print_registers(const struct x86_cpu *c, FILE *f)
{
    fprintf(f, "\nCPU#%u\n", c->index);
    x86_dump_registers(c, true, f);
}

/* Runs print over the monitor's processor, or over all of them. */
static void look(struct keel *k, bool all, void (*print)(const struct x86_cpu *c, FILE *f),
                 struct text *out)
{
    char *p = NULL;
    size_t len;
    if (!k->vcpus) {
        text_add(out, "the processors are not Keel's\r\n");
        return;
    }
    FILE *f = open_memstream(&p, &len);
    if (!f) {
        text_add(out, "Error: no memory\r\n");
        return;
    }
    bool ran = hold(k);
    for (unsigned i = 0; i < vcpus_count(k->vcpus); i++) {
        if (all || i == k->monitor_cpu) {
            print(vcpus_cpu(k->vcpus, i), f);
        }
    }
    let_go(k, ran);
    fclose(f);
    put_lines(out, p);
    free(p);
}

void hmp_info_registers(struct keel *k, struct text *out)
{
    look(k, true, print_registers, out);
}

void hmp_info_tlb(struct keel *k, struct text *out)
{
    look(k, false, x86_dump_tlb, out);
}

void hmp_info_mem(struct keel *k, struct text *out)
{
    look(k, false, x86_dump_mem, out);
}

void hmp_log(struct keel *k, const char *items, struct text *out)
{
    unsigned dump = 0, log = 0;
    struct err e;
    int ret = 0;
    if (strcmp(items, "help") == 0) {
        options_log_help(out, "\r\n");
    } else if (!k->vcpus) {
        text_add(out, "Error: the processors are not Keel's\r\n");
    } else if ((ret = options_log_items(items, &dump, &log, &e)) < 0) {
        hmp_report(out, ret, &e);
    } else {
        bool ran = hold(k);
        vcpus_set_log(k->vcpus, log, dump);
        let_go(k, ran);
    }
}

void hmp_info_jit(struct keel *k, struct text *out)
{
    struct tcg_stats s;
    if (!k->vcpus) {
        text_add(out, "the processors are not Keel's\r\n");
        return;
    }
    tcg_get_stats(vcpus_tcg(k->vcpus), &s);
    text_add(out,
             "Translation buffer state:\r\nTB count            %llu\r\n"
             "guest bytes         %llu\r\ngen code size       %llu\r\n"
             "direct jump count   %llu\r\n\r\nStatistics:\r\nTB flush count      %llu\r\n"
             "TB region evictions %llu\r\nTB invalidate count %llu\r\n"
             "TB misfit count     %llu\r\n",
             (unsigned long long)s.blocks, (unsigned long long)s.guest_bytes,
             (unsigned long long)s.host_bytes, (unsigned long long)s.chained,
             (unsigned long long)s.flushes, (unsigned long long)s.evictions,
             (unsigned long long)s.invalidated, (unsigned long long)s.misfits);
}

bool hmp_cpu_translate(struct keel *k, uint64_t linear, uint64_t *gpa)
{
    *gpa = linear;
    if (!k->vcpus) {
        return true;
    }
    bool ran = hold(k);
    bool ok = x86_debug_translate(vcpus_cpu(k->vcpus, k->monitor_cpu), linear, gpa);
    let_go(k, ran);
    return ok;
}

/* ---- registers by name ---- */

#define REGISTER(name, member)                                                                     \
    {                                                                                              \
        name, offsetof(struct x86_cpu, member), sizeof(((struct x86_cpu *)0)->member)              \
    }
static const struct {
    const char *name;
    size_t at, size;
} registers[] = {
    REGISTER("rax", tcg.gpr[RAX]),
    REGISTER("rcx", tcg.gpr[RCX]),
    REGISTER("rdx", tcg.gpr[RDX]),
    REGISTER("rbx", tcg.gpr[RBX]),
    REGISTER("rsp", tcg.gpr[RSP]),
    REGISTER("rbp", tcg.gpr[RBP]),
    REGISTER("rsi", tcg.gpr[RSI]),
    REGISTER("rdi", tcg.gpr[RDI]),
    REGISTER("r8", tcg.gpr[8]),
    REGISTER("r9", tcg.gpr[9]),
    REGISTER("r10", tcg.gpr[10]),
    REGISTER("r11", tcg.gpr[11]),
    REGISTER("r12", tcg.gpr[12]),
    REGISTER("r13", tcg.gpr[13]),
    REGISTER("r14", tcg.gpr[14]),
    REGISTER("r15", tcg.gpr[15]),
    REGISTER("rip", tcg.pc),
    REGISTER("pc", tcg.pc),
    REGISTER("cr0", cr0),
    REGISTER("cr2", cr2),
    REGISTER("cr3", cr3),
    REGISTER("cr4", cr4),
    REGISTER("efer", efer),
    REGISTER("cs", seg[CS].sel),
    REGISTER("ds", seg[DS].sel),
    REGISTER("es", seg[ES].sel),
    REGISTER("fs", seg[FS].sel),
    REGISTER("gs", seg[GS].sel),
    REGISTER("ss", seg[SS].sel),
    REGISTER("cs.base", tcg.seg_base[CS]),
    REGISTER("ds.base", tcg.seg_base[DS]),
    REGISTER("es.base", tcg.seg_base[ES]),
    REGISTER("fs.base", tcg.seg_base[FS]),
    REGISTER("gs.base", tcg.seg_base[GS]),
    REGISTER("ss.base", tcg.seg_base[SS]),
};

static bool find_register(const struct x86_cpu *c, const char *name, uint64_t *value)
{
    bool narrow = name[0] == 'e' && strlen(name) == 3; /* "eax" is the low half of "rax" */
    *value = x86_get_eflags(c);
    if (strcmp(name, "eflags") == 0) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        const char *full = registers[i].name;
        if (strcmp(name, full) == 0 ||
            (narrow && full[0] == 'r' && strcmp(name + 1, full + 1) == 0)) {
            *value = 0;
            memcpy(value, (const uint8_t *)c + registers[i].at, registers[i].size);
            *value &= narrow ? UINT32_MAX : UINT64_MAX;
            return true;
        }
    }
    return false;
}

bool hmp_cpu_register(struct keel *k, const char *name, uint64_t *value)
{
    if (!k->vcpus) {
        return false;
    }
    bool ran = hold(k);
    bool found = find_register(vcpus_cpu(k->vcpus, k->monitor_cpu), name, value);
    let_go(k, ran);
    return found;
}

bool hmp_cpu_disas(struct keel *k, uint64_t pc, const uint8_t *code, unsigned len,
                   unsigned long count, struct text *out)
{
    char *p = NULL;
    size_t text_len;
    FILE *f = k->vcpus ? open_memstream(&p, &text_len) : NULL;
    if (!f) {
        return false;
    }
    bool ran = hold(k);
    uint32_t mode = vcpus_cpu(k->vcpus, k->monitor_cpu)->mode;
    let_go(k, ran);
    x86_disas(f, pc, code, len, mode);
    fclose(f);
    put_some_lines(out, p, count);
    free(p);
    return true;
}
