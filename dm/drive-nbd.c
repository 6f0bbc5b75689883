/* SPDX-License-Identifier: MIT */
/* dm/drive-nbd.c - "driver=nbd,server.type=..." of -blockdev and -drive, as an address. */
#include "block/nbd.h"
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *get(struct keyval *kv, const char *prefix, const char *name)
{
    char key[64];

    snprintf(key, sizeof(key), "%s%s", prefix, name);
    return keyval_get(kv, key);
}

static int get_seconds(struct keyval *kv, const char *prefix, const char *name, unsigned *out,
                       struct err *e)
{
    char key[64];
    uint64_t v = 0;

    snprintf(key, sizeof(key), "%s%s", prefix, name);
    if (keyval_size(kv, key, 1, &v, e) < 0) {
        return e->code;
    }
    *out = (unsigned)min_u64(v, 1 << 20);
    return 0;
}

int drive_nbd_how(struct keyval *kv, const char *prefix,
                  struct tls_creds *(*find)(void *opaque, const char *id, struct err *e),
                  void *opaque, struct nbd_how *out, struct err *e)
{
    const char *id = get(kv, prefix, "tls-creds");

    *out = (struct nbd_how){ .tls_host = get(kv, prefix, "tls-hostname") };
    if (out->tls_host && !id) {
        return err_set(e, -EINVAL, "%stls-hostname goes with tls-creds", prefix);
    }
    if (id && !(out->tls = find(opaque, id, e))) {
        return e->code;
    }
    if (get_seconds(kv, prefix, "reconnect-delay", &out->reconnect_s, e) < 0 ||
        get_seconds(kv, prefix, "open-timeout", &out->open_s, e) < 0) {
        return e->code;
    }
    return 0;
}

char *drive_nbd_address(struct keyval *kv, const char *prefix, struct err *e)
{
    const char *type = get(kv, prefix, "server.type"), *export = get(kv, prefix, "export");
    const char *path = get(kv, prefix, "server.path"), *host = get(kv, prefix, "server.host");
    const char *port = get(kv, prefix, "server.port");

    export = export ? export : "";
    if (type && strcmp(type, "unix") == 0 && path) {
        return xasprintf("nbd:unix:%s:exportname=%s", path, export);
    }
    if (type && strcmp(type, "inet") == 0 && host && port) {
        return xasprintf("nbd:[%s]:%s:exportname=%s", host, port, export);
    }
    err_set(e, -EINVAL,
            "driver=nbd: expected %sserver.type=unix with server.path, or inet with server.host "
            "and server.port",
            prefix);
    return NULL;
}
