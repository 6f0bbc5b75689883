/* SPDX-License-Identifier: MIT */
/* dm/hmp-cpu.c - registers and page tables for the monitor.
 *
 * A running vCPU's registers are in the host's: it is made to stand still for the look, and goes on.
 * Waiting for it needs the machine lock given back, which the loop holds around every command.
 */
#include "dm/hmp-cpu.h"

#include "dm/keel.h"
#include "dm/text.h"
#include "target/x86/cpu.h"
#include "target/x86/disas.h"
#include "target/x86/dump.h"
#include "target/x86/vcpu.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

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
             "TB invalidate count %llu\r\n",
             (unsigned long long)s.blocks, (unsigned long long)s.guest_bytes,
             (unsigned long long)s.host_bytes, (unsigned long long)s.chained,
             (unsigned long long)s.flushes, (unsigned long long)s.invalidated);
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
