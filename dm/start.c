/* SPDX-License-Identifier: MIT */
/* dm/start.c - from parsed options to a machine that runs, and back.
 *
 *   descriptors, images, sockets -> Xen -> board -> monitors, VNC -> saved state -> rings run
 *   -> chroot, user, restrict -> `running` in xenstore -> the loop
 *
 * Whatever can fail for the operator's reasons fails before the guest could have noticed.
 */
#include "dm/keel.h"

#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/board-cmos.h"
#include "dm/board.h"
#include "dm/chardev/chr-mux.h"
#include "dm/gdb.h"
#include "dm/hotplug.h"
#include "dm/monitor.h"
#include "dm/qmp-block.h"
#include "dm/qmp.h"
#include "dm/record.h"
#include "dm/vm-snapshot.h"
#include "dm/xen-net.h"
#include "hw/test/debug-exit.h"
#include "ioreq/flat.h"
#include "ioreq/soft.h"
#include "target/x86/vcpu.h"
#include "ui/vnc.h"
#include "dm/xen-disk.h"
#include "dm/xen-input.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* ---- the loop takes the machine lock ---- */

static void lock(void *opaque)
{
    struct keel *k = opaque;
    if (k->m) {
        machine_enter(k->m);
    }
}

static void unlock(void *opaque)
{
    struct keel *k = opaque;
    if (k->m) {
        machine_leave(k->m);
    }
}

static bool try_lock(void *opaque)
{
    return machine_try_enter(((struct keel *)opaque)->m);
}

static void ask_leave(void *opaque)
{
    machine_ask_leave(((struct keel *)opaque)->m);
}

static void leaving(void *opaque)
{
    ev_leaving(((struct keel *)opaque)->loop);
}

/* ---- signals ---- */

static void on_signal(void *opaque, unsigned events)
{
    struct keel *k = opaque;
    struct signalfd_siginfo si;
    (void)events;
    if (read(k->signals.fd, &si, sizeof(si)) == sizeof(si)) {
        keel_quit(k, false, "host-signal");
    }
}

static int catch_signals(struct keel *k, struct err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* libxl limits file sizes: a save then fails, nothing dies */
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    k->signals = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = on_signal, .opaque = k };
    return fd < 0 ? err_set(e, -errno, "signalfd: %s", strerror(errno))
                  : ev_fd_add(k->loop, &k->signals);
}

/* ---- the machine ---- */

static void debug_exit(void *opaque, int code)
{
    struct keel *k = opaque;
    k->exit_code = code;
    ev_quit(k->loop);
}

/* The guest hangs without us: the toolstack shall see that the device model has gone. */
static void xen_lost(void *opaque, const struct err *e)
{
    struct keel *k = opaque;
    fprintf(stderr, "keel: %s\n", e->msg);
    xen_store_failure((unsigned)k->o.domid, e->msg);
    k->exit_code = 1;
    ev_quit(k->loop);
}

static int open_xen(struct keel *k, struct err *e)
{
    k->xen = xen_open((unsigned)k->o.domid, k->o.ram_bytes, k->o.max_ram_below_4g,
                      k->o.incoming != NULL, e);
    if (!k->xen) {
        return e->code;
    }
    xen_set_on_lost(k->xen, xen_lost, k);
    k->m = machine_new(board_type(&k->o), &xen_host, k->xen);
    return 0;
}

static int open_flat(struct keel *k, struct err *e)
{
    uint64_t ram = k->o.machine == MACHINE_NONE ? 4096 : k->o.ram_bytes;
    k->flat = flat_new(ram);
    if (!k->flat) {
        return err_set(e, -ENOMEM, "-m: cannot have %llu bytes of guest memory",
                       (unsigned long long)ram);
    }
    k->flat->slot_addend = 3; /* the wiring of a real i440FX board; Xen's differs */
    k->m = machine_new(board_type(&k->o), &flat_host_ops, k->flat);
    return 0;
}

static void expired(void *opaque)
{
    struct keel *k = opaque;
    machine_timers(k->m);
}

