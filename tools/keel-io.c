/* SPDX-License-Identifier: MIT */
/* tools/keel-io.c - reads and writes patterns in disk images: the commands of qemu-io.
 *
 *   keel-io [-r] [-f FORMAT] [-n] [-t CACHE] [-d off|unmap] [-U] [-c COMMAND]... [FILE]
 *
 * Without -c the commands come from standard input. man/keel-io.1 lists them.
 */
#include "block/open.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGS = 16, MAX_LEN = 1 << 30 };

struct io {
    struct node_ctx *ctx;
    struct node *n;
    unsigned aio; /* in flight */
    bool failed;
};

struct request {
    struct node_req r;
    struct iovec iov;
    struct io *io;
    const char *what;
    int pattern; /* -1: none */
    bool verify, quiet, verbose, async;
    bool ended;
    int ret;
};

static bool parse_size(const char *s, uint64_t *out)
{
    char *end;
    double scale = 1;
    errno = 0;
    uint64_t v = strtoull(s, &end, 0);
    switch (*end) {
    case 'k':
    case 'K':
        scale = 1024;
        break;
    case 'm':
    case 'M':
        scale = 1 << 20;
        break;
    case 'g':
    case 'G':
        scale = 1 << 30;
        break;
    case 't':
    case 'T':
        scale = 1099511627776.0;
        break;
    case '\0':
        break;
    default:
        return false;
    }
    if (end == s || *s == '-' || errno || (*end && end[1])) {
        return false;
    }
    *out = (uint64_t)((double)v * scale);
    return true;
}

static void report(const struct request *q)
{
    if (q->ret < 0) {
        printf("%s failed: %s\n", q->what, strerror(-q->ret));
    } else if (!q->quiet && q->r.op != NODE_FLUSH) {
        printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", q->what, q->r.len,
               q->r.len, q->r.offset);
    }
}

static void dump(const struct request *q)
{
    const uint8_t *p = q->iov.iov_base;

    for (uint64_t i = 0; i < q->r.len; i += 16) {
        printf("%08" PRIx64 ": ", q->r.offset + i);
        for (uint64_t k = i; k < i + 16; k++) {
            printf(" %02x", p[k]);
        }
        printf("  ");
        for (uint64_t k = i; k < i + 16; k++) {
            putchar(p[k] >= 32 && p[k] < 127 ? p[k] : '.');
        }
        putchar('\n');
    }
}

static bool verify(const struct request *q)
{
    const uint8_t *p = q->iov.iov_base;

    for (uint64_t i = 0; i < q->r.len; i++) {
        if (p[i] != (uint8_t)q->pattern) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                   q->r.offset, q->r.len);
            return false;
        }
    }
    return true;
}

static void request_done(struct node_req *r, int ret)
{
    struct request *q = container_of(r, struct request, r);
    struct io *io = q->io;
    bool async = q->async;

    q->ended = true;
    q->ret = ret;
    if (ret == 0 && q->verify) {
        io->failed |= !verify(q);
    }
    if (ret == 0 && q->verbose) {
        dump(q);
    }
    io->failed |= ret < 0;
    report(q);
    free(q->iov.iov_base);
    if (async) {
        io->aio--;
        free(q);
    }
}

static void run(struct io *io, struct request *q)
{
    q->io = io;
    q->r.done = request_done;
    if (q->async) {
        io->aio++;
    }
    bool async = q->async;
    node_submit(io->n, &q->r);
    while (!async && !q->ended) {
        node_ctx_poll(io->ctx, true);
    }
    if (!async) {
        free(q);
    }
}

static void wait_all(struct io *io)
{
    while (io->aio) {
        node_ctx_poll(io->ctx, true);
    }
}

static int bad(struct io *io, const char *why, const char *what)
{
    printf("%s: %s\n", what, why);
    io->failed = true;
    return -1;
}

