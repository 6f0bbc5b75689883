/* SPDX-License-Identifier: MIT */
/* tests/unit/pv-rig.h - Xen's grants, event channels and xenstore in the test's hands, for back ends.
 *
 * Include once. grant[] is the front end's table, store[] is xenstore; rig.notified counts events for
 * the front end, pv_rig_ring() sends one to the back end.
 */
#include "xen-glue/lib.h"
#include "xen-glue/pv.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/grant_table.h>
#include <xen/io/xenbus.h>

enum { RIG_GRANTS = 600, RIG_NODES = 64, RIG_DOMID = 7, RIG_PORT = 33, RIG_LOCAL = 5 };

struct pv_rig {
    struct xen_lib lib;
    struct ev_loop *loop;
    struct pv_bus *bus;
    struct {
        char path[128], value[64];
        unsigned owner, reader; /* a new node has its parent's */
    } store[RIG_NODES];
    void *grant[RIG_GRANTS]; /* pages; NULL: not granted */
    bool read_only[RIG_GRANTS];
    void *run; /* pages that are one allocation */
    uint32_t run_first, run_pages;
    unsigned mapped, notified, bound;
    int watch_fd, event_fd;
    char watched[4][128];
};
static struct pv_rig rig;

static int node(const char *path, bool make)
{
    for (int i = 0; i < RIG_NODES; i++) {
        if (strcmp(rig.store[i].path, path) == 0) {
            return i;
        }
    }
    for (int i = 0; i < RIG_NODES && make; i++) {
        if (!rig.store[i].path[0]) {
            snprintf(rig.store[i].path, sizeof(rig.store[i].path), "%s", path);
            return i;
        }
    }
    return -1;
}

/* The nearest node above path that there is. */
static int node_above(const char *path)
{
    char above[128];
    snprintf(above, sizeof(above), "%s", path);
    for (char *slash; (slash = strrchr(above, '/')) && slash != above;) {
        *slash = '\0';
        if (node(above, false) >= 0) {
            return node(above, false);
        }
    }
    return -1;
}

static void bump(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof(one)) < 0) {
        abort();
    }
}

static struct xs_handle *rig_xs_open(unsigned long flags)
{
    (void)flags;
    return (struct xs_handle *)&rig;
}

static void rig_xs_close(struct xs_handle *h)
{
    (void)h;
}

static void *rig_xs_read(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned *len)
{
    (void)h, (void)t;
    int i = node(path, false);
    *len = i < 0 ? 0 : (unsigned)strlen(rig.store[i].value);
    return i < 0 ? NULL : xstrdup(rig.store[i].value);
}

/* The names right below path. */
static char **rig_xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path,
                               unsigned *n)
{
    size_t len = strlen(path);
    char **out = xcalloc(RIG_NODES, sizeof(*out) + 64), *at = (char *)(out + RIG_NODES);
    (void)h, (void)t;
    *n = 0;
    for (int i = 0; i < RIG_NODES; i++) {
        const char *p = rig.store[i].path;
        if (strncmp(p, path, len) == 0 && p[len] == '/' && strlen(p + len) < 60) {
            snprintf(at, 64, "%.*s", (int)strcspn(p + len + 1, "/"), p + len + 1);
            if (!*n || strcmp(out[*n - 1], at) != 0) {
                out[(*n)++] = at;
                at += 64;
            }
        }
    }
    return out;
}

static bool rig_xs_write(struct xs_handle *h, xs_transaction_t t, const char *path,
                         const void *data, unsigned len)
{
    (void)h, (void)t;
    bool there = node(path, false) >= 0;
    int i = node(path, true), above = node_above(path);
    if (!there) {
        rig.store[i].owner = above < 0 ? 0 : rig.store[above].owner;
        rig.store[i].reader = above < 0 ? 0 : rig.store[above].reader;
    }
    snprintf(rig.store[i].value, sizeof(rig.store[i].value), "%.*s", (int)len, (const char *)data);
    for (unsigned w = 0; w < ARRAY_SIZE(rig.watched); w++) {
        if (rig.watched[w][0] && strncmp(path, rig.watched[w], strlen(rig.watched[w])) == 0) {
            bump(rig.watch_fd);
        }
    }
    return true;
}

static bool rig_xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    (void)h, (void)t;
    for (int i = 0; i < RIG_NODES; i++) {
        if (strncmp(rig.store[i].path, path, strlen(path)) == 0) {
            rig.store[i].path[0] = '\0';
        }
    }
    return true;
}

static bool rig_xs_set_permissions(struct xs_handle *h, xs_transaction_t t, const char *path,
                                   struct xs_permissions *p, unsigned n)
{
    (void)h, (void)t, (void)n;
    int i = node(path, true);
    rig.store[i].owner = p[0].id;
    rig.store[i].reader = p[1].id;
    return true;
}

