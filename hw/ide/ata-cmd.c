/* SPDX-License-Identifier: MIT */
/* hw/ide/ata-cmd.c - ATA commands: one table, one function a command or family.
 *
 * PIO reads fetch up to 16 sectors ahead of the DRQ blocks the guest takes, so a run of single
 * sectors costs one trip to the medium and not sixteen. PIO writes go out block by block. A write
 * is reported after the medium has it in its write cache; with the cache off, or for a FUA
 * command, after a flush.
 *
 * Left out: the security, HPA (SET MAX), streaming and queued feature sets, READ LONG, downloads.
 * Reference: ATA/ATAPI-7 volume 1, chapter 6; ACS-2 7.10 for DATA SET MANAGEMENT.
 */
#include "hw/ide/ide-int.h"

#include "dm/base/bytes.h"

enum {
    FOR_HD = 1,
    FOR_CD = 2,
    EXT = 4,   /* 48-bit */
    MULTI = 8, /* DRQ blocks of `multiple` sectors */
    WRITES = 16,
    FUA = 32,
};

struct ata_cmd {
    uint8_t code, flags;
    void (*run)(struct ide_drive *d, unsigned flags);
    const char *name;
};

/* Addresses. */

static uint32_t ata_count(const struct ide_drive *d, bool ext)
{
    uint32_t n = d->tf.nsect;

    if (ext) {
        n |= (uint32_t)d->hob.nsect << 8;
        return n ? n : 65536;
    }
    return n ? n : 256;
}

static uint64_t ata_address(const struct ide_drive *d, bool ext)
{
    const struct ide_taskfile *lo = &d->tf, *hi = &d->hob;
    uint64_t low = lo->lbal | (uint64_t)lo->lbam << 8 | (uint64_t)lo->lbah << 16;

    if (ext) {
        return low | (uint64_t)hi->lbal << 24 | (uint64_t)hi->lbam << 32 | (uint64_t)hi->lbah << 40;
    }
    if (d->device & DEV_LBA) {
        return low | (uint64_t)(d->device & 0x0f) << 24;
    }
    if (lo->lbal == 0) {
        return UINT64_MAX; /* sectors count from 1 */
    }
    return ((uint64_t)(lo->lbam | lo->lbah << 8) * d->heads + (d->device & 0x0f)) * d->sectors +
           lo->lbal - 1;
}

/* Puts an address back into the registers: where a command stopped, or the native maximum. */
static void ata_put_address(struct ide_drive *d, uint64_t lba)
{
    if (!d->lba48 && !(d->device & DEV_LBA)) {
        uint64_t track = lba / d->sectors, cyl = track / d->heads;

        d->tf.lbal = (uint8_t)(lba % d->sectors + 1);
        d->tf.lbam = (uint8_t)cyl;
        d->tf.lbah = (uint8_t)(cyl >> 8);
        d->device = (uint8_t)((d->device & 0xf0) | (track % d->heads));
        return;
    }
    d->tf.lbal = (uint8_t)lba;
    d->tf.lbam = (uint8_t)(lba >> 8);
    d->tf.lbah = (uint8_t)(lba >> 16);
    if (d->lba48) {
        d->hob.lbal = (uint8_t)(lba >> 24);
        d->hob.lbam = (uint8_t)(lba >> 32);
        d->hob.lbah = (uint8_t)(lba >> 40);
    } else {
        d->device = (uint8_t)((d->device & 0xf0) | (lba >> 24 & 0x0f));
    }
}

/* Reads address and count of the command into lba and left; fails it when out of range. */
static bool ata_range(struct ide_drive *d, unsigned flags)
{
    uint64_t total = ata_sectors(d);

    d->lba48 = flags & EXT;
    d->fua = flags & FUA;
    d->lba = ata_address(d, d->lba48);
    d->left = ata_count(d, d->lba48);
    if (d->left > total || d->lba > total - d->left) {
        ide_fail(d, ER_IDNF);
        return false;
    }
    d->sleeping = false;
    return true;
}

/* The medium failed at d->lba. */
static void ata_io_error(struct ide_drive *d, bool write)
{
    d->tf.nsect = (uint8_t)d->left;
    d->hob.nsect = (uint8_t)(d->left >> 8);
    ata_put_address(d, d->lba);
    ide_fail(d, write ? ER_ABRT : ER_UNC);
}

