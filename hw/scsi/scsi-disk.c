/* SPDX-License-Identifier: MIT */
/* hw/scsi/scsi-disk.c - a hard disk's commands (SBC-3, SPC-3).
 *
 * Left out: protection information, FORMAT UNIT, reservations across initiators (there is one, so
 * reserving always works), defect lists, WRITE BUFFER.
 */
#include "hw/scsi/scsi-int.h"

#include <stdlib.h>

/* Address and count as the four sizes of a command have them. */
static uint64_t lba_of(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0:
        return (uint32_t)(cdb[1] & 0x1f) << 16 | load_be16(cdb + 2);
    case 4:
        return (uint64_t)load_be32(cdb + 2) << 32 | load_be32(cdb + 6);
    default:
        return load_be32(cdb + 2);
    }
}

static uint32_t count_of(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0:
        return cdb[4] ? cdb[4] : 256;
    case 4:
        return load_be32(cdb + 10);
    case 5:
        return load_be32(cdb + 6);
    default:
        return load_be16(cdb + 7);
    }
}

static void cmd_nothing(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_good(r);
}

static void cmd_read(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    if (r->cdb[0] >= 0x20 && r->cdb[1] & 0xe0) { /* RDPROTECT */
        scsi_check(r, SENSE_BAD_FIELD);
    } else {
        scsi_read_blocks(r, lba_of(r->cdb), count_of(r->cdb), SCSI_BLOCK);
    }
}

static void cmd_write(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    if (r->cdb[0] >= 0x20 && r->cdb[1] & 0xe0) { /* WRPROTECT */
        scsi_check(r, SENSE_BAD_FIELD);
    } else {
        scsi_write_blocks(r, lba_of(r->cdb), count_of(r->cdb));
    }
}

/* VERIFY without data: the medium is as good as its file. */
static void cmd_verify(struct scsi_req *r, struct scsi_dev *d)
{
    uint64_t lba = lba_of(r->cdb), all = scsi_blocks(d);
    if (r->cdb[1] & 0xe6) { /* VRPROTECT, BYTCHK */
        scsi_check(r, SENSE_BAD_FIELD);
    } else if (lba > all || count_of(r->cdb) > all - lba) {
        scsi_check(r, SENSE_BAD_LBA);
    } else {
        scsi_good(r);
    }
}

static void cmd_seek(struct scsi_req *r, struct scsi_dev *d)
{
    if (lba_of(r->cdb) >= scsi_blocks(d)) {
        scsi_check(r, SENSE_BAD_LBA);
    } else {
        scsi_good(r);
    }
}

static void cmd_flush(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_io(r, BLK_FLUSH, 0, 0, scsi_io_done);
}

static void cmd_inquiry(struct scsi_req *r, struct scsi_dev *d)
{
    uint32_t len = scsi_inquiry(d, r->cdb, r->window);
    if (len) {
        scsi_reply(r, len, load_be16(r->cdb + 3));
    } else {
        scsi_check(r, SENSE_BAD_FIELD);
    }
}

static void cmd_mode_sense(struct scsi_req *r, struct scsi_dev *d)
{
    uint32_t len;
    if (r->cdb[2] >> 6 == 3) {
        scsi_check(r, SENSE_NO_SAVING);
        return;
    }
    len = scsi_mode_sense(d, r->cdb, r->window);
    if (len) {
        scsi_reply(r, len, r->cdb[0] == 0x1a ? r->cdb[4] : load_be16(r->cdb + 7));
    } else {
        scsi_check(r, SENSE_BAD_FIELD);
    }
}

static void cmd_mode_select(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    if (r->cdb[1] & 1) { /* save pages */
        scsi_check(r, SENSE_BAD_FIELD);
    } else {
        scsi_receive(r, r->cdb[0] == 0x15 ? r->cdb[4] : load_be16(r->cdb + 7));
    }
}

static void cmd_capacity_10(struct scsi_req *r, struct scsi_dev *d)
{
    uint64_t last = scsi_blocks(d) - 1;
    store_be32(r->window, (uint32_t)min_u64(last, UINT32_MAX));
    store_be32(r->window + 4, SCSI_BLOCK);
    scsi_reply(r, 8, 8);
}

