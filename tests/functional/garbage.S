/* SPDX-License-Identifier: MIT */
/* tests/functional/garbage.S - firmware that runs garbage, other garbage after each reset.
 *
 * From the time-stamp counter it takes a seed, and from that a mode (real, protected, protected with
 * paging, long), 64 KiB of code (random bytes, or a piece of the instructions in the ROM's lower part),
 * handlers for all interrupts somewhere in that code, and registers. Identity maps reach all devices.
 * It lies at BASE, its segment in real mode.
 */
    .set BASE, 0xf0000
    .set CODE, 0x10000
    .set IDT, 0x8000
    .set TABLES, 0x1000
    .set POOL, 0xfffc0000

    .section .text
    .code16
    .globl start
start:
    cli
    xorw %ax, %ax
    movw %ax, %ss
    movl $0x7f00, %esp
    rdtsc
    movl %eax, %ebx
    xorl %edx, %ebx
    orl $1, %ebx
    .byte 0x2e
    lgdtl gdtr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $BASE + flat

    .code32
next: /* EBX: the next random number; ECX goes */
    movl %ebx, %ecx
    shll $13, %ecx
    xorl %ecx, %ebx
    movl %ebx, %ecx
    shrl $17, %ecx
    xorl %ecx, %ebx
    movl %ebx, %ecx
    shll $5, %ecx
    xorl %ecx, %ebx
    ret

flat:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl $CODE, %edi
    call next
    testl $0x300, %ebx
    jz bytes
    movl %ebx, %esi /* most of the time: instructions */
    andl $0x1ffff, %esi
    addl $POOL, %esi
    movl $0x4000, %ecx
    rep movsl
    jmp filled
bytes:
    call next
    movl %ebx, %eax
    stosl
    cmpl $CODE + 0x10000, %edi
    jb bytes
filled:
    call tables
    call stack
    movl %cr4, %eax
    orl $0x40600, %eax /* OSXSAVE, OSXMMEXCPT, OSFXSR */
    movl %eax, %cr4
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $7, %eax
    xsetbv
    call next
    movl %ebx, %ebp
    andl $3, %ebp
    jz real
    cmpl $1, %ebp
    je protected
    movl %cr4, %eax
    orl $0x30, %eax /* PAE, PSE */
    movl %eax, %cr4
    movl $TABLES, %eax
    cmpl $2, %ebp
    je long
    movl $TABLES + 0x1000, %eax /* the four page directories' table */
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
protected:
    xorl %ebp, %ebp
    call gates
    lidt BASE + idtr32
    call registers
    ljmpl $8, $CODE

long:
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax /* NXE, LME, SCE */
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    movl $1, %ebp
    call gates
    lidt BASE + idtr64
    call registers
    ljmpl $0x18, $CODE

real:
    xorl %edi, %edi /* vectors into the code at 1000:xxxx */
1:  call next
    movzwl %bx, %eax
    orl $0x10000000, %eax
    stosl
    cmpl $0x400, %edi
    jb 1b
    ljmpl $0x20, $back
    .code16
back:
    movw $0x28, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    .byte 0x2e
    lidtl idtr16
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmpl $0xf000, $again
again:
    movw %bx, %ds
    shrl $3, %ebx
    movw %bx, %es
    movw $0x2000, %ax
    movw %ax, %ss
    movl %ebx, %esi
    movl %ebx, %edi
    movl %ebx, %edx
    movl $0x8000, %esp
    ljmpl $0x1000, $0

    .code32
/* Four levels and PAE's three: everything below 4 GiB where it is, in 2 MiB pages. */
tables:
    movl $TABLES, %edi
    xorl %eax, %eax
    movl $0x1800, %ecx
    rep stosl
    movl $TABLES + 0x1007, TABLES
    movl $4, %ecx
    movl $TABLES + 0x2001, %eax
    movl $TABLES + 0x1000, %edi
1:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b
    movl $TABLES + 0x2000, %edi
    movl $0xe7, %eax
    movl $2048, %ecx
2:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 2b
    ret

/* What is popped leads into the code, and below the tables there are breakpoints. */
stack:
    movl $0x20000, %edi
1:  call next
    movzwl %bx, %eax
    addl $CODE, %eax
    stosl
    testb $1, %bh /* an upper half now and then */
    jz 2f
    xorl %eax, %eax
    stosl
2:  cmpl $0x40000, %edi
    jb 1b
    movl $0xcccccccc, %eax
    movl $0x500, %edi
    movl $0x2c0, %ecx
    rep stosl
    ret

/* EBP 1: long mode's gates. */
gates:
    movl $IDT, %edi
    movl $256, %edx
1:  call next
    movzwl %bx, %eax
    orl $0x80000, %eax
    testl %ebp, %ebp
    jz 2f
    orl $0x180000, %eax
2:  stosl
    movl $0x18e00 - 0x10000 + CODE, %eax /* offset's upper half: CODE's */
    stosl
    testl %ebp, %ebp
    jz 3f
    xorl %eax, %eax
    stosl
    stosl
3:  decl %edx
    jnz 1b
    ret

registers:
    popl %edi
    movl $0x30000, %esp
    pushl %edi
    call next
    movl %ebx, %esi
    andl $0x1ffff, %esi
    call next
    movl %ebx, %edi
    call next
    movl %ebx, %ebp
    andl $0x3ffff, %ebp
    call next
    movl %ebx, %edx
    movl %ebx, %eax
    roll $7, %eax
    ret

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* 08: code, 32 bits */
    .quad 0x00cf93000000ffff /* 10: data */
    .quad 0x00af9b000000ffff /* 18: code, 64 bits */
    .quad 0x00009b0f0000ffff /* 20: code, 16 bits, at 0xf0000 */
    .quad 0x000093000000ffff /* 28: data of 64 KiB */
gdtr:
    .word . - gdt - 1
    .long BASE + gdt
idtr16:
    .word 0x3ff
    .long 0
idtr32:
    .word 0x7ff
    .long IDT
idtr64:
    .word 0xfff
    .long IDT

    .org 0xfff0
    .code16
    .byte 0xe9 /* jmp start */
    .word start - . - 2
    .org 0x10000
