/* SPDX-License-Identifier: MIT */
/* dm/qmp.c - the QEMU Machine Protocol: greeting, negotiation, dispatch, replies.
 *
 * Every message is one line that ends in CR LF, as libxl insists. Input is hostile: whatever
 * arrives gets an error object and the connection goes on. Error texts are QEMU's, which clients
 * look at. Left out: out-of-band execution (the capability is offered, no command takes part) and
 * qmp-pretty. Reference: QEMU's docs/interop/qmp-spec, docs/qmp.md.
 */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "dm/xen-disk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct qmp_command *const qmp_tables[] = {
    qmp_commands_core,
    qmp_commands_query,
    qmp_commands_block,
    qmp_commands_input,
    qmp_commands_net,
    qmp_commands_memory,
    qmp_commands_bitmap,
    qmp_commands_job,
    qmp_commands_node,
    qmp_commands_object,
    qmp_commands_snapshot,
    qmp_commands_stats,
    qmp_commands_vm_snapshot,
    qmp_commands_probe,
    qmp_commands_migrate,
    qmp_commands_qom,
    qmp_commands_chardev,
    qmp_commands_export,
    qmp_commands_create,
    qmp_commands_reopen,
    qmp_commands_throttle,
    qmp_commands_watch,
    NULL,
};

/* ---- for handlers ---- */

json_t *qmp_fail(struct qmp_call *c, const char *class, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->err.msg, sizeof(c->err.msg), fmt, ap);
    va_end(ap);
    c->err.code = -EINVAL;
    c->class = class;
    return NULL;
}

json_t *qmp_ok(void)
{
    return json_object();
}

const char *qmp_str(const struct qmp_call *c, const char *name)
{
    return json_string_value(json_object_get(c->args, name));
}

bool qmp_bool(const struct qmp_call *c, const char *name, bool absent)
{
    json_t *v = json_object_get(c->args, name);
    return v ? json_is_true(v) : absent;
}

int64_t qmp_int(const struct qmp_call *c, const char *name, int64_t absent)
{
    json_t *v = json_object_get(c->args, name);
    return v ? json_integer_value(v) : absent;
}

json_t *qmp_version(void)
{
    int major = 0, minor = 0, micro = 0;
    sscanf(KEEL_VERSION, "%d.%d.%d", &major, &minor, &micro);
    /* Clients choose commands by QEMU's version: this is the one whose commands Keel speaks. */
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", micro, "minor", 2, "major", 7,
                     "package", "Keel " KEEL_VERSION);
}

json_t *qmp_command_names(void)
{
    json_t *list = json_array();
    for (size_t t = 0; qmp_tables[t]; t++) {
        for (const struct qmp_command *c = qmp_tables[t]; c->name; c++) {
            json_array_append_new(list, json_pack("{s:s}", "name", c->name));
        }
    }
    json_array_append_new(list, json_pack("{s:s}", "name", "qmp_capabilities"));
    return list;
}

/* ---- the schema ---- */

static bool type_fits(char type, const json_t *v)
{
    switch (type) {
    case 's':
        return json_is_string(v);
    case 'b':
        return json_is_boolean(v);
    case 'i':
        return json_is_integer(v);
    case 'a':
        return json_is_array(v);
    case 'r':
        return json_is_string(v) || json_is_object(v);
    default:
        return json_is_object(v);
    }
}

static const char *type_name(char type)
{
    static const char names[][12] = { "string", "boolean", "integer",
                                      "array",  "object",  "BlockdevRef" };
    return names[strchr("sbiaor", type) - "sbiaor"];
}

int qmp_word(struct qmp_call *c, const char *name, const char *const *words, int absent)
{
    const char *v = qmp_str(c, name);
    for (int i = 0; v && words[i]; i++) {
        if (strcmp(words[i], v) == 0) {
            return i;
        }
    }
    if (v) {
        qmp_fail(c, NULL, "Parameter '%s' does not accept value '%.60s'", name, v);
        return -1;
    }
    return absent;
}

static const char *where(const struct qmp_call *c)
{
    return c->where ? c->where : "";
}

