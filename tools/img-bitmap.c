/* SPDX-License-Identifier: MIT */
/* tools/img-bitmap.c - keel-img bitmap: persistent dirty bitmaps made, changed and removed; and their
 * copying by convert.
 */
#include "tools/img.h"

#include "block/bitmap.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ACTIONS = 64 };
enum { ACT_ADD = 256, ACT_REMOVE, ACT_CLEAR, ACT_ENABLE, ACT_DISABLE, ACT_MERGE };
enum { OPT_OBJECT = 512, OPT_IMAGE_OPTS };

struct action {
    int what;
    const char *source; /* of a merge */
};

struct target {
    struct node *n, *from; /* from: where a merge takes bitmaps from */
    const char *name;
    uint32_t granularity;
};

static const struct option options[] = {
    { "add", no_argument, NULL, ACT_ADD },
    { "remove", no_argument, NULL, ACT_REMOVE },
    { "clear", no_argument, NULL, ACT_CLEAR },
    { "enable", no_argument, NULL, ACT_ENABLE },
    { "disable", no_argument, NULL, ACT_DISABLE },
    { "merge", required_argument, NULL, ACT_MERGE },
    { "source-file", required_argument, NULL, 'b' },
    { "source-format", required_argument, NULL, 'F' },
    { "granularity", required_argument, NULL, 'g' },
    { "help", no_argument, NULL, 'h' },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { 0 },
};

static const char *name_of(int what)
{
    return options[what - ACT_ADD].name;
}

static struct bitmap *find(const struct node *n, const char *name, struct err *e)
{
    struct bitmap *b = bitmap_find(n, name);

    if (!b) {
        err_set(e, -ENOENT, "Dirty bitmap '%.100s' not found", name);
    }
    return b;
}

static int merge(const struct target *t, struct bitmap *to, const char *source, struct err *e)
{
    struct bitmap *from = find(t->from, source, e);

    if (!from || bitmap_usable(from, e) < 0) {
        return e->code;
    }
    if (bitmap_merge(to, from) < 0) {
        return err_set(e, -EINVAL,
                       "Bitmaps are of different sizes (destination size is %llu, "
                       "source size is %llu) and can't be merged",
                       (unsigned long long)to->len, (unsigned long long)from->len);
    }
    return 0;
}

static int act(const struct target *t, const struct action *a, struct err *e)
{
    struct bitmap *b;

    if (a->what == ACT_ADD) {
        b = bitmap_new(t->n, t->name, t->granularity, e);
        if (b) {
            b->persistent = true;
        }
        return b ? 0 : e->code;
    }
    b = find(t->n, t->name, e);
    if (!b) {
        return e->code;
    }
    if (a->what == ACT_REMOVE) {
        bitmap_free(b);
        return 0;
    }
    if (bitmap_usable(b, e) < 0) {
        return e->code;
    }
    switch (a->what) {
    case ACT_CLEAR:
        bitmap_clear(b, 0, b->len);
        return 0;
    case ACT_MERGE:
        return merge(t, b, a->source, e);
    default:
        b->recording = a->what == ACT_ENABLE;
        return 0;
    }
}

static int act_all(struct img *im, struct target *t, const struct action *a, unsigned n)
{
    struct err e = { 0 };
    int rc = 0;

    t->n = img_open(im, im->arg[0], im->format, true, OPEN_NO_BACKING | OPEN_NO_DATA);
    if (!t->n) {
        return 1;
    }
    t->from = im->backing ? img_open(im, im->backing, im->backing_format, false,
                                     OPEN_NO_BACKING | OPEN_NO_DATA)
                          : t->n;
    rc = t->from ? 0 : 1;
    if (rc == 0 && !qcow2_keeps_bitmaps(t->n)) {
        rc = fail("Format driver '%s' does not support bitmaps%s", image_format(t->n),
                  qcow2_is(t->n) ? " with compat=0.10" : "");
    }
    for (unsigned i = 0; i < n && rc == 0; i++) {
        if (act(t, &a[i], &e) < 0) {
            rc = fail("Operation %s on bitmap %s failed: %s", name_of(a[i].what), t->name, e.msg);
        }
    }
    if (t->from && t->from != t->n) {
        img_close(t->from);
    }
    return img_close(t->n) || rc;
}

