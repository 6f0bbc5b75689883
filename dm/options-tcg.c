/* SPDX-License-Identifier: MIT */
/* dm/options-tcg.c - -d, -keel-pass and keel-engine=: how the translator works and what it
 * tells. Reference: qemu(1), docs/translator.md.
 */
#include "dm/options-tcg.h"

#include "dm/base/err.h"
#include "dm/base/parse.h"
#include "dm/base/util.h"
#include "dm/keyval.h"
#include "dm/options.h"
#include "dm/text.h"
#include "target/x86/vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One word of a list "a,b,c"; *list moves behind it. */
static const char *word(const char **list, char *buf, size_t size)
{
    size_t len = strcspn(*list, ",");
    snprintf(buf, size, "%.*s", (int)len, *list);
    *list += len + ((*list)[len] == ',');
    return buf;
}

/* Neither dump nor log: what Keel writes anyhow, and nothing. */
static const struct {
    const char *name;
    unsigned dump, log;
    const char *help;
} items[] = {
    { "in_asm", 0, VCPU_LOG_IN_ASM, "guest code as it is translated" },
    { "op", TCG_DUMP_OP, 0, "its IR" },
    { "op_opt", TCG_DUMP_OP_OPT, 0, "its IR behind the passes" },
    { "out_asm", TCG_DUMP_OUT, 0, "its host code" },
    { "exec", 0, VCPU_LOG_EXEC, "each block that runs, linked ones as well" },
    { "cpu", 0, VCPU_LOG_CPU, "registers before each block that runs" },
    { "int", 0, VCPU_LOG_INT, "interrupts and exceptions" },
    { "cpu_reset", 0, VCPU_LOG_RESET, "registers before a processor is reset" },
    { "pcall", 0, VCPU_LOG_PCALL, "protected mode far calls and returns" },
    { "guest_errors", 0, 0, "odd accesses of the guest (always on)" },
    { "unimp", 0, 0, "what a device leaves out (always on)" },
    { "none", 0, 0, "nothing of all that" },
};
static const char *const missing_items[] = { "op_ind", "fpu",    "mmu", "page", "nochain",
                                             "plugin", "strace", "vpu", "tid",  "trace:" };

static int log_item(const char *name, unsigned *dump, unsigned *log, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        if (strcmp(name, items[i].name) == 0) {
            *dump |= items[i].dump;
            *log |= items[i].log;
            return 0;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(missing_items); i++) {
        if (strncmp(name, missing_items[i], strlen(missing_items[i])) == 0) {
            return err_not_yet(e, name);
        }
    }
    return err_set(e, -EINVAL, "%s: unknown item (-d help lists them)", name);
}

int options_log_items(const char *list, unsigned *dump, unsigned *log, struct err *e)
{
    char name[64];
    while (*list) {
        int ret = log_item(word(&list, name, sizeof(name)), dump, log, e);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int opt_take_d(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    (void)kv;
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        o->action = ACT_LOG_HELP;
        return 0;
    }
    return options_log_items(arg, &o->tcg_dump, &o->cpu_log, e);
}

/* FIRST..LAST, START+SIZE, or START-SIZE: that many bytes up to START. Cuts text in two. */
static bool parse_range(char *text, struct tcg_range *r)
{
    char *sign = text + strcspn(text, ".+-"), kind = *sign;
    bool to_last = strncmp(sign, "..", 2) == 0;
    const char *second = sign + (to_last ? 2 : kind != 0);
    uint64_t from, n;
    *sign = 0;
    if (parse_u64(text, UINT64_MAX, &from) < 0 || parse_u64(second, UINT64_MAX, &n) < 0) {
        return false;
    }
    *r = to_last       ? (struct tcg_range){ from, n }
         : kind == '+' ? (struct tcg_range){ from, from + n - 1 }
                       : (struct tcg_range){ from - n + 1, from };
    return (to_last || (kind != '.' && n)) && r->first <= r->last;
}

int opt_take_dfilter(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    char range[64];
    (void)kv;
    o->log_onlys = 0;
    while (*arg) {
        const char *whole = arg;
        word(&arg, range, sizeof(range));
        if (o->log_onlys == ARRAY_SIZE(o->log_only)) {
            return err_set(e, -E2BIG, "more than %zu ranges", ARRAY_SIZE(o->log_only));
        }
        if (!parse_range(range, &o->log_only[o->log_onlys++])) {
            return err_set(e, -EINVAL, "%.*s: not FIRST..LAST, START+SIZE or START-SIZE",
                           (int)strcspn(whole, ","), whole);
        }
    }
    return 0;
}

void options_log_help(struct text *out, const char *eol)
{
    text_add(out, "Log items (comma separated):%s", eol);
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        text_add(out, "%-15s %s%s", items[i].name, items[i].help, eol);
    }
}

const struct opt_param opt_icount_params[] = {
    { "shift", "string", false },
    { "sleep", "boolean", false },
    { "align", "boolean", false },
    { "rr", "string", true },
    { "rrfile", "string", true },
    { "rrsnapshot", "string", true },
    { 0 },
};

/* -icount [shift=]N|auto[,sleep=on|off][,align=off] */
int opt_take_icount(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    const char *shift = keyval_get(kv, "shift");
    bool sleep = true, align = false;
    uint64_t n = 0;
    (void)arg;
    if (keyval_bool(kv, "sleep", &sleep, e) < 0 || keyval_bool(kv, "align", &align, e) < 0) {
        return -EINVAL;
    }
    if (align) {
        return err_not_yet(e, "align=on");
    }
    if (!shift) {
        return err_set(e, -EINVAL, "shift= is missing");
    }
    bool adapts = strcmp(shift, "auto") == 0;
    if (!adapts && parse_u64(shift, ICOUNT_MAX_SHIFT, &n) < 0) {
        return err_set(e, -EINVAL, "shift=%s: expected 0 to %d, or auto", shift, ICOUNT_MAX_SHIFT);
    }
    if (adapts && !sleep) {
        return err_set(e, -EINVAL, "shift=auto and sleep=off contradict each other");
    }
    o->icount = true;
    o->icount_nosleep = !sleep;
    o->icount_shift = adapts ? ICOUNT_AUTO : (int)n;
    return 0;
}

/* -keel-pass all,-deadflags or const,copy: which passes run. */
int opt_take_pass(struct options *o, const char *arg, struct keyval *kv, struct err *e)
{
    char name[64];
    unsigned chosen = arg[0] == '-' ? PASS_ALL : 0;
    (void)kv;
    while (*arg) {
        const char *w = word(&arg, name, sizeof(name));
        bool off = w[0] == '-';
        unsigned bit = strcmp(w + off, "all") == 0    ? PASS_ALL
                       : strcmp(w + off, "none") == 0 ? 0
                                                      : (unsigned)ir_pass_by_name(w + off);
        if (bit == 0 && strcmp(w, "none") != 0) {
            return err_set(e, -EINVAL, "%s: unknown pass (const copy deadflags dead state addr)",
                           w);
        }
        chosen = off ? chosen & ~bit : chosen | bit;
    }
    o->tcg_passes = chosen;
    return 0;
}

int opt_take_engine(struct options *o, const char *name, struct err *e)
{
    if (strcmp(name, "jit") != 0 && strcmp(name, "interp") != 0) {
        return err_set(e, -EINVAL, "keel-engine=%s: expected jit or interp", name);
    }
    o->tcg_interp = strcmp(name, "interp") == 0;
    return 0;
}
