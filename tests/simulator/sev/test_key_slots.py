"""Key slots: ranges, who has one, flushes before reuse; and the firmware's commands about them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulator.bench import Bench as SnpBench
from tests.simulator.bench import configuration
from tests.simulator.sev.bench import ES, POLICY, Bench
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.status import Refused

KEY = MemoryKey()


def refusal(slots: KeySlots, asid: int, *, es: bool = False) -> SevStatus:
    with pytest.raises(Refused) as refused:
        slots.activate(asid, KEY, es=es)
    return refused.value.status


def reserved(slots: KeySlots, *, es: bool) -> list[int]:
    """All that can be had."""
    found: list[int] = []

    def reserve_for_ever() -> None:
        while True:
            found.append(slots.reserve(es=es))

    with pytest.raises(Refused, match="RESOURCE_LIMIT"):
        reserve_for_ever()
    return found


def test_ranges_are_a_bios_setting() -> None:
    slots = KeySlots(15, 8)
    assert reserved(slots, es=True) == list(range(1, 8))
    assert reserved(slots, es=False) == list(range(8, 16))
    assert reserved(KeySlots(3), es=True) == [1, 2, 3]
    assert reserved(KeySlots(3), es=False) == []
    assert reserved(KeySlots(3, 1), es=True) == []
    for count, first in ((0, None), (3, 0), (3, 5)):
        with pytest.raises(ValueError, match="min_sev_asid"):
            KeySlots(count, first)


@pytest.mark.parametrize(
    ("asid", "es"), [(0, False), (0, True), (16, False), (7, False), (8, True), (1 << 31, True)]
)
def test_an_asid_of_no_or_the_wrong_range_is_invalid(asid: int, es: bool) -> None:
    assert refusal(KeySlots(15, 8), asid, es=es) is SevStatus.INVALID_ASID


def test_a_slot_has_one_key_until_it_is_deactivated_and_flushed() -> None:
    slots = KeySlots(15, 8)
    slots.activate(9, KEY, es=False)
    assert slots.key(9) is KEY
    assert slots.key(10) is None
    assert refusal(slots, 9) is SevStatus.ASID_OWNED
    slots.deactivate(9)
    assert slots.key(9) is None
    assert refusal(slots, 9) is SevStatus.DFFLUSH_REQUIRED
    with pytest.raises(Refused) as refused:
        slots.df_flush()
    assert refused.value.status is SevStatus.WBINVD_REQUIRED
    assert refusal(slots, 9) is SevStatus.DFFLUSH_REQUIRED
    slots.wbinvd()
    assert refusal(slots, 9) is SevStatus.DFFLUSH_REQUIRED
    slots.df_flush()
    slots.activate(9, KEY, es=False)
    slots.df_flush()  # nothing was deactivated since
    assert slots.key(9) is KEY


def test_a_deactivation_after_the_flush_of_the_cores_needs_another() -> None:
    slots = KeySlots(15, 8)
    for asid in (8, 9):
        slots.activate(asid, KEY, es=False)
    slots.deactivate(8)
    slots.wbinvd()
    slots.deactivate(9)
    with pytest.raises(Refused):
        slots.df_flush()


def test_the_kernel_hands_out_fresh_asids_first_and_flushes_when_there_are_none() -> None:
    slots = KeySlots(5, 4)
    seen = []
    for _ in range(3):
        asid = slots.take(KEY, es=True)
        seen.append(asid)
        slots.release(asid)
        assert refusal(slots, asid, es=True) is SevStatus.DFFLUSH_REQUIRED
    assert seen == [1, 2, 3]
    assert slots.take(KEY, es=True) == 1
    slots.activate(2, KEY, es=True)  # flushed along with it
    assert reserved(slots, es=True) == [3]  # 2 was activated behind the kernel's back
    assert reserved(slots, es=False) == [4, 5]


def test_many_threads_never_share_a_slot() -> None:
    slots = KeySlots(509, 410)

    def churn(_: int) -> None:
        for _ in range(200):
            key = MemoryKey()
            asid = slots.take(key, es=True)
            assert slots.key(asid) is key
            slots.release(asid)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(churn, range(8)))
    assert len(reserved(slots, es=True)) == 409


# ACTIVATE, DEACTIVATE, DF_FLUSH, DECOMMISSION


def test_activate_checks_in_the_specifications_order() -> None:
    bench = Bench()
    handle, other = bench.started(), bench.started()
    assert bench.refused(Command.ACTIVATE, handle=99, asid=0) is SevStatus.INVALID_GUEST
    for asid in (0, 1, 7, 16, 0xFFFF_FFFF):
        assert bench.refused(Command.ACTIVATE, handle=handle, asid=asid) is SevStatus.INVALID_ASID
    bench.ok(Command.ACTIVATE, handle=handle, asid=8)
    assert bench.refused(Command.ACTIVATE, handle=other, asid=8) is SevStatus.ASID_OWNED
    assert bench.refused(Command.ACTIVATE, handle=handle, asid=8) is SevStatus.ASID_OWNED
    assert bench.refused(Command.ACTIVATE, handle=handle, asid=9) is SevStatus.ACTIVE
    status = bench.ok(Command.GUEST_STATUS, handle=handle)
    assert (status.policy, status.asid) == (POLICY, 8)
    assert bench.slots.key(8) is bench.guest(handle).memory_key


def test_an_es_guests_slot_is_of_the_lower_range() -> None:
    bench = Bench()
    handle = bench.started(POLICY | ES)
    assert bench.refused(Command.ACTIVATE, handle=handle, asid=8) is SevStatus.INVALID_ASID
    bench.ok(Command.ACTIVATE, handle=handle, asid=7)


def test_an_asid_is_not_reused_without_a_flush() -> None:
    bench = Bench()
    first, second = bench.started(), bench.started()
    assert bench.refused(Command.DEACTIVATE, handle=first) is SevStatus.INACTIVE
    bench.ok(Command.ACTIVATE, handle=first, asid=8)
    assert bench.refused(Command.DECOMMISSION, handle=first) is SevStatus.ACTIVE
    bench.ok(Command.DEACTIVATE, handle=first)
    assert bench.slots.key(8) is None
    assert bench.refused(Command.ACTIVATE, handle=second, asid=8) is SevStatus.DFFLUSH_REQUIRED
    assert bench.refused(Command.DF_FLUSH) is SevStatus.WBINVD_REQUIRED
    bench.slots.wbinvd()
    bench.ok(Command.DF_FLUSH)
    bench.ok(Command.ACTIVATE, handle=second, asid=8)
    bench.ok(Command.DECOMMISSION, handle=first)
    assert bench.refused(Command.DEACTIVATE, handle=first) is SevStatus.INVALID_GUEST


def test_guest_contexts_are_as_many_as_slots() -> None:
    bench = Bench(slots=KeySlots(3, 1))
    handles = [bench.started() for _ in range(3)]
    assert bench.refused(Command.LAUNCH_START, policy=POLICY) is SevStatus.RESOURCE_LIMIT
    bench.ok(Command.DECOMMISSION, handle=handles[1])
    again = bench.started()
    assert again not in handles  # a dead guest's handle names nobody


def test_snp_guests_and_sev_guests_share_one_table() -> None:
    processor = SnpBench(configuration(slots=3, min_sev_asid=3)).processor
    assert processor.sev._context.slots is processor.slots
    slots = processor.slots
    guests = [processor.gctx_create(_NoMemory()) for _ in range(3)]
    for guest in guests[:2]:
        processor.launch_start(guest, 0x3_0000, bytes(16))
    with pytest.raises(Refused) as refused:
        processor.launch_start(guests[2], 0x3_0000, bytes(16))
    assert refused.value.status is SevStatus.RESOURCE_LIMIT
    assert slots.key(guests[0].asid) is guests[0].memory_key
    assert slots.reserve(es=False) == 3
    processor.decommission(guests[0])
    processor.launch_start(guests[2], 0x3_0000, bytes(16))
    assert guests[2].asid == 1


class _NoMemory:
    size = 0

    def read(self, gpa: int, size: int) -> bytes:
        raise NotImplementedError

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        raise NotImplementedError

    def zero(self, gpa: int, size: int) -> None:
        raise NotImplementedError

    def is_shared(self, gpa: int, size: int) -> bool:
        return False
