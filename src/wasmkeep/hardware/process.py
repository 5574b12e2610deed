"""Process attributes that only ``prctl`` sets (``linux/prctl.h``)."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _set(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends."""
    _set(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forbid_core_dumps() -> None:
    """No core dump of this process, and no other process of the same user may trace it."""
    _set(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """Nothing that this process executes gains privileges (needed for a seccomp filter without root)."""
    _set(_PR_SET_NO_NEW_PRIVS, 1)


def keep_freed_memory(size: int) -> None:
    """Let malloc keep up to `size` freed bytes for the next allocation: fresh pages are dear.

    A hint; a C library without mallopt ignores it.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, size)
        mallopt(_M_TRIM_THRESHOLD, size)
