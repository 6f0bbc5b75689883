# A kernel for xl's kernel=: multiboot 1, or with --defsym PVH=1 an ELF file with a PVH note. Says its
# command line and its first module, a string, on COM1, and whether it learned of the memory.
# References: Multiboot 0.6.96, 3.3; Xen's public/arch-x86/hvm/start_info.h.
    .code32
    .globl _start
    .ifdef PVH
    .set CMDLINE, 24 # of hvm_start_info, at %ebx
    .set MODULES, 16
    .set MEMORY_MAP, 48 # its entries
    .set RSDP, 32
    .section .note.Xen, "a", @note
    .long 4, 4, 18 # lengths of name and value; PHYS32_ENTRY
    .asciz "Xen"
    .long _start
    .text
    .else
    .set CMDLINE, 16 # of the multiboot information, at %ebx
    .set MODULES, 24
    .set MEMORY_MAP, 44 # its bytes
    .balign 4
    .long 0x1badb002, 3, -(0x1badb002 + 3) # pages aligned, memory information wanted
    .endif
_start:
    movl $stack, %esp
    .ifdef PVH
    cmpl $0x336ec578, (%ebx)
    jne bad
    movl RSDP(%ebx), %eax
    cmpl $0x20445352, (%eax)
    .else
    cmpl $0x2badb002, %eax
    .endif
    jne bad
    cmpl $0, MEMORY_MAP(%ebx)
    je bad
    movl CMDLINE(%ebx), %esi
    call puts
    movb $' ', %al
    call putc
    movl MODULES(%ebx), %ebx
    movl (%ebx), %esi # where the first one starts
    call puts
    movl $m_known, %esi
    jmp say
bad:
    movl $m_bad, %esi
say:
    call puts
1:  hlt
    jmp 1b
    .include "puts.S"
m_known: .asciz " MEMORY KNOWN\n"
m_bad: .asciz " BAD START\n"
    .align 16
    .skip 1024
stack:
