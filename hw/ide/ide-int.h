/* SPDX-License-Identifier: MIT */
/* hw/ide/ide-int.h - the parts of IDE among themselves.
 *
 *   piix3-ide.c  the PCI function: ports, BAR, timing registers, two channels
 *   ata.c        a channel's registers, phases of a command, PIO, interrupts, resets
 *   bmdma.c      the bus master of a channel: PRD tables, DMA
 *   ata-cmd.c    ATA commands        ata-id.c   IDENTIFY, SMART data
 *   atapi.c      packet commands; their replies are made in hw/scsi/mmc.c
 *   ahci.c       serial ATA: ports instead of channels, behind struct ide_link
 *   drive.c      the devices ide-hd and ide-cd: properties, state, media
 *
 * A command moves through the phases below. PHASE_BUSY and PHASE_DMA have a block request in
 * flight; all other phases wait for the guest and are what a saved state may contain.
 *
 *   IDLE -> BUSY -> IN ----> (BUSY -> IN)* -> IDLE          PIO towards the guest
 *   IDLE -> OUT -> BUSY -> (OUT -> BUSY)* -> IDLE           PIO from the guest
 *   IDLE -> DMA_WAIT (until START) -> DMA -> IDLE           DMA
 *   IDLE -> PACKET -> any of the three above                ATAPI
 */
#ifndef HW_IDE_IDE_INT_H
#define HW_IDE_IDE_INT_H

#include "block/blk.h"
#include "hw/ide/ide.h"
#include "hw/pci/pci.h"
#include "hw/scsi/mmc.h"

enum {
    IDE_SECTOR = 512,
    CD_SECTOR = MMC_SECTOR,
    CD_RAW_SECTOR = MMC_RAW_SECTOR,
    IDE_MAX_MULTIPLE = 16, /* sectors in a DRQ block of READ/WRITE MULTIPLE */
    IDE_BUF_BYTES = IDE_MAX_MULTIPLE * IDE_SECTOR,
    AHCI_QUEUE = 32,     /* native queued commands a drive takes */
    IDE_SELF_TESTS = 21, /* descriptors in the self-test log */
};

/* Status, error and device-control bits, ATA/ATAPI-7 volume 1, 6. */
enum {
    ST_ERR = 0x01,
    ST_DRQ = 0x08,
    ST_DSC = 0x10,
    ST_DF = 0x20,
    ST_DRDY = 0x40,
    ST_BSY = 0x80,
    ER_ABRT = 0x04,
    ER_IDNF = 0x10,
    ER_UNC = 0x40,
    DEV_DEV1 = 0x10,
    DEV_LBA = 0x40,
    DC_NIEN = 0x02,
    DC_SRST = 0x04,
    DC_HOB = 0x80,
    IR_CD = 0x01, /* ATAPI interrupt reason, in the sector count register */
    IR_IO = 0x02,
};

enum ide_phase {
    PHASE_IDLE,
    PHASE_BUSY,
    PHASE_IN,
    PHASE_OUT,
    PHASE_PACKET,
    PHASE_DMA_WAIT,
    PHASE_DMA,
    PHASE_LAST = PHASE_DMA,
};

/* What moves, and so what follows when a block or a DMA transfer ends. */
enum ide_xfer {
    XFER_NONE,
    XFER_READ, /* sectors of a disk */
    XFER_WRITE,
    XFER_REPLY,   /* buf to the guest, then the command is over */
    XFER_TRIM,    /* ranges to discard arrive in buf */
    XFER_CD_READ, /* sectors of a CD, 2048 bytes each */
    XFER_CD_RAW,  /* READ CD with headers, 2352 bytes each */
    XFER_CD_REPLY,
    XFER_CD_PARAM, /* a parameter list arrives in buf */
    XFER_LAST = XFER_CD_PARAM,
};

struct ide_channel;

struct ide_taskfile {
    uint8_t feature, nsect, lbal, lbam, lbah;
};

struct ide_smart {
    bool enabled, autosave;
    uint8_t errors;
    uint8_t selftest_count;           /* where the next descriptor goes, 0..20 */
    uint8_t selftest[IDE_SELF_TESTS]; /* which test ran; all passed */
};

