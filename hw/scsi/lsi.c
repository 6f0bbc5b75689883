/* SPDX-License-Identifier: MIT */
/* hw/scsi/lsi.c - the LSI53C895A's registers, interrupts, timers and life.
 *
 * Most registers are plain bytes: what they would change about the electrical bus has no meaning here.
 * Left out: target mode, low-level mode (driving the bus by hand), the serial EEPROM, the handshake
 * timer, the expansion ROM. Reference: LSI53C895A manual, chapter 4.
 */
#include "hw/scsi/lsi-int.h"

static struct lsi *lsi_of(struct device *d)
{
    return (struct lsi *)d;
}

/* ---- interrupts ---- */

void lsi_update_irq(struct lsi *l)
{
    const uint8_t *r = l->reg;
    bool dma = r[DSTAT] & r[DIEN], scsi = (r[SIST0] & r[SIEN0]) || (r[SIST1] & r[SIEN1]);
    bool level = (r[ISTAT0] & ISTAT_INTF) || dma || scsi;
    pci_set_intx(&l->pci, level && !(r[DCNTL] & DCNTL_IRQD));
}

static void stop_script(struct lsi *l)
{
    l->run = RUN_STOPPED_SCRIPT;
    l->moving = false;
    vtimer_disarm(&l->slice);
}

void lsi_dma_interrupt(struct lsi *l, uint8_t dstat)
{
    if (dstat & (DSTAT_BF | DSTAT_IID)) {
        guest_odd(&l->pci.dev, "script at 0x%08x: 0x%08x 0x%08x: %s", lsi_get32(l, DSP) - 8,
                  lsi_get32(l, DBC), lsi_get32(l, DSPS),
                  dstat & DSTAT_BF ? "not memory" : "illegal instruction");
    }
    l->reg[DSTAT] |= dstat;
    stop_script(l);
    lsi_update_irq(l);
}

void lsi_scsi_interrupt(struct lsi *l, uint8_t sist0, uint8_t sist1)
{
    /* Function complete, (re)selected and the timers' stop nothing unless they are wanted. */
    uint8_t fatal0 = l->reg[SIEN0] | 0x8f, fatal1 = l->reg[SIEN1] | 0xfc;
    l->reg[SIST0] |= sist0;
    l->reg[SIST1] |= sist1;
    if ((sist0 & fatal0) || (sist1 & fatal1)) {
        stop_script(l);
    }
    lsi_update_irq(l);
}

/* ---- timers ---- */

static void select_timed_out(void *opaque)
{
    struct lsi *l = opaque;
    if (l->bus_state == BUS_SELECTING) {
        l->bus_state = BUS_FREE;
        lsi_scsi_interrupt(l, 0, SIST1_STO);
    }
}

/* The general purpose timer's period is 4340 clocks of 40 MHz, times a power of two (4, STIME1). */
static void set_general_timer(struct lsi *l)
{
    unsigned n = l->reg[STIME1] & 15;
    if (n) {
        vtimer_arm(&l->general, 108500ll << n);
    } else {
        vtimer_disarm(&l->general);
    }
}

static void general_timed_out(void *opaque)
{
    lsi_scsi_interrupt(opaque, 0, SIST1_GEN);
}

/* ---- resets ---- */

static void reset_registers(struct lsi *l)
{
    static const struct {
        uint8_t reg, value;
    } power_on[] = {
        { SCNTL0, 0xc0 }, { DSTAT, DSTAT_DFE }, { CTEST1, 0xf0 }, { CTEST2, 0x01 },
        { GPREG, 0x7f },  { DCMD, 0x40 },       { MACNTL, 0x00 }, { GPCNTL, 0x0f },
        { STEST0, 0x04 }, { STEST4, 0xe0 },
    };
    memset(l->reg, 0, sizeof(l->reg));
    for (size_t i = 0; i < ARRAY_SIZE(power_on); i++) {
        l->reg[power_on[i].reg] = power_on[i].value;
    }
}

/* The chip alone, as SRST does it; the targets are told as well, since nobody would take them up. */
static void soft_reset(struct lsi *l)
{
    lsi_bus_reset(l);
    stop_script(l);
    vtimer_disarm(&l->select);
    vtimer_disarm(&l->general);
    reset_registers(l);
    l->phase = 0;
    l->carry = false;
    lsi_update_irq(l);
}

static void reset_scsi_bus(struct lsi *l)
{
    lsi_bus_reset(l);
    scsi_bus_was_reset(&l->bus, -1);
    lsi_scsi_interrupt(l, SIST0_RST, 0);
}

