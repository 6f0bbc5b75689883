/* SPDX-License-Identifier: MIT */
/* hw/scsi/lsi-script.c - the LSI53C895A's SCRIPTS processor.
 *
 * An instruction is fetched once into DCMD, DBC and DSPS and works from there. Every step is counted,
 * long moves as many, so a script that never ends costs a bounded share of time. Left out: target mode,
 * parity, the chained moves' odd byte (bytes go one after the other, so there is none).
 * Reference: LSI53C895A manual, chapter 5.
 */
#include "hw/scsi/lsi-int.h"

#include <errno.h>

enum { COPY_BYTES = 4096 };

/* ---- memory ---- */

/* Where `at` is in the chip's own window of BAR n, or -1. */
static int64_t own(const struct lsi *l, unsigned n, uint64_t at, uint32_t len, uint32_t size)
{
    uint64_t bar = pci_bar_at(&l->pci, n);
    return bar != PCI_BAR_OFF && at >= bar && len <= size && at - bar <= size - len
               ? (int64_t)(at - bar)
               : -1;
}

static int mem_read(struct lsi *l, uint64_t at, void *buf, uint32_t len)
{
    int64_t ram = own(l, 2, at, len, LSI_RAM);
    if (ram < 0) {
        return pci_dma_read(&l->pci, at, buf, len);
    }
    memcpy(buf, l->ram + ram, len);
    return 0;
}

static int mem_write(struct lsi *l, uint64_t at, const void *buf, uint32_t len)
{
    int64_t ram = own(l, 2, at, len, LSI_RAM);
    if (ram < 0) {
        return pci_dma_write(&l->pci, at, buf, len);
    }
    memcpy(l->ram + ram, buf, len);
    return 0;
}

/* A memory move may also name the chip's registers; nothing else may, so that no transfer can reset the
 * chip under itself. */
static int move_read(struct lsi *l, uint64_t at, uint8_t *buf, uint32_t len)
{
    int64_t reg = own(l, 1, at, len, LSI_REGS);
    for (uint32_t i = 0; reg >= 0 && i < len; i++) {
        buf[i] = lsi_reg_read(l, (unsigned)reg + i);
    }
    return reg >= 0 ? 0 : mem_read(l, at, buf, len);
}

static int move_write(struct lsi *l, uint64_t at, const uint8_t *buf, uint32_t len)
{
    int64_t reg = own(l, 1, at, len, LSI_REGS);
    for (uint32_t i = 0; reg >= 0 && i < len; i++) {
        lsi_reg_write(l, (unsigned)reg + i, buf[i]);
    }
    return reg >= 0 ? 0 : mem_write(l, at, buf, len);
}

static bool read32(struct lsi *l, uint64_t at, uint32_t *v)
{
    uint8_t b[4];
    if (mem_read(l, at, b, sizeof(b)) < 0) {
        lsi_dma_interrupt(l, DSTAT_BF);
        return false;
    }
    *v = load_le32(b);
    return true;
}

static bool fetch(struct lsi *l, uint32_t *v)
{
    uint32_t dsp = lsi_get32(l, DSP);
    lsi_put32(l, DSP, dsp + 4);
    return read32(l, dsp, v);
}

/* ---- what an instruction names ---- */

static uint32_t insn(const struct lsi *l)
{
    return lsi_get32(l, DBC);
}

static uint32_t sext24(uint32_t v)
{
    return (v & 0xffffff) | (v & 0x800000 ? 0xff000000 : 0);
}

/* The address in DSPS, absolute or relative to the next instruction. */
static uint32_t target_address(const struct lsi *l, bool relative)
{
    uint32_t dsps = lsi_get32(l, DSPS);
    return relative ? lsi_get32(l, DSP) + sext24(dsps) : dsps;
}

static uint32_t left(const struct lsi *l)
{
    return insn(l) & 0xffffff;
}

static void set_left(struct lsi *l, uint32_t n)
{
    store_le(l->reg + DBC, 3, n);
}

static uint64_t data_address(const struct lsi *l)
{
    return lsi_get32(l, DNAD) | (uint64_t)lsi_get32(l, DNAD64) << 32;
}

static void step_over(struct lsi *l, uint32_t n)
{
    uint64_t at = data_address(l) + n;
    lsi_put32(l, DNAD, (uint32_t)at);
    lsi_put32(l, DNAD64, (uint32_t)(at >> 32));
    set_left(l, left(l) - n);
}

