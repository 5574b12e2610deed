"""The kernel's own memory: buffers that a firmware command's addresses point at, beside a guest's memory.

A kernel copies what its user hands in, gives the firmware the copy's physical address, and copies the answer
back. These copies live as long as one command, above all DRAM.
"""

from __future__ import annotations

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.status import Refused
from wasmkeep.simulator.system_memory import SystemMemory

KERNEL_BASE = 1 << 46  # no DRAM is there


class KernelMemory:
    """A `SystemMemory` for one command: its own buffers, and `beyond`, the memory of the guest at hand."""

    def __init__(self, beyond: SystemMemory | None = None) -> None:
        self._beyond = beyond
        self._next = KERNEL_BASE
        self._buffers: dict[int, bytearray] = {}

    def place(self, data: bytes) -> int:
        """A copy of `data`, page-aligned: its physical address. A null pointer for nothing."""
        if not data:
            return 0
        address = self._next
        self._buffers[address] = bytearray(data)
        self._next += -(-len(data) // PAGE) * PAGE
        return address

    def room(self, size: int) -> int:
        """`size` bytes of zeros for an answer."""
        return self.place(bytes(size))

    def taken(self, address: int, size: int | None = None) -> bytes:
        """What is in a buffer now, or its first `size` bytes; nothing at a null pointer."""
        return bytes(self._buffers.get(address, b"")[:size])

    def _own(self, spa: int, size: int) -> tuple[bytearray, int] | None:
        """The buffer with the range, and where in it; None for other memory. Raises `Refused`."""
        if spa < KERNEL_BASE:
            return None
        for address, buffer in self._buffers.items():
            if address <= spa and spa + size <= address + len(buffer):
                return buffer, spa - address
        raise Refused(SevStatus.INVALID_ADDRESS)

    def _elsewhere(self) -> SystemMemory:
        if self._beyond is None:
            raise Refused(SevStatus.INVALID_ADDRESS)
        return self._beyond

    def read(self, spa: int, size: int) -> bytes:
        own = self._own(spa, size)
        if own is None:
            return self._elsewhere().read(spa, size)
        buffer, at = own
        return bytes(buffer[at : at + size])

    def write(self, spa: int, data: bytes) -> None:
        own = self._own(spa, len(data))
        if own is None:
            self._elsewhere().write(spa, data)
            return
        buffer, at = own
        buffer[at : at + len(data)] = data

    def encrypt_in_place(self, key: MemoryKey, spa: int, size: int) -> bytes:
        if self._own(spa, size) is None:
            return self._elsewhere().encrypt_in_place(key, spa, size)
        raw = self.read(spa, size)
        self.write(spa, key.encrypt(spa, raw))
        return raw

    def private_read(self, key: MemoryKey, spa: int, size: int) -> bytes:
        if self._own(spa, size) is None:
            return self._elsewhere().private_read(key, spa, size)
        return key.decrypt(spa, self.read(spa, size))

    def private_write(self, key: MemoryKey, spa: int, data: bytes) -> None:
        if self._own(spa, len(data)) is None:
            self._elsewhere().private_write(key, spa, data)
            return
        self.write(spa, key.encrypt(spa, data))

    def seal_vmsa(self, key: MemoryKey, spa: int) -> None:
        if self._own(spa, PAGE) is None:
            self._elsewhere().seal_vmsa(key, spa)
