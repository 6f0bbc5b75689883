/* SPDX-License-Identifier: MIT */
/* dm/kernel.c - -kernel: which format, and Linux's own.
 *
 * The BIOS runs as usual and then, as its first boot device, a ROM of ours, which copies what lies
 * ready in fw_cfg and jumps: a bzImage to its real-mode entry, a multiboot image and an ELF file
 * with a PVH note to their 32-bit ones. All headers are hostile.
 * Reference: Linux Documentation/x86/boot.rst.
 */
#include "dm/kernel-int.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/options.h"
#include "hw/nvram/fw-cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    IMAGE_MAX = 1 << 30,
    SETUP_SECTS = 0x1f1,
    SYSSIZE = 0x1f4, /* of the rest, in 16 bytes */
    VID_MODE = 0x1fa,
    BOOT_FLAG = 0x1fe,
    MAGIC = 0x202,
    PROTOCOL = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    CMDLINE_SIZE = 0x238,
    HEADER_END = 0x23c,

    LOADED_HIGH = 0x01,
    CAN_USE_HEAP = 0x80,
    LOADER_UNKNOWN = 0xff,
    SECTOR = 512,
};

/* ---- parts ---- */

void kernel_part(struct kernel *k, unsigned addr_item, uint64_t at, const void *data, uint64_t len)
{
    static const struct {
        unsigned addr, size, data;
    } items[] = {
        { FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA },
        { FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA },
        { FW_CFG_CMDLINE_ADDR, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA },
        { FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
        if (items[i].addr == addr_item) {
            fw_cfg_add_u32(k->fw_cfg, (uint16_t)items[i].addr, (uint32_t)at);
            fw_cfg_add_u32(k->fw_cfg, (uint16_t)items[i].size, (uint32_t)len);
            fw_cfg_add(k->fw_cfg, (uint16_t)items[i].data, data, (uint32_t)len);
        }
    }
}

int kernel_rom(struct kernel *k, enum boot_rom_mode mode)
{
    size_t len = (size_t)(boot_rom_end - boot_rom);
    uint8_t *rom = xcalloc(1, len), sum = 0;
    memcpy(rom, boot_rom, len);
    rom[BOOT_ROM_MODE] = (uint8_t)mode;
    for (size_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + rom[i]);
    }
    rom[BOOT_ROM_CHECKSUM] = (uint8_t)-sum;
    int ret = fw_cfg_add_file(k->fw_cfg, KERNEL_ROM_FILE, rom, (uint32_t)len, k->e);
    free(rom);
    return ret;
}

int kernel_place_initrd(struct kernel *k, uint64_t len, uint64_t above, uint64_t max)
{
    uint64_t top = k->below_4g > KERNEL_TOP_RESERVED ? k->below_4g - KERNEL_TOP_RESERVED : 0;
    top = min_u64(top, max);
    if (top < len || ((top - len) & ~0xfffull) < above) {
        return err_set(k->e, -EFBIG,
                       "-initrd: %llu bytes do not fit between the kernel and the end of memory",
                       (unsigned long long)len);
    }
    k->initrd_at = (top - len) & ~0xfffull;
    return 0;
}

/* ---- Linux ---- */

static const char *cmdline_of(const struct kernel *k)
{
    return k->o->append ? k->o->append : "";
}

/* vga= is the boot loader's to read. */
static uint16_t video_mode(const char *cmdline)
{
    static const struct {
        const char *name;
        uint16_t mode;
    } names[] = { { "normal", 0xffff }, { "ext", 0xfffe }, { "ask", 0xfffd } };
    const char *at = strstr(cmdline, "vga=");
    for (size_t i = 0; at && i < ARRAY_SIZE(names); i++) {
        if (strncmp(at + 4, names[i].name, strlen(names[i].name)) == 0) {
            return names[i].mode;
        }
    }
    return at ? (uint16_t)strtoul(at + 4, NULL, 0) : 0xffff;
}

