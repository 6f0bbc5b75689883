/* SPDX-License-Identifier: MIT */
/* tcg/run.c - the engine's life and its loop: find a block, run it, look why it came back.
 *
 * A full cache gets room when no vCPU is inside tcg_run. Whoever finds it full asks everybody out and
 * leaves; nobody gets in until the oldest region was emptied. Nobody waits, so that vCPUs that wait for one another
 * elsewhere cannot deadlock here.
 */
#include "tcg/tcg-int.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { UNWIND_RAISED = 1, UNWIND_RETRY };
/* In front of struct tcg_cpu: the stack that translated code pushes on (signals may be delivered
 * there), or the interpreter's temporaries. */
enum { CPU_STACK = 128 << 10, CPU_ALIGN = 4096 };

static void init_locks(struct tcg *t)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&t->lock, &a);
    pthread_mutexattr_destroy(&a);
}

static int start_jit(struct tcg *t, struct err *e)
{
    if (!jit_exists) {
        return err_set(e, -ENOTSUP, "no code generator for this host: use keel-engine=interp");
    }
    if (cache_init(&t->cache, t->opt.cache_bytes, e) < 0) {
        return -1;
    }
    t->jit = jit_new(t, e);
    return t->jit ? 0 : -1;
}

struct tcg *tcg_new(const struct tcg_target *target, const struct tcg_options *o, struct err *e)
{
    struct tcg *t = xcalloc(1, sizeof(*t));
    t->target = target;
    t->opt = *o;
    if (!t->opt.cache_bytes) {
        t->opt.cache_bytes = 64u << 20;
    }
    t->cache.regions = cache_regions(t->opt.cache_bytes);
    t->ir = xcalloc(1, sizeof(*t->ir));
    init_locks(t);
    if (o->engine == TCG_JIT && start_jit(t, e) < 0) {
        tcg_free(t);
        return NULL;
    }
    if (o->perf_map) {
        char *path = xasprintf("/tmp/perf-%d.map", (int)getpid());
        t->perf_map = fopen(path, "w");
        free(path);
    }
    return t;
}

void tcg_free(struct tcg *t)
{
    if (!t) {
        return;
    }
    blocks_flush(t);
    table_fini(t);
    jit_free(t->jit);
    cache_fini(&t->cache);
    pages_free(t);
    if (t->perf_map) {
        fclose(t->perf_map);
    }
    pthread_mutex_destroy(&t->lock);
    free(t->ir);
    free(t);
}

const struct tcg_target *tcg_target(const struct tcg *t)
{
    return t->target;
}

/* ---- vCPUs ---- */

