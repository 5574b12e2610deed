"""Bare guests of a simulated machine, through its drivers, and the tenant who has one launched.

A guest is a few bytes of real mode, begun at 0. A tenant trusts one root, makes keys for one launch, and
judges that launch's measurement, all with `wasmkeep.evidence.sev`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.machines import HAS_KVM, BootedMachine
from wasmkeep.errors import SystemFailure
from wasmkeep.evidence.roots import parse_pin, simulated_root
from wasmkeep.evidence.sev import chain, measurement, packet, session
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.certificate import CERTIFICATE_SIZE
from wasmkeep.evidence.sev.chain import AuthenticPlatform, PlatformCertificates
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, ProvenLaunch
from wasmkeep.evidence.sev.packet import SecretPacket
from wasmkeep.evidence.sev.session import LaunchKeys
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import CpuChoice
from wasmkeep.hardware.machine_guest import Exit, ExitKind
from wasmkeep.hardware.reset_state import reset_vmsa
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.simulated import Platform

MEMORY = 64 << 10
PORT = 0x3F8
SECRET_AT = 0x2000
SECRET = b"the tenant's own secret, 64 bytes of it, no more and no less ..."

NODBG, NOKS, ES, NOSEND, DOMAIN, SEV = GuestPolicyBit
STRICT = NODBG | NOKS | NOSEND

# mov si, 2000h · mov dx, 3f8h · mov cx, 64 · again: lodsb · out dx, al · loop again · hlt
PRINT_SECRET = bytes.fromhex("be 00 20  ba f8 03  b9 40 00  ac  ee  e2 fc  f4")
# mov si, 2000h · mov di, 3000h · mov cx, 64 · rep movsb · hlt · hlt: the secret once more, elsewhere
COPY_SECRET = bytes.fromhex("be 00 20  bf 00 30  b9 40 00  f3 a4  f4  f4")
# mov dx, 3f8h · mov al, '7' · out dx, al · hlt
PRINT_SEVEN = bytes.fromhex("ba f8 03  b0 37  ee  f4")
PRINT_BANG = bytes.fromhex("ba f8 03  b0 21  ee  f4")


@dataclass(frozen=True)
class Kind:
    """What a guest is: not encrypted, SEV, SEV-ES; and on which CPU."""

    vm_type: VmType
    cpu: CpuChoice

    @property
    def es(self) -> bool:
        return self.vm_type is VmType.SEV_ES

    @property
    def bits(self) -> GuestPolicyBit:
        """The strict guest policy of this kind."""
        return STRICT | ES if self.es else STRICT

    @property
    def unprotected(self) -> Kind:
        """The same without encryption."""
        return Kind(VmType.DEFAULT, self.cpu)


EMULATED_SEV = Kind(VmType.SEV, CpuChoice.EMULATED)
EMULATED_ES = Kind(VmType.SEV_ES, CpuChoice.EMULATED)
KVM_SEV = Kind(VmType.SEV, CpuChoice.OWN)
KVM = pytest.param(
    KVM_SEV,
    id="kvm-sev",
    marks=[pytest.mark.kvm, pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted")],
)
EMULATED = (pytest.param(EMULATED_SEV, id="sev"), pytest.param(EMULATED_ES, id="sev-es"))
ANY = pytest.mark.parametrize("kind", [*EMULATED, KVM])
ENCRYPTED = pytest.mark.parametrize("kind", EMULATED)


def page(data: bytes) -> bytes:
    """`data` at the begin of whole pages."""
    return data.ljust(max(1, -(-len(data) // 4096)) * 4096, b"\0")


def image(code: bytes, secret: bytes = SECRET) -> dict[int, bytes]:
    return {0: page(code), SECRET_AT: page(secret)}


@asynccontextmanager
async def opened(machine: BootedMachine) -> AsyncIterator[Platform]:
    platform = await Platform.open(machine.socket)
    try:
        yield platform
    finally:
        await platform.close()


async def created(platform: Platform, kind: Kind, entry: int = 0) -> SevGuest:
    guest = await platform.create_sev_guest(MEMORY, kind.vm_type, cpu=kind.cpu)
    await guest.set_entry(entry)
    return guest


async def fill(guest: SevGuest, kind: Kind, contents: Mapping[int, bytes]) -> None:
    """Put `contents` there; measured and encrypted where the guest is one of SEV."""
    for gpa, data in sorted(contents.items()):
        if kind.vm_type is VmType.DEFAULT:
            await guest.host_write(gpa, data)
        else:
            await guest.launch_update_data(gpa, data)
    if kind.es:
        await guest.launch_update_vmsa()


@asynccontextmanager
async def without_owner(
    platform: Platform, kind: Kind, contents: Mapping[int, bytes], policy: int | None = None
) -> AsyncIterator[SevGuest]:
    """A guest ready to run that no tenant has anything to say about."""
    async with await created(platform, kind) as guest:
        if kind.vm_type is VmType.DEFAULT:
            await fill(guest, kind, contents)
        else:
            await guest.launch_start(kind.bits if policy is None else policy)
            await fill(guest, kind, contents)
            await guest.launch_measure()
            await guest.launch_finish()
        yield guest


async def said(guest: SevGuest) -> tuple[bytes, Exit]:
    """What a guest prints until something else happens, and what that is."""
    text = b""
    while True:
        end = await guest.run()
        if end.kind is not ExitKind.OUTPUT or end.port != PORT:
            return text, end
        text += end.data


async def certificates(platform: Platform, machine: BootedMachine) -> PlatformCertificates:
    """As the platform exports them; the CEK, ASK and ARK as AMD publishes them."""
    pdh, exported = await platform.pdh_cert_export()
    chip = (await platform.get_id()).hex()
    authorities = (machine.kds / "sev" / f"ask_ark_{machine.product.lower()}.cert").read_bytes()
    half = len(authorities) // 2
    return PlatformCertificates(
        ark=authorities[half:],
        ask=authorities[:half],
        cek=(machine.kds / "cek" / "id" / chip).read_bytes(),
        pek=exported[:CERTIFICATE_SIZE],
        oca=exported[CERTIFICATE_SIZE : 2 * CERTIFICATE_SIZE],
        pdh=pdh,
    )


def authenticated(
    certified: PlatformCertificates, *pins: str, owners: frozenset[bytes] | None = None
) -> AuthenticPlatform:
    roots = {parse_pin(pin): simulated_root(parse_pin(pin)) for pin in pins}
    return chain.authenticate(certified, roots, owners)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@dataclass
class Tenant:
    """The keys of one launch, fresh."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    keys: LaunchKeys = field(default_factory=lambda: LaunchKeys(os.urandom(16), os.urandom(16)))

    def session(self, platform: AuthenticPlatform, policy: int) -> tuple[bytes, bytes]:
        """Owner certificate and session, as LAUNCH_START takes them."""
        wrapped = session.create(
            platform, policy, self.key, nonce=os.urandom(16), iv=os.urandom(16), keys=self.keys
        )
        return session.owner_certificate(self.key.public_key()), wrapped.encode()

    async def proven(
        self, platform: Platform, measured: bytes, policy: int, contents: Mapping[int, bytes], kind: Kind
    ) -> ProvenLaunch:
        """Raises `Rejected` unless it is the launch of `contents`."""
        status = await platform.sev_status()
        vmsas = [reset_vmsa(0)] if kind.es else []
        digest = measurement.launch_digest([contents[gpa] for gpa in sorted(contents)], vmsas)
        version = status.api_major, status.api_minor, status.build
        return measurement.verify_measurement(
            self.keys.tik, LaunchMeasurement.parse(measured), *version, policy, [digest]
        )

    def sealed(self, plain: bytes, launch: ProvenLaunch) -> SecretPacket:
        return packet.seal_secret(self.keys, os.urandom(16), plain, launch)


