/* SPDX-License-Identifier: MIT */
/* dm/options-machine.c - -machine, -accel, -cpu, -m and -smp: what machine it is. Reference: docs/cli.md. */
#include "dm/options-machine.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/options-tcg.h"

#include <errno.h>
#include <string.h>

int opt_take_cpu(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)kv, (void)e;
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        o->action = ACT_CPU_HELP;
    }
    o->cpu_model = arg;
    return 0;
}

const struct opt_param opt_accel_params[] = {
    { "accel", "string", false },         { "thread", "string", false },
    { "tb-size", "number", false },       { "keel-engine", "string", false },
    { "kernel-irqchip", "string", true }, { 0 },
};

/* accel=a:b:c lists choices in order; the first that Keel has wins, as in QEMU. */
static int set_accel(struct options *o, const char *list, struct err *e)
{
    size_t len;
    for (const char *p = list; *p; p += len + (p[len] == ':')) {
        len = strcspn(p, ":");
        if (len == 3 && strncmp(p, "xen", len) == 0) {
            o->accel = ACCEL_XEN;
            return 0;
        }
        if (len == 5 && strncmp(p, "qtest", len) == 0) {
            o->accel = ACCEL_QTEST;
            return 0;
        }
        if (len == 3 && strncmp(p, "tcg", len) == 0) {
            o->accel = ACCEL_TCG;
            return 0;
        }
    }
    static const char *const known[] = { "kvm", "hax", "whpx", "hvf", "nvmm", "mshv" };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strncmp(list, known[i], strlen(known[i])) == 0) {
            return err_not_yet(e, list);
        }
    }
    return err_set(e, -EINVAL, "%s: unknown accelerator", list);
}

int opt_take_accel(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    if (strcmp(arg, "help") == 0) {
        o->action = ACT_ACCEL_HELP;
        return 0;
    }
    const char *name = keyval_get(kv, "accel"), *thread = keyval_get(kv, "thread");
    if (!name) {
        return err_set(e, -EINVAL, "accel: missing");
    }
    if (thread && strcmp(thread, "single") != 0 && strcmp(thread, "multi") != 0) {
        return err_set(e, -EINVAL, "thread=%s: expected single or multi", thread);
    }
    const char *engine = keyval_get(kv, "keel-engine");
    if (engine && opt_take_engine(o, engine, e) < 0) {
        return -EINVAL;
    }
    o->single_thread = thread && strcmp(thread, "single") == 0;
    int ret = keyval_size(kv, "tb-size", 1ull << 20, &o->tb_bytes, e);
    if (ret == 0 && o->tb_bytes && (o->tb_bytes < 1ull << 20 || o->tb_bytes > 1ull << 31)) {
        ret = err_set(e, -EINVAL, "tb-size: expected 1 to 2048 (MiB)");
    }
    return ret < 0 ? ret : set_accel(o, name, e);
}

const struct opt_param opt_machine_params[] = {
    { "type", "string", false },
    { "accel", "string", false },
    { "suppress-vmdesc", "boolean", false },
    { "max-ram-below-4g", "size", false },
    { "acpi", "boolean", false },
    { "igd-passthru", "boolean", true },
    { "kernel-irqchip", "string", true },
    { "vmport", "string", true },
    { "dump-guest-core", "boolean", false },
    { "mem-merge", "boolean", true },
    { "usb", "boolean", false },
    { "hmat", "boolean", true },
    { "smm", "string", false },
    { "hpet", "boolean", false },
    { "pflash0", "string", true },
    { "pflash1", "string", true },
    { "memory-backend", "string", true },
    { "memory-encryption", "string", true },
    { "graphics", "boolean", true },
    { 0 },
};

static int set_machine(struct options *o, const char *name, struct err *e)
{
    static const struct {
        const char *name;
        enum machine_kind kind;
    } have[] = { { "xenfv", MACHINE_XENFV }, { "pc", MACHINE_PC }, { "none", MACHINE_NONE } };
    if (strncmp(name, "pc-i440fx-", 10) == 0) { /* QEMU's versions of the same board */
        o->machine = MACHINE_PC;
        return 0;
    }
    static const char *const known[] = { "pc-q35-", "q35",    "isapc", "microvm",
                                         "xenpv",   "xenpvh", "xenfv-" };
    for (size_t i = 0; i < ARRAY_SIZE(have); i++) {
        if (strcmp(name, have[i].name) == 0) {
            o->machine = have[i].kind;
            return 0;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strncmp(name, known[i], strlen(known[i])) == 0) {
            return err_not_yet(e, name);
        }
    }
    return err_set(e, -EINVAL, "%s: unknown machine (-machine help lists them)", name);
}

/* usb=off asks for what Keel has. dump-guest-core=off keeps guest RAM out of core files. */
static int machine_memory(struct options *o, struct keyval *kv, struct err *e)
{
    bool usb = false, dump = true;
    if (keyval_bool(kv, "usb", &usb, e) < 0 || keyval_bool(kv, "dump-guest-core", &dump, e) < 0) {
        return -EINVAL;
    }
    o->no_ram_in_core = !dump;
    return usb ? err_not_yet(e, "usb=on") : 0;
}

