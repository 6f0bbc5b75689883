/* SPDX-License-Identifier: MIT */
/* hw/block/fdc-int.h - the floppy controller between its two files: fdc.c is the chip, its
 * registers and the movement of data; fdc-cmd.c the commands.
 */
#ifndef HW_BLOCK_FDC_INT_H
#define HW_BLOCK_FDC_INT_H

#include "block/blk.h"
#include "hw/block/fdc.h"
#include "hw/dma/i8257.h"

enum {
    SECTOR = 512,
    FIFO_BYTES = 17,
    DRIVES = 2,
    UNITS = 4, /* what two bits can select */

    REG_SRA = 0,
    REG_SRB = 1,
    REG_DOR = 2,
    REG_TDR = 3,
    REG_MSR = 4, /* written: DSR */
    REG_FIFO = 5,
    DIR_PORT = 7, /* written: CCR */

    DOR_NRESET = 0x04,
    DOR_DMAGATE = 0x08,
    DSR_RESET = 0x80,
    MSR_RQM = 0x80,
    MSR_DIO = 0x40,
    MSR_NONDMA = 0x20,
    MSR_BUSY = 0x10,
    DIR_CHANGED = 0x80,

    ST0_ABNORMAL = 0x40,
    ST0_INVALID = 0x80,
    ST0_POLL = 0xc0,
    ST0_SEEK_END = 0x20,
    ST0_NOT_READY = 0x08,
    ST1_END = 0x80,
    ST1_DATA_ERROR = 0x20,
    ST1_NO_DATA = 0x04,
    ST1_WRITE_PROTECTED = 0x02,
    ST1_NO_MARK = 0x01,
    ST2_CONTROL_MARK = 0x40,
    ST3_FIXED = 0x28, /* ready, two sides */
    ST3_PROTECTED = 0x40,
    ST3_TRACK0 = 0x10,

    CMD_MT = 0x80,
    RATE_RESET = 2, /* 250 kbit/s */
};

enum phase { PHASE_COMMAND, PHASE_BUSY, PHASE_DATA, PHASE_RESULT, PHASE_LAST = PHASE_RESULT };
enum transfer { T_NONE, T_READ, T_WRITE, T_VERIFY, T_FORMAT, T_LAST = T_FORMAT };

struct fdc_drive {
    struct blk *blk; /* NULL: no such drive */
    uint8_t track;   /* where the head is */
    bool changed;    /* the change line: high until the head steps with a medium in */
};

struct fdc {
    struct device dev; /* first, so a struct device * is a struct fdc * */
    uint32_t iobase, irq_num, dma_chan;
    struct fdc_drive drive[DRIVES];
    struct region ports, dir_port;
    struct line irq;
    struct device *dma;
    struct i8257_user dma_user;
    struct blk_req req;
    struct iovec iov;

    uint8_t dor, tdr, rate;
    uint8_t phase;
    uint8_t fifo[FIFO_BYTES];
    uint32_t pos, len; /* in fifo: next byte, and how many there will be or are */
    bool interrupt;

    uint8_t poll_sense;    /* SENSE INTERRUPTs still owed after a reset, 0..4 */
    bool seek_done[UNITS]; /* a seek ended and was not sensed yet */
    uint8_t seek_st0[UNITS];
    uint8_t config[3]; /* CONFIGURE's second and third byte; PERPENDICULAR's */
    uint8_t specify[2];
    bool locked;

    /* the data transfer that runs */
    uint8_t transfer;
    bool multi_track, deleted;
    uint8_t unit, head, cyl, sect, eot, filler;
    uint8_t sectors_left; /* FORMAT TRACK */
    uint8_t sector[SECTOR];
    uint32_t data_pos, data_len; /* in sector */
    bool terminal;               /* the DMA count ran out inside this sector */
};

struct fdc_cmd {
    uint8_t mask, value; /* which command bytes */
    uint8_t params;      /* bytes that follow */
    void (*run)(struct fdc *f);
    const char *name;
};

/* fdc-cmd.c: the command a first byte names; never NULL. */
const struct fdc_cmd *fdc_find(uint8_t code);
enum { CMD_DRIVE_SPECIFICATION = 0x8e };

/* fdc.c */
/* NULL where nothing is connected. */
struct fdc_drive *fdc_drive_at(struct fdc *f, unsigned unit);
bool fdc_has_medium(struct fdc *f, unsigned unit);
void fdc_move_head(struct fdc_drive *d, uint8_t track);
void fdc_interrupt(struct fdc *f, bool on);
/* n result bytes are in fifo; 0: the command has none. */
void fdc_result(struct fdc *f, uint32_t n);
/* The seven result bytes of a data command, and the interrupt. */
void fdc_end_transfer(struct fdc *f, unsigned st0, unsigned st1, unsigned st2);
/* Whether unit, cyl, head and sect name a sector that can be read; ends the command if not. */
bool fdc_sector_exists(struct fdc *f);
/* Moves the sector at cyl, head, sect, and those after it. */
void fdc_sector_begin(struct fdc *f);
/* len bytes in sector[] are wanted from, or ready for, the other side. */
void fdc_data_begin(struct fdc *f, uint32_t len);

#endif
