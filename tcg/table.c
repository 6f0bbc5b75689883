/* SPDX-License-Identifier: MIT */
/* tcg/table.c - where blocks lie and how they are found by their key.
 *
 * Blocks lie in chunks in the order in which they were made, until all of a region are forgotten at once. The
 * table has a number and 32 bits of the key's hash a slot (open addressing), so that a search touches one line
 * of the table and the block itself. Everything under the engine's lock.
 */
#include "tcg/tcg-int.h"

#include "dm/base/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BLOCKS = 512, FIRST_BITS = 12 };
#define GONE UINT32_MAX /* a slot that was used: a search goes on behind it */

/* ---- blocks ---- */

struct block *region_block(const struct tb_region *r, uint32_t n)
{
    return &r->chunk[n / CHUNK_BLOCKS][n % CHUNK_BLOCKS];
}

static struct block *block_at(const struct tcg *t, uint32_t number)
{
    return region_block(&t->region[number / REGION_BLOCKS], number % REGION_BLOCKS);
}

struct block *block_next(struct tcg *t)
{
    struct tb_region *r = &t->region[t->filling];
    if (r->blocks == r->chunks * CHUNK_BLOCKS) {
        r->chunk = realloc(r->chunk, (r->chunks + 1) * sizeof(*r->chunk));
        assert(r->chunk);
        r->chunk[r->chunks++] = xcalloc(CHUNK_BLOCKS, sizeof(struct block));
    }
    struct block *b = region_block(r, r->blocks);
    memset(b, 0, sizeof(*b));
    return b;
}

struct block *block_by_host(const struct tcg *t, const void *host)
{
    const uint8_t *at = host;
    const struct tb_region *r = &t->region[cache_region_at(&t->cache, at)];
    uint32_t lo = 0, hi = r->blocks; /* the last block that begins at or before `at` is below hi */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if ((const uint8_t *)region_block(r, mid)->tb.code <= at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    struct block *b = lo ? region_block(r, lo - 1) : NULL;
    return b && at < (const uint8_t *)b->tb.code + b->tb.code_len ? b : NULL;
}

/* ---- the table ---- */

/* Blocks of a piece of code lie beside one another in the table, in the order of their addresses: whoever looks
 * for one wants its neighbours soon. Larger pieces would meet in the table, and searches go through them all. */
static uint32_t hash_of(const struct tb_key *k)
{
    enum { PIECE_BITS = 9, SLOT_BITS = 3 }; /* eight bytes of code share a slot */
    uint64_t h =
        (k->phys >> PIECE_BITS) * 0x9e3779b97f4a7c15ull ^ k->pc >> 12 ^ (uint64_t)k->flags << 20;
    h = (h * 0xff51afd7ed558ccdull) >> 32;
    uint32_t in_piece = (k->phys & ((1u << PIECE_BITS) - 1)) >> SLOT_BITS;
    return (uint32_t)(h << (PIECE_BITS - SLOT_BITS)) | in_piece;
}

static bool same_key(const struct tb_key *a, const struct tb_key *b)
{
    return a->pc == b->pc && a->phys == b->phys && a->cs_base == b->cs_base &&
           a->flags == b->flags && a->cflags == b->cflags && a->mode == b->mode;
}

static void put(struct tb_table *m, uint32_t hash, uint32_t number)
{
    uint32_t i = hash & m->mask;
    while (m->slot[i].number && m->slot[i].number != GONE) {
        i = (i + 1) & m->mask;
    }
    m->used += !m->slot[i].number;
    m->live++;
    m->slot[i] = (struct tb_slot){ hash, number };
}

/* Without the slots of blocks that are gone; twice as many if that does not free half. */
static void grow(struct tb_table *m)
{
    struct tb_table old = *m;
    uint32_t slots = old.slot ? old.mask + 1 : 1u << FIRST_BITS;
    if (old.live > old.used / 2) {
        slots *= 2;
    }
    *m = (struct tb_table){ .slot = xcalloc(slots, sizeof(*m->slot)), .mask = slots - 1 };
    for (uint32_t i = 0; old.slot && i <= old.mask; i++) {
        if (old.slot[i].number && old.slot[i].number != GONE) {
            put(m, old.slot[i].hash, old.slot[i].number);
        }
    }
    free(old.slot);
}

struct block *table_find(const struct tcg *t, const struct tb_key *k)
{
    const struct tb_table *m = &t->table;
    uint32_t hash = hash_of(k);
    for (uint32_t i = hash & m->mask; m->slot && m->slot[i].number; i = (i + 1) & m->mask) {
        if (m->slot[i].hash == hash && m->slot[i].number != GONE) {
            struct block *b = block_at(t, m->slot[i].number - 1);
            if (same_key(&b->tb.key, k)) {
                return b;
            }
        }
    }
    return NULL;
}

struct block *table_keep(struct tcg *t)
{
    struct tb_table *m = &t->table;
    struct tb_region *r = &t->region[t->filling];
    struct block *b = region_block(r, r->blocks++);
    assert(r->blocks < REGION_BLOCKS);
    if (!m->slot || m->used >= m->mask / 2) {
        grow(m);
    }
    put(m, hash_of(&b->tb.key), t->filling * REGION_BLOCKS + r->blocks);
    return b;
}

void table_remove(struct tcg *t, const struct block *b)
{
    struct tb_table *m = &t->table;
    uint32_t hash = hash_of(&b->tb.key);
    for (uint32_t i = hash & m->mask; m->slot[i].number; i = (i + 1) & m->mask) {
        uint32_t n = m->slot[i].number;
        if (m->slot[i].hash == hash && n != GONE && block_at(t, n - 1) == b) {
            m->slot[i].number = GONE;
            m->live--;
            return;
        }
    }
}

void table_fini(struct tcg *t)
{
    for (unsigned i = 0; i < MAX_REGIONS; i++) {
        for (uint32_t k = 0; k < t->region[i].chunks; k++) {
            free(t->region[i].chunk[k]);
        }
        free(t->region[i].chunk);
    }
    free(t->table.slot);
}
