/* SPDX-License-Identifier: MIT */
/* hw/ide/ata-id.c - what a drive says about itself: IDENTIFY data, geometry, SMART.
 *
 * Reference: ATA/ATAPI-7 volume 1, 6.16 and 6.17 (IDENTIFY), 6.54 (SMART); ACS-2 7.18 for the
 * words on TRIM.
 */
#include "hw/ide/ide-int.h"

#include "dm/base/bytes.h"

#include <string.h>

enum { DEFAULT_HEADS = 16, DEFAULT_SECTORS = 63, MAX_CYLINDERS = 16383 };

uint64_t ata_sectors(const struct ide_drive *d)
{
    return blk_len(d->blk) / IDE_SECTOR;
}

void ata_default_geometry(struct ide_drive *d)
{
    d->heads = DEFAULT_HEADS;
    d->sectors = DEFAULT_SECTORS;
}

static uint32_t cylinders(uint64_t total, uint32_t heads, uint32_t sectors)
{
    return (uint32_t)min_u64(total / ((uint64_t)heads * sectors), MAX_CYLINDERS);
}

static void put16(uint8_t *out, unsigned word, uint16_t v)
{
    store_le(out + 2 * word, 2, v);
}

static void put32(uint8_t *out, unsigned word, uint32_t v)
{
    store_le(out + 2 * word, 4, v);
}

/* ATA strings: padded with spaces, the bytes of each word swapped. */
static void put_string(uint8_t *out, unsigned word, unsigned words, const char *s)
{
    size_t len = strlen(s);

    for (unsigned i = 0; i < 2 * words; i++) {
        out[2 * word + (i ^ 1)] = i < len ? (uint8_t)s[i] : ' ';
    }
}

/* Words both kinds of drive share. */
static void identify_common(const struct ide_drive *d, uint8_t *out)
{
    memset(out, 0, IDE_SECTOR);
    put_string(out, 10, 10, d->serial);
    put_string(out, 23, 4, d->ver);
    put_string(out, 27, 20, d->model);
    put16(out, 48, 1);      /* 32-bit data port accesses work */
    put16(out, 49, 0x0b00); /* IORDY, LBA, DMA */
    put16(out, 53, 7);      /* words 54-58, 64-70 and 88 are valid */
    put16(out, 63, (uint16_t)(0x07 | d->mdma << 8));
    put16(out, 64, 3); /* PIO modes 3 and 4 */
    for (unsigned word = 65; word <= 68; word++) {
        put16(out, word, 120); /* cycle times, ns */
    }
    put16(out, 80, 0xf0); /* ATA/ATAPI-4 to -7 */
    put16(out, 88, (uint16_t)(0x3f | d->udma << 8));
    put16(out, 93, 0x6001 | (d->unit ? 0x0600 : 0)); /* 80-wire cable */
}

/* Words 82 to 87: command sets supported, then the same with what is switched on. */
static void identify_features(const struct ide_drive *d, uint8_t *out)
{
    uint16_t w82 = 1 << 14 | 1 << 6 | 1 << 5 | 1;         /* NOP, look-ahead, write cache, SMART */
    uint16_t w83 = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10; /* FLUSH EXT, FLUSH, 48-bit */
    uint16_t w84 = 1 << 14 | 1 << 6 | 1 << 1 | 1;         /* FUA, SMART self-test, error log */
    uint16_t on = 1 << 14;

    w84 |= d->ch->link ? 1 << 5 : 0; /* general purpose logging, for queued commands */
    on |= (uint16_t)((d->read_ahead ? 1 << 6 : 0) | (d->write_cache ? 1 << 5 : 0));
    on |= (uint16_t)(d->smart.enabled ? 1 : 0);
    put16(out, 82, w82);
    put16(out, 83, w83);
    put16(out, 84, w84);
    put16(out, 85, on);
    put16(out, 86, (uint16_t)(w83 & ~(1 << 14)));
    put16(out, 87, w84);
}

