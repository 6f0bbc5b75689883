/* SPDX-License-Identifier: MIT */
/* dm/qmp-probe.c - QMP commands by which a client learns what this binary can do, before it has a machine.
 *
 * The answers come from the tables that do the work: commands and their arguments, events, device classes
 * and their properties, CPU models and features. What a command returns is not described, nor what an
 * argument of type object holds. docs/qmp.md 4.
 */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/board.h"
#include "dm/keel.h"
#include "dm/text.h"
#include "hw/registry.h"
#include "target/x86/cpuid.h"

#include <stdlib.h>
#include <string.h>

/* ---- query-qmp-schema ---- */

static const struct {
    char letter;
    const char *name, *json_type;
} builtins[] = { { 's', "str", "string" },
                 { 'b', "bool", "boolean" },
                 { 'i', "int", "int" },
                 { 'o', "any", "value" } };

static const char *type_of(char letter)
{
    for (size_t i = 0; i < ARRAY_SIZE(builtins); i++) {
        if (builtins[i].letter == letter) {
            return builtins[i].name;
        }
    }
    return "[any]";
}

/* "name:t?" as a member; an optional one has the default null. */
static json_t *member(const char *word, size_t len)
{
    size_t name = strcspn(word, ":");
    json_t *m = json_pack("{s:s%, s:s}", "name", word, name, "type", type_of(word[name + 1]));
    if (word[len - 1] == '?') {
        json_object_set_new(m, "default", json_null());
    }
    return m;
}

static json_t *members(const char *schema)
{
    json_t *list = json_array();
    for (const char *p = schema; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (*p != '*') {
            json_array_append_new(list, member(p, len));
        }
        p += len;
    }
    return list;
}

/* What a command or an event has with it, as a type; returns that type's name. */
static json_t *put_arg_type(json_t *list, const char *of, const char *schema)
{
    json_t *name = json_sprintf("q_obj_%s-arg", of);
    json_array_append_new(list, json_pack("{s:O, s:s, s:o}", "name", name, "meta-type", "object",
                                          "members", members(schema)));
    return name;
}

static void put_command(json_t *list, const struct qmp_command *cmd)
{
    json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s, s:b}", "name", cmd->name,
                                          "meta-type", "command", "arg-type",
                                          put_arg_type(list, cmd->name, cmd->schema), "ret-type",
                                          "any", "allow-oob", 0));
}

static void put_event(json_t *list, const struct qmp_event *e)
{
    json_t *type = *e->schema ? put_arg_type(list, e->name, e->schema) : json_string("q_empty");
    json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", e->name, "meta-type", "event",
                                          "arg-type", type));
}

static json_t *query_schema(struct qmp_call *c)
{
    json_t *list =
        json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:[]}]", "name", "[any]", "meta-type", "array",
                  "element-type", "any", "name", "q_empty", "meta-type", "object", "members");
    (void)c;
    for (size_t i = 0; i < ARRAY_SIZE(builtins); i++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s}", "name", builtins[i].name, "meta-type",
                                        "builtin", "json-type", builtins[i].json_type));
    }
    for (size_t t = 0; qmp_tables[t]; t++) {
        for (const struct qmp_command *cmd = qmp_tables[t]; cmd->name; cmd++) {
            put_command(list, cmd);
        }
    }
    for (const struct qmp_event *e = qmp_events; e->name; e++) {
        put_event(list, e);
    }
    return list;
}

/* ---- devices ---- */

static void put_type(json_t *list, const char *name, const char *parent)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "parent", parent));
}

static json_t *list_types(struct qmp_call *c)
{
    static const char *const others[][2] = {
        { "none-machine", "machine" }, { "pc-machine", "machine" }, { "qtest-accel", "accel" },
        { "tcg-accel", "accel" },      { "xen-accel", "accel" },    { "xenfv-machine", "machine" },
    };
    json_t *list = json_array();
    (void)c;
    for (size_t i = 0; hw_registry[i]; i++) {
        put_type(list, hw_registry[i]->name, "device");
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        put_type(list, others[i][0], others[i][1]);
    }
    return list;
}

