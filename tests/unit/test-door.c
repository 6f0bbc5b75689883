/* SPDX-License-Identifier: MIT */
/* tests/unit/test-door.c - ioreq_run: dispatch, splitting, repeats, string I/O, refusals. */
#include "tests/unit/toy.h"

struct rig {
    struct flat_host *f;
    struct machine *m;
    struct toy *t;
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->m = toy_machine(&r->f, 1 << 20);
    r->t = toy_new(r->m, 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    machine_free(r->m);
    flat_free(r->f);
    free(r);
    return 0;
}

static void assert_call(const struct toy *t, unsigned i, bool write, uint64_t off, unsigned size,
                        uint64_t val)
{
    assert_true(i < t->ncalls);
    assert_int_equal(t->calls[i].write, write);
    assert_int_equal(t->calls[i].off, off);
    assert_int_equal(t->calls[i].size, size);
    if (write) {
        assert_int_equal(t->calls[i].val, val);
    }
}

static void test_door_item_inside_a_region_arrives_whole(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    assert_int_equal(io_read(r->m, IO_PIO, 0x103, 4), 0x06050403);
    io_write(r->m, IO_PIO, 0x10f, 1, 0xab12);
    io_write(r->m, IO_PIO, 0x100, 2, 0xfff1234);
    assert_int_equal(r->t->ncalls, 3);
    assert_call(r->t, 0, false, 3, 4, 0);
    assert_call(r->t, 1, true, 15, 1, 0x12);
    assert_call(r->t, 2, true, 0, 2, 0x1234);
    toy_map(r->t, 1, &toy_ops, IO_PIO, 0x201, 5);
    assert_int_equal(io_read(r->m, IO_PIO, 0x202, 4), 0x04030201); /* to the last byte */
    assert_call(r->t, 3, false, 1, 4, 0);
    assert_int_equal(io_stats(r->m)->requests[IO_PIO], 4);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_PIO], 0);
}

static void test_door_nobody_there_floats_and_is_counted(void **state)
{
    struct rig *r = *state;
    assert_int_equal(io_read(r->m, IO_PIO, 0x80, 1), 0xff);
    assert_int_equal(io_read(r->m, IO_PIO, 0x80, 2), 0xffff);
    assert_int_equal(io_read(r->m, IO_PIO, 0x80, 4), 0xffffffff);
    assert_int_equal(io_read(r->m, IO_MMIO, 0xfee00000, 8), UINT64_MAX);
    assert_int_equal(io_read(r->m, IO_PCI, PCI_CFG_ADDR(8, 0), 4), 0xffffffff);
    io_write(r->m, IO_PIO, 0x80, 1, 0);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_PIO], 4);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_MMIO], 1);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_PCI], 1);
}

static void test_door_wide_item_is_cut_to_max_size_lowest_first(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_byte_ops, IO_PIO, 0x100, 16);
    assert_int_equal(io_read(r->m, IO_PIO, 0x102, 4), 0x05040302);
    for (unsigned i = 0; i < 4; i++) {
        assert_call(r->t, i, false, 2 + i, 1, 0);
    }
    r->t->ncalls = 0;
    io_write(r->m, IO_PIO, 0x104, 4, 0x44332211);
    assert_int_equal(r->t->ncalls, 4);
    assert_call(r->t, 0, true, 4, 1, 0x11);
    assert_call(r->t, 3, true, 7, 1, 0x44);
}

static void test_door_eight_bytes_arrive_as_two_unless_the_region_takes_them(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_MMIO, 0xf0000000, 4096);
    toy_map(r->t, 1, &toy_wide_ops, IO_MMIO, 0xf0001000, 4096);
    assert_int_equal(io_read(r->m, IO_MMIO, 0xf0000008, 8), toy_pattern(8, 8));
    assert_int_equal(r->t->ncalls, 2);
    assert_call(r->t, 0, false, 8, 4, 0);
    assert_call(r->t, 1, false, 12, 4, 0);
    assert_int_equal(io_read(r->m, IO_MMIO, 0xf0001008, 8), toy_pattern(8, 8));
    assert_call(r->t, 2, false, 8, 8, 0);
}

static void test_door_unaligned_item_too_wide_is_cut_naturally(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_word_ops, IO_PIO, 0x100, 16);
    assert_int_equal(io_read(r->m, IO_PIO, 0x101, 4), 0x04030201);
    assert_int_equal(r->t->ncalls, 3);
    assert_call(r->t, 0, false, 1, 1, 0);
    assert_call(r->t, 1, false, 2, 2, 0);
    assert_call(r->t, 2, false, 4, 1, 0);
}