/* [-P pattern] and flags, then offset and length. */
static int parse_request(struct io *io, int argc, char **argv, struct request *q)
{
    uint64_t v;
    int c;

    optind = 0;
    q->pattern = -1;
    while ((c = getopt(argc, argv, "P:zucqvfn")) != -1) {
        if (c == 'P' && parse_size(optarg, &v) && v < 256) {
            q->pattern = (int)v;
        } else if (c == 'z') {
            q->r.op = NODE_ZERO;
        } else if (c == 'u') {
            q->r.flags |= NODE_UNMAP;
        } else if (c == 'c') {
            q->r.flags |= NODE_COMPRESS;
        } else if (c == 'q') {
            q->quiet = true;
        } else if (c == 'v') {
            q->verbose = q->r.op == NODE_READ;
        } else if (c != 'f' && c != 'n') {
            return bad(io, "unknown option", argv[0]);
        }
    }
    if (argc - optind != 2) {
        return bad(io, "wants an offset and a length", argv[0]);
    }
    if (!parse_size(argv[optind], &q->r.offset) || !parse_size(argv[optind + 1], &q->r.len)) {
        return bad(io, "not a number of bytes", argv[0]);
    }
    if ((q->r.op == NODE_READ || q->r.op == NODE_WRITE) && q->r.len > MAX_LEN) {
        return bad(io, "more than 1 GiB at once", argv[0]);
    }
    return 0;
}

static void move(struct io *io, int argc, char **argv, enum node_op op, const char *what)
{
    struct request *q = xcalloc(1, sizeof(*q));

    q->r.op = op;
    q->what = what;
    q->async = strncmp(argv[0], "aio", 3) == 0;
    if (parse_request(io, argc, argv, q) < 0) {
        free(q);
        return;
    }
    if (q->r.op == NODE_READ || q->r.op == NODE_WRITE) {
        if (posix_memalign(&q->iov.iov_base, 4096, q->r.len ? q->r.len : 1)) {
            abort();
        }
        q->iov.iov_len = q->r.len;
        memset(q->iov.iov_base, q->pattern < 0 ? 0xcd : q->pattern, q->r.len);
        q->r.iov = &q->iov;
        q->r.iovcnt = 1;
    }
    q->verify = op == NODE_READ && q->pattern >= 0;
    run(io, q);
}

static void do_flush(struct io *io)
{
    struct request *q = xcalloc(1, sizeof(*q));

    q->r.op = NODE_FLUSH;
    q->what = "flush";
    q->quiet = true;
    run(io, q);
}

static void print_run(const struct node *n, uint64_t at, uint64_t len, bool allocated)
{
    (void)n;
    printf("%#" PRIx64 " bytes %s at offset %#" PRIx64 "\n", len,
           allocated ? "    allocated" : "not allocated", at);
}

static void do_map(struct io *io)
{
    uint64_t at = 0, start = 0;
    int state = -1;

    while (at < io->n->len) {
        struct node_status st;
        int ret = node_status(io->n, at, io->n->len - at, &st);
        if (ret < 0) {
            printf("map failed: %s\n", strerror(-ret));
            io->failed = true;
            return;
        }
        int now = !!(st.flags & NODE_ALLOCATED);
        if (now != state) {
            if (state >= 0) {
                print_run(io->n, start, at - start, state);
            }
            state = now;
            start = at;
        }
        at += st.len;
    }
    if (at > start) {
        print_run(io->n, start, at - start, state);
    }
}

static void do_alloc(struct io *io, int argc, char **argv)
{
    uint64_t at, len = 512, sum = 0;

    if (argc < 2 || !parse_size(argv[1], &at) || (argc > 2 && !parse_size(argv[2], &len)) ||
        at > io->n->len || len > io->n->len - at) {
        bad(io, "wants an offset and a length inside the image", "alloc");
        return;
    }
    for (uint64_t k = at; k < at + len;) {
        struct node_status st;
        if (node_status(io->n, k, at + len - k, &st) < 0) {
            bad(io, "failed", "alloc");
            return;
        }
        sum += st.flags & NODE_ALLOCATED ? st.len : 0;
        k += st.len;
    }
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %" PRIu64 "\n", sum, len, at);
}

static void do_truncate(struct io *io, int argc, char **argv)
{
    struct err e = { 0 };
    uint64_t len;

    if (argc != 2 || !parse_size(argv[1], &len)) {
        bad(io, "wants a length", "truncate");
    } else if (node_resize(io->n, len, &e) < 0) {
        bad(io, e.msg, "truncate");
    }
}

