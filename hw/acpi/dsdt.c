/* SPDX-License-Identifier: MIT */
/* hw/acpi/dsdt.c - what the DSDT says about an i440FX/PIIX3/PIIX4 board.
 *
 * The PCI root with its windows and interrupt routing, four link devices in front of PIIX3's PIRQ
 * registers, the ISA devices, hot-plug of PCI slots (GPE 1) and processors (GPE 2) as PIIX4's
 * registers have it, sleep states.
 *
 * Left out: thermal zones, batteries, processor power states beyond C1.
 * Reference: ACPI 5.0, chapters 5 and 6; docs/hw/piix4-pm.md for the hot-plug registers.
 */
#include "hw/acpi/aml.h"
#include "hw/acpi/tables.h"

#include <stdio.h>

enum {
    PCI_WINDOW_END = 0xfebfffff, /* the I/O APIC follows */
    FIRST_SLOT = 2,              /* 0 and 1 are the chipset's */
    SLOTS = 32,
    PIRQ_OFF = 0x80,
    STA_DISABLED = 0x09,
    STA_ENABLED = 0x0b,
    STA_PRESENT = 0x0f,
    NOTIFY_CHECK = 1,
    NOTIFY_EJECT = 3,
};
static const uint32_t link_irqs[] = { 5, 10, 11 };

/* ---- PCI ---- */

static void pci_windows(const struct acpi_config *c, struct aml *a)
{
    aml_op(a, AML_NAME);
    aml_path(a, "_CRS");
    aml_resources(a);
    aml_res_bus(a, 0, 255);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_window(a, 0x0000, 0x0cf7);
    aml_res_io_window(a, 0x0d00, 0xffff);
    aml_res_memory_window(a, 0xa0000, 0xbffff, false);
    aml_res_memory_window(a, c->below_4g < 0x80000000 ? 0x80000000 : c->below_4g, PCI_WINDOW_END,
                          false);
    aml_resources_end(a);
}

/* Package of 128: pin n of a slot goes to link (slot + n - 1) mod 4, as the slots are wired. */
static void pci_routing(struct aml *a)
{
    aml_op(a, AML_NAME);
    aml_path(a, "_PRT");
    aml_package(a, SLOTS * 4);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            char link[5] = { 'L', 'N', 'K', (char)('A' + ((slot + pin + 3) & 3)), '\0' };
            aml_package(a, 4);
            aml_int(a, (uint64_t)slot << 16 | 0xffff);
            aml_int(a, pin);
            aml_path(a, link);
            aml_int(a, 0);
            aml_end(a);
        }
    }
    aml_end(a);
}

/* Slots that may come and go: _SUN names the bit in the hot-plug registers. */
static void pci_slot(struct aml *a, unsigned slot)
{
    char name[5];
    snprintf(name, sizeof(name), "S%02X_", (slot << 3) & 0xff);
    aml_device(a, name);
    aml_name_int(a, "_ADR", (uint64_t)slot << 16);
    aml_name_int(a, "_SUN", slot);
    aml_method(a, "_EJ0", 1);
    aml_op(a, AML_STORE);
    aml_op(a, AML_SHIFT_LEFT);
    aml_int(a, 1);
    aml_int(a, slot);
    aml_int(a, 0); /* no target */
    aml_path(a, "PCEJ");
    aml_end(a);
    aml_end(a);
}

/* DVNT(slots, event): tells each slot of a set. */
static void pci_notify(struct aml *a)
{
    aml_method(a, "DVNT", 2);
    for (unsigned slot = FIRST_SLOT; slot < SLOTS; slot++) {
        char name[5];
        snprintf(name, sizeof(name), "S%02X_", (slot << 3) & 0xff);
        aml_if(a);
        aml_op(a, AML_AND);
        aml_op(a, AML_ARG0);
        aml_int(a, 1ull << slot);
        aml_int(a, 0);
        aml_op(a, AML_NOTIFY);
        aml_path(a, name);
        aml_op(a, AML_ARG0 + 1);
        aml_end(a);
    }
    aml_end(a);
}

static void pci_hotplug(struct aml *a)
{
    aml_region(a, "PCST", AML_SYSTEM_IO, 0xae00, 12);
    aml_field(a, "PCST", 4);
    aml_field_unit(a, "PCIU", 32);
    aml_field_unit(a, "PCID", 32);
    aml_field_unit(a, "PCEJ", 32);
    aml_end(a);
    for (unsigned slot = FIRST_SLOT; slot < SLOTS; slot++) {
        pci_slot(a, slot);
    }
    pci_notify(a);
    aml_method(a, "PCNT", 0);
    aml_path(a, "DVNT");
    aml_path(a, "PCIU");
    aml_int(a, NOTIFY_CHECK);
    aml_path(a, "DVNT");
    aml_path(a, "PCID");
    aml_int(a, NOTIFY_EJECT);
    aml_end(a);
}

