/* SPDX-License-Identifier: MIT */
/* dm/qmp-chardev.c - QMP commands on character streams. docs/qmp.md 3.
 *
 * What chardev-add describes as an object becomes what -chardev says as text, so that both go one way.
 */
#include "dm/qmp-chardev.h"

#include "dm/base/chr.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/keyval.h"
#include "dm/monitor.h"
#include "dm/qmp.h"
#include "dm/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const kinds[] = { "file", "null", "pipe", "pty", "socket", "stdio" };

/* ---- query-chardev ---- */

static json_t *query_chardev(struct qmp_call *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->k->be.nchrs; i++) {
        const struct chr *chr = c->k->be.chrs[i];
        json_array_append_new(list, json_pack("{s:b, s:o, s:o}", "frontend-open",
                                              chr->handlers != NULL, "filename",
                                              qmp_text(chr->filename), "label", qmp_text(chr->id)));
    }
    return list;
}

static json_t *query_backends(struct qmp_call *c)
{
    json_t *list = json_array();
    (void)c;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        json_array_append_new(list, json_pack("{s:s}", "name", kinds[i]));
    }
    return list;
}

/* ---- chardev-add ---- */

static void put(struct text *spec, const char *option, const char *value)
{
    text_add(spec, ",%s=", option);
    for (const char *p = value; *p; p++) {
        text_put(spec, ",,", *p == ',' ? 2 : 0);
        text_put(spec, p, *p != ',');
    }
}

/* Adds a member of data as the option of another name. False, with the error, when it is of a
 * kind that no option has. */
static bool take(struct qmp_call *c, struct text *spec, const json_t *data, const char *member,
                 const char *option)
{
    const json_t *v = json_object_get(data, member);
    char number[24];
    if (!v) {
        return true;
    }
    if (json_is_string(v)) {
        put(spec, option, json_string_value(v));
    } else if (json_is_boolean(v)) {
        put(spec, option, json_is_true(v) ? "on" : "off");
    } else if (json_is_integer(v)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
        put(spec, option, number);
    } else {
        qmp_fail(c, NULL, "Invalid parameter type for '%s'", member);
        return false;
    }
    return true;
}

/* One of several spellings of a member, per kind of stream or address. */
struct member {
    const char *kind, *member, *option;
};
static const struct member members[] = {
    { "file", "out", "path" },          { "file", "append", "append" },
    { "pipe", "device", "path" },       { "stdio", "signal", "signal" },
    { "socket", "nodelay", "nodelay" }, { "socket", "reconnect", "reconnect" },
    { "unix", "path", "path" },         { "inet", "host", "host" },
    { "inet", "port", "port" },
};
/* What every kind has, and what is looked at apart. */
static const char *const others[] = { "logfile", "logappend", "addr", "server", "wait", "str" };

