/* SPDX-License-Identifier: MIT */
/* tests/unit/test-trace.c - record and replay, with a toy device that can be told to err.
 *
 * TOY adds up guest memory and answers a while later: it uses every door once. Its `fault`
 * property, 0 while recording, makes the replayed one differ from the recorded one in one way.
 */
#include "ioreq/flat.h"
#include "ioreq/trace-int.h"
#include "ioreq/trace.h"

#include "dm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TOY_BASE = 0x100, STATUS = 0, ADDR = 4, LEN = 8, CTRL = 12, DATA = 16 };
enum { CTRL_SUM = 1, CTRL_ACK = 2, CTRL_WALL = 4, CTRL_PIN = 8, CTRL_OFF = 16, CTRL_SEND = 32 };
enum {
    FAULT_NONE,
    FAULT_STATUS,   /* reads STATUS with a bit flipped */
    FAULT_SILENT,   /* raises no interrupt */
    FAULT_CHATTY,   /* raises one more */
    FAULT_DMA_ADDR, /* writes its answer elsewhere */
    FAULT_DMA_DATA, /* writes another answer */
    FAULT_READ_LEN, /* reads a byte less */
    FAULT_EARLY,    /* arms its timer for another time */
    FAULT_NEVER,    /* does not arm it */
    FAULT_HIDDEN,   /* keeps something else in mind */
    FAULT_SEND,     /* sends another byte */
    FAULTS
};

struct toy {
    struct device dev;
    struct region regs;
    struct line irq, extra;
    struct vtimer done;
    struct gmem_pin pin;
    uint32_t fault;
    uint32_t status, addr, len, data, hidden;
    unsigned channel;
};

static void toy_done(void *opaque)
{
    struct toy *t = opaque;
    uint8_t answer[40] = { 0 };
    uint64_t at = t->addr + 0x1000u + (t->fault == FAULT_DMA_ADDR ? 4 : 0);

    store_le(answer, 4, t->data + (t->fault == FAULT_DMA_DATA));
    if (gmem_write(t->dev.m, at, answer, t->len > 100 ? 40 : 4) < 0) {
        t->status |= 0x80;
    }
    t->status |= 1;
    line_set(&t->irq, t->fault != FAULT_SILENT);
    if (t->fault == FAULT_CHATTY) {
        line_set(&t->extra, true);
    }
}

static void toy_sum(struct toy *t)
{
    uint8_t buf[256] = { 0 };
    size_t len = t->len < sizeof(buf) ? t->len : sizeof(buf);

    t->data = 0;
    t->hidden += t->fault == FAULT_HIDDEN ? 2 : 1;
    if (gmem_read(t->dev.m, t->addr, buf, len - (t->fault == FAULT_READ_LEN)) < 0) {
        t->status |= 0x40;
    }
    for (size_t i = 0; i < len; i++) {
        t->data += buf[i];
    }
    if (t->fault != FAULT_NEVER) {
        vtimer_arm(&t->done, 1000 + (t->fault == FAULT_EARLY ? -1 : 0));
    }
}

static void toy_pin(struct toy *t)
{
    if (gmem_pin(t->dev.m, &t->pin, t->addr, t->len, true) < 0) {
        t->status |= 0x20;
        return;
    }
    memset(t->pin.iov[0].iov_base, 0x5a, t->pin.iov[0].iov_len);
    gmem_unpin(t->dev.m, &t->pin, t->len);
}

static void toy_send(struct toy *t)
{
    uint8_t byte = (uint8_t)(t->data + (t->fault == FAULT_SEND));

    trace_output(t->dev.m, t->channel, 7, &byte, 1);
    t->data = (uint32_t)trace_value(t->dev.m, t->channel, 8, 99);
}

static void toy_ctrl(struct toy *t, uint64_t val)
{
    if (val & CTRL_SUM) {
        toy_sum(t);
    }
    if (val & CTRL_ACK) {
        t->status = 0;
        line_set(&t->irq, false);
    }
    if (val & CTRL_WALL) {
        t->data = (uint32_t)wallclock_now(t->dev.m);
    }
    if (val & CTRL_PIN) {
        toy_pin(t);
    }
    if (val & CTRL_SEND) {
        toy_send(t);
    }
    if (val & CTRL_OFF) {
        line_power(t->dev.m, POWER_OFF);
    }
}

