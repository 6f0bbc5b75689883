/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-scsi.c - the LSI53C895A with two disks and a CD, driven like by a hostile guest.
 *
 * Input: a sequence of 12-byte steps: registers, scripts in memory (random instructions, and whole commands
 * made of random bytes), completions that come late or fail, resets, unplugging, states saved and loaded,
 * also ones no adapter would have written. Aims at crashes, asserts and endless loops; besides, a drained
 * machine must save and load.
 */
#include "tests/fuzz/disk-world.h"

#include "dm/base/bytes.h"
#include "hw/pci/i440fx.h"
#include "hw/scsi/lsi-int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    STEP = 12,
    MAX_STEPS = 200,
    IMAGE_BYTES = 256 << 10,
    RAM_BYTES = 256 << 10,
    REGS = 0xe0000000u,
    SCRIPT_RAM = 0xe0002000u,
    SCRIPT = 0x1000,
    CDB_AT = 0x2000,
    MSG_AT = 0x2100,
    DATA_AT = 0x10000,
    MAX_SAVES = 1,
};

struct world {
    struct disk_world base;
    struct lsi *l;
};

static struct fake_image *image(const struct world *w, unsigned i)
{
    return (struct fake_image *)blk_image(w->base.blk[i]);
}

static void reg_write(struct world *w, unsigned at, unsigned size, uint64_t val)
{
    io_write(w->base.m, IO_MMIO, REGS + at, size, val);
}

static void world_make(struct world *w)
{
    static const uint8_t places[3][2] = { { 0, 0 }, { 2, 1 }, { 2, 0 } };
    disk_world_make(&w->base, RAM_BYTES);
    world_start(dev_new(w->base.m, &i440fx_class, NULL));
    struct device *d = dev_new(w->base.m, &lsi53c895a_class, NULL);
    dev_set_str(d, "addr", "4");
    w->l = (struct lsi *)world_start(d);
    for (unsigned i = 0; i < 3; i++) {
        d = dev_new(w->base.m, i == 2 ? &scsi_cd_class : &scsi_hd_class, NULL);
        struct blk *blk = disk_world_drive(&w->base, IMAGE_BYTES);
        dev_set_u32(d, "scsi-id", places[i][0]);
        dev_set_u32(d, "lun", places[i][1]);
        dev_set_ptr(d, "drive", blk);
        world_start(d);
    }
    machine_set_run_state(w->base.m, RUN_RUNNING);
    io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(4 << 3, PCI_BAR0), 4, 0xc000);
    io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(4 << 3, PCI_BAR0 + 4), 4, REGS);
    io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(4 << 3, PCI_BAR0 + 8), 4, SCRIPT_RAM);
    io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(4 << 3, PCI_COMMAND), 2, 7);
}

/* A stream that says what no adapter would: refused, or harmless. */
static void hostile_load(struct world *w, const uint8_t *s)
{
    struct lsi *l = w->l;
    uint8_t *const bytes[] = { &l->run,     &l->bus_state, &l->phase, &l->target,  &l->lun,
                               &l->current, &l->msg_len,   &l->after, &l->msg_pos, &l->turn };
    struct lsi_req *r = &l->request[s[4] % LSI_REQS];
    struct state_buf b = { 0 };
    machine_enter(w->base.m);
    world_drain(&w->base);
    lsi_bus_reset(l);
    for (unsigned i = 0; i < 3; i++) {
        *bytes[s[5 + i] % ARRAY_SIZE(bytes)] = s[8 + i] & 0x47;
    }
    l->req = s[3] & 1;
    l->moving = s[3] & 2;
    if (s[3] & 4) {
        r->used = true;
        r->s.target = s[5] & 3;
        r->s.lun = s[6] & 1;
        r->s.state = s[7] & 3;
        r->s.kind = s[8] & 3;
        r->s.dir = s[9] & 3;
        r->s.pos = load_le16(s + 1);
        r->s.len = load_le16(s + 3);
        r->s.left = (uint64_t)s[11] << 9;
        r->s.offset = (uint64_t)s[10] << 9;
        l->current = s[3] & 8 ? (uint8_t)(s[4] % LSI_REQS) : l->current;
    }
    dev_save(&l->pci.dev, &b);
    r->used = false;
    dev_reset(&l->pci.dev);
    dev_load(&l->pci.dev, b.p, b.len, NULL);
    machine_leave(w->base.m);
    free(b.p);
}

static void put_insn(struct world *w, unsigned at, uint32_t word, uint32_t operand)
{
    store_le(w->base.f->ram + SCRIPT + 8 * at, 4, word);
    store_le(w->base.f->ram + SCRIPT + 8 * at + 4, 4, operand);
}

