/* SPDX-License-Identifier: MIT */
/* target/x86/vcpu-run.c - one processor's loop: translated code, what it raised, what came in.
 *
 *   pending? reset, INIT, SIPI, SMI, NMI, interrupt --> tcg_run --> raised? deliver --> debug trap?
 *      ^                                                                                    |
 *      +------------------------------------------------------------------------------------+
 *
 * `inside` tells other threads that this vCPU may hold translations: whoever takes memory away asks
 * for a flush and waits while it is set (vcpu.c). It is clear around the machine lock, so that such
 * a wait under that lock ends. Inside, a vCPU may keep the machine lock from one request to the next;
 * whoever wants it kicks it.
 */
#include "ioreq/cpu.h"
#include "ioreq/machine.h"
#include "target/x86/debug.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <sched.h>

/* ---- inside and outside ---- */

static uint32_t pending(const struct x86_cpu *c)
{
    return __atomic_load_n(&c->pending, __ATOMIC_SEQ_CST);
}

static void take(struct x86_cpu *c, uint32_t bits)
{
    __atomic_fetch_and(&c->pending, ~bits, __ATOMIC_SEQ_CST);
}

static struct vcpu *vcpu_of(struct x86_cpu *c)
{
    return &c->all->cpu[c->index];
}

static void flush_if_asked(struct x86_cpu *c)
{
    if (pending(c) & PEND_FLUSH) {
        x86_tlb_flush(c, true);
        take(c, PEND_FLUSH);
    }
}

static void go_outside(struct x86_cpu *c)
{
    machine_give_back(c->m, &vcpu_of(c)->keeper);
    __atomic_store_n(&vcpu_of(c)->inside, false, __ATOMIC_SEQ_CST);
}

/* Another processor has guest memory for itself, or is about to. */
static bool must_stand_aside(const struct x86_cpu *c)
{
    const struct x86_cpu *who = __atomic_load_n(&c->all->alone, __ATOMIC_SEQ_CST);
    return who && who != c;
}

static void go_inside(struct x86_cpu *c)
{
    __atomic_store_n(&vcpu_of(c)->inside, true, __ATOMIC_SEQ_CST);
    while (must_stand_aside(c)) {
        go_outside(c);
        pthread_mutex_lock(&c->all->alone_lock);
        pthread_mutex_unlock(&c->all->alone_lock);
        __atomic_store_n(&vcpu_of(c)->inside, true, __ATOMIC_SEQ_CST);
    }
    flush_if_asked(c);
}

static bool may_touch_memory(struct vcpu *v)
{
    return __atomic_load_n(&v->inside, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&v->asking, __ATOMIC_SEQ_CST);
}

static void await_others(struct x86_cpu *c)
{
    struct vcpus *all = c->all;
    for (unsigned i = 0; i < all->n; i++) {
        struct vcpu *v = &all->cpu[i];
        while (v->c != c && may_touch_memory(v)) {
            tcg_kick(&v->c->tcg); /* each time: what it was on its way into may have forgotten */
            sched_yield();
        }
    }
}

/* Waits outside: the others may be waiting for this one. Whoever comes inside later sees `alone`, and
 * whoever was there before is waited for. */
void x86_alone(struct tcg_cpu *t, bool begin)
{
    struct x86_cpu *c = x86_of(t);
    struct vcpus *all = c->all;
    if (all->n == 1 || all->single) {
        return;
    }
    if (begin) {
        go_outside(c);
        pthread_mutex_lock(&all->alone_lock);
        __atomic_store_n(&all->alone, c, __ATOMIC_SEQ_CST);
        await_others(c);
        go_inside(c);
    } else {
        __atomic_store_n(&all->alone, NULL, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&all->alone_lock);
    }
}

