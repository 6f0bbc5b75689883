/* SPDX-License-Identifier: MIT */
/* xen-glue/store.c - the few xenstore nodes a device model reads and writes.
 *
 * libxl waits for device-model/<domid>/state in our own domain's directory, hence the relative
 * path. Why a start failed goes beside it. The guest's clock offset is kept in /vm/<uuid>, where
 * libxl looks when the domain is built again; it arrives on the ring thread, but xenstore answers
 * slowly, so it is written from the loop, all changes so far at once.
 */
#include "xen-glue/xen-int.h"

#include "dm/base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_node(struct xen *x, const char *path, const char *value)
{
    if (!x->lib.xs_write(x->xs, XBT_NULL, path, value, (unsigned)strlen(value))) {
        return errno ? -errno : -EIO;
    }
    return 0;
}

int xen_ready(struct xen *x, struct err *e)
{
    char path[64];
    if (x->restricted) {
        return 0;
    }
    snprintf(path, sizeof(path), "device-model/%u/state", x->domid);
    int r = write_node(x, path, "running");
    return r < 0 ? err_set(e, r, "cannot write %s to xenstore: %s", path, strerror(-r)) : 0;
}

char *xen_store_read(struct xen *x, const char *path)
{
    unsigned len;
    return x->restricted ? NULL : x->lib.xs_read(x->xs, XBT_NULL, path, &len);
}

void xen_store_failure(unsigned domid, const char *msg)
{
    struct xen x = { .domid = (domid_t)domid };
    char path[64];
    if (xen_lib_open(&x.lib, NULL) < 0) {
        return;
    }
    x.xs = x.lib.xs_open(0);
    if (x.xs) {
        snprintf(path, sizeof(path), "device-model/%u/keel-error", domid);
        write_node(&x, path, msg);
        x.lib.xs_close(x.xs);
    }
    xen_lib_close(&x.lib);
}

static void timeoffset_write(void *opaque)
{
    struct xen *x = opaque;
    int64_t delta = __atomic_exchange_n(&x->timeoffset, 0, __ATOMIC_ACQ_REL);
    char path[128], text[32];

    snprintf(path, sizeof(path), "/local/domain/%u/vm", x->domid);
    char *vm = xen_store_read(x, path);
    if (!vm || !*vm ||
        (size_t)snprintf(path, sizeof(path), "%s/rtc/timeoffset", vm) >= sizeof(path)) {
        free(vm);
        return;
    }
    char *old = xen_store_read(x, path);
    uint64_t sum = (uint64_t)(old ? strtoll(old, NULL, 10) : 0) + (uint64_t)delta;
    snprintf(text, sizeof(text), "%" PRId64, (int64_t)sum);
    write_node(x, path, text);
    free(old);
    free(vm);
}

void store_init(struct xen *x)
{
    x->timeoffset_post = (struct ev_post){ .cb = timeoffset_write, .opaque = x };
}

void store_timeoffset(struct xen *x, int64_t delta)
{
    __atomic_fetch_add((uint64_t *)&x->timeoffset, (uint64_t)delta, __ATOMIC_ACQ_REL);
    ev_post(x->loop, &x->timeoffset_post);
}
