/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/floor-model.c - the least any device model does for a request: three system calls.
 *
 * floor-model DOMID: claims port 0x100, answers every request with 0x5a, and does nothing else.
 * bench-xen.py sets Keel's cost against it, since what a system call or a wake costs differs by a
 * factor of ten between machines.
 */
#include "tests/fake-xen/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/hvm/ioreq.h>
#include <xenctrl.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>

int main(int argc, char **argv)
{
    domid_t dom = (domid_t)(argc > 1 ? atoi(argv[1]) : 0);
    ioservid_t id;
    void *pages = NULL;
    evtchn_port_t buffered, got[64];
    xendevicemodel_handle *dm = xendevicemodel_open(NULL, 0);
    xenforeignmemory_handle *fm = xenforeignmemory_open(NULL, 0);
    xenevtchn_handle *ec = xenevtchn_open(NULL, 0);
    if (!dm || !fm || !ec ||
        xendevicemodel_create_ioreq_server(dm, dom, HVM_IOREQSRV_BUFIOREQ_ATOMIC, &id) < 0 ||
        !xenforeignmemory_map_resource(fm, dom, XENMEM_resource_ioreq_server, id, 0, 2, &pages,
                                       PROT_READ | PROT_WRITE, 0)) {
        return 1;
    }
    xendevicemodel_get_ioreq_server_info(dm, dom, id, NULL, NULL, &buffered);
    xendevicemodel_map_io_range_to_ioreq_server(dm, dom, id, 0, 0x100, 0x100);
    xendevicemodel_set_ioreq_server_state(dm, dom, id, 1);
    struct ioreq *s = (void *)((char *)pages + FAKE_PAGE);
    int port = xenevtchn_bind_interdomain(ec, dom, s->vp_eport);
    xenevtchn_bind_interdomain(ec, dom, buffered);

    for (ssize_t n; (n = read(xenevtchn_fd(ec), got, sizeof(got))) > 0;) {
        if ((__atomic_load_n((uint8_t *)s + 30, __ATOMIC_ACQUIRE) & 15) == STATE_IOREQ_READY) {
            s->data = 0x5a;
            __atomic_store_n((uint8_t *)s + 30, STATE_IORESP_READY | 0x20, __ATOMIC_RELEASE);
            xenevtchn_notify(ec, (evtchn_port_t)port);
        }
        if (write(xenevtchn_fd(ec), got, (size_t)n) < 0) {
            return 1;
        }
    }
    return 0;
}
