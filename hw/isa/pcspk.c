/* SPDX-License-Identifier: MIT */
/* hw/isa/pcspk.c - system control port B (0x61): speaker and timer 2 gate, refresh and OUT2.
 *
 * Under Xen the hypervisor answers this port and boards create none. Elsewhere counter 2 belongs
 * to the interval timer, reached through property "timer"; without one OUT2 is what a counter
 * left alone in mode 3 with its longest count gives: 18.2 Hz while the gate is open, else high.
 *
 * Left out: sound, and the parity and channel check bits, which never rise.
 * Reference: Intel 82371SB data sheet 290550, 2.5.5.1 (NMISC).
 */
#include "hw/isa/pcspk.h"

enum {
    SPK_GATE2 = 0x01,
    SPK_WRITABLE = 0x0f, /* the gate, the speaker, two check enables */
    SPK_REFRESH = 0x10,
    SPK_OUT2 = 0x20,

    REFRESH_NS = 15085,      /* between toggles */
    OUT2_HALF_NS = 27462539, /* 32768 periods of 1.193182 MHz */
};

struct pcspk {
    struct device dev;
    uint32_t iobase;
    struct pcspk_timer *timer;
    struct region port;
    uint8_t val;
    int64_t gate_since; /* virtual ns of the last rise of GATE2 */
};

static bool out2(const struct pcspk *s)
{
    if (s->timer) {
        return s->timer->out(s->timer->opaque);
    }
    if (!(s->val & SPK_GATE2)) {
        return true;
    }
    return (vclock_now(s->dev.m) - s->gate_since) / OUT2_HALF_NS % 2 == 0;
}

static uint64_t pcspk_read(struct device *d, uint64_t off, unsigned size)
{
    const struct pcspk *s = (const struct pcspk *)d;
    uint8_t v = s->val;

    (void)off, (void)size;
    if (vclock_now(d->m) / REFRESH_NS % 2) {
        v |= SPK_REFRESH;
    }
    return out2(s) ? v | SPK_OUT2 : v;
}

static void set_gate(struct pcspk *s)
{
    if (s->timer) {
        s->timer->gate(s->timer->opaque, s->val & SPK_GATE2);
    }
}

static void pcspk_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct pcspk *s = (struct pcspk *)d;

    (void)off, (void)size;
    if ((val & SPK_GATE2) && !(s->val & SPK_GATE2)) {
        s->gate_since = vclock_now(d->m);
    }
    s->val = val & SPK_WRITABLE;
    set_gate(s);
}

static const struct reg_name names[] = { { 0, "NMISC" }, { 0, NULL } };
static const struct region_ops ops = { pcspk_read, pcspk_write, 1, names };

static int pcspk_init(struct device *d, struct err *e)
{
    struct pcspk *s = (struct pcspk *)d;

    (void)e;
    region_init(&s->port, d, &ops, IO_PIO, 1, "NMISC");
    region_map(&s->port, s->iobase);
    return 0;
}

static void pcspk_reset(struct device *d)
{
    struct pcspk *s = (struct pcspk *)d;

    s->val = 0;
    s->gate_since = 0;
    set_gate(s);
}

static int pcspk_loaded(struct device *d, struct err *e)
{
    struct pcspk *s = (struct pcspk *)d;

    (void)e;
    if (s->gate_since < 0 || s->gate_since > vclock_now(d->m)) {
        s->gate_since = 0; /* a machine with an earlier clock */
    }
    set_gate(s);
    return 0;
}

static void pcspk_fini(struct device *d)
{
    region_unmap(&((struct pcspk *)d)->port);
}

static const struct dev_prop pcspk_props[] = {
    PROP(struct pcspk, "iobase", PROP_U32, iobase, 0x61, "I/O port"),
    PROP(struct pcspk, "timer", PROP_PTR, timer, 0, "counter 2 of the interval timer"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field pcspk_state[] = {
    FIELD_RANGE(struct pcspk, val, 0, SPK_WRITABLE),
    FIELD(struct pcspk, gate_since),
    FIELD_END,
};

const struct dev_class pcspk_class = {
    .name = "isa-pcspk",
    .desc = "PC speaker port (system control port B)",
    .size = sizeof(struct pcspk),
    .props = pcspk_props,
    .state = pcspk_state,
    .state_version = 1,
    .init = pcspk_init,
    .reset = pcspk_reset,
    .loaded = pcspk_loaded,
    .fini = pcspk_fini,
};
