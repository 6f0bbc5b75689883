/* SPDX-License-Identifier: MIT */
/* dm/qmp-query.c - QMP commands that only look. docs/qmp.md 4. */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "hw/pci/pci.h"
#include "ui/vnc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static json_t *query_status(struct qmp_call *c)
{
    const struct machine *m = c->k->m;
    return json_pack("{s:s, s:b, s:b}", "status", run_state_name(m->run_state), "singlestep", 0,
                     "running", (int)machine_running(m));
}

static json_t *query_version(struct qmp_call *c)
{
    (void)c;
    return qmp_version();
}

static json_t *query_commands(struct qmp_call *c)
{
    (void)c;
    return qmp_command_names();
}

#define BLOCK_JOB "type:s device:s len:i offset:i speed:i"

const struct qmp_event qmp_events[] = {
    { "BLOCK_EXPORT_DELETED", "id:s" },
    { "BLOCK_IO_ERROR", "device:s operation:s action:s nospace:b? reason:s" },
    { "BLOCK_JOB_CANCELLED", BLOCK_JOB },
    { "BLOCK_JOB_COMPLETED", BLOCK_JOB " error:s?" },
    { "BLOCK_JOB_ERROR", "device:s operation:s action:s" },
    { "BLOCK_JOB_PENDING", "type:s id:s" },
    { "BLOCK_JOB_READY", BLOCK_JOB },
    { "BLOCK_WRITE_THRESHOLD", "node-name:s amount-exceeded:i write-threshold:i" },
    { "DEVICE_DELETED", "device:s? path:s" },
    { "DEVICE_TRAY_MOVED", "device:s id:s tray-open:b" },
    { "DUMP_COMPLETED", "result:o error:s?" },
    { "JOB_STATUS_CHANGE", "id:s status:s" },
    { "MIGRATION", "status:s" },
    { "POWERDOWN", "" },
    { "RESET", "guest:b reason:s" },
    { "RESUME", "" },
    { "SHUTDOWN", "guest:b reason:s" },
    { "STOP", "" },
    { "SUSPEND", "" },
    { "VNC_CONNECTED", "server:o client:o" },
    { "VNC_DISCONNECTED", "server:o client:o" },
    { "WAKEUP", "" },
    { 0 },
};

static json_t *query_events(struct qmp_call *c)
{
    json_t *list = json_array();
    (void)c;
    for (const struct qmp_event *e = qmp_events; e->name; e++) {
        json_array_append_new(list, json_pack("{s:s}", "name", e->name));
    }
    return list;
}

static json_t *query_kvm(struct qmp_call *c)
{
    (void)c;
    return json_pack("{s:b, s:b}", "enabled", 0, "present", 0);
}

static json_t *query_name(struct qmp_call *c)
{
    const char *name = c->k->o.name;
    return name ? json_pack("{s:o}", "name", qmp_text(name)) : json_object();
}

static json_t *query_uuid(struct qmp_call *c)
{
    const char *uuid = c->k->o.uuid;
    return json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
}

static json_t *machine_info(const char *name, unsigned cpus)
{
    return json_pack("{s:b, s:s, s:b, s:i, s:b, s:b}", "hotpluggable-cpus", 1, "name", name,
                     "numa-mem-supported", 0, "cpu-max", (int)cpus, "deprecated", 0, "acpi",
                     strcmp(name, "none") != 0);
}

static json_t *query_machines(struct qmp_call *c)
{
    (void)c;
    return json_pack("[o, o, o]", machine_info("none", 1), machine_info("pc", 512),
                     machine_info("xenfv", 512));
}

/* ---- options ---- */

static json_t *option_params(const struct opt_def *d)
{
    json_t *list = json_array();
    for (const struct opt_param *p = d->params; p && p->name; p++) {
        if (!p->missing) {
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", p->name, "type", p->type));
        }
    }
    return list;
}

static json_t *option_info(const struct opt_def *d)
{
    return json_pack("{s:o, s:s}", "parameters", option_params(d), "option", d->name);
}

