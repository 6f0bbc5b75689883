/* SPDX-License-Identifier: MIT */
/* tests/unit/test-tcg-group.c - several accesses with one look-up: what each does must not show from
 * outside, wherever their bytes lie. The same five instructions run over a page's middle, its end, a
 * device, memory that must not be written, code, and an address that faults halfway. */
#include "tests/unit/tcg-rig.h"

enum { DATA = RIG_BASE + 0x2800, FAR = RIG_BASE + 0x5000, OUTSIDE = 0x900000 };

static unsigned translations;
static uint8_t far_flags; /* of the access in the middle */
static bool by_helper;    /* or a helper does it */

static struct ir_mem at(unsigned base, int64_t disp)
{
    return (
        struct ir_mem){ .base = ir_gpr(base), .scale = 1, .addr_size = 8, .seg = -1, .disp = disp };
}

static void load(struct ir_block *b, unsigned to, struct ir_mem m)
{
    ir_emit(b, IR_LD, 8, ir_gpr(to), ir_none(), ir_none())->mem = m;
}

static void store(struct ir_block *b, struct ir_mem m, unsigned from)
{
    ir_emit(b, IR_ST, 8, ir_none(), ir_gpr(from), ir_none())->mem = m;
}

static void move(struct ir_block *b, unsigned reg, int64_t by)
{
    ir_emit(b, IR_LEA, 8, ir_gpr(reg), ir_none(), ir_none())->mem = at(reg, by);
}

static uint64_t take_away(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    rig_of(cpu)->no_tlb = true;
    tcg_tlb_flush(cpu);
    return load_le(rig_mem + (FAR - RIG_BASE), 8);
}
static const struct ir_helper taker = { "take_away", take_away, IR_H_READS | IR_H_FAULTS };

static void load_far(struct ir_block *b)
{
    if (by_helper) {
        ir_emit(b, IR_CALL, 8, ir_gpr(1), ir_none(), ir_none())->helper = &taker;
        return;
    }
    struct ir_mem m = at(6, 0);
    m.flags = far_flags;
    load(b, 1, m);
}

/* mov rax, [rdi + 16]; push r13 by RDI; mov rcx, [rsi]; add [rdi + 32], rdx; pop r14 */
static void instruction(struct ir_block *b, unsigned n)
{
    struct ir_arg t = ir_temp(b), u = ir_temp(b);
    struct ir_mem rmw = at(7, 32);
    ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + (int64_t)n;
    switch (n) {
    case 0:
        load(b, 0, at(7, 16));
        break;
    case 1:
        store(b, at(7, -8), 13);
        move(b, 7, -8);
        break;
    case 2:
        load_far(b);
        break;
    case 3:
        rmw.flags = IR_MEM_RMW;
        ir_emit(b, IR_LD, 8, t, ir_none(), ir_none())->mem = rmw;
        ir_emit(b, IR_ADD, 8, u, t, ir_gpr(2));
        rmw.flags = 0;
        ir_emit(b, IR_ST, 8, ir_none(), u, ir_none())->mem = rmw;
        break;
    default:
        load(b, 14, at(7, 0));
        move(b, 7, 8);
    }
}

static void build(struct ir_block *b, const struct tb_key *key)
{
    unsigned n = (unsigned)(key->pc - RIG_CODE);
    translations++;
    do {
        instruction(b, n);
    } while (++n < 5 && !(key->cflags & TB_SINGLE));
    if (n < 5) {
        ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
        b->exit[0] = (struct ir_exit){ RIG_CODE + n, F_ALL };
    } else {
        ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
    }
}

enum { R13 = 0x1313, STORED = 0x4444, IN_FAR = 0x5555, TO_ADD = 0x100, SUMMAND = 0x22 };

