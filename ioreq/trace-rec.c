/* SPDX-License-Identifier: MIT */
/* ioreq/trace-rec.c - the hooks in the doors, and the recorder behind them.
 *
 * Each hook makes one struct trace_event of what just crossed. In replay an output goes to the
 * player, which compares it with its file; while recording it goes to the writer. Both may be
 * there: recording a replay gives the same trace again. Everything here runs under the machine
 * lock, so the order of writing is the order of happening.
 */
#include "ioreq/cpu.h"
#include "ioreq/trace-int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 64

struct trace_rec {
    struct trace_writer *w;
    char *channels[CHANNELS_MAX];
    unsigned nchannels;
    bool in_request;
};

int trace_rec_start(struct machine *m, const char *path, const struct trace_option *options,
                    size_t noptions, struct err *e)
{
    struct trace_writer *w;

    if (m->rec) {
        return err_set(e, -EBUSY, "a recording is running already");
    }
    if (vclock_now(m) != 0 || m->run_state == RUN_INMIGRATE) {
        return err_set(e, -EBUSY, "%s: a recording must begin with the machine", path);
    }
    w = trace_writer_new(path, options, noptions, e);
    if (!w) {
        return e ? e->code : -EIO;
    }
    m->rec = xcalloc(1, sizeof(*m->rec));
    m->rec->w = w;
    return 0;
}

static void record_state(struct machine *m, int64_t now)
{
    for (const struct device *d = m->devices; d; d = d->next) {
        struct state_buf b = { 0 };
        struct trace_event ev = { .kind = TR_STATE, .ns = now, .name = d->id };

        if (d->class->outside) {
            continue;
        }
        trace_state_digest(d, &b);
        ev.bytes = b.p;
        ev.len = b.len;
        if (b.len <= TRACE_BYTES_MAX) {
            trace_put(m->rec->w, &ev);
        }
        free(b.p);
    }
}

void trace_rec_stop(struct machine *m)
{
    struct trace_rec *rec = m->rec;
    struct trace_event ev = { .kind = TR_DONE, .name = "" };
    int ret;

    if (!rec) {
        return;
    }
    ev.ns = vclock_now(m);
    record_state(m, ev.ns);
    trace_put(rec->w, &ev);
    ret = trace_writer_close(rec->w);
    if (ret < 0) {
        log_msg(LOG_ERROR, "trace", "recording is not complete: %s", strerror(-ret));
    }
    for (unsigned i = 0; i < rec->nchannels; i++) {
        free(rec->channels[i]);
    }
    free(rec);
    m->rec = NULL;
}

/* Something came in from outside; the player does that itself in replay. */
static void input(struct machine *m, struct trace_event *ev)
{
    if (m->rec) {
        ev->ns = vclock_now(m);
        trace_put(m->rec->w, ev);
    }
}

void trace_rec_input(struct machine *m, const struct trace_event *ev)
{
    if (m->rec) {
        trace_put(m->rec->w, ev);
    }
}

/* A device did something. */
static void output(struct machine *m, const struct trace_event *ev)
{
    if (m->play) {
        trace_play_output(m->play, ev);
    }
    if (m->rec) {
        trace_put(m->rec->w, ev);
    }
}

/* ---- channels ---- */

unsigned trace_channel(struct machine *m, const char *name)
{
    unsigned n = 0;

    if (m->host == &trace_play_host) {
        n = trace_play_channel(m->h, name);
    }
    if (m->rec) {
        assert(m->rec->nchannels < CHANNELS_MAX);
        n = m->rec->nchannels++;
        m->rec->channels[n] = xstrdup(name);
    }
    return n;
}

static const char *channel_name(const struct machine *m, unsigned channel)
{
    if (m->rec) {
        assert(channel < m->rec->nchannels);
        return m->rec->channels[channel];
    }
    return trace_play_channel_name(m->play, channel);
}

void trace_input(struct machine *m, unsigned channel, uint32_t tag, const void *data, size_t len)
{
    struct trace_event ev = { .kind = TR_INPUT, .num = tag, .bytes = data, .len = len };

    if (m->rec) {
        assert(len <= TRACE_BYTES_MAX);
        ev.name = channel_name(m, channel);
        input(m, &ev);
    }
}

