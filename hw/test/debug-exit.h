/* SPDX-License-Identifier: MIT */
/* hw/test/debug-exit.h - a port by which a test guest ends the process. */
#ifndef HW_TEST_DEBUG_EXIT_H
#define HW_TEST_DEBUG_EXIT_H

#include "ioreq/dev.h"

/* Property "exit" (PTR): asks the process to end with this exit code, soon. */
struct debug_exit_hook {
    void (*fn)(void *opaque, int code);
    void *opaque;
};

extern const struct dev_class debug_exit_class;

#endif
