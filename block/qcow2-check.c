/* SPDX-License-Identifier: MIT */
/* block/qcow2-check.c - checking an image, and repairing it by one switch of the metadata. */
#include "block/qcow2-int.h"

#include "dm/base/err.h"

#include <string.h>

struct compare {
    struct walk *w;
    struct qcow2_check *out;
    uint64_t next; /* where a contiguous image would go on */
};

static void compare_cluster(struct compare *c, uint64_t cluster, uint64_t have)
{
    uint64_t want = cluster < c->w->n ? c->w->count[cluster] : 0;

    if (have == want) {
        return;
    }
    if (have < want) {
        walk_say(c->w, "ERROR cluster %llu refcount=%llu reference=%llu",
                 (unsigned long long)cluster, (unsigned long long)have, (unsigned long long)want);
        c->out->corruptions++;
    } else {
        walk_say(c->w, "Leaked cluster %llu refcount=%llu reference=%llu",
                 (unsigned long long)cluster, (unsigned long long)have, (unsigned long long)want);
        c->out->leaks++;
    }
}

/* How many of a block's counts have to be looked at: behind the end of the file they are zeros. */
static uint64_t counts_in_block(const struct compare *c, const uint8_t *b, uint64_t first)
{
    const struct qcow2 *s = c->w->s;
    uint64_t per = 1ull << s->rb_bits, n = c->w->n > first ? c->w->n - first : 0;
    uint64_t at = ((n << s->h.refcount_order) + 7) / 8;

    return n < per && node_is_zero(b + at, s->cluster_size - at) ? n : per;
}

static void compare_blocks(struct compare *c)
{
    struct qcow2 *s = c->w->s;
    uint8_t *b = xcalloc(1, s->cluster_size);

    for (uint32_t i = 0; i < s->reftable_len && c->w->ret == 0; i++) {
        uint64_t first = (uint64_t)i << s->rb_bits, at = s->reftable[i];
        bool good = at && !(at & (s->cluster_size - 1ull)) && cluster_of(s, at) < c->w->n;

        if (!good && first >= c->w->n) {
            continue;
        }
        memset(b, 0, s->cluster_size);
        if (good) {
            c->w->ret = node_read(s->node.file, at, b, s->cluster_size);
        }
        uint64_t per = c->w->ret == 0 ? counts_in_block(c, b, first) : 0;
        for (uint64_t k = 0; k < per; k++) {
            compare_cluster(c, first + k, refcount_load(b, s->h.refcount_order, k));
        }
    }
    for (uint64_t k = (uint64_t)s->reftable_len << s->rb_bits; k < c->w->n; k++) {
        compare_cluster(c, k, 0);
    }
    free(b);
}

static void check_flags_entry(struct compare *c, struct l2_entry e, uint32_t l1i, uint64_t i)
{
    struct qcow2 *s = c->w->s;
    uint64_t at = e.place & OFFSET_MASK, entry = e.place;

    if (entry & OFLAG_COMPRESSED) {
        c->out->allocated++;
        c->out->compressed++;
        c->out->fragmented++;
        return;
    }
    if (!qcow2_has_place(s, e) || (!s->external && cluster_of(s, at) >= c->w->n)) {
        return;
    }
    if (s->extended || qcow2_kind(s, e, 0) == CLUSTER_NORMAL) {
        c->out->allocated++;
        c->out->fragmented += c->next && at != c->next;
        c->next = at + s->cluster_size;
    }
    if (s->external) {
        return;
    }
    if ((c->w->count[cluster_of(s, at)] == 1) != !!(entry & OFLAG_COPIED)) {
        walk_say(c->w, "ERROR OFLAG_COPIED data cluster: l2_entry=%llx refcount=%u (%u, %llu)",
                 (unsigned long long)entry, c->w->count[cluster_of(s, at)], l1i,
                 (unsigned long long)i);
        c->out->corruptions++;
    }
}

