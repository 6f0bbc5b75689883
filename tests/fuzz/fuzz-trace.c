/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-trace.c - hostile traces, replayed on a machine with a disk, a serial port and a
 * keyboard.
 *
 * The first byte says what the rest is: a file; the contents of a frame that is whole otherwise; or
 * events, 16 bytes each, that a writer puts into a file after the start of a disk read. Whatever
 * it is, the player comes back with an answer, and with a sentence when the file is at fault.
 */
#include "dm/record.h"

#include "block/blk.h"
#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/ev.h"
#include "hw/char/uart16550.h"
#include "hw/ide/ide.h"
#include "hw/input/i8042.h"
#include "hw/pci/i440fx.h"
#include "ioreq/trace-int.h"
#include "ui/con.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "drive.hd", "stream.serial0", "screen", "machine" };

/* ---- the file ---- */

/* An input that one of the back ends could have had, more or less. */
static void make_input(struct trace_event *ev, const uint8_t *p, const uint8_t *data, size_t size)
{
    static const uint16_t tags[][4] = {
        { 17, 18, 19, 20 }, { 4, 0x104, 5, 6 }, { 0, 1, 1, 2 }, { 1, 2, 16, 3 }
    };
    static const uint16_t lens[] = { 8, 520, 1, 9, 16, 4, 0, 300 };
    static uint8_t bytes[520];

    ev->kind = TR_INPUT;
    ev->num = tags[p[1] % 4][p[2] % 4];
    ev->len = lens[p[3] % 8];
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, data, size < sizeof(bytes) ? size : sizeof(bytes));
    if (ev->num == 17) {
        store_le(bytes, 8, (p[4] & 3u) | (uint64_t)(p[4] & 4 ? (uint32_t)-5 : 0) << 32);
    }
    ev->bytes = bytes;
}

static void make_request(struct trace_event *ev, const uint8_t *p)
{
    static const uint16_t ports[] = { 0x1f0, 0x1f7, 0x1f2, 0x1f6, 0x3f6, 0x3f8, 0x60, 0x64 };
    struct io_req *r = &ev->req;

    ev->kind = TR_REQUEST;
    r->space = p[2] < 0xe0 ? IO_PIO : p[2] % IO_SPACES;
    r->addr = r->space == IO_PIO   ? ports[p[1] % 8] + (p[2] & 7u)
              : r->space == IO_PCI ? PCI_CFG_ADDR(p[1], p[2])
                                   : load_le32(p + 8);
    r->data = load_le32(p + 12) >> (p[3] & 24);
    r->count = p[3] & 0x40 ? p[4] + 1u : 1u;
    r->size = (uint8_t)(1 << (p[5] & 3));
    r->write = p[6] & 3;
    r->df = p[6] & 4;
    r->data_is_ptr = (p[6] & 0x18) == 0x18;
}

static struct trace_event event_of(const uint8_t *p, const uint8_t *data, size_t size)
{
    struct trace_event ev = { .name = names[p[1] % 4], .flag = p[2], .none = p[2] & 1 };

    ev.kind = (enum trace_kind)(2 + p[0] % (TR_KINDS - 2));
    ev.num = p[3] & 7;
    ev.val = p[4];
    ev.sval = (int8_t)p[5];
    ev.gpa = load_le32(p + 8);
    ev.bytes = data;
    ev.len = p[4] < size ? p[4] : size;
    if (p[0] < 0x80) {
        make_request(&ev, p);
    } else if (p[0] < 0xd0) {
        make_input(&ev, p, data, size);
    }
    ev.ns = (int64_t)p[6] << (p[7] & 31);
    ev.hash = trace_hash(ev.bytes, ev.len);
    return ev;
}

static void put_write(struct trace_writer *w, unsigned port, unsigned val)
{
    struct trace_event ev = { .kind = TR_REQUEST, .name = "" };

    ev.req = (struct io_req){ .addr = port, .data = val, .count = 1, .size = 1, .write = true };
    trace_put(w, &ev);
}

static void put_answer(struct trace_writer *w)
{
    struct trace_event ev = { .kind = TR_ANSWER, .none = true, .name = "" };

    trace_put(w, &ev);
}

/* READ SECTORS of one sector: the disk request is in flight afterwards. */
static void put_disk_read(struct trace_writer *w)
{
    static const uint8_t regs[][2] = { { 6, 0xe0 }, { 2, 1 }, { 3, 5 }, { 4, 0 }, { 5, 0 } };
    static const uint8_t range[10] = { 5, 0, 0, 0, 0, 0, 1 };
    struct trace_event out = { .kind = TR_OUTPUT, .name = "drive.hd", .bytes = range, .len = 10 };

    for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
        put_write(w, 0x1f0 + regs[i][0], regs[i][1]);
        put_answer(w);
    }
    put_write(w, 0x1f7, 0x20);
    out.hash = trace_hash(range, 10);
    trace_put(w, &out);
    put_answer(w);
}

