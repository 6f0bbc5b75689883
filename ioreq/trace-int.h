/* SPDX-License-Identifier: MIT */
/* ioreq/trace-int.h - what recorder, player and printer share: one event, and files of them.
 *
 * Everything that crosses a door becomes a struct trace_event. The recorder writes it; the player
 * compares it with the next one in its file; the printer turns it into a line.
 */
#ifndef IOREQ_TRACE_INT_H
#define IOREQ_TRACE_INT_H

#include "ioreq/trace.h"

/* Numbers are the file's (docs/trace.md 3). */
enum trace_kind {
    TR_NAME = 1, /* never leaves the file layer */
    TR_TIMER,    /* num: id, sval: ns it came late */
    TR_INPUT,    /* num: tag, bytes */
    TR_RESET,
    TR_RUN_STATE,    /* num: enum run_state */
    TR_DONE,         /* nothing follows */
    TR_READ,         /* gpa, bytes */
    TR_READ_FAILED,  /* gpa, len */
    TR_WRITE,        /* gpa, data */
    TR_WRITE_FAILED, /* gpa, len */
    TR_PIN,          /* gpa, len, num: 1 when to the guest */
    TR_PIN_FAILED,   /* the same */
    TR_UNPIN,        /* gpa, len: bytes done */
    TR_LINE,         /* flag: line kind, num, val */
    TR_OUTPUT,       /* num: tag, data */
    TR_VALUE,        /* num: tag, sval */
    TR_WALLCLOCK,    /* sval: seconds */
    TR_STATE,        /* bytes: a device's digest, at the end */
    TR_KINDS,
    TR_REQUEST = 128, /* req */
    TR_ANSWER,        /* req.data, unless none */
};

/* What one kind carries, in the file's order. */
enum trace_field {
    TF_END,
    TF_TIME, /* zigzag difference to the event before */
    TF_NAME, /* number of a name */
    TF_GPA,  /* zigzag difference to the end of the transfer before */
    TF_LEN,
    TF_NUM,
    TF_VAL,
    TF_SVAL, /* zigzag */
    TF_FLAG,
    TF_BYTES, /* length, then that many bytes */
    TF_DATA,  /* the same, but above TRACE_DATA_MAX bytes only a hash */
};
#define TRACE_KIND_FIELDS 5
extern const uint8_t trace_fields[TR_KINDS][TRACE_KIND_FIELDS];

#define TRACE_DATA_MAX 16u
#define TRACE_BYTES_MAX (1u << 20) /* one payload */
#define TRACE_NAMES_MAX 4096u
#define TRACE_NAME_MAX 127u /* bytes */

struct trace_event {
    enum trace_kind kind;
    bool none; /* TR_ANSWER: a write, or string I/O: nothing came back */
    uint8_t flag;
    uint64_t seq; /* counts every event but names, from 0 */
    int64_t ns;   /* of the input that it belongs to */
    struct io_req req;
    const char *name; /* device, channel or timer; "" when the kind has none */
    uint64_t gpa, len, num, val;
    int64_t sval;
    const uint8_t *bytes; /* NULL: only the hash is known; valid until the next event */
    uint64_t hash;        /* of bytes, for TF_DATA */
};

uint64_t trace_hash(const void *p, size_t len);
/* Whether an event of this kind starts something, and so carries the time. */
bool trace_is_input(enum trace_kind kind);

/* Differences are taken against these; both sides start each frame with them reset. */
struct trace_delta {
    int64_t ns;
    uint64_t addr[IO_SPACES];
    uint64_t dma_end;
};

/* trace-codec.c: bytes of one event. name is the number of ev->name. */
void trace_encode(struct state_buf *b, struct trace_delta *d, const struct trace_event *ev,
                  uint64_t name);
/* Reads one event from p[*at..len); *name gets the name's number. false when it is malformed. */
bool trace_decode(const uint8_t *p, size_t len, size_t *at, struct trace_delta *d,
                  struct trace_event *ev, uint64_t *name);
/* NULL when got is what the trace expects (up to what the trace says and the device decides),
 * otherwise the word for what differs; the two values in *e and *g. */
const char *trace_mismatch(const struct trace_event *expected, const struct trace_event *got,
                           uint64_t *e, uint64_t *g);

/* trace-file.c */
struct trace_writer;
struct trace_writer *trace_writer_new(const char *path, const struct trace_option *options,
                                      size_t noptions, struct err *e);
/* 0, or -errno once writing has failed; from then on nothing is written. ev->seq is ignored. */
int trace_put(struct trace_writer *w, const struct trace_event *ev);
int trace_writer_close(struct trace_writer *w);

struct trace_reader;
struct trace_reader *trace_reader_new(const char *path, struct err *e);
/* 1 and an event; 0 at the end (also where a killed recorder left off); -EINVAL with e. */
int trace_get(struct trace_reader *r, struct trace_event *ev, struct err *e);
const struct trace_option *trace_reader_options(const struct trace_reader *r, size_t *n);
/* The end came without the recorder's last word. Valid once trace_get has returned 0. */
bool trace_reader_truncated(const struct trace_reader *r);
void trace_reader_close(struct trace_reader *r);

/* trace-state.c: appends what d holds; compares that with a recorded digest, giving the name of the
 * first field that differs (in recorded), or NULL. */
void trace_state_digest(const struct device *d, struct state_buf *b);
const char *trace_state_mismatch(const uint8_t *recorded, size_t len, const struct state_buf *now,
                                 uint64_t *e, uint64_t *g);

/* trace-show.c: a few words, "pio read 0x1f7 1" or "isa irq 14 = 1"; no newline. */
void trace_event_text(const struct trace_event *ev, char *buf, size_t len);
/* The first of them: "pio read", "isa irq", "dma write". */
void trace_event_title(const struct trace_event *ev, char *buf, size_t len);

/* trace-rec.c: the player hands ev in; for a recording of the replay. */
void trace_rec_input(struct machine *m, const struct trace_event *ev);

/* trace-play.c: the device did got. */
void trace_play_output(struct trace_play *p, const struct trace_event *got);
int64_t trace_play_value(struct trace_play *p, const struct trace_event *got);
const char *trace_play_channel_name(const struct trace_play *p, unsigned channel);
unsigned trace_play_channel(struct trace_play *p, const char *name);

#endif
