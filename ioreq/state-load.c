/* SPDX-License-Identifier: MIT */
/* ioreq/state-load.c - declared state on its way in, from a stream that may lie.
 *
 * A device's record is walked twice: once to check every name, kind, count and value, once to take
 * the values over. So a refused record has changed nothing yet, and the second walk cannot fail.
 * Fields come in the table's order. state.c describes the format.
 */
#include "dm/base/bytes.h"
#include "ioreq/machine-int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

struct in {
    const uint8_t *p;
    size_t len, at;
    struct machine *m;
    struct err *e;
    const char *device; /* whose record this is, for messages; "" before one is known */
    unsigned version;   /* of its state */
    bool apply;         /* second walk */
    char path[160];     /* field under way */
};

static int refuse(struct in *in, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct in *in, const char *fmt, ...)
{
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return err_set(in->e, -EINVAL, "saved state: %s%s%s%s%s", in->device, *in->device ? ": " : "",
                   in->path, *in->path ? ": " : "", why);
}

/* len bytes of the stream, or NULL when it ends before. */
static const uint8_t *take(struct in *in, size_t len)
{
    if (len > in->len - in->at) {
        refuse(in, "the stream is cut off");
        return NULL;
    }
    const uint8_t *p = in->p + in->at;
    in->at += len;
    return p;
}

static int take_le(struct in *in, unsigned size, uint64_t *v)
{
    const uint8_t *p = take(in, size);
    *v = p ? load_le(p, size) : 0;
    return p ? 0 : -EINVAL;
}

/* A name as C text; 255 characters at most. */
static int take_name(struct in *in, char name[256])
{
    uint64_t len;
    const uint8_t *p = take_le(in, 1, &len) < 0 ? NULL : take(in, (size_t)len);
    if (!p) {
        return -EINVAL;
    }
    memcpy(name, p, (size_t)len);
    name[len] = 0;
    return strlen(name) == len ? 0 : refuse(in, "a name holds a zero byte");
}

static int take_crc(struct in *in, size_t from)
{
    size_t to = in->at;
    uint64_t want;
    if (take_le(in, 4, &want) < 0) {
        return -EINVAL;
    }
    return crc32_z(0, in->p + from, to - from) == want ? 0 : refuse(in, "the checksum is wrong");
}

/* ---- values ---- */

static bool in_range(const struct state_field *f, uint64_t v)
{
    if (f->kind == STATE_BOOL) {
        return v <= 1;
    }
    if (!f->min && !f->max) {
        return true;
    }
    if (f->kind == STATE_I32 || f->kind == STATE_I64) {
        return (int64_t)v >= (int64_t)f->min && (int64_t)v <= (int64_t)f->max;
    }
    return v >= f->min && v <= f->max;
}

static int take_scalar(struct in *in, const struct state_field *f, uint8_t *at)
{
    unsigned size = state_scalar_size(f->kind);
    uint64_t raw, v;
    if (take_le(in, size, &raw) < 0) {
        return -EINVAL;
    }
    v = f->kind == STATE_I32 ? (uint64_t)(int64_t)(int32_t)raw : raw;
    if (!in_range(f, v)) {
        return refuse(in, "0x%llx is out of range", (unsigned long long)v);
    }
    if (in->apply) {
        store_le(at, size, raw);
    }
    return 0;
}

static int take_timer(struct in *in, struct vtimer *t)
{
    uint64_t raw;
    if (take_le(in, 8, &raw) < 0) {
        return -EINVAL;
    }
    int64_t when = (int64_t)raw;
    if (when < -1) {
        return refuse(in, "a timer cannot be due at %lld ns", (long long)when);
    }
    if (in->apply && when < 0) {
        vtimer_disarm(t);
    } else if (in->apply) {
        vtimer_arm_at(t, when);
    }
    return 0;
}

static int take_contents(struct in *in, uint8_t *host, uint64_t len)
{
    uint64_t n, page, last = 0;
    if (take_le(in, 4, &n) < 0) {
        return -EINVAL;
    }
    if (in->apply) {
        memset(host, 0, len);
    }
    for (uint64_t i = 0; i < n; i++, last = page) {
        const uint8_t *bytes = take_le(in, 4, &page) < 0 ? NULL : take(in, STATE_PAGE);
        if (!bytes) {
            return -EINVAL;
        }
        if (page >= len / STATE_PAGE || (i && page <= last)) {
            return refuse(in, "page %llu is out of place", (unsigned long long)page);
        }
        if (in->apply) {
            memcpy(host + page * STATE_PAGE, bytes, STATE_PAGE);
        }
    }
    return 0;
}

