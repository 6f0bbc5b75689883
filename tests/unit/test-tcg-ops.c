/* SPDX-License-Identifier: MIT */
/* tests/unit/test-tcg-ops.c - every arithmetic operation of the IR, in both engines, with and without
 * passes, against tcg/eval.h; operands in every kind of place. */
#include "tests/unit/tcg-rig.h"

/* What the next block consists of: one operation between a load of F and an EXIT. */
static struct {
    uint8_t op, size;
    struct ir_arg dst, dst2, a, b, c;
    int64_t imm;
    bool temps; /* operands and result go through temporaries */
} now;

static struct ir_arg via_temp(struct ir_block *b, struct ir_arg a)
{
    if (!now.temps || a.kind != IR_GPR || a.high) {
        return a;
    }
    struct ir_arg t = ir_temp(b);
    ir_emit(b, IR_MOV, 8, t, a, ir_none());
    return t;
}

static void build_one(struct ir_block *b, const struct tb_key *key)
{
    (void)key;
    ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = (int64_t)key->pc;
    struct ir_arg x = via_temp(b, now.a), y = via_temp(b, now.b), z = via_temp(b, now.c);
    struct ir_arg dst = now.dst;
    if (now.temps && dst.kind == IR_GPR && !dst.high) {
        dst = ir_temp(b);
    }
    struct ir_op *o = ir_emit(b, now.op, now.size, dst, x, y);
    o->c = z;
    o->imm = now.imm;
    o->dst2 = now.dst2;
    if (dst.kind == IR_TEMP) {
        ir_emit(b, IR_MOV, now.size, now.dst, dst, ir_none());
    }
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
    b->live_out = F_ALL;
}

static uint64_t *place(uint64_t gpr[16], const struct ir_arg *a)
{
    return &gpr[a->num];
}

static uint64_t read_place(uint64_t gpr[16], const struct ir_arg *a)
{
    if (a->kind == IR_CONST) {
        return (uint64_t)a->value;
    }
    return a->kind == IR_GPR ? *place(gpr, a) >> (a->high ? 8 : 0) : 0;
}

static void write_place(uint64_t gpr[16], const struct ir_arg *a, unsigned size, uint64_t v)
{
    if (a->kind != IR_GPR) {
        return;
    }
    uint64_t *p = place(gpr, a), mask = ev_mask(size);
    if (a->high) {
        *p = (*p & ~0xff00ull) | (v & 0xff) << 8;
    } else {
        *p = size >= 4 ? v & mask : (*p & ~mask) | (v & mask);
    }
}

/* Flags that the architecture leaves undefined: not compared. */
static uint32_t undefined_flags(uint64_t count)
{
    unsigned n = (unsigned)count & (now.size == 8 ? 63 : 31);
    switch (now.op) {
    case IR_AND:
    case IR_OR:
    case IR_XOR:
        return F_AF;
    case IR_ANDN:
    case IR_BLSR:
    case IR_BLSI:
    case IR_BZHI:
        return F_AF | F_PF;
    case IR_BLSMSK:
        return F_AF | F_PF;
    case IR_BEXTR:
        return F_AF | F_PF | F_SF;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
        return F_AF | (n != 1 ? F_OF : 0) | (n >= now.size * 8u ? F_CF : 0);
    case IR_ROL:
    case IR_ROR:
    case IR_RCL:
    case IR_RCR:
        return n != 1 ? F_OF : 0;
    case IR_SHLD:
    case IR_SHRD:
        return F_AF | (n != 1 ? F_OF : 0) | (n > now.size * 8u ? F_ALL : 0);
    case IR_IMUL:
    case IR_MULU2:
    case IR_MULS2:
        return F_SF | F_ZF | F_AF | F_PF;
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
        return F_OF | F_SF | F_AF | F_PF;
    case IR_BSF:
    case IR_BSR:
        return F_ALL & ~F_ZF;
    case IR_LZCNT:
    case IR_TZCNT:
        return F_OF | F_SF | F_AF | F_PF;
    default:
        return 0;
    }
}

static void check_one(struct rig *r, const char *way)
{
    uint64_t gpr[16];
    for (unsigned i = 0; i < 16; i++) {
        gpr[i] = r->cpu->gpr[i] = rig_value();
    }
    uint32_t flags = (uint32_t)rig_random() & F_ALL;
    r->cpu->flags = flags;
    uint64_t a = read_place(gpr, &now.a), b = read_place(gpr, &now.b), c = read_place(gpr, &now.c);
    struct ir_val v =
        ir_eval(now.op, now.size, a, b, now.op == IR_CRC32 ? (uint64_t)now.imm : c, flags);
    write_place(gpr, &now.dst, now.size, v.lo);
    write_place(gpr, &now.dst2, now.size, v.hi);
    rig_build = build_one;
    assert_int_equal(rig_run(r), TCG_EXIT_BLOCK);
    uint64_t count = now.op == IR_SHLD || now.op == IR_SHRD ? c : b;
    uint32_t compare = F_ALL & ~undefined_flags(count);
    bool wide = (now.op == IR_SHLD || now.op == IR_SHRD) && now.size == 2 && (count & 31) > 16;
    bool same = !memcmp(gpr, r->cpu->gpr, sizeof(gpr)) || wide;
    if (!same || ((v.flags ^ r->cpu->flags) & compare)) {
        struct ir_block *ir = calloc(1, sizeof(*ir));
        ir_block_init(ir, RIG_CODE);
        build_one(ir, &(struct tb_key){ .pc = RIG_CODE });
        ir_dump(ir, stdout);
        free(ir);
        for (unsigned i = 0; i < 16; i++) {
            if (gpr[i] != r->cpu->gpr[i]) {
                print_message("gpr %u: %llx, should be %llx\n", i,
                              (unsigned long long)r->cpu->gpr[i], (unsigned long long)gpr[i]);
            }
        }
        fail_msg("%s: %s.%u(%llx, %llx, %llx, flags %x): flags %x, should be %x", way,
                 ir_opdefs[now.op].name, now.size, (unsigned long long)a, (unsigned long long)b,
                 (unsigned long long)c, flags, (unsigned)r->cpu->flags, v.flags);
    }
}

