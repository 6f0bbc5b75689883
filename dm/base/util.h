/* SPDX-License-Identifier: MIT */
/* dm/base/util.h - the handful of helpers every folder needs. */
#ifndef DM_BASE_UTIL_H
#define DM_BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* All ones in the low `size` bytes; size 1..8. What a floating bus of that width reads. */
static inline uint64_t ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;
}

/* calloc/realloc/strdup that end the process with one line when memory is gone: only for set-up
 * and monitor paths, never on a path a guest can drive. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Replaces control characters by '?': a guest, a peer or a file may have chosen the text, and it
 * shall be one line on a terminal. */
void make_printable(char *s);

/* A size as people read it, "1.5 GiB", into buf. Returns buf. */
const char *human(uint64_t bytes, char *buf, size_t len);

#endif
