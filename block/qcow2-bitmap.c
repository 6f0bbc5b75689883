/* SPDX-License-Identifier: MIT */
/* block/qcow2-bitmap.c - persistent dirty bitmaps: loaded when an image is opened, stored when it is
 * closed.
 *
 * A directory names them; each has a table of clusters that hold its bits. While the image is
 * written to, the directory says of each that it is in use: after a crash its bits count for nothing,
 * and all it is good for is to be removed. The flag is on disk before the first write is. Storing
 * writes everything anew beside the old; the commit that follows counts it first and then points the
 * header to the new directory, in one write. What the old one had is free after that.
 *
 * Reference: the qcow2 specification, "Bitmaps".
 */
#include "block/qcow2-int.h"

#include "block/bitmap.h"
#include "dm/base/err.h"

#include <string.h>

enum { ENTRY_BYTES = 24, TYPE_DIRTY = 1 };
enum { FLAG_IN_USE = 1, FLAG_AUTO = 2, FLAG_EXTRA = 4, FLAGS_KNOWN = 7 };
enum { MAX_BITMAPS = 65535, MAX_DIRECTORY = 64 << 20, MAX_TABLE = 8 << 20 };
#define TABLE_ALL_ONES 1ull
#define TABLE_RESERVED 0xff000000000001feull

/* ---- the directory ---- */

static uint64_t entry_len(uint64_t name, uint64_t extra)
{
    return (ENTRY_BYTES + name + extra + 7) & ~7ull;
}

static char *name_at(const uint8_t *p, size_t len)
{
    char *t = xcalloc(1, len + 1);

    memcpy(t, p, len);
    return t;
}

/* One entry; room: what is left of the directory. Returns how long it is, 0 when it cannot be. */
static uint64_t parse_entry(const struct qcow2 *s, const uint8_t *p, uint64_t room,
                            struct qcow2_stored *b)
{
    uint32_t name, extra;

    if (room < ENTRY_BYTES) {
        return 0;
    }
    *b = (struct qcow2_stored){ .table = load_be64(p),
                                .entries = load_be32(p + 8),
                                .flags = load_be32(p + 12),
                                .granularity_bits = p[17] };
    name = load_be16(p + 18);
    extra = load_be32(p + 20);
    if (entry_len(name, extra) > room || name == 0 || name > BITMAP_MAX_NAME || extra ||
        p[16] != TYPE_DIRTY || (b->flags & ~(uint32_t)FLAGS_KNOWN) ||
        b->granularity_bits < BITMAP_MIN_BITS || b->granularity_bits > BITMAP_MAX_BITS ||
        b->table % s->cluster_size || !b->table || b->table >> 56 || b->entries > MAX_TABLE / 8) {
        return 0;
    }
    b->name = name_at(p + ENTRY_BYTES, name);
    return entry_len(name, 0);
}

static int read_directory(struct qcow2 *s)
{
    uint64_t len = s->h.bitmap_dir_size, at = 0;
    int ret;

    if (len > MAX_DIRECTORY || len == 0 || s->h.nb_bitmaps > MAX_BITMAPS ||
        s->h.nb_bitmaps > len / ENTRY_BYTES || s->h.bitmap_dir_offset % s->cluster_size ||
        !s->h.bitmap_dir_offset || s->h.bitmap_dir_offset >= s->node.file->len) {
        return -EINVAL;
    }
    s->bitmap_dir = calloc(1, (len + 511) & ~511ull);
    s->stored = calloc(s->h.nb_bitmaps, sizeof(*s->stored));
    if (!s->bitmap_dir || !s->stored) {
        return -ENOMEM;
    }
    ret = node_read(s->node.file, s->h.bitmap_dir_offset, s->bitmap_dir, (len + 511) & ~511ull);
    while (ret == 0 && s->nstored < s->h.nb_bitmaps) {
        uint64_t n = parse_entry(s, s->bitmap_dir + at, len - at, &s->stored[s->nstored]);
        ret = n ? 0 : -EINVAL;
        s->nstored += n != 0;
        at += n;
    }
    return ret;
}

