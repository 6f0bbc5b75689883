/* SPDX-License-Identifier: MIT */
/* dm/hmp-report.c - how the monitor's commands for people answer. */
#include "dm/hmp-int.h"

#include "dm/base/err.h"
#include "dm/qmp.h"
#include "dm/text.h"

void hmp_report(struct text *out, int ret, const struct err *e)
{
    if (ret < 0) {
        text_add(out, "Error: %s\r\n", e->msg);
    }
}

void hmp_qmp(struct keel *k, const char *name, json_t *args, struct text *out)
{
    struct err e = { 0 };
    json_t *answer = qmp_run(k, name, args, &e);

    hmp_report(out, answer ? 0 : -1, &e);
    json_decref(answer);
}
