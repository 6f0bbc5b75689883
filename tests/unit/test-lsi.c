/* SPDX-License-Identifier: MIT */
/* tests/unit/test-lsi.c - the LSI53C895A: registers, SCRIPTS, the bus. */
#include "scsi-rig.h"

static void test_lsi_when_reset_then_registers_are_the_manuals(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    assert_int_equal(cfg(&r.pc, FN, 0, 4), 0x00121000);
    assert_int_equal(reg(&r, DSTAT, 1), 0x80);
    assert_int_equal(reg(&r, CTEST1, 1), 0xf0);
    assert_int_equal(reg(&r, STEST4, 1), 0xe0);
    assert_int_equal(io_read(r.pc.m, IO_PIO, PORT + SCNTL0, 1), 0xc0);
    set_reg(&r, SCRATCHA, 4, 0x12345678);
    assert_int_equal(io_read(r.pc.m, IO_PIO, PORT + SCRATCHA, 4), 0x12345678);
    set_reg(&r, DSTAT, 4, 0xffffffff); /* read-only */
    assert_int_equal(reg(&r, DSTAT, 4) & 0xffffff, 0x000080);
    io_write(r.pc.m, IO_MMIO, SCRIPT_RAM + 8188, 4, 0xcafe);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, SCRIPT_RAM + 8188, 4), 0xcafe);
    set_reg(&r, ISTAT0, 1, ISTAT_SRST);
    assert_int_equal(reg(&r, SCRATCHA, 4), 0);
    rig_free(&r);
}

static void test_lsi_scripts_compute_call_and_copy(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    script_begin(&r);
    script_put(&r, 0x78340500, 0);         /* SCRATCHA0 = 5 */
    script_put(&r, 0x7e34fe00, 0);         /* += 0xfe: 3, carry */
    script_put(&r, 0x7f350000, 0);         /* SCRATCHA1 += carry: 1 */
    script_put(&r, 0x72340c00, 0);         /* SFBR = SCRATCHA0 | 0xc: 0xf */
    script_put(&r, 0x6c360600, 0);         /* SCRATCHA2 = SFBR & 6: 6 */
    script_put(&r, 0x88880000, 44);        /* CALL, relative: to behind the INT below */
    script_put(&r, 0xe0340004, STATUS_AT); /* STORE SCRATCHA */
    script_put(&r, 0xc0000004, STATUS_AT); /* copy it into SCRATCHB */
    store_le(ram(&r, SCRIPT + 4 * r.script), 4, REGS + SCRATCHB);
    r.script++;
    script_put(&r, 0x98180000, 7); /* INTFLY */
    script_put(&r, I_INT(0x77));
    script_put(&r, I_INT(0xbad));
    script_put(&r, 0x8004000f, 0xf0000000); /* JUMP if SFBR is not 0xf: no */
    script_put(&r, 0x90080000, 0);          /* RETURN */
    script_run(&r, SCRIPT);
    assert_int_equal(reg(&r, DSPS, 4), 0x77);
    assert_int_equal(load_le32(ram(&r, STATUS_AT)) & 0xffffff, 0x060103);
    assert_int_equal(reg(&r, SCRATCHB, 4), load_le32(ram(&r, STATUS_AT)));
    assert_int_equal(reg(&r, ISTAT0, 1), ISTAT_INTF | ISTAT_DIP);
    assert_int_equal(r.pc.f->intx[FN][0], 1);
    set_reg(&r, ISTAT0, 1, ISTAT_INTF);
    assert_int_equal(reg(&r, DSTAT, 1), 0x84);
    assert_int_equal(reg(&r, ISTAT0, 1), 0);
    rig_free(&r);
}

