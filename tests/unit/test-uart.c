/* SPDX-License-Identifier: MIT */
/* tests/unit/test-uart.c - the 16550A through its ports, with a host side that can be full. */
#include "dm/base/chr.h"
#include "dm/base/util.h"
#include "hw/char/uart16550.h"
#include "ioreq/flat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COM1 0x3f8
enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

/* The other end of the cable. */
struct cable {
    struct chr c;
    char out[256];
    size_t len, room; /* room: how many more bytes it takes */
    long fail;
    unsigned kicks, baud, bits, stop;
    char parity;
};

static long cable_write(struct chr *c, const void *buf, size_t len)
{
    struct cable *k = (struct cable *)c;
    size_t n = len < k->room ? len : k->room;
    if (k->fail) {
        return k->fail;
    }
    memcpy(k->out + k->len, buf, n);
    k->len += n;
    k->room -= n;
    return (long)n;
}

static void cable_kick(struct chr *c)
{
    ((struct cable *)c)->kicks++;
}

static void cable_params(struct chr *c, unsigned baud, unsigned bits, char parity, unsigned stop)
{
    struct cable *k = (struct cable *)c;
    k->baud = baud;
    k->bits = bits;
    k->parity = parity;
    k->stop = stop;
}

static const struct chr_ops cable_ops = {
    .kind = "test", .write = cable_write, .kick = cable_kick, .set_params = cable_params
};

struct bed {
    struct flat_host *f;
    struct machine *m;
    struct device *d;
    struct cable k;
};

static struct bed *bed_new(void)
{
    struct bed *b = xcalloc(1, sizeof(*b));
    struct err e = { 0 };
    b->f = flat_new(65536);
    b->m = machine_new("test", &flat_host_ops, b->f);
    b->k.c = (struct chr){ .ops = &cable_ops, .open = true };
    b->k.room = sizeof(b->k.out);
    b->d = dev_new(b->m, &uart_class, NULL);
    dev_set_ptr(b->d, "chardev", &b->k.c);
    assert_int_equal(dev_init(b->d, &e), 0);
    machine_enter(b->m);
    machine_set_run_state(b->m, RUN_RUNNING);
    machine_leave(b->m);
    return b;
}

static void bed_free(struct bed *b)
{
    machine_free(b->m);
    flat_free(b->f);
    free(b);
}

static uint8_t rd(struct bed *b, unsigned reg)
{
    return (uint8_t)io_read(b->m, IO_PIO, COM1 + reg, 1);
}

static void wr(struct bed *b, unsigned reg, uint8_t val)
{
    io_write(b->m, IO_PIO, COM1 + reg, 1, val);
}

static size_t receive(struct bed *b, const char *s)
{
    const struct chr *c = &b->k.c;
    size_t n;
    machine_enter(b->m);
    n = c->handlers->can_read(c->opaque);
    n = n < strlen(s) ? n : strlen(s);
    c->handlers->read(c->opaque, (const uint8_t *)s, n);
    machine_leave(b->m);
    return n;
}

static void happens(struct bed *b, enum chr_event e)
{
    machine_enter(b->m);
    b->k.c.handlers->event(b->k.c.opaque, e);
    machine_leave(b->m);
}

static void test_uart_reset_has_the_data_sheets_values(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    assert_int_equal(rd(b, IER), 0);
    assert_int_equal(rd(b, IIR), 0x01);
    assert_int_equal(rd(b, LCR), 0);
    assert_int_equal(rd(b, MCR), 0);
    assert_int_equal(rd(b, LSR), 0x60);
    assert_int_equal(rd(b, MSR), 0xb0);
    wr(b, SCR, 0xa5);
    assert_int_equal(rd(b, SCR), 0xa5);
    assert_int_equal(rd(b, IER + 8), 0xff); /* the next port is not ours */
    bed_free(b);
}