static void write_events(const char *path, const uint8_t *data, size_t size)
{
    struct trace_writer *w = trace_writer_new(path, NULL, 0, NULL);
    struct trace_event run = { .kind = TR_RUN_STATE, .num = RUN_RUNNING, .name = "" };

    assert(w);
    trace_put(w, &run);
    put_disk_read(w);
    for (; size >= 16; data += 16, size -= 16) {
        struct trace_event ev = event_of(data, data + 16, size - 16);

        trace_put(w, &ev);
        if (ev.kind == TR_REQUEST && ev.req.write && (data[2] & 7)) {
            put_answer(w); /* so that the rest is reached */
        }
    }
    trace_writer_close(w);
}

static void write_frame(int fd, const uint8_t *data, size_t size)
{
    uint8_t head[12] = { 'K', 'T', 'R', '1', 1 }, frame[40] = { 'F', 'R', 'A', 'M' };
    struct state_buf raw = { 0 };
    struct trace_delta d = { 0 };
    size_t room, n;
    uint8_t *z;

    for (unsigned i = 0; i < 4; i++) {
        struct trace_event ev = { .kind = TR_NAME, .num = i, .bytes = (const uint8_t *)names[i] };

        ev.len = strlen(names[i]);
        trace_encode(&raw, &d, &ev, 0);
    }
    state_put(&raw, data, size);
    room = ZSTD_compressBound(raw.len);
    z = malloc(room);
    n = ZSTD_compress(z, room, raw.p, raw.len, 1);
    store_le(frame + 4, 4, n);
    store_le(frame + 8, 4, raw.len);
    store_le(frame + 12, 4, 1 + size / 2);
    store_le(frame + 32, 8, trace_hash(frame, 32) ^ trace_hash(z, n));
    assert(write(fd, head, 12) == 12 && write(fd, frame, 40) == 40);
    assert(write(fd, z, n) == (ssize_t)n);
    free(z);
    free(raw.p);
}

/* ---- the machine ---- */

static long nowhere(struct chr *c, const void *buf, size_t len)
{
    (void)c;
    (void)buf;
    return (long)len;
}

static const struct chr_ops wire_ops = { .kind = "fuzz", .write = nowhere };

static void start(struct device *d)
{
    struct err e = { 0 };

    if (dev_init(d, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
}

static void add_chips(struct machine *m, struct blk *blk, struct chr *chr, struct con *con)
{
    struct device *d;

    start(dev_new(m, &i440fx_class, NULL));
    start(dev_new(m, &piix3_ide_class, NULL));
    d = dev_new(m, &ide_hd_class, NULL);
    dev_set_str(d, "bus", "ide.0");
    dev_set_u32(d, "unit", 0);
    dev_set_ptr(d, "drive", blk);
    start(d);
    d = dev_new(m, &uart_class, NULL);
    dev_set_ptr(d, "chardev", chr);
    start(d);
    d = dev_new(m, &i8042_class, NULL);
    dev_set_ptr(d, "con", con);
    start(d);
}

static void replay(struct trace_play *p)
{
    struct machine *m = machine_new("fuzz", &trace_play_host, p);
    struct ev_loop *loop = ev_loop_new(NULL, NULL, NULL);
    struct blk *blk = blk_new(loop, "hd");
    struct con *con = con_new();
    struct chr chr = { .ops = &wire_ops, .id = (char *)"serial0", .open = true };
    struct trace_diff diff;
    struct err e = { 0 };
    struct taps *t;
    int ret;

    blk_set_image(blk, replay_image(1 << 20, false));
    add_chips(m, blk, &chr, con);
    t = taps_new(m, p);
    taps_drive(t, blk);
    taps_chr(t, &chr);
    taps_con(t, con);
    ret = trace_run(p, m, 0, &diff, &e);
    assert(ret == 0 || (ret == 1 && diff.differs && diff.text[0]) || (ret < 0 && e.msg[0]));
    taps_free(t);
    machine_free(m);
    blk_free(blk);
    con_free(con);
    ev_loop_free(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { 0 };
    struct trace_play *p;
    char path[32];
    int fd;

    if (!size) {
        return 0;
    }
    fd = memfd_create("trace", MFD_CLOEXEC);
    assert(fd >= 0);
    log_set_level(LOG_ERROR);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (data[0] % 8 == 7) {
        assert(write(fd, data + 1, size - 1) == (ssize_t)size - 1);
    } else if (data[0] % 8 == 6) {
        write_frame(fd, data + 1, size - 1);
    } else {
        write_events(path, data + 1, size - 1);
    }
    p = trace_open(path, &e);
    assert(p || e.msg[0]);
    if (p) {
        replay(p);
    }
    trace_close(p);
    close(fd);
    return 0;
}
