/* SPDX-License-Identifier: MIT */
/* xen-glue/lib.h - Xen's user-space libraries, opened at run time.
 *
 * One binary runs with and without Xen, so nothing links against these libraries: xen_lib_open
 * fills a table of function pointers, typed by Xen's own headers. Functions that are missing in
 * some Xen versions are optional (NULL then) and their users know what to do without; so is the library
 * of grant tables as a whole, which only PV back ends need.
 */
#ifndef XEN_GLUE_LIB_H
#define XEN_GLUE_LIB_H

#include <xenctrl.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xengnttab.h>
#include <xenstore.h>
#include <xentoolcore.h>

struct err;

/* X(library, function, required). */
#define XEN_FUNCTIONS(X)                                                                           \
    X(CTRL, xc_interface_open, true)                                                               \
    X(CTRL, xc_interface_close, true)                                                              \
    X(CTRL, xc_domain_getinfo, false) /* gone in 4.18 */                                           \
    X(CTRL, xc_domain_setmaxmem, true)                                                             \
    X(CTRL, xc_domain_populate_physmap_exact, true)                                                \
    X(CTRL, xc_hvm_param_set, true)                                                                \
    X(DEVICEMODEL, xendevicemodel_open, true)                                                      \
    X(DEVICEMODEL, xendevicemodel_close, true)                                                     \
    X(DEVICEMODEL, xendevicemodel_create_ioreq_server, true)                                       \
    X(DEVICEMODEL, xendevicemodel_destroy_ioreq_server, true)                                      \
    X(DEVICEMODEL, xendevicemodel_get_ioreq_server_info, true)                                     \
    X(DEVICEMODEL, xendevicemodel_set_ioreq_server_state, true)                                    \
    X(DEVICEMODEL, xendevicemodel_map_io_range_to_ioreq_server, true)                              \
    X(DEVICEMODEL, xendevicemodel_unmap_io_range_from_ioreq_server, true)                          \
    X(DEVICEMODEL, xendevicemodel_map_pcidev_to_ioreq_server, true)                                \
    X(DEVICEMODEL, xendevicemodel_unmap_pcidev_from_ioreq_server, true)                            \
    X(DEVICEMODEL, xendevicemodel_set_isa_irq_level, true)                                         \
    X(DEVICEMODEL, xendevicemodel_set_pci_intx_level, true)                                        \
    X(DEVICEMODEL, xendevicemodel_set_pci_link_route, true)                                        \
    X(DEVICEMODEL, xendevicemodel_inject_msi, true)                                                \
    X(DEVICEMODEL, xendevicemodel_track_dirty_vram, true)                                          \
    X(DEVICEMODEL, xendevicemodel_modified_memory, true)                                           \
    X(DEVICEMODEL, xendevicemodel_shutdown, true)                                                  \
    X(DEVICEMODEL, xendevicemodel_relocate_memory, true)                                           \
    X(DEVICEMODEL, xendevicemodel_pin_memory_cacheattr, true)                                      \
    X(DEVICEMODEL, xendevicemodel_nr_vcpus, false) /* since 4.13 */                                \
    X(EVTCHN, xenevtchn_open, true)                                                                \
    X(EVTCHN, xenevtchn_close, true)                                                               \
    X(EVTCHN, xenevtchn_fd, true)                                                                  \
    X(EVTCHN, xenevtchn_notify, true)                                                              \
    X(EVTCHN, xenevtchn_bind_interdomain, true)                                                    \
    X(EVTCHN, xenevtchn_pending, true)                                                             \
    X(EVTCHN, xenevtchn_unbind, true)                                                              \
    X(EVTCHN, xenevtchn_unmask, true)                                                              \
    X(FOREIGNMEMORY, xenforeignmemory_open, true)                                                  \
    X(FOREIGNMEMORY, xenforeignmemory_close, true)                                                 \
    X(FOREIGNMEMORY, xenforeignmemory_map, true)                                                   \
    X(FOREIGNMEMORY, xenforeignmemory_map2, true)                                                  \
    X(FOREIGNMEMORY, xenforeignmemory_unmap, true)                                                 \
    X(FOREIGNMEMORY, xenforeignmemory_map_resource, false) /* since 4.11 */                        \
    X(FOREIGNMEMORY, xenforeignmemory_unmap_resource, false)                                       \
    X(GNTTAB, xengnttab_open, false)                                                               \
    X(GNTTAB, xengnttab_close, false)                                                              \
    X(GNTTAB, xengnttab_map_domain_grant_refs, false)                                              \
    X(GNTTAB, xengnttab_unmap, false)                                                              \
    X(GNTTAB, xengnttab_grant_copy, false)                                                         \
    X(STORE, xs_open, true)                                                                        \
    X(STORE, xs_close, true)                                                                       \
    X(STORE, xs_read, true)                                                                        \
    X(STORE, xs_write, true)                                                                       \
    X(STORE, xs_directory, true)                                                                   \
    X(STORE, xs_rm, true)                                                                          \
    X(STORE, xs_set_permissions, true)                                                             \
    X(STORE, xs_watch, true)                                                                       \
    X(STORE, xs_unwatch, true)                                                                     \
    X(STORE, xs_fileno, true)                                                                      \
    X(STORE, xs_check_watch, true)                                                                 \
    X(TOOLCORE, xentoolcore_restrict_all, true)

enum xen_library {
    CTRL,
    DEVICEMODEL,
    EVTCHN,
    FOREIGNMEMORY,
    GNTTAB,
    STORE,
    TOOLCORE,
    XEN_LIBRARIES
};

struct xen_lib {
    void *handle[XEN_LIBRARIES];
#define XEN_MEMBER(library, function, required) __typeof__(&function) function;
    XEN_FUNCTIONS(XEN_MEMBER)
#undef XEN_MEMBER
};

/* Opens every library and looks every function up. 0, or -ENOENT with e naming the first library
 * or function that is missing (nothing stays open then). */
int xen_lib_open(struct xen_lib *l, struct err *e);
void xen_lib_close(struct xen_lib *l);

#endif
