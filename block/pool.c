/* SPDX-License-Identifier: MIT */
/* block/pool.c - the worker threads behind block/pool.h. */
#include "block/pool.h"

#include "dm/base/util.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#define POOL_STACK_BYTES (128u << 10) /* a system call and a few small frames */

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct pool_work *head, **tail;
    unsigned max, threads, idle;
    bool stop;
    pthread_t thread[];
};

static void *pool_thread(void *opaque)
{
    struct pool *p = opaque;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct pool_work *w = p->head;

        if (w) {
            p->head = w->next;
            if (!p->head) {
                p->tail = &p->head;
            }
            pthread_mutex_unlock(&p->lock);
            w->run(w);
            pthread_mutex_lock(&p->lock);
        } else if (p->stop) {
            break;
        } else {
            p->idle++;
            pthread_cond_wait(&p->more, &p->lock);
            p->idle--;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pool *pool_new(unsigned max)
{
    struct pool *p = xcalloc(1, sizeof(*p) + max * sizeof(p->thread[0]));

    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    p->tail = &p->head;
    p->max = max;
    return p;
}

void pool_free(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    assert(!p->head);
    p->stop = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++) {
        pthread_join(p->thread[i], NULL);
    }
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* Signals stay with the loop's thread: a worker is started with all of them blocked. */
static int pool_grow(struct pool *p)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int ret;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&p->thread[p->threads], &attr, pool_thread, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (ret == 0) {
        p->threads++;
    }
    return -ret;
}

static unsigned pool_queued(const struct pool *p)
{
    unsigned n = 0;

    for (const struct pool_work *w = p->head; w; w = w->next) {
        n++;
    }
    return n;
}

int pool_submit(struct pool *p, struct pool_work *w)
{
    int ret = 0;

    pthread_mutex_lock(&p->lock);
    if (pool_queued(p) >= p->idle && p->threads < p->max) {
        ret = pool_grow(p);
    }
    if (p->threads) {
        ret = 0;
        w->next = NULL;
        *p->tail = w;
        p->tail = &w->next;
        pthread_cond_signal(&p->more);
    }
    pthread_mutex_unlock(&p->lock);
    return ret;
}
