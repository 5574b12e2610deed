"""Bare guests of a booted machine, and the tenant who owns one: the talk's flow, through the drivers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.machines import HAS_KVM
from tests.simulator.driving import platform
from wasmkeep.evidence.roots import simulated_root
from wasmkeep.evidence.sev import certificate, chain, measurement, packet, session
from wasmkeep.evidence.sev.chain import AuthenticPlatform, PlatformCertificates
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, ProvenLaunch
from wasmkeep.evidence.sev.packet import SecretPacket
from wasmkeep.evidence.sev.session import LaunchKeys
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import CpuChoice
from wasmkeep.hardware.psp_sev_calls import SevPlatformStatus
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.simulated import Platform

PAGE = 4096
MEMORY = 16 * PAGE
CODE = 0x1000
NODBG, NOKS, ES, NOSEND, DOMAIN, SEV = (1 << bit for bit in range(6))
POLICY = NODBG | NOKS | NOSEND
EMPTY = hashlib.sha256().digest()

# mov al, 3; add al, 4; mov dx, 0x3f8; out dx, al; hlt; jmp $-1
ADD = bytes.fromhex("b003 0404 baf803 ee f4 ebfd").ljust(16, b"\xf4")
SPIN = bytes.fromhex("ebfe").ljust(16, b"\xf4")
# mov eax, 0x11223344; mov [0x3000], eax; out 0x10, al; then the same again
STORE = bytes.fromhex("66b844332211 66a30030 e610 ebf2").ljust(16, b"\xf4")

_NO_KVM = pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted")
_NO_EMULATOR = pytest.mark.skipif(
    importlib.util.find_spec("unicorn") is None, reason="the extra `emulator` is not installed"
)
KVM = pytest.param(CpuChoice.OWN, marks=[pytest.mark.kvm, _NO_KVM], id="kvm")
EMULATED = pytest.param(CpuChoice.EMULATED, marks=_NO_EMULATOR, id="emulated")
BARE = pytest.mark.parametrize("cpu", [KVM, EMULATED])
ONLY_EMULATED = pytest.mark.parametrize("cpu", [EMULATED])
MACHINE_CPU = "kvm" if HAS_KVM else "process"


@asynccontextmanager
async def bare_platform(*options: str) -> AsyncIterator[Platform]:
    async with platform(MACHINE_CPU, *options) as on:
        yield on


async def certificates(on: Platform) -> PlatformCertificates:
    """The exported chain, with what the machine's endorsements say in place of the unsigned CEK."""
    pdh, exported = await on.pdh_cert_export()
    size = certificate.CERTIFICATE_SIZE
    kds = Path(on.description.kds)
    both = (kds / "sev" / f"ask_ark_{on.description.product}.cert").read_bytes()
    cek = (kds / "cek" / "id" / on.description.chip_id).read_bytes()
    assert cek[: certificate.BODY_SIZE] == exported[2 * size :][: certificate.BODY_SIZE]
    half = len(both) // 2
    return PlatformCertificates(
        ark=both[half:], ask=both[:half], cek=cek, pek=exported[:size], oca=exported[size : 2 * size], pdh=pdh
    )


@dataclass
class Tenant:
    """Whoever owns a guest: trusts a platform only after its chains led to the machine's root."""

    platform: AuthenticPlatform
    status: SevPlatformStatus
    policy: int = POLICY
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    keys: LaunchKeys = field(default_factory=lambda: LaunchKeys(os.urandom(16), os.urandom(16)))

    @classmethod
    async def of(cls, on: Platform, policy: int = POLICY) -> Tenant:
        root = bytes.fromhex(on.description.root_sha256)
        authentic = chain.authenticate(await certificates(on), {root: simulated_root(root)})
        return cls(authentic, await on.sev_status(), policy)

    @property
    def certificate(self) -> bytes:
        return session.owner_certificate(self.key.public_key())

    def session(self) -> bytes:
        made = session.create(
            self.platform, self.policy, self.key, nonce=os.urandom(16), iv=os.urandom(16), keys=self.keys
        )
        return made.encode()

    def proven(self, measured: bytes, digest: bytes = EMPTY) -> ProvenLaunch:
        status = self.status
        return measurement.verify_measurement(
            self.keys.tik,
            LaunchMeasurement.parse(measured),
            status.api_major,
            status.api_minor,
            status.build,
            self.policy,
            [digest],
        )

    def secret(self, plain: bytes, launch: ProvenLaunch | bytes) -> SecretPacket:
        return packet.seal_secret(self.keys, os.urandom(16), plain, launch)


async def started(
    on: Platform, tenant: Tenant, cpu: CpuChoice, vm_type: VmType = VmType.SEV, memory: int = MEMORY
) -> SevGuest:
    """An empty guest that `tenant` owns, after LAUNCH_START."""
    guest = await on.create_sev_guest(memory, vm_type, cpu=cpu)
    await guest.launch_start(tenant.policy, tenant.certificate, tenant.session())
    return guest


async def injected(on: Platform, tenant: Tenant, cpu: CpuChoice, program: bytes = ADD) -> SevGuest:
    """The talk's: measured empty, `program` injected at CODE, ready to run there."""
    guest = await started(on, tenant, cpu)
    launch = tenant.proven(await guest.launch_measure())
    sealed = tenant.secret(program, launch)
    await guest.launch_secret(sealed.header, CODE, sealed.data)
    await guest.set_entry(CODE)
    await guest.launch_finish()
    return guest
