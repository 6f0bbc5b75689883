/* SPDX-License-Identifier: MIT */
/* hw/timer/mc146818.h - the real-time clock with its battery-backed RAM. */
#ifndef HW_TIMER_MC146818_H
#define HW_TIMER_MC146818_H

#include "ioreq/dev.h"

#define MC146818_BYTES 128

/* Property "content" (PTR): uint8_t[MC146818_BYTES], copied by init; the clock's registers in it
 * are ignored. Property "offset" (PTR): int64_t, seconds from the wall clock to this clock. */

/* HPET's legacy replacement takes IRQ 8 over: the interrupt goes nowhere while off. */
void mc146818_irq_off(struct device *d, bool off);
/* The firmware's shutdown code, CMOS byte 0x0f: 0xfe makes SeaBIOS resume from S3. */
void mc146818_set_byte(struct device *d, unsigned index, uint8_t v);

extern const struct dev_class mc146818_class;

#endif
