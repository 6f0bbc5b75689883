/* SPDX-License-Identifier: MIT */
/* block/blk.c - drives: the list of requests in flight, their delivery, cancelling and draining.
 *
 * A request is on its drive's list from blk_submit until done() is about to run, so everything
 * that must wait (drain, cancel, a change of medium) only looks at that list. An image may finish
 * a request while blk_submit or blk_cancel is on the stack; such a request is marked and the loop
 * delivers it later, because a controller must not be called back from inside its own call.
 */
#include "block/blk.h"

#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct blk {
    struct ev_loop *loop;
    char *id;
    struct blk_image *image;
    const struct blk_user *user;
    void *user_opaque;
    const struct blk_watch *watch;
    void *watch_opaque;
    bool tray_open, locked;
    void (*tray_fn)(void *opaque, struct blk *b, bool open);
    void *tray_opaque;
    struct blk_req *requests; /* newest first */
    unsigned in_flight, held; /* held ones count as in flight */
    enum blk_on_error rerror, werror;
    void (*error_fn)(void *opaque, struct blk *b, enum blk_op op, int ret,
                     enum blk_on_error action);
    void *error_opaque;
    unsigned holding; /* blk_submit or blk_cancel is running: mark, do not deliver */
    struct ev_post post;
    struct blk_stats stats;
};

static void blk_unlink(struct blk *b, struct blk_req *r)
{
    struct blk_req **at = &b->requests;

    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    r->next = NULL;
    r->blk = NULL;
    b->in_flight--;
}

static enum blk_on_error blk_action(const struct blk *b, const struct blk_req *r)
{
    enum blk_on_error action = r->op == BLK_READ ? b->rerror : b->werror;

    return action != BLK_ENOSPC ? action : r->ret == -ENOSPC ? BLK_STOP : BLK_REPORT;
}

/* An error of the image's own meets the drive's policy. Returns whether r is held now. */
static bool blk_failed(struct blk *b, struct blk_req *r)
{
    enum blk_on_error action = blk_action(b, r);

    if (b->error_fn) {
        b->error_fn(b->error_opaque, b, r->op, r->ret, action);
    }
    if (action == BLK_IGNORE) {
        b->stats.errors[r->op]++;
        r->ret = 0;
    } else if (action == BLK_STOP) {
        r->held = true;
        r->finished = false;
        b->held++;
        return true;
    }
    return false;
}

static bool blk_is_our_error(const struct blk_req *r)
{
    /* The guest's own mistakes are nothing to stop for. */
    return r->ret < 0 && r->ret != -ENOMEDIUM && r->ret != -EROFS && r->ret != -EINVAL;
}

static void count(struct blk_stats *st, const struct blk_req *r)
{
    st->last_ns = ev_now_ns();
    histogram_count(&st->took[r->op], (uint64_t)(st->last_ns - r->start_ns));
    if (r->ret == 0) {
        st->ops[r->op]++;
        st->bytes[r->op] += r->len;
        st->total_ns[r->op] += (uint64_t)(st->last_ns - r->start_ns);
    } else if (blk_is_our_error(r)) {
        st->errors[r->op]++;
    } else {
        st->invalid[r->op]++;
    }
}

static void blk_give(struct blk *b, struct blk_req *r)
{
    blk_unlink(b, r);
    count(&b->stats, r);
    if (b->watch && b->watch->completed) {
        b->watch->completed(b->watch_opaque, r, r->ret);
    }
    r->done(r, r->ret);
}

static void blk_deliver(struct blk *b, struct blk_req *r)
{
    if (!blk_is_our_error(r) || !blk_failed(b, r)) {
        blk_give(b, r);
    }
}

/* The oldest request that is finished, so that completions keep the order of submission. */
static struct blk_req *blk_oldest_finished(const struct blk *b)
{
    struct blk_req *found = NULL;

    for (struct blk_req *r = b->requests; r; r = r->next) {
        if (r->finished) {
            found = r;
        }
    }
    return found;
}

static void blk_deliver_finished(void *opaque)
{
    struct blk *b = opaque;
    struct blk_req *r;

    while ((r = blk_oldest_finished(b))) {
        blk_deliver(b, r);
    }
}

