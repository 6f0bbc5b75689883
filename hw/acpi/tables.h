/* SPDX-License-Identifier: MIT */
/* hw/acpi/tables.h - the ACPI tables of the PC, and the loader script that places them. */
#ifndef HW_ACPI_TABLES_H
#define HW_ACPI_TABLES_H

#include "ioreq/state.h"

#include <stdbool.h>
#include <stdint.h>

struct acpi_config {
    unsigned cpus, max_cpus;     /* present at power-on; possible, 1 to 255 */
    uint16_t pm_base;            /* ports of PIIX4's power management block */
    uint64_t below_4g, above_4g; /* bytes of RAM */
    bool hpet;
    uint8_t serials; /* bit n: COM n+1 is there */
    bool floppy;
};

/* Contents of etc/acpi/rsdp, etc/acpi/tables and etc/table-loader; free(p) of each by the caller. */
struct acpi_files {
    struct state_buf rsdp, tables, loader;
};
/* The same configuration gives the same bytes, and pm_base does not change their number. */
void acpi_build(const struct acpi_config *c, struct acpi_files *out);

/* Appends the body (without header) of the DSDT. */
struct aml;
void acpi_dsdt(const struct acpi_config *c, struct aml *a);

#endif