/* SERVICE ACTION IN (16): READ CAPACITY (16) is the only one. */
static void cmd_service_in(struct scsi_req *r, struct scsi_dev *d)
{
    unsigned per_physical = d->physical / SCSI_BLOCK;
    if ((r->cdb[1] & 0x1f) != 0x10) {
        scsi_check(r, SENSE_BAD_FIELD);
        return;
    }
    memset(r->window, 0, 32);
    store_be64(r->window, scsi_blocks(d) - 1);
    store_be32(r->window + 8, SCSI_BLOCK);
    r->window[13] = (uint8_t)__builtin_ctz(per_physical);
    r->window[14] = 0x80; /* LBPME: blocks can be unmapped */
    scsi_reply(r, 32, load_be32(r->cdb + 10));
}

/* ---- giving blocks back ---- */

static bool writable_range(struct scsi_req *r, struct scsi_dev *d, uint64_t lba, uint64_t n)
{
    uint64_t all = scsi_blocks(d);
    if (blk_read_only(d->blk)) {
        scsi_check(r, SENSE_WRITE_PROTECTED);
        return false;
    }
    if (lba > all || n > all - lba) {
        scsi_check(r, SENSE_BAD_LBA);
        return false;
    }
    return true;
}

static void unmap_done(struct blk_req *q, int ret);

