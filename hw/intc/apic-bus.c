/* SPDX-License-Identifier: MIT */
/* hw/intc/apic-bus.c - messages on their way: whom a destination means, and what each kind does there.
 *
 * Reference: Intel SDM volume 3, 11.6 (interprocessor interrupts), 11.11 (MSI), 11.12 (x2APIC).
 */
#include "hw/intc/apic-int.h"

uint32_t lapic_x2_ldr(unsigned cpu)
{
    return (cpu >> 4) << 16 | 1u << (cpu & 15);
}

static bool logical_match(const struct lapic *a, unsigned cpu, const struct apic_message *msg)
{
    if (lapic_x2(a)) {
        uint32_t ldr = lapic_x2_ldr(cpu);
        return msg->dest >> 16 == ldr >> 16 && (msg->dest & ldr & 0xffff);
    }
    uint8_t dest = (uint8_t)msg->dest, ldr = (uint8_t)(a->ldr >> 24);
    if (msg->dest > 0xff) {
        return false;
    }
    if (a->dfr >> 28 == 0xf) { /* flat */
        return dest & ldr;
    }
    return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

static bool match(const struct apic *s, unsigned cpu, const struct apic_message *msg)
{
    const struct lapic *a = &s->cpu[cpu];
    if (msg->dest == (msg->wide ? BROADCAST : 0xff)) {
        return true;
    }
    if (msg->logical) {
        return logical_match(a, cpu, msg);
    }
    return msg->dest == (lapic_x2(a) ? cpu : a->id);
}

static void deliver_to(struct apic *s, unsigned cpu, const struct apic_message *msg)
{
    struct machine *m = s->dev.m;
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        lapic_accept(s, cpu, msg->vector, msg->level);
        break;
    case APIC_SMI:
        cpu_smi(m, cpu);
        break;
    case APIC_NMI:
        cpu_nmi(m, cpu);
        break;
    case APIC_INIT:
        cpu_init_signal(m, cpu);
        break;
    case APIC_SIPI:
        cpu_sipi(m, cpu, msg->vector);
        break;
    default: /* ExtINT needs a PIC at the sender; nobody wires one there */
        break;
    }
}

/* Among those addressed the one that does the least important work, in turn if several do. */
static void deliver_lowest(struct apic *s, const struct apic_message *msg)
{
    int best = -1;
    for (unsigned i = 0; i < s->cpus; i++) {
        unsigned cpu = (s->next + i) % s->cpus;
        if (match(s, cpu, msg) && lapic_software_on(&s->cpu[cpu]) &&
            (best < 0 || lapic_ppr(&s->cpu[cpu]) < lapic_ppr(&s->cpu[best]))) {
            best = (int)cpu;
        }
    }
    if (best >= 0) {
        s->next = ((unsigned)best + 1) % s->cpus;
        deliver_to(s, (unsigned)best, msg);
    }
}

void apic_deliver(struct device *d, const struct apic_message *msg)
{
    struct apic *s = (struct apic *)d;
    if (msg->mode == APIC_LOWEST) {
        deliver_lowest(s, msg);
        return;
    }
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        if (match(s, cpu, msg)) {
            deliver_to(s, cpu, msg);
        }
    }
}

void apic_msi(struct device *d, uint64_t addr, uint32_t data)
{
    struct apic_message msg = {
        .dest = (uint32_t)(addr >> 12) & 0xff,
        .logical = addr & 4,
        .mode = data >> 8 & 7,
        .vector = (uint8_t)data,
        .level = data & 0x8000,
    };
    if (addr >> 20 == APIC_WINDOW >> 20) {
        apic_deliver(d, &msg);
    }
}
/* ---- interprocessor interrupts ---- */

void apic_send_ipi(struct apic *s, unsigned cpu, uint32_t icr, uint32_t dest, bool wide)
{
    enum { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS } to = icr >> 18 & 3;
    struct apic_message msg = { .dest = dest,
                                .logical = icr & ICR_LOGICAL,
                                .wide = wide,
                                .mode = icr >> 8 & 7,
                                .vector = (uint8_t)icr };
    bool vectored = msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST;
    if (vectored && msg.vector < FIRST_VECTOR) {
        lapic_error(s, cpu, ESR_SENT_ILLEGAL);
        return;
    }
    if (msg.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT)) {
        return; /* INIT level de-assert only synchronises arbitration */
    }
    if (to == TO_DEST) {
        apic_deliver(&s->dev, &msg);
        return;
    }
    for (unsigned i = 0; i < s->cpus; i++) {
        if (to == TO_ALL || (i == cpu) == (to == TO_SELF)) {
            deliver_to(s, i, &msg);
        }
    }
}
