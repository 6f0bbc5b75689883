/* SPDX-License-Identifier: MIT */
/* block/qcow2-int.h - what the parts of the qcow2 driver share.
 *
 * qcow2.c       opening, closing
 * qcow2-header.c
 * qcow2-table.c cached tables, their loading, and the commit that writes them in a safe order
 * qcow2-map.c   L2 entries: what is behind a range of the guest's bytes
 * qcow2-alloc.c reference counts: finding free clusters, giving clusters back
 * qcow2-op.h    qcow2-io.c, -write.c, -erase.c: requests, each an explicit state machine
 * qcow2-meta.c  walking all references; writing a whole new set of metadata and switching to it
 * qcow2-snap.c  creating, snapshots, resizing, amending: all of them on top of qcow2-meta.c
 * qcow2-state.c the state of a machine in a snapshot
 * qcow2-check.c checking and repairing
 * qcow2-bitmap.c persistent dirty bitmaps
 *
 * How a step waits: a step first gets hold of all tables it needs. One that is not in memory starts
 * being read, the step's op is queued on it and the step returns; when the table is there, the step
 * runs again from its start. A step that has all it needs changes memory in one go. So every change
 * is atomic as far as other requests can see, without a lock over metadata.
 *
 * Reference: the qcow2 specification, docs/interop/qcow2.txt of the QEMU project.
 */
#ifndef BLOCK_QCOW2_INT_H
#define BLOCK_QCOW2_INT_H

#include "block/qcow2.h"
#include "block/range.h"
#include "dm/base/bytes.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>

#define QCOW2_MAGIC 0x514649fbu
#define OFLAG_COPIED (1ull << 63)
#define OFLAG_COMPRESSED (1ull << 62)
#define OFLAG_ZERO (1ull << 0)
#define OFFSET_MASK 0x00fffffffffffe00ull
#define L1_RESERVED 0x7f000000000001ffull
#define L2_RESERVED 0x3f000000000001feull

enum {
    INCOMPAT_DIRTY = 1,
    INCOMPAT_CORRUPT = 2,
    INCOMPAT_DATA_FILE = 4,
    INCOMPAT_COMPRESSION = 8,
    INCOMPAT_EXTENDED_L2 = 16
};
enum { COMPAT_LAZY_REFCOUNTS = 1 };
enum { AUTOCLEAR_BITMAPS = 1, AUTOCLEAR_RAW_DATA = 2 };

/* An L2 entry. With extended entries a cluster has 32 parts (subclusters), and map says for part i
 * whether it is in the cluster (bit i) or zeros (bit 32 + i); without, map is 0 and the cluster its
 * only part. */
struct l2_entry {
    uint64_t place, map;
};
#define MAP_ALLOCATED 0xffffffffull
#define MAP_ZEROS 0xffffffff00000000ull

enum {
    QCOW2_MAX_L1_BYTES = 32 << 20,
    QCOW2_MAX_REFTABLE_BYTES = 8 << 20,
    QCOW2_MAX_SNAPSHOTS = 65536,
    QCOW2_MAX_SNAPSHOT_BYTES = 16 << 20, /* of the whole table */
    QCOW2_MAX_SNAPSHOT_L1 = 32 << 20,    /* entries of all snapshots together */
    QCOW2_MAX_FREES = 8192, /* clusters waiting to be free before a commit is started */
};

#define QCOW2_GIVE_BACK_NS 1000000000ll /* how long a discard's room may wait for a commit */

struct qop;
struct op_list {
    struct qop *first, **tail;
};

/* A cached cluster of metadata: an L2 table or a refcount block. */
struct table {
    uint64_t offset; /* in the file */
    uint8_t *bytes;
    bool is_l2, loading, writing; /* writing: a commit has a copy that is not on disk yet */
    uint32_t index;               /* of the L1 or refcount table entry that points here */
    unsigned pins;
    uint32_t dirty_from, dirty_to; /* bytes; equal: clean */
    struct table *newer, *older;   /* by last use */
    struct op_list waiting;
    struct node_req load;
    struct iovec iov;
    struct qcow2 *s;
};

struct cache {
    struct table **at; /* by index of the pointing entry */
    struct table *newest, *oldest;
    unsigned count, max;
};

/* One contiguous write of a commit, with a copy of its bytes. */
struct commit_write {
    struct node_req r;
    struct iovec iov;
    struct qcow2 *s;
    struct table *t; /* NULL: not from a cached table */
    uint32_t from, to;
    struct commit_write *next;
};

