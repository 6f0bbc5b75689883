/* SPDX-License-Identifier: MIT */
/* hw/block/fdc.c - 82078 floppy disk controller with two drives, in its PC-AT mode.
 *
 * A command collects its parameter bytes in fifo[], runs, and leaves its result bytes there; both
 * are at most 17 and fdc-cmd.c's table says how many, so no guest can push the index further. Data
 * moves through sector[], one sector of 512 bytes at a time: block request, then DMA or CPU, then
 * the next sector.
 *
 *   COMMAND -> (BUSY <-> DATA)* -> RESULT -> COMMAND
 *
 * BUSY has a block request in flight. DATA waits for the DMA channel or, in non-DMA mode, for the
 * CPU. A saved state is never BUSY: the process drains the drives first.
 *
 * Left out: the time a seek and a revolution take, sector sizes other than 512, deleted data marks
 * (a raw image has none), SCAN, gaps, tape drives, perpendicular mode beyond keeping its bits.
 * A data command moves the head by itself whether or not CONFIGURE enabled implied seeks.
 * Reference: Intel 82078 data sheet 290468, chapters 2 (registers) and 5 (commands).
 */
#include "hw/block/fdc-int.h"

#include "ioreq/machine.h"

#include <errno.h>
#include <string.h>

struct fdc_geometry {
    uint32_t bytes;
    uint8_t cyls, heads, sectors, rate;
};

/* Formats by image size; the first also serves images of no known size. */
static const struct fdc_geometry geometries[] = {
    { 1474560, 80, 2, 18, 0 }, /* 3.5", 1.44 MB */
    { 2949120, 80, 2, 36, 3 }, /* 3.5", 2.88 MB */
    { 1720320, 80, 2, 21, 0 }, /* 3.5", 1.68 MB */
    { 737280, 80, 2, 9, 2 },   /* 3.5", 720 KB */
    { 1228800, 80, 2, 15, 0 }, /* 5.25", 1.2 MB */
    { 368640, 40, 2, 9, 1 },   /* 5.25", 360 KB in a 1.2 MB drive */
    { 327680, 40, 2, 8, 1 },   /* 5.25", 320 KB */
    { 184320, 40, 1, 9, 1 },   /* 5.25", 180 KB */
    { 163840, 40, 1, 8, 1 },   /* 5.25", 160 KB */
};

static void fdc_pump(struct fdc *f);

/* Drives and media. */

/* NULL where nothing is connected. */
struct fdc_drive *fdc_drive_at(struct fdc *f, unsigned unit)
{
    return unit < DRIVES && f->drive[unit].blk ? &f->drive[unit] : NULL;
}

bool fdc_has_medium(struct fdc *f, unsigned unit)
{
    struct fdc_drive *d = fdc_drive_at(f, unit);

    return d && blk_present(d->blk);
}

static const struct fdc_geometry *fdc_geometry(const struct fdc_drive *d)
{
    for (unsigned i = 0; i < ARRAY_SIZE(geometries); i++) {
        if (geometries[i].bytes == blk_len(d->blk)) {
            return &geometries[i];
        }
    }
    return &geometries[0];
}

static void fdc_medium_changed(void *opaque)
{
    struct fdc_drive *d = opaque;

    d->changed = true;
}

static const struct blk_user fdc_blk_user = { .medium_changed = fdc_medium_changed };

/* Only a step pulse with a medium in clears the change line. */
void fdc_move_head(struct fdc_drive *d, uint8_t track)
{
    if (track != d->track && blk_present(d->blk)) {
        d->changed = false;
    }
    d->track = track;
}

/* Interrupt and DMA request, both gated by DOR as in a PC-AT. */

static bool fdc_uses_dma(const struct fdc *f)
{
    return f->dma && (f->dor & DOR_DMAGATE) && !(f->specify[1] & 1);
}

/* Both lines follow from the state; called after each change of it. */
static void fdc_update_lines(struct fdc *f)
{
    line_set(&f->irq, (f->dor & DOR_DMAGATE) && f->interrupt);
    if (f->dma) {
        i8257_dreq(f->dma, f->dma_chan, f->phase == PHASE_DATA && fdc_uses_dma(f));
    }
}