static void fill(struct rig *r, uint64_t rdi, uint64_t rsi)
{
    memset(rig_mem, 0, sizeof(rig_mem));
    memset(r->cpu->gpr, 0, sizeof(r->cpu->gpr));
    store_le(rig_mem + (rdi + 16 - RIG_BASE), 8, STORED);
    store_le(rig_mem + (rdi + 24 - RIG_BASE), 8, TO_ADD);
    if (rsi != OUTSIDE) {
        store_le(rig_mem + (rsi - RIG_BASE), 8, IN_FAR);
    }
    r->cpu->gpr[7] = rdi;
    r->cpu->gpr[6] = rsi;
    r->cpu->gpr[2] = SUMMAND;
    r->cpu->gpr[13] = R13;
    r->c->loads = r->c->stores = 0;
    r->c->raised = 0;
    r->cpu->pc = RIG_CODE;
}

static void expect_all_done(struct rig *r, uint64_t rdi)
{
    assert_int_equal(r->c->raised, 0);
    assert_int_equal(r->cpu->gpr[0], STORED);
    assert_int_equal(r->cpu->gpr[1], IN_FAR);
    assert_int_equal(r->cpu->gpr[14], R13);
    assert_int_equal(r->cpu->gpr[7], rdi);
    assert_int_equal(load_le(rig_mem + (rdi - 8 - RIG_BASE), 8), R13);
    assert_int_equal(load_le(rig_mem + (rdi + 24 - RIG_BASE), 8), TO_ADD + SUMMAND);
}

static void open_group(struct rig *r, uint64_t rdi, uint64_t rsi)
{
    rig_build = build;
    far_flags = 0;
    by_helper = false;
    r->c->device = r->c->read_only = 0;
    r->c->no_tlb = false;
    tcg_tlb_flush(r->cpu);
    translations = 0;
    tcg_flush(r->t);
    fill(r, rdi, rsi);
}

/* Runs it twice; the second time nothing is translated. */
static void run_twice(struct rig *r, uint64_t rdi, uint64_t rsi, unsigned want)
{
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, rdi);
    fill(r, rdi, rsi);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, rdi);
    assert_int_equal(translations, want);
}

static bool grouping(const struct rig *r)
{
    return r->t->jit && r->t->opt.passes & PASS_GROUP;
}

