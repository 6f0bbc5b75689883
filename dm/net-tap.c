/* SPDX-License-Identifier: MIT */
/* dm/net-tap.c - -netdev tap and bridge. Reference: qemu(1), -netdev. */
#include "dm/net-int.h"

#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_IFUP "/etc/qemu-ifup"
#define DEFAULT_IFDOWN "/etc/qemu-ifdown"

static int refuse_known(struct maker *m, const char *const *keys)
{
    for (; *keys; keys++) {
        if (keyval_get(m->kv, *keys)) {
            return err_not_yet(m->e, *keys);
        }
    }
    return 0;
}

static const char *script(struct maker *m, const char *key, const char *def)
{
    const char *s = keyval_get(m->kv, key);
    if (!s) {
        return access(def, X_OK) == 0 ? def : NULL;
    }
    return strcmp(s, "no") == 0 || !*s ? NULL : s;
}

int net_tap_queues(struct maker *m, struct tap_options *o, int *fds)
{
    const char *key = keyval_get(m->kv, "fds") ? "fds" : "fd", *text = keyval_get(m->kv, key);
    uint32_t queues = 1;
    bool given = keyval_get(m->kv, "queues") != NULL;
    if (keyval_u32(m->kv, "queues", &queues, m->e) < 0) {
        return -EINVAL;
    }
    if (queues < 1 || queues > NIC_QUEUES_MAX) {
        return err_set(m->e, -EINVAL, "queues=%u: expected 1 to %u", queues, NIC_QUEUES_MAX);
    }
    o->queues = queues;
    if (!text) {
        return 0;
    }
    if (given || (strcmp(key, "fds") == 0 && keyval_get(m->kv, "fd"))) {
        return err_set(m->e, -EINVAL, "%s=%s: not together with %s", key, text,
                       given ? "queues=" : "fd=");
    }
    o->queues = 0;
    o->fds = fds;
    for (const char *p = text; p; p = *p ? p + 1 : NULL) {
        char number[12];
        uint64_t fd;
        size_t len = strcspn(p, ":");
        snprintf(number, sizeof(number), "%.*s", (int)len, p);
        if (o->queues == NIC_QUEUES_MAX || len >= sizeof(number) ||
            parse_u64(number, INT32_MAX, &fd) < 0 || (p[len] && key[2] == '\0')) {
            return err_set(m->e, -EINVAL, "%s=%s: expected %s", key, text,
                           key[2] ? "descriptors' numbers with colons" : "a descriptor's number");
        }
        fds[o->queues++] = (int)fd;
        p += len;
    }
    return 0;
}

struct nic *net_make_tap(struct maker *m)
{
    static const char *const known[] = { "helper", "vhostfd", "vhostfds", "poll-us", NULL };
    struct tap_options o = { .vnet_hdr = true };
    int fds[NIC_QUEUES_MAX];
    bool vhost = false;
    if (refuse_known(m, known) < 0 || net_tap_queues(m, &o, fds) < 0 ||
        keyval_bool(m->kv, "vnet_hdr", &o.vnet_hdr, m->e) < 0 ||
        keyval_bool(m->kv, "vhost", &vhost, m->e) < 0 ||
        keyval_bool(m->kv, "vhostforce", &vhost, m->e) < 0 ||
        keyval_size(m->kv, "sndbuf", 1, &o.sndbuf, m->e) < 0) {
        return NULL;
    }
    if (vhost) {
        err_set(m->e, -EINVAL, "vhost=on: Keel moves the frames itself and has no vhost-net");
        return NULL;
    }
    const char *given = keyval_get(m->kv, "script"), *br = keyval_get(m->kv, "br");
    o.ifname = keyval_get(m->kv, "ifname");
    o.bridge = given ? NULL : br; /* whoever names a script, or none, plugs it in himself */
    o.script = script(m, "script", br || o.fds ? "" : DEFAULT_IFUP);
    o.downscript = script(m, "downscript", br || o.fds ? "" : DEFAULT_IFDOWN);
    if (o.fds && (o.ifname || given || br)) {
        err_set(m->e, -EINVAL, "fd=%d: not together with ifname=, script= or br=", fds[0]);
        return NULL;
    }
    return net_tap_new(m->b->loop, m->id, &o, m->e);
}

struct nic *net_make_bridge(struct maker *m)
{
    static const char *const known[] = { "helper", NULL };
    struct tap_options o = { .queues = 1, .vnet_hdr = true };
    if (refuse_known(m, known) < 0) {
        return NULL;
    }
    o.bridge = keyval_get(m->kv, "br");
    o.bridge = o.bridge ? o.bridge : "br0";
    return net_tap_new(m->b->loop, m->id, &o, m->e);
}
