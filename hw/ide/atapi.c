/* SPDX-License-Identifier: MIT */
/* hw/ide/atapi.c - packet commands of a CD-ROM drive.
 *
 * A packet is 12 bytes, copied out of the data buffer before it is looked at. Data phases go by PIO
 * in blocks no longer than the byte count the host wrote, or by DMA. Medium sectors are 2048 bytes;
 * READ CD may ask for raw ones of 2352, which are made up around the data.
 *
 * After a change of medium the next command that touches it fails once with UNIT ATTENTION.
 *
 * Left out: audio play (the drive says it cannot), changers, writing.
 * Reference: SFF-8020i (transport), MMC-3 (commands), SPC-2 (INQUIRY, REQUEST SENSE, MODE SENSE).
 */
#include "hw/ide/ide-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <string.h>

enum {
    MEDIUM = 1,    /* needs a medium in a closed tray */
    ATTENTION = 2, /* works while a unit attention is pending, and leaves it pending */
};

/* What answers without a word of its own is in hw/scsi/mmc.c. */
struct packet_cmd {
    uint8_t code, flags;
    void (*run)(struct ide_drive *d);
    const char *name;
};

struct mmc ide_mmc(struct ide_drive *d)
{
    return (struct mmc){ .blk = d->blk,
                         .packet = d->packet,
                         .serial = d->serial,
                         .model = d->model,
                         .ver = d->ver,
                         .atapi = true,
                         .media_event = &d->media_event,
                         .unit_attention = &d->unit_attention };
}

/* Ends. */

static void atapi_status(struct ide_drive *d, uint8_t status)
{
    ide_stop(d);
    d->tf.nsect = IR_CD | IR_IO;
    d->status = status;
    ide_raise_irq(d->ch);
}

static void atapi_ok(struct ide_drive *d)
{
    d->error = 0;
    atapi_status(d, ST_DRDY | ST_DSC);
}

static void atapi_check(struct ide_drive *d, struct scsi_sense sense)
{
    d->sense = sense;
    d->error = (uint8_t)(sense.key << 4);
    atapi_status(d, ST_DRDY | ST_DSC | ST_ERR);
}

/* Data phases. */

/* The host's limit for one DRQ block. Only the last block may be odd, so an odd limit is rounded
 * down; 0 means the most there is. */
static uint32_t atapi_limit(const struct ide_drive *d)
{
    uint32_t limit = d->tf.lbam | (uint32_t)d->tf.lbah << 8;

    if (limit == 0 || limit == 0xffff) {
        return 0xfffe;
    }
    return limit == 1 ? 2 : limit & ~1u;
}

static void atapi_put_count(struct ide_drive *d, uint32_t n)
{
    d->tf.lbam = (uint8_t)n;
    d->tf.lbah = (uint8_t)(n >> 8);
}

static void atapi_present(struct ide_drive *d)
{
    uint32_t left = d->fill - d->pos;

    atapi_put_count(d, left < d->block ? left : d->block);
    d->tf.nsect = IR_IO;
    ide_pio_in(d);
}

/* d->buf[0, len) goes to the host; when the last of it went, atapi_block_done. */
static void atapi_send(struct ide_drive *d, enum ide_xfer xfer, uint32_t len)
{
    d->xfer = (uint8_t)xfer;
    if (d->packet_dma) {
        d->dma_len = len;
        bmdma_wait(d);
        return;
    }
    d->pos = 0;
    d->fill = len;
    atapi_present(d);
}

/* The whole reply is in d->buf: len bytes, of which the host wants no more than room. */
static void atapi_reply(struct ide_drive *d, uint32_t len, uint32_t room)
{
    uint32_t n = len < room ? len : room;

    if (n == 0) {
        atapi_ok(d);
    } else {
        atapi_send(d, XFER_CD_REPLY, n);
    }
}

/* Asks for a parameter list of len bytes. */
static void atapi_receive(struct ide_drive *d, uint32_t len)
{
    if (len == 0) {
        atapi_ok(d);
        return;
    }
    if (len > IDE_BUF_BYTES || (!d->packet_dma && len > d->block)) {
        atapi_check(d, SENSE_BAD_FIELD);
        return;
    }
    d->xfer = XFER_CD_PARAM;
    if (d->packet_dma) {
        d->dma_len = len;
        bmdma_wait(d);
        return;
    }
    atapi_put_count(d, len);
    d->tf.nsect = 0;
    ide_pio_out(d, len);
    ide_raise_irq(d->ch);
}

/* Reading the medium. */

