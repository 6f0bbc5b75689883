/* SPDX-License-Identifier: MIT */
/* hw/input/ps2.h - the two devices behind the keyboard controller's serial ports.
 *
 * A PS/2 device answers bytes that the host sends (replies, at once) and speaks up by itself
 * (events: keys, motion). Replies go first; a new command from the host throws away what is left
 * of the reply to the one before. `wake` is called when an event has appeared; whoever wrote a
 * command looks for the reply himself.
 */
#ifndef HW_INPUT_PS2_H
#define HW_INPUT_PS2_H

#include "ioreq/state.h"

#include <stdbool.h>
#include <stdint.h>

struct con;

#define PS2_EVENTS 64
#define PS2_REPLIES 5 /* ACK and a four-byte packet */

struct ps2_port {
    uint8_t event[PS2_EVENTS], event_head, event_len;
    uint8_t reply[PS2_REPLIES], reply_head, reply_len;
    uint8_t last;        /* what a resend command sends again */
    uint8_t pending_cmd; /* the command whose argument comes next, 0: none */
    void (*wake)(void *opaque);
    void *opaque;
};
extern const struct state_field ps2_port_state[];

/* Empties both queues. */
void ps2_clear(struct ps2_port *p);
void ps2_begin_reply(struct ps2_port *p);
void ps2_reply(struct ps2_port *p, uint8_t byte);
unsigned ps2_room(const struct ps2_port *p); /* for events */
/* All or nothing: false when there is no room for len bytes. */
bool ps2_event(struct ps2_port *p, const uint8_t *bytes, unsigned len);
/* The next byte into *byte, false when there is none. Events only when events is true; *event says
 * which it was. */
bool ps2_fetch(struct ps2_port *p, bool events, uint8_t *byte, bool *event);
/* -EINVAL when restored counters are impossible. */
int ps2_check(const struct ps2_port *p);

struct ps2_kbd {
    struct ps2_port port;
    bool scanning; /* reports keys */
    uint8_t set;   /* scan code set 1..3 */
    uint8_t leds, rate;
    uint8_t mods;          /* PS2_MOD_* held down */
    uint8_t make_only[32]; /* set 3: bit per code: no break code */
    uint8_t no_repeat[32]; /* set 3: bit per code: no repeat while held */
    struct con *con;       /* told about LEDs; may be NULL */
    /* Not saved: whoever held the key down is not there after a restore. */
    uint16_t held;     /* the key pressed last, 0: none, or it is up again */
    int64_t repeat_at; /* virtual ns of its next repeat, -1: none */
};
extern const struct state_field ps2_kbd_state[];
void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_kbd_write(struct ps2_kbd *k, uint8_t byte);
/* con.h's scan codes; now in virtual ns. A key that is down already is not pressed again. */
void ps2_kbd_key(struct ps2_kbd *k, uint16_t scancode, bool down, int64_t now);
/* Whoever drives the keyboard calls this when repeat_at has come. */
void ps2_kbd_repeat(struct ps2_kbd *k, int64_t now);
/* What the controller's translation makes of a byte from the keyboard (set 2 to set 1). */
extern const uint8_t ps2_set2_to_set1[256];

struct ps2_mouse {
    struct ps2_port port;
    bool reporting, remote, wrap, scale21;
    uint8_t id; /* 0 standard, 3 IntelliMouse, 4 Explorer */
    uint8_t rate, resolution;
    uint8_t rates[2];   /* the two set before `rate`: the knock that changes id */
    uint8_t buttons;    /* now */
    uint8_t told;       /* in the last packet */
    int32_t dx, dy, dz; /* not yet told; dy > 0 is up */
};
extern const struct state_field ps2_mouse_state[];
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t byte);
void ps2_mouse_motion(struct ps2_mouse *m, int dx, int dy, int dz, unsigned buttons);
/* Queues a packet if there is something to tell and the last one has gone. */
void ps2_mouse_poll(struct ps2_mouse *m);

#endif
