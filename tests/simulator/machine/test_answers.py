"""Who answers CPUID? The hypervisor. A SEV-ES guest asks by its GHCB, and believes nothing it can check."""

from __future__ import annotations

import pytest

from tests.simulator.machine import attacks, es_guest, programs
from tests.simulator.machine.bare import BareGuest, Computer
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.simulator.hypervisor.cpuid import Cpuid, Leaf, honest
from wasmkeep.simulator.hypervisor.ghcb import Ghcb, msr_answer, termination
from wasmkeep.simulator.save_area import SaveArea
from wasmkeep.simulator.vmexit import ExitCode


def _started() -> tuple[dict[int, bytes], SaveArea]:
    return es_guest.contents(), es_guest.area()


def _lying(leaf: int, register: int, value: int) -> Cpuid:
    truth = honest()

    def answer(asked: int, subleaf: int) -> Leaf:
        eax, ebx, ecx, edx = truth(asked, subleaf)
        if asked != leaf:
            return eax, ebx, ecx, edx
        told = [eax, ebx, ecx, edx]
        told[register] = value
        return told[0], told[1], told[2], told[3]

    return answer


def test_a_guest_that_hears_the_truth_does_its_work() -> None:
    with Computer().guest(*_started(), es=True) as guest:
        said, state = guest.run()
        assert said == es_guest.MESSAGE
        assert (state.exit_reason, state.port, state.direction) == (ExitReason.IO, 0x60, 0)
        guest.cpu.answer(bytes(8), b"A")
        store = guest.cpu.run()
        assert (store.exit_reason, store.phys_addr, store.is_write) == (ExitReason.MMIO, es_guest.MMIO, 1)
        assert bytes(store.mmio_data) == b"A" + bytes(7)
        load = guest.cpu.run()
        assert (load.exit_reason, load.phys_addr, load.is_write) == (ExitReason.MMIO, es_guest.MMIO, 0)
        guest.cpu.answer(b"B" + bytes(7), b"")
        said, end = guest.run()
        assert said == b"B"
        assert end.exit_reason == ExitReason.HLT


@pytest.mark.parametrize(
    ("leaf", "register", "value", "reason"),
    [
        (0, 1, 0x756E_6547, es_guest.WRONG_VENDOR),  # Genu…
        (0, 0, 0, es_guest.WRONG_RANGE),
        (0, 0, 0xFFFF_FFFF, es_guest.WRONG_RANGE),
        (0x8000_001F, 0, 0, es_guest.SEV_DENIED),
        (0x8000_001F, 0, 2, es_guest.SEV_DENIED),  # SEV without ES
        (
            0x8000_001F,
            1,
            47,
            es_guest.WRONG_C_BIT,
        ),  # so that it would mark the wrong bit and write in the clear
    ],
)
def test_a_lie_ends_the_guest_before_it_says_anything(
    leaf: int, register: int, value: int, reason: int
) -> None:
    with Computer().guest(*_started(), es=True) as guest:
        guest.cpu.hypervisor.cpuid = _lying(leaf, register, value)
        said, state = guest.run()
        assert said == b""
        assert state.exit_reason == ExitReason.SYSTEM_EVENT
        assert guest.cpu.hypervisor.terminated == (es_guest.REASON_SET, reason)


def test_the_same_lie_is_believed_where_nobody_checks() -> None:
    """The control: a plain program takes what CPUID gives."""
    with Computer().guest({0: programs.CPUID_ZERO}) as guest:
        guest.cpu.hypervisor.cpuid = _lying(0, 1, 0x756E_6547)
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        assert guest.cpu.block.save["rbx"] == 0x756E_6547


def test_sev_status_comes_from_the_processor() -> None:
    """A guest that expects SEV-ES finds out where it was started without: no hypervisor is asked."""
    contents, area = _started()
    with Computer().guest(contents, area, es=False) as guest:
        found = (
            guest.cpu.vmrun()
        )  # the termination request is a plain MSR exit here, and then a plain VMMCALL
        assert found.code is ExitCode.MSR
        assert guest.cpu.block.save["rax"] == es_guest.NOT_PROTECTED << 16 | es_guest.REASON_SET << 12 | 0x100


@pytest.mark.parametrize("exitinfo1", [1, 2, 0xFFFF_FFFF])
def test_an_answer_that_is_none_ends_the_guest(exitinfo1: int) -> None:
    with Computer().guest(*_started(), es=True) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.IO
        guest.cpu.answer(b"", b"")
        page = guest.cpu.spa(es_guest.GHCB, PAGE)
        ghcb = Ghcb(guest.raw(es_guest.GHCB, PAGE))
        ghcb["sw_exitinfo1"] = exitinfo1
        guest.computer.controller.write(page, ghcb.encode())
        guest.cpu.run()
        assert guest.cpu.hypervisor.terminated == (es_guest.REASON_SET, es_guest.ODD_EVENT)


def _ghcb(guest: BareGuest) -> bytes:
    return guest.raw(es_guest.GHCB, PAGE)


