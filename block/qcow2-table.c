/* SPDX-License-Identifier: MIT */
/* block/qcow2-table.c - cached tables, and the commit that writes them in a safe order.
 *
 * Nothing but a commit writes metadata. It copies all that is dirty in one go, at one instant, and
 * then writes the copies:
 *
 *   dirty bit (lazy refcounts) | refcount blocks | refcount table | header | L2 tables | L1 table
 *
 * with a flush of the file wherever a bar stands and something was written before it. So on disk
 * every reference is to a cluster that is counted, and every pointer is to a table that is there.
 * The flush before the L2 tables also covers the guest's data they refer to: an L2 entry changes in
 * memory only after its data were written. References that a change gave up are taken from the
 * counts only after the commit that wrote the change (qcow2_reap), and only then can the clusters
 * be used again. Whatever subset of un-flushed writes a crash keeps, the worst is a leaked cluster.
 *
 * A commit that fails leaves everything dirty, to be written by the next.
 */
#include "block/qcow2-int.h"

#include <assert.h>
#include <string.h>

/* ---- waiting ---- */

void op_list_add(struct op_list *l, struct qop *op)
{
    op->next_waiting = NULL;
    if (!l->first) {
        l->tail = &l->first;
    }
    *l->tail = op;
    l->tail = &op->next_waiting;
}

void op_list_run(struct op_list *l)
{
    struct qop *op = l->first, *next;

    l->first = NULL;
    for (; op; op = next) {
        next = op->next_waiting;
        op->next_waiting = NULL;
        op->step(op);
    }
}

/* ---- the caches ---- */

static struct cache *cache_of(struct table *t)
{
    return t->is_l2 ? &t->s->l2 : &t->s->rb;
}

static void lru_del(struct cache *c, struct table *t)
{
    *(t->newer ? &t->newer->older : &c->newest) = t->older;
    *(t->older ? &t->older->newer : &c->oldest) = t->newer;
    t->newer = t->older = NULL;
}

static void lru_add(struct cache *c, struct table *t)
{
    t->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = t;
    c->newest = t;
}

void table_free(struct table *t)
{
    struct cache *c = cache_of(t);

    lru_del(c, t);
    c->at[t->index] = NULL;
    c->count--;
    free(t->bytes);
    free(t);
}

void cache_empty(struct cache *c)
{
    while (c->oldest) {
        assert(!c->oldest->loading && !c->oldest->writing);
        table_free(c->oldest);
    }
}

/* Makes room if it can be had. A cache full of what cannot leave grows for a while. */
static void cache_shrink(struct qcow2 *s, struct cache *c)
{
    struct table *t = c->oldest, *newer;

    for (; t && c->count >= c->max; t = newer) {
        newer = t->newer;
        if (!t->pins && !t->loading && !t->writing && t->dirty_from == t->dirty_to) {
            table_free(t);
        }
    }
    if (c->count >= c->max && !s->commit.running) {
        qcow2_commit(s, NULL);
    }
}

static struct table *table_make(struct qcow2 *s, bool is_l2, uint32_t index, uint64_t offset)
{
    struct cache *c = is_l2 ? &s->l2 : &s->rb;
    struct table *t;

    cache_shrink(s, c);
    t = calloc(1, sizeof(*t));
    if (t) {
        t->bytes = calloc(1, s->cluster_size);
    }
    if (!t || !t->bytes) {
        free(t);
        return NULL;
    }
    t->s = s;
    t->is_l2 = is_l2;
    t->index = index;
    t->offset = offset;
    lru_add(c, t);
    c->at[index] = t;
    c->count++;
    return t;
}

struct table *table_new(struct qcow2 *s, bool is_l2, uint32_t index, uint64_t offset)
{
    struct table *t = table_make(s, is_l2, index, offset);

    if (t) {
        table_dirty(t, 0, s->cluster_size);
    }
    return t;
}

