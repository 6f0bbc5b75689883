/* SPDX-License-Identifier: MIT */
/* dm/line-edit.h - a line typed at a terminal: echo, cursor, history, completion.
 *
 * A pure machine: bytes as a terminal sends them go in, what it must show comes out, in out. So each
 * monitor has its own, on any stream, and nothing waits. Keys as in Emacs, cursor keys as a VT100 or
 * xterm sends them (ECMA-48). UTF-8 is moved over and deleted by whole characters, each one column
 * wide. It never moves between a terminal's rows: a line longer than one looks odd, and is right.
 */
#ifndef DM_LINE_EDIT_H
#define DM_LINE_EDIT_H

#include "dm/text.h"

#include <stdbool.h>
#include <stddef.h>

#define LINE_MAX_BYTES 4096
#define LINE_HISTORY 64 /* lines kept */

struct line_edit {
    const char *prompt; /* the owner's */
    /* Adds words that could stand in place of the last one of line, each ended by a blank, to
     * words; NULL: no completion. */
    void (*complete)(void *owner, const char *line, struct text *words);
    void *owner;
    struct text out; /* for the terminal; the owner takes it away */

    char line[LINE_MAX_BYTES + 1];
    size_t len, at; /* bytes; the cursor stands before byte at */
    char *history[LINE_HISTORY];
    unsigned lines,
        back; /* how many are kept; how far back one looks, 0: at the line being typed */
    enum { KEY_PLAIN, KEY_ESCAPE, KEY_CSI } key;
    char csi; /* parameter of the sequence so far, a digit or 0 */
    bool was_cr;
};

/* Takes one byte. When it ends a line, returns it (good until the next call), else NULL. */
const char *line_edit_byte(struct line_edit *l, char c);
/* Drops what was typed, not the history. */
void line_edit_reset(struct line_edit *l);
void line_edit_free(struct line_edit *l);

#endif
