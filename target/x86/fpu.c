/* SPDX-License-Identifier: MIT */
/* target/x86/fpu.c - x87 for interpreters, and moving the x87 state in and out of the processor.
 *
 * The state is an FXSAVE64 image. An instruction is done by loading the image into the host's own
 * x87 unit, running the same instruction there and storing the image again: 80-bit results, flags and
 * the exceptions that stay pending are exact by construction. What is left out: the pointers to the
 * last instruction and operand (FIP, FDP, FOP) read as 0, since the host's would tell the guest
 * where Keel lies in memory.
 */
#include "target/x86/x86-int.h"

#include <Zydis/Zydis.h>
#include <string.h>

enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_ST_END = 160,
    FSW_ES = 1 << 7
};

struct image {
    uint8_t b[512];
} __attribute__((aligned(64)));

/* x87-x86-64.S */
extern const uint8_t x87_register_forms[], x87_memory_forms[];
void x87_run(void *image, const void *routine, void *mem, uint64_t *flags);

static void copy_x87(uint8_t *to, const uint8_t *from)
{
    memcpy(to, from, FX_MXCSR);
    memcpy(to + FX_ST, from + FX_ST, FX_ST_END - FX_ST);
}

static void forget_pointers(uint8_t *image)
{
    memset(image + FX_FOP, 0, FX_MXCSR - FX_FOP);
}

/* In between, the image holds the present vector registers and MXCSR, so that they stay. */
void x86_x87_sync(struct tcg_cpu *cpu, bool to_processor)
{
    struct x86_fpu *fpu = &x86_of(cpu)->fpu;
    struct image now;
    if (cpu->x87_live == to_processor) {
        return;
    }
    __asm__ volatile("fxsave64 %0" : "=m"(now));
    if (to_processor) {
        copy_x87(now.b, fpu->image);
        __asm__ volatile("fxrstor64 %0" ::"m"(now));
    } else {
        copy_x87(fpu->image, now.b);
        forget_pointers(fpu->image);
        __asm__ volatile("fninit"); /* C code may use the unit: nothing pending, all empty */
    }
    cpu->x87_live = to_processor;
}

/* SDM vol. 3, table 9-1: what power-up and RESET leave. */
void x86_fpu_reset(struct x86_cpu *c)
{
    static const uint16_t fcw = 0x40;
    memset(&c->fpu, 0, sizeof(c->fpu));
    memcpy(c->fpu.image + FX_FCW, &fcw, 2);
    c->fpu.image[FX_FTW] = 0xff; /* all hold +0.0 */
    c->tcg.x87_live = false;
    c->tcg.mxcsr = 0x1f80;
}

bool x86_x87_pending(const struct x86_cpu *c)
{
    uint16_t fsw;
    if (!c->tcg.x87_live) {
        return c->fpu.image[FX_FSW] & FSW_ES;
    }
    __asm__ volatile("fnstsw %0" : "=m"(fsw));
    return fsw & FSW_ES;
}

static const void *routine(const struct ir_native *n)
{
    unsigned op = (n->opcode - 0xd8u) & 7, reg = n->reg & 7, rm = n->rm & 7;
    return n->rm_class == RC_NONE ? x87_memory_forms + 4 * (8 * op + reg)
                                  : x87_register_forms + 4 * (64 * op + 8 * reg + rm);
}

static void run(struct tcg_cpu *cpu, const struct ir_native *n, void *mem)
{
    uint8_t *image = x86_of(cpu)->fpu.image;
    struct image now = { { 0 } };
    uint64_t flags = cpu->flags & F_ALL;
    copy_x87(now.b, image);
    __asm__ volatile("stmxcsr %0" : "=m"(*(uint32_t *)(now.b + FX_MXCSR)));
    x87_run(&now, routine(n), mem, &flags);
    copy_x87(image, now.b);
    forget_pointers(image);
    if (n->fw) {
        cpu->flags = flags & F_ALL;
    }
}

/* Instructions that wait: an exception left by an earlier one is delivered first. */
static void sem_waiting(struct tcg_cpu *cpu, const struct ir_native *n, void *mem)
{
    if (x86_x87_pending(x86_of(cpu))) {
        tcg_target(cpu->tcg)->fp_exception(cpu, TCG_X87);
        return;
    }
    run(cpu, n, mem);
}

x86_sem_fn x86_fpu_semantics(unsigned zydis_mnemonic, const struct ir_native *n)
{
    if (n->encoding != ENC_X87) {
        return NULL;
    }
    switch (zydis_mnemonic) {
    case ZYDIS_MNEMONIC_FNINIT:
    case ZYDIS_MNEMONIC_FNCLEX:
    case ZYDIS_MNEMONIC_FNSTCW:
    case ZYDIS_MNEMONIC_FNSTSW:
    case ZYDIS_MNEMONIC_FENI8087_NOP: /* these three do nothing since the 387 */
    case ZYDIS_MNEMONIC_FDISI8087_NOP:
    case ZYDIS_MNEMONIC_FSETPM287_NOP:
        return run;
    }
    return sem_waiting;
}
