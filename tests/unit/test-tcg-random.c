/* SPDX-License-Identifier: MIT */
/* tests/unit/test-tcg-random.c - random blocks: arithmetic, memory, atomics, conditions, helpers and
 * branches mixed. The interpreter without passes is the reference; every other way must leave the same
 * registers, flags, memory and RIP, also when an access faults halfway. */
#include "tests/unit/tcg-rig.h"

static uint64_t block_seed;
static bool with_faults;

/* Operations whose flags are all defined. */
static const uint8_t alu_ops[] = { IR_ADD, IR_ADC, IR_SUB, IR_SBB, IR_INC, IR_DEC,
                                   IR_NEG, IR_NOT, IR_MOV, IR_ADD, IR_SUB };

struct maker {
    struct ir_block *b;
    struct ir_arg pool[8]; /* temporaries so far, of 8 bytes */
    unsigned n;
    struct ir_arg index; /* a register that holds little, or IR_NONE */
};

static unsigned rnd(unsigned n)
{
    return (unsigned)(rig_random() >> 20) % n;
}

static struct ir_arg any_gpr(void)
{
    unsigned n = rnd(3) ? rnd(16) : 12 + rnd(4); /* more of those without a home */
    return ir_gpr(n == 4 || n == 7 ? 12 : n);    /* RSP and RDI hold addresses */
}

static struct ir_arg input(struct maker *m)
{
    unsigned k = rnd(8);
    if (k == 0) {
        return ir_const((int32_t)rig_value());
    }
    if (k < 4 && m->n) {
        return m->pool[rnd(m->n)];
    }
    return any_gpr();
}

static struct ir_arg output(struct maker *m)
{
    if (rnd(2)) {
        return any_gpr();
    }
    struct ir_arg t = ir_temp(m->b);
    return t;
}

static void remember(struct maker *m, struct ir_arg a, unsigned size)
{
    if (a.kind == IR_TEMP && size == 8) {
        m->pool[m->n < 8 ? m->n++ : rnd(8)] = a;
    }
}

static unsigned any_size(void)
{
    return 1u << rnd(4);
}

static struct ir_mem place(struct maker *m)
{
    struct ir_mem p = { .base = ir_gpr(rnd(2) ? 4 : 7), .scale = 1, .addr_size = 8, .seg = -1 };
    p.disp = (int64_t)rnd(256) - 128;
    if (rnd(8) == 0) {
        p.disp = 4096 - (int64_t)rnd(16) - 0x800; /* across a page, by chance */
    }
    if (m->index.kind != IR_NONE) {
        p.index = m->index;
        p.scale = (uint8_t)(1u << rnd(4));
    } else if (rnd(4) == 0) {
        struct ir_arg t = ir_temp(m->b);
        ir_emit(m->b, IR_AND, 8, t, any_gpr(), ir_const(0x78));
        p.index = t;
        p.scale = (uint8_t)(1u << rnd(3));
    }
    if (with_faults && rnd(12) == 0) {
        p.disp += 0x40000000;
    }
    if (rnd(6) == 0) { /* known now; far ones do not fit in 32 bits */
        p.base = ir_none();
        p.disp +=
            RIG_BASE + (rnd(2) ? 0x2ff0 : 0x4800) + (with_faults && rnd(16) == 0 ? 1ll << 40 : 0);
    }
    if (rnd(6) == 0) {
        p.seg = 4;
    }
    return p;
}

static uint64_t helper_mix(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    cpu->gpr[3] ^= a + cpu->gpr[9];
    cpu->gpr[13]++;
    cpu->flags = (cpu->flags ^ b) & F_ALL;
    return a * 3 + b - c;
}
static const struct ir_helper mix = { "mix", helper_mix,
                                      IR_H_READS | IR_H_WRITES | IR_H_F_IN | IR_H_F_OUT };

static uint64_t helper_pure(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)cpu;
    return (a ^ b) + c;
}
static const struct ir_helper pure = { "pure", helper_pure, IR_H_PURE };

