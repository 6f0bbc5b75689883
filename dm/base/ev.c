/* SPDX-License-Identifier: MIT */
/* dm/base/ev.c - the event loop: epoll, one timerfd, one eventfd; see ev.h.
 *
 * Each callback is its own lock()...unlock(), so that a vCPU waiting for the machine gets its turn
 * between any two. Between two callbacks another thread may remove what is still to be called;
 * hence descriptors, due timers and posts all stay where removal finds them and are looked up
 * under the lock just before they are called. epoll is given (descriptor, generation) instead of a
 * pointer: what it reported about a registration that has gone since no longer matches its slot.
 */
#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64

struct slot {
    struct ev_fd *f; /* NULL: nobody watches this descriptor */
    uint32_t generation;
};

struct ev_loop {
    void (*lock)(void *);
    void (*unlock)(void *);
    void *opaque;
    int epfd, timerfd, wakefd;

    struct slot *slots; /* by descriptor */
    size_t nslots;

    struct ev_timer *timers; /* armed, earliest first */
    bool in_timers;          /* run_timers is under way */
    struct ev_timer *due;    /* of the turn under way: cut off `timers`, not yet called */

    pthread_mutex_t post_lock; /* guards these; innermost, never held over a callback */
    struct ev_post *posts, **posts_end;
    bool (*try_lock)(void *);

    /* under the lock: */
    void (*ask_leave)(void *);
    struct ev_post *leaving, **leaving_end; /* for ev_leaving; in the same order */
    bool in_leaving;

    bool quit; /* atomic */
    uint64_t wakeups;
};

int64_t ev_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void enter(struct ev_loop *l)
{
    if (l->lock) {
        l->lock(l->opaque);
    }
}

static void leave(struct ev_loop *l)
{
    if (l->unlock) {
        l->unlock(l->opaque);
    }
}

static int watch_own(struct ev_loop *l, int fd)
{
    struct epoll_event want = { .events = EPOLLIN, .data.u64 = (uint32_t)fd };
    return fd < 0 ? -1 : epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &want);
}

static void close_all(struct ev_loop *l)
{
    int fds[] = { l->epfd, l->timerfd, l->wakefd };
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

struct ev_loop *ev_loop_new(void (*lock)(void *), void (*unlock)(void *), void *opaque)
{
    struct ev_loop *l = xcalloc(1, sizeof(*l));
    l->lock = lock;
    l->unlock = unlock;
    l->opaque = opaque;
    l->posts_end = &l->posts;
    l->leaving_end = &l->leaving;
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    l->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epfd < 0 || watch_own(l, l->timerfd) < 0 || watch_own(l, l->wakefd) < 0) {
        int saved = errno;
        close_all(l);
        free(l);
        errno = saved;
        return NULL;
    }
    pthread_mutex_init(&l->post_lock, NULL);
    return l;
}

void ev_loop_free(struct ev_loop *l)
{
    if (!l) {
        return;
    }
    close_all(l);
    pthread_mutex_destroy(&l->post_lock);
    free(l->slots);
    free(l);
}

/* ---- descriptors ---- */

static uint32_t to_epoll(unsigned events)
{
    return (events & EV_READ ? (uint32_t)EPOLLIN : 0) |
           (events & EV_WRITE ? (uint32_t)EPOLLOUT : 0);
}

/* epoll reports hang-ups even of a descriptor nobody asked anything about, over and over; so one
 * with no events wanted is not in the set at all. */
static int move_fd(struct ev_fd *f, unsigned from, unsigned to)
{
    uint64_t generation = f->loop->slots[f->fd].generation;
    struct epoll_event want = { .events = to_epoll(to),
                                .data.u64 = generation << 32 | (uint32_t)f->fd };
    int op = !from ? EPOLL_CTL_ADD : !to ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (!from && !to) {
        return 0;
    }
    return epoll_ctl(f->loop->epfd, op, f->fd, &want) < 0 ? -errno : 0;
}

static struct slot *slot_of(struct ev_loop *l, int fd)
{
    size_t want = (size_t)fd + 1;
    if (want > l->nslots) {
        l->slots = xrealloc(l->slots, want * sizeof(*l->slots));
        memset(l->slots + l->nslots, 0, (want - l->nslots) * sizeof(*l->slots));
        l->nslots = want;
    }
    return &l->slots[fd];
}

int ev_fd_add(struct ev_loop *l, struct ev_fd *f)
{
    if (f->fd < 0) {
        return -EBADF;
    }
    struct slot *s = slot_of(l, f->fd);
    if (s->f) {
        return -EEXIST;
    }
    s->generation++;
    f->loop = l;
    f->events &= EV_READ | EV_WRITE;
    int rc = move_fd(f, 0, f->events);
    if (rc < 0) {
        f->loop = NULL;
        return rc;
    }
    s->f = f;
    return 0;
}