static void test_lsi_when_instruction_or_memory_is_bad_then_stops(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    script_begin(&r);
    script_put(&r, 0xb8000000, 0); /* no such transfer */
    store_le(ram(&r, SCRIPT), 4, 0xb8080000);
    script_run(&r, SCRIPT);
    assert_int_equal(reg(&r, DSTAT, 1), 0x81);
    script_run(&r, 0xf0000000); /* nothing there */
    assert_int_equal(reg(&r, DSTAT, 1), 0xa0);
    script_begin(&r);
    script_put(&r, 0xe1340004, 0xf0000000); /* LOAD from nowhere */
    script_run(&r, SCRIPT);
    assert_int_equal(reg(&r, DSTAT, 1), 0xa0);
    assert_int_equal(reg(&r, DSTAT, 1), 0x80);
    rig_free(&r);
}

static void test_lsi_endless_script_pauses_and_can_be_aborted(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    script_begin(&r);
    script_put(&r, 0x7e340100, 0); /* SCRATCHA0 += 1 */
    script_put(&r, 0x80080000, SCRIPT);
    script_run(&r, SCRIPT);
    assert_int_equal(reg(&r, ISTAT1, 1), 2);
    uint32_t was = reg(&r, SCRATCHA, 4);
    flat_advance(r.pc.f, r.pc.m, LSI_PAUSE_NS + 1);
    assert_int_not_equal(reg(&r, SCRATCHA, 4), was);
    set_reg(&r, DIEN, 1, DSTAT_ABRT);
    set_reg(&r, ISTAT0, 1, ISTAT_ABRT);
    assert_int_equal(reg(&r, ISTAT1, 1), 0);
    assert_int_equal(r.pc.f->intx[FN][0], 1);
    assert_int_equal(reg(&r, DSTAT, 1), 0x90);
    assert_int_equal(r.pc.f->intx[FN][0], 0);
    rig_free(&r);
}

static void test_lsi_general_timer_ticks(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    set_reg(&r, STIME1, 1, 11);
    flat_advance(r.pc.f, r.pc.m, 200 * 1000000);
    assert_int_equal(reg(&r, SIST1, 1), 0);
    flat_advance(r.pc.f, r.pc.m, 30 * 1000000);
    assert_int_equal(reg(&r, SIST1, 1), SIST1_GEN);
    rig_free(&r);
}

/* The script goes on after SELECT, to the first instruction that looks at the bus. */
static void test_lsi_when_nobody_answers_then_selection_times_out(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    script_begin(&r);
    script_put(&r, I_SELECT(3));
    script_put(&r, 0x78340500, 0);
    uint32_t waits = script_put(&r, I_WHEN_NOT(PHASE_MSG_OUT, 9));
    script_run(&r, SCRIPT);
    assert_int_equal(reg(&r, SCRATCHA, 4), 5);
    assert_int_equal(reg(&r, SIST1, 1), 0);
    flat_advance(r.pc.f, r.pc.m, LSI_SELECT_NS + 1);
    assert_int_equal(reg(&r, SIST1, 1), SIST1_STO);
    assert_int_equal(reg(&r, DSP, 4), waits + 8);
    assert_int_equal(reg(&r, ISTAT1, 1), 0);
    rig_free(&r);
}

/* INQUIRY gives 36 bytes where 64 are wanted. */
static void start_short(struct scsi_rig *r)
{
    static const uint8_t cdb[6] = { 0x12, 0, 0, 0, 64, 0 };
    start_command(r, 0, 0, cdb, 6, 'i', 64);
}

static void test_lsi_when_data_end_early_then_phase_mismatch(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    start_short(&r);
    assert_int_equal(reg(&r, DBC, 4) & 0xffffff, 64 - 36);
    assert_int_equal(reg(&r, DNAD, 4), DATA_AT + 36);
    assert_int_equal(reg(&r, SBCL, 1), 0xa0 | PHASE_STATUS); /* REQ, BSY */
    assert_int_equal(end_command(&r), SCSI_GOOD);
    /* with a jump in place of the interrupt */
    set_reg(&r, CCNTL0, 1, CCNTL0_ENPMJ);
    set_reg(&r, PMJAD1, 4, SCRIPT_RAM);
    set_reg(&r, PMJAD2, 4, 0);
    io_write(r.pc.m, IO_MMIO, SCRIPT_RAM, 8, 0x98080000);
    start_short(&r);
    assert_int_equal(reg(&r, SIST0, 1), 0);
    assert_int_equal(reg(&r, DSTAT, 1), 0x84);
    assert_int_equal(reg(&r, DSP, 4), SCRIPT_RAM + 8);
    assert_int_equal(reg(&r, RBC, 4), 0x09000000 | (64 - 36));
    assert_int_equal(reg(&r, UA, 4), DATA_AT + 36);
    assert_int_equal(reg(&r, IA, 4), SCRIPT + 3 * 8);
    script_run(&r, SCRIPT + 4 * 8);
    assert_int_equal(end_command(&r), SCSI_GOOD);
    rig_free(&r);
}

