/* SPDX-License-Identifier: MIT */
/* hw/intc/ioapic.c - 82093AA I/O APIC with 24 pins at 0xfec00000.
 *
 * Version 0x20: with the EOI register at 0x40, so that a system that keeps its local APICs from
 * broadcasting can end a level-triggered interrupt itself. A pin is asserted or not: polarity was
 * taken care of by whoever drives it, and the bit is only kept.
 *
 * Left out: ExtINT delivery, which would fetch its vector from the PIC.
 * Reference: Intel 82093AA data sheet 290566; ICH4 data sheet, 8.5.4 for the EOI register.
 */
#include "hw/intc/ioapic.h"

#include "hw/intc/apic.h"

#include <errno.h>
#include <stdio.h>

enum {
    IOREGSEL = 0x00,
    IOWIN = 0x10,
    EOI = 0x40,
    REG_ID = 0x00,
    REG_VERSION = 0x01,
    REG_ARB = 0x02,
    REG_TABLE = 0x10,
    VERSION = 0x20,
    ID_BITS = 0x0f000000,
};
#define RTE_LOGICAL (1ull << 11)
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_LEVEL (1ull << 15)
#define RTE_MASKED (1ull << 16)
#define RTE_WRITABLE 0xff0000000001afffull
#define RTE_BITS (RTE_WRITABLE | RTE_REMOTE_IRR)

struct ioapic {
    struct device dev;
    struct ioapic_bus *bus_prop, bus;
    struct region window;
    uint8_t select;
    uint32_t id;
    uint32_t pins;    /* asserted now */
    uint32_t pending; /* edges that wait, levels that are asserted */
    uint64_t table[IOAPIC_PINS];
};

static bool is_level(uint64_t rte)
{
    return rte & RTE_LEVEL;
}

static void send(struct ioapic *s, unsigned pin)
{
    uint64_t rte = s->table[pin];
    struct apic_message msg = {
        .dest = (uint32_t)(rte >> 56),
        .logical = rte & RTE_LOGICAL,
        .mode = rte >> 8 & 7,
        .vector = (uint8_t)rte,
        .level = is_level(rte),
    };
    if (s->bus.deliver) {
        s->bus.deliver(s->bus.o, &msg);
    }
}

/* Sends what pin has to say, if it may. */
static void service(struct ioapic *s, unsigned pin)
{
    uint32_t bit = 1u << pin;
    uint64_t *rte = &s->table[pin];
    if (!(s->pending & bit) || (*rte & RTE_MASKED)) {
        return;
    }
    if (!is_level(*rte)) {
        s->pending &= ~bit;
    } else if (*rte & RTE_REMOTE_IRR) {
        return;
    } else {
        *rte |= RTE_REMOTE_IRR;
    }
    send(s, pin);
}

/* An edge on a masked pin is lost, as the data sheet has it. */
void ioapic_set_pin(struct device *d, unsigned pin, bool level)
{
    struct ioapic *s = (struct ioapic *)d;
    uint32_t bit = 1u << pin;
    bool rose = level && !(s->pins & bit);
    if (pin >= IOAPIC_PINS) {
        return;
    }
    s->pins = level ? s->pins | bit : s->pins & ~bit;
    if (is_level(s->table[pin])) {
        s->pending = level ? s->pending | bit : s->pending & ~bit;
    } else if (rose && !(s->table[pin] & RTE_MASKED)) {
        s->pending |= bit;
    }
    service(s, pin);
}

void ioapic_eoi(struct device *d, uint8_t vector)
{
    struct ioapic *s = (struct ioapic *)d;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *rte = &s->table[pin];
        if ((uint8_t)*rte == vector && is_level(*rte) && (*rte & RTE_REMOTE_IRR)) {
            *rte &= ~RTE_REMOTE_IRR;
            service(s, pin);
        }
    }
}

/* ---- registers ---- */

static uint32_t read_reg(const struct ioapic *s)
{
    unsigned pin = (s->select - REG_TABLE) / 2u;
    switch (s->select) {
    case REG_ID:
    case REG_ARB:
        return s->id;
    case REG_VERSION:
        return VERSION | (IOAPIC_PINS - 1) << 16;
    default:
        if (s->select < REG_TABLE || pin >= IOAPIC_PINS) {
            return 0;
        }
        return (uint32_t)(s->table[pin] >> (s->select & 1 ? 32 : 0));
    }
}

/* A pin that turns from level to edge forgets that it waits for an end: this is how systems free
 * one that got stuck. */
