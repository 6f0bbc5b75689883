/* SPDX-License-Identifier: MIT */
/* dm/keyval.c - the sub-options of one command line argument. Reference: docs/cli.md 2. */
#include "dm/keyval.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void keyval_add(struct keyval *kv, const char *key, const char *value)
{
    kv->pair = xrealloc(kv->pair, (kv->n + 1) * sizeof(kv->pair[0]));
    kv->pair[kv->n++] = (struct keyval_pair){ .key = xstrdup(key), .value = xstrdup(value) };
}

/* Copies up to the next single comma, undoing doubled ones; returns what follows it or NULL. */
static const char *next_word(const char *p, char *out)
{
    for (; *p; p++) {
        if (*p == ',') {
            if (p[1] != ',') {
                *out = '\0';
                return p + 1;
            }
            p++;
        }
        *out++ = *p;
    }
    *out = '\0';
    return NULL;
}

static void add_word(struct keyval *kv, char *word, const char *implied)
{
    char *eq = strchr(word, '=');
    if (eq) {
        *eq = '\0';
        keyval_add(kv, word, eq + 1);
    } else if (implied) {
        keyval_add(kv, implied, word);
    } else if (*word) {
        keyval_add(kv, word, "on");
        kv->pair[kv->n - 1].bare = true;
    }
}

struct keyval *keyval_parse(const char *text, const char *implied)
{
    struct keyval *kv = xcalloc(1, sizeof(*kv));
    char *word = xcalloc(1, strlen(text) + 1);
    kv->text = xstrdup(text);
    for (const char *p = text; p && *p;) {
        p = next_word(p, word);
        add_word(kv, word, implied);
        implied = NULL;
    }
    free(word);
    return kv;
}

void keyval_free(struct keyval *kv)
{
    if (!kv) {
        return;
    }
    for (size_t i = 0; i < kv->n; i++) {
        free(kv->pair[i].key);
        free(kv->pair[i].value);
    }
    free(kv->pair);
    free(kv->text);
    free(kv);
}

static bool means_off(const struct keyval_pair *p, const char *key)
{
    return p->bare && strncmp(p->key, "no", 2) == 0 && strcmp(p->key + 2, key) == 0;
}

const char *keyval_get(struct keyval *kv, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < kv->n; i++) {
        struct keyval_pair *p = &kv->pair[i];
        if (strcmp(p->key, key) == 0) {
            p->used = true;
            value = p->value;
        } else if (means_off(p, key)) {
            p->used = true;
            value = "off";
        }
    }
    return value;
}

const char *keyval_next(struct keyval *kv, const char *key, size_t *at)
{
    while (*at < kv->n) {
        struct keyval_pair *p = &kv->pair[(*at)++];
        if (strcmp(p->key, key) == 0) {
            p->used = true;
            return p->value;
        }
    }
    return NULL;
}

int keyval_bool(struct keyval *kv, const char *key, bool *out, struct err *e)
{
    const char *v = keyval_get(kv, key);
    if (v && parse_bool(v, out) < 0) {
        return err_set(e, -EINVAL, "%s=%s: expected on or off", key, v);
    }
    return 0;
}

int keyval_u32(struct keyval *kv, const char *key, uint32_t *out, struct err *e)
{
    const char *v = keyval_get(kv, key);
    uint64_t n;
    if (!v) {
        return 0;
    }
    if (parse_u64(v, UINT32_MAX, &n) < 0) {
        return err_set(e, -EINVAL, "%s=%s: expected a number from 0 to 4294967295", key, v);
    }
    *out = (uint32_t)n;
    return 0;
}

int keyval_size(struct keyval *kv, const char *key, uint64_t unit, uint64_t *out, struct err *e)
{
    const char *v = keyval_get(kv, key);
    if (v && parse_size(v, unit, out) < 0) {
        return err_set(e, -EINVAL, "%s=%s: expected a size such as 64M", key, v);
    }
    return 0;
}

int keyval_only(struct keyval *kv, const char *key, const char *const *values, struct err *e)
{
    const char *v = keyval_get(kv, key);
    if (!v) {
        return 0;
    }
    for (; *values; values++) {
        if (strcmp(v, *values) == 0) {
            return 0;
        }
    }
    return err_set(e, -EINVAL, "%s=%s: known, but Keel does not have it yet", key, v);
}

int keyval_done(struct keyval *kv, struct err *e)
{
    for (size_t i = 0; i < kv->n; i++) {
        if (!kv->pair[i].used) {
            return err_set(e, -EINVAL, "unknown parameter '%s'", kv->pair[i].key);
        }
    }
    return 0;
}
