/* SPDX-License-Identifier: MIT */
/* hw/display/vga.h - the display classes, and what the process may hand them. */
#ifndef HW_DISPLAY_VGA_H
#define HW_DISPLAY_VGA_H

#include "ioreq/dev.h"

extern const struct dev_class vga_class;        /* "VGA": Bochs/QEMU standard VGA, 1234:1111 */
extern const struct dev_class cirrus_vga_class; /* "cirrus-vga": CL-GD5446, 1013:00b8 */

#endif
