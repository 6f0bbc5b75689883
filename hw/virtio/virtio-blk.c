/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-blk.c - a virtio block device: requests from a virtqueue to a drive.
 *
 * A request is a 16-byte header, data, and a status byte in the last byte the device may write. Data go
 * through a buffer of the request's own, so nothing of the guest's memory is held over time. At most
 * MAX_REQUESTS are at the drive; the rest waits in the queue. Left out: write zeroes, secure erase,
 * zoned devices, lifetime. Reference: virtio 1.2, 5.2.
 */
#include "hw/virtio/virtio-blk.h"

#include "block/blk.h"
#include "dm/base/bytes.h"
#include "hw/virtio/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 16,
    SECTOR = 512,
    ID_BYTES = 20,
    SEG_MAX = 254,
    QUEUE_SIZE = 256,
    MAX_REQUESTS = 64,
    MAX_BYTES = 4 << 20, /* of one request */
    RANGE_BYTES = 16,
    MAX_RANGES = 256,
    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,
    S_PENDING = 0xff, /* not a status: it completes later */
    CONFIG_LEN = 60,  /* up to and with the discard fields */
};
#define F_SEG_MAX (1ull << 2)
#define F_RO (1ull << 5)
#define F_BLK_SIZE (1ull << 6)
#define F_FLUSH (1ull << 9)
#define F_TOPOLOGY (1ull << 10)
#define F_MQ (1ull << 12)
#define F_DISCARD (1ull << 13)

struct virtio_blk;
struct request {
    struct virtio_blk *b;
    bool busy;
    uint16_t queue;
    uint32_t type;
    struct blk_req req;
    struct iovec iov;
    uint8_t *buf;
    uint32_t range, ranges; /* discard */
    struct virtq_chain chain;
};

struct virtio_blk {
    struct virtio_dev v; /* first */
    struct blk *blk;
    char *serial;
    uint32_t num_queues, queue_size;
    struct request *request; /* MAX_REQUESTS of them */
};

static struct virtio_blk *blk_of(struct virtio_dev *v)
{
    return (struct virtio_blk *)v;
}

/* ---- the end of a request ---- */

static void finish(struct request *r, uint8_t status, uint64_t data_in)
{
    struct virtio_dev *v = &r->b->v;
    uint64_t at = r->chain.in_len - 1; /* the status byte is the very last one */
    free(r->buf);
    r->buf = NULL;
    r->busy = false;
    if (virtq_write(v, &r->chain, at, &status, 1) == 1) {
        virtq_give(v, r->queue, r->chain.head, (uint32_t)(data_in + 1));
    }
}

static void run_queue(struct virtio_dev *v, unsigned q);

static void run_queues(struct virtio_blk *b)
{
    for (unsigned q = 0; q < b->v.nqueues; q++) {
        run_queue(&b->v, q);
    }
}

static void done(struct blk_req *q, int ret)
{
    struct request *r = q->opaque;
    struct virtio_blk *b = r->b;
    uint64_t in = 0;
    if (ret == 0 && r->type == T_IN) {
        int64_t n = virtq_write(&b->v, &r->chain, 0, r->buf, q->len);
        in = n < 0 ? 0 : (uint64_t)n;
    }
    finish(r, ret ? S_IOERR : S_OK, in);
    run_queues(b); /* others may have waited for a free slot */
}

static void submit(struct request *r, enum blk_op op, uint64_t offset, uint64_t len,
                   void (*fn)(struct blk_req *q, int ret))
{
    bool moves = op == BLK_READ || op == BLK_WRITE;
    r->iov = (struct iovec){ r->buf, len };
    r->req = (struct blk_req){ .op = op,
                               .offset = offset,
                               .len = len,
                               .iov = moves ? &r->iov : NULL,
                               .iovcnt = moves ? 1 : 0,
                               .done = fn,
                               .opaque = r };
    blk_submit(r->b->blk, &r->req);
}

/* ---- requests: each gives a status, or S_PENDING ---- */

static bool in_range(const struct virtio_blk *b, uint64_t sector, uint64_t len)
{
    uint64_t all = blk_len(b->blk);
    return len % SECTOR == 0 && sector <= all / SECTOR && len <= all - sector * SECTOR;
}

static uint8_t read_sectors(struct request *r, uint64_t sector)
{
    uint64_t len = r->chain.in_len - 1;
    if (len == 0 || len > MAX_BYTES || !in_range(r->b, sector, len)) {
        return S_IOERR;
    }
    r->buf = malloc(len);
    if (!r->buf) {
        return S_IOERR;
    }
    submit(r, BLK_READ, sector * SECTOR, len, done);
    return S_PENDING;
}

