/* SPDX-License-Identifier: MIT */
/* hw/storage/nvme-io.c - NVM commands and the memory they name.
 *
 * Data go through a buffer of the command's own: what the drive reads or writes cannot change under it,
 * and a PRP list may point anywhere. Reference: NVMe 1.4, 4.3 (PRPs) and chapter 6.
 */
#include "hw/storage/nvme-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    NVM_FLUSH = 0x00,
    NVM_WRITE = 0x01,
    NVM_READ = 0x02,
    NVM_DATASET_MANAGEMENT = 0x09,
    DSM_DEALLOCATE = 4,
    RANGE_BYTES = 16,
    PRP_BYTES = 8,
};

/* ---- PRPs ---- */

static int copy_piece(struct nvme *n, uint64_t gpa, void *buf, uint32_t len, bool to_guest)
{
    return to_guest ? pci_dma_write(&n->pci, gpa, buf, len) : pci_dma_read(&n->pci, gpa, buf, len);
}

/* The list's next page; a list that fills its page goes on where its last entry says (4.3). With at
 * most 33 pages a command there is one such step at most. */
static int next_prp(struct nvme *n, uint64_t *list, bool last, uint64_t *prp)
{
    if (pci_dma_read(&n->pci, *list, prp, PRP_BYTES) < 0) {
        return -EFAULT;
    }
    if ((*list & (NVME_PAGE - 1)) == NVME_PAGE - PRP_BYTES && !last) {
        *list = *prp & ~(uint64_t)(PRP_BYTES - 1);
        if (pci_dma_read(&n->pci, *list, prp, PRP_BYTES) < 0) {
            return -EFAULT;
        }
    }
    *list += PRP_BYTES;
    return 0;
}

static uint16_t copy_rest(struct nvme *n, uint64_t prp2, uint8_t *p, uint32_t len, bool to_guest)
{
    uint64_t list = prp2, prp = prp2;
    bool listed = len > NVME_PAGE;
    while (len) {
        uint32_t piece = len < NVME_PAGE ? len : NVME_PAGE;
        if (listed && next_prp(n, &list, len <= NVME_PAGE, &prp) < 0) {
            return NVME_DATA_TRANSFER_ERROR;
        }
        if (prp % NVME_PAGE) {
            return NVME_INVALID_PRP_OFFSET | NVME_DNR;
        }
        if (copy_piece(n, prp, p, piece, to_guest) < 0) {
            return NVME_DATA_TRANSFER_ERROR;
        }
        p += piece;
        len -= piece;
    }
    return NVME_OK;
}

