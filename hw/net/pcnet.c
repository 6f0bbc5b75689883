/* SPDX-License-Identifier: MIT */
/* hw/net/pcnet.c - AMD Am79C970A PCnet-PCI II Ethernet controller: registers, interrupts, start and stop.
 *
 * Sending and receiving are in pcnet-ring.c; what is left out is in docs/hw/pcnet.md.
 *
 *   16-bit I/O (WIO)   0..f address PROM, 10 RDP, 12 RAP, 14 reset, 16 BDP
 *   32-bit I/O (DWIO)  0..f address PROM, 10 RDP, 14 RAP, 18 reset, 1c BDP
 *
 * A 32-bit write to 10 switches to DWIO until the chip is reset by its pin. RAP chooses the CSR that is
 * read and written at RDP, or the BCR at BDP.
 * Reference: AMD data sheet 19436.
 */
#include "hw/net/pcnet-int.h"

#include "dm/base/bytes.h"

#include <errno.h>

enum {
    WINDOW = 32,
    PROM_BYTES = 16,
    PORT_RDP = 0, /* registers behind the PROM, in either mode */
    PORT_RAP = 1,
    PORT_RESET = 2,
    PORT_BDP = 3,

    CSR4_W1C = 0x026a, /* MFCO, UINT, RCVCCO, TXSTRT, JAB */
    CSR4_STORED = 0xdd15,
    CSR4_UINTCMD = 0x0080,
    CSR4_UINT = 0x0040,
    CSR5_W1C = 0x0a90, /* SINT, SLPINT, EXDINT, MPINT */
    CSR5_STORED = 0xc56f,
    MC_APROMWE = 0x0100,
    LED_LNKSE = 0x0040,
    LED_OUT = 0x8000,
    EECAS_PVALID = 0x8000,
    EECAS_PREAD = 0x4000,
    EECAS_EEDET = 0x2000,
    EECAS_EEN = 0x10,
    EECAS_ECS = 0x04,
    EECAS_ESK = 0x02,
    EECAS_EDI = 0x01,
    SWS_SSIZE32 = 0x0100,
    SWS_CSRPCNET = 0x0200,
};

/* ---- interrupts ---- */

/* CSR3 and CSR4 mask what CSR0 and CSR4 say; CSR5's bits have their enables below them. */
static bool interrupts(const struct pcnet *s)
{
    const uint16_t *c = s->csr;
    unsigned main = c[0] & ~c[3] & (CSR0_W1C & ~CSR0_CERR);
    unsigned fourth = (c[4] >> 1 & ~c[4] & 0x0115) | (c[4] & CSR4_UINT);
    return main || fourth || (c[5] >> 1 & c[5] & 0x0548);
}

static void update_irq(struct pcnet *s)
{
    pci_set_intx(&s->pci, s->csr[0] & CSR0_IENA && interrupts(s));
}

void pcnet_cause(struct pcnet *s, uint16_t csr0_bits)
{
    s->csr[0] |= csr0_bits;
    update_irq(s);
}

bool pcnet_suspended(const struct pcnet *s)
{
    return s->csr[5] & CSR5_SPND;
}

bool pcnet_link_up(const struct pcnet *s)
{
    return s->net.nic == NULL || nic_link(s->net.nic);
}

/* ---- stop, initialise, start ---- */

static void stop(struct pcnet *s)
{
    s->csr[0] = CSR0_STOP;
    s->csr[4] &= (uint16_t)~CSR4_W1C;
    s->csr[5] &= (uint16_t) ~(CSR5_W1C | CSR5_SPND);
    memset(s->frame, 0, s->frame_len);
    s->frame_len = 0;
    s->tx_open = s->too_long = false;
    s->refused = 0;
    vtimer_disarm(&s->tx_more);
    vtimer_disarm(&s->retry);
    nic_kick(s->net.nic); /* what waits is dropped */
    update_irq(s);
}

static void set_ring(struct pcnet *s, unsigned base, unsigned len, uint32_t gpa, unsigned log2)
{
    s->csr[base] = (uint16_t)gpa;
    s->csr[base + 1] = (uint16_t)(gpa >> 16);
    s->csr[len] = (uint16_t) - (1u << (log2 < 9 ? log2 : 9));
}

