"""What raw machine code cannot do in a keep: each attempt is a trap, reported to the tenant with its address.

The programs here are not wasm: they are what a broken compiler, or a hole in one, could produce.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.keep import packages
from tests.keep.assembly import assemble
from tests.keep.bare_machine import Stopped
from tests.keep.conftest import KINDS, image
from tests.keep.packages import DATA, PROC_EXIT, TEXT, ProgramPart
from tests.keep.wire import Outcome, Relay
from wasmkeep.errors import SessionError
from wasmkeep.image.elf import load_segments
from wasmkeep.protocol.events import LaunchProven
from wasmkeep.protocol.statements import Exited, Trapped

DE, DB, BP, UD, GP, PF, MF, AC, XM = 0, 1, 3, 6, 13, 14, 16, 17, 19
EXIT_SLOT, VALUES = DATA + 0x200, DATA + 0x400
LINEAR, CONTENTS = 0x1_0000_0000, 0x8000_0000
KEEP_TEXT, KEEP_RODATA, KEEP_ZERO_DATA = 0x11_0000, 0x19_0000, 0x30_0000

EXIT = f"""
    mov [{VALUES:#x}], rax
    mov edx, {VALUES:#x}
    mov ecx, 1
    and rsp, -16
    call [{EXIT_SLOT:#x}]
    ud2
"""


@dataclass(frozen=True)
class Attempt:
    """Code, and what must come of it: one of these vectors, and the address that the fault names."""

    code: str
    vector: int
    address: int | None = None
    kinds: tuple[str, ...] = KINDS
    emulated_vector: int | None = None
    """Where the processor's privileged side is emulated, it may say this instead."""


def write(address: int) -> Attempt:
    return Attempt(f"movabs rax, {address:#x}\n mov [rax], eax", PF, address)


def read(address: int) -> Attempt:
    return Attempt(f"movabs rax, {address:#x}\n mov eax, [rax]", PF, address)


def execute(address: int) -> Attempt:
    return Attempt(f"movabs rax, {address:#x}\n jmp rax", PF, address)


def privileged(code: str) -> Attempt:
    return Attempt(code, GP)


SNP, PROCESS = ("snp",), ("process",)

ATTEMPTS = {
    # W^X of the program
    "write own text": Attempt(f"mov eax, {TEXT:#x}\n mov [rax], eax", PF, TEXT),
    "write past own text": write(TEXT + 0x8000),
    "execute data": execute(DATA + 0x800),
    "execute linear memory": Attempt(f"mov rax, [{packages.MEMORY_DEFINITION:#x}]\n jmp rax", PF),
    "execute stack": Attempt("push 0xc3\n mov rax, rsp\n jmp rax", PF),
    "execute window": execute(0x20_0000),
    "execute window data": execute(0x21_0000),
    "execute file contents": execute(CONTENTS),
    "execute buffers": execute(0x40_0000),
    "execute the keep's read-only data": execute(KEEP_RODATA),
    "execute the keep's data": execute(KEEP_ZERO_DATA),
    "execute secrets page": execute(0x1_3000),
    "execute configuration page": execute(0x1_4000),
    "execute trap stack": execute(0x3E_8000),
    # The keep itself
    "write the keep's text": write(KEEP_TEXT),
    "write the keep's read-only data": write(KEEP_RODATA),
    "write configuration page": write(0x1_4000),
    "write trap page": write(0x1_5000),
    # Guards and what is nowhere
    "read null": read(0),
    "write null": write(0),
    "execute null": execute(0),
    "read page zero": read(0xFF8),
    "read 64 KiB": read(0x1_0000),
    "guard below the stack": write(0x7F_FFF8),
    "far below the stack": write(0x60_0000),
    "guard above the stack": write(0xA0_0000),
    "guard below the trap stack": write(0x3D_FFF8),
    "guard above the trap stack": write(0x3F_0000),
    "physical memory of the pool": read(0xE0_0000),
    "past the image": read(0x1F_0000),
    "between segments": read(DATA + 0x20_0000),
    "past the contents": read(CONTENTS + 0x20_0000),
    "end of linear memory": read(LINEAR + 0x20_0000),
    "guard of linear memory": read(LINEAR + 0x1_FFFF_FFF8),
    "last byte any index reaches": read(LINEAR + 0x2_0000_0000 + 0x1F_FFF0),
    # Tables of the machine
    "read boot tables": read(0x10_0000),
    "write boot tables": write(0x10_0000),
    "execute ring 0": execute(0x10_1000),
    "read ring 0": read(0x10_1000),
    "read state of ring 0": read(0x10_2000),
    "write state of ring 0": write(0x10_2000),
    "write trap page of ring 0": write(0x10_3000),
    **{f"write page table {page:#x}": write(page << 12) for page in range(0x104, 0x110)},
    # Privileged instructions
    "hlt": privileged("hlt"),
    "cli": privileged("cli"),
    "sti": privileged("sti"),
    "read cr3": privileged("mov rax, cr3"),
    "write cr3": privileged("mov cr3, rax"),
    "write cr0": privileged("mov cr0, rax"),
    "write cr4": privileged("mov cr4, rax"),
    "read dr7": privileged("mov rax, dr7"),
    "lgdt": privileged("lgdt [rsp]"),
    "lidt": privileged("lidt [rsp]"),
    "ltr": privileged("mov eax, 0x28\n ltr ax"),
    "rdmsr": privileged("mov ecx, 0xC0000080\n rdmsr"),
    "wrmsr": privileged("mov ecx, 0xC0000080\n wrmsr"),
    "invlpg": privileged("invlpg [rsp]"),
    "wbinvd": privileged("wbinvd"),
    "swapgs": privileged("swapgs"),
    "xsetbv": privileged("xor ecx, ecx\n xor edx, edx\n mov eax, 7\n xsetbv"),
    "ring 0 stack segment": privileged("mov eax, 0x10\n mov ss, eax"),
    "ring 0 code segment": privileged("push 8\n lea rax, [rip]\n push rax\n retfq"),
    "return to ring 0": privileged("push 0x10\n push 0\n push 2\n push 8\n push 0\n iretq"),
    # Ports
    "out 0x3f8": privileged("mov edx, 0x3f8\n out dx, al"),
    "out 0xff": privileged("out 0xff, al"),
    "out 0x11": privileged("out 0x11, al"),
    "out 0x0f": privileged("out 0x0f, al"),
    "out 0x10, 16 bit": privileged("out 0x10, ax"),
    "out 0x10, 32 bit": privileged("out 0x10, eax"),
    "in 0x60": privileged("in al, 0x60"),
    "in 0xffff": privileged("mov edx, 0xffff\n in al, dx"),
    # Ways into a kernel
    "syscall": Attempt("xor eax, eax\n syscall", UD, kinds=SNP, emulated_vector=PF),
    "int 0x80": Attempt("int 0x80", GP, kinds=SNP, emulated_vector=UD),
    "int 13": Attempt("int 13", GP, emulated_vector=UD),
    "int3": Attempt("int3", BP),
    "single step": Attempt("pushfq\n or dword ptr [rsp], 0x100\n popfq\n nop\n nop", DB),
    # Plain faults
    "divide by zero": Attempt("xor ecx, ecx\n mov eax, 1\n cdq\n idiv ecx", DE),
    "undefined": Attempt("ud2", UD),
    "non-canonical": Attempt("movabs rax, 0x8000000000000000\n mov [rax], eax", GP),
    "floating point": Attempt("push 0x1F00\n ldmxcsr [rsp]\n xorps xmm0, xmm0\n divss xmm0, xmm0", XM),
}

# Linux's system calls, in the process kind: no number but three does anything.
CALLS = {
    "open": "mov eax, 2\n xor edi, edi",
    "socket": "mov eax, 41\n mov edi, 2\n mov esi, 1\n xor edx, edx",
    "execve": "mov eax, 59",
    "fork": "mov eax, 57",
    "ptrace": "mov eax, 101",
    "prctl dumpable": "mov eax, 157\n mov edi, 4\n mov esi, 1",
    "memfd_create": "mov eax, 319\n mov edi, 0x40200000\n xor esi, esi",
    "seccomp again": "mov eax, 317\n mov edi, 1\n xor esi, esi\n xor edx, edx",
    "mmap": "mov eax, 9\n xor edi, edi\n mov esi, 4096\n mov edx, 7\n mov r10d, 0x22",
    "munmap": "mov eax, 11\n mov edi, 0x40000000\n mov esi, 4096",
    "make data executable": f"mov eax, 10\n mov edi, {DATA:#x}\n mov esi, 4096\n mov edx, 5",
    "make text writable": f"mov eax, 10\n mov edi, {TEXT:#x}\n mov esi, 4096\n mov edx, 3",
    "make linear memory executable": f"mov eax, 10\n movabs rdi, {LINEAR:#x}\n mov esi, 4096\n mov edx, 7",
    "make contents executable": f"mov eax, 10\n mov edi, {CONTENTS:#x}\n mov esi, 4096\n mov edx, 5",
    "make the keep's text writable": f"mov eax, 10\n mov edi, {KEEP_TEXT:#x}\n mov esi, 4096\n mov edx, 3",
    "write standard output": "mov eax, 1\n mov edi, 1\n mov esi, 0x40200000\n mov edx, 1",
    "read standard input": "mov eax, 0\n mov edi, 0\n mov esi, 0x40200000\n mov edx, 1",
    "rt_sigaction": "mov eax, 13\n mov edi, 11",
    "rt_sigreturn": "mov eax, 15",
    "kill": "mov eax, 62\n mov edi, 1\n xor esi, esi",
}

# The mapping service after the lock: registers rax, rdi, rsi, rdx, r10, r11, and what it says (0 done).
POOL, TEXT_BLOCK, MEMORY = 0xE0_0000, 0xE0_0000, 64 << 20
FREE = 0x240_0000
SERVICE = {
    "control: contents": ((3, CONTENTS + 0x20_0000, FREE, 1, 0, 0), 0),
    "control: linear memory": ((4, LINEAR + 0x20_0000, FREE, 1, 0, 0), 0),
    "control: tail": ((5, LINEAR + 0x20_0000, FREE, 1, 0, 1), 0),
    "control: all of the rest": ((3, CONTENTS + 0x20_0000, FREE, (MEMORY - FREE) >> 21, 0, 0), 0),
    "no operation 0": ((0, CONTENTS, FREE, 1, 0, 0), 1),
    "no operation 7": ((7, LINEAR, FREE, 1, 0, 0), 1),
    "no operation at all": ((1 << 63, CONTENTS, FREE, 1, 0, 0), 1),
    "a segment after the lock": ((1, 0x4060_0000, FREE, 1, 0, 0), 1),
    "a read-only segment after the lock": ((2, 0x4060_0000, FREE, 1, 0, 0), 1),
    "a second lock": ((6, 0x4060_0000, 0, 1, 0, 0), 1),
    "a second lock over the text": ((6, TEXT, 0, 1, 0, 0), 1),
    "text at a second address": ((3, CONTENTS + 0x20_0000, TEXT_BLOCK, 1, 0, 0), 1),
    "text as linear memory": ((4, LINEAR + 0x20_0000, TEXT_BLOCK, 1, 0, 0), 1),
    "text as the tail": ((5, LINEAR + 0x20_0000, TEXT_BLOCK, 1, 0, 1), 1),
    "the image": ((3, CONTENTS + 0x20_0000, 0, 1, 0, 0), 1),
    "the image's second block": ((3, CONTENTS + 0x20_0000, 0x20_0000, 1, 0, 0), 1),
    "the stack": ((3, CONTENTS + 0x20_0000, 0x80_0000, 1, 0, 0), 1),
    "inside a block": ((3, CONTENTS + 0x20_0000, FREE + 0x1000, 1, 0, 0), 1),
    "an address inside a block": ((3, CONTENTS + 0x20_1000, FREE, 1, 0, 0), 1),
    "past the end of memory": ((3, CONTENTS + 0x20_0000, MEMORY, 1, 0, 0), 1),
    "across the end of memory": ((3, CONTENTS + 0x20_0000, MEMORY - (2 << 20), 2, 0, 0), 1),
    "no blocks": ((3, CONTENTS + 0x20_0000, FREE, 0, 0, 0), 1),
    "too many blocks": ((3, CONTENTS + 0x20_0000, FREE, 1 << 43, 0, 0), 1),
    "all blocks": ((3, CONTENTS + 0x20_0000, FREE, (1 << 64) - 1, 0, 0), 1),
    "a wrapping sum": ((3, CONTENTS + 0x20_0000, (1 << 64) - (2 << 20), 2, 0, 0), 1),
    "over the keep": ((3, 0x10_0000, FREE, 1, 0, 0), 1),
    "over the keep's block": ((3, 0, FREE, 1, 0, 0), 1),
    "over the stack": ((4, 0x80_0000, FREE, 1, 0, 0), 1),
    "contents over the segments": ((3, 0x7FE0_0000, FREE, 1, 0, 0), 1),
    "contents past their end": ((3, 0xBFE0_0000, FREE, 2, 0, 0), 1),
    "linear memory over the contents": ((4, CONTENTS, FREE, 1, 0, 0), 1),
    "linear memory past its end": ((4, 0x1_FFE0_0000, FREE, 2, 0, 0), 1),
    "linear memory in its guard": ((4, 0x2_0000_0000, FREE, 1, 0, 0), 1),
    "an address in the upper half": ((4, 0xFFFF_8000_0000_0000, FREE, 1, 0, 0), 1),
    "a tail of two blocks": ((5, LINEAR + 0x20_0000, FREE, 2, 0, 1), 1),
    "an empty tail": ((5, LINEAR + 0x20_0000, FREE, 1, 1, 1), 1),
    "a tail too long": ((5, LINEAR + 0x20_0000, FREE, 1, 0, 32), 1),
    "a tail far too long": ((5, LINEAR + 0x20_0000, FREE, 1, 0, 1 << 40), 1),
    "a tail that starts late": ((5, LINEAR + 0x20_0000, FREE, 1, 1 << 32, 31), 1),
}


def run(relay: Relay, code: bytes) -> Outcome:
    part = ProgramPart.of_code(code, relocations=[(EXIT_SLOT, PROC_EXIT, 0)])
    return relay.run(packages.raw(part))


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for name, attempt in ATTEMPTS.items() for kind in attempt.kinds]
)
def test_attempt_traps(name: str, relay: Relay) -> None:
    attempt = ATTEMPTS[name]
    code = assemble({key: entry.code + "\n ud2" for key, entry in ATTEMPTS.items()})[name]
    outcome = run(relay, code)
    trap = outcome.trap
    assert trap.vector in (attempt.vector, attempt.emulated_vector), trap
    if attempt.address is not None:
        assert trap.fault_address == attempt.address
    assert outcome.receipt.receipt.outcome == Trapped(trap.vector)


@pytest.mark.parametrize("kind", PROCESS)
@pytest.mark.parametrize("name", CALLS)
def test_system_call_traps(name: str, relay: Relay) -> None:
    code = assemble({key: f"{text}\n syscall\n xor eax, eax\n {EXIT}" for key, text in CALLS.items()})[name]
    outcome = run(relay, code)
    assert outcome.trap.vector == UD
    assert code[outcome.trap.instruction - TEXT :][:2] == b"\x0f\x05"


@pytest.mark.parametrize("kind", PROCESS)
def test_another_calling_convention_ends_the_process(relay: Relay) -> None:
    outcome = run(relay, assemble({"int": "mov eax, 20\n int 0x80\n ud2"})["int"])
    assert outcome.ending == Stopped("SIGSYS")


@pytest.mark.parametrize("kind", PROCESS)
def test_the_control_of_the_system_calls_runs(relay: Relay) -> None:
    code = assemble({"control": f"mov eax, 9\n {EXIT}"})["control"]
    assert run(relay, code).receipt.receipt.outcome == Exited(9)


@pytest.mark.parametrize("kind", SNP)
@pytest.mark.parametrize("name", SERVICE)
def test_mapping_service_keeps_its_rules(name: str, relay: Relay) -> None:
    (operation, address, physical, blocks, first, end), answer = SERVICE[name]
    code = f"""
        movabs rax, {operation:#x}
        movabs rdi, {address:#x}
        movabs rsi, {physical:#x}
        movabs rdx, {blocks:#x}
        movabs r10, {first:#x}
        movabs r11, {end:#x}
        mov ebx, {service_address():#x}
        call rbx
        {EXIT}
    """
    outcome = run(relay, assemble({"call": code})["call"])
    assert outcome.receipt.receipt.outcome == Exited(answer)


@pytest.mark.parametrize("kind", SNP)
@pytest.mark.parametrize(
    ("operation", "address"), [(3, CONTENTS + 0x20_0000), (4, LINEAR + 0x20_0000), (5, LINEAR + 0x20_0000)]
)
def test_what_the_service_maps_cannot_be_executed(operation: int, address: int, relay: Relay) -> None:
    code = f"""
        mov eax, {operation}
        movabs rdi, {address:#x}
        mov r12, rdi
        mov esi, {FREE:#x}
        mov edx, 1
        xor r10d, r10d
        mov r11d, 1
        mov ebx, {service_address():#x}
        call rbx
        mov byte ptr [r12], 0xc3
        jmp r12
    """
    trap = run(relay, assemble({"call": code})["call"]).trap
    assert (trap.vector, trap.fault_address, trap.instruction) == (PF, address, address)


@pytest.mark.parametrize("kind", SNP)
def test_a_trap_with_a_broken_stack_pointer_is_reported(relay: Relay) -> None:
    trap = run(relay, assemble({"stack": "xor esp, esp\n xor ebp, ebp\n push rax"})["stack"]).trap
    assert trap.stack_pointer == 0
    assert trap.frames == ()


def test_a_trap_of_the_trap_handler_ends_the_keep_in_silence(kind: str, relay: Relay) -> None:
    """Raw code can spoil the keep's own state; then there is no report, and nothing for a host to see."""
    code = f"""
        mov edi, {KEEP_ZERO_DATA:#x}
        mov ecx, 0x2000
        mov al, 0xff
        rep stosb
        ud2
    """
    outcome = run(relay, assemble({"spoil": code})["spoil"])
    assert isinstance(outcome.ending, Stopped)
    assert outcome.ending.how.startswith({"snp": "shutdown", "process": "SIG"}[kind])
    assert [type(event) for event in outcome.events] == [LaunchProven]


@pytest.mark.parametrize("kind", SNP)
def test_the_one_port_shows_a_host_nothing_new(relay: Relay) -> None:
    """Raw code may leave by the port: the host sees it all again, and the tenant refuses that."""
    code = assemble({"out": f"out 0x10, al\n xor eax, eax\n {EXIT}"})["out"]
    with pytest.raises(SessionError) as refused:
        run(relay, code)
    assert refused.value.check == "session.authentication"


def service_address() -> int:
    """Where the image's `ud2; ret` stands, the one instruction that enters the mapping service."""
    (text,) = [segment for segment in load_segments(image("snp")) if segment.address == KEEP_TEXT]
    assert text.data.count(b"\x0f\x0b\xc3") == 1
    return KEEP_TEXT + text.data.index(b"\x0f\x0b\xc3")
