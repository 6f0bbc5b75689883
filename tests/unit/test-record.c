/* SPDX-License-Identifier: MIT */
/* tests/unit/test-record.c - a whole board recorded from its command line, and replayed without
 * its images, streams and hands: what every back end brings in is in the trace.
 */
#include "dm/backends.h"
#include "dm/board.h"
#include "dm/record.h"

#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/ev.h"
#include "dm/options.h"
#include "ioreq/flat.h"
#include "ui/con.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { COM1 = 0x3f8, IDE0 = 0x1f0, IDE1 = 0x170, PRD = 0x8000, BUFFER = 0x10000 };

static char dir[] = "/tmp/test-record-XXXXXX";
static char disk[80], cd[80], wire[80], trace[80], drive_disk[120], drive_cd[120], serial[120];

static char *const words[] = { "keel",   "-machine", "pc",   "-accel", "qtest",    "-m",
                               "16",     "-display", "none", "-drive", drive_disk, "-drive",
                               drive_cd, "-serial",  serial, "-vga",   "std" };

static void fill(const char *path, size_t len, int of)
{
    FILE *f = fopen(path, "wb");

    for (size_t i = 0; i < len; i++) {
        fputc((int)(i / 512 + i * 3) + of, f);
    }
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(disk, sizeof(disk), "%s/disk", dir);
    snprintf(cd, sizeof(cd), "%s/cd", dir);
    snprintf(wire, sizeof(wire), "%s/wire", dir);
    snprintf(trace, sizeof(trace), "%s/t.ktr", dir);
    snprintf(drive_disk, sizeof(drive_disk), "file=%s,format=raw,if=ide,index=0,id=hd", disk);
    snprintf(drive_cd, sizeof(drive_cd), "if=ide,index=2,media=cdrom,id=cd");
    snprintf(serial, sizeof(serial), "unix:%s,server,nowait", wire);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(disk);
    unlink(cd);
    unlink(wire);
    unlink(trace);
    return rmdir(dir);
}

/* ---- the recorded machine ---- */

struct bed {
    struct options o;
    struct ev_loop *loop;
    struct backends be;
    struct flat_host *f;
    struct machine *m;
    struct taps *taps;
    int peer; /* the other end of the serial line, -1: nobody */
};

static void lock(void *opaque)
{
    machine_enter(((struct bed *)opaque)->m);
}

static void unlock(void *opaque)
{
    machine_leave(((struct bed *)opaque)->m);
}

static void must(int ret, const struct err *e)
{
    if (ret < 0) {
        fail_msg("%s", e->msg);
    }
}

static void bed_make(struct bed *b)
{
    struct err e = { 0 };

    *b = (struct bed){ .peer = -1 };
    fill(disk, 1 << 20, 0);
    fill(cd, 64 << 10, 7);
    must(options_parse(&b->o, (int)ARRAY_SIZE(words), (char **)words, &e), &e);
    b->f = flat_new(16 << 20);
    b->m = machine_new(board_type(&b->o), &flat_host_ops, b->f);
    b->loop = ev_loop_new(lock, unlock, b);
    machine_enter(b->m);
    must(backends_open(&b->be, b->loop, &b->o, false, &e), &e);
    must(board_build(b->m, &b->o, &b->be, &e), &e);
    b->taps = record_start(b->m, &b->be, trace, (int)ARRAY_SIZE(words), (char **)words, &e);
    must(b->taps ? 0 : -1, &e);
    machine_set_run_state(b->m, RUN_RUNNING);
    machine_leave(b->m);
}

static void bed_free(struct bed *b)
{
    machine_enter(b->m);
    for (struct drive *d = b->be.drives; d; d = d->next) {
        blk_drain(d->blk);
    }
    record_stop(b->m, b->taps);
    machine_leave(b->m);
    machine_free(b->m);
    backends_close(&b->be);
    ev_loop_free(b->loop);
    options_free(&b->o);
    flat_free(b->f);
    if (b->peer >= 0) {
        close(b->peer);
    }
}

static bool disks_busy(struct bed *b)
{
    for (struct drive *d = b->be.drives; d; d = d->next) {
        if (blk_in_flight(d->blk) > 0) {
            return true;
        }
    }
    return false;
}

/* A flush takes as long as the host's disk takes. */
static void settle(struct bed *b)
{
    while (disks_busy(b)) {
        ev_loop_turn(b->loop, 100);
    }
    for (int i = 0; i < 20; i++) {
        ev_loop_turn(b->loop, 2);
        flat_advance(b->f, b->m, 200000);
    }
}

static void outb(struct bed *b, unsigned port, unsigned val)
{
    io_write(b->m, IO_PIO, port, 1, val);
}

