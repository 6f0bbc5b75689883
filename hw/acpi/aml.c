/* SPDX-License-Identifier: MIT */
/* hw/acpi/aml.c - writes ACPI machine language: see aml.h. */
#include "hw/acpi/aml.h"

#include "dm/base/bytes.h"

#include <assert.h>
#include <stdlib.h>

enum {
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    STRING_PREFIX = 0x0d,
    QWORD_PREFIX = 0x0e,
    SCOPE_OP = 0x10,
    BUFFER_OP = 0x11,
    PACKAGE_OP = 0x12,
    METHOD_OP = 0x14,
    DUAL_NAME = 0x2e,
    MULTI_NAME = 0x2f,
    EXT_PREFIX = 0x5b,
    REGION_OP = 0x80, /* these four after EXT_PREFIX */
    FIELD_OP = 0x81,
    DEVICE_OP = 0x82,
    PROCESSOR_OP = 0x83,
    IF_OP = 0xa0,
    ELSE_OP = 0xa1,
    WHILE_OP = 0xa2,
    FIELD_PRESERVE_NO_LOCK = 0x00,
};

static void put(struct aml *a, uint64_t v, unsigned size)
{
    uint8_t b[8];
    store_le(b, size, v);
    state_put(&a->out, b, size);
}

void aml_op(struct aml *a, enum aml_op op)
{
    put(a, op, 1);
}

void aml_raw(struct aml *a, const void *p, size_t len)
{
    state_put(&a->out, p, len);
}

void aml_int(struct aml *a, uint64_t v)
{
    if (v < 2) {
        put(a, v, 1);
        return;
    }
    static const uint8_t prefix[] = { BYTE_PREFIX, WORD_PREFIX, DWORD_PREFIX, QWORD_PREFIX };
    unsigned k = v <= 0xff ? 0 : v <= 0xffff ? 1 : v <= 0xffffffff ? 2 : 3;
    put(a, prefix[k], 1);
    put(a, v, 1u << k);
}

void aml_string(struct aml *a, const char *s)
{
    put(a, STRING_PREFIX, 1);
    aml_raw(a, s, strlen(s) + 1);
}

static unsigned count_segments(const char *path)
{
    unsigned n = *path ? 1 : 0;
    for (; *path; path++) {
        n += *path == '.';
    }
    return n;
}

