/* SPDX-License-Identifier: MIT */
/* hw/pci/rom.h - a function's expansion ROM: the VGA BIOS, a network card's boot ROM.
 * PCI Local Bus Specification 3.0, 6.3. */
#ifndef HW_PCI_ROM_H
#define HW_PCI_ROM_H

#include "hw/pci/pci.h"

/* What the process hands a class with the property "rom" (PTR). One without bytes is an empty ROM, for
 * a machine whose file is missing. */
struct pci_rom {
    const uint8_t *bytes;
    uint32_t len;
    bool
        stock; /* came with the distribution, perhaps for a sibling: gets the function's identity */
};
#define PCI_ROM_PROP(type, member) PROP(type, "rom", PROP_PTR, member, 0, "expansion ROM")

/* During class->init: allocates b (whose name is set) with size bytes, copies the image into it and
 * shows it at the ROM BAR. image may be NULL. -EINVAL with e when it does not fit. */
int pci_add_rom(struct pci_dev *p, struct gmem_block *b, const struct pci_rom *image, uint32_t size,
                const char *name, struct err *e);

#endif