void trace_output(struct machine *m, unsigned channel, uint32_t tag, const void *data, size_t len)
{
    struct trace_event ev = { .kind = TR_OUTPUT, .num = tag, .bytes = data, .len = len };

    if (m->rec || m->play) {
        ev.hash = trace_hash(data, len);
        ev.name = channel_name(m, channel);
        output(m, &ev);
    }
}

int64_t trace_value(struct machine *m, unsigned channel, uint32_t tag, int64_t value)
{
    struct trace_event ev = { .kind = TR_VALUE, .num = tag, .sval = value };

    if (m->rec || m->play) {
        ev.name = channel_name(m, channel);
        if (m->play) {
            ev.sval = trace_play_value(m->play, &ev);
        }
        if (m->rec) {
            trace_put(m->rec->w, &ev);
        }
    }
    return ev.sval;
}

/* ---- the doors ---- */

void trace_request_begin(struct machine *m, const struct io_req *req)
{
    struct trace_event ev = { .kind = TR_REQUEST, .req = *req, .name = "" };

    if (m->rec) {
        cpu_trace_request(m, req->cpu);
        m->rec->in_request = true;
        input(m, &ev);
    }
}

bool trace_in_request(const struct machine *m)
{
    return m->rec && m->rec->in_request;
}

void trace_request_end(struct machine *m, const struct io_req *req)
{
    struct trace_event ev = { .kind = TR_ANSWER, .req = *req, .name = "" };

    ev.none = req->write || req->data_is_ptr;
    ev.req.data = ev.none ? 0 : req->data & ones(req->size);
    output(m, &ev);
    if (m->rec) {
        m->rec->in_request = false;
    }
}

static struct trace_event dma_event(enum trace_kind kind, uint64_t gpa, const void *buf, size_t len)
{
    return (struct trace_event){ .kind = kind, .gpa = gpa, .bytes = buf, .len = len, .name = "" };
}

void trace_dma_read(struct machine *m, uint64_t gpa, const void *buf, size_t len, int ret)
{
    if (m->rec) {
        struct trace_event ev = dma_event(ret < 0 ? TR_READ_FAILED : TR_READ, gpa, buf, len);

        assert(ret < 0 || len <= TRACE_BYTES_MAX);
        trace_put(m->rec->w, &ev);
    }
}

void trace_dma_write(struct machine *m, uint64_t gpa, const void *buf, size_t len, int ret)
{
    if (m->rec) {
        struct trace_event ev = dma_event(ret < 0 ? TR_WRITE_FAILED : TR_WRITE, gpa, buf, len);

        ev.hash = trace_hash(buf, len);
        trace_put(m->rec->w, &ev);
    }
}

void trace_dma_pin(struct machine *m, uint64_t gpa, size_t len, bool to_guest, int ret)
{
    if (m->rec) {
        struct trace_event ev = dma_event(ret < 0 ? TR_PIN_FAILED : TR_PIN, gpa, NULL, len);

        ev.num = to_guest;
        trace_put(m->rec->w, &ev);
    }
}

void trace_dma_unpin(struct machine *m, const struct gmem_pin *p, size_t done)
{
    struct trace_event ev = dma_event(TR_UNPIN, p->gpa, NULL, done);

    output(m, &ev);
}

void trace_line(struct machine *m, struct device *d, unsigned kind, uint64_t num, uint64_t level)
{
    struct trace_event ev = {
        .kind = TR_LINE, .flag = (uint8_t)kind, .num = num, .val = level, .name = d ? d->id : ""
    };

    output(m, &ev);
}

void trace_timer(struct machine *m, const struct vtimer *t)
{
    struct trace_event ev = { .kind = TR_TIMER, .num = t->id, .name = t->name ? t->name : "" };

    if (m->rec) {
        ev.sval = vclock_now(m) - t->when;
        input(m, &ev);
    }
}

int64_t trace_wallclock(struct machine *m, int64_t seconds)
{
    struct trace_event ev = { .kind = TR_WALLCLOCK, .sval = seconds, .name = "" };

    if (m->play) {
        ev.sval = trace_play_value(m->play, &ev);
    }
    if (m->rec) {
        trace_put(m->rec->w, &ev);
    }
    return ev.sval;
}

void trace_reset(struct machine *m)
{
    struct trace_event ev = { .kind = TR_RESET, .name = "" };

    input(m, &ev);
}

void trace_run_state(struct machine *m, enum run_state s)
{
    struct trace_event ev = { .kind = TR_RUN_STATE, .num = s, .name = "" };

    input(m, &ev);
}
