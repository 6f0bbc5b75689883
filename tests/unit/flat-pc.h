/* SPDX-License-Identifier: MIT */
/* tests/unit/flat-pc.h - a bare PC for device tests: RAM, a clock moved by hand, the host bridge.
 */
#ifndef TESTS_UNIT_FLAT_PC_H
#define TESTS_UNIT_FLAT_PC_H

#include "hw/pci/i440fx.h"
#include "ioreq/flat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct flat_pc {
    struct flat_host *f;
    struct machine *m;
};

/* Initialises d, which must work. */
static inline struct device *pc_start(struct device *d)
{
    struct err e = { 0 };
    if (dev_init(d, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    return d;
}

static inline struct device *pc_add(struct flat_pc *pc, const struct dev_class *class)
{
    return pc_start(dev_new(pc->m, class, NULL));
}

/* 1 MiB of RAM, running; with the host bridge if bridge. */
static inline void pc_make(struct flat_pc *pc, bool bridge)
{
    pc->f = flat_new(1 << 20);
    pc->m = machine_new("pc", &flat_host_ops, pc->f);
    if (bridge) {
        pc_add(pc, &i440fx_class);
    }
    machine_set_run_state(pc->m, RUN_RUNNING);
}

static inline void pc_free(struct flat_pc *pc)
{
    machine_free(pc->m);
    flat_free(pc->f);
}

static inline uint32_t in(struct flat_pc *pc, unsigned port, unsigned size)
{
    return (uint32_t)io_read(pc->m, IO_PIO, port, size);
}

static inline void out(struct flat_pc *pc, unsigned port, unsigned size, uint32_t val)
{
    io_write(pc->m, IO_PIO, port, size, val);
}

static inline uint32_t cfg(struct flat_pc *pc, unsigned devfn, unsigned reg, unsigned size)
{
    return (uint32_t)io_read(pc->m, IO_PCI, PCI_CFG_ADDR(devfn, reg), size);
}

static inline void cfg_set(struct flat_pc *pc, unsigned devfn, unsigned reg, unsigned size,
                           uint32_t val)
{
    io_write(pc->m, IO_PCI, PCI_CFG_ADDR(devfn, reg), size, val);
}

/* Saves src, loads the stream into dst, which must take it and save the same bytes again. */
static inline void pc_move(struct flat_pc *src, struct flat_pc *dst)
{
    struct state_buf a = { 0 }, b = { 0 };
    struct err e = { 0 };

    machine_set_run_state(src->m, RUN_PAUSED);
    machine_set_run_state(dst->m, RUN_PAUSED);
    if (machine_save(src->m, &a, &e) < 0 || machine_load(dst->m, a.p, a.len, &e) < 0 ||
        machine_save(dst->m, &b, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.p, b.p, a.len);
    free(a.p);
    free(b.p);
    machine_set_run_state(src->m, RUN_RUNNING);
    machine_set_run_state(dst->m, RUN_RUNNING);
}

#endif
