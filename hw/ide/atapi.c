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
    KEY_NOT_READY = 2,
    KEY_MEDIUM_ERROR = 3,
    KEY_ILLEGAL_REQUEST = 5,
    KEY_UNIT_ATTENTION = 6,
    KEY_ABORTED = 0x0b,
};

#define SENSE(key, asc, ascq) ((struct ide_sense){ key, asc, ascq })
#define SENSE_BAD_COMMAND SENSE(KEY_ILLEGAL_REQUEST, 0x20, 0x00)
#define SENSE_BAD_LBA SENSE(KEY_ILLEGAL_REQUEST, 0x21, 0x00)
#define SENSE_BAD_FIELD SENSE(KEY_ILLEGAL_REQUEST, 0x24, 0x00)
#define SENSE_NO_SAVING SENSE(KEY_ILLEGAL_REQUEST, 0x39, 0x00)
#define SENSE_LOCKED SENSE(KEY_ILLEGAL_REQUEST, 0x53, 0x02)
#define SENSE_READ_ERROR SENSE(KEY_MEDIUM_ERROR, 0x11, 0x00)
#define SENSE_MEDIUM_CHANGED SENSE(KEY_UNIT_ATTENTION, 0x28, 0x00)
#define SENSE_NO_MEDIUM SENSE(KEY_NOT_READY, 0x3a, 0x01)
#define SENSE_TRAY_OPEN SENSE(KEY_NOT_READY, 0x3a, 0x02)
#define SENSE_ABORTED SENSE(KEY_ABORTED, 0x4b, 0x00)

enum {
    MEDIUM = 1,    /* needs a medium in a closed tray */
    ATTENTION = 2, /* works while a unit attention is pending, and leaves it pending */
};

struct packet_cmd {
    uint8_t code, flags;
    void (*run)(struct ide_drive *d);
    const char *name;
};

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

static void atapi_check(struct ide_drive *d, struct ide_sense sense)
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
        cd_raw_sector((uint32_t)d->lba, data, d->buf);
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
    uint32_t total = cd_sectors(d);

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
    struct ide_sense sense = d->sense;

    if (d->unit_attention && sense.key == 0) {
        sense = SENSE_MEDIUM_CHANGED;
        d->unit_attention = false;
    }
    memset(d->buf, 0, 18);
    d->buf[0] = 0x70; /* current, fixed format */
    d->buf[2] = sense.key;
    d->buf[7] = 10;
    d->buf[12] = sense.asc;
    d->buf[13] = sense.ascq;
    d->sense = SENSE(0, 0, 0);
    atapi_reply(d, 18, d->packet[4]);
}

static void cmd_inquiry(struct ide_drive *d)
{
    uint32_t len = cd_inquiry(d, d->buf);

    if (len == 0) {
        atapi_check(d, SENSE_BAD_FIELD);
    } else {
        atapi_reply(d, len, load_be16(d->packet + 3));
    }
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
    if (load_be32(d->packet + 2) >= cd_sectors(d)) {
        atapi_check(d, SENSE_BAD_LBA);
    } else {
        atapi_ok(d);
    }
}

static void cmd_capacity(struct ide_drive *d)
{
    store_be32(d->buf, cd_sectors(d) - 1);
    store_be32(d->buf + 4, CD_SECTOR);
    atapi_reply(d, 8, 8);
}

/* A reply made by one of the functions of atapi-data.c; 0 bytes mean an invalid field. */
static void reply_made(struct ide_drive *d, uint32_t (*make)(const struct ide_drive *, uint8_t *),
                       uint32_t room)
{
    uint32_t len = make(d, d->buf);

    if (len == 0) {
        atapi_check(d, SENSE_BAD_FIELD);
    } else {
        atapi_reply(d, len, room);
    }
}

static void cmd_toc(struct ide_drive *d)
{
    reply_made(d, cd_toc, load_be16(d->packet + 7));
}

static void cmd_configuration(struct ide_drive *d)
{
    reply_made(d, cd_configuration, load_be16(d->packet + 7));
}

static void cmd_dvd_structure(struct ide_drive *d)
{
    reply_made(d, cd_dvd_structure, load_be16(d->packet + 8));
}

static void cmd_disc_information(struct ide_drive *d)
{
    reply_made(d, cd_disc_information, load_be16(d->packet + 7));
}

static void cmd_track_information(struct ide_drive *d)
{
    reply_made(d, cd_track_information, load_be16(d->packet + 7));
}

/* No audio is playing, ever. */
static void cmd_subchannel(struct ide_drive *d)
{
    memset(d->buf, 0, 24);
    d->buf[1] = 0x15; /* audio status: nothing to report */
    if (!(d->packet[2] & 0x40)) {
        atapi_reply(d, 4, load_be16(d->packet + 7));
        return;
    }
    d->buf[3] = 20;
    d->buf[4] = d->packet[3];
    switch (d->packet[3]) {
    case 1: /* current position */
        d->buf[3] = 12;
        d->buf[5] = 0x14;
        d->buf[6] = d->buf[7] = 1;
        atapi_reply(d, 16, load_be16(d->packet + 7));
        break;
    case 2: /* media catalogue number, ISRC: none */
    case 3:
        atapi_reply(d, 24, load_be16(d->packet + 7));
        break;
    default:
        atapi_check(d, SENSE_BAD_FIELD);
        break;
    }
}