static uint64_t toy_read(struct device *d, uint64_t off, unsigned size)
{
    struct toy *t = (struct toy *)d;

    (void)size;
    switch (off) {
    case STATUS:
        return t->status ^ (t->fault == FAULT_STATUS && t->status ? 0x10u : 0u);
    case DATA:
        return t->data++;
    default:
        return 0;
    }
}

static void toy_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct toy *t = (struct toy *)d;

    (void)size;
    switch (off) {
    case ADDR:
        t->addr = (uint32_t)val;
        break;
    case LEN:
        t->len = (uint32_t)val;
        break;
    case CTRL:
        toy_ctrl(t, val);
        break;
    case DATA:
        t->data += (uint32_t)val;
        break;
    default:
        break;
    }
}

static const struct reg_name toy_names[] = {
    { STATUS, "STATUS" }, { ADDR, "ADDR" }, { LEN, "LEN" },
    { CTRL, "CTRL" },     { DATA, "DATA" }, { 0 },
};
static const struct region_ops toy_ops = { .read = toy_read,
                                           .write = toy_write,
                                           .names = toy_names };

static int toy_init(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;

    (void)e;
    region_init(&t->regs, d, &toy_ops, IO_PIO, 20, "toy");
    region_map(&t->regs, TOY_BASE);
    line_init(&t->irq, d, LINE_ISA, 5);
    line_init(&t->extra, d, LINE_ISA, 6);
    vtimer_init(&t->done, d->m, "toy-done", toy_done, t);
    return 0;
}

static void toy_fini(struct device *d)
{
    struct toy *t = (struct toy *)d;

    region_unmap(&t->regs);
    line_fini(&t->irq);
    line_fini(&t->extra);
    vtimer_fini(&t->done);
}

static void toy_reset(struct device *d)
{
    struct toy *t = (struct toy *)d;

    t->status = t->addr = t->len = t->data = t->hidden = 0;
    vtimer_disarm(&t->done);
    line_set(&t->irq, false);
    line_set(&t->extra, false);
}

static const struct state_field toy_state[] = {
    FIELD(struct toy, status),
    FIELD(struct toy, addr),
    FIELD(struct toy, len),
    FIELD(struct toy, data),
    FIELD(struct toy, hidden),
    FIELD_TIMER(struct toy, done),
    FIELD_END,
};
static const struct dev_prop toy_props[] = {
    PROP(struct toy, "fault", PROP_U32, fault, 0, "how to differ"), { 0 }
};
static const struct dev_class toy_class = {
    .name = "toy",
    .size = sizeof(struct toy),
    .props = toy_props,
    .state = toy_state,
    .state_version = 1,
    .init = toy_init,
    .reset = toy_reset,
    .fini = toy_fini,
};

/* ---- recording ---- */

static char path[64], path2[64];

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/test-trace-%d.ktr", getpid());
    snprintf(path2, sizeof(path2), "/tmp/test-trace-%d-2.ktr", getpid());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(path2);
    return 0;
}

static struct toy *toy_new(struct machine *m, uint32_t fault)
{
    struct device *d = dev_new(m, &toy_class, "toy0");
    struct err e = { 0 };

    dev_set_u32(d, "fault", fault);
    assert_int_equal(dev_init(d, &e), 0);
    ((struct toy *)d)->channel = trace_channel(m, "wire");
    return (struct toy *)d;
}

static void toy_byte(struct toy *t, uint8_t byte)
{
    t->data += byte;
    line_set(&t->extra, byte & 1);
}

/* A byte comes in from outside. */
static void byte_in(struct machine *m, struct toy *t, uint8_t byte)
{
    machine_enter(m);
    trace_input(m, t->channel, 3, &byte, 1);
    toy_byte(t, byte);
    machine_leave(m);
}

static void out(struct machine *m, unsigned reg, uint32_t val)
{
    io_write(m, IO_PIO, TOY_BASE + reg, 4, val);
}

static uint32_t in(struct machine *m, unsigned reg)
{
    return (uint32_t)io_read(m, IO_PIO, TOY_BASE + reg, 4);
}

