/* SPDX-License-Identifier: MIT */
/* hw/scsi/mmc.h - what CD-ROM drives on ATAPI and on a SCSI bus have in common.
 *
 * Their packets and replies are the same; how those travel is their owners' affair. A reply is made from
 * the packet alone and no longer than MMC_REPLY_MAX.
 */
#ifndef HW_SCSI_MMC_H
#define HW_SCSI_MMC_H

#include "block/blk.h"
#include "hw/scsi/sense.h"

enum { MMC_SECTOR = 2048, MMC_RAW_SECTOR = 2352, MMC_REPLY_MAX = 4096 };

/* Media events, MMC-3 6.7.2.4. */
enum { CD_EVENT_NONE, CD_EVENT_EJECT_REQUEST, CD_EVENT_NEW_MEDIA, CD_EVENT_REMOVAL };

/* A drive, for the time of one command. */
struct mmc {
    struct blk *blk;
    const uint8_t *packet; /* 12 bytes */
    const char *serial, *model, *ver;
    bool atapi;
    uint8_t *media_event;
    bool *unit_attention; /* the medium changed */
};

/* A command that only answers. */
struct mmc_reply {
    uint8_t code;
    bool medium;    /* needs one in a closed tray */
    bool attention; /* works while a unit attention is pending, and leaves it pending */
    /* The reply's length; 0: a field is not valid; MMC_NO_SAVING. */
    uint32_t (*make)(const struct mmc *c, uint8_t *out);
    uint8_t room_at; /* the allocation length in the packet, room_bytes (1 or 2) of it; 0: any */
    uint8_t room_bytes;
};
#define MMC_NO_SAVING UINT32_MAX
/* NULL when `code` is none of these. */
const struct mmc_reply *mmc_reply_find(uint8_t code);
/* How much of the reply the packet asks for. */
uint32_t mmc_room(const struct mmc *c, const struct mmc_reply *r);

uint32_t mmc_sectors(const struct blk *blk); /* of 2048 bytes; 0: no medium */
bool mmc_ready(const struct blk *blk);       /* a medium is in and the tray is closed */
void mmc_raw_sector(uint32_t lba, const uint8_t *data, uint8_t *out);
/* START STOP UNIT; sense key 0: done. */
struct scsi_sense mmc_start_stop(const struct mmc *c);
/* What a medium that came or went means to the drive. */
void mmc_medium_changed(const struct mmc *c);

#endif
