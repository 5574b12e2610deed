"""Who sees a guest's memory: nobody but it, where it has a key. Each attack first works without one."""

from __future__ import annotations

import pytest

from tests.simulator.machine import attacks, es_guest, programs
from tests.simulator.machine.bare import Computer
from tests.simulator.machine.programs import SECRET, SECRET_AT
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.memory_controller import C_BIT, NoKey
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.status import Refused

EITHER = pytest.mark.parametrize("sev", [False, True], ids=["plain", "sev"])
PROGRAM = {0: programs.PRINT_SECRET, SECRET_AT: SECRET}


@EITHER
@pytest.mark.parametrize("when", ["launched", "after it ran"])
def test_scraping_memory(sev: bool, when: str) -> None:
    with Computer().guest(PROGRAM, sev=sev) as guest:
        if when == "after it ran":
            assert guest.printed() == SECRET
        assert (SECRET in attacks.scrape(guest)) is not sev


@EITHER
def test_dma(sev: bool) -> None:
    with Computer().guest(PROGRAM, sev=sev) as guest:
        assert guest.printed() == SECRET
        assert (SECRET in attacks.dma(guest)) is not sev


@EITHER
@pytest.mark.parametrize("when", ["running", "after its end"])
def test_cold_boot(sev: bool, when: str) -> None:
    computer = Computer()
    with computer.guest(PROGRAM, sev=sev) as guest:
        assert guest.printed() == SECRET
        if when == "running":
            assert (SECRET in attacks.cold_boot(computer)) is not sev
    assert (SECRET in attacks.cold_boot(computer)) is not sev


@EITHER
def test_what_a_guest_copies_is_as_well_kept(sev: bool) -> None:
    with Computer().guest(
        {0: programs.COPY_SECRET, SECRET_AT: SECRET, 0x3000: bytes(PAGE)}, sev=sev
    ) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        assert guest.cpu.read(0x3000, len(SECRET)) == SECRET
        assert (guest.raw(0x3000, len(SECRET)) == SECRET) is not sev
        assert (guest.raw(SECRET_AT, len(SECRET)) == guest.raw(0x3000, len(SECRET))) is not sev


def test_the_same_plaintext_in_two_guests_differs() -> None:
    computer = Computer()
    with computer.guest(PROGRAM) as one, computer.guest(PROGRAM) as other:
        assert one.asid != other.asid
        assert one.raw(SECRET_AT, 48) != other.raw(SECRET_AT, 48)
        # And not for the address alone: the other's key, at this guest's address.
        assert one.key is not None
        assert other.key is not None
        address = one.cpu.spa(SECRET_AT, 48)
        assert (
            one.key.encrypt(address, SECRET) == one.raw(SECRET_AT, 48) != other.key.encrypt(address, SECRET)
        )


@EITHER
def test_another_guest_with_the_victims_page(sev: bool) -> None:
    computer = Computer()
    with computer.guest(PROGRAM, sev=sev) as victim:
        assert victim.printed() == SECRET
        with computer.guest({0: programs.PRINT_SECRET}, sev=sev) as attacker:
            attacks.escape(victim, attacker, SECRET_AT, SECRET_AT)
            assert (attacker.printed() == SECRET) is not sev
        assert victim.cpu.read(SECRET_AT, len(SECRET)) == SECRET


def test_a_shared_page_is_the_hosts_too() -> None:
    """The C-bit chooses: what a SEV guest's tables map without it is plain in DRAM."""
    with Computer().guest(es_guest.contents(), es_guest.area(), es=True) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.IO
        shown = guest.raw(es_guest.GHCB, PAGE)
        assert shown[0x1F8] == es_guest.MESSAGE[0]
        assert guest.raw(es_guest.DATA, len(es_guest.MESSAGE)) != es_guest.MESSAGE


def test_a_slot_with_a_new_key_makes_old_ciphertext_garbage() -> None:
    computer = Computer(slots=KeySlots(1, 1))
    with computer.guest(PROGRAM) as guest:
        assert guest.printed() == SECRET
        page, asid = guest.cpu.nested.lookup(SECRET_AT), guest.asid
        kept = guest.raw(SECRET_AT, PAGE)
    computer.pages.allocate(64 << 10)  # so that the next guest lies elsewhere
    with computer.guest({0: programs.PRINT_SECRET}) as heir:
        assert heir.asid == asid
        computer.controller.write(page, kept)
        heir.cpu.nested.remap(SECRET_AT, page)
        assert heir.printed() != SECRET


