/* SPDX-License-Identifier: MIT */
/* dm/board-cmos.c - what the board tells the firmware in CMOS RAM: boot order, drives, memory.
 *
 * SeaBIOS under Xen takes its memory map from hvmloader and the rest from here. Left out: the
 * geometry table of disk types 47 (0x19 to 0x2c), which only BIOSes before 1994 read.
 * Reference: SeaBIOS src/hw/rtc.h; QEMU's hw/i386/pc.c for who expects what.
 */
#include "dm/board-cmos.h"

#include "dm/backends.h"
#include "dm/base/bytes.h"
#include "dm/base/util.h"
#include "dm/options.h"
#include "hw/timer/mc146818.h"

#define DEFAULT_ORDER "cad"

enum {
    CMOS_FLOPPY_TYPE = 0x10,
    CMOS_DISK_TYPE = 0x12,
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_KIB = 0x15,
    CMOS_EXT_KIB = 0x17,
    CMOS_EXT_KIB_AGAIN = 0x30,
    CMOS_ABOVE_16M_64K = 0x34,
    CMOS_BOOT_2 = 0x38, /* third device in the high nibble, bit 0: skip the floppy check */
    CMOS_TRANSLATION = 0x39,
    CMOS_BOOT_1 = 0x3d, /* first device in the low nibble, second in the high one */
    CMOS_ABOVE_4G_64K = 0x5b,
    CMOS_CPUS_LESS_1 = 0x5f,
    EQUIPMENT_FPU = 2,
    EQUIPMENT_PS2 = 4,
    FLOPPY_1440 = 4,
    FLOPPY_2880 = 5,
};

static unsigned boot_nibble(char letter)
{
    switch (letter) {
    case 'a':
    case 'b':
        return 1;
    case 'c':
        return 2;
    case 'd':
        return 3;
    case 'n':
        return 4;
    default:
        return 0;
    }
}

/* Low nibble and high nibble of BOOT_1, high nibble of BOOT_2, whose bit 0 skips the floppy check. */
static void boot_order(uint8_t *bytes, const char *order)
{
    unsigned device[3] = { 0 };
    for (unsigned i = 0, n = 0; order[i] && n < 3; i++) {
        device[n] = boot_nibble(order[i]);
        n += device[n] != 0;
    }
    bytes[CMOS_BOOT_1] = (uint8_t)(device[0] | device[1] << 4);
    bytes[CMOS_BOOT_2] = (uint8_t)(device[2] << 4);
}

/* Xen leaves 256 MiB for PCI. Without it 512 MiB are left and, if that cuts RAM in two, a whole GiB,
 * so that both parts begin and end on 1 GiB. */
uint64_t board_below_4g(const struct options *o)
{
    if (o->accel != ACCEL_TCG) {
        return o->max_ram_below_4g ? o->max_ram_below_4g : 0xf0000000;
    }
    uint64_t most = o->ram_bytes > 0xe0000000 ? 0xc0000000 : 0xe0000000;
    return o->max_ram_below_4g ? min_u64(o->max_ram_below_4g, most) : most;
}

static void memory(uint8_t *bytes, uint64_t ram, uint64_t top)
{
    uint64_t below = min_u64(ram, top), above = ram - below;
    uint64_t ext = below > 1 << 20 ? (below - (1 << 20)) >> 10 : 0;
    uint64_t high = below > 16 << 20 ? (below - (16 << 20)) >> 16 : 0;
    store_le(bytes + CMOS_BASE_KIB, 2, 640);
    store_le(bytes + CMOS_EXT_KIB, 2, min_u64(ext, 0xffff));
    store_le(bytes + CMOS_EXT_KIB_AGAIN, 2, min_u64(ext, 0xffff));
    store_le(bytes + CMOS_ABOVE_16M_64K, 2, min_u64(high, 0xffff));
    store_le(bytes + CMOS_ABOVE_4G_64K, 3, min_u64(above >> 16, 0xffffff));
}

static void floppy(uint8_t *bytes, const struct drive *d)
{
    unsigned type = blk_len(d->blk) > 1474560 ? FLOPPY_2880 : FLOPPY_1440;
    bytes[CMOS_FLOPPY_TYPE] |= (uint8_t)(d->unit ? type : type << 4);
}

/* How INT 13h shall translate geometry: none up to 1024 cylinders of 16 heads and 63 sectors, ECHS
 * ("large") as far as that reaches, else LBA. */
static unsigned translation(uint64_t len)
{
    uint64_t cylinders = len / 512 / 16 / 63;
    return cylinders <= 1024 ? 0 : cylinders * 16 <= 131072 ? 2 : 1;
}

static void disk(uint8_t *bytes, const struct drive *d)
{
    unsigned n = d->bus * 2 + d->unit;
    if (n < 2) {
        bytes[CMOS_DISK_TYPE] |= (uint8_t)(n ? 0x0f : 0xf0);
    }
    bytes[CMOS_TRANSLATION] |= (uint8_t)(translation(blk_len(d->blk)) << (2 * n));
}

static void drives(uint8_t *bytes, const struct backends *b)
{
    unsigned floppies = 0;
    for (const struct drive *d = b->drives; d; d = d->next) {
        if (d->interface == DRIVE_FLOPPY) {
            floppy(bytes, d);
            floppies++;
        } else if (d->interface == DRIVE_IDE && !d->cdrom) {
            disk(bytes, d);
        }
    }
    bytes[CMOS_EQUIPMENT] = EQUIPMENT_FPU | EQUIPMENT_PS2;
    if (floppies) {
        bytes[CMOS_EQUIPMENT] |= (uint8_t)(1 | (floppies - 1) << 6);
    }
}

void board_boot_order(struct device *rtc, const char *order)
{
    uint8_t bytes[MC146818_BYTES] = { 0 };
    boot_order(bytes, order ? order : DEFAULT_ORDER);
    mc146818_set_byte(rtc, CMOS_BOOT_1, bytes[CMOS_BOOT_1]);
    mc146818_set_byte(rtc, CMOS_BOOT_2, bytes[CMOS_BOOT_2]);
}

void board_cmos(uint8_t *bytes, const struct options *o, const struct backends *b)
{
    const char *order = o->boot_once ? o->boot_once : o->boot;
    boot_order(bytes, order ? order : DEFAULT_ORDER);
    memory(bytes, o->ram_bytes, board_below_4g(o));
    drives(bytes, b);
    bytes[CMOS_CPUS_LESS_1] = (uint8_t)(o->cpus - 1);
}
