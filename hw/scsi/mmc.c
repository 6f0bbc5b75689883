/* SPDX-License-Identifier: MIT */
/* hw/scsi/mmc.c - replies of a CD-ROM drive, be it on ATAPI or on a SCSI bus.
 *
 * Every medium is one session with one data track. Up to 80 minutes of it count as a CD, more as a
 * DVD-ROM: that is all an image file says about itself.
 *
 * Reference: MMC-3 5.3 (features), 5.5 (mode pages), 6.19 to 6.28; SPC-2 7.3 (INQUIRY); DVD
 * structures as MMC-3 6.22. Sector layout: ECMA-130 14, without the error correction bytes.
 */
#include "hw/scsi/mmc.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"

#include <string.h>

enum {
    MAX_CD_SECTORS = 80 * 60 * 75,
    LEAD_OUT = 0xaa,
    PROFILE_CD = 0x0008,
    PROFILE_DVD = 0x0010,
    MSF_OFFSET = 150, /* two seconds */
};

uint32_t mmc_sectors(const struct blk *blk)
{
    return mmc_ready(blk) ? (uint32_t)min_u64(blk_len(blk) / MMC_SECTOR, UINT32_MAX) : 0;
}

bool mmc_ready(const struct blk *blk)
{
    return blk_present(blk) && !blk_tray_open(blk) && blk_len(blk) >= MMC_SECTOR;
}

static bool is_dvd(const struct mmc *c)
{
    return mmc_sectors(c->blk) > MAX_CD_SECTORS;
}

/* Fixed-length fields: not terminated, padded with spaces. */
static void put_text(uint8_t *out, size_t len, const char *s)
{
    size_t n = strlen(s);

    memset(out, ' ', len);
    memcpy(out, s, n < len ? n : len);
}

static uint32_t inquiry_page(const struct mmc *c, uint8_t *out, uint8_t page)
{
    static const uint8_t pages[] = { 0x00, 0x80, 0x83 };
    uint32_t len;

    memset(out, 0, 64);
    out[0] = 5;
    out[1] = page;
    switch (page) {
    case 0x00:
        memcpy(out + 4, pages, sizeof(pages));
        len = sizeof(pages);
        break;
    case 0x80:
        put_text(out + 4, 20, c->serial);
        len = 20;
        break;
    case 0x83: /* one designator: ASCII, vendor-specific */
        out[4] = 2;
        put_text(out + 8, 20, c->serial);
        out[7] = 20;
        len = 24;
        break;
    default:
        return 0;
    }
    out[3] = (uint8_t)len;
    return 4 + len;
}

static uint32_t inquiry(const struct mmc *c, uint8_t *out)
{
    if (c->packet[1] & 1) {
        return inquiry_page(c, out, c->packet[2]);
    }
    if (c->packet[2]) {
        return 0;
    }
    memset(out, 0, 36);
    out[0] = 5;                      /* CD-ROM */
    out[1] = 0x80;                   /* removable */
    out[2] = c->atapi ? 0 : 5;       /* SPC-3 */
    out[3] = c->atapi ? 0x21 : 0x02; /* ATAPI-2 and response format 1; or format 2 */
    out[4] = 31;
    put_text(out + 8, 8, "KEEL");
    put_text(out + 16, 16, c->model);
    put_text(out + 32, 4, c->ver);
    return 36;
}

/* Mode pages. */

static uint32_t mode_error_recovery(uint8_t *p)
{
    memset(p, 0, 8);
    p[0] = 0x01;
    p[1] = 6;
    p[3] = 5; /* retries */
    return 8;
}

static uint32_t mode_audio(uint8_t *p)
{
    memset(p, 0, 16);
    p[0] = 0x0e;
    p[1] = 14;
    p[2] = 4; /* immediate */
    p[8] = 1;
    p[9] = 0xff; /* left, full volume */
    p[10] = 2;
    p[11] = 0xff; /* right */
    return 16;
}

