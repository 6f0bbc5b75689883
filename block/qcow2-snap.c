/* SPDX-License-Identifier: MIT */
/* block/qcow2-snap.c - creating and resizing images, snapshots, amending: each one switch of the
 * metadata (qcow2-meta.c).
 */
#include "block/bitmap.h"
#include "block/qcow2-op.h"

#include "dm/base/err.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int check_l1_size(const struct qcow2 *s, uint64_t size, struct err *e)
{
    unsigned bits = l1_reach(&s->h);

    if (size && ((size - 1) >> bits) + 1 > QCOW2_MAX_L1_BYTES / 8) {
        return err_set(e, -EFBIG, "image '%s': %llu bytes are too many for clusters of %u bytes",
                       s->node.filename, (unsigned long long)size, s->cluster_size);
    }
    return 0;
}

int qcow2_state_start(struct qcow2 *s, struct new_state *st, uint32_t n, struct err *e)
{
    int ret = s->node.read_only ? -EROFS : qcow2_settle(s);

    *st = (struct new_state){ .snaps = s->snaps };
    if (ret < 0) {
        return err_set(e, ret, "image '%s': %s", s->node.filename, strerror(-ret));
    }
    qcow2_header_copy(&st->h, &s->h);
    st->h.l1_size = n;
    st->l1 = calloc(n + 1ull, sizeof(*st->l1));
    if (!st->l1) {
        qcow2_header_free(&st->h);
        return err_set(e, -ENOMEM, "image '%s': no memory", s->node.filename);
    }
    if (s->h.l1_size) {
        memcpy(st->l1, s->l1, min_u64(n, s->h.l1_size) * sizeof(*st->l1));
    }
    return 0;
}

void qcow2_state_drop(struct new_state *st)
{
    qcow2_header_free(&st->h);
    free(st->l1);
}

int qcow2_state_switch(struct qcow2 *s, struct new_state *st, struct err *e)
{
    int ret = qcow2_switch(s, st, e);

    qcow2_state_drop(st);
    if (ret < 0) {
        s->virgin = UINT64_MAX; /* what failed may have left something behind the end */
    }
    return ret;
}

/* ---- creating ---- */

/* A LUKS header in the clusters behind the image's; its metadata come behind that. */
static int put_luks(struct qcow2 *s, const struct qcow2_create *o, struct err *e)
{
    uint64_t len = o->luks_len;
    uint8_t *b = o->luks_header ? NULL : luks_create(o->luks, o->key, &len, e), *whole;
    int ret;

    if (!b && !o->luks_header) {
        return e->code;
    }
    s->h.crypt_offset = s->cluster_size;
    s->h.crypt_len = len;
    whole = xcalloc(1, round_up_cluster(s, len));
    memcpy(whole, b ? b : o->luks_header, len);
    ret = node_write(s->node.file, s->cluster_size, whole, round_up_cluster(s, len));
    free(whole);
    free(b);
    return ret < 0 ? err_set(e, ret, "its LUKS header cannot be written: %s", strerror(-ret)) : 0;
}

int qcow2_create(struct node *file, const struct qcow2_create *o, struct err *e)
{
    struct header h = {
        .version = o->version,
        .cluster_bits = o->cluster_bits,
        .size = (o->size + 511) & ~511ull,
        .refcount_order = (unsigned)__builtin_ctz(o->refcount_bits),
        .compatible = o->lazy_refcounts ? COMPAT_LAZY_REFCOUNTS : 0,
        .incompatible = (o->zstd ? INCOMPAT_COMPRESSION : 0) |
                        (o->extended_l2 ? INCOMPAT_EXTENDED_L2 : 0) |
                        (o->data_file ? INCOMPAT_DATA_FILE : 0),
        .autoclear = o->data_file && o->data_file_raw ? AUTOCLEAR_RAW_DATA : 0,
        .compression = o->zstd,
        .backing_file = (char *)o->backing_file,
        .backing_format = (char *)o->backing_format,
        .data_file = (char *)o->data_file,
    };
    struct qcow2 *s = (struct qcow2 *)qcow2_new(file, &h);
    struct new_state st = { .fresh = true };
    int ret = check_l1_size(s, h.size, e);

    ret = ret == 0 && (o->luks || o->luks_header) ? put_luks(s, o, e) : ret;
    h.crypt_offset = s->h.crypt_offset;
    h.crypt_len = s->h.crypt_len;
    if (ret == 0) {
        qcow2_header_copy(&st.h, &h);
        st.h.l1_size = l1_needed(&h, h.size);
        st.l1 = xcalloc(st.h.l1_size + 1ull, sizeof(*st.l1));
        ret = qcow2_state_switch(s, &st, e);
    }
    qcow2_discard_node(s);
    return ret;
}

