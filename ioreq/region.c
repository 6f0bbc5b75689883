/* SPDX-License-Identifier: MIT */
/* ioreq/region.c - the flat table of who answers which address.
 *
 * A space's mapped regions are kept in order of precedence (higher priority first, then the one
 * mapped earlier). From them a sorted array of disjoint spans is built: each region in turn fills
 * what those before it left free. The table is rebuilt as a whole on each map and unmap, which
 * happens a few dozen times in a guest's life; look-ups happen millions of times.
 */
#include "ioreq/machine-int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t space_last(enum io_space space)
{
    return space == IO_PIO ? 0xffff : UINT64_MAX;
}

static uint64_t region_last(const struct region *r)
{
    uint64_t top = space_last(r->space);
    return r->len - 1 > top - r->base ? top : r->base + r->len - 1;
}

void region_init(struct region *r, struct device *d, const struct region_ops *ops,
                 enum io_space space, uint64_t len, const char *name)
{
    assert(len && space < IO_SPACES);
    *r = (struct region){ .d = d, .ops = ops, .name = name, .space = space, .len = len, .prio = 1 };
}

/* ---- look-up ---- */

/* Index of the first span that ends at or after addr; t->n when there is none. */
static size_t lower_bound(const struct region_span *s, size_t n, uint64_t addr)
{
    size_t lo = 0;
    while (lo < n) {
        size_t mid = lo + (n - lo) / 2;
        if (s[mid].last < addr) {
            lo = mid + 1;
        } else {
            n = mid;
        }
    }
    return lo;
}

const struct region_span *region_find(struct region_table *t, uint64_t addr)
{
    size_t i = lower_bound(t->spans, t->n, addr);
    if (i == t->n || t->spans[i].first > addr) {
        return NULL;
    }
    t->last = i;
    return &t->spans[i];
}

uint64_t region_gap(const struct region_table *t, uint64_t addr)
{
    size_t i = lower_bound(t->spans, t->n, addr);
    return i == t->n ? UINT64_MAX : t->spans[i].first - addr;
}

const struct region_span *region_spans(const struct machine *m, enum io_space space, size_t *n)
{
    *n = m->regions[space].n;
    return m->regions[space].spans;
}

/* ---- rebuilding ---- */

/* Room for one more mapped region. n regions make at most 2n - 1 spans. Both span arrays grow here,
 * so that rebuilding itself cannot fail. */
static bool reserve(struct region_table *t)
{
    if (t->nmapped < t->capmapped) {
        return true;
    }
    size_t want = t->capmapped ? 2 * t->capmapped : 16;
    struct region **mapped = realloc(t->mapped, want * sizeof(struct region *));
    t->mapped = mapped ? mapped : t->mapped;
    struct region_span *spans = realloc(t->spans, 2 * want * sizeof(*spans));
    t->spans = spans ? spans : t->spans;
    struct region_span *spare = realloc(t->spare, 2 * want * sizeof(*spare));
    t->spare = spare ? spare : t->spare;
    if (!mapped || !spans || !spare) {
        return false;
    }
    t->capmapped = want;
    return true;
}

static bool precedes(const struct region *a, const struct region *b)
{
    return a->prio != b->prio ? a->prio > b->prio : a->serial < b->serial;
}

static void list_add(struct region_table *t, struct region *r)
{
    size_t i = t->nmapped++;
    for (; i && precedes(r, t->mapped[i - 1]); i--) {
        t->mapped[i] = t->mapped[i - 1];
    }
    t->mapped[i] = r;
}

static void list_remove(struct region_table *t, const struct region *r)
{
    size_t i = 0;
    while (t->mapped[i] != r) {
        i++;
    }
    t->nmapped--;
    memmove(&t->mapped[i], &t->mapped[i + 1], (t->nmapped - i) * sizeof(struct region *));
}

static void insert_span(struct region_span *s, size_t *n, size_t at, struct region_span new)
{
    memmove(&s[at + 1], &s[at], (*n - at) * sizeof(*s));
    s[at] = new;
    ++*n;
}

