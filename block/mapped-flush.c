/* SPDX-License-Identifier: MIT */
/* block/mapped-flush.c - how the tables of the formats in mapped.h reach the disk: between two flushes of
 * the file, as they were before the first. Whoever asks for a flush while one is under way waits for the
 * next, which covers what he had written.
 */
#include "block/mapped-int.h"

#include "dm/base/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct map_flush {
    struct node_req r;
    struct mapped *m;
    struct node_req *waiting; /* whom it is for */
    uint64_t *at;             /* places of the sectors */
    uint8_t *sectors;
    uint64_t *keys, n, done;
    struct iovec iov;
    unsigned file; /* the next one to flush */
    bool tables_out;
    int ret;
};

static void start_flush(struct mapped *m);

void mapped_dirty(struct mapped *m, uint64_t key)
{
    assert(key < m->keys);
    m->dirty[key / 64] |= 1ull << key % 64;
    m->any_dirty = true;
}

static uint64_t count_dirty(const struct mapped *m)
{
    uint64_t n = 0;

    for (uint64_t i = 0; m->any_dirty && i < (m->keys + 63) / 64; i++) {
        n += (uint64_t)__builtin_popcountll(m->dirty[i]);
    }
    return n;
}

/* Takes the changed sectors as they are now. */
static int take_dirty(struct map_flush *f)
{
    struct mapped *m = f->m;
    uint64_t n = count_dirty(m);

    if (!n) {
        return 0;
    }
    f->at = calloc(n, sizeof(*f->at));
    f->keys = calloc(n, sizeof(*f->keys));
    f->sectors = calloc(n, NODE_ALIGN);
    if (!f->at || !f->keys || !f->sectors) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < (m->keys + 63) / 64; i++) {
        while (m->dirty[i]) {
            uint64_t key = i * 64 + (uint64_t)__builtin_ctzll(m->dirty[i]);
            m->dirty[i] &= m->dirty[i] - 1;
            f->keys[f->n] = key;
            f->at[f->n] = m->ops->table(m, key, f->sectors + f->n * NODE_ALIGN);
            f->n++;
        }
    }
    m->any_dirty = false;
    return 0;
}

static void flush_end(struct map_flush *f)
{
    struct mapped *m = f->m;
    struct node_req *list = f->waiting, *next;
    int ret = f->ret;

    for (uint64_t i = 0; ret < 0 && i < f->n; i++) {
        mapped_dirty(m, f->keys[i]);
    }
    free(f->at);
    free(f->keys);
    free(f->sectors);
    free(f);
    m->flushing = NULL;
    for (struct node_req *r = list; r; r = next) {
        next = r->next;
        r->next = NULL;
        node_complete(r, ret);
    }
    if (m->flush_next) {
        start_flush(m);
    }
}

static void flush_step(struct node_req *r, int ret);

static void flush_submit(struct map_flush *f, struct node *n, enum node_op op, uint64_t at,
                         const struct iovec *iov)
{
    f->r = (struct node_req){ .op = op,
                              .offset = at,
                              .len = iov ? iov->iov_len : 0,
                              .iov = iov,
                              .iovcnt = iov != NULL,
                              .done = flush_step };
    node_submit(n, &f->r);
}

static void flush_next(struct map_flush *f)
{
    struct mapped *m = f->m;

    if (f->ret < 0) {
        flush_end(f);
    } else if (f->file <= m->nfiles) {
        struct node *n = f->file ? m->files[f->file - 1] : m->base.file;
        f->file++;
        flush_submit(f, n, NODE_FLUSH, 0, NULL);
    } else if (f->done < f->n) {
        uint64_t k = 1;
        while (f->done + k < f->n && f->at[f->done + k] == f->at[f->done] + k * NODE_ALIGN) {
            k++;
        }
        f->iov = (struct iovec){ f->sectors + f->done * NODE_ALIGN, k * NODE_ALIGN };
        f->tables_out = true;
        f->done += k;
        flush_submit(f, m->base.file, NODE_WRITE, f->at[f->done - k], &f->iov);
    } else if (f->tables_out) {
        f->tables_out = false;
        flush_submit(f, m->base.file, NODE_FLUSH, 0, NULL);
    } else {
        flush_end(f);
    }
}

static void flush_step(struct node_req *r, int ret)
{
    struct map_flush *f = container_of(r, struct map_flush, r);

    f->ret = ret < 0 ? ret : f->ret;
    flush_next(f);
}

static void start_flush(struct mapped *m)
{
    struct map_flush *f = calloc(1, sizeof(*f));
    struct node_req *list = m->flush_next;

    m->flush_next = NULL;
    m->flush_tail = &m->flush_next;
    if (!f) {
        for (struct node_req *r = list, *next; r; r = next) {
            next = r->next;
            node_complete(r, -ENOMEM);
        }
        return;
    }
    f->m = m;
    f->waiting = list;
    m->flushing = f;
    f->ret = m->base.read_only ? 0 : take_dirty(f);
    flush_next(f);
}

void mapped_flush(struct mapped *m, struct node_req *r)
{
    r->next = NULL;
    *m->flush_tail = r;
    m->flush_tail = &r->next;
    if (!m->flushing) {
        start_flush(m);
    }
}

int mapped_write_tables(struct mapped *m)
{
    uint8_t sector[NODE_ALIGN];
    int ret = m->any_dirty ? node_flush(m->base.file) : 0;

    for (uint64_t i = 0; m->any_dirty && ret == 0 && i < m->keys; i++) {
        if (m->dirty[i / 64] >> i % 64 & 1) {
            uint64_t at = m->ops->table(m, i, sector);
            ret = node_write(m->base.file, at, sector, sizeof(sector));
        }
    }
    return ret;
}
