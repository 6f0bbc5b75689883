# A kernel for xl's kernel=: multiboot 1, or with --defsym PVH=1 an ELF file with a PVH note. Says its
# command line and its first module, a string, on COM1, and whether it learned of the memory.
# References: Multiboot 0.6.96, 3.3; Xen's public/arch-x86/hvm/start_info.h.
    .code32
    .globl _start
    .ifdef PVH
    .section .note.Xen, "a", @note
    .long 4, 4, 18 # lengths of name and value; PHYS32_ENTRY
    .asciz "Xen"
    .long _start
    .text
    .else
    .balign 4
    .long 0x1badb002, 3, -(0x1badb002 + 3) # pages aligned, memory information wanted
    .endif
_start:
    movl $stack, %esp
    movl %ebx, %ebp
    .ifdef PVH
    cmpl $0x336ec578, (%ebp)
    jne bad
    movl 24(%ebp), %esi # cmdline_paddr
    call puts
    movl 16(%ebp), %ebx # modlist_paddr
    cmpl $0, 48(%ebp)   # memmap_entries
    je bad
    movl 32(%ebp), %eax # rsdp_paddr
    cmpl $0x20445352, (%eax)
    jne bad
    .else
    cmpl $0x2badb002, %eax
    jne bad
    movl 16(%ebp), %esi # cmdline
    call puts
    movl 24(%ebp), %ebx # mods_addr
    cmpl $0, 44(%ebp)   # mmap_length
    je bad
    .endif
    movb $' ', %al
    call putc
    movl (%ebx), %esi   # where the first module starts
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