/* ---- the size ---- */

static int set_size_in_header(struct qcow2 *s, uint64_t len, struct err *e)
{
    int ret;

    s->h.size = len;
    s->header_dirty = true;
    ret = qcow2_settle(s);
    return ret < 0 ? err_set(e, ret, "image '%s': %s", s->node.filename, strerror(-ret)) : 0;
}

/* What was past the end may not come into view: what a backing file has there, and what lies in
 * the last cluster behind the end. */
static int hide(struct qcow2 *s, uint64_t from, uint64_t to)
{
    uint64_t end = min_u64(to, round_up_cluster(s, from));

    if (s->node.backing && s->node.backing->len > from) {
        end = min_u64(to, max_u64(end, s->node.backing->len));
    }
    return end > from ? node_rw(&s->node, NODE_ZERO, from, NULL, end - from, 0) : 0;
}

static int grow(struct qcow2 *s, uint64_t len, struct err *e)
{
    uint32_t need = l1_needed(&s->h, len);
    uint64_t old = s->node.len;
    struct new_state st;
    int ret = check_l1_size(s, len, e);

    if (ret == 0 && need <= s->h.l1_size) {
        ret = set_size_in_header(s, len, e);
        s->node.len = len;
    } else if (ret == 0) {
        ret = qcow2_state_start(s, &st, need, e);
        if (ret == 0) {
            st.h.size = len;
            ret = qcow2_state_switch(s, &st, e);
        }
    }
    if (ret == 0) {
        ret = hide(s, old, len);
        ret = ret == 0 ? qcow2_settle(s) : ret;
        ret = ret < 0 ? err_set(e, ret, "image '%s': %s", s->node.filename, strerror(-ret)) : 0;
    }
    return ret;
}

static int shrink(struct qcow2 *s, uint64_t len, struct err *e)
{
    uint64_t from = min_u64(round_up_cluster(s, len), s->node.len);
    int ret = 0;

    if (from < s->node.len) {
        ret = node_rw(&s->node, NODE_DISCARD, from, NULL, s->node.len - from, 0);
    }
    if (ret < 0) {
        return err_set(e, ret, "image '%s': %s", s->node.filename, strerror(-ret));
    }
    ret = set_size_in_header(s, len, e);
    s->node.len = len;
    return ret;
}

int qcow2_set_size(struct qcow2 *s, uint64_t len, struct err *e)
{
    len = (len + 511) & ~511ull;
    if (s->h.nb_snapshots && s->h.version < 3) {
        return err_set(e, -ENOTSUP,
                       "image '%s': a version 2 image with snapshots cannot be resized",
                       s->node.filename);
    }
    if (len == s->node.len) {
        return 0;
    }
    return len > s->node.len ? grow(s, len, e) : shrink(s, len, e);
}

int qcow2_preallocate(struct node *n, uint64_t from, enum qcow2_prealloc how)
{
    static const unsigned flags[] = { 0, OP_PREALLOC_METADATA, OP_PREALLOC_FALLOC,
                                      OP_PREALLOC_FULL };
    int ret = 0;

    if (from < n->len && how != QCOW2_PREALLOC_OFF) {
        ret = node_rw(n, NODE_WRITE, from, NULL, n->len - from, flags[how]);
    }
    return ret < 0 ? ret : qcow2_settle((struct qcow2 *)n);
}

