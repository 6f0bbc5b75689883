/* SPDX-License-Identifier: MIT */
/* ioreq/irq-route.h - from lines to the sixteen ISA IRQs: PCI pins folded in over the PIRQ links.
 *
 * For hosts without a hypervisor that does it: the interrupt chips are the sink. Under the machine lock.
 */
#ifndef IOREQ_IRQ_ROUTE_H
#define IOREQ_IRQ_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

/* Where interrupts go: the chips, which this folder does not know. irq: ISA IRQ 0..15 with the PCI
 * links folded in, told on changes only. */
struct soft_sink {
    void (*irq)(void *o, unsigned irq, bool level);
    void (*msi)(void *o, uint64_t addr, uint32_t data);
};

/* Starts as { 0 }. */
struct irq_route {
    const struct soft_sink *sink; /* NULL: nobody listens */
    void *sink_o;
    bool isa[16], told[16];
    uint64_t rises[16]; /* how often each IRQ rose */
    bool intx[256][4];
    unsigned asserted[4]; /* pins that drive each PIRQ */
    uint8_t link[4];      /* ISA IRQ of each PIRQ, 0: none */
};

/* The same as struct machine_host's members of these names. */
void irq_route_isa(struct irq_route *r, unsigned irq, bool level);
void irq_route_intx(struct irq_route *r, unsigned devfn, unsigned pin, bool level);
void irq_route_link(struct irq_route *r, unsigned link, unsigned isa_irq);
void irq_route_msi(struct irq_route *r, uint64_t addr, uint32_t data);

#endif
