"""A guest's page tables: every mode, every refusal, and which bit chooses the key."""

from __future__ import annotations

import struct

import pytest

from tests.simulator.machine import programs
from tests.simulator.machine.bare import Computer, reset_area
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.simulator.core.engine import Access
from wasmkeep.simulator.core.page_walk import PageFault, Paging, walk
from wasmkeep.simulator.memory_controller import C_BIT
from wasmkeep.simulator.save_area import SaveArea, Segment

READ, WRITE, FETCH = Access.READ, Access.WRITE, Access.FETCH
PE, WP, PG, PSE, PAE, SMEP = 1 << 0, 1 << 16, 1 << 31, 1 << 4, 1 << 5, 1 << 20
LMA, NXE = 1 << 10, 1 << 11
P, W, U, LARGE, NX = 1, 2, 4, 1 << 7, 1 << 63


class Tables(dict[int, int]):
    """Entries by guest-physical address; what is not there is not present."""

    def entry(self, address: int, size: int) -> int:
        return self.get(address, 0) & (1 << 8 * size) - 1


def _long(*, user: bool = False, wp: bool = True, smep: bool = False) -> Paging:
    cr0 = PE | PG | (WP if wp else 0)
    return Paging(cr0, 0x1000 | C_BIT, PAE | (SMEP if smep else 0), LMA | NXE, user)


def _four_levels(leaf: int) -> Tables:
    return Tables(
        {0x1000: 0x2000 | P | W | U, 0x2000: 0x3000 | P | W | U, 0x3000: 0x4000 | P | W | U, 0x4000: leaf}
    )


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_leaf_chooses_for_data_and_the_tables_need_no_bit(encrypted: bool) -> None:
    tables = _four_levels(0x7_5000 | P | W | (C_BIT if encrypted else 0))
    found = walk(0, READ, _long(), tables.entry)
    assert (found.gpa, found.encrypted) == (0x7_5000, encrypted)
    marked = Tables({at: entry | C_BIT if at != 0x4000 else entry for at, entry in tables.items()})
    assert walk(0, READ, _long(), marked.entry) == found


def test_large_pages() -> None:
    linear = 0x4020_3000
    tables = Tables({0x1000: 0x2000 | P | W, 0x2008: 0x3000 | P | W, 0x3008: 0x60_0000 | P | LARGE | C_BIT})
    assert walk(linear, READ, _long(), tables.entry).gpa == 0x60_3000
    tables[0x2008] = 0xC000_0000 | P | LARGE
    assert walk(linear, READ, _long(), tables.entry).gpa == 0xC020_3000


def test_addresses_that_are_not_canonical_are_nowhere() -> None:
    with pytest.raises(PageFault):
        walk(1 << 47, READ, _long(), _four_levels(P).entry)
    with pytest.raises(PageFault):
        walk(1 << 63, READ, _long(), _four_levels(P).entry)


@pytest.mark.parametrize(
    ("leaf", "access", "paging", "error"),
    [
        (0, READ, _long(), 0),
        (0, WRITE, _long(user=True), 2 | 4),
        (P | W, READ, _long(user=True), 1 | 4),
        (P | U, WRITE, _long(user=True, wp=False), 1 | 2 | 4),
        (P | U, WRITE, _long(), 1 | 2),
        (P | W | U | NX, FETCH, _long(user=True), 1 | 4 | 16),
        (P | W | U, FETCH, _long(smep=True), 1 | 16),
    ],
)
def test_refusals(leaf: int, access: Access, paging: Paging, error: int) -> None:
    with pytest.raises(PageFault) as refused:
        walk(0, access, paging, _four_levels(leaf).entry)
    assert refused.value.error == error


