/* SPDX-License-Identifier: MIT */
/* dm/net.c - what the command line says of networks. Reference: qemu(1), -netdev, -nic, -net. */
#include "dm/net-int.h"

#include "dm/backends.h"
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/options.h"
#include "ioreq/dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct nic *nic_find(const struct backends *b, const char *id)
{
    for (size_t i = 0; i < b->net.n; i++) {
        if (strcmp(b->net.nics[i]->id, id) == 0) {
            return b->net.nics[i];
        }
    }
    return NULL;
}

struct nic *nic_find_any(const struct backends *b, const char *id)
{
    struct nic *n = nic_find(b, id);
    for (size_t i = 0; !n && i < b->net.n; i++) {
        n = strcmp(b->net.nics[i]->dev_id, id) == 0 ? b->net.nics[i] : NULL;
    }
    return n;
}

struct chr *net_stream_of(struct backends *b, struct keyval *kv, const char *key, struct err *e)
{
    const char *id = keyval_get(kv, key);
    struct chr *c = id ? chr_find(b, id) : NULL;
    if (id && (!c || c->handlers)) {
        err_set(e, c ? -EBUSY : -ENOENT, c ? "%s=%s: in use" : "%s=%s: no -chardev has that id",
                key, id);
        return NULL;
    }
    return c;
}

/* ---- one kind each: a back end, or NULL with e ---- */

/* "[HOST]:PORT" into a (text in buf, size bytes). */
static int host_port(struct maker *m, const char *key, const char *v, char *buf, size_t size,
                     struct net_address *a)
{
    const char *colon = strrchr(v, ':');
    size_t host = colon ? (size_t)(colon - v) : 0;
    uint64_t port;
    if (!colon || strlen(v) >= size || parse_u64(colon + 1, 65535, &port) < 0) {
        return err_set(m->e, -EINVAL, "%s=%s: expected [HOST]:PORT", key, v);
    }
    snprintf(buf, size, "%s", v);
    buf[host] = '\0';
    bool bracketed = host >= 2 && buf[0] == '[' && buf[host - 1] == ']';
    if (bracketed) {
        buf[host - 1] = '\0';
    }
    *a = (struct net_address){ .kind = NET_INET, .host = buf + bracketed, .port = buf + host + 1 };
    return 0;
}

static struct nic *make_socket_dgram(struct maker *m, const char *key, const char *where)
{
    char remote[300], local[300];
    struct dgram_options o = { .have_remote = true };
    const char *localaddr = keyval_get(m->kv, "localaddr");
    if (host_port(m, key, where, remote, sizeof(remote), &o.remote) < 0) {
        return NULL;
    }
    if (strcmp(key, "mcast") == 0 && localaddr) {
        o.have_local = true;
        o.local = (struct net_address){ .kind = NET_INET, .host = localaddr };
    } else if (strcmp(key, "udp") == 0) {
        if (!localaddr) {
            err_set(m->e, -EINVAL, "localaddr: missing, udp= needs it");
            return NULL;
        }
        if (host_port(m, "localaddr", localaddr, local, sizeof(local), &o.local) < 0) {
            return NULL;
        }
        o.have_local = true;
    }
    return net_dgram_new(m->b->loop, m->id, "socket", &o, m->e);
}

static struct nic *make_socket(struct maker *m)
{
    static const char *const ways[] = { "listen", "connect", "mcast", "udp", "fd" };
    const char *way = NULL, *where = NULL;
    char buf[300];
    struct stream_options o = { 0 };
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        const char *v = keyval_get(m->kv, ways[i]);
        if (v && way) {
            err_set(m->e, -EINVAL, "%s: not together with %s", ways[i], way);
            return NULL;
        }
        way = v ? ways[i] : way;
        where = v ? v : where;
    }
    if (!way) {
        err_set(m->e, -EINVAL, "expected one of listen=, connect=, mcast=, udp= or fd=");
        return NULL;
    }
    if (strcmp(way, "mcast") == 0 || strcmp(way, "udp") == 0) {
        return make_socket_dgram(m, way, where);
    }
    if (strcmp(way, "fd") == 0) {
        uint32_t fd;
        if (keyval_u32(m->kv, "fd", &fd, m->e) < 0) {
            return NULL;
        }
        o.addr = (struct net_address){ .kind = NET_FD, .fd = (int)(fd & INT32_MAX) };
    } else if (host_port(m, way, where, buf, sizeof(buf), &o.addr) < 0) {
        return NULL;
    }
    o.server = strcmp(way, "listen") == 0;
    return net_stream_new(m->b->loop, m->id, "socket", &o, m->e);
}

