/* SPDX-License-Identifier: MIT */
/* hw/timer/hpet.h - high precision event timers. */
#ifndef HW_TIMER_HPET_H
#define HW_TIMER_HPET_H

#include "ioreq/dev.h"

#define HPET_BASE 0xfed00000u
#define HPET_TIMERS 3u

/* Property "legacy" (PTR): told when legacy replacement begins and ends. */
struct hpet_legacy {
    void (*fn)(void *o, bool on);
    void *o;
};
/* The low 32 bits of GENERAL_CAPABILITIES, for firmware. */
uint32_t hpet_block_id(void);

extern const struct dev_class hpet_class;

#endif
