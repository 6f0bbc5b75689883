/* SPDX-License-Identifier: MIT */
/* hw/ide/bmdma.c - the bus master of an IDE channel.
 *
 * A transfer to or from the medium runs in chunks of at most 512 KiB. For each, the PRD table is
 * walked once, the pieces of guest memory it names are pinned and handed to the block layer as
 * they are. Pieces that do not add up to whole sectors before the pins run out, or before the
 * table ends, go through a bounce buffer instead. Small replies and parameters are copied.
 *
 * A PRD is fetched into locals when the walk reaches it and never looked at again; a table is at
 * most 64 KiB long, so a walk is bounded whatever the guest wrote.
 *
 * Reference: Programming Interface for Bus Master IDE Controller, revision 1.0; 82371SB (PIIX3)
 * data sheet 2.5. As there, a PRD table shorter than the transfer leaves Active, Error and
 * Interrupt all clear.
 */
#include "hw/ide/ide-int.h"

#include "dm/base/bytes.h"

#include <stdlib.h>

enum {
    BM_REG_CMD = 0,
    BM_REG_STATUS = 2,
    BM_REG_PRD = 4,
    BM_REG_END = 8,
    BMS_CAPABLE = 0x60, /* drive 0 and 1 DMA capable: left to software */
    BM_MAX_PRDS = 8192,
    BM_PINS = 64,
    BM_IOV = 384,
    BM_CHUNK_BYTES = 512 << 10,
    BM_BOUNCE_BYTES = 64 << 10,
    PRD_EOT = 0x80,
};

struct bm_dma {
    struct gmem_pin pin[BM_PINS];
    unsigned npins;
    struct iovec iov[BM_IOV];
    int iovcnt;
    bool bounced;
    uint8_t bounce[BM_BOUNCE_BYTES];
};

void bmdma_init(struct ide_channel *ch)
{
    ch->dma = xcalloc(1, sizeof(*ch->dma));
}

void bmdma_fini(struct ide_channel *ch)
{
    free(ch->dma);
    ch->dma = NULL;
}

void bmdma_reset(struct ide_channel *ch)
{
    ch->bm_cmd = 0;
    ch->bm_status = 0;
    ch->bm_prd = 0;
    ch->walk = (struct bm_walk){ 0 };
}

/* The PRD walk. */

static int walk_fetch(struct ide_channel *ch)
{
    struct bm_walk *w = &ch->walk;
    uint8_t prd[8];
    uint32_t n;

    if (pci_dma_read(ch->pci, w->next, prd, sizeof(prd)) < 0) {
        return -1;
    }
    n = load_le16(prd + 4) & 0xfffeu;
    w->addr = load_le32(prd) & ~1u;
    w->left = n ? n : 0x10000;
    w->last = prd[7] & PRD_EOT;
    w->next += 8;
    w->count++;
    return 0;
}

/* The next piece of guest memory, at most want bytes: how many, 0 at the end of the table, or -1
 * when the table cannot be read. */
static int32_t walk_next(struct ide_channel *ch, uint32_t want, uint32_t *addr)
{
    struct bm_walk *w = &ch->walk;
    uint32_t n;

    if (w->left == 0) {
        if (w->last || w->count >= BM_MAX_PRDS) {
            return 0;
        }
        if (walk_fetch(ch) < 0) {
            return -1;
        }
    }
    n = w->left < want ? w->left : want;
    *addr = w->addr;
    w->addr += n;
    w->left -= n;
    return (int32_t)n;
}

/* Copies len bytes along the PRD table. Returns how many went, or -1. */
static int64_t walk_copy(struct ide_channel *ch, uint8_t *buf, uint32_t len, bool to_guest)
{
    uint32_t done = 0;

    while (done < len) {
        uint32_t addr;
        int32_t n = walk_next(ch, len - done, &addr);
        int ret;

        if (n <= 0) {
            return n < 0 ? -1 : (int64_t)done;
        }
        ret = to_guest ? pci_dma_write(ch->pci, addr, buf + done, (size_t)n)
                       : pci_dma_read(ch->pci, addr, buf + done, (size_t)n);
        if (ret < 0) {
            return -1;
        }
        done += (uint32_t)n;
    }
    return done;
}

/* Pins. */

static void bm_unpin(struct ide_channel *ch, bool moved)
{
    struct bm_dma *dma = ch->dma;

    for (unsigned i = 0; i < dma->npins; i++) {
        gmem_unpin(ch->pci->dev.m, &dma->pin[i], moved ? dma->pin[i].len : 0);
    }
    dma->npins = 0;
    dma->iovcnt = 0;
}

void bmdma_cancelled(struct ide_channel *ch)
{
    bm_unpin(ch, false);
}

