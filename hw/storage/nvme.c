/* SPDX-License-Identifier: MIT */
/* hw/storage/nvme.c - the NVMe controller's registers and queues.
 *
 * The guest puts commands into submission queues in its memory and rings a doorbell; the controller
 * reads them, does them, and puts completions into completion queues. A command is only fetched when a
 * slot for it is free and its completion queue has room, so that completing never waits. One namespace
 * of 512-byte blocks. Left out: metadata, SGLs, namespaces that come and go, firmware slots, the
 * controller memory buffer, fused commands. Reference: NVMe 1.4, chapters 3, 4 and 7.
 */
#include "hw/storage/nvme-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    CAP = 0x00,
    VS = 0x08,
    INTMS = 0x0c,
    INTMC = 0x10,
    CC = 0x14,
    CSTS = 0x1c,
    AQA = 0x24,
    ASQ = 0x28,
    ACQ = 0x30,
    DOORBELLS = 0x1000,
    BAR_LEN = 0x4000,
    CC_EN = 1,
    CC_SHN = 3 << 14,
    CC_WRITABLE = 0x00fffff1,
    CSTS_RDY = 1,
    CSTS_CFS = 2,
    CSTS_SHST_DONE = 2 << 2,
    MSIX_BAR = 4,
};
#define CAP_VALUE                                                                                  \
    ((uint64_t)(NVME_MAX_ENTRIES - 1) | 1ull << 16 /* queues are contiguous */ |                   \
     15ull << 24 /* ready within 7.5 s */ | 1ull << 37 /* the NVM command set */)
#define VERSION_1_4 0x00010400u

static struct nvme *nvme_of(struct device *d)
{
    return (struct nvme *)d;
}

/* ---- interrupts ---- */

static void update_intx(struct nvme *n)
{
    uint32_t pending = 0;
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_cq *q = &n->cq[i];
        if (q->used && q->interrupts && q->head != q->tail) {
            pending |= 1u << (q->vector & 31);
        }
    }
    pci_set_intx(&n->pci, (pending & ~n->intms) != 0);
}

static void notify(struct nvme *n, const struct nvme_cq *q)
{
    if (!q->interrupts) {
        return;
    }
    if (msix_enabled(&n->msix)) {
        msix_notify(&n->msix, q->vector);
    } else {
        update_intx(n);
    }
}

/* ---- completions ---- */

static void fatal(struct nvme *n, const char *what)
{
    guest_odd(&n->pci.dev, "%s: controller fatal status", what);
    n->csts |= CSTS_CFS;
}

void nvme_complete(struct nvme *n, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t result)
{
    struct nvme_cq *q = &n->cq[n->sq[sqid].cqid];
    uint8_t e[NVME_CQE] = { 0 };
    store_le(e, 4, result);
    store_le(e + 8, 2, n->sq[sqid].head);
    store_le(e + 10, 2, sqid);
    store_le(e + 12, 2, cid);
    store_le(e + 14, 2, (uint64_t)(status << 1 | q->phase));
    q->promised--;
    if (pci_dma_write(&n->pci, q->base + (uint64_t)q->tail * NVME_CQE, e, sizeof(e)) < 0) {
        fatal(n, "completion queue is not in memory");
        return;
    }
    if (++q->tail == q->size) {
        q->tail = 0;
        q->phase = !q->phase;
    }
    notify(n, q);
}

void nvme_finish(struct nvme_cmd *c, uint16_t status)
{
    free(c->buf);
    c->buf = NULL;
    c->busy = false;
    nvme_complete(c->n, c->sqid, c->e.cid, status, 0);
}

/* ---- submissions ---- */

static struct nvme_cmd *free_cmd(struct nvme *n)
{
    for (unsigned i = 0; i < NVME_MAX_CMDS; i++) {
        if (!n->cmd[i].busy) {
            return &n->cmd[i];
        }
    }
    return NULL;
}

static bool has_room(const struct nvme_cq *q)
{
    unsigned waiting = (q->tail + q->size - q->head) % q->size;
    return waiting + q->promised + 1u < q->size;
}

static void start(struct nvme_cmd *c, uint16_t sqid)
{
    struct nvme *n = c->n;
    uint32_t result = 0;
    uint16_t status;
    c->sqid = sqid;
    if (sqid == 0) {
        struct nvme_sqe e = c->e;
        status = nvme_admin(n, &e, &result);
        if (status != NVME_NO_COMPLETION) {
            nvme_complete(n, 0, e.cid, status, result);
        }
        return;
    }
    c->busy = true;
    status = nvme_io(c);
    if (status != NVME_NO_COMPLETION) {
        nvme_finish(c, status);
    }
}

