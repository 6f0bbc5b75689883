/* SPDX-License-Identifier: MIT */
/* hw/input/ps2-kbd.c - a 101-key PS/2 keyboard.
 *
 * Keys come as set 1 codes and leave in the set the guest chose. A key that is held repeats with the
 * delay and rate that the guest set; repeats that a viewer sends are not news. While the guest
 * takes no keys none are repeated, where the part would overrun its queue. Left out: the fake
 * shifts around the grey cursor keys, which no driver needs.
 * Reference: IBM PS/2 Hardware Interface Technical Reference, Keyboard and Auxiliary Device.
 */
#include "hw/input/ps2.h"

#include "ui/con.h"

#include <string.h>

enum { ACK = 0xfa, RESEND = 0xfe, BAT_OK = 0xaa, ECHO = 0xee, ID0 = 0xab, ID1 = 0x83 };
enum {
    CMD_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SET = 0xf0,
    CMD_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_ALL_TYPEMATIC = 0xf7,
    CMD_ALL_MAKE_BREAK = 0xf8,
    CMD_ALL_MAKE = 0xf9,
    CMD_ALL = 0xfa,
    CMD_KEY_TYPEMATIC = 0xfb,
    CMD_KEY_MAKE_BREAK = 0xfc,
    CMD_KEY_MAKE = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};
enum { MOD_SHIFT = 1, MOD_CTRL = 2, MOD_ALT = 4 };

#define DEFAULT_RATE 0x2b /* 10.9 a second after 500 ms */
#define DELAY_STEP_NS 250000000
#define RATE_STEP_NS 4166667 /* 1/240 s */
#define RELEASE_ROOM 32      /* bytes of the queue that only releases may use: no key gets stuck */

/* Index: a set 2 code. 0xf0, the break prefix, never gets here. */
const uint8_t ps2_set2_to_set1[256] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f,
    0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f,
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf,
    0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf,
    0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf,
    0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
    0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
};

/* Index: a set 1 code; value: the set 3 code, 0: no such key. */
static const uint8_t set3_plain[0x59] = {
    0,    0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66,
    0x0d, 0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x11,
    0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5c, 0x1a,
    0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19, 0x29, 0x14, 0x07,
    0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f, 0x6c, 0x75, 0x7d, 0x84,
    0x6b, 0x73, 0x74, 0x7c, 0x69, 0x72, 0x7a, 0x70, 0x71, 0,    0,    0x13, 0x56, 0x5e,
};
/* The same for codes after 0xe0. */
static const struct {
    uint8_t set1, set3;
} set3_extended[] = {
    { 0x1c, 0x79 }, { 0x1d, 0x58 }, { 0x35, 0x77 }, { 0x37, 0x57 }, { 0x38, 0x39 }, { 0x47, 0x6e },
    { 0x48, 0x63 }, { 0x49, 0x6f }, { 0x4b, 0x61 }, { 0x4d, 0x6a }, { 0x4f, 0x65 }, { 0x50, 0x60 },
    { 0x51, 0x6d }, { 0x52, 0x67 }, { 0x53, 0x64 }, { 0x5b, 0x8b }, { 0x5c, 0x8c }, { 0x5d, 0x8d },
};

static uint8_t set3_code(uint16_t scancode)
{
    if (scancode == 0xe11d) {
        return 0x62; /* pause */
    }
    if (scancode < sizeof(set3_plain)) {
        return set3_plain[scancode];
    }
    for (unsigned i = 0; i < sizeof(set3_extended) / sizeof(set3_extended[0]); i++) {
        if (scancode == (0xe000 | set3_extended[i].set1)) {
            return set3_extended[i].set3;
        }
    }
    return 0;
}

/* The set 2 code whose translation is set1; from above, so that F7 is 0x83 and SysRq 0x84. */
static uint8_t set2_code(uint8_t set1)
{
    for (unsigned code = 0x84; code > 0; code--) {
        if (ps2_set2_to_set1[code] == set1) {
            return (uint8_t)code;
        }
    }
    return 0;
}

