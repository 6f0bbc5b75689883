/* SPDX-License-Identifier: MIT */
/* hw/block/fdc-cmd.c - commands of the 82078: one table, one function each.
 *
 * A command runs when its last parameter byte is in: fifo[0] is the command byte, the parameters
 * follow. It ends by leaving result bytes in fifo, or starts a data transfer that does.
 *
 * Left out: SCAN, the three tape formats of FORMAT AND WRITE.
 * Reference: Intel 82078 data sheet 290468, chapter 5.
 */
#include "hw/block/fdc-int.h"

#include <string.h>

static void fdc_start_transfer(struct fdc *f, enum transfer t)
{
    f->transfer = (uint8_t)t;
    f->deleted = false;
    f->multi_track = f->fifo[0] & CMD_MT;
    f->unit = f->fifo[1] & 3;
    f->head = f->fifo[1] >> 2 & 1;
    f->cyl = f->fifo[2];
    f->sect = f->fifo[4];
    f->eot = f->fifo[6];
    if (f->fifo[5] != 2 || (f->fifo[3] & 1) != f->head) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return;
    }
    if (t == T_WRITE && fdc_has_medium(f, f->unit) && blk_read_only(f->drive[f->unit].blk)) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_WRITE_PROTECTED, 0);
        return;
    }
    fdc_sector_begin(f);
}

static void cmd_read(struct fdc *f)
{
    fdc_start_transfer(f, T_READ);
}

static void cmd_read_deleted(struct fdc *f)
{
    fdc_start_transfer(f, T_READ);
    f->deleted = f->transfer == T_READ;
}

static void cmd_read_track(struct fdc *f)
{
    f->fifo[0] &= (uint8_t)~CMD_MT;
    f->fifo[4] = 1; /* from the index hole on */
    fdc_start_transfer(f, T_READ);
}

static void cmd_write(struct fdc *f)
{
    fdc_start_transfer(f, T_WRITE);
}

static void cmd_verify(struct fdc *f)
{
    fdc_start_transfer(f, T_VERIFY);
}

static void cmd_format(struct fdc *f)
{
    f->transfer = T_FORMAT;
    f->terminal = false;
    f->unit = f->fifo[1] & 3;
    f->head = f->fifo[1] >> 2 & 1;
    f->cyl = fdc_drive_at(f, f->unit) ? f->drive[f->unit].track : 0;
    f->sect = 1;
    f->sectors_left = f->fifo[3];
    f->filler = f->fifo[5];
    if (f->fifo[2] != 2 || f->sectors_left == 0) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_NO_DATA, 0);
    } else if (fdc_sector_exists(f)) {
        if (blk_read_only(f->drive[f->unit].blk)) {
            fdc_end_transfer(f, ST0_ABNORMAL, ST1_WRITE_PROTECTED, 0);
        } else {
            fdc_data_begin(f, 4);
        }
    }
}

/* The first sector header that passes under the head. */
static void cmd_read_id(struct fdc *f)
{
    f->unit = f->fifo[1] & 3;
    f->head = f->fifo[1] >> 2 & 1;
    f->cyl = fdc_drive_at(f, f->unit) ? f->drive[f->unit].track : 0;
    f->sect = 1;
    if (!fdc_has_medium(f, f->unit)) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_NO_MARK | ST1_NO_DATA, 0);
    } else if (fdc_sector_exists(f)) {
        fdc_end_transfer(f, 0, 0, 0);
    }
}

static void cmd_specify(struct fdc *f)
{
    memcpy(f->specify, f->fifo + 1, 2);
    fdc_result(f, 0);
}

static void cmd_sense_drive(struct fdc *f)
{
    unsigned unit = f->fifo[1] & 3;
    struct fdc_drive *d = fdc_drive_at(f, unit);
    unsigned st3 = ST3_FIXED | (f->fifo[1] & 7);

    if (d && d->track == 0) {
        st3 |= ST3_TRACK0;
    }
    if (d && blk_present(d->blk) && blk_read_only(d->blk)) {
        st3 |= ST3_PROTECTED;
    }
    f->fifo[0] = (uint8_t)st3;
    fdc_result(f, 1);
}

