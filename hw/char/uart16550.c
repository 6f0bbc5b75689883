/* SPDX-License-Identifier: MIT */
/* hw/char/uart16550.c - a 16550A UART at an ISA port.
 *
 * A byte written to THR goes to the character stream at once; only when the host side is full does
 * it wait in the transmit FIFO with THRE clear. Towards the guest the order of events is that of
 * the part: a write to THR takes the THRE interrupt away, the byte's departure brings it back.
 * Received bytes are not paced; the character time-out follows the programmed line speed.
 *
 * Left out: a transmitted break, DMA mode (FCR bit 3), the 16750's extensions. Modem inputs are
 * those of a cable that is always plugged in (CTS, DSR and DCD on), except in loopback.
 * QUIRK: on a PC the OUT2 output gates the interrupt; here it does not, because xv6 and other
 * small kernels clear MCR and still expect interrupts.
 *
 * Reference: National Semiconductor PC16550D data sheet, section 8.
 */
#include "hw/char/uart16550.h"

#include "dm/base/chr.h"
#include "ioreq/machine.h"

#include <errno.h>
#include <string.h>

#define FIFO_LEN 16
#define BASE_BAUD 115200u /* 1.8432 MHz / 16 */
#define TIMEOUT_CHARS 4   /* 8.4: no byte in or out for four character times */

enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RDA = 0x01, IER_THRE = 0x02, IER_RLS = 0x04, IER_MS = 0x08 };
enum {
    IIR_MS = 0x00,
    IIR_NONE = 0x01,
    IIR_THRE = 0x02,
    IIR_RDA = 0x04,
    IIR_RLS = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFOS = 0xc0,
};
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04, FCR_KEPT = 0xc9 };
enum { LCR_STOP2 = 0x04, LCR_PARITY = 0x08, LCR_EVEN = 0x10, LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10 };
enum {
    LSR_DR = 0x01,
    LSR_OE = 0x02,
    LSR_BI = 0x10,
    LSR_ERRORS = 0x1e, /* OE, PE, FE, BI: what raises the line status interrupt */
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERR = 0x80,
};
enum { MSR_TERI = 0x04, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

struct uart {
    struct device dev;
    uint32_t iobase, irq, index; /* properties */
    struct chr *chardev;

    uint16_t divisor;
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t errors;       /* LSR_ERRORS bits that LSR shows and a read of LSR clears */
    bool thre_pending;    /* the THRE interrupt was caused and not yet taken back */
    bool timeout_pending; /* bytes below the trigger level lay untouched */
    uint8_t rx[FIFO_LEN], rx_errors[FIFO_LEN], rx_head, rx_len;
    uint8_t tx[FIFO_LEN], tx_head, tx_len; /* waiting for the host side */
    struct vtimer timeout;