/* The initialisation block into the registers. */
static void take_block(struct pcnet *s, const uint8_t *b, bool wide)
{
    uint32_t high = (uint32_t)(s->csr[2] & 0xff00) << 16;
    s->csr[CSR_MODE] = load_le16(b);
    memcpy(&s->csr[CSR_PADR], b + (wide ? 4 : 2), 6);
    memcpy(&s->csr[CSR_LADRF], b + (wide ? 12 : 8), 8);
    if (wide) {
        set_ring(s, CSR_BADR, CSR_RCVRL, load_le32(b + 20), b[2] >> 4);
        set_ring(s, CSR_BADX, CSR_XMTRL, load_le32(b + 24), b[3] >> 4);
    } else {
        set_ring(s, CSR_BADR, CSR_RCVRL, (load_le32(b + 16) & 0xffffff) | high, b[19] >> 5);
        set_ring(s, CSR_BADX, CSR_XMTRL, (load_le32(b + 20) & 0xffffff) | high, b[23] >> 5);
    }
    s->rx_index = s->tx_index = 0;
}

static void initialise(struct pcnet *s)
{
    bool wide = s->bcr[BCR_SWS] & SWS_SSIZE32;
    uint32_t gpa = s->csr[1] | (uint32_t)s->csr[2] << 16;
    uint8_t block[28] = { 0 };
    s->csr[0] = (uint16_t)((s->csr[0] & ~CSR0_STOP) | CSR0_INIT);
    if (pci_dma_read(&s->pci, gpa & ~(wide ? 3u : 1u), block, wide ? 28 : 24) < 0) {
        guest_odd(&s->pci.dev, "initialisation block outside memory, or no bus master");
        pcnet_cause(s, CSR0_MERR);
        return;
    }
    take_block(s, block, wide);
    pcnet_cause(s, CSR0_IDON);
}

static void start(struct pcnet *s)
{
    uint16_t mode = s->csr[CSR_MODE];
    s->csr[0] &= (uint16_t) ~(CSR0_STOP | CSR0_TXON | CSR0_RXON);
    s->csr[0] |= (uint16_t)(CSR0_STRT | (mode & MODE_DTX ? 0 : CSR0_TXON) |
                            (mode & MODE_DRX ? 0 : CSR0_RXON));
}

/* A driver that writes here is at work: the transmit ring is polled and the receive ring tried again. */
static void csr0_write(struct pcnet *s, uint16_t val)
{
    s->csr[0] &= (uint16_t) ~(val & CSR0_W1C);
    if (val & CSR0_STOP) {
        stop(s);
        return;
    }
    s->csr[0] = (uint16_t)((s->csr[0] & ~CSR0_IENA) | (val & CSR0_IENA));
    if (val & CSR0_INIT && !(s->csr[0] & CSR0_INIT)) {
        initialise(s);
    }
    if (val & CSR0_STRT && !(s->csr[0] & CSR0_STRT)) {
        start(s);
    }
    pcnet_transmit(s);
    nic_kick(s->net.nic);
    update_irq(s);
}

/* ---- CSRs ---- */

static uint16_t csr_read(struct pcnet *s)
{
    unsigned n = s->rap & (CSRS - 1);
    uint16_t v = s->csr[n];
    switch (n) {
    case 0:
        v |= interrupts(s) ? CSR0_INTR : 0;
        return v & (CSR0_BABL | CSR0_CERR | CSR0_MISS | CSR0_MERR) ? v | CSR0_ERR : v;
    case 16:
    case 17: /* what CSR1 and CSR2 say */
        return s->csr[n - 15];
    case 58:
        return s->bcr[BCR_SWS];
    case CSR_RCVRC:
        return (uint16_t)(s->csr[CSR_RCVRL] + s->rx_index);
    case CSR_XMTRC:
        return (uint16_t)(s->csr[CSR_XMTRL] + s->tx_index);
    default:
        return v;
    }
}

static void csr4_write(struct pcnet *s, uint16_t val)
{
    uint16_t left = s->csr[4] & CSR4_W1C & (uint16_t)~val;
    s->csr[4] = (uint16_t)((val & CSR4_STORED) | left | (val & CSR4_UINTCMD ? CSR4_UINT : 0));
    update_irq(s);
}

