/* SPDX-License-Identifier: MIT */
/* block/vhdx-log.c - the log of a VHDX image that was not closed, replayed in memory.
 *
 * Reference: [MS-VHDX] Virtual Hard Disk v2 File Format, 2.3. The log is a ring of 4 KiB sectors. An
 * entry is a header, descriptors, and a data sector for each descriptor of data:
 *
 *   entry: "loge", 4 CRC-32C, 4 length, 4 tail, 8 sequence number, 4 descriptors, 4 -, 16 log id,
 *          8 length of the file that was flushed, 8 length the file needs; from 64 on descriptors
 *   zeros: "zero", 4 -, 8 length, 8 place in the file, 8 sequence number
 *   data:  "desc", the last 4 bytes, the first 8, 8 place in the file, 8 sequence number
 *   data sector: "data", 4 high half of the sequence number, 4084 bytes, 4 low half
 *
 * Entries whose numbers follow one another, from the tail that the last of them names, are a
 * sequence; the one with the highest number counts. What it writes lies over the file in pieces
 * (struct cover): each byte as the last write left it.
 *
 * Bounds: a log of 64 MiB; sums over eight times its length.
 */
#include "block/vhdx-int.h"

#include "block/filter.h"
#include "block/mapped.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SECTOR = 4096,
    LOG_UNIT = 1 << 20,
    MAX_LOG = 64 << 20,
    ENTRY_HEAD = 64,
    DESC_LEN = 32,
    MAX_SUMS = 8, /* times the log's length */
};

/* One descriptor of the sequence. */
struct change {
    uint64_t from, to;   /* bytes of the file */
    const uint8_t *desc; /* NULL: zeros */
    const uint8_t *sector;
};

/* [from, up to the next one's): what the file has, or what a change wrote. */
struct cover {
    uint64_t from;
    const struct change *change; /* NULL: the file */
};

struct replay {
    struct node base; /* first: a filter on the file */
    uint8_t *log;     /* twice, one after the other: entries that pass the end are in one piece */
    uint64_t len;     /* of one of the two */
    struct change *changes;
    size_t nchanges;
    struct cover *cover;
    size_t ncover;
};

/* ---- sums ---- */

uint32_t vhdx_crc(const uint8_t *p, size_t len)
{
    static uint32_t table[256];
    uint32_t crc = UINT32_MAX;

    for (uint32_t i = 0; !table[255] && i < 256; i++) {
        uint32_t v = i;
        for (int k = 0; k < 8; k++) {
            v = v >> 1 ^ (v & 1 ? 0x82f63b78 : 0);
        }
        table[i] = v;
    }
    for (size_t i = 0; i < len; i++) {
        crc = crc >> 8 ^ table[(crc ^ (i >= 4 && i < 8 ? 0 : p[i])) & 255];
    }
    return ~crc;
}

/* ---- finding the sequence ---- */

struct search {
    const struct replay *p;
    const uint8_t *id;
    uint64_t budget; /* bytes that may still be summed */
};

/* Sectors that n descriptors take, the header among them. */
static uint64_t desc_sectors(uint64_t n)
{
    return (ENTRY_HEAD + n * DESC_LEN + SECTOR - 1) / SECTOR;
}

/* Each descriptor is of this entry, and each has its data sector. */
static bool whole(const uint8_t *entry, uint64_t len)
{
    uint64_t n = load_le32(entry + 24), number = load_le64(entry + 16), used = desc_sectors(n);

    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *d = entry + ENTRY_HEAD + i * DESC_LEN, *s = entry + used * SECTOR;
        bool zero = memcmp(d, "zero", 4) == 0;

        if (load_le64(d + 24) != number || load_le64(d + 16) % SECTOR ||
            (!zero && memcmp(d, "desc", 4) != 0)) {
            return false;
        }
        if (zero && (load_le64(d + 8) % SECTOR || load_le64(d + 8) > INT64_MAX / 2)) {
            return false;
        }
        if (load_le64(d + 16) > INT64_MAX / 2) {
            return false;
        }
        if (!zero &&
            (++used * SECTOR > len || memcmp(s, "data", 4) != 0 ||
             load_le32(s + 4) != number >> 32 || load_le32(s + SECTOR - 4) != (uint32_t)number)) {
            return false;
        }
    }
    return true;
}

