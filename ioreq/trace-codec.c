/* SPDX-License-Identifier: MIT */
/* ioreq/trace-codec.c - trace events to bytes, back, and compared.
 *
 * One table says what each kind of event carries; encoding, decoding and comparing walk it, so
 * they cannot disagree. Requests and their answers, nine events in ten, have a denser form of
 * their own. Reference: docs/trace.md 3.
 */
#include "ioreq/trace-int.h"

#include "dm/base/bytes.h"

const uint8_t trace_fields[TR_KINDS][TRACE_KIND_FIELDS] = {
    [TR_TIMER] = { TF_TIME, TF_NAME, TF_NUM, TF_SVAL },
    [TR_INPUT] = { TF_TIME, TF_NAME, TF_NUM, TF_BYTES },
    [TR_RESET] = { TF_TIME },
    [TR_RUN_STATE] = { TF_TIME, TF_NUM },
    [TR_DONE] = { TF_TIME },
    [TR_READ] = { TF_GPA, TF_BYTES },
    [TR_READ_FAILED] = { TF_GPA, TF_LEN },
    [TR_WRITE] = { TF_GPA, TF_DATA },
    [TR_WRITE_FAILED] = { TF_GPA, TF_LEN },
    [TR_PIN] = { TF_GPA, TF_LEN, TF_NUM },
    [TR_PIN_FAILED] = { TF_GPA, TF_LEN, TF_NUM },
    [TR_UNPIN] = { TF_GPA, TF_LEN },
    [TR_LINE] = { TF_NAME, TF_FLAG, TF_NUM, TF_VAL },
    [TR_OUTPUT] = { TF_NAME, TF_NUM, TF_DATA },
    [TR_VALUE] = { TF_NAME, TF_NUM, TF_SVAL },
    [TR_WALLCLOCK] = { TF_SVAL },
    [TR_STATE] = { TF_TIME, TF_NAME, TF_BYTES },
    [TR_NAME] = { TF_NUM, TF_BYTES },
};

enum {
    REQ_BIT = 0x80,       /* bits 0-1: log2 of the size */
    REQ_WRITE = 0x04,     /* bits 3-4: space */
    REQ_SAME_ADDR = 0x20, /* as the request before in this space */
    REQ_MORE = 0x40,      /* flags and count follow */
    MORE_DF = 1,
    MORE_PTR = 2,
    ANSWER_BIT = 0x40, /* low bits: the value, or one of: */
    ANSWER_VARINT = 0x3d,
    ANSWER_NONE = 0x3e,
};

uint64_t trace_hash(const void *p, size_t len)
{
    const uint8_t *at = p;
    uint64_t h = 0x9e3779b97f4a7c15ull ^ len;

    for (; len; at += len < 8 ? len : 8, len -= len < 8 ? len : 8) {
        h = (h ^ load_le(at, len < 8 ? (unsigned)len : 8)) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    return h;
}

bool trace_is_input(enum trace_kind kind)
{
    return kind == TR_REQUEST || (kind < TR_KINDS && trace_fields[kind][0] == TF_TIME);
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ -(v & 1));
}

static void put_byte(struct state_buf *b, unsigned v)
{
    uint8_t byte = (uint8_t)v;

    state_put(b, &byte, 1);
}

static void put_varint(struct state_buf *b, uint64_t v)
{
    uint8_t buf[10];
    size_t n = 0;

    for (; v >= 0x80; v >>= 7) {
        buf[n++] = (uint8_t)(v | 0x80);
    }
    buf[n++] = (uint8_t)v;
    state_put(b, buf, n);
}

static void encode_request(struct state_buf *b, struct trace_delta *d, const struct trace_event *ev)
{
    const struct io_req *r = &ev->req;
    bool same = r->addr == d->addr[r->space];
    bool more = r->count != 1 || r->df || r->data_is_ptr;

    put_byte(b, REQ_BIT | (unsigned)__builtin_ctz(r->size) | (r->write ? REQ_WRITE : 0) |
                    (unsigned)r->space << 3 | (same ? REQ_SAME_ADDR : 0) | (more ? REQ_MORE : 0));
    put_varint(b, zigzag(ev->ns - d->ns));
    if (!same) {
        put_varint(b, zigzag((int64_t)(r->addr - d->addr[r->space])));
    }
    if (more) {
        put_byte(b, (r->df ? MORE_DF : 0) | (r->data_is_ptr ? MORE_PTR : 0));
        put_varint(b, r->count);
    }
    if (r->write || r->data_is_ptr) {
        put_varint(b, r->data);
    }
    d->ns = ev->ns;
    d->addr[r->space] = r->addr;
}

static void encode_answer(struct state_buf *b, const struct trace_event *ev)
{
    if (ev->none) {
        put_byte(b, ANSWER_BIT | ANSWER_NONE);
    } else if (ev->req.data < ANSWER_VARINT) {
        put_byte(b, ANSWER_BIT | (unsigned)ev->req.data);
    } else {
        put_byte(b, ANSWER_BIT | ANSWER_VARINT);
        put_varint(b, ev->req.data);
    }
}

