/* SPDX-License-Identifier: MIT */
/* tests/unit/test-tcg-run.c - the engine around blocks: linking, requests to leave, code that changes,
 * also under its own feet, a full cache, the jump cache. */
#include "tests/unit/tcg-rig.h"

#include <unistd.h>

enum { LOOP = RIG_CODE, DONE = RIG_CODE + 0x100 };

static unsigned translations;

static struct ir_op *insn(struct ir_block *b, uint64_t pc)
{
    struct ir_op *o = ir_emit(b, IR_INSN, 0, ir_none(), ir_none(), ir_none());
    o->imm = (int64_t)pc;
    return o;
}

static void end(struct ir_block *b)
{
    ir_emit(b, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
}

/* Counts RCX down to 0 and then leaves. */
static void build_loop(struct ir_block *b, const struct tb_key *key)
{
    translations++;
    insn(b, key->pc);
    if (key->pc == DONE) {
        end(b);
        return;
    }
    ir_emit(b, IR_ADD, 8, ir_gpr(0), ir_gpr(0), ir_gpr(1));
    ir_emit(b, IR_SUB, 8, ir_gpr(1), ir_gpr(1), ir_const(1));
    ir_emit(b, IR_BRCC, 0, ir_none(), ir_none(), ir_none())->cond = CC_NE;
    b->exit[0] = (struct ir_exit){ LOOP, 0 };
    b->exit[1] = (struct ir_exit){ DONE, 0 };
}

static void test_a_loop_is_translated_once(struct rig *r)
{
    translations = 0;
    rig_build = build_loop;
    r->cpu->gpr[0] = 0;
    r->cpu->gpr[1] = 1000;
    assert_int_equal(rig_run(r), TCG_EXIT_BLOCK);
    assert_int_equal(r->cpu->gpr[0], 500500);
    assert_int_equal(translations, 2);
}

static void test_a_request_ends_an_endless_loop(struct rig *r)
{
    rig_build = build_loop;
    r->cpu->gpr[1] = 5;
    rig_run(r);
    r->cpu->pc = LOOP;
    r->cpu->gpr[1] = 1ull << 60;
    tcg_kick(r->cpu);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_REQUEST);
    assert_int_equal(r->cpu->pc, LOOP);
    assert_int_equal(r->cpu->exit_request, 0);
}

/* Kicks itself in the loop: the next jump backwards must see it. */
static uint64_t kick(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    if (a == 7) {
        tcg_kick(cpu);
    }
    return 0;
}
static const struct ir_helper kicker = { "kick", kick, IR_H_READS };

static void build_kicking(struct ir_block *b, const struct tb_key *key)
{
    insn(b, key->pc);
    if (key->pc == DONE) {
        end(b);
        return;
    }
    ir_emit(b, IR_CALL, 8, ir_none(), ir_gpr(1), ir_none())->helper = &kicker;
    ir_emit(b, IR_SUB, 8, ir_gpr(1), ir_gpr(1), ir_const(1));
    ir_emit(b, IR_BRCC, 0, ir_none(), ir_none(), ir_none())->cond = CC_NE;
    b->exit[0] = (struct ir_exit){ LOOP, 0 };
    b->exit[1] = (struct ir_exit){ DONE, 0 };
}

static void test_a_kick_is_seen_at_the_next_turn(struct rig *r)
{
    rig_build = build_kicking;
    r->cpu->gpr[1] = 100;
    assert_int_equal(rig_run(r), TCG_EXIT_REQUEST);
    assert_int_equal(r->cpu->gpr[1], 6);
    assert_int_equal(r->cpu->pc, LOOP);
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
}

/* Moves RAX to RBX; what is added comes from the byte of code. */
static void build_from_memory(struct ir_block *b, const struct tb_key *key)
{
    translations++;
    insn(b, key->pc);
    ir_emit(b, IR_MOV, 8, ir_gpr(3), ir_const(rig_mem[key->phys - RIG_BASE]), ir_none());
    end(b);
}

