/* SPDX-License-Identifier: MIT */
/* ioreq/line.c - levels, messages and power events on their way to the host. */
#include "ioreq/machine-int.h"
#include "ioreq/trace.h"

#include <assert.h>

static void trace(struct machine *m, struct device *d, enum line_kind kind, uint64_t num,
                  uint64_t level)
{
    if (machine_traced(m)) {
        trace_line(m, d, kind, num, level);
    }
}

void line_init(struct line *l, struct device *d, enum line_kind kind, uint16_t num)
{
    assert(kind == LINE_NONE || (kind == LINE_ISA && num < 16) ||
           (kind == LINE_INTX && num < 1024));
    *l = (struct line){ .d = d, .kind = kind, .num = num, .next = d->m->lines };
    d->m->lines = l;
}

void line_fini(struct line *l)
{
    if (!l->d) {
        return;
    }
    line_set(l, false);
    for (struct line **at = &l->d->m->lines; *at; at = &(*at)->next) {
        if (*at == l) {
            *at = l->next;
            break;
        }
    }
    l->d = NULL;
}

static void tell_isa(struct machine *m, unsigned irq)
{
    if (m->host->isa_irq) {
        m->host->isa_irq(m->h, irq, m->isa_level[irq] > 0);
    }
}

static void tell_intx(struct machine *m, const struct line *l)
{
    if (m->host->pci_intx) {
        m->host->pci_intx(m->h, l->num >> 2, l->num & 3u, l->level);
    }
}

static void isa_wire(struct machine *m, unsigned irq, bool level)
{
    uint8_t before = m->isa_level[irq];
    m->isa_level[irq] = (uint8_t)(level ? before + 1 : before - 1);
    if (!before || !m->isa_level[irq]) { /* the OR of the wires changed */
        tell_isa(m, irq);
    }
}

void line_set(struct line *l, bool level)
{
    if (l->level == level) {
        return;
    }
    struct machine *m = l->d->m;
    l->level = level;
    if (l->kind == LINE_NONE) {
        return;
    }
    trace(m, l->d, l->kind, l->num, level);
    if (l->kind == LINE_ISA) {
        isa_wire(m, l->num, level);
    } else {
        tell_intx(m, l);
    }
}

void line_pci_link(struct machine *m, unsigned link, unsigned isa_irq)
{
    assert(link < 4 && isa_irq < 16);
    trace(m, NULL, LINE_LINK, link, isa_irq);
    if (m->host->pci_link) {
        m->host->pci_link(m->h, link, isa_irq);
    }
}

void line_msi(struct device *d, uint64_t addr, uint32_t data)
{
    trace(d->m, d, LINE_MSI, addr, data);
    if (d->m->host->msi) {
        d->m->host->msi(d->m->h, addr, data);
    }
}

void line_power(struct machine *m, enum power_event ev)
{
    trace(m, NULL, LINE_POWER, ev, 1);
    if (m->host->power) {
        m->host->power(m->h, ev);
    }
    if (m->on_power) {
        m->on_power(m->on_power_opaque, ev);
    }
}

/* An IRQ is told once, by the first of its wires on the list; one without wires is not ours. */
static bool first_on_irq(const struct line *l)
{
    for (const struct line *o = l->d->m->lines; o != l; o = o->next) {
        if (o->kind == LINE_ISA && o->num == l->num) {
            return false;
        }
    }
    return true;
}

void machine_push_lines(struct machine *m)
{
    for (const struct line *l = m->lines; l; l = l->next) {
        if (l->kind == LINE_INTX) {
            tell_intx(m, l);
        } else if (l->kind == LINE_ISA && first_on_irq(l)) {
            tell_isa(m, l->num);
        }
    }
}
