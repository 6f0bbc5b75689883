/* SPDX-License-Identifier: MIT */
/* tools/tool.h - what keel-img, keel-io and keel-nbd read from their command lines alike. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include "block/open.h"

#include <stddef.h>
#include <stdio.h>

/* "keel-img", for messages. */
extern const char *tool_name;
/* Prints how the program is used; returns 1. */
extern int (*tool_usage)(FILE *f);
/* "keel-img: ..." to standard error. Returns 1. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- options (tool-opts.c) ---- */

enum tool_kind {
    TOOL_TEXT,        /* keeps its argument: `at` is a const char * */
    TOOL_FLAG,        /* says yes: `at` is a bool */
    TOOL_TAKE,        /* has an argument that `take` looks at */
    TOOL_DO,          /* has none; `take` does what it asks for */
    TOOL_MISSING,     /* qemu's tool has it, Keel does not; */
    TOOL_MISSING_ARG, /* the same, with an argument */
};

/* A row of a tool's table. */
struct tool_opt {
    const char *name; /* the long one; NULL: there is none */
    char letter;      /* 0: there is none */
    enum tool_kind kind;
    size_t at; /* where in what tool_options is given */
    /* 0; 1 after telling what is wrong; TOOL_END: the program ends here, with success */
    int (*take)(void *to, const char *arg);
    const char *of; /* the commands that have it, between spaces; NULL: all */
};
enum { TOOL_USAGE = 2, TOOL_END = 3 };

/* Reads a command's options by a table of n rows; argv[0] is no option. stop: the first argument that
 * is no option ends them. optind says where they end. 0; 1 after telling what is wrong; TOOL_USAGE:
 * an option that is not known; TOOL_END. */
int tool_options(const struct tool_opt *t, size_t n, const char *command, bool stop, void *to,
                 int argc, char **argv);
/* word is one of those between spaces. */
bool tool_names_word(const char *words, const char *word);
/* --help, as a row's `take`. */
int tool_help(void *to, const char *arg);
/* --object, as a row's `take`. */
int tool_take_object(void *to, const char *arg);

/* ---- arguments ---- */

/* unmap, on, ignore, off; false: none of them. */
bool tool_discard(const char *s, bool *out);
/* qemu's cache modes, "off" included; false: none of them. */
bool tool_cache(const char *s, enum blk_cache *out);
/* A number of bytes, 1.5G and the like; false if it is none. */
bool tool_bytes(const char *s, uint64_t *out);
/* --object secret,id=ID,data=TEXT|file=FILE[,format=raw|base64]: kept for the options that name it.
 * 0, or -errno with e. */
int tool_object(const char *text, struct err *e);
/* The same for tls-creds-x509 and tls-creds-psk; NULL with e. */
struct tls_creds *tool_tls(const char *id, bool server, struct err *e);
/* A secret that was given; NULL with e. */
const struct luks_key *tool_secret(const char *id, struct err *e);
/* --image-opts: "driver=qcow2,file.filename=a.img,...". Fills what it names of o; it is
 * tool_image_opts_free's then. 0, or -errno with e naming the key. */
int tool_image_opts(const char *text, struct image_open *o, struct err *e);
/* Frees what tool_image_opts has put into o. */
void tool_image_opts_free(struct image_open *o);

#endif
