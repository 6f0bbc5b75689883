/* SPDX-License-Identifier: MIT */
/* target/x86/dump.h - a processor as text: `info registers`, `info tlb`, `info mem`, -d cpu.
 *
 * The layout is QEMU's, which people and scripts read. Called while the vCPU is paused or by its own
 * thread; nothing of the guest changes.
 */
#ifndef TARGET_X86_DUMP_H
#define TARGET_X86_DUMP_H

#include <stdbool.h>
#include <stdio.h>

struct x86_cpu;

/* Lines end in \n. fpu: x87, XMM and MXCSR too. */
void x86_dump_registers(const struct x86_cpu *c, bool fpu, FILE *out);
/* Every page the guest's tables map: linear, physical, rights. One line each. */
void x86_dump_tlb(const struct x86_cpu *c, FILE *out);
/* Ranges of equal rights. */
void x86_dump_mem(const struct x86_cpu *c, FILE *out);

#endif
