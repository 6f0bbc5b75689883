/* SPDX-License-Identifier: MIT */
/* block/histogram.h - how often something was between which boundaries. All zero: nothing is counted. */
#ifndef BLOCK_HISTOGRAM_H
#define BLOCK_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

struct histogram {
    uint64_t *boundary; /* n of them, rising */
    uint64_t *bin;      /* n + 1: below boundary 0, from there to boundary 1, ...; NULL: off */
    size_t n;
};

/* Counts anew. -EINVAL when boundaries do not rise from 1 on: h is as before. */
int histogram_set(struct histogram *h, const uint64_t *boundary, size_t n);
/* Off. */
void histogram_fini(struct histogram *h);
void histogram_count(struct histogram *h, uint64_t v);

#endif