/* True when a command was taken from queue i. */
static bool run_one(struct nvme *n, unsigned i)
{
    struct nvme_sq *q = &n->sq[i];
    struct nvme_cmd *c;
    if (!q->used || q->head == q->tail || !has_room(&n->cq[q->cqid]) || !(c = free_cmd(n))) {
        return false;
    }
    uint64_t at = q->base + (uint64_t)q->head * NVME_SQE;
    q->head = (uint16_t)((q->head + 1) % q->size);
    n->cq[q->cqid].promised++;
    if (pci_dma_read(&n->pci, at, &c->e, sizeof(c->e)) < 0) {
        n->cq[q->cqid].promised--;
        fatal(n, "submission queue is not in memory");
        return false;
    }
    start(c, (uint16_t)i);
    return true;
}

/* Round robin; every turn consumes entries the guest wrote, so the work is bounded by its doorbells. */
void nvme_run_queues(struct nvme *n)
{
    bool some = true;
    blk_hold(n->blk);
    while (some && (n->csts & CSTS_RDY) && !(n->csts & CSTS_CFS)) {
        some = false;
        for (unsigned i = 0; i < NVME_QUEUES; i++) {
            some |= run_one(n, i);
        }
    }
    blk_release(n->blk);
}

void nvme_cancel(struct nvme *n, int sqid)
{
    for (unsigned i = 0; i < NVME_MAX_CMDS; i++) {
        struct nvme_cmd *c = &n->cmd[i];
        if (c->busy && (sqid < 0 || c->sqid == sqid)) {
            blk_cancel(&c->req);
            free(c->buf);
            c->buf = NULL;
            c->busy = false;
            n->cq[n->sq[c->sqid].cqid].promised--;
        }
    }
}

/* ---- enabling and disabling (7.6) ---- */

static void stop(struct nvme *n)
{
    nvme_cancel(n, -1);
    memset(n->sq, 0, sizeof(n->sq));
    memset(n->cq, 0, sizeof(n->cq));
    n->aers = 0;
    n->csts = 0;
    n->intms = 0;
    update_intx(n);
}

static void enable(struct nvme *n)
{
    uint16_t sqs = (uint16_t)((n->aqa & 0xfff) + 1), cqs = (uint16_t)((n->aqa >> 16 & 0xfff) + 1);
    bool sizes = sqs >= 2 && cqs >= 2;
    bool aligned = n->asq % NVME_PAGE == 0 && n->acq % NVME_PAGE == 0;
    bool page = (n->cc >> 7 & 15) == 0 && (n->cc >> 4 & 7) == 0;
    if (!sizes || !aligned || !page) {
        fatal(n, "admin queues or page size that cannot be");
        return;
    }
    n->sq[0] = (struct nvme_sq){ .used = true, .base = n->asq, .size = sqs };
    n->cq[0] = (struct nvme_cq){
        .used = true, .interrupts = true, .phase = true, .base = n->acq, .size = cqs
    };
    n->csts |= CSTS_RDY;
}

static void write_cc(struct nvme *n, uint32_t val)
{
    uint32_t was = n->cc;
    n->cc = val & CC_WRITABLE;
    if ((was & CC_EN) && !(val & CC_EN)) {
        stop(n);
    } else if (!(was & CC_EN) && (val & CC_EN)) {
        enable(n);
    }
    if ((val & CC_SHN) && !(was & CC_SHN)) {
        n->csts |= CSTS_SHST_DONE; /* nothing of the guest's waits here: writes go to the drive */
    } else if (!(val & CC_SHN)) {
        n->csts &= ~(uint32_t)CSTS_SHST_DONE;
    }
}

/* ---- doorbells (3.1.24) ---- */

static void submission_doorbell(struct nvme *n, unsigned i, uint32_t tail)
{
    if (!n->sq[i].used || tail >= n->sq[i].size) {
        guest_odd(&n->pci.dev, "doorbell of submission queue %u: 0x%x", i, tail);
        return;
    }
    n->sq[i].tail = (uint16_t)tail;
    nvme_run_queues(n);
}

