/* SPDX-License-Identifier: MIT */
/* tests/unit/test-xen-platform.c - the unplug protocol, and the identity device beside it. */
#include "flat-pc.h"
#include "hw/xen/xen-platform.h"
#include "hw/xen/xen-pvdevice.h"

#include <errno.h>
#include <unistd.h>

#define DF PCI_DEVFN(2, 0)

struct board {
    unsigned disks, aux, nics;
};

static void disks(void *o, bool aux_only)
{
    struct board *b = o;

    b->disks += !aux_only;
    b->aux += aux_only;
}

static void nics(void *o)
{
    ((struct board *)o)->nics++;
}

static struct board board;
static struct xen_unplug hooks = { disks, nics, &board };

static struct device *start(struct flat_pc *pc, bool blacklisted)
{
    struct device *d;

    memset(&board, 0, sizeof(board));
    pc_make(pc, true);
    d = dev_new(pc->m, &xen_platform_class, NULL);
    dev_set_str(d, "addr", "2");
    dev_set_bool(d, "blacklisted", blacklisted);
    dev_set_ptr(d, "unplug", &hooks);
    return pc_start(d);
}

static void test_platform_identity_when_read_then_as_drivers_match(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, false);
    assert_int_equal(cfg(&pc, DF, 0, 4), 0x00015853);
    assert_int_equal(cfg(&pc, DF, 8, 4), 0xff800001);
    assert_int_equal(cfg(&pc, DF, 0x2c, 4), 0x00015853);
    assert_int_equal(cfg(&pc, DF, 0x3d, 1), 1);
    cfg_set(&pc, DF, 0x10, 4, 0xffffffff);
    cfg_set(&pc, DF, 0x14, 4, 0xffffffff);
    assert_int_equal(cfg(&pc, DF, 0x10, 4), 0xffffff01);
    assert_int_equal(cfg(&pc, DF, 0x14, 4), 0xff000008);
    pc_free(&pc);
}

static void test_platform_protocol_when_followed_then_unplugs(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, false);
    assert_int_equal(in(&pc, 0x10, 2), 0x49d2);
    assert_int_equal(in(&pc, 0x12, 1), 1);
    out(&pc, 0x12, 2, 1);
    out(&pc, 0x10, 4, 0x00ff00ff); /* a build number is not a mask */
    assert_int_equal(in(&pc, 0x10, 2), 0x49d2);
    assert_int_equal(board.disks + board.aux + board.nics, 0);
    out(&pc, 0x10, 2, 4);
    assert_int_equal(board.aux, 1);
    out(&pc, 0x10, 2, 0xfff8);
    assert_int_equal(board.disks + board.nics, 0);
    out(&pc, 0x10, 2, 7); /* bit 0 overrides bit 2 */
    assert_int_equal(board.disks, 1);
    assert_int_equal(board.aux, 1);
    assert_int_equal(board.nics, 1);
    pc_free(&pc);
}

static void test_platform_when_blacklisted_then_other_magic_after_build(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, true);
    assert_int_equal(in(&pc, 0x10, 2), 0x49d2);
    out(&pc, 0x12, 2, 1);
    out(&pc, 0x10, 4, 7);
    assert_int_equal(in(&pc, 0x10, 2), 0xd249);
    pc_free(&pc);
}

static void test_platform_bar0_when_old_protocol_then_unplugs(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, false);
    cfg_set(&pc, DF, 0x10, 4, 0xc200);
    cfg_set(&pc, DF, 4, 2, 1);
    out(&pc, 0xc204, 4, 2);
    out(&pc, 0xc208, 4, 3);
    assert_int_equal(board.disks + board.nics, 0);
    out(&pc, 0xc208, 1, 1);
    assert_int_equal(board.disks, 1);
    out(&pc, 0xc208, 1, 2);
    assert_int_equal(board.nics, 1);
    out(&pc, 0xc204, 1, 1);
    assert_int_equal(board.disks, 2);
    assert_int_equal(board.nics, 2);
    assert_int_equal(in(&pc, 0xc204, 4), 0xffffffff);
    pc_free(&pc);
}

static void test_platform_bar1_when_read_then_zero(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, false);
    cfg_set(&pc, DF, 0x14, 4, 0xf2000000);
    cfg_set(&pc, DF, 4, 2, 2);
    io_write(pc.m, IO_MMIO, 0xf2000000, 8, UINT64_MAX);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xf2000000, 8), 0);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xf2ffffff, 1), 0);
    pc_free(&pc);
}

/* From here to log_back the log goes to a file. */
static FILE *log_to_file(int *saved)
{
    FILE *f = tmpfile();

    assert_non_null(f);
    *saved = dup(2);
    dup2(fileno(f), 2);
    return f;
}

