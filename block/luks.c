/* SPDX-License-Identifier: MIT */
/* block/luks.c - LUKS version 1.
 *
 * A header names the cipher and has eight key slots. Each can hold the master key, split into
 * `stripes` parts all of which are needed, and encrypted with a key that PBKDF2 derives from a
 * passphrase. A digest of the master key tells whether it is right. The work is nettle's.
 *
 * A header is as hostile as any image: the work it asks for is bounded.
 */
#include "block/luks-int.h"

#include "block/node.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>
#include <nettle/xts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct luks {
    bool wide; /* AES-256 */
    struct xts_aes128_key enc128, dec128;
    struct xts_aes256_key enc256, dec256;
    uint64_t payload;
};

/* ---- hashes ---- */

static const struct luks_hash hashes[] = {
    { &nettle_sha1, pbkdf2_hmac_sha1 },
    { &nettle_sha256, pbkdf2_hmac_sha256 },
    { &nettle_sha512, pbkdf2_hmac_sha512 },
};

static const struct luks_hash *find_hash(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        if (strcmp(hashes[i].hash->name, name) == 0) {
            return &hashes[i];
        }
    }
    return NULL;
}

/* ---- the header ---- */

static void text_field(char *out, const uint8_t *p, size_t len)
{
    memcpy(out, p, len);
    out[len] = '\0';
    make_printable(out);
}

static uint64_t split_bytes(unsigned key_bits)
{
    return 2ull * key_bits / 8 * STRIPES;
}

uint64_t luks_slot_bytes(unsigned key_bits)
{
    return (split_bytes(key_bits) + KEY_ALIGN - 1) & ~(uint64_t)(KEY_ALIGN - 1);
}

uint64_t luks_header_bytes(unsigned key_bits)
{
    return KEY_ALIGN + LUKS_SLOTS * luks_slot_bytes(key_bits);
}

static int check_slot(const struct luks_info *i, unsigned n, struct err *e)
{
    const struct luks_slot *s = &i->slot[n];

    if (s->active && s->stripes != STRIPES) {
        return err_set(e, -EINVAL, "LUKS key slot %u has %u stripes, not %d", n, s->stripes,
                       STRIPES);
    }
    if (s->active && (s->iterations == 0 || s->iterations > MAX_ITERATIONS)) {
        return err_set(e, -EINVAL, "LUKS key slot %u asks for %u iterations: at most %d", n,
                       s->iterations, MAX_ITERATIONS);
    }
    if (s->active &&
        (s->offset < HEADER_READ || s->offset + split_bytes(i->key_bits) > i->payload)) {
        return err_set(e, -EINVAL, "LUKS key slot %u is not between the header and the data", n);
    }
    return 0;
}

static int check_info(const struct luks_info *i, uint64_t room, struct err *e)
{
    int ret = 0;

    if (strcmp(i->cipher, "aes") != 0 || strcmp(i->mode, "xts-plain64") != 0) {
        return err_set(e, -ENOTSUP, "LUKS cipher %s-%s: Keel has aes-xts-plain64", i->cipher,
                       i->mode);
    }
    if (!find_hash(i->hash)) {
        return err_set(e, -ENOTSUP, "LUKS hash %s: Keel has sha1, sha256 and sha512", i->hash);
    }
    if (i->key_bits != 128 && i->key_bits != 256) {
        return err_set(e, -EINVAL, "LUKS key of %u bits", 2 * i->key_bits);
    }
    if (i->master_iterations == 0 || i->master_iterations > MAX_ITERATIONS) {
        return err_set(e, -EINVAL, "LUKS header asks for %u iterations: at most %d",
                       i->master_iterations, MAX_ITERATIONS);
    }
    if (i->payload > room) {
        return err_set(e, -EINVAL, "LUKS header of %llu bytes does not fit into the image",
                       (unsigned long long)i->payload);
    }
    for (unsigned n = 0; n < LUKS_SLOTS && ret == 0; n++) {
        ret = check_slot(i, n, e);
    }
    return ret;
}

int luks_read_header(struct node *file, uint64_t at, uint64_t room, uint8_t *b,
                     struct luks_info *out, struct err *e)
{
    int ret = node_read(file, at, b, HEADER_READ);

