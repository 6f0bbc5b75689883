/* SPDX-License-Identifier: MIT */
/* tests/unit/toy.h - an invented device for tests of the doors: windows that answer with where they
 * were read, remember what they were asked, and some state of every kind.
 */
#ifndef TESTS_UNIT_TOY_H
#define TESTS_UNIT_TOY_H

#include "ioreq/flat.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOY_LOG 8192

struct toy_call {
    bool write;
    uint64_t off, val;
    unsigned size;
};

struct toy_part {
    uint16_t level;
    int32_t bias;
    struct vtimer tick;
};

struct toy {
    struct device dev;
    struct region win[4]; /* windows without a meaning of their own */
    struct line irq;
    struct toy_call calls[TOY_LOG];
    unsigned ncalls;
    void (*hook)(struct toy *t, const struct toy_call *c); /* runs inside each callback */
    uint64_t user;
    unsigned resets, loads, fired;
    int64_t fired_at;
    bool refuse_load;

    bool flag;
    uint8_t bytes[5];
    uint16_t mode; /* 1..7 */
    uint32_t addr;
    uint64_t big;
    int32_t low; /* -3..3 */
    int64_t wide;
    struct vtimer timer;
    struct toy_part part[3];
    struct gmem_block ram;
    uint64_t ram_len; /* property; 0: none */
};

static inline void toy_note(struct toy *t, struct toy_call c)
{
    if (t->ncalls < TOY_LOG) {
        t->calls[t->ncalls++] = c;
    }
    if (t->hook) {
        t->hook(t, &c);
    }
}

/* Byte k of a read at off is the low byte of off + k: whoever assembles it can be checked. */
static inline uint64_t toy_pattern(uint64_t off, unsigned size)
{
    uint64_t v = 0;
    for (unsigned k = 0; k < size; k++) {
        v |= (uint64_t)(uint8_t)(off + k) << (8 * k);
    }
    return v;
}

static inline uint64_t toy_read(struct device *d, uint64_t off, unsigned size)
{
    toy_note((struct toy *)d, (struct toy_call){ false, off, 0, size });
    return toy_pattern(off, size) | (size < 8 ? UINT64_MAX << (8 * size) : 0); /* rubbish above */
}

static inline void toy_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    toy_note((struct toy *)d, (struct toy_call){ true, off, val, size });
}

static const struct region_ops toy_ops = { .read = toy_read, .write = toy_write };
static const struct region_ops toy_byte_ops = { toy_read, toy_write, 1, NULL };
static const struct region_ops toy_word_ops = { toy_read, toy_write, 2, NULL };
static const struct region_ops toy_wide_ops = { toy_read, toy_write, 8, NULL };

static inline void toy_fire(void *opaque)
{
    struct toy *t = opaque;
    t->fired++;
    t->fired_at = vclock_now(t->dev.m);
}

static inline int toy_init(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;
    line_init(&t->irq, d, LINE_ISA, 5);
    vtimer_init(&t->timer, d->m, "toy timer", toy_fire, t);
    for (unsigned i = 0; i < 3; i++) {
        vtimer_init(&t->part[i].tick, d->m, "toy tick", toy_fire, t);
    }
    t->ram.name = d->id;
    t->ram.len = t->ram_len;
    return t->ram_len ? gmem_block_new(d->m, &t->ram, e) : 0;
}

static inline void toy_reset(struct device *d)
{
    struct toy *t = (struct toy *)d;
    t->resets++;
    t->flag = false;
    memset(t->bytes, 0, sizeof(t->bytes));
    t->mode = 1;
    t->addr = 0;
    t->big = 0;
    t->low = 0;
    t->wide = 0;
    vtimer_disarm(&t->timer);
    for (unsigned i = 0; i < 3; i++) {
        t->part[i].level = 0;
        t->part[i].bias = 0;
        vtimer_disarm(&t->part[i].tick);
    }
    if (t->ram.host) { /* its bytes stay, as a reset leaves video memory */
        (void)gmem_block_lend(d->m, &t->ram, GMEM_NOWHERE);
    }
    line_set(&t->irq, false);
}

static inline int toy_loaded(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;
    t->loads++;
    if (t->refuse_load) {
        return err_set(e, -EINVAL, "not today");
    }
    line_set(&t->irq, t->flag);
    return 0;
}

static inline void toy_fini(struct device *d)
{
    struct toy *t = (struct toy *)d;
    for (unsigned i = 0; i < 4; i++) {
        region_unmap(&t->win[i]);
    }
    line_fini(&t->irq);
    vtimer_fini(&t->timer);
    for (unsigned i = 0; i < 3; i++) {
        vtimer_fini(&t->part[i].tick);
    }
    gmem_block_free(d->m, &t->ram);
}

static const struct state_field toy_part_state[] = {
    FIELD(struct toy_part, level),
    FIELD(struct toy_part, bias),
    FIELD_TIMER(struct toy_part, tick),
    FIELD_END,
};

static const struct state_field toy_state[] = {
    FIELD(struct toy, flag),
    FIELD_ARRAY(struct toy, bytes),
    FIELD_RANGE(struct toy, mode, 1, 7),
    FIELD(struct toy, addr),
    FIELD(struct toy, big),
    FIELD_RANGE(struct toy, low, (uint64_t)-3, 3),
    FIELD(struct toy, wide),
    FIELD_TIMER(struct toy, timer),
    FIELD_SUB(struct toy, part, toy_part_state, 3),
    FIELD_BLOCK(struct toy, ram),
    FIELD_END,
};

static const struct dev_prop toy_props[] = {
    PROP(struct toy, "ram", PROP_SIZE, ram_len, 0, "bytes of device RAM"),
    { 0 },
};

static const struct dev_class toy_class = {
    .name = "toy",
    .desc = "a device of the tests",
    .size = sizeof(struct toy),
    .props = toy_props,
    .state = toy_state,
    .state_version = 2,
    .init = toy_init,
    .reset = toy_reset,
    .loaded = toy_loaded,
    .fini = toy_fini,
};

static inline struct toy *toy_new(struct machine *m, uint64_t ram_len)
{
    struct device *d = dev_new(m, &toy_class, NULL);
    dev_set_size(d, "ram", ram_len);
    assert_int_equal(dev_init(d, NULL), 0);
    return (struct toy *)d;
}

/* Window i of t, len bytes of space at base. */
static inline struct region *toy_map(struct toy *t, unsigned i, const struct region_ops *ops,
                                     enum io_space space, uint64_t base, uint64_t len)
{
    region_init(&t->win[i], &t->dev, ops, space, len, "WIN");
    region_map(&t->win[i], base);
    return &t->win[i];
}

/* A machine that runs, with ram bytes at 0. */
static inline struct machine *toy_machine(struct flat_host **f, uint64_t ram)
{
    *f = flat_new(ram);
    struct machine *m = machine_new("toys", &flat_host_ops, *f);
    machine_enter(m);
    machine_set_run_state(m, RUN_RUNNING);
    machine_leave(m);
    return m;
}

#endif
