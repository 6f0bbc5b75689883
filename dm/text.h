/* SPDX-License-Identifier: MIT */
/* dm/text.h - a growing string, for monitor output. Starts as { 0 }; text_free when done. */
#ifndef DM_TEXT_H
#define DM_TEXT_H

#include <stddef.h>

struct text {
    char *p; /* zero-terminated once anything was added, else NULL */
    size_t len, cap;
};

void text_put(struct text *t, const char *s, size_t len);
void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes the first n bytes. */
void text_drop(struct text *t, size_t n);
void text_free(struct text *t);

#endif
