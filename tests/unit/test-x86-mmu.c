/* SPDX-License-Identifier: MIT */
/* tests/unit/test-x86-mmu.c - page walks, rights, A and D bits, error codes, page-crossing accesses.
 */
#include "x86-rig.h"

#define NX (1ull << 63)
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
enum { R_, W_, X_ }; /* what is done */

static int access_as(struct rig *r, unsigned mode, uint64_t linear, int how)
{
    if (how == X_) {
        return RIG_CATCH(r, x86_fetch_phys(r->c, linear));
    }
    if (how == W_) {
        return RIG_CATCH(r, x86_st_as(r->c, mode, linear, 4, 0x12345678));
    }
    return RIG_CATCH(r, x86_ld_as(r->c, mode, linear, 4));
}

struct right {
    uint64_t pte; /* of page 0x14000, besides its address */
    unsigned cpl;
    int how;
    uint64_t cr4; /* besides PAE */
    bool wp, ac;
    int code; /* error code, or -1 */
};

static void test_rights_of_a_page_by_privilege(void **state)
{
    static const struct right rights[] = {
        { 0, 0, R_, 0, true, false, 0 },
        { 0, 0, W_, 0, true, false, 2 },
        { 0, 3, R_, 0, true, false, 4 },
        { 0, 3, X_, 0, true, false, 0x14 },
        { P, 0, R_, 0, true, false, -1 },
        { P, 3, R_, 0, true, false, 5 },
        { P | W, 3, W_, 0, true, false, 7 },
        { P | U, 3, R_, 0, true, false, -1 },
        { P | U, 3, W_, 0, false, false, 7 },
        { P | U | W, 3, W_, 0, true, false, -1 },
        { P, 0, W_, 0, false, false, -1 }, /* WP clear: the supervisor may */
        { P, 0, W_, 0, true, false, 3 },
        { P | NX, 0, X_, 0, true, false, 0x11 },
        { P | U | NX, 3, X_, 0, true, false, 0x15 },
        { P | U, 3, X_, 0, true, false, -1 },
        { P | U, 0, X_, CR4_SMEP, true, false, 0x11 },
        { P | U, 0, X_, 0, true, false, -1 },
        { P | U, 0, R_, CR4_SMAP, true, false, 1 },
        { P | U | W, 0, W_, CR4_SMAP, true, false, 3 },
        { P | U | W, 0, W_, CR4_SMAP, true, true, -1 },
        { P | U, 3, R_, CR4_SMAP, true, false, -1 },
        { P | 1ull << 45, 0, R_, 0, true, false, 9 }, /* beyond 40 bits */
    };
    (void)state;
    struct rig r = rig_new("max");
    for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
        const struct right *t = &rights[i];
        r.c->eflags = EF_FIXED | (t->ac ? EF_AC : 0);
        rig_long(&r, t->cpl);
        r.c->cr0 = t->wp ? r.c->cr0 | CR0_WP : r.c->cr0 & ~(uint64_t)CR0_WP;
        r.c->cr4 = CR4_PAE | t->cr4;
        rig_put(&r, RIG_PT + 8 * 0x14, 8, 0x14000 | t->pte);
        x86_mode_changed(r.c);
        x86_tlb_flush(r.c, true);
        int got = access_as(&r, x86_data_mode(r.c), 0x14010, t->how);
        if (got != (t->code < 0 ? RIG_OK : EX_PF)) {
            fail_msg("right %zu: raised %d", i, got);
        }
        if (t->code >= 0 && (r.c->raised_code != (uint32_t)t->code || r.c->cr2 != 0x14010)) {
            fail_msg("right %zu: code %x", i, r.c->raised_code);
        }
    }
    rig_free(&r);
}

static void test_a_load_sets_accessed_and_a_store_dirty(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 0);
    assert_int_equal(access_as(&r, TLB_KERNEL, 0x15000, R_), RIG_OK);
    assert_int_equal(rig_get(&r, RIG_PML4, 8), RIG_PDPT | 7 | A);
    assert_int_equal(rig_get(&r, RIG_PD, 8), RIG_PT | 7 | A);
    assert_int_equal(rig_get(&r, RIG_PT + 8 * 0x15, 8), 0x15000 | 7 | A);
    /* the entry is cached now: the store must still come to the page table */
    assert_int_equal(access_as(&r, TLB_KERNEL, 0x15000, W_), RIG_OK);
    assert_int_equal(rig_get(&r, RIG_PT + 8 * 0x15, 8), 0x15000 | 7 | A | D);
    rig_free(&r);
}

static void test_a_forbidden_store_leaves_the_leaf_alone(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 3);
    rig_put(&r, RIG_PT + 8 * 0x15, 8, 0x15000 | P | U);
    assert_int_equal(access_as(&r, TLB_USER, 0x15000, W_), EX_PF);
    assert_int_equal(rig_get(&r, RIG_PT + 8 * 0x15, 8), 0x15000 | P | U);
    rig_free(&r);
}

