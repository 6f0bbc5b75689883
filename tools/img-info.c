/* SPDX-License-Identifier: MIT */
/* tools/img-info.c - keel-img info, check, map, snapshot. */
#include "block/format.h"
#include "tools/img.h"

#include "block/bitmap.h"
#include "block/snapshot-text.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void print_json(json_t *j)
{
    char *text = json_dumps(j, JSON_INDENT(4));

    printf("%s\n", text ? text : "null");
    free(text);
    json_decref(j);
}

/* A file name need not be UTF-8; JSON must. */
/* ---- snapshots, as both info and snapshot -l list them ---- */

/* One value of "snapshot.id=ID,snapshot.name=NAME". malloc'd, NULL: not given. */
static char *snapshot_option(const char *text, const char *key)
{
    return strncmp(text, "snapshot.", 9) == 0 ? option_get(text, key) : NULL;
}

int img_view_snapshot(struct node *n, const char *text)
{
    char *id = snapshot_option(text, "snapshot.id"), *name = snapshot_option(text, "snapshot.name");
    const struct qcow2_snapshot *s = NULL;
    struct err e = { 0 };
    int rc = 0;

    for (unsigned i = 0; (id || name) && qcow2_is(n) && (s = qcow2_snapshot(n, i)); i++) {
        if ((!id || strcmp(id, s->id) == 0) && (!name || strcmp(name, s->name) == 0)) {
            break;
        }
    }
    if (!qcow2_is(n)) {
        rc = fail("Failed to load snapshot: the format has none");
    } else if ((id || name) && !s) {
        rc = fail("Failed to load snapshot: Can't find snapshot '%s'", text);
    } else if (qcow2_snapshot_view(n, s ? s->id : text, &e) < 0) {
        rc = fail("Failed to load snapshot: %s", e.msg);
    }
    free(id);
    free(name);
    return rc;
}

static void print_snapshots(const struct node *n)
{
    const struct qcow2_snapshot *sn;

    printf("Snapshot list:\n%s\n", SNAPSHOT_HEADING);
    for (unsigned i = 0; (sn = qcow2_snapshot(n, i)); i++) {
        char *line = snapshot_line(sn, sn->id);
        puts(line);
        free(line);
    }
}

/* ---- info ---- */

static void print_bitmaps(const struct node *n)
{
    unsigned i = 0;

    printf("    bitmaps:\n");
    for (const struct bitmap *b = n->bitmaps; b; b = b->next) {
        unsigned k = 0;
        printf("        [%u]:\n            flags:\n", i++);
        if (b->inconsistent) {
            printf("                [%u]: in-use\n", k++);
        }
        if (b->recording) {
            printf("                [%u]: auto\n", k++);
        }
        printf("            name: %s\n            granularity: %u\n", b->name,
               1u << b->granularity_bits);
    }
}

static void print_encrypt(struct node *n)
{
    struct luks_info i;
    struct err e = { 0 };

    if (qcow2_luks_info(n, &i, &e) == 0) {
        printf("    encrypt:\n");
        print_luks(&i, "        ", true);
    }
}

static uint64_t allocated(struct node *n)
{
    struct format_info f;

    format_info(n, &f);
    return file_allocated(image_protocol(n)) + f.elsewhere;
}

static void print_specific(struct node *n, const struct qcow2_info *q)
{
    if (q->snapshots) {
        print_snapshots(n);
    }
    printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
           q->version >= 3 ? "1.1" : "0.10", q->zstd ? "zstd" : "zlib");
    if (q->version >= 3) {
        printf("    lazy refcounts: %s\n", q->lazy_refcounts ? "true" : "false");
    }
    if (n->bitmaps) {
        print_bitmaps(n);
    }
    printf("    refcount bits: %u\n", q->refcount_bits);
    if (q->encrypted) {
        print_encrypt(n);
    }
    if (q->version >= 3) {
        if (q->data_file) {
            printf("    data file: %s\n    data file raw: %s\n", q->data_file,
                   q->data_file_raw ? "true" : "false");
        }
        printf("    corrupt: %s\n    extended l2: %s\n", q->corrupt ? "true" : "false",
               q->extended_l2 ? "true" : "false");
    }
}

