/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-chips.c - the chipset and its small companions against a hostile guest.
 *
 * The input is a list of 8-byte steps: what (access to a window, time, reset, move to a new
 * machine), which window, offset, width and value. Aims at crashes and at loops without end; what
 * must hold besides is that saved state loads.
 */
#include "hw/pci/pci.h"
#include "hw/dma/i8257.h"
#include "hw/registry.h"
#include "ioreq/flat.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEP = 8, MAX_STEPS = 256, MAX_MOVES = 2 }; /* a move is dear */

struct world {
    struct flat_host *f;
    struct machine *m;
    struct device *dma[2];
    unsigned moves;
};

static const struct {
    const char *class, *addr;
} chips[] = {
    { "i440FX", NULL },       { "PIIX3", "1.0" }, { "PIIX4_PM", "1.3" }, { "xen-platform", "2.0" },
    { "xen-pvdevice", NULL }, { "port92", NULL }, { "isa-pcspk", NULL }, { "isa-debug-exit", NULL },
};

static struct device *start(struct device *d)
{
    struct err e = { 0 };

    if (dev_init(d, &e) < 0) {
        log_msg(LOG_ERROR, "fuzz", "%s", e.msg);
        abort();
    }
    return d;
}

static struct device *add_dma(struct machine *m, bool wide)
{
    struct device *d = dev_new(m, hw_find("i8257"), NULL);

    dev_set_u32(d, "base", wide ? 0xc0 : 0);
    dev_set_u32(d, "page-base", wide ? 0x88 : 0x80);
    dev_set_u32(d, "dshift", wide);
    return start(d);
}

static void world_make(struct world *w)
{
    w->moves = 0;
    w->f = flat_new(1 << 20);
    w->m = machine_new("pc", &flat_host_ops, w->f);
    machine_enter(w->m);
    for (unsigned i = 0; i < ARRAY_SIZE(chips); i++) {
        struct device *d = dev_new(w->m, hw_find(chips[i].class), NULL);
        if (chips[i].addr) {
            dev_set_str(d, "addr", chips[i].addr);
        }
        start(d);
    }
    w->dma[0] = add_dma(w->m, false);
    w->dma[1] = add_dma(w->m, true);
    machine_set_run_state(w->m, RUN_RUNNING);
    machine_leave(w->m);
}

static void world_free(struct world *w)
{
    machine_free(w->m);
    flat_free(w->f);
}

static void move(struct world *w)
{
    struct world to;
    struct state_buf b = { 0 };
    struct err e = { 0 };
    int ret;

    if (w->moves == MAX_MOVES) {
        return;
    }
    world_make(&to);
    to.moves = w->moves + 1;
    machine_enter(w->m);
    machine_set_run_state(w->m, RUN_PAUSED);
    ret = machine_save(w->m, &b, &e);
    machine_leave(w->m);
    machine_enter(to.m);
    machine_set_run_state(to.m, RUN_PAUSED);
    if (ret < 0 || machine_load(to.m, b.p, b.len, &e) < 0) {
        log_msg(LOG_ERROR, "fuzz", "%s", e.msg);
        abort();
    }
    machine_set_run_state(to.m, RUN_RUNNING);
    machine_leave(to.m);
    free(b.p);
    world_free(w);
    *w = to;
}

static void access_window(struct world *w, const uint8_t *s)
{
    enum io_space space = (enum io_space)(s[0] >> 2 & 3) % IO_SPACES;
    size_t n;
    const struct region_span *spans = region_spans(w->m, space, &n);
    struct io_req q = { .size = (uint8_t)(1u << (s[0] >> 4 & 3)),
                        .space = (uint8_t)space,
                        .write = s[0] >> 6 & 1,
                        .df = s[0] >> 7,
                        .count = 1 };

    if (n == 0) {
        return;
    }
    spans += s[1] % n;
    q.addr = spans->first + (s[2] | (uint64_t)s[3] << 8) % (spans->last - spans->first + 1);
    memcpy(&q.data, s + 4, 4);
    if ((s[3] & 0xf0) == 0xf0) { /* string I/O */
        q.data_is_ptr = true;
        q.count = 1 + s[4] % 64u;
    }
    (void)ioreq_run(w->m, &q);
}

static void dma(struct world *w, const uint8_t *s)
{
    uint8_t buf[1024];
    bool tc;
    struct device *d = w->dma[s[1] & 1];

    memset(buf, s[4], sizeof(buf));
    machine_enter(w->m);
    i8257_dreq(d, s[2] & 3, s[3] & 1);
    if (s[1] & 2) {
        (void)i8257_read(d, s[2] & 3, buf, s[5] * 4u, &tc);
    } else {
        (void)i8257_write(d, s[2] & 3, buf, s[5] * 4u, &tc);
    }
    machine_leave(w->m);
}

static void other(struct world *w, const uint8_t *s)
{
    switch (s[1] & 7) {
    case 0:
        machine_enter(w->m);
        machine_reset(w->m);
        machine_leave(w->m);
        break;
    case 1:
        move(w);
        break;
    case 2:
        w->f->refuse_lend = s[2] & 1;
        break;
    default:
        flat_advance(w->f, w->m, (int64_t)(s[2] | s[3] << 8 | s[4] << 16) * 1000);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world w;

    log_set_level(LOG_ERROR);
    world_make(&w);
    for (size_t i = 0; i + STEP <= len && i < MAX_STEPS * STEP; i += STEP) {
        switch (data[i] & 3) {
        case 0:
            other(&w, data + i);
            break;
        case 1:
            dma(&w, data + i);
            break;
        default:
            access_window(&w, data + i);
            break;
        }
    }
    world_free(&w);
    return 0;
}