static void atapi_read_failed(struct ide_drive *d, int ret)
{
    atapi_check(d, ret == -ENOMEDIUM ? SENSE_NO_MEDIUM : SENSE_READ_ERROR);
}

static void atapi_loaded(struct blk_req *r, int ret)
{
    struct ide_drive *d = r->opaque;
    uint32_t n = (uint32_t)(d->io_bytes / CD_SECTOR);

    if (ret < 0) {
        atapi_read_failed(d, ret);
        return;
    }
    if (d->xfer == XFER_CD_RAW) {
        uint8_t data[CD_SECTOR];

        memcpy(data, d->buf, sizeof(data));
        mmc_raw_sector((uint32_t)d->lba, data, d->buf);
    }
    d->lba += n;
    d->left -= n;
    atapi_send(d, d->xfer, d->xfer == XFER_CD_RAW ? CD_RAW_SECTOR : n * CD_SECTOR);
}

/* The next sectors by PIO, or the next raw one by either road. */
static void atapi_load(struct ide_drive *d)
{
    uint32_t most = d->xfer == XFER_CD_RAW ? 1 : IDE_BUF_BYTES / CD_SECTOR;
    uint32_t n = d->left < most ? d->left : most;

    ide_io(d, BLK_READ, d->lba * CD_SECTOR, (uint64_t)n * CD_SECTOR, atapi_loaded);
}

static void atapi_read(struct ide_drive *d, uint32_t lba, uint32_t n, bool raw)
{
    uint32_t total = mmc_sectors(d->blk);

    if (n > total || lba > total - n) {
        atapi_check(d, SENSE_BAD_LBA);
        return;
    }
    if (n == 0) {
        atapi_ok(d);
        return;
    }
    d->xfer = raw ? XFER_CD_RAW : XFER_CD_READ;
    d->lba = lba;
    d->left = n;
    if (d->packet_dma && !raw) {
        d->dma_offset = (uint64_t)lba * CD_SECTOR;
        d->dma_len = (uint64_t)n * CD_SECTOR;
        bmdma_wait(d);
    } else {
        atapi_load(d);
    }
}

/* Parameter lists: pages are accepted, none of them changes what this drive does. */
static void atapi_params(struct ide_drive *d)
{
    atapi_ok(d);
}

void atapi_block_done(struct ide_drive *d)
{
    if (d->xfer == XFER_CD_PARAM) {
        atapi_params(d);
    } else if (d->end < d->fill) {
        atapi_present(d);
    } else if (d->xfer != XFER_CD_REPLY && d->left) {
        atapi_load(d);
    } else {
        atapi_ok(d);
    }
}

void atapi_dma_done(struct ide_drive *d, enum bm_end end)
{
    if (end == BM_IO_ERROR) {
        atapi_read_failed(d, blk_present(d->blk) ? -EIO : -ENOMEDIUM);
    } else if (end == BM_SHORT) {
        ide_end(d, false);
    } else if (end != BM_OK) {
        atapi_check(d, SENSE_ABORTED);
    } else if (d->xfer == XFER_CD_RAW && d->left) {
        atapi_load(d);
    } else {
        atapi_ok(d);
    }
}

/* Commands. */

static void cmd_test_unit_ready(struct ide_drive *d)
{
    atapi_ok(d);
}

static void cmd_request_sense(struct ide_drive *d)
{
    struct scsi_sense sense = d->sense;

    if (d->unit_attention && sense.key == 0) {
        sense = SENSE_MEDIUM_CHANGED;
        d->unit_attention = false;
    }
    sense_fixed(sense, d->buf);
    d->sense = SENSE_NONE;
    atapi_reply(d, SENSE_BYTES, d->packet[4]);
}

static void cmd_read_6(struct ide_drive *d)
{
    uint32_t lba = (uint32_t)(d->packet[1] & 0x1f) << 16 | load_be16(d->packet + 2);

    atapi_read(d, lba, d->packet[4] ? d->packet[4] : 256, false);
}

static void cmd_read_10(struct ide_drive *d)
{
    atapi_read(d, load_be32(d->packet + 2), load_be16(d->packet + 7), false);
}

static void cmd_read_12(struct ide_drive *d)
{
    atapi_read(d, load_be32(d->packet + 2), load_be32(d->packet + 6), false);
}

/* Byte 9 says which parts of a sector: user data alone, or all of it. */
static void cmd_read_cd(struct ide_drive *d)
{
    uint32_t n = load_be32(d->packet + 5) & 0xffffff;
    uint8_t parts = d->packet[9] & 0xf8;

    if (n == 0 || parts == 0) {
        atapi_ok(d);
    } else if (parts == 0x10) {
        atapi_read(d, load_be32(d->packet + 2), n, false);
    } else if (parts == 0xf8) {
        atapi_read(d, load_be32(d->packet + 2), n, true);
    } else {
        atapi_check(d, SENSE_BAD_FIELD);
    }
}

