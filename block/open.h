/* SPDX-License-Identifier: MIT */
/* block/open.h - building a graph: a file, a format on it, its backing chain. */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/file.h"
#include "block/luks.h"
#include "block/nbd.h"

struct image_open {
    const char *filename; /* or an address of block/nbd.h */
    int fd;               /* -1, or an open descriptor to use (and own) instead */
    const char *format;   /* "raw", "qcow2"; NULL: by the header, for tools alone: a guest can write
                           any header it likes onto a raw disk */
    bool read_only;
    bool guessed;    /* format is a guess: an image that names other files is refused */
    bool no_backing; /* do not open the backing chain: nothing may be read */
    bool check;      /* for a check or repair */
    bool inactive;   /* block/qcow2.h */
    /* A qcow2 image's data file: this name in place of its own, or its own if followed. Neither: it
     * is an error, or with no_backing the data cannot be reached. Whoever made the image may have
     * named any file of the host. */
    const char *data_file;
    bool follow_data;
    const struct luks_key *key; /* of an encrypted image; used while opening */
    bool no_io;                 /* the guest's data are not touched: it needs no key */
    bool lock, share_rw;
    bool discard;   /* discards reach the host */
    bool temporary; /* writes go to a file that is gone at the end: snapshot=on */
    enum blk_aio aio;
    enum blk_cache cache;
    uint64_t l2_cache;  /* bytes; 0: automatic */
    struct nbd_how nbd; /* of an address */
};

/* NULL with e naming image and cause. Takes o->fd also when it fails. */
struct node *image_open(struct node_ctx *c, const struct image_open *o, struct err *e);
/* The format o->format, not raw, on file, which is taken also when it fails; o->filename and fd do
 * not count. Opens the backing chain that the image names, unless o->no_backing. */
struct node *image_open_on(struct node *file, const struct image_open *o, struct err *e);
/* The name of n's format: "raw" when a protocol node is used as it is. */
const char *image_format(const struct node *n);
/* n itself, not what is under it. */
bool image_encrypted(const struct node *n);
/* The protocol node under n. */
struct node *image_protocol(struct node *n);
/* The name of the backing file as seen from where overlay is. malloc'd. */
char *image_backing_path(const char *overlay, const char *backing);
/* The format whose header the file begins with, "raw" if none. */
const char *image_probe(int fd);
/* A format that is known at all. */
bool image_format_known(const char *name);
/* One that can be opened. */
bool image_format_had(const char *name);
/* The name of such a one as a constant; NULL for any other. */
const char *image_format_name(const char *name);

#endif
