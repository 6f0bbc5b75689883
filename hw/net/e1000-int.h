/* SPDX-License-Identifier: MIT */
/* hw/net/e1000-int.h - the registers of 82540EM and 82574L, and what their files share.
 *
 *   e1000.c      registers, interrupts, PHY and EEPROM of the 82540EM, and what the 82574L inherits
 *   e1000e.c     what the 82574L adds: MSI-X, two queues each way, its NVM and PHY
 *   e1000-rx.c, e1000-tx.c, e1000-rss.c    both
 *
 * Section numbers are those of the PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual (317453), or of the 82574 data sheet (317694) where it says so. */
#ifndef HW_NET_E1000_INT_H
#define HW_NET_E1000_INT_H

#include "hw/net/net-dev.h"
#include "hw/pci/msix.h"

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

/* A ring's registers follow each other in the arrays. */
enum { RING_BAL, RING_BAH, RING_LEN, RING_HEAD, RING_TAIL };

/* Those that only the 82574L has; 317694, 10. */
enum e1000e_reg {
    X_KMRNCTRLSTA,
    X_EIAC,
    X_IAM,
    X_IVAR,
    X_EITR, /* five */
    X_EXTCNF = X_EITR + 5,
    X_EEMNGCTL,
    X_PSRCTL,
    X_RXDCTL1,
    X_RDBAL1,
    X_RDBAH1,
    X_RDLEN1,
    X_RDH1,
    X_RDT1,
    X_TARC0,
    X_TARC1,
    X_TXDCTL1,
    X_TDBAL1,
    X_TDBAH1,
    X_TDLEN1,
    X_TDH1,
    X_TDT1,
    X_RFCTL,
    X_MRQC,
    X_GCR,
    X_GCR2,
    X_FACTPS,
    X_SWSM,
    X_FWSM,
    X_SWSM2,
    X_PBA_ECC,
    X_TSYNCTXCTL,
    X_TSYNCRXCTL,
    X_TIMINCA,
    X_COUNT
};
enum { E1000E_VECTORS = 5 };

enum { /* CTRL, 13.4.1 */
       CTRL_FD = 1u << 0,
       CTRL_GIO_MASTER_DISABLE = 1u << 2, /* 82574L */
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
       ICR_ALL = 0x1ffdf,   /* bits that exist */
       ICR_RXQ0 = 1u << 20, /* 82574L: and RXQ1 above it */
       ICR_TXQ0 = 1u << 22, /* and TXQ1 */
       ICR_OTHER = 1u << 24,
       ICR_82574 = 0x01f60000 | ICR_ALL,
};
enum { /* RCTL, 13.4.22 */
       RCTL_EN = 1u << 1,
       RCTL_UPE = 1u << 3,
       RCTL_MPE = 1u << 4,
       RCTL_LPE = 1u << 5,
       RCTL_LBM = 3u << 6,
       RCTL_RDMTS_SHIFT = 8,
       RCTL_DTYP_PS = 1u << 10, /* 82574L: packet split descriptors */
       RCTL_MO_SHIFT = 12,
       RCTL_BAM = 1u << 15,
       RCTL_BSIZE_SHIFT = 16,
       RCTL_VFE = 1u << 18,
       RCTL_DPF = 1u << 22,
       RCTL_BSEX = 1u << 25,
       RCTL_SECRC = 1u << 26,
};
enum { TCTL_EN = 1u << 1, TCTL_PSP = 1u << 3 }; /* 13.4.33 */
enum {
    RXCSUM_PCSS = 0xff,
    RXCSUM_IPOFL = 1u << 8,
    RXCSUM_TUOFL = 1u << 9,
    RXCSUM_PCSD = 1u << 13
}; /* 13.4.31 */
enum { RFCTL_EXSTEN = 1u << 15 };
enum { CTRL_EXT_EIAME = 1u << 24, CTRL_EXT_IAME = 1u << 27 };
#define ICR_INT_ASSERTED (1u << 31)
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

