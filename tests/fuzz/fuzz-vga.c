/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-vga.c - the standard VGA against a hostile guest; see fuzz-display.h. */
#include "tests/fuzz/fuzz-display.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_display(&vga_class, data, len);
}