/* From any thread, under the machine lock. */
static void arm_expiry(void *opaque, int64_t when_ns)
{
    struct keel *k = opaque;
    if (k->o.icount) { /* the processors' thread does that */
        if (k->vcpus) {
            vcpus_timer_changed(k->vcpus);
        }
    } else if (when_ns < 0) {
        ev_timer_disarm(&k->expiry);
    } else {
        ev_timer_arm(k->loop, &k->expiry, when_ns);
    }
}

static int64_t wall_seconds(void *opaque)
{
    (void)opaque;
    return time(NULL);
}

static int open_soft(struct keel *k, struct err *e)
{
    struct soft_options o = { .ram_bytes = k->o.ram_bytes,
                              .no_core_dump = k->o.no_ram_in_core,
                              .icount = k->o.icount,
                              .below_4g = board_below_4g(&k->o),
                              .wallclock = wall_seconds };
    k->soft = soft_new(&o, e);
    if (!k->soft) {
        return err_prefix(e, "-m");
    }
    k->expiry = (struct ev_timer){ .cb = expired, .opaque = k };
    k->m = machine_new(board_type(&k->o), &soft_host_ops, k->soft);
    soft_attach(k->soft, k->m, arm_expiry, k);
    return 0;
}

static void disks_done(void *opaque)
{
    struct keel *k = opaque;
    backends_drain(&k->be);
    vcpus_settled(k->vcpus);
}

/* icount: a disk takes no time, or the host's speed would show. On the processors' thread. */
static bool await_disks(void *opaque)
{
    struct keel *k = opaque;
    machine_enter(k->m);
    bool busy = backends_busy(&k->be);
    machine_leave(k->m);
    if (busy) {
        ev_post(k->loop, &k->settle);
    }
    return busy;
}

/* Bytes of host code. Each process of a guest that places its programs at random brings a MiB or two of it
 * along: a cache too small is emptied, with the kernel's code, every few seconds. */
static size_t code_cache_bytes(const struct keel *k)
{
    enum { LEAST = 64 << 20, MOST = 256 << 20 };
    uint64_t part = k->o.ram_bytes / 4;
    return k->o.tb_bytes ? k->o.tb_bytes : part < LEAST ? LEAST : part > MOST ? MOST : part;
}

static int open_processors(struct keel *k, struct err *e)
{
    struct vcpu_options o = {
        .cpus = k->o.max_cpus,
        .sockets = k->o.sockets,
        .cores = k->o.cores,
        .threads = k->o.threads,
        .model = k->o.cpu_model,
        .single_thread = k->o.single_thread,
        .tcg = { .engine = k->o.tcg_interp ? TCG_INTERP : TCG_JIT,
                 .cache_bytes = code_cache_bytes(k),
                 .passes = k->o.tcg_passes,
                 .dump = k->o.tcg_dump,
                 .dump_to = stderr,
                 .only = k->o.log_only,
                 .onlys = k->o.log_onlys,
                 .perf_map = k->o.perf_map },
        .log = k->o.cpu_log,
        .log_to = stderr,
        .icount_shift = k->o.icount ? k->o.icount_shift : ICOUNT_OFF,
        .icount_sleep = !k->o.icount_nosleep,
        .settle = await_disks,
        .o = k,
    };
    k->settle = (struct ev_post){ .cb = disks_done, .opaque = k };
    k->vcpus = vcpus_new(k->m, k->soft, &o, e);
    if (!k->vcpus) {
        return e->code;
    }
    int ret = vcpus_add_state(k->vcpus, e);
    return ret < 0 ? ret : soft_add_state(k->soft, k->m, e);
}

static int open_machine(struct keel *k, struct err *e)
{
    bool real = k->o.machine != MACHINE_NONE;
    int ret = real && k->o.accel == ACCEL_XEN   ? open_xen(k, e)
              : real && k->o.accel == ACCEL_TCG ? open_soft(k, e)
                                                : open_flat(k, e);
    for (unsigned i = 0; ret == 0 && i < k->o.cpus; i++) {
        k->cpu_here[i / 64] |= 1ull << (i % 64);
    }
    return ret;
}

