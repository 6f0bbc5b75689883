/* SPDX-License-Identifier: MIT */
/* hw/firmware/boot-rom.S - the option ROM that starts -kernel: see boot-rom.h.
 *
 * Real mode, called by the BIOS as a boot entry vector with CS = the ROM's segment. All copying is
 * done by fw_cfg's DMA, which reaches every address from here. Labels are used as differences to
 * the image's start, so that the assembler leaves nothing to a linker.
 * References: BIOS Boot Specification 1.01, appendix A; docs/specs/fw_cfg of QEMU; Linux
 * Documentation/x86/boot.rst; Multiboot 0.6.96, 3.3; Xen's public/arch-x86/hvm/start_info.h.
 */
#define FW_DMA_HIGH 0x514
#define FW_DMA_LOW 0x518
#define DMA_READ_SELECTED 0x0a /* READ | SELECT */

#define KERNEL_ADDR 0x07
#define INITRD_ADDR 0x0a
#define KERNEL_ENTRY 0x10
#define CMDLINE_ADDR 0x13
#define SETUP_ADDR 0x16
#define KERNEL_DATA 0x11
#define INITRD_DATA 0x12
#define CMDLINE_DATA 0x15
#define SETUP_DATA 0x18

#define MULTIBOOT 1
#define PVH 2
#define MAP 0x4000
#define MAP_MAX 64
#define MBI_MEM_LOWER 4
#define MBI_MEM_UPPER 8
#define MBI_MMAP_LENGTH 44
#define START_RSDP 32
#define START_MAP_ENTRIES 48

#define AT(label) (label - boot_rom)

    .section .rodata
    .balign 16
    .globl boot_rom, boot_rom_end
boot_rom:
    .code16
    .byte 0x55, 0xaa
    .byte (boot_rom_end - boot_rom) / 512
    lret /* initialisation: nothing */
    .byte 0 /* 4 */
    .byte 0 /* 5: checksum */
    .byte 0 /* 6: mode */
    .org boot_rom + 0x1a
    .word AT(pnp)

    .balign 16
pnp:
    .ascii "$PnP"
    .byte 0x01, 2 /* version, length in 16 bytes */
    .word 0       /* no further header */
    .byte 0
pnp_sum:
    .byte 0x100 - ((0x24 + 0x50 + 0x6e + 0x50 + 0x01 + 2 + AT(maker) % 256 + AT(maker) / 256 + AT(product) % 256 + AT(product) / 256 + 0x80 + AT(bev) % 256 + AT(bev) / 256 + 0x04) % 256)
    .long 0 /* device identifier */
    .word AT(maker), AT(product)
    .byte 0x80, 0, 0 /* type: other (boots by itself) */
    .byte 0x04       /* may be used as a boot device's BEV */
    .word 0          /* no boot connection vector */
    .word 0          /* no disconnect vector */
    .word AT(bev)
    .word 0
    .word 0
maker:
    .asciz "Keel"
product:
    .asciz "Keel direct kernel boot"

    .balign 4
/* A flat 32-bit world. */
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
gdt_end:

/* EAX: item; EBX: bytes; EDX: where to. Reads the item through DMA. Keeps everything but EFLAGS. */
dma:
    pushal
    mov %esp, %ebp
    sub $16, %sp
    shl $16, %eax
    or $DMA_READ_SELECTED, %eax
    bswap %eax
    mov %eax, %ss:-16(%bp)
    bswap %ebx
    mov %ebx, %ss:-12(%bp)
    movl $0, %ss:-8(%bp)
    bswap %edx
    mov %edx, %ss:-4(%bp)
    /* linear address of the request */
    xor %ecx, %ecx
    mov %ss, %cx
    shl $4, %ecx
    movzwl %sp, %eax
    add %ecx, %eax
    bswap %eax
    mov %eax, %ecx
    xor %eax, %eax
    mov $FW_DMA_HIGH, %dx
    outl %eax, %dx
    mov %ecx, %eax
    mov $FW_DMA_LOW, %dx
    outl %eax, %dx
1:
    mov %ss:-16(%bp), %eax /* 0 or an error when done; both end the wait */
    bswap %eax
    test $~1, %eax
    jnz 1b
    mov %bp, %sp
    popal
    ret

/* EAX: item. Returns its four bytes in EAX. */
number:
    push %ebx
    push %edx
    push %ecx
    push $0
    push $0
    xor %edx, %edx
    mov %ss, %dx
    shl $4, %edx
    movzwl %sp, %ecx
    add %ecx, %edx
    mov $4, %ebx
    call dma
    pop %eax
    pop %ecx
    pop %edx
    pop %ebx
    ret

/* EAX: the number of an address item; the size item is the next. EDI: data item. Copies it there and
 * returns the address in EDX. */
