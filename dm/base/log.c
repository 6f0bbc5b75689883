/* SPDX-License-Identifier: MIT */
/* dm/base/log.c - one line a fact to standard error, at a bounded rate where others provoke it.
 *
 * No time stamps unless asked: whoever collects standard error (libxl, systemd) has its own.
 */
#include "dm/base/log.h"

#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BURST 10
#define REFILL_NS 1000000000ll /* one line a second */

static int max_level = LOG_WARN;
static bool with_time;
static const char *guest_name;

void log_set_level(enum log_level level)
{
    __atomic_store_n(&max_level, (int)level, __ATOMIC_RELAXED);
}

void log_set_head(bool time, const char *guest)
{
    with_time = time;
    guest_name = guest;
}

/* "2026-01-31T12:30:00.123456Z guest ", as far as asked for; returns its length. */
static size_t put_head(char *line, size_t size)
{
    size_t n = 0;
    if (with_time) {
        struct timespec now;
        struct tm utc;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &utc);
        n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
        n += (size_t)snprintf(line + n, size - n, ".%06ldZ ", now.tv_nsec / 1000);
    }
    if (guest_name) {
        n += (size_t)snprintf(line + n, size - n, "%.64s ", guest_name);
    }
    return n;
}

__attribute__((format(printf, 2, 0))) static void emit(const char *part, const char *fmt,
                                                       va_list ap, uint64_t dropped)
{
    char text[800], line[1024];
    vsnprintf(text, sizeof(text), fmt, ap);
    size_t len = put_head(line, 128), room = sizeof(line) - 64 - len;
    int n = snprintf(line + len, room, "%s: %s", part, text);
    len += (size_t)min_u64((uint64_t)n, room - 1);
    if (dropped) {
        len += (size_t)snprintf(line + len, 48, " (%llu similar lines dropped)",
                                (unsigned long long)dropped);
    }
    make_printable(line);
    line[len++] = '\n';
    /* One write, so that lines of several threads do not mix. Nobody to tell when it fails. */
    if (write(STDERR_FILENO, line, len) < 0) {
        return;
    }
}

static bool wanted(enum log_level level)
{
    return (int)level <= __atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

void log_msg(enum log_level level, const char *part, const char *fmt, ...)
{
    if (!wanted(level)) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    emit(part, fmt, ap, 0);
    va_end(ap);
}

static void refill(struct log_limit *l)
{
    int64_t now = ev_now_ns();
    if (!l->used) {
        l->used = true;
        l->tokens = BURST;
        l->last_ns = now;
        return;
    }
    int64_t whole = (now - l->last_ns) / REFILL_NS;
    if (whole > 0) {
        l->tokens = whole < BURST - l->tokens ? l->tokens + (int32_t)whole : BURST;
        l->last_ns += whole * REFILL_NS;
    }
}

bool log_allow(struct log_limit *l)
{
    refill(l);
    if (!l->tokens) {
        l->dropped++;
        return false;
    }
    l->tokens--;
    return true;
}

void log_limited(struct log_limit *l, const char *part, const char *fmt, ...)
{
    if (!wanted(LOG_WARN) || !log_allow(l)) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    emit(part, fmt, ap, l->dropped);
    va_end(ap);
    l->dropped = 0;
}
