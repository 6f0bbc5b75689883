/* SPDX-License-Identifier: MIT */
/* tests/unit/fault-rig.h - files whose system calls fail one at a time, and what a disk may read as then.
 *
 * fault_each tells a test's story again and again: first its first call fails, then its second, and so on
 * until it has no more, with each of the errors. A call that was interrupted, had to wait or came short is
 * tried again by the file node, so such a story goes as if nothing had happened (fault_hard). After any
 * other the story may meet errors; what it may not meet is anything else than what was written.
 *
 * The disk is a few slots. Each has the values it may read as: the last one written, and, until a flush
 * or a close went well, those before it; of a write that failed some bytes may be there.
 */
#ifndef TESTS_UNIT_FAULT_RIG_H
#define TESTS_UNIT_FAULT_RIG_H

#include "block/file.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the fault ---- */

static struct {
    int with;       /* errno, 0: a short count */
    int nth, left;  /* the call that fails, counted from 1; how many are to come until then */
    size_t sector;  /* short counts are multiples of it */
    bool hit;       /* it has failed */
    char where[64]; /* the file it was for; empty: the kernel's queue */
} fault = { .sector = 1 };

static bool fault_now(int fd)
{
    char link[32];

    if (__atomic_sub_fetch(&fault.left, 1, __ATOMIC_SEQ_CST) != 0) {
        return false;
    }
    fault.hit = true;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, fault.where, sizeof(fault.where) - 1);
    fault.where[n > 0 ? n : 0] = '\0';
    errno = fault.with;
    return true;
}

static ssize_t fault_moves(bool write, int fd, const struct iovec *iov, off_t at)
{
    struct iovec part = { iov->iov_base, iov->iov_len / 2 / fault.sector * fault.sector };

    if (fault.with) {
        return -1;
    }
    part.iov_len = part.iov_len ? part.iov_len : iov->iov_len;
    return write ? pwritev(fd, &part, 1, at) : preadv(fd, &part, 1, at);
}

static ssize_t fault_preadv(int fd, const struct iovec *iov, int n, off_t at)
{
    return fault_now(fd) ? fault_moves(false, fd, iov, at) : preadv(fd, iov, n, at);
}

static ssize_t fault_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    return fault_now(fd) ? fault_moves(true, fd, iov, at) : pwritev(fd, iov, n, at);
}

static int fault_fdatasync(int fd)
{
    return fault_now(fd) && fault.with ? -1 : 0; /* no story pulls the plug */
}

static int fault_fallocate(int fd, int mode, off_t at, off_t len)
{
    return fault_now(fd) && fault.with ? -1 : fallocate(fd, mode, at, len);
}

static int fault_ftruncate(int fd, off_t len)
{
    return fault_now(fd) && fault.with ? -1 : ftruncate(fd, len);
}

/* What an engine's call ended with: the error, or half of what it moved. */
static long fault_heard(long res)
{
    if (!fault_now(-1)) {
        return res;
    }
    return fault.with ? -fault.with : res > 0 ? res / 2 & ~511l : res;
}

static bool fault_may_send(void)
{
    return !fault_now(-1);
}

static const struct file_calls fault_calls = {
    fault_preadv,    fault_pwritev, fault_fdatasync, fault_fallocate,
    fault_ftruncate, fault_heard,   fault_may_send,
};

/* What nobody can try again on his own. */
static inline bool fault_hard(void)
{
    return fault.with == EIO || fault.with == ENOSPC;
}

/* what ended with the error ret; before: the call had failed when it began. It must have failed it. */
static inline void fault_expected(const char *who, const char *what, bool before, int ret)
{
    if (before || !fault.hit || !fault_hard()) {
        fail_msg("%s: call %d fails with %d (%s): %s ends with %d", who, fault.nth, fault.with,
                 fault.where, what, ret);
    }
}

/* From here on nothing fails. */
static inline void fault_over(void)
{
    fault.left = 0;
}

static inline void fault_each(void (*story)(void *opaque), void *opaque)
{
    static const int errors[] = { EIO, ENOSPC, EINTR, EAGAIN, 0 };

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        fault.with = errors[i];
        fault.nth = 0;
        do {
            fault.left = ++fault.nth;
            fault.hit = false;
            fault.where[0] = '\0';
            story(opaque);
            fault_over();
        } while (fault.hit);
        assert_true(fault.nth > 1); /* it had calls to fail */
    }
}