static int take_pages(struct in *in, struct state_pages *p)
{
    uint64_t len;
    if (take_le(in, 8, &len) < 0) {
        return -EINVAL;
    }
    if (len != p->len) {
        return refuse(in, "%llu bytes of memory, this machine has %llu", (unsigned long long)len,
                      (unsigned long long)p->len);
    }
    return take_contents(in, p->host, len);
}

static int take_block(struct in *in, struct gmem_block *b)
{
    uint64_t gpa, len, contents, have = b->host ? b->len : 0;
    if (take_le(in, 8, &gpa) < 0 || take_le(in, 8, &len) < 0 || take_le(in, 1, &contents) < 0) {
        return -EINVAL;
    }
    if (len != have) {
        return refuse(in, "%llu bytes of device RAM, this machine has %llu",
                      (unsigned long long)len, (unsigned long long)have);
    }
    if (gpa != GMEM_NOWHERE && (gpa % STATE_PAGE || !have || gpa > UINT64_MAX - have)) {
        return refuse(in, "device RAM cannot be at 0x%llx", (unsigned long long)gpa);
    }
    if (contents > 1 || (contents && !have)) {
        return refuse(in, "device RAM has contents %llu", (unsigned long long)contents);
    }
    if (have && !contents && !in->m->host->carries_blocks) {
        return refuse(in, "the contents of device RAM are missing");
    }
    if (in->apply && have) {
        (void)gmem_block_lend(in->m, b, gpa);
    }
    if (in->apply && contents) {
        gmem_block_wrote(in->m, b, 0, b->len);
    }
    return contents ? take_contents(in, b->host, b->len) : 0;
}

/* ---- fields ---- */

static int take_fields(struct in *in, const struct state_field *table, uint8_t *base);

static int take_element(struct in *in, const struct state_field *f, uint8_t *at, uint32_t i)
{
    switch (f->kind) {
    case STATE_SUB:
        return take_fields(in, f->sub, at + (size_t)i * f->stride);
    case STATE_TIMER:
        return take_timer(in, &((struct vtimer *)at)[i]);
    case STATE_BLOCK:
        return take_block(in, &((struct gmem_block *)at)[i]);
    case STATE_PAGES:
        return take_pages(in, &((struct state_pages *)at)[i]);
    default:
        return take_scalar(in, f, at + (size_t)i * state_scalar_size(f->kind));
    }
}

/* One field whose name has been read and is f's. */
static int take_field(struct in *in, const struct state_field *f, uint8_t *base)
{
    uint64_t kind, count;
    if (take_le(in, 1, &kind) < 0 || take_le(in, 4, &count) < 0) {
        return -EINVAL;
    }
    if (kind != f->kind || count != f->count) {
        return refuse(in, "kind %llu with %llu elements, expected kind %u with %u",
                      (unsigned long long)kind, (unsigned long long)count, (unsigned)f->kind,
                      (unsigned)f->count);
    }
    size_t stem = strlen(in->path);
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->count > 1) {
            snprintf(in->path + stem, sizeof(in->path) - stem, "[%u]", (unsigned)i);
        }
        if (take_element(in, f, base + f->offset, i) < 0) {
            return -EINVAL;
        }
    }
    in->path[stem] = 0;
    return 0;
}

static bool is_field(const struct state_field *table, const char *name)
{
    for (const struct state_field *f = table; f && f->kind != STATE_END; f++) {
        if (!strcmp(f->name, name)) {
            return true;
        }
    }
    return false;
}

/* Reads the next field's name, which has to be f's, or anything at all to complain about when f is
 * NULL and there should be no more. */
static int expect(struct in *in, const struct state_field *table, const struct state_field *f)
{
    char name[256];
    if (take_name(in, name) < 0) {
        return -EINVAL;
    }
    if (f && !strcmp(name, f->name)) {
        return 0;
    }
    if (f && is_field(table, name)) {
        return refuse(in, "field \"%s\" is missing", f->name);
    }
    return refuse(in, "there is no field \"%s\"", name);
}

static void path_push(struct in *in, size_t stem, const char *name)
{
    snprintf(in->path + stem, sizeof(in->path) - stem, "%s%s", stem ? "." : "", name);
}

