/* SPDX-License-Identifier: MIT */
/* ioreq/trace-state.c - what a device holds at the end of a trace, field by field.
 *
 * A digest is a run of entries: field name, 0, eight bytes. They are the value of a scalar, or a
 * hash over the elements of an array. Fields that only one side has are not compared: a device may
 * learn to remember more without making old traces worthless.
 */
#include "ioreq/trace-int.h"

#include "dm/base/bytes.h"

#include <stdio.h>
#include <string.h>

struct folder {
    struct state_buf *b;
    char name[128]; /* of the field at hand, "" before the first */
    uint64_t value;
};

static void finish_field(struct folder *f)
{
    if (f->name[0]) {
        state_put(f->b, f->name, strlen(f->name) + 1);
        state_put(f->b, &f->value, sizeof(f->value));
    }
}

/* Elements of an array come one after the other, "name[3]", and are one field here. */
static void fold(void *opaque, const char *name, uint64_t value)
{
    struct folder *f = opaque;
    size_t len = strlen(name);
    const char *bracket = strrchr(name, '[');

    if (bracket && name[len - 1] == ']') {
        len = (size_t)(bracket - name);
    }
    if (strlen(f->name) == len && strncmp(f->name, name, len) == 0) {
        uint64_t both[2] = { f->value, value };

        f->value = trace_hash(both, sizeof(both));
        return;
    }
    finish_field(f);
    snprintf(f->name, sizeof(f->name), "%.*s", (int)len, name);
    f->value = value;
}

void trace_state_digest(const struct device *d, struct state_buf *b)
{
    struct folder f = { .b = b };

    dev_state_each(d, fold, &f);
    finish_field(&f);
}

/* Takes the next entry off p[*at..len); false at the end, or where there is no whole entry. */
static bool next_entry(const uint8_t *p, size_t len, size_t *at, const char **name, uint64_t *value)
{
    size_t n = strnlen((const char *)p + *at, len - *at);

    if (n + 9 > len - *at) {
        return false;
    }
    *name = (const char *)p + *at;
    *value = load_le64(p + *at + n + 1);
    *at += n + 9;
    return true;
}

/* Fields nearly always are in the same order, so that looking on from the last one finds it. */
static bool find_entry(const struct state_buf *b, size_t *at, const char *wanted, uint64_t *value)
{
    const char *name;

    for (unsigned turn = 0; turn < 2; turn++, *at = 0) {
        while (next_entry(b->p, b->len, at, &name, value)) {
            if (strcmp(name, wanted) == 0) {
                return true;
            }
        }
    }
    return false;
}

const char *trace_state_mismatch(const uint8_t *recorded, size_t len, const struct state_buf *now,
                                 uint64_t *e, uint64_t *g)
{
    size_t at = 0, here = 0;
    const char *name;

    while (next_entry(recorded, len, &at, &name, e)) {
        if (now->len && find_entry(now, &here, name, g) && *g != *e) {
            return name;
        }
    }
    return NULL;
}