void aml_path(struct aml *a, const char *path)
{
    while (*path == '\\' || *path == '^') {
        put(a, (uint8_t)*path++, 1);
    }
    unsigned n = count_segments(path);
    if (n == 0) {
        put(a, 0, 1); /* the root alone */
    } else if (n == 2) {
        put(a, DUAL_NAME, 1);
    } else if (n > 2) {
        put(a, MULTI_NAME, 1);
        put(a, n, 1);
    }
    while (*path) {
        size_t len = strcspn(path, ".");
        assert(len <= 4);
        aml_raw(a, path, len);
        aml_raw(a, "____", 4 - len);
        path += len + (path[len] == '.');
    }
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, four hexadecimal digits; bytes in big-endian order. */
void aml_eisaid(struct aml *a, const char *id)
{
    uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
                 (uint32_t)(id[2] - '@') << 16;
    for (unsigned i = 0; i < 4; i++) {
        v |= hex_digit(id[3 + i]) << (12 - 4 * i);
    }
    put(a, DWORD_PREFIX, 1);
    put(a, __builtin_bswap32(v), 4);
}

void aml_name_int(struct aml *a, const char *path, uint64_t v)
{
    aml_op(a, AML_NAME);
    aml_path(a, path);
    aml_int(a, v);
}

void aml_name_id(struct aml *a, const char *path, const char *eisaid)
{
    aml_op(a, AML_NAME);
    aml_path(a, path);
    aml_eisaid(a, eisaid);
}

/* ---- packages ---- */

static void begin(struct aml *a, bool is_buffer)
{
    assert(a->depth < AML_DEPTH);
    a->is_buffer[a->depth] = is_buffer;
    a->open[a->depth++] = a->out.len;
}

static void insert(struct aml *a, size_t at, const uint8_t *p, size_t len)
{
    state_put(&a->out, p, len); /* makes room */
    memmove(a->out.p + at + len, a->out.p + at, a->out.len - len - at);
    memcpy(a->out.p + at, p, len);
}

/* PkgLength counts itself: in one byte up to 63, else in two to four. */
static unsigned encode_length(uint8_t *p, size_t content)
{
    if (content + 1 < 0x40) {
        p[0] = (uint8_t)(content + 1);
        return 1;
    }
    unsigned n = content + 2 < 1u << 12 ? 2 : content + 3 < 1u << 20 ? 3 : 4;
    size_t len = content + n;
    p[0] = (uint8_t)((n - 1) << 6 | (len & 15));
    for (unsigned i = 1; i < n; i++) {
        p[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
    }
    return n;
}

void aml_end(struct aml *a)
{
    assert(a->depth > 0);
    size_t at = a->open[--a->depth];
    uint8_t head[4];
    if (a->is_buffer[a->depth]) {
        size_t bytes = a->out.len - at;
        uint8_t size[3] = { WORD_PREFIX, (uint8_t)bytes, (uint8_t)(bytes >> 8) };
        insert(a, at, size, sizeof(size));
    }
    unsigned n = encode_length(head, a->out.len - at);
    insert(a, at, head, n);
}

void aml_scope(struct aml *a, const char *path)
{
    put(a, SCOPE_OP, 1);
    begin(a, false);
    aml_path(a, path);
}

void aml_device(struct aml *a, const char *path)
{
    put(a, EXT_PREFIX, 1);
    put(a, DEVICE_OP, 1);
    begin(a, false);
    aml_path(a, path);
}

void aml_method(struct aml *a, const char *path, unsigned args)
{
    put(a, METHOD_OP, 1);
    begin(a, false);
    aml_path(a, path);
    put(a, args, 1);
}

void aml_processor(struct aml *a, const char *path, uint8_t id)
{
    put(a, EXT_PREFIX, 1);
    put(a, PROCESSOR_OP, 1);
    begin(a, false);
    aml_path(a, path);
    put(a, id, 1);
    put(a, 0, 4); /* no P_BLK */
    put(a, 0, 1);
}

void aml_package(struct aml *a, uint8_t elements)
{
    put(a, PACKAGE_OP, 1);
    begin(a, false);
    put(a, elements, 1);
}

void aml_if(struct aml *a)
{
    put(a, IF_OP, 1);
    begin(a, false);
}

void aml_else(struct aml *a)
{
    put(a, ELSE_OP, 1);
    begin(a, false);
}

void aml_while(struct aml *a)
{
    put(a, WHILE_OP, 1);
    begin(a, false);
}

void aml_buffer(struct aml *a)
{
    put(a, BUFFER_OP, 1);
    begin(a, true);
}

void aml_region(struct aml *a, const char *path, enum aml_space space, uint64_t off, uint64_t len)
{
    put(a, EXT_PREFIX, 1);
    put(a, REGION_OP, 1);
    aml_path(a, path);
    put(a, space, 1);
    aml_int(a, off);
    aml_int(a, len);
}

void aml_field(struct aml *a, const char *region, unsigned width)
{
    put(a, EXT_PREFIX, 1);
    put(a, FIELD_OP, 1);
    begin(a, false);
    aml_path(a, region);
    put(a, FIELD_PRESERVE_NO_LOCK | (width == 1 ? 1u : width == 2 ? 2u : 3u), 1);
}

void aml_field_unit(struct aml *a, const char *name, unsigned bits)
{
    if (name) {
        aml_raw(a, name, 4);
    } else {
        put(a, 0, 1);
    }
    /* A length here does not count itself. */
    if (bits < 0x40) {
        put(a, bits, 1);
    } else {
        put(a, 1u << 6 | (bits & 15), 1);
        put(a, bits >> 4, 1);
    }
}

/* ---- resources ---- */

void aml_resources(struct aml *a)
{
    aml_buffer(a);
}

void aml_resources_end(struct aml *a)
{
    put(a, 0x0079, 2); /* end tag; a checksum of 0 is always right */
    aml_end(a);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t len)
{
    put(a, 0x47, 1);
    put(a, 1, 1); /* 16-bit decode */
    put(a, base, 2);
    put(a, base, 2);
    put(a, 1, 1);
    put(a, len, 1);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
    put(a, 0x22, 1);
    put(a, 1u << irq, 2);
}

void aml_res_dma(struct aml *a, unsigned channel)
{
    put(a, 0x2a, 1);
    put(a, 1u << channel, 1);
    put(a, 0, 1); /* compatibility, 8-bit, no bus master */
}

void aml_res_interrupts(struct aml *a, const uint32_t *irq, uint8_t n)
{
    put(a, 0x89, 1);
    put(a, 2u + 4u * n, 2);
    put(a, 0x09, 1); /* consumer, level, high, shared */
    put(a, n, 1);
    for (unsigned i = 0; i < n; i++) {
        put(a, irq[i], 4);
    }
}

void aml_res_memory(struct aml *a, uint32_t base, uint32_t len, bool writable)
{
    put(a, 0x86, 1);
    put(a, 9, 2);
    put(a, writable, 1);
    put(a, base, 4);
    put(a, len, 4);
}

/* Address space descriptors: type, flags, then granularity, first, last, translation, length in
 * values of `size` bytes. */
static void window(struct aml *a, unsigned size, uint8_t type, uint8_t flags, uint64_t first,
                   uint64_t last)
{
    put(a, size == 2 ? 0x88 : size == 4 ? 0x87 : 0x8a, 1);
    put(a, 3 + 5 * size, 2);
    put(a, type, 1);
    put(a, 0x0c, 1); /* producer, both ends fixed, positive decode */
    put(a, flags, 1);
    put(a, 0, size);
    put(a, first, size);
    put(a, last, size);
    put(a, 0, size);
    put(a, last - first + 1, size);
}

void aml_res_bus(struct aml *a, uint16_t first, uint16_t last)
{
    window(a, 2, 2, 0, first, last);
}

void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last)
{
    window(a, 2, 1, 3, first, last); /* entire range */
}

void aml_res_memory_window(struct aml *a, uint64_t first, uint64_t last, bool wide)
{
    window(a, wide ? 8 : 4, 0, 3, first, last); /* cacheable, read and write */
}