static void switch_off(void *opaque, enum power_event ev)
{
    if (ev == POWER_OFF) {
        machine_set_run_state(opaque, RUN_SHUTDOWN);
    }
}

static void string_io(struct machine *m, bool write, uint64_t gpa, uint32_t count)
{
    struct io_req req = { .addr = TOY_BASE + DATA,
                          .data = gpa,
                          .count = count,
                          .size = 4,
                          .write = write,
                          .df = write,
                          .data_is_ptr = true };

    ioreq_run(m, &req);
}

static void one_sum(struct flat_host *f, struct machine *m, uint32_t addr, uint32_t len)
{
    out(m, ADDR, addr);
    out(m, LEN, len);
    out(m, CTRL, CTRL_SUM);
    flat_advance(f, m, 700);
    in(m, STATUS);
    flat_advance(f, m, 700);
    in(m, STATUS);
    in(m, DATA);
    out(m, CTRL, CTRL_ACK);
}

static const struct trace_option options[] = { { "machine", "toy" }, { "argv", "-m 1\n\"x\"" } };

/* Every door, good and bad. */
static void session(struct flat_host *f, struct machine *m, struct toy *t)
{
    for (unsigned i = 0; i < 0x8000; i++) {
        f->ram[i] = (uint8_t)(i * 7);
    }
    f->wall = 1234567890;
    one_sum(f, m, 0x2000, 10);
    one_sum(f, m, 0x3000, 200);
    one_sum(f, m, 0xffff00, 16); /* no RAM there */
    string_io(m, false, 0x5000, 300);
    string_io(m, true, 0x6000, 3);
    string_io(m, false, 0xfffff0, 8);
    out(m, CTRL, CTRL_WALL);
    in(m, DATA);
    out(m, ADDR, 0x4000);
    out(m, LEN, 0x2000);
    out(m, CTRL, CTRL_PIN);
    out(m, ADDR, 0xfff000);
    out(m, CTRL, CTRL_PIN);
    in(m, STATUS);
    byte_in(m, t, 3);
    byte_in(m, t, 4);
    out(m, CTRL, CTRL_SEND);
    in(m, DATA);
    io_read(m, IO_PIO, 0x9999, 2); /* nobody */
    io_write(m, IO_MMIO, 0xfee00000, 8, 0x123456789abcull);
    io_read(m, IO_PCI, PCI_CFG_ADDR(0x0102, 0x40), 4);
    flat_advance(f, m, 3000000000);
    in(m, STATUS);
    machine_enter(m);
    machine_reset(m);
    machine_set_run_state(m, RUN_PAUSED);
    machine_leave(m);
    f->now += 12345;
    machine_enter(m);
    machine_set_run_state(m, RUN_RUNNING);
    machine_leave(m);
    one_sum(f, m, 0x2000, 11);
    out(m, CTRL, CTRL_OFF);
}

static void record(const char *to)
{
    struct flat_host *f = flat_new(0x100000);
    struct machine *m = machine_new("toy", &flat_host_ops, f);
    struct err e = { 0 };
    struct toy *t;

    m->on_power = switch_off;
    m->on_power_opaque = m;
    f->now = 777; /* virtual time starts at 0 all the same */
    assert_int_equal(trace_rec_start(m, to, options, 2, &e), 0);
    t = toy_new(m, FAULT_NONE);
    machine_set_run_state(m, RUN_RUNNING);
    session(f, m, t);
    trace_rec_stop(m);
    machine_free(m);
    flat_free(f);
}

/* ---- replaying ---- */

struct replay {
    struct trace_play *p;
    struct machine *m;
    struct toy *t;
    struct trace_diff diff;
    struct err e;
};

static void on_byte(void *opaque, uint32_t tag, const void *data, size_t len)
{
    assert_int_equal(tag, 3);
    assert_int_equal(len, 1);
    toy_byte(opaque, *(const uint8_t *)data);
}

static int replay_file(struct replay *r, const char *from, uint32_t fault, const char *again)
{
    int ret;

    *r = (struct replay){ 0 };
    r->p = trace_open(from, &r->e);
    if (!r->p) {
        return r->e.code;
    }
    r->m = machine_new("toy", &trace_play_host, r->p);
    if (again) {
        assert_int_equal(trace_rec_start(r->m, again, options, 2, &r->e), 0);
    }
    r->t = toy_new(r->m, fault);
    trace_on_input(r->p, "wire", on_byte, r->t);
    ret = trace_run(r->p, r->m, 0, &r->diff, &r->e);
    trace_rec_stop(r->m);
    return ret;
}

