/* SPDX-License-Identifier: MIT */
/* block/node.c - the context that delivers completions, and what all nodes share.
 *
 * Three sources feed a context's queue of completed requests: node_complete on its own thread,
 * worker threads (through a locked list and the eventfd), and pollers. The queue is emptied by
 * node_ctx_poll, by the eventfd's callback on the loop, or by a post when a request completed
 * while nobody was emptying it. So no completion runs inside node_submit and stacks stay shallow.
 */
#include "block/node.h"

#include "block/bitmap.h"
#include "block/graph.h"
#include "block/node-int.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CTX_THREADS = 16 };

struct node_ctx {
    struct ev_loop *loop;
    struct ev_fd ev; /* ev.fd is the eventfd, also without a loop */
    struct ev_post post;
    struct node_req *ready, **ready_tail;
    unsigned running, blocking, in_flight;
    const struct node *awaited; /* with blocking: all that is waited for; NULL: everything */
    struct node_poller *pollers;
    unsigned holds; /* node_ctx_hold */
    bool collected; /* some poller has something to send */
    struct node_ctx_graph graph;
    void (*on_threshold)(void *opaque, struct node *n, uint64_t end);
    void *on_threshold_opaque;
    struct ring *ring;
    struct pool *pool;
    unsigned working;
    bool no_threads;
    pthread_mutex_t lock; /* what the workers finished */
    struct node_work *finished, **finished_tail;
};

static void ctx_wake(struct node_ctx *c)
{
    uint64_t one = 1;

    /* The counter cannot overflow in practice, and a full one wakes just as well. */
    if (write(c->ev.fd, &one, sizeof(one)) < 0) {
        log_msg(LOG_DEBUG, "block", "eventfd: %s", strerror(errno));
    }
}

static bool ctx_run_ready(struct node_ctx *c)
{
    struct node_req *r;
    bool any = false;

    c->running++;
    while ((r = c->ready)) {
        c->ready = r->next;
        if (!c->ready) {
            c->ready_tail = &c->ready;
        }
        r->next = NULL;
        bool idle = --r->node->in_flight == 0;
        c->in_flight--;
        r->node = NULL;
        any = true;
        r->done(r, r->ret);
        if (idle && c->graph.lulls) {
            graph_became_idle(c);
        }
    }
    c->running--;
    return any;
}

static bool ctx_run_finished(struct node_ctx *c)
{
    struct node_work *list, *next;

    pthread_mutex_lock(&c->lock);
    list = c->finished;
    c->finished = NULL;
    c->finished_tail = &c->finished;
    pthread_mutex_unlock(&c->lock);
    for (struct node_work *w = list; w; w = next) {
        next = w->next;
        c->working--;
        w->done(w);
    }
    return list != NULL;
}

static bool ctx_run_pollers(struct node_ctx *c, bool block)
{
    bool any = false;

    for (struct node_poller *p = c->pollers, *next; p; p = next) {
        next = p->next;
        any |= p->poll(p->opaque, block);
    }
    return any;
}

static void ctx_send(struct node_ctx *c)
{
    if (!c->collected) {
        return;
    }
    c->collected = false;
    for (struct node_poller *p = c->pollers; p; p = p->next) {
        if (p->send) {
            p->send(p->opaque);
        }
    }
}

static bool ctx_turn(struct node_ctx *c, bool block)
{
    bool any;

    c->running++;
    any = ctx_run_ready(c);
    any |= ctx_run_finished(c);
    ctx_send(c);
    any |= ctx_run_pollers(c, block && !any);
    any |= ctx_run_ready(c);
    ctx_send(c);
    c->running--;
    return any;
}

static void ctx_sleep(struct node_ctx *c)
{
    struct pollfd p = { .fd = c->ev.fd, .events = POLLIN };
    uint64_t count;

    if (poll(&p, 1, -1) > 0 && read(c->ev.fd, &count, sizeof(count)) < 0) {
        log_msg(LOG_DEBUG, "block", "eventfd: %s", strerror(errno));
    }
}

static bool ctx_poll(struct node_ctx *c, bool block, const struct node *awaited)
{
    const struct node *was = c->awaited;
    bool any;

    c->awaited = c->blocking && !was ? NULL : awaited;
    c->blocking += block;
    any = ctx_turn(c, block);
    while (block && !any) {
        ctx_sleep(c);
        any = ctx_turn(c, block);
    }
    c->blocking -= block;
    c->awaited = was;
    return any;
}

bool node_ctx_poll(struct node_ctx *c, bool block)
{
    return ctx_poll(c, block, NULL);
}

