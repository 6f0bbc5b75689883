/* SPDX-License-Identifier: MIT */
/* net/net.h - making back ends. Each returns a struct nic to plug a card into, or NULL with e
 * naming the sub-option that failed. Strings are copied. */
#ifndef NET_NET_H
#define NET_NET_H

#include "net/nic.h"

#include "dm/base/err.h"

#include <netinet/in.h>

/* Nothing at the other end: what is sent vanishes. kind as `info network` shall say. */
struct nic *net_none_new(struct ev_loop *loop, const char *id, const char *kind);

struct tap_options {
    unsigned queues;    /* 1..NIC_QUEUES_MAX */
    const int *fds;     /* as many open descriptors of a tap, owned from here on; or NULL */
    const char *ifname; /* made or opened; NULL: the kernel chooses */
    const char *bridge; /* NULL: none; attached after the device is open */
    const char *script, *downscript; /* NULL: none */
    bool vnet_hdr;                   /* have frames whole, unless the kernel cannot */
    uint64_t sndbuf;                 /* 0: the kernel's */
};
struct nic *net_tap_new(struct ev_loop *loop, const char *id, const struct tap_options *o,
                        struct err *e);

/* net/user*.c: the user network. Addresses in network order. */
struct user_forward {
    bool udp, guest; /* guest: a port in the virtual network that leads to the host's program */
    struct in_addr host, to;
    uint16_t host_port, to_port;
};
struct user_options {
    bool restricted, ipv4, ipv6;
    struct in_addr net, mask, host, dns, dhcp_start;
    struct in6_addr prefix6, host6, dns6;
    unsigned prefix6_len;
    const char *hostname, *domain, *tftp, *bootfile, *tftp_server;
    const char *smb;           /* a directory; NULL: none */
    struct in_addr smb_server; /* 0: .4 */
    const char **search;       /* ends with NULL; or NULL */
};
/* Fills in the defaults: 10.0.2.0/24, host .2, name server .3, DHCP from .15. */
void net_user_defaults(struct user_options *o);
struct nic *net_user_new(struct ev_loop *loop, const char *id, const struct user_options *o,
                         struct err *e);
bool net_is_user(const struct nic *n);
/* It starts smbd, with what rights this process has then. */
bool net_user_has_smb(const struct nic *n);
/* text: "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT". */
int net_user_hostfwd(struct nic *n, const char *text, struct err *e);
/* text: "[tcp|udp]:[HOSTADDR]:HOSTPORT" */
int net_user_hostfwd_remove(struct nic *n, const char *text, struct err *e);
/* text: "[tcp]:SERVER:PORT-TARGET", TARGET "tcp:HOST:PORT" or "unix:PATH" (an own stream each). */
int net_user_guestfwd(struct nic *n, const char *text, struct err *e);
/* What the library says of its connections; malloc'd. */
char *net_user_info(struct nic *n);

/* net/stream.c: frames with a 4-byte big-endian length each on a stream socket. */
struct net_address {
    enum { NET_INET, NET_UNIX, NET_FD } kind;
    const char *host, *port; /* inet */
    const char *path;        /* unix */
    bool abstract;
    int fd;
    bool ipv4_only, ipv6_only;
};
struct stream_options {
    bool server;
    struct net_address addr;
    unsigned reconnect_ms; /* client; 0: once */
};
struct nic *net_stream_new(struct ev_loop *loop, const char *id, const char *kind,
                           const struct stream_options *o, struct err *e);

/* net/dgram.c: a frame a datagram. */
struct dgram_options {
    struct net_address local, remote;
    bool have_local, have_remote; /* remote multicast: joins the group */
};
struct nic *net_dgram_new(struct ev_loop *loop, const char *id, const char *kind,
                          const struct dgram_options *o, struct err *e);

/* net/vhost-user.c: a back end of the vhost-user protocol at the other end of c, a unix socket that
 * stays the caller's. queues: 1..NIC_QUEUES_MAX pairs. */
struct chr;
struct nic *net_vhost_user_new(struct ev_loop *loop, const char *id, struct chr *c, unsigned queues,
                               struct err *e);

/* net/hub.c. *hub is made on the first port and goes with the last one. */
struct net_hub;
struct nic *net_hubport_new(struct ev_loop *loop, const char *id, struct net_hub **hub,
                            unsigned hubid);
/* A port that a back end is plugged into in place of a card. */
void net_hub_attach(struct net_hub **hub, struct nic *backend);
void net_hub_detach(struct net_hub **hub, struct nic *backend);

/* net/filter.c. What passes goes to `out` too, or (redirects) only, what `in` says comes in; either
 * may be NULL, and is attached to until the filter is freed. vnet: as vnet_hdr_support=. */
struct nic_filter *net_mirror_new(struct chr *out, struct chr *in, bool redirects, bool vnet);
/* Holds frames back until the oldest has waited for interval_us. */
struct nic_filter *net_buffer_new(struct ev_loop *loop, uint32_t interval_us);

/* net/dump.c: pcap, at most maxlen bytes a frame. */
struct nic_filter *net_dump_new(const char *path, unsigned maxlen, struct err *e);

#endif