static void replay_end(struct replay *r)
{
    machine_free(r->m);
    trace_close(r->p);
}

static void test_replay_of_same_device_agrees(void **state)
{
    struct replay r;
    const struct trace_stats *s;

    (void)state;
    record(path);
    if (replay_file(&r, path, FAULT_NONE, NULL) != 0) {
        fail_msg("%s%s", r.diff.text, r.e.msg);
    }
    s = trace_stats(r.p);
    assert_false(s->truncated);
    assert_int_equal(s->timers, 4);
    assert_int_equal(s->inputs, 2);
    assert_int_equal(s->outputs, 1);
    assert_int_equal(s->requests[IO_MMIO], 1);
    assert_int_equal(s->requests[IO_PCI], 1);
    assert_true(s->requests[IO_PIO] > 40);
    assert_int_equal(s->last_ns, 3000005600);
    assert_int_equal(r.m->run_state, RUN_SHUTDOWN);
    replay_end(&r);
}

static void test_replay_of_wrong_device_names_the_difference(void **state)
{
    static const struct {
        uint32_t fault;
        const char *device, *where, *text;
        uint64_t expected, got;
    } cases[] = {
        { FAULT_STATUS, "toy0", "0x100 STATUS", "expected answer 0x1, got answer 0x11", 1, 0x11 },
        { FAULT_SILENT, "toy0", "timer", "expected isa irq 5 = 1 by toy0, got nothing", 0, 0 },
        { FAULT_CHATTY, "toy0", "timer", "got isa irq 6 = 1 by toy0", 0, 0 },
        { FAULT_DMA_ADDR, "toy-done", "timer", "expected dma write 0x3000 4 bytes", 0x3000,
          0x3004 },
        { FAULT_DMA_DATA, "toy-done", "timer", "3b 01 00 00, got dma write", 0x13b, 0x13c },
        { FAULT_READ_LEN, "toy0", "0x10c CTRL", "expected dma read 0x2000 10 bytes", 10, 9 },
        { FAULT_EARLY, "toy-done", "timer", "expected timer toy-done 0", 1000, 999 },
        { FAULT_NEVER, "toy-done", "timer", "got nothing", 1000, UINT64_MAX },
        { FAULT_SEND, "wire", "0x10c CTRL", "expected output wire 7 1 bytes", 0, 0 },
    };

    (void)state;
    record(path);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct replay r;

        assert_int_equal(replay_file(&r, path, cases[i].fault, NULL), 1);
        assert_true(r.diff.differs);
        assert_string_equal(r.diff.device, cases[i].device);
        assert_string_equal(r.diff.where, cases[i].where);
        if (!strstr(r.diff.text, cases[i].text)) {
            fail_msg("\"%s\" lacks \"%s\"", r.diff.text, cases[i].text);
        }
        if (cases[i].expected) {
            assert_int_equal(r.diff.expected, cases[i].expected);
            assert_int_equal(r.diff.got, cases[i].got);
        }
        replay_end(&r);
    }
}

static void test_replay_with_other_hidden_state_differs_at_the_end(void **state)
{
    struct replay r;

    (void)state;
    record(path);
    assert_int_equal(replay_file(&r, path, FAULT_HIDDEN, NULL), 1);
    assert_string_equal(r.diff.event, "state");
    assert_string_equal(r.diff.device, "toy0");
    assert_string_equal(r.diff.where, "hidden");
    assert_int_equal(r.diff.expected + 1, r.diff.got);
    replay_end(&r);
}

static void test_recording_a_replay_gives_the_same_file(void **state)
{
    struct replay r;
    uint8_t a[16384], b[16384];
    size_t n[2];
    FILE *f[2];

    (void)state;
    record(path);
    assert_int_equal(replay_file(&r, path, FAULT_NONE, path2), 0);
    replay_end(&r);
    f[0] = fopen(path, "rb");
    f[1] = fopen(path2, "rb");
    n[0] = fread(a, 1, sizeof(a), f[0]);
    n[1] = fread(b, 1, sizeof(b), f[1]);
    fclose(f[0]);
    fclose(f[1]);
    assert_int_equal(n[0], n[1]);
    assert_true(n[0] < sizeof(a));
    assert_memory_equal(a, b, n[0]);
}