/* mov rax, [one]; add [other], rdx at addresses that are known, with RDI somewhere else */
static void build_known(struct ir_block *b, const struct tb_key *key)
{
    struct ir_arg t = ir_temp(b), u = ir_temp(b);
    struct ir_mem m = { .scale = 1, .addr_size = 8, .seg = -1, .disp = DATA + 24 };
    translations++;
    if (key->pc == RIG_CODE) {
        ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE;
        m.disp = DATA + 16;
        load(b, 0, m);
    }
    ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + 4;
    m.disp = DATA + 24;
    m.flags = IR_MEM_RMW;
    ir_emit(b, IR_LD, 8, t, ir_none(), ir_none())->mem = m;
    ir_emit(b, IR_ADD, 8, u, t, ir_gpr(2));
    m.flags = 0;
    ir_emit(b, IR_ST, 8, ir_none(), u, ir_none())->mem = m;
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

static void test_a_known_address_is_found_and_missed_alike(struct rig *r)
{
    for (unsigned device = 0; device < 2; device++) {
        open_group(r, DATA, FAR);
        rig_build = build_known;
        r->c->device = device ? DATA & ~0xfffull : 0;
        for (unsigned again = 0; again < 2; again++) {
            fill(r, DATA, FAR);
            assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
            assert_int_equal(r->cpu->gpr[0], STORED);
            assert_int_equal(load_le(rig_mem + (DATA + 24 - RIG_BASE), 8), TO_ADD + SUMMAND);
            assert_true(device ? r->c->loads == 2 : r->c->loads <= 1 - again);
        }
        assert_int_equal(translations, device && grouping(r) ? 2 : 1);
    }
}

/* mov rax, [where the page ends] */
static void build_known_across(struct ir_block *b, const struct tb_key *key)
{
    struct ir_mem m = { .scale = 1, .addr_size = 8, .seg = -1, .disp = RIG_BASE + 0x3000 - 4 };
    ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = (int64_t)key->pc;
    load(b, 0, m);
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

static void test_a_known_address_across_two_pages_is_left_to_c(struct rig *r)
{
    open_group(r, DATA, RIG_BASE + 0x3000 - 4);
    rig_build = build_known_across;
    for (unsigned times = 1; times < 4; times++) {
        r->cpu->pc = RIG_CODE;
        assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
        assert_int_equal(r->cpu->gpr[0], IN_FAR);
        assert_int_equal(r->c->loads, times);
    }
}

enum { MASK = 0x3f, TABLE_FIELD = 16, TABLE_BYTES = TABLE_FIELD + 256 * 8 };

/* movzx eax, cl; mov rdx, [rdi + rax * 8 + 16]; and ebx, 63; mov [rsi + rbx * 4], edx */
static void build_table(struct ir_block *b, const struct tb_key *key)
{
    struct ir_mem from = at(7, TABLE_FIELD), to = at(6, 0);
    unsigned first = (unsigned)(key->pc - RIG_CODE);
    translations++;
    from.index = ir_gpr(0);
    from.scale = 8;
    to.index = ir_gpr(3);
    to.scale = 4;
    for (unsigned n = first; n < 4; n++) {
        ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + n;
        if (n == 0) {
            ir_emit(b, IR_ZX8, 4, ir_gpr(0), ir_gpr(1), ir_none());
        } else if (n == 1) {
            load(b, 2, from);
        } else if (n == 2) {
            ir_emit(b, IR_AND, 4, ir_gpr(3), ir_gpr(3), ir_const(MASK));
        } else {
            ir_emit(b, IR_ST, 4, ir_none(), ir_gpr(2), ir_none())->mem = to;
        }
    }
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

static void look_in_table(struct rig *r, uint64_t table, uint64_t to, unsigned i)
{
    uint64_t value = table * 3 + i, at = to + (i & MASK) * 4;
    memset(rig_mem, 0xee, sizeof(rig_mem));
    store_le(rig_mem + (table + TABLE_FIELD + i * 8 - RIG_BASE), 8, value);
    r->cpu->gpr[7] = table;
    r->cpu->gpr[6] = to;
    r->cpu->gpr[1] = 0xabcdef00u | i;
    r->cpu->gpr[3] = 0xfedc00ull << 32 | 0x40 | i;
    r->cpu->pc = RIG_CODE;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    assert_int_equal(r->cpu->gpr[2], value);
    assert_int_equal(load_le(rig_mem + (at - RIG_BASE), 4), (uint32_t)value);
    assert_int_equal(load_le(rig_mem + (at + 4 - RIG_BASE), 4), 0xeeeeeeee);
}

static void test_a_table_is_looked_up_where_it_begins(struct rig *r)
{
    static const unsigned index[] = { 0, 1, 62, 63, 64, 255 };
    uint64_t last = RIG_BASE + 0x3000 - TABLE_BYTES; /* that lies on one page */
    for (unsigned cross = 0; cross < 2; cross++) {
        for (unsigned i = 0; i < sizeof(index) / sizeof(index[0]); i++) {
            open_group(r, DATA, FAR);
            rig_build = build_table;
            look_in_table(r, last + cross * 8, FAR, index[i]);
            look_in_table(r, RIG_BASE + 0x2000, FAR + 8, index[i]);
            assert_int_equal(translations, 1);
            look_in_table(r, last + 8, FAR, index[i]); /* not what it was made for */
            look_in_table(r, last, FAR + 0x1000 - 256 + 4, index[i]);
            assert_int_equal(translations, !grouping(r) ? 1 : cross ? 2 : 3);
        }
    }
}

/* push rax; push rcx; mov rdx, [rsi]; pop r8; pop r9; mov r10, rdi, all by RDI */
static void build_pushes(struct ir_block *b, const struct tb_key *key)
{
    static const int moves[] = { -8, -8, 0, 8, 8 };
    static const unsigned regs[] = { 0, 1, 2, 8, 9 };
    translations++;
    for (unsigned n = (unsigned)(key->pc - RIG_CODE); n < 5; n++) {
        ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + n;
        if (moves[n] < 0) {
            store(b, at(7, -8), regs[n]);
        } else {
            load(b, regs[n], at(n == 2 ? 6 : 7, 0));
        }
        if (moves[n]) {
            move(b, 7, moves[n]);
        }
        if (key->cflags & TB_SINGLE) {
            b->exit[0] = (struct ir_exit){ RIG_CODE + n + 1, F_ALL };
            ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
            return;
        }
    }
    ir_emit(b, IR_MOV, 8, ir_gpr(10), ir_gpr(7), ir_none());
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

static void begin_pushes(struct rig *r, uint64_t rdi, uint64_t rsi)
{
    open_group(r, rdi, rsi);
    rig_build = build_pushes;
    r->cpu->gpr[0] = 0x1111;
    r->cpu->gpr[1] = 0x2222;
}

static void test_a_pointer_that_moves_between_is_right_where_it_is_seen(struct rig *r)
{
    static const uint64_t places[] = { DATA, RIG_BASE + 0x3000 + 8, RIG_BASE + 0x3000 };
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        begin_pushes(r, places[i], FAR);
        assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
        assert_int_equal(r->cpu->gpr[7], places[i]);
        assert_int_equal(r->cpu->gpr[10], places[i]);
        assert_int_equal(r->cpu->gpr[2], IN_FAR);
        assert_int_equal(r->cpu->gpr[8], 0x2222);
        assert_int_equal(r->cpu->gpr[9], 0x1111);
        begin_pushes(r, places[i], OUTSIDE);
        assert_int_equal(tcg_run(r->cpu), TCG_EXIT_RAISED);
        assert_int_equal(r->cpu->gpr[7], places[i] - 16);
        assert_int_equal(load_le(rig_mem + (places[i] - 16 - RIG_BASE), 8), 0x2222);
    }
}

/* mov rax, [rdi + 8]; add rcx, [rdi + 16]; mov rdi, [rdi] */
static void build_walk(struct ir_block *b, const struct tb_key *key)
{
    translations++;
    for (unsigned n = (unsigned)(key->pc - RIG_CODE); n < 3; n++) {
        ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + n;
        if (n == 1) {
            struct ir_arg t = ir_temp(b);
            ir_emit(b, IR_LD, 8, t, ir_none(), ir_none())->mem = at(7, 16);
            ir_emit(b, IR_ADD, 8, ir_gpr(1), ir_gpr(1), t);
        } else {
            load(b, n == 0 ? 0 : 7, at(7, n == 0 ? 8 : 0));
        }
    }
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

static void put_node(uint64_t node, uint64_t next, uint64_t a, uint64_t b)
{
    store_le(rig_mem + (node - RIG_BASE), 8, next);
    store_le(rig_mem + (node + 8 - RIG_BASE), 8, a);
    store_le(rig_mem + (node + 16 - RIG_BASE), 8, b);
}

/* The last node but one lies on two pages; the last one's place is none. */
static void test_a_walk_along_a_list_takes_each_node_s_fields(struct rig *r)
{
    static const uint64_t node[] = { DATA, FAR, RIG_BASE + 0x3000 - 16, OUTSIDE };
    open_group(r, DATA, FAR);
    rig_build = build_walk;
    uint64_t sum = 0;
    for (unsigned i = 0; i < 3; i++) {
        put_node(node[i], node[i + 1], 100 + i, 1000 << i);
    }
    for (unsigned i = 0; i < 3; i++) {
        r->cpu->pc = RIG_CODE;
        assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
        sum += 1000 << i;
        assert_int_equal(r->cpu->gpr[0], 100 + i);
        assert_int_equal(r->cpu->gpr[1], sum);
        assert_int_equal(r->cpu->gpr[7], node[i + 1]);
        assert_int_equal(translations, grouping(r) && i == 2 ? 2 : 1);
    }
    r->cpu->pc = RIG_CODE;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_RAISED);
    assert_int_equal(r->cpu->gpr[1], sum);
    assert_int_equal(r->cpu->gpr[7], OUTSIDE);
}

/* Runs on until there is another translation, or for as long as one should take to come. */
static void run_until_made_anew(struct rig *r)
{
    unsigned so_far = translations;
    for (unsigned i = 0; i < 1000000 && translations == so_far; i++) {
        r->cpu->pc = RIG_CODE;
        r->cpu->gpr[1] = i;
        r->cpu->gpr[3] = i;
        assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    }
}

static void test_a_table_that_never_lies_on_one_page_is_one_no_longer(struct rig *r)
{
    uint64_t last = RIG_BASE + 0x3000 - TABLE_BYTES;
    open_group(r, DATA, FAR);
    rig_build = build_table;
    look_in_table(r, last, FAR, 1);
    look_in_table(r, last + 8, FAR, 1);
    assert_int_equal(translations, grouping(r) ? 2 : 1);
    if (grouping(r)) {
        run_until_made_anew(r);
        assert_int_equal(translations, 3);
    }
    for (unsigned i = 0; i < 1000; i++) {
        look_in_table(r, last + i % 2 * 8, FAR, i % 256);
    }
    assert_int_equal(translations, grouping(r) ? 3 : 1);
}

static void test_a_group_that_never_lies_on_one_page_is_one_no_longer(struct rig *r)
{
    uint64_t across = RIG_BASE + 0x3000 - 12;
    open_group(r, across, FAR);
    run_twice(r, across, FAR, grouping(r) ? 2 : 1);
    if (!grouping(r)) {
        return;
    }
    run_until_made_anew(r); /* without tables, which it has none of */
    run_until_made_anew(r);
    assert_int_equal(translations, 4);
    for (unsigned i = 0; i < 1000; i++) {
        fill(r, i % 2 ? across : DATA, FAR);
        assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
        expect_all_done(r, i % 2 ? across : DATA);
    }
    assert_int_equal(translations, 4);
}

static void test_on_one_page_a_miss_needs_no_other_block(struct rig *r)
{
    open_group(r, DATA, FAR);
    run_twice(r, DATA, FAR, 1);
    assert_int_equal(r->c->loads + r->c->stores, 0);
}

static void test_across_two_pages_each_is_looked_up(struct rig *r)
{
    for (uint64_t end = 0; end <= 40; end += 4) {
        uint64_t rdi = RIG_BASE + 0x3000 - end;
        open_group(r, rdi, FAR);
        run_twice(r, rdi, FAR, grouping(r) && end < 32 ? 2 : 1);
    }
}

static void test_on_a_device_each_access_comes_once(struct rig *r)
{
    open_group(r, DATA, FAR);
    r->c->device = DATA & ~0xfffull;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, DATA);
    assert_int_equal(r->c->loads, 4); /* the far one enters its page */
    assert_int_equal(r->c->stores, 2);
}

static void test_a_device_between_is_read_once(struct rig *r)
{
    open_group(r, DATA, FAR);
    r->c->device = FAR;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, DATA);
    fill(r, DATA, FAR);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, DATA);
    assert_int_equal(r->c->loads, 1);
    assert_int_equal(r->c->stores, 0);
}

