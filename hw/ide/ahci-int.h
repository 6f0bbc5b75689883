/* SPDX-License-Identifier: MIT */
/* hw/ide/ahci-int.h - the AHCI controller's insides, shared by its files.
 *
 *   ahci.c      the PCI function, HBA and port registers, resets, interrupts
 *   ahci-cmd.c  command lists, FISes, PRD tables, data, native queued commands
 *
 * A port is a channel of its own with one drive (hw/ide/ide-int.h), whose struct ide_link brings what
 * the drive has for the guest here. Queued reads and writes bypass the drive's task file: each has a
 * struct ahci_cmd of its own. Reference: Serial ATA AHCI 1.3.1; Serial ATA 3.0 chapter 10 (FISes).
 */
#ifndef HW_IDE_AHCI_INT_H
#define HW_IDE_AHCI_INT_H

#include "hw/ide/ahci.h"
#include "hw/ide/ide-int.h"

enum {
    AHCI_PORTS = 6,
    AHCI_SLOTS = 32,
    AHCI_CHUNK = 128 << 10, /* bytes at the drive at once, a command */
};

/* Port interrupt bits, 3.3.5. */
enum {
    PIS_DHR = 1u << 0,
    PIS_PS = 1u << 1,
    PIS_SDB = 1u << 3,
    PIS_OF = 1u << 24,
    PIS_HBD = 1u << 28,
    PIS_HBF = 1u << 29,
    PIS_TFE = 1u << 30,
};
/* PxCMD, 3.3.7. */
enum {
    PCMD_ST = 1 << 0,
    PCMD_CLO = 1 << 3,
    PCMD_FRE = 1 << 4,
    PCMD_FR = 1 << 14,
    PCMD_CR = 1 << 15,
};

/* A command header's first words, and where its PRD table stands. */
struct ahci_header {
    bool atapi, write;
    uint16_t prdtl;  /* entries */
    uint64_t table;  /* command table */
    uint32_t moved;  /* bytes so far: PRDBC */
    uint32_t prd;    /* entry the walk is at */
    uint32_t within; /* bytes of it that are used up */
};

struct ahci_port;
struct ahci_cmd {
    struct ahci_port *p;
    uint8_t slot;
    bool busy; /* the drive has it */
    bool ncq, write;
    struct ahci_header h;
    struct blk_req req;
    struct iovec iov;
    uint8_t *buf;
    uint64_t offset, left; /* of the medium, bytes */
    uint32_t chunk;
};

struct ahci;
struct ahci_port {
    struct ide_channel ch; /* first: a struct ide_channel * is a struct ahci_port * */
    struct ahci *hba;
    uint8_t index;
    uint64_t clb, fb;
    uint32_t is, ie, cmd, tfd, sig, sctl, serr, sact, ci;

    int8_t current; /* slot of the command the drive's task file works on, -1: none */
    bool pumping;   /* ahci_pump runs */
    struct ahci_cmd slot[AHCI_SLOTS];
};

struct ahci {
    struct pci_dev pci; /* first */
    uint32_t ghc, is;
    uint32_t index; /* of the index/data pair */
    struct ahci_port port[AHCI_PORTS];
};

/* ahci.c */
void ahci_raise(struct ahci_port *p, uint32_t bits);

/* ahci-cmd.c */
extern const struct ide_link ahci_link;
/* The drive on p, or NULL. */
struct ide_drive *ahci_drive(const struct ahci_port *p);
/* Starts what PxCI asks for, as far as the drive is free. */
void ahci_run(struct ahci_port *p);
/* Takes back all that is in flight; PxCI and PxSACT are cleared. */
void ahci_stop(struct ahci_port *p);
/* The drive has been reset: its signature goes to the registers and, with FRE, to memory. */
void ahci_signature(struct ahci_port *p);

#endif