/* ---- snapshots ---- */

const struct qcow2_snapshot *qcow2_snapshot(const struct node *n, unsigned i)
{
    const struct qcow2 *s = (const struct qcow2 *)n;

    return i < s->h.nb_snapshots ? &s->snaps[i].pub : NULL;
}

int qcow2_find_snapshot(const struct qcow2 *s, const char *name, struct err *e)
{
    for (int by_name = 0; by_name < 2; by_name++) {
        for (uint32_t i = 0; i < s->h.nb_snapshots; i++) {
            if (strcmp(by_name ? s->snaps[i].pub.name : s->snaps[i].pub.id, name) == 0) {
                return (int)i;
            }
        }
    }
    return err_set(e, -ENOENT, "image '%s' has no snapshot '%.100s'", s->node.filename, name);
}

static unsigned next_id(const struct qcow2 *s)
{
    unsigned long id = 0;

    for (uint32_t i = 0; i < s->h.nb_snapshots; i++) {
        unsigned long v = strtoul(s->snaps[i].pub.id, NULL, 10);
        id = v > id && v < UINT32_MAX ? v : id;
    }
    return (unsigned)id + 1;
}

int qcow2_snapshot_create(struct node *n, const char *name, struct err *e)
{
    return qcow2_snapshot_create_vm(n, name, NULL, e);
}

/* Entries behind the disk's end are VM state that another program left: no part of the disk. */
static void drop_vm_state(const struct qcow2 *s, struct new_state *st)
{
    for (uint32_t i = l1_needed(&s->h, s->h.size); i < st->h.l1_size; i++) {
        st->l1[i] = 0;
    }
}

int qcow2_snapshot_create_vm(struct node *n, const char *name, const struct qcow2_vm *vm,
                             struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    struct new_state st;
    struct timespec now;
    uint32_t count = s->h.nb_snapshots;
    struct qcow2_snap *sn;
    int ret;

    if (s->external) {
        return err_set(e, -ENOTSUP,
                       "image '%s' keeps its data in another file: it has no snapshots",
                       n->filename);
    }
    if (count >= QCOW2_MAX_SNAPSHOTS) {
        return err_set(e, -EFBIG, "image '%s' has too many snapshots", n->filename);
    }
    node_drain(n);
    ret = qcow2_state_start(s, &st, s->h.l1_size, e);
    if (ret < 0) {
        return ret;
    }
    if (vm) {
        now = vm->date;
    } else {
        clock_gettime(CLOCK_REALTIME, &now);
    }
    sn = xcalloc(count + 1ull, sizeof(*sn));
    if (count) {
        memcpy(sn, s->snaps, count * sizeof(*sn));
    }
    /* The active table becomes the snapshot's as it is; the image goes on with copies. */
    sn[count] = (struct qcow2_snap){
        .pub = { .id = xasprintf("%u", next_id(s)),
                 .name = xstrdup(name),
                 .date_sec = (uint32_t)now.tv_sec,
                 .date_nsec = (uint32_t)now.tv_nsec,
                 .vm_clock_nsec = vm ? vm->clock_ns : 0,
                 .icount = vm ? vm->icount : UINT64_MAX,
                 .disk_size = s->h.size },
        .l1_offset = s->h.l1_offset,
        .l1_size = s->h.l1_size,
    };
    st.snaps = sn;
    st.h.nb_snapshots++;
    drop_vm_state(s, &st);
    if (vm && vm->len) {
        ret = qcow2_put_vm_state(s, &sn[count], vm, e);
    }
    if (ret < 0) {
        s->virgin = UINT64_MAX;
        qcow2_state_drop(&st);
    } else {
        ret = qcow2_state_switch(s, &st, e);
    }
    free(sn[count].pub.id);
    free(sn[count].pub.name);
    free(sn);
    return ret;
}

