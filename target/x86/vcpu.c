/* SPDX-License-Identifier: MIT */
/* target/x86/vcpu.c - the processors' threads: starting, pausing, waking, and what the machine tells
 * them.
 *
 * One thread a vCPU, or one that takes turns (thread=single). Locks, outermost first: the machine's,
 * the translator's, ours. Ours guards run, quit, standing and the sleeping; it is never held while a
 * vCPU runs.
 *
 * Memory that changes its meaning (a device mapped, ROM shadowed): every vCPU gets PEND_FLUSH, and the
 * caller waits until each has flushed or is outside guest code, where it flushes before it enters.
 */
#include "target/x86/vcpu.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "ioreq/cpu.h"
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "target/x86/cpuid.h"
#include "target/x86/debug.h"
#include "target/x86/disas.h"
#include "target/x86/glance.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 2000000

/* ---- the engine's questions ---- */

static void key(struct tcg_cpu *cpu, struct tb_key *k)
{
    struct x86_cpu *c = x86_of(cpu);
    bool c64 = c->mode & MODE_CS64;
    uint64_t base = c64 ? 0 : cpu->seg_base[CS];
    uint64_t linear = c64 ? cpu->pc : (uint32_t)(cpu->pc + base);
    k->pc = cpu->pc;
    k->cs_base = base;
    k->phys = x86_fetch_phys(c, linear);
    k->flags = c->mode;
    k->cflags = 0;
}

static uint64_t fetch(struct tcg_cpu *cpu, uint64_t linear)
{
    struct x86_cpu *c = x86_of(cpu);
    return x86_fetch_phys(c, c->mode & MODE_CS64 ? linear : (uint32_t)linear);
}

static const struct tcg_target target = {
    .name = "x86",
    .cpu_size = sizeof(struct x86_cpu),
    .translate = x86_translate,
    .key = key,
    .fetch = fetch,
    .load = x86_mmu_load,
    .store = x86_mmu_store,
    .load_bytes = x86_mmu_load_bytes,
    .store_bytes = x86_mmu_store_bytes,
    .probe_write = x86_mmu_probe_write,
    .plain = x86_mmu_plain,
    .host_write = x86_mmu_host_write,
    .alone = x86_alone,
    .x87_sync = x86_x87_sync,
    .fp_exception = x86_fp_exception,
    .unaligned = x86_unaligned,
    .disas = x86_disas,
    .host_disas = x86_host_disas,
};

/* ---- waking ---- */

void vcpu_notify(struct vcpu *v, uint32_t bits)
{
    __atomic_fetch_or(&v->c->pending, bits, __ATOMIC_SEQ_CST);
    tcg_kick(&v->c->tcg);
    if (!__atomic_load_n(&v->inside, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&v->all->lock);
        pthread_cond_broadcast(&v->all->wake);
        pthread_mutex_unlock(&v->all->lock);
    }
}

static void ask_for_machine(struct lock_keeper *k)
{
    tcg_kick(&container_of(k, struct vcpu, keeper.lock)->c->tcg);
}

/* ---- what the interrupt chips say; under the machine lock ---- */

static void wire_intr(void *o, unsigned cpu, bool level)
{
    struct vcpu *v = &((struct vcpus *)o)->cpu[cpu];
    v->c->intr_level = level;
    if (level) {
        vcpu_notify(v, PEND_INTR);
    } else {
        __atomic_fetch_and(&v->c->pending, ~(uint32_t)PEND_INTR, __ATOMIC_SEQ_CST);
    }
}

static void wire_nmi(void *o, unsigned cpu)
{
    vcpu_notify(&((struct vcpus *)o)->cpu[cpu], PEND_NMI);
}

static void wire_smi(void *o, unsigned cpu)
{
    vcpu_notify(&((struct vcpus *)o)->cpu[cpu], PEND_SMI);
}

static void wire_init(void *o, unsigned cpu)
{
    vcpu_notify(&((struct vcpus *)o)->cpu[cpu], PEND_INIT);
}