static uint32_t mode_capabilities(const struct mmc *c, uint8_t *p)
{
    memset(p, 0, 22);
    p[0] = 0x2a;
    p[1] = 20;
    p[2] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R, method 2 */
    p[4] = 0x70; /* multi-session, mode 2 forms 1 and 2 */
    p[5] = 0x03; /* CD-DA commands, accurate */
    p[6] = (uint8_t)(0x29 | (blk_locked(c->blk) ? 2 : 0)); /* tray, eject, lock */
    store_be16(p + 8, 706);                                /* kB/s: 4x */
    store_be16(p + 10, 2);                                 /* volume levels */
    store_be16(p + 12, 512);                               /* buffer, KiB */
    store_be16(p + 14, 706);
    return 22;
}

/* Page control 1 asks what can be changed: nothing can. */
static void only_headers(uint8_t *p, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 2u + p[at + 1]) {
        memset(p + at + 2, 0, p[at + 1]);
    }
}

static uint32_t mode_sense(const struct mmc *c, uint8_t *out, bool ten)
{
    uint8_t page = c->packet[2] & 0x3f;
    uint32_t head = ten ? 8 : 4, len = head;

    if (c->packet[2] >> 6 == 3) { /* saved values */
        return MMC_NO_SAVING;
    }
    memset(out, 0, head);
    if (page == 0x01 || page == 0x3f) {
        len += mode_error_recovery(out + len);
    }
    if (page == 0x0e || page == 0x3f) {
        len += mode_audio(out + len);
    }
    if (page == 0x2a || page == 0x3f) {
        len += mode_capabilities(c, out + len);
    }
    if (len == head) {
        return 0;
    }
    if (c->packet[2] >> 6 == 1) {
        only_headers(out + head, len - head);
    }
    /* Medium type: 1 for a data CD, 0x70 for an empty drive. */
    if (ten) {
        store_be16(out, (uint16_t)(len - 2));
        out[2] = mmc_ready(c->blk) ? 0x01 : 0x70;
    } else {
        out[0] = (uint8_t)(len - 1);
        out[1] = mmc_ready(c->blk) ? 0x01 : 0x70;
    }
    return len;
}

/* Table of contents. */

static void put_msf(uint8_t *out, uint32_t lba)
{
    uint32_t frames = lba + MSF_OFFSET;

    out[0] = (uint8_t)(frames / 75 / 60);
    out[1] = (uint8_t)(frames / 75 % 60);
    out[2] = (uint8_t)(frames % 75);
}

static void put_address(const struct mmc *c, uint8_t *out, uint32_t lba)
{
    if (c->packet[1] & 2) {
        out[0] = 0;
        put_msf(out + 1, lba);
    } else {
        store_be32(out, lba);
    }
}

static uint8_t *toc_entry(const struct mmc *c, uint8_t *p, uint8_t track, uint32_t lba)
{
    p[0] = 0;
    p[1] = 0x14; /* ADR 1: position; a data track */
    p[2] = track;
    p[3] = 0;
    put_address(c, p + 4, lba);
    return p + 8;
}

static uint32_t toc_tracks(const struct mmc *c, uint8_t *out, uint8_t first)
{
    uint8_t *p = out + 4;

    if (first > 1 && first != LEAD_OUT) {
        return 0;
    }
    out[2] = out[3] = 1;
    if (first <= 1) {
        p = toc_entry(c, p, 1, 0);
    }
    p = toc_entry(c, p, LEAD_OUT, mmc_sectors(c->blk));
    return (uint32_t)(p - out);
}

static uint32_t toc_sessions(const struct mmc *c, uint8_t *out)
{
    out[2] = out[3] = 1;
    return (uint32_t)(toc_entry(c, out + 4, 1, 0) - out);
}

/* Format 2: the lead-in's Q channel. */
static uint32_t toc_raw(const struct mmc *c, uint8_t *out)
{
    static const uint8_t points[] = { 0xa0, 0xa1, 0xa2, 0x01 };
    uint8_t *p = out + 4;

    out[2] = out[3] = 1;
    for (unsigned i = 0; i < sizeof(points); i++, p += 11) {
        memset(p, 0, 11);
        p[0] = 1;
        p[1] = 0x14;
        p[3] = points[i];
        if (points[i] == 0xa2) {
            put_msf(p + 8, mmc_sectors(c->blk));
        } else if (points[i] == 0x01) {
            put_msf(p + 8, 0);
        } else {
            p[8] = 1; /* first, last track */
        }
    }
    return (uint32_t)(p - out);
}

