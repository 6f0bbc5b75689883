/* SPDX-License-Identifier: MIT */
/* xen-glue/pv.c - see pv.h.
 *
 *   ours                         the front end's
 *   InitWait  (features there)   Initialising
 *                                Initialised, Connected (rings, port there)
 *   Connected
 *                                Closing, Closed
 *   Closed
 *   InitWait  (online)           Initialising: it starts anew
 *
 * A domain that goes takes its directory with it: the front end's state reads as Unknown, which
 * counts as Closed.
 */
#include "xen-glue/pv.h"

#include "xen-glue/xen-int.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/io/xenbus.h>

struct pv_bus {
    const struct xen_lib *lib;
    struct ev_loop *loop;
    unsigned domid;
    xengnttab_handle *gnttab;
    xenevtchn_handle *evtchn;
    struct xs_handle *xs;
    struct ev_fd events, watches;
    struct ev_post look; /* states to be looked at without a watch */
    struct pv_backend *devices;
    unsigned users;        /* besides the first */
    struct pv_bus **owner; /* who would share it; NULL: nobody */
    void (*on_devices)(void *opaque);
    void *on_devices_opaque;
};

/* ---- xenstore ---- */

static bool write_node(struct pv_bus *b, const char *dir, const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return b->lib->xs_write(b->xs, XBT_NULL, path, value, (unsigned)strlen(value));
}

static char *read_node(struct pv_bus *b, const char *dir, const char *name)
{
    char path[128];
    unsigned len;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return b->lib->xs_read(b->xs, XBT_NULL, path, &len);
}

char *pv_read_back(struct pv_backend *d, const char *name)
{
    return read_node(d->bus, d->back, name);
}

char *pv_read_front(struct pv_backend *d, const char *name)
{
    return read_node(d->bus, d->front, name);
}

static void device_dir(const struct pv_bus *b, const char *type, const char *device, char *out,
                       size_t n)
{
    snprintf(out, n, "/local/domain/0/backend/%s/%u%s%s", type, b->domid, *device ? "/" : "",
             device);
}

char *pv_read_device(struct pv_bus *b, const char *type, const char *device, const char *name)
{
    char dir[96];
    device_dir(b, type, device, dir, sizeof(dir));
    return read_node(b, dir, name);
}

void pv_say_closed(struct pv_bus *b, const char *type, const char *device)
{
    char dir[96], text[12];
    device_dir(b, type, device, dir, sizeof(dir));
    char *there = read_node(b, dir, "state");
    if (there) { /* the tool stack may have taken it all away by now */
        snprintf(text, sizeof(text), "%d", (int)XenbusStateClosed);
        write_node(b, dir, "state", text);
    }
    free(there);
}

char **pv_devices(struct pv_bus *b, const char *type, unsigned *n)
{
    char dir[96];
    device_dir(b, type, "", dir, sizeof(dir));
    *n = 0;
    return b->lib->xs_directory(b->xs, XBT_NULL, dir, n);
}

void pv_write_back(struct pv_backend *d, const char *name, const char *value)
{
    if (!write_node(d->bus, d->back, name, value)) {
        log_msg(LOG_WARN, d->name, "cannot write %s/%s: %s", d->back, name, strerror(errno));
    }
}

bool pv_digits(const char **p, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    const char *at = *p;
    for (; *at >= '0' && *at <= '9' && v <= max; at++) {
        v = v * 10 + (uint64_t)(*at - '0');
    }
    if (at == *p || v > max) {
        return false;
    }
    *p = at;
    *out = (uint32_t)v;
    return true;
}

int pv_read_u32(struct pv_backend *d, bool back, const char *name, uint32_t max, uint32_t *out)
{
    char *text = read_node(d->bus, back ? d->back : d->front, name);
    const char *p = text;
    int ret = !text ? -ENOENT : !pv_digits(&p, max, out) || *p ? -EINVAL : 0;
    free(text);
    return ret;
}

static void set_state(struct pv_backend *d, enum xenbus_state state)
{
    char text[12];
    snprintf(text, sizeof(text), "%d", (int)state);
    d->state = state;
    if (!write_node(d->bus, d->back, "state", text)) {
        log_msg(LOG_WARN, d->name, "cannot write %s/state: %s", d->back, strerror(errno));
    }
}

void pv_touch(struct pv_backend *d)
{
    if (d->connected) {
        set_state(d, XenbusStateConnected);
    }
}

/* ---- the handshake ---- */

static void drop(struct pv_backend *d)
{
    if (d->connected) {
        d->connected = false;
        d->ops->disconnect(d);
    }
}

