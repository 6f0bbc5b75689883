/* SPDX-License-Identifier: MIT */
/* dm/qmp-qom.c - qom-list and qom-get: the machine as a tree of objects, for clients that walk QEMU's.
 *
 * Keel has no object model; the tree is drawn from what there is. Devices with an id of the user's lie
 * under /machine/peripheral, the board's own under /machine/unattached beside the processors. A
 * device's properties are its class's, as the command line knows them. Nothing can be set.
 */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/board.h"
#include "dm/keel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(json_t *list, json_t *name, const char *type)
{
    json_array_append_new(list, json_pack("{s:o, s:s}", "name", name, "type", type));
}

static void put_child(json_t *list, json_t *name, const char *class)
{
    char *type = xasprintf("child<%s>", class);
    put(list, name, type);
    free(type);
}

/* ---- folders ---- */

static const struct {
    const char *path, *children; /* blank-separated */
} folders[] = {
    { "/", "machine objects" },
    { "/machine", "peripheral unattached" },
};

static json_t *list_folder(const char *children)
{
    json_t *list = json_array();
    for (const char *p = children; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        put_child(list, json_stringn(p, len), "container");
        p += len;
    }
    return list;
}

/* A device whose id the board made up holds a dot: "piix3.0". */
static bool is_peripheral(const struct device *d)
{
    return strchr(d->id, '.') == NULL;
}

static json_t *list_devices(const struct keel *k, bool peripheral)
{
    json_t *list = json_array();
    for (unsigned i = 0; !peripheral && i < k->o.max_cpus; i++) {
        if (cpu_present(k, i) && !k->cpu_id[i][0]) {
            put_child(list, json_sprintf("device[%u]", i), "cpu");
        }
    }
    for (const struct device *d = k->m->devices; d; d = d->next) {
        if (is_peripheral(d) == peripheral) {
            put_child(list, qmp_text(d->id), d->class->name);
        }
    }
    return list;
}

/* ---- one device ---- */

static const struct device *find_device(const struct keel *k, const char *path)
{
    static const char *const places[] = { "/machine/unattached/", "/machine/peripheral/" };
    for (const struct device *d = k->m->devices; d; d = d->next) {
        const char *place = places[is_peripheral(d)];
        size_t n = strlen(place);
        if (strncmp(path, place, n) == 0 && strcmp(path + n, d->id) == 0) {
            return d;
        }
    }
    return NULL;
}

/* NULL for a property whose value is something of the process: a disk, a stream, a network. */
static json_t *value_of(const struct device *d, const struct dev_prop *p)
{
    const char *at = (const char *)d + p->offset;
    const char *const *str = (const char *const *)at;
    switch (p->kind) {
    case PROP_BOOL:
        return json_boolean(*(const bool *)at);
    case PROP_U32:
        return json_integer(*(const uint32_t *)at);
    case PROP_SIZE:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case PROP_STR:
        return *str ? qmp_text(*str) : json_string("");
    default:
        return NULL;
    }
}

static json_t *list_properties(const struct device *d)
{
    json_t *list = json_array();
    put(list, json_string("type"), "string");
    for (const struct dev_prop *p = d->class->props; p && p->kind != PROP_END; p++) {
        if (p->kind != PROP_PTR) {
            put(list, json_string(p->name), board_prop_kind(p));
        }
    }
    return list;
}

static bool is_processor(const struct keel *k, const char *path)
{
    unsigned i;
    char end;
    return sscanf(path, "/machine/unattached/device[%u%c", &i, &end) == 2 && end == ']' &&
           i < k->o.max_cpus && cpu_present(k, i);
}

/* ---- commands ---- */

static json_t *qom_list(struct qmp_call *c)
{
    const char *path = qmp_str(c, "path");
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        if (strcmp(path, folders[i].path) == 0) {
            return list_folder(folders[i].children);
        }
    }
    if (strcmp(path, "/machine/peripheral") == 0 || strcmp(path, "/machine/unattached") == 0) {
        return list_devices(c->k, strcmp(path, "/machine/peripheral") == 0);
    }
    if (strcmp(path, "/objects") == 0) {
        return json_array();
    }
    if (is_processor(c->k, path)) {
        return json_pack("[{s:s, s:s}]", "name", "type", "type", "string");
    }
    const struct device *d = find_device(c->k, path);
    return d ? list_properties(d)
             : qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", path);
}

static json_t *qom_get(struct qmp_call *c)
{
    const char *path = qmp_str(c, "path"), *name = qmp_str(c, "property");
    const struct device *d = find_device(c->k, path);
    if (!d && !is_processor(c->k, path)) {
        return qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", path);
    }
    if (strcmp(name, "type") == 0) {
        return json_string(d ? d->class->name : "cpu");
    }
    const struct dev_prop *p = d ? dev_prop_find(d->class, name) : NULL;
    json_t *value = p ? value_of(d, p) : NULL;
    return value ? value
                 : qmp_fail(c, NULL, "Property '%.60s.%.60s' not found", d ? d->class->name : "cpu",
                            name);
}

const struct qmp_command qmp_commands_qom[] = {
    { "qom-get", "path:s property:s", qom_get },
    { "qom-list", "path:s", qom_list },
    { 0 },
};