static int build(struct keel *k, struct err *e)
{
    keel_watch_power(k);
    int ret = board_build(k->m, &k->o, &k->be, e);
    if (ret == 0 && k->soft) {
        ret = open_processors(k, e);
    }
    if (ret < 0 || !k->o.record) {
        return ret;
    }
    if (k->o.incoming) {
        return err_set(e, -EINVAL,
                       "-keel-record: a recording begins with the machine, not with "
                       "-incoming");
    }
    k->taps = record_start(k->m, &k->be, k->o.record, k->argc, k->argv, e);
    return k->taps ? 0 : err_prefix(e, "-keel-record");
}

/* ---- who looks and who commands ---- */

static int add_mon(struct keel *k, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "chardev"), *mode = keyval_get(kv, "mode");
    struct chr *c = chr_find(&k->be, id);
    if (!c || c->handlers) {
        return err_set(e, -ENOENT, "-mon %s: %s", kv->text,
                       c ? "the chardev is in use" : "no -chardev has that id");
    }
    monitor_add(k, c, mode && strcmp(mode, "control") == 0);
    return 0;
}

static int add_mon_spec(struct keel *k, const char *option, const char *spec, bool control,
                        struct err *e)
{
    char id[32];
    snprintf(id, sizeof(id), "compat_monitor%u", k->next_monitor++);
    struct chr *c = chr_from_spec(&k->be, id, spec, e);
    if (c) {
        monitor_add(k, c, control);
    }
    return e->code ? err_prefix(e, "-%s %s", option, spec) : 0;
}

/* Ctrl-A x on a stream shared with a monitor. */
static void quit_typed(void *opaque)
{
    keel_quit(opaque, false, "host-ui");
}

static int open_monitors(struct keel *k, struct err *e)
{
    int ret = 0;
    for (size_t i = 0; ret == 0 && i < k->o.mons.n; i++) {
        ret = add_mon(k, k->o.mons.kv[i], e);
    }
    for (size_t i = 0; ret == 0 && i < k->o.monitors.n; i++) {
        ret = add_mon_spec(k, "monitor", k->o.monitors.kv[i]->text, false, e);
    }
    for (unsigned i = 0; ret == 0 && i < k->be.nmuxed; i++) {
        monitor_add(k, k->be.muxed[i].chr, false);
        chr_mux_on_quit(k->be.muxed[i].mux, quit_typed, k);
    }
    for (size_t i = 0; ret == 0 && i < k->o.qmps.n; i++) {
        ret = add_mon_spec(k, "qmp", k->o.qmps.kv[i]->text, true, e);
    }
    drives_watch(k);
    return ret;
}

static int open_debuggers(struct keel *k, struct err *e)
{
    int ret = 0;
    if (k->o.gdbs.n > 1) {
        return err_set(e, -EINVAL, "-gdb: given twice");
    }
    for (size_t i = 0; ret == 0 && i < k->o.gdbs.n; i++) {
        ret = gdb_open(k, k->o.gdbs.kv[i]->text, e);
    }
    return ret;
}

/* "[HOST]:DISPLAY" or "unix:PATH" into host (a copy, size bytes) and display. */
static int parse_display(const char *text, char *host, size_t size, unsigned *display,
                         struct err *e)
{
    const char *colon = strrchr(text, ':');
    uint64_t n = 0;
    bool is_unix = strncmp(text, "unix:", 5) == 0;
    size_t len = is_unix ? strlen(text) : colon ? (size_t)(colon - text) : 0;
    bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (!colon || len >= size || (!is_unix && parse_u64(colon + 1, 59635, &n) < 0)) {
        return err_set(e, -EINVAL, "expected [HOST]:DISPLAY, with a display from 0 to 59635");
    }
    snprintf(host, size, "%.*s", (int)(bracketed ? len - 2 : len), text + bracketed);
    *display = (unsigned)n;
    return 0;
}

