/* SPDX-License-Identifier: MIT */
/* ioreq/irq-route.c - from lines to the sixteen ISA IRQs: see irq-route.h. */
#include "ioreq/irq-route.h"

static bool level_of(const struct irq_route *r, unsigned irq)
{
    bool level = r->isa[irq];
    for (unsigned link = 0; link < 4; link++) {
        level |= irq && r->link[link] == irq && r->asserted[link];
    }
    return level;
}

static void tell(struct irq_route *r, unsigned irq)
{
    bool level = level_of(r, irq);
    if (r->sink && level != r->told[irq]) {
        r->told[irq] = level;
        r->rises[irq] += level;
        r->sink->irq(r->sink_o, irq, level);
    }
}

void irq_route_isa(struct irq_route *r, unsigned irq, bool level)
{
    r->isa[irq] = level;
    tell(r, irq);
}

/* Slot and pin to PIRQ as the PCI slots of a PIIX3 board are wired: slot 1, INTA is PIRQA. */
void irq_route_intx(struct irq_route *r, unsigned devfn, unsigned pin, bool level)
{
    unsigned link = ((devfn >> 3) + pin + 3) & 3;
    if (r->intx[devfn][pin] != level) {
        r->intx[devfn][pin] = level;
        r->asserted[link] = level ? r->asserted[link] + 1 : r->asserted[link] - 1;
        tell(r, r->link[link]);
    }
}

void irq_route_link(struct irq_route *r, unsigned link, unsigned isa_irq)
{
    unsigned before = r->link[link];
    r->link[link] = (uint8_t)isa_irq;
    tell(r, before);
    tell(r, isa_irq);
}

void irq_route_msi(struct irq_route *r, uint64_t addr, uint32_t data)
{
    if (r->sink) {
        r->sink->msi(r->sink_o, addr, data);
    }
}