/* Causes that wait for one of the delay timers. */
struct e1000_delay {
    struct vtimer timer;
    uint32_t causes;      /* 0: none waits */
    int64_t first, last;  /* events since the timer was started, ns */
    enum e1000_reg delay; /* where it is set, units of 1.024 us: RDTR, TIDV */
    enum e1000_reg limit; /* RADV, TADV */
    struct e1000 *s;
};

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

    bool raised;         /* the interrupt is asserted */
    int64_t quiet_until; /* ITR: not again before, ns */
    struct e1000_delay rx_delay, tx_delay;
    struct vtimer itr_timer, tx_more, autoneg;

    /* The 82574L's own. */
    bool is_82574;
    uint32_t xreg[X_COUNT], reta[32], rss_key[10];
    struct e1000_context context1, tso1; /* of transmit queue 1 */
    uint8_t tx_queue;                    /* that the packet under way comes from */
    uint32_t signalled; /* causes whose message was sent and that are still there */
    int64_t vector_quiet[E1000E_VECTORS];
    struct vtimer eitr_timer;
    struct pci_msix msix;
};

/* The rings' registers; queue 1 only of the 82574L. */
static inline uint32_t *e1000_rx_ring(struct e1000 *s, unsigned q)
{
    return q ? &s->xreg[X_RDBAL1] : &s->reg[R_RDBAL];
}

static inline uint32_t *e1000_tx_ring(struct e1000 *s, unsigned q)
{
    return q ? &s->xreg[X_TDBAL1] : &s->reg[R_TDBAL];
}

/* e1000.c: also the 82574L's class calls these */
extern const struct nic_user e1000_user;
extern const struct region_ops e1000_mmio_ops, e1000_io_ops;
void e1000_start(struct e1000 *s); /* timers and cable, during class->init */
void e1000_reset(struct device *d);
int e1000_loaded(struct device *d, struct err *e);
void e1000_fini(struct device *d);
void e1000_update_irq(struct e1000 *s);
extern const struct state_field e1000_state[];
/* Puts words into the EEPROM, and the sum that makes it 0xbaba. */
void e1000_seal_eeprom(struct e1000 *s, const uint16_t (*words)[2], unsigned n);
void e1000_cause(struct e1000 *s, uint32_t bits);
/* When ITR lets the next interrupt out, ns; may be past. */
int64_t e1000_quiet_until(const struct e1000 *s);
void e1000_count(struct e1000 *s, enum e1000_stat what, uint64_t n);
/* 64-bit counters: low word at `what`. */
void e1000_count64(struct e1000 *s, enum e1000_stat what, uint64_t n);
void e1000_count_size(struct e1000 *s, enum e1000_stat first, uint32_t len);
bool e1000_link_up(const struct e1000 *s);
/* e1000-delay.c */
void e1000_delays_init(struct e1000 *s);
/* causes, not 0, shall go to ICR after the delay; it begins anew for those that wait already. */
void e1000_delay(struct e1000_delay *d, uint32_t causes);
/* What waits goes now; never; now if the host would soon be woken for it. */
void e1000_delay_end(struct e1000_delay *d);
void e1000_delay_drop(struct e1000_delay *d);
void e1000_delay_hurry(struct e1000_delay *d);
/* What is due of both goes now: ICR is about to be read. */
void e1000_delays_settle(struct e1000 *s);
/* e1000-tx.c */
void e1000_transmit(struct e1000 *s);
extern const struct state_field e1000_context_state[];
/* e1000-rss.c: the queue that f goes to, with what its descriptor says of the hash. */
unsigned e1000_rss(const struct e1000 *s, const struct nic_frame *f, uint32_t *type,
                   uint32_t *hash);
/* e1000e.c: what the 82574L does otherwise. The accesses: true when the register is its own. */
bool e1000e_read(struct e1000 *s, uint32_t off, uint32_t *val);
bool e1000e_write(struct e1000 *s, uint32_t off, uint32_t val);
void e1000e_reset_mac(struct e1000 *s);
void e1000e_fill_eeprom(struct e1000 *s);
/* Messages for what is in ICR and IMS; MSI-X is on. */
void e1000e_send_messages(struct e1000 *s);
/* e1000-rx.c */
bool e1000_receive(void *opaque, const struct nic_frame *f);
/* One of our own, by a loopback mode. */
void e1000_loop_back(struct e1000 *s, const uint8_t *data, uint32_t len);
void e1000_rx_filter(void *opaque, struct nic_rx_filter *f);

#endif