/* What it does to mappings holds for the accesses behind it. */
static void test_a_device_between_takes_memory_away(struct rig *r)
{
    open_group(r, DATA, FAR);
    r->c->device = FAR;
    r->c->vanish = true;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, DATA);
    assert_true(r->c->loads >= 3); /* the device, the addition, the last */
    assert_true(r->c->stores >= 1);
    r->c->vanish = false;
}

static void test_a_helper_between_takes_memory_away(struct rig *r)
{
    open_group(r, DATA, FAR);
    by_helper = true;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, DATA);
    assert_true(r->c->loads >= 2);
    assert_true(r->c->stores >= 1);
}

/* push [rsi] by RDI, where the next access belongs to what it stores */
static void build_push(struct ir_block *b, const struct tb_key *key)
{
    if (key->pc == RIG_CODE) {
        struct ir_arg t = ir_temp(b);
        ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE;
        ir_emit(b, IR_LD, 8, t, ir_none(), ir_none())->mem = at(6, 0);
        ir_emit(b, IR_ST, 8, ir_none(), t, ir_none())->mem = at(7, -8);
        move(b, 7, -8);
    }
    ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none())->imm = RIG_CODE + 4;
    load(b, 0, at(7, 8));
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

static void test_an_instruction_that_read_a_device_is_not_done_again(struct rig *r)
{
    uint64_t rdi = RIG_BASE + 0x3000;
    open_group(r, rdi, FAR);
    rig_build = build_push;
    r->c->device = FAR;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    assert_int_equal(r->c->loads, 2); /* the device; a miss of the last */
    assert_int_equal(load_le(rig_mem + (rdi - 8 - RIG_BASE), 8), IN_FAR);
}

