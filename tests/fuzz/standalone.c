/* SPDX-License-Identifier: MIT */
/* tests/fuzz/standalone.c - runs a fuzz target without libFuzzer: random inputs, or given files.
 *
 *   fuzz-NAME [-runs=N] [-seed=S] [-max_len=L]     N random inputs of up to L bytes
 *   fuzz-NAME FILE...                              each file once
 *
 * Inputs are random bytes with runs of 0x00 and 0xff and repeats of what went before, since plain
 * noise seldom says anything twice. On a crash the input lies in crash-input.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct options {
    uint64_t runs, seed;
    size_t max_len;
};

static uint8_t *input;
static size_t input_len;

static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void keep_input(int sig)
{
    FILE *f = fopen("crash-input", "wb");
    if (f) {
        fwrite(input, 1, input_len, f);
        fclose(f);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

/* One stretch of the input: noise, a constant, or a copy of earlier bytes. */
static void stretch(uint8_t *buf, size_t at, size_t n, uint64_t *s)
{
    uint64_t how = next(s) % 8;
    if (how == 0) {
        memset(buf + at, next(s) & 1 ? 0xff : 0, n);
    } else if (how < 3 && at >= n) {
        memmove(buf + at, buf + next(s) % (at - n + 1), n);
    } else {
        for (size_t i = 0; i < n; i++) {
            buf[at + i] = (uint8_t)(next(s) >> 24);
        }
    }
}

static void run_random(const struct options *o)
{
    uint64_t s = o->seed * 0x9e3779b97f4a7c15 + 1;
    for (uint64_t i = 0; i < o->runs; i++) {
        input_len = next(&s) % (o->max_len + 1);
        for (size_t at = 0, n; at < input_len; at += n) {
            n = 1 + next(&s) % 16;
            n = n < input_len - at ? n : input_len - at;
            stretch(input, at, n, &s);
        }
        /* a copy of the exact size: reading past it is for a sanitizer to see */
        uint8_t *exact = malloc(input_len ? input_len : 1);
        memcpy(exact, input, input_len);
        LLVMFuzzerTestOneInput(exact, input_len);
        free(exact);
    }
    printf("%llu inputs, seed %llu\n", (unsigned long long)o->runs, (unsigned long long)o->seed);
}

static int run_file(const char *path, size_t max_len)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    input_len = fread(input, 1, max_len, f);
    fclose(f);
    LLVMFuzzerTestOneInput(input, input_len);
    return 0;
}

static int take_option(struct options *o, const char *arg)
{
    unsigned long long v;
    char rest;
    if (sscanf(arg, "-runs=%llu%c", &v, &rest) == 1) {
        o->runs = v;
    } else if (sscanf(arg, "-seed=%llu%c", &v, &rest) == 1) {
        o->seed = v;
    } else if (sscanf(arg, "-max_len=%llu%c", &v, &rest) == 1) {
        o->max_len = (size_t)v;
    } else {
        fprintf(stderr, "unknown option %s\n", arg);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
    struct options o = { .runs = 1000, .seed = 1, .max_len = 2048 };
    int files = 0, rc = 0;
    for (int i = 1; i < argc && !rc; i++) {
        files += argv[i][0] != '-';
        rc = argv[i][0] == '-' ? take_option(&o, argv[i]) : 0;
    }
    if (rc) {
        return rc;
    }
    size_t room = files ? 16u << 20 : o.max_len;
    input = malloc(room ? room : 1);
    if (!input) {
        perror("malloc");
        return 1;
    }
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
        signal(deadly[i], keep_input);
    }
    if (!files) {
        run_random(&o);
    }
    for (int i = 1; i < argc; i++) {
        rc |= argv[i][0] != '-' ? run_file(argv[i], room) : 0;
    }
    free(input);
    return rc;
}