    if (ret < 0) {
        return err_set(e, ret, "its LUKS header cannot be read: %s", strerror(-ret));
    }
    if (memcmp(b, "LUKS\xba\xbe", 6) != 0) {
        return err_set(e, -EINVAL, "it has no LUKS header");
    }
    if (load_be16(b + 6) != 1) {
        return err_set(e, -ENOTSUP, "LUKS version %u: Keel has version 1", load_be16(b + 6));
    }
    text_field(out->cipher, b + 8, 32);
    text_field(out->mode, b + 40, 32);
    text_field(out->hash, b + 72, 32);
    text_field(out->uuid, b + 168, 40);
    out->payload = load_be32(b + 104) * (uint64_t)LUKS_SECTOR;
    out->key_bits = (unsigned)min_u64(load_be32(b + 108) * 4ull, UINT32_MAX);
    out->master_iterations = load_be32(b + 164);
    for (unsigned n = 0; n < LUKS_SLOTS; n++) {
        const uint8_t *s = b + SLOT_AT + n * SLOT_BYTES;
        out->slot[n] = (struct luks_slot){ .active = load_be32(s) == SLOT_ACTIVE,
                                           .iterations = load_be32(s + 4),
                                           .offset = load_be32(s + 40) * (uint64_t)LUKS_SECTOR,
                                           .stripes = load_be32(s + 44) };
    }
    return check_info(out, room, e);
}

int luks_info(struct node *file, uint64_t at, uint64_t room, struct luks_info *out, struct err *e)
{
    uint8_t b[HEADER_READ];

    *out = (struct luks_info){ 0 };
    return luks_read_header(file, at, room, b, out, e);
}

/* ---- splitting a key so that all of its parts are needed (the specification, 2.4) ---- */

static void diffuse(const struct nettle_hash *h, uint8_t *block, size_t len)
{
    uint8_t ctx[512], number[4];

    for (size_t at = 0, i = 0; at < len; at += h->digest_size, i++) {
        size_t n = min_u64(h->digest_size, len - at);
        store_be32(number, (uint32_t)i);
        h->init(ctx);
        h->update(ctx, sizeof(number), number);
        h->update(ctx, n, block + at);
        h->digest(ctx, n, block + at);
    }
}

static void mix(uint8_t *to, const uint8_t *with, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        to[i] ^= with[i];
    }
}

/* parts: STRIPES times len bytes, all but the last of them random. */
void luks_split_key(const struct nettle_hash *h, const uint8_t *key, size_t len, uint8_t *parts)
{
    uint8_t sum[MAX_KEY] = { 0 };

    for (unsigned i = 0; i < STRIPES - 1; i++) {
        mix(sum, parts + i * len, len);
        diffuse(h, sum, len);
    }
    mix(sum, key, len);
    memcpy(parts + (STRIPES - 1) * len, sum, len);
    explicit_bzero(sum, sizeof(sum));
}

static void merge_key(const struct nettle_hash *h, const uint8_t *parts, size_t len, uint8_t *key)
{
    memset(key, 0, len);
    for (unsigned i = 0; i < STRIPES - 1; i++) {
        mix(key, parts + i * len, len);
        diffuse(h, key, len);
    }
    mix(key, parts + (STRIPES - 1) * len, len);
}

/* ---- sectors ---- */

static void set_key(struct luks *l, unsigned key_bits, const uint8_t *key)
{
    l->wide = key_bits == 256;
    if (l->wide) {
        xts_aes256_set_encrypt_key(&l->enc256, key);
        xts_aes256_set_decrypt_key(&l->dec256, key);
    } else {
        xts_aes128_set_encrypt_key(&l->enc128, key);
        xts_aes128_set_decrypt_key(&l->dec128, key);
    }
}

/* nettle's keys are not written to, though it does not say const. */
static void crypt_sector(const struct luks *l, bool encrypt, const uint8_t *tweak, uint8_t *p)
{
    struct luks *k = (struct luks *)l;

    if (l->wide && encrypt) {
        xts_aes256_encrypt_message(&k->enc256, tweak, LUKS_SECTOR, p, p);
    } else if (l->wide) {
        xts_aes256_decrypt_message(&k->dec256, tweak, LUKS_SECTOR, p, p);
    } else if (encrypt) {
        xts_aes128_encrypt_message(&k->enc128, tweak, LUKS_SECTOR, p, p);
    } else {
        xts_aes128_decrypt_message(&k->dec128, tweak, LUKS_SECTOR, p, p);
    }
}

