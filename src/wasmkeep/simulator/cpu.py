"""What the machine needs of a CPU: guest memory, a run that ends in an exit, and a way to stop it.

Two kinds: `kvm_cpu`, the real processor through ``/dev/kvm``, and `process_cpu`, a sandboxed process for
computers without it. The emulated CPU of bare SEV guests will be a third.
"""

from __future__ import annotations

from typing import Protocol

from wasmkeep.hardware.machine_calls import EXIT_PORT, ExitReason, RunState
from wasmkeep.simulator.guest import GuestMemory


class Interrupted(Exception):
    """The run was ended by `GuestCpu.interrupt`, not by the guest."""


class GuestCpu(GuestMemory, Protocol):
    """One guest's memory and vCPU. `run` and `load` in one thread; `interrupt` from any."""

    window: int  # descriptor of the shared window

    def load(self, vmsa: bytes) -> None:
        """Take the initial state in; the last one before the first run counts. Raises `InvalidVmsa`."""

    def run(self) -> RunState:
        """Run until the guest exits. Raises `Interrupted`."""

    def interrupt(self) -> None:
        """Make the run under way, or the next, raise `Interrupted`."""

    def destroy(self) -> None:
        """End the guest and give everything back. After the last run."""


class CpuKind(Protocol):
    """A way to run guests; `name` is ``kvm`` or ``process``, `reason` why it is not ``kvm``."""

    name: str
    reason: str

    def create(self, memory: int) -> GuestCpu:
        """A guest with `memory` bytes of zeros, the window in place. Raises OSError."""

    def close(self) -> None: ...


def port_exit() -> RunState:
    """The exit by which a guest asks its host for something."""
    return RunState(exit_reason=ExitReason.IO, direction=1, size=1, port=EXIT_PORT, count=1)


def ended(reason: int) -> RunState:
    return RunState(exit_reason=reason)
