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
#include <stdarg.h>
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
    bool quiet, verbose, async, ended, fua, machine;
    int ret;
};

/* ---- what is printed ---- */

/* "64 KiB", "97.656 KiB", "777 bytes". */
const char *io_size_text(double v, char *buf, size_t len)
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
        bool beyond = q->offset > q->io->n->len || q->len > q->io->n->len - q->offset;
        printf("%s failed: %s\n", q->what, strerror(beyond && q->ret == -EINVAL ? EIO : -q->ret));
        return;
    }
    if (q->quiet) {
        return;
    }
    s = s > 1e-9 ? s : 1e-9;
    if (q->machine) {
        printf("%" PRIu64 ",1,%u:%02u:%02u.%02u,%.3f,%.3f\n", q->len, (unsigned)s / 3600,
               (unsigned)s / 60 % 60, (unsigned)s % 60, (unsigned)(s * 100) % 100,
               (double)q->len / s, 1 / s);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", q->done, q->len, q->len,
           q->offset);
    printf("%s, 1 ops; %02u.%02u sec (%s/sec and %.4f ops/sec)\n",
           io_size_text((double)q->len, total, sizeof(total)), (unsigned)s,
           (unsigned)(s * 100) % 100, io_size_text((double)q->len / s, rate, sizeof(rate)), 1 / s);
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

int io_bad(struct io *io, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    io->failed = true;
    return -1;
}

int io_bad_number(struct io *io, const char *text)
{
    return io_bad(
        io, "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s", text);
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
        fprintf(stderr, "%s: %s\n", name, f ? "file is empty" : strerror(errno));
        io->failed = true;
        return -1;
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
        return io_bad(io, "%s: no memory", q->what);
    }
    if (q->r.op == NODE_WRITE && ((q->offset | q->len) & mask)) {
        io_wait_all(io);
        ret = node_read(io->n, q->r.offset, q->buf, q->r.len);
    }
    memset(asked(q), q->pattern < 0 ? 0xcd : q->pattern, q->len);
    if (ret < 0) {
        return io_bad(io, "%s failed: %s", q->what, strerror(-ret));
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
    bool zero, no_fallback, invalid;
};

static int parse_flags(struct io *io, int argc, char **argv, struct request *q, struct flags *f)
{
    bool read = q->r.op == NODE_READ, one = !strchr(argv[0], '_') && !strchr(argv[0], 'v');
    const char *known = q->r.op == NODE_DISCARD ? "Cq"
                        : read                  ? one        ? "bCl:pP:qs:v"
                                                  : q->async ? "CP:iqv"
                                                             : "CP:qv"
                        : one                   ? "bcCfnpP:qs:uz"
                        : q->async              ? "CfiP:quz"
                                                : "CfqP:z";
    uint64_t v;
    int c;

    optind = 0;
    q->pattern = -1;
    *f = (struct flags){ .for_len = UINT64_MAX };
    while ((c = getopt(argc, argv, known)) != -1) {
        if (c == 'P') {
            if (!tool_bytes(optarg, &v) || v > 255) {
                return io_bad(io, "%s is not a valid pattern byte", optarg);
            }
            q->pattern = (int)v;
        } else if (c == 's' && !read) {
            f->file = optarg;
        } else if ((c == 's' || c == 'l') && read) {
            if (!tool_bytes(optarg, c == 's' ? &f->from : &f->for_len)) {
                return io_bad_number(io, optarg);
            }
        } else if (c == 'z' || c == 'u' || c == 'c' || c == 'f') {
            f->zero |= c == 'z';
            q->r.flags |= c == 'u' ? NODE_UNMAP : c == 'c' ? NODE_COMPRESS : 0;
            q->fua |= c == 'f';
        } else if (c == 'q' || c == 'v') {
            q->quiet |= c == 'q';
            q->verbose |= c == 'v' && read;
        } else if (c == 'C') {
            q->machine = true;
        } else if (c == 'n') {
            f->no_fallback = true;
        } else if (c == 'i') {
            f->invalid = true;
        } else if (c == 'b') {
            return io_bad(io, "-b: known, but Keel does not have it yet");
        } else if (c == '?') {
            return io_usage(io, argv[0]);
        }
    }
    if ((q->r.flags & NODE_UNMAP) && !f->zero) {
        return io_bad(io, "-u requires -z to be specified");
    }
    if (f->no_fallback && !f->zero) {
        return io_bad(io, "-n requires -z to be specified");
    }
    if (f->zero + (q->pattern >= 0) + (f->file != NULL) > 1) {
        return io_bad(io, "Only one of -z, -P, and -s can be specified at the same time");
    }
    return 0;
}

static int parse_range(struct io *io, int argc, char **argv, struct request *q, uint64_t *lens,
                       int *n)
{
    bool many = strchr(argv[0], 'v') || strchr(argv[0], '_');
    if (argc - optind < 2 || (!many && argc - optind > 2) || argc - optind - 1 > MAX_ARGS) {
        return io_usage(io, argv[0]);
    }
    if (!tool_bytes(argv[optind], &q->offset)) {
        return io_bad_number(io, argv[optind]);
    }
    for (*n = 0; optind + 1 + *n < argc; ++*n) {
        if (!tool_bytes(argv[optind + 1 + *n], &lens[*n])) {
            return io_bad_number(io, argv[optind + 1 + *n]);
        }
        q->len += lens[*n];
        if (moves(q) && q->len > MAX_LEN) {
            return io_bad(io, "length cannot exceed 2147483136, given %" PRIu64, q->len);
        }
    }
    return q->offset > INT64_MAX - q->len ? io_bad(io, "%s: beyond any end", argv[0]) : 0;
}

static int parse_request(struct io *io, int argc, char **argv, struct request *q)
{
    uint64_t lens[MAX_ARGS + 1];
    struct flags f;
    int n;

    if (parse_flags(io, argc, argv, q, &f) < 0) {
        return -1;
    }
    if (f.invalid) {
        printf("injecting invalid %s request\n", q->r.op == NODE_READ ? "read" : "write");
        return -1;
    }
    q->r.op = f.zero ? NODE_ZERO : q->r.op;
    if (parse_range(io, argc, argv, q, lens, &n) < 0) {
        return -1;
    }
    q->from = min_u64(f.from, q->len);
    q->for_len = min_u64(f.for_len, q->len - q->from);
    if (f.from > q->len || (f.for_len != UINT64_MAX && f.for_len > q->len - q->from)) {
        return io_bad(io, "pattern verification range exceeds end of read data");
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

bool io_do_read(struct io *io, int argc, char **argv)
{
    move(io, argc, argv, NODE_READ);
    return true;
}

bool io_do_write(struct io *io, int argc, char **argv)
{
    move(io, argc, argv, NODE_WRITE);
    return true;
}

bool io_do_discard(struct io *io, int argc, char **argv)
{
    move(io, argc, argv, NODE_DISCARD);
    return true;
}

bool io_do_flush(struct io *io, int argc, char **argv)
{
    int ret = node_flush(io->n);

    (void)argc;
    if (ret < 0) {
        io_bad(io, "%s failed: %s", argv[0], strerror(-ret));
    }
    return true;
}

bool io_do_aio_flush(struct io *io, int argc, char **argv)
{
    (void)argc;
    io_wait_all(io);
    return io_do_flush(io, 1, argv);
}
