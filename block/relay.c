/* SPDX-License-Identifier: MIT */
/* block/relay.c - a node of another thread's context that stands for a node of the graph.
 *
 * The way there is a list under a lock and a bell: a struct node_work that the graph's context has
 * begun. Ending it is what any thread may do, so that rings; the graph's thread then begins it anew.
 * The way back is each request's own struct node_work, which its context waits for.
 */
#include "block/relay.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct relay {
    struct node *to;
    void (*asked)(void *opaque);
    void *opaque;
    bool stopped, ending, ended;
    unsigned carried; /* and not answered yet */
    struct node_work bell;
    pthread_mutex_t lock; /* of what follows */
    bool rung;
    struct errand *first, **tail;
};

struct relay_node {
    struct node base; /* first */
    struct relay *r;
};

/* A request, or a resize, on its way. */
struct errand {
    struct node_work back; /* first */
    struct node_req r;     /* the one of the graph's node */
    struct relay *relay;
    struct relay_node *asker;
    struct node_req *from; /* the one that is asked for; NULL: a resize, to len */
    struct err *e;
    uint64_t len; /* of the node, when it was done */
    int ret;
    bool answered;
    struct errand *next;
};

/* ---- on the work's thread ---- */

static void ask(struct errand *q)
{
    struct relay *r = q->relay;
    bool ring;

    node_ctx_begin(q->asker->base.ctx, &q->back);
    pthread_mutex_lock(&r->lock);
    q->next = NULL;
    *r->tail = q;
    r->tail = &q->next;
    ring = !r->rung;
    r->rung = true;
    pthread_mutex_unlock(&r->lock);
    if (ring) {
        node_ctx_end(&r->bell);
    }
}

static void answered(struct node_work *w)
{
    struct errand *q = (struct errand *)w;
    struct node_req *from = q->from;
    int ret = q->ret;

    q->asker->base.len = q->len;
    q->answered = true;
    if (from) {
        from->status = q->r.status;
        free(q);
        node_complete(from, ret);
    }
}

static void relay_submit(struct node *n, struct node_req *from)
{
    struct relay_node *s = (struct relay_node *)n;
    struct errand *q = calloc(1, sizeof(*q));

    if (!q) {
        node_complete(from, -ENOMEM);
        return;
    }
    *q = (struct errand){ .back.done = answered,
                          .r = { .op = from->op,
                                 .flags = from->flags,
                                 .offset = from->offset,
                                 .len = from->len,
                                 .iov = from->iov,
                                 .iovcnt = from->iovcnt },
                          .relay = s->r,
                          .asker = s,
                          .from = from };
    ask(q);
}

static int relay_resize(struct node *n, uint64_t len, struct err *e)
{
    struct relay_node *s = (struct relay_node *)n;
    struct errand q = { .back.done = answered, .relay = s->r, .asker = s, .len = len, .e = e };

    ask(&q);
    while (!q.answered) {
        node_ctx_poll(n->ctx, true);
    }
    return q.ret;
}

static int relay_close(struct node *n)
{
    free(n);
    return 0;
}

static const struct node_ops relay_ops = {
    .name = "relay", .submit = relay_submit, .close = relay_close, .resize = relay_resize
};

struct node *relay_open(struct relay *r, struct node_ctx *c)
{
    struct relay_node *s;

    if (!r) {
        return NULL;
    }
    s = xcalloc(1, sizeof(*s));
    s->r = r;
    s->base.ops = &relay_ops;
    s->base.ctx = c;
    s->base.len = r->to->len;
    s->base.read_only = r->to->read_only;
    s->base.growable = r->to->growable;
    s->base.zero_tail = r->to->zero_tail;
    s->base.is_file = r->to->is_file;
    s->base.filename = xstrdup(r->to->filename);
    return &s->base;
}

/* ---- on the graph's thread ---- */

static void answer(struct errand *q, int ret)
{
    q->ret = ret;
    q->len = q->relay->to->len;
    node_ctx_end(&q->back);
}

static bool something_to_carry(struct relay *r)
{
    bool any;

    pthread_mutex_lock(&r->lock);
    any = r->first;
    pthread_mutex_unlock(&r->lock);
    return any;
}

static void done(struct node_req *req, int ret)
{
    struct errand *q = req->opaque;
    struct relay *r = q->relay;

    r->carried--;
    answer(q, ret);
    if (!r->stopped && something_to_carry(r)) {
        r->asked(r->opaque);
    }
}

bool relay_idle(const struct relay *r)
{
    return !r || !r->carried;
}

static void carry(struct errand *q)
{
    struct relay *r = q->relay;

    if (r->stopped) {
        answer(q, q->e ? err_set(q->e, -ECANCELED, "it was cancelled") : -ECANCELED);
    } else if (!q->from) {
        answer(q, node_resize(r->to, q->len, q->e));
    } else {
        q->r.done = done;
        q->r.opaque = q;
        r->carried++;
        node_submit(r->to, &q->r);
    }
}

void relay_carry(struct relay *r)
{
    struct errand *list, *next;

    if (!r) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    list = r->first;
    r->first = NULL;
    r->tail = &r->first;
    pthread_mutex_unlock(&r->lock);
    for (struct errand *q = list; q; q = next) {
        next = q->next; /* with the answer it is the other thread's again */
        carry(q);
    }
}

static void hear(struct node_work *w)
{
    struct relay *r = container_of(w, struct relay, bell);

    if (r->ending) {
        r->ended = true;
        return;
    }
    node_ctx_begin(r->to->ctx, &r->bell);
    pthread_mutex_lock(&r->lock);
    r->rung = false;
    pthread_mutex_unlock(&r->lock);
    if (r->stopped) {
        relay_carry(r);
    } else {
        r->asked(r->opaque);
    }
}

void relay_stop(struct relay *r)
{
    if (r) {
        r->stopped = true;
        relay_carry(r);
    }
}

struct relay *relay_new(struct node *to, void (*asked)(void *opaque), void *opaque)
{
    struct relay *r = xcalloc(1, sizeof(*r));

    r->to = to;
    r->asked = asked;
    r->opaque = opaque;
    r->bell.done = hear;
    r->tail = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    node_ctx_begin(to->ctx, &r->bell);
    return r;
}

void relay_free(struct relay *r)
{
    if (!r) {
        return;
    }
    r->ending = true;
    if (!r->rung) { /* nobody else looks at it any more */
        node_ctx_end(&r->bell);
    }
    while (!r->ended) {
        node_ctx_poll(r->to->ctx, true);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}
