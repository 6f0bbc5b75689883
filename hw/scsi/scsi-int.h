/* SPDX-License-Identifier: MIT */
/* hw/scsi/scsi-int.h - SCSI targets as a host bus adapter sees them.
 *
 *   scsi-dev.c   the devices scsi-hd and scsi-cd: places on a bus, media, state
 *   scsi-cmd.c   a command's life: data in chunks, the medium, sense; what all devices do
 *   scsi-disk.c  a disk's commands       scsi-data.c  a disk's INQUIRY and mode pages
 *   mmc.c        a CD drive's replies
 *   lsi*.c       the adapter
 *
 * The adapter fills in target, lun, cdb, window and ready, and calls scsi_start. From then on r->state
 * says what the target wants:
 *
 *   WAIT  the medium works; ready(r) runs when that is over, never from inside a call
 *   DATA  data[pos, len) are to be moved in direction dir; the adapter advances pos and calls
 *         scsi_moved when pos reached len
 *   DONE  status is the command's
 *
 * Data towards the target and short replies are in the adapter's window, so at most one request of an
 * adapter, the connected one, is in the midst of them. What was read from the medium is in a buffer of
 * the request's own; it is read again after a load (scsi_reload), so no saved state carries it.
 */
#ifndef HW_SCSI_SCSI_INT_H
#define HW_SCSI_SCSI_INT_H

#include "block/blk.h"
#include "hw/scsi/mmc.h"
#include "hw/scsi/scsi.h"

enum {
    SCSI_BLOCK = 512,
    SCSI_WINDOW = 64 << 10,
    SCSI_READ_MAX = 512 << 10, /* bytes read from the medium at once */
    SCSI_CDB = 16,
    SCSI_TARGETS = 16,
    SCSI_LUNS = 8,
};

enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK = 0x02, SCSI_QUEUE_FULL = 0x28 };
enum scsi_state { SCSI_IDLE, SCSI_WAIT, SCSI_DATA, SCSI_DONE };
enum scsi_dir { SCSI_NONE, SCSI_IN, SCSI_OUT };
enum scsi_kind {
    SCSI_REPLY,
    SCSI_READ,
    SCSI_WRITE,
    SCSI_PARAMETERS, /* a parameter list: what becomes of it is up to the command */
    SCSI_KIND_LAST = SCSI_PARAMETERS,
};

struct scsi_dev;
struct scsi_bus {
    struct device *hba;
    uint8_t devfn;
    void (*gone)(struct scsi_bus *bus); /* devices were unplugged: forget their requests */
    struct scsi_dev *dev[SCSI_TARGETS][SCSI_LUNS];
};

struct scsi_dev {
    struct device dev;                                 /* first */
    char *bus, *serial, *vendor, *product, *ver;       /* properties */
    uint32_t scsi_id, lun, channel, logical, physical; /* properties */
    struct blk *blk;
    struct scsi_bus *on;
    bool cd, unplugged, stays; /* stays: it is never unplugged */

    struct scsi_sense sense; /* of the last command that failed */
    bool power_on;           /* the next command says that it was reset */
    bool unit_attention;     /* ... that the medium or its size changed */
    uint8_t media_event;     /* for GET EVENT STATUS NOTIFICATION */
    bool tray_open, locked;  /* what blk says, kept here for saved state */
    bool write_cache;
};

struct scsi_req {
    struct scsi_bus *bus;
    uint8_t target, lun;
    uint8_t cdb[SCSI_CDB];
    uint8_t *window; /* SCSI_WINDOW bytes */
    void (*ready)(struct scsi_req *r);

    uint8_t state, dir, kind, status;
    uint8_t *data; /* NULL in state DATA: scsi_reload first */
    uint32_t pos, len;
    uint64_t offset; /* on the medium: where the chunk at hand begins */
    uint64_t left;   /* bytes from there on */
    uint8_t *own;
    uint32_t range; /* UNMAP: next descriptor */
    struct blk_req io;
    struct iovec iov;
};
extern const struct state_field scsi_req_state[];