void fdc_interrupt(struct fdc *f, bool on)
{
    f->interrupt = on;
    fdc_update_lines(f);
}

/* Phases. */

static void fdc_expect_command(struct fdc *f)
{
    f->phase = PHASE_COMMAND;
    f->pos = 0;
    f->len = 1;
    fdc_update_lines(f);
}

/* n result bytes are in fifo; 0: the command has none. */
void fdc_result(struct fdc *f, uint32_t n)
{
    f->transfer = T_NONE;
    f->data_pos = f->data_len = 0;
    if (n == 0) {
        fdc_expect_command(f);
        return;
    }
    f->phase = PHASE_RESULT;
    f->pos = 0;
    f->len = n;
    fdc_update_lines(f);
}

/* The seven result bytes of a data command, and the interrupt. */
void fdc_end_transfer(struct fdc *f, unsigned st0, unsigned st1, unsigned st2)
{
    const uint8_t result[7] = {
        (uint8_t)(st0 | f->unit | f->head << 2),
        (uint8_t)st1,
        (uint8_t)st2,
        f->cyl,
        f->head,
        f->sect,
        2,
    };

    memcpy(f->fifo, result, sizeof(result));
    fdc_result(f, sizeof(result));
    fdc_interrupt(f, true);
}

static void fdc_cancel(struct fdc *f)
{
    blk_cancel(&f->req);
    f->transfer = T_NONE;
    f->data_pos = f->data_len = 0;
}

/* A reset through DOR or DSR. CONFIGURE's settings survive it when locked. */
static void fdc_reset_chip(struct fdc *f)
{
    fdc_cancel(f);
    fdc_expect_command(f);
    fdc_interrupt(f, false);
    memset(f->seek_done, 0, sizeof(f->seek_done));
    if (!f->locked) {
        memset(f->config, 0, sizeof(f->config));
    }
    f->poll_sense = 0;
}

/* The end of a reset polls all four drives, unless CONFIGURE switched polling off. */
static void fdc_reset_ended(struct fdc *f)
{
    if (!(f->config[0] & 0x10)) {
        f->poll_sense = UNITS;
        fdc_interrupt(f, true);
    }
}

/* Data transfers. */

/* To the sector after this one; false when that one is past the end of the command. */
static bool fdc_advance(struct fdc *f)
{
    if (f->sect != f->eot) {
        f->sect++;
        return true;
    }
    f->sect = 1;
    if (f->multi_track && f->head == 0) {
        f->head = 1;
        return true;
    }
    if (f->multi_track) {
        f->head = 0;
    }
    f->cyl++;
    return false;
}

static void fdc_sector_end(struct fdc *f)
{
    bool more = fdc_advance(f);

    if (f->deleted) {
        fdc_end_transfer(f, 0, 0, ST2_CONTROL_MARK); /* found data with the ordinary mark */
    } else if (f->terminal) {
        fdc_end_transfer(f, 0, 0, 0);
    } else if (more) {
        fdc_sector_begin(f);
    } else if (f->transfer == T_VERIFY || !fdc_uses_dma(f)) {
        /* QUIRK: without DMA there is no TC, so the real part always reports END; drivers that
         * count bytes themselves, as all that run on virtual machines do, take it for an error. */
        fdc_end_transfer(f, 0, 0, 0);
    } else {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_END, 0);
    }
}

/* A sector's worth of data is wanted from, or ready for, the other side. */
void fdc_data_begin(struct fdc *f, uint32_t len)
{
    f->data_pos = 0;
    f->data_len = len;
    f->phase = PHASE_DATA;
    fdc_update_lines(f);
    fdc_pump(f);
}

static void fdc_loaded(struct blk_req *r, int ret)
{
    struct fdc *f = r->opaque;

    if (ret < 0) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_DATA_ERROR, 0);
    } else if (f->transfer == T_VERIFY) {
        fdc_sector_end(f);
    } else {
        fdc_data_begin(f, SECTOR);
    }
}

static void fdc_format_next(struct fdc *f)
{
    if (f->sectors_left && --f->sectors_left && !f->terminal) {
        fdc_data_begin(f, 4);
    } else {
        fdc_end_transfer(f, 0, 0, 0);
    }
}