/* The target holds the bus and nothing is on it: the instruction waits. */
static void wait_for(struct lsi *l, enum lsi_run what)
{
    l->run = (uint8_t)what;
}

/* Brings the bus to where REQ says something. False: the instruction waits, or the script ended. */
static bool bus_ready(struct lsi *l)
{
    lsi_release_ack(l);
    if (l->bus_state == BUS_SELECTING) { /* its time-out will end the script */
        wait_for(l, RUN_WAIT_TARGET);
    } else if (l->bus_state == BUS_FREE) {
        lsi_scsi_interrupt(l, SIST0_UDC, 0);
    } else if (!l->req) {
        wait_for(l, RUN_WAIT_TARGET);
    } else {
        return true;
    }
    return false;
}

/* ---- block moves ---- */

/* Upper address bits of a table entry whose first word is `count` (manual 4, CCNTL1). */
static uint32_t table_high(const struct lsi *l, uint32_t count)
{
    static const uint8_t selected[] = { MMRS, MMWS, SFS, DRS, SBMS, DBMS };
    uint32_t pick = count >> 24 & 0x1f;
    if ((l->reg[CCNTL1] & CCNTL1_TI40) == CCNTL1_TI40) {
        return count >> 24;
    }
    if (!(l->reg[CCNTL1] & CCNTL1_EN64TIBMV)) {
        return 0;
    }
    if (pick < 16) {
        return lsi_get32(l, SCRATCHC + 4 * pick);
    }
    return pick - 16 < sizeof(selected) ? lsi_get32(l, selected[pick - 16]) : 0;
}

/* Works out count and address. False: the script ended. */
static bool move_operands(struct lsi *l)
{
    uint32_t word = insn(l), at = lsi_get32(l, DSPS), high = 0, count = word;
    uint32_t start = lsi_get32(l, DSP) - 8;
    lsi_put32(l, ESA, start);
    if (word & 1u << 28) {
        uint64_t entry = lsi_get32(l, DSA) + sext24(at);
        lsi_put32(l, ESA, (uint32_t)entry);
        if (!read32(l, entry, &count) || !read32(l, entry + 4, &at)) {
            return false;
        }
        high = table_high(l, count);
    } else if (word & 1u << 29) {
        if (!read32(l, at, &at)) {
            return false;
        }
    } else if (l->reg[CCNTL1] & CCNTL1_EN64DBMV) {
        if (!fetch(l, &high)) {
            return false;
        }
        lsi_put32(l, DBMS, high);
    }
    lsi_put32(l, IA, start);
    lsi_put32(l, RBC, count);
    lsi_put32(l, DNAD, at);
    lsi_put32(l, DNAD64, high);
    set_left(l, count & 0xffffff);
    store_le(l->reg + SBC, 3, count & 0xffffff);
    return true;
}

static void phase_mismatch(struct lsi *l)
{
    bool out = !(l->reg[DCMD] & 1), first;
    l->moving = false;
    if (!(l->reg[CCNTL0] & CCNTL0_ENPMJ)) {
        lsi_scsi_interrupt(l, SIST0_MA, 0);
        return;
    }
    store_le(l->reg + RBC, 3, left(l)); /* its upper byte stays the instruction's or the table's */
    lsi_put32(l, UA, lsi_get32(l, DNAD));
    first = l->reg[CCNTL0] & CCNTL0_PMJCTL ? out : !(l->reg[SCNTL2] & SCNTL2_WSR);
    lsi_put32(l, DSP, lsi_get32(l, first ? PMJAD1 : PMJAD2));
}

/* Bytes of a short phase, up to max: read from memory at DNAD. */
static bool take_bytes(struct lsi *l, uint8_t *buf, uint32_t n)
{
    if (mem_read(l, data_address(l), buf, n) < 0) {
        lsi_dma_interrupt(l, DSTAT_BF);
        return false;
    }
    return true;
}

static bool give_bytes(struct lsi *l, const uint8_t *buf, uint32_t n)
{
    if (mem_write(l, data_address(l), buf, n) < 0) {
        lsi_dma_interrupt(l, DSTAT_BF);
        return false;
    }
    step_over(l, n);
    return true;
}

/* Message out and command: the target takes the block as a whole.
 * QUIRK: SeaBIOS sends sixteen bytes whatever the command's length is. */
