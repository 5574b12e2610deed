"""What SEV and SEV-ES do not stop: encrypted memory without integrity. SNP's reverse map table does."""

from __future__ import annotations

import pytest

from tests.simulator.machine import attacks, programs
from tests.simulator.machine.bare import BareGuest, Computer
from tests.simulator.machine.programs import SECRET, SECRET_AT
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import ExitReason, RunState

EITHER = pytest.mark.parametrize("sev", [False, True], ids=["plain", "sev"])
OTHER = b"another page of this guest's own, forty-eight by"
COUNTER = {0: programs.COUNT, 0x2000: bytes(PAGE)}


def _count(guest: BareGuest) -> int:
    assert guest.cpu.run().exit_reason == ExitReason.IO
    return guest.cpu.exit_data()[0]


@EITHER
def test_replayed_ciphertext_is_taken(sev: bool) -> None:
    """A balance, a counter, a nonce: what a page held earlier, it holds again."""
    with Computer().guest(COUNTER, sev=sev) as guest:
        assert [_count(guest) for _ in range(3)] == [1, 2, 3]
        attacks.replay(guest, 0x2000, guest.cpu.run)
        assert guest.cpu.exit_data() == b"\x04"
        assert _count(guest) == 4


@EITHER
def test_without_replay_the_counter_goes_on(sev: bool) -> None:
    """The control of the test before."""
    with Computer().guest(COUNTER, sev=sev) as guest:
        assert [_count(guest) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_ciphertext_moved_elsewhere_is_garbage() -> None:
    """The address is in the tweak. Without encryption the same copy is read as it is."""
    contents = {0: programs.PRINT_SECRET, SECRET_AT: bytes(PAGE), 0x3000: SECRET.ljust(PAGE, b"\0")}
    for sev in (False, True):
        with Computer().guest(contents, sev=sev) as guest:
            attacks.move(guest, 0x3000, SECRET_AT)
            assert (guest.printed() == SECRET) is not sev


@EITHER
def test_a_remapped_page_is_taken(sev: bool) -> None:
    """Nothing binds a page to its guest-physical address: the guest reads another of its own pages."""
    contents = {
        0: programs.PRINT_SECRET,
        SECRET_AT: SECRET.ljust(PAGE, b"\0"),
        0x3000: OTHER.ljust(PAGE, b"\0"),
    }
    with Computer().guest(contents, sev=sev) as guest:
        attacks.remap(guest, SECRET_AT, 0x3000)
        assert guest.printed() == OTHER


def test_one_page_at_two_places_is_one_page() -> None:
    """Aliased, what the guest writes at one address changes another."""
    contents = {0: programs.COPY_SECRET, SECRET_AT: SECRET.ljust(PAGE, b"\0"), 0x3000: bytes(PAGE)}
    with Computer().guest(contents | {0x4000: bytes(PAGE)}) as guest:
        attacks.remap(guest, 0x4000, 0x3000)
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        assert guest.cpu.read(0x4000, len(SECRET)) == SECRET


def test_a_hypervisor_can_tell_that_memory_did_not_change() -> None:
    """Equal plaintext at one address is equal ciphertext: a comparison that keys do not stop."""
    # mov byte [2000h], 1 · hlt · mov byte [2000h], 2 · hlt · mov byte [2000h], 1 · hlt
    code = bytes.fromhex("c6 06 00 20 01 f4  c6 06 00 20 02 f4  c6 06 00 20 01 f4")
    with Computer().guest({0: code, 0x2000: bytes(PAGE)}) as guest:
        seen = []
        for _ in range(3):
            guest.cpu.run()
            seen.append(guest.raw(0x2000, 16))
        assert seen[0] == seen[2] != seen[1]


def test_a_device_that_writes_spoils_what_it_hits_and_nothing_else() -> None:
    contents = {0: programs.PRINT_SECRET, SECRET_AT: SECRET.ljust(PAGE, b"\0")}
    with Computer().guest(contents) as guest:
        guest.computer.controller.write(guest.cpu.spa(SECRET_AT + 16, 16), bytes(16))
        said = guest.printed()
        assert said[:16] == SECRET[:16]
        assert said[32:] == SECRET[32:]
        assert said[16:32] not in (SECRET[16:32], bytes(16))


def test_what_a_device_wrote_while_the_guest_was_out_is_there() -> None:
    """Only lines that the guest changed are written back."""
    with Computer().guest(COUNTER, sev=False) as guest:
        _count(guest)
        guest.computer.controller.write(guest.cpu.spa(0x2100, 4), b"disk")
        _count(guest)
        assert guest.raw(0x2100, 4) == b"disk"


def test_a_page_taken_away_and_given_back() -> None:
    """The hypervisor sees which page a guest touches: a side channel that encryption leaves."""
    with Computer().guest({0: programs.PRINT_SECRET, SECRET_AT: SECRET}) as guest:
        page = guest.cpu.nested.lookup(SECRET_AT)
        guest.cpu.nested.unmap(SECRET_AT)
        state: RunState = guest.cpu.run()
        assert state.exit_reason == ExitReason.MMIO
        assert state.phys_addr == SECRET_AT
        guest.cpu.nested.remap(SECRET_AT, page)
        assert guest.printed() == SECRET