static uint32_t toc(const struct mmc *c, uint8_t *out)
{
    uint8_t format = c->packet[2] & 0x0f;
    uint32_t len;

    if (format == 0) {
        format = c->packet[9] >> 6; /* where SFF-8020i had it */
    }
    switch (format) {
    case 0:
        len = toc_tracks(c, out, c->packet[6]);
        break;
    case 1:
        len = toc_sessions(c, out);
        break;
    case 2:
        len = toc_raw(c, out);
        break;
    default:
        return 0;
    }
    if (len) {
        store_be16(out, (uint16_t)(len - 2));
    }
    return len;
}

/* Features. */

static const struct {
    uint16_t code;
    uint8_t flags; /* version << 2 | persistent << 1 | current */
    uint8_t len;
    uint8_t data[8];
    bool dvd_only, cd_only; /* current only with such a medium */
} features[] = {
    { 0x0001, 0x0b, 8, { 0, 0, 0, 2, 1 } },    /* core: ATAPI, device busy events */
    { 0x0002, 0x03, 4, { 0 } },                /* morphing */
    { 0x0003, 0x03, 4, { 0x29 } },             /* removable: tray, eject, lock */
    { 0x0010, 0x00, 8, { 0, 0, 8, 0, 0, 1 } }, /* random readable, 2048 bytes */
    { 0x001e, 0x08, 4, { 0 }, false, true },   /* CD read */
    { 0x001f, 0x00, 0, { 0 }, true, false },   /* DVD read */
    { 0x0100, 0x03, 0, { 0 } },                /* power management */
    { 0x0105, 0x03, 0, { 0 } },                /* time-out */
};

static uint8_t *put_feature(uint8_t *p, unsigned i, uint8_t flags)
{
    store_be16(p, features[i].code);
    p[2] = flags;
    p[3] = features[i].len;
    memcpy(p + 4, features[i].data, features[i].len);
    return p + 4 + features[i].len;
}

static uint8_t *put_profiles(uint8_t *p, uint16_t current)
{
    store_be16(p, 0);
    p[2] = 0x03;
    p[3] = 8;
    store_be16(p + 4, PROFILE_DVD);
    p[6] = current == PROFILE_DVD;
    p[7] = 0;
    store_be16(p + 8, PROFILE_CD);
    p[10] = current == PROFILE_CD;
    p[11] = 0;
    return p + 12;
}

/* Whether a feature is in force with the medium that is in, or with none. */
static uint8_t feature_flags(unsigned i, uint16_t profile)
{
    uint8_t flags = features[i].flags;
    bool readable = profile != 0;

    if (features[i].dvd_only) {
        readable = profile == PROFILE_DVD;
    } else if (features[i].cd_only) {
        readable = profile == PROFILE_CD;
    }
    return (uint8_t)(flags & 2 ? flags : flags | (readable ? 1 : 0));
}

/* MMC-3 6.6: byte 1 asks for all features, the current ones, or one. */
static uint32_t configuration(const struct mmc *c, uint8_t *out)
{
    unsigned kind = c->packet[1] & 3;
    uint16_t from = load_be16(c->packet + 2);
    uint16_t profile = !mmc_ready(c->blk) ? 0 : is_dvd(c) ? PROFILE_DVD : PROFILE_CD;
    uint8_t *p = out + 8;

    if (kind == 3) {
        return 0;
    }
    memset(out, 0, 8);
    store_be16(out + 6, profile);
    if (from == 0) {
        p = put_profiles(p, profile);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        uint8_t flags = feature_flags(i, profile);
        bool wanted = kind == 2 ? features[i].code == from : features[i].code >= from;

        if (wanted && (kind != 1 || (flags & 1))) {
            p = put_feature(p, i, flags);
        }
    }
    store_be32(out, (uint32_t)(p - out) - 4);
    return (uint32_t)(p - out);
}

