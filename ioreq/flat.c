/* SPDX-License-Identifier: MIT */
/* ioreq/flat.c - the plainest host: see flat.h.
 *
 * A block is lent by bookkeeping alone (gmem.c finds it). Its changed pages are kept as one bit
 * each, set by whatever passes gmem_write, gmem_unpin and gmem_block_wrote, which on this host is
 * every access there is.
 */
#include "ioreq/flat.h"
#include "ioreq/machine-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u

/* ---- lines ---- */

/* The level of an ISA IRQ as a listener sees it. */
static bool level_of(const struct flat_host *f, unsigned irq)
{
    bool level = f->isa[irq];
    for (unsigned fn = 0; f->fold_links && !level && fn < 256; fn++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            unsigned link = f->link[((fn >> 3) + pin + f->slot_addend) & 3];
            level |= irq && f->intx[fn][pin] && link == irq;
        }
    }
    return level;
}

static void listen(struct flat_host *f, unsigned irq)
{
    if (!f->irq_changed) {
        return;
    }
    bool level = level_of(f, irq);
    if (level != f->told[irq]) {
        f->told[irq] = level;
        f->irq_changed(f->opaque, irq, level);
    }
}

static void flat_isa_irq(void *h, unsigned irq, bool level)
{
    struct flat_host *f = h;
    f->isa_edges[irq] += level && !f->isa[irq];
    f->isa[irq] = level;
    listen(f, irq);
}

static void flat_pci_intx(void *h, unsigned devfn, unsigned pin, bool level)
{
    struct flat_host *f = h;
    f->intx[devfn][pin] = level;
    listen(f, f->link[((devfn >> 3) + pin + f->slot_addend) & 3]);
}

static void flat_pci_link(void *h, unsigned link, unsigned isa_irq)
{
    struct flat_host *f = h;
    unsigned before = f->link[link];
    f->link[link] = (uint8_t)isa_irq;
    listen(f, before);
    listen(f, isa_irq);
}

static void flat_msi(void *h, uint64_t addr, uint32_t data)
{
    struct flat_host *f = h;
    f->msi_addr = addr;
    f->msi_data = data;
    f->msi_count++;
}

static void flat_power(void *h, enum power_event ev)
{
    struct flat_host *f = h;
    f->power = ev;
    f->power_count++;
}

/* ---- memory ---- */

static void *flat_map(void *h, uint64_t gpa, size_t *len, bool pin)
{
    const struct flat_host *f = h;
    (void)pin; /* the bank never moves */
    if (gpa >= f->ram_len) {
        return NULL;
    }
    *len = (size_t)min_u64(*len, f->ram_len - gpa);
    return f->ram + gpa;
}

static int flat_block_new(void *h, struct gmem_block *b, struct err *e)
{
    (void)h;
    uint64_t words = (b->len / PAGE + 63) / 64;
    void *p = mmap(NULL, b->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *changed = calloc(words, sizeof(*changed));
    if (p == MAP_FAILED || !changed) {
        if (p != MAP_FAILED) {
            munmap(p, b->len);
        }
        free(changed);
        return err_set(e, -ENOMEM, "%s: no memory for %llu bytes of device RAM", b->name,
                       (unsigned long long)b->len);
    }
    b->host = p;
    b->priv = changed;
    return 0;
}

static void flat_block_free(void *h, struct gmem_block *b)
{
    (void)h;
    munmap(b->host, b->len);
    free(b->priv);
}

static bool flat_block_lend(void *h, struct gmem_block *b, uint64_t gpa)
{
    const struct flat_host *f = h;
    (void)b;
    return gpa == GMEM_NOWHERE || !f->refuse_lend;
}

static void flat_block_dirty(void *h, struct gmem_block *b, uint64_t off, uint64_t len,
                             uint64_t *bitmap)
{
    (void)h;
    uint64_t *changed = b->priv, pages = (len + PAGE - 1) / PAGE;
    memset(bitmap, 0, (size_t)((pages + 63) / 64) * sizeof(*bitmap));
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t page = off / PAGE + i, bit = 1ull << page % 64;
        if (changed[page / 64] & bit) {
            changed[page / 64] &= ~bit;
            bitmap[i / 64] |= 1ull << i % 64;
        }
    }
}

static void flat_block_wrote(void *h, struct gmem_block *b, uint64_t off, uint64_t len)
{
    (void)h;
    uint64_t *changed = b->priv;
    for (uint64_t page = off / PAGE; len && page <= (off + len - 1) / PAGE; page++) {
        changed[page / 64] |= 1ull << page % 64;
    }
}

/* ---- clock ---- */

static int64_t flat_now(void *h)
{
    return ((struct flat_host *)h)->now;
}

static void flat_timer(void *h, int64_t when_ns)
{
    ((struct flat_host *)h)->timer_at = when_ns;
}

static int64_t flat_wallclock(void *h)
{
    return ((struct flat_host *)h)->wall;
}

