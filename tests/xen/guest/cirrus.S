# Boot sector that paints with the Cirrus GD5446's blitter: VESA mode 0x101 (640x480, 256 colours),
# eight solid fills side by side, a forward copy, an XOR copy over itself, a backward copy with
# overlap. Then "CIRRUS DONE" on COM1, and power off at "q".
    .code16
    .globl _start
_start:
    ljmp $0, $1f
1:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $m_start, %si
    call puts
    movw $0x4f02, %ax
    movw $0x101, %bx
    int $0x10
    movw $0x3c4, %dx        # unlock the extended registers
    movw $0x1206, %ax
    outw %ax, %dx
    movb $1, %bl            # eight fills, colours 1..8, 80 pixels wide each
    movw $0, %di
2:  movw $0x3ce, %dx
    movb $0x01, %al         # foreground colour
    movb %bl, %ah
    outw %ax, %dx
    movw %di, %ax
    movb $0x28, %cl         # destination, low and middle byte
    call out_word
    movw $fill, %si
    call blit
    addw $80, %di
    incb %bl
    cmpb $9, %bl
    jne 2b
    movw $copies, %si
3:  call blit
    cmpb $0, (%si)
    jne 3b
    movw $m_done, %si
    call puts
4:  movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz 4b
    movw $0x3f8, %dx
    inb %dx, %al
    cmpb $'q', %al
    jne 4b
    movw $0xb004, %dx
    movw $0x2000, %ax
    outw %ax, %dx
    hlt
# register pairs at si up to a zero, then start and wait
blit:
    movw $0x3ce, %dx
5:  lodsw
    testb %al, %al
    jz 6f
    outw %ax, %dx
    jmp 5b
6:  movw $0x0231, %ax
    outw %ax, %dx
    movb $0x31, %al
    outb %al, %dx
    incw %dx
7:  inb %dx, %al
    testb $0x08, %al
    jnz 7b
    ret
# ax to the registers cl and cl + 1
out_word:
    pushw %ax
    movb %al, %ah
    movb %cl, %al
    outw %ax, %dx
    popw %ax
    incb %cl
    movb %cl, %al
    outw %ax, %dx
    ret
puts: lodsb
    testb %al, %al
    jz 9f
    movb %al, %ah
8:  movw $0x3fd, %dx
    inb %dx, %al
    testb $0x20, %al
    jz 8b
    movb %ah, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp puts
9:  ret
m_start: .asciz "CIRRUS START\r\n"
m_done: .asciz "CIRRUS DONE\r\n"
# width - 1, height - 1, pitches, top byte of the destination, solid fill, source copy
fill: .byte 0x20,79, 0x21,0, 0x22,99, 0x23,0, 0x24,0x80, 0x25,2, 0x26,0x80, 0x27,2, 0x2a,0
      .byte 0x33,4, 0x30,0xc0, 0x32,0x0d, 0,0
copies:
      # forward: 200x100 from (40,0) to (40,120)
      .byte 0x20,199, 0x22,99, 0x2c,40, 0x2d,0, 0x2e,0, 0x28,0x28, 0x29,0x2c, 0x2a,1
      .byte 0x33,0, 0x30,0, 0x32,0x0d, 0,0
      # XOR the same onto (100,20)
      .byte 0x28,0xe4, 0x29,0x32, 0x2a,0, 0x32,0x59, 0,0
      # backward, overlapping, right and down: ends at (639,219) from (599,199)
      .byte 0x2c,0xd7, 0x2d,0xf2, 0x2e,1, 0x28,0xff, 0x29,0x26, 0x2a,2, 0x30,1, 0x32,0x0d, 0,0
      .byte 0
    .org 510
    .word 0xaa55
    .org 1024
