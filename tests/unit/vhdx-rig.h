/* SPDX-License-Identifier: MIT */
/* tests/unit/vhdx-rig.h - a small VHDX image, and entries for its log. Keel makes neither. */
#ifndef TESTS_UNIT_VHDX_RIG_H
#define TESTS_UNIT_VHDX_RIG_H

#include "block/vhdx-int.h"
#include "dm/base/bytes.h"

#include <string.h>

enum {
    VHDX_MIB = 1 << 20,
    VHDX_LOG = VHDX_MIB, /* where it lies, and how long it is */
    VHDX_METADATA = 2 * VHDX_MIB,
    VHDX_BAT = 3 * VHDX_MIB,
    VHDX_BLOCK =
        4 * VHDX_MIB, /* the disk's first block; the second is zeros, the third undefined */
    VHDX_LEN = 5 * VHDX_MIB,
};

static const uint8_t vhdx_log_id[16] = "the log's own id";

static inline void vhdx_put_id(uint8_t *p, uint64_t lo, uint64_t hi)
{
    store_be64(p, lo);
    store_be64(p + 8, hi);
}

/* The header; dirty: its log has to be replayed. */
static inline void vhdx_put_header(uint8_t *b, bool dirty)
{
    uint8_t *h = b + 65536;

    memcpy(h, "head", 4);
    memset(h + 48, 0, 16);
    if (dirty) {
        memcpy(h + 48, vhdx_log_id, 16);
    }
    store_le(h + 66, 2, 1);
    store_le(h + 68, 4, VHDX_MIB);
    store_le(h + 72, 8, VHDX_LOG);
    store_le(h + 4, 4, vhdx_crc(h, 4096));
}

static inline void vhdx_put_item(uint8_t *m, unsigned i, uint64_t lo, uint64_t hi, uint32_t at,
                                 uint32_t len, uint64_t value)
{
    uint8_t *x = m + 32 + 32 * i;

    vhdx_put_id(x, lo, hi);
    store_le(x + 16, 4, at);
    store_le(x + 20, 4, len);
    store_le(m + at, len, value);
}

/* The least that opens, in VHDX_LEN bytes of zeros: a disk of 3 MiB, closed. */
static inline void vhdx_make(uint8_t *b)
{
    uint8_t *r = b + 196608, *m = b + VHDX_METADATA;

    memcpy(b, "vhdxfile", 8);
    vhdx_put_header(b, false);
    memcpy(r, "regi", 4);
    store_le(r + 8, 4, 2);
    vhdx_put_id(r + 16, 0x6677c22d23f60042, 0x9d64115e9bfd4a08);
    store_le(r + 32, 8, VHDX_BAT);
    store_le(r + 40, 4, VHDX_MIB);
    vhdx_put_id(r + 48, 0x06a27c8b90479a4b, 0xb8fe575f050f886e);
    store_le(r + 64, 8, VHDX_METADATA);
    store_le(r + 72, 4, VHDX_MIB);
    store_le(r + 4, 4, vhdx_crc(r, 65536));
    memcpy(m, "metadata", 8);
    store_le(m + 10, 2, 3);
    vhdx_put_item(m, 0, 0x3767a1ca36fa434d, 0xb3b633f0aa44e76b, 65536, 8, VHDX_MIB);
    vhdx_put_item(m, 1, 0x2442a52f1bcd7648, 0xb2115dbed83bf4b8, 65544, 8, 3 << 20);
    vhdx_put_item(m, 2, 0x1dbf41816fa90947, 0xba47f233a8faab5f, 65552, 4, 512);
    store_le(b + VHDX_BAT, 8, VHDX_BLOCK | 6);
    store_le(b + VHDX_BAT + 8, 8, 2);
}

/* ---- the log ---- */

struct vhdx_entry {
    uint32_t at, tail; /* bytes of the log; `at` may be so that the entry passes its end */
    uint64_t number, flushed, last;
    unsigned n;
    struct vhdx_write {
        uint64_t to, zeros; /* place in the file; bytes of zeros, or 0: a sector full of `fill` */
        uint8_t fill;
    } write[4];
};

static inline void vhdx_sum_entry(uint8_t *x)
{
    store_le(x + 4, 4, vhdx_crc(x, load_le32(x + 8)));
}

/* Writes an entry into the log of the image b. Returns its length. */
static inline uint32_t vhdx_log_entry(uint8_t *b, const struct vhdx_entry *w)
{
    static uint8_t x[5 * 4096];
    uint32_t len = 4096;

    memset(x, 0, sizeof(x));
    memcpy(x, "loge", 4);
    store_le(x + 12, 4, w->tail);
    store_le(x + 16, 8, w->number);
    store_le(x + 24, 4, w->n);
    memcpy(x + 32, vhdx_log_id, 16);
    store_le(x + 48, 8, w->flushed ? w->flushed : VHDX_LEN);
    store_le(x + 56, 8, w->last ? w->last : VHDX_LEN);
    for (unsigned i = 0; i < w->n; i++) {
        const struct vhdx_write *c = &w->write[i];
        uint8_t *d = x + 64 + 32 * i, *s = x + len;

        memcpy(d, c->zeros ? "zero" : "desc", 4);
        store_le(d + 8, 8, c->zeros);
        store_le(d + 16, 8, c->to);
        store_le(d + 24, 8, w->number);
        if (!c->zeros) {
            memset(s, c->fill, 4096);
            memset(d + 4, c->fill, 12);
            memcpy(s, "data", 4);
            store_le(s + 4, 4, w->number >> 32);
            store_le(s + 4092, 4, (uint32_t)w->number);
            len += 4096;
        }
    }
    store_le(x + 8, 4, len);
    vhdx_sum_entry(x);
    for (uint32_t i = 0; i < len; i++) {
        b[VHDX_LOG + (w->at + i) % VHDX_MIB] = x[i];
    }
    return len;
}

#endif