static bool rig_xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    (void)h, (void)token;
    unsigned w = 0;
    while (w < ARRAY_SIZE(rig.watched) - 1 && rig.watched[w][0]) {
        w++;
    }
    snprintf(rig.watched[w], sizeof(rig.watched[w]), "%s", path);
    bump(rig.watch_fd);
    return true;
}

static bool rig_xs_unwatch(struct xs_handle *h, const char *path, const char *token)
{
    (void)h, (void)token;
    for (unsigned w = 0; w < ARRAY_SIZE(rig.watched); w++) {
        if (strcmp(rig.watched[w], path) == 0) {
            rig.watched[w][0] = '\0';
        }
    }
    return true;
}

static int rig_xs_fileno(struct xs_handle *h)
{
    (void)h;
    return rig.watch_fd;
}

static char **rig_xs_check_watch(struct xs_handle *h)
{
    uint64_t n;
    (void)h;
    return read(rig.watch_fd, &n, sizeof(n)) == sizeof(n) ? calloc(1, sizeof(char *)) : NULL;
}

static xenevtchn_handle *rig_evtchn_open(struct xentoollog_logger *l, unsigned flags)
{
    (void)l, (void)flags;
    return (xenevtchn_handle *)&rig;
}

static int rig_evtchn_close(xenevtchn_handle *h)
{
    (void)h;
    return 0;
}

static int rig_evtchn_fd(xenevtchn_handle *h)
{
    (void)h;
    return rig.event_fd;
}

static xenevtchn_port_or_error_t rig_evtchn_pending(xenevtchn_handle *h)
{
    uint64_t n;
    (void)h;
    return read(rig.event_fd, &n, sizeof(n)) == sizeof(n) ? RIG_LOCAL : -1;
}

static int rig_evtchn_unmask(xenevtchn_handle *h, evtchn_port_t port)
{
    (void)h, (void)port;
    return 0;
}

static int rig_evtchn_unbind(xenevtchn_handle *h, evtchn_port_t port)
{
    (void)h, (void)port;
    rig.bound--;
    return 0;
}

static int rig_evtchn_notify(xenevtchn_handle *h, evtchn_port_t port)
{
    (void)h, (void)port;
    rig.notified++;
    return 0;
}

static xenevtchn_port_or_error_t rig_evtchn_bind(xenevtchn_handle *h, uint32_t domid,
                                                 evtchn_port_t remote)
{
    (void)h;
    if (domid != RIG_DOMID || remote != RIG_PORT) {
        errno = EINVAL;
        return -1;
    }
    rig.bound++;
    return RIG_LOCAL;
}

static xengnttab_handle *rig_gnttab_open(struct xentoollog_logger *l, unsigned flags)
{
    (void)l, (void)flags;
    return (xengnttab_handle *)&rig;
}

static int rig_gnttab_close(xengnttab_handle *h)
{
    (void)h;
    return 0;
}

static void *rig_gnttab_map(xengnttab_handle *h, uint32_t n, uint32_t domid, uint32_t *refs,
                            int prot)
{
    (void)h, (void)prot;
    for (uint32_t i = 1; i < n; i++) {
        if (refs[i] >= RIG_GRANTS ||
            rig.grant[refs[i]] != (uint8_t *)rig.grant[refs[0]] + i * PV_PAGE) {
            errno = EINVAL;
            return NULL;
        }
    }
    if (n == 0 || domid != RIG_DOMID || refs[0] >= RIG_GRANTS || !rig.grant[refs[0]] ||
        rig.read_only[refs[0]]) {
        errno = EINVAL;
        return NULL;
    }
    rig.mapped += n;
    return rig.grant[refs[0]];
}

static int rig_gnttab_unmap(xengnttab_handle *h, void *p, uint32_t n)
{
    (void)h, (void)p;
    rig.mapped -= n;
    return 0;
}

static int rig_gnttab_copy(xengnttab_handle *h, uint32_t n, xengnttab_grant_copy_segment_t *seg)
{
    (void)h;
    for (uint32_t i = 0; i < n; i++) {
        bool to_guest = seg[i].flags & GNTCOPY_dest_gref;
        union xengnttab_copy_ptr *g = to_guest ? &seg[i].dest : &seg[i].source;
        uint32_t ref = g->foreign.ref;
        if (g->foreign.offset + seg[i].len > PV_PAGE) {
            abort(); /* the back end promised */
        }
        seg[i].status = ref >= RIG_GRANTS || !rig.grant[ref] || (to_guest && rig.read_only[ref])
                            ? GNTST_bad_gntref
                            : GNTST_okay;
        if (seg[i].status == GNTST_okay) {
            uint8_t *p = (uint8_t *)rig.grant[ref] + g->foreign.offset;
            memcpy(to_guest ? p : seg[i].dest.virt, to_guest ? seg[i].source.virt : p, seg[i].len);
        }
    }
    return 0;
}