static void test_changed_code_is_translated_anew(struct rig *r)
{
    translations = 0;
    rig_build = build_from_memory;
    rig_mem[RIG_CODE - RIG_BASE] = 11;
    rig_run(r);
    assert_int_equal(r->cpu->gpr[3], 11);
    assert_true(tcg_page_has_code(r->t, RIG_CODE));
    rig_mem[RIG_CODE - RIG_BASE] = 22;
    assert_false(tcg_invalidate(r->t, NULL, RIG_CODE + 64, 64)); /* beside it: nothing happens */
    r->cpu->pc = RIG_CODE;
    tcg_run(r->cpu);
    assert_int_equal(r->cpu->gpr[3], 11);
    tcg_invalidate(r->t, NULL, RIG_CODE, 1);
    r->cpu->pc = RIG_CODE;
    tcg_run(r->cpu);
    assert_int_equal(r->cpu->gpr[3], 22);
    assert_int_equal(translations, 2);
}

static void test_a_page_is_data_again_some_stores_after_its_last_code(struct rig *r)
{
    rig_build = build_from_memory;
    rig_run(r);
    for (unsigned i = 0; i < 1000; i++) { /* code there: never */
        tcg_invalidate(r->t, NULL, RIG_CODE + 128, 1);
    }
    assert_true(tcg_page_has_code(r->t, RIG_CODE));
    tcg_invalidate(r->t, NULL, RIG_CODE, 1);
    assert_true(tcg_page_has_code(r->t, RIG_CODE)); /* it may come back */
    for (unsigned i = 0; i < 1000; i++) {
        tcg_invalidate(r->t, NULL, RIG_CODE + 128, 1);
    }
    assert_false(tcg_page_has_code(r->t, RIG_CODE));
    r->cpu->pc = RIG_CODE;
    tcg_run(r->cpu);
    assert_true(tcg_page_has_code(r->t, RIG_CODE));
}

/* Two instructions at RIG_CODE and RIG_CODE + 4: the first stores over the second, which loads a
 * constant from its own byte. */
static void build_self_modifying(struct ir_block *b, const struct tb_key *key)
{
    bool single = key->cflags & TB_SINGLE;
    if (key->pc == RIG_CODE) {
        insn(b, RIG_CODE);
        ir_emit(b, IR_ST, 1, ir_none(), ir_const(77), ir_none())->mem =
            (struct ir_mem){ .scale = 1, .addr_size = 8, .seg = -1, .disp = RIG_CODE + 4 };
        if (single) {
            ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
            b->exit[0] = (struct ir_exit){ RIG_CODE + 4, F_ALL };
            return;
        }
    }
    insn(b, RIG_CODE + 4);
    ir_emit(b, IR_MOV, 8, ir_gpr(3), ir_const(rig_mem[RIG_CODE + 4 - RIG_BASE]), ir_none());
    end(b);
}

static void test_code_may_change_what_comes_next(struct rig *r)
{
    rig_build = build_self_modifying;
    rig_mem[RIG_CODE + 4 - RIG_BASE] = 55;
    r->cpu->gpr[3] = 0;
    assert_int_equal(rig_run(r), TCG_EXIT_BLOCK);
    assert_int_equal(r->cpu->gpr[3], 77);
}

/* sub rax, rbx; sete [rsi]; then the flags are overwritten. When the store faults the instruction is done
 * once more later: with the same flags. */
static void build_set_to_nowhere(struct ir_block *b, const struct tb_key *key)
{
    struct ir_arg t = ir_temp(b);
    insn(b, key->pc);
    ir_emit(b, IR_SUB, 8, ir_gpr(0), ir_gpr(0), ir_gpr(3));
    insn(b, key->pc + 4);
    ir_emit(b, IR_SETCC, 1, t, ir_none(), ir_none())->cond = CC_E;
    ir_emit(b, IR_ST, 1, ir_none(), t, ir_none())->mem =
        (struct ir_mem){ .base = ir_gpr(6), .scale = 1, .addr_size = 8, .seg = -1 };
    insn(b, key->pc + 8);
    ir_emit(b, IR_ADD, 8, ir_gpr(0), ir_gpr(0), ir_gpr(3));
    end(b);
}

