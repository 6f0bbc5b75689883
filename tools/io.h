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
void io_wait_all(struct io *io);
/* -r -n -s -U -t -d -f and so on, as both the program and its `open` take them. Opens what is named
 * last. 0, or 1 after telling why; 2: usage. */
int io_open(struct io *io, int argc, char **argv);
/* 0, or 1 after telling that the data may not be on disk. */
int io_close(struct io *io);

#endif
