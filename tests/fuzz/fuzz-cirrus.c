/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-cirrus.c - the Cirrus VGA against a hostile guest; see fuzz-display.h. */
#include "tests/fuzz/fuzz-display.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_display(&cirrus_vga_class, data, len);
}
