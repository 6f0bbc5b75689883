/* SPDX-License-Identifier: MIT */
/* dm/board-pc.h - the chips that a hypervisor would have in itself: interrupts, timers, firmware.
 *
 *   ISA IRQ, PIRQ -> pc_irq -+-> isa-i8259 -> INT -> LINT0 of every local APIC
 *                            +-> ioapic -> bus -> local APICs (apic) -> processors
 */
#ifndef DM_BOARD_PC_H
#define DM_BOARD_PC_H

#include "hw/acpi/tables.h"
#include "hw/intc/apic.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/pcspk.h"
#include "hw/timer/hpet.h"

struct machine;

/* The ACPI tables in fw_cfg, made anew when the firmware asks and PIIX4's block has moved. */
struct firmware_acpi {
    struct machine *m;
    struct device *fw_cfg;
    struct acpi_config c;
};

/* Zeroed: there are none. Filled in by the board; ends with the machine. */
struct board_pc {
    struct device *pic, *ioapic, *apic, *pit, *rtc, *hpet, *fw_cfg, *piix3;
    struct i8259_out intr;
    struct apic_pic ack;
    struct apic_eoi eoi;
    struct apic_ferr ferr;
    struct ioapic_bus bus;
    struct pcspk_timer speaker;
    struct hpet_legacy legacy;
    struct firmware_acpi acpi;
};

/* Fills in the connections; the devices follow as they are made. */
void board_pc_wire(struct board_pc *pc);
/* Lines and messages go to pc's chips, and so do m's processors. After the chips were made. */
void board_pc_connect(struct board_pc *pc, struct machine *m);

#endif
