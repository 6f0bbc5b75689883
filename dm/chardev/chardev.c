/* SPDX-License-Identifier: MIT */
/* dm/chardev/chardev.c - reads a specification and calls the maker of its kind. */
#include "dm/chardev/chardev.h"

#include "dm/base/log.h"
#include "dm/base/util.h"
#include "dm/chardev/chardev-int.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A spec, taken apart: what kind of back end, and its options. */
struct spec {
    char kind[16];
    struct keyval *kv;
};

struct maker {
    const char *kind;
    struct chr *(*make)(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);
};
static const struct maker makers[] = {
    { "file", chr_file_new }, { "null", chr_null_new },     { "pipe", chr_pipe_new },
    { "pty", chr_pty_new },   { "socket", chr_socket_new }, { "stdio", chr_stdio_new },
};

/* Kinds that exist in the field and that somebody may try. */
static const char *const not_yet[] = {
    "braille", "console",   "dbus",     "mon",    "msmouse", "parallel", "qemu-vdagent", "ringbuf",
    "serial",  "spiceport", "spicevmc", "telnet", "testdev", "tn3270",   "tty",          "udp",
    "vc",      "websocket", "wctablet", "con",    "parport", "memory",   "mux",          "hub",
};

void chardev_init(struct chardev *d, struct ev_loop *loop, const struct chr_ops *ops,
                  const char *id, char *filename)
{
    d->c.ops = ops;
    d->c.id = xstrdup(id);
    d->c.filename = filename;
    d->loop = loop;
    d->log_fd = -1;
}

void chardev_fini(struct chardev *d)
{
    if (d->log_fd >= 0) {
        close(d->log_fd);
    }
    free(d->c.id);
    free(d->c.filename);
}

void chardev_set_filename(struct chardev *d, char *filename)
{
    free(d->c.filename);
    d->c.filename = filename;
}

void chardev_set_open(struct chardev *d, bool open)
{
    struct chr *c = &d->c;
    if (c->open == open) {
        return;
    }
    c->open = open;
    if (c->handlers && c->handlers->event) {
        c->handlers->event(c->opaque, open ? CHR_OPENED : CHR_CLOSED);
    }
}

void chardev_log(struct chardev *d, const void *buf, size_t len)
{
    if (d->log_fd < 0 || len == 0) {
        return;
    }
    if (write(d->log_fd, buf, len) < 0) {
        log_msg(LOG_WARN, "chardev", "%s: logfile: %s: logging ends", d->c.id, strerror(errno));
        close(d->log_fd);
        d->log_fd = -1;
    }
}

static int open_log(struct keyval *kv, int *fd, struct err *e)
{
    const char *path = keyval_get(kv, "logfile");
    bool append = false;
    int ret = keyval_bool(kv, "logappend", &append, e);
    *fd = -1;
    if (ret < 0 || !path) {
        return ret;
    }
    *fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    return *fd < 0 ? err_set(e, -errno, "logfile %s: %s", path, strerror(errno)) : 0;
}

/* -serial tcp:HOST:PORT, where HOST may be empty or an IPv6 address in brackets. */
static int add_host_port(struct keyval *kv, struct err *e)
{
    const char *addr = keyval_get(kv, "addr");
    const char *colon = addr ? strrchr(addr, ':') : NULL;
    char *host;
    if (!colon || !colon[1]) {
        return err_set(e, -EINVAL, "host:port expected in place of '%s'", addr ? addr : "");
    }
    host = xasprintf("%.*s", (int)(colon - addr), addr);
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = 0;
        keyval_add(kv, "host", host + 1);
    } else {
        keyval_add(kv, "host", host);
    }
    keyval_add(kv, "port", colon + 1);
    free(host);
    return 0;
}

