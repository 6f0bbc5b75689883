/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/disk-bench.c - see disk-bench.h. */
#include "tests/fake-xen/disk-bench.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <xen/xen.h>

#include <xen/grant_table.h>
#include <xen/io/blkif.h>

enum {
    SECTOR = 512,
    IDE_BYTES = 64 << 10,
    IDE_FUNCTION = 0x09, /* 01.1 */
    BUS_MASTER = 0xc000,
    PRD = 0x7000,
    BUFFER = 0x100000,
    PV_PAGES = BLKIF_MAX_SEGMENTS_PER_REQUEST,
    PV_PORT = 64, /* the front end's own number of its event channel */
    LIMIT_MS = 10000,
};

static int out8(struct fake_guest *g, uint16_t port, uint64_t val)
{
    return fake_guest_pio(g, true, port, 1, &val);
}

static int in8(struct fake_guest *g, uint16_t port, uint64_t *val)
{
    return fake_guest_pio(g, false, port, 1, val);
}

static int out32(struct fake_guest *g, uint16_t port, uint64_t val)
{
    return fake_guest_pio(g, true, port, 4, &val);
}

static int config32(struct fake_guest *g, unsigned reg, uint64_t val)
{
    return fake_guest_config(g, true, IDE_FUNCTION, reg, 4, &val);
}

/* ---- IDE ---- */

static int ide_prepare(struct fake_guest *g)
{
    /* address, then length with the end mark: 0 is 64 KiB */
    uint32_t prd[2] = { BUFFER, 0x80000000u };
    return config32(g, 0x20, BUS_MASTER | 1) < 0 || config32(g, 0x04, 5) < 0 ||
                   fake_guest_copy(g, true, PRD, prd, sizeof(prd)) < 0 ||
                   out32(g, BUS_MASTER + 4, PRD) < 0
               ? -1
               : 0;
}

/* A guest's processor has other things to do meanwhile. */
static int await_irq(struct fake_guest *g, unsigned irq)
{
    for (unsigned us = 0; us < LIMIT_MS * 1000u; us++) {
        if (__atomic_load_n(&g->dom->isa_level[irq], __ATOMIC_ACQUIRE)) {
            return 0;
        }
        if (us > 1000) {
            usleep(1);
        }
    }
    return -1;
}

static int ide_transfer(struct fake_guest *g, bool write, uint32_t lba)
{
    const uint8_t file[] = { IDE_BYTES / SECTOR,          (uint8_t)lba,
                             (uint8_t)(lba >> 8),         (uint8_t)(lba >> 16),
                             (uint8_t)(0xe0 | lba >> 24), write ? 0xca : 0xc8 };
    uint64_t dma, status;
    if (out8(g, BUS_MASTER + 2, 6) < 0) { /* what is left of the last one */
        return -1;
    }
    for (unsigned i = 0; i < sizeof(file); i++) {
        if (out8(g, (uint16_t)(0x1f2 + i), file[i]) < 0) {
            return -1;
        }
    }
    if (out8(g, BUS_MASTER, write ? 1 : 9) < 0 || await_irq(g, 14) < 0 ||
        in8(g, BUS_MASTER + 2, &dma) < 0 || out8(g, BUS_MASTER, 0) < 0 ||
        in8(g, 0x1f7, &status) < 0) {
        return -1;
    }
    return (dma & 7) == 4 && status == 0x50 ? 0 : -1;
}

int disk_bench_ide(struct fake_guest *g, bool write, unsigned count, uint64_t span)
{
    int ret = ide_prepare(g);
    for (unsigned i = 0; i < count && ret == 0; i++) {
        ret = ide_transfer(g, write, (uint32_t)((uint64_t)i * IDE_BYTES % span / SECTOR));
    }
    return ret;
}

/* ---- PV ---- */

struct pv {
    struct fake_guest *g;
    int events, notify; /* to and from the back end */
    uint64_t ring, span;
    uint32_t data, put, got;
    unsigned depth;
    bool write;
};

static uint32_t pv_word(struct pv *p, unsigned n, uint32_t val, bool write)
{
    fake_guest_copy(p->g, write, p->ring + 4 * n, &val, sizeof(val));
    return val;
}

static void pv_put(struct pv *p)
{
    struct blkif_request r = { .operation = p->write ? BLKIF_OP_WRITE : BLKIF_OP_READ,
                               .nr_segments = PV_PAGES,
                               .id = p->put };
    r.sector_number = (uint64_t)p->put * PV_PAGES * FAKE_PAGE % p->span / SECTOR;
    for (unsigned i = 0; i < PV_PAGES; i++) {
        r.seg[i] =
            (struct blkif_request_segment){ .gref = p->data + p->put % p->depth * PV_PAGES + i,
                                            .last_sect = 7 };
    }
    fake_guest_copy(p->g, true, p->ring + 64 + 112 * (p->put % 32), &r, sizeof(r));
    p->put++;
}

/* Tells the back end if it waits for one of those behind `before`. */
static void pv_kick(struct pv *p, uint32_t before)
{
    uint32_t port = FAKE_LOCAL_PORT(PV_PORT);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    pv_word(p, 0, p->put, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (p->put - pv_word(p, 1, 0, false) < p->put - before) {
        (void)!write(p->events, &port, sizeof(port));
    }
}

/* Takes what has come; waits until something has. -1: nothing does, or it failed. */
static int pv_take(struct pv *p)
{
    uint32_t there, port;
    while ((there = pv_word(p, 2, 0, false)) == p->got) {
        pv_word(p, 3, p->got + 1, true); /* the event wanted */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        struct pollfd f = { .fd = p->notify, .events = POLLIN };
        if (pv_word(p, 2, 0, false) == p->got && poll(&f, 1, LIMIT_MS) <= 0) {
            return -1;
        }
        (void)!read(p->notify, &port, sizeof(port));
    }
    for (; p->got != there; p->got++) {
        struct blkif_response r;
        fake_guest_copy(p->g, false, p->ring + 64 + 112 * (p->got % 32), &r, sizeof(r));
        if (r.status != BLKIF_RSP_OKAY) {
            return -1;
        }
    }
    return 0;
}

int disk_bench_pv(struct fake_guest *g, const char *dir, bool write, unsigned count, uint64_t span,
                  unsigned depth, uint32_t ring, uint32_t data)
{
    char name[2][256];
    snprintf(name[0], sizeof(name[0]), "%s/pv-events", dir);
    snprintf(name[1], sizeof(name[1]), "%s/pv-notify", dir);
    struct pv p = { .g = g,
                    .events = open(name[0], O_RDWR | O_CLOEXEC),
                    .notify = open(name[1], O_RDWR | O_CLOEXEC | O_NONBLOCK),
                    .ring = (uint64_t)ring * FAKE_PAGE,
                    .span = span - span % (PV_PAGES * FAKE_PAGE),
                    .data = data,
                    .depth = depth,
                    .write = write };
    int ret = p.events < 0 || p.notify < 0 ? -1 : 0;
    p.put = p.got = pv_word(&p, 2, 0, false);
    for (uint32_t end = p.put + count; ret == 0 && p.got != end;) {
        uint32_t before = p.put;
        while (p.put != end && p.put - p.got < depth) {
            pv_put(&p);
        }
        if (p.put != before) {
            pv_kick(&p, before);
        }
        ret = pv_take(&p);
    }
    close(p.events);
    close(p.notify);
    return ret;
}