static void encode_field(struct state_buf *b, struct trace_delta *d, const struct trace_event *ev,
                         uint64_t name, enum trace_field f)
{
    switch (f) {
    case TF_TIME:
        put_varint(b, zigzag(ev->ns - d->ns));
        d->ns = ev->ns;
        break;
    case TF_NAME:
        put_varint(b, name);
        break;
    case TF_GPA:
        put_varint(b, zigzag((int64_t)(ev->gpa - d->dma_end)));
        d->dma_end = ev->gpa + ev->len;
        break;
    case TF_LEN:
        put_varint(b, ev->len);
        break;
    case TF_NUM:
        put_varint(b, ev->num);
        break;
    case TF_VAL:
        put_varint(b, ev->val);
        break;
    case TF_SVAL:
        put_varint(b, zigzag(ev->sval));
        break;
    case TF_FLAG:
        put_byte(b, ev->flag);
        break;
    case TF_BYTES:
    case TF_DATA:
        put_varint(b, ev->len);
        if (f == TF_DATA && ev->len > TRACE_DATA_MAX) {
            state_put(b, &ev->hash, sizeof(ev->hash));
        } else if (ev->len) {
            state_put(b, ev->bytes, ev->len);
        }
        break;
    case TF_END:
        break;
    }
}

void trace_encode(struct state_buf *b, struct trace_delta *d, const struct trace_event *ev,
                  uint64_t name)
{
    if (ev->kind == TR_REQUEST) {
        encode_request(b, d, ev);
        return;
    }
    if (ev->kind == TR_ANSWER) {
        encode_answer(b, ev);
        return;
    }
    put_byte(b, ev->kind);
    for (unsigned i = 0; i < TRACE_KIND_FIELDS; i++) {
        encode_field(b, d, ev, name, trace_fields[ev->kind][i]);
    }
}

/* A run of bytes being taken apart; ok falls once something does not fit. */
struct cursor {
    const uint8_t *p;
    size_t len, at;
    bool ok;
};

static const uint8_t *take(struct cursor *c, uint64_t n)
{
    const uint8_t *p = c->p + c->at;

    if (!c->ok || n > c->len - c->at) {
        c->ok = false;
        return NULL;
    }
    c->at += n;
    return p;
}

static unsigned take_byte(struct cursor *c)
{
    const uint8_t *p = take(c, 1);

    return p ? *p : 0;
}

static uint64_t take_varint(struct cursor *c)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned byte = take_byte(c);

        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return v;
        }
    }
    c->ok = false;
    return 0;
}

/* A time the clock can have: the sum may not wrap, and no clock here runs for 100 years. */
static int64_t take_time(struct cursor *c, struct trace_delta *d)
{
    uint64_t ns = (uint64_t)d->ns + (uint64_t)unzigzag(take_varint(c));

    if (ns > (uint64_t)100 * 366 * 86400 * 1000000000) {
        c->ok = false;
        return d->ns;
    }
    d->ns = (int64_t)ns;
    return d->ns;
}

static void decode_request(struct cursor *c, struct trace_delta *d, struct trace_event *ev,
                           unsigned head)
{
    struct io_req *r = &ev->req;
    unsigned space = head >> 3 & 3;

    ev->kind = TR_REQUEST;
    r->size = (uint8_t)(1u << (head & 3));
    r->write = head & REQ_WRITE;
    r->count = 1;
    if (space >= IO_SPACES) {
        c->ok = false;
        return;
    }
    r->space = (uint8_t)space;
    ev->ns = take_time(c, d);
    r->addr = d->addr[space];
    if (!(head & REQ_SAME_ADDR)) {
        r->addr += (uint64_t)unzigzag(take_varint(c));
    }
    if (head & REQ_MORE) {
        unsigned flags = take_byte(c);
        uint64_t count = take_varint(c);

        c->ok = c->ok && count && count <= IO_REQ_MAX_COUNT && flags <= (MORE_DF | MORE_PTR);
        r->count = (uint32_t)count;
        r->df = flags & MORE_DF;
        r->data_is_ptr = flags & MORE_PTR;
    }
    if (r->write || r->data_is_ptr) {
        r->data = take_varint(c);
    }
    d->addr[space] = r->addr;
}

static void decode_answer(struct cursor *c, struct trace_event *ev, unsigned head)
{
    unsigned low = head & 0x3f;

    ev->kind = TR_ANSWER;
    ev->none = low == ANSWER_NONE;
    if (low == ANSWER_VARINT) {
        ev->req.data = take_varint(c);
    } else if (!ev->none) {
        c->ok = c->ok && low < ANSWER_VARINT;
        ev->req.data = low;
    }
}

