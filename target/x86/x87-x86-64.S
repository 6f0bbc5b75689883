/* SPDX-License-Identifier: MIT */
/* target/x86/x87-x86-64.S - runs one x87 instruction of the host on a given state. See fpu.c.
 *
 * Every register form (opcodes d8..df, ModRM c0..ff) and every memory form (ModRM /0../7 with the
 * address in rdi) stands here as a routine of four bytes.
 */
        .text

        .balign 16
        .globl  x87_register_forms
        .hidden x87_register_forms
x87_register_forms:
        .set    op, 0xd8
        .rept   8
        .set    modrm, 0xc0
        .rept   64
        .byte   op, modrm, 0xc3, 0x90
        .set    modrm, modrm + 1
        .endr
        .set    op, op + 1
        .endr

        .globl  x87_memory_forms
        .hidden x87_memory_forms
x87_memory_forms:
        .set    op, 0xd8
        .rept   8
        .set    modrm, 0x07
        .rept   8
        .byte   op, modrm, 0xc3, 0x90
        .set    modrm, modrm + 8
        .endr
        .set    op, op + 1
        .endr

/* void x87_run(void *image, const void *routine, void *mem, uint64_t *flags)
 * image: FXSAVE64 format, 16-byte aligned, with the caller's MXCSR. flags: EFLAGS before and after.
 * Leaves the processor's x87 state as after FNINIT. Vector registers are the caller's to save. */
        .globl  x87_run
        .hidden x87_run
        .type   x87_run, @function
x87_run:
        pushq   %rbx
        pushq   %rdi
        movq    %rcx, %rbx
        fxrstor64 (%rdi)
        movq    %rdx, %rdi
        pushq   (%rbx)
        popfq
        call    *%rsi
        pushfq
        popq    (%rbx)
        popq    %rdi
        fxsave64 (%rdi)
        fninit
        popq    %rbx
        ret
        .size   x87_run, . - x87_run

        .section .note.GNU-stack, "", @progbits
