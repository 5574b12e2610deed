"""Who sees and sets a guest's registers: any hypervisor without SEV-ES, nobody with it."""

from __future__ import annotations

import pytest

from tests.simulator.machine import attacks
from tests.simulator.machine.bare import Computer, reset_area
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.simulator.save_area import SaveArea
from wasmkeep.simulator.vmsa import InvalidVmsa

ES = pytest.mark.parametrize("es", [False, True], ids=["sev", "sev-es"])
XMM_KEY, GENERAL_KEY = b"AES key in xmm3!", b"in rbx.."

# movups xmm3, [2000h] · mov ebx, [2010h] · hlt · mov al, '!' · hlt: a cipher at work when its guest exits
CIPHER = bytes.fromhex("0f 10 1e 00 20  66 8b 1e 10 20  f4  b0 21  f4")
CONTENTS = {0: CIPHER, 0x2000: XMM_KEY + GENERAL_KEY[:4] + bytes(12)}


def _area() -> SaveArea:
    area = reset_area()
    area["cr4"] = 0x240  # OSFXSR: vector instructions
    return area


@ES
def test_a_cipher_key_in_registers_at_an_exit(es: bool) -> None:
    with Computer().guest(CONTENTS, _area(), es=es) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        seen = attacks.registers(guest)
        assert (XMM_KEY in seen) is not es
        assert (GENERAL_KEY[:4] in seen) is not es
        assert XMM_KEY not in attacks.scrape(guest)


@ES
def test_the_kernels_calls_for_registers_give_as_little(es: bool) -> None:
    with Computer().guest(CONTENTS, _area(), es=es) as guest:
        guest.cpu.run()
        assert (XMM_KEY in guest.cpu.get_xsave()) is not es
        assert (GENERAL_KEY[:4] in bytes(guest.cpu.get_regs())) is not es


def test_a_cold_boot_finds_no_registers_of_a_sev_es_guest() -> None:
    computer = Computer()
    with computer.guest(CONTENTS, _area(), es=True) as guest:
        guest.cpu.run()
    assert XMM_KEY not in attacks.cold_boot(computer)


@ES
def test_a_hypervisor_that_sets_registers(es: bool) -> None:
    """It has the guest skip its second HLT, and puts its own value into RBX."""
    with Computer().guest(CONTENTS, _area(), es=es) as guest:
        guest.cpu.run()
        attacks.set_register(guest, "rbx", 0x4242)
        attacks.set_register(guest, "rip", len(CIPHER) - 1)
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        if es:
            assert guest.key is not None
            page = guest.computer.controller.private_read(guest.key, guest.cpu.block.vmsa, 4096)
            kept = SaveArea(page)
            assert kept["rbx"] == int.from_bytes(GENERAL_KEY[:4], "little")
            assert kept["rax"] == ord("!")
        else:
            assert guest.cpu.block.save["rbx"] == 0x4242
            assert guest.cpu.block.save["rax"] != ord("!")


@pytest.mark.parametrize("at", [0x178, 0x1F8, 0x4A0, 0xFF0], ids=["rip", "rax", "xmm3", "padding"])
@pytest.mark.parametrize("when", ["launched", "at an exit"])
def test_altered_vmsa_does_not_run(at: int, when: str) -> None:
    with Computer().guest(CONTENTS, _area(), es=True) as guest:
        if when == "at an exit":
            guest.cpu.run()
        attacks.tamper_with_vmsa(guest, at)
        assert guest.cpu.run().exit_reason == ExitReason.FAIL_ENTRY


def test_replayed_vmsa_does_not_run() -> None:
    with Computer().guest(CONTENTS, _area(), es=True) as guest:
        guest.cpu.run()
        attacks.replay_vmsa(guest, guest.cpu.run)
        assert guest.cpu.run().exit_reason == ExitReason.FAIL_ENTRY


def test_an_untouched_vmsa_runs() -> None:
    """The control of the tests before."""
    with Computer().guest(CONTENTS, _area(), es=True) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        attacks.tamper_with_vmsa(guest, 0x178)
        attacks.tamper_with_vmsa(guest, 0x178)  # and back
        assert guest.cpu.run().exit_reason == ExitReason.HLT


def test_another_guests_vmsa_does_not_run() -> None:
    computer = Computer()
    with (
        computer.guest(CONTENTS, _area(), es=True) as one,
        computer.guest(CONTENTS, _area(), es=True) as other,
    ):
        one.cpu.block.vmsa, other.cpu.block.vmsa = other.cpu.block.vmsa, one.cpu.block.vmsa
        assert one.cpu.vmrun().code == other.cpu.vmrun().code == 0xFFFF_FFFF_FFFF_FFFF
        one.cpu.block.vmsa, other.cpu.block.vmsa = other.cpu.block.vmsa, one.cpu.block.vmsa
        assert one.cpu.run().exit_reason == ExitReason.HLT


def test_the_vmsa_differs_at_every_exit_and_is_never_plain() -> None:
    with Computer().guest(CONTENTS, _area(), es=True) as guest:
        address = guest.cpu.block.vmsa
        seen = [guest.computer.controller.read(address, 4096)]
        for _ in range(2):
            guest.cpu.run()
            seen.append(guest.computer.controller.read(address, 4096))
        assert len(set(seen)) == 3
        assert all(_area().encode()[:64] not in page for page in seen)


def test_a_state_with_features_this_cpu_lacks_is_refused() -> None:
    for name, value in (("sev_features", 1), ("vmpl", 1)):
        area = _area()
        area[name] = value
        with pytest.raises(InvalidVmsa), Computer().guest(CONTENTS, area):
            pass


def test_registers_survive_an_exit_to_the_last() -> None:
    """Everything a save area holds comes back as it went in, over entries that do nothing."""
    area = _area()
    for index, name in enumerate(("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "rsp", "cr2")):
        area[name] = 0x1111_0000_0000_0000 * (index + 1) + index
    for number in range(8, 16):
        area[f"r{number}"] = 0xA5A5_0000_0000_0000 + number
    for name in ("star", "lstar", "cstar", "sfmask", "kernel_gs_base", "sysenter_eip", "dr0", "dr3"):
        area[name] = hash(name) & 0x7FFF_FFFF
    for number in range(16):
        area.set_xmm(number, bytes([number + 1]) * 16)
    for number in range(8):
        area.set_x87(number, bytes([0x80 + number]) * 10)
    area["fcw"], area["fsw"], area["ftw"], area["mxcsr"] = 0x27F, 0x1900, 0x81, 0x1F81
    area["rflags"] = 0xCD7
    with Computer().guest({0: bytes.fromhex("f4")}, area) as guest:
        guest.cpu.run()
        after = guest.cpu.block.save
    assert after["rip"] == 1
    after["rip"] = 0
    assert after.encode() == area.encode()
