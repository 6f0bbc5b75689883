/* SPDX-License-Identifier: MIT */
/* dm/base64.h - RFC 4648 section 4. */
#ifndef DM_BASE64_H
#define DM_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* malloc'ed text. */
char *base64_encode(const uint8_t *p, size_t len);
/* Decodes at most len bytes into p; returns how many text holds, or -EINVAL when it is no base64
 * or holds more. */
long base64_decode(const char *text, uint8_t *p, size_t len);

#endif
