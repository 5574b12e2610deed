"""Runs of a bare guest's vCPU: ports of every kind, MMIO and HLT are exits after which it goes on; all else
is its end.
"""

from __future__ import annotations

import struct

from wasmkeep.hardware.kvm import Vcpu
from wasmkeep.hardware.kvm_structures import RUN_MMIO_DATA
from wasmkeep.hardware.machine_calls import ExitReason, RunState

_IO_EXIT = struct.Struct("<BBHIQ")  # direction, size, port, count, data_offset
_MMIO_EXIT = struct.Struct("<Q8sIB")  # phys_addr, data, len, is_write
_OUT = 1
_GOES_ON = frozenset((ExitReason.IO, ExitReason.MMIO, ExitReason.HLT))
_NOTHING = slice(0, 0)


class BareVcpu:
    """One thread runs it; that one may also ask what the exit carried, and answer an input."""

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self._over: RunState | None = None
        self._data = _NOTHING  # of the exit's values in the vCPU's run page
        self._wants: ExitReason | None = None  # the input that the guest came out for

    def run(self) -> RunState:
        """Until the next exit; KVM_EXIT_INTR after `Vcpu.interrupt`. A dead guest stays dead."""
        if self._over is not None:
            return self._over
        self._wants, self._data = None, _NOTHING
        reason = self._vcpu.run()
        state = RunState(exit_reason=reason)
        if reason == ExitReason.IO:
            self._port_exit(state)
        elif reason == ExitReason.MMIO:
            self._mmio_exit(state)
        elif reason != ExitReason.INTR and reason not in _GOES_ON:
            self._over = died(self._vcpu, reason)
            return self._over
        return state

    def _port_exit(self, state: RunState) -> None:
        direction, size, port, count, offset = _IO_EXIT.unpack(self._vcpu.exit_data(_IO_EXIT.size))
        state.direction, state.size, state.port, state.count = direction, size, port, count
        self._data = slice(offset, offset + size * count)
        if direction != _OUT:
            self._wants = ExitReason.IO

    def _mmio_exit(self, state: RunState) -> None:
        address, data, length, is_write = _MMIO_EXIT.unpack(self._vcpu.exit_data(_MMIO_EXIT.size))
        state.phys_addr, state.len, state.is_write = address, length, is_write
        state.mmio_data[:] = list(data)
        if not is_write:
            self._wants = ExitReason.MMIO

    def exit_data(self) -> bytes:
        """The values of a port exit, `count` × `size` bytes."""
        if self._data == _NOTHING:
            return b""
        return self._vcpu.run_page(self._data.start, self._data.stop - self._data.start)

    def answer(self, mmio: bytes, data: bytes) -> None:
        """What the guest reads that came out for an input: 8 bytes of MMIO, or the values of a port."""
        if self._wants is ExitReason.MMIO:
            self._vcpu.fill_run_page(RUN_MMIO_DATA, mmio)
        elif self._wants is ExitReason.IO:
            size = self._data.stop - self._data.start
            self._vcpu.fill_run_page(self._data.start, data[:size].ljust(size, b"\0"))


def died(vcpu: Vcpu, reason: int) -> RunState:
    """The end of a guest, and where it was then. A protected guest does not say."""
    state = RunState(exit_reason=reason)
    try:
        state.rip, state.cr2 = vcpu.get_regs().rip, vcpu.get_sregs().cr2
    except OSError:
        state.rip = state.cr2 = 0
    return state
