/* SPDX-License-Identifier: MIT */
/* tools/io-table.c - the table of keel-io's commands: names, arguments, help; and running one. */
#include "tools/io.h"

#include "dm/base/util.h"

#include <stdio.h>
#include <string.h>

enum { MAX_ARGS = 64, ANY = -1 };

static bool do_help(struct io *io, int argc, char **argv);

static const struct command {
    const char *name, *other;
    bool (*run)(struct io *io, int argc, char **argv);
    int min, max; /* arguments */
    bool closed;  /* works without an image */
    const char *args, *help;
} commands[] = {
    /* name, other, run, min, max, closed, arguments, what it does */
    { "abort", NULL, io_do_abort, 0, 0, true, NULL, "simulate a program crash using abort(3)" },
    { "aio_flush", NULL, io_do_aio_flush, 0, 0, false, NULL,
      "completes all outstanding aio requests" },
    { "aio_read", NULL, io_do_read, 2, ANY, false, "[-Ciqv] [-P pattern] off len [len..]",
      "asynchronously reads a number of bytes" },
    { "aio_write", NULL, io_do_write, 2, ANY, false, "[-Cfiquz] [-P pattern] off len [len..]",
      "asynchronously writes a number of bytes" },
    { "alloc", "a", io_do_alloc, 1, 2, false, "offset [count]",
      "checks if offset is allocated in the file" },
    { "break", NULL, io_do_no_break, 2, 2, false, "event tag",
      "sets a breakpoint on event and tags the stopped request as tag" },
    { "close", "c", io_do_close, 0, 0, false, NULL, "close the current open file" },
    { "discard", "d", io_do_discard, 2, ANY, false, "[-Cq] off len",
      "discards a number of bytes at a specified offset" },
    { "flush", "f", io_do_flush, 0, 0, false, NULL, "flush all in-core file state to disk" },
    { "help", "?", do_help, 0, 1, true, "[command]", "help for one or all commands" },
    { "info", "i", io_do_info, 0, 0, false, NULL, "prints information about the current file" },
    { "length", "l", io_do_length, 0, 0, false, NULL, "gets the length of the current file" },
    { "map", NULL, io_do_map, 0, 1, false, "", "prints the allocated areas of a file" },
    { "open", "o", io_do_open, 1, ANY, true,
      "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path" },
    { "quit", "q", io_do_quit, 0, ANY, true, NULL, "exit the program" },
    { "read", "r", io_do_read, 2, ANY, false, "[-abCqv] [-P pattern [-s off] [-l len]] off len",
      "reads a number of bytes at a specified offset" },
    { "readv", NULL, io_do_read, 2, ANY, false, "[-Cqv] [-P pattern] off len [len..]",
      "reads a number of bytes at a specified offset" },
    { "remove_break", NULL, io_do_no_break, 1, 1, false, "tag", "remove a breakpoint by tag" },
    { "reopen", NULL, io_do_reopen, 0, ANY, false, "[(-r|-w)] [-c cache] [-o options]",
      "reopens an image with new options" },
    { "resume", NULL, io_do_no_break, 1, 1, false, "tag", "resumes the request tagged as tag" },
    { "sigraise", NULL, io_do_sigraise, 1, 1, true, "signal", "raises a signal" },
    { "sleep", NULL, io_do_sleep, 1, 1, true, NULL, "waits for the given value in milliseconds" },
    { "truncate", "t", io_do_truncate, 1, 3, false, "[-m prealloc_mode] off",
      "truncates the current file at the given offset" },
    { "wait_break", NULL, io_do_no_break, 1, 1, false, "tag",
      "waits for the suspension of a request" },
    { "write", "w", io_do_write, 2, ANY, false, "[-bcCfnquz] [-P pattern | -s source_file] off len",
      "writes a number of bytes at a specified offset" },
    { "writev", NULL, io_do_write, 2, ANY, false, "[-Cfqz] [-P pattern] off len [len..]",
      "writes a number of bytes at a specified offset" },
};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(name, c->name) == 0 || (c->other && strcmp(name, c->other) == 0)) {
            return c;
        }
    }
    return NULL;
}

static void print_usage(const struct command *c, const char *name)
{
    printf("%s ", name);
    if (c->args) {
        printf("%s ", c->args);
    }
    printf("-- %s\n", c->help);
}

int io_usage(struct io *io, const char *name)
{
    print_usage(find(name), name);
    io->failed = true;
    return -1;
}

static bool do_help(struct io *io, int argc, char **argv)
{
    (void)io;
    if (argc == 1) {
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
            const struct command *c = &commands[i];
            printf("%s%s%s%s %s-- %s\n", c->name, c->other ? " (or " : "", c->other ? c->other : "",
                   c->other ? ")" : "", c->args ? c->args : "", c->help);
        }
        printf("\nUse 'help commandname' for extended help.\n");
    } else if (find(argv[1])) {
        print_usage(find(argv[1]), argv[1]);
    } else {
        printf("command %s not found\n", argv[1]);
    }
    return true;
}

static int bad_count(struct io *io, const struct command *c, const char *name, int n)
{
    fprintf(stderr, "bad argument count %d to %s, expected ", n, name);
    if (c->max == ANY) {
        fprintf(stderr, "at least %d arguments\n", c->min);
    } else if (c->min == c->max) {
        fprintf(stderr, "%d arguments\n", c->min);
    } else {
        fprintf(stderr, "between %d and %d arguments\n", c->min, c->max);
    }
    io->failed = true;
    return -1;
}

bool io_command(struct io *io, char *line)
{
    char *argv[MAX_ARGS + 2], *save = NULL;
    int argc = 0;

    for (char *p = strtok_r(line, " \t\n", &save); p && argc <= MAX_ARGS;
         p = strtok_r(NULL, " \t\n", &save)) {
        argv[argc++] = p;
    }
    argv[argc] = NULL;
    if (argc == 0) {
        return true;
    }
    const struct command *c = find(argv[0]);
    if (!c) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        io->failed = true;
        return true;
    }
    if (!io->n && !c->closed) {
        fprintf(stderr, "no file open, try 'help open'\n");
        io->failed = true;
        return true;
    }
    if (argc - 1 < c->min || (c->max != ANY && argc - 1 > c->max)) {
        bad_count(io, c, argv[0], argc - 1);
        return true;
    }
    argv[0] = (char *)c->name; /* it outlives the line */
    return c->run(io, argc, argv);
}
