"""The least that a session can take here: what no design of a keep can leave out, done once and nothing else.

- machine: a virtual machine with the keep's memory and one vCPU made, run to its first exit, destroyed;
- sign: the report's signature, P-384;
- verify: the chain's signatures, three of RSA-4096 with PSS (ARK, ASK, VCEK), and the report's;
- agree: an X-Wing key pair (ML-KEM-768 and X25519), a secret sealed to it by HPKE, and opened.

Keys and certificates are loaded before the clock starts, and everything runs in one thread of one process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, padding, rsa, x25519

from benchmarks.timing import milliseconds_since
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import kvm_structures
from wasmkeep.hardware.kvm import Kvm
from wasmkeep.hardware.memory import Memory

__all__ = ["PARTS", "Floor"]

PARTS: Final = ("machine", "sign", "verify", "agree")

_CODE_ADDRESS: Final = 0x1000
_CODE: Final = bytes.fromhex("e610")  # out 0x10, al
_KVM_EXIT_IO: Final = 2
_SIGNED_BYTES: Final = 672  # of a report (SNP firmware ABI, table "ATTESTATION_REPORT")
_CERTIFICATE_BYTES: Final = 1024
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Floor:
    """Measures the parts with a machine of ``memory`` bytes. ``close`` it in the end."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._kvm: Kvm | None = None
        try:
            self._kvm = Kvm()
        except PlatformUnavailable:
            self.machine_name = "process"
        else:
            self.machine_name = "KVM machine"
        self._report = os.urandom(_SIGNED_BYTES)
        self._certificate = os.urandom(_CERTIFICATE_BYTES)
        self._chip = ec.generate_private_key(ec.SECP384R1())
        authority = rsa.generate_private_key(65537, 4096)
        self._authority = authority.public_key()
        self._issued = authority.sign(self._certificate, _PSS, hashes.SHA384())
        self._signature = self._chip.sign(self._report, ec.ECDSA(hashes.SHA384()))

    def close(self) -> None:
        if self._kvm is not None:
            self._kvm.close()

    def sample(self) -> dict[str, float]:
        """Every part once, in milliseconds."""
        work: dict[str, Callable[[], None]] = {
            "machine": self._machine,
            "sign": self._sign,
            "verify": self._verify,
            "agree": _agree,
        }
        taken = {}
        for part in PARTS:
            began = time.perf_counter_ns()
            work[part]()
            taken[part] = milliseconds_since(began)
        return taken

    def _machine(self) -> None:
        if self._kvm is None:
            _process_to_its_end()
        else:
            _machine_to_its_first_exit(self._kvm, self._memory)

    def _sign(self) -> None:
        self._chip.sign(self._report, ec.ECDSA(hashes.SHA384()))

    def _verify(self) -> None:
        for _ in range(3):
            self._authority.verify(self._issued, self._certificate, _PSS, hashes.SHA384())
        self._chip.public_key().verify(self._signature, self._report, ec.ECDSA(hashes.SHA384()))


def _agree() -> None:
    pair = hpke.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    )
    sealed = _SUITE.encrypt(bytes(32), pair.public_key(), b"")
    _SUITE.decrypt(sealed, pair, b"")


def _machine_to_its_first_exit(kvm: Kvm, size: int) -> None:
    memory = Memory(size)
    try:
        memory.view[_CODE_ADDRESS : _CODE_ADDRESS + len(_CODE)] = _CODE
        machine = kvm.create_vm()
        try:
            machine.add_memory(0, 0, memory)
            vcpu = machine.create_vcpu()
            try:
                state = vcpu.get_sregs()
                state.cs.base = state.cs.selector = 0
                vcpu.set_sregs(state)
                vcpu.set_regs(kvm_structures.Regs(rip=_CODE_ADDRESS, rflags=2))
                reason = vcpu.run()
            finally:
                vcpu.close()
        finally:
            machine.close()
    finally:
        memory.close()
    if reason != _KVM_EXIT_IO:
        raise RuntimeError(f"the bare machine came out with KVM exit {reason}")


def _process_to_its_end() -> None:
    """Where keeps are processes, the bare machine is one that ends at once."""
    process = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(process, 0)
