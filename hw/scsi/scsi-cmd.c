/* SPDX-License-Identifier: MIT */
/* hw/scsi/scsi-cmd.c - a SCSI command's life, and what disks and CD drives do alike.
 *
 * Lengths of a transfer are 64-bit and checked against the medium before anything starts; data move in
 * chunks, so memory is bounded whatever a command asks for. Reference: SAM-3, SPC-3, SBC-3.
 */
#include "hw/scsi/scsi-int.h"

#include <errno.h>
#include <stdlib.h>

/* ---- ends ---- */

static void finish(struct scsi_req *r, uint8_t status)
{
    free(r->own);
    r->own = NULL;
    r->data = NULL;
    r->dir = SCSI_NONE;
    r->pos = r->len = 0;
    r->state = SCSI_DONE;
    r->status = status;
}

struct scsi_dev *scsi_dev_of(const struct scsi_req *r)
{
    return scsi_at(r->bus, r->target, r->lun);
}

void scsi_good(struct scsi_req *r)
{
    finish(r, SCSI_GOOD);
}

void scsi_check(struct scsi_req *r, struct scsi_sense sense)
{
    struct scsi_dev *d = scsi_dev_of(r);
    if (d) {
        d->sense = sense;
    }
    finish(r, SCSI_CHECK);
}

void scsi_reply(struct scsi_req *r, uint32_t len, uint32_t room)
{
    r->kind = SCSI_REPLY;
    r->dir = SCSI_IN;
    r->data = r->window;
    r->pos = 0;
    r->len = len < room ? len : room;
    r->state = SCSI_DATA;
    if (r->len == 0) {
        scsi_good(r);
    }
}

void scsi_receive(struct scsi_req *r, uint32_t len)
{
    if (len > SCSI_WINDOW) {
        scsi_check(r, SENSE_BAD_FIELD);
        return;
    }
    r->kind = SCSI_PARAMETERS;
    r->dir = SCSI_OUT;
    r->data = r->window;
    r->pos = 0;
    r->len = len;
    r->state = SCSI_DATA;
    if (len == 0) {
        scsi_good(r);
    }
}

/* ---- the medium ---- */

struct scsi_sense scsi_sense_of(int ret, bool write)
{
    switch (ret) {
    case -ENOMEDIUM:
        return SENSE_NO_MEDIUM;
    case -EROFS:
        return SENSE_WRITE_PROTECTED;
    case -ENOSPC:
        return SENSE_NO_SPACE;
    default:
        return write ? SENSE_WRITE_ERROR : SENSE_READ_ERROR;
    }
}

void scsi_io(struct scsi_req *r, enum blk_op op, uint64_t offset, uint64_t len,
             void (*done)(struct blk_req *q, int ret))
{
    r->io = (struct blk_req){ .op = op, .offset = offset, .len = len, .done = done, .opaque = r };
    if (op == BLK_READ || op == BLK_WRITE) {
        r->iov = (struct iovec){ r->own, len };
        r->io.iov = &r->iov;
        r->io.iovcnt = 1;
    }
    r->state = SCSI_WAIT;
    blk_submit(scsi_dev_of(r)->blk, &r->io);
}

void scsi_io_done(struct blk_req *q, int ret)
{
    struct scsi_req *r = q->opaque;
    if (ret < 0) {
        scsi_check(r, scsi_sense_of(ret, true));
    } else {
        scsi_good(r);
    }
    r->ready(r);
}

static bool take_own(struct scsi_req *r, uint32_t len)
{
    free(r->own);
    r->own = malloc(len);
    if (!r->own) {
        scsi_check(r, SENSE(KEY_HARDWARE_ERROR, 0x44, 0x00));
    }
    return r->own;
}

static void read_done(struct blk_req *q, int ret)
{
    struct scsi_req *r = q->opaque;
    if (ret < 0) {
        scsi_check(r, scsi_sense_of(ret, false));
    } else {
        r->data = r->own;
        r->state = SCSI_DATA;
    }
    r->ready(r);
}

void scsi_reload(struct scsi_req *r)
{
    if (take_own(r, r->len)) {
        scsi_io(r, BLK_READ, r->offset, r->len, read_done);
    }
}

static void next_read(struct scsi_req *r)
{
    r->pos = 0;
    r->len = (uint32_t)min_u64(r->left, SCSI_READ_MAX);
    scsi_reload(r);
}