/* Discards the next range that has a length. A discard is a hint: one that fails changes nothing. */
static void next_unmap(struct scsi_req *r)
{
    while (r->range < r->len / 16) {
        const uint8_t *p = r->own + 16 * r->range++;
        uint64_t lba = (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
        uint32_t n = load_be32(p + 8);
        if (n) {
            scsi_io(r, BLK_DISCARD, lba * SCSI_BLOCK, (uint64_t)n * SCSI_BLOCK, unmap_done);
            return;
        }
    }
    scsi_good(r);
}

static void unmap_done(struct blk_req *q, int ret)
{
    struct scsi_req *r = q->opaque;
    (void)ret;
    next_unmap(r);
    if (r->state == SCSI_DONE) {
        r->ready(r);
    }
}

/* The parameter list of UNMAP has arrived (SBC-3 5.28). */
static void unmap(struct scsi_req *r, struct scsi_dev *d)
{
    uint32_t len = r->len >= 8 ? load_be16(r->window + 2) : 0;
    if (r->len < 8 || len % 16 || len + 8 > r->len || len / 16 > SCSI_UNMAP_RANGES) {
        scsi_check(r, SENSE_BAD_PARAMETER);
        return;
    }
    for (uint32_t i = 0; i < len / 16; i++) {
        const uint8_t *p = r->window + 8 + 16 * i;
        uint64_t lba = (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
        if (!writable_range(r, d, lba, load_be32(p + 8))) {
            return;
        }
    }
    r->own = malloc(len + 1);
    if (!r->own) {
        scsi_check(r, SENSE(KEY_HARDWARE_ERROR, 0x44, 0x00));
        return;
    }
    memcpy(r->own, r->window + 8, len);
    r->len = len;
    r->range = 0;
    next_unmap(r);
}

static void cmd_unmap(struct scsi_req *r, struct scsi_dev *d)
{
    (void)d;
    scsi_receive(r, load_be16(r->cdb + 7));
}

static void same_done(struct blk_req *q, int ret);

/* WRITE SAME in pieces of a window, each full of the one block. */
static void next_same(struct scsi_req *r)
{
    scsi_io(r, BLK_WRITE, r->offset, min_u64(r->left, SCSI_WINDOW), same_done);
}

static void same_done(struct blk_req *q, int ret)
{
    struct scsi_req *r = q->opaque;
    r->offset += q->len;
    r->left -= q->len;
    if (ret == 0 && r->left) {
        next_same(r);
    } else {
        scsi_io_done(q, ret);
    }
}

/* The block is in the window. The UNMAP bit is a hint, and not taken: a raw image does not promise that
 * what it gave back reads as that block. */
static void write_same(struct scsi_req *r, struct scsi_dev *d)
{
    uint64_t lba = lba_of(r->cdb), n = count_of(r->cdb);
    n = n ? n : scsi_blocks(d) - min_u64(lba, scsi_blocks(d));
    if (!writable_range(r, d, lba, n)) {
        return;
    }
    if (n > SCSI_WS_MAX) {
        scsi_check(r, SENSE_BAD_FIELD);
        return;
    }
    r->own = n ? malloc(SCSI_WINDOW) : NULL;
    if (!r->own) {
        scsi_check(r, n ? SENSE(KEY_HARDWARE_ERROR, 0x44, 0x00) : SENSE_BAD_LBA);
        return;
    }
    for (unsigned i = 0; i < SCSI_WINDOW / SCSI_BLOCK; i++) {
        memcpy(r->own + i * SCSI_BLOCK, r->window, SCSI_BLOCK);
    }
    r->offset = lba * SCSI_BLOCK;
    r->left = n * SCSI_BLOCK;
    next_same(r);
}

static void cmd_write_same(struct scsi_req *r, struct scsi_dev *d)
{
    bool none = r->cdb[0] == 0x93 && (r->cdb[1] & 1); /* NDOB: a block of zeros */
    if (r->cdb[1] & 0xe0) {                           /* WRPROTECT */
        scsi_check(r, SENSE_BAD_FIELD);
    } else if (none) {
        memset(r->window, 0, SCSI_BLOCK);
        write_same(r, d);
    } else {
        scsi_receive(r, SCSI_BLOCK);
    }
}

void scsi_disk_parameters(struct scsi_req *r, struct scsi_dev *d)
{
    switch (r->cdb[0]) {
    case 0x41:
    case 0x93:
        write_same(r, d);
        break;
    case 0x42:
        unmap(r, d);
        break;
    default: /* a CD drive's pages change nothing */
        if (d->cd || scsi_mode_select(d, r->cdb, r->window, r->len)) {
            scsi_good(r);
        } else {
            scsi_check(r, SENSE_BAD_PARAMETER);
        }
    }
}

const struct scsi_cmd scsi_disk_cmds[] = {
    { 0x00, 0, cmd_nothing }, /* TEST UNIT READY */
    { 0x08, 0, cmd_read },
    { 0x0a, 0, cmd_write },
    { 0x12, SCSI_ATTENTION, cmd_inquiry },
    { 0x15, 0, cmd_mode_select },
    { 0x16, 0, cmd_nothing }, /* RESERVE (6) */
    { 0x17, 0, cmd_nothing }, /* RELEASE (6) */
    { 0x1a, 0, cmd_mode_sense },
    { 0x1b, 0, cmd_nothing }, /* START STOP UNIT */
    { 0x1d, 0, cmd_nothing }, /* SEND DIAGNOSTIC: the self-test passes */
    { 0x1e, 0, cmd_nothing }, /* PREVENT ALLOW MEDIUM REMOVAL */
    { 0x25, 0, cmd_capacity_10 },
    { 0x28, 0, cmd_read },
    { 0x2a, 0, cmd_write },
    { 0x2b, 0, cmd_seek },
    { 0x2e, 0, cmd_write }, /* WRITE AND VERIFY */
    { 0x2f, 0, cmd_verify },
    { 0x35, 0, cmd_flush }, /* SYNCHRONIZE CACHE (10) */
    { 0x41, 0, cmd_write_same },
    { 0x42, 0, cmd_unmap },
    { 0x55, 0, cmd_mode_select },
    { 0x5a, 0, cmd_mode_sense },
    { 0x88, 0, cmd_read },
    { 0x8a, 0, cmd_write },
    { 0x8e, 0, cmd_write },
    { 0x8f, 0, cmd_verify },
    { 0x91, 0, cmd_flush }, /* SYNCHRONIZE CACHE (16) */
    { 0x93, 0, cmd_write_same },
    { 0x9e, 0, cmd_service_in },
    { 0xa8, 0, cmd_read },
    { 0xaa, 0, cmd_write },
    { 0xae, 0, cmd_write },
    { 0xaf, 0, cmd_verify },
    { 0, 0, NULL },
};
