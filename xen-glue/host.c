/* SPDX-License-Identifier: MIT */
/* xen-glue/host.c - one domain opened, started and closed; the host behind the four doors.
 *
 * Everything that needs more than this domain (the domain's limits, its memory map, xenstore) is
 * done before xen_restrict; what is left afterwards is dm_op, foreign mapping and event channels
 * of this one domain, which Xen and the kernel still allow.
 */
#include "xen-glue/xen-int.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static void *map_window(void *opaque, uint64_t first, unsigned n, uint64_t *valid)
{
    struct xen *x = opaque;
    xen_pfn_t frames[MAPCACHE_PAGES] = { 0 };
    int errs[MAPCACHE_PAGES];
    for (unsigned i = 0; i < n; i++) {
        frames[i] = first + i;
    }
    void *p = x->lib.xenforeignmemory_map(x->fm, x->domid, PROT_READ | PROT_WRITE, n, frames, errs);
    *valid = 0;
    for (unsigned i = 0; p && i < n; i++) {
        *valid |= (uint64_t)(errs[i] == 0) << i;
    }
    return p;
}

static void unmap_window(void *opaque, void *addr, unsigned n)
{
    struct xen *x = opaque;
    x->lib.xenforeignmemory_unmap(x->fm, addr, n);
}

static const struct mapcache_ops cache_ops = { map_window, unmap_window };

/* What Xen's libraries have to say about a failure, we say in one line of our own. */
static void library_says(xentoollog_logger *l, xentoollog_level level, int errnoval,
                         const char *context, const char *format, va_list ap)
{
    char text[256];
    (void)l, (void)level, (void)errnoval;
    vsnprintf(text, sizeof(text), format, ap);
    log_msg(LOG_INFO, context ? context : "libxen", "%s", text);
}

static void nothing_to_destroy(xentoollog_logger *l)
{
    (void)l;
}

static int open_handles(struct xen *x, struct err *e)
{
    xentoollog_logger *log = &x->logger;
    *log = (xentoollog_logger){ library_says, NULL, nothing_to_destroy };

    const char *what = "hypercalls";
    if (!(x->xc = x->lib.xc_interface_open(log, log, 0))) {
        goto failed;
    }
    what = "device model calls";
    if (!(x->dm = x->lib.xendevicemodel_open(log, 0))) {
        goto failed;
    }
    what = "foreign memory";
    if (!(x->fm = x->lib.xenforeignmemory_open(log, 0))) {
        goto failed;
    }
    what = "event channels";
    if (!(x->ec = x->lib.xenevtchn_open(log, 0))) {
        goto failed;
    }
    what = "xenstore";
    if (!(x->xs = x->lib.xs_open(0))) {
        goto failed;
    }
    return 0;
failed:
    return err_set(e, errno ? -errno : -EIO, "cannot open Xen's %s: %s (is this a Xen host?)", what,
                   strerror(errno));
}

static int no_domain(const struct xen *x, struct err *e)
{
    return err_set(e, -ESRCH, "domain %u does not exist", x->domid);
}

static int cannot_ask(const struct xen *x, struct err *e)
{
    return errno == ESRCH
               ? no_domain(x, e)
               : err_set(e, -errno, "cannot ask about domain %u: %s", x->domid, strerror(errno));
}

/* Since Xen 4.18 only the stable call is left, which does not tell the memory limit. */
static int ask_stable(struct xen *x, struct err *e)
{
    if (!x->lib.xendevicemodel_nr_vcpus) {
        return err_set(e, -ENOSYS, "Xen's libraries do not tell how many vCPUs a domain has");
    }
    int r = x->lib.xendevicemodel_nr_vcpus(x->dm, x->domid, &x->vcpus);
    return r == 0 ? 0 : cannot_ask(x, e);
}

