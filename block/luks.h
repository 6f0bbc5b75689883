/* SPDX-License-Identifier: MIT */
/* block/luks.h - LUKS version 1: the header with its key slots, and the encryption of sectors.
 *
 * AES in XTS mode with plain64 (the sector's number is the IV), keys of 128 or 256 bits; SHA-1,
 * SHA-256 or SHA-512 under PBKDF2. What else such a header can name is refused by name. Nothing
 * here does I/O but luks_open, which waits for it.
 *
 * Reference: LUKS On-Disk Format Specification, version 1.2.3.
 */
#ifndef BLOCK_LUKS_H
#define BLOCK_LUKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct luks;
struct node;

enum { LUKS_SECTOR = 512, LUKS_SLOTS = 8 };

/* A passphrase; bytes, not text. */
struct luks_key {
    const uint8_t *bytes;
    size_t len;
    const char *name; /* for messages; NULL: none */
};

struct luks_create {
    unsigned key_bits; /* 128 or 256 */
    unsigned iter_ms;  /* how long a guess at the passphrase shall take on this machine */
    const char *hash;  /* "sha1", "sha256" or "sha512" */
};

/* What is in a header, for people. */
struct luks_info {
    char uuid[41], cipher[33], mode[33], hash[33];
    uint64_t payload; /* bytes from the header's start to the data */
    unsigned key_bits, master_iterations;
    struct luks_slot {
        bool active;
        unsigned iterations, stripes;
        uint64_t offset; /* bytes */
    } slot[LUKS_SLOTS];
};

/* Reads the header that begins at byte `at` of file and checks it, with `room` bytes to it at most.
 * 0, or -errno with e. */
int luks_info(struct node *file, uint64_t at, uint64_t room, struct luks_info *out, struct err *e);
/* The same, and opens a key slot with key. NULL with e: -EACCES when no slot takes it. Takes as long
 * as the header says, at most some seconds a slot. */
struct luks *luks_open(struct node *file, uint64_t at, uint64_t room, const struct luks_key *key,
                       struct err *e);
/* A new header, *len bytes, with one key slot in use and a master key made up for it. malloc'd; NULL
 * with e. */
uint8_t *luks_create(const struct luks_create *c, const struct luks_key *key, uint64_t *len,
                     struct err *e);
/* How long a new header is: no more than this, without making one. */
uint64_t luks_header_bytes(unsigned key_bits);
void luks_free(struct luks *l);

/* A change of key slots. */
struct luks_amend {
    bool activate;                /* a slot takes new_key; else those named become free */
    bool force;                   /* also over a slot in use, and the last one */
    int slot;                     /* -1: a free one, or those that old_key opens */
    const struct luks_key *key;   /* activate: opens a slot now */
    const struct luks_key *other; /* activate: the new passphrase; else the old one, or NULL */
    unsigned iter_ms;             /* as in luks_create */
};
/* Changes the header at byte `at` of file, which is open for writing. A loss of power leaves each slot
 * as it was or as it was to be. 0, or -errno with e. */
int luks_amend(struct node *file, uint64_t at, uint64_t room, const struct luks_amend *a,
               struct err *e);

uint64_t luks_payload(const struct luks *l);
/* In place; len is whole sectors, the first of number `sector`. Any number of threads at once. */
void luks_crypt(const struct luks *l, bool encrypt, uint64_t sector, uint8_t *bytes, size_t len);

#endif