/* ---- loading ---- */

static uint64_t bytes_of(const struct bitmap *b)
{
    uint64_t per = 1ull << b->granularity_bits;

    return (((b->len + per - 1) >> b->granularity_bits) + 63) / 64 * 8;
}

/* The i-th cluster of bits, as far as there are some. */
static uint64_t part_len(const struct qcow2 *s, const struct bitmap *b, uint64_t i)
{
    return min_u64(s->cluster_size, bytes_of(b) - (i << s->cluster_bits));
}

static int load_part(struct qcow2 *s, struct bitmap *b, uint64_t i, uint64_t entry, uint8_t *buf)
{
    uint64_t from = (i << s->cluster_bits) * 8, at = entry & OFFSET_MASK;
    int ret;

    if ((entry & TABLE_RESERVED) || at % s->cluster_size || (at && (entry & TABLE_ALL_ONES))) {
        return -EINVAL;
    }
    if (!at) {
        if (entry & TABLE_ALL_ONES) {
            bitmap_set(b, from << b->granularity_bits,
                       (part_len(s, b, i) * 8) << b->granularity_bits);
        }
        return 0;
    }
    ret = node_read(s->node.file, at, buf, s->cluster_size);
    if (ret == 0) {
        bitmap_load(b, from / 64, buf, part_len(s, b, i));
    }
    return ret;
}

static int load_bits(struct qcow2 *s, struct bitmap *b, const struct qcow2_stored *st)
{
    uint8_t *buf = malloc(s->cluster_size);
    uint64_t *table = NULL;
    int ret = buf ? 0 : -ENOMEM;

    if (ret == 0 && st->entries != (bytes_of(b) + s->cluster_size - 1) >> s->cluster_bits) {
        ret = -EINVAL;
    }
    ret = ret < 0 ? ret : qcow2_read_table(s, st->table, st->entries, &table);
    for (uint32_t i = 0; ret == 0 && i < st->entries; i++) {
        ret = load_part(s, b, i, table[i], buf);
    }
    free(table);
    free(buf);
    return ret;
}

static int load_one(struct qcow2 *s, const struct qcow2_stored *st, struct err *e)
{
    struct bitmap *b = bitmap_new(&s->node, st->name, 1u << st->granularity_bits, e);
    int ret;

    if (!b) {
        return e->code;
    }
    b->persistent = true;
    b->recording = st->flags & FLAG_AUTO;
    b->inconsistent = st->flags & FLAG_IN_USE;
    ret = b->inconsistent ? 0 : load_bits(s, b, st);
    return ret < 0
               ? err_set(e, ret, "its bitmap '%.100s' cannot be read: %s", st->name, strerror(-ret))
               : 0;
}

int qcow2_bitmaps_load(struct qcow2 *s, struct err *e)
{
    int ret = 0;

    s->bitmaps_loaded = true;
    if (!s->h.has_bitmaps) {
        return 0;
    }
    ret = read_directory(s);
    if (ret < 0) {
        return err_set(e, ret, "its bitmap directory cannot be read: %s", strerror(-ret));
    }
    for (uint32_t i = 0; ret == 0 && i < s->nstored; i++) {
        ret = load_one(s, &s->stored[i], e);
    }
    return ret;
}

static void forget_stored(struct qcow2 *s)
{
    for (uint32_t i = 0; i < s->nstored; i++) {
        free(s->stored[i].name);
    }
    free(s->stored);
    free(s->bitmap_dir);
    s->stored = NULL;
    s->bitmap_dir = NULL;
    s->nstored = 0;
}

void qcow2_bitmaps_unload(struct qcow2 *s)
{
    forget_stored(s);
    bitmap_free_list(s->node.bitmaps);
    s->node.bitmaps = NULL;
    s->bitmaps_loaded = s->unclaimed = false;
}

/* ---- in use ---- */

static uint64_t directory_bytes(const struct qcow2 *s)
{
    return (s->h.bitmap_dir_size + 511) & ~511ull;
}

