/* SPDX-License-Identifier: MIT */
/* dm/gdb.c - the gdb remote serial protocol: what each packet asks of the machine.
 *
 * vCPUs are threads, numbered from 1; the machine is all-stop. A connecting debugger pauses it, one
 * that leaves lets it go on. Memory is read and written by linear address of the chosen vCPU, or by
 * guest-physical address after `maintenance packet Qqemu.PhyMemMode:1`. `monitor COMMAND` runs an HMP
 * command. Left out: reverse execution, multiprocess ids, file I/O, tracepoints.
 * Reference: the gdb manual, appendix E.
 */
#include "dm/gdb.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/gdb-packet.h"
#include "dm/gdb-regs.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "target/x86/cpu.h"
#include "target/x86/debug.h"
#include "target/x86/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define GDB_STREAM "gdb" /* what a stream of the server's own is called */

struct gdb {
    struct keel *k;
    struct gdb_link link;
    bool physical;
    bool waiting;              /* gdb waits for a stop reply */
    unsigned general, control; /* vCPU index of Hg and Hc */
    struct ev_post stopped;
    struct x86_stop_info why; /* of the last stop; written by a vCPU thread before it posts */
};

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* ---- answers ---- */

static void reply(struct gdb *g, const char *text)
{
    gdb_send(&g->link, text, strlen(text));
}

static void reply_text(struct gdb *g, struct text *t)
{
    gdb_send(&g->link, t->p ? t->p : "", t->len);
    text_free(t);
}

static void reply_result(struct gdb *g, int ret)
{
    char e[8];
    snprintf(e, sizeof(e), "E%02x", (unsigned)-ret & 0xff);
    reply(g, ret < 0 ? e : "OK");
}

/* ---- the machine ---- */

static struct x86_cpu *cpu_of(struct gdb *g, unsigned i)
{
    return vcpus_cpu(g->k->vcpus, i);
}

static void stop_reply(struct gdb *g)
{
    static const char *const kind[] = {
        [X86_WATCH_WRITE] = "watch", [X86_WATCH_READ] = "rwatch", [X86_WATCH_ACCESS] = "awatch"
    };
    struct text t = { 0 };
    bool paused = g->why.why == X86_STOP_PAUSED;
    text_add(&t, "T%02xthread:%02x;", paused ? SIGINT : SIGTRAP, g->why.cpu + 1);
    if (g->why.why == X86_STOP_BREAK) {
        text_add(&t, "swbreak:;");
    } else if (g->why.why == X86_STOP_WATCH) {
        text_add(&t, "%s:%llx;", kind[g->why.access], (unsigned long long)g->why.addr);
    }
    g->general = g->control = g->why.cpu;
    g->waiting = false;
    reply_text(g, &t);
}

static void resume(struct gdb *g)
{
    struct err e;
    if (keel_cont(g->k, &e) < 0) {
        reply(g, "E10");
        return;
    }
    g->waiting = true;
}

/* A vCPU stopped by itself, or somebody else paused the machine. */
static void on_stopped(void *opaque)
{
    struct gdb *g = opaque;
    if (machine_running(g->k->m)) {
        keel_stop(g->k);
    }
    if (g->waiting) {
        stop_reply(g);
    }
}

static void vcpu_stopped(void *opaque, const struct x86_stop_info *info)
{
    struct gdb *g = opaque;
    g->why = *info;
    ev_post(g->k->loop, &g->stopped);
}

static void on_interrupt(void *opaque)
{
    struct gdb *g = opaque;
    g->why = (struct x86_stop_info){ .why = X86_STOP_PAUSED, .cpu = g->control };
    keel_stop(g->k);
    if (g->waiting) {
        stop_reply(g);
    }
}

/* ---- registers ---- */

static void read_all(struct gdb *g, const char *p)
{
    (void)p;
    struct text t = { 0 };
    uint8_t buf[GDB_REG_MAX_BYTES];
    for (unsigned n = 0; n < gdb_reg_count(); n++) {
        gdb_reg_read(cpu_of(g, g->general), n, buf);
        gdb_put_hex(&t, buf, gdb_reg_bytes(n));
    }
    reply_text(g, &t);
}

static void write_all(struct gdb *g, const char *p)
{
    uint8_t buf[GDB_REG_MAX_BYTES];
    for (unsigned n = 0; n < gdb_reg_count() && *p; n++) {
        size_t bytes = gdb_reg_bytes(n);
        if (!gdb_get_hex(p, buf, bytes)) {
            reply_result(g, -EINVAL);
            return;
        }
        gdb_reg_write(cpu_of(g, g->general), n, buf);
        p += 2 * bytes;
    }
    reply(g, "OK");
}