/* Appends to the chunk's iovec, joining pieces that are neighbours in the host. */
static bool bm_append(struct bm_dma *dma, const struct gmem_pin *pin)
{
    if (dma->iovcnt + pin->iovcnt > BM_IOV) {
        return false;
    }
    for (int i = 0; i < pin->iovcnt; i++) {
        struct iovec *last = dma->iovcnt ? &dma->iov[dma->iovcnt - 1] : NULL;

        if (last && (char *)last->iov_base + last->iov_len == pin->iov[i].iov_base) {
            last->iov_len += pin->iov[i].iov_len;
        } else {
            dma->iov[dma->iovcnt++] = pin->iov[i];
        }
    }
    return true;
}

/* Pins pieces of the table until max bytes, the pins or the table run out. Returns bytes, or -1. */
static int64_t bm_pin_chunk(struct ide_channel *ch, uint32_t max, bool to_guest)
{
    struct bm_dma *dma = ch->dma;
    uint32_t total = 0;

    while (total < max && dma->npins < BM_PINS) {
        struct gmem_pin *pin = &dma->pin[dma->npins];
        uint32_t addr;
        int32_t n = walk_next(ch, max - total, &addr);

        if (n == 0) {
            break;
        }
        if (n < 0 || gmem_pin(ch->pci->dev.m, pin, addr, (size_t)n, to_guest) < 0) {
            return -1;
        }
        dma->npins++;
        if (!bm_append(dma, pin)) {
            return -1;
        }
        total += (uint32_t)n;
    }
    return total;
}

/* Transfers to and from the medium. */

static void bm_finish(struct ide_drive *d, enum bm_end end)
{
    struct ide_channel *ch = d->ch;

    if (end == BM_BAD_GUEST) {
        ch->bm_status |= BMS_ERR;
    }
    if (end != BM_OK || (ch->walk.last && ch->walk.left == 0)) {
        ch->bm_status &= (uint8_t)~BMS_ACTIVE;
    }
    d->phase = PHASE_IDLE;
    if (d->xfer >= XFER_CD_READ) {
        atapi_dma_done(d, end);
    } else {
        ata_dma_done(d, end);
    }
}

static void bm_step(struct ide_drive *d);

/* What was read is in the bounce buffer: hands it to the guest. */
static enum bm_end bm_unbounce(struct ide_drive *d)
{
    struct ide_channel *ch = d->ch;
    int64_t n = walk_copy(ch, ch->dma->bounce, (uint32_t)d->io_bytes, true);

    if (n < 0) {
        return BM_BAD_GUEST;
    }
    return (uint64_t)n < d->io_bytes ? BM_SHORT : BM_OK;
}

static void bm_io_done(struct blk_req *r, int ret)
{
    struct ide_drive *d = r->opaque;
    enum bm_end end = BM_OK;

    bm_unpin(d->ch, ret == 0);
    if (ret < 0) {
        bm_finish(d, BM_IO_ERROR);
        return;
    }
    if (d->ch->dma->bounced && r->op == BLK_READ) {
        end = bm_unbounce(d);
    }
    if (end != BM_OK) {
        bm_finish(d, end);
        return;
    }
    d->dma_offset += d->io_bytes;
    d->dma_len -= d->io_bytes;
    d->io_bytes = 0;
    bm_step(d);
}

static void bm_submit(struct ide_drive *d, bool write, uint32_t len)
{
    struct bm_dma *dma = d->ch->dma;

    d->io_bytes = len;
    d->req = (struct blk_req){
        .op = write ? BLK_WRITE : BLK_READ,
        .offset = d->dma_offset,
        .len = len,
        .iov = dma->iov,
        .iovcnt = dma->iovcnt,
        .guest_memory = !dma->bounced,
        .done = bm_io_done,
        .opaque = d,
    };
    blk_submit(d->blk, &d->req);
}

static void bm_bounce_chunk(struct ide_drive *d, bool write)
{
    struct bm_dma *dma = d->ch->dma;
    uint32_t len = (uint32_t)min_u64(d->dma_len, BM_BOUNCE_BYTES);

    if (write) {
        int64_t n = walk_copy(d->ch, dma->bounce, len, false);

        if (n < 0) {
            bm_finish(d, BM_BAD_GUEST);
            return;
        }
        len = (uint32_t)n & ~(uint32_t)(IDE_SECTOR - 1);
        if (len == 0) {
            bm_finish(d, BM_SHORT);
            return;
        }
    }
    dma->bounced = true;
    dma->iov[0] = (struct iovec){ dma->bounce, len };
    dma->iovcnt = 1;
    bm_submit(d, write, len);
}

