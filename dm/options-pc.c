/* SPDX-License-Identifier: MIT */
/* dm/options-pc.c - -boot, -rtc, -action, -smbios and -fw_cfg. Reference: docs/cli.md. */
#include "dm/options-pc.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* ---- -boot ---- */

const struct opt_param opt_boot_params[] = {
    { "order", "string", false },       { "once", "string", false },
    { "menu", "boolean", false },       { "splash", "string", false },
    { "splash-time", "number", false }, { "reboot-timeout", "number", false },
    { "strict", "boolean", false },     { 0 },
};

static int check_letters(const char *key, const char *order, struct err *e)
{
    unsigned seen = 0;
    for (const char *p = order; p && *p; p++) {
        if (*p < 'a' || *p > 'p') {
            return err_set(e, -EINVAL, "%s=%s: drive letters go from a to p", key, order);
        }
        if (seen & 1u << (*p - 'a')) {
            return err_set(e, -EINVAL, "%s=%s: '%c' comes twice", key, order, *p);
        }
        seen |= 1u << (*p - 'a');
    }
    return 0;
}

/* -1 (never) or 0 to 65535 ms. */
static int reboot_timeout(struct options *o, const char *text, struct err *e)
{
    uint64_t v;
    o->has_reboot_timeout = true;
    o->reboot_timeout = UINT32_MAX;
    if (strcmp(text, "-1") == 0) {
        return 0;
    }
    if (parse_u64(text, 0xffff, &v) < 0) {
        return err_set(e, -EINVAL, "reboot-timeout=%s: expected -1 to 65535", text);
    }
    o->reboot_timeout = (uint32_t)v;
    return 0;
}

int opt_take_boot(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    const char *order = keyval_get(kv, "order"), *once = keyval_get(kv, "once");
    const char *timeout = keyval_get(kv, "reboot-timeout"), *splash = keyval_get(kv, "splash");
    (void)arg;
    if (check_letters("order", order, e) < 0 || check_letters("once", once, e) < 0 ||
        (timeout && reboot_timeout(o, timeout, e) < 0) ||
        keyval_bool(kv, "menu", &o->boot_menu, e) < 0 ||
        keyval_bool(kv, "strict", &o->boot_strict, e) < 0 ||
        keyval_u32(kv, "splash-time", &o->splash_ms, e) < 0) {
        return -EINVAL;
    }
    if (o->splash_ms > 0xffff) {
        return err_set(e, -EINVAL, "splash-time=%u: expected 0 to 65535", o->splash_ms);
    }
    o->boot = order ? order : o->boot;
    o->boot_once = once ? once : o->boot_once;
    o->splash = splash ? splash : o->splash;
    return 0;
}

/* ---- -rtc ---- */

const struct opt_param opt_rtc_params[] = {
    { "base", "string", false },
    { "clock", "string", false },
    { "driftfix", "string", false },
    { 0 },
};

/* "2026-01-31" or "2026-01-31T12:30:00", UTC. */
static bool parse_date(const char *text, int64_t *seconds)
{
    static const char *const formats[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d" };
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct tm tm = { 0 };
        const char *end = strptime(text, formats[i], &tm);
        if (end && !*end) {
            *seconds = timegm(&tm);
            return true;
        }
    }
    return false;
}

static int rtc_base(struct options *o, const char *base, struct err *e)
{
    o->rtc_base = strcmp(base, "utc") == 0         ? RTC_UTC
                  : strcmp(base, "localtime") == 0 ? RTC_LOCAL
                                                   : RTC_DATE;
    if (o->rtc_base == RTC_DATE && !parse_date(base, &o->rtc_date)) {
        return err_set(e, -EINVAL,
                       "base=%s: expected utc, localtime, or a date as 2026-01-31T12:30:00", base);
    }
    return 0;
}

int opt_take_rtc(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    const char *base = keyval_get(kv, "base"), *clock = keyval_get(kv, "clock");
    const char *drift = keyval_get(kv, "driftfix");
    (void)arg;
    if (base && rtc_base(o, base, e) < 0) {
        return -EINVAL;
    }
    if (clock && strcmp(clock, "host") != 0 && strcmp(clock, "rt") != 0 &&
        strcmp(clock, "vm") != 0) {
        return err_set(e, -EINVAL, "clock=%s: expected host, rt or vm", clock);
    }
    if (drift && strcmp(drift, "none") != 0 && strcmp(drift, "slew") != 0) {
        return err_set(e, -EINVAL, "driftfix=%s: expected none or slew", drift);
    }
    o->rtc_vm_clock = clock && strcmp(clock, "host") != 0;
    o->rtc_slew = drift && strcmp(drift, "slew") == 0;
    return 0;
}