static void print_info(struct node *n)
{
    char size[32], disk[32];
    struct qcow2_info q;

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
           n->filename, image_format(n), human(n->len, size, sizeof(size)), n->len,
           human(allocated(n), disk, sizeof(disk)));
    if (!qcow2_is(n)) {
        other_info(n);
        return;
    }
    qcow2_info(n, &q);
    if (q.encrypted) {
        printf("encrypted: yes\n");
    }
    if (q.dirty) {
        printf("cleanly shut down: no\n");
    }
    printf("cluster_size: %u\n", 1u << q.cluster_bits);
    if (q.backing_file) {
        char *full = image_backing_path(n->filename, q.backing_file);
        printf("backing file: %s", q.backing_file);
        if (strcmp(full, q.backing_file) != 0) {
            printf(" (actual path: %s)", full);
        }
        printf("\n");
        free(full);
    }
    if (q.backing_format) {
        printf("backing file format: %s\n", q.backing_format);
    }
    print_specific(n, &q);
}

/* What n stands on, by name and format; the caller frees. False at the chain's end. */
static bool next_in_chain(const struct node *n, char **file, char **format)
{
    struct format_info q;

    format_info(n, &q);
    *file = q.backing_file ? image_backing_path(n->filename, q.backing_file) : NULL;
    *format = q.backing_format ? xstrdup(q.backing_format) : NULL;
    return *file != NULL;
}

int img_info(struct img *im, bool chain)
{
    enum { MAX = 200 };
    json_t *list = json_array();
    char *file, *format;
    int rc = 0, n = 0;

    if (im->args != 1) {
        json_decref(list);
        return fail("info: expecting a file name");
    }
    file = xstrdup(im->arg[0]);
    format = im->format ? xstrdup(im->format) : NULL;
    for (bool more = true; more && rc == 0 && n < MAX; n++) {
        struct node *node = img_open(im, file, format, false, OPEN_NO_BACKING | OPEN_NO_DATA);
        free(file);
        free(format);
        file = format = NULL;
        if (!node) {
            rc = 1;
            break;
        }
        if (im->json) {
            json_array_append_new(list, image_json(node, false));
        } else {
            printf("%s", n ? "\n" : "");
            print_info(node);
        }
        more = next_in_chain(node, &file, &format) && chain;
        img_close(node);
    }
    free(file);
    free(format);
    if (n == MAX) {
        rc = fail("the backing chain has no end");
    }
    if (rc == 0 && im->json) {
        print_json(chain ? json_incref(list) : json_incref(json_array_get(list, 0)));
    }
    json_decref(list);
    return rc;
}

/* ---- check ---- */

static void say_line(void *opaque, const char *line)
{
    (void)opaque;
    fprintf(stderr, "%s\n", line);
}

static json_t *check_json(const struct node *n, const struct qcow2_check *c)
{
    json_t *j =
        json_pack("{s:o, s:s, s:I, s:I, s:I, s:I}", "filename", json_text(n->filename), "format",
                  "qcow2", "check-errors", (json_int_t)c->errors, "image-end-offset",
                  (json_int_t)c->image_end, "total-clusters", (json_int_t)c->total_clusters,
                  "allocated-clusters", (json_int_t)c->allocated);
    const struct {
        const char *key;
        uint64_t v;
    } some[] = { { "leaks", c->leaks },
                 { "corruptions", c->corruptions },
                 { "leaks-fixed", c->leaks_fixed },
                 { "corruptions-fixed", c->corruptions_fixed },
                 { "fragmented-clusters", c->fragmented },
                 { "compressed-clusters", c->compressed } };

    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        if (some[i].v) {
            json_object_set_new(j, some[i].key, json_integer((json_int_t)some[i].v));
        }
    }
    return j;
}