/* PREFIX.type=inet|unix|fd and what belongs to it. 1 when given, 0 when not, -EINVAL with e. */
static int address(struct maker *m, const char *prefix, struct net_address *a)
{
    char key[32];
    bool ipv4 = true, ipv6 = true;
    uint64_t fd;
#define KEY(name) (snprintf(key, sizeof(key), "%s.%s", prefix, name), key)
    const char *type = keyval_get(m->kv, KEY("type"));
    if (!type) {
        return 0;
    }
    *a = (struct net_address){ .kind = NET_INET };
    if (strcmp(type, "inet") == 0) {
        a->host = keyval_get(m->kv, KEY("host"));
        a->port = keyval_get(m->kv, KEY("port"));
        if (keyval_bool(m->kv, KEY("ipv4"), &ipv4, m->e) < 0 ||
            keyval_bool(m->kv, KEY("ipv6"), &ipv6, m->e) < 0) {
            return -EINVAL;
        }
        a->ipv4_only = !ipv6;
        a->ipv6_only = !ipv4;
        return a->port ? 1 : err_set(m->e, -EINVAL, "%s.port: missing", prefix);
    }
    if (strcmp(type, "unix") == 0) {
        a->kind = NET_UNIX;
        a->path = keyval_get(m->kv, KEY("path"));
        if (keyval_bool(m->kv, KEY("abstract"), &a->abstract, m->e) < 0) {
            return -EINVAL;
        }
        return a->path ? 1 : err_set(m->e, -EINVAL, "%s.path: missing", prefix);
    }
    if (strcmp(type, "fd") == 0) {
        const char *s = keyval_get(m->kv, KEY("str"));
        a->kind = NET_FD;
        if (!s || parse_u64(s, INT32_MAX, &fd) < 0) {
            return err_set(m->e, -EINVAL, "%s.str: expected a descriptor's number", prefix);
        }
        a->fd = (int)fd;
        return 1;
    }
#undef KEY
    return err_set(m->e, -EINVAL, "%s.type=%s: expected inet, unix or fd", prefix, type);
}

static struct nic *make_stream(struct maker *m)
{
    struct stream_options o = { 0 };
    uint32_t s = 0, ms = 0;
    int ret = address(m, "addr", &o.addr);
    if (ret == 0) {
        err_set(m->e, -EINVAL, "addr.type: missing");
    }
    if (ret <= 0 || keyval_bool(m->kv, "server", &o.server, m->e) < 0 ||
        keyval_u32(m->kv, "reconnect", &s, m->e) < 0 ||
        keyval_u32(m->kv, "reconnect-ms", &ms, m->e) < 0) {
        return NULL;
    }
    if (o.server && (s || ms)) {
        err_set(m->e, -EINVAL, "reconnect: for a client, not with server=on");
        return NULL;
    }
    o.reconnect_ms = ms ? ms : s > 1000000 ? 1000000000u : s * 1000;
    return net_stream_new(m->b->loop, m->id, "stream", &o, m->e);
}

static struct nic *make_dgram(struct maker *m)
{
    struct dgram_options o = { 0 };
    int local = address(m, "local", &o.local),
        remote = local < 0 ? -1 : address(m, "remote", &o.remote);
    if (local < 0 || remote < 0) {
        return NULL;
    }
    o.have_local = local;
    o.have_remote = remote;
    if (!local && !remote) {
        err_set(m->e, -EINVAL, "expected local.type= or remote.type=");
        return NULL;
    }
    return net_dgram_new(m->b->loop, m->id, "dgram", &o, m->e);
}

static int vhost_queues(struct maker *m, uint32_t *queues)
{
    *queues = 1;
    if (keyval_u32(m->kv, "queues", queues, m->e) < 0) {
        return -EINVAL;
    }
    return *queues >= 1 && *queues <= NIC_QUEUES_MAX
               ? 0
               : err_set(m->e, -EINVAL, "queues=%u: expected 1 to %u", *queues, NIC_QUEUES_MAX);
}

