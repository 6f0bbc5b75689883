/* SPDX-License-Identifier: MIT */
/* tests/unit/ide-rig.h - a PC with an IDE controller and drives on fake images. */
#ifndef TESTS_UNIT_IDE_RIG_H
#define TESTS_UNIT_IDE_RIG_H

#include "fake-image.h"
#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/ide/ide-int.h"

enum {
    DATA = 0x1f0,
    ERROR = 0x1f1,
    NSECT = 0x1f2,
    LBAL = 0x1f3,
    LBAM = 0x1f4,
    LBAH = 0x1f5,
    DEVICE = 0x1f6,
    STATUS = 0x1f7,
    CONTROL = 0x3f6,
    SECONDARY = 0x1f0 - 0x170,
    READY = ST_DRDY | ST_DSC,
    WANTS = ST_DRDY | ST_DSC | ST_DRQ,
    FAILED = ST_DRDY | ST_DSC | ST_ERR,

    IDE_FN = 1 << 3 | 1,
    BM = 0xc000,
    BM_CMD = BM,
    BM_STATUS = BM + 2,
    BM_PRD = BM + 4,
    DISK_BYTES = 8 << 20,
};

struct ide_rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct blk *blk[4];
    struct fake_image *img[4];
    struct ide_drive *drive[4];
};

static inline void rig_release(struct ide_rig *r, unsigned i)
{
    machine_enter(r->pc.m);
    fake_release(r->img[i]);
    machine_leave(r->pc.m);
    settle(r->loop);
}

static inline void rig_drive(struct ide_rig *r, unsigned i, char kind)
{
    char id[8];
    struct device *d;

    snprintf(id, sizeof(id), "d%u", i);
    r->blk[i] = blk_new(r->loop, id);
    if (kind != 'e') {
        r->img[i] = fake_image_new(DISK_BYTES);
        r->img[i]->base.read_only = kind == 'c';
        blk_set_image(r->blk[i], &r->img[i]->base);
    }
    d = dev_new(r->pc.m, kind == 'h' ? &ide_hd_class : &ide_cd_class, NULL);
    dev_set_str(d, "bus", i < 2 ? "ide.0" : "ide.1");
    dev_set_u32(d, "unit", i & 1);
    dev_set_ptr(d, "drive", r->blk[i]);
    r->drive[i] = (struct ide_drive *)pc_start(d);
}

/* what: four letters, primary master first: h hard disk, c CD, e empty CD drive, - nothing. */
static inline void rig_make(struct ide_rig *r, const char *what)
{
    struct device *d;

    *r = (struct ide_rig){ 0 };
    pc_make(&r->pc, true);
    r->loop = pc_loop_new(&r->pc);
    d = dev_new(r->pc.m, &piix3_ide_class, NULL);
    dev_set_str(d, "addr", "01.1");
    pc_start(d);
    for (unsigned i = 0; i < 4; i++) {
        if (what[i] != '-') {
            rig_drive(r, i, what[i]);
        }
    }
    cfg_set(&r->pc, IDE_FN, 0x20, 4, BM);
    cfg_set(&r->pc, IDE_FN, 0x04, 2, 5);
}

static inline void rig_free(struct ide_rig *r)
{
    machine_free(r->pc.m);
    flat_free(r->pc.f);
    for (unsigned i = 0; i < 4; i++) {
        blk_free(r->blk[i]);
    }
    ev_loop_free(r->loop);
}

static inline uint8_t inb(struct ide_rig *r, unsigned port)
{
    return (uint8_t)in(&r->pc, port, 1);
}

static inline void outb(struct ide_rig *r, unsigned port, unsigned val)
{
    out(&r->pc, port, 1, val);
}

static inline void get(struct ide_rig *r, void *buf, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2) {
        store_le((uint8_t *)buf + i, 2, in(&r->pc, DATA, 2));
    }
}

static inline void put(struct ide_rig *r, const void *buf, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2) {
        out(&r->pc, DATA, 2, load_le16((const uint8_t *)buf + i));
    }
}

/* Sets up 28-bit address and count and issues a command to a primary drive. */
static inline void command(struct ide_rig *r, unsigned unit, uint32_t lba, unsigned n, unsigned cmd)
{
    outb(r, DEVICE, 0xe0 | unit << 4 | (lba >> 24 & 15));
    outb(r, NSECT, n);
    outb(r, LBAL, lba & 255);
    outb(r, LBAM, lba >> 8 & 255);
    outb(r, LBAH, lba >> 16 & 255);
    outb(r, STATUS, cmd);
}

/* The same for a 48-bit command. */
static inline void command_ext(struct ide_rig *r, unsigned unit, uint64_t lba, unsigned n,
                               unsigned cmd)
{
    outb(r, DEVICE, 0xe0 | unit << 4);
    outb(r, NSECT, n >> 8);
    outb(r, LBAL, lba >> 24 & 255);
    outb(r, LBAM, lba >> 32 & 255);
    outb(r, LBAH, lba >> 40 & 255);
    outb(r, NSECT, n & 255);
    outb(r, LBAL, lba & 255);
    outb(r, LBAM, lba >> 8 & 255);
    outb(r, LBAH, lba >> 16 & 255);
    outb(r, STATUS, cmd);
}

static inline unsigned edges(struct ide_rig *r)
{
    return r->pc.f->isa_edges[14];
}

#endif
