/* SPDX-License-Identifier: MIT */
/* target/x86/debug.c - the lists of break- and watchpoints, and who hears of a stop.
 *
 * The lists change only while the vCPUs are paused, so vCPU threads read them without a lock.
 */
#include "target/x86/debug.h"

#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POINTS 256
#define PAGE_MASK 0xfffull

struct watch {
    uint64_t linear, len;
    enum x86_watch how;
};
struct x86_debug {
    uint64_t at[MAX_POINTS]; /* breakpoints */
    size_t nbreaks;
    struct watch watch[MAX_POINTS];
    size_t nwatches;
    x86_stopped_fn stopped;
    void *opaque;
};

struct x86_debug *x86_debug_new(void)
{
    return xcalloc(1, sizeof(struct x86_debug));
}

void x86_debug_free(struct x86_debug *d)
{
    free(d);
}

void x86_debug_listen(struct x86_debug *d, x86_stopped_fn fn, void *o)
{
    d->stopped = fn;
    d->opaque = o;
}

int x86_debug_break_add(struct x86_debug *d, uint64_t linear)
{
    if (d->nbreaks == MAX_POINTS) {
        return -ENOSPC;
    }
    d->at[d->nbreaks++] = linear;
    return 0;
}

int x86_debug_break_del(struct x86_debug *d, uint64_t linear)
{
    for (size_t i = 0; i < d->nbreaks; i++) {
        if (d->at[i] == linear) {
            d->at[i] = d->at[--d->nbreaks];
            return 0;
        }
    }
    return -ENOENT;
}

int x86_debug_watch_add(struct x86_debug *d, uint64_t linear, uint64_t len, enum x86_watch how)
{
    if (len == 0 || len > PAGE_MASK + 1) {
        return -EINVAL;
    }
    if (d->nwatches == MAX_POINTS) {
        return -ENOSPC;
    }
    d->watch[d->nwatches++] = (struct watch){ linear, len, how };
    return 0;
}

int x86_debug_watch_del(struct x86_debug *d, uint64_t linear, uint64_t len, enum x86_watch how)
{
    for (size_t i = 0; i < d->nwatches; i++) {
        const struct watch *w = &d->watch[i];
        if (w->linear == linear && w->len == len && w->how == how) {
            d->watch[i] = d->watch[--d->nwatches];
            return 0;
        }
    }
    return -ENOENT;
}

void x86_debug_clear(struct x86_debug *d)
{
    d->nbreaks = d->nwatches = 0;
}

bool x86_debug_any_break(const struct x86_debug *d)
{
    return d && d->nbreaks > 0;
}

bool x86_debug_break_at(const struct x86_debug *d, uint64_t linear)
{
    for (size_t i = 0; d && i < d->nbreaks; i++) {
        if (d->at[i] == linear) {
            return true;
        }
    }
    return false;
}

/* Linear addresses wrap, so distances are compared, not ends. */
static bool overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return b - a < alen || a - b < blen;
}

bool x86_debug_watches_page(const struct x86_debug *d, uint64_t linear)
{
    for (size_t i = 0; d && i < d->nwatches; i++) {
        if (overlap(linear & ~PAGE_MASK, PAGE_MASK + 1, d->watch[i].linear, d->watch[i].len)) {
            return true;
        }
    }
    return false;
}

bool x86_debug_watch_hit(const struct x86_debug *d, uint64_t linear, uint64_t len, bool write,
                         uint64_t *addr, enum x86_watch *how)
{
    unsigned kind = write ? X86_WATCH_WRITE : X86_WATCH_READ;
    for (size_t i = 0; d && i < d->nwatches; i++) {
        const struct watch *w = &d->watch[i];
        if ((w->how & kind) && overlap(linear, len, w->linear, w->len)) {
            *addr = w->linear;
            *how = w->how;
            return true;
        }
    }
    return false;
}

void x86_debug_stopped(struct x86_debug *d, const struct x86_stop_info *info)
{
    if (d->stopped) {
        d->stopped(d->opaque, info);
    }
}
