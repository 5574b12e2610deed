"""Memory as the secure processor reaches it: by system physical address, raw or through a guest's key.

Raw bytes are what DRAM holds: ciphertext where a guest wrote privately, plaintext where the host wrote.
Addresses are those of the command buffers (`p` in SEV API 0.24); the caller's memory decides what they mean.
A range that is not memory is `Refused` with INVALID_ADDRESS, before anything was changed.

A key is an object that encrypts for whoever holds it and gives its bytes to nobody. The firmware draws it
with the guest, puts it into the guest's key slot at ACTIVATE (`key_slots`), and passes it here;
`KeySlots.key` gives cores the same object.
"""

from __future__ import annotations

from typing import Protocol

from wasmkeep.simulator.memory_encryption import MemoryKey

ENCRYPTION_BLOCK = 16  # bytes; private ranges begin and end at such


class SystemMemory(Protocol):
    """What a command may reach. Private ranges are whole encryption blocks, not whole pages."""

    def read(self, spa: int, size: int) -> bytes:
        """A copy of `size` raw bytes."""

    def write(self, spa: int, data: bytes) -> None:
        """Raw bytes, as the host's own stores without C-bit."""

    def encrypt_in_place(self, key: MemoryKey, spa: int, size: int) -> bytes:
        """Read raw bytes once, store their ciphertext under `key` in the same place. The bytes read."""

    def private_read(self, key: MemoryKey, spa: int, size: int) -> bytes:
        """The plaintext under `key` of `size` bytes."""

    def private_write(self, key: MemoryKey, spa: int, data: bytes) -> None:
        """Store the ciphertext of `data` under `key`."""

    def seal_vmsa(self, key: MemoryKey, spa: int) -> None:
        """Tell the cores that the 4096-byte VMSA at `spa`, as it now is under `key`, is a guest's true state.

        The last step of LAUNCH_UPDATE_VMSA and RECEIVE_UPDATE_VMSA, after the page was encrypted: the
        firmware keeps a checksum where no host reaches it (the TMR of INIT), and a core that finds another
        state at VMRUN does not run it. A memory whose CPU has no VMSA of its own has nothing to do here.
        """
