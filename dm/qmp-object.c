/* SPDX-License-Identifier: MIT */
/* dm/qmp-object.c - object-add, object-del: throttle groups, secrets, TLS credentials. */
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/keel.h"
#include "dm/keyval-json.h"
#include "dm/qmp.h"
#include "dm/secret.h"
#include "dm/tls-object.h"

#include <string.h>

static const struct {
    const char *type;
    int (*add)(struct backends *b, struct keyval *kv, struct err *e);
} types[] = { { "secret", secret_object_add },
              { "throttle-group", throttle_object_add },
              { "tls-creds-psk", tls_creds_object_add },
              { "tls-creds-x509", tls_creds_object_add } };

static json_t *do_object_add(struct qmp_call *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (strcmp(types[i].type, qmp_str(c, "qom-type")) != 0) {
            continue;
        }
        struct keyval *kv = keyval_from_json(c->args, KEYVAL_NUMBERED, &c->err);
        int ret = kv ? types[i].add(&c->k->be, kv, &c->err) : c->err.code;
        keyval_free(kv);
        return ret < 0 ? NULL : qmp_ok();
    }
    return qmp_fail(c, NULL, "qom-type '%.60s': Keel does not have it yet", qmp_str(c, "qom-type"));
}

static json_t *do_object_del(struct qmp_call *c)
{
    const char *id = qmp_str(c, "id");
    struct throttle_group *g = throttle_group_find(c->k->be.throttles, id);

    if (secret_del(&c->k->be.secrets, id) || tls_object_del(&c->k->be.tls, id)) {
        return qmp_ok();
    }
    if (!g) {
        return qmp_fail(c, NULL, "object '%.60s' not found", id);
    }
    if (throttle_group_used(g)) {
        return qmp_fail(c, NULL, "object '%.60s' is in use, can not be deleted", id);
    }
    throttle_group_drop(&c->k->be.throttles, g);
    return qmp_ok();
}

const struct qmp_command qmp_commands_object[] = {
    { "object-add", "qom-type:s id:s *", do_object_add },
    { "object-del", "id:s", do_object_del },
    { 0 },
};
