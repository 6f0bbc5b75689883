/* SPDX-License-Identifier: MIT */
/* tests/unit/test-region.c - the region table: precedence, clipping, and what the host is told. */
#include "tests/unit/toy.h"

#include <stdio.h>

/* A host that keeps a list of what it was told, and the coverage that follows from it. */
#define COVER 0x400
struct told {
    unsigned n;
    char text[64][40];
    uint8_t covered[COVER]; /* of the port space's start */
};

static void say(struct told *t, char what, enum io_space space, uint64_t first, uint64_t last)
{
    if (t->n < ARRAY_SIZE(t->text)) {
        snprintf(t->text[t->n++], sizeof(t->text[0]), "%c%d %llx-%llx", what, (int)space,
                 (unsigned long long)first, (unsigned long long)last);
    }
    for (uint64_t a = first; space == IO_PIO && a <= last && a < COVER; a++) {
        assert_int_equal(t->covered[a], what == '-'); /* neither twice */
        t->covered[a] = what == '+';
    }
}

static void on_claim(void *h, enum io_space space, uint64_t first, uint64_t last)
{
    say(h, '+', space, first, last);
}

static void on_release(void *h, enum io_space space, uint64_t first, uint64_t last)
{
    say(h, '-', space, first, last);
}

static const struct machine_host told_host = { .claim = on_claim, .release = on_release };

struct rig {
    struct told told;
    struct machine *m;
    struct toy *t;
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->m = machine_new("toys", &told_host, &r->told);
    r->t = toy_new(r->m, 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    machine_free(r->m);
    for (size_t i = 0; i < COVER; i++) {
        assert_int_equal(r->told.covered[i], 0); /* all given back */
    }
    free(r);
    return 0;
}

static void assert_told(struct rig *r, const char *want)
{
    char all[2048] = "";
    for (unsigned i = 0; i < r->told.n; i++) {
        strcat(strcat(all, i ? ", " : ""), r->told.text[i]);
    }
    assert_string_equal(all, want);
    r->told.n = 0;
}

static void assert_spans(const struct rig *r, enum io_space space, const char *want)
{
    char all[2048] = "", one[64];
    size_t n;
    const struct region_span *s = region_spans(r->m, space, &n);
    for (size_t i = 0; i < n; i++) {
        snprintf(one, sizeof(one), "%s%llx-%llx:%d", i ? " " : "", (unsigned long long)s[i].first,
                 (unsigned long long)s[i].last, (int)(s[i].r - r->t->win));
        strcat(all, one);
    }
    assert_string_equal(all, want);
}

static struct region *map_prio(struct rig *r, unsigned i, uint8_t prio, uint64_t base, uint64_t len)
{
    region_init(&r->t->win[i], &r->t->dev, &toy_ops, IO_PIO, len, "WIN");
    r->t->win[i].prio = prio;
    region_map(&r->t->win[i], base);
    return &r->t->win[i];
}

static void test_region_map_and_unmap_claim_and_release(void **state)
{
    struct rig *r = *state;
    struct region *w = map_prio(r, 0, 1, 0x1f0, 8);
    assert_told(r, "+0 1f0-1f7");
    assert_spans(r, IO_PIO, "1f0-1f7:0");
    region_map(w, 0x1f0);
    assert_told(r, "");
    region_unmap(w);
    region_unmap(w);
    assert_told(r, "-0 1f0-1f7");
    assert_spans(r, IO_PIO, "");
}

static void test_region_move_tells_the_difference_only(void **state)
{
    struct rig *r = *state;
    struct region *w = map_prio(r, 0, 1, 0x100, 0x20);
    r->told.n = 0;
    region_map(w, 0x110);
    assert_told(r, "-0 100-10f, +0 120-12f");
    region_map(w, 0x200);
    assert_told(r, "-0 110-12f, +0 200-21f");
}

static void test_region_first_mapped_wins_among_equals(void **state)
{
    struct rig *r = *state;
    map_prio(r, 0, 1, 0x100, 0x10);
    map_prio(r, 1, 1, 0x108, 0x10);
    assert_spans(r, IO_PIO, "100-10f:0 110-117:1");
    assert_told(r, "+0 100-10f, +0 110-117");
    region_map(&r->t->win[0], 0x100); /* where it is: it keeps its place */
    assert_spans(r, IO_PIO, "100-10f:0 110-117:1");
    region_unmap(&r->t->win[0]);
    assert_spans(r, IO_PIO, "108-117:1");
    assert_told(r, "-0 100-107");
    region_map(&r->t->win[0], 0x100);
    assert_spans(r, IO_PIO, "100-107:0 108-117:1");
    assert_told(r, "+0 100-107");
}

static void test_region_higher_priority_cuts_a_hole(void **state)
{
    struct rig *r = *state;
    map_prio(r, 0, 0, 0x100, 0x100); /* a BAR */
    map_prio(r, 1, 1, 0x140, 0x10);  /* a chip under it */
    map_prio(r, 2, 0, 0x180, 0x100); /* another BAR */
    assert_spans(r, IO_PIO, "100-13f:0 140-14f:1 150-1ff:0 200-27f:2");
    assert_told(r, "+0 100-1ff, +0 200-27f");
    region_unmap(&r->t->win[1]);
    assert_spans(r, IO_PIO, "100-1ff:0 200-27f:2");
    assert_told(r, "");
    region_unmap(&r->t->win[0]);
    assert_spans(r, IO_PIO, "180-27f:2");
    assert_told(r, "-0 100-17f");
}

static void test_region_wholly_hidden_has_no_span(void **state)
{
    struct rig *r = *state;
    map_prio(r, 0, 2, 0x100, 0x100);
    map_prio(r, 1, 1, 0x120, 0x10);
    assert_spans(r, IO_PIO, "100-1ff:0");
    region_unmap(&r->t->win[0]);
    assert_spans(r, IO_PIO, "120-12f:1");
    assert_told(r, "+0 100-1ff, -0 100-11f, -0 130-1ff");
}

static void test_region_fills_several_gaps(void **state)
{
    struct rig *r = *state;
    map_prio(r, 0, 3, 0x110, 0x10);
    map_prio(r, 1, 3, 0x130, 0x10);
    map_prio(r, 2, 3, 0x140, 0x10);
    r->told.n = 0;
    map_prio(r, 3, 1, 0x100, 0x60);
    assert_spans(r, IO_PIO, "100-10f:3 110-11f:0 120-12f:3 130-13f:1 140-14f:2 150-15f:3");
    assert_told(r, "+0 100-10f, +0 120-12f, +0 150-15f");
}

static void test_region_is_clipped_at_the_end_of_its_space(void **state)
{
    struct rig *r = *state;
    map_prio(r, 0, 1, 0xfff8, 16);
    assert_spans(r, IO_PIO, "fff8-ffff:0");
    region_map(&r->t->win[0], 0x10000);
    assert_spans(r, IO_PIO, "");
    assert_false(r->t->win[0].mapped);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, UINT64_MAX - 7, 64);
    assert_spans(r, IO_MMIO, "fffffffffffffff8-ffffffffffffffff:1");
    toy_map(r->t, 2, &toy_ops, IO_MMIO, 0, UINT64_MAX);
    assert_spans(r, IO_MMIO, "0-fffffffffffffff7:2 fffffffffffffff8-ffffffffffffffff:1");
}