static void test_uart_divisor_hides_behind_dlab(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    wr(b, LCR, 0x80 | 0x1b);
    wr(b, RBR, 0x01);
    wr(b, IER, 0x00);
    assert_int_equal(rd(b, RBR), 0x01);
    assert_int_equal(b->k.baud, 115200);
    assert_int_equal(b->k.bits, 8);
    assert_int_equal(b->k.parity, 'E');
    wr(b, RBR, 0x00); /* a divisor of zero divides nothing */
    wr(b, IER, 0x12);
    assert_int_equal(rd(b, IER), 0x12);
    wr(b, LCR, 0x03);
    assert_int_equal(b->k.parity, 'N');
    assert_int_equal(rd(b, IER), 0);
    assert_int_equal(b->k.len, 0);
    bed_free(b);
}

static void test_uart_thr_sends_and_raises_thre(void **state)
{
    struct bed *b = bed_new();
    unsigned edges;
    (void)state;
    wr(b, RBR, 'A');
    assert_int_equal(b->k.len, 1);
    assert_int_equal(b->k.out[0], 'A');
    assert_int_equal(rd(b, LSR), 0x60);
    assert_false(b->f->isa[4]);
    wr(b, IER, 0x02); /* enabling with THR empty interrupts at once */
    assert_true(b->f->isa[4]);
    assert_int_equal(rd(b, IIR), 0x02);
    assert_false(b->f->isa[4]); /* reading IIR took it away */
    assert_int_equal(rd(b, IIR), 0x01);
    wr(b, IER, 0x00); /* Linux's probe: off and on again */
    wr(b, IER, 0x02);
    assert_int_equal(rd(b, IIR), 0x02);
    edges = b->f->isa_edges[4];
    wr(b, RBR, 'B');
    wr(b, RBR, 'C'); /* each byte is an edge of its own */
    assert_int_equal(b->f->isa_edges[4], edges + 2);
    assert_memory_equal(b->k.out, "ABC", 3);
    bed_free(b);
}

static void test_uart_full_host_side_holds_thre_back(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    wr(b, IIR, 0x01);
    wr(b, IER, 0x02);
    rd(b, IIR);
    b->k.room = 2;
    for (char c = 'a'; c < 'a' + 20; c++) {
        wr(b, RBR, (uint8_t)c); /* two go, sixteen wait, two are lost */
    }
    assert_int_equal(rd(b, LSR), 0x00);
    assert_int_equal(rd(b, IIR), 0xc1);
    b->k.room = 5;
    machine_enter(b->m);
    b->k.c.handlers->writable(b->k.c.opaque);
    machine_leave(b->m);
    assert_int_equal(rd(b, LSR), 0x00);
    b->k.room = 100;
    machine_enter(b->m);
    b->k.c.handlers->writable(b->k.c.opaque);
    machine_leave(b->m);
    assert_int_equal(rd(b, LSR), 0x60);
    assert_true(b->f->isa[4]);
    assert_int_equal(b->k.len, 18);
    assert_memory_equal(b->k.out, "abcdefghijklmnopqr", 18);
    b->k.fail = -32; /* a broken pipe must not hang the guest */
    wr(b, RBR, 'x');
    assert_int_equal(rd(b, LSR), 0x60);
    bed_free(b);
}

static void test_uart_receive_without_fifos(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    wr(b, IER, 0x05);
    assert_int_equal(receive(b, "xy"), 1); /* room for one */
    assert_true(b->f->isa[4]);
    assert_int_equal(rd(b, IIR), 0x04);
    assert_int_equal(rd(b, LSR), 0x61);
    b->k.kicks = 0;
    assert_int_equal(rd(b, RBR), 'x');
    assert_int_equal(b->k.kicks, 1); /* and now for the next */
    assert_false(b->f->isa[4]);
    assert_int_equal(rd(b, LSR), 0x60);
    assert_int_equal(receive(b, "y"), 1);
    assert_int_equal(rd(b, RBR), 'y');
    bed_free(b);
}