/* Checks one "name:t?" word; true when it is fine. */
static bool check_word(struct qmp_call *c, const char *word, size_t len)
{
    char name[48];
    size_t colon = strcspn(word, ":");
    snprintf(name, sizeof(name), "%.*s", (int)colon, word);
    char type = word[colon + 1];
    bool optional = word[len - 1] == '?';
    json_t *v = json_object_get(c->args, name);
    if (!v) {
        return optional ||
               qmp_fail(c, "GenericError", "Parameter '%s%s' is missing", where(c), name);
    }
    return type_fits(type, v) ||
           qmp_fail(c, "GenericError", "Invalid parameter type for '%s%s', expected: %s",
                    type == 'r' ? "" : where(c), name, type_name(type));
}

static bool schema_names(const char *schema, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = schema; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (*p == '*' || (strncmp(p, key, n) == 0 && p[n] == ':')) {
            return true;
        }
        p += len;
    }
    return false;
}

bool qmp_check_args(struct qmp_call *c, const char *schema)
{
    const char *key;
    json_t *v;
    for (const char *p = schema; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (*p != '*' && !check_word(c, p, len)) {
            return false;
        }
        p += len;
    }
    json_object_foreach(c->args, key, v)
    {
        if (!schema_names(schema, key)) {
            qmp_fail(c, "GenericError", "Parameter '%s%s' is unexpected", where(c), key);
            return false;
        }
    }
    return true;
}

/* ---- dispatch ---- */