def test_a_port_exit_tells_the_port_and_the_byte() -> None:
    """Whatever else is in registers stays there."""
    marker = 0x5EC2_E700_0000_0000
    contents, area = _started()
    for number in range(8, 16):
        area[f"r{number}"] = marker + number
    for number in range(16):
        area.set_xmm(number, b"secret in vector")
    computer = Computer()
    with computer.guest(contents, area, es=True) as guest:
        for expected in es_guest.MESSAGE:
            state = guest.cpu.run()
            assert (state.exit_reason, state.rip, state.cr2) == (ExitReason.IO, 0, 0)
            told = Ghcb(_ghcb(guest))
            assert told.has("rax", "sw_exitcode")
            assert not told.has("rcx")
            assert (told["sw_exitcode"], told["rax"]) == (ExitCode.IOIO, expected)
        dump = attacks.cold_boot(computer)
        assert b"secret in vector" not in dump
        assert all((marker + number).to_bytes(8, "little") not in dump for number in range(8, 16))
        assert (
            guest.cpu.block.save.encode() == area.encode()
        )  # what the host launched it with, and nothing since


def test_exits_of_a_sev_es_guest_say_their_code_and_no_more() -> None:
    with Computer().guest(*_started(), es=True) as guest:
        found = guest.cpu.vmrun()
        assert (found.code, found.info1, found.info2, found.data) == (ExitCode.VMGEXIT, 0, 0, b"")
        assert found.next_rip == 0


def test_the_ghcb_lies_where_the_guest_says_and_outside_memory_ends_it() -> None:
    contents, area = _started()
    code = bytearray(contents[es_guest.CODE])
    at = code.index(b"\xb8" + es_guest.GHCB.to_bytes(4, "little"))
    code[at + 1 : at + 5] = (0x100_0000).to_bytes(4, "little")
    with Computer().guest(contents | {es_guest.CODE: bytes(code)}, area, es=True) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.INTERNAL_ERROR


def test_the_msr_protocol() -> None:
    truth = honest()
    assert msr_answer(0x002, truth) == 2 << 48 | 1 << 32 | 51 << 24 | 0x001
    assert msr_answer(1 << 30 | 0x004, truth) == 0x6874_7541 << 32 | 1 << 30 | 0x005
    assert msr_answer(0x8000_001F << 32 | 1 << 30 | 0x004, truth) == (51 | 1 << 6) << 32 | 1 << 30 | 0x005
    assert msr_answer(0xB012, truth) == 0xB013
    assert msr_answer(0x080, truth) == 0x081
    assert msr_answer(0x010, truth) == 0xF_FFFF_FFFF_FFFF << 12 | 0x011
    assert msr_answer(0x006, truth) is None
    assert termination(0x0003_2100) == (2, 3)
    assert termination(0x002) is None


def test_a_guest_asks_cpuid_by_msr() -> None:
    """Before it has a GHCB page, as a guest's first instructions do."""
    # mov ecx, c0010130h · mov eax, 40000004h (leaf 0, EBX) · xor edx, edx · wrmsr · rep vmmcall · rdmsr · hlt
    code = bytes.fromhex("b9 30 01 01 c0  b8 04 00 00 40  31 d2  0f 30  f3 0f 01 d9  0f 32  f4")
    contents, area = _started()
    with Computer().guest(contents | {es_guest.CODE: code.ljust(PAGE, b"\0")}, area, es=True) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        assert guest.key is not None
        page = guest.computer.controller.private_read(guest.key, guest.cpu.block.vmsa, PAGE)
        kept = SaveArea(page)
        assert kept["rdx"].to_bytes(4, "little") == b"Auth"
        assert kept["rax"] == 0x4000_0005


def test_a_sev_es_guest_without_a_handler_ends() -> None:
    contents, area = _started()
    contents[es_guest.DESCRIPTORS] = contents[es_guest.DESCRIPTORS][:0x100].ljust(PAGE, b"\0")
    with Computer().guest(contents, area, es=True) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.SHUTDOWN


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({0xFFC: b"\1"}, 2),  # usage
        ({0xFFA: b"\7\0"}, 2),  # version
        ({0x3FE: b"\0"}, 4),  # nothing valid
        ({0x390: b"\x72\0\0\0", 0x3F7: b"\0"}, 4),  # CPUID without RAX
        ({0x390: b"\x99\0\0\0"}, 6),  # an event there is not
        ({0x398: b"\x74\0\xf8\3"}, 5),  # a string access
    ],
)
def test_what_the_hypervisor_refuses(changed: dict[int, bytes], reason: int) -> None:
    """Malformed requests come back with a reason, and nothing was done."""
    contents, area = _started()
    with Computer().guest(contents, area, es=True) as guest:
        guest.cpu.run()  # a port exit: a well-formed request is in the page
        page = bytearray(_ghcb(guest))
        for at, data in changed.items():
            page[at : at + len(data)] = data
        guest.computer.controller.write(guest.cpu.spa(es_guest.GHCB, PAGE), bytes(page))
        hypervisor = guest.cpu.hypervisor
        hypervisor._pending = None
        assert hypervisor._ghcb_event(es_guest.GHCB) is None
        answered = Ghcb(_ghcb(guest))
        assert (answered["sw_exitinfo1"], answered["sw_exitinfo2"]) == (2, reason)
