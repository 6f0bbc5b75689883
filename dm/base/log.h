/* SPDX-License-Identifier: MIT */
/* dm/base/log.h - one line is one fact: "part: what, values with units", to standard error.
 *
 * Anything a guest or a peer can provoke goes through a struct log_limit: a token bucket that lets
 * 10 lines through at once, then one a second, and reports how many it swallowed. So a hostile
 * guest cannot fill dom0's disk (XSA-130, XSA-180).
 */
#ifndef DM_BASE_LOG_H
#define DM_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped; LOG_WARN unless set. */
void log_set_level(enum log_level level);
/* What lines start with: the time, UTC, and the guest's name (NULL: without). Before there are threads;
 * guest stays the caller's. */
void log_set_head(bool time, const char *guest);
void log_msg(enum log_level level, const char *part, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct log_limit {
    int64_t last_ns;
    int32_t tokens; /* zero-initialised means a full bucket */
    bool used;
    uint64_t dropped;
};
/* Whether a line may be written now; counts what it refuses. */
bool log_allow(struct log_limit *l);

/* log_msg at LOG_WARN behind a limit. */
void log_limited(struct log_limit *l, const char *part, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