static void cmd_seek(struct ide_drive *d)
{
    if (load_be32(d->packet + 2) >= mmc_sectors(d->blk)) {
        atapi_check(d, SENSE_BAD_LBA);
    } else {
        atapi_ok(d);
    }
}

static void cmd_mode_select_6(struct ide_drive *d)
{
    atapi_receive(d, d->packet[4]);
}

static void cmd_mode_select_10(struct ide_drive *d)
{
    atapi_receive(d, load_be16(d->packet + 7));
}

static void cmd_prevent(struct ide_drive *d)
{
    blk_set_locked(d->blk, d->packet[4] & 1);
    atapi_ok(d);
}

static void cmd_start_stop(struct ide_drive *d)
{
    struct mmc c = ide_mmc(d);
    struct scsi_sense sense = mmc_start_stop(&c);

    if (sense.key) {
        atapi_check(d, sense);
    } else {
        atapi_ok(d);
    }
}

static void cmd_nothing(struct ide_drive *d)
{
    atapi_ok(d);
}

static const struct packet_cmd packet_cmds[] = {
    /* code, needs, what, name */
    { 0x00, MEDIUM, cmd_test_unit_ready, "TEST UNIT READY" },
    { 0x03, ATTENTION, cmd_request_sense, "REQUEST SENSE" },
    { 0x08, MEDIUM, cmd_read_6, "READ (6)" },
    { 0x15, 0, cmd_mode_select_6, "MODE SELECT (6)" },
    { 0x1b, 0, cmd_start_stop, "START STOP UNIT" },
    { 0x1e, 0, cmd_prevent, "PREVENT ALLOW MEDIUM REMOVAL" },
    { 0x28, MEDIUM, cmd_read_10, "READ (10)" },
    { 0x2b, MEDIUM, cmd_seek, "SEEK (10)" },
    { 0x35, 0, cmd_nothing, "SYNCHRONIZE CACHE" },
    { 0x55, 0, cmd_mode_select_10, "MODE SELECT (10)" },
    { 0xa8, MEDIUM, cmd_read_12, "READ (12)" },
    { 0xbb, 0, cmd_nothing, "SET CD SPEED" },
    { 0xbe, MEDIUM, cmd_read_cd, "READ CD" },
};

/* Whether the drive is in a state to do a command at all; if not the command has failed. */
static bool atapi_may(struct ide_drive *d, bool medium, bool attention)
{
    if (d->unit_attention && !attention) {
        d->unit_attention = false;
        atapi_check(d, SENSE_MEDIUM_CHANGED);
        return false;
    }
    if (medium && !mmc_ready(d->blk)) {
        atapi_check(d, blk_tray_open(d->blk) ? SENSE_TRAY_OPEN : SENSE_NO_MEDIUM);
        return false;
    }
    if (!attention) {
        d->sense = SENSE_NONE;
    }
    return true;
}

static void atapi_answer(struct ide_drive *d, const struct mmc_reply *r)
{
    struct mmc c = ide_mmc(d);
    uint32_t len = r->make(&c, d->buf);

    if (len == 0 || len == MMC_NO_SAVING) {
        atapi_check(d, len ? SENSE_NO_SAVING : SENSE_BAD_FIELD);
    } else {
        atapi_reply(d, len, mmc_room(&c, r));
    }
}

void atapi_packet(struct ide_drive *d)
{
    memcpy(d->packet, d->buf, sizeof(d->packet));
    d->pos = d->end = d->fill = 0;
    d->block = atapi_limit(d);
    const struct mmc_reply *r = mmc_reply_find(d->packet[0]);
    if (r) {
        if (atapi_may(d, r->medium, r->attention)) {
            atapi_answer(d, r);
        }
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(packet_cmds); i++) {
        const struct packet_cmd *c = &packet_cmds[i];
        if (c->code == d->packet[0]) {
            if (atapi_may(d, c->flags & MEDIUM, c->flags & ATTENTION)) {
                c->run(d);
            }
            return;
        }
    }
    atapi_check(d, SENSE_BAD_COMMAND);
}

void atapi_start_packet(struct ide_drive *d)
{
    if (d->tf.feature & 2) { /* overlapped */
        ide_abort(d);
        return;
    }
    d->packet_dma = d->tf.feature & 1;
    d->tf.nsect = IR_CD;
    ide_pio_out(d, sizeof(d->packet));
    d->phase = PHASE_PACKET;
}