static void next_write(struct scsi_req *r)
{
    r->pos = 0;
    r->len = (uint32_t)min_u64(r->left, SCSI_WINDOW);
    r->data = r->window;
    r->state = SCSI_DATA;
}

/* FUA, or no write cache: it is over when it is on stable storage. The bit is where all but the six-byte
 * form have it. */
static bool must_flush(const struct scsi_req *r)
{
    return (r->cdb[0] >= 0x20 && (r->cdb[1] & 0x08)) || !scsi_dev_of(r)->write_cache;
}

static void write_done(struct blk_req *q, int ret)
{
    struct scsi_req *r = q->opaque;
    if (ret < 0) {
        scsi_check(r, scsi_sense_of(ret, true));
        r->ready(r);
        return;
    }
    r->offset += r->len;
    r->left -= r->len;
    if (r->left) {
        next_write(r);
    } else if (must_flush(r)) {
        scsi_io(r, BLK_FLUSH, 0, 0, scsi_io_done);
        return;
    } else {
        scsi_good(r);
    }
    r->ready(r);
}

static void write_chunk(struct scsi_req *r)
{
    if (take_own(r, r->len)) {
        memcpy(r->own, r->window, r->len);
        r->data = NULL;
        scsi_io(r, BLK_WRITE, r->offset, r->len, write_done);
    }
}

static bool range_ok(struct scsi_req *r, uint64_t lba, uint64_t n, uint32_t block)
{
    uint64_t all = blk_len(scsi_dev_of(r)->blk) / block;
    if (lba > all || n > all - lba) {
        scsi_check(r, SENSE_BAD_LBA);
        return false;
    }
    if (n == 0) {
        scsi_good(r);
        return false;
    }
    r->offset = lba * block;
    r->left = n * block;
    return true;
}

void scsi_read_blocks(struct scsi_req *r, uint64_t lba, uint64_t n, uint32_t block)
{
    if (range_ok(r, lba, n, block)) {
        r->kind = SCSI_READ;
        r->dir = SCSI_IN;
        next_read(r);
    }
}

void scsi_write_blocks(struct scsi_req *r, uint64_t lba, uint64_t n)
{
    if (blk_read_only(scsi_dev_of(r)->blk)) {
        scsi_check(r, SENSE_WRITE_PROTECTED);
    } else if (range_ok(r, lba, n, SCSI_BLOCK)) {
        r->kind = SCSI_WRITE;
        r->dir = SCSI_OUT;
        next_write(r);
    }
}

void scsi_moved(struct scsi_req *r)
{
    switch (r->kind) {
    case SCSI_READ:
        r->offset += r->len;
        r->left -= r->len;
        r->data = NULL;
        if (r->left) {
            next_read(r);
        } else {
            scsi_good(r);
        }
        break;
    case SCSI_WRITE:
        write_chunk(r);
        break;
    case SCSI_PARAMETERS:
        scsi_disk_parameters(r, scsi_dev_of(r));
        break;
    default:
        scsi_good(r);
    }
}

void scsi_cancel(struct scsi_req *r)
{
    if (r->state == SCSI_WAIT) {
        blk_cancel(&r->io);
    }
    finish(r, SCSI_GOOD);
    r->state = SCSI_IDLE;
}

/* ---- commands of all devices ---- */

static void report_luns(struct scsi_req *r)
{
    uint32_t at = 8;
    memset(r->window, 0, 8 + 8 * SCSI_LUNS);
    for (unsigned lun = 0; lun < SCSI_LUNS; lun++) {
        if (lun == 0 || scsi_at(r->bus, r->target, lun)) {
            r->window[at + 1] = (uint8_t)lun;
            at += 8;
        }
    }
    store_be32(r->window, at - 8);
    scsi_reply(r, at, load_be32(r->cdb + 6));
}

static void request_sense(struct scsi_req *r, struct scsi_dev *d)
{
    struct scsi_sense sense = d ? d->sense : SENSE_BAD_LUN;
    if (d && sense.key == 0 && d->power_on) {
        sense = SENSE_POWER_ON;
        d->power_on = false;
    } else if (d && sense.key == 0 && d->unit_attention) {
        sense = d->cd ? SENSE_MEDIUM_CHANGED : SENSE_CAPACITY_CHANGED;
        d->unit_attention = false;
    }
    if (d) {
        d->sense = SENSE_NONE;
    }
    sense_fixed(sense, r->window);
    scsi_reply(r, SENSE_BYTES, r->cdb[4]);
}

