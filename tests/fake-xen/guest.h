/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/guest.h - a domain that the test plays: its vCPUs, memory and event channels.
 *
 * One fake_guest is one $FAKE_XEN_DIR. The device model under test runs in its own process; the
 * functions here do what Xen and the guest's vCPUs would do. Single-threaded.
 */
#ifndef FAKE_XEN_GUEST_H
#define FAKE_XEN_GUEST_H

#include "tests/fake-xen/shared.h"

#include <stddef.h>
#include <xen/hvm/ioreq.h>

struct fake_guest {
    struct fake_domain *dom;
    uint8_t *memory; /* the memory file, as far as mapped */
    uint64_t memory_bytes;
    struct ioreq *slots;
    struct buffered_iopage *buffered;
    int memory_fd, listen_fd, evtchn_fd, notify_fd; /* evtchn_fd -1: nobody connected */
    bool masked[FAKE_LOCAL_PORTS], pending[FAKE_LOCAL_PORTS];
    unsigned vcpu; /* whose slot requests use */
};

/* Makes directory dir into a domain with ram_bytes of RAM (below 0xf0000000). 0 or -1, errno. */
int fake_guest_init(struct fake_guest *g, const char *dir, unsigned domid, unsigned vcpus,
                    uint64_t ram_bytes, uint64_t max_memkb);
/* Until the device model has enabled its server and bound all ports. 0, or -1 after ms. */
int fake_guest_wait_ready(struct fake_guest *g, int ms);

/* Makes the chosen vCPU's slot READY with these contents (state aside), sends its event and waits.
 * 0 with *s as answered, -1 when no answer came within ms. */
int fake_guest_request(struct fake_guest *g, struct ioreq *s, int ms);
/* Sends the event of a port as Xen would. */
void fake_guest_send(struct fake_guest *g, unsigned remote_port);
/* Breaks the device model's event channel descriptor: it reads its end. */
void fake_guest_hang_up(struct fake_guest *g);
/* Puts one entry into the buffered ring (two for size 8), without an event. -1 when it is full. */
int fake_guest_buffered(struct fake_guest *g, uint8_t type, uint64_t addr, unsigned size,
                        uint64_t val);
/* Waits until the buffered ring is empty. 0, or -1 after ms. */
int fake_guest_drained(struct fake_guest *g, int ms);

/* Accesses as a vCPU makes them: RAM directly, claimed ranges through the ring, anything else all
 * ones. -1 when the device model does not answer. */
int fake_guest_pio(struct fake_guest *g, bool write, uint16_t port, unsigned size, uint64_t *val);
int fake_guest_mem(struct fake_guest *g, bool write, uint64_t gpa, unsigned size, uint64_t *val);
int fake_guest_config(struct fake_guest *g, bool write, uint16_t bdf, unsigned reg, unsigned size,
                      uint64_t *val);
/* Copies to or from guest memory; -1 where there is a hole. Writes mark tracked pages. */
int fake_guest_copy(struct fake_guest *g, bool write, uint64_t gpa, void *buf, size_t len);

/* Whether all bytes of a range are claimed. */
bool fake_guest_claimed_pio(const struct fake_guest *g, uint16_t port, unsigned size);
bool fake_guest_claimed_mmio(const struct fake_guest *g, uint64_t first, uint64_t last);
bool fake_guest_claimed_pci(const struct fake_guest *g, uint16_t bdf);

#endif