/* Every sector has moved: the registers name the last one. */
static void ata_moved(struct ide_drive *d)
{
    d->tf.nsect = 0;
    d->hob.nsect = 0;
    ata_put_address(d, d->lba - 1);
}

/* Flushes, also at the end of writes. */

static void ata_flushed(struct blk_req *r, int ret)
{
    struct ide_drive *d = r->opaque;

    if (ret < 0) {
        ide_abort(d);
    } else {
        ide_end(d, true);
    }
}

static void ata_flush(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    ide_io(d, BLK_FLUSH, 0, 0, ata_flushed);
}

static void ata_written(struct ide_drive *d)
{
    ata_moved(d);
    if (d->fua || !d->write_cache) {
        ata_flush(d, 0);
    } else {
        ide_end(d, true);
    }
}

/* PIO. */

static void ata_loaded(struct blk_req *r, int ret)
{
    struct ide_drive *d = r->opaque;
    uint32_t n = (uint32_t)(d->io_bytes / IDE_SECTOR);

    if (ret < 0) {
        ata_io_error(d, false);
        return;
    }
    d->lba += n;
    d->left -= n;
    d->pos = 0;
    d->fill = (uint32_t)d->io_bytes;
    ide_pio_in(d);
}

static void ata_load(struct ide_drive *d)
{
    uint32_t n = d->left < IDE_MAX_MULTIPLE ? d->left : IDE_MAX_MULTIPLE;

    ide_io(d, BLK_READ, d->lba * IDE_SECTOR, (uint64_t)n * IDE_SECTOR, ata_loaded);
}

static uint32_t ata_block_bytes(const struct ide_drive *d, unsigned flags)
{
    return flags & MULTI ? (uint32_t)d->multiple * IDE_SECTOR : (uint32_t)IDE_SECTOR;
}

static void ata_read(struct ide_drive *d, unsigned flags)
{
    if ((flags & MULTI) && !d->multiple) {
        ide_abort(d);
        return;
    }
    if (ata_range(d, flags)) {
        d->xfer = XFER_READ;
        d->block = ata_block_bytes(d, flags);
        ata_load(d);
    }
}

static void ata_want_block(struct ide_drive *d)
{
    ide_pio_out(d, (uint32_t)min_u64(d->block, (uint64_t)d->left * IDE_SECTOR));
}

static void ata_write(struct ide_drive *d, unsigned flags)
{
    if ((flags & MULTI) && !d->multiple) {
        ide_abort(d);
        return;
    }
    if (ata_range(d, flags)) {
        d->xfer = XFER_WRITE;
        d->block = ata_block_bytes(d, flags);
        ata_want_block(d);
    }
}

static void ata_stored(struct blk_req *r, int ret)
{
    struct ide_drive *d = r->opaque;
    uint32_t n = (uint32_t)(d->io_bytes / IDE_SECTOR);

    if (ret < 0) {
        ata_io_error(d, true);
        return;
    }
    d->lba += n;
    d->left -= n;
    if (d->left) {
        ata_want_block(d);
        ide_raise_irq(d->ch);
    } else {
        ata_written(d);
    }
}

void ata_block_done(struct ide_drive *d)
{
    if (d->xfer == XFER_WRITE) {
        ide_io(d, BLK_WRITE, d->lba * IDE_SECTOR, d->end, ata_stored);
    } else if (d->end < d->fill) {
        ide_pio_in(d);
    } else if (d->xfer == XFER_READ && d->left) {
        ata_load(d);
    } else {
        if (d->xfer == XFER_READ) {
            ata_moved(d);
        }
        ide_end(d, false);
    }
}

/* d->buf[0, len) answers the command. */
static void ata_reply(struct ide_drive *d, uint32_t len)
{
    d->xfer = XFER_REPLY;
    d->pos = 0;
    d->fill = len;
    d->block = IDE_SECTOR;
    ide_pio_in(d);
}

/* DMA. */

static void ata_dma(struct ide_drive *d, unsigned flags)
{
    if (!ata_range(d, flags)) {
        return;
    }
    d->xfer = flags & WRITES ? XFER_WRITE : XFER_READ;
    d->dma_offset = d->lba * IDE_SECTOR;
    d->dma_len = (uint64_t)d->left * IDE_SECTOR;
    bmdma_wait(d);
}

static void ata_trim_next(struct ide_drive *d);

static void ata_trimmed(struct blk_req *r, int ret)
{
    struct ide_drive *d = r->opaque;

    if (ret < 0) {
        ide_abort(d);
    } else {
        ata_trim_next(d);
    }
}

