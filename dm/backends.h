/* SPDX-License-Identifier: MIT */
/* dm/backends.h - what the command line puts behind a board: drives, character streams, a screen.
 *
 * backends_open makes all of it from the options, so that board_build only has to wire it up. With
 * `pretend` nothing of the host is touched: drives stay empty and streams swallow everything. A
 * replay builds its machine that way and then puts the trace's own images and streams behind it.
 */
#ifndef DM_BACKENDS_H
#define DM_BACKENDS_H

#include "block/blk.h"
#include "block/throttle.h"
#include "dm/base/ev.h"
#include "dm/board-pc.h"
#include "dm/boot-list.h"
#include "dm/net.h"
#include "hw/pci/rom.h"
#include "hw/xen/xen-platform.h"

#include <stdbool.h>
#include <stddef.h>

struct chr;
struct chr_mux;
struct con;
struct debug_exit_hook;
struct piix4_pm_eject;
struct err;
struct ev_loop;
struct fdset;
struct keyval;
struct luks_key;
struct opt_list;
struct options;
struct secret;
struct tls_object;
struct tls_creds;
struct nbd_how;
struct jobs;
struct named_node;
struct node_ctx;

enum drive_if { DRIVE_NONE, DRIVE_IDE, DRIVE_FLOPPY, DRIVE_SCSI };

struct drive {
    struct blk *blk;
    char id[64];
    char dev_id[32]; /* the device it is plugged into, "" while it is free */
    enum drive_if interface;
    unsigned bus, unit; /* IDE, floppy and SCSI (unit: target) */
    bool cdrom;
    struct blk_open open; /* how its medium was opened; filename owned */
    bool has_medium;      /* file= was given */
    bool anonymous;       /* made for a device whose drive= names a node: its id is the node's */
    enum blk_on_error rerror, werror;
    struct throttle_group *own_throttle; /* that no name is known of */
    struct ev_post stopped;              /* an error stops the machine: dm/run.c's */
    struct drive *next;
};

struct muxed_monitor {
    struct chr_mux *mux;
    struct chr *chr;
};

struct backends {
    struct ev_loop *loop;
    struct node_ctx *graph; /* every drive's nodes */
    bool pretend;
    struct con *con;
    struct drive *drives;             /* in the order given */
    struct named_node *nodes;         /* dm/blockdev.h */
    struct throttle_group *throttles; /* those with a name */
    struct exports *exports;          /* dm/qmp-export.c; NULL: there is no NBD server */
    struct secret *secrets;           /* dm/secret.h */
    struct tls_object *tls;           /* dm/tls-object.h */
    struct jobs *jobs;
    bool snapshot;     /* -snapshot: all disks are temporary */
    bool incoming;     /* the machine's state is still to arrive */
    struct chr **chrs; /* every stream made, in order */
    size_t nchrs;
    struct networks net;
    struct muxed_monitor muxed[4]; /* "mon:" streams; the process puts monitors on them */
    unsigned nmuxed;
    struct fdset *fdsets;
    struct debug_exit_hook *exit_hook; /* for isa-debug-exit; NULL: nothing happens */
    struct piix4_pm_eject *eject_hook; /* for PIIX4_PM; the same */
    struct xen_unplug unplug;          /* the board fills it in for xen-platform */
    struct boot_list boot;             /* devices with a bootindex= */
    struct board_pc pc;                /* the board fills it in: chips that talk to each other */
    struct rom_file *roms;             /* expansion ROMs that were read (roms.c) */
};

/* 0, or -errno with e naming option and file. */
int backends_open(struct backends *b, struct ev_loop *loop, const struct options *o, bool pretend,
                  struct err *e);
/* Some disk request is under way. */
bool backends_busy(const struct backends *b);
/* Waits for every disk request under way and delivers it. */
void backends_drain(struct backends *b);
/* Another process may go on with the disks; or this one goes on with another's. 0, or -errno. */
int backends_quiesce(struct backends *b, struct err *e);
int backends_activate(struct backends *b, struct err *e);
/* Frees everything; no device may use it any more. */
void backends_close(struct backends *b);

/* What follows -drive. 0, or -errno with e. */
int drive_add(struct backends *b, struct keyval *kv, struct err *e);
/* What follows -object throttle-group. 0, or -errno with e. */
int throttle_object_add(struct backends *b, struct keyval *kv, struct err *e);
/* dm/qmp-export.c: ends the NBD server. */
void exports_free(struct backends *b);
/* What follows -object secret. A replay, which opens no image, has none. 0, or -errno with e. */
int secret_object_add(struct backends *b, struct keyval *kv, struct err *e);
/* The same for -object tls-creds-x509 and tls-creds-psk. */
int tls_creds_object_add(struct backends *b, struct keyval *kv, struct err *e);
/* The passphrase that the key names; *out stays NULL when it is not given. 0, or -errno with e. */
int secret_option(struct backends *b, struct keyval *kv, const char *key,
                  const struct luks_key **out, struct err *e);
/* An empty drive behind the others. */
struct drive *drive_new(struct backends *b, const char *id);
/* The address (block/nbd.h) that server.type and so on, each with this prefix, name; malloc'd. */
char *drive_nbd_address(struct keyval *kv, const char *prefix, struct err *e);
/* What tls-creds, tls-hostname, reconnect-delay and open-timeout, each with this prefix, say. find:
 * the client's credentials of that id; NULL with e. 0, or -errno with e. */
int drive_nbd_how(struct keyval *kv, const char *prefix,
                  struct tls_creds *(*find)(void *opaque, const char *id, struct err *e),
                  void *opaque, struct nbd_how *out, struct err *e);
void drive_free(struct drive *d);
/* Takes d out of the drives and frees it. No device may use it any more. */
void drive_remove(struct backends *b, struct drive *d);
/* The device of that id was not made after all (its drives are free again) or went (so do they). */
void drives_unplugged(struct backends *b, const char *dev_id, bool went);
struct drive *drive_find(const struct backends *b, const char *id);
/* By drive id, or by the id of the device it is plugged into. */
struct drive *drive_find_any(const struct backends *b, const char *id, const char *dev_id);
struct chr *chr_find(const struct backends *b, const char *id);
/* What follows -chardev. 0, or -errno with e. */
int chardev_add(struct backends *b, struct keyval *kv, struct err *e);
/* Takes c out of the streams and frees it. Nobody may use it any more. */
void chr_remove(struct backends *b, struct chr *c);
/* Makes a stream from what follows -serial, -monitor or -qmp; "chardev:ID" finds one,
 * "mon:SPEC" shares one with a monitor. NULL with e, or NULL with e->code 0 for "none". */
struct chr *chr_from_spec(struct backends *b, const char *id, const char *spec, struct err *e);

/* The expansion ROM of `device`, a display or a network card, file NULL for the usual one: from dirs
 * (-L), or where distributions keep SeaBIOS's and iPXE's. Without bytes when there is none: such a
 * machine starts all the same. NULL with e when `file` is not to be had. */
struct pci_rom *backends_rom(struct backends *b, const char *device, const char *file,
                             const struct opt_list *dirs, struct err *e);
void backends_free_roms(struct backends *b);

/* Opens filename (a path or /dev/fdset/N) as d's medium would be, without inserting it. */
struct blk_image *drive_open_image(struct backends *b, const struct drive *d, const char *filename,
                                   bool read_only, struct err *e);

#endif