/* ---- register reads ---- */

static uint8_t bus_lines(const struct lsi *l)
{
    if (l->bus_state != BUS_CONNECTED) {
        return 0;
    }
    return (uint8_t)(l->phase | (l->req ? 0x80 : 0) | (l->ack ? SOCL_ACK : 0) | 0x20 /* BSY */ |
                     (l->atn ? SOCL_ATN : 0));
}

static uint8_t istat(const struct lsi *l)
{
    const uint8_t *r = l->reg;
    return (uint8_t)(r[ISTAT0] | (l->bus_state == BUS_CONNECTED ? ISTAT_CON : 0) |
                     (r[SIST0] || r[SIST1] ? ISTAT_SIP : 0) |
                     (r[DSTAT] & ~DSTAT_DFE ? ISTAT_DIP : 0));
}

/* Reading an interrupt status takes it away. */
static uint8_t take(struct lsi *l, unsigned reg, uint8_t keep)
{
    uint8_t v = l->reg[reg];
    l->reg[reg] &= keep;
    lsi_update_irq(l);
    return v;
}

static uint8_t take_sigp(struct lsi *l)
{
    uint8_t sigp = l->reg[ISTAT0] & ISTAT_SIGP ? CTEST2_SIGP : 0;
    l->reg[ISTAT0] &= (uint8_t)~ISTAT_SIGP;
    return l->reg[CTEST2] | sigp;
}

uint8_t lsi_reg_read(struct lsi *l, unsigned reg)
{
    switch (reg) {
    case SBCL:
        return bus_lines(l);
    case DSTAT:
        return take(l, reg, DSTAT_DFE);
    case SIST0:
    case SIST1:
        return take(l, reg, 0);
    case SSTAT0:
        return l->reg[SCNTL1] & SCNTL1_RST ? SSTAT0_RST : 0;
    case SSTAT1:
        return l->phase;
    case SSTAT2:
        return l->bus_state == BUS_CONNECTED ? 0 : SSTAT2_LDSC;
    case ISTAT0:
        return istat(l);
    case ISTAT1:
        return l->run == RUN_STOPPED_SCRIPT ? 0 : 2;
    case CTEST2:
        return take_sigp(l);
    default:
        return l->reg[reg];
    }
}

/* ---- register writes ---- */

static void write_istat(struct lsi *l, uint8_t val)
{
    if (val & ISTAT_SRST) {
        soft_reset(l);
        return;
    }
    l->reg[ISTAT0] =
        (uint8_t)((l->reg[ISTAT0] & ISTAT_INTF & ~val) | (val & (ISTAT_SIGP | ISTAT_SEM)));
    lsi_update_irq(l);
    if ((val & ISTAT_ABRT) && l->run != RUN_STOPPED_SCRIPT) {
        lsi_dma_interrupt(l, DSTAT_ABRT);
    } else if (val & ISTAT_SIGP) {
        lsi_resume_script(l);
    }
}

static void write_scntl1(struct lsi *l, uint8_t val)
{
    bool was = l->reg[SCNTL1] & SCNTL1_RST;
    l->reg[SCNTL1] = (uint8_t)((l->reg[SCNTL1] & SCNTL1_CON) | (val & ~SCNTL1_CON));
    if (!was && (val & SCNTL1_RST)) {
        reset_scsi_bus(l);
    }
}

/* How a register takes a write: which bits, and what follows. */
static void write_plain(struct lsi *l, unsigned reg, uint8_t val)
{
    static const uint8_t read_only[] = { SBCL,   DSTAT, SSTAT0, SSTAT1, SSTAT2, ISTAT1,
                                         CTEST1, SIST0, SIST1,  STEST0, SIDL,   STEST4,
                                         SBDL,   0x51,  0x59,   SSID,   CTEST2 };
    if (!memchr(read_only, (int)reg, sizeof(read_only))) {
        l->reg[reg] = val;
    }
}

