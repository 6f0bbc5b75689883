/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/disk-bench.h - a guest's disk drivers, as little as moves data at full speed. */
#ifndef FAKE_XEN_DISK_BENCH_H
#define FAKE_XEN_DISK_BENCH_H

#include "tests/fake-xen/guest.h"

/* count requests of 64 KiB to the primary master by bus master DMA, in order over the first `span` bytes,
 * as a driver makes them: PRD table, task file, start, interrupt, three registers. 0, or -1: an error or
 * no answer. */
int disk_bench_ide(struct fake_guest *g, bool write, unsigned count, uint64_t span);
/* count requests of 11 pages to the PV disk whose ring is the guest's page `ring` and whose data pages
 * begin at page `data`, depth at a time; both are granted under their own numbers. dir: the domain's. */
int disk_bench_pv(struct fake_guest *g, const char *dir, bool write, unsigned count, uint64_t span,
                  unsigned depth, uint32_t ring, uint32_t data);

#endif
