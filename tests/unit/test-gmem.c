/* SPDX-License-Identifier: MIT */
/* tests/unit/test-gmem.c - guest memory: all or nothing, pins, device RAM and what changed in it.
 */
#include "tests/unit/toy.h"

#define PAGE 4096u

/* A host whose RAM is separate pages, some missing, no two of them neighbours. */
#define PAGES 64
struct paged {
    uint8_t *page[PAGES];
    size_t piece; /* map gives no more at once; 0: a page */
    int pinned;
    unsigned dirtied;
    uint64_t dirty_first, dirty_last;
};

static void *paged_map(void *h, uint64_t gpa, size_t *len, bool pin)
{
    struct paged *p = h;
    if (gpa >= UINT64_MAX - PAGE + 1) {
        gpa %= PAGE; /* RAM at the very top, too */
    }
    if (gpa / PAGE >= PAGES || !p->page[gpa / PAGE]) {
        return NULL;
    }
    *len = (size_t)min_u64(*len, PAGE - gpa % PAGE);
    *len = (size_t)min_u64(*len, p->piece ? p->piece : PAGE);
    p->pinned += pin;
    return p->page[gpa / PAGE] + gpa % PAGE;
}

static void paged_unmap(void *h, void *ptr, size_t len)
{
    struct paged *p = h;
    (void)ptr;
    assert_in_range(len, 1, PAGE);
    p->pinned--;
}

static void paged_dirtied(void *h, uint64_t gpa, size_t len)
{
    struct paged *p = h;
    p->dirty_first = p->dirtied++ ? min_u64(p->dirty_first, gpa) : gpa;
    p->dirty_last = max_u64(p->dirty_last, gpa + len - 1);
}

static const struct machine_host paged_host = { .map = paged_map,
                                                .unmap = paged_unmap,
                                                .dirtied = paged_dirtied };

struct rig {
    struct paged p;
    struct machine *m; /* on pages, all there */
    struct flat_host *f;
    struct machine *flat; /* on 1 MiB */
    struct toy *t;        /* of flat, with 8 pages of its own */
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    for (unsigned i = 0; i < PAGES; i++) {
        r->p.page[i] = calloc(1, PAGE);
    }
    r->m = machine_new("toys", &paged_host, &r->p);
    r->flat = toy_machine(&r->f, 1 << 20);
    r->t = toy_new(r->flat, 8 * PAGE);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    assert_int_equal(r->p.pinned, 0);
    machine_free(r->m);
    machine_free(r->flat);
    flat_free(r->f);
    for (unsigned i = 0; i < PAGES; i++) {
        free(r->p.page[i]);
    }
    free(r);
    return 0;
}

static void drop_page(struct rig *r, unsigned i)
{
    free(r->p.page[i]);
    r->p.page[i] = NULL;
}

