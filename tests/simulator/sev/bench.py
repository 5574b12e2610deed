"""A SEV firmware on the bench: system memory as an array, a host that issues commands, and an owner."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from wasmkeep.evidence.roots import simulated_root
from wasmkeep.evidence.sev import certificate, chain, measurement, packet, session
from wasmkeep.evidence.sev.certificate import (
    EMPTY_SLOT,
    Algorithm,
    Certificate,
    Usage,
    ec_key_bytes,
    ecdsa_slot,
)
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, ProvenLaunch
from wasmkeep.evidence.sev.rsa_keys import spki_sha256
from wasmkeep.evidence.sev.session import LaunchKeys
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_commands import COMMAND_BUFFERS, INIT_FLAG_ES
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.products import PRODUCTS, SevVersion
from wasmkeep.simulator.sev.context import FirmwareContext, SevGuest
from wasmkeep.simulator.sev.endorsement import issue_authorities, issue_cek
from wasmkeep.simulator.sev.processor import SevFirmware
from wasmkeep.simulator.status import Refused

PAGE = 4096
BASE = 0x10_0000
SIZE = 0x8_0000
NOWHERE = 1 << 40  # no memory is there
TMR = {"flags": INIT_FLAG_ES, "tmr_address": 1 << 20, "tmr_len": 1 << 20}
CERTIFICATE, CHAIN, SESSION, HEADER = 2084, 6252, 128, 52
NODBG, NOKS, ES, NOSEND, DOMAIN, SEV = (1 << bit for bit in range(6))
POLICY = NODBG | NOKS | NOSEND | 24 << 24


VERSION = SevVersion(1, 55, 40)


def policy(bits: int, major: int = 0, minor: int = 0) -> int:
    return bits | major << 16 | minor << 24


class ArrayMemory:
    """`SIZE` bytes of DRAM at `BASE`; a bump allocator for the host's buffers."""

    def __init__(self) -> None:
        self.data = bytearray(os.urandom(SIZE))
        self.sealed: list[tuple[MemoryKey, int]] = []
        self._next = BASE

    def _at(self, spa: int, size: int) -> int:
        if spa < BASE or spa + size > BASE + SIZE:
            raise Refused(SevStatus.INVALID_ADDRESS)
        return spa - BASE

    def read(self, spa: int, size: int) -> bytes:
        at = self._at(spa, size)
        return bytes(self.data[at : at + size])

    def write(self, spa: int, data: bytes) -> None:
        at = self._at(spa, len(data))
        self.data[at : at + len(data)] = data

    def encrypt_in_place(self, key: MemoryKey, spa: int, size: int) -> bytes:
        raw = self.read(spa, size)
        self.private_write(key, spa, raw)
        return raw

    def private_read(self, key: MemoryKey, spa: int, size: int) -> bytes:
        return key.decrypt(spa, self.read(spa, size))

    def private_write(self, key: MemoryKey, spa: int, data: bytes) -> None:
        self.write(spa, key.encrypt(spa, data))

    def seal_vmsa(self, key: MemoryKey, spa: int) -> None:
        self.sealed.append((key, spa))

    def room(self, size: int) -> int:
        """The address of `size` bytes, aligned to 64."""
        address = self._next
        self._next += -(-max(size, 1) // 64) * 64
        self._at(address, size)
        return address

    def pages(self, count: int) -> int:
        self._next += -self._next % PAGE
        return self.room(count * PAGE)

    def place(self, data: bytes) -> int:
        address = self.room(len(data))
        self.write(address, data)
        return address


@cache
def authority(name: str) -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """ARK and ASK of a simulated AMD called `name`. Small, as Naples' are: they are made in no time."""
    ark, ask = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    return ark, ask


@cache
def published(name: str, secret: bytes) -> tuple[bytes, bytes, bytes]:
    """ARK, ASK and the signed CEK of a chip, as that AMD publishes them."""
    ark, ask = authority(name)
    product = PRODUCTS["naples"]
    both = issue_authorities(product, ark, ask)
    half = len(both) // 2
    return both[half:], both[:half], issue_cek(Chip(product, secret), ask)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


Result = tuple[SevStatus, Any]


@dataclass
class Bench:
    """One machine: its chip, its firmware, its memory."""

    amd: str = "AMD"
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    version: SevVersion = VERSION
    slots: KeySlots = field(default_factory=lambda: KeySlots(15, 8))
    trusts: frozenset[str] = frozenset({"AMD"})
    vmsa_context: int = packet.Context.UPDATE_VMSA
    init: dict[str, int] | None = field(default_factory=lambda: dict(TMR))

    def __post_init__(self) -> None:
        self.chip = Chip(PRODUCTS["naples"], self.secret)
        roots = frozenset(spki_sha256(authority(name)[0].public_key()) for name in self.trusts)
        self.firmware = SevFirmware(
            self.chip, self.version, self.slots, roots, vmsa_context=self.vmsa_context
        )
        self.memory = ArrayMemory()
        if self.init is not None:
            self.ok(Command.INIT, **self.init)

    # The host

    def issue(self, command: Command, **fields: object) -> Result:
        """The status, and the buffer that came back as its structure."""
        kind = COMMAND_BUFFERS[command]
        buffer = kind(**fields)
        status, after = self.firmware.command(command, bytes(buffer), self.memory)
        return status, kind.from_buffer_copy(after)

    def ok(self, command: Command, **fields: object) -> Any:
        status, after = self.issue(command, **fields)
        assert status is SevStatus.SUCCESS, (command.name, status)
        return after

    def refused(self, command: Command, **fields: object) -> SevStatus:
        """The status of a refusal that changed nothing: not the buffer, not memory, nothing in the chip."""
        before = self.everything()
        buffer = bytes(COMMAND_BUFFERS[command](**fields))
        status, after = self.firmware.command(command, buffer, self.memory)
        assert status is not SevStatus.SUCCESS
        assert after == buffer
        assert self.everything() == before
        return status

    def asked_for(self, command: Command, **fields: object) -> tuple[SevStatus, Any]:
        """The answer to a length query, which changes nothing but the buffer."""
        before = self.everything()
        status, after = self.issue(command, **fields)
        assert self.everything() == before
        return status, after

    @property
    def context(self) -> FirmwareContext:
        return self.firmware._context

    def everything(self) -> tuple[object, ...]:
        """What a refused command must leave alone."""
        context, slots = self.context, self.slots
        return (
            context.state,
            context.es,
            context.nv_address,
            context._identity,
            [self.facts(guest) for guest in context.guests.values()],
            dict(slots._keys),
            set(slots._dirty),
            slots._wbinvd_due,
            bytes(self.memory.data),
            list(self.memory.sealed),
        )

    @staticmethod
    def facts(guest: SevGuest) -> tuple[object, ...]:
        digest, keys = guest.launch_digest, guest.keys
        secret = None if keys is None else (keys.tek, keys.tik)
        return (
            guest.handle,
            guest.policy,
            guest.state,
            guest.memory_key,
            guest.asid,
            secret,
            digest,
            guest.measure,
        )

    def guest(self, handle: int) -> SevGuest:
        return self.context.guests[handle]

    def state(self, handle: int) -> int:
        return int(self.ok(Command.GUEST_STATUS, handle=handle).state)

    # Certificates

    def export(self) -> PlatformCertificates:
        """PDH_CERT_EXPORT, the signed CEK in the exported one's place, and the authorities as published."""
        pdh, platform = self.memory.room(CERTIFICATE), self.memory.room(CHAIN)
        self.ok(
            Command.PDH_CERT_EXPORT,
            pdh_cert_address=pdh,
            pdh_cert_len=CERTIFICATE,
            cert_chain_address=platform,
            cert_chain_len=CHAIN,
        )
        exported = self.memory.read(platform, CHAIN)
        ark, ask, cek = published(self.amd, self.secret)
        assert cek[:0x414] == exported[2 * CERTIFICATE :][:0x414]
        return PlatformCertificates(
            ark=ark,
            ask=ask,
            cek=cek,
            pek=exported[:CERTIFICATE],
            oca=exported[CERTIFICATE : 2 * CERTIFICATE],
            pdh=self.memory.read(pdh, CERTIFICATE),
        )

    def request(self) -> Certificate:
        """PEK_CSR."""
        address = self.memory.room(CERTIFICATE)
        self.ok(Command.PEK_CSR, address=address, len=CERTIFICATE)
        return certificate.parse(self.memory.read(address, CERTIFICATE), "PEK")

    # Guests

    def started(self, bits: int = POLICY, owner: Owner | None = None, **changes: object) -> int:
        """LAUNCH_START: the handle."""
        fields = {"policy": bits, **(owner.given(self, bits) if owner else {}), **changes}
        return int(self.ok(Command.LAUNCH_START, **fields).handle)

    def activated(self, bits: int = POLICY, owner: Owner | None = None) -> int:
        handle = self.started(bits, owner)
        self.ok(Command.ACTIVATE, handle=handle, asid=self.slots.reserve(es=bool(bits & ES)))
        return handle

    def updated(self, handle: int, data: bytes) -> int:
        """LAUNCH_UPDATE_DATA of `data` on fresh pages: their address."""
        address = self.memory.pages(-(-len(data) // PAGE))
        self.memory.write(address, data)
        self.ok(Command.LAUNCH_UPDATE_DATA, handle=handle, address=address, len=len(data))
        return address

    def measured(self, handle: int) -> LaunchMeasurement:
        address = self.memory.room(48)
        self.ok(Command.LAUNCH_MEASURE, handle=handle, address=address, len=48)
        return LaunchMeasurement.parse(self.memory.read(address, 48))

    def running(self, bits: int = POLICY, owner: Owner | None = None) -> int:
        handle = self.activated(bits, owner)
        self.measured(handle)
        self.ok(Command.LAUNCH_FINISH, handle=handle)
        return handle

    def plaintext(self, handle: int, address: int, size: int) -> bytes:
        """What the guest itself reads there."""
        return self.memory.private_read(self.guest(handle).memory_key, address, size)

    def packet_fields(self, handle: int, header: bytes, address: int, data: bytes) -> dict[str, int]:
        """Of LAUNCH_SECRET and RECEIVE_UPDATE_*."""
        return {
            "handle": handle,
            "hdr_address": self.memory.place(header),
            "hdr_len": len(header),
            "guest_address": address,
            "guest_len": len(data),
            "trans_address": self.memory.place(data),
            "trans_len": len(data),
        }


class Owner:
    """The tenant's side, which authenticates the platform first, then wraps keys for it."""

    def __init__(self) -> None:
        self.key = new_key()
        self.keys = LaunchKeys(tek=os.urandom(16), tik=os.urandom(16))

    def given(self, bench: Bench, bits: int) -> dict[str, int]:
        """Certificate and session as LAUNCH_START takes them."""
        own, wrapped = self.made(bench, bits)
        return {
            "dh_cert_address": bench.memory.place(own),
            "dh_cert_len": CERTIFICATE,
            "session_address": bench.memory.place(wrapped),
            "session_len": SESSION,
        }

    def made(self, bench: Bench, bits: int) -> tuple[bytes, bytes]:
        # Naples' root key is RSA-2048: the chain's rules for a generation hold.
        ark = authority(bench.amd)[0].public_key()
        pin = spki_sha256(ark)
        platform = chain.authenticate(bench.export(), {pin: simulated_root(pin)})
        assert platform.generation == "Naples"
        wrapped = session.create(
            platform, bits, self.key, nonce=os.urandom(16), iv=os.urandom(16), keys=self.keys
        )
        return session.owner_certificate(self.key.public_key()), wrapped.encode()

    def proven(self, bench: Bench, bits: int, measured: LaunchMeasurement, digest: bytes) -> ProvenLaunch:
        version = bench.version
        return measurement.verify_measurement(
            self.keys.tik, measured, version.major, version.minor, version.build, bits, [digest]
        )

    def secret(self, plain: bytes, launch: ProvenLaunch | bytes) -> packet.SecretPacket:
        return packet.seal_secret(self.keys, os.urandom(16), plain, launch)


class OwnerAuthority:
    """An owner's CA: its self-signed OCA certificate, and its signature on a PEK."""

    def __init__(self) -> None:
        self.key = new_key()
        key = ec_key_bytes(self.key.public_key())
        plain = Certificate(0, 0, Usage.OCA, Algorithm.ECDSA_SHA256, key)
        self.certificate = replace(plain, slots=(ecdsa_slot(Usage.OCA, self.key, plain.body), EMPTY_SLOT))

    def sign(self, request: Certificate, slot: int = 0) -> Certificate:
        signature = ecdsa_slot(Usage.OCA, self.key, request.body)
        return replace(request, slots=(signature, EMPTY_SLOT) if slot == 0 else (EMPTY_SLOT, signature))

    def take(self, bench: Bench) -> None:
        """PEK_CSR, sign, PEK_CERT_IMPORT."""
        pek = self.sign(bench.request())
        bench.ok(Command.PEK_CERT_IMPORT, **imported(bench, pek, self.certificate))


def imported(bench: Bench, pek: Certificate | bytes, oca: Certificate | bytes) -> dict[str, int]:
    """Fields of PEK_CERT_IMPORT."""
    pek_bytes, oca_bytes = (one if isinstance(one, bytes) else one.encode() for one in (pek, oca))
    return {
        "pek_cert_address": bench.memory.place(pek_bytes),
        "pek_cert_len": len(pek_bytes),
        "oca_cert_address": bench.memory.place(oca_bytes),
        "oca_cert_len": len(oca_bytes),
    }
