/* SPDX-License-Identifier: MIT */
/* hw/dma/i8257.c - 8237A DMA controller with its page registers; a PC has two.
 *
 * A transfer is driven by the device that owns the DREQ wire (hw/dma/i8257.h): it moves what it
 * has as soon as it has it, so single, demand and block mode are the same here. The current
 * address wraps inside its page of 64 KiB (128 KiB on the 16-bit channels), as the chip's 16-bit
 * counter does, and one call moves at most one count, 65536 units: a guest cannot make it loop.
 *
 * Left out: memory-to-memory, which PIIX3 has not either; priorities and timing bits are kept
 * without effect; the second controller's channel 0 need not be set to cascade for the first to
 * work; page registers beyond 16 MiB (EISA).
 * Reference: Intel 8237A data sheet 231466; PIIX3 290550, 2.5.1.
 */
#include "hw/dma/i8257.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    REG_COMMAND = 0x8, /* read: status */
    REG_REQUEST = 0x9,
    REG_MASK = 0xa,
    REG_MODE = 0xb,
    REG_CLEAR_FF = 0xc,
    REG_MASTER_CLEAR = 0xd, /* read: temporary register */
    REG_CLEAR_MASK = 0xe,
    REG_ALL_MASK = 0xf,

    COMMAND_OFF = 0x04,
    MODE_XFER = 0x0c, /* 0 verify, 4 write, 8 read, 12 illegal */
    MODE_VERIFY = 0x00,
    MODE_WRITE = 0x04,
    MODE_READ = 0x08,
    MODE_AUTO = 0x10,
    MODE_DOWN = 0x20,
    MODE_SELECT = 0xc0,
    MODE_CASCADE = 0xc0,

    CHUNK = 512,
};

struct channel {
    uint16_t base_addr, base_count, addr, count; /* in units of the channel */
    uint8_t mode, page;
};

struct i8257 {
    struct device dev;
    uint32_t base, page_base, dshift;
    struct region regs, pages;
    const struct i8257_user *user[4];

    struct channel chan[4];
    bool high_byte; /* the first/last flip-flop */
    uint8_t command, mask, tc, request, dreq;
    uint8_t scratch[8]; /* page registers without a channel */
};

/* Page register offsets 1..7 to channels; -1: none. */
static const int8_t page_channel[8] = { -1, 2, 3, 1, -1, -1, -1, 0 };

static bool programmed(const struct i8257 *s, unsigned channel, unsigned xfer)
{
    const struct channel *c = &s->chan[channel];
    unsigned way = c->mode & MODE_XFER;

    if ((s->command & COMMAND_OFF) || (s->mask >> channel & 1)) {
        return false;
    }
    if ((c->mode & MODE_SELECT) == MODE_CASCADE) {
        return false;
    }
    return way == xfer || (way == MODE_VERIFY && xfer == MODE_WRITE);
}

static void poke_users(struct i8257 *s)
{
    for (unsigned i = 0; i < 4; i++) {
        bool open = !(s->command & COMMAND_OFF) && !(s->mask >> i & 1);
        if (open && (s->dreq >> i & 1) && s->user[i]) {
            s->user[i]->ready(s->user[i]->opaque);
        }
    }
}

void i8257_attach(struct device *d, unsigned channel, const struct i8257_user *u)
{
    struct i8257 *s = (struct i8257 *)d;

    assert(channel < 4 && (!u || !s->user[channel]));
    s->user[channel] = u;
}

void i8257_dreq(struct device *d, unsigned channel, bool level)
{
    struct i8257 *s = (struct i8257 *)d;

    s->dreq = (uint8_t)((s->dreq & ~(1u << channel)) | (unsigned)level << channel);
}

static uint64_t unit_gpa(const struct i8257 *s, const struct channel *c)
{
    return (uint64_t)(c->page & ~s->dshift) << 16 | (uint64_t)c->addr << s->dshift;
}

static void reverse_units(uint8_t *p, size_t units, unsigned size)
{
    for (size_t i = 0, j = units - 1; i < j; i++, j--) {
        for (unsigned b = 0; b < size; b++) {
            uint8_t t = p[i * size + b];
            p[i * size + b] = p[j * size + b];
            p[j * size + b] = t;
        }
    }
}

/* Units of this run that lie side by side in guest memory and fit the bounce buffer. */
static size_t run_units(const struct i8257 *s, const struct channel *c, size_t want)
{
    size_t room = c->mode & MODE_DOWN ? (size_t)c->addr + 1 : 0x10000u - c->addr;
    size_t n = min_u64(want, (uint64_t)c->count + 1);

    return min_u64(min_u64(n, room), CHUNK >> s->dshift);
}

