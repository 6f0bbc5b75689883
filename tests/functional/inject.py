# SPDX-License-Identifier: MIT
"""Makes another process ask the kernel for something, by ptrace(2): what a debugger's `call` does, without the
vector registers, which gdb cannot write on processors with AMX.

The first thread of the process stops where it is, asks, and goes on as if nothing had been.
"""
import ctypes
import os
import re
import signal

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
POKEDATA, CONT, GETREGS, SETREGS, ATTACH, DETACH = 5, 7, 12, 13, 16, 17
SYSCALL, INT3 = b"\x0f\x05", b"\xcc"
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")


class Registers(ctypes.Structure):
    _fields_ = [(n, ctypes.c_ulonglong) for n in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
        "ds es fs gs").split()]


def trace(request, pid, data=None, addr=None):
    ctypes.set_errno(0)
    if libc.ptrace(request, pid, addr, data) == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), "ptrace request %d: %s" % (request, os.strerror(ctypes.get_errno())))


def library_base(pid):
    with open("/proc/%s/maps" % pid) as f:
        return int(re.search(r"^([0-9a-f]+)-\S+ \S+ 00000000 .*/libc\.so\.6$", f.read(), re.M)[1], 16)


def a_system_call(pid):
    """Where the process has a SYSCALL instruction that nobody else runs: in a function of the C library."""
    here = ctypes.cast(libc.sethostname, ctypes.c_void_p).value
    at = ctypes.string_at(here, 64).index(SYSCALL)
    return here + at - library_base("self") + library_base(pid)


def poke(pid, at, data):
    with open("/proc/%d/mem" % pid, "rb") as f:
        f.seek(at)
        old = f.read(len(data))
    for i in range(0, len(data), 8):
        word = data[i:i + 8]
        with open("/proc/%d/mem" % pid, "rb") as f:
            f.seek(at + i)
            word += f.read(8)[len(word):]
        trace(POKEDATA, pid, int.from_bytes(word, "little"), at + i)
    return old


def wait_for(pid, wanted):
    """Passes every other signal on."""
    while True:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise OSError("process %d ended: status %#x" % (pid, status))
        if os.WSTOPSIG(status) == wanted:
            return
        trace(CONT, pid, os.WSTOPSIG(status))


def with_arguments(pid, regs, number, args):
    """The registers for a call; strings go to where the stack is free, with room for a signal's frame below."""
    new = Registers.from_buffer_copy(regs)
    new.rsp = (regs.rsp - 8192) & ~15
    place = new.rsp + 256
    for name, arg in zip(ARGUMENTS, args + (0,) * 6):
        if isinstance(arg, str):
            poke(pid, place, arg.encode() + bytes(1))
            arg, place = place, place + 256
        setattr(new, name, arg & (1 << 64) - 1)
    new.rax, new.orig_rax = number, (1 << 64) - 1  # no call of its own is under way
    return new


def system_call(pid, number, *args):
    """What the kernel answers the process: a value, or -errno. args: numbers and strings."""
    trace(ATTACH, pid)
    wait_for(pid, signal.SIGSTOP)
    regs = Registers()
    trace(GETREGS, pid, ctypes.addressof(regs))
    at = a_system_call(pid)
    new = with_arguments(pid, regs, number, args)
    new.rip = at
    behind = poke(pid, at + len(SYSCALL), INT3)
    trace(SETREGS, pid, ctypes.addressof(new))
    trace(CONT, pid)
    wait_for(pid, signal.SIGTRAP)
    trace(GETREGS, pid, ctypes.addressof(new))
    poke(pid, at + len(SYSCALL), behind)
    trace(SETREGS, pid, ctypes.addressof(regs))
    trace(DETACH, pid)
    return ctypes.c_long(new.rax).value