static void test_uart_fifo_trigger_and_timeout(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    wr(b, LCR, 0x83);
    wr(b, RBR, 1); /* 115200 8N1: ten bits are 86.8 us */
    wr(b, LCR, 0x03);
    wr(b, IIR, 0x41); /* trigger at 4 */
    wr(b, IER, 0x01);
    assert_int_equal(receive(b, "abc"), 3);
    assert_false(b->f->isa[4]);
    flat_advance(b->f, b->m, 4 * 86805 - 10);
    assert_false(b->f->isa[4]);
    flat_advance(b->f, b->m, 1000);
    assert_true(b->f->isa[4]);
    assert_int_equal(rd(b, IIR), 0xcc);
    assert_int_equal(rd(b, RBR), 'a'); /* a read takes the time-out away */
    assert_int_equal(rd(b, IIR), 0xc1);
    assert_int_equal(receive(b, "de"), 2);
    assert_int_equal(rd(b, IIR), 0xc4);
    assert_int_equal(rd(b, RBR), 'b');
    assert_int_equal(rd(b, IIR), 0xc1);
    assert_int_equal(receive(b, "0123456789ABCDEF"), 13); /* sixteen in all */
    assert_int_equal(receive(b, "z"), 0);
    wr(b, IIR, 0x03); /* clear */
    assert_int_equal(rd(b, LSR), 0x60);
    flat_advance(b->f, b->m, 1000000);
    assert_int_equal(rd(b, IIR), 0xc1);
    bed_free(b);
}

static void test_uart_interrupts_come_in_order_of_priority(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    wr(b, IIR, 0x01);
    wr(b, MCR, 0x10); /* loopback drops every modem input: deltas */
    wr(b, IER, 0x0f);
    wr(b, RBR, 'l');
    wr(b, MCR, 0x00);
    happens(b, CHR_BREAK);
    assert_int_equal(rd(b, IIR), 0xc4); /* the break is not on top yet */
    assert_int_equal(rd(b, LSR), 0xe1); /* but bit 7 tells of it */
    assert_int_equal(rd(b, RBR), 'l');
    assert_int_equal(rd(b, IIR), 0xc6);
    assert_int_equal(rd(b, LSR), 0x71 | 0x80);
    assert_int_equal(rd(b, LSR), 0x61); /* told once */
    assert_int_equal(rd(b, IIR), 0xc4);
    assert_int_equal(rd(b, RBR), 0);
    assert_int_equal(rd(b, IIR), 0xc2);
    assert_int_equal(rd(b, IIR), 0xc0);
    assert_int_equal(rd(b, MSR), 0xbb); /* CTS, DSR and DCD changed, RI did not */
    assert_int_equal(rd(b, IIR), 0xc1);
    assert_false(b->f->isa[4]);
    bed_free(b);
}

static void test_uart_loopback_is_a_closed_circuit(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    wr(b, MCR, 0x1a); /* Linux's test: RTS and OUT2 must come back as CTS and DCD */
    assert_int_equal(rd(b, MSR) & 0xf0, 0x90);
    assert_int_equal(receive(b, "q"), 0);
    wr(b, RBR, 'q');
    assert_int_equal(b->k.len, 0);
    assert_int_equal(rd(b, RBR), 'q');
    wr(b, RBR, '1');
    wr(b, RBR, '2'); /* overrun */
    assert_int_equal(rd(b, LSR), 0x63);
    assert_int_equal(rd(b, RBR), '2');
    wr(b, MCR, 0x10);
    rd(b, MSR);
    wr(b, MCR, 0x14); /* RI on: no event ... */
    assert_int_equal(rd(b, MSR), 0x40);
    wr(b, MCR, 0x10); /* ... and off: the trailing edge counts */
    assert_int_equal(rd(b, MSR) & 0x04, 0x04);
    b->k.kicks = 0;
    wr(b, MCR, 0);
    assert_int_equal(b->k.kicks, 1);
    bed_free(b);
}

static void test_uart_wide_access_is_bytes(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    io_write(b->m, IO_PIO, COM1 + LCR, 4, 0xffff0003); /* LCR, MCR, LSR, MSR */
    assert_int_equal(io_read(b->m, IO_PIO, COM1 + LCR, 2), 0x0003);
    bed_free(b);
}

