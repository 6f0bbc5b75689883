/* SPDX-License-Identifier: MIT */
/* hw/firmware/boot-rom.h - the option ROM that starts the kernel given with -kernel.
 *
 * The BIOS finds it through fw_cfg as a bootable ROM. It copies SETUP_DATA, KERNEL_DATA,
 * INITRD_DATA and CMDLINE_DATA to where their fw_cfg address items say and jumps. The board patches
 * the mode into its copy of the image and makes the bytes add up to zero again.
 */
#ifndef HW_FIRMWARE_BOOT_ROM_H
#define HW_FIRMWARE_BOOT_ROM_H

#include <stdint.h>

extern const uint8_t boot_rom[], boot_rom_end[];

#define BOOT_ROM_MODE 6     /* offset of the mode byte */
#define BOOT_ROM_CHECKSUM 5 /* offset of the byte that makes the sum zero */
enum boot_rom_mode {
    /* SETUP is Linux's real-mode part, CMDLINE its command line, above it; jumps to SETUP + 0x200
     * in real mode with a stack that ends at CMDLINE. */
    BOOT_ROM_LINUX,
    /* SETUP is a multiboot information structure: the memory map is put behind it, at
     * BOOT_ROM_MAP from its start, and the sizes filled in. Jumps to KERNEL_ENTRY, 32-bit. */
    BOOT_ROM_MULTIBOOT,
    /* SETUP is an hvm_start_info: the memory map likewise, and the address of the RSDP. */
    BOOT_ROM_PVH,
};
#define BOOT_ROM_MAP 0x4000 /* offset of the memory map from SETUP */
#define BOOT_ROM_MAP_MAX 64 /* entries of 24 bytes */

#endif
