/* SPDX-License-Identifier: MIT */
/* dm/taps.c - between devices and their back ends, for a trace: see record.h.
 *
 * drive   out: each request (operation, sector, sectors; the bytes unless they are guest memory)
 *         in:  its end (number, result, bytes read unless they are guest memory), a change of
 *              medium, the operator's wish to eject and his hand on the tray
 * stream  out: bytes written, line parameters; in: bytes, events, room again
 * cable   out: frames with what they leave undone; in: frames, link, room again (taps-net.c)
 * screen  in:  keys and pointer motion
 * machine in:  the monitor's commands to a device, what device RAM held at first (option ROMs)
 *
 * A request is known by its number, counted per drive from 0. An input that comes about inside of
 * an output (a stream that has bytes the moment the device asks) carries TAG_NESTED, so that
 * replay delivers it there as well.
 */
#include "dm/taps-int.h"

#include "block/blk.h"
#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "hw/acpi/piix4-pm.h"
#include "hw/intc/apic.h"
#include "hw/pci/pci.h"
#include "hw/timer/mc146818.h"
#include "ui/con.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_NESTED = 0x100 };
enum { DRIVE_SUBMIT = 0, DRIVE_BYTES = 16, DRIVE_DONE = 17, DRIVE_MEDIUM, DRIVE_EJECT, DRIVE_TRAY };
enum { CHR_WRITE = 1, CHR_TOOK, CHR_PARAMS, CHR_BYTES, CHR_EVENT, CHR_WRITABLE };
enum { MACHINE_BLOCK = 16 }; /* others: enum taps_command */
enum { MEDIUM_IN = 1, MEDIUM_READ_ONLY = 2 };
enum { TRAY_OPEN = 1, TRAY_LOCKED = 2 };

#define BLOCK_CHUNK (64u << 10)

struct live_req {
    struct blk_req *r;
    uint32_t number;
};

struct tap_drive {
    struct taps *t;
    struct blk *blk;
    unsigned channel;
    uint32_t next_number;
    struct live_req *live;
    size_t nlive, caplive;
    const struct blk_user *inner; /* the device's, while recording */
    void *inner_opaque;
    struct blk_user user;
    bool inside; /* the device hears of an input: what it does to the tray is no other one */
    struct tap_drive *next;
};

struct tap_chr {
    struct chr_ops ops; /* what c->ops points to; first, so that it leads back here */
    struct taps *t;
    struct chr *c;
    unsigned channel;
    const struct chr_ops *inner;
    const struct chr_handlers *handlers; /* the device's */
    void *opaque;
    uint32_t nested; /* TAG_NESTED while inside of inner's write or kick */
    struct tap_chr *next;
};

unsigned taps_channel(struct taps *t, const char *kind, const char *id,
                      void (*fn)(void *, uint32_t, const void *, size_t), void *opaque)
{
    char *name = xasprintf("%s.%s", kind, id);
    unsigned channel = trace_channel(t->m, name);

    if (t->play) {
        trace_on_input(t->play, name, fn, opaque);
    }
    free(name);
    return channel;
}

/* ---- drives ---- */

static void live_drop(struct tap_drive *d, const struct blk_req *r)
{
    for (size_t i = 0; i < d->nlive; i++) {
        if (d->live[i].r == r) {
            d->live[i] = d->live[--d->nlive];
            return;
        }
    }
}

static struct live_req *live_find(const struct tap_drive *d, const struct blk_req *r)
{
    for (size_t i = 0; i < d->nlive; i++) {
        if (d->live[i].r == r) {
            return &d->live[i];
        }
    }
    return NULL;
}

static void drive_submitted(void *opaque, const struct blk_req *r)
{
    struct tap_drive *d = opaque;
    uint8_t range[10];

    if (d->nlive == d->caplive) {
        d->caplive = d->caplive ? 2 * d->caplive : 8;
        d->live = xrealloc(d->live, d->caplive * sizeof(*d->live));
    }
    d->live[d->nlive++] = (struct live_req){ (struct blk_req *)r, d->next_number++ };
    store_le(range, 6, r->offset / 512);
    store_le(range + 6, 4, r->len / 512);
    trace_output(d->t->m, d->channel, DRIVE_SUBMIT + r->op, range, sizeof(range));
    if (r->op == BLK_WRITE && !r->guest_memory) {
        for (int i = 0; i < r->iovcnt; i++) {
            trace_output(d->t->m, d->channel, DRIVE_BYTES, r->iov[i].iov_base, r->iov[i].iov_len);
        }
    }
}

