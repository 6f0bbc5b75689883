/* SPDX-License-Identifier: MIT */
/* dm/board-pc.c - the wires between the chips of a PC whose processors Keel runs: see board-pc.h. */
#include "dm/board-pc.h"

#include "hw/isa/piix3.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "ioreq/cpu.h"
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "ioreq/trace.h"

enum { IRQ_TIMER = 0, IRQ_CASCADE = 2, PIN_TIMER = 2 };

/* IRQ 0 is pin 2 of the I/O APIC (the override in MADT), and so is what HPET sends there itself. */
static void pc_irq(void *o, unsigned irq, bool level)
{
    struct board_pc *pc = o;
    if (irq != IRQ_CASCADE) {
        i8259_set_irq(pc->pic, irq, level);
    }
    ioapic_set_pin(pc->ioapic, irq == IRQ_TIMER ? PIN_TIMER : irq, level);
}

static void pc_msi(void *o, uint64_t addr, uint32_t data)
{
    apic_msi(((struct board_pc *)o)->apic, addr, data);
}

static const struct soft_sink sink = { pc_irq, pc_msi };

static void pic_to_lint0(void *o, bool level)
{
    struct board_pc *pc = o;
    if (pc->apic) {
        apic_set_pic(pc->apic, level);
    }
}

static int pic_ack(void *o)
{
    return i8259_ack(((struct board_pc *)o)->pic);
}

static void end_of_level(void *o, uint8_t vector)
{
    ioapic_eoi(((struct board_pc *)o)->ioapic, vector);
}

static void ferr(void *o, bool level)
{
    piix3_ferr(((struct board_pc *)o)->piix3, level);
}

static void to_apics(void *o, const struct apic_message *msg)
{
    apic_deliver(((struct board_pc *)o)->apic, msg);
}

/* Legacy replacement: HPET's first two timers take over IRQ 0 and 8. */
static void replace_legacy(void *o, bool on)
{
    struct board_pc *pc = o;
    i8254_irq_off(pc->pit, on);
    mc146818_irq_off(pc->rtc, on);
}

void board_pc_wire(struct board_pc *pc)
{
    pc->intr = (struct i8259_out){ pic_to_lint0, pc };
    pc->ack = (struct apic_pic){ pic_ack, pc };
    pc->eoi = (struct apic_eoi){ end_of_level, pc };
    pc->ferr = (struct apic_ferr){ ferr, pc };
    pc->bus = (struct ioapic_bus){ to_apics, pc };
    pc->legacy = (struct hpet_legacy){ replace_legacy, pc };
}

void board_pc_connect(struct board_pc *pc, struct machine *m)
{
    cpu_set_intc(m, &apic_cpu_intc, pc->apic);
    if (m->host == &soft_host_ops) {
        soft_set_sink(m->h, &sink, pc);
    } else if (m->host == &trace_play_host) {
        trace_set_sink(m->h, &sink, pc);
    }
}
