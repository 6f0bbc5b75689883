/* SPDX-License-Identifier: MIT */
/* hw/storage/nvme-admin.c - admin commands. Reference: NVMe 1.4, chapter 5. */
#include "hw/storage/nvme-int.h"

#include "dm/base/bytes.h"

#include <stdio.h>
#include <string.h>

enum {
    ADM_DELETE_SQ = 0x00,
    ADM_CREATE_SQ = 0x01,
    ADM_GET_LOG = 0x02,
    ADM_DELETE_CQ = 0x04,
    ADM_CREATE_CQ = 0x05,
    ADM_IDENTIFY = 0x06,
    ADM_ABORT = 0x08,
    ADM_SET_FEATURES = 0x09,
    ADM_GET_FEATURES = 0x0a,
    ADM_ASYNC_EVENT = 0x0c,
    IDENTIFY_BYTES = 4096,
};

/* ---- queues ---- */

struct new_queue {
    unsigned id;
    uint32_t size; /* entries */
    bool contiguous;
    uint64_t base;
};

static struct new_queue queue_of(const struct nvme_sqe *e)
{
    return (struct new_queue){ e->cdw[0] & 0xffff, (e->cdw[0] >> 16) + 1, e->cdw[1] & 1, e->prp1 };
}

static uint16_t check_queue(const struct new_queue *q, bool taken)
{
    if (q->id == 0 || q->id >= NVME_QUEUES || taken) {
        return NVME_QID_INVALID | NVME_DNR;
    }
    if (q->size < 2 || q->size > NVME_MAX_ENTRIES) {
        return NVME_QSIZE_INVALID | NVME_DNR;
    }
    if (!q->contiguous) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    return q->base % NVME_PAGE ? NVME_INVALID_PRP_OFFSET | NVME_DNR : NVME_OK;
}

static uint16_t create_cq(struct nvme *n, const struct nvme_sqe *e)
{
    struct new_queue q = queue_of(e);
    uint16_t vector = (uint16_t)(e->cdw[1] >> 16);
    uint16_t status = check_queue(&q, q.id < NVME_QUEUES && n->cq[q.id].used);
    if (status == NVME_OK && vector >= NVME_QUEUES) {
        status = NVME_VECTOR_INVALID | NVME_DNR;
    }
    if (status == NVME_OK) {
        n->cq[q.id] = (struct nvme_cq){ .used = true,
                                        .interrupts = (e->cdw[1] & 2) != 0,
                                        .phase = true,
                                        .base = q.base,
                                        .size = (uint16_t)q.size,
                                        .vector = vector };
    }
    return status;
}

static uint16_t create_sq(struct nvme *n, const struct nvme_sqe *e)
{
    struct new_queue q = queue_of(e);
    unsigned cqid = e->cdw[1] >> 16;
    uint16_t status = check_queue(&q, q.id < NVME_QUEUES && n->sq[q.id].used);
    if (status == NVME_OK && (cqid == 0 || cqid >= NVME_QUEUES || !n->cq[cqid].used)) {
        status = NVME_CQ_INVALID | NVME_DNR;
    }
    if (status == NVME_OK) {
        n->sq[q.id] = (struct nvme_sq){
            .used = true, .base = q.base, .size = (uint16_t)q.size, .cqid = (uint16_t)cqid
        };
    }
    return status;
}

/* What is in flight is taken back; the guest learns of it by the queue's end (5.6). */
static uint16_t delete_sq(struct nvme *n, unsigned id)
{
    if (id == 0 || id >= NVME_QUEUES || !n->sq[id].used) {
        return NVME_QID_INVALID | NVME_DNR;
    }
    nvme_cancel(n, (int)id);
    n->sq[id] = (struct nvme_sq){ 0 };
    return NVME_OK;
}

static uint16_t delete_cq(struct nvme *n, unsigned id)
{
    if (id == 0 || id >= NVME_QUEUES || !n->cq[id].used) {
        return NVME_QID_INVALID | NVME_DNR;
    }
    for (unsigned i = 1; i < NVME_QUEUES; i++) {
        if (n->sq[i].used && n->sq[i].cqid == id) {
            return NVME_QUEUE_DELETION_INVALID | NVME_DNR;
        }
    }
    n->cq[id] = (struct nvme_cq){ 0 };
    return NVME_OK;
}

