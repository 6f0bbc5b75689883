/* SPDX-License-Identifier: MIT */
/* tools/img-chain.c - keel-img commit, rebase: images and what they stand on. */
#include "block/commit.h"
#include "block/qcow2.h"
#include "tools/img.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 1 << 20 };

/* ---- commit ---- */

static void progress(void *opaque, uint64_t done, uint64_t of)
{
    img_progress(opaque, done, of);
}

static int commit_onto(struct img *im, struct node *top, struct node *base)
{
    struct commit_watch watch = { progress, im };
    struct err e = { 0 };

    return commit_down(top, base, &watch, &e) < 0 ? fail("%s", e.msg) : 0;
}

static struct node *find_in_chain(const struct node *top, const char *name)
{
    struct stat want, is;
    bool there = stat(name, &want) == 0;

    for (struct node *n = top->backing; n; n = n->backing) {
        if (strcmp(n->filename, name) == 0 ||
            (there && stat(n->filename, &is) == 0 && is.st_ino == want.st_ino &&
             is.st_dev == want.st_dev)) {
            return n;
        }
    }
    return NULL;
}

/* -b: onto a layer further down. The image stays as it is, and valid. */
static int commit_to_named(struct img *im)
{
    struct node *top = img_open(im, im->arg[0], im->format, false, 0);
    struct node *base = top ? find_in_chain(top, im->backing) : NULL;
    struct err e = { 0 };
    int rc = 1;

    if (top && !base) {
        fail("Did not find '%s' in the backing chain of '%s'", im->backing, im->arg[0]);
    } else if (base && node_reopen(base, false, &e) < 0) {
        fail("%s", e.msg);
    } else if (base) {
        rc = commit_onto(im, top, base);
    }
    return top ? img_close(top) || rc : 1;
}

/* Onto the backing file; then the image is emptied, unless it is to be kept. */
static int commit_to_backing(struct img *im, bool keep)
{
    struct qcow2_info q = { 0 };
    struct err e = { 0 };
    struct node *top, *base = NULL;
    int rc;

    top = img_open(im, im->arg[0], im->format, true, OPEN_NO_BACKING);
    if (!top) {
        return 1;
    }
    if (qcow2_is(top)) {
        qcow2_info(top, &q);
    }
    if (!q.backing_file) {
        img_close(top);
        return fail("Image does not have a backing file");
    }
    char *path = image_backing_path(top->filename, q.backing_file);
    base = q.backing_format ? img_open(im, path, q.backing_format, true, 0) : NULL;
    free(path);
    if (!q.backing_format) {
        fail("the format of the backing file is not known");
    }
    rc = base ? commit_onto(im, top, base) : 1;
    rc |= base ? img_close(base) : 0;
    /* Only now that the base is whole on disk. */
    if (rc == 0 && !keep && qcow2_make_empty(top, &e) < 0) {
        rc = fail("Could not empty '%s': %s", im->arg[0], e.msg);
    }
    return img_close(top) || rc;
}

int img_commit(struct img *im, bool keep)
{
    int rc;

    if (im->args != 1) {
        return fail("Expecting one image file name");
    }
    rc = im->backing ? commit_to_named(im) : commit_to_backing(im, keep);
    if (rc == 0 && !im->quiet) {
        printf("Image committed.\n");
    }
    return rc;
}

/* ---- rebase ---- */

static int read_or_zero(struct node *n, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t have = n && at < n->len ? min_u64(len, n->len - at) : 0;

    memset(buf + have, 0, len - have);
    return have ? node_read(n, at, buf, have) : 0;
}

/* What the image takes from its old backing file and would not get from the new one is written
 * into the image. */
static int keep_view(struct img *im, struct node *n, struct node *old, struct node *new)
{
    uint8_t *buf = xcalloc(2, CHUNK);
    int ret = 0;

    for (uint64_t at = 0, len; at < n->len && ret == 0; at += len) {
        struct node_status st;
        ret = node_status(n, at, min_u64(n->len - at, CHUNK), &st);
        len = ret < 0 ? 512 : st.len;
        if (ret < 0 || (st.flags & NODE_ALLOCATED)) {
            continue;
        }
        ret = read_or_zero(old, at, buf, len);
        ret = ret < 0 ? ret : read_or_zero(new, at, buf + CHUNK, len);
        for (uint64_t i = 0, k; i < len && ret == 0; i = k) {
            for (k = i; k < len && memcmp(buf + k, buf + CHUNK + k, 512) == 0; k += 512) {
            }
            for (i = k; k < len && memcmp(buf + k, buf + CHUNK + k, 512) != 0; k += 512) {
            }
            ret = k > i ? node_write(n, at + i, buf + i, k - i) : 0;
        }
        img_progress(im, at + len, n->len);
    }
    free(buf);
    return ret < 0 ? ret : node_flush(n);
}

int img_rebase(struct img *im, bool unsafe)
{
    struct err e = { 0 };
    struct node *n, *new = NULL;
    const char *to = im->backing && im->backing[0] ? im->backing : NULL;
    int rc = 0, ret;

    if (im->args != 1 || !im->backing) {
        return fail("rebase: expecting -b FILE (empty for none) and a file name");
    }
    if (to && !im->backing_format) {
        return fail("-F: missing, the format of '%s' is never guessed", to);
    }
    if (to && !image_format_known(im->backing_format)) {
        return fail("Invalid format name: '%s'", im->backing_format);
    }
    n = img_open(im, im->arg[0], im->format, true, unsafe ? OPEN_NO_BACKING : 0);
    if (!n) {
        return 1;
    }
    if (!qcow2_is(n)) {
        img_close(n);
        return fail("format '%s' has no backing files", image_format(n));
    }
    if (!unsafe && to) {
        char *path = image_backing_path(n->filename, to);
        new = img_open(im, path, im->backing_format, false, OPEN_SOURCE);
        free(path);
        rc = new ? 0 : 1;
    }
    if (!unsafe && rc == 0 && (ret = keep_view(im, n, n->backing, new)) < 0) {
        rc = fail("'%s': %s", im->arg[0], strerror(-ret));
    }
    if (rc == 0 && qcow2_set_backing(n, to, im->backing_format, &e) < 0) {
        rc = fail("%s", e.msg);
    }
    rc |= new ? img_close(new) : 0;
    return img_close(n) || rc;
}
