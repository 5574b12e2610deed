"""A guest made ahead: machine, memory and window, with or without the beginning of a launch.

A host keeps one ready for the next tenant. What a tenant chooses comes late: under SNP with LAUNCH_FINISH
(host data, an ID block), under SEV and SEV-ES with LAUNCH_START (owner, session). So what is before it, which
is long, can be done while nobody waits.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

from wasmkeep.hardware import kvm_sev, kvm_sev_calls, machine_calls, psp_sev
from wasmkeep.hardware.calls import Call, File, IoctlRefused
from wasmkeep.hardware.connection import Answer, Connection, MachineGone, connect
from wasmkeep.hardware.frames import Frame, encode_call
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import WINDOW_SIZE, CpuChoice, GuestFlags

_GHCB_VERSIONS = {VmType.SEV: 0, VmType.SEV_ES: kvm_sev.GHCB_VERSION, VmType.SNP: kvm_sev.GHCB_VERSION}


def checked(answer: Answer) -> tuple[bytes, ...]:
    """The call's memory afterwards. Raises `FirmwareError` or `IoctlRefused`."""
    if answer.call.file is File.VM:
        return kvm_sev.check(answer.call, answer.result)
    if answer.call.file is File.SEV:
        return psp_sev.check(answer.call, answer.result)
    if answer.result.value < 0:
        raise IoctlRefused(answer.call.name, -answer.result.value)
    return answer.result.memory


class Plan(NamedTuple):
    """What a shell is: its memory in bytes, the VM's type and CPU, and `launch`, what follows INIT2.

    A VM of the default type has no INIT2; a bare guest, one without a window, no window.
    """

    memory: int
    vm_type: VmType = VmType.SNP
    launch: tuple[Frame, ...] = ()
    cpu: CpuChoice = CpuChoice.OWN
    flags: GuestFlags = GuestFlags.WINDOW

    def calls(self) -> list[Call]:
        """KVM_CREATE_VM and INIT2."""
        create = machine_calls.create_guest(self.memory, self.vm_type, cpu=self.cpu, flags=self.flags)
        version = _GHCB_VERSIONS.get(self.vm_type)
        return [create] if version is None else [create, kvm_sev_calls.init2(ghcb_version=version)]


class Shell:
    """Begins to be made when it is constructed; `window` waits for it. `discard` where it is not wanted."""

    def __init__(self, path: str, plan: Plan) -> None:
        """Raises `MachineGone`."""
        self.plan = plan
        self.connection = Connection(connect(path))
        frames = [*(encode_call(call) for call in plan.calls()), *plan.launch]
        self._created, *self._begun = self.connection.submit(frames)

    def fits(self, plan: Plan) -> bool:
        """Whether a guest launched so can be finished here."""
        return self.usable and self.plan == plan

    @property
    def usable(self) -> bool:
        """Whether no call was refused so far, as LAUNCH_START is while all key slots are taken."""
        if self.connection.closed:
            return False
        answered = (each for each in (self._created, *self._begun) if each.done())
        return all(each.exception() is None and each.result().result.value >= 0 for each in answered)

    async def window(self) -> mmap.mmap | None:
        """The window of the finished shell, if it has one. Raises what its calls raise, and is gone then."""
        window = None
        try:
            created = await self._created
            checked(created)
            if self.plan.flags & GuestFlags.WINDOW:
                window = _mapped(created)
            for answer in self._begun:
                checked(await answer)
        except BaseException:
            if window is not None:
                window.close()
            self.connection.abandon()
            raise
        return window

    async def discard(self) -> None:
        """Give it back, before `window` was called, and wait until its key slot is free."""
        self._drop_window()
        await self.connection.close()

    def abandon(self) -> None:
        """As `discard`, without waiting."""
        self._drop_window()
        self.connection.abandon()

    def _drop_window(self) -> None:
        self._created.cancel()  # an answer on its way closes its descriptor then
        if not self._created.cancelled() and self._created.exception() is None:
            descriptor = self._created.result().descriptor
            if descriptor is not None:
                os.close(descriptor)


def _mapped(answer: Answer) -> mmap.mmap:
    """The window whose descriptor came with an answer."""
    if answer.descriptor is None:
        raise MachineGone("it passed no window")
    try:
        return mmap.mmap(answer.descriptor, WINDOW_SIZE)
    finally:
        os.close(answer.descriptor)