static void test_uart_state_survives_and_lies_are_refused(void **state)
{
    struct bed *b = bed_new(), *c = bed_new();
    struct state_buf s = { 0 }, t = { 0 };
    struct err e = { 0 };
    (void)state;
    wr(b, IIR, 0xc1);
    wr(b, IER, 0x03);
    receive(b, "saved");
    b->k.room = 0;
    wr(b, RBR, 'w');
    machine_enter(b->m);
    machine_set_run_state(b->m, RUN_PAUSED);
    assert_int_equal(machine_save(b->m, &s, &e), 0);
    machine_leave(b->m);
    machine_enter(c->m);
    machine_set_run_state(c->m, RUN_PAUSED);
    assert_int_equal(machine_load(c->m, s.p, s.len, &e), 0);
    machine_leave(c->m);
    assert_int_equal(c->k.out[0], 'w'); /* what waited goes out here */
    machine_enter(c->m);
    machine_set_run_state(c->m, RUN_RUNNING);
    machine_leave(c->m);
    assert_int_equal(rd(c, RBR), 's');
    assert_int_equal(rd(c, RBR), 'a');
    /* Every byte of the stream turned over: refused or taken, never a crash. */
    for (size_t i = 0; i < s.len; i++) {
        s.p[i] ^= 0xff;
        machine_enter(c->m);
        machine_set_run_state(c->m, RUN_PAUSED);
        machine_load(c->m, s.p, s.len, &e);
        machine_leave(c->m);
        s.p[i] ^= 0xff;
    }
    free(s.p);
    free(t.p);
    bed_free(b);
    bed_free(c);
}

static void test_debugcon_writes_and_reads_back(void **state)
{
    struct bed *b = bed_new();
    struct device *d = dev_new(b->m, &debugcon_class, NULL);
    (void)state;
    dev_set_u32(d, "iobase", 0x402);
    dev_set_ptr(d, "chardev", &b->k.c);
    assert_int_equal(dev_init(d, NULL), 0);
    io_write(b->m, IO_PIO, 0x402, 1, 'S');
    io_write(b->m, IO_PIO, 0x402, 1, 'B');
    assert_memory_equal(b->k.out, "SB", 2);
    assert_int_equal(io_read(b->m, IO_PIO, 0x402, 1), 0xe9);
    b->k.room = 0; /* full: dropped, not waited for */
    io_write(b->m, IO_PIO, 0x402, 1, 'x');
    assert_int_equal(b->k.len, 2);
    bed_free(b);
}

static void test_uart_refuses_impossible_properties(void **state)
{
    struct bed *b = bed_new();
    struct device *d = dev_new(b->m, &uart_class, NULL);
    struct err e = { 0 };
    (void)state;
    dev_set_u32(d, "index", 4);
    assert_int_equal(dev_init(d, &e), -22);
    assert_non_null(strstr(e.msg, "index 4"));
    dev_free(d);
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uart_reset_has_the_data_sheets_values),
        cmocka_unit_test(test_uart_divisor_hides_behind_dlab),
        cmocka_unit_test(test_uart_thr_sends_and_raises_thre),
        cmocka_unit_test(test_uart_full_host_side_holds_thre_back),
        cmocka_unit_test(test_uart_receive_without_fifos),
        cmocka_unit_test(test_uart_fifo_trigger_and_timeout),
        cmocka_unit_test(test_uart_interrupts_come_in_order_of_priority),
        cmocka_unit_test(test_uart_loopback_is_a_closed_circuit),
        cmocka_unit_test(test_uart_wide_access_is_bytes),
        cmocka_unit_test(test_uart_state_survives_and_lies_are_refused),
        cmocka_unit_test(test_debugcon_writes_and_reads_back),
        cmocka_unit_test(test_uart_refuses_impossible_properties),
    };
    return cmocka_run_group_tests_name("uart", tests, NULL, NULL);
}
