/* SPDX-License-Identifier: MIT */
/* hw/acpi/tables.c - the ACPI tables of the PC, and the loader script that places them.
 *
 * All tables lie behind one another in one file; the firmware copies it where it likes and, told by
 * the script, adds its address to the pointers and makes the checksums right. The FADT is that of
 * ACPI 1.0, which every system accepts, and RSDP offers both RSDT and XSDT.
 * Reference: ACPI 5.0, 5.2; docs/specs of the loader in QEMU's hw/acpi/bios-linker-loader; IA-PC HPET
 * specification 1.0a, 3.2.4; Windows ACPI Emulated Devices Table.
 */
#include "hw/acpi/tables.h"

#include "dm/base/bytes.h"
#include "hw/acpi/aml.h"
#include "hw/timer/hpet.h"

#include <stdlib.h>
#include <string.h>

#define RSDP_FILE "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"

enum {
    HEADER = 36,
    CHECKSUM = 9, /* in a table's header */
    TABLES_MAX = 8,

    CMD_ALLOCATE = 1,
    CMD_ADD_POINTER = 2,
    CMD_ADD_CHECKSUM = 3,
    CMD_LEN = 128,
    FILE_NAME = 56,
    ZONE_HIGH = 1,
    ZONE_FSEG = 2,

    RSDP_LEN = 36,
    RSDP_V1_LEN = 20,
    FADT_LEN = 116,
    FACS_LEN = 64,
    FACS_ALIGN = 64,
    SCI = 9,
};

struct build {
    const struct acpi_config *c;
    struct acpi_files *f;
    uint32_t offset[TABLES_MAX]; /* of the tables that RSDT lists */
    unsigned n;
    uint32_t dsdt, facs;
};

/* ---- the script ---- */

static uint8_t *command(uint8_t *cmd, uint32_t type)
{
    memset(cmd, 0, CMD_LEN);
    store_le(cmd, 4, type);
    return cmd + 4;
}

static void name_file(uint8_t *at, const char *file)
{
    memcpy(at, file, strlen(file));
}

static void allocate(struct build *b, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t cmd[CMD_LEN], *p = command(cmd, CMD_ALLOCATE);
    name_file(p, file);
    store_le(p + FILE_NAME, 4, align);
    p[FILE_NAME + 4] = zone;
    state_put(&b->f->loader, cmd, sizeof(cmd));
}

/* The `size` bytes at offset in file hold an offset into TABLES_FILE: make it an address. */
static void add_pointer(struct build *b, const char *file, uint32_t offset, uint8_t size)
{
    uint8_t cmd[CMD_LEN], *p = command(cmd, CMD_ADD_POINTER);
    name_file(p, file);
    name_file(p + FILE_NAME, TABLES_FILE);
    store_le(p + 2 * FILE_NAME, 4, offset);
    p[2 * FILE_NAME + 4] = size;
    state_put(&b->f->loader, cmd, sizeof(cmd));
}

static void add_checksum(struct build *b, const char *file, uint32_t at, uint32_t start,
                         uint32_t len)
{
    uint8_t cmd[CMD_LEN], *p = command(cmd, CMD_ADD_CHECKSUM);
    name_file(p, file);
    store_le(p + FILE_NAME, 4, at);
    store_le(p + FILE_NAME + 4, 4, start);
    store_le(p + FILE_NAME + 8, 4, len);
    state_put(&b->f->loader, cmd, sizeof(cmd));
}

/* ---- tables ---- */

static void put(struct build *b, uint64_t v, unsigned size)
{
    uint8_t bytes[8];
    store_le(bytes, size, v);
    state_put(&b->f->tables, bytes, size);
}

static void zeros(struct build *b, size_t n)
{
    while (n--) {
        put(b, 0, 1);
    }
}

/* Starts a table; its length is put in by end_table. */
static uint32_t begin_table(struct build *b, const char *signature, uint8_t revision)
{
    uint32_t at = (uint32_t)b->f->tables.len;
    state_put(&b->f->tables, signature, 4);
    put(b, 0, 4);
    put(b, revision, 1);
    put(b, 0, 1);
    state_put(&b->f->tables, "KEEL  KEELPC  ", 14);
    put(b, 1, 4);
    state_put(&b->f->tables, "KEEL", 4);
    put(b, 1, 4);
    return at;
}

static void end_table(struct build *b, uint32_t at, bool listed)
{
    uint32_t len = (uint32_t)b->f->tables.len - at;
    store_le(b->f->tables.p + at + 4, 4, len);
    add_checksum(b, TABLES_FILE, at + CHECKSUM, at, len);
    if (listed) {
        b->offset[b->n++] = at;
    }
}

static void facs(struct build *b)
{
    while (b->f->tables.len % FACS_ALIGN) {
        zeros(b, 1);
    }
    b->facs = (uint32_t)b->f->tables.len;
    state_put(&b->f->tables, "FACS", 4);
    put(b, FACS_LEN, 4);
    zeros(b, FACS_LEN - 8);
}

static void dsdt(struct build *b)
{
    struct aml a = { 0 };
    b->dsdt = begin_table(b, "DSDT", 1); /* 32-bit integers */
    acpi_dsdt(b->c, &a);
    state_put(&b->f->tables, a.out.p, a.out.len);
    free(a.out.p);
    end_table(b, b->dsdt, false);
}

