/* SPDX-License-Identifier: MIT */
/* dm/firmware.c - the BIOS and what it is told: see firmware.h.
 *
 * Reference: docs/specs/fw_cfg in QEMU's documentation; SeaBIOS's documentation of the files it
 * reads ("Runtime configuration").
 */
#include "dm/firmware.h"

#include "dm/backends.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/board-cmos.h"
#include "dm/kernel.h"
#include "dm/options.h"
#include "dm/smbios.h"
#include "hw/acpi/piix4-pm.h"
#include "hw/nvram/fw-cfg.h"
#include "ioreq/soft.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOUR_G (1ull << 32)
#define BIOS_MAX (8u << 20)   /* more would cover the chips below 4 GiB */
#define BIOS_UNIT (64u << 10) /* whole segments */
#define BIOS_LOW (128u << 10) /* seen below 1 MiB as well */

/* ---- files ---- */

static int read_all(int fd, struct blob *b, const char *path, size_t max, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return err_set(e, -EINVAL, "'%s' is not a regular file", path);
    }
    if (st.st_size < 1 || (uint64_t)st.st_size > max) {
        return err_set(e, -EFBIG, "'%s' has %lld bytes, expected 1 to %zu", path,
                       (long long)st.st_size, max);
    }
    b->len = (size_t)st.st_size;
    b->bytes = malloc(b->len);
    if (!b->bytes) {
        return err_set(e, -ENOMEM, "'%s': no memory for %zu bytes", path, b->len);
    }
    for (size_t at = 0; at < b->len;) {
        ssize_t n = read(fd, b->bytes + at, b->len - at);
        if (n <= 0) {
            int code = n < 0 ? -errno : -EIO;
            free(b->bytes);
            b->bytes = NULL;
            return err_set(e, code, "cannot read '%s': %s", path, strerror(-code));
        }
        at += (size_t)n;
    }
    return 0;
}

int blob_read(struct blob *b, const char *path, size_t max, struct err *e)
{
    *b = (struct blob){ 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(e, -errno, "cannot open '%s': %s", path, strerror(errno));
    }
    int ret = read_all(fd, b, path, max, e);
    close(fd);
    return ret;
}

int firmware_read(struct blob *b, const char *name, const struct opt_list *dirs, size_t max,
                  struct err *e)
{
    static const char *const places[] = { "/usr/share/seabios", "/usr/share/qemu",
                                          "/usr/lib/xen/share/qemu", "/usr/lib/ipxe/qemu" };
    char path[512];
    for (size_t i = 0; i < dirs->n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dirs->kv[i]->text, name);
        if (access(path, F_OK) == 0) {
            return blob_read(b, path, max, e);
        }
    }
    if (access(name, F_OK) == 0 || strchr(name, '/')) {
        return blob_read(b, name, max, e);
    }
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        snprintf(path, sizeof(path), "%s/%s", places[i], name);
        if (access(path, F_OK) == 0) {
            return blob_read(b, path, max, e);
        }
    }
    return err_set(e, -ENOENT, "no file '%s' here, in -L directories or in %s", name, places[0]);
}

/* ---- the BIOS ---- */

static int map_bios(struct soft_host *s, const struct blob *b, const char *name, struct err *e)
{
    uint64_t low = b->len < BIOS_LOW ? b->len : BIOS_LOW;
    if (b->len % BIOS_UNIT) {
        return err_set(e, -EINVAL, "'%s' has %zu bytes, expected a multiple of %u", name, b->len,
                       BIOS_UNIT);
    }
    int ret = soft_add_rom(s, FOUR_G - b->len, b->bytes, b->len, e);
    return ret < 0 ? ret : soft_add_rom(s, (1u << 20) - low, b->bytes + (b->len - low), low, e);
}

int firmware_map_bios(struct soft_host *s, const struct options *o, struct err *e)
{
    const char *name = o->bios ? o->bios : "bios-256k.bin";
    struct blob b;
    int ret = firmware_read(&b, name, &o->data_dirs, BIOS_MAX, e);
    if (ret == 0) {
        ret = map_bios(s, &b, name, e);
        free(b.bytes);
    }
    return ret < 0 ? err_prefix(e, "-bios") : 0;
}

/* ---- fw_cfg ---- */

static uint64_t ram_below_4g(const struct options *o)
{
    return min_u64(o->ram_bytes, board_below_4g(o));
}

static void add_uuid(struct device *d, const char *text)
{
    uint8_t uuid[16] = { 0 };
    for (unsigned i = 0; text && i < 16; i++) {
        char hex[3] = { text[0], text[1], 0 };
        uuid[i] = (uint8_t)strtoul(hex, NULL, 16);
        text += 2 + (text[2] == '-');
    }
    fw_cfg_add(d, FW_CFG_UUID, uuid, sizeof(uuid));
}

struct e820_entry {
    uint64_t address, length;
    uint32_t type;
} __attribute__((packed));
enum { E820_RAM = 1 };

