/* SPDX-License-Identifier: MIT */
/* ioreq/trace-play.c - the player: feeds a fresh machine a trace's inputs, compares its outputs.
 *
 * trace_run takes inputs off the file one after the other and lets the machine have them. While
 * the machine handles one, the hooks bring what it does; each must be the file's next event. So
 * whatever the file still holds for an input when the machine is done with it was not done, and
 * whatever comes when the file already is at the next input was done too much. At the first
 * difference the player goes deaf: hooks still answer, nothing is compared any more.
 *
 * Guest memory is the trace's: what a device reads is what it read then. Bulk transfers have
 * scratch memory, since no device looks at their bytes.
 */
#include "ioreq/machine-int.h"
#include "ioreq/trace-int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 64
#define PIN_MAX (128u << 10)

struct play_handler {
    char *channel;
    void (*fn)(void *opaque, uint32_t tag, const void *data, size_t len);
    void *opaque;
};

struct trace_play {
    struct trace_reader *r;
    struct trace_event next; /* the file's next event, when have */
    struct trace_event top;  /* the input being handled; its bytes are in `bytes` */
    bool have;
    bool deaf;  /* a difference was found, or the file has no more */
    int failed; /* the file is broken: err says how */
    struct err err;
    struct machine *m;
    struct trace_diff *diff;
    struct trace_stats stats;
    char *channels[CHANNELS_MAX]; /* what the devices write to, by number */
    unsigned nchannels;
    struct play_handler handlers[CHANNELS_MAX];
    unsigned nhandlers;
    uint8_t *bytes;         /* TRACE_BYTES_MAX */
    uint8_t *scratch;       /* PIN_MAX: what pins point at */
    struct irq_route route; /* where the trace's machine has interrupt chips of its own */
    uint8_t cpu;            /* whose the requests are */
};

/* ---- the file ---- */

struct trace_play *trace_open(const char *path, struct err *e)
{
    struct trace_reader *r = trace_reader_new(path, e);
    struct trace_play *p;

    if (!r) {
        return NULL;
    }
    p = xcalloc(1, sizeof(*p));
    p->r = r;
    p->bytes = xcalloc(1, TRACE_BYTES_MAX);
    p->scratch = xcalloc(1, PIN_MAX);
    return p;
}

void trace_close(struct trace_play *p)
{
    if (!p) {
        return;
    }
    trace_reader_close(p->r);
    for (unsigned i = 0; i < p->nchannels; i++) {
        free(p->channels[i]);
    }
    for (unsigned i = 0; i < p->nhandlers; i++) {
        free(p->handlers[i].channel);
    }
    free(p->bytes);
    free(p->scratch);
    free(p);
}

const struct trace_option *trace_options(const struct trace_play *p, size_t *n)
{
    return trace_reader_options(p->r, n);
}

const struct trace_stats *trace_stats(const struct trace_play *p)
{
    return &p->stats;
}

static void count(struct trace_stats *s, const struct trace_event *ev)
{
    s->events++;
    s->last_ns = ev->ns;
    switch (ev->kind) {
    case TR_REQUEST:
        s->requests[ev->req.space]++;
        break;
    case TR_READ:
    case TR_READ_FAILED:
        s->dma_reads++;
        break;
    case TR_WRITE:
    case TR_WRITE_FAILED:
        s->dma_writes++;
        break;
    case TR_LINE:
        s->lines++;
        break;
    case TR_TIMER:
        s->timers++;
        break;
    case TR_INPUT:
        s->inputs++;
        break;
    case TR_OUTPUT:
        s->outputs++;
        break;
    default:
        break;
    }
}

/* The next event without taking it; NULL at the end of the file or when it is broken. */
static struct trace_event *peek(struct trace_play *p)
{
    int got;

    if (p->have) {
        return &p->next;
    }
    if (p->failed) {
        return NULL;
    }
    got = trace_get(p->r, &p->next, &p->err);
    if (got < 0) {
        p->failed = got;
        return NULL;
    }
    p->have = got;
    p->stats.truncated = !got && trace_reader_truncated(p->r);
    return got ? &p->next : NULL;
}

static void consume(struct trace_play *p)
{
    count(&p->stats, &p->next);
    p->have = false;
}

/* ---- differences ---- */

static const char *reg_name(const struct region *r, uint64_t off)
{
    const char *name = NULL;

    for (const struct reg_name *n = r->ops->names; n && n->name && n->off <= off; n++) {
        name = n->name;
    }
    return name ? name : r->name;
}