void blk_complete_later(struct blk_req *r, int ret)
{
    struct blk *b = r->blk;

    assert(b && !r->finished);
    r->ret = ret;
    r->finished = true;
    ev_post(b->loop, &b->post);
}

void blk_complete(struct blk_req *r, int ret)
{
    struct blk *b = r->blk;

    if (b->holding) {
        blk_complete_later(r, ret);
        return;
    }
    assert(!r->finished);
    r->ret = ret;
    r->finished = true;
    blk_deliver(b, r);
}

void blk_end_now(struct blk_req *r, int ret)
{
    r->ret = ret;
    r->finished = true;
    r->blk->held -= r->held;
    r->held = false;
    blk_give(r->blk, r);
}

static int blk_check(const struct blk *b, const struct blk_req *r)
{
    if (!b->image) {
        return -ENOMEDIUM;
    }
    if (r->op == BLK_FLUSH) {
        return 0;
    }
    if (r->op != BLK_READ && b->image->read_only) {
        return -EROFS;
    }
    if (r->offset % 512 || r->len % 512) {
        return -EINVAL;
    }
    if (r->len > b->image->len || r->offset > b->image->len - r->len) {
        return -EINVAL;
    }
    return 0;
}

void blk_submit(struct blk *b, struct blk_req *r)
{
    int ret = blk_check(b, r);

    assert(!r->blk && r->op < BLK_OPS);
    r->blk = b;
    r->next = b->requests;
    b->requests = r;
    b->in_flight++;
    r->finished = r->held = false;
    r->priv = NULL;
    r->start_ns = ev_now_ns();
    if (b->watch && b->watch->submitted) {
        b->watch->submitted(b->watch_opaque, r);
    }
    b->holding++;
    if (ret < 0) {
        blk_complete(r, ret);
    } else {
        b->image->ops->submit(b->image, r);
    }
    b->holding--;
}

static void blk_image_hold(const struct blk *b, bool on)
{
    if (b && b->image && b->image->ops->hold) {
        b->image->ops->hold(b->image, on);
    }
}

void blk_hold(struct blk *b)
{
    blk_image_hold(b, true);
}

void blk_release(struct blk *b)
{
    blk_image_hold(b, false);
}

/* Gets r back from the image, whatever it takes. */
static void blk_reclaim(struct blk *b, struct blk_req *r)
{
    while (!r->finished) {
        if (!b->image->ops->wait || !b->image->ops->wait(b->image)) {
            if (b->image->ops->forget) {
                b->image->ops->forget(b->image, r);
            }
            return;
        }
    }
}

void blk_cancel(struct blk_req *r)
{
    struct blk *b = r->blk;

    if (!b) {
        return;
    }
    b->holding++;
    if (r->held) {
        r->held = false;
        b->held--;
    } else {
        blk_reclaim(b, r);
    }
    b->holding--;
    blk_unlink(b, r);
    if (b->watch && b->watch->cancelled) {
        b->watch->cancelled(b->watch_opaque, r);
    }
}

/* The image cannot wait: r ends without it. */
static void blk_give_up(struct blk *b, struct blk_req *r)
{
    if (b->image->ops->forget) {
        b->image->ops->forget(b->image, r);
    }
    blk_complete(r, -EIO);
}

static struct blk_req *blk_newest_out(const struct blk *b)
{
    struct blk_req *r = b->requests;

    while (r->held) {
        r = r->next;
    }
    return r;
}

void blk_drain(struct blk *b)
{
    assert(!b->holding);
    for (;;) {
        blk_deliver_finished(b);
        if (b->in_flight == b->held) {
            break;
        }
        if (!b->image->ops->wait || !b->image->ops->wait(b->image)) {
            blk_give_up(b, blk_newest_out(b));
        }
    }
}

struct blk *blk_new(struct ev_loop *loop, const char *id)
{
    struct blk *b = xcalloc(1, sizeof(*b));

    b->loop = loop;
    b->id = xstrdup(id);
    b->post.cb = blk_deliver_finished;
    b->post.opaque = b;
    return b;
}

static struct blk_req *blk_oldest_held(const struct blk *b)
{
    struct blk_req *found = NULL;

