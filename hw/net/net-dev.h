/* SPDX-License-Identifier: MIT */
/* hw/net/net-dev.h - the network cards, and what they have in common: an address, an option ROM, a
 * 93C46 EEPROM.
 */
#ifndef HW_NET_NET_DEV_H
#define HW_NET_NET_DEV_H

#include "hw/pci/rom.h"
#include "net/nic.h"

extern const struct dev_class e1000_class, e1000e_class, ne2k_isa_class, ne2k_pci_class,
    pcnet_class, rtl8139_class;

#define NET_ROM_BYTES (256u << 10)

/* What each card's struct has. */
struct net_dev {
    struct nic *nic; /* property "netdev"; may be NULL */
    char *mac_text;  /* property "mac"; NULL: 52:54:00:12:34:56 */
    uint8_t mac[6];
    struct pci_rom *rom_image; /* NULL: no ROM BAR */
    struct gmem_block rom;
    char rom_name[40];
};
#define NET_CARD_PROPS(type)                                                                       \
    PROP(type, "netdev", PROP_NIC, net.nic, 0, "the back end's id"),                               \
        PROP(type, "mac", PROP_STR, net.mac_text, 0, "hardware address")
#define NET_DEV_PROPS(type) PCI_PROPS(type), NET_CARD_PROPS(type), PCI_ROM_PROP(type, net.rom_image)

/* Reads the address: for cards that are not on PCI. -EINVAL with e. */
int net_dev_take_mac(struct net_dev *n, struct err *e);
/* Reads the address and adds the ROM BAR. -EINVAL with e. */
int net_dev_init(struct pci_dev *p, struct net_dev *n, struct err *e);
void net_dev_fini(struct pci_dev *p, struct net_dev *n);
/* PV drivers took over: every PCI card of m is gone until the next reset. */
void net_unplug_cards(struct machine *m);
bool mac_is_multicast(const uint8_t *mac);
bool mac_is_broadcast(const uint8_t *mac);
/* Which of 64 bits of a multicast filter an address has: the top six of its CRC, highest bit first. */
unsigned mac_hash(const uint8_t *mac);
/* Appends n bytes of the guest's memory to a frame of *len bytes that has room for max. What cannot be read
 * counts as zeros: all or nothing, like any DMA. False: they did not all fit. */
bool net_gather(struct pci_dev *p, uint64_t addr, uint32_t n, uint8_t *frame, uint32_t *len,
                uint32_t max);
/* For a ring that tells nobody when it has room again: whether the frame that found none should wait at
 * the cable. Arms retry, which calls nic_kick, a bounded number of times; *refused counts them and
 * must become 0 when a frame is taken. */
bool net_hold_frame(uint8_t *refused, struct vtimer *retry);

/* A 93C46: 64 words of 16 bits, three wires and an answer. */
struct eeprom93 {
    uint16_t word[64];
    uint16_t shift; /* bits in, or out, highest first */
    uint8_t bits;   /* of them so far, or left */
    uint8_t state, address;
    bool sk, out, may_write;
};
extern const struct state_field eeprom93_state[];
/* The wires change: chip select, clock, data in. e->out is data out. */
void eeprom93_wires(struct eeprom93 *e, bool cs, bool sk, bool di);
/* The chip was deselected; words stay. */
void eeprom93_idle(struct eeprom93 *e);

#endif