static void name_request(const struct trace_play *p, struct trace_diff *d)
{
    const struct io_req *req = &p->top.req;
    const struct region_span *span = region_find(&p->m->regions[req->space], req->addr);
    const struct region *r = span ? span->r : NULL;
    char addr[32];

    if (req->space == IO_PCI) {
        unsigned bdf = (unsigned)(req->addr >> 32);

        snprintf(addr, sizeof(addr), "%02x:%02x.%u+0x%x", bdf >> 8 & 0xff, bdf >> 3 & 0x1f, bdf & 7,
                 (unsigned)req->addr);
    } else {
        snprintf(addr, sizeof(addr), "0x%" PRIx64, req->addr);
    }
    /* Whose register it is. */
    snprintf(d->device, sizeof(d->device), "%s", r && r->d ? r->d->id : "nobody");
    snprintf(d->where, sizeof(d->where), "%s%s%.40s", addr, r ? " " : "",
             r ? reg_name(r, req->addr - r->base) : "");
}

/* Names device and place: of the output itself where it says, else of what is being handled. */
static void name_place(const struct trace_play *p, struct trace_diff *d,
                       const struct trace_event *ev)
{
    if (p->top.kind == TR_REQUEST) {
        name_request(p, d);
    } else {
        trace_event_title(&p->top, d->where, sizeof(d->where));
        snprintf(d->device, sizeof(d->device), "%s", *p->top.name ? p->top.name : "machine");
    }
    if (ev && *ev->name) {
        snprintf(d->device, sizeof(d->device), "%s", ev->name);
    }
}

static void differ(struct trace_play *p, const struct trace_event *expected,
                   const struct trace_event *got, uint64_t e, uint64_t g)
{
    struct trace_diff *d = p->diff;
    char want[160] = "nothing", have[160] = "nothing", title[64];

    *d = (struct trace_diff){ .differs = true, .expected = e, .got = g };
    d->seq = expected ? expected->seq : p->stats.events;
    trace_event_title(&p->top, title, sizeof(title));
    if (expected) {
        trace_event_text(expected, want, sizeof(want));
    }
    if (got) {
        trace_event_text(got, have, sizeof(have));
    }
    trace_event_title(got && got->kind != TR_ANSWER ? got : &p->top, d->event, sizeof(d->event));
    name_place(p, d, got ? got : expected);
    snprintf(d->text, sizeof(d->text),
             "event %" PRIu64 " at %.6f s: %s, %s of %s: expected %s, got %s", d->seq,
             (double)p->top.ns / 1e9, d->device, title, d->where, want, have);
    p->deaf = true;
}

void trace_refuse(struct trace_play *p, const char *why)
{
    p->failed = err_set(&p->err, -EINVAL, "event %" PRIu64 ": %s", p->stats.events - 1, why);
    p->deaf = true;
}

static void play_run_state(struct trace_play *p, enum run_state s)
{
    if (machine_may_step(p->m, s)) {
        machine_set_run_state(p->m, s);
    } else {
        trace_refuse(p, "a run state that cannot follow");
    }
}

/* What the file expects now. A change of run state that came about inside of an input (a power
 * switch) is made on the way. NULL when there is nothing to compare with. */
static struct trace_event *expected(struct trace_play *p)
{
    struct trace_event *ev = p->deaf ? NULL : peek(p);

    while (ev && ev->kind == TR_RUN_STATE && !p->deaf) {
        enum run_state s = (enum run_state)ev->num;

        consume(p);
        play_run_state(p, s);
        ev = p->deaf ? NULL : peek(p);
    }
    p->deaf = p->deaf || !ev;
    return ev;
}

/* Takes the expected event if got is that; NULL when it differs or all is over. */
static struct trace_event *match(struct trace_play *p, const struct trace_event *got)
{
    struct trace_event *ev = expected(p);
    uint64_t e, g;

    if (!ev) {
        return NULL;
    }
    if (trace_mismatch(ev, got, &e, &g)) {
        differ(p, trace_is_input(ev->kind) ? NULL : ev, got, e, g);
        return NULL;
    }
    consume(p);
    return ev;
}

void trace_play_output(struct trace_play *p, const struct trace_event *got)
{
    match(p, got);
}

