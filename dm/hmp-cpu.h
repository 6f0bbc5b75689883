/* SPDX-License-Identifier: MIT */
/* dm/hmp-cpu.h - what the monitor tells of processors that Keel runs itself. */
#ifndef DM_HMP_CPU_H
#define DM_HMP_CPU_H

#include <stdbool.h>
#include <stdint.h>

struct keel;
struct text;

/* info registers, tlb, mem, jit; a machine whose processors are elsewhere says so. */
void hmp_info_registers(struct keel *k, struct text *out);
void hmp_info_tlb(struct keel *k, struct text *out);
void hmp_info_mem(struct keel *k, struct text *out);
void hmp_info_jit(struct keel *k, struct text *out);
/* Logs what -d names as `items`, and nothing else; "none": nothing, "help": tells the names. */
void hmp_log(struct keel *k, const char *items, struct text *out);

/* The chosen vCPU's view of memory: guest-physical address of linear; false when it is not mapped or
 * there is no such vCPU. Without processors of Keel's own linear and physical are the same. */
bool hmp_cpu_translate(struct keel *k, uint64_t linear, uint64_t *gpa);
/* A register of the chosen vCPU by the name that expressions use, "rip" or "eax" or "cr3"; false: there is
 * none, or the processors are not Keel's. */
bool hmp_cpu_register(struct keel *k, const char *name, uint64_t *value);
/* The first `count` instructions of code, in the chosen vCPU's mode, a line each. False: it is not
 * Keel's. */
bool hmp_cpu_disas(struct keel *k, uint64_t pc, const uint8_t *code, unsigned len,
                   unsigned long count, struct text *out);

#endif
