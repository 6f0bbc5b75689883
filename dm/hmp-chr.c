/* SPDX-License-Identifier: MIT */
/* dm/hmp-chr.c - chardev-add, chardev-remove, chardev-send-break, gdbserver. */
#include "dm/hmp-chr.h"

#include <errno.h>
#include <string.h>

#include "dm/base/err.h"
#include "dm/gdb.h"
#include "dm/keel.h"
#include "dm/keyval.h"
#include "dm/qmp.h"
#include "dm/text.h"

static int add(struct keel *k, const char *spec, struct err *e)
{
    if (k->taps) {
        return err_set(e, -EBUSY, "not while a recording runs");
    }
    struct keyval *kv = keyval_parse(spec, "backend");
    const char *server = keyval_get(kv, "server"), *wait = keyval_get(kv, "wait");
    bool waits = server && strcmp(server, "off") != 0 && (!wait || strcmp(wait, "off") != 0);
    int ret = waits ? err_set(e, -EINVAL, "wait=off is missing: the machine would stand still")
                    : chardev_add(&k->be, kv, e);
    keyval_free(kv);
    return ret;
}

void hmp_chardev(struct keel *k, char *const word[], struct text *out)
{
    struct err e = { 0 };
    json_t *answer = NULL;
    int ret = 0;
    if (strcmp(word[0], "chardev-add") == 0) {
        ret = add(k, word[1], &e);
    } else {
        answer = qmp_run(k, word[0], json_pack("{s:o}", "id", qmp_text(word[1])), &e);
        ret = answer ? 0 : e.code;
    }
    json_decref(answer);
    if (ret < 0) {
        text_add(out, "Error: %s\r\n", e.msg);
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