/* The directory in memory says that all are in use. */
static void flag_in_use(struct qcow2 *s)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < s->nstored; i++) {
        uint8_t *p = s->bitmap_dir + at;

        s->stored[i].flags |= FLAG_IN_USE;
        store_be32(p + 12, s->stored[i].flags);
        at += entry_len(load_be16(p + 18), load_be32(p + 20));
    }
}

int qcow2_bitmaps_claim(struct qcow2 *s)
{
    int ret;

    s->unclaimed = false;
    if (!s->nstored) {
        return 0;
    }
    flag_in_use(s);
    ret = node_write(s->node.file, s->h.bitmap_dir_offset, s->bitmap_dir, directory_bytes(s));
    return ret < 0 ? ret : node_flush(s->node.file);
}

static void claim_ended(struct node_req *r, int ret)
{
    struct qcow2 *s = r->opaque;
    struct op_list waiting = s->claim.waiting;

    s->claim.running = false;
    s->claim.waiting.first = NULL;
    s->unclaimed = ret < 0;
    for (struct qop *op = waiting.first; op; op = op->next_waiting) {
        op->ret = ret;
    }
    op_list_run(&waiting);
}

static void claim_wrote(struct node_req *r, int ret)
{
    struct qcow2 *s = r->opaque;

    if (ret < 0) {
        claim_ended(r, ret);
        return;
    }
    s->claim.r = (struct node_req){ .op = NODE_FLUSH, .done = claim_ended, .opaque = s };
    node_submit(s->node.file, &s->claim.r);
}

void qcow2_bitmaps_claim_for(struct qcow2 *s, struct qop *op)
{
    op_list_add(&s->claim.waiting, op);
    if (s->claim.running) {
        return;
    }
    s->claim.running = true;
    flag_in_use(s);
    s->claim.iov = (struct iovec){ s->bitmap_dir, directory_bytes(s) };
    s->claim.r = (struct node_req){ .op = NODE_WRITE,
                                    .offset = s->h.bitmap_dir_offset,
                                    .len = directory_bytes(s),
                                    .iov = &s->claim.iov,
                                    .iovcnt = 1,
                                    .done = claim_wrote,
                                    .opaque = s };
    node_submit(s->node.file, &s->claim.r);
}

/* ---- storing ---- */

struct store {
    struct qcow2 *s;
    uint64_t *taken; /* clusters, to be given back if it fails */
    size_t n, room;
    int ret;
};

struct taking {
    struct qop op; /* first */
    uint64_t want, cluster, got;
    bool ended;
};

static void taking_step(struct qop *op)
{
    struct taking *t = (struct taking *)op;
    bool zeroed;
    int ret = qcow2_alloc(op->s, op, t->want, &t->cluster, &t->got, &zeroed);

    if (ret != -EAGAIN) {
        t->op.ret = ret;
        t->ended = true;
    }
}

static void note_taken(struct store *st, uint64_t cluster, uint64_t n)
{
    if (st->n + n > st->room) {
        st->room = (st->n + n) * 2;
        st->taken = xrealloc(st->taken, st->room * sizeof(*st->taken));
    }
    for (uint64_t i = 0; i < n; i++) {
        st->taken[st->n++] = cluster + i;
    }
}

/* n clusters in a row; returns where they begin. What does not fit together is given back. */
static uint64_t take(struct store *st, uint64_t n)
{
    struct qcow2 *s = st->s;

    for (int tries = 0; st->ret == 0 && tries < 1000; tries++) {
        struct taking t = { .op = { .s = s, .step = taking_step }, .want = n };

        taking_step(&t.op);
        while (!t.ended) {
            node_ctx_poll(s->node.ctx, true);
        }
        st->ret = t.op.ret;
        if (st->ret == 0) {
            note_taken(st, t.cluster, t.got);
        }
        if (st->ret == 0 && t.got == n) {
            return t.cluster << s->cluster_bits;
        }
        if (st->ret == 0) {
            st->n -= t.got;
            qcow2_free(s, t.cluster, t.got);
        }
    }
    st->ret = st->ret < 0 ? st->ret : -EFBIG;
    return 0;
}