int qcow2_snapshot_delete(struct node *n, const char *name, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int at = qcow2_find_snapshot(s, name, e), ret;
    struct new_state st;
    struct qcow2_snap *sn;

    if (at < 0) {
        return at;
    }
    node_drain(n);
    ret = qcow2_state_start(s, &st, s->h.l1_size, e);
    if (ret < 0) {
        return ret;
    }
    sn = xcalloc(s->h.nb_snapshots, sizeof(*sn));
    for (uint32_t i = 0, k = 0; i < s->h.nb_snapshots; i++) {
        if (i != (uint32_t)at) {
            sn[k++] = s->snaps[i];
        }
    }
    st.snaps = sn;
    st.h.nb_snapshots--;
    ret = qcow2_state_switch(s, &st, e);
    free(sn);
    return ret;
}

int qcow2_snapshot_apply(struct node *n, const char *name, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int at = qcow2_find_snapshot(s, name, e), ret;
    struct new_state st;
    uint64_t *l1, size;

    if (at < 0) {
        return at;
    }
    node_drain(n);
    size = s->snaps[at].pub.disk_size ? s->snaps[at].pub.disk_size : s->h.size;
    ret = check_l1_size(s, size, e);
    ret = ret < 0 ? ret : qcow2_state_start(s, &st, l1_needed(&s->h, size), e);
    if (ret < 0) {
        return ret;
    }
    st.h.size = size;
    memset(st.l1, 0, st.h.l1_size * sizeof(*st.l1));
    ret = qcow2_read_table(s, s->snaps[at].l1_offset, s->snaps[at].l1_size, &l1);
    if (ret < 0) {
        qcow2_state_drop(&st);
        return err_set(e, ret, "image '%s': %s", n->filename, strerror(-ret));
    }
    /* What the table has behind that is VM state: the snapshot's alone. */
    memcpy(st.l1, l1, min_u64(st.h.l1_size, s->snaps[at].l1_size) * sizeof(*l1));
    free(l1);
    ret = qcow2_state_switch(s, &st, e);
    /* Nobody knows what of the disk is another now. */
    if (ret == 0 && bitmap_resize(n, n->len) < 0) {
        ret = err_set(e, -ENOMEM, "image '%s': no memory for its bitmaps", n->filename);
    }
    bitmap_mark(n, 0, n->len);
    return ret;
}

int qcow2_snapshot_view(struct node *n, const char *name, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int at = n->read_only ? qcow2_find_snapshot(s, name, e) : -EROFS, ret;
    uint64_t size, *l1;

    if (at < 0) {
        return at;
    }
    size = s->snaps[at].pub.disk_size ? s->snaps[at].pub.disk_size : s->h.size;
    if (l1_needed(&s->h, size) > s->snaps[at].l1_size) {
        return err_set(e, -EINVAL, "image '%s': the snapshot's L1 table is too small", n->filename);
    }
    ret = qcow2_read_table(s, s->snaps[at].l1_offset, s->snaps[at].l1_size, &l1);
    if (ret < 0) {
        return err_set(e, ret, "image '%s': %s", n->filename, strerror(-ret));
    }
    node_drain(n);
    cache_empty(&s->l2);
    free(s->l1);
    free(s->l2.at);
    s->l1 = l1;
    s->h.l1_size = s->snaps[at].l1_size;
    s->l2.at = xcalloc(s->h.l1_size + 1ull, sizeof(*s->l2.at));
    s->h.size = size;
    s->unpacked_entry = 0;
    qcow2_set_shape(s);
    return 0;
}

/* ---- changes to the whole ---- */

int qcow2_repair_refcounts(struct qcow2 *s, struct err *e)
{
    struct new_state st;
    bool was = s->node.read_only;
    int ret;

    ret = qcow2_state_start(s, &st, s->h.l1_size, e);
    if (ret == 0) {
        st.h.incompatible &= ~(uint64_t)INCOMPAT_DIRTY;
        ret = qcow2_state_switch(s, &st, e);
    }
    s->node.read_only = was;
    return ret;
}

