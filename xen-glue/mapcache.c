/* SPDX-License-Identifier: MIT */
/* xen-glue/mapcache.c - a bounded cache of foreign mappings.
 *
 * Every window is in one of three places: live (hash table and LRU list), live and pinned (hash
 * table only), or stale (neither: invalidated while pinned, unmapped at the last unpin). Pinned
 * windows, live or stale, are on one short list, by which a pointer finds its window again.
 */
#include "xen-glue/mapcache.h"

#include "dm/base/util.h"

#include <assert.h>
#include <stdlib.h>

#define HASH_SIZE 2048u /* as many windows as the largest bound allows */

struct window {
    uint64_t index; /* guest-physical address / MAPCACHE_WINDOW */
    uint8_t *addr;
    uint64_t valid; /* bit n: page n is RAM */
    unsigned pins;
    bool stale;
    struct window *hash_next;
    struct window *newer, *older; /* LRU list, or neighbours on the pinned list */
};

struct list {
    struct window *newest, *oldest;
};

struct mapcache {
    const struct mapcache_ops *ops;
    void *opaque;
    unsigned limit, count; /* windows */
    struct window *last;   /* where the last look-up ended; live, or NULL */
    struct window *hash[HASH_SIZE];
    struct list lru, pinned;
    struct mapcache_stats stats;
};

static void list_add(struct list *l, struct window *w)
{
    w->newer = NULL;
    w->older = l->newest;
    if (l->newest) {
        l->newest->newer = w;
    } else {
        l->oldest = w;
    }
    l->newest = w;
}

static void list_del(struct list *l, struct window *w)
{
    if (w->newer) {
        w->newer->older = w->older;
    } else {
        l->newest = w->older;
    }
    if (w->older) {
        w->older->newer = w->newer;
    } else {
        l->oldest = w->newer;
    }
}

static struct window **bucket(struct mapcache *c, uint64_t index)
{
    return &c->hash[(index ^ index >> 11) % HASH_SIZE];
}

static void hash_del(struct mapcache *c, struct window *w)
{
    struct window **p = bucket(c, w->index);
    while (*p != w) {
        p = &(*p)->hash_next;
    }
    *p = w->hash_next;
    if (c->last == w) {
        c->last = NULL;
    }
}

static void destroy(struct mapcache *c, struct window *w)
{
    c->ops->unmap(c->opaque, w->addr, MAPCACHE_PAGES);
    c->count--;
    free(w);
}

/* Ends the life of a live window: at once, or at its last unpin. */
static void retire(struct mapcache *c, struct window *w)
{
    hash_del(c, w);
    if (w->pins) {
        w->stale = true;
        return;
    }
    list_del(&c->lru, w);
    destroy(c, w);
}

struct mapcache *mapcache_new(const struct mapcache_ops *ops, void *opaque, uint64_t limit_bytes)
{
    struct mapcache *c = xcalloc(1, sizeof(*c));
    c->ops = ops;
    c->opaque = opaque;
    c->limit = (unsigned)max_u64(limit_bytes / MAPCACHE_WINDOW, 1);
    return c;
}

void mapcache_free(struct mapcache *c)
{
    if (!c) {
        return;
    }
    assert(!c->pinned.newest);
    while (c->lru.oldest) {
        retire(c, c->lru.oldest);
    }
    free(c);
}

static struct window *map_window(struct mapcache *c, uint64_t index)
{
    c->stats.misses++;
    if (c->count >= c->limit) {
        if (!c->lru.oldest) {
            return NULL; /* all pinned */
        }
        retire(c, c->lru.oldest);
    }
    struct window *w = calloc(1, sizeof(*w));
    if (!w) {
        return NULL;
    }
    w->index = index;
    w->addr = c->ops->map(c->opaque, index * MAPCACHE_PAGES, MAPCACHE_PAGES, &w->valid);
    if (!w->addr) {
        free(w);
        return NULL;
    }
    c->count++;
    w->hash_next = *bucket(c, index);
    *bucket(c, index) = w;
    list_add(&c->lru, w);
    return w;
}

static struct window *find(struct mapcache *c, uint64_t index)
{
    struct window *w = c->last;
    if (w && w->index == index) {
        c->stats.hits++;
        return w;
    }
    for (w = *bucket(c, index); w && w->index != index; w = w->hash_next) {
    }
    if (!w) {
        w = map_window(c, index);
    } else {
        c->stats.hits++;
        if (!w->pins && w != c->lru.newest) {
            list_del(&c->lru, w);
            list_add(&c->lru, w);
        }
    }
    c->last = w;
    return w;
}

static bool has_page(const struct window *w, unsigned page)
{
    return w->valid >> page & 1;
}

/* The window with the given page in it, or NULL. What was a hole when its window was mapped may
 * have become RAM since (ballooning), so a hole is looked at again. */
static struct window *find_page(struct mapcache *c, uint64_t index, unsigned page)
{
    struct window *w = find(c, index);
    if (w && !has_page(w, page)) {
        retire(c, w);
        c->last = w = map_window(c, index);
    }
    return w && has_page(w, page) ? w : NULL;
}

static void pin_window(struct mapcache *c, struct window *w)
{
    if (w->pins++ == 0) {
        list_del(&c->lru, w);
        list_add(&c->pinned, w);
    }
}

void *mapcache_get(struct mapcache *c, uint64_t gpa, size_t *len, bool pin)
{
    uint32_t off = (uint32_t)(gpa % MAPCACHE_WINDOW);
    unsigned page = off / 4096;
    struct window *w = find_page(c, gpa / MAPCACHE_WINDOW, page);
    if (!w) {
        return NULL;
    }
    uint64_t holes = ~w->valid >> page;
    unsigned run = holes ? (unsigned)__builtin_ctzll(holes) : MAPCACHE_PAGES;
    run = (unsigned)min_u64(run, MAPCACHE_PAGES - page);
    *len = min_u64(*len, (uint64_t)(page + run) * 4096 - off);
    if (pin) {
        pin_window(c, w);
    }
    return w->addr + off;
}

void mapcache_unpin(struct mapcache *c, void *ptr)
{
    struct window *w = c->pinned.newest;
    while (w && (uint64_t)((uint8_t *)ptr - w->addr) >= MAPCACHE_WINDOW) {
        w = w->older;
    }
    assert(w);
    if (--w->pins) {
        return;
    }
    list_del(&c->pinned, w);
    if (w->stale) {
        destroy(c, w);
    } else {
        list_add(&c->lru, w);
    }
}

static void invalidate_list(struct mapcache *c, struct list *l, uint64_t first, uint64_t last)
{
    for (struct window *w = l->newest, *older; w; w = older) {
        older = w->older;
        if (!w->stale && w->index >= first && w->index <= last) {
            retire(c, w);
        }
    }
}

void mapcache_invalidate(struct mapcache *c, uint64_t gpa, uint64_t len)
{
    uint64_t first = gpa / MAPCACHE_WINDOW;
    uint64_t last = (len > UINT64_MAX - gpa ? UINT64_MAX : gpa + len - 1) / MAPCACHE_WINDOW;
    if (len) {
        invalidate_list(c, &c->lru, first, last);
        invalidate_list(c, &c->pinned, first, last);
    }
}

void mapcache_stats(const struct mapcache *c, struct mapcache_stats *out)
{
    *out = c->stats;
    out->bytes = c->count * MAPCACHE_WINDOW;
}
