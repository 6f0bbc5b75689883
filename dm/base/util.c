/* SPDX-License-Identifier: MIT */
/* dm/base/util.c - allocation that cannot fail, and text fit to print; see util.h. */
#include "dm/base/util.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p, size_t size)
{
    if (!p) {
        fprintf(stderr, "keel: out of memory (%zu bytes wanted)\n", size);
        exit(1);
    }
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    return must(calloc(n ? n : 1, size ? size : 1), n * size);
}

void *xrealloc(void *p, size_t size)
{
    return must(realloc(p, size ? size : 1), size);
}

char *xstrdup(const char *s)
{
    return must(strdup(s), strlen(s) + 1);
}

char *xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return must(n < 0 ? NULL : s, 0);
}

void make_printable(char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            *s = '?';
        }
    }
}

const char *human(uint64_t bytes, char *buf, size_t len)
{
    static const char *const unit[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    int i;

    frexp((double)bytes / (1000.0 / 1024.0), &i);
    i = i > 0 ? (i - 1) / 10 : 0;
    snprintf(buf, len, "%0.3g %sB", (double)bytes / (double)(1ull << (i * 10)), unit[i]);
    return buf;
}
