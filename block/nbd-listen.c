/* SPDX-License-Identifier: MIT */
/* block/nbd-listen.c - sockets that an NBD server listens on. */
#include "block/nbd-proto.h"
#include "block/nbd-server.h"
#include "dm/base/err.h"
#include "dm/base/sock.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 64 };

static int give_up(int fd, struct err *e, const char *what)
{
    int ret = err_set(e, -errno, "Failed to bind socket to %s: %s", what, strerror(errno));

    if (fd >= 0) {
        close(fd);
    }
    return ret;
}

static int listen_local(const char *path, struct err *e)
{
    struct sock_addr a;
    int fd;

    if (sock_unix(path, &a, e) < 0) {
        return err_prefix(e, "socket '%s'", path);
    }
    sock_clear_path(&a);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a.ss, a.len) < 0 || listen(fd, BACKLOG) < 0) {
        return give_up(fd, e, path);
    }
    return fd;
}

int nbd_listen(const char *path, const char *host, const char *port, struct err *e)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
    char number[16], name[300];
    int one = 1, fd, ret;

    if (path) {
        return listen_local(path, e);
    }
    snprintf(number, sizeof(number), "%d", NBD_PORT);
    port = port ? port : number;
    host = host ? host : "0.0.0.0";
    snprintf(name, sizeof(name), "%s:%s", host, port);
    ret = getaddrinfo(host, port, &want, &list);
    if (ret) {
        return err_set(e, -EADDRNOTAVAIL, "address %s: %s", name, gai_strerror(ret));
    }
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    bool good =
        fd >= 0 && bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    ret = good ? fd : give_up(fd, e, name);
    freeaddrinfo(list);
    return ret;
}
