/* SPDX-License-Identifier: MIT */
/* tools/io-cmd.c - keel-io's commands, named and answered like qemu-io's.
 *
 * Nodes move sectors. Where a command asks for less, a read is widened, and a write first reads what
 * it writes around.
 */
#include "tools/io.h"

#include "block/format.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "tools/tool.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ARGS = 64, MAX_IOV = 48, MAX_LEN = 0x7ffffe00 };

struct request {
    struct node_req r;
    struct iovec iov[MAX_IOV];
    struct io *io;
    const char *what, *done; /* the command; what it has done */
    uint8_t *buf;            /* the sectors around what was asked for */
    uint64_t offset, len;    /* what was asked for */
    uint64_t from, for_len;  /* -s, -l: the part of it that is verified */
    int64_t began_ns;
    int pattern; /* -1: none */
    bool quiet, verbose, async, ended, fua;
    int ret;
};

/* ---- what is printed ---- */

/* "64 KiB", "97.656 KiB", "777 bytes". */
static const char *size_text(double v, char *buf, size_t len)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    unsigned i = 0;

    for (; v >= 1024 && i + 1 < ARRAY_SIZE(units); i++) {
        v /= 1024;
    }
    snprintf(buf, len, "%.3f", v);
    char *dot = strchr(buf, '.');
    if (dot && strcmp(dot, ".000") == 0) {
        *dot = '\0';
    }
    snprintf(buf + strlen(buf), len - strlen(buf), " %s", units[i]);
    return buf;
}

static void report(const struct request *q)
{
    double s = (double)(ev_now_ns() - q->began_ns) / 1e9;
    char total[40], rate[40];

    if (q->ret < 0) {
        printf("%s failed: %s\n", q->what, strerror(-q->ret));
        return;
    }
    if (q->quiet) {
        return;
    }
    s = s > 1e-9 ? s : 1e-9;
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", q->done, q->len, q->len,
           q->offset);
    printf("%s, 1 ops; %02u.%02u sec (%s/sec and %.4f ops/sec)\n",
           size_text((double)q->len, total, sizeof(total)), (unsigned)s, (unsigned)(s * 100) % 100,
           size_text((double)q->len / s, rate, sizeof(rate)), 1 / s);
}

static void dump(const uint8_t *p, uint64_t offset, uint64_t len)
{
    for (uint64_t i = 0; i < len; i += 16) {
        uint64_t n = min_u64(len - i, 16);
        printf("%08" PRIx64 ": ", offset + i);
        for (uint64_t k = 0; k < n; k++) {
            printf(" %02x", p[i + k]);
        }
        printf("  ");
        for (uint64_t k = 0; k < n; k++) {
            putchar(p[i + k] >= 32 && p[i + k] < 127 ? p[i + k] : '.');
        }
        putchar('\n');
    }
}

static int bad(struct io *io, const char *what, const char *why)
{
    printf("%s: %s\n", what, why);
    io->failed = true;
    return -1;
}

/* ---- requests ---- */

static bool moves(const struct request *q)
{
    return q->r.op == NODE_READ || q->r.op == NODE_WRITE;
}

static uint8_t *asked(const struct request *q)
{
    return q->buf + (q->offset - q->r.offset);
}

static void verify(struct request *q)
{
    const uint8_t *p = asked(q) + q->from;

    for (uint64_t i = 0; i < q->for_len; i++) {
        if (p[i] != (uint8_t)q->pattern) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                   q->offset + q->from, q->for_len);
            q->io->failed = true;
            return;
        }
    }
}

static void request_done(struct node_req *r, int ret)
{
    struct request *q = container_of(r, struct request, r);
    struct io *io = q->io;

    if (ret == 0 && q->fua && r->op != NODE_FLUSH) {
        q->fua = false;
        q->r = (struct node_req){ .op = NODE_FLUSH, .done = request_done };
        node_submit(io->n, &q->r);
        return;
    }
    q->ended = true;
    q->ret = ret;
    if (ret == 0 && r->op == NODE_READ && q->pattern >= 0) {
        verify(q);
    }
    if (ret == 0 && q->verbose) {
        dump(asked(q), q->offset, q->len);
    }
    io->failed |= ret < 0;
    report(q);
    free(q->buf);
    q->buf = NULL;
    if (q->async) {
        io->in_flight--;
        free(q);
    }
}

/* Frees q, sooner or later. */
static void run(struct io *io, struct request *q)
{
    bool async = q->async;

    q->io = io;
    q->r.done = request_done;
    q->began_ns = ev_now_ns();
    io->in_flight += async;
    node_submit(io->n, &q->r);
    while (!async && !q->ended) {
        node_ctx_poll(io->ctx, true);
    }
    if (!async) {
        free(q);
    }
}

