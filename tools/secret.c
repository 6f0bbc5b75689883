/* SPDX-License-Identifier: MIT */
/* tools/secret.c - --object of the image tools. */
#include "dm/secret.h"
#include "dm/tls-object.h"

#include "dm/base/err.h"
#include "dm/keyval.h"
#include "tools/tool.h"

#include <errno.h>
#include <string.h>

static struct secret *secrets;
static struct tls_object *tls;

int tool_object(const char *text, struct err *e)
{
    struct keyval *kv = keyval_parse(text, "qom-type");
    const char *type = keyval_get(kv, "qom-type");
    int ret;

    if (type && strcmp(type, "secret") == 0) {
        ret = secret_add(&secrets, kv, e);
    } else if (type &&
               (strcmp(type, "tls-creds-x509") == 0 || strcmp(type, "tls-creds-psk") == 0)) {
        ret = tls_object_add(&tls, kv, secrets, e);
    } else {
        ret = err_set(e, -ENOTSUP, "--object %s: Keel has secret, tls-creds-x509 and tls-creds-psk",
                      type ? type : "");
    }

    keyval_free(kv);
    return ret;
}

struct tls_creds *tool_tls(const char *id, bool server, struct err *e)
{
    return tls_object_find(tls, id, server, e);
}

const struct luks_key *tool_secret(const char *id, struct err *e)
{
    return secret_find(secrets, id, e);
}
