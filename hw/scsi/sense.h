/* SPDX-License-Identifier: MIT */
/* hw/scsi/sense.h - sense data: why a SCSI or packet command failed (SPC-3 4.5). */
#ifndef HW_SCSI_SENSE_H
#define HW_SCSI_SENSE_H

#include "dm/base/bytes.h"

enum {
    KEY_NOT_READY = 2,
    KEY_MEDIUM_ERROR = 3,
    KEY_HARDWARE_ERROR = 4,
    KEY_ILLEGAL_REQUEST = 5,
    KEY_UNIT_ATTENTION = 6,
    KEY_DATA_PROTECT = 7,
    KEY_ABORTED = 0x0b,
};

struct scsi_sense {
    uint8_t key, asc, ascq;
};

#define SENSE(key, asc, ascq) ((struct scsi_sense){ key, asc, ascq })
#define SENSE_NONE SENSE(0, 0, 0)
#define SENSE_BAD_COMMAND SENSE(KEY_ILLEGAL_REQUEST, 0x20, 0x00)
#define SENSE_BAD_LBA SENSE(KEY_ILLEGAL_REQUEST, 0x21, 0x00)
#define SENSE_BAD_FIELD SENSE(KEY_ILLEGAL_REQUEST, 0x24, 0x00)
#define SENSE_BAD_LUN SENSE(KEY_ILLEGAL_REQUEST, 0x25, 0x00)
#define SENSE_BAD_PARAMETER SENSE(KEY_ILLEGAL_REQUEST, 0x26, 0x00)
#define SENSE_NO_SAVING SENSE(KEY_ILLEGAL_REQUEST, 0x39, 0x00)
#define SENSE_LOCKED SENSE(KEY_ILLEGAL_REQUEST, 0x53, 0x02)
#define SENSE_READ_ERROR SENSE(KEY_MEDIUM_ERROR, 0x11, 0x00)
#define SENSE_WRITE_ERROR SENSE(KEY_MEDIUM_ERROR, 0x0c, 0x00)
#define SENSE_WRITE_PROTECTED SENSE(KEY_DATA_PROTECT, 0x27, 0x00)
#define SENSE_NO_SPACE SENSE(KEY_DATA_PROTECT, 0x27, 0x07)
#define SENSE_POWER_ON SENSE(KEY_UNIT_ATTENTION, 0x29, 0x00)
#define SENSE_CAPACITY_CHANGED SENSE(KEY_UNIT_ATTENTION, 0x2a, 0x09)
#define SENSE_MEDIUM_CHANGED SENSE(KEY_UNIT_ATTENTION, 0x28, 0x00)
#define SENSE_NO_MEDIUM SENSE(KEY_NOT_READY, 0x3a, 0x01)
#define SENSE_TRAY_OPEN SENSE(KEY_NOT_READY, 0x3a, 0x02)
#define SENSE_ABORTED SENSE(KEY_ABORTED, 0x4b, 0x00)

enum { SENSE_BYTES = 18 };
/* Current errors, fixed format: SENSE_BYTES of it. */
static inline void sense_fixed(struct scsi_sense s, uint8_t *out)
{
    memset(out, 0, SENSE_BYTES);
    out[0] = 0x70;
    out[2] = s.key;
    out[7] = SENSE_BYTES - 8;
    out[12] = s.asc;
    out[13] = s.ascq;
}

#endif
