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
enum act { ACT_ADD, ACT_REMOVE, ACT_CLEAR, ACT_ENABLE, ACT_DISABLE, ACT_MERGE };

static const char *const names[] = { "add", "remove", "clear", "enable", "disable", "merge" };

struct action {
    enum act what;
    const char *source; /* of a merge */
};

struct target {
    struct node *n, *from; /* from: where a merge takes bitmaps from */
    const char *name;
    uint32_t granularity;
};

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
            rc = fail("Operation %s on bitmap %s failed: %s", names[a[i].what], t->name, e.msg);
        }
    }
    if (t->from && t->from != t->n) {
        img_close(t->from);
    }
    return img_close(t->n) || rc;
}

struct request {
    struct img img; /* what the rows of the table fill in */
    struct action actions[MAX_ACTIONS];
    unsigned n, merges, adds;
    uint32_t granularity;
};

static int add_action(struct request *r, enum act what, const char *source)
{
    if (r->n == MAX_ACTIONS) {
        return fail("more than %d actions", MAX_ACTIONS);
    }
    r->merges += what == ACT_MERGE;
    r->adds += what == ACT_ADD;
    r->actions[r->n++] = (struct action){ what, source };
    return 0;
}

#define ACTION(name, what)                                                                         \
    static int name(void *to, const char *arg)                                                     \
    {                                                                                              \
        return add_action(to, what, arg);                                                          \
    }
ACTION(do_add, ACT_ADD)
ACTION(do_remove, ACT_REMOVE)
ACTION(do_clear, ACT_CLEAR)
ACTION(do_enable, ACT_ENABLE)
ACTION(do_disable, ACT_DISABLE)
ACTION(take_merge, ACT_MERGE)
#undef ACTION

static int take_granularity(void *to, const char *arg)
{
    uint64_t v;

    if (!tool_bytes(arg, &v) || v < 1 || v > UINT32_MAX) {
        return fail("Invalid granularity specified");
    }
    ((struct request *)to)->granularity = (uint32_t)v;
    return 0;
}

#define AT(member) .at = offsetof(struct request, member)
static const struct tool_opt options[] = {
    { "add", 0, TOOL_DO, .take = do_add },
    { "clear", 0, TOOL_DO, .take = do_clear },
    { "disable", 0, TOOL_DO, .take = do_disable },
    { "enable", 0, TOOL_DO, .take = do_enable },
    { NULL, 'f', TOOL_TEXT, AT(img.format) },
    { "granularity", 'g', TOOL_TAKE, .take = take_granularity },
    { "help", 'h', TOOL_DO, .take = tool_help },
    { "image-opts", 0, TOOL_FLAG, AT(img.image_opts) },
    { "merge", 0, TOOL_TAKE, .take = take_merge },
    { "object", 0, TOOL_TAKE, .take = tool_take_object },
    { "remove", 0, TOOL_DO, .take = do_remove },
    { "source-file", 'b', TOOL_TEXT, AT(img.backing) },
    { "source-format", 'F', TOOL_TEXT, AT(img.backing_format) },
};
#undef AT

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
    struct request r = { .img = *im };
    struct target t = { 0 };
    int rc = tool_options(options, ARRAY_SIZE(options), "", false, &r, argc, argv);

    if (rc) {
        return rc == TOOL_END ? 0 : 1;
    }
    *im = r.img;
    im->arg = argv + optind;
    im->args = argc - optind;
    rc = check_request(im, &r);
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
