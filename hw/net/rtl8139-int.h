/* SPDX-License-Identifier: MIT */
/* hw/net/rtl8139-int.h - what the RTL8139C+'s three files share. Names are the data sheet's. */
#ifndef HW_NET_RTL8139_INT_H
#define HW_NET_RTL8139_INT_H

#include "hw/net/net-dev.h"

enum { /* CR, 37h */
       CR_BUFE = 0x01,
       CR_TE = 0x04,
       CR_RE = 0x08,
       CR_RST = 0x10,
};
enum { /* ISR and IMR, 3Ch, 3Eh */
       ISR_ROK = 0x0001,
       ISR_RER = 0x0002,
       ISR_TOK = 0x0004,
       ISR_TER = 0x0008,
       ISR_RXOVW = 0x0010, /* C+: no descriptor (RDU) */
       ISR_PUN = 0x0020,   /* link change */
       ISR_TDU = 0x0080,
       ISR_SWINT = 0x0100,
       ISR_TIMEOUT = 0x4000,
       ISR_RX_WORK = ISR_ROK | ISR_RXOVW, /* has a driver look at its ring */
};
enum { /* TSD, 10h */
       TSD_SIZE = 0x1fff,
       TSD_OWN = 0x2000, /* the host owns it */
       TSD_TOK = 0x8000,
};
#define TCR_LBK 0x60000u
enum { /* RCR, 44h */
       RCR_AAP = 0x01,
       RCR_APM = 0x02,
       RCR_AM = 0x04,
       RCR_AB = 0x08,
       RCR_WRAP = 0x80,
       RCR_RBLEN_SHIFT = 11,
};
enum { /* CPCR, E0h */
       CPCR_TX = 0x01,
       CPCR_RX = 0x02,
       CPCR_RXCHKSUM = 0x20,
       CPCR_RXVLAN = 0x40,
};
enum { TPPOLL_FSWINT = 0x01, TPPOLL_NPQ = 0x40, TPPOLL_HPQ = 0x80 };

/* Of the frame at the cable that found no room in C mode's ring. */
enum rtl_waits { RTL_NONE_WAITS, RTL_WAITS, RTL_WAITED_LONG };

#define RTL_RING_MAX 64u /* descriptors of a C+ ring */
#define RTL_FRAME_MAX (64u << 10)
#define RTL_RX_MAX 4092u

/* What DTCCR writes to memory. */
struct rtl_tally {
    uint64_t tx_ok, rx_ok, tx_err;
    uint32_t rx_err;
    uint16_t missed, fae;
    uint32_t tx_1col, tx_mcol;
    uint64_t rx_ok_phy, rx_ok_brd;
    uint32_t rx_ok_mul;
    uint16_t tx_abt, tx_undrn;
};

struct rtl8139 {
    struct pci_dev pci;
    struct net_dev net;
    bool cplus; /* property */

    uint8_t idr[6], mar[8];
    uint32_t tsd[4], tsad[4]; /* C+: TNPDS and THPDS are in tsad */
    uint32_t rbstart;
    uint8_t cr;
    uint16_t read_ptr, cbr; /* CAPR + 16, both modulo the buffer's length */
    uint16_t imr, isr;
    uint32_t tcr, rcr, mpc, timer_int;
    uint8_t cr9346, config1, config3, config4, config5;
    uint16_t mulint, bmcr, anar, nwaytr, cscr;
    uint32_t phy1_parm, tw_parm;
    uint8_t phy2_parm;
    uint32_t wake[20]; /* 84h..D3h, kept only */
    uint16_t cpcr, mitigate;
    uint32_t rdsar[2], dtccr[2];
    uint8_t etthr;

    uint8_t tx_next;               /* C mode: whose turn it is */
    uint8_t tx_index[2], rx_index; /* C+ */
    uint8_t frame[RTL_FRAME_MAX];  /* being put together from descriptors */
    uint32_t frame_len, tx_opts[2];
    bool tx_open, too_long, tx_full;
    uint8_t polled;  /* TPPOLL bits at work */
    uint8_t refused; /* how often the frame that waits found no descriptor; C: enum rtl_waits */
    struct rtl_tally tally;
    struct eeprom93 eeprom;

    int64_t timer_base; /* ns, when TCTR was 0 */
    struct vtimer timeout, tx_more, retry;
};

extern const struct state_field rtl_tally_state[];

/* rtl8139.c */
void rtl_cause(struct rtl8139 *s, uint16_t bits);
uint32_t rtl_buffer_len(const struct rtl8139 *s);
/* Powered and with a bus. */
bool rtl_awake(const struct rtl8139 *s);
/* A moment later a frame that waits is offered again. */
void rtl_retry_soon(struct rtl8139 *s);
/* rtl8139-tx.c */
void rtl_transmit(struct rtl8139 *s);
/* rtl8139-rx.c */
bool rtl_receive(void *opaque, const struct nic_frame *f);
void rtl_loop_back(struct rtl8139 *s, const uint8_t *data, uint32_t len);
void rtl_rx_filter(void *opaque, struct nic_rx_filter *f);

#endif
