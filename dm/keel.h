/* SPDX-License-Identifier: MIT */
/* dm/keel.h - one running Keel: the machine, what stands behind it, and who commands it.
 *
 * Everything here runs on the loop thread under the machine lock, which the loop takes for every
 * callback. The one call from elsewhere is the machine's on_power, which only posts to the loop.
 */
#ifndef DM_KEEL_H
#define DM_KEEL_H

#include "dm/backends.h"
#include "dm/base/ev.h"
#include "dm/options.h"
#include "hw/acpi/piix4-pm.h"
#include "hw/test/debug-exit.h"
#include "ioreq/machine.h"

struct flat_host;
struct gdb;
struct monitor;
struct qtest;
struct taps;
struct soft_host;
struct vcpus;
struct vnc;
struct xen;

struct keel {
    struct options o;
    int argc;
    char **argv; /* what o was parsed from */
    struct ev_loop *loop;
    struct backends be;
    struct machine *m;
    struct flat_host *flat; /* qtest, and machine "none" */
    struct soft_host *soft; /* tcg: memory and time of the machine */
    struct vcpus *vcpus;    /* tcg */
    struct ev_timer expiry; /* tcg: the machine's next timer */
    struct ev_post settle;  /* icount: the processors wait for the disks */
    struct xen *xen;
    struct xen_disks *xen_disks; /* PV back ends; NULL: none */
    struct xen_input *xen_input;
    struct vnc *vnc;
    struct gdb *gdb;
    struct monitor *monitors;
    struct qtest *qtest;
    struct taps *taps; /* recording */
    unsigned next_monitor;
    struct {
        enum { DUMP_NONE, DUMP_COMPLETED, DUMP_FAILED } state;
        uint64_t total;     /* bytes of guest memory */
    } dump;                 /* the last `dump-guest-memory` */
    unsigned monitor_cpu;   /* chosen by the monitor's `cpu` */
    unsigned mouse_buttons; /* as input-send-event left them */

    uint64_t cpu_here[8]; /* vCPUs that are plugged in, one bit each */
    char cpu_id[512][16]; /* ids of those plugged in later */

    struct ev_post power; /* a power event waits to be looked at */
    unsigned power_events;
    struct debug_exit_hook exit_hook;
    struct piix4_pm_eject eject_hook;
    uint32_t unplugging; /* PCI slots that device_del asked the guest to let go of */
    struct ev_fd signals;
    int exit_code;

    struct incoming *incoming;    /* incoming.c: waits for a state from a socket */
    bool migrate_events;          /* capability "events" */
    int64_t migrate_parameter[2]; /* qmp-migrate.c */
    int migrated;                 /* the last one: 1 done, -1 failed, 0 never tried */
    char migrate_error[512];
};

/* start.c: builds everything. 0, or -errno with e; keel_fini cleans up either way. */
int keel_start(struct keel *k, struct err *e);
/* Turns the loop until somebody asks for the end. */
void keel_run(struct keel *k);
void keel_fini(struct keel *k);

/* run.c: run states. The texts are QEMU's. */
const char *run_state_name(enum run_state s);
/* 0, or -EBUSY with e when the guest may not run (it is off, or its state has not arrived). */
int keel_cont(struct keel *k, struct err *e);
void keel_stop(struct keel *k);
/* A disk's error does: the run state tells. */
void keel_stop_for_error(struct keel *k);
/* guest: it asked for it itself; reason as in QMP's RESET event. */
void keel_reset(struct keel *k, bool guest, const char *reason);
/* Tells everybody and ends the loop; keel_fini then waits for the disks. */
void keel_quit(struct keel *k, bool guest, const char *reason);
void keel_powerdown(struct keel *k);
/* The NMI button. False where the processors are not ours. */
bool keel_nmi(struct keel *k);
/* Out of S3: everything but memory is reset. Nothing when the machine is not suspended. */
void keel_wakeup(struct keel *k);
/* Listens to the machine's power events. */
void keel_watch_power(struct keel *k);

/* save.c: 0, or -errno with e. */
int keel_save(struct keel *k, const char *filename, struct err *e);
/* Stops the machine and leaves it stopped when its state has gone, or (-EINPROGRESS) may have. uri: as
 * dm/channel.h has them. */
int keel_migrate(struct keel *k, const char *uri, struct err *e);
/* The same to fd, which is closed whatever happens: the other end waits for that. name is for messages. */
int keel_migrate_fd(struct keel *k, int fd, const char *name, struct err *e);
/* uri: the same. The machine is paused then and the disks are its own; from a socket that is later, and
 * incoming.c then lets it run as -S says, or ends the process. */
int keel_load_incoming(struct keel *k, const char *uri, struct err *e);
/* The same from fd, which is closed whatever happens. */
int keel_load_incoming_fd(struct keel *k, int fd, const char *name, struct err *e);
int keel_load(struct keel *k, const char *filename, struct err *e);
/* incoming.c: listens for one sender whose state is loaded. -ENOTSUP without e when uri is no socket's. */
int incoming_open(struct keel *k, const char *uri, struct err *e);
void incoming_close(struct keel *k);
/* save.c: the state in b becomes the machine's, which is paused then. 0, or -errno with e. */
int keel_state_arrived(struct keel *k, const struct state_buf *b, struct err *e);
/* Bytes: what no state of this machine exceeds. */
uint64_t keel_state_max(const struct keel *k);

/* cpus.c: the vCPUs as far as a device model knows them. */
bool cpu_present(const struct keel *k, unsigned cpu);
/* 0, or -errno with e: no such socket, already there, or id taken. */
int cpu_plug(struct keel *k, unsigned cpu, const char *id, struct err *e);

/* sandbox.c: gives up root directory, user and the way back; be's images stay writable to their
 * ends. 0, or -errno with e. */
int sandbox_enter(const struct options *o, const struct backends *be, struct err *e);

/* qtest.c */
int qtest_open(struct keel *k, struct err *e);
void qtest_close(struct keel *k);

#endif