/* ---- ISA ---- */

struct isa_device {
    const char *name, *id;
    uint16_t port[2];
    uint8_t ports[2];
    uint8_t irq; /* 0: none */
};

static void isa_device(struct aml *a, const struct isa_device *d, unsigned uid)
{
    aml_device(a, d->name);
    aml_name_id(a, "_HID", d->id);
    if (uid) {
        aml_name_int(a, "_UID", uid);
    }
    aml_name_int(a, "_STA", STA_PRESENT);
    aml_op(a, AML_NAME);
    aml_path(a, "_CRS");
    aml_resources(a);
    for (unsigned i = 0; i < 2; i++) {
        if (d->ports[i]) {
            aml_res_io(a, d->port[i], d->ports[i]);
        }
    }
    if (d->irq) {
        aml_res_irq(a, d->irq);
    }
    if (d->irq == 6) {
        aml_res_dma(a, 2);
    }
    aml_resources_end(a);
    aml_end(a);
}

static void isa_bridge(const struct acpi_config *c, struct aml *a)
{
    static const struct isa_device fixed[] = {
        { "RTC_", "PNP0B00", { 0x70, 0 }, { 8, 0 }, 8 },
        { "KBD_", "PNP0303", { 0x60, 0x64 }, { 1, 1 }, 1 },
        { "MOU_", "PNP0F13", { 0, 0 }, { 0, 0 }, 12 },
    };
    static const struct isa_device floppy = { "FDC0", "PNP0700", { 0x3f2, 0x3f7 }, { 4, 1 }, 6 };
    static const struct isa_device serial[] = {
        { "COM1", "PNP0501", { 0x3f8, 0 }, { 8, 0 }, 4 },
        { "COM2", "PNP0501", { 0x2f8, 0 }, { 8, 0 }, 3 },
        { "COM3", "PNP0501", { 0x3e8, 0 }, { 8, 0 }, 4 },
        { "COM4", "PNP0501", { 0x2e8, 0 }, { 8, 0 }, 3 },
    };
    aml_device(a, "ISA_");
    aml_name_int(a, "_ADR", 0x10000);
    aml_region(a, "PIRQ", AML_PCI_CONFIG, 0x60, 4);
    aml_field(a, "PIRQ", 1);
    aml_field_unit(a, "PRQ0", 8);
    aml_field_unit(a, "PRQ1", 8);
    aml_field_unit(a, "PRQ2", 8);
    aml_field_unit(a, "PRQ3", 8);
    aml_end(a);
    for (unsigned i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        isa_device(a, &fixed[i], 0);
    }
    if (c->floppy) {
        isa_device(a, &floppy, 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        if (c->serials >> i & 1) {
            isa_device(a, &serial[i], i + 1);
        }
    }
    aml_end(a);
}

/* ---- interrupt links ---- */

/* IQST(reg): _STA of a link; IQCR(reg): its _CRS. */
static void link_helpers(struct aml *a)
{
    static const uint32_t none = 0;
    aml_method(a, "IQST", 1);
    aml_if(a);
    aml_op(a, AML_AND);
    aml_int(a, PIRQ_OFF);
    aml_op(a, AML_ARG0);
    aml_int(a, 0);
    aml_op(a, AML_RETURN);
    aml_int(a, STA_DISABLED);
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_int(a, STA_ENABLED);
    aml_end(a);

    aml_method(a, "IQCR", 1 | AML_SERIALIZED); /* it makes a name */
    aml_op(a, AML_NAME);
    aml_path(a, "PRR0");
    aml_resources(a);
    aml_res_interrupts(a, &none, 1);
    aml_resources_end(a);
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_path(a, "PRR0");
    aml_int(a, 5); /* the interrupt number in the descriptor */
    aml_path(a, "PRRI");
    aml_if(a);
    aml_op(a, AML_LLESS);
    aml_op(a, AML_ARG0);
    aml_int(a, PIRQ_OFF);
    aml_op(a, AML_STORE);
    aml_op(a, AML_ARG0);
    aml_path(a, "PRRI");
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_path(a, "PRR0");
    aml_end(a);
}

static void call_with_reg(struct aml *a, const char *method, const char *calls, const char *reg)
{
    aml_method(a, method, 0);
    aml_op(a, AML_RETURN);
    aml_path(a, calls);
    aml_path(a, reg);
    aml_end(a);
}

static void link_device(struct aml *a, unsigned n)
{
    char name[5] = { 'L', 'N', 'K', (char)('A' + n), '\0' };
    char reg[24];
    snprintf(reg, sizeof(reg), "\\_SB.PCI0.ISA_.PRQ%u", n);
    aml_device(a, name);
    aml_name_id(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", n);
    aml_op(a, AML_NAME);
    aml_path(a, "_PRS");
    aml_resources(a);
    aml_res_interrupts(a, link_irqs, sizeof(link_irqs) / sizeof(link_irqs[0]));
    aml_resources_end(a);
    call_with_reg(a, "_STA", "IQST", reg);
    call_with_reg(a, "_CRS", "IQCR", reg);
    aml_method(a, "_DIS", 0);
    aml_op(a, AML_STORE);
    aml_op(a, AML_OR);
    aml_path(a, reg);
    aml_int(a, PIRQ_OFF);
    aml_int(a, 0);
    aml_path(a, reg);
    aml_end(a);
    aml_method(a, "_SRS", 1);
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_op(a, AML_ARG0);
    aml_int(a, 5);
    aml_path(a, "PRRI");
    aml_op(a, AML_STORE);
    aml_path(a, "PRRI");
    aml_path(a, reg);
    aml_end(a);
    aml_end(a);
}

/* ---- processors ---- */

static void processor_name(char *name, unsigned cpu)
{
    snprintf(name, 5, "CP%02X", cpu & 0xff);
}

static void call_with_cpu(struct aml *a, const char *method, const char *calls, unsigned cpu)
{
    aml_method(a, method, 0);
    aml_op(a, AML_RETURN);
    aml_path(a, calls);
    aml_int(a, cpu);
    aml_end(a);
}

/* Local `to` = CPON[index] */
static void load_present(struct aml *a, enum aml_op index_op, enum aml_op to)
{
    aml_op(a, AML_STORE);
    aml_op(a, AML_DEREF_OF);
    aml_op(a, AML_INDEX);
    aml_path(a, "CPON");
    aml_op(a, index_op);
    aml_int(a, 0);
    aml_op(a, to);
}

/* CPST(cpu): _STA; CPMA(cpu): _MAT, a local APIC structure. */
static void processor_helpers(struct aml *a)
{
    static const uint8_t lapic[8] = { 0, 8 };
    aml_method(a, "CPST", 1);
    load_present(a, AML_ARG0, AML_LOCAL0);
    aml_if(a);
    aml_op(a, AML_LOCAL0);
    aml_op(a, AML_RETURN);
    aml_int(a, STA_PRESENT);
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_int(a, 0);
    aml_end(a);

    aml_method(a, "CPMA", 1);
    load_present(a, AML_ARG0, AML_LOCAL0);
    aml_op(a, AML_STORE);
    aml_buffer(a);
    aml_raw(a, lapic, sizeof(lapic));
    aml_end(a);
    aml_op(a, AML_LOCAL0 + 1);
    for (unsigned i = 2; i <= 4; i++) { /* processor id, APIC id, flags */
        aml_op(a, AML_STORE);
        aml_op(a, i < 4 ? AML_ARG0 : AML_LOCAL0);
        aml_op(a, AML_INDEX);
        aml_op(a, AML_LOCAL0 + 1);
        aml_int(a, i);
        aml_int(a, 0);
    }
    aml_op(a, AML_RETURN);
    aml_op(a, AML_LOCAL0 + 1);
    aml_end(a);
}

/* NTFY(cpu, event) */
static void processor_notify(const struct acpi_config *c, struct aml *a)
{
    char name[5];
    aml_method(a, "NTFY", 2);
    for (unsigned cpu = 0; cpu < c->max_cpus; cpu++) {
        processor_name(name, cpu);
        aml_if(a);
        aml_op(a, AML_LEQUAL);
        aml_op(a, AML_ARG0);
        aml_int(a, cpu);
        aml_op(a, AML_NOTIFY);
        aml_path(a, name);
        aml_op(a, AML_ARG0 + 1);
        aml_end(a);
    }
    aml_end(a);
}

/* PRSC: compares the presence bits with what was known, and tells of each difference.
 * Local0 processor, Local1 known, Local2 bits, Local3 now, Local5 all bits. */
static void processor_scan(struct aml *a)
{
    static const enum aml_op CPU = AML_LOCAL0, KNOWN = AML_LOCAL0 + 1, BITS = AML_LOCAL0 + 2,
                             NOW = AML_LOCAL0 + 3, ALL = AML_LOCAL0 + 5;
    aml_method(a, "PRSC", 0);
    aml_op(a, AML_STORE);
    aml_path(a, "PRS_");
    aml_op(a, ALL);
    aml_op(a, AML_STORE);
    aml_int(a, 0);
    aml_op(a, CPU);
    aml_while(a);
    aml_op(a, AML_LLESS);
    aml_op(a, CPU);
    aml_op(a, AML_SIZE_OF);
    aml_path(a, "CPON");
    load_present(a, CPU, KNOWN);
    aml_op(a, AML_STORE); /* BITS = ALL[CPU >> 3] >> (CPU & 7) */
    aml_op(a, AML_SHIFT_RIGHT);
    aml_op(a, AML_DEREF_OF);
    aml_op(a, AML_INDEX);
    aml_op(a, ALL);
    aml_op(a, AML_SHIFT_RIGHT);
    aml_op(a, CPU);
    aml_int(a, 3);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_op(a, AML_AND);
    aml_op(a, CPU);
    aml_int(a, 7);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_op(a, BITS);
    aml_op(a, AML_AND);
    aml_op(a, BITS);
    aml_int(a, 1);
    aml_op(a, NOW);
    aml_if(a);
    aml_op(a, AML_LNOT);
    aml_op(a, AML_LEQUAL);
    aml_op(a, KNOWN);
    aml_op(a, NOW);
    aml_op(a, AML_STORE);
    aml_op(a, NOW);
    aml_op(a, AML_INDEX);
    aml_path(a, "CPON");
    aml_op(a, CPU);
    aml_int(a, 0);
    aml_if(a);
    aml_op(a, NOW);
    aml_path(a, "NTFY");
    aml_op(a, CPU);
    aml_int(a, NOTIFY_CHECK);
    aml_end(a);
    aml_else(a);
    aml_path(a, "NTFY");
    aml_op(a, CPU);
    aml_int(a, NOTIFY_EJECT);
    aml_end(a);
    aml_end(a);
    aml_op(a, AML_INCREMENT);
    aml_op(a, CPU);
    aml_end(a);
    aml_end(a);
}

static void processors(const struct acpi_config *c, struct aml *a)
{
    char name[5];
    aml_region(a, "PRST", AML_SYSTEM_IO, 0xaf00, 32);
    aml_field(a, "PRST", 1);
    aml_field_unit(a, "PRS_", 256);
    aml_end(a);
    aml_op(a, AML_NAME);
    aml_path(a, "CPON");
    aml_package(a, (uint8_t)c->max_cpus);
    for (unsigned cpu = 0; cpu < c->max_cpus; cpu++) {
        aml_int(a, cpu < c->cpus);
    }
    aml_end(a);
    processor_helpers(a);
    for (unsigned cpu = 0; cpu < c->max_cpus; cpu++) {
        processor_name(name, cpu);
        aml_processor(a, name, (uint8_t)cpu);
        call_with_cpu(a, "_MAT", "CPMA", cpu);
        call_with_cpu(a, "_STA", "CPST", cpu);
        aml_end(a);
    }
    processor_notify(c, a);
    processor_scan(a);
}

/* ---- the whole ---- */

static void hpet(struct aml *a)
{
    aml_device(a, "HPET");
    aml_name_id(a, "_HID", "PNP0103");
    aml_name_int(a, "_UID", 0);
    aml_name_int(a, "_STA", STA_PRESENT);
    aml_op(a, AML_NAME);
    aml_path(a, "_CRS");
    aml_resources(a);
    aml_res_memory(a, 0xfed00000, 0x400, false);
    aml_resources_end(a);
    aml_end(a);
}

static void event(struct aml *a, const char *method, const char *calls)
{
    aml_method(a, method, 0);
    aml_path(a, calls);
    aml_end(a);
}

static void sleep_state(struct aml *a, const char *name, unsigned type)
{
    aml_op(a, AML_NAME);
    aml_path(a, name);
    aml_package(a, 4);
    aml_int(a, type);
    aml_int(a, type);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a);
}

void acpi_dsdt(const struct acpi_config *c, struct aml *a)
{
    aml_scope(a, "\\_SB");
    aml_device(a, "PCI0");
    aml_name_id(a, "_HID", "PNP0A03");
    aml_name_int(a, "_UID", 0);
    pci_windows(c, a);
    pci_routing(a);
    isa_bridge(c, a);
    pci_hotplug(a);
    aml_end(a);
    link_helpers(a);
    for (unsigned n = 0; n < 4; n++) {
        link_device(a, n);
    }
    if (c->hpet) {
        hpet(a);
    }
    processors(c, a);
    aml_end(a);

    aml_scope(a, "\\_GPE");
    aml_op(a, AML_NAME);
    aml_path(a, "_HID");
    aml_string(a, "ACPI0006");
    event(a, "_E01", "\\_SB.PCI0.PCNT");
    event(a, "_E02", "\\_SB.PRSC");
    aml_end(a);

    sleep_state(a, "\\_S3", 1);
    sleep_state(a, "\\_S4", 2);
    sleep_state(a, "\\_S5", 0);
}
