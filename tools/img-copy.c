/* SPDX-License-Identifier: MIT */
/* tools/img-copy.c - keel-img convert, compare, commit, rebase, dd.
 *
 * A copy keeps a number of jobs busy, each with one chunk: read it, drop what is zero, write the
 * rest. The main loop hands out chunks and skips what the source knows to be zero without reading.
 */
#include "block/format.h"
#include "block/crypt.h"
#include "tools/img.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20, ZERO_STEP = 1 << 30 };

/* ---- the copying engine ---- */

struct copy;
struct job {
    struct copy *c;
    struct node_req r;
    struct iovec iov;
    uint8_t *buf;
    uint64_t at, len, done; /* the chunk; how much of it is written */
    bool busy;
    bool waits; /* has its data, but an earlier chunk has not */
};

struct copy {
    struct img *im;
    struct node *src, *dst;
    const struct convert *o;
    struct job *jobs;
    unsigned njobs;
    bool compress, in_order;
    uint64_t turn; /* in_order: where the next chunk to be written begins */
    uint64_t step; /* bytes of a chunk, at most */
    uint64_t sparse;
    bool zero; /* dst reads as zeros already */
    unsigned busy;
    uint64_t finished;
    int ret;
    const char *what;
};

static void job_end(struct job *j, int ret, const char *what)
{
    struct copy *c = j->c;

    j->busy = false;
    c->busy--;
    c->finished += j->len;
    if (ret < 0 && c->ret == 0) {
        c->ret = ret;
        c->what = what;
    }
    img_progress(c->im, c->finished, c->src->len);
}

/* How far from `at` on the chunk is of one kind: all zero or not, in units of the sparse size. */
static uint64_t same_kind(const struct job *j, uint64_t at, bool *zero)
{
    uint64_t unit = j->c->sparse ? j->c->sparse : j->len, n = min_u64(unit, j->len - at);

    *zero = j->c->sparse && node_is_zero(j->buf + at, n);
    while (at + n < j->len) {
        uint64_t more = min_u64(unit, j->len - at - n);
        if ((j->c->sparse && node_is_zero(j->buf + at + n, more)) != *zero) {
            break;
        }
        n += more;
    }
    return n;
}

static void job_write(struct job *j);

static void job_wrote(struct node_req *r, int ret)
{
    struct job *j = r->opaque;

    if (ret < 0) {
        job_end(j, ret, "writing");
        return;
    }
    j->done += r->len;
    job_write(j);
}

static void job_write(struct job *j)
{
    struct copy *c = j->c;

    while (j->done < j->len) {
        bool zero;
        uint64_t n = same_kind(j, j->done, &zero);

        if (zero && c->zero) {
            j->done += n;
            continue;
        }
        j->iov = (struct iovec){ j->buf + j->done, n };
        j->r = (struct node_req){ .op = zero ? NODE_ZERO : NODE_WRITE,
                                  .flags = zero          ? NODE_UNMAP
                                           : c->compress ? NODE_COMPRESS
                                                         : 0,
                                  .offset = j->at + j->done,
                                  .len = n,
                                  .iov = &j->iov,
                                  .iovcnt = 1,
                                  .done = job_wrote,
                                  .opaque = j };
        node_submit(c->dst, &j->r);
        return;
    }
    job_end(j, 0, NULL);
}

/* Lets the chunks go whose turn it is. */
static void write_in_turn(struct copy *c)
{
    for (unsigned i = 0; i < c->njobs; i++) {
        struct job *j = &c->jobs[i];
        if (j->waits && j->at == c->turn) {
            j->waits = false;
            c->turn = j->at + j->len;
            job_write(j);
            i = UINT_MAX; /* from the first on again */
        }
    }
}

