/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-net.c - every PCI network card against a hostile guest, a hostile cable and a
 * hostile stream.
 *
 * The input is a list of 8-byte steps: register accesses (rather those that matter), descriptors and
 * packet headers in guest memory, frames from the cable with any offload, a back end that is full or
 * goes away, the link, time, saved and spoilt state. What must hold besides not crashing: a frame
 * that leaves is one the cable takes, and saved state loads.
 */
#include "dm/base/bytes.h"
#include "dm/base/ev.h"
#include "hw/net/net-dev.h"
#include "hw/pci/i440fx.h"
#include "hw/virtio/virtio-net.h"
#include "ioreq/flat.h"

#include <stdlib.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEP = 8, MAX_STEPS = 256, RAM_BYTES = 256 << 10 };

static uint64_t mem_at(unsigned card)
{
    return 0xe0000000 + card * 0x400000;
}

static unsigned io_at(unsigned card)
{
    return 0xc000 + card * 0x400;
}

static unsigned devfn_of(unsigned card)
{
    return (2 + card) << 3;
}

/* Two cards at a time. */
struct world {
    struct flat_host *f;
    struct machine *m;
    struct ev_loop *loop;
    struct nic *nic[2];
    struct device *dev[2];
    bool full;
    unsigned moves;
};

static void lock(void *m)
{
    machine_enter(m);
}

static void unlock(void *m)
{
    machine_leave(m);
}

static bool sent(struct nic *n, const struct nic_frame *f)
{
    const struct world *w = n->priv;
    if (f->len < NIC_FRAME_MIN || f->len > NIC_FRAME_MAX || f->off.csum || f->off.gso) {
        abort();
    }
    return !w->full;
}

static const struct nic_ops ops = { .kind = "fuzz", .send = sent };

/* BARs as the classes have them: memory at 0 (E1000s), 1 or 4 (virtio), ports elsewhere. */
static void decode_on(struct world *w)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pci_dev *p = (struct pci_dev *)w->dev[i];
        for (unsigned n = 0; n < PCI_ROM_BAR; n++) {
            uint64_t at = p->bar[n].io ? io_at(i) : mem_at(i) + n * 0x40000;
            if (p->bar[n].used) {
                pci_cfg_write(w->m, 0, (uint8_t)devfn_of(i), PCI_BAR0 + 4 * n, 4, (uint32_t)at);
            }
        }
        pci_cfg_write(w->m, 0, (uint8_t)devfn_of(i), PCI_COMMAND, 2, 7);
    }
}

static void world_make(struct world *w, const struct dev_class *const classes[2])
{
    struct err e = { 0 };
    memset(w, 0, sizeof(*w));
    w->f = flat_new(RAM_BYTES);
    w->m = machine_new("fuzz", &flat_host_ops, w->f);
    w->loop = ev_loop_new(lock, unlock, w->m);
    machine_enter(w->m);
    if (dev_init(dev_new(w->m, &i440fx_class, NULL), &e) < 0) {
        abort();
    }
    for (unsigned i = 0; i < 2; i++) {
        char id[4] = { 'n', (char)('0' + i), 0 }, addr[2] = { (char)('2' + i), 0 };
        w->nic[i] = nic_new(w->loop, id, &ops);
        w->nic[i]->priv = w;
        w->nic[i]->queues = 4;
        w->dev[i] = dev_new(w->m, classes[i], NULL);
        dev_set_str(w->dev[i], "addr", addr);
        if (dev_prop_find(classes[i], "mq")) {
            dev_set_bool(w->dev[i], "mq", true);
            dev_set_bool(w->dev[i], "packed", true);
        }
        dev_set_ptr(w->dev[i], "netdev", w->nic[i]);
        if (dev_init(w->dev[i], &e) < 0) {
            abort();
        }
    }
    machine_set_run_state(w->m, RUN_RUNNING);
    decode_on(w);
    machine_leave(w->m);
}

static void world_free(struct world *w)
{
    machine_free(w->m);
    for (unsigned i = 0; i < 2; i++) {
        nic_free(w->nic[i]);
    }
    ev_loop_free(w->loop);
    flat_free(w->f);
}

