/* SPDX-License-Identifier: MIT */
/* block/qcow2-alloc.c - reference counts: finding free clusters, giving clusters back.
 *
 * A count goes up in memory before anything refers to the cluster, and goes down only through the
 * reaper, after a commit has written what replaced the reference (qcow2-table.c). The reaper works
 * through one list at a time: it passes clusters that fall free on to the file as discarded, waits
 * for that, and only then lowers the counts, so a cluster in the middle of being discarded cannot
 * be handed out.
 */
#include "block/qcow2-int.h"

#include "dm/base/log.h"

#include <assert.h>
#include <string.h>

uint64_t refcount_load(const uint8_t *block, unsigned order, uint64_t index)
{
    switch (order) {
    case 3:
        return block[index];
    case 4:
        return load_be16(block + index * 2);
    case 5:
        return load_be32(block + index * 4);
    case 6:
        return load_be64(block + index * 8);
    default:; /* entries of less than a byte fill it from the low bits up */
        unsigned bits = 1u << order, per = 8 / bits;
        return (block[index / per] >> (index % per * bits)) & ((1u << bits) - 1);
    }
}

void refcount_store(uint8_t *block, unsigned order, uint64_t index, uint64_t v)
{
    switch (order) {
    case 3:
        block[index] = (uint8_t)v;
        break;
    case 4:
        store_be16(block + index * 2, (uint16_t)v);
        break;
    case 5:
        store_be32(block + index * 4, (uint32_t)v);
        break;
    case 6:
        store_be64(block + index * 8, v);
        break;
    default:;
        unsigned bits = 1u << order, per = 8 / bits, shift = (unsigned)(index % per) * bits;
        unsigned mask = ((1u << bits) - 1) << shift;
        block[index / per] = (uint8_t)((block[index / per] & ~mask) | ((unsigned)v << shift));
    }
}

static uint32_t rb_index(const struct qcow2 *s, uint64_t cluster)
{
    uint64_t i = cluster >> s->rb_bits;

    return i > UINT32_MAX ? UINT32_MAX : (uint32_t)i;
}

static uint64_t rb_slot(const struct qcow2 *s, uint64_t cluster)
{
    return cluster & ((1ull << s->rb_bits) - 1);
}

static uint64_t rb_load(const struct table *t, uint64_t slot)
{
    return refcount_load(t->bytes, t->s->h.refcount_order, slot);
}

static void rb_store(struct table *t, uint64_t slot, uint64_t v)
{
    unsigned order = t->s->h.refcount_order;
    uint32_t at = (uint32_t)((slot << order) / 8), bytes = order > 3 ? 1u << (order - 3) : 1;

    refcount_store(t->bytes, order, slot, v);
    table_dirty(t, at, at + bytes);
}

/* ---- more refcount blocks, a larger table ---- */

/* Takes n clusters from `cluster` on in blocks just made. */
static void count_new(struct qcow2 *s, uint64_t cluster, uint64_t n)
{
    for (uint64_t c = cluster; c < cluster + n; c++) {
        rb_store(s->rb.at[rb_index(s, c)], rb_slot(s, c), 1);
    }
    meta_add(s, cluster, n);
    s->virgin = max_u64(s->virgin, cluster + n);
}

/* Whether anything known to be metadata lies where nothing is counted: an image that lies. */
static int check_unused(struct qcow2 *s, uint64_t cluster, uint64_t n)
{
    for (uint64_t c = cluster; c < cluster + n; c++) {
        if (c == 0 || meta_has(s, c)) {
            return qcow2_corrupt(s, "cluster %#llx is in use and not counted",
                                 (unsigned long long)c);
        }
    }
    return 0;
}

/* A block for clusters that none covers yet: it lies in the first of them and counts itself. */
static int add_block(struct qcow2 *s, uint32_t index)
{
    uint64_t cluster = (uint64_t)index << s->rb_bits;
    int ret = check_unused(s, cluster, 1);

    if (ret < 0) {
        return ret;
    }
    if (!table_new(s, false, index, cluster << s->cluster_bits)) {
        return -ENOMEM;
    }
    reftable_set(s, index, cluster << s->cluster_bits);
    count_new(s, cluster, 1);
    return 0;
}