static void fdc_seek_to(struct fdc *f, unsigned unit, uint8_t track, unsigned st0)
{
    struct fdc_drive *d = fdc_drive_at(f, unit);

    if (d) {
        fdc_move_head(d, track);
    }
    f->seek_done[unit] = true;
    f->seek_st0[unit] = (uint8_t)(st0 | unit);
    fdc_result(f, 0);
    fdc_interrupt(f, true);
}

static void cmd_recalibrate(struct fdc *f)
{
    unsigned unit = f->fifo[1] & 3;

    /* A missing drive never shows track 0. */
    fdc_seek_to(f, unit, 0,
                fdc_drive_at(f, unit) ? ST0_SEEK_END : ST0_SEEK_END | ST0_ABNORMAL | 0x10);
}

static void cmd_seek(struct fdc *f)
{
    fdc_seek_to(f, f->fifo[1] & 3, f->fifo[2], ST0_SEEK_END | (f->fifo[1] & 4));
}

static void cmd_relative_seek(struct fdc *f)
{
    struct fdc_drive *d = fdc_drive_at(f, f->fifo[1] & 3);
    unsigned now = d ? d->track : 0, by = f->fifo[2];
    bool inwards = f->fifo[0] & 0x40; /* towards higher tracks */
    unsigned to = inwards ? (now + by > 255 ? 255 : now + by) : (now > by ? now - by : 0);

    fdc_seek_to(f, f->fifo[1] & 3, (uint8_t)to, ST0_SEEK_END | (f->fifo[1] & 4));
}

/* Two bytes about the oldest event, or one that says there is none. */
static void cmd_sense_interrupt(struct fdc *f)
{
    unsigned unit = UNITS;
    uint8_t st0;

    if (f->poll_sense) {
        unit = UNITS - f->poll_sense--;
        st0 = (uint8_t)(ST0_POLL | unit);
    } else {
        for (unit = 0; unit < UNITS && !f->seek_done[unit]; unit++) {
        }
        if (unit == UNITS) {
            f->fifo[0] = ST0_INVALID;
            fdc_result(f, 1);
            return;
        }
        f->seek_done[unit] = false;
        st0 = f->seek_st0[unit];
    }
    fdc_interrupt(f, false);
    f->fifo[0] = st0;
    f->fifo[1] = fdc_drive_at(f, unit) ? f->drive[unit].track : 0;
    fdc_result(f, 2);
}

static void fdc_put_registers(struct fdc *f, uint8_t *out)
{
    for (unsigned i = 0; i < DRIVES; i++) {
        out[i] = f->drive[i].track;
    }
    out[4] = f->specify[0];
    out[5] = f->specify[1];
    out[6] = f->eot;
    out[7] = (uint8_t)((f->locked ? 0x80 : 0) | (f->config[2] & 0x3f));
    out[8] = f->config[0];
    out[9] = f->config[1];
}

static void cmd_dump_registers(struct fdc *f)
{
    memset(f->fifo, 0, sizeof(f->fifo));
    fdc_put_registers(f, f->fifo);
    fdc_result(f, 10);
}

enum { SAVE_BYTES = 16, SAVE_REGISTERS = 2 /* where the same ten bytes start */ };

static void cmd_save(struct fdc *f)
{
    memset(f->fifo, 0, sizeof(f->fifo));
    f->fifo[0] = f->rate;
    fdc_put_registers(f, f->fifo + SAVE_REGISTERS);
    fdc_result(f, SAVE_BYTES);
}

static void cmd_restore(struct fdc *f)
{
    const uint8_t *saved = f->fifo + 1 + SAVE_REGISTERS;

    f->specify[0] = saved[4];
    f->specify[1] = saved[5];
    f->locked = saved[7] & 0x80;
    f->config[2] = saved[7] & 0x3f;
    f->config[0] = saved[8];
    f->config[1] = saved[9];
    fdc_result(f, 0);
}

static void cmd_version(struct fdc *f)
{
    f->fifo[0] = 0x90; /* the enhanced controller */
    fdc_result(f, 1);
}