static struct nic *make_vhost_user(struct maker *m)
{
    uint32_t queues;
    bool force; /* for guests without MSI-X too: the card does not matter here */
    struct chr *c = net_stream_of(m->b, m->kv, "chardev", m->e);
    if (m->e->code || vhost_queues(m, &queues) < 0 ||
        keyval_bool(m->kv, "vhostforce", &force, m->e) < 0) {
        return NULL;
    }
    if (!c) {
        err_set(m->e, -EINVAL, "chardev: missing");
    } else if (!c->ops->write_fd) {
        err_set(m->e, -EINVAL, "chardev=%s: not a socket", c->id);
    } else {
        return net_vhost_user_new(m->b->loop, m->id, c, queues, m->e);
    }
    return NULL;
}

static struct net_hub **hub_of(struct backends *b, unsigned id)
{
    struct net_hub **unused = NULL;
    for (size_t i = 0; i < NET_HUBS; i++) {
        if (b->net.hubs[i].hub && b->net.hubs[i].id == id) {
            return &b->net.hubs[i].hub;
        }
        if (!b->net.hubs[i].hub && !unused) {
            unused = &b->net.hubs[i].hub;
            b->net.hubs[i].id = id;
        }
    }
    return unused;
}

static struct nic *make_hubport(struct maker *m)
{
    uint32_t id = UINT32_MAX;
    const char *other = keyval_get(m->kv, "netdev");
    if (keyval_u32(m->kv, "hubid", &id, m->e) < 0) {
        return NULL;
    }
    struct net_hub **hub = id == UINT32_MAX ? NULL : hub_of(m->b, id);
    struct nic *n = other ? nic_find(m->b, other) : NULL;
    if (!hub) {
        err_set(m->e, -EINVAL, id == UINT32_MAX ? "hubid: missing" : "hubid: more than %d hubs",
                NET_HUBS);
    } else if (other && !n) {
        err_set(m->e, -ENOENT, "netdev=%s: no -netdev before this one has that id", other);
    } else if (n && n->user) {
        err_set(m->e, -EBUSY, "netdev=%s: in use", other);
    } else if (n) {
        net_hub_attach(hub, n);
        return net_none_new(m->b->loop, m->id, "hubport"); /* holds the id */
    } else {
        return net_hubport_new(m->b->loop, m->id, hub, id);
    }
    return NULL;
}

static const struct {
    const char *type;
    struct nic *(*make)(struct maker *m);
} kinds[] = {
    { "bridge", net_make_bridge }, { "dgram", make_dgram },           { "hubport", make_hubport },
    { "socket", make_socket },     { "stream", make_stream },         { "tap", net_make_tap },
    { "user", net_make_user },     { "vhost-user", make_vhost_user },
};

/* A replay's: the options count, what they name does not. */
static struct nic *pretend(struct maker *m, const char *type)
{
    for (size_t i = 0; i < m->kv->n; i++) {
        m->kv->pair[i].used = true;
    }
    struct nic *n = net_none_new(m->b->loop, m->id, type);
    int fds[NIC_QUEUES_MAX];
    struct tap_options o;
    if (strcmp(type, "tap") == 0 && net_tap_queues(m, &o, fds) == 0) {
        n->queues = o.queues; /* the guest sees that */
    } else if (strcmp(type, "vhost-user") == 0) {
        vhost_queues(m, &n->queues);
    }
    return n;
}

static struct nic *make_nic(struct maker *m, const char *type)
{
    static const char *const known[] = {
        "l2tpv3", "vde", "netmap", "vhost-vdpa", "af-xdp", "passt"
    };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            return m->b->pretend ? pretend(m, type) : kinds[i].make(m);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strcmp(type, known[i]) == 0) {
            err_not_yet(m->e, type);
            return NULL;
        }
    }
    err_set(m->e, -EINVAL,
            "type=%s: expected user, tap, bridge, socket, stream, dgram, vhost-user or hubport",
            type);
    return NULL;
}

