/* SPDX-License-Identifier: MIT */
/* tools/keel-nbd.c - serves a disk image over NBD: options are qemu-nbd's. man/keel-nbd.1. */
#include "block/nbd-proto.h"
#include "block/nbd-server.h"
#include "block/qcow2.h"
#include "block/raw.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct serve {
    struct image_open image;
    const char *socket, *bind, *port, *name, *description, *pid_file, *snapshot;
    bool image_opts, persistent, fork;
    unsigned shared; /* clients at once; 0: no limit */
    uint64_t offset; /* bytes of the image that are left out */
    enum node_zeroes zeroes;

    struct ev_loop *loop;
};

static int fail(const char *fmt, ...)
{
    va_list ap;

    fputs("keel-nbd: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

static int usage(FILE *f)
{
    fprintf(f,
            "usage: keel-nbd [OPTION]... FILE\n"
            "  -k, --socket=PATH        serve on a unix socket\n"
            "  -b, --bind=ADDRESS       serve on this address alone\n"
            "  -p, --port=PORT          serve on this TCP port (%d)\n"
            "  -e, --shared=N           up to N clients at once (1; 0: no limit)\n"
            "  -t, --persistent         go on when the last client has gone\n"
            "  -x, --export-name=NAME   the export's name (\"\")\n"
            "  -D, --description=TEXT   what clients are told about it\n"
            "  -f, --format=FORMAT      the image's format\n"
            "      --image-opts         FILE is driver=...,file.filename=...\n"
            "  -r, --read-only          refuse writes\n"
            "  -s, --snapshot           writes go to a file that is gone at the end\n"
            "  -l, --load-snapshot=NAME serve an internal snapshot, read-only\n"
            "      --cache=MODE, -n     cache mode; -n: none\n"
            "      --aio=MODE           threads, native or io_uring\n"
            "      --discard=MODE       ignore or unmap\n"
            "      --detect-zeroes=MODE off, on or unmap\n"
            "  -o, --offset=N           leave out the image's first N bytes\n"
            "      --object=secret,...  what an encrypted image's key-secret names\n"
            "      --fork               go to the background once it serves\n"
            "      --pid-file=PATH      write the process id there\n"
            "  -h, --help; -V, --version\n",
            NBD_PORT);
    return f == stderr;
}

/* ---- options ---- */

enum {
    OPT_CACHE = 256,
    OPT_AIO,
    OPT_DISCARD,
    OPT_IMAGE_OPTS,
    OPT_FORK,
    OPT_PID_FILE,
    OPT_OBJECT,
    OPT_DETECT_ZEROES,
    OPT_NOT_HAD,
};

static const struct option long_options[] = {
    { "socket", required_argument, NULL, 'k' },
    { "bind", required_argument, NULL, 'b' },
    { "port", required_argument, NULL, 'p' },
    { "shared", required_argument, NULL, 'e' },
    { "persistent", no_argument, NULL, 't' },
    { "export-name", required_argument, NULL, 'x' },
    { "description", required_argument, NULL, 'D' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "load-snapshot", required_argument, NULL, 'l' },
    { "nocache", no_argument, NULL, 'n' },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "cache", required_argument, NULL, OPT_CACHE },
    { "aio", required_argument, NULL, OPT_AIO },
    { "discard", required_argument, NULL, OPT_DISCARD },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { "fork", no_argument, NULL, OPT_FORK },
    { "pid-file", required_argument, NULL, OPT_PID_FILE },
    { "offset", required_argument, NULL, 'o' },
    { "bitmap", required_argument, NULL, OPT_NOT_HAD },
    { "allocation-depth", no_argument, NULL, OPT_NOT_HAD },
    { "connect", required_argument, NULL, OPT_NOT_HAD },
    { "disconnect", no_argument, NULL, OPT_NOT_HAD },
    { "list", no_argument, NULL, OPT_NOT_HAD },
    { "detect-zeroes", required_argument, NULL, OPT_DETECT_ZEROES },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "tls-creds", required_argument, NULL, OPT_NOT_HAD },
    { "tls-hostname", required_argument, NULL, OPT_NOT_HAD },
    { "tls-authz", required_argument, NULL, OPT_NOT_HAD },
    { "trace", required_argument, NULL, OPT_NOT_HAD },
    { "verbose", no_argument, NULL, OPT_NOT_HAD },
    { 0 },
};

