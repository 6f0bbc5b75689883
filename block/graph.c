/* SPDX-License-Identifier: MIT */
/* block/graph.c - the graph of a context as a whole. */
#include "block/graph.h"

#include "block/node-int.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { EDGES = 3 };

static struct node **edge(struct node *n, unsigned i)
{
    return i == 0 ? &n->file : i == 1 ? &n->backing : &n->other;
}

/* ---- roots ---- */

void node_root_add(struct node_root *r, struct node *n)
{
    struct node_ctx_graph *g = node_ctx_graph(n->ctx);

    r->node = n;
    r->kept = NULL;
    r->kept_tail = &r->kept;
    r->next = g->roots;
    g->roots = r;
}

int node_root_del(struct node_root *r)
{
    struct node *n = r->node;

    if (!n) {
        return 0;
    }
    struct node_root **at = &node_ctx_graph(n->ctx)->roots;
    while (*at != r) {
        at = &(*at)->next;
    }
    assert(!r->kept);
    *at = r->next;
    r->node = NULL;
    return node_close(n);
}

struct node *node_root_swap(struct node_root *r, struct node *n)
{
    struct node *old = r->node;

    r->node = n;
    if (r->moved) {
        r->moved(r);
    }
    return old;
}

static void submit_kept(struct node_root *r)
{
    struct node_req *q;

    while ((q = r->kept)) {
        r->kept = q->next;
        if (!r->kept) {
            r->kept_tail = &r->kept;
        }
        q->next = NULL;
        node_submit(r->node, q);
    }
}

static bool in_lull(const struct node_root *r)
{
    for (const struct lull *l = node_ctx_graph(r->node->ctx)->lulls; l; l = l->next) {
        if (node_stands_on(r->node, l->node)) {
            return true;
        }
    }
    return false;
}

void node_root_submit(struct node_root *r, struct node_req *q)
{
    if (!in_lull(r)) {
        node_submit(r->node, q);
        return;
    }
    q->next = NULL;
    *r->kept_tail = q;
    r->kept_tail = &q->next;
}

bool node_root_wait(struct node_root *r)
{
    submit_kept(r);
    return node_wait(r->node);
}

/* ---- walking ---- */

struct walk {
    unsigned mark;
    void (*fn)(void *opaque, struct node *n);
    void *opaque;
};

static void walk(const struct walk *w, struct node *n)
{
    if (!n || n->mark == w->mark) {
        return;
    }
    n->mark = w->mark;
    w->fn(w->opaque, n);
    for (unsigned i = 0; i < EDGES; i++) {
        walk(w, *edge(n, i));
    }
}

void graph_each(struct node_ctx *c, void (*fn)(void *opaque, struct node *n), void *opaque)
{
    struct node_ctx_graph *g = node_ctx_graph(c);
    struct walk w = { .mark = ++g->mark, .fn = fn, .opaque = opaque };

    for (struct node_root *r = g->roots; r; r = r->next) {
        walk(&w, r->node);
    }
}

struct search {
    const char *name;
    const struct node *under;
    struct node *found;
};

static void search_name(void *opaque, struct node *n)
{
    struct search *s = opaque;

    if (strcmp(n->name, s->name) == 0) {
        s->found = n;
    }
}

struct node *graph_find(struct node_ctx *c, const char *name)
{
    struct search s = { .name = name };

    if (*name) {
        graph_each(c, search_name, &s);
    }
    return s.found;
}

const char *node_name(struct node *n)
{
    while (!n->name[0]) {
        char made_up[NODE_NAME_MAX + 1];
        snprintf(made_up, sizeof(made_up), "#block%03u", node_ctx_graph(n->ctx)->names++);
        if (!graph_find(n->ctx, made_up)) {
            memcpy(n->name, made_up, sizeof(made_up));
        }
    }
    return n->name;
}

static void find_unnamed(void *opaque, struct node *n)
{
    struct search *s = opaque;

    s->found = n->name[0] ? s->found : n;
}

void graph_name_all(struct node_ctx *c)
{
    struct search s = { 0 };

    do { /* a walk inside a walk would lose its marks */
        s.found = NULL;
        graph_each(c, find_unnamed, &s);
        if (s.found) {
            node_name(s.found);
        }
    } while (s.found);
}

