/* SPDX-License-Identifier: MIT */
/* hw/input/ps2.c - the byte queues that keyboard and mouse share; see ps2.h. */
#include "hw/input/ps2.h"

#include <errno.h>

void ps2_clear(struct ps2_port *p)
{
    p->event_head = p->event_len = 0;
    p->reply_head = p->reply_len = 0;
}

void ps2_begin_reply(struct ps2_port *p)
{
    p->reply_head = p->reply_len = 0;
}

void ps2_reply(struct ps2_port *p, uint8_t byte)
{
    if (p->reply_len < PS2_REPLIES) {
        p->reply[(p->reply_head + p->reply_len++) % PS2_REPLIES] = byte;
    }
}

unsigned ps2_room(const struct ps2_port *p)
{
    return PS2_EVENTS - p->event_len;
}

bool ps2_event(struct ps2_port *p, const uint8_t *bytes, unsigned len)
{
    if (len > ps2_room(p)) {
        return false;
    }
    for (unsigned i = 0; i < len; i++) {
        p->event[(p->event_head + p->event_len++) % PS2_EVENTS] = bytes[i];
    }
    p->wake(p->opaque);
    return true;
}

bool ps2_fetch(struct ps2_port *p, bool events, uint8_t *byte, bool *event)
{
    *event = p->reply_len == 0;
    if (p->reply_len > 0) {
        *byte = p->reply[p->reply_head];
        p->reply_head = (uint8_t)((p->reply_head + 1) % PS2_REPLIES);
        p->reply_len--;
    } else if (events && p->event_len > 0) {
        *byte = p->event[p->event_head];
        p->event_head = (uint8_t)((p->event_head + 1) % PS2_EVENTS);
        p->event_len--;
    } else {
        return false;
    }
    p->last = *byte;
    return true;
}

int ps2_check(const struct ps2_port *p)
{
    return p->event_head < PS2_EVENTS && p->event_len <= PS2_EVENTS &&
                   p->reply_head < PS2_REPLIES && p->reply_len <= PS2_REPLIES
               ? 0
               : -EINVAL;
}

const struct state_field ps2_port_state[] = {
    FIELD_ARRAY(struct ps2_port, event),
    FIELD_RANGE(struct ps2_port, event_head, 0, PS2_EVENTS - 1),
    FIELD_RANGE(struct ps2_port, event_len, 0, PS2_EVENTS),
    FIELD_ARRAY(struct ps2_port, reply),
    FIELD_RANGE(struct ps2_port, reply_head, 0, PS2_REPLIES - 1),
    FIELD_RANGE(struct ps2_port, reply_len, 0, PS2_REPLIES),
    FIELD(struct ps2_port, last),
    FIELD(struct ps2_port, pending_cmd),
    FIELD_END,
};
