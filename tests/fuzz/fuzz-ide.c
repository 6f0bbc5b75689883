/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-ide.c - an IDE controller with two disks and two CD drives against a hostile
 * guest and a hostile stream.
 *
 * The input is a list of 8-byte steps: port accesses, guest memory, completions that come late or
 * fail, media that change, unplugging, resets, states saved and loaded, also ones no drive would
 * have written. Aims at crashes, asserts and endless loops; besides, a drained machine must save
 * and load.
 */
#include "tests/fuzz/disk-world.h"

#include "dm/base/bytes.h"
#include "hw/ide/ide-int.h"
#include "hw/pci/i440fx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    STEP = 8,
    MAX_STEPS = 256,
    IMAGE_BYTES = 64 << 10,
    RAM_BYTES = 256 << 10,
    BM = 0xc000,
    MAX_SAVES = 1
};

struct world {
    struct disk_world base;
    struct ide_drive *drive[4];
    bool hold;
    int fail;
};

static struct fake_image *image(const struct world *w, unsigned i)
{
    return (struct fake_image *)blk_image(w->base.blk[i]);
}

static void set_mood(struct world *w)
{
    for (unsigned i = 0; i < 4; i++) {
        if (image(w, i)) {
            image(w, i)->hold = w->hold;
            image(w, i)->fail = w->fail;
        }
    }
}

static void add_drive(struct world *w, unsigned i)
{
    bool cd = i == 1 || i == 2;
    struct device *d = dev_new(w->base.m, cd ? &ide_cd_class : &ide_hd_class, NULL);

    struct blk *blk = disk_world_drive(&w->base, IMAGE_BYTES);
    dev_set_str(d, "bus", i < 2 ? "ide.0" : "ide.1");
    dev_set_u32(d, "unit", i & 1);
    dev_set_ptr(d, "drive", blk);
    w->drive[i] = (struct ide_drive *)world_start(d);
}

static void world_make(struct world *w)
{
    struct device *d;

    disk_world_make(&w->base, RAM_BYTES);
    world_start(dev_new(w->base.m, &i440fx_class, NULL));
    d = dev_new(w->base.m, &piix3_ide_class, NULL);
    dev_set_str(d, "addr", "01.1");
    world_start(d);
    for (unsigned i = 0; i < 4; i++) {
        add_drive(w, i);
    }
    machine_set_run_state(w->base.m, RUN_RUNNING);
    io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(9, 0x20), 4, BM);
    io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(9, 0x04), 2, 5);
}

static void poke(struct ide_drive *d, unsigned field, uint32_t val)
{
    uint32_t *const words[] = { &d->pos, &d->end, &d->fill, &d->block, &d->left, &d->heads };
    uint64_t *const longs[] = { &d->lba, &d->dma_offset, &d->dma_len };
    uint8_t *const bytes[] = { &d->phase, &d->xfer, &d->multiple, &d->status };

    switch (field % 3) {
    case 0:
        *words[field / 3 % ARRAY_SIZE(words)] = val & 0xffff;
        break;
    case 1:
        *longs[field / 3 % ARRAY_SIZE(longs)] = (uint64_t)val << (val & 31);
        break;
    default:
        *bytes[field / 3 % ARRAY_SIZE(bytes)] = (uint8_t)(val & 15);
        break;
    }
}

/* A stream that says what no drive would: refused, or harmless. */
static void hostile_load(struct world *w, const uint8_t *s)
{
    struct ide_drive *d = w->drive[s[1] & 3];
    struct ide_drive *kept = malloc(sizeof(*kept));
    struct state_buf b = { 0 };

    machine_enter(w->base.m);
    world_drain(&w->base);
    *kept = *d;
    poke(d, s[2], load_le32(s + 3));
    poke(d, s[7], load_le32(s + 3) >> 3);
    dev_save(&d->dev, &b);
    *d = *kept;
    dev_reset(&d->dev);
    dev_load(&d->dev, b.p, b.len, NULL);
    machine_leave(w->base.m);
    free(b.p);
    free(kept);
}

static void change_medium(struct world *w, const uint8_t *s)
{
    unsigned i = 1 + (s[1] & 1);

    machine_enter(w->base.m);
    blk_set_tray(w->base.blk[i], s[2] & 1);
    if (s[2] & 2) {
        blk_set_image(w->base.blk[i], s[2] & 4 ? &fake_image_new(2048u * (1 + s[3]))->base : NULL);
    }
    if (s[2] & 8) {
        blk_user(w->base.blk[i], NULL)->eject_request(w->drive[i], s[2] & 16);
    }
    machine_leave(w->base.m);
    set_mood(w);
}

static unsigned port_of(uint8_t pick)
{
    unsigned base = pick & 0x80 ? 0x170 : 0x1f0;

    switch (pick >> 4 & 7) {
    case 0:
        return base + 0x206;
    case 1:
    case 2:
        return BM + (pick & 15);
    default:
        return base + (pick & 7);
    }
}