static int ask_about_domain(struct xen *x, struct err *e)
{
    xc_dominfo_t info;
    if (!x->lib.xc_domain_getinfo) {
        return ask_stable(x, e);
    }
    int n = x->lib.xc_domain_getinfo(x->xc, x->domid, 1, &info);
    if (n < 0) {
        return cannot_ask(x, e);
    }
    if (n != 1 || info.domid != x->domid) { /* Xen tells about the next one there is */
        return no_domain(x, e);
    }
    if (!info.hvm) {
        return err_set(e, -EINVAL, "domain %u is not an HVM domain", x->domid);
    }
    x->vcpus = info.max_vcpu_id + 1;
    x->max_memkb = info.max_memkb;
    x->free_memkb = x->max_memkb - min_u64(x->max_memkb, info.nr_pages * (XEN_PAGE / 1024));
    return 0;
}

static int check_domain(struct xen *x, struct err *e)
{
    int r = ask_about_domain(x, e);
    if (r == 0 && (x->vcpus == 0 || x->vcpus > RING_MAX_VCPUS)) {
        r = err_set(e, -EINVAL, "domain %u has %u vCPUs; 1 to %u are possible", x->domid, x->vcpus,
                    RING_MAX_VCPUS);
    }
    return r;
}

struct xen *xen_open(unsigned domid, uint64_t ram_bytes, uint64_t below_4g_max, bool restoring,
                     struct err *e)
{
    struct xen *x = xcalloc(1, sizeof(*x));
    x->domid = (domid_t)domid;
    x->restoring = restoring;
    x->timer_at = -1;
    store_init(x);
    blocks_layout(x, ram_bytes, below_4g_max);
    if (domid >= DOMID_FIRST_RESERVED) {
        no_domain(x, e);
        goto failed;
    }
    if (xen_lib_open(&x->lib, e) < 0 || open_handles(x, e) < 0 || check_domain(x, e) < 0 ||
        server_create(x, e) < 0) {
        goto failed;
    }
    uint64_t limit = max_u64(min_u64(ram_bytes, MAPCACHE_MOST_LIMIT), MAPCACHE_LEAST_LIMIT);
    x->cache = mapcache_new(&cache_ops, x, limit);
    return x;
failed:
    xen_close(x);
    return NULL;
}

static void close_handles(struct xen *x)
{
    if (x->xs) {
        x->lib.xs_close(x->xs);
    }
    if (x->ec) {
        x->lib.xenevtchn_close(x->ec);
    }
    if (x->fm) {
        x->lib.xenforeignmemory_close(x->fm);
    }
    if (x->dm) {
        x->lib.xendevicemodel_close(x->dm);
    }
    if (x->xc) {
        x->lib.xc_interface_close(x->xc);
    }
}

void xen_close(struct xen *x)
{
    if (!x) {
        return;
    }
    xen_stop(x);
    if (x->loop) {
        ev_timer_disarm(&x->timer);
        ev_timer_disarm(&x->untrack);
        ev_post_cancel(x->loop, &x->timeoffset_post);
        ev_post_cancel(x->loop, &x->lost_post);
    }
    mapcache_free(x->cache);
    server_destroy(x);
    close_handles(x);
    xen_lib_close(&x->lib);
    free(x);
}

void xen_set_on_lost(struct xen *x, void (*cb)(void *opaque, const struct err *e), void *opaque)
{
    x->on_lost = cb;
    x->on_lost_opaque = opaque;
}

static void timer_fired(void *opaque)
{
    struct xen *x = opaque;
    machine_timers(x->m);
}

static void xen_timer(void *h, int64_t when_ns)
{
    struct xen *x = h;
    if (!x->loop) {
        x->timer_at = when_ns;
    } else if (when_ns < 0) {
        ev_timer_disarm(&x->timer);
    } else {
        ev_timer_arm(x->loop, &x->timer, when_ns);
    }
}

