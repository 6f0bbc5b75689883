/* SPDX-License-Identifier: MIT */
/* hw/intc/i8259.c - two cascaded 82C59A interrupt controllers, as PIIX3 has them.
 *
 *   IRQ 8..15 -> slave (0xa0) -> INT -> IR2 of master (0x20) -> INT -> processor
 *
 * ICW1 to ICW4, the three OCWs, polling, special mask, special fully nested, automatic EOI and
 * rotation. PIIX3's edge/level control registers at 0x4d0 and 0x4d1 stand in for ICW1's LTIM.
 *
 * An edge stays latched until it is acknowledged even if the line falls before, so that no short
 * pulse is lost. Left out: the buffered and MCS-80 modes and single operation of the master, which
 * no PC can use.
 * Reference: Intel 82C59A data sheet 231201; 82371SB data sheet 290550, 2.5.3.
 */
#include "hw/intc/i8259.h"

#include <errno.h>
#include <stdlib.h>

enum { MASTER, SLAVE };
enum {
    ICW1 = 0x10, /* this bit at address 0 makes it ICW1 */
    ICW1_IC4 = 0x01,
    ICW1_SNGL = 0x02,
    ICW4_AEOI = 0x02,
    ICW4_SFNM = 0x10,
    OCW3 = 0x08,
    OCW3_RIS = 0x01,
    OCW3_RR = 0x02,
    OCW3_POLL = 0x04,
    OCW3_SMM = 0x20,
    OCW3_ESMM = 0x40,
    OCW2_SL = 0x40,
    OCW2_EOI = 0x20,
    OCW2_ROTATE = 0x80,

    CASCADE = 2,
    ELCR_MASTER_BITS = 0xf8,
    ELCR_SLAVE_BITS = 0xde,
    SPURIOUS = 7,
    NOTHING = 8, /* as a priority: lower than any */
};

struct chip {
    uint8_t irr, imr, isr;
    uint8_t level; /* input pins now */
    uint8_t elcr;
    uint8_t base;   /* ICW2: vector of input 0 */
    uint8_t lowest; /* input of lowest priority */
    uint8_t step;   /* the ICW expected at address 1, 0: OCW1 */
    bool icw4, single, aeoi, rotate_aeoi, sfnm, special_mask, poll, read_isr;
};

struct i8259 {
    struct device dev;
    struct i8259_out *intr_prop, intr;
    struct region ports[2], elcr_ports;
    struct chip chip[2];
    bool out; /* what the listener was last told */
};

/* ---- priorities ---- */

/* 0 for the most urgent of the inputs in set, NOTHING for the empty set. */
static unsigned urgency(const struct chip *c, uint8_t set)
{
    for (unsigned i = 0; i < 8; i++) {
        if (set >> ((c->lowest + 1u + i) & 7) & 1) {
            return i;
        }
    }
    return NOTHING;
}

static unsigned input_of(const struct chip *c, unsigned urgency)
{
    return (c->lowest + 1u + urgency) & 7;
}

/* The input whose request goes out now, or -1. */
static int request(const struct i8259 *s, unsigned n)
{
    const struct chip *c = &s->chip[n];
    unsigned want = urgency(c, c->irr & (uint8_t)~c->imr);
    uint8_t serving = c->isr;
    if (c->special_mask) {
        serving &= (uint8_t)~c->imr;
    }
    if (c->sfnm && n == MASTER) { /* the slave may interrupt its own service */
        serving &= (uint8_t) ~(1u << CASCADE);
    }
    return want < urgency(c, serving) ? (int)input_of(c, want) : -1;
}

/* ---- inputs and outputs ---- */

static void set_input(struct chip *c, unsigned input, bool level)
{
    uint8_t bit = (uint8_t)(1u << input);
    if (c->elcr & bit) {
        c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
    } else if (level && !(c->level & bit)) {
        c->irr |= bit;
    }
    c->level = level ? c->level | bit : c->level & (uint8_t)~bit;
}

static void update(struct i8259 *s)
{
    set_input(&s->chip[MASTER], CASCADE, request(s, SLAVE) >= 0);
    if (request(s, SLAVE) < 0) { /* the cascade follows the slave, edge or not */
        s->chip[MASTER].irr &= (uint8_t) ~(1u << CASCADE);
    }
    bool out = request(s, MASTER) >= 0;
    if (out != s->out) {
        s->out = out;
        if (s->intr.fn) {
            s->intr.fn(s->intr.o, out);
        }
    }
}

void i8259_set_irq(struct device *d, unsigned irq, bool level)
{
    struct i8259 *s = (struct i8259 *)d;
    if (irq < 16 && irq != CASCADE) {
        set_input(&s->chip[irq >> 3], irq & 7, level);
        update(s);
    }
}

