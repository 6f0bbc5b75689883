/* SPDX-License-Identifier: MIT */
/* hw/intc/ioapic.h - the I/O APIC. */
#ifndef HW_INTC_IOAPIC_H
#define HW_INTC_IOAPIC_H

#include "ioreq/dev.h"

struct apic_message;

#define IOAPIC_PINS 24u
#define IOAPIC_BASE 0xfec00000u

/* Property "messages" (PTR): where its messages go. */
struct ioapic_bus {
    void (*deliver)(void *o, const struct apic_message *msg);
    void *o;
};

/* Pin 0..23 is asserted or not, whatever its polarity. */
void ioapic_set_pin(struct device *d, unsigned pin, bool level);
/* A local APIC ended a level-triggered interrupt. */
void ioapic_eoi(struct device *d, uint8_t vector);

extern const struct dev_class ioapic_class;

#endif
