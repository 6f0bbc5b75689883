/* SPDX-License-Identifier: MIT */
/* dm/throttle-object.c - "throttle-group" objects. */
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/keyval.h"
#include "dm/secret.h"
#include "dm/tls-object.h"

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
    if (throttle_group_find(b->throttles, id) || secret_find(b->secrets, id, NULL) ||
        tls_object_has(b->tls, id)) {
        return err_set(e, -EEXIST, "A group with this name already exists");
    }
    if (parse(kv, &l, e) < 0 || keyval_done(kv, e) < 0) {
        return -EINVAL;
    }
    throttle_group_set(throttle_group_new(&b->throttles, id), &l);
    return 0;
}