/* The queued command that failed last: log page 10h (SATA 3.0, 13.7.3.4). */
struct ide_ncq_error {
    bool valid;
    uint8_t tag, status, error;
    uint64_t lba;
};

struct ide_drive {
    struct device dev;                /* first, so a struct device * is a struct ide_drive * */
    char *bus, *serial, *model, *ver; /* properties */
    uint32_t unit, logical_block_size, physical_block_size;
    struct blk *blk;

    struct ide_channel *ch;
    bool cd;
    bool unplugged; /* until the next reset; the channel behaves as if nobody were there */
    bool stays;     /* that never happens */

    struct ide_taskfile tf, hob;
    uint8_t device, status, error, command;

    uint32_t heads, sectors; /* translation in force, INITIALIZE DEVICE PARAMETERS */
    uint8_t multiple;        /* sectors a block, 0: READ MULTIPLE is off */
    uint8_t mdma, udma;      /* bit of the mode in force, 0: none */
    bool write_cache, read_ahead, frozen;
    bool sleeping; /* STANDBY or SLEEP; the next media access wakes it */
    struct ide_smart smart;
    struct ide_ncq_error ncq_error;

    uint8_t phase, xfer;
    uint8_t buf[IDE_BUF_BYTES];
    uint32_t pos, end, fill; /* in buf: next byte, end of the DRQ block, end of data */
    uint32_t block;          /* bytes in a DRQ block */
    uint64_t lba;            /* next sector to move from or to the medium */
    uint32_t left;           /* sectors to move yet */
    bool fua, lba48;

    uint64_t dma_offset; /* bytes on the medium */
    uint64_t dma_len;    /* bytes to move yet, of the medium or of buf */

    /* ATAPI */
    uint8_t packet[12];
    bool packet_dma;
    struct scsi_sense sense;
    bool unit_attention;    /* the medium changed: the next command says so */
    uint8_t media_event;    /* for GET EVENT STATUS NOTIFICATION */
    bool tray_open, locked; /* what blk says, kept here for saved state */

    struct blk_req req;
    struct iovec iov;
    uint64_t io_bytes; /* of req; 0 while none is in flight */
};

/* Where the bus master is in its PRD table. */
struct bm_walk {
    uint32_t next;       /* address of the next descriptor */
    uint32_t addr, left; /* what is left of the present one, bytes */
    uint32_t count;      /* descriptors fetched since START */
    bool last;           /* the present one has EOT */
};

struct bm_dma; /* scratch of a running transfer, bmdma.c */

/* Who carries blocks and interrupts between a drive and the guest, when it is not the ports and the
 * bus master of a parallel channel. */
struct ide_link {
    void (*irq)(struct ide_channel *ch);    /* INTRQ rises */
    void (*dma)(struct ide_drive *d);       /* in place of bmdma_wait */
    void (*cancelled)(struct ide_drive *d); /* a DMA transfer was given up */
};

struct ide_channel {
    const struct ide_link *link; /* NULL: a parallel channel */
    struct pci_dev *pci;
    struct ide_drive *drive[2];
    uint8_t select; /* 0 or 1 */
    uint8_t control;
    bool intrq;
    struct line irq;
    struct region cmd_ports, ctl_port;

    uint8_t bm_cmd, bm_status;
    uint32_t bm_prd;
    struct bm_walk walk;
    struct bm_dma *dma;
};

enum { BM_START = 0x01, BM_RWCON = 0x08, BMS_ACTIVE = 0x01, BMS_ERR = 0x02, BMS_IRQ = 0x04 };

/* piix3-ide.c: "ide.0" or "ide.1" of the machine's controller, "ID.N" of an AHCI one, or NULL. */
struct ide_channel *ide_bus_find(struct machine *m, const char *name);

/* ahci.c: port N of d for "ID.N"; NULL when d is no such controller. */
struct ide_channel *ahci_bus_find(struct device *d, const char *name);

