"""What a decoder's process is kept from: the network, other processes' memory, programs and processes of its own.

On Linux, by a filter of system calls (seccomp(2)). It needs no privilege, cannot be taken off again, and holds for all
threads that are started after it.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

_DUMPABLE, _SECCOMP, _NO_NEW_PRIVILEGES = 4, 22, 38
"""Options of prctl(2)."""
_FILTER = 2
"""The mode of its option for seccomp."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's names for them (linux/audit.h)."""
_REFUSED = {
    "x86_64": {"socket": 41, "connect": 42, "fork": 57, "vfork": 58, "execve": 59, "ptrace": 101, "execveat": 322},
    "aarch64": {"socket": 198, "connect": 203, "execve": 221, "ptrace": 117, "execveat": 281},
}
"""The numbers of system calls (asm/unistd.h)."""
_REFUSED["x86_64"] |= {"process_vm_readv": 310, "process_vm_writev": 311}
_REFUSED["aarch64"] |= {"process_vm_readv": 270, "process_vm_writev": 271}
_REFUSED_EVERYWHERE = {"io_uring_setup": 425, "pidfd_getfd": 438}
"""Those with one number everywhere: the first opens sockets, too, and the second takes an open one."""
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3, _THREAD = 435, 0x10000
"""What makes threads and processes; the second call's flags cannot be looked at, so it is said not to exist."""
_COUNTED_TWICE = 0x40000000
"""From here on, x86-64 counts the same calls a second time (x32)."""

_LOAD, _IS, _IS_AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of the filter (linux/bpf_common.h); what is jumped over follows if they hold, and if not."""
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""What can be loaded: where it stands in `seccomp_data` (linux/seccomp.h)."""
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


def confine() -> None:
    """Take the network, others' memory, and programs and processes of its own from this process, for good.

    Raises:
        OSError: The kernel does not allow it, or is none that this knows.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"not known for {sys.platform} on {machine}")
    numbers = (*_REFUSED[machine].values(), *_REFUSED_EVERYWHERE.values())
    tests = [(_IS_AT_LEAST, _COUNTED_TWICE), *((_IS, number) for number in numbers)]
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IS, 0, len(tests) + 6, _ARCHITECTURES[machine]),
        (_LOAD, 0, 0, _NUMBER),
        *((test, len(tests) + 4 - at, 0, number) for at, (test, number) in enumerate(tests)),
        (_IS, 0, 2, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_HAS, 1, 2, _THREAD),
        (_IS, 2, 0, _CLONE3),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    instructions = ctypes.create_string_buffer(program, len(program))
    table = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(instructions)))
    _prctl(_NO_NEW_PRIVILEGES, 1)
    _prctl(_SECCOMP, _FILTER, ctypes.addressof(table))


def hide_memory() -> None:
    """Hide this process's memory and environment from the others of its user (/proc, ptrace(2)).

    Raises:
        OSError: The kernel does not allow it.
    """
    if sys.platform == "linux":
        _prctl(_DUMPABLE, 0)


def _prctl(option: int, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, *(ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4])):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
