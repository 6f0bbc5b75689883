/* SPDX-License-Identifier: MIT */
/* Firmware configuration: the port, the directory, DMA. */
#include "flat-pc.h"

#include "dm/base/bytes.h"
#include "hw/nvram/fw-cfg.h"

#include <errno.h>

struct rig {
    struct flat_pc pc;
    struct device *d;
    unsigned fills;
};

static void make(struct rig *r)
{
    *r = (struct rig){ 0 };
    pc_make(&r->pc, false);
    r->d = pc_add(&r->pc, &fw_cfg_class);
}

static void read_port(struct rig *r, unsigned key, void *to, unsigned n)
{
    out(&r->pc, 0x510, 2, key);
    for (unsigned i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = (uint8_t)in(&r->pc, 0x511, 1);
    }
}

/* The control word that the device leaves. */
static uint32_t dma(struct rig *r, uint32_t control, uint32_t len, uint64_t to)
{
    uint8_t *req = r->pc.f->ram + 0x1000;
    store_be32(req, control);
    store_be32(req + 4, len);
    store_be64(req + 8, to);
    out(&r->pc, 0x514, 4, 0);
    out(&r->pc, 0x518, 4, __builtin_bswap32(0x1000));
    return load_be32(req);
}

static void test_fw_cfg_when_read_by_bytes_then_signature_items_and_zeros_behind(void **state)
{
    struct rig r;
    uint8_t b[8];
    (void)state;
    make(&r);
    read_port(&r, FW_CFG_SIGNATURE, b, 6);
    assert_memory_equal(b, "QEMU\0\0", 6);
    read_port(&r, FW_CFG_ID, b, 4);
    assert_int_equal(load_le32(b), 3);
    fw_cfg_add_u16(r.d, FW_CFG_NB_CPUS, 4);
    read_port(&r, FW_CFG_NB_CPUS, b, 3);
    assert_int_equal(b[0] | b[1] << 8 | b[2] << 16, 4);
    read_port(&r, 0x1234, b, 1);
    assert_int_equal(b[0], 0);
    assert_int_equal(in(&r.pc, 0x514, 4), 0x554d4551); /* "QEMU" */
    pc_free(&r.pc);
}

static void test_fw_cfg_when_files_are_added_then_the_directory_lists_them(void **state)
{
    struct rig r;
    struct err e = { 0 };
    uint8_t dir[4 + 2 * 64], b[4];
    char name[80];
    (void)state;
    make(&r);
    assert_int_equal(fw_cfg_add_file(r.d, "opt/a", "xyz", 3, &e), 0);
    assert_int_equal(fw_cfg_add_file(r.d, "opt/b", "", 0, &e), 0);
    assert_int_equal(fw_cfg_add_file(r.d, "opt/a", "XYZW", 4, &e), 0); /* replaced */
    read_port(&r, FW_CFG_FILE_DIR, dir, sizeof(dir));
    assert_int_equal(load_be32(dir), 2);
    assert_int_equal(load_be32(dir + 4), 4);
    assert_string_equal((char *)dir + 12, "opt/a");
    assert_string_equal((char *)dir + 76, "opt/b");
    read_port(&r, load_be16(dir + 8), b, 4);
    assert_memory_equal(b, "XYZW", 4);
    memset(name, 'n', sizeof(name));
    name[56] = '\0';
    assert_int_equal(fw_cfg_add_file(r.d, name, "", 0, &e), -EINVAL);
    name[55] = '\0';
    assert_int_equal(fw_cfg_add_file(r.d, name, "", 0, &e), 0);
    assert_int_equal(fw_cfg_add_file(r.d, "", "", 0, &e), -EINVAL);
    for (unsigned i = 3; i < FW_CFG_FILES_MAX; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        assert_int_equal(fw_cfg_add_file(r.d, name, "", 0, &e), 0);
    }
    assert_int_equal(fw_cfg_add_file(r.d, "more", "", 0, &e), -ENOSPC);
    pc_free(&r.pc);
}

static void test_fw_cfg_when_dma_then_select_skip_read_and_zeros(void **state)
{
    struct rig r;
    uint8_t *ram;
    (void)state;
    make(&r);
    ram = r.pc.f->ram;
    fw_cfg_add(r.d, 0x40, "0123456789", 10);
    assert_int_equal(dma(&r, 0x40u << 16 | 8 | 4, 3, 0), 0); /* select, skip */
    memset(ram + 0x2000, 0xaa, 16);
    assert_int_equal(dma(&r, 2, 4, 0x2000), 0);
    assert_memory_equal(ram + 0x2000, "3456\xaa", 5);
    assert_int_equal(dma(&r, 2, 6, 0x2000), 0);
    assert_memory_equal(ram + 0x2000, "789\0\0\0\xaa", 7);
    pc_free(&r.pc);
}

static void test_fw_cfg_when_dma_is_hostile_then_error_and_nothing_else(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    fw_cfg_add(r.d, 0x40, "0123456789", 10);
    assert_int_equal(dma(&r, 0x40u << 16 | 8 | 2, 10, 0xffffffffffffffffull), 1);
    assert_int_equal(dma(&r, 0x40u << 16 | 8 | 2, 0xffffffff, 0xff000), 1);
    assert_int_equal(dma(&r, 0x10, 4, 0x2000), 1); /* nothing can be written */
    out(&r.pc, 0x514, 4, 0xffffffff);              /* a request outside RAM */
    out(&r.pc, 0x518, 4, 0xffffffff);
    out(&r.pc, 0x514, 1, 0);
    pc_free(&r.pc);
}

static void fill(void *o)
{
    struct rig *r = o;
    struct err e;
    r->fills++;
    fw_cfg_add_file(r->d, "late", "new", 3, &e);
}

static void test_fw_cfg_when_selected_then_late_content_is_made(void **state)
{
    struct rig r;
    struct err e;
    uint8_t b[3];
    (void)state;
    make(&r);
    fw_cfg_add_file(r.d, "late", "old", 3, &e);
    fw_cfg_on_select(r.d, "late", fill, &r);
    read_port(&r, FW_CFG_FILE_FIRST, b, 3);
    assert_memory_equal(b, "new", 3);
    assert_int_equal(r.fills, 1);
    pc_free(&r.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fw_cfg_when_read_by_bytes_then_signature_items_and_zeros_behind),
        cmocka_unit_test(test_fw_cfg_when_files_are_added_then_the_directory_lists_them),
        cmocka_unit_test(test_fw_cfg_when_dma_then_select_skip_read_and_zeros),
        cmocka_unit_test(test_fw_cfg_when_dma_is_hostile_then_error_and_nothing_else),
        cmocka_unit_test(test_fw_cfg_when_selected_then_late_content_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