static void connect_front(struct pv_backend *d)
{
    struct err e = { 0 };
    if (d->state != XenbusStateInitWait) {
        return;
    }
    if (d->ops->connect(d, &e) < 0) {
        log_msg(LOG_WARN, d->name, "%s", e.msg);
        d->broken = true;
        set_state(d, XenbusStateClosing);
        return;
    }
    d->connected = true;
    set_state(d, XenbusStateConnected);
}

/* The tool stack takes the device away: it says so in our own directory and waits for Closed. */
static bool taken_away(struct pv_backend *d)
{
    uint32_t state = d->state, online = 1;
    if (!d->adopted || d->gone) {
        return d->gone;
    }
    int ret = pv_read_u32(d, true, "state", XenbusStateReconfigured, &state);
    pv_read_u32(d, true, "online", 1, &online);
    if (ret != -ENOENT && (online || state != XenbusStateClosing)) {
        return false;
    }
    drop(d);
    d->gone = true;
    if (ret == 0 && !d->said_closed) {
        set_state(d, XenbusStateClosed);
    }
    return true;
}

static void look_at(struct pv_backend *d)
{
    uint32_t front = XenbusStateUnknown;
    if (taken_away(d)) {
        return;
    }
    if (d->broken) {
        drop(d);
    }
    pv_read_u32(d, false, "state", XenbusStateReconfigured, &front);
    switch (front) {
    case XenbusStateInitialising:
        drop(d);
        if (d->state != XenbusStateInitWait) {
            d->broken = false;
            set_state(d, XenbusStateInitWait);
        }
        break;
    case XenbusStateInitialised:
    case XenbusStateConnected:
        connect_front(d);
        break;
    case XenbusStateClosing:
        drop(d);
        if (d->state != XenbusStateClosing) {
            set_state(d, XenbusStateClosing);
        }
        break;
    case XenbusStateClosed:
    case XenbusStateUnknown:
        drop(d);
        if (d->state != XenbusStateClosed) {
            set_state(d, XenbusStateClosed);
        }
        break;
    default:
        break;
    }
}

static void look_at_all(void *opaque)
{
    struct pv_bus *b = opaque;
    for (struct pv_backend *d = b->devices; d; d = d->next) {
        look_at(d);
    }
    if (b->on_devices) {
        b->on_devices(b->on_devices_opaque);
    }
}

static void watch_rang(void *opaque, unsigned events)
{
    struct pv_bus *b = opaque;
    char **what;
    bool any = false;
    (void)events;
    while ((what = b->lib->xs_check_watch(b->xs))) {
        free(what);
        any = true;
    }
    if (any) {
        look_at_all(b);
    }
}

void pv_broken(struct pv_backend *d, const char *why)
{
    if (d->broken) {
        return;
    }
    log_msg(LOG_WARN, d->name, "the front end %s: the device is closed", why);
    d->broken = true;
    set_state(d, XenbusStateClosing);
    ev_post(d->bus->loop, &d->bus->look);
}

/* ---- events ---- */

static void event_rang(void *opaque, unsigned events)
{
    struct pv_bus *b = opaque;
    int port = b->lib->xenevtchn_pending(b->evtchn);
    (void)events;
    if (port < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            ev_fd_del(&b->events);
        }
        return;
    }
    b->lib->xenevtchn_unmask(b->evtchn, (evtchn_port_t)port);
    for (struct pv_backend *d = b->devices; d; d = d->next) {
        if (d->port == port && !d->broken) {
            d->ops->event(d);
            return;
        }
    }
}

int pv_bind(struct pv_backend *d, uint32_t port)
{
    struct pv_bus *b = d->bus;
    d->port = b->lib->xenevtchn_bind_interdomain(b->evtchn, b->domid, port);
    return d->port < 0 ? -errno : 0;
}

void pv_unbind(struct pv_backend *d)
{
    if (d->port >= 0) {
        d->bus->lib->xenevtchn_unbind(d->bus->evtchn, (evtchn_port_t)d->port);
        d->port = -1;
    }
}

void pv_notify(struct pv_backend *d)
{
    if (d->port >= 0) {
        d->bus->lib->xenevtchn_notify(d->bus->evtchn, (evtchn_port_t)d->port);
    }
}

/* ---- granted pages ---- */

void *pv_map_pages(struct pv_backend *d, uint32_t *ref, unsigned n)
{
    struct pv_bus *b = d->bus;
    return b->lib->xengnttab_map_domain_grant_refs(b->gnttab, n, b->domid, ref,
                                                   PROT_READ | PROT_WRITE);
}

void *pv_map_page(struct pv_backend *d, uint32_t ref)
{
    return pv_map_pages(d, &ref, 1);
}

void pv_unmap_pages(struct pv_backend *d, void *pages, unsigned n)
{
    if (pages) {
        d->bus->lib->xengnttab_unmap(d->bus->gnttab, pages, n);
    }
}