static void test_door_straddling_item_reaches_both_regions(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 3);
    toy_map(r->t, 1, &toy_ops, IO_PIO, 0x103, 8);
    assert_int_equal(io_read(r->m, IO_PIO, 0x102, 4), 0x02010002);
    assert_call(r->t, 0, false, 2, 1, 0);
    assert_call(r->t, 1, false, 0, 1, 0);
    assert_call(r->t, 2, false, 1, 2, 0);
    assert_int_equal(r->t->ncalls, 3);
}

static void test_door_partly_unclaimed_item_floats_there_and_counts_once(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_MMIO, 0x1000, 2);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, 0x1006, 2);
    assert_int_equal(io_read(r->m, IO_MMIO, 0x1000, 8), 0x0100ffffffff0100);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_MMIO], 1);
    io_write(r->m, IO_MMIO, 0x0ffe, 8, 0x8877665544332211);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_MMIO], 3);
    assert_call(r->t, 2, true, 0, 2, 0x4433);
    assert_int_equal(r->t->ncalls, 3);
}

static void test_door_last_port_does_not_wrap(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0xfffe, 16);
    toy_map(r->t, 1, &toy_ops, IO_PIO, 0, 16);
    assert_int_equal(io_read(r->m, IO_PIO, 0xffff, 4), 0xffffff01);
    assert_int_equal(r->t->ncalls, 1);
}

static void test_door_top_of_memory_does_not_wrap(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_MMIO, UINT64_MAX - 15, 16);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, 0, 16);
    assert_int_equal(io_read(r->m, IO_MMIO, UINT64_MAX - 1, 4), 0xffff0f0e);
    assert_int_equal(r->t->ncalls, 1);
}

static void test_door_config_access_never_crosses_a_dword(void **state)
{
    struct rig *r = *state;
    uint64_t cfg = PCI_CFG_ADDR(0x18, 0);
    toy_map(r->t, 0, &toy_wide_ops, IO_PCI, cfg, 256);
    assert_int_equal(io_read(r->m, IO_PCI, cfg | 2, 4), 0x05040302);
    assert_call(r->t, 0, false, 2, 2, 0);
    assert_call(r->t, 1, false, 4, 2, 0);
    assert_int_equal(io_read(r->m, IO_PCI, cfg | 8, 8), toy_pattern(8, 8));
    assert_call(r->t, 2, false, 8, 4, 0);
    assert_call(r->t, 3, false, 12, 4, 0);
    assert_int_equal(io_read(r->m, IO_PCI, cfg | 256, 4), 0xffffffff);
    assert_int_equal(io_read(r->m, IO_PCI, PCI_CFG_ADDR(0x19, 0), 4), 0xffffffff);
}

static void test_door_refuses_what_no_hardware_issues(void **state)
{
    struct rig *r = *state;
    static const struct io_req bad[] = {
        { .addr = 0x10000, .size = 1, .count = 1, .space = IO_PIO },
        { .addr = UINT64_MAX, .size = 1, .count = 1, .space = IO_PIO },
        { .addr = 0x100, .size = 0, .count = 1, .space = IO_PIO },
        { .addr = 0x100, .size = 3, .count = 1, .space = IO_PIO },
        { .addr = 0x100, .size = 16, .count = 1, .space = IO_PIO },
        { .addr = 0x100, .size = 255, .count = 1, .space = IO_PIO },
        { .addr = 0x100, .size = 1, .count = 0, .space = IO_PIO },
        { .addr = 0x100, .size = 1, .count = IO_REQ_MAX_COUNT + 1, .space = IO_PIO },
        { .addr = 0x100, .size = 1, .count = UINT32_MAX, .space = IO_PIO },
        { .addr = 0x100, .size = 1, .count = 1, .space = IO_SPACES },
        { .addr = 0x100, .size = 1, .count = 1, .space = 255 },
        { .addr = PCI_CFG_ADDR(0, 4096), .size = 1, .count = 1, .space = IO_PCI },
    };
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    toy_map(r->t, 1, &toy_ops, IO_PCI, 0, 1 << 16);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct io_req req = bad[i];
        req.data = 0x1234;
        req.write = i & 1;
        assert_int_equal(ioreq_run(r->m, &req), -EINVAL);
        assert_true(req.data == UINT64_MAX);
    }
    assert_int_equal(r->t->ncalls, 0);
    assert_int_equal(io_stats(r->m)->refused, ARRAY_SIZE(bad));
    assert_int_equal(io_read(r->m, IO_PIO, 0x100, 3), 0xffffff);
}

