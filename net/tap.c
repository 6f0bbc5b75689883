/* SPDX-License-Identifier: MIT */
/* net/tap.c - a tap interface: the host's own network.
 *
 * The descriptor is non-blocking. A turn of the loop reads up to a batch of frames, then lets others
 * run. With a virtio header on each frame the kernel takes segments uncut and sums undone; towards
 * the card only what the card takes. A full interface ends sending until the loop says it is
 * writable; the frame at hand waits here.
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

struct tap {
    struct ev_loop *loop;
    struct ev_fd fd;
    bool vnet;
    char name[IFNAMSIZ];
    char *downscript;
    bool reading;
    uint8_t *waiting; /* a frame the kernel had no room for, header included */
    uint32_t waiting_len;
    uint8_t in[HDR + NIC_FRAME_MAX];
};

extern char **environ;

static void watch(struct tap *t)
{
    ev_fd_set(&t->fd, (t->reading ? EV_READ : 0) | (t->waiting ? EV_WRITE : 0));
}

/* ---- frames ---- */

static void readable(struct nic *n, struct tap *t)
{
    size_t head = t->vnet ? HDR : 0;
    for (int i = 0; i < BATCH && t->reading; i++) {
        ssize_t len = read(t->fd.fd, t->in, head + NIC_FRAME_MAX);
        if (len <= (ssize_t)head) {
            if (len < 0 && errno != EAGAIN && errno != EINTR) {
                log_msg(LOG_WARN, "tap", "%s: reading: %s", t->name, strerror(errno));
                t->reading = false; /* the interface is gone */
            }
            break;
        }
        struct nic_frame f = { t->in + head, (uint32_t)((size_t)len - head), { 0 }, 0 };
        if (t->vnet) {
            offload_from_vnet(t->in, &f.off);
        }
        if (!nic_deliver(n, &f)) {
            t->reading = false;
        }
    }
}

static void writable(struct nic *n, struct tap *t)
{
    ssize_t done = write(t->fd.fd, t->waiting, t->waiting_len);
    if (done < 0 && errno == EAGAIN) {
        return;
    }
    n->tx.dropped += done < 0;
    free(t->waiting);
    t->waiting = NULL;
    nic_writable(n);
}

static void tap_event(void *opaque, unsigned events)
{
    struct nic *n = opaque;
    struct tap *t = n->priv;
    if ((events & EV_WRITE) && t->waiting) {
        writable(n, t);
    }
    if (events & EV_READ) {
        readable(n, t);
    }
    watch(t);
}

static bool keep(struct nic *n, struct tap *t, const struct iovec *iov)
{
    if (t->waiting || !(t->waiting = malloc(iov[0].iov_len + iov[1].iov_len))) {
        n->tx.dropped++; /* the card did not stop when it was told to */
        return false;
    }
    memcpy(t->waiting, iov[0].iov_base, iov[0].iov_len);
    memcpy(t->waiting + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    t->waiting_len = (uint32_t)(iov[0].iov_len + iov[1].iov_len);
    watch(t);
    return false;
}

static bool tap_send(struct nic *n, const struct nic_frame *f)
{
    struct tap *t = n->priv;
    uint8_t head[HDR];
    struct iovec iov[2] = { { head, t->vnet ? HDR : 0 }, { (void *)f->data, f->len } };
    offload_to_vnet(&f->off, head);
    if (t->waiting) {
        return keep(n, t, iov);
    }
    if (writev(t->fd.fd, iov, 2) < 0) {
        if (errno == EAGAIN) {
            return keep(n, t, iov);
        }
        n->tx.dropped++; /* EIO: the interface is down; EINVAL: not a frame for it */
    }
    return true;
}

static void tap_resume(struct nic *n)
{
    struct tap *t = n->priv;
    t->reading = true;
    watch(t);
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
    if (t->vnet && ioctl(t->fd.fd, TUNSETOFFLOAD, off) < 0) {
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
    ev_fd_del(&t->fd);
    if (t->downscript && run_script(t->downscript, t->name, &e) < 0) {
        log_msg(LOG_WARN, "tap", "down%s", e.msg);
    }
    close(t->fd.fd);
    free(t->downscript);
    free(t->waiting);
    free(t);
}

static const struct nic_ops tap_ops = { .kind = "tap",
                                        .send = tap_send,
                                        .resume = tap_resume,
                                        .rx_takes = tap_rx_takes,
                                        .free = tap_free };

static int open_tun(struct tap *t, const struct tap_options *o, struct err *e)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
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
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", o->ifname ? o->ifname : "tap%d");
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        int ret = -errno;
        close(fd);
        return err_set(e, ret, "ifname=%s: %s", o->ifname ? o->ifname : "tap%d", strerror(-ret));
    }
    snprintf(t->name, sizeof(t->name), "%s", ifr.ifr_name);
    return fd;
}

static int adopt_tun(struct tap *t, int fd, struct err *e)
{
    struct ifreq ifr = { 0 };
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        return err_set(e, -errno, "fd=%d: not a tap interface: %s", fd, strerror(errno));
    }
    if (!(ifr.ifr_flags & IFF_TAP) || !(ifr.ifr_flags & IFF_NO_PI)) {
        return err_set(e, -EINVAL, "fd=%d: not a tap interface without packet information", fd);
    }
    t->vnet = ifr.ifr_flags & IFF_VNET_HDR;
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

static int set_up(struct tap *t, const struct tap_options *o, struct err *e)
{
    int head = HDR, sndbuf = (int)min_u64(o->sndbuf, INT32_MAX);
    if (fcntl(t->fd.fd, F_SETFL, O_NONBLOCK) < 0 ||
        (t->vnet && ioctl(t->fd.fd, TUNSETVNETHDRSZ, &head) < 0)) {
        return err_set(e, -errno, "%s: %s", t->name, strerror(errno));
    }
    if (t->vnet) {
        ioctl(t->fd.fd, TUNSETOFFLOAD, 0);
    }
    if (sndbuf && ioctl(t->fd.fd, TUNSETSNDBUF, &sndbuf) < 0) {
        return err_set(e, -errno, "sndbuf=%d: %s", sndbuf, strerror(errno));
    }
    if (o->script && run_script(o->script, t->name, e) < 0) {
        return e->code;
    }
    return o->bridge ? join_bridge(t->name, o->bridge, e) : 0;
}

struct nic *net_tap_new(struct ev_loop *loop, const char *id, const struct tap_options *o,
                        struct err *e)
{
    struct tap *t = xcalloc(1, sizeof(*t));
    int fd = o->fd >= 0 ? adopt_tun(t, o->fd, e) : open_tun(t, o, e);
    if (fd < 0) {
        free(t);
        return NULL;
    }
    struct nic *n = nic_new(loop, id, &tap_ops);
    n->priv = t;
    t->loop = loop;
    t->reading = true;
    t->fd = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = tap_event, .opaque = n };
    if (set_up(t, o, e) < 0 || (ev_fd_add(loop, &t->fd) < 0 && err_set(e, -errno, "epoll"))) {
        nic_free(n);
        return NULL;
    }
    t->downscript = o->downscript ? xstrdup(o->downscript) : NULL;
    n->tx_takes = t->vnet ? NIC_TAKES_ALL : 0;
    n->info = xasprintf("ifname=%s%s%s", t->name, o->script ? ",script=" : ",script=no",
                        o->script ? o->script : "");
    return n;
}