void lsi_reg_write(struct lsi *l, unsigned reg, uint8_t val)
{
    switch (reg) {
    case SCNTL1:
        write_scntl1(l, val);
        break;
    case ISTAT0:
        write_istat(l, val);
        break;
    case SOCL: /* the driver pulls ATN by hand */
        l->reg[SOCL] = val;
        l->atn = (val & SOCL_ATN) && l->bus_state == BUS_CONNECTED;
        break;
    case DSP + 3:
        l->reg[reg] = val;
        if (!(l->reg[DMODE] & DMODE_MAN)) {
            lsi_start_script(l);
        }
        break;
    case DCNTL:
        l->reg[reg] = val & (uint8_t)~DCNTL_STD;
        lsi_update_irq(l);
        if (val & DCNTL_STD) {
            lsi_start_script(l);
        }
        break;
    case DIEN:
    case SIEN0:
    case SIEN1:
        l->reg[reg] = val;
        lsi_update_irq(l);
        break;
    case STIME1:
        l->reg[reg] = val;
        set_general_timer(l);
        break;
    case CTEST3: /* clears FIFOs, which are always empty */
        l->reg[reg] = val & 1;
        break;
    case STEST3:
        l->reg[reg] = val & (uint8_t)~2;
        break;
    default:
        write_plain(l, reg, val);
    }
}

/* ---- windows ---- */

static uint64_t regs_read(struct device *d, uint64_t off, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)lsi_reg_read(lsi_of(d), (unsigned)(off + i) % LSI_REGS) << (8 * i);
    }
    return v;
}

static void regs_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < size; i++) {
        lsi_reg_write(lsi_of(d), (unsigned)(off + i) % LSI_REGS, (uint8_t)(val >> (8 * i)));
    }
}

static uint64_t ram_read(struct device *d, uint64_t off, unsigned size)
{
    return load_le(lsi_of(d)->ram + off, size);
}

static void ram_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    store_le(lsi_of(d)->ram + off, size, val);
}

static const struct reg_name names[] = {
    { SCNTL0, "SCNTL0" }, { SCNTL1, "SCNTL1" }, { SCNTL2, "SCNTL2" },
    { SCNTL3, "SCNTL3" }, { SCID, "SCID" },     { SXFER, "SXFER" },
    { SDID, "SDID" },     { GPREG, "GPREG" },   { SFBR, "SFBR" },
    { SOCL, "SOCL" },     { SSID, "SSID" },     { SBCL, "SBCL" },
    { DSTAT, "DSTAT" },   { SSTAT0, "SSTAT0" }, { SSTAT1, "SSTAT1" },
    { SSTAT2, "SSTAT2" }, { DSA, "DSA" },       { ISTAT0, "ISTAT0" },
    { ISTAT1, "ISTAT1" }, { MBOX0, "MBOX" },    { CTEST0, "CTEST" },
    { TEMP, "TEMP" },     { DFIFO, "DFIFO" },   { CTEST4, "CTEST4" },
    { DBC, "DBC" },       { DCMD, "DCMD" },     { DNAD, "DNAD" },
    { DSP, "DSP" },       { DSPS, "DSPS" },     { SCRATCHA, "SCRATCHA" },
    { DMODE, "DMODE" },   { DIEN, "DIEN" },     { SBR, "SBR" },
    { DCNTL, "DCNTL" },   { ADDER, "ADDER" },   { SIEN0, "SIEN0" },
    { SIEN1, "SIEN1" },   { SIST0, "SIST0" },   { SIST1, "SIST1" },
    { SLPAR, "SLPAR" },   { MACNTL, "MACNTL" }, { GPCNTL, "GPCNTL" },
    { STIME0, "STIME0" }, { STIME1, "STIME1" }, { RESPID0, "RESPID" },
    { STEST0, "STEST" },  { SIDL, "SIDL" },     { STEST4, "STEST4" },
    { 0x53, "" },         { SODL, "SODL" },     { CCNTL0, "CCNTL0" },
    { CCNTL1, "CCNTL1" }, { SBDL, "SBDL" },     { SCRATCHB, "SCRATCH" },
    { MMRS, "MMRS" },     { MMWS, "MMWS" },     { SFS, "SFS" },
    { DRS, "DRS" },       { SBMS, "SBMS" },     { DBMS, "DBMS" },
    { DNAD64, "DNAD64" }, { 0xbc, "" },         { PMJAD1, "PMJAD1" },
    { PMJAD2, "PMJAD2" }, { RBC, "RBC" },       { UA, "UA" },
    { ESA, "ESA" },       { IA, "IA" },         { SBC, "SBC" },
    { CSBC, "CSBC" },     { 0xe0, "" },         { LSI_REGS, NULL },
};
static const struct region_ops io_ops = { regs_read, regs_write, 4, names };
static const struct region_ops mmio_ops = { regs_read, regs_write, 4, names };
static const struct region_ops ram_ops = { ram_read, ram_write, 8, NULL };

/* ---- life ---- */

struct scsi_bus *lsi_bus_of(struct device *d)
{
    return d->class == &lsi53c895a_class && d->inited ? &lsi_of(d)->bus : NULL;
}

