/* SPDX-License-Identifier: MIT */
/* dm/gdb-packet.c - packets of the gdb remote serial protocol: $payload#sum, + and -, escapes.
 * Reference: the gdb manual, appendix E.1.
 */
#include "dm/gdb-packet.h"

#include <string.h>

/* ---- bytes and hexadecimal ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

void gdb_put_hex(struct text *t, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text_add(t, "%02x", p[i]);
    }
}

bool gdb_get_hex(const char *s, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(s[2 * i]), low = high < 0 ? -1 : hex_digit(s[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        p[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool gdb_get_number(const char **s, uint64_t *v)
{
    int digit;
    const char *start = *s;
    *v = 0;
    while ((digit = hex_digit(**s)) >= 0) {
        *v = *v << 4 | (unsigned)digit;
        ++*s;
    }
    return *s != start;
}

bool gdb_get_char(const char **s, char c)
{
    return **s == c ? ++*s, true : false;
}

/* ---- sending ---- */

static void flush(struct gdb_link *l)
{
    while (l->out.len) {
        long n = chr_write(l->chr, l->out.p, l->out.len);
        if (n <= 0) {
            return;
        }
        text_drop(&l->out, (size_t)n);
    }
}

void gdb_send(struct gdb_link *l, const char *p, size_t len)
{
    uint8_t sum = 0;
    text_drop(&l->last, l->last.len);
    text_put(&l->last, "$", 1);
    for (size_t i = 0; i < len; i++) {
        char escaped[2] = { '}', (char)(p[i] ^ 0x20) };
        bool special = p[i] == '#' || p[i] == '$' || p[i] == '}' || p[i] == '*';
        text_put(&l->last, special ? escaped : &p[i], special ? 2 : 1);
    }
    for (size_t i = 1; i < l->last.len; i++) {
        sum = (uint8_t)(sum + (uint8_t)l->last.p[i]);
    }
    text_add(&l->last, "#%02x", sum);
    text_put(&l->out, l->last.p, l->last.len);
    flush(l);
}

/* ---- receiving ---- */

/* "}x" stands for x ^ 0x20. */
static void unescape(struct gdb_link *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->len; i++) {
        bool escape = l->in[i] == '}' && i + 1 < l->len;
        l->in[n++] = escape ? (char)(l->in[++i] ^ 0x20) : l->in[i];
    }
    l->len = n;
    l->in[n] = 0;
}

static void end_packet(struct gdb_link *l)
{
    bool good = l->sum == l->told_sum;
    if (!l->no_ack) {
        text_put(&l->out, good ? "+" : "-", 1);
        flush(l);
    }
    if (!good && !l->no_ack) {
        return;
    }
    if (l->too_long) {
        l->user->too_long(l->opaque);
        return;
    }
    unescape(l);
    l->user->packet(l->opaque, l->in, l->len);
}

static void idle_byte(struct gdb_link *l, uint8_t c)
{
    if (c == '$') {
        l->rx = GDB_DATA;
        l->len = 0;
        l->sum = 0;
        l->too_long = false;
    } else if (c == 3) {
        l->user->interrupt(l->opaque);
    } else if (c == '-' && l->last.len) {
        text_put(&l->out, l->last.p, l->last.len);
        flush(l);
    }
}

static void byte(struct gdb_link *l, uint8_t c)
{
    switch (l->rx) {
    case GDB_IDLE:
        idle_byte(l, c);
        break;
    case GDB_DATA:
        if (c == '#') {
            l->rx = GDB_SUM_HIGH;
        } else if (l->len < GDB_PACKET_MAX) {
            l->sum = (uint8_t)(l->sum + c);
            l->in[l->len++] = (char)c;
        } else {
            l->sum = (uint8_t)(l->sum + c);
            l->too_long = true;
        }
        break;
    case GDB_SUM_HIGH:
        l->told_sum = (uint8_t)((unsigned)hex_digit((char)c) << 4);
        l->rx = GDB_SUM_LOW;
        break;
    case GDB_SUM_LOW:
        l->told_sum |= (uint8_t)(hex_digit((char)c) & 0x0f);
        l->rx = GDB_IDLE;
        end_packet(l);
        break;
    }
}

static size_t can_read(void *opaque)
{
    struct gdb_link *l = opaque;
    return l->out.len < GDB_PACKET_MAX * 4 ? 4096 : 0;
}

static void on_read(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        byte(opaque, buf[i]);
    }
}

static void writable(void *opaque)
{
    struct gdb_link *l = opaque;
    flush(l);
    chr_kick(l->chr);
}

static void on_event(void *opaque, enum chr_event ev)
{
    struct gdb_link *l = opaque;
    if (ev == CHR_OPENED) {
        text_free(&l->out);
        text_free(&l->last);
        l->rx = GDB_IDLE;
        l->no_ack = false;
        l->user->opened(l->opaque);
    } else if (ev == CHR_CLOSED) {
        l->user->closed(l->opaque);
    }
}

/* ---- life ---- */

static const struct chr_handlers handlers = { can_read, on_read, writable, on_event };

void gdb_link_open(struct gdb_link *l, struct chr *chr, const struct gdb_packet_user *user,
                   void *opaque)
{
    l->chr = chr;
    l->user = user;
    l->opaque = opaque;
    chr_attach(chr, &handlers, l);
}

bool gdb_link_is_up(const struct gdb_link *l)
{
    return l->chr->handlers && l->chr->open;
}

void gdb_link_close(struct gdb_link *l)
{
    if (l->chr->handlers) {
        chr_attach(l->chr, NULL, NULL);
    }
    text_free(&l->out);
    text_free(&l->last);
}
