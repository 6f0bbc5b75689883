/* SPDX-License-Identifier: MIT */
/* hw/display/vga.h - the display classes, and what the process may hand them. */
#ifndef HW_DISPLAY_VGA_H
#define HW_DISPLAY_VGA_H

#include "ioreq/dev.h"

extern const struct dev_class vga_class;        /* "VGA": Bochs/QEMU standard VGA, 1234:1111 */
extern const struct dev_class cirrus_vga_class; /* "cirrus-vga": CL-GD5446, 1013:00b8 */

/* The VGA BIOS, for the property "rom". Copied into the ROM BAR by init. SeaBIOS, under Xen too,
 * looks for it nowhere else. len at most 64 KiB; a bigger one is refused. */
struct vga_rom {
    const uint8_t *bytes;
    uint32_t len;
};

#endif
