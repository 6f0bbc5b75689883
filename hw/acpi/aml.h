/* SPDX-License-Identifier: MIT */
/* hw/acpi/aml.h - writes ACPI machine language, front to back.
 *
 * Terms are appended in the order of the grammar (ACPI 5.0, chapter 20): an operator, then its
 * operands. What has a package length is opened and closed; its length is put in on closing.
 */
#ifndef HW_ACPI_AML_H
#define HW_ACPI_AML_H

#include "ioreq/state.h"

#include <stdbool.h>
#include <stdint.h>

#define AML_DEPTH 16

struct aml {
    struct state_buf out; /* free(out.p) by the owner */
    size_t open[AML_DEPTH];
    bool is_buffer[AML_DEPTH];
    unsigned depth;
};

enum aml_op {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_LOCAL0 = 0x60, /* ... 0x67 */
    AML_ARG0 = 0x68,   /* ... 0x6e */
    AML_STORE = 0x70,
    AML_ADD = 0x72,
    AML_INCREMENT = 0x75,
    AML_SHIFT_LEFT = 0x79,
    AML_SHIFT_RIGHT = 0x7a,
    AML_AND = 0x7b,
    AML_OR = 0x7d,
    AML_DEREF_OF = 0x83,
    AML_NOTIFY = 0x86,
    AML_SIZE_OF = 0x87,
    AML_INDEX = 0x88,
    AML_CREATE_DWORD_FIELD = 0x8a,
    AML_LNOT = 0x92,
    AML_LEQUAL = 0x93,
    AML_LLESS = 0x95,
    AML_RETURN = 0xa4,
    AML_NAME = 0x08,
};

void aml_op(struct aml *a, enum aml_op op);
void aml_raw(struct aml *a, const void *p, size_t len);
void aml_int(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);
/* "\\_SB", "PCI0", "PCI0.ISA_", "^LNKA"; segments shorter than four letters are filled up. */
void aml_path(struct aml *a, const char *path);
/* EISAID("PNP0A03") as an integer. */
void aml_eisaid(struct aml *a, const char *id);
/* Name(path, v) of an integer, and of an EISA id. */
void aml_name_int(struct aml *a, const char *path, uint64_t v);
void aml_name_id(struct aml *a, const char *path, const char *eisaid);

/* Each is closed by aml_end. */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *path);
#define AML_SERIALIZED 8u /* or-ed into the number of arguments */
void aml_method(struct aml *a, const char *path, unsigned args);
void aml_processor(struct aml *a, const char *path, uint8_t id);
void aml_package(struct aml *a, uint8_t elements);
void aml_if(struct aml *a);
void aml_else(struct aml *a);
void aml_while(struct aml *a);
/* Buffer whose length is put in on closing: its bytes follow as raw. */
void aml_buffer(struct aml *a);
/* Field(region, access, lock none, preserve): width in bytes (1, 2, 4). Units follow. */
void aml_field(struct aml *a, const char *region, unsigned width);
void aml_end(struct aml *a);

enum aml_space { AML_SYSTEM_MEMORY, AML_SYSTEM_IO, AML_PCI_CONFIG };
void aml_region(struct aml *a, const char *path, enum aml_space space, uint64_t off, uint64_t len);
/* Inside a field: bits with a name, or NULL to skip them. */
void aml_field_unit(struct aml *a, const char *name, unsigned bits);

/* Inside aml_resources .. aml_resources_end: descriptors (ACPI 5.0, 6.4). */
void aml_resources(struct aml *a);
void aml_resources_end(struct aml *a);
void aml_res_io(struct aml *a, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *a, unsigned irq); /* edge, high, exclusive */
void aml_res_dma(struct aml *a, unsigned channel);
/* Interrupts as GSIs: level, high, shared. */
void aml_res_interrupts(struct aml *a, const uint32_t *irq, uint8_t n);
void aml_res_memory(struct aml *a, uint32_t base, uint32_t len, bool writable);
void aml_res_bus(struct aml *a, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory_window(struct aml *a, uint64_t first, uint64_t last, bool wide);

#endif