/* "WORD,OPTIONS": the options, with WORD added as `key`. */
static struct keyval *first_and_rest(const char *text, const char *key)
{
    size_t n = strcspn(text, ",");
    char *first = xasprintf("%.*s", (int)n, text);
    struct keyval *kv = keyval_parse(text[n] ? text + n + 1 : "", NULL);
    keyval_add(kv, key, first);
    free(first);
    return kv;
}

/* "KIND:REST" as after -serial. */
static int parse_legacy(struct spec *s, const char *rest, struct err *e)
{
    if (!strcmp(s->kind, "unix")) {
        s->kv = first_and_rest(rest, "path");
        strcpy(s->kind, "socket");
        return 0;
    }
    if (!strcmp(s->kind, "tcp")) {
        s->kv = first_and_rest(rest, "addr");
        strcpy(s->kind, "socket");
        return add_host_port(s->kv, e);
    }
    s->kv = keyval_parse("", NULL);
    if (!strcmp(s->kind, "file") || !strcmp(s->kind, "pipe")) {
        keyval_add(s->kv, "path", rest); /* commas and all */
    }
    return 0;
}

static int parse_spec(struct spec *s, const char *text, struct err *e)
{
    size_t n = strcspn(text, ":,");
    if (!strcmp(text, "/dev/null")) {
        text = "null";
        n = strlen(text);
    }
    if (n == 0 || n >= sizeof(s->kind) || text[0] == '/') {
        return err_set(e, text[0] == '/' ? -ENOTSUP : -EINVAL,
                       text[0] == '/' ? "host devices are not supported yet" : "no kind is named");
    }
    memcpy(s->kind, text, n);
    s->kind[n] = 0;
    if (text[n] == ':') {
        return parse_legacy(s, text + n + 1, e);
    }
    s->kv = keyval_parse(text, "backend");
    return 0;
}

static const struct maker *find_maker(const char *kind, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
        if (!strcmp(makers[i].kind, kind)) {
            return &makers[i];
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(not_yet); i++) {
        if (!strcmp(not_yet[i], kind)) {
            err_set(e, -ENOTSUP, "back end '%s' is not supported yet", kind);
            return NULL;
        }
    }
    err_set(e, -EINVAL, "back end '%s' is unknown", kind);
    return NULL;
}

/* Options of the field that mean nothing here unless switched on. */
static int refuse_not_yet(struct keyval *kv, struct err *e)
{
    static const char *const keys[] = { "mux", "telnet", "tn3270", "websocket", "abstract" };
    static const char *const off[] = { "off", "0", NULL };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        int ret = keyval_only(kv, keys[i], off, e);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static struct chr *make(struct ev_loop *loop, const char *id, struct spec *s, struct err *e)
{
    const struct maker *m = find_maker(s->kind, e);
    const char *own_id = keyval_get(s->kv, "id");
    struct chr *c;
    int log_fd = -1;
    keyval_get(s->kv, "backend");
    id = id ? id : own_id;
    if (m && !id) {
        err_set(e, -EINVAL, "an id is missing");
        return NULL;
    }
    if (!m || refuse_not_yet(s->kv, e) < 0 || open_log(s->kv, &log_fd, e) < 0) {
        return NULL;
    }
    c = m->make(loop, id, s->kv, e);
    if (c && keyval_done(s->kv, e) < 0) {
        chr_free(c);
        c = NULL;
    }
    if (c) {
        ((struct chardev *)c)->log_fd = log_fd;
    } else if (log_fd >= 0) {
        close(log_fd);
    }
    return c;
}

struct chr *chardev_new(struct ev_loop *loop, const char *id, const char *spec, struct err *e)
{
    struct spec s = { .kv = NULL };
    struct chr *c = NULL;
    struct err why = { 0 };
    if (parse_spec(&s, spec, &why) == 0) {
        c = make(loop, id, &s, &why);
    }
    if (!c) {
        err_set(e, why.code, "%s", why.msg);
        err_prefix(e, "chardev %s%s'%s'", id ? id : "", id ? " " : "", spec);
    }
    keyval_free(s.kv);
    return c;
}