static void read_one(struct gdb *g, const char *p)
{
    uint64_t n;
    uint8_t buf[GDB_REG_MAX_BYTES];
    struct text t = { 0 };
    if (!gdb_get_number(&p, &n) || n >= gdb_reg_count()) {
        reply_result(g, -EINVAL);
        return;
    }
    gdb_reg_read(cpu_of(g, g->general), (unsigned)n, buf);
    gdb_put_hex(&t, buf, gdb_reg_bytes((unsigned)n));
    reply_text(g, &t);
}

static void write_one(struct gdb *g, const char *p)
{
    uint64_t n;
    uint8_t buf[GDB_REG_MAX_BYTES];
    if (!gdb_get_number(&p, &n) || n >= gdb_reg_count() || !gdb_get_char(&p, '=') ||
        !gdb_get_hex(p, buf, gdb_reg_bytes((unsigned)n))) {
        reply_result(g, -EINVAL);
        return;
    }
    gdb_reg_write(cpu_of(g, g->general), (unsigned)n, buf);
    reply(g, "OK");
}

/* ---- memory ---- */

/* Guest-physical address of the chosen vCPU's linear one. */
static bool physical(struct gdb *g, uint64_t addr, uint64_t *gpa)
{
    *gpa = addr;
    return g->physical || x86_debug_translate(cpu_of(g, g->general), addr, gpa);
}

static size_t read_memory(struct gdb *g, uint64_t addr, uint8_t *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        uint64_t gpa;
        size_t n = min_u64(len - done, PAGE - (addr + done) % PAGE);
        if (!physical(g, addr + done, &gpa) || gmem_peek(g->k->m, gpa, buf + done, n) < 0) {
            break;
        }
        done += n;
    }
    return done;
}

static bool write_memory(struct gdb *g, uint64_t addr, const uint8_t *buf, size_t len)
{
    while (len) {
        uint64_t gpa;
        size_t n = min_u64(len, PAGE - addr % PAGE);
        if (!physical(g, addr, &gpa) || gmem_write(g->k->m, gpa, buf, n) < 0) {
            return false;
        }
        addr += n;
        buf += n;
        len -= n;
    }
    return true;
}

static bool get_range(const char **p, uint64_t *addr, uint64_t *len)
{
    return gdb_get_number(p, addr) && gdb_get_char(p, ',') && gdb_get_number(p, len);
}

static void memory_read(struct gdb *g, const char *p)
{
    static uint8_t none;
    uint64_t addr, len;
    struct text t = { 0 };
    if (!get_range(&p, &addr, &len) || len > GDB_PACKET_MAX / 2) {
        reply_result(g, -EINVAL);
        return;
    }
    uint8_t *buf = len ? xcalloc(1, len) : &none;
    size_t got = read_memory(g, addr, buf, len);
    gdb_put_hex(&t, buf, got);
    if (len) {
        free(buf);
    }
    if (got == 0 && len) {
        reply_result(g, -EFAULT);
    } else {
        reply_text(g, &t);
    }
}

static void write_range(struct gdb *g, bool ok, uint64_t addr, const void *bytes, uint64_t len)
{
    reply_result(g, !ok ? -EINVAL : write_memory(g, addr, bytes, len) ? 0 : -EFAULT);
}

static void memory_write(struct gdb *g, const char *p)
{
    uint64_t addr, len;
    uint8_t buf[GDB_PACKET_MAX / 2];
    bool ok = get_range(&p, &addr, &len) && gdb_get_char(&p, ':') && len <= sizeof(buf) &&
              gdb_get_hex(p, buf, len);
    write_range(g, ok, addr, buf, len);
}

static void memory_write_binary(struct gdb *g, const char *p)
{
    uint64_t addr, len;
    bool ok = get_range(&p, &addr, &len) && gdb_get_char(&p, ':') &&
              (size_t)(g->link.in + g->link.len - p) >= len;
    write_range(g, ok, addr, p, len);
}

/* ---- break- and watchpoints ---- */