static json_t *query_options(struct qmp_call *c)
{
    const char *one = qmp_str(c, "option");
    json_t *list = json_array();
    for (const struct opt_def *d = opt_table; d->name; d++) {
        bool listed = d->have && d->takes_arg && (d->params || d->implied);
        if (listed && (!one || strcmp(one, d->name) == 0)) {
            json_array_append_new(list, option_info(d));
        }
    }
    if (one && json_array_size(list) == 0) {
        json_decref(list);
        return qmp_fail(c, NULL, "invalid option name: %.100s", one);
    }
    return list;
}

/* ---- vCPUs ---- */

static json_t *cpu_props(unsigned cpu)
{
    return json_pack("{s:i, s:i, s:i}", "core-id", 0, "thread-id", 0, "socket-id", (int)cpu);
}

static json_t *cpu_path(const struct keel *k, unsigned cpu)
{
    if (k->cpu_id[cpu][0]) {
        return json_sprintf("/machine/peripheral/%s", k->cpu_id[cpu]);
    }
    return json_sprintf("/machine/unattached/device[%u]", cpu);
}

static json_t *query_cpus_fast(struct qmp_call *c)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < c->k->o.max_cpus; i++) {
        if (cpu_present(c->k, i)) { /* Xen runs them: the thread is the process */
            json_array_append_new(list,
                                  json_pack("{s:i, s:o, s:o, s:i, s:s}", "thread-id", (int)getpid(),
                                            "props", cpu_props(i), "qom-path", cpu_path(c->k, i),
                                            "cpu-index", (int)i, "target", "i386"));
        }
    }
    return list;
}

/* The old command, gone from QEMU 6; libxl before 4.12 and scripts use it. */
static json_t *query_cpus(struct qmp_call *c)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < c->k->o.max_cpus; i++) {
        if (cpu_present(c->k, i)) {
            json_array_append_new(list, json_pack("{s:s, s:i, s:b, s:i, s:o, s:b, s:o}", "arch",
                                                  "x86", "CPU", (int)i, "current", i == 0,
                                                  "thread_id", (int)getpid(), "props", cpu_props(i),
                                                  "halted", 0, "qom_path", cpu_path(c->k, i)));
        }
    }
    return list;
}

static json_t *query_hotpluggable(struct qmp_call *c)
{
    json_t *list = json_array();
    if (c->k->o.machine == MACHINE_NONE) {
        json_decref(list);
        return qmp_fail(c, NULL, "The feature 'query-hotpluggable-cpus' is not enabled");
    }
    for (unsigned i = c->k->o.max_cpus; i-- > 0;) {
        json_t *cpu = json_pack("{s:o, s:i}", "props", cpu_props(i), "vcpus-count", 1);
        if (cpu_present(c->k, i)) {
            json_object_set_new(cpu, "qom-path", cpu_path(c->k, i));
        }
        json_object_set_new(cpu, "type", json_string("qemu32-i386-cpu"));
        json_array_append_new(list, cpu);
    }
    return list;
}

/* ---- PCI ---- */

static json_t *pci_region(const struct pci_dev *p, unsigned n)
{
    const struct pci_bar *bar = &p->bar[n];
    json_int_t at = bar->at == PCI_BAR_OFF ? -1 : (json_int_t)bar->at;
    json_t *r = json_pack("{s:i, s:I, s:I, s:s}", "bar", (int)n, "size", (json_int_t)bar->size,
                          "address", at, "type", bar->io ? "io" : "memory");
    if (!bar->io) {
        json_object_set_new(r, "prefetch", json_boolean(bar->prefetch));
        json_object_set_new(r, "mem_type_64", json_false());
    }
    return r;
}

static const char *class_name(unsigned class)
{
    static const struct {
        unsigned class;
        const char *name;
    } names[] = {
        { 0x0101, "IDE controller" },  { 0x0106, "SATA controller" },
        { 0x0100, "SCSI controller" }, { 0x0200, "Ethernet controller" },
        { 0x0300, "VGA controller" },  { 0x0600, "Host bridge" },
        { 0x0601, "ISA bridge" },      { 0x0680, "Bridge" },
        { 0x0c03, "USB controller" },  { 0xff80, "Class ff80" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].class == class) {
            return names[i].name;
        }
    }
    return NULL;
}

