/* SPDX-License-Identifier: MIT */
/* hw/ide/ahci-cmd.c - an AHCI port's commands: from the list in memory to the drive and back.
 *
 * Headers, FISes and PRDs are copied out of guest memory once. Data go through a buffer of the command's
 * own, in chunks, so that nothing of the guest's is kept over time and any alignment works. A command
 * that fails stops the port, as 6.2.2 wants: the driver restarts it.
 */
#include "hw/ide/ahci-int.h"

#include "dm/base/bytes.h"

#include <stdlib.h>

enum {
    HEADER_BYTES = 32,
    FIS_BYTES = 64,
    TABLE_PACKET = 0x40,
    TABLE_PRDT = 0x80,
    PRD_BYTES = 16,
    FIS_H2D = 0x27,
    FIS_D2H = 0x34,
    FIS_SDB = 0xa1,
    FIS_PIO = 0x5f,
    FIS_INTERRUPT = 0x40, /* bit I */
    RX_PIO = 0x20,        /* places in the received-FIS area, 4.2.1 */
    RX_D2H = 0x40,
    RX_SDB = 0x58,
    CMD_READ_FPDMA = 0x60,
    CMD_WRITE_FPDMA = 0x61,
    CMD_PACKET = 0xa0,
    DEVCTL_SRST = 0x04,
};

struct ide_drive *ahci_drive(const struct ahci_port *p)
{
    return ide_at(&p->ch, 0);
}

static int dma_read(struct ahci_port *p, uint64_t gpa, void *buf, size_t len)
{
    return pci_dma_read(&p->hba->pci, gpa, buf, len);
}

static int dma_write(struct ahci_port *p, uint64_t gpa, const void *buf, size_t len)
{
    return pci_dma_write(&p->hba->pci, gpa, buf, len);
}

/* ---- FISes to the host ---- */

static void receive(struct ahci_port *p, unsigned at, const uint8_t *fis, size_t len)
{
    if ((p->cmd & PCMD_FRE) && dma_write(p, p->fb + at, fis, len) < 0) {
        ahci_raise(p, PIS_HBF);
    }
}

static void put_registers(const struct ide_drive *d, uint8_t *fis)
{
    fis[2] = d->status;
    fis[3] = d->error;
    fis[4] = d->tf.lbal;
    fis[5] = d->tf.lbam;
    fis[6] = d->tf.lbah;
    fis[7] = d->device;
    fis[8] = d->hob.lbal;
    fis[9] = d->hob.lbam;
    fis[10] = d->hob.lbah;
    fis[12] = d->tf.nsect;
    fis[13] = d->hob.nsect;
}

static void set_tfd(struct ahci_port *p, uint8_t status, uint8_t error)
{
    p->tfd = status | (uint32_t)error << 8;
}

static void send_d2h(struct ahci_port *p, const struct ide_drive *d, bool interrupt)
{
    uint8_t fis[20] = { FIS_D2H, interrupt ? FIS_INTERRUPT : 0 };
    put_registers(d, fis);
    set_tfd(p, d->status, d->error);
    receive(p, RX_D2H, fis, sizeof(fis));
    if (interrupt) {
        ahci_raise(p, PIS_DHR);
    }
    if (d->status & ST_ERR) {
        ahci_raise(p, PIS_TFE);
    }
}

static void send_pio_setup(struct ahci_port *p, const struct ide_drive *d, uint32_t len)
{
    uint8_t fis[20] = { FIS_PIO, 0x20 /* to the host */ };
    put_registers(d, fis);
    fis[15] = ST_DRDY | ST_DSC; /* what the status will be */
    store_le(fis + 16, 2, len);
    receive(p, RX_PIO, fis, sizeof(fis));
}

/* Set device bits: a queued command is over, well or not. */
static void send_sdb(struct ahci_port *p, uint32_t done, uint8_t status, uint8_t error)
{
    uint8_t fis[8] = { FIS_SDB, FIS_INTERRUPT, status & 0x77, error };
    store_le(fis + 4, 4, done);
    p->sact &= ~done;
    p->tfd = (p->tfd & ST_BSY) | (status & 0x77) | (uint32_t)error << 8;
    receive(p, RX_SDB, fis, sizeof(fis));
    ahci_raise(p, PIS_SDB | (status & ST_ERR ? PIS_TFE : 0));
}

void ahci_signature(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    p->tfd = 0x7f;
    p->sig = 0xffffffff;
    if (d) {
        p->sig = d->tf.nsect | (uint32_t)d->tf.lbal << 8 | (uint32_t)d->tf.lbam << 16 |
                 (uint32_t)d->tf.lbah << 24;
        send_d2h(p, d, false);
    }
}

/* ---- the PRD table ---- */