static int change_point(struct gdb *g, bool add, uint64_t type, uint64_t addr, uint64_t kind)
{
    static const enum x86_watch how[] = { X86_WATCH_WRITE, X86_WATCH_READ, X86_WATCH_ACCESS };
    struct x86_debug *d = vcpus_debug(g->k->vcpus);
    if (type <= 1) {
        return add ? x86_debug_break_add(d, addr) : x86_debug_break_del(d, addr);
    }
    return add ? x86_debug_watch_add(d, addr, kind, how[type - 2])
               : x86_debug_watch_del(d, addr, kind, how[type - 2]);
}

static void change(struct gdb *g, const char *p, bool add)
{
    uint64_t type, addr, kind;
    if (!gdb_get_number(&p, &type) || !gdb_get_char(&p, ',') || !get_range(&p, &addr, &kind)) {
        reply_result(g, -EINVAL);
    } else if (type > 4) {
        reply(g, "");
    } else {
        int ret = change_point(g, add, type, addr, kind);
        if (ret == 0 && type <= 1) {
            tcg_flush(vcpus_tcg(g->k->vcpus));
        }
        vcpus_flush_tlbs(g->k->vcpus);
        reply_result(g, ret);
    }
}

static void point_add(struct gdb *g, const char *p)
{
    change(g, p, true);
}

static void point_remove(struct gdb *g, const char *p)
{
    change(g, p, false);
}

/* ---- threads and running ---- */

/* "p1.2" never comes (no multiprocess): -1 all, 0 any, else the number. False: no such thread. */
static bool get_thread(struct gdb *g, const char *p, unsigned *cpu)
{
    uint64_t n;
    *cpu = g->general;
    if (begins(p, "-1") || strcmp(p, "0") == 0) {
        return true;
    }
    if (!gdb_get_number(&p, &n) || n == 0 || n > vcpus_count(g->k->vcpus)) {
        return false;
    }
    *cpu = (unsigned)n - 1;
    return true;
}

static void choose_thread(struct gdb *g, const char *p)
{
    unsigned cpu;
    if (!*p || !get_thread(g, p + 1, &cpu)) {
        reply_result(g, -ENOENT);
        return;
    }
    *(*p == 'c' ? &g->control : &g->general) = cpu;
    reply(g, "OK");
}

static void thread_alive(struct gdb *g, const char *p)
{
    unsigned cpu;
    reply_result(g, get_thread(g, p, &cpu) ? 0 : -ENOENT);
}

static void thread_current(struct gdb *g, const char *p)
{
    char text[16];
    (void)p;
    snprintf(text, sizeof(text), "QC%02x", g->general + 1);
    reply(g, text);
}

static void thread_list(struct gdb *g, const char *p)
{
    (void)p;
    struct text t = { 0 };
    for (unsigned i = 0; i < vcpus_count(g->k->vcpus); i++) {
        text_add(&t, "%c%02x", i ? ',' : 'm', i + 1);
    }
    reply_text(g, &t);
}

static void thread_extra(struct gdb *g, const char *p)
{
    char line[64];
    unsigned cpu;
    struct text t = { 0 };
    if (!get_thread(g, p, &cpu)) {
        reply_result(g, -ENOENT);
        return;
    }
    snprintf(line, sizeof(line), "CPU#%u [%s]", cpu,
             cpu_of(g, cpu)->halted ? "halted " : "running");
    gdb_put_hex(&t, (const uint8_t *)line, strlen(line));
    reply_text(g, &t);
}

/* An address, if there is one, is where to go on. */
static void run_old(struct gdb *g, const char *p, enum vcpu_how how)
{
    uint64_t addr;
    if (gdb_get_number(&p, &addr)) {
        cpu_of(g, g->control)->tcg.pc = addr;
    }
    vcpus_set_how(g->k->vcpus, g->control, how);
    resume(g);
}

static void run_on(struct gdb *g, const char *p)
{
    run_old(g, p, VCPU_RUN);
}

static void step(struct gdb *g, const char *p)
{
    run_old(g, p, VCPU_STEP);
}

/* What follows a signal number, which a machine has no use for. */
static const char *behind_signal(const char *p)
{
    size_t n = strcspn(p, ";");
    return p[n] ? p + n + 1 : p + n;
}

static void run_on_signal(struct gdb *g, const char *p)
{
    run_on(g, behind_signal(p));
}

static void step_signal(struct gdb *g, const char *p)
{
    step(g, behind_signal(p));
}

static bool action_of(const char *p, enum vcpu_how *how)
{
    *how = *p == 's' || *p == 'S' ? VCPU_STEP : VCPU_RUN;
    return *p == 's' || *p == 'S' || *p == 'c' || *p == 'C';
}