load:
    push %eax
    call number
    mov %eax, %edx
    pop %eax
    inc %eax
    call number
    mov %eax, %ebx
    mov %edi, %eax
    test %ebx, %ebx
    jz 1f
    call dma
1:
    ret

bev:
    cli
    cld
    /* A stack of our own, below where BIOSes load boot sectors. */
    xor %ax, %ax
    mov %ax, %ss
    mov $0x7000, %esp
    mov $KERNEL_ADDR, %eax
    mov $KERNEL_DATA, %edi
    call load
    mov $INITRD_ADDR, %eax
    mov $INITRD_DATA, %edi
    call load
    mov $CMDLINE_ADDR, %eax
    mov $CMDLINE_DATA, %edi
    call load
    push %edx
    mov $SETUP_ADDR, %eax
    mov $SETUP_DATA, %edi
    call load
    pop %ecx /* command line; EDX: set-up */
    cmpb $0, %cs:AT(boot_rom) + 6
    jne protected

/* Linux: all segments at the set-up part, the stack ends below the command line. */
linux:
    sub %edx, %ecx
    sub $16, %ecx
    mov %edx, %eax
    shr $4, %eax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov %ecx, %esp
    add $0x20, %ax
    push %ax
    pushw $0
    xor %eax, %eax
    xor %ebx, %ebx
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %ebp, %ebp
    lret

/* EDX: the information structure. The memory map follows from INT 15h, E820. */
protected:
    sti
    mov %edx, %eax
    shr $4, %eax
    mov %ax, %ds
    mov %ax, %es
    push %edx
    mov $MAP, %di
    xor %ebx, %ebx
    xor %bp, %bp /* entries */
next_entry:
    push %di
    movl $0, (%di)
    movl $0, 20(%di)
    cmpb $MULTIBOOT, %cs:AT(boot_rom) + 6
    jne 1f
    movl $20, (%di)
    add $4, %di
1:
    mov $0xe820, %eax
    mov $0x534d4150, %edx
    mov $20, %ecx
    int $0x15
    pop %di
    jc map_done
    cmp $0x534d4150, %eax
    jne map_done
    inc %bp
    add $24, %di
    cmp $MAP_MAX, %bp
    je map_done
    test %ebx, %ebx
    jnz next_entry
map_done:
    cli
    movzwl %bp, %ecx
    cmpb $MULTIBOOT, %cs:AT(boot_rom) + 6
    jne pvh

/* Sizes in KiB: what lies at 0, and what at 1 MiB. */
multiboot:
    imul $24, %ecx, %eax
    mov %eax, MBI_MMAP_LENGTH
    mov $MAP, %di
2:
    cmpl $0, 8(%di)
    jne 4f
    cmpl $1, 20(%di)
    jne 4f
    mov 12(%di), %eax
    shr $10, %eax
    cmpl $0, 4(%di)
    jne 3f
    mov %eax, MBI_MEM_LOWER
    jmp 4f
3:
    cmpl $0x100000, 4(%di)
    jne 4f
    mov %eax, MBI_MEM_UPPER
4:
    add $24, %di
    dec %bp
    jnz 2b
    jmp go

/* The RSDP is where BIOSes put it: on 16 bytes from 0xe0000 to 1 MiB. */
pvh:
    mov %ecx, START_MAP_ENTRIES
    mov $0xe000, %ax
2:
    mov %ax, %es
    cmpl $0x20445352, %es:0 /* "RSD " */
    jne 3f
    cmpl $0x20525450, %es:4 /* "PTR " */
    je 4f
3:
    inc %ax
    jnz 2b
    jmp go
4:
    movzwl %ax, %eax
    shl $4, %eax
    mov %eax, START_RSDP

go:
    in $0x92, %al /* address line 20 open */
    or $2, %al
    and $0xfe, %al
    out %al, $0x92
    mov $KERNEL_ENTRY, %eax
    call number
    mov %eax, %ebp
    pop %ebx
    /* A descriptor of the GDT, and a far pointer to our 32-bit part, on the stack. */
    xor %eax, %eax
    mov %cs, %ax
    shl $4, %eax
    lea AT(gdt)(%eax), %ecx
    push %ecx
    pushw $(gdt_end - gdt - 1)
    mov %esp, %esi
    lgdtl %ss:(%si)
    pushw $8
    lea AT(flat)(%eax), %ecx
    push %ecx
    mov %esp, %esi
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl *%ss:(%si)

    .code32
flat:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov $0x2badb002, %eax /* multiboot's magic; PVH does not look */
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    push $2
    popfl
    jmp *%ebp

    .balign 512
boot_rom_end:
    .section .note.GNU-stack, "", @progbits