/* d->buf[pos, fill) are ranges: 48 bits of address, 16 of count, count 0 meaning none. */
static void ata_trim_next(struct ide_drive *d)
{
    while (d->pos < d->fill) {
        uint64_t range = load_le64(d->buf + d->pos);
        uint64_t lba = range & 0xffffffffffffull, n = range >> 48, total = ata_sectors(d);

        d->pos += 8;
        if (n && (n > total || lba > total - n)) {
            ide_fail(d, ER_IDNF);
            return;
        }
        if (n) {
            ide_io(d, BLK_DISCARD, lba * IDE_SECTOR, n * IDE_SECTOR, ata_trimmed);
            return;
        }
    }
    ide_end(d, true);
}

/* DATA SET MANAGEMENT with the TRIM bit. As many blocks as the buffer holds, IDENTIFY word 105. */
static void ata_trim(struct ide_drive *d, unsigned flags)
{
    uint32_t blocks = d->tf.nsect | (uint32_t)d->hob.nsect << 8;

    (void)flags;
    if (d->tf.feature != 1 || blocks == 0 || blocks > IDE_MAX_MULTIPLE) {
        ide_abort(d);
        return;
    }
    d->xfer = XFER_TRIM;
    d->dma_len = (uint64_t)blocks * IDE_SECTOR;
    bmdma_wait(d);
}

static void ata_dma_moved(struct ide_drive *d)
{
    if (d->xfer == XFER_TRIM) {
        d->pos = 0;
        d->fill = (uint32_t)d->dma_len;
        ata_trim_next(d);
        return;
    }
    d->lba += d->left;
    d->left = 0;
    if (d->xfer == XFER_WRITE) {
        ata_written(d);
    } else {
        ata_moved(d);
        ide_end(d, true);
    }
}

void ata_dma_done(struct ide_drive *d, enum bm_end end)
{
    switch (end) {
    case BM_OK:
        ata_dma_moved(d);
        break;
    case BM_SHORT:
        /* The drive still wants to talk and nobody listens: no interrupt, the driver times out. */
        ide_end(d, false);
        break;
    case BM_IO_ERROR:
        d->lba = d->dma_offset / IDE_SECTOR;
        d->left = (uint32_t)(d->dma_len / IDE_SECTOR);
        ata_io_error(d, d->xfer == XFER_WRITE);
        break;
    default:
        ide_abort(d);
        break;
    }
}

/* Everything without data. */

static void ata_nop(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    ide_abort(d); /* as the standard wants it */
}

static void ata_ok(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    ide_end(d, true);
}

static void ata_verify(struct ide_drive *d, unsigned flags)
{
    if (ata_range(d, flags)) {
        d->lba += d->left;
        ata_moved(d);
        ide_end(d, true);
    }
}

static void ata_seek(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    if (ata_address(d, false) >= ata_sectors(d)) {
        ide_fail(d, ER_IDNF);
    } else {
        ide_end(d, true);
    }
}

static void ata_device_reset(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    ide_drive_reset(d, false); /* no interrupt: ATA/ATAPI-7 volume 1, 6.10 */
}

static void ata_set_parameters(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    if (d->tf.nsect == 0) {
        ide_abort(d);
        return;
    }
    d->heads = (d->device & 0x0fu) + 1;
    d->sectors = d->tf.nsect;
    ide_end(d, true);
}

static void ata_set_multiple(struct ide_drive *d, unsigned flags)
{
    uint8_t n = d->tf.nsect;

    (void)flags;
    if (n > IDE_MAX_MULTIPLE || (n & (n - 1))) {
        ide_abort(d);
        return;
    }
    d->multiple = n;
    ide_end(d, true);
}

static void ata_native_max(struct ide_drive *d, unsigned flags)
{
    uint64_t last = ata_sectors(d) ? ata_sectors(d) - 1 : 0;

    d->lba48 = flags & EXT;
    if (!d->lba48 && (d->device & DEV_LBA)) {
        last = min_u64(last, 0x0fffffff);
    }
    ata_put_address(d, last);
    ide_end(d, true);
}

static void ata_standby(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    d->sleeping = true;
    ide_end(d, true);
}

static void ata_wake(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    d->sleeping = false;
    ide_end(d, true);
}

static void ata_check_power(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    d->tf.nsect = d->sleeping ? 0x00 : 0xff;
    ide_end(d, true);
}