static int grow_arrays(struct qcow2 *s, uint32_t len)
{
    uint64_t *table = realloc(s->reftable, len * sizeof(*table));
    struct table **at;

    if (!table) {
        return -ENOMEM;
    }
    s->reftable = table;
    at = realloc(s->rb.at, len * sizeof(*at));
    if (!at) {
        return -ENOMEM;
    }
    s->rb.at = at;
    memset(table + s->reftable_len, 0, (len - s->reftable_len) * sizeof(*table));
    memset(at + s->reftable_len, 0, (len - s->reftable_len) * sizeof(*at));
    return 0;
}

/* A larger refcount table so that `index` is inside. It lies, behind the blocks that count it, in
 * the first clusters that the old table did not cover. */
static int grow_table(struct qcow2 *s, uint32_t index)
{
    uint64_t per_cluster = s->cluster_size / 8;
    uint64_t want = max_u64(index + 1ull, s->reftable_len + s->reftable_len / 2 + 1);
    uint64_t first = (uint64_t)s->reftable_len << s->rb_bits, blocks = 1, clusters = 0;
    uint64_t old = cluster_of(s, s->h.reftable_offset), old_n = s->h.reftable_clusters;
    uint32_t base = s->reftable_len;

    for (uint64_t before = 0; before != blocks;) {
        before = blocks;
        clusters = (max_u64(want, base + blocks) + per_cluster - 1) / per_cluster;
        blocks = (clusters + blocks + (1ull << s->rb_bits) - 1) >> s->rb_bits;
        blocks = max_u64(blocks, before);
    }
    if (clusters * s->cluster_size > QCOW2_MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    int ret = check_unused(s, first, blocks + clusters);
    ret = ret < 0 ? ret : grow_arrays(s, (uint32_t)(clusters * per_cluster));
    if (ret < 0) {
        return ret;
    }
    s->reftable_len = (uint32_t)(clusters * per_cluster);
    for (uint32_t i = 0; i < blocks; i++) {
        uint64_t at = (first + i) << s->cluster_bits;
        if (!table_new(s, false, base + i, at)) {
            return -ENOMEM;
        }
        s->reftable[base + i] = at;
    }
    count_new(s, first, blocks + clusters);
    s->h.reftable_offset = (first + blocks) << s->cluster_bits;
    s->h.reftable_clusters = (uint32_t)clusters;
    s->reftable_dirty_from = 0;
    s->reftable_dirty_to = s->reftable_len;
    s->header_dirty = true;
    meta_del(s, old, old_n);
    qcow2_free(s, old, old_n);
    return 0;
}

/* ---- allocating ---- */

static bool is_free(struct table *t, uint64_t slot, uint64_t cluster)
{
    return rb_load(t, slot) == 0 && cluster != 0;
}

/* Takes clusters of one block, from slot on. */
static uint64_t take(struct qcow2 *s, struct table *t, uint64_t slot, uint64_t want)
{
    uint64_t n = 0, first = (uint64_t)t->index << s->rb_bits;

    while (n < want && slot + n < 1ull << s->rb_bits && is_free(t, slot + n, first + slot + n) &&
           !meta_has(s, first + slot + n)) {
        rb_store(t, slot + n, 1);
        n++;
    }
    return n;
}

int qcow2_alloc(struct qcow2 *s, struct qop *op, uint64_t want, uint64_t *cluster, uint64_t *got,
                bool *zeroed)
{
    for (;;) {
        uint32_t index = rb_index(s, s->free_hint);
        uint64_t slot = rb_slot(s, s->free_hint);
        int ret = 0;

        if (s->free_hint << s->cluster_bits >= 1ull << 55) {
            return -EFBIG;
        }
        if (index >= s->reftable_len || !s->reftable[index]) {
            ret = index >= s->reftable_len ? grow_table(s, index) : add_block(s, index);
            if (ret < 0) {
                return ret;
            }
            continue;
        }
        struct table *t = rb_get(s, index, op, &ret);
        if (!t) {
            return ret;
        }
        while (slot < 1ull << s->rb_bits && !is_free(t, slot, s->free_hint)) {
            slot++;
            s->free_hint++;
        }
        if (slot < 1ull << s->rb_bits) {
            *cluster = s->free_hint;
            if (meta_has(s, s->free_hint)) {
                return qcow2_corrupt(s, "cluster %#llx is in use and not counted",
                                     (unsigned long long)s->free_hint);
            }
            *got = take(s, t, slot, want);
            s->free_hint += *got;
            *zeroed = *cluster >= s->virgin && s->node.file->zero_tail;
            s->virgin = max_u64(s->virgin, *cluster + *got);
            return 0;
        }
    }
}

/* One more reference to `cluster`. -ERANGE: it has all that the counts' width allows. */
static int add_ref(struct qcow2 *s, struct qop *op, uint64_t cluster)
{
    int ret;
    struct table *t = rb_get(s, rb_index(s, cluster), op, &ret);

    if (!t) {
        return ret;
    }
    uint64_t slot = rb_slot(s, cluster), now = rb_load(t, slot);
    if (now == 0 || now >= refcount_max(s->h.refcount_order)) {
        return -ERANGE;
    }
    rb_store(t, slot, now + 1);
    return 0;
}

int qcow2_alloc_bytes(struct qcow2 *s, struct qop *op, uint32_t len, uint64_t *at)
{
    uint64_t room = s->comp_end - s->comp_at, cluster, got;
    bool zeroed;
    int ret;

    if (room >= len) {
        ret = add_ref(s, op, cluster_of(s, s->comp_at));
        if (ret != -ERANGE) {
            *at = s->comp_at;
            s->comp_at += ret == 0 ? len : 0;
            return ret;
        }
        room = 0;
    }
    /* Get hold of the old cluster's block first: nothing may wait once a cluster was taken. */
    if (room && !rb_get(s, rb_index(s, cluster_of(s, s->comp_at)), op, &ret)) {
        return ret;
    }
    ret = qcow2_alloc(s, op, 1, &cluster, &got, &zeroed);
    if (ret < 0) {
        return ret;
    }
    uint64_t start = cluster << s->cluster_bits;
    /* It may begin in what is left of the cluster before, if this one follows on it. */
    if (room && s->comp_end == start) {
        struct table *t = s->rb.at[rb_index(s, cluster - 1)];
        uint64_t slot = rb_slot(s, cluster - 1);
        if (t && !t->loading && rb_load(t, slot) > 0 &&
            rb_load(t, slot) < refcount_max(s->h.refcount_order)) {
            rb_store(t, slot, rb_load(t, slot) + 1);
            start -= room;
        }
    }
    *at = start;
    s->comp_at = start + len;
    s->comp_end = (cluster + 1) << s->cluster_bits;
    return 0;
}

/* ---- freeing ---- */

static void give_back(void *opaque);

/* A guest that trims its disk need not flush it afterwards: until a commit the room is still the file's. */
static void give_back_soon(struct qcow2 *s)
{
    struct ev_loop *loop = node_ctx_loop(s->node.ctx);

    if (loop && s->pass_discard && !s->give_back.loop) {
        s->give_back.cb = give_back;
        s->give_back.opaque = s;
        ev_timer_arm(loop, &s->give_back, ev_now_ns() + QCOW2_GIVE_BACK_NS);
    }
}

static void give_back(void *opaque)
{
    struct qcow2 *s = opaque;

    if (s->nfrees && s->commit.running) {
        give_back_soon(s);
    } else if (s->nfrees && !s->node.read_only) {
        qcow2_commit(s, NULL);
    }
}

void qcow2_free(struct qcow2 *s, uint64_t cluster, uint64_t n)
{
    if (s->nfrees + n > s->frees_room) {
        size_t room = (s->nfrees + n) * 2;
        uint64_t *more = realloc(s->frees, room * sizeof(*more));

        if (!more) {
            return; /* a leak, which a check finds */
        }
        s->frees = more;
        s->frees_room = room;
    }
    for (uint64_t i = 0; i < n; i++) {
        s->frees[s->nfrees++] = cluster + i;
    }
    if (s->nfrees > QCOW2_MAX_FREES && !s->commit.running) {
        qcow2_commit(s, NULL);
    } else {
        give_back_soon(s);
    }
}

void qcow2_free_entry(struct qcow2 *s, uint64_t entry)
{
    if (s->external) {
        return; /* nobody counts a data file's clusters */
    }
    if (entry & OFLAG_COMPRESSED) {
        uint64_t at;
        uint32_t len;

        qcow2_compressed_place(s, entry, &at, &len);
        if (entry == s->unpacked_entry) {
            s->unpacked_entry = 0;
        }
        qcow2_free(s, cluster_of(s, at), cluster_of(s, at + len - 1) - cluster_of(s, at) + 1);
    } else if (entry & OFFSET_MASK) {
        qcow2_free(s, cluster_of(s, entry & OFFSET_MASK), 1);
    }
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

enum { REAP_LOOK, REAP_LOWER };

/* How many of the list's first entries name the same cluster. */
static size_t same(const uint64_t *list, size_t n)
{
    size_t k = 1;

    while (k < n && list[k] == list[0]) {
        k++;
    }
    return k;
}

static bool covered(const struct qcow2 *s, uint64_t cluster)
{
    uint32_t i = rb_index(s, cluster);

    return i < s->reftable_len && s->reftable[i];
}

/* How many entries, from op->done on, name contiguous clusters of one block that fall free. */
static size_t falling_free(struct qop *op, struct table *t, uint64_t *clusters)
{
    struct qcow2 *s = op->s;
    size_t n = 0;
    uint64_t c = op->list[op->done];

    *clusters = 0;
    while (op->done + n < op->n && op->list[op->done + n] == c && rb_index(s, c) == t->index) {
        size_t k = same(op->list + op->done + n, op->n - op->done - n);
        if (rb_load(t, rb_slot(s, c)) != k) {
            break;
        }
        n += k;
        c++;
        ++*clusters;
    }
    return n;
}

static void reap_lower(struct qop *op, struct table *t, size_t n)
{
    struct qcow2 *s = op->s;

    for (size_t i = 0; i < n; i++) {
        uint64_t c = op->list[op->done + i], slot = rb_slot(s, c), now = rb_load(t, slot);

        if (now == 0) {
            log_msg(LOG_WARN, "qcow2", "image '%s': cluster %#llx was freed too often",
                    s->node.filename, (unsigned long long)c);
            continue;
        }
        rb_store(t, slot, now - 1);
        if (now == 1) {
            s->free_hint = min_u64(s->free_hint, c);
        }
        if (now == 1 && s->comp_end && c == cluster_of(s, s->comp_end - 1)) {
            s->comp_at = s->comp_end = 0; /* its room goes to whoever takes it */
        }
    }
    op->done += n;
}

static void reap_discarded(struct node_req *r, int ret)
{
    struct qop *op = r->opaque;

    (void)ret; /* advice */
    op->state = REAP_LOWER;
    op->step(op);
}

static void reap_discard(struct qop *op, uint64_t clusters)
{
    struct qcow2 *s = op->s;
    uint64_t end = min_u64((op->list[op->done] + clusters) << s->cluster_bits,
                           s->node.file->growable ? UINT64_MAX : s->node.file->len);

    op->io = (struct node_req){ .op = NODE_DISCARD,
                                .offset = op->list[op->done] << s->cluster_bits,
                                .done = reap_discarded,
                                .opaque = op };
    op->io.len = end > op->io.offset ? end - op->io.offset : 0;
    /* Nothing may be packed behind what goes away. */
    s->comp_at = s->comp_end = 0;
    node_submit(s->node.file, &op->io);
}

static void reap_step(struct qop *op)
{
    struct qcow2 *s = op->s;

    while (op->done < op->n) {
        uint64_t c = op->list[op->done], clusters;
        size_t free_now;
        int ret = -EINVAL;
        struct table *t = covered(s, c) ? rb_get(s, rb_index(s, c), op, &ret) : NULL;

        if (!t && ret == -EAGAIN) {
            return;
        }
        if (!t) { /* leaked: its count cannot be read */
            op->done++;
            continue;
        }
        free_now = falling_free(op, t, &clusters);
        if (free_now && s->pass_discard && op->state == REAP_LOOK) {
            t->pins++;
            op->pin = t;
            op->clusters = free_now;
            reap_discard(op, clusters);
            return;
        }
        if (op->state == REAP_LOWER) {
            free_now = op->clusters;
            op->pin->pins--;
            op->pin = NULL;
            op->state = REAP_LOOK;
        }
        reap_lower(op, t, free_now ? free_now : 1);
    }
    free(op->list);
    op->list = NULL;
    op->n = op->done = 0;
}

void qcow2_reap(struct qcow2 *s, uint64_t *clusters, size_t n)
{
    struct qop *op = s->reaper;
    uint64_t *list;

    if (!n) {
        free(clusters);
        return;
    }
    if (op->n) { /* it is at work: it finds these behind what it has */
        list = realloc(op->list, (op->n + n) * sizeof(*list));
        if (list) {
            memcpy(list + op->n, clusters, n * sizeof(*list));
            qsort(list + op->n, n, sizeof(*list), by_value);
            op->list = list;
            op->n += n;
        }
        free(clusters);
        return;
    }
    qsort(clusters, n, sizeof(*clusters), by_value);
    op->s = s;
    op->step = reap_step;
    op->state = REAP_LOOK;
    op->list = clusters;
    op->n = n;
    op->done = 0;
    reap_step(op);
}
