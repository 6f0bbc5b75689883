/* SPDX-License-Identifier: MIT */
/* dm/vm-snapshot.h - snapshots of the whole machine inside its qcow2 images.
 *
 * Every disk gets one of the same name at the same moment; one of them also keeps memory, devices and
 * processors. Only for processors of Keel's own: under Xen the guest's memory is the toolstack's.
 * Texts and rules are QEMU's. From the loop, under the machine lock. Each: 0, or -errno with e, which
 * names the disk.
 */
#ifndef DM_VM_SNAPSHOT_H
#define DM_VM_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct keel;
struct text;

/* Which disks. */
struct vm_disks {
    const char *const *names; /* of nodes or drives; NULL: every disk that can be written */
    size_t n;
    const char *vmstate; /* the one that keeps the state; NULL: the first */
};

/* The machine stands still meanwhile and goes on if it ran. replace: a snapshot of that name goes once
 * the new one is there; else it is an error. */
int vm_snapshot_save(struct keel *k, const char *tag, bool replace, const struct vm_disks *d,
                     struct err *e);
/* A machine that ran goes on from there. One that failed stands still. */
int vm_snapshot_load(struct keel *k, const char *tag, const struct vm_disks *d, struct err *e);
/* None of that name is no error. */
int vm_snapshot_delete(struct keel *k, const char *tag, const struct vm_disks *d, struct err *e);

/* The monitor's info snapshots, savevm, loadvm, delvm: word[0] is the command. */
void hmp_info_snapshots(struct keel *k, struct text *out);
void hmp_vm_snapshot(struct keel *k, char *const *word, struct text *out);

#endif