static int add_e820(struct device *d, const struct soft_host *s, struct err *e)
{
    struct e820_entry entry[2] = {
        { 0, soft_ram_below_4g(s), E820_RAM },
        { FOUR_G, soft_ram_above_4g(s), E820_RAM },
    };
    uint32_t n = entry[1].length ? 2 : 1;
    return fw_cfg_add_file(d, "etc/e820", entry, n * (uint32_t)sizeof(entry[0]), e);
}

static void add_numbers(struct device *d, const struct options *o)
{
    uint64_t numa[1] = { 0 }; /* no nodes */
    fw_cfg_add_u64(d, FW_CFG_RAM_SIZE, o->ram_bytes);
    fw_cfg_add_u16(d, FW_CFG_NOGRAPHIC, o->nographic);
    fw_cfg_add_u16(d, FW_CFG_NB_CPUS, (uint16_t)o->cpus);
    fw_cfg_add_u16(d, FW_CFG_MAX_CPUS, (uint16_t)o->max_cpus);
    fw_cfg_add_u32(d, FW_CFG_IRQ0_OVERRIDE, 1);
    fw_cfg_add_u16(d, FW_CFG_BOOT_MENU, o->boot_menu);
    fw_cfg_add(d, FW_CFG_NUMA, numa, sizeof(numa));
}

/* S3 and S4 are there and have these sleep types; bit 7: enabled. */
static int add_states(struct device *d, struct err *e)
{
    static const uint8_t states[6] = { 128, 0, 0, 129, 128 | 2, 128 };
    return fw_cfg_add_file(d, "etc/system-states", states, sizeof(states), e);
}

static int add_boot_order(struct device *d, const struct options *o, const struct backends *b,
                          struct err *e)
{
    char *text = boot_list_text(&b->boot, o->kernel ? KERNEL_ROM_PATH : NULL, o->boot_strict);
    int ret = text ? fw_cfg_add_file(d, "bootorder", text, (uint32_t)strlen(text) + 1, e) : 0;
    free(text);
    return ret;
}

/* The signature, then the length in sectors (PCI Firmware Specification 5.1.2). */
static bool is_option_rom(const struct blob *rom)
{
    return rom->len >= 3 && rom->bytes[0] == 0x55 && rom->bytes[1] == 0xaa &&
           rom->bytes[2] * 512u <= rom->len;
}

static int add_option_rom(struct device *d, const struct options *o, struct keyval *kv,
                          struct backends *b, struct err *e)
{
    const char *file = keyval_get(kv, "romfile"), *slash = strrchr(file, '/');
    char name[96], path[104];
    struct blob rom;
    snprintf(name, sizeof(name), "genroms/%.80s", slash ? slash + 1 : file);
    snprintf(path, sizeof(path), "/rom@%s", name);
    int ret = firmware_read(&rom, file, &o->data_dirs, 1u << 20, e);
    if (ret == 0) {
        ret = is_option_rom(&rom)
                  ? fw_cfg_add_file(d, name, rom.bytes, (uint32_t)rom.len, e)
                  : err_set(e, -EINVAL, "'%s' is no option ROM: its %zu bytes do not begin as one",
                            file, (size_t)rom.len);
        free(rom.bytes);
    }
    return ret < 0 ? ret : boot_list_add(&b->boot, path, kv, e);
}

static int add_option_roms(struct device *d, const struct options *o, struct backends *b,
                           struct err *e)
{
    for (size_t i = 0; i < o->option_roms.n; i++) {
        if (add_option_rom(d, o, o->option_roms.kv[i], b, e) < 0) {
            return err_prefix(e, "-option-rom %s", o->option_roms.kv[i]->text);
        }
    }
    return 0;
}

static int add_splash(struct device *d, const char *path, struct err *e)
{
    struct blob b;
    int ret = blob_read(&b, path, 8u << 20, e);
    if (ret == 0) {
        bool jpeg = b.len > 2 && b.bytes[0] == 0xff && b.bytes[1] == 0xd8;
        ret = fw_cfg_add_file(d, jpeg ? "bootsplash.jpg" : "bootsplash.bmp", b.bytes,
                              (uint32_t)b.len, e);
        free(b.bytes);
    }
    return ret < 0 ? err_prefix(e, "-boot splash") : 0;
}

/* The firmware's menu, and what it does when nothing boots. */
static int add_boot_behaviour(struct device *d, const struct options *o, const struct backends *b,
                              struct err *e)
{
    uint8_t ms[4];
    int ret = add_boot_order(d, o, b, e);
    if (ret == 0 && o->splash) {
        ret = add_splash(d, o->splash, e);
    }
    if (ret == 0 && o->splash_ms) {
        store_le(ms, 2, o->splash_ms);
        ret = fw_cfg_add_file(d, "etc/boot-menu-wait", ms, 2, e);
    }
    if (ret == 0 && o->has_reboot_timeout) {
        store_le(ms, 4, o->reboot_timeout);
        ret = fw_cfg_add_file(d, "etc/boot-fail-wait", ms, 4, e);
    }
    return ret;
}

/* ---- ACPI ---- */

