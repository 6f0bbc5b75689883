/* SPDX-License-Identifier: MIT */
/* tools/tool.h - what keel-img, keel-io and keel-nbd read from their command lines alike. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include "block/open.h"

#include <stddef.h>

/* An option that only keeps its argument (text), or only says yes (flag). */
struct tool_plain {
    int c; /* as getopt_long gives it */
    const char **text;
    bool *flag;
};

/* Takes c, with getopt's optarg, if it is one of the n; false: it is none of them. */
bool tool_take_plain(const struct tool_plain *plain, size_t n, int c);
/* The option that getopt took last, as it was typed, for messages. */
const char *tool_option(char *const *argv);
/* qemu's cache modes, "off" included; false: none of them. */
bool tool_cache(const char *s, enum blk_cache *out);
/* A number of bytes, 1.5G and the like; false if it is none. */
bool tool_bytes(const char *s, uint64_t *out);
/* --object secret,id=ID,data=TEXT|file=FILE[,format=raw|base64]: kept for the options that name it.
 * 0, or -errno with e. */
int tool_object(const char *text, struct err *e);
/* A secret that was given; NULL with e. */
const struct luks_key *tool_secret(const char *id, struct err *e);
/* --image-opts: "driver=qcow2,file.filename=a.img,...". Fills what it names of o; o->filename and
 * o->format are malloc'd then. 0, or -errno with e naming the key. */
int tool_image_opts(const char *text, struct image_open *o, struct err *e);

#endif
