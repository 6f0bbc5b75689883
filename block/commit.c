/* SPDX-License-Identifier: MIT */
/* block/commit.c - writing layers of a chain into one below them, while nothing else happens.
 *
 * block/job-commit.c does it beside a running guest.
 */
#include "block/commit.h"

#include "block/graph.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20, ZERO_STEP = 1 << 30 };

/* What the layers from n down to base, without that, decide. */
static int status_above(struct node *n, const struct node *base, uint64_t at, uint64_t len,
                        struct node_status *st)
{
    int ret = 0;

    for (; n && n != base; n = n->backing) {
        if (at >= n->len) { /* a layer that ends here reads as zeros beyond */
            *st = (struct node_status){ .len = len, .flags = NODE_IS_ZERO | NODE_ALLOCATED };
            return 0;
        }
        ret = node_status(n, at, min_u64(len, n->len - at), st);
        if (ret < 0 || (st->flags & NODE_ALLOCATED)) {
            return ret;
        }
        len = st->len;
    }
    return ret;
}

/* Copies onto base what the layers above it decide. */
static int push_down(struct node *top, struct node *base, const struct commit_watch *watch)
{
    uint8_t *buf = xcalloc(1, CHUNK);
    int ret = 0;

    for (uint64_t at = 0, len; at < top->len && ret == 0; at += len) {
        struct node_status st;
        ret = status_above(top, base, at, top->len - at, &st);
        len = ret < 0 ? 512 : st.len;
        if (ret == 0 && (st.flags & NODE_ALLOCATED) && (st.flags & NODE_IS_ZERO)) {
            len = min_u64(len, ZERO_STEP);
            ret = node_rw(base, NODE_ZERO, at, NULL, len, NODE_UNMAP);
        } else if (ret == 0 && (st.flags & NODE_ALLOCATED)) {
            len = min_u64(len, CHUNK);
            ret = node_read(top, at, buf, len);
            ret = ret < 0 ? ret : node_write(base, at, buf, len);
        }
        if (watch && watch->progress) {
            watch->progress(watch->opaque, at + len, top->len);
        }
    }
    free(buf);
    return ret < 0 ? ret : node_flush(base);
}

int commit_down(struct node *top, struct node *base, const struct commit_watch *watch,
                struct err *e)
{
    int ret = base->len < top->len ? node_resize(base, top->len, e) : 0;

    if (ret < 0) {
        return ret;
    }
    ret = push_down(top, base, watch);
    return ret < 0 ? err_set(e, ret, "Committing failed: %s", strerror(-ret)) : 0;
}

int commit_near(struct node *top, struct err *e)
{
    struct node *base = node_skip_filters(top->backing);
    struct err unused;

    if (!qcow2_is(top) || !base) {
        return err_set(e, -ENOTSUP, "%s", strerror(ENOTSUP));
    }
    bool was = base->read_only;
    int ret = node_reopen(base, false, e);
    ret = ret < 0 ? ret : commit_down(top, base, NULL, e);
    if (was) {
        node_reopen(base, true, &unused);
    }
    return ret < 0 ? ret : qcow2_make_empty(top, e);
}
