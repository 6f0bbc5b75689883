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
    for (const struct range *o = s->alone ? s->first : r; o != r; o = o->next) {
        if (conflict(o, r)) {
            return false;
        }
    }
    return true;
}

bool range_lock(struct ranges *s, struct range *r)
{
    r->at = s->first ? s->tail : &s->first;
    r->next = NULL;
    *r->at = r;
    s->tail = &r->next;
    s->alone += !r->shared;
    r->held = may_go(s, r);
    s->waiting += !r->held;
    return r->held;
}

static void take_out(struct ranges *s, struct range *r)
{
    *r->at = r->next;
    if (r->next) {
        r->next->at = r->at;
    } else {
        s->tail = r->at;
    }
    s->alone -= !r->shared;
    s->waiting -= !r->held;
}

/* Those that waited for r only, oldest first, linked by `also`. */
static struct range *grant_after(struct ranges *s, const struct range *r)
{
    struct range *list = NULL, **end = &list;

    for (struct range *o = s->waiting ? s->first : NULL; o; o = o->next) {
        if (!o->held && conflict(o, r) && may_go(s, o)) {
            o->held = true;
            s->waiting--;
            *end = o;
            end = &o->also;
        }
    }
    *end = NULL;
    return list;
}

void range_unlock(struct ranges *s, struct range *r)
{
    take_out(s, r);
    for (struct range *o = grant_after(s, r), *next; o; o = next) {
        next = o->also;
        o->granted(o);
    }
}