    struct region io;
    struct line line;
};

static bool fifos_on(const struct uart *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned fifo_room(const struct uart *s)
{
    return fifos_on(s) ? FIFO_LEN : 1;
}

static unsigned rx_trigger(const struct uart *s)
{
    static const uint8_t level[4] = { 1, 4, 8, 14 };
    return fifos_on(s) ? level[s->fcr >> 6] : 1;
}

/* The interrupt of highest priority, as IIR encodes it. */
static uint8_t uart_cause(const struct uart *s)
{
    if ((s->ier & IER_RLS) && s->errors) {
        return IIR_RLS;
    }
    if ((s->ier & IER_RDA) && s->rx_len >= rx_trigger(s)) {
        return IIR_RDA;
    }
    if ((s->ier & IER_RDA) && s->timeout_pending) {
        return IIR_TIMEOUT;
    }
    if ((s->ier & IER_THRE) && s->thre_pending) {
        return IIR_THRE;
    }
    if ((s->ier & IER_MS) && (s->msr & 0x0f)) {
        return IIR_MS;
    }
    return IIR_NONE;
}

static void uart_update_irq(struct uart *s)
{
    line_set(&s->line, uart_cause(s) != IIR_NONE);
}

static unsigned char_bits(const struct uart *s)
{
    return 1 + 5 + (s->lcr & 3) + ((s->lcr & LCR_PARITY) ? 1 : 0) + ((s->lcr & LCR_STOP2) ? 2 : 1);
}

static int64_t char_ns(const struct uart *s)
{
    return (int64_t)1000000000 * char_bits(s) * (s->divisor ? s->divisor : 1) / BASE_BAUD;
}

/* A byte came or went: the time-out starts again while something is waiting. */
static void uart_restart_timeout(struct uart *s)
{
    s->timeout_pending = false;
    if (fifos_on(s) && s->rx_len > 0) {
        vtimer_arm(&s->timeout, TIMEOUT_CHARS * char_ns(s));
    } else {
        vtimer_disarm(&s->timeout);
    }
}

static void uart_timeout(void *opaque)
{
    struct uart *s = opaque;
    s->timeout_pending = s->rx_len > 0;
    uart_update_irq(s);
}

static void rx_push(struct uart *s, uint8_t byte, uint8_t errors)
{
    unsigned at;
    if (s->rx_len >= fifo_room(s)) {
        s->errors |= LSR_OE;
        if (fifos_on(s)) {
            return; /* the byte in the shift register is lost */
        }
        s->rx_len = 0; /* without FIFOs the older byte is */
    }
    at = (s->rx_head + s->rx_len) % FIFO_LEN;
    s->rx[at] = byte;
    s->rx_errors[at] = errors;
    if (s->rx_len++ == 0) {
        s->errors |= errors; /* errors show when their byte is on top */
    }
    uart_restart_timeout(s);
}

static uint8_t rx_pop(struct uart *s)
{
    uint8_t byte = s->rx[s->rx_head];
    if (s->rx_len == 0) {
        return byte;
    }
    s->rx_errors[s->rx_head] = 0;
    s->rx_head = (uint8_t)((s->rx_head + 1) % FIFO_LEN);
    if (--s->rx_len > 0) {
        s->errors |= s->rx_errors[s->rx_head];
    }
    uart_restart_timeout(s);
    return byte;
}

static void rx_clear(struct uart *s)
{
    s->rx_head = s->rx_len = 0;
    memset(s->rx_errors, 0, sizeof(s->rx_errors));
    uart_restart_timeout(s);
}

/* Hands the transmit FIFO to the host side, as far as it takes it. */
static void tx_drain(struct uart *s)
{
    while (s->tx_len > 0) {
        unsigned run = FIFO_LEN - s->tx_head;
        long n = chr_write(s->chardev, s->tx + s->tx_head, run < s->tx_len ? run : s->tx_len);
        if (n == 0) {
            return; /* writable() follows */
        }
        if (n < 0) {
            n = s->tx_len; /* nobody will ever take it: bytes fall off the open cable */
        }
        s->tx_head = (uint8_t)((s->tx_head + n) % FIFO_LEN);
        s->tx_len = (uint8_t)(s->tx_len - n);
    }
    s->thre_pending = true;
}

static void tx_push(struct uart *s, uint8_t byte)
{
    s->thre_pending = false;
    if (s->mcr & MCR_LOOP) {
        rx_push(s, byte, 0);
        s->thre_pending = true;
        return;
    }
    if (s->tx_len < fifo_room(s)) {
        s->tx[(s->tx_head + s->tx_len++) % FIFO_LEN] = byte;
    } else if (!fifos_on(s)) {
        s->tx[s->tx_head] = byte; /* overwritten in THR */
    }
    tx_drain(s);
}

static uint8_t uart_lsr(const struct uart *s)
{
    uint8_t lsr = s->errors;
    lsr |= s->rx_len ? LSR_DR : 0;
    lsr |= s->tx_len ? 0 : LSR_THRE | LSR_TEMT;
    for (unsigned i = 0; fifos_on(s) && i < s->rx_len; i++) {
        lsr |= s->rx_errors[(s->rx_head + i) % FIFO_LEN] ? LSR_FIFO_ERR : 0;
    }
    return lsr;
}

/* The modem inputs as they are now, deltas against what MSR last said. */
static void uart_update_modem(struct uart *s)
{
    uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, changed;
    if (s->mcr & MCR_LOOP) {
        now = (s->mcr & MCR_RTS) ? MSR_CTS : 0;
        now |= (s->mcr & MCR_DTR) ? MSR_DSR : 0;
        now |= (s->mcr & MCR_OUT1) ? MSR_RI : 0;
        now |= (s->mcr & MCR_OUT2) ? MSR_DCD : 0;
    }
    changed = (s->msr ^ now) & 0xf0;
    if (now & MSR_RI) {
        changed &= (uint8_t)~MSR_RI; /* TERI is the trailing edge only */
    }
    s->msr = (uint8_t)(now | (s->msr & 0x0f) | changed >> 4);
}

static void uart_tell_line(struct uart *s)
{
    struct chr *c = s->chardev;
    char parity = 'N';
    if (!c || !c->ops->set_params) {
        return;
    }
    if (s->lcr & LCR_PARITY) {
        parity = (s->lcr & LCR_EVEN) ? 'E' : 'O';
    }
    c->ops->set_params(c, BASE_BAUD / (s->divisor ? s->divisor : 1), 5 + (s->lcr & 3), parity,
                       (s->lcr & LCR_STOP2) ? 2 : 1);
}

static void uart_set_fcr(struct uart *s, uint8_t val)
{
    bool toggled = (val ^ s->fcr) & FCR_ENABLE;
    if (!(val & FCR_ENABLE)) {
        val = 0; /* 8.3: the other bits are written together with bit 0 only */
    }
    s->fcr = val & FCR_KEPT;
    if (toggled || (val & FCR_CLEAR_RX)) {
        rx_clear(s);
    }
    if (toggled || (val & FCR_CLEAR_TX)) {
        s->thre_pending = s->thre_pending || s->tx_len > 0;
        s->tx_len = 0;
    }
}

static void uart_set_ier(struct uart *s, uint8_t val)
{
    uint8_t changed = (s->ier ^ val) & 0x0f;
    s->ier = val & 0x0f;
    if (changed & IER_THRE) {
        /* Enabling it with THR empty causes it at once; Linux probes for that. */
        s->thre_pending = (s->ier & IER_THRE) && s->tx_len == 0;
    }
}

static uint8_t uart_read_iir(struct uart *s)
{
    uint8_t iir = uart_cause(s);
    if (iir == IIR_THRE) {
        s->thre_pending = false;
    }
    return (uint8_t)(iir | (fifos_on(s) ? IIR_FIFOS : 0));
}

static uint8_t uart_read_data(struct uart *s)
{
    uint8_t byte = rx_pop(s);
    if (s->chardev && !(s->mcr & MCR_LOOP)) {
        chr_kick(s->chardev);
    }
    return byte;
}

static uint8_t uart_read_reg(struct uart *s, unsigned reg)
{
    uint8_t val;
    switch (reg) {
    case RBR:
        return (s->lcr & LCR_DLAB) ? (uint8_t)s->divisor : uart_read_data(s);
    case IER:
        return (s->lcr & LCR_DLAB) ? (uint8_t)(s->divisor >> 8) : s->ier;
    case IIR:
        return uart_read_iir(s);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        val = uart_lsr(s);
        s->errors = 0;
        if (s->rx_len > 0) {
            s->rx_errors[s->rx_head] = 0; /* it has been told */
        }
        return val;
    case MSR:
        val = s->msr;
        s->msr &= 0xf0;
        return val;
    default:
        return s->scr;
    }
}

static uint64_t uart_read(struct device *d, uint64_t off, unsigned size)
{
    struct uart *s = (struct uart *)d;
    uint8_t val = uart_read_reg(s, (unsigned)off);
    (void)size;
    uart_update_irq(s);
    return val;
}

static void uart_write_divisor(struct uart *s, unsigned reg, uint8_t val)
{
    unsigned shift = reg == RBR ? 0 : 8;
    s->divisor = (uint16_t)((s->divisor & ~(0xffu << shift)) | (unsigned)val << shift);
    uart_tell_line(s);
}

static void uart_write_mcr(struct uart *s, uint8_t val)
{
    bool left_loop = (s->mcr & MCR_LOOP) && !(val & MCR_LOOP);
    s->mcr = val & 0x1f;
    uart_update_modem(s);
    if (left_loop && s->chardev) {
        chr_kick(s->chardev);
    }
}

static void uart_write_reg(struct uart *s, unsigned reg, uint8_t val)
{
    if ((s->lcr & LCR_DLAB) && reg <= IER) {
        uart_write_divisor(s, reg, val);
        return;
    }
    switch (reg) {
    case RBR:
        tx_push(s, val);
        break;
    case IER:
        uart_set_ier(s, val);
        break;
    case IIR:
        uart_set_fcr(s, val);
        if (s->chardev) {
            chr_kick(s->chardev);
        }
        break;
    case LCR:
        s->lcr = val;
        uart_tell_line(s);
        break;
    case MCR:
        uart_write_mcr(s, val);
        break;
    case SCR:
        s->scr = val;
        break;
    default: /* LSR and MSR are for factory tests */
        break;
    }
}

static void uart_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct uart *s = (struct uart *)d;
    (void)size;
    /* An edge-triggered controller must see the THRE interrupt go and come again. */
    uart_write_reg(s, (unsigned)off, (uint8_t)val);
    if (off == RBR && !(s->lcr & LCR_DLAB) && uart_cause(s) == IIR_THRE) {
        line_set(&s->line, false);
    }
    uart_update_irq(s);
}

static size_t uart_can_read(void *opaque)
{
    const struct uart *s = opaque;
    return (s->mcr & MCR_LOOP) || s->rx_len >= fifo_room(s) ? 0 : fifo_room(s) - s->rx_len;
}

static void uart_receive(void *opaque, const uint8_t *buf, size_t len)
{
    struct uart *s = opaque;
    for (size_t i = 0; i < len; i++) {
        rx_push(s, buf[i], 0);
    }
    uart_update_irq(s);
}

static void uart_writable(void *opaque)
{
    struct uart *s = opaque;
    tx_drain(s);
    uart_update_irq(s);
}

static void uart_event(void *opaque, enum chr_event ev)
{
    struct uart *s = opaque;
    if (ev == CHR_BREAK && !(s->mcr & MCR_LOOP)) {
        rx_push(s, 0, LSR_BI);
        uart_update_irq(s);
    } else if (ev == CHR_CLOSED && s->tx_len > 0) {
        uart_writable(s); /* what the peer did not take is nobody's now */
    }
}

static const struct chr_handlers uart_handlers = {
    .can_read = uart_can_read, .read = uart_receive, .writable = uart_writable, .event = uart_event
};

static const struct reg_name uart_names[] = {
    { 0, "RBR/THR/DLL" }, { 1, "IER/DLM" }, { 2, "IIR/FCR" }, { 3, "LCR" }, { 4, "MCR" },
    { 5, "LSR" },         { 6, "MSR" },     { 7, "SCR" },     { 0 },
};
static const struct region_ops uart_ops = {
    .read = uart_read, .write = uart_write, .max_size = 1, .names = uart_names
};

static int uart_init(struct device *d, struct err *e)
{
    static const uint16_t com_base[4] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    static const uint8_t com_irq[4] = { 4, 3, 4, 3 };
    struct uart *s = (struct uart *)d;
    if (s->index > 3) {
        return err_set(e, -EINVAL, "isa-serial: index %u is not 0 to 3", s->index);
    }
    s->iobase = s->iobase ? s->iobase : com_base[s->index];
    s->irq = s->irq ? s->irq : com_irq[s->index];
    if (s->iobase > 0xfff8 || s->irq > 15) {
        return err_set(e, -EINVAL, "isa-serial: iobase 0x%x or irq %u is out of range", s->iobase,
                       s->irq);
    }
    region_init(&s->io, d, &uart_ops, IO_PIO, 8, "serial");
    region_map(&s->io, s->iobase);
    line_init(&s->line, d, LINE_ISA, (uint16_t)s->irq);
    vtimer_init(&s->timeout, d->m, "uart timeout", uart_timeout, s);
    if (s->chardev) {
        chr_attach(s->chardev, &uart_handlers, s);
        chr_kick(s->chardev);
    }
    return 0;
}

static void uart_reset(struct device *d)
{
    struct uart *s = (struct uart *)d;
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
    s->divisor = 0x0c; /* 9600 baud; the part leaves it undefined */
    s->msr = MSR_CTS | MSR_DSR | MSR_DCD;
    s->errors = 0;
    s->thre_pending = s->timeout_pending = false;
    s->rx_head = s->tx_head = s->tx_len = 0;
    memset(s->rx, 0, sizeof(s->rx));
    memset(s->tx, 0, sizeof(s->tx));
    rx_clear(s);
    uart_update_irq(s);
}

static int uart_loaded(struct device *d, struct err *e)
{
    struct uart *s = (struct uart *)d;
    if (s->rx_len > fifo_room(s) || s->tx_len > fifo_room(s)) {
        return err_set(e, -EINVAL, "%s: FIFO holds more than it can", d->id);
    }
    for (unsigned i = 0; i < FIFO_LEN; i++) {
        if (s->rx_errors[i] & ~LSR_ERRORS) {
            return err_set(e, -EINVAL, "%s: rx_errors 0x%x is no error", d->id, s->rx_errors[i]);
        }
    }
    if (s->tx_len > 0) {
        tx_drain(s);
    }
    if (s->chardev) {
        chr_kick(s->chardev);
    }
    uart_update_irq(s);
    return 0;
}

static void uart_fini(struct device *d)
{
    struct uart *s = (struct uart *)d;
    if (s->chardev) {
        chr_attach(s->chardev, NULL, NULL);
    }
    vtimer_fini(&s->timeout);
    line_fini(&s->line);
    region_unmap(&s->io);
}

static const struct dev_prop uart_props[] = {
    PROP(struct uart, "index", PROP_U32, index, 0, "which COM port, from 0"),
    PROP(struct uart, "iobase", PROP_U32, iobase, 0, "first port; 0: as the index says"),
    PROP(struct uart, "irq", PROP_U32, irq, 0, "ISA interrupt; 0: as the index says"),
    PROP(struct uart, "chardev", PROP_CHR, chardev, 0, "what is at the other end of the cable"),
    { .kind = PROP_END },
};

static const struct state_field uart_state[] = {
    FIELD(struct uart, divisor),
    FIELD_RANGE(struct uart, ier, 0, 0x0f),
    FIELD_RANGE(struct uart, fcr, 0, FCR_KEPT),
    FIELD(struct uart, lcr),
    FIELD_RANGE(struct uart, mcr, 0, 0x1f),
    FIELD(struct uart, msr),
    FIELD(struct uart, scr),
    FIELD_RANGE(struct uart, errors, 0, LSR_ERRORS),
    FIELD(struct uart, thre_pending),
    FIELD(struct uart, timeout_pending),
    FIELD_ARRAY(struct uart, rx),
    FIELD_ARRAY(struct uart, rx_errors),
    FIELD_RANGE(struct uart, rx_head, 0, FIFO_LEN - 1),
    FIELD_RANGE(struct uart, rx_len, 0, FIFO_LEN),
    FIELD_ARRAY(struct uart, tx),
    FIELD_RANGE(struct uart, tx_head, 0, FIFO_LEN - 1),
    FIELD_RANGE(struct uart, tx_len, 0, FIFO_LEN),
    FIELD_TIMER(struct uart, timeout),
    FIELD_END,
};

const struct dev_class uart_class = {
    .name = "isa-serial",
    .desc = "16550A serial port",
    .size = sizeof(struct uart),
    .props = uart_props,
    .state = uart_state,
    .state_version = 1,
    .user_creatable = true,
    .init = uart_init,
    .reset = uart_reset,
    .loaded = uart_loaded,
    .fini = uart_fini,
};
