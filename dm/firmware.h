/* SPDX-License-Identifier: MIT */
/* dm/firmware.h - the BIOS and what it is told: ROM images, and the items of fw_cfg. */
#ifndef DM_FIRMWARE_H
#define DM_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

struct backends;
struct device;
struct err;
struct machine;
struct opt_list;
struct options;
struct soft_host;

/* A whole file in memory; free(bytes). */
struct blob {
    uint8_t *bytes;
    size_t len;
};
/* Reads path, 1 to max bytes. 0, or -errno with e naming the file. */
int blob_read(struct blob *b, const char *path, size_t max, struct err *e);
/* The same for a firmware image: name as it is if it has a slash or exists here, else looked for in
 * dirs (-L) and where distributions keep such files. */
int firmware_read(struct blob *b, const char *name, const struct opt_list *dirs, size_t max,
                  struct err *e);

/* Puts the BIOS below 4 GiB, and its end below 1 MiB. 0, or -errno with e. */
int firmware_map_bios(struct soft_host *s, const struct options *o, struct err *e);
/* Fills fw_cfg (a device after dev_init) from the command line. 0, or -errno with e. */
int firmware_describe(struct device *fw_cfg, struct machine *m, const struct options *o,
                      struct backends *b, struct err *e);
/* Only what starts -kernel, for a firmware that learns everything else from the hypervisor. 0, or
 * -errno with e. */
int firmware_offer_kernel(struct device *fw_cfg, const struct options *o, const struct backends *b,
                          struct err *e);
/* The ACPI tables that are in fw_cfg already follow what the firmware does. */
void firmware_watch_acpi(struct device *fw_cfg, struct machine *m, const struct options *o,
                         struct backends *b);

#endif
