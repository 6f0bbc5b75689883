/* SPDX-License-Identifier: MIT */
/* dm/boot-list.c - devices with a bootindex=: see boot-list.h.
 *
 * Reference: IEEE 1275 device paths as SeaBIOS matches them (its documentation of "bootorder").
 */
#include "dm/boot-list.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"
#include "hw/ide/ide.h"
#include "hw/pci/pci.h"
#include "hw/scsi/scsi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "ide@1,1": what it is called is not compared. */
static void function_name(char *buf, size_t n, const char *what, unsigned devfn)
{
    if (devfn & 7) {
        snprintf(buf, n, "%s@%x,%x", what, devfn >> 3, devfn & 7);
    } else {
        snprintf(buf, n, "%s@%x", what, devfn >> 3);
    }
}

static int path_of(struct device *d, char *path, size_t n)
{
    char function[32];
    if (d->class == &ide_hd_class || d->class == &ide_cd_class) {
        struct ide_place p = ide_place_of(d);
        function_name(function, sizeof(function), "ide", p.devfn);
        snprintf(path, n, "/pci@i0cf8/%s/drive@%x/disk@%x", function, p.channel, p.unit);
        return 0;
    }
    if (d->class == &scsi_hd_class || d->class == &scsi_cd_class) {
        struct scsi_place p = scsi_place_of(d);
        function_name(function, sizeof(function), "scsi", p.devfn);
        snprintf(path, n, "/pci@i0cf8/%s/channel@0/disk@%x,%x", function, p.target, p.lun);
        return 0;
    }
    const struct pci_bus *bus = d->m->pci;
    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        if (bus->fn[devfn] && &bus->fn[devfn]->dev == d) {
            function_name(function, sizeof(function), "device", devfn);
            snprintf(path, n, "/pci@i0cf8/%s", function);
            return 0;
        }
    }
    return -EINVAL;
}

static int insert(struct boot_list *l, const struct boot_entry *new, struct err *e)
{
    size_t at = l->n;
    for (size_t i = 0; i < l->n; i++) {
        if (l->e[i].index == new->index) {
            return err_set(e, -EINVAL, "bootindex=%u: used twice", new->index);
        }
    }
    l->e = xrealloc(l->e, (l->n + 1) * sizeof(*l->e));
    for (; at && l->e[at - 1].index > new->index; at--) {
        l->e[at] = l->e[at - 1];
    }
    l->e[at] = *new;
    l->n++;
    return 0;
}

int boot_list_take(struct boot_list *l, struct device *d, struct keyval *kv, struct err *e)
{
    struct boot_entry new = { 0 };
    if (!keyval_get(kv, "bootindex")) {
        return 0;
    }
    if (keyval_u32(kv, "bootindex", &new.index, e) < 0) {
        return -EINVAL;
    }
    if (path_of(d, new.path, sizeof(new.path)) < 0) {
        return err_set(e, -EINVAL, "bootindex: nothing boots from a device of this kind");
    }
    return insert(l, &new, e);
}

int boot_list_add(struct boot_list *l, const char *path, struct keyval *kv, struct err *e)
{
    struct boot_entry new = { 0 };
    if (!keyval_get(kv, "bootindex")) {
        return 0;
    }
    snprintf(new.path, sizeof(new.path), "%s", path);
    return keyval_u32(kv, "bootindex", &new.index, e) < 0 ? -EINVAL : insert(l, &new, e);
}

char *boot_list_text(const struct boot_list *l, const char *first, int strict)
{
    size_t room = (first ? strlen(first) + 1 : 0) + l->n * sizeof(l->e[0].path) + 8;
    char *text = xcalloc(1, room), *at = text;
    if (first) {
        at += sprintf(at, "%s\n", first);
    }
    for (size_t i = 0; i < l->n; i++) {
        at += sprintf(at, "%s\n", l->e[i].path);
    }
    if (strict) {
        at += sprintf(at, "HALT\n");
    }
    if (at == text) {
        free(text);
        return NULL;
    }
    at[-1] = '\0'; /* the last line ends with the file */
    return text;
}

void boot_list_free(struct boot_list *l)
{
    free(l->e);
    *l = (struct boot_list){ 0 };
}
