/* SPDX-License-Identifier: MIT */
/* hw/test/pc-testdev.c - pc-testdev: what kvm-unit-tests expect of their machine.
 *
 * Ports 0xe0-0xe3 hold a dword, in accesses of any width. A dword written to 0xe4 names a page
 * whose host mapping a hypervisor would tear down and rebuild; here the mapping never changes, so
 * it is accepted without effect. A byte written to 0x2000 + n drives interrupt line n. 64 KiB at
 * 0xff000000 read back what was written.
 *
 * Left out: lines 16 to 23, which no ISA wire reaches.
 * Reference: the device of that name in QEMU; kvm-unit-tests x86/ioapic.c, x86/vmexit.c.
 */
#include "hw/test/pc-testdev.h"

#include "dm/base/bytes.h"

enum { ECHO_BASE = 0xe0, FLUSH_BASE = 0xe4, IRQ_BASE = 0x2000, IRQ_PORTS = 24, ISA_LINES = 16 };
#define MEM_BASE 0xff000000u
#define MEM_LEN 0x10000

struct pc_testdev {
    struct device dev;
    struct region echo_ports, flush, irq_ports, window;
    struct line irq[ISA_LINES];
    uint8_t echo[4];
    bool level[ISA_LINES];
    uint8_t mem[MEM_LEN];
};

static uint64_t echo_read(struct device *d, uint64_t off, unsigned size)
{
    return load_le(&((struct pc_testdev *)d)->echo[off], size);
}

static void echo_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    store_le(&((struct pc_testdev *)d)->echo[off], size, val);
}

static uint64_t zero_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off, (void)size;
    return 0;
}

static void flush_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)d, (void)off, (void)size, (void)val;
}

static void irq_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct pc_testdev *s = (struct pc_testdev *)d;

    (void)size;
    if (off < ISA_LINES) {
        s->level[off] = val & 0xff;
        line_set(&s->irq[off], s->level[off]);
    }
}

static uint64_t mem_read(struct device *d, uint64_t off, unsigned size)
{
    return load_le(&((struct pc_testdev *)d)->mem[off], size);
}

static void mem_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    store_le(&((struct pc_testdev *)d)->mem[off], size, val);
}

static const struct reg_name echo_names[] = { { 0, "ECHO" }, { 0, NULL } };
static const struct reg_name flush_names[] = { { 0, "FLUSH" }, { 0, NULL } };
static const struct reg_name irq_names[] = { { 0, "IRQ" }, { 0, NULL } };
static const struct region_ops echo_ops = { echo_read, echo_write, 4, echo_names };
static const struct region_ops flush_ops = { zero_read, flush_write, 4, flush_names };
static const struct region_ops irq_ops = { zero_read, irq_write, 1, irq_names };
static const struct region_ops mem_ops = { mem_read, mem_write, 8, NULL };

static int pc_testdev_init(struct device *d, struct err *e)
{
    struct pc_testdev *s = (struct pc_testdev *)d;

    (void)e;
    for (uint16_t i = 0; i < ISA_LINES; i++) {
        line_init(&s->irq[i], d, LINE_ISA, i);
    }
    region_init(&s->echo_ports, d, &echo_ops, IO_PIO, 4, "ECHO");
    region_init(&s->flush, d, &flush_ops, IO_PIO, 4, "FLUSH");
    region_init(&s->irq_ports, d, &irq_ops, IO_PIO, IRQ_PORTS, "IRQ");
    region_init(&s->window, d, &mem_ops, IO_MMIO, MEM_LEN, "ECHO_MEM");
    region_map(&s->echo_ports, ECHO_BASE);
    region_map(&s->flush, FLUSH_BASE);
    region_map(&s->irq_ports, IRQ_BASE);
    region_map(&s->window, MEM_BASE);
    return 0;
}

static void drive_lines(struct pc_testdev *s)
{
    for (unsigned i = 0; i < ISA_LINES; i++) {
        line_set(&s->irq[i], s->level[i]);
    }
}

static void pc_testdev_reset(struct device *d)
{
    struct pc_testdev *s = (struct pc_testdev *)d;

    memset(s->echo, 0, sizeof(s->echo));
    memset(s->level, 0, sizeof(s->level));
    memset(s->mem, 0, sizeof(s->mem));
    drive_lines(s);
}

static int pc_testdev_loaded(struct device *d, struct err *e)
{
    (void)e;
    drive_lines((struct pc_testdev *)d);
    return 0;
}

static void pc_testdev_fini(struct device *d)
{
    struct pc_testdev *s = (struct pc_testdev *)d;

    region_unmap(&s->echo_ports);
    region_unmap(&s->flush);
    region_unmap(&s->irq_ports);
    region_unmap(&s->window);
    for (unsigned i = 0; i < ISA_LINES; i++) {
        line_fini(&s->irq[i]);
    }
}

static const struct state_field pc_testdev_state[] = {
    FIELD_ARRAY(struct pc_testdev, echo),
    FIELD_ARRAY(struct pc_testdev, level),
    FIELD_ARRAY(struct pc_testdev, mem),
    FIELD_END,
};

const struct dev_class pc_testdev_class = {
    .name = "pc-testdev",
    .desc = "echo ports, echo memory and interrupt lines for test guests",
    .size = sizeof(struct pc_testdev),
    .state = pc_testdev_state,
    .state_version = 1,
    .user_creatable = true,
    .init = pc_testdev_init,
    .reset = pc_testdev_reset,
    .loaded = pc_testdev_loaded,
    .fini = pc_testdev_fini,
};