static void test_large_pages_map_what_they_say(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 0);
    rig_put(&r, RIG_PD + 8, 8, 0 | 7 | PS);       /* 2 MiB at 2 MiB: physical 0 */
    rig_put(&r, RIG_PDPT + 8, 8, 0 | 7 | PS);     /* 1 GiB at 1 GiB: physical 0 */
    rig_put(&r, RIG_PD + 16, 8, 0x2000 | 7 | PS); /* a reserved bit */
    rig_put(&r, 0x56780, 4, 0xcafe);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x200000 + 0x56780, 4), 0xcafe);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x40000000 + 0x56780, 4), 0xcafe);
    assert_int_equal(rig_get(&r, RIG_PD + 8, 8), 7 | PS | A);
    assert_int_equal(access_as(&r, TLB_KERNEL, 0x400000, R_), EX_PF);
    assert_int_equal(r.c->raised_code, 9);
    rig_free(&r);
}

static void test_invlpg_inside_a_large_page_drops_all_of_it(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 0);
    rig_put(&r, RIG_PD + 8, 8, 0 | 7 | PS);
    rig_put(&r, 0x50000, 4, 1);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x250000, 4), 1);
    rig_put(&r, RIG_PD + 8, 8, 0x200000 | 7 | PS);
    x86_tlb_flush_page(r.c, 0x200000);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x250000, 4), 0);
    rig_free(&r);
}

static void test_a_table_that_was_found_before_is_looked_up_again_in_time(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 3);
    rig_put(&r, RIG_PD, 8, RIG_PT | P | U); /* no stores */
    assert_int_equal(access_as(&r, TLB_USER, 0x15000, R_), RIG_OK);
    assert_int_equal(access_as(&r, TLB_USER, 0x16000, W_), EX_PF);
    rig_put(&r, RIG_PD, 8, RIG_PT | 7); /* more rights need no INVLPG */
    assert_int_equal(access_as(&r, TLB_USER, 0x16000, W_), RIG_OK);
    rig_put(&r, RIG_PD, 8, 0x60000 | 7); /* another table does, of any address it maps */
    rig_put(&r, 0x60000 + 8 * 0x17, 8, 0x40000 | 7);
    rig_put(&r, 0x40000, 4, 99);
    x86_tlb_flush_page(r.c, 0x100000);
    assert_int_equal(x86_ld_as(r.c, TLB_USER, 0x17000, 4), 99);
    assert_int_equal(access_as(&r, TLB_USER, 0x18000, R_), EX_PF); /* and has no such page */
    rig_put(&r, RIG_PD, 8, RIG_PT | 7);
    assert_int_equal(access_as(&r, TLB_USER, 0x18000, R_), RIG_OK);
    rig_free(&r);
}

/* MOV EAX, imm32 whose last two bytes are the second page's, then HLT. */
static uint32_t moved_across(struct rig *r)
{
    r->c->tcg.pc = 0x14ffd;
    r->c->halted = false;
    for (unsigned i = 0; i < 100 && !r->c->halted; i++) {
        if (tcg_run(&r->c->tcg) == TCG_EXIT_RAISED) {
            return (uint32_t)-r->c->raised;
        }
    }
    return (uint32_t)r->c->tcg.gpr[RAX];
}

static void test_the_second_page_of_an_instruction_may_change(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    r.c->a20_mask = UINT64_MAX;
    rig_long(&r, 0);
    rig_put(&r, 0x14ffd, 3, 0x2211b8);
    rig_put(&r, 0x15000, 3, 0xf44433);
    rig_put(&r, 0x40000, 3, 0xf46655);
    assert_int_equal(moved_across(&r), 0x44332211);
    rig_put(&r, RIG_PT + 8 * 0x15, 8, 0x40000 | 7);
    x86_tlb_flush_page(r.c, 0x15000);
    assert_int_equal(moved_across(&r), 0x66552211);
    rig_put(&r, RIG_PT + 8 * 0x15, 8, 0x15000 | 7);
    x86_tlb_flush_page(r.c, 0x15000);
    assert_int_equal(moved_across(&r), 0x44332211);
    rig_put(&r, RIG_PT + 8 * 0x15, 8, 0);
    x86_tlb_flush_page(r.c, 0x15000);
    assert_int_equal(moved_across(&r), (uint32_t)-EX_PF);
    assert_int_equal(r.c->cr2, 0x15000);
    assert_int_equal(r.c->tcg.pc, 0x14ffd);
    rig_free(&r);
}

