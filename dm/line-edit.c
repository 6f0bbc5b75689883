/* SPDX-License-Identifier: MIT */
/* dm/line-edit.c - a line typed at a terminal. Reference: ECMA-48, 8.3. */
#include "dm/line-edit.h"

#include "dm/base/util.h"

#include <stdlib.h>
#include <string.h>

#define CTRL(letter) ((letter)&0x1f)
#define ESC 0x1b
#define DELETE 0x7f

/* ---- characters ---- */

static bool inside_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t before(const struct line_edit *l, size_t at)
{
    while (at > 0 && inside_character(l->line[--at])) {
    }
    return at;
}

static size_t after(const struct line_edit *l, size_t at)
{
    at += at < l->len;
    while (at < l->len && inside_character(l->line[at])) {
        at++;
    }
    return at;
}

static unsigned columns(const struct line_edit *l, size_t from, size_t to)
{
    unsigned n = 0;
    for (size_t i = from; i < to; i++) {
        n += !inside_character(l->line[i]);
    }
    return n;
}

/* ---- the terminal ---- */

static void move_left(struct line_edit *l, unsigned n)
{
    if (n) {
        text_add(&l->out, "\033[%uD", n);
    }
}

static void go(struct line_edit *l, size_t to)
{
    if (to > l->at) {
        text_add(&l->out, "\033[%uC", columns(l, l->at, to));
    } else {
        move_left(l, columns(l, to, l->at));
    }
    l->at = to;
}

/* Shows the line from the cursor on, which stays where it is. */
static void show_rest(struct line_edit *l)
{
    text_put(&l->out, l->line + l->at, l->len - l->at);
    text_put(&l->out, "\033[K", 3);
    move_left(l, columns(l, l->at, l->len));
}

static void show_all(struct line_edit *l)
{
    text_add(&l->out, "\r%s", l->prompt);
    text_put(&l->out, l->line, l->at);
    show_rest(l);
}

/* ---- changes ---- */

static void insert(struct line_edit *l, const char *s, size_t n)
{
    if (l->len + n > LINE_MAX_BYTES) {
        text_put(&l->out, "\a", 1);
        return;
    }
    memmove(l->line + l->at + n, l->line + l->at, l->len - l->at);
    memcpy(l->line + l->at, s, n);
    l->len += n;
    text_put(&l->out, s, n);
    l->at += n;
    if (l->at < l->len) {
        show_rest(l);
    }
}

/* Takes [from, to) out; the cursor is in or at an end of it. */
static void cut(struct line_edit *l, size_t from, size_t to)
{
    go(l, from);
    memmove(l->line + from, l->line + to, l->len - to);
    l->len -= to - from;
    show_rest(l);
}

static void replace(struct line_edit *l, const char *s)
{
    cut(l, 0, l->len);
    insert(l, s, strlen(s));
}

static size_t word_start(const struct line_edit *l)
{
    size_t at = l->at;
    while (at > 0 && l->line[at - 1] == ' ') {
        at--;
    }
    while (at > 0 && l->line[at - 1] != ' ') {
        at--;
    }
    return at;
}

/* ---- history ---- */

/* history[0] is the oldest. */
static void remember(struct line_edit *l)
{
    l->back = 0;
    if (!l->len || (l->lines && strcmp(l->history[l->lines - 1], l->line) == 0)) {
        return;
    }
    if (l->lines == LINE_HISTORY) {
        free(l->history[0]);
        memmove(l->history, l->history + 1, sizeof(l->history) - sizeof(l->history[0]));
        l->lines--;
    }
    l->history[l->lines++] = xstrdup(l->line);
}

static void look_back(struct line_edit *l, int step)
{
    if ((step > 0 && l->back == l->lines) || (step < 0 && l->back == 0)) {
        return;
    }
    l->back += (unsigned)step;
    replace(l, l->back ? l->history[l->lines - l->back] : "");
}

/* ---- completion ---- */

/* How much of the words' beginnings is the same; words are blank-ended. */
static size_t common_length(const char *words)
{
    size_t common = strcspn(words, " ");
    for (const char *w = words; *w; w += strcspn(w, " ") + 1) {
        size_t n = 0;
        while (n < common && w[n] == words[n]) {
            n++;
        }
        common = n;
    }
    return common;
}