/* The next chunk, or the end. */
static void bm_step(struct ide_drive *d)
{
    struct ide_channel *ch = d->ch;
    bool write = d->xfer == XFER_WRITE;
    struct bm_walk start = ch->walk;
    int64_t n;

    if (d->dma_len == 0) {
        bm_finish(d, BM_OK);
        return;
    }
    n = bm_pin_chunk(ch, (uint32_t)min_u64(d->dma_len, BM_CHUNK_BYTES), !write);
    if (n > 0 && n % IDE_SECTOR == 0) {
        ch->dma->bounced = false;
        bm_submit(d, write, (uint32_t)n);
        return;
    }
    bm_unpin(ch, false);
    if (n == 0) {
        bm_finish(d, BM_SHORT);
    } else if (n < 0) {
        bm_finish(d, BM_BAD_GUEST);
    } else {
        ch->walk = start;
        bm_bounce_chunk(d, write);
    }
}

/* Replies and parameter lists: between d->buf and the guest, at once. */
static void bm_copy(struct ide_drive *d)
{
    bool to_guest = d->xfer != XFER_TRIM && d->xfer != XFER_CD_PARAM;
    int64_t n = walk_copy(d->ch, d->buf, (uint32_t)d->dma_len, to_guest);

    if (n < 0) {
        bm_finish(d, BM_BAD_GUEST);
    } else {
        bm_finish(d, (uint64_t)n < d->dma_len ? BM_SHORT : BM_OK);
    }
}

static void bm_go(struct ide_drive *d)
{
    if (!pci_bus_master(d->ch->pci)) {
        bm_finish(d, BM_BAD_GUEST);
        return;
    }
    d->phase = PHASE_DMA;
    d->status = ST_BSY | ST_DRDY | ST_DSC;
    if (d->xfer == XFER_READ || d->xfer == XFER_WRITE || d->xfer == XFER_CD_READ) {
        bm_step(d);
    } else {
        bm_copy(d);
    }
}

void bmdma_wait(struct ide_drive *d)
{
    if (d->ch->link) {
        d->ch->link->dma(d);
        return;
    }
    d->phase = PHASE_DMA_WAIT;
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    if (d->ch->bm_status & BMS_ACTIVE) {
        bm_go(d);
    }
}

/* Registers. */

static void bm_start(struct ide_channel *ch)
{
    ch->walk = (struct bm_walk){ .next = ch->bm_prd };
    ch->bm_status |= BMS_ACTIVE;
    for (unsigned i = 0; i < 2; i++) {
        struct ide_drive *d = ide_at(ch, i);

        if (d && d->phase == PHASE_DMA_WAIT && (ch->bm_status & BMS_ACTIVE)) {
            bm_go(d);
        }
    }
}

/* START cleared while data moves: the transfer is lost and the command with it. */
static void bm_halt(struct ide_channel *ch)
{
    ch->bm_status &= (uint8_t)~BMS_ACTIVE;
    for (unsigned i = 0; i < 2; i++) {
        struct ide_drive *d = ide_at(ch, i);

        if (d && d->phase == PHASE_DMA) {
            ide_stop(d);
            d->status = ST_DRDY | ST_DSC | ST_ERR;
            d->error = ER_ABRT;
        }
    }
}

static void bm_cmd_write(struct ide_channel *ch, uint8_t val)
{
    bool was = ch->bm_cmd & BM_START, is = val & BM_START;

    ch->bm_cmd = val & (BM_START | BM_RWCON);
    if (is && !was) {
        bm_start(ch);
    } else if (was && !is) {
        bm_halt(ch);
    }
}

static void bm_status_write(struct ide_channel *ch, uint8_t val)
{
    uint8_t keep = ch->bm_status & (uint8_t) ~(BMS_CAPABLE | (val & (BMS_ERR | BMS_IRQ)));

    ch->bm_status = keep | (val & BMS_CAPABLE);
}

uint64_t bmdma_read(struct ide_channel *ch, unsigned reg, unsigned size)
{
    uint8_t bytes[BM_REG_END] = { [BM_REG_CMD] = ch->bm_cmd, [BM_REG_STATUS] = ch->bm_status };
    uint64_t v = 0;

    store_le(bytes + BM_REG_PRD, 4, ch->bm_prd);
    for (unsigned i = 0; i < size && reg + i < BM_REG_END; i++) {
        v |= (uint64_t)bytes[reg + i] << (8 * i);
    }
    return v;
}

void bmdma_write(struct ide_channel *ch, unsigned reg, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < size && reg + i < BM_REG_END; i++) {
        unsigned at = reg + i;
        uint8_t byte = (uint8_t)(val >> (8 * i));

        if (at == BM_REG_CMD) {
            bm_cmd_write(ch, byte);
        } else if (at == BM_REG_STATUS) {
            bm_status_write(ch, byte);
        } else if (at >= BM_REG_PRD) {
            unsigned shift = 8 * (at - BM_REG_PRD);
            ch->bm_prd = ((ch->bm_prd & ~(0xffu << shift)) | ((uint32_t)byte << shift)) & ~3u;
        }
    }
}