void ev_fd_set(struct ev_fd *f, unsigned events)
{
    events &= EV_READ | EV_WRITE;
    if (!f->loop || events == f->events) {
        return;
    }
    (void)move_fd(f, f->events, events);
    f->events = events;
}

void ev_fd_del(struct ev_fd *f)
{
    if (!f->loop) {
        return;
    }
    (void)move_fd(f, f->events, 0);
    f->loop->slots[f->fd].f = NULL;
    f->loop = NULL;
}

static unsigned from_epoll(const struct ev_fd *f, uint32_t got)
{
    unsigned events = 0;
    if (got & EPOLLIN) {
        events |= EV_READ;
    }
    if (got & EPOLLOUT) {
        events |= EV_WRITE;
    }
    if (got & (EPOLLHUP | EPOLLERR)) {
        events |= EV_HANGUP | EV_READ;
    }
    return events & (f->events | EV_HANGUP);
}

static int run_fd(struct ev_loop *l, const struct epoll_event *got)
{
    int ran = 0;
    enter(l);
    const struct slot *s = &l->slots[(uint32_t)got->data.u64];
    struct ev_fd *f = s->generation == got->data.u64 >> 32 ? s->f : NULL;
    unsigned events = f ? from_epoll(f, got->events) : 0;
    if (events) {
        f->cb(f->opaque, events);
        ran = 1;
    }
    leave(l);
    return ran;
}

/* ---- timers ---- */

/* Sets timerfd to the earliest timer, which also clears its readiness. While timers are called that is
 * left to the end. */
static void program(struct ev_loop *l)
{
    struct itimerspec at = { 0 };
    int64_t when = !l->timers ? 0 : l->timers->when_ns > 0 ? l->timers->when_ns : 1; /* 0: never */
    at.it_value.tv_sec = when / 1000000000;
    at.it_value.tv_nsec = when % 1000000000;
    if (!l->in_timers) {
        timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &at, NULL);
    }
}

static bool unlink_timer(struct ev_timer **list, struct ev_timer *t)
{
    for (struct ev_timer **at = list; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            return true;
        }
    }
    return false;
}

/* Takes t off whichever list it is on; says whether the earliest timer changed. */
static bool drop_timer(struct ev_loop *l, struct ev_timer *t)
{
    bool was_first = l->timers == t;
    if (!unlink_timer(&l->timers, t)) {
        unlink_timer(&l->due, t);
    }
    return was_first;
}

void ev_timer_arm(struct ev_loop *l, struct ev_timer *t, int64_t when_ns)
{
    bool changed = t->loop && drop_timer(t->loop, t);
    t->loop = l;
    t->when_ns = when_ns;
    struct ev_timer **at = &l->timers;
    while (*at && (*at)->when_ns <= when_ns) {
        at = &(*at)->next;
    }
    t->next = *at;
    *at = t;
    if (changed || l->timers == t) {
        program(l);
    }
}

void ev_timer_disarm(struct ev_timer *t)
{
    if (!t->loop) {
        return;
    }
    struct ev_loop *l = t->loop;
    t->loop = NULL;
    if (drop_timer(l, t)) {
        program(l);
    }
}

/* Cuts what is due now off the list: a timer that its own callback arms for a time already past
 * waits for the next turn, and so cannot starve the descriptors. */
static void cut_due(struct ev_loop *l)
{
    int64_t now = ev_now_ns();
    struct ev_timer **at = &l->timers;
    while (*at && (*at)->when_ns <= now) {
        at = &(*at)->next;
    }
    if (at != &l->timers) {
        l->due = l->timers;
        l->timers = *at;
        *at = NULL;
    }
}

static int run_timers(struct ev_loop *l)
{
    int ran = 0;
    enter(l);
    cut_due(l);
    l->in_timers = true;
    while (l->due) {
        struct ev_timer *t = l->due;
        l->due = t->next;
        t->loop = NULL;
        t->cb(t->opaque);
        ran++;
        if (l->due) {
            leave(l);
            enter(l);
        }
    }
    l->in_timers = false;
    program(l);
    leave(l);
    return ran;
}

/* ---- posts ---- */

static void wake(struct ev_loop *l)
{
    uint64_t one = 1;
    if (write(l->wakefd, &one, sizeof(one)) < 0) {
        return; /* the counter is full: the loop is being woken anyway */
    }
}

void ev_post(struct ev_loop *l, struct ev_post *p)
{
    pthread_mutex_lock(&l->post_lock);
    bool first = !l->posts && !p->queued;
    if (!p->queued) {
        p->queued = true;
        p->next = NULL;
        *l->posts_end = p;
        l->posts_end = &p->next;
    }
    pthread_mutex_unlock(&l->post_lock);
    if (first) {
        wake(l);
    }
}

