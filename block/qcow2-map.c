/* SPDX-License-Identifier: MIT */
/* block/qcow2-map.c - L2 entries: what is behind a range of the guest's bytes. */
#include "block/qcow2-op.h"

void qcow2_compressed_place(const struct qcow2 *s, uint64_t entry, uint64_t *at, uint32_t *len)
{
    unsigned shift = 62 - (s->cluster_bits - 8);
    uint64_t sectors = ((entry & ~(OFLAG_COPIED | OFLAG_COMPRESSED)) >> shift) + 1;

    *at = entry & ((1ull << shift) - 1);
    *len = (uint32_t)(sectors * 512 - (*at & 511));
}

/* Offset 0 is a place in a data file, and there OFLAG_COPIED is what says that it is one. */
bool qcow2_has_place(const struct qcow2 *s, struct l2_entry e)
{
    return (e.place & OFFSET_MASK) || (s->external && (e.place & OFLAG_COPIED));
}

static enum cluster_kind part_kind(struct l2_entry e, unsigned sub)
{
    if (e.map >> sub & 1) {
        return CLUSTER_NORMAL;
    }
    return e.map >> (32 + sub) & 1 ? CLUSTER_ZERO : CLUSTER_NONE;
}

enum cluster_kind qcow2_kind(const struct qcow2 *s, struct l2_entry e, unsigned sub)
{
    if (e.place & OFLAG_COMPRESSED) {
        return CLUSTER_COMPRESSED;
    }
    if (s->extended) {
        return part_kind(e, sub);
    }
    if ((e.place & OFLAG_ZERO) && s->h.version >= 3) {
        return CLUSTER_ZERO;
    }
    return qcow2_has_place(s, e) ? CLUSTER_NORMAL : CLUSTER_NONE;
}

bool qcow2_entry_good(const struct qcow2 *s, struct l2_entry e)
{
    uint64_t reserved = L2_RESERVED | (s->h.version < 3 || s->extended ? OFLAG_ZERO : 0);

    if (e.place & OFLAG_COMPRESSED) {
        return !e.map && !s->external;
    }
    return !(e.place & reserved) && (e.place & OFFSET_MASK) % s->cluster_size == 0 &&
           !(e.map & e.map >> 32 & MAP_ALLOCATED) &&
           (!(e.map & MAP_ALLOCATED) || qcow2_has_place(s, e));
}

static int check_entry(struct qcow2 *s, struct l2_entry e, uint64_t cluster)
{
    if (!qcow2_entry_good(s, e)) {
        return qcow2_corrupt(s, "L2 entry of guest cluster %#llx is %#llx %#llx",
                             (unsigned long long)cluster, (unsigned long long)e.place,
                             (unsigned long long)e.map);
    }
    if (s->external && qcow2_has_place(s, e) &&
        (e.place & OFFSET_MASK) != cluster << s->cluster_bits) {
        return qcow2_corrupt(s, "guest cluster %#llx is at %#llx of the data file",
                             (unsigned long long)cluster,
                             (unsigned long long)(e.place & OFFSET_MASK));
    }
    return 0;
}

/* How many parts from `sub` on are of one kind. */
static unsigned parts_alike(const struct qcow2 *s, struct l2_entry e, unsigned sub,
                            enum cluster_kind kind)
{
    uint32_t alike = kind == CLUSTER_NORMAL ? (uint32_t)e.map
                     : kind == CLUSTER_ZERO ? (uint32_t)(e.map >> 32)
                                            : ~(uint32_t)(e.map | e.map >> 32);
    uint32_t other = ~(alike >> sub);

    if (!s->extended || kind == CLUSTER_COMPRESSED) {
        return subs_per_cluster(s) - sub;
    }
    return other ? (unsigned)min_u64((unsigned)__builtin_ctz(other), 32 - sub) : 32;
}

/* Whether the cluster n behind the first goes on as that. */
static bool continues(const struct qcow2 *s, const struct mapping *m, struct l2_entry e, uint64_t n)
{
    if (m->kind == CLUSTER_COMPRESSED || qcow2_kind(s, e, 0) != m->kind ||
        !qcow2_entry_good(s, e)) {
        return false;
    }
    return m->placed ? e.place == m->entry.place + (n << s->cluster_bits) : !qcow2_has_place(s, e);
}

static uint64_t map_run(const struct qcow2 *s, const struct table *t, uint32_t i, uint64_t guest,
                        const struct mapping *m)
{
    unsigned sub = sub_of(s, guest), n = parts_alike(s, m->entry, sub, m->kind);
    bool whole = sub + n == subs_per_cluster(s);
    uint64_t len = ((uint64_t)n << s->sub_bits) - in_sub(s, guest);

    for (uint64_t k = 1; whole && len < m->len && continues(s, m, entry_at(t, i + k), k); k++) {
        n = parts_alike(s, entry_at(t, i + k), 0, m->kind);
        whole = n == subs_per_cluster(s);
        len += (uint64_t)n << s->sub_bits;
    }
    return min_u64(len, m->len);
}

/* Entry of the L2 table that is behind a byte, and how far it and its like go at most. */
static bool find_table(const struct qcow2 *s, uint64_t guest, uint64_t want, uint32_t *l1i,
                       struct mapping *m)
{
    uint64_t cluster = cluster_of(s, guest);

    *l1i = l1_index(s, cluster);
    uint64_t in_table = (((uint64_t)*l1i + 1) << (s->l2_bits + s->cluster_bits)) - guest;
    *m = (struct mapping){ .len = min_u64(want, in_table) };
    return *l1i < s->h.l1_size && (s->l1[*l1i] & OFFSET_MASK);
}

static int map_in_table(struct qcow2 *s, const struct table *t, uint64_t guest, struct mapping *m)
{
    uint64_t cluster = cluster_of(s, guest);
    uint32_t i = l2_index(s, cluster);

    m->entry = entry_at(t, i);
    int ret = check_entry(s, m->entry, cluster);
    if (ret < 0) {
        return ret;
    }
    m->kind = qcow2_kind(s, m->entry, sub_of(s, guest));
    m->placed = m->kind != CLUSTER_COMPRESSED && qcow2_has_place(s, m->entry);
    m->host = (m->entry.place & OFFSET_MASK) + in_cluster(s, guest);
    m->writable = m->kind == CLUSTER_NORMAL && keeps_place(s, m->entry);
    m->len = map_run(s, t, i, guest, m);
    return 0;
}

int map_range(struct qop *op, uint64_t guest, uint64_t want, struct mapping *m)
{
    uint32_t l1i;
    int ret;

    if (!find_table(op->s, guest, want, &l1i, m)) {
        return 0;
    }
    struct table *t = l2_get(op->s, l1i, op, &ret);
    return t ? map_in_table(op->s, t, guest, m) : ret;
}

bool map_at_hand(struct qcow2 *s, uint64_t guest, uint64_t want, struct mapping *m)
{
    uint32_t l1i;

    if (!find_table(s, guest, want, &l1i, m)) {
        return true;
    }
    struct table *t = l2_at_hand(s, l1i);
    return t && map_in_table(s, t, guest, m) == 0;
}
