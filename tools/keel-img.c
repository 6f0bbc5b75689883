/* SPDX-License-Identifier: MIT */
/* tools/keel-img.c - disk images without a machine: options and output are qemu-img's. */
#include "tools/img.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fputs("keel-img: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

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
    n = ret < 0 ? NULL : image_open(im->ctx, &o, &e);
    if (opts) {
        free((char *)o.filename);
        free((char *)o.format);
        free((char *)o.data_file);
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
           "  amend [-q] [-f FMT] -o OPTIONS FILE\n"
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
    bool u, s, d, shrink, chain, list_given;
    const char *repair, *snapshot_name, *l_arg;
    char snapshot_what;
    uint64_t from, len, size;
    struct convert convert;
};

/* Options without a letter. */
enum {
    OPT_OUTPUT = 256,
    OPT_BACKING_CHAIN,
    OPT_SHRINK,
    OPT_SIZE,
    OPT_TARGET_IS_ZERO,
    OPT_OBJECT,
    OPT_IMAGE_OPTS,
    OPT_TARGET_IMAGE_OPTS,
    OPT_BITMAPS,
    OPT_SKIP_BROKEN,
    OPT_SALVAGE,
    OPT_PREALLOCATION,
    OPT_MISSING,
};

static const struct option long_options[] = {
    { "backing-chain", no_argument, NULL, OPT_BACKING_CHAIN },
    { "bitmaps", no_argument, NULL, OPT_BITMAPS },
    { "force", no_argument, NULL, OPT_MISSING },
    { "force-share", no_argument, NULL, 'U' },
    { "help", no_argument, NULL, 'h' },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { "max-length", required_argument, NULL, 'l' },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "output", required_argument, NULL, OPT_OUTPUT },
    { "preallocation", required_argument, NULL, OPT_PREALLOCATION },
    { "repair", required_argument, NULL, 'r' },
    { "salvage", no_argument, NULL, OPT_SALVAGE },
    { "shrink", no_argument, NULL, OPT_SHRINK },
    { "size", required_argument, NULL, OPT_SIZE },
    { "skip-broken-bitmaps", no_argument, NULL, OPT_SKIP_BROKEN },
    { "start-offset", required_argument, NULL, 's' },
    { "target-image-opts", no_argument, NULL, OPT_TARGET_IMAGE_OPTS },
    { "target-is-zero", no_argument, NULL, OPT_TARGET_IS_ZERO },
};

/* Which letters and which of the long options a command has; all have "help". */
static const struct command {
    const char *name, *letters, *longs;
} commands[] = {
    { "amend", "f:o:qpt:h", "object image-opts force" },
    { "check", "f:r:qUT:h", "object image-opts output repair force-share" },
    { "commit", "f:t:b:r:qdph", "object image-opts" },
    { "compare", "f:F:T:pqsUh", "object image-opts force-share" },
    { "convert", "cpqnUWCf:O:B:F:o:l:S:m:r:t:T:h",
      "object image-opts target-image-opts force-share target-is-zero salvage bitmaps "
      "skip-broken-bitmaps" },
    { "create", "qf:b:F:uo:h", "object" },
    { "dd", "f:O:Uh", "object image-opts force-share" },
    { "info", "f:Uh", "object image-opts output backing-chain force-share" },
    { "map", "f:s:l:Uh", "object image-opts output start-offset max-length force-share" },
    { "measure", "f:O:o:l:Uh", "object image-opts output size force-share" },
    { "rebase", "f:b:F:pqut:T:Uh", "object image-opts force-share" },
    { "resize", "f:qh", "object image-opts preallocation shrink" },
    { "snapshot", "la:c:d:qUf:h", "object image-opts force-share" },
};

