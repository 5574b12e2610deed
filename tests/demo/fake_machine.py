"""A machine with a secure processor in fifty lines, so that a whole round takes milliseconds in a test.

It knows LAUNCH_START to LAUNCH_FINISH and runs the one program of the demonstration. The simulated machine
itself is used where it matters what a guest's memory looks like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from wasmkeep.demo.client import Trust
from wasmkeep.demo.machine import GuestExit, Vouchers, What
from wasmkeep.demo.program import MEMORY, PORT, PROGRAM
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.roots import format_pin, simulated_root
from wasmkeep.evidence.sev import ca_certificate, certificate, measurement, packet, session
from wasmkeep.evidence.sev.certificate import EMPTY_SLOT, Algorithm, Certificate, SignatureSlot, Usage
from wasmkeep.evidence.sev.chain import key_digest
from wasmkeep.evidence.sev.products import PRODUCTS
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus

VERSION = (0, 24, 15)


@dataclass(frozen=True)
class Version:
    api_major: int
    api_minor: int
    build: int


class FakeGuest:
    """Counts itself among the machine's guests until it is closed."""

    def __init__(self, machine: FakeMachine, entry: int) -> None:
        self.machine = machine
        self.memory = bytearray(MEMORY)
        self.entry = entry
        self.digest = sha256()
        self.mnonce = os.urandom(16)
        self.exits: list[GuestExit] | None = None
        machine.alive.add(self)

    async def launch_start(self, policy: int, owner: bytes, given: bytes) -> None:
        self.policy = policy
        if not owner:
            self.keys = session.LaunchKeys(bytes(16), bytes(16))
            return
        shared = session.shared_secret(self.machine.pdh_key, certificate.parse(owner, "owner").public_key)
        try:
            self.keys = session.open_session(session.LaunchSession.parse(given), shared, policy)
        except session.SessionRefused as error:
            raise FirmwareError("LAUNCH_START", SevStatus.BAD_MEASUREMENT) from error

    async def launch_update_data(self, gpa: int, data: bytes) -> None:
        self.digest.update(data)
        self.memory[gpa : gpa + len(data)] = data

    async def launch_measure(self) -> bytes:
        self.measure = measurement.measure(
            self.keys.tik, *VERSION, self.policy, self.digest.digest(), self.mnonce
        )
        return self.measure + self.mnonce

    async def launch_secret(self, header: bytes, gpa: int, data: bytes) -> None:
        try:
            plain = packet.open_secret(self.keys, packet.SecretPacket(header, data), self.measure)
        except Rejected as error:
            raise FirmwareError("LAUNCH_SECRET", SevStatus.BAD_MEASUREMENT) from error
        self.memory[gpa : gpa + len(plain)] = plain

    async def launch_finish(self) -> None: ...

    async def run(self) -> GuestExit:
        if self.exits is None:
            here = self.memory[self.entry : self.entry + len(PROGRAM)] == PROGRAM
            prints = here and self.memory[0x1024:0x1028] == PROGRAM[0x24:0x28]
            output = [GuestExit(What.OUTPUT, PORT, b"7")] if prints else []
            self.exits = [*output, GuestExit(What.HALTED)]
        return self.exits.pop(0)

    async def look(self, view: str, gpa: int, size: int) -> bytes:
        return bytes(byte ^ 0x5A for byte in self.memory[gpa : gpa + size])

    async def registers(self) -> Mapping[str, int]:
        return {"rax": 0x37, "rdx": PORT}

    async def close(self) -> None:
        self.machine.alive.discard(self)


class FakeMachine:
    def __init__(self) -> None:
        self.alive: set[FakeGuest] = set()
        self.pdh_key, self._pdh, self._chain, self.vouchers, self.trust = _platform()

    @property
    def pins(self) -> dict[str, str]:
        """What the server would print, and the client be given."""
        (root,), (owner,) = self.trust.roots.values(), self.trust.owners
        return {"simulated": root.pin, "owner": format_pin(owner)}

    async def sev_version(self) -> Version:
        return Version(*VERSION)

    async def pdh_cert_export(self) -> tuple[bytes, bytes]:
        return self._pdh, self._chain

    async def create(self, memory: int, entry: int) -> FakeGuest:
        assert memory == MEMORY
        return FakeGuest(self, entry)


@cache
def _platform() -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes, Vouchers, Trust]:
    ark, ask = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    chip, owner, endorser, agreement = (ec.generate_private_key(ec.SECP384R1()) for _ in range(4))
    cek, oca, pek, pdh = (
        _unsigned(Usage.CEK, chip),
        _unsigned(Usage.OCA, owner),
        _unsigned(Usage.PEK, endorser),
        _unsigned(Usage.PDH, agreement),
    )
    product = PRODUCTS[0]
    ids = product.ark_key_id, product.ask_key_id
    root = ca_certificate.issue(Usage.ARK, ark.public_key(), ids[0], ids[0], ark)
    vouchers = Vouchers(
        cek=_signed(cek, certificate.rsa_slot(Usage.ASK, ask, cek.body)),
        ask=ca_certificate.issue(Usage.ASK, ask.public_key(), ids[1], ids[0], ark).encode(),
        ark=root.encode(),
    )
    endorsed = _signed(
        pek,
        certificate.ecdsa_slot(Usage.OCA, owner, pek.body),
        certificate.ecdsa_slot(Usage.CEK, chip, pek.body),
    )
    chain = endorsed + _signed(oca, certificate.ecdsa_slot(Usage.OCA, owner, oca.body)) + cek.encode()
    signed_pdh = _signed(pdh, certificate.ecdsa_slot(Usage.PEK, endorser, pdh.body))
    trusted = {root.spki_sha256: simulated_root(root.spki_sha256)}
    return agreement, signed_pdh, chain, vouchers, Trust(trusted, frozenset({key_digest(oca)}))


def _unsigned(usage: Usage, key: ec.EllipticCurvePrivateKey) -> Certificate:
    algorithm = Algorithm.ECDH_SHA256 if usage is Usage.PDH else Algorithm.ECDSA_SHA256
    return Certificate(0, 24, usage, algorithm, certificate.ec_key_bytes(key.public_key()))


def _signed(one: Certificate, *slots: SignatureSlot) -> bytes:
    first, second = (*slots, EMPTY_SLOT)[:2]
    return Certificate(
        one.api_major, one.api_minor, one.usage, one.algorithm, one.key_bytes, (first, second)
    ).encode()
