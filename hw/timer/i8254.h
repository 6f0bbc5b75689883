/* SPDX-License-Identifier: MIT */
/* hw/timer/i8254.h - the interval timer. */
#ifndef HW_TIMER_I8254_H
#define HW_TIMER_I8254_H

#include "hw/isa/pcspk.h"
#include "ioreq/dev.h"

/* HPET's legacy replacement takes IRQ 0 over: counter 0's output goes nowhere while off. */
void i8254_irq_off(struct device *d, bool off);
/* Counter 2, for property "timer" of isa-pcspk; filled in for a device made by dev_new. */
void i8254_speaker(struct device *d, struct pcspk_timer *t);

extern const struct dev_class i8254_class;

#endif