static bool names_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = words; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        if (strcspn(p, " ") == len && memcmp(p, word, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The long options of one command. */
static void choose_longs(const struct command *cmd, struct option *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(long_options); i++) {
        const char *name = long_options[i].name;
        if (names_word(cmd->longs, name) || strcmp(name, "help") == 0) {
            *out++ = long_options[i];
        }
    }
    *out = (struct option){ 0 };
}

static bool take_plain(struct img *im, struct extra *x, int c)
{
    const struct tool_plain plain[] = {
        { 'f', &im->format, NULL },
        { 'F', &im->backing_format, NULL },
        { 'O', &im->out_format, NULL },
        { 'o', &im->options, NULL },
        { 'b', &im->backing, NULL },
        { 'B', &im->backing, NULL },
        { 't', &im->cache, NULL },
        { 'T', &im->src_cache, NULL },
        { 'q', NULL, &im->quiet },
        { 'p', NULL, &im->progress },
        { 'U', NULL, &im->share },
        { 'u', NULL, &x->u },
        { 'n', NULL, &x->convert.no_create },
        { OPT_BACKING_CHAIN, NULL, &x->chain },
        { OPT_SHRINK, NULL, &x->shrink },
        { OPT_TARGET_IS_ZERO, NULL, &x->convert.target_is_zero },
        { OPT_IMAGE_OPTS, NULL, &im->image_opts },
        { OPT_PREALLOCATION, &im->prealloc, NULL },
        { OPT_BITMAPS, NULL, &x->convert.bitmaps },
        { OPT_SKIP_BROKEN, NULL, &x->convert.skip_broken_bitmaps },
        { OPT_SALVAGE, NULL, &x->convert.salvage },
        { OPT_TARGET_IMAGE_OPTS, NULL, &im->target_opts },
    };
    return tool_take_plain(plain, ARRAY_SIZE(plain), c);
}

static int take(struct img *im, struct extra *x, int c)
{
    bool convert = strcmp(im->command, "convert") == 0;
    bool snapshot = strcmp(im->command, "snapshot") == 0;
    uint64_t v;

    if (take_plain(im, x, c)) {
        return 0;
    }
    switch (c) {
    case 'W':
    case 'C':
        break; /* the order of writes is free anyway; so is how a copy is made */
    case 's':
        if (strcmp(im->command, "map") != 0) {
            x->s = true;
        } else if (!tool_bytes(optarg, &x->from)) {
            return fail("Invalid start offset specified");
        }
        break;
    case 'l':
        if (convert || strcmp(im->command, "measure") == 0) {
            x->convert.snapshot = optarg;
        } else if (snapshot) {
            x->snapshot_what = 'l';
        } else if (!tool_bytes(optarg, &x->len)) {
            return fail("Invalid max length specified");
        }
        break;
    case 'a':
    case 'c':
    case 'd':
        if (convert) {
            x->convert.compress = true;
        } else if (!snapshot) {
            x->d = true;
        } else if (x->snapshot_what) {
            return fail("Cannot mix '-l', '-a', '-c', '-d'");
        } else {
            x->snapshot_what = (char)c;
            x->snapshot_name = optarg;
        }
        break;
    case 'S':
        if (!tool_bytes(optarg, &x->convert.sparse) || x->convert.sparse % 512) {
            return fail("Invalid buffer size for sparse output specified.");
        }
        break;
    case 'm':
        if (!tool_bytes(optarg, &v) || v < 1 || v > 16) {
            return fail("Invalid number of coroutines. Allowed number of coroutines is between "
                        "1 and 16");
        }
        x->convert.jobs = (unsigned)v;
        break;
    case 'r':
        if (strcmp(im->command, "check") == 0) {
            x->repair = optarg;
        } else if (!tool_bytes(optarg, &im->rate) || im->rate == 0) {
            return fail("Invalid rate limit specified");
        }
        break;
    case OPT_OUTPUT:
        if (strcmp(optarg, "json") != 0 && strcmp(optarg, "human") != 0) {
            return fail("--output must be used with human or json as argument.");
        }
        im->json = strcmp(optarg, "json") == 0;
        break;
    case OPT_SIZE:
        if (!tool_bytes(optarg, &x->size)) {
            return fail("Invalid image size specified.");
        }
        break;
    case OPT_OBJECT: {
        struct err e = { 0 };
        return tool_object(optarg, &e) < 0 ? fail("--object: %s", e.msg) : 0;
    }
    case OPT_MISSING:
        return fail("%s: known, but Keel does not have it yet", tool_option(im->arg));
    default:
        return 1;
    }
    return 0;
}

static int run(struct img *im, const struct extra *x)
{
    const char *c = im->command;

    if (strcmp(c, "create") == 0) {
        return img_create(im);
    }
    if (strcmp(c, "info") == 0) {
        return img_info(im, x->chain);
    }
    if (strcmp(c, "check") == 0) {
        return img_check(im, x->repair);
    }
    if (strcmp(c, "convert") == 0) {
        return img_convert(im, &x->convert);
    }
    if (strcmp(c, "resize") == 0) {
        return img_resize(im, x->shrink);
    }
    if (strcmp(c, "snapshot") == 0) {
        return img_snapshot(im, x->snapshot_what, x->snapshot_name);
    }
    if (strcmp(c, "map") == 0) {
        return img_map(im, x->from, x->len);
    }
    if (strcmp(c, "compare") == 0) {
        return img_compare(im, x->s);
    }
    if (strcmp(c, "commit") == 0) {
        return img_commit(im, x->d);
    }
    if (strcmp(c, "rebase") == 0) {
        return img_rebase(im, x->u);
    }
    if (strcmp(c, "measure") == 0) {
        return img_measure(im, x->size, x->convert.snapshot);
    }
    if (strcmp(c, "amend") == 0) {
        return img_amend(im);
    }
    return img_dd(im);
}

static int with_options(struct img *im, const struct command *cmd, int argc, char **argv)
{
    struct extra x = { .size = UINT64_MAX,
                       .len = UINT64_MAX,
                       .convert = { .jobs = 8, .sparse = 4096 } };
    struct option longs[ARRAY_SIZE(long_options) + 1];
    int c, rc = 0;

    choose_longs(cmd, longs);
    im->arg = argv;
    while (rc == 0 && (c = getopt_long(argc, argv, cmd->letters, longs, NULL)) != -1) {
        if (c == 'h') {
            return img_usage(stdout);
        }
        rc = take(im, &x, c);
    }
    if (rc) {
        return rc;
    }
    /* -u: the backing file need not be there */
    if (x.u && strcmp(cmd->name, "create") == 0) {
        im->share = true;
    }
    if (im->image_opts && im->format) {
        return fail("--image-opts and --format are mutually exclusive");
    }
    im->arg = argv + optind;
    im->args = argc - optind;
    im->ctx = node_ctx_new(NULL);
    rc = run(im, &x);
    node_ctx_free(im->ctx);
    return rc;
}

int main(int argc, char **argv)
{
    struct img im = { .command = argc > 1 ? argv[1] : "" };

    if (strcmp(im.command, "--version") == 0 || strcmp(im.command, "-V") == 0) {
        printf("keel-img version " KEEL_VERSION "\n");
        return 0;
    }
    if (strcmp(im.command, "--help") == 0 || strcmp(im.command, "-h") == 0) {
        return img_usage(stdout);
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, im.command) == 0) {
            return with_options(&im, &commands[i], argc - 1, argv + 1);
        }
    }
    if (strcmp(im.command, "bitmap") == 0) {
        return img_bitmap(&im, argc - 1, argv + 1);
    }
    if (strcmp(im.command, "bench") == 0) {
        return img_bench(&im, argc - 1, argv + 1);
    }
    if (im.command[0]) {
        fail("Command not found: %s", im.command);
    }
    return img_usage(stderr);
}
