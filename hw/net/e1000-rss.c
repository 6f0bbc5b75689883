/* SPDX-License-Identifier: MIT */
/* hw/net/e1000-rss.c - the 82574L's receive side scaling: a hash over addresses and ports chooses one of two
 * queues. Reference: 317694, 7.1.11.
 */
#include "hw/net/e1000-int.h"

#include "dm/base/bytes.h"

enum {
    MRQC_ENABLE = 1, /* RSS for two queues */
    TYPE_TCP4 = 1,
    TYPE_IP4 = 2,
    TYPE_TCP6 = 3,
    TYPE_IP6 = 5,
    INPUT_MAX = 36,
};

/* 7.1.11.1: for each one among the input's bits, the 32 bits of the key that begin there. */
static uint32_t toeplitz(const uint32_t *key, const uint8_t *p, uint32_t len)
{
    uint32_t hash = 0, window = __builtin_bswap32(key[0]);
    const uint8_t *k = (const uint8_t *)key;
    for (uint32_t i = 0; i < len; i++) {
        uint8_t next = k[i + 4];
        for (unsigned bit = 0; bit < 8; bit++) {
            hash ^= p[i] & 0x80 >> bit ? window : 0;
            window = window << 1 | (next >> (7 - bit) & 1);
        }
    }
    return hash;
}

/* What is hashed, and its type; the field of MRQC that allows a type is bit 15 + type. */
static uint32_t input(const struct e1000 *s, const struct nic_frame *f, uint8_t *in, uint32_t *type)
{
    const uint8_t *p = f->data;
    uint32_t ip = load_be16(p + 12) == 0x8100 ? 18 : 14, mrqc = s->xreg[X_MRQC];
    if (f->len < ip + 40) {
        return 0;
    }
    bool v4 = load_be16(p + ip - 2) == 0x0800 && p[ip] >> 4 == 4 && (p[ip] & 15) >= 5;
    if (!v4 && (load_be16(p + ip - 2) != 0x86dd || p[ip] >> 4 != 6)) {
        return 0;
    }
    uint32_t l4 = ip + (v4 ? (p[ip] & 15) * 4u : 40u), len = v4 ? 8 : 32;
    bool fragment = v4 && load_be16(p + ip + 6) & 0x3fff;
    bool tcp = p[ip + (v4 ? 9 : 6)] == 6 && !fragment && l4 + 4 <= f->len;
    memcpy(in, p + ip + (v4 ? 12 : 8), len);
    *type = v4 ? TYPE_TCP4 : TYPE_TCP6;
    if (tcp && mrqc >> (15 + *type) & 1) {
        memcpy(in + len, p + l4, 4);
        return len + 4;
    }
    *type = v4 ? TYPE_IP4 : TYPE_IP6;
    return mrqc >> (15 + *type) & 1 ? len : 0;
}

unsigned e1000_rss(const struct e1000 *s, const struct nic_frame *f, uint32_t *type, uint32_t *hash)
{
    uint8_t in[INPUT_MAX];
    *type = *hash = 0;
    if ((s->xreg[X_MRQC] & 3) != MRQC_ENABLE || !(s->reg[R_RXCSUM] & RXCSUM_PCSD)) {
        return 0;
    }
    uint32_t len = input(s, f, in, type);
    if (len == 0) {
        *type = 0;
        return 0;
    }
    *hash = toeplitz(s->rss_key, in, len);
    unsigned entry = *hash & 127;
    unsigned queue = ((const uint8_t *)s->reta)[entry] >> 7;
    *type |= queue << 8;
    return queue;
}
