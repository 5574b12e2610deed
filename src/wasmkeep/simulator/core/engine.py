"""The instruction set: unicorn's emulator, which is QEMU's, as one vCPU under SVM intercepts.

The only module that imports unicorn, and only when a guest is about to run: it is an optional extra under
GPL-2.0, used in the simulator's own process and by nothing else. Everything here speaks of one emulator; what
a stop means is the caller's.

Its physical memory is a pool of lines that the caller fills, by asking where a linear page lies whenever the
emulator does not know (its TLB is software). The page at offset 0 is a control block and the next two an MSR
permission map, so that the emulator's own SVM support stops at privileged instructions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.memory import Memory
from wasmkeep.simulator.core import state as layout
from wasmkeep.simulator.core.state import CONTEXT_SIZE, State

LINES_BASE = 3 * PAGE
_VMCB, _MSR_MAP, _MSR_MAP_POINTER = 0, PAGE, 0x48
_NOWHERE = 1 << 40  # no memory: an access there stops with its exact address
_CODE_BUFFER = 4 << 20  # bytes of translated code
_VMEXIT_BASE = 0x100  # what the emulator adds to an exit code
_EXCEPTION_BASE, _DEBUG_EXCEPTION = 0x40, 1  # exceptions among exit codes
READ, WRITE, EXECUTE = 1, 2, 4
DEBUG_REGISTERS = range(0x20, 0x40)  # exit codes that nobody outside the core sees: reads, then writes
# Handled inside the guest: SYSENTER, EFER, STAR … SFMASK, FS, GS and KERNEL_GS base, PAT.
_OWN_MSRS = (0x174, 0x175, 0x176, 0x277, 0xC000_0080, *range(0xC000_0081, 0xC000_0085))
_OWN_MSRS += (0xC000_0100, 0xC000_0101, 0xC000_0102)


class Access(IntEnum):
    """What an instruction wanted of a page."""

    READ = 16
    WRITE = 17
    FETCH = 18


class Grant(NamedTuple):
    """Where a linear page lies in the pool, and what may be done with it unasked."""

    offset: int
    permissions: int


Fill = Callable[[int, Access], Grant | None]


@dataclass(frozen=True, slots=True)
class Intercepted:
    """Before an instruction that exits: its exit code."""

    code: int


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception, before its instruction."""

    vector: int


@dataclass(frozen=True, slots=True)
class SoftwareInterrupt:
    """INT n, INT3 or INTO, done but for its delivery."""

    vector: int


@dataclass(frozen=True, slots=True)
class PortAccess:
    """An IN or OUT at `rip`, over: the registers are as before, RIP is behind it."""

    rip: int
    port: int
    size: int
    is_in: bool


@dataclass(frozen=True, slots=True)
class SystemCall:
    """SYSCALL or SYSENTER at `rip`: nothing was done but to step over it."""

    rip: int
    is_syscall: bool


@dataclass(frozen=True, slots=True)
class Withheld:
    """No grant for a page; the instruction did not happen. `offset` in the page is known of data."""

    page: int
    access: Access
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Stuck:
    """The emulator gave up, with this error number."""

    error: int


Event = Intercepted | Raised | SoftwareInterrupt | PortAccess | SystemCall | Withheld | Stuck


class _Emulator(Protocol):
    """What is used of `unicorn.Uc`, which has no stubs."""

    def emu_start(self, begin: int, until: int, timeout: int = 0, count: int = 0) -> None: ...
    def emu_stop(self) -> None: ...
    def reg_read(self, register: int) -> int: ...
    def reg_write(self, register: int, value: int) -> None: ...
    def msr_read(self, msr_id: int) -> int: ...
    def mem_map_ptr(self, address: int, size: int, perms: int, ptr: int) -> None: ...
    def hook_add(self, kind: int, callback: Callable[..., Any], *where: Any) -> int: ...
    def context_save(self) -> Any: ...
    def context_restore(self, context: Any) -> None: ...
    def ctl(self, control: int, operation: int) -> None: ...
    def ctl_flush_tb(self) -> None: ...
    def ctl_set_cpu_model(self, model: int) -> None: ...
    def ctl_set_tlb_mode(self, mode: int) -> None: ...
    def ctl_set_tcg_buffer_size(self, size: int) -> None: ...
    def ctl_exits_enabled(self, enable: bool) -> None: ...  # noqa: FBT001 - theirs


def load_library() -> Any:
    """The module `unicorn`. Raises `PlatformUnavailable`, which names the extra."""
    try:
        import unicorn
        import unicorn.x86_const
    except ImportError as error:
        raise PlatformUnavailable(
            "machine.emulator",
            "bare guests of the simulated machine need the emulator, which is not installed",
            found=str(error),
            required="the optional extra `emulator` (unicorn, GPL-2.0)",
            remedy="pip install wasmkeep[emulator]",
        ) from error
    return unicorn


