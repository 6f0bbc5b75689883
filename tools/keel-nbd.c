/* SPDX-License-Identifier: MIT */
/* tools/keel-nbd.c - serves a disk image over NBD: options are qemu-nbd's. man/keel-nbd.1. */
#include "block/bitmap.h"
#include "block/nbd-proto.h"
#include "block/nbd-server.h"
#include "block/qcow2.h"
#include "block/raw.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "dm/base/util.h"
#include "tools/nbd-list.h"
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h> /* optind */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct serve {
    struct image_open image;
    const char *socket, *bind, *port, *name, *description, *pid_file, *snapshot;
    const char *tls_id, *tls_host;
    bool image_opts, persistent, fork, list, depth, verbose;
    const char *bitmap_names[NBD_MAX_BITMAPS];
    struct bitmap *bitmaps[NBD_MAX_BITMAPS];
    unsigned nbitmaps;
    unsigned shared; /* clients at once; 0: no limit */
    uint64_t offset; /* bytes of the image that are left out */
    enum node_zeroes zeroes;

    struct ev_loop *loop;
};

static int usage(FILE *f)
{
    fprintf(f,
            "usage: keel-nbd [OPTION]... FILE\n"
            "       keel-nbd -L [OPTION]...\n"
            "  -L, --list               tell what another server exports\n"
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
            "  -A, --allocation-depth   tell how deep in the chain data are\n"
            "  -B, --bitmap=NAME        tell what a dirty bitmap has; may be repeated\n"
            "  -o, --offset=N           leave out the image's first N bytes\n"
            "      --object=TYPE,...    secret, tls-creds-x509, tls-creds-psk\n"
            "      --tls-creds=ID       encrypted connections alone, with these credentials\n"
            "      --tls-hostname=NAME  with -L: whom the server's certificate is for\n"
            "      --fork               go to the background once it serves\n"
            "      --pid-file=PATH      write the process id there\n"
            "  -v, --verbose            tell of clients that fail\n"
            "  -h, --help; -V, --version\n",
            NBD_PORT);
    return f == stderr;
}

/* ---- options ---- */

static int take_shared(void *to, const char *arg)
{
    struct serve *s = to;
    char *end;
    unsigned long v = strtoul(arg, &end, 10);

    s->shared = (unsigned)v;
    return *end || end == arg || v > 100000 ? fail("Invalid shared device number '%s'", arg) : 0;
}

static int take_nocache(void *to, const char *arg)
{
    (void)arg;
    ((struct serve *)to)->image.cache = BLK_NONE;
    return 0;
}

static int take_cache(void *to, const char *arg)
{
    return tool_cache(arg, &((struct serve *)to)->image.cache)
               ? 0
               : fail("Invalid cache mode `%s'", arg);
}

static int take_aio(void *to, const char *arg)
{
    return blk_aio_named(arg, &((struct serve *)to)->image.aio)
               ? 0
               : fail("invalid aio mode `%s'", arg);
}

static int take_discard(void *to, const char *arg)
{
    return tool_discard(arg, &((struct serve *)to)->image.discard)
               ? 0
               : fail("Invalid discard mode `%s'", arg);
}

static int take_detect_zeroes(void *to, const char *how)
{
    static const char *const names[] = { "off", "on", "unmap" };

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], how) == 0) {
            ((struct serve *)to)->zeroes = (enum node_zeroes)i;
            return 0;
        }
    }
    return fail("Failed to parse detect_zeroes mode: invalid parameter value: %s", how);
}

static int take_offset(void *to, const char *arg)
{
    struct serve *s = to;

    return tool_bytes(arg, &s->offset) && s->offset % NODE_ALIGN == 0
               ? 0
               : fail("Invalid offset '%s': whole sectors", arg);
}

static int take_bitmap(void *to, const char *arg)
{
    struct serve *s = to;

    if (s->nbitmaps == NBD_MAX_BITMAPS) {
        return fail("-B: at most %d", NBD_MAX_BITMAPS);
    }
    s->bitmap_names[s->nbitmaps++] = arg;
    return 0;
}

static int do_version(void *to, const char *arg)
{
    (void)to, (void)arg;
    printf("keel-nbd " KEEL_VERSION "\n");
    return TOOL_END;
}

