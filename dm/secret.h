/* SPDX-License-Identifier: MIT */
/* dm/secret.h - "secret" objects: passphrases that other options name. docs/block.md 9. */
#ifndef DM_SECRET_H
#define DM_SECRET_H

#include "block/luks.h"

struct err;
struct keyval;
struct secret; /* a list of them begins as NULL */

/* What follows -object secret: id=ID and data=TEXT or file=FILE, which is read now; format=raw or
 * base64; keyid=ID of a secret of 32 bytes and iv=BASE64 when that one encrypts this one
 * (AES-256-CBC). 0, or -errno with e, which never tells the secret. */
int secret_add(struct secret **list, struct keyval *kv, struct err *e);
/* The passphrase; NULL with e. */
const struct luks_key *secret_find(const struct secret *list, const char *id, struct err *e);
/* False: there is none of that name. */
bool secret_del(struct secret **list, const char *id);
void secret_free_all(struct secret **list);

#endif