static int take_fields(struct in *in, const struct state_field *table, uint8_t *base)
{
    uint64_t left;
    size_t stem = strlen(in->path);
    if (take_le(in, 2, &left) < 0) {
        return -EINVAL;
    }
    for (const struct state_field *f = table; f && f->kind != STATE_END; f++) {
        if (f->since > in->version) {
            continue; /* younger than the stream: it keeps its reset value */
        }
        if (!left) {
            return refuse(in, "field \"%s\" is missing", f->name);
        }
        left--;
        if (expect(in, table, f) < 0) {
            return -EINVAL;
        }
        path_push(in, stem, f->name);
        if (take_field(in, f, base) < 0) {
            return -EINVAL;
        }
        in->path[stem] = 0;
    }
    return left ? expect(in, table, NULL) : 0;
}

/* ---- records ---- */

/* Reads a record's frame: leaves in at the body, *end at its end. Checks the sum. */
static int open_record(struct in *in, size_t *end)
{
    uint64_t tag, len;
    if (take_le(in, 1, &tag) < 0 || take_le(in, 4, &len) < 0) {
        return -EINVAL;
    }
    if (tag != STATE_REC_DEVICE) {
        return refuse(in, "no record can begin with %llu", (unsigned long long)tag);
    }
    size_t body = in->at;
    if (!take(in, (size_t)len) || take_crc(in, body) < 0) {
        return -EINVAL;
    }
    *end = body + (size_t)len;
    in->at = body;
    return 0;
}

/* The body after the instance's name: class, version, fields; all of it and no more. */
static int take_body(struct in *in, struct device *d, size_t end)
{
    const struct dev_class *c = d->class;
    char class[256];
    uint64_t version;
    if (take_name(in, class) < 0 || take_le(in, 2, &version) < 0) {
        return -EINVAL;
    }
    if (strcmp(class, c->name)) {
        return refuse(in, "it is a %s, not a %s", c->name, class);
    }
    if (version > c->state_version || (!version && c->state_version)) {
        return refuse(in, "state version %llu, this Keel knows 1 to %u",
                      (unsigned long long)version, c->state_version);
    }
    in->version = (unsigned)version;
    in->path[0] = 0;
    if (take_fields(in, c->state, (uint8_t *)d) < 0) {
        return -EINVAL;
    }
    return in->at == end ? 0 : refuse(in, "%zu bytes too many", end - in->at);
}

/* d's body, from in->at to end, checked and then taken over; in->at moves behind the record. */
static int load_body(struct in *in, struct device *d, size_t end)
{
    size_t whole = in->len, body = in->at;
    in->device = d->id;
    in->len = end;
    in->apply = false;
    int rc = take_body(in, d, end);
    if (rc == 0) {
        in->at = body;
        in->apply = true;
        rc = take_body(in, d, end);
    }
    in->len = whole;
    in->at = end + 4;
    in->device = "";
    in->path[0] = 0;
    return rc;
}

static int call_loaded(struct device *d, struct err *e)
{
    struct err why = { 0 };
    if (!d->class->loaded || d->class->loaded(d, &why) >= 0) {
        return 0;
    }
    return err_set(e, -EINVAL, "saved state: %s: %s", d->id, why.msg);
}

static int load_alone(struct in *in, struct device *d)
{
    char id[256];
    size_t end;
    if (open_record(in, &end) < 0) {
        return -EINVAL;
    }
    size_t whole = in->len;
    in->len = end;
    int rc = take_name(in, id);
    in->len = whole;
    if (rc < 0) {
        return rc;
    }
    if (strcmp(id, d->id)) {
        return refuse(in, "the record is of \"%s\"", id);
    }
    rc = load_body(in, d, end);
    return rc < 0 ? rc : call_loaded(d, in->e);
}

long dev_load(struct device *d, const uint8_t *p, size_t len, struct err *e)
{
    struct in in = { .p = p, .len = len, .m = d->m, .e = e, .device = d->id };
    dev_reset(d);
    if (load_alone(&in, d) < 0) {
        dev_reset(d);
        return -EINVAL;
    }
    return (long)in.at;
}

/* ---- the machine ---- */

struct foreign {
    const char *magic, *what;
};
static const struct foreign foreigners[] = {
    { "QEVM", "a QEMU migration stream: only QEMU can restore it" },
    { "DeviceModelRecord", "an old xl device-model record: only QEMU can restore it" },
    { "QemuDeviceModelRecord", "an old xl device-model record: only QEMU can restore it" },
    { "RemusDeviceModelState", "a Remus device-model record: only QEMU can restore it" },
    { "Xen saved domain", "a whole saved domain: xl restore takes it" },
};

static int refuse_foreign(struct in *in)
{
    for (size_t i = 0; i < ARRAY_SIZE(foreigners); i++) {
        size_t n = strlen(foreigners[i].magic);
        if (in->len >= n && !memcmp(in->p, foreigners[i].magic, n)) {
            return refuse(in, "this is %s", foreigners[i].what);
        }
    }
    return refuse(in, "this is not a saved state of Keel's");
}

