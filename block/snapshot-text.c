/* SPDX-License-Identifier: MIT */
/* block/snapshot-text.c - internal snapshots in a list for people. */
#include "block/snapshot-text.h"

#include "block/qcow2.h"
#include "dm/base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

char *snapshot_line(const struct qcow2_snapshot *s, const char *id)
{
    char date[32], clock[40], size[32], icount[32] = "";
    time_t t = s->date_sec;
    struct tm tm;
    uint64_t sec = s->vm_clock_nsec / 1000000000;

    strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(sec / 3600),
             (unsigned)(sec / 60 % 60), (unsigned)(sec % 60),
             (unsigned)(s->vm_clock_nsec / 1000000 % 1000));
    if (s->icount != UINT64_MAX) {
        snprintf(icount, sizeof(icount), "%" PRIu64, s->icount);
    }
    char *line = xasprintf("%-9s %-16s %8s%20s%13s%11s", id, s->name,
                           human(s->vm_state_size, size, sizeof(size)), date, clock, icount);
    make_printable(line); /* the image chose the name */
    return line;
}
