/* SPDX-License-Identifier: MIT */
/* hw/net/net-dev.c - what the network cards have in common. */
#include "hw/net/net-dev.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <stdio.h>

enum { RETRIES = 50, RETRY_NS = 1000 * 1000 };

static int add_rom(struct pci_dev *p, struct net_dev *n, struct err *e)
{
    if (!n->rom_image) {
        return 0;
    }
    snprintf(n->rom_name, sizeof(n->rom_name), "%s.rom", p->dev.id);
    n->rom.name = n->rom_name;
    return pci_add_rom(p, &n->rom, n->rom_image, NET_ROM_BYTES, "BOOT ROM", e);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* Six pairs of digits with ':' or '-' between. */
static bool parse_mac(const char *s, uint8_t *mac)
{
    for (unsigned i = 0; i < 6; i++, s += 3) {
        int high = hex_digit(s[0]), low = high < 0 ? -1 : hex_digit(s[1]);
        if (low < 0 || (i < 5 ? s[2] != ':' && s[2] != '-' : s[2] != '\0')) {
            return false;
        }
        mac[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int net_dev_take_mac(struct net_dev *n, struct err *e)
{
    const char *text = n->mac_text ? n->mac_text : "52:54:00:12:34:56";
    if (!parse_mac(text, n->mac)) {
        return err_set(e, -EINVAL, "mac=%s: expected six pairs of hexadecimal digits", text);
    }
    if (mac_is_multicast(n->mac)) {
        return err_set(e, -EINVAL, "mac=%s: a multicast address", text);
    }
    if (n->nic) {
        memcpy(n->nic->mac, n->mac, sizeof(n->mac));
    }
    return 0;
}

int net_dev_init(struct pci_dev *p, struct net_dev *n, struct err *e)
{
    int ret = net_dev_take_mac(n, e);
    return ret == 0 ? add_rom(p, n, e) : ret;
}

void net_dev_fini(struct pci_dev *p, struct net_dev *n)
{
    nic_attach(n->nic, NULL, NULL);
    if (n->rom.host) {
        gmem_block_free(p->dev.m, &n->rom);
    }
}

bool mac_is_multicast(const uint8_t *mac)
{
    return mac[0] & 1;
}

bool mac_is_broadcast(const uint8_t *mac)
{
    return load_le16(mac) == 0xffff && load_le32(mac + 2) == UINT32_MAX;
}

unsigned mac_hash(const uint8_t *mac)
{
    uint32_t crc = ~net_crc32(mac, 6);
    unsigned bit = 0;
    for (unsigned i = 0; i < 6; i++) {
        bit |= (crc >> i & 1) << (5 - i);
    }
    return bit;
}

bool net_hold_frame(uint8_t *refused, struct vtimer *retry)
{
    if (++*refused > RETRIES) {
        *refused = 0;
        return false;
    }
    if (!vtimer_armed(retry)) {
        vtimer_arm(retry, RETRY_NS);
    }
    return true;
}

void net_unplug_cards(struct machine *m)
{
    for (struct device *d = m->devices; d; d = d->next) {
        if (dev_prop_find(d->class, "netdev") && dev_prop_find(d->class, "addr")) {
            pci_vanish((struct pci_dev *)d);
        }
    }
}

bool net_gather(struct pci_dev *p, uint64_t addr, uint32_t n, uint8_t *frame, uint32_t *len,
                uint32_t max)
{
    uint32_t room = max - *len;
    bool fits = n <= room;
    n = fits ? n : room;
    if (n && pci_dma_read(p, addr, frame + *len, n) < 0) {
        guest_odd(&p->dev, "packet data outside memory");
        memset(frame + *len, 0, n);
    }
    *len += n;
    return fits;
}