static int start_vnc(struct keel *k, struct keyval *kv, struct err *e)
{
    char host[256];
    uint32_t to = 0;
    const char *where = keyval_get(kv, "vnc");
    struct vnc_options o = { .host = host,
                             .keymap = k->o.keymap,
                             .name = k->o.name ? k->o.name : "Keel" };
    if (where && strcmp(where, "none") == 0) {
        return 0;
    }
    if (parse_display(where ? where : "", host, sizeof(host), &o.display, e) < 0 ||
        keyval_u32(kv, "to", &to, e) < 0 || keyval_bool(kv, "password", &o.password, e) < 0) {
        return -EINVAL;
    }
    const char *sound = keyval_get(kv, "audiodev");
    if (sound && (!k->o.audiodev || strcmp(sound, k->o.audiodev) != 0)) {
        return err_set(e, -ENOENT, "audiodev=%s: no -audiodev has this id", sound);
    }
    if (k->vnc) {
        return err_not_yet(e, "a second server");
    }
    o.to = to;
    k->vnc = vnc_new(k->loop, k->be.con, &o, e);
    return k->vnc ? 0 : e->code;
}

static void vnc_changed(void *opaque, bool connected, const struct vnc_client_info *who)
{
    struct keel *k = opaque;
    const char *family = strchr(who->host, ':') ? "ipv6" : "ipv4";
    json_t *client = json_pack("{s:s, s:s, s:s, s:b}", "host", who->host, "service", who->service,
                               "family", family, "websocket", 0);
    json_t *server =
        json_pack("{s:o, s:o, s:s, s:b}", "host", qmp_text(vnc_host(k->vnc)), "service",
                  json_sprintf("%u", vnc_port(k->vnc)), "family", family, "websocket", 0);
    monitor_event(k, connected ? "VNC_CONNECTED" : "VNC_DISCONNECTED",
                  json_pack("{s:o, s:o}", "server", server, "client", client));
}

static int open_vnc(struct keel *k, struct err *e)
{
    if (k->o.keymap && !keymap_known(k->o.keymap)) {
        return err_set(e, -EINVAL, "-k %s: unknown keyboard layout", k->o.keymap);
    }
    for (size_t i = 0; i < k->o.vncs.n; i++) {
        if (start_vnc(k, k->o.vncs.kv[i], e) < 0) {
            return err_prefix(e, "-vnc %s", k->o.vncs.kv[i]->text);
        }
    }
    if (k->vnc) {
        vnc_set_listener(k->vnc, vnc_changed, k);
    }
    return 0;
}

/* ---- running ---- */

static int enter_first_state(struct keel *k, struct err *e)
{
    if (k->o.incoming) {
        machine_set_run_state(k->m, RUN_INMIGRATE);
        if (strcmp(k->o.incoming, "defer") == 0) {
            return 0;
        }
        int ret = keel_load_incoming(k, k->o.incoming, e);
        if (ret < 0) {
            return err_prefix(e, "-incoming %s", k->o.incoming);
        }
        if (k->incoming) {
            return 0; /* the rest when it is here */
        }
    }
    const struct vm_disks every = { 0 };
    if (k->o.loadvm && vm_snapshot_load(k, k->o.loadvm, &every, e) < 0) {
        return err_prefix(e, "-loadvm %s", k->o.loadvm);
    }
    if (!k->o.stopped) {
        machine_set_run_state(k->m, RUN_RUNNING);
    }
    return 0;
}