static bool made_up(const char *id)
{
    return strchr(id, '.') != NULL; /* a typed id may hold one too: harmless */
}

static unsigned word(const struct pci_dev *p, unsigned at)
{
    return (unsigned)(p->config[at] | p->config[at + 1] << 8);
}

static json_t *pci_function(const struct pci_dev *p)
{
    unsigned class = word(p, 0x0a);
    json_t *regions = json_array();
    for (unsigned i = 0; i < 7; i++) {
        if (p->bar[i].used) {
            json_array_append_new(regions, pci_region(p, i));
        }
    }
    json_t *info = json_pack("{s:i}", "class", (int)class);
    if (class_name(class)) {
        json_object_set_new(info, "desc", json_string(class_name(class)));
    }
    json_t *f = json_pack("{s:i, s:i, s:o, s:i, s:o, s:{s:i, s:i, s:i, s:i}, s:i, s:o}", "irq_pin",
                          (int)p->config[PCI_INT_PIN], "bus", 0, "qdev_id",
                          qmp_text(made_up(p->dev.id) ? "" : p->dev.id), "slot", p->devfn >> 3,
                          "class_info", info, "id", "device", (int)word(p, 2), "subsystem-vendor",
                          (int)word(p, 0x2c), "vendor", (int)word(p, 0), "subsystem",
                          (int)word(p, 0x2e), "function", p->devfn & 7, "regions", regions);
    if (p->config[PCI_INT_PIN]) {
        json_object_set_new(f, "irq", json_integer(p->config[PCI_INT_LINE]));
    }
    return f;
}

static json_t *query_pci(struct qmp_call *c)
{
    json_t *devices = json_array();
    const struct pci_bus *bus = c->k->m->pci;
    for (unsigned i = 0; bus && i < 256; i++) {
        if (bus->fn[i]) {
            json_array_append_new(devices, pci_function(bus->fn[i]));
        }
    }
    return json_pack("[{s:i, s:o}]", "bus", 0, "devices", devices);
}

/* ---- VNC ---- */

static json_t *vnc_client_list(const struct vnc *v)
{
    struct vnc_client_info who[16];
    unsigned n = vnc_clients(v, who, ARRAY_SIZE(who));
    json_t *list = json_array();
    for (unsigned i = 0; i < n && i < ARRAY_SIZE(who); i++) {
        json_array_append_new(list, json_pack("{s:b, s:s, s:s, s:s}", "websocket", 0, "host",
                                              who[i].host, "service", who[i].service, "family",
                                              strchr(who[i].host, ':') ? "ipv6" : "ipv4"));
    }
    return list;
}

static json_t *query_vnc(struct qmp_call *c)
{
    const struct vnc *v = c->k->vnc;
    if (!v) {
        return json_pack("{s:b}", "enabled", 0);
    }
    const char *host = vnc_host(v);
    unsigned port = vnc_port(v); /* 0: a unix socket, host is its path */
    const char *family = !port ? "unix" : strchr(host, ':') ? "ipv6" : "ipv4";
    json_t *service = port ? json_sprintf("%u", port) : qmp_text(host);
    return json_pack("{s:b, s:s, s:s, s:o, s:o, s:s}", "enabled", 1, "auth",
                     vnc_has_password(v) ? "vnc" : "none", "family", family, "clients",
                     vnc_client_list(v), "service", service, "host",
                     !port   ? ""
                     : *host ? host
                             : "0.0.0.0");
}

const struct qmp_command qmp_commands_query[] = {
    { "query-command-line-options", "option:s?", query_options },
    { "query-commands", "", query_commands },
    { "query-cpus", "", query_cpus },
    { "query-cpus-fast", "", query_cpus_fast },
    { "query-events", "", query_events },
    { "query-hotpluggable-cpus", "", query_hotpluggable },
    { "query-kvm", "", query_kvm },
    { "query-machines", "", query_machines },
    { "query-name", "", query_name },
    { "query-pci", "", query_pci },
    { "query-status", "", query_status },
    { "query-uuid", "", query_uuid },
    { "query-version", "", query_version },
    { "query-vnc", "", query_vnc },
    { 0 },
};