static void wire_sipi(void *o, unsigned cpu, uint8_t vector)
{
    struct vcpu *v = &((struct vcpus *)o)->cpu[cpu];
    __atomic_store_n(&v->c->sipi_vector, vector, __ATOMIC_SEQ_CST);
    vcpu_notify(v, PEND_SIPI);
}

static void flush_everybody(struct vcpus *v);

static void wire_a20(void *o, bool open)
{
    struct vcpus *all = o;
    uint64_t mask = open ? UINT64_MAX : ~(1ull << 20);
    if (all->cpu[0].c->a20_mask == mask) {
        return;
    }
    for (unsigned i = 0; i < all->n; i++) {
        __atomic_store_n(&all->cpu[i].c->a20_mask, mask, __ATOMIC_SEQ_CST);
    }
    flush_everybody(all);
}

static void wire_reset(void *o)
{
    vcpus_reset(o);
}

static int64_t wire_tsc_due(void *o, unsigned cpu, uint64_t tsc)
{
    const struct x86_cpu *c = ((struct vcpus *)o)->cpu[cpu].c;
    uint64_t at = tsc - c->tsc_offset;
    return at > INT64_MAX ? INT64_MAX : (int64_t)at;
}

static const struct cpu_wires wires = {
    .intr = wire_intr,
    .nmi = wire_nmi,
    .smi = wire_smi,
    .init = wire_init,
    .sipi = wire_sipi,
    .a20 = wire_a20,
    .reset = wire_reset,
    .tsc_due = wire_tsc_due,
};

/* ---- what the soft host says; under the machine lock ---- */

/* A device that this thread's own processor asked is between two of its instructions. */
static bool must_wait(const struct vcpu *v)
{
    return !pthread_equal(__atomic_load_n(&v->thread, __ATOMIC_RELAXED), pthread_self()) &&
           __atomic_load_n(&v->inside, __ATOMIC_SEQ_CST) &&
           __atomic_load_n(&v->c->pending, __ATOMIC_SEQ_CST) & PEND_FLUSH;
}

static void flush_everybody(struct vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        __atomic_fetch_add(&v->cpu[i].c->tlb_gen, 1, __ATOMIC_SEQ_CST);
        vcpu_notify(&v->cpu[i], PEND_FLUSH);
    }
    for (unsigned i = 0; i < v->n; i++) {
        while (must_wait(&v->cpu[i])) {
            sched_yield();
        }
    }
}

static void soft_changed(void *o)
{
    flush_everybody(o);
}

static void soft_wrote(void *o, uint64_t gpa, uint64_t len)
{
    struct vcpus *v = o;
    for (uint64_t page = gpa & ~0xfffull; page < gpa + len; page += 4096) {
        if (tcg_page_has_code(v->tcg, page)) {
            uint64_t from = max_u64(page, gpa), to = min_u64(page + 4096, gpa + len);
            tcg_invalidate(v->tcg, NULL, from, to - from);
        }
    }
}

static void soft_unlogged(void *o, uint64_t gpa, uint64_t len)
{
    struct vcpus *v = o;
    for (unsigned i = 0; len && i < v->n; i++) {
        /* an entry on its way in when the others are dropped does not stay either */
        __atomic_fetch_add(&v->cpu[i].c->tlb_gen, 1, __ATOMIC_SEQ_CST);
        x86_tlb_drop_writes(v->cpu[i].c, gpa, gpa + len - 1);
    }
}

static const struct soft_listener listener = {
    .changed = soft_changed,
    .wrote = soft_wrote,
    .unlogged = soft_unlogged,
};

/* A page got its first block: under the translator's lock, on the thread that translates. */
static void protect(void *o, uint64_t phys)
{
    soft_unlogged(o, phys & ~0xfffull, 4096);
}

/* ---- threads ---- */

