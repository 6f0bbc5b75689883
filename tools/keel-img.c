/* SPDX-License-Identifier: MIT */
/* tools/keel-img.c - disk images without a machine: options and output are qemu-img's. */
#include "tools/img.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* With --image-opts the command's sources are written that way, not what they name in turn. */
static bool names_options(const struct img *im, const char *filename, unsigned how)
{
    bool many = strcmp(im->command, "compare") == 0 || strcmp(im->command, "convert") == 0;

    if (how & OPEN_TARGET) {
        return im->target_opts;
    }
    if (!im->image_opts || strcmp(im->command, "dd") == 0) {
        return im->image_opts;
    }
    for (int i = 0; i < im->args && (many || i == 0); i++) {
        if (strcmp(filename, im->arg[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct node *img_open(struct img *im, const char *filename, const char *format, bool write,
                      unsigned how)
{
    struct image_open o = { .filename = filename,
                            .fd = -1,
                            .format = format,
                            .read_only = !write,
                            .lock = !im->share,
                            .discard = true,
                            .no_backing = how & OPEN_NO_BACKING,
                            .check = how & OPEN_CHECK,
                            .key = how & OPEN_TARGET ? im->target_key : NULL,
                            .no_io = how & OPEN_NO_DATA,
                            .follow_data = format && !(how & OPEN_NO_DATA) };
    const char *cache = how & OPEN_SOURCE ? im->src_cache : im->cache;
    struct err e = { 0 };
    struct node *n;

    o.aio = im->aio;
    o.cache = how & OPEN_TARGET ? BLK_UNSAFE : BLK_WRITEBACK;
    if (cache && !tool_cache(cache, &o.cache)) {
        fail("cache mode '%s': unknown", cache);
        return NULL;
    }
    bool opts = names_options(im, filename, how);
    int ret = opts ? tool_image_opts(filename, &o, &e) : 0;
    o.follow_data |= opts && o.format;
    im->source_key = opts ? o.key : im->source_key;
    n = ret < 0 ? NULL : image_open(im->ctx, &o, &e);
    if (opts) {
        tool_image_opts_free(&o);
    }
    if (!n) {
        fail("Could not open '%s': %s", filename, e.msg);
    }
    return n;
}

int img_close(struct node *n)
{
    char *name = n ? xstrdup(n->filename) : NULL;
    int ret = node_close(n);

    if (ret < 0) {
        fail("'%s': closing it failed: %s", name, strerror(-ret));
    }
    free(name);
    return ret < 0;
}

/* -r: waits until `done` bytes may have been copied. */
static void keep_pace(const struct img *im, uint64_t done)
{
    static struct timespec start;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (start.tv_sec == 0) {
        start = now;
    }
    double took =
        (double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec);
    double ahead = (double)done / (double)im->rate - took;
    if (ahead > 0) {
        struct timespec wait = { (time_t)ahead, (long)((ahead - (double)(time_t)ahead) * 1e9) };
        nanosleep(&wait, NULL);
    }
}

void img_progress(const struct img *im, uint64_t done, uint64_t of)
{
    if (im->rate) {
        keep_pace(im, done);
    }
    if (im->progress) {
        printf("    (%.2f/100%%)\r", of ? 100.0 * (double)done / (double)of : 100.0);
        fflush(stdout);
    }
}

int img_usage(FILE *f)
{
    fprintf(
        f, "keel-img " KEEL_VERSION "\n"
           "  amend [-q] [-f FMT] [--force] -o OPTIONS FILE\n"
           "  bitmap (--add [-g SIZE] | --remove | --clear | --enable | --disable |\n"
           "          --merge BITMAP [-b FILE [-F FMT]])... [-f FMT] FILE BITMAP\n"
           "  bench [-c COUNT] [-d DEPTH] [-f FMT] [--flush-interval=N [--no-drain]] [-n] [-o "
           "OFFSET]\n"
           "        [--pattern=BYTE] [-q] [-s SIZE] [-S STEP] [-t CACHE] [-w] [-U] FILE\n"
           "  check [-q] [-f FMT] [--output=json|human] [-r leaks|all] [-U] FILE\n"
           "  commit [-q] [-f FMT] [-b BASE] [-d] [-p] [-r RATE] [-t CACHE] FILE\n"
           "  compare [-q] [-f FMT] [-F FMT] [-s] [-p] [-U] FILE1 FILE2\n"
           "  convert [-c] [-p] [-q] [-n] [-U] [-W] [-f FMT] [-O FMT] [-B FILE [-F FMT]]\n"
           "          [-o OPTIONS] [-l SNAPSHOT] [-S SIZE] [-m N] [-r RATE] [-t CACHE] [-T CACHE]\n"
           "          [--target-is-zero] [--target-image-opts] [--salvage]\n"
           "          [--bitmaps [--skip-broken-bitmaps]] FILE... OUTPUT\n"
           "  create [-q] [-f FMT] [-b FILE -F FMT] [-u] [-o OPTIONS] FILE [SIZE]\n"
           "  dd [-f FMT] [-O FMT] [-U] [bs=SIZE] [count=N] [skip=N] if=FILE of=FILE\n"
           "  info [-f FMT] [--output=json|human] [--backing-chain] [-U] FILE\n"
           "  map [-f FMT] [--output=json|human] [-s OFFSET] [-l LENGTH] [-U] FILE\n"
           "  measure [-O FMT] [-o OPTIONS] [--output=json|human] (--size SIZE | [-f FMT] FILE)\n"
           "  rebase [-q] [-f FMT] [-p] [-u] -b FILE [-F FMT] FILE\n"
           "  resize [-q] [-f FMT] [--shrink] [--preallocation=MODE] FILE [+|-]SIZE\n"
           "  snapshot [-q] [-U] [-l | -c NAME | -a NAME | -d NAME] FILE\n"
           "Formats: raw, qcow2, vdi, vmdk, vpc; for reading also qcow, vhdx. FILE may be an "
           "address,\n"
           "nbd://HOST/EXPORT; with --image-opts it is driver=...,file.filename=...\n"
           "OPTIONS: name=value,...; -o help lists them.\n");
    return f == stderr;
}

/* What the options said that not every command has. */
struct extra {
    bool u, s, d, shrink, chain, force;
    const char *repair, *snapshot_name;
    char snapshot_what;
    uint64_t from, len, size;
    struct convert convert;
};

#define AT(member) .at = offsetof(struct line, member)

/* What a command line says: all of it is filled in by the table below. */
struct line {
    struct img img;
    struct extra x;
};

static int take_start(void *to, const char *arg)
{
    return tool_bytes(arg, &((struct line *)to)->x.from) ? 0
                                                         : fail("Invalid start offset specified");
}

static int take_length(void *to, const char *arg)
{
    return tool_bytes(arg, &((struct line *)to)->x.len) ? 0 : fail("Invalid max length specified");
}

static int take_snapshot(struct line *l, char what, const char *name)
{
    if (l->x.snapshot_what) {
        return fail("Cannot mix '-l', '-a', '-c', '-d'");
    }
    l->x.snapshot_what = what;
    l->x.snapshot_name = name;
    return 0;
}

static int do_list(void *to, const char *arg)
{
    (void)arg;
    return take_snapshot(to, 'l', NULL);
}

static int take_apply(void *to, const char *arg)
{
    return take_snapshot(to, 'a', arg);
}

static int take_create(void *to, const char *arg)
{
    return take_snapshot(to, 'c', arg);
}

static int take_delete(void *to, const char *arg)
{
    return take_snapshot(to, 'd', arg);
}

static int take_sparse(void *to, const char *arg)
{
    uint64_t *sparse = &((struct line *)to)->x.convert.sparse;

    return tool_bytes(arg, sparse) && *sparse % 512 == 0
               ? 0
               : fail("Invalid buffer size for sparse output specified.");
}

static int take_jobs(void *to, const char *arg)
{
    uint64_t v;

    if (!tool_bytes(arg, &v) || v < 1 || v > 16) {
        return fail("Invalid number of coroutines. Allowed number of coroutines is between 1 and "
                    "16");
    }
    ((struct line *)to)->x.convert.jobs = (unsigned)v;
    return 0;
}

static int take_rate(void *to, const char *arg)
{
    struct line *l = to;

    return tool_bytes(arg, &l->img.rate) && l->img.rate ? 0 : fail("Invalid rate limit specified");
}

static int take_output(void *to, const char *arg)
{
    bool json = strcmp(arg, "json") == 0;

    ((struct line *)to)->img.json = json;
    return json || strcmp(arg, "human") == 0
               ? 0
               : fail("--output must be used with human or json as argument.");
}

static int take_size(void *to, const char *arg)
{
    return tool_bytes(arg, &((struct line *)to)->x.size) ? 0
                                                         : fail("Invalid image size specified.");
}

/* The order of writes is free anyway; so is how a copy is made. */
static int do_nothing(void *to, const char *arg)
{
    (void)to, (void)arg;
    return 0;
}

/* Those of create, dd and so on; bench and bitmap have tables of their own. */
static const struct tool_opt options[] = {
    /* name, letter, kind, where or what, commands */
    { NULL, 'a', TOOL_TAKE, .take = take_apply, .of = "snapshot" },
    { NULL, 'B', TOOL_TEXT, AT(img.backing), .of = "convert" },
    { NULL, 'b', TOOL_TEXT, AT(img.backing), .of = "commit create rebase" },
    { "backing-chain", 0, TOOL_FLAG, AT(x.chain), .of = "info" },
    { "bitmaps", 0, TOOL_FLAG, AT(x.convert.bitmaps), .of = "convert" },
    { NULL, 'C', TOOL_DO, .take = do_nothing, .of = "convert" },
    { NULL, 'c', TOOL_FLAG, AT(x.convert.compress), .of = "convert" },
    { NULL, 'c', TOOL_TAKE, .take = take_create, .of = "snapshot" },
    { NULL, 'd', TOOL_FLAG, AT(x.d), .of = "commit" },
    { NULL, 'd', TOOL_TAKE, .take = take_delete, .of = "snapshot" },
    { NULL, 'F', TOOL_TEXT, AT(img.backing_format), .of = "compare convert create rebase" },
    { NULL, 'f', TOOL_TEXT, AT(img.format) },
    { "force", 0, TOOL_FLAG, AT(x.force), .of = "amend" },
    { "force-share", 'U', TOOL_FLAG, AT(img.share),
      .of = "check compare convert dd info map measure rebase snapshot" },
    { "help", 'h', TOOL_DO, .take = tool_help },
    { "image-opts", 0, TOOL_FLAG, AT(img.image_opts),
      .of = "amend check commit compare convert dd info map measure rebase resize snapshot" },
    { NULL, 'l', TOOL_DO, .take = do_list, .of = "snapshot" },
    { NULL, 'l', TOOL_TEXT, AT(x.convert.snapshot), .of = "convert measure" },
    { NULL, 'm', TOOL_TAKE, .take = take_jobs, .of = "convert" },
    { "max-length", 'l', TOOL_TAKE, .take = take_length, .of = "map" },
    { NULL, 'n', TOOL_FLAG, AT(x.convert.no_create), .of = "convert" },
    { NULL, 'O', TOOL_TEXT, AT(img.out_format), .of = "convert dd measure" },
    { NULL, 'o', TOOL_TEXT, AT(img.options), .of = "amend convert create measure" },
    { "object", 0, TOOL_TAKE, .take = tool_take_object },
    { "output", 0, TOOL_TAKE, .take = take_output, .of = "check info map measure" },
    { NULL, 'p', TOOL_FLAG, AT(img.progress), .of = "amend commit compare convert rebase" },
    { "preallocation", 0, TOOL_TEXT, AT(img.prealloc), .of = "resize" },
    { NULL, 'q', TOOL_FLAG, AT(img.quiet),
      .of = "amend check commit compare convert create rebase resize snapshot" },
    { NULL, 'r', TOOL_TAKE, .take = take_rate, .of = "commit convert" },
    { "repair", 'r', TOOL_TEXT, AT(x.repair), .of = "check" },
    { NULL, 'S', TOOL_TAKE, .take = take_sparse, .of = "convert" },
    { NULL, 's', TOOL_FLAG, AT(x.s), .of = "compare" },
    { "salvage", 0, TOOL_FLAG, AT(x.convert.salvage), .of = "convert" },
    { "shrink", 0, TOOL_FLAG, AT(x.shrink), .of = "resize" },
    { "size", 0, TOOL_TAKE, .take = take_size, .of = "measure" },
    { "skip-broken-bitmaps", 0, TOOL_FLAG, AT(x.convert.skip_broken_bitmaps), .of = "convert" },
    { "start-offset", 's', TOOL_TAKE, .take = take_start, .of = "map" },
    { NULL, 'T', TOOL_TEXT, AT(img.src_cache), .of = "check compare convert rebase" },
    { NULL, 't', TOOL_TEXT, AT(img.cache), .of = "amend commit convert rebase" },
    { "target-image-opts", 0, TOOL_FLAG, AT(img.target_opts), .of = "convert" },
    { "target-is-zero", 0, TOOL_FLAG, AT(x.convert.target_is_zero), .of = "convert" },
    { NULL, 'u', TOOL_FLAG, AT(x.u), .of = "create rebase" },
    { NULL, 'W', TOOL_DO, .take = do_nothing, .of = "convert" },
};
#undef AT

static int do_create(struct img *im, const struct extra *x)
{
    im->share = x->u; /* the backing file need not be there */
    return img_create(im);
}

static int do_info(struct img *im, const struct extra *x)
{
    return img_info(im, x->chain);
}

static int do_check(struct img *im, const struct extra *x)
{
    return img_check(im, x->repair);
}

static int do_convert(struct img *im, const struct extra *x)
{
    return img_convert(im, &x->convert);
}

static int do_resize(struct img *im, const struct extra *x)
{
    return img_resize(im, x->shrink);
}

static int do_snapshot(struct img *im, const struct extra *x)
{
    return img_snapshot(im, x->snapshot_what, x->snapshot_name);
}

static int do_map(struct img *im, const struct extra *x)
{
    return img_map(im, x->from, x->len);
}

static int do_compare(struct img *im, const struct extra *x)
{
    return img_compare(im, x->s);
}

static int do_commit(struct img *im, const struct extra *x)
{
    return img_commit(im, x->d);
}

static int do_rebase(struct img *im, const struct extra *x)
{
    return img_rebase(im, x->u);
}

static int do_measure(struct img *im, const struct extra *x)
{
    return img_measure(im, x->size, x->convert.snapshot);
}

static int do_amend(struct img *im, const struct extra *x)
{
    return img_amend(im, x->force);
}

static int do_dd(struct img *im, const struct extra *x)
{
    (void)x;
    return img_dd(im);
}

static const struct command {
    const char *name;
    int (*run)(struct img *im, const struct extra *x);
    int (*all)(struct img *im, int argc, char **argv); /* it reads its options itself */
} commands[] = {
    { "amend", do_amend, NULL },
    { "bench", NULL, img_bench },
    { "bitmap", NULL, img_bitmap },
    { "check", do_check, NULL },
    { "commit", do_commit, NULL },
    { "compare", do_compare, NULL },
    { "convert", do_convert, NULL },
    { "create", do_create, NULL },
    { "dd", do_dd, NULL },
    { "info", do_info, NULL },
    { "map", do_map, NULL },
    { "measure", do_measure, NULL },
    { "rebase", do_rebase, NULL },
    { "resize", do_resize, NULL },
    { "snapshot", do_snapshot, NULL },
};

static int with_options(struct img *im, const struct command *cmd, int argc, char **argv)
{
    struct line l = {
        .img = *im,
        .x = { .size = UINT64_MAX, .len = UINT64_MAX, .convert = { .jobs = 8, .sparse = 4096 } }
    };
    int rc = tool_options(options, ARRAY_SIZE(options), cmd->name, false, &l, argc, argv);

    if (rc) {
        return rc == TOOL_END ? 0 : 1;
    }
    *im = l.img;
    if (im->image_opts && im->format) {
        return fail("--image-opts and --format are mutually exclusive");
    }
    im->arg = argv + optind;
    im->args = argc - optind;
    im->ctx = node_ctx_new(NULL);
    rc = cmd->run(im, &l.x);
    node_ctx_free(im->ctx);
    return rc;
}

int main(int argc, char **argv)
{
    struct img im = { .command = argc > 1 ? argv[1] : "" };

    tool_name = "keel-img";
    tool_usage = img_usage;
    if (strcmp(im.command, "--version") == 0 || strcmp(im.command, "-V") == 0) {
        printf("keel-img version " KEEL_VERSION "\n");
        return 0;
    }
    if (strcmp(im.command, "--help") == 0 || strcmp(im.command, "-h") == 0) {
        return img_usage(stdout);
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->name, im.command) == 0) {
            return c->run ? with_options(&im, c, argc - 1, argv + 1)
                          : c->all(&im, argc - 1, argv + 1);
        }
    }
    if (im.command[0]) {
        fail("Command not found: %s", im.command);
    }
    return img_usage(stderr);
}