static int machine_chips(struct options *o, struct keyval *kv, struct err *e)
{
    const char *smm = keyval_get(kv, "smm");
    bool hpet = !o->no_hpet, on = !o->no_smm;
    if (smm && strcmp(smm, "auto") != 0 && keyval_bool(kv, "smm", &on, e) < 0) {
        return -EINVAL;
    }
    int ret = keyval_bool(kv, "hpet", &hpet, e);
    o->no_hpet = !hpet;
    o->no_smm = !on;
    return ret;
}

int opt_take_machine(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    const char *type = keyval_get(kv, "type"), *accel = keyval_get(kv, "accel");
    bool vmdesc; /* Keel's stream has no such appendix */
    if (type && (strcmp(type, "help") == 0 || strcmp(type, "?") == 0)) {
        o->action = ACT_MACHINE_HELP;
        return 0;
    }
    (void)arg;
    int ret = type ? set_machine(o, type, e) : 0;
    if (ret == 0 && accel) {
        ret = set_accel(o, accel, e);
    }
    if (ret == 0) {
        ret = keyval_bool(kv, "suppress-vmdesc", &vmdesc, e);
    }
    if (ret == 0) {
        ret = keyval_bool(kv, "acpi", &o->acpi, e);
    }
    if (ret == 0) {
        ret = machine_chips(o, kv, e);
    }
    if (ret == 0) {
        ret = machine_memory(o, kv, e);
    }
    if (ret == 0) {
        ret = keyval_size(kv, "max-ram-below-4g", 1, &o->max_ram_below_4g, e);
    }
    if (ret == 0 && o->max_ram_below_4g > 1ull << 32) {
        ret = err_set(e, -EINVAL, "max-ram-below-4g: more than 4G");
    }
    return ret;
}

const struct opt_param opt_memory_params[] = {
    { "size", "size", false },
    { "slots", "number", true },
    { "maxmem", "size", true },
    { 0 },
};

int opt_take_memory(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)arg;
    int ret = keyval_size(kv, "size", 1ull << 20, &o->ram_bytes, e);
    if (ret == 0 && (o->ram_bytes < 1ull << 20 || o->ram_bytes > 1ull << 44)) {
        ret = err_set(e, -EINVAL, "expected 1M to 16T");
    }
    return ret;
}

const struct opt_param opt_smp_params[] = {
    { "cpus", "number", false },    { "maxcpus", "number", false },
    { "sockets", "number", false }, { "dies", "number", true },
    { "clusters", "number", true }, { "cores", "number", false },
    { "threads", "number", false }, { 0 },
};

/* QEMU's rule: what is left out follows from the rest; sockets are what varies last. */
static int topology(struct options *o, struct err *e)
{
    uint64_t cores = o->cores ? o->cores : 1, threads = o->threads ? o->threads : 1;
    uint64_t all = o->max_cpus ? o->max_cpus : o->cpus;
    if (!o->sockets && !o->cores && !o->threads) {
        return 0; /* every vCPU is a socket of its own */
    }
    uint64_t sockets = o->sockets ? o->sockets : all / (cores * threads);
    if (!o->cores && o->sockets) {
        cores = all / (sockets * threads);
    }
    if (!o->threads && o->sockets && o->cores) {
        threads = all / (sockets * cores);
    }
    if (sockets * cores * threads != all) {
        return err_set(e, -EINVAL,
                       "sockets (%llu) * cores (%llu) * threads (%llu) is not the number of CPUs "
                       "(%llu)",
                       (unsigned long long)sockets, (unsigned long long)cores,
                       (unsigned long long)threads, (unsigned long long)all);
    }
    o->sockets = (uint32_t)sockets;
    o->cores = (uint32_t)cores;
    o->threads = (uint32_t)threads;
    return 0;
}

int opt_take_smp(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    static const char *const keys[] = { "cpus", "maxcpus", "sockets", "cores", "threads" };
    uint32_t *const to[] = { &o->cpus, &o->max_cpus, &o->sockets, &o->cores, &o->threads };
    (void)arg;
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        int ret = keyval_u32(kv, keys[i], to[i], e);
        if (ret < 0) {
            return ret;
        }
        if (keyval_get(kv, keys[i]) && (*to[i] < 1 || *to[i] > 512)) {
            return err_set(e, -EINVAL, "expected 1 to 512 CPUs");
        }
    }
    if (!keyval_get(kv, "cpus")) {
        uint64_t all = (uint64_t)(o->sockets ? o->sockets : 1) * (o->cores ? o->cores : 1) *
                       (o->threads ? o->threads : 1);
        o->cpus = o->max_cpus ? o->max_cpus : all <= 512 ? (uint32_t)all : 513;
    }
    if (o->cpus > 512) {
        return err_set(e, -EINVAL, "expected 1 to 512 CPUs");
    }
    return topology(o, e);
}
