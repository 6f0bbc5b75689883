/* SPDX-License-Identifier: MIT */
/* hw/input/ps2-mouse.c - a PS/2 mouse that becomes an IntelliMouse or Explorer when knocked.
 *
 * Motion adds up until the packet before has been fetched, so a slow guest sees the sum and the
 * queue stays short; a button that changes gets a packet of its own. Sample rate and resolution
 * are remembered, not acted upon: the viewer's events set the pace, and a pixel is a count.
 * Reference: IBM PS/2 Hardware Interface Technical Reference; Microsoft, IntelliMouse and
 * IntelliMouse Explorer wheel protocols (sample rates 200, 100, 80 and 200, 200, 80).
 */
#include "hw/input/ps2.h"

#include <stdlib.h>

enum { ACK = 0xfa, RESEND = 0xfe, BAT_OK = 0xaa };
enum {
    CMD_SCALE_11 = 0xe6,
    CMD_SCALE_21 = 0xe7,
    CMD_RESOLUTION = 0xe8,
    CMD_STATUS = 0xe9,
    CMD_STREAM = 0xea,
    CMD_READ = 0xeb,
    CMD_RESET_WRAP = 0xec,
    CMD_WRAP = 0xee,
    CMD_REMOTE = 0xf0,
    CMD_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};
enum { BUTTONS_3 = 0x07, BUTTONS_5 = 0x1f };
#define SUM_MAX 100000 /* motion that no guest fetches stops adding up */

static int32_t clamp(int64_t v, int32_t lo, int32_t hi)
{
    return v < lo ? lo : v > hi ? hi : (int32_t)v;
}

static uint8_t shown_buttons(const struct ps2_mouse *m)
{
    return m->buttons & (m->id == 4 ? BUTTONS_5 : BUTTONS_3);
}

/* Takes from *sum what one packet can carry. */
static int32_t take(int32_t *sum, int32_t lo, int32_t hi)
{
    int32_t part = clamp(*sum, lo, hi);
    *sum -= part;
    return part;
}

/* 2:1 scaling, stream mode only: small counts grow slower than large ones double. */
static int32_t scaled(int32_t v)
{
    static const int32_t small[6] = { 0, 1, 1, 3, 6, 9 };
    int32_t mag = abs(v);
    mag = mag < 6 ? small[mag] : 2 * mag;
    return v < 0 ? -mag : mag;
}

static unsigned make_packet(struct ps2_mouse *m, uint8_t out[4], bool stream)
{
    bool half = stream && m->scale21;
    int32_t dx = take(&m->dx, half ? -127 : -255, half ? 127 : 255);
    int32_t dy = take(&m->dy, half ? -127 : -255, half ? 127 : 255);
    uint8_t buttons = shown_buttons(m);
    dx = half ? scaled(dx) : dx;
    dy = half ? scaled(dy) : dy;
    out[0] = (uint8_t)(0x08 | (buttons & BUTTONS_3) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0));
    out[1] = (uint8_t)dx;
    out[2] = (uint8_t)dy;
    m->told = buttons;
    if (m->id == 3) {
        out[3] = (uint8_t)take(&m->dz, -127, 127);
        return 4;
    }
    if (m->id == 4) {
        out[3] = (uint8_t)((take(&m->dz, -8, 7) & 0x0f) | (buttons & 0x18) << 1);
        return 4;
    }
    m->dz = 0;
    return 3;
}

void ps2_mouse_poll(struct ps2_mouse *m)
{
    uint8_t packet[4];
    bool clicked = shown_buttons(m) != m->told;
    bool moved = m->dx || m->dy || (m->dz && m->id);
    if (!m->reporting || m->remote || m->wrap || !(clicked || moved) ||
        ps2_room(&m->port) < sizeof(packet) || (!clicked && m->port.event_len > 0)) {
        return;
    }
    ps2_event(&m->port, packet, make_packet(m, packet, true));
}

void ps2_mouse_motion(struct ps2_mouse *m, int dx, int dy, int dz, unsigned buttons)
{
    m->dx = clamp((int64_t)m->dx + dx, -SUM_MAX, SUM_MAX);
    m->dy = clamp((int64_t)m->dy - dy, -SUM_MAX, SUM_MAX);
    m->dz = clamp((int64_t)m->dz + dz, -SUM_MAX, SUM_MAX);
    m->buttons = buttons & BUTTONS_5;
    ps2_mouse_poll(m);
}

static void forget_motion(struct ps2_mouse *m)
{
    m->dx = m->dy = m->dz = 0;
    m->told = shown_buttons(m);
    m->port.event_len = 0;
}

static void set_defaults(struct ps2_mouse *m)
{
    m->reporting = m->remote = m->scale21 = false;
    m->rate = 100;
    m->resolution = 2;
    m->rates[0] = m->rates[1] = 0;
    forget_motion(m);
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
    ps2_clear(&m->port);
    m->port.pending_cmd = 0;
    m->port.last = 0;
    m->wrap = false;
    m->id = 0;
    m->buttons = 0;
    set_defaults(m);
}

