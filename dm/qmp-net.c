/* SPDX-License-Identifier: MIT */
/* dm/qmp-net.c - QMP and the monitor on networks. Reference: QEMU's qapi/net.json; docs/network.md. */
#include "dm/hmp-int.h"
#include "dm/hmp-net.h"
#include "dm/keel.h"
#include "dm/keyval-json.h"
#include "dm/qmp.h"
#include "dm/text.h"

#include "dm/base/util.h"
#include "net/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *mac_text(const uint8_t *mac)
{
    return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                        mac[5]);
}

static int set_link(struct keel *k, const char *name, bool up, struct err *e)
{
    struct nic *n = nic_find_any(&k->be, name);
    if (!n) {
        return err_set(e, -ENODEV, "Device '%s' not found", name);
    }
    nic_set_link(n, up);
    return 0;
}

static json_t *do_set_link(struct qmp_call *c)
{
    return set_link(c->k, qmp_str(c, "name"), qmp_bool(c, "up", false), &c->err) < 0
               ? qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", qmp_str(c, "name"))
               : qmp_ok();
}

/* ---- netdev_add ---- */

static json_t *do_netdev_add(struct qmp_call *c)
{
    struct keyval *kv = keyval_from_json(c->args, KEYVAL_REPEATED, &c->err);
    int ret = kv ? netdev_add(&c->k->be, kv, &c->err) : c->err.code;

    keyval_free(kv);
    return ret < 0 ? NULL : qmp_ok();
}

static json_t *do_netdev_del(struct qmp_call *c)
{
    if (netdev_del(&c->k->be, qmp_str(c, "id"), &c->err) < 0) {
        c->class = c->err.code == -ENOENT ? "DeviceNotFound" : NULL;
        return NULL;
    }
    return qmp_ok();
}

/* ---- query-rx-filter ---- */

static json_t *mac_table(const struct nic_rx_filter *f, bool multicast)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < f->ntable; i++) {
        if ((f->table[i][0] & 1) == multicast) {
            json_array_append_new(list, mac_text(f->table[i]));
        }
    }
    return list;
}

static json_t *filter_json(const struct nic *n)
{
    static const char *const modes[] = { "none", "normal", "all" };
    struct nic_rx_filter f = { 0 };
    json_t *vlans = json_array();
    n->user->rx_filter(n->opaque, &f);
    for (unsigned i = 0; i < f.nvlans; i++) {
        json_array_append_new(vlans, json_integer(f.vlans[i]));
    }
    return json_pack(
        "{s:o, s:b, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "name", qmp_text(n->dev_id),
        "promiscuous", f.promiscuous, "multicast", modes[f.multicast], "unicast", modes[f.unicast],
        "vlan", modes[f.vlan], "broadcast-allowed", f.broadcast_allowed, "multicast-overflow",
        f.multicast_overflow, "unicast-overflow", 0, "main-mac", mac_text(f.mac), "unicast-table",
        mac_table(&f, false), "multicast-table", mac_table(&f, true), "vlan-table", vlans);
}

static json_t *do_query_rx_filter(struct qmp_call *c)
{
    const char *name = qmp_str(c, "name");
    json_t *list = json_array();
    for (size_t i = 0; i < c->k->be.net.n; i++) {
        struct nic *n = c->k->be.net.nics[i];
        bool meant = !name || strcmp(n->dev_id, name) == 0;
        if (meant && n->dev_id[0] && n->user && n->user->rx_filter) {
            json_array_append_new(list, filter_json(n));
        }
    }
    if (name && json_array_size(list) == 0) {
        json_decref(list);
        return qmp_fail(c, NULL, "invalid net client name: %.100s", name);
    }
    return list;
}

const struct qmp_command qmp_commands_net[] = {
    { "netdev_add", "type:s id:s *", do_netdev_add },
    { "netdev_del", "id:s", do_netdev_del },
    { "query-rx-filter", "name:s?", do_query_rx_filter },
    { "set_link", "name:s up:b", do_set_link },
    { NULL, NULL, NULL },
};