/* Returns false to quit. */
static bool command(struct io *io, char *line)
{
    char *argv[MAX_ARGS + 1];
    int argc = 0;

    for (char *p = strtok(line, " \t\n"); p && argc < MAX_ARGS; p = strtok(NULL, " \t\n")) {
        argv[argc++] = p;
    }
    argv[argc] = NULL;
    if (argc == 0) {
        return true;
    }
    const char *what = argv[0];
    if (!strcmp(what, "quit") || !strcmp(what, "q")) {
        return false;
    }
    if (!strcmp(what, "read") || !strcmp(what, "r") || !strcmp(what, "aio_read")) {
        move(io, argc, argv, NODE_READ, "read");
    } else if (!strcmp(what, "write") || !strcmp(what, "w") || !strcmp(what, "aio_write")) {
        move(io, argc, argv, NODE_WRITE, "wrote");
    } else if (!strcmp(what, "discard") || !strcmp(what, "d")) {
        move(io, argc, argv, NODE_DISCARD, "discard");
    } else if (!strcmp(what, "flush") || !strcmp(what, "f")) {
        do_flush(io);
    } else if (!strcmp(what, "aio_flush")) {
        wait_all(io);
    } else if (!strcmp(what, "map")) {
        do_map(io);
    } else if (!strcmp(what, "alloc")) {
        do_alloc(io, argc, argv);
    } else if (!strcmp(what, "truncate") || !strcmp(what, "t")) {
        do_truncate(io, argc, argv);
    } else if (!strcmp(what, "length") || !strcmp(what, "l")) {
        printf("%" PRIu64 " bytes\n", io->n->len);
    } else {
        bad(io, "no such command", what);
    }
    return true;
}

static void from_stdin(struct io *io)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin) && command(io, line)) {
        fflush(stdout);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: keel-io [-r] [-U] [-n] [-f FORMAT] [-t CACHE] [-d off|unmap] "
                    "[-c COMMAND]... FILE\n");
    return 2;
}

static bool parse_cache(const char *s, enum blk_cache *out)
{
    static const char *const names[] = { "writeback", "none", "writethrough", "directsync",
                                         "unsafe" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], s) == 0) {
            *out = (enum blk_cache)i;
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    struct image_open o = { .fd = -1, .lock = true, .discard = true };
    struct io io = { 0 };
    struct err e = { 0 };
    char *commands[256];
    int n = 0, c, ret;

    while ((c = getopt(argc, argv, "+rUnf:t:c:d:i:skCmTh")) != -1) {
        switch (c) {
        case 'r':
            o.read_only = true;
            break;
        case 'U':
            o.lock = false;
            break;
        case 'n':
            o.cache = BLK_NONE;
            break;
        case 'f':
            o.format = optarg;
            break;
        case 'd':
            o.discard = strcmp(optarg, "unmap") == 0 || strcmp(optarg, "on") == 0;
            break;
        case 't':
            if (!parse_cache(optarg, &o.cache)) {
                return usage();
            }
            break;
        case 'c':
            if (n == (int)ARRAY_SIZE(commands)) {
                return usage();
            }
            commands[n++] = optarg;
            break;
        default:
            return usage();
        }
    }
    if (argc - optind != 1) {
        return usage();
    }
    o.filename = argv[optind];
    o.follow_data = o.format;
    io.ctx = node_ctx_new(NULL);
    io.n = image_open(io.ctx, &o, &e);
    if (!io.n) {
        fprintf(stderr, "keel-io: %s\n", e.msg);
        node_ctx_free(io.ctx);
        return 1;
    }
    bool go_on = true;
    for (int i = 0; i < n && go_on; i++) {
        char *line = xstrdup(commands[i]);
        go_on = command(&io, line);
        free(line);
    }
    if (!n) {
        from_stdin(&io);
    }
    wait_all(&io);
    ret = node_close(io.n);
    if (ret < 0) {
        fprintf(stderr, "keel-io: closing '%s': %s\n", o.filename, strerror(-ret));
    }
    node_ctx_free(io.ctx);
    return io.failed || ret < 0;
}
