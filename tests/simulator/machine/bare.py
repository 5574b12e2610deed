"""A computer for bare guests, in parts: DRAM, memory controller, key slots, and guests on the emulated CPU.

What the firmware does at a launch is here in short, without its command buffers: a key into a slot, contents
encrypted in place, the VMSA sealed. The tests look at what everybody but the guest can then do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import ExitReason, RunState
from wasmkeep.simulator.cpu import GuestPlan
from wasmkeep.simulator.dram import Dram
from wasmkeep.simulator.emulated_cpu import EmulatedCpuKind, EmulatedGuest
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.memory_controller import MemoryController
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.page_allocator import PageAllocator
from wasmkeep.simulator.save_area import SaveArea, Segment

MEMORY = 64 << 10
SLOTS, MIN_SEV_ASID = 15, 8
_REAL_DATA, _REAL_CODE = Segment(0, 0x93, 0xFFFF, 0), Segment(0, 0x9B, 0xFFFF, 0)


def reset_area(rip: int = 0) -> SaveArea:
    """A vCPU in real mode with every segment at 0, about to execute at `rip`."""
    area = SaveArea()
    for name in ("ds", "es", "fs", "gs", "ss"):
        area.set_segment(name, _REAL_DATA)
    area.set_segment("cs", _REAL_CODE)
    area.set_segment("ldtr", Segment(0, 0x82, 0xFFFF, 0))
    area.set_segment("tr", Segment(0, 0x8B, 0xFFFF, 0))
    for name in ("gdtr", "idtr"):
        area.set_segment(name, Segment(0, 0, 0xFFFF, 0))
    values = {"efer": 0x1000, "cr0": 0x10, "cr4": 0x40, "dr6": 0xFFFF_0FF0, "dr7": 0x400, "rflags": 2}
    values |= {"g_pat": 0x0007_0406_0007_0406, "xcr0": 1, "mxcsr": 0x1F80, "fcw": 0x37F, "rip": rip}
    for name, value in values.items():
        area[name] = value
    return area


@dataclass
class Computer:
    """Physical memory of 16 MiB, one processor."""

    dram: Dram = field(default_factory=lambda: Dram(16 << 20))
    slots: KeySlots = field(default_factory=lambda: KeySlots(SLOTS, MIN_SEV_ASID))

    def __post_init__(self) -> None:
        self.controller = MemoryController(self.dram, self.slots)
        self.pages = PageAllocator(self.dram)
        self.cpu = EmulatedCpuKind(self.controller, self.pages)

    @contextmanager
    def guest(
        self,
        contents: dict[int, bytes],
        area: SaveArea | None = None,
        *,
        sev: bool = True,
        es: bool = False,
        memory: int = MEMORY,
    ) -> Iterator[BareGuest]:
        """A launched guest with `contents` by guest-physical address."""
        launched = BareGuest(self, self.cpu.create(GuestPlan(memory, window=False, sev_features=0)))
        try:
            launched.launch(contents, area or reset_area(), sev=sev, es=es)
            yield launched
        finally:
            launched.destroy()


class BareGuest:
    def __init__(self, computer: Computer, cpu: EmulatedGuest) -> None:
        self.computer = computer
        self.cpu = cpu
        self.asid = 0
        self.key: MemoryKey | None = None

    def launch(self, contents: dict[int, bytes], area: SaveArea, *, sev: bool, es: bool) -> None:
        controller, slots = self.computer.controller, self.computer.slots
        self.cpu.load(area.encode())
        for gpa, data in contents.items():
            controller.write(self.cpu.spa(gpa, len(data)), data)
        if not sev:
            return
        self.asid = slots.reserve(es=es)
        self.key = MemoryKey()
        slots.activate(self.asid, self.key, es=es)
        for gpa, data in contents.items():
            whole = -(-len(data) // 16) * 16
            controller.encrypt_in_place(self.key, self.cpu.spa(gpa, whole), whole)
        if es:
            controller.encrypt_in_place(self.key, self.cpu.block.vmsa, PAGE)
            controller.seal_vmsa(self.key, self.cpu.block.vmsa)
        self.cpu.protect(self.asid, es=es)

    def destroy(self) -> None:
        self.cpu.destroy()
        if self.asid:
            self.computer.slots.release(self.asid)
            self.asid = 0

    def raw(self, gpa: int, size: int) -> bytes:
        """What DRAM holds: the hypervisor's ``dd``."""
        return self.computer.controller.read(self.cpu.spa(gpa, size), size)

    def printed(self, port: int = 0x3F8) -> bytes:
        """Run until something other than output to `port` happens; what was written there."""
        return self.run(port)[0]

    def run(self, port: int = 0x3F8) -> tuple[bytes, RunState]:
        said = bytearray()
        while True:
            state = self.cpu.run()
            if state.exit_reason != ExitReason.IO or not state.direction or state.port != port:
                return bytes(said), state
            said += self.cpu.exit_data()