static void print_fixed(const struct qcow2_check *c)
{
    if (c->corruptions_fixed || c->leaks_fixed) {
        printf("The following inconsistencies were found and repaired:\n\n"
               "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
               "Double checking the fixed image now...\n",
               c->leaks_fixed, c->corruptions_fixed);
    }
}

static void print_check(const struct qcow2_check *c)
{
    double all = c->total_clusters ? (double)c->total_clusters : 1;
    double some = c->allocated ? (double)c->allocated : 1;

    print_fixed(c);
    if (!c->corruptions && !c->leaks) {
        printf("No errors were found on the image.\n");
    } else {
        if (c->corruptions) {
            printf("\n%" PRIu64 " errors were found on the image.\n"
                   "Data may be corrupted, or further writes to the image may corrupt it.\n",
                   c->corruptions);
        }
        if (c->leaks) {
            printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
                   "This means waste of disk space, but no harm to data.\n",
                   c->leaks);
        }
    }
    if (c->total_clusters && c->allocated) {
        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% "
               "compressed clusters\n",
               c->allocated, c->total_clusters, (double)c->allocated * 100 / all,
               (double)c->fragmented * 100 / some, (double)c->compressed * 100 / some);
    }
    if (c->image_end) {
        printf("Image end offset: %" PRIu64 "\n", c->image_end);
    }
}

int img_check(struct img *im, const char *repair)
{
    struct qcow2_check c = { .say = im->quiet || im->json ? NULL : say_line };
    enum qcow2_repair mode = QCOW2_CHECK_ONLY;
    struct node *n;
    int ret, rc;

    if (im->args != 1) {
        return fail("check: expecting a file name");
    }
    if (repair) {
        mode = strcmp(repair, "all") == 0 ? QCOW2_REPAIR_ALL : QCOW2_REPAIR_LEAKS;
        if (mode == QCOW2_REPAIR_LEAKS && strcmp(repair, "leaks") != 0) {
            return fail("-r expects 'leaks' or 'all'");
        }
    }
    n = img_open(im, im->arg[0], im->format, repair != NULL,
                 OPEN_NO_BACKING | OPEN_CHECK | OPEN_NO_DATA);
    if (!n) {
        return 1;
    }
    if (!qcow2_is(n)) {
        rc = other_check(im, n, repair);
        return img_close(n) ? 1 : rc;
    }
    ret = qcow2_check(n, mode, &c);
    if (ret < 0) {
        fail("Check failed: %s", strerror(-ret));
    } else if (im->json) {
        print_json(check_json(n, &c));
    } else if (!im->quiet) {
        print_check(&c);
    }
    rc = ret < 0 ? 1 : c.corruptions ? 2 : c.leaks ? 3 : 0;
    return img_close(n) ? 1 : rc;
}

/* ---- map ---- */

int img_status(struct node *n, uint64_t offset, uint64_t len, struct node_status *st,
               unsigned *depth, struct node **where)
{
    unsigned d = 0;
    int ret;

    for (;; n = n->backing, d++) {
        if (offset >= n->len) { /* a backing file that ends here */
            *st = (struct node_status){ .len = len, .flags = NODE_IS_ZERO };
            ret = 0;
            break;
        }
        ret = node_status(n, offset, min_u64(len, n->len - offset), st);
        if (ret < 0 || (st->flags & NODE_ALLOCATED) || !n->backing) {
            break;
        }
        len = st->len;
    }
    if (depth) {
        *depth = d;
    }
    if (where) {
        *where = n;
    }
    return ret;
}

struct run {
    uint64_t start, len;
    struct node_status st;
    unsigned depth;
    struct node *where;
    bool present;
};

