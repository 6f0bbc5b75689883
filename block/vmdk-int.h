/* SPDX-License-Identifier: MIT */
/* block/vmdk-int.h - what the two parts of the VMDK driver share. */
#ifndef BLOCK_VMDK_INT_H
#define BLOCK_VMDK_INT_H

#include "block/mapped.h"

enum {
    VMDK_GTES = 512, /* entries of a grain table, as all writers have it */
    VMDK_GT_BYTES = VMDK_GTES * 4,
    VMDK_MAX_DESCRIPTOR = 1 << 20,
    VMDK_MAX_TABLES = 128 << 20, /* bytes of grain tables in memory */
    VMDK_MAX_EXTENTS = 4096,
};

enum { VMDK_ZEROED = 4, VMDK_COMPRESSED = 1 << 16, VMDK_MARKERS = 1 << 17 }; /* flags */
#define VMDK_AT_END UINT64_MAX /* a grain directory's place: the footer has it */

/* The header of a sparse extent, in sectors where no unit is said. */
struct vmdk_header {
    uint32_t version, flags;
    uint64_t capacity, grain, desc_at, desc_len, rgd_at, gd_at, overhead;
    uint32_t gtes;
    uint16_t compression; /* 1: deflate */
};

struct vmdk_extent {
    uint64_t start, len; /* bytes of the disk */
    struct node *file;   /* NULL: all zeros */
    char *name, *type;
    /* flat */
    uint64_t at; /* bytes into file */
    /* sparse */
    struct vmdk_header h;
    uint32_t ngt;
    uint32_t *gd, *rgd; /* sectors of the grain tables and of their copies */
    uint32_t **gt;      /* NULL: not there */
};

struct vmdk {
    struct mapped m; /* first */
    struct vmdk_extent *extent;
    unsigned extents;
    uint32_t cid, parent_cid;
    char *create_type, *parent;
    char *descriptor; /* embedded: its sectors as they are in the file */
    uint64_t descriptor_at, descriptor_len;
    uint64_t gt_keys; /* keys of grain tables; the descriptor's follow */
    bool stream;      /* being written: tables and footer come at the end */
    bool touched;     /* cid has changed since it was opened */
};

/* vmdk.c */
int vmdk_bad(const struct node *file, struct err *e, const char *what);
/* Fills in the tables of a sparse extent in x->file. */
int vmdk_load_sparse(struct vmdk *v, struct vmdk_extent *x, bool writable, struct err *e);

/* vmdk-desc.c */
/* The descriptor's text, a NUL at its end, becomes cid, create type, parent, and the extents with
 * names and without files. */
int vmdk_parse(struct vmdk *v, const struct node *file, const char *text, struct err *e);
int vmdk_create(struct node *file, const struct format_create *c, struct err *e);
void vmdk_build_header(uint8_t *b, const struct vmdk_header *h);

#endif
