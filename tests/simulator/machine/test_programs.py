"""What a bare guest does on the emulated CPU, whatever its memory: instructions, modes, exits."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from tests.simulator.machine import programs
from tests.simulator.machine.bare import Computer, reset_area
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.simulator.cpu import Interrupted
from wasmkeep.simulator.save_area import SaveArea, Segment
from wasmkeep.simulator.vmexit import ExitCode

EITHER = pytest.mark.parametrize("sev", [False, True], ids=["plain", "sev"])


@EITHER
def test_the_talks_program_prints_seven_and_halts(sev: bool) -> None:
    with Computer().guest({0: programs.PRINT_SEVEN}, sev=sev) as guest:
        said, end = guest.run()
        assert said == b"7"
        assert end.exit_reason == ExitReason.HLT
        assert end.rip == len(programs.PRINT_SEVEN)


@EITHER
def test_memory_that_a_guest_wrote_is_there_when_it_runs_on(sev: bool) -> None:
    with Computer().guest({0: programs.COUNT, 0x2000: bytes(16)}, sev=sev) as guest:
        for expected in range(1, 40):
            assert guest.cpu.run().exit_reason == ExitReason.IO
            assert guest.cpu.exit_data() == bytes([expected])


def test_an_input_reaches_the_guest() -> None:
    # mov dx, 60h · in ax, dx · mov dx, 3f8h · out dx, al · mov al, ah · out dx, al · hlt
    code = bytes.fromhex("ba 60 00  ed  ba f8 03  ee  88 e0  ee  f4")
    with Computer().guest({0: code}) as guest:
        state = guest.cpu.run()
        assert (state.exit_reason, state.direction, state.port, state.size) == (ExitReason.IO, 0, 0x60, 2)
        guest.cpu.answer(bytes(8), b"\x34\x12")
        assert guest.printed() == b"\x34\x12"


def test_the_hypervisor_answers_cpuid() -> None:
    with Computer().guest({0: programs.CPUID_ZERO}) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        area = guest.cpu.block.save
        vendor = b"".join(area[name].to_bytes(4, "little") for name in ("rbx", "rdx", "rcx"))
        assert vendor == b"AuthenticAMD"


def test_cpuid_is_an_exit_of_its_own() -> None:
    with Computer().guest({0: programs.CPUID_ZERO}) as guest:
        found = guest.cpu.vmrun()
        assert (found.code, found.next_rip) == (ExitCode.CPUID, 8)


def _unreal(area: SaveArea) -> None:
    """Real mode whose data segments reach everywhere."""
    for name in ("ds", "es", "ss"):
        area.set_segment(name, replace(area.segment(name), limit=0xFFFF_FFFF))


@pytest.mark.parametrize(
    ("code", "size", "written"),
    [
        ("66 67 c7 05 00 00 02 00 78 56 34 12  f4", 4, 0x1234_5678),  # mov dword [20000h], 12345678h
        ("b8 cd ab  67 a3 10 00 02 00  f4", 2, 0xABCD),  # mov [20010h], ax
        ("b4 7e  67 88 25 08 00 02 00  f4", 1, 0x7E),  # mov [20008h], ah
    ],
)
def test_a_store_outside_memory_is_mmio(code: str, size: int, written: int) -> None:
    program = bytes.fromhex(code)
    area = reset_area()
    with Computer().guest({0: program}, area) as guest:
        _unreal(guest.cpu.block.save)
        state = guest.cpu.run()
        assert (state.exit_reason, state.len, state.is_write) == (ExitReason.MMIO, size, 1)
        assert state.phys_addr & ~0x1F == 0x2_0000
        assert int.from_bytes(bytes(state.mmio_data), "little") == written
        end = guest.cpu.run()
        assert (end.exit_reason, end.rip) == (ExitReason.HLT, len(program))


def test_a_load_outside_memory_takes_what_the_host_says() -> None:
    # mov ebx, [20040h] · movsx ecx, byte [20041h] · hlt
    code = bytes.fromhex("66 67 8b 1d 40 00 02 00  66 67 0f be 0d 41 00 02 00  f4")
    with Computer().guest({0: code}) as guest:
        _unreal(guest.cpu.block.save)
        first = guest.cpu.run()
        assert (first.exit_reason, first.phys_addr, first.len, first.is_write) == (6, 0x2_0040, 4, 0)
        guest.cpu.answer(bytes.fromhex("efbeadde00000000"), b"")
        second = guest.cpu.run()
        assert (second.exit_reason, second.phys_addr, second.len) == (6, 0x2_0041, 1)
        guest.cpu.answer(b"\x80" + bytes(7), b"")
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        assert guest.cpu.block.save["rbx"] == 0xDEAD_BEEF
        assert guest.cpu.block.save["rcx"] == 0xFFFF_FF80


def test_a_fault_that_nobody_handles_ends_the_guest() -> None:
    area = reset_area()
    area.set_segment("idtr", Segment(0, 0, 0, 0))  # no vector fits
    with Computer().guest({0: bytes.fromhex("0f 0b")}, area) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.SHUTDOWN
        assert guest.cpu.run().exit_reason == ExitReason.SHUTDOWN


def test_real_mode_interrupts_go_through_the_vector_table() -> None:
    # 0: int 21h · hlt;  100h: mov al, '!' · mov dx, 3f8h · out dx, al · iret
    contents = {0: bytes.fromhex("cd 21 f4"), 0x84: bytes.fromhex("00 01 00 00")}
    contents |= {0x100: bytes.fromhex("b0 21  ba f8 03  ee  cf")}
    area = reset_area()
    area["rsp"] = 0x8000
    with Computer().guest(_merged(contents), area) as guest:
        said, end = guest.run()
        assert said == b"!"
        assert (end.exit_reason, end.rip) == (ExitReason.HLT, 3)


def _merged(contents: dict[int, bytes]) -> dict[int, bytes]:
    """One page from pieces that share encryption blocks."""
    page = bytearray(0x1000)
    for at, data in contents.items():
        page[at : at + len(data)] = data
    return {0: bytes(page)}


def test_a_looping_guest_is_interrupted() -> None:
    with Computer().guest({0: programs.LOOP}) as guest:
        started = time.monotonic()
        threading.Timer(0.05, guest.cpu.interrupt).start()
        with pytest.raises(Interrupted):
            guest.cpu.run()
        assert time.monotonic() - started < 2


def test_an_interrupt_before_the_run_counts_once() -> None:
    with Computer().guest({0: programs.PRINT_SEVEN}) as guest:
        guest.cpu.interrupt()
        with pytest.raises(Interrupted):
            guest.cpu.run()
        assert guest.printed() == b"7"


def test_a_looping_guest_ends_by_itself() -> None:
    with Computer().guest({0: programs.LOOP}) as guest:
        guest.cpu.limit = 0.02
        assert guest.cpu.run().exit_reason == ExitReason.INTERNAL_ERROR


def test_a_guest_that_asks_for_ever_is_interrupted() -> None:
    """Its exits are answered in the kernel: nobody sees one."""
    # again: cpuid · jmp again
    with Computer().guest({0: bytes.fromhex("0f a2 eb fc")}) as guest:
        threading.Timer(0.05, guest.cpu.interrupt).start()
        with pytest.raises(Interrupted):
            guest.cpu.run()


def test_a_run_cut_into_pieces_comes_to_the_same() -> None:
    # mov edi, 5000000 · again: add ax, cx · rol ax, 3 · adc bx, ax · dec edi · jnz again · hlt
    code = bytes.fromhex("66 bf 40 4b 4c 00  01 c8  c1 c0 03  11 c3  66 4f  75 f5  f4")
    results = []
    for limit in (30.0, 0.03):
        area = reset_area()
        area["rcx"] = 0x9321
        with Computer().guest({0: code}, area) as guest:
            guest.cpu.limit = limit
            pieces = 0
            while guest.cpu.vmrun().code is ExitCode.INTR:
                pieces += 1
            saved = guest.cpu.block.save
            results.append([saved[name] for name in ("rax", "rbx", "rdi", "rflags")])
    assert results[0] == results[1]
    assert pieces


def test_flags_survive_exits_and_faults() -> None:
    """An instruction that stops in the midst of a block leaves the flags of the one before."""
    # cpuid between neg ax (carry) and adc bx, 0; a port between sub and sbb; a fresh page between inc and jz
    code = bytes.fromhex("b8 01 00  f7 d8  0f a2  bb 00 00  83 d3 00")  # bx = 1
    code += bytes.fromhex("b8 00 00  2d 01 00  ba f8 03  ee  b9 05 00  83 d9 00")  # cx = 4
    code += bytes.fromhex("be ff ff  46  a0 00 30  74 01  f4  be 34 12  f4")  # si = 1234h
    with Computer().guest({0: code}) as guest:
        assert guest.run()[1].exit_reason == ExitReason.HLT
        area = guest.cpu.block.save
        assert (area["rbx"] & 0xFFFF, area["rcx"] & 0xFFFF, area["rsi"] & 0xFFFF) == (1, 4, 0x1234)


def test_debug_registers_are_kept() -> None:
    # mov eax, 12345678h · mov dr3, eax · mov ebx, dr3 · mov ecx, dr7 · hlt
    code = bytes.fromhex("66 b8 78 56 34 12  0f 23 d8  0f 21 db  0f 21 f9  f4")
    with Computer().guest({0: code}) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        area = guest.cpu.block.save
        assert area["rbx"] == area["dr3"] == 0x1234_5678
        assert area["rcx"] == 0x400


def test_pushed_flags_are_those_of_the_last_instruction() -> None:
    # mov sp, 8000h · mov ax, ffffh · add ax, 1 (carry) · add ax, 1 (none) · pushf · pop bx · hlt
    code = bytes.fromhex("bc 00 80  b8 ff ff  05 01 00  05 01 00  9c  5b  f4")
    with Computer().guest({0: code}) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        area = guest.cpu.block.save
        assert area["rbx"] == area["rflags"] == 0x2
        assert (area["rax"], area["rsp"]) == (1, 0x8000)