static void job_read(struct node_req *r, int ret)
{
    struct job *j = r->opaque;
    struct copy *c = j->c;

    if (ret < 0) {
        job_end(j, ret, "reading");
        c->in_order = false; /* it fails anyway: whoever waits for this chunk may end */
        for (unsigned i = 0; i < c->njobs; i++) {
            if (c->jobs[i].waits) {
                c->jobs[i].waits = false;
                job_end(&c->jobs[i], ret, "reading");
            }
        }
        return;
    }
    j->done = 0;
    if (c->in_order) {
        j->waits = true;
        write_in_turn(c);
    } else {
        job_write(j);
    }
}

static void job_start(struct job *j, uint64_t at, uint64_t len)
{
    j->at = at;
    j->len = len;
    j->busy = true;
    j->c->busy++;
    j->iov = (struct iovec){ j->buf, len };
    j->r = (struct node_req){ .op = NODE_READ,
                              .offset = at,
                              .len = len,
                              .iov = &j->iov,
                              .iovcnt = 1,
                              .done = job_read,
                              .opaque = j };
    node_submit(j->c->src, &j->r);
}

static struct job *idle_job(struct copy *c)
{
    for (;;) {
        for (unsigned i = 0; i < c->njobs; i++) {
            if (!c->jobs[i].busy) {
                return &c->jobs[i];
            }
        }
        node_ctx_poll(c->im->ctx, true);
    }
}

static int skip_zeros(struct copy *c, uint64_t at, uint64_t len)
{
    int ret = c->zero ? 0 : node_rw(c->dst, NODE_ZERO, at, NULL, len, NODE_UNMAP);

    c->finished += len;
    img_progress(c->im, c->finished, c->src->len);
    return ret;
}

/* The next chunk's length, and whether it need not be read. A chunk for compression is a whole
 * cluster, whatever the source is made of. */
static int next_chunk(struct copy *c, uint64_t at, uint64_t end, uint64_t *len, bool *zero)
{
    struct node_status st;
    int ret = img_status(c->src, at, end - at, &st, NULL, NULL);

    *zero = false;
    *len = 512;
    if (ret < 0) {
        return ret;
    }
    *zero = (st.flags & NODE_IS_ZERO) && !(st.flags & NODE_HAS_DATA);
    *len = st.len;
    if (c->compress && *zero && st.len < end - at) {
        *len = st.len - st.len % c->step;
        *zero = *len != 0;
    }
    if (c->compress && !*zero) {
        *len = c->step;
    }
    *len = min_u64(min_u64(*len, end - at), *zero ? ZERO_STEP : c->step);
    return 0;
}

static void copy_all(struct copy *c, uint64_t end)
{
    for (uint64_t at = 0, len; at < end && c->ret == 0; at += len) {
        bool zero;
        int ret = next_chunk(c, at, end, &len, &zero);

        if (ret == 0 && zero) {
            ret = skip_zeros(c, at, len);
            while (c->in_order && c->busy) { /* the turn passes over the gap */
                node_ctx_poll(c->im->ctx, true);
            }
            c->turn = at + len;
        } else if (ret == 0) {
            job_start(idle_job(c), at, len);
        }
        if (ret < 0 && c->ret == 0) {
            c->ret = ret;
            c->what = zero ? "writing zeros" : "reading metadata";
        }
    }
    while (c->busy) {
        node_ctx_poll(c->im->ctx, true);
    }
}

int img_copy(struct img *im, struct node *src, struct node *dst, uint64_t len,
             const struct convert *o, bool zero)
{
    struct copy c = {
        .im = im, .src = src, .dst = dst, .o = o, .step = CHUNK, .zero = zero, .sparse = o->sparse
    };
    struct format_info info;

    format_info(dst, &info);
    c.compress = o->compress || info.compressed;
    c.in_order = info.compressed;
    if (c.compress && info.cluster_size) {
        c.step = info.cluster_size;
        c.sparse = c.step;
    }
    c.njobs = o->jobs;
    c.jobs = xcalloc(o->jobs, sizeof(*c.jobs));
    for (unsigned i = 0; i < o->jobs; i++) {
        c.jobs[i].c = &c;
        if (posix_memalign((void **)&c.jobs[i].buf, 4096, c.step)) {
            abort();
        }
    }
    copy_all(&c, len);
    for (unsigned i = 0; i < o->jobs; i++) {
        free(c.jobs[i].buf);
    }
    free(c.jobs);
    return c.ret < 0 ? fail("error while %s: %s", c.what, strerror(-c.ret)) : 0;
}

