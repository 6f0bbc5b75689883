/* SPDX-License-Identifier: MIT */
/* dm/xen-input.c - see xen-input.h. */
#include "dm/xen-input.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "xen-glue/vkbd.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <stdlib.h>

struct xen_input {
    struct pv_bus *bus;
    struct vkbd *vkbd;
};

struct xen_input *xen_input_start(struct keel *k)
{
    struct err e = { 0 };
    struct xen_input *x = xcalloc(1, sizeof(*x));
    x->bus = xen_pv_bus(k->xen, k->loop, &e);
    x->vkbd = x->bus ? vkbd_new(x->bus, k->be.con, &e) : NULL;
    if (!x->vkbd) {
        if (x->bus && e.code != -ENOENT) {
            log_msg(LOG_INFO, "vkbd", "%s", e.msg);
        }
        xen_input_stop(x);
        return NULL;
    }
    return x;
}

void xen_input_stop(struct xen_input *x)
{
    if (x) {
        vkbd_free(x->vkbd);
        pv_bus_free(x->bus);
        free(x);
    }
}
