/* SPDX-License-Identifier: MIT */
/* What is remembered of instructions by kind, beside what Zydis says of each. */
#include "target/x86/glance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 3000000 };

static uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

static void compare(struct glances *t, const ZydisDecoder *d, const uint8_t *bytes, unsigned avail)
{
    struct glance a = { 0 }, b = { 0 };
    bool is_a = glance(t, d, bytes, avail, &a), is_b = glance_properly(d, bytes, avail, &b);
    if (is_a != is_b || (is_a && (a.tested != b.tested || a.killed != b.killed ||
                                  a.length != b.length || a.flow != b.flow || a.rel != b.rel))) {
        fail_msg("%02x %02x %02x %02x %02x of %u: length %u flow %u tested %x killed %x", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], avail, a.length, a.flow, a.tested,
                 a.killed);
    }
}

static void compare_many(ZydisMachineMode mode, ZydisStackWidth width)
{
    ZydisDecoder d;
    uint64_t s = 88172645463325252;
    struct glances *t = glances_new();
    ZydisDecoderInit(&d, mode, width);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t bytes[2] = { rnd(&s), rnd(&s) };
        uint8_t *b = (uint8_t *)bytes;
        if (i & 1) { /* one in two with REX, 0F or both */
            b[i >> 1 & 1] = 0x0f;
            b[0] = i & 2 ? 0x40 | (b[0] & 15) : b[0];
        }
        compare(t, &d, b, i % 16 ? 16 : b[15] & 15);
    }
    glances_free(t);
}

static void test_glance_of_random_64_bit_code_is_what_the_decoder_says(void **state)
{
    (void)state;
    compare_many(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
}

static void test_glance_of_32_bit_code_asks_the_decoder(void **state)
{
    (void)state;
    compare_many(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glance_of_random_64_bit_code_is_what_the_decoder_says),
        cmocka_unit_test(test_glance_of_32_bit_code_asks_the_decoder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
