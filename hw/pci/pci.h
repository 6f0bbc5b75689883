/* SPDX-License-Identifier: MIT */
/* hw/pci/pci.h - a PCI function: configuration space, BARs, INTx, MSI.
 *
 * PCI Local Bus Specification 3.0, chapter 6. A PCI device's struct starts with struct pci_dev
 * (which starts with struct device). Its class->init fills config through pci_init and adds BARs;
 * its reset calls pci_reset, its loaded calls pci_loaded, its fini calls pci_fini, and its state
 * table starts with PCI_STATE(type).
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H

#include "ioreq/machine.h"

struct pci_msix;

struct pci_bus {
    struct machine *m;
    struct pci_dev *fn[256]; /* by devfn */
    /* Byte accesses at port 0xcf9: the reset control register lies inside the dword latch 0xcf8,
     * so the host bridge owns the port and passes them on. NULL: nobody. */
    const struct region_ops *cf9;
    struct device *cf9_dev;
};

struct pci_info {
    uint16_t vendor, device, subvendor, subdevice;
    uint32_t class; /* class << 16 | subclass << 8 | interface */
    uint8_t revision;
    uint8_t int_pin; /* 0 none, 1..4 INTA..INTD */
    bool multifunction;
};

struct pci_bar {
    bool used, io, prefetch;
    uint64_t size;
    struct region region;     /* the window while decoded (unless lent) */
    struct gmem_block *block; /* RAM lent at the BAR, or NULL */
    uint64_t at;              /* where it is decoded now, or PCI_BAR_OFF */
};
#define PCI_BAR_OFF UINT64_MAX
#define PCI_ROM_BAR 6

struct pci_dev {
    struct device dev;
    struct pci_bus *bus;
    uint8_t devfn;
    char *addr;     /* property "addr": "slot[.fn]" in hex, NULL: the next free slot */
    char *bus_name; /* property "bus": "pci.0", the only one, or NULL */
    uint8_t config[256], wmask[256], w1c[256];
    uint8_t power_on[256]; /* config as class->init left it; pci_reset goes back to it */
    bool sealed;           /* power_on is taken */
    struct region cfg;     /* IO_PCI */
    struct pci_bar bar[7];
    struct line intx;
    uint8_t msi_cap;       /* offset of the MSI capability, 0: none */
    uint8_t pm_cap;        /* of the power management capability, 0: none */
    struct pci_msix *msix; /* hw/pci/msix.h, or NULL */
    uint16_t cap_end;      /* where the next capability goes, 0: at 0x40 */
    /* Called before config bytes [off, off + size) are read, and after they took a guest's write; may
     * be NULL. */
    void (*config_reading)(struct pci_dev *p, unsigned off, unsigned size);
    void (*config_wrote)(struct pci_dev *p, unsigned off, unsigned size);
};

#define PCI_PROPS_AT(type, pci)                                                                    \
    PROP(type, "addr", PROP_STR, pci.addr, 0, "slot[.function], in hex"),                          \
        PROP(type, "bus", PROP_STR, pci.bus_name, 0, "pci.0, the only one")
#define PCI_PROPS(type) PCI_PROPS_AT(type, pci)
extern const struct state_field pci_state[];
#define PCI_STATE(type) FIELD_SUB(type, pci, pci_state, 1)

enum {
    PCI_COMMAND = 0x04,
    PCI_COMMAND_IO = 1,
    PCI_COMMAND_MEMORY = 2,
    PCI_COMMAND_MASTER = 4,
    PCI_COMMAND_INTX_DISABLE = 0x400,
    PCI_STATUS = 0x06,
    PCI_BAR0 = 0x10,
    PCI_ROM = 0x30,
    PCI_CAP_PTR = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,
};
#define PCI_DEVFN(slot, fn) ((uint8_t)((slot) << 3 | (fn)))

/* Puts p on the machine's root bus: fills the header, maps its config region. -EBUSY when the
 * slot is taken, -EINVAL for a bad addr. */
int pci_init(struct pci_dev *p, const struct pci_info *info, struct err *e);
void pci_fini(struct pci_dev *p);
/* Config back to what class->init left there (the first call, by dev_init, remembers it): BARs off,
 * INTx low. */
void pci_reset(struct pci_dev *p);
/* Takes p off the bus until the next pci_reset: config reads all ones, no window, no interrupt, no
 * DMA. Not in saved state: whoever asked for it asks again after a load. */
void pci_vanish(struct pci_dev *p);
/* After config bytes arrived: maps BARs as they say. -EINVAL when a read-only bit (neither wmask
 * nor w1c) is not what class->init left there. */
int pci_loaded(struct pci_dev *p, struct err *e);

/* BAR n (0..5): len a power of two, at least 4 (I/O) or 16 (memory). */
void pci_add_bar(struct pci_dev *p, unsigned n, bool io, uint64_t len, const struct region_ops *ops,
                 const char *name);
/* BAR n (or PCI_ROM_BAR) that is plain memory b; where the host cannot lend it, ops answer. */
void pci_add_block_bar(struct pci_dev *p, unsigned n, struct gmem_block *b, bool prefetch,
                       const struct region_ops *ops, const char *name);
/* During class->init: sets the prefetchable bit of memory BAR n. */
void pci_set_prefetch(struct pci_dev *p, unsigned n, bool prefetch);
/* Where BAR n is decoded, or PCI_BAR_OFF. */
uint64_t pci_bar_at(const struct pci_dev *p, unsigned n);

/* Appends a capability of len bytes; returns its offset. Its bytes are read-only until the caller
 * sets wmask. */
unsigned pci_add_cap(struct pci_dev *p, uint8_t id, unsigned len);
/* MSI with one vector, 64-bit addresses. */
void pci_add_msi(struct pci_dev *p);

/* Power management: D0 and D3, no wake-up (PCI Power Management 1.1, 3.2). */
void pci_add_power_management(struct pci_dev *p);
bool pci_powered(const struct pci_dev *p); /* in D0 */

void pci_set_intx(struct pci_dev *p, bool level); /* honours INTX_DISABLE; uses MSI when enabled */
bool pci_bus_master(const struct pci_dev *p);
/* DMA: -EPERM unless bus master, -EFAULT outside RAM. */
int pci_dma_read(struct pci_dev *p, uint64_t gpa, void *buf, size_t len);
int pci_dma_write(struct pci_dev *p, uint64_t gpa, const void *buf, size_t len);

/* What CF8/CFC do: all ones for an absent function. size 1, 2 or 4, reg 0..255. */
uint32_t pci_cfg_read(struct machine *m, uint8_t bus, uint8_t devfn, unsigned reg, unsigned size);
void pci_cfg_write(struct machine *m, uint8_t bus, uint8_t devfn, unsigned reg, unsigned size,
                   uint32_t val);

#endif
