/* SPDX-License-Identifier: MIT */
/* tools/img-luks.c - keel-img with encryption: options of create, the format "luks", info. */
#include "block/crypt.h"
#include "tools/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *option(const char *options, const char *prefix, const char *key)
{
    char name[64];

    snprintf(name, sizeof(name), "%s%s", prefix, key);
    return option_get(options, name);
}

/* Options that can have only one value. */
static int check_fixed(const char *options, const char *prefix)
{
    static const struct {
        const char *key, *value;
    } fixed[] = { { "cipher-mode", "xts" }, { "ivgen-alg", "plain64" } };

    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        char *v = option(options, prefix, fixed[i].key);
        bool wrong = v && strcmp(v, fixed[i].value) != 0;
        free(v);
        if (wrong) {
            return fail("%s%s: Keel has %s", prefix, fixed[i].key, fixed[i].value);
        }
    }
    return 0;
}

int take_luks(struct luks_options *l, const char *options, const char *prefix)
{
    char *cipher = option(options, prefix, "cipher-alg"),
         *hash = option(options, prefix, "hash-alg"), *iter = option(options, prefix, "iter-time"),
         *id = option(options, prefix, "key-secret");
    static const char *const hashes[] = { "sha1", "sha256", "sha512" };
    struct err e = { 0 };
    uint64_t ms = 2000;
    int rc = check_fixed(options, prefix);

    l->create = (struct luks_create){ .key_bits = 256, .hash = hash ? NULL : "sha256" };
    for (size_t i = 0; hash && i < ARRAY_SIZE(hashes); i++) {
        l->create.hash = strcmp(hash, hashes[i]) == 0 ? hashes[i] : l->create.hash;
    }
    if (cipher && strcmp(cipher, "aes-128") == 0) {
        l->create.key_bits = 128;
    } else if (cipher && strcmp(cipher, "aes-256") != 0) {
        rc = fail("%scipher-alg=%s: Keel has aes-128 and aes-256", prefix, cipher);
    }
    if (rc == 0 && !l->create.hash) {
        rc = fail("%shash-alg=%s: Keel has sha1, sha256 and sha512", prefix, hash);
    }
    if (rc == 0 && iter && (!tool_bytes(iter, &ms) || ms < 1 || ms > 60000)) {
        rc = fail("%siter-time=%s: 1 to 60000 ms", prefix, iter);
    }
    l->create.iter_ms = (unsigned)ms;
    l->key = rc == 0 && id ? tool_secret(id, &e) : NULL;
    if (rc == 0 && !l->key) {
        rc = id ? fail("%s", e.msg)
                : fail("Parameter '%skey-secret' is required for cipher", prefix);
    }
    free(cipher);
    free(hash);
    free(iter);
    free(id);
    return rc;
}

int parse_encrypt(const char *filename, const char *options, struct luks_options *l)
{
    char *format = option_get(options, "encrypt.format");
    char *old = option_get(options, "encryption");
    int rc = 0;

    if ((format && strcmp(format, "aes") == 0) || (old && strcmp(old, "off") != 0)) {
        rc = fail("%s: AES encryption of the old kind is not safe: Keel has encrypt.format=luks",
                  filename);
    } else if (format && strcmp(format, "luks") != 0) {
        rc = fail("%s: encrypt.format=%s: Keel has luks", filename, format);
    } else if (format) {
        l->on = true;
        rc = take_luks(l, options, "encrypt.");
    }
    free(format);
    free(old);
    return rc;
}

int make_luks(struct img *im, const char *filename, uint64_t size, const char *options)
{
    struct file_open f = { .filename = filename, .fd = -1, .growable = true, .lock = true };
    char *given = option_get(options, "size");
    struct luks_options l = { .on = true };
    struct err e = { 0 };
    struct node *n;
    int ret;

    if (size == UINT64_MAX && given && !tool_bytes(given, &size)) {
        size = UINT64_MAX;
    }
    free(given);
    if (size == UINT64_MAX) {
        return fail("%s: Image creation needs a size parameter", filename);
    }
    if (take_luks(&l, options, "")) {
        return 1;
    }
    im->target_key = l.key;
    if (!im->quiet) {
        printf("Formatting '%s', fmt=luks size=%" PRIu64 "\n", filename, size);
    }
    if (file_create(filename, 0, &e) < 0 || !(n = file_open(im->ctx, &f, &e))) {
        return fail("%s: %s", filename, e.msg);
    }
    ret = crypt_create(n, (size + 511) & ~511ull, &l.create, l.key, &e);
    if (ret < 0) {
        fail("%s: %s", filename, e.msg);
    }
    return img_close(n) || ret < 0;
}