static void completion_doorbell(struct nvme *n, unsigned i, uint32_t head)
{
    if (!n->cq[i].used || head >= n->cq[i].size) {
        guest_odd(&n->pci.dev, "doorbell of completion queue %u: 0x%x", i, head);
        return;
    }
    n->cq[i].head = (uint16_t)head;
    update_intx(n);
    nvme_run_queues(n); /* commands may have waited for room */
}

static void doorbell(struct nvme *n, uint64_t off, uint32_t val)
{
    unsigned i = (unsigned)(off - DOORBELLS) / 8;
    if (off % 4 || i >= NVME_QUEUES) {
        guest_odd(&n->pci.dev, "no doorbell at 0x%llx", (unsigned long long)off);
    } else if (off & 4) {
        completion_doorbell(n, i, val & 0xffff);
    } else {
        submission_doorbell(n, i, val & 0xffff);
    }
}

/* ---- registers ---- */

static uint32_t read_dword(const struct nvme *n, uint64_t off)
{
    switch (off) {
    case CAP:
        return (uint32_t)CAP_VALUE;
    case CAP + 4:
        return (uint32_t)(CAP_VALUE >> 32);
    case VS:
        return VERSION_1_4;
    case INTMS:
    case INTMC:
        return n->intms;
    case CC:
        return n->cc;
    case CSTS:
        return n->csts;
    case AQA:
        return n->aqa;
    case ASQ:
        return (uint32_t)n->asq;
    case ASQ + 4:
        return (uint32_t)(n->asq >> 32);
    case ACQ:
        return (uint32_t)n->acq;
    case ACQ + 4:
        return (uint32_t)(n->acq >> 32);
    default:
        return 0;
    }
}

static void write_dword(struct nvme *n, uint64_t off, uint32_t val)
{
    switch (off) {
    case INTMS:
        n->intms |= val;
        update_intx(n);
        break;
    case INTMC:
        n->intms &= ~val;
        update_intx(n);
        break;
    case CC:
        write_cc(n, val);
        break;
    case AQA:
        n->aqa = val & 0x0fff0fff;
        break;
    case ASQ:
    case ASQ + 4:
        n->asq = with_half(n->asq, off & 4, val);
        break;
    case ACQ:
    case ACQ + 4:
        n->acq = with_half(n->acq, off & 4, val);
        break;
    default:
        if (off >= DOORBELLS) {
            doorbell(n, off, val);
        }
    }
}

static uint64_t bar_read(struct device *d, uint64_t off, unsigned size)
{
    uint64_t low = off & ~3ull;
    uint64_t both = read_dword(nvme_of(d), low);
    (void)size; /* the caller keeps the low bytes */
    both |= (uint64_t)read_dword(nvme_of(d), low + 4) << 32;
    return both >> (8 * (off & 3));
}

static void bar_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    if (size < 4 || off % 4) {
        guest_odd(d, "write of %u bytes at 0x%llx", size, (unsigned long long)off);
        return;
    }
    write_dword(nvme_of(d), off, (uint32_t)val);
    if (size == 8 && off < DOORBELLS) {
        write_dword(nvme_of(d), off + 4, (uint32_t)(val >> 32));
    }
}

static const struct reg_name names[] = {
    { CAP, "CAP" },
    { VS, "VS" },
    { INTMS, "INTMS" },
    { INTMC, "INTMC" },
    { CC, "CC" },
    { CSTS, "CSTS" },
    { AQA, "AQA" },
    { ASQ, "ASQ" },
    { ACQ, "ACQ" },
    { 0x38, "" },
    { DOORBELLS, "DOORBELL" },
    { BAR_LEN, NULL },
};
static const struct region_ops bar_ops = { bar_read, bar_write, 8, names };

/* ---- life ---- */

static int nvme_init(struct device *d, struct err *e)
{
    struct nvme *n = nvme_of(d);
    const struct pci_info info = {
        .vendor = 0x1b36,
        .device = 0x0010,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x010802,
        .revision = 2,
        .int_pin = 1,
    };
    if (!blk_present(n->blk)) {
        return err_set(e, -ENOMEDIUM, "%s: drive= must name a -drive with a medium", d->id);
    }
    if (blk_read_only(n->blk)) {
        return err_set(e, -EROFS, "%s: its drive cannot be read-only", d->id);
    }
    if (!n->serial || !n->serial[0]) {
        return err_set(e, -EINVAL, "%s: serial= is needed", d->id);
    }
    int ret = pci_init(&n->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < NVME_MAX_CMDS; i++) {
        n->cmd[i].n = n;
    }
    pci_add_bar(&n->pci, 0, false, BAR_LEN, &bar_ops, "NVMe");
    msix_init(&n->pci, &n->msix, NVME_QUEUES, MSIX_BAR);
    return 0;
}