static int check_linux(const struct kernel *k, uint64_t *setup_len)
{
    const uint8_t *h = k->image.bytes;
    unsigned sects = h[SETUP_SECTS] ? h[SETUP_SECTS] : 4, protocol = load_le16(h + PROTOCOL);
    *setup_len = (sects + 1ull) * SECTOR;
    if (protocol < 0x202 || !(h[LOADFLAGS] & LOADED_HIGH)) {
        return err_set(k->e, -EINVAL,
                       "a zImage or a Linux before 2.4.0: known, but Keel does not "
                       "have it yet (boot protocol %u.%02u)",
                       protocol >> 8, protocol & 0xff);
    }
    if (*setup_len >= k->image.len || *setup_len > KERNEL_CMDLINE - KERNEL_SETUP - 0x1000) {
        return err_set(k->e, -EINVAL, "truncated: %zu bytes, of which %llu are set-up code",
                       k->image.len, (unsigned long long)*setup_len);
    }
    uint64_t whole = *setup_len + (protocol >= 0x204 ? load_le32(h + SYSSIZE) * 16ull : 0);
    if (whole > k->image.len + 15) {
        return err_set(k->e, -EINVAL, "truncated: %zu bytes, its header says %llu", k->image.len,
                       (unsigned long long)whole);
    }
    uint64_t most = protocol >= 0x206 ? load_le32(h + CMDLINE_SIZE) : 255;
    if (strlen(cmdline_of(k)) > min_u64(most, KERNEL_CMDLINE_MAX - 1)) {
        return err_set(k->e, -EINVAL, "-append: longer than this kernel's %llu bytes",
                       (unsigned long long)most);
    }
    if (k->image.len - *setup_len > k->below_4g - min_u64(k->below_4g, KERNEL_HIGH)) {
        return err_set(k->e, -EFBIG, "does not fit into memory");
    }
    return 0;
}

static void fill_header(struct kernel *k, uint8_t *h)
{
    h[TYPE_OF_LOADER] = LOADER_UNKNOWN;
    h[LOADFLAGS] |= CAN_USE_HEAP;
    store_le(h + HEAP_END_PTR, 2, KERNEL_CMDLINE - KERNEL_SETUP - 0x200 - 0x400);
    store_le(h + CMD_LINE_PTR, 4, KERNEL_CMDLINE);
    store_le(h + VID_MODE, 2, video_mode(cmdline_of(k)));
    if (k->initrd.len) {
        store_le(h + RAMDISK_IMAGE, 4, k->initrd_at);
        store_le(h + RAMDISK_SIZE, 4, k->initrd.len);
    }
}

static int kernel_linux(struct kernel *k)
{
    uint8_t *h = k->image.bytes;
    uint64_t setup_len;
    int ret = check_linux(k, &setup_len);
    if (ret == 0 && k->o->initrd) {
        ret = blob_read(&k->initrd, k->o->initrd, IMAGE_MAX, k->e);
        ret = ret < 0 ? err_prefix(k->e, "-initrd") : 0;
    }
    if (ret == 0 && k->initrd.len) {
        uint64_t max =
            load_le16(h + PROTOCOL) >= 0x203 ? load_le32(h + INITRD_ADDR_MAX) : 0x37ffffff;
        ret =
            kernel_place_initrd(k, k->initrd.len, KERNEL_HIGH + k->image.len - setup_len, max + 1);
    }
    if (ret < 0) {
        return ret;
    }
    fill_header(k, h);
    kernel_part(k, FW_CFG_SETUP_ADDR, KERNEL_SETUP, h, setup_len);
    kernel_part(k, FW_CFG_KERNEL_ADDR, KERNEL_HIGH, h + setup_len, k->image.len - setup_len);
    kernel_part(k, FW_CFG_CMDLINE_ADDR, KERNEL_CMDLINE, cmdline_of(k), strlen(cmdline_of(k)) + 1);
    kernel_part(k, FW_CFG_INITRD_ADDR, k->initrd_at, k->initrd.bytes, k->initrd.len);
    return kernel_rom(k, BOOT_ROM_LINUX);
}

static bool linux_is(const struct blob *b)
{
    return b->len > HEADER_END && load_le16(b->bytes + BOOT_FLAG) == 0xaa55 &&
           memcmp(b->bytes + MAGIC, "HdrS", 4) == 0;
}

/* ---- which one ---- */

static int load(struct kernel *k)
{
    uint64_t entry;
    int64_t header = multiboot_header(&k->image);
    if (linux_is(&k->image)) {
        return kernel_linux(k);
    }
    if (header >= 0) {
        return kernel_multiboot(k, (uint64_t)header);
    }
    if (elf_is(&k->image) && elf_pvh_entry(&k->image, &entry)) {
        return kernel_pvh(k, entry);
    }
    return err_set(k->e, -EINVAL,
                   elf_is(&k->image) ? "an ELF file without a PVH note or a multiboot header"
                                     : "neither a bzImage, a multiboot image nor an ELF file");
}

int kernel_load(struct device *fw_cfg, const struct options *o, uint64_t below_4g, struct err *e)
{
    struct kernel k = { .fw_cfg = fw_cfg, .o = o, .below_4g = below_4g, .e = e };
    int ret = blob_read(&k.image, o->kernel, IMAGE_MAX, e);
    if (ret == 0) {
        ret = load(&k);
    }
    free(k.image.bytes);
    free(k.initrd.bytes);
    return ret < 0 ? err_prefix(e, "-kernel %s", o->kernel) : 0;
}
