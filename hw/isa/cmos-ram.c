/* SPDX-License-Identifier: MIT */
/* hw/isa/cmos-ram.c - the RAM of a real-time clock chip, without the clock.
 *
 * Xen models the MC146818's registers 0 to 13 itself and passes on what a guest does to the bytes
 * above: firmware keeps the boot order, drive types and memory sizes there. Where no hypervisor
 * answers for the clock its registers read as zero. The bytes outlive a reset, as a battery has it.
 * Reference: MC146818A data sheet (index and data port); SeaBIOS src/hw/rtc.h (who reads what).
 */
#include "hw/isa/cmos-ram.h"

#include <string.h>

enum { INDEX_MASK = 0x7f }; /* bit 7 of the index port masks NMI, which is never raised */

struct cmos_ram {
    struct device dev;
    struct region port;
    uint8_t index;
    uint8_t bytes[CMOS_RAM_BYTES];
    const uint8_t *content;
};

static uint64_t cmos_read(struct device *d, uint64_t off, unsigned size)
{
    struct cmos_ram *s = (struct cmos_ram *)d;
    (void)size;
    if (off == 0) { /* write-only */
        return 0xff;
    }
    return s->index >= CMOS_RAM_FIRST ? s->bytes[s->index] : 0;
}

static void cmos_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct cmos_ram *s = (struct cmos_ram *)d;
    (void)size;
    if (off == 0) {
        s->index = val & INDEX_MASK;
    } else if (s->index >= CMOS_RAM_FIRST) {
        s->bytes[s->index] = (uint8_t)val;
    }
}

static const struct reg_name names[] = { { 0, "INDEX" }, { 1, "DATA" }, { 0, NULL } };
static const struct region_ops ops = { cmos_read, cmos_write, 1, names };

static int cmos_init(struct device *d, struct err *e)
{
    struct cmos_ram *s = (struct cmos_ram *)d;
    (void)e;
    if (s->content) {
        memcpy(s->bytes, s->content, sizeof(s->bytes));
        s->content = NULL;
    }
    region_init(&s->port, d, &ops, IO_PIO, 2, "CMOS");
    region_map(&s->port, 0x70);
    return 0;
}

static void cmos_reset(struct device *d)
{
    ((struct cmos_ram *)d)->index = 0;
}

static void cmos_fini(struct device *d)
{
    region_unmap(&((struct cmos_ram *)d)->port);
}

static const struct dev_prop props[] = {
    PROP(struct cmos_ram, "content", PROP_PTR, content, 0, "what the battery kept"),
    { 0 },
};

static const struct state_field state[] = {
    FIELD_RANGE(struct cmos_ram, index, 0, INDEX_MASK),
    FIELD_ARRAY(struct cmos_ram, bytes),
    FIELD_END,
};

const struct dev_class cmos_ram_class = {
    .name = "cmos-ram",
    .desc = "battery-backed RAM of the real-time clock",
    .size = sizeof(struct cmos_ram),
    .props = props,
    .state = state,
    .state_version = 1,
    .init = cmos_init,
    .reset = cmos_reset,
    .fini = cmos_fini,
};
