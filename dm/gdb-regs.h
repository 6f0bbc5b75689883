/* SPDX-License-Identifier: MIT */
/* dm/gdb-regs.h - the registers of an x86-64 processor as gdb numbers them, and their description. */
#ifndef DM_GDB_REGS_H
#define DM_GDB_REGS_H

#include <stddef.h>
#include <stdint.h>

struct text;
struct x86_cpu;

#define GDB_REG_MAX_BYTES 32

unsigned gdb_reg_count(void);
/* Bytes of register n, 0 when there is no such register. */
unsigned gdb_reg_bytes(unsigned n);
/* Little-endian, gdb_reg_bytes(n) of them. */
void gdb_reg_read(const struct x86_cpu *c, unsigned n, uint8_t *buf);
void gdb_reg_write(struct x86_cpu *c, unsigned n, const uint8_t *buf);
/* target.xml: the gdb manual's appendix "Standard Target Features", i386. */
void gdb_reg_describe(struct text *out);

#endif
