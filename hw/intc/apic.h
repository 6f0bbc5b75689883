/* SPDX-License-Identifier: MIT */
/* hw/intc/apic.h - the local APICs of all processors, and the bus between them and I/O APICs. */
#ifndef HW_INTC_APIC_H
#define HW_INTC_APIC_H

#include "ioreq/cpu.h"
#include "ioreq/dev.h"

enum apic_mode {
    APIC_FIXED,
    APIC_LOWEST,
    APIC_SMI,
    APIC_NMI = 4,
    APIC_INIT,
    APIC_SIPI,
    APIC_EXTINT,
};
struct apic_message {
    uint32_t dest;
    bool logical; /* dest is a set or cluster, not an id */
    bool wide;    /* dest has 32 bits: sent by an x2APIC */
    uint8_t mode; /* enum apic_mode */
    uint8_t vector;
    bool level; /* level-triggered: the I/O APIC wants to hear of its end */
};
/* Property "pic" (PTR): where an ExtINT's vector comes from. */
struct apic_pic {
    int (*ack)(void *o);
    void *o;
};
/* Property "eoi" (PTR): told of the end of each level-triggered interrupt. */
struct apic_eoi {
    void (*fn)(void *o, uint8_t vector);
    void *o;
};
/* Property "ferr" (PTR): FERR# of any processor. */
struct apic_ferr {
    void (*fn)(void *o, bool level);
    void *o;
};
/* Property "cpus" (U32): how many processors there are, 1 to CPU_MAX. */

void apic_deliver(struct device *d, const struct apic_message *msg);
/* A device's message: addr 0xfeexxxxx. */
void apic_msi(struct device *d, uint64_t addr, uint32_t data);
/* The interrupt controller's INT, wired to LINT0 of every processor. */
void apic_set_pic(struct device *d, bool level);
/* An NMI from outside, wired to LINT1 of every processor. */
void apic_nmi(struct device *d);
/* For cpu_set_intc; o is the device. */
extern const struct cpu_intc apic_cpu_intc;
/* For `info lapic`. */
void apic_info_cpu(const struct device *d, unsigned cpu, void (*put)(void *o, const char *line),
                   void *o);

extern const struct dev_class apic_class;

#endif