static void make_alu(struct maker *m)
{
    unsigned op = alu_ops[rnd(sizeof(alu_ops))], size = any_size();
    struct ir_arg a = input(m), b = ir_opdefs[op].inputs > 1 ? input(m) : ir_none();
    struct ir_arg d = op == IR_SUB && rnd(3) == 0 ? ir_none() : output(m);
    if (d.kind == IR_GPR && rnd(2)) {
        a = d;
    }
    ir_emit(m->b, op, size, d, a, b);
    remember(m, d, size);
}

static void make_shift(struct maker *m)
{
    static const uint8_t ops[] = { IR_SHL, IR_SHR, IR_SAR, IR_ROL, IR_ROR, IR_RCL, IR_RCR };
    unsigned op = ops[rnd(7)], size = any_size();
    struct ir_arg d = any_gpr();
    ir_emit(m->b, op, size, d, d, ir_const(1));
    ir_emit(m->b, IR_F_SET, 8, ir_none(), ir_const(0), ir_none())->imm = F_AF;
}

static void make_memory(struct maker *m)
{
    unsigned size = any_size(), k = rnd(4);
    struct ir_mem p = place(m);
    if (k == 0) {
        ir_emit(m->b, IR_ST, size, ir_none(), input(m), ir_none())->mem = p;
    } else if (k == 1) {
        struct ir_arg d = output(m);
        ir_emit(m->b, IR_LD, size, d, ir_none(), ir_none())->mem = p;
        remember(m, d, size);
    } else if (k == 2) {
        struct ir_arg d = output(m);
        struct ir_op *o = ir_emit(m->b, rnd(2) ? IR_LDZX : IR_LDSX, size, d, ir_none(), ir_none());
        o->mem = p;
        o->imm = size > 1 ? (int64_t)size / 2 : 1;
        remember(m, d, size);
    } else { /* a load that an operation takes from memory */
        struct ir_arg t = ir_temp(m->b), d = any_gpr();
        ir_emit(m->b, IR_LD, size, t, ir_none(), ir_none())->mem = p;
        ir_emit(m->b, alu_ops[rnd(4)], size, d, d, t);
    }
}

static void make_rmw(struct maker *m)
{
    unsigned size = any_size(), op = alu_ops[rnd(8)];
    struct ir_arg t = ir_temp(m->b), u = ir_temp(m->b);
    struct ir_arg b = ir_opdefs[op].inputs > 1 ? input(m) : ir_none();
    struct ir_mem p = place(m);
    p.flags = IR_MEM_RMW;
    ir_emit(m->b, IR_LD, size, t, ir_none(), ir_none())->mem = p;
    ir_emit(m->b, op, size, u, t, b);
    p.flags = 0;
    ir_emit(m->b, IR_ST, size, ir_none(), u, ir_none())->mem = p;
}

static void make_atomic(struct maker *m)
{
    static const uint8_t ops[] = { IR_ADD, IR_ADC, IR_SBB, IR_SUB, IR_INC, IR_DEC, IR_NEG, IR_NOT };
    unsigned size = any_size();
    struct ir_arg d = rnd(2) ? ir_none() : output(m);
    struct ir_mem p = place(m);
    struct ir_op *o;
    switch (rnd(4)) {
    case 0:
        d = output(m);
        o = ir_emit(m->b, IR_A_XCHG, size, d, input(m), ir_none());
        break;
    case 1:
        o = ir_emit(m->b, IR_A_CMPXCHG, size, d, rnd(4) ? ir_gpr(0) : any_gpr(), any_gpr());
        break;
    default:
        o = ir_emit(m->b, IR_A_RMW, size, d, ir_none(), ir_none());
        o->imm = ops[rnd(8)];
        o->b = ir_opdefs[o->imm].inputs > 1 ? input(m) : ir_none();
    }
    o->mem = p;
    if (o->dst.kind == IR_TEMP) {
        remember(m, o->dst, size);
    }
}

static void make_condition(struct maker *m)
{
    struct ir_arg d = output(m);
    unsigned size = any_size();
    if (rnd(2)) {
        ir_emit(m->b, IR_SETCC, size, d, ir_none(), ir_none())->cond = (uint8_t)rnd(16);
    } else {
        ir_emit(m->b, IR_CMOV, size, d, input(m), input(m))->cond = (uint8_t)rnd(16);
    }
    remember(m, d, size);
}

