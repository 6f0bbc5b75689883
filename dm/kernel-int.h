/* SPDX-License-Identifier: MIT */
/* dm/kernel-int.h - what the loaders of the kernel formats share. */
#ifndef DM_KERNEL_INT_H
#define DM_KERNEL_INT_H

#include "dm/firmware.h"
#include "dm/kernel.h"
#include "hw/firmware/boot-rom.h"

#include <stdbool.h>

/* Guest-physical addresses. */
enum {
    KERNEL_SETUP = 0x10000, /* real-mode part, or information structure; below it the BIOS */
    KERNEL_CMDLINE = 0x20000,
    KERNEL_HIGH = 0x100000,
    KERNEL_CMDLINE_MAX = 0x10000,
    /* The end of RAM that the BIOS keeps for its tables and itself. */
    KERNEL_TOP_RESERVED = 0x100000,
};

/* A kernel on its way into fw_cfg. */
struct kernel {
    struct device *fw_cfg;
    const struct options *o;
    uint64_t below_4g;
    struct blob image;  /* the file */
    struct blob initrd; /* of -initrd, or all modules */
    uint64_t initrd_at;
    struct err *e;
};

/* Adds data as one of the four parts, by its address item (the size and data items follow from it).
 */
void kernel_part(struct kernel *k, unsigned addr_item, uint64_t at, const void *data, uint64_t len);
/* Adds the ROM. */
int kernel_rom(struct kernel *k, enum boot_rom_mode mode);
/* Finds room for len bytes below max (exclusive), page-aligned and above `above`: sets initrd_at. */
int kernel_place_initrd(struct kernel *k, uint64_t len, uint64_t above, uint64_t max);

/* An image in memory: [at, at + len) of guest RAM, with the bytes of its segments and zeros. */
struct loaded {
    uint8_t *bytes;
    uint64_t at, len, entry;
};
/* Loads the segments of ELF file b at their physical addresses. 0, or -errno with e. */
int elf_load(const struct blob *b, uint64_t below_4g, struct loaded *out, struct err *e);
bool elf_is(const struct blob *b);
/* The entry that a Xen note of type PHYS32_ENTRY names; false: there is none. */
bool elf_pvh_entry(const struct blob *b, uint64_t *entry);

int kernel_multiboot(struct kernel *k, uint64_t header);
int kernel_pvh(struct kernel *k, uint64_t entry);
/* Offset of a multiboot header in b, or -1. */
int64_t multiboot_header(const struct blob *b);

#endif
