/* SPDX-License-Identifier: MIT */
/* dm/run.c - run states: who may run when, and what a power event means.
 *
 *   prelaunch --cont--> running <--cont/stop--> paused
 *   inmigrate --state has arrived--> running, or paused with -S
 *   running --power off, -no-shutdown--> shutdown
 *
 * Under Xen the guest's vCPUs are not ours: stopping means that virtual time stands still and no
 * back end completes. A guest that powers off or resets is reported to Xen by the host behind the
 * doors, and the toolstack decides.
 */
#include "dm/keel.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/board-cmos.h"
#include "dm/hotplug.h"
#include "dm/monitor.h"
#include "dm/qmp-block.h"
#include "dm/record.h"
#include "hw/acpi/piix4-pm.h"
#include "hw/pci/i440fx.h"
#include "hw/timer/mc146818.h"
#include "target/x86/vcpu.h"
#include "xen-glue/xen.h"

#include <errno.h>

enum { CMOS_SHUTDOWN_CODE = 0x0f, CMOS_RESUME_S3 = 0xfe };

const char *run_state_name(enum run_state s)
{
    static const char *const names[] = {
        [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running",   [RUN_PAUSED] = "paused",
        [RUN_INMIGRATE] = "inmigrate", [RUN_SHUTDOWN] = "shutdown", [RUN_SUSPENDED] = "suspended",
        [RUN_IO_ERROR] = "io-error",
    };
    return names[s];
}

/* Processors of our own go and stand with the machine. They are told without the lock, which one of
 * them may be waiting for; nothing else runs on this thread meanwhile. */
static void halt_processors(struct keel *k)
{
    if (k->vcpus) {
        machine_leave(k->m);
        vcpus_pause(k->vcpus);
        machine_enter(k->m);
    }
}

static void let_processors_run(struct keel *k)
{
    if (k->vcpus && machine_running(k->m)) {
        machine_leave(k->m);
        vcpus_resume(k->vcpus);
        machine_enter(k->m);
    }
}

int keel_cont(struct keel *k, struct err *e)
{
    switch (k->m->run_state) {
    case RUN_RUNNING:
        return 0;
    case RUN_SHUTDOWN:
        return err_set(e, -EBUSY, "Resetting the Virtual Machine is required");
    case RUN_INMIGRATE:
        return err_set(e, -EBUSY, "the machine waits for its state to arrive");
    default:
        machine_set_run_state(k->m, RUN_RUNNING);
        drives_retry(k);
        let_processors_run(k);
        networks_kick(&k->be);
        monitor_event(k, "RESUME", NULL);
        return 0;
    }
}

static void stop_as(struct keel *k, enum run_state s)
{
    bool was_running = machine_running(k->m);
    halt_processors(k);
    machine_set_run_state(k->m, s);
    if (was_running) {
        monitor_event(k, "STOP", NULL);
    }
}

static void stop_in_order(struct keel *k, enum run_state s)
{
    if (machine_running(k->m)) {
        halt_processors(k);
        backends_drain(&k->be);
        stop_as(k, s);
    }
}

void keel_stop(struct keel *k)
{
    stop_in_order(k, RUN_PAUSED);
}

void keel_stop_for_error(struct keel *k)
{
    stop_in_order(k, RUN_IO_ERROR);
}

void keel_reset(struct keel *k, bool guest, const char *reason)
{
    halt_processors(k);
    hotplug_reset(k);
    machine_reset(k->m);
    if (k->o.boot_once && k->be.pc.rtc) { /* that was the once */
        board_boot_order(k->be.pc.rtc, k->o.boot);
        k->o.boot_once = NULL;
    }
    if (k->m->run_state == RUN_SHUTDOWN) {
        machine_set_run_state(k->m, RUN_PAUSED);
    }
    let_processors_run(k);
    monitor_event(k, "RESET", json_pack("{s:b, s:s}", "guest", (int)guest, "reason", reason));
}

void keel_quit(struct keel *k, bool guest, const char *reason)
{
    monitor_event(k, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", (int)guest, "reason", reason));
    ev_quit(k->loop);
}

void keel_powerdown(struct keel *k)
{
    taps_command(k->taps, TAPS_POWER_BUTTON, 0);
    for (struct device *d = k->m->devices; d; d = d->next) {
        if (d->class == &piix4_pm_class) {
            piix4_pm_power_button(d);
        }
    }
    monitor_event(k, "POWERDOWN", NULL);
}

bool keel_nmi(struct keel *k)
{
    if (k->be.pc.apic) {
        taps_command(k->taps, TAPS_NMI, 0);
        apic_nmi(k->be.pc.apic);
    }
    return k->be.pc.apic != NULL;
}

static struct device *power_management(const struct keel *k)
{
    for (struct device *d = k->m->devices; d; d = d->next) {
        if (d->class == &piix4_pm_class) {
            return d;
        }
    }
    return NULL;
}

/* What the firmware does not set again when it resumes: the memory controller sleeps with the memory, so
 * what is shadowed stays so, or it would not find what it left in the BIOS area; and the IDE
 * controller's decoders (IDETIM) stay on. */
static const struct {
    uint8_t devfn, reg, n;
} kept_asleep[] = { { 0, I440FX_PAM0, I440FX_PAM_REGS }, { 1 << 3 | 1, 0x40, 5 } };

static void reset_but_for_what_sleeps(struct machine *m, struct taps *taps)
{
    uint8_t was[ARRAY_SIZE(kept_asleep)][8];
    for (unsigned k = 0; k < ARRAY_SIZE(kept_asleep); k++) {
        for (unsigned i = 0; i < kept_asleep[k].n; i++) {
            was[k][i] =
                (uint8_t)pci_cfg_read(m, 0, kept_asleep[k].devfn, kept_asleep[k].reg + i, 1);
        }
    }
    machine_reset(m);
    for (unsigned k = 0; k < ARRAY_SIZE(kept_asleep); k++) {
        for (unsigned i = 0; i < kept_asleep[k].n; i++) {
            unsigned reg = kept_asleep[k].reg + i;
            uint8_t devfn = kept_asleep[k].devfn;
            taps_command(taps, TAPS_CONFIG, (uint32_t)devfn << 16 | reg << 8 | was[k][i]);
            pci_cfg_write(m, 0, devfn, reg, 1, was[k][i]);
        }
    }
}

void keel_wakeup(struct keel *k)
{
    if (k->m->run_state != RUN_SUSPENDED) {
        return;
    }
    if (k->soft) { /* the firmware shall resume in place of booting */
        reset_but_for_what_sleeps(k->m, k->taps);
        taps_command(k->taps, TAPS_CMOS, CMOS_SHUTDOWN_CODE << 8 | CMOS_RESUME_S3);
        mc146818_set_byte(k->be.pc.rtc, CMOS_SHUTDOWN_CODE, CMOS_RESUME_S3);
        taps_command(k->taps, TAPS_WAKE, 0);
        piix4_pm_wake(power_management(k));
    }
    machine_set_run_state(k->m, RUN_RUNNING);
    let_processors_run(k);
    networks_kick(&k->be);
    if (k->xen) {
        xen_wakeup(k->xen);
    }
    monitor_event(k, "WAKEUP", NULL);
}

/* ---- what the guest does to its power ---- */

static void guest_off(struct keel *k, bool stay, const char *reason)
{
    if (!stay && !k->o.no_shutdown) {
        keel_quit(k, true, reason);
        return;
    }
    monitor_event(k, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", 1, "reason", reason));
    stop_as(k, RUN_SHUTDOWN);
}

static void power_events(void *opaque)
{
    struct keel *k = opaque;
    unsigned events = k->power_events;
    k->power_events = 0;
    if (events & 1u << POWER_CRASH) {
        guest_off(k, k->o.panic_pauses, "guest-panic");
    } else if (events & 1u << POWER_OFF) {
        guest_off(k, false, "guest-shutdown");
    } else if (events & 1u << POWER_RESET && k->o.no_reboot) {
        guest_off(k, false, "guest-reset");
    } else if (events & 1u << POWER_RESET) {
        keel_reset(k, true, "guest-reset");
    } else if (events & 1u << POWER_SUSPEND && machine_running(k->m)) {
        stop_as(k, RUN_SUSPENDED);
        monitor_event(k, "SUSPEND", NULL);
    }
}

/* Maybe inside a device callback: the machine cannot be reset underneath it, so the loop does. */
static void on_power(void *opaque, enum power_event ev)
{
    struct keel *k = opaque;
    k->power_events |= 1u << ev;
    if (k->vcpus) { /* no further than this instruction */
        vcpus_request_pause(k->vcpus);
    }
    ev_post(k->loop, &k->power);
}

void keel_watch_power(struct keel *k)
{
    k->power = (struct ev_post){ .cb = power_events, .opaque = k };
    k->m->on_power = on_power;
    k->m->on_power_opaque = k;
}
