/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-state.c - hostile saved states.
 *
 * The input says what to change in a good stream (where, how many bytes, which), checksums are made
 * right again, and the result is loaded; an input that begins with 0xff is loaded as it is. A
 * stream is either refused with a sentence or leaves values in range, and then saves and loads
 * again to the same bytes.
 */
#include "ioreq/flat.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct part {
    uint16_t level;
    struct vtimer t;
};

struct toy {
    struct device dev;
    bool flag;
    uint8_t bytes[6];
    uint32_t mode; /* 2..9 */
    int32_t low;   /* -5..5 */
    struct part part[2];
    struct gmem_block ram;
};

static const struct state_field part_state[] = {
    FIELD(struct part, level),
    FIELD_TIMER(struct part, t),
    FIELD_END,
};
static const struct state_field toy_state[] = {
    FIELD(struct toy, flag),
    FIELD_ARRAY(struct toy, bytes),
    FIELD_RANGE(struct toy, mode, 2, 9),
    FIELD_RANGE(struct toy, low, (uint64_t)-5, 5),
    FIELD_SUB(struct toy, part, part_state, 2),
    FIELD_BLOCK(struct toy, ram),
    FIELD_END,
};

static int toy_init(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;
    for (unsigned i = 0; i < 2; i++) {
        vtimer_init(&t->part[i].t, d->m, "t", NULL, NULL);
    }
    t->ram.name = d->id;
    t->ram.len = 8192;
    return gmem_block_new(d->m, &t->ram, e);
}

static void toy_reset(struct device *d)
{
    struct toy *t = (struct toy *)d;
    t->flag = false;
    memset(t->bytes, 0, sizeof(t->bytes));
    t->mode = 2;
    t->low = 0;
    for (unsigned i = 0; i < 2; i++) {
        t->part[i].level = 0;
        vtimer_disarm(&t->part[i].t);
    }
    memset(t->ram.host, 0, t->ram.len);
    (void)gmem_block_lend(d->m, &t->ram, GMEM_NOWHERE);
}

static void toy_fini(struct device *d)
{
    struct toy *t = (struct toy *)d;
    for (unsigned i = 0; i < 2; i++) {
        vtimer_fini(&t->part[i].t);
    }
    gmem_block_free(d->m, &t->ram);
}

static const struct dev_class toy_class = { .name = "toy",
                                            .size = sizeof(struct toy),
                                            .state = toy_state,
                                            .state_version = 1,
                                            .init = toy_init,
                                            .reset = toy_reset,
                                            .fini = toy_fini };

static void check_range(const struct toy *t)
{
    assert(t->mode >= 2 && t->mode <= 9 && t->low >= -5 && t->low <= 5);
    for (unsigned i = 0; i < 2; i++) {
        assert(t->part[i].t.when >= -1);
    }
    assert(t->ram.gpa == GMEM_NOWHERE || t->ram.gpa % 4096 == 0);
}

/* Makes the checksums right as far as the frame still holds. */
static void mend(uint8_t *p, size_t len)
{
    size_t at = len > 11 ? 19u + p[10] : len;
    uint32_t crc, n;
    if (at + 4 > len) {
        return;
    }
    crc = (uint32_t)crc32_z(0, p, at);
    memcpy(p + at, &crc, 4);
    for (at += 4; at + 5 <= len && p[at] == 1; at += 9 + (size_t)n) {
        memcpy(&n, p + at + 1, 4);
        if ((size_t)n + 9 > len - at) {
            return;
        }
        crc = (uint32_t)crc32_z(0, p + at + 5, n);
        memcpy(p + at + 5 + n, &crc, 4);
    }
    if (at + 9 <= len) {
        crc = (uint32_t)crc32_z(0, p + at + 1, 4);
        memcpy(p + at + 5, &crc, 4);
    }
}

/* Overwrites bytes of the good stream as the input says; positions lean to the front, where the
 * names are and not the pages. */
static void spoil(struct state_buf *s, const uint8_t *data, size_t size)
{
    while (size >= 4) {
        size_t at = (size_t)(data[0] << 8 | data[1]), n = 1 + (data[2] & 7);
        at = data[2] & 0x80 ? s->len - 1 - at % s->len : at % (s->len < 400 ? s->len : 400);
        data += 3;
        size -= 3;
        for (; n && size && at < s->len; n--, at++, data++, size--) {
            s->p[at] = *data;
        }
    }
    mend(s->p, s->len);
}

static struct machine *build(struct flat_host **f)
{
    *f = flat_new(0);
    struct machine *m = machine_new("fuzz", &flat_host_ops, *f);
    for (unsigned i = 0; i < 2; i++) {
        assert(dev_init(dev_new(m, &toy_class, NULL), NULL) == 0);
    }
    return m;
}

static void check_round_trip(struct machine *m)
{
    struct state_buf one = { 0 }, two = { 0 };
    assert(machine_save(m, &one, NULL) == 0);
    assert(machine_load(m, one.p, one.len, NULL) == 0);
    assert(machine_save(m, &two, NULL) == 0);
    assert(one.len == two.len && !memcmp(one.p, two.p, one.len));
    free(one.p);
    free(two.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct flat_host *f;
    struct machine *m = build(&f);
    struct state_buf s = { 0 };
    struct err e = { 0 };
    int rc;
    ((struct toy *)m->devices)->ram.host[5000] = 1;
    assert(machine_save(m, &s, NULL) == 0);
    if (size && data[0] == 0xff) {
        rc = machine_load(m, data + 1, size - 1, &e);
    } else {
        spoil(&s, data, size);
        size_t cut = size && data[0] == 0xfe ? s.len / 2 : s.len;
        rc = machine_load(m, s.p, cut, &e);
    }
    assert(rc == 0 || (rc == e.code && e.msg[0]));
    for (const struct device *d = m->devices; d; d = d->next) {
        check_range((const struct toy *)d);
    }
    if (rc == 0) {
        check_round_trip(m);
    }
    free(s.p);
    machine_free(m);
    flat_free(f);
    return 0;
}
