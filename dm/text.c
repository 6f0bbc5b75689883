/* SPDX-License-Identifier: MIT */
/* dm/text.c - a growing string. */
#include "dm/text.h"

#include "dm/base/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_reserve(struct text *t, size_t more)
{
    if (t->len + more + 1 > t->cap) {
        t->cap = (t->len + more + 1) * 2;
        t->p = xrealloc(t->p, t->cap);
    }
}

void text_put(struct text *t, const char *s, size_t len)
{
    text_reserve(t, len);
    memcpy(t->p + t->len, s, len);
    t->len += len;
    t->p[t->len] = '\0';
}

void text_add(struct text *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n > 0) {
        text_reserve(t, (size_t)n);
        vsnprintf(t->p + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

void text_drop(struct text *t, size_t n)
{
    if (n >= t->len) {
        t->len = 0;
        return;
    }
    memmove(t->p, t->p + n, t->len - n + 1);
    t->len -= n;
}

void text_free(struct text *t)
{
    free(t->p);
    *t = (struct text){ 0 };
}
