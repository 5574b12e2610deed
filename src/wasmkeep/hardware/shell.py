"""An empty guest: machine, memory and window made, nothing launched, no key slot taken.

A host keeps one ready, as it would a virtual machine: making one takes longer than launching into it.
"""

from __future__ import annotations

import mmap
import os

from wasmkeep.hardware import kvm_sev, machine_calls, psp_sev
from wasmkeep.hardware.calls import File, IoctlRefused
from wasmkeep.hardware.connection import Answer, Connection, MachineGone, connect
from wasmkeep.hardware.frames import encode_call
from wasmkeep.hardware.machine_calls import WINDOW_SIZE

_INIT2 = encode_call(kvm_sev.init2())


def checked(answer: Answer) -> tuple[bytes, ...]:
    """The call's memory afterwards. Raises `FirmwareError` or `IoctlRefused`."""
    if answer.call.file is File.VM:
        return kvm_sev.check(answer.call, answer.result)
    if answer.call.file is File.SEV:
        return psp_sev.check(answer.call, answer.result)
    if answer.result.value < 0:
        raise IoctlRefused(answer.call.name, -answer.result.value)
    return answer.result.memory


class Shell:
    """Begins to be made when it is constructed; `window` waits for it. `discard` where it is not wanted."""

    def __init__(self, path: str, memory: int) -> None:
        """Raises `MachineGone`."""
        self.memory = memory
        self.connection = Connection(connect(path))
        create = encode_call(machine_calls.create_guest(memory))
        self._created, self._initialised = self.connection.submit([create, _INIT2])

    async def window(self) -> mmap.mmap:
        """The window of the finished shell. Raises `IoctlRefused` or `MachineGone`; it is discarded then."""
        try:
            descriptor = checked_descriptor(await self._created)
            try:
                window = mmap.mmap(descriptor, WINDOW_SIZE)
            finally:
                os.close(descriptor)
        except BaseException:
            self.connection.abandon()
            raise
        try:
            checked(await self._initialised)
        except BaseException:
            window.close()
            self.connection.abandon()
            raise
        return window

    def discard(self) -> None:
        """Give it back. Before `window` was called."""
        self._created.cancel()  # an answer on its way closes its descriptor then
        if not self._created.cancelled() and self._created.exception() is None:
            descriptor = self._created.result().descriptor
            if descriptor is not None:
                os.close(descriptor)
        self.connection.abandon()


def checked_descriptor(answer: Answer) -> int:
    """The descriptor that came with an answer, owned by the caller. Raises `IoctlRefused`, `MachineGone`."""
    checked(answer)
    if answer.descriptor is None:
        raise MachineGone("it passed no window")
    return answer.descriptor
