/* SPDX-License-Identifier: MIT */
/* block/pool.h - a few worker threads for system calls that block.
 *
 * Threads are started when work arrives and none is idle, up to max, and then sleep on a condition
 * variable: an idle pool costs no wake-ups. run() is called on a worker without any lock held and
 * must hand its result over itself.
 */
#ifndef BLOCK_POOL_H
#define BLOCK_POOL_H

struct pool;
struct pool_work {
    void (*run)(struct pool_work *w);
    struct pool_work *next;
};

/* max threads at most, 1 and up. No thread is started yet. */
struct pool *pool_new(unsigned max);
/* Waits for the work that is running, then ends the threads. Nothing may be queued. */
void pool_free(struct pool *p);
/* Queues w, which stays the caller's. 0, or -errno when not even one thread could be started. */
int pool_submit(struct pool *p, struct pool_work *w);

#endif