static bool take_plain(struct serve *s, int c)
{
    const struct tool_plain plain[] = {
        { 'k', &s->socket, NULL },
        { 'b', &s->bind, NULL },
        { 'p', &s->port, NULL },
        { 'x', &s->name, NULL },
        { 'D', &s->description, NULL },
        { 'f', &s->image.format, NULL },
        { 'l', &s->snapshot, NULL },
        { OPT_PID_FILE, &s->pid_file, NULL },
        { 't', NULL, &s->persistent },
        { 'r', NULL, &s->image.read_only },
        { 's', NULL, &s->image.temporary },
        { OPT_IMAGE_OPTS, NULL, &s->image_opts },
        { OPT_FORK, NULL, &s->fork },
    };
    return tool_take_plain(plain, ARRAY_SIZE(plain), c);
}

static int take_detect_zeroes(struct serve *s, const char *how)
{
    static const char *const names[] = { "off", "on", "unmap" };

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], how) == 0) {
            s->zeroes = (enum node_zeroes)i;
            return 0;
        }
    }
    return fail("Failed to parse detect_zeroes mode: invalid parameter value: %s", how);
}

static int take(struct serve *s, int c, char **argv)
{
    char *end;
    unsigned long v;

    if (take_plain(s, c)) {
        return 0;
    }
    switch (c) {
    case 'e':
        v = strtoul(optarg, &end, 10);
        if (*end || end == optarg || v > 100000) {
            return fail("Invalid shared device number '%s'", optarg);
        }
        s->shared = (unsigned)v;
        break;
    case 'n':
        s->image.cache = BLK_NONE;
        break;
    case OPT_CACHE:
        if (!tool_cache(optarg, &s->image.cache)) {
            return fail("Invalid cache mode `%s'", optarg);
        }
        break;
    case OPT_AIO:
        if (!blk_aio_named(optarg, &s->image.aio)) {
            return fail("invalid aio mode `%s'", optarg);
        }
        break;
    case OPT_DISCARD:
        s->image.discard = strcmp(optarg, "unmap") == 0 || strcmp(optarg, "on") == 0;
        if (!s->image.discard && strcmp(optarg, "ignore") != 0 && strcmp(optarg, "off") != 0) {
            return fail("Invalid discard mode `%s'", optarg);
        }
        break;
    case OPT_OBJECT: {
        struct err e = { 0 };
        return tool_object(optarg, &e) < 0 ? fail("--object: %s", e.msg) : 0;
    }
    case OPT_NOT_HAD:
        return fail("%s: known, but Keel does not have it yet", tool_option(argv));
    case 'o':
        if (!tool_bytes(optarg, &s->offset) || s->offset % NODE_ALIGN) {
            return fail("Invalid offset '%s': whole sectors", optarg);
        }
        break;
    case OPT_DETECT_ZEROES:
        return take_detect_zeroes(s, optarg);
    case 'B':
    case 'A':
    case 'c':
    case 'd':
    case 'L':
    case 'P':
    case 'T':
    case 'v':
        return fail("-%c: known, but Keel does not have it yet", c);
    default:
        return usage(stderr);
    }
    return 0;
}