void luks_crypt(const struct luks *l, bool encrypt, uint64_t sector, uint8_t *bytes, size_t len)
{
    uint8_t tweak[16] = { 0 };

    for (size_t at = 0; at < len; at += LUKS_SECTOR, sector++) {
        store_le(tweak, 8, sector);
        crypt_sector(l, encrypt, tweak, bytes + at);
    }
}

/* ---- opening ---- */

void luks_crypt_parts(const struct luks_opening *o, bool encrypt, unsigned iterations,
                      const uint8_t *salt)
{
    uint8_t derived[MAX_KEY];
    struct luks l = { 0 };

    o->hash->derive(o->key->len, o->key->bytes, iterations, SALT, salt, o->len, derived);
    set_key(&l, o->info->key_bits, derived);
    luks_crypt(&l, encrypt, 0, o->parts, split_bytes(o->info->key_bits));
    explicit_bzero(derived, sizeof(derived));
    explicit_bzero(&l, sizeof(l));
}

static void digest_key(const struct luks_opening *o, const uint8_t *master, const uint8_t *salt,
                       uint8_t *out)
{
    o->hash->derive(o->len, master, o->info->master_iterations, SALT, salt, DIGEST, out);
}

/* 1: master is the key; 0: this slot does not take the passphrase. */
static int try_slot(const struct luks_opening *o, struct node *file, uint64_t at, unsigned n,
                    uint8_t *master)
{
    const struct luks_slot *s = &o->info->slot[n];
    uint8_t digest[DIGEST];
    int ret = node_read(file, at + s->offset, o->parts, split_bytes(o->info->key_bits));

    if (ret < 0) {
        return ret;
    }
    luks_crypt_parts(o, false, s->iterations, o->header + SLOT_AT + n * SLOT_BYTES + 8);
    merge_key(o->hash->hash, o->parts, o->len, master);
    digest_key(o, master, o->header + 132, digest);
    return memcmp(digest, o->header + 112, DIGEST) == 0;
}

int luks_open_slot(const struct luks_opening *o, struct node *file, uint64_t at, unsigned *n,
                   uint8_t *master)
{
    for (; *n < LUKS_SLOTS; ++*n) {
        int ret = o->info->slot[*n].active ? try_slot(o, file, at, *n, master) : 0;
        if (ret) {
            return ret;
        }
    }
    return 0;
}

int luks_refuse_key(int ret, const struct luks_key *key, struct err *e)
{
    if (ret < 0) {
        return err_set(e, ret, "%s", strerror(-ret));
    }
    err_set(e, -EACCES, "Invalid password, cannot unlock any keyslot");
    if (key->name) {
        err_prefix(e, "secret '%s'", key->name);
    }
    return -EACCES;
}

struct luks_opening luks_opening_of(const struct luks_info *info, const uint8_t *header,
                                    const struct luks_key *key)
{
    return (struct luks_opening){ .info = info,
                                  .hash = find_hash(info->hash),
                                  .key = key,
                                  .header = header,
                                  .parts = xcalloc(1, luks_slot_bytes(info->key_bits)),
                                  .len = info->key_bits / 4 };
}

void luks_opening_end(struct luks_opening *o, uint8_t *master)
{
    explicit_bzero(master, MAX_KEY);
    explicit_bzero(o->parts, luks_slot_bytes(o->info->key_bits));
    free(o->parts);
}

struct luks *luks_open(struct node *file, uint64_t at, uint64_t room, const struct luks_key *key,
                       struct err *e)
{
    uint8_t b[HEADER_READ], master[MAX_KEY];
    struct luks_info info = { 0 };
    struct luks *l = NULL;

    if (luks_read_header(file, at, room, b, &info, e) < 0) {
        return NULL;
    }
    struct luks_opening o = luks_opening_of(&info, b, key);
    unsigned slot = 0;
    int ret = luks_open_slot(&o, file, at, &slot, master);
    if (ret == 1) {
        l = xcalloc(1, sizeof(*l));
        l->payload = info.payload;
        set_key(l, info.key_bits, master);
    } else {
        luks_refuse_key(ret, key, e);
    }
    luks_opening_end(&o, master);
    return l;
}

void luks_free(struct luks *l)
{
    if (l) {
        explicit_bzero(l, sizeof(*l));
        free(l);
    }
}

uint64_t luks_payload(const struct luks *l)
{
    return l->payload;
}