static void test_memory_not_for_writing_faults_at_the_store(struct rig *r)
{
    open_group(r, DATA, FAR);
    r->c->read_only = DATA & ~0xfffull;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_RAISED);
    assert_int_equal(r->c->raised, RAISED_FAULT);
    assert_int_equal(r->c->fault, DATA - 8);
    assert_int_equal(r->cpu->pc, RIG_CODE + 1);
    assert_int_equal(r->cpu->gpr[0], STORED);
    assert_int_equal(r->cpu->gpr[7], DATA);
    assert_int_equal(r->cpu->gpr[1], 0);
}

static void test_a_fault_between_leaves_what_came_before(struct rig *r)
{
    open_group(r, DATA, OUTSIDE);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_RAISED);
    assert_int_equal(r->c->fault, OUTSIDE);
    assert_int_equal(r->cpu->pc, RIG_CODE + 2);
    assert_int_equal(r->cpu->gpr[0], STORED);
    assert_int_equal(r->cpu->gpr[7], DATA - 8);
    assert_int_equal(load_le(rig_mem + (DATA - 8 - RIG_BASE), 8), R13);
    assert_int_equal(load_le(rig_mem + (DATA + 24 - RIG_BASE), 8), TO_ADD);
    assert_int_equal(r->cpu->gpr[14], 0);
}