static void reenter(struct toy *t, const struct toy_call *c)
{
    struct io_req req = { .addr = 0x100, .size = 4, .count = 1, .space = IO_PIO };
    (void)c;
    t->user = (uint64_t)ioreq_run(t->dev.m, &req);
    assert_true(req.data == UINT64_MAX);
    assert_int_equal(io_read(t->dev.m, IO_PIO, 0x100, 2), 0xffff);
}

static void test_door_from_inside_a_callback_is_refused(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    r->t->hook = reenter;
    assert_int_equal(io_read(r->m, IO_PIO, 0x100, 1), 0);
    assert_int_equal((int64_t)r->t->user, -EDEADLK);
    assert_int_equal(r->t->ncalls, 1);
    r->t->hook = NULL;
    assert_int_equal(io_read(r->m, IO_PIO, 0x104, 1), 4);
}

static void move_window(struct toy *t, const struct toy_call *c)
{
    if (c->write) {
        region_map(&t->win[0], c->val);
    }
}

static void test_door_device_may_move_its_window_from_a_callback(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_word_ops, IO_PIO, 0x100, 16);
    r->t->hook = move_window;
    io_write(r->m, IO_PIO, 0x100, 4, 0x0300); /* the high half finds the window gone */
    assert_int_equal(r->t->ncalls, 1);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_PIO], 1);
    assert_int_equal(io_read(r->m, IO_PIO, 0x100, 1), 0xff);
    assert_int_equal(io_read(r->m, IO_PIO, 0x301, 1), 1);
}

static void unmap_window(struct toy *t, const struct toy_call *c)
{
    (void)c;
    region_unmap(&t->win[0]);
}

static void test_door_window_unmapped_in_the_middle_of_a_repeat(void **state)
{
    struct rig *r = *state;
    struct io_req req = { .addr = 0x100, .size = 1, .count = 5, .space = IO_PIO };
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    r->t->hook = unmap_window;
    assert_int_equal(ioreq_run(r->m, &req), 0);
    assert_int_equal(req.data, 0xff);
    assert_int_equal(r->t->ncalls, 1);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_PIO], 4);
}

static void test_door_port_repeats_stay_mmio_repeats_step(void **state)
{
    struct rig *r = *state;
    struct io_req pio = {
        .addr = 0x100, .data = 7, .size = 2, .count = 3, .space = IO_PIO, .write = true
    };
    struct io_req mmio = { .addr = 0x1008, .size = 4, .count = 3, .space = IO_MMIO, .df = true };
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, 0x1000, 16);
    assert_int_equal(ioreq_run(r->m, &pio), 0);
    assert_int_equal(ioreq_run(r->m, &mmio), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_call(r->t, i, true, 0, 2, 7);
        assert_call(r->t, 3 + i, false, 8 - 4 * i, 4, 0);
    }
    assert_int_equal(r->t->ncalls, 6);
    assert_int_equal(mmio.data, 0x03020100);
}

static void test_door_mmio_steps_out_of_64_bits_float(void **state)
{
    struct rig *r = *state;
    struct io_req down = { .addr = 4, .size = 4, .count = 3, .space = IO_MMIO, .df = true };
    struct io_req up = { .addr = UINT64_MAX - 7, .size = 4, .count = 4, .space = IO_MMIO };
    toy_map(r->t, 0, &toy_ops, IO_MMIO, 0, 16);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, UINT64_MAX - 15, 16);
    assert_int_equal(ioreq_run(r->m, &down), 0);
    assert_int_equal(r->t->ncalls, 2);
    assert_int_equal(down.data, 0xffffffff);
    assert_int_equal(ioreq_run(r->m, &up), 0);
    assert_int_equal(r->t->ncalls, 4);
    assert_int_equal(up.data, 0xffffffff);
    assert_int_equal(io_stats(r->m)->unclaimed[IO_MMIO], 3);
}

/* ---- string I/O ---- */

static uint64_t counter;

static uint64_t count_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d;
    (void)off;
    (void)size;
    return counter++;
}
static const struct region_ops count_ops = { count_read, toy_write, 4, NULL };