static void test_lsi_negotiation_is_agreed_to(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    script_begin(&r);
    memcpy(ram(&r, MSG_AT), "\xc0\x01\x03\x01\x0c\x10", 6); /* IDENTIFY, SDTR */
    script_put(&r, I_SELECT(0));
    script_put(&r, I_MSG_OUT(6));
    script_put(&r, I_MSG_IN(1, STATUS_AT));
    script_put(&r, I_CLEAR_ACK);
    script_put(&r, I_MSG_IN(4, STATUS_AT + 1));
    script_put(&r, I_CLEAR_ACK);
    script_put(&r, I_WHEN_NOT(PHASE_COMMAND, 9));
    script_put(&r, I_INT(2));
    script_run(&r, SCRIPT);
    assert_int_equal(reg(&r, DSPS, 4), 2);
    assert_memory_equal(ram(&r, STATUS_AT), "\x01\x03\x01\x0c\x10", 5);
    rig_free(&r);
}

/* ---- tagged commands that disconnect ---- */

/* Queues READ(10) of one block at lba with a tag; ends with INT 3 when the target has gone. */
static void queue_read(struct scsi_rig *r, unsigned target, unsigned lun, unsigned tag,
                       unsigned lba)
{
    script_begin(r);
    memcpy(ram(r, MSG_AT), (const uint8_t[]){ (uint8_t)(0xc0 | lun), 0x20, (uint8_t)tag }, 3);
    memcpy(ram(r, CDB_AT), (const uint8_t[10]){ 0x28, [5] = (uint8_t)lba, [8] = 1 }, 10);
    script_put(r, I_SELECT(target));
    script_put(r, I_MSG_OUT(3));
    script_put(r, I_COMMAND(10));
    script_put(r, I_MSG_IN(1, STATUS_AT));
    script_put(r, I_CLEAR_ACK);
    script_put(r, I_WAIT_FREE);
    script_put(r, I_INT(3));
    script_run(r, SCRIPT);
    assert_int_equal(reg(r, DSTAT, 1), 0x84);
    assert_int_equal(*ram(r, STATUS_AT), 0x04); /* DISCONNECT */
}

/* A script that waits for a target and takes its block: INT 4, or INT 5 on SIGP. */
static void wait_for_target(struct scsi_rig *r)
{
    script_begin(r);
    script_put(r, I_WAIT_RESELECT(SCRIPT + 10 * 8));
    script_put(r, I_MSG_IN(1, STATUS_AT));
    script_put(r, I_CLEAR_ACK);
    script_put(r, I_MSG_IN(2, STATUS_AT + 1));
    script_put(r, I_CLEAR_ACK);
    script_put(r, I_DATA_IN(512, DATA_AT));
    script_put(r, I_STATUS);
    script_put(r, I_MSG_IN(1, STATUS_AT + 8));
    script_put(r, I_CLEAR_ACK);
    script_put(r, I_INT(4));
    script_put(r, I_INT(5));
    script_run(r, SCRIPT);
}

static void release(struct scsi_rig *r, unsigned i)
{
    machine_enter(r->pc.m);
    fake_release(r->img[i]);
    machine_leave(r->pc.m);
    settle(r->loop);
}