static void mode_sense(struct ide_drive *d, bool ten, uint32_t room)
{
    uint32_t len;

    if (d->packet[2] >> 6 == 3) { /* saved values */
        atapi_check(d, SENSE_NO_SAVING);
        return;
    }
    len = cd_mode_sense(d, d->buf, d->packet[2] & 0x3f, ten);
    if (len == 0) {
        atapi_check(d, SENSE_BAD_FIELD);
    } else {
        atapi_reply(d, len, room);
    }
}

static void cmd_mode_sense_6(struct ide_drive *d)
{
    mode_sense(d, false, d->packet[4]);
}

static void cmd_mode_sense_10(struct ide_drive *d)
{
    mode_sense(d, true, load_be16(d->packet + 7));
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
    bool load = d->packet[4] & 1, move_tray = d->packet[4] & 2;

    if (d->packet[4] & 0xf0) { /* a power condition, nothing to do with the tray */
        atapi_ok(d);
        return;
    }
    if (move_tray && !load && blk_locked(d->blk)) {
        atapi_check(d, SENSE_LOCKED);
        return;
    }
    if (move_tray && blk_tray_open(d->blk) == load) {
        blk_set_tray(d->blk, !load);
        if (blk_present(d->blk)) {
            d->media_event = load ? CD_EVENT_NEW_MEDIA : CD_EVENT_REMOVAL;
            d->unit_attention = load;
        }
    }
    atapi_ok(d);
}

/* GET EVENT STATUS NOTIFICATION, MMC-3 6.7: polled, and only about media. */
static void cmd_event_status(struct ide_drive *d)
{
    uint32_t room = load_be16(d->packet + 7);

    if (!(d->packet[1] & 1)) { /* asynchronous notification */
        atapi_check(d, SENSE_BAD_FIELD);
        return;
    }
    memset(d->buf, 0, 8);
    d->buf[3] = 1 << 4; /* classes we know: media */
    if (!(d->packet[4] & (1 << 4))) {
        d->buf[1] = 2;
        d->buf[2] = 0x80; /* no event of the classes asked for */
        atapi_reply(d, 4, room);
        return;
    }
    d->buf[1] = 6;
    d->buf[2] = 4;
    d->buf[4] = d->media_event;
    d->buf[5] = (uint8_t)((blk_tray_open(d->blk) ? 1 : 0) | (cd_ready(d) ? 2 : 0));
    if (room > 4) {
        d->media_event = CD_EVENT_NONE; /* told once */
    }
    atapi_reply(d, 8, room);
}

static void cmd_mechanism_status(struct ide_drive *d)
{
    memset(d->buf, 0, 8);
    d->buf[1] = blk_tray_open(d->blk) ? 0x10 : 0;
    d->buf[5] = 1; /* slots */
    atapi_reply(d, 8, load_be16(d->packet + 8));
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
    { 0x12, ATTENTION, cmd_inquiry, "INQUIRY" },
    { 0x15, 0, cmd_mode_select_6, "MODE SELECT (6)" },
    { 0x1a, 0, cmd_mode_sense_6, "MODE SENSE (6)" },
    { 0x1b, 0, cmd_start_stop, "START STOP UNIT" },
    { 0x1e, 0, cmd_prevent, "PREVENT ALLOW MEDIUM REMOVAL" },
    { 0x25, MEDIUM, cmd_capacity, "READ CAPACITY" },
    { 0x28, MEDIUM, cmd_read_10, "READ (10)" },
    { 0x2b, MEDIUM, cmd_seek, "SEEK (10)" },
    { 0x35, 0, cmd_nothing, "SYNCHRONIZE CACHE" },
    { 0x42, MEDIUM, cmd_subchannel, "READ SUB-CHANNEL" },
    { 0x43, MEDIUM, cmd_toc, "READ TOC" },
    { 0x46, ATTENTION, cmd_configuration, "GET CONFIGURATION" },
    { 0x4a, ATTENTION, cmd_event_status, "GET EVENT STATUS NOTIFICATION" },
    { 0x51, MEDIUM, cmd_disc_information, "READ DISC INFORMATION" },
    { 0x52, MEDIUM, cmd_track_information, "READ TRACK INFORMATION" },
    { 0x55, 0, cmd_mode_select_10, "MODE SELECT (10)" },
    { 0x5a, 0, cmd_mode_sense_10, "MODE SENSE (10)" },
    { 0xa8, MEDIUM, cmd_read_12, "READ (12)" },
    { 0xad, MEDIUM, cmd_dvd_structure, "READ DVD STRUCTURE" },
    { 0xbb, 0, cmd_nothing, "SET CD SPEED" },
    { 0xbd, 0, cmd_mechanism_status, "MECHANISM STATUS" },
    { 0xbe, MEDIUM, cmd_read_cd, "READ CD" },
};

static void atapi_run(struct ide_drive *d, const struct packet_cmd *c)
{
    if (d->unit_attention && !(c->flags & ATTENTION)) {
        d->unit_attention = false;
        atapi_check(d, SENSE_MEDIUM_CHANGED);
    } else if ((c->flags & MEDIUM) && !cd_ready(d)) {
        atapi_check(d, blk_tray_open(d->blk) ? SENSE_TRAY_OPEN : SENSE_NO_MEDIUM);
    } else {
        if (!(c->flags & ATTENTION)) {
            d->sense = SENSE(0, 0, 0);
        }
        c->run(d);
    }
}

void atapi_packet(struct ide_drive *d)
{
    memcpy(d->packet, d->buf, sizeof(d->packet));
    d->pos = d->end = d->fill = 0;
    d->block = atapi_limit(d);
    for (size_t i = 0; i < ARRAY_SIZE(packet_cmds); i++) {
        if (packet_cmds[i].code == d->packet[0]) {
            atapi_run(d, &packet_cmds[i]);
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