static void csr5_write(struct pcnet *s, uint16_t val)
{
    uint16_t left = s->csr[5] & CSR5_W1C & (uint16_t)~val;
    s->csr[5] = (uint16_t)((val & CSR5_STORED) | left);
    update_irq(s);
    if (!(val & CSR5_SPND)) {
        pcnet_transmit(s);
        nic_kick(s->net.nic);
    }
}

/* SWSTYLE says how wide structures in memory are. */
static void sws_write(struct pcnet *s, uint16_t val)
{
    unsigned style = val & 3;
    s->bcr[BCR_SWS] =
        (uint16_t)((val & 0x0403) | (style ? SWS_SSIZE32 : 0) | (style == 1 ? 0 : SWS_CSRPCNET));
}

/* A ring's base or length changed: a pointer that is outside now starts anew. */
static void check_indexes(struct pcnet *s)
{
    if (s->rx_index >= (uint16_t)-s->csr[CSR_RCVRL]) {
        s->rx_index = 0;
    }
    if (s->tx_index >= (uint16_t)-s->csr[CSR_XMTRL]) {
        s->tx_index = 0;
    }
}

static bool idle(const struct pcnet *s)
{
    return s->csr[0] & CSR0_STOP || pcnet_suspended(s);
}

/* Most registers may only be written while the chip is stopped or suspended. */
static void csr_write_idle(struct pcnet *s, unsigned n, uint16_t val)
{
    switch (n) {
    case 16:
    case 17:
        s->csr[n - 15] = val;
        break;
    case 58:
        sws_write(s, val);
        break;
    case CSR_RCVRC:
        s->rx_index = (uint16_t)(val - s->csr[CSR_RCVRL]);
        break;
    case CSR_XMTRC:
        s->tx_index = (uint16_t)(val - s->csr[CSR_XMTRL]);
        break;
    case 88: /* chip identity */
    case 89:
        break;
    default:
        s->csr[n] = val;
        break;
    }
    check_indexes(s);
}

static void csr_write(struct pcnet *s, uint16_t val)
{
    unsigned n = s->rap & (CSRS - 1);
    switch (n) {
    case 0:
        csr0_write(s, val);
        break;
    case 3:
        s->csr[3] = val & 0x5f7c;
        update_irq(s);
        break;
    case 4:
        csr4_write(s, val);
        break;
    case 5:
        csr5_write(s, val);
        break;
    case CSR_MISSED: /* read and cleared at any time */
    case 114:
    case 124:
        s->csr[n] = val;
        break;
    default:
        if (idle(s)) {
            csr_write_idle(s, n, val);
        }
        break;
    }
}

/* ---- address PROM and EEPROM ---- */

static void fill_eeprom(struct pcnet *s)
{
    uint8_t b[32] = { 0 };
    unsigned sum = 0, all = 0;
    memcpy(b, s->net.mac, 6);
    b[9] = 0x11; /* hardware: what AMD's drivers expect */
    b[14] = b[15] = 'W';
    for (unsigned i = 0; i < 16; i++) {
        sum += b[i];
    }
    store_le(b + 12, 2, sum);
    for (unsigned i = 0; i < 31; i++) {
        all += b[i];
    }
    b[31] = (uint8_t)(0xff - all); /* so that all 32 end in ff */
    memset(&s->eeprom, 0, sizeof(s->eeprom));
    memcpy(s->eeprom.word, b, sizeof(b));
    eeprom93_idle(&s->eeprom);
}

static void load_aprom(struct pcnet *s)
{
    memcpy(s->aprom, s->eeprom.word, sizeof(s->aprom));
}

static void eecas_write(struct pcnet *s, uint16_t val)
{
    if (val & EECAS_PREAD) {
        load_aprom(s);
    }
    s->bcr[BCR_EECAS] = val & 0x1f;
    if (val & EECAS_EEN) {
        eeprom93_wires(&s->eeprom, val & EECAS_ECS, val & EECAS_ESK, val & EECAS_EDI);
    } else {
        eeprom93_idle(&s->eeprom);
    }
}

/* ---- BCRs ---- */