/* ---- identify (5.15) ---- */

static void put_text(uint8_t *p, size_t len, const char *text)
{
    size_t n = strnlen(text, len);
    memset(p, ' ', len);
    memcpy(p, text, n);
}

static void identify_controller(const struct nvme *n, uint8_t *p)
{
    store_le(p, 2, 0x1b36);     /* VID */
    store_le(p + 2, 2, 0x1af4); /* SSVID */
    put_text(p + 4, 20, n->serial);
    put_text(p + 24, 40, "Keel NVMe Ctrl");
    put_text(p + 64, 8, KEEL_VERSION);
    p[72] = 6;                       /* RAB */
    p[77] = 5;                       /* MDTS: 2^5 pages */
    store_le(p + 80, 4, 0x00010400); /* VER */
    p[111] = 1;                      /* CNTRLTYPE: I/O */
    p[258] = 3;                      /* ACL */
    p[259] = NVME_MAX_AERS - 1;      /* AERL */
    p[260] = 0x03;                   /* FRMW: slot 1, read-only */
    p[262] = 0;                      /* ELPE: one entry */
    store_le(p + 266, 2, 0x157);     /* WCTEMP */
    store_le(p + 268, 2, 0x175);     /* CCTEMP */
    p[512] = 0x66;                   /* SQES: 64 bytes */
    p[513] = 0x44;                   /* CQES: 16 bytes */
    store_le(p + 516, 4, 1);         /* NN */
    store_le(p + 520, 2, 4);         /* ONCS: dataset management */
    p[525] = 1;                      /* VWC: there is a cache, flush does something */
    snprintf((char *)p + 768, 256, "nqn.2014-08.org.nvmexpress:keel:%.20s", n->serial);
}

static void identify_namespace(const struct nvme *n, uint8_t *p)
{
    store_le(p, 8, nvme_blocks(n));      /* NSZE */
    store_le(p + 8, 8, nvme_blocks(n));  /* NCAP */
    store_le(p + 16, 8, nvme_blocks(n)); /* NUSE */
    p[24] = 1 << 0;                      /* NSFEAT: thin provisioning */
    p[128 + 2] = 9;                      /* LBAF0: 2^9 bytes a block */
}

/* One descriptor (5.15.2.3): a UUID-less namespace must name itself some other way; an EUI-64 made
 * of the serial number's hash. */
static void identify_descriptors(const struct nvme *n, uint8_t *p)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const char *s = n->serial; *s; s++) {
        hash = (hash ^ (uint8_t)*s) * 0x100000001b3ull;
    }
    p[0] = 1; /* EUI64 */
    p[1] = 8;
    store_le(p + 4, 8, hash);
}