static void assert_reselected(struct scsi_rig *r, unsigned target, unsigned tag, unsigned lba)
{
    assert_int_equal(reg(r, DSTAT, 1), 0x84);
    assert_int_equal(reg(r, DSPS, 4), 4);
    assert_int_equal(reg(r, SSID, 1), 0x80 | target);
    assert_int_equal(ram(r, STATUS_AT)[1], 0x20);
    assert_int_equal(ram(r, STATUS_AT)[2], tag);
    assert_fake(ram(r, DATA_AT), lba * 512ull, 512);
}

static void test_lsi_targets_disconnect_and_come_back_with_their_tags(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    r.img[0]->hold = r.img[1]->hold = true;
    queue_read(&r, 0, 0, 7, 10);
    queue_read(&r, 2, 1, 9, 20);
    assert_int_equal(reg(&r, ISTAT0, 1) & ISTAT_CON, 0);
    wait_for_target(&r);
    assert_int_equal(reg(&r, DSTAT, 1), 0x80); /* waits */
    release(&r, 1);
    assert_reselected(&r, 2, 9, 20);
    release(&r, 0); /* while nobody listens */
    wait_for_target(&r);
    assert_reselected(&r, 0, 7, 10);
    rig_free(&r);
}

static void test_lsi_when_signalled_then_waiting_ends(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    wait_for_target(&r);
    assert_int_equal(reg(&r, ISTAT1, 1), 2);
    set_reg(&r, ISTAT0, 1, ISTAT_SIGP);
    assert_int_equal(reg(&r, DSPS, 4), 5);
    assert_int_equal(reg(&r, CTEST2, 1) & CTEST2_SIGP, CTEST2_SIGP);
    assert_int_equal(reg(&r, ISTAT0, 1) & ISTAT_SIGP, 0);
    rig_free(&r);
}

/* Sends messages to a target and waits until it has left. */
static void send_messages(struct scsi_rig *r, unsigned target, const void *msg, unsigned len)
{
    script_begin(r);
    memcpy(ram(r, MSG_AT), msg, len);
    script_put(r, I_SELECT(target));
    script_put(r, I_MSG_OUT(len));
    script_put(r, I_WAIT_FREE);
    script_put(r, I_INT(6));
    script_run(r, SCRIPT);
    assert_int_equal(reg(r, DSTAT, 1), 0x84);
    assert_int_equal(reg(r, DSPS, 4), 6);
}

static void test_lsi_abort_messages_hit_what_they_name(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    r.img[0]->hold = r.img[1]->hold = true;
    queue_read(&r, 0, 0, 1, 10);
    queue_read(&r, 0, 0, 2, 11);
    queue_read(&r, 2, 1, 1, 12);
    r.img[0]->no_wait = r.img[1]->no_wait = true;
    send_messages(&r, 0, "\xc0\x20\x01\x0d", 4); /* ABORT TAG */
    assert_int_equal(blk_in_flight(r.blk[0]), 1);
    send_messages(&r, 0, "\x80\x06", 2); /* ABORT */
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    assert_int_equal(blk_in_flight(r.blk[1]), 1);
    send_messages(&r, 2, "\x0c", 1); /* BUS DEVICE RESET */
    assert_int_equal(blk_in_flight(r.blk[1]), 0);
    assert_int_equal(sense(&r, 2, 1), 0x062900);
    rig_free(&r);
}

static void test_lsi_bus_reset_in_mid_transfer_drops_everything(void **state)
{
    static const uint8_t write[10] = { 0x2a, [7] = 1 };
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    r.img[0]->hold = r.img[0]->no_wait = true;
    start_command(&r, 0, 0, write, 10, 'o', 131072); /* the first 64 KiB are at the drive */
    assert_int_equal(blk_in_flight(r.blk[0]), 1);
    set_reg(&r, SIEN0, 1, SIST0_RST);
    set_reg(&r, SCNTL1, 1, SCNTL1_RST);
    assert_int_equal(reg(&r, SSTAT0, 1), SSTAT0_RST);
    assert_int_equal(r.pc.f->intx[FN][0], 1);
    set_reg(&r, SCNTL1, 1, 0);
    assert_int_equal(reg(&r, SIST0, 1), SIST0_RST);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    r.img[0]->hold = false;
    assert_int_equal(sense(&r, 0, 0), 0x062900);
    start_command(&r, 0, 0, write, 10, 'o', 131072);
    assert_int_equal(end_command(&r), SCSI_GOOD);
    rig_free(&r);
}