static void fdc_stored(struct blk_req *r, int ret)
{
    struct fdc *f = r->opaque;

    if (ret < 0) {
        fdc_end_transfer(f, ST0_ABNORMAL, ret == -EROFS ? ST1_WRITE_PROTECTED : ST1_DATA_ERROR, 0);
    } else if (f->transfer == T_FORMAT) {
        fdc_format_next(f);
    } else {
        fdc_sector_end(f);
    }
}

static void fdc_io(struct fdc *f, enum blk_op op, void (*done)(struct blk_req *r, int ret))
{
    const struct fdc_drive *d = &f->drive[f->unit];
    const struct fdc_geometry *g = fdc_geometry(d);
    uint64_t lba = ((uint64_t)f->cyl * g->heads + f->head) * g->sectors + f->sect - 1;

    f->phase = PHASE_BUSY;
    fdc_update_lines(f);
    f->iov = (struct iovec){ f->sector, SECTOR };
    f->req = (struct blk_req){
        .op = op,
        .offset = lba * SECTOR,
        .len = SECTOR,
        .iov = &f->iov,
        .iovcnt = 1,
        .done = done,
        .opaque = f,
    };
    blk_submit(d->blk, &f->req);
}

/* Whether cyl, head and sect name a sector of the medium that is in; ends the command if not. */
bool fdc_sector_exists(struct fdc *f)
{
    const struct fdc_geometry *g;

    if (!fdc_has_medium(f, f->unit)) {
        fdc_end_transfer(f, ST0_ABNORMAL | ST0_NOT_READY, 0, 0);
        return false;
    }
    g = fdc_geometry(&f->drive[f->unit]);
    if (f->cyl >= g->cyls || f->head >= g->heads || f->sect == 0 || f->sect > g->sectors) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return false;
    }
    if (f->rate != g->rate) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return false;
    }
    return true;
}

void fdc_sector_begin(struct fdc *f)
{
    f->terminal = false;
    if (!fdc_sector_exists(f)) {
        return;
    }
    fdc_move_head(&f->drive[f->unit], f->cyl);
    if (f->transfer == T_WRITE) {
        fdc_data_begin(f, SECTOR);
    } else {
        fdc_io(f, BLK_READ, fdc_loaded);
    }
}

