/* SPDX-License-Identifier: MIT */
/* dm/hmp-value.c - print, gva2gpa, sum, memsave, pmemsave, dump-guest-memory. */
#include "dm/hmp-value.h"

#include <errno.h>
#include <string.h>

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/hmp-cpu.h"
#include "dm/hmp-expr.h"
#include "dm/hmp-int.h"
#include "dm/keel.h"
#include "dm/qmp.h"
#include "dm/text.h"

static bool value_of(struct keel *k, const char *text, uint64_t *v, struct text *out)
{
    struct err e;
    if (hmp_expr(k, text, v, &e) < 0) {
        text_add(out, "%s\r\n", e.msg);
        return false;
    }
    return true;
}

void hmp_print(struct keel *k, const char *format, const char *expression, struct text *out)
{
    uint64_t v;
    if (!value_of(k, expression, &v, out)) {
        return;
    }
    switch (format[0] ? format[strlen(format) - 1] : 'd') {
    case 'x':
        text_add(out, "0x%llx\r\n", (unsigned long long)v);
        break;
    case 'u':
        text_add(out, "%llu\r\n", (unsigned long long)v);
        break;
    case 'o':
        text_add(out, "0%llo\r\n", (unsigned long long)v);
        break;
    case 'c':
        text_add(out, v >= 0x20 && v < 0x7f ? "'%c'\r\n" : "'\\x%02x'\r\n", (unsigned)(v & 0xff));
        break;
    case 'd':
        text_add(out, "%lld\r\n", (long long)v);
        break;
    default:
        text_add(out, "invalid format: '%s'\r\n", format);
    }
}

void hmp_gva2gpa(struct keel *k, char *const word[], struct text *out)
{
    uint64_t v, gpa;
    if (!value_of(k, word[1], &v, out)) {
        return;
    }
    if (hmp_cpu_translate(k, v, &gpa)) {
        text_add(out, "gpa: 0x%llx\r\n", (unsigned long long)gpa);
    } else {
        text_add(out, "Unmapped\r\n");
    }
}

/* The sum that BSD's sum(1) makes, over guest-physical memory. */
void hmp_sum(struct keel *k, char *const word[], struct text *out)
{
    uint64_t at, size;
    uint16_t sum = 0;
    if (!value_of(k, word[1], &at, out) || !value_of(k, word[2], &size, out)) {
        return;
    }
    for (uint64_t done = 0; done < size;) {
        uint8_t buf[4096];
        size_t n = (size_t)min_u64(size - done, sizeof(buf));
        if (gmem_peek(k->m, at + done, buf, n) < 0) {
            text_add(out, "Cannot access memory\r\n");
            return;
        }
        for (size_t i = 0; i < n; i++) {
            sum = (uint16_t)((sum >> 1 | sum << 15) + buf[i]);
        }
        done += n;
    }
    text_add(out, "%05d\r\n", sum);
}

static void save(struct keel *k, char *const word[], struct text *out)
{
    uint64_t at, size;
    if (value_of(k, word[1], &at, out) && value_of(k, word[2], &size, out)) {
        hmp_qmp(k, word[0],
                json_pack("{s:I, s:I, s:o}", "val", (json_int_t)at, "size", (json_int_t)size,
                          "filename", qmp_text(word[3])),
                out);
    }
}

static void dump(struct keel *k, char *const word[], struct text *out)
{
    bool paging = false;
    unsigned at = 1;
    uint64_t begin, length;
    for (; word[at][0] == '-'; at++) {
        if (strcmp(word[at], "-p") != 0 && strcmp(word[at], "-d") != 0) {
            text_add(out, "Error: %s: not available, Keel writes ELF\r\n", word[at]);
            return;
        }
        paging = paging || word[at][1] == 'p';
    }
    char *uri = xasprintf("%s%s", strncmp(word[at], "fd:", 3) == 0 ? "" : "file:", word[at]);
    json_t *args = json_pack("{s:b, s:o}", "paging", (int)paging, "protocol", qmp_text(uri));
    bool ok = true;
    free(uri);
    if (*word[at + 1]) {
        ok = value_of(k, word[at + 1], &begin, out) && value_of(k, word[at + 2], &length, out);
        if (ok) {
            json_object_set_new(args, "begin", json_integer((json_int_t)begin));
            json_object_set_new(args, "length", json_integer((json_int_t)length));
        }
    }
    if (ok) {
        hmp_qmp(k, "dump-guest-memory", args, out);
    } else {
        json_decref(args);
    }
}

void hmp_save_memory(struct keel *k, char *const word[], struct text *out)
{
    (strcmp(word[0], "dump-guest-memory") == 0 ? dump : save)(k, word, out);
}