enum commit_phase {
    PHASE_DIRTY_BIT, /* lazy refcounts: the header says dirty before anything is */
    PHASE_REFBLOCKS,
    PHASE_REFTABLE,
    PHASE_HEADER, /* points to a refcount table that moved; corrupt bit */
    PHASE_L2,
    PHASE_L1,
    PHASES
};

struct commit {
    bool running;
    enum commit_phase phase;
    struct commit_write *writes[PHASES];
    unsigned in_flight;
    bool unflushed; /* something was written since the last flush */
    bool flushing, data_flushed;
    int ret;
    struct node_req flush;
    struct op_list waiting, next; /* for the end of this one; for the end of the one after */
    uint64_t *frees;              /* cluster indexes this commit sets free */
    size_t nfrees;
    uint32_t reftable_from, reftable_to, l1_from, l1_to; /* to be dirty again if it fails */
    bool header, dirty_bit;
};

struct qcow2_snap {
    struct qcow2_snapshot pub;
    uint64_t l1_offset;
    uint32_t l1_size;
    uint8_t *extra; /* what we do not know of the extra data */
    uint32_t extra_len;
};

/* A bitmap as the directory has it. */
struct qcow2_stored {
    char *name;
    uint64_t table;
    uint32_t entries, flags;
    uint8_t granularity_bits;
};

/* Feature bits, and the fields of the header that change. */
struct header {
    unsigned version, cluster_bits, refcount_order;
    uint64_t size;
    uint64_t l1_offset, reftable_offset, snapshots_offset;
    uint32_t l1_size, reftable_clusters, nb_snapshots;
    uint64_t incompatible, compatible, autoclear;
    uint8_t compression; /* 0 zlib, 1 zstd */
    char *backing_file, *backing_format;
    char *data_file;                  /* NULL: the guest's data are in the image itself */
    uint64_t crypt_offset, crypt_len; /* of the LUKS header; 0: not encrypted */
    /* bitmaps extension, kept for what it references */
    bool has_bitmaps;
    uint32_t nb_bitmaps;
    uint64_t bitmap_dir_size, bitmap_dir_offset;
    /* extensions nobody here knows, as they are on disk */
    uint8_t *other;
    uint32_t other_len;
};

struct qcow2 {
    struct node node; /* first: a struct node * is a struct qcow2 * */
    struct header h;
    bool pass_discard, broken; /* broken: metadata was found corrupt; only reads go on */
    bool dirty_on_disk;
    bool inactive;
    bool check_mode, closing; /* closing: lazy refcounts go to disk too */
    uint32_t cluster_size;
    unsigned cluster_bits, l2_bits; /* l2_bits: log2 of the entries in an L2 table */
    unsigned rb_bits;               /* log2 of the entries in a refcount block */
    unsigned entry_bits;            /* log2 of an L2 entry's bytes: 3, extended 4 */
    unsigned sub_bits;              /* log2 of a part's bytes */
    bool extended, external;        /* external: the guest's data are in a file of their own */
    struct node *data;              /* where they are; NULL while that is not known */
    struct luks *luks;              /* of an encrypted image */
    struct node *crypt;             /* encrypts what goes to the data; NULL: nothing does */

    uint64_t *l1;                        /* host byte order */
    uint32_t l1_dirty_from, l1_dirty_to; /* entries */
    uint64_t *reftable;                  /* host byte order */
    uint32_t reftable_len;               /* entries */
    uint32_t reftable_dirty_from, reftable_dirty_to;
    bool header_dirty;
    struct cache l2, rb;

    uint64_t free_hint;         /* cluster: none below it is free */
    uint64_t virgin;            /* cluster: from here on the file holds only zeros */
    uint64_t comp_at, comp_end; /* bytes: room left behind the last compressed cluster */
    uint64_t *frees;            /* clusters given up by changes that no commit has written yet */
    size_t nfrees, frees_room;
    struct qop *reaper;        /* applies what a commit has set free */
    struct ev_timer give_back; /* ends the wait for one, so that the host has its room soon */

    struct commit commit;
    struct ranges locks;

    uint64_t *meta; /* hash set of cluster numbers + 1 that hold metadata */
    uint32_t meta_size, meta_count;

    struct qcow2_stored *stored; /* bitmaps on disk */
    uint32_t nstored;
    uint8_t *bitmap_dir;            /* as it is on disk, up to a whole sector */
    bool bitmaps_loaded, unclaimed; /* unclaimed: the disk does not say that they are in use */
    struct {
        bool running;
        struct node_req r;
        struct iovec iov;
        struct op_list waiting;
    } claim;