static bool move_short_out(struct lsi *l)
{
    uint8_t buf[64];
    uint32_t most = l->phase == PHASE_COMMAND ? SCSI_CDB : sizeof(buf);
    uint32_t n = left(l) < most ? left(l) : most;
    if (!take_bytes(l, buf, n)) {
        return false;
    }
    step_over(l, left(l));
    l->reg[SFBR] = buf[0];
    if (l->phase == PHASE_COMMAND) {
        lsi_command(l, buf, n);
    } else {
        lsi_message_out(l, buf, n);
    }
    return true;
}

static bool move_message_in(struct lsi *l)
{
    uint8_t buf[LSI_MSG];
    uint32_t n = lsi_message_in(l, buf, left(l));
    l->reg[SFBR] = buf[0];
    l->reg[SIDL] = buf[n - 1]; /* where drivers find the tag of a target that reselected */
    return give_bytes(l, buf, n);
}

static bool move_status(struct lsi *l)
{
    uint8_t status = lsi_status_in(l);
    l->reg[SFBR] = status;
    return give_bytes(l, &status, 1);
}

static bool move_data(struct lsi *l)
{
    uint32_t n;
    uint8_t *data = lsi_data(l, &n);
    if (!data) {
        return true; /* look at the bus again */
    }
    n = n < left(l) ? n : left(l);
    int ret = l->phase == PHASE_DATA_IN ? mem_write(l, data_address(l), data, n)
                                        : mem_read(l, data_address(l), data, n);
    if (ret < 0) {
        lsi_dma_interrupt(l, DSTAT_BF);
        return false;
    }
    l->reg[SFBR] = data[0];
    step_over(l, n);
    lsi_data_moved(l, n);
    return true;
}

static bool phase_fits(struct lsi *l)
{
    unsigned want = l->reg[DCMD] & 7;
    if (l->phase == PHASE_MSG_OUT && want == PHASE_COMMAND && !l->atn) {
        l->phase = PHASE_COMMAND; /* selected without attention: no message is due */
    }
    return l->phase == want;
}

/* Moves until the count is used up, the target changes phase, or it has to be waited for. */
static void move_block(struct lsi *l)
{
    static bool (*const moves[8])(struct lsi * l) = {
        move_data, move_data, move_short_out, move_status,
        NULL,      NULL,      move_short_out, move_message_in,
    };
    l->moving = true;
    while (left(l)) { /* QUIRK: SeaBIOS moves no bytes when a command has no data */
        if (!bus_ready(l)) {
            l->moving = l->run == RUN_WAIT_TARGET;
            return;
        }
        if (!phase_fits(l)) {
            phase_mismatch(l);
            return;
        }
        if (!moves[l->phase] || !moves[l->phase](l)) {
            l->moving = false;
            return;
        }
    }
    l->moving = false;
}

/* ---- I/O and register instructions ---- */

static void do_select(struct lsi *l)
{
    uint32_t word = insn(l), entry = word;
    lsi_release_ack(l);
    if (word & 1u << 25) {
        if (!read32(l, lsi_get32(l, DSA) + sext24(word), &entry)) {
            return;
        }
        l->reg[SXFER] = (uint8_t)(entry >> 8);
        l->reg[SCNTL3] = (uint8_t)(entry >> 24);
    }
    l->reg[SDID] = entry >> 16 & 15;
    if (l->bus_state == BUS_CONNECTED) { /* a target was faster: go where reselection is handled */
        lsi_put32(l, DSP, target_address(l, word & 1u << 26));
        return;
    }
    lsi_select(l, entry >> 16 & 15, word & 1u << 24);
}

static void do_wait_free(struct lsi *l)
{
    lsi_release_ack(l);
    if (l->bus_state == BUS_CONNECTED) {
        wait_for(l, RUN_WAIT_FREE);
    }
}

static void do_wait_reselect(struct lsi *l)
{
    lsi_release_ack(l);
    if (l->reg[ISTAT0] & ISTAT_SIGP) {
        lsi_put32(l, DSP, target_address(l, insn(l) & 1u << 26));
    } else if (l->bus_state != BUS_CONNECTED && !lsi_reselect(l)) {
        wait_for(l, RUN_WAIT_RESELECT);
    }
}

