/* SPDX-License-Identifier: MIT */
/* xen-glue/blocks.c - device RAM that the guest can see: extra guest pages that move.
 *
 * A block's pages are added to the domain behind its RAM (their home), are mapped here for good,
 * and are moved to the address where the guest mapped the device's window, and home again. So they
 * exist exactly once at any time and travel with the guest's memory when it is saved; after a
 * restore they are where they were, and are mapped only once the restored state says where that
 * is (until then the device has plain zeroed memory at the same host address).
 *
 * Homes are given out in order of creation from the first free address behind RAM, or from 4 GiB
 * if RAM reaches so high that video memory would grow into the PCI hole. `-m` does not count them;
 * libxl counts them in the domain's limit, which is raised here if it does not suffice.
 *
 * Tracking which pages the guest writes makes its first write to each page fault, so it is on only
 * while somebody keeps asking.
 */
#include "xen-glue/xen-int.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FOUR_GIB (1ull << 32)
#define HOLE_START 0xf0000000ull /* where hvmloader's PCI hole begins by default */
#define HOMES_MAX (512ull << 20) /* more than all blocks of a machine together */
#define LEGACY_FIRST 0xa0000ull  /* the one hole inside low RAM */
#define LEGACY_END 0xc0000ull
#define RELOCATE_MAX 0x4000u /* pages a call: Xen counts them in 16 bits on the way */
#define UNTRACK_NS 3000000000ll

struct xen_block {
    struct gmem_block *b;
    uint64_t home, at; /* guest-physical; at == home unless lent */
    bool mapped;       /* b->host is guest memory, not a stand-in during a restore */
    bool tracked;
    uint64_t *wrote; /* a bit for each page that the device wrote since it was last asked */
    struct xen_block *next;
};

void blocks_layout(struct xen *x, uint64_t ram_bytes, uint64_t below_4g_max)
{
    uint64_t below = below_4g_max ? below_4g_max : HOLE_START;
    x->ram_below = min_u64(ram_bytes, below);
    x->ram_above = ram_bytes - x->ram_below;
    x->next_home = x->ram_below;
    if (x->ram_above || x->ram_below + HOMES_MAX > below) {
        x->next_home = FOUR_GIB + x->ram_above;
    }
}

static bool overlaps(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return a < b + blen && b < a + alen;
}

/* Whether [gpa, gpa + len) is neither RAM nor another block's pages, now or when back home. */
static bool is_free(const struct xen *x, const struct xen_block *self, uint64_t gpa, uint64_t len)
{
    if (gpa % XEN_PAGE || gpa + len < gpa) {
        return false;
    }
    bool legacy = gpa >= LEGACY_FIRST && gpa + len <= LEGACY_END;
    if ((overlaps(gpa, len, 0, x->ram_below) && !legacy) ||
        overlaps(gpa, len, FOUR_GIB, x->ram_above)) {
        return false;
    }
    for (const struct xen_block *o = x->blocks; o; o = o->next) {
        if (o != self &&
            (overlaps(gpa, len, o->at, o->b->len) || overlaps(gpa, len, o->home, o->b->len))) {
            return false;
        }
    }
    return true;
}

static xen_pfn_t *frames(uint64_t gpa, uint64_t pages)
{
    xen_pfn_t *f = xcalloc(pages, sizeof(*f));
    for (uint64_t i = 0; i < pages; i++) {
        f[i] = gpa / XEN_PAGE + i;
    }
    return f;
}

/* Maps the block's guest pages at gpa, over the stand-in if there is one. */
static int map_block(struct xen *x, struct xen_block *xb, uint64_t gpa)
{
    uint64_t pages = xb->b->len / XEN_PAGE;
    xen_pfn_t *f = frames(gpa, pages);
    void *p = x->lib.xenforeignmemory_map2(x->fm, x->domid, xb->b->host, PROT_READ | PROT_WRITE,
                                           xb->b->host ? MAP_FIXED : 0, pages, f, NULL);
    int r = p ? 0 : -errno;
    free(f);
    if (p) {
        xb->b->host = p;
        xb->at = gpa;
        xb->mapped = true;
    }
    return r;
}

