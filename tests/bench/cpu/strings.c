/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/strings.c - words: splitting, hashing, searching, comparing, byte by byte. */
#include "bench.h"

#include <string.h>

static const char NAME[] = "strings";
enum { LEN = 200000 };
static char text[LEN + 1];

/* Own functions: the library's would choose vector instructions by the processor. */
static size_t length(const char *s)
{
    size_t n = 0;
    while (s[n]) {
        n++;
    }
    return n;
}

static int differ(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a - *b;
}

static const char *find(const char *s, const char *what)
{
    size_t n = length(what);
    for (; *s; s++) {
        size_t i = 0;
        while (i < n && s[i] == what[i]) {
            i++;
        }
        if (i == n) {
            return s;
        }
    }
    return NULL;
}

static uint64_t words(void)
{
    uint64_t sum = 0;
    char word[64], before[64] = "";
    for (const char *p = text; *p;) {
        size_t n = 0;
        uint32_t h = 2166136261u;
        while (*p && *p != ' ' && n < 63) {
            h = (h ^ (uint8_t)*p) * 16777619u;
            word[n++] = (char)(*p++ ^ 0x20);
        }
        word[n] = 0;
        sum += h + (differ(word, before) > 0);
        for (size_t i = 0; i <= n; i++) {
            before[i] = word[i];
        }
        p += *p == ' ';
    }
    return sum;
}

static uint64_t kernel(void)
{
    uint64_t seed = 99, sum = 0;
    for (int i = 0; i < LEN; i++) {
        uint64_t r = bench_random(&seed) >> 32;
        text[i] = r % 6 ? (char)('a' + r % 7) : ' ';
    }
    for (int i = 0; i < 12; i++) {
        const char *p = find(text, "abcdefga");
        sum = sum * 31 + words() + (p ? (uint64_t)(p - text) : 0);
        text[i * 100] = 'z';
    }
    return sum;
}