/* vCont;s:1;c - the leftmost action that names a thread counts; those without any stay. */
static void run_each(struct gdb *g, const char *p)
{
    unsigned n = vcpus_count(g->k->vcpus), cpu;
    bool set[CPU_MAX] = { false };
    while (gdb_get_char(&p, ';')) {
        enum vcpu_how how;
        char thread[16] = "-1";
        size_t len = strcspn(p, ";"), colon = strcspn(p, ":;");
        if (!action_of(p, &how)) {
            reply_result(g, -EINVAL);
            return;
        }
        if (p[colon] == ':') {
            snprintf(thread, sizeof(thread), "%.*s", (int)(len - colon - 1), p + colon + 1);
        }
        bool all = begins(thread, "-1");
        if (!get_thread(g, thread, &cpu)) {
            reply_result(g, -ENOENT);
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            if ((all || i == cpu) && !set[i]) {
                set[i] = true;
                vcpus_set_how(g->k->vcpus, i, how);
            }
        }
        p += len;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!set[i]) {
            vcpus_set_how(g->k->vcpus, i, VCPU_HOLD);
        }
    }
    resume(g);
}

/* ---- queries ---- */

static void monitor_command(struct gdb *g, const char *p)
{
    char line[1024];
    size_t n = strlen(p) / 2;
    struct text said = { 0 }, t = { 0 };
    if (n >= sizeof(line) || !gdb_get_hex(p, (uint8_t *)line, n)) {
        reply_result(g, -EINVAL);
        return;
    }
    line[n] = 0;
    hmp_run(g->k, line, &said);
    gdb_put_hex(&t, (const uint8_t *)(said.p ? said.p : ""), said.len);
    text_free(&said);
    if (t.len) {
        reply_text(g, &t);
    } else {
        reply(g, "OK");
    }
}

/* qXfer:features:read:target.xml:OFFSET,LENGTH */
static void send_description(struct gdb *g, const char *p)
{
    uint64_t off, len;
    struct text xml = { 0 }, t = { 0 };
    if (!get_range(&p, &off, &len)) {
        reply_result(g, -EINVAL);
        return;
    }
    gdb_reg_describe(&xml);
    size_t from = min_u64(off, xml.len),
           n = min_u64(min_u64(len, GDB_PACKET_MAX / 2), xml.len - from);
    text_put(&t, from + n < xml.len ? "m" : "l", 1);
    text_put(&t, xml.p + from, n);
    text_free(&xml);
    reply_text(g, &t);
}

static void supported(struct gdb *g, const char *p)
{
    char text[128];
    (void)p;
    snprintf(
        text, sizeof(text),
        "PacketSize=%x;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+;QStartNoAckMode+",
        GDB_PACKET_MAX);
    reply(g, text);
}

static void start_no_ack(struct gdb *g, const char *p)
{
    (void)p;
    g->link.no_ack = true;
    reply(g, "OK");
}

static void physical_mode(struct gdb *g, const char *p)
{
    g->physical = *p == '1';
    reply(g, "OK");
}

static void tell_physical_mode(struct gdb *g, const char *p)
{
    (void)p;
    reply(g, g->physical ? "1" : "0");
}

static void tell_why(struct gdb *g, const char *p)
{
    (void)p;
    g->why.why = X86_STOP_STEP;
    g->why.cpu = g->general;
    stop_reply(g);
}

static void tell_actions(struct gdb *g, const char *p)
{
    (void)p;
    reply(g, "vCont;c;C;s;S");
}

static void tell_attached(struct gdb *g, const char *p)
{
    (void)p;
    reply(g, "1");
}

static void no_more_threads(struct gdb *g, const char *p)
{
    (void)p;
    reply(g, "l");
}

/* ---- the end ---- */

static void let_go(struct gdb *g)
{
    struct err e;
    x86_debug_clear(vcpus_debug(g->k->vcpus));
    if (!machine_running(g->k->m)) {
        tcg_flush(vcpus_tcg(g->k->vcpus));
        vcpus_flush_tlbs(g->k->vcpus);
        keel_cont(g->k, &e); /* a machine that is off stays so */
    }
    g->waiting = false;
}

static void detach(struct gdb *g, const char *p)
{
    (void)p;
    reply(g, "OK");
    let_go(g);
}

