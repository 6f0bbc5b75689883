/* SPDX-License-Identifier: MIT */
/* tests/functional/atomics.S - a multiboot kernel: two processors meet in locked operations that are not on
 * plain memory.
 *
 * In each round the first processor counts with a locked operation, and the second one, without a lock,
 * stores to another byte of the same operand and reads it back, or counts too. Port 0xe9 gets the
 * round's letter, and "+" or the number of what got lost as hex. The machine ends by port 0xf4.
 */
    .set N, 30000
    .set CROSSING, 0x200ffe   /* over two pages */
    .set ON_CODE, 0x204010    /* beside code on its page */
    .set CODE, 0x204800
    .set EIGHT, 0x206ffc      /* eight bytes over two pages */
    .set SCREEN, 0xb8000      /* a device's */
    .set AP, 0x8000

    .section .text
    .code32
    .globl start
start:
    jmp 1f
    .balign 4
    .long 0x1badb002, 0, -0x1badb002
1:  cli
    cld
    movl $stack_end, %esp
    movl $ap_start, %esi
    movl $AP, %edi
    movl $ap_end - ap_start, %ecx
    rep movsb
    movl $0x0f00, %eax                  /* the local APIC on: spurious vector */
    orl $0xff, %eax
    andl $0x1ff, %eax
    movl $0x1ff, 0xfee000f0
    movl $0x01000000, 0xfee00310
    movl $0x4500, 0xfee00300            /* INIT to processor 1 */
    movl $0x100000, %ecx
1:  pause
    loop 1b
    movl $0x01000000, 0xfee00310
    movl $0x4600 | (AP >> 12), 0xfee00300
1:  pause
    cmpl $1, ap_up
    jne 1b

    movb $0xc3, CODE                    /* ret: the page gets code */
    movl $CODE, %eax
    call *%eax

    movl $'A', %ebx                     /* LOCK over two pages beside a plain store */
    movl $CROSSING, %edi
    call round
    movl $'B', %ebx                     /* the same on a page with code */
    movl $ON_CODE, %edi
    call round
    movl $'C', %ebx                     /* the same on a device */
    movl $SCREEN, %edi
    call round
    movl $'D', %ebx                     /* CMPXCHG8B over two pages, both */
    movl $EIGHT, %edi
    movl %edi, ap_edi
    movl $2, go
    call count8
1:  pause
    cmpl $0, go
    jne 1b
    movl $2 * N, %ecx
    subl EIGHT, %ecx
    call tell
    movb $0, %al
    outb %al, $0xf4
1:  hlt
    jmp 1b

/* EBX: the letter, EDI: a word whose highest byte is the other's. */
round:
    movl $0, (%edi)
    movl $0, lost
    movl %edi, ap_edi
    movl $1, go
1:  pause                               /* it might see "go" when the round is over, and the next EDI */
    cmpl $1, busy
    jne 1b
    movl $N, %ecx
1:  lock addl $1, (%edi)
    loop 1b
    movl $0, go
1:  pause
    cmpl $0, busy
    jne 1b
    movl (%edi), %eax
    andl $0xffffff, %eax
    movl $N, %ecx
    subl %eax, %ecx
    addl lost, %ecx
    jmp tell

/* The letter in EBX and what is in ECX. */
tell:
    movb %bl, %al
    outb %al, $0xe9
    movb $'+', %al
    jecxz 3f
    movl $8, %edx
1:  roll $4, %ecx
    movb %cl, %al
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 2f
    addb $7, %al
2:  outb %al, $0xe9
    decl %edx
    jnz 1b
    ret
3:  outb %al, $0xe9
    ret

count8:
    movl $N, %esi
1:  movl (%edi), %eax
    movl 4(%edi), %edx
2:  movl %eax, %ebx
    movl %edx, %ecx
    addl $1, %ebx
    adcl $0, %ecx
    lock cmpxchg8b (%edi)
    jnz 2b
    decl %esi
    jnz 1b
    movl $'D', %ebx
    ret

/* The other processor. */
ap:
    movl $ap_stack_end, %esp
    movl $1, ap_up
ap_wait:
    movl go, %eax
    cmpl $0, %eax
    je ap_wait
    movl ap_edi, %edi
    cmpl $2, %eax
    je ap_count
    movl $1, busy
    xorl %edx, %edx
1:  incb %dl
    movb %dl, 3(%edi)
    cmpb %dl, 3(%edi)
    je 2f
    incl lost
2:  cmpl $1, go
    je 1b
    movl $0, busy
    jmp ap_wait
ap_count:
    call count8
    movl $0, go
    jmp ap_wait

    .code16
ap_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl gdtr - ap_start + AP
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $ap_flat - ap_start + AP
    .code32
ap_flat:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $ap, %eax
    jmp *%eax
    .balign 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word 23
    .long gdt - ap_start + AP
ap_end:

    .bss
    .balign 64
go: .skip 64
busy: .skip 64
lost: .skip 64
ap_up: .skip 64
ap_edi: .skip 64
    .skip 4096
stack_end:
    .skip 4096
ap_stack_end:
