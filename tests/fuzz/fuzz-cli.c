/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-cli.c - a hostile command line, up to a board that pretends.
 *
 * The input picks options and pieces of their arguments, so that it gets past the first word. No
 * file is opened: back ends pretend, and a descriptor limit holds the rest back.
 */
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "dm/board.h"
#include "dm/options.h"
#include "ioreq/flat.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_ARGS 24
#define MAX_ARG 200

static const char *const pieces[] = {
    ",",
    "=",
    "on",
    "off",
    "id=",
    "a",
    "b",
    "file=",
    "if=",
    "ide",
    "none",
    "floppy",
    "index=",
    "0",
    "1",
    "2",
    "format=",
    "raw",
    "media=",
    "cdrom",
    "cache=",
    "readonly",
    "bus=",
    "ide.0",
    "ide.1",
    "unit=",
    "drive=",
    "ide-cd",
    "ide-hd",
    "VGA",
    "isa-serial",
    "chardev=",
    "null",
    "chardev:a",
    "isa-debugcon",
    "iobase=",
    "0x402",
    "pc",
    "qtest",
    "accel=",
    "xenfv",
    "128M",
    "maxcpus=",
    "order=",
    "cad",
    "vgamem_mb=",
    "16",
    "pc-testdev",
    "addr=",
    "5",
    "1.1",
    "help",
    ",,",
    "no",
    "xen-pvdevice",
    "cirrus-vga",
    "VGA.vgamem_mb=",
    "stdio",
    "isa-debug-exit",
    "backend=",
    "4294967296",
    "-1",
    "device-id=",
};

/* Whole options that are fine by themselves: what comes after makes them odd. */
static const char *const whole[][2] = {
    { "-nodefaults", "" },
    { "-device", "VGA,vgamem_mb=1" },
    { "-device", "isa-debugcon" },
    { "-device", "ide-cd,drive=a,bus=ide.1" },
    { "-device", "isa-serial,chardev=b" },
    { "-drive", "if=none,id=a" },
    { "-drive", "index=2,media=cdrom" },
    { "-drive", "if=floppy" },
    { "-chardev", "null,id=b" },
    { "-serial", "null" },
    { "-smp", "2" },
    { "-m", "64M" },
    { "-boot", "dc" },
    { "-global", "VGA.vgamem_mb=2" },
    { "-device", "pc-testdev" },
    { "-debugcon", "null" },
};

struct words {
    char arg[MAX_ARGS][MAX_ARG];
    char *argv[MAX_ARGS];
    int argc;
};

static void append(struct words *l, const char *s)
{
    char *arg = l->arg[l->argc - 1];
    size_t len = strlen(arg);
    snprintf(arg + len, MAX_ARG - len, "%s", s);
}

static void begin(struct words *l)
{
    if (l->argc < MAX_ARGS) {
        l->argv[l->argc] = l->arg[l->argc];
        l->arg[l->argc++][0] = '\0';
    }
}

static size_t options_known(void)
{
    size_t n = 0;
    while (opt_table[n].name) {
        n++;
    }
    return n;
}

static void begin_option(struct words *l, uint8_t which)
{
    const struct opt_def *d = &opt_table[which % options_known()];
    begin(l);
    append(l, "-");
    append(l, d->name);
    if (d->have && d->takes_arg) {
        begin(l);
    }
}

static void begin_whole(struct words *l, uint8_t which)
{
    const char *const *w = whole[which % ARRAY_SIZE(whole)];
    begin(l);
    append(l, w[0]);
    if (*w[1]) {
        begin(l);
        append(l, w[1]);
    }
}

static void make_line(struct words *l, const uint8_t *data, size_t size)
{
    begin(l);
    append(l, "keel");
    begin(l);
    append(l, "-accel");
    begin(l);
    append(l, "qtest");
    for (size_t i = 0; i + 1 < size; i += 2) {
        char one[2] = { (char)data[i + 1], '\0' };
        switch (data[i] % 16) {
        case 0:
            begin_option(l, data[i + 1]);
            break;
        case 1:
            append(l, pieces[data[i + 1] % ARRAY_SIZE(pieces)]);
            break;
        case 2:
            append(l, one);
            break;
        default:
            begin_whole(l, data[i + 1]);
            break;
        }
    }
}

static void build(const struct options *o, struct ev_loop *loop)
{
    struct err e;
    struct backends b;
    struct flat_host *host = flat_new(1 << 20);
    struct machine *m = machine_new(board_type(o), &flat_host_ops, host);
    machine_enter(m);
    if (backends_open(&b, loop, o, true, &e) == 0) {
        board_build(m, o, &b, &e);
    }
    machine_leave(m);
    machine_free(m);
    flat_free(host);
    backends_close(&b);
}

static rlim_t lowest_free_fd(const struct rlimit *files)
{
    setrlimit(RLIMIT_NOFILE, files);
    int fd = dup(STDERR_FILENO);
    assert(fd >= 0);
    close(fd);
    return (rlim_t)fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct words l;
    static struct ev_loop *loop;
    struct options o;
    struct err e;
    struct rlimit files, none;
    loop = loop ? loop : ev_loop_new(NULL, NULL, NULL);
    memset(&l, 0, sizeof(l));
    make_line(&l, data, size);
    getrlimit(RLIMIT_NOFILE, &files);
    none = files;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    if (options_parse(&o, l.argc, l.argv, &e) == 0 && o.action == ACT_RUN) {
        none.rlim_cur = lowest_free_fd(&files) + 1; /* the block graph's own, which comes first */
        setrlimit(RLIMIT_NOFILE, &none);
        build(&o, loop);
    }
    options_free(&o);
    setrlimit(RLIMIT_NOFILE, &files);
    return 0;
}
