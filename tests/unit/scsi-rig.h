/* SPDX-License-Identifier: MIT */
/* tests/unit/scsi-rig.h - a PC with an LSI53C895A, disks and a CD, driven by small scripts. */
#ifndef TESTS_UNIT_SCSI_RIG_H
#define TESTS_UNIT_SCSI_RIG_H

#include "fake-image.h"
#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/scsi/lsi-int.h"

enum {
    FN = 4 << 3,
    PORT = 0xc000,
    REGS = 0xe0000000u,
    SCRIPT_RAM = 0xe0002000u,
    DISK_BYTES = 4 << 20,
    /* guest memory */
    SCRIPT = 0x1000,
    CDB_AT = 0x2000,
    MSG_AT = 0x2100,
    STATUS_AT = 0x2200,
    TABLE_AT = 0x2300,
    DATA_AT = 0x20000, /* up to 768 KiB */
};

struct scsi_rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct blk *blk[3];
    struct fake_image *img[3];
    struct scsi_dev *dev[3];
    struct lsi *l;
    unsigned script; /* words put */
};

static inline void rig_dev(struct scsi_rig *r, unsigned i, bool cd, unsigned target, unsigned lun)
{
    struct device *d = dev_new(r->pc.m, cd ? &scsi_cd_class : &scsi_hd_class, NULL);
    r->blk[i] = fake_drive_new(r->loop, i ? "b" : "a", DISK_BYTES, &r->img[i]);
    r->img[i]->base.read_only = cd;
    dev_set_str(d, "bus", "scsi0.0");
    dev_set_u32(d, "scsi-id", target);
    dev_set_u32(d, "lun", lun);
    if (i == 0) {
        dev_set_str(d, "serial", "SER0");
    }
    dev_set_ptr(d, "drive", r->blk[i]);
    r->dev[i] = (struct scsi_dev *)pc_start(d);
}

/* Disks at target 0, LUN 0 and target 2, LUN 1; a CD at target 5. */
static inline void rig_make(struct scsi_rig *r)
{
    *r = (struct scsi_rig){ 0 };
    pc_make(&r->pc, true);
    r->loop = pc_loop_new(&r->pc);
    struct device *d = dev_new(r->pc.m, &lsi53c895a_class, "scsi0");
    dev_set_str(d, "addr", "4");
    r->l = (struct lsi *)pc_start(d);
    rig_dev(r, 0, false, 0, 0);
    rig_dev(r, 1, false, 2, 1);
    rig_dev(r, 2, true, 5, 0);
    cfg_set(&r->pc, FN, PCI_BAR0, 4, PORT);
    cfg_set(&r->pc, FN, PCI_BAR0 + 4, 4, REGS);
    cfg_set(&r->pc, FN, PCI_BAR0 + 8, 4, SCRIPT_RAM);
    cfg_set(&r->pc, FN, PCI_COMMAND, 2, 7);
}

static inline void rig_free(struct scsi_rig *r)
{
    settle(r->loop);
    machine_free(r->pc.m);
    for (unsigned i = 0; i < 3; i++) {
        blk_free(r->blk[i]);
    }
    ev_loop_free(r->loop);
    flat_free(r->pc.f);
}

static inline uint8_t *ram(struct scsi_rig *r, uint32_t at)
{
    return r->pc.f->ram + at;
}

static inline uint32_t reg(struct scsi_rig *r, unsigned at, unsigned size)
{
    return (uint32_t)io_read(r->pc.m, IO_MMIO, REGS + at, size);
}

static inline void set_reg(struct scsi_rig *r, unsigned at, unsigned size, uint32_t v)
{
    io_write(r->pc.m, IO_MMIO, REGS + at, size, v);
}

static inline void script_begin(struct scsi_rig *r)
{
    r->script = 0;
}

/* One instruction; returns its address. */
static inline uint32_t script_put(struct scsi_rig *r, uint32_t word, uint32_t operand)
{
    uint32_t at = SCRIPT + 4 * r->script;
    store_le(ram(r, at), 4, word);
    store_le(ram(r, at + 4), 4, operand);
    r->script += 2;
    return at;
}

