/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/mix.c - what small embedded programs do: linked lists, small integer matrices, a
 * state machine over text, CRC of the results. */
#include "bench.h"

static const char NAME[] = "mix";
enum { NODES = 400, DIM = 24, TEXT = 2000 };

struct node {
    struct node *next;
    int16_t key, val;
};

static uint16_t crc(uint16_t c, uint16_t v)
{
    for (int i = 0; i < 16; i++) {
        c = (uint16_t)((c ^ v) & 1 ? (c >> 1) ^ 0xa001 : c >> 1);
        v >>= 1;
    }
    return c;
}

static struct node *merge(struct node *a, struct node *b)
{
    struct node head, *t = &head;
    while (a && b) {
        struct node **from = a->key <= b->key ? &a : &b;
        t->next = *from;
        t = *from;
        *from = t->next;
    }
    t->next = a ? a : b;
    return head.next;
}

static struct node *sort(struct node *l)
{
    struct node *slow = l, *fast;
    if (!l || !l->next) {
        return l;
    }
    for (fast = l->next; fast && fast->next; fast = fast->next->next) {
        slow = slow->next;
    }
    struct node *half = slow->next;
    slow->next = NULL;
    return merge(sort(l), sort(half));
}

static uint16_t lists(uint64_t *seed)
{
    static struct node pool[NODES];
    uint16_t c = 0xffff;
    for (int i = 0; i < NODES; i++) {
        pool[i] = (struct node){ i + 1 < NODES ? &pool[i + 1] : NULL, (int16_t)bench_random(seed),
                                 (int16_t)i };
    }
    for (struct node *n = sort(pool); n; n = n->next) {
        c = crc(c, (uint16_t)n->val);
    }
    return c;
}

static uint16_t matrices(uint64_t *seed)
{
    static int16_t a[DIM][DIM], b[DIM][DIM];
    uint16_t c = 0;
    for (int i = 0; i < DIM * DIM; i++) {
        a[i / DIM][i % DIM] = (int16_t)bench_random(seed);
        b[i % DIM][i / DIM] = (int16_t)(a[i / DIM][i % DIM] >> 3);
    }
    for (int i = 0; i < DIM; i++) {
        for (int j = 0; j < DIM; j++) {
            int32_t s = 0;
            for (int k = 0; k < DIM; k++) {
                s += a[i][k] * b[k][j] >> 4;
            }
            c = crc(c, (uint16_t)s);
        }
    }
    return c;
}

/* Counts numbers, integers or with fractions, and what is none. */
static uint16_t states(uint64_t *seed)
{
    enum { START, SIGN, INT, FRAC, BAD, STATES } st = START;
    static const char letters[] = "0123456789+-.,,x";
    uint16_t count[STATES] = { 0 }, c = 0;
    for (int i = 0; i < TEXT; i++) {
        char ch = letters[bench_random(seed) >> 30 & 15];
        if (ch == ',') {
            count[st]++;
            st = START;
            continue;
        }
        switch (st) {
        case START:
            st = ch >= '0' && ch <= '9' ? INT : ch == '+' || ch == '-' ? SIGN : BAD;
            break;
        case SIGN:
            st = ch >= '0' && ch <= '9' ? INT : BAD;
            break;
        case INT:
            st = ch >= '0' && ch <= '9' ? INT : ch == '.' ? FRAC : BAD;
            break;
        case FRAC:
            st = ch >= '0' && ch <= '9' ? FRAC : BAD;
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < STATES; i++) {
        c = crc(c, count[i]);
    }
    return c;
}

static uint64_t kernel(void)
{
    uint64_t seed = 3, sum = 0;
    for (int i = 0; i < 250; i++) {
        sum = sum * 65537 + lists(&seed) + (uint64_t)matrices(&seed) * 3 +
              (uint64_t)states(&seed) * 5;
    }
    return sum;
}
