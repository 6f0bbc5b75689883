/* SPDX-License-Identifier: MIT */
/* block/qcow2-state.c - the state of a machine inside a snapshot.
 *
 *   a snapshot's L1 table   | the disk's entries ... | l1_needed(disk size): the VM state's ... |
 *
 * The state lies in clusters of its own, as if the disk went on behind its end. Only the snapshot's
 * table says so, never the active one: what is written here, behind the end of the file, becomes part of the
 * image with the header that makes the snapshot (qcow2-meta.c), and before that nothing refers to it.
 */
#include "block/qcow2-op.h"

#include "dm/base/err.h"

#include <string.h>

enum { PIECE = 8 << 20 }; /* bytes written at a time: whole clusters */

/* ---- writing ---- */

struct place {
    struct qcow2 *s;
    uint64_t data, tables, l1; /* bytes in the file */
    uint64_t clusters;         /* of data */
    uint32_t disk, state;      /* L1 entries */
};

static struct place lay_out(struct qcow2 *s, uint64_t len, int *ret)
{
    struct place p = { .s = s, .disk = l1_needed(&s->h, s->h.size) };
    uint64_t room;

    *ret = s->data ? qcow2_room_from(s, &room) : -ENOMEDIUM;
    if (*ret < 0) {
        return p;
    }
    p.clusters = round_up_cluster(s, len) >> s->cluster_bits;
    p.state = l1_needed(&s->h, len);
    p.data = room << s->cluster_bits;
    p.tables = p.data + (p.clusters << s->cluster_bits);
    p.l1 = p.tables + ((uint64_t)p.state << s->cluster_bits);
    return p;
}

/* The last cluster is filled up with zeros. */
static int put_data(const struct place *p, const uint8_t *state, uint64_t len)
{
    struct qcow2 *s = p->s;
    uint64_t whole = len & ~(uint64_t)(s->cluster_size - 1), at, n;
    int ret = 0;

    for (at = 0; at < whole && ret == 0; at += n) {
        n = min_u64(whole - at, PIECE);
        ret = node_write(s->data, p->data + at, state + at, n);
    }
    if (ret == 0 && whole < len) {
        uint8_t *last = xcalloc(1, s->cluster_size);
        memcpy(last, state + whole, len - whole);
        ret = node_write(s->data, p->data + whole, last, s->cluster_size);
        free(last);
    }
    return ret;
}

static int put_tables(const struct place *p)
{
    struct qcow2 *s = p->s;
    uint8_t *table = xcalloc(1, s->cluster_size);
    int ret = 0;

    for (uint64_t t = 0; t < p->state && ret == 0; t++) {
        uint64_t first = t << s->l2_bits, n = min_u64(1ull << s->l2_bits, p->clusters - first);
        memset(table, 0, s->cluster_size);
        for (uint64_t i = 0; i < n; i++) {
            struct l2_entry e = { p->data + ((first + i) << s->cluster_bits),
                                  s->extended ? MAP_ALLOCATED : 0 };
            entry_store(s, table, i, e);
        }
        ret = node_write(s->node.file, p->tables + (t << s->cluster_bits), table, s->cluster_size);
    }
    free(table);
    return ret;
}

static int put_l1(const struct place *p)
{
    struct qcow2 *s = p->s;
    uint64_t bytes = round_up_cluster(s, (p->disk + p->state) * 8ull);
    uint8_t *l1 = xcalloc(1, bytes);

    for (uint32_t i = 0; i < p->disk && i < s->h.l1_size; i++) {
        store_be64(l1 + i * 8ull, s->l1[i]);
    }
    for (uint64_t i = 0; i < p->state; i++) {
        store_be64(l1 + (p->disk + i) * 8, p->tables + (i << s->cluster_bits));
    }
    int ret = node_write(s->node.file, p->l1, l1, bytes);
    free(l1);
    return ret;
}

int qcow2_put_vm_state(struct qcow2 *s, struct qcow2_snap *sn, const struct qcow2_vm *vm,
                       struct err *e)
{
    int ret;
    struct place p = lay_out(s, vm->len, &ret);