static int run_string(struct machine *m, uint64_t gpa, uint32_t count, uint8_t size, bool write,
                      bool df)
{
    struct io_req req = { .addr = 0x100,
                          .data = gpa,
                          .count = count,
                          .size = size,
                          .space = IO_PIO,
                          .write = write,
                          .df = df,
                          .data_is_ptr = true };
    int rc = ioreq_run(m, &req);
    assert_int_equal(req.data, gpa);
    return rc;
}

static void test_door_insw_fills_memory_in_order(void **state)
{
    struct rig *r = *state;
    counter = 0;
    toy_map(r->t, 0, &count_ops, IO_PIO, 0x100, 16);
    assert_int_equal(run_string(r->m, 0x1ff1, 5000, 2, false, false), 0);
    for (unsigned i = 0; i < 5000; i++) {
        uint16_t v;
        memcpy(&v, r->f->ram + 0x1ff1 + 2 * i, 2);
        assert_int_equal(v, i);
    }
    assert_int_equal(r->f->ram[0x1ff0], 0);
    assert_int_equal(r->f->ram[0x1ff1 + 10000], 0);
}

static void test_door_insd_downwards_fills_memory_backwards(void **state)
{
    struct rig *r = *state;
    counter = 0;
    toy_map(r->t, 0, &count_ops, IO_PIO, 0x100, 16);
    assert_int_equal(run_string(r->m, 0x8000, 3000, 4, false, true), 0);
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t v;
        memcpy(&v, r->f->ram + 0x8000 - 4 * i, 4);
        assert_int_equal(v, i);
    }
    assert_int_equal(r->f->ram[0x8004], 0);
}

static void test_door_outs_gives_the_device_items_in_order(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    for (unsigned i = 0; i < 4096; i++) {
        r->f->ram[0x3000 + i] = (uint8_t)(i * 7);
    }
    assert_int_equal(run_string(r->m, 0x3000, 2048, 2, true, false), 0);
    assert_int_equal(r->t->ncalls, 2048);
    for (unsigned i = 0; i < 2048; i++) {
        uint16_t v;
        memcpy(&v, r->f->ram + 0x3000 + 2 * i, 2);
        assert_call(r->t, i, true, 0, 2, v);
    }
    r->t->ncalls = 0;
    assert_int_equal(run_string(r->m, 0x3ffe, 2048, 2, true, true), 0);
    for (unsigned i = 0; i < 2048; i++) {
        uint16_t v;
        memcpy(&v, r->f->ram + 0x3ffe - 2 * i, 2);
        assert_call(r->t, i, true, 0, 2, v);
    }
}

static void test_door_string_into_a_hole_is_dropped_item_by_item(void **state)
{
    struct rig *r = *state;
    uint64_t end = 1 << 20; /* of RAM */
    counter = 1;
    toy_map(r->t, 0, &count_ops, IO_PIO, 0x100, 16);
    assert_int_equal(run_string(r->m, end - 10, 4, 4, false, false), 0);
    assert_int_equal(counter, 5);
    assert_int_equal(r->f->ram[end - 10], 1);
    assert_int_equal(r->f->ram[end - 6], 2);
    assert_int_equal(r->f->ram[end - 2], 0); /* half an item is no item */
    assert_int_equal(run_string(r->m, end + 4, 8, 4, false, true), 0);
    assert_int_equal(r->f->ram[end - 4], 7);
    assert_int_equal(r->f->ram[end - 24], 12);
}

static void test_door_string_from_a_hole_reads_ones(void **state)
{
    struct rig *r = *state;
    uint64_t end = 1 << 20;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    assert_int_equal(run_string(r->m, end - 4, 3, 2, true, false), 0);
    assert_call(r->t, 0, true, 0, 2, 0);
    assert_call(r->t, 1, true, 0, 2, 0);
    assert_call(r->t, 2, true, 0, 2, 0xffff);
    r->t->ncalls = 0;
    assert_int_equal(run_string(r->m, UINT64_MAX - 1, 3, 2, true, false), 0); /* and wraps */
    for (unsigned i = 0; i < 3; i++) {
        assert_call(r->t, i, true, 0, 2, 0xffff);
    }
    r->t->ncalls = 0;
    memset(r->f->ram, 0x11, 16);
    assert_int_equal(run_string(r->m, 2, 4, 2, true, true), 0); /* below zero */
    assert_call(r->t, 0, true, 0, 2, 0x1111);
    assert_call(r->t, 1, true, 0, 2, 0x1111);
    assert_call(r->t, 2, true, 0, 2, 0xffff);
    assert_call(r->t, 3, true, 0, 2, 0xffff);
}

