/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-mux.c - two devices on one stream: see chr-mux.h. */
#include "dm/chardev/chr-mux.h"

#include "dm/base/util.h"
#include "dm/chardev/chardev-int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FRONTS = 2, HELD = 64, ESCAPE = 1 };

struct front {
    struct chardev d; /* first, so a struct chr * is a struct front * */
    struct chr_mux *x;
    uint8_t held[HELD]; /* typed, and not taken yet */
    size_t n;
};

struct chr_mux {
    struct chr *base;
    struct front *front[FRONTS];
    unsigned n, alive, focus;
    bool escaped;
    void (*quit)(void *o);
    void *quit_o;
};

static const char help[] =
    "\r\nC-a h    this text\r\nC-a x    end Keel\r\nC-a b    send a break\r\n"
    "C-a c    switch between the machine and the monitor\r\n"
    "C-a C-a  send C-a\r\n";

/* ---- a front end ---- */

static void offer(struct front *f)
{
    const struct chr_handlers *h = f->d.c.handlers;
    while (h && f->n) {
        size_t room = h->can_read ? h->can_read(f->d.c.opaque) : 0;
        size_t n = room < f->n ? room : f->n;
        if (!n) {
            return;
        }
        uint8_t chunk[HELD];
        memcpy(chunk, f->held, n);
        memmove(f->held, f->held + n, f->n - n);
        f->n -= n;
        h->read(f->d.c.opaque, chunk, n);
        h = f->d.c.handlers;
    }
}

static void front_kick(struct chr *c)
{
    struct front *f = (struct front *)c;
    offer(f);
    chr_kick(f->x->base);
}

static long front_write(struct chr *c, const void *buf, size_t len)
{
    return chr_write(((struct front *)c)->x->base, buf, len);
}

static void front_free(struct chr *c)
{
    struct front *f = (struct front *)c;
    struct chr_mux *x = f->x;
    for (unsigned i = 0; i < x->n; i++) {
        if (x->front[i] == f) {
            x->front[i] = NULL;
        }
    }
    if (--x->alive == 0) {
        free(x);
    }
    chardev_fini(&f->d);
    free(f);
}

static const struct chr_ops front_ops = {
    .kind = "mux", .write = front_write, .kick = front_kick, .free = front_free
};

/* ---- the stream ---- */

static void move_focus(struct chr_mux *x)
{
    if (x->focus) { /* it opens again with a new prompt */
        chardev_set_open(&x->front[x->focus]->d, false);
    }
    x->focus = (x->focus + 1) % x->n;
    chardev_set_open(&x->front[x->focus]->d, true);
}

static void command(struct chr_mux *x, uint8_t key)
{
    struct chr *c = &x->front[x->focus]->d.c;
    switch (key) {
    case 'c':
        move_focus(x);
        break;
    case 'x':
        if (x->quit) {
            x->quit(x->quit_o);
        }
        break;
    case 'b':
        if (c->handlers && c->handlers->event) {
            c->handlers->event(c->opaque, CHR_BREAK);
        }
        break;
    case 'h':
    case '?':
        chr_write(x->base, help, sizeof(help) - 1);
        break;
    default:
        break;
    }
}

static void typed(struct chr_mux *x, uint8_t byte)
{
    struct front *f = x->front[x->focus];
    if (x->escaped && byte != ESCAPE) {
        x->escaped = false;
        command(x, byte);
    } else if (!x->escaped && byte == ESCAPE) {
        x->escaped = true;
    } else if (f->n < HELD) {
        x->escaped = false;
        f->held[f->n++] = byte;
        offer(f);
    }
}

/* While a device does not read, some of its input is held, so that the escape still gets through. */
static size_t base_can_read(void *o)
{
    struct chr_mux *x = o;
    const struct front *f = x->front[x->focus];
    return f ? HELD - f->n : 0;
}

static void base_read(void *o, const uint8_t *buf, size_t len)
{
    struct chr_mux *x = o;
    for (size_t i = 0; i < len && x->front[x->focus]; i++) {
        typed(x, buf[i]);
    }
}

static void base_writable(void *o)
{
    struct chr_mux *x = o;
    for (unsigned i = 0; i < x->n; i++) {
        struct chr *c = x->front[i] ? &x->front[i]->d.c : NULL;
        if (c && c->handlers && c->handlers->writable) {
            c->handlers->writable(c->opaque);
        }
    }
}

static void base_event(void *o, enum chr_event e)
{
    struct chr_mux *x = o;
    if (e != CHR_BREAK && x->n && x->front[x->focus]) {
        chardev_set_open(&x->front[x->focus]->d, e == CHR_OPENED);
    }
}

static const struct chr_handlers base_handlers = {
    .can_read = base_can_read,
    .read = base_read,
    .writable = base_writable,
    .event = base_event,
};

struct chr_mux *chr_mux_new(struct chr *base)
{
    struct chr_mux *x = xcalloc(1, sizeof(*x));
    x->base = base;
    return x;
}

struct chr *chr_mux_front(struct chr_mux *x, const char *id)
{
    struct front *f = xcalloc(1, sizeof(*f));
    assert(x->n < FRONTS);
    chardev_init(&f->d, NULL, &front_ops, id, xasprintf("mux:%s", x->base->filename));
    f->x = x;
    x->front[x->n++] = f;
    x->alive++;
    if (x->n == 1) {
        chr_attach(x->base, &base_handlers, x);
    }
    return &f->d.c;
}

void chr_mux_on_quit(struct chr_mux *x, void (*quit)(void *o), void *o)
{
    x->quit = quit;
    x->quit_o = o;
}