void table_dirty(struct table *t, uint32_t from, uint32_t to)
{
    if (t->dirty_from == t->dirty_to) {
        t->dirty_from = from;
        t->dirty_to = to;
    } else {
        t->dirty_from = from < t->dirty_from ? from : t->dirty_from;
        t->dirty_to = to > t->dirty_to ? to : t->dirty_to;
    }
}

static void table_loaded(struct node_req *r, int ret)
{
    struct table *t = r->opaque;
    struct op_list waiting = t->waiting;
    struct cache *c = cache_of(t);

    t->loading = false;
    t->waiting.first = NULL;
    if (ret < 0) {
        lru_del(c, t);
        c->at[t->index] = NULL;
        c->count--;
        for (struct qop *op = waiting.first; op; op = op->next_waiting) {
            op->ret = ret;
        }
    }
    t->pins++; /* it stays until all who waited have seen it */
    op_list_run(&waiting);
    t->pins--;
    if (ret < 0) {
        free(t->bytes);
        free(t);
    }
}

static struct table *at_hand(struct cache *c, uint32_t index)
{
    struct table *t = c->at[index];

    if (!t || t->loading) {
        return NULL;
    }
    lru_del(c, t);
    lru_add(c, t);
    return t;
}

static struct table *table_get(struct qcow2 *s, bool is_l2, uint32_t index, uint64_t offset,
                               struct qop *op, int *ret)
{
    struct cache *c = is_l2 ? &s->l2 : &s->rb;
    struct table *t = at_hand(c, index);

    *ret = -EAGAIN;
    if (t) {
        return t;
    }
    t = c->at[index];
    if (!t) {
        t = table_make(s, is_l2, index, offset);
        if (!t) {
            *ret = -ENOMEM;
            return NULL;
        }
        t->loading = true;
        t->iov = (struct iovec){ t->bytes, s->cluster_size };
        t->load = (struct node_req){ .op = NODE_READ,
                                     .offset = offset,
                                     .len = s->cluster_size,
                                     .iov = &t->iov,
                                     .iovcnt = 1,
                                     .done = table_loaded,
                                     .opaque = t };
        node_submit(s->node.file, &t->load);
    }
    op_list_add(&t->waiting, op);
    return NULL;
}

/* A load that failed left its -errno with the op: it is taken once. */
static bool load_failed(struct qop *op, int *ret)
{
    if (op->ret >= 0) {
        return false;
    }
    *ret = op->ret;
    op->ret = 0;
    return true;
}

struct table *l2_at_hand(struct qcow2 *s, uint32_t index)
{
    return at_hand(&s->l2, index);
}

struct table *l2_get(struct qcow2 *s, uint32_t index, struct qop *op, int *ret)
{
    uint64_t offset = s->l1[index] & OFFSET_MASK;

    if (load_failed(op, ret)) {
        return NULL;
    }
    if ((s->l1[index] & L1_RESERVED) || offset % s->cluster_size) {
        *ret = qcow2_corrupt(s, "L1 entry %u is %#llx", index, (unsigned long long)s->l1[index]);
        return NULL;
    }
    return table_get(s, true, index, offset, op, ret);
}

struct table *rb_get(struct qcow2 *s, uint32_t index, struct qop *op, int *ret)
{
    uint64_t offset = s->reftable[index];

    if (load_failed(op, ret)) {
        return NULL;
    }
    if ((offset & 511) || offset % s->cluster_size) {
        *ret =
            qcow2_corrupt(s, "refcount table entry %u is %#llx", index, (unsigned long long)offset);
        return NULL;
    }
    return table_get(s, false, index, offset, op, ret);
}

static void widen(uint32_t *from, uint32_t *to, uint32_t index)
{
    if (*from == *to) {
        *from = index;
        *to = index + 1;
    } else {
        *from = index < *from ? index : *from;
        *to = index + 1 > *to ? index + 1 : *to;
    }
}

void l1_set(struct qcow2 *s, uint32_t index, uint64_t entry)
{
    s->l1[index] = entry;
    widen(&s->l1_dirty_from, &s->l1_dirty_to, index);
}