void x86_io(struct x86_cpu *c, struct io_req *r)
{
    r->cpu = (uint8_t)c->index;
    if (!icount_on(&c->all->icount) && ioreq_try(c->m, &vcpu_of(c)->keeper, r)) {
        flush_if_asked(c); /* nobody could wait for this vCPU while it held the lock */
        return;
    }
    icount_publish(c);
    __atomic_store_n(&vcpu_of(c)->asking, true, __ATOMIC_SEQ_CST);
    go_outside(c);
    ioreq_run(c->m, r);
    __atomic_store_n(&vcpu_of(c)->asking, false, __ATOMIC_SEQ_CST);
    icount_settle(c->all);
    go_inside(c);
}

void x86_lock_machine(struct x86_cpu *c)
{
    icount_publish(c);
    go_outside(c);
    machine_enter(c->m);
}

void x86_unlock_machine(struct x86_cpu *c)
{
    machine_leave(c->m);
    icount_settle(c->all);
    go_inside(c);
}

bool x86_takes_turns(const struct x86_cpu *c)
{
    return c->all->single && c->all->n > 1;
}

void vcpu_settle(struct x86_cpu *c)
{
    x86_x87_sync(&c->tcg, false);
}

/* ---- events ---- */

static void shut_down(struct x86_cpu *c)
{
    struct vcpus *all = c->all;
    c->halted = c->wait_sipi = true; /* until the reset arrives */
    x86_lock_machine(c);
    if (all->triple_fault) {
        all->triple_fault(all->o, c->index);
    } else {
        line_power(c->m, POWER_RESET);
    }
    x86_unlock_machine(c);
}

static void deliver_raised(struct x86_cpu *c)
{
    if (!x86_deliver_raised(c)) {
        shut_down(c);
    }
}

static void take_init(struct x86_cpu *c)
{
    x86_reset(c, false);
    x86_lock_machine(c);
    cpu_apic_init(c->m, c->index);
    x86_unlock_machine(c);
}

static void take_sipi(struct x86_cpu *c)
{
    uint8_t v = __atomic_load_n(&c->sipi_vector, __ATOMIC_RELAXED);
    if (c->wait_sipi) {
        c->wait_sipi = c->halted = false;
        x86_set_segment(c, CS, (uint16_t)(v << 8), (uint64_t)v << 12, 0xffff, 0x9b);
        c->tcg.pc = 0;
        x86_mode_changed(c);
    }
}

static void take_interrupt(struct x86_cpu *c)
{
    x86_lock_machine(c);
    int vector = cpu_ack(c->m, c->index);
    x86_unlock_machine(c);
    if (vector < 0) {
        return;
    }
    c->halted = false;
    if (!x86_deliver_interrupt(c, (uint8_t)vector)) {
        shut_down(c);
    }
}

static bool in_shadow(struct x86_cpu *c)
{
    c->inhibit = c->inhibit && c->inhibit_pc == c->tcg.pc;
    return c->inhibit;
}

static bool takes_interrupts(struct x86_cpu *c)
{
    return c->eflags & EF_IF && !c->wait_sipi;
}

bool vcpu_has_work(const struct x86_cpu *c)
{
    uint32_t p = pending(c);
    if (p & (PEND_RESET | PEND_INIT | PEND_STOP | PEND_FLUSH)) {
        return true;
    }
    if (c->wait_sipi) {
        return p & PEND_SIPI;
    }
    if (p & PEND_SMI && !c->smm) {
        return true;
    }
    return (p & PEND_NMI && !c->nmi_blocked) || (p & PEND_INTR && c->eflags & EF_IF);
}

static void take_rare(struct x86_cpu *c, uint32_t p)
{
    flush_if_asked(c);
    if (p & PEND_RESET) {
        x86_reset(c, true); /* clears what is pending, too */
    } else if (p & PEND_INIT) {
        take(c, PEND_INIT);
        take_init(c);
    } else if (p & PEND_SIPI) {
        take(c, PEND_SIPI);
        take_sipi(c);
    } else if (p & PEND_SMI && !c->smm && !c->wait_sipi) {
        take(c, PEND_SMI);
        x86_smi(c);
    } else if (p & PEND_NMI && !c->nmi_blocked && !c->wait_sipi && !in_shadow(c)) {
        take(c, PEND_NMI);
        c->halted = false;
        if (!x86_deliver_nmi(c)) {
            shut_down(c);
        }
    }
}

