/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-uart-ps2.c - serial port, keyboard controller, keyboard and mouse against a
 * hostile guest, with a host side that types, moves, breaks and fills up meanwhile.
 *
 * The input is a list of 4-byte steps: what, and three bytes for it. Aims at crashes and endless
 * loops; what must hold besides is that saved state loads and is then the same.
 */
#include "dm/base/chr.h"
#include "hw/char/uart16550.h"
#include "hw/input/i8042.h"
#include "ioreq/flat.h"
#include "ui/con.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEP = 4, MAX_STEPS = 1024, MAX_MOVES = 2 };

struct cable {
    struct chr c;
    size_t room;
};

struct world {
    struct flat_host *f;
    struct machine *m;
    struct con *con;
    struct cable *cable;
    unsigned moves;
};

static long cable_write(struct chr *c, const void *buf, size_t len)
{
    struct cable *k = (struct cable *)c;
    size_t n = len < k->room ? len : k->room;
    (void)buf;
    k->room -= n;
    return (long)n;
}

static const struct chr_ops cable_ops = { .kind = "fuzz", .write = cable_write };

static void add(struct machine *m, const struct dev_class *class, const char *prop, void *v)
{
    struct device *d = dev_new(m, class, NULL);
    dev_set_ptr(d, prop, v);
    if (dev_init(d, NULL) < 0) {
        abort();
    }
}

static void world_make(struct world *w)
{
    w->moves = 0;
    w->f = flat_new(4096);
    w->m = machine_new("fuzz", &flat_host_ops, w->f);
    w->con = con_new();
    w->cable = xcalloc(1, sizeof(*w->cable));
    w->cable->c = (struct chr){ .ops = &cable_ops, .open = true };
    w->cable->room = 100;
    machine_enter(w->m);
    add(w->m, &uart_class, "chardev", &w->cable->c);
    add(w->m, &i8042_class, "con", w->con);
    machine_set_run_state(w->m, RUN_RUNNING);
    machine_leave(w->m);
}

static void world_free(struct world *w)
{
    machine_free(w->m);
    flat_free(w->f);
    con_free(w->con);
    free(w->cable);
}

static void save(struct world *w, struct state_buf *b)
{
    struct err e = { 0 };
    machine_enter(w->m);
    machine_set_run_state(w->m, RUN_PAUSED);
    if (machine_save(w->m, b, &e) < 0) {
        abort();
    }
    machine_leave(w->m);
}

/* True when the stream was taken. */
static bool load(struct world *w, const struct state_buf *b)
{
    struct err e = { 0 };
    int ret;
    machine_enter(w->m);
    machine_set_run_state(w->m, RUN_PAUSED);
    ret = machine_load(w->m, b->p, b->len, &e);
    machine_set_run_state(w->m, RUN_RUNNING);
    machine_leave(w->m);
    return ret == 0;
}

static void move(struct world *w)
{
    struct world to;
    struct state_buf b = { 0 }, again = { 0 };
    if (w->moves == MAX_MOVES) {
        return;
    }
    world_make(&to);
    to.moves = w->moves + 1;
    to.cable->room = 0; /* so that what waited still waits */
    save(w, &b);
    if (!load(&to, &b)) {
        abort();
    }
    save(&to, &again);
    if (b.len != again.len || memcmp(b.p, again.p, b.len) != 0) {
        abort();
    }
    machine_enter(to.m);
    machine_set_run_state(to.m, RUN_RUNNING);
    machine_leave(to.m);
    free(b.p);
    free(again.p);
    world_free(w);
    *w = to;
}

static void access_port(struct world *w, const uint8_t *s)
{
    static const uint16_t base[4] = { 0x3f8, 0x3f8, 0x60, 0x64 };
    uint16_t port = (uint16_t)(base[s[0] >> 2 & 3] + (s[0] & 8 ? 0 : s[1] & 7));
    unsigned size = s[1] & 0x40 ? 4 : s[1] & 0x20 ? 2 : 1;
    if (s[0] & 0x10) {
        io_write(w->m, IO_PIO, port, size, (uint64_t)s[2] | (uint64_t)s[3] << 8);
    } else {
        io_read(w->m, IO_PIO, port, size);
    }
}

static void from_host(struct world *w, const uint8_t *s)
{
    static const uint16_t odd_keys[4] = { 0xe037, 0xe11d, 0xe048, 0x38 };
    const struct chr *c = &w->cable->c;
    size_t n;
    switch (s[1] & 7) {
    case 0:
        con_key(w->con, s[2] & 0x80 ? odd_keys[s[2] & 3] : s[2], s[3] & 1);
        break;
    case 1:
        con_motion(w->con, (int8_t)s[2] * 1000, (int8_t)s[3] * 77, (int8_t)s[2], s[3]);
        break;
    case 2:
        n = c->handlers->can_read(c->opaque);
        c->handlers->read(c->opaque, s, n < STEP ? n : STEP);
        break;
    case 3:
        c->handlers->event(c->opaque, s[2] & 1 ? CHR_BREAK : CHR_CLOSED);
        break;
    case 4:
        w->cable->room = s[2];
        c->handlers->writable(c->opaque);
        break;
    default:
        machine_reset(w->m);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world w;
    log_set_level(LOG_ERROR);
    world_make(&w);
    for (size_t i = 0; i + STEP <= len && i < MAX_STEPS * STEP; i += STEP) {
        const uint8_t *s = data + i;
        if (s[0] & 1) {
            access_port(&w, s);
        } else if (s[0] & 2) {
            machine_enter(w.m);
            from_host(&w, s);
            machine_leave(w.m);
        } else if (s[0] == 0x80) {
            move(&w);
        } else {
            flat_advance(w.f, w.m, (int64_t)s[1] * 10000);
        }
    }
    world_free(&w);
    return 0;
}