const struct machine_host flat_host_ops = {
    .name = "flat",
    .isa_irq = flat_isa_irq,
    .pci_intx = flat_pci_intx,
    .pci_link = flat_pci_link,
    .msi = flat_msi,
    .power = flat_power,
    .map = flat_map,
    .block_new = flat_block_new,
    .block_free = flat_block_free,
    .block_lend = flat_block_lend,
    .block_dirty = flat_block_dirty,
    .block_wrote = flat_block_wrote,
    .now = flat_now,
    .timer = flat_timer,
    .wallclock = flat_wallclock,
};

struct flat_host *flat_new(uint64_t ram_len)
{
    struct flat_host *f = xcalloc(1, sizeof(*f));
    f->ram_len = ram_len;
    f->timer_at = -1;
    if (ram_len) {
        f->ram = mmap(NULL, ram_len, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f->ram == MAP_FAILED) {
            log_msg(LOG_ERROR, "flat", "no memory for %llu bytes of guest RAM",
                    (unsigned long long)ram_len);
            f->ram = NULL;
            f->ram_len = 0;
        }
    }
    return f;
}

void flat_free(struct flat_host *f)
{
    if (!f) {
        return;
    }
    if (f->ram) {
        munmap(f->ram, f->ram_len);
    }
    free(f);
}

void flat_advance(struct flat_host *f, struct machine *m, int64_t ns)
{
    machine_enter(m);
    int64_t until;
    if (__builtin_add_overflow(f->now, ns, &until)) {
        until = INT64_MAX;
    }
    while (f->timer_at >= 0 && f->timer_at <= until) {
        f->now = f->timer_at > f->now ? f->timer_at : f->now;
        f->timer_at = -1;
        machine_timers(m);
    }
    f->now = until;
    machine_leave(m);
}

/* ---- the CPU's plain accesses ---- */

/* Bytes from gpa, at most len, that are alike: all answered by regions (*door) or all not. */
static size_t alike(struct machine *m, uint64_t gpa, size_t len, bool *door)
{
    struct region_table *t = &m->regions[IO_MMIO];
    const struct region_span *s = region_find(t, gpa);
    *door = s != NULL;
    if (s) {
        return s->last - gpa < len ? (size_t)(s->last - gpa) + 1 : len;
    }
    return (size_t)min_u64(len, region_gap(t, gpa));
}

/* Not a device's: a copy to or from RAM, byte by byte if only a part of it is RAM. */
static void plain(struct machine *m, uint64_t gpa, uint8_t *buf, size_t len, bool write)
{
    int rc = write ? gmem_poke(m, gpa, buf, len) : gmem_peek(m, gpa, buf, len);
    if (rc == 0) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t *b = buf + i;
        rc = write ? gmem_poke(m, gpa + i, b, 1) : gmem_peek(m, gpa + i, b, 1);
        if (rc < 0 && !write) { /* a hole */
            *b = 0xff;
        }
    }
}

static void through_door(struct machine *m, uint64_t gpa, uint8_t *buf, unsigned n, bool write)
{
    uint64_t val = 0;
    if (write) {
        memcpy(&val, buf, n);
        io_write(m, IO_MMIO, gpa, n, val);
    } else {
        val = io_read(m, IO_MMIO, gpa, n);
        memcpy(buf, &val, n);
    }
}

/* How much of [gpa, gpa + len), all of it a device's, goes as the next item. whole: the access is
 * one item by itself. */
static unsigned item_of(uint64_t gpa, size_t len, bool whole)
{
    unsigned n = 4;
    while (!whole && (n > len || (gpa & (n - 1)))) {
        n >>= 1;
    }
    return whole ? (unsigned)len : n;
}

static void access_mem(struct machine *m, uint64_t gpa, uint8_t *buf, size_t len, bool write)
{
    bool item = len == 1 || len == 2 || len == 4 || len == 8;
    size_t all = len;
    for (size_t n; len; gpa += n, buf += n, len -= n) {
        bool door;
        machine_enter(m);
        n = alike(m, gpa, len, &door);
        if (!door) {
            plain(m, gpa, buf, n, write);
        }
        machine_leave(m);
        if (door) {
            n = item_of(gpa, n, item && n == all);
            through_door(m, gpa, buf, (unsigned)n, write);
        }
    }
}

/* Bytes of [gpa, gpa + len) below 2^64. */
static size_t below_top(uint64_t gpa, size_t len)
{
    return len && len - 1 > UINT64_MAX - gpa ? (size_t)(UINT64_MAX - gpa) + 1 : len;
}

void flat_mem_read(struct machine *m, uint64_t gpa, void *buf, size_t len)
{
    size_t n = below_top(gpa, len);
    access_mem(m, gpa, buf, n, false);
    memset((uint8_t *)buf + n, 0xff, len - n);
}

void flat_mem_write(struct machine *m, uint64_t gpa, const void *buf, size_t len)
{
    access_mem(m, gpa, (uint8_t *)buf, below_top(gpa, len), true);
}
