/* SPDX-License-Identifier: MIT */
/* hw/scsi/lsi-bus.c - the LSI53C895A's SCSI bus, with the targets on it.
 *
 * A target that has to wait for its medium disconnects, when the initiator lets it (IDENTIFY), and
 * reselects when it can go on. Negotiations are agreed to as asked; bytes move at once whatever was
 * agreed. Reference: SCSI-2, 6.1 and 6.6.
 */
#include "hw/scsi/lsi-int.h"

#include <errno.h>

enum {
    MSG_COMPLETE = 0x00,
    MSG_EXTENDED = 0x01,
    MSG_SAVE_POINTERS = 0x02,
    MSG_DISCONNECT = 0x04,
    MSG_ABORT = 0x06,
    MSG_REJECT = 0x07,
    MSG_RESET = 0x0c,
    MSG_ABORT_TAG = 0x0d,
    MSG_CLEAR_QUEUE = 0x0e,
    MSG_SIMPLE_TAG = 0x20,
    MSG_ORDERED_TAG = 0x22,
    MSG_IDENTIFY = 0x80,
    EXT_SYNC = 1,
    EXT_WIDE = 3,
    EXT_PPR = 4,
};

static struct lsi_req *current(struct lsi *l)
{
    return l->current < LSI_REQS ? &l->request[l->current] : NULL;
}

static void bus_free(struct lsi *l)
{
    l->bus_state = BUS_FREE;
    l->req = l->ack = l->atn = false;
    l->current = LSI_REQS;
    l->msg_len = l->msg_pos = 0;
    l->reg[SCNTL1] &= (uint8_t)~SCNTL1_CON;
}

static void go(struct lsi *l, enum lsi_phase phase)
{
    l->phase = (uint8_t)phase;
    l->req = true;
}

static void say(struct lsi *l, const uint8_t *msg, unsigned len, enum lsi_after after)
{
    memcpy(l->msg, msg, len);
    l->msg_len = (uint8_t)len;
    l->msg_pos = 0;
    l->after = (uint8_t)after;
    go(l, PHASE_MSG_IN);
}

static void disconnect(struct lsi *l, struct lsi_req *r)
{
    static const uint8_t msg[] = { MSG_SAVE_POINTERS, MSG_DISCONNECT };
    unsigned skip = r->moved ? 0 : 1;
    say(l, msg + skip, 2 - skip, AFTER_DISCONNECT);
}

/* The connected target's next phase. */
static void next_phase(struct lsi *l)
{
    struct lsi_req *r = current(l);
    if (l->atn) {
        go(l, PHASE_MSG_OUT);
    } else if (!r) {
        go(l, PHASE_COMMAND);
    } else if (r->s.state == SCSI_DATA) {
        go(l, r->s.dir == SCSI_IN ? PHASE_DATA_IN : PHASE_DATA_OUT);
    } else if (r->s.state == SCSI_DONE) {
        go(l, PHASE_STATUS);
    } else if (l->may_disconnect) {
        disconnect(l, r);
    } else {
        l->req = false;
    }
}

/* ---- selection ---- */

static void connect(struct lsi *l, unsigned target)
{
    l->bus_state = BUS_CONNECTED;
    l->reg[SCNTL1] |= SCNTL1_CON;
    l->target = (uint8_t)target;
    l->current = LSI_REQS;
    l->ack = l->atn = l->tagged = l->may_disconnect = false;
    l->lun = l->tag = 0;
    l->msg_len = l->msg_pos = 0;
}

void lsi_select(struct lsi *l, unsigned target, bool atn)
{
    if (!scsi_target_present(&l->bus, target)) {
        l->bus_state = BUS_SELECTING;
        l->req = false;
        vtimer_arm(&l->select, LSI_SELECT_NS);
        return;
    }
    connect(l, target);
    l->atn = atn;
    go(l, PHASE_MSG_OUT);
}

bool lsi_reselect(struct lsi *l)
{
    for (unsigned i = 0; l->bus_state == BUS_FREE && i < LSI_REQS; i++) {
        unsigned n = (l->turn + i) % LSI_REQS;
        struct lsi_req *r = &l->request[n];
        if (!r->used || r->s.state == SCSI_WAIT) {
            continue;
        }
        uint8_t msg[] = { MSG_IDENTIFY | r->s.lun, MSG_SIMPLE_TAG, r->tag };
        connect(l, r->s.target);
        l->turn = (uint8_t)((n + 1) % LSI_REQS);
        l->current = (uint8_t)n;
        l->lun = r->s.lun;
        l->tag = r->tag;
        l->tagged = r->tagged;
        l->may_disconnect = true;
        r->moved = false;
        l->reg[SSID] = 0x80 | r->s.target;
        say(l, msg, r->tagged ? 3 : 1, AFTER_GO_ON);
        return true;
    }
    return false;
}

/* ---- message in, status ---- */

