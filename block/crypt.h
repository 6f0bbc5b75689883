/* SPDX-License-Identifier: MIT */
/* block/crypt.h - a node that encrypts: what is written to it lies encrypted in its file. */
#ifndef BLOCK_CRYPT_H
#define BLOCK_CRYPT_H

#include "block/luks.h"
#include "block/node.h"

/* The node's byte 0 is file's byte `base`, and its sector 0 has number 0. Takes file; l stays the
 * caller's and lives longer. */
struct node *crypt_new(struct node *file, const struct luks *l, uint64_t base);
/* The format "luks": a header, then the disk. Takes file, also when it fails. no_io: the passphrase
 * is not needed, since nothing is read. NULL with e. */
struct node *crypt_open(struct node *file, const struct luks_key *key, bool no_io, struct err *e);
/* Writes a LUKS header, and makes file long enough for `size` bytes behind it. */
int crypt_create(struct node *file, uint64_t size, const struct luks_create *c,
                 const struct luks_key *key, struct err *e);
/* The same with a header that luks_create has made, len bytes. */
int crypt_create_with(struct node *file, uint64_t size, const uint8_t *header, uint64_t len,
                      struct err *e);
bool crypt_is(const struct node *n);

#endif