static void write_entry(struct ioapic *s, unsigned pin, unsigned half, uint32_t v)
{
    uint64_t *rte = &s->table[pin], mask = half ? 0xffffffff00000000ull : 0xffffffffull;
    uint64_t val = half ? (uint64_t)v << 32 : v;
    uint32_t bit = 1u << pin;
    bool was = is_level(*rte);
    *rte = (*rte & ~(mask & RTE_WRITABLE)) | (val & mask & RTE_WRITABLE);
    if (!is_level(*rte)) {
        *rte &= ~RTE_REMOTE_IRR;
        s->pending = was ? s->pending & ~bit : s->pending;
    } else {
        s->pending = s->pins & bit ? s->pending | bit : s->pending & ~bit;
    }
    service(s, pin);
}

static void write_reg(struct ioapic *s, uint32_t v)
{
    unsigned pin = (s->select - REG_TABLE) / 2u;
    if (s->select == REG_ID) {
        s->id = v & ID_BITS;
    } else if (s->select >= REG_TABLE && pin < IOAPIC_PINS) {
        write_entry(s, pin, s->select & 1, v);
    }
}

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    const struct ioapic *s = (const struct ioapic *)d;
    uint32_t v = 0;
    if ((off & ~3ull) == IOREGSEL) {
        v = s->select;
    } else if ((off & ~3ull) == IOWIN) {
        v = read_reg(s);
    }
    return v >> (8 * (off & 3)) & ones(size);
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct ioapic *s = (struct ioapic *)d;
    if (off == IOREGSEL) {
        s->select = (uint8_t)val;
    } else if (off == IOWIN && size == 4) {
        write_reg(s, (uint32_t)val);
    } else if (off == EOI) {
        ioapic_eoi(d, (uint8_t)val);
    }
}

static const struct reg_name names[] = {
    { IOREGSEL, "IOREGSEL" },
    { IOWIN, "IOWIN" },
    { EOI, "EOI" },
    { 0, NULL },
};
static const struct region_ops ops = { window_read, window_write, 4, names };

/* ---- life ---- */

static int ioapic_init(struct device *d, struct err *e)
{
    struct ioapic *s = (struct ioapic *)d;
    (void)e;
    if (s->bus_prop) {
        s->bus = *s->bus_prop;
        s->bus_prop = NULL;
    }
    region_init(&s->window, d, &ops, IO_MMIO, 0x1000, "IOAPIC");
    region_map(&s->window, IOAPIC_BASE);
    return 0;
}

static void ioapic_reset(struct device *d)
{
    struct ioapic *s = (struct ioapic *)d;
    s->select = 0;
    s->id = 0;
    s->pending = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        s->table[pin] = RTE_MASKED;
    }
}

static int ioapic_loaded(struct device *d, struct err *e)
{
    const struct ioapic *s = (const struct ioapic *)d;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if (s->table[pin] & ~RTE_BITS) {
            return err_set(e, -EINVAL, "%s: reserved bits are set in entry %u", d->id, pin);
        }
    }
    if ((s->id & ~ID_BITS) || s->pins >> IOAPIC_PINS || s->pending >> IOAPIC_PINS) {
        return err_set(e, -EINVAL, "%s: reserved bits are set", d->id);
    }
    return 0;
}

static void ioapic_fini(struct device *d)
{
    region_unmap(&((struct ioapic *)d)->window);
}

static void ioapic_info(const struct device *d, void (*put)(void *o, const char *line), void *o)
{
    static const char *const modes[] = {
        "fixed", "lowest", "SMI", "?", "NMI", "INIT", "?", "ExtINT"
    };
    const struct ioapic *s = (const struct ioapic *)d;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        char line[128];
        uint64_t rte = s->table[pin];
        snprintf(line, sizeof(line), "pin %-2u 0x%016llx dest=%u vec=%u %s %s%s%s %s%s", pin,
                 (unsigned long long)rte, (unsigned)(rte >> 56), (unsigned)(rte & 0xff),
                 is_level(rte) ? "level" : "edge", rte & RTE_LOGICAL ? "logical" : "physical",
                 rte & RTE_MASKED ? " masked" : "", rte & RTE_REMOTE_IRR ? " remote-irr" : "",
                 modes[rte >> 8 & 7], s->pins >> pin & 1 ? " high" : "");
        put(o, line);
    }
}

static const struct dev_prop props[] = {
    PROP(struct ioapic, "messages", PROP_PTR, bus_prop, 0, "where messages go"),
    { 0 },
};

static const struct state_field state[] = {
    FIELD(struct ioapic, select),  FIELD(struct ioapic, id),          FIELD(struct ioapic, pins),
    FIELD(struct ioapic, pending), FIELD_ARRAY(struct ioapic, table), FIELD_END,
};

const struct dev_class ioapic_class = {
    .name = "ioapic",
    .desc = "82093AA I/O APIC",
    .size = sizeof(struct ioapic),
    .props = props,
    .state = state,
    .state_version = 1,
    .init = ioapic_init,
    .reset = ioapic_reset,
    .loaded = ioapic_loaded,
    .fini = ioapic_fini,
    .info = ioapic_info,
};