static struct nic *list(struct backends *b, struct nic *n)
{
    b->net.nics = xrealloc(b->net.nics, (b->net.n + 1) * sizeof(struct nic *));
    b->net.nics[b->net.n++] = n;
    return n;
}

/* A back end called id of kv's type and parameters; in b's list on success. */
static struct nic *add(struct backends *b, const char *id, struct keyval *kv, struct err *e)
{
    struct maker m = { b, id, kv, e };
    const char *type = keyval_get(kv, "type");
    if (!type || !*type) {
        err_set(e, -EINVAL, "type: missing");
        return NULL;
    }
    if (nic_find_any(b, id)) {
        err_set(e, -EEXIST, "id=%s: used twice", id);
        return NULL;
    }
    struct nic *n = make_nic(&m, type);
    if (n && keyval_done(kv, e) < 0) {
        nic_free(n);
        n = NULL;
    }
    return n ? list(b, n) : NULL;
}

int netdev_add(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "id");
    if (!id || !*id) {
        return err_set(e, -EINVAL, "id: missing");
    }
    return add(b, id, kv, e) ? 0 : e->code;
}

int netdev_del(struct backends *b, const char *id, struct err *e)
{
    for (size_t i = 0; i < b->net.n; i++) {
        struct nic *n = b->net.nics[i];
        if (strcmp(n->id, id) != 0) {
            continue;
        }
        if (n->user) {
            return err_set(e, -EBUSY, "Device '%s' is in use", id);
        }
        nic_free(n);
        b->net.n--;
        memmove(&b->net.nics[i], &b->net.nics[i + 1], (b->net.n - i) * sizeof(n));
        return 0;
    }
    return err_set(e, -ENOENT, "Device '%s' not found", id);
}

/* ---- -nic and -net: a back end and a card in one ---- */

static struct keyval *add_card(struct backends *b, const char *option, const char *text)
{
    b->net.cards = xrealloc(b->net.cards, (b->net.ncards + 1) * sizeof(*b->net.cards));
    struct net_card *c = &b->net.cards[b->net.ncards++];
    c->kv = keyval_parse("", NULL);
    c->option = xasprintf("-%s %s", option, text);
    return c->kv;
}

/* Moves what describes the card from kv to the card's own list; model "virtio" and none are as in
 * QEMU. -net nic calls the address macaddr. */
static void describe_card(struct keyval *kv, struct keyval *card)
{
    static const char *const keys[][2] = {
        { "mac", "mac" }, { "macaddr", "mac" }, { "addr", "addr" }, { "romfile", "romfile" }
    };
    const char *model = keyval_get(kv, "model");
    keyval_add(card, "driver",
               !model                         ? "e1000"
               : strcmp(model, "virtio") == 0 ? "virtio-net-pci"
                                              : model);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *v = keyval_get(kv, keys[i][0]);
        if (v) {
            keyval_add(card, keys[i][1], v);
        }
    }
}

static char *made_up_id(struct backends *b, const char *what)
{
    return xasprintf("%s%u", what, b->net.next_id++);
}

static bool takes_none(struct keyval *kv)
{
    const char *type = keyval_get(kv, "type");
    return type && strcmp(type, "none") == 0;
}

static int add_nic_option(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *given = keyval_get(kv, "id");
    char *id = made_up_id(b, "#net");
    if (takes_none(kv)) {
        free(id);
        return keyval_done(kv, e);
    }
    struct keyval *card = add_card(b, "nic", kv->text);
    describe_card(kv, card);
    keyval_add(card, "netdev", id);
    if (given) {
        keyval_add(card, "id", given);
    }
    struct nic *n = add(b, id, kv, e);
    free(id);
    return n ? 0 : e->code;
}

static int add_net_card(struct backends *b, struct keyval *kv, struct err *e)
{
    struct net_hub **hub = hub_of(b, 0);
    const char *netdev = keyval_get(kv, "netdev"), *name = keyval_get(kv, "name");
    struct keyval *card = add_card(b, "net", kv->text);
    describe_card(kv, card);
    if (name) {
        keyval_add(card, "id", name);
    }
    if (netdev) {
        keyval_add(card, "netdev", netdev);
        return keyval_done(kv, e);
    }
    char *id = made_up_id(b, "#hub0port");
    list(b,
         b->pretend ? net_none_new(b->loop, id, "hubport") : net_hubport_new(b->loop, id, hub, 0));
    keyval_add(card, "netdev", id);
    free(id);
    return keyval_done(kv, e);
}