static void test_flags_stay_for_an_instruction_that_faults_behind_reading_them(struct rig *r)
{
    rig_build = build_set_to_nowhere;
    for (unsigned equal = 0; equal < 2; equal++) {
        r->cpu->gpr[0] = 5;
        r->cpu->gpr[3] = equal ? 5 : 4;
        r->cpu->gpr[6] = 0;
        r->cpu->flags = equal ? 0 : F_ALL;
        assert_int_equal(rig_run(r), TCG_EXIT_RAISED);
        assert_int_equal(r->cpu->pc, RIG_CODE + 4);
        assert_int_equal(r->cpu->flags & F_ZF, equal ? F_ZF : 0);
    }
}

/* Every RIP is a block: go on from one to the next until RCX is 0. */
static void build_chain(struct ir_block *b, const struct tb_key *key)
{
    translations++;
    insn(b, key->pc);
    if (key->pc == DONE) {
        end(b);
        return;
    }
    struct ir_arg t = ir_temp(b), u = ir_temp(b), z = ir_temp(b);
    ir_emit(b, IR_SUB, 8, ir_gpr(1), ir_gpr(1), ir_const(1));
    ir_emit(b, IR_MOV, 8, t, ir_const((int64_t)(key->pc + 16) & 0x7fffffff), ir_none());
    ir_emit(b, IR_MOV, 8, u, ir_const(DONE), ir_none());
    ir_emit(b, IR_CMOV, 8, z, t, u)->cond = CC_E;
    ir_emit(b, IR_JMP, 8, ir_none(), z, ir_none());
    b->live_out = 0;
}

/* Blocks number `first` and the next ones; how many had to be made. */
static unsigned run_chain(struct rig *r, unsigned first, unsigned count)
{
    translations = 0;
    r->cpu->pc = 0x100000 + 16 * first;
    r->cpu->gpr[1] = count;
    enum tcg_exit why;
    do {
        why = tcg_run(r->cpu);
    } while (why == TCG_EXIT_REQUEST);
    assert_int_equal(why, TCG_EXIT_BLOCK);
    assert_int_equal(r->cpu->gpr[1], 0);
    return translations;
}

static void test_a_full_cache_loses_its_oldest_blocks_and_keeps_the_others(struct rig *r)
{
    enum { MANY = 150000, SOME = 1000 };
    struct tcg_stats before, s;
    rig_build = build_chain;
    tcg_flush(r->t);
    tcg_get_stats(r->t, &before);
    run_chain(r, 0, MANY);
    tcg_get_stats(r->t, &s);
    assert_true(s.evictions > before.evictions);
    assert_int_equal(s.flushes, before.flushes);
    assert_true(s.blocks > 10 * SOME);
    assert_true(s.blocks < MANY);
    assert_true(run_chain(r, MANY - SOME, SOME) <=
                1); /* they are there; perhaps without the last one */
    assert_int_equal(run_chain(r, MANY - (unsigned)s.blocks + SOME, SOME), 0);
    assert_true(run_chain(r, 0, SOME) >= SOME);
    assert_int_equal(run_chain(r, 0, SOME), 0);
}

/* RIG_CODE, FAR and BACK jump to one another, each to another page; FAR leaves the first byte of its code
 * in RBX. */
enum { FAR = RIG_CODE - 0x1000 + 0x40, BACK = RIG_CODE + 0x80, FAR_PAGE = FAR & ~0xfff };

static void build_far(struct ir_block *b, const struct tb_key *key)
{
    translations++;
    insn(b, key->pc);
    if (key->pc == BACK) {
        end(b);
        return;
    }
    if (key->pc == FAR) {
        ir_emit(b, IR_MOV, 8, ir_gpr(3), ir_const(rig_mem[key->phys - RIG_BASE]), ir_none());
    }
    ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
    b->exit[0] = (struct ir_exit){ key->pc == FAR ? BACK : FAR, 0 };
}

