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

#include <getopt.h> /* optind */
#include <stddef.h>
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

/* What a command line says. */
struct line {
    struct image_open o;
    const char *opts; /* of the command `open` */
    bool image_opts, copy_on_read, share;
    char **commands; /* -c */
    size_t n;
};

static int take_discard(void *to, const char *arg)
{
    return tool_discard(arg, &((struct line *)to)->o.discard)
               ? 0
               : fail("Invalid discard option: %s", arg);
}

static int take_cache(void *to, const char *arg)
{
    return tool_cache(arg, &((struct line *)to)->o.cache) ? 0
                                                          : fail("Invalid cache option: %s", arg);
}

static int take_aio(void *to, const char *arg)
{
    return blk_aio_named(arg, &((struct line *)to)->o.aio) ? 0
                                                           : fail("Invalid aio option: %s", arg);
}

static int take_command(void *to, const char *arg)
{
    struct line *l = to;

    l->commands[l->n++] = (char *)arg;
    return 0;
}

static int do_nocache(void *to, const char *arg)
{
    (void)arg;
    ((struct line *)to)->o.cache = BLK_NONE;
    return 0;
}

static int do_native(void *to, const char *arg)
{
    (void)arg;
    ((struct line *)to)->o.aio = BLK_AIO_NATIVE;
    return 0;
}

static int do_version(void *to, const char *arg)
{
    (void)to, (void)arg;
    printf("keel-io version " KEEL_VERSION "\n");
    return TOOL_END;
}

/* The program's, and its command `open`'s, which has letters alone. */
#define AT(member) .at = offsetof(struct line, member)
static const struct tool_opt options[] = {
    { "aio", 'i', TOOL_TAKE, .take = take_aio },
    { "cache", 't', TOOL_TAKE, .take = take_cache },
    { "cmd", 'c', TOOL_TAKE, .take = take_command, .of = "keel-io" },
    { "copy-on-read", 'C', TOOL_FLAG, AT(copy_on_read) },
    { "discard", 'd', TOOL_TAKE, .take = take_discard },
    { "force-share", 'U', TOOL_FLAG, AT(share) },
    { "format", 'f', TOOL_TEXT, AT(o.format), .of = "keel-io" },
    { "help", 'h', TOOL_DO, .take = tool_help, .of = "keel-io" },
    { "image-opts", 0, TOOL_FLAG, AT(image_opts), .of = "keel-io" },
    { "misalign", 'm', TOOL_MISSING },
    { "native-aio", 'k', TOOL_DO, .take = do_native },
    { "nocache", 'n', TOOL_DO, .take = do_nocache },
    { NULL, 'o', TOOL_TEXT, AT(opts), .of = "open" },
    { "object", 0, TOOL_TAKE, .take = tool_take_object, .of = "keel-io" },
    { "read-only", 'r', TOOL_FLAG, AT(o.read_only) },
    { "snapshot", 's', TOOL_FLAG, AT(o.temporary) },
    { "trace", 'T', TOOL_MISSING_ARG, .of = "keel-io" },
    { "version", 'V', TOOL_DO, .take = do_version, .of = "keel-io" },
};
#undef AT

static int open_image(struct io *io, struct line *l, const char *file)
{
    struct image_open *o = &l->o;
    struct err e = { 0 };
    int ret = 0;

    o->filename = file;
    o->lock = !l->share;
    if (l->image_opts) {
        ret = tool_image_opts(file, o, &e);
    }
    o->follow_data = o->format;
    io->n = ret < 0 ? NULL : image_open(io->ctx, o, &e);
    if (l->image_opts) {
        tool_image_opts_free(o);
    }
    if (!io->n) {
        fprintf(stderr, "keel-io: can't open%s%s: %s\n", l->image_opts ? "" : " device ",
                l->image_opts ? "" : file, e.msg);
    }
    if (io->n && l->copy_on_read) {
        io->n = copy_on_read_new(io->n);
    }
    return !io->n;
}

int io_open(struct io *io, int argc, char **argv)
{
    struct line l = { .o = { .fd = -1, .discard = true } };
    int rc = tool_options(options, ARRAY_SIZE(options), "open", false, &l, argc, argv);

    l.image_opts = l.opts;
    if (rc == 0 && ((l.opts != NULL) + (argc - optind) != 1)) {
        rc = TOOL_USAGE;
    }
    if (rc == TOOL_USAGE) {
        io_usage(io, "open");
    }
    return rc ? rc : open_image(io, &l, l.opts ? l.opts : argv[optind]);
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
    struct line l = { .o = { .fd = -1, .discard = true },
                      .commands = xcalloc((size_t)argc, sizeof(*l.commands)) };
    struct io io = { 0 };
    int rc;

    tool_name = "keel-io";
    tool_usage = usage;
    rc = tool_options(options, ARRAY_SIZE(options), "keel-io", true, &l, argc, argv);
    if (rc == TOOL_END) {
        free(l.commands);
        return 0;
    }
    if (rc == 0 && l.image_opts && l.o.format) {
        rc = fail("--image-opts and -f are mutually exclusive");
    }
    if (rc == TOOL_USAGE || (rc == 0 && argc - optind > 1)) {
        rc = usage(stderr);
    }
    if (rc == 0) {
        io.ctx = node_ctx_new(NULL);
        rc = argc > optind ? open_image(&io, &l, argv[optind]) : 0;
        if (rc == 0) {
            run_all(&io, l.commands, l.n);
            rc = io_close(&io) || io.failed;
        }
        node_ctx_free(io.ctx);
    }
    free(l.commands);
    return rc;
}
