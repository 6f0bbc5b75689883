/* SPDX-License-Identifier: MIT */
/* dm/base/parse.c - values that people type; see parse.h. */
#include "dm/base/parse.h"

#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = { "on", "yes", "true", "y" };
    static const char *const no[] = { "off", "no", "false", "n" };
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return -EINVAL;
}

/* The number at the head of text; *end is what follows it, NULL when there is none. */
static uint64_t number(const char *text, const char **end)
{
    bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
    char *rest;
    errno = 0;
    uint64_t v = strtoull(text, &rest, hex ? 16 : 10);
    *end = *text >= '0' && *text <= '9' && !errno ? rest : NULL;
    return v;
}

int parse_u64(const char *text, uint64_t max, uint64_t *out)
{
    const char *end;
    uint64_t v = number(text, &end);
    if (!end || *end || v > max) {
        return -EINVAL;
    }
    *out = v;
    return 0;
}

int parse_size(const char *text, uint64_t unit, uint64_t *out)
{
    static const char suffixes[] = "bkmgt";
    const char *end;
    uint64_t v = number(text, &end);
    if (end && *end) {
        const char *s = strchr(suffixes, *end | 0x20);
        if (!s || end[1]) {
            return -EINVAL;
        }
        unit = 1ull << (10 * (s - suffixes));
    }
    if (!end || __builtin_mul_overflow(v, unit, &v)) {
        return -EINVAL;
    }
    *out = v;
    return 0;
}
