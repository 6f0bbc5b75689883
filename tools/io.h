/* SPDX-License-Identifier: MIT */
/* tools/io.h - what the parts of keel-io share. */
#ifndef TOOLS_IO_H
#define TOOLS_IO_H

#include "block/open.h"

struct io {
    struct node_ctx *ctx;
    struct node *n;     /* NULL: nothing is open */
    unsigned in_flight; /* aio_read, aio_write */
    bool failed;
};

/* Runs one line; false to quit. line is cut to pieces. */
bool io_command(struct io *io, char *line);

/* A command with its arguments, as many as the table in io-table.c allows; false to quit. */
typedef bool io_do(struct io *io, int argc, char **argv);
io_do io_do_abort, io_do_aio_flush, io_do_alloc, io_do_close, io_do_discard, io_do_flush,
    io_do_info, io_do_length, io_do_map, io_do_no_break, io_do_open, io_do_quit, io_do_read,
    io_do_reopen, io_do_sigraise, io_do_sleep, io_do_truncate, io_do_write;

/* Each says what is wrong, on standard output as qemu-io does, or warn on standard error, makes the
 * program fail in the end and returns -1. */
int io_bad(struct io *io, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int io_bad_number(struct io *io, const char *text);
int io_warn(struct io *io, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints how the command is used. */
int io_usage(struct io *io, const char *name);
/* "64 KiB", "97.656 KiB", "777 bytes". */
const char *io_size_text(double v, char *buf, size_t len);
void io_wait_all(struct io *io);
/* -r -n -s -U -t -d -f and so on, as both the program and its `open` take them. Opens what is named
 * last. 0, or 1 after telling why; 2: usage. */
int io_open(struct io *io, int argc, char **argv);
/* 0, or 1 after telling that the data may not be on disk. */
int io_close(struct io *io);

#endif