static void ata_freeze(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    d->frozen = true;
    ide_end(d, true);
}

static void ata_smart_cmd(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    ata_smart(d);
    if (d->status & ST_ERR) {
        return;
    }
    if (d->fill) {
        ata_reply(d, d->fill);
    } else {
        ide_end(d, true);
    }
}

static void ata_identify_cmd(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    if (d->cd) {
        ide_set_signature(d); /* an abort that says: ask IDENTIFY PACKET DEVICE */
        ide_abort(d);
        return;
    }
    ata_identify(d, d->buf);
    ata_reply(d, IDE_SECTOR);
}

static void ata_identify_packet_cmd(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    ata_identify_packet(d, d->buf);
    ata_reply(d, IDE_SECTOR);
}

static void ata_read_on_any(struct ide_drive *d, unsigned flags)
{
    if (d->cd) {
        ide_set_signature(d);
        ide_abort(d);
        return;
    }
    ata_read(d, flags);
}

/* READ LOG EXT, one page at a time. */
static void ata_read_log(struct ide_drive *d, unsigned flags)
{
    uint16_t page = (uint16_t)(d->tf.lbam | d->hob.lbam << 8);

    (void)flags;
    if (d->hob.nsect || d->tf.nsect != 1 || !ata_log_page(d, d->tf.lbal, page, d->buf)) {
        ide_abort(d);
    } else {
        ata_reply(d, IDE_SECTOR);
    }
}

static void ata_packet_cmd(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    atapi_start_packet(d);
}

/* SET FEATURES. */

static void ata_set_transfer_mode(struct ide_drive *d, uint8_t mode)
{
    unsigned n = mode & 7;

    switch (mode >> 3) {
    case 0: /* PIO default */
    case 1: /* PIO flow control, modes 0 to 4 */
        if (n > 4) {
            break;
        }
        ide_end(d, true);
        return;
    case 4:
        if (n > 2) {
            break;
        }
        d->mdma = (uint8_t)(1 << n);
        d->udma = 0;
        ide_end(d, true);
        return;
    case 8:
        if (n > 5) {
            break;
        }
        d->udma = (uint8_t)(1 << n);
        d->mdma = 0;
        ide_end(d, true);
        return;
    default:
        break;
    }
    ide_abort(d);
}

static void ata_set_features(struct ide_drive *d, unsigned flags)
{
    (void)flags;
    switch (d->tf.feature) {
    case 0x03:
        ata_set_transfer_mode(d, d->tf.nsect);
        return;
    case 0x02:
        d->write_cache = true;
        break;
    case 0x82:
        d->write_cache = false;
        if (!d->cd) {
            ata_flush(d, 0);
            return;
        }
        break;
    case 0xaa:
    case 0x55:
        d->read_ahead = d->tf.feature == 0xaa;
        break;
    case 0x66: /* keep or revert settings over a soft reset: they are kept */
    case 0xcc:
        break;
    default:
        ide_abort(d);
        return;
    }
    ide_end(d, true);
}

