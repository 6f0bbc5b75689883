/* SPDX-License-Identifier: MIT */
/* dm/json-frame.h - cuts a byte stream into JSON values, without trusting it.
 *
 * A value ends where its brackets close, not at a line's end. Strings in single quotes, which
 * people type, become ordinary ones. What is too long, too deep or no JSON at all is reported once
 * and skipped to the end of its line.
 */
#ifndef DM_JSON_FRAME_H
#define DM_JSON_FRAME_H

#include "dm/text.h"

#include <stdbool.h>

#define JSON_FRAME_MAX_BYTES (1u << 20)
#define JSON_FRAME_MAX_DEPTH 1024

enum json_frame_event {
    JSON_FRAME_MORE,  /* nothing complete yet */
    JSON_FRAME_VALUE, /* text is one bracketed value */
    JSON_FRAME_WORD,  /* text is something without brackets */
    JSON_FRAME_TOO_BIG,
    JSON_FRAME_TOO_DEEP,
};

struct json_frame {
    struct text text;
    unsigned depth;
    char quote; /* inside a string begun by this, or 0 */
    bool escaped, skipping;
    bool done; /* text was reported: the next byte begins anew */
};

/* Takes one byte. */
enum json_frame_event json_frame_feed(struct json_frame *f, char c);
void json_frame_reset(struct json_frame *f);

#endif