/* Copies len bytes between buf and the guest along c's table, going on where it stood. Returns how many
 * went (fewer when the table ends), or -1 when a piece is not memory. */
static int64_t copy(struct ahci_cmd *c, uint8_t *buf, uint32_t len, bool to_guest)
{
    struct ahci_header *h = &c->h;
    uint32_t done = 0;
    while (done < len && h->prd < h->prdtl) {
        uint8_t e[PRD_BYTES];
        if (dma_read(c->p, h->table + TABLE_PRDT + (uint64_t)h->prd * PRD_BYTES, e, sizeof(e)) <
            0) {
            return -1;
        }
        uint32_t bytes = (load_le32(e + 12) & 0x3fffff) + 1;
        uint32_t left = bytes > h->within ? bytes - h->within : 0;
        uint32_t n = left < len - done ? left : len - done;
        uint64_t at = (load_le64(e) & ~1ull) + h->within;
        int ret = to_guest ? dma_write(c->p, at, buf + done, n) : dma_read(c->p, at, buf + done, n);
        if (n && ret < 0) {
            return -1;
        }
        done += n;
        h->within += n;
        if (n == left) {
            h->prd++;
            h->within = 0;
        }
    }
    h->moved += done;
    return done;
}

static bool read_header(struct ahci_port *p, unsigned slot, struct ahci_header *h, uint8_t *fis)
{
    uint8_t e[HEADER_BYTES];
    if (dma_read(p, p->clb + slot * HEADER_BYTES, e, sizeof(e)) < 0) {
        return false;
    }
    *h = (struct ahci_header){
        .atapi = e[0] & 0x20,
        .write = e[0] & 0x40,
        .prdtl = load_le16(e + 2),
        .table = load_le64(e + 8) & ~0x7full,
    };
    return dma_read(p, h->table, fis, FIS_BYTES) == 0;
}

static void write_moved(struct ahci_cmd *c)
{
    uint8_t n[4];
    store_le(n, 4, c->h.moved);
    dma_write(c->p, c->p->clb + c->slot * HEADER_BYTES + 4, n, sizeof(n));
}

/* ---- data of the medium ---- */

static void move_chunk(struct ahci_cmd *c);

static void release(struct ahci_cmd *c)
{
    free(c->buf);
    c->buf = NULL;
    c->busy = false;
}

/* A queued command failed: the drive remembers it for log page 10h and gives the others up; all stay
 * in PxSACT until the driver has looked (6.2.2.2). */
static void queued_failed(struct ahci_cmd *c, uint64_t lba, uint8_t error)
{
    struct ahci_port *p = c->p;
    uint8_t status = ST_DRDY | ST_DSC | ST_ERR;
    ahci_drive(p)->ncq_error = (struct ide_ncq_error){
        .valid = true, .tag = c->slot, .status = status, .error = error, .lba = lba
    };
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if (p->slot[i].busy && p->slot[i].ncq) {
            blk_cancel(&p->slot[i].req);
            release(&p->slot[i]);
        }
    }
    send_sdb(p, 0, status, error);
}

static void queued_done(struct ahci_cmd *c, enum bm_end end)
{
    static const uint8_t error[] = {
        [BM_OK] = 0, [BM_SHORT] = ER_ABRT, [BM_BAD_GUEST] = ER_ABRT, [BM_IO_ERROR] = ER_UNC
    };
    if (end == BM_SHORT) {
        ahci_raise(c->p, PIS_OF);
    }
    if (end == BM_OK) {
        send_sdb(c->p, 1u << c->slot, ST_DRDY | ST_DSC, 0);
    } else {
        queued_failed(c, c->offset / IDE_SECTOR, error[end]);
    }
}

static void transfer_done(struct ahci_cmd *c, enum bm_end end)
{
    struct ahci_port *p = c->p;
    struct ide_drive *d = ahci_drive(p);
    release(c);
    write_moved(c);
    if (c->ncq) {
        queued_done(c, end);
        ahci_run(p);
        return;
    }
    if (end == BM_SHORT) {
        ahci_raise(p, PIS_OF);
        end = BM_BAD_GUEST;
    }
    d->dma_offset = c->offset;
    d->dma_len = c->left;
    d->phase = PHASE_IDLE;
    if (d->xfer >= XFER_CD_READ) {
        atapi_dma_done(d, end);
    } else {
        ata_dma_done(d, end);
    }
}

static void chunk_done(struct blk_req *r, int ret)
{
    struct ahci_cmd *c = r->opaque;
    int64_t n = c->chunk;
    if (ret < 0) {
        transfer_done(c, BM_IO_ERROR);
        return;
    }
    if (!c->write) {
        n = copy(c, c->buf, c->chunk, true);
    }
    if (n < (int64_t)c->chunk) {
        transfer_done(c, n < 0 ? BM_BAD_GUEST : BM_SHORT);
        return;
    }
    c->offset += c->chunk;
    c->left -= c->chunk;
    move_chunk(c);
}

