/* SPDX-License-Identifier: MIT */
/* dm/call-filter.h - -sandbox: which system calls the process may still make.
 *
 * Two filters. Without spawn=deny a few calls are refused that neither Keel nor a program it starts
 * (smbd, a migration's gzip, a tap script) has use for. With spawn=deny nothing is ever started, so
 * the process keeps only what its own code needs, and every other call is refused with EPERM and a
 * log line that names it.
 */
#ifndef DM_CALL_FILTER_H
#define DM_CALL_FILTER_H

#include "dm/options.h"

/* Filters every thread there is and will be. Needs "no new privileges". Nothing undoes it. */
int call_filter_enter(const struct sandbox_policy *p, struct err *e);

#endif
