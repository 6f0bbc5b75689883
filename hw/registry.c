/* SPDX-License-Identifier: MIT */
/* hw/registry.c - every device class, sorted by name. A new device is one include and one line. */
#include "hw/registry.h"

#include "hw/acpi/piix4-pm.h"
#include "hw/block/fdc.h"
#include "hw/char/uart16550.h"
#include "hw/display/vga.h"
#include "hw/dma/i8257.h"
#include "hw/ide/ahci.h"
#include "hw/ide/ide.h"
#include "hw/input/i8042.h"
#include "hw/intc/apic.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/cmos-ram.h"
#include "hw/isa/pcspk.h"
#include "hw/isa/piix3.h"
#include "hw/isa/port92.h"
#include "hw/nvram/fw-cfg.h"
#include "hw/net/net-dev.h"
#include "hw/pci/i440fx.h"
#include "hw/scsi/scsi.h"
#include "hw/storage/nvme.h"
#include "hw/test/debug-exit.h"
#include "hw/test/pc-testdev.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "hw/virtio/virtio-blk.h"
#include "hw/virtio/virtio-net.h"
#include "hw/xen/xen-platform.h"
#include "hw/xen/xen-pvdevice.h"

#include <stdlib.h>
#include <string.h>

const struct dev_class *const hw_registry[] = {
    &piix3_class,        /* PIIX3 */
    &piix4_pm_class,     /* PIIX4_PM */
    &vga_class,          /* VGA */
    &apic_class,         /* apic */
    &cirrus_vga_class,   /* cirrus-vga */
    &cmos_ram_class,     /* cmos-ram */
    &e1000_class,        /* e1000 */
    &e1000e_class,       /* e1000e */
    &fw_cfg_class,       /* fw_cfg_io */
    &hpet_class,         /* hpet */
    &i440fx_class,       /* i440FX */
    &i8042_class,        /* i8042 */
    &i8257_class,        /* i8257 */
    &ich9_ahci_class,    /* ich9-ahci */
    &ide_cd_class,       /* ide-cd */
    &ide_hd_class,       /* ide-hd */
    &ioapic_class,       /* ioapic */
    &debug_exit_class,   /* isa-debug-exit */
    &debugcon_class,     /* isa-debugcon */
    &fdc_class,          /* isa-fdc */
    &i8259_class,        /* isa-i8259 */
    &pcspk_class,        /* isa-pcspk */
    &i8254_class,        /* isa-pit */
    &uart_class,         /* isa-serial */
    &lsi53c895a_class,   /* lsi53c895a */
    &mc146818_class,     /* mc146818rtc */
    &ne2k_isa_class,     /* ne2k_isa */
    &ne2k_pci_class,     /* ne2k_pci */
    &nvme_class,         /* nvme */
    &pc_testdev_class,   /* pc-testdev */
    &pcnet_class,        /* pcnet */
    &piix3_ide_class,    /* piix3-ide */
    &port92_class,       /* port92 */
    &rtl8139_class,      /* rtl8139 */
    &scsi_cd_class,      /* scsi-cd */
    &scsi_hd_class,      /* scsi-hd */
    &virtio_blk_class,   /* virtio-blk-pci */
    &virtio_net_class,   /* virtio-net-pci */
    &xen_platform_class, /* xen-platform */
    &xen_pvdevice_class, /* xen-pvdevice */
    NULL,
};

static int by_name(const void *name, const void *slot)
{
    return strcmp(name, (*(const struct dev_class *const *)slot)->name);
}

const struct dev_class *hw_find(const char *name)
{
    const struct dev_class *const *slot =
        bsearch(name, hw_registry, ARRAY_SIZE(hw_registry) - 1, sizeof(hw_registry[0]), by_name);

    return slot ? *slot : NULL;
}
