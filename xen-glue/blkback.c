/* SPDX-License-Identifier: MIT */
/* xen-glue/blkback.c - see blkback.h: a disk's requests on shared pages.
 *
 * A request is copied from the ring once, checked, and then only the copy is looked at. A front end that
 * says so keeps its data pages granted for good: they are mapped at their first use and the drive works on
 * them as they are, up to PERSISTENT_MAX of them. All other data are copied by Xen into a buffer of the
 * request's own. At most IN_FLIGHT_MAX requests are at the drive, the rest waits in the ring. A producer
 * index that cannot be ends the device until the front end starts anew.
 * Left out: several queues, write barriers, grants that stay mapped and are given back one by one.
 */
#include "xen-glue/blkback.h"

#include "block/blk.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xen/xen.h>

#include <xen/grant_table.h>
#include <xen/io/blkif.h>

enum {
    SECTOR = 512,
    SECTORS_A_PAGE = 8,
    HEADER = 64, /* bytes before the slots */
    RING_ORDER_MAX = 4,
    SEGMENTS = 11,         /* in a request itself */
    INDIRECT_MAX = 32,     /* on pages that it names */
    SEGMENT_BYTES = 8,     /* of a descriptor */
    IN_FLIGHT_MAX = 64,    /* so no more than 8 MiB of buffers */
    PERSISTENT_MAX = 2048, /* pages that stay mapped */
    RSP_BYTES = 12,
    BUDGET = 256,
};

/* Where a front end's compiler put things: its word size decides. */
struct layout {
    const char *name; /* node "protocol" */
    uint8_t slot, id, sector, segments, indirect_handle, indirect_refs;
};
static const struct layout layouts[] = {
    { "x86_64-abi", 112, 8, 16, 24, 24, 28 },
    { "x86_32-abi", 108, 4, 12, 20, 20, 24 },
};

/* The shared part of the ring: Xen's DEFINE_RING_TYPES. */
struct ring_head {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
};

struct segment {
    uint32_t ref;
    uint16_t off, len;
};

struct blkback;
struct request {
    struct blk_req io;
    struct blkback *s;
    struct request *next;
    uint64_t id, offset; /* offset: bytes on the disk */
    uint8_t op;
    bool flush; /* after the write */
    unsigned nseg;
    struct segment seg[INDIRECT_MAX];
    struct iovec iov[INDIRECT_MAX];
    uint8_t *bounce; /* NULL: the front end's own pages are used */
    uint64_t len;
};

/* A page that stays mapped. */
struct kept {
    uint32_t ref;
    uint8_t *page; /* NULL: free */
};

struct blkback {
    struct pv_backend dev; /* first */
    struct blkback_disk disk;
    struct ev_loop *loop;
    const struct layout *layout;
    uint8_t *ring;
    unsigned ring_pages;
    uint32_t entries, req_cons, rsp_prod;
    bool persistent;
    unsigned nkept;
    struct kept kept[2 * PERSISTENT_MAX]; /* open addressing, by ref */
    struct request *active;
    unsigned in_flight;
    uint64_t sectors; /* as last told */
    struct ev_post again;
};

/* ---- the ring ---- */

static struct ring_head *head(const struct blkback *s)
{
    return (struct ring_head *)(void *)s->ring;
}

static uint8_t *slot_at(const struct blkback *s, uint32_t i)
{
    return s->ring + HEADER + (size_t)(i & (s->entries - 1)) * s->layout->slot;
}

/* Requests that wait; more than the ring holds ends the device: then false. */
static bool waiting(struct blkback *s, uint32_t *n)
{
    *n = __atomic_load_n(&head(s)->req_prod, __ATOMIC_ACQUIRE) - s->req_cons;
    if (*n > s->entries - (s->req_cons - s->rsp_prod)) {
        pv_broken(&s->dev, "produces more requests than the ring holds");
        return false;
    }
    return true;
}

