/* SPDX-License-Identifier: MIT */
/* tools/keel-io.c - reads and writes patterns in disk images: options and commands are qemu-io's.
 *
 * Without -c the commands come from standard input. man/keel-io.1 lists them.
 */
#include "tools/io.h"

#include "block/copy-on-read.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "tools/tool.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(FILE *f)
{
    fprintf(f, "usage: keel-io [-rsnCU] [-f FORMAT] [-t CACHE] [-i AIO] [-d off|unmap]\n"
               "               [--image-opts] [-c COMMAND]... [FILE]\n"
               "Commands: keel-io -c help\n");
    return f == stderr ? 2 : 0;
}

enum { OPT_IMAGE_OPTS = 256, OPT_OBJECT, OPT_NOT_HAD };

static const struct option long_options[] = {
    { "cmd", required_argument, NULL, 'c' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "nocache", no_argument, NULL, 'n' },
    { "native-aio", no_argument, NULL, 'k' },
    { "aio", required_argument, NULL, 'i' },
    { "discard", required_argument, NULL, 'd' },
    { "cache", required_argument, NULL, 't' },
    { "force-share", no_argument, NULL, 'U' },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "trace", required_argument, NULL, OPT_NOT_HAD },
    { "misalign", no_argument, NULL, OPT_NOT_HAD },
    { "copy-on-read", no_argument, NULL, 'C' },
    { 0 },
};

/* What is not the image's own matter. */
struct how {
    bool image_opts, copy_on_read;
};

/* One option about the image. 0, 1 after telling why, 2: not one of them. */
static int take(struct image_open *o, struct how *how, int c, char **argv)
{
    struct err e = { 0 };

    switch (c) {
    case OPT_OBJECT:
        if (tool_object(optarg, &e) < 0) {
            fprintf(stderr, "keel-io: --object: %s\n", e.msg);
            return 1;
        }
        return 0;
    case 'r':
        o->read_only = true;
        return 0;
    case 's':
        o->temporary = true;
        return 0;
    case 'U':
        o->lock = false;
        return 0;
    case 'n':
        o->cache = BLK_NONE;
        return 0;
    case 'k':
        o->aio = BLK_AIO_NATIVE;
        return 0;
    case 'f':
        o->format = optarg;
        return 0;
    case OPT_IMAGE_OPTS:
        how->image_opts = true;
        return 0;
    case 'd':
        o->discard = strcmp(optarg, "unmap") == 0 || strcmp(optarg, "on") == 0;
        if (!o->discard && strcmp(optarg, "ignore") != 0 && strcmp(optarg, "off") != 0) {
            fprintf(stderr, "keel-io: Invalid discard option: %s\n", optarg);
            return 1;
        }
        return 0;
    case 't':
        if (!tool_cache(optarg, &o->cache)) {
            fprintf(stderr, "keel-io: Invalid cache option: %s\n", optarg);
            return 1;
        }
        return 0;
    case 'i':
        if (!blk_aio_named(optarg, &o->aio)) {
            fprintf(stderr, "keel-io: Invalid aio option: %s\n", optarg);
            return 1;
        }
        return 0;
    case 'C':
        how->copy_on_read = true;
        return 0;
    case 'm':
    case 'T':
    case OPT_NOT_HAD:
        fprintf(stderr, "keel-io: %s: known, but Keel does not have it yet\n", tool_option(argv));
        return 1;
    default:
        return 2;
    }
}

static int open_image(struct io *io, struct image_open *o, const char *file, struct how how)
{
    struct err e = { 0 };
    int ret = 0;

    o->filename = file;
    if (how.image_opts) {
        ret = tool_image_opts(file, o, &e);
    }
    o->follow_data = o->format;
    io->n = ret < 0 ? NULL : image_open(io->ctx, o, &e);
    if (how.image_opts) {
        free((char *)o->filename);
        free((char *)o->format);
        free((char *)o->data_file);
    }
    if (!io->n) {
        fprintf(stderr, "keel-io: can't open%s%s: %s\n", how.image_opts ? "" : " device ",
                how.image_opts ? "" : file, e.msg);
    }
    if (io->n && how.copy_on_read) {
        io->n = copy_on_read_new(io->n);
    }
    return !io->n;
}

int io_open(struct io *io, int argc, char **argv)
{
    struct image_open o = { .fd = -1, .lock = true, .discard = true };
    const char *opts = NULL;
    struct how how = { 0 };
    int c, rc = 0;

    optind = 0;
    while (rc == 0 && (c = getopt(argc, argv, "rsnCmkUo:t:d:i:")) != -1) {
        if (c == 'o') {
            opts = optarg;
        } else {
            rc = take(&o, &how, c, argv);
        }
    }
    how.image_opts = opts;
    if (rc == 0 && ((opts != NULL) + (argc - optind) != 1)) {
        rc = 2;
    }
    if (rc == 2) {
        io_usage(io, "open");
    }
    return rc ? rc : open_image(io, &o, opts ? opts : argv[optind], how);
}

int io_close(struct io *io)
{
    int ret;

    io_wait_all(io);
    ret = node_close(io->n);
    io->n = NULL;
    if (ret < 0) {
        fprintf(stderr, "keel-io: closing the image: %s\n", strerror(-ret));
    }
    return ret < 0;
}

static void run_all(struct io *io, char **commands, size_t n)
{
    char line[4096];
    bool go_on = true;

    for (size_t i = 0; i < n && go_on; i++) {
        char *copy = xstrdup(commands[i]);
        go_on = io_command(io, copy);
        free(copy);
    }
    while (!n && fgets(line, sizeof(line), stdin) && io_command(io, line)) {
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct image_open o = { .fd = -1, .lock = true, .discard = true };
    char **commands = xcalloc((size_t)argc, sizeof(*commands));
    struct io io = { 0 };
    struct how how = { 0 };
    size_t n = 0;
    int c, rc = 0;

    while (rc == 0 &&
           (c = getopt_long(argc, argv, "+c:f:rsnkmCi:d:t:T:UhV", long_options, NULL)) != -1) {
        if (c == 'c') {
            commands[n++] = optarg;
        } else if (c == 'h' || c == 'V') {
            rc = c == 'h' ? usage(stdout) : printf("keel-io version " KEEL_VERSION "\n") < 0;
            free(commands);
            return rc;
        } else {
            rc = take(&o, &how, c, argv);
        }
    }
    if (rc == 0 && how.image_opts && o.format) {
        fprintf(stderr, "keel-io: --image-opts and -f are mutually exclusive\n");
        rc = 1;
    }
    if (rc == 2 || argc - optind > 1) {
        rc = usage(stderr);
    }
    if (rc == 0) {
        io.ctx = node_ctx_new(NULL);
        rc = argc > optind ? open_image(&io, &o, argv[optind], how) : 0;
        if (rc == 0) {
            run_all(&io, commands, n);
            rc = io_close(&io) || io.failed;
        }
        node_ctx_free(io.ctx);
    }
    free(commands);
    return rc;
}