static bool known(const char *kind, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (strcmp(members[i].kind, kind) == 0 && strcmp(members[i].member, name) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (strcmp(others[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool take_members(struct qmp_call *c, struct text *spec, const char *kind, json_t *data)
{
    const char *name;
    json_t *v;
    json_object_foreach(data, name, v)
    {
        if (!known(kind, name) && !json_is_false(v)) { /* "telnet": false is no wish */
            qmp_fail(c, NULL, "Parameter '%.40s': not available for '%.40s'", name, kind);
            return false;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        const struct member *m = &members[i];
        if (strcmp(m->kind, kind) == 0 && !take(c, spec, data, m->member, m->option)) {
            return false;
        }
    }
    return take(c, spec, data, "logfile", "logfile") &&
           take(c, spec, data, "logappend", "logappend");
}

/* addr.type "fd": getfd's name for it; *fd is the caller's then. */
static bool take_fd(struct qmp_call *c, struct text *spec, const json_t *data, int *fd)
{
    const char *name = json_string_value(json_object_get(data, "str"));
    char number[12];
    *fd = name && c->mon ? monitor_take_named_fd(c->mon, name) : -1;
    if (*fd < 0) {
        qmp_fail(c, NULL, "File descriptor named '%.60s' has not been found", name ? name : "");
        return false;
    }
    snprintf(number, sizeof(number), "%d", *fd);
    put(spec, "fd", number);
    return true;
}

static bool take_socket(struct qmp_call *c, struct text *spec, const json_t *data, int *fd)
{
    const json_t *addr = json_object_get(data, "addr"), *server = json_object_get(data, "server");
    const char *type = json_string_value(json_object_get(addr, "type"));
    json_t *where = json_object_get(addr, "data");
    if (!type || !where) {
        qmp_fail(c, NULL, "Parameter 'addr' is missing");
        return false;
    }
    if (strcmp(type, "unix") != 0 && strcmp(type, "inet") != 0 && strcmp(type, "fd") != 0) {
        qmp_fail(c, NULL, "Invalid parameter '%.40s'", type);
        return false;
    }
    put(spec, "server", json_is_false(server) ? "off" : "on");
    put(spec, "wait", json_is_true(json_object_get(data, "wait")) ? "on" : "off");
    return take_members(c, spec, type, where) &&
           (strcmp(type, "fd") != 0 || take_fd(c, spec, where, fd));
}

static bool describe(struct qmp_call *c, struct text *spec, int *fd)
{
    const json_t *backend = json_object_get(c->args, "backend");
    const char *type = json_string_value(json_object_get(backend, "type"));
    json_t *data = json_object_get(backend, "data");
    if (!type) {
        qmp_fail(c, NULL, "Parameter 'backend.type' is missing");
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i], type) == 0) {
            text_add(spec, "%s", type);
            put(spec, "id", qmp_str(c, "id"));
            return take_members(c, spec, type, data) &&
                   (strcmp(type, "socket") != 0 || take_socket(c, spec, data, fd));
        }
    }
    qmp_fail(c, NULL, "Invalid parameter '%.40s'", type);
    return false;
}

int chardev_add_running(struct keel *k, const char *spec, struct err *e)
{
    struct keyval *kv = keyval_parse(spec, "backend");
    bool server = false, wait;
    int ret = k->taps ? err_set(e, -EBUSY, "not while a recording runs")
                      : keyval_bool(kv, "server", &server, e);
    wait = server;
    ret = ret < 0 ? ret : keyval_bool(kv, "wait", &wait, e);
    if (ret == 0 && wait) {
        ret = err_set(e, -EINVAL, "without wait=off the machine would stand still");
    }
    ret = ret < 0 ? ret : chardev_add(&k->be, kv, e);
    keyval_free(kv);
    return ret;
}

static json_t *do_add(struct qmp_call *c)
{
    struct text spec = { 0 };
    int fd = -1;
    bool ok = describe(c, &spec, &fd) && chardev_add_running(c->k, spec.p, &c->err) == 0;
    text_free(&spec);
    if (!ok && fd >= 0) {
        close(fd);
    }
    if (!ok) {
        return NULL;
    }
    const struct chr *chr = chr_find(&c->k->be, qmp_str(c, "id"));
    return strncmp(chr->filename, "pty:", 4) == 0
               ? json_pack("{s:o}", "pty", qmp_text(chr->filename + 4))
               : qmp_ok();
}

/* ---- the others ---- */

static struct chr *find(struct qmp_call *c)
{
    struct chr *chr = chr_find(&c->k->be, qmp_str(c, "id"));
    if (!chr) {
        qmp_fail(c, NULL, "Chardev '%.60s' not found", qmp_str(c, "id"));
    }
    return chr;
}

static json_t *do_remove(struct qmp_call *c)
{
    struct chr *chr = find(c);
    if (!chr) {
        return NULL;
    }
    if (chr->handlers) {
        return qmp_fail(c, NULL, "Chardev '%.60s' is busy", chr->id);
    }
    chr_remove(&c->k->be, chr);
    return qmp_ok();
}

static json_t *do_send_break(struct qmp_call *c)
{
    struct chr *chr = find(c);
    if (!chr) {
        return NULL;
    }
    if (chr->handlers && chr->handlers->event) {
        chr->handlers->event(chr->opaque, CHR_BREAK);
    }
    return qmp_ok();
}

const struct qmp_command qmp_commands_chardev[] = {
    { "chardev-add", "id:s backend:o", do_add },      { "chardev-remove", "id:s", do_remove },
    { "chardev-send-break", "id:s", do_send_break },  { "query-chardev", "", query_chardev },
    { "query-chardev-backends", "", query_backends }, { 0 },
};
