/* SPDX-License-Identifier: MIT */
/* tools/io-misc.c - keel-io's commands that move no data. */
#include "tools/io.h"

#include "block/format.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "tools/tool.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int io_warn(struct io *io, const char *fmt, ...)
{
    va_list ap;

    fputs("keel-io: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    io->failed = true;
    return -1;
}

static void print_run(uint64_t at, uint64_t len, bool allocated)
{
    char a[40], b[40];

    printf("%s (0x%" PRIx64 ") bytes %s at offset %s (0x%" PRIx64 ")\n",
           io_size_text((double)len, a, sizeof(a)), len,
           allocated ? "    allocated" : "not allocated", io_size_text((double)at, b, sizeof(b)),
           at);
}

bool io_do_map(struct io *io, int argc, char **argv)
{
    uint64_t at = 0, start = 0;
    int state = -1;

    (void)argc;
    while (at < io->n->len) {
        struct node_status st;
        int ret = node_status(io->n, at, io->n->len - at, &st);
        if (ret < 0) {
            io_bad(io, "%s failed: %s", argv[0], strerror(-ret));
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

bool io_do_alloc(struct io *io, int argc, char **argv)
{
    uint64_t at, len = 512, sum = 0;
    char text[40];

    if (!tool_bytes(argv[1], &at) || (argc > 2 && !tool_bytes(argv[2], &len))) {
        io_bad_number(io, argv[tool_bytes(argv[1], &at) ? 2 : 1]);
        return true;
    }
    for (uint64_t k = at; k < at + len && k < io->n->len;) {
        struct node_status st;
        uint64_t skew = k % NODE_ALIGN;
        int ret = node_status(io->n, k - skew, io->n->len - (k - skew), &st);
        if (ret < 0) {
            io_bad(io, "is_allocated failed: %s", strerror(-ret));
            return true;
        }
        uint64_t n = min_u64(st.len - skew, at + len - k);
        sum += st.flags & NODE_ALLOCATED ? n : 0;
        k += n;
    }
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, len,
           io_size_text((double)at, text, sizeof(text)));
    return true;
}

/* -1: none of them. */
static int prealloc_named(const char *s)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], s) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int grow(struct io *io, uint64_t len, enum qcow2_prealloc how)
{
    struct err e = { 0 };
    uint64_t old = io->n->len;

    if (how != QCOW2_PREALLOC_OFF && (!qcow2_is(io->n) || len < old)) {
        return io_warn(io, len < old ? "Preallocation can't be used for shrinking an image"
                                     : "truncate -m: Keel has it for qcow2 alone");
    }
    if (node_resize(io->n, (len + 511) & ~511ull, &e) < 0) {
        return io_warn(io, "%s", e.msg);
    }
    int ret = how == QCOW2_PREALLOC_OFF ? 0 : qcow2_preallocate(io->n, old, how);
    return ret < 0 ? io_warn(io, "%s", strerror(-ret)) : 0;
}

bool io_do_truncate(struct io *io, int argc, char **argv)
{
    int how = QCOW2_PREALLOC_OFF, c;
    uint64_t len;

    optind = 0;
    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c != 'm') {
            io_usage(io, argv[0]);
            return true;
        }
        how = prealloc_named(optarg);
        if (how < 0) {
            io_warn(io, "Invalid preallocation mode '%s'", optarg);
            return true;
        }
    }
    if (argc - optind != 1) {
        io_usage(io, argv[0]);
    } else if (!tool_bytes(argv[optind], &len)) {
        io_bad_number(io, argv[optind]);
    } else {
        grow(io, len, (enum qcow2_prealloc)how);
    }
    return true;
}

bool io_do_length(struct io *io, int argc, char **argv)
{
    char text[40];

    (void)argc;
    (void)argv;
    printf("%s\n", io_size_text((double)io->n->len, text, sizeof(text)));
    return true;
}

bool io_do_info(struct io *io, int argc, char **argv)
{
    struct format_info info;
    char text[40];

    (void)argc;
    (void)argv;
    format_info(io->n, &info);
    printf("format name: %s\n", image_format(io->n));
    if (info.cluster_size) {
        printf("cluster size: %s\n", io_size_text((double)info.cluster_size, text, sizeof(text)));
    }
    return true;
}

bool io_do_sleep(struct io *io, int argc, char **argv)
{
    uint64_t ms;

    (void)argc;
    if (!tool_bytes(argv[1], &ms) || ms > 3600000) {
        io_bad_number(io, argv[1]);
        return true;
    }
    usleep((unsigned)ms * 1000);
    node_ctx_poll(io->ctx, false);
    return true;
}

bool io_do_open(struct io *io, int argc, char **argv)
{
    if (io->n) {
        io_warn(io, "file open already, try 'help close'");
    } else if (io_open(io, argc, argv)) {
        io->failed = true;
    }
    return true;
}

bool io_do_close(struct io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    io->failed |= io_close(io) != 0;
    return true;
}

bool io_do_quit(struct io *io, int argc, char **argv)
{
    (void)io;
    (void)argc;
    (void)argv;
    return false;
}

bool io_do_reopen(struct io *io, int argc, char **argv)
{
    bool for_reading = false, for_writing = false;
    struct err e = { 0 };
    int c;

    optind = 0;
    while ((c = getopt(argc, argv, "c:o:rw")) != -1) {
        if (c == 'c' || c == 'o') {
            io_warn(io, "reopen -%c: known, but Keel does not have it yet", c);
            return true;
        }
        if (c == '?') {
            io_usage(io, argv[0]);
            return true;
        }
        for_reading |= c == 'r';
        for_writing |= c == 'w';
    }
    if (optind != argc) {
        io_usage(io, argv[0]);
    } else if (for_reading && for_writing) {
        io_warn(io, "Only one -r/-w option may be given");
    } else if ((for_reading || for_writing) && node_reopen(io->n, for_reading, &e) < 0) {
        io_warn(io, "%s", e.msg);
    }
    return true;
}

bool io_do_abort(struct io *io, int argc, char **argv)
{
    (void)io, (void)argc, (void)argv;
    abort();
}

bool io_do_sigraise(struct io *io, int argc, char **argv)
{
    uint64_t n;

    (void)argc;
    if (!tool_bytes(argv[1], &n) || n > 64) {
        io_bad_number(io, argv[1]);
        return true;
    }
    fflush(stdout);
    raise((int)n);
    return true;
}

/* Break points are for a driver that stops requests in their tracks. */
bool io_do_no_break(struct io *io, int argc, char **argv)
{
    const char *what = argv[0];

    (void)argc;
    if (strcmp(what, "remove_break") == 0) {
        io_bad(io, "Could not remove breakpoint %s: Operation not supported", argv[1]);
    } else {
        io_bad(io, "Could not %s: Operation not supported",
               strcmp(what, "break") == 0    ? "set breakpoint"
               : strcmp(what, "resume") == 0 ? "resume request"
                                             : "wait for a request");
    }
    return true;
}