void io_wait_all(struct io *io)
{
    while (io->in_flight) {
        node_ctx_poll(io->ctx, true);
    }
}

static int pattern_from_file(struct io *io, const char *name, struct request *q)
{
    FILE *f = fopen(name, "rb");
    size_t n = f && q->len ? fread(asked(q), 1, q->len, f) : 0;

    if (f) {
        fclose(f);
    }
    if (!n) {
        return bad(io, name, f ? "the file is empty" : strerror(errno));
    }
    for (uint64_t i = n; i < q->len; i++) {
        asked(q)[i] = asked(q)[i - n];
    }
    return 0;
}

/* Sectors around what is asked for, in memory, and the iovecs. */
static int prepare(struct io *io, struct request *q, const char *file, const uint64_t *lens, int n)
{
    uint64_t mask = NODE_ALIGN - 1, end = (q->offset + q->len + mask) & ~mask;
    int ret = 0;

    q->r.offset = q->offset & ~mask;
    q->r.len = end - q->r.offset;
    if (posix_memalign((void **)&q->buf, 4096, q->r.len + 512)) {
        return bad(io, q->what, "no memory");
    }
    if (q->r.op == NODE_WRITE && ((q->offset | q->len) & mask)) {
        io_wait_all(io);
        ret = node_read(io->n, q->r.offset, q->buf, q->r.len);
    }
    memset(asked(q), q->pattern < 0 ? 0xcd : q->pattern, q->len);
    if (ret < 0) {
        return bad(io, q->what, strerror(-ret));
    }
    if (q->r.len != q->len || n > MAX_IOV) {
        q->iov[0] = (struct iovec){ q->buf, q->r.len };
        n = 1;
    } else {
        uint8_t *at = q->buf;
        for (int i = 0; i < n; i++) {
            q->iov[i] = (struct iovec){ at, lens[i] };
            at += lens[i];
        }
    }
    q->r.iov = q->iov;
    q->r.iovcnt = n;
    return file ? pattern_from_file(io, file, q) : 0;
}

struct flags {
    const char *file;
    uint64_t from, for_len;
    bool zero, from_given;
};

static int parse_flags(struct io *io, int argc, char **argv, struct request *q, struct flags *f)
{
    bool read = q->r.op == NODE_READ;
    uint64_t v;
    int c;

    optind = 0;
    q->pattern = -1;
    *f = (struct flags){ .for_len = UINT64_MAX };
    while ((c = getopt(argc, argv, "P:zucqvfnCpibs:l:")) != -1) {
        if (c == 'P') {
            if (!tool_bytes(optarg, &v) || v > 255) {
                return bad(io, optarg, "is not a valid pattern byte");
            }
            q->pattern = (int)v;
        } else if (c == 's' && !read) {
            f->file = optarg;
        } else if ((c == 's' || c == 'l') && read) {
            if (!tool_bytes(optarg, c == 's' ? &f->from : &f->for_len)) {
                return bad(io, optarg, "non-numeric length argument");
            }
        } else if (c == 'z' || c == 'u' || c == 'c' || c == 'f') {
            f->zero |= c == 'z';
            q->r.flags |= c == 'u' ? NODE_UNMAP : c == 'c' ? NODE_COMPRESS : 0;
            q->fua |= c == 'f';
        } else if (c == 'q' || c == 'v') {
            q->quiet |= c == 'q';
            q->verbose |= c == 'v' && read;
        } else if (c == 'C' || c == 'b') {
            printf("-%c: known, but Keel does not have it yet\n", c);
            io->failed = true;
            return -1;
        } else if (c == '?') {
            return bad(io, argv[0], "unknown option");
        }
    }
    if ((q->r.flags & NODE_UNMAP) && !f->zero) {
        return bad(io, argv[0], "-u requires -z to be specified");
    }
    if (f->zero && (q->pattern >= 0 || f->file)) {
        return bad(io, argv[0], "-z and -P cannot be specified at the same time");
    }
    return 0;
}

static int parse_range(struct io *io, int argc, char **argv, struct request *q, uint64_t *lens,
                       int *n)
{
    if (argc - optind < 2 || argc - optind - 1 > MAX_ARGS) {
        return bad(io, argv[0], "wants an offset and a length");
    }
    if (!tool_bytes(argv[optind], &q->offset)) {
        return bad(io, argv[optind], "non-numeric offset argument");
    }
    for (*n = 0; optind + 1 + *n < argc; ++*n) {
        if (!tool_bytes(argv[optind + 1 + *n], &lens[*n])) {
            return bad(io, argv[optind + 1 + *n], "non-numeric length argument");
        }
        q->len += lens[*n];
        if (moves(q) && q->len > MAX_LEN) {
            return bad(io, argv[0], "the length exceeds the maximum of 2147483136 bytes");
        }
    }
    return q->offset > INT64_MAX - q->len ? bad(io, argv[0], "beyond any end") : 0;
}

