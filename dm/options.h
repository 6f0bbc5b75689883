/* SPDX-License-Identifier: MIT */
/* dm/options.h - the command line, parsed.
 *
 * Every x86 option of QEMU is in one table (options-table.c) as one Keel has or one it knows but
 * does not have yet. options_parse turns argv into a struct options and opens nothing: files,
 * sockets and devices follow later, so that a wrong command line changes nothing.
 */
#ifndef DM_OPTIONS_H
#define DM_OPTIONS_H

#include "dm/keyval.h"
#include "tcg/tcg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct text;

enum accel { ACCEL_UNSET, ACCEL_XEN, ACCEL_QTEST, ACCEL_TCG };
enum machine_kind { MACHINE_PC, MACHINE_XENFV, MACHINE_NONE };
/* What `keel` does instead of running a machine. */
enum opt_action {
    ACT_RUN,
    ACT_HELP,
    ACT_VERSION,
    ACT_MACHINE_HELP,
    ACT_DEVICE_HELP,
    ACT_ACCEL_HELP,
    ACT_LOG_HELP,
    ACT_CPU_HELP
};

struct opt_list {
    struct keyval **kv;
    size_t n;
};

/* -sandbox; zero-initialised: on, and refusing only what nothing here has use for. */
struct sandbox_policy {
    bool given, off;
    bool obsolete; /* long dead system calls stay */
    bool no_elevation, no_spawn, no_scheduling;
};

struct options {
    enum opt_action action;
    enum machine_kind machine;
    enum accel accel;
    uint64_t max_ram_below_4g; /* bytes, 0: the board's default */
    bool acpi;
    uint64_t ram_bytes;
    uint32_t cpus, max_cpus;
    uint32_t sockets, cores, threads; /* -smp; 0: as it comes */
    const char *cpu_model;            /* -cpu */
    bool single_thread;               /* -accel tcg,thread=single */
    bool icount, icount_nosleep;      /* -icount, sleep=off */
    int icount_shift;                 /* ICOUNT_AUTO, or log2 of nanoseconds an instruction */
    unsigned tcg_dump, cpu_log;       /* -d: TCG_DUMP_*, VCPU_LOG_* */
    struct tcg_range log_only[16];    /* -dfilter */
    unsigned log_onlys;
    unsigned tcg_passes;  /* -keel-pass: enum ir_pass */
    bool tcg_interp;      /* keel-engine=interp */
    bool perf_map;        /* -keel-perfmap */
    uint64_t tb_bytes;    /* -accel tcg,tb-size=; 0: by the size of memory */
    bool no_ram_in_core;  /* -machine dump-guest-core=off */
    bool no_smm, no_hpet; /* -machine smm=off, hpet=off */
    const char *bios;
    const char *kernel, *initrd, *append;
    const char *boot_once; /* drive letters for the first boot */
    const char *splash;    /* an image for the firmware to show */
    uint32_t splash_ms;    /* and how long its menu waits, 0: its own default */
    bool boot_menu, boot_strict;
    bool has_reboot_timeout;
    uint32_t reboot_timeout; /* ms, UINT32_MAX: never */
    enum { RTC_UTC, RTC_LOCAL, RTC_DATE } rtc_base;
    int64_t rtc_date;            /* seconds since the epoch */
    bool rtc_vm_clock, rtc_slew; /* clock= is not the host's; driftfix=slew */
    bool panic_pauses;
    const char *name, *uuid;
    long domid; /* -1: not given */
    bool domid_restrict;
    const char *incoming;
    const char *loadvm;
    bool stopped; /* -S */
    bool no_shutdown, no_reboot, snapshot;
    const char *boot; /* drive letters */
    bool nodefaults, nographic;
    const char *vga; /* -vga, NULL: the board's default */
    const char *keymap;
    const char *audiodev; /* id of the one that is silent */
    const char *chroot, *runas;
    struct sandbox_policy sandbox;
    bool lock_memory;         /* -overcommit mem-lock=on */
    bool log_time, log_guest; /* -msg */
    const char *pidfile;
    const char *log_file;
    bool daemonize;
    const char *record;
    const char *qtest, *qtest_log;

    /* In the order typed. */
    struct opt_list chardevs, gdbs, mons, monitors, qmps, serials, debugcons, vncs, blockdevs,
        drives, devices, globals, add_fds, data_dirs, fw_cfgs, smbioses, option_roms, netdevs, nics,
        nets, filters, secrets, tls, throttles;
    struct opt_list all; /* owns every keyval */
};

/* Parses argv[1..]. 0, or -EINVAL with e holding the one line to print. The options keep pointers
 * into argv and live until options_free. */
int options_parse(struct options *o, int argc, char **argv, struct err *e);
void options_free(struct options *o);
void options_help(void);
/* What -d and the monitor's `log` take: adds TCG_DUMP_* and VCPU_LOG_* of a list of names. 0, or -errno with e. */
int options_log_items(const char *list, unsigned *dump, unsigned *log, struct err *e);
/* All names with what they are, each line ended by eol. */
void options_log_help(struct text *out, const char *eol);

/* For `query-command-line-options`. */
struct opt_param {
    const char *name, *type; /* "string", "boolean", "number", "size" */
    bool missing;            /* known, but Keel does not have it yet */
};
enum opt_json { OPT_NO_JSON, OPT_JSON, OPT_JSON_NODES }; /* NODES: lists as keys with numbers */
struct opt_def {
    const char *name;
    bool takes_arg;
    bool have;
    const struct opt_param *params; /* ends with a NULL name; NULL: not checked here */
    const char *implied;            /* key of a bare first word */
    int (*take)(struct options *o, const char *arg, struct keyval *kv, struct err *e);
    const char *help;   /* "ARG  what it does"; NULL for those Keel lacks */
    enum opt_json json; /* an argument that begins with { is an object */
};
extern const struct opt_def opt_table[]; /* sorted by name, ends with a NULL name */
const struct opt_def *opt_find(const char *name);

/* Checks kv's keys against an option's parameters, naming a missing or unknown one. */
int opt_check_params(const struct opt_def *d, const struct keyval *kv, struct err *e);

void opt_list_add(struct opt_list *l, struct keyval *kv);
/* An argument of -object as it may be shown and kept: without what is secret. malloc'd. */
char *opt_public_object(const char *arg);
/* Parses text into a keyval that o owns. */
struct keyval *opt_keyval(struct options *o, const char *text, const char *implied);

/* A device name that QEMU has, whether Keel has it or not. */
bool device_known(const char *name);
/* The class behind a short name that QEMU also takes ("ahci"); any other name as it is. */
const char *device_full_name(const char *name);
/* Says that Keel lacks the device, or that nobody has one of that name; returns -ENOENT. */
int device_missing(const char *name, struct err *e);

#endif
