/* SPDX-License-Identifier: MIT */
/* dm/base/sock.c - sockets by name. */
#include "dm/base/sock.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 }; /* connections that wait to be taken */

/* One more byte than the name has: in front of it, or behind. */
static int unix_name(const char *name, bool abstract, struct sock_addr *a, struct err *e)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;
    size_t len = strlen(name);
    *a = (struct sock_addr){ 0 };
    if (!len || len >= sizeof(un->sun_path)) {
        return err_set(e, -EINVAL, "a socket's path has 1 to %zu characters",
                       sizeof(un->sun_path) - 1);
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + abstract, name, len);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

int sock_unix(const char *path, struct sock_addr *a, struct err *e)
{
    return unix_name(path, false, a, e);
}

int sock_abstract(const char *name, struct sock_addr *a, struct err *e)
{
    return unix_name(name, true, a, e);
}

int sock_look_up(const char *host, const char *port, int type, int family, bool passive,
                 struct sock_addr *a, struct err *e)
{
    struct addrinfo *list,
        hints = { .ai_socktype = type, .ai_family = family, .ai_flags = passive ? AI_PASSIVE : 0 };
    *a = (struct sock_addr){ 0 };
    int ret = getaddrinfo(host && *host ? host : NULL, port, &hints, &list);
    if (ret != 0) {
        return err_set(e, -EINVAL, "%s:%s: %s", host ? host : "", port ? port : "",
                       gai_strerror(ret));
    }
    memcpy(&a->ss, list->ai_addr, list->ai_addrlen);
    a->len = list->ai_addrlen;
    for (const struct addrinfo *i = list->ai_next; i && !a->other_len; i = i->ai_next) {
        if (i->ai_family != list->ai_family) {
            memcpy(&a->other, i->ai_addr, i->ai_addrlen);
            a->other_len = i->ai_addrlen;
        }
    }
    freeaddrinfo(list);
    return 0;
}

int sock_inet(const char *host, const char *port, bool passive, struct sock_addr *a, struct err *e)
{
    if (!port || !*port) {
        return err_set(e, -EINVAL, "a port is missing");
    }
    return sock_look_up(host, port, SOCK_STREAM, AF_UNSPEC, passive, a, e);
}

int sock_parse(const char *text, bool passive, struct sock_addr *a, struct err *e)
{
    if (strncmp(text, "unix:", 5) == 0) {
        return sock_unix(text + 5, a, e);
    }
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "tcp:", 4) != 0 || colon < text + 4) {
        return err_set(e, -EINVAL, "'%s': unix:PATH or tcp:HOST:PORT is expected", text);
    }
    bool brackets = text[4] == '[' && colon > text + 5 && colon[-1] == ']';
    const char *from = text + 4 + brackets;
    char *host = xasprintf("%.*s", (int)(colon - brackets - from), from);
    int ret = sock_inet(host, colon + 1, passive, a, e);
    free(host);
    return ret;
}

void sock_clear_path(const struct sock_addr *a)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
    struct stat st;
    if (a->ss.ss_family == AF_UNIX && lstat(un->sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(un->sun_path);
    }
}

/* Closes fd after a call that failed; errno says why. */
static int give_up(int fd, const char *doing, const struct sock_addr *a, struct err *e)
{
    int code = -errno;
    char *text = sock_text(a);
    close(fd);
    err_set(e, code, "%s %s: %s", doing, text, strerror(-code));
    free(text);
    return code;
}

/* alone: an IPv6 address does not stand for IPv4's too. */
static int listen_at(const struct sock_addr *a, bool alone, struct err *e)
{
    int one = 1;
    int fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set(e, -errno, "socket: %s", strerror(errno));
    }
    sock_clear_path(a);
    if (a->ss.ss_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (a->ss.ss_family == AF_INET6 && alone) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, (const struct sockaddr *)&a->ss, a->len) < 0 || listen(fd, BACKLOG) < 0) {
        return give_up(fd, "listening on", a, e);
    }
    return fd;
}

int sock_listen(const struct sock_addr *a, struct err *e)
{
    return listen_at(a, false, e);
}

int sock_listen_both(const struct sock_addr *a, int fd[2], struct err *e)
{
    struct sock_addr at = *a;
    int n = 0, ret = 0;
    for (int i = 0; i < 1 + (a->other_len != 0) && ret != -EADDRINUSE; i++) {
        ret = listen_at(&at, true, e);
        if (ret >= 0) {
            fd[n++] = ret;
        }
        (void)sock_turn(&at);
    }
    while (ret == -EADDRINUSE && n) {
        close(fd[--n]);
    }
    return n ? n : ret;
}

static int connect_one(const struct sock_addr *a, struct err *e)
{
    const struct timeval patience = { .tv_sec = SOCK_CONNECT_SECONDS }, endless = { 0 };
    int fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_set(e, -errno, "socket: %s", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&a->ss, a->len) < 0) {
        errno = errno == EINPROGRESS ? ETIMEDOUT : errno; /* that is how the limit shows */
        return give_up(fd, "connecting to", a, e);
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &endless, sizeof(endless));
    return fd;
}

bool sock_turn(struct sock_addr *a)
{
    const struct sock_addr was = *a;
    if (!a->other_len) {
        return false;
    }
    *a = (struct sock_addr){ was.other, was.ss, was.other_len, was.len };
    return true;
}

void sock_set_port(struct sock_addr *a, uint16_t port)
{
    /* sin_port and sin6_port are in the same place */
    ((struct sockaddr_in *)&a->ss)->sin_port = htons(port);
    ((struct sockaddr_in *)&a->other)->sin_port = htons(port);
}

int sock_connect(const struct sock_addr *a, struct err *e)
{
    struct sock_addr other = *a;
    struct err first = { 0 };
    int fd = connect_one(a, &first);
    if (fd < 0 && sock_turn(&other)) {
        fd = connect_one(&other, e);
    }
    if (fd < 0) {
        *e = first;
        return first.code;
    }
    return fd;
}

char *sock_host(const struct sock_addr *a)
{
    char host[NI_MAXHOST] = "";
    getnameinfo((const struct sockaddr *)&a->ss, a->len, host, sizeof(host), NULL, 0,
                NI_NUMERICHOST);
    return xstrdup(host);
}

char *sock_text(const struct sock_addr *a)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    bool v6 = a->ss.ss_family == AF_INET6;
    if (a->ss.ss_family == AF_UNIX) {
        size_t max = a->len > offsetof(struct sockaddr_un, sun_path)
                         ? a->len - offsetof(struct sockaddr_un, sun_path)
                         : 0;
        bool abstract = max > 1 && !un->sun_path[0];
        return xasprintf("unix:%s%.*s", abstract ? "@" : "",
                         (int)strnlen(un->sun_path + abstract, max - abstract),
                         un->sun_path + abstract);
    }
    if (getnameinfo((const struct sockaddr *)&a->ss, a->len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return xstrdup("socket");
    }
    return xasprintf("tcp:%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
}
