/* SPDX-License-Identifier: MIT */
/* dm/qmp-core.c - QMP commands that run, stop, save and extend the machine. docs/qmp.md 3. */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/fdset.h"
#include "dm/hotplug.h"
#include "dm/keel.h"
#include "dm/keyval-json.h"
#include "dm/monitor.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Empty when ret is 0; otherwise the error is in c->err. */
static json_t *outcome(struct qmp_call *c, int ret)
{
    (void)c;
    return ret < 0 ? NULL : qmp_ok();
}

static json_t *do_cont(struct qmp_call *c)
{
    return outcome(c, keel_cont(c->k, &c->err));
}

static json_t *do_stop(struct qmp_call *c)
{
    keel_stop(c->k);
    return qmp_ok();
}

static json_t *do_quit(struct qmp_call *c)
{
    keel_quit(c->k, false, "host-qmp-quit");
    return qmp_ok();
}

static json_t *do_reset(struct qmp_call *c)
{
    if (c->k->xen) { /* vCPUs are Xen's: only the toolstack can start them again */
        xen_shutdown(c->k->xen, POWER_RESET);
    }
    keel_reset(c->k, false, "host-qmp-system-reset");
    return qmp_ok();
}

static json_t *do_powerdown(struct qmp_call *c)
{
    keel_powerdown(c->k);
    return qmp_ok();
}

static json_t *do_nmi(struct qmp_call *c)
{
    return keel_nmi(c->k) ? qmp_ok() : qmp_fail(c, NULL, "the processors are not Keel's");
}

static json_t *do_wakeup(struct qmp_call *c)
{
    if (c->k->m->run_state != RUN_SUSPENDED) {
        return qmp_fail(c, NULL, "Unable to wake up: guest is not in suspended state");
    }
    keel_wakeup(c->k);
    return qmp_ok();
}

static json_t *do_hmp(struct qmp_call *c)
{
    struct text out = { 0 };
    hmp_run(c->k, qmp_str(c, "command-line"), &out);
    json_t *s = qmp_text(out.p ? out.p : "");
    text_free(&out);
    return s;
}

/* ---- plugging ---- */

/* What -device and device_add know as a processor; QEMU's i386 binary calls it that. */
static bool is_cpu(const char *driver)
{
    size_t n = strlen(driver);
    return n > 4 && strcmp(driver + n - 4, "-cpu") == 0;
}

static json_t *add_cpu(struct qmp_call *c)
{
    int64_t socket = qmp_int(c, "socket-id", -1);
    const char *id = qmp_str(c, "id");
    if (strcmp(qmp_str(c, "driver"), "qemu32-i386-cpu") != 0) {
        return qmp_fail(c, NULL, "Invalid CPU type, expected cpu type: 'qemu32-i386-cpu'");
    }
    if (qmp_int(c, "core-id", 0) != 0 || qmp_int(c, "thread-id", 0) != 0) {
        return qmp_fail(c, NULL, "core-id and thread-id must be 0: every CPU is a socket");
    }
    if (socket < 0 || socket >= c->k->o.max_cpus) {
        return qmp_fail(c, NULL, "Invalid CPU socket-id: %lld must be in range 0:%u",
                        (long long)socket, c->k->o.max_cpus - 1);
    }
    return outcome(c, cpu_plug(c->k, (unsigned)socket, id ? id : "", &c->err));
}

static json_t *add_card(struct qmp_call *c)
{
    struct keyval *kv = keyval_from_json(c->args, KEYVAL_REPEATED, &c->err);
    int ret = kv ? hotplug_add(c->k, kv, &c->err) : c->err.code;

    keyval_free(kv);
    return outcome(c, ret);
}

static json_t *do_device_add(struct qmp_call *c)
{
    const char *driver = qmp_str(c, "driver");
    if (is_cpu(driver)) {
        return add_cpu(c);
    }
    if (hotplug_can(driver)) {
        return add_card(c);
    }
    if (device_known(driver)) {
        return qmp_fail(c, NULL, "Device '%s': known, but Keel cannot plug it in yet", driver);
    }
    return qmp_fail(c, NULL, "'%.100s' is not a valid device model name", driver);
}

static json_t *do_device_del(struct qmp_call *c)
{
    const char *id = qmp_str(c, "id");
    for (unsigned cpu = 0; *id && cpu < c->k->o.max_cpus; cpu++) {
        if (strcmp(c->k->cpu_id[cpu], id) == 0) {
            return qmp_fail(c, NULL, "Device '%s': Keel cannot unplug a CPU yet", id);
        }
    }
    struct device *d = machine_find(c->k->m, id);
    if (d) {
        return outcome(c, hotplug_del(c->k, d, &c->err));
    }
    return qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", id);
}

/* ---- descriptors ---- */