static int add_net_option(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *type = keyval_get(kv, "type"), *name = keyval_get(kv, "name");
    if (takes_none(kv)) {
        return keyval_done(kv, e);
    }
    if (type && strcmp(type, "nic") == 0) {
        return add_net_card(b, kv, e);
    }
    char *id = name ? xstrdup(name) : made_up_id(b, "#net");
    struct nic *n = add(b, id, kv, e);
    free(id);
    if (n && !b->pretend) {
        net_hub_attach(hub_of(b, 0), n);
    }
    return n ? 0 : e->code;
}

static int each(struct backends *b, const struct opt_list *l, const char *option,
                int (*fn)(struct backends *, struct keyval *, struct err *), struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        if (fn(b, l->kv[i], e) < 0) {
            return err_prefix(e, "-%s %s", option, l->kv[i]->text);
        }
    }
    return 0;
}

/* What a machine of our own has when nobody says anything of networks, as in QEMU. */
static int default_network(struct backends *b, const struct options *o, struct err *e)
{
    if (o->nodefaults || o->accel != ACCEL_TCG || o->netdevs.n || o->nics.n || o->nets.n) {
        return 0;
    }
    struct keyval *kv = keyval_parse("user", "type");
    int ret = add_nic_option(b, kv, e);
    keyval_free(kv);
    return ret;
}

/* smbd's files are made by this user, and not for another one. */
static int check_smb(const struct backends *b, const struct options *o, struct err *e)
{
    for (size_t i = 0; i < b->net.n && o->runas; i++) {
        if (net_user_has_smb(b->net.nics[i])) {
            return err_set(e, -EINVAL, "-netdev %s: smb= does not go together with -runas",
                           b->net.nics[i]->id);
        }
    }
    return 0;
}

int networks_open(struct backends *b, const struct options *o, struct err *e)
{
    int ret = each(b, &o->netdevs, "netdev", netdev_add, e);
    if (ret == 0) {
        ret = each(b, &o->nics, "nic", add_nic_option, e);
    }
    if (ret == 0) {
        ret = each(b, &o->nets, "net", add_net_option, e);
    }
    if (ret == 0) {
        ret = default_network(b, o, e);
    }
    if (ret == 0) {
        ret = check_smb(b, o, e);
    }
    return ret == 0 ? each(b, &o->filters, "object", net_filter_add, e) : ret;
}

void networks_close(struct backends *b)
{
    for (size_t i = 0; i < b->net.n; i++) {
        for (size_t h = 0; h < NET_HUBS; h++) {
            net_hub_detach(&b->net.hubs[h].hub, b->net.nics[i]);
        }
        nic_free(b->net.nics[i]);
    }
    for (size_t i = 0; i < b->net.ncards; i++) {
        keyval_free(b->net.cards[i].kv);
        free(b->net.cards[i].option);
    }
    free(b->net.nics);
    free(b->net.cards);
    b->net = (struct networks){ 0 };
}

/* ---- cards ---- */

void net_next_mac(struct backends *b, char *mac)
{
    snprintf(mac, 18, "52:54:00:12:34:%02x", (0x56 + b->net.next_mac++) & 0xff);
}

void net_plugged(struct nic *n, const struct device *d)
{
    snprintf(n->dev_id, sizeof(n->dev_id), "%s", d->id);
    snprintf(n->model, sizeof(n->model), "%s", d->class->name);
}

void net_unplugged(struct backends *b, const struct device *d)
{
    for (size_t i = 0; i < b->net.n; i++) {
        if (strcmp(b->net.nics[i]->dev_id, d->id) == 0) {
            b->net.nics[i]->dev_id[0] = '\0';
        }
    }
}

struct nic *net_nowhere(struct backends *b, const struct device *d)
{
    char *id = xasprintf("#none.%s", d->id);
    struct nic *n = list(b, net_none_new(b->loop, id, "none"));
    free(id);
    return n;
}

void networks_kick(struct backends *b)
{
    for (size_t i = 0; i < b->net.n; i++) {
        nic_kick(b->net.nics[i]);
    }
}
