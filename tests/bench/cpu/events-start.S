/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/events-start.S - from multiboot's 32-bit entry to C in long mode; entry points of
 * the interrupt and the page fault. The first GiB is mapped by 2 MiB pages, one of them by 4 KiB ones.
 */
        .section .multiboot, "a"
        .balign 4
        .long   0x1badb002, 0, -0x1badb002

        .text
        .code32
        .globl  start
start:
        cli
        movl    $stack_top, %esp
        movl    $pml4, %edi                     /* clear the tables */
        xorl    %eax, %eax
        movl    $(4 * 4096 / 4), %ecx
        cld
        rep stosl
        movl    $(pdpt + 3), pml4
        movl    $(directory + 3), pdpt
        xorl    %ecx, %ecx
1:      movl    %ecx, %eax
        shll    $21, %eax
        orl     $0x83, %eax
        movl    %eax, directory(, %ecx, 8)
        incl    %ecx
        cmpl    $512, %ecx
        jne     1b
        movl    $(table + 3), directory + 8 * 16 /* 32 MiB: 4 KiB pages */
        xorl    %ecx, %ecx
2:      movl    %ecx, %eax
        shll    $12, %eax
        addl    $0x2000003, %eax
        movl    %eax, table(, %ecx, 8)
        incl    %ecx
        cmpl    $512, %ecx
        jne     2b
        movl    %cr4, %eax
        orl     $0x620, %eax                    /* PAE, SSE */
        movl    %eax, %cr4
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax                    /* LME */
        wrmsr
        movl    %cr0, %eax
        orl     $0x80010001, %eax
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $8, $long_mode

        .code64
long_mode:
        movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $stack_top, %esp
        call    main
3:      hlt
        jmp     3b

        .globl  on_interrupt, on_page_fault
on_interrupt:
        iretq
/* Makes the page present again that fault_entry points to. */
on_page_fault:
        pushq   %rax
        movq    fault_entry, %rax
        orq     $1, (%rax)
        popq    %rax
        addq    $8, %rsp
        iretq

        .data
        .balign 8
gdt:    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   gdt

        .bss
        .balign 4096
        .globl  pml4, table, fault_entry
pml4:   .skip   4096
pdpt:   .skip   4096
directory:
        .skip   4096
table:  .skip   4096
        .skip   16384
stack_top:
fault_entry:
        .skip   8
        .section .note.GNU-stack, "", @progbits
