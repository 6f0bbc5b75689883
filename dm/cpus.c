/* SPDX-License-Identifier: MIT */
/* dm/cpus.c - the vCPUs as far as a device model knows them: which are plugged in.
 *
 * They run in Xen. Plugging one in sets its bit in the hot-plug registers of PIIX4_PM and rings
 * the guest's ACPI; unplugging is between the toolstack and the guest (xenstore) alone.
 */
#include "dm/keel.h"

#include "dm/base/err.h"
#include "dm/record.h"
#include "hw/acpi/piix4-pm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool cpu_present(const struct keel *k, unsigned cpu)
{
    return cpu < k->o.max_cpus && (k->cpu_here[cpu / 64] >> (cpu % 64) & 1);
}

static bool id_taken(const struct keel *k, const char *id)
{
    for (unsigned i = 0; *id && i < k->o.max_cpus; i++) {
        if (strcmp(k->cpu_id[i], id) == 0) {
            return true;
        }
    }
    return *id && machine_find(k->m, id);
}

int cpu_plug(struct keel *k, unsigned cpu, const char *id, struct err *e)
{
    if (cpu_present(k, cpu)) {
        return err_set(e, -EEXIST, "CPU[%u] with socket-id %u already exists", cpu, cpu);
    }
    if (strlen(id) >= sizeof(k->cpu_id[0])) {
        return err_set(e, -EINVAL, "id '%.60s' is longer than 15 bytes", id);
    }
    if (id_taken(k, id)) {
        return err_set(e, -EEXIST, "Duplicate device ID '%s'", id);
    }
    k->cpu_here[cpu / 64] |= 1ull << (cpu % 64);
    snprintf(k->cpu_id[cpu], sizeof(k->cpu_id[0]), "%s", id);
    taps_command(k->taps, TAPS_CPU_PLUG, cpu);
    for (struct device *d = k->m->devices; d; d = d->next) {
        if (d->class == &piix4_pm_class && cpu < 256) {
            piix4_pm_cpu_plug(d, cpu);
        }
    }
    return 0;
}