static void identify_capacity(const struct ide_drive *d, uint8_t *out)
{
    uint64_t total = ata_sectors(d);
    uint32_t cyls = cylinders(total, d->heads, d->sectors);
    uint32_t chs = cyls * d->heads * d->sectors;

    put16(out, 1, (uint16_t)cylinders(total, DEFAULT_HEADS, DEFAULT_SECTORS));
    put16(out, 3, DEFAULT_HEADS);
    put16(out, 6, DEFAULT_SECTORS);
    put16(out, 54, (uint16_t)cyls);
    put16(out, 55, (uint16_t)d->heads);
    put16(out, 56, (uint16_t)d->sectors);
    put32(out, 57, chs);
    put32(out, 60, (uint32_t)min_u64(total, 0x0fffffff));
    store_le(out + 200, 8, total);
}

void ata_identify(const struct ide_drive *d, uint8_t *out)
{
    unsigned per_physical = 0;

    while ((uint32_t)IDE_SECTOR << per_physical < d->physical_block_size) {
        per_physical++;
    }
    identify_common(d, out);
    identify_features(d, out);
    identify_capacity(d, out);
    put16(out, 0, 0x0040); /* a fixed drive */
    put16(out, 47, 0x8000 | IDE_MAX_MULTIPLE);
    put16(out, 59, (uint16_t)(d->multiple ? 0x100 | d->multiple : 0));
    if (d->ch->link) { /* serial ATA */
        put16(out, 75, AHCI_QUEUE - 1);
        put16(out, 76, 1 << 8 | 1 << 1); /* queueing, 1.5 Gb/s */
        put16(out, 93, 0);
    }
    put16(out, 105, IDE_MAX_MULTIPLE); /* blocks a TRIM may bring */
    put16(out, 106, (uint16_t)(0x4000 | (per_physical ? 0x2000 | per_physical : 0)));
    put16(out, 128, d->frozen ? 1 << 3 : 0);
    put16(out, 169, 1); /* TRIM */
    put16(out, 217, 1); /* no rotation */
}

void ata_identify_packet(const struct ide_drive *d, uint8_t *out)
{
    identify_common(d, out);
    put16(out, 0, 0x85c0); /* ATAPI, CD-ROM, removable, DRQ within 50 us, 12-byte packets */
    put16(out, 82, 1 << 14 | 1 << 9 | 1 << 4); /* NOP, DEVICE RESET, PACKET */
    put16(out, 83, 1 << 14);
    put16(out, 84, 1 << 14);
    put16(out, 85, 1 << 14 | 1 << 9 | 1 << 4);
    put16(out, 87, 1 << 14);
}

/* SMART. */

static const struct {
    uint8_t id, flags_low, value, worst, raw, threshold;
} attributes[] = {
    { 1, 0x03, 100, 100, 0, 6 },    /* raw read error rate */
    { 3, 0x03, 100, 100, 16, 0 },   /* spin-up time */
    { 4, 0x02, 100, 100, 100, 20 }, /* start/stop count */
    { 5, 0x03, 100, 100, 0, 36 },   /* reallocated sectors */
    { 9, 0x03, 100, 100, 1, 0 },    /* power-on hours */
    { 12, 0x03, 100, 100, 0, 0 },   /* power cycles */
    { 190, 0x03, 69, 69, 31, 50 },  /* airflow temperature */
};

/* All bytes of a SMART sector add up to zero. */
static void seal(uint8_t *out)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < IDE_SECTOR - 1; i++) {
        sum = (uint8_t)(sum + out[i]);
    }
    out[IDE_SECTOR - 1] = (uint8_t)-sum;
}

static void smart_data(const struct ide_drive *d, uint8_t *out)
{
    put16(out, 0, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(attributes); i++) {
        uint8_t *a = out + 2 + 12 * i;

        a[0] = attributes[i].id;
        a[1] = attributes[i].flags_low;
        a[3] = attributes[i].value;
        a[4] = attributes[i].worst;
        a[5] = attributes[i].raw;
    }
    out[362] = d->smart.autosave ? 0x82 : 0x02; /* off-line collection completed */
    put16(out, 182, 288);                       /* seconds it takes */
    out[367] = 1 << 4 | 1 << 3 | 1;             /* self-test, off-line read scan, immediate */
    put16(out, 184, 3);                         /* attributes are saved */
    out[370] = 1;                               /* error logging */
    out[372] = 2;                               /* minutes: short self-test */
    out[373] = 54;                              /* minutes: extended self-test */
    seal(out);
}