static void disturb(struct world *w, const uint8_t *s)
{
    switch (s[1] & 7) {
    case 0:
        w->hold = s[2] & 1;
        w->fail = s[2] & 2 ? -EIO : 0;
        set_mood(w);
        break;
    case 1:
        change_medium(w, s + 1);
        break;
    case 2:
        machine_enter(w->base.m);
        ide_unplug_disks(w->base.m, s[2] & 1);
        machine_leave(w->base.m);
        break;
    case 3:
        machine_enter(w->base.m);
        machine_reset(w->base.m);
        machine_leave(w->base.m);
        break;
    case 4:
        world_save_and_load(&w->base, MAX_SAVES);
        break;
    case 5:
        hostile_load(w, s);
        break;
    default:
        machine_enter(w->base.m);
        for (unsigned i = 0; i < 4; i++) {
            if (image(w, i)) {
                fake_release(image(w, i));
            }
        }
        machine_leave(w->base.m);
        break;
    }
}

/* Noise seldom spells a whole command: one that is in range, by all its registers. */
static void whole_command(struct world *w, const uint8_t *s)
{
    static const uint8_t codes[] = { 0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x06,
                                     0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xe7, 0xec, 0xef,
                                     0x40, 0x42, 0x27, 0xf8, 0x70, 0x91, 0xa1, 0x90 };
    unsigned base = s[1] & 0x80 ? 0x170 : 0x1f0;
    uint8_t code = codes[s[2] % ARRAY_SIZE(codes)];
    bool smart = code == 0xb0;
    const uint8_t regs[] = {
        s[3], s[4] & 0x1f, s[5] & 0x3f, smart ? 0x4f : 0, smart ? 0xc2 : 0, 0xe0 | (s[1] & 0x10)
    };

    io_write(w->base.m, IO_PIO, base + 6, 1, regs[5]);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < 5; i++) {
            io_write(w->base.m, IO_PIO, base + 1 + i, 1, pass || i == 1 ? regs[i] : 0);
        }
    }
    if (s[1] & 0x40) {
        io_write(w->base.m, IO_PIO, base + 2, 1, 0);
        io_write(w->base.m, IO_PIO, base + 2, 1, regs[1]);
    }
    io_write(w->base.m, IO_PIO, base + 7, 1, code);
}

static void whole_packet(struct world *w, const uint8_t *s)
{
    static const uint8_t codes[] = { 0x00, 0x03, 0x08, 0x12, 0x15, 0x1a, 0x1b, 0x1e,
                                     0x25, 0x28, 0x2b, 0x42, 0x43, 0x46, 0x4a, 0x51,
                                     0x52, 0x55, 0x5a, 0xa8, 0xad, 0xbd, 0xbe };
    uint8_t p[12] = { codes[s[2] % ARRAY_SIZE(codes)] };
    unsigned base = s[1] & 0x80 ? 0x170 : 0x1f0;

    for (unsigned i = 0; i < 4; i++) { /* s[3] says where the four bytes go */
        p[1 + (s[3] + 3 * i) % 11] = s[4 + i] & (s[3] & 0x80 ? 0xff : 0x1f);
    }
    io_write(w->base.m, IO_PIO, base + 6, 1, s[1] & 0x80 ? 0xa0 : 0xb0);
    io_write(w->base.m, IO_PIO, base + 1, 1, s[1] & 1);
    io_write(w->base.m, IO_PIO, base + 4, 1, s[1] & 2 ? s[4] : 0);
    io_write(w->base.m, IO_PIO, base + 5, 1, s[1] & 4 ? s[5] : 8);
    io_write(w->base.m, IO_PIO, base + 7, 1, 0xa0);
    for (unsigned i = 0; i < 12; i += 2) {
        io_write(w->base.m, IO_PIO, base, 2, load_le16(p + i));
    }
}

static void step(struct world *w, const uint8_t *s)
{
    unsigned size = 1u << (s[2] % 3);

    switch (s[0] & 15) {
    default:
        io_write(w->base.m, IO_PIO, port_of(s[1]), size, load_le32(s + 4));
        break;
    case 3:
    case 4:
        whole_command(w, s);
        break;
    case 5:
    case 6:
        whole_packet(w, s);
        break;
    case 7:
    case 8:
        io_read(w->base.m, IO_PIO, port_of(s[1]), size);
        break;
    case 9:
    case 10: { /* a run of data */
        struct io_req r = { .addr = s[1] & 0x80 ? 0x170 : 0x1f0,
                            .data = load_le32(s + 4) & 0x3ffff,
                            .count = 1u + s[3] * 8u,
                            .size = (uint8_t)(2 << (s[2] & 1)),
                            .space = IO_PIO,
                            .write = s[0] & 1,
                            .data_is_ptr = true };
        ioreq_run(w->base.m, &r);
        break;
    }
    case 11: /* a PRD */
        memcpy(w->base.f->ram + (s[1] & 15) * 8, s, 8);
        w->base.f->ram[(s[1] & 15) * 8 + 3] = 0;
        break;
    case 12:
        io_write(w->base.m, IO_PIO, BM + (s[1] & 8) + 4, 4, load_le32(s + 4) & 0x8000007c);
        io_write(w->base.m, IO_PIO, BM + (s[1] & 8), 1, s[2] & 9);
        break;
    case 13:
        world_settle(&w->base);
        break;
    case 14:
        disturb(w, s);
        break;
    case 15:
        io_write(w->base.m, IO_PCI, PCI_CFG_ADDR(9, s[1] & 0xfc), 4,
                 (s[1] & 0xfc) == 4      ? s[2] & 7
                 : (s[1] & 0xfc) == 0x20 ? BM
                                         : load_le32(s + 4));
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