bool node_wait(struct node *n)
{
    return ctx_poll(n->ctx, true, n);
}

bool node_awaited(const struct node *n)
{
    return n->ctx->blocking && (!n->ctx->awaited || node_stands_on(n->ctx->awaited, n));
}

void node_ctx_drain(struct node_ctx *c)
{
    while (c->in_flight) {
        node_ctx_poll(c, true);
    }
}

bool node_ctx_blocking(const struct node_ctx *c)
{
    return c->blocking != 0;
}

struct ev_loop *node_ctx_loop(const struct node_ctx *c)
{
    return c->loop;
}

struct node_ctx_graph *node_ctx_graph(struct node_ctx *c)
{
    return &c->graph;
}

struct ring **node_ctx_ring(struct node_ctx *c)
{
    return &c->ring;
}

int node_ctx_eventfd(const struct node_ctx *c)
{
    return c->ev.fd;
}

static void ctx_readable(void *opaque, unsigned events)
{
    struct node_ctx *c = opaque;
    uint64_t count;

    (void)events;
    if (read(c->ev.fd, &count, sizeof(count)) > 0) {
        ctx_turn(c, false);
    }
}

static void ctx_posted(void *opaque)
{
    ctx_turn(opaque, false);
}

struct node_ctx *node_ctx_try(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct node_ctx *c;

    if (fd < 0) {
        return NULL;
    }
    c = xcalloc(1, sizeof(*c));
    c->ready_tail = &c->ready;
    c->finished_tail = &c->finished;
    pthread_mutex_init(&c->lock, NULL);
    c->pool = pool_new(CTX_THREADS);
    c->ev = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = ctx_readable, .opaque = c };
    c->post = (struct ev_post){ .cb = ctx_posted, .opaque = c };
    return c;
}

struct node_ctx *node_ctx_new(struct ev_loop *loop)
{
    struct node_ctx *c = node_ctx_try();

    assert(c);
    c->loop = loop;
    if (loop) {
        int ret = ev_fd_add(loop, &c->ev);
        assert(ret == 0);
    }
    return c;
}

