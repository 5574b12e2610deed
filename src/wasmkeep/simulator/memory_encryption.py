"""The memory controller's engine: AES-XTS, one random key a guest, the physical address as tweak.

The emulated CPU's DRAM holds what this engine made. Memory of guests on the real processor lies in plaintext
in this process; whoever reads it *through the machine* gets it through this engine, as a hypervisor, a device
or a memory dump would. That is the simulation's limit, and docs/simulator.md says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wasmkeep.hardware.kvm_sev import PAGE

BLOCK = 16  # bytes that are encrypted together
_AES_128_XTS, _AES_256_XTS = 32, 64  # bytes of both halves


class MemoryKey:
    """One guest's key. It is never given out, not even to the rest of the machine."""

    def __init__(self, *, aes_256: bool = False) -> None:
        self._key = secrets.token_bytes(_AES_256_XTS if aes_256 else _AES_128_XTS)

    def encrypt_page(self, address: int, page: bytes) -> bytes:
        """The 4096 bytes of ciphertext that DRAM holds for `page` at page address `address`."""
        encryptor = self._cipher(address, page).encryptor()
        return encryptor.update(page) + encryptor.finalize()

    def decrypt_page(self, address: int, page: bytes) -> bytes:
        """What the guest sees where DRAM holds `page`: garbage, where nobody encrypted it with this key."""
        decryptor = self._cipher(address, page).decryptor()
        return decryptor.update(page) + decryptor.finalize()

    def encrypt(self, address: int, data: bytes) -> bytes:
        """The ciphertext of whole 16-byte blocks from `address` on, as DRAM holds it there."""
        return self._blocks(self.encrypt_page, address, data)

    def decrypt(self, address: int, data: bytes) -> bytes:
        """The plaintext of whole 16-byte blocks that DRAM holds from `address` on."""
        return self._blocks(self.decrypt_page, address, data)

    @staticmethod
    def _blocks(engine: Callable[[int, bytes], bytes], address: int, data: bytes) -> bytes:
        """Each block has its own tweak, from its page's address and its place there (IEEE 1619)."""
        before, size = address % PAGE, len(data)
        if address % BLOCK or size % BLOCK:
            raise ValueError("the engine works on whole blocks")
        padded = bytes(before) + data + bytes(-(before + size) % PAGE)
        pages = [engine(address - before + at, padded[at : at + PAGE]) for at in range(0, len(padded), PAGE)]
        return b"".join(pages)[before : before + size]

    def _cipher(self, address: int, page: bytes) -> Cipher[modes.XTS]:
        if address % PAGE or len(page) != PAGE:
            raise ValueError("the engine works on whole pages")
        return Cipher(algorithms.AES(self._key), modes.XTS(address.to_bytes(16, "little")))