/* Sleeps until the machine runs. False: the end. */
static bool wait_to_run(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    if (!v->run) {
        v->standing++;
        pthread_cond_broadcast(&v->idle);
        while (!v->run && !v->quit) {
            pthread_cond_wait(&v->wake, &v->lock);
        }
        v->standing--;
    }
    bool go = !v->quit;
    pthread_mutex_unlock(&v->lock);
    return go;
}

static bool held(const struct vcpu *v)
{
    return v->how == VCPU_HOLD;
}

static bool has_work(const struct vcpu *v)
{
    return held(v) ? __atomic_load_n(&v->c->pending, __ATOMIC_SEQ_CST) & PEND_STOP
                   : vcpu_has_work(v->c);
}

bool vcpus_have_work(const struct vcpus *v)
{
    bool work = false;
    for (unsigned i = 0; i < v->n; i++) {
        work |= has_work(&v->cpu[i]);
    }
    return work;
}

/* Sleeps until one of the n processors at v has something to do or the machine stops. */
static void wait_for_work(struct vcpu *v, unsigned n)
{
    struct vcpus *all = v->all;
    pthread_mutex_lock(&all->lock);
    for (;;) {
        bool work = !all->run || all->quit;
        for (unsigned i = 0; i < n; i++) {
            work |= has_work(&v[i]);
        }
        if (work) {
            break;
        }
        pthread_cond_wait(&all->wake, &all->lock);
    }
    pthread_mutex_unlock(&all->lock);
}

static void block_signals(void)
{
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGFPE); /* floating-point exceptions of guest code */
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *one_cpu(void *opaque)
{
    struct vcpu *v = opaque;
    block_signals();
    while (wait_to_run(v->all)) {
        while (__atomic_load_n(&v->all->run, __ATOMIC_SEQ_CST)) {
            if (vcpu_run(v, false)) {
                wait_for_work(v, 1);
            } else if (!(__atomic_load_n(&v->c->pending, __ATOMIC_SEQ_CST) & PEND_STOP)) {
                continue;
            } else {
                break;
            }
        }
        vcpu_settle(v->c);
    }
    return NULL;
}

/* thread=single: each in turn for a slice; sleeps when all wait. */
static void *all_cpus(void *opaque)
{
    struct vcpus *all = opaque;
    block_signals();
    while (wait_to_run(all)) {
        while (__atomic_load_n(&all->run, __ATOMIC_SEQ_CST)) {
            unsigned waiting = 0;
            for (unsigned i = 0; i < all->n; i++) {
                struct vcpu *v = &all->cpu[i];
                bool idle = (v->c->halted || v->c->wait_sipi || held(v)) && !has_work(v);
                waiting += idle || vcpu_run(v, all->n > 1);
                vcpu_settle(v->c);
            }
            if (waiting == all->n && !(icount_on(&all->icount) && icount_idle(all))) {
                wait_for_work(all->cpu, all->n);
            }
        }
    }
    return NULL;
}

/* thread=single: kicks whoever runs, so that the next one gets its turn. */
static void *tick(void *opaque)
{
    struct vcpus *v = opaque;
    const struct timespec slice = { .tv_nsec = SLICE_NS };
    block_signals();
    while (wait_to_run(v)) {
        while (__atomic_load_n(&v->run, __ATOMIC_SEQ_CST)) {
            nanosleep(&slice, NULL);
            for (unsigned i = 0; i < v->n; i++) {
                if (__atomic_load_n(&v->cpu[i].inside, __ATOMIC_RELAXED)) {
                    tcg_kick(&v->cpu[i].c->tcg);
                }
            }
        }
    }
    return NULL;
}

static int start_thread(struct vcpus *v, void *(*fn)(void *), void *o, struct err *e)
{
    int ret = pthread_create(&v->threads[v->nthreads], NULL, fn, o);
    if (ret) {
        return err_set(e, -ret, "cannot start a thread for a processor: %s", strerror(ret));
    }
    v->nthreads++;
    return 0;
}

