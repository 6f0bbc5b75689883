/* SPDX-License-Identifier: MIT */
/* dm/boot-list.h - devices with a bootindex=, and the order that firmware gets from them. */
#ifndef DM_BOOT_LIST_H
#define DM_BOOT_LIST_H

#include <stddef.h>
#include <stdint.h>

struct device;
struct err;
struct keyval;

struct boot_entry {
    uint32_t index;
    char path[96]; /* as Open Firmware names devices */
};
struct boot_list {
    struct boot_entry *e; /* sorted by index */
    size_t n;
};

/* Adds d if kv has bootindex=. 0, or -EINVAL with e for a bad or double index or a device that cannot
 * be booted from. */
int boot_list_take(struct boot_list *l, struct device *d, struct keyval *kv, struct err *e);
/* Adds a path that is no device's. */
int boot_list_add(struct boot_list *l, const char *path, struct keyval *kv, struct err *e);
/* Contents of "bootorder": lines, `first` before all others unless NULL, "HALT" last if strict. NUL
 * terminated; free(). NULL when there is nothing to say. */
char *boot_list_text(const struct boot_list *l, const char *first, int strict);
void boot_list_free(struct boot_list *l);

#endif
