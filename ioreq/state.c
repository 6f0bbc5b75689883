/* SPDX-License-Identifier: MIT */
/* ioreq/state.c - declared state on its way out: streams, the hash, lists for people.
 *
 * The stream, all numbers little-endian, a name being a length byte and that many characters:
 *
 *   header   "KEELSTA1", u16 format (1), name of the machine type, i64 virtual time, u32 CRC
 *   record   u8 1, u32 bytes in the body, body, u32 CRC of the body         one a device
 *   end      u8 2, u32 number of devices, u32 CRC of that number
 *
 *   body     name of the instance, name of the class, u16 state version, fields
 *   fields   u16 how many, then each: its name, u8 kind, u32 elements, the elements
 *   elements scalars as they are; timers as i64; a sub-table's as fields each;
 *            pages as u64 bytes, then contents as those of a block;
 *            a block as u64 gpa, u64 bytes, u8 whether contents follow: u32 how many pages are not
 *            zero, then each as u32 page number and its 4096 bytes
 *
 * state-load.c reads it back.
 */
#include "dm/base/bytes.h"
#include "ioreq/machine-int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

void state_put(struct state_buf *b, const void *p, size_t len)
{
    if (len > b->cap - b->len) {
        b->cap = (size_t)max_u64(2 * b->cap, b->len + len + 256);
        b->p = xrealloc(b->p, b->cap);
    }
    if (len) {
        memcpy(b->p + b->len, p, len);
    }
    b->len += len;
}

static void put_le(struct state_buf *b, unsigned size, uint64_t v)
{
    state_put(b, &v, size);
}

static void put_name(struct state_buf *b, const char *name)
{
    size_t len = strlen(name);
    assert(len < 256);
    put_le(b, 1, len);
    state_put(b, name, len);
}

static void put_crc(struct state_buf *b, size_t from)
{
    put_le(b, 4, crc32_z(0, b->p + from, b->len - from));
}

unsigned state_scalar_size(enum state_kind kind)
{
    switch (kind) {
    case STATE_BOOL:
    case STATE_U8:
        return 1;
    case STATE_U16:
        return 2;
    case STATE_U32:
    case STATE_I32:
        return 4;
    case STATE_U64:
    case STATE_I64:
    case STATE_TIMER:
        return 8;
    default:
        return 0;
    }
}

/* ---- fields ---- */

struct out {
    struct state_buf *b;
    bool contents; /* of blocks */
};

static bool page_is_zero(const uint8_t *p)
{
    return !p[0] && !memcmp(p, p + 1, STATE_PAGE - 1);
}

static void put_contents(struct state_buf *b, const uint8_t *host, uint64_t len)
{
    uint32_t pages = (uint32_t)(len / STATE_PAGE), n = 0;
    size_t at = b->len;
    put_le(b, 4, 0);
    for (uint32_t i = 0; i < pages; i++) {
        const uint8_t *page = host + (size_t)i * STATE_PAGE;
        if (!page_is_zero(page)) {
            put_le(b, 4, i);
            state_put(b, page, STATE_PAGE);
            n++;
        }
    }
    store_le(b->p + at, 4, n);
}

static void put_block(struct out *o, const struct gmem_block *block)
{
    bool there = block->host != NULL; /* a part may have been built without its RAM */
    put_le(o->b, 8, there ? block->gpa : GMEM_NOWHERE);
    put_le(o->b, 8, there ? block->len : 0);
    put_le(o->b, 1, there && o->contents);
    if (there && o->contents) {
        put_contents(o->b, block->host, block->len);
    }
}

static void put_pages(struct out *o, const struct state_pages *p)
{
    put_le(o->b, 8, p->len);
    put_contents(o->b, p->host, p->len);
}

static void put_fields(struct out *o, const struct state_field *table, const uint8_t *base);

static void put_elements(struct out *o, const struct state_field *f, const uint8_t *at)
{
    unsigned size = state_scalar_size(f->kind);
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->kind == STATE_SUB) {
            put_fields(o, f->sub, at + (size_t)i * f->stride);
        } else if (f->kind == STATE_TIMER) {
            put_le(o->b, 8, (uint64_t)((const struct vtimer *)at)[i].when);
        } else if (f->kind == STATE_BLOCK) {
            put_block(o, &((const struct gmem_block *)at)[i]);
        } else if (f->kind == STATE_PAGES) {
            put_pages(o, &((const struct state_pages *)at)[i]);
        } else {
            state_put(o->b, at + (size_t)i * size, size);
        }
    }
}

