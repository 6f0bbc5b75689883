/* SPDX-License-Identifier: MIT */
/* target/x86/debug.h - breakpoints, watchpoints and steps from outside, for the gdb server.
 *
 * Everything here is called by the loop thread while the vCPUs are paused, except the queries at the
 * end, which the translator and the MMU make on vCPU threads. They cost one test when nothing is set.
 */
#ifndef TARGET_X86_DEBUG_H
#define TARGET_X86_DEBUG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpus;
struct x86_cpu;
struct x86_debug;

enum x86_stop {
    X86_STOP_PAUSED, /* somebody paused the machine */
    X86_STOP_STEP,   /* one instruction was executed */
    X86_STOP_BREAK,  /* at a breakpoint, the instruction there not executed yet */
    X86_STOP_WATCH,  /* behind the instruction that touched a watchpoint */
};
enum x86_watch { X86_WATCH_WRITE = 1, X86_WATCH_READ = 2, X86_WATCH_ACCESS = 3 };

/* What made a vCPU stop by itself; the machine is being paused. Called on that vCPU's thread without
 * the machine lock: post to the loop and return. */
struct x86_stop_info {
    unsigned cpu;
    enum x86_stop why;
    uint64_t addr;         /* linear address watched, for X86_STOP_WATCH */
    enum x86_watch access; /* which kind of watchpoint it was */
};
typedef void (*x86_stopped_fn)(void *o, const struct x86_stop_info *info);

/* One per machine, with its vCPUs. */
struct x86_debug *x86_debug_new(void);
void x86_debug_free(struct x86_debug *d);
void x86_debug_listen(struct x86_debug *d, x86_stopped_fn fn, void *o);

/* Breakpoints on linear addresses; several on one address count. 0, -ENOSPC, -ENOENT. The caller
 * throws translated code away afterwards (tcg_flush). */
int x86_debug_break_add(struct x86_debug *d, uint64_t linear);
int x86_debug_break_del(struct x86_debug *d, uint64_t linear);
/* Watchpoints, len 1 to 4096 bytes. The caller flushes every vCPU's soft TLB afterwards. */
int x86_debug_watch_add(struct x86_debug *d, uint64_t linear, uint64_t len, enum x86_watch how);
int x86_debug_watch_del(struct x86_debug *d, uint64_t linear, uint64_t len, enum x86_watch how);
void x86_debug_clear(struct x86_debug *d);

/* ---- asked on vCPU threads ---- */

bool x86_debug_any_break(const struct x86_debug *d);
bool x86_debug_break_at(const struct x86_debug *d, uint64_t linear);
/* Whether accesses to this 4 KiB page must take the slow path. */
bool x86_debug_watches_page(const struct x86_debug *d, uint64_t linear);
/* The slow path touched [linear, linear + len): true when a watchpoint covers it; what is filled in. */
bool x86_debug_watch_hit(const struct x86_debug *d, uint64_t linear, uint64_t len, bool write,
                         uint64_t *addr, enum x86_watch *how);
/* Tells the listener. */
void x86_debug_stopped(struct x86_debug *d, const struct x86_stop_info *info);

#endif
