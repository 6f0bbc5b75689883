/* SPDX-License-Identifier: MIT */
/* dm/gdb.c - the gdb remote serial protocol: packets, and what each asks of the machine.
 *
 * vCPUs are threads, numbered from 1; the machine is all-stop. A connecting debugger pauses it, one
 * that leaves lets it go on. Memory is read and written by linear address of the chosen vCPU, or by
 * guest-physical address after `maintenance packet Qqemu.PhyMemMode:1`. `monitor COMMAND` runs an HMP
 * command. Left out: reverse execution, multiprocess ids, file I/O, tracepoints.
 * Reference: the gdb manual, appendix E.
 */
#include "dm/gdb.h"

#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
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

#define MAX_PACKET 0x4000u /* as told to gdb in qSupported */
#define PAGE 4096u
#define GDB_STREAM "gdb" /* what a stream of the server's own is called */

enum gdb_rx { RX_IDLE, RX_DATA, RX_SUM_HIGH, RX_SUM_LOW };

struct gdb {
    struct keel *k;
    struct chr *chr;
    enum gdb_rx rx;
    char in[MAX_PACKET + 1]; /* the packet's payload, terminated */
    size_t len;
    uint8_t sum, told_sum; /* computed and sent */
    bool too_long;
    struct text out;  /* not taken by the peer yet */
    struct text last; /* the last packet, for a NAK */
    bool no_ack, physical;
    bool waiting;              /* gdb waits for a stop reply */
    unsigned general, control; /* vCPU index of Hg and Hc */
    struct ev_post stopped;
    struct x86_stop_info why; /* of the last stop; written by a vCPU thread before it posts */
};