int64_t trace_play_value(struct trace_play *p, const struct trace_event *got)
{
    struct trace_event *ev = match(p, got);

    return ev ? ev->sval : got->sval;
}

/* ---- the memory door ---- */

/* got, or what it is called when it failed: then that is the one to match. */
static struct trace_event *match_dma(struct trace_play *p, struct trace_event *got,
                                     enum trace_kind failed)
{
    struct trace_event *ev = expected(p);

    if (ev && ev->kind == failed) {
        got->kind = failed;
    }
    return match(p, got);
}

int trace_play_read(struct machine *m, uint64_t gpa, void *buf, size_t len)
{
    struct trace_event got = { .kind = TR_READ, .gpa = gpa, .len = len, .name = "" };
    struct trace_event *ev = match_dma(m->play, &got, TR_READ_FAILED);
    int ret = ev && ev->kind == TR_READ_FAILED ? -EFAULT : 0;

    if (ev && ev->kind == TR_READ && len) {
        memcpy(buf, ev->bytes, len);
    } else if (len) {
        memset(buf, 0, len);
    }
    trace_dma_read(m, gpa, buf, len, ret);
    return ret;
}

int trace_play_write(struct machine *m, uint64_t gpa, const void *buf, size_t len)
{
    struct trace_event got = { .kind = TR_WRITE, .gpa = gpa, .len = len, .bytes = buf, .name = "" };
    struct trace_event *ev;
    int ret;

    got.hash = trace_hash(buf, len);
    ev = match_dma(m->play, &got, TR_WRITE_FAILED);
    ret = ev && ev->kind == TR_WRITE_FAILED ? -EFAULT : 0;
    trace_dma_write(m, gpa, buf, len, ret);
    return ret;
}

int trace_play_pin(struct machine *m, struct gmem_pin *p, uint64_t gpa, size_t len, bool to_guest)
{
    struct trace_event got = {
        .kind = TR_PIN, .gpa = gpa, .len = len, .num = to_guest, .name = ""
    };
    struct trace_event *ev = match_dma(m->play, &got, TR_PIN_FAILED);
    int ret = (ev && ev->kind == TR_PIN_FAILED) || len > PIN_MAX ? -EFAULT : 0;

    trace_dma_pin(m, gpa, len, to_guest, ret);
    if (ret == 0) {
        *p = (struct gmem_pin){ .gpa = gpa, .len = len, .to_guest = to_guest, .iovcnt = 1 };
        p->iov[0] = (struct iovec){ m->play->scratch, len };
    }
    return ret;
}

/* ---- the other doors ---- */

/* Virtual time is the host's plus what the machine adds when it starts; the machine was recorded
 * from virtual time 0, so in replay nothing is added. */
static int64_t play_now(void *h)
{
    return ((const struct trace_play *)h)->top.ns;
}

static void play_isa_irq(void *h, unsigned irq, bool level)
{
    irq_route_isa(&((struct trace_play *)h)->route, irq, level);
}

static void play_pci_intx(void *h, unsigned devfn, unsigned pin, bool level)
{
    irq_route_intx(&((struct trace_play *)h)->route, devfn, pin, level);
}

static void play_pci_link(void *h, unsigned link, unsigned isa_irq)
{
    irq_route_link(&((struct trace_play *)h)->route, link, isa_irq);
}

static void play_msi(void *h, uint64_t addr, uint32_t data)
{
    irq_route_msi(&((struct trace_play *)h)->route, addr, data);
}

const struct machine_host trace_play_host = {
    .name = "replay",
    .now = play_now,
    .isa_irq = play_isa_irq,
    .pci_intx = play_pci_intx,
    .pci_link = play_pci_link,
    .msi = play_msi,
};

void trace_set_sink(struct trace_play *p, const struct soft_sink *sink, void *o)
{
    p->route.sink = sink;
    p->route.sink_o = o;
}

void trace_set_cpu(struct trace_play *p, uint8_t cpu)
{
    p->cpu = cpu;
}

/* ---- channels ---- */

unsigned trace_play_channel(struct trace_play *p, const char *name)
{
    if (p->nchannels == CHANNELS_MAX) {
        return CHANNELS_MAX;
    }
    p->channels[p->nchannels] = xstrdup(name);
    return p->nchannels++;
}

const char *trace_play_channel_name(const struct trace_play *p, unsigned channel)
{
    return channel < p->nchannels ? p->channels[channel] : "no channel";
}