static int parse_request(struct io *io, int argc, char **argv, struct request *q)
{
    uint64_t lens[MAX_ARGS + 1];
    struct flags f;
    int n;

    if (parse_flags(io, argc, argv, q, &f) < 0) {
        return -1;
    }
    q->r.op = f.zero ? NODE_ZERO : q->r.op;
    if (parse_range(io, argc, argv, q, lens, &n) < 0) {
        return -1;
    }
    q->from = min_u64(f.from, q->len);
    q->for_len = min_u64(f.for_len, q->len - q->from);
    if (f.from > q->len || (f.for_len != UINT64_MAX && f.for_len > q->len - q->from)) {
        return bad(io, argv[0], "pattern verification range exceeds end of read data");
    }
    if (moves(q)) {
        return prepare(io, q, f.file, lens, n);
    }
    q->r.offset = q->offset;
    q->r.len = q->len;
    return 0;
}

static void move(struct io *io, int argc, char **argv, enum node_op op)
{
    struct request *q = xcalloc(1, sizeof(*q));

    q->r.op = op;
    q->done = op == NODE_READ ? "read" : op == NODE_WRITE ? "wrote" : "discard";
    q->what = argv[0];
    q->async = strncmp(argv[0], "aio", 3) == 0;
    if (parse_request(io, argc, argv, q) < 0) {
        free(q->buf);
        free(q);
        return;
    }
    run(io, q);
}

/* ---- commands ---- */

static bool do_read(struct io *io, int argc, char **argv)
{
    move(io, argc, argv, NODE_READ);
    return true;
}

static bool do_write(struct io *io, int argc, char **argv)
{
    move(io, argc, argv, NODE_WRITE);
    return true;
}

static bool do_discard(struct io *io, int argc, char **argv)
{
    move(io, argc, argv, NODE_DISCARD);
    return true;
}

static bool do_flush(struct io *io, int argc, char **argv)
{
    int ret = node_flush(io->n);

    (void)argc;
    if (ret < 0) {
        bad(io, argv[0], strerror(-ret));
    }
    return true;
}

static bool do_aio_flush(struct io *io, int argc, char **argv)
{
    (void)argc;
    io_wait_all(io);
    return do_flush(io, 1, argv);
}

static void print_run(uint64_t at, uint64_t len, bool allocated)
{
    char a[40], b[40];

    printf("%s (0x%" PRIx64 ") bytes %s at offset %s (0x%" PRIx64 ")\n",
           size_text((double)len, a, sizeof(a)), len, allocated ? "    allocated" : "not allocated",
           size_text((double)at, b, sizeof(b)), at);
}

static bool do_map(struct io *io, int argc, char **argv)
{
    uint64_t at = 0, start = 0;
    int state = -1;

    (void)argc;
    while (at < io->n->len) {
        struct node_status st;
        int ret = node_status(io->n, at, io->n->len - at, &st);
        if (ret < 0) {
            bad(io, argv[0], strerror(-ret));
            return true;
        }
        int now = !!(st.flags & NODE_ALLOCATED);
        if (now != state) {
            if (state >= 0) {
                print_run(start, at - start, state);
            }
            state = now;
            start = at;
        }
        at += st.len;
    }
    if (at > start) {
        print_run(start, at - start, state);
    }
    return true;
}

static bool do_alloc(struct io *io, int argc, char **argv)
{
    uint64_t at, len = 512, sum = 0;
    char text[40];

    if (argc < 2 || !tool_bytes(argv[1], &at) || (argc > 2 && !tool_bytes(argv[2], &len)) ||
        at > io->n->len || len > io->n->len - at || (at | len) % 512) {
        bad(io, "alloc", "wants an offset and a length inside the image, whole sectors");
        return true;
    }
    for (uint64_t k = at; k < at + len;) {
        struct node_status st;
        int ret = node_status(io->n, k, at + len - k, &st);
        if (ret < 0) {
            bad(io, "is_allocated failed", strerror(-ret));
            return true;
        }
        sum += st.flags & NODE_ALLOCATED ? st.len : 0;
        k += st.len;
    }
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, len,
           size_text((double)at, text, sizeof(text)));
    return true;
}

