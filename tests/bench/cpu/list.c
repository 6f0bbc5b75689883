/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/list.c - a linked list through 256 KiB in random order: each load waits for the last. */
#include "bench.h"

static const char NAME[] = "list";
enum { N = 4096, ROUNDS = 1500 };
static struct node {
    struct node *next;
    uint64_t value, room[6];
} node[N];

static void shuffle(uint32_t order[N])
{
    uint64_t seed = 88172645463325252ull;
    for (uint32_t i = 0; i < N; i++) {
        order[i] = i;
    }
    for (uint32_t i = N - 1; i > 0; i--) {
        uint32_t k = (uint32_t)(bench_random(&seed) % (i + 1)), t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
}

static uint64_t kernel(void)
{
    static uint32_t order[N];
    shuffle(order);
    for (uint32_t i = 0; i < N; i++) {
        node[order[i]].next = &node[order[(i + 1) % N]];
        node[i].value = i;
    }
    uint64_t sum = 0;
    const struct node *p = node;
    for (uint32_t i = 0; i < N * ROUNDS; i++) {
        sum = sum * 3 + p->value;
        p = p->next;
    }
    return sum;
}
