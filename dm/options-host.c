/* SPDX-License-Identifier: MIT */
/* dm/options-host.c - -sandbox, -run-with, -overcommit and -msg. Reference: docs/cli.md. */
#include "dm/options-host.h"

#include "dm/base/err.h"

#include <errno.h>
#include <string.h>

/* ---- -sandbox ---- */

const struct opt_param opt_sandbox_params[] = {
    { "enable", "boolean", false },           { "obsolete", "string", false },
    { "elevateprivileges", "string", false }, { "spawn", "string", false },
    { "resourcecontrol", "string", false },   { 0 },
};

/* key=allow|deny; children says whether "children" is a third choice, which denies nothing here: a
 * program Keel starts never gains privileges. */
static int allow_or_deny(struct keyval *kv, const char *key, bool children, bool *denied,
                         struct err *e)
{
    const char *v = keyval_get(kv, key);
    if (!v || strcmp(v, "allow") == 0 || (children && strcmp(v, "children") == 0)) {
        return 0;
    }
    *denied = true;
    return strcmp(v, "deny") == 0 ? 0
                                  : err_set(e, -EINVAL, "%s=%s: expected allow%s", key, v,
                                            children ? ", deny or children" : " or deny");
}

int opt_take_sandbox(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    struct sandbox_policy *p = &o->sandbox;
    bool on = true, no_obsolete = false;
    const char *obsolete_calls = keyval_get(kv, "obsolete");
    (void)arg;
    *p = (struct sandbox_policy){ .given = true };
    if (keyval_bool(kv, "enable", &on, e) < 0 ||
        allow_or_deny(kv, "obsolete", false, &no_obsolete, e) < 0 ||
        allow_or_deny(kv, "elevateprivileges", true, &p->no_elevation, e) < 0 ||
        allow_or_deny(kv, "spawn", false, &p->no_spawn, e) < 0 ||
        allow_or_deny(kv, "resourcecontrol", false, &p->no_scheduling, e) < 0) {
        return -EINVAL;
    }
    p->off = !on;
    p->obsolete = obsolete_calls && !no_obsolete;
    return 0;
}

/* ---- -run-with ---- */

const struct opt_param opt_run_with_params[] = {
    { "chroot", "string", false },
    { "user", "string", false },
    { "async-teardown", "boolean", true },
    { "exit-with-parent", "boolean", true },
    { 0 },
};

int opt_take_run_with(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    const char *dir = keyval_get(kv, "chroot"), *user = keyval_get(kv, "user");
    (void)arg, (void)e;
    o->chroot = dir ? dir : o->chroot;
    o->runas = user ? user : o->runas;
    return 0;
}

/* ---- -overcommit, -msg ---- */

const struct opt_param opt_overcommit_params[] = {
    { "mem-lock", "boolean", false },
    { "cpu-pm", "boolean", false },
    { 0 },
};

int opt_take_overcommit(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    bool cpu_pm = false;
    (void)arg;
    if (keyval_bool(kv, "mem-lock", &o->lock_memory, e) < 0 ||
        keyval_bool(kv, "cpu-pm", &cpu_pm, e) < 0) {
        return -EINVAL;
    }
    return cpu_pm ? err_not_yet(e, "cpu-pm=on") : 0;
}

const struct opt_param opt_msg_params[] = {
    { "timestamp", "boolean", false },
    { "guest-name", "boolean", false },
    { 0 },
};

int opt_take_msg(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)arg;
    return keyval_bool(kv, "timestamp", &o->log_time, e) < 0
               ? -EINVAL
               : keyval_bool(kv, "guest-name", &o->log_guest, e);
}
