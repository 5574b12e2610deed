"""What the machine needs of a CPU: guest memory, a run that ends in an exit, and a way to stop it.

Three kinds: `kvm_cpu`, the real processor through ``/dev/kvm``; `process_cpu`, a sandboxed process for
computers without it, which runs keeps only; and `emulated_cpu`, for bare guests, whose memory really is
ciphertext.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Protocol

from wasmkeep.hardware.kvm_structures import Regs, Sregs
from wasmkeep.hardware.machine_calls import EXIT_PORT, ExitReason, RunState
from wasmkeep.simulator.guest import GuestMemory


class Interrupted(Exception):
    """The run was ended by `GuestCpu.interrupt`, not by the guest."""


@dataclass(frozen=True, slots=True)
class GuestPlan:
    """`memory` in bytes. With a window it is a keep's guest: it exits by one port, and any other ends it.

    `sev_features` is what SEV_FEATURES of the VMSA must say: the features this guest was made with.
    """

    memory: int
    window: bool
    sev_features: int


class GuestCpu(GuestMemory, Protocol):
    """One guest's memory and vCPU. All but `interrupt` in one thread."""

    @property
    def window(self) -> int | None:
        """Descriptor of the shared window, of a keep's guest."""

    def load(self, vmsa: bytes) -> None:
        """Take the initial state in; the last one before the first run counts. Raises `InvalidVmsa`."""

    def run(self) -> RunState:
        """Run until the guest exits. Raises `Interrupted`."""

    def exit_data(self) -> bytes:
        """What the port exit that `run` gave carries, `count` × `size` bytes."""

    def answer(self, mmio: bytes, data: bytes) -> None:
        """What the guest reads that came out for an input: 8 bytes of MMIO, or the values of a port."""

    def interrupt(self) -> None:
        """Make the run under way, or the next, raise `Interrupted`."""

    def get_regs(self) -> Regs:
        """This and the next five raise OSError where the CPU cannot."""

    def set_regs(self, regs: Regs, /) -> None: ...
    def get_sregs(self) -> Sregs: ...
    def set_sregs(self, sregs: Sregs, /) -> None: ...
    def get_xsave(self) -> bytes: ...
    def set_xsave(self, area: bytes, /) -> None: ...

    def destroy(self) -> None:
        """End the guest and give everything back. After the last run."""


class CpuKind(Protocol):
    """A way to run guests; `name` is ``kvm`` or ``process``, `reason` why it is not ``kvm``."""

    name: str
    reason: str

    def create(self, plan: GuestPlan) -> GuestCpu:
        """A guest with memory of zeros, the window in place. Raises OSError."""

    def close(self) -> None: ...


def port_exit() -> RunState:
    """The exit by which a guest asks its host for something."""
    return RunState(exit_reason=ExitReason.IO, direction=1, size=1, port=EXIT_PORT, count=1)


def ended(reason: int) -> RunState:
    return RunState(exit_reason=reason)


def no_registers() -> OSError:
    return OSError(errno.EOPNOTSUPP, "this kind of CPU shows no registers")