static void test_an_operand_between_must_be_aligned(struct rig *r)
{
    open_group(r, DATA, FAR + 4);
    far_flags = IR_MEM_ALIGN;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_RAISED);
    assert_int_equal(r->c->raised, RAISED_ALIGN);
    assert_int_equal(r->c->fault, FAR + 4);
    assert_int_equal(r->cpu->pc, RIG_CODE + 2);
    assert_int_equal(r->cpu->gpr[7], DATA - 8);
}

/* Beside the code, then over it: the store of the second instruction takes the block it is in. */
static void test_on_a_page_of_code_stores_are_seen(struct rig *r)
{
    uint64_t beside = (RIG_CODE & ~0xfffull) + 0x800, over = RIG_CODE + 16;
    open_group(r, beside, FAR);
    run_twice(r, beside, FAR, grouping(r) ? 2 : 1);
    assert_int_equal(r->c->stores, 4 / 2);
    open_group(r, over, FAR);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, over);
    assert_true(translations > 2);
}

/* A page with its first code after the group was looked up for writing once. */
static void test_a_page_that_gets_code_is_no_group_s_any_more(struct rig *r)
{
    open_group(r, DATA, FAR);
    run_twice(r, DATA, FAR, 1);
    r->cpu->tlb->write[tcg_tlb_slot(DATA)] =
        tcg_tlb_never(tcg_tlb_slot(DATA)); /* as x86_tlb_drop_writes does */
    r->c->device = DATA & ~0xfffull;
    fill(r, DATA, FAR);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    expect_all_done(r, DATA);
    assert_int_equal(r->c->stores, 2);
}

