/* SPDX-License-Identifier: MIT */
/* dm/net-filter.c - -object filter-*: what stands between a card and its back end. Reference: qemu(1). */
#include "dm/net.h"

#include "dm/backends.h"
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <string.h>

struct maker {
    struct backends *b;
    struct keyval *kv;
    struct err *e;
};

static struct nic_filter *make_dump(struct maker *m)
{
    const char *file = keyval_get(m->kv, "file");
    uint32_t maxlen = 65536;
    if (keyval_u32(m->kv, "maxlen", &maxlen, m->e) < 0 || keyval_done(m->kv, m->e) < 0) {
        return NULL;
    }
    if (!file) {
        err_set(m->e, -EINVAL, "file: missing");
        return NULL;
    }
    return net_dump_new(file, maxlen, m->e);
}

static struct nic_filter *make_mirror(struct maker *m)
{
    bool vnet = false;
    struct chr *out = net_stream_of(m->b, m->kv, "outdev", m->e);
    if (m->e->code || keyval_bool(m->kv, "vnet_hdr_support", &vnet, m->e) < 0 ||
        keyval_done(m->kv, m->e) < 0) {
        return NULL;
    }
    if (!out) {
        err_set(m->e, -EINVAL, "outdev: missing");
        return NULL;
    }
    return net_mirror_new(out, NULL, false, vnet);
}

static struct nic_filter *make_redirector(struct maker *m)
{
    bool vnet = false;
    struct chr *out = net_stream_of(m->b, m->kv, "outdev", m->e);
    struct chr *in = m->e->code ? NULL : net_stream_of(m->b, m->kv, "indev", m->e);
    if (m->e->code || keyval_bool(m->kv, "vnet_hdr_support", &vnet, m->e) < 0 ||
        keyval_done(m->kv, m->e) < 0) {
        return NULL;
    }
    if (in == out) {
        err_set(m->e, -EINVAL, in ? "indev=%s: the same as outdev=" : "indev= or outdev=: missing",
                in ? in->id : "");
        return NULL;
    }
    return net_mirror_new(out, in, true, vnet);
}

static struct nic_filter *make_buffer(struct maker *m)
{
    uint32_t interval = 0;
    if (keyval_u32(m->kv, "interval", &interval, m->e) < 0 || keyval_done(m->kv, m->e) < 0) {
        return NULL;
    }
    if (interval == 0) {
        err_set(m->e, -EINVAL, "interval: expected microseconds, more than 0");
        return NULL;
    }
    return net_buffer_new(m->b->loop, interval);
}

static const struct {
    const char *type;
    struct nic_filter *(*make)(struct maker *m);
} kinds[] = {
    { "filter-buffer", make_buffer },
    { "filter-dump", make_dump },
    { "filter-mirror", make_mirror },
    { "filter-redirector", make_redirector },
};

bool net_filter_type(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].type, type) == 0) {
            return true;
        }
    }
    return false;
}

static struct nic_filter *make(struct maker *m, const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].type, type) == 0) {
            return kinds[i].make(m);
        }
    }
    err_set(m->e, -EINVAL, "qom-type=%s: not a filter", type);
    return NULL;
}

int net_filter_add(struct backends *b, struct keyval *kv, struct err *e)
{
    static const char *const status[] = { "on", NULL };
    static const char *const queues[] = { "all", "rx", "tx", NULL };
    struct maker m = { b, kv, e };
    const char *type = keyval_get(kv, "qom-type"), *netdev = keyval_get(kv, "netdev");
    const char *queue = keyval_get(kv, "queue");
    struct nic *n = netdev ? nic_find(b, netdev) : NULL;
    keyval_get(kv, "id");
    if (keyval_only(kv, "status", status, e) < 0 || keyval_only(kv, "queue", queues, e) < 0) {
        return -EINVAL;
    }
    if (!n) {
        return err_set(e, -ENOENT, netdev ? "netdev=%s: no -netdev has that id" : "netdev: missing",
                       netdev);
    }
    if (b->pretend) {
        return 0;
    }
    struct nic_filter *f = make(&m, type);
    if (!f) {
        return e->code;
    }
    f->from_card = !queue || strcmp(queue, "tx") != 0; /* from the back end's point of view */
    f->to_card = !queue || strcmp(queue, "rx") != 0;
    nic_add_filter(n, f);
    return 0;
}
