/* SPDX-License-Identifier: MIT */
/* hw/pci/msix.c - the MSI-X capability, its table and pending bits. See msix.h. */
#include "hw/pci/msix.h"

#include "dm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    CAP_MSIX = 0x11,
    CAP_LEN = 12,
    CONTROL = 2, /* in the capability */
    CONTROL_MASK_ALL = 0x4000,
    CONTROL_ENABLE = 0x8000,
    ENTRY_BYTES = 16,
    ENTRY_CONTROL = 3, /* word of an entry */
    ENTRY_MASKED = 1,
};

static uint16_t control(const struct pci_msix *x)
{
    return load_le16(&x->p->config[x->cap + CONTROL]);
}

bool msix_enabled(const struct pci_msix *x)
{
    return x->cap && (control(x) & CONTROL_ENABLE);
}

static bool masked(const struct pci_msix *x, unsigned v)
{
    return (control(x) & CONTROL_MASK_ALL) || (x->table[v * 4 + ENTRY_CONTROL] & ENTRY_MASKED);
}

static void send(struct pci_msix *x, unsigned v)
{
    const uint32_t *e = &x->table[v * 4];
    if (pci_bus_master(x->p)) {
        line_msi(&x->p->dev, (uint64_t)e[1] << 32 | e[0], e[2]);
    }
}

void msix_notify(struct pci_msix *x, unsigned v)
{
    if (v >= x->vectors || !msix_enabled(x)) {
        return;
    }
    if (masked(x, v)) {
        x->pending |= 1ull << v;
    } else {
        send(x, v);
    }
}

/* Sends what waited and may go now. */
static void send_pending(struct pci_msix *x)
{
    for (unsigned v = 0; x->pending && msix_enabled(x) && v < x->vectors; v++) {
        if ((x->pending >> v & 1) && !masked(x, v)) {
            x->pending &= ~(1ull << v);
            send(x, v);
        }
    }
}

void msix_config_wrote(struct pci_msix *x)
{
    send_pending(x);
}

/* ---- the BAR ---- */

static uint32_t read_dword(const struct pci_msix *x, uint64_t off)
{
    if (off < x->vectors * (uint64_t)ENTRY_BYTES) {
        return x->table[off / 4];
    }
    if (off == MSIX_PBA || off == MSIX_PBA + 4) {
        return (uint32_t)(x->pending >> (8 * (off - MSIX_PBA)));
    }
    return 0;
}

static uint64_t bar_read(struct device *d, uint64_t off, unsigned size)
{
    const struct pci_msix *x = ((struct pci_dev *)d)->msix;
    uint64_t low = off & ~3ull;
    uint64_t both = read_dword(x, low) | (uint64_t)read_dword(x, low + 4) << 32;
    (void)size; /* the caller keeps the low bytes */
    return both >> (8 * (off & 3));
}

static void write_dword(struct pci_msix *x, uint64_t off, uint32_t val)
{
    if (off < x->vectors * (uint64_t)ENTRY_BYTES) {
        x->table[off / 4] = val;
    }
}

/* Software writes dwords or qwords (6.8.2); anything narrower is dropped. */
static void bar_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_msix *x = ((struct pci_dev *)d)->msix;
    if (size < 4 || off % 4) {
        guest_odd(d, "MSI-X table: write of %u bytes at 0x%llx", size, (unsigned long long)off);
        return;
    }
    write_dword(x, off, (uint32_t)val);
    if (size == 8) {
        write_dword(x, off + 4, (uint32_t)(val >> 32));
    }
    send_pending(x);
}

static const struct region_ops bar_ops = { bar_read, bar_write, 8, NULL };

/* ---- life ---- */

void msix_init(struct pci_dev *p, struct pci_msix *x, unsigned vectors, unsigned bar)
{
    assert(vectors >= 1 && vectors <= MSIX_MAX);
    x->p = p;
    x->vectors = (uint16_t)vectors;
    x->cap = (uint8_t)pci_add_cap(p, CAP_MSIX, CAP_LEN);
    p->msix = x;
    uint8_t *c = &p->config[x->cap];
    store_le(c + CONTROL, 2, vectors - 1);
    store_le(c + 4, 4, bar);
    store_le(c + 8, 4, MSIX_PBA | bar);
    store_le(&p->wmask[x->cap + CONTROL], 2, CONTROL_ENABLE | CONTROL_MASK_ALL);
    pci_add_bar(p, bar, false, MSIX_BAR_LEN, &bar_ops, "MSI-X");
    msix_reset(x);
}

void msix_reset(struct pci_msix *x)
{
    memset(x->table, 0, sizeof(x->table));
    for (unsigned v = 0; v < x->vectors; v++) {
        x->table[v * 4 + ENTRY_CONTROL] = ENTRY_MASKED;
    }
    x->pending = 0;
}

int msix_loaded(struct pci_msix *x, struct err *e)
{
    if (x->vectors < 64 && x->pending >> x->vectors) {
        return err_set(e, -EINVAL, "MSI-X: pending bits of vectors that are not there");
    }
    return 0;
}

const struct state_field msix_state[] = {
    FIELD_ARRAY(struct pci_msix, table),
    FIELD(struct pci_msix, pending),
    FIELD_END,
};
