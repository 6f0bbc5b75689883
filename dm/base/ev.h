/* SPDX-License-Identifier: MIT */
/* dm/base/ev.h - the event loop: descriptors, timers, and posts from other threads.
 *
 * One thread runs the loop (epoll, one timerfd, one eventfd). Every callback runs between lock()
 * and unlock() given at creation: that is where the machine lock is taken, nowhere in callbacks.
 * ev_fd_* and ev_timer_* may be called by any thread that holds that lock; ev_post and ev_quit by
 * any thread at all, as may ev_call. Structs belong to the caller and must stay in place while registered. A
 * callback may remove any registration, its own included.
 */
#ifndef DM_BASE_EV_H
#define DM_BASE_EV_H

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;

/* EV_HANGUP is only ever reported; EV_READ comes with it if wanted, so that a read finds the
 * end. With no events wanted nothing is reported. */
enum { EV_READ = 1, EV_WRITE = 2, EV_HANGUP = 4 };

struct ev_fd {
    int fd;
    unsigned events; /* EV_READ | EV_WRITE wanted */
    void (*cb)(void *opaque, unsigned events);
    void *opaque;
    struct ev_loop *loop; /* NULL when not registered */
};

struct ev_timer {
    void (*cb)(void *opaque);
    void *opaque;
    int64_t when_ns;      /* CLOCK_MONOTONIC */
    struct ev_loop *loop; /* NULL when not armed */
    struct ev_timer *next;
};

struct ev_post {
    void (*cb)(void *opaque);
    void *opaque;
    struct ev_post *next;
    bool queued;
};

/* lock and unlock may be NULL. Returns NULL when the kernel refuses (errno says why). */
struct ev_loop *ev_loop_new(void (*lock)(void *), void (*unlock)(void *), void *opaque);
void ev_loop_free(struct ev_loop *l);

/* Starts watching f->fd for f->events. 0, or -errno (a regular file gives -EPERM). */
int ev_fd_add(struct ev_loop *l, struct ev_fd *f);
void ev_fd_set(struct ev_fd *f, unsigned events);
/* Stops watching; f->fd is not closed. No callback for it runs afterwards. */
void ev_fd_del(struct ev_fd *f);

/* Arms (or re-arms) t for an absolute time; a time already past fires at the next turn. */
void ev_timer_arm(struct ev_loop *l, struct ev_timer *t, int64_t when_ns);
void ev_timer_disarm(struct ev_timer *t);

/* Runs p->cb once on the loop thread, soon. Posting an already queued p does nothing. */
void ev_post(struct ev_loop *l, struct ev_post *p);
/* Runs p->cb at once, on the calling thread and between lock and unlock, when try_lock gets the lock
 * without waiting; else posts p. For threads that hold no lock which a callback may want. */
void ev_call(struct ev_loop *l, struct ev_post *p);
/* From here on ev_call may try; NULL (what it is at first): it only posts. Under the lock, so that no
 * ev_call is under way behind it. try_lock is called with ev_loop_new's opaque by any thread. */
void ev_loop_set_try(struct ev_loop *l, bool (*try_lock)(void *));
/* Under the lock: runs p->cb on this thread and still under it, when everything else that this holder of
 * the lock does is done: for what would be re-entered if called at once. */
void ev_before_leave(struct ev_loop *l, struct ev_post *p);
/* ask, called under the lock with ev_loop_new's opaque: whoever holds it shall call ev_leaving before
 * letting go. NULL (what it is at first): ev_before_leave only posts. Under the lock. */
void ev_loop_set_leave(struct ev_loop *l, void (*ask)(void *));
void ev_leaving(struct ev_loop *l);
/* Takes p back if it has not run yet. Only under the lock. */
void ev_post_cancel(struct ev_loop *l, struct ev_post *p);

/* One turn: waits up to timeout_ms (-1 for ever), dispatches what is due. Returns the number of
 * callbacks run. */
int ev_loop_turn(struct ev_loop *l, int timeout_ms);
/* Turns until ev_quit. */
void ev_loop_run(struct ev_loop *l);
void ev_quit(struct ev_loop *l);

/* CLOCK_MONOTONIC in ns. */
int64_t ev_now_ns(void);
/* How often the loop woke up since it was made: the idle benchmark reads it. */
uint64_t ev_wakeups(const struct ev_loop *l);

#endif
