/* SPDX-License-Identifier: MIT */
/* block/qcow2-meta.c - walking all references, and switching to a whole new set of metadata.
 *
 * What touches the counts of clusters all over the image (a snapshot made, applied or deleted, a
 * rebuild of the counts, another width of them) cannot be ordered so that every step is consistent:
 * flags in L2 tables and counts would have to change together. So the new metadata are written
 * beside the old ones, behind the end of the file, where the old counts say nothing is; then one
 * write of the header's first sector makes them the image. A crash leaves the one or the other.
 * Clusters that only the old metadata used are simply not counted by the new ones.
 *
 * Walking reads each L2 table once, however often it is referred to, so that an image made to point
 * everything at one table costs no more than its size.
 */
#include "block/qcow2-int.h"

#include "dm/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WALK_MAX_CLUSTERS (1ull << 30)

/* ---- walking ---- */

int walk_init(struct walk *w, struct qcow2 *s, struct qcow2_check *check)
{
    *w = (struct walk){ .s = s, .check = check };
    w->n = round_up_cluster(s, s->node.file->len) >> s->cluster_bits;
    if (w->n > WALK_MAX_CLUSTERS) {
        return -EFBIG;
    }
    w->count = calloc(w->n + 1, sizeof(*w->count));
    return w->count ? 0 : -ENOMEM;
}

void walk_fini(struct walk *w)
{
    free(w->count);
    free(w->l2);
}

void walk_say(struct walk *w, const char *fmt, ...)
{
    char line[200];
    va_list ap;

    if (!w->check || !w->check->say) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    w->check->say(w->check->opaque, line);
}

static bool walk_ref(struct walk *w, uint64_t cluster, uint64_t times)
{
    if (cluster >= w->n) {
        return false;
    }
    w->count[cluster] = (uint32_t)min_u64(w->count[cluster] + times, UINT32_MAX);
    return true;
}

void walk_range(struct walk *w, uint64_t offset, uint64_t len, const char *what)
{
    const struct qcow2 *s = w->s;
    uint64_t first = cluster_of(s, offset), n = round_up_cluster(s, len) >> s->cluster_bits;

    for (uint64_t i = 0; i < n; i++) {
        if (!walk_ref(w, first + i, 1)) {
            walk_say(w, "ERROR: %s at offset %#llx is outside the image", what,
                     (unsigned long long)offset);
            w->bad++;
            return;
        }
    }
}

static bool good_l1_entry(const struct walk *w, uint64_t entry)
{
    uint64_t at = entry & OFFSET_MASK;

    return !(entry & L1_RESERVED) && at % w->s->cluster_size == 0 && at != 0 &&
           cluster_of(w->s, at) < w->n;
}

static void add_l2(struct walk *w, uint64_t offset)
{
    if (w->nl2 == w->l2_room) {
        size_t room = w->l2_room ? w->l2_room * 2 : 64;
        struct l2_ref *more = realloc(w->l2, room * sizeof(*more));

        if (!more || room > 4ull * QCOW2_MAX_SNAPSHOT_L1) {
            w->ret = more ? -EFBIG : -ENOMEM;
            w->l2 = more ? more : w->l2;
            return;
        }
        w->l2 = more;
        w->l2_room = room;
    }
    w->l2[w->nl2++] = (struct l2_ref){ offset, 1 };
}

void walk_l1(struct walk *w, const uint64_t *l1, uint32_t n, bool tables, const char *whose)
{
    for (uint32_t i = 0; i < n && w->ret == 0; i++) {
        if (!l1[i] || !(l1[i] & ~OFLAG_COPIED)) {
            continue;
        }
        if (!good_l1_entry(w, l1[i])) {
            walk_say(w, "ERROR: %s L1 entry %u is %#llx", whose, i, (unsigned long long)l1[i]);
            w->bad++;
            continue;
        }
        if (tables) {
            walk_ref(w, cluster_of(w->s, l1[i] & OFFSET_MASK), 1);
        }
        add_l2(w, l1[i] & OFFSET_MASK);
    }
}

