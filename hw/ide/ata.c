/* SPDX-License-Identifier: MIT */
/* hw/ide/ata.c - an IDE channel: the command block of two drives, PIO, interrupts and resets.
 *
 * Both drives take every write to the command block; the selected one answers. What nobody drives
 * reads as firmware and drivers probe for: an empty channel floats with DD7 pulled down (0x7f), a
 * missing drive beside a present one gives zeros.
 *
 * Left out: overlapped and queued commands, the 8-bit transfer mode of CompactFlash.
 * Reference: ATA/ATAPI-7 volume 1 (registers, 6), volume 2 (protocols, 11).
 */
#include "hw/ide/ide-int.h"

#include "dm/base/bytes.h"

#include <string.h>

enum { R_DATA, R_ERROR, R_NSECT, R_LBAL, R_LBAM, R_LBAH, R_DEVICE, R_STATUS };
enum { R_FEATURE = R_ERROR, R_COMMAND = R_STATUS };
enum { CMD_DEVICE_RESET = 0x08, CMD_DIAGNOSTIC = 0x90 };

#define FLOATING(size) (ones(size) & ~0x80ull)

struct ide_drive *ide_at(const struct ide_channel *ch, unsigned unit)
{
    struct ide_drive *d = ch->drive[unit];

    return d && !d->unplugged ? d : NULL;
}

static struct ide_drive *ide_selected(const struct ide_channel *ch)
{
    return ide_at(ch, ch->select);
}

static bool ide_empty(const struct ide_channel *ch)
{
    return !ide_at(ch, 0) && !ide_at(ch, 1);
}

/* Interrupts. */

void ide_update_irq(struct ide_channel *ch)
{
    if (ch->link) {
        return; /* it has no wire */
    }
    line_set(&ch->irq, ch->intrq && !(ch->control & DC_NIEN));
}

void ide_raise_irq(struct ide_channel *ch)
{
    if (ch->link) {
        ch->link->irq(ch);
        return;
    }
    ch->intrq = true;
    if (!(ch->control & DC_NIEN)) {
        ch->bm_status |= BMS_IRQ;
    }
    ide_update_irq(ch);
}

static void ide_drop_irq(struct ide_channel *ch)
{
    ch->intrq = false;
    ide_update_irq(ch);
}

/* Ends and resets. */

void ide_stop(struct ide_drive *d)
{
    blk_cancel(&d->req);
    if (d->phase == PHASE_DMA && d->ch && d->ch->link) {
        d->ch->link->cancelled(d);
    } else if (d->phase == PHASE_DMA && d->ch) {
        bmdma_cancelled(d->ch);
    }
    d->io_bytes = 0;
    d->phase = PHASE_IDLE;
    d->xfer = XFER_NONE;
    d->pos = d->end = d->fill = 0;
    d->lba = 0;
    d->left = 0;
    d->dma_len = 0;
}

void ide_end(struct ide_drive *d, bool irq)
{
    ide_stop(d);
    d->status = ST_DRDY | ST_DSC;
    if (irq) {
        ide_raise_irq(d->ch);
    }
}

void ide_fail(struct ide_drive *d, uint8_t error)
{
    ide_stop(d);
    d->status = ST_DRDY | ST_DSC | ST_ERR;
    d->error = error;
    ide_raise_irq(d->ch);
}

void ide_abort(struct ide_drive *d)
{
    ide_fail(d, ER_ABRT);
}

/* ATA/ATAPI-7 volume 1, 9.12: how a drive says what it is. */
void ide_set_signature(struct ide_drive *d)
{
    d->tf = (struct ide_taskfile){
        .nsect = 1, .lbal = 1, .lbam = d->cd ? 0x14 : 0, .lbah = d->cd ? 0xeb : 0
    };
    d->hob = (struct ide_taskfile){ 0 };
    d->device = 0xa0;
    d->error = 1;
}

static void ide_default_settings(struct ide_drive *d)
{
    d->multiple = IDE_MAX_MULTIPLE;
    d->mdma = 0;
    d->udma = d->cd ? 0 : 1 << 5;
    d->write_cache = true;
    d->read_ahead = true;
    d->frozen = false;
    d->smart = (struct ide_smart){ .enabled = true, .autosave = true };
    d->sense = SENSE_NONE;
    d->unit_attention = false;
    d->media_event = CD_EVENT_NONE;
    d->dma_offset = 0;
    d->block = 0;
    d->fua = d->lba48 = d->packet_dma = false;
    memset(d->buf, 0, sizeof(d->buf));
    memset(d->packet, 0, sizeof(d->packet));
    if (!d->cd) {
        ata_default_geometry(d);
    }
}