static size_t log_back(FILE *f, int saved, char *text, size_t len)
{
    size_t n;

    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    rewind(f);
    n = fread(text, 1, len - 1, f);
    text[n] = 0;
    fclose(f);
    return n;
}

static void test_platform_log_when_flooded_then_bounded(void **state)
{
    struct flat_pc pc;
    struct io_req q = {
        .addr = 0x12, .data = 'x', .count = 65536, .size = 1, .space = IO_PIO, .write = true
    };
    static char text[65536];
    int saved;
    FILE *f;
    size_t n;

    (void)state;
    start(&pc, false);
    f = log_to_file(&saved);
    for (const char *c = "hello from the driver\x1b[2J\n"; *c; c++) {
        out(&pc, 0x12, 1, (uint8_t)*c);
    }
    assert_int_equal(ioreq_run(pc.m, &q), 0);
    for (unsigned i = 0; i < 1000; i++) {
        out(&pc, 0x12, 1, '\n');
    }
    n = log_back(f, saved, text, sizeof(text));
    assert_non_null(strstr(text, "guest: hello from the driver?[2J\n"));
    assert_true(n < 4096); /* 66 KiB came in */
    pc_free(&pc);
}

static void test_platform_widths_when_odd_then_ones_and_ignored(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc, false);
    assert_int_equal(in(&pc, 0x10, 4), 0xffffffff);
    assert_int_equal(in(&pc, 0x11, 1), 0xff);
    assert_int_equal(in(&pc, 0x12, 2), 0xffff);
    assert_int_equal(in(&pc, 0x14, 4), 0xffffffff);
    out(&pc, 0x14, 2, 0xffff);
    out(&pc, 0x11, 2, 0xffff);
    assert_int_equal(board.disks + board.aux + board.nics, 0);
    out(&pc, 0x10, 1, 0xff);
    assert_int_equal(in(&pc, 0x10, 1), 1);
    pc_free(&pc);
}

static void test_platform_when_moved_then_still_unplugged(void **state)
{
    struct flat_pc a, b;

    (void)state;
    start(&a, true);
    out(&a, 0x10, 4, 7);
    out(&a, 0x10, 2, 2);
    start(&b, true);
    pc_move(&a, &b);
    assert_int_equal(board.nics, 1);
    assert_int_equal(board.disks, 0);
    assert_int_equal(in(&b, 0x10, 2), 0xd249);
    machine_enter(b.m);
    machine_reset(b.m);
    machine_leave(b.m);
    assert_int_equal(in(&b, 0x10, 2), 0x49d2);
    pc_free(&a);
    pc_free(&b);
}

static void test_pvdevice_when_xenserver_then_c000(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct err e = { 0 };

    (void)state;
    pc_make(&pc, true);
    d = dev_new(pc.m, &xen_pvdevice_class, NULL);
    assert_int_equal(dev_set_text(d, "device-id", "0xc000", &e), 0);
    pc_start(d);
    assert_int_equal(cfg(&pc, PCI_DEVFN(1, 0), 0, 4), 0xc0005853);
    assert_int_equal(cfg(&pc, PCI_DEVFN(1, 0), 8, 4), 0x08800001);
    cfg_set(&pc, PCI_DEVFN(1, 0), 0x14, 4, 0xffffffff);
    assert_int_equal(cfg(&pc, PCI_DEVFN(1, 0), 0x14, 4), 0xffc00008);
    pc_free(&pc);
}

static void test_pvdevice_when_bad_property_then_refused(void **state)
{
    static const struct {
        const char *prop, *text;
    } bad[] = { { "size", "3" },           { "size", "8" },
                { "size", "4G" },          { "device-id", "0x10000" },
                { "vendor-id", "0xffff" }, { "revision", "256" } };
    struct flat_pc pc;
    struct err e = { 0 };

    (void)state;
    pc_make(&pc, true);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct device *d = dev_new(pc.m, &xen_pvdevice_class, NULL);
        assert_int_equal(dev_set_text(d, bad[i].prop, bad[i].text, &e), 0);
        assert_int_equal(dev_init(d, &e), -EINVAL);
        dev_free(d);
    }
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_platform_identity_when_read_then_as_drivers_match),
        cmocka_unit_test(test_platform_protocol_when_followed_then_unplugs),
        cmocka_unit_test(test_platform_when_blacklisted_then_other_magic_after_build),
        cmocka_unit_test(test_platform_bar0_when_old_protocol_then_unplugs),
        cmocka_unit_test(test_platform_bar1_when_read_then_zero),
        cmocka_unit_test(test_platform_log_when_flooded_then_bounded),
        cmocka_unit_test(test_platform_widths_when_odd_then_ones_and_ignored),
        cmocka_unit_test(test_platform_when_moved_then_still_unplugged),
        cmocka_unit_test(test_pvdevice_when_xenserver_then_c000),
        cmocka_unit_test(test_pvdevice_when_bad_property_then_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
