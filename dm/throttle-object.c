/* SPDX-License-Identifier: MIT */
/* dm/throttle-object.c - "throttle-group" objects: -object, object-add. */
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/blockdev.h"
#include "dm/keel.h"
#include "dm/keyval.h"
#include "dm/qmp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Each limit as a property ("x-bps-total") and as a member of `limits`. */
static int parse(struct keyval *kv, struct throttle_limits *l, struct err *e)
{
    static const char *const names[THROTTLE_LIMITS] = { "bps-total",  "bps-read",  "bps-write",
                                                        "iops-total", "iops-read", "iops-write" };
    static const char *const prefixes[] = { "x-", "limits." };

    for (size_t p = 0; p < 2; p++) {
        char key[48];
        snprintf(key, sizeof(key), "%siops-size", prefixes[p]);
        if (keyval_size(kv, key, 1, &l->iops_size, e) < 0) {
            return -EINVAL;
        }
        for (size_t i = 0; i < THROTTLE_LIMITS; i++) {
            uint64_t *const out[] = { &l->avg[i], &l->max[i], &l->length[i] };
            static const char *const what[] = { "", "-max", "-max-length" };
            for (size_t k = 0; k < 3; k++) {
                snprintf(key, sizeof(key), "%s%s%s", prefixes[p], names[i], what[k]);
                if (keyval_size(kv, key, 1, out[k], e) < 0) {
                    return -EINVAL;
                }
            }
        }
    }
    return throttle_check(l, e);
}

int throttle_object_add(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "id");
    struct throttle_limits l = { 0 };

    keyval_get(kv, "qom-type");
    if (!id || !*id) {
        return err_set(e, -EINVAL, "Parameter 'id' is missing");
    }
    if (throttle_group_find(b->throttles, id)) {
        return err_set(e, -EEXIST, "A group with this name already exists");
    }
    if (parse(kv, &l, e) < 0 || keyval_done(kv, e) < 0) {
        return -EINVAL;
    }
    throttle_group_set(throttle_group_new(&b->throttles, id), &l);
    return 0;
}

static json_t *do_object_add(struct qmp_call *c)
{
    struct keyval *kv;
    int ret;

    if (strcmp(qmp_str(c, "qom-type"), "throttle-group") != 0) {
        return qmp_fail(c, NULL, "qom-type '%.60s': Keel does not have it yet",
                        qmp_str(c, "qom-type"));
    }
    kv = keyval_from_json(c->args);
    ret = throttle_object_add(&c->k->be, kv, &c->err);
    keyval_free(kv);
    return ret < 0 ? NULL : qmp_ok();
}

static json_t *do_object_del(struct qmp_call *c)
{
    struct throttle_group *g = throttle_group_find(c->k->be.throttles, qmp_str(c, "id"));

    if (!g) {
        return qmp_fail(c, NULL, "object '%.60s' not found", qmp_str(c, "id"));
    }
    if (throttle_group_used(g)) {
        return qmp_fail(c, NULL, "object '%.60s' is in use, can not be deleted", qmp_str(c, "id"));
    }
    throttle_group_drop(&c->k->be.throttles, g);
    return qmp_ok();
}

const struct qmp_command qmp_commands_object[] = {
    { "object-add", "qom-type:s id:s *", do_object_add },
    { "object-del", "id:s", do_object_del },
    { 0 },
};