/* ---- convert ---- */

/* Reading a snapshot: the node is opened without being written to. */
static struct node *source_snapshot(struct img *im, const struct convert *o)
{
    const char *name = o->snapshot;

    if (strncmp(name, "snapshot.name=", 14) == 0 || strncmp(name, "snapshot.id=", 12) == 0) {
        name = strchr(name, '=') + 1;
    }
    struct node *n = img_open(im, im->arg[0], im->format, false, OPEN_SOURCE);
    struct err e = { 0 };
    if (n && (!qcow2_is(n) || qcow2_snapshot_view(n, name, &e) < 0)) {
        fail("Failed to load snapshot: %s", e.code ? e.msg : "the format has none");
        img_close(n);
        return NULL;
    }
    return n;
}

static int check_convert(struct img *im, const struct convert *o, const char *format)
{
    if (im->args != 2) {
        return fail("Must specify image file name%s",
                    im->args > 2 ? "; several sources: Keel does not have it yet" : "");
    }
    char *subformat = option_get(im->options, "subformat");
    bool stream = subformat && strcmp(subformat, "streamOptimized") == 0;
    free(subformat);
    if (o->compress && !stream && strcmp(format, "qcow2") != 0) {
        return fail("Compression not supported for this file format");
    }
    char *prealloc = o->compress ? option_get(im->options, "preallocation") : NULL;
    bool both = prealloc && strcmp(prealloc, "off") != 0;
    free(prealloc);
    if (both) {
        return fail("Compression and preallocation not supported at the same time");
    }
    if (o->skip_broken_bitmaps && !o->bitmaps) {
        return fail("Use of --skip-broken-bitmaps requires --bitmaps");
    }
    if (o->no_create && (im->options || im->backing)) {
        return fail("-n takes the target as it is: -o and -B have no meaning");
    }
    return 0;
}

int img_convert(struct img *im, const struct convert *o)
{
    const char *format = im->out_format ? im->out_format : "raw";
    struct node *src, *dst;
    int rc = check_convert(im, o, format);

    if (rc) {
        return rc;
    }
    src = o->snapshot ? source_snapshot(im, o)
                      : img_open(im, im->arg[0], im->format, false, OPEN_SOURCE);
    if (!src) {
        return 1;
    }
    if (!o->no_create) {
        bool was = im->quiet;
        im->quiet = true;
        rc = img_make(im, im->arg[1], format, src->len, im->options, false);
        im->quiet = was;
    }
    bool share = im->share;
    im->share = false;
    dst = rc ? NULL : img_open(im, im->arg[1], format, true, OPEN_TARGET);
    im->share = share;
    if (dst && o->bitmaps && (!qcow2_keeps_bitmaps(src) || !qcow2_keeps_bitmaps(dst))) {
        rc = fail("Format driver '%s' does not support bitmaps",
                  image_format(qcow2_keeps_bitmaps(src) ? dst : src));
    }
    if (dst && dst->len < src->len) {
        rc = fail("output file is smaller than input file");
    }
    if (dst && rc == 0) {
        bool zero = o->target_is_zero || (!o->no_create && !im->backing && !crypt_is(dst));
        rc = img_copy(im, src, dst, src->len, o, zero);
    }
    if (dst && rc == 0 && o->bitmaps) {
        rc = img_copy_bitmaps(src, dst, o->skip_broken_bitmaps);
    }
    if (dst && rc == 0 && im->progress) {
        img_progress(im, 1, 1);
        putchar('\n');
    }
    rc |= dst ? img_close(dst) : 1;
    return img_close(src) || rc;
}

