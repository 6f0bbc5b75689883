/* SPDX-License-Identifier: MIT */
/* dm/options.c - walks argv along opt_table and checks what only the whole line can tell.
 *
 * Both -opt and --opt are taken. Reference: docs/cli.md.
 */
#include "dm/options.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval-json.h"
#include "dm/options-pc.h"
#include "ioreq/cpu.h"
#include "tcg/ir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *key, const void *def)
{
    return strcmp(key, ((const struct opt_def *)def)->name);
}

const struct opt_def *opt_find(const char *name)
{
    size_t n = 0;
    while (opt_table[n].name) {
        n++;
    }
    return bsearch(name, opt_table, n, sizeof(opt_table[0]), by_name);
}

static const struct opt_param *find_param(const struct opt_def *d, const char *key)
{
    for (const struct opt_param *p = d->params; p->name; p++) {
        if (strcmp(p->name, key) == 0) {
            return p;
        }
    }
    return NULL;
}

int opt_check_params(const struct opt_def *d, const struct keyval *kv, struct err *e)
{
    for (size_t i = 0; d->params && i < kv->n; i++) {
        const struct keyval_pair *pair = &kv->pair[i];
        const struct opt_param *p = find_param(d, pair->key);
        if (!p && pair->bare && strncmp(pair->key, "no", 2) == 0) {
            p = find_param(d, pair->key + 2);
        }
        if (!p) {
            return err_set(e, -EINVAL, "unknown parameter '%s'", pair->key);
        }
        if (p->missing) {
            return err_not_yet(e, pair->key);
        }
    }
    return 0;
}

void opt_list_add(struct opt_list *l, struct keyval *kv)
{
    l->kv = xrealloc(l->kv, (l->n + 1) * sizeof(struct keyval *));
    l->kv[l->n++] = kv;
}

struct keyval *opt_keyval(struct options *o, const char *text, const char *implied)
{
    struct keyval *kv = keyval_parse(text, implied);
    opt_list_add(&o->all, kv);
    return kv;
}

char *opt_public_object(const char *arg)
{
    struct err e;
    struct keyval *kv =
        arg[0] == '{' ? keyval_parse_json(arg, KEYVAL_REPEATED, &e) : keyval_parse(arg, "qom-type");
    const char *type = kv ? keyval_get(kv, "qom-type") : NULL;
    const char *id = kv ? keyval_get(kv, "id") : NULL;
    char *shown = type && strcmp(type, "secret") != 0 ? xstrdup(arg)
                  : id                                ? xasprintf("secret,id=%s", id)
                                                      : xstrdup(type ? "secret" : "...");

    keyval_free(kv);
    return shown;
}

static struct keyval *parse_argument(struct options *o, const struct opt_def *d, const char *arg,
                                     struct err *e)
{
    if (arg[0] != '{' || d->json == OPT_NO_JSON) {
        return opt_keyval(o, arg, d->implied);
    }
    bool nodes = d->json == OPT_JSON_NODES;
    struct keyval *kv = keyval_parse_json(arg, nodes ? KEYVAL_NUMBERED : KEYVAL_REPEATED, e);
    if (kv) {
        opt_list_add(&o->all, kv);
    }
    return kv;
}

static int take_option(struct options *o, const struct opt_def *d, const char *arg, struct err *e)
{
    struct keyval *kv = NULL;
    if (d->takes_arg) {
        if (d->params && !*arg) {
            return err_set(e, -EINVAL, "empty");
        }
        kv = parse_argument(o, d, arg, e);
        int ret = kv ? opt_check_params(d, kv, e) : e->code;
        if (ret < 0) {
            return ret;
        }
    }
    return d->take(o, arg, kv, e);
}

static int parse_one(struct options *o, int argc, char **argv, int *at, struct err *e)
{
    const char *word = argv[*at], *name = word + (word[0] == '-') + (word[0] && word[1] == '-');
    if (word[0] != '-' || !*name) {
        return err_set(e, -EINVAL, "%s: not an option (a disk goes with -drive or -hda)", word);
    }
    const struct opt_def *d = opt_find(name);
    if (!d) {
        return err_set(e, -EINVAL, "-%s: unknown option", name);
    }
    if (!d->have) {
        return err_set(e, -EINVAL, "-%s: known, but Keel does not have it yet", name);
    }
    const char *arg = NULL;
    if (d->takes_arg) {
        if (*at + 1 >= argc) {
            return err_set(e, -EINVAL, "-%s: needs an argument", name);
        }
        arg = argv[++*at];
    }
    if (take_option(o, d, arg, e) < 0) {
        bool object = strcmp(d->name, "object") == 0;
        char *shown = object ? opt_public_object(arg) : xstrdup(arg ? arg : "");
        err_prefix(e, "-%s%s%s", name, arg ? " " : "", shown);
        free(shown);
        return e->code;
    }
    return 0;
}