@dataclass(frozen=True)
class Opened:
    """A machine, and what a tenant who pins its root knows of it."""

    machine: BootedMachine
    platform: Platform
    authentic: AuthenticPlatform


@asynccontextmanager
async def trusted(machine: BootedMachine) -> AsyncIterator[Opened]:
    async with opened(machine) as platform:
        certified = await certificates(platform, machine)
        yield Opened(machine, platform, authenticated(certified, machine.root))


@asynccontextmanager
async def measured(
    on: Opened, kind: Kind, tenant: Tenant, contents: Mapping[int, bytes], policy: int | None = None
) -> AsyncIterator[tuple[SevGuest, bytes]]:
    """A guest of the tenant's, launched with `contents` up to its measurement."""
    bits = int(kind.bits) if policy is None else policy
    async with await created(on.platform, kind) as guest:
        await guest.launch_start(bits, *tenant.session(on.authentic, bits))
        await fill(guest, kind, contents)
        yield guest, await guest.launch_measure()


def policy_of(bits: GuestPolicyBit, minimum_api: tuple[int, int] = (0, 0)) -> int:
    return GuestPolicy(bits, minimum_api).encode()


def status_of(refusal: pytest.ExceptionInfo[SystemFailure]) -> SevStatus:
    """Of the firmware's."""
    assert isinstance(refusal.value, FirmwareError)
    return SevStatus(refusal.value.status)


def errno_of(refusal: pytest.ExceptionInfo[SystemFailure]) -> int:
    """Of the kernel's."""
    assert isinstance(refusal.value, IoctlRefused)
    return refusal.value.number
