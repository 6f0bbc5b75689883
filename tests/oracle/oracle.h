/* SPDX-License-Identifier: MIT */
/* tests/oracle/oracle.h - the differential test of the translator against the processor underneath.
 *
 *   generate.c --> struct test --> server.c: one process an engine, batches in shared memory
 *                                    |-- native.c   the processor itself
 *                                    '-- engine.c   the translator: JIT, JIT without passes, TCI
 *   compare.c: every engine's struct outcome against the native one, but for what is undefined
 *   text.c: one test as one line, for tests/oracle/regressions.txt
 *
 * A test is a few instructions in flat 64-bit user mode with a state before. Code lies in two pages
 * that are filled with INT3 otherwise, so that running out of the instructions ends the test; data
 * in two writable pages with a read-only one behind and nothing after that.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CODE_BASE 0x10000000ull
#define CODE_SIZE 0x2000u
#define DATA_BASE 0x20000000ull
#define DATA_SIZE 0x3000u     /* what can be read */
#define DATA_WRITABLE 0x2000u /* what can be written */
#define GS_BASE 0x1000ull
#define PATCH_AT (0x1000 - 128) /* of the data, the part that differs from test to test */
#define PATCH_SIZE 256u
#define MAX_CODE 96
#define MAX_INSNS 8

enum {
    FLAGS_ARITH = 0x8d5,
    FLAG_DF = 0x400,
    FLAG_NT = 0x4000,
    FLAG_AC = 0x40000,
    FLAG_ID = 0x200000
};
enum { VEC_COUNT = 16, X87_SIZE = 160 };

struct state {
    uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8.. */
    uint64_t rip, flags;
    uint64_t vec[VEC_COUNT][4];
    uint8_t
        x87[X87_SIZE]; /* the first bytes of an FXSAVE64 image; MXCSR and pointers are not used */
    uint32_t mxcsr;
};

struct test {
    struct state in;
    uint8_t code[MAX_CODE];
    uint16_t code_at; /* offset in the code pages */
    uint16_t code_len;
    uint8_t insns;
    uint8_t start[MAX_INSNS + 1]; /* offsets of the instructions in code, and the end */
    uint8_t patch[PATCH_SIZE];
};

enum { ENDED_INT3 = 3, ENDED_CRASH = 0x100, ENDED_HANG = 0x101, ENDED_UNSUPPORTED = 0x102 };
struct outcome {
    struct state out;
    uint32_t vector; /* exception that ended it; ENDED_* */
    uint32_t error;  /* code */
    uint64_t cr2;    /* with #PF */
    uint8_t data[DATA_WRITABLE];
};

/* ---- random numbers ---- */

struct rng {
    uint64_t s;
};
uint64_t rnd(struct rng *r);
static inline unsigned below(struct rng *r, unsigned n)
{
    return (unsigned)((rnd(r) >> 11) % n);
}
static inline bool chance(struct rng *r, unsigned percent)
{
    return below(r, 100) < percent;
}

/* ---- generate.c ---- */

/* Prepares the encodings of the sets named (comma-separated Zydis ISA extensions or instructions, NULL:
 * all); how many instructions. */
unsigned generate_init(const char *sets);
void generate(struct rng *r, struct test *t);
/* What the data pages hold: the same in every process, then the test's patch. */
void fill_data(uint8_t *data, const struct test *t); /* the writable part */
void fill_readonly(uint8_t *data);                   /* the rest; data: its address */
/* The flags an instruction surely writes: none when a count may be 0. */
uint32_t written_flags(const void *zydis_instruction, const void *zydis_operands);
/* Splits code into instructions again; false: not all of it decodes. */
bool decode_test(struct test *t);

/* ---- engines ---- */

enum engine_kind { ENGINE_NATIVE, ENGINE_JIT, ENGINE_JIT0, ENGINE_TCI, ENGINE_WRONG, ENGINES };
extern const char *const engine_names[ENGINES];
void native_init(bool wrong);
void native_run(const struct test *t, struct outcome *o, unsigned n);
void translator_init(enum engine_kind kind);
void translator_run(const struct test *t, struct outcome *o);

/* ---- server.c ---- */

#define BATCH 64
struct server;
struct server *server_start(enum engine_kind kind);
/* Runs n tests at once or one after the other; a crash or hang is an outcome of its test. */
void server_post(struct server *s, const struct test *t, unsigned n);
void server_wait(struct server *s, struct outcome *o);
void server_stop(struct server *s);

/* ---- compare.c ---- */

/* Some hypervisors tell a guest of a stack operand at a non-canonical address by #GP. With true that is
 * no difference to #SS. */
void compare_stack_faults_loosely(bool on);

/* What differs, as text; empty: nothing. */
void compare(enum engine_kind kind, const struct test *t, const struct outcome *want,
             const struct outcome *got, char *why, size_t len);

/* ---- text.c ---- */

void test_print(const struct test *t, char *line, size_t len);
bool test_parse(const char *line, struct test *t);
void test_default(struct test *t);
void disassemble(const struct test *t, char *text, size_t len);

#endif
