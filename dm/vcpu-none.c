/* SPDX-License-Identifier: MIT */
/* dm/vcpu-none.c - stands in for target/x86/vcpu.c in a build that lacks it: no processor can be made. */
#include "target/x86/vcpu.h"

#include "dm/base/err.h"

#include <errno.h>

struct vcpus *vcpus_new(struct machine *m, struct soft_host *s, const struct vcpu_options *o,
                        struct err *e)
{
    (void)m, (void)s, (void)o;
    err_set(e, -ENOTSUP, "-accel tcg: this build of Keel has no translator");
    return NULL;
}

void vcpus_free(struct vcpus *v)
{
    (void)v;
}

void vcpus_resume(struct vcpus *v)
{
    (void)v;
}

void vcpus_pause(struct vcpus *v)
{
    (void)v;
}

void vcpus_request_pause(struct vcpus *v)
{
    (void)v;
}