static uint16_t identify(struct nvme *n, const struct nvme_sqe *e)
{
    uint8_t p[IDENTIFY_BYTES] = { 0 };
    switch (e->cdw[0] & 0xff) {
    case 0:
        if (e->nsid == 1) {
            identify_namespace(n, p);
        } else if (e->nsid == 0 || e->nsid == 0xffffffff) {
            return NVME_INVALID_NAMESPACE | NVME_DNR;
        }
        break; /* an inactive namespace is all zeroes */
    case 1:
        identify_controller(n, p);
        break;
    case 2: /* active namespaces above nsid */
        if (e->nsid >= 0xfffffffe) {
            return NVME_INVALID_NAMESPACE | NVME_DNR;
        }
        store_le(p, 4, e->nsid < 1 ? 1 : 0);
        break;
    case 3:
        if (e->nsid != 1) {
            return NVME_INVALID_NAMESPACE | NVME_DNR;
        }
        identify_descriptors(n, p);
        break;
    default:
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    return nvme_copy(n, e, p, sizeof(p), true);
}

/* ---- logs (5.14) ---- */

static void health_log(const struct nvme *n, uint8_t *p)
{
    const struct blk_stats *s = blk_stats(n->blk);
    store_le(p + 1, 2, 0x12c); /* 27 degrees Celsius */
    p[3] = 100;                /* spare */
    p[4] = 10;
    store_le(p + 32, 8, (s->bytes[BLK_READ] + 511999) / 512000);
    store_le(p + 48, 8, (s->bytes[BLK_WRITE] + 511999) / 512000);
    store_le(p + 64, 8, s->ops[BLK_READ]);
    store_le(p + 80, 8, s->ops[BLK_WRITE]);
}

static uint16_t get_log(struct nvme *n, const struct nvme_sqe *e)
{
    uint8_t p[512] = { 0 };
    uint64_t want = (((uint64_t)(e->cdw[1] & 0xffff) << 16 | e->cdw[0] >> 16) + 1) * 4;
    uint64_t offset = (uint64_t)e->cdw[3] << 32 | e->cdw[2];
    switch (e->cdw[0] & 0xff) {
    case 1: /* errors: none yet */
        break;
    case 2:
        health_log(n, p);
        break;
    case 3:
        p[0] = 1; /* firmware slot 1 */
        put_text(p + 8, 8, KEEL_VERSION);
        break;
    default:
        return NVME_LOG_PAGE_INVALID | NVME_DNR;
    }
    if (offset > sizeof(p)) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    return nvme_copy(n, e, p + offset, (uint32_t)min_u64(want, sizeof(p) - offset), true);
}

/* ---- features (5.21.1) ---- */

/* Where feature fid is kept and which bits of it can change; NULL: no such feature. */
static uint32_t *feature(struct nvme *n, unsigned fid, uint32_t *writable)
{
    *writable = UINT32_MAX;
    switch (fid) {
    case 0x01:
        return &n->arbitration;
    case 0x02:
        *writable = 0;
        return &n->power;
    case 0x04:
        return &n->temperature;
    case 0x05:
        return &n->error_recovery;
    case 0x06:
        *writable = 1;
        return &n->volatile_write_cache;
    case 0x07:
        *writable = 0; /* always as many as there are */
        return &n->number_of_queues;
    case 0x08:
        return &n->coalescing;
    case 0x0b:
        return &n->async_config;
    default:
        return NULL;
    }
}

static uint16_t get_features(struct nvme *n, const struct nvme_sqe *e, uint32_t *result)
{
    uint32_t writable, *f = feature(n, e->cdw[0] & 0xff, &writable);
    if (!f) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    bool capabilities = (e->cdw[0] >> 8 & 7) == 3;
    *result = capabilities ? (writable ? 4 : 0) : *f;
    return NVME_OK;
}

static uint16_t set_features(struct nvme *n, const struct nvme_sqe *e, uint32_t *result)
{
    uint32_t writable, *f = feature(n, e->cdw[0] & 0xff, &writable);
    if (!f) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (e->cdw[0] >> 31) {
        return NVME_FEATURE_NOT_SAVEABLE | NVME_DNR;
    }
    *f = (*f & ~writable) | (e->cdw[1] & writable);
    *result = f == &n->number_of_queues ? *f : 0;
    return NVME_OK;
}

/* ---- the rest ---- */

/* It waits until something happens; nothing does, so it waits until the controller stops. The
 * completion it needs was promised when it was fetched: it gives that place back. */
static uint16_t async_event(struct nvme *n, const struct nvme_sqe *e)
{
    if (n->aers == NVME_MAX_AERS) {
        return NVME_AER_LIMIT | NVME_DNR;
    }
    n->aer[n->aers++] = e->cid;
    n->cq[0].promised--;
    return NVME_NO_COMPLETION;
}

uint16_t nvme_admin(struct nvme *n, const struct nvme_sqe *e, uint32_t *result)
{
    switch (e->opcode) {
    case ADM_DELETE_SQ:
        return delete_sq(n, e->cdw[0] & 0xffff);
    case ADM_CREATE_SQ:
        return create_sq(n, e);
    case ADM_GET_LOG:
        return get_log(n, e);
    case ADM_DELETE_CQ:
        return delete_cq(n, e->cdw[0] & 0xffff);
    case ADM_CREATE_CQ:
        return create_cq(n, e);
    case ADM_IDENTIFY:
        return identify(n, e);
    case ADM_ABORT:
        *result = 1; /* not aborted: it is about to complete anyway */
        return NVME_OK;
    case ADM_SET_FEATURES:
        return set_features(n, e, result);
    case ADM_GET_FEATURES:
        return get_features(n, e, result);
    case ADM_ASYNC_EVENT:
        return async_event(n, e);
    default:
        guest_odd(&n->pci.dev, "admin command 0x%02x", e->opcode);
        return NVME_INVALID_OPCODE | NVME_DNR;
    }
}