static void test_options_survive(void **state)
{
    struct err e = { 0 };
    struct trace_play *p;
    const struct trace_option *o;
    size_t n;

    (void)state;
    record(path);
    p = trace_open(path, &e);
    o = trace_options(p, &n);
    assert_int_equal(n, 2);
    assert_string_equal(o[1].name, "argv");
    assert_string_equal(o[1].value, "-m 1\n\"x\"");
    trace_close(p);
}

static void count_line(void *opaque, const char *line)
{
    (void)line;
    (*(unsigned *)opaque)++;
}

static void test_show_gives_the_lines_asked_for(void **state)
{
    struct err e = { 0 };
    struct trace_play *p;
    unsigned lines = 0;

    (void)state;
    record(path);
    p = trace_open(path, &e);
    assert_int_equal(trace_show(p, 5, 7, count_line, &lines, &e), 0);
    assert_int_equal(lines, 7);
    trace_close(p);
}

static void test_compare_finds_the_first_other_event(void **state)
{
    struct err e = { 0 };
    struct trace_diff d;
    struct replay r;
    struct trace_play *a, *b;

    (void)state;
    record(path);
    assert_int_equal(replay_file(&r, path, FAULT_NONE, path2), 0);
    replay_end(&r);
    a = trace_open(path, &e);
    b = trace_open(path2, &e);
    assert_int_equal(trace_compare(a, b, &d, &e), 0);
    trace_close(a);
    trace_close(b);
    /* The replay that went wrong recorded what it did instead. */
    assert_int_equal(replay_file(&r, path, FAULT_STATUS, path2), 1);
    replay_end(&r);
    a = trace_open(path, &e);
    b = trace_open(path2, &e);
    assert_int_equal(trace_compare(a, b, &d, &e), 1);
    assert_non_null(strstr(d.text, "answer 0x1, against answer 0x11"));
    trace_close(a);
    trace_close(b);
}

/* ---- damaged files ---- */

static size_t load(const char *from, uint8_t **out_bytes)
{
    FILE *f = fopen(from, "rb");
    size_t n;

    *out_bytes = malloc(1 << 20);
    n = fread(*out_bytes, 1, 1 << 20, f);
    fclose(f);
    return n;
}

static void store(const char *to, const uint8_t *p, size_t n)
{
    FILE *f = fopen(to, "wb");

    fwrite(p, 1, n, f);
    fclose(f);
}

/* However short the file is, what is left of it replays, or it is refused with a reason. */
static void test_every_truncation_replays_or_is_refused(void **state)
{
    uint8_t *bytes;
    size_t len;
    unsigned whole = 0;

    (void)state;
    record(path);
    len = load(path, &bytes);
    for (size_t n = 0; n < len; n++) {
        struct replay r;
        int ret;

        store(path2, bytes, n);
        ret = replay_file(&r, path2, FAULT_NONE, NULL);
        if (ret < 0) {
            assert_true(r.e.msg[0]);
        } else {
            assert_int_equal(ret, 0);
            assert_true(trace_stats(r.p)->truncated);
            whole += trace_stats(r.p)->events > 10;
        }
        replay_end(&r);
    }
    assert_true(whole > 10); /* the cut was in the second frame */
    free(bytes);
}