static void set_rate(struct ps2_mouse *m, uint8_t rate)
{
    m->rates[0] = m->rates[1];
    m->rates[1] = m->rate;
    m->rate = rate;
    if (rate == 80 && m->rates[1] == 100 && m->rates[0] == 200) {
        m->id = 3;
    } else if (rate == 80 && m->rates[1] == 200 && m->rates[0] == 200) {
        m->id = 4;
    }
}

static void send_status(struct ps2_mouse *m)
{
    uint8_t buttons = shown_buttons(m);
    ps2_reply(&m->port, (uint8_t)((m->remote ? 0x40 : 0) | (m->reporting ? 0x20 : 0) |
                                  (m->scale21 ? 0x10 : 0) | (buttons & 1) << 2 |
                                  (buttons & 4) >> 1 | (buttons & 2) >> 1));
    ps2_reply(&m->port, m->resolution);
    ps2_reply(&m->port, m->rate);
}

static void send_packet(struct ps2_mouse *m)
{
    uint8_t packet[4];
    unsigned n;
    m->port.event_len = 0;
    n = make_packet(m, packet, false);
    for (unsigned i = 0; i < n; i++) {
        ps2_reply(&m->port, packet[i]);
    }
}

static void argument(struct ps2_mouse *m, uint8_t cmd, uint8_t byte)
{
    ps2_reply(&m->port, ACK);
    if (cmd == CMD_RATE) {
        set_rate(m, byte);
    } else {
        m->resolution = byte & 3;
    }
}

static void set_mode(struct ps2_mouse *m, uint8_t cmd)
{
    forget_motion(m);
    m->wrap = cmd == CMD_WRAP;
    if (cmd == CMD_STREAM || cmd == CMD_REMOTE) {
        m->remote = cmd == CMD_REMOTE;
    }
}

static void command(struct ps2_mouse *m, uint8_t byte)
{
    ps2_reply(&m->port, ACK);
    switch (byte) {
    case CMD_SCALE_11:
    case CMD_SCALE_21:
        m->scale21 = byte == CMD_SCALE_21;
        break;
    case CMD_RESOLUTION:
    case CMD_RATE:
        m->port.pending_cmd = byte;
        break;
    case CMD_STATUS:
        send_status(m);
        break;
    case CMD_STREAM:
    case CMD_REMOTE:
    case CMD_WRAP:
    case CMD_RESET_WRAP:
        set_mode(m, byte);
        break;
    case CMD_READ:
        send_packet(m);
        break;
    case CMD_ID:
        ps2_reply(&m->port, m->id);
        break;
    case CMD_ENABLE:
    case CMD_DISABLE:
        forget_motion(m);
        m->reporting = byte == CMD_ENABLE;
        break;
    case CMD_DEFAULTS:
        set_defaults(m);
        break;
    default: /* reset */
        ps2_mouse_reset(m);
        ps2_reply(&m->port, ACK);
        ps2_reply(&m->port, BAT_OK);
        ps2_reply(&m->port, 0x00);
        break;
    }
}

static bool known(uint8_t byte)
{
    return (byte >= CMD_SCALE_11 && byte <= CMD_RESET_WRAP) || byte == CMD_WRAP ||
           byte == CMD_REMOTE || (byte >= CMD_ID && byte <= CMD_DEFAULTS) || byte == CMD_RESET;
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t byte)
{
    struct ps2_port *p = &m->port;
    uint8_t cmd = p->pending_cmd, last = p->last;
    ps2_begin_reply(p);
    p->pending_cmd = 0;
    if (m->wrap && byte != CMD_RESET && byte != CMD_RESET_WRAP) {
        ps2_reply(p, byte);
    } else if (cmd) {
        argument(m, cmd, byte);
    } else if (byte == CMD_RESEND) {
        ps2_reply(p, last);
    } else if (known(byte)) {
        command(m, byte);
    } else {
        ps2_reply(p, RESEND);
    }
}

const struct state_field ps2_mouse_state[] = {
    FIELD_SUB(struct ps2_mouse, port, ps2_port_state, 1),
    FIELD(struct ps2_mouse, reporting),
    FIELD(struct ps2_mouse, remote),
    FIELD(struct ps2_mouse, wrap),
    FIELD(struct ps2_mouse, scale21),
    FIELD_RANGE(struct ps2_mouse, id, 0, 4),
    FIELD(struct ps2_mouse, rate),
    FIELD_RANGE(struct ps2_mouse, resolution, 0, 3),
    FIELD_ARRAY(struct ps2_mouse, rates),
    FIELD_RANGE(struct ps2_mouse, buttons, 0, BUTTONS_5),
    FIELD_RANGE(struct ps2_mouse, told, 0, BUTTONS_5),
    FIELD(struct ps2_mouse, dx),
    FIELD(struct ps2_mouse, dy),
    FIELD(struct ps2_mouse, dz),
    FIELD_END,
};
