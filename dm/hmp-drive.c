/* SPDX-License-Identifier: MIT */
/* dm/hmp-drive.c - drive_add makes what a later device_add plugs in; drive_del is for one that nobody uses. */
#include "dm/hmp-drive.h"

#include <errno.h>
#include <string.h>

#include "block/job.h"
#include "dm/base/err.h"
#include "dm/hmp-int.h"
#include "dm/keel.h"
#include "dm/keyval.h"
#include "dm/options.h"
#include "dm/qmp-block.h"
#include "dm/qmp-node.h"
#include "dm/text.h"

static int add(struct keel *k, struct keyval *kv, struct err *e)
{
    const char *interface = keyval_get(kv, "if");
    if (!interface || strcmp(interface, "none") != 0) {
        return err_set(e, -EINVAL, "only with if=none: device_add plugs it in");
    }
    if (!keyval_get(kv, "id")) {
        return err_set(e, -EINVAL, "id: missing");
    }
    if (k->taps) {
        return err_set(e, -EBUSY, "not while a recording runs");
    }
    int ret = opt_check_params(opt_find("drive"), kv, e);
    ret = ret < 0 ? ret : drive_add(&k->be, kv, e);
    if (ret == 0) {
        drives_watch(k);
    }
    return ret;
}

void hmp_drive_add(struct keel *k, char *const word[], struct text *out)
{
    struct err e = { 0 };
    /* QEMU wants a PCI address first, and ignores it. */
    struct keyval *kv = keyval_parse(*word[2] ? word[2] : word[1], "file");
    int ret = kv ? add(k, kv, &e) : err_set(&e, -EINVAL, "'%.100s': no drive options", word[1]);
    keyval_free(kv);
    hmp_report(out, ret, &e);
    if (ret == 0) {
        text_add(out, "OK\r\n");
    }
}

void hmp_drive_del(struct keel *k, char *const word[], struct text *out)
{
    struct drive *d = drive_find(&k->be, word[1]);
    struct node *n = d ? drive_node(d) : NULL;
    struct err e = { 0 };
    if (!d || d->anonymous) {
        text_add(out, "Error: Device '%s' not found\r\n", word[1]);
    } else if (d->dev_id[0] || d->interface != DRIVE_NONE) {
        text_add(out, "Error: Device '%s' is in use: device_del first\r\n", word[1]);
    } else if (n && job_node_free(n, &e) < 0) {
        hmp_report(out, e.code, &e);
    } else {
        drive_remove(&k->be, d);
    }
}
