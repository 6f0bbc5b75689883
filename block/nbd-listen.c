/* SPDX-License-Identifier: MIT */
/* block/nbd-listen.c - sockets that an NBD server listens on. */
#include "block/nbd-proto.h"
#include "block/nbd-server.h"
#include "dm/base/err.h"
#include "dm/base/sock.h"

#include <stdio.h>
#include <string.h>

int nbd_listen(const char *path, const char *host, const char *port, struct err *e)
{
    struct sock_addr a;
    char number[16], name[300];
    int ret;

    snprintf(number, sizeof(number), "%d", NBD_PORT);
    port = port ? port : number;
    host = host ? host : "0.0.0.0";
    ret = path ? sock_unix(path, &a, e) : sock_inet(host, port, true, &a, e);
    if (ret < 0) {
        return ret;
    }
    snprintf(name, sizeof(name), "%s:%s", host, port);
    ret = sock_listen(&a, e);
    return ret < 0 ? err_set(e, ret, "Failed to bind socket to %s: %s", path ? path : name,
                             strerror(-ret))
                   : ret;
}
