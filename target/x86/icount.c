/* SPDX-License-Identifier: MIT */
/* target/x86/icount.c - virtual time that follows retired instructions. */
#include "target/x86/icount.h"

#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <errno.h>
#include <time.h>

enum {
    TURN = 50000,         /* instructions */
    GRANT = 1 << 30,      /* at most, at once */
    LOOK_NS = 100000000,  /* adapts: how often */
    LAG_NS = LOOK_NS / 10 /* adapts: a difference that does not matter */
};

void icount_init(struct icount *i, int shift, bool sleep)
{
    *i = (struct icount){ .shift = shift == ICOUNT_AUTO ? 3 : shift,
                          .adapts = shift == ICOUNT_AUTO,
                          .sleep = sleep,
                          .turn = TURN,
                          .random = 0x9e3779b97f4a7c15 };
}

static int64_t now_ns(const struct icount *i, int64_t left)
{
    return (int64_t)((uint64_t)(i->retired + i->granted - left) << i->shift) + i->warp_ns;
}

void icount_publish(const struct x86_cpu *c)
{
    const struct icount *i = &c->all->icount;
    if (icount_on(i)) {
        soft_set_time(c->soft, now_ns(i, c->tcg.icount_left));
    }
}

/* Instructions until the next timer; 0: it is due. */
static int64_t until_timer(const struct vcpus *v)
{
    const struct icount *i = &v->icount;
    int64_t deadline = soft_deadline(v->soft), now = now_ns(i, 0);
    if (deadline < 0) {
        return GRANT;
    }
    uint64_t ns = deadline > now ? (uint64_t)deadline - (uint64_t)now : 0;
    uint64_t n = (ns >> i->shift) + ((ns & ((1ull << i->shift) - 1)) != 0);
    return (int64_t)min_u64(n, GRANT);
}

void icount_settle(struct vcpus *v)
{
    struct icount *i = &v->icount;
    if (!icount_on(i) || !v->settle) {
        return;
    }
    pthread_mutex_lock(&v->lock);
    i->settling = true;
    pthread_mutex_unlock(&v->lock);
    bool wait = v->settle(v->o);
    pthread_mutex_lock(&v->lock);
    while (wait && i->settling && v->run && !v->quit) {
        pthread_cond_wait(&v->wake, &v->lock);
    }
    pthread_mutex_unlock(&v->lock);
}

void icount_fire(struct x86_cpu *c)
{
    if (until_timer(c->all) == 0) {
        x86_lock_machine(c);
        machine_timers(c->m);
        x86_unlock_machine(c);
    }
}

/* Makes instructions shorter or longer when virtual time ran ahead of the host's or fell behind. */
static void adapt(struct vcpus *v)
{
    struct icount *i = &v->icount;
    int64_t real = ev_now_ns(), now = now_ns(i, 0);
    int64_t dr = real - i->seen_ns[0], dv = now - i->seen_ns[1];
    if (dr < LOOK_NS) {
        return;
    }
    int shift = i->shift + (i->seen_ns[0] && dv < dr - LAG_NS) - (dv > dr + LAG_NS);
    if (i->seen_ns[0] && shift >= 0 && shift <= ICOUNT_MAX_SHIFT) {
        i->warp_ns +=
            (int64_t)((uint64_t)i->retired << i->shift) - (int64_t)((uint64_t)i->retired << shift);
        i->shift = shift;
    }
    i->seen_ns[0] = real;
    i->seen_ns[1] = now;
}

enum tcg_exit icount_run(struct x86_cpu *c, bool alone)
{
    struct icount *i = &c->all->icount;
    int64_t n = until_timer(c->all);
    if (i->adapts) {
        adapt(c->all);
    }
    n = n < i->turn ? n : i->turn;
    alone |= i->tail;
    i->granted = c->tcg.icount_left = n < 1 || alone ? 1 : n;
    enum tcg_exit why = alone ? tcg_run_one(&c->tcg) : tcg_run(&c->tcg);
    int64_t done = i->granted - c->tcg.icount_left;
    i->retired += done;
    i->turn -= done;
    i->granted = c->tcg.icount_left = 0;
    i->tail = done < n && (why == TCG_EXIT_ICOUNT || i->tail);
    return why;
}

bool icount_turn_over(struct vcpus *v)
{
    if (v->icount.turn > 0) {
        return false;
    }
    v->icount.turn = TURN;
    return true;
}

/* Until ns have passed, or somebody wakes a processor up or stops the machine. How long it was. */
static int64_t wait_really(struct vcpus *v, int64_t ns)
{
    int64_t start = ev_now_ns(), deadline = soft_deadline(v->soft);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec += ns % 1000000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&v->lock);
    int ret = 0;
    while (ret == 0 && v->run && !v->quit && !vcpus_have_work(v) &&
           soft_deadline(v->soft) == deadline) {
        ret = pthread_cond_timedwait(&v->wake, &v->lock, &until);
    }
    pthread_mutex_unlock(&v->lock);
    int64_t took = ev_now_ns() - start;
    return ret == ETIMEDOUT || took > ns ? ns : took;
}

bool icount_idle(struct vcpus *v)
{
    struct icount *i = &v->icount;
    int64_t deadline = soft_deadline(v->soft);
    if (deadline < 0) {
        return false;
    }
    int64_t ns = deadline - now_ns(i, 0);
    if (ns > 0) {
        i->warp_ns += i->sleep ? wait_really(v, ns) : ns;
    }
    icount_fire(v->cpu[0].c);
    return true;
}

/* xorshift64* */
uint64_t icount_random(struct icount *i)
{
    i->random ^= i->random >> 12;
    i->random ^= i->random << 25;
    i->random ^= i->random >> 27;
    return i->random * 0x2545f4914f6cdd1d;
}