@pytest.mark.parametrize(
    ("leaf", "access", "paging"),
    [
        (P, READ, _long()),
        (P, WRITE, _long(wp=False)),
        (P | W | U, WRITE, _long(user=True)),
        (P | W | U | NX, WRITE, _long(user=True)),
        (P | U, FETCH, _long(user=True, smep=True)),
        (P | NX, FETCH, Paging(PE | PG, 0x1000, PAE, LMA, user=False)),  # no NXE: the bit means nothing here
    ],
)
def test_what_is_allowed(leaf: int, access: Access, paging: Paging) -> None:
    assert walk(0, access, paging, _four_levels(leaf | 0x9000).entry).gpa == 0x9000


def test_three_levels_with_pae() -> None:
    paging = Paging(PE | PG | WP, 0x1020, PAE, NXE, user=False)
    tables = Tables({0x1028: 0x2000 | P, 0x2008: 0x3000 | P | W, 0x3010: 0x8000 | P | W | C_BIT})
    found = walk(0x4020_2000, WRITE, paging, tables.entry)
    assert (found.gpa, found.encrypted) == (0x8000, True)
    tables[0x2008] = 0x40_0000 | P | W | LARGE
    assert walk(0x4020_2000, WRITE, paging, tables.entry).gpa == 0x40_2000


def test_two_levels_have_no_room_for_the_bit() -> None:
    paging = Paging(PE | PG | WP, 0x1000, PSE, 0, user=True)
    tables = Tables({0x1004: 0x2000 | P | W | U, 0x2004: 0x9000 | P | U})
    found = walk(0x40_1000, READ, paging, tables.entry)
    assert (found.gpa, found.encrypted) == (0x9000, True)
    with pytest.raises(PageFault) as refused:
        walk(0x40_1000, WRITE, paging, tables.entry)
    assert refused.value.error == 7
    tables[0x1004] = 0x80_0000 | P | U | LARGE
    assert walk(0x40_1000, READ, paging, tables.entry).gpa == 0x80_1000


def test_without_paging_everything_is_encrypted() -> None:
    found = walk(0x5000, WRITE, Paging(PE, 0, 0, 0, user=False), Tables().entry)
    assert (found.gpa, found.encrypted) == (0x5000, True)


# A real-mode guest that makes tables, enters long mode by itself, and writes one page of each kind.
_TO_LONG_MODE = bytes.fromhex(
    "0f 01 16 00 05"  # lgdt [500h]
    "0f 20 e0  66 83 c8 20  0f 22 e0"  # cr4 |= PAE
    "66 b8 00 10 00 00  0f 22 d8"  # cr3 = 1000h
    "66 b9 80 00 00 c0  0f 32  66 0d 00 01 00 00  0f 30"  # efer |= LME
    "0f 20 c0  66 0d 01 00 00 80  0f 22 c0"  # cr0 |= PG | PE
    "ea 80 00 08 00"  # jmp 8:80h
)
# mov qword [6000h], … private · mov qword [7000h], … shared · hlt
_LONG_CODE = bytes.fromhex(
    "48 b8 50 52 49 56 41 54 45 21"  # "PRIVATE!"
    "48 a3 00 60 00 00 00 00 00 00"
    "48 b8 53 48 41 52 45 44 21 21"  # "SHARED!!"
    "48 a3 00 70 00 00 00 00 00 00"
    "f4"
)


def test_a_guest_enters_long_mode_by_itself_and_shares_what_it_chooses() -> None:
    page = bytearray(0x1000)
    page[: len(_TO_LONG_MODE)] = _TO_LONG_MODE
    page[0x80 : 0x80 + len(_LONG_CODE)] = _LONG_CODE
    page[0x500:0x506] = struct.pack("<HI", 15, 0x510)
    page[0x518:0x520] = struct.pack("<Q", 0x00AF_9B00_0000_FFFF)
    tables = bytearray(0x4000)
    for level in range(3):
        struct.pack_into("<Q", tables, 0x1000 * level, 0x2000 + 0x1000 * level | 3 | C_BIT)
    for number in range(16):
        struct.pack_into("<Q", tables, 0x3000 + 8 * number, number << 12 | 3 | (0 if number == 7 else C_BIT))
    contents = {0: bytes(page), 0x1000: bytes(tables), 0x6000: bytes(0x1000)}
    with Computer().guest(contents) as guest:
        state = guest.cpu.run()
        assert state.exit_reason == ExitReason.HLT
        assert guest.cpu.block.save["efer"] == 0x1500
        assert guest.raw(0x7000, 8) == b"SHARED!!"
        assert guest.raw(0x6000, 8) != b"PRIVATE!"
        assert guest.cpu.read(0x6000, 8) == b"PRIVATE!"