/* DVD structures. */

static uint32_t dvd_physical(const struct mmc *c, uint8_t *p)
{
    memset(p, 0, 2048);
    p[0] = 1;    /* DVD-ROM, version 1 */
    p[1] = 0x0f; /* 120 mm, no maximum rate given */
    p[2] = 1;    /* one layer, embossed */
    store_be32(p + 4, 0x30000);
    store_be32(p + 8, 0x30000 + mmc_sectors(c->blk) - 1);
    store_be32(p + 12, 0);
    return 2048;
}

static uint32_t dvd_list(uint8_t *p)
{
    static const uint8_t list[] = {
        0x00, 0x40, 0x08, 0x04, /* physical, readable, 2052 bytes */
        0x01, 0x40, 0x00, 0x08, /* copyright */
        0x04, 0x40, 0x08, 0x04, /* manufacturer */
        0xff, 0x40, 0x00, 0x14, /* this list */
    };

    memcpy(p, list, sizeof(list));
    return sizeof(list);
}

static uint32_t dvd_structure(const struct mmc *c, uint8_t *out)
{
    uint8_t format = c->packet[7];
    uint32_t len;

    if (!is_dvd(c) || c->packet[6] != 0) {
        return 0;
    }
    memset(out, 0, 4);
    switch (format) {
    case 0x00:
        len = dvd_physical(c, out + 4);
        break;
    case 0x01:
        memset(out + 4, 0, 4); /* not protected, all regions */
        len = 4;
        break;
    case 0x04:
        memset(out + 4, 0, 2048);
        len = 2048;
        break;
    case 0xff:
        len = dvd_list(out + 4);
        break;
    default:
        return 0;
    }
    store_be16(out, (uint16_t)(len + 2));
    return len + 4;
}

/* Disc and track. */

static uint32_t disc_information(const struct mmc *c, uint8_t *out)
{
    if (c->packet[1] & 7) {
        return 0;
    }
    memset(out, 0, 34);
    out[1] = 32;
    out[2] = 0x0e; /* complete, last session complete */
    out[3] = out[4] = out[5] = out[6] = 1;
    out[7] = 0x20; /* unrestricted use */
    memset(out + 16, 0xff, 8);
    return 34;
}

static uint32_t track_information(const struct mmc *c, uint8_t *out)
{
    uint32_t asked = load_be32(c->packet + 2);
    unsigned by = c->packet[1] & 3;

    if (by == 3 || (by == 0 && asked >= mmc_sectors(c->blk)) || (by && asked != 1)) {
        return 0;
    }
    memset(out, 0, 36);
    out[1] = 34;
    out[2] = out[3] = 1; /* track, session */
    out[5] = 0x04;       /* data, uninterrupted */
    out[6] = 0x01;       /* mode 1 */
    store_be32(out + 24, mmc_sectors(c->blk));
    return 36;
}

/* Small replies. */

static uint32_t mode_sense_6(const struct mmc *c, uint8_t *out)
{
    return mode_sense(c, out, false);
}

static uint32_t mode_sense_10(const struct mmc *c, uint8_t *out)
{
    return mode_sense(c, out, true);
}

static uint32_t capacity(const struct mmc *c, uint8_t *out)
{
    store_be32(out, mmc_sectors(c->blk) - 1);
    store_be32(out + 4, MMC_SECTOR);
    return 8;
}

/* No audio is playing, ever. */
static uint32_t subchannel(const struct mmc *c, uint8_t *out)
{
    memset(out, 0, 24);
    out[1] = 0x15; /* audio status: nothing to report */
    if (!(c->packet[2] & 0x40)) {
        return 4;
    }
    out[3] = 20;
    out[4] = c->packet[3];
    switch (c->packet[3]) {
    case 1: /* current position */
        out[3] = 12;
        out[5] = 0x14;
        out[6] = out[7] = 1;
        return 16;
    case 2: /* media catalogue number, ISRC: none */
    case 3:
        return 24;
    default:
        return 0;
    }
}