/* Bytes the device will find in r's buffers. */
static size_t read_len(const struct blk_req *r)
{
    size_t len = 0;

    for (int i = 0; r->op == BLK_READ && !r->guest_memory && i < r->iovcnt; i++) {
        len += r->iov[i].iov_len;
    }
    return len;
}

static void drive_completed(void *opaque, const struct blk_req *r, int ret)
{
    struct tap_drive *d = opaque;
    const struct live_req *live = live_find(d, r);
    size_t len = ret == 0 ? read_len(r) : 0, at = 8;
    uint8_t *data;

    if (!d->t->play && live) {
        data = xcalloc(1, 8 + len);
        store_le(data, 4, live->number);
        store_le(data + 4, 4, (uint32_t)ret);
        for (int i = 0; len && i < r->iovcnt; at += r->iov[i++].iov_len) {
            memcpy(data + at, r->iov[i].iov_base, r->iov[i].iov_len);
        }
        trace_input(d->t->m, d->channel, DRIVE_DONE, data, 8 + len);
        free(data);
    }
    live_drop(d, r);
}

static void drive_cancelled(void *opaque, const struct blk_req *r)
{
    live_drop(opaque, r);
}

static const struct blk_watch drive_watch = { drive_submitted, drive_completed, drive_cancelled };

static void drive_medium_changed(void *opaque)
{
    struct tap_drive *d = opaque;
    uint8_t medium[9];

    store_le(medium, 8, blk_len(d->blk));
    medium[8] = (uint8_t)((blk_present(d->blk) ? MEDIUM_IN : 0) |
                          (blk_read_only(d->blk) ? MEDIUM_READ_ONLY : 0));
    trace_input(d->t->m, d->channel, DRIVE_MEDIUM, medium, sizeof(medium));
    d->inside = true;
    d->inner->medium_changed(d->inner_opaque);
    d->inside = false;
}

static void drive_eject_request(void *opaque, bool force)
{
    struct tap_drive *d = opaque;
    uint8_t byte = force;

    trace_input(d->t->m, d->channel, DRIVE_EJECT, &byte, 1);
    d->inside = true;
    d->inner->eject_request(d->inner_opaque, force);
    d->inside = false;
}

/* Also called when the guest moves or locks the tray, which replay does by itself. */
static void drive_tray_moved(void *opaque)
{
    struct tap_drive *d = opaque;
    uint8_t tray =
        (uint8_t)((blk_tray_open(d->blk) ? TRAY_OPEN : 0) | (blk_locked(d->blk) ? TRAY_LOCKED : 0));

    if (!d->inside && !trace_in_request(d->t->m)) {
        trace_input(d->t->m, d->channel, DRIVE_TRAY, &tray, 1);
    }
    d->inner->tray_moved(d->inner_opaque);
}

static void play_done(struct tap_drive *d, const uint8_t *data, size_t len)
{
    struct blk_req *r = NULL;
    size_t at = 8;
    int ret;

    for (size_t i = 0; len >= 8 && i < d->nlive; i++) {
        r = d->live[i].number == (uint32_t)load_le(data, 4) ? d->live[i].r : r;
    }
    ret = r ? (int32_t)load_le(data + 4, 4) : 0;
    if (!r || ret > 0 || len - 8 != (ret == 0 ? read_len(r) : 0)) {
        trace_refuse(d->t->play, "the end of a disk request that is not in flight");
        return;
    }
    for (int i = 0; len > 8 && i < r->iovcnt; at += r->iov[i++].iov_len) {
        memcpy(r->iov[i].iov_base, data + at, r->iov[i].iov_len);
    }
    blk_end_now(r, ret);
}

static void play_medium(struct tap_drive *d, const uint8_t *data)
{
    uint64_t len = load_le(data, 8);

    blk_set_image(d->blk,
                  data[8] & MEDIUM_IN ? replay_image(len, data[8] & MEDIUM_READ_ONLY) : NULL);
}