static void test_flipped_bits_never_pass_unnoticed_in_frames(void **state)
{
    uint8_t *bytes;
    size_t len, start = 0;
    unsigned unnoticed = 0;

    (void)state;
    record(path);
    len = load(path, &bytes);
    while (memcmp(bytes + start, "FRAM", 4) != 0) {
        start++;
    }
    for (size_t bit = start * 8; bit < len * 8; bit += 3) {
        struct replay r;
        int ret;

        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        store(path2, bytes, len);
        ret = replay_file(&r, path2, FAULT_NONE, NULL);
        unnoticed += ret == 0 && !trace_stats(r.p)->truncated;
        replay_end(&r);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(unnoticed, 0);
    free(bytes);
}

static void test_killed_recorder_leaves_all_but_the_last_second(void **state)
{
    struct flat_host *f = flat_new(0x100000);
    struct machine *m = machine_new("toy", &flat_host_ops, f);
    struct err e = { 0 };
    struct replay r;
    uint8_t *bytes;
    size_t len;

    (void)state;
    assert_int_equal(trace_rec_start(m, path, options, 2, &e), 0);
    toy_new(m, FAULT_NONE);
    machine_set_run_state(m, RUN_RUNNING);
    for (int i = 0; i < 30; i++) {
        out(m, DATA, (uint32_t)i);
        in(m, DATA);
        flat_advance(f, m, 100000000);
    }
    len = load(path, &bytes); /* as a kill would leave it */
    store(path2, bytes, len);
    trace_rec_stop(m);
    machine_free(m);
    flat_free(f);
    assert_int_equal(replay_file(&r, path2, FAULT_NONE, NULL), 0);
    assert_true(trace_stats(r.p)->truncated);
    assert_true(trace_stats(r.p)->requests[IO_PIO] >= 40);
    replay_end(&r);
    free(bytes);
}

static void test_events_survive_the_codec(void **state)
{
    struct state_buf b = { 0 };
    struct trace_delta in_delta = { 0 }, out_delta = { 0 };
    static const uint8_t data[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    size_t at = 0;

    (void)state;
    for (unsigned kind = 2; kind < TR_KINDS; kind++) {
        struct trace_event ev = { .kind = (enum trace_kind)kind,
                                  .flag = 3,
                                  .ns = kind * 1000,
                                  .gpa = UINT64_MAX - kind,
                                  .len = 8,
                                  .num = 4,
                                  .val = UINT64_MAX,
                                  .sval = INT64_MIN,
                                  .bytes = data,
                                  .name = "" };

        ev.hash = trace_hash(data, 8);
        trace_encode(&b, &in_delta, &ev, 5);
    }
    for (unsigned kind = 2; kind < TR_KINDS; kind++) {
        struct trace_event ev;
        uint64_t name;

        assert_true(trace_decode(b.p, b.len, &at, &out_delta, &ev, &name));
        assert_int_equal(ev.kind, kind);
        if (trace_is_input(ev.kind)) {
            assert_int_equal(ev.ns, kind * 1000);
        }
        assert_true(!ev.gpa || ev.gpa == UINT64_MAX - kind);
        assert_true(!ev.sval || ev.sval == INT64_MIN);
        assert_true(!ev.bytes || !memcmp(ev.bytes, data, 8));
        assert_true(name == 5 || name == UINT64_MAX);
    }
    assert_int_equal(at, b.len);
    free(b.p);
}

static void test_recording_starts_with_the_machine_or_not_at_all(void **state)
{
    struct flat_host *f = flat_new(0);
    struct machine *m = machine_new("toy", &flat_host_ops, f);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(trace_rec_start(m, "/nonexistent/x.ktr", options, 2, &e), -2);
    assert_string_equal(e.msg, "/nonexistent/x.ktr: No such file or directory");
    machine_set_run_state(m, RUN_RUNNING);
    flat_advance(f, m, 1);
    assert_int_equal(trace_rec_start(m, path, options, 2, &e), -16);
    assert_null(m->rec);
    trace_rec_stop(m);
    machine_free(m);
    flat_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay_of_same_device_agrees),
        cmocka_unit_test(test_replay_of_wrong_device_names_the_difference),
        cmocka_unit_test(test_replay_with_other_hidden_state_differs_at_the_end),
        cmocka_unit_test(test_recording_a_replay_gives_the_same_file),
        cmocka_unit_test(test_options_survive),
        cmocka_unit_test(test_show_gives_the_lines_asked_for),
        cmocka_unit_test(test_compare_finds_the_first_other_event),
        cmocka_unit_test(test_every_truncation_replays_or_is_refused),
        cmocka_unit_test(test_flipped_bits_never_pass_unnoticed_in_frames),
        cmocka_unit_test(test_killed_recorder_leaves_all_but_the_last_second),
        cmocka_unit_test(test_events_survive_the_codec),
        cmocka_unit_test(test_recording_starts_with_the_machine_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