/* scsi-dev.c: NULL when nobody is there (or was unplugged). */
struct scsi_dev *scsi_at(const struct scsi_bus *bus, unsigned target, unsigned lun);
/* Some LUN of target is there. */
bool scsi_target_present(const struct scsi_bus *bus, unsigned target);
/* All devices (or those of one target, >= 0) have been reset. */
void scsi_bus_was_reset(struct scsi_bus *bus, int target);

/* scsi-cmd.c */
void scsi_start(struct scsi_req *r);
void scsi_moved(struct scsi_req *r);
/* State DATA with data NULL: reads the chunk again; state WAIT or DONE afterwards. */
void scsi_reload(struct scsi_req *r);
/* r is no more; ready will not run. */
void scsi_cancel(struct scsi_req *r);
/* r arrived in saved state: -EINVAL when it cannot be. A command whose I/O was held by an error starts
 * over or fails as aborted. */
int scsi_req_loaded(struct scsi_req *r, struct err *e);

/* ... among the files of the target. Ends: */
void scsi_good(struct scsi_req *r);
void scsi_check(struct scsi_req *r, struct scsi_sense sense);
/* The reply is in r->window, len bytes, of which the initiator wants up to room. */
void scsi_reply(struct scsi_req *r, uint32_t len, uint32_t room);
/* len bytes (up to SCSI_WINDOW) are wanted; then the device's `parameters`. */
void scsi_receive(struct scsi_req *r, uint32_t len);
/* n blocks of `block` bytes at lba, after a check of their range. */
void scsi_read_blocks(struct scsi_req *r, uint64_t lba, uint64_t n, uint32_t block);
void scsi_write_blocks(struct scsi_req *r, uint64_t lba, uint64_t n);
/* Starts I/O of r's own; done gets r->io. State is WAIT. */
void scsi_io(struct scsi_req *r, enum blk_op op, uint64_t offset, uint64_t len,
             void (*done)(struct blk_req *q, int ret));
/* A flush, a discard or the last write is over: ends r. */
void scsi_io_done(struct blk_req *q, int ret);
struct scsi_sense scsi_sense_of(int ret, bool write);
struct scsi_dev *scsi_dev_of(const struct scsi_req *r);

struct scsi_cmd {
    uint8_t code, flags;
    void (*run)(struct scsi_req *r, struct scsi_dev *d);
};
enum {
    SCSI_NEEDS_MEDIUM = 1,
    SCSI_ATTENTION = 2, /* works while a unit attention is pending, and leaves it pending */
};

/* scsi-disk.c */
extern const struct scsi_cmd scsi_disk_cmds[]; /* ends with run NULL */
void scsi_disk_parameters(struct scsi_req *r, struct scsi_dev *d);
static inline uint64_t scsi_blocks(const struct scsi_dev *d)
{
    return blk_len(d->blk) / SCSI_BLOCK;
}

/* scsi-data.c: replies in out, up to MMC_REPLY_MAX; length, or 0 when a field is not valid. */
uint32_t scsi_inquiry(const struct scsi_dev *d, const uint8_t *cdb, uint8_t *out);
uint32_t scsi_mode_sense(const struct scsi_dev *d, const uint8_t *cdb, uint8_t *out);
/* A mode parameter list of len bytes: takes over what can be changed; false when it is not valid. */
bool scsi_mode_select(struct scsi_dev *d, const uint8_t *cdb, const uint8_t *list, uint32_t len);

enum {
    SCSI_WS_MAX = 65536,    /* blocks of a WRITE SAME */
    SCSI_UNMAP_RANGES = 256 /* descriptors of an UNMAP */
};

/* lsi.c: its bus, or NULL when d is no such adapter. */
struct scsi_bus *lsi_bus_of(struct device *d);

#endif