static int stand_in(struct gmem_block *b, bool over)
{
    void *p = mmap(b->host, b->len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | (over ? MAP_FIXED : 0), -1, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    b->host = p;
    return 0;
}

/* map_block for a block whose address the device already uses: on failure the library may have
 * left a gap there, which gets plain memory again. */
static int map_restored(struct xen *x, struct xen_block *xb, uint64_t gpa)
{
    int r = map_block(x, xb, gpa);
    if (r < 0) {
        stand_in(xb->b, true);
    }
    return r;
}

static int raise_limit(struct xen *x, uint64_t need_kb)
{
    if (!x->max_memkb || need_kb <= x->free_memkb) {
        return 0;
    }
    x->max_memkb += need_kb - x->free_memkb;
    x->free_memkb = need_kb;
    return x->lib.xc_domain_setmaxmem(x->xc, x->domid, x->max_memkb);
}

/* Xen hands out scrubbed pages, so they need no clearing. */
static int populate(struct xen *x, uint64_t gpa, uint64_t len)
{
    if (raise_limit(x, len / 1024) < 0) {
        return -errno;
    }
    xen_pfn_t *f = frames(gpa, len / XEN_PAGE);
    int r = x->lib.xc_domain_populate_physmap_exact(x->xc, x->domid, len / XEN_PAGE, 0, 0, f);
    int err = errno;
    free(f);
    x->free_memkb -= min_u64(x->free_memkb, len / 1024);
    return r == 0 ? 0 : err ? -err : -ENOMEM;
}

static int bring_to_life(struct xen *x, struct xen_block *xb)
{
    if (x->restoring) {
        return stand_in(xb->b, false);
    }
    int r = populate(x, xb->home, xb->b->len);
    return r < 0 ? r : map_block(x, xb, xb->home);
}

int xen_block_new(void *h, struct gmem_block *b, struct err *e)
{
    struct xen *x = h;
    struct xen_block *xb = xcalloc(1, sizeof(*xb));
    xb->b = b;
    xb->home = xb->at = x->next_home;
    b->host = NULL;
    b->priv = xb;
    xb->wrote = xcalloc(b->len / XEN_PAGE / 64 + 1, sizeof(*xb->wrote));
    int r = bring_to_life(x, xb);
    if (r < 0) {
        free(xb->wrote);
        free(xb);
        b->priv = NULL;
        return err_set(e, r, "cannot give domain %u %llu KiB of memory for %s at 0x%llx: %s",
                       x->domid, (unsigned long long)b->len / 1024, b->name,
                       (unsigned long long)x->next_home, strerror(-r));
    }
    x->next_home += b->len;
    xb->next = x->blocks;
    x->blocks = xb;
    return 0;
}

static void track_off(struct xen *x, struct xen_block *xb)
{
    if (xb->tracked) {
        xb->tracked = false;
        x->lib.xendevicemodel_track_dirty_vram(x->dm, x->domid, 0, 0, NULL);
    }
}

/* The pages stay in the domain: they are its memory. */
void xen_block_free(void *h, struct gmem_block *b)
{
    struct xen *x = h;
    struct xen_block *xb = b->priv;
    if (!xb) {
        return;
    }
    track_off(x, xb);
    if (xb->mapped) {
        x->lib.xenforeignmemory_unmap(x->fm, b->host, b->len / XEN_PAGE);
    } else {
        munmap(b->host, b->len);
    }
    for (struct xen_block **p = &x->blocks; *p; p = &(*p)->next) {
        if (*p == xb) {
            *p = xb->next;
            break;
        }
    }
    free(xb->wrote);
    free(xb);
    b->host = NULL;
    b->priv = NULL;
}

/* Moves pages in calls of RELOCATE_MAX. Returns how many were moved; errno says why not all. */
static uint64_t relocate_some(struct xen *x, uint64_t from, uint64_t to, uint64_t pages)
{
    uint64_t done = 0;
    for (uint64_t n; done < pages; done += n) {
        n = min_u64(pages - done, RELOCATE_MAX);
        if (x->lib.xendevicemodel_relocate_memory(
                x->dm, x->domid, (uint32_t)n, from / XEN_PAGE + done, to / XEN_PAGE + done) < 0) {
            break;
        }
    }
    return done;
}

/* All of a block or nothing: what had moved when a call failed goes back. */
static bool relocate(struct xen *x, const struct xen_block *xb, uint64_t to)
{
    uint64_t pages = xb->b->len / XEN_PAGE, done = relocate_some(x, xb->at, to, pages);
    if (done == pages) {
        return true;
    }
    int why = errno;
    log_limited(&x->memory_log, "xen", "cannot move %s from 0x%llx to 0x%llx: %s", xb->b->name,
                (unsigned long long)xb->at, (unsigned long long)to, strerror(why));
    if (relocate_some(x, to, xb->at, done) != done) {
        log_limited(&x->memory_log, "xen", "%s lies in pieces at 0x%llx and 0x%llx: %s",
                    xb->b->name, (unsigned long long)xb->at, (unsigned long long)to,
                    strerror(errno));
    }
    return false;
}

/* Write-back caching where the block is lent, as for RAM: Xen would guess uncached for an address
 * in the PCI hole. Xen keeps a short list of such ranges, so each is taken off again. */
static void set_caching(struct xen *x, const struct xen_block *xb, uint32_t type)
{
    uint64_t first = xb->at / XEN_PAGE;
    uint64_t last = first + xb->b->len / XEN_PAGE - 1;
    if (xb->at != xb->home &&
        x->lib.xendevicemodel_pin_memory_cacheattr(x->dm, x->domid, first, last, type) < 0) {
        log_limited(&x->memory_log, "xen", "cannot set the caching of %s: %s", xb->b->name,
                    strerror(errno));
    }
}

static bool move(struct xen *x, struct xen_block *xb, uint64_t to)
{
    uint64_t len = xb->b->len;
    if (to == xb->at) {
        return true;
    }
    track_off(x, xb);
    set_caching(x, xb, XEN_DMOP_DELETE_MEM_CACHEATTR);
    bool moved = relocate(x, xb, to);
    mapcache_invalidate(x->cache, xb->at, len);
    mapcache_invalidate(x->cache, to, len);
    xb->at = moved ? to : xb->at;
    set_caching(x, xb, XEN_DMOP_MEM_CACHEATTR_WB);
    return moved;
}

static bool lend(struct xen *x, struct xen_block *xb, uint64_t gpa)
{
    if (!is_free(x, xb, gpa, xb->b->len)) {
        move(x, xb, xb->home);
        return false;
    }
    if (overlaps(gpa, xb->b->len, xb->at, xb->b->len) && gpa != xb->at) {
        move(x, xb, xb->home); /* frames must not move onto themselves */
    }
    return move(x, xb, gpa);
}

bool xen_block_lend(void *h, struct gmem_block *b, uint64_t gpa)
{
    struct xen *x = h;
    struct xen_block *xb = b->priv;
    if (__atomic_load_n(&x->stop, __ATOMIC_RELAXED)) {
        return true; /* the process ends; the guest keeps its memory as it is */
    }
    if (xb->mapped) {
        return gpa == GMEM_NOWHERE ? move(x, xb, xb->home) : lend(x, xb, gpa);
    }
    if (gpa == GMEM_NOWHERE) {
        return true; /* reset before the state arrives; blocks_settle looks at home */
    }
    if (!is_free(x, xb, gpa, b->len)) {
        return false;
    }
    int r = map_restored(x, xb, gpa);
    if (r < 0) {
        log_limited(&x->memory_log, "xen", "restored domain has no %s at 0x%llx: %s", b->name,
                    (unsigned long long)gpa, strerror(-r));
        return false;
    }
    set_caching(x, xb, XEN_DMOP_MEM_CACHEATTR_WB);
    return true;
}

void blocks_settle(struct xen *x)
{
    for (struct xen_block *xb = x->blocks; xb; xb = xb->next) {
        if (!xb->mapped && map_restored(x, xb, xb->home) < 0) {
            log_msg(LOG_INFO, "xen", "%s is not at 0x%llx in the restored domain", xb->b->name,
                    (unsigned long long)xb->home);
        }
    }
}

void xen_block_wrote(void *h, struct gmem_block *b, uint64_t off, uint64_t len)
{
    struct xen *x = h;
    struct xen_block *xb = b->priv;
    if (!len) {
        return;
    }
    for (uint64_t page = off / XEN_PAGE; page <= (off + len - 1) / XEN_PAGE; page++) {
        xb->wrote[page / 64] |= 1ull << page % 64;
    }
    xen_dirtied(x, xb->at + off, len);
}

/* Adds what the device wrote to the n pages from first on, and forgets it. */
static void add_wrote(struct xen_block *xb, uint64_t first, uint64_t n, uint64_t *bitmap)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t *word = &xb->wrote[(first + i) / 64], bit = 1ull << (first + i) % 64;
        if (*word & bit) {
            bitmap[i / 64] |= 1ull << i % 64;
            *word &= ~bit;
        }
    }
}