static void decode_payload(struct cursor *c, struct trace_event *ev, bool hashed)
{
    ev->len = take_varint(c);
    if (!hashed || ev->len <= TRACE_DATA_MAX) {
        ev->bytes = take(c, ev->len <= TRACE_BYTES_MAX ? ev->len : SIZE_MAX);
        ev->hash = c->ok && hashed ? trace_hash(ev->bytes, ev->len) : 0;
    } else {
        const uint8_t *p = take(c, sizeof(ev->hash));

        ev->hash = p ? load_le64(p) : 0;
    }
}

static void decode_field(struct cursor *c, struct trace_delta *d, struct trace_event *ev,
                         uint64_t *name, enum trace_field f)
{
    switch (f) {
    case TF_TIME:
        ev->ns = take_time(c, d);
        break;
    case TF_NAME:
        *name = take_varint(c);
        break;
    case TF_GPA:
        ev->gpa = d->dma_end + (uint64_t)unzigzag(take_varint(c));
        break;
    case TF_LEN:
        ev->len = take_varint(c);
        break;
    case TF_NUM:
        ev->num = take_varint(c);
        break;
    case TF_VAL:
        ev->val = take_varint(c);
        break;
    case TF_SVAL:
        ev->sval = unzigzag(take_varint(c));
        break;
    case TF_FLAG:
        ev->flag = (uint8_t)take_byte(c);
        break;
    case TF_BYTES:
    case TF_DATA:
        decode_payload(c, ev, f == TF_DATA);
        break;
    case TF_END:
        break;
    }
}

bool trace_decode(const uint8_t *p, size_t len, size_t *at, struct trace_delta *d,
                  struct trace_event *ev, uint64_t *name)
{
    struct cursor c = { p, len, *at, true };
    unsigned head = take_byte(&c);

    *ev = (struct trace_event){ .ns = d->ns, .name = "" };
    *name = UINT64_MAX;
    if (head & REQ_BIT) {
        decode_request(&c, d, ev, head);
    } else if (head & ANSWER_BIT) {
        decode_answer(&c, ev, head);
    } else if (head && head < TR_KINDS) {
        ev->kind = (enum trace_kind)head;
        for (unsigned i = 0; i < TRACE_KIND_FIELDS; i++) {
            decode_field(&c, d, ev, name, trace_fields[head][i]);
        }
        c.ok = c.ok && (ev->kind != TR_RUN_STATE || ev->num <= RUN_IO_ERROR);
        if (trace_fields[head][0] == TF_GPA) {
            d->dma_end = ev->gpa + ev->len;
        }
    } else {
        c.ok = false;
    }
    *at = c.at;
    return c.ok;
}

/* Up to eight bytes as a number a person can compare, or the hash of more. */
static uint64_t payload_number(const struct trace_event *ev)
{
    return ev->bytes && ev->len <= 8 ? load_le(ev->bytes, (unsigned)ev->len) : ev->hash;
}

static const char *compare_payload(const struct trace_event *expected,
                                   const struct trace_event *got, uint64_t *e, uint64_t *g)
{
    *e = expected->len;
    *g = got->len;
    if (*e != *g) {
        return "length";
    }
    *e = payload_number(expected);
    *g = payload_number(got);
    return expected->hash != got->hash ? "data" : NULL;
}

/* Time, and bytes that come from outside, are not the device's to decide. */
static const char *compare_field(const struct trace_event *expected, const struct trace_event *got,
                                 enum trace_field f, uint64_t *e, uint64_t *g)
{
    const char *what = NULL;

    *e = *g = 0;
    switch (f) {
    case TF_NAME:
        return strncmp(expected->name, got->name, TRACE_NAME_MAX) ? "source" : NULL;
    case TF_GPA:
        *e = expected->gpa, *g = got->gpa, what = "address";
        break;
    case TF_LEN:
    case TF_BYTES:
        *e = expected->len, *g = got->len, what = "length";
        break;
    case TF_NUM:
        *e = expected->num, *g = got->num, what = "number";
        break;
    case TF_VAL:
        *e = expected->val, *g = got->val, what = "level";
        break;
    case TF_FLAG:
        *e = expected->flag, *g = got->flag, what = "kind";
        break;
    case TF_DATA:
        return compare_payload(expected, got, e, g);
    case TF_TIME:
    case TF_SVAL:
    case TF_END:
        break;
    }
    return *e != *g ? what : NULL;
}

const char *trace_mismatch(const struct trace_event *expected, const struct trace_event *got,
                           uint64_t *e, uint64_t *g)
{
    *e = *g = 0;
    if (expected->kind != got->kind) {
        return "event";
    }
    if (got->kind == TR_ANSWER) {
        *e = expected->req.data;
        *g = got->req.data;
        return expected->none != got->none ? "event" : *e != *g ? "value" : NULL;
    }
    if (got->kind >= TR_KINDS) {
        return NULL;
    }
    for (unsigned i = 0; i < TRACE_KIND_FIELDS; i++) {
        const char *what = compare_field(expected, got, trace_fields[got->kind][i], e, g);

        if (what) {
            return what;
        }
    }
    return NULL;
}
