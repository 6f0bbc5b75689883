/* SPDX-License-Identifier: MIT */
/* hw/intc/i8259.h - the pair of interrupt controllers behind ISA IRQ 0 to 15. */
#ifndef HW_INTC_I8259_H
#define HW_INTC_I8259_H

#include "ioreq/dev.h"

/* Property "intr" (PTR): who listens to the master's INT output. */
struct i8259_out {
    void (*fn)(void *o, bool level);
    void *o;
};

/* The level of IRQ 0..15; 2 is the cascade and ignored. */
void i8259_set_irq(struct device *d, unsigned irq, bool level);
/* Two INTA cycles: the vector, a spurious one when no request is left. */
int i8259_ack(struct device *d);
/* The INT output now. */
bool i8259_pending(const struct device *d);

extern const struct dev_class i8259_class;

#endif