/* The entry at `at` of the ring; NULL if there is none, or not all of it. */
static const uint8_t *entry_at(struct search *s, uint64_t at)
{
    const uint8_t *x = s->p->log + at;
    uint64_t len = load_le32(x + 8), n = load_le32(x + 24);

    if (memcmp(x, "loge", 4) != 0 || memcmp(x + 32, s->id, 16) != 0 || len == 0 || len % SECTOR ||
        len > s->p->len || load_le32(x + 12) % SECTOR || load_le32(x + 12) >= s->p->len ||
        load_le64(x + 16) == 0 || desc_sectors(n) * SECTOR > len) {
        return NULL;
    }
    if (len > s->budget) {
        s->budget = 0;
        return NULL;
    }
    s->budget -= len;
    return vhdx_crc(x, len) == load_le32(x + 4) && whole(x, len) ? x : NULL;
}

struct sequence {
    uint64_t tail, head; /* places of its first and last entry */
    uint64_t number;     /* of the last; 0: there is none */
    uint64_t end;        /* where the next entry would be */
};

/* The entries that follow one another from `at` on. If the tail that the last names is one of them,
 * they are a sequence, from there. */
static struct sequence sequence_at(struct search *s, uint64_t at)
{
    struct sequence q = { .end = at };
    uint64_t used = 0, tail = 0;
    const uint8_t *x;
    uint64_t from = at;
    bool found = false;

    while (used < s->p->len && (x = entry_at(s, q.end)) &&
           (!used || load_le64(x + 16) == q.number + 1)) {
        q.head = q.end;
        q.number = load_le64(x + 16);
        tail = load_le32(x + 12);
        used += load_le32(x + 8);
        q.end = (q.end + load_le32(x + 8)) % s->p->len;
    }
    if (used > s->p->len) { /* the last lies over the first */
        return (struct sequence){ .end = at };
    }
    for (uint64_t i = from, left = used; left;) {
        uint64_t len = load_le32(s->p->log + i + 8);
        found |= i == tail;
        left -= len;
        i = (i + len) % s->p->len;
    }
    q.tail = tail;
    q.number = found ? q.number : 0;
    return q;
}

static struct sequence find_sequence(struct search *s)
{
    struct sequence best = { 0 };

    for (uint64_t at = 0; at < s->p->len && s->budget;) {
        struct sequence q = sequence_at(s, at);

        if (q.number > best.number) {
            best = q;
        }
        if (q.end <= at && q.end != at) {
            break; /* it went around */
        }
        at = q.end == at ? at + SECTOR : q.end;
    }
    return best;
}

/* ---- what it writes ---- */

static void add_changes(struct replay *p, const uint8_t *x)
{
    uint64_t n = load_le32(x + 24), data = desc_sectors(n);

    p->changes = xrealloc(p->changes, (p->nchanges + n) * sizeof(*p->changes));
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *d = x + ENTRY_HEAD + i * DESC_LEN;
        bool zero = d[0] == 'z';
        uint64_t from = load_le64(d + 16);

        p->changes[p->nchanges++] = (struct change){
            .from = from,
            .to = from + (zero ? load_le64(d + 8) : SECTOR),
            .desc = zero ? NULL : d,
            .sector = zero ? NULL : x + data++ * SECTOR,
        };
    }
}

static int by_from(const void *a, const void *b)
{
    const struct cover *x = a, *y = b;

    return (x->from > y->from) - (x->from < y->from);
}

/* The piece that byte `at` is in; at is not before the first. */
static size_t cover_of(const struct replay *p, uint64_t at)
{
    size_t lo = 0, hi = p->ncover;

    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        *(p->cover[mid].from <= at ? &lo : &hi) = mid;
    }
    return lo;
}