bool i8259_pending(const struct device *d)
{
    return ((const struct i8259 *)d)->out;
}

/* ---- service ---- */

/* The chip takes its most urgent request into service; returns the input, 7 when there is none. */
static unsigned serve(struct i8259 *s, unsigned n)
{
    struct chip *c = &s->chip[n];
    int input = request(s, n);
    if (input < 0) {
        return SPURIOUS;
    }
    uint8_t bit = (uint8_t)(1u << input);
    if (!(c->elcr & bit)) {
        c->irr &= (uint8_t)~bit;
    }
    if (!c->aeoi) {
        c->isr |= bit;
    } else if (c->rotate_aeoi) {
        c->lowest = (uint8_t)input;
    }
    return (unsigned)input;
}

int i8259_ack(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    unsigned n = MASTER, input = serve(s, MASTER);
    if (input == CASCADE) {
        n = SLAVE;
        input = serve(s, SLAVE);
        /* A second slave request is a new edge at the master. */
        s->chip[MASTER].level &= (uint8_t) ~(1u << CASCADE);
    }
    update(s);
    return s->chip[n].base + (int)input;
}

static void end_of_interrupt(struct chip *c, uint8_t ocw2)
{
    uint8_t serving = c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr;
    unsigned first = urgency(c, serving);
    unsigned input = ocw2 & OCW2_SL ? ocw2 & 7u : input_of(c, first);
    if (!(ocw2 & OCW2_SL) && first == NOTHING) {
        return;
    }
    c->isr &= (uint8_t) ~(1u << input);
    if (ocw2 & OCW2_ROTATE) {
        c->lowest = (uint8_t)input;
    }
}

static void write_ocw2(struct chip *c, uint8_t v)
{
    if (v & OCW2_EOI) {
        end_of_interrupt(c, v);
    } else if ((v & (OCW2_ROTATE | OCW2_SL)) == (OCW2_ROTATE | OCW2_SL)) {
        c->lowest = v & 7;
    } else if (!(v & OCW2_SL)) {
        c->rotate_aeoi = v & OCW2_ROTATE;
    }
}

static void write_ocw3(struct chip *c, uint8_t v)
{
    c->poll = v & OCW3_POLL;
    if (v & OCW3_RR) {
        c->read_isr = v & OCW3_RIS;
    }
    if (v & OCW3_ESMM) {
        c->special_mask = v & OCW3_SMM;
    }
}

/* ICW1 forgets edges, masks and modes; requests that lines hold up in level mode stay. */
static void write_icw1(struct chip *c, uint8_t v)
{
    c->irr = c->level & c->elcr;
    c->imr = c->isr = 0;
    c->lowest = 7;
    c->special_mask = c->poll = c->read_isr = false;
    c->aeoi = c->rotate_aeoi = c->sfnm = false;
    c->icw4 = v & ICW1_IC4;
    c->single = v & ICW1_SNGL;
    c->step = 2;
}

static void write_icw(struct chip *c, uint8_t v)
{
    switch (c->step) {
    case 2:
        c->base = v & 0xf8;
        c->step = c->single ? (c->icw4 ? 4 : 0) : 3;
        break;
    case 3: /* which input, which name: wired */
        c->step = c->icw4 ? 4 : 0;
        break;
    default:
        c->aeoi = v & ICW4_AEOI;
        c->sfnm = v & ICW4_SFNM;
        c->step = 0;
        break;
    }
}

/* ---- ports ---- */

static void port_write(struct i8259 *s, unsigned n, uint64_t off, uint8_t v)
{
    struct chip *c = &s->chip[n];
    if (off == 1 && c->step) {
        write_icw(c, v);
    } else if (off == 1) {
        c->imr = v;
    } else if (v & ICW1) {
        write_icw1(c, v);
    } else if (v & OCW3) {
        write_ocw3(c, v);
    } else {
        write_ocw2(c, v);
    }
    update(s);
}

/* A poll is an acknowledgement by software. */
static uint8_t poll(struct i8259 *s, unsigned n)
{
    s->chip[n].poll = false;
    bool any = request(s, n) >= 0;
    unsigned input = serve(s, n);
    update(s);
    return any ? (uint8_t)(0x80 | input) : 0;
}

static uint8_t port_read(struct i8259 *s, unsigned n, uint64_t off)
{
    struct chip *c = &s->chip[n];
    if (c->poll) {
        return poll(s, n);
    }
    return off == 1 ? c->imr : c->read_isr ? c->isr : c->irr;
}

static uint64_t master_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return port_read((struct i8259 *)d, MASTER, off);
}

static void master_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    port_write((struct i8259 *)d, MASTER, off, (uint8_t)val);
}

static uint64_t slave_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return port_read((struct i8259 *)d, SLAVE, off);
}

