/* SPDX-License-Identifier: MIT */
/* dm/keyval-json.c - JSON objects as sub-options. Reference: docs/cli.md 2. */
#include "dm/keyval-json.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>

static bool add(struct keyval *kv, const char *path, const json_t *v, enum keyval_lists lists);

static bool add_object(struct keyval *kv, const char *path, const json_t *v,
                       enum keyval_lists lists)
{
    const char *name;
    json_t *member;
    bool good = true;

    json_object_foreach((json_t *)v, name, member)
    {
        char *inner = *path ? xasprintf("%s.%s", path, name) : xstrdup(name);
        good = good && add(kv, inner, member, lists);
        free(inner);
    }
    return good;
}

static bool add_list(struct keyval *kv, const char *path, const json_t *v, enum keyval_lists lists)
{
    json_t *member;
    bool good = true;
    size_t i;

    json_array_foreach((json_t *)v, i, member)
    {
        const json_t *str = json_is_object(member) ? json_object_get(member, "str") : member;
        if (lists == KEYVAL_NUMBERED) {
            char *inner = xasprintf("%s.%zu", path, i);
            good = good && add(kv, inner, member, lists);
            free(inner);
        } else if (json_is_string(str)) {
            keyval_add(kv, path, json_string_value(str));
        } else {
            return false;
        }
    }
    return good;
}

static bool add(struct keyval *kv, const char *path, const json_t *v, enum keyval_lists lists)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return add_object(kv, path, v, lists);
    case JSON_ARRAY:
        return add_list(kv, path, v, lists);
    case JSON_STRING:
        keyval_add(kv, path, json_string_value(v));
        return true;
    case JSON_INTEGER: {
        char *number = xasprintf("%lld", (long long)json_integer_value(v));
        keyval_add(kv, path, number);
        free(number);
        return true;
    }
    case JSON_TRUE:
    case JSON_FALSE:
        keyval_add(kv, path, json_is_true(v) ? "on" : "off");
        return true;
    case JSON_NULL:
        keyval_add(kv, path, "");
        return lists == KEYVAL_NUMBERED;
    default:
        return false;
    }
}

struct keyval *keyval_from_json(const json_t *object, enum keyval_lists lists, struct err *e)
{
    struct keyval *kv = keyval_parse("", NULL);
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)object, name, member)
    {
        if (!add(kv, name, member, lists)) {
            err_set(e, -EINVAL, "Invalid parameter type for '%.100s'", name);
            keyval_free(kv);
            return NULL;
        }
    }
    return kv;
}

struct keyval *keyval_parse_json(const char *text, enum keyval_lists lists, struct err *e)
{
    json_error_t why = { 0 };
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    struct keyval *kv = NULL;

    if (json_is_object(object)) {
        kv = keyval_from_json(object, lists, e);
    } else {
        err_set(e, -EINVAL, "not a JSON object: %s", why.text);
    }
    json_decref(object);
    if (kv) {
        free(kv->text);
        kv->text = xstrdup(text);
    }
    return kv;
}
