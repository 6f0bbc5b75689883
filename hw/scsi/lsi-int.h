/* SPDX-License-Identifier: MIT */
/* hw/scsi/lsi-int.h - the LSI53C895A's insides, shared by its files.
 *
 *   lsi.c         registers, interrupts, timers, resets, state
 *   lsi-script.c  the SCRIPTS processor
 *   lsi-bus.c     the SCSI bus: selection, phases, messages, targets that disconnect and come back
 *
 * The register file is kept as the bytes the data sheet shows. The processor runs inside the access
 * that started it, or inside a completion, for at most LSI_SLICE steps; then a timer goes on. What it
 * waits for is in `run`; an instruction that waits stands in DCMD, DBC and DSPS, as in the chip.
 *
 * Reference: LSI53C895A PCI to Ultra2 SCSI Controller Technical Manual (registers chapter 4, SCRIPTS
 * chapter 5); SCSI-2 (ANSI X3.131), 6 (bus phases, messages).
 */
#ifndef HW_SCSI_LSI_INT_H
#define HW_SCSI_LSI_INT_H

#include "hw/pci/pci.h"
#include "hw/scsi/scsi-int.h"

enum {
    LSI_REGS = 256,
    LSI_RAM = 8192,
    LSI_REQS = 64,
    LSI_MSG = 16,
    LSI_SLICE = 2000,           /* steps at a stretch */
    LSI_PAUSE_NS = 100 * 1000,  /* then */
    LSI_STEP_BYTES = 256,       /* of a memory move count as a step */
    LSI_SELECT_NS = 250 * 1000, /* until nobody has answered a selection */
};

/* Registers by the data sheet's names. */
enum {
    SCNTL0 = 0x00,
    SCNTL1 = 0x01,
    SCNTL2 = 0x02,
    SCNTL3 = 0x03,
    SCID = 0x04,
    SXFER = 0x05,
    SDID = 0x06,
    GPREG = 0x07,
    SFBR = 0x08,
    SOCL = 0x09,
    SSID = 0x0a,
    SBCL = 0x0b,
    DSTAT = 0x0c,
    SSTAT0 = 0x0d,
    SSTAT1 = 0x0e,
    SSTAT2 = 0x0f,
    DSA = 0x10,
    ISTAT0 = 0x14,
    ISTAT1 = 0x15,
    MBOX0 = 0x16,
    CTEST0 = 0x18,
    CTEST1 = 0x19,
    CTEST2 = 0x1a,
    CTEST3 = 0x1b,
    TEMP = 0x1c,
    DFIFO = 0x20,
    CTEST4 = 0x21,
    DBC = 0x24, /* 24 bits */
    DCMD = 0x27,
    DNAD = 0x28,
    DSP = 0x2c,
    DSPS = 0x30,
    SCRATCHA = 0x34,
    DMODE = 0x38,
    DIEN = 0x39,
    SBR = 0x3a,
    DCNTL = 0x3b,
    ADDER = 0x3c,
    SIEN0 = 0x40,
    SIEN1 = 0x41,
    SIST0 = 0x42,
    SIST1 = 0x43,
    SLPAR = 0x44,
    MACNTL = 0x46,
    GPCNTL = 0x47,
    STIME0 = 0x48,
    STIME1 = 0x49,
    RESPID0 = 0x4a,
    STEST0 = 0x4c,
    STEST1 = 0x4d,
    STEST2 = 0x4e,
    STEST3 = 0x4f,
    SIDL = 0x50,
    STEST4 = 0x52,
    SODL = 0x54,
    CCNTL0 = 0x56,
    CCNTL1 = 0x57,
    SBDL = 0x58,
    SCRATCHB = 0x5c,
    SCRATCHC = 0x60, /* to SCRATCHR, 0x9c */
    MMRS = 0xa0,
    MMWS = 0xa4,
    SFS = 0xa8,
    DRS = 0xac,
    SBMS = 0xb0,
    DBMS = 0xb4,
    DNAD64 = 0xb8,
    PMJAD1 = 0xc0,
    PMJAD2 = 0xc4,
    RBC = 0xc8,
    UA = 0xcc,
    ESA = 0xd0,
    IA = 0xd4,
    SBC = 0xd8,
    CSBC = 0xdc,
};

enum {
    SCNTL1_RST = 0x08,
    SCNTL1_CON = 0x10,
    SCNTL2_WSR = 0x01,
    SOCL_ATN = 0x08,
    SOCL_ACK = 0x40,
    DSTAT_DFE = 0x80,
    DSTAT_BF = 0x20,
    DSTAT_ABRT = 0x10,
    DSTAT_SSI = 0x08,
    DSTAT_SIR = 0x04,
    DSTAT_IID = 0x01,
    SSTAT0_RST = 0x02,
    SSTAT2_LDSC = 0x02,
    ISTAT_ABRT = 0x80,
    ISTAT_SRST = 0x40,
    ISTAT_SIGP = 0x20,
    ISTAT_SEM = 0x10,
    ISTAT_CON = 0x08,
    ISTAT_INTF = 0x04,
    ISTAT_SIP = 0x02,
    ISTAT_DIP = 0x01,
    CTEST2_SIGP = 0x40,
    DMODE_MAN = 0x01,
    DCNTL_STD = 0x04,
    DCNTL_SSM = 0x10,
    DCNTL_IRQD = 0x02,
    SIST0_MA = 0x80,
    SIST0_UDC = 0x04,
    SIST0_RST = 0x02,
    SIST1_STO = 0x04,
    SIST1_GEN = 0x02,
    SIST1_HTH = 0x01,
    CCNTL0_ENPMJ = 0x80,
    CCNTL0_PMJCTL = 0x40,
    CCNTL1_TI40 = 0x06, /* 64TIMOD and EN64TIBMV: table entries carry 40-bit addresses */
    CCNTL1_EN64TIBMV = 0x02,
    CCNTL1_EN64DBMV = 0x01,
};

