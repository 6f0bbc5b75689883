/* SPDX-License-Identifier: MIT */
/* hw/storage/nvme-int.h - the NVMe controller's insides, shared by its files.
 *
 *   nvme.c        registers, doorbells, queues, completions, interrupts
 *   nvme-admin.c  admin commands: identify, queues, features, logs
 *   nvme-io.c     reads, writes, flush, dataset management; PRP lists
 *
 * Reference: NVM Express Base Specification 1.4.
 */
#ifndef HW_STORAGE_NVME_INT_H
#define HW_STORAGE_NVME_INT_H

#include "block/blk.h"
#include "hw/pci/msix.h"
#include "hw/storage/nvme.h"

enum {
    NVME_QUEUES = 17, /* the admin pair and 16 of each kind */
    NVME_MAX_ENTRIES = 1024,
    NVME_MAX_CMDS = 64,         /* in flight at the drive */
    NVME_MAX_BYTES = 128 << 10, /* of one command: MDTS 5 */
    NVME_MAX_RANGES = 256,
    NVME_MAX_AERS = 4,
    NVME_PAGE = 4096,
    NVME_SQE = 64,
    NVME_CQE = 16,
    NVME_BLOCK = 512,
};

/* A submission queue entry's words (4.2), read once from guest memory. */
struct nvme_sqe {
    uint8_t opcode, flags;
    uint16_t cid;
    uint32_t nsid;
    uint64_t reserved, mptr, prp1, prp2;
    uint32_t cdw[6]; /* CDW10 to 15 */
};
_Static_assert(sizeof(struct nvme_sqe) == NVME_SQE, "a submission queue entry");

/* Status codes, type << 8 | code (4.6.1). */
enum nvme_status {
    NVME_OK = 0,
    NVME_INVALID_OPCODE = 0x01,
    NVME_INVALID_FIELD = 0x02,
    NVME_DATA_TRANSFER_ERROR = 0x04,
    NVME_INTERNAL_ERROR = 0x06,
    NVME_INVALID_NAMESPACE = 0x0b,
    NVME_INVALID_PRP_OFFSET = 0x13,
    NVME_LBA_OUT_OF_RANGE = 0x80,
    NVME_CAPACITY_EXCEEDED = 0x81,
    NVME_CQ_INVALID = 0x100,
    NVME_QID_INVALID = 0x101,
    NVME_QSIZE_INVALID = 0x102,
    NVME_AER_LIMIT = 0x105,
    NVME_VECTOR_INVALID = 0x108,
    NVME_LOG_PAGE_INVALID = 0x109,
    NVME_QUEUE_DELETION_INVALID = 0x10c,
    NVME_FEATURE_NOT_SAVEABLE = 0x10d,
    NVME_FEATURE_NOT_CHANGEABLE = 0x10e,
    NVME_WRITE_FAULT = 0x280,
    NVME_READ_ERROR = 0x281,
    NVME_DNR = 0x4000,           /* do not retry */
    NVME_NO_COMPLETION = 0xffff, /* not a status: the command completes later */
};

struct nvme_sq {
    bool used;
    uint64_t base;
    uint16_t size, head, tail; /* size in entries, 2 to NVME_MAX_ENTRIES */
    uint16_t cqid;
};
struct nvme_cq {
    bool used, interrupts, phase;
    uint64_t base;
    uint16_t size, head, tail;
    uint16_t vector;
    uint16_t promised; /* completions that commands in flight will need; not saved: none then */
};

struct nvme;
struct nvme_cmd {
    struct blk_req req; /* req.blk is not NULL while the drive has it */
    struct nvme *n;
    bool busy;
    uint16_t sqid;
    struct nvme_sqe e;
    uint8_t *buf; /* the data, while the drive has them */
    struct iovec iov;
    uint32_t ranges, range; /* dataset management: how many, which one is next */
};

struct nvme {
    struct pci_dev pci; /* first */
    struct pci_msix msix;
    struct blk *blk;
    char *serial;

    /* registers (3.1) */
    uint32_t intms, cc, csts, aqa;
    uint64_t asq, acq;

    struct nvme_sq sq[NVME_QUEUES];
    struct nvme_cq cq[NVME_QUEUES];
    uint32_t volatile_write_cache, number_of_queues, arbitration, temperature, power,
        error_recovery, async_config, coalescing;
    uint16_t aer[NVME_MAX_AERS]; /* identifiers of waiting asynchronous event requests */
    uint32_t aers;

    struct nvme_cmd cmd[NVME_MAX_CMDS];
};

static inline uint64_t nvme_blocks(const struct nvme *n)
{
    return blk_len(n->blk) / NVME_BLOCK;
}

/* nvme.c: posts c's completion with result (DW0) and frees it. */
void nvme_complete(struct nvme *n, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t result);
void nvme_finish(struct nvme_cmd *c, uint16_t status);
/* Fetches and starts what the queues hold, as far as there is room. */
void nvme_run_queues(struct nvme *n);
/* Takes back every request of queue sqid (or all, sqid < 0) without completing it. */
void nvme_cancel(struct nvme *n, int sqid);

/* nvme-admin.c: status, or NVME_NO_COMPLETION. */
uint16_t nvme_admin(struct nvme *n, const struct nvme_sqe *e, uint32_t *result);

/* nvme-io.c: starts c, whose sqid and e are set; status or NVME_NO_COMPLETION. */
uint16_t nvme_io(struct nvme_cmd *c);
/* Copies len bytes, up to NVME_MAX_BYTES, between buf and the pages that e's PRPs name. */
uint16_t nvme_copy(struct nvme *n, const struct nvme_sqe *e, void *buf, uint32_t len,
                   bool to_guest);

#endif