static void print_run_json(const struct run *r, bool first)
{
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, "
           "\"zero\": %s, \"data\": %s",
           first ? "[" : ",\n", r->start, r->len, r->depth, r->present ? "true" : "false",
           r->st.flags & NODE_IS_ZERO ? "true" : "false",
           r->st.flags & NODE_HAS_DATA ? "true" : "false");
    if (r->st.flags & NODE_MAPPED) {
        printf(", \"offset\": %" PRIu64, r->st.mapped);
    }
    printf("}");
}

static int print_run(struct img *im, const struct run *r, bool first)
{
    if (im->json) {
        print_run_json(r, first);
        return 0;
    }
    if ((r->st.flags & NODE_HAS_DATA) && !(r->st.flags & NODE_MAPPED)) {
        return fail("File contains external, encrypted or compressed clusters.");
    }
    if (r->st.flags & NODE_HAS_DATA) {
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", r->start, r->len, r->st.mapped,
               r->where->other ? r->where->other->filename : r->where->filename);
    }
    return 0;
}

static bool joins(const struct run *a, const struct run *b)
{
    return a->len && a->st.flags == b->st.flags && a->depth == b->depth &&
           a->present == b->present && a->where == b->where &&
           (!(a->st.flags & NODE_MAPPED) || a->st.mapped + a->len == b->st.mapped);
}

int img_map(struct img *im, uint64_t from, uint64_t len)
{
    struct run now = { 0 }, r;
    struct node *n;
    int ret = 0, rc = 0;
    bool first = true;

    if (im->args != 1) {
        return fail("map: expecting a file name");
    }
    n = img_open(im, im->arg[0], im->format, false, 0);
    if (!n) {
        return 1;
    }
    if (!im->json) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    from &= ~511ull;
    uint64_t end = len < n->len && from < n->len - len ? from + ((len + 511) & ~511ull) : n->len;
    for (uint64_t at = from; at < end && rc == 0; at += r.len) {
        r = (struct run){ .start = at };
        ret = img_status(n, at, end - at, &r.st, &r.depth, &r.where);
        if (ret < 0) {
            break;
        }
        r.len = r.st.len;
        r.present = r.st.flags & NODE_ALLOCATED;
        if (joins(&now, &r)) {
            now.len += r.len;
            continue;
        }
        if (now.len) {
            rc = print_run(im, &now, first);
            first = false;
        }
        now = r;
    }
    if (ret == 0 && rc == 0 && now.len) {
        rc = print_run(im, &now, first);
        first = false;
    }
    if (im->json) {
        printf("%s]\n", first ? "[" : "");
    }
    if (ret < 0) {
        rc = fail("Failed to read image metadata: %s", strerror(-ret));
    }
    return img_close(n) || rc;
}

/* ---- snapshot ---- */

int img_snapshot(struct img *im, char what, const char *name)
{
    bool write = what == 'a' || what == 'c' || what == 'd';
    struct err e = { 0 };
    struct node *n;
    int ret = 0, rc = 0;

    if (im->args != 1) {
        return fail("snapshot: expecting a file name");
    }
    n = img_open(im, im->arg[0], im->format, write, OPEN_NO_BACKING);
    if (!n) {
        return 1;
    }
    if (!qcow2_is(n)) {
        rc = write ? fail("'%s': format %s has no snapshots", im->arg[0], image_format(n)) : 0;
    } else if (what == 'c') {
        ret = qcow2_snapshot_create(n, name, &e);
        rc = ret < 0 ? fail("Could not create snapshot '%s': %s", name, e.msg) : 0;
    } else if (what == 'a') {
        ret = qcow2_snapshot_apply(n, name, &e);
        rc = ret < 0 ? fail("Could not apply snapshot '%s': %s", name, e.msg) : 0;
    } else if (what == 'd') {
        ret = qcow2_snapshot_delete(n, name, &e);
        rc = ret < 0 ? fail("Could not delete snapshot '%s': %s", name, e.msg) : 0;
    } else if (qcow2_snapshot(n, 0)) {
        print_snapshots(n);
    }
    return img_close(n) || rc;
}