static void make_other(struct maker *m)
{
    struct ir_arg d = output(m);
    struct ir_mem p = place(m);
    struct ir_op *o;
    switch (rnd(8)) {
    case 0:
        ir_emit(m->b, IR_F_GET, 8, d, ir_none(), ir_none());
        break;
    case 1:
        ir_emit(m->b, IR_F_SET, 8, ir_none(), input(m), ir_none())->imm =
            rnd(2) ? F_ALL : F_ALL & rnd(4096);
        return;
    case 2:
        ir_emit(m->b, rnd(2) ? IR_STC : IR_CMC, 0, ir_none(), ir_none(), ir_none());
        return;
    case 3:
        o = ir_emit(m->b, IR_LEA, 8, d, ir_none(), ir_none());
        o->mem = (struct ir_mem){ .base = any_gpr(),
                                  .index = any_gpr(),
                                  .scale = 4,
                                  .disp = 77,
                                  .addr_size = rnd(2) ? 8 : 4,
                                  .seg = -1 };
        break;
    case 4:
    case 5:
        o = ir_emit(m->b, IR_CALL, 8, d, input(m), input(m));
        o->c = input(m);
        o->helper = rnd(2) ? &mix : &pure;
        break;
    case 6:
        ir_emit(m->b, IR_LINEAR, 8, d, ir_none(), ir_none())->mem = p;
        break;
    default:
        ir_emit(m->b, rnd(2) ? IR_ZX8 : IR_SX16, 8, d, any_gpr(), ir_none());
    }
    remember(m, d, 8);
}

