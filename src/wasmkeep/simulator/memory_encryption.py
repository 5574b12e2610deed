"""The memory controller's engine: AES-XTS, one random key a guest, the physical address as tweak.

Guest memory lies in plaintext in this process, because a real CPU runs on it; whoever reads it *through the
machine* gets it through this engine, as a hypervisor, a device or a memory dump would. That is the
simulation's limit, and docs/simulator.md says so.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wasmkeep.hardware.kvm_sev import PAGE

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

    def _cipher(self, address: int, page: bytes) -> Cipher[modes.XTS]:
        if address % PAGE or len(page) != PAGE:
            raise ValueError("the engine works on whole pages")
        return Cipher(algorithms.AES(self._key), modes.XTS(address.to_bytes(16, "little")))
