/* SPDX-License-Identifier: MIT */
/* dm/tls-object.c - "tls-creds-x509" and "tls-creds-psk" objects. */
#include "dm/tls-object.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"
#include "dm/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tls_object {
    char *id;
    struct tls_creds *creds;
    struct tls_object *next;
};

static struct tls_object *lookup(const struct tls_object *list, const char *id)
{
    while (list && strcmp(list->id, id) != 0) {
        list = list->next;
    }
    return (struct tls_object *)list;
}

/* The private key's passphrase; malloc'd. */
static int take_password(struct keyval *kv, const struct secret *secrets, char **out, struct err *e)
{
    const char *id = keyval_get(kv, "passwordid");
    const struct luks_key *key = id ? secret_find(secrets, id, e) : NULL;

    if (key) {
        *out = xcalloc(1, key->len + 1);
        memcpy(*out, key->bytes, key->len);
    }
    return id && !key ? e->code : 0;
}

static int take(struct tls_open *o, struct keyval *kv, struct err *e)
{
    const char *type = keyval_get(kv, "qom-type"), *endpoint = keyval_get(kv, "endpoint");
    bool verify = true;

    o->psk = strcmp(type, "tls-creds-psk") == 0;
    o->dir = keyval_get(kv, "dir");
    o->priority = keyval_get(kv, "priority");
    if (o->psk) {
        o->username = keyval_get(kv, "username");
    }
    if (!o->dir || !*o->dir) {
        return err_set(e, -EINVAL, "object '%s': dir= is missing", o->id);
    }
    if (endpoint && strcmp(endpoint, "server") != 0 && strcmp(endpoint, "client") != 0) {
        return err_set(e, -EINVAL, "object '%s': endpoint=%s: server or client", o->id, endpoint);
    }
    if (keyval_bool(kv, "verify-peer", &verify, e) < 0) {
        return e->code;
    }
    o->server = endpoint && strcmp(endpoint, "server") == 0;
    o->any_peer = !verify;
    return 0;
}

int tls_object_add(struct tls_object **list, struct keyval *kv, const struct secret *secrets,
                   struct err *e)
{
    struct tls_open o = { .id = keyval_get(kv, "id") };
    struct tls_creds *creds = NULL;
    char *password = NULL;
    int ret;

    if (!o.id || !*o.id) {
        return err_set(e, -EINVAL, "Parameter 'id' is missing");
    }
    if (lookup(*list, o.id) || secret_find(secrets, o.id, NULL)) {
        return err_set(e, -EEXIST, "object '%s' is there already", o.id);
    }
    ret = take(&o, kv, e);
    ret = ret < 0 || o.psk ? ret : take_password(kv, secrets, &password, e);
    ret = ret < 0 ? ret : keyval_done(kv, e);
    o.password = password;
    creds = ret < 0 ? NULL : tls_creds_new(&o, e);
    if (password) {
        explicit_bzero(password, strlen(password));
        free(password);
    }
    if (!creds) {
        return e->code;
    }
    struct tls_object *t = xcalloc(1, sizeof(*t));
    *t = (struct tls_object){ xstrdup(o.id), creds, *list };
    *list = t;
    return 0;
}

struct tls_creds *tls_object_find(const struct tls_object *list, const char *id, bool server,
                                  struct err *e)
{
    const struct tls_object *t = lookup(list, id);

    if (!t) {
        err_set(e, -ENOENT, "No TLS credentials with id '%.60s'", id);
        return NULL;
    }
    if (tls_creds_server(t->creds) != server) {
        err_set(e, -EINVAL, "Expecting TLS credentials with a %s endpoint",
                server ? "server" : "client");
        return NULL;
    }
    return t->creds;
}

bool tls_object_has(const struct tls_object *list, const char *id)
{
    return lookup(list, id);
}

bool tls_object_del(struct tls_object **list, const char *id)
{
    struct tls_object *t = lookup(*list, id);

    if (!t) {
        return false;
    }
    while (*list != t) {
        list = &(*list)->next;
    }
    *list = t->next;
    tls_creds_free(t->creds);
    free(t->id);
    free(t);
    return true;
}

void tls_object_free_all(struct tls_object **list)
{
    while (*list) {
        tls_object_del(list, (*list)->id);
    }
}
