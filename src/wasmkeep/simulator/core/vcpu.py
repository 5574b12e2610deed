"""VMRUN: a guest runs on this core until it needs its hypervisor (architecture manual volume 2, chapter 15).

Three kinds of guest:

- without SEV: everything is plain, and the hypervisor has all registers;
- SEV: memory goes through the guest's key, but at every exit the hypervisor has all registers, and may
  change them;
- SEV-ES: the registers are in the VMSA, encrypted, and the core takes no other state back than the one it
  saved. An exit that wants something of the hypervisor becomes #VC in the guest (a non-automatic exit,
  15.35.5), whose handler says in the GHCB page just what it chooses and executes VMGEXIT. Automatic exits
  (15.35.4) say their code and little more: HLT, an NPF without reserved bit, a shutdown, an interrupt.

One vCPU a guest; no interrupts of devices.
"""

from __future__ import annotations

import threading
import time

from wasmkeep.simulator.core import events
from wasmkeep.simulator.core.address_space import AddressSpace, NestedTableFault
from wasmkeep.simulator.core.engine import Access, Engine, Event, Grant, Withheld
from wasmkeep.simulator.core.events import Interruption, Shutdown
from wasmkeep.simulator.core.exits import ControlBlock, Exits, Outcome
from wasmkeep.simulator.core.lines import Full, Lines
from wasmkeep.simulator.core.page_walk import PageFault, Paging
from wasmkeep.simulator.core.state import State
from wasmkeep.simulator.core.ticker import TICKER
from wasmkeep.simulator.memory_controller import C_BIT, HOST_ASID, MemoryController, NoKey
from wasmkeep.simulator.nested_paging import NestedFault, NestedTable
from wasmkeep.simulator.save_area import SAVE_AREA_SIZE, SaveArea
from wasmkeep.simulator.status import Refused
from wasmkeep.simulator.vmexit import ExitCode, Vmexit
from wasmkeep.simulator.vmsa import EFER_SVME

_MSR_EFER = 0xC000_0080