/* ---- -action ---- */

const struct opt_param opt_action_params[] = {
    { "reboot", "string", false },
    { "shutdown", "string", false },
    { "panic", "string", false },
    { "watchdog", "string", true },
    { 0 },
};

/* Which of two words value is; -EINVAL for neither. */
static int choose(struct keyval *kv, const char *key, const char *no, const char *yes, bool *out,
                  struct err *e)
{
    const char *v = keyval_get(kv, key);
    if (!v) {
        return 0;
    }
    *out = strcmp(v, yes) == 0;
    return *out || strcmp(v, no) == 0
               ? 0
               : err_set(e, -EINVAL, "%s=%s: expected %s or %s", key, v, no, yes);
}

int opt_take_action(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)arg;
    int ret = choose(kv, "reboot", "reset", "shutdown", &o->no_reboot, e);
    if (ret == 0) {
        ret = choose(kv, "shutdown", "poweroff", "pause", &o->no_shutdown, e);
    }
    return ret ? ret : choose(kv, "panic", "shutdown", "pause", &o->panic_pauses, e);
}

/* ---- -smbios, -fw_cfg ---- */

/* Which keys go with which type the tables themselves say (smbios.c). */
const struct opt_param opt_smbios_params[] = {
    { "file", "string", false },
    { "type", "number", false },
    { "vendor", "string", false },
    { "version", "string", false },
    { "date", "string", false },
    { "release", "string", false },
    { "uefi", "boolean", false },
    { "manufacturer", "string", false },
    { "product", "string", false },
    { "serial", "string", false },
    { "uuid", "string", false },
    { "sku", "string", false },
    { "family", "string", false },
    { "asset", "string", false },
    { "location", "string", false },
    { "sock_pfx", "string", false },
    { "part", "string", false },
    { "max-speed", "number", false },
    { "current-speed", "number", false },
    { "processor-id", "number", true },
    { "processor-family", "number", true },
    { "value", "string", false },
    { "path", "string", true },
    { "loc_pfx", "string", false },
    { "bank", "string", false },
    { "speed", "number", false },
    { 0 },
};

int opt_take_smbios(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)arg;
    if (!keyval_get(kv, "file") == !keyval_get(kv, "type")) {
        return err_set(e, -EINVAL, "expected either file= or type=");
    }
    opt_list_add(&o->smbioses, kv);
    return 0;
}

const struct opt_param opt_fw_cfg_params[] = {
    { "name", "string", false },
    { "file", "string", false },
    { "string", "string", false },
    { "gen_id", "string", true },
    { 0 },
};

int opt_take_fw_cfg(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)arg;
    if (!keyval_get(kv, "name")) {
        return err_set(e, -EINVAL, "name: missing");
    }
    if (!keyval_get(kv, "file") == !keyval_get(kv, "string")) {
        return err_set(e, -EINVAL, "expected either file= or string=");
    }
    opt_list_add(&o->fw_cfgs, kv);
    return 0;
}

const struct opt_param opt_option_rom_params[] = {
    { "romfile", "string", false },
    { "bootindex", "number", false },
    { 0 },
};

int opt_take_option_rom(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)arg;
    if (!keyval_get(kv, "romfile")) {
        return err_set(e, -EINVAL, "romfile: missing");
    }
    opt_list_add(&o->option_roms, kv);
    return 0;
}

/* ---- together with the rest ---- */

int opt_check_pc(const struct options *o, struct err *e)
{
    if (o->accel == ACCEL_TCG || o->machine == MACHINE_NONE) {
        return 0;
    }
    if (o->rtc_base != RTC_UTC || o->rtc_vm_clock || o->rtc_slew) {
        return err_set(e, -EINVAL, "-rtc: only base=utc, where the clock is not Keel's");
    }
    if (o->boot_once || o->boot_menu || o->boot_strict || o->splash || o->splash_ms ||
        o->has_reboot_timeout) {
        return err_set(e, -EINVAL, "-boot: only order=, where the firmware is not Keel's");
    }
    if (o->smbioses.n || o->fw_cfgs.n || o->option_roms.n) {
        return err_set(e, -EINVAL, "-%s: runs with accel=tcg only",
                       o->smbioses.n  ? "smbios"
                       : o->fw_cfgs.n ? "fw_cfg"
                                      : "option-rom");
    }
    return 0;
}