static int start_threads(struct vcpus *v, struct err *e)
{
    v->threads = xcalloc(v->n + 1, sizeof(*v->threads));
    if (v->single) {
        int ret = start_thread(v, all_cpus, v, e);
        bool ticks = v->n > 1 && !icount_on(&v->icount);
        return ret == 0 && ticks ? start_thread(v, tick, v, e) : ret;
    }
    for (unsigned i = 0; i < v->n; i++) {
        int ret = start_thread(v, one_cpu, &v->cpu[i], e);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* ---- life ---- */

static unsigned bits_for(unsigned n)
{
    unsigned b = 0;
    while (1u << b < n) {
        b++;
    }
    return b;
}

/* Package, core and thread number each in its own bits (SDM vol. 3, 9.9). */
static uint32_t apic_id(const struct vcpu_options *o, unsigned i)
{
    unsigned threads = o->threads ? o->threads : 1, cores = o->cores ? o->cores : 1;
    unsigned smt = bits_for(threads), core = bits_for(cores);
    unsigned package = i / (threads * cores), in = i % (threads * cores);
    return package << (smt + core) | (in / threads) << smt | in % threads;
}

static int make_cpu(struct vcpus *v, unsigned i, const struct vcpu_options *o, struct err *e)
{
    struct tcg_cpu *t = tcg_cpu_new(v->tcg);
    if (!t) {
        return err_set(e, -ENOMEM, "-smp: no memory for a processor");
    }
    struct x86_cpu *c = x86_of(t);
    v->cpu[i] = (struct vcpu){ .c = c, .all = v, .keeper.lock.ask = ask_for_machine };
    v->n++;
    c->index = i;
    c->apic_id = apic_id(o, i);
    c->cores = o->cores ? o->cores : 1;
    c->threads = o->threads ? o->threads : 1;
    c->m = v->m;
    c->soft = v->soft;
    c->all = v;
    c->model = v->model;
    c->debug = v->debug;
    c->phys_mask = (1ull << (x86_model_has(v->model, X86_LM) ? 40 : 36)) - 1;
    c->a20_mask = UINT64_MAX;
    c->span.first = 1; /* nothing */
    uint64_t below = soft_ram_below_4g(v->soft);
    c->ram_len = below > 0x100000 ? below - 0x100000 : 0;
    c->ram = c->ram_len ? soft_ram(v->soft, 0x100000, c->ram_len) : NULL;
    c->ram_len = c->ram ? c->ram_len : 0;
    x86_reset(c, true);
    return 0;
}

struct vcpus *vcpus_new(struct machine *m, struct soft_host *s, const struct vcpu_options *o,
                        struct err *e)
{
    struct vcpus *v = xcalloc(1, sizeof(*v));
    v->m = m;
    v->soft = s;
    icount_init(&v->icount, o->icount_shift, o->icount_sleep);
    v->single = o->single_thread || icount_on(&v->icount);
    v->log = o->log;
    v->log_to = o->log_to;
    v->settle = o->settle;
    v->triple_fault = o->triple_fault;
    v->o = o->o;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->alone_lock, NULL);
    pthread_cond_init(&v->wake, NULL);
    pthread_cond_init(&v->idle, NULL);
    v->debug = x86_debug_new();
    v->glances = glances_new();
    v->cpu = xcalloc(o->cpus, sizeof(*v->cpu));
    v->model = x86_model_new(o->model ? o->model : "qemu64", o->tcg.engine == TCG_JIT, e);
    struct tcg_options tcg = o->tcg;
    tcg.icount = icount_on(&v->icount);
    v->tcg = v->model ? tcg_new(&target, &tcg, e) : NULL;
    int ret = v->tcg ? 0 : -EINVAL;
    for (unsigned i = 0; ret == 0 && i < o->cpus; i++) {
        ret = make_cpu(v, i, o, e);
    }
    if (ret == 0) {
        tcg_on_protect(v->tcg, protect, v);
        cpu_set_wires(m, &wires, v, v->n);
        soft_set_listener(s, &listener, v);
        ret = start_threads(v, e);
    }
    if (ret < 0) {
        vcpus_free(v);
        return NULL;
    }
    return v;
}

void vcpus_free(struct vcpus *v)
{
    if (!v) {
        return;
    }
    vcpus_pause(v);
    pthread_mutex_lock(&v->lock);
    v->quit = true;
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < v->nthreads; i++) {
        pthread_join(v->threads[i], NULL);
    }
    if (v->n) {
        cpu_set_wires(v->m, NULL, NULL, 0);
        soft_set_listener(v->soft, NULL, NULL);
    }
    for (unsigned i = 0; i < v->n; i++) {
        tcg_cpu_free(&v->cpu[i].c->tcg);
    }
    tcg_free(v->tcg);
    free(v->model);
    x86_debug_free(v->debug);
    glances_free(v->glances);
    free(v->threads);
    free(v->cpu);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->alone_lock);
    pthread_cond_destroy(&v->wake);
    pthread_cond_destroy(&v->idle);
    free(v);
}

