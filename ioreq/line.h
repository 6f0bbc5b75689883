/* SPDX-License-Identifier: MIT */
/* ioreq/line.h - the line door: what a device can do to the guest besides answering.
 *
 * A device drives a level or sends a message and never learns who listens. Levels are derived from
 * device state: after a restore every device drives its lines again.
 */
#ifndef IOREQ_LINE_H
#define IOREQ_LINE_H

#include <stdbool.h>
#include <stdint.h>

struct machine;
struct device;

enum line_kind {
    LINE_NONE,
    LINE_ISA,  /* num: ISA IRQ 0..15 */
    LINE_INTX, /* num: devfn << 2 | pin, pin 0..3 for INTA..INTD */
    /* No wires, but what a trace also sees pass this door (num, level). */
    LINE_LINK,  /* PIRQ link, ISA IRQ */
    LINE_MSI,   /* address, data */
    LINE_POWER, /* enum power_event, 1 */
};

/* One wire from one device. Several may share an ISA IRQ: the level is their OR. */
struct line {
    struct device *d;
    enum line_kind kind;
    uint16_t num;
    bool level;
    struct line *next;
};
void line_init(struct line *l, struct device *d, enum line_kind kind, uint16_t num);
void line_fini(struct line *l);
void line_set(struct line *l, bool level);

/* PIRQ link 0..3 (PIRQA..D) now goes to ISA IRQ isa_irq, 0 meaning unrouted. */
void line_pci_link(struct machine *m, unsigned link, unsigned isa_irq);
/* A message-signalled interrupt: a DWORD write of data to addr, as the local APIC decodes it. */
void line_msi(struct device *d, uint64_t addr, uint32_t data);

enum power_event {
    POWER_OFF,     /* soft off through ACPI */
    POWER_RESET,   /* platform reset: port 0x92, 0xcf9, keyboard controller, triple fault */
    POWER_SUSPEND, /* S3 */
    POWER_CRASH,
};
void line_power(struct machine *m, enum power_event ev);

#endif