static int check_machine(struct options *o, struct err *e)
{
    if (o->accel == ACCEL_UNSET && o->machine == MACHINE_XENFV) {
        o->accel = ACCEL_XEN;
    }
    if (o->accel == ACCEL_UNSET && o->qtest) {
        o->accel = ACCEL_QTEST;
    }
    if (o->machine == MACHINE_NONE) {
        return 0;
    }
    if (o->accel == ACCEL_UNSET) {
        o->accel = ACCEL_TCG;
    }
    if (o->machine == MACHINE_XENFV && o->accel != ACCEL_XEN) {
        return err_set(e, -EINVAL, "-machine xenfv: runs with accel=xen only");
    }
    if (o->accel == ACCEL_TCG && o->max_cpus > CPU_MAX) {
        return err_set(e, -EINVAL, "-smp: accel=tcg runs at most %u CPUs", CPU_MAX);
    }
    if (o->icount && o->accel != ACCEL_TCG) {
        return err_set(e, -EINVAL, "-icount: runs with accel=tcg only");
    }
    if (o->boot_once && o->record) {
        return err_set(e, -EINVAL, "-keel-record: known without -boot once= only");
    }
    if (o->loadvm && o->record) {
        return err_set(e, -EINVAL,
                       "-keel-record: a recording begins with the machine, not with -loadvm");
    }
    if (o->accel == ACCEL_XEN && o->domid < 0) {
        return err_set(e, -EINVAL, "-xen-domid: missing, accel=xen needs it");
    }
    return 0;
}

/* -sandbox spawn=deny against back ends that start programs when the guest asks. */
static int check_spawn(const struct options *o, struct err *e)
{
    const struct opt_list *lists[] = { &o->netdevs, &o->nics, &o->nets };
    for (size_t i = 0; o->sandbox.no_spawn && i < ARRAY_SIZE(lists); i++) {
        for (size_t n = 0; n < lists[i]->n; n++) {
            if (keyval_get(lists[i]->kv[n], "smb")) {
                return err_set(e, -EINVAL,
                               "-sandbox spawn=deny: smb= starts a server for the guest");
            }
        }
    }
    return 0;
}

static int check_whole(struct options *o, struct err *e)
{
    if (o->domid_restrict && o->domid < 0) {
        return err_set(e, -EINVAL, "-xen-domid-restrict: needs -xen-domid");
    }
    if (o->max_cpus == 0) {
        o->max_cpus = o->cpus;
    }
    if (o->domid_restrict && !o->sandbox.given) { /* a restricted process starts no programs */
        o->sandbox.no_spawn = true;
    }
    if (o->cpus > o->max_cpus) {
        return err_set(e, -EINVAL, "-smp: %u CPUs are more than maxcpus=%u", o->cpus, o->max_cpus);
    }
    if ((o->initrd || o->append) && !o->kernel) {
        return err_set(e, -EINVAL, "-%s: needs -kernel", o->initrd ? "initrd" : "append");
    }
    int ret = check_machine(o, e);
    if (ret == 0 && o->accel == ACCEL_TCG && o->nographic && !o->nodefaults && !o->serials.n &&
        !o->monitors.n && !o->mons.n) { /* the terminal is all there is */
        opt_list_add(&o->serials, opt_keyval(o, "mon:stdio", NULL));
    }
    if (ret == 0) {
        ret = opt_check_pc(o, e);
    }
    if (ret == 0) {
        ret = check_spawn(o, e);
    }
    if (ret == 0 && o->kernel && o->accel != ACCEL_TCG && o->accel != ACCEL_XEN) {
        return err_set(e, -EINVAL, "-kernel: runs with accel=tcg or xen only");
    }
    return ret;
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
    *o = (struct options){ .domid = -1, .acpi = true, .ram_bytes = 128ull << 20, .cpus = 1 };
    o->tcg_passes = PASS_ALL;
    for (int i = 1; i < argc && o->action == ACT_RUN; i++) {
        int ret = parse_one(o, argc, argv, &i, e);
        if (ret < 0) {
            return ret;
        }
    }
    return o->action == ACT_RUN ? check_whole(o, e) : 0;
}

void options_free(struct options *o)
{
    struct opt_list *lists[] = { &o->chardevs,  &o->mons,      &o->monitors, &o->qmps,
                                 &o->serials,   &o->debugcons, &o->vncs,     &o->blockdevs,
                                 &o->drives,    &o->devices,   &o->globals,  &o->add_fds,
                                 &o->data_dirs, &o->fw_cfgs,   &o->smbioses, &o->option_roms,
                                 &o->netdevs,   &o->nics,      &o->nets,     &o->filters,
                                 &o->throttles, &o->secrets,   &o->tls,      &o->gdbs };
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        free(lists[i]->kv);
    }
    for (size_t i = 0; i < o->all.n; i++) {
        keyval_free(o->all.kv[i]);
    }
    free(o->all.kv);
}

void options_help(void)
{
    printf("Keel " KEEL_VERSION ", a device model for Xen\nusage: keel [options]\n\n");
    for (const struct opt_def *d = opt_table; d->name; d++) {
        if (d->have) {
            printf("-%s %s\n", d->name, d->help);
        }
    }
    printf("\nSee keel(1).\n");
}