/* ata.c: the channel's ports. Offsets 0..7 are the command block; size 1, 2 or 4. */
uint64_t ide_cmd_read(struct ide_channel *ch, uint64_t off, unsigned size);
void ide_cmd_write(struct ide_channel *ch, uint64_t off, unsigned size, uint64_t val);
uint64_t ide_ctl_read(struct ide_channel *ch);
void ide_ctl_write(struct ide_channel *ch, uint8_t val);
/* The drive at unit, or NULL when there is none or it is unplugged. */
struct ide_drive *ide_at(const struct ide_channel *ch, unsigned unit);
void ide_update_irq(struct ide_channel *ch);
void ide_raise_irq(struct ide_channel *ch);
void ide_channel_reset(struct ide_channel *ch);
/* Drops whatever d is doing; it owns no request and no DMA afterwards. */
void ide_stop(struct ide_drive *d);
/* Back to the state after power-on or a reset, with the signature in the registers. */
void ide_drive_reset(struct ide_drive *d, bool power_on);
void ide_set_signature(struct ide_drive *d);
/* Ends of a command: with or without an interrupt, or with error bits. */
void ide_end(struct ide_drive *d, bool irq);
void ide_fail(struct ide_drive *d, uint8_t error);
void ide_abort(struct ide_drive *d);
/* d->buf[0, fill) goes to the guest in blocks of `block` bytes. */
void ide_pio_in(struct ide_drive *d);
/* A DRQ block [0, len) is expected from the guest in d->buf. */
void ide_pio_out(struct ide_drive *d, uint32_t len);
/* The DRQ block d->buf[.., end) has been moved. */
void ide_block_done(struct ide_drive *d);
/* Starts I/O of len bytes at offset from or to d->buf (BLK_FLUSH, BLK_DISCARD: no data). */
void ide_io(struct ide_drive *d, enum blk_op op, uint64_t offset, uint64_t len,
            void (*done)(struct blk_req *r, int ret));

/* bmdma.c */
void bmdma_init(struct ide_channel *ch);
void bmdma_fini(struct ide_channel *ch);
void bmdma_reset(struct ide_channel *ch);
uint64_t bmdma_read(struct ide_channel *ch, unsigned reg, unsigned size);
void bmdma_write(struct ide_channel *ch, unsigned reg, unsigned size, uint64_t val);
/* d has set xfer, dma_offset and dma_len and waits for START (or goes at once). */
void bmdma_wait(struct ide_drive *d);
/* Undoes the pins of a transfer that was cancelled. */
void bmdma_cancelled(struct ide_channel *ch);
/* How a DMA transfer ended, as bmdma.c tells the command. */
enum bm_end {
    BM_OK,
    BM_SHORT,     /* the PRD table ended first */
    BM_BAD_GUEST, /* not bus master, or a PRD that names no RAM */
    BM_IO_ERROR,  /* the medium failed at dma_offset */
};

/* ata-cmd.c, atapi.c: what the core calls. */
void ata_command(struct ide_drive *d, uint8_t code);
void ata_block_done(struct ide_drive *d);                /* a DRQ block was taken or filled */
void ata_dma_done(struct ide_drive *d, enum bm_end end); /* XFER_READ..XFER_TRIM */
void atapi_start_packet(struct ide_drive *d);            /* the PACKET command itself */
void atapi_packet(struct ide_drive *d);                  /* 12 bytes have arrived in d->buf */
void atapi_block_done(struct ide_drive *d);
void atapi_dma_done(struct ide_drive *d, enum bm_end end);

/* ata-id.c */
void ata_identify(const struct ide_drive *d, uint8_t *out);
void ata_identify_packet(const struct ide_drive *d, uint8_t *out);
void ata_smart(struct ide_drive *d);
/* Page `page` of general purpose log `log` into out; false when there is none. */
bool ata_log_page(struct ide_drive *d, uint8_t log, uint16_t page, uint8_t *out);
uint64_t ata_sectors(const struct ide_drive *d);
void ata_default_geometry(struct ide_drive *d);

/* atapi.c: d as hw/scsi/mmc.c wants it, for one command. */
struct mmc ide_mmc(struct ide_drive *d);

#endif