/* What the code behind FAR leaves in RBX, seen from this processor. */
static uint64_t far_byte(struct tcg_cpu *cpu)
{
    cpu->pc = RIG_CODE;
    cpu->gpr[3] = 0;
    assert_int_equal(tcg_run(cpu), TCG_EXIT_BLOCK);
    return cpu->gpr[3];
}

static void map_far(struct tcg_cpu *cpu, uint64_t phys)
{
    rig_of(cpu)->far_page = FAR_PAGE;
    rig_of(cpu)->far_phys = phys;
    tcg_jc_flush(cpu);
}

static uint64_t links_made(const struct rig *r)
{
    struct tcg_stats s;
    tcg_get_stats(r->t, &s);
    return s.chained;
}

static void far_start(struct rig *r)
{
    tcg_flush(r->t);
    translations = 0;
    rig_build = build_far;
    rig_mem[FAR - RIG_BASE] = 11;
    rig_mem[FAR - RIG_BASE - 0x1000] = 22;
    r->c->far_phys = 0;
}

static void test_a_jump_to_another_page_is_linked(struct rig *r)
{
    far_start(r);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(far_byte(r->cpu), 11);
    }
    assert_int_equal(translations, 3);
    assert_int_equal(links_made(r), r->t->jit ? 2 : 0);
}

static void test_a_linked_page_may_be_mapped_elsewhere(struct rig *r)
{
    far_start(r);
    for (unsigned i = 0; i < 4; i++) {
        map_far(r->cpu, i & 1 ? FAR_PAGE - 0x1000 : FAR_PAGE);
        for (unsigned k = 0; k < 3; k++) {
            assert_int_equal(far_byte(r->cpu), i & 1 ? 22 : 11);
        }
    }
    assert_int_equal(translations, 4);
}

static void test_processors_may_map_a_linked_page_differently(struct rig *r)
{
    struct tcg_cpu *other = tcg_cpu_new(r->t);
    far_start(r);
    map_far(other, FAR_PAGE - 0x1000);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(far_byte(r->cpu), 11);
        assert_int_equal(far_byte(other), 22);
    }
    assert_int_equal(translations, 4);
    tcg_cpu_free(other);
}

static void test_code_behind_a_linked_page_may_change(struct rig *r)
{
    far_start(r);
    for (unsigned i = 1; i < 5; i++) {
        rig_mem[FAR - RIG_BASE] = (uint8_t)i;
        tcg_invalidate(r->t, NULL, FAR, 1);
        assert_int_equal(far_byte(r->cpu), i);
        assert_int_equal(far_byte(r->cpu), i);
    }
    assert_int_equal(translations, 6);
    assert_int_equal(links_made(r), r->t->jit ? 8 : 0);
}

/* FAR calls BACK, which lets `meanwhile` happen and returns to RDX; what lies there leaves its first byte in RBX. */
enum { AFTER = FAR + 0x20, ELSEWHERE = FAR + 0x30 };
static void (*meanwhile)(struct tcg_cpu *cpu);

static uint64_t call_meanwhile(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    if (meanwhile) {
        meanwhile(cpu);
    }
    return 0;
}
static const struct ir_helper meanwhile_helper = { "meanwhile", call_meanwhile, IR_H_READS };

static void build_call(struct ir_block *b, const struct tb_key *key)
{
    insn(b, key->pc);
    if (key->pc == FAR) {
        ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none())->imm = IR_JMP_CALL;
        b->exit[0] = (struct ir_exit){ BACK, 0 };
        b->exit[1].pc = AFTER;
    } else if (key->pc == BACK) {
        ir_emit(b, IR_CALL, 8, ir_none(), ir_none(), ir_none())->helper = &meanwhile_helper;
        ir_emit(b, IR_JMP, 8, ir_none(), ir_gpr(2), ir_none())->imm = IR_JMP_RET;
    } else {
        ir_emit(b, IR_MOV, 8, ir_gpr(3), ir_const(rig_mem[key->phys - RIG_BASE]), ir_none());
        end(b);
    }
}