static bool do_truncate(struct io *io, int argc, char **argv)
{
    struct err e = { 0 };
    uint64_t len;

    if (argc != 2 || !tool_bytes(argv[1], &len)) {
        bad(io, "truncate", "wants a length");
    } else if (node_resize(io->n, (len + 511) & ~511ull, &e) < 0) {
        bad(io, "truncate", e.msg);
    }
    return true;
}

static bool do_length(struct io *io, int argc, char **argv)
{
    char text[40];

    (void)argc;
    (void)argv;
    printf("%s\n", size_text((double)io->n->len, text, sizeof(text)));
    return true;
}

static bool do_info(struct io *io, int argc, char **argv)
{
    struct format_info info;
    char text[40];

    (void)argc;
    (void)argv;
    format_info(io->n, &info);
    printf("format name: %s\n", image_format(io->n));
    if (info.cluster_size) {
        printf("cluster size: %s\n", size_text((double)info.cluster_size, text, sizeof(text)));
    }
    return true;
}

static bool do_sleep(struct io *io, int argc, char **argv)
{
    uint64_t ms;

    if (argc != 2 || !tool_bytes(argv[1], &ms) || ms > 3600000) {
        bad(io, "sleep", "wants milliseconds");
        return true;
    }
    usleep((unsigned)ms * 1000);
    node_ctx_poll(io->ctx, false);
    return true;
}

static bool do_open(struct io *io, int argc, char **argv)
{
    if (io->n) {
        bad(io, "open", "file open already, try 'help close'");
    } else if (io_open(io, argc, argv)) {
        io->failed = true;
    }
    return true;
}

static bool do_close(struct io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    io->failed |= io_close(io) != 0;
    return true;
}

static bool do_quit(struct io *io, int argc, char **argv)
{
    (void)io;
    (void)argc;
    (void)argv;
    return false;
}

static bool do_help(struct io *io, int argc, char **argv);

static const struct command {
    const char *name, *other;
    bool (*run)(struct io *io, int argc, char **argv);
    bool closed; /* works without an image */
    const char *help;
} commands[] = {
    { "aio_flush", NULL, do_aio_flush, false, "waits for aio_read and aio_write, then flushes" },
    { "aio_read", NULL, do_read, false, "[-qv] [-P pattern] off len [len..]" },
    { "aio_write", NULL, do_write, false, "[-fquz] [-P pattern] off len [len..]" },
    { "alloc", NULL, do_alloc, false, "off [len]" },
    { "close", "c", do_close, false, "closes the image" },
    { "discard", "d", do_discard, false, "[-q] off len" },
    { "flush", "f", do_flush, false, "flushes" },
    { "help", "?", do_help, true, "lists the commands" },
    { "info", "i", do_info, false, "prints the format" },
    { "length", "l", do_length, false, "prints the disk's size" },
    { "map", NULL, do_map, false, "prints what is allocated" },
    { "open", "o", do_open, true, "[-rnsU] [-o opts] [file]" },
    { "quit", "q", do_quit, true, "ends" },
    { "read", "r", do_read, false, "[-qv] [-P pattern [-s off] [-l len]] off len" },
    { "readv", NULL, do_read, false, "[-qv] [-P pattern] off len [len..]" },
    { "sleep", NULL, do_sleep, false, "milliseconds" },
    { "truncate", "t", do_truncate, false, "off" },
    { "write", "w", do_write, false, "[-cfnquz] [-P pattern | -s file] off len" },
    { "writev", NULL, do_write, false, "[-fqz] [-P pattern] off len [len..]" },
};

static bool do_help(struct io *io, int argc, char **argv)
{
    (void)io;
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        printf("%s %s\n", commands[i].name, commands[i].help);
    }
    return true;
}

bool io_command(struct io *io, char *line)
{
    char *argv[MAX_ARGS + 2], *save = NULL;
    int argc = 0;

    for (char *p = strtok_r(line, " \t\n", &save); p && argc <= MAX_ARGS;
         p = strtok_r(NULL, " \t\n", &save)) {
        argv[argc++] = p;
    }
    argv[argc] = NULL;
    if (argc == 0) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(argv[0], c->name) != 0 && (!c->other || strcmp(argv[0], c->other) != 0)) {
            continue;
        }
        if (!io->n && !c->closed) {
            bad(io, argv[0], "no file open, try 'help open'");
            return true;
        }
        argv[0] = (char *)c->name; /* it outlives the line */
        return c->run(io, argc, argv);
    }
    printf("command \"%s\" not found\n", argv[0]);
    io->failed = true;
    return true;
}