static void run_everywhere(void (*test)(struct rig *r))
{
    for (unsigned w = 0; w < rig_ways_here(); w++) {
        struct rig r;
        rig_open(&r, &rig_ways[w]);
        test(&r);
        rig_close(&r);
    }
}

#define IN_EVERY_ENGINE(test)                                                                      \
    static void test##_here(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        run_everywhere(test);                                                                      \
    }
IN_EVERY_ENGINE(test_a_known_address_is_found_and_missed_alike)
IN_EVERY_ENGINE(test_a_known_address_across_two_pages_is_left_to_c)
IN_EVERY_ENGINE(test_a_table_is_looked_up_where_it_begins)
IN_EVERY_ENGINE(test_a_table_that_never_lies_on_one_page_is_one_no_longer)
IN_EVERY_ENGINE(test_a_group_that_never_lies_on_one_page_is_one_no_longer)
IN_EVERY_ENGINE(test_a_pointer_that_moves_between_is_right_where_it_is_seen)
IN_EVERY_ENGINE(test_a_walk_along_a_list_takes_each_node_s_fields)
IN_EVERY_ENGINE(test_on_one_page_a_miss_needs_no_other_block)
IN_EVERY_ENGINE(test_across_two_pages_each_is_looked_up)
IN_EVERY_ENGINE(test_on_a_device_each_access_comes_once)
IN_EVERY_ENGINE(test_a_device_between_is_read_once)
IN_EVERY_ENGINE(test_a_device_between_takes_memory_away)
IN_EVERY_ENGINE(test_a_helper_between_takes_memory_away)
IN_EVERY_ENGINE(test_an_instruction_that_read_a_device_is_not_done_again)
IN_EVERY_ENGINE(test_memory_not_for_writing_faults_at_the_store)
IN_EVERY_ENGINE(test_a_fault_between_leaves_what_came_before)
IN_EVERY_ENGINE(test_an_operand_between_must_be_aligned)
IN_EVERY_ENGINE(test_on_a_page_of_code_stores_are_seen)
IN_EVERY_ENGINE(test_a_page_that_gets_code_is_no_group_s_any_more)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_known_address_is_found_and_missed_alike_here),
        cmocka_unit_test(test_a_known_address_across_two_pages_is_left_to_c_here),
        cmocka_unit_test(test_a_table_is_looked_up_where_it_begins_here),
        cmocka_unit_test(test_a_table_that_never_lies_on_one_page_is_one_no_longer_here),
        cmocka_unit_test(test_a_group_that_never_lies_on_one_page_is_one_no_longer_here),
        cmocka_unit_test(test_a_pointer_that_moves_between_is_right_where_it_is_seen_here),
        cmocka_unit_test(test_a_walk_along_a_list_takes_each_node_s_fields_here),
        cmocka_unit_test(test_on_one_page_a_miss_needs_no_other_block_here),
        cmocka_unit_test(test_across_two_pages_each_is_looked_up_here),
        cmocka_unit_test(test_on_a_device_each_access_comes_once_here),
        cmocka_unit_test(test_a_device_between_is_read_once_here),
        cmocka_unit_test(test_a_device_between_takes_memory_away_here),
        cmocka_unit_test(test_a_helper_between_takes_memory_away_here),
        cmocka_unit_test(test_an_instruction_that_read_a_device_is_not_done_again_here),
        cmocka_unit_test(test_memory_not_for_writing_faults_at_the_store_here),
        cmocka_unit_test(test_a_fault_between_leaves_what_came_before_here),
        cmocka_unit_test(test_an_operand_between_must_be_aligned_here),
        cmocka_unit_test(test_on_a_page_of_code_stores_are_seen_here),
        cmocka_unit_test(test_a_page_that_gets_code_is_no_group_s_any_more_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
