/* SPDX-License-Identifier: MIT */
/* hw/pci/rom.c - expansion ROMs. See rom.h.
 *
 *   [55 aa ... 18: where "PCIR" is]  image 0   ["PCIR" vendor, device ... length/512, type, last]
 *   [55 aa ...                    ]  image 1   ...
 *
 * Firmware runs an image only if vendor and device are those of the function. iPXE's images for
 * virtio and the RTL8029 are built for one identity of several, so these words are put right, and in an
 * image for the PC (type 0) the checksum with them.
 */
#include "hw/pci/rom.h"

#include "dm/base/bytes.h"

#include <errno.h>

enum {
    POINTER = 0x18, /* in an image */
    CHECKSUM = 6,   /* a byte nobody uses but to make the sum 0 */
    PCIR_VENDOR = 4,
    PCIR_DEVICE = 6,
    PCIR_LENGTH = 0x10,
    PCIR_TYPE = 0x14,
    PCIR_INDICATOR = 0x15,
    PCIR_BYTES = 0x18,
    UNIT = 512,
};

/* Bytes of the image at p, 0 when it is none or the last one. */
static uint32_t adopt_image(const struct pci_dev *d, uint8_t *p, uint32_t len)
{
    uint32_t at = len >= POINTER + 2 ? load_le16(p + POINTER) : len;
    if (at + PCIR_BYTES > len || load_le16(p) != 0xaa55 || memcmp(p + at, "PCIR", 4) != 0) {
        return 0;
    }
    uint8_t *pcir = p + at, before = 0, after = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t *id = &pcir[PCIR_VENDOR + i];
        before = (uint8_t)(before + *id);
        *id = d->config[i];
        after = (uint8_t)(after + *id);
    }
    if (pcir[PCIR_TYPE] == 0) {
        p[CHECKSUM] = (uint8_t)(p[CHECKSUM] + before - after);
    }
    uint32_t bytes = load_le16(pcir + PCIR_LENGTH) * (uint32_t)UNIT;
    return pcir[PCIR_INDICATOR] & 0x80 || bytes >= len ? 0 : bytes;
}

static void adopt(const struct pci_dev *d, uint8_t *p, uint32_t len)
{
    for (uint32_t at = 0, n = 1; n; at += n) {
        n = adopt_image(d, p + at, len - at);
    }
}

static uint64_t rom_read(struct device *d, uint64_t off, unsigned size)
{
    const struct gmem_block *b = ((struct pci_dev *)d)->bar[PCI_ROM_BAR].block;
    return load_le(b->host + off, size);
}

static void rom_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)d, (void)off, (void)size, (void)val;
}

static const struct region_ops rom_ops = { rom_read, rom_write, 8, NULL };

int pci_add_rom(struct pci_dev *p, struct gmem_block *b, const struct pci_rom *image, uint32_t size,
                const char *name, struct err *e)
{
    uint32_t len = image && image->bytes ? image->len : 0;
    if (len > size) {
        return err_set(e, -EINVAL, "%s: a ROM of %u bytes does not fit %u", p->dev.id, len, size);
    }
    b->len = size;
    int ret = gmem_block_new(p->dev.m, b, e);
    if (ret < 0) {
        return ret;
    }
    if (len) {
        memcpy(b->host, image->bytes, len);
        if (image->stock) {
            adopt(p, b->host, len);
        }
        gmem_block_wrote(p->dev.m, b, 0, len);
    }
    pci_add_block_bar(p, PCI_ROM_BAR, b, false, &rom_ops, name);
    return 0;
}