/* FORMAT TRACK: four bytes name the sector that is filled next. */
static void fdc_format_sector(struct fdc *f)
{
    f->cyl = f->sector[0];
    f->head = f->sector[1] & 1;
    f->sect = f->sector[2];
    if (f->sector[3] != 2) {
        fdc_end_transfer(f, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return;
    }
    if (fdc_sector_exists(f)) {
        memset(f->sector, f->filler, SECTOR);
        fdc_io(f, BLK_WRITE, fdc_stored);
    }
}

/* sector[0, data_len) has been moved. */
static void fdc_data_done(struct fdc *f)
{
    if (f->transfer == T_READ) {
        fdc_sector_end(f);
    } else if (f->transfer == T_FORMAT) {
        fdc_format_sector(f);
    } else if (fdc_sector_exists(f)) {
        fdc_io(f, BLK_WRITE, fdc_stored);
    }
}

/* The count ran out: the rest of a sector that is being written is zeros (82078 5.2.2). */
static void fdc_terminal_count(struct fdc *f)
{
    f->terminal = true;
    if (f->transfer == T_FORMAT && f->data_pos < f->data_len) {
        fdc_end_transfer(f, 0, 0, 0);
        return;
    }
    if (f->transfer != T_READ) {
        memset(f->sector + f->data_pos, 0, f->data_len - f->data_pos);
    }
    fdc_data_done(f);
}

static void fdc_pump_dma(struct fdc *f)
{
    uint8_t *at = f->sector + f->data_pos;
    size_t n, room = f->data_len - f->data_pos;
    bool tc = false;

    n = f->transfer == T_READ ? i8257_write(f->dma, f->dma_chan, at, room, &tc)
                              : i8257_read(f->dma, f->dma_chan, at, room, &tc);
    f->data_pos += (uint32_t)n;
    if (tc) {
        fdc_terminal_count(f);
    } else if (f->data_pos == f->data_len) {
        fdc_data_done(f);
    }
}

/* Moves what can be moved now. By CPU: says that there is something to do. */
static void fdc_pump(struct fdc *f)
{
    if (fdc_uses_dma(f)) {
        fdc_pump_dma(f);
    } else {
        fdc_interrupt(f, true);
    }
}

static void fdc_dma_ready(void *opaque)
{
    struct fdc *f = opaque;

    if (f->phase == PHASE_DATA && fdc_uses_dma(f)) {
        fdc_pump_dma(f);
    }
}

/* Registers. */

static void fdc_command_byte(struct fdc *f, uint8_t val)
{
    const struct fdc_cmd *c;

    f->fifo[f->pos++] = val;
    c = fdc_find(f->fifo[0]);
    if (f->pos == 1) {
        f->len = 1u + c->params;
    }
    if (f->pos == f->len || (f->pos > 1 && f->fifo[0] == CMD_DRIVE_SPECIFICATION && (val & 0x80))) {
        c->run(f);
    }
}

static void fdc_fifo_write(struct fdc *f, uint8_t val)
{
    if (!(f->dor & DOR_NRESET)) {
        return;
    }
    if (f->phase == PHASE_COMMAND) {
        fdc_command_byte(f, val);
    } else if (f->phase == PHASE_DATA && !fdc_uses_dma(f) && f->transfer != T_READ) {
        fdc_interrupt(f, false);
        f->sector[f->data_pos++] = val;
        if (f->data_pos == f->data_len) {
            fdc_data_done(f);
        }
    } else {
        guest_odd(&f->dev, "byte %02x written to the FIFO in phase %u", val, f->phase);
    }
}

static uint8_t fdc_fifo_read(struct fdc *f)
{
    uint8_t val = 0;

    if (f->phase == PHASE_RESULT) {
        fdc_interrupt(f, false);
        val = f->fifo[f->pos++];
        if (f->pos == f->len) {
            fdc_expect_command(f);
        }
    } else if (f->phase == PHASE_DATA && !fdc_uses_dma(f) && f->transfer == T_READ) {
        fdc_interrupt(f, false);
        val = f->sector[f->data_pos++];
        if (f->data_pos == f->data_len) {
            fdc_data_done(f);
        }
    }
    return val;
}

static uint8_t fdc_msr(const struct fdc *f)
{
    uint8_t cpu = !fdc_uses_dma(f) && f->transfer != T_NONE ? MSR_NONDMA : 0;

    if (!(f->dor & DOR_NRESET)) {
        return 0;
    }
    switch (f->phase) {
    case PHASE_COMMAND:
        return f->pos ? MSR_RQM | MSR_BUSY : MSR_RQM;
    case PHASE_RESULT:
        return MSR_RQM | MSR_DIO | MSR_BUSY;
    case PHASE_DATA:
        if (cpu) {
            return (uint8_t)(MSR_RQM | MSR_BUSY | cpu | (f->transfer == T_READ ? MSR_DIO : 0));
        }
        return MSR_BUSY;
    default:
        return MSR_BUSY | cpu;
    }
}

static void fdc_dor_write(struct fdc *f, uint8_t val)
{
    bool was = f->dor & DOR_NRESET, is = val & DOR_NRESET;

    f->dor = val;
    if (was && !is) {
        fdc_reset_chip(f);
    } else if (!was && is) {
        fdc_reset_ended(f);
    }
    fdc_update_lines(f);
    fdc_dma_ready(f); /* the gate may have opened in the middle of a transfer */
}

static void fdc_dsr_write(struct fdc *f, uint8_t val)
{
    f->rate = val & 3;
    if ((val & DSR_RESET) && (f->dor & DOR_NRESET)) {
        fdc_reset_chip(f); /* and out of it at once: the bit clears itself */
        fdc_reset_ended(f);
    }
}

static uint8_t fdc_dir(struct fdc *f)
{
    struct fdc_drive *d = fdc_drive_at(f, f->dor & 3);

    return d && (d->changed || !blk_present(d->blk)) ? DIR_CHANGED : 0;
}

static uint8_t fdc_reg_read(struct fdc *f, unsigned reg)
{
    switch (reg) {
    case REG_SRA:
        return (uint8_t)(f->interrupt ? 0x80 : 0);
    case REG_SRB:
        return (uint8_t)(0xc0 | (f->dor >> 4 & 3));
    case REG_DOR:
        return f->dor;
    case REG_TDR:
        return f->tdr;
    case REG_MSR:
        return fdc_msr(f);
    default:
        return fdc_fifo_read(f);
    }
}

static void fdc_reg_write(struct fdc *f, unsigned reg, uint8_t val)
{
    switch (reg) {
    case REG_DOR:
        fdc_dor_write(f, val);
        break;
    case REG_TDR:
        f->tdr = val & 3;
        break;
    case REG_MSR:
        fdc_dsr_write(f, val);
        break;
    case REG_FIFO:
        fdc_fifo_write(f, val);
        break;
    default: /* the status registers A and B */
        break;
    }
}

static uint64_t fdc_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return fdc_reg_read((struct fdc *)d, (unsigned)off);
}