static inline void script_run(struct scsi_rig *r, uint32_t at)
{
    set_reg(r, DSP, 4, at);
    settle(r->loop);
}

/* Instructions. */
#define I_SELECT(target) (0x41000000u | (uint32_t)(target) << 16), 0
#define I_MSG_OUT(n) (0x0e000000u | (uint32_t)(n)), MSG_AT
#define I_COMMAND(n) (0x0a000000u | (uint32_t)(n)), CDB_AT
#define I_DATA_IN(n, at) (0x09000000u | (uint32_t)(n)), (at)
#define I_DATA_OUT(n, at) (0x08000000u | (uint32_t)(n)), (at)
#define I_STATUS 0x0b000001u, STATUS_AT
#define I_MSG_IN(n, at) (0x0f000000u | (uint32_t)(n)), (at)
#define I_CLEAR_ACK 0x60000040u, 0
#define I_WAIT_FREE 0x48000000u, 0
#define I_WAIT_RESELECT(alt) 0x50000000u, (alt)
#define I_INT(n) 0x98080000u, (n)
#define I_WHEN_NOT(phase, code) (0x98030000u | (uint32_t)(phase) << 24), (code)

/* Starts a command without leave to disconnect. dir: 0 none, 'i' in, 'o' out. The script ends with
 * INT 1 once the target has left the bus. */
static inline void start_command(struct scsi_rig *r, unsigned target, unsigned lun, const void *cdb,
                                 unsigned cdb_len, char dir, uint32_t bytes)
{
    script_begin(r);
    *ram(r, MSG_AT) = (uint8_t)(0x80 | lun);
    *ram(r, STATUS_AT) = 0xee;
    memcpy(ram(r, CDB_AT), cdb, cdb_len);
    script_put(r, I_SELECT(target));
    script_put(r, I_MSG_OUT(1));
    script_put(r, I_COMMAND(cdb_len));
    if (dir == 'i') {
        script_put(r, I_DATA_IN(bytes, DATA_AT));
    } else if (dir) {
        script_put(r, I_DATA_OUT(bytes, DATA_AT));
    }
    script_put(r, I_STATUS);
    script_put(r, I_MSG_IN(1, STATUS_AT + 1));
    script_put(r, I_CLEAR_ACK);
    script_put(r, I_WAIT_FREE);
    script_put(r, I_INT(1));
    script_run(r, SCRIPT);
}

/* Takes what start_command's script ended with: the command's status, 0xff on a phase mismatch. */
static inline unsigned end_command(struct scsi_rig *r)
{
    uint32_t dstat = reg(r, DSTAT, 1), sist = reg(r, SIST0, 1);
    if (sist & SIST0_MA) { /* at the data: what is left of it does not come */
        script_run(r, reg(r, DSP, 4));
        dstat = reg(r, DSTAT, 1);
    }
    assert_int_equal(dstat, DSTAT_DFE | DSTAT_SIR);
    assert_int_equal(reg(r, DSPS, 4), 1);
    assert_int_equal(*ram(r, STATUS_AT + 1), 0);
    return *ram(r, STATUS_AT);
}

static inline unsigned command(struct scsi_rig *r, unsigned target, unsigned lun, const void *cdb,
                               unsigned cdb_len, char dir, uint32_t bytes)
{
    start_command(r, target, lun, cdb, cdb_len, dir, bytes);
    return end_command(r);
}

/* REQUEST SENSE: key << 16 | asc << 8 | ascq. */
static inline uint32_t sense(struct scsi_rig *r, unsigned target, unsigned lun)
{
    static const uint8_t cdb[6] = { 0x03, 0, 0, 0, 18, 0 };
    assert_int_equal(command(r, target, lun, cdb, 6, 'i', 18), SCSI_GOOD);
    const uint8_t *s = ram(r, DATA_AT);
    return (uint32_t)s[2] << 16 | (uint32_t)s[12] << 8 | s[13];
}

/* The unit attention after power-on is out of the way. */
static inline void awake(struct scsi_rig *r)
{
    sense(r, 0, 0);
    sense(r, 2, 1);
    sense(r, 5, 0);
}

#endif
