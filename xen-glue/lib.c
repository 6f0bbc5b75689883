/* SPDX-License-Identifier: MIT */
/* xen-glue/lib.c - finds Xen's libraries and their functions.
 *
 * libxenctrl changes its soname with every Xen release although what we use of it does not change;
 * the other libraries keep theirs. Reference: the libraries' headers in libxen-dev.
 */
#include "xen-glue/lib.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* In order of preference; the release Keel is tested with first. */
static const char *const ctrl_names[] = {
    "libxenctrl.so.4.17",
    "libxenctrl.so.4.14",
    "libxenctrl.so.4.15",
    "libxenctrl.so.4.16",
    "libxenctrl.so.4.18",
    "libxenctrl.so.4.19",
    "libxenctrl.so.4.20",
    "libxenctrl.so.4.21",
    "libxenctrl.so.4.22",
    "libxenctrl.so",
    NULL,
};
static const char *const devicemodel_names[] = { "libxendevicemodel.so.1", NULL };
static const char *const evtchn_names[] = { "libxenevtchn.so.1", NULL };
static const char *const foreignmemory_names[] = { "libxenforeignmemory.so.1", NULL };
static const char *const gnttab_names[] = { "libxengnttab.so.1", NULL };
static const char *const store_names[] = { "libxenstore.so.4", "libxenstore.so.3.0", NULL };
static const char *const toolcore_names[] = { "libxentoolcore.so.1", NULL };

static const char *const *const library_names[XEN_LIBRARIES] = {
    [CTRL] = ctrl_names,         [DEVICEMODEL] = devicemodel_names,
    [EVTCHN] = evtchn_names,     [FOREIGNMEMORY] = foreignmemory_names,
    [GNTTAB] = gnttab_names,     [STORE] = store_names,
    [TOOLCORE] = toolcore_names,
};

static const struct {
    enum xen_library library;
    const char *name;
    size_t offset;
    bool required;
} functions[] = {
#define XEN_ROW(library, function, required)                                                       \
    { library, #function, offsetof(struct xen_lib, function), required },
    XEN_FUNCTIONS(XEN_ROW)
#undef XEN_ROW
};

static void *open_first(const char *const *names)
{
    for (; *names; names++) {
        void *h = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        if (h) {
            return h;
        }
    }
    return NULL;
}

static int find_functions(struct xen_lib *l, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        void *h = l->handle[functions[i].library];
        void *f = h ? dlsym(h, functions[i].name) : NULL;
        if (!f && functions[i].required) {
            return err_set(e, -ENOENT, "Xen's library %s has no function %s",
                           library_names[functions[i].library][0], functions[i].name);
        }
        memcpy((char *)l + functions[i].offset, &f, sizeof(f));
    }
    return 0;
}

int xen_lib_open(struct xen_lib *l, struct err *e)
{
    memset(l, 0, sizeof(*l));
    for (int i = 0; i < XEN_LIBRARIES; i++) {
        l->handle[i] = open_first(library_names[i]);
        if (!l->handle[i] && i != GNTTAB) {
            err_set(e, -ENOENT, "cannot open Xen's library %s: %s", library_names[i][0], dlerror());
            xen_lib_close(l);
            return -ENOENT;
        }
    }
    int r = find_functions(l, e);
    if (r < 0) {
        xen_lib_close(l);
    }
    return r;
}

void xen_lib_close(struct xen_lib *l)
{
    for (int i = XEN_LIBRARIES - 1; i >= 0; i--) {
        if (l->handle[i]) {
            dlclose(l->handle[i]);
        }
    }
    memset(l, 0, sizeof(*l));
}