void pv_unmap_page(struct pv_backend *d, void *page)
{
    pv_unmap_pages(d, page, 1);
}

bool pv_copy(struct pv_backend *d, bool to_guest, struct pv_piece *p, unsigned n)
{
    struct pv_bus *b = d->bus;
    xengnttab_grant_copy_segment_t seg[PV_PIECES_MAX];
    memset(seg, 0, n * sizeof(seg[0]));
    for (unsigned i = 0; i < n; i++) {
        union xengnttab_copy_ptr *guest = to_guest ? &seg[i].dest : &seg[i].source;
        union xengnttab_copy_ptr *ours = to_guest ? &seg[i].source : &seg[i].dest;
        guest->foreign.ref = p[i].ref;
        guest->foreign.offset = p[i].off;
        guest->foreign.domid = (uint16_t)b->domid;
        ours->virt = p[i].local;
        seg[i].len = p[i].len;
        seg[i].flags = to_guest ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
    }
    bool ok = n == 0 || b->lib->xengnttab_grant_copy(b->gnttab, n, seg) == 0;
    for (unsigned i = 0; i < n; i++) {
        p[i].ok = ok && seg[i].status == GNTST_okay;
    }
    for (unsigned i = 0; i < n; i++) {
        ok = ok && p[i].ok;
    }
    return ok;
}

/* ---- life ---- */

/* Makes a directory: what is written below has its owner and reader from the first. */
static bool make_dir(struct pv_bus *b, const char *dir, unsigned owner, unsigned reader)
{
    struct xs_permissions perm[2] = { { owner, XS_PERM_NONE }, { reader, XS_PERM_READ } };
    return b->lib->xs_write(b->xs, XBT_NULL, dir, "", 0) &&
           b->lib->xs_set_permissions(b->xs, XBT_NULL, dir, perm, 2);
}

static bool write_all(struct pv_bus *b, const char *dir, const struct pv_node *nodes)
{
    for (; nodes->name; nodes++) {
        if (!write_node(b, dir, nodes->name, nodes->value)) {
            return false;
        }
    }
    return true;
}

/* Looks when path changes; the device's directory is the token. */
static int watch(struct pv_bus *b, const char *dir, const char *token, struct err *e)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/state", dir);
    return b->lib->xs_watch(b->xs, path, token)
               ? 0
               : err_set(e, -errno, "cannot watch %s: %s", path, strerror(errno));
}

static void unwatch(struct pv_bus *b, const char *dir, const char *token)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/state", dir);
    b->lib->xs_unwatch(b->xs, path, token);
}

int pv_start(struct pv_bus *b, struct pv_backend *d, const struct pv_node *front,
             const struct pv_node *back, struct err *e)
{
    char domid[12];
    d->bus = b;
    d->port = -1;
    snprintf(domid, sizeof(domid), "%u", b->domid);
    snprintf(d->back, sizeof(d->back), "/local/domain/0/backend/%s/%u/%u", d->type, b->domid,
             d->index);
    snprintf(d->front, sizeof(d->front), "/local/domain/%u/device/%s/%u", b->domid, d->front_type,
             d->index);
    char *there = read_node(b, d->front, "backend");
    if (there) {
        free(there);
        return err_set(e, -EEXIST, "%s: there is one already", d->front);
    }
    const struct pv_node ours[] = { { "frontend", d->front },
                                    { "frontend-id", domid },
                                    { "online", "1" },
                                    { "state", "1" },
                                    { NULL, NULL } };
    const struct pv_node theirs[] = {
        { "backend", d->back }, { "backend-id", "0" }, { "state", "1" }, { NULL, NULL }
    };
    if (!make_dir(b, d->back, 0, b->domid) || !make_dir(b, d->front, b->domid, 0) ||
        !write_all(b, d->back, ours) || !write_all(b, d->back, back) ||
        !write_all(b, d->front, front) || !write_all(b, d->front, theirs)) {
        return err_set(e, errno ? -errno : -EIO, "cannot write %s to xenstore: %s", d->back,
                       strerror(errno));
    }
    if (watch(b, d->front, d->back, e) < 0) {
        return e->code;
    }
    d->next = b->devices;
    b->devices = d;
    set_state(d, XenbusStateInitWait);
    return 0;
}

int pv_adopt(struct pv_bus *b, struct pv_backend *d, const struct pv_node *back, struct err *e)
{
    char index[12];
    snprintf(index, sizeof(index), "%u", d->index);
    d->bus = b;
    d->port = -1;
    d->adopted = true;
    device_dir(b, d->type, index, d->back, sizeof(d->back));
    char *front = read_node(b, d->back, "frontend");
    bool fits = front && strlen(front) < sizeof(d->front);
    if (fits) {
        snprintf(d->front, sizeof(d->front), "%s", front);
    }
    free(front);
    if (!fits) {
        return err_set(e, -EINVAL, "%s/frontend: missing or too long", d->back);
    }
    if (!write_all(b, d->back, back)) {
        return err_set(e, errno ? -errno : -EIO, "cannot write %s to xenstore: %s", d->back,
                       strerror(errno));
    }
    if (watch(b, d->front, d->back, e) < 0 || watch(b, d->back, d->back, e) < 0) {
        return e->code;
    }
    d->next = b->devices;
    b->devices = d;
    set_state(d, XenbusStateInitWait);
    return 0;
}

