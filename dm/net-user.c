/* SPDX-License-Identifier: MIT */
/* dm/net-user.c - -netdev user. Reference: qemu(1), -netdev. */
#include "dm/net-int.h"

#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int ip_option(struct maker *m, const char *key, struct in_addr *out)
{
    const char *v = keyval_get(m->kv, key);
    return v && !inet_aton(v, out) ? err_set(m->e, -EINVAL, "%s=%s: not an IPv4 address", key, v)
                                   : 0;
}

static int ip6_option(struct maker *m, const char *key, struct in6_addr *out)
{
    const char *v = keyval_get(m->kv, key);
    return v && inet_pton(AF_INET6, v, out) != 1
               ? err_set(m->e, -EINVAL, "%s=%s: not an IPv6 address", key, v)
               : 0;
}

/* The mask of a network given without one, as its class has it. */
static uint32_t class_mask(uint32_t net)
{
    return !(net & 0x80000000u)                 ? 0xff000000u
           : (net & 0xfff00000u) == 0xac100000u ? 0xfff00000u
           : (net & 0xc0000000u) == 0x80000000u ? 0xffff0000u
           : (net & 0xffff0000u) == 0xc0a80000u ? 0xffff0000u
           : (net & 0xffff0000u) == 0xc6120000u ? 0xfffe0000u
           : (net & 0xe0000000u) == 0xc0000000u ? 0xffffff00u
                                                : 0xfffffff0u;
}

/* net=ADDRESS[/BITS|/MASK] */
static int net_option(struct maker *m, struct user_options *o)
{
    const char *v = keyval_get(m->kv, "net");
    char addr[64];
    uint64_t bits;
    if (!v) {
        return 0;
    }
    const char *slash = strchr(v, '/');
    snprintf(addr, sizeof(addr), "%.*s", (int)(slash ? (size_t)(slash - v) : strlen(v)), v);
    bool ok = inet_aton(addr, &o->net) != 0;
    if (ok && slash && parse_u64(slash + 1, 32, &bits) == 0) {
        ok = bits >= 1 && bits <= 29;
        o->mask.s_addr = htonl(UINT32_MAX << (32 - (ok ? bits : 1)));
    } else if (ok && slash) {
        ok = inet_pton(AF_INET, slash + 1, &o->mask) == 1;
    } else {
        o->mask.s_addr = htonl(class_mask(ntohl(o->net.s_addr)));
    }
    o->net.s_addr &= o->mask.s_addr;
    return ok ? 0 : err_set(m->e, -EINVAL, "net=%s: expected ADDRESS[/BITS]", v);
}

/* ipv6-net=PREFIX[/BITS], or ipv6-prefix= and ipv6-prefixlen=. */
static int net6_option(struct maker *m, struct user_options *o)
{
    const char *v = keyval_get(m->kv, "ipv6-net");
    uint32_t len = o->prefix6_len;
    char addr[64];
    uint64_t bits = 64;
    if (v) {
        size_t n = strcspn(v, "/");
        snprintf(addr, sizeof(addr), "%.*s", (int)n, v);
        if (inet_pton(AF_INET6, addr, &o->prefix6) != 1 ||
            (v[n] && parse_u64(v + n + 1, 126, &bits) < 0)) {
            return err_set(m->e, -EINVAL, "ipv6-net=%s: expected PREFIX[/BITS]", v);
        }
        len = (uint32_t)bits;
    }
    if (ip6_option(m, "ipv6-prefix", &o->prefix6) < 0 ||
        keyval_u32(m->kv, "ipv6-prefixlen", &len, m->e) < 0) {
        return -EINVAL;
    }
    o->prefix6_len = len;
    return len <= 126 ? 0 : err_set(m->e, -EINVAL, "ipv6-prefixlen=%u: more than 126", len);
}

static int user_names(struct maker *m, struct user_options *o)
{
    o->hostname = keyval_get(m->kv, "hostname");
    o->domain = keyval_get(m->kv, "domainname");
    o->tftp = keyval_get(m->kv, "tftp");
    o->tftp_server = keyval_get(m->kv, "tftp-server-name");
    o->bootfile = keyval_get(m->kv, "bootfile");
    o->smb = keyval_get(m->kv, "smb");
    if (o->smb_server.s_addr && !o->smb) {
        return err_set(m->e, -EINVAL, "smbserver: without smb=");
    }
    if (o->bootfile && strlen(o->bootfile) > 127) {
        return err_set(m->e, -EINVAL, "bootfile=%s: longer than 127 bytes", o->bootfile);
    }
    if (o->hostname && strlen(o->hostname) > 255) {
        return err_set(m->e, -EINVAL, "hostname=%s: longer than 255 bytes", o->hostname);
    }
    if (o->domain && strlen(o->domain) > 255) {
        return err_set(m->e, -EINVAL, "domainname=%s: longer than 255 bytes", o->domain);
    }
    return o->tftp && access(o->tftp, R_OK | X_OK) < 0
               ? err_set(m->e, -errno, "tftp=%s: %s", o->tftp, strerror(errno))
               : 0;
}

static int user_addresses(struct maker *m, struct user_options *o)
{
    struct keyval *kv = m->kv;
    if (net_option(m, o) < 0 || net6_option(m, o) < 0 ||
        keyval_bool(kv, "restrict", &o->restricted, m->e) < 0 ||
        keyval_bool(kv, "ipv4", &o->ipv4, m->e) < 0 ||
        keyval_bool(kv, "ipv6", &o->ipv6, m->e) < 0 || ip_option(m, "host", &o->host) < 0 ||
        ip_option(m, "smbserver", &o->smb_server) < 0 || ip_option(m, "dns", &o->dns) < 0 ||
        ip_option(m, "dhcpstart", &o->dhcp_start) < 0) {
        return -EINVAL;
    }
    return ip6_option(m, "ipv6-host", &o->host6) < 0 ? -EINVAL
                                                     : ip6_option(m, "ipv6-dns", &o->dns6);
}

static int forwards(struct maker *m, struct nic *n)
{
    const char *v;
    for (size_t at = 0; (v = keyval_next(m->kv, "hostfwd", &at));) {
        if (net_user_hostfwd(n, v, m->e) < 0) {
            return -EINVAL;
        }
    }
    for (size_t at = 0; (v = keyval_next(m->kv, "guestfwd", &at));) {
        if (net_user_guestfwd(n, v, m->e) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

struct nic *net_make_user(struct maker *m)
{
    struct user_options o;
    const char *search[17] = { NULL };
    size_t at = 0, nsearch = 0;
    net_user_defaults(&o);
    if (user_addresses(m, &o) < 0 || user_names(m, &o) < 0) {
        return NULL;
    }
    while (nsearch < 16 && (search[nsearch] = keyval_next(m->kv, "dnssearch", &at))) {
        nsearch++;
    }
    o.search = nsearch ? search : NULL;
    struct nic *n = net_user_new(m->b->loop, m->id, &o, m->e);
    if (n && forwards(m, n) < 0) {
        nic_free(n);
        n = NULL;
    }
    return n;
}
