/* SPDX-License-Identifier: MIT */
/* block/qcow2.h - the format node "qcow2": opening, creating, and what tools ask of an image.
 *
 * All of these wait for their I/O. Reading and writing goes through block/node.h.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/luks.h"
#include "block/node.h"

#include <time.h>

struct qcow2_open {
    bool read_only;
    bool check;    /* for a check or repair: corrupt and dirty images open as they are */
    bool inactive; /* another process still writes to it: read only until activated */
    bool no_io;    /* the guest's data are not touched: no key is needed for them */
    const struct luks_key *key; /* NULL: none; used while opening */
    bool pass_discard;          /* storage that falls free is given back to the file */
    uint64_t l2_cache;          /* bytes; 0: enough for the whole image, at most 32 MiB */
    uint64_t refcount_cache;    /* bytes; 0: 256 KiB or four blocks */
};

/* Takes file, also when it fails. NULL with e naming what is wrong with the image. */
struct node *qcow2_open(struct node *file, const struct qcow2_open *o, struct err *e);
bool qcow2_is(const struct node *n);
/* n is one: as with pass_discard or without, from now on. */
void qcow2_pass_discard(struct node *n, bool on);
/* Where the guest's data of an image are that has a data file (qcow2_info). Takes data; until then
 * the image's data cannot be reached (-ENOMEDIUM). */
void qcow2_set_data(struct node *n, struct node *data);
/* Everything is on disk and nothing is left to write: another process may take over. */
int qcow2_quiesce(struct node *n);
/* Opened inactive: reads the metadata anew and writes from now on. Else nothing happens. */
int qcow2_activate(struct node *n, struct err *e);

struct qcow2_create {
    uint64_t size;          /* bytes; rounded up to 512 */
    unsigned version;       /* 2 or 3 */
    unsigned cluster_bits;  /* 9 to 21 */
    unsigned refcount_bits; /* 1, 2, 4, ... 64 */
    bool lazy_refcounts;
    bool zstd, extended_l2; /* extended_l2: clusters of 16 KiB and more, in 32 parts each */
    const char *backing_file, *backing_format; /* NULL: none */
    const char *data_file;                     /* NULL: the guest's data go into the image */
    bool data_file_raw;                        /* they are there as on a raw disk */
    const struct luks_create *luks;            /* NULL: not encrypted, unless: */
    const struct luks_key *key;                /* with luks */
    const uint8_t *luks_header;                /* luks_len bytes of luks_create's, made before */
    uint64_t luks_len;
};
/* What is in the LUKS header of an encrypted image. */
int qcow2_luks_info(struct node *n, struct luks_info *out, struct err *e);
/* luks_amend for the header inside. */
int qcow2_luks_amend(struct node *n, const struct luks_amend *a, struct err *e);
/* Writes an empty image onto file, which stays the caller's. */
int qcow2_create(struct node *file, const struct qcow2_create *o, struct err *e);

enum qcow2_prealloc {
    QCOW2_PREALLOC_OFF,
    QCOW2_PREALLOC_METADATA,
    QCOW2_PREALLOC_FALLOC,
    QCOW2_PREALLOC_FULL
};
/* Gives all clusters from byte `from` on their place, and room as said. What the image holds there
 * reads as zeros, or it has extended L2 entries; a backing file's data would be hidden. */
int qcow2_preallocate(struct node *n, uint64_t from, enum qcow2_prealloc how);

struct qcow2_info {
    unsigned version, cluster_bits, refcount_bits;
    bool lazy_refcounts, zstd, corrupt, dirty, extended_l2, data_file_raw;
    const char *backing_file, *backing_format; /* NULL: none; the node's */
    const char *data_file;                     /* NULL: none; the node's */
    bool encrypted;
    unsigned snapshots;
};
void qcow2_info(const struct node *n, struct qcow2_info *out);

/* The image can keep persistent bitmaps (block/bitmap.h): those are stored when it is closed. */
bool qcow2_keeps_bitmaps(const struct node *n);
/* Bytes that n's persistent bitmaps take in an image with clusters of `cluster` bytes. */
uint64_t qcow2_bitmaps_measure(const struct node *n, uint64_t cluster);

struct qcow2_snapshot {
    char *id, *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec, vm_state_size, disk_size, icount;
};
/* The i-th snapshot, NULL past the last. */
const struct qcow2_snapshot *qcow2_snapshot(const struct node *n, unsigned i);
/* Each is atomic: after a crash the image is as before or as after. */
int qcow2_snapshot_create(struct node *n, const char *name, struct err *e);
/* What of a machine's state goes into a snapshot. */
struct qcow2_vm {
    const void *state; /* len bytes; len 0: the disk alone, of a machine whose state is elsewhere */
    uint64_t len;
    uint64_t clock_ns;    /* the machine's virtual time */
    uint64_t icount;      /* instructions, UINT64_MAX: they are not counted */
    struct timespec date; /* of the host: the same on every disk */
};
/* vm NULL: the disk alone. */
int qcow2_snapshot_create_vm(struct node *n, const char *name, const struct qcow2_vm *vm,
                             struct err *e);
/* A snapshot's VM state, vm_state_size bytes at *out, which the caller frees; at most max. */
int qcow2_snapshot_state(struct node *n, const char *id_or_name, uint64_t max, uint8_t **out,
                         struct err *e);
int qcow2_snapshot_delete(struct node *n, const char *id_or_name, struct err *e);
int qcow2_snapshot_apply(struct node *n, const char *id_or_name, struct err *e);
/* A node that was opened for reading shows the snapshot in place of the disk. */
int qcow2_snapshot_view(struct node *n, const char *id_or_name, struct err *e);

/* Changes what the header says of the backing file. */
int qcow2_set_backing(struct node *n, const char *file, const char *format, struct err *e);
/* version 0, refcount_bits 0, lazy -1: as it is. */
int qcow2_amend(struct node *n, unsigned version, unsigned refcount_bits, int lazy, struct err *e);
/* Drops every cluster of the image's own, atomically: what commit does last. */
int qcow2_make_empty(struct node *n, struct err *e);

struct qcow2_check {
    uint64_t corruptions, leaks, errors;
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t total_clusters, allocated, fragmented, compressed;
    uint64_t image_end;                          /* bytes */
    void (*say)(void *opaque, const char *line); /* one finding each; may be NULL */
    void *opaque;
};
enum qcow2_repair { QCOW2_CHECK_ONLY, QCOW2_REPAIR_LEAKS, QCOW2_REPAIR_ALL };
/* 0 when the image could be checked, whatever was found. */
int qcow2_check(struct node *n, enum qcow2_repair repair, struct qcow2_check *out);

/* Bytes that an image of that shape needs with `data` bytes in whole clusters allocated. */
uint64_t qcow2_measure(const struct qcow2_create *o, uint64_t data_clusters);

#endif