static void respond(struct blkback *s, uint64_t id, uint8_t op, int16_t status)
{
    uint8_t *p = slot_at(s, s->rsp_prod);
    uint32_t before = s->rsp_prod++;
    memset(p, 0, RSP_BYTES);
    store_le(p, 8, id);
    p[8] = op;
    store_le(p + 10, 2, (uint16_t)status);
    __atomic_store_n(&head(s)->rsp_prod, s->rsp_prod, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t event = __atomic_load_n(&head(s)->rsp_event, __ATOMIC_RELAXED);
    if (s->rsp_prod - event < s->rsp_prod - before) {
        pv_notify(&s->dev);
    }
}

/* ---- pages ---- */

/* The place of ref's page, taken or free. There is always a free one. */
static struct kept *kept_at(struct blkback *s, uint32_t ref)
{
    uint32_t i = ref * 2654435761u;
    while (s->kept[i % ARRAY_SIZE(s->kept)].page && s->kept[i % ARRAY_SIZE(s->kept)].ref != ref) {
        i++;
    }
    return &s->kept[i % ARRAY_SIZE(s->kept)];
}

/* The page of a front end that never takes a grant back; NULL: it has to be copied. */
static uint8_t *keep_page(struct blkback *s, uint32_t ref)
{
    struct kept *k = kept_at(s, ref);
    if (!k->page && s->nkept < PERSISTENT_MAX) {
        k->ref = ref;
        k->page = pv_map_page(&s->dev, ref);
        s->nkept += k->page != NULL;
    }
    return k->page;
}

static void drop_pages(struct blkback *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(s->kept); i++) {
        pv_unmap_page(&s->dev, s->kept[i].page);
        s->kept[i].page = NULL;
    }
    s->nkept = 0;
}

/* Between the bounce buffer and the front end's pages. */
static bool copy_data(struct request *r, bool to_guest)
{
    struct pv_piece piece[INDIRECT_MAX];
    uint8_t *at = r->bounce;
    for (unsigned i = 0; i < r->nseg; i++) {
        piece[i] = (struct pv_piece){ r->seg[i].ref, r->seg[i].off, r->seg[i].len, at, false };
        at += r->seg[i].len;
    }
    return pv_copy(&r->s->dev, to_guest, piece, r->nseg);
}

/* Lets the drive work on the pages themselves. */
static bool use_pages(struct request *r)
{
    for (unsigned i = 0; i < r->nseg; i++) {
        uint8_t *page = r->s->persistent ? keep_page(r->s, r->seg[i].ref) : NULL;
        if (!page) {
            return false;
        }
        r->iov[i] = (struct iovec){ page + r->seg[i].off, r->seg[i].len };
    }
    return true;
}

/* Finds memory for r's data; with a write they are in it afterwards. 0 or -errno. */
static int find_memory(struct request *r)
{
    if (use_pages(r)) {
        r->io.iovcnt = (int)r->nseg;
        r->io.guest_memory = true;
        return 0;
    }
    r->bounce = malloc(r->len);
    if (!r->bounce) {
        return -ENOMEM;
    }
    r->iov[0] = (struct iovec){ r->bounce, r->len };
    r->io.iovcnt = 1;
    return r->op == BLKIF_OP_READ || copy_data(r, false) ? 0 : -EFAULT;
}

/* ---- the end of a request ---- */

static void serve(struct blkback *s);

static void forget(struct request *r)
{
    struct blkback *s = r->s;
    for (struct request **p = &s->active; *p; p = &(*p)->next) {
        if (*p == r) {
            *p = r->next;
            break;
        }
    }
    s->in_flight--;
    free(r->bounce);
    free(r);
}

static void done(struct blk_req *q, int ret);

static void submit(struct request *r, enum blk_op op, uint64_t len)
{
    r->io.op = op;
    r->io.offset = op == BLK_FLUSH ? 0 : r->offset;
    r->io.len = op == BLK_FLUSH ? 0 : len;
    r->io.iov = op == BLK_READ || op == BLK_WRITE ? r->iov : NULL;
    r->io.iovcnt = r->io.iov ? r->io.iovcnt : 0;
    r->io.done = done;
    r->io.opaque = r;
    blk_submit(r->s->disk.blk, &r->io);
}

