/* SPDX-License-Identifier: MIT */
/* dm/tls-object.h - "tls-creds-x509" and "tls-creds-psk" objects, which NBD's options name. */
#ifndef DM_TLS_OBJECT_H
#define DM_TLS_OBJECT_H

#include "block/tls.h"

struct keyval;
struct secret;
struct tls_object; /* a list of them begins as NULL */

/* What follows -object tls-creds-x509 or tls-creds-psk: id=ID, dir=DIR, endpoint=server|client,
 * verify-peer=, username=, priority=, passwordid=ID of a secret. The files are read now. 0, or -errno
 * with e. */
int tls_object_add(struct tls_object **list, struct keyval *kv, const struct secret *secrets,
                   struct err *e);
/* Those of that name and side; NULL with e. The object keeps them. */
struct tls_creds *tls_object_find(const struct tls_object *list, const char *id, bool server,
                                  struct err *e);
/* One of that name is there. */
bool tls_object_has(const struct tls_object *list, const char *id);
/* False: there is none of that name. Connections that use it go on. */
bool tls_object_del(struct tls_object **list, const char *id);
void tls_object_free_all(struct tls_object **list);

#endif