static void test_a_flush_drops_pages_however_many_there_are(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 0);
    r.c->cr4 |= CR4_PGE;
    for (unsigned count = 100; count <= 500; count += 400) { /* listed, and too many for the list */
        for (unsigned i = 0; i < count; i++) {
            rig_put(&r, RIG_PT + 8 * i, 8, (uint64_t)(i % 128) << 12 | 7 | (i & 1 ? G : 0));
        }
        x86_tlb_flush(r.c, true);
        for (unsigned n = 0; n < count * count / 100; n++) {
            uint64_t page = (uint64_t)(n % count) << 12;
            x86_tlb_flush_page(r.c, page);
            access_as(&r, TLB_KERNEL, page, R_);
        }
        assert_int_equal(r.c->local[TLB_KERNEL].n > sizeof(r.c->local[0].slot) / sizeof(uint16_t),
                         count == 500);
        x86_tlb_flush(r.c, false);
        for (unsigned i = 0; i < count; i++) {
            bool kept = r.c->tcg.tlbs[TLB_KERNEL].read[tcg_tlb_slot(i << 12)] == i << 12;
            assert_int_equal(kept, i & 1);
        }
        x86_tlb_flush(r.c, true);
        for (unsigned i = 0; i < count; i++) {
            assert_true(r.c->tcg.tlbs[TLB_KERNEL].read[tcg_tlb_slot(i << 12)] != i << 12);
        }
    }
    rig_free(&r);
}

static void test_pae_and_legacy_tables(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu32");
    rig_put(&r, 0x10000, 8, 0x11000 | P); /* PDPTE: no rights in it */
    rig_put(&r, 0x11000, 8, 0x12000 | 7);
    rig_put(&r, 0x12000 + 8 * 5, 8, 0x40000 | 7);
    rig_put(&r, 0x40000, 4, 77);
    rig_paging(&r, 0x10000, CR4_PAE, 0);
    rig_flat(&r, 32, 0);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x5000, 4), 77);

    rig_put(&r, 0x20000, 4, 0x21000 | 7);
    rig_put(&r, 0x21000 + 4 * 6, 4, 0x40000 | 7);
    rig_put(&r, 0x20000 + 4, 4, 0 | 7 | PS); /* 4 MiB */
    rig_paging(&r, 0x20000, CR4_PSE, 0);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x6000, 4), 77);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x440000, 4), 77);
    assert_int_equal(rig_get(&r, 0x20000 + 4, 4), 7 | PS | A);
    rig_free(&r);
}

static void test_a_store_across_pages_is_all_or_nothing(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 0);
    r.c->cr0 |= CR0_WP;
    rig_put(&r, RIG_PT + 8 * 0x31, 8, 0x31000 | P);
    rig_put(&r, 0x30ffc, 8, 0);
    assert_int_equal(RIG_CATCH(&r, x86_st_as(r.c, TLB_KERNEL, 0x30ffe, 8, ~0ull)), EX_PF);
    assert_int_equal(r.c->cr2, 0x31000);
    assert_int_equal(rig_get(&r, 0x30ffc, 8), 0);
    rig_put(&r, RIG_PT + 8 * 0x31, 8, 0x31000 | 7);
    assert_int_equal(RIG_CATCH(&r, x86_st_as(r.c, TLB_KERNEL, 0x30ffe, 8, 0x8877665544332211ull)),
                     RIG_OK);
    assert_true(rig_get(&r, 0x30ffe, 8) == 0x8877665544332211ull);
    assert_true(x86_ld_as(r.c, TLB_KERNEL, 0x30ffd, 8) == 0x7766554433221100ull);
    rig_free(&r);
}

static void test_an_address_that_is_not_canonical(void **state)
{
    (void)state;
    struct rig r = rig_new("max");
    rig_long(&r, 0);
    assert_int_equal(access_as(&r, TLB_KERNEL, 0x0000800000000000ull, R_), EX_GP);
    assert_int_equal(r.c->raised_code, 0);
    rig_free(&r);
}

static void test_a20_masks_physical_addresses(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    rig_put(&r, 0x10, 4, 5);
    r.c->a20_mask = ~(1ull << 20);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x100010, 4), 5);
    r.c->a20_mask = UINT64_MAX;
    x86_tlb_flush(r.c, true);
    assert_int_equal(x86_ld_as(r.c, TLB_KERNEL, 0x100010, 4), 0);
    rig_free(&r);
}

static void test_memory_nobody_answers_reads_ones(void **state)
{
    (void)state;
    struct rig r = rig_new("qemu64");
    rig_flat(&r, 32, 0);
    assert_true(x86_ld_as(r.c, TLB_KERNEL, 0xd0000000u, 4) == 0xffffffffu);
    x86_st_as(r.c, TLB_KERNEL, 0xd0000000u, 4, 1);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights_of_a_page_by_privilege),
        cmocka_unit_test(test_a_load_sets_accessed_and_a_store_dirty),
        cmocka_unit_test(test_a_forbidden_store_leaves_the_leaf_alone),
        cmocka_unit_test(test_large_pages_map_what_they_say),
        cmocka_unit_test(test_invlpg_inside_a_large_page_drops_all_of_it),
        cmocka_unit_test(test_a_table_that_was_found_before_is_looked_up_again_in_time),
        cmocka_unit_test(test_the_second_page_of_an_instruction_may_change),
        cmocka_unit_test(test_a_flush_drops_pages_however_many_there_are),
        cmocka_unit_test(test_pae_and_legacy_tables),
        cmocka_unit_test(test_a_store_across_pages_is_all_or_nothing),
        cmocka_unit_test(test_an_address_that_is_not_canonical),
        cmocka_unit_test(test_a20_masks_physical_addresses),
        cmocka_unit_test(test_memory_nobody_answers_reads_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