/* ---- bytes and hexadecimal ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void put_hex(struct text *t, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text_add(t, "%02x", p[i]);
    }
}

/* Two digits a byte; false when there are not n of them. */
static bool get_hex(const char *s, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(s[2 * i]), low = high < 0 ? -1 : hex_digit(s[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        p[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* A number in hexadecimal at *s, which moves behind it; false when there is none. */
static bool get_number(const char **s, uint64_t *v)
{
    int digit;
    const char *start = *s;
    *v = 0;
    while ((digit = hex_digit(**s)) >= 0) {
        *v = *v << 4 | (unsigned)digit;
        ++*s;
    }
    return *s != start;
}

static bool get_char(const char **s, char c)
{
    return **s == c ? ++*s, true : false;
}

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* ---- sending ---- */

static void flush(struct gdb *g)
{
    while (g->out.len) {
        long n = chr_write(g->chr, g->out.p, g->out.len);
        if (n <= 0) {
            return;
        }
        text_drop(&g->out, (size_t)n);
    }
}

static void send_packet(struct gdb *g, const char *p, size_t len)
{
    uint8_t sum = 0;
    text_drop(&g->last, g->last.len);
    text_put(&g->last, "$", 1);
    for (size_t i = 0; i < len; i++) {
        char escaped[2] = { '}', (char)(p[i] ^ 0x20) };
        bool special = p[i] == '#' || p[i] == '$' || p[i] == '}' || p[i] == '*';
        text_put(&g->last, special ? escaped : &p[i], special ? 2 : 1);
    }
    for (size_t i = 1; i < g->last.len; i++) {
        sum = (uint8_t)(sum + (uint8_t)g->last.p[i]);
    }
    text_add(&g->last, "#%02x", sum);
    text_put(&g->out, g->last.p, g->last.len);
    flush(g);
}

static void reply(struct gdb *g, const char *text)
{
    send_packet(g, text, strlen(text));
}

static void reply_text(struct gdb *g, struct text *t)
{
    send_packet(g, t->p ? t->p : "", t->len);
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

static void interrupt(struct gdb *g)
{
    g->why = (struct x86_stop_info){ .why = X86_STOP_PAUSED, .cpu = g->control };
    keel_stop(g->k);
    if (g->waiting) {
        stop_reply(g);
    }
}

/* ---- registers ---- */

static void read_all(struct gdb *g)
{
    struct text t = { 0 };
    uint8_t buf[GDB_REG_MAX_BYTES];
    for (unsigned n = 0; n < gdb_reg_count(); n++) {
        gdb_reg_read(cpu_of(g, g->general), n, buf);
        put_hex(&t, buf, gdb_reg_bytes(n));
    }
    reply_text(g, &t);
}

static void write_all(struct gdb *g, const char *p)
{
    uint8_t buf[GDB_REG_MAX_BYTES];
    for (unsigned n = 0; n < gdb_reg_count() && *p; n++) {
        size_t bytes = gdb_reg_bytes(n);
        if (!get_hex(p, buf, bytes)) {
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
    if (!get_number(&p, &n) || n >= gdb_reg_count()) {
        reply_result(g, -EINVAL);
        return;
    }
    gdb_reg_read(cpu_of(g, g->general), (unsigned)n, buf);
    put_hex(&t, buf, gdb_reg_bytes((unsigned)n));
    reply_text(g, &t);
}

static void write_one(struct gdb *g, const char *p)
{
    uint64_t n;
    uint8_t buf[GDB_REG_MAX_BYTES];
    if (!get_number(&p, &n) || n >= gdb_reg_count() || !get_char(&p, '=') ||
        !get_hex(p, buf, gdb_reg_bytes((unsigned)n))) {
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
    return get_number(p, addr) && get_char(p, ',') && get_number(p, len);
}

static void memory_read(struct gdb *g, const char *p)
{
    static uint8_t none;
    uint64_t addr, len;
    struct text t = { 0 };
    if (!get_range(&p, &addr, &len) || len > MAX_PACKET / 2) {
        reply_result(g, -EINVAL);
        return;
    }
    uint8_t *buf = len ? xcalloc(1, len) : &none;
    size_t got = read_memory(g, addr, buf, len);
    put_hex(&t, buf, got);
    if (len) {
        free(buf);
    }
    if (got == 0 && len) {
        reply_result(g, -EFAULT);
    } else {
        reply_text(g, &t);
    }
}

static void memory_write(struct gdb *g, const char *p, bool binary)
{
    uint64_t addr, len;
    uint8_t buf[MAX_PACKET / 2];
    const uint8_t *from = buf;
    bool ok = get_range(&p, &addr, &len) && get_char(&p, ':') && len <= MAX_PACKET / 2;
    if (ok && binary) {
        from = (const uint8_t *)p;
        ok = (size_t)(g->in + g->len - p) >= len;
    } else if (ok) {
        ok = get_hex(p, buf, len);
    }
    reply_result(g, !ok ? -EINVAL : write_memory(g, addr, from, len) ? 0 : -EFAULT);
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

static void point(struct gdb *g, const char *p, bool add)
{
    uint64_t type, addr, kind;
    if (!get_number(&p, &type) || !get_char(&p, ',') || !get_range(&p, &addr, &kind)) {
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

/* ---- threads and running ---- */

/* "p1.2" never comes (no multiprocess): -1 all, 0 any, else the number. False: no such thread. */
static bool get_thread(struct gdb *g, const char *p, unsigned *cpu)
{
    uint64_t n;
    *cpu = g->general;
    if (begins(p, "-1") || strcmp(p, "0") == 0) {
        return true;
    }
    if (!get_number(&p, &n) || n == 0 || n > vcpus_count(g->k->vcpus)) {
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

static void thread_list(struct gdb *g)
{
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
    put_hex(&t, (const uint8_t *)line, strlen(line));
    reply_text(g, &t);
}

/* c, s, C, S: an address, if there is one, is where to go on. */
static void run_old(struct gdb *g, const char *p, enum vcpu_how how)
{
    uint64_t addr;
    if (get_number(&p, &addr)) {
        cpu_of(g, g->control)->tcg.pc = addr;
    }
    vcpus_set_how(g->k->vcpus, g->control, how);
    resume(g);
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
    while (get_char(&p, ';')) {
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
    if (n >= sizeof(line) || !get_hex(p, (uint8_t *)line, n)) {
        reply_result(g, -EINVAL);
        return;
    }
    line[n] = 0;
    hmp_run(g->k, line, &said);
    put_hex(&t, (const uint8_t *)(said.p ? said.p : ""), said.len);
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
    size_t from = min_u64(off, xml.len), n = min_u64(min_u64(len, MAX_PACKET / 2), xml.len - from);
    text_put(&t, from + n < xml.len ? "m" : "l", 1);
    text_put(&t, xml.p + from, n);
    text_free(&xml);
    reply_text(g, &t);
}

static void physical_mode(struct gdb *g, const char *p)
{
    g->physical = *p == '1';
    reply(g, "OK");
}

static void query(struct gdb *g, const char *p)
{
    char text[160];
    if (begins(p, "Supported")) {
        snprintf(text, sizeof(text),
                 "PacketSize=%x;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+;"
                 "QStartNoAckMode+",
                 MAX_PACKET);
        reply(g, text);
    } else if (strcmp(p, "C") == 0) {
        snprintf(text, sizeof(text), "QC%02x", g->general + 1);
        reply(g, text);
    } else if (strcmp(p, "fThreadInfo") == 0) {
        thread_list(g);
    } else if (strcmp(p, "sThreadInfo") == 0) {
        reply(g, "l");
    } else if (begins(p, "ThreadExtraInfo,")) {
        thread_extra(g, p + strlen("ThreadExtraInfo,"));
    } else if (begins(p, "Attached")) {
        reply(g, "1");
    } else if (begins(p, "Rcmd,")) {
        monitor_command(g, p + strlen("Rcmd,"));
    } else if (begins(p, "Xfer:features:read:target.xml:")) {
        send_description(g, p + strlen("Xfer:features:read:target.xml:"));
    } else if (strcmp(p, "qemu.PhyMemMode") == 0) {
        reply(g, g->physical ? "1" : "0");
    } else {
        reply(g, "");
    }
}

static void set(struct gdb *g, const char *p)
{
    if (strcmp(p, "StartNoAckMode") == 0) {
        g->no_ack = true;
        reply(g, "OK");
    } else if (begins(p, "qemu.PhyMemMode:")) {
        physical_mode(g, p + strlen("qemu.PhyMemMode:"));
    } else {
        reply(g, "");
    }
}

static void verbose(struct gdb *g, const char *p)
{
    if (strcmp(p, "Cont?") == 0) {
        reply(g, "vCont;c;C;s;S");
    } else if (begins(p, "Cont;")) {
        run_each(g, p + strlen("Cont"));
    } else if (begins(p, "Kill")) {
        reply(g, "OK");
        keel_quit(g->k, false, "host-signal");
    } else {
        reply(g, "");
    }
}

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

static void detach(struct gdb *g)
{
    reply(g, "OK");
    let_go(g);
}

/* A signal number, which a machine has no use for, and perhaps an address. */
static const char *behind_signal(const char *p)
{
    size_t n = strcspn(p, ";");
    return p[n] ? p + n + 1 : p + n;
}

static void command(struct gdb *g, const char *p)
{
    switch (*p++) {
    case '?':
        g->why.why = X86_STOP_STEP;
        g->why.cpu = g->general;
        stop_reply(g);
        break;
    case 'g':
        read_all(g);
        break;
    case 'G':
        write_all(g, p);
        break;
    case 'p':
        read_one(g, p);
        break;
    case 'P':
        write_one(g, p);
        break;
    case 'm':
        memory_read(g, p);
        break;
    case 'M':
        memory_write(g, p, false);
        break;
    case 'X':
        memory_write(g, p, true);
        break;
    case 'c':
        run_old(g, p, VCPU_RUN);
        break;
    case 's':
        run_old(g, p, VCPU_STEP);
        break;
    case 'C':
        run_old(g, behind_signal(p), VCPU_RUN);
        break;
    case 'S':
        run_old(g, behind_signal(p), VCPU_STEP);
        break;
    case 'Z':
        point(g, p, true);
        break;
    case 'z':
        point(g, p, false);
        break;
    case 'H':
        choose_thread(g, p);
        break;
    case 'T':
        thread_alive(g, p);
        break;
    case 'q':
        query(g, p);
        break;
    case 'Q':
        set(g, p);
        break;
    case 'v':
        verbose(g, p);
        break;
    case 'D':
        detach(g);
        break;
    case 'k':
        keel_quit(g->k, false, "host-signal");
        break;
    default:
        reply(g, "");
    }
}

/* ---- receiving ---- */

/* "}x" stands for x ^ 0x20. */
static void unescape(struct gdb *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->len; i++) {
        bool escape = g->in[i] == '}' && i + 1 < g->len;
        g->in[n++] = escape ? (char)(g->in[++i] ^ 0x20) : g->in[i];
    }
    g->len = n;
    g->in[n] = 0;
}

static void packet(struct gdb *g)
{
    bool good = g->sum == g->told_sum;
    if (!g->no_ack) {
        text_put(&g->out, good ? "+" : "-", 1);
        flush(g);
    }
    if (!good && !g->no_ack) {
        return;
    }
    if (g->too_long) {
        reply_result(g, -E2BIG);
        return;
    }
    g->waiting = false;
    unescape(g);
    command(g, g->in);
}

static void idle_byte(struct gdb *g, uint8_t c)
{
    if (c == '$') {
        g->rx = RX_DATA;
        g->len = 0;
        g->sum = 0;
        g->too_long = false;
    } else if (c == 3) {
        interrupt(g);
    } else if (c == '-' && g->last.len) {
        text_put(&g->out, g->last.p, g->last.len);
        flush(g);
    }
}

static void byte(struct gdb *g, uint8_t c)
{
    switch (g->rx) {
    case RX_IDLE:
        idle_byte(g, c);
        break;
    case RX_DATA:
        if (c == '#') {
            g->rx = RX_SUM_HIGH;
        } else if (g->len < MAX_PACKET) {
            g->sum = (uint8_t)(g->sum + c);
            g->in[g->len++] = (char)c;
        } else {
            g->sum = (uint8_t)(g->sum + c);
            g->too_long = true;
        }
        break;
    case RX_SUM_HIGH:
        g->told_sum = (uint8_t)((unsigned)hex_digit((char)c) << 4);
        g->rx = RX_SUM_LOW;
        break;
    case RX_SUM_LOW:
        g->told_sum |= (uint8_t)(hex_digit((char)c) & 0x0f);
        g->rx = RX_IDLE;
        packet(g);
        break;
    }
}

static size_t can_read(void *opaque)
{
    struct gdb *g = opaque;
    return g->out.len < MAX_PACKET * 4 ? 4096 : 0;
}

static void on_read(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        byte(opaque, buf[i]);
    }
}

static void writable(void *opaque)
{
    struct gdb *g = opaque;
    flush(g);
    chr_kick(g->chr);
}

static void on_event(void *opaque, enum chr_event ev)
{
    struct gdb *g = opaque;
    if (ev == CHR_OPENED) {
        text_free(&g->out);
        text_free(&g->last);
        g->rx = RX_IDLE;
        g->no_ack = g->physical = g->waiting = false;
        g->general = g->control = 0;
        keel_stop(g->k);
    } else if (ev == CHR_CLOSED) {
        let_go(g);
    }
}

/* ---- life ---- */

static const struct chr_handlers handlers = { can_read, on_read, writable, on_event };

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
    *g = (struct gdb){ .k = k, .chr = c };
    g->stopped = (struct ev_post){ .cb = on_stopped, .opaque = g };
    k->gdb = g;
    x86_debug_listen(vcpus_debug(k->vcpus), vcpu_stopped, g);
    chr_attach(c, &handlers, g);
    return 0;
}

void gdb_detach(struct keel *k)
{
    struct gdb *g = k->gdb;
    if (g && g->chr->handlers && g->chr->open) {
        let_go(g);
    }
}

void gdb_close(struct keel *k)
{
    struct gdb *g = k->gdb;
    if (!g) {
        return;
    }
    if (g->chr->handlers) {
        reply(g, "W00");
        chr_attach(g->chr, NULL, NULL);
    }
    ev_post_cancel(k->loop, &g->stopped);
    x86_debug_listen(vcpus_debug(k->vcpus), NULL, NULL);
    text_free(&g->out);
    text_free(&g->last);
    if (strcmp(g->chr->id, GDB_STREAM) == 0) { /* made for this; one of -chardev's stays */
        chr_remove(&k->be, g->chr);
    }
    free(g);
    k->gdb = NULL;
}