int graph_check_name(struct node_ctx *c, const char *name, struct err *e)
{
    if (strlen(name) > NODE_NAME_MAX) {
        return err_set(e, -EINVAL, "Node name too long");
    }
    if (!isalpha((unsigned char)name[0]) ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")]) {
        return err_set(e, -EINVAL, "Invalid node-name: '%s'", name);
    }
    return graph_find(c, name) ? err_set(e, -EEXIST, "Duplicate nodes with node-name='%s'", name)
                               : 0;
}

int node_set_name(struct node *n, const char *name, struct err *e)
{
    int ret = graph_check_name(n->ctx, name, e);

    if (ret < 0) {
        return ret;
    }
    snprintf(n->name, sizeof(n->name), "%s", name);
    return 0;
}

bool node_stands_on(const struct node *top, const struct node *n)
{
    return top && (top == n || node_stands_on(top->file, n) || node_stands_on(top->backing, n) ||
                   node_stands_on(top->other, n));
}

struct node *node_skip_filters(struct node *n)
{
    while (n && n->ops->filter) {
        n = n->file;
    }
    return n;
}

/* ---- who stands on what ---- */

static void search_parent(void *opaque, struct node *n)
{
    struct search *s = opaque;

    if (!s->found && (node_skip_filters(n->backing) == s->under ||
                      (!n->ops->filter && node_skip_filters(n->file) == s->under))) {
        s->found = n;
    }
}

struct node *graph_parent(struct node *n)
{
    struct search s = { .under = n };

    graph_each(n->ctx, search_parent, &s);
    return s.found;
}

static void search_holder(void *opaque, struct node *n)
{
    struct search *s = opaque;

    if (n->file == s->under || n->backing == s->under) {
        s->found = n;
    }
}

bool graph_has_user(const struct node *n)
{
    for (struct node_root *r = node_ctx_graph(n->ctx)->roots; r; r = r->next) {
        if (r->node == n && !r->pinned) {
            return true;
        }
    }
    return false;
}

bool graph_has_parent(struct node *n)
{
    struct search s = { .under = n };

    if (graph_has_user(n)) {
        return true;
    }
    graph_each(n->ctx, search_holder, &s);
    return s.found;
}

/* ---- lulls ---- */

void lull_begin(struct lull *l, struct node *node, struct ev_post *look)
{
    struct node_ctx_graph *g = node_ctx_graph(node->ctx);

    *l = (struct lull){ node, look, g->lulls };
    g->lulls = l;
}

void graph_became_idle(struct node_ctx *c)
{
    for (struct lull *l = node_ctx_graph(c)->lulls; l; l = l->next) {
        ev_post(node_ctx_loop(c), l->look);
    }
}

static void search_busy(void *opaque, struct node *n)
{
    struct search *s = opaque;

    if (n->in_flight && node_stands_on(n, s->under)) {
        s->found = n;
    }
}

static bool busy(const struct node *n)
{
    struct search s = { .under = n };

    graph_each(n->ctx, search_busy, &s);
    return s.found;
}

void graph_drain(struct node *n)
{
    while (busy(n)) {
        node_ctx_poll(n->ctx, true);
    }
}

bool lull_there(const struct lull *l)
{
    return !busy(l->node);
}

void lull_end(struct lull *l)
{
    if (!l->node) {
        return;
    }
    struct node_ctx_graph *g = node_ctx_graph(l->node->ctx);
    struct lull **at = &g->lulls;
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    l->node = NULL;
    for (struct node_root *r = g->roots; r; r = r->next) {
        if (!in_lull(r)) {
            submit_kept(r);
        }
    }
}

/* ---- changing it ---- */

struct swap {
    struct node *old, *with;
};

static void swap_edges(void *opaque, struct node *n)
{
    const struct swap *s = opaque;

    if (node_stands_on(s->with, n)) {
        return;
    }
    for (unsigned i = 0; i < EDGES; i++) {
        if (*edge(n, i) == s->old) {
            *edge(n, i) = node_share(s->with);
            node_close(s->old);
        }
    }
}

void graph_replace(struct node *old, struct node *with)
{
    struct swap s = { old, with };
    struct node_ctx *c = old->ctx;

    node_share(old); /* it must not close half way */
    graph_each(c, swap_edges, &s);
    for (struct node_root *r = node_ctx_graph(c)->roots; r; r = r->next) {
        if (r->node == old && !r->pinned) {
            node_close(node_root_swap(r, node_share(with)));
        }
    }
    node_close(old);
}