    struct qcow2_snap *snaps;
    uint8_t *zeros; /* a cluster of them */

    uint8_t *unpacked;       /* the compressed cluster that was read last, as it reads */
    uint64_t unpacked_entry; /* its L2 entry; 0: none */
};

enum cluster_kind { CLUSTER_NONE, CLUSTER_ZERO, CLUSTER_NORMAL, CLUSTER_COMPRESSED };

static inline uint64_t cluster_of(const struct qcow2 *s, uint64_t offset)
{
    return offset >> s->cluster_bits;
}

static inline uint64_t round_up_cluster(const struct qcow2 *s, uint64_t v)
{
    return (v + s->cluster_size - 1) & ~(uint64_t)(s->cluster_size - 1);
}

static inline uint32_t l1_index(const struct qcow2 *s, uint64_t cluster)
{
    return (uint32_t)(cluster >> s->l2_bits);
}

static inline uint32_t l2_index(const struct qcow2 *s, uint64_t cluster)
{
    return (uint32_t)(cluster & ((1ull << s->l2_bits) - 1));
}

/* log2 of the bytes of an L2 entry. */
static inline unsigned entry_bits(const struct header *h)
{
    return h->incompatible & INCOMPAT_EXTENDED_L2 ? 4 : 3;
}

/* log2 of the guest's bytes behind one L1 entry. */
static inline unsigned l1_reach(const struct header *h)
{
    return 2 * h->cluster_bits - entry_bits(h);
}

/* The L1 entries that a disk of `size` bytes takes; a snapshot's VM state begins behind them. */
static inline uint32_t l1_needed(const struct header *h, uint64_t size)
{
    return size ? (uint32_t)(((size - 1) >> l1_reach(h)) + 1) : 0;
}

/* The entries of an L2 table, as bytes. */
static inline struct l2_entry entry_load(const struct qcow2 *s, const uint8_t *table, uint64_t i)
{
    const uint8_t *p = table + (i << s->entry_bits);

    return (struct l2_entry){ load_be64(p), s->extended ? load_be64(p + 8) : 0 };
}

static inline void entry_store(const struct qcow2 *s, uint8_t *table, uint64_t i, struct l2_entry e)
{
    uint8_t *p = table + (i << s->entry_bits);

    store_be64(p, e.place);
    if (s->extended) {
        store_be64(p + 8, e.map);
    }
}

/* qcow2-map.c */
/* A compressed cluster's place: bytes from *at on, *len of them in whole sectors. */
void qcow2_compressed_place(const struct qcow2 *s, uint64_t entry, uint64_t *at, uint32_t *len);
/* A cluster has room in the file, perhaps not in use. Not for compressed ones. */
bool qcow2_has_place(const struct qcow2 *s, struct l2_entry e);
/* What part `sub` of the cluster is. */
enum cluster_kind qcow2_kind(const struct qcow2 *s, struct l2_entry e, unsigned sub);
/* Flags and alignment are as they can be; where it points was not looked at. */
bool qcow2_entry_good(const struct qcow2 *s, struct l2_entry e);

/* qcow2-header.c */
int qcow2_parse_header(struct qcow2 *s, const uint8_t *b, size_t len, struct err *e);
/* The header's cluster as h has it into b, cluster_size bytes. Returns how many of them are in
 * use, whole sectors, or -ENOSPC when it does not fit. */
int qcow2_build_header(const struct qcow2 *s, const struct header *h, uint8_t *b);
void qcow2_header_free(struct header *h);
int qcow2_header_copy(struct header *to, const struct header *from);