/* ---- making ---- */

unsigned luks_iterations_for(const struct luks_hash *h, unsigned ms)
{
    uint8_t salt[SALT] = { 0 }, out[MAX_KEY];
    struct timespec a, b;
    unsigned n = 8192;
    double took;

    do {
        n *= 2;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
        h->derive(sizeof(salt), salt, n, SALT, salt, sizeof(out), out);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
        took = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    } while (took < 5 && n < 1u << 22);
    return (unsigned)min_u64(max_u64((uint64_t)(n / took * ms), MIN_ITERATIONS), MAX_ITERATIONS);
}

int luks_random(void *p, size_t len, struct err *e)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = getrandom((char *)p + at, len - at, 0);
        if (n < 0 && errno != EINTR) {
            return err_set(e, -errno, "no random numbers: %s", strerror(errno));
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void put_header(uint8_t *b, const struct luks_info *i, const char *hash)
{
    memcpy(b, "LUKS\xba\xbe\0\1", 8);
    memcpy(b + 8, "aes", 3);
    memcpy(b + 40, "xts-plain64", 11);
    memcpy(b + 72, hash, strlen(hash));
    store_be32(b + 104, (uint32_t)(i->payload / LUKS_SECTOR));
    store_be32(b + 108, i->key_bits / 4);
    store_be32(b + 164, i->master_iterations);
    memcpy(b + 168, i->uuid, 40);
    for (unsigned n = 0; n < LUKS_SLOTS; n++) {
        uint8_t *s = b + SLOT_AT + n * SLOT_BYTES;
        store_be32(s, i->slot[n].active ? SLOT_ACTIVE : SLOT_FREE);
        store_be32(s + 4, i->slot[n].iterations);
        store_be32(s + 40, (uint32_t)(i->slot[n].offset / LUKS_SECTOR));
        store_be32(s + 44, STRIPES);
    }
}

static void make_uuid(char *out, const uint8_t *r)
{
    snprintf(out, 41, "%02x%02x%02x%02x-%02x%02x-4%01x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0],
             r[1], r[2], r[3], r[4], r[5], r[6] & 15, r[7], (r[8] & 0x3f) | 0x80, r[9], r[10],
             r[11], r[12], r[13], r[14], r[15]);
}

uint8_t *luks_create(const struct luks_create *c, const struct luks_key *key, uint64_t *len,
                     struct err *e)
{
    const struct luks_hash *h = find_hash(c->hash);
    uint8_t *b, master[MAX_KEY], uuid[16];
    struct luks_info i = { .key_bits = c->key_bits, .payload = luks_header_bytes(c->key_bits) };

    if (!h || (c->key_bits != 128 && c->key_bits != 256)) {
        err_set(e, -ENOTSUP,
                "LUKS with hash %s and keys of %u bits: Keel has sha1, sha256, sha512, "
                "128 and 256",
                c->hash, c->key_bits);
        return NULL;
    }
    *len = i.payload;
    b = xcalloc(1, *len);
    struct luks_opening o = {
        .info = &i, .hash = h, .key = key, .parts = b + KEY_ALIGN, .len = c->key_bits / 4
    };
    uint8_t *slot = b + SLOT_AT;
    if (luks_random(master, sizeof(master), e) < 0 || luks_random(uuid, sizeof(uuid), e) < 0 ||
        luks_random(b + 132, SALT, e) < 0 || luks_random(slot + 8, SALT, e) < 0 ||
        luks_random(o.parts, (STRIPES - 1) * o.len, e) < 0) {
        free(b);
        return NULL;
    }
    make_uuid(i.uuid, uuid);
    for (unsigned n = 0; n < LUKS_SLOTS; n++) {
        i.slot[n].offset = KEY_ALIGN + n * luks_slot_bytes(c->key_bits);
    }
    i.slot[0].active = true;
    i.slot[0].iterations = luks_iterations_for(h, c->iter_ms);
    i.master_iterations = (unsigned)max_u64(i.slot[0].iterations / 8, MIN_ITERATIONS);
    put_header(b, &i, c->hash);
    digest_key(&o, master, b + 132, b + 112);
    luks_split_key(h->hash, master, o.len, o.parts);
    luks_crypt_parts(&o, true, i.slot[0].iterations, slot + 8);
    explicit_bzero(master, sizeof(master));
    return b;
}
