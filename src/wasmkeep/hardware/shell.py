"""A guest made ahead: machine, memory and window, with or without the beginning of a launch.

A host keeps one ready for the next tenant. What a tenant chooses (host data, an ID block) comes with
LAUNCH_FINISH, so everything before it, all that is long, can be done while nobody waits.
"""

from __future__ import annotations

import mmap
import os

from wasmkeep.hardware import kvm_sev, kvm_sev_calls, machine_calls, psp_sev
from wasmkeep.hardware.calls import File, IoctlRefused
from wasmkeep.hardware.connection import Answer, Connection, MachineGone, connect
from wasmkeep.hardware.frames import Frame, encode_call
from wasmkeep.hardware.machine_calls import WINDOW_SIZE

_INIT2 = encode_call(kvm_sev_calls.init2())


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
    """Begins to be made when it is constructed; `window` waits for it. `discard` where it is not wanted.

    `launch` is SNP_LAUNCH_START and what follows, up to SNP_LAUNCH_FINISH; where it is empty, the shell takes
    no key slot.
    """

    def __init__(self, path: str, memory: int, launch: tuple[Frame, ...] = ()) -> None:
        """Raises `MachineGone`."""
        self.memory = memory
        self.launch = launch
        self.connection = Connection(connect(path))
        create = encode_call(machine_calls.create_guest(memory))
        self._created, self._initialised, *self._launched = self.connection.submit([create, _INIT2, *launch])

    def fits(self, memory: int, launch: tuple[Frame, ...]) -> bool:
        """Whether a guest launched so can be finished here."""
        return self.usable and (self.memory, self.launch) == (memory, launch)

    @property
    def usable(self) -> bool:
        """Whether no call was refused so far, as LAUNCH_START is while all key slots are taken."""
        if self.connection.closed:
            return False
        answered = (each for each in (self._created, self._initialised, *self._launched) if each.done())
        return all(each.exception() is None and each.result().result.value >= 0 for each in answered)

    async def window(self) -> mmap.mmap:
        """The window of the finished shell. Raises what its calls raise; it is given back then."""
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
            for answer in (self._initialised, *self._launched):
                checked(await answer)
        except BaseException:
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


def checked_descriptor(answer: Answer) -> int:
    """The descriptor that came with an answer, owned by the caller. Raises `IoctlRefused`, `MachineGone`."""
    checked(answer)
    if answer.descriptor is None:
        raise MachineGone("it passed no window")
    return answer.descriptor