static struct region_span span_of(struct region *r, uint64_t first, uint64_t last)
{
    return (struct region_span){ .first = first,
                                 .last = last,
                                 .r = r,
                                 .base = r->base,
                                 .d = r->d,
                                 .read = r->ops->read,
                                 .write = r->ops->write,
                                 .widest = r->ops->max_size ? r->ops->max_size : 4 };
}

/* Gives r every address of its window that no span has yet. */
static size_t fill_gaps(struct region_span *s, size_t n, struct region *r)
{
    uint64_t first = r->base, last = region_last(r);
    for (size_t i = lower_bound(s, n, first);; i++) {
        if (i == n || s[i].first > last) {
            insert_span(s, &n, i, span_of(r, first, last));
            return n;
        }
        if (s[i].first > first) {
            insert_span(s, &n, i, span_of(r, first, s[i].first - 1));
            i++;
        }
        if (s[i].last >= last) {
            return n;
        }
        first = s[i].last + 1;
    }
}

/* ---- what the host is told ---- */

struct range {
    uint64_t first, last;
};

/* Takes the longest run of touching spans from *s, no matter who answers them. */
static bool next_run(const struct region_span **s, const struct region_span *end, struct range *out)
{
    if (*s == end) {
        return false;
    }
    *out = (struct range){ (*s)->first, (*s)->last };
    for (++*s; *s != end && (*s)->first == out->last + 1; ++*s) {
        out->last = (*s)->last;
    }
    return true;
}

/* Calls tell for every part of a's ranges that b's do not cover. */
static void tell_difference(struct machine *m, enum io_space space, const struct region_span *a,
                            size_t na, const struct region_span *b, size_t nb,
                            void (*tell)(void *, enum io_space, uint64_t, uint64_t))
{
    const struct region_span *aend = a + na;
    for (struct range run; next_run(&a, aend, &run);) {
        uint64_t at = run.first;
        bool more = true;
        for (size_t i = lower_bound(b, nb, at); more && i < nb && b[i].first <= run.last; i++) {
            if (b[i].first > at) {
                tell(m->h, space, at, b[i].first - 1);
            }
            more = b[i].last < run.last;
            at = b[i].last + 1;
        }
        if (more) {
            tell(m->h, space, at, run.last);
        }
    }
}

static void rebuild(struct machine *m, enum io_space space)
{
    struct region_table *t = &m->regions[space];
    const struct machine_host *host = m->host;
    struct region_span *old = t->spans;
    size_t nold = t->n, n = 0;
    for (size_t i = 0; i < t->nmapped; i++) {
        n = fill_gaps(t->spare, n, t->mapped[i]);
    }
    t->spans = t->spare;
    t->n = n;
    t->spare = old;
    t->last = 0;
    if (host->release) {
        tell_difference(m, space, old, nold, t->spans, n, host->release);
    }
    if (host->claim) {
        tell_difference(m, space, t->spans, n, old, nold, host->claim);
    }
}

void region_map(struct region *r, uint64_t base)
{
    struct machine *m = r->d->m;
    struct region_table *t = &m->regions[r->space];
    if (r->mapped && r->base == base) {
        return;
    }
    if (base > space_last(r->space)) { /* a BAR may say so: no such port exists */
        region_unmap(r);
        return;
    }
    if (r->mapped) {
        list_remove(t, r);
    } else if (!reserve(t)) {
        log_msg(LOG_ERROR, r->d->id, "region %s stays unmapped: out of memory", r->name);
        return;
    }
    r->base = base;
    r->mapped = true;
    r->serial = m->next_serial++;
    list_add(t, r);
    rebuild(m, r->space);
}

void region_unmap(struct region *r)
{
    if (!r->mapped) {
        return;
    }
    r->mapped = false;
    list_remove(&r->d->m->regions[r->space], r);
    rebuild(r->d->m, r->space);
}

void region_tables_free(struct machine *m)
{
    for (int space = 0; space < IO_SPACES; space++) {
        struct region_table *t = &m->regions[space];
        free(t->mapped);
        free(t->spans);
        free(t->spare);
    }
}