static uint8_t write_sectors(struct request *r, uint64_t sector)
{
    uint64_t len = r->chain.out_len - HEADER_BYTES;
    if (len == 0 || len > MAX_BYTES || !in_range(r->b, sector, len) || blk_read_only(r->b->blk)) {
        return S_IOERR;
    }
    r->buf = malloc(len);
    if (!r->buf || virtq_read(&r->b->v, &r->chain, HEADER_BYTES, r->buf, len) != (int64_t)len) {
        return S_IOERR;
    }
    submit(r, BLK_WRITE, sector * SECTOR, len, done);
    return S_PENDING;
}

static uint8_t get_id(struct request *r)
{
    char id[ID_BYTES] = { 0 };
    const char *serial = r->b->serial ? r->b->serial : "";
    uint64_t len = min_u64(r->chain.in_len - 1, ID_BYTES);
    memcpy(id, serial, strnlen(serial, ID_BYTES));
    virtq_write(&r->b->v, &r->chain, 0, id, len);
    return S_OK;
}

static void range_done(struct blk_req *q, int ret);

/* Submits the next range that has a length; false when there is none left. */
static bool next_range(struct request *r)
{
    while (r->range < r->ranges) {
        const uint8_t *p = r->buf + r->range++ * RANGE_BYTES;
        uint64_t sector = load_le64(p), len = (uint64_t)load_le32(p + 8) * SECTOR;
        if (len) {
            submit(r, BLK_DISCARD, sector * SECTOR, len, range_done);
            return true;
        }
    }
    return false;
}

static void range_done(struct blk_req *q, int ret)
{
    struct request *r = q->opaque;
    struct virtio_blk *b = r->b;
    if (ret == 0 && next_range(r)) {
        return;
    }
    finish(r, ret ? S_IOERR : S_OK, 0);
    run_queues(b);
}

static uint8_t discard(struct request *r)
{
    uint64_t len = r->chain.out_len - HEADER_BYTES;
    r->range = 0;
    r->ranges = (uint32_t)(len / RANGE_BYTES);
    if (len % RANGE_BYTES || r->ranges == 0 || r->ranges > MAX_RANGES) {
        return S_IOERR;
    }
    r->buf = malloc(len);
    if (!r->buf || virtq_read(&r->b->v, &r->chain, HEADER_BYTES, r->buf, len) != (int64_t)len) {
        return S_IOERR;
    }
    for (uint32_t i = 0; i < r->ranges; i++) {
        const uint8_t *p = r->buf + i * RANGE_BYTES;
        if (load_le32(p + 12)) { /* unmap is for write zeroes (5.2.6.2) */
            return S_UNSUPP;
        }
        if (!in_range(r->b, load_le64(p), (uint64_t)load_le32(p + 8) * SECTOR)) {
            return S_IOERR;
        }
    }
    return next_range(r) ? S_PENDING : S_OK;
}

static uint8_t flush(struct request *r)
{
    submit(r, BLK_FLUSH, 0, 0, done);
    return S_PENDING;
}

static uint8_t start(struct request *r, uint32_t type, uint64_t sector)
{
    r->type = type;
    switch (type) {
    case T_IN:
        return read_sectors(r, sector);
    case T_OUT:
        return write_sectors(r, sector);
    case T_FLUSH:
        return flush(r);
    case T_GET_ID:
        return get_id(r);
    case T_DISCARD:
        return discard(r);
    default:
        return S_UNSUPP;
    }
}

/* ---- the queues ---- */

static struct request *free_request(struct virtio_blk *b)
{
    for (unsigned i = 0; i < MAX_REQUESTS; i++) {
        if (!b->request[i].busy) {
            return &b->request[i];
        }
    }
    return NULL;
}

static bool run_one(struct virtio_blk *b, unsigned q)
{
    uint8_t header[HEADER_BYTES];
    struct request *r = free_request(b);
    if (!r || !virtq_take(&b->v, q, &r->chain)) {
        return false;
    }
    if (r->chain.in_len == 0 ||
        virtq_read(&b->v, &r->chain, 0, header, HEADER_BYTES) != HEADER_BYTES) {
        virtio_broken(&b->v, "a request without header or status");
        return false;
    }
    r->busy = true;
    r->queue = (uint16_t)q;
    uint8_t status = start(r, load_le32(header), load_le64(header + 8));
    if (status != S_PENDING) {
        finish(r, status, 0);
    }
    return true;
}

static void run_queue(struct virtio_dev *v, unsigned q)
{
    struct virtio_blk *b = blk_of(v);
    blk_hold(b->blk);
    while (run_one(b, q)) {
    }
    blk_release(b->blk);
}

static void take_back(struct virtio_dev *v)
{
    struct virtio_blk *b = blk_of(v);
    for (unsigned i = 0; b->request && i < MAX_REQUESTS; i++) {
        struct request *r = &b->request[i];
        if (r->busy) {
            blk_cancel(&r->req);
            free(r->buf);
            r->buf = NULL;
            r->busy = false;
        }
    }
}