/* ---- compare ---- */

static int compare_chunk(struct node *a, struct node *b, uint64_t at, uint64_t len, uint8_t *buf)
{
    int ret = node_read(a, at, buf, len);

    ret = ret < 0 ? ret : node_read(b, at, buf + CHUNK, len);
    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < len; i += 512) {
        if (memcmp(buf + i, buf + CHUNK + i, 512) != 0) {
            return (int)(i / 512) + 1;
        }
    }
    return 0;
}

/* The rest of the longer image must be zeros. */
static int compare_rest(struct img *im, struct node *n, uint64_t at, uint8_t *buf)
{
    for (uint64_t len; at < n->len; at += len) {
        struct node_status st;
        int ret = img_status(n, at, n->len - at, &st, NULL, NULL);
        len = min_u64(ret < 0 ? 512 : st.len, st.flags & NODE_IS_ZERO ? ZERO_STEP : CHUNK);
        if (ret == 0 && (st.flags & NODE_HAS_DATA)) {
            ret = node_read(n, at, buf, len);
            if (ret == 0 && !node_is_zero(buf, len)) {
                if (!im->quiet) {
                    printf("Content mismatch at offset %" PRIu64 "!\n", at);
                }
                return 1;
            }
        }
        if (ret < 0) {
            fail("%s: %s", n->filename, strerror(-ret));
            return 2;
        }
    }
    return 0;
}

static int compare_nodes(struct img *im, struct node *a, struct node *b, bool strict)
{
    uint64_t end = min_u64(a->len, b->len), len;
    uint8_t *buf = xcalloc(2, CHUNK);
    int rc = 0, ret = 0;

    if (strict && a->len != b->len) {
        printf("Strict mode: Image size mismatch!\n");
        free(buf);
        return 1;
    }
    for (uint64_t at = 0; at < end && rc == 0 && ret == 0; at += len) {
        struct node_status sa, sb;
        ret = img_status(a, at, end - at, &sa, NULL, NULL);
        ret = ret < 0 ? ret : img_status(b, at, end - at, &sb, NULL, NULL);
        len = ret < 0 ? 512 : min_u64(sa.len, sb.len);
        if (ret == 0 && (!(sa.flags & NODE_IS_ZERO) || !(sb.flags & NODE_IS_ZERO))) {
            len = min_u64(len, CHUNK);
            ret = compare_chunk(a, b, at, len, buf);
            if (ret > 0) {
                printf("Content mismatch at offset %" PRIu64 "!\n", at + (uint64_t)(ret - 1) * 512);
                rc = 1;
            }
        }
        img_progress(im, at + len, end);
    }
    if (ret < 0) {
        fail("reading: %s", strerror(-ret));
        rc = 2;
    }
    if (rc == 0 && a->len != b->len) {
        if (!im->quiet) {
            printf("Warning: Image size mismatch!\n");
        }
        rc = compare_rest(im, a->len > b->len ? a : b, end, buf);
    }
    free(buf);
    return rc;
}

int img_compare(struct img *im, bool strict)
{
    struct node *a, *b;
    int rc = 2;

    if (im->args != 2) {
        fail("Expecting two image file names");
        return 2;
    }
    a = img_open(im, im->arg[0], im->format, false, OPEN_SOURCE);
    b = a ? img_open(im, im->arg[1], im->backing_format, false, OPEN_SOURCE) : NULL;
    if (b) {
        rc = compare_nodes(im, a, b, strict);
        if (rc == 0 && !im->quiet) {
            printf("Images are identical.\n");
        }
        img_close(b);
    }
    if (a) {
        img_close(a);
    }
    return rc;
}

/* ---- commit ---- */