static void slave_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    port_write((struct i8259 *)d, SLAVE, off, (uint8_t)val);
}

static uint64_t elcr_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct i8259 *)d)->chip[off].elcr;
}

/* A pin that becomes level-triggered requests as long as it is high, and no longer than that. */
static void elcr_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct i8259 *s = (struct i8259 *)d;
    struct chip *c = &s->chip[off];
    (void)size;
    c->elcr = (uint8_t)(val & (off ? ELCR_SLAVE_BITS : ELCR_MASTER_BITS));
    c->irr = (uint8_t)((c->irr & ~c->elcr) | (c->level & c->elcr));
    update(s);
}

static const struct reg_name port_names[] = { { 0, "OCW" }, { 1, "IMR" }, { 0, NULL } };
static const struct reg_name elcr_names[] = { { 0, "ELCR1" }, { 1, "ELCR2" }, { 0, NULL } };
static const struct region_ops master_ops = { master_read, master_write, 1, port_names };
static const struct region_ops slave_ops = { slave_read, slave_write, 1, port_names };
static const struct region_ops elcr_ops = { elcr_read, elcr_write, 1, elcr_names };

/* ---- life ---- */

static int i8259_init(struct device *d, struct err *e)
{
    struct i8259 *s = (struct i8259 *)d;
    (void)e;
    if (s->intr_prop) {
        s->intr = *s->intr_prop;
        s->intr_prop = NULL;
    }
    region_init(&s->ports[MASTER], d, &master_ops, IO_PIO, 2, "PIC1");
    region_init(&s->ports[SLAVE], d, &slave_ops, IO_PIO, 2, "PIC2");
    region_init(&s->elcr_ports, d, &elcr_ops, IO_PIO, 2, "ELCR");
    region_map(&s->ports[MASTER], 0x20);
    region_map(&s->ports[SLAVE], 0xa0);
    region_map(&s->elcr_ports, 0x4d0);
    return 0;
}

/* Pins are driven by others: their levels outlive a reset. */
static void i8259_reset(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    for (unsigned n = 0; n < 2; n++) {
        uint8_t level = s->chip[n].level;
        s->chip[n] = (struct chip){ .level = level, .lowest = 7 };
    }
    update(s);
}

static int i8259_loaded(struct device *d, struct err *e)
{
    struct i8259 *s = (struct i8259 *)d;
    if (s->chip[MASTER].elcr & ~ELCR_MASTER_BITS || s->chip[SLAVE].elcr & ~ELCR_SLAVE_BITS) {
        return err_set(e, -EINVAL, "%s: reserved bits are set in elcr", d->id);
    }
    update(s);
    return 0;
}

static void i8259_fini(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    region_unmap(&s->ports[MASTER]);
    region_unmap(&s->ports[SLAVE]);
    region_unmap(&s->elcr_ports);
}

static void i8259_info(const struct device *d, void (*put)(void *o, const char *line), void *o)
{
    const struct i8259 *s = (const struct i8259 *)d;
    for (unsigned n = 0; n < 2; n++) {
        const struct chip *c = &s->chip[n];
        char *line = xasprintf("pic%u: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%u "
                               "elcr=%02x fnm=%u",
                               n, c->irr, c->imr, c->isr, (c->lowest + 1) & 7, c->base, c->read_isr,
                               c->elcr, c->sfnm);
        put(o, line);
        free(line);
    }
}

static const struct dev_prop props[] = {
    PROP(struct i8259, "intr", PROP_PTR, intr_prop, 0, "who listens to INT"),
    { 0 },
};

static const struct state_field chip_state[] = {
    FIELD(struct chip, irr),
    FIELD(struct chip, imr),
    FIELD(struct chip, isr),
    FIELD(struct chip, level),
    FIELD(struct chip, elcr),
    FIELD(struct chip, base),
    FIELD_RANGE(struct chip, lowest, 0, 7),
    FIELD_RANGE(struct chip, step, 0, 4),
    FIELD(struct chip, icw4),
    FIELD(struct chip, single),
    FIELD(struct chip, aeoi),
    FIELD(struct chip, rotate_aeoi),
    FIELD(struct chip, sfnm),
    FIELD(struct chip, special_mask),
    FIELD(struct chip, poll),
    FIELD(struct chip, read_isr),
    FIELD_END,
};

static const struct state_field state[] = {
    FIELD_SUB(struct i8259, chip, chip_state, 2),
    FIELD_END,
};

const struct dev_class i8259_class = {
    .name = "isa-i8259",
    .desc = "pair of 82C59A interrupt controllers",
    .size = sizeof(struct i8259),
    .props = props,
    .state = state,
    .state_version = 1,
    .init = i8259_init,
    .reset = i8259_reset,
    .loaded = i8259_loaded,
    .fini = i8259_fini,
    .info = i8259_info,
};
