"""One ioctl as a value: number, argument and the memory its pointers reach, before anybody performs it.

The same `Call` goes to a real device (`perform`) and, as a frame, to the simulated machine: builders of calls
(`psp_sev`, `kvm_sev`) know nothing of either. Memory is a list of segments; segment 0 is the ioctl's
argument, and each `Pointer` says where a segment's address is written into another.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from wasmkeep.errors import SystemFailure

__all__ = ["Call", "File", "IoctlRefused", "Pointer", "Result", "perform", "system_ioctl"]

_ADDRESS = struct.Struct("<Q")


class File(IntEnum):
    """The open file an ioctl is for. The numbers are those of the simulated machine's frames."""

    SEV = 0  # /dev/sev
    KVM = 1  # /dev/kvm
    VM = 2  # what KVM_CREATE_VM gives
    VCPU = 3  # what KVM_CREATE_VCPU gives
    MACHINE = 4  # the simulated board itself; no kernel has it
    SEV_GUEST = 5  # /dev/sev-guest, inside a guest; the simulated machine has none


@dataclass(frozen=True, slots=True)
class Pointer:
    """The address of segment `target` stands at `offset` of segment `holder`, as u64."""

    holder: int
    offset: int
    target: int


@dataclass(frozen=True, slots=True)
class Call:
    """`memory` empty: `scalar` is the argument itself. Else the argument is the address of segment 0."""

    name: str
    file: File
    number: int
    memory: tuple[bytes, ...] = ()
    pointers: tuple[Pointer, ...] = ()
    scalar: int = 0

    def placed(self, addresses: Sequence[int]) -> list[bytes]:
        """The segments with every pointer filled in; `addresses` has one entry a segment."""
        placed = list(self.memory)
        for pointer in self.pointers:
            holder = bytearray(placed[pointer.holder])
            _ADDRESS.pack_into(holder, pointer.offset, addresses[pointer.target])
            placed[pointer.holder] = bytes(holder)
        return placed


class Result(NamedTuple):
    """What the kernel answered: `value` as the ioctl returned it, or −errno; and the memory afterwards."""

    value: int
    memory: tuple[bytes, ...]


class IoctlRefused(SystemFailure):
    """The kernel refused a call before or instead of the firmware; ``number`` is the errno."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(
            "platform.ioctl",
            f"{name} was refused by the kernel",
            found=f"{errno.errorcode.get(number, number)} ({os.strerror(number)})",
        )
        self.number = number


_SYSTEM = ctypes.CDLL(None, use_errno=True)
_SYSTEM.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong)


def system_ioctl(descriptor: int, number: int, argument: int) -> int:
    """``ioctl`` with an address, for which ``fcntl.ioctl`` has no room: it takes integers of 32 bits only.

    Raises OSError.
    """
    value = int(_SYSTEM.ioctl(descriptor, number, argument))
    if value < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return value


def perform(descriptor: int, call: Call, ioctl: Callable[[int, int, int], int] = system_ioctl) -> Result:
    """Perform `call` on a real device. A refusal is a negative value, since its memory may still say why."""
    buffers = [ctypes.create_string_buffer(segment, len(segment)) for segment in call.memory]
    addresses = [ctypes.addressof(buffer) for buffer in buffers]
    for buffer, segment in zip(buffers, call.placed(addresses), strict=True):
        buffer.raw = segment
    argument = addresses[0] if buffers else call.scalar
    try:
        value = ioctl(descriptor, call.number, argument)
    except OSError as error:
        value = -(error.errno or errno.EIO)
    return Result(value, tuple(buffer.raw for buffer in buffers))
