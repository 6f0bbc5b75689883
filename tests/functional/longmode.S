/* SPDX-License-Identifier: MIT */
/* tests/functional/longmode.S - a multiboot kernel that goes to long mode and waits.
 *
 * Linear 0 is physical 0, and HIGH is physical HIGH_PHYS, 2 MiB each. It stores a text through HIGH, puts
 * known numbers into registers, says "!" on port 0xe9 and halts for good.
 */
    .set TABLES, 0x180000     /* PML4, PDPT low, PD low, PDPT high, PD high */
    .set HIGH, 0xffffffff80000000
    .set HIGH_PHYS, 0x400000

    .section .text
    .code32
    .globl start
start:
    jmp 1f
    .balign 4
    .long 0x1badb002, 0, -0x1badb002
1:  cli
    cld
    movl $TABLES, %edi
    xorl %eax, %eax
    movl $5 * 1024, %ecx
    rep stosl
    movl $TABLES + 0x1003, TABLES
    movl $TABLES + 0x3003, TABLES + 511 * 8
    movl $TABLES + 0x2003, TABLES + 0x1000
    movl $0x83, TABLES + 0x2000
    movl $TABLES + 0x4003, TABLES + 0x3000 + 510 * 8
    movl $HIGH_PHYS + 0x83, TABLES + 0x4000
    movl $TABLES, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                     /* PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx              /* EFER.LME */
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode

    .code64
long_mode:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %ss
    movq $HIGH + 0x123, %rdi
    leaq text(%rip), %rsi
    movl $text_end - text, %ecx
    rep movsb
    movq $0x1122334455667788, %rax
    movq %rax, %r15
    movq $HIGH + 0x1000, %rsp
    pushq %rax
    movb $'!', %al
    outb %al, $0xe9
    movq %r15, %rax
1:  hlt
    jmp 1b

text:
    .asciz "written through the high mapping"
text_end:
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word 23
    .long gdt