static void do_set(struct lsi *l, bool on)
{
    uint32_t word = insn(l);
    if (word & 1u << 10) {
        l->carry = on;
    }
    if ((word & 1u << 6) && !on) {
        lsi_release_ack(l);
    }
    if (word & 1u << 3) {
        l->atn = on && l->bus_state == BUS_CONNECTED;
    }
}

static uint8_t shift(struct lsi *l, uint8_t v, bool right)
{
    bool out = right ? v & 1 : v >> 7;
    v = (uint8_t)(right ? v >> 1 | (l->carry ? 0x80 : 0) : v << 1 | (l->carry ? 1 : 0));
    l->carry = out;
    return v;
}

static uint8_t add(struct lsi *l, uint8_t a, uint8_t b, bool with_carry)
{
    unsigned sum = a + b + (with_carry && l->carry);
    l->carry = sum > 0xff;
    return (uint8_t)sum;
}

static uint8_t operate(struct lsi *l, unsigned op, uint8_t a, uint8_t b)
{
    switch (op) {
    case 0:
        return b;
    case 1:
    case 5:
        return shift(l, a, op == 5);
    case 2:
        return a | b;
    case 3:
        return a ^ b;
    case 4:
        return a & b;
    default:
        return add(l, a, b, op == 7);
    }
}

/* Opcode 5: SFBR to a register, 6: a register to SFBR, 7: a register back to itself. */
static void do_register(struct lsi *l)
{
    uint32_t word = insn(l);
    unsigned opcode = word >> 27 & 7, op = word >> 24 & 7;
    unsigned reg = (word >> 16 & 0x7f) | (word & 0x80);
    uint8_t b = word & 1u << 23 ? l->reg[SFBR] : (uint8_t)(word >> 8), a = 0;
    if (opcode == 5) {
        a = l->reg[SFBR];
    } else if (op) { /* a plain load does not look at what was there */
        a = lsi_reg_read(l, reg);
    }
    a = operate(l, op, a, b);
    if (opcode == 6) {
        l->reg[SFBR] = a;
    } else {
        lsi_reg_write(l, reg, a);
    }
}

static void do_io(struct lsi *l)
{
    switch (insn(l) >> 27 & 7) {
    case 0:
        do_select(l);
        break;
    case 1:
        do_wait_free(l);
        break;
    case 2:
        do_wait_reselect(l);
        break;
    case 3:
    case 4:
        do_set(l, (insn(l) >> 27 & 7) == 3);
        break;
    default:
        do_register(l);
    }
}

/* ---- transfer control ---- */

/* Every condition that is asked for has to be as bit 19 says. */
static bool condition(const struct lsi *l)
{
    uint32_t word = insn(l);
    bool want = word & 1u << 19;
    uint8_t mask = (uint8_t) ~(word >> 8);
    if ((word & 1u << 21) && l->carry != want) {
        return false;
    }
    if ((word & 1u << 17) && (l->phase == (word >> 24 & 7)) != want) {
        return false;
    }
    if ((word & 1u << 18) && ((l->reg[SFBR] & mask) == (word & mask)) != want) {
        return false;
    }
    return want || (word & (1u << 21 | 1u << 17 | 1u << 18));
}

static void do_transfer(struct lsi *l)
{
    uint32_t word = insn(l), to;
    if ((word & 1u << 16) && (word & 1u << 17) && !bus_ready(l)) {
        return;
    }
    if (!condition(l)) {
        return;
    }
    to = target_address(l, word & 1u << 23);
    switch (word >> 27 & 7) {
    case 0:
        lsi_put32(l, DSP, to);
        break;
    case 1:
        lsi_put32(l, TEMP, lsi_get32(l, DSP));
        lsi_put32(l, DSP, to);
        break;
    case 2:
        lsi_put32(l, DSP, lsi_get32(l, TEMP));
        break;
    case 3:
        if (word & 1u << 20) { /* on the fly */
            l->reg[ISTAT0] |= ISTAT_INTF;
            lsi_update_irq(l);
        } else {
            lsi_dma_interrupt(l, DSTAT_SIR);
        }
        break;
    default:
        lsi_dma_interrupt(l, DSTAT_IID);
    }
}

/* ---- memory ---- */