static struct ev_post *pop(struct ev_loop *l, struct ev_post **list, struct ev_post ***end)
{
    pthread_mutex_lock(&l->post_lock);
    struct ev_post *p = *list;
    if (p) {
        *list = p->next;
        if (!*list) {
            *end = list;
        }
        p->queued = false;
    }
    pthread_mutex_unlock(&l->post_lock);
    return p;
}

void ev_loop_set_try(struct ev_loop *l, bool (*try_lock)(void *))
{
    pthread_mutex_lock(&l->post_lock);
    l->try_lock = try_lock;
    pthread_mutex_unlock(&l->post_lock);
}

void ev_call(struct ev_loop *l, struct ev_post *p)
{
    pthread_mutex_lock(&l->post_lock);
    bool mine = l->try_lock && l->try_lock(l->opaque);
    pthread_mutex_unlock(&l->post_lock);
    if (!mine) {
        ev_post(l, p);
        return;
    }
    p->cb(p->opaque);
    leave(l);
}

/* ---- before the lock is let go of ---- */

void ev_loop_set_leave(struct ev_loop *l, void (*ask)(void *))
{
    l->ask_leave = ask;
}

void ev_before_leave(struct ev_loop *l, struct ev_post *p)
{
    if (!l->ask_leave || l->in_leaving) { /* what it starts itself waits for a turn: no end else */
        ev_post(l, p);
        return;
    }
    pthread_mutex_lock(&l->post_lock);
    if (!p->queued) {
        p->queued = true;
        p->next = NULL;
        *l->leaving_end = p;
        l->leaving_end = &p->next;
    }
    pthread_mutex_unlock(&l->post_lock);
    l->ask_leave(l->opaque);
}

void ev_leaving(struct ev_loop *l)
{
    l->in_leaving = true;
    for (struct ev_post *p; (p = pop(l, &l->leaving, &l->leaving_end));) {
        p->cb(p->opaque);
    }
    l->in_leaving = false;
}

static bool unlink_post(struct ev_post **list, struct ev_post ***end, struct ev_post *p)
{
    for (struct ev_post **at = list; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            if (*end == &p->next) {
                *end = at;
            }
            p->queued = false;
            return true;
        }
    }
    return false;
}

void ev_post_cancel(struct ev_loop *l, struct ev_post *p)
{
    pthread_mutex_lock(&l->post_lock);
    if (!unlink_post(&l->posts, &l->posts_end, p)) {
        unlink_post(&l->leaving, &l->leaving_end, p);
    }
    pthread_mutex_unlock(&l->post_lock);
}

static int count_posts(struct ev_loop *l)
{
    int n = 0;
    pthread_mutex_lock(&l->post_lock);
    for (const struct ev_post *p = l->posts; p; p = p->next) {
        n++;
    }
    pthread_mutex_unlock(&l->post_lock);
    return n;
}

/* Runs as many as were waiting at the start. A post is taken off its list only under the caller's
 * lock: whoever cancels it under that lock knows that it has run or never will. */
static int run_posts(struct ev_loop *l)
{
    uint64_t count;
    if (read(l->wakefd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
        return 0;
    }
    int ran = 0;
    for (int left = count_posts(l); left > 0; left--) {
        enter(l);
        struct ev_post *p = pop(l, &l->posts, &l->posts_end);
        if (p) {
            p->cb(p->opaque);
            ran++;
        }
        leave(l);
    }
    if (count_posts(l)) {
        wake(l);
    }
    return ran;
}

/* ---- turning ---- */

static int dispatch(struct ev_loop *l, const struct epoll_event *got, int n)
{
    int ran = 0;
    for (int i = 0; i < n; i++) {
        int fd = (int)(uint32_t)got[i].data.u64;
        if (fd == l->timerfd) {
            ran += run_timers(l);
        } else if (fd == l->wakefd) {
            ran += run_posts(l);
        } else {
            ran += run_fd(l, &got[i]);
        }
    }
    return ran;
}

int ev_loop_turn(struct ev_loop *l, int timeout_ms)
{
    struct epoll_event got[BATCH];
    int n = epoll_wait(l->epfd, got, BATCH, timeout_ms);
    __atomic_fetch_add(&l->wakeups, 1, __ATOMIC_RELAXED);
    return n > 0 ? dispatch(l, got, n) : 0;
}

void ev_loop_run(struct ev_loop *l)
{
    while (!__atomic_exchange_n(&l->quit, false, __ATOMIC_ACQUIRE)) {
        ev_loop_turn(l, -1);
    }
}

void ev_quit(struct ev_loop *l)
{
    __atomic_store_n(&l->quit, true, __ATOMIC_RELEASE);
    wake(l);
}

uint64_t ev_wakeups(const struct ev_loop *l)
{
    return __atomic_load_n(&l->wakeups, __ATOMIC_RELAXED);
}
