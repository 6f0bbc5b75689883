/* SPDX-License-Identifier: MIT */
/* tests/bench/bench-door.c - what one access costs inside the process: lock, look-up, callback.
 *
 * Each row is the median of several runs; the aim for a port read is below 60 ns. Prints a table;
 * exits 1 when the first row misses its aim threefold (a slow machine is no failure, a mistake is).
 */
#include "ioreq/flat.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RUNS 15
#define ROUNDS 200000u
#define AIM_NS 60.0

struct part {
    struct device dev;
    struct region port, mmio, many[40];
    uint32_t reg;
};

static uint64_t part_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return ((struct part *)d)->reg++;
}

static void part_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    (void)size;
    ((struct part *)d)->reg = (uint32_t)val;
}

static const struct region_ops part_ops = { part_read, part_write, 4, NULL };

/* A board has a few dozen windows: so has this one. */
static int part_init(struct device *d, struct err *e)
{
    struct part *p = (struct part *)d;
    (void)e;
    region_init(&p->port, d, &part_ops, IO_PIO, 8, "PORT");
    region_map(&p->port, 0x1f0);
    region_init(&p->mmio, d, &part_ops, IO_MMIO, 4096, "MMIO");
    region_map(&p->mmio, 0xf0000000);
    for (unsigned i = 0; i < ARRAY_SIZE(p->many); i++) {
        region_init(&p->many[i], d, &part_ops, IO_PIO, 4, "OTHER");
        region_map(&p->many[i], 0x400 + 16 * i);
    }
    return 0;
}

static void part_fini(struct device *d)
{
    struct part *p = (struct part *)d;
    region_unmap(&p->port);
    region_unmap(&p->mmio);
    for (unsigned i = 0; i < ARRAY_SIZE(p->many); i++) {
        region_unmap(&p->many[i]);
    }
}

static const struct dev_class part_class = {
    .name = "part", .size = sizeof(struct part), .init = part_init, .fini = part_fini
};

/* Time on the processor: what others do meanwhile is not the door's. */
static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median ns of one call of one(m, i), over RUNS runs of `rounds` calls. */
static double median(struct machine *m, void (*one)(struct machine *, unsigned), unsigned rounds)
{
    double ns[RUNS];
    for (unsigned r = 0; r < RUNS; r++) {
        int64_t start = now_ns();
        for (unsigned i = 0; i < rounds; i++) {
            one(m, i);
        }
        ns[r] = (double)(now_ns() - start) / rounds;
    }
    qsort(ns, RUNS, sizeof(ns[0]), by_value);
    return ns[RUNS / 2];
}

static void read_port(struct machine *m, unsigned i)
{
    struct io_req req = { .addr = 0x1f0 + (i & 4), .count = 1, .size = 4, .space = IO_PIO };
    (void)ioreq_run(m, &req);
}

static void write_port(struct machine *m, unsigned i)
{
    io_write(m, IO_PIO, 0x1f7, 1, i);
}

static void read_mmio(struct machine *m, unsigned i)
{
    (void)io_read(m, IO_MMIO, 0xf0000000 + (i & 0xffc), 4);
}

static void read_here_and_there(struct machine *m, unsigned i)
{
    (void)io_read(m, IO_PIO, 0x400 + 16 * (i * 7 % 40), 4);
}

static void read_nobody(struct machine *m, unsigned i)
{
    (void)i;
    (void)io_read(m, IO_PIO, 0x80, 1);
}

static void insw(struct machine *m, unsigned i)
{
    struct io_req req = { .addr = 0x1f0,
                          .data = 0x10000 + 512 * (i & 127),
                          .count = 256,
                          .size = 2,
                          .space = IO_PIO,
                          .data_is_ptr = true };
    (void)ioreq_run(m, &req);
}

static void remap(struct machine *m, unsigned i)
{
    machine_enter(m);
    region_map(&((struct part *)m->devices)->many[7], 0x400 + 16 * 7 + 0x1000 * (i & 1));
    machine_leave(m);
}

int main(void)
{
    struct flat_host *f = flat_new(1 << 20);
    struct machine *m = machine_new("bench", &flat_host_ops, f);
    struct device *d = dev_new(m, &part_class, NULL);
    if (dev_init(d, NULL) < 0) {
        return 1;
    }
    double port = median(m, read_port, ROUNDS);
    printf("%-44s %8.1f ns (aim: below %.0f)\n", "port read, ioreq_run to device and back", port,
           AIM_NS);
    printf("%-44s %8.1f ns\n", "port write", median(m, write_port, ROUNDS));
    printf("%-44s %8.1f ns\n", "MMIO read", median(m, read_mmio, ROUNDS));
    printf("%-44s %8.1f ns\n", "port read, another window each time",
           median(m, read_here_and_there, ROUNDS));
    printf("%-44s %8.1f ns\n", "port read, nobody there", median(m, read_nobody, ROUNDS));
    printf("%-44s %8.1f ns\n", "rep insw, 256 words (a sector)", median(m, insw, ROUNDS / 50));
    printf("%-44s %8.1f ns\n", "moving one of 42 windows", median(m, remap, ROUNDS / 50));
    machine_free(m);
    flat_free(f);
    return port > 3 * AIM_NS;
}