/* A LUN that is not there: SPC-3 4.5.2 lets it answer these alone. */
static void start_nobody(struct scsi_req *r)
{
    switch (r->cdb[0]) {
    case 0x12:
        memset(r->window, 0, 36);
        r->window[0] = 0x7f;
        r->window[4] = 31;
        scsi_reply(r, 36, load_be16(r->cdb + 3));
        break;
    case 0x03:
        request_sense(r, NULL);
        break;
    case 0xa0:
        report_luns(r);
        break;
    default:
        scsi_check(r, SENSE_BAD_LUN);
    }
}

/* ---- CD drives ---- */

static void cd_nothing(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_good(r);
}

static void cd_read_6(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_read_blocks(r, (uint32_t)(r->cdb[1] & 0x1f) << 16 | load_be16(r->cdb + 2),
                     r->cdb[4] ? r->cdb[4] : 256, MMC_SECTOR);
}

static void cd_read_10(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_read_blocks(r, load_be32(r->cdb + 2), load_be16(r->cdb + 7), MMC_SECTOR);
}

static void cd_read_12(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_read_blocks(r, load_be32(r->cdb + 2), load_be32(r->cdb + 6), MMC_SECTOR);
}

/* Byte 9 says which parts of a sector: user data alone; raw sectors are had on ATAPI only. */
static void cd_read_cd(struct scsi_req *r, struct scsi_dev *d)
{
    uint32_t n = load_be32(r->cdb + 5) & 0xffffff;
    uint8_t parts = r->cdb[9] & 0xf8;
    (void)d;
    if (n == 0 || parts == 0) {
        scsi_good(r);
    } else if (parts == 0x10) {
        scsi_read_blocks(r, load_be32(r->cdb + 2), n, MMC_SECTOR);
    } else {
        scsi_check(r, SENSE_BAD_FIELD);
    }
}

static void cd_seek(struct scsi_req *r, struct scsi_dev *d)
{
    if (load_be32(r->cdb + 2) >= mmc_sectors(d->blk)) {
        scsi_check(r, SENSE_BAD_LBA);
    } else {
        scsi_good(r);
    }
}

static void cd_prevent(struct scsi_req *r, struct scsi_dev *d)
{
    blk_set_locked(d->blk, r->cdb[4] & 1);
    scsi_good(r);
}

static struct mmc mmc_of(struct scsi_dev *d, const uint8_t *cdb)
{
    return (struct mmc){ .blk = d->blk,
                         .packet = cdb,
                         .serial = d->serial ? d->serial : "",
                         .model = d->product,
                         .ver = d->ver,
                         .media_event = &d->media_event,
                         .unit_attention = &d->unit_attention };
}

static void cd_start_stop(struct scsi_req *r, struct scsi_dev *d)
{
    struct mmc c = mmc_of(d, r->cdb);
    struct scsi_sense sense = mmc_start_stop(&c);
    if (sense.key) {
        scsi_check(r, sense);
    } else {
        scsi_good(r);
    }
}

static void mode_select(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_receive(r, r->cdb[0] == 0x15 ? r->cdb[4] : load_be16(r->cdb + 7));
}

static const struct scsi_cmd cd_cmds[] = {
    { 0x00, SCSI_NEEDS_MEDIUM, cd_nothing }, /* TEST UNIT READY */
    { 0x08, SCSI_NEEDS_MEDIUM, cd_read_6 },
    { 0x15, 0, mode_select },
    { 0x1b, 0, cd_start_stop },
    { 0x1e, 0, cd_prevent },
    { 0x28, SCSI_NEEDS_MEDIUM, cd_read_10 },
    { 0x2b, SCSI_NEEDS_MEDIUM, cd_seek },
    { 0x35, 0, cd_nothing }, /* SYNCHRONIZE CACHE */
    { 0x55, 0, mode_select },
    { 0xa8, SCSI_NEEDS_MEDIUM, cd_read_12 },
    { 0xbb, 0, cd_nothing }, /* SET CD SPEED */
    { 0xbe, SCSI_NEEDS_MEDIUM, cd_read_cd },
    { 0, 0, NULL },
};

/* ---- starting ---- */

