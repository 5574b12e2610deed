"""The simulated machine as its host sees it: a platform with a secure processor, and guests it can run.

Everything that a kernel has an ioctl for travels as that ioctl (`psp_sev`, `kvm_sev`, ``KVM_RUN``); what only
hardware does is a `machine_calls` operation. The host gets the shared window and the exits of a guest,
nothing else.
"""

from __future__ import annotations

import errno
import functools
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import kvm_snp, machine_calls, psp_sev
from wasmkeep.hardware.calls import Call, IoctlRefused
from wasmkeep.hardware.connection import Connection, MachineGone, connect
from wasmkeep.hardware.frames import Frame, encode_call
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import CpuChoice, GuestFlags, RunState
from wasmkeep.hardware.machine_guest import Exit, ExitKind, MachineGuest, keep_exit
from wasmkeep.hardware.psp_sev import SnpPlatformStatus
from wasmkeep.hardware.reset_state import reset_vmsa
from wasmkeep.hardware.sev_guest_vm import SevGuest, launch_sev, prepared
from wasmkeep.hardware.sev_platform import SevPlatform
from wasmkeep.hardware.shell import Plan, Shell, checked

__all__ = [
    "Exit",
    "ExitKind",
    "Guest",
    "LaunchRegion",
    "MachineDescription",
    "MachineGone",
    "MachineTee",
    "Platform",
]

_CHUNK = 1 << 20  # bytes of one SNP_LAUNCH_UPDATE
_RUN = encode_call(machine_calls.run())