static bool has_size(unsigned op, unsigned size)
{
    switch (op) {
    case IR_CRC32:
        return size == 4;
    case IR_ZX8:
    case IR_SX8:
        return size > 1;
    case IR_ZX16:
    case IR_SX16:
        return size > 2;
    case IR_ZX32:
    case IR_SX32:
        return size > 4;
    case IR_BSWAP:
    case IR_ANDN:
    case IR_BLSR:
    case IR_BLSMSK:
    case IR_BLSI:
    case IR_BZHI:
    case IR_BEXTR:
    case IR_PDEP:
    case IR_PEXT:
    case IR_MULX:
    case IR_SHLX:
    case IR_SHRX:
    case IR_SARX:
    case IR_RORX:
    case IR_ADCX:
    case IR_ADOX:
        return size >= 4;
    case IR_IMUL:
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
    case IR_BSF:
    case IR_BSR:
    case IR_LZCNT:
    case IR_TZCNT:
    case IR_POPCNT:
    case IR_SHLD:
    case IR_SHRD:
        return size > 1;
    default:
        return true;
    }
}

static struct ir_arg random_register(unsigned size)
{
    struct ir_arg a = ir_gpr((unsigned)rig_random() & 15);
    if (size == 1 && a.num < 4 && rig_random() & 1) {
        a.high = true;
    }
    return a;
}

static struct ir_arg random_operand(unsigned size)
{
    if (rig_random() % 4 == 0) {
        return ir_const(ev_sx(rig_value(), size));
    }
    return random_register(size);
}

static unsigned input_size(unsigned op, unsigned size)
{
    switch (op) {
    case IR_ZX8:
    case IR_SX8:
        return 1;
    case IR_ZX16:
    case IR_SX16:
        return 2;
    case IR_ZX32:
    case IR_SX32:
        return 4;
    default:
        return size;
    }
}

static void choose_operands(unsigned op, unsigned size)
{
    memset(&now, 0, sizeof(now));
    now.op = (uint8_t)op;
    now.size = (uint8_t)size;
    unsigned n = ir_opdefs[op].inputs;
    if (op == IR_CLC || op == IR_STC || op == IR_CMC) {
        return;
    }
    now.dst = random_register(size);
    now.a = random_operand(input_size(op, size));
    if (rig_random() & 1 && now.dst.kind == IR_GPR) {
        now.a = now.dst; /* the usual form; a register of the wrong size for a byte source stays */
        now.a.high = now.dst.high && input_size(op, size) == 1;
    }
    if (n > 1) {
        now.b = random_operand(size);
        if (rig_random() & 1 && op >= IR_SHL && op <= IR_RCR) {
            now.b = ir_gpr(1);
        }
    }
    if (n > 2) {
        now.c = rig_random() & 1 ? ir_const((int64_t)(rig_random() & 63)) : random_operand(size);
    }
    if (op == IR_BT && rig_random() & 1) {
        now.dst = ir_none();
    }
    if (op == IR_MULU2 || op == IR_MULS2 || op == IR_MULX) {
        do {
            now.dst2 = random_register(size);
        } while (now.dst2.num == now.dst.num);
        if (op != IR_MULX && rig_random() & 1) { /* the usual form */
            now.dst = now.a = ir_gpr(0);
            now.dst2 = ir_gpr(size == 1 ? 0 : 2);
            now.dst2.high = size == 1;
        }
    } else if ((op == IR_ADD || op == IR_SUB || op == IR_AND) && rig_random() % 4 == 0) {
        now.dst = ir_none(); /* CMP, TEST */
    }
    now.imm = op == IR_CRC32 ? 1 << (rig_random() & 3) : 0;
    now.temps = rig_random() & 1;
    if (now.dst.kind == IR_NONE) {
        now.temps = false;
    }
}

static void test_every_operation_agrees_with_its_meaning(void **state)
{
    (void)state;
    for (unsigned w = 0; w < rig_ways_here(); w++) {
        struct rig r;
        rig_open(&r, &rig_ways[w]);
        for (unsigned op = IR_MOV; op <= IR_CMC; op++) {
            for (unsigned size = 1; size <= 8; size *= 2) {
                for (unsigned i = 0; ir_is_pure(op) && has_size(op, size) && i < 60; i++) {
                    choose_operands(op, size);
                    check_one(&r, rig_ways[w].name);
                }
            }
        }
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation_agrees_with_its_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
