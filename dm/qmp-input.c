/* SPDX-License-Identifier: MIT */
/* dm/qmp-input.c - QMP commands about keyboard, mouse and screen. docs/qmp.md 6. */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/keys.h"
#include "ui/con.h"
#include "ui/vnc.h"

#include <string.h>

/* A KeyValue: { "type": "qcode" or "number", "data": ... }. The scan code, or 0 with the error. */
static uint16_t key_value(struct qmp_call *c, json_t *v)
{
    json_t *data = json_object_get(v, "data");
    const char *type = json_string_value(json_object_get(v, "type"));
    if (type && strcmp(type, "number") == 0 && json_is_integer(data)) {
        uint16_t code = key_number((uint64_t)json_integer_value(data));
        if (!code) {
            qmp_fail(c, NULL, "Parameter 'data' does not accept value '%lld'",
                     (long long)json_integer_value(data));
        }
        return code;
    }
    if (!type || strcmp(type, "qcode") != 0 || !json_is_string(data)) {
        qmp_fail(c, NULL, "Invalid parameter type for 'key', expected: qcode or number");
        return 0;
    }
    uint16_t code = key_qcode(json_string_value(data));
    if (!code) {
        qmp_fail(c, NULL, "Parameter 'data' does not accept value '%.60s'",
                 json_string_value(data));
    }
    return code;
}

static json_t *do_send_key(struct qmp_call *c)
{
    uint16_t codes[16];
    size_t i, n = 0;
    json_t *v, *keys = json_object_get(c->args, "keys");
    if (json_array_size(keys) > ARRAY_SIZE(codes)) {
        return qmp_fail(c, NULL, "Parameter 'keys' expects at most %zu keys", ARRAY_SIZE(codes));
    }
    json_array_foreach(keys, i, v)
    {
        if (!(codes[n++] = key_value(c, v))) {
            return NULL;
        }
    }
    keys_press(c->k->be.con, codes, n);
    return qmp_ok();
}

/* ---- input-send-event ---- */

struct motion {
    int dx, dy, dz;
    unsigned buttons;
    bool any;
};

static bool button_event(struct qmp_call *c, json_t *data, struct motion *m)
{
    static const struct {
        const char *name;
        unsigned bit;
        int wheel;
    } buttons[] = { { "left", 1, 0 },      { "right", 2, 0 },      { "middle", 4, 0 },
                    { "wheel-up", 0, -1 }, { "wheel-down", 0, 1 }, { "side", 8, 0 },
                    { "extra", 16, 0 } };
    const char *name = json_string_value(json_object_get(data, "button"));
    bool down = json_is_true(json_object_get(data, "down"));
    for (size_t i = 0; name && i < ARRAY_SIZE(buttons); i++) {
        if (strcmp(buttons[i].name, name) == 0) {
            m->buttons = down ? m->buttons | buttons[i].bit : m->buttons & ~buttons[i].bit;
            m->dz += down ? buttons[i].wheel : 0;
            m->any = true;
            return true;
        }
    }
    return qmp_fail(c, NULL, "Parameter 'button' does not accept value '%.60s'", name ? name : "");
}

static bool axis_event(struct qmp_call *c, json_t *data, struct motion *m)
{
    const char *axis = json_string_value(json_object_get(data, "axis"));
    json_t *value = json_object_get(data, "value");
    json_int_t v = json_integer_value(value);
    bool x = axis && strcmp(axis, "x") == 0;
    if (!json_is_integer(value) || !(x || (axis && strcmp(axis, "y") == 0))) {
        return qmp_fail(c, NULL, "Parameter 'axis' does not accept value '%.60s'",
                        axis ? axis : "");
    }
    v = v > 0x7fff ? 0x7fff : v < -0x7fff ? -0x7fff : v;
    *(x ? &m->dx : &m->dy) += (int)v;
    m->any = true;
    return true;
}

static bool one_event(struct qmp_call *c, json_t *ev, struct motion *m)
{
    const char *type = json_string_value(json_object_get(ev, "type"));
    json_t *data = json_object_get(ev, "data");
    if (type && strcmp(type, "key") == 0) {
        uint16_t code = key_value(c, json_object_get(data, "key"));
        if (code) {
            con_key(c->k->be.con, code, json_is_true(json_object_get(data, "down")));
        }
        return code != 0;
    }
    if (type && strcmp(type, "btn") == 0) {
        return button_event(c, data, m);
    }
    if (type && strcmp(type, "rel") == 0) {
        return axis_event(c, data, m);
    }
    if (type && strcmp(type, "abs") == 0) {
        return qmp_fail(c, NULL, "Input handler not found for event type abs");
    }
    return qmp_fail(c, NULL, "Parameter 'type' does not accept value '%.60s'", type ? type : "");
}

static json_t *do_send_event(struct qmp_call *c)
{
    struct motion m = { .buttons = c->k->mouse_buttons };
    json_t *ev, *events = json_object_get(c->args, "events");
    size_t i;
    bool ok = true;
    json_array_foreach(events, i, ev)
    {
        ok = ok && one_event(c, ev, &m);
    }
    if (m.any) {
        con_motion(c->k->be.con, m.dx, m.dy, m.dz, m.buttons);
        c->k->mouse_buttons = m.buttons;
    }
    return ok ? qmp_ok() : NULL;
}

/* ---- the screen ---- */

static json_t *do_screendump(struct qmp_call *c)
{
    const char *format = qmp_str(c, "format");
    format = format ? format : "ppm";
    if (strcmp(format, "ppm") != 0 && strcmp(format, "png") != 0) {
        return qmp_fail(c, NULL, "Parameter 'format' does not accept value '%.60s'", format);
    }
    if (!c->k->be.con->screen) {
        return qmp_fail(c, NULL, "There is no console to take a screendump from");
    }
    const char *file = qmp_str(c, "filename");
    return con_screendump(c->k->be.con, file, format, &c->err) < 0 ? NULL : qmp_ok();
}

static json_t *set_vnc_password(struct qmp_call *c)
{
    if (!c->k->vnc) {
        return qmp_fail(c, NULL, "Could not set password");
    }
    return vnc_set_password(c->k->vnc, qmp_str(c, "password"), &c->err) < 0 ? NULL : qmp_ok();
}

static json_t *do_set_password(struct qmp_call *c)
{
    const char *protocol = qmp_str(c, "protocol");
    if (strcmp(protocol, "vnc") != 0) {
        return qmp_fail(c, NULL, "Parameter 'protocol' does not accept value '%.60s'", protocol);
    }
    return set_vnc_password(c);
}

const struct qmp_command qmp_commands_input[] = {
    { "change-vnc-password", "password:s", set_vnc_password },
    { "input-send-event", "device:s? head:i? events:a", do_send_event },
    { "screendump", "filename:s format:s? device:s? head:i?", do_screendump },
    { "send-key", "keys:a hold-time:i?", do_send_key },
    { "set_password", "protocol:s password:s connected:s?", do_set_password },
    { 0 },
};
