"""A SEV or SEV-ES guest of the simulated machine, or one not encrypted: launched, run, looked at, moved.

Every step is KVM's own command (`SevGuestCommands`). What the hypervisor may read of registers and memory is
what hardware lets it read.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import mmap

from wasmkeep.hardware import kvm_sev_calls, machine_calls, psp_sev_calls
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.calls import Call, IoctlRefused
from wasmkeep.hardware.connection import Answer, Connection, MachineGone
from wasmkeep.hardware.frames import Frame, encode_call
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import GUEST_HVA, RUN_DATA, RunState
from wasmkeep.hardware.machine_guest import Exit, ExitKind, MachineGuest, bare_exit, host_writes, keep_exit
from wasmkeep.hardware.reset_state import reset_vmsa
from wasmkeep.hardware.sev_guest_commands import Registers, SevGuestCommands, VcpuState
from wasmkeep.hardware.shell import Plan, Shell, checked

__all__ = ["SevGuest", "launch_sev", "prepared"]

_KINDS = {"sev": VmType.SEV, "sev-es": VmType.SEV_ES}
_RUN = encode_call(machine_calls.run())
_BARE_RUN = encode_call(machine_calls.run(RUN_DATA))

Image = tuple[tuple[int, int, bytes], ...]  # address, size, data; no data is zeros


class SevGuest(MachineGuest, SevGuestCommands):
    """`measurement` is what LAUNCH_MEASURE gave where `Platform.launch_sev` asked for it, 48 bytes."""

    def __init__(
        self, connection: Connection, window: mmap.mmap | None, *, bare: bool, measurement: bytes = b""
    ) -> None:
        super().__init__(connection, window)
        self.measurement = measurement
        self._bare = bare
        self._last: Exit | None = None

    def _uaddr(self, gpa: int) -> int:
        return GUEST_HVA + gpa

    async def init(self, *, es: bool = False) -> None:
        """The older INIT or ES_INIT, for a VM of the default type."""
        await self._perform(kvm_sev_calls.es_init() if es else kvm_sev_calls.init())

    async def set_entry(self, address: int) -> None:
        """The vCPU begins at `address`, below 1 MiB, in real mode."""
        await self.set_vmsa(reset_vmsa(address))

    async def launch_update_data(self, gpa: int, data: bytes) -> None:
        update = kvm_sev_calls.launch_update_data(self._uaddr(gpa), len(data))
        await self._perform(*host_writes(gpa, data), update)

    async def register_region(self, gpa: int, size: int) -> None:
        """KVM_MEMORY_ENCRYPT_REG_REGION, which this machine checks and does not need."""
        await self._perform(kvm_sev_calls.register_region(self._uaddr(gpa), size))

    async def unregister_region(self, gpa: int, size: int) -> None:
        await self._perform(kvm_sev_calls.unregister_region(self._uaddr(gpa), size))

    async def inject(self, header: bytes, data: bytes, gpa: int) -> None:
        """LAUNCH_SECRET, of a guest that `Platform.launch_sev` measured."""
        await self.launch_secret(header, gpa, data)

    async def finish(self) -> None:
        """LAUNCH_FINISH, sent ahead: what it is refused for is the first run's error."""
        self._finished = self._connection.submit([encode_call(kvm_sev_calls.launch_finish())])

    async def run(self, answer: bytes = b"") -> Exit:
        """Run until the guest exits. `answer` is what it reads that came out for an input.

        Anything else asked of it meanwhile ends the run with INTERRUPTED, as a signal would; run it again.
        """
        try:
            (run,) = self._connection.submit([self._run_frame(answer)])
            for finished in self._finished:
                checked(await finished)
            self._finished = ()
            memory = checked(await run)
        except MachineGone:
            if self._closing:
                return Exit(ExitKind.ENDED)
            raise
        except IoctlRefused as error:
            if error.number == errno.EINTR:
                return Exit(ExitKind.ENDED if self._closing else ExitKind.INTERRUPTED)
            raise
        state = RunState.from_buffer_copy(memory[0])
        self._last = bare_exit(state, memory[0][state.data_offset :]) if self._bare else keep_exit(state)
        return self._last

    def _run_frame(self, answer: bytes) -> Frame:
        if not self._bare:
            return _RUN
        if not answer:
            return _BARE_RUN
        if self._last is not None and self._last.kind is ExitKind.MMIO:
            return encode_call(machine_calls.answer_mmio(answer, RUN_DATA))
        return encode_call(machine_calls.run(RUN_DATA, answer))

    async def interrupt(self) -> None:
        """End the run under way, if there is one, so that the host may look."""
        await self._connection.call(psp_sev_calls.platform_status())

    async def registers(self) -> Registers:
        """General and vector registers. Of SEV-ES guests the hypervisor gets none: EINVAL."""
        regs, xsave = await self._each(machine_calls.get_regs(), machine_calls.get_xsave())
        return Registers.of(k.Regs.from_buffer_copy(regs), xsave)

    async def vcpu_state(self) -> VcpuState:
        """All that a hypervisor carries over when such a guest moves."""
        calls = (machine_calls.get_regs(), machine_calls.get_sregs(), machine_calls.get_xsave())
        return VcpuState(*await self._each(*calls))

    async def set_vcpu_state(self, state: VcpuState) -> None:
        await self._perform(
            machine_calls.set_sregs(k.Sregs.from_buffer_copy(state.sregs)),
            machine_calls.set_xsave(state.xsave),
            machine_calls.set_regs(k.Regs.from_buffer_copy(state.regs)),
        )

    async def _each(self, *calls: Call) -> list[bytes]:
        answers = self._connection.submit([encode_call(call) for call in calls])
        return [checked(await answer)[0] for answer in answers]