int pv_on_devices(struct pv_bus *b, const char *type, void (*fn)(void *opaque), void *opaque,
                  struct err *e)
{
    char dir[96];
    device_dir(b, type, "", dir, sizeof(dir));
    b->on_devices = fn;
    b->on_devices_opaque = opaque;
    if (!fn) {
        b->lib->xs_unwatch(b->xs, dir, type);
        return 0;
    }
    return b->lib->xs_watch(b->xs, dir, type)
               ? 0
               : err_set(e, -errno, "cannot watch %s: %s", dir, strerror(errno));
}

void pv_stop(struct pv_backend *d)
{
    struct pv_bus *b = d->bus;
    for (struct pv_backend **p = b ? &b->devices : NULL; p && *p; p = &(*p)->next) {
        if (*p != d) {
            continue;
        }
        *p = d->next;
        drop(d);
        unwatch(b, d->front, d->back);
        if (d->adopted) {
            unwatch(b, d->back, d->back);
            return;
        }
        b->lib->xs_rm(b->xs, XBT_NULL, d->back);
        b->lib->xs_rm(b->xs, XBT_NULL, d->front);
        return;
    }
}

static int open_all(struct pv_bus *b, struct err *e)
{
    if (!b->lib->xengnttab_grant_copy) {
        return err_set(e, -ENOENT, "Xen's library for grant tables is not there");
    }
    b->gnttab = b->lib->xengnttab_open(NULL, 0);
    if (!b->gnttab) {
        return err_set(e, -errno, "cannot open Xen's grant table: %s", strerror(errno));
    }
    b->evtchn = b->lib->xenevtchn_open(NULL, 0);
    if (!b->evtchn) {
        return err_set(e, -errno, "cannot open Xen's event channels: %s", strerror(errno));
    }
    b->xs = b->lib->xs_open(0);
    if (!b->xs) {
        return err_set(e, -errno, "cannot open xenstore: %s", strerror(errno));
    }
    fcntl(b->lib->xenevtchn_fd(b->evtchn), F_SETFL, O_NONBLOCK);
    b->events = (struct ev_fd){
        .fd = b->lib->xenevtchn_fd(b->evtchn), .events = EV_READ, .cb = event_rang, .opaque = b
    };
    b->watches = (struct ev_fd){
        .fd = b->lib->xs_fileno(b->xs), .events = EV_READ, .cb = watch_rang, .opaque = b
    };
    int ret = ev_fd_add(b->loop, &b->events);
    if (ret == 0) {
        ret = ev_fd_add(b->loop, &b->watches);
    }
    return ret < 0 ? err_set(e, ret, "epoll: %s", strerror(-ret)) : 0;
}

struct pv_bus *xen_pv_bus(struct xen *x, struct ev_loop *loop, struct err *e)
{
    if (x->pv) {
        x->pv->users++;
        return x->pv;
    }
    x->pv = pv_bus_new(&x->lib, loop, x->domid, e);
    if (x->pv) {
        x->pv->owner = &x->pv;
    }
    return x->pv;
}

struct pv_bus *pv_bus_new(const struct xen_lib *lib, struct ev_loop *loop, unsigned domid,
                          struct err *e)
{
    struct pv_bus *b = xcalloc(1, sizeof(*b));
    *b = (struct pv_bus){ .lib = lib, .loop = loop, .domid = domid };
    b->look = (struct ev_post){ .cb = look_at_all, .opaque = b };
    b->events.fd = b->watches.fd = -1;
    if (open_all(b, e) < 0) {
        pv_bus_free(b);
        return NULL;
    }
    return b;
}

void pv_bus_free(struct pv_bus *b)
{
    if (!b || (b->users && b->users--)) {
        return;
    }
    if (b->owner) {
        *b->owner = NULL;
    }
    while (b->devices) {
        pv_stop(b->devices);
    }
    ev_post_cancel(b->loop, &b->look);
    ev_fd_del(&b->events);
    ev_fd_del(&b->watches);
    if (b->xs) {
        b->lib->xs_close(b->xs);
    }
    if (b->evtchn) {
        b->lib->xenevtchn_close(b->evtchn);
    }
    if (b->gnttab) {
        b->lib->xengnttab_close(b->gnttab);
    }
    free(b);
}