/* None of them is in use. */
static void clear_requests(struct lsi *l)
{
    for (unsigned i = 0; i < LSI_REQS; i++) {
        l->request[i] = (struct lsi_req){
            .l = l,
            .s = { .bus = &l->bus, .window = l->window, .ready = lsi_req_ready },
        };
    }
}

static int lsi_init(struct device *d, struct err *e)
{
    struct lsi *l = lsi_of(d);
    const struct pci_info info = {
        .vendor = 0x1000,
        .device = 0x0012,
        .subvendor = 0x1000,
        .subdevice = 0x1000,
        .class = 0x010000,
        .int_pin = 1,
    };
    int ret = pci_init(&l->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&l->pci, 0, true, LSI_REGS, &io_ops, "LSI53C895A");
    pci_add_bar(&l->pci, 1, false, 1024, &mmio_ops, "LSI53C895A");
    pci_add_bar(&l->pci, 2, false, LSI_RAM, &ram_ops, "LSI53C895A SCRIPTS RAM");
    vtimer_init(&l->slice, d->m, "lsi-slice", lsi_slice, l);
    vtimer_init(&l->select, d->m, "lsi-select", select_timed_out, l);
    vtimer_init(&l->general, d->m, "lsi-general", general_timed_out, l);
    l->bus = (struct scsi_bus){ .hba = d, .devfn = l->pci.devfn, .gone = lsi_bus_gone };
    clear_requests(l);
    return 0;
}

static void lsi_reset(struct device *d)
{
    struct lsi *l = lsi_of(d);
    pci_reset(&l->pci);
    soft_reset(l);
    clear_requests(l);
    memset(l->ram, 0, sizeof(l->ram));
    memset(l->window, 0, sizeof(l->window));
    memset(l->msg, 0, sizeof(l->msg));
    l->target = l->lun = l->tag = l->status = l->turn = l->after = 0;
    l->tagged = l->may_disconnect = false;
}

static int lsi_loaded(struct device *d, struct err *e)
{
    struct lsi *l = lsi_of(d);
    int ret = lsi_bus_loaded(l, e);
    if (ret == 0) {
        ret = pci_loaded(&l->pci, e);
    }
    if (ret == 0) {
        lsi_update_irq(l);
    }
    return ret;
}

static void lsi_fini(struct device *d)
{
    struct lsi *l = lsi_of(d);
    if (l->bus.hba) {
        lsi_bus_reset(l);
    }
    vtimer_fini(&l->slice);
    vtimer_fini(&l->select);
    vtimer_fini(&l->general);
    pci_fini(&l->pci);
}

#define R(member) FIELD(struct lsi_req, member)
static const struct state_field request_state[] = {
    R(used),   R(tagged), R(moved), R(tag), FIELD_SUB(struct lsi_req, s, scsi_req_state, 1),
    FIELD_END,
};
#define L(member) FIELD(struct lsi, member)
#define L_UPTO(member, most) FIELD_RANGE(struct lsi, member, 0, most)
static const struct state_field state[] = {
    PCI_STATE(struct lsi),
    FIELD_ARRAY(struct lsi, reg),
    FIELD_ARRAY(struct lsi, ram),
    FIELD_ARRAY(struct lsi, window),
    FIELD_TIMER(struct lsi, slice),
    FIELD_TIMER(struct lsi, select),
    FIELD_TIMER(struct lsi, general),
    L_UPTO(run, RUN_LAST),
    L(carry),
    L(moving),
    L_UPTO(bus_state, BUS_CONNECTED),
    L_UPTO(phase, 7),
    L(req),
    L(ack),
    L(atn),
    L_UPTO(target, SCSI_TARGETS - 1),
    L_UPTO(lun, SCSI_LUNS - 1),
    L(tag),
    L(may_disconnect),
    L(tagged),
    L(status),
    L_UPTO(current, LSI_REQS),
    L_UPTO(turn, LSI_REQS - 1),
    FIELD_ARRAY(struct lsi, msg),
    L_UPTO(msg_len, LSI_MSG),
    L_UPTO(msg_pos, LSI_MSG),
    L_UPTO(after, AFTER_LAST),
    FIELD_SUB(struct lsi, request, request_state, LSI_REQS),
    FIELD_END,
};

static const struct dev_prop props[] = {
    PCI_PROPS(struct lsi),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class lsi53c895a_class = {
    .name = "lsi53c895a",
    .desc = "LSI53C895A SCSI adapter",
    .size = sizeof(struct lsi),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = lsi_init,
    .reset = lsi_reset,
    .loaded = lsi_loaded,
    .fini = lsi_fini,
};
