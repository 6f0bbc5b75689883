/* SPDX-License-Identifier: MIT */
/* hw/scsi/scsi-data.c - what a hard disk says about itself: INQUIRY, vital product data, mode pages.
 * Reference: SPC-3 6.4, 7.4, 7.6; SBC-3 6.4, 6.5.
 */
#include "hw/scsi/scsi-int.h"

static void put_text(uint8_t *out, size_t len, const char *s)
{
    size_t n = strnlen(s, len);
    memset(out, ' ', len);
    memcpy(out, s, n);
}

/* ---- INQUIRY ---- */

static uint32_t page_serial(const struct scsi_dev *d, uint8_t *p)
{
    size_t n = d->serial ? strnlen(d->serial, 36) : 0;
    memcpy(p, d->serial ? d->serial : "", n);
    return (uint32_t)n;
}

/* One designator: ASCII, vendor-specific. */
static uint32_t page_identification(const struct scsi_dev *d, uint8_t *p)
{
    const char *name = d->serial ? d->serial : blk_id(d->blk);
    size_t n = strnlen(name, 200);
    p[0] = 2;
    p[3] = (uint8_t)n;
    memcpy(p + 4, name, n);
    return (uint32_t)n + 4;
}

static uint32_t page_limits(const struct scsi_dev *d, uint8_t *p)
{
    (void)d;
    memset(p, 0, 60);
    p[0] = 1;                              /* WSNZ: WRITE SAME of no blocks is nothing special */
    store_be32(p + 16, UINT32_MAX);        /* blocks of an UNMAP */
    store_be32(p + 20, SCSI_UNMAP_RANGES); /* descriptors of one */
    store_be32(p + 24, 1);                 /* granularity */
    store_be64(p + 32, SCSI_WS_MAX);
    return 60;
}

static uint32_t page_characteristics(const struct scsi_dev *d, uint8_t *p)
{
    (void)d;
    memset(p, 0, 60);
    store_be16(p, 1); /* does not rotate */
    return 60;
}

static uint32_t page_provisioning(const struct scsi_dev *d, uint8_t *p)
{
    (void)d;
    memset(p, 0, 4);
    p[1] = 0x80; /* UNMAP */
    p[2] = 2;    /* thin */
    return 4;
}

static const struct {
    uint8_t code;
    uint32_t (*make)(const struct scsi_dev *d, uint8_t *p);
} vital_pages[] = {
    { 0x00, NULL },        { 0x80, page_serial },          { 0x83, page_identification },
    { 0xb0, page_limits }, { 0xb1, page_characteristics }, { 0xb2, page_provisioning },
};

static uint32_t vital_page(const struct scsi_dev *d, uint8_t code, uint8_t *out)
{
    uint32_t len = 0;
    out[0] = 0;
    out[1] = code;
    for (size_t i = 0; i < ARRAY_SIZE(vital_pages); i++) {
        if (code == 0) {
            out[4 + len++] = vital_pages[i].code;
        } else if (vital_pages[i].code == code) {
            len = vital_pages[i].make(d, out + 4);
        }
    }
    store_be16(out + 2, (uint16_t)len);
    return len ? len + 4 : 0;
}

uint32_t scsi_inquiry(const struct scsi_dev *d, const uint8_t *cdb, uint8_t *out)
{
    if (cdb[1] & 1) {
        return vital_page(d, cdb[2], out);
    }
    if (cdb[2]) {
        return 0;
    }
    memset(out, 0, 36);
    out[2] = 5;    /* SPC-3 */
    out[3] = 2;    /* response format */
    out[4] = 31;   /* what follows */
    out[7] = 0x32; /* wide, synchronous, command queueing */
    put_text(out + 8, 8, d->vendor);
    put_text(out + 16, 16, d->product);
    put_text(out + 32, 4, d->ver);
    return 36;
}

/* ---- mode pages ---- */

enum { PAGE_RECOVERY = 0x01, PAGE_GEOMETRY = 0x04, PAGE_CACHING = 0x08, PAGE_CONTROL = 0x0a };

