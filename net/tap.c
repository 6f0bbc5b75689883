/* SPDX-License-Identifier: MIT */
/* net/tap.c - a tap interface: the host's own network.
 *
 * The descriptor is non-blocking. A turn of the loop reads up to a batch of frames, then lets others
 * run. With a virtio header on each frame the kernel takes segments uncut and sums undone; towards
 * the card only what the card takes. A full interface ends sending until the loop says it is
 * writable; the frame at hand waits here.
 *
 * With several queues each has a descriptor; those that the card does not use are detached. All are
 * served by the one loop: they keep a guest's processors from waiting for each other, not ours.
 *
 * Scripts run before the guest does (script) and at the end (downscript), as QEMU runs them: with
 * the interface's name as only argument. Keel has set no_new_privs by then.
 * Reference: Linux Documentation/networking/tuntap.rst, virtio 1.2, 5.1.6.
 */
#include "net/net.h"
#include "net/offload-int.h"

#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 64, HDR = VNET_HDR_LEN };

struct tap;
struct tap_queue {
    struct nic *n;
    struct ev_fd fd;
    unsigned index;
    bool reading;
    uint8_t *waiting; /* a frame the kernel had no room for, header included */
    uint32_t waiting_len;
};

struct tap {
    bool vnet;
    char name[IFNAMSIZ];
    char *downscript;
    unsigned nqueues;
    struct tap_queue queue[NIC_QUEUES_MAX];
    uint8_t in[HDR + NIC_FRAME_MAX];
};

extern char **environ;

static bool in_use(const struct tap_queue *q)
{
    return q->index < q->n->queues_used;
}

static void watch(struct tap_queue *q)
{
    unsigned events = (q->reading ? EV_READ : 0) | (q->waiting ? EV_WRITE : 0);
    ev_fd_set(&q->fd, in_use(q) ? events : 0);
}

/* ---- frames ---- */

static void readable(struct tap_queue *q)
{
    struct tap *t = q->n->priv;
    size_t head = t->vnet ? HDR : 0;
    for (int i = 0; i < BATCH && q->reading; i++) {
        ssize_t len = read(q->fd.fd, t->in, head + NIC_FRAME_MAX);
        if (len <= (ssize_t)head) {
            if (len < 0 && errno != EAGAIN && errno != EINTR) {
                log_msg(LOG_WARN, "tap", "%s: reading: %s", t->name, strerror(errno));
                q->reading = false; /* the interface is gone */
            }
            break;
        }
        struct nic_frame f = {
            t->in + head, (uint32_t)((size_t)len - head), { 0 }, (uint16_t)q->index
        };
        if (t->vnet) {
            nic_offload_from_vnet(t->in, &f.off);
        }
        if (!nic_deliver(q->n, &f)) {
            q->reading = false;
        }
    }
}

static void writable(struct tap_queue *q)
{
    ssize_t done = write(q->fd.fd, q->waiting, q->waiting_len);
    if (done < 0 && errno == EAGAIN) {
        return;
    }
    q->n->tx.dropped += done < 0;
    free(q->waiting);
    q->waiting = NULL;
    nic_writable(q->n);
}

static void tap_event(void *opaque, unsigned events)
{
    struct tap_queue *q = opaque;
    if ((events & EV_WRITE) && q->waiting) {
        writable(q);
    }
    if (events & EV_READ) {
        readable(q);
    }
    watch(q);
}