static void smart_thresholds(uint8_t *out)
{
    put16(out, 0, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(attributes); i++) {
        out[2 + 12 * i] = attributes[i].id;
        out[3 + 12 * i] = attributes[i].threshold;
    }
    seal(out);
}

static void smart_self_tests(const struct ide_smart *s, uint8_t *out)
{
    put16(out, 0, 1);
    for (unsigned i = 0; i < IDE_SELF_TESTS; i++) {
        if (s->selftest[i]) {
            out[2 + 24 * i] = s->selftest[i];
            put16(out, 2 + 12 * i, 0x34); /* life time, hours */
        }
    }
    out[508] = s->selftest_count ? s->selftest_count : IDE_SELF_TESTS;
    if (!s->selftest[0]) {
        out[508] = 0; /* none ran yet */
    }
    seal(out);
}

/* The error of a queued command is told once (ATA8-ACS, A.14). */
static void ncq_log(struct ide_drive *d, uint8_t *out)
{
    const struct ide_ncq_error *n = &d->ncq_error;

    out[0] = n->valid ? n->tag : 0x80; /* NQ: it was none of the queue */
    out[2] = n->status;
    out[3] = n->error;
    for (unsigned i = 0; i < 3; i++) {
        out[4 + i] = (uint8_t)(n->lba >> (8 * i));
        out[8 + i] = (uint8_t)(n->lba >> (24 + 8 * i));
    }
    out[7] = DEV_LBA;
    out[12] = (uint8_t)(n->tag << 3);
    seal(out);
    d->ncq_error = (struct ide_ncq_error){ 0 };
}

bool ata_log_page(struct ide_drive *d, uint8_t log, uint16_t page, uint8_t *out)
{
    memset(out, 0, IDE_SECTOR);
    if (page || (log != 0 && (log != 0x10 || !d->ch->link))) {
        return false;
    }
    if (log == 0) {
        put16(out, 0, 1);
        put16(out, 0x10, d->ch->link ? 1 : 0);
    } else {
        ncq_log(d, out);
    }
    return true;
}

static bool smart_log(struct ide_drive *d)
{
    switch (d->tf.lbal) {
    case 0x00: /* directory */
        put16(d->buf, 0, 1);
        put16(d->buf, 1, 1);
        put16(d->buf, 6, 1);
        return true;
    case 0x01: /* summary of errors: none */
        d->buf[0] = 1;
        seal(d->buf);
        return true;
    case 0x06:
        smart_self_tests(&d->smart, d->buf);
        return true;
    default:
        return false;
    }
}

/* Tests end at once and pass. */
static bool smart_execute(struct ide_drive *d)
{
    struct ide_smart *s = &d->smart;

    switch (d->tf.lbal) {
    case 0: /* off-line data collection */
        return true;
    case 1:
    case 2:
        s->selftest[s->selftest_count] = d->tf.lbal;
        s->selftest_count = (uint8_t)((s->selftest_count + 1) % IDE_SELF_TESTS);
        return true;
    default:
        return false;
    }
}

static bool smart_run(struct ide_drive *d)
{
    switch (d->tf.feature) {
    case 0xd0:
        smart_data(d, d->buf);
        d->fill = IDE_SECTOR;
        return true;
    case 0xd1:
        smart_thresholds(d->buf);
        d->fill = IDE_SECTOR;
        return true;
    case 0xd2:
        d->smart.autosave = d->tf.nsect == 0xf1;
        return d->tf.nsect == 0xf1 || d->tf.nsect == 0x00;
    case 0xd3:
        return true;
    case 0xd4:
        return smart_execute(d);
    case 0xd5:
        d->fill = IDE_SECTOR;
        return d->tf.nsect == 1 && smart_log(d);
    case 0xd9:
        d->smart.enabled = false;
        return true;
    case 0xda: /* status: the registers keep the signature, all is well */
        return true;
    default:
        return false;
    }
}

/* Leaves d->fill at the length of the reply, 0: none. */
void ata_smart(struct ide_drive *d)
{
    if (d->tf.lbam != 0x4f || d->tf.lbah != 0xc2) {
        ide_abort(d);
        return;
    }
    if (d->tf.feature == 0xd8) {
        d->smart.enabled = true;
        return;
    }
    memset(d->buf, 0, IDE_SECTOR);
    if (!d->smart.enabled || !smart_run(d)) {
        ide_abort(d);
    }
}