/* A script that does what a driver's would, as far as the random bytes let it. */
static void whole_command(struct world *w, const uint8_t *s)
{
    static const uint8_t codes[] = { 0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25,
                                     0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46, 0x4a, 0x55,
                                     0x5a, 0x88, 0x8a, 0x93, 0x9e, 0xa0, 0xad, 0xbd, 0xbe };
    uint8_t *cdb = w->base.f->ram + CDB_AT, *msg = w->base.f->ram + MSG_AT;
    uint32_t bytes = load_le16(s + 9), phase = s[3] & 7;
    memset(cdb, 0, 16);
    cdb[0] = codes[s[1] % ARRAY_SIZE(codes)];
    for (unsigned i = 0; i < 4; i++) {
        cdb[1 + (s[2] + 3 * i) % 15] = s[4 + i] & (s[2] & 0x80 ? 0xff : 0x1f);
    }
    msg[0] = (uint8_t)(0x80 | (s[3] & 0x41));
    msg[1] = s[8] & 0x80 ? 0x20 : s[8];
    msg[2] = s[11];
    put_insn(w, 0, 0x41000000u | (s[8] & 2u) << 16, 0);
    put_insn(w, 1, 0x0e000000u | (s[8] & 0x80 ? 3u : 1u + (s[8] >> 6)), MSG_AT);
    put_insn(w, 2, 0x0a000010, CDB_AT);
    put_insn(w, 3, 0x870b0000, SCRIPT + 7 * 8); /* message in: disconnects */
    put_insn(w, 4, 0x08000000 | phase << 24 | bytes, DATA_AT);
    put_insn(w, 5, 0x0b000001, DATA_AT - 16);
    put_insn(w, 6, 0x80080000, SCRIPT + 12 * 8);
    put_insn(w, 7, 0x0f000001, DATA_AT - 16);
    put_insn(w, 8, 0x60000040, 0);
    put_insn(w, 9, 0x48000000, 0);
    put_insn(w, 10, 0x50000000, SCRIPT + 15 * 8);
    put_insn(w, 11, 0x0f000003, DATA_AT - 16);
    put_insn(w, 12, 0x60000040, 0);
    put_insn(w, 13, 0x09000000 | bytes, DATA_AT);
    put_insn(w, 14, 0x0b000001, DATA_AT - 16);
    put_insn(w, 15, 0x98080000, 1);
    reg_write(w, DSP, 4, SCRIPT);
}

static void disturb(struct world *w, const uint8_t *s)
{
    machine_enter(w->base.m);
    switch (s[1] % 6) {
    case 0:
        for (unsigned i = 0; i < 3; i++) {
            image(w, i)->hold = s[2] & 1;
            image(w, i)->fail = s[2] & 2 ? -EIO : 0;
        }
        break;
    case 1:
        scsi_unplug_disks(w->base.m);
        break;
    case 2:
        machine_reset(w->base.m);
        break;
    default:
        for (unsigned i = 0; i < 3; i++) {
            fake_release(image(w, i));
        }
    }
    machine_leave(w->base.m);
}

static void step(struct world *w, const uint8_t *s)
{
    switch (s[0] & 15) {
    case 0:
        disturb(w, s);
        break;
    case 1:
        world_save_and_load(&w->base, MAX_SAVES);
        break;
    case 2:
        hostile_load(w, s);
        break;
    case 3:
        world_settle(&w->base);
        flat_advance(w->base.f, w->base.m, load_le16(s + 1) * 10);
        break;
    case 4:
    case 5: /* one instruction more, then from the start */
        put_insn(w, s[1] & 31, load_le32(s + 2),
                 load_le32(s + 6) & (s[10] & 1 ? 0xffffffff : 0x3ffff));
        break;
    case 6:
        reg_write(w, DSP, 4, SCRIPT + 8u * (s[1] & 31));
        break;
    case 7:
        reg_write(w, s[1], 1u << s[2] % 3, load_le32(s + 4));
        break;
    case 8:
        io_read(w->base.m, IO_MMIO, REGS + s[1], 1u << s[2] % 3);
        break;
    case 9:
        io_write(w->base.m, IO_MMIO, SCRIPT_RAM + (load_le16(s + 1) & 0x1ff8), 8, load_le64(s + 3));
        break;
    default:
        whole_command(w, s);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world w = { 0 };
    log_set_level(LOG_ERROR);
    world_make(&w);
    for (unsigned i = 0; i < MAX_STEPS && len >= STEP; i++, data += STEP, len -= STEP) {
        step(&w, data);
    }
    world_settle(&w.base);
    w.base.saves = 0;
    world_save_and_load(&w.base, MAX_SAVES);
    disk_world_free(&w.base);
    return 0;
}
