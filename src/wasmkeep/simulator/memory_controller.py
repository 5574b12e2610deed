"""Between cores and DRAM: what goes through a key is ciphertext out there.

The C-bit of an access (bit 51 of its address) chooses: clear, bytes pass as they are; set, they are
encrypted on the way out and decrypted on the way in, with the key of the ASID that runs, or with the SME
key, made at boot, where that is the host (ASID 0). AES-128-XTS in blocks of 16 bytes, the system physical
address as tweak (architecture manual volume 2, 15.34 and 7.10): no integrity, no freshness. So the same
plaintext differs at two addresses and in two guests, altered ciphertext decrypts to garbage in its own
block, and what stood at an address before decrypts again there.

The controller's keys come from the key slots, where only the firmware puts them, and leave neither.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Protocol

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.dram import Dram
from wasmkeep.simulator.memory_encryption import BLOCK, MemoryKey
from wasmkeep.simulator.status import require

C_BIT_POSITION = 51
C_BIT = 1 << C_BIT_POSITION
HOST_ASID = 0


class KeyTable(Protocol):
    """The key slots, as the controller asks them."""

    def key(self, asid: int) -> MemoryKey | None: ...


class NoKey(Exception):
    """An encrypted access with an ASID that no guest is active in."""


class MemoryController:
    """Also the firmware's way to memory: it is a `SystemMemory`."""

    def __init__(self, dram: Dram, slots: KeyTable) -> None:
        self._dram = dram
        self._slots = slots
        self._sme = MemoryKey()
        self._seal_key = secrets.token_bytes(32)
        self._seals: dict[int, bytes] = {}  # VMSA's address → checksum of the state in it

    # Accesses of cores and devices

    def load(self, address: int, size: int, asid: int = HOST_ASID) -> bytes:
        """What a core with `asid` reads at `address`, whose bit 51 is the C-bit. Raises `NoKey`."""
        if not address & C_BIT:
            return self.read(address, size)
        return self.private_read(self._key(asid), address & ~C_BIT, size)

    def store(self, address: int, data: bytes, asid: int = HOST_ASID) -> None:
        """What a core with `asid` writes at `address`, whose bit 51 is the C-bit. Raises `NoKey`."""
        if address & C_BIT:
            self.private_write(self._key(asid), address & ~C_BIT, data)
        else:
            self.write(address, data)

    def has_key(self, asid: int) -> bool:
        return asid == HOST_ASID or self._slots.key(asid) is not None

    def _key(self, asid: int) -> MemoryKey:
        key = self._sme if asid == HOST_ASID else self._slots.key(asid)
        if key is None:
            raise NoKey(f"no guest is active with ASID {asid}")
        return key

    # Raw memory, and memory through a key

    def read(self, spa: int, size: int) -> bytes:
        """As DRAM holds it: DMA and the hypervisor's own mapping read so."""
        require(self._dram.holds(spa, size), SevStatus.INVALID_ADDRESS)
        return self._dram.read(spa, size)

    def write(self, spa: int, data: bytes) -> None:
        require(self._dram.holds(spa, len(data)), SevStatus.INVALID_ADDRESS)
        self._dram.write(spa, data)

    def encrypt_in_place(self, key: MemoryKey, spa: int, size: int) -> bytes:
        plain = self.read(spa, size)
        self._dram.write(spa, key.encrypt(spa, plain))
        return plain

    def private_read(self, key: MemoryKey, spa: int, size: int) -> bytes:
        """Any range; the blocks it touches are decrypted whole."""
        before = spa % BLOCK
        plain = key.decrypt(spa - before, self.read(spa - before, _whole_blocks(before + size)))
        return plain[before : before + size]

    def private_write(self, key: MemoryKey, spa: int, data: bytes) -> None:
        """Any range; what else is in the blocks that it touches stays, under the same key."""
        before = spa % BLOCK
        size = _whole_blocks(before + len(data))
        blocks = data
        if size != len(data):
            plain = key.decrypt(spa - before, self.read(spa - before, size))
            blocks = plain[:before] + data + plain[before + len(data) :]
        self.write(spa - before, key.encrypt(spa - before, blocks))

    # The true state of SEV-ES guests

    def seal_vmsa(self, key: MemoryKey, spa: int) -> None:
        self.seal_state(spa, self.private_read(key, spa, PAGE))

    def seal_state(self, spa: int, state: bytes) -> None:
        """From now on `state` is what a core must find in the VMSA at `spa`."""
        self._seals[spa] = self._checksum(state)

    def is_true_state(self, spa: int, state: bytes) -> bool:
        known = self._seals.get(spa)
        return known is not None and hmac.compare_digest(known, self._checksum(state))

    def forget_state(self, spa: int) -> None:
        """The guest is gone."""
        self._seals.pop(spa, None)

    def _checksum(self, state: bytes) -> bytes:
        return hmac.digest(self._seal_key, state, sha256)


def _whole_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