static int put_acpi(struct firmware_acpi *t, struct err *e)
{
    struct acpi_files f;
    acpi_build(&t->c, &f);
    int ret = fw_cfg_add_file(t->fw_cfg, "etc/acpi/rsdp", f.rsdp.p, (uint32_t)f.rsdp.len, e);
    if (ret == 0) {
        ret = fw_cfg_add_file(t->fw_cfg, "etc/acpi/tables", f.tables.p, (uint32_t)f.tables.len, e);
    }
    if (ret == 0) {
        ret = fw_cfg_add_file(t->fw_cfg, "etc/table-loader", f.loader.p, (uint32_t)f.loader.len, e);
    }
    free(f.rsdp.p);
    free(f.tables.p);
    free(f.loader.p);
    return ret;
}

/* By now the firmware has put PIIX4's power management block somewhere. */
static void fill_acpi(void *opaque)
{
    struct firmware_acpi *t = opaque;
    struct err ignored; /* the files are there already */
    uint16_t base = pci_cfg_read(t->m, 0, PCI_DEVFN(1, 3), PIIX4_PMBA, 4) & 0xffc0;
    if (base != t->c.pm_base) {
        t->c.pm_base = base;
        put_acpi(t, &ignored);
    }
}

static uint8_t serial_mask(const struct options *o)
{
    uint8_t mask = 0;
    for (size_t i = 0; i < o->serials.n && i < 4; i++) {
        if (strcmp(o->serials.kv[i]->text, "none") != 0) {
            mask |= (uint8_t)(1u << i);
        }
    }
    return mask;
}

static struct firmware_acpi *describe_acpi(struct device *d, struct machine *m,
                                           const struct options *o, struct backends *b)
{
    struct firmware_acpi *t = &b->pc.acpi;
    uint64_t below = ram_below_4g(o);
    t->m = m;
    t->fw_cfg = d;
    t->c = (struct acpi_config){ .cpus = o->cpus,
                                 .max_cpus = o->max_cpus,
                                 .pm_base = 0xb000,
                                 .below_4g = below,
                                 .above_4g = o->ram_bytes - below,
                                 .hpet = !o->no_hpet,
                                 .serials = serial_mask(o),
                                 .floppy = true };
    return t;
}

void firmware_watch_acpi(struct device *d, struct machine *m, const struct options *o,
                         struct backends *b)
{
    static const char *const files[] = { "etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader" };
    struct firmware_acpi *t = describe_acpi(d, m, o, b);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (fw_cfg_has_file(d, files[i])) {
            fw_cfg_on_select(d, files[i], fill_acpi, t);
        }
    }
}

static int add_acpi(struct device *d, struct machine *m, const struct options *o,
                    struct backends *b, struct err *e)
{
    int ret = put_acpi(describe_acpi(d, m, o, b), e);
    if (ret == 0) {
        firmware_watch_acpi(d, m, o, b);
    }
    return ret;
}

/* ---- what the user adds ---- */

static int add_user_file(struct device *d, struct keyval *kv, struct err *e)
{
    const char *name = keyval_get(kv, "name"), *file = keyval_get(kv, "file");
    const char *string = keyval_get(kv, "string");
    struct blob b = { 0 };
    if (string) {
        return fw_cfg_add_file(d, name, string, (uint32_t)strlen(string), e);
    }
    int ret = blob_read(&b, file, 1u << 30, e);
    if (ret == 0) {
        ret = fw_cfg_add_file(d, name, b.bytes, (uint32_t)b.len, e);
    }
    free(b.bytes);
    return ret;
}

static int add_user_files(struct device *d, const struct options *o, struct err *e)
{
    for (size_t i = 0; i < o->fw_cfgs.n; i++) {
        if (add_user_file(d, o->fw_cfgs.kv[i], e) < 0) {
            return err_prefix(e, "-fw_cfg %s", o->fw_cfgs.kv[i]->text);
        }
    }
    return 0;
}

int firmware_offer_kernel(struct device *d, const struct options *o, const struct backends *b,
                          struct err *e)
{
    int ret = kernel_load(d, o, ram_below_4g(o), e);
    return ret < 0 ? ret : add_boot_order(d, o, b, e);
}

int firmware_describe(struct device *d, struct machine *m, const struct options *o,
                      struct backends *b, struct err *e)
{
    uint64_t below_4g = ram_below_4g(o);
    if (o->kernel && kernel_load(d, o, below_4g, e) < 0) {
        return e->code;
    }
    if (add_option_roms(d, o, b, e) < 0 || add_boot_behaviour(d, o, b, e) < 0 ||
        smbios_add(d, o, below_4g, e) < 0) {
        return e->code;
    }
    add_uuid(d, o->uuid);
    add_numbers(d, o);
    if (m->host == &soft_host_ops && add_e820(d, m->h, e) < 0) {
        return e->code;
    }
    int ret = o->acpi ? add_acpi(d, m, o, b, e) : 0;
    if (ret == 0) {
        ret = add_states(d, e);
    }
    return ret < 0 ? ret : add_user_files(d, o, e);
}