/* Takes one event. True when the next instruction must run by itself: it stands in the shadow of the
 * one before. */
static bool take_events(struct x86_cpu *c, uint32_t p)
{
    if (p & ~(uint32_t)PEND_INTR) {
        take_rare(c, p);
        p = pending(c);
    }
    if (p & PEND_INTR && takes_interrupts(c)) {
        if (in_shadow(c)) {
            return true;
        }
        take_interrupt(c);
    }
    return false;
}

static void debug_trap(struct x86_cpu *c)
{
    c->dr[6] = (c->dr[6] & ~0xfull) | c->db_pending;
    c->db_pending = 0;
    c->raised = EX_DB;
    c->raised_soft = SOFT_NOT;
    c->raised_has_code = false;
    deliver_raised(c);
}

/* ---- the debugger ---- */

void x86_report_stop(struct x86_cpu *c, unsigned why, uint64_t addr, unsigned access)
{
    struct x86_stop_info info = {
        .cpu = c->index, .why = (enum x86_stop)why, .addr = addr, .access = (enum x86_watch)access
    };
    c->stopped_by_debugger = true;
    vcpus_request_pause(c->all);
    x86_debug_stopped(c->all->debug, &info);
}

static void after_run(struct x86_cpu *c, enum tcg_exit why)
{
    if (why == TCG_EXIT_RAISED && c->raised >= 0) {
        c->db_pending = 0; /* the instruction did not complete */
        deliver_raised(c);
        return;
    }
    if (c->db_pending & DB_WATCHED) {
        c->db_pending &= ~DB_WATCHED;
        x86_report_stop(c, X86_STOP_WATCH, c->watch_addr, c->watch_how);
    }
    if (c->db_pending) {
        debug_trap(c);
    }
}

X86_HELPER(debug_break, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    t->pc = a;
    x86_report_stop(x86_of(t), X86_STOP_BREAK, 0, 0);
    return 0;
}

static enum tcg_exit run_some(struct x86_cpu *c, bool alone)
{
    if (icount_on(&c->all->icount)) {
        return icount_run(c, alone);
    }
    return alone ? tcg_run_one(&c->tcg) : tcg_run(&c->tcg);
}

static void step_once(struct x86_cpu *c)
{
    after_run(c, run_some(c, true));
    if (!c->stopped_by_debugger) {
        x86_report_stop(c, X86_STOP_STEP, 0, 0);
    }
}

/* ---- the loop ---- */

/* Runs on; true when the processor waits for an event. */
static bool run_inside(struct vcpu *v, bool slice)
{
    struct x86_cpu *c = v->c;
    const bool counts = icount_on(&v->all->icount);
    bool kicked = false;
    for (;;) {
        __atomic_store_n(&c->tcg.exit_request, 0, __ATOMIC_SEQ_CST);
        machine_give_back(c->m, &v->keeper);
        if (counts) {
            icount_fire(c);
        }
        if (must_stand_aside(c)) {
            go_outside(c);
            go_inside(c);
        }
        uint32_t p = pending(c);
        bool alone = false;
        if (p & PEND_STOP) {
            return false;
        }
        if (v->how != VCPU_RUN) {
            if (v->how == VCPU_STEP) {
                step_once(c);
            }
            v->how = VCPU_HOLD;
            return true;
        }
        if (p) {
            alone = take_events(c, p);
        }
        if (c->halted || c->wait_sipi) {
            if (!vcpu_has_work(c)) {
                return true;
            }
            continue;
        }
        if (slice && kicked) {
            return false;
        }
        enum tcg_exit why = run_some(c, alone);
        kicked = counts ? icount_turn_over(v->all) : why == TCG_EXIT_REQUEST;
        after_run(c, why);
        if (alone) {
            c->inhibit = false;
        }
    }
}

bool vcpu_run(struct vcpu *v, bool slice)
{
    __atomic_store_n(&v->thread, pthread_self(), __ATOMIC_RELAXED);
    go_inside(v->c);
    bool waits = run_inside(v, slice);
    go_outside(v->c);
    return waits;
}
