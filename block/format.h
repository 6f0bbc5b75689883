/* SPDX-License-Identifier: MIT */
/* block/format.h - the image formats: what each offers to whoever opens, makes and looks at images.
 *
 * A format is one file in block/ and one row of the table in block/format.c. Everything here waits
 * for its I/O; reading and writing goes through block/node.h.
 */
#ifndef BLOCK_FORMAT_H
#define BLOCK_FORMAT_H

#include "block/open.h"

/* What a new image shall be. Strings that were not given are NULL. */
struct format_create {
    uint64_t size; /* bytes, a multiple of 512 */
    const char *subformat;
    const char *backing_file, *backing_format;
    const char *adapter_type, *hwversion, *toolsversion; /* vmdk */
    bool is_static;                                      /* vdi: all blocks have their place */
    bool force_size;                                     /* vpc: not rounded up to a geometry */
    bool zeroed_grain, compat6;                          /* vmdk */
    uint32_t parent_cid;                                 /* vmdk: of the backing file */
};

struct format_info {
    uint64_t cluster_size;                     /* bytes; 0: none to speak of */
    const char *backing_file, *backing_format; /* NULL: none, or not said; the node's */
    uint64_t elsewhere; /* bytes the host has set aside for files beside the one that was opened */
    bool compressed;    /* every write has to be a compressed cluster, in order */
};

struct format_check {
    uint64_t corruptions, leaks, errors;
    uint64_t total_clusters, allocated, image_end;
    void (*say)(void *opaque, const char *line); /* one finding each; may be NULL */
    void *opaque;
};

struct format {
    const char *name;
    /* Opens what is on file and takes file, also when it fails; NULL with e. Does not open the
     * backing file. */
    struct node *(*open)(struct node *file, const struct image_open *o, struct err *e);
    /* Writes an empty image onto file, which stays the caller's. NULL: it cannot be made. */
    int (*create)(struct node *file, const struct format_create *c, struct err *e);
    void (*info)(const struct node *n, struct format_info *out);
    /* Looks for damage. 0 when the image could be checked, whatever was found. NULL: it cannot. */
    int (*check)(struct node *n, struct format_check *out);
    /* The backing file's format where the image has no place for it. */
    const char *backing_format;
};

/* One a file; block/format.c lists them. */
extern const struct format format_qcow1, format_vdi, format_vhdx, format_vmdk, format_vpc;

/* NULL: no format of that name that can be opened. "raw" has no row. */
const struct format *format_find(const char *name);
/* n's own, NULL for raw and protocol nodes; filters are looked through. */
const struct format *format_of(const struct node *n);
/* All zero for nodes without a format. */
void format_info(const struct node *n, struct format_info *out);

/* Opens a file that the image on `file` names, relative to it, as a plain file in the same way. An
 * image whose format was guessed names none. */
struct node *format_open_sibling(struct node *file, const char *name, uint64_t min_len,
                                 const struct image_open *o, struct err *e);

#endif