void reftable_set(struct qcow2 *s, uint32_t index, uint64_t entry)
{
    s->reftable[index] = entry;
    widen(&s->reftable_dirty_from, &s->reftable_dirty_to, index);
}

/* ---- the commit ---- */

static bool lazy(const struct qcow2 *s)
{
    return (s->h.compatible & COMPAT_LAZY_REFCOUNTS) && s->h.version >= 3;
}

static bool cache_dirty(const struct cache *c)
{
    for (const struct table *t = c->newest; t; t = t->older) {
        if (t->dirty_from != t->dirty_to) {
            return true;
        }
    }
    return false;
}

bool qcow2_is_dirty(const struct qcow2 *s)
{
    return cache_dirty(&s->l2) || cache_dirty(&s->rb) || s->header_dirty || s->nfrees ||
           s->l1_dirty_from != s->l1_dirty_to || s->reftable_dirty_from != s->reftable_dirty_to;
}

static void commit_next(struct qcow2 *s);

static void commit_add(struct qcow2 *s, enum commit_phase phase, struct table *t, uint64_t offset,
                       void *bytes, uint64_t len)
{
    struct commit_write *w = calloc(1, sizeof(*w));

    if (!w || !bytes) {
        free(w);
        free(bytes);
        s->commit.ret = -ENOMEM;
        return;
    }
    w->s = s;
    w->t = t;
    w->iov = (struct iovec){ bytes, len };
    w->r = (struct node_req){
        .op = NODE_WRITE, .offset = offset, .len = len, .iov = &w->iov, .iovcnt = 1
    };
    w->next = s->commit.writes[phase];
    s->commit.writes[phase] = w;
}

static void commit_table(struct qcow2 *s, enum commit_phase phase, struct table *t)
{
    uint32_t from = t->dirty_from & ~511u, to = (t->dirty_to + 511) & ~511u;
    void *copy = malloc(to - from);

    if (copy) {
        memcpy(copy, t->bytes + from, to - from);
    }
    commit_add(s, phase, t, t->offset + from, copy, to - from);
    if (copy && s->commit.writes[phase]) {
        s->commit.writes[phase]->from = t->dirty_from;
        s->commit.writes[phase]->to = t->dirty_to;
        t->writing = true;
        t->dirty_from = t->dirty_to = 0;
    }
}

/* Whole sectors of a table of 64-bit entries. */
static void commit_entries(struct qcow2 *s, enum commit_phase phase, uint64_t offset,
                           const uint64_t *entry, uint32_t n, uint32_t from, uint32_t to)
{
    uint32_t first = from & ~63u, last = (to + 63) & ~63u;
    uint8_t *copy = calloc(1, (last - first) * 8ull);

    for (uint32_t i = first; copy && i < last && i < n; i++) {
        store_be64(copy + (i - first) * 8ull, entry[i]);
    }
    commit_add(s, phase, NULL, offset + first * 8ull, copy, (last - first) * 8ull);
}

static void commit_header(struct qcow2 *s, enum commit_phase phase)
{
    uint8_t *b = calloc(1, s->cluster_size);
    int ret = b ? qcow2_build_header(s, &s->h, b) : -ENOMEM;

    if (ret < 0) {
        free(b);
        s->commit.ret = ret;
        return;
    }
    /* All that ever changes is in the first sector, so that the write is atomic. */
    commit_add(s, phase, NULL, 0, b, (uint64_t)ret);
}