static const struct ata_cmd ata_cmds[] = {
    /* code, for whom and how, what, name */
    { 0x00, FOR_HD | FOR_CD, ata_nop, "NOP" },
    { 0x06, FOR_HD | EXT | WRITES, ata_trim, "DATA SET MANAGEMENT" },
    { 0x08, FOR_CD, ata_device_reset, "DEVICE RESET" },
    { 0x10, FOR_HD, ata_ok, "RECALIBRATE" },
    { 0x20, FOR_HD | FOR_CD, ata_read_on_any, "READ SECTORS" },
    { 0x21, FOR_HD, ata_read, "READ SECTORS NORETRY" },
    { 0x24, FOR_HD | EXT, ata_read, "READ SECTORS EXT" },
    { 0x25, FOR_HD | EXT, ata_dma, "READ DMA EXT" },
    { 0x27, FOR_HD | EXT, ata_native_max, "READ NATIVE MAX EXT" },
    { 0x29, FOR_HD | EXT | MULTI, ata_read, "READ MULTIPLE EXT" },
    { 0x2f, FOR_HD | EXT, ata_read_log, "READ LOG EXT" },
    { 0x30, FOR_HD | WRITES, ata_write, "WRITE SECTORS" },
    { 0x31, FOR_HD | WRITES, ata_write, "WRITE SECTORS NORETRY" },
    { 0x34, FOR_HD | EXT | WRITES, ata_write, "WRITE SECTORS EXT" },
    { 0x35, FOR_HD | EXT | WRITES, ata_dma, "WRITE DMA EXT" },
    { 0x39, FOR_HD | EXT | MULTI | WRITES, ata_write, "WRITE MULTIPLE EXT" },
    { 0x3c, FOR_HD | WRITES, ata_write, "WRITE VERIFY" },
    { 0x3d, FOR_HD | EXT | WRITES | FUA, ata_dma, "WRITE DMA FUA EXT" },
    { 0x40, FOR_HD, ata_verify, "READ VERIFY SECTORS" },
    { 0x41, FOR_HD, ata_verify, "READ VERIFY SECTORS NORETRY" },
    { 0x42, FOR_HD | EXT, ata_verify, "READ VERIFY SECTORS EXT" },
    { 0x70, FOR_HD, ata_seek, "SEEK" },
    { 0x91, FOR_HD, ata_set_parameters, "INITIALIZE DEVICE PARAMETERS" },
    { 0x94, FOR_HD | FOR_CD, ata_standby, "STANDBY IMMEDIATE (old)" },
    { 0x95, FOR_HD | FOR_CD, ata_wake, "IDLE IMMEDIATE (old)" },
    { 0x96, FOR_HD, ata_standby, "STANDBY (old)" },
    { 0x97, FOR_HD, ata_wake, "IDLE (old)" },
    { 0x98, FOR_HD | FOR_CD, ata_check_power, "CHECK POWER MODE (old)" },
    { 0x99, FOR_HD | FOR_CD, ata_standby, "SLEEP (old)" },
    { 0xa0, FOR_CD, ata_packet_cmd, "PACKET" },
    { 0xa1, FOR_CD, ata_identify_packet_cmd, "IDENTIFY PACKET DEVICE" },
    { 0xb0, FOR_HD, ata_smart_cmd, "SMART" },
    { 0xc4, FOR_HD | MULTI, ata_read, "READ MULTIPLE" },
    { 0xc5, FOR_HD | MULTI | WRITES, ata_write, "WRITE MULTIPLE" },
    { 0xc6, FOR_HD, ata_set_multiple, "SET MULTIPLE MODE" },
    { 0xc8, FOR_HD, ata_dma, "READ DMA" },
    { 0xc9, FOR_HD, ata_dma, "READ DMA NORETRY" },
    { 0xca, FOR_HD | WRITES, ata_dma, "WRITE DMA" },
    { 0xcb, FOR_HD | WRITES, ata_dma, "WRITE DMA NORETRY" },
    { 0xce, FOR_HD | EXT | MULTI | WRITES | FUA, ata_write, "WRITE MULTIPLE FUA EXT" },
    { 0xe0, FOR_HD | FOR_CD, ata_standby, "STANDBY IMMEDIATE" },
    { 0xe1, FOR_HD | FOR_CD, ata_wake, "IDLE IMMEDIATE" },
    { 0xe2, FOR_HD, ata_standby, "STANDBY" },
    { 0xe3, FOR_HD, ata_wake, "IDLE" },
    { 0xe5, FOR_HD | FOR_CD, ata_check_power, "CHECK POWER MODE" },
    { 0xe6, FOR_HD | FOR_CD, ata_standby, "SLEEP" },
    { 0xe7, FOR_HD, ata_flush, "FLUSH CACHE" },
    { 0xea, FOR_HD | EXT, ata_flush, "FLUSH CACHE EXT" },
    { 0xec, FOR_HD | FOR_CD, ata_identify_cmd, "IDENTIFY DEVICE" },
    { 0xef, FOR_HD | FOR_CD, ata_set_features, "SET FEATURES" },
    { 0xf5, FOR_HD, ata_freeze, "SECURITY FREEZE LOCK" },
    { 0xf8, FOR_HD, ata_native_max, "READ NATIVE MAX ADDRESS" },
};

void ata_command(struct ide_drive *d, uint8_t code)
{
    unsigned who = d->cd ? FOR_CD : FOR_HD;

    d->command = code;
    d->error = 0;
    d->status = ST_DRDY | ST_DSC;
    for (size_t i = 0; i < ARRAY_SIZE(ata_cmds); i++) {
        if (ata_cmds[i].code == code && (ata_cmds[i].flags & who)) {
            ata_cmds[i].run(d, ata_cmds[i].flags);
            return;
        }
    }
    ide_abort(d);
}
