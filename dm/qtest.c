/* SPDX-License-Identifier: MIT */
/* dm/qtest.c - the line protocol of QEMU's device tests: a program in place of the guest.
 *
 * A line is a command, the answer begins with OK, FAIL or ERR; "IRQ raise N" and "IRQ lower N"
 * come unasked, just before the answer of the command that caused them, once the test listens to
 * an interrupt controller. Under accel=qtest time stands still but for clock_step and clock_set.
 * Left out: rtas and hypercalls (other processors), qmp dumps, module_load. Reference: QEMU's
 * system/qtest.c, docs/devel/testing/qtest.rst.
 */
#include "dm/keel.h"

#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/base64.h"
#include "dm/text.h"
#include "ioreq/flat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORDS 6
#define MAX_BYTES (64u << 20) /* one read or write; a line is at most twice that */

struct qtest {
    struct keel *k;
    struct chr *chr;
    struct text line, out;
    int log; /* -1: none */
    bool listening;
};

static void flush(struct qtest *q)
{
    while (q->out.len) {
        long n = chr_write(q->chr, q->out.p, q->out.len);
        if (n <= 0) {
            return;
        }
        text_drop(&q->out, (size_t)n);
    }
}

static void say(struct qtest *q, const char *text)
{
    if (q->log >= 0) {
        dprintf(q->log, "S %s\n", text);
    }
    text_put(&q->out, text, strlen(text));
    text_put(&q->out, "\n", 1);
}

static void irq_changed(void *opaque, unsigned irq, bool level)
{
    struct qtest *q = opaque;
    char text[32];
    if (q->listening) {
        snprintf(text, sizeof(text), "IRQ %s %u", level ? "raise" : "lower", irq);
        say(q, text);
    }
}

struct call {
    struct qtest *q;
    char *word[MAX_WORDS]; /* unused ones are "" */
    unsigned n;
};

static bool number(struct call *c, unsigned i, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(c->word[i], &end, 0);
    return i < c->n && !errno && end != c->word[i] && !*end;
}

static void usage(struct call *c)
{
    char text[64];
    snprintf(text, sizeof(text), "FAIL %.30s: bad arguments", c->word[0]);
    say(c->q, text);
}

/* digits: of hexadecimal, 0 for a decimal number. */
static void ok_value(struct call *c, int digits, uint64_t v)
{
    char text[64];
    if (digits) {
        snprintf(text, sizeof(text), "OK 0x%0*llx", digits, (unsigned long long)v);
    } else {
        snprintf(text, sizeof(text), "OK %lld", (long long)v);
    }
    say(c->q, text);
}

/* ---- ports ---- */

static unsigned size_of(char letter)
{
    return letter == 'b' ? 1 : letter == 'w' ? 2 : letter == 'l' ? 4 : 8;
}

static void do_in(struct call *c)
{
    uint64_t port;
    if (!number(c, 1, &port) || port > 0xffff) {
        usage(c);
        return;
    }
    /* QEMU prints ports' values in four digits. */
    ok_value(c, 4, io_read(c->q->k->m, IO_PIO, port, size_of(c->word[0][2])));
}

static void do_out(struct call *c)
{
    uint64_t port, v;
    if (!number(c, 1, &port) || port > 0xffff || !number(c, 2, &v)) {
        usage(c);
        return;
    }
    io_write(c->q->k->m, IO_PIO, port, size_of(c->word[0][3]), v);
    say(c->q, "OK");
}

/* ---- memory ---- */

static void do_load(struct call *c)
{
    uint64_t at;
    uint8_t buf[8] = { 0 };
    unsigned size = size_of(c->word[0][4]);
    if (!number(c, 1, &at)) {
        usage(c);
        return;
    }
    flat_mem_read(c->q->k->m, at, buf, size);
    ok_value(c, 16, load_le(buf, size));
}

static void do_store(struct call *c)
{
    uint64_t at, v;
    uint8_t buf[8];
    unsigned size = size_of(c->word[0][5]);
    if (!number(c, 1, &at) || !number(c, 2, &v)) {
        usage(c);
        return;
    }
    store_le(buf, size, v);
    flat_mem_write(c->q->k->m, at, buf, size);
    say(c->q, "OK");
}

/* Reads address and length; a buffer of that length, or NULL after an answer. */
static uint8_t *range(struct call *c, uint64_t *at, uint64_t *len)
{
    if (!number(c, 1, at) || !number(c, 2, len) || *len > MAX_BYTES) {
        usage(c);
        return NULL;
    }
    uint8_t *p = calloc(1, *len + 1);
    if (!p) {
        say(c->q, "FAIL out of memory");
    }
    return p;
}