static void commit_snapshot(struct qcow2 *s)
{
    struct commit *c = &s->commit;
    bool refs = !lazy(s) || !s->dirty_on_disk || s->closing;

    c->dirty_bit = false;
    if (lazy(s) && !s->dirty_on_disk && !s->closing &&
        (cache_dirty(&s->l2) || cache_dirty(&s->rb))) {
        s->h.incompatible |= INCOMPAT_DIRTY;
        commit_header(s, PHASE_DIRTY_BIT);
        c->dirty_bit = true;
        refs = false;
    }
    for (struct table *t = s->rb.newest; t && refs; t = t->older) {
        if (t->dirty_from != t->dirty_to) {
            commit_table(s, PHASE_REFBLOCKS, t);
        }
    }
    if (refs && s->reftable_dirty_from != s->reftable_dirty_to) {
        c->reftable_from = s->reftable_dirty_from;
        c->reftable_to = s->reftable_dirty_to;
        commit_entries(s, PHASE_REFTABLE, s->h.reftable_offset, s->reftable, s->reftable_len,
                       c->reftable_from, c->reftable_to);
        s->reftable_dirty_from = s->reftable_dirty_to = 0;
    }
    c->header = s->header_dirty;
    if (c->header) {
        commit_header(s, PHASE_HEADER);
        s->header_dirty = false;
    }
    for (struct table *t = s->l2.newest; t; t = t->older) {
        if (t->dirty_from != t->dirty_to) {
            commit_table(s, PHASE_L2, t);
        }
    }
    if (s->l1_dirty_from != s->l1_dirty_to) {
        c->l1_from = s->l1_dirty_from;
        c->l1_to = s->l1_dirty_to;
        commit_entries(s, PHASE_L1, s->h.l1_offset, s->l1, s->h.l1_size, c->l1_from, c->l1_to);
        s->l1_dirty_from = s->l1_dirty_to = 0;
    }
    c->frees = s->frees;
    c->nfrees = s->nfrees;
    s->frees = NULL;
    s->nfrees = s->frees_room = 0;
}

static void redirty(uint32_t *from, uint32_t *to, uint32_t was_from, uint32_t was_to)
{
    if (was_from != was_to) {
        widen(from, to, was_from);
        widen(from, to, was_to - 1);
    }
}

/* After a failure everything is dirty again, also what was written: a failed flush says nothing
 * of which writes survived. */
static void commit_undo(struct qcow2 *s)
{
    struct commit *c = &s->commit;

    redirty(&s->reftable_dirty_from, &s->reftable_dirty_to, c->reftable_from, c->reftable_to);
    redirty(&s->l1_dirty_from, &s->l1_dirty_to, c->l1_from, c->l1_to);
    s->header_dirty |= c->header;
    for (size_t i = 0; i < c->nfrees; i++) {
        qcow2_free(s, c->frees[i], 1);
    }
    free(c->frees);
}

static void commit_drop_writes(struct qcow2 *s, bool failed)
{
    for (int p = 0; p < PHASES; p++) {
        struct commit_write *w;

        while ((w = s->commit.writes[p])) {
            s->commit.writes[p] = w->next;
            if (w->t) {
                w->t->writing = false;
                if (failed) {
                    table_dirty(w->t, w->from, w->to);
                }
            }
            free(w->iov.iov_base);
            free(w);
        }
    }
}

static void commit_end(struct qcow2 *s)
{
    struct commit *c = &s->commit;
    struct op_list waiting = c->waiting;
    int ret = c->ret;
    uint64_t *frees = NULL;
    size_t nfrees = 0;

    commit_drop_writes(s, ret < 0);
    if (ret < 0) {
        commit_undo(s);
    } else {
        s->dirty_on_disk |= c->dirty_bit;
        frees = c->frees;
        nfrees = c->nfrees;
    }
    c->frees = NULL;
    c->nfrees = 0;
    c->reftable_from = c->reftable_to = c->l1_from = c->l1_to = 0;
    c->waiting.first = NULL;
    c->running = false;
    for (struct qop *op = waiting.first; op; op = op->next_waiting) {
        op->ret = ret;
    }
    qcow2_reap(s, frees, nfrees);
    op_list_run(&waiting);
    if (!c->running && c->next.first) {
        qcow2_commit(s, NULL);
    }
}

static void commit_flush(struct qcow2 *s);

static void commit_flushed(struct node_req *r, int ret)
{
    struct qcow2 *s = r->opaque;

    s->commit.flushing = false;
    s->commit.unflushed = false;
    if (ret < 0) {
        s->commit.ret = ret;
        s->commit.phase = PHASES;
    }
    commit_next(s);
}

