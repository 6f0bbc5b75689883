/* SPDX-License-Identifier: MIT */
/* tools/img-copy.c - keel-img convert, compare, dd.
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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 256 << 10, /* what a file node moves on the spot, and what stays in a processor's cache
                          between reading, looking for zeros and writing */
    ZERO_STEP = 1 << 30
};

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
    uint64_t to; /* where in dst the source's first byte goes */
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
    img_progress(c->im, c->to + c->finished, c->dst->len);
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
                                  .offset = c->to + j->at + j->done,
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

static void job_read(struct node_req *r, int ret);

static void job_read_from(struct job *j, uint64_t at, uint64_t len)
{
    j->iov = (struct iovec){ j->buf + (at - j->at), len };
    j->r = (struct node_req){ .op = NODE_READ,
                              .offset = at,
                              .len = len,
                              .iov = &j->iov,
                              .iovcnt = 1,
                              .done = job_read,
                              .opaque = j };
    node_submit(j->c->src, &j->r);
}

/* --salvage: what cannot be read counts as zeros, sector by sector. True: it goes on. */
static bool salvage(struct job *j, int ret)
{
    uint64_t at = j->r.offset;

    if (!j->c->o->salvage || (ret == 0 && j->r.len == j->len)) {
        return false;
    }
    if (ret < 0 && j->r.len > NODE_ALIGN) {
        job_read_from(j, j->at, NODE_ALIGN);
        return true;
    }
    if (ret < 0) {
        if (!j->c->im->quiet) {
            fail("warning: error while reading offset %" PRIu64 ": %s", at, strerror(-ret));
        }
        memset(j->buf + (at - j->at), 0, NODE_ALIGN);
    }
    at += NODE_ALIGN;
    if (at < j->at + j->len) {
        job_read_from(j, at, NODE_ALIGN);
    }
    return at < j->at + j->len;
}