static void test_gmem_copy_crosses_pages(void **state)
{
    struct rig *r = *state;
    uint8_t out[3 * PAGE], in[3 * PAGE];
    for (unsigned i = 0; i < sizeof(out); i++) {
        out[i] = (uint8_t)(i * 31 + 7);
    }
    assert_int_equal(gmem_write(r->m, 2 * PAGE - 5, out, sizeof(out)), 0);
    assert_int_equal(r->p.page[1][PAGE - 5], out[0]);
    assert_int_equal(r->p.page[2][0], out[5]);
    assert_int_equal(gmem_read(r->m, 2 * PAGE - 5, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(out));
    assert_int_equal(r->p.dirty_first, 2 * PAGE - 5);
    assert_int_equal(r->p.dirty_last, 5 * PAGE - 6);
}

static void test_gmem_write_into_a_hole_writes_nothing(void **state)
{
    struct rig *r = *state;
    uint8_t buf[3 * PAGE];
    memset(buf, 0xaa, sizeof(buf));
    drop_page(r, 4);
    assert_int_equal(gmem_write(r->m, 2 * PAGE, buf, sizeof(buf)), -EFAULT);
    assert_int_equal(r->p.page[2][0], 0);
    assert_int_equal(r->p.page[3][PAGE - 1], 0);
    assert_int_equal(r->p.dirtied, 0);
    assert_int_equal(gmem_read(r->m, 2 * PAGE, buf, sizeof(buf)), -EFAULT);
    assert_int_equal(buf[0], 0xaa); /* a refused read leaves the buffer alone */
    assert_int_equal(gmem_write(r->m, 2 * PAGE, buf, 2 * PAGE), 0);
}

static void test_gmem_edges_of_64_bits(void **state)
{
    struct rig *r = *state;
    uint8_t buf[16] = { 0 };
    assert_int_equal(gmem_read(r->flat, UINT64_MAX, buf, 1), -EFAULT);
    assert_int_equal(gmem_read(r->flat, UINT64_MAX - 3, buf, 16), -EFAULT);
    assert_int_equal(gmem_write(r->flat, UINT64_MAX - 3, buf, 16), -EFAULT);
    assert_int_equal(gmem_read(r->flat, 0, buf, SIZE_MAX), -EFAULT);
    assert_int_equal(gmem_read(r->flat, 5, buf, SIZE_MAX), -EFAULT);
    assert_int_equal(gmem_read(r->m, UINT64_MAX - 3, buf, 4), 0);
    assert_int_equal(gmem_read(r->m, UINT64_MAX - 3, buf, 5), -EFAULT); /* no wrap to 0 */
    assert_int_equal(gmem_write(r->m, UINT64_MAX - 3, buf, 5), -EFAULT);
    assert_int_equal(gmem_read(r->flat, UINT64_MAX, buf, 0), 0);
    assert_int_equal(gmem_read(r->flat, (1 << 20) - 1, buf, 1), 0);
    assert_int_equal(gmem_read(r->flat, (1 << 20) - 1, buf, 2), -EFAULT);
}

static void test_gmem_pin_covers_the_range_in_order(void **state)
{
    struct rig *r = *state;
    struct gmem_pin p;
    assert_int_equal(gmem_pin(r->m, &p, 100, 128 << 10, true), 0);
    assert_int_equal(p.iovcnt, 33);
    assert_int_equal(r->p.pinned, 33);
    size_t sum = 0;
    for (int i = 0; i < p.iovcnt; i++) {
        uint64_t gpa = 100 + sum;
        assert_ptr_equal(p.iov[i].iov_base, r->p.page[gpa / PAGE] + gpa % PAGE);
        sum += p.iov[i].iov_len;
    }
    assert_int_equal(sum, 128 << 10);
    gmem_unpin(r->m, &p, 5000);
    assert_int_equal(r->p.dirty_first, 100);
    assert_int_equal(r->p.dirty_last, 5099);
    assert_int_equal(r->p.pinned, 0);
}

static void test_gmem_pin_refuses_holes_and_wild_lengths(void **state)
{
    struct rig *r = *state;
    struct gmem_pin p;
    drop_page(r, 7);
    assert_int_equal(gmem_pin(r->m, &p, 6 * PAGE, 3 * PAGE, false), -EFAULT);
    assert_int_equal(r->p.pinned, 0);
    assert_int_equal(gmem_pin(r->m, &p, 0, 0, false), -EFAULT);
    assert_int_equal(gmem_pin(r->m, &p, 0, (128 << 10) + 1, false), -EFAULT);
    assert_int_equal(gmem_pin(r->flat, &p, 0, (128 << 10) + 1, false), -EFAULT);
    assert_int_equal(gmem_pin(r->flat, &p, 0, 128 << 10, false), 0);
    gmem_unpin(r->flat, &p, 0);
    r->p.piece = 100; /* more pieces than a pin has room for */
    assert_int_equal(gmem_pin(r->m, &p, 0, PAGE, false), -EFAULT);
    assert_int_equal(r->p.pinned, 0);
    r->p.piece = 0;
    assert_int_equal(gmem_pin(r->m, &p, 0, SIZE_MAX, false), -EFAULT);
    assert_int_equal(gmem_pin(r->m, &p, UINT64_MAX - 10, 100, false), -EFAULT);
    assert_int_equal(gmem_pin(r->m, &p, 0, 10, false), 0);
    gmem_unpin(r->m, &p, 10); /* from the guest: nothing changed */
    assert_int_equal(r->p.dirtied, 0);
}

/* ---- device RAM ---- */

static uint64_t changed(struct rig *r)
{
    uint64_t bits;
    gmem_block_dirty(r->flat, &r->t->ram, 0, r->t->ram.len, &bits);
    return bits;
}

static void test_gmem_lent_block_is_ram_over_ram(void **state)
{
    struct rig *r = *state;
    struct gmem_block *b = &r->t->ram;
    uint8_t buf[8];
    assert_true(gmem_block_lend(r->flat, b, 0xa0000));
    assert_int_equal(gmem_write(r->flat, 0x9fffc, "abcdefgh", 8), 0);
    assert_memory_equal(b->host, "efgh", 4);
    assert_memory_equal(r->f->ram + 0x9fffc, "abcd\0\0\0\0", 8);
    assert_int_equal(gmem_read(r->flat, 0x9fffc, buf, 8), 0);
    assert_memory_equal(buf, "abcdefgh", 8);
    assert_false(gmem_block_lend(r->flat, b, GMEM_NOWHERE));
    assert_int_equal(gmem_read(r->flat, 0xa0000, buf, 4), 0);
    assert_memory_equal(buf, "\0\0\0\0", 4);
}

static void test_gmem_block_may_lie_outside_ram(void **state)
{
    struct rig *r = *state;
    uint8_t buf[4] = { 0 };
    assert_true(gmem_block_lend(r->flat, &r->t->ram, 0xf0000000));
    assert_int_equal(gmem_write(r->flat, 0xf0007ffc, "wxyz", 4), 0);
    assert_memory_equal(r->t->ram.host + 0x7ffc, "wxyz", 4);
    assert_int_equal(gmem_read(r->flat, 0xf0007ffd, buf, 4), -EFAULT);
    assert_true(gmem_block_lend(r->flat, &r->t->ram, 0xe0000000)); /* moves */
    assert_int_equal(gmem_read(r->flat, 0xf0000000, buf, 1), -EFAULT);
    assert_int_equal(gmem_read(r->flat, 0xe0007ffc, buf, 4), 0);
    assert_memory_equal(buf, "wxyz", 4);
}

static void test_gmem_lend_refused_leaves_it_nowhere(void **state)
{
    struct rig *r = *state;
    struct gmem_block *b = &r->t->ram;
    assert_false(gmem_block_lend(r->flat, b, 0xa0001));
    assert_false(gmem_block_lend(r->flat, b, UINT64_MAX - 4095)); /* would wrap */
    assert_true(gmem_block_lend(r->flat, b, 0xf0000000));
    r->f->refuse_lend = true;
    assert_false(gmem_block_lend(r->flat, b, 0xe0000000));
    assert_true(b->gpa == GMEM_NOWHERE);
}

static void test_gmem_dirty_tells_each_change_once(void **state)
{
    struct rig *r = *state;
    struct gmem_block *b = &r->t->ram;
    (void)changed(r);
    assert_int_equal(changed(r), 0);
    gmem_block_wrote(r->flat, b, PAGE - 1, 2);
    gmem_block_wrote(r->flat, b, 7 * PAGE, 1);
    gmem_block_wrote(r->flat, b, 3 * PAGE, 0);
    assert_int_equal(changed(r), 0x83);
    assert_int_equal(changed(r), 0);
    assert_true(gmem_block_lend(r->flat, b, 0xf0000000));
    flat_mem_write(r->flat, 0xf0002fff, "ab", 2);
    assert_int_equal(changed(r), 0x0c);
    struct gmem_pin p;
    assert_int_equal(gmem_pin(r->flat, &p, 0xf0004000, 2 * PAGE, true), 0);
    (void)gmem_block_lend(r->flat, b, GMEM_NOWHERE); /* moves under the transfer */
    gmem_unpin(r->flat, &p, PAGE + 1);
    assert_int_equal(changed(r), 0x30);
    gmem_block_wrote(r->flat, b, 2 * PAGE, 3 * PAGE);
    uint64_t bits;
    gmem_block_dirty(r->flat, b, 3 * PAGE, PAGE, &bits);
    assert_int_equal(bits, 1);
    assert_int_equal(changed(r), 0x14);
}

static void test_gmem_block_on_a_host_without_blocks(void **state)
{
    struct rig *r = *state;
    struct gmem_block b = { .name = "vram", .len = 2 * PAGE },
                      twin = { .name = "vram", .len = PAGE };
    struct err e;
    uint64_t bits = 0;
    assert_int_equal(gmem_block_new(r->m, &b, NULL), 0);
    assert_int_equal(gmem_block_new(r->m, &twin, &e), -EEXIST);
    assert_non_null(strstr(e.msg, "vram"));
    b.host[2 * PAGE - 1] = 1;
    assert_false(gmem_block_lend(r->m, &b, 0x1000));
    gmem_block_dirty(r->m, &b, 0, b.len, &bits);
    assert_int_equal(bits, 3); /* cannot tell */
    gmem_block_free(r->m, &b);
    gmem_block_free(r->m, &b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_gmem_copy_crosses_pages),
        T(test_gmem_write_into_a_hole_writes_nothing),
        T(test_gmem_edges_of_64_bits),
        T(test_gmem_pin_covers_the_range_in_order),
        T(test_gmem_pin_refuses_holes_and_wild_lengths),
        T(test_gmem_lent_block_is_ram_over_ram),
        T(test_gmem_block_may_lie_outside_ram),
        T(test_gmem_lend_refused_leaves_it_nowhere),
        T(test_gmem_dirty_tells_each_change_once),
        T(test_gmem_block_on_a_host_without_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
