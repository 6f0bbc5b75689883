/* SPDX-License-Identifier: MIT */
/* block/bitmap.c - dirty bitmaps in memory: an array of words for each. */
#include "block/bitmap.h"

#include "block/node.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bits_for(uint64_t len, unsigned granularity_bits)
{
    return (len >> granularity_bits) + !!(len & ((1ull << granularity_bits) - 1));
}

static uint64_t nbits(const struct bitmap *b)
{
    return bits_for(b->len, b->granularity_bits);
}

static uint64_t words_for(uint64_t bits)
{
    return (bits + 63) / 64;
}

/* ---- making and finding ---- */

struct bitmap *bitmap_find(const struct node *n, const char *name)
{
    struct bitmap *b = n->bitmaps;

    while (b && strcmp(b->name, name) != 0) {
        b = b->next;
    }
    return b;
}

static uint64_t all_bytes(const struct node *n)
{
    uint64_t bytes = 0;

    for (const struct bitmap *b = n->bitmaps; b; b = b->next) {
        bytes += words_for(nbits(b)) * 8;
    }
    return bytes;
}

static int check_new(const struct node *n, const char *name, uint32_t granularity, struct err *e)
{
    if (!name[0] || strlen(name) > BITMAP_MAX_NAME) {
        return err_set(e, -EINVAL, "a bitmap's name has 1 to %d bytes", BITMAP_MAX_NAME);
    }
    if (bitmap_find(n, name)) {
        return err_set(e, -EEXIST, "Bitmap already exists: %.100s", name);
    }
    if (granularity < 1u << BITMAP_MIN_BITS || granularity > 1u << BITMAP_MAX_BITS ||
        (granularity & (granularity - 1))) {
        return err_set(e, -EINVAL, "Granularity must be a power of two of at least %u",
                       1u << BITMAP_MIN_BITS);
    }
    if (all_bytes(n) + bits_for(n->len, (unsigned)__builtin_ctz(granularity)) / 8 >
        BITMAP_MAX_BYTES) {
        return err_set(e, -EFBIG,
                       "bitmap '%.100s': the bitmaps of '%s' would need more than %u MiB", name,
                       n->filename, BITMAP_MAX_BYTES >> 20);
    }
    return 0;
}

struct bitmap *bitmap_new(struct node *n, const char *name, uint32_t granularity, struct err *e)
{
    struct bitmap **at = &n->bitmaps, *b;

    granularity = granularity ? granularity : 65536;
    if (check_new(n, name, granularity, e) < 0) {
        return NULL;
    }
    b = xcalloc(1, sizeof(*b));
    b->granularity_bits = (unsigned)__builtin_ctz(granularity);
    b->len = n->len;
    b->words = calloc(words_for(nbits(b)) + 1, 8);
    if (!b->words) {
        err_set(e, -ENOMEM, "bitmap '%.100s': no memory", name);
        free(b);
        return NULL;
    }
    b->node = n;
    b->name = xstrdup(name);
    b->recording = true;
    while (*at) {
        at = &(*at)->next;
    }
    *at = b;
    return b;
}

static void free_one(struct bitmap *b)
{
    free(b->name);
    free(b->words);
    free(b);
}

void bitmap_free(struct bitmap *b)
{
    struct bitmap **at;

    if (!b) {
        return;
    }
    for (at = &b->node->bitmaps; *at != b; at = &(*at)->next) {
    }
    *at = b->next;
    free_one(b);
}

void bitmap_free_list(struct bitmap *first)
{
    for (struct bitmap *b = first, *next; b; b = next) {
        next = b->next;
        free_one(b);
    }
}

int bitmap_usable(const struct bitmap *b, struct err *e)
{
    if (b->busy) {
        return err_set(
            e, -EBUSY,
            "Bitmap '%.100s' is currently in use by another operation and cannot be used", b->name);
    }
    if (b->inconsistent) {
        return err_set(e, -EINVAL,
                       "Bitmap '%.100s' is inconsistent and cannot be used; it can only be removed",
                       b->name);
    }
    return 0;
}

/* ---- bits ---- */

/* Bits [from, to) become v. */
static void put_bits(struct bitmap *b, uint64_t from, uint64_t to, bool v)
{
    while (from < to) {
        uint64_t n = min_u64(64 - from % 64, to - from), *w = &b->words[from / 64];
        uint64_t mask = (n == 64 ? UINT64_MAX : (1ull << n) - 1) << (from % 64);
        uint64_t now = v ? *w | mask : *w & ~mask;

        b->dirty += (uint64_t)__builtin_popcountll(now) - (uint64_t)__builtin_popcountll(*w);
        *w = now;
        from += n;
    }
}