static void do_memory_move(struct lsi *l, uint32_t *steps)
{
    uint32_t n = left(l), from = lsi_get32(l, DSPS), to;
    uint8_t buf[COPY_BYTES];
    if (!fetch(l, &to)) {
        return;
    }
    lsi_put32(l, TEMP, to);
    *steps += n / LSI_STEP_BYTES;
    for (uint32_t piece; n; n -= piece, from += piece, to += piece) {
        piece = n < COPY_BYTES ? n : COPY_BYTES;
        if (move_read(l, from, buf, piece) < 0 || move_write(l, to, buf, piece) < 0) {
            lsi_dma_interrupt(l, DSTAT_BF);
            return;
        }
    }
}

/* LOAD and STORE: one to four bytes between registers and memory. */
static void do_load_store(struct lsi *l)
{
    uint32_t word = insn(l), n = word & 7;
    unsigned reg = word >> 16 & 0xff;
    uint64_t at =
        word & 1u << 28 ? lsi_get32(l, DSA) + sext24(lsi_get32(l, DSPS)) : lsi_get32(l, DSPS);
    uint8_t buf[4];
    at &= 0xffffffff;
    if (n == 0 || n > 4 || reg + n > LSI_REGS) {
        lsi_dma_interrupt(l, DSTAT_IID);
        return;
    }
    if (word & 1u << 24) {
        if (mem_read(l, at, buf, n) < 0) {
            lsi_dma_interrupt(l, DSTAT_BF);
            return;
        }
        for (uint32_t i = 0; i < n; i++) {
            lsi_reg_write(l, reg + i, buf[i]);
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        buf[i] = lsi_reg_read(l, reg + i);
    }
    if (mem_write(l, at, buf, n) < 0) {
        lsi_dma_interrupt(l, DSTAT_BF);
    }
}

/* ---- the processor ---- */

static void execute(struct lsi *l, uint32_t *steps)
{
    switch (insn(l) >> 30) {
    case 0:
        if (l->moving || move_operands(l)) {
            *steps += left(l) / LSI_STEP_BYTES;
            move_block(l);
        }
        break;
    case 1:
        do_io(l);
        break;
    case 2:
        do_transfer(l);
        break;
    default:
        if (insn(l) & 1u << 29) {
            do_load_store(l);
        } else {
            do_memory_move(l, steps);
        }
    }
}

static bool fetch_insn(struct lsi *l)
{
    uint32_t word, operand;
    if (!fetch(l, &word) || !fetch(l, &operand)) {
        return false;
    }
    lsi_put32(l, DBC, word);
    lsi_put32(l, DSPS, operand);
    return true;
}

static void run(struct lsi *l)
{
    uint32_t steps = 0;
    while (l->run == RUN_SCRIPT && steps++ < LSI_SLICE) {
        if (fetch_insn(l)) {
            execute(l, &steps);
        }
        if (l->run == RUN_SCRIPT && (l->reg[DCNTL] & DCNTL_SSM)) {
            lsi_dma_interrupt(l, DSTAT_SSI);
        }
    }
    if (l->run == RUN_SCRIPT) {
        vtimer_arm(&l->slice, LSI_PAUSE_NS);
    }
}

void lsi_start_script(struct lsi *l)
{
    if (l->run == RUN_SCRIPT) { /* the script itself, or the driver in its pause: DSP is set */
        return;
    }
    l->moving = false;
    l->run = RUN_SCRIPT;
    run(l);
}

void lsi_resume_script(struct lsi *l)
{
    uint32_t steps = 0;
    switch (l->run) {
    case RUN_WAIT_TARGET:
        if (l->bus_state == BUS_CONNECTED && l->req) {
            l->run = RUN_SCRIPT;
            execute(l, &steps);
            run(l);
        }
        break;
    case RUN_WAIT_FREE:
        if (l->bus_state != BUS_CONNECTED) {
            l->run = RUN_SCRIPT;
            run(l);
        }
        break;
    case RUN_WAIT_RESELECT:
        if (l->reg[ISTAT0] & ISTAT_SIGP) {
            lsi_put32(l, DSP, target_address(l, insn(l) & 1u << 26));
        } else if (l->bus_state == BUS_CONNECTED || !lsi_reselect(l)) {
            break;
        }
        l->run = RUN_SCRIPT;
        run(l);
        break;
    default:
        break;
    }
}

void lsi_slice(void *opaque)
{
    struct lsi *l = opaque;
    if (l->run == RUN_SCRIPT) {
        run(l);
    } else {
        lsi_resume_script(l);
    }
}
