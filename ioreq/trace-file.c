/* SPDX-License-Identifier: MIT */
/* ioreq/trace-file.c - trace files: a plain header, then zstd frames of events.
 *
 * A frame is written whole, between two inputs where that is possible, after 64 KiB or a second of
 * virtual time: a recorder that is killed loses what came after. A reader trusts nothing: sizes
 * are bounded before memory is taken, and every number is checked where it is used. Writing is
 * synchronous; a recorder slows its guest by the disk's hiccups. Reference: docs/trace.md 2.
 */
#include "ioreq/trace-int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define MAGIC "KTR1"
#define VERSION 1
#define FRAME_MAGIC 0x4d415246u   /* "FRAM" */
#define FRAME_RAW (64u << 10)     /* a frame this big is closed before the next input */
#define FRAME_RAW_HARD (4u << 20) /* ... and in the middle of one */
#define FRAME_RAW_MAX (8u << 20)  /* no reader takes more */
#define FRAME_NS 1000000000
#define OPTIONS_MAX 1024u
#define OPTION_LEN_MAX 65536u

/* What precedes each frame's zstd data, little-endian. */
struct frame_head {
    uint32_t magic, zlen, rawlen, events;
    uint64_t seq; /* of the first event */
    int64_t ns;   /* times in the frame count from here */
    uint64_t sum; /* trace_hash of the above, xor that of the data */
};
_Static_assert(sizeof(struct frame_head) == 40, "frame header");

static uint64_t frame_sum(const struct frame_head *h, const void *data)
{
    return trace_hash(h, offsetof(struct frame_head, sum)) ^ trace_hash(data, h->zlen);
}

struct name_table {
    char **names;
    size_t n;
};

static void names_free(struct name_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->names[i]);
    }
    free(t->names);
}

static void names_add(struct name_table *t, const char *name, size_t len)
{
    t->names = xrealloc(t->names, (t->n + 1) * sizeof(*t->names));
    t->names[t->n] = xcalloc(1, len + 1);
    memcpy(t->names[t->n++], name, len);
}

/* ---- writing ---- */

struct trace_writer {
    int fd;
    int failed; /* -errno of the first failure */
    ZSTD_CCtx *z;
    struct state_buf raw, out;
    struct trace_delta delta;
    struct frame_head head; /* of the frame being filled */
    struct name_table names;
};