static void test_door_insb_below_zero_is_dropped(void **state)
{
    struct rig *r = *state;
    counter = 1;
    toy_map(r->t, 0, &count_ops, IO_PIO, 0x100, 16);
    assert_int_equal(run_string(r->m, 2, 65536, 1, false, true), 0);
    assert_int_equal(counter, 65537);
    assert_int_equal(r->f->ram[2], 1);
    assert_int_equal(r->f->ram[0], 3);
    assert_int_equal(r->f->ram[3], 0);
}

static void test_door_mmio_string_moves_both_addresses(void **state)
{
    struct rig *r = *state;
    struct io_req req = { .addr = 0xf0000100,
                          .data = 0x4000,
                          .count = 40,
                          .size = 4,
                          .space = IO_MMIO,
                          .data_is_ptr = true };
    toy_map(r->t, 0, &toy_ops, IO_MMIO, 0xf0000000, 4096);
    assert_int_equal(ioreq_run(r->m, &req), 0);
    for (unsigned i = 0; i < 160; i++) {
        assert_int_equal(r->f->ram[0x4000 + i], i);
    }
    assert_call(r->t, 39, false, 0x100 + 39 * 4, 4, 0);
}

/* ---- flat_mem: the CPU's plain accesses ---- */

static void test_flat_mem_reaches_ram_devices_and_holes(void **state)
{
    struct rig *r = *state;
    uint8_t buf[16];
    toy_map(r->t, 0, &toy_ops, IO_MMIO, 0xa0000, 0x1000); /* hides RAM */
    memset(r->f->ram + 0x9fff8, 0x77, 8);
    flat_mem_read(r->m, 0x9fffc, buf, 8);
    assert_memory_equal(buf, ((uint8_t[]){ 0x77, 0x77, 0x77, 0x77, 0, 1, 2, 3 }), 8);
    flat_mem_write(r->m, 0xa0010, "\1\2\3\4", 4);
    assert_call(r->t, 1, true, 0x10, 4, 0x04030201);
    flat_mem_write(r->m, 0x9fffe, "abcdefg", 7); /* two to RAM, five as 4 and 1 */
    assert_memory_equal(r->f->ram + 0x9fffe, "ab", 2);
    assert_call(r->t, 2, true, 0, 4, 0x66656463);
    assert_call(r->t, 3, true, 4, 1, 'g');
    assert_int_equal(r->f->ram[0xa0000], 0);
    flat_mem_write(r->m, 0x9ffff, "wxyz", 4); /* one to RAM, three as 2 and 1 */
    assert_call(r->t, 4, true, 0, 2, 'x' | 'y' << 8);
    assert_call(r->t, 5, true, 2, 1, 'z');
    flat_mem_read(r->m, (1 << 20) - 2, buf, 4);
    assert_memory_equal(buf, "\0\0\xff\xff", 4);
    flat_mem_read(r->m, UINT64_MAX - 1, buf, 4);
    assert_memory_equal(buf, "\xff\xff\xff\xff", 4);
}

/* ---- several vCPUs ---- */

static void *hammer(void *opaque)
{
    struct rig *r = opaque;
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t off = i & 15;
        assert_int_equal(io_read(r->m, IO_PIO, 0x100 + off, 1), off);
        io_write(r->m, IO_MMIO, 0x1000 + off, 1, off);
    }
    return NULL;
}

static void count_and_arm(struct toy *t, const struct toy_call *c)
{
    (void)c;
    t->user++; /* races unless the lock is held */
    vtimer_arm(&t->timer, 10);
}

static void test_door_threads_take_turns(void **state)
{
    struct rig *r = *state;
    pthread_t th[2];
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0x100, 16);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, 0x1000, 16);
    r->t->hook = count_and_arm;
    for (unsigned i = 0; i < 2; i++) {
        pthread_create(&th[i], NULL, hammer, r);
    }
    for (unsigned i = 0; i < 200; i++) {
        machine_enter(r->m);
        region_unmap(&r->t->win[1]);
        region_map(&r->t->win[1], 0x1000);
        machine_leave(r->m);
        flat_advance(r->f, r->m, 1);
    }
    pthread_join(th[0], NULL);
    pthread_join(th[1], NULL);
    assert_int_equal(r->t->user, 8000);
}

/* ---- a vCPU that keeps the lock ---- */

struct asker {
    struct machine_keeper keeper;
    int asked;
};

static void note_ask(struct lock_keeper *k)
{
    struct asker *a = container_of(k, struct asker, keeper.lock);
    __atomic_fetch_add(&a->asked, 1, __ATOMIC_SEQ_CST);
}