static int check_options(const struct serve *s)
{
    if (s->socket && (s->port || s->bind)) {
        return fail("TCP port and unix socket can't both be used");
    }
    if (s->snapshot && s->image.temporary) {
        return fail("-s and -l exclude each other");
    }
    if (s->zeroes == NODE_ZEROES_UNMAP && !s->image.discard) {
        return fail(
            "setting detect-zeroes to unmap is not allowed without setting discard operation "
            "to unmap");
    }
    if (s->image_opts && s->image.format) {
        return fail("--image-opts and -f are mutually exclusive");
    }
    return 0;
}

/* ---- sockets ---- */

/* One that systemd, or whoever plays its part, has opened for us. */
static int socket_handed_over(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

    if (!pid || !n || atol(pid) != (long)getpid() || strcmp(n, "1") != 0) {
        return -1;
    }
    fcntl(3, F_SETFD, FD_CLOEXEC);
    fcntl(3, F_SETFL, O_NONBLOCK);
    return 3;
}

static int listen_local(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(un.sun_path)) {
        fail("socket '%s': too long a path", path);
        return -1;
    }
    strcpy(un.sun_path, path);
    unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 || listen(fd, 64) < 0) {
        fail("Failed to bind socket to %s: %s", path, strerror(errno));
        return -1;
    }
    return fd;
}