#define AT(member) .at = offsetof(struct serve, member)
static const struct tool_opt options[] = {
    { "aio", 0, TOOL_TAKE, .take = take_aio },
    { "allocation-depth", 'A', TOOL_FLAG, AT(depth) },
    { "bind", 'b', TOOL_TEXT, AT(bind) },
    { "bitmap", 'B', TOOL_TAKE, .take = take_bitmap },
    { "cache", 0, TOOL_TAKE, .take = take_cache },
    { "connect", 'c', TOOL_MISSING_ARG },
    { "description", 'D', TOOL_TEXT, AT(description) },
    { "detect-zeroes", 0, TOOL_TAKE, .take = take_detect_zeroes },
    { "discard", 0, TOOL_TAKE, .take = take_discard },
    { "disconnect", 'd', TOOL_MISSING },
    { "export-name", 'x', TOOL_TEXT, AT(name) },
    { "fork", 0, TOOL_FLAG, AT(fork) },
    { "format", 'f', TOOL_TEXT, AT(image.format) },
    { "help", 'h', TOOL_DO, .take = tool_help },
    { "image-opts", 0, TOOL_FLAG, AT(image_opts) },
    { "list", 'L', TOOL_FLAG, AT(list) },
    { "load-snapshot", 'l', TOOL_TEXT, AT(snapshot) },
    { "nocache", 'n', TOOL_DO, .take = take_nocache },
    { "object", 0, TOOL_TAKE, .take = tool_take_object },
    { "offset", 'o', TOOL_TAKE, .take = take_offset },
    { "persistent", 't', TOOL_FLAG, AT(persistent) },
    { "pid-file", 0, TOOL_TEXT, AT(pid_file) },
    { "port", 'p', TOOL_TEXT, AT(port) },
    { "read-only", 'r', TOOL_FLAG, AT(image.read_only) },
    { "selinux-label", 0, TOOL_MISSING_ARG },
    { "shared", 'e', TOOL_TAKE, .take = take_shared },
    { "snapshot", 's', TOOL_FLAG, AT(image.temporary) },
    { "socket", 'k', TOOL_TEXT, AT(socket) },
    { "tls-authz", 0, TOOL_MISSING_ARG },
    { "tls-creds", 0, TOOL_TEXT, AT(tls_id) },
    { "tls-hostname", 0, TOOL_TEXT, AT(tls_host) },
    { "trace", 'T', TOOL_MISSING_ARG },
    { "verbose", 'v', TOOL_FLAG, AT(verbose) },
    { "version", 'V', TOOL_DO, .take = do_version },
};
#undef AT

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
    if (s->tls_host && !s->list) {
        return fail("TLS hostname is only supported with export list");
    }
    return 0;
}

/* -L: what there is at the other end. */
static int list(const struct serve *s)
{
    struct nbd_how how = { .tls_host = s->tls_host };
    struct err e = { 0 };
    char *address;
    int rc;

    if (s->tls_id && !(how.tls = tool_tls(s->tls_id, false, &e))) {
        return fail("%s", e.msg);
    }
    address = s->socket ? xasprintf("nbd:unix:%s", s->socket)
                        : xasprintf("nbd:[%s]:%s", s->bind ? s->bind : "localhost",
                                    s->port ? s->port : "10809");
    rc = nbd_print_list(address, &how);
    free(address);
    return rc;
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

static void tell_parent(int fd, bool verbose)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    for (int i = 0; null >= 0 && i < 3 - verbose; i++) {
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

/* -B: the image's own bitmaps, or those of the images below it. */
static int find_bitmaps(struct serve *s, struct node *n)
{
    struct err e = { 0 };

    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct bitmap *b = NULL;
        for (const struct node *at = n; at && !b; at = at->backing) {
            b = bitmap_find(at, s->bitmap_names[i]);
        }
        if (!b) {
            return fail("Bitmap '%s' is not found", s->bitmap_names[i]);
        }
        if (bitmap_usable(b, &e) < 0) {
            return fail("%s", e.msg);
        }
        if (n->read_only && b->recording && b->node == n) {
            return fail("Enabled bitmap '%s' incompatible with readonly export", b->name);
        }
        if (b->len != n->len) {
            return fail("Bitmap '%s' covers another length than the image", b->name);
        }
        s->bitmaps[i] = b;
    }
    return 0;
}

/* The image is open and fd listens. */
static int serve(struct serve *s, struct node *n, int fd, int parent)
{
    struct nbd_server_open open = { .max_clients = s->shared, .gone = client_gone, .opaque = s };
    struct nbd_export export = { .node = n,
                                 .name = s->name ? s->name : "",
                                 .description = s->description,
                                 .depth = s->depth,
                                 .bitmaps = s->bitmaps,
                                 .nbitmaps = s->nbitmaps };
    struct err e = { 0 };

    if (find_bitmaps(s, n)) {
        return 1;
    }
    if (s->tls_id && !(open.tls = tool_tls(s->tls_id, true, &e))) {
        return fail("%s", e.msg);
    }
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
    ret = ret < 0 ? ret : nbd_server_export(server, &export);
    ret = ret < 0 ? ret : nbd_server_listen(server, fd);
    if (ret < 0) {
        rc = fail("%s", strerror(-ret));
    }
    rc = rc || !s->pid_file ? rc : write_pid(s->pid_file);
    if (rc == 0) {
        tell_parent(parent, s->verbose);
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
    const char *made = NULL; /* a socket's path */
    int rc, fd, parent, ret;

    tool_name = "keel-nbd";
    tool_usage = usage;
    rc = tool_options(options, ARRAY_SIZE(options), "", false, &s, argc, argv);
    if (rc) {
        return rc == TOOL_END ? 0 : rc == TOOL_USAGE ? usage(stderr) : rc;
    }
    rc = check_options(&s);
    if (rc || s.list) {
        return rc || argc != optind ? rc || fail("List mode is incompatible with a file name")
                                    : list(&s);
    }
    if (argc - optind != 1) {
        return fail("expecting one image file name");
    }
    if (s.verbose) {
        log_set_level(LOG_DEBUG);
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
        struct err e = { 0 };
        if (fd < 0) {
            fd = nbd_listen(s.socket, s.bind, s.port, &e);
            made = fd < 0 ? NULL : s.socket;
        }
        rc = fd < 0 ? fail("%s", e.msg) : serve(&s, n, fd, parent);
        ret = node_close(n);
        rc = ret < 0 ? fail("'%s': closing it failed: %s", argv[optind], strerror(-ret)) : rc;
    }
    if (made) {
        unlink(made);
    }
    if (s.image_opts) {
        tool_image_opts_free(&s.image);
    }
    node_ctx_free(ctx);
    ev_loop_free(s.loop);
    return rc;
}