static json_t *do_add_fd(struct qmp_call *c)
{
    int64_t set = qmp_int(c, "fdset-id", -1);
    bool given = json_object_get(c->args, "fdset-id") != NULL;
    int fd = monitor_take_fd(c->mon);
    if (fd < 0) {
        return qmp_fail(c, NULL, "No file descriptor supplied via SCM_RIGHTS");
    }
    if (given && set < 0) {
        close(fd);
        return qmp_fail(c, NULL, "Parameter 'fdset-id' expects a non-negative value");
    }
    if (fdset_add(&c->k->be.fdsets, &set, fd, qmp_str(c, "opaque"), &c->err) < 0) {
        close(fd);
        return NULL;
    }
    return json_pack("{s:i, s:I}", "fd", fd, "fdset-id", (json_int_t)set);
}

static json_t *do_remove_fd(struct qmp_call *c)
{
    int64_t set = qmp_int(c, "fdset-id", -1), fd = qmp_int(c, "fd", -1);
    bool one = json_object_get(c->args, "fd") != NULL;
    if ((one && (fd < 0 || fd > INT32_MAX)) ||
        fdset_remove(&c->k->be.fdsets, set, one ? (int)fd : -1) < 0) {
        return one ? qmp_fail(c, NULL, "File descriptor named 'fdset-id:%lld, fd:%lld' not found",
                              (long long)set, (long long)fd)
                   : qmp_fail(c, NULL, "File descriptor named 'fdset-id:%lld' not found",
                              (long long)set);
    }
    return qmp_ok();
}

static json_t *do_query_fdsets(struct qmp_call *c)
{
    json_t *list = json_array();
    for (const struct fdset *s = c->k->be.fdsets; s; s = s->next) {
        json_t *fds = json_array();
        for (unsigned i = 0; i < s->n; i++) {
            json_t *fd = json_pack("{s:i}", "fd", s->member[i].fd);
            if (s->member[i].opaque) {
                json_object_set_new(fd, "opaque", qmp_text(s->member[i].opaque));
            }
            json_array_append_new(fds, fd);
        }
        json_array_append_new(list,
                              json_pack("{s:o, s:I}", "fds", fds, "fdset-id", (json_int_t)s->id));
    }
    return list;
}

int monitor_take_named_fd(struct monitor *mon, const char *name)
{
    for (struct named_fd **at = &mon->named; *at; at = &(*at)->next) {
        struct named_fd *n = *at;
        if (strcmp(n->name, name) == 0) {
            int fd = n->fd;
            *at = n->next;
            free(n->name);
            free(n);
            return fd;
        }
    }
    return -1;
}

static bool close_named(struct monitor *mon, const char *name)
{
    int fd = monitor_take_named_fd(mon, name);
    return fd >= 0 && (close(fd), true);
}

static json_t *do_getfd(struct qmp_call *c)
{
    const char *name = qmp_str(c, "fdname");
    int fd = monitor_take_fd(c->mon);
    if (fd < 0) {
        return qmp_fail(c, NULL, "No file descriptor supplied via SCM_RIGHTS");
    }
    if (name[0] >= '0' && name[0] <= '9') {
        close(fd);
        return qmp_fail(c, NULL, "Parameter 'fdname' expects a name not starting with a digit");
    }
    close_named(c->mon, name);
    struct named_fd *n = xcalloc(1, sizeof(*n));
    *n = (struct named_fd){ xstrdup(name), fd, c->mon->named };
    c->mon->named = n;
    return qmp_ok();
}

static json_t *do_closefd(struct qmp_call *c)
{
    const char *name = qmp_str(c, "fdname");
    return close_named(c->mon, name)
               ? qmp_ok()
               : qmp_fail(c, NULL, "File descriptor named '%.100s' not found", name);
}

/* ---- save, restore, migrate ---- */

static json_t *do_save(struct qmp_call *c)
{
    return outcome(c, keel_save(c->k, qmp_str(c, "filename"), &c->err));
}

static json_t *do_load(struct qmp_call *c)
{
    return outcome(c, keel_load(c->k, qmp_str(c, "filename"), &c->err));
}

static json_t *do_dirty_log(struct qmp_call *c)
{
    bool on = qmp_bool(c, "enable", false);
    return outcome(c, c->k->xen ? xen_set_dirty_log(c->k->xen, on, &c->err) : 0);
}

const struct qmp_command qmp_commands_core[] = {
    { "add-fd", "fdset-id:i? opaque:s?", do_add_fd },
    { "closefd", "fdname:s", do_closefd },
    { "cont", "", do_cont },
    { "device_add", "driver:s id:s? bus:s? socket-id:i? core-id:i? thread-id:i? *", do_device_add },
    { "device_del", "id:s", do_device_del },
    { "getfd", "fdname:s", do_getfd },
    { "human-monitor-command", "command-line:s cpu-index:i?", do_hmp },
    { "inject-nmi", "", do_nmi },
    { "query-fdsets", "", do_query_fdsets },
    { "quit", "", do_quit },
    { "remove-fd", "fdset-id:i fd:i?", do_remove_fd },
    { "stop", "", do_stop },
    { "system_powerdown", "", do_powerdown },
    { "system_reset", "", do_reset },
    { "system_wakeup", "", do_wakeup },
    { "xen-load-devices-state", "filename:s", do_load },
    { "xen-save-devices-state", "filename:s live:b?", do_save },
    { "xen-set-global-dirty-log", "enable:b", do_dirty_log },
    { 0 },
};
