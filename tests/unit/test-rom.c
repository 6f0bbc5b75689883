/* SPDX-License-Identifier: MIT */
/* tests/unit/test-rom.c - expansion ROMs: whose identity an image gets, and images that lie. */
#include "nic-rig.h"

enum { AT = 0xe0000000, UNIT = 512 };

/* An image of n units with its PCIR at 0x1c, its bytes adding up to 0. */
static void image(uint8_t *p, unsigned units, uint8_t type, bool last)
{
    uint8_t sum = 0;
    memset(p, 0x11, units * UNIT);
    store_le(p, 2, 0xaa55);
    p[2] = (uint8_t)units;
    store_le(p + 0x18, 2, 0x1c);
    memcpy(p + 0x1c, "PCIR\xff\xee\xdd\xcc", 8);
    store_le(p + 0x1c + 0x10, 2, units);
    p[0x1c + 0x14] = type;
    p[0x1c + 0x15] = last ? 0x80 : 0;
    p[6] = 0;
    for (unsigned i = 0; i < units * UNIT; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    p[6] = (uint8_t)-sum;
}

static int with_rom(struct flat_pc *pc, struct pci_rom *rom)
{
    struct err e = { 0 };
    pc_make(pc, true);
    struct device *d = dev_new(pc->m, &ne2k_pci_class, "card");
    dev_set_str(d, "addr", "3");
    dev_set_ptr(d, "rom", rom);
    int ret = dev_init(d, &e);
    if (ret < 0) {
        dev_free(d);
        return ret;
    }
    cfg_set(pc, CARD, PCI_ROM, 4, AT | 1);
    cfg_set(pc, CARD, PCI_COMMAND, 2, 7);
    return 0;
}

static uint8_t at(struct flat_pc *pc, unsigned off)
{
    return (uint8_t)io_read(pc->m, IO_MMIO, AT + off, 1);
}

static void test_rom_of_a_sibling_gets_the_cards_identity(void **state)
{
    uint8_t bytes[5 * UNIT];
    struct flat_pc pc;
    struct pci_rom rom = { bytes, sizeof(bytes), true };
    (void)state;
    image(bytes, 2, 0, false);
    image(bytes + 2 * UNIT, 3, 3, true);
    for (unsigned stock = 0; stock < 2; stock++) {
        rom.stock = stock;
        assert_int_equal(with_rom(&pc, &rom), 0);
        const uint8_t *host = pc.m->pci->fn[CARD]->bar[PCI_ROM_BAR].block->host;
        uint8_t sum = 0;
        for (unsigned i = 0; i < 2 * UNIT; i++) {
            sum = (uint8_t)(sum + host[i]);
        }
        assert_int_equal(sum, 0);
        assert_int_equal(load_le32(host + 0x20), stock ? 0x802910ec : 0xccddeeff);
        assert_int_equal(load_le32(host + 2 * UNIT + 0x20), stock ? 0x802910ec : 0xccddeeff);
        assert_int_equal(host[2 * UNIT + 6], bytes[2 * UNIT + 6]); /* no sum in that type */
        pc_free(&pc);
    }
}

static void test_rom_images_that_lie_change_nothing_behind_them(void **state)
{
    static const uint16_t odd[] = { 0, 1, 0x17, 0x18, 0x1c, 0x1ff, 0x3e8, 0x3ff, 0x400, 0xffff };
    uint8_t bytes[2 * UNIT];
    struct flat_pc pc;
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        unsigned len = odd[i / 100] % (sizeof(bytes) + 1);
        struct pci_rom rom = { bytes, len, true };
        image(bytes, 2, 0, i & 1);
        store_le(bytes + 0x18, 2, odd[i % 10]);
        if (odd[i % 10] + 4u <= sizeof(bytes)) {
            memcpy(bytes + odd[i % 10], "PCIR", 4);
        }
        store_le(bytes + 0x2c, 2, odd[i / 10 % 10]);
        assert_int_equal(with_rom(&pc, &rom), 0);
        const uint8_t *host = pc.m->pci->fn[CARD]->bar[PCI_ROM_BAR].block->host;
        for (unsigned k = len; k < 4 * UNIT; k++) {
            assert_int_equal(host[k], 0);
        }
        pc_free(&pc);
    }
}

static void test_rom_that_is_too_long_is_refused(void **state)
{
    uint8_t *bytes = calloc(1, NET_ROM_BYTES + 1);
    struct pci_rom rom = { bytes, NET_ROM_BYTES + 1, true };
    struct flat_pc pc;
    (void)state;
    assert_int_equal(with_rom(&pc, &rom), -EINVAL);
    pc_free(&pc);
    free(bytes);
}

static void test_rom_bar_reads_and_drops_writes(void **state)
{
    uint8_t bytes[UNIT];
    struct pci_rom rom = { bytes, sizeof(bytes), false };
    struct flat_pc pc;
    (void)state;
    image(bytes, 1, 0, true);
    assert_int_equal(with_rom(&pc, &rom), 0);
    pc.f->refuse_lend = true;
    cfg_set(&pc, CARD, PCI_ROM, 4, AT);
    cfg_set(&pc, CARD, PCI_ROM, 4, AT | 1);
    io_write(pc.m, IO_MMIO, AT, 4, 0);
    assert_int_equal(at(&pc, 0), 0x55);
    assert_int_equal(at(&pc, 1), 0xaa);
    assert_int_equal(at(&pc, UNIT), 0);
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rom_of_a_sibling_gets_the_cards_identity),
        cmocka_unit_test(test_rom_images_that_lie_change_nothing_behind_them),
        cmocka_unit_test(test_rom_that_is_too_long_is_refused),
        cmocka_unit_test(test_rom_bar_reads_and_drops_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
