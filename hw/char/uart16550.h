/* SPDX-License-Identifier: MIT */
/* hw/char/uart16550.h - the classes of hw/char/. */
#ifndef HW_CHAR_UART16550_H
#define HW_CHAR_UART16550_H

#include "ioreq/dev.h"

extern const struct dev_class uart_class;     /* isa-serial */
extern const struct dev_class debugcon_class; /* isa-debugcon */

#endif