/* MSG, C/D and I/O as in SSTAT1. */
enum lsi_phase {
    PHASE_DATA_OUT,
    PHASE_DATA_IN,
    PHASE_COMMAND,
    PHASE_STATUS,
    PHASE_MSG_OUT = 6,
    PHASE_MSG_IN = 7,
};
enum lsi_bus_state { BUS_FREE, BUS_SELECTING /* nobody answers */, BUS_CONNECTED };
enum lsi_run {
    RUN_STOPPED_SCRIPT, /* until the driver writes DSP */
    RUN_SCRIPT,
    RUN_WAIT_TARGET, /* the instruction in DCMD waits for REQ */
    RUN_WAIT_FREE,   /* WAIT DISCONNECT */
    RUN_WAIT_RESELECT,
    RUN_LAST = RUN_WAIT_RESELECT,
};
/* What a target does when the initiator has taken its message. */
enum lsi_after { AFTER_GO_ON, AFTER_DISCONNECT, AFTER_COMPLETE, AFTER_LAST = AFTER_COMPLETE };

struct lsi;
struct lsi_req {
    struct scsi_req s; /* first */
    struct lsi *l;
    bool used, tagged, moved; /* moved: data went since it was last connected */
    uint8_t tag;
};

struct lsi {
    struct pci_dev pci; /* first */
    uint8_t reg[LSI_REGS];
    uint8_t ram[LSI_RAM];
    uint8_t window[SCSI_WINDOW];
    struct scsi_bus bus;
    struct vtimer slice, select, general;

    uint8_t run;
    bool carry, moving; /* moving: a block move stands in DCMD, DBC and DNAD */

    uint8_t bus_state, phase;
    bool req, ack, atn; /* the lines; ack: the last byte of a message in waits for CLEAR ACK */
    uint8_t target, lun, tag;
    bool may_disconnect, tagged;
    uint8_t status;  /* of a command that no request could be made for */
    uint8_t current; /* request that is connected, LSI_REQS: none */
    uint8_t turn;    /* where the next look for a target that wants to reselect begins */
    uint8_t msg[LSI_MSG], msg_len, msg_pos, after;
    struct lsi_req request[LSI_REQS];
};

static inline uint32_t lsi_get32(const struct lsi *l, unsigned reg)
{
    return load_le32(l->reg + reg);
}

static inline void lsi_put32(struct lsi *l, unsigned reg, uint32_t v)
{
    store_le(l->reg + reg, 4, v);
}

/* lsi.c */
uint8_t lsi_reg_read(struct lsi *l, unsigned reg);
void lsi_reg_write(struct lsi *l, unsigned reg, uint8_t val);
void lsi_update_irq(struct lsi *l);
/* The processor stops with a DSTAT bit; or bits of SIST0 and SIST1 are set, and it stops if they are
 * not of the harmless kind. */
void lsi_dma_interrupt(struct lsi *l, uint8_t dstat);
void lsi_scsi_interrupt(struct lsi *l, uint8_t sist0, uint8_t sist1);

/* lsi-script.c */
/* DSP was written, or what the processor waited for has come. */
void lsi_start_script(struct lsi *l);
void lsi_resume_script(struct lsi *l);
void lsi_slice(void *opaque);

/* lsi-bus.c */
void lsi_select(struct lsi *l, unsigned target, bool atn);
/* False when no target wants to. */
bool lsi_reselect(struct lsi *l);
/* The initiator takes ACK away, or goes on as if it had. */
void lsi_release_ack(struct lsi *l);
/* A block move's part of a phase: buf are len bytes to the target, or room for them; returns how many
 * were taken or given. Afterwards phase and req say how the bus stands. */
void lsi_message_out(struct lsi *l, const uint8_t *buf, uint32_t len);
uint32_t lsi_message_in(struct lsi *l, uint8_t *buf, uint32_t len);
void lsi_command(struct lsi *l, const uint8_t *cdb, uint32_t len);
uint8_t lsi_status_in(struct lsi *l);
/* The connected request's data, or NULL while the target has none at hand. */
uint8_t *lsi_data(struct lsi *l, uint32_t *len);
void lsi_data_moved(struct lsi *l, uint32_t len);
/* All commands are gone, the bus is free. */
void lsi_bus_reset(struct lsi *l);
/* Commands of devices that are no longer there. */
void lsi_bus_gone(struct scsi_bus *bus);
void lsi_req_ready(struct scsi_req *r);
int lsi_bus_loaded(struct lsi *l, struct err *e);

#endif
