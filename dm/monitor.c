/* SPDX-License-Identifier: MIT */
/* dm/monitor.c - carries a monitor's bytes and descriptors. */
#include "dm/monitor.h"

#include "dm/base/chr.h"
#include "dm/base/util.h"
#include "dm/keel.h"

#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

/* A peer that does not read: above the first bound Keel stops listening to it, above the second it
 * misses events. */
#define OUT_STOP_BYTES (64u << 10)
#define OUT_DROP_BYTES (1u << 20)

static void flush(struct monitor *mon)
{
    while (mon->out.len) {
        long n = chr_write(mon->chr, mon->out.p, mon->out.len);
        if (n <= 0) {
            return;
        }
        text_drop(&mon->out, (size_t)n);
    }
}

void monitor_put(struct monitor *mon, const char *s, size_t len)
{
    text_put(&mon->out, s, len);
    flush(mon);
}

static void drop_fds(struct monitor *mon)
{
    int fd;
    while ((fd = monitor_take_fd(mon)) >= 0) {
        close(fd);
    }
}

int monitor_take_fd(struct monitor *mon)
{
    if (mon->nfds == 0) {
        return -1;
    }
    int fd = mon->fds[0];
    mon->nfds--;
    for (unsigned i = 0; i < mon->nfds; i++) {
        mon->fds[i] = mon->fds[i + 1];
    }
    return fd;
}

/* Descriptors come with the first byte of a command and are asked for at its end. */
static void collect_fds(struct monitor *mon)
{
    int fd;
    while (mon->chr->ops->take_fd && (fd = mon->chr->ops->take_fd(mon->chr)) >= 0) {
        if (mon->nfds == MONITOR_MAX_FDS) {
            close(monitor_take_fd(mon));
        }
        mon->fds[mon->nfds++] = fd;
    }
}

static void on_open(struct monitor *mon)
{
    text_free(&mon->out);
    line_edit_reset(&mon->line);
    json_frame_reset(&mon->in);
    mon->negotiated = mon->oob = false;
    if (mon->control) {
        qmp_greet(mon);
    } else {
        hmp_greet(mon);
    }
    chr_kick(mon->chr);
}

static void on_close(struct monitor *mon)
{
    drop_fds(mon);
    text_free(&mon->out);
    mon->negotiated = false;
}

static size_t mon_can_read(void *opaque)
{
    struct monitor *mon = opaque;
    return mon->out.len < OUT_STOP_BYTES ? 4096 : 0;
}

static void mon_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct monitor *mon = opaque;
    collect_fds(mon);
    if (mon->control) {
        qmp_feed(mon, (const char *)buf, len);
    } else {
        hmp_feed(mon, (const char *)buf, len);
    }
}

static void mon_writable(void *opaque)
{
    struct monitor *mon = opaque;
    flush(mon);
    if (mon->out.len < OUT_STOP_BYTES) {
        chr_kick(mon->chr);
    }
}

static void mon_event(void *opaque, enum chr_event e)
{
    if (e == CHR_OPENED) {
        on_open(opaque);
    } else if (e == CHR_CLOSED) {
        on_close(opaque);
    }
}

static const struct chr_handlers handlers = {
    .can_read = mon_can_read,
    .read = mon_read,
    .writable = mon_writable,
    .event = mon_event,
};

void monitor_add(struct keel *k, struct chr *c, bool control)
{
    struct monitor *mon = xcalloc(1, sizeof(*mon));
    *mon = (struct monitor){ .k = k, .chr = c, .control = control, .next = k->monitors };
    k->monitors = mon;
    chr_attach(c, &handlers, mon);
}

static void free_named(struct monitor *mon)
{
    while (mon->named) {
        struct named_fd *n = mon->named;
        mon->named = n->next;
        close(n->fd);
        free(n->name);
        free(n);
    }
}

void monitor_free_all(struct keel *k)
{
    while (k->monitors) {
        struct monitor *mon = k->monitors;
        k->monitors = mon->next;
        flush(mon);
        chr_attach(mon->chr, NULL, NULL);
        on_close(mon);
        free_named(mon);
        line_edit_free(&mon->line);
        json_frame_reset(&mon->in);
        free(mon);
    }
}

static void put_event(struct monitor *mon, const char *line, size_t len)
{
    if (mon->control && mon->negotiated && mon->out.len < OUT_DROP_BYTES) {
        monitor_put(mon, line, len);
    }
}

void monitor_event(struct keel *k, const char *name, json_t *data)
{
    struct timeval tv;
    gettimeofday(&tv, NULL);
    json_t *ev = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)tv.tv_sec,
                           "microseconds", (json_int_t)tv.tv_usec, "event", name);
    if (data) {
        json_object_set_new(ev, "data", data);
    }
    char *s = json_dumps(ev, 0);
    struct text line = { 0 };
    text_add(&line, "%s\r\n", s);
    for (struct monitor *mon = k->monitors; mon; mon = mon->next) {
        put_event(mon, line.p, line.len);
    }
    text_free(&line);
    free(s);
    json_decref(ev);
}