static void done(struct blk_req *q, int ret)
{
    struct request *r = q->opaque;
    struct blkback *s = r->s;
    if (ret == 0 && r->flush && q->op == BLK_WRITE) {
        submit(r, BLK_FLUSH, 0);
        return;
    }
    if (ret == 0 && r->bounce && r->op == BLKIF_OP_READ && !copy_data(r, true)) {
        ret = -EFAULT;
    }
    respond(s, r->id, r->op, ret < 0 ? BLKIF_RSP_ERROR : BLKIF_RSP_OKAY);
    forget(r);
    serve(s);
}

/* ---- reading a request ---- */

static bool add_segment(struct request *r, const uint8_t *p)
{
    uint8_t first = p[4], last = p[5];
    if (r->nseg == INDIRECT_MAX || first > last || last >= SECTORS_A_PAGE) {
        return false;
    }
    uint16_t len = (uint16_t)((last - first + 1) * SECTOR);
    r->seg[r->nseg++] = (struct segment){ load_le32(p), (uint16_t)(first * SECTOR), len };
    r->len += len;
    return true;
}

/* The descriptors on the page that an indirect request names. */
static bool add_indirect(struct request *r, const uint8_t *slot, unsigned n)
{
    uint8_t list[INDIRECT_MAX * SEGMENT_BYTES];
    if (n == 0 || n > INDIRECT_MAX) {
        return false;
    }
    struct pv_piece piece = { load_le32(slot + r->s->layout->indirect_refs), 0,
                              (uint16_t)(n * SEGMENT_BYTES), list, false };
    bool ok = pv_copy(&r->s->dev, false, &piece, 1);
    for (unsigned i = 0; ok && i < n; i++) {
        ok = add_segment(r, list + i * SEGMENT_BYTES);
    }
    return ok;
}

static bool add_segments(struct request *r, const uint8_t *slot)
{
    bool ok = slot[1] <= SEGMENTS;
    for (unsigned i = 0; ok && i < slot[1]; i++) {
        ok = add_segment(r, slot + r->s->layout->segments + i * SEGMENT_BYTES);
    }
    return ok;
}

/* Whether [offset, offset + len) of r lies on the disk and may be worked on. */
static bool fits(struct request *r, uint64_t sector, uint64_t len, bool write)
{
    uint64_t all = blk_len(r->s->disk.blk);
    r->offset = sector * SECTOR;
    return sector <= all / SECTOR && len <= all - r->offset &&
           !(write && (r->s->disk.read_only || blk_read_only(r->s->disk.blk)));
}

/* ---- starting one: 0 when the drive has it, else the response ---- */

static int16_t start_transfer(struct request *r, uint64_t sector)
{
    bool write = r->op != BLKIF_OP_READ;
    if (r->nseg == 0 || !fits(r, sector, r->len, write) || find_memory(r) < 0) {
        return BLKIF_RSP_ERROR;
    }
    submit(r, write ? BLK_WRITE : BLK_READ, r->len);
    return BLKIF_RSP_OKAY;
}

static int16_t start_discard(struct request *r, const uint8_t *slot, uint64_t sector)
{
    uint64_t n = load_le64(slot + r->s->layout->sector + 8);
    if (n == 0 || n > UINT64_MAX / SECTOR || !fits(r, sector, n * SECTOR, true)) {
        return BLKIF_RSP_ERROR;
    }
    submit(r, BLK_DISCARD, n * SECTOR);
    return BLKIF_RSP_OKAY;
}

static int16_t start_flush(struct request *r, const uint8_t *slot, uint64_t sector)
{
    if (!add_segments(r, slot)) {
        return BLKIF_RSP_ERROR;
    }
    if (r->nseg) {
        r->flush = true;
        return start_transfer(r, sector);
    }
    submit(r, BLK_FLUSH, 0);
    return BLKIF_RSP_OKAY;
}