def prepared(kind: str, memory: int, image: Image, vmsa: bytes | None) -> Plan:
    """A keep's guest up to what its tenant says: its image in place, not measured yet."""
    return Plan(memory, _KINDS[kind], _image_frames(image, vmsa))


async def launch_sev(
    shell: Shell, image: Image, policy: int, owner_certificate: bytes, session: bytes
) -> SevGuest:
    """LAUNCH_START, LAUNCH_UPDATE_DATA, for SEV-ES LAUNCH_UPDATE_VMSA, and LAUNCH_MEASURE, all sent ahead."""
    es = shell.plan.vm_type is VmType.SEV_ES
    start = encode_call(kvm_sev_calls.launch_start(policy, owner_certificate, session))
    try:
        answers = shell.connection.submit([start, *_measuring_frames(image, es=es)])
    except BaseException:
        shell.abandon()
        raise
    window = await shell.window()
    try:
        measurement = await _measurement(answers)
    except BaseException:
        shell.connection.abandon()
        if window is not None:
            window.close()
        raise
    return SevGuest(shell.connection, window, bare=False, measurement=measurement)


async def _measurement(answers: list[asyncio.Future[Answer]]) -> bytes:
    memory: tuple[bytes, ...] = ()
    for answer in answers:
        memory = checked(await answer)
    return kvm_sev_calls.decode_measurement(memory)


@functools.lru_cache(maxsize=8)  # a host launches the same few images again and again
def _image_frames(image: Image, vmsa: bytes | None) -> tuple[Frame, ...]:
    """Zeros need not be written: a new guest's memory has nothing else."""
    calls = [
        call for gpa, size, data in image if data and data != bytes(size) for call in host_writes(gpa, data)
    ]
    if vmsa is not None:
        calls.append(machine_calls.set_vmsa(vmsa))
    return tuple(encode_call(call) for call in calls)


@functools.lru_cache(maxsize=8)
def _measuring_frames(image: Image, *, es: bool) -> tuple[Frame, ...]:
    """Neighbours go in one call: the launch digest is of the contents, whatever the calls."""
    merged: list[tuple[int, int]] = []
    for gpa, size, _ in image:
        begin, length = merged[-1] if merged else (0, 0)
        if merged and begin + length == gpa:
            merged[-1] = (begin, length + size)
        else:
            merged.append((gpa, size))
    calls = [kvm_sev_calls.launch_update_data(GUEST_HVA + gpa, size) for gpa, size in merged]
    calls += [kvm_sev_calls.launch_update_vmsa()] if es else []
    return tuple(encode_call(call) for call in (*calls, kvm_sev_calls.launch_measure()))