static void drive_input(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct tap_drive *d = opaque;
    void *user_opaque;
    const struct blk_user *u = blk_user(d->blk, &user_opaque);

    if (tag == DRIVE_DONE) {
        play_done(d, data, len);
    } else if (tag == DRIVE_MEDIUM && len == 9) {
        play_medium(d, data);
    } else if (tag == DRIVE_EJECT && len == 1 && u && u->eject_request) {
        u->eject_request(user_opaque, *(const uint8_t *)data);
    } else if (tag == DRIVE_TRAY && len == 1) {
        blk_set_tray(d->blk, *(const uint8_t *)data & TRAY_OPEN);
        blk_set_locked(d->blk, *(const uint8_t *)data & TRAY_LOCKED);
    } else {
        trace_refuse(d->t->play, "an input that no drive has");
    }
}

void taps_drive(struct taps *t, struct blk *blk)
{
    struct tap_drive *d = xcalloc(1, sizeof(*d));

    d->t = t;
    d->blk = blk;
    d->channel = taps_channel(t, "drive", blk_id(blk), drive_input, d);
    d->next = t->drives;
    t->drives = d;
    blk_set_watch(blk, &drive_watch, d);
    d->inner = t->play ? NULL : blk_user(blk, &d->inner_opaque);
    if (d->inner) {
        d->user.medium_changed = d->inner->medium_changed ? drive_medium_changed : NULL;
        d->user.eject_request = d->inner->eject_request ? drive_eject_request : NULL;
        d->user.tray_moved = d->inner->tray_moved ? drive_tray_moved : NULL;
        blk_set_user(blk, &d->user, d);
    }
}

static void drive_free(struct tap_drive *d)
{
    blk_set_watch(d->blk, NULL, NULL);
    if (blk_user(d->blk, NULL) == &d->user) {
        blk_set_user(d->blk, d->inner, d->inner_opaque);
    }
    free(d->live);
    free(d);
}

static void replay_submit(struct blk_image *i, struct blk_req *r)
{
    (void)i;
    (void)r; /* the trace says when it ends */
}

static void replay_close(struct blk_image *i)
{
    free(i->filename);
    free(i);
}

struct blk_image *replay_image(uint64_t len, bool read_only)
{
    static const struct blk_image_ops ops = { .format = "raw",
                                              .submit = replay_submit,
                                              .close = replay_close };
    struct blk_image *i = xcalloc(1, sizeof(*i));

    i->ops = &ops;
    i->len = len;
    i->read_only = read_only;
    i->filename = xstrdup("trace");
    return i;
}

/* ---- streams ---- */

static struct tap_chr *tap_of(struct chr *c)
{
    return (struct tap_chr *)c->ops;
}

static long chr_tap_write(struct chr *c, const void *buf, size_t len)
{
    struct tap_chr *s = tap_of(c);
    long took = (long)len;

    uint32_t was = s->nested;

    trace_output(s->t->m, s->channel, CHR_WRITE, buf, len);
    if (s->t->play) {
        trace_deliver_nested(s->t->m, s->channel, TAG_NESTED);
    } else if (s->inner->write) {
        s->nested = TAG_NESTED;
        took = s->inner->write(c, buf, len);
        s->nested = was;
    }
    took = (long)trace_value(s->t->m, s->channel, CHR_TOOK, took);
    return took > (long)len ? (long)len : took;
}

static void chr_tap_kick(struct chr *c)
{
    struct tap_chr *s = tap_of(c);

    if (s->t->play) {
        trace_deliver_nested(s->t->m, s->channel, TAG_NESTED);
    } else if (s->inner->kick) {
        uint32_t was = s->nested;

        s->nested = TAG_NESTED;
        s->inner->kick(c);
        s->nested = was;
    }
}

static void chr_tap_params(struct chr *c, unsigned baud, unsigned data_bits, char parity,
                           unsigned stop_bits)
{
    struct tap_chr *s = tap_of(c);
    uint8_t params[7];

    store_le(params, 4, baud);
    params[4] = (uint8_t)data_bits;
    params[5] = (uint8_t)parity;
    params[6] = (uint8_t)stop_bits;
    trace_output(s->t->m, s->channel, CHR_PARAMS, params, sizeof(params));
    if (!s->t->play && s->inner->set_params) {
        s->inner->set_params(c, baud, data_bits, parity, stop_bits);
    }
}

static size_t chr_tap_can_read(void *opaque)
{
    struct tap_chr *s = opaque;

    return s->handlers->can_read ? s->handlers->can_read(s->opaque) : 0;
}