/* GET EVENT STATUS NOTIFICATION, MMC-3 6.7: polled, and only about media. */
static uint32_t event_status(const struct mmc *c, uint8_t *out)
{
    if (!(c->packet[1] & 1)) { /* asynchronous notification */
        return 0;
    }
    memset(out, 0, 8);
    out[3] = 1 << 4; /* classes we know: media */
    if (!(c->packet[4] & (1 << 4))) {
        out[1] = 2;
        out[2] = 0x80; /* no event of the classes asked for */
        return 4;
    }
    out[1] = 6;
    out[2] = 4;
    out[4] = *c->media_event;
    out[5] = (uint8_t)((blk_tray_open(c->blk) ? 1 : 0) | (mmc_ready(c->blk) ? 2 : 0));
    if (load_be16(c->packet + 7) > 4) {
        *c->media_event = CD_EVENT_NONE; /* told once */
    }
    return 8;
}

static uint32_t mechanism_status(const struct mmc *c, uint8_t *out)
{
    memset(out, 0, 8);
    out[1] = blk_tray_open(c->blk) ? 0x10 : 0;
    out[5] = 1; /* slots */
    return 8;
}

static const struct mmc_reply replies[] = {
    /* code, medium, attention, reply, allocation length */
    { 0x12, false, true, inquiry, 3, 2 },
    { 0x1a, false, false, mode_sense_6, 4, 1 },
    { 0x25, true, false, capacity, 0, 0 },
    { 0x42, true, false, subchannel, 7, 2 },
    { 0x43, true, false, toc, 7, 2 },
    { 0x46, false, true, configuration, 7, 2 },
    { 0x4a, false, true, event_status, 7, 2 },
    { 0x51, true, false, disc_information, 7, 2 },
    { 0x52, true, false, track_information, 7, 2 },
    { 0x5a, false, false, mode_sense_10, 7, 2 },
    { 0xad, true, false, dvd_structure, 8, 2 },
    { 0xbd, false, false, mechanism_status, 8, 2 },
};

const struct mmc_reply *mmc_reply_find(uint8_t code)
{
    for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
        if (replies[i].code == code) {
            return &replies[i];
        }
    }
    return NULL;
}

uint32_t mmc_room(const struct mmc *c, const struct mmc_reply *r)
{
    const uint8_t *at = c->packet + r->room_at;

    return r->room_bytes == 2 ? load_be16(at) : r->room_bytes == 1 ? *at : MMC_REPLY_MAX;
}

/* The tray. */

void mmc_medium_changed(const struct mmc *c)
{
    bool present = blk_present(c->blk);

    *c->unit_attention = present;
    *c->media_event = present ? CD_EVENT_NEW_MEDIA : CD_EVENT_REMOVAL;
}

struct scsi_sense mmc_start_stop(const struct mmc *c)
{
    bool load = c->packet[4] & 1, move_tray = c->packet[4] & 2;

    if (c->packet[4] & 0xf0) { /* a power condition, nothing to do with the tray */
        return SENSE_NONE;
    }
    if (move_tray && !load && blk_locked(c->blk)) {
        return SENSE_LOCKED;
    }
    if (move_tray && blk_tray_open(c->blk) == load) {
        blk_set_tray(c->blk, !load);
        if (blk_present(c->blk)) {
            *c->media_event = load ? CD_EVENT_NEW_MEDIA : CD_EVENT_REMOVAL;
            *c->unit_attention = load;
        }
    }
    return SENSE_NONE;
}

/* Raw sectors. */

static uint8_t bcd(uint8_t v)
{
    return (uint8_t)(v / 10 << 4 | v % 10);
}

void mmc_raw_sector(uint32_t lba, const uint8_t *data, uint8_t *out)
{
    memset(out, 0, MMC_RAW_SECTOR);
    memset(out + 1, 0xff, 10); /* sync */
    put_msf(out + 12, lba);
    for (unsigned i = 12; i < 15; i++) {
        out[i] = bcd(out[i]);
    }
    out[15] = 1; /* mode 1 */
    memcpy(out + 16, data, MMC_SECTOR);
}
