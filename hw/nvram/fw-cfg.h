/* SPDX-License-Identifier: MIT */
/* hw/nvram/fw-cfg.h - the firmware configuration device: what the board tells the firmware.
 *
 * Items are numbered blobs; some of them are also files with names, listed in the directory. The
 * board adds them after dev_init; they are part of the machine's description, not of its state.
 */
#ifndef HW_NVRAM_FW_CFG_H
#define HW_NVRAM_FW_CFG_H

#include "ioreq/dev.h"

enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ACPI_TABLES = 0x8000,
    FW_CFG_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003,
    FW_CFG_HPET = 0x8004,
};
#define FW_CFG_FILES_MAX 256u
#define FW_CFG_NAME_MAX 55u /* bytes of a file's name */

/* Item key is data from now on (copied); adding it again replaces it. */
void fw_cfg_add(struct device *d, uint16_t key, const void *data, uint32_t len);
void fw_cfg_add_u16(struct device *d, uint16_t key, uint16_t v);
void fw_cfg_add_u32(struct device *d, uint16_t key, uint32_t v);
void fw_cfg_add_u64(struct device *d, uint16_t key, uint64_t v);
/* A file: 0, or -errno with e when the name is too long or there are too many. */
int fw_cfg_add_file(struct device *d, const char *name, const void *data, uint32_t len,
                    struct err *e);
/* fill is called whenever the firmware selects that file (which exists), and may add it again with
 * other bytes of the same number: for what depends on what the firmware did before. */
void fw_cfg_on_select(struct device *d, const char *name, void (*fill)(void *o), void *o);
/* For a trace. Every item as it is. */
void fw_cfg_each(const struct device *d,
                 void (*put)(void *o, uint16_t key, const uint8_t *data, uint32_t len), void *o);
/* Part of an item, n bytes from `at` on, of len bytes altogether; the directory is an item too. False when
 * that cannot be. */
bool fw_cfg_put(struct device *d, uint16_t key, uint32_t len, uint32_t at, const uint8_t *data,
                uint32_t n);
bool fw_cfg_has_file(const struct device *d, const char *name);

extern const struct dev_class fw_cfg_class;

#endif
