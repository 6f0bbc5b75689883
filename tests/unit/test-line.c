/* SPDX-License-Identifier: MIT */
/* tests/unit/test-line.c - wires, their OR, links, messages and power events. */
#include "tests/unit/toy.h"

struct rig {
    struct flat_host *f;
    struct machine *m;
    struct toy *t;
    struct line w[4];
    unsigned changes[16]; /* as told to irq_changed */
    bool level[16];
};

/* A flat host that counts how often it is told of ISA IRQs. */
static struct machine_host host;
static unsigned told;

static void count_isa_irq(void *h, unsigned irq, bool level)
{
    told++;
    flat_host_ops.isa_irq(h, irq, level);
}

static void irq_changed(void *opaque, unsigned irq, bool level)
{
    struct rig *r = opaque;
    r->changes[irq]++;
    r->level[irq] = level;
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    host = flat_host_ops;
    host.isa_irq = count_isa_irq;
    r->f = flat_new(0);
    r->m = machine_new("toys", &host, r->f);
    r->t = toy_new(r->m, 0);
    r->f->opaque = r;
    r->f->irq_changed = irq_changed;
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 4; i++) {
        line_fini(&r->w[i]);
    }
    machine_free(r->m);
    flat_free(r->f);
    free(r);
    return 0;
}

static void test_line_change_reaches_the_host_once(void **state)
{
    struct rig *r = *state;
    line_init(&r->w[0], &r->t->dev, LINE_ISA, 14);
    line_set(&r->w[0], false);
    assert_int_equal(r->changes[14], 0);
    line_set(&r->w[0], true);
    line_set(&r->w[0], true);
    assert_int_equal(r->changes[14], 1);
    assert_true(r->f->isa[14]);
    line_set(&r->w[0], false);
    assert_int_equal(r->changes[14], 2);
    assert_int_equal(r->f->isa_edges[14], 1);
}

static void test_line_isa_level_is_the_or_of_its_wires(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3; i++) {
        line_init(&r->w[i], &r->t->dev, LINE_ISA, 4);
        line_set(&r->w[i], true);
    }
    told = 0;
    line_set(&r->w[0], false);
    line_set(&r->w[2], false);
    assert_true(r->f->isa[4]);
    assert_int_equal(told, 0); /* the OR did not change */
    line_fini(&r->w[1]);       /* pulling the wire lets go of it */
    assert_false(r->f->isa[4]);
    assert_int_equal(r->changes[4], 2);
}

static void test_line_none_goes_nowhere(void **state)
{
    struct rig *r = *state;
    line_init(&r->w[0], &r->t->dev, LINE_NONE, 0);
    line_set(&r->w[0], true);
    assert_true(r->w[0].level);
    assert_false(r->f->isa[0]);
    machine_push_lines(r->m);
    assert_false(r->f->isa[0]);
}

static void test_line_intx_carries_devfn_and_pin(void **state)
{
    struct rig *r = *state;
    line_init(&r->w[0], &r->t->dev, LINE_INTX, 0xfa << 2 | 3);
    line_set(&r->w[0], true);
    assert_true(r->f->intx[0xfa][3]);
    line_set(&r->w[0], false);
    assert_false(r->f->intx[0xfa][3]);
}

static void test_line_links_fold_pins_into_isa_irqs(void **state)
{
    struct rig *r = *state;
    r->f->fold_links = true;
    line_init(&r->w[0], &r->t->dev, LINE_INTX, (3 << 3) << 2 | 0); /* slot 3 INTA: link 3 */
    line_init(&r->w[1], &r->t->dev, LINE_ISA, 11);
    line_set(&r->w[0], true);
    assert_int_equal(r->changes[11], 0);
    line_pci_link(r->m, 3, 11);
    assert_true(r->level[11]);
    line_set(&r->w[1], true);
    line_set(&r->w[0], false);
    assert_int_equal(r->changes[11], 1);
    line_set(&r->w[1], false);
    assert_false(r->level[11]);
    line_set(&r->w[0], true);
    line_pci_link(r->m, 3, 10);
    assert_false(r->level[11]);
    assert_true(r->level[10]);
    line_pci_link(r->m, 3, 0);
    assert_false(r->level[10]);
    assert_false(r->level[0]);
    r->f->slot_addend = 3;
    line_pci_link(r->m, 2, 9); /* now slot 3 INTA: link 2 */
    assert_true(r->level[9]);
}

static void test_line_messages_and_power_pass(void **state)
{
    struct rig *r = *state;
    line_msi(&r->t->dev, 0xfee01000, 0x4041);
    assert_int_equal(r->f->msi_addr, 0xfee01000);
    assert_int_equal(r->f->msi_data, 0x4041);
    assert_int_equal(r->f->msi_count, 1);
    line_power(r->m, POWER_RESET);
    assert_int_equal(r->f->power, POWER_RESET);
    assert_int_equal(r->f->power_count, 1);
}

static void test_line_push_tells_every_level_again(void **state)
{
    struct rig *r = *state;
    line_init(&r->w[0], &r->t->dev, LINE_ISA, 3);
    line_init(&r->w[1], &r->t->dev, LINE_ISA, 3);
    line_init(&r->w[2], &r->t->dev, LINE_INTX, 8 << 2);
    line_set(&r->w[1], true);
    line_set(&r->w[2], true);
    r->f->isa[3] = false; /* the host forgot */
    r->f->intx[8][0] = false;
    r->f->isa[5] = true; /* the toy's own wire is low */
    r->f->isa[7] = true; /* nobody's: not ours to touch */
    told = 0;
    machine_push_lines(r->m);
    assert_int_equal(told, 2); /* IRQ 3, which two wires share, and 5 */
    assert_true(r->f->isa[3]);
    assert_true(r->f->intx[8][0]);
    assert_false(r->f->isa[5]);
    assert_true(r->f->isa[7]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_line_change_reaches_the_host_once),
        T(test_line_isa_level_is_the_or_of_its_wires),
        T(test_line_none_goes_nowhere),
        T(test_line_intx_carries_devfn_and_pin),
        T(test_line_links_fold_pins_into_isa_irqs),
        T(test_line_messages_and_power_pass),
        T(test_line_push_tells_every_level_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
