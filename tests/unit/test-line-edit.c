/* SPDX-License-Identifier: MIT */
/* tests/unit/test-line-edit.c - what a terminal shows is what the line holds, whatever is typed. */
#include "dm/line-edit.h"

#include "dm/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A terminal of one row: what ECMA-48 says of the few sequences the editor sends. */
struct screen {
    char row[2 * LINE_MAX_BYTES];
    size_t len, at;
};

static void put_char(struct screen *s, char c)
{
    if (s->at == s->len) {
        s->len++;
    }
    s->row[s->at++] = c;
}

static void show(struct screen *s, struct text *out)
{
    for (size_t i = 0; i < out->len; i++) {
        unsigned n;
        char kind;
        if (sscanf(out->p + i, "\033[%u%c", &n, &kind) == 2) {
            assert_true(kind == 'C' || kind == 'D');
            assert_true(kind == 'C' ? s->at + n <= s->len : n <= s->at);
            s->at = kind == 'C' ? s->at + n : s->at - n;
            i += (size_t)snprintf(NULL, 0, "\033[%u%c", n, kind) - 1;
        } else if (strncmp(out->p + i, "\033[K", 3) == 0) {
            s->len = s->at;
            i += 2;
        } else if (out->p[i] == '\r') {
            s->at = 0;
        } else if (out->p[i] == '\n') {
            s->len = s->at = 0;
        } else if (out->p[i] != '\a') {
            put_char(s, out->p[i]);
        }
    }
    text_free(out);
}

static void words_for(void *owner, const char *line, struct text *words)
{
    static const char *const all[] = { "info", "in", "quit", "query" };
    const char *word = strrchr(line, ' ') ? strrchr(line, ' ') + 1 : line;
    (void)owner;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (strncmp(all[i], word, strlen(word)) == 0) {
            text_add(words, "%s ", all[i]);
        }
    }
}

struct bed {
    struct line_edit l;
    struct screen s;
};

static const char *type(struct bed *b, const char *keys)
{
    const char *line = NULL;
    for (const char *k = keys; *k; k++) {
        const char *done = line_edit_byte(&b->l, *k);
        line = done ? done : line;
        show(&b->s, &b->l.out);
    }
    return line;
}

static void shows(struct bed *b, const char *text, size_t cursor)
{
    assert_int_equal(b->s.len, strlen(text));
    assert_memory_equal(b->s.row, text, b->s.len);
    assert_int_equal(b->s.at, cursor);
}

static int set_up(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    b->l.prompt = "";
    b->l.complete = words_for;
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bed *b = *state;
    line_edit_free(&b->l);
    free(b);
    return 0;
}

#define UP "\033[A"
#define DOWN "\033[B"
#define RIGHT "\033[C"
#define LEFT "\033[D"