static void answer_text(struct call *c, const char *text, size_t len)
{
    text_put(&c->q->out, "OK ", 3);
    text_put(&c->q->out, text, len);
    text_put(&c->q->out, "\n", 1);
    if (c->q->log >= 0) {
        dprintf(c->q->log, "S OK %.*s\n", (int)(len > 64 ? 64 : len), text);
    }
}

static void do_read(struct call *c)
{
    uint64_t at, len;
    uint8_t *p = range(c, &at, &len);
    char *hex = p ? malloc(2 * len + 3) : NULL;
    if (hex) {
        flat_mem_read(c->q->k->m, at, p, len);
        memcpy(hex, "0x", 3);
        for (uint64_t i = 0; i < len; i++) {
            static const char digits[] = "0123456789abcdef";
            hex[2 + 2 * i] = digits[p[i] >> 4];
            hex[3 + 2 * i] = digits[p[i] & 15];
        }
        answer_text(c, hex, 2 * len + 2);
    }
    free(hex);
    free(p);
}

static int digit(char ch)
{
    return ch >= '0' && ch <= '9'                     ? ch - '0'
           : (ch | 0x20) >= 'a' && (ch | 0x20) <= 'f' ? (ch | 0x20) - 'a' + 10
                                                      : -1;
}

/* Hex digits into p; what they do not cover is zero, as in QEMU. */
static bool unhex(const char *s, uint8_t *p, uint64_t len)
{
    if (s[0] != '0' || s[1] != 'x') {
        return false;
    }
    s += 2;
    for (uint64_t i = 0; i < len && s[0] && s[1]; i++, s += 2) {
        if (digit(s[0]) < 0 || digit(s[1]) < 0) {
            return false;
        }
        p[i] = (uint8_t)(digit(s[0]) << 4 | digit(s[1]));
    }
    return true;
}

static void do_write(struct call *c)
{
    uint64_t at, len;
    uint8_t *p = range(c, &at, &len);
    if (p && unhex(c->word[3], p, len)) {
        flat_mem_write(c->q->k->m, at, p, len);
        say(c->q, "OK");
    } else if (p) {
        usage(c);
    }
    free(p);
}

static void do_memset(struct call *c)
{
    uint64_t at, len, v;
    uint8_t *p = range(c, &at, &len);
    if (p && number(c, 3, &v)) {
        memset(p, (int)(v & 0xff), len);
        flat_mem_write(c->q->k->m, at, p, len);
        say(c->q, "OK");
    } else if (p) {
        usage(c);
    }
    free(p);
}

static void do_b64read(struct call *c)
{
    uint64_t at, len;
    uint8_t *p = range(c, &at, &len);
    if (p) {
        flat_mem_read(c->q->k->m, at, p, len);
        char *text = base64_encode(p, len);
        answer_text(c, text, strlen(text));
        free(text);
    }
    free(p);
}

static void do_b64write(struct call *c)
{
    uint64_t at, len;
    uint8_t *p = range(c, &at, &len);
    if (p && base64_decode(c->word[3], p, len) == (long)len) {
        flat_mem_write(c->q->k->m, at, p, len);
        say(c->q, "OK");
    } else if (p) {
        say(c->q, "FAIL b64write: the text does not give that many bytes");
    }
    free(p);
}

/* ---- time and interrupts ---- */

static void advance(struct call *c, int64_t ns)
{
    struct keel *k = c->q->k;
    flat_advance(k->flat, k->m, ns);
    ok_value(c, 0, (uint64_t)k->flat->now);
}

static void do_step(struct call *c)
{
    uint64_t ns;
    const struct flat_host *f = c->q->k->flat;
    if (c->n == 1) { /* to the next timer */
        advance(c, f->timer_at > f->now ? f->timer_at - f->now : 0);
    } else if (number(c, 1, &ns) && ns <= INT64_MAX) {
        advance(c, (int64_t)ns);
    } else {
        usage(c);
    }
}

static void do_set(struct call *c)
{
    uint64_t at;
    if (!number(c, 1, &at) || at > INT64_MAX) {
        usage(c);
        return;
    }
    int64_t now = c->q->k->flat->now;
    advance(c, (int64_t)at > now ? (int64_t)at - now : 0);
}

static void do_intercept(struct call *c)
{
    if (c->n < 2) {
        usage(c);
        return;
    }
    c->q->listening = true;
    say(c->q, "OK");
}

