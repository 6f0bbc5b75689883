/* SPDX-License-Identifier: MIT */
/* block/cbc.c - AES-256 in CBC mode. Reference: NIST SP 800-38A 6.2. */
#include "block/cbc.h"

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <string.h>

void aes_cbc_decrypt(const uint8_t key[CBC_KEY], const uint8_t iv[CBC_BLOCK], uint8_t *bytes,
                     size_t len)
{
    struct CBC_CTX(struct aes256_ctx, AES_BLOCK_SIZE) c;

    aes256_set_decrypt_key(&c.ctx, key);
    CBC_SET_IV(&c, iv);
    CBC_DECRYPT(&c, aes256_decrypt, len, bytes, bytes);
    explicit_bzero(&c, sizeof(c));
}