    for (struct blk_req *r = b->requests; r; r = r->next) {
        found = r->held ? r : found;
    }
    return found;
}

void blk_retry(struct blk *b)
{
    struct blk_req *r;

    for (unsigned n = b->held; n && (r = blk_oldest_held(b)); n--) {
        r->held = false;
        b->held--;
        b->holding++;
        b->image->ops->submit(b->image, r);
        b->holding--;
    }
}

int blk_held_error(const struct blk *b)
{
    const struct blk_req *r = b->held ? blk_oldest_held(b) : NULL;

    return r ? r->ret : 0;
}

void blk_set_on_error(struct blk *b, enum blk_on_error rerror, enum blk_on_error werror)
{
    b->rerror = rerror;
    b->werror = werror;
}

void blk_on_io_error(struct blk *b,
                     void (*fn)(void *opaque, struct blk *b, enum blk_op op, int ret,
                                enum blk_on_error action),
                     void *opaque)
{
    b->error_fn = fn;
    b->error_opaque = opaque;
}

static void blk_drop_image(struct blk *b)
{
    struct blk_req *r;

    blk_drain(b);
    while ((r = blk_oldest_held(b))) { /* nobody will ever try again */
        blk_end_now(r, r->ret);
    }
    if (b->image) {
        b->image->ops->close(b->image);
        b->image = NULL;
    }
}

int blk_count_latency(struct blk *b, enum blk_op op, const uint64_t *boundary, size_t n)
{
    return histogram_set(&b->stats.took[op], boundary, n);
}

void blk_count_no_latency(struct blk *b)
{
    for (unsigned op = 0; op < BLK_OPS; op++) {
        histogram_fini(&b->stats.took[op]);
    }
}

void blk_free(struct blk *b)
{
    if (!b) {
        return;
    }
    blk_drop_image(b);
    blk_count_no_latency(b);
    ev_post_cancel(b->loop, &b->post);
    free(b->id);
    free(b);
}

void blk_set_image(struct blk *b, struct blk_image *image)
{
    blk_drop_image(b);
    b->image = image;
    if (b->user && b->user->medium_changed) {
        b->user->medium_changed(b->user_opaque);
    }
}

const char *blk_id(const struct blk *b)
{
    return b->id;
}

struct blk_image *blk_image(const struct blk *b)
{
    return b->image;
}

void blk_set_user(struct blk *b, const struct blk_user *u, void *opaque)
{
    b->user = u;
    b->user_opaque = opaque;
}

const struct blk_user *blk_user(const struct blk *b, void **opaque)
{
    if (opaque) {
        *opaque = b->user_opaque;
    }
    return b->user;
}

void blk_set_watch(struct blk *b, const struct blk_watch *w, void *opaque)
{
    b->watch = w;
    b->watch_opaque = opaque;
}

bool blk_present(const struct blk *b)
{
    return b && b->image;
}

bool blk_read_only(const struct blk *b)
{
    return b->image && b->image->read_only;
}

uint64_t blk_len(const struct blk *b)
{
    return b && b->image ? b->image->len : 0;
}

bool blk_tray_open(const struct blk *b)
{
    return b->tray_open;
}

bool blk_locked(const struct blk *b)
{
    return b->locked;
}

static void blk_tell_user(struct blk *b)
{
    if (b->user && b->user->tray_moved) {
        b->user->tray_moved(b->user_opaque);
    }
}

void blk_set_tray(struct blk *b, bool open)
{
    if (b->tray_open == open) {
        return;
    }
    b->tray_open = open;
    blk_tell_user(b);
    if (b->tray_fn) {
        b->tray_fn(b->tray_opaque, b, open);
    }
}

void blk_set_locked(struct blk *b, bool locked)
{
    if (b->locked != locked) {
        b->locked = locked;
        blk_tell_user(b);
    }
}

void blk_on_tray(struct blk *b, void (*fn)(void *opaque, struct blk *b, bool open), void *opaque)
{
    b->tray_fn = fn;
    b->tray_opaque = opaque;
}

unsigned blk_in_flight(const struct blk *b)
{
    return b->in_flight;
}

const struct blk_stats *blk_stats(const struct blk *b)
{
    return &b->stats;
}