static void move_chunk(struct ahci_cmd *c)
{
    c->chunk = (uint32_t)min_u64(c->left, AHCI_CHUNK);
    if (c->chunk == 0) {
        transfer_done(c, BM_OK);
        return;
    }
    if (c->write) {
        int64_t n = copy(c, c->buf, c->chunk, false);
        if (n < (int64_t)c->chunk) {
            transfer_done(c, n < 0 ? BM_BAD_GUEST : BM_SHORT);
            return;
        }
    }
    c->iov = (struct iovec){ c->buf, c->chunk };
    c->req = (struct blk_req){ .op = c->write ? BLK_WRITE : BLK_READ,
                               .offset = c->offset,
                               .len = c->chunk,
                               .iov = &c->iov,
                               .iovcnt = 1,
                               .done = chunk_done,
                               .opaque = c };
    blk_submit(ahci_drive(c->p)->blk, &c->req);
}

static void move_medium(struct ahci_cmd *c, uint64_t offset, uint64_t len, bool write)
{
    c->offset = offset;
    c->left = len;
    c->write = write;
    c->busy = true;
    c->buf = malloc(AHCI_CHUNK);
    if (c->buf) {
        move_chunk(c);
    } else {
        transfer_done(c, BM_IO_ERROR);
    }
}

/* ---- the drive's side ---- */

/* A DMA transfer: of the medium in chunks, of small replies and parameters at once. */
static void link_dma(struct ide_drive *d)
{
    struct ahci_port *p = (struct ahci_port *)d->ch;
    struct ahci_cmd *c = &p->slot[p->current];
    bool out = d->xfer == XFER_TRIM || d->xfer == XFER_CD_PARAM;
    d->phase = PHASE_DMA;
    d->status = ST_BSY | ST_DRDY | ST_DSC;
    if (d->xfer == XFER_READ || d->xfer == XFER_WRITE || d->xfer == XFER_CD_READ) {
        move_medium(c, d->dma_offset, d->dma_len, d->xfer == XFER_WRITE);
        return;
    }
    int64_t n = copy(c, d->buf, (uint32_t)d->dma_len, !out);
    c->offset = d->dma_offset;
    c->left = d->dma_len;
    transfer_done(c, n < 0 ? BM_BAD_GUEST : (uint64_t)n < d->dma_len ? BM_SHORT : BM_OK);
}

static void link_cancelled(struct ide_drive *d)
{
    struct ahci_port *p = (struct ahci_port *)d->ch;
    if (p->current >= 0 && p->slot[p->current].busy) {
        blk_cancel(&p->slot[p->current].req);
        release(&p->slot[p->current]);
    }
}

/* Moves the DRQ block that the drive offers or wants. False: the guest's memory is not there. */
static bool move_block(struct ahci_cmd *c, struct ide_drive *d)
{
    uint8_t *at = d->buf + d->pos;
    uint32_t len = d->end - d->pos;
    if (d->phase == PHASE_PACKET) {
        return dma_read(c->p, c->h.table + TABLE_PACKET, d->buf, sizeof(d->packet)) == 0;
    }
    if (d->phase == PHASE_IN) {
        send_pio_setup(c->p, d, len);
    }
    int64_t n = copy(c, at, len, d->phase == PHASE_IN);
    if (n >= 0 && n < (int64_t)len) {
        ahci_raise(c->p, PIS_OF);
    }
    return n >= 0 && (d->phase == PHASE_IN || n == (int64_t)len);
}

static bool wants_block(const struct ide_drive *d)
{
    return d->phase == PHASE_IN || d->phase == PHASE_OUT || d->phase == PHASE_PACKET;
}

/* The command in the task file is over. */
static void complete(struct ahci_port *p, struct ide_drive *d)
{
    struct ahci_cmd *c = &p->slot[p->current];
    write_moved(c);
    if (!(d->status & ST_ERR)) {
        p->ci &= ~(1u << c->slot);
    }
    p->current = -1;
    send_d2h(p, d, true);
}

/* Carries blocks between drive and guest until the command ends or waits for the medium. */
static void pump(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    if (p->pumping || p->current < 0 || !d) {
        return;
    }
    p->pumping = true;
    while (wants_block(d)) {
        if (!move_block(&p->slot[p->current], d)) {
            ahci_raise(p, PIS_HBD);
            ide_abort(d);
            break;
        }
        d->pos = d->end;
        ide_block_done(d);
    }
    if (d->phase == PHASE_IDLE) {
        complete(p, d);
    }
    p->pumping = false;
}

