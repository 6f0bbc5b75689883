/* SPDX-License-Identifier: MIT */
/* tools/img.h - what the parts of keel-img share. */
#ifndef TOOLS_IMG_H
#define TOOLS_IMG_H

#include "block/open.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/image-json.h"
#include "tools/tool.h"

#include <jansson.h>
#include <stdio.h>

/* What most commands take. */
struct img {
    struct node_ctx *ctx;
    const char *command;
    const char *format, *out_format, *options, *backing, *backing_format;
    const char *cache, *src_cache, *prealloc;
    enum blk_aio aio;                  /* of the image that is measured */
    const struct luks_key *target_key; /* of the image that was made */
    const struct luks_key *source_key; /* of the image that was opened last by its options */
    bool quiet, progress, json, share; /* share: -U */
    bool image_opts, target_opts;      /* sources, or the target, are lists of options */
    uint64_t rate;                     /* bytes a second that may be copied; 0: any number */
    char **arg;                        /* what is left after the options */
    int args;
};

/* Prints the commands' synopses; the exit status. */
int img_usage(FILE *f);
/* Opens for a command; NULL after telling why. */
struct node *img_open(struct img *im, const char *filename, const char *format, bool write,
                      unsigned how);
/* NO_DATA: a qcow2 image's data file stays closed. It is followed only where the format was given. */
enum { OPEN_NO_BACKING = 1, OPEN_CHECK = 2, OPEN_SOURCE = 4, OPEN_TARGET = 8, OPEN_NO_DATA = 16 };
/* Closes; 1 after telling when the data may not be on disk. */
int img_close(struct node *n);
/* Status with the whole chain looked through: NODE_HAS_DATA or NODE_IS_ZERO, how deep it was
 * found, and in which node. */
int img_status(struct node *n, uint64_t offset, uint64_t len, struct node_status *st,
               unsigned *depth, struct node **where);
void img_progress(const struct img *im, uint64_t done, uint64_t of);
/* Makes a new image. 0, or 1 after telling why. size UINT64_MAX: from the options or the backing
 * file. Says what it does unless quiet. */
int img_make(struct img *im, const char *filename, const char *format, uint64_t size,
             const char *options, bool no_check);
/* The value of a key in a -o list; NULL if it is not there. malloc'd. */
char *option_get(const char *options, const char *key);

/* The names in a -o list are known for the format; 1 after telling which is not. */
int check_options(const char *filename, const char *options, bool raw);
int option_bool(const char *what, const char *s, bool *out);

/* tools/img-qcow2.c: each 0, or 1 after telling why. data_file is malloc'd, the rest is options'. */
int parse_qcow2(const char *options, struct qcow2_create *c, const char *filename);
int parse_prealloc(const char *filename, const char *s, bool raw, enum qcow2_prealloc *out);
int make_qcow2(struct img *im, const char *filename, const struct qcow2_create *c,
               enum qcow2_prealloc how);

/* img-formats.c: the formats that are neither raw nor qcow2. */
struct format;
int other_help(const char *format);
int other_make(struct img *im, const struct format *f, const char *filename, uint64_t size,
               const char *text);
void other_info(const struct node *n);
/* The command's exit status. */
int other_check(struct img *im, struct node *n, bool repair);

/* Prints j and frees it. */
void print_json(json_t *j);

/* tools/img-luks.c */
struct luks_options {
    bool on;
    struct luks_create create;
    const struct luks_key *key;
};
/* encrypt.* of a -o list; 0, or 1 after telling why. */
int parse_encrypt(const char *filename, const char *options, struct luks_options *l);
/* The options of the format luks, or with "encrypt." before each. */
int take_luks(struct luks_options *l, const char *options, const char *prefix);
/* Changes the key slots of n, which is encrypted: state=, new-secret= and so on, with prefix before
 * each. */
int amend_luks(struct img *im, struct node *n, const char *prefix, bool force);
int make_luks(struct img *im, const char *filename, uint64_t size, const char *options);
/* format: the line that says so too, as in qcow2. */
void print_luks(const struct luks_info *i, const char *indent, bool format);

/* tools/img-bitmap.c: reads its options itself. */
int img_bitmap(struct img *im, int argc, char **argv);
/* The persistent bitmaps of src become dst's too. 0, or 1 after telling why. */
int img_copy_bitmaps(const struct node *src, struct node *dst, bool skip_broken);

int img_bench(struct img *im, int argc, char **argv);
int img_create(struct img *im);
int img_measure(struct img *im, uint64_t size, const char *snapshot);
int img_resize(struct img *im, bool shrink);
int img_amend(struct img *im, bool force);
int img_info(struct img *im, bool chain);
int img_check(struct img *im, const char *repair);
int img_map(struct img *im, uint64_t from, uint64_t len);
int img_snapshot(struct img *im, char what, const char *name);
/* n, opened for reading, shows a snapshot: an id or a name, or "snapshot.id=ID,snapshot.name=NAME".
 * 0, or 1 after telling why. */
int img_view_snapshot(struct node *n, const char *text);

struct convert {
    bool compress, no_create, target_is_zero, bitmaps, skip_broken_bitmaps, salvage;
    unsigned jobs;
    uint64_t sparse; /* bytes that make a hole worth it; 0: never */
    const char *snapshot;
};
int img_convert(struct img *im, const struct convert *c);
int img_compare(struct img *im, bool strict);
int img_commit(struct img *im, bool keep);
int img_rebase(struct img *im, bool unsafe);
int img_dd(struct img *im);
/* Copies all of src to dst from `to` on, many requests in flight. zero: dst is known to read as zeros
 * there. */
int img_copy(struct img *im, struct node *src, struct node *dst, uint64_t to,
             const struct convert *c, bool zero);

#endif