int qcow2_set_backing(struct node *n, const char *file, const char *format, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    struct header h;
    int ret = qcow2_settle(s);

    qcow2_header_copy(&h, &s->h);
    free(h.backing_file);
    free(h.backing_format);
    h.backing_file = file ? xstrdup(file) : NULL;
    h.backing_format = file && format ? xstrdup(format) : NULL;
    if (ret == 0 && file && strlen(file) > 1023) {
        ret = -ENAMETOOLONG;
    }
    ret = ret < 0 ? ret : qcow2_put_header(s, &h);
    if (ret < 0) {
        qcow2_header_free(&h);
        return err_set(e, ret, "image '%s': its backing file cannot be changed: %s", n->filename,
                       strerror(-ret));
    }
    qcow2_header_free(&s->h);
    s->h = h;
    return 0;
}

static bool has_zero_clusters(struct qcow2 *s, int *ret)
{
    uint8_t *b = xcalloc(1, s->cluster_size);
    bool found = false;

    for (uint32_t i = 0; i < s->h.l1_size && !found && *ret == 0; i++) {
        if (s->l1[i] & OFFSET_MASK) {
            *ret = node_read(s->node.file, s->l1[i] & OFFSET_MASK, b, s->cluster_size);
            for (uint64_t k = 0; k < 1ull << s->l2_bits; k++) {
                found |= qcow2_kind(s, entry_load(s, b, k), 0) == CLUSTER_ZERO;
            }
        }
    }
    free(b);
    return found;
}

int qcow2_amend(struct node *n, unsigned version, unsigned refcount_bits, int lazy, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    struct new_state st;
    int ret;

    node_drain(n);
    ret = qcow2_state_start(s, &st, s->h.l1_size, e);
    if (ret < 0) {
        return ret;
    }
    st.h.version = version ? version : st.h.version;
    st.h.refcount_order =
        refcount_bits ? (unsigned)__builtin_ctz(refcount_bits) : st.h.refcount_order;
    if (lazy >= 0) {
        st.h.compatible = lazy ? st.h.compatible | COMPAT_LAZY_REFCOUNTS
                               : st.h.compatible & ~(uint64_t)COMPAT_LAZY_REFCOUNTS;
    }
    if (st.h.version < 3) {
        if (st.h.refcount_order != 4 || (st.h.compatible & COMPAT_LAZY_REFCOUNTS) ||
            st.h.incompatible || st.h.has_bitmaps || has_zero_clusters(s, &ret) || ret < 0 ||
            s->h.nb_snapshots) {
            qcow2_state_drop(&st);
            return err_set(e, ret < 0 ? ret : -ENOTSUP,
                           "image '%s' uses what compat=0.10 does not have", n->filename);
        }
        st.h.compatible = 0;
    }
    return qcow2_state_switch(s, &st, e);
}

int qcow2_make_empty(struct node *n, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    struct new_state st;
    int ret;

    node_drain(n);
    ret = qcow2_state_start(s, &st, s->h.l1_size, e);
    if (ret < 0) {
        return ret;
    }
    memset(st.l1, 0, st.h.l1_size * sizeof(*st.l1));
    return qcow2_state_switch(s, &st, e);
}

/* Whole tables: what a fully sequential writer ends up with. */
uint64_t qcow2_measure(const struct qcow2_create *o, uint64_t data_clusters)
{
    uint64_t cs = 1ull << o->cluster_bits;
    uint64_t reach = cs * (cs / (o->extended_l2 ? 16 : 8)), l2 = (o->size + reach - 1) / reach;
    uint64_t l1 = (l2 * 8 + cs - 1) / cs;
    uint64_t per_block = cs * 8 / o->refcount_bits, total, before = 0;
    /* L2 tables are counted for all of the disk, as the peer does. */
    uint64_t used = 1 + (l1 ? l1 : 0) + l2 + data_clusters;

    do {
        total = before;
        uint64_t blocks = (used + total + per_block - 1) / per_block;
        before = blocks + (blocks * 8 + cs - 1) / cs;
    } while (before != total);
    return (used + total) * cs;
}