def _flat(area: SaveArea) -> SaveArea:
    """32-bit protected mode."""
    area["cr0"] = 0x11
    area.set_segment("cs", Segment(8, 0xC9B, 0xFFFF_FFFF, 0))
    for name in ("ds", "es", "ss"):
        area.set_segment(name, Segment(16, 0xC93, 0xFFFF_FFFF, 0))
    return area


@pytest.mark.parametrize("sev", [False, True])
def test_protected_mode(sev: bool) -> None:
    # mov esi, 2000h · mov edx, 3f8h · mov ecx, 48 · again: lodsb · out dx, al · loop again · hlt
    code = bytes.fromhex("be 00 20 00 00  ba f8 03 00 00  b9 30 00 00 00  ac  ee  e2 fc  f4")
    contents = {0: code, programs.SECRET_AT: programs.SECRET}
    with Computer().guest(contents, _flat(reset_area()), sev=sev) as guest:
        assert guest.printed() == programs.SECRET


def test_a_page_fault_reaches_the_guests_handler() -> None:
    """32-bit code with paging: the handler prints CR2's page and the error code, and the guest halts."""
    # 0: mov dword [5008h], 1 · hlt
    # 100h: pop eax · mov edx, 3f8h · out dx, al · mov eax, cr2 · out dx, eax · hlt
    contents = {0: bytes.fromhex("c7 05 08 50 00 00 01 00 00 00  f4").ljust(0x100, b"\0")}
    contents[0] += bytes.fromhex("58  ba f8 03 00 00  ee  0f 20 d0  ef  f4")
    descriptors = bytearray(0x1000)
    struct.pack_into("<QQ", descriptors, 8, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
    struct.pack_into("<HHBBH", descriptors, 0x800 + 8 * 14, 0x100, 8, 0, 0x8E, 0)
    tables = bytearray(0x2000)
    struct.pack_into("<I", tables, 0, 0x3000 | 3)
    for number in range(16):
        present = 0 if number == 5 else 3
        struct.pack_into("<I", tables, 0x1000 + 4 * number, number << 12 | present)
    contents |= {0x1000: bytes(descriptors), 0x2000: bytes(tables), 0x8000: bytes(0x1000)}
    area = _flat(reset_area())
    area["cr0"], area["cr3"], area["rsp"] = 0x8001_0011, 0x2000, 0x9000
    area.set_segment("gdtr", Segment(0, 0, 0x17, 0x1000))
    area.set_segment("idtr", Segment(0, 0, 0x7FF, 0x1800))
    with Computer().guest(contents, area) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.IO
        assert guest.cpu.exit_data() == b"\x02"  # a write, to a page that is not there
        assert guest.cpu.run().size == 4
        assert guest.cpu.exit_data() == (0x5008).to_bytes(4, "little")
        assert guest.cpu.run().exit_reason == ExitReason.HLT


def test_a_fault_in_a_faults_delivery_is_the_end() -> None:
    """No IDT at all: #UD, then #GP, then a double fault, then nothing is left."""
    area = _flat(reset_area())
    area.set_segment("idtr", Segment(0, 0, 0, 0))
    with Computer().guest({0: bytes.fromhex("0f 0b")}, area) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.SHUTDOWN