static uint64_t byte_behind_call(struct rig *r, uint64_t returns_to, void (*then)(struct tcg_cpu *))
{
    meanwhile = then;
    r->cpu->pc = FAR;
    r->cpu->gpr[2] = returns_to;
    r->cpu->gpr[3] = 0;
    assert_int_equal(tcg_run(r->cpu), TCG_EXIT_BLOCK);
    return r->cpu->gpr[3];
}

static void call_start(struct rig *r)
{
    far_start(r);
    rig_build = build_call;
    rig_mem[AFTER - RIG_BASE] = 1;
    rig_mem[AFTER - RIG_BASE - 0x1000] = 2;
    rig_mem[ELSEWHERE - RIG_BASE] = 3;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(byte_behind_call(r, AFTER, NULL), 1);
    }
}

static void test_a_return_may_lead_elsewhere_than_the_call_said(struct rig *r)
{
    call_start(r);
    assert_int_equal(byte_behind_call(r, ELSEWHERE, NULL), 3);
    assert_int_equal(byte_behind_call(r, AFTER, NULL), 1);
    assert_int_equal(byte_behind_call(r, ELSEWHERE, NULL), 3);
}

static void change_after(struct tcg_cpu *cpu)
{
    rig_mem[AFTER - RIG_BASE]++;
    tcg_invalidate(cpu->tcg, NULL, AFTER, 1);
}

static void test_code_behind_a_call_may_change_before_the_return(struct rig *r)
{
    call_start(r);
    for (unsigned i = 2; i < 6; i++) {
        assert_int_equal(byte_behind_call(r, AFTER, change_after), i);
        assert_int_equal(byte_behind_call(r, AFTER, NULL), i);
    }
}

static void remap_far(struct tcg_cpu *cpu)
{
    map_far(cpu, FAR_PAGE - 0x1000);
}

static void test_what_follows_a_call_may_be_mapped_elsewhere_before_the_return(struct rig *r)
{
    call_start(r);
    assert_int_equal(byte_behind_call(r, AFTER, remap_far), 2);
    r->c->far_phys = 0;
    tcg_jc_flush(r->cpu);
}

/* A loop over two pages looks for a request where it goes backwards. */
static void build_endless(struct ir_block *b, const struct tb_key *key)
{
    insn(b, key->pc);
    ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
    b->exit[0] = (struct ir_exit){ key->pc == FAR ? BACK : FAR, 0 };
    if (key->pc == BACK) {
        b->op[b->n - 1].op = IR_NOP;
        ir_emit(b, IR_CALL, 8, ir_none(), ir_gpr(1), ir_none())->helper = &kicker;
        ir_emit(b, IR_SUB, 8, ir_gpr(1), ir_gpr(1), ir_const(1));
        ir_emit(b, IR_GOTO, 0, ir_none(), ir_none(), ir_none());
    }
}

static void test_a_kick_is_seen_in_a_loop_over_two_pages(struct rig *r)
{
    rig_build = build_endless;
    r->c->far_phys = 0;
    r->cpu->gpr[1] = 100;
    assert_int_equal(rig_run(r), TCG_EXIT_REQUEST);
    assert_int_equal(r->cpu->gpr[1], 6);
    assert_int_equal(r->cpu->pc, FAR);
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

/* Where the map file says that the code of the block at pc lies; 0: nowhere. */
static unsigned long long mapped_code(const char *path, unsigned long long pc)
{
    unsigned long long at, len, guest, found = 0;
    char line[200];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        assert_int_equal(sscanf(line, "%llx %llx guest_%llx", &at, &len, &guest), 3);
        found = guest == pc ? at : found;
    }
    fclose(f);
    return found;
}

/* The line of /proc/self/maps for an address. */
static void line_of_maps(unsigned long long at, char line[500])
{
    unsigned long long lo = 0, hi = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    do {
        assert_non_null(fgets(line, 500, f));
        sscanf(line, "%llx-%llx", &lo, &hi);
    } while (at < lo || at >= hi);
    fclose(f);
}