static void next_instruction(struct maker *m, unsigned *at)
{
    ir_emit(m->b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + (int64_t)++ * at;
}

/* As several PUSH and POP do: accesses by a register, which moves each time. at: of the instruction so far. */
static void make_pushes(struct maker *m, unsigned *at)
{
    unsigned reg = rnd(2) ? 4 : 7;
    for (unsigned n = 1 + rnd(4); n; n--) {
        bool push = rnd(2);
        struct ir_mem p = { .base = ir_gpr(reg), .scale = 1, .addr_size = 8, .seg = -1 }, q = p;
        p.disp = push ? -8 : 0;
        q.disp = push ? -8 : 8;
        if (push) {
            struct ir_arg what = rnd(8) ? any_gpr() : ir_gpr(reg);
            ir_emit(m->b, IR_ST, 8, ir_none(), what, ir_none())->mem = p;
        } else {
            ir_emit(m->b, IR_LD, 8, any_gpr(), ir_none(), ir_none())->mem = p;
        }
        ir_emit(m->b, IR_LEA, 8, ir_gpr(reg), ir_none(), ir_none())->mem = q;
        if (n > 1) {
            next_instruction(m, at);
        }
    }
}

/* As a walk along a list does: fields beside a register, of which the last one goes into it, by itself, with an
 * operation, or while the field waits for its use. Then the register gets an address again. */
static void make_chain(struct maker *m, unsigned *at)
{
    struct ir_arg reg = ir_gpr(rnd(2) ? 4 : 7), t = ir_temp(m->b), d = any_gpr();
    struct ir_arg home = ir_const(RIG_BASE + (reg.num == 4 ? 0x2ff0 : 0x4800));
    struct ir_mem p = { .base = reg, .scale = 1, .addr_size = 8, .seg = -1 };
    p.disp = 8 * (int64_t)rnd(8);
    if (rnd(2)) {
        ir_emit(m->b, IR_LD, 8, any_gpr(), ir_none(), ir_none())->mem = p;
    } else {
        ir_emit(m->b, IR_ST, 8, ir_none(), any_gpr(), ir_none())->mem = p;
    }
    next_instruction(m, at);
    p.disp = 8 * (int64_t)rnd(8);
    unsigned k = rnd(4);
    ir_emit(m->b, IR_LD, 8, k ? t : reg, ir_none(), ir_none())->mem = p;
    if (k == 1) {
        ir_emit(m->b, IR_SUB, 8, reg, rnd(2) ? reg : d, t);
    } else if (k == 2) {
        ir_emit(m->b, IR_MOV, 8, reg, home, ir_none());
        ir_emit(m->b, IR_XOR, 8, d, d, t);
    } else if (k == 3) {
        ir_emit(m->b, IR_ADD, 8, d, d, t);
        next_instruction(m, at);
        struct ir_op *low = ir_emit(m->b, IR_LDZX, 4, reg, ir_none(), ir_none());
        low->mem = p;
        low->imm = 2;
    }
    next_instruction(m, at);
    ir_emit(m->b, IR_MOV, 8, reg, home, ir_none());
}

/* Half of the blocks may be left and begun at each instruction: nothing but registers and flags goes from
 * one to the next. The others are not grouped. */
static bool by_instruction(void)
{
    return block_seed >> 32 & 1;
}

/* The block begins with the instruction at pc. */
static void drop_before(struct ir_block *b, uint64_t pc)
{
    for (unsigned i = 0; i < b->n && !(b->op[i].op == IR_INSN && b->op[i].imm == (int64_t)pc);
         i++) {
        b->op[i] = (struct ir_op){ .op = IR_NOP };
    }
}

static void build_random(struct ir_block *b, const struct tb_key *key)
{
    if (key->pc - RIG_CODE >= 0x100) { /* where the branches go */
        ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
        return;
    }
    struct maker m = { .b = b };
    rig_seed = block_seed;
    unsigned n = 3 + rnd(20);
    for (unsigned i = 0; i < n; i++) {
        ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + (int64_t)i;
        m.n = by_instruction() ? 0 : m.n;
        m.index = ir_none();
        if (rnd(6) == 0) { /* and then an instruction that may use it */
            m.index = ir_gpr(8 + rnd(8));
            ir_emit(b, IR_AND, rnd(2) ? 8 : 4, m.index, any_gpr(), ir_const(0x78));
            ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + (int64_t)++i;
        }
        switch (rnd(11)) {
        case 0:
        case 1:
        case 2:
            make_alu(&m);
            break;
        case 3:
            make_shift(&m);
            break;
        case 4:
            make_memory(&m);
            break;
        case 5:
            make_rmw(&m);
            break;
        case 6:
            make_atomic(&m);
            break;
        case 7:
            make_condition(&m);
            break;
        case 8:
            make_pushes(&m, &i);
            break;
        case 9:
            make_chain(&m, &i);
            break;
        default:
            make_other(&m);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        b->exit[i].pc = RIG_CODE + 0x100 * (i + 1) - (rnd(2) ? 0x4000 : 0);
    }
    switch (rnd(4)) {
    case 0:
        ir_emit(b, IR_BRCC, 0, ir_none(), ir_none(), ir_none())->cond = (uint8_t)rnd(16);
        break;
    case 1:
        ir_emit(b, IR_BRNZ, 1, ir_none(), any_gpr(), ir_none());
        break;
    case 2:
        ir_emit(b, IR_JMP, 8, ir_none(), ir_const(RIG_CODE + 0x300), ir_none());
        break;
    default:
        ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
    }
    drop_before(b, key->pc);
}

struct result {
    uint64_t gpr[16], pc, flags;
    int raised;
    uint64_t fault;
    uint8_t mem[RIG_BYTES];
};

/* A target block leaves cpu->pc alone, so that it tells which way was taken only by the link. */
static void run_way(struct rig *r, uint64_t state_seed, struct result *res)
{
    rig_seed = state_seed;
    for (unsigned i = 0; i < 16; i++) {
        r->cpu->gpr[i] = rig_value();
    }
    /* in the middle of a page, at its end, on that of the code */
    static const uint64_t places[] = { 0x2800, 0x2fd8, 0x4800, 0x4fc0,
                                       RIG_CODE + 0x7c0 - RIG_BASE };
    r->cpu->gpr[4] = RIG_BASE + places[rig_random() % 5] + rig_random() % 64;
    r->cpu->gpr[7] = RIG_BASE + places[rig_random() % 5] + rig_random() % 64;
    r->cpu->seg_base[4] = 0x3000;
    r->cpu->flags = rig_random() & F_ALL;
    for (unsigned i = 0; i < RIG_BYTES; i += 8) {
        store_le(rig_mem + i, 8, rig_random());
    }
    r->c->no_tlb = (state_seed & 7) == 0;
    tcg_tlb_flush(r->cpu);
    r->c->fault = 0;
    rig_build = build_random;
    unsigned passes = r->t->opt.passes;
    r->t->opt.passes &= by_instruction() ? PASS_ALL : PASS_ALL & ~PASS_GROUP;
    rig_run(r);
    r->t->opt.passes = passes;
    memcpy(res->gpr, r->cpu->gpr, sizeof(res->gpr));
    res->pc = r->c->raised ? r->cpu->pc : 0;
    res->flags = r->cpu->flags;
    res->raised = r->c->raised;
    res->fault = r->c->fault;
    memcpy(res->mem, rig_mem, sizeof(res->mem));
}

static void compare(const struct result *a, const struct result *b, const struct rig_way *way)
{
    bool flags = a->flags != b->flags;
    if (a->raised && way->passes & PASS_DEADFLAGS) {
        flags = false; /* flags that the block would have overwritten may be old */
    }
    if (memcmp(a->gpr, b->gpr, sizeof(a->gpr)) || a->pc != b->pc || a->raised != b->raised ||
        a->fault != b->fault || memcmp(a->mem, b->mem, sizeof(a->mem)) || flags) {
        for (unsigned i = 0; i < 16; i++) {
            if (a->gpr[i] != b->gpr[i]) {
                print_message("gpr %u: %llx, should be %llx\n", i, (unsigned long long)b->gpr[i],
                              (unsigned long long)a->gpr[i]);
            }
        }
        for (unsigned i = 0; i < RIG_BYTES; i++) {
            if (a->mem[i] != b->mem[i]) {
                print_message("memory %x: %02x, should be %02x\n", RIG_BASE + i, b->mem[i],
                              a->mem[i]);
                break;
            }
        }
        struct ir_block *ir = calloc(1, sizeof(*ir));
        ir_block_init(ir, RIG_CODE);
        build_random(ir, &(struct tb_key){ .pc = RIG_CODE });
        ir_dump(ir, stdout);
        free(ir);
        fail_msg(
            "%s: seed %llx: raised %d at %llx fault %llx flags %llx; should be %d %llx %llx %llx",
            way->name, (unsigned long long)block_seed, b->raised, (unsigned long long)b->pc,
            (unsigned long long)b->fault, (unsigned long long)b->flags, a->raised,
            (unsigned long long)a->pc, (unsigned long long)a->fault, (unsigned long long)a->flags);
    }
}

static void run_many(unsigned count)
{
    struct rig rigs[RIG_WAYS];
    static struct result want, got;
    static const unsigned order[] = { 1, 0, 2, 3, 4 }; /* the reference first */
    for (unsigned w = 0; w < rig_ways_here(); w++) {
        rig_open(&rigs[w], &rig_ways[w]);
    }
    const char *only = getenv("RIG_SEED"), *more = getenv("RIG_COUNT");
    count = more ? (unsigned)atoi(more) : count;
    for (unsigned i = 0; i < count; i++) {
        uint64_t s = 0x9e3779b97f4a7c15ull * (i + 1) | 1;
        block_seed = only ? strtoull(only, NULL, 16) : s;
        run_way(&rigs[1], block_seed, &want);
        for (unsigned k = 1; k < rig_ways_here(); k++) {
            run_way(&rigs[order[k]], block_seed, &got);
            compare(&want, &got, &rig_ways[order[k]]);
        }
        if (only) {
            break;
        }
    }
    for (unsigned w = 0; w < rig_ways_here(); w++) {
        rig_close(&rigs[w]);
    }
}

static void test_random_blocks_agree_in_every_engine(void **state)
{
    (void)state;
    with_faults = false;
    run_many(3000);
}

static void test_random_blocks_that_fault_agree(void **state)
{
    (void)state;
    with_faults = true;
    run_many(3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_blocks_agree_in_every_engine),
        cmocka_unit_test(test_random_blocks_that_fault_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