static void e1000_access(struct world *w, const uint8_t *s, uint64_t bar)
{
    static const uint16_t regs[32] = { 0x0,    0x10,   0x14,   0x20,   0xc0,   0xc4,   0xc8,
                                       0xd0,   0xd8,   0x100,  0x100,  0x400,  0x400,  0x2800,
                                       0x2808, 0x2810, 0x2818, 0x2818, 0x2820, 0x282c, 0x3800,
                                       0x3808, 0x3810, 0x3818, 0x3818, 0x3818, 0x3820, 0x382c,
                                       0x5000, 0x5200, 0x5400, 0x38 };
    uint32_t reg = s[1] & 0x20 ? load_le16(s + 2) << 1 : regs[s[1] & 31], val = load_le32(s + 4);
    if (s[1] & 0x40) {
        val &= 0x3f0ff; /* rings in memory, pointers near them */
    }
    if (s[1] & 0x80) {
        (void)io_read(w->m, IO_MMIO, bar + (reg & 0x1ffff), 1u << (s[2] & 3));
    } else {
        io_write(w->m, IO_MMIO, bar + (reg & 0x1ffff), 4, val);
    }
}

static void e1000_step(struct world *w, const uint8_t *s)
{
    e1000_access(w, s, mem_at(0));
}

/* Now and then what only the 82574L has. */
static void e1000e_step(struct world *w, const uint8_t *s)
{
    static const uint16_t own[16] = { 0x18,   0xdc,   0xe0,   0xe4,   0xe8,   0x2170,
                                      0x2900, 0x2908, 0x2918, 0x3900, 0x3908, 0x3918,
                                      0x5008, 0x5818, 0x5c00, 0x100 };
    if ((s[1] & 0x60) == 0x60) {
        io_write(w->m, IO_MMIO, mem_at(0) + own[s[1] & 15], 4,
                 s[2] & 1 ? load_le32(s + 4) : load_le32(s + 4) & 0x3f4ff);
    } else {
        e1000_access(w, s, mem_at(0));
    }
}

static void rtl_step(struct world *w, const uint8_t *s)
{
    static const uint8_t regs[16] = { 0x10, 0x14, 0x18, 0x20, 0x24, 0x30, 0x37, 0x38,
                                      0x3e, 0x40, 0x44, 0x50, 0x54, 0xd9, 0xe0, 0xe4 };
    unsigned reg = s[1] & 0x10 ? s[2] : regs[s[1] & 15], size = 1u << (s[3] & 3) % 3;
    uint32_t val = load_le32(s + 4);
    if (s[1] & 0x40) {
        val &= 0x3ffff;
    }
    if (s[1] & 0x80) {
        (void)io_read(w->m, IO_PIO, io_at(1) + reg, size);
    } else {
        io_write(w->m, IO_PIO, io_at(1) + reg, size, val);
    }
}

/* RAP, then RDP or BDP, in both widths. */
static void pcnet_step(struct world *w, const uint8_t *s)
{
    static const uint8_t csrs[16] = { 0, 0, 0, 1, 2, 3, 4, 5, 15, 20, 24, 30, 76, 78, 72, 58 };
    unsigned wide = s[2] & 1, unit = wide ? 4 : 2, port = io_at(0) + 16;
    unsigned target = port + (s[2] & 2 ? 3 : s[2] & 4 && s[2] & 8 ? 2 : 0) * unit;
    io_write(w->m, IO_PIO, port + unit, unit, s[1] & 0x10 ? s[3] : csrs[s[1] & 15]);
    if (s[1] & 0x80) {
        (void)io_read(w->m, IO_PIO, target, unit);
    } else {
        io_write(w->m, IO_PIO, target, unit, load_le16(s + 4));
    }
}

static void ne2k_step(struct world *w, const uint8_t *s)
{
    unsigned size = 1u << s[3] % 3, port = io_at(1) + (s[1] & 31);
    if (s[1] & 0x80) {
        (void)io_read(w->m, IO_PIO, port, size);
    } else {
        io_write(w->m, IO_PIO, port, size, load_le32(s + 4));
    }
}

/* Modern registers at offset s[2], with small queues in memory; or bells. */
static void virtio_step(struct world *w, const uint8_t *s)
{
    uint64_t bar = mem_at(1) + 4 * 0x40000;
    uint32_t val = s[1] & 0x40 ? load_le32(s + 4) & 0x3ffff : load_le32(s + 4);
    if (s[1] & 0x10) {
        io_write(w->m, IO_MMIO, bar + 0x3000 + 4 * (s[2] & 15), 2, 0);
    } else if (s[1] & 0x80) {
        (void)io_read(w->m, IO_MMIO, bar + (s[2] & 0x3f) + (s[1] & 0x20 ? 0x2000 : 0),
                      1u << (s[3] & 3) % 3);
    } else {
        io_write(w->m, IO_MMIO, bar + (s[2] & 0x3f), s[3] & 1 ? 4 : s[3] & 2 ? 2 : 1, val);
    }
}

