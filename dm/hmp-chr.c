/* SPDX-License-Identifier: MIT */
/* dm/hmp-chr.c - chardev-add, chardev-remove, chardev-send-break, gdbserver. */
#include "dm/hmp-chr.h"

#include <string.h>

#include "dm/base/err.h"
#include "dm/gdb.h"
#include "dm/hmp-int.h"
#include "dm/keel.h"
#include "dm/qmp-chardev.h"
#include "dm/qmp.h"
#include "dm/text.h"

void hmp_chardev(struct keel *k, char *const word[], struct text *out)
{
    struct err e = { 0 };
    if (strcmp(word[0], "chardev-add") == 0) {
        hmp_report(out, chardev_add_running(k, word[1], &e), &e);
    } else {
        hmp_qmp(k, word[0], json_pack("{s:o}", "id", qmp_text(word[1])), out);
    }
}

void hmp_gdbserver(struct keel *k, char *const word[], struct text *out)
{
    struct err e = { 0 };
    const char *device = *word[1] ? word[1] : "tcp::1234";
    gdb_detach(k);
    gdb_close(k);
    if (strcmp(device, "none") == 0) {
        text_add(out, "Disabled gdbserver\r\n");
    } else if (gdb_open(k, device, &e) < 0) {
        text_add(out, "Could not open gdbserver on device '%s': %s\r\n", device, e.msg);
    } else {
        text_add(out, "Waiting for gdb connection on device '%s'\r\n", device);
    }
}