/* Cuts the file where changes begin and end, and gives each piece to the last change that has it.
 * next[i]: the first piece from i on that has no change yet. */
static void make_cover(struct replay *p)
{
    size_t n = 0, *next;

    p->cover = xcalloc(2 * p->nchanges + 1, sizeof(*p->cover));
    p->ncover = 1; /* from 0 on */
    for (size_t i = 0; i < p->nchanges; i++) {
        p->cover[p->ncover++].from = p->changes[i].from;
        p->cover[p->ncover++].from = p->changes[i].to;
    }
    qsort(p->cover, p->ncover, sizeof(*p->cover), by_from);
    for (size_t i = 0; i < p->ncover; i++) {
        if (i == 0 || p->cover[i].from != p->cover[n - 1].from) {
            p->cover[n++] = p->cover[i];
        }
    }
    p->ncover = n;
    next = xcalloc(n + 1, sizeof(*next));
    for (size_t i = 0; i <= n; i++) {
        next[i] = i;
    }
    for (size_t c = p->nchanges; c-- > 0;) {
        size_t i = cover_of(p, p->changes[c].from);
        while (i < n && p->cover[i].from < p->changes[c].to) {
            if (next[i] != i) {
                size_t to = next[i];
                next[i] = next[to]; /* the way gets shorter each time it is gone */
                i = to;
                continue;
            }
            p->cover[i].change = &p->changes[c];
            next[i] = i + 1;
            i++;
        }
    }
    free(next);
}

/* ---- the node ---- */

/* Writes what the changes say of [offset, offset + len) into the buffer. */
static void patch(const struct replay *p, const struct node_req *r)
{
    uint64_t end = r->offset + r->len;

    for (size_t i = cover_of(p, r->offset); i < p->ncover && p->cover[i].from < end; i++) {
        const struct change *c = p->cover[i].change;
        uint64_t from = max_u64(p->cover[i].from, r->offset);
        uint64_t to = i + 1 < p->ncover ? min_u64(p->cover[i + 1].from, end) : end;
        uint8_t bytes[SECTOR];

        if (c && !c->desc) {
            node_iov_zero(r->iov, r->iovcnt, from - r->offset, to - from);
        } else if (c) {
            memcpy(bytes, c->desc + 8, 8);
            memcpy(bytes + 8, c->sector + 8, SECTOR - 12);
            memcpy(bytes + SECTOR - 4, c->desc + 4, 4);
            node_iov_from_buf(r->iov, r->iovcnt, from - r->offset, bytes + (from - c->from),
                              to - from);
        }
    }
}

static void replay_read_done(struct pass *pass, int ret)
{
    if (pass->r.iov != pass->from->iov) {
        free((void *)pass->r.iov);
    }
    if (ret == 0) {
        patch((struct replay *)pass->filter, pass->from);
    }
    pass_end(pass, ret);
}

/* The file may end sooner than the log says it will. */
static void replay_read(struct node *n, struct node_req *r)
{
    uint64_t have = r->offset < n->file->len ? min_u64(r->len, n->file->len - r->offset) : 0;
    struct iovec *iov = NULL;
    struct pass *p;

    if (have < r->len) {
        node_iov_zero(r->iov, r->iovcnt, have, r->len - have);
    }
    if (!have) {
        patch((struct replay *)n, r);
        node_complete(r, 0);
        return;
    }
    if (have < r->len && !(iov = calloc((size_t)r->iovcnt, sizeof(*iov)))) {
        node_complete(r, -ENOMEM);
        return;
    }
    p = pass_new(n, r);
    if (!p) {
        free(iov);
        return;
    }
    if (iov) {
        p->r.iovcnt = node_iov_part(r->iov, r->iovcnt, 0, have, iov, r->iovcnt);
        p->r.iov = iov;
        p->r.len = have;
    }
    p->then = replay_read_done;
    pass_down(p);
}