class LaunchRegion(Protocol):
    """Initial guest memory: `data` is `size` bytes, or empty where the page type carries none."""

    @property
    def gpa(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def page_type(self) -> int: ...
    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class MachineTee:
    """A kind of guest that the machine offers, ``snp``, ``sev-es`` or ``sev``; and its key slots."""

    kind: str
    slots: int


@dataclass(frozen=True, slots=True)
class MachineDescription:
    """What the machine says of itself. Hints: a tenant believes only evidence.

    `cpu` is ``kvm`` or ``process``, `cpu_reason` why it is not ``kvm`` (empty when it is); `root_sha256` the
    SHA-256 of the simulated ARK's SubjectPublicKeyInfo, hex; `slots` how many SNP and SEV-ES guests there can
    be at once, together, `sev_slots` how many of plain SEV; `kds` the folder of endorsements, shaped like
    AMD's key distribution service; `firmware` and `sev_firmware` are major.minor.build of SNP's ABI and of
    SEV's API; `emulator` whether bare guests can have the emulated CPU.
    """

    machine: str
    product: str
    cpu: str
    cpu_reason: str
    root_sha256: str
    slots: int
    chip_id: str
    kds: str
    firmware: str
    report_version: int
    sev_firmware: str
    sev_slots: int
    tees: tuple[MachineTee, ...]
    emulator: bool

    @classmethod
    def parse(cls, text: bytes) -> MachineDescription:
        fields = json.loads(text.rstrip(b"\0"))
        fields["tees"] = tuple(MachineTee(tee["kind"], tee["slots"]) for tee in fields["tees"])
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


class Platform(SevPlatform):
    """The machine's platform: its secure processor, and a factory of guests."""

    def __init__(self, path: str, connection: Connection, description: MachineDescription) -> None:
        self.description = description
        self._path = path
        self._connection = connection
        self._spare: Shell | None = None
        self._last: Plan | None = None
        self._closing = False

    @classmethod
    async def open(cls, path: str) -> Platform:
        """Connect to the machine at `path`. Raises `MachineGone`."""
        connection = Connection(connect(path))
        try:
            answer = await connection.call(machine_calls.describe())
            description = MachineDescription.parse(checked(answer)[0])
        except BaseException:
            connection.abandon()
            raise
        return cls(path, connection, description)

    async def status(self) -> SnpPlatformStatus:
        return psp_sev.decode_status(await self._issue(psp_sev.snp_platform_status()))

    async def set_config(
        self, *, reported_tcb: int, mask_chip_id: bool = False, mask_chip_key: bool = False
    ) -> None:
        """SNP_SET_CONFIG. Raises `FirmwareError` when a component is above the committed TCB's."""
        call = psp_sev.snp_set_config(
            reported_tcb=reported_tcb, mask_chip_id=mask_chip_id, mask_chip_key=mask_chip_key
        )
        await self._issue(call)

    async def commit(self) -> None:
        await self._issue(psp_sev.snp_commit())

    async def _issue(self, call: Call) -> tuple[bytes, ...]:
        return checked(await self._connection.call(call))

    async def create_guest(self, memory: int) -> Guest:
        """An empty guest of `memory` bytes, to be launched step by step. Raises `IoctlRefused`."""
        shell = Shell(self._path, Plan(memory))
        return Guest(shell.connection, await shell.window())

    async def create_sev_guest(
        self,
        memory: int,
        vm_type: VmType = VmType.SEV,
        *,
        cpu: CpuChoice = CpuChoice.OWN,
        window: bool = False,
        entry: int | None = None,
    ) -> SevGuest:
        """An empty guest of `memory` bytes, to be launched step by step, or to arrive from elsewhere.

        Initialised by INIT2; one of the default type is not encrypted, and runs at once. Without a window it
        is a bare guest, of whole pages; `entry` is as of its `set_entry`, in the same go. Raises
        `FirmwareError` (RESOURCE_LIMIT) where every key slot is taken, else `IoctlRefused`.
        """
        if cpu is CpuChoice.EMULATED and not self.description.emulator:
            raise PlatformUnavailable(
                "machine.emulator",
                "the simulated machine has no emulated CPU here",
                found="unicorn is not installed",
                remedy="install the optional extra: pip install 'wasmkeep[emulator]'",
            )
        flags = GuestFlags.WINDOW if window else GuestFlags(0)
        begun = () if entry is None else (_entered(entry),)
        shell = Shell(self._path, Plan(memory, vm_type, begun, cpu, flags))
        return SevGuest(shell.connection, await shell.window(), bare=not window)

    async def launch_sev(
        self,
        kind: str,
        memory: int,
        regions: Iterable[LaunchRegion],
        vmsa: bytes | None,
        *,
        policy: int,
        owner_certificate: bytes,
        session: bytes,
    ) -> SevGuest:
        """A keep's guest of `kind` ``sev`` or ``sev-es``, launched and measured: `measurement` says how.

        The regions are measured in the order given; with SEV-ES then the vCPU's `vmsa`, which under plain SEV
        only sets its registers. What comes before LAUNCH_START was done ahead where `begin_next` was called.
        Raises `FirmwareError` or `IoctlRefused` of the first call that failed, leaving nothing behind.
        """
        image = tuple((region.gpa, region.size, region.data) for region in regions)
        plan = prepared(kind, memory, image, vmsa)
        shell = await self._shell(plan)
        self._last = plan
        return await launch_sev(shell, image, policy, owner_certificate, session)

    async def launch(
        self,
        memory: int,
        regions: Iterable[LaunchRegion],
        vmsa: bytes,
        *,
        policy: int,
        host_data: bytes,
        id_block: bytes | None = None,
        id_auth: bytes | None = None,
        auth_key: bool = False,
        vcek_disabled: bool = False,
        guest_requests: int = 0,
    ) -> Guest:
        """Create and launch a guest: the same calls as the steps, sent ahead of their answers.

        What a launch has in common with the one before it was done by `begin_next`. Raises `FirmwareError` or
        `IoctlRefused` of the first call that failed, leaving nothing behind; where that is LAUNCH_FINISH, the
        guest's `run` raises it. The first `guest_requests` of the guest's messages to the secure processor
        are passed on without an exit.
        """
        image = tuple((region.gpa, region.size, region.page_type, region.data) for region in regions)
        beginning = (encode_call(kvm_snp.snp_launch_start(policy)), *_image_frames(image, vmsa))
        finish = kvm_snp.snp_launch_finish(
            host_data, id_block, id_auth, auth_key_en=auth_key, vcek_disabled=vcek_disabled
        )
        plan = Plan(memory, launch=beginning)
        shell = await self._shell(plan)
        self._last = plan
        passing = machine_calls.pass_guest_requests(guest_requests)
        try:
            finished = shell.connection.submit([encode_call(passing), encode_call(finish)])
        except BaseException:
            shell.abandon()
            raise
        return Guest(shell.connection, await shell.window(), finished)

    async def _shell(self, plan: Plan) -> Shell:
        """The one made ahead, where it fits. One that does not gives its key slot back first."""
        shell, self._spare = self._spare, None
        if shell is not None:
            if shell.fits(plan):
                return shell
            await shell.discard()
        return Shell(self._path, plan)

    @property
    def begun(self) -> int:
        """SNP guests that `begin_next` began and nobody has yet: 0 or 1. `status` counts them."""
        spare = self._spare
        return int(spare is not None and spare.usable and spare.plan.vm_type is VmType.SNP)

    def begin_next(self) -> None:
        """Begin a launch like the last one, up to what its tenant will say. For a moment of leisure."""
        if self._spare is None and self._last and not self._closing and not self._connection.closed:
            with suppress(MachineGone):
                self._spare = Shell(self._path, self._last)

    async def __aenter__(self) -> Platform:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up. Guests have connections of their own and stay."""
        self._closing = True
        shell, self._spare = self._spare, None
        if shell is not None:
            shell.abandon()
        await self._connection.close()


class Guest(MachineGuest):
    """An SNP guest, a keep's. What LAUNCH_FINISH is refused for may be the first run's error."""

    async def launch_start(self, policy: int, gosvw: bytes = bytes(16)) -> None:
        """SNP_LAUNCH_START with a guest policy (SNP firmware ABI 4.3)."""
        await self._perform(kvm_snp.snp_launch_start(policy, gosvw))

    async def launch_update(self, gpa: int, data: bytes | None, size: int, page_type: int) -> None:
        """SNP_LAUNCH_UPDATE of whole pages; `data` None where the page type carries none."""
        await self._perform(*_updates(gpa, data, size, page_type))

    async def launch_finish(
        self,
        host_data: bytes,
        id_block: bytes | None = None,
        id_auth: bytes | None = None,
        *,
        auth_key: bool = False,
        vcek_disabled: bool = False,
    ) -> None:
        await self._perform(
            kvm_snp.snp_launch_finish(
                host_data, id_block, id_auth, auth_key_en=auth_key, vcek_disabled=vcek_disabled
            )
        )

    async def run(self) -> Exit:
        """Run until the guest exits. While it runs nothing else may be asked of it but `close`.

        The first run raises what LAUNCH_FINISH was refused for.
        """
        try:
            (answer,) = self._connection.submit([_RUN])
            for finished in self._finished:
                checked(await finished)
            self._finished = ()
            memory = checked(await answer)
        except MachineGone:
            if self._closing:
                return Exit(ExitKind.ENDED)
            raise
        except IoctlRefused as error:
            if error.number == errno.EINTR:
                return Exit(ExitKind.ENDED)
            raise
        return keep_exit(RunState.from_buffer_copy(memory[0]))

    async def guest_request(self, request_gpa: int, response_gpa: int) -> int:
        """Pass a guest message to the secure processor; the answer is exitinfo2 for the guest (0 = done)."""
        answer = await self._connection.call(machine_calls.guest_request(request_gpa, response_gpa))
        if answer.result.value < 0:
            raise IoctlRefused(answer.call.name, -answer.result.value)
        return answer.result.value


@functools.lru_cache(maxsize=8)
def _entered(entry: int) -> Frame:
    """The vCPU begins there, in real mode."""
    return encode_call(machine_calls.set_vmsa(reset_vmsa(entry)))


@functools.lru_cache(maxsize=8)
def _image_frames(image: tuple[tuple[int, int, int, bytes], ...], vmsa: bytes) -> tuple[Frame, ...]:
    """The launch of an image's regions and its VMSA. A host launches the same few images again and again.

    Neighbours of one type go in one call: the launch digest is by pages, whatever the calls.
    """
    merged: list[tuple[int, int, int, bytes]] = []
    for gpa, size, page_type, data in image:
        last = merged[-1] if merged else (0, 0, 0, b"")
        if last[0] + last[1] == gpa and last[2] == page_type and bool(last[3]) == bool(data):
            merged[-1] = (last[0], last[1] + size, page_type, last[3] + data)
        else:
            merged.append((gpa, size, page_type, data))
    calls: list[Call] = []
    for gpa, size, page_type, data in merged:
        calls += _updates(gpa, data or None, size, page_type)
    return tuple(encode_call(call) for call in (*calls, machine_calls.set_vmsa(vmsa)))


def _updates(gpa: int, data: bytes | None, size: int, page_type: int) -> Iterator[Call]:
    """A region as calls that each fit a frame."""
    if data is None:
        yield kvm_snp.snp_launch_update(gpa, None, size, page_type)
        return
    for offset in range(0, size, _CHUNK):
        piece = data[offset : offset + _CHUNK]
        yield kvm_snp.snp_launch_update(gpa + offset, piece, len(piece), page_type)