/* Copies what `top` itself decides onto base. */
static int push_down(struct img *im, struct node *top, struct node *base)
{
    uint8_t *buf = xcalloc(1, CHUNK);
    int ret = 0;

    for (uint64_t at = 0, len; at < top->len && ret == 0; at += len) {
        struct node_status st;
        ret = node_status(top, at, top->len - at, &st);
        len = ret < 0 ? 512 : st.len;
        if (ret < 0 || !(st.flags & NODE_ALLOCATED)) {
            continue;
        }
        if (st.flags & NODE_IS_ZERO) {
            len = min_u64(len, ZERO_STEP);
            ret = node_rw(base, NODE_ZERO, at, NULL, len, NODE_UNMAP);
        } else {
            len = min_u64(len, CHUNK);
            ret = node_read(top, at, buf, len);
            ret = ret < 0 ? ret : node_write(base, at, buf, len);
        }
        img_progress(im, at + len, top->len);
    }
    free(buf);
    return ret < 0 ? ret : node_flush(base);
}

int img_commit(struct img *im, bool keep)
{
    struct qcow2_info q = { 0 };
    struct err e = { 0 };
    struct node *top, *base = NULL;
    int rc = 0, ret;

    if (im->args != 1 || im->backing) {
        return fail("commit: expecting a file name%s",
                    im->backing ? "; -b: Keel does not have it yet" : "");
    }
    top = img_open(im, im->arg[0], im->format, true, OPEN_NO_BACKING);
    if (!top) {
        return 1;
    }
    if (qcow2_is(top)) {
        qcow2_info(top, &q);
    }
    if (!q.backing_file) {
        img_close(top);
        return fail("Image does not have a backing file");
    }
    char *path = image_backing_path(top->filename, q.backing_file);
    base = q.backing_format ? img_open(im, path, q.backing_format, true, 0) : NULL;
    free(path);
    rc = base ? 0 : 1;
    if (!q.backing_format) {
        fail("the format of the backing file is not known");
    }
    if (base && base->len < top->len && node_resize(base, top->len, &e) < 0) {
        rc = fail("%s", e.msg);
    }
    if (rc == 0 && (ret = push_down(im, top, base)) < 0) {
        rc = fail("Committing failed: %s", strerror(-ret));
    }
    rc |= base ? img_close(base) : 0;
    /* Only now that the base is whole on disk. */
    if (rc == 0 && !keep && qcow2_make_empty(top, &e) < 0) {
        rc = fail("Could not empty '%s': %s", im->arg[0], e.msg);
    }
    rc |= img_close(top);
    if (rc == 0 && !im->quiet) {
        printf("Image committed.\n");
    }
    return rc;
}

/* ---- rebase ---- */

static int read_or_zero(struct node *n, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t have = n && at < n->len ? min_u64(len, n->len - at) : 0;

    memset(buf + have, 0, len - have);
    return have ? node_read(n, at, buf, have) : 0;
}

/* What the image takes from its old backing file and would not get from the new one is written
 * into the image. */
static int keep_view(struct img *im, struct node *n, struct node *old, struct node *new)
{
    uint8_t *buf = xcalloc(2, CHUNK);
    int ret = 0;

    for (uint64_t at = 0, len; at < n->len && ret == 0; at += len) {
        struct node_status st;
        ret = node_status(n, at, min_u64(n->len - at, CHUNK), &st);
        len = ret < 0 ? 512 : st.len;
        if (ret < 0 || (st.flags & NODE_ALLOCATED)) {
            continue;
        }
        ret = read_or_zero(old, at, buf, len);
        ret = ret < 0 ? ret : read_or_zero(new, at, buf + CHUNK, len);
        for (uint64_t i = 0, k; i < len && ret == 0; i = k) {
            for (k = i; k < len && memcmp(buf + k, buf + CHUNK + k, 512) == 0; k += 512) {
            }
            for (i = k; k < len && memcmp(buf + k, buf + CHUNK + k, 512) != 0; k += 512) {
            }
            ret = k > i ? node_write(n, at + i, buf + i, k - i) : 0;
        }
        img_progress(im, at + len, n->len);
    }
    free(buf);
    return ret < 0 ? ret : node_flush(n);
}

