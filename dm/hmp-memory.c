/* SPDX-License-Identifier: MIT */
/* dm/hmp-memory.c - memory as numbers, characters and instructions for the monitor. */
#include "dm/hmp-memory.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"
#include "dm/hmp-cpu.h"
#include "dm/keel.h"
#include "dm/text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 65536, INSN_MAX = 15 };

struct dump {
    struct keel *k;
    bool linear;
    unsigned long count;
    char form;
    unsigned size;
    struct text *out;
};

static bool parse_format(struct dump *d, const char *f)
{
    static const char sizes[] = "bhw?g";
    char *end;
    d->count = strtoul(f, &end, 10);
    d->count = end == f ? 1 : d->count;
    d->form = 'x';
    d->size = 4;
    for (; *end; end++) {
        const char *s = strchr("bhwg", *end) ? strchr(sizes, *end) : NULL;
        if (s) {
            d->size = *s == 'g' ? 8 : 1u << (s - sizes);
        } else if (strchr("xduoci", *end)) {
            d->form = *end;
        } else {
            text_add(d->out, "invalid char in format: '%c'\r\n", *end);
            return false;
        }
    }
    if (d->form == 'c') {
        d->size = 1;
    }
    return true;
}

/* How many of the len bytes at `at` are there. */
static unsigned read_bytes(const struct dump *d, uint64_t at, uint8_t *to, unsigned len)
{
    unsigned got = 0;
    while (got < len) {
        uint64_t gpa = at + got;
        unsigned n = (unsigned)min_u64(len - got, 4096 - (gpa & 0xfff));
        if ((d->linear && !hmp_cpu_translate(d->k, gpa, &gpa)) ||
            gmem_peek(d->k->m, gpa, to + got, n) < 0) {
            break;
        }
        got += n;
    }
    return got;
}

/* ---- instructions ---- */

static void instructions(const struct dump *d, uint64_t at)
{
    unsigned room = (unsigned)min_u64(d->count, MOST) * INSN_MAX;
    uint8_t *code = xcalloc(1, room);
    unsigned len = read_bytes(d, at, code, room);
    if (!hmp_cpu_disas(d->k, at, code, len, d->count, d->out)) {
        text_add(d->out, "the processors are not Keel's\r\n");
    } else if (!len) {
        text_add(d->out, "Cannot access memory\r\n");
    }
    free(code);
}

/* ---- numbers ---- */

static void number(const struct dump *d, uint64_t v)
{
    static const unsigned wide_d[] = { 4, 6, 11, 20 }, wide_o[] = { 3, 6, 11, 22 };
    unsigned i = (unsigned)__builtin_ctz(d->size);
    unsigned shift = 64 - 8 * d->size;
    switch (d->form) {
    case 'd':
        text_add(d->out, " %*lld", (int)wide_d[i], (long long)(v << shift) >> shift);
        break;
    case 'u':
        text_add(d->out, " %*llu", (int)wide_d[i], (unsigned long long)v);
        break;
    case 'o':
        text_add(d->out, " %#*llo", (int)wide_o[i], (unsigned long long)v);
        break;
    case 'c':
        text_add(d->out, v >= 0x20 && v < 0x7f ? " '%c'" : " '\\x%02x'", (unsigned)v);
        break;
    default:
        text_add(d->out, " 0x%0*llx", (int)d->size * 2, (unsigned long long)v);
    }
}

static void numbers(const struct dump *d, uint64_t at)
{
    unsigned line = d->form == 'c' ? 8 : 16 / d->size;
    for (unsigned long i = 0; i < d->count && i < MOST; i++) {
        uint8_t b[8] = { 0 };
        if (i % line == 0) {
            text_add(d->out, "%016llx:", (unsigned long long)(at + i * d->size));
        }
        if (read_bytes(d, at + i * d->size, b, d->size) < d->size) {
            text_add(d->out, " Cannot access memory\r\n");
            return;
        }
        number(d, load_le(b, d->size));
        if (i % line == line - 1 || i + 1 == d->count) {
            text_add(d->out, "\r\n");
        }
    }
}

void hmp_memory(struct keel *k, const char *format, uint64_t at, bool linear, struct text *out)
{
    struct dump d = { .k = k, .linear = linear, .out = out };
    if (parse_format(&d, format)) {
        (d.form == 'i' ? instructions : numbers)(&d, at);
    }
}