static unsigned inb(struct bed *b, unsigned port)
{
    return (unsigned)io_read(b->m, IO_PIO, port, 1);
}

/* ---- what the guest does ---- */

static void ata(struct bed *b, unsigned base, unsigned lba, unsigned n, unsigned command)
{
    outb(b, base + 6, 0xe0);
    outb(b, base + 2, n);
    outb(b, base + 3, lba & 0xff);
    outb(b, base + 4, lba >> 8 & 0xff);
    outb(b, base + 5, lba >> 16 & 0xff);
    outb(b, base + 7, command);
}

static void use_disk(struct bed *b)
{
    struct io_req in = {
        .addr = IDE0, .data = 0x4000, .count = 256, .size = 2, .data_is_ptr = true
    };
    struct io_req out = in;

    out.write = true;
    ata(b, IDE0, 3, 1, 0x20); /* a sector by PIO */
    settle(b);
    assert_int_equal(inb(b, IDE0 + 7) & 0x88, 0x08);
    ioreq_run(b->m, &in);
    assert_int_equal(b->f->ram[0x4001], (uint8_t)(3 + (3 * 512 + 1) * 3));
    ata(b, IDE0, 9, 1, 0x30); /* and back to another place */
    ioreq_run(b->m, &out);
    settle(b);
    assert_int_equal(inb(b, IDE0 + 7) & 0x89, 0);
    ata(b, IDE0, 0xfffff, 1, 0x20); /* beyond the end */
    settle(b);
    assert_int_equal(inb(b, IDE0 + 7) & 1, 1);
    ata(b, IDE0, 0, 0, 0xe7);
    settle(b);
    inb(b, IDE0 + 7);
}

/* Bus master DMA: BAR 4 of 00:01.1 at 0xc000. */
static void use_dma(struct bed *b, unsigned command, unsigned direction)
{
    uint64_t ide = PCI_CFG_ADDR(9, 0);

    io_write(b->m, IO_PCI, ide | 0x20, 4, 0xc000);
    io_write(b->m, IO_PCI, ide | 4, 2, 5);
    io_write(b->m, IO_PCI, ide | 0x40, 4, 0x80008000);
    store_le(b->f->ram + PRD, 4, BUFFER);
    store_le(b->f->ram + PRD + 4, 4, 0x80000000u | 16 * 512);
    io_write(b->m, IO_PIO, 0xc004, 4, PRD);
    outb(b, 0xc000, direction);
    ata(b, IDE0, 100, 16, command);
    outb(b, 0xc000, direction | 1);
    settle(b);
    assert_int_equal(inb(b, 0xc002) & 7, 4);
    inb(b, IDE0 + 7);
    outb(b, 0xc000, 0);
    outb(b, 0xc002, 6);
}

static void insert_cd(struct bed *b)
{
    struct err e = { 0 };
    struct drive *d = drive_find(&b->be, "cd");
    struct blk_image *image;

    machine_enter(b->m);
    image = drive_open_image(&b->be, d, cd, true, &e);
    must(image ? 0 : -1, &e);
    blk_set_tray(d->blk, true);
    blk_set_image(d->blk, image);
    blk_set_tray(d->blk, false);
    machine_leave(b->m);
}

static void packet(struct bed *b, const uint8_t *bytes)
{
    outb(b, IDE1 + 6, 0xa0);
    outb(b, IDE1 + 1, 0);
    outb(b, IDE1 + 4, 0x00);
    outb(b, IDE1 + 5, 0x08);
    outb(b, IDE1 + 7, 0xa0);
    for (unsigned i = 0; i < 12; i += 2) {
        io_write(b->m, IO_PIO, IDE1, 2, load_le16(bytes + i));
    }
    settle(b);
    for (unsigned i = 0; (inb(b, IDE1 + 7) & 8) && i < 4096; i++) {
        io_read(b->m, IO_PIO, IDE1, 2);
        settle(b);
    }
}

static void use_cd(struct bed *b)
{
    static const uint8_t ready[12] = { 0 }, lock_it[12] = { 0x1e, 0, 0, 0, 1 };
    static const uint8_t events[12] = { 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8 };
    void *opaque;
    struct drive *d = drive_find(&b->be, "cd");

    packet(b, ready); /* no medium */
    insert_cd(b);
    packet(b, ready); /* changed */
    packet(b, ready);
    packet(b, lock_it);
    machine_enter(b->m);
    blk_user(d->blk, &opaque)->eject_request(opaque, false);
    machine_leave(b->m);
    packet(b, events);
}

