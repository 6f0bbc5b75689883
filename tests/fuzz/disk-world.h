/* SPDX-License-Identifier: MIT */
/* tests/fuzz/disk-world.h - the world of a disk controller that is fuzzed: a machine of RAM and a clock
 * that stands still, a loop, drives with images whose completions the fuzzer holds and fails.
 */
#ifndef TESTS_FUZZ_DISK_WORLD_H
#define TESTS_FUZZ_DISK_WORLD_H

#include "tests/unit/fake-image.h"

#include "dm/base/ev.h"
#include "ioreq/flat.h"

#include <stdlib.h>

struct disk_world {
    struct flat_host *f;
    struct machine *m;
    struct ev_loop *loop;
    struct blk *blk[4];
    unsigned nblk;
    unsigned saves;
};

static void world_lock(void *m)
{
    machine_enter(m);
}

static void world_unlock(void *m)
{
    machine_leave(m);
}

static void disk_world_make(struct disk_world *w, uint64_t ram_bytes)
{
    w->f = flat_new(ram_bytes);
    w->m = machine_new("pc", &flat_host_ops, w->f);
    w->loop = ev_loop_new(world_lock, world_unlock, w->m);
}

/* One more drive, with an image in it. */
static struct blk *disk_world_drive(struct disk_world *w, uint64_t image_bytes)
{
    struct blk *b = blk_new(w->loop, "d");

    blk_set_image(b, &fake_image_new(image_bytes)->base);
    w->blk[w->nblk++] = b;
    return b;
}

static void disk_world_free(struct disk_world *w)
{
    machine_free(w->m);
    flat_free(w->f);
    for (unsigned i = 0; i < w->nblk; i++) {
        blk_free(w->blk[i]);
    }
    ev_loop_free(w->loop);
}

static struct device *world_start(struct device *d)
{
    struct err e = { 0 };

    if (dev_init(d, &e) < 0) {
        abort();
    }
    return d;
}

static void world_settle(struct disk_world *w)
{
    while (ev_loop_turn(w->loop, 0) > 0) {
    }
}

static void world_drain(struct disk_world *w)
{
    for (unsigned pass = 0; pass < 3;
         pass++) { /* one drive's completion may start another's work */
        for (unsigned i = 0; i < w->nblk; i++) {
            blk_drain(w->blk[i]);
        }
    }
}

/* A drained machine must save and load, and be the same again. A save is dear: after `most` of them
 * nothing happens. */
static void world_save_and_load(struct disk_world *w, unsigned most)
{
    struct state_buf b = { 0 };
    struct err e = { 0 };
    uint64_t hash;

    if (w->saves++ >= most) {
        return;
    }
    machine_enter(w->m);
    world_drain(w);
    machine_set_run_state(w->m, RUN_PAUSED);
    hash = machine_state_hash(w->m);
    if (machine_save(w->m, &b, &e) < 0 || machine_load(w->m, b.p, b.len, &e) < 0 ||
        machine_state_hash(w->m) != hash) {
        log_msg(LOG_ERROR, "fuzz", "%s", e.msg);
        abort();
    }
    machine_set_run_state(w->m, RUN_RUNNING);
    machine_leave(w->m);
    free(b.p);
}

#endif
