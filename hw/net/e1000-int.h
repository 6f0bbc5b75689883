/* SPDX-License-Identifier: MIT */
/* hw/net/e1000-int.h - the 82540EM's registers and what its three files share.
 * Section numbers are those of the PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual (317453). */
#ifndef HW_NET_E1000_INT_H
#define HW_NET_E1000_INT_H

#include "hw/net/net-dev.h"

/* Registers kept as they are, in the order of their offsets. */
enum e1000_reg {
    R_CTRL,
    R_STATUS,
    R_EECD,
    R_EERD,
    R_CTRL_EXT,
    R_MDIC,
    R_FCAL,
    R_FCAH,
    R_FCT,
    R_VET,
    R_ICR,
    R_ITR,
    R_IMS,
    R_RCTL,
    R_FCTTV,
    R_TXCW,
    R_TCTL,
    R_TIPG,
    R_AIT,
    R_LEDCTL,
    R_PBA,
    R_FCRTL,
    R_FCRTH,
    R_RDBAL,
    R_RDBAH,
    R_RDLEN,
    R_RDH,
    R_RDT,
    R_RDTR,
    R_RXDCTL,
    R_RADV,
    R_RSRPD,
    R_TXDMAC,
    R_TDBAL,
    R_TDBAH,
    R_TDLEN,
    R_TDH,
    R_TDT,
    R_TIDV,
    R_TXDCTL,
    R_TADV,
    R_TSPMT,
    R_RXCSUM,
    R_WUC,
    R_WUFC,
    R_WUS,
    R_MANC,
    R_IPAV,
    R_COUNT
};

enum { /* CTRL, 13.4.1 */
       CTRL_FD = 1u << 0,
       CTRL_ASDE = 1u << 5,
       CTRL_SLU = 1u << 6,
       CTRL_SPEED_1000 = 2u << 8,
       CTRL_RST = 1u << 26,
       CTRL_VME = 1u << 30,
};
#define CTRL_PHY_RST (1u << 31)
enum { /* STATUS, 13.4.2 */
       STATUS_FD = 1u << 0,
       STATUS_LU = 1u << 1,
       STATUS_SPEED_1000 = 2u << 6,
       STATUS_ASDV_1000 = 2u << 8,
};
enum { /* ICR, 13.4.17 */
       ICR_TXDW = 1u << 0,
       ICR_TXQE = 1u << 1,
       ICR_LSC = 1u << 2,
       ICR_RXDMT0 = 1u << 4,
       ICR_RXO = 1u << 6,
       ICR_RXT0 = 1u << 7,
       ICR_MDAC = 1u << 9,
       ICR_ALL = 0x1ffdf, /* bits that exist */
};
enum { /* RCTL, 13.4.22 */
       RCTL_EN = 1u << 1,
       RCTL_UPE = 1u << 3,
       RCTL_MPE = 1u << 4,
       RCTL_LPE = 1u << 5,
       RCTL_LBM = 3u << 6,
       RCTL_RDMTS_SHIFT = 8,
       RCTL_MO_SHIFT = 12,
       RCTL_BAM = 1u << 15,
       RCTL_BSIZE_SHIFT = 16,
       RCTL_VFE = 1u << 18,
       RCTL_DPF = 1u << 22,
       RCTL_BSEX = 1u << 25,
       RCTL_SECRC = 1u << 26,
};
enum { TCTL_EN = 1u << 1, TCTL_PSP = 1u << 3 };                              /* 13.4.33 */
enum { RXCSUM_PCSS = 0xff, RXCSUM_IPOFL = 1u << 8, RXCSUM_TUOFL = 1u << 9 }; /* 13.4.31 */
#define RAH_AV (1u << 31)
#define DELAY_FPD (1u << 31) /* RDTR, TIDV: flush now */

/* Statistics, at 4000 + 4 * n; 13.7. */
enum e1000_stat {
    S_MPC = 0x10 / 4,
    S_PRC64 = 0x5c / 4,
    S_GPRC = 0x74 / 4,
    S_BPRC = 0x78 / 4,
    S_MPRC = 0x7c / 4,
    S_GPTC = 0x80 / 4,
    S_GORC = 0x88 / 4,
    S_GOTC = 0x90 / 4,
    S_RNBC = 0xa0 / 4,
    S_ROC = 0xac / 4,
    S_TOR = 0xc0 / 4,
    S_TOT = 0xc8 / 4,
    S_TPR = 0xd0 / 4,
    S_TPT = 0xd4 / 4,
    S_PTC64 = 0xd8 / 4,
    S_MPTC = 0xf0 / 4,
    S_BPTC = 0xf4 / 4,
    S_TSCTC = 0xf8 / 4,
    S_COUNT = 64
};

/* A transmit context, 3.3.6. */
struct e1000_context {
    uint8_t ipcss, ipcso, tucss, tucso;
    uint16_t ipcse, tucse;
    uint32_t paylen;
    uint16_t mss;
    uint8_t hdrlen, tucmd;
};

#define E1000_FRAME_MAX (64u << 10) /* one being put together, header included */
#define E1000_RX_MAX 16384u

struct e1000 {
    struct pci_dev pci;
    struct net_dev net;

    uint32_t reg[R_COUNT];
    uint32_t mta[128], vfta[128], ra[32], stat[S_COUNT];
    uint32_t filter[4 + 4 + 4 + 256 + 256]; /* wake-up filters: IP4AT.., kept only */
    uint32_t ioaddr;
    uint16_t phy[32];
    struct eeprom93 eeprom;

    /* a frame being put together from descriptors */
    struct e1000_context context, tso;
    uint8_t frame[E1000_FRAME_MAX];
    uint32_t frame_len;
    bool too_long;  /* bytes were left away: it is not sent */
    uint8_t popts;  /* of its first data descriptor */
    bool segmented; /* its first data descriptor has TSE */
    bool tx_full;   /* the back end said stop */

    bool raised;                                  /* the interrupt is asserted */
    int64_t quiet_until;                          /* ITR: not again before, ns */
    int64_t rx_first, rx_last, tx_first, tx_last; /* ns, of what waits for the delay timers */
    struct vtimer itr_timer, rx_delay, tx_delay, tx_more, autoneg;
};

/* e1000.c */
void e1000_cause(struct e1000 *s, uint32_t bits);
void e1000_count(struct e1000 *s, enum e1000_stat what, uint64_t n);
/* 64-bit counters: low word at `what`. */
void e1000_count64(struct e1000 *s, enum e1000_stat what, uint64_t n);
void e1000_count_size(struct e1000 *s, enum e1000_stat first, uint32_t len);
bool e1000_link_up(const struct e1000 *s);
/* e1000-tx.c */
void e1000_transmit(struct e1000 *s);
void e1000_tx_delay_done(void *opaque);
extern const struct state_field e1000_context_state[];
/* e1000-rx.c */
bool e1000_receive(void *opaque, const struct nic_frame *f);
/* One of our own, by a loopback mode. */
void e1000_loop_back(struct e1000 *s, const uint8_t *data, uint32_t len);
void e1000_rx_delay_done(void *opaque);
void e1000_rx_filter(void *opaque, struct nic_rx_filter *f);

#endif