void ide_drive_reset(struct ide_drive *d, bool power_on)
{
    ide_stop(d);
    d->command = 0;
    d->sleeping = false;
    if (power_on) {
        ide_default_settings(d);
    }
    ide_set_signature(d);
    d->status = d->cd ? 0 : ST_DRDY | ST_DSC; /* a packet drive stays silent until asked */
}

void ide_channel_reset(struct ide_channel *ch)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ch->drive[i]) {
            ide_drive_reset(ch->drive[i], true);
        }
    }
    ch->select = 0;
    ch->control = 0;
    ide_drop_irq(ch);
    bmdma_reset(ch);
}

static void ide_srst_begin(struct ide_channel *ch)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ide_at(ch, i)) {
            ide_stop(ch->drive[i]);
            ch->drive[i]->status = ST_BSY | ST_DSC;
        }
    }
}

static void ide_srst_end(struct ide_channel *ch)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ide_at(ch, i)) {
            ide_drive_reset(ch->drive[i], false);
        }
    }
    ch->select = 0;
    ch->intrq = false;
}

/* EXECUTE DEVICE DIAGNOSTIC reaches both drives; drive 0 answers for them. */
static void ide_diagnose(struct ide_channel *ch)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ide_at(ch, i)) {
            ide_drive_reset(ch->drive[i], false);
        }
    }
    ch->select = 0;
    if (!ide_empty(ch)) {
        ide_raise_irq(ch);
    }
}

/* I/O and PIO. */

void ide_io(struct ide_drive *d, enum blk_op op, uint64_t offset, uint64_t len,
            void (*done)(struct blk_req *r, int ret))
{
    bool moves = op == BLK_READ || op == BLK_WRITE;

    d->phase = PHASE_BUSY;
    d->status = ST_BSY | ST_DRDY | ST_DSC;
    d->io_bytes = len;
    d->iov = (struct iovec){ d->buf, len };
    d->req = (struct blk_req){
        .op = op,
        .offset = offset,
        .len = len,
        .iov = &d->iov,
        .iovcnt = moves ? 1 : 0,
        .done = done,
        .opaque = d,
    };
    blk_submit(d->blk, &d->req);
}

void ide_pio_in(struct ide_drive *d)
{
    d->end = (uint32_t)min_u64((uint64_t)d->pos + d->block, d->fill);
    d->phase = PHASE_IN;
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    ide_raise_irq(d->ch);
}

void ide_pio_out(struct ide_drive *d, uint32_t len)
{
    d->pos = 0;
    d->end = len;
    d->fill = len;
    d->phase = PHASE_OUT;
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
}

void ide_block_done(struct ide_drive *d)
{
    if (d->phase == PHASE_PACKET) {
        d->phase = PHASE_IDLE;
        atapi_packet(d);
    } else if (d->xfer >= XFER_CD_READ) {
        atapi_block_done(d);
    } else {
        ata_block_done(d);
    }
}

/* An 8-bit access still moves the whole 16-bit word, of which the guest sees the low half. */
static uint32_t ide_data_read(struct ide_channel *ch, unsigned size)
{
    struct ide_drive *d = ide_selected(ch);
    unsigned want = size == 1 ? 2 : size;
    unsigned n;
    uint32_t v;

    if (!d || d->phase != PHASE_IN) {
        return 0;
    }
    n = d->end - d->pos < want ? d->end - d->pos : want;
    /* Constant sizes: the compiler makes plain loads of them, and this is the busiest port. */
    v = n == 2   ? load_le16(d->buf + d->pos)
        : n == 4 ? load_le32(d->buf + d->pos)
                 : (uint32_t)load_le(d->buf + d->pos, n);
    d->pos += n;
    if (d->pos == d->end) {
        ide_block_done(d);
    }
    return v;
}

static void ide_data_write(struct ide_channel *ch, unsigned size, uint32_t val)
{
    struct ide_drive *d = ide_selected(ch);
    unsigned want = size == 1 ? 2 : size;
    unsigned n;

    if (!d || (d->phase != PHASE_OUT && d->phase != PHASE_PACKET)) {
        return;
    }
    n = d->end - d->pos < want ? d->end - d->pos : want;
    store_le(d->buf + d->pos, n, val);
    d->pos += n;
    if (d->pos == d->end) {
        ide_block_done(d);
    }
}

