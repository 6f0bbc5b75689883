/* SPDX-License-Identifier: MIT */
/* hw/pci/msix.h - MSI-X: a table of message-signalled vectors in a BAR of its own.
 *
 * PCI Local Bus Specification 3.0, 6.8.2. The table lies at the BAR's start, the pending bits at
 * MSIX_PBA. Call msix_init in class->init behind pci_init, msix_reset in reset, msix_loaded in loaded,
 * and put MSIX_STATE(type, member) into the state table.
 */
#ifndef HW_PCI_MSIX_H
#define HW_PCI_MSIX_H

#include "hw/pci/pci.h"

#define MSIX_MAX 64 /* vectors */
enum { MSIX_BAR_LEN = 0x1000, MSIX_PBA = 0x800 };

struct pci_msix {
    struct pci_dev *p;
    uint8_t cap; /* offset of the capability, 0 before msix_init */
    uint16_t vectors;
    uint32_t table[MSIX_MAX * 4]; /* address low, high, data, control */
    uint64_t pending;
};

extern const struct state_field msix_state[];
#define MSIX_STATE(type, member) FIELD_SUB(type, member, msix_state, 1)

/* vectors: 1 to MSIX_MAX. bar: a memory BAR nobody uses. */
void msix_init(struct pci_dev *p, struct pci_msix *x, unsigned vectors, unsigned bar);
void msix_reset(struct pci_msix *x);
int msix_loaded(struct pci_msix *x, struct err *e);
/* The guest chose MSI-X: INTx stays low then. */
bool msix_enabled(const struct pci_msix *x);
/* Sends vector v, or notes it while it is masked. Out of range: nothing. */
void msix_notify(struct pci_msix *x, unsigned v);
/* pci.c calls it after each write of configuration space. */
void msix_config_wrote(struct pci_msix *x);

#endif
