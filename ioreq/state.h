/* SPDX-License-Identifier: MIT */
/* ioreq/state.h - declared device state.
 *
 * A device lists its migratable fields once. Save, restore, `info`, the reset check, the trace's
 * snapshot and the common test battery all walk that table. The stream is named and
 * self-describing: device instance, class, version, then fields as name, kind, count and
 * little-endian values, a CRC a device record. A field younger than the stream keeps its reset
 * value; an unknown, missing or out-of-range one is refused by name. Restoring trusts nothing: a
 * value outside [min, max] is refused just as a guest's write of it would be.
 */
#ifndef IOREQ_STATE_H
#define IOREQ_STATE_H

#include <stddef.h>
#include <stdint.h>

struct machine;
struct device;
struct err;

enum state_kind {
    STATE_END,
    STATE_BOOL,
    STATE_U8,
    STATE_U16,
    STATE_U32,
    STATE_U64,
    STATE_I32,
    STATE_I64,
    STATE_TIMER, /* struct vtimer: its `when` */
    STATE_BLOCK, /* struct gmem_block: its gpa, and its bytes unless the host carries them */
    STATE_SUB,   /* an array of structs with a table of their own */
    STATE_PAGES, /* struct state_pages: its bytes */
};

/* Memory that travels with a device and moves nowhere. len: a multiple of 4096, below 4 GiB. */
struct state_pages {
    uint8_t *host;
    uint64_t len;
};

struct state_field {
    const char *name; /* goes into the stream: renaming one is a format change */
    enum state_kind kind;
    uint16_t since;    /* state_version that brought it */
    uint32_t offset;   /* in the struct the table describes */
    uint32_t count;    /* elements */
    uint64_t min, max; /* both 0: any value */
    const struct state_field *sub;
    uint32_t stride; /* STATE_SUB: bytes from one struct to the next */
};

/* clang-format off */
#define STATE_KIND_OF(member)                                                                      \
    _Generic((member),                                                                             \
        _Bool: STATE_BOOL,                                                                         \
        uint8_t: STATE_U8,                                                                         \
        uint16_t: STATE_U16,                                                                       \
        uint32_t: STATE_U32,                                                                       \
        uint64_t: STATE_U64,                                                                       \
        int32_t: STATE_I32,                                                                        \
        int64_t: STATE_I64)
/* clang-format on */
#define STATE_MEMBER(type, member) (((type *)0)->member)

/* One scalar of any kind above; the kind follows the member's type. */
#define FIELD(type, member) FIELD_RANGE(type, member, 0, 0)
/* ... that a restore refuses outside lo..hi. */
#define FIELD_RANGE(type, member, lo, hi)                                                          \
    {                                                                                              \
#member, STATE_KIND_OF(STATE_MEMBER(type, member)), 1, offsetof(type, member), 1, lo, hi,  \
            NULL, 0                                                                                \
    }
/* A scalar that state_version v brought. */
#define FIELD_SINCE(type, member, v)                                                               \
    {                                                                                              \
#member, STATE_KIND_OF(STATE_MEMBER(type, member)), v, offsetof(type, member), 1, 0, 0,    \
            NULL, 0                                                                                \
    }
#define FIELD_ARRAY(type, member)                                                                  \
    {                                                                                              \
#member, STATE_KIND_OF(STATE_MEMBER(type, member)[0]), 1, offsetof(type, member),          \
            sizeof(STATE_MEMBER(type, member)) / sizeof(STATE_MEMBER(type, member)[0]), 0, 0,      \
            NULL, 0                                                                                \
    }
/* An array that state_version v brought. */
#define FIELD_ARRAY_SINCE(type, member, v)                                                         \
    {                                                                                              \
#member, STATE_KIND_OF(STATE_MEMBER(type, member)[0]), v, offsetof(type, member),          \
            sizeof(STATE_MEMBER(type, member)) / sizeof(STATE_MEMBER(type, member)[0]), 0, 0,      \
            NULL, 0                                                                                \
    }
#define FIELD_TIMER(type, member)                                                                  \
    {                                                                                              \
#member, STATE_TIMER, 1, offsetof(type, member), 1, 0, 0, NULL, 0                          \
    }
#define FIELD_BLOCK(type, member)                                                                  \
    {                                                                                              \
#member, STATE_BLOCK, 1, offsetof(type, member), 1, 0, 0, NULL, 0                          \
    }
#define FIELD_PAGES(type, member)                                                                  \
    {                                                                                              \
#member, STATE_PAGES, 1, offsetof(type, member), 1, 0, 0, NULL, 0                          \
    }
/* n structs of one type in an array (or a single one, n == 1), each described by table. */
#define FIELD_SUB(type, member, table, n)                                                          \
    {                                                                                              \
#member, STATE_SUB, 1, offsetof(type, member), n, 0, 0, table,                             \
            (uint32_t)(sizeof(STATE_MEMBER(type, member)) / (n))                                   \
    }
#define FIELD_END                                                                                  \
    {                                                                                              \
        0                                                                                          \
    }

/* A growing byte string. Starts as { 0 }; free(b->p) by whoever owns it. */
struct state_buf {
    uint8_t *p;
    size_t len, cap;
};
void state_put(struct state_buf *b, const void *p, size_t len);

/* Appends d's record. */
void dev_save(const struct device *d, struct state_buf *b);
/* Reads d's record from p (len bytes), returns bytes used or -EINVAL with e naming device and
 * field; d is then as after reset. Calls class->loaded last. */
long dev_load(struct device *d, const uint8_t *p, size_t len, struct err *e);

/* The whole machine: header (magic, format, machine type), one record a device that is not absent, end
 * marker. Works only while the machine is stopped. machine_load resets first and drives all lines afterwards;
 * on error the machine is as after reset and e says what was wrong with the stream. */
int machine_save(struct machine *m, struct state_buf *b, struct err *e);
int machine_load(struct machine *m, const uint8_t *p, size_t len, struct err *e);

/* Hash over all declared state, FNV-1a 64: two machines that went the same way agree. */
uint64_t machine_state_hash(struct machine *m);

/* Calls put(opaque, "path.name[3]", value) for every scalar of d: `info`, diffs, tests. */
void dev_state_each(const struct device *d,
                    void (*put)(void *opaque, const char *name, uint64_t value), void *opaque);

#endif
