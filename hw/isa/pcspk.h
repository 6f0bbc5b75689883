/* SPDX-License-Identifier: MIT */
/* hw/isa/pcspk.h - system control port B, and the timer channel behind it. */
#ifndef HW_ISA_PCSPK_H
#define HW_ISA_PCSPK_H

#include "ioreq/dev.h"

/* Property "timer" (PTR): counter 2 of the machine's interval timer. */
struct pcspk_timer {
    void (*gate)(void *opaque, bool level);
    bool (*out)(void *opaque);
    void *opaque;
};

extern const struct dev_class pcspk_class;

#endif