/* perf looks into the map file for code in memory that it takes for anonymous: /dev/zero's is. */
static void test_perf_finds_blocks_by_name(void **state)
{
    (void)state;
    char path[64], line[500];
    struct rig r;
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
    rig_open_with(&r, (struct tcg_options){ .passes = PASS_ALL, .perf_map = true });
    rig_build = build_loop;
    r.cpu->gpr[1] = 3;
    assert_int_equal(rig_run(&r), TCG_EXIT_BLOCK);
    unsigned long long at = mapped_code(path, LOOP);
    assert_true(at);
    line_of_maps(at, line);
    assert_non_null(strstr(line, " r-xs "));
    assert_non_null(strstr(line, "/dev/zero"));
    rig_close(&r);
    unlink(path);
}

#define IN_EVERY_ENGINE(test)                                                                      \
    static void test##_here(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        run_everywhere(test);                                                                      \
    }
IN_EVERY_ENGINE(test_a_loop_is_translated_once)
IN_EVERY_ENGINE(test_a_request_ends_an_endless_loop)
IN_EVERY_ENGINE(test_a_kick_is_seen_at_the_next_turn)
IN_EVERY_ENGINE(test_changed_code_is_translated_anew)
IN_EVERY_ENGINE(test_a_page_is_data_again_some_stores_after_its_last_code)
IN_EVERY_ENGINE(test_code_may_change_what_comes_next)
IN_EVERY_ENGINE(test_flags_stay_for_an_instruction_that_faults_behind_reading_them)
IN_EVERY_ENGINE(test_a_full_cache_loses_its_oldest_blocks_and_keeps_the_others)
IN_EVERY_ENGINE(test_a_jump_to_another_page_is_linked)
IN_EVERY_ENGINE(test_a_linked_page_may_be_mapped_elsewhere)
IN_EVERY_ENGINE(test_processors_may_map_a_linked_page_differently)
IN_EVERY_ENGINE(test_code_behind_a_linked_page_may_change)
IN_EVERY_ENGINE(test_a_return_may_lead_elsewhere_than_the_call_said)
IN_EVERY_ENGINE(test_code_behind_a_call_may_change_before_the_return)
IN_EVERY_ENGINE(test_what_follows_a_call_may_be_mapped_elsewhere_before_the_return)
IN_EVERY_ENGINE(test_a_kick_is_seen_in_a_loop_over_two_pages)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_loop_is_translated_once_here),
        cmocka_unit_test(test_a_request_ends_an_endless_loop_here),
        cmocka_unit_test(test_a_kick_is_seen_at_the_next_turn_here),
        cmocka_unit_test(test_changed_code_is_translated_anew_here),
        cmocka_unit_test(test_a_page_is_data_again_some_stores_after_its_last_code_here),
        cmocka_unit_test(test_code_may_change_what_comes_next_here),
        cmocka_unit_test(test_flags_stay_for_an_instruction_that_faults_behind_reading_them_here),
        cmocka_unit_test(test_a_full_cache_loses_its_oldest_blocks_and_keeps_the_others_here),
        cmocka_unit_test(test_a_jump_to_another_page_is_linked_here),
        cmocka_unit_test(test_a_linked_page_may_be_mapped_elsewhere_here),
        cmocka_unit_test(test_processors_may_map_a_linked_page_differently_here),
        cmocka_unit_test(test_code_behind_a_linked_page_may_change_here),
        cmocka_unit_test(test_a_return_may_lead_elsewhere_than_the_call_said_here),
        cmocka_unit_test(test_code_behind_a_call_may_change_before_the_return_here),
        cmocka_unit_test(test_what_follows_a_call_may_be_mapped_elsewhere_before_the_return_here),
        cmocka_unit_test(test_a_kick_is_seen_in_a_loop_over_two_pages_here),
        cmocka_unit_test(test_perf_finds_blocks_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