static unsigned put_set1(uint8_t *out, uint8_t prefix, uint8_t code, bool down)
{
    unsigned n = 0;
    if (prefix) {
        out[n++] = prefix;
    }
    out[n++] = (uint8_t)(code | (down ? 0 : 0x80));
    return n;
}

static unsigned put_set2(uint8_t *out, uint8_t prefix, uint8_t code, bool down)
{
    unsigned n = 0;
    uint8_t code2 = set2_code(code);
    if (code2 == 0) {
        return 0;
    }
    if (prefix) {
        out[n++] = prefix;
    }
    if (!down) {
        out[n++] = 0xf0;
    }
    out[n++] = code2;
    return n;
}

static unsigned put(const struct ps2_kbd *k, uint8_t *out, uint8_t prefix, uint8_t code, bool down)
{
    return k->set == 1 ? put_set1(out, prefix, code, down) : put_set2(out, prefix, code, down);
}

/* Pause says everything when pressed and nothing when released. */
static unsigned put_pause(const struct ps2_kbd *k, uint8_t *out)
{
    unsigned n = 0;
    if (k->mods & MOD_CTRL) { /* Break: Ctrl + Scroll Lock with a prefix */
        n = put(k, out, 0xe0, 0x46, true);
        return n + put(k, out + n, 0xe0, 0x46, false);
    }
    out[n++] = 0xe1;
    n += put(k, out + n, 0, 0x1d, true);
    n += put(k, out + n, 0, 0x45, true);
    out[n++] = 0xe1;
    n += put(k, out + n, 0, 0x1d, false);
    return n + put(k, out + n, 0, 0x45, false);
}

static unsigned put_print(const struct ps2_kbd *k, uint8_t *out, bool down)
{
    unsigned n;
    if (k->mods & MOD_ALT) {
        return put(k, out, 0, 0x54, down); /* SysRq */
    }
    if (k->mods & (MOD_SHIFT | MOD_CTRL)) {
        return put(k, out, 0xe0, 0x37, down);
    }
    n = put(k, out, 0xe0, down ? 0x2a : 0x37, down);
    return n + put(k, out + n, 0xe0, down ? 0x37 : 0x2a, down);
}

static unsigned put_set3(const struct ps2_kbd *k, uint8_t *out, uint16_t scancode, bool down)
{
    uint8_t code = set3_code(scancode);
    if (code == 0 || (!down && (k->make_only[code / 8] & 1u << code % 8))) {
        return 0;
    }
    out[0] = 0xf0;
    out[down ? 0 : 1] = code;
    return down ? 1 : 2;
}

static unsigned encode(const struct ps2_kbd *k, uint8_t *out, uint16_t scancode, bool down)
{
    uint8_t prefix = (uint8_t)(scancode >> 8);
    if (k->set == 3) {
        return put_set3(k, out, scancode, down);
    }
    if (scancode == 0xe11d) {
        return down ? put_pause(k, out) : 0;
    }
    if (scancode == 0xe037) {
        return put_print(k, out, down);
    }
    return prefix == 0 || prefix == 0xe0 ? put(k, out, prefix, scancode & 0x7f, down) : 0;
}

static void track_mods(struct ps2_kbd *k, uint16_t scancode, bool down)
{
    uint8_t mod = 0;
    switch (scancode) {
    case 0x2a:
    case 0x36:
        mod = MOD_SHIFT;
        break;
    case 0x1d:
    case 0xe01d:
        mod = MOD_CTRL;
        break;
    case 0x38:
    case 0xe038:
        mod = MOD_ALT;
        break;
    default:
        break;
    }
    k->mods = (uint8_t)(down ? k->mods | mod : k->mods & ~mod);
}

/* ---- a held key repeats ---- */