    if (ret == 0 && (p.disk + (uint64_t)p.state) * 8 > QCOW2_MAX_L1_BYTES) {
        ret = -EFBIG;
    }
    ret = ret < 0 ? ret : put_data(&p, vm->state, vm->len);
    ret = ret < 0 ? ret : put_tables(&p);
    ret = ret < 0 ? ret : put_l1(&p);
    if (ret < 0) {
        return err_set(e, ret, "image '%s': the machine's state cannot be written: %s",
                       s->node.filename, strerror(-ret));
    }
    sn->l1_offset = p.l1;
    sn->l1_size = p.disk + p.state;
    sn->pub.vm_state_size = vm->len;
    return 0;
}

/* ---- reading ---- */

/* One part of a cluster, `len` bytes at most to `to`. */
static int get_part(struct qcow2 *s, struct l2_entry e, uint64_t at, uint8_t *to, uint64_t len)
{
    enum cluster_kind kind = qcow2_kind(s, e, sub_of(s, at));
    uint64_t whole = (len + NODE_ALIGN - 1) & ~(uint64_t)(NODE_ALIGN - 1);
    int ret = 0;

    if (!qcow2_entry_good(s, e) || kind == CLUSTER_COMPRESSED) {
        return -EINVAL;
    }
    if (kind == CLUSTER_NORMAL) {
        uint8_t *part = xcalloc(1, whole);
        ret = node_read(s->data, (e.place & OFFSET_MASK) + in_cluster(s, at), part, whole);
        memcpy(to, part, len);
        free(part);
    } else {
        memset(to, 0, len);
    }
    return ret;
}

static int get_table(struct qcow2 *s, uint64_t l1_entry, uint8_t *table)
{
    uint64_t at = l1_entry & OFFSET_MASK;

    memset(table, 0, s->cluster_size);
    if (!at) {
        return 0;
    }
    return (l1_entry & L1_RESERVED) || in_cluster(s, at)
               ? -EINVAL
               : node_read(s->node.file, at, table, s->cluster_size);
}

static int get_state(struct qcow2 *s, const uint64_t *l1, uint32_t n, uint8_t *out, uint64_t len)
{
    uint8_t *table = xcalloc(1, s->cluster_size);
    uint64_t part = 1ull << s->sub_bits;
    int ret = 0;

    for (uint64_t at = 0; at < len && ret == 0; at += part) {
        uint64_t cluster = cluster_of(s, at);
        if (l1_index(s, cluster) >= n) {
            ret = -EINVAL;
        } else if (at % (1ull << (s->cluster_bits + s->l2_bits)) == 0) {
            ret = get_table(s, l1[l1_index(s, cluster)], table);
        }
        if (ret == 0) {
            ret = get_part(s, entry_load(s, table, l2_index(s, cluster)), at, out + at,
                           min_u64(part, len - at));
        }
    }
    free(table);
    return ret;
}

int qcow2_snapshot_state(struct node *n, const char *name, uint64_t max, uint8_t **out,
                         struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int at = qcow2_find_snapshot(s, name, e), ret;
    uint64_t *l1 = NULL;

    *out = NULL;
    if (at < 0) {
        return at;
    }
    const struct qcow2_snap *sn = &s->snaps[at];
    uint32_t disk = l1_needed(&s->h, sn->pub.disk_size ? sn->pub.disk_size : s->h.size);
    uint64_t len = sn->pub.vm_state_size;
    ret = !s->data ? -ENOMEDIUM : len > max ? -EFBIG : disk > sn->l1_size ? -EINVAL : 0;
    ret = ret < 0 ? ret : qcow2_read_table(s, sn->l1_offset, sn->l1_size, &l1);
    if (ret == 0) {
        *out = malloc(len ? len : 1);
        ret = *out ? get_state(s, l1 + disk, sn->l1_size - disk, *out, len) : -ENOMEM;
    }
    free(l1);
    if (ret < 0) {
        free(*out);
        *out = NULL;
        return err_set(e, ret, "image '%s': the machine's state cannot be read: %s", n->filename,
                       strerror(-ret));
    }
    return 0;
}