static int16_t start(struct request *r, const uint8_t *slot)
{
    const struct layout *y = r->s->layout;
    uint64_t sector = load_le64(slot + y->sector);
    switch (slot[0]) {
    case BLKIF_OP_READ:
    case BLKIF_OP_WRITE:
        return add_segments(r, slot) ? start_transfer(r, sector) : BLKIF_RSP_ERROR;
    case BLKIF_OP_FLUSH_DISKCACHE:
        return start_flush(r, slot, sector);
    case BLKIF_OP_DISCARD:
        return start_discard(r, slot, sector);
    case BLKIF_OP_INDIRECT:
        r->op = slot[1];
        return (r->op == BLKIF_OP_READ || r->op == BLKIF_OP_WRITE) &&
                       add_indirect(r, slot, load_le16(slot + 2))
                   ? start_transfer(r, sector)
                   : BLKIF_RSP_ERROR;
    default:
        return BLKIF_RSP_EOPNOTSUPP;
    }
}

/* Takes the next request off the ring. */
static void take(struct blkback *s)
{
    uint8_t slot[112];
    memcpy(slot, slot_at(s, s->req_cons++), s->layout->slot);
    struct request *r = xcalloc(1, sizeof(*r));
    r->s = s;
    r->op = slot[0];
    r->id = load_le64(slot + s->layout->id);
    r->next = s->active;
    s->active = r;
    s->in_flight++;
    int16_t status = start(r, slot);
    if (status != BLKIF_RSP_OKAY) {
        respond(s, r->id, r->op, status);
        forget(r);
    }
}

/* The disk may have become longer, or a medium another. */
static void tell_size(struct blkback *s)
{
    char text[24];
    uint64_t sectors = blk_len(s->disk.blk) / SECTOR;
    if (sectors != s->sectors) {
        s->sectors = sectors;
        snprintf(text, sizeof(text), "%llu", (unsigned long long)sectors);
        pv_write_back(&s->dev, "sectors", text);
        pv_touch(&s->dev);
    }
}

/* Takes what is there, as far as there is room; asks for an event at the next one. */
static void take_all(struct blkback *s)
{
    uint32_t n;
    for (unsigned i = 0; s->dev.connected && !s->dev.broken && s->in_flight < IN_FLIGHT_MAX; i++) {
        if (!waiting(s, &n)) {
            return;
        }
        if (n == 0) {
            __atomic_store_n(&head(s)->req_event, s->req_cons + 1, __ATOMIC_SEQ_CST);
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            if (!waiting(s, &n) || n == 0) {
                return;
            }
        }
        if (i == BUDGET) {
            ev_post(s->loop, &s->again);
            return;
        }
        take(s);
    }
}

static void serve(struct blkback *s)
{
    struct blk *b = s->disk.blk;
    blk_hold(b);
    take_all(s);
    blk_release(b);
}

static void serve_again(void *opaque)
{
    serve(opaque);
}

static void blkback_event(struct pv_backend *d)
{
    serve((struct blkback *)d);
}

/* ---- the handshake ---- */

static void blkback_disconnect(struct pv_backend *d)
{
    struct blkback *s = (struct blkback *)d;
    ev_post_cancel(s->loop, &s->again);
    while (s->active) {
        blk_cancel(&s->active->io);
        forget(s->active);
    }
    pv_unbind(d);
    drop_pages(s);
    pv_unmap_pages(d, s->ring, s->ring_pages);
    s->ring = NULL;
}

static int choose_layout(struct blkback *s, struct err *e)
{
    char *protocol = pv_read_front(&s->dev, "protocol");
    s->layout = protocol ? NULL : &layouts[0];
    for (size_t i = 0; protocol && i < ARRAY_SIZE(layouts); i++) {
        if (strcmp(protocol, layouts[i].name) == 0) {
            s->layout = &layouts[i];
        }
    }
    free(protocol);
    return s->layout ? 0 : err_set(e, -EINVAL, "%s/protocol: unknown", s->dev.front);
}