/* INTRQ: a block is ready, one is wanted, or the command is over. */
static void link_irq(struct ide_channel *ch)
{
    struct ahci_port *p = (struct ahci_port *)ch;
    bool outermost = !p->pumping && p->current >= 0;
    pump(p);
    if (outermost && p->current < 0) {
        ahci_run(p);
    }
}

const struct ide_link ahci_link = { link_irq, link_dma, link_cancelled };

/* ---- starting ---- */

static void load_task_file(struct ide_drive *d, const uint8_t *fis)
{
    d->tf = (struct ide_taskfile){ fis[3], fis[12], fis[4], fis[5], fis[6] };
    d->hob = (struct ide_taskfile){ fis[11], fis[13], fis[8], fis[9], fis[10] };
    d->device = fis[7] | 0xa0;
}

static void start_queued(struct ahci_cmd *c, struct ide_drive *d, const uint8_t *fis)
{
    struct ahci_port *p = c->p;
    uint64_t lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 |
                   (uint64_t)fis[8] << 24 | (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
    uint64_t n = fis[3] | (uint64_t)fis[11] << 8, all = ata_sectors(d);
    n = n ? n : 65536;
    c->ncq = true;
    p->ci &= ~(1u << c->slot); /* accepted: the drive keeps it in PxSACT */
    set_tfd(p, ST_DRDY | ST_DSC, 0);
    if (d->cd || fis[12] >> 3 != c->slot || n > all || lba > all - n) {
        queued_failed(c, lba, n > all || lba > all - n ? ER_IDNF : ER_ABRT);
        return;
    }
    move_medium(c, lba * IDE_SECTOR, n * IDE_SECTOR, fis[2] == CMD_WRITE_FPDMA);
}

/* A FIS that changes device control only: SRST on, then off. */
static void control(struct ahci_port *p, unsigned slot, struct ide_drive *d, const uint8_t *fis)
{
    bool was = p->ch.control & DEVCTL_SRST, is = fis[15] & DEVCTL_SRST;
    p->ci &= ~(1u << slot);
    p->ch.control = fis[15];
    if (was && !is) {
        ide_drive_reset(d, false);
        ahci_signature(p);
    }
}

static void start_command(struct ahci_port *p, unsigned slot, struct ide_drive *d,
                          const uint8_t *fis)
{
    p->current = (int8_t)slot;
    set_tfd(p, ST_BSY | ST_DRDY | ST_DSC, 0);
    load_task_file(d, fis);
    p->pumping = true;
    ide_stop(d);
    ata_command(d, fis[2]);
    p->pumping = false;
    pump(p);
}

static void start(struct ahci_port *p, unsigned slot)
{
    struct ide_drive *d = ahci_drive(p);
    struct ahci_cmd *c = &p->slot[slot];
    uint8_t fis[FIS_BYTES];
    *c = (struct ahci_cmd){ .p = p, .slot = (uint8_t)slot };
    if (!read_header(p, slot, &c->h, fis)) {
        p->ci &= ~(1u << slot);
        ahci_raise(p, PIS_HBF);
        return;
    }
    if (fis[0] != FIS_H2D) {
        guest_odd(&p->hba->pci.dev, "port %u: FIS 0x%02x to the device", p->index, fis[0]);
        p->ci &= ~(1u << slot);
        return;
    }
    if (!(fis[1] & 0x80)) {
        control(p, slot, d, fis);
    } else if (fis[2] == CMD_READ_FPDMA || fis[2] == CMD_WRITE_FPDMA) {
        start_queued(c, d, fis);
    } else {
        start_command(p, slot, d, fis);
    }
}

static int next_slot(const struct ahci_port *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if ((p->ci >> i & 1) && !p->slot[i].busy) {
            return (int)i;
        }
    }
    return -1;
}

/* A failed command leaves its bit in PxCI and ERR in PxTFD: the port then waits for the driver. Each
 * turn takes one bit of PxCI away or ends the loop, so the work is bounded. */
void ahci_run(struct ahci_port *p)
{
    struct blk *b = ahci_drive(p) ? ahci_drive(p)->blk : NULL;
    int slot;
    blk_hold(b);
    while ((p->cmd & PCMD_ST) && ahci_drive(p) && !p->pumping && p->current < 0 &&
           !(p->tfd & (ST_BSY | ST_DRQ | ST_ERR)) && (slot = next_slot(p)) >= 0) {
        start(p, (unsigned)slot);
    }
    blk_release(b);
}

void ahci_stop(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    if (d && p->current >= 0) {
        ide_stop(d);
        d->status = ST_DRDY | ST_DSC;
    }
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if (p->slot[i].busy) {
            blk_cancel(&p->slot[i].req);
            release(&p->slot[i]);
        }
    }
    p->current = -1;
    p->ci = p->sact = 0;
}