/* ---- running and pausing ---- */

void vcpus_resume(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    if (!v->run) {
        for (unsigned i = 0; i < v->n; i++) {
            __atomic_fetch_and(&v->cpu[i].c->pending, ~(uint32_t)PEND_STOP, __ATOMIC_SEQ_CST);
            v->cpu[i].c->stopped_by_debugger = false;
        }
        __atomic_store_n(&v->run, true, __ATOMIC_SEQ_CST);
        pthread_cond_broadcast(&v->wake);
    }
    pthread_mutex_unlock(&v->lock);
}

void vcpus_request_pause(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    __atomic_store_n(&v->run, false, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < v->n; i++) {
        __atomic_fetch_or(&v->cpu[i].c->pending, PEND_STOP, __ATOMIC_SEQ_CST);
        tcg_kick(&v->cpu[i].c->tcg);
    }
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
}

void vcpus_pause(struct vcpus *v)
{
    vcpus_request_pause(v);
    pthread_mutex_lock(&v->lock);
    while (v->standing < v->nthreads) {
        pthread_cond_wait(&v->idle, &v->lock);
    }
    for (unsigned i = 0; i < v->n; i++) {
        v->cpu[i].how = VCPU_RUN;
    }
    pthread_mutex_unlock(&v->lock);
}

bool vcpus_running(const struct vcpus *v)
{
    return __atomic_load_n(&v->run, __ATOMIC_SEQ_CST);
}

void vcpus_settled(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    v->icount.settling = false;
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
}

void vcpus_timer_changed(struct vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        tcg_kick(&v->cpu[i].c->tcg);
    }
    pthread_mutex_lock(&v->lock);
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
}

void vcpus_reset(struct vcpus *v)
{
    bool standing;
    pthread_mutex_lock(&v->lock);
    standing = !v->run && v->standing == v->nthreads;
    if (standing) {
        for (unsigned i = 0; i < v->n; i++) {
            x86_reset(v->cpu[i].c, true);
        }
    }
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; !standing && i < v->n; i++) {
        vcpu_notify(&v->cpu[i], PEND_RESET);
    }
}

/* ---- the debugger ---- */

void vcpus_set_how(struct vcpus *v, unsigned cpu, enum vcpu_how how)
{
    v->cpu[cpu].how = how;
}

struct x86_debug *vcpus_debug(struct vcpus *v)
{
    return v->debug;
}

void vcpus_flush_tlbs(struct vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        x86_tlb_flush(v->cpu[i].c, true);
    }
}

void vcpus_set_log(struct vcpus *v, unsigned log, unsigned dump)
{
    v->log = log;
    tcg_set_dump(v->tcg, dump);
    vcpus_flush_tlbs(v);
}

unsigned vcpus_count(const struct vcpus *v)
{
    return v->n;
}

struct x86_cpu *vcpus_cpu(struct vcpus *v, unsigned i)
{
    return v->cpu[i].c;
}

struct tcg *vcpus_tcg(struct vcpus *v)
{
    return v->tcg;
}