/* The rate byte: bits 5 and 6 are the delay; the period is (8 + bits 0-2) << bits 3-4. */
static int64_t delay_ns(const struct ps2_kbd *k)
{
    return ((k->rate >> 5 & 3) + 1) * (int64_t)DELAY_STEP_NS;
}

static int64_t period_ns(const struct ps2_kbd *k)
{
    return ((8 + (k->rate & 7)) << (k->rate >> 3 & 3)) * (int64_t)RATE_STEP_NS;
}

static void let_go(struct ps2_kbd *k)
{
    k->held = 0;
    k->repeat_at = -1;
}

static bool repeats(const struct ps2_kbd *k, uint16_t scancode)
{
    uint8_t code = k->set == 3 ? set3_code(scancode) : 0;
    return scancode != 0xe11d && !(k->no_repeat[code / 8] & 1u << code % 8);
}

static void track_held(struct ps2_kbd *k, uint16_t scancode, bool down, int64_t now)
{
    if (down) {
        k->held = scancode;
        k->repeat_at = repeats(k, scancode) ? now + delay_ns(k) : -1;
    } else if (k->held == scancode) {
        let_go(k);
    }
}

void ps2_kbd_repeat(struct ps2_kbd *k, int64_t now)
{
    uint8_t bytes[10];
    unsigned n = k->held == 0xe037 && k->set != 3 && !k->mods ? put(k, bytes, 0xe0, 0x37, true)
                                                              : encode(k, bytes, k->held, true);
    k->repeat_at = now + period_ns(k);
    if (k->scanning && k->port.event_len == 0) {
        ps2_event(&k->port, bytes, n);
    }
}

void ps2_kbd_key(struct ps2_kbd *k, uint16_t scancode, bool down, int64_t now)
{
    uint8_t bytes[10];
    if (down && scancode == k->held) {
        return;
    }
    unsigned n = encode(k, bytes, scancode, down);
    track_mods(k, scancode, down);
    track_held(k, scancode, down, now);
    if (!k->scanning || n == 0 || (down && ps2_room(&k->port) < n + RELEASE_ROOM)) {
        return;
    }
    ps2_event(&k->port, bytes, n);
}

/* ---- commands ---- */

/* Set 3: modifiers report their release and do not repeat; other keys repeat and report it only
 * after the guest asked for it. */
static void set3_defaults(struct ps2_kbd *k)
{
    static const uint8_t both[] = { 0x11, 0x12, 0x14, 0x19, 0x39, 0x58, 0x59 };
    memset(k->make_only, 0xff, sizeof(k->make_only));
    memset(k->no_repeat, 0, sizeof(k->no_repeat));
    for (unsigned i = 0; i < sizeof(both); i++) {
        k->make_only[both[i] / 8] &= (uint8_t) ~(1u << both[i] % 8);
        k->no_repeat[both[i] / 8] |= (uint8_t)(1u << both[i] % 8);
    }
}

static void set_leds(struct ps2_kbd *k, uint8_t leds)
{
    k->leds = leds & 7;
    if (k->con) {
        k->con->leds = k->leds;
    }
}

static void set_defaults(struct ps2_kbd *k)
{
    k->rate = DEFAULT_RATE;
    k->set = 2;
    set3_defaults(k);
    k->port.event_len = 0;
    let_go(k);
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
    ps2_clear(&k->port);
    k->port.pending_cmd = 0;
    k->port.last = 0;
    k->mods = 0;
    k->scanning = true;
    set_defaults(k);
    set_leds(k, 0);
}

static void set_bit(uint8_t *bits, uint8_t code, bool on)
{
    uint8_t bit = (uint8_t)(1u << code % 8);
    bits[code / 8] = (uint8_t)(on ? bits[code / 8] | bit : bits[code / 8] & ~bit);
}