static void chr_tap_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct tap_chr *s = opaque;

    trace_input(s->t->m, s->channel, CHR_BYTES | s->nested, buf, len);
    s->handlers->read(s->opaque, buf, len);
}

static void chr_tap_writable(void *opaque)
{
    struct tap_chr *s = opaque;

    trace_input(s->t->m, s->channel, CHR_WRITABLE | s->nested, NULL, 0);
    if (s->handlers->writable) {
        s->handlers->writable(s->opaque);
    }
}

static void chr_tap_event(void *opaque, enum chr_event ev)
{
    struct tap_chr *s = opaque;
    uint8_t byte = (uint8_t)ev;

    trace_input(s->t->m, s->channel, CHR_EVENT | s->nested, &byte, 1);
    if (s->handlers->event) {
        s->handlers->event(s->opaque, ev);
    }
}

static const struct chr_handlers chr_tap_handlers = { chr_tap_can_read, chr_tap_read,
                                                      chr_tap_writable, chr_tap_event };

/* Never more than the device has room for, whatever the trace says. */
static void play_bytes(struct tap_chr *s, const uint8_t *data, size_t len)
{
    size_t room = chr_tap_can_read(s);

    if (len > room || !s->handlers->read) {
        trace_refuse(s->t->play, "more bytes than the device has room for");
    } else {
        s->handlers->read(s->opaque, data, len);
    }
}

static void play_event(struct tap_chr *s, uint8_t byte)
{
    if (byte > CHR_BREAK) {
        trace_refuse(s->t->play, "an event that no stream has");
        return;
    }
    s->c->open = byte == CHR_OPENED || (byte != CHR_CLOSED && s->c->open);
    if (s->handlers->event) {
        s->handlers->event(s->opaque, (enum chr_event)byte);
    }
}

static void chr_input(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct tap_chr *s = opaque;

    tag &= ~(uint32_t)TAG_NESTED;
    if (tag == CHR_BYTES) {
        play_bytes(s, data, len);
    } else if (tag == CHR_EVENT && len == 1) {
        play_event(s, *(const uint8_t *)data);
    } else if (tag == CHR_WRITABLE) {
        if (s->handlers->writable) {
            s->handlers->writable(s->opaque);
        }
    } else {
        trace_refuse(s->t->play, "an input that no stream has");
    }
}

void taps_chr(struct taps *t, struct chr *c)
{
    struct tap_chr *s;

    if (!c->handlers) {
        return;
    }
    s = xcalloc(1, sizeof(*s));
    *s = (struct tap_chr){ .ops = *c->ops,
                           .t = t,
                           .c = c,
                           .inner = c->ops,
                           .handlers = c->handlers,
                           .opaque = c->opaque,
                           .next = t->chrs };
    s->ops.write = chr_tap_write;
    s->ops.kick = chr_tap_kick;
    s->ops.set_params = chr_tap_params;
    s->channel = taps_channel(t, "stream", c->id, chr_input, s);
    t->chrs = s;
    c->ops = &s->ops;
    if (!t->play) {
        c->handlers = &chr_tap_handlers;
        c->opaque = s;
    }
}

static void tap_chr_free(struct tap_chr *s)
{
    s->c->ops = s->inner;
    if (s->c->handlers == &chr_tap_handlers) {
        s->c->handlers = s->handlers;
        s->c->opaque = s->opaque;
    }
    free(s);
}

/* ---- the screen ---- */

static void con_tap(void *opaque, int kind, int a, int b, int c, int d)
{
    struct taps *t = opaque;
    int32_t values[4] = { a, b, c, d };

    trace_input(t->m, t->con_channel, (uint32_t)kind, values, sizeof(values));
}

static void con_input(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct taps *t = opaque;
    int32_t v[4];

    if (len != sizeof(v) || tag > CON_TAP_MOTION) {
        trace_refuse(t->play, "an input that no screen has");
        return;
    }
    memcpy(v, data, sizeof(v));
    if (tag == CON_TAP_KEY) {
        con_key(t->con, (uint16_t)v[0], v[1]);
    } else {
        con_motion(t->con, v[0], v[1], v[2], (unsigned)v[3]);
    }
}

