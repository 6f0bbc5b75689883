/* SPDX-License-Identifier: MIT */
/* dm/keyval.h - the sub-options of one command line argument: "a=b,c=d".
 *
 * A comma inside a value is written twice. A bare first word is the value of the option's implied
 * key; a bare later word is a switch: "word" means word=on, and "noword" word=off. Every getter
 * marks its key as used, so that keyval_done can name the one that nobody asked for.
 */
#ifndef DM_KEYVAL_H
#define DM_KEYVAL_H

#include "dm/base/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct keyval_pair {
    char *key, *value;
    bool bare; /* a switch without "=" */
    bool used;
};

struct keyval {
    char *text; /* as typed, for messages */
    struct keyval_pair *pair;
    size_t n;
};

/* implied may be NULL: then a bare first word is a switch too. */
struct keyval *keyval_parse(const char *text, const char *implied);
void keyval_free(struct keyval *kv);
/* Adds a pair, as if it had been typed at the end. */
void keyval_add(struct keyval *kv, const char *key, const char *value);

/* The last value given for key, or NULL. */
const char *keyval_get(struct keyval *kv, const char *key);
/* Each value given for key in turn: *at starts as 0. NULL after the last one. */
const char *keyval_next(struct keyval *kv, const char *key, size_t *at);
/* The rest leave *out alone when the key is absent. 0, or -EINVAL with e naming key and value. */
int keyval_bool(struct keyval *kv, const char *key, bool *out, struct err *e);
int keyval_u32(struct keyval *kv, const char *key, uint32_t *out, struct err *e);
/* Bytes with an optional suffix B, K, M, G or T; a number without one counts in `unit`. */
int keyval_size(struct keyval *kv, const char *key, uint64_t unit, uint64_t *out, struct err *e);
/* Drops a key that must have one of these values and has no further effect. */
int keyval_only(struct keyval *kv, const char *key, const char *const *values, struct err *e);
/* 0, or -EINVAL with e naming the first key that nobody asked for. */
int keyval_done(struct keyval *kv, struct err *e);

#endif