static int by_offset(const void *a, const void *b)
{
    const struct l2_ref *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Whether an entry can be right. */
static bool good_l2_entry(const struct walk *w, struct l2_entry e)
{
    const struct qcow2 *s = w->s;
    uint64_t at = e.place & OFFSET_MASK;
    uint32_t len;

    if (!qcow2_entry_good(s, e)) {
        return false;
    }
    if (e.place & OFLAG_COMPRESSED) {
        qcow2_compressed_place(s, e.place, &at, &len);
        return !(e.place & OFLAG_COPIED) && at >= s->cluster_size &&
               cluster_of(s, at + len - 1) < w->n;
    }
    return at == 0 || s->external || cluster_of(s, at) < w->n;
}

static void walk_entry(struct walk *w, struct l2_entry e, uint32_t times)
{
    const struct qcow2 *s = w->s;
    uint64_t at = e.place & OFFSET_MASK;

    if (e.place & OFLAG_COMPRESSED) {
        uint32_t len;
        qcow2_compressed_place(s, e.place, &at, &len);
        for (uint64_t c = cluster_of(s, at); c <= cluster_of(s, at + len - 1); c++) {
            walk_ref(w, c, times);
        }
    } else if (at && !s->external) {
        walk_ref(w, cluster_of(s, at), times);
    }
}

static void walk_l2(struct walk *w, uint64_t offset, uint32_t times, const uint8_t *bytes)
{
    for (uint64_t i = 0; i < 1ull << w->s->l2_bits; i++) {
        struct l2_entry e = entry_load(w->s, bytes, i);

        if (!e.place && !e.map) {
            continue;
        }
        if (good_l2_entry(w, e)) {
            walk_entry(w, e, times);
            continue;
        }
        walk_say(w, "ERROR: entry %llu of the L2 table at %#llx is %#llx %#llx",
                 (unsigned long long)i, (unsigned long long)offset, (unsigned long long)e.place,
                 (unsigned long long)e.map);
        w->bad++;
    }
}

void walk_l2s(struct walk *w)
{
    uint8_t *bytes = malloc(w->s->cluster_size);
    size_t k;

    if (!bytes) {
        w->ret = -ENOMEM;
    }
    if (w->nl2) {
        qsort(w->l2, w->nl2, sizeof(*w->l2), by_offset);
    }
    for (size_t i = 0; i < w->nl2 && w->ret == 0; i = k) {
        for (k = i; k < w->nl2 && w->l2[k].offset == w->l2[i].offset; k++) {
        }
        w->ret = node_read(w->s->node.file, w->l2[i].offset, bytes, w->s->cluster_size);
        if (w->ret == 0) {
            walk_l2(w, w->l2[i].offset, (uint32_t)(k - i), bytes);
        }
    }
    w->nl2 = 0;
    free(bytes);
}

static void walk_snapshots(struct walk *w, const struct header *h, const struct qcow2_snap *sn)
{
    for (uint32_t i = 0; i < h->nb_snapshots && w->ret == 0; i++) {
        uint64_t *l1;
        char whose[40];

        snprintf(whose, sizeof(whose), "snapshot %.20s:", sn[i].pub.id);
        if (sn[i].l1_offset) { /* else it is still to be written */
            walk_range(w, sn[i].l1_offset, sn[i].l1_size * 8ull, "a snapshot's L1 table");
            w->ret = qcow2_read_table(w->s, sn[i].l1_offset, sn[i].l1_size, &l1);
            if (w->ret == 0) {
                walk_l1(w, l1, sn[i].l1_size, true, whose);
                free(l1);
            }
        }
    }
}

/* ---- bitmaps: only what they refer to ---- */

static void walk_bitmap_table(struct walk *w, uint64_t at, uint32_t entries)
{
    uint64_t *t;

    if (entries > QCOW2_MAX_L1_BYTES / 8 || at % w->s->cluster_size) {
        walk_say(w, "ERROR: a bitmap's table at %#llx", (unsigned long long)at);
        w->bad++;
        return;
    }
    walk_range(w, at, entries * 8ull, "a bitmap's table");
    w->ret = qcow2_read_table(w->s, at, entries, &t);
    for (uint32_t i = 0; w->ret == 0 && i < entries; i++) {
        if (t[i] & OFFSET_MASK) {
            walk_range(w, t[i] & OFFSET_MASK, 1, "a bitmap's cluster");
        }
    }
    if (w->ret == 0) {
        free(t);
    }
}

static void walk_bitmaps(struct walk *w, const struct header *h)
{
    uint64_t len = h->bitmap_dir_size, at = 0;
    uint8_t *dir;

    if (!h->has_bitmaps) {
        return;
    }
    if (len > 64u << 20 || h->bitmap_dir_offset % w->s->cluster_size) {
        w->bad++;
        return;
    }
    walk_range(w, h->bitmap_dir_offset, len, "the bitmap directory");
    dir = calloc(1, (len + 511) & ~511ull);
    w->ret = dir ? node_read(w->s->node.file, h->bitmap_dir_offset, dir, (len + 511) & ~511ull)
                 : -ENOMEM;
    while (w->ret == 0 && at + 24 <= len) {
        walk_bitmap_table(w, load_be64(dir + at), load_be32(dir + at + 8));
        at += (24ull + load_be16(dir + at + 18) + load_be32(dir + at + 20) + 7) & ~7ull;
    }
    free(dir);
}

void walk_rest(struct walk *w, const struct header *h, const struct qcow2_snap *snaps)
{
    walk_range(w, 0, 1, "the header");
    if (h->crypt_offset) {
        walk_range(w, h->crypt_offset, h->crypt_len, "the LUKS header");
    }
    walk_snapshots(w, h, snaps);
    if (w->ret == 0) {
        walk_bitmaps(w, h);
    }
}

/* ---- the snapshot table ---- */

void qcow2_free_snaps(struct qcow2_snap *sn, unsigned n)
{
    for (unsigned i = 0; sn && i < n; i++) {
        free(sn[i].pub.id);
        free(sn[i].pub.name);
        free(sn[i].extra);
    }
    free(sn);
}

static char *text_at(const uint8_t *p, size_t len)
{
    char *t = xcalloc(1, len + 1);

    memcpy(t, p, len);
    return t;
}

/* Returns how long the entry is, 0 when it does not fit. */
static uint64_t parse_snapshot(const uint8_t *p, uint64_t room, struct qcow2_snap *sn)
{
    if (room < 40) {
        return 0;
    }
    uint32_t id_len = load_be16(p + 12), name_len = load_be16(p + 14), extra = load_be32(p + 36);
    uint64_t len = 40ull + extra + id_len + name_len;

    if (extra > 1024 || len > room) {
        return 0;
    }
    sn->l1_offset = load_be64(p);
    sn->l1_size = load_be32(p + 8);
    sn->pub.date_sec = load_be32(p + 16);
    sn->pub.date_nsec = load_be32(p + 20);
    sn->pub.vm_clock_nsec = load_be64(p + 24);
    sn->pub.vm_state_size = extra >= 8 ? load_be64(p + 40) : load_be32(p + 32);
    sn->pub.disk_size = extra >= 16 ? load_be64(p + 48) : 0;
    sn->pub.icount = extra >= 24 ? load_be64(p + 56) : UINT64_MAX;
    if (extra > 24) {
        sn->extra_len = extra - 24;
        sn->extra = xcalloc(1, sn->extra_len);
        memcpy(sn->extra, p + 64, sn->extra_len);
    }
    sn->pub.id = text_at(p + 40 + extra, id_len);
    sn->pub.name = text_at(p + 40 + extra + id_len, name_len);
    return (len + 7) & ~7ull;
}

struct qcow2_snap *qcow2_read_snapshots(struct qcow2 *s, const struct header *h, struct err *e)
{
    uint64_t have = s->node.file->len, from = h->snapshots_offset, at = 0, total = 0;
    uint64_t len = from < have ? min_u64(have - from, QCOW2_MAX_SNAPSHOT_BYTES) : 0;
    uint8_t *b = malloc(len ? len : 1);
    struct qcow2_snap *sn = xcalloc(h->nb_snapshots, sizeof(*sn));
    int ret = !b ? -ENOMEM : len ? node_read(s->node.file, from, b, len) : 0;

    for (uint32_t i = 0; ret == 0 && i < h->nb_snapshots; i++) {
        uint64_t n = at < len ? parse_snapshot(b + at, len - at, &sn[i]) : 0;

        at += n;
        total += sn[i].l1_size;
        if (!n || total > QCOW2_MAX_SNAPSHOT_L1 || sn[i].l1_size > QCOW2_MAX_L1_BYTES / 8 ||
            sn[i].l1_offset % s->cluster_size || sn[i].l1_offset >> 56) {
            ret = -EINVAL;
        }
    }
    free(b);
    if (ret < 0) {
        qcow2_free_snaps(sn, h->nb_snapshots);
        err_set(e, ret, "its snapshot table cannot be read: %s", strerror(-ret));
        return NULL;
    }
    return sn;
}

static uint64_t snapshot_len(const struct qcow2_snap *sn)
{
    return (40ull + 24 + sn->extra_len + strlen(sn->pub.id) + strlen(sn->pub.name) + 7) & ~7ull;
}

uint8_t *qcow2_build_snapshots(const struct qcow2_snap *sn, unsigned n, uint64_t *len)
{
    uint8_t *b, *p;

    *len = 0;
    for (unsigned i = 0; i < n; i++) {
        *len += snapshot_len(&sn[i]);
    }
    p = b = xcalloc(1, *len + 1);
    for (unsigned i = 0; i < n; p += snapshot_len(&sn[i]), i++) {
        size_t id = strlen(sn[i].pub.id), name = strlen(sn[i].pub.name);

        store_be64(p, sn[i].l1_offset);
        store_be32(p + 8, sn[i].l1_size);
        store_be16(p + 12, (uint16_t)id);
        store_be16(p + 14, (uint16_t)name);
        store_be32(p + 16, sn[i].pub.date_sec);
        store_be32(p + 20, sn[i].pub.date_nsec);
        store_be64(p + 24, sn[i].pub.vm_clock_nsec);
        store_be32(p + 32, (uint32_t)min_u64(sn[i].pub.vm_state_size, UINT32_MAX));
        store_be32(p + 36, 24 + sn[i].extra_len);
        store_be64(p + 40, sn[i].pub.vm_state_size);
        store_be64(p + 48, sn[i].pub.disk_size);
        store_be64(p + 56, sn[i].pub.icount);
        if (sn[i].extra_len) {
            memcpy(p + 64, sn[i].extra, sn[i].extra_len);
        }
        memcpy(p + 64 + sn[i].extra_len, sn[i].pub.id, id);
        memcpy(p + 64 + sn[i].extra_len + id, sn[i].pub.name, name);
    }
    return b;
}

/* ---- switching ---- */

struct build {
    struct walk w;
    struct new_state *st;
    struct header *h;
    uint64_t tail; /* the next cluster behind everything */
    int ret;
    struct err *e;
};

/* n clusters at the end, counted once each. Returns the first's offset. */
static uint64_t build_take(struct build *b, uint64_t n)
{
    uint64_t first = b->tail, room = first + n;
    uint32_t *more = realloc(b->w.count, (room + 1) * sizeof(*more));

    if (!more) {
        b->ret = -ENOMEM;
        return 0;
    }
    b->w.count = more;
    for (uint64_t i = first; i < room; i++) {
        more[i] = 1;
    }
    b->tail = room;
    return first << b->w.s->cluster_bits;
}

/* Writes len bytes and zeros up to the end of the last cluster. */
static void build_write(struct build *b, uint64_t offset, const void *bytes, uint64_t len)
{
    uint64_t whole = round_up_cluster(b->w.s, len);
    void *copy = calloc(1, whole);

    if (!copy) {
        b->ret = -ENOMEM;
    }
    if (b->ret == 0) {
        memcpy(copy, bytes, len);
        b->ret = node_write(b->w.s->node.file, offset, copy, whole);
    }
    free(copy);
}

static void build_entries(struct build *b, uint64_t offset, const uint64_t *entry, uint64_t n)
{
    uint64_t *be = calloc(n + 1, 8);

    for (uint64_t i = 0; be && i < n; i++) {
        be[i] = __builtin_bswap64(entry[i]);
    }
    if (!be) {
        b->ret = -ENOMEM;
    } else if (b->ret == 0 && n) {
        build_write(b, offset, be, n * 8);
    }
    free(be);
}

static struct l2_entry flagged(struct build *b, struct l2_entry e)
{
    const struct walk *w = &b->w;
    uint64_t at = e.place & OFFSET_MASK;

    if (!good_l2_entry(w, e)) {
        return b->st->drop_bad ? (struct l2_entry){ 0 } : e;
    }
    if (w->s->external) { /* the flag tells a place at offset 0 from none, and nobody shares one */
        e.place |= at ? OFLAG_COPIED : 0;
        return e;
    }
    e.place &= ~OFLAG_COPIED;
    if (!(e.place & OFLAG_COMPRESSED) && at && w->count[cluster_of(w->s, at)] == 1) {
        e.place |= OFLAG_COPIED;
    }
    return e;
}

/* One table of the active set: kept when nothing else has it and all its flags are right. */
static uint64_t build_l2(struct build *b, uint64_t l1_entry, uint8_t *bytes)
{
    struct qcow2 *s = b->w.s;
    uint64_t at = l1_entry & OFFSET_MASK;
    bool same = b->w.count[cluster_of(s, at)] == 0;

    b->ret = node_read(s->node.file, at, bytes, s->cluster_size);
    for (uint64_t i = 0; b->ret == 0 && i < 1ull << s->l2_bits; i++) {
        struct l2_entry e = entry_load(s, bytes, i), now = flagged(b, e);

        same = same && now.place == e.place && now.map == e.map;
        entry_store(s, bytes, i, now);
    }
    if (b->ret == 0 && same) {
        b->w.count[cluster_of(s, at)] = 1;
        return at | OFLAG_COPIED;
    }
    at = b->ret == 0 ? build_take(b, 1) : 0;
    if (b->ret == 0) {
        build_write(b, at, bytes, s->cluster_size);
    }
    return at | OFLAG_COPIED;
}

static void build_active(struct build *b)
{
    uint8_t *bytes = malloc(b->w.s->cluster_size);

    b->ret = bytes ? b->ret : -ENOMEM;
    for (uint32_t i = 0; i < b->h->l1_size && b->ret == 0; i++) {
        if (!(b->st->l1[i] & OFFSET_MASK)) {
            b->st->l1[i] = 0;
        } else if (good_l1_entry(&b->w, b->st->l1[i])) {
            b->st->l1[i] = build_l2(b, b->st->l1[i], bytes);
        } else {
            b->st->l1[i] = b->st->drop_bad ? 0 : b->st->l1[i];
        }
    }
    free(bytes);
    if (b->ret == 0) {
        uint64_t len = round_up_cluster(b->w.s, max_u64(b->h->l1_size * 8ull, 1));
        b->h->l1_offset = build_take(b, len >> b->w.s->cluster_bits);
        build_entries(b, b->h->l1_offset, b->st->l1, b->h->l1_size);
    }
}

static void build_snapshot_table(struct build *b)
{
    uint64_t len;
    uint8_t *bytes;

    b->h->snapshots_offset = 0;
    if (!b->h->nb_snapshots || b->ret < 0) {
        return;
    }
    bytes = qcow2_build_snapshots(b->st->snaps, b->h->nb_snapshots, &len);
    b->h->snapshots_offset = build_take(b, round_up_cluster(b->w.s, len) >> b->w.s->cluster_bits);
    build_write(b, b->h->snapshots_offset, bytes, len);
    free(bytes);
}

static bool range_used(const struct build *b, uint64_t range, unsigned rb_bits)
{
    uint64_t to = min_u64((range + 1) << rb_bits, b->tail);

    for (uint64_t c = range << rb_bits; c < to; c++) {
        if (b->w.count[c]) {
            return true;
        }
    }
    return false;
}

static void build_block(struct build *b, uint64_t range, uint64_t at, uint8_t *bytes,
                        unsigned rb_bits)
{
    unsigned order = b->h->refcount_order;
    uint64_t first = range << rb_bits, to = min_u64((range + 1) << rb_bits, b->tail);

    memset(bytes, 0, b->w.s->cluster_size);
    for (uint64_t c = first; c < to; c++) {
        if (b->w.count[c] > refcount_max(order)) {
            b->ret = err_set(b->e, -EINVAL,
                             "image '%s': a cluster would be in use %u times, more than its "
                             "counts of %u bits can say",
                             b->w.s->node.filename, b->w.count[c], 1u << order);
            return;
        }
        refcount_store(bytes, order, c - first, b->w.count[c]);
    }
    build_write(b, at, bytes, b->w.s->cluster_size);
}

/* Counts for everything so far and for themselves. */
static void build_refcounts(struct build *b)
{
    struct qcow2 *s = b->w.s;
    unsigned rb_bits = s->cluster_bits + 3 - b->h->refcount_order;
    uint64_t blocks = 0, clusters = 1, before, ranges, old_tail = b->tail;
    uint64_t first, *table;
    uint8_t *bytes;

    do {
        before = blocks + clusters;
        ranges = (old_tail + before + (1ull << rb_bits) - 1) >> rb_bits;
        clusters = (ranges * 8 + s->cluster_size - 1) >> s->cluster_bits;
        blocks = 0;
        for (uint64_t r = 0; r < ranges; r++) {
            blocks += r >= old_tail >> rb_bits || range_used(b, r, rb_bits);
        }
    } while (blocks + clusters > before);
    if (clusters << s->cluster_bits > QCOW2_MAX_REFTABLE_BYTES) {
        b->ret = -EFBIG;
        return;
    }
    first = build_take(b, before);
    table = calloc(ranges, sizeof(*table));
    bytes = malloc(s->cluster_size);
    b->ret = b->ret < 0 || !table || !bytes ? -ENOMEM : 0;
    b->h->reftable_offset = first;
    b->h->reftable_clusters = (uint32_t)clusters;
    first += clusters << s->cluster_bits;
    for (uint64_t r = 0, i = 0; r < ranges && b->ret == 0; r++) {
        if (range_used(b, r, rb_bits)) {
            table[r] = first + (i++ << s->cluster_bits);
            build_block(b, r, table[r], bytes, rb_bits);
        }
    }
    if (b->ret == 0) {
        build_entries(b, b->h->reftable_offset, table, ranges);
    }
    free(table);
    free(bytes);
}

static int write_header(struct qcow2 *s, const struct header *h, bool *begun)
{
    uint8_t *bytes = calloc(1, s->cluster_size);
    int len = bytes ? qcow2_build_header(s, h, bytes) : -ENOMEM;
    int ret = len < 0 ? len : node_flush(s->node.file);

    if (ret == 0) {
        *begun = true;
        ret = node_write(s->node.file, 0, bytes, (uint64_t)len);
        ret = ret < 0 ? ret : node_flush(s->node.file);
    }
    free(bytes);
    return ret;
}

int qcow2_put_header(struct qcow2 *s, const struct header *h)
{
    bool begun = false;
    int ret = write_header(s, h, &begun);

    return ret < 0 && begun && write_header(s, &s->h, &begun) < 0 ? -EUCLEAN : ret;
}

/* What was built becomes the image. A new one has no header to go back to. */
static void build_switch(struct build *b, bool fresh)
{
    struct qcow2 *s = b->w.s;
    struct qcow2_tables t;
    bool begun;

    b->ret = b->ret < 0 ? b->ret : qcow2_read_tables(s, b->h, &t, b->e);
    if (b->ret < 0) {
        return;
    }
    b->ret = fresh ? write_header(s, b->h, &begun) : qcow2_put_header(s, b->h);
    if (b->ret == 0) {
        qcow2_take_tables(s, b->h, &t);
        return;
    }
    qcow2_drop_tables(&t, b->h);
    if (b->ret == -EUCLEAN) { /* what is written from now on might be lost */
        s->broken = true;
        b->ret = -EIO;
    }
}

/* ---- where there is room ---- */

/* Past the last cluster of the file that has a count. -errno when they cannot be read. */
static int counted_end(struct qcow2 *s, uint64_t *end)
{
    uint8_t *b = xcalloc(1, s->cluster_size);
    uint64_t k = 0;
    uint32_t i = s->reftable_len;
    int ret = 0;

    while (i && !k && ret == 0) {
        uint64_t at = s->reftable[--i];
        if (!at || at & (s->cluster_size - 1ull) || at >= s->node.file->len) {
            continue; /* none, or corrupt */
        }
        ret = node_read(s->node.file, at, b, s->cluster_size);
        for (k = 1ull << s->rb_bits; k && !refcount_load(b, s->h.refcount_order, k - 1);) {
            k--;
        }
    }
    free(b);
    *end = ((uint64_t)i << s->rb_bits) + k;
    return ret;
}

int qcow2_room_from(struct qcow2 *s, uint64_t *cluster)
{
    *cluster = cluster_of(s, round_up_cluster(s, s->node.file->len));
    return s->node.file->growable ? 0 : counted_end(s, cluster);
}

/* The same, but of an image that may be corrupt: its references and its tables count too. */
static int build_room(struct build *b)
{
    struct qcow2 *s = b->w.s;
    uint64_t room, n = b->w.n;
    int ret = qcow2_room_from(s, &room);

    while (n > room && !b->w.count[n - 1] && !meta_has(s, n - 1)) {
        n--;
    }
    b->w.n = s->node.file->growable ? b->w.n : n;
    return ret;
}

/* Up to where a new image has something: its header, which is still to be written, and LUKS's. What
 * else is on a disk that cannot be emptied does not count. */
static uint64_t fresh_clusters(const struct qcow2 *s, const struct header *h)
{
    uint64_t end = h->crypt_offset ? h->crypt_offset + h->crypt_len : s->cluster_size;

    return round_up_cluster(s, end) >> s->cluster_bits;
}

int qcow2_switch(struct qcow2 *s, struct new_state *st, struct err *e)
{
    struct build b = { .st = st, .h = &st->h, .e = e };

    b.ret = walk_init(&b.w, s, NULL);
    if (b.ret == 0) {
        b.w.n = st->fresh ? fresh_clusters(s, b.h) : b.w.n;
        walk_rest(&b.w, b.h, st->snaps);
        walk_l1(&b.w, st->l1, b.h->l1_size, false, "active");
        walk_l2s(&b.w);
        b.ret = b.w.ret < 0 || st->fresh ? b.w.ret : build_room(&b);
    }
    if (b.ret == 0 && b.w.bad && !st->drop_bad) {
        b.ret = -EIO;
        err_set(e, -EIO, "image '%s' is corrupt: check it first", s->node.filename);
    }
    if (b.ret == 0) {
        b.tail = b.w.n;
        build_active(&b);
        build_snapshot_table(&b);
    }
    if (b.ret == 0) {
        build_refcounts(&b);
    }
    if (b.ret == 0) {
        build_switch(&b, st->fresh);
    }
    walk_fini(&b.w);
    if (b.ret < 0) {
        return e && e->code ? e->code
                            : err_set(e, b.ret, "image '%s': its metadata cannot be written: %s",
                                      s->node.filename, strerror(-b.ret));
    }
    return 0;
}
