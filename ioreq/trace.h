/* SPDX-License-Identifier: MIT */
/* ioreq/trace.h - record and replay: everything that crosses the doors, in one total order.
 *
 * A trace is inputs (requests with their answers, timer expiries, back ends' completions, bytes
 * and keys that arrived, DMA reads, wall-clock reads) and, as expectations, outputs (read values,
 * DMA writes, line changes, disk writes, bytes sent). Replay feeds a fresh machine the inputs and
 * compares the outputs. docs/trace.md describes the file; it is versioned, zstd-compressed in
 * frames, and readable up to the last whole frame after a crash of the recorder.
 *
 * Back ends outside this folder take part through channels: a named stream of tagged records
 * (a drive's completions, a port's bytes) that the process opens once per back end, in the same
 * order when recording and when replaying.
 */
#ifndef IOREQ_TRACE_H
#define IOREQ_TRACE_H

#include "ioreq/irq-route.h"
#include "ioreq/machine.h"

struct trace_option {
    const char *name, *value;
};

/* Starts recording m to path, before any guest access. options describe how to build the machine
 * again ("machine" = "xenfv", "argv" = ...). From here on gmem_block_lend refuses, so that every
 * access passes the door. 0 or -errno with e. */
int trace_rec_start(struct machine *m, const char *path, const struct trace_option *options,
                    size_t noptions, struct err *e);
/* Flushes and closes; safe when nothing records. */
void trace_rec_stop(struct machine *m);

/* A back end's channel. */
unsigned trace_channel(struct machine *m, const char *name);
/* Recording: an input that entered through a back end, as it enters (tag is the back end's own). */
void trace_input(struct machine *m, unsigned channel, uint32_t tag, const void *data, size_t len);
/* Whether m is recorded and handles a request right now. */
bool trace_in_request(const struct machine *m);
/* Both: an output. When replaying it is compared with the recorded one. */
void trace_output(struct machine *m, unsigned channel, uint32_t tag, const void *data, size_t len);
/* Both: what the host side answered while the device waited (bytes a port took). Recording keeps
 * value and returns it; replay returns the recorded one. */
int64_t trace_value(struct machine *m, unsigned channel, uint32_t tag, int64_t value);

/* Replay. */
struct trace_diff {
    bool differs;
    uint64_t seq;    /* event number */
    char event[64];  /* "pio read", "isa irq", "dma write" */
    char device[64]; /* "piix3-ide.0", or the channel */
    char where[64];  /* "0x1f7 STATUS" */
    uint64_t expected, got;
    char text[256]; /* the whole sentence */
};
struct trace_stats {
    uint64_t events, requests[IO_SPACES], dma_reads, dma_writes, lines, timers, inputs, outputs;
    int64_t last_ns;
    bool truncated; /* the file ends in the middle of a frame */
};
/* Opens a trace; the options are owned by the player until trace_close. */
struct trace_play *trace_open(const char *path, struct err *e);
const struct trace_option *trace_options(const struct trace_play *p, size_t *n);
void trace_close(struct trace_play *p);
/* Called with each recorded input of a channel; the back end completes or delivers it. */
void trace_on_input(struct trace_play *p, const char *channel,
                    void (*fn)(void *opaque, uint32_t tag, const void *data, size_t len),
                    void *opaque);
/* From inside an output: hands over the channel's inputs that were recorded as coming about inside
 * of it, which are next in the file and have `bit` in their tag. */
void trace_deliver_nested(struct machine *m, unsigned channel, uint32_t bit);
/* A back end cannot make sense of an input: the trace is broken, and the run ends. */
void trace_refuse(struct trace_play *p, const char *why);
/* The host to build the machine on: machine_new(type, &trace_play_host, p). Memory is the trace's. */
extern const struct machine_host trace_play_host;
/* Interrupt chips of the machine's own hear of its lines, as they do from a soft host. */
void trace_set_sink(struct trace_play *p, const struct soft_sink *sink, void *o);
/* Whose the requests are from now on. */
void trace_set_cpu(struct trace_play *p, uint8_t cpu);
/* Runs the whole trace (or up to event `until` unless 0). 0 when every output agreed, 1 at the
 * first difference (diff says which), -errno with e when the file is broken. */
int trace_run(struct trace_play *p, struct machine *m, uint64_t until, struct trace_diff *diff,
              struct err *e);
const struct trace_stats *trace_stats(const struct trace_play *p);
/* One line per event to out, for `keel-trace show`, machine-free: from event first, n events. */
int trace_show(struct trace_play *p, uint64_t first, uint64_t n,
               void (*put)(void *opaque, const char *line), void *opaque, struct err *e);

/* Compares two recordings from where each is read to: 0 the same but for the times, 1 not so (diff
 * has seq and text only), -errno with e. */
int trace_compare(struct trace_play *a, struct trace_play *b, struct trace_diff *diff,
                  struct err *e);

/* Hooks the doors call when m->rec or m->play is set (ioreq/ only), all under the lock. A request
 * that the door refuses (-EINVAL) is not shown. begin comes after the check and before any
 * callback and latches virtual time; end comes with the answer in req->data. String I/O passes
 * through gmem_read and gmem_write and is seen there. */
void trace_request_begin(struct machine *m, const struct io_req *req);
void trace_request_end(struct machine *m, const struct io_req *req);
/* gmem_read, gmem_write and gmem_pin: while recording, after the fact, with their result. */
void trace_dma_read(struct machine *m, uint64_t gpa, const void *buf, size_t len, int ret);
void trace_dma_write(struct machine *m, uint64_t gpa, const void *buf, size_t len, int ret);
void trace_dma_pin(struct machine *m, uint64_t gpa, size_t len, bool to_guest, int ret);
/* gmem_unpin; a pinned transfer's bytes are never looked at by the device and not recorded. */
void trace_dma_unpin(struct machine *m, const struct gmem_pin *p, size_t done);
/* What gmem_read, gmem_write and gmem_pin do in place of all else when m->play is set: memory is
 * the trace's. They return the recorded result. gmem_unpin calls trace_dma_unpin alone. */
int trace_play_read(struct machine *m, uint64_t gpa, void *buf, size_t len);
int trace_play_write(struct machine *m, uint64_t gpa, const void *buf, size_t len);
int trace_play_pin(struct machine *m, struct gmem_pin *p, uint64_t gpa, size_t len, bool to_guest);
/* Once per change, before the host hears of it; kind is an enum line_kind. d may be NULL. */
void trace_line(struct machine *m, struct device *d, unsigned kind, uint64_t num, uint64_t level);
/* t is due: called while t->when still says for when. In replay the player fires timers. */
void trace_timer(struct machine *m, const struct vtimer *t);
/* What wallclock_now shall return; seconds is the host's. */
int64_t trace_wallclock(struct machine *m, int64_t seconds);
/* machine_reset and machine_set_run_state begin with these. */
void trace_reset(struct machine *m);
void trace_run_state(struct machine *m, enum run_state s);

#endif