uint16_t nvme_copy(struct nvme *n, const struct nvme_sqe *e, void *buf, uint32_t len, bool to_guest)
{
    uint32_t first = NVME_PAGE - (uint32_t)(e->prp1 % NVME_PAGE);
    if (e->flags >> 6) { /* PSDT: an SGL */
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (e->prp1 % 4) {
        return NVME_INVALID_PRP_OFFSET | NVME_DNR;
    }
    first = first < len ? first : len;
    if (copy_piece(n, e->prp1, buf, first, to_guest) < 0) {
        return NVME_DATA_TRANSFER_ERROR;
    }
    return copy_rest(n, e->prp2, (uint8_t *)buf + first, len - first, to_guest);
}

/* ---- completion ---- */

static uint16_t status_of(const struct nvme_cmd *c, int ret)
{
    switch (ret) {
    case 0:
        return NVME_OK;
    case -ENOSPC:
        return NVME_CAPACITY_EXCEEDED;
    case -EINVAL:
        return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
    default:
        return c->e.opcode == NVM_READ ? NVME_READ_ERROR : NVME_WRITE_FAULT;
    }
}

static void done(struct blk_req *r, int ret)
{
    struct nvme_cmd *c = r->opaque;
    struct nvme *n = c->n;
    uint16_t status = status_of(c, ret);
    if (status == NVME_OK && c->e.opcode == NVM_READ) {
        status = nvme_copy(n, &c->e, c->buf, (uint32_t)r->len, true);
    }
    nvme_finish(c, status);
    nvme_run_queues(n);
}

static void submit(struct nvme_cmd *c, enum blk_op op, uint64_t offset, uint64_t len,
                   void (*fn)(struct blk_req *r, int ret))
{
    c->iov = (struct iovec){ c->buf, len };
    c->req = (struct blk_req){ .op = op, .offset = offset, .len = len, .done = fn, .opaque = c };
    if (op == BLK_READ || op == BLK_WRITE) {
        c->req.iov = &c->iov;
        c->req.iovcnt = 1;
    }
    blk_submit(c->n->blk, &c->req);
}

/* ---- commands ---- */

static bool in_range(const struct nvme *n, uint64_t lba, uint64_t blocks)
{
    uint64_t all = nvme_blocks(n);
    return lba <= all && blocks <= all - lba;
}

static uint16_t read_or_write(struct nvme_cmd *c)
{
    uint64_t lba = (uint64_t)c->e.cdw[1] << 32 | c->e.cdw[0];
    uint32_t blocks = (c->e.cdw[2] & 0xffff) + 1, len = blocks * NVME_BLOCK;
    bool write = c->e.opcode == NVM_WRITE;
    if (len > NVME_MAX_BYTES) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (!in_range(c->n, lba, blocks)) {
        return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
    }
    c->buf = malloc(len);
    if (!c->buf) {
        return NVME_INTERNAL_ERROR;
    }
    uint16_t status = write ? nvme_copy(c->n, &c->e, c->buf, len, false) : NVME_OK;
    if (status == NVME_OK) {
        submit(c, write ? BLK_WRITE : BLK_READ, lba * NVME_BLOCK, len, done);
        return NVME_NO_COMPLETION;
    }
    return status;
}

static void range_done(struct blk_req *r, int ret);

/* Discards the next range that has a length; true when the drive has it, false when none is left.
 * A discard is a hint: one that fails changes nothing for the guest. */
static bool next_range(struct nvme_cmd *c)
{
    while (c->range < c->ranges) {
        uint32_t blocks;
        uint64_t lba;
        const uint8_t *p = c->buf + c->range++ * RANGE_BYTES;
        memcpy(&blocks, p + 4, sizeof(blocks));
        memcpy(&lba, p + 8, sizeof(lba));
        if (blocks) {
            submit(c, BLK_DISCARD, lba * NVME_BLOCK, (uint64_t)blocks * NVME_BLOCK, range_done);
            return true;
        }
    }
    return false;
}

static void range_done(struct blk_req *r, int ret)
{
    struct nvme_cmd *c = r->opaque;
    struct nvme *n = c->n;
    (void)ret;
    if (!next_range(c)) {
        nvme_finish(c, NVME_OK);
        nvme_run_queues(n);
    }
}

static bool ranges_fit(const struct nvme_cmd *c)
{
    for (uint32_t i = 0; i < c->ranges; i++) {
        uint32_t blocks;
        uint64_t lba;
        memcpy(&blocks, c->buf + i * RANGE_BYTES + 4, sizeof(blocks));
        memcpy(&lba, c->buf + i * RANGE_BYTES + 8, sizeof(lba));
        if (!in_range(c->n, lba, blocks)) {
            return false;
        }
    }
    return true;
}

static uint16_t dataset_management(struct nvme_cmd *c)
{
    c->ranges = (c->e.cdw[0] & 0xff) + 1;
    c->range = 0;
    if (!(c->e.cdw[1] & DSM_DEALLOCATE)) {
        return NVME_OK; /* the other attributes are hints */
    }
    c->buf = malloc(NVME_MAX_RANGES * RANGE_BYTES);
    if (!c->buf) {
        return NVME_INTERNAL_ERROR;
    }
    uint16_t status = nvme_copy(c->n, &c->e, c->buf, c->ranges * RANGE_BYTES, false);
    if (status != NVME_OK) {
        return status;
    }
    if (!ranges_fit(c)) {
        return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
    }
    return next_range(c) ? NVME_NO_COMPLETION : NVME_OK;
}

uint16_t nvme_io(struct nvme_cmd *c)
{
    if (c->e.nsid != 1 && !(c->e.opcode == NVM_FLUSH && c->e.nsid == 0xffffffff)) {
        return NVME_INVALID_NAMESPACE | NVME_DNR;
    }
    switch (c->e.opcode) {
    case NVM_FLUSH:
        submit(c, BLK_FLUSH, 0, 0, done);
        return NVME_NO_COMPLETION;
    case NVM_WRITE:
    case NVM_READ:
        return read_or_write(c);
    case NVM_DATASET_MANAGEMENT:
        return dataset_management(c);
    default:
        guest_odd(&c->n->pci.dev, "NVM command 0x%02x", c->e.opcode);
        return NVME_INVALID_OPCODE | NVME_DNR;
    }
}
