/* SPDX-License-Identifier: MIT */
/* block/range.c - locks on ranges of bytes. A list: there are as many as requests in flight. */
#include "block/range.h"

#include <stddef.h>

static bool conflict(const struct range *a, const struct range *b)
{
    return a->from < b->to && b->from < a->to && !(a->shared && b->shared);
}

/* Nothing that was asked for before r is in its way. */
static bool may_go(const struct ranges *s, const struct range *r)
{
    for (const struct range *o = s->first; o != r; o = o->next) {
        if (conflict(o, r)) {
            return false;
        }
    }
    return true;
}

bool range_lock(struct ranges *s, struct range *r)
{
    struct range **end = &s->first;

    while (*end) {
        end = &(*end)->next;
    }
    *end = r;
    r->next = NULL;
    r->held = may_go(s, r);
    return r->held;
}

static struct range *next_to_go(const struct ranges *s)
{
    for (struct range *r = s->first; r; r = r->next) {
        if (!r->held && may_go(s, r)) {
            return r;
        }
    }
    return NULL;
}

void range_unlock(struct ranges *s, struct range *r)
{
    struct range **at = &s->first;

    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    while ((r = next_to_go(s))) {
        r->held = true;
        r->granted(r);
    }
}
