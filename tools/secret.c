/* SPDX-License-Identifier: MIT */
/* tools/secret.c - --object of the image tools. */
#include "dm/secret.h"

#include "dm/base/err.h"
#include "dm/keyval.h"
#include "tools/tool.h"

#include <errno.h>
#include <string.h>

static struct secret *secrets;

int tool_object(const char *text, struct err *e)
{
    struct keyval *kv = keyval_parse(text, "qom-type");
    const char *type = keyval_get(kv, "qom-type");
    int ret = type && strcmp(type, "secret") == 0
                  ? secret_add(&secrets, kv, e)
                  : err_set(e, -ENOTSUP, "--object %s: Keel has secret", type ? type : "");

    keyval_free(kv);
    return ret;
}

const struct luks_key *tool_secret(const char *id, struct err *e)
{
    return secret_find(secrets, id, e);
}