/* The driver as it should begin: features, queues of 16 entries at 0x1000 * n, ready. */
static void virtio_start(struct world *w, const uint8_t *s)
{
    uint64_t bar = mem_at(1) + 4 * 0x40000;
    io_write(w->m, IO_MMIO, bar + 0x14, 1, 0);
    io_write(w->m, IO_MMIO, bar + 0x14, 1, 3);
    io_write(w->m, IO_MMIO, bar + 0x08, 4, 0);
    io_write(w->m, IO_MMIO, bar + 0x0c, 4, load_le32(s + 4));
    io_write(w->m, IO_MMIO, bar + 0x08, 4, 1);
    io_write(w->m, IO_MMIO, bar + 0x0c, 4, s[3] & 1 ? 5 : 1); /* packed */
    io_write(w->m, IO_MMIO, bar + 0x14, 1, 11);
    for (unsigned q = 0; q < 9; q++) {
        io_write(w->m, IO_MMIO, bar + 0x16, 2, q);
        io_write(w->m, IO_MMIO, bar + 0x18, 2, 16);
        io_write(w->m, IO_MMIO, bar + 0x20, 4, 0x1000 * q);
        io_write(w->m, IO_MMIO, bar + 0x28, 4, 0x1000 * q + 0x400);
        io_write(w->m, IO_MMIO, bar + 0x30, 4, 0x1000 * q + 0x800);
        io_write(w->m, IO_MMIO, bar + 0x1c, 2, 1);
    }
    io_write(w->m, IO_MMIO, bar + 0x14, 1, 15);
}

/* A chain of one descriptor for queue s[2], made available. */
static void virtio_offer(struct world *w, const uint8_t *s)
{
    uint32_t at = 0x1000u * (s[2] % 9);
    uint8_t *ram = w->f->ram + at;
    uint16_t idx = load_le16(ram + 0x402);
    uint8_t *d = ram + 16 * (idx & 15);
    store_le(d, 8, (uint32_t)s[3] << 9);
    store_le(d + 8, 4, load_le16(s + 4));
    store_le(d + 12, 2, s[6] & 7);
    store_le(d + 14, 2, s[7]);
    store_le(ram + 0x404 + 2 * (idx & 15), 2, idx & 15);
    store_le(ram + 0x402, 2, (uint16_t)(idx + 1));
    io_write(w->m, IO_MMIO, mem_at(1) + 4 * 0x40000 + 0x3000 + 4 * (s[2] % 9), 2, 0);
}

/* An entry of queue s[2]'s packed ring, which is the driver's in either round. */
static void virtio_offer_packed(struct world *w, const uint8_t *s)
{
    uint8_t *d = w->f->ram + 0x1000u * (s[2] % 9) + 16 * (s[1] & 15);
    store_le(d, 8, (uint32_t)s[3] << 9);
    store_le(d + 8, 4, load_le16(s + 4));
    store_le(d + 12, 2, s[7]);
    store_le(d + 14, 2, (s[6] & 7) | (s[6] & 8 ? 0x80 : 0x8000));
    io_write(w->m, IO_MMIO, mem_at(1) + 4 * 0x40000 + 0x3000 + 4 * (s[2] % 9), 2, 0);
}

static void virtio_any(struct world *w, const uint8_t *s)
{
    static void (*const steps[4])(struct world *, const uint8_t *) = {
        virtio_step,
        virtio_offer,
        virtio_offer_packed,
        virtio_start,
    };
    steps[s[0] >> 3 & 3](w, s);
}

/* Six bytes in one of the first pages, where rings and packets are likely to be. */
static void memory_step(struct world *w, const uint8_t *s)
{
    uint32_t at = ((uint32_t)s[1] << 4 | (s[2] & 15)) % (RAM_BYTES - 8);
    memcpy(w->f->ram + (s[2] & 0x80 ? at << 4 & 0x3fff0 : at), s + 2, 6);
}

/* Something like TCP over IP. */
static void packet_step(struct world *w, const uint8_t *s)
{
    uint8_t *p = w->f->ram + ((uint32_t)s[1] << 8);
    memset(p, 0xff, 6);
    store_be16(p + 12, s[2] & 1 ? 0x86dd : s[2] & 2 ? 0x8100 : 0x0800);
    p[14] = s[2] & 1 ? 0x60 : (uint8_t)(0x40 | (s[3] & 15));
    store_be16(p + 16, load_le16(s + 4));
    p[20] = p[23] = s[2] & 4 ? 17 : 6;
    p[46] = s[6];
    p[66] = s[7];
}

