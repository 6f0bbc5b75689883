/* SPDX-License-Identifier: MIT */
/* dm/json-frame.c - cuts a byte stream into JSON values. Reference: RFC 8259. */
#include "dm/json-frame.h"

#include <string.h>

void json_frame_reset(struct json_frame *f)
{
    text_free(&f->text);
    *f = (struct json_frame){ 0 };
}

static enum json_frame_event fail(struct json_frame *f, enum json_frame_event why)
{
    json_frame_reset(f);
    f->skipping = true;
    return why;
}

static void put(struct json_frame *f, char c)
{
    text_put(&f->text, &c, 1);
}

static void in_string(struct json_frame *f, char c)
{
    if (f->escaped) {
        f->escaped = false;
        if (c == '\'') { /* JSON knows no \' */
            f->text.len--;
        }
        put(f, c);
    } else if (c == f->quote) {
        f->quote = 0;
        put(f, '"');
    } else {
        f->escaped = c == '\\';
        if (c == '"') { /* inside single quotes */
            put(f, '\\');
        }
        put(f, c);
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum json_frame_event bracket(struct json_frame *f, char c)
{
    put(f, c);
    if (c == '{' || c == '[') {
        return ++f->depth > JSON_FRAME_MAX_DEPTH ? fail(f, JSON_FRAME_TOO_DEEP) : JSON_FRAME_MORE;
    }
    f->done = f->depth <= 1;
    f->depth -= f->depth > 0;
    return f->done ? JSON_FRAME_VALUE : JSON_FRAME_MORE;
}

/* Outside brackets: a word ends at white space. */
static enum json_frame_event outside(struct json_frame *f, char c)
{
    if (!is_space(c)) {
        put(f, c);
        return JSON_FRAME_MORE;
    }
    f->done = f->text.len > 0;
    return f->done ? JSON_FRAME_WORD : JSON_FRAME_MORE;
}

enum json_frame_event json_frame_feed(struct json_frame *f, char c)
{
    if (f->done) {
        json_frame_reset(f);
    }
    if (f->skipping) {
        f->skipping = c != '\n';
        return JSON_FRAME_MORE;
    }
    if (f->text.len >= JSON_FRAME_MAX_BYTES) {
        return fail(f, JSON_FRAME_TOO_BIG);
    }
    if (f->quote) {
        in_string(f, c);
        return JSON_FRAME_MORE;
    }
    if (c == '"' || c == '\'') {
        f->quote = c;
        put(f, '"');
        return JSON_FRAME_MORE;
    }
    if (c && strchr("{}[]", c)) {
        return bracket(f, c);
    }
    if (f->depth == 0) {
        return outside(f, c);
    }
    put(f, c);
    return JSON_FRAME_MORE;
}