/* ---- files ---- */

/* A new one; name ends in XXXXXX. */
static inline void fault_file_new(char *name)
{
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    close(fd);
}

static inline void fault_file_put(const char *name, const void *data, uint64_t len)
{
    int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* All of it, malloc'd. */
static inline uint8_t *fault_file_get(const char *name, uint64_t *len)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    off_t end = lseek(fd, 0, SEEK_END);
    uint8_t *data = xcalloc(1, (size_t)end + 1);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, data, (size_t)end, 0), end);
    close(fd);
    *len = (uint64_t)end;
    return data;
}

/* how says what the file is used for. One that does not fail does not wait for flushes either. */
static inline struct node *fault_file_open(struct node_ctx *c, const char *name,
                                           const struct file_open *how, bool faulty)
{
    struct file_open o = *how;
    struct err e = { 0 };

    o.filename = name;
    o.fd = -1;
    o.cache = faulty ? o.cache : BLK_UNSAFE;
    o.calls = faulty ? &fault_calls : NULL;
    fault.sector = o.cache == BLK_NONE || o.cache == BLK_DIRECTSYNC ? 512 : 1;
    struct node *n = file_open(c, &o, &e);
    if (!n) {
        fail_msg("%s", e.msg);
    }
    return n;
}

/* ---- what the disk may read as ---- */

enum { FAULT_SLOTS = 8, FAULT_UNKNOWN = -1 };

struct slots {
    uint64_t step, len;        /* bytes: from one slot to the next, and of each */
    uint32_t may[FAULT_SLOTS]; /* bit v: it may be full of v; all bits: of anything */
    int last[FAULT_SLOTS];     /* what it is full of; FAULT_UNKNOWN: one of those, in each byte */
};
static struct slots slots; /* the disk's */

static inline struct slots slots_full_of(uint64_t step, uint64_t len, int value)
{
    struct slots s = { .step = step, .len = len };

    for (int i = 0; i < FAULT_SLOTS; i++) {
        s.may[i] = 1u << value;
        s.last[i] = value;
    }
    return s;
}

/* A change of slot i to v ended so. */
static inline void slots_changed(int i, int v, bool surely)
{
    slots.may[i] |= 1u << v;
    slots.last[i] = surely ? v : FAULT_UNKNOWN;
}

/* A flush or a close went well. */
static inline void slots_flushed(void)
{
    for (int i = 0; i < FAULT_SLOTS; i++) {
        if (slots.last[i] != FAULT_UNKNOWN) {
            slots.may[i] = 1u << slots.last[i];
        }
    }
}

/* The disk was closed and opened: nobody knows how much of what was not flushed is there. */
static inline void slots_reopened(void)
{
    for (int i = 0; i < FAULT_SLOTS; i++) {
        if (slots.may[i] & (slots.may[i] - 1)) {
            slots.last[i] = FAULT_UNKNOWN;
        }
    }
}

static inline void slots_expect(const char *who, int i, const uint8_t *p)
{
    uint32_t may = slots.last[i] == FAULT_UNKNOWN ? slots.may[i] : 1u << slots.last[i];

    uint64_t k = 0;

    while (k < slots.len && (may == UINT32_MAX || (p[k] < 32 && may >> p[k] & 1))) {
        k = k == 0 && memcmp(p, p + 1, slots.len - 1) == 0 ? slots.len : k + 1;
    }
    if (k < slots.len) {
        fail_msg("%s: call %d fails with %d (%s): byte %d of slot %d is %u", who, fault.nth,
                 fault.with, fault.where, (int)k, i, p[k]);
    }
}

/* n reads as it may. */
static inline void slots_expect_all(const char *who, struct node *n)
{
    uint8_t *buf = xcalloc(1, slots.len);

    for (int i = 0; i < FAULT_SLOTS; i++) {
        bool before = fault.hit;
        int ret = node_read(n, (uint64_t)i * slots.step, buf, slots.len);
        if (ret < 0) {
            fault_expected(who, "a read", before, ret);
        } else {
            slots_expect(who, i, buf);
        }
    }
    free(buf);
}

#endif