/* Moves n side-by-side units; buf is what the device sees, in the order of its wire. */
static void move_run(struct i8257 *s, struct channel *c, uint8_t *buf, size_t n, bool to_memory)
{
    uint8_t bounce[CHUNK];
    size_t bytes = n << s->dshift;
    bool down = c->mode & MODE_DOWN;
    uint64_t gpa = unit_gpa(s, c) - (down ? (n - 1) << s->dshift : 0);

    if (to_memory) {
        memcpy(bounce, buf, bytes);
        if (down) {
            reverse_units(bounce, n, 1u << s->dshift);
        }
        if ((c->mode & MODE_XFER) != MODE_VERIFY) {
            (void)gmem_write(s->dev.m, gpa, bounce, bytes); /* a hole swallows it */
        }
    } else {
        if (gmem_read(s->dev.m, gpa, bounce, bytes) < 0) {
            memset(bounce, 0xff, bytes);
        }
        if (down) {
            reverse_units(bounce, n, 1u << s->dshift);
        }
        memcpy(buf, bounce, bytes);
    }
}

/* Steps address and count; true at terminal count. */
static bool step(struct i8257 *s, unsigned channel, size_t n)
{
    struct channel *c = &s->chan[channel];
    bool tc = n == (size_t)c->count + 1;

    c->addr = (uint16_t)(c->mode & MODE_DOWN ? c->addr - n : c->addr + n);
    c->count = (uint16_t)(c->count - n);
    if (!tc) {
        return false;
    }
    s->tc |= (uint8_t)(1u << channel);
    s->request &= (uint8_t) ~(1u << channel);
    if (c->mode & MODE_AUTO) {
        c->addr = c->base_addr;
        c->count = c->base_count;
    } else {
        s->mask |= (uint8_t)(1u << channel);
    }
    return true;
}

static size_t transfer(struct device *d, unsigned channel, uint8_t *buf, size_t len, bool to_memory,
                       bool *tc)
{
    struct i8257 *s = (struct i8257 *)d;
    size_t units = len >> s->dshift, done = 0;

    *tc = false;
    if (!programmed(s, channel, to_memory ? MODE_WRITE : MODE_READ)) {
        return 0;
    }
    while (done < units && !*tc) {
        struct channel *c = &s->chan[channel];
        size_t n = run_units(s, c, units - done);
        move_run(s, c, buf + (done << s->dshift), n, to_memory);
        *tc = step(s, channel, n);
        done += n;
    }
    return done << s->dshift;
}

size_t i8257_read(struct device *d, unsigned channel, void *buf, size_t len, bool *tc)
{
    return transfer(d, channel, buf, len, false, tc);
}

size_t i8257_write(struct device *d, unsigned channel, const void *buf, size_t len, bool *tc)
{
    return transfer(d, channel, (uint8_t *)buf, len, true, tc); /* only read from */
}

static uint8_t read_counter(struct i8257 *s, unsigned reg)
{
    const struct channel *c = &s->chan[reg >> 1];
    unsigned v = reg & 1 ? c->count : c->addr;
    bool high = s->high_byte;

    s->high_byte = !high;
    return (uint8_t)(high ? v >> 8 : v);
}

static void write_counter(struct i8257 *s, unsigned reg, uint8_t val)
{
    struct channel *c = &s->chan[reg >> 1];
    uint16_t *base = reg & 1 ? &c->base_count : &c->base_addr;

    *base = (uint16_t)(s->high_byte ? (*base & 0x00ff) | val << 8 : (*base & 0xff00) | val);
    s->high_byte = !s->high_byte;
    *(reg & 1 ? &c->count : &c->addr) = *base;
}

static uint64_t regs_read(struct device *d, uint64_t off, unsigned size)
{
    struct i8257 *s = (struct i8257 *)d;
    unsigned reg = (unsigned)off >> s->dshift;
    uint8_t v;

    (void)size;
    if (reg < REG_COMMAND) {
        return read_counter(s, reg);
    }
    switch (reg) {
    case REG_COMMAND: /* status; terminal counts go with the reading */
        v = (uint8_t)((s->dreq | s->request) << 4 | s->tc);
        s->tc = 0;
        return v;
    case REG_ALL_MASK:
        return 0xf0 | s->mask;
    default:
        return 0; /* temporary register, write-only ones */
    }
}

static void master_clear(struct i8257 *s)
{
    s->command = s->tc = s->request = 0;
    s->mask = 0x0f;
    s->high_byte = false;
}

static void set_bit(uint8_t *bits, uint8_t val)
{
    uint8_t bit = (uint8_t)(1u << (val & 3));

    *bits = val & 4 ? *bits | bit : *bits & (uint8_t)~bit;
}

static void regs_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct i8257 *s = (struct i8257 *)d;
    unsigned reg = (unsigned)off >> s->dshift;
    uint8_t v = (uint8_t)val;

    (void)size;
    if (reg < REG_COMMAND) {
        write_counter(s, reg, v);
        return;
    }
    switch (reg) {
    case REG_COMMAND:
        s->command = v;
        break;
    case REG_REQUEST:
        set_bit(&s->request, v);
        break;
    case REG_MASK:
        set_bit(&s->mask, v);
        break;
    case REG_MODE:
        s->chan[v & 3].mode = v & 0xfc;
        break;
    case REG_CLEAR_FF:
        s->high_byte = false;
        break;
    case REG_MASTER_CLEAR:
        master_clear(s);
        break;
    case REG_CLEAR_MASK:
        s->mask = 0;
        break;
    default:
        s->mask = v & 0x0f;
        break;
    }
    poke_users(s);
}

