/* SPDX-License-Identifier: MIT */
/* block/luks-int.h - what the parts of LUKS share.
 *
 * luks.c        the header, opening it, making one
 * luks-slots.c  changing passphrases
 */
#ifndef BLOCK_LUKS_INT_H
#define BLOCK_LUKS_INT_H

#include "block/luks.h"

#include <nettle/nettle-meta.h>

enum {
    HEADER_BYTES = 592,
    HEADER_READ = 1024, /* whole sectors */
    SLOT_AT = 208,
    SLOT_BYTES = 48,
    SALT = 32,
    DIGEST = 20,
    STRIPES = 4000,
    KEY_ALIGN = 4096,
    MAX_KEY = 64,
    MAX_ITERATIONS = 16 * 1000 * 1000, /* some seconds */
    MIN_ITERATIONS = 1000,
};
#define SLOT_ACTIVE 0x00ac71f3u
#define SLOT_FREE 0x0000deadu

struct luks_hash {
    const struct nettle_hash *hash;
    void (*derive)(size_t key_len, const uint8_t *key, unsigned iterations, size_t salt_len,
                   const uint8_t *salt, size_t len, uint8_t *out);
};

/* A passphrase at work on a header. */
struct luks_opening {
    const struct luks_info *info;
    const struct luks_hash *hash;
    const struct luks_key *key;
    const uint8_t *header;
    uint8_t *parts; /* room for a split key, whole sectors */
    size_t len;     /* of the master key */
};

/* Bytes of a slot's split key, whole sectors. */
uint64_t luks_slot_bytes(unsigned key_bits);
/* HEADER_READ bytes to b, checked. 0, or -errno with e. */
int luks_read_header(struct node *file, uint64_t at, uint64_t room, uint8_t *b,
                     struct luks_info *out, struct err *e);
struct luks_opening luks_opening_of(const struct luks_info *info, const uint8_t *header,
                                    const struct luks_key *key);
/* Forgets what was secret, master's MAX_KEY bytes too. */
void luks_opening_end(struct luks_opening *o, uint8_t *master);
/* The first slot from *n on that takes the passphrase: 1, and master is the key. 0: none does. */
int luks_open_slot(const struct luks_opening *o, struct node *file, uint64_t at, unsigned *n,
                   uint8_t *master);
/* The error behind what luks_open_slot returned. */
int luks_refuse_key(int ret, const struct luks_key *key, struct err *e);
/* STRIPES parts, of which all but the last are random already. */
void luks_split_key(const struct nettle_hash *h, const uint8_t *key, size_t len, uint8_t *parts);
/* Encrypts or decrypts a split key with what the passphrase gives. */
void luks_crypt_parts(const struct luks_opening *o, bool encrypt, unsigned iterations,
                      const uint8_t *salt);
/* How many iterations take `ms` of this thread's time. */
unsigned luks_iterations_for(const struct luks_hash *h, unsigned ms);
int luks_random(void *p, size_t len, struct err *e);

#endif