static int listen_tcp(const struct serve *s)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
    char number[16];
    int fd = -1, one = 1, ret;

    snprintf(number, sizeof(number), "%d", NBD_PORT);
    const char *port = s->port ? s->port : number;
    ret = getaddrinfo(s->bind ? s->bind : "0.0.0.0", port, &want, &list);
    if (ret) {
        fail("address %s:%s: %s", s->bind ? s->bind : "0.0.0.0", port, gai_strerror(ret));
        return -1;
    }
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, 64) < 0) {
        fail("Failed to bind to port %s: %s", port, strerror(errno));
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

/* ---- serving ---- */

static void client_gone(void *opaque, unsigned left)
{
    struct serve *s = opaque;

    if (!left && !s->persistent) {
        ev_quit(s->loop);
    }
}

static void signalled(void *opaque, unsigned events)
{
    (void)events;
    ev_quit(opaque);
}

static int write_pid(const char *path)
{
    FILE *f = fopen(path, "w");
    bool bad = !f || fprintf(f, "%ld\n", (long)getpid()) < 0;

    bad |= f && fclose(f) != 0;
    return bad ? fail("pid file '%s': %s", path, strerror(errno)) : 0;
}

/* The parent waits until the child serves, or has said why it does not. Returns the descriptor that
 * tells it so, -1 without --fork. */
static int go_background(const struct serve *s)
{
    int fd[2];
    char c;

    if (!s->fork) {
        return -1;
    }
    if (pipe2(fd, O_CLOEXEC) < 0) {
        exit(fail("--fork: %s", strerror(errno)));
    }
    pid_t pid = fork();
    if (pid < 0) {
        exit(fail("--fork: %s", strerror(errno)));
    }
    if (pid > 0) {
        close(fd[1]);
        exit(read(fd[0], &c, 1) == 1 ? 0 : 1);
    }
    close(fd[0]);
    setsid();
    return fd[1];
}

static void tell_parent(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    for (int i = 0; null >= 0 && i < 3; i++) {
        dup2(null, i);
    }
    if (write(fd, "", 1) != 1) {
        _exit(1); /* nobody waits any more */
    }
    close(fd);
    if (null > 2) {
        close(null);
    }
}

/* -o: what lies behind the offset. Takes n. */
static struct node *open_part(const struct serve *s, struct node *n)
{
    struct raw_open part = { .read_only = n->read_only, .offset = s->offset };
    struct err e = { 0 };

    if (s->offset >= n->len) {
        fail("Offset (%llu) has to be smaller than the image size (%llu)",
             (unsigned long long)s->offset, (unsigned long long)n->len);
        node_close(n);
        return NULL;
    }
    n = raw_open(n, &part, &e);
    if (!n) {
        fail("%s", e.msg);
    }
    return n;
}

static struct node *open_image(struct serve *s, struct node_ctx *ctx, const char *file)
{
    struct err e = { 0 };
    struct node *n;

    s->image.filename = file;
    s->image.read_only |= s->snapshot != NULL;
    s->image.follow_data = s->image.format && !s->image_opts;
    if (s->image_opts && tool_image_opts(file, &s->image, &e) < 0) {
        fail("--image-opts: %s", e.msg);
        return NULL;
    }
    n = image_open(ctx, &s->image, &e);
    if (!n) {
        fail("Failed to blk_new_open '%s': %s", file, e.msg);
        return NULL;
    }
    if (s->snapshot && (!qcow2_is(n) || qcow2_snapshot_view(n, s->snapshot, &e) < 0)) {
        fail("Failed to load snapshot: %s", e.code ? e.msg : "the format has none");
        node_close(n);
        return NULL;
    }
    n->detect_zeroes = s->zeroes;
    return s->offset ? open_part(s, n) : n;
}

/* The image is open and fd listens. */
static int serve(struct serve *s, struct node *n, int fd, int parent)
{
    struct nbd_server_open open = { .max_clients = s->shared, .gone = client_gone, .opaque = s };
    struct nbd_server *server = nbd_server_new(s->loop, &open);
    struct ev_fd sig = { .events = EV_READ, .cb = signalled, .opaque = s->loop };
    sigset_t set;
    int ret, rc = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sig.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    ret = sig.fd < 0 ? -errno : ev_fd_add(s->loop, &sig);
    ret =
        ret < 0 ? ret : nbd_server_export(server, n, s->name ? s->name : "", s->description, false);
    ret = ret < 0 ? ret : nbd_server_listen(server, fd);
    if (ret < 0) {
        rc = fail("%s", strerror(-ret));
    }
    rc = rc || !s->pid_file ? rc : write_pid(s->pid_file);
    if (rc == 0) {
        tell_parent(parent);
        ev_loop_run(s->loop);
    }
    nbd_server_free(server);
    if (sig.loop) {
        ev_fd_del(&sig);
    }
    close(sig.fd);
    return rc;
}

int main(int argc, char **argv)
{
    struct serve s = { .shared = 1, .image = { .fd = -1, .lock = true, .cache = BLK_WRITEBACK } };
    int c, rc = 0, fd, parent, ret;

    while (rc == 0 && (c = getopt_long(argc, argv, "hVk:b:p:e:tx:D:f:rsl:no:B:Ac:dLP:T:v",
                                       long_options, NULL)) != -1) {
        if (c == 'h') {
            return usage(stdout);
        }
        if (c == 'V') {
            printf("keel-nbd " KEEL_VERSION "\n");
            return 0;
        }
        rc = take(&s, c, argv);
    }
    if (rc || (rc = check_options(&s))) {
        return rc;
    }
    if (argc - optind != 1) {
        return fail("expecting one image file name");
    }
    fd = socket_handed_over(); /* before the process has another id */
    parent = go_background(&s);
    s.loop = ev_loop_new(NULL, NULL, NULL);
    if (!s.loop) {
        return fail("%s", strerror(errno));
    }
    struct node_ctx *ctx = node_ctx_new(s.loop);
    struct node *n = open_image(&s, ctx, argv[optind]);
    rc = 1;
    if (n) {
        fd = fd >= 0 ? fd : s.socket ? listen_local(s.socket) : listen_tcp(&s);
        rc = fd >= 0 ? serve(&s, n, fd, parent) : 1;
        ret = node_close(n);
        rc = ret < 0 ? fail("'%s': closing it failed: %s", argv[optind], strerror(-ret)) : rc;
    }
    if (s.socket) {
        unlink(s.socket);
    }
    if (s.image_opts) {
        free((char *)s.image.filename);
        free((char *)s.image.format);
    }
    node_ctx_free(ctx);
    ev_loop_free(s.loop);
    return rc;
}