struct request {
    struct action actions[MAX_ACTIONS];
    unsigned n, merges, adds;
    uint32_t granularity;
};

static int take(struct img *im, struct request *r, int c)
{
    const struct tool_plain plain[] = {
        { 'b', &im->backing, NULL },
        { 'f', &im->format, NULL },
        { 'F', &im->backing_format, NULL },
        { OPT_IMAGE_OPTS, NULL, &im->image_opts },
    };
    struct err e = { 0 };
    uint64_t v;

    if (tool_take_plain(plain, ARRAY_SIZE(plain), c)) {
        return 0;
    }
    if (c == 'g') {
        if (!tool_bytes(optarg, &v) || v < 1 || v > UINT32_MAX) {
            return fail("Invalid granularity specified");
        }
        r->granularity = (uint32_t)v;
    } else if (c == OPT_OBJECT) {
        return tool_object(optarg, &e) < 0 ? fail("--object: %s", e.msg) : 0;
    } else if (c >= ACT_ADD && c <= ACT_MERGE && r->n < MAX_ACTIONS) {
        r->merges += c == ACT_MERGE;
        r->adds += c == ACT_ADD;
        r->actions[r->n++] = (struct action){ c, c == ACT_MERGE ? optarg : NULL };
    } else {
        return 1;
    }
    return 0;
}

static int check_request(const struct img *im, const struct request *r)
{
    if (im->image_opts && im->format) {
        return fail("--image-opts and --format are mutually exclusive");
    }
    if (im->args != 2) {
        return fail("Expecting filename and bitmap name");
    }
    if (!r->n) {
        return fail(
            "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    }
    if (r->granularity && !r->adds) {
        return fail("granularity only supported with --add");
    }
    if ((im->backing && !r->merges) || (im->backing_format && !im->backing)) {
        return fail("Merge bitmap source file only supported with --merge");
    }
    return 0;
}

int img_bitmap(struct img *im, int argc, char **argv)
{
    struct request r = { 0 };
    struct target t = { 0 };
    int c, rc = 0;

    while (rc == 0 && (c = getopt_long(argc, argv, "b:f:F:g:h", options, NULL)) != -1) {
        if (c == 'h') {
            return img_usage(stdout);
        }
        rc = take(im, &r, c);
    }
    im->arg = argv + optind;
    im->args = argc - optind;
    rc = rc ? rc : check_request(im, &r);
    if (rc) {
        return rc;
    }
    t.name = im->arg[1];
    t.granularity = r.granularity;
    im->ctx = node_ctx_new(NULL);
    rc = act_all(im, &t, r.actions, r.n);
    node_ctx_free(im->ctx);
    return rc;
}

int img_copy_bitmaps(const struct node *src, struct node *dst, bool skip_broken)
{
    struct err e = { 0 };

    for (const struct bitmap *b = src->bitmaps; b; b = b->next) {
        struct bitmap *copy;

        if (!b->persistent || (b->inconsistent && skip_broken)) {
            continue;
        }
        if (b->inconsistent) {
            return fail("Cannot copy inconsistent bitmap '%s'; use --skip-broken-bitmaps, or "
                        "'keel-img bitmap --remove'",
                        b->name);
        }
        copy = bitmap_new(dst, b->name, 1u << b->granularity_bits, &e);
        if (!copy || bitmap_merge(copy, b) < 0) {
            return fail("Failed to copy bitmap '%s': %s", b->name,
                        copy ? "the disks are not of the same size" : e.msg);
        }
        copy->persistent = true;
        copy->recording = b->recording;
    }
    return 0;
}