/* len bytes and zeros up to the end of the last cluster. */
static uint64_t store_bytes(struct store *st, const void *bytes, uint64_t len)
{
    struct qcow2 *s = st->s;
    uint64_t whole = round_up_cluster(s, len);
    uint64_t at = take(st, whole >> s->cluster_bits);
    uint8_t *copy = calloc(1, whole);

    if (!copy) {
        st->ret = -ENOMEM;
    }
    if (st->ret == 0) {
        memcpy(copy, bytes, len);
        st->ret = node_write(s->node.file, at, copy, whole);
    }
    free(copy);
    return at;
}

static bool all_ones(const uint8_t *p, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        if (p[i] != 0xff) {
            return false;
        }
    }
    return true;
}

static void store_one(struct store *st, const struct bitmap *b, struct qcow2_stored *out)
{
    struct qcow2 *s = st->s;
    uint64_t n = (bytes_of(b) + s->cluster_size - 1) >> s->cluster_bits;
    uint64_t *table = xcalloc(n + 1, sizeof(*table));

    for (uint64_t i = 0; i < n && st->ret == 0; i++) {
        const uint8_t *bits = (const uint8_t *)b->words + (i << s->cluster_bits);
        uint64_t len = part_len(s, b, i), entry = 0;

        if (all_ones(bits, len)) {
            entry = TABLE_ALL_ONES;
        } else if (!node_is_zero(bits, len)) {
            entry = store_bytes(st, bits, len);
        }
        table[i] = __builtin_bswap64(entry);
    }
    *out = (struct qcow2_stored){ .name = xstrdup(b->name),
                                  .entries = (uint32_t)n,
                                  .flags = b->recording ? FLAG_AUTO : 0,
                                  .granularity_bits = (uint8_t)b->granularity_bits };
    if (st->ret == 0) {
        out->table = store_bytes(st, table, max_u64(n, 1) * 8);
    }
    free(table);
}

static struct qcow2_stored *find_stored(const struct qcow2 *s, const char *name)
{
    for (uint32_t i = 0; i < s->nstored; i++) {
        if (strcmp(s->stored[i].name, name) == 0) {
            return &s->stored[i];
        }
    }
    return NULL;
}

static uint8_t *build_directory(const struct qcow2_stored *b, uint32_t n, uint64_t *len)
{
    uint8_t *dir, *p;

    *len = 0;
    for (uint32_t i = 0; i < n; i++) {
        *len += entry_len(strlen(b[i].name), 0);
    }
    p = dir = xcalloc(1, (*len + 511) & ~511ull);
    for (uint32_t i = 0; i < n; i++) {
        size_t name = strlen(b[i].name);

        store_be64(p, b[i].table);
        store_be32(p + 8, b[i].entries);
        store_be32(p + 12, b[i].flags);
        p[16] = TYPE_DIRTY;
        p[17] = b[i].granularity_bits;
        store_be16(p + 18, (uint16_t)name);
        memcpy(p + ENTRY_BYTES, b[i].name, name);
        p += entry_len(name, 0);
    }
    return dir;
}

/* What a bitmap has on disk is free once the new directory is there. */
static int free_table(struct qcow2 *s, const struct qcow2_stored *b)
{
    uint64_t *table;
    int ret = qcow2_read_table(s, b->table, b->entries, &table);

    if (ret < 0) {
        return ret;
    }
    for (uint32_t i = 0; i < b->entries; i++) {
        if (table[i] & OFFSET_MASK) {
            qcow2_free(s, cluster_of(s, table[i] & OFFSET_MASK), 1);
        }
    }
    free(table);
    qcow2_free(s, cluster_of(s, b->table),
               round_up_cluster(s, max_u64(b->entries, 1) * 8ull) >> s->cluster_bits);
    return 0;
}