void lsi_release_ack(struct lsi *l)
{
    if (!l->ack) {
        return;
    }
    l->ack = false;
    if (l->atn) { /* the initiator has something to say to that */
        l->msg_len = l->msg_pos = 0;
        go(l, PHASE_MSG_OUT);
    } else if (l->msg_pos < l->msg_len) {
        go(l, PHASE_MSG_IN);
    } else if (l->after == AFTER_DISCONNECT) {
        bus_free(l);
    } else if (l->after == AFTER_COMPLETE) {
        if (current(l)) {
            current(l)->used = false;
        }
        bus_free(l);
    } else {
        next_phase(l);
    }
}

uint32_t lsi_message_in(struct lsi *l, uint8_t *buf, uint32_t len)
{
    uint32_t left = (uint32_t)(l->msg_len - l->msg_pos), n = len < left ? len : left;
    memcpy(buf, l->msg + l->msg_pos, n);
    l->msg_pos = (uint8_t)(l->msg_pos + n);
    l->ack = true;
    return n;
}

uint8_t lsi_status_in(struct lsi *l)
{
    static const uint8_t complete[] = { MSG_COMPLETE };
    uint8_t status = current(l) ? current(l)->s.status : l->status;
    say(l, complete, 1, AFTER_COMPLETE);
    return status;
}

/* ---- message out ---- */

static bool same_nexus(const struct lsi *l, const struct lsi_req *r)
{
    return r->used && r->s.target == l->target && r->s.lun == l->lun;
}

static void drop(struct lsi_req *r)
{
    scsi_cancel(&r->s);
    r->used = false;
}

/* ABORT and its kin: what they hit is gone, and the target leaves the bus. */
static void abort_commands(struct lsi *l, uint8_t msg)
{
    for (unsigned i = 0; i < LSI_REQS; i++) {
        struct lsi_req *r = &l->request[i];
        bool hit = same_nexus(l, r);
        if (msg == MSG_ABORT_TAG) {
            hit = hit && r->tagged == l->tagged && r->tag == l->tag;
        } else if (msg == MSG_RESET) {
            hit = r->used && r->s.target == l->target;
        }
        if (hit) {
            drop(r);
        }
    }
    if (msg == MSG_RESET) {
        scsi_bus_was_reset(&l->bus, l->target);
    }
    bus_free(l);
}

/* An extended message at m, of which n bytes are there; its length, or 0 when it is cut off. */
static uint32_t extended(struct lsi *l, const uint8_t *m, uint32_t n)
{
    uint32_t len = n >= 3 ? (m[1] ? m[1] : 256u) + 2u : 0;
    if (len < 3 || len > n) {
        return 0;
    }
    uint8_t reply[8] = { 0 };
    bool known = (m[2] == EXT_SYNC && len == 5) || (m[2] == EXT_WIDE && len == 4) ||
                 (m[2] == EXT_PPR && len == 8);
    if (known) { /* agreed */
        memcpy(reply, m, len);
        say(l, reply, len, AFTER_GO_ON);
    } else {
        reply[0] = MSG_REJECT;
        say(l, reply, 1, AFTER_GO_ON);
    }
    return len;
}

/* One message at m; how many bytes it has, or 0 when it was the last that counts. */
static uint32_t message(struct lsi *l, const uint8_t *m, uint32_t n)
{
    static const uint8_t reject[] = { MSG_REJECT };
    if (m[0] & MSG_IDENTIFY) {
        l->lun = current(l) ? l->lun : m[0] & 7;
        l->may_disconnect = m[0] & 0x40;
        return 1;
    }
    if (m[0] >= MSG_SIMPLE_TAG && m[0] <= MSG_ORDERED_TAG) {
        if (!current(l) && n >= 2) {
            l->tagged = true;
            l->tag = m[1];
        }
        return n >= 2 ? 2 : 0;
    }
    switch (m[0]) {
    case MSG_EXTENDED:
        return extended(l, m, n);
    case MSG_ABORT:
    case MSG_ABORT_TAG:
    case MSG_CLEAR_QUEUE:
    case MSG_RESET:
        abort_commands(l, m[0]);
        return 0;
    case 0x05: /* initiator detected error: there are none on this bus */
    case MSG_REJECT:
    case 0x08: /* no operation */
    case 0x09: /* parity error */
        return 1;
    default:
        say(l, reject, 1, AFTER_GO_ON);
        return 1;
    }
}

void lsi_message_out(struct lsi *l, const uint8_t *buf, uint32_t len)
{
    l->atn = false; /* the chip drops it with the last byte */
    l->req = false;
    for (uint32_t at = 0, n = 1; at < len && n && l->bus_state == BUS_CONNECTED; at += n) {
        n = message(l, buf + at, len - at);
    }
    if (l->bus_state == BUS_CONNECTED && !l->req) {
        next_phase(l);
    }
}

/* ---- commands and data ---- */