static void complete(struct line_edit *l)
{
    struct text words = { 0 };
    if (!l->complete || l->at != l->len) {
        return;
    }
    l->line[l->len] = '\0';
    const char *blank = strrchr(l->line, ' ');
    size_t typed = strlen(blank ? blank + 1 : l->line);
    l->complete(l->owner, l->line, &words);
    if (words.len) {
        size_t common = common_length(words.p);
        bool one = words.p[common] == ' ' && common + 1 == words.len;
        if (common > typed) {
            insert(l, words.p + typed, common - typed);
        }
        if (one) {
            insert(l, " ", 1);
        } else if (common <= typed) {
            text_add(&l->out, "\r\n%s\r\n", words.p);
            show_all(l);
        }
    }
    text_free(&words);
}

/* ---- keys ---- */

static void control_key(struct line_edit *l, char c)
{
    switch (c) {
    case CTRL('a'):
        go(l, 0);
        break;
    case CTRL('b'):
        go(l, before(l, l->at));
        break;
    case CTRL('c'):
        text_put(&l->out, "\r\n", 2);
        line_edit_reset(l);
        show_all(l);
        break;
    case CTRL('d'):
        cut(l, l->at, after(l, l->at));
        break;
    case CTRL('e'):
        go(l, l->len);
        break;
    case CTRL('f'):
        go(l, after(l, l->at));
        break;
    case CTRL('h'):
    case DELETE:
        cut(l, before(l, l->at), l->at);
        break;
    case CTRL('i'):
        complete(l);
        break;
    case CTRL('k'):
        cut(l, l->at, l->len);
        break;
    case CTRL('l'):
        text_put(&l->out, "\033[H\033[2J", 7);
        show_all(l);
        break;
    case CTRL('n'):
        look_back(l, -1);
        break;
    case CTRL('p'):
        look_back(l, 1);
        break;
    case CTRL('u'):
        cut(l, 0, l->at);
        break;
    case CTRL('w'):
        cut(l, word_start(l), l->at);
        break;
    case ESC:
        l->key = KEY_ESCAPE;
        break;
    default:
        break;
    }
}

/* The byte that ends "ESC [ n x" or "ESC O x", as the key that does the same. */
static char key_of_sequence(const struct line_edit *l, char c)
{
    static const char finals[] = "ABCDHF~", keys[] = "pnfbae";
    const char *f = strchr(finals, c);
    if (!f) {
        return 0;
    }
    if (c != '~') {
        return (char)CTRL(keys[f - finals]);
    }
    switch (l->csi) {
    case '1':
    case '7':
        return CTRL('a');
    case '3':
        return CTRL('d');
    case '4':
    case '8':
        return CTRL('e');
    default:
        return 0;
    }
}

static void sequence_byte(struct line_edit *l, char c)
{
    if (l->key == KEY_ESCAPE) {
        l->key = c == '[' || c == 'O' ? KEY_CSI : KEY_PLAIN;
        l->csi = 0;
    } else if ((c >= '0' && c <= '9') || c == ';') {
        l->csi = l->csi ? l->csi : c;
    } else {
        l->key = KEY_PLAIN;
        control_key(l, key_of_sequence(l, c));
    }
}

static const char *end_of_line(struct line_edit *l)
{
    go(l, l->len);
    text_put(&l->out, "\r\n", 2);
    l->line[l->len] = '\0';
    remember(l);
    l->len = l->at = 0;
    return l->line;
}

const char *line_edit_byte(struct line_edit *l, char c)
{
    bool second = c == '\n' && l->was_cr; /* of CR LF */
    l->was_cr = c == '\r';
    if (second || c == '\0') {
        return NULL;
    }
    if (c == '\r' || c == '\n') {
        l->key = KEY_PLAIN;
        return end_of_line(l);
    }
    if (l->key != KEY_PLAIN) {
        sequence_byte(l, c);
    } else if ((unsigned char)c < ' ' || c == DELETE) {
        control_key(l, c);
    } else {
        insert(l, &c, 1);
    }
    return NULL;
}

void line_edit_reset(struct line_edit *l)
{
    l->len = l->at = 0;
    l->back = 0;
    l->key = KEY_PLAIN;
    l->was_cr = false;
}

void line_edit_free(struct line_edit *l)
{
    for (unsigned i = 0; i < l->lines; i++) {
        free(l->history[i]);
    }
    l->lines = 0;
    text_free(&l->out);
}