static void free_old(struct store *st)
{
    struct qcow2 *s = st->s;
    uint64_t n = round_up_cluster(s, s->h.bitmap_dir_size) >> s->cluster_bits;

    for (uint32_t i = 0; i < s->nstored && st->ret == 0; i++) {
        const struct bitmap *b = bitmap_find(&s->node, s->stored[i].name);
        if (!b || !b->persistent || !b->inconsistent) {
            st->ret = free_table(s, &s->stored[i]);
        }
    }
    if (s->nstored && st->ret == 0) {
        meta_del(s, cluster_of(s, s->h.bitmap_dir_offset), n);
        qcow2_free(s, cluster_of(s, s->h.bitmap_dir_offset), n);
    }
}

/* The header points to what was written. */
static void store_switch(struct store *st, struct qcow2_stored *list, uint32_t n, uint8_t *dir,
                         uint64_t len, uint64_t at)
{
    struct qcow2 *s = st->s;

    forget_stored(s);
    s->stored = list;
    s->nstored = n;
    s->bitmap_dir = dir;
    s->h.has_bitmaps = n != 0;
    s->h.nb_bitmaps = n;
    s->h.bitmap_dir_size = len;
    s->h.bitmap_dir_offset = at;
    s->h.autoclear =
        n ? s->h.autoclear | AUTOCLEAR_BITMAPS : s->h.autoclear & ~(uint64_t)AUTOCLEAR_BITMAPS;
    s->header_dirty = true;
    s->unclaimed = n != 0;
    if (n) {
        meta_add(s, cluster_of(s, at), round_up_cluster(s, len) >> s->cluster_bits);
    }
}

static uint32_t count_persistent(const struct qcow2 *s)
{
    uint32_t n = 0;

    for (const struct bitmap *b = s->node.bitmaps; b; b = b->next) {
        n += b->persistent;
    }
    return n;
}

static void free_list(struct qcow2_stored *list, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        free(list[i].name);
    }
    free(list);
}

int qcow2_bitmaps_store(struct qcow2 *s)
{
    struct store st = { .s = s };
    uint32_t n = count_persistent(s), i = 0;
    struct qcow2_stored *list;
    uint64_t len = 0, at = 0;
    uint8_t *dir;

    if (!s->bitmaps_loaded || (!n && !s->nstored) || s->broken || s->unclaimed) {
        return 0;
    }
    if (n > MAX_BITMAPS || s->h.version < 3) {
        return -EFBIG;
    }
    list = xcalloc(n + 1ull, sizeof(*list));
    for (const struct bitmap *b = s->node.bitmaps; b; b = b->next) {
        const struct qcow2_stored *old = find_stored(s, b->name);

        if (b->persistent && b->inconsistent && old) {
            list[i] = *old;
            list[i++].name = xstrdup(old->name);
        } else if (b->persistent) {
            store_one(&st, b, &list[i++]);
        }
    }
    dir = build_directory(list, n, &len);
    if (n && st.ret == 0) {
        at = store_bytes(&st, dir, len);
    }
    if (st.ret == 0) {
        free_old(&st);
    }
    if (st.ret == 0) {
        store_switch(&st, list, n, dir, len, at);
    } else {
        for (size_t k = 0; k < st.n; k++) {
            qcow2_free(s, st.taken[k], 1);
        }
        free_list(list, n);
        free(dir);
    }
    free(st.taken);
    return st.ret;
}

/* ---- for tools ---- */

uint64_t qcow2_bitmaps_measure(const struct node *n, uint64_t cluster)
{
    uint64_t total = 0, directory = 0;

    for (const struct bitmap *b = n->bitmaps; b; b = b->next) {
        if (b->persistent) {
            uint64_t clusters = (bytes_of(b) + cluster - 1) / cluster;
            total += clusters * cluster + (clusters * 8 + cluster - 1) / cluster * cluster;
            directory += entry_len(strlen(b->name), 0);
        }
    }
    return total + (directory + cluster - 1) / cluster * cluster;
}

bool qcow2_keeps_bitmaps(const struct node *n)
{
    return qcow2_is(n) && ((const struct qcow2 *)n)->h.version >= 3;
}
