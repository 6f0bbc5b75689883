/* SPDX-License-Identifier: MIT */
/* target/x86/simd-mmx.c - the MMX registers, which are the fractions of the x87 registers R0..R7.
 *
 * The FXSAVE image holds ST(0)..ST(7), so R(i) stands at ST((i - TOP) mod 8). Reference: SDM volume 3,
 * chapter 12 (MMX technology system programming).
 */
#include "target/x86/simd-int.h"

#include <string.h>

enum { FX_FSW = 2, FX_FTW = 4, FX_ST = 32, FSW_ES = 1 << 7, FSW_TOP_SHIFT = 11 };

static uint8_t *image(struct tcg_cpu *cpu)
{
    return x86_of(cpu)->fpu.image;
}

static uint16_t get_fsw(struct tcg_cpu *cpu)
{
    uint16_t v;
    memcpy(&v, image(cpu) + FX_FSW, 2);
    return v;
}

static unsigned top(struct tcg_cpu *cpu)
{
    return get_fsw(cpu) >> FSW_TOP_SHIFT & 7;
}

static uint8_t *slot(struct tcg_cpu *cpu, unsigned num)
{
    return image(cpu) + FX_ST + 16 * ((num - top(cpu)) & 7);
}

uint64_t mmx_read(struct tcg_cpu *cpu, unsigned num)
{
    uint64_t v;
    memcpy(&v, slot(cpu, num & 7), 8);
    return v;
}

static void set_top_0(struct tcg_cpu *cpu)
{
    uint8_t st[8][16];
    for (unsigned i = 0; i < 8; i++) {
        memcpy(st[i], slot(cpu, i), 16);
    }
    memcpy(image(cpu) + FX_ST, st, sizeof(st));
    uint16_t fsw = (uint16_t)(get_fsw(cpu) & ~(7 << FSW_TOP_SHIFT));
    memcpy(image(cpu) + FX_FSW, &fsw, 2);
}

void mmx_enter(struct tcg_cpu *cpu)
{
    if (top(cpu)) {
        set_top_0(cpu);
    }
    image(cpu)[FX_FTW] = 0xff;
}

void mmx_write(struct tcg_cpu *cpu, unsigned num, uint64_t val)
{
    uint8_t *r = slot(cpu, num & 7);
    memcpy(r, &val, 8);
    r[8] = r[9] = 0xff;
}

void mmx_check_pending(struct tcg_cpu *cpu)
{
    if (get_fsw(cpu) & FSW_ES) {
        tcg_target(cpu->tcg)->fp_exception(cpu, TCG_X87);
    }
}

void x86_sem_emms(SEM_ARGS)
{
    (void)n;
    (void)mem;
    mmx_check_pending(cpu);
    if (top(cpu)) {
        set_top_0(cpu);
    }
    image(cpu)[FX_FTW] = 0;
}