void taps_con(struct taps *t, struct con *con)
{
    t->con = con;
    t->con_channel = trace_channel(t->m, "screen");
    if (t->play) {
        trace_on_input(t->play, "screen", con_input, t);
    } else {
        con->tap = con_tap;
        con->tap_opaque = t;
    }
}

/* ---- the machine ---- */

void taps_command(struct taps *t, enum taps_command c, uint32_t arg)
{
    if (t) {
        trace_input(t->m, t->machine_channel, c, &arg, sizeof(arg));
    }
}

static void play_command(struct taps *t, uint32_t c, uint32_t arg)
{
    if (c == TAPS_CONFIG && arg >> 24 == 0) {
        pci_cfg_write(t->m, 0, (uint8_t)(arg >> 16), arg >> 8 & 0xff, 1, arg & 0xff);
    }
    for (struct device *d = t->m->devices; d; d = d->next) {
        if (d->class == &piix4_pm_class && c == TAPS_POWER_BUTTON) {
            piix4_pm_power_button(d);
        } else if (d->class == &piix4_pm_class && c == TAPS_CPU_PLUG && arg < 256) {
            piix4_pm_cpu_plug(d, arg);
        } else if (d->class == &piix4_pm_class && c == TAPS_WAKE) {
            piix4_pm_wake(d);
        } else if (d->class == &apic_class && c == TAPS_NMI) {
            apic_nmi(d);
        } else if (d->class == &mc146818_class && c == TAPS_CMOS && arg >> 8 < 128) {
            mc146818_set_byte(d, arg >> 8, (uint8_t)arg);
        }
    }
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* What device RAM holds before the guest has run: its name, a zero, where, the bytes. */
static void record_block(struct taps *t, const struct gmem_block *b)
{
    size_t name = strlen(b->name) + 1;
    uint8_t *data = xcalloc(1, name + 8 + BLOCK_CHUNK);

    memcpy(data, b->name, name);
    for (uint64_t at = 0; at < b->len; at += BLOCK_CHUNK) {
        size_t n = (size_t)min_u64(BLOCK_CHUNK, b->len - at);

        if (!all_zero(b->host + at, n)) {
            store_le(data + name, 8, at);
            memcpy(data + name + 8, b->host + at, n);
            trace_input(t->m, t->machine_channel, MACHINE_BLOCK, data, name + 8 + n);
        }
    }
    free(data);
}

static void play_block(struct taps *t, const uint8_t *data, size_t len)
{
    size_t name = strnlen((const char *)data, len) + 1;
    struct gmem_block *b = t->m->blocks;
    uint64_t at = name + 8 <= len ? load_le(data + name, 8) : UINT64_MAX;

    while (b && at != UINT64_MAX && strcmp(b->name, (const char *)data) != 0) {
        b = b->next;
    }
    if (!b || at > b->len || len - name - 8 > b->len - at) {
        trace_refuse(t->play, "bytes for device RAM that is not there");
    } else {
        memcpy(b->host + at, data + name + 8, len - name - 8);
    }
}

static void machine_input(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct taps *t = opaque;

    if (tag == MACHINE_BLOCK) {
        play_block(t, data, len);
    } else if (len == 4) {
        play_command(t, tag, (uint32_t)load_le(data, 4));
    } else {
        trace_refuse(t->play, "a command that no machine has");
    }
}

struct taps *taps_new(struct machine *m, struct trace_play *p)
{
    struct taps *t = xcalloc(1, sizeof(*t));

    t->m = m;
    t->play = p;
    t->machine_channel = trace_channel(m, "machine");
    if (p) {
        for (const struct gmem_block *b = m->blocks; b; b = b->next) {
            memset(b->host, 0, b->len); /* what this host's ROM files left */
        }
        trace_on_input(p, "machine", machine_input, t);
    } else {
        for (const struct gmem_block *b = m->blocks; b; b = b->next) {
            record_block(t, b);
        }
    }
    return t;
}

void taps_free(struct taps *t)
{
    if (!t) {
        return;
    }
    for (struct tap_drive *d = t->drives, *next; d; d = next) {
        next = d->next;
        drive_free(d);
    }
    for (struct tap_chr *s = t->chrs, *next; s; s = next) {
        next = s->next;
        tap_chr_free(s);
    }
    taps_free_nics(t);
    if (t->con && !t->play) {
        t->con->tap = NULL;
    }
    free(t);
}
