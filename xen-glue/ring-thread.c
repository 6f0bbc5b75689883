/* SPDX-License-Identifier: MIT */
/* xen-glue/ring-thread.c - the thread that serves the rings.
 *
 * In a PV dom0 every system call is dear, so a request costs exactly three: read(2) on the event
 * channel descriptor (blocking, no poll), the notify ioctl, and one write(2) that unmasks every
 * port just read. Notifying comes before unmasking: the guest goes on one system call earlier, and
 * a request it makes meanwhile stays pending until the unmask delivers it. After each read all
 * slots and the buffered ring are swept, so that vCPUs whose events arrive together share a wake.
 * Buffered writes are always older than a synchronous request that is already there, so the
 * buffered ring is drained between taking a slot and answering it.
 *
 * The descriptor's protocol (Linux evtchn(4), as libxenevtchn uses it): a read gives the pending
 * ports as 32-bit numbers, a write of ports unmasks them. Both take several at once; the library's
 * own calls only do one, hence the direct use.
 */
#include "xen-glue/xen-int.h"

#include "dm/base/err.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void count(uint64_t *n)
{
    __atomic_store_n(n, *n + 1, __ATOMIC_RELAXED); /* one writer: this thread */
}

static void invalidate_all(struct xen *x)
{
    machine_enter(x->m);
    mapcache_invalidate(x->cache, 0, UINT64_MAX);
    machine_leave(x->m);
}

static void bad(struct xen *x, const struct ring_item *it)
{
    count(&x->stats.bad_slot);
    log_limited(&x->bad_log, "xen", "domain %u: impossible request: address 0x%llx, flags 0x%x",
                x->domid, (unsigned long long)it->req.addr, it->flags);
}

static void serve(struct xen *x, struct ring_item *it)
{
    switch (it->kind) {
    case RING_IO:
        ioreq_run(x->m, &it->req);
        break;
    case RING_TIMEOFFSET:
        count(&x->stats.timeoffset);
        store_timeoffset(x, (int64_t)it->data);
        break;
    case RING_INVALIDATE:
        count(&x->stats.invalidate);
        invalidate_all(x);
        break;
    case RING_BAD:
        bad(x, it);
        break;
    case RING_IDLE:
        break;
    }
}

/* One lap at most: a producer that never stops cannot keep the slots waiting. */
static void drain_buffered(struct xen *x)
{
    uint64_t wild = 0;
    uint32_t waiting = ring_buffered_waiting(x->buffered, &wild);
    if (wild) {
        count(&x->stats.bad_slot);
        log_limited(&x->bad_log, "xen", "domain %u: wild pointers in the buffered ring", x->domid);
    }
    while (waiting > 0) {
        struct ring_item it;
        uint32_t entries = ring_buffered_take(x->buffered, waiting, &it);
        count(&x->stats.buffered);
        serve(x, &it);
        ring_buffered_done(x->buffered, entries);
        waiting -= entries;
    }
}

static void sweep(struct xen *x)
{
    struct ring_item it;
    for (unsigned i = 0; i < x->vcpus; i++) {
        ring_take(&x->slots[i], &it);
        if (it.kind == RING_IDLE) {
            continue;
        }
        drain_buffered(x);
        count(&x->stats.sync);
        serve(x, &it);
        ring_answer(&x->slots[i], &it);
        x->lib.xenevtchn_notify(x->ec, x->vcpu_port[i]);
    }
    drain_buffered(x);
}

static void *ring_thread(void *opaque)
{
    struct xen *x = opaque;
    int fd = x->lib.xenevtchn_fd(x->ec);
    evtchn_port_t ports[RING_MAX_VCPUS + 1];

    sweep(x); /* what came while nobody listened */
    while (!__atomic_load_n(&x->stop, __ATOMIC_ACQUIRE)) {
        ssize_t n = read(fd, ports, sizeof(ports));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            log_msg(LOG_ERROR, "xen", "domain %u: event channels: %s", x->domid,
                    n ? strerror(errno) : "closed");
            break;
        }
        sweep(x);
        if (write(fd, ports, (size_t)n) < 0) {
            log_limited(&x->bad_log, "xen", "domain %u: unmask: %s", x->domid, strerror(errno));
        }
    }
    __atomic_store_n(&x->thread_ended, true, __ATOMIC_RELEASE);
    return NULL;
}

static int bind_ports(struct xen *x, struct err *e)
{
    for (unsigned i = 0; i <= x->vcpus; i++) {
        evtchn_port_t theirs = i < x->vcpus
                                   ? __atomic_load_n(&x->slots[i].vp_eport, __ATOMIC_RELAXED)
                                   : x->buffered_port;
        int ours = x->lib.xenevtchn_bind_interdomain(x->ec, x->domid, theirs);
        if (ours < 0) {
            return err_set(e, -errno, "cannot bind event channel %u of domain %u: %s", theirs,
                           x->domid, strerror(errno));
        }
        if (i < x->vcpus) {
            x->vcpu_port[i] = (evtchn_port_t)ours;
        }
    }
    return 0;
}

static void interrupted(int signal)
{
    (void)signal; /* its arrival makes read(2) return */
}

/* The thread takes no signal but the one that stops it. */
static int spawn(struct xen *x)
{
    struct sigaction sa = { .sa_handler = interrupted };
    sigset_t all, old;
    sigaction(SIGRTMIN, &sa, NULL);
    sigfillset(&all);
    sigdelset(&all, SIGRTMIN);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&x->thread, NULL, ring_thread, x);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0) {
        pthread_setname_np(x->thread, "keel-ring");
    }
    return r;
}

int ring_thread_start(struct xen *x, struct err *e)
{
    int r = bind_ports(x, e);
    if (r < 0) {
        return r;
    }
    r = spawn(x);
    if (r) {
        return err_set(e, -r, "cannot start the ring thread: %s", strerror(r));
    }
    x->thread_runs = true;
    return 0;
}

/* The signal may come just before read(2) and be lost there, so it is repeated. */
void xen_stop(struct xen *x)
{
    __atomic_store_n(&x->stop, true, __ATOMIC_RELEASE);
    if (!x->thread_runs) {
        return;
    }
    while (!__atomic_load_n(&x->thread_ended, __ATOMIC_ACQUIRE)) {
        pthread_kill(x->thread, SIGRTMIN);
        nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
    }
    pthread_join(x->thread, NULL);
    x->thread_runs = false;
}
