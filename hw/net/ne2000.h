/* SPDX-License-Identifier: MIT */
/* hw/net/ne2000.h - an NE2000: a DP8390 with 16 KiB of memory of its own, behind 32 ports.
 *
 * The core of ne2k-pci.c and ne2k-isa.c. A card's struct has a struct ne2000; its window's callbacks
 * call ne2000_read and ne2000_write. Reference: National Semiconductor DP8390D data sheet; Realtek
 * RTL8029AS data sheet.
 */
#ifndef HW_NET_NE2000_H
#define HW_NET_NE2000_H

#include "hw/net/net-dev.h"

enum {
    NE2000_PORTS = 32,
    NE2000_PROM = 32, /* bytes at 0 of its memory: each of the address's bytes twice */
    NE2000_RAM_AT = 0x4000,
    NE2000_RAM = 0x4000,
};

struct ne2000 {
    struct device *d;
    struct nic *nic; /* may be NULL */
    void (*interrupt)(struct device *d, bool level);
    bool pci; /* an RTL8029: identity and configuration registers */

    uint8_t mac[6]; /* as it left the factory */
    uint8_t prom[NE2000_PROM], ram[NE2000_RAM];
    uint8_t cr, pstart, pstop, bnry, curr, tpsr, tsr, rsr, isr, imr, rcr, tcr, dcr;
    uint16_t tbcr, rsar, rbcr;
    uint8_t par[6], mar[8], counter[3];
    uint8_t config[16]; /* page 3 */
    bool tx_full;       /* the back end said stop: the packet under way is not done */
};

extern const struct state_field ne2000_state[];

/* During class->init, all above `mac` filled in. */
void ne2000_init(struct ne2000 *s, const uint8_t *mac);
void ne2000_reset(struct ne2000 *s);
/* -EINVAL for what no guest could have written. Drives the interrupt. */
int ne2000_loaded(struct ne2000 *s, struct err *e);
uint64_t ne2000_read(struct ne2000 *s, uint64_t off, unsigned size);
void ne2000_write(struct ne2000 *s, uint64_t off, unsigned size, uint64_t val);
extern const struct reg_name ne2000_names[];

#endif