static const struct qmp_command *find(const char *name)
{
    for (size_t t = 0; qmp_tables[t]; t++) {
        for (const struct qmp_command *c = qmp_tables[t]; c->name; c++) {
            if (strcmp(c->name, name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

static json_t *capabilities(struct qmp_call *c)
{
    size_t i;
    json_t *v, *enable = json_object_get(c->args, "enable");
    if (c->mon->negotiated) {
        return qmp_fail(c, "CommandNotFound",
                        "Capabilities negotiation is already complete, command ignored");
    }
    if (!qmp_check_args(c, "enable:a?")) {
        return NULL;
    }
    json_array_foreach(enable, i, v)
    {
        if (!json_is_string(v) || strcmp(json_string_value(v), "oob") != 0) {
            return qmp_fail(c, "GenericError", "Parameter 'enable' does not accept value '%s'",
                            json_is_string(v) ? json_string_value(v) : "?");
        }
        c->mon->oob = true;
    }
    c->mon->negotiated = true;
    return qmp_ok();
}

static json_t *perform(struct qmp_call *c, const struct qmp_command *cmd)
{
    json_t *ret = qmp_check_args(c, cmd->schema) ? cmd->run(c) : NULL;

    xen_disks_resized(c->k->xen_disks);
    return ret;
}

static json_t *run(struct qmp_call *c, const char *name)
{
    if (strcmp(name, "qmp_capabilities") == 0) {
        return capabilities(c);
    }
    if (!c->mon->negotiated) {
        return qmp_fail(c, "CommandNotFound",
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    const struct qmp_command *cmd = find(name);
    if (!cmd) {
        return qmp_fail(c, "CommandNotFound", "The command %.200s has not been found", name);
    }
    return perform(c, cmd);
}

json_t *qmp_run(struct keel *k, const char *name, json_t *args, struct err *e)
{
    struct qmp_call c = { .k = k, .args = args ? args : json_object() };
    const struct qmp_command *cmd = find(name);
    json_t *ret = perform(&c, cmd);

    *e = c.err;
    json_decref(c.args);
    return ret;
}

/* The command's name, or NULL with the error set. */
static const char *check_request(struct qmp_call *c, json_t *req)
{
    const char *key, *name = NULL;
    bool oob = false;
    json_t *v;
    if (!json_is_object(req)) {
        qmp_fail(c, "GenericError", "QMP input must be a JSON object");
        return NULL;
    }
    json_object_foreach(req, key, v)
    {
        bool exec_oob = strcmp(key, "exec-oob") == 0 && c->mon->oob;
        if (strcmp(key, "execute") == 0 || exec_oob) {
            if (!json_is_string(v)) {
                qmp_fail(c, "GenericError", "QMP input member '%s' must be a string", key);
                return NULL;
            }
            if (name) {
                qmp_fail(c, "GenericError", "QMP input member 'execute' clashes with 'exec-oob'");
                return NULL;
            }
            name = json_string_value(v);
            oob = exec_oob;
        } else if (strcmp(key, "arguments") == 0) {
            if (!json_is_object(v)) {
                qmp_fail(c, "GenericError", "QMP input member 'arguments' must be an object");
                return NULL;
            }
            c->args = v;
        } else if (strcmp(key, "id") != 0) {
            qmp_fail(c, "GenericError", "QMP input member '%.100s' is unexpected", key);
            return NULL;
        }
    }
    if (!name) {
        qmp_fail(c, "GenericError", "QMP input lacks member 'execute'");
    } else if (oob && (find(name) || strcmp(name, "qmp_capabilities") == 0)) {
        qmp_fail(c, "GenericError", "The command %s does not support OOB", name);
        name = NULL;
    }
    return name;
}

/* ---- replies ---- */

static void reply(struct monitor *mon, json_t *msg, json_t *id)
{
    if (id) {
        json_object_set(msg, "id", id);
    }
    char *s = json_dumps(msg, 0);
    struct text line = { 0 };
    text_add(&line, "%s\r\n", s);
    monitor_put(mon, line.p, line.len);
    text_free(&line);
    free(s);
    json_decref(msg);
}

static void reply_error(struct monitor *mon, struct qmp_call *c, json_t *id)
{
    reply(mon,
          json_pack("{s:{s:s, s:o}}", "error", "class", c->class ? c->class : "GenericError",
                    "desc", qmp_text(c->err.msg)),
          id);
}

static void handle(struct monitor *mon, json_t *req)
{
    json_t *none = json_object();
    struct qmp_call c = { .k = mon->k, .mon = mon, .args = none };
    json_t *id = json_is_object(req) ? json_object_get(req, "id") : NULL;
    const char *name = check_request(&c, req);
    json_t *ret = name ? run(&c, name) : NULL;
    if (ret) {
        reply(mon, json_pack("{s:o}", "return", ret), id);
    } else {
        reply_error(mon, &c, id);
    }
    json_decref(none);
}

/* word: the offender, or NULL. */
static void syntax_error(struct monitor *mon, const char *what, const char *word)
{
    struct qmp_call c = { .k = mon->k, .mon = mon };
    const char *quote = word ? "'" : "";
    snprintf(c.err.msg, sizeof(c.err.msg), "JSON parse error, %s%s%.100s%s", what, quote,
             word ? word : "", quote);
    reply_error(mon, &c, NULL);
}

static void handle_text(struct monitor *mon, bool bracketed)
{
    json_error_t why;
    const struct text *t = &mon->in.text;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *req = json_loadb(t->p, t->len, flags, &why);
    if (req) {
        handle(mon, req);
        json_decref(req);
    } else if (bracketed) {
        syntax_error(mon, why.text, NULL);
    } else {
        syntax_error(mon, "invalid keyword ", t->p);
    }
}

void qmp_feed(struct monitor *mon, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        switch (json_frame_feed(&mon->in, p[i])) {
        case JSON_FRAME_MORE:
            break;
        case JSON_FRAME_VALUE:
            handle_text(mon, true);
            break;
        case JSON_FRAME_WORD:
            handle_text(mon, false);
            break;
        case JSON_FRAME_TOO_BIG:
            syntax_error(mon, "token size limit exceeded", NULL);
            break;
        case JSON_FRAME_TOO_DEEP:
            syntax_error(mon, "nesting depth limit exceeded", NULL);
            break;
        }
    }
}

void qmp_greet(struct monitor *mon)
{
    reply(mon,
          json_pack("{s:{s:o, s:[s]}}", "QMP", "version", qmp_version(), "capabilities", "oob"),
          NULL);
}
