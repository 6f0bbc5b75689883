/* SPDX-License-Identifier: MIT */
/* tests/unit/fake-image.h - a disk image in memory that fails and dawdles on demand. */
#ifndef TESTS_UNIT_FAKE_IMAGE_H
#define TESTS_UNIT_FAKE_IMAGE_H

#include "block/blk.h"
#include "dm/base/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fake_image {
    struct blk_image base; /* first: a struct blk_image * is a struct fake_image * */
    uint8_t *data;
    int fail;     /* what every request ends with, 0: it works */
    bool hold;    /* requests wait for fake_release */
    bool no_wait; /* wait() says no */
    struct blk_req *held[16];
    unsigned nheld;
    unsigned count[BLK_OPS];
    unsigned waits, forgotten;
    bool *closed; /* set at close, may be NULL */
};

static inline int fake_move(struct fake_image *f, const struct blk_req *r)
{
    uint8_t *at = f->data + r->offset;

    f->count[r->op]++;
    if (f->fail) {
        return f->fail;
    }
    if (r->op == BLK_DISCARD) {
        memset(at, 0, r->len);
    }
    for (int i = 0; i < r->iovcnt && (r->op == BLK_READ || r->op == BLK_WRITE); i++) {
        if (r->op == BLK_READ) {
            memcpy(r->iov[i].iov_base, at, r->iov[i].iov_len);
        } else {
            memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
        }
        at += r->iov[i].iov_len;
    }
    return 0;
}

static inline void fake_submit(struct blk_image *i, struct blk_req *r)
{
    struct fake_image *f = (struct fake_image *)i;

    if (f->hold) {
        assert(f->nheld < ARRAY_SIZE(f->held));
        f->held[f->nheld++] = r;
    } else {
        blk_complete(r, fake_move(f, r));
    }
}

/* Ends everything held; under the lock. */
static inline void fake_release(struct fake_image *f)
{
    while (f->nheld) {
        struct blk_req *r = f->held[0];

        memmove(f->held, f->held + 1, --f->nheld * sizeof(f->held[0]));
        blk_complete(r, fake_move(f, r));
    }
}

static inline bool fake_wait(struct blk_image *i)
{
    struct fake_image *f = (struct fake_image *)i;

    f->waits++;
    if (f->no_wait) {
        return false;
    }
    fake_release(f);
    return true;
}

static inline void fake_forget(struct blk_image *i, struct blk_req *r)
{
    struct fake_image *f = (struct fake_image *)i;

    f->forgotten++;
    for (unsigned n = 0; n < f->nheld; n++) {
        if (f->held[n] == r) {
            memmove(f->held + n, f->held + n + 1, (--f->nheld - n) * sizeof(f->held[0]));
            return;
        }
    }
}

static inline void fake_close(struct blk_image *i)
{
    struct fake_image *f = (struct fake_image *)i;

    if (f->closed) {
        *f->closed = true;
    }
    free(f->base.filename);
    free(f->data);
    free(f);
}

static const struct blk_image_ops fake_ops = {
    .format = "fake",
    .submit = fake_submit,
    .wait = fake_wait,
    .forget = fake_forget,
    .close = fake_close,
};

/* What byte `at` of a fresh image holds: differs from sector to sector and within one. */
static inline uint8_t fake_byte(uint64_t at)
{
    return (uint8_t)(at * 3 + at / 512 * 17 + at / 131072);
}

static inline struct fake_image *fake_image_new(uint64_t len)
{
    struct fake_image *f = xcalloc(1, sizeof(*f));

    f->base.ops = &fake_ops;
    f->base.len = len;
    f->base.filename = xstrdup("fake");
    f->data = xcalloc(1, len);
    for (uint64_t i = 0; i < len; i++) {
        f->data[i] = fake_byte(i);
    }
    return f;
}

/* A drive with such an image in it. */
static inline struct blk *fake_drive_new(struct ev_loop *loop, const char *id, uint64_t len,
                                         struct fake_image **img)
{
    struct blk *b = blk_new(loop, id);

    *img = fake_image_new(len);
    blk_set_image(b, &(*img)->base);
    return b;
}

/* How many of the len bytes at p, from the first on, are those of a fresh image from `at` on. */
static inline size_t fake_match(const uint8_t *p, uint64_t at, size_t len)
{
    size_t n = 0;

    while (n < len && p[n] == fake_byte(at + n)) {
        n++;
    }
    return n;
}
#define assert_fake(p, at, len) assert_int_equal(fake_match(p, at, len), len)

#endif