/* ---- the monitor for people ---- */

void hmp_info_network(struct keel *k, struct text *out)
{
    for (size_t i = 0; i < k->be.net.n; i++) {
        const struct nic *n = k->be.net.nics[i];
        if (n->dev_id[0]) {
            text_add(out,
                     "%s: index=0,type=nic,model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x\r\n \\ ",
                     n->dev_id, n->model, n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4],
                     n->mac[5]);
        }
        text_add(out, "%s: index=0,type=%s,%s%s\r\n", n->id, n->ops->kind, n->info ? n->info : "",
                 n->link ? "" : ",link=down");
        text_add(
            out,
            "   to card: %llu frames, %llu bytes, %llu dropped; from card: %llu, %llu, %llu\r\n",
            (unsigned long long)n->rx.frames, (unsigned long long)n->rx.bytes,
            (unsigned long long)n->rx.dropped, (unsigned long long)n->tx.frames,
            (unsigned long long)n->tx.bytes, (unsigned long long)n->tx.dropped);
    }
}

void hmp_info_usernet(struct keel *k, struct text *out)
{
    for (size_t i = 0; i < k->be.net.n; i++) {
        struct nic *n = k->be.net.nics[i];
        if (net_is_user(n)) {
            char *info = net_user_info(n);
            text_add(out, "%s:\r\n%s", n->id, info ? info : "");
            free(info);
        }
    }
}

void hmp_set_link(struct keel *k, char *const *word, struct text *out)
{
    struct err e = { 0 };
    bool up = strcmp(word[2], "on") == 0;
    if (!up && strcmp(word[2], "off") != 0) {
        text_add(out, "Error: expected on or off, not '%s'\r\n", word[2]);
        return;
    }
    hmp_report(out, set_link(k, word[1], up, &e), &e);
}

void hmp_netdev_add(struct keel *k, char *const *word, struct text *out)
{
    struct err e = { 0 };
    struct keyval *kv = keyval_parse(word[1], "type");
    hmp_report(out, netdev_add(&k->be, kv, &e), &e);
    keyval_free(kv);
}

void hmp_netdev_del(struct keel *k, char *const *word, struct text *out)
{
    struct err e = { 0 };
    hmp_report(out, netdev_del(&k->be, word[1], &e), &e);
}

/* "[ID] SPEC": the named user network, or the only one. */
static struct nic *pick_user(struct keel *k, char *const *word, const char **spec, struct err *e)
{
    struct nic *found = NULL;
    bool named = word[2][0];
    *spec = named ? word[2] : word[1];
    for (size_t i = 0; i < k->be.net.n; i++) {
        struct nic *n = k->be.net.nics[i];
        if (net_is_user(n) && (!named || strcmp(n->id, word[1]) == 0)) {
            if (found) {
                err_set(e, -EINVAL, "more than one user network: name one");
                return NULL;
            }
            found = n;
        }
    }
    if (!found) {
        err_set(e, -ENODEV, named ? "no user network is called '%s'" : "there is no user network",
                word[1]);
    }
    return found;
}

void hmp_hostfwd_add(struct keel *k, char *const *word, struct text *out)
{
    struct err e = { 0 };
    const char *spec;
    struct nic *n = pick_user(k, word, &spec, &e);
    hmp_report(out, n ? net_user_hostfwd(n, spec, &e) : e.code, &e);
}

void hmp_hostfwd_remove(struct keel *k, char *const *word, struct text *out)
{
    struct err e = { 0 };
    const char *spec;
    struct nic *n = pick_user(k, word, &spec, &e);
    int ret = n ? net_user_hostfwd_remove(n, spec, &e) : e.code;
    hmp_report(out, ret, &e);
    if (ret == 0) {
        text_add(out, "host forwarding rule for %s removed\r\n", spec);
    }
}
