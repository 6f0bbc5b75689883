/* SPDX-License-Identifier: MIT */
/* target/x86/disas.h - x86 code as text: struct tcg_target's disas and host_disas. */
#ifndef TARGET_X86_DISAS_H
#define TARGET_X86_DISAS_H

#include <stdint.h>
#include <stdio.h>

/* flags: enum x86_mode of the block. */
void x86_disas(FILE *out, uint64_t pc, const uint8_t *code, unsigned len, uint32_t flags);
/* The x86-64 generator's output. */
void x86_host_disas(FILE *out, uint64_t pc, const uint8_t *code, unsigned len);

#endif