static void use_serial(struct bed *b)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    char got[8];

    outb(b, COM1 + 3, 0x83); /* 115200 8N1 */
    outb(b, COM1, 1);
    outb(b, COM1 + 1, 0);
    outb(b, COM1 + 3, 3);
    outb(b, COM1 + 2, 7);
    outb(b, COM1 + 1, 5);
    outb(b, COM1, 'a'); /* nobody is there */
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", wire);
    b->peer = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(b->peer, (struct sockaddr *)&a, sizeof(a)), 0);
    settle(b);
    outb(b, COM1, 'b');
    settle(b);
    assert_int_equal(read(b->peer, got, sizeof(got)), 1);
    assert_int_equal(got[0], 'b');
    assert_int_equal(write(b->peer, "0123456789abcdefghijklmnopqrstuvwxyz", 36), 36);
    settle(b);
    for (unsigned i = 0; i < 200 && (inb(b, COM1 + 5) & 1); i++) {
        inb(b, COM1);
        settle(b);
    }
    close(b->peer);
    b->peer = -1;
    settle(b);
    inb(b, COM1 + 6);
}

static void use_keyboard(struct bed *b)
{
    outb(b, 0x64, 0x60);
    outb(b, 0x60, 0x47);
    outb(b, 0x60, 0xf4);
    machine_enter(b->m);
    con_key(b->be.con, 0x1e, true);
    con_key(b->be.con, 0x1e, false);
    con_motion(b->be.con, 3, -4, 0, 1);
    machine_leave(b->m);
    settle(b);
    for (unsigned i = 0; i < 8; i++) {
        inb(b, 0x64);
        inb(b, 0x60);
        settle(b);
    }
}

static void record_session(void)
{
    struct bed b;

    bed_make(&b);
    use_disk(&b);
    use_dma(&b, 0xc8, 8);
    assert_memory_equal(b.f->ram + BUFFER, "\x64", 1);
    use_dma(&b, 0xca, 0);
    use_cd(&b);
    use_serial(&b);
    use_keyboard(&b);
    machine_enter(b.m);
    taps_command(b.taps, TAPS_POWER_BUTTON, 0);
    machine_reset(b.m);
    machine_leave(b.m);
    use_disk(&b);
    bed_free(&b);
    unlink(disk);
    unlink(cd);
}

/* ---- tests ---- */

struct played {
    struct trace_play *p;
    struct replay *r;
    struct trace_diff diff;
    struct err e;
    int ret;
};

static struct played play(void)
{
    struct played w = { 0 };

    w.p = trace_open(trace, &w.e);
    must(w.p ? 0 : -1, &w.e);
    w.r = replay_new(w.p, &w.e);
    must(w.r ? 0 : -1, &w.e);
    return w;
}

static void played_free(struct played *w)
{
    replay_free(w->r);
    trace_close(w->p);
}

static void test_board_replays_without_its_back_ends(void **state)
{
    struct played w;

    (void)state;
    record_session();
    w = play();
    w.ret = trace_run(w.p, replay_machine(w.r), 0, &w.diff, &w.e);
    if (w.ret != 0) {
        fail_msg("%d %s%s", w.ret, w.diff.text, w.e.msg);
    }
    assert_false(trace_stats(w.p)->truncated);
    assert_true(trace_stats(w.p)->inputs > 20);
    assert_true(trace_stats(w.p)->lines > 10);
    played_free(&w);
}

static uint64_t (*true_read)(struct device *d, uint64_t off, unsigned size);

static uint64_t wrong_read(struct device *d, uint64_t off, unsigned size)
{
    return true_read(d, off, size) ^ (off == 7 ? 0x20 : 0);
}

/* Whoever answers port 0x1f7 there gets one bit of one register wrong. */
static void test_one_wrong_register_bit_is_found_and_named(void **state)
{
    struct played w;
    struct region_ops ops;
    size_t n;
    const struct region_span *s;

    (void)state;
    record_session();
    w = play();
    s = region_spans(replay_machine(w.r), IO_PIO, &n);
    while (IDE0 + 7 > s->last) {
        s++;
    }
    ops = *s->r->ops;
    true_read = ops.read;
    ops.read = wrong_read;
    s->r->ops = &ops;
    w.ret = trace_run(w.p, replay_machine(w.r), 0, &w.diff, &w.e);
    assert_int_equal(w.ret, 1);
    assert_int_equal(w.diff.expected ^ w.diff.got, 0x20);
    assert_non_null(strstr(w.diff.device, "ide"));
    assert_non_null(strstr(w.diff.where, "0x1f7"));
    print_message("%s\n", w.diff.text);
    played_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_board_replays_without_its_back_ends),
        cmocka_unit_test(test_one_wrong_register_bit_is_found_and_named),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
