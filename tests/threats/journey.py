"""A bare guest of plain SEV on its way between two simulated machines, each a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.machines import BootedMachine, machine
from tests.simulator.sev.bench import OwnerAuthority
from tests.threats.bare import (
    EMULATED_SEV,
    MEMORY,
    PORT,
    SECRET_AT,
    Kind,
    certificates,
    created,
    image,
    opened,
    without_owner,
)
from wasmkeep.evidence.sev import certificate
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_guest_commands import VcpuState
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.simulated import Platform

PAGE = 4096
MOVABLE = GuestPolicyBit.NODBG | GuestPolicyBit.NOKS
TEXT = b"It begins here, and before it is through it has gone elsewhere.."
FIRST = 20  # characters that are printed at home
COUNTER_AT = 0x3000

# mov si, 2000h · mov dx, 3f8h · mov cx, 64 · again: lodsb · out dx, al · inc byte [3000h] · loop again ·
# mov al, [3000h] · out dx, al · hlt: the text, and then how many characters it had
PROGRAM = bytes.fromhex("be 00 20  ba f8 03  b9 40 00  ac  ee  fe 06 00 30  e2 f8  a0 00 30  ee  f4")
CONTENTS = image(PROGRAM, TEXT) | {COUNTER_AT: bytes(PAGE)}
TEXT_PAGE = SECRET_AT // PAGE
Packets = list[tuple[bytes, bytes]]  # header and ciphertext of each page


@dataclass(frozen=True)
class End:
    machine: BootedMachine
    platform: Platform

    async def certificates(self) -> PlatformCertificates:
        return await certificates(self.platform, self.machine)

    async def pdh(self) -> bytes:
        return (await self.platform.pdh_cert_export())[0]

    async def owned_by(self, owner: OwnerAuthority) -> None:
        """PEK_CSR, sign, PEK_CERT_IMPORT, on a platform that nobody else owns afterwards."""
        await self.platform.factory_reset()
        pek = owner.sign(certificate.parse(await self.platform.pek_csr(), "PEK"))
        await self.platform.pek_cert_import(pek.encode(), owner.certificate.encode())


@asynccontextmanager
async def ends(*target: str, amd: bool = True) -> AsyncIterator[tuple[End, End]]:
    """Source and target, each its own AMD's. The source counts the target's root as AMD's where `amd`.

    `target` are further options of the target's.
    """
    elsewhere = machine(*target, name="tests-elsewhere", product="naples")
    here = machine("--amd-root", elsewhere.root) if amd else machine()
    async with opened(here) as source, opened(elsewhere) as other:
        yield End(here, source), End(elsewhere, other)


@asynccontextmanager
async def begun(at: End, policy: int = int(MOVABLE), kind: Kind = EMULATED_SEV) -> AsyncIterator[SevGuest]:
    """A guest that printed the beginning."""
    async with without_owner(at.platform, kind, CONTENTS, policy) as guest:
        assert await printed(guest, FIRST) == TEXT[:FIRST]
        yield guest


async def printed(guest: SevGuest, count: int) -> bytes:
    text = b""
    while len(text) < count:
        end = await guest.run()
        assert (end.kind, end.port) == (ExitKind.OUTPUT, PORT)
        text += end.data
    return text


async def send_start(guest: SevGuest, to: PlatformCertificates) -> tuple[int, bytes]:
    return await guest.send_start(to.pdh, to.pek + to.oca + to.cek, to.ask + to.ark)


async def send_memory(guest: SevGuest) -> Packets:
    return [await guest.send_update_data(gpa, PAGE) for gpa in range(0, MEMORY, PAGE)]


@dataclass(frozen=True)
class Recording:
    """A whole journey, as a host that carries it can keep it."""

    policy: int
    pdh: bytes
    session: bytes
    packets: Packets
    registers: VcpuState

    async def receive_start(self, guest: SevGuest, **changes: object) -> None:
        fields = {"policy": self.policy, "pdh": self.pdh, "session": self.session, **changes}
        await guest.receive_start(**fields)  # type: ignore[arg-type]  # named fields

    async def receive(
        self, guest: SevGuest, replaced: Mapping[int, tuple[bytes, bytes]] | None = None
    ) -> None:
        """All of it; `replaced` are other packets by page number."""
        await self.receive_start(guest)
        for number, packet in enumerate(self.packets):
            header, data = (replaced or {}).get(number, packet)
            await guest.receive_update_data(header, number * PAGE, data)
        await guest.receive_finish()
        await guest.set_vcpu_state(self.registers)


async def recorded(guest: SevGuest, source: End, target: End) -> Recording:
    """The journey up to, not with, SEND_FINISH."""
    policy, session = await send_start(guest, await target.certificates())
    packets = await send_memory(guest)
    return Recording(policy, await source.pdh(), session, packets, await guest.vcpu_state())


@asynccontextmanager
async def arriving(at: End, kind: Kind = EMULATED_SEV) -> AsyncIterator[SevGuest]:
    """A guest that has nothing yet."""
    async with await created(at.platform, kind) as guest:
        yield guest