void node_ctx_free(struct node_ctx *c)
{
    if (!c) {
        return;
    }
    ring_free(c->ring);
    assert(!c->ready && !c->working && !c->pollers && !c->graph.roots);
    pool_free(c->pool);
    if (c->loop) {
        ev_post_cancel(c->loop, &c->post);
        ev_fd_del(&c->ev);
    }
    close(c->ev.fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void node_ctx_no_threads(struct node_ctx *c)
{
    c->no_threads = true;
}

void node_ctx_add_poller(struct node_ctx *c, struct node_poller *p)
{
    p->next = c->pollers;
    c->pollers = p;
}

void node_ctx_del_poller(struct node_ctx *c, struct node_poller *p)
{
    struct node_poller **at = &c->pollers;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
}

/* Without a loop the next turn is the caller's to make, and he will. */
void node_ctx_collected(struct node_ctx *c)
{
    c->collected = true;
    if (!c->running && !c->holds && c->loop) {
        ctx_send(c);
    }
}

void node_ctx_hold(struct node_ctx *c)
{
    c->holds++;
}

void node_ctx_release(struct node_ctx *c)
{
    if (--c->holds == 0 && !c->running && c->loop) {
        ctx_send(c);
    }
}

void node_ctx_begin(struct node_ctx *c, struct node_work *w)
{
    w->ctx = c;
    c->working++;
}

void node_ctx_end(struct node_work *w)
{
    struct node_ctx *c = w->ctx;
    bool first;

    pthread_mutex_lock(&c->lock);
    first = !c->finished;
    w->next = NULL;
    *c->finished_tail = w;
    c->finished_tail = &w->next;
    /* Inside the lock: once the list is seen empty again, the context may be freed. */
    if (first) {
        ctx_wake(c);
    }
    pthread_mutex_unlock(&c->lock);
}

static void work_run(struct pool_work *p)
{
    struct node_work *w = (struct node_work *)p;

    w->run(w);
    node_ctx_end(w);
}

void node_ctx_work(struct node_ctx *c, struct node_work *w)
{
    node_ctx_begin(c, w);
    w->pool.run = work_run;
    if (c->no_threads || pool_submit(c->pool, &w->pool) < 0) {
        work_run(&w->pool);
    }
}

/* ---- nodes ---- */

static int check_range(const struct node *n, const struct node_req *r)
{
    if (r->offset % NODE_ALIGN || r->len % NODE_ALIGN || r->offset > INT64_MAX - r->len) {
        return -EINVAL;
    }
    if (!n->growable && (r->len > n->len || r->offset > n->len - r->len)) {
        return r->op == NODE_WRITE && n->file == NULL && r->offset + r->len > n->len ? -ENOSPC
                                                                                     : -EINVAL;
    }
    return 0;
}

static bool changes(const struct node_req *r)
{
    return r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD;
}

static int check_req(const struct node *n, const struct node_req *r)
{
    if (r->op == NODE_FLUSH) {
        return 0;
    }
    return changes(r) && n->read_only ? -EROFS : check_range(n, r);
}

static void find_zeroes(const struct node *n, struct node_req *r)
{
    for (int i = 0; i < r->iovcnt; i++) {
        if (!node_is_zero(r->iov[i].iov_base, r->iov[i].iov_len)) {
            return;
        }
    }
    r->op = NODE_ZERO;
    r->flags = n->detect_zeroes == NODE_ZEROES_UNMAP ? NODE_UNMAP : 0;
}

void node_adopt(struct node *n, struct node_req *r)
{
    r->node = n;
    r->next = NULL;
    n->in_flight++;
    n->ctx->in_flight++;
}

void node_ctx_on_threshold(struct node_ctx *c,
                           void (*fn)(void *opaque, struct node *n, uint64_t end), void *opaque)
{
    c->on_threshold = fn;
    c->on_threshold_opaque = opaque;
}

static void look_at_threshold(struct node *n, const struct node_req *r)
{
    uint64_t end = r->offset + r->len;

    if ((r->op == NODE_WRITE || r->op == NODE_ZERO) && end > n->write_threshold) {
        n->ctx->on_threshold(n->ctx->on_threshold_opaque, n, end);
        n->write_threshold = 0;
    }
}

void node_submit(struct node *n, struct node_req *r)
{
    int ret = check_req(n, r);

    assert(!r->node && r->op < NODE_OPS);
    node_adopt(n, r);
    if (ret == 0 && n->write_threshold) {
        look_at_threshold(n, r);
    }
    if (ret == 0 && n->detect_zeroes && r->op == NODE_WRITE) {
        find_zeroes(n, r);
    }
    if (ret < 0 || (r->len == 0 && r->op != NODE_FLUSH)) {
        node_complete(r, ret);
    } else {
        n->ops->submit(n, r);
    }
}

bool node_read_now(struct node *n, uint64_t offset, const struct iovec *iov, int iovcnt,
                   uint64_t len)
{
    struct node_req r = { .op = NODE_READ, .offset = offset, .len = len };

    return n->ops->read_now && check_range(n, &r) == 0 &&
           n->ops->read_now(n, offset, iov, iovcnt, len);
}

void node_complete(struct node_req *r, int ret)
{
    struct node_ctx *c = r->node->ctx;

    if (r->node->bitmaps && changes(r) && r->len && !(r->flags & NODE_UNCHANGED)) {
        bitmap_mark(r->node, r->offset, r->len);
    }
    if (ret == 0 && (r->op == NODE_WRITE || r->op == NODE_ZERO)) {
        r->node->written_end = max_u64(r->node->written_end, r->offset + r->len);
    }
    r->ret = ret;
    r->next = NULL;
    *c->ready_tail = r;
    c->ready_tail = &r->next;
    if (!c->running && c->loop) {
        ev_post(c->loop, &c->post);
    }
}

void node_drain(struct node *n)
{
    while (n->in_flight) {
        node_wait(n);
    }
}

struct node *node_share(struct node *n)
{
    n->shares++;
    return n;
}

int node_close(struct node *n)
{
    int ret;

    if (!n) {
        return 0;
    }
    if (n->shares) {
        n->shares--;
        return 0;
    }
    node_drain(n);
    char *filename = n->filename;
    struct bitmap *bitmaps = n->bitmaps;
    ret = n->ops->close(n);
    bitmap_free_list(bitmaps);
    free(filename);
    return ret;
}

struct sync {
    struct node_req r;
    bool ended;
    int ret;
};

static void sync_done(struct node_req *r, int ret)
{
    struct sync *s = container_of(r, struct sync, r);

    s->ended = true;
    s->ret = ret;
}

static int sync_run(struct node *n, struct sync *s)
{
    s->r.done = sync_done;
    node_submit(n, &s->r);
    while (!s->ended) {
        node_wait(n);
    }
    return s->ret;
}

int node_rw(struct node *n, enum node_op op, uint64_t offset, void *buf, uint64_t len,
            unsigned flags)
{
    struct iovec iov = { buf, len };
    struct sync s = { .r = { .op = op, .flags = flags, .offset = offset, .len = len } };

    if (buf) {
        s.r.iov = &iov;
        s.r.iovcnt = 1;
    }
    return sync_run(n, &s);
}

int node_read(struct node *n, uint64_t offset, void *buf, uint64_t len)
{
    return node_rw(n, NODE_READ, offset, buf, len, 0);
}

int node_write(struct node *n, uint64_t offset, const void *buf, uint64_t len)
{
    return node_rw(n, NODE_WRITE, offset, (void *)buf, len, 0);
}

int node_flush(struct node *n)
{
    return node_rw(n, NODE_FLUSH, 0, NULL, 0, 0);
}

int node_status(struct node *n, uint64_t offset, uint64_t len, struct node_status *out)
{
    struct sync s = { .r = { .op = NODE_STATUS, .offset = offset, .len = len } };
    int ret = sync_run(n, &s);

    *out = s.r.status;
    return ret;
}

int node_resize(struct node *n, uint64_t len, struct err *e)
{
    if (n->read_only) {
        return err_set(e, -EROFS, "image '%s' is read-only", n->filename);
    }
    if (!n->ops->resize) {
        return err_set(e, -ENOTSUP, "image '%s': format %s cannot be resized", n->filename,
                       n->ops->name);
    }
    node_drain(n);
    int ret = n->ops->resize(n, len, e);
    if (ret == 0 && bitmap_resize(n, n->len) < 0) {
        return err_set(e, -ENOMEM, "image '%s': no memory for its bitmaps", n->filename);
    }
    return ret;
}

int node_reopen(struct node *n, bool read_only, struct err *e)
{
    int ret = 0;

    if (n->read_only == read_only) {
        return 0;
    }
    if (!n->ops->reopen) {
        return err_set(e, -ENOTSUP, "image '%s': format %s cannot be reopened for %s", n->filename,
                       n->ops->name, read_only ? "reading" : "writing");
    }
    node_drain(n);
    if (!read_only && n->file) { /* what it stands on first, and last on the way back */
        ret = node_reopen(n->file, false, e);
    }
    ret = ret == 0 ? n->ops->reopen(n, read_only, e) : ret;
    return ret == 0 && read_only && n->file ? node_reopen(n->file, true, e) : ret;
}

/* ---- iovecs ---- */

uint64_t node_iov_len(const struct iovec *iov, int n)
{
    uint64_t len = 0;

    for (int i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

int node_iov_part(const struct iovec *iov, int n, uint64_t at, uint64_t len, struct iovec *out,
                  int max)
{
    int used = 0;

    for (int i = 0; i < n && used < max && len; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        out[used].iov_base = (char *)iov[i].iov_base + at;
        out[used].iov_len = (size_t)min_u64(iov[i].iov_len - at, len);
        len -= out[used++].iov_len;
        at = 0;
    }
    return used;
}

enum copy_how { COPY_OUT, COPY_IN, COPY_ZERO };

static void iov_copy(const struct iovec *iov, int n, uint64_t at, char *buf, uint64_t len,
                     enum copy_how how)
{
    for (int i = 0; i < n && len; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        size_t step = (size_t)min_u64(iov[i].iov_len - at, len);
        char *p = (char *)iov[i].iov_base + at;
        if (how == COPY_OUT) {
            memcpy(buf, p, step);
        } else if (how == COPY_IN) {
            memcpy(p, buf, step);
        } else {
            memset(p, 0, step);
        }
        if (how != COPY_ZERO) {
            buf += step;
        }
        len -= step;
        at = 0;
    }
}

void node_iov_to_buf(const struct iovec *iov, int n, uint64_t at, void *buf, uint64_t len)
{
    iov_copy(iov, n, at, buf, len, COPY_OUT);
}

void node_iov_from_buf(const struct iovec *iov, int n, uint64_t at, const void *buf, uint64_t len)
{
    iov_copy(iov, n, at, (char *)buf, len, COPY_IN);
}

void node_iov_zero(const struct iovec *iov, int n, uint64_t at, uint64_t len)
{
    iov_copy(iov, n, at, NULL, len, COPY_ZERO);
}

bool node_is_zero(const void *p, size_t len)
{
    const char *c = p;

    /* Compares the buffer with itself, moved by what was looked at first. */
    for (size_t i = 0; i < 16; i++) {
        if (i == len) {
            return true;
        }
        if (c[i]) {
            return false;
        }
    }
    return memcmp(c, c + 16, len - 16) == 0;
}
