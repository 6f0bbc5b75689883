/* SPDX-License-Identifier: MIT */
/* net/user-int.h - what the files of the user network share: see user.c. */
#ifndef NET_USER_INT_H
#define NET_USER_INT_H

#include "net/net.h"

#include "dm/base/log.h"

#include <poll.h>
#include <pthread.h>
#include <slirp/libslirp.h>

struct packet {
    struct packet *next;
    uint32_t len;
    uint8_t data[];
};

struct packets {
    struct packet *head, **tail;
    size_t bytes;
};

struct slirp_timer {
    SlirpTimerCb cb;
    void *opaque;
    int64_t when_ms; /* -1: not armed */
    struct slirp_timer *next;
};

/* guestfwd to a host stream: one connection, made at the start. */
struct guest_forward {
    struct user *u;
    int fd;
    struct in_addr server;
    int port, poll; /* poll: index in pfd, -1 */
    struct guest_forward *next;
};

struct user {
    struct nic *n;
    Slirp *slirp;
    pthread_t thread;
    bool started;
    int wake;
    pthread_mutex_t lock; /* around the library and what it calls back */
    bool got;             /* frames for the card since the thread looked */
    struct slirp_timer *timers;
    struct guest_forward *forwards;
    struct pollfd *pfd; /* the thread's own: what it polls, or will */
    int npfd, cappfd;
    int64_t until_ms; /* when it wakes up by itself, INT64_MAX: never */
    bool stale;       /* what it polled is not what the library asked for last */
    struct log_limit log;
    int64_t datagram_ns; /* when the last short one went */
    char *smb_dir;       /* what smbd writes; NULL without smb= */

    pthread_mutex_t queues; /* around these */
    struct packets out, in;
    bool full, quit;
    struct ev_post arrived, drained;
};

/* Has the thread look at everything again. */
void user_wake(struct user *u);

/* What the library and the forwards want polled, on top of pfd[0]: add(fd, POLL bits) each, which returns
 * the place. Returns how long that may take in ms, -1: for ever. Under `lock`. */
int user_wanted(struct user *u, SlirpAddPollCb add, void *opaque);
short user_poll_bits(int slirp_bits);

/* net/user-direct.c: gives f to the library on the calling thread, which holds the machine lock, when that
 * is quick and nothing waits before it. False: the thread has to. */
bool user_direct(struct user *u, const struct nic_frame *f);

/* net/user-smb.c: smbd on `dir`, shared as "qemu" at `server` (0: .4 of the network). Before the
 * thread runs. 0, or -errno with e. */
int user_smb_start(struct user *u, const char *dir, struct in_addr server, struct err *e);
/* Removes what was made for it. */
void user_smb_stop(struct user *u);

#endif