static json_t *device_properties(struct qmp_call *c)
{
    const char *name = qmp_str(c, "typename");
    const struct dev_class *class = hw_find(device_full_name(name));
    if (!class) {
        return qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", name);
    }
    json_t *list = json_array();
    for (const struct dev_prop *p = class->props; p && p->kind != PROP_END; p++) {
        if (p->kind != PROP_PTR) {
            json_array_append_new(list, json_pack("{s:s, s:s, s:s*}", "name", p->name, "type",
                                                  board_prop_kind(p), "description", p->help));
        }
    }
    return list;
}

/* Of a machine: -machine's parameters, whichever it is. Memory back ends have none to speak of, but
 * libvirt takes it for granted that the type is there. */
static json_t *type_properties(struct qmp_call *c)
{
    const char *name = qmp_str(c, "typename"), *dash = strrchr(name, '-');
    if (strncmp(name, "memory-backend-", 15) == 0) {
        return json_array();
    }
    if (!dash || strcmp(dash, "-machine") != 0) {
        return device_properties(c);
    }
    json_t *list = json_array();
    for (const struct opt_param *p = opt_find("machine")->params; p->name; p++) {
        if (!p->missing) {
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", p->name, "type", p->type));
        }
    }
    return list;
}

/* ---- processors ---- */

static void put_cpu(void *list, const char *name, const char *brand)
{
    (void)brand;
    json_array_append_new(list,
                          json_pack("{s:s, s:o, s:[], s:b, s:b, s:b}", "name", name, "typename",
                                    json_sprintf("%s-x86_64-cpu", name), "unavailable-features",
                                    "migration-safe", 1, "static", 0, "deprecated", 0));
}

static json_t *query_cpu_definitions(struct qmp_call *c)
{
    (void)c;
    json_t *list = json_array();
    x86_model_list(put_cpu, list);
    return list;
}

/* "NAME,feature=on,..." of a CpuModelInfo; to free(). NULL with the error set. */
static char *model_spec(struct qmp_call *c, const json_t *model)
{
    const char *name = json_string_value(json_object_get(model, "name")), *key;
    struct text spec = { 0 };
    json_t *v;
    if (!name) {
        qmp_fail(c, NULL, "Parameter 'model.name' is missing");
        return NULL;
    }
    text_add(&spec, "%s", name);
    json_object_foreach(json_object_get(model, "props"), key, v)
    {
        text_add(&spec, ",%s=%s", key, json_is_true(v) ? "on" : "off");
    }
    return spec.p;
}

static void put_feature(void *props, const char *name, bool on)
{
    json_object_set_new(props, name, json_boolean(on));
}

static json_t *expand_cpu_model(struct qmp_call *c)
{
    const json_t *model = json_object_get(c->args, "model");
    const char *type = qmp_str(c, "type");
    if (strcmp(type, "static") != 0 && strcmp(type, "full") != 0) {
        return qmp_fail(c, NULL, "Parameter 'type' does not accept value '%.40s'", type);
    }
    char *spec = model_spec(c, model);
    if (!spec) {
        return NULL;
    }
    struct x86_model *m = x86_model_new(spec, true, &c->err);
    free(spec);
    if (!m) {
        return NULL;
    }
    json_t *props = json_object();
    x86_model_features(m, put_feature, props);
    free(m);
    return json_pack("{s:{s:O, s:o}}", "model", "name", json_object_get(model, "name"), "props",
                     props);
}

static json_t *query_target(struct qmp_call *c)
{
    (void)c;
    return json_pack("{s:s}", "arch", "x86_64");
}

const struct qmp_command qmp_commands_probe[] = {
    { "device-list-properties", "typename:s", device_properties },
    { "qom-list-properties", "typename:s", type_properties },
    { "qom-list-types", "implements:s? abstract:b?", list_types },
    { "query-cpu-definitions", "", query_cpu_definitions },
    { "query-cpu-model-expansion", "type:s model:o", expand_cpu_model },
    { "query-qmp-schema", "", query_schema },
    { "query-target", "", query_target },
    { 0 },
};