static void key_list(struct ps2_kbd *k, uint8_t cmd, uint8_t code)
{
    set_bit(k->make_only, code, cmd != CMD_KEY_MAKE_BREAK);
    set_bit(k->no_repeat, code, cmd != CMD_KEY_TYPEMATIC);
}

static void all_keys(struct ps2_kbd *k, uint8_t cmd)
{
    bool breaks = cmd == CMD_ALL || cmd == CMD_ALL_MAKE_BREAK;
    bool repeat = cmd == CMD_ALL || cmd == CMD_ALL_TYPEMATIC;
    memset(k->make_only, breaks ? 0 : 0xff, sizeof(k->make_only));
    memset(k->no_repeat, repeat ? 0 : 0xff, sizeof(k->no_repeat));
}

static void argument(struct ps2_kbd *k, uint8_t cmd, uint8_t byte)
{
    ps2_reply(&k->port, ACK);
    switch (cmd) {
    case CMD_LEDS:
        set_leds(k, byte);
        break;
    case CMD_RATE:
        k->rate = byte;
        break;
    case CMD_SET:
        if (byte == 0) {
            ps2_reply(&k->port, k->set);
        } else if (byte <= 3) {
            k->set = byte;
            k->port.event_len = 0;
        }
        break;
    default:
        key_list(k, cmd, byte);
        k->port.pending_cmd = cmd; /* the list goes on until a command ends it */
        break;
    }
}

static void command(struct ps2_kbd *k, uint8_t byte)
{
    struct ps2_port *p = &k->port;
    ps2_reply(p, ACK);
    switch (byte) {
    case CMD_LEDS:
    case CMD_RATE:
    case CMD_SET:
    case CMD_KEY_TYPEMATIC:
    case CMD_KEY_MAKE_BREAK:
    case CMD_KEY_MAKE:
        p->pending_cmd = byte;
        break;
    case CMD_ID:
        ps2_reply(p, ID0);
        ps2_reply(p, ID1);
        break;
    case CMD_ENABLE:
        p->event_len = 0;
        k->scanning = true;
        break;
    case CMD_DISABLE:
        set_defaults(k);
        k->scanning = false;
        break;
    case CMD_DEFAULTS:
        set_defaults(k);
        break;
    case CMD_ALL_TYPEMATIC:
    case CMD_ALL_MAKE:
    case CMD_ALL_MAKE_BREAK:
    case CMD_ALL:
        all_keys(k, byte);
        break;
    default: /* reset */
        ps2_kbd_reset(k);
        ps2_reply(p, ACK);
        ps2_reply(p, BAT_OK);
        break;
    }
}

void ps2_kbd_write(struct ps2_kbd *k, uint8_t byte)
{
    struct ps2_port *p = &k->port;
    uint8_t cmd = p->pending_cmd, last = p->last;
    ps2_begin_reply(p);
    p->pending_cmd = 0;
    if (cmd && byte < CMD_LEDS) {
        argument(k, cmd, byte);
    } else if (byte == CMD_ECHO) {
        ps2_reply(p, ECHO);
    } else if (byte == CMD_RESEND) {
        ps2_reply(p, last);
    } else if (byte >= CMD_LEDS && byte != 0xef && byte != 0xf1) {
        command(k, byte);
    } else {
        ps2_reply(p, RESEND);
    }
}

const struct state_field ps2_kbd_state[] = {
    FIELD_SUB(struct ps2_kbd, port, ps2_port_state, 1),
    FIELD(struct ps2_kbd, scanning),
    FIELD_RANGE(struct ps2_kbd, set, 1, 3),
    FIELD_RANGE(struct ps2_kbd, leds, 0, 7),
    FIELD(struct ps2_kbd, rate),
    FIELD_RANGE(struct ps2_kbd, mods, 0, 7),
    FIELD_ARRAY(struct ps2_kbd, make_only),
    FIELD_ARRAY_SINCE(struct ps2_kbd, no_repeat, 2),
    FIELD_END,
};