static void untrack_all(void *opaque)
{
    struct xen *x = opaque;
    for (struct xen_block *xb = x->blocks; xb; xb = xb->next) {
        track_off(x, xb);
    }
}

static void untrack_later(struct xen *x)
{
    if (x->loop) {
        x->untrack.cb = untrack_all;
        x->untrack.opaque = x;
        ev_timer_arm(x->loop, &x->untrack, ev_now_ns() + UNTRACK_NS);
    }
}

void xen_block_dirty(void *h, struct gmem_block *b, uint64_t off, uint64_t len, uint64_t *bitmap)
{
    struct xen *x = h;
    struct xen_block *xb = b->priv;
    uint64_t first = off / XEN_PAGE, n = (off + len + XEN_PAGE - 1) / XEN_PAGE - first;
    size_t bytes = (n + 63) / 64 * sizeof(*bitmap);

    memset(bitmap, 0, bytes);
    if (xb->at != xb->home) { /* otherwise the guest cannot reach it */
        int r = x->lib.xendevicemodel_track_dirty_vram(x->dm, x->domid, xb->at / XEN_PAGE + first,
                                                       (uint32_t)n, (unsigned long *)bitmap);
        if (r < 0) { /* ENODATA while the domain is migrated, EBUSY, ...: nobody knows */
            memset(bitmap, 0xff, bytes);
        } else {
            xb->tracked = true;
            untrack_later(x);
        }
    }
    add_wrote(xb, first, n, bitmap);
}