/* One page, or 2^order of them. */
static int map_ring(struct blkback *s, struct err *e)
{
    uint32_t ref[1 << RING_ORDER_MAX], order = 0;
    char node[24] = "ring-ref";
    int ret = pv_read_u32(&s->dev, false, "ring-page-order", RING_ORDER_MAX, &order);
    bool many = ret == 0;
    if (ret == -EINVAL) {
        return err_set(e, ret, "%s/ring-page-order: not 0 to %d", s->dev.front, RING_ORDER_MAX);
    }
    s->ring_pages = 1u << order;
    for (unsigned i = 0; i < s->ring_pages; i++) {
        if (many) {
            snprintf(node, sizeof(node), "ring-ref%u", i);
        }
        ret = pv_read_u32(&s->dev, false, node, UINT32_MAX, &ref[i]);
        if (ret == -ENOENT && many && s->ring_pages == 1) { /* a front end may say it either way */
            ret = pv_read_u32(&s->dev, false, "ring-ref", UINT32_MAX, &ref[i]);
        }
        if (ret < 0) {
            return err_set(e, ret, "%s/%s: missing or not a number", s->dev.front, node);
        }
    }
    s->ring = pv_map_pages(&s->dev, ref, s->ring_pages);
    if (!s->ring) {
        return err_set(e, -errno, "%s/%s: cannot map the ring: %s", s->dev.front, node,
                       strerror(errno));
    }
    uint32_t slots = (uint32_t)(s->ring_pages * PV_PAGE - HEADER) / s->layout->slot;
    s->entries = 1u << (31 - __builtin_clz(slots));
    s->req_cons = s->rsp_prod = __atomic_load_n(&head(s)->rsp_prod, __ATOMIC_RELAXED);
    return 0;
}

static void tell_front(struct blkback *s)
{
    char info[12];
    unsigned flags = (s->disk.cdrom ? VDISK_CDROM : 0) | (s->disk.removable ? VDISK_REMOVABLE : 0) |
                     (s->disk.read_only ? VDISK_READONLY : 0);
    snprintf(info, sizeof(info), "%u", flags);
    pv_write_back(&s->dev, "info", info);
    pv_write_back(&s->dev, "sector-size", "512");
    s->sectors = UINT64_MAX;
    tell_size(s);
}

static int blkback_connect(struct pv_backend *d, struct err *e)
{
    struct blkback *s = (struct blkback *)d;
    uint32_t port, persistent = 0;
    int ret = choose_layout(s, e);
    if (ret < 0 || (ret = map_ring(s, e)) < 0) {
        return ret;
    }
    ret = pv_read_u32(d, false, "event-channel", UINT32_MAX, &port);
    if (ret < 0 || (ret = pv_bind(d, port)) < 0) {
        blkback_disconnect(d);
        return err_set(e, ret, "%s/event-channel: %s", d->front, strerror(-ret));
    }
    pv_read_u32(d, false, "feature-persistent", 1, &persistent);
    s->persistent = persistent;
    tell_front(s);
    ev_post(s->loop, &s->again);
    return 0;
}

static const struct pv_ops ops = { blkback_connect, blkback_disconnect, blkback_event };

/* ---- life ---- */

struct blkback *blkback_new(struct pv_bus *b, struct ev_loop *loop, unsigned index,
                            const struct blkback_disk *disk, struct err *e)
{
    const struct pv_node features[] = {
        { "feature-flush-cache", "1" },
        { "feature-persistent", "1" },
        { "feature-discard", disk->discard ? "1" : "0" },
        { "discard-granularity", "512" },
        { "discard-alignment", "0" },
        { "feature-max-indirect-segments", "32" },
        { "max-ring-page-order", "4" },
        { "hotplug-status", "connected" },
        { NULL, NULL },
    };
    struct blkback *s = xcalloc(1, sizeof(*s));
    s->disk = *disk;
    s->loop = loop;
    s->again = (struct ev_post){ .cb = serve_again, .opaque = s };
    s->dev = (struct pv_backend){
        .ops = &ops, .type = "qdisk", .index = index, .name = "qdisk", .said_closed = true
    };
    if (pv_adopt(b, &s->dev, features, e) < 0) {
        free(s);
        return NULL;
    }
    return s;
}

void blkback_resized(struct blkback *s)
{
    if (s->dev.connected) {
        tell_size(s);
    }
}

void blkback_free(struct blkback *s)
{
    if (s) {
        pv_stop(&s->dev);
        free(s);
    }
}

bool blkback_closed(const struct blkback *s)
{
    return s->dev.gone;
}
