/* SPDX-License-Identifier: MIT */
/* tcg/cache.c - memory for host code: shared pages, mapped writable and mapped executable.
 *
 * No page is ever both. Code is generated through one view at addresses of the other. The pages have no
 * name: perf looks into its map file only for code in anonymous memory.
 */
#include "tcg/tcg-int.h"

#include "dm/base/err.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

enum { HUGE_PAGE = 2 << 20 };

/* Address space for `bytes` at a multiple of a huge page; MAP_FAILED with errno. */
static void *reserve(size_t bytes)
{
    uint8_t *p = mmap(NULL, bytes + HUGE_PAGE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return p;
    }
    size_t before = -(uintptr_t)p & (HUGE_PAGE - 1);
    if (before) {
        munmap(p, before);
    }
    munmap(p + before + bytes, HUGE_PAGE - before);
    return p + before;
}

static void *shared_pages(size_t bytes)
{
    void *at = reserve(bytes);
    return at == MAP_FAILED ? at
                            : mmap(at, bytes, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* A second view of shared pages, executable and not writable; MAP_FAILED with errno. */
static void *executable_view(void *rw, size_t bytes)
{
    void *at = reserve(bytes);
    void *rx = at == MAP_FAILED /* a move of length 0: the old view stays */
                   ? at
                   : mremap(rw, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at);
    if (rx != MAP_FAILED && mprotect(rx, bytes, PROT_READ | PROT_EXEC) < 0) {
        int err = errno;
        munmap(rx, bytes);
        errno = err;
        return MAP_FAILED;
    }
    return rx;
}

unsigned cache_regions(size_t bytes)
{
    size_t n = bytes / REGION_MIN;
    return n > MAX_REGIONS ? MAX_REGIONS : n ? (unsigned)n : 1;
}

static size_t region_bytes(const struct tcg_cache *c)
{
    return c->bytes / c->regions;
}

void cache_begin(struct tcg_cache *c, unsigned region)
{
    c->used = region ? region * region_bytes(c) : c->thunks;
    c->end = (region + 1) * region_bytes(c);
}

unsigned cache_region_at(const struct tcg_cache *c, const void *rx)
{
    size_t n = (size_t)((const uint8_t *)rx - c->rx) / region_bytes(c);
    return n < c->regions ? (unsigned)n : c->regions - 1;
}

int cache_init(struct tcg_cache *c, size_t bytes, struct err *e)
{
    bytes = (bytes + 4095) & ~(size_t)4095;
    void *rw = shared_pages(bytes);
    if (rw == MAP_FAILED) {
        return err_set(e, -errno, "code cache of %zu bytes: %s", bytes, strerror(errno));
    }
    void *rx = executable_view(rw, bytes);
    if (rx == MAP_FAILED) {
        int err = errno;
        munmap(rw, bytes);
        return err_set(e, -err, "executable memory: %s (keel-engine=interp needs none)",
                       strerror(err));
    }
    *c = (struct tcg_cache){ .rw = rw, .rx = rx, .bytes = bytes, .regions = c->regions };
    return 0;
}

/* Large programs jump all over the cache: with huge pages the processor's TLB holds where to. The kernel
 * may not have any: nothing is lost then. It refuses where no page is at all: hence the read. */
void cache_grow(struct tcg_cache *c, size_t need)
{
    while (c->huge < c->used + need && c->huge + HUGE_PAGE <= c->bytes) {
        (void)*(volatile uint8_t *)(c->rw + c->huge);
        madvise(c->rx + c->huge, HUGE_PAGE, MADV_COLLAPSE);
        c->huge += HUGE_PAGE;
    }
}

void cache_fini(struct tcg_cache *c)
{
    if (c->rw) {
        munmap(c->rw, c->bytes);
        munmap(c->rx, c->bytes);
    }
}