static void fdc_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    fdc_reg_write((struct fdc *)d, (unsigned)off, (uint8_t)val);
}

static uint64_t fdc_dir_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return fdc_dir((struct fdc *)d);
}

static void fdc_ccr_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    (void)size;
    ((struct fdc *)d)->rate = val & 3;
}

static const struct reg_name fdc_names[] = {
    { REG_SRA, "SRA" },     { REG_SRB, "SRB" },   { REG_DOR, "DOR" },     { REG_TDR, "TDR" },
    { REG_MSR, "MSR/DSR" }, { REG_FIFO, "FIFO" }, { REG_FIFO + 1, NULL },
};
static const struct reg_name dir_names[] = { { 0, "DIR/CCR" }, { 1, NULL } };
static const struct region_ops fdc_ops = { fdc_read, fdc_write, 1, fdc_names };
static const struct region_ops dir_ops = { fdc_dir_read, fdc_ccr_write, 1, dir_names };

/* Life. */

/* The controller whose channels are 0 to 3: the first one made. */
static struct device *fdc_find_dma(struct machine *m)
{
    struct device *d = m->devices;

    while (d && d->class != &i8257_class) {
        d = d->next;
    }
    return d;
}

static int fdc_check(const struct fdc *f, struct err *e)
{
    if (f->irq_num > 15) {
        return err_set(e, -EINVAL, "%s: irq %u is above 15", f->dev.id, f->irq_num);
    }
    if (f->dma_chan > 3) {
        return err_set(e, -EINVAL, "%s: dma %u is above 3", f->dev.id, f->dma_chan);
    }
    for (unsigned i = 0; i < DRIVES; i++) {
        const struct blk *b = f->drive[i].blk;

        if (b && (blk_user(b, NULL) || (i && b == f->drive[0].blk))) {
            return err_set(e, -EBUSY, "%s: drive '%s' is in use", f->dev.id, blk_id(b));
        }
    }
    return 0;
}

static int fdc_init(struct device *d, struct err *e)
{
    struct fdc *f = (struct fdc *)d;
    int ret = fdc_check(f, e);

    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < DRIVES; i++) {
        if (f->drive[i].blk) {
            blk_set_user(f->drive[i].blk, &fdc_blk_user, &f->drive[i]);
        }
    }
    f->dma = fdc_find_dma(d->m);
    f->dma_user = (struct i8257_user){ fdc_dma_ready, f };
    if (f->dma) {
        i8257_attach(f->dma, f->dma_chan, &f->dma_user);
    }
    line_init(&f->irq, d, LINE_ISA, (uint16_t)f->irq_num);
    region_init(&f->ports, d, &fdc_ops, IO_PIO, 6, "FDC");
    region_init(&f->dir_port, d, &dir_ops, IO_PIO, 1, "FDC-DIR");
    region_map(&f->ports, f->iobase);
    region_map(&f->dir_port, (uint64_t)f->iobase + DIR_PORT);
    return 0;
}

static void fdc_reset(struct device *d)
{
    struct fdc *f = (struct fdc *)d;

    f->locked = false;
    fdc_reset_chip(f);
    f->dor = DOR_NRESET | DOR_DMAGATE; /* as firmware would leave it */
    f->tdr = 0;
    f->rate = RATE_RESET;
    memset(f->specify, 0, sizeof(f->specify));
    f->unit = f->head = f->cyl = f->sect = f->eot = 0;
    for (unsigned i = 0; i < DRIVES; i++) {
        f->drive[i].track = 0;
        f->drive[i].changed = true;
    }
    fdc_update_lines(f);
}