/* ---- configuration (5.2.4) ---- */

static void fill_config(const struct virtio_blk *b, uint8_t *c)
{
    memset(c, 0, CONFIG_LEN);
    store_le(c, 8, blk_len(b->blk) / SECTOR);
    store_le(c + 12, 4, SEG_MAX);
    store_le(c + 20, 4, SECTOR); /* block size */
    store_le(c + 26, 2, 1);      /* topology: smallest I/O */
    store_le(c + 34, 2, b->v.nqueues);
    store_le(c + 36, 4, UINT32_MAX); /* discard: sectors of a range */
    store_le(c + 40, 4, MAX_RANGES);
    store_le(c + 44, 4, 1);
}

static void config_read(struct virtio_dev *v, uint32_t off, uint8_t *buf, uint32_t size)
{
    uint8_t c[CONFIG_LEN];
    fill_config(blk_of(v), c);
    memcpy(buf, c + off, size);
}

static const struct virtio_ops ops = {
    .id = 2,
    .transitional_id = 0x1001,
    .class = 0x010000,
    .config_len = CONFIG_LEN,
    .features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_MQ | F_DISCARD,
    .kick = run_queue,
    .reset = take_back,
    .config_read = config_read,
};

/* ---- life ---- */

static void resized(void *opaque)
{
    virtio_config_changed(opaque);
}

static const struct blk_user user = { resized, NULL, NULL };

static int check(const struct virtio_blk *b, struct err *e)
{
    const char *id = b->v.pci.dev.id;
    if (!blk_present(b->blk)) {
        return err_set(e, -ENOMEDIUM, "%s: drive= must name a -drive with a medium", id);
    }
    if (blk_user(b->blk, NULL)) {
        return err_set(e, -EBUSY, "%s: drive '%s' is in use", id, blk_id(b->blk));
    }
    if (b->num_queues < 1 || b->num_queues >= VIRTIO_MAX_QUEUES) {
        return err_set(e, -EINVAL, "%s: num-queues must be 1 to %u", id, VIRTIO_MAX_QUEUES - 1);
    }
    if (b->queue_size < 4 || b->queue_size > VIRTIO_QUEUE_MAX ||
        (b->queue_size & (b->queue_size - 1))) {
        return err_set(e, -EINVAL, "%s: queue-size must be a power of two, 4 to %u", id,
                       VIRTIO_QUEUE_MAX);
    }
    return 0;
}

static int virtio_blk_init(struct device *d, struct err *e)
{
    struct virtio_blk *b = (struct virtio_blk *)d;
    int ret = check(b, e);
    for (unsigned i = 0; ret == 0 && i < b->num_queues; i++) {
        virtio_add_queue(&b->v, (uint16_t)b->queue_size);
    }
    if (ret == 0) {
        ret = virtio_init(&b->v, &ops, e);
    }
    if (ret < 0) {
        return ret;
    }
    if (blk_read_only(b->blk)) {
        b->v.host_features |= F_RO;
        b->v.host_features &= ~F_DISCARD;
    }
    b->request = xcalloc(MAX_REQUESTS, sizeof(*b->request));
    for (unsigned i = 0; i < MAX_REQUESTS; i++) {
        b->request[i].b = b;
    }
    blk_set_user(b->blk, &user, b);
    return 0;
}

static void virtio_blk_reset(struct device *d)
{
    virtio_reset((struct virtio_dev *)d);
}

static int virtio_blk_loaded(struct device *d, struct err *e)
{
    return virtio_loaded((struct virtio_dev *)d, e);
}

static void virtio_blk_fini(struct device *d)
{
    struct virtio_blk *b = (struct virtio_blk *)d;
    take_back(&b->v);
    if (b->request) {
        blk_set_user(b->blk, NULL, NULL);
    }
    free(b->request);
    virtio_fini(&b->v);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_blk),
    FIELD_END,
};

#define P(name, kind, member, def, help) PROP(struct virtio_blk, name, kind, member, def, help)
static const struct dev_prop props[] = {
    VIRTIO_PROPS(struct virtio_blk),
    P("drive", PROP_BLK, blk, 0, "the drive's id"),
    P("serial", PROP_STR, serial, 0, "serial number, up to 20 characters"),
    P("num-queues", PROP_U32, num_queues, 1, "request queues"),
    P("queue-size", PROP_U32, queue_size, QUEUE_SIZE, "entries of a queue"),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class virtio_blk_class = {
    .name = "virtio-blk-pci",
    .desc = "Virtio block device",
    .size = sizeof(struct virtio_blk),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = virtio_blk_init,
    .reset = virtio_blk_reset,
    .loaded = virtio_blk_loaded,
    .fini = virtio_blk_fini,
};
