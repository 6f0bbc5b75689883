/* SPDX-License-Identifier: MIT */
/* ioreq/trace-show.c - one trace event in a few words, for `keel-trace show` and differences. */
#include "ioreq/trace-int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Text that grows to the right and is cut off at the end of its buffer. */
struct text {
    char *buf;
    size_t len, at;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(t->buf + t->at, t->len - t->at, fmt, ap);
    va_end(ap);
    if (n > 0) {
        t->at += min_u64((uint64_t)n, t->len - t->at - 1);
    }
}

static const char *line_title(uint8_t kind)
{
    switch (kind) {
    case LINE_ISA:
        return "isa irq";
    case LINE_INTX:
        return "pci intx";
    case LINE_LINK:
        return "pci link";
    case LINE_MSI:
        return "msi";
    case LINE_POWER:
        return "power";
    default:
        return "line";
    }
}

void trace_event_title(const struct trace_event *ev, char *buf, size_t len)
{
    static const char *const spaces[] = { "pio", "mmio", "pci" };
    static const char *const titles[TR_KINDS] = {
        [0] = "start",
        [TR_TIMER] = "timer",
        [TR_INPUT] = "input",
        [TR_RESET] = "reset",
        [TR_RUN_STATE] = "run state",
        [TR_DONE] = "end",
        [TR_READ] = "dma read",
        [TR_READ_FAILED] = "failed dma read",
        [TR_WRITE] = "dma write",
        [TR_WRITE_FAILED] = "failed dma write",
        [TR_PIN] = "dma pin",
        [TR_PIN_FAILED] = "failed dma pin",
        [TR_UNPIN] = "dma unpin",
        [TR_OUTPUT] = "output",
        [TR_VALUE] = "value",
        [TR_WALLCLOCK] = "wall clock",
        [TR_STATE] = "state",
    };
    struct text t = { buf, len, 0 };

    if (ev->kind == TR_REQUEST) {
        add(&t, "%s %s", spaces[ev->req.space], ev->req.write ? "write" : "read");
    } else if (ev->kind == TR_ANSWER) {
        add(&t, "answer");
    } else if (ev->kind == TR_LINE) {
        add(&t, "%s", line_title(ev->flag));
    } else {
        add(&t, "%s", titles[ev->kind]);
    }
}

static void add_request(struct text *t, const struct io_req *r)
{
    if (r->space == IO_PCI) {
        unsigned bdf = (unsigned)(r->addr >> 32);

        add(t, " %02x:%02x.%u+0x%x", bdf >> 8, bdf >> 3 & 0x1f, bdf & 7, (unsigned)r->addr);
    } else {
        add(t, " 0x%llx", (unsigned long long)r->addr);
    }
    add(t, " size %u", r->size);
    if (r->count > 1) {
        add(t, " times %u%s", r->count, r->df ? " downwards" : "");
    }
    if (r->data_is_ptr) {
        add(t, " memory 0x%llx", (unsigned long long)r->data);
    } else if (r->write) {
        add(t, " = 0x%llx", (unsigned long long)r->data);
    }
}

static void add_payload(struct text *t, const struct trace_event *ev)
{
    add(t, " %llu bytes", (unsigned long long)ev->len);
    if (!ev->bytes) {
        if (ev->hash) {
            add(t, " hash %016llx", (unsigned long long)ev->hash);
        }
        return;
    }
    for (uint64_t i = 0; i < ev->len && i < 32; i++) {
        add(t, "%s%02x", i ? " " : ": ", ev->bytes[i]);
    }
    if (ev->len > 32) {
        add(t, " ...");
    }
}

static void add_line(struct text *t, const struct trace_event *ev)
{
    unsigned long long num = ev->num, val = ev->val;

    switch (ev->flag) {
    case LINE_INTX:
        add(t, " %02llx.%llu INT%c = %llu", num >> 5 & 0x1f, num >> 2 & 7, (char)('A' + (num & 3)),
            val);
        break;
    case LINE_LINK:
        add(t, " PIRQ%c to irq %llu", (char)('A' + (num & 3)), val);
        break;
    case LINE_MSI:
        add(t, " 0x%llx data 0x%llx", num, val);
        break;
    case LINE_POWER:
        add(t, " event %llu", num);
        break;
    default:
        add(t, " %llu = %llu", num, val);
    }
}

static void add_field(struct text *t, const struct trace_event *ev, enum trace_field f)
{
    switch (f) {
    case TF_NAME:
        add(t, " %s", ev->name);
        break;
    case TF_GPA:
        add(t, " 0x%llx", (unsigned long long)ev->gpa);
        break;
    case TF_LEN:
        add(t, " %llu bytes", (unsigned long long)ev->len);
        break;
    case TF_NUM:
        add(t, " %llu", (unsigned long long)ev->num);
        break;
    case TF_SVAL:
        add(t, " %lld", (long long)ev->sval);
        break;
    case TF_BYTES:
    case TF_DATA:
        add_payload(t, ev);
        break;
    case TF_VAL:
    case TF_FLAG:
    case TF_TIME:
    case TF_END:
        break;
    }
}

void trace_event_text(const struct trace_event *ev, char *buf, size_t len)
{
    struct text t = { buf, len, 0 };

    trace_event_title(ev, buf, len);
    t.at = strlen(buf);
    if (ev->kind == TR_REQUEST) {
        add_request(&t, &ev->req);
    } else if (ev->kind == TR_ANSWER) {
        if (!ev->none) {
            add(&t, " 0x%llx", (unsigned long long)ev->req.data);
        }
    } else if (ev->kind == TR_LINE) {
        add_line(&t, ev);
        if (*ev->name) {
            add(&t, " by %s", ev->name);
        }
    } else {
        for (unsigned i = 0; i < TRACE_KIND_FIELDS; i++) {
            add_field(&t, ev, (enum trace_field)trace_fields[ev->kind][i]);
        }
    }
}
