/* SPDX-License-Identifier: MIT */
/* hw/acpi/piix4-pm.h - what the monitor may ask of the power management function. */
#ifndef HW_ACPI_PIIX4_PM_H
#define HW_ACPI_PIIX4_PM_H

#include "hw/pci/pci.h"

/* Property "eject" (PTR): the guest let go of PCI slot (1..31); take its functions away. */
struct piix4_pm_eject {
    void (*fn)(void *opaque, unsigned slot);
    void *opaque;
};

#define PIIX4_PMBA 0x40 /* configuration register: where PM1 and the PM timer are */

/* The operator pressed the power button. Without effect under Xen, which owns that event. */
void piix4_pm_power_button(struct device *d);
/* The machine woke up from S3. */
void piix4_pm_wake(struct device *d);
/* Processor cpu (0..255) is there now: tells the guest through GPE 2. */
void piix4_pm_cpu_plug(struct device *d, unsigned cpu);
/* A function was plugged into slot (0..31), or is asked to leave it: GPE 1. */
void piix4_pm_pci_plug(struct device *d, unsigned slot);
void piix4_pm_pci_unplug_request(struct device *d, unsigned slot);

extern const struct dev_class piix4_pm_class;

#endif