static void fadt(struct build *b)
{
    enum {
        WBINVD = 1 << 0,
        PROC_C1 = 1 << 2,
        SLEEP_BUTTON = 1 << 5, /* is a control method device, which there is none of */
        RTC_S4 = 1 << 7,
    };
    uint32_t pm = b->c->pm_base, at = begin_table(b, "FACP", 1);
    put(b, b->facs, 4);
    put(b, b->dsdt, 4);
    put(b, 1, 1); /* interrupt model: dual PIC and APIC */
    put(b, 0, 1);
    put(b, SCI, 2);
    put(b, 0xb2, 4); /* SMI command port */
    put(b, 0xf1, 1); /* ACPI on */
    put(b, 0xf0, 1); /* ACPI off */
    put(b, 0, 2);    /* no S4BIOS, no P states */
    put(b, pm, 4);   /* PM1a events */
    put(b, 0, 4);
    put(b, pm + 4, 4); /* PM1a control */
    put(b, 0, 4);
    put(b, 0, 4);
    put(b, pm + 8, 4); /* PM timer */
    put(b, 0xafe0, 4); /* GPE0 */
    put(b, 0, 4);
    put(b, 4, 1); /* lengths: events, control, PM2, timer, GPE0, GPE1 */
    put(b, 2, 1);
    put(b, 0, 1);
    put(b, 4, 1);
    put(b, 4, 1);
    put(b, 0, 1);
    put(b, 0, 1); /* where GPE1's events begin */
    put(b, 0, 1);
    put(b, 0xfff, 2); /* C2 and C3 latency: not supported */
    put(b, 0xfff, 2);
    zeros(b, 8);     /* cache flush, duty cycle, RTC alarm bytes */
    put(b, 0x32, 1); /* century */
    zeros(b, 3);
    put(b, WBINVD | PROC_C1 | SLEEP_BUTTON | RTC_S4, 4);
    add_pointer(b, TABLES_FILE, at + HEADER, 4);
    add_pointer(b, TABLES_FILE, at + HEADER + 4, 4);
    end_table(b, at, true);
}

static void override(struct build *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    put(b, 2, 1);
    put(b, 10, 1);
    put(b, 0, 1); /* ISA */
    put(b, irq, 1);
    put(b, gsi, 4);
    put(b, flags, 2);
}

static void madt(struct build *b)
{
    enum { PCAT_COMPAT = 1, HIGH_LEVEL = 0x0d };
    static const uint8_t pci_irqs[] = { 5, SCI, 10, 11 };
    uint32_t at = begin_table(b, "APIC", 1);
    put(b, 0xfee00000, 4);
    put(b, PCAT_COMPAT, 4);
    for (unsigned cpu = 0; cpu < b->c->max_cpus; cpu++) {
        put(b, 0, 1);
        put(b, 8, 1);
        put(b, cpu, 1);
        put(b, cpu, 1);
        put(b, cpu < b->c->cpus, 4);
    }
    put(b, 1, 1); /* I/O APIC */
    put(b, 12, 1);
    put(b, 0, 2);
    put(b, 0xfec00000, 4);
    put(b, 0, 4);
    override(b, 0, 2, 0);
    for (unsigned i = 0; i < sizeof(pci_irqs); i++) {
        override(b, pci_irqs[i], pci_irqs[i], HIGH_LEVEL);
    }
    put(b, 4, 1); /* NMI: LINT1 of all processors */
    put(b, 6, 1);
    put(b, 0xff, 1);
    put(b, 0, 2);
    put(b, 1, 1);
    end_table(b, at, true);
}

static void hpet(struct build *b)
{
    uint32_t at = begin_table(b, "HPET", 1);
    put(b, hpet_block_id(), 4);
    put(b, 0, 4); /* memory, any width */
    put(b, HPET_BASE, 8);
    put(b, 0, 1);
    put(b, 0x80, 2); /* shortest period in ticks */
    put(b, 0, 1);
    end_table(b, at, true);
}

/* To Windows: this is an emulator, where reading the PM timer once is right. */
static void waet(struct build *b)
{
    uint32_t at = begin_table(b, "WAET", 1);
    put(b, 1 << 1, 4);
    end_table(b, at, true);
}

/* RSDT and XSDT: pointers to all listed tables. */
static uint32_t root_table(struct build *b, const char *signature, unsigned size)
{
    unsigned n = b->n;
    uint32_t at = begin_table(b, signature, 1);
    for (unsigned i = 0; i < n; i++) {
        add_pointer(b, TABLES_FILE, (uint32_t)b->f->tables.len, (uint8_t)size);
        put(b, b->offset[i], size);
    }
    end_table(b, at, false);
    return at;
}

static void rsdp(struct build *b, uint32_t rsdt, uint32_t xsdt)
{
    uint8_t r[RSDP_LEN] = "RSD PTR ";
    memcpy(r + 9, "KEEL  ", 6);
    r[15] = 2;
    store_le(r + 16, 4, rsdt);
    store_le(r + 20, 4, RSDP_LEN);
    store_le(r + 24, 8, xsdt);
    state_put(&b->f->rsdp, r, sizeof(r));
    add_pointer(b, RSDP_FILE, 16, 4);
    add_pointer(b, RSDP_FILE, 24, 8);
    add_checksum(b, RSDP_FILE, 8, 0, RSDP_V1_LEN);
    add_checksum(b, RSDP_FILE, 32, 0, RSDP_LEN);
}

void acpi_build(const struct acpi_config *c, struct acpi_files *out)
{
    struct build b = { .c = c, .f = out };
    *out = (struct acpi_files){ 0 };
    allocate(&b, RSDP_FILE, 16, ZONE_FSEG);
    allocate(&b, TABLES_FILE, FACS_ALIGN, ZONE_HIGH);
    facs(&b);
    dsdt(&b);
    fadt(&b);
    madt(&b);
    if (c->hpet) {
        hpet(&b);
    }
    waet(&b);
    uint32_t rsdt = root_table(&b, "RSDT", 4);
    uint32_t xsdt = root_table(&b, "XSDT", 8);
    rsdp(&b, rsdt, xsdt);
}