static uint8_t *page_reg(struct i8257 *s, uint64_t off)
{
    int chan = page_channel[off + 1];

    return chan < 0 ? &s->scratch[off + 1] : &s->chan[chan].page;
}

static uint64_t pages_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return *page_reg((struct i8257 *)d, off);
}

static void pages_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    *page_reg((struct i8257 *)d, off) = (uint8_t)val;
}

static const struct reg_name names8[] = {
    { 0x0, "ADDR0" },   { 0x1, "COUNT0" }, { 0x2, "ADDR1" },  { 0x3, "COUNT1" }, { 0x4, "ADDR2" },
    { 0x5, "COUNT2" },  { 0x6, "ADDR3" },  { 0x7, "COUNT3" }, { 0x8, "CMD" },    { 0x9, "REQ" },
    { 0xa, "MASK" },    { 0xb, "MODE" },   { 0xc, "CLRFF" },  { 0xd, "MCLR" },   { 0xe, "CLRMASK" },
    { 0xf, "ALLMASK" }, { 0, NULL },
};
static const struct reg_name names16[] = {
    { 0x00, "ADDR4" }, { 0x02, "COUNT4" }, { 0x04, "ADDR5" },   { 0x06, "COUNT5" },
    { 0x08, "ADDR6" }, { 0x0a, "COUNT6" }, { 0x0c, "ADDR7" },   { 0x0e, "COUNT7" },
    { 0x10, "CMD" },   { 0x12, "REQ" },    { 0x14, "MASK" },    { 0x16, "MODE" },
    { 0x18, "CLRFF" }, { 0x1a, "MCLR" },   { 0x1c, "CLRMASK" }, { 0x1e, "ALLMASK" },
    { 0, NULL },
};
static const struct reg_name page_names[] = { { 0, "PAGE" }, { 0, NULL } };
static const struct region_ops ops8 = { regs_read, regs_write, 1, names8 };
static const struct region_ops ops16 = { regs_read, regs_write, 1, names16 };
static const struct region_ops page_ops = { pages_read, pages_write, 1, page_names };

static int i8257_init(struct device *d, struct err *e)
{
    struct i8257 *s = (struct i8257 *)d;

    if (s->dshift > 1) {
        return err_set(e, -EINVAL, "%s: dshift=%u is not 0 or 1", d->id, s->dshift);
    }
    region_init(&s->regs, d, s->dshift ? &ops16 : &ops8, IO_PIO, 16u << s->dshift, "DMA");
    region_init(&s->pages, d, &page_ops, IO_PIO, 7, "DMA_PAGE");
    region_map(&s->regs, s->base);
    region_map(&s->pages, s->page_base + 1); /* its first register has no channel */
    return 0;
}

/* Power-on leaves the channels undefined; here they are zero. DREQ is the users' to drive. */
static void i8257_reset(struct device *d)
{
    struct i8257 *s = (struct i8257 *)d;

    memset(s->chan, 0, sizeof(s->chan));
    memset(s->scratch, 0, sizeof(s->scratch));
    s->dreq = 0;
    master_clear(s);
}

static void i8257_fini(struct device *d)
{
    struct i8257 *s = (struct i8257 *)d;

    region_unmap(&s->regs);
    region_unmap(&s->pages);
}

static const struct dev_prop i8257_props[] = {
    PROP(struct i8257, "base", PROP_U32, base, 0, "first I/O port"),
    PROP(struct i8257, "page-base", PROP_U32, page_base, 0x80, "port before the page registers"),
    PROP(struct i8257, "dshift", PROP_U32, dshift, 0, "1: 16-bit channels"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field channel_state[] = {
    FIELD(struct channel, base_addr),
    FIELD(struct channel, base_count),
    FIELD(struct channel, addr),
    FIELD(struct channel, count),
    FIELD(struct channel, mode),
    FIELD(struct channel, page),
    FIELD_END,
};

static const struct state_field i8257_state[] = {
    FIELD_SUB(struct i8257, chan, channel_state, 4),
    FIELD(struct i8257, high_byte),
    FIELD(struct i8257, command),
    FIELD_RANGE(struct i8257, mask, 0, 15),
    FIELD_RANGE(struct i8257, tc, 0, 15),
    FIELD_RANGE(struct i8257, request, 0, 15),
    FIELD_RANGE(struct i8257, dreq, 0, 15),
    FIELD_ARRAY(struct i8257, scratch),
    FIELD_END,
};

const struct dev_class i8257_class = {
    .name = "i8257",
    .desc = "8237A DMA controller",
    .size = sizeof(struct i8257),
    .props = i8257_props,
    .state = i8257_state,
    .state_version = 1,
    .init = i8257_init,
    .reset = i8257_reset,
    .fini = i8257_fini,
};
