/* SPDX-License-Identifier: MIT */
/* dm/drive-nbd.c - "driver=nbd,server.type=..." of -blockdev and -drive, as an address. */
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
