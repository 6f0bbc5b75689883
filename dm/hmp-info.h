/* SPDX-License-Identifier: MIT */
/* dm/hmp-info.h - what `info WHAT` tells. */
#ifndef DM_HMP_INFO_H
#define DM_HMP_INFO_H

#include <stdbool.h>

struct keel;
struct text;

/* False when there is no such topic. */
bool hmp_info(struct keel *k, const char *what, struct text *out);
void hmp_info_names(struct text *out);

#endif
