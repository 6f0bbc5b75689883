/* SPDX-License-Identifier: MIT */
/* hw/net/pcnet-int.h - the Am79C970A's registers and what its two files share.
 * Names and page numbers as in AMD's data sheet 19436 (Am79C970A PCnet-PCI II). */
#ifndef HW_NET_PCNET_INT_H
#define HW_NET_PCNET_INT_H

#include "hw/net/net-dev.h"

enum { /* CSR0 */
       CSR0_INIT = 0x0001,
       CSR0_STRT = 0x0002,
       CSR0_STOP = 0x0004,
       CSR0_TDMD = 0x0008,
       CSR0_TXON = 0x0010,
       CSR0_RXON = 0x0020,
       CSR0_IENA = 0x0040,
       CSR0_INTR = 0x0080,
       CSR0_IDON = 0x0100,
       CSR0_TINT = 0x0200,
       CSR0_RINT = 0x0400,
       CSR0_MERR = 0x0800,
       CSR0_MISS = 0x1000,
       CSR0_CERR = 0x2000,
       CSR0_BABL = 0x4000,
       CSR0_ERR = 0x8000,
       CSR0_W1C = 0x7f00,
       CSR3_DXSUFLO = 0x0040,
       CSR4_APAD_XMT = 0x0800,
       CSR4_ASTRP_RCV = 0x0400,
       CSR4_TXSTRT = 0x0008,
       CSR5_TOKINTD = 0x8000,
       CSR5_LTINTEN = 0x4000,
       CSR5_SPND = 0x0001,
       MODE_PROM = 0x8000, /* CSR15 */
       MODE_DRCVBC = 0x4000,
       MODE_DRCVPA = 0x2000,
       MODE_LOOP = 0x0004,
       MODE_DTX = 0x0002,
       MODE_DRX = 0x0001,
};
enum { /* indexes of CSRs and BCRs with a name of their own here */
       CSR_LADRF = 8,
       CSR_PADR = 12,
       CSR_MODE = 15,
       CSR_BADR = 24, /* receive ring, low and high */
       CSR_BADX = 30,
       CSR_RCVRC = 72,
       CSR_XMTRC = 74,
       CSR_RCVRL = 76, /* lengths, two's complement */
       CSR_XMTRL = 78,
       CSR_MISSED = 112,
       CSRS = 128,
       BCR_MC = 2,
       BCR_LED0 = 4,
       BCR_BSBC = 18,
       BCR_EECAS = 19,
       BCR_SWS = 20,
       BCRS = 32,
       BSBC_DWIO = 0x80,
};

#define PCNET_FRAME_MAX 4092u /* what MCNT's 12 bits can say, less the FCS */

struct pcnet {
    struct pci_dev pci;
    struct net_dev net;

    uint16_t csr[CSRS]; /* CSR0 without ERR and INTR, which follow from the rest */
    uint16_t bcr[BCRS];
    uint16_t rap;
    uint8_t aprom[16];
    struct eeprom93 eeprom;
    uint16_t rx_index, tx_index; /* the next descriptor of each ring */

    uint8_t frame[PCNET_FRAME_MAX]; /* being put together from descriptors */
    uint32_t frame_len;
    bool tx_open, too_long, tx_full;
    uint8_t refused; /* how often the frame that waits found no descriptor */
    struct vtimer tx_more, retry;
};

/* pcnet.c */
void pcnet_cause(struct pcnet *s, uint16_t csr0_bits);
bool pcnet_suspended(const struct pcnet *s);
bool pcnet_link_up(const struct pcnet *s);
/* pcnet-ring.c */
void pcnet_transmit(struct pcnet *s);
bool pcnet_receive(void *opaque, const struct nic_frame *f);
void pcnet_rx_filter(void *opaque, struct nic_rx_filter *f);

#endif