class Vcpu:
    """A core's side of one guest, in one thread."""

    def __init__(
        self, controller: MemoryController, nested: NestedTable, stop: threading.Event, lines: int
    ) -> None:
        """`lines`: pages held decrypted at most. While `stop` is set, every run ends in INTR soon.

        Raises `PlatformUnavailable` where there is no emulator.
        """
        self._controller = controller
        self._engine = Engine(lines, self._fill)
        self._lines = Lines(self._engine.lines, controller)
        self._nested = nested
        self._space = AddressSpace(self._lines, nested, sev=False)
        self._stop = stop
        self._deadline = 0.0
        self._running = False
        TICKER.add(self._tick)
        self._why: Exception | None = None  # the last page was withheld; None: to stop

    def close(self) -> None:
        TICKER.remove(self._tick)
        self._engine.close()

    def run(self, block: ControlBlock, limit: float) -> Vmexit:
        """Until the guest exits, or INTR after `limit` seconds.

        INVALID also where its key is taken out of the slot, or its memory away, while it runs.
        """
        area = self._load(block)
        if area is None:
            return Vmexit(ExitCode.INVALID)
        self._deadline = time.monotonic() + limit
        state = self._engine.state()
        state.take_in(area)
        try:
            left, state = self._until_exit(block, area, state)
            self._lines.write_back()
            self._save(block, area, state)
        except (NoKey, Refused):
            return Vmexit(ExitCode.INVALID)
        finally:
            self._forget()
        return left

    def _load(self, block: ControlBlock) -> SaveArea | None:
        """The registers that VMRUN enters with; None where it refuses."""
        if block.sev and (block.asid == HOST_ASID or not self._controller.has_key(block.asid)):
            return None
        area = block.save
        if block.es:
            page = self._controller.load(block.vmsa | C_BIT, SAVE_AREA_SIZE, block.asid)
            if not self._controller.is_true_state(block.vmsa, page):
                return None
            area = SaveArea(page)
        if not area["efer"] & EFER_SVME or area["sev_features"]:
            return None
        self._lines.use(block.asid)
        self._space = AddressSpace(self._lines, self._nested, sev=block.sev)
        return area

    def _save(self, block: ControlBlock, area: SaveArea, state: State) -> None:
        state.give_out(area)
        if block.es:
            page = area.encode()
            self._controller.store(block.vmsa | C_BIT, page, block.asid)
            self._controller.seal_state(block.vmsa, page)

    def _until_exit(self, block: ControlBlock, area: SaveArea, state: State) -> tuple[Vmexit, State]:
        """The exit, and the registers then."""
        exits = Exits(block, area, self._space)
        found: Outcome = block.inject
        block.inject = None
        while True:
            if isinstance(found, Interruption):
                found = self._deliver(found, block, exits, state)
            if found is not None:
                return found, state
            if self._is_time():
                return Vmexit(ExitCode.INTR), state
            event, state = self._execute(state)
            if isinstance(event, Withheld):
                found = self._withheld(event, exits, state)
            elif event is not None:
                found = exits.of(event, state)

    def _execute(self, state: State) -> tuple[Event | None, State]:
        """What happened, and the registers then. Nothing happened where it is time to leave."""
        self._engine.load(state)
        event = None
        self._running = True
        try:
            while event is None and not self._is_time():
                event = self._engine.run()
        finally:
            self._running = False
        return event, self._engine.state()

    def _is_time(self) -> bool:
        return self._stop.is_set() or time.monotonic() >= self._deadline

    def _tick(self) -> None:
        """In the ticker's thread."""
        if self._running and self._is_time():
            self._engine.stop()

    def _withheld(self, event: Withheld, exits: Exits, state: State) -> Outcome:
        """A page was not granted: a fault of the guest's, or of its hypervisor's, or just now."""
        self._engine.forget_addresses()
        address = event.page + event.offset
        if event.access is Access.FETCH and exits.linear_rip(state) >= event.page:
            address = exits.linear_rip(state)
        if isinstance(self._why, PageFault):
            return Interruption(events.PAGE_FAULT, self._why.error, address)
        if isinstance(self._why, NestedFault | NestedTableFault):
            return exits.nested(self._why, event.access, address, state)
        if isinstance(self._why, Full):
            self._make_room()
        return None

    def _deliver(self, event: Interruption, block: ControlBlock, exits: Exits, state: State) -> Vmexit | None:
        """Into the guest's handler. An exit on the way is taken up again at the next entry."""
        memory = _Supervisor(self._space, state)
        while True:
            try:
                events.deliver(event, state, memory)
            except Full:
                self._make_room()
            except Shutdown:
                return Vmexit(ExitCode.SHUTDOWN)
            except (NestedFault, NestedTableFault) as fault:
                block.inject = event
                return exits.nested_delivery(fault)
            else:
                return None

    def _fill(self, page: int, access: Access) -> Grant | None:
        """The engine asks where a page lies."""
        self._why = None
        if self._is_time():
            return None
        try:
            return self._space.grant(page, access, self._paging())
        except (PageFault, NestedFault, NestedTableFault, Full) as why:
            self._why = why
            return None

    def _paging(self) -> Paging:
        cr0, cr3, cr4, stack = self._engine.control("cr0", "cr3", "cr4", "ss")
        return Paging(cr0, cr3, cr4, self._engine.msr(_MSR_EFER), user=bool(cr0 & 1) and stack & 3 == 3)

    def _make_room(self) -> None:
        self._lines.write_back()
        self._forget()

    def _forget(self) -> None:
        """Everything that was decrypted, and what was derived from it."""
        self._lines.drop()
        self._space.forget()
        self._engine.forget_addresses()
        self._engine.forget_code()


class _Supervisor:
    """Linear memory as the processor's own accesses reach it."""

    def __init__(self, space: AddressSpace, state: State) -> None:
        self._space = space
        self._paging = Paging(state["cr0"], state["cr3"], state["cr4"], state["efer"], user=False)

    def read(self, linear: int, size: int) -> bytes:
        return self._space.read(linear, size, self._paging)

    def write(self, linear: int, data: bytes) -> None:
        self._space.write(linear, data, self._paging)
