/* SPDX-License-Identifier: MIT */
/* tools/tool-opts.c - command lines of the image tools, read by their tables of options. */
#include "tools/tool.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 96 };

const char *tool_name = "keel";
int (*tool_usage)(FILE *f);

int fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fprintf(stderr, "%s: ", tool_name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

bool tool_names_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = words; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        if (strcspn(p, " ") == len && memcmp(p, word, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The option as it was typed, for messages. */
static const char *as_typed(char *const *argv)
{
    return argv[optind - (optarg && optarg == argv[optind - 1] ? 2 : 1)];
}

static bool has_argument(const struct tool_opt *o)
{
    return o->kind == TOOL_TEXT || o->kind == TOOL_TAKE || o->kind == TOOL_MISSING_ARG;
}

/* The rows that a command has, as getopt wants them. c of each is its row's number plus 256, which no
 * letter is. */
static void for_getopt(const struct tool_opt *t, size_t n, const char *command, char *letters,
                       struct option *longs)
{
    for (size_t i = 0; i < n; i++) {
        if (t[i].of && !tool_names_word(t[i].of, command)) {
            continue;
        }
        if (t[i].letter) {
            *letters++ = t[i].letter;
            *letters = ':';
            letters += has_argument(&t[i]);
        }
        if (t[i].name) {
            *longs++ = (struct option){ t[i].name, has_argument(&t[i]), NULL, 256 + (int)i };
        }
    }
    *letters = '\0';
    *longs = (struct option){ 0 };
}

static const struct tool_opt *row_of(const struct tool_opt *t, size_t n, const char *command, int c)
{
    if (c >= 256) {
        return &t[c - 256];
    }
    for (size_t i = 0; i < n; i++) {
        if (t[i].letter == c && (!t[i].of || tool_names_word(t[i].of, command))) {
            return &t[i];
        }
    }
    return NULL; /* getopt has told that it is none */
}

static int take_row(const struct tool_opt *o, void *to, char *const *argv)
{
    char *at = (char *)to + o->at;

    switch (o->kind) {
    case TOOL_TEXT:
        *(const char **)at = optarg;
        return 0;
    case TOOL_FLAG:
        *(bool *)at = true;
        return 0;
    case TOOL_TAKE:
    case TOOL_DO:
        return o->take(to, optarg);
    default:
        return fail("%s: known, but Keel does not have it yet", as_typed(argv));
    }
}

int tool_options(const struct tool_opt *t, size_t n, const char *command, bool stop, void *to,
                 int argc, char **argv)
{
    char letters[2 * MAX_OPTIONS + 2] = "+";
    struct option longs[MAX_OPTIONS + 1];
    int c, rc = 0;

    if (n > MAX_OPTIONS) {
        abort();
    }
    for_getopt(t, n, command, letters + stop, longs);
    optind = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct tool_opt *o = row_of(t, n, command, c);
        rc = o ? take_row(o, to, argv) : TOOL_USAGE;
    }
    return rc;
}

int tool_help(void *to, const char *arg)
{
    (void)to, (void)arg;
    tool_usage(stdout);
    return TOOL_END;
}

int tool_take_object(void *to, const char *arg)
{
    struct err e = { 0 };

    (void)to;
    return tool_object(arg, &e) < 0 ? fail("--object: %s", e.msg) : 0;
}

bool tool_discard(const char *s, bool *out)
{
    *out = strcmp(s, "unmap") == 0 || strcmp(s, "on") == 0;
    return *out || strcmp(s, "ignore") == 0 || strcmp(s, "off") == 0;
}
