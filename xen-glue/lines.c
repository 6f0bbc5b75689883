/* SPDX-License-Identifier: MIT */
/* xen-glue/lines.c - lines become hypercalls; Xen owns the interrupt controllers.
 *
 * ISA levels and links that did not change are not told again: a hypercall costs more than a
 * compare. INTx levels are compared by the line door already.
 * Reference: Xen's public hvm/dm_op.h.
 */
#include "xen-glue/xen-int.h"

#include <errno.h>
#include <string.h>

#include <xen/hvm/params.h>
#include <xen/sched.h>

static void check(struct xen *x, int r, const char *what, uint64_t arg)
{
    if (r < 0) {
        log_limited(&x->line_log, "xen", "%s 0x%llx: %s", what, (unsigned long long)arg,
                    strerror(errno));
    }
}

void xen_isa_irq(void *h, unsigned irq, bool level)
{
    struct xen *x = h;
    if (irq >= 16 || x->isa_level[irq] == level) {
        return;
    }
    x->isa_level[irq] = level;
    check(x, x->lib.xendevicemodel_set_isa_irq_level(x->dm, x->domid, (uint8_t)irq, level),
          "ISA IRQ", irq);
}

void xen_pci_intx(void *h, unsigned devfn, unsigned pin, bool level)
{
    struct xen *x = h;
    check(x,
          x->lib.xendevicemodel_set_pci_intx_level(x->dm, x->domid, 0, 0, (uint8_t)(devfn >> 3),
                                                   (uint8_t)pin, level),
          "INTx of function", devfn);
}

void xen_pci_link(void *h, unsigned link, unsigned isa_irq)
{
    struct xen *x = h;
    if (link >= 4 || x->link[link] == isa_irq) {
        return;
    }
    x->link[link] = (uint8_t)isa_irq;
    check(
        x,
        x->lib.xendevicemodel_set_pci_link_route(x->dm, x->domid, (uint8_t)link, (uint8_t)isa_irq),
        "PCI link", link);
}

void xen_msi(void *h, uint64_t addr, uint32_t data)
{
    struct xen *x = h;
    check(x, x->lib.xendevicemodel_inject_msi(x->dm, x->domid, addr, data), "MSI", addr);
}

void xen_shutdown(struct xen *x, enum power_event ev)
{
    static const unsigned reason[] = {
        [POWER_OFF] = SHUTDOWN_poweroff,
        [POWER_RESET] = SHUTDOWN_reboot,
        [POWER_CRASH] = SHUTDOWN_crash,
    };
    if (ev == POWER_SUSPEND) { /* Xen itself puts the vCPUs to sleep */
        check(x, x->lib.xc_hvm_param_set(x->xc, x->domid, HVM_PARAM_ACPI_S_STATE, 3), "S", 3);
        return;
    }
    int r = x->lib.xendevicemodel_shutdown(x->dm, x->domid, reason[ev]);
    check(x, r, "shutdown with reason", reason[ev]);
}

void xen_wakeup(struct xen *x)
{
    check(x, x->lib.xc_hvm_param_set(x->xc, x->domid, HVM_PARAM_ACPI_S_STATE, 0), "S", 0);
}

void xen_power(void *h, enum power_event ev)
{
    xen_shutdown(h, ev);
}