static void cmd_part_id(struct fdc *f)
{
    f->fifo[0] = 0x41; /* 82078 */
    fdc_result(f, 1);
}

static void cmd_perpendicular(struct fdc *f)
{
    f->config[2] = f->fifo[1] & 0x3f;
    fdc_result(f, 0);
}

static void cmd_configure(struct fdc *f)
{
    f->config[0] = f->fifo[2];
    f->config[1] = f->fifo[3];
    fdc_result(f, 0);
}

static void cmd_lock(struct fdc *f)
{
    f->locked = f->fifo[0] & 0x80;
    f->fifo[0] = f->locked ? 0x10 : 0;
    fdc_result(f, 1);
}

static void cmd_powerdown(struct fdc *f)
{
    f->fifo[0] = f->fifo[1];
    fdc_result(f, 1);
}

static void cmd_option(struct fdc *f)
{
    fdc_result(f, 0);
}

/* DRIVE SPECIFICATION COMMAND: up to four drives, then a byte with bit 7 set; its bit 6 says that
 * no result is wanted. Without that byte the fifth ends the command all the same. */
static void cmd_drive_specification(struct fdc *f)
{
    uint8_t last = f->fifo[f->pos - 1];

    if ((last & 0xc0) == 0x80) {
        memset(f->fifo, 0, 4);
        fdc_result(f, 4);
    } else {
        fdc_result(f, 0);
    }
}

static void cmd_invalid(struct fdc *f)
{
    f->fifo[0] = ST0_INVALID;
    fdc_result(f, 1);
}

static const struct fdc_cmd fdc_cmds[] = {
    /* mask, value, parameters, what, name */
    { 0x9f, 0x02, 8, cmd_read_track, "READ TRACK" },
    { 0xff, 0x03, 2, cmd_specify, "SPECIFY" },
    { 0xff, 0x04, 1, cmd_sense_drive, "SENSE DRIVE STATUS" },
    { 0x3f, 0x05, 8, cmd_write, "WRITE DATA" },
    { 0x1f, 0x06, 8, cmd_read, "READ DATA" },
    { 0xff, 0x07, 1, cmd_recalibrate, "RECALIBRATE" },
    { 0xff, 0x08, 0, cmd_sense_interrupt, "SENSE INTERRUPT STATUS" },
    { 0x3f, 0x09, 8, cmd_write, "WRITE DELETED DATA" },
    { 0xbf, 0x0a, 1, cmd_read_id, "READ ID" },
    { 0x1f, 0x0c, 8, cmd_read_deleted, "READ DELETED DATA" },
    { 0xbf, 0x0d, 5, cmd_format, "FORMAT TRACK" },
    { 0xff, 0x0e, 0, cmd_dump_registers, "DUMPREG" },
    { 0xff, 0x0f, 2, cmd_seek, "SEEK" },
    { 0xff, 0x10, 0, cmd_version, "VERSION" },
    { 0xff, 0x12, 1, cmd_perpendicular, "PERPENDICULAR MODE" },
    { 0xff, 0x13, 3, cmd_configure, "CONFIGURE" },
    { 0x7f, 0x14, 0, cmd_lock, "LOCK" },
    { 0x1f, 0x16, 8, cmd_verify, "VERIFY" },
    { 0xff, 0x17, 1, cmd_powerdown, "POWERDOWN MODE" },
    { 0xff, 0x18, 0, cmd_part_id, "PART ID" },
    { 0xff, 0x2e, 0, cmd_save, "SAVE" },
    { 0xff, 0x33, 1, cmd_option, "OPTION" },
    { 0xff, 0x4e, SAVE_BYTES, cmd_restore, "RESTORE" },
    { 0xff, CMD_DRIVE_SPECIFICATION, 5, cmd_drive_specification, "DRIVE SPECIFICATION" },
    { 0xbf, 0x8f, 2, cmd_relative_seek, "RELATIVE SEEK" },
    { 0x00, 0x00, 0, cmd_invalid, "invalid" },
};

const struct fdc_cmd *fdc_find(uint8_t code)
{
    const struct fdc_cmd *c = fdc_cmds;

    while ((code & c->mask) != c->value) {
        c++;
    }
    return c;
}