static uint16_t bcr_read(const struct pcnet *s)
{
    unsigned n = s->rap & (CSRS - 1);
    if (n >= BCRS) {
        return 0;
    }
    uint16_t v = s->bcr[n];
    if (n >= BCR_LED0 && n < BCR_LED0 + 4) { /* activity is too short to be seen */
        return v | (v & LED_LNKSE && pcnet_link_up(s) ? LED_OUT : 0);
    }
    if (n == BCR_EECAS) {
        return (uint16_t)((v & ~EECAS_EDI) | EECAS_PVALID | EECAS_EEDET |
                          (s->eeprom.out ? EECAS_EDI : 0));
    }
    return v;
}

static void bcr_write(struct pcnet *s, uint16_t val)
{
    static const uint16_t wmask[BCRS] = {
        [BCR_MC] = 0xffff, [4] = 0x7fff, [5] = 0x7fff,  [6] = 0x7fff,  [7] = 0x7fff,
        [9] = 0x0007,      [16] = 0,     [18] = 0xff7f, [21] = 0xffff, [22] = 0xffff,
    };
    unsigned n = s->rap & (CSRS - 1);
    if (n == BCR_SWS) {
        if (idle(s)) {
            sws_write(s, val);
            check_indexes(s);
        }
    } else if (n == BCR_EECAS) {
        eecas_write(s, val);
    } else if (n < BCRS) {
        s->bcr[n] = (uint16_t)((s->bcr[n] & ~wmask[n]) | (val & wmask[n]));
    }
}

/* ---- reset ---- */

/* By the reset register: CSRs; BCRs and what was read from the EEPROM stay. */
static void soft_reset(struct pcnet *s)
{
    memset(s->csr, 0, sizeof(s->csr));
    s->csr[4] = 0x0115;
    s->csr[80] = 0x1410;
    s->csr[88] = 0x1003; /* Am79C970A */
    s->csr[89] = 0x0262;
    s->csr[94] = 0;
    s->csr[100] = 0x0200;
    memcpy(&s->csr[CSR_PADR], s->aprom, 6);
    s->rap = 0;
    s->rx_index = s->tx_index = 0;
    s->tx_full = false;
    stop(s);
}

static void pcnet_reset(struct device *d)
{
    static const uint16_t bcr[BCRS] = {
        [0] = 5,    [1] = 5,    [2] = 2,       [4] = 0xc0,    [5] = 0x84,
        [6] = 0x88, [7] = 0x90, [18] = 0x9001, [22] = 0xff06,
    };
    struct pcnet *s = (struct pcnet *)d;
    pci_reset(&s->pci);
    memcpy(s->bcr, bcr, sizeof(bcr));
    sws_write(s, 0);
    fill_eeprom(s);
    load_aprom(s);
    memset(s->frame, 0, sizeof(s->frame));
    soft_reset(s);
}

/* ---- the window ---- */

static bool dword_io(const struct pcnet *s)
{
    return s->bcr[BCR_BSBC] & BSBC_DWIO;
}

/* Which register behind the PROM, or -1: in either mode only accesses of its width count. */
static int port(const struct pcnet *s, uint64_t off, unsigned size)
{
    unsigned width = dword_io(s) ? 4 : 2;
    uint64_t n = (off - PROM_BYTES) / width;
    return size == width && off % width == 0 && n <= PORT_BDP ? (int)n : -1;
}

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    struct pcnet *s = (struct pcnet *)d;
    if (off < PROM_BYTES) {
        return load_le(s->aprom + off, off + size > PROM_BYTES ? 1 : size);
    }
    switch (port(s, off, size)) {
    case PORT_RDP:
        return csr_read(s);
    case PORT_RAP:
        return s->rap;
    case PORT_RESET:
        soft_reset(s);
        return 0;
    case PORT_BDP:
        return bcr_read(s);
    default:
        return 0;
    }
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct pcnet *s = (struct pcnet *)d;
    if (off < PROM_BYTES) {
        if (s->bcr[BCR_MC] & MC_APROMWE) {
            store_le(s->aprom + off, off + size > PROM_BYTES ? 1 : size, val);
        }
        return;
    }
    if (off == PROM_BYTES && size == 4) {
        s->bcr[BCR_BSBC] |= BSBC_DWIO;
    }
    switch (port(s, off, size)) {
    case PORT_RDP:
        csr_write(s, (uint16_t)val);
        break;
    case PORT_RAP:
        s->rap = val & (CSRS - 1);
        break;
    case PORT_BDP:
        bcr_write(s, (uint16_t)val);
        break;
    default:
        break;
    }
}

