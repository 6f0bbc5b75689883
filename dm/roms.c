/* SPDX-License-Identifier: MIT */
/* dm/roms.c - where expansion ROMs come from: -L, romfile=, the directories of distributions. */
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct rom_file {
    struct pci_rom rom;
    struct rom_file *next;
};

/* What is not called efi-DEVICE.rom, as iPXE's are. */
static const char *const usual_names[][2] = {
    { "VGA", "vgabios-stdvga.bin" },
    { "cirrus-vga", "vgabios-cirrus.bin" },
    { "virtio-net-pci", "efi-virtio.rom" },
};
static const char *const places[] = { "/usr/share/seabios", "/usr/lib/ipxe/qemu",
                                      "/usr/share/qemu",    "/usr/share/ipxe/qemu",
                                      "/usr/share/vgabios", "/usr/lib/xen/share/qemu" };

static void read_rom(struct pci_rom *rom, const char *dir, const char *file)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fstat(fd, &st) == 0 && st.st_size >= 512 && st.st_size <= 1 << 20) {
        uint8_t *bytes = xcalloc(1, (size_t)st.st_size);
        if (read(fd, bytes, (size_t)st.st_size) == st.st_size) {
            rom->bytes = bytes;
            rom->len = (uint32_t)st.st_size;
        } else {
            free(bytes);
        }
    }
    close(fd);
}

static void usual_name(const char *device, char *buf, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(usual_names); i++) {
        if (strcmp(device, usual_names[i][0]) == 0) {
            snprintf(buf, size, "%s", usual_names[i][1]);
            return;
        }
    }
    snprintf(buf, size, "efi-%s.rom", device);
}

struct pci_rom *backends_rom(struct backends *b, const char *device, const char *file,
                             const struct opt_list *dirs, struct err *e)
{
    struct pci_rom found = { .stock = !file };
    char usual[64];
    usual_name(device, usual, sizeof(usual));
    const char *name = file ? file : usual;
    if (strchr(name, '/')) {
        read_rom(&found, "", name);
    }
    for (size_t i = 0; i < dirs->n && !found.bytes; i++) {
        read_rom(&found, dirs->kv[i]->text, name);
    }
    for (size_t i = 0; i < ARRAY_SIZE(places) && !found.bytes; i++) {
        read_rom(&found, places[i], name);
    }
    if (file && !found.bytes && !b->pretend) {
        err_set(e, -ENOENT, "romfile=%s: no such file of 512 bytes to 1 MiB", file);
        return NULL;
    }
    struct rom_file *r = xcalloc(1, sizeof(*r));
    *r = (struct rom_file){ found, b->roms };
    b->roms = r;
    return &r->rom;
}

void backends_free_roms(struct backends *b)
{
    for (struct rom_file *r = b->roms, *next; r; r = next) {
        next = r->next;
        free((void *)r->rom.bytes);
        free(r);
    }
    b->roms = NULL;
}