void bitmap_set(struct bitmap *b, uint64_t offset, uint64_t len)
{
    if (offset < b->len && len) {
        uint64_t end = offset + min_u64(len, b->len - offset);
        put_bits(b, offset >> b->granularity_bits, bits_for(end, b->granularity_bits), true);
    }
}

void bitmap_clear(struct bitmap *b, uint64_t offset, uint64_t len)
{
    uint64_t from = bits_for(offset, b->granularity_bits), end;

    if (offset >= b->len) {
        return;
    }
    end = offset + min_u64(len, b->len - offset);
    put_bits(b, from, end == b->len ? nbits(b) : end >> b->granularity_bits, false);
}

bool bitmap_get(const struct bitmap *b, uint64_t offset)
{
    uint64_t i = offset >> b->granularity_bits;

    return offset < b->len && (b->words[i / 64] >> (i % 64) & 1);
}

/* The first bit from i on that is v; nbits if none. */
static uint64_t find_bit(const struct bitmap *b, uint64_t i, bool v)
{
    uint64_t end = nbits(b);

    while (i < end) {
        uint64_t w = (v ? b->words[i / 64] : ~b->words[i / 64]) >> (i % 64);
        if (w) {
            return min_u64(end, i + (uint64_t)__builtin_ctzll(w));
        }
        i = (i / 64 + 1) * 64;
    }
    return end;
}

bool bitmap_next(const struct bitmap *b, uint64_t *offset, uint64_t *len, uint64_t max)
{
    uint64_t from, to, at;

    if (*offset >= b->len) {
        return false;
    }
    from = find_bit(b, *offset >> b->granularity_bits, true);
    if (from == nbits(b)) {
        return false;
    }
    at = max_u64(*offset, from << b->granularity_bits);
    to = find_bit(b, from, false);
    *len = (to == nbits(b) ? b->len : to << b->granularity_bits) - at;
    *len = max ? min_u64(*len, max) : *len;
    *offset = at;
    return true;
}

uint64_t bitmap_dirty_bytes(const struct bitmap *b)
{
    uint64_t bytes = b->dirty << b->granularity_bits, rest;

    rest = b->len & ((1ull << b->granularity_bits) - 1);
    if (rest && bitmap_get(b, b->len - 1)) {
        bytes -= (1ull << b->granularity_bits) - rest;
    }
    return bytes;
}

int bitmap_merge(struct bitmap *to, const struct bitmap *from)
{
    if (to->len != from->len) {
        return -EINVAL;
    }
    for (uint64_t at = 0, len; bitmap_next(from, &at, &len, 0); at += len) {
        bitmap_set(to, at, len);
    }
    return 0;
}

void bitmap_swap(struct bitmap *a, struct bitmap *b)
{
    uint64_t *words = a->words, dirty = a->dirty;

    a->words = b->words;
    a->dirty = b->dirty;
    b->words = words;
    b->dirty = dirty;
}

void bitmap_load(struct bitmap *b, uint64_t first, const void *bytes, uint64_t len)
{
    uint64_t end = nbits(b), words = min_u64(len / 8, words_for(end) - first);

    for (uint64_t i = first; i < first + words; i++) {
        uint64_t w;

        memcpy(&w, (const uint8_t *)bytes + (i - first) * 8, 8);
        if (i == end / 64 && end % 64) { /* what is past the end does not count */
            w &= (1ull << end % 64) - 1;
        }
        b->dirty += (uint64_t)__builtin_popcountll(w) - (uint64_t)__builtin_popcountll(b->words[i]);
        b->words[i] = w;
    }
}

/* ---- for the node ---- */

void bitmap_mark(struct node *n, uint64_t offset, uint64_t len)
{
    for (struct bitmap *b = n->bitmaps; b; b = b->next) {
        if (b->recording) {
            bitmap_set(b, offset, len);
        }
    }
}

static int resize_one(struct bitmap *b, uint64_t len)
{
    uint64_t have = nbits(b), want = bits_for(len, b->granularity_bits);

    if (words_for(want) > words_for(have)) {
        uint64_t *more = realloc(b->words, (words_for(want) + 1) * 8);
        if (!more) {
            return -ENOMEM;
        }
        memset(more + words_for(have), 0, (words_for(want) - words_for(have)) * 8);
        b->words = more;
    } else if (want < have) {
        put_bits(b, want, have, false);
    }
    b->len = len;
    return 0;
}

int bitmap_resize(struct node *n, uint64_t len)
{
    int ret = 0;

    for (struct bitmap *b = n->bitmaps; b && ret == 0; b = b->next) {
        ret = resize_one(b, len);
    }
    return ret;
}