static void kill_machine(struct gdb *g, const char *p)
{
    (void)p;
    keel_quit(g->k, false, "host-signal");
}

static void kill_politely(struct gdb *g, const char *p)
{
    reply(g, "OK");
    kill_machine(g, p);
}

/* ---- commands ---- */

static const struct {
    const char *name;
    bool whole; /* nothing may follow: another command's name begins like this one */
    void (*run)(struct gdb *g, const char *p);
} commands[] = {
    { "?", false, tell_why },
    { "g", false, read_all },
    { "G", false, write_all },
    { "p", false, read_one },
    { "P", false, write_one },
    { "m", false, memory_read },
    { "M", false, memory_write },
    { "X", false, memory_write_binary },
    { "c", false, run_on },
    { "s", false, step },
    { "C", false, run_on_signal },
    { "S", false, step_signal },
    { "Z", false, point_add },
    { "z", false, point_remove },
    { "H", false, choose_thread },
    { "T", false, thread_alive },
    { "D", false, detach },
    { "k", false, kill_machine },
    { "vCont?", true, tell_actions },
    { "vCont", false, run_each },
    { "vKill", false, kill_politely },
    { "qSupported", false, supported },
    { "qC", true, thread_current },
    { "qfThreadInfo", true, thread_list },
    { "qsThreadInfo", true, no_more_threads },
    { "qThreadExtraInfo,", false, thread_extra },
    { "qAttached", false, tell_attached },
    { "qRcmd,", false, monitor_command },
    { "qXfer:features:read:target.xml:", false, send_description },
    { "qqemu.PhyMemMode", true, tell_physical_mode },
    { "QStartNoAckMode", true, start_no_ack },
    { "Qqemu.PhyMemMode:", false, physical_mode },
};

static void on_packet(void *opaque, const char *p, size_t len)
{
    struct gdb *g = opaque;
    (void)len;
    g->waiting = false;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        size_t n = strlen(commands[i].name);
        if (strncmp(p, commands[i].name, n) == 0 && !(commands[i].whole && p[n])) {
            commands[i].run(g, p + n);
            return;
        }
    }
    reply(g, "");
}

static void on_too_long(void *opaque)
{
    reply_result(opaque, -E2BIG);
}

static void on_opened(void *opaque)
{
    struct gdb *g = opaque;
    g->physical = g->waiting = false;
    g->general = g->control = 0;
    keel_stop(g->k);
}

static void on_closed(void *opaque)
{
    let_go(opaque);
}

/* ---- life ---- */

static const struct gdb_packet_user user = { on_packet, on_too_long, on_interrupt, on_opened,
                                             on_closed };

int gdb_open(struct keel *k, const char *spec, struct err *e)
{
    char full[512];
    if (!k->vcpus) {
        return err_set(e, -EINVAL, "-gdb %s: only with processors of Keel's own (-accel tcg)",
                       spec);
    }
    /* A bare socket listens, as QEMU's does. */
    bool listens = begins(spec, "tcp:") || begins(spec, "unix:");
    snprintf(full, sizeof(full), "%s%s", spec,
             listens && !strstr(spec, ",server") ? ",server,nowait" : "");
    struct chr *c = chr_from_spec(&k->be, GDB_STREAM, full, e);
    if (!c) {
        return e->code ? err_prefix(e, "-gdb %s", spec) : 0;
    }
    struct gdb *g = xcalloc(1, sizeof(*g));
    g->k = k;
    g->stopped = (struct ev_post){ .cb = on_stopped, .opaque = g };
    k->gdb = g;
    x86_debug_listen(vcpus_debug(k->vcpus), vcpu_stopped, g);
    gdb_link_open(&g->link, c, &user, g);
    return 0;
}

void gdb_detach(struct keel *k)
{
    struct gdb *g = k->gdb;
    if (g && gdb_link_is_up(&g->link)) {
        let_go(g);
    }
}

void gdb_close(struct keel *k)
{
    struct gdb *g = k->gdb;
    if (!g) {
        return;
    }
    struct chr *c = g->link.chr;
    if (c->handlers) {
        reply(g, "W00");
    }
    gdb_link_close(&g->link);
    ev_post_cancel(k->loop, &g->stopped);
    x86_debug_listen(vcpus_debug(k->vcpus), NULL, NULL);
    if (strcmp(c->id, GDB_STREAM) == 0) { /* made for this; one of -chardev's stays */
        chr_remove(&k->be, c);
    }
    free(g);
    k->gdb = NULL;
}
