/* SPDX-License-Identifier: MIT */
/* block/cbc.h - AES-256 in CBC mode, which secrets under secrets are encrypted with. */
#ifndef BLOCK_CBC_H
#define BLOCK_CBC_H

#include <stddef.h>
#include <stdint.h>

enum { CBC_BLOCK = 16, CBC_KEY = 32 };

/* In place; len is whole blocks. */
void aes_cbc_decrypt(const uint8_t key[CBC_KEY], const uint8_t iv[CBC_BLOCK], uint8_t *bytes,
                     size_t len);

#endif
