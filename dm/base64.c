/* SPDX-License-Identifier: MIT */
/* dm/base64.c - RFC 4648 section 4. */
#include "dm/base64.h"

#include "dm/base/util.h"

#include <errno.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *p, size_t len)
{
    char *out = xcalloc(1, (len + 2) / 3 * 4 + 1), *o = out;
    for (size_t i = 0; i < len; i += 3, o += 4) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0) |
                     (i + 2 < len ? p[i + 2] : 0);
        o[0] = letters[v >> 18];
        o[1] = letters[v >> 12 & 63];
        o[2] = i + 1 < len ? letters[v >> 6 & 63] : '=';
        o[3] = i + 2 < len ? letters[v & 63] : '=';
    }
    return out;
}

long base64_decode(const char *text, uint8_t *p, size_t len)
{
    size_t n = 0;
    uint32_t v = 0;
    unsigned bits = 0;
    for (; *text && *text != '='; text++) {
        const char *at = strchr(letters, *text);
        if (!at) {
            return -EINVAL;
        }
        v = v << 6 | (uint32_t)(at - letters);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (n == len) {
                return -EINVAL;
            }
            p[n++] = (uint8_t)(v >> bits);
        }
    }
    return (long)n;
}