static void job_read(struct node_req *r, int ret)
{
    struct job *j = r->opaque;
    struct copy *c = j->c;

    if (salvage(j, ret)) {
        return;
    }
    if (ret < 0 && !c->o->salvage) {
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
    job_read_from(j, at, len);
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
    int ret = c->zero ? 0 : node_rw(c->dst, NODE_ZERO, c->to + at, NULL, len, NODE_UNMAP);

    c->finished += len;
    img_progress(c->im, c->to + c->finished, c->dst->len);
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
        *len = min_u64(c->step, end - at);
        return c->o->salvage ? 0 : ret;
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

int img_copy(struct img *im, struct node *src, struct node *dst, uint64_t to,
             const struct convert *o, bool zero)
{
    struct copy c = { .im = im,
                      .src = src,
                      .dst = dst,
                      .to = to,
                      .o = o,
                      .step = CHUNK,
                      .zero = zero,
                      .sparse = o->sparse };
    struct format_info info;

    format_info(dst, &info);
    c.compress = o->compress || info.compressed;
    c.in_order = info.compressed;
    if (c.compress && info.cluster_size) {
        c.step = info.cluster_size;
        c.sparse = c.step;
    }
    if (to % c.step && c.compress) {
        return fail("Compression: a source that does not begin with a cluster of the target: Keel "
                    "does not have it yet");
    }
    c.njobs = o->jobs;
    c.jobs = xcalloc(o->jobs, sizeof(*c.jobs));
    for (unsigned i = 0; i < o->jobs; i++) {
        c.jobs[i].c = &c;
        if (posix_memalign((void **)&c.jobs[i].buf, 4096, c.step)) {
            abort();
        }
    }
    copy_all(&c, src->len);
    for (unsigned i = 0; i < o->jobs; i++) {
        free(c.jobs[i].buf);
    }
    free(c.jobs);
    return c.ret < 0 ? fail("error while %s: %s", c.what, strerror(-c.ret)) : 0;
}

/* ---- convert ---- */

static int check_convert(struct img *im, const struct convert *o, const char *format)
{
    if (im->args < 2) {
        return fail("Must specify image file name");
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
    if (im->args > 2 && (im->backing || o->bitmaps || o->snapshot)) {
        return fail(
            "Having a backing file, bitmaps or a snapshot makes no sense when concatenating "
            "multiple input images");
    }
    if (o->target_is_zero && (!o->no_create || im->backing)) {
        return fail(im->backing ? "Cannot use --target-is-zero when the destination image has a "
                                  "backing file"
                                : "--target-is-zero requires use of -n flag");
    }
    if (im->target_opts && (!o->no_create || im->out_format)) {
        return fail(o->no_create ? "Cannot use --target-image-opts with -O"
                                 : "--target-image-opts requires use of -n flag");
    }
    return 0;
}

struct sources {
    struct node **n;
    int count;
    uint64_t len; /* of all, one after the other */
};

static int open_sources(struct img *im, const struct convert *o, struct sources *s)
{
    s->n = xcalloc((size_t)im->args, sizeof(*s->n));
    for (s->count = 0; s->count < im->args - 1; s->count++) {
        struct node *n = img_open(im, im->arg[s->count], im->format, false, OPEN_SOURCE);
        if (!n) {
            return 1;
        }
        s->n[s->count] = n;
        s->len += n->len;
        if (o->snapshot && img_view_snapshot(n, o->snapshot)) {
            s->count++;
            return 1;
        }
    }
    return 0;
}

static int close_sources(struct sources *s)
{
    int rc = 0;

    for (int i = 0; i < s->count; i++) {
        rc |= img_close(s->n[i]);
    }
    free(s->n);
    return rc;
}

static int copy_sources(struct img *im, const struct sources *s, struct node *dst,
                        const struct convert *o)
{
    bool zero = o->target_is_zero || (!o->no_create && !im->backing && !crypt_is(dst));
    uint64_t to = 0;
    int rc = 0;

    if (o->bitmaps && (!qcow2_keeps_bitmaps(s->n[0]) || !qcow2_keeps_bitmaps(dst))) {
        return fail("Format driver '%s' does not support bitmaps",
                    image_format(qcow2_keeps_bitmaps(s->n[0]) ? dst : s->n[0]));
    }
    if (dst->len < s->len) {
        return fail("output file is smaller than input file");
    }
    for (int i = 0; i < s->count && rc == 0; i++) {
        rc = img_copy(im, s->n[i], dst, to, o, zero);
        to += s->n[i]->len;
    }
    if (rc == 0 && o->bitmaps) {
        rc = img_copy_bitmaps(s->n[0], dst, o->skip_broken_bitmaps);
    }
    if (rc == 0 && im->progress) {
        img_progress(im, 1, 1);
        putchar('\n');
    }
    return rc;
}

int img_convert(struct img *im, const struct convert *o)
{
    const char *format = im->out_format ? im->out_format : "raw";
    struct sources s = { 0 };
    struct node *dst = NULL;
    int rc = check_convert(im, o, format);

    if (rc) {
        return rc;
    }
    const char *to = im->arg[im->args - 1];
    rc = open_sources(im, o, &s);
    if (rc == 0 && !o->no_create) {
        bool was = im->quiet;
        im->quiet = true;
        rc = img_make(im, to, format, s.len, im->options, false);
        im->quiet = was;
    }
    bool share = im->share;
    im->share = false;
    dst = rc ? NULL : img_open(im, to, im->target_opts ? NULL : format, true, OPEN_TARGET);
    im->share = share;
    rc = dst ? copy_sources(im, &s, dst, o) : 1;
    rc |= dst ? img_close(dst) : 1;
    return close_sources(&s) || rc;
}

/* ---- compare ---- */

static __attribute__((format(printf, 2, 3))) void say(const struct img *im, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!im->quiet) {
        vprintf(fmt, ap);
    }
    va_end(ap);
}

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
                say(im, "Content mismatch at offset %" PRIu64 "!\n", at);
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
    const unsigned kinds = NODE_HAS_DATA | NODE_IS_ZERO | NODE_ALLOCATED;
    uint8_t *buf = xcalloc(2, CHUNK);
    int rc = 0, ret = 0;

    if (strict && a->len != b->len) {
        say(im, "Strict mode: Image size mismatch!\n");
        free(buf);
        return 1;
    }
    for (uint64_t at = 0; at < end && rc == 0 && ret == 0; at += len) {
        struct node_status sa, sb;
        ret = img_status(a, at, end - at, &sa, NULL, NULL);
        ret = ret < 0 ? ret : img_status(b, at, end - at, &sb, NULL, NULL);
        len = ret < 0 ? 512 : min_u64(sa.len, sb.len);
        if (ret == 0 && strict && (sa.flags & kinds) != (sb.flags & kinds)) {
            say(im, "Strict mode: Offset %" PRIu64 " block status mismatch!\n", at);
            rc = 1;
        }
        if (ret == 0 && rc == 0 && (!(sa.flags & NODE_IS_ZERO) || !(sb.flags & NODE_IS_ZERO))) {
            len = min_u64(len, CHUNK);
            ret = compare_chunk(a, b, at, len, buf);
            if (ret > 0) {
                say(im, "Content mismatch at offset %" PRIu64 "!\n",
                    at + (uint64_t)(ret - 1) * 512);
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
        say(im, "Warning: Image size mismatch!\n");
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
        if (rc == 0) {
            say(im, "Images are identical.\n");
        }
        img_close(b);
    }
    if (a) {
        img_close(a);
    }
    return rc;
}

/* ---- dd ---- */

/* [from, from + len) of src to the beginning of dst; of any length, the last sector is filled up. */
static int copy_bytes(struct node *src, uint64_t from, uint64_t len, struct node *dst)
{
    uint8_t *buf = xcalloc(1, CHUNK + 2 * NODE_ALIGN);
    uint64_t skew = from % NODE_ALIGN;
    int ret = 0;

    for (uint64_t at = 0, n; at < len && ret == 0; at += n) {
        n = min_u64(len - at, CHUNK);
        uint64_t room = (skew + n + NODE_ALIGN - 1) / NODE_ALIGN * NODE_ALIGN,
                 whole = (n + NODE_ALIGN - 1) / NODE_ALIGN * NODE_ALIGN;
        ret = node_read(src, from + at - skew, buf, room);
        memset(buf + skew + n, 0, whole - n);
        memmove(buf, buf + skew, whole);
        ret = ret < 0 || node_is_zero(buf, whole) ? ret : node_write(dst, at, buf, whole);
    }
    free(buf);
    return ret;
}

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
    if (dst) {
        int ret = copy_bytes(src, from, len, dst);
        rc = ret < 0 ? fail("error: %s", strerror(-ret)) : 0;
    }
    rc |= dst ? img_close(dst) : 1;
    return img_close(src) || rc;
}