static void fdc_fini(struct device *d)
{
    struct fdc *f = (struct fdc *)d;

    if (!f->irq.d) {
        return;
    }
    fdc_reset_chip(f);
    if (f->dma) {
        i8257_attach(f->dma, f->dma_chan, NULL);
    }
    for (unsigned i = 0; i < DRIVES; i++) {
        if (f->drive[i].blk) {
            blk_set_user(f->drive[i].blk, NULL, NULL);
        }
    }
    region_unmap(&f->ports);
    region_unmap(&f->dir_port);
    line_fini(&f->irq);
}

static bool fdc_state_sane(struct fdc *f)
{
    switch (f->phase) {
    case PHASE_COMMAND:
        /* as many bytes to come as the command on the way wants */
        return f->pos < f->len && f->transfer == T_NONE &&
               f->len == (f->pos ? 1u + fdc_find(f->fifo[0])->params : 1u);
    case PHASE_RESULT:
        return f->pos < f->len && f->transfer == T_NONE;
    case PHASE_DATA:
        return f->transfer != T_NONE && f->transfer != T_VERIFY && fdc_drive_at(f, f->unit) &&
               f->data_pos < f->data_len;
    default:
        return false;
    }
}

static int fdc_loaded_state(struct device *d, struct err *e)
{
    struct fdc *f = (struct fdc *)d;

    if (!fdc_state_sane(f)) {
        return err_set(e, -EINVAL, "phase %u, byte %u of %u, is impossible", f->phase, f->pos,
                       f->len);
    }
    fdc_update_lines(f);
    return 0;
}

static const struct state_field drive_state[] = {
    FIELD(struct fdc_drive, track),
    FIELD(struct fdc_drive, changed),
    FIELD_END,
};

#define F(member) FIELD(struct fdc, member)
#define R(member, lo, hi) FIELD_RANGE(struct fdc, member, lo, hi)
#define A(member) FIELD_ARRAY(struct fdc, member)

static const struct state_field fdc_state[] = {
    F(dor),
    R(tdr, 0, 3),
    R(rate, 0, 3),
    R(phase, 0, PHASE_LAST),
    A(fifo),
    R(pos, 0, FIFO_BYTES - 1),
    R(len, 1, FIFO_BYTES),
    F(interrupt),
    R(poll_sense, 0, UNITS),
    A(seek_done),
    A(seek_st0),
    A(config),
    A(specify),
    F(locked),
    R(transfer, 0, T_LAST),
    F(multi_track),
    F(deleted),
    R(unit, 0, UNITS - 1),
    R(head, 0, 1),
    F(cyl),
    F(sect),
    F(eot),
    F(filler),
    F(sectors_left),
    A(sector),
    R(data_pos, 0, SECTOR),
    R(data_len, 0, SECTOR),
    F(terminal),
    FIELD_SUB(struct fdc, drive, drive_state, DRIVES),
    FIELD_END,
};

static const struct dev_prop fdc_props[] = {
    PROP(struct fdc, "iobase", PROP_U32, iobase, 0x3f0, "first port"),
    PROP(struct fdc, "irq", PROP_U32, irq_num, 6, "ISA IRQ"),
    PROP(struct fdc, "dma", PROP_U32, dma_chan, 2, "channel of the first DMA controller"),
    PROP(struct fdc, "driveA", PROP_BLK, drive[0].blk, 0, "the first drive's id"),
    PROP(struct fdc, "driveB", PROP_BLK, drive[1].blk, 0, "the second drive's id"),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class fdc_class = {
    .name = "isa-fdc",
    .desc = "82078 floppy disk controller",
    .size = sizeof(struct fdc),
    .props = fdc_props,
    .state = fdc_state,
    .state_version = 1,
    .user_creatable = true,
    .init = fdc_init,
    .reset = fdc_reset,
    .loaded = fdc_loaded_state,
    .fini = fdc_fini,
};
