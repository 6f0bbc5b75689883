/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/interp.c - a bytecode machine with computed goto: an indirect jump an instruction. */
#include "bench.h"

static const char NAME[] = "interp";
enum { PUSH, ADD, XOR, MUL, DUP, SWAP, JNZ, DEC, LOAD, STORE, HALT };

static uint64_t run(const uint8_t *code, uint64_t n)
{
    static const void *const label[] = { &&push, &&add, &&xor_, &&mul,   &&dup, &&swap,
                                         &&jnz,  &&dec, &&load, &&store, &&halt };
    uint64_t stack[16], *sp = stack, local[4] = { n, 1, 0, 0 };
    const uint8_t *pc = code;
#define NEXT goto *label[*pc++]
    NEXT;
push:
    *sp++ = *pc++;
    NEXT;
add:
    sp--;
    sp[-1] += sp[0];
    NEXT;
xor_:
    sp--;
    sp[-1] ^= sp[0];
    NEXT;
mul:
    sp--;
    sp[-1] *= sp[0];
    NEXT;
dup:
    sp[0] = sp[-1];
    sp++;
    NEXT;
swap : {
    uint64_t t = sp[-1];
    sp[-1] = sp[-2];
    sp[-2] = t;
    NEXT;
}
jnz:
    pc = *--sp ? code + *pc : pc + 1;
    NEXT;
dec:
    local[*pc++]--;
    NEXT;
load:
    *sp++ = local[*pc++];
    NEXT;
store:
    local[*pc++] = *--sp;
    NEXT;
halt:
    return local[1];
}

static uint64_t kernel(void)
{
    static const uint8_t code[] = { LOAD, 1,   PUSH,  31, MUL, LOAD, 0,    ADD, DUP, PUSH, 7,   XOR,
                                    SWAP, ADD, STORE, 1,  DEC, 0,    LOAD, 0,   JNZ, 0,    HALT };
    return run(code, 800000);
}