static void do_endianness(struct call *c)
{
    say(c->q, "OK little");
}

static const struct {
    const char *name;
    void (*run)(struct call *c);
} commands[] = {
    { "inb", do_in },
    { "inw", do_in },
    { "inl", do_in },
    { "outb", do_out },
    { "outw", do_out },
    { "outl", do_out },
    { "readb", do_load },
    { "readw", do_load },
    { "readl", do_load },
    { "readq", do_load },
    { "writeb", do_store },
    { "writew", do_store },
    { "writel", do_store },
    { "writeq", do_store },
    { "read", do_read },
    { "write", do_write },
    { "memset", do_memset },
    { "b64read", do_b64read },
    { "b64write", do_b64write },
    { "clock_step", do_step },
    { "clock_set", do_set },
    { "irq_intercept_in", do_intercept },
    { "irq_intercept_out", do_intercept },
    { "endianness", do_endianness },
};

static void dispatch(struct call *c)
{
    char text[80];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, c->word[0]) == 0) {
            commands[i].run(c);
            return;
        }
    }
    snprintf(text, sizeof(text), "FAIL Unknown command '%.40s'", c->word[0]);
    say(c->q, text);
}

/* The doors take the machine lock themselves, which the loop holds around us. */
static void run_line(struct qtest *q)
{
    struct call c = { .q = q };
    char nothing[1] = "", *save, *w;
    if (q->log >= 0) {
        dprintf(q->log, "R %.200s\n", q->line.p);
    }
    for (unsigned i = 0; i < MAX_WORDS; i++) {
        c.word[i] = nothing;
    }
    for (w = strtok_r(q->line.p, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
        if (c.n < MAX_WORDS) {
            c.word[c.n++] = w;
        }
    }
    if (c.n) {
        machine_leave(q->k->m);
        dispatch(&c);
        machine_enter(q->k->m);
    }
}

static size_t can_read(void *opaque)
{
    const struct qtest *q = opaque;
    return q->out.len < 1u << 20 ? 65536 : 0;
}

static void on_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct qtest *q = opaque;
    while (len) {
        const uint8_t *nl = memchr(buf, '\n', len);
        size_t n = nl ? (size_t)(nl - buf) : len;
        if (q->line.len + n <= 2 * MAX_BYTES + 4096) {
            text_put(&q->line, (const char *)buf, n);
        }
        if (nl) {
            run_line(q);
            text_drop(&q->line, q->line.len);
            n++;
        }
        buf += n;
        len -= n;
    }
    flush(q);
}

static void on_writable(void *opaque)
{
    struct qtest *q = opaque;
    flush(q);
    chr_kick(q->chr);
}

static void on_event(void *opaque, enum chr_event e)
{
    struct qtest *q = opaque;
    text_free(&q->line);
    text_free(&q->out);
    q->listening = false;
    if (e == CHR_OPENED) {
        chr_kick(q->chr);
    }
}

static const struct chr_handlers handlers = {
    .can_read = can_read,
    .read = on_read,
    .writable = on_writable,
    .event = on_event,
};

static int open_log(struct qtest *q, const char *path, struct err *e)
{
    q->log = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    return path && q->log < 0 ? err_set(e, -errno, "-qtest-log %s: %s", path, strerror(errno)) : 0;
}

int qtest_open(struct keel *k, struct err *e)
{
    if (!k->o.qtest) {
        return 0;
    }
    if (!k->flat) {
        return err_set(e, -EINVAL, "-qtest: needs accel=qtest");
    }
    struct chr *c = chr_from_spec(&k->be, "qtest", k->o.qtest, e);
    if (!c) {
        return e->code ? err_prefix(e, "-qtest %s", k->o.qtest) : 0;
    }
    struct qtest *q = xcalloc(1, sizeof(*q));
    *q = (struct qtest){ .k = k, .chr = c, .log = -1 };
    k->qtest = q;
    k->flat->irq_changed = irq_changed;
    k->flat->fold_links = true;
    k->flat->opaque = q;
    chr_attach(c, &handlers, q);
    return open_log(q, k->o.qtest_log, e);
}

void qtest_close(struct keel *k)
{
    struct qtest *q = k->qtest;
    if (!q) {
        return;
    }
    k->flat->irq_changed = NULL;
    flush(q);
    chr_attach(q->chr, NULL, NULL);
    text_free(&q->line);
    text_free(&q->out);
    if (q->log >= 0) {
        close(q->log);
    }
    free(q);
    k->qtest = NULL;
}