static void test_line_edit_when_keys_move_and_delete_then_line_and_terminal_agree(void **state)
{
    static const struct {
        const char *keys, *line;
        size_t cursor;
    } cases[] = {
        { "info", "info", 4 },
        { "inxfo" LEFT LEFT "\177", "info", 2 },
        { "nfo\001i", "info", 1 },
        { "info\033[H\005!", "info!", 5 },
        { "info x\027\027", "", 0 },
        { "abc def\027x", "abc x", 5 },
        { "abcdef" LEFT LEFT "\013", "abcd", 4 },
        { "abcdef" LEFT LEFT "\025", "ef", 0 },
        { "abc" LEFT "\033[3~", "ab", 2 },
        { "abc\033[1~\033[3~\004", "c", 0 },
        { "\177\004" LEFT RIGHT "a", "a", 1 },
        { "ab\033OD\033OC\033OH\033OFc", "abc", 3 },
        { "a\033[1;5Db", "ba", 1 }, /* control and cursor left */
        { "ab\033[99~\033x\033[Zc", "abc", 3 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct bed *b = *state;
        assert_null(type(b, cases[i].keys));
        shows(b, cases[i].line, cases[i].cursor);
        assert_string_equal(type(b, "\r"), cases[i].line);
    }
}

static void
test_line_edit_when_character_has_several_bytes_then_it_moves_and_goes_whole(void **state)
{
    struct bed *b = *state;
    assert_string_equal(type(b, "a\xc3\xa9\xe2\x82\xac" LEFT LEFT "x\r"), "ax\xc3\xa9\xe2\x82\xac");
    assert_string_equal(type(b, "a\xc3\xa9\xe2\x82\xac\177\177\r"), "a");
}

static void test_line_edit_when_lines_end_then_cr_lf_is_one_end(void **state)
{
    struct bed *b = *state;
    assert_string_equal(type(b, "one\r"), "one");
    assert_null(type(b, "\n"));
    assert_string_equal(type(b, "two\n"), "two");
    assert_string_equal(type(b, "\n"), "");
    assert_null(type(b, "half\003"));
    assert_string_equal(type(b, "whole\r\n"), "whole");
}

static void test_line_edit_when_looking_back_then_history_comes_and_goes(void **state)
{
    struct bed *b = *state;
    type(b, "one\rtwo\rtwo\r\r");
    assert_null(type(b, UP UP UP));
    shows(b, "one", 3);
    type(b, DOWN);
    shows(b, "two", 3);
    type(b, DOWN DOWN);
    shows(b, "", 0);
    assert_string_equal(type(b, "\020!\r"), "two!");
    assert_string_equal(type(b, UP "\r"), "two!");
    for (int i = 0; i < 3 * LINE_HISTORY; i++) {
        char line[16];
        snprintf(line, sizeof(line), "line%d\r", i);
        type(b, line);
    }
    for (int i = 0; i < 2 * LINE_HISTORY; i++) {
        type(b, UP);
    }
    shows(b, "line128", 7);
}

static void test_line_edit_when_tab_then_what_is_common_is_filled_in(void **state)
{
    struct bed *b = *state;
    type(b, "qui\t");
    shows(b, "quit ", 5);
    type(b, "\025i\t");
    shows(b, "in", 2);
    type(b, "\tf\t");
    shows(b, "info ", 5);
    type(b, "que\t");
    shows(b, "info query ", 11);
    type(b, "zz\t");
    shows(b, "info query zz", 13);
}

static void test_line_edit_when_line_is_too_long_then_the_rest_is_refused_with_a_bell(void **state)
{
    struct bed *b = *state;
    for (int i = 0; i < LINE_MAX_BYTES + 10; i++) {
        line_edit_byte(&b->l, 'x');
        text_free(&b->l.out);
    }
    line_edit_byte(&b->l, 'y');
    assert_string_equal(b->l.out.p, "\a");
    assert_int_equal(strlen(line_edit_byte(&b->l, '\r')), LINE_MAX_BYTES);
}

/* Any bytes at all: the terminal's row stays what the line is, and nothing runs over. */
static void test_line_edit_when_keys_are_random_then_line_and_terminal_agree(void **state)
{
    struct bed *b = *state;
    static const char keys[] =
        "ab \001\002\004\005\006\010\t\013\016\020\025\027\033[ABCDHF~134O;\r";
    uint32_t r = 1;
    for (int i = 0; i < 200000; i++) {
        r = r * 1664525 + 1013904223;
        char key[2] = { keys[(r >> 16) % (sizeof(keys) - 1)], 0 };
        type(b, key);
        assert_int_equal(b->s.len, b->l.len);
        assert_memory_equal(b->s.row, b->l.line, b->l.len);
        assert_int_equal(b->s.at, b->l.at);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_line_edit_when_keys_move_and_delete_then_line_and_terminal_agree),
        CASE(test_line_edit_when_character_has_several_bytes_then_it_moves_and_goes_whole),
        CASE(test_line_edit_when_lines_end_then_cr_lf_is_one_end),
        CASE(test_line_edit_when_looking_back_then_history_comes_and_goes),
        CASE(test_line_edit_when_tab_then_what_is_common_is_filled_in),
        CASE(test_line_edit_when_line_is_too_long_then_the_rest_is_refused_with_a_bell),
        CASE(test_line_edit_when_keys_are_random_then_line_and_terminal_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