class Engine:
    """One vCPU. `fill` is asked from inside `run`; whatever it raises, `run` raises."""

    _verified = False  # the library is the same for all

    def __init__(self, lines: int, fill: Fill) -> None:
        """`lines`: pages of the pool. Raises `PlatformUnavailable` without the library, else OSError."""
        self._library = library = load_library()
        self._constants = library.x86_const
        self._fill = fill
        self._event: Event | None = None
        self._withheld: Withheld | None = None
        self._port: PortAccess | None = None
        self._memory = Memory(LINES_BASE + lines * PAGE)
        self.lines = self._memory.view
        self._prepare_intercepts()
        self._emulator: _Emulator = library.Uc(library.UC_ARCH_X86, library.UC_MODE_64)
        self._set_up(self._emulator)
        self._context = self._emulator.context_save()
        if not Engine._verified:
            self._verify()
            Engine._verified = True

    def _set_up(self, emulator: _Emulator) -> None:
        library, x86 = self._library, self._constants
        emulator.ctl_set_cpu_model(x86.UC_CPU_X86_EPYC_ROME)
        emulator.ctl_set_tcg_buffer_size(_CODE_BUFFER)
        emulator.ctl_set_tlb_mode(library.UC_TLB_VIRTUAL)
        emulator.ctl_exits_enabled(True)  # and none is set: only hooks and the budget end a run
        emulator.mem_map_ptr(0, self._memory.size, library.UC_PROT_ALL, self._memory.address)
        unmapped = library.UC_HOOK_MEM_READ_UNMAPPED | library.UC_HOOK_MEM_WRITE_UNMAPPED
        emulator.hook_add(library.UC_HOOK_TLB_FILL, self._on_fill)
        emulator.hook_add(unmapped, self._on_unmapped)
        emulator.hook_add(library.UC_HOOK_INTR, self._on_exception)
        instructions: list[tuple[int, Callable[..., int | None]]] = [
            (x86.UC_X86_INS_IN, self._on_in),
            (x86.UC_X86_INS_OUT, self._on_out),
            (x86.UC_X86_INS_SYSCALL, self._on_syscall),
            (x86.UC_X86_INS_SYSENTER, self._on_sysenter),
        ]
        for instruction, callback in instructions:
            emulator.hook_add(library.UC_HOOK_INSN, callback, None, 1, 0, instruction)

    def _prepare_intercepts(self) -> None:
        struct.pack_into("<Q", self.lines, _VMCB + _MSR_MAP_POINTER, _MSR_MAP)
        permissions = bytearray(b"\xff" * 2 * PAGE)
        for index in _OWN_MSRS:  # two bits each; ranges from 0 and from C000_0000, 2 KiB apart
            bit = 2 * (index & 0x1FFF) + (0x4000 if index >> 16 else 0)
            permissions[bit // 8] &= ~(3 << bit % 8)
        self.lines[_MSR_MAP : _MSR_MAP + len(permissions)] = permissions

    def _verify(self) -> None:
        """That the library's context is laid out as `state` has it. Raises `PlatformUnavailable`."""
        x86 = self._constants
        before = self._emulator.context_save()
        probes = [
            (x86.UC_X86_REG_R15, layout.QUADWORDS["r15"]),
            (x86.UC_X86_REG_RIP, layout.QUADWORDS["rip"]),
        ]
        probes += [
            (x86.UC_X86_REG_CR2, layout.QUADWORDS["cr2"]),
            (x86.UC_X86_REG_DR7, layout.DR7),
        ]
        probes += [(x86.UC_X86_REG_XMM15, layout.XMM + 15 * layout.XMM_STRIDE)]
        for index, (register, _) in enumerate(probes):
            self._emulator.reg_write(register, _probe(index))
        saved = bytes(self._emulator.context_save())
        self._emulator.context_restore(before)
        found = [saved[at : at + 8] for _, at in probes]
        if len(saved) != CONTEXT_SIZE or found != [
            _probe(i).to_bytes(8, "little") for i in range(len(probes))
        ]:
            raise PlatformUnavailable(
                "machine.emulator",
                "this release of unicorn keeps its registers otherwise than the one wasmkeep knows",
                found=f"unicorn {self._library.__version__}",
                required="unicorn 2.1.4",
                remedy="pip install wasmkeep[emulator]",
            )

    # Registers

    def state(self) -> State:
        rflags = self._emulator.reg_read(self._constants.UC_X86_REG_RFLAGS)
        return State(bytes(self._emulator.context_save()), rflags)

    def load(self, state: State) -> None:
        state.intercept(_INTERCEPTS, _VMCB)
        context = object.__new__(type(self._context))  # over our bytes: the library's way to bring one back
        context.__setstate__((state.encode(), CONTEXT_SIZE, self._context.arch, self._context.mode))
        self._emulator.context_restore(context)
        # The emulator derives rounding modes from these when they are written.
        self._emulator.reg_write(self._constants.UC_X86_REG_FPCW, state.fcw)
        self._emulator.reg_write(self._constants.UC_X86_REG_MXCSR, state.mxcsr)

    def control(self, *names: str) -> list[int]:
        """Registers in the midst of a run: ``cr0``, ``cr3``, ``cr4``, ``ss``."""
        return [
            self._emulator.reg_read(getattr(self._constants, f"UC_X86_REG_{name.upper()}")) for name in names
        ]

    def msr(self, index: int) -> int:
        """Of those the guest handles itself."""
        return self._emulator.msr_read(index)

    # Running

    def run(self) -> Event | None:
        """From RIP on. None where `stop` ended it."""
        self._event = self._withheld = self._port = None
        try:
            self._emulator.emu_start(self._rip(), 0)
        except self._library.UcError as error:
            failure: BaseException | None = getattr(self._emulator, "_hook_exception", None)
            if failure is not None:  # of `fill`: the library raises its own instead
                raise failure from None
            return self._event or self._withheld or Stuck(error.errno)
        return self._event

    def stop(self) -> None:
        """From another thread: end a run under way. One that is about to begin may not notice."""
        self._emulator.emu_stop()

    def forget_addresses(self) -> None:
        """What was granted, and what was withheld: ask again."""
        self._emulator.ctl(self._library.UC_CTL_TLB_FLUSH, self._library.UC_CTL_IO_WRITE)

    def forget_code(self) -> None:
        """Translations of the pool's content, which is about to be other."""
        self._emulator.ctl_flush_tb()

    def close(self) -> None:
        """Give everything back now: the library's objects form a ring, and would wait for a collection."""
        release = getattr(self._emulator, "_Uc__finalizer")  # noqa: B009 - the library's own, as Python mangles it
        release()
        del self._emulator, self._context, self.lines
        self._memory.close()

    # What the emulator calls

    def _on_fill(self, _: Any, page: int, access: int, entry: Any, __: Any) -> bool:
        grant = self._fill(page, Access(access))
        if grant is None:
            self._withheld = Withheld(page, Access(access))
            entry.paddr, entry.perms = _NOWHERE, READ | WRITE
            return access != Access.FETCH
        entry.paddr, entry.perms = grant
        return True

    def _on_unmapped(self, _: Any, __: int, address: int, ___: int, ____: int, _____: Any) -> bool:
        withheld = self._withheld
        if withheld is not None:
            self._event = Withheld(withheld.page, withheld.access, address % PAGE)
        return False

    def _on_exception(self, _: Any, number: int, __: Any) -> None:
        code = number - _VMEXIT_BASE
        if code == _EXCEPTION_BASE + _DEBUG_EXCEPTION and self._port is not None:
            self._event = self._port
        elif code < 0:
            self._event = SoftwareInterrupt(number)
        elif code in range(_EXCEPTION_BASE, _EXCEPTION_BASE + 32):
            self._event = Raised(code - _EXCEPTION_BASE)
        else:
            self._event = Intercepted(code)
        self._emulator.emu_stop()

    def _on_in(self, _: Any, port: int, size: int, __: Any) -> int:
        self._leave_at(port, size, is_in=True)
        return self._emulator.reg_read(self._constants.UC_X86_REG_EAX) & (1 << 8 * size) - 1

    def _on_out(self, _: Any, port: int, size: int, __: int, ___: Any) -> None:
        self._leave_at(port, size, is_in=False)

    def _leave_at(self, port: int, size: int, *, is_in: bool) -> None:
        """The emulator would run on to the end of its block of instructions: a breakpoint on this port stops
        it behind this one.
        """
        self._port = PortAccess(self._rip(), port & 0xFFFF, size, is_in)
        self._emulator.reg_write(self._constants.UC_X86_REG_DR0, port & 0xFFFF)

    def _on_syscall(self, _: Any, __: Any) -> None:
        self._event = SystemCall(self._rip(), is_syscall=True)
        self._emulator.emu_stop()

    def _on_sysenter(self, _: Any, __: Any) -> None:
        self._event = SystemCall(self._rip(), is_syscall=False)
        self._emulator.emu_stop()

    def _rip(self) -> int:
        return self._emulator.reg_read(self._constants.UC_X86_REG_RIP)


# RDPMC, CPUID, INVD, HLT, MSR, WBINVD, MONITOR, MWAIT
_INTERCEPTS = sum(1 << code - 0x60 for code in (0x6F, 0x72, 0x76, 0x78, 0x7C, 0x89, 0x8A, 0x8B))


def _probe(index: int) -> int:
    return 0x1122_3344_5566_7700 + index