static void pv_rig_up(void)
{
    memset(&rig, 0, sizeof(rig));
    rig.lib = (struct xen_lib){
        .xs_open = rig_xs_open,
        .xs_close = rig_xs_close,
        .xs_directory = rig_xs_directory,
        .xs_read = rig_xs_read,
        .xs_write = rig_xs_write,
        .xs_rm = rig_xs_rm,
        .xs_set_permissions = rig_xs_set_permissions,
        .xs_watch = rig_xs_watch,
        .xs_unwatch = rig_xs_unwatch,
        .xs_fileno = rig_xs_fileno,
        .xs_check_watch = rig_xs_check_watch,
        .xenevtchn_open = rig_evtchn_open,
        .xenevtchn_close = rig_evtchn_close,
        .xenevtchn_fd = rig_evtchn_fd,
        .xenevtchn_pending = rig_evtchn_pending,
        .xenevtchn_unmask = rig_evtchn_unmask,
        .xenevtchn_unbind = rig_evtchn_unbind,
        .xenevtchn_notify = rig_evtchn_notify,
        .xenevtchn_bind_interdomain = rig_evtchn_bind,
        .xengnttab_open = rig_gnttab_open,
        .xengnttab_close = rig_gnttab_close,
        .xengnttab_map_domain_grant_refs = rig_gnttab_map,
        .xengnttab_unmap = rig_gnttab_unmap,
        .xengnttab_grant_copy = rig_gnttab_copy,
    };
    struct err e = { 0 };
    rig.watch_fd = eventfd(0, EFD_NONBLOCK);
    rig.event_fd = eventfd(0, EFD_NONBLOCK);
    rig.loop = ev_loop_new(NULL, NULL, NULL);
    rig.bus = pv_bus_new(&rig.lib, rig.loop, RIG_DOMID, &e);
    if (!rig.bus) {
        abort();
    }
}

static void pv_rig_down(void)
{
    assert(!rig.mapped && !rig.bound);
    pv_bus_free(rig.bus);
    ev_loop_free(rig.loop);
    close(rig.watch_fd);
    close(rig.event_fd);
    for (uint32_t i = 0; i < RIG_GRANTS; i++) {
        if (i - rig.run_first >= rig.run_pages) {
            free(rig.grant[i]);
        }
    }
    free(rig.run);
}

static void pv_rig_turn(void)
{
    while (ev_loop_turn(rig.loop, 0) > 0) {
    }
}

static void pv_rig_ring(void)
{
    bump(rig.event_fd);
    pv_rig_turn();
}

static void *pv_rig_grant(uint32_t ref)
{
    if (!rig.grant[ref]) {
        rig.grant[ref] = aligned_alloc(PV_PAGE, PV_PAGE);
        memset(rig.grant[ref], 0, PV_PAGE);
    }
    return rig.grant[ref];
}

static void pv_rig_write(const char *path, const char *value)
{
    rig_xs_write(NULL, 0, path, value, (unsigned)strlen(value));
}

/* What a tool stack writes: a device that is to be, under both domains' paths. */
static inline void pv_rig_offer(const char *back, const char *front)
{
    const struct {
        const char *under, *node, *value;
    } all[] = { { back, "frontend", front },
                { back, "online", "1" },
                { back, "state", "1" },
                { front, "state", "1" } };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        char *path = xasprintf("%s/%s", all[i].under, all[i].node);
        pv_rig_write(path, all[i].value);
        free(path);
    }
}

/* req_prod, req_event, rsp_prod, rsp_event of a shared ring, by number. */
static inline uint32_t *pv_rig_word(uint8_t *ring, unsigned i)
{
    return (uint32_t *)(void *)ring + i;
}

/* n pages, one behind the other, granted from ref on; the rig frees them. */
static inline void *pv_rig_grant_run(uint32_t ref, unsigned n)
{
    rig.run = aligned_alloc(PV_PAGE, (size_t)n * PV_PAGE);
    memset(rig.run, 0, (size_t)n * PV_PAGE);
    for (unsigned i = 0; i < n; i++) {
        rig.grant[ref + i] = (uint8_t *)rig.run + i * PV_PAGE;
    }
    rig.run_first = ref;
    rig.run_pages = n;
    return rig.run;
}

static const char *pv_rig_read(const char *path)
{
    int i = node(path, false);
    return i < 0 ? "" : rig.store[i].value;
}
