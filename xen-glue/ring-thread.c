/* SPDX-License-Identifier: MIT */
/* xen-glue/ring-thread.c - the thread that serves the rings.
 *
 *        .--------------------- found: answer, notify -------------------.
 *        v                                                               |
 *   look at all slots --nothing--> linger: look again for a while -------'
 *        ^                             |
 *        |                             | nothing
 *        '---- read: sleep until <-- write: unmask the ports
 *              ports fire            that fired
 *
 * In a PV dom0 every system call is dear, and a sleep is dearer than all of them. A guest that is
 * busy with its devices sends the next request a few microseconds after it got its answer, so the
 * thread looks at the shared pages for that long before it sleeps. The ports stay masked meanwhile:
 * an event then costs nobody anything, and a request costs one system call, the notify. Where
 * lingering does not pay (guest and dom0 share a processor, or the guest is idle) it is tried ever
 * more rarely. Without it a request costs three: notify, write(2), and read(2), which blocks.
 * Notifying comes before unmasking: the guest goes on one system call earlier, and a request it
 * makes meanwhile stays pending until the unmask delivers it. (io_uring takes write and read in one
 * call and is still slower: 446 us against 391 a request under emulated Xen.)
 *
 * All slots and the buffered ring are swept each time, so that vCPUs whose events arrive together
 * share a wake. Buffered writes are always older than a synchronous request that is already there,
 * so the buffered ring is drained between taking a slot and answering it.
 *
 * The descriptor's protocol (Linux evtchn(4), as libxenevtchn uses it): a read gives the ports that
 * fired as 32-bit numbers, each masked from then on; a write of ports unmasks them. Both take
 * several at once; the library's own calls only do one, hence the direct use.
 */
#include "xen-glue/xen-int.h"

#include "dm/base/err.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRED_MOST = RING_MAX_VCPUS + 1,
    LINGER_NS = 50000,
    LINGER_MOST_REST = 1023, /* wakes */
    LOOKS_PER_CLOCK = 16,
};

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

/* One lap at most: a producer that never stops cannot keep the slots waiting. Returns whether there
 * was anything. */
static bool drain_buffered(struct xen *x)
{
    uint64_t wild = 0;
    uint32_t waiting = ring_buffered_waiting(x->buffered, &wild);
    bool any = waiting > 0;
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
    return any;
}

/* Answers all that waits. Returns whether there was anything. */
static bool sweep(struct xen *x)
{
    struct ring_item it;
    bool any = false;
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
        any = true;
    }
    return any || drain_buffered(x);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Looks until something was there or the time is over. */
static bool look_until(struct xen *x, int64_t end)
{
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (sweep(x)) {
                return true;
            }
            relax();
        }
    } while (ev_now_ns() < end);
    return false;
}

/* Looks for LINGER_NS instead of sleeping. Each time in vain doubles the number of wakes until the
 * next try, each success halves it. A request that only came because the hypervisor took the
 * processor away from us meanwhile is no success: the guest was waiting for that. */
static bool linger(struct xen *x)
{
    if (x->linger_rest > 0) {
        x->linger_rest--;
        return false;
    }
    int64_t end = ev_now_ns() + LINGER_NS;
    bool found = look_until(x, end);
    if (found && ev_now_ns() < end) {
        x->linger_penalty /= 2;
        count(&x->stats.lingered);
        return true;
    }
    count(&x->stats.vain);
    if (x->linger_penalty < LINGER_MOST_REST) {
        x->linger_penalty = x->linger_penalty * 2 + 1;
    }
    x->linger_rest = x->linger_penalty;
    return found;
}

/* Unmasks the *n ports that fired and sleeps until one fires. 0, -EINTR after a signal, or another
 * -errno when no more events will come. */
static int wait_for_events(int fd, evtchn_port_t ports[FIRED_MOST], size_t *n)
{
    if (*n && write(fd, ports, *n * sizeof(ports[0])) < 0) {
        return -errno;
    }
    *n = 0;
    ssize_t got = read(fd, ports, FIRED_MOST * sizeof(ports[0]));
    if (got <= 0) {
        return got < 0 ? -errno : -EPIPE;
    }
    *n = (size_t)got / sizeof(ports[0]);
    return 0;
}

static void *ring_thread(void *opaque)
{
    struct xen *x = opaque;
    evtchn_port_t ports[FIRED_MOST];
    size_t fired = 0;
    int r = 0, fd = x->lib.xenevtchn_fd(x->ec);

    bool busy = sweep(x); /* what came while nobody listened */
    while (!__atomic_load_n(&x->stop, __ATOMIC_ACQUIRE) && (r == 0 || r == -EINTR)) {
        if (busy && linger(x)) {
            continue;
        }
        r = wait_for_events(fd, ports, &fired);
        busy = r == 0 && sweep(x);
    }
    if (r < 0 && r != -EINTR) {
        x->lost_error = r;
        ev_post(x->loop, &x->lost_post);
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

/* Without events the guest would hang at its next request. */
static void lost(void *opaque)
{
    struct xen *x = opaque;
    struct err e = { 0 };
    err_set(&e, x->lost_error, "no more event channels of domain %u: %s", x->domid,
            strerror(-x->lost_error));
    x->on_lost(x->on_lost_opaque, &e);
}

int ring_thread_start(struct xen *x, struct err *e)
{
    x->lost_post = (struct ev_post){ .cb = lost, .opaque = x };
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