static bool try_out(struct machine *m, struct asker *a)
{
    struct io_req req = { .addr = 0x80, .count = 1, .size = 1, .space = IO_PIO, .write = true };
    return ioreq_try(m, &a->keeper, &req);
}

/* So many requests that it keeps the lock if it may; more than machine.h's keeper needs. */
static void try_many(struct machine *m, struct asker *a)
{
    for (int i = 0; i < 1000; i++) {
        assert_true(try_out(m, a));
    }
}

static void *enter_and_leave(void *m)
{
    machine_enter(m);
    machine_leave(m);
    return NULL;
}

static void test_door_when_a_vcpu_asks_again_and_again_then_it_keeps_the_lock(void **state)
{
    struct rig *r = *state;
    struct asker a = { .keeper.lock.ask = note_ask };
    assert_true(try_out(r->m, &a));
    assert_false(a.keeper.keeps);
    try_many(r->m, &a);
    assert_true(a.keeper.keeps);
    assert_false(machine_try_enter(r->m));
    machine_give_back(r->m, &a.keeper);
    assert_false(a.keeper.keeps);
    assert_true(machine_try_enter(r->m));
    machine_leave(r->m);
    assert_int_equal(io_stats(r->m)->requests[IO_PIO], 1001);
}

static void test_door_when_others_have_the_lock_in_between_then_no_vcpu_keeps_it(void **state)
{
    struct rig *r = *state;
    struct asker a = { .keeper.lock.ask = note_ask }, b = a;
    for (int i = 0; i < 1000; i++) {
        assert_true(try_out(r->m, &a));
        if (i % 100 == 0) {
            enter_and_leave(r->m);
        }
    }
    assert_false(a.keeper.keeps);
    for (int i = 0; i < 1000; i++) {
        assert_true(try_out(r->m, &a));
        assert_true(try_out(r->m, &b));
    }
    assert_false(a.keeper.keeps || b.keeper.keeps);
}

static void test_door_when_the_lock_is_kept_then_who_wants_it_asks_and_gets_it(void **state)
{
    struct rig *r = *state;
    struct asker a = { .keeper.lock.ask = note_ask };
    try_many(r->m, &a);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, enter_and_leave, r->m), 0);
    while (!__atomic_load_n(&a.asked, __ATOMIC_SEQ_CST)) {
        assert_true(try_out(r->m, &a)); /* its own requests still go through */
    }
    machine_give_back(r->m, &a.keeper);
    pthread_join(t, NULL);
    assert_true(try_out(r->m, &a));
    assert_false(a.keeper.keeps); /* the run begins anew */
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_door_item_inside_a_region_arrives_whole),
        T(test_door_nobody_there_floats_and_is_counted),
        T(test_door_wide_item_is_cut_to_max_size_lowest_first),
        T(test_door_eight_bytes_arrive_as_two_unless_the_region_takes_them),
        T(test_door_unaligned_item_too_wide_is_cut_naturally),
        T(test_door_straddling_item_reaches_both_regions),
        T(test_door_partly_unclaimed_item_floats_there_and_counts_once),
        T(test_door_last_port_does_not_wrap),
        T(test_door_top_of_memory_does_not_wrap),
        T(test_door_config_access_never_crosses_a_dword),
        T(test_door_refuses_what_no_hardware_issues),
        T(test_door_from_inside_a_callback_is_refused),
        T(test_door_device_may_move_its_window_from_a_callback),
        T(test_door_window_unmapped_in_the_middle_of_a_repeat),
        T(test_door_port_repeats_stay_mmio_repeats_step),
        T(test_door_mmio_steps_out_of_64_bits_float),
        T(test_door_insw_fills_memory_in_order),
        T(test_door_insd_downwards_fills_memory_backwards),
        T(test_door_outs_gives_the_device_items_in_order),
        T(test_door_string_into_a_hole_is_dropped_item_by_item),
        T(test_door_string_from_a_hole_reads_ones),
        T(test_door_insb_below_zero_is_dropped),
        T(test_door_mmio_string_moves_both_addresses),
        T(test_door_threads_take_turns),
        T(test_door_when_a_vcpu_asks_again_and_again_then_it_keeps_the_lock),
        T(test_door_when_others_have_the_lock_in_between_then_no_vcpu_keeps_it),
        T(test_door_when_the_lock_is_kept_then_who_wants_it_asks_and_gets_it),
        T(test_flat_mem_reaches_ram_devices_and_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