static void nvme_reset(struct device *d)
{
    struct nvme *n = nvme_of(d);
    pci_reset(&n->pci);
    msix_reset(&n->msix);
    stop(n);
    n->cc = n->aqa = 0;
    n->asq = n->acq = 0;
    n->volatile_write_cache = 1;
    n->number_of_queues = (NVME_QUEUES - 2) << 16 | (NVME_QUEUES - 2);
    n->temperature = 0x0157; /* 70 degrees Celsius in kelvins */
    n->arbitration = n->power = n->error_recovery = n->async_config = n->coalescing = 0;
}

static bool queue_size_ok(uint16_t size, uint16_t head, uint16_t tail)
{
    return size >= 2 && size <= 4096 && head < size && tail < size;
}

static int check_queues(const struct nvme *n, struct err *e)
{
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_sq *s = &n->sq[i];
        const struct nvme_cq *c = &n->cq[i];
        bool ready = n->csts & CSTS_RDY;
        if (s->used && (!ready || !queue_size_ok(s->size, s->head, s->tail) ||
                        s->cqid >= NVME_QUEUES || !n->cq[s->cqid].used)) {
            return err_set(e, -EINVAL, "submission queue %u cannot be", i);
        }
        if (c->used && (!ready || !queue_size_ok(c->size, c->head, c->tail))) {
            return err_set(e, -EINVAL, "completion queue %u cannot be", i);
        }
    }
    return 0;
}

static int nvme_loaded(struct device *d, struct err *e)
{
    struct nvme *n = nvme_of(d);
    int ret = check_queues(n, e);
    if (ret == 0) {
        ret = msix_loaded(&n->msix, e);
    }
    if (ret == 0) {
        ret = pci_loaded(&n->pci, e);
    }
    if (ret == 0) {
        update_intx(n);
    }
    return ret;
}

static void nvme_fini(struct device *d)
{
    nvme_cancel(nvme_of(d), -1);
    pci_fini(&nvme_of(d)->pci);
}

#define SQ(member) FIELD(struct nvme_sq, member)
static const struct state_field sq_state[] = {
    SQ(used), SQ(base), SQ(size), SQ(head), SQ(tail), SQ(cqid), FIELD_END,
};
#define CQ(member) FIELD(struct nvme_cq, member)
static const struct state_field cq_state[] = {
    CQ(used), CQ(interrupts), CQ(phase),  CQ(base),  CQ(size),
    CQ(head), CQ(tail),       CQ(vector), FIELD_END,
};
#define N(member) FIELD(struct nvme, member)
static const struct state_field state[] = {
    PCI_STATE(struct nvme),
    MSIX_STATE(struct nvme, msix),
    N(intms),
    N(cc),
    FIELD_RANGE(struct nvme, csts, 0, CSTS_RDY | CSTS_CFS | CSTS_SHST_DONE),
    N(aqa),
    N(asq),
    N(acq),
    FIELD_SUB(struct nvme, sq, sq_state, NVME_QUEUES),
    FIELD_SUB(struct nvme, cq, cq_state, NVME_QUEUES),
    N(volatile_write_cache),
    N(number_of_queues),
    N(arbitration),
    N(temperature),
    N(power),
    N(error_recovery),
    N(async_config),
    N(coalescing),
    FIELD_ARRAY(struct nvme, aer),
    FIELD_RANGE(struct nvme, aers, 0, NVME_MAX_AERS),
    FIELD_END,
};

static const struct dev_prop props[] = {
    PCI_PROPS(struct nvme),
    PROP(struct nvme, "drive", PROP_BLK, blk, 0, "the namespace's drive"),
    PROP(struct nvme, "serial", PROP_STR, serial, 0, "serial number, up to 20 characters"),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class nvme_class = {
    .name = "nvme",
    .desc = "Non-Volatile Memory Express",
    .size = sizeof(struct nvme),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = nvme_init,
    .reset = nvme_reset,
    .loaded = nvme_loaded,
    .fini = nvme_fini,
};