static const struct reg_name names[] = {
    { 0x00, "APROM" }, { 0x10, "RDP" },          { 0x12, "RAP" },        { 0x14, "RESET, RAP" },
    { 0x16, "BDP" },   { 0x18, "RESET (DWIO)" }, { 0x1c, "BDP (DWIO)" }, { 0, NULL },
};
static const struct region_ops window_ops = { window_read, window_write, 4, names };

/* ---- life ---- */

static void more(void *opaque)
{
    pcnet_transmit(opaque);
}

static void retry(void *opaque)
{
    nic_kick(((struct pcnet *)opaque)->net.nic);
}

static void writable(void *opaque)
{
    struct pcnet *s = opaque;
    s->tx_full = false;
    pcnet_transmit(s);
}

static const struct nic_user user = { pcnet_receive, writable, NULL, pcnet_rx_filter };

static int pcnet_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x1022,
        .device = 0x2000,
        .class = 0x020000,
        .revision = 0x10,
        .int_pin = 1,
    };
    struct pcnet *s = (struct pcnet *)d;
    int ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    s->pci.config[0x3e] = 0x06; /* MIN_GNT, MAX_LAT */
    s->pci.config[0x3f] = 0xff;
    pci_add_bar(&s->pci, 0, true, WINDOW, &window_ops, "PCNET IO");
    pci_add_bar(&s->pci, 1, false, WINDOW, &window_ops, "PCNET MEM");
    ret = net_dev_init(&s->pci, &s->net, e);
    if (ret < 0) {
        return ret;
    }
    vtimer_init(&s->tx_more, d->m, "pcnet tx", more, s);
    vtimer_init(&s->retry, d->m, "pcnet rx", retry, s);
    nic_attach(s->net.nic, &user, s);
    return 0;
}

static int pcnet_loaded(struct device *d, struct err *e)
{
    struct pcnet *s = (struct pcnet *)d;
    int ret = pci_loaded(&s->pci, e);
    if (ret < 0) {
        return ret;
    }
    sws_write(s, s->bcr[BCR_SWS]);
    check_indexes(s);
    update_irq(s);
    nic_kick(s->net.nic);
    if (s->tx_full) { /* another back end, which has room */
        s->tx_full = false;
        vtimer_arm(&s->tx_more, 0);
    }
    return 0;
}

static void pcnet_fini(struct device *d)
{
    struct pcnet *s = (struct pcnet *)d;
    if (s->retry.m) {
        vtimer_fini(&s->tx_more);
        vtimer_fini(&s->retry);
    }
    pci_fini(&s->pci);
    net_dev_fini(&s->pci, &s->net);
}

static const struct dev_prop props[] = {
    NET_DEV_PROPS(struct pcnet),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field state[] = {
    PCI_STATE(struct pcnet),
    FIELD_BLOCK(struct pcnet, net.rom),
    FIELD_ARRAY(struct pcnet, csr),
    FIELD_ARRAY(struct pcnet, bcr),
    FIELD_RANGE(struct pcnet, rap, 0, CSRS - 1),
    FIELD_ARRAY(struct pcnet, aprom),
    FIELD_SUB(struct pcnet, eeprom, eeprom93_state, 1),
    FIELD(struct pcnet, rx_index),
    FIELD(struct pcnet, tx_index),
    FIELD_ARRAY(struct pcnet, frame),
    FIELD_RANGE(struct pcnet, frame_len, 0, PCNET_FRAME_MAX),
    FIELD(struct pcnet, tx_open),
    FIELD(struct pcnet, too_long),
    FIELD(struct pcnet, tx_full),
    FIELD(struct pcnet, refused),
    FIELD_TIMER(struct pcnet, tx_more),
    FIELD_TIMER(struct pcnet, retry),
    FIELD_END,
};

const struct dev_class pcnet_class = {
    .name = "pcnet",
    .desc = "AMD Am79C970A PCnet-PCI II Ethernet (PCI 1022:2000)",
    .size = sizeof(struct pcnet),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = pcnet_init,
    .reset = pcnet_reset,
    .loaded = pcnet_loaded,
    .fini = pcnet_fini,
};
