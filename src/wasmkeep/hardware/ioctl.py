"""Linux ioctl numbers (``asm-generic/ioctl.h``): direction 2 ‖ size 14 ‖ type 8 ‖ number 8 bits."""

from __future__ import annotations

import ctypes

_WRITE = 1  # the caller writes, the kernel reads
_READ = 2

Argument = type[ctypes.Structure] | int  # a structure, or its size in bytes


def _number(direction: int, kind: int, number: int, argument: Argument) -> int:
    size = argument if isinstance(argument, int) else ctypes.sizeof(argument)
    return direction << 30 | size << 16 | kind << 8 | number


def io(kind: int, number: int) -> int:
    """``_IO``: no argument, or a plain integer."""
    return _number(0, kind, number, 0)


def ior(kind: int, number: int, argument: Argument) -> int:
    """``_IOR``: the kernel fills the structure."""
    return _number(_READ, kind, number, argument)


def iow(kind: int, number: int, argument: Argument) -> int:
    """``_IOW``: the kernel reads the structure."""
    return _number(_WRITE, kind, number, argument)


def iowr(kind: int, number: int, argument: Argument) -> int:
    """``_IOWR``: both."""
    return _number(_READ | _WRITE, kind, number, argument)