/* Only the changes: where the file has holes is nobody's question. */
static void replay_status(struct node *n, struct node_req *r)
{
    const struct replay *p = (const struct replay *)n;
    size_t i = cover_of(p, r->offset);
    uint64_t end = r->offset + r->len;
    const struct change *c = p->cover[i].change;

    end = i + 1 < p->ncover ? min_u64(p->cover[i + 1].from, end) : end;
    r->status = (struct node_status){ .len = end - r->offset,
                                      .flags = NODE_ALLOCATED |
                                               (c && !c->desc ? NODE_IS_ZERO : NODE_HAS_DATA) };
    node_complete(r, 0);
}

static void replay_submit(struct node *n, struct node_req *r)
{
    if (r->op == NODE_READ) {
        replay_read(n, r);
    } else if (r->op == NODE_STATUS) {
        replay_status(n, r);
    } else {
        filter_pass(n, r); /* a flush: nobody may write */
    }
}

static int replay_close(struct node *n)
{
    struct replay *p = (struct replay *)n;
    int ret = node_close(n->file);

    free(p->log);
    free(p->changes);
    free(p->cover);
    free(p);
    return ret;
}

static const struct node_ops replay_ops = {
    .name = "vhdx-log", .filter = true, .own = true, .submit = replay_submit, .close = replay_close
};

/* ---- replaying ---- */

static int bad_log(const struct node *file, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "image '%s': VHDX: its log %s", file->filename, what);
}

static int check_log(const struct node *file, const struct vhdx_log *log, struct err *e)
{
    if (log->version != 0) {
        return bad_log(file, e, "is not of version 0, the only one there is");
    }
    if (log->len == 0 || log->len % LOG_UNIT || log->at % LOG_UNIT || log->at < LOG_UNIT) {
        return bad_log(file, e, "has a place or a length that the format does not allow");
    }
    return log->len > MAX_LOG ? bad_log(file, e, "is longer than 64 MiB") : 0;
}

static int replay_sequence(struct replay *p, const struct node *file, const struct vhdx_log *log,
                           struct err *e)
{
    struct search s = { .p = p, .id = log->id, .budget = MAX_SUMS * p->len };
    struct sequence q = find_sequence(&s);
    const uint8_t *last = p->log + q.head;

    if (q.number == 0) {
        return bad_log(file, e,
                       s.budget ? "has to be replayed, but holds no sequence of whole entries"
                                : "has entries that lie over one another");
    }
    if (load_le64(last + 48) > file->len) {
        return bad_log(file, e, "was written when the file was longer: the file was cut short");
    }
    if (load_le64(last + 56) > INT64_MAX / 2) {
        return bad_log(file, e, "says that the file has an absurd length");
    }
    for (uint64_t at = q.tail;; at = (at + load_le32(p->log + at + 8)) % p->len) {
        add_changes(p, p->log + at);
        if (at == q.head) {
            break;
        }
    }
    make_cover(p);
    p->base.len = max_u64(file->len, load_le64(last + 56) / NODE_ALIGN * NODE_ALIGN);
    return 0;
}

struct node *vhdx_replay(struct node *file, const struct vhdx_log *log, struct err *e)
{
    struct replay *p = xcalloc(1, sizeof(*p));
    uint8_t *once = NULL;
    int ret = check_log(file, log, e);

    filter_init(&p->base, &replay_ops, file);
    p->len = log->len;
    if (ret == 0) {
        once = mapped_read(file, log->at, log->len, "the log", e);
        ret = once ? 0 : -EINVAL;
    }
    if (once) {
        p->log = xcalloc(2, p->len);
        memcpy(p->log, once, p->len);
        memcpy(p->log + p->len, once, p->len);
        free(once);
        ret = replay_sequence(p, file, log, e);
    }
    if (ret < 0) {
        free(p->base.filename);
        replay_close(&p->base);
        return NULL;
    }
    return &p->base;
}
