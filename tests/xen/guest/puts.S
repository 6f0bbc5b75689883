# 32-bit code: puts writes the string at %esi to COM1, putc the byte in %al. Both change %eax, %edx.
puts: lodsb
    testb %al, %al
    jz 2f
    call putc
    jmp puts
2:  ret
putc: movb %al, %ah
    movw $0x3fd, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    movb %ah, %al
    movw $0x3f8, %dx
    outb %al, %dx
    ret
