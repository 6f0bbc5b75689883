/* SPDX-License-Identifier: MIT */
/* block/histogram.c - how often something was between which boundaries. */
#include "block/histogram.h"

#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int histogram_set(struct histogram *h, const uint64_t *boundary, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (boundary[i] <= (i ? boundary[i - 1] : 0)) {
            return -EINVAL;
        }
    }
    histogram_fini(h);
    h->n = n;
    h->boundary = xcalloc(n + 1, sizeof(*h->boundary));
    h->bin = xcalloc(n + 1, sizeof(*h->bin));
    if (n) {
        memcpy(h->boundary, boundary, n * sizeof(*boundary));
    }
    return 0;
}

void histogram_fini(struct histogram *h)
{
    free(h->boundary);
    free(h->bin);
    *h = (struct histogram){ 0 };
}

void histogram_count(struct histogram *h, uint64_t v)
{
    size_t lo = 0, hi = h->n;

    if (!h->bin) {
        return;
    }
    while (lo < hi) { /* the first boundary above v */
        size_t mid = (lo + hi) / 2;
        if (h->boundary[mid] <= v) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    h->bin[lo]++;
}