int xen_start(struct xen *x, struct machine *m, struct ev_loop *loop, struct err *e)
{
    if (x->claim_failure.code) {
        *e = x->claim_failure;
        return e->code;
    }
    blocks_settle(x);
    x->m = m;
    x->loop = loop;
    x->timer = (struct ev_timer){ .cb = timer_fired, .opaque = x };
    if (x->timer_at >= 0) {
        xen_timer(x, x->timer_at);
    }
    int r = server_enable(x, e);
    return r < 0 ? r : ring_thread_start(x, e);
}

int xen_restrict(struct xen *x, struct err *e)
{
    if (x->lib.xentoolcore_restrict_all(x->domid) < 0) {
        return err_set(e, -errno, "cannot restrict this process to domain %u: %s", x->domid,
                       strerror(errno));
    }
    x->restricted = true;
    return 0;
}

int xen_set_dirty_log(struct xen *x, bool on, struct err *e)
{
    (void)e; /* nothing to ask for: Xen's own log is libxl's business */
    x->dirty_log = on;
    return 0;
}

unsigned xen_vcpus(const struct xen *x)
{
    return x->vcpus;
}

void xen_stats(const struct xen *x, struct xen_stats *out)
{
    struct mapcache_stats cache;
    mapcache_stats(x->cache, &cache);
    *out = (struct xen_stats){
        .sync = __atomic_load_n(&x->stats.sync, __ATOMIC_RELAXED),
        .buffered = __atomic_load_n(&x->stats.buffered, __ATOMIC_RELAXED),
        .invalidate = __atomic_load_n(&x->stats.invalidate, __ATOMIC_RELAXED),
        .timeoffset = __atomic_load_n(&x->stats.timeoffset, __ATOMIC_RELAXED),
        .bad_slot = __atomic_load_n(&x->stats.bad_slot, __ATOMIC_RELAXED),
        .lingered = __atomic_load_n(&x->stats.lingered, __ATOMIC_RELAXED),
        .vain = __atomic_load_n(&x->stats.vain, __ATOMIC_RELAXED),
        .map_hits = cache.hits,
        .map_misses = cache.misses,
        .map_bytes = cache.bytes,
    };
}

static void *xen_map(void *h, uint64_t gpa, size_t *len, bool pin)
{
    struct xen *x = h;
    return mapcache_get(x->cache, gpa, len, pin);
}

static void xen_unmap(void *h, void *ptr, size_t len)
{
    struct xen *x = h;
    (void)len;
    mapcache_unpin(x->cache, ptr);
}

/* Writes through foreign mappings are invisible to Xen's log of dirty pages. */
void xen_dirtied(void *h, uint64_t gpa, size_t len)
{
    struct xen *x = h;
    if (!x->dirty_log || !len) {
        return;
    }
    uint64_t first = gpa / XEN_PAGE, last = (gpa + len - 1) / XEN_PAGE;
    if (x->lib.xendevicemodel_modified_memory(x->dm, x->domid, first,
                                              (uint32_t)(last - first + 1)) < 0) {
        log_limited(&x->memory_log, "xen", "cannot report a change at 0x%llx: %s",
                    (unsigned long long)gpa, strerror(errno));
    }
}

static int64_t xen_now(void *h)
{
    (void)h;
    return ev_now_ns();
}

static int64_t xen_wallclock(void *h)
{
    (void)h;
    return time(NULL);
}

const struct machine_host xen_host = {
    .name = "xen",
    .claim = server_claim,
    .release = server_release,
    .isa_irq = xen_isa_irq,
    .pci_intx = xen_pci_intx,
    .pci_link = xen_pci_link,
    .msi = xen_msi,
    .power = xen_power,
    .map = xen_map,
    .unmap = xen_unmap,
    .dirtied = xen_dirtied,
    .block_new = xen_block_new,
    .block_free = xen_block_free,
    .block_lend = xen_block_lend,
    .block_dirty = xen_block_dirty,
    .block_wrote = xen_block_wrote,
    .carries_blocks = true,
    .now = xen_now,
    .timer = xen_timer,
    .wallclock = xen_wallclock,
};