/* Registers. */

static uint8_t ide_reg_read(struct ide_channel *ch, unsigned reg)
{
    struct ide_drive *d = ide_selected(ch);
    const struct ide_taskfile *tf;

    if (!d) {
        return ide_empty(ch) ? (uint8_t)FLOATING(1) : 0;
    }
    tf = ch->control & DC_HOB ? &d->hob : &d->tf;
    switch (reg) {
    case R_ERROR:
        return d->error;
    case R_NSECT:
        return tf->nsect;
    case R_LBAL:
        return tf->lbal;
    case R_LBAM:
        return tf->lbam;
    case R_LBAH:
        return tf->lbah;
    case R_DEVICE:
        return d->device;
    default:
        ide_drop_irq(ch);
        return d->status;
    }
}

/* Each register is two deep: the older byte is the high-order one of a 48-bit command. */
static void ide_push(uint8_t *now, uint8_t *older, uint8_t val)
{
    *older = *now;
    *now = val;
}

static void ide_taskfile_write(struct ide_drive *d, unsigned reg, uint8_t val)
{
    switch (reg) {
    case R_FEATURE:
        ide_push(&d->tf.feature, &d->hob.feature, val);
        break;
    case R_NSECT:
        ide_push(&d->tf.nsect, &d->hob.nsect, val);
        break;
    case R_LBAL:
        ide_push(&d->tf.lbal, &d->hob.lbal, val);
        break;
    case R_LBAM:
        ide_push(&d->tf.lbam, &d->hob.lbam, val);
        break;
    case R_LBAH:
        ide_push(&d->tf.lbah, &d->hob.lbah, val);
        break;
    default:
        d->device = val | 0xa0;
        break;
    }
}

static void ide_command_write(struct ide_channel *ch, uint8_t code)
{
    struct ide_drive *d = ide_selected(ch);

    ide_drop_irq(ch);
    if (ch->control & DC_SRST) {
        return;
    }
    if (code == CMD_DIAGNOSTIC) {
        ide_diagnose(ch);
        return;
    }
    if (!d) {
        return;
    }
    if ((d->status & ST_BSY) && !(code == CMD_DEVICE_RESET && d->cd)) {
        guest_odd(&d->dev, "command %02x while busy with %02x", code, d->command);
        return;
    }
    ide_stop(d);
    ata_command(d, code);
}

static void ide_reg_write(struct ide_channel *ch, unsigned reg, uint8_t val)
{
    struct ide_drive *d = ide_selected(ch);

    ch->control &= (uint8_t)~DC_HOB;
    if (reg == R_COMMAND) {
        ide_command_write(ch, val);
        return;
    }
    if (d && (d->status & (ST_BSY | ST_DRQ))) {
        return; /* the drive owns the command block */
    }
    for (unsigned i = 0; i < 2; i++) {
        if (ide_at(ch, i)) {
            ide_taskfile_write(ch->drive[i], reg, val);
        }
    }
    if (reg == R_DEVICE) {
        ch->select = val & DEV_DEV1 ? 1 : 0;
    }
}

uint64_t ide_cmd_read(struct ide_channel *ch, uint64_t off, unsigned size)
{
    uint64_t v = 0;

    if (off == R_DATA) {
        return ide_empty(ch) ? FLOATING(size) : ide_data_read(ch, size);
    }
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)ide_reg_read(ch, (unsigned)off + i) << (8 * i);
    }
    return v;
}

void ide_cmd_write(struct ide_channel *ch, uint64_t off, unsigned size, uint64_t val)
{
    if (off == R_DATA) {
        ide_data_write(ch, size, (uint32_t)val);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        ide_reg_write(ch, (unsigned)off + i, (uint8_t)(val >> (8 * i)));
    }
}

/* Alternate status: the same as status, without acknowledging the interrupt. */
uint64_t ide_ctl_read(struct ide_channel *ch)
{
    struct ide_drive *d = ide_selected(ch);

    if (!d) {
        return ide_empty(ch) ? FLOATING(1) : 0;
    }
    return d->status;
}

void ide_ctl_write(struct ide_channel *ch, uint8_t val)
{
    bool was = ch->control & DC_SRST, is = val & DC_SRST;

    ch->control = val & (DC_HOB | DC_SRST | DC_NIEN);
    if (is && !was) {
        ide_srst_begin(ch);
    } else if (was && !is) {
        ide_srst_end(ch);
    }
    ide_update_irq(ch);
}