static void test_lsi_chip_reset_in_mid_transfer_drops_everything(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    r.img[0]->hold = r.img[0]->no_wait = true;
    queue_read(&r, 0, 0, 1, 10);
    set_reg(&r, ISTAT0, 1, ISTAT_SRST);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    assert_int_equal(reg(&r, ISTAT1, 1), 0);
    rig_free(&r);
}

static void test_lsi_more_commands_than_it_takes_then_queue_full(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    r.img[0]->hold = true;
    queue_read(&r, 0, 0, 1, 10);
    script_begin(&r); /* the same tag again */
    script_put(&r, I_SELECT(0));
    script_put(&r, I_MSG_OUT(3));
    script_put(&r, I_COMMAND(10));
    script_put(&r, I_STATUS);
    script_put(&r, I_INT(3));
    script_run(&r, SCRIPT);
    assert_int_equal(*ram(&r, STATUS_AT), SCSI_QUEUE_FULL);
    rig_free(&r);
}

static void test_lsi_saved_in_mid_read_then_goes_on(void **state)
{
    static const uint8_t cdb[10] = { 0x28, [5] = 3, [8] = 4 };
    struct scsi_rig a, b;
    (void)state;
    rig_make(&a);
    rig_make(&b);
    awake(&a);
    /* 700 bytes, then a pause at an interrupt */
    script_begin(&a);
    *ram(&a, MSG_AT) = 0x80;
    memcpy(ram(&a, CDB_AT), cdb, 10);
    script_put(&a, I_SELECT(0));
    script_put(&a, I_MSG_OUT(1));
    script_put(&a, I_COMMAND(10));
    script_put(&a, I_DATA_IN(700, DATA_AT));
    script_put(&a, I_INT(8));
    script_put(&a, I_DATA_IN(2048 - 700, DATA_AT + 700));
    script_put(&a, I_STATUS);
    script_put(&a, I_MSG_IN(1, STATUS_AT + 1));
    script_put(&a, I_CLEAR_ACK);
    script_put(&a, I_INT(1));
    script_run(&a, SCRIPT);
    assert_int_equal(reg(&a, DSPS, 4), 8);
    reg(&a, DSTAT, 1);
    memcpy(b.pc.f->ram, a.pc.f->ram, 1 << 20);
    pc_move(&a.pc, &b.pc);
    script_run(&b, SCRIPT + 5 * 8);
    assert_int_equal(end_command(&b), SCSI_GOOD);
    assert_fake(ram(&b, DATA_AT), 3 * 512, 2048);
    rig_free(&a);
    rig_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsi_when_reset_then_registers_are_the_manuals),
        cmocka_unit_test(test_lsi_scripts_compute_call_and_copy),
        cmocka_unit_test(test_lsi_when_instruction_or_memory_is_bad_then_stops),
        cmocka_unit_test(test_lsi_endless_script_pauses_and_can_be_aborted),
        cmocka_unit_test(test_lsi_general_timer_ticks),
        cmocka_unit_test(test_lsi_when_nobody_answers_then_selection_times_out),
        cmocka_unit_test(test_lsi_when_data_end_early_then_phase_mismatch),
        cmocka_unit_test(test_lsi_negotiation_is_agreed_to),
        cmocka_unit_test(test_lsi_targets_disconnect_and_come_back_with_their_tags),
        cmocka_unit_test(test_lsi_when_signalled_then_waiting_ends),
        cmocka_unit_test(test_lsi_abort_messages_hit_what_they_name),
        cmocka_unit_test(test_lsi_bus_reset_in_mid_transfer_drops_everything),
        cmocka_unit_test(test_lsi_chip_reset_in_mid_transfer_drops_everything),
        cmocka_unit_test(test_lsi_more_commands_than_it_takes_then_queue_full),
        cmocka_unit_test(test_lsi_saved_in_mid_read_then_goes_on),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
