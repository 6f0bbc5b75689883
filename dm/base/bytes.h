/* SPDX-License-Identifier: MIT */
/* dm/base/bytes.h - byte order: loads and stores at any alignment. */
#ifndef DM_BASE_BYTES_H
#define DM_BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* size 1..8. The usual sizes are spelt out: a copy of a length unknown to the compiler is a call. */
static inline uint64_t load_le(const void *p, unsigned size)
{
    uint64_t v = 0;
    switch (size) { /* hosts are little-endian; meson refuses others */
    case 1:
        memcpy(&v, p, 1);
        break;
    case 2:
        memcpy(&v, p, 2);
        break;
    case 4:
        memcpy(&v, p, 4);
        break;
    default:
        memcpy(&v, p, size);
    }
    return v;
}

static inline void store_le(void *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        memcpy(p, &v, 1);
        break;
    case 2:
        memcpy(p, &v, 2);
        break;
    case 4:
        memcpy(p, &v, 4);
        break;
    default:
        memcpy(p, &v, size);
    }
}

static inline uint16_t load_le16(const void *p)
{
    return (uint16_t)load_le(p, 2);
}

static inline uint32_t load_le32(const void *p)
{
    return (uint32_t)load_le(p, 4);
}

static inline uint64_t load_le64(const void *p)
{
    return load_le(p, 8);
}

static inline uint16_t load_be16(const void *p)
{
    return __builtin_bswap16(load_le16(p));
}

static inline uint32_t load_be32(const void *p)
{
    return __builtin_bswap32(load_le32(p));
}

static inline uint64_t load_be64(const void *p)
{
    return __builtin_bswap64(load_le64(p));
}

/* was with its low or high 32 bits replaced: how a 64-bit register takes a 32-bit write. */
static inline uint64_t with_half(uint64_t was, bool high, uint32_t val)
{
    return high ? (was & 0xffffffff) | (uint64_t)val << 32 : (was & ~0xffffffffull) | val;
}

static inline void store_be16(void *p, uint16_t v)
{
    store_le(p, 2, __builtin_bswap16(v));
}

static inline void store_be32(void *p, uint32_t v)
{
    store_le(p, 4, __builtin_bswap32(v));
}

static inline void store_be64(void *p, uint64_t v)
{
    store_le(p, 8, __builtin_bswap64(v));
}

#endif