/* Whether the device is in a state to do a command at all; if not the command has failed. */
static bool may(struct scsi_req *r, struct scsi_dev *d, bool medium, bool attention)
{
    if (d->power_on && !attention) {
        d->power_on = false;
        scsi_check(r, SENSE_POWER_ON);
        return false;
    }
    if (d->unit_attention && !attention) {
        d->unit_attention = false;
        scsi_check(r, d->cd ? SENSE_MEDIUM_CHANGED : SENSE_CAPACITY_CHANGED);
        return false;
    }
    if (d->cd && medium && !mmc_ready(d->blk)) {
        scsi_check(r, blk_tray_open(d->blk) ? SENSE_TRAY_OPEN : SENSE_NO_MEDIUM);
        return false;
    }
    if (!attention) {
        d->sense = SENSE_NONE;
    }
    return true;
}

static void answer_cd(struct scsi_req *r, struct scsi_dev *d, const struct mmc_reply *a)
{
    struct mmc c = mmc_of(d, r->cdb);
    uint32_t len = a->make(&c, r->window);
    if (len == 0 || len == MMC_NO_SAVING) {
        scsi_check(r, len ? SENSE_NO_SAVING : SENSE_BAD_FIELD);
    } else {
        scsi_reply(r, len, mmc_room(&c, a));
    }
}

static void run(struct scsi_req *r, struct scsi_dev *d)
{
    const struct mmc_reply *a = d->cd ? mmc_reply_find(r->cdb[0]) : NULL;
    if (a) {
        if (may(r, d, a->medium, a->attention)) {
            answer_cd(r, d, a);
        }
        return;
    }
    for (const struct scsi_cmd *c = d->cd ? cd_cmds : scsi_disk_cmds; c->run; c++) {
        if (c->code == r->cdb[0]) {
            if (may(r, d, c->flags & SCSI_NEEDS_MEDIUM, c->flags & SCSI_ATTENTION)) {
                c->run(r, d);
            }
            return;
        }
    }
    scsi_check(r, SENSE_BAD_COMMAND);
}

void scsi_start(struct scsi_req *r)
{
    struct scsi_dev *d = scsi_dev_of(r);
    r->own = r->data = NULL;
    r->dir = SCSI_NONE;
    r->kind = SCSI_REPLY;
    r->pos = r->len = 0;
    r->offset = r->left = 0;
    if (!d) {
        start_nobody(r);
    } else if (r->cdb[0] == 0x03) {
        request_sense(r, d);
    } else if (r->cdb[0] == 0xa0) {
        report_luns(r);
    } else {
        run(r, d);
    }
}

/* ---- state ---- */

static bool chunk_sane(const struct scsi_req *r)
{
    uint32_t most = r->kind == SCSI_READ ? SCSI_READ_MAX : SCSI_WINDOW;
    bool medium = r->kind == SCSI_READ || r->kind == SCSI_WRITE;
    if (r->pos > r->len || r->len > most || r->len == 0) {
        return false;
    }
    return !medium ||
           (r->len <= r->left && r->left % SCSI_BLOCK == 0 && r->len % SCSI_BLOCK == 0 &&
            r->offset % SCSI_BLOCK == 0 && r->left < 1ull << 44 && r->offset < 1ull << 62);
}

int scsi_req_loaded(struct scsi_req *r, struct err *e)
{
    static const uint8_t dirs[] = { SCSI_IN, SCSI_IN, SCSI_OUT, SCSI_OUT };
    if (r->state == SCSI_WAIT && r->kind != SCSI_READ) { /* an error held it: its data are gone */
        scsi_check(r, SENSE_ABORTED);
    }
    if (r->state == SCSI_IDLE || r->state == SCSI_DONE) {
        return 0;
    }
    if (r->dir != dirs[r->kind] || !chunk_sane(r) || !scsi_dev_of(r)) {
        return err_set(e, -EINVAL, "a command with %u of %u bytes moved, kind %u, cannot be",
                       r->pos, r->len, r->kind);
    }
    r->state = SCSI_DATA;
    r->data = r->kind == SCSI_READ ? NULL : r->window;
    return 0;
}

#define R(member, lo, hi) FIELD_RANGE(struct scsi_req, member, lo, hi)
const struct state_field scsi_req_state[] = {
    R(target, 0, SCSI_TARGETS - 1), R(lun, 0, SCSI_LUNS - 1),     FIELD_ARRAY(struct scsi_req, cdb),
    R(state, 0, SCSI_DONE),         R(dir, 0, SCSI_OUT),          R(kind, 0, SCSI_KIND_LAST),
    FIELD(struct scsi_req, status), FIELD(struct scsi_req, pos),  FIELD(struct scsi_req, len),
    FIELD(struct scsi_req, offset), FIELD(struct scsi_req, left), FIELD_END,
};
