/* SPDX-License-Identifier: MIT */
/* dm/monitor.h - a monitor: one character stream on which somebody commands Keel.
 *
 * mode=control speaks QMP (qmp.c), readline speaks HMP (hmp.c, line-edit.c). monitor.c carries bytes: it buffers
 * what the peer does not take yet, stops listening to a peer that does not read, and collects the
 * descriptors a peer passes until a command takes them.
 */
#ifndef DM_MONITOR_H
#define DM_MONITOR_H

#include "dm/json-frame.h"
#include "dm/line-edit.h"
#include "dm/text.h"

#include <jansson.h>
#include <stdbool.h>

struct chr;
struct err;
struct keel;

#define MONITOR_MAX_FDS 8

struct named_fd {
    char *name;
    int fd;
    struct named_fd *next;
};

struct monitor {
    struct keel *k;
    struct chr *chr;
    bool control;
    struct text out;          /* not taken by the peer yet */
    int fds[MONITOR_MAX_FDS]; /* passed in and not asked for yet, oldest first */
    unsigned nfds;
    struct named_fd *named; /* getfd */

    /* QMP */
    bool negotiated, oob;
    struct json_frame in;

    /* HMP */
    struct line_edit line;

    struct monitor *next;
};

/* Puts a monitor on c. */
void monitor_add(struct keel *k, struct chr *c, bool control);
void monitor_free_all(struct keel *k);
void monitor_put(struct monitor *mon, const char *s, size_t len);
/* The oldest descriptor that the peer passed, now the caller's; -1 when there is none. */
int monitor_take_fd(struct monitor *mon);

/* The descriptor that getfd gave that name, now the caller's; -1 when there is none. */
int monitor_take_named_fd(struct monitor *mon, const char *name);

/* Tells every QMP peer; data is taken over and may be NULL. */
void monitor_event(struct keel *k, const char *name, json_t *data);

/* The event MIGRATION, for those who asked for it. */
void monitor_migration(struct keel *k, const char *status);

/* qmp.c */
void qmp_greet(struct monitor *mon);
void qmp_feed(struct monitor *mon, const char *p, size_t len);
json_t *qmp_version(void);

/* hmp.c */
void hmp_greet(struct monitor *mon);
void hmp_feed(struct monitor *mon, const char *p, size_t len);
/* Runs one command line; its output goes to out, lines end in CR LF. */
void hmp_run(struct keel *k, const char *line, struct text *out);

#endif