static void put_fields(struct out *o, const struct state_field *table, const uint8_t *base)
{
    uint16_t n = 0;
    for (const struct state_field *f = table; f && f->kind != STATE_END; f++) {
        n++;
    }
    put_le(o->b, 2, n);
    for (const struct state_field *f = table; n; f++, n--) {
        put_name(o->b, f->name);
        put_le(o->b, 1, f->kind);
        put_le(o->b, 4, f->count);
        put_elements(o, f, base + f->offset);
    }
}

/* ---- records ---- */

void dev_save(const struct device *d, struct state_buf *b)
{
    struct out o = { b, !d->m->host->carries_blocks };
    put_le(b, 1, STATE_REC_DEVICE);
    size_t at = b->len;
    put_le(b, 4, 0);
    put_name(b, d->id);
    put_name(b, d->class->name);
    put_le(b, 2, d->class->state_version);
    put_fields(&o, d->class->state, (const uint8_t *)d);
    size_t body = b->len - at - 4;
    assert(body <= UINT32_MAX);
    store_le(b->p + at, 4, body);
    put_crc(b, at + 4);
}

int machine_save(struct machine *m, struct state_buf *b, struct err *e)
{
    if (machine_running(m)) {
        return err_set(e, -EBUSY, "the machine must be stopped before its state is saved");
    }
    size_t start = b->len;
    uint32_t n = 0;
    state_put(b, STATE_MAGIC, 8);
    put_le(b, 2, STATE_FORMAT);
    put_name(b, m->type);
    put_le(b, 8, (uint64_t)vclock_now(m));
    put_crc(b, start);
    for (struct device *d = m->devices; d; d = d->next) {
        if (d->inited && !d->absent) {
            if (d->class->saving) {
                d->class->saving(d);
            }
            dev_save(d, b);
            n++;
        }
    }
    put_le(b, 1, STATE_REC_END);
    start = b->len;
    put_le(b, 4, n);
    put_crc(b, start);
    return 0;
}

/* ---- the hash ---- */

static uint64_t fnv1a(uint64_t h, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * 0x100000001b3;
    }
    return h;
}

/* Block contents are hashed wherever they travel: a replay knows no Xen. */
uint64_t machine_state_hash(struct machine *m)
{
    uint64_t h = 0xcbf29ce484222325;
    struct state_buf b = { 0 };
    struct out o = { &b, true };
    for (const struct device *d = m->devices; d; d = d->next) {
        b.len = 0;
        put_name(&b, d->id);
        put_fields(&o, d->class->state, (const uint8_t *)d);
        h = fnv1a(h, b.p, b.len);
    }
    free(b.p);
    return h;
}

/* ---- lists ---- */

struct walk {
    void (*put)(void *opaque, const char *name, uint64_t value);
    void *opaque;
    char path[160];
};

static uint64_t value_of(const struct state_field *f, const uint8_t *at, uint32_t i)
{
    if (f->kind == STATE_TIMER) {
        return (uint64_t)((const struct vtimer *)at)[i].when;
    }
    if (f->kind == STATE_BLOCK) {
        return ((const struct gmem_block *)at)[i].gpa;
    }
    if (f->kind == STATE_PAGES) {
        return ((const struct state_pages *)at)[i].len;
    }
    unsigned size = state_scalar_size(f->kind);
    uint64_t v = load_le(at + (size_t)i * size, size);
    return f->kind == STATE_I32 ? (uint64_t)(int64_t)(int32_t)v : v;
}

static void walk_fields(struct walk *w, const struct state_field *table, const uint8_t *base)
{
    size_t stem = strlen(w->path);
    for (const struct state_field *f = table; f && f->kind != STATE_END; f++) {
        const uint8_t *at = base + f->offset;
        for (uint32_t i = 0; i < f->count; i++) {
            const char *tail = f->kind == STATE_BLOCK ? ".gpa" : f->kind == STATE_SUB ? "." : "";
            if (f->count > 1) {
                snprintf(w->path + stem, sizeof(w->path) - stem, "%s[%u]%s", f->name, i, tail);
            } else {
                snprintf(w->path + stem, sizeof(w->path) - stem, "%s%s", f->name, tail);
            }
            if (f->kind == STATE_SUB) {
                walk_fields(w, f->sub, at + (size_t)i * f->stride);
            } else {
                w->put(w->opaque, w->path, value_of(f, at, i));
            }
        }
    }
    w->path[stem] = 0;
}

void dev_state_each(const struct device *d,
                    void (*put)(void *opaque, const char *name, uint64_t value), void *opaque)
{
    struct walk w = { put, opaque, "" };
    walk_fields(&w, d->class->state, (const uint8_t *)d);
}