static void frame_step(struct world *w, const uint8_t *s)
{
    uint32_t at = (uint32_t)s[1] << 8, len = load_le16(s + 2);
    struct nic_frame f = { w->f->ram + at, s[4] & 0x80 ? len : len % 1600, { 0 }, 0 };
    uint8_t copy[NIC_FRAME_MAX + 1];
    f.len = f.len > RAM_BYTES - at ? RAM_BYTES - at : f.len;
    memcpy(copy, f.data, f.len < sizeof(copy) ? f.len : sizeof(copy));
    if (s[4] & 1) {
        memset(copy, 0xff, 6);
    }
    f.data = copy;
    f.off = (struct nic_offload){ .csum = s[4] & 2,
                                  .gso = (uint8_t)((s[4] >> 2 & 3) % 3),
                                  .gso_size = load_le16(s + 5),
                                  .csum_start = s[5],
                                  .csum_offset = s[6] };
    machine_enter(w->m);
    f.queue = s[7] >> 3 & 7;
    nic_deliver(w->nic[s[4] >> 6 & 1], &f);
    machine_leave(w->m);
}

static void spoil(struct state_buf *b, const uint8_t *s)
{
    size_t body = b->len - 9, at = (size_t)load_le16(s + 2) % (body < 9000 ? body : 9000);
    at = s[5] & 1 ? 5 + at : b->len - 5 - at;
    b->p[at] ^= s[4];
    store_le(b->p + b->len - 4, 4, crc32_z(0, b->p + 5, b->len - 9));
}

static void save_and_load(struct world *w, const uint8_t *s)
{
    struct device *d = w->dev[s[1] & 1];
    struct state_buf b = { 0 };
    struct err e = { 0 };
    bool spoilt = s[5] & 2;
    machine_enter(w->m);
    dev_save(d, &b);
    if (spoilt) {
        spoil(&b, s);
    }
    if (dev_load(d, b.p, b.len, &e) != (long)b.len && !spoilt) {
        abort();
    }
    decode_on(w);
    machine_leave(w->m);
    free(b.p);
}

static void cable_step(struct world *w, const uint8_t *s)
{
    struct nic *n = w->nic[s[2] & 1];
    struct nic_rx_filter filter = { 0 };
    machine_enter(w->m);
    w->full = s[2] & 2;
    nic_set_link(n, s[2] & 4 || s[2] & 8);
    if (!w->full) {
        nic_writable(n);
    }
    n->user->rx_filter(n->opaque, &filter);
    machine_leave(w->m);
}

static void other(struct world *w, const uint8_t *s)
{
    if (s[1] < 0x08) {
        machine_enter(w->m);
        machine_reset(w->m);
        decode_on(w);
        machine_leave(w->m);
    } else if (s[1] < 0x28 && w->moves++ < 3) {
        save_and_load(w, s);
    } else if (s[1] < 0x30) {
        machine_enter(w->m);
        net_unplug_cards(w->m);
        machine_leave(w->m);
    } else if (s[1] < 0x80) {
        cable_step(w, s);
    } else {
        flat_advance(w->f, w->m, (int64_t)load_le16(s + 2) * 1000);
    }
}

/* The first byte's top bits choose the cards. */
static const struct pair {
    const struct dev_class *classes[2];
    void (*step[2])(struct world *, const uint8_t *);
} pairs[4] = {
    { { &e1000_class, &rtl8139_class }, { e1000_step, rtl_step } },
    { { &e1000e_class, &virtio_net_class }, { e1000e_step, virtio_any } },
    { { &pcnet_class, &ne2k_pci_class }, { pcnet_step, ne2k_step } },
    { { &pcnet_class, &virtio_net_class }, { pcnet_step, virtio_any } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct pair *p = &pairs[len ? data[0] >> 6 : 0];
    void (*const steps[8])(struct world *, const uint8_t *) = {
        p->step[0], p->step[0], p->step[1], p->step[1], memory_step, packet_step, frame_step, other,
    };
    struct world w;
    log_set_level(LOG_ERROR);
    world_make(&w, p->classes);
    for (size_t i = 0; i + STEP <= len && i < MAX_STEPS * STEP; i += STEP) {
        steps[data[i] & 7](&w, data + i);
        for (int n = 0; n < 8 && ev_loop_turn(w.loop, 0) > 0; n++) {
        }
    }
    world_free(&w);
    return 0;
}