int img_rebase(struct img *im, bool unsafe)
{
    struct err e = { 0 };
    struct node *n, *new = NULL;
    const char *to = im->backing && im->backing[0] ? im->backing : NULL;
    int rc = 0, ret;

    if (im->args != 1 || !im->backing) {
        return fail("rebase: expecting -b FILE (empty for none) and a file name");
    }
    if (to && !im->backing_format) {
        return fail("-F: missing, the format of '%s' is never guessed", to);
    }
    if (to && !image_format_known(im->backing_format)) {
        return fail("Invalid format name: '%s'", im->backing_format);
    }
    n = img_open(im, im->arg[0], im->format, true, unsafe ? OPEN_NO_BACKING : 0);
    if (!n) {
        return 1;
    }
    if (!qcow2_is(n)) {
        img_close(n);
        return fail("format '%s' has no backing files", image_format(n));
    }
    if (!unsafe && to) {
        char *path = image_backing_path(n->filename, to);
        new = img_open(im, path, im->backing_format, false, OPEN_SOURCE);
        free(path);
        rc = new ? 0 : 1;
    }
    if (!unsafe && rc == 0 && (ret = keep_view(im, n, n->backing, new)) < 0) {
        rc = fail("'%s': %s", im->arg[0], strerror(-ret));
    }
    if (rc == 0 && qcow2_set_backing(n, to, im->backing_format, &e) < 0) {
        rc = fail("%s", e.msg);
    }
    rc |= new ? img_close(new) : 0;
    return img_close(n) || rc;
}

/* ---- dd ---- */

int img_dd(struct img *im)
{
    uint64_t bs = 512, count = UINT64_MAX, skip = 0;
    const char *in = NULL, *out = NULL;
    struct node *src, *dst;
    int rc;

    for (int i = 0; i < im->args; i++) {
        const char *a = im->arg[i], *eq = strchr(a, '=');
        uint64_t *number = strncmp(a, "bs=", 3) == 0      ? &bs
                           : strncmp(a, "count=", 6) == 0 ? &count
                           : strncmp(a, "skip=", 5) == 0  ? &skip
                                                          : NULL;
        if (strncmp(a, "if=", 3) == 0) {
            in = a + 3;
        } else if (strncmp(a, "of=", 3) == 0) {
            out = a + 3;
        } else if (!number || !tool_bytes(eq + 1, number)) {
            return fail("unrecognized operand %s", a);
        }
    }
    if (!in || !out || bs == 0 || bs > INT32_MAX) {
        return fail("dd: expecting if=FILE and of=FILE");
    }
    src = img_open(im, in, im->format, false, OPEN_SOURCE);
    if (!src) {
        return 1;
    }
    uint64_t from = skip > src->len / bs ? src->len : skip * bs;
    uint64_t len = count < (src->len - from) / bs ? count * bs : src->len - from;
    const char *format = im->out_format ? im->out_format : "raw";
    im->quiet = true;
    rc = img_make(im, out, format, len, NULL, false);
    dst = rc ? NULL : img_open(im, out, format, true, OPEN_TARGET);
    if (dst && (from % 512 || len % 512)) {
        rc = fail("dd: blocks that are not whole sectors: Keel does not have it yet");
    } else if (dst) {
        uint8_t *buf = xcalloc(1, CHUNK);
        int ret = 0;
        for (uint64_t at = 0, n; at < len && ret == 0; at += n) {
            n = min_u64(len - at, CHUNK);
            ret = node_read(src, from + at, buf, n);
            ret = ret < 0 || node_is_zero(buf, n) ? ret : node_write(dst, at, buf, n);
        }
        free(buf);
        rc = ret < 0 ? fail("error: %s", strerror(-ret)) : 0;
    }
    rc |= dst ? img_close(dst) : 1;
    return img_close(src) || rc;
}
