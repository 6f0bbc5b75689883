/* SPDX-License-Identifier: MIT */
/* xen-glue/mapcache.h - guest memory, mapped into this process in windows and kept for a while.
 *
 * A foreign mapping costs a hypercall a page, a look-up here a few nanoseconds. Windows of 256 KiB
 * are mapped whole, with a bit for every page that is really there. The least recently used one
 * goes when the bound is reached; pinned ones stay until unpinned, even when invalidated. All
 * calls are made under the machine lock.
 */
#ifndef XEN_GLUE_MAPCACHE_H
#define XEN_GLUE_MAPCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAPCACHE_PAGES 64u /* a window's valid pages fit one uint64_t */
#define MAPCACHE_WINDOW (MAPCACHE_PAGES * 4096ull)
/* Foreign mappings take no memory of ours but page tables (2 MiB a GiB). A guest's disk buffers lie
 * all over its RAM, so the bound follows RAM between these two. */
#define MAPCACHE_LEAST_LIMIT (64ull << 20)
#define MAPCACHE_MOST_LIMIT (512ull << 20)

/* Where the mappings come from. */
struct mapcache_ops {
    /* Maps n pages from guest frame first. *valid gets a bit for each page that is RAM. NULL with
     * errno set when nothing was mapped. */
    void *(*map)(void *opaque, uint64_t first, unsigned n, uint64_t *valid);
    void (*unmap)(void *opaque, void *addr, unsigned n);
};

struct mapcache_stats {
    uint64_t hits, misses, bytes;
};

struct mapcache;
struct mapcache *mapcache_new(const struct mapcache_ops *ops, void *opaque, uint64_t limit_bytes);
/* Nothing may be pinned any more. */
void mapcache_free(struct mapcache *c);

/* A pointer to guest-physical gpa, with *len cut to what is contiguous; NULL when gpa is not RAM or
 * everything is pinned. Valid until the next call here, or if pinned until mapcache_unpin. */
void *mapcache_get(struct mapcache *c, uint64_t gpa, size_t *len, bool pin);
/* ptr lies in a window that mapcache_get pinned. */
void mapcache_unpin(struct mapcache *c, void *ptr);
/* Forgets [gpa, gpa + len): those guest frames now mean other memory. */
void mapcache_invalidate(struct mapcache *c, uint64_t gpa, uint64_t len);
void mapcache_stats(const struct mapcache *c, struct mapcache_stats *out);

#endif