def test_the_same_slot_and_key_would_have_read_it() -> None:
    """The control of the test before: it is the key that protects, and nothing else."""
    computer = Computer(slots=KeySlots(1, 1))
    with computer.guest(PROGRAM) as guest:
        page, kept = guest.cpu.nested.lookup(SECRET_AT), guest.raw(SECRET_AT, PAGE)
        computer.controller.write(page, bytes(PAGE))
        assert guest.cpu.read(SECRET_AT, len(SECRET)) != SECRET
        computer.controller.write(page, kept)
        assert guest.printed() == SECRET


def test_memory_that_nobody_launched_is_garbage_to_the_guest() -> None:
    with Computer().guest({0: programs.PRINT_SECRET}) as guest:
        assert guest.raw(SECRET_AT, 48) == bytes(48)
        assert guest.printed() != bytes(48)


def test_without_a_key_in_its_slot_a_guest_does_not_run() -> None:
    computer = Computer()
    with computer.guest(PROGRAM) as guest:
        computer.slots.deactivate(guest.asid)
        assert guest.cpu.run().exit_reason == ExitReason.FAIL_ENTRY
        with pytest.raises(NoKey):
            computer.controller.load(C_BIT | guest.cpu.spa(0, 16), 16, guest.asid)


def test_a_key_that_goes_while_its_guest_runs() -> None:
    computer = Computer()
    with computer.guest(PROGRAM) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.IO
        guest.cpu.nested.remap(SECRET_AT, 1 << 40)  # no memory: as sudden as a key that is taken away
        assert guest.cpu.run().exit_reason == ExitReason.FAIL_ENTRY


def test_the_hosts_own_key() -> None:
    """SME: the host's C-bit means its boot-time key, which makes no guest's plaintext."""
    computer = Computer()
    controller = computer.controller
    controller.store(C_BIT | 0x10_0000, SECRET)
    assert controller.load(C_BIT | 0x10_0000, 48) == SECRET
    assert controller.load(0x10_0000, 48) == controller.read(0x10_0000, 48) != SECRET
    assert Computer().controller.load(C_BIT | 0x10_0000, 48) != SECRET  # another machine, or another boot
    with computer.guest(PROGRAM) as guest:
        assert controller.load(C_BIT | guest.cpu.spa(SECRET_AT, 48), 48) != SECRET


def test_a_plain_guest_in_the_hosts_encrypted_memory() -> None:
    """SME serves guests without SEV: the nested table's C-bit, and nothing in DRAM."""
    computer = Computer()
    with computer.guest(PROGRAM, sev=False) as guest:
        page = computer.pages.allocate(PAGE)
        computer.controller.store(C_BIT | page, SECRET)
        guest.cpu.nested.remap(SECRET_AT, C_BIT | page)
        computer.controller.write(guest.cpu.spa(SECRET_AT, PAGE), bytes(PAGE))
        assert guest.printed() == SECRET
        assert SECRET not in attacks.cold_boot(computer)


@pytest.mark.parametrize("offset", [0, 1, 15, 16, 4080, 4095])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 8200])
def test_any_range_goes_through_a_key(offset: int, size: int) -> None:
    controller, key = Computer().controller, MemoryKey()
    data = bytes(index % 251 for index in range(size))
    before = controller.private_read(key, 0x2_0000, 0x4000)
    controller.private_write(key, 0x2_0000 + offset, data)
    assert controller.private_read(key, 0x2_0000 + offset, size) == data
    after = controller.private_read(key, 0x2_0000, 0x4000)
    assert after == before[:offset] + data + before[offset + size :]


def test_altered_ciphertext_spoils_its_block_and_no_other() -> None:
    controller, key = Computer().controller, MemoryKey()
    controller.private_write(key, 0x3000, bytes(64))
    controller.write(0x3011, b"\x80")
    seen = controller.private_read(key, 0x3000, 64)
    assert seen[:16] == seen[32:48] == bytes(16) != seen[16:32]


def test_addresses_that_are_no_memory() -> None:
    controller = Computer().controller
    for address, size in ((16 << 20, 1), ((16 << 20) - 1, 2), (-16, 16), (1 << 50, 16)):
        with pytest.raises(Refused):
            controller.read(address, size)
    with pytest.raises(Refused):
        controller.encrypt_in_place(MemoryKey(), (16 << 20) - 16, 32)


def test_keys_and_registers_show_in_no_representation() -> None:
    computer = Computer()
    with computer.guest(PROGRAM) as guest:
        guest.cpu.block.save["rax"] = 0xC0FF_EE11
        guest.cpu.run()
        for thing in (computer.controller, computer.slots, guest.key, guest.cpu, guest.cpu.block):
            text = repr(thing)
            assert "bytes" not in text
            assert "b'" not in text
            assert str(0xC0FF_EE11) not in text
