/* SPDX-License-Identifier: MIT */
/* ioreq/dev.c - devices and their properties. */
#include "dm/base/parse.h"
#include "ioreq/machine-int.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- properties ---- */

const struct dev_prop *dev_prop_find(const struct dev_class *c, const char *name)
{
    for (const struct dev_prop *p = c->props; p && p->kind != PROP_END; p++) {
        if (!strcmp(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

static void *slot_of(struct device *d, const struct dev_prop *p)
{
    return (uint8_t *)d + p->offset;
}

/* The slot of the named property, which the board knows to be there and of that kind. */
static void *slot_named(struct device *d, const char *name, enum prop_kind kind)
{
    const struct dev_prop *p = dev_prop_find(d->class, name);
    assert(p && p->kind == kind);
    return slot_of(d, p);
}

void dev_set_bool(struct device *d, const char *prop, bool v)
{
    *(bool *)slot_named(d, prop, PROP_BOOL) = v;
}

void dev_set_u32(struct device *d, const char *prop, uint32_t v)
{
    *(uint32_t *)slot_named(d, prop, PROP_U32) = v;
}

void dev_set_size(struct device *d, const char *prop, uint64_t v)
{
    *(uint64_t *)slot_named(d, prop, PROP_SIZE) = v;
}

static void set_str(char **slot, const char *v)
{
    char *copy = v ? xstrdup(v) : NULL;
    free(*slot);
    *slot = copy;
}

void dev_set_str(struct device *d, const char *prop, const char *v)
{
    set_str(slot_named(d, prop, PROP_STR), v);
}

void dev_set_ptr(struct device *d, const char *prop, void *v)
{
    const struct dev_prop *p = dev_prop_find(d->class, prop);
    assert(p && (p->kind == PROP_BLK || p->kind == PROP_CHR || p->kind == PROP_NIC ||
                 p->kind == PROP_PTR));
    *(void **)slot_of(d, p) = v;
}

static bool set_u32(struct device *d, const struct dev_prop *p, const char *text)
{
    uint64_t v;
    if (parse_u64(text, UINT32_MAX, &v) < 0) {
        return false;
    }
    *(uint32_t *)slot_of(d, p) = (uint32_t)v;
    return true;
}

int dev_set_text(struct device *d, const char *prop, const char *text, struct err *e)
{
    const struct dev_prop *p = dev_prop_find(d->class, prop);
    if (!p) {
        return err_set(e, -ENOENT, "%s has no property \"%s\"", d->class->name, prop);
    }
    bool good = false;
    if (p->kind == PROP_BOOL) {
        good = parse_bool(text, slot_of(d, p)) == 0;
    } else if (p->kind == PROP_U32) {
        good = set_u32(d, p, text);
    } else if (p->kind == PROP_SIZE) {
        good = parse_size(text, 1, slot_of(d, p)) == 0;
    } else if (p->kind == PROP_STR) {
        set_str(slot_of(d, p), text);
        good = true;
    }
    return good ? 0
                : err_set(e, -EINVAL, "%s: property \"%s\" cannot be \"%s\"", d->class->name, prop,
                          text);
}

static void set_defaults(struct device *d)
{
    for (const struct dev_prop *p = d->class->props; p && p->kind != PROP_END; p++) {
        void *slot = slot_of(d, p);
        if (p->kind == PROP_BOOL) {
            *(bool *)slot = p->def;
        } else if (p->kind == PROP_U32) {
            *(uint32_t *)slot = (uint32_t)p->def;
        } else if (p->kind == PROP_SIZE) {
            *(uint64_t *)slot = p->def;
        }
    }
}

static void free_strings(struct device *d)
{
    for (const struct dev_prop *p = d->class->props; p && p->kind != PROP_END; p++) {
        if (p->kind == PROP_STR) {
            free(*(char **)slot_of(d, p));
        }
    }
}

/* ---- life ---- */

static void make_up_id(struct device *d)
{
    unsigned n = 0;
    do {
        snprintf(d->id, sizeof(d->id), "%.20s.%u", d->class->name, n++);
    } while (machine_find(d->m, d->id));
}

struct device *dev_new(struct machine *m, const struct dev_class *class, const char *id)
{
    struct device *d = xcalloc(1, class->size);
    d->class = class;
    d->m = m;
    if (!id) {
        make_up_id(d);
    } else if (strlen(id) < sizeof(d->id)) {
        memcpy(d->id, id, strlen(id) + 1);
    }
    set_defaults(d);
    struct device **end = &m->devices;
    while (*end) {
        end = &(*end)->next;
    }
    *end = d;
    return d;
}

static int check_id(const struct device *d, struct err *e)
{
    if (!d->id[0]) {
        return err_set(e, -EINVAL, "%s: its id must have 1 to %zu characters", d->class->name,
                       sizeof(d->id) - 1);
    }
    const struct device *first = machine_find(d->m, d->id);
    return first == d ? 0 : err_set(e, -EEXIST, "device id \"%s\" is taken", d->id);
}

int dev_init(struct device *d, struct err *e)
{
    int rc = check_id(d, e);
    if (rc < 0) {
        return rc;
    }
    d->inited = true;
    rc = d->class->init ? d->class->init(d, e) : 0;
    if (rc < 0) {
        return rc;
    }
    dev_reset(d);
    return 0;
}

void dev_reset(struct device *d)
{
    if (d->class->reset) {
        d->class->reset(d);
    }
}

/* A device that leaves something of itself in the doors would be called after its death. */
static void assert_gone(const struct device *d)
{
    for (int space = 0; space < IO_SPACES; space++) {
        const struct region_table *t = &d->m->regions[space];
        for (size_t i = 0; i < t->nmapped; i++) {
            assert(t->mapped[i]->d != d);
        }
    }
    for (const struct line *l = d->m->lines; l; l = l->next) {
        assert(l->d != d);
    }
}

void dev_free(struct device *d)
{
    if (!d) {
        return;
    }
    if (d->inited && d->class->fini) {
        d->class->fini(d);
    }
    assert_gone(d);
    struct device **at = &d->m->devices;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    free_strings(d);
    free(d);
}

void guest_odd(struct device *d, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    d->odd_count++;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_limited(&d->odd, d->id, "%s", text);
}