struct tcg_cpu *tcg_cpu_new(struct tcg *t)
{
    size_t body = (t->target->cpu_size + CPU_ALIGN - 1) & ~(size_t)(CPU_ALIGN - 1);
    struct engine_cpu *e = xcalloc(1, sizeof(*e));
    e->map_bytes = CPU_STACK + body;
    e->map = mmap(NULL, e->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (e->map == MAP_FAILED) {
        free(e);
        return NULL;
    }
    mprotect(e->map, CPU_ALIGN, PROT_NONE);
    struct tcg_cpu *cpu = (struct tcg_cpu *)((uint8_t *)e->map + CPU_STACK);
    e->cpu = cpu;
    cpu->engine = e;
    cpu->tcg = t;
    cpu->tlb = &cpu->tlbs[TLB_KERNEL];
    cpu->jc = cpu->jcs[0];
    cpu->mxcsr = cpu->mxcsr_host = 0x1f80;
    jc_init(cpu);
    pthread_mutex_lock(&t->lock);
    e->next = t->cpus;
    t->cpus = e;
    pthread_mutex_unlock(&t->lock);
    return cpu;
}

void tcg_cpu_free(struct tcg_cpu *cpu)
{
    if (!cpu) {
        return;
    }
    struct engine_cpu *e = engine_of(cpu), **p = &cpu->tcg->cpus;
    pthread_mutex_lock(&cpu->tcg->lock);
    while (*p && *p != e) {
        p = &(*p)->next;
    }
    if (*p) {
        *p = e->next;
    }
    pthread_mutex_unlock(&cpu->tcg->lock);
    munmap(e->map, e->map_bytes);
    free(e);
}

void tcg_kick(struct tcg_cpu *cpu)
{
    __atomic_store_n(&cpu->exit_request, 1, __ATOMIC_SEQ_CST);
}

/* ---- unwinding ---- */

static void let_go(struct tcg_cpu *cpu)
{
    struct engine_cpu *e = engine_of(cpu);
    block_free(e->making);
    block_free(e->one);
    e->making = e->one = NULL;
    e->single = false;
    if (e->alone) {
        tcg_together(cpu);
    }
    if (e->locked) {
        engine_unlock(cpu);
    }
}

void tcg_raise(struct tcg_cpu *cpu)
{
    siglongjmp(cpu->unwind, UNWIND_RAISED);
}

void tcg_retry_single(struct tcg_cpu *cpu)
{
    siglongjmp(cpu->unwind, UNWIND_RETRY);
}

void tcg_sync_pc(struct tcg_cpu *cpu)
{
    (void)cpu; /* both engines note RIP before they call */
}

/* ---- a full cache ---- */

static bool nobody_inside(const struct tcg *t)
{
    for (const struct engine_cpu *e = t->cpus; e; e = e->next) {
        if (__atomic_load_n(&e->inside, __ATOMIC_SEQ_CST)) {
            return false;
        }
    }
    return true;
}

/* Called outside. */
static void make_room_if_empty(struct tcg *t)
{
    pthread_mutex_lock(&t->lock);
    bool now = __atomic_load_n(&t->room_wanted, __ATOMIC_SEQ_CST) && nobody_inside(t);
    if (now) {
        blocks_make_room(t);
        __atomic_store_n(&t->room_wanted, 0, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&t->lock);
    if (!now) {
        usleep(50);
    }
}

static void ask_for_room(struct tcg *t)
{
    pthread_mutex_lock(&t->lock);
    __atomic_store_n(&t->room_wanted, 1, __ATOMIC_SEQ_CST);
    for (struct engine_cpu *e = t->cpus; e; e = e->next) {
        tcg_kick(e->cpu);
    }
    pthread_mutex_unlock(&t->lock);
}

static bool enter(struct tcg_cpu *cpu)
{
    struct engine_cpu *e = engine_of(cpu);
    for (unsigned i = 0; i < 2; i++) {
        __atomic_store_n(&e->inside, 1, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&cpu->tcg->room_wanted, __ATOMIC_SEQ_CST)) {
            return true;
        }
        __atomic_store_n(&e->inside, 0, __ATOMIC_SEQ_CST);
        make_room_if_empty(cpu->tcg);
    }
    return false;
}

static enum tcg_exit leave(struct tcg_cpu *cpu, enum tcg_exit why)
{
    __atomic_store_n(&engine_of(cpu)->inside, 0, __ATOMIC_RELEASE);
    return why;
}

/* ---- the loop ---- */

static bool asked_out(struct tcg_cpu *cpu)
{
    if (!__atomic_load_n(&cpu->exit_request, __ATOMIC_ACQUIRE)) {
        return false;
    }
    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
    return true;
}

static enum leave run_single(struct tcg_cpu *cpu)
{
    struct engine_cpu *e = engine_of(cpu);
    e->one = block_single(cpu);
    e->single = true;
    struct tcg_link *link;
    enum leave why = tci_run(cpu, e->one, &link);
    e->single = false;
    block_free(e->one);
    e->one = NULL;
    return why;
}

static enum leave run_from(struct tcg_cpu *cpu, struct block *b, struct tcg_link **link)
{
    *link = NULL;
    return cpu->tcg->jit ? jit_run(cpu, b->tb.code, link) : tci_run(cpu, b, link);
}

static void link_to(struct tcg_cpu *cpu, struct tcg_link *link, struct block *b)
{
    if (link && link->pc == cpu->pc) {
        engine_lock(cpu);
        block_link(cpu->tcg, link, b);
        engine_unlock(cpu);
    }
}

/* Code for this RIP that the jump cache knows; NULL: look properly. */
static const void *shortcut(struct tcg_cpu *cpu)
{
    if (!cpu->tcg->jit) {
        return NULL;
    }
    const struct tcg_jc_entry *j = &cpu->jcs[cpu->tlb - cpu->tlbs][jc_slot(cpu->pc)];
    const void *code = j->code;
    return __atomic_load_n(&j->pc, __ATOMIC_ACQUIRE) == cpu->pc ? code : NULL;
}

static enum tcg_exit run_loop(struct tcg_cpu *cpu)
{
    struct tcg_link *link = NULL;
    uint32_t cflags = 0;
    for (;;) {
        if (asked_out(cpu)) {
            return TCG_EXIT_REQUEST;
        }
        const void *code = link || cflags ? NULL : shortcut(cpu);
        struct block *b = code ? NULL : block_find(cpu, cflags);
        if (!code && !b) {
            ask_for_room(cpu->tcg);
            return TCG_EXIT_REQUEST;
        }
        link_to(cpu, link, b);
        link = NULL;
        cflags = 0;
        switch (code ? jit_run(cpu, code, &link) : run_from(cpu, b, &link)) {
        case LEAVE_BLOCK:
            return TCG_EXIT_BLOCK;
        case LEAVE_ICOUNT:
            return asked_out(cpu) ? TCG_EXIT_REQUEST : TCG_EXIT_ICOUNT;
        case LEAVE_APART:
            cflags = TB_APART;
            break;
        default: /* a RIP without a block yet, or a request: looked at above */
            break;
        }
    }
}

enum tcg_exit tcg_run(struct tcg_cpu *cpu)
{
    if (!enter(cpu)) {
        return TCG_EXIT_REQUEST;
    }
    engine_of(cpu)->single = false;
    switch (sigsetjmp(cpu->unwind, 0)) {
    case 0:
        break;
    case UNWIND_RETRY:
        let_go(cpu);
        if (run_single(cpu) == LEAVE_BLOCK) {
            return leave(cpu, TCG_EXIT_BLOCK);
        }
        break;
    default:
        let_go(cpu);
        return leave(cpu, TCG_EXIT_RAISED);
    }
    return leave(cpu, run_loop(cpu));
}

enum tcg_exit tcg_run_one(struct tcg_cpu *cpu)
{
    if (!enter(cpu)) {
        return TCG_EXIT_REQUEST;
    }
    if (sigsetjmp(cpu->unwind, 0)) { /* a retry is a raise: it is single already */
        engine_of(cpu)->single = false;
        let_go(cpu);
        return leave(cpu, TCG_EXIT_RAISED);
    }
    run_single(cpu);
    return leave(cpu, TCG_EXIT_BLOCK);
}

void tcg_get_stats(struct tcg *t, struct tcg_stats *s)
{
    pthread_mutex_lock(&t->lock);
    *s = t->stats;
    pthread_mutex_unlock(&t->lock);
}