static void test_region_unmapped_one_is_not_found_where_it_was_last(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3; i++) {
        map_prio(r, i, 1, 0x100 * i, 16);
    }
    for (unsigned i = 0; i < 4; i++) { /* whichever of its two tables was built last */
        assert_int_equal(io_read(r->m, IO_PIO, 0x203, 1), 3);
        region_map(&r->t->win[2], i & 1 ? 0x200 : 0x300);
        region_unmap(&r->t->win[2]);
        assert_int_equal(io_read(r->m, IO_PIO, 0x203, 1), 0xff);
        assert_int_equal(io_read(r->m, IO_PIO, 0x303, 1), 0xff);
        region_map(&r->t->win[2], 0x200);
    }
}

static void test_region_spaces_are_apart(void **state)
{
    struct rig *r = *state;
    toy_map(r->t, 0, &toy_ops, IO_PIO, 0, 16);
    toy_map(r->t, 1, &toy_ops, IO_MMIO, 0, 16);
    toy_map(r->t, 2, &toy_ops, IO_PCI, PCI_CFG_ADDR(8, 0), 256);
    assert_told(r, "+0 0-f, +1 0-f, +2 800000000-8000000ff");
}

/* The table against the obvious: who answers address a is the mapped region of highest priority,
 * then lowest serial. The told host checks its own coverage in between. */
static void test_region_random_maps_agree_with_a_search(void **state)
{
    struct rig *r = *state;
    enum { N = 12 };
    struct toy *ts[N / 4];
    srand(1);
    for (unsigned i = 0; i < N / 4; i++) {
        ts[i] = i ? toy_new(r->m, 0) : r->t;
    }
    for (unsigned step = 0; step < 400; step++) {
        struct region *w = &ts[rand() % (N / 4)]->win[rand() % 4];
        if (w->mapped) {
            (rand() & 1) ? region_unmap(w) : region_map(w, (uint64_t)rand() % 0x300);
        } else {
            region_init(w, &r->t->dev, &toy_ops, IO_PIO, 1 + (uint64_t)rand() % 0x100, "WIN");
            w->prio = (uint8_t)(rand() % 3);
            region_map(w, (uint64_t)rand() % 0x300);
        }
        size_t n, at = 0;
        const struct region_span *s = region_spans(r->m, IO_PIO, &n);
        for (size_t i = 0; i < n; i++) {
            assert_true(s[i].first <= s[i].last && (!i || s[i].first > s[i - 1].last));
        }
        for (uint64_t a = 0; a < COVER; a++) {
            const struct region *best = NULL;
            for (unsigned i = 0; i < N; i++) {
                const struct region *c = &ts[i / 4]->win[i % 4];
                if (c->mapped && a - c->base < c->len &&
                    (!best || c->prio > best->prio ||
                     (c->prio == best->prio && c->serial < best->serial))) {
                    best = c;
                }
            }
            while (at < n && s[at].last < a) {
                at++;
            }
            assert_ptr_equal(best, at < n && s[at].first <= a ? s[at].r : NULL);
            assert_int_equal(r->told.covered[a], best != NULL);
        }
    }
    for (unsigned i = 0; i < N; i++) {
        region_unmap(&ts[i / 4]->win[i % 4]);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_region_map_and_unmap_claim_and_release),
        T(test_region_move_tells_the_difference_only),
        T(test_region_first_mapped_wins_among_equals),
        T(test_region_higher_priority_cuts_a_hole),
        T(test_region_wholly_hidden_has_no_span),
        T(test_region_fills_several_gaps),
        T(test_region_is_clipped_at_the_end_of_its_space),
        T(test_region_unmapped_one_is_not_found_where_it_was_last),
        T(test_region_spaces_are_apart),
        T(test_region_random_maps_agree_with_a_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