static uint32_t mode_recovery(const struct scsi_dev *d, uint8_t *p)
{
    (void)d;
    p[2] = 0x80; /* bad blocks are mapped away on writes */
    return 12;
}

static uint32_t mode_geometry(const struct scsi_dev *d, uint8_t *p)
{
    uint32_t cylinders = (uint32_t)min_u64(scsi_blocks(d) / (16 * 63), 0xffffff);
    store_be32(p + 1, cylinders); /* 24 bits at 2 */
    p[1] = 22;
    p[5] = 16;
    store_be16(p + 20, 5400);
    return 24;
}

static uint32_t mode_caching(const struct scsi_dev *d, uint8_t *p)
{
    p[2] = d->write_cache ? 4 : 0;
    return 20;
}

static uint32_t mode_control(const struct scsi_dev *d, uint8_t *p)
{
    (void)d;
    p[3] = 0x10; /* commands may be reordered */
    return 12;
}

static const struct {
    uint8_t code;
    uint32_t (*make)(const struct scsi_dev *d, uint8_t *p);
} mode_pages[] = {
    { PAGE_RECOVERY, mode_recovery },
    { PAGE_GEOMETRY, mode_geometry },
    { PAGE_CACHING, mode_caching },
    { PAGE_CONTROL, mode_control },
};

/* Of page control 1 only what can be changed is set: the write cache. */
static uint32_t put_page(const struct scsi_dev *d, size_t i, bool changeable, uint8_t *p)
{
    memset(p, 0, 24);
    uint32_t len = mode_pages[i].make(d, p);
    if (changeable) {
        memset(p, 0, len);
        p[2] = mode_pages[i].code == PAGE_CACHING ? 4 : 0;
    }
    p[0] = mode_pages[i].code;
    p[1] = (uint8_t)(len - 2);
    return len;
}

static uint32_t put_header(const struct scsi_dev *d, const uint8_t *cdb, uint8_t *out)
{
    bool ten = cdb[0] == 0x5a, descriptor = !(cdb[1] & 8);
    uint32_t head = ten ? 8 : 4;
    uint8_t flags = (uint8_t)((blk_read_only(d->blk) ? 0x80 : 0) | 0x10 /* DPO and FUA */);
    memset(out, 0, head + 8);
    out[ten ? 3 : 2] = flags;
    out[ten ? 7 : 3] = descriptor ? 8 : 0;
    if (descriptor) {
        store_be32(out + head, (uint32_t)min_u64(scsi_blocks(d), 0xffffff));
        store_be32(out + head + 4, SCSI_BLOCK);
    }
    return head + (descriptor ? 8 : 0);
}

uint32_t scsi_mode_sense(const struct scsi_dev *d, const uint8_t *cdb, uint8_t *out)
{
    uint8_t page = cdb[2] & 0x3f;
    uint32_t head = put_header(d, cdb, out), len = head;
    for (size_t i = 0; i < ARRAY_SIZE(mode_pages); i++) {
        if (page == 0x3f || page == mode_pages[i].code) {
            len += put_page(d, i, cdb[2] >> 6 == 1, out + len);
        }
    }
    if (len == head && page != 0) { /* page 0: the header alone */
        return 0;
    }
    if (cdb[0] == 0x5a) {
        store_be16(out, (uint16_t)(len - 2));
    } else {
        out[0] = (uint8_t)(len - 1);
    }
    return len;
}

bool scsi_mode_select(struct scsi_dev *d, const uint8_t *cdb, const uint8_t *list, uint32_t len)
{
    bool ten = cdb[0] == 0x55;
    uint32_t head = ten ? 8 : 4, at;
    if (len < head) {
        return false;
    }
    at = head + (ten ? load_be16(list + 6) : list[3]);
    while (at + 2 <= len) {
        const uint8_t *p = list + at;
        at += 2u + p[1];
        if ((p[0] & 0x3f) == PAGE_CACHING && p[1] >= 18 && at <= len) {
            d->write_cache = p[2] & 4;
        }
    }
    return at == len;
}