void trace_on_input(struct trace_play *p, const char *channel,
                    void (*fn)(void *opaque, uint32_t tag, const void *data, size_t len),
                    void *opaque)
{
    if (p->nhandlers < CHANNELS_MAX) {
        p->handlers[p->nhandlers++] = (struct play_handler){ xstrdup(channel), fn, opaque };
    }
}

/* ---- running ---- */

static void play_request(struct trace_play *p)
{
    struct io_req req = p->top.req;

    req.cpu = p->cpu;
    if (ioreq_run(p->m, &req) < 0) {
        trace_refuse(p, "a request no hardware could issue");
    }
}

static void play_timer(struct trace_play *p)
{
    struct trace_event got = p->top;
    struct vtimer *t = p->m->timers;

    while (t && t->id != p->top.num) {
        t = t->next;
    }
    if (!t || t->when < 0) {
        differ(p, &p->top, NULL, (uint64_t)(p->top.ns - p->top.sval), UINT64_MAX);
        return;
    }
    if (t->when != p->top.ns - p->top.sval) {
        got.sval = p->top.ns - t->when;
        differ(p, &p->top, &got, (uint64_t)(p->top.ns - p->top.sval), (uint64_t)t->when);
        return;
    }
    trace_timer(p->m, t);
    vtimer_disarm(t);
    t->fire(t->opaque);
}

static void hand_over(struct trace_play *p, const struct trace_event *ev)
{
    trace_rec_input(p->m, ev);
    for (unsigned i = 0; i < p->nhandlers; i++) {
        const struct play_handler *h = &p->handlers[i];

        if (strncmp(h->channel, ev->name, TRACE_NAME_MAX) == 0) {
            h->fn(h->opaque, (uint32_t)ev->num, ev->bytes, ev->len);
            return;
        }
    }
    trace_refuse(p, "an input of a back end that this machine does not have");
}

void trace_deliver_nested(struct machine *m, unsigned channel, uint32_t bit)
{
    struct trace_play *p = m->play;
    const struct trace_event *ev = p ? expected(p) : NULL;

    while (ev && ev->kind == TR_INPUT && (ev->num & bit) &&
           strncmp(ev->name, trace_play_channel_name(p, channel), TRACE_NAME_MAX) == 0) {
        struct trace_event in = *ev;
        uint8_t *copy = xcalloc(1, ev->len + 1);

        if (ev->len) {
            memcpy(copy, ev->bytes, ev->len);
        }
        in.bytes = copy;
        consume(p);
        hand_over(p, &in);
        free(copy);
        ev = expected(p);
    }
}

/* The device of that name must hold what it held, as far as both know the field. */
static void play_state(struct trace_play *p)
{
    const struct device *d = machine_find(p->m, p->top.name);
    struct state_buf now = { 0 };
    struct trace_diff *f = p->diff;
    const char *field = "the device";
    uint64_t e = 1, g = 0;

    if (d) {
        trace_state_digest(d, &now);
        field = trace_state_mismatch(p->bytes, p->top.len, &now, &e, &g);
    }
    if (field) {
        *f = (struct trace_diff){ .differs = true, .seq = p->top.seq, .expected = e, .got = g };
        snprintf(f->event, sizeof(f->event), "state");
        snprintf(f->device, sizeof(f->device), "%s", p->top.name);
        snprintf(f->where, sizeof(f->where), "%s", field);
        snprintf(f->text, sizeof(f->text),
                 "event %" PRIu64 " at %.6f s: %s, state, %s: expected 0x%" PRIx64
                 ", got 0x%" PRIx64,
                 f->seq, (double)p->top.ns / 1e9, f->device, f->where, e, g);
        p->deaf = true;
    }
    free(now.p);
}

/* One input, under the lock but for requests, which take it themselves. */
static void play_one(struct trace_play *p)
{
    if (p->top.kind == TR_REQUEST) {
        play_request(p);
        return;
    }
    machine_enter(p->m);
    switch (p->top.kind) {
    case TR_TIMER:
        play_timer(p);
        break;
    case TR_INPUT:
        hand_over(p, &p->top);
        break;
    case TR_RESET:
        machine_reset(p->m);
        break;
    case TR_RUN_STATE:
        play_run_state(p, (enum run_state)p->top.num);
        break;
    case TR_STATE:
        play_state(p);
        break;
    default: /* TR_DONE */
        break;
    }
    machine_leave(p->m);
}

