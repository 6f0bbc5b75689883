/* SPDX-License-Identifier: MIT */
/* hw/isa/port92.c - system control port A (0x92): fast reset and fast A20.
 *
 * Bit 0 going from 0 to 1 resets the platform. Bit 1 opens or masks address line 20 where Keel owns
 * the processors; the keyboard controller has the same power, and the last to speak wins, so that
 * firmware may use either alone. Power-on leaves the line open whatever this bit says. The drive
 * light and security bits read as zero.
 * Reference: Intel 82371SB data sheet 290550, 2.5.6.3 has the signals; the port is IBM PS/2's.
 */
#include "hw/isa/port92.h"

#include "ioreq/cpu.h"

enum { PORT92_RESET = 1, PORT92_A20 = 2 };

struct port92 {
    struct device dev;
    struct region port;
    uint8_t val;
};

static uint64_t port92_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off, (void)size;
    return ((struct port92 *)d)->val;
}

static void port92_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct port92 *s = (struct port92 *)d;
    bool reset = (val & PORT92_RESET) && !(s->val & PORT92_RESET);

    (void)off, (void)size;
    s->val = val & (PORT92_RESET | PORT92_A20);
    cpu_a20(d->m, s->val & PORT92_A20);
    if (reset) {
        line_power(d->m, POWER_RESET);
    }
}

static const struct reg_name names[] = { { 0, "PORT92" }, { 0, NULL } };
static const struct region_ops ops = { port92_read, port92_write, 1, names };

static int port92_init(struct device *d, struct err *e)
{
    struct port92 *s = (struct port92 *)d;

    (void)e;
    region_init(&s->port, d, &ops, IO_PIO, 1, "PORT92");
    region_map(&s->port, 0x92);
    return 0;
}

static void port92_reset(struct device *d)
{
    ((struct port92 *)d)->val = 0;
}

static void port92_fini(struct device *d)
{
    region_unmap(&((struct port92 *)d)->port);
}

static const struct state_field port92_state[] = {
    FIELD_RANGE(struct port92, val, 0, 3),
    FIELD_END,
};

const struct dev_class port92_class = {
    .name = "port92",
    .desc = "system control port A: fast reset and A20",
    .size = sizeof(struct port92),
    .state = port92_state,
    .state_version = 1,
    .init = port92_init,
    .reset = port92_reset,
    .fini = port92_fini,
};