static bool keep(struct tap_queue *q, const struct iovec *iov)
{
    if (q->waiting || !(q->waiting = malloc(iov[0].iov_len + iov[1].iov_len))) {
        q->n->tx.dropped++; /* the card did not stop when it was told to */
        return false;
    }
    memcpy(q->waiting, iov[0].iov_base, iov[0].iov_len);
    memcpy(q->waiting + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    q->waiting_len = (uint32_t)(iov[0].iov_len + iov[1].iov_len);
    watch(q);
    return false;
}

static bool tap_send(struct nic *n, const struct nic_frame *f)
{
    struct tap *t = n->priv;
    struct tap_queue *q = &t->queue[f->queue < n->queues_used ? f->queue : 0];
    uint8_t head[HDR];
    struct iovec iov[2] = { { head, t->vnet ? HDR : 0 }, { (void *)f->data, f->len } };
    if (t->vnet) {
        nic_offload_to_vnet(&f->off, head);
    }
    if (q->waiting) {
        return keep(q, iov);
    }
    if (writev(q->fd.fd, iov, 2) < 0) {
        if (errno == EAGAIN) {
            return keep(q, iov);
        }
        n->tx.dropped++; /* EIO: the interface is down; EINVAL: not a frame for it */
    }
    return true;
}

static void tap_resume(struct nic *n)
{
    struct tap *t = n->priv;
    for (unsigned i = 0; i < t->nqueues; i++) {
        t->queue[i].reading = true;
        watch(&t->queue[i]);
    }
}

/* The kernel spreads frames over the queues that are attached. */
static void tap_use_queues(struct nic *n, unsigned used)
{
    struct tap *t = n->priv;
    bool freed = false;
    for (unsigned i = 1; i < t->nqueues; i++) {
        struct tap_queue *q = &t->queue[i];
        struct ifreq ifr = { .ifr_flags = i < used ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };
        if (ioctl(q->fd.fd, TUNSETQUEUE, &ifr) < 0 && errno != EINVAL) { /* EINVAL: it is so */
            log_msg(LOG_WARN, "tap", "%s: queue %u: %s", t->name, i, strerror(errno));
        }
        if (i >= used && q->waiting) {
            n->tx.dropped++;
            free(q->waiting);
            q->waiting = NULL;
            freed = true;
        }
        watch(q);
    }
    if (freed) {
        nic_writable(n);
    }
}

static void tap_rx_takes(struct nic *n, unsigned takes)
{
    struct tap *t = n->priv;
    unsigned off = (takes & NIC_TAKES_CSUM ? TUN_F_CSUM : 0);
    if (off && takes & NIC_TAKES_TSO4) {
        off |= TUN_F_TSO4;
    }
    if (off && takes & NIC_TAKES_TSO6) {
        off |= TUN_F_TSO6;
    }
    if (t->vnet && ioctl(t->queue[0].fd.fd, TUNSETOFFLOAD, off) < 0) {
        log_msg(LOG_WARN, "tap", "%s: TUNSETOFFLOAD: %s", t->name, strerror(errno));
    }
}

/* ---- life ---- */

/* 0, or -errno with e. */
static int run_script(const char *path, const char *name, struct err *e)
{
    char *argv[] = { (char *)path, (char *)name, NULL };
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid;
    int status = 0;
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int ret = posix_spawn(&pid, path, NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    if (ret) {
        return err_set(e, -ret, "script=%s: %s", path, strerror(ret));
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(e, -ECHILD, "script=%s: failed with status %d", path,
                         WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void tap_free(struct nic *n)
{
    struct tap *t = n->priv;
    struct err e = { 0 };
    for (unsigned i = 0; i < t->nqueues; i++) {
        ev_fd_del(&t->queue[i].fd);
    }
    if (t->downscript && run_script(t->downscript, t->name, &e) < 0) {
        log_msg(LOG_WARN, "tap", "down%s", e.msg);
    }
    for (unsigned i = 0; i < t->nqueues; i++) {
        close(t->queue[i].fd.fd);
        free(t->queue[i].waiting);
    }
    free(t->downscript);
    free(t);
}

static const struct nic_ops tap_ops = {
    .kind = "tap",
    .send = tap_send,
    .resume = tap_resume,
    .rx_takes = tap_rx_takes,
    .use_queues = tap_use_queues,
    .free = tap_free,
};

/* Queue t->nqueues of the interface: t->name once it is known. A descriptor, or -errno with e. */
static int open_tun(struct tap *t, const struct tap_options *o, struct err *e)
{
    short flags = IFF_TAP | IFF_NO_PI;
    struct ifreq ifr = { .ifr_flags = (short)(flags | (o->queues > 1 ? IFF_MULTI_QUEUE : 0)) };
    unsigned features = 0;
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return err_set(e, -errno, "/dev/net/tun: %s", strerror(errno));
    }
    t->vnet = o->vnet_hdr && ioctl(fd, TUNGETFEATURES, &features) == 0 && features & IFF_VNET_HDR;
    if (t->vnet) {
        ifr.ifr_flags |= IFF_VNET_HDR;
    }
    if (o->ifname && strlen(o->ifname) >= IFNAMSIZ) {
        close(fd);
        return err_set(e, -EINVAL, "ifname=%s: longer than %d bytes", o->ifname, IFNAMSIZ - 1);
    }
    const char *name = t->nqueues ? t->name : o->ifname ? o->ifname : "tap%d";
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        int ret = -errno;
        close(fd);
        return err_set(e, ret, "ifname=%s: %s%s", name, strerror(-ret),
                       ret == -EINVAL ? " (was it made with as many queues?)" : "");
    }
    snprintf(t->name, sizeof(t->name), "%s", ifr.ifr_name);
    return fd;
}

static int adopt_tun(struct tap *t, int fd, bool several, struct err *e)
{
    struct ifreq ifr = { 0 };
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        return err_set(e, -errno, "fd=%d: not a tap interface: %s", fd, strerror(errno));
    }
    if (!(ifr.ifr_flags & IFF_TAP) || !(ifr.ifr_flags & IFF_NO_PI)) {
        return err_set(e, -EINVAL, "fd=%d: not a tap interface without packet information", fd);
    }
    bool vnet = ifr.ifr_flags & IFF_VNET_HDR;
    if (t->nqueues && (strcmp(t->name, ifr.ifr_name) != 0 || vnet != t->vnet)) {
        return err_set(e, -EINVAL, "fds: %d is of %s, the first one of %s", fd, ifr.ifr_name,
                       t->name);
    }
    if (several && !(ifr.ifr_flags & IFF_MULTI_QUEUE)) {
        return err_set(e, -EINVAL, "fds: %s has one queue only", ifr.ifr_name);
    }
    t->vnet = vnet;
    snprintf(t->name, sizeof(t->name), "%s", ifr.ifr_name);
    return fd;
}

/* Puts the interface on bridge `br`. */
static int join_bridge(const char *name, const char *br, struct err *e)
{
    struct ifreq ifr = { 0 };
    int ret = 0, s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", br);
    ifr.ifr_ifindex = (int)if_nametoindex(name);
    if (s < 0 || strlen(br) >= IFNAMSIZ || ioctl(s, SIOCBRADDIF, &ifr) < 0) {
        ret = errno == EBUSY ? 0 : err_set(e, -errno, "br=%s: %s", br, strerror(errno));
    }
    if (ret == 0) {
        memset(&ifr, 0, sizeof(ifr));
        snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
        if (ioctl(s, SIOCGIFFLAGS, &ifr) == 0) {
            ifr.ifr_flags |= IFF_UP;
            ioctl(s, SIOCSIFFLAGS, &ifr);
        }
    }
    if (s >= 0) {
        close(s);
    }
    return ret;
}

/* What each queue needs. */
static int set_up_queue(struct tap *t, struct ev_loop *loop, struct tap_queue *q, int sndbuf,
                        struct err *e)
{
    int head = HDR;
    if (fcntl(q->fd.fd, F_SETFL, O_NONBLOCK) < 0 ||
        (t->vnet && ioctl(q->fd.fd, TUNSETVNETHDRSZ, &head) < 0)) {
        return err_set(e, -errno, "%s: %s", t->name, strerror(errno));
    }
    if (t->vnet) {
        ioctl(q->fd.fd, TUNSETOFFLOAD, 0);
    }
    if (sndbuf && ioctl(q->fd.fd, TUNSETSNDBUF, &sndbuf) < 0) {
        return err_set(e, -errno, "sndbuf=%d: %s", sndbuf, strerror(errno));
    }
    int ret = ev_fd_add(loop, &q->fd);
    return ret < 0 ? err_set(e, ret, "%s: epoll: %s", t->name, strerror(-ret)) : 0;
}

static int open_queues(struct nic *n, struct tap *t, const struct tap_options *o, struct err *e)
{
    for (unsigned i = 0; i < o->queues; i++) {
        int fd = o->fds ? adopt_tun(t, o->fds[i], o->queues > 1, e) : open_tun(t, o, e);
        if (fd < 0) {
            return fd;
        }
        struct tap_queue *q = &t->queue[t->nqueues++];
        *q = (struct tap_queue){ .n = n, .index = i, .reading = true };
        q->fd = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = tap_event, .opaque = q };
        int ret = set_up_queue(t, n->loop, q, (int)min_u64(o->sndbuf, INT32_MAX), e);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int set_up(struct nic *n, struct tap *t, const struct tap_options *o, struct err *e)
{
    int ret = open_queues(n, t, o, e);
    if (ret == 0 && o->script) {
        ret = run_script(o->script, t->name, e);
    }
    if (ret == 0 && o->bridge) {
        ret = join_bridge(t->name, o->bridge, e);
    }
    return ret;
}

struct nic *net_tap_new(struct ev_loop *loop, const char *id, const struct tap_options *o,
                        struct err *e)
{
    struct nic *n = nic_new(loop, id, &tap_ops);
    struct tap *t = xcalloc(1, sizeof(*t));
    n->priv = t;
    if (set_up(n, t, o, e) < 0) {
        nic_free(n);
        return NULL;
    }
    t->downscript = o->downscript ? xstrdup(o->downscript) : NULL;
    n->tx_takes = t->vnet ? NIC_TAKES_ALL : 0;
    n->queues = t->nqueues;
    tap_use_queues(n, 1);
    n->info = xasprintf("ifname=%s%s%s", t->name, o->script ? ",script=" : ",script=no",
                        o->script ? o->script : "");
    return n;
}
