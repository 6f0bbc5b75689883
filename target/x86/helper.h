/* SPDX-License-Identifier: MIT */
/* target/x86/helper.h - instructions that translated code calls as functions: all of the system
 * architecture, string instructions, divisions, I/O.
 *
 * Written by seg.c, excp.c, msr.c, mmu.c, io.c, string.c, fpu-env.c ...; used by translate*.c. Each
 * has the shape of ir_helper_fn; its struct ir_helper says what it touches. Arguments in order a, b, c.
 * `next` is the RIP behind the instruction. Those that end a block leave cpu->pc where execution goes on
 * and the front end emits IR_EXIT behind them; the others leave cpu->pc alone.
 */
#ifndef TARGET_X86_HELPER_H
#define TARGET_X86_HELPER_H

#include "tcg/ir.h"

#define H(name) extern const struct ir_helper x86_h_##name
/* exceptions: do not return */
H(raise);      /* vector */
H(raise_code); /* vector, code */
H(int);        /* vector, next: INT n (checks DPL, VM86 IOPL/VME) */
H(int3);       /* next */
H(into);       /* next; only called when OF is set */
H(int1);       /* next */
/* control transfers; end the block */
H(jmp_far);  /* selector, offset, operand size in bytes | next << 8 */
H(call_far); /* selector, offset, operand size | next << 8 */
H(ret_far);  /* operand size, bytes to pop */
H(iret);     /* operand size, next */
H(syscall);  /* next */
H(sysret);   /* operand size (4 or 8) */
H(sysenter);
H(sysexit); /* operand size */
H(hlt);     /* next */
H(pause);   /* next: another processor's turn */
H(mwait);   /* next */
H(rsm);
/* segments */
H(load_seg); /* segment number, selector: mode may change, ends the block; next in c */
H(lldt);     /* selector */
H(ltr);
H(lar); /* selector, old destination, operand size; ZF in flags */
H(lsl);
H(verr); /* selector; ZF */
H(verw);
H(lgdt); /* linear address of the operand, operand size (2, 4 or 8) */
H(lidt);
H(sgdt); /* linear address, operand size */
H(sidt);
/* system registers; all of these may change the mode and end the block with c = next */
H(mov_to_cr);   /* number, value, next */
H(mov_from_cr); /* number; returns value; does not end the block */
H(mov_to_dr);
H(mov_from_dr);
H(clts);    /* -, -, next */
H(lmsw);    /* value, -, next */
H(invlpg);  /* linear, -, next */
H(invpcid); /* type, linear of descriptor, next */
H(wrmsr);   /* -, -, next: registers are read from cpu */
H(rdmsr);   /* writes rax, rdx */
H(rdtsc);   /* writes rax, rdx */
H(rdtscp);  /* also rcx */
H(rdpmc);
H(cpuid); /* writes rax rbx rcx rdx */
H(xgetbv);
H(xsetbv); /* -, -, next */
H(swapgs);
H(rdfsbase); /* segment number; returns base */
H(wrfsbase); /* segment number, value, operand size */
H(popf);     /* value, operand size, next: mode may change, ends the block */
H(pushf);    /* operand size; returns the image (VM and RF clear); checks VM86 IOPL */
H(cli);      /* -, -, next; ends the block */
H(sti);
H(stac); /* -, -, next; ends the block: another soft TLB */
H(clac);
H(wbinvd);  /* privilege check only */
H(monitor); /* linear */
H(rdrand);  /* size; returns value, CF in flags */
H(rdseed);
H(rdpid);
/* ports: port (already 16 bit), size (1, 2, 4), value; permission is checked */
H(in);  /* returns value */
H(out); /* may end up resetting or pausing: the front end ends the block */
/* string instructions, with repeat prefix or without, whole runs at a time. a: element bytes |
 * address bytes << 8 | prefix << 16 (0 none, 1 rep/repe, 2 repne) | segment << 24 (source), b: next,
 * c: this RIP. They stop at exit requests with the registers exact, and set cpu->pc to this RIP (to go on) or
 * next; end the block. CMPS and SCAS set the flags. */
H(movs);
H(stos);
H(lods);
H(cmps);
H(scas);
H(ins);
H(outs);
/* arithmetic that may fault. Operands beyond a, b, c come from rax/rdx in cpu. */
H(div); /* divisor, size: unsigned rdx:rax / a; #DE */
H(idiv);
H(aam); /* immediate; #DE when 0; flags */
H(aad);
H(daa);
H(das);
H(aaa);
H(aas);
H(bound);     /* value, linear of bounds, size */
H(enter);     /* frame bytes, nesting level, operand size | stack address size << 8 */
H(cmpxchg8b); /* linear, -, -: ZF; locked */
H(cmpxchg16b);
H(arpl); /* destination, source; returns result; ZF */
H(xlat_check);
/* segment limit and type checks outside 64-bit mode when MODE_SEGLIMITS: segment | write << 8,
 * offset, size; #GP or #SS */
H(check_seg);
/* state images: linear address, rex.w or operand size, feature mask in c (edx:eax) */
H(fxsave);
H(fxrstor);
H(xsave);
H(xsaveopt);
H(xsavec);
H(xsaves);
H(xrstor);
H(xrstors);
H(fnstenv); /* linear, operand size */
H(fldenv);
H(fnsave);
H(frstor);
H(fwait);   /* #MF when one is pending, #NM */
H(fnstsw);  /* returns the status word, for FNSTSW AX */
H(ldmxcsr); /* value; #GP on reserved bits */
H(stmxcsr); /* returns it */
H(maskmov); /* MASKMOVQ/MASKMOVDQU: linear, vector numbers (data | mask << 8), 8 or 16 bytes */
/* VGATHER*: base + displacement cut to the address size (no segment), then destination | index << 4
 * | mask << 8 | log2 of scale << 12 | 256 bits << 14 | 8-byte elements << 15 | 8-byte indices << 16
 * | address bytes << 20 | segment << 24 (7: base 0). Outside 64-bit mode linear addresses have 32 bits */
H(vgather);
/* linear, register | mask << 4 | 256 bits << 8 | 8-byte elements << 9 | store << 10 */
H(vmaskmov);
H(singlestep);  /* next: #DB when TF was set as the instruction began */
H(debug_break); /* RIP: a breakpoint of the gdb server is here; ends the block */
H(debug_check); /* RIP: instruction breakpoints in DR0..3; #DB */
H(fpu_nm);
#undef H

#endif