/* Takes the next input off the file into top; false when there is none or the run is over. */
static bool next_input(struct trace_play *p, uint64_t until)
{
    struct trace_event *ev = p->deaf ? NULL : peek(p);

    if (!ev || p->failed || (until && ev->seq >= until)) {
        return false;
    }
    if (!trace_is_input(ev->kind)) {
        differ(p, ev, NULL, 0, 0); /* what was recorded for top and did not happen */
        return false;
    }
    p->top = *ev;
    if ((ev->kind == TR_INPUT || ev->kind == TR_STATE) && ev->len) {
        memcpy(p->bytes, ev->bytes, ev->len);
        p->top.bytes = p->bytes;
    }
    consume(p);
    return true;
}

int trace_run(struct trace_play *p, struct machine *m, uint64_t until, struct trace_diff *diff,
              struct err *e)
{
    *diff = (struct trace_diff){ .differs = false };
    p->m = m;
    p->diff = diff;
    p->top.name = "";
    m->play = p;
    while (next_input(p, until)) {
        play_one(p);
    }
    m->play = NULL;
    if (p->failed) {
        return err_set(e, p->failed, "%s", p->err.msg);
    }
    return diff->differs;
}

int trace_show(struct trace_play *p, uint64_t first, uint64_t n,
               void (*put)(void *opaque, const char *line), void *opaque, struct err *e)
{
    struct trace_event *ev;

    while ((ev = peek(p))) {
        char words[200], line[256];

        if (ev->seq >= first && ev->seq - first >= n) {
            return 0;
        }
        if (ev->seq >= first) {
            trace_event_text(ev, words, sizeof(words));
            if (trace_is_input(ev->kind)) {
                snprintf(line, sizeof(line), "%8" PRIu64 " %12.6f %s", ev->seq,
                         (double)ev->ns / 1e9, words);
            } else {
                snprintf(line, sizeof(line), "%8" PRIu64 "                %s", ev->seq, words);
            }
            put(opaque, line);
        }
        consume(p);
    }
    return p->failed ? err_set(e, p->failed, "%s", p->err.msg) : 0;
}

/* Whether two events are the same in all but the time. Equal bytes in the file mean equal. */
static bool same_event(const struct trace_event *a, const struct trace_event *b,
                       struct state_buf bytes[2])
{
    const struct trace_event *both[2] = { a, b };

    for (unsigned i = 0; i < 2; i++) {
        struct trace_event ev = *both[i];
        struct trace_delta d = { 0 };

        ev.ns = 0;
        if (ev.kind == TR_TIMER) {
            ev.sval = 0;
        }
        bytes[i].len = 0;
        trace_encode(&bytes[i], &d, &ev, 0);
    }
    return strcmp(a->name, b->name) == 0 && bytes[0].len == bytes[1].len &&
           memcmp(bytes[0].p, bytes[1].p, bytes[0].len) == 0;
}

static int compare_next(struct trace_play *a, struct trace_play *b, struct state_buf bytes[2],
                        struct trace_diff *diff)
{
    struct trace_event *x = peek(a), *y = peek(b);
    char one[100] = "the end", two[100] = "the end";

    if ((!x && !y) || (x && y && same_event(x, y, bytes))) {
        return 0;
    }
    if (x) {
        trace_event_text(x, one, sizeof(one));
    }
    if (y) {
        trace_event_text(y, two, sizeof(two));
    }
    *diff = (struct trace_diff){ .differs = true, .seq = a->stats.events };
    snprintf(diff->text, sizeof(diff->text), "event %" PRIu64 ": %s, against %s", diff->seq, one,
             two);
    return 1;
}

int trace_compare(struct trace_play *a, struct trace_play *b, struct trace_diff *diff,
                  struct err *e)
{
    struct state_buf bytes[2] = { { 0 } };
    int ret = 0;

    *diff = (struct trace_diff){ .differs = false };
    while (ret == 0 && peek(a) && peek(b)) {
        ret = compare_next(a, b, bytes, diff);
        consume(a);
        consume(b);
    }
    if (ret == 0 && !a->failed && !b->failed) {
        ret = compare_next(a, b, bytes, diff);
    }
    if (a->failed || b->failed) {
        ret = err_set(e, -EINVAL, "%s", a->failed ? a->err.msg : b->err.msg);
    }
    free(bytes[0].p);
    free(bytes[1].p);
    return ret;
}