/* qcow2.c */
/* Metadata is corrupt: says so once, sets the bit in the header, refuses writes from now on. */
int qcow2_corrupt(struct qcow2 *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct node *qcow2_new(struct node *file, const struct header *h);
void qcow2_set_shape(struct qcow2 *s);
/* Frees a node made by qcow2_new; its file stays. */
void qcow2_discard_node(struct qcow2 *s);
/* What a header refers to and memory holds all of. */
struct qcow2_tables {
    uint64_t *l1, *reftable;
    struct qcow2_snap *snaps;
};
int qcow2_read_tables(struct qcow2 *s, const struct header *h, struct qcow2_tables *t,
                      struct err *e);
void qcow2_drop_tables(struct qcow2_tables *t, const struct header *h);
/* s takes h and the tables it refers to in place of its own. */
void qcow2_take_tables(struct qcow2 *s, struct header *h, const struct qcow2_tables *t);
/* Writes h over the header, which stays s's own. When that fails the old one is written again: 0,
 * -errno, or -EUCLEAN when nobody knows which of the two is there. */
int qcow2_put_header(struct qcow2 *s, const struct header *h);

/* The set of clusters that hold metadata. */
bool meta_has(const struct qcow2 *s, uint64_t cluster);
void meta_add(struct qcow2 *s, uint64_t cluster, uint64_t n);
void meta_del(struct qcow2 *s, uint64_t cluster, uint64_t n);

/* qcow2-table.c */
void op_list_add(struct op_list *l, struct qop *op);
/* Runs each op's step. */
void op_list_run(struct op_list *l);
/* The table behind entry `index`, pinned by nobody. NULL: op was queued (*ret -EAGAIN), or *ret
 * tells why not. */
struct table *l2_get(struct qcow2 *s, uint32_t index, struct qop *op, int *ret);
/* The same if that needs no reading; or NULL. */
struct table *l2_at_hand(struct qcow2 *s, uint32_t index);
struct table *rb_get(struct qcow2 *s, uint32_t index, struct qop *op, int *ret);
/* Puts a zeroed, wholly dirty table at offset into the cache. */
struct table *table_new(struct qcow2 *s, bool is_l2, uint32_t index, uint64_t offset);
void table_dirty(struct table *t, uint32_t from, uint32_t to);
void table_free(struct table *t);
void cache_empty(struct cache *c);
void l1_set(struct qcow2 *s, uint32_t index, uint64_t entry);
void reftable_set(struct qcow2 *s, uint32_t index, uint64_t entry);
bool qcow2_is_dirty(const struct qcow2 *s);
/* Queues op (may be NULL) for the end of a commit that starts from now on; its ret is the
 * commit's. */
void qcow2_commit(struct qcow2 *s, struct qop *op);
/* Commits until nothing is dirty and nothing waits to be free; blocks. */
int qcow2_settle(struct qcow2 *s);

/* qcow2-alloc.c */
uint64_t refcount_load(const uint8_t *block, unsigned order, uint64_t index);
void refcount_store(uint8_t *block, unsigned order, uint64_t index, uint64_t v);
static inline uint64_t refcount_max(unsigned order)
{
    return order == 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
}
/* Takes 1 to want contiguous free clusters. 0; -EAGAIN: op was queued; or why not. */
int qcow2_alloc(struct qcow2 *s, struct qop *op, uint64_t want, uint64_t *cluster, uint64_t *got,
                bool *zeroed);
/* Takes len bytes (a multiple of 512, at most a cluster) for a compressed cluster. */
int qcow2_alloc_bytes(struct qcow2 *s, struct qop *op, uint32_t len, uint64_t *at);
/* n clusters lose a reference once what replaced it is on disk. */
void qcow2_free(struct qcow2 *s, uint64_t cluster, uint64_t n);
/* What an L2 entry refers to loses a reference. */
void qcow2_free_entry(struct qcow2 *s, uint64_t entry);
/* Hands clusters whose last reference is gone from the disk to the reaper. Takes the array. */
void qcow2_reap(struct qcow2 *s, uint64_t *clusters, size_t n);

/* qcow2-io.c */
struct qop {
    struct qcow2 *s;
    struct node_req *r; /* NULL: the driver's own */
    void (*step)(struct qop *op);
    struct qop *next_waiting;
    unsigned state;
    int ret;

    struct range lock;      /* of s->locks: whole clusters */
    bool locking, borrowed; /* has or waits for its lock; works under another op's */

    uint64_t at;             /* bytes of the request done */
    uint64_t piece;          /* bytes of it in hand */
    uint64_t host, clusters; /* of an allocation */
    bool zeroed;
    bool want_compressed;
    uint32_t head, tail;           /* bytes to fill around the piece */
    uint64_t cover_from, cover_to; /* the guest's bytes that are in the file afterwards */
    bool kept;                     /* the cluster stays where it was */
    struct table *pin;
    uint64_t entry; /* of a compressed cluster */
    uint8_t *head_buf, *tail_buf, *packed;
    uint32_t packed_len;
    struct node_req io; /* to a child, or to ourselves */
    struct node_work work;
    struct iovec one;
    struct iovec *iov;
    unsigned iov_room;
    /* the reaper's */
    uint64_t *list;
    size_t n, done;
};
void qcow2_submit(struct node *n, struct node_req *r);

/* block/compress.c: raw deflate with a window of 4 KiB, or a zstd frame. dst has room for
 * dst_len bytes. Packing returns the length, 0 when it does not fit, or -errno; unpacking returns
 * 0 when exactly dst_len bytes came out, or -EIO. */
long pack_cluster(bool zstd, void *dst, size_t dst_len, const void *src, size_t len);
int unpack_cluster(bool zstd, void *dst, size_t dst_len, const void *src, size_t len);

/* qcow2-meta.c */
struct l2_ref {
    uint64_t offset;
    uint32_t times;
};
/* Walks references and counts them. */
struct walk {
    struct qcow2 *s;
    uint32_t *count;   /* by cluster */
    uint64_t n;        /* clusters in count: up to the end of the file; references beyond are bad */
    struct l2_ref *l2; /* tables met, to be read once each */
    size_t nl2, l2_room;
    uint64_t bad;              /* references that cannot be right */
    int ret;                   /* the first I/O error */
    struct qcow2_check *check; /* findings and numbers; may be NULL */
};
int walk_init(struct walk *w, struct qcow2 *s, struct qcow2_check *check);
void walk_fini(struct walk *w);
void walk_say(struct walk *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Everything of the image but the active L1 table, what hangs off it, and the refcounts. */
void walk_rest(struct walk *w, const struct header *h, const struct qcow2_snap *snaps);
/* What an L1 table refers to, with the L2 tables themselves or without. */
void walk_l1(struct walk *w, const uint64_t *l1, uint32_t n, bool tables, const char *whose);
/* What all L2 tables met refer to. */
void walk_l2s(struct walk *w);
void walk_range(struct walk *w, uint64_t offset, uint64_t len, const char *what);

/* A state to switch to: everything that is not refcounts. */
struct new_state {
    struct header h; /* l1_size, size, nb_snapshots and features are taken from here */
    uint64_t *l1;    /* the active table's entries, h.l1_size of them; owned by the caller */
    struct qcow2_snap *snaps; /* h.nb_snapshots */
    bool drop_bad;            /* a repair: references that cannot be right are dropped */
    bool fresh;               /* a new image: of what is in the file a LUKS header alone counts */
};
/* Writes it beside the old one, and makes it the image with one header write. Reloads s. Nothing
 * is in flight, all is settled. */
int qcow2_switch(struct qcow2 *s, struct new_state *st, struct err *e);
/* From which cluster on nothing is in use: the file's end, or on a disk of fixed length the first that has
 * no count and none behind it. All is settled. Blocks. 0 or -errno. */
int qcow2_room_from(struct qcow2 *s, uint64_t *cluster);
struct qcow2_snap *qcow2_read_snapshots(struct qcow2 *s, const struct header *h, struct err *e);
void qcow2_free_snaps(struct qcow2_snap *sn, unsigned n);
/* The table as bytes, malloc'd. */
uint8_t *qcow2_build_snapshots(const struct qcow2_snap *sn, unsigned n, uint64_t *len);

/* qcow2-bitmap.c */
/* Reads the bitmaps into the node's list. Once they are there, storing can also drop some. */
int qcow2_bitmaps_load(struct qcow2 *s, struct err *e);
void qcow2_bitmaps_unload(struct qcow2 *s);
/* The disk says that they are in use: before anything is written. Blocks. */
int qcow2_bitmaps_claim(struct qcow2 *s);
/* The same; op's step runs when it is done, with op->ret. */
void qcow2_bitmaps_claim_for(struct qcow2 *s, struct qop *op);
/* Writes them all; the next commit makes it count. Blocks. */
int qcow2_bitmaps_store(struct qcow2 *s);

/* qcow2-snap.c */
/* Settles, and starts a new state that is the present one with room for n L1 entries. */
int qcow2_state_start(struct qcow2 *s, struct new_state *st, uint32_t n, struct err *e);
/* qcow2_switch; frees what st has. */
int qcow2_state_switch(struct qcow2 *s, struct new_state *st, struct err *e);
/* Frees what st has. */
void qcow2_state_drop(struct new_state *st);
/* The snapshot's place in s->snaps, by id or else by name; -ENOENT. */
int qcow2_find_snapshot(const struct qcow2 *s, const char *name, struct err *e);
int qcow2_set_size(struct qcow2 *s, uint64_t len, struct err *e);
int qcow2_repair_refcounts(struct qcow2 *s, struct err *e);
int qcow2_read_table(struct qcow2 *s, uint64_t offset, uint32_t entries, uint64_t **out);

/* qcow2-state.c */
/* Writes vm's bytes behind the end of the file, and an L1 table that has them and the disk as it is:
 * sn's from now on. Nothing of the image refers to it yet. */
int qcow2_put_vm_state(struct qcow2 *s, struct qcow2_snap *sn, const struct qcow2_vm *vm,
                       struct err *e);

#endif