static int load_header(struct in *in, int64_t *now)
{
    char type[256];
    uint64_t format, raw;
    if (in->len < 8 || memcmp(in->p, STATE_MAGIC, 8)) {
        return refuse_foreign(in);
    }
    in->at = 8;
    if (take_le(in, 2, &format) < 0) {
        return -EINVAL;
    }
    if (format != STATE_FORMAT) {
        return refuse(in, "format %llu, this Keel knows %u", (unsigned long long)format,
                      STATE_FORMAT);
    }
    if (take_name(in, type) < 0 || take_le(in, 8, &raw) < 0 || take_crc(in, 0) < 0) {
        return -EINVAL;
    }
    *now = (int64_t)raw;
    if (*now < 0) {
        return refuse(in, "virtual time %lld ns", (long long)*now);
    }
    return strcmp(type, in->m->type)
               ? refuse(in, "it is of machine \"%s\", this one is \"%s\"", type, in->m->type)
               : 0;
}

/* Devices whose record has come, in order of arrival. */
struct seen {
    const struct device **d;
    size_t n, room;
};

static bool was_seen(const struct seen *s, const struct device *d)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->d[i] == d) {
            return true;
        }
    }
    return false;
}

static int load_record(struct in *in, struct seen *s)
{
    char id[256];
    size_t end, whole = in->len;
    if (open_record(in, &end) < 0) {
        return -EINVAL;
    }
    in->len = end;
    int rc = take_name(in, id);
    in->len = whole;
    if (rc < 0) {
        return rc;
    }
    struct device *d = machine_find(in->m, id);
    if (!d || !d->inited) {
        return refuse(in, "this machine has no device \"%s\"", id);
    }
    if (was_seen(s, d)) {
        return refuse(in, "device \"%s\" comes twice", id);
    }
    s->d[s->n++] = d; /* room for all: no device comes twice */
    return load_body(in, d, end);
}

static int load_end(struct in *in, const struct seen *s)
{
    uint64_t n;
    size_t at = ++in->at;
    if (take_le(in, 4, &n) < 0 || take_crc(in, at) < 0) {
        return -EINVAL;
    }
    if (n != s->n) {
        return refuse(in, "%llu devices promised, %zu came", (unsigned long long)n, s->n);
    }
    return in->at == in->len ? 0 : refuse(in, "%zu bytes after the end", in->len - in->at);
}

/* Tells devices of their state, then misses the others: but for those that another one takes away, once it
 * knows that they were. */
static int settle(struct in *in, const struct seen *s)
{
    for (struct device *d = in->m->devices; d; d = d->next) {
        if (was_seen(s, d) && call_loaded(d, in->e) < 0) {
            return -EINVAL;
        }
    }
    for (const struct device *d = in->m->devices; d; d = d->next) {
        if (d->inited && !d->absent && !was_seen(s, d)) {
            return refuse(in, "there is nothing about device \"%s\"", d->id);
        }
    }
    return 0;
}

static int load_devices(struct in *in, struct seen *s)
{
    while (in->at < in->len && in->p[in->at] != STATE_REC_END) {
        if (load_record(in, s) < 0) {
            return -EINVAL;
        }
    }
    if (in->at == in->len) {
        return refuse(in, "the stream is cut off");
    }
    return load_end(in, s) < 0 ? -EINVAL : settle(in, s);
}

static int load_all(struct in *in)
{
    int64_t before = vclock_now(in->m), now = 0;
    struct seen s = { 0 };
    if (load_header(in, &now) < 0) {
        return -EINVAL;
    }
    for (const struct device *d = in->m->devices; d; d = d->next) {
        s.room++;
    }
    s.d = xcalloc(s.room, sizeof(const struct device *));
    clock_set(in->m, now);
    int rc = load_devices(in, &s);
    if (rc < 0) {
        clock_set(in->m, before);
    }
    free(s.d);
    return rc;
}

int machine_load(struct machine *m, const uint8_t *p, size_t len, struct err *e)
{
    struct in in = { .p = p, .len = len, .m = m, .e = e, .device = "" };
    if (machine_running(m)) {
        return err_set(e, -EBUSY, "the machine must be stopped before state is loaded");
    }
    machine_reset(m);
    int rc = load_all(&in);
    if (rc < 0) {
        machine_reset(m);
        return rc;
    }
    machine_push_lines(m);
    return 0;
}