static void write_all(struct trace_writer *w, const void *p, size_t len)
{
    const uint8_t *at = p;

    while (len && !w->failed) {
        ssize_t n = write(w->fd, at, len);

        if (n < 0 && errno != EINTR) {
            w->failed = -errno;
            log_msg(LOG_ERROR, "trace", "recording stopped: %s", strerror(errno));
        } else if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static void frame_start(struct trace_writer *w, int64_t ns)
{
    w->head =
        (struct frame_head){ .magic = FRAME_MAGIC, .seq = w->head.seq + w->head.events, .ns = ns };
    w->delta = (struct trace_delta){ .ns = ns };
    w->raw.len = 0;
}

static void frame_write(struct trace_writer *w)
{
    size_t room = ZSTD_compressBound(w->raw.len), n;

    if (!w->raw.len) {
        return;
    }
    if (w->out.cap < sizeof(w->head) + room) {
        w->out.cap = sizeof(w->head) + room;
        w->out.p = xrealloc(w->out.p, w->out.cap);
    }
    n = ZSTD_compress2(w->z, w->out.p + sizeof(w->head), room, w->raw.p, w->raw.len);
    if (ZSTD_isError(n)) {
        w->failed = -EIO;
        log_msg(LOG_ERROR, "trace", "recording stopped: %s", ZSTD_getErrorName(n));
        return;
    }
    w->head.zlen = (uint32_t)n;
    w->head.rawlen = (uint32_t)w->raw.len;
    w->head.sum = frame_sum(&w->head, w->out.p + sizeof(w->head));
    memcpy(w->out.p, &w->head, sizeof(w->head));
    write_all(w, w->out.p, sizeof(w->head) + n);
}

static void put_text(struct state_buf *b, const char *s)
{
    uint32_t len = (uint32_t)strlen(s);

    state_put(b, &len, sizeof(len));
    state_put(b, s, len);
}

static void write_header(struct trace_writer *w, const struct trace_option *options, size_t n)
{
    uint32_t head[2] = { VERSION, (uint32_t)n };

    state_put(&w->out, MAGIC, 4);
    state_put(&w->out, head, sizeof(head));
    for (size_t i = 0; i < n; i++) {
        put_text(&w->out, options[i].name);
        put_text(&w->out, options[i].value);
    }
    write_all(w, w->out.p, w->out.len);
}

struct trace_writer *trace_writer_new(const char *path, const struct trace_option *options,
                                      size_t noptions, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct trace_writer *w;

    if (fd < 0) {
        err_set(e, -errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    w = xcalloc(1, sizeof(*w));
    w->fd = fd;
    w->z = ZSTD_createCCtx();
    if (!w->z) {
        err_set(e, -ENOMEM, "%s: no memory for a compressor", path);
        trace_writer_close(w);
        return NULL;
    }
    write_header(w, options, noptions);
    if (w->failed) {
        err_set(e, w->failed, "%s: %s", path, strerror(-w->failed));
        trace_writer_close(w);
        return NULL;
    }
    frame_start(w, 0);
    return w;
}

/* The number of a name, which is defined in the stream on its first use. */
static uint64_t name_number(struct trace_writer *w, const char *name)
{
    struct trace_event ev = { .kind = TR_NAME, .bytes = (const uint8_t *)name };

    for (size_t i = 0; i < w->names.n; i++) {
        if (strncmp(w->names.names[i], name, TRACE_NAME_MAX) == 0) {
            return i;
        }
    }
    ev.num = w->names.n;
    ev.len = strnlen(name, TRACE_NAME_MAX);
    names_add(&w->names, name, ev.len);
    trace_encode(&w->raw, &w->delta, &ev, 0);
    return ev.num;
}

static bool has_name(enum trace_kind kind)
{
    return kind < TR_KINDS &&
           (trace_fields[kind][0] == TF_NAME || trace_fields[kind][1] == TF_NAME);
}

static bool frame_full(const struct trace_writer *w, const struct trace_event *ev)
{
    if (w->raw.len >= FRAME_RAW_HARD) {
        return true;
    }
    return trace_is_input(ev->kind) &&
           (w->raw.len >= FRAME_RAW || (w->raw.len && ev->ns - w->head.ns >= FRAME_NS));
}

int trace_put(struct trace_writer *w, const struct trace_event *ev)
{
    uint64_t name = 0;

    if (w->failed) {
        return w->failed;
    }
    if (frame_full(w, ev)) {
        frame_write(w);
        frame_start(w, ev->ns);
    } else if (!w->raw.len) {
        frame_start(w, ev->ns);
    }
    if (has_name(ev->kind)) {
        name = name_number(w, ev->name);
    }
    trace_encode(&w->raw, &w->delta, ev, name);
    w->head.events++;
    return w->failed;
}

int trace_writer_close(struct trace_writer *w)
{
    int failed;

    if (w->z) {
        frame_write(w);
    }
    failed = w->failed;
    if (close(w->fd) < 0 && !failed) {
        failed = -errno;
    }
    ZSTD_freeCCtx(w->z);
    free(w->raw.p);
    free(w->out.p);
    names_free(&w->names);
    free(w);
    return failed;
}

/* ---- reading ---- */

struct trace_reader {
    FILE *f;
    char *path;
    ZSTD_DCtx *z;
    struct trace_option *options;
    size_t noptions;
    uint8_t *raw, *zbuf;
    size_t rawlen, rawcap, zcap, at;
    uint32_t left; /* events the frame still holds */
    uint64_t seq;
    struct trace_delta delta;
    struct name_table names;
    bool done, truncated, ended;
};

static int broken(struct trace_reader *r, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "%s: not a whole trace: %s at byte %ld", r->path, what, ftell(r->f));
}

static char *read_text(struct trace_reader *r)
{
    uint32_t len;
    char *s;

    if (fread(&len, sizeof(len), 1, r->f) != 1 || len > OPTION_LEN_MAX) {
        return NULL;
    }
    s = xcalloc(1, len + 1);
    if (len && fread(s, len, 1, r->f) != 1) {
        free(s);
        return NULL;
    }
    return s;
}

static int read_header(struct trace_reader *r, struct err *e)
{
    char magic[4];
    uint32_t head[2];

    if (fread(magic, 4, 1, r->f) != 1 || memcmp(magic, MAGIC, 4) != 0) {
        return err_set(e, -EINVAL, "%s: not a Keel trace", r->path);
    }
    if (fread(head, sizeof(head), 1, r->f) != 1) {
        return broken(r, e, "short header");
    }
    if (head[0] != VERSION) {
        return err_set(e, -EINVAL, "%s: trace format %u, this program reads %u", r->path, head[0],
                       VERSION);
    }
    if (head[1] > OPTIONS_MAX) {
        return broken(r, e, "too many options");
    }
    r->options = xcalloc(head[1] + 1, sizeof(*r->options));
    for (; r->noptions < head[1]; r->noptions++) {
        struct trace_option *o = &r->options[r->noptions];

        o->name = read_text(r);
        o->value = o->name ? read_text(r) : NULL;
        if (!o->value) {
            free((char *)o->name);
            return broken(r, e, "bad option");
        }
    }
    return 0;
}

struct trace_reader *trace_reader_new(const char *path, struct err *e)
{
    FILE *f = fopen(path, "rbe");
    struct trace_reader *r;

    if (!f) {
        err_set(e, -errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    r = xcalloc(1, sizeof(*r));
    r->f = f;
    r->path = xstrdup(path);
    r->z = ZSTD_createDCtx();
    if (!r->z) {
        err_set(e, -ENOMEM, "%s: no memory for a decompressor", path);
    } else if (read_header(r, e) == 0) {
        return r;
    }
    trace_reader_close(r);
    return NULL;
}

void trace_reader_close(struct trace_reader *r)
{
    if (!r) {
        return;
    }
    fclose(r->f);
    for (size_t i = 0; i < r->noptions; i++) {
        free((char *)r->options[i].name);
        free((char *)r->options[i].value);
    }
    free(r->options);
    free(r->path);
    ZSTD_freeDCtx(r->z);
    free(r->raw);
    free(r->zbuf);
    names_free(&r->names);
    free(r);
}

const struct trace_option *trace_reader_options(const struct trace_reader *r, size_t *n)
{
    *n = r->noptions;
    return r->options;
}

bool trace_reader_truncated(const struct trace_reader *r)
{
    return r->truncated;
}

static void grow(uint8_t **p, size_t *cap, size_t want)
{
    if (*cap < want) {
        *p = xrealloc(*p, want);
        *cap = want;
    }
}

/* The file ends here: well, when the recorder said so. */
static int end_of_file(struct trace_reader *r)
{
    r->truncated = !r->done;
    r->ended = true;
    return 0;
}

static int frame_read(struct trace_reader *r, struct err *e)
{
    struct frame_head h;
    size_t n;

    if (fread(&h, sizeof(h), 1, r->f) != 1) {
        return end_of_file(r);
    }
    if (r->done) {
        return broken(r, e, "more events after the end");
    }
    if (h.magic != FRAME_MAGIC || h.rawlen > FRAME_RAW_MAX || !h.rawlen ||
        h.zlen > ZSTD_compressBound(h.rawlen) || h.seq != r->seq || !h.events || h.ns < 0) {
        return broken(r, e, "bad frame header");
    }
    grow(&r->zbuf, &r->zcap, h.zlen);
    grow(&r->raw, &r->rawcap, h.rawlen);
    if (h.zlen && fread(r->zbuf, h.zlen, 1, r->f) != 1) {
        return end_of_file(r);
    }
    if (h.sum != frame_sum(&h, r->zbuf)) {
        return broken(r, e, "damaged frame");
    }
    n = ZSTD_decompressDCtx(r->z, r->raw, h.rawlen, r->zbuf, h.zlen);
    if (ZSTD_isError(n) || n != h.rawlen) {
        return broken(r, e, "damaged frame");
    }
    r->rawlen = n;
    r->at = 0;
    r->left = h.events;
    r->delta = (struct trace_delta){ .ns = h.ns };
    return 1;
}

static bool take_name(struct trace_reader *r, const struct trace_event *ev)
{
    if (ev->num != r->names.n || r->names.n >= TRACE_NAMES_MAX || ev->len > TRACE_NAME_MAX ||
        memchr(ev->bytes, 0, ev->len)) {
        return false;
    }
    names_add(&r->names, (const char *)ev->bytes, ev->len);
    return true;
}

/* The next event of the frame, names taken out of the way. */
static bool frame_event(struct trace_reader *r, struct trace_event *ev)
{
    uint64_t name;

    while (trace_decode(r->raw, r->rawlen, &r->at, &r->delta, ev, &name)) {
        if (ev->kind == TR_NAME) {
            if (!take_name(r, ev)) {
                return false;
            }
            continue;
        }
        if (has_name(ev->kind)) {
            if (name >= r->names.n) {
                return false;
            }
            ev->name = r->names.names[name];
        }
        return true;
    }
    return false;
}

int trace_get(struct trace_reader *r, struct trace_event *ev, struct err *e)
{
    if (r->ended) {
        return 0;
    }
    if (!r->left) {
        int got = frame_read(r, e);

        if (got <= 0) {
            return got;
        }
    }
    if (!frame_event(r, ev)) {
        return broken(r, e, "bad event");
    }
    r->left--;
    if (!r->left && r->at != r->rawlen) {
        return broken(r, e, "frame longer than its events");
    }
    ev->seq = r->seq++;
    r->done = ev->kind == TR_DONE;
    if (r->done && r->left) {
        return broken(r, e, "more events after the end");
    }
    return 1;
}