static void check_flags(struct compare *c)
{
    struct qcow2 *s = c->w->s;
    uint8_t *b = xcalloc(1, s->cluster_size);

    for (uint32_t i = 0; i < s->h.l1_size && c->w->ret == 0; i++) {
        uint64_t at = s->l1[i] & OFFSET_MASK;

        if (!at || at % s->cluster_size || cluster_of(s, at) >= c->w->n) {
            continue;
        }
        if ((c->w->count[cluster_of(s, at)] == 1) != !!(s->l1[i] & OFLAG_COPIED)) {
            walk_say(c->w, "ERROR OFLAG_COPIED L2 cluster: l1_index=%u l1_entry=%llx refcount=%u",
                     i, (unsigned long long)s->l1[i], c->w->count[cluster_of(s, at)]);
            c->out->corruptions++;
        }
        c->w->ret = node_read(s->node.file, at, b, s->cluster_size);
        for (uint64_t k = 0; k < 1ull << s->l2_bits && c->w->ret == 0; k++) {
            check_flags_entry(c, entry_load(s, b, k), i, k);
        }
    }
    free(b);
}

static void count_all(struct walk *w)
{
    struct qcow2 *s = w->s;

    walk_rest(w, &s->h, s->snaps);
    walk_range(w, s->h.l1_offset, s->h.l1_size * 8ull, "the L1 table");
    walk_range(w, s->h.reftable_offset, (uint64_t)s->h.reftable_clusters << s->cluster_bits,
               "the refcount table");
    if (s->h.nb_snapshots) {
        uint64_t len;
        free(qcow2_build_snapshots(s->snaps, s->h.nb_snapshots, &len));
        walk_range(w, s->h.snapshots_offset, len, "the snapshot table");
    }
    for (uint32_t i = 0; i < s->reftable_len; i++) {
        if (s->reftable[i] & (s->cluster_size - 1ull)) {
            walk_say(w, "ERROR refcount table entry %u is %#llx", i,
                     (unsigned long long)s->reftable[i]);
            w->bad++;
        } else if (s->reftable[i]) {
            walk_range(w, s->reftable[i], s->cluster_size, "a refcount block");
        }
    }
    walk_l1(w, s->l1, s->h.l1_size, true, "active");
    walk_l2s(w);
}

static int check_once(struct qcow2 *s, struct qcow2_check *out)
{
    struct walk w;
    struct compare c = { .w = &w, .out = out };
    int ret = walk_init(&w, s, out);

    if (ret < 0) {
        return ret;
    }
    count_all(&w);
    out->corruptions += w.bad;
    if (w.ret == 0) {
        compare_blocks(&c);
    }
    if (w.ret == 0) {
        check_flags(&c);
    }
    out->total_clusters = (s->h.size + s->cluster_size - 1) >> s->cluster_bits;
    for (uint64_t i = w.n; i > 0 && !out->image_end; i--) {
        out->image_end = w.count[i - 1] ? i << s->cluster_bits : 0;
    }
    ret = w.ret;
    walk_fini(&w);
    return ret;
}

static int repair(struct qcow2 *s)
{
    struct new_state st;
    struct err e = { 0 };
    int ret = qcow2_state_start(s, &st, s->h.l1_size, &e);

    if (ret < 0) {
        return ret;
    }
    st.drop_bad = true;
    st.h.incompatible &= ~(uint64_t)(INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
    return qcow2_state_switch(s, &st, &e);
}

int qcow2_check(struct node *n, enum qcow2_repair mode, struct qcow2_check *out)
{
    struct qcow2 *s = (struct qcow2 *)n;
    struct qcow2_check after = { 0 };
    int ret = 0;

    node_drain(n);
    if (!n->read_only && !s->check_mode) {
        ret = qcow2_settle(s);
    }
    ret = ret < 0 ? ret : check_once(s, out);
    bool marked = s->h.incompatible & (INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
    bool wanted = mode == QCOW2_REPAIR_ALL
                      ? out->corruptions || out->leaks || marked
                      : mode == QCOW2_REPAIR_LEAKS && out->leaks && !out->corruptions;
    if (ret < 0 || !wanted) {
        return ret;
    }
    ret = repair(s);
    if (ret == 0) {
        ret = check_once(s, &after);
    }
    if (ret == 0) {
        out->corruptions_fixed = out->corruptions - min_u64(out->corruptions, after.corruptions);
        out->leaks_fixed = out->leaks - min_u64(out->leaks, after.leaks);
        out->corruptions = after.corruptions;
        out->leaks = after.leaks;
        out->image_end = after.image_end;
    }
    return ret;
}
