/* SPDX-License-Identifier: MIT */
/* target/x86/translate-help.c - small helpers that only the front end calls. */
#include "target/x86/cpu.h"
#include "target/x86/dump.h"
#include "target/x86/translate-int.h"
#include "target/x86/vcpu-int.h"

/* -d exec. a: RIP. */
static uint64_t log_exec(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    const struct x86_cpu *x = x86_of(cpu);
    (void)b, (void)c;
    fprintf(x->all->log_to, "Trace %u: [%016llx/%016llx/%08x]\n", x->index,
            (unsigned long long)(x->mode & MODE_CS64 ? 0 : cpu->seg_base[CS]),
            (unsigned long long)a, x->mode);
    return 0;
}
const struct ir_helper x86_h_log_exec = { "log_exec", log_exec, IR_H_READS };

/* -d cpu. a: RIP. */
static uint64_t log_cpu(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    const struct x86_cpu *x = x86_of(cpu);
    (void)b, (void)c;
    cpu->pc = a;
    x86_dump_registers(x, false, x->all->log_to);
    return 0;
}
const struct ir_helper x86_h_log_cpu = { "log_cpu", log_cpu, IR_H_READS | IR_H_F_IN };

/* x87 while CR0.EM or CR0.TS is set. */
static uint64_t no_fpu(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    x86_raise(x86_of(cpu), EX_NM);
}
const struct ir_helper x86_h_no_fpu = { "no_fpu", no_fpu, IR_H_FAULTS };

static uint64_t no_mmx(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    struct x86_cpu *x = x86_of(cpu);
    (void)a, (void)b, (void)c;
    x86_raise(x, x->cr0 & CR0_EM ? EX_UD : EX_NM);
}
const struct ir_helper x86_h_no_mmx = { "no_mmx", no_mmx, IR_H_FAULTS };

static uint64_t no_sse(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    struct x86_cpu *x = x86_of(cpu);
    (void)a, (void)b, (void)c;
    x86_raise(x, (x->cr0 & CR0_EM) || !(x->cr4 & CR4_OSFXSR) ? EX_UD : EX_NM);
}
const struct ir_helper x86_h_no_sse = { "no_sse", no_sse, IR_H_FAULTS };

static uint64_t no_avx(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    struct x86_cpu *x = x86_of(cpu);
    (void)a, (void)b, (void)c;
    x86_raise(x, !(x->cr4 & CR4_OSXSAVE) || (x->xcr0 & 6) != 6 ? EX_UD : EX_NM);
}
const struct ir_helper x86_h_no_avx = { "no_avx", no_avx, IR_H_FAULTS };

/* INTO; a: RIP behind it */
static uint64_t into_if(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    if (cpu->flags & F_OF) {
        x86_raise_soft(x86_of(cpu), EX_OF, a);
    }
    return 0;
}
const struct ir_helper x86_h_into_if = { "into", into_if, IR_H_FAULTS | IR_H_F_IN };

/* With alignment checking on; a: linear address, b: bytes */
static uint64_t check_align(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)c;
    if (a & (b - 1)) {
        x86_raise_code(x86_of(cpu), EX_AC, 0);
    }
    return 0;
}
const struct ir_helper x86_h_check_align = { "check_align", check_align, IR_H_FAULTS };

/* POPF of the supervisor, the whole of it; a: the image, b: RIP behind it */
static uint64_t popf_rare4(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)c;
    return x86_h_popf.fn(cpu, a, 4, b);
}
const struct ir_helper x86_h_popf_rare4 = {
    "popf_rare4", popf_rare4, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT
};

static uint64_t popf_rare8(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)c;
    return x86_h_popf.fn(cpu, a, 8, b);
}
const struct ir_helper x86_h_popf_rare8 = {
    "popf_rare8", popf_rare8, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT
};