static struct lsi_req *new_request(struct lsi *l)
{
    struct lsi_req *found = NULL;
    for (unsigned i = 0; i < LSI_REQS; i++) {
        struct lsi_req *r = &l->request[i];
        if (same_nexus(l, r) && r->tagged == l->tagged && r->tag == l->tag) {
            return NULL; /* this one is still at work */
        }
        found = r->used || found ? found : r;
    }
    return found;
}

void lsi_command(struct lsi *l, const uint8_t *cdb, uint32_t len)
{
    struct lsi_req *r = new_request(l);
    if (!r) {
        l->status = SCSI_QUEUE_FULL;
        go(l, PHASE_STATUS);
        return;
    }
    r->used = true;
    r->moved = false;
    r->tagged = l->tagged;
    r->tag = l->tag;
    r->s.target = l->target;
    r->s.lun = l->lun;
    memset(r->s.cdb, 0, SCSI_CDB);
    memcpy(r->s.cdb, cdb, len);
    l->current = (uint8_t)(r - l->request);
    scsi_start(&r->s);
    next_phase(l);
}

uint8_t *lsi_data(struct lsi *l, uint32_t *len)
{
    struct scsi_req *s = &current(l)->s;
    if (s->state == SCSI_DATA && !s->data) { /* it was read before the state was saved */
        scsi_reload(s);
        if (s->state == SCSI_WAIT) {
            l->req = false;
        } else {
            next_phase(l);
        }
        return NULL;
    }
    *len = s->len - s->pos;
    return s->data + s->pos;
}

void lsi_data_moved(struct lsi *l, uint32_t len)
{
    struct lsi_req *r = current(l);
    r->moved = true;
    r->s.pos += len;
    if (r->s.pos == r->s.len) {
        scsi_moved(&r->s);
        next_phase(l);
    }
}

void lsi_req_ready(struct scsi_req *s)
{
    struct lsi_req *r = (struct lsi_req *)s;
    struct lsi *l = r->l;
    if (current(l) == r && !l->req && !l->ack) { /* else it is about to say that it disconnects */
        next_phase(l);
    }
    lsi_resume_script(l);
}

/* ---- the end of everything ---- */

void lsi_bus_reset(struct lsi *l)
{
    for (unsigned i = 0; i < LSI_REQS; i++) {
        if (l->request[i].used) {
            drop(&l->request[i]);
        }
    }
    bus_free(l);
}

void lsi_bus_gone(struct scsi_bus *bus)
{
    struct lsi *l = (struct lsi *)bus->hba;
    for (unsigned i = 0; i < LSI_REQS; i++) {
        struct lsi_req *r = &l->request[i];
        if (!r->used || scsi_dev_of(&r->s)) {
            continue;
        }
        drop(r);
        if (l->current == i) {
            bus_free(l);
        }
    }
}

static bool connection_sane(const struct lsi *l)
{
    bool connected = l->bus_state == BUS_CONNECTED;
    if (l->msg_pos > l->msg_len || l->msg_len > LSI_MSG) {
        return false;
    }
    if (!connected) {
        return l->current == LSI_REQS && !l->req && !l->ack;
    }
    if (l->current < LSI_REQS) {
        const struct lsi_req *r = &l->request[l->current];
        return r->used && r->s.target == l->target && r->s.lun == l->lun;
    }
    return l->phase != PHASE_DATA_IN && l->phase != PHASE_DATA_OUT;
}

/* What the target asks for is there to be moved. */
static bool phase_sane(struct lsi *l)
{
    const struct lsi_req *r = current(l);
    switch (l->req ? l->phase : PHASE_COMMAND) {
    case PHASE_DATA_IN:
    case PHASE_DATA_OUT:
        return r && r->s.state == SCSI_DATA && (r->s.dir == SCSI_IN) == (l->phase == PHASE_DATA_IN);
    case PHASE_MSG_IN:
        return l->ack || l->msg_pos < l->msg_len;
    default:
        return true;
    }
}

int lsi_bus_loaded(struct lsi *l, struct err *e)
{
    if (!connection_sane(l)) {
        return err_set(e, -EINVAL, "the SCSI bus in state %u, phase %u, cannot be", l->bus_state,
                       l->phase);
    }
    for (unsigned i = 0; i < LSI_REQS; i++) {
        struct lsi_req *r = &l->request[i];
        bool waited = r->used && r->s.state == SCSI_WAIT;
        int ret = r->used ? scsi_req_loaded(&r->s, e) : 0;
        if (ret == 0 && r->used && r->s.state == SCSI_IDLE) {
            ret = err_set(e, -EINVAL, "command %u is neither there nor gone", i);
        }
        if (ret < 0) {
            return ret;
        }
        if (waited) {
            if (l->current == i && !l->req && !l->ack) {
                next_phase(l);
            }
            vtimer_arm(&l->slice, 0);
        }
    }
    if (!phase_sane(l)) {
        return err_set(e, -EINVAL, "phase %u with nothing to move", l->phase);
    }
    return 0;
}
