/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/fakexen-pv.h - what fakexen-pv.c and fakexen.c have of each other. */
#ifndef FAKEXEN_PV_H
#define FAKEXEN_PV_H

#include <stdbool.h>
#include <stdint.h>

/* fakexen.c's */
int fake_open_in_dir(const char *name, int flags);
int fake_memory_fd(void);
/* The machine page of a guest frame. */
bool fake_page_of(uint64_t gfn, uint64_t *page);
void fake_node_path(char *out, unsigned long size, const char *path);

/* Another handle for event channels than the ring thread's: h is it, its calls. */
void *fake_pv_evtchn_open(void);
bool fake_pv_is(const void *h);
int fake_pv_fd(void);
int fake_pv_bind(uint32_t remote);
int fake_pv_notify(uint32_t port);

#endif