static void commit_wrote(struct node_req *r, int ret)
{
    struct qcow2 *s = r->opaque;

    if (ret < 0 && s->commit.ret == 0) {
        s->commit.ret = ret;
    }
    if (--s->commit.in_flight == 0) {
        s->commit.phase = s->commit.ret < 0 ? PHASES : s->commit.phase + 1;
        commit_next(s);
    }
}

/* The guest's data in a file of their own come first; then the image. */
static void commit_data_flushed(struct node_req *r, int ret)
{
    struct qcow2 *s = r->opaque;

    s->commit.data_flushed = true;
    if (ret < 0) {
        commit_flushed(r, ret);
    } else {
        commit_flush(s);
    }
}

static void commit_flush(struct qcow2 *s)
{
    s->commit.flushing = true;
    if (s->external && s->data && !s->commit.data_flushed) {
        s->commit.flush =
            (struct node_req){ .op = NODE_FLUSH, .done = commit_data_flushed, .opaque = s };
        node_submit(s->data, &s->commit.flush);
        return;
    }
    s->commit.flush = (struct node_req){ .op = NODE_FLUSH, .done = commit_flushed, .opaque = s };
    node_submit(s->node.file, &s->commit.flush);
}

static void commit_submit_phase(struct qcow2 *s)
{
    struct commit *c = &s->commit;
    struct commit_write *w = c->writes[c->phase], *next;

    for (struct commit_write *i = w; i; i = i->next) {
        c->in_flight++;
    }
    c->unflushed = true;
    for (; w; w = next) {
        next = w->next;
        w->r.done = commit_wrote;
        w->r.opaque = s;
        node_submit(s->node.file, &w->r);
    }
}

/* Goes on to the next phase that has something to write; ends with a flush. */
static void commit_next(struct qcow2 *s)
{
    struct commit *c = &s->commit;

    while (c->phase < PHASES && !c->writes[c->phase]) {
        c->phase++;
    }
    if (c->phase == PHASES) {
        if (c->unflushed && c->ret == 0) {
            commit_flush(s);
        } else {
            commit_end(s);
        }
    } else if (c->unflushed && c->phase > PHASE_REFBLOCKS) {
        commit_flush(s);
    } else {
        commit_submit_phase(s);
    }
}

void qcow2_commit(struct qcow2 *s, struct qop *op)
{
    struct commit *c = &s->commit;

    if (c->running) {
        if (op) {
            op_list_add(&c->next, op);
        }
        return;
    }
    c->waiting = c->next;
    if (!c->waiting.first) {
        c->waiting.tail = &c->waiting.first;
    }
    c->next.first = NULL;
    if (op) {
        op_list_add(&c->waiting, op);
    }
    c->running = true;
    c->data_flushed = false;
    c->ret = 0;
    c->phase = 0;
    commit_snapshot(s);
    /* The guest's data of before count as written and not flushed. */
    c->unflushed = true;
    if (c->ret < 0) {
        c->phase = PHASES;
    }
    commit_next(s);
}

struct settle {
    struct qop op; /* first */
    bool ended;
};

static void settled(struct qop *op)
{
    ((struct settle *)op)->ended = true;
}

int qcow2_settle(struct qcow2 *s)
{
    int ret = 0;

    s->closing = true; /* lazy refcounts are written now */
    do {
        struct settle w = { .op = { .s = s, .step = settled } };

        qcow2_commit(s, &w.op);
        while (!w.ended || s->commit.running || s->reaper->n) {
            node_ctx_poll(s->node.ctx, true);
        }
        ret = w.op.ret;
    } while (ret == 0 && qcow2_is_dirty(s));
    if (ret == 0 && s->dirty_on_disk) {
        s->dirty_on_disk = false;
        s->h.incompatible &= ~(uint64_t)INCOMPAT_DIRTY;
        s->header_dirty = true;
        ret = qcow2_settle(s);
    }
    s->closing = false;
    return ret;
}