/* ---- amend ---- */

/* A secret that -o names, or not. 0, or 1 after telling why. */
static int take_secret(const char *options, const char *prefix, const char *key,
                       const struct luks_key **out)
{
    char *id = option(options, prefix, key);
    struct err e = { 0 };

    *out = id ? tool_secret(id, &e) : NULL;
    bool bad = id && !*out;
    free(id);
    return bad ? fail("%s", e.msg) : 0;
}

/* What goes with state=active, or with inactive. */
static int check_amend_luks(const struct luks_amend *a, const char *prefix,
                            const struct luks_key *new_key, const struct luks_key *old_key,
                            bool iter)
{
    if (a->activate && !new_key) {
        return fail("'%snew-secret' is required to activate a keyslot", prefix);
    }
    if (a->activate && old_key) {
        return fail("'%sold-secret' must not be given when activating keyslots", prefix);
    }
    if (!a->activate && (new_key || iter)) {
        return fail("'%s%s' must not be given when erasing keyslots", prefix,
                    new_key ? "new-secret" : "iter-time");
    }
    if (!a->activate && a->slot < 0 && !old_key) {
        return fail("To erase keyslot(s), either explicit keyslot index or the password currently "
                    "contained in them must be given");
    }
    return a->activate && !a->key ? fail("Parameter 'key-secret' is required for cipher") : 0;
}

static int parse_amend_luks(struct luks_amend *a, const char *options, const char *prefix)
{
    const struct luks_key *new_key = NULL, *old_key = NULL;
    char *state = option(options, prefix, "state"), *slot = option(options, prefix, "keyslot"),
         *iter = option(options, prefix, "iter-time");
    uint64_t ms = 2000, n = 0;
    int rc = take_secret(options, prefix, "new-secret", &new_key) ||
             take_secret(options, prefix, "old-secret", &old_key);

    a->activate = state && strcmp(state, "active") == 0;
    if (rc == 0 && !a->activate && (!state || strcmp(state, "inactive") != 0)) {
        rc = state ? fail("Invalid parameter '%s': %sstate is active or inactive", state, prefix)
                   : fail("Parameter '%sstate' is missing", prefix);
    }
    if (rc == 0 && slot && (!tool_bytes(slot, &n) || n >= LUKS_SLOTS)) {
        rc = fail("Invalid keyslot %s specified, must be between 0 and %d", slot, LUKS_SLOTS - 1);
    }
    if (rc == 0 && iter && (!tool_bytes(iter, &ms) || ms < 1 || ms > 60000)) {
        rc = fail("%siter-time=%s: 1 to 60000 ms", prefix, iter);
    }
    a->slot = slot ? (int)n : -1;
    a->iter_ms = (unsigned)ms;
    a->other = a->activate ? new_key : old_key;
    rc = rc ? rc : check_amend_luks(a, prefix, new_key, old_key, iter);
    free(state);
    free(slot);
    free(iter);
    return rc;
}

int amend_luks(struct img *im, struct node *n, const char *prefix, bool force)
{
    struct luks_amend a = { .force = force, .key = im->source_key };
    struct err e = { 0 };
    int ret;

    if (parse_amend_luks(&a, im->options, prefix)) {
        return 1;
    }
    ret = qcow2_is(n) ? qcow2_luks_amend(n, &a, &e) : luks_amend(n->file, 0, n->file->len, &a, &e);
    return ret < 0 ? fail("%s", e.msg) : 0;
}

/* ---- info ---- */

void print_luks(const struct luks_info *i, const char *indent, bool format)
{
    printf("%sivgen alg: plain64\n%shash alg: %s\n%scipher alg: aes-%u\n%suuid: %s\n", indent,
           indent, i->hash, indent, i->key_bits, indent, i->uuid);
    if (format) {
        printf("%sformat: luks\n", indent);
    }
    printf("%scipher mode: xts\n%sslots:\n", indent, indent);
    for (unsigned n = 0; n < LUKS_SLOTS; n++) {
        const struct luks_slot *s = &i->slot[n];
        printf("%s    [%u]:\n%s        active: %s\n", indent, n, indent,
               s->active ? "true" : "false");
        if (s->active) {
            printf("%s        iters: %u\n", indent, s->iterations);
        }
        printf("%s        key offset: %" PRIu64 "\n", indent, s->offset);
        if (s->active) {
            printf("%s        stripes: %u\n", indent, s->stripes);
        }
    }
    printf("%spayload offset: %" PRIu64 "\n%smaster key iters: %u\n", indent, i->payload, indent,
           i->master_iterations);
}