static int write_pidfile(const struct keel *k, struct err *e)
{
    if (!k->o.pidfile) {
        return 0;
    }
    int fd = open(k->o.pidfile, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && lockf(fd, F_TLOCK, 0) == 0 && ftruncate(fd, 0) == 0 &&
              dprintf(fd, "%d\n", (int)getpid()) > 0;
    return ok ? 0 : err_set(e, -errno, "-pidfile %s: %s", k->o.pidfile, strerror(errno));
}

static int set_up(struct keel *k, struct err *e)
{
    int ret = build(k, e);
    if (ret == 0) {
        ret = open_monitors(k, e);
    }
    if (ret == 0) {
        ret = open_vnc(k, e);
    }
    if (ret == 0) {
        ret = open_debuggers(k, e);
    }
    if (ret == 0) {
        ret = enter_first_state(k, e);
    }
    return ret == 0 ? qtest_open(k, e) : ret;
}

/* The tool stack's PV devices, as far as this process may serve them. */
static int start_pv_devices(struct keel *k, struct err *e)
{
    int ret = 0;
    machine_enter(k->m);
    if (k->o.domid_restrict) {
        ret = xen_disks_decline(k, XEN_DISKS_RESTRICTED, e);
    } else if (k->o.record) {
        ret = xen_disks_decline(k, XEN_DISKS_RECORDED, e);
    } else {
        k->xen_disks = xen_disks_start(k);
        k->xen_input = xen_input_start(k);
    }
    machine_leave(k->m);
    return ret;
}

static int go(struct keel *k, struct err *e)
{
    int ret = k->xen ? xen_start(k->xen, k->m, k->loop, e) : 0;
    if (ret == 0 && k->xen) {
        ret = start_pv_devices(k, e);
    }
    if (ret == 0) {
        ret = write_pidfile(k, e);
    }
    if (ret == 0 && k->xen) {
        machine_enter(k->m);
        ret = xen_cards_start(&k->be, k->xen, k->loop, e);
        machine_leave(k->m);
    }
    if (ret == 0 && k->xen && k->o.domid_restrict) { /* needs /dev/null: before chroot */
        ret = xen_restrict(k->xen, e);
    }
    if (ret == 0) {
        ret = sandbox_enter(&k->o, &k->be, e);
    }
    return ret == 0 && k->xen ? xen_ready(k->xen, e) : ret;
}

int keel_start(struct keel *k, struct err *e)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* threads inherit it, and programs */
    k->loop = ev_loop_new(lock, unlock, k);
    if (!k->loop) {
        return err_set(e, -errno, "event loop: %s", strerror(errno));
    }
    int ret = catch_signals(k, e);
    if (ret == 0) {
        ret = backends_open(&k->be, k->loop, &k->o, false, e);
    }
    if (ret == 0) {
        ret = open_machine(k, e);
    }
    if (ret < 0) {
        return ret;
    }
    k->exit_hook = (struct debug_exit_hook){ debug_exit, k };
    k->be.exit_hook = &k->exit_hook;
    hotplug_init(k);
    machine_enter(k->m);
    ret = set_up(k, e);
    ev_loop_set_try(k->loop, try_lock);
    machine_set_leave(k->m, leaving, k);
    ev_loop_set_leave(k->loop, ask_leave);
    machine_leave(k->m);
    return ret == 0 ? go(k, e) : ret;
}

void keel_run(struct keel *k)
{
    if (k->vcpus && machine_running(k->m)) {
        vcpus_resume(k->vcpus);
    }
    ev_loop_run(k->loop);
}

static void close_machine(struct keel *k)
{
    if (!k->m) {
        return;
    }
    if (k->vcpus) {
        vcpus_pause(k->vcpus);
    }
    machine_enter(k->m);
    ev_loop_set_try(k->loop, NULL);
    ev_loop_set_leave(k->loop, NULL);
    gdb_close(k);
    incoming_close(k);
    machine_leave(k->m);
    ev_post_cancel(k->loop, &k->settle);
    vcpus_free(k->vcpus);
    k->vcpus = NULL;
    machine_enter(k->m);
    qtest_close(k);
    vnc_free(k->vnc);
    monitor_free_all(k);
    xen_input_stop(k->xen_input);
    xen_disks_stop(k->xen_disks);
    backends_drain(&k->be);
    machine_leave(k->m);
    record_stop(k->m, k->taps);
    machine_free(k->m);
    k->m = NULL;
}

void keel_fini(struct keel *k)
{
    if (k->xen) {
        xen_stop(k->xen);
    }
    close_machine(k);
    xen_cards_stop(&k->be);
    if (k->xen) {
        xen_close(k->xen);
    }
    flat_free(k->flat);
    if (k->loop && k->soft) {
        ev_timer_disarm(&k->expiry);
    }
    soft_free(k->soft);
    if (k->loop) {
        backends_close(&k->be);
        if (k->signals.loop) {
            ev_fd_del(&k->signals);
            close(k->signals.fd);
        }
        ev_post_cancel(k->loop, &k->power);
        ev_loop_free(k->loop);
    }
}
