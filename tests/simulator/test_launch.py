"""The launch: states, page types, digest, policy and slots, each misuse with the specification's status."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.bench import CODE, MEMORY, POLICY, SECRETS, VMSA, WINDOW, Bench, configuration
from wasmkeep.evidence.snp.measurement import LaunchDigest, PageType
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.kvm_snp import SnpPageType
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.snp_messages import SecretsPage
from wasmkeep.simulator.guest import GuestContext
from wasmkeep.simulator.launch_digest import LaunchDigests
from wasmkeep.simulator.states import SNP_GUEST_COMMANDS, GuestState, next_state
from wasmkeep.simulator.status import Refused

NORMAL, ZERO, UNMEASURED = SnpPageType.NORMAL, SnpPageType.ZERO, SnpPageType.UNMEASURED


def refusal(action: Callable[..., object], *arguments: object) -> SevStatus:
    with pytest.raises(Refused) as refused:
        action(*arguments)
    return refused.value.status


def test_the_table_is_the_specifications() -> None:
    legal = {(command.name, state.name): after.name for (command, state), after in SNP_GUEST_COMMANDS.items()}
    assert legal == {
        ("SNP_LAUNCH_START", "INIT"): "LAUNCH",
        ("SNP_LAUNCH_UPDATE", "LAUNCH"): "LAUNCH",
        ("SNP_LAUNCH_FINISH", "LAUNCH"): "RUNNING",
        ("SNP_GUEST_REQUEST", "RUNNING"): "RUNNING",
        **{("SNP_GUEST_STATUS", state.name): state.name for state in GuestState},
    }


COMMANDS: dict[FirmwareCommand, Callable[[Bench, GuestContext], object]] = {
    FirmwareCommand.SNP_LAUNCH_START: lambda b, g: b.processor.launch_start(g, POLICY, bytes(16)),
    FirmwareCommand.SNP_LAUNCH_UPDATE: lambda b, g: b.processor.launch_update(g, ZERO, 0x5000, PAGE, b""),
    FirmwareCommand.SNP_LAUNCH_FINISH: lambda b, g: b.finish(g),
    FirmwareCommand.SNP_GUEST_REQUEST: lambda b, g: b.processor.guest_request(g, WINDOW, WINDOW + PAGE),
}
REACHED: dict[GuestState, Callable[[Bench], GuestContext]] = {
    GuestState.INIT: Bench.created,
    GuestState.LAUNCH: Bench.updated,
    GuestState.RUNNING: Bench.running,
}


@pytest.mark.parametrize("state", GuestState, ids=lambda state: state.name)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_out_of_order_is_refused_and_changes_nothing(
    command: FirmwareCommand, state: GuestState
) -> None:
    bench = Bench()
    guest = REACHED[state](bench)
    before = (guest.state, guest.launch_digest, set(guest.assigned), guest.asid)
    if (command, state) in SNP_GUEST_COMMANDS:
        assert next_state(command, state) is SNP_GUEST_COMMANDS[command, state]
        return
    assert refusal(lambda: COMMANDS[command](bench, guest)) is SevStatus.INVALID_GUEST_STATE
    assert before == (guest.state, guest.launch_digest, set(guest.assigned), guest.asid)


BAD_UPDATES: dict[str, tuple[tuple[int, int, int, bytes], SevStatus]] = {
    "unknown page type": ((7, CODE, PAGE, b""), SevStatus.INVALID_PARAM),
    "page type 0": ((0, CODE, PAGE, b""), SevStatus.INVALID_PARAM),
    "VMSA by this way": ((SnpPageType.VMSA, CODE, PAGE, VMSA), SevStatus.INVALID_PARAM),
    "address inside a page": ((ZERO, CODE + 1, PAGE, b""), SevStatus.INVALID_ADDRESS),
    "length of half a page": ((ZERO, CODE, PAGE // 2, b""), SevStatus.INVALID_LENGTH),
    "no length": ((ZERO, CODE, 0, b""), SevStatus.INVALID_LENGTH),
    "past the end of memory": ((ZERO, MEMORY - PAGE, 2 * PAGE, b""), SevStatus.INVALID_ADDRESS),
    "beyond memory": ((ZERO, 1 << 48, PAGE, b""), SevStatus.INVALID_ADDRESS),
    "negative address": ((ZERO, -PAGE, PAGE, b""), SevStatus.INVALID_ADDRESS),
    "shared memory": ((ZERO, WINDOW, PAGE, b""), SevStatus.INVALID_PAGE_STATE),
    "into shared memory": ((ZERO, WINDOW - PAGE, 2 * PAGE, b""), SevStatus.INVALID_PAGE_STATE),
    "too little data": ((NORMAL, CODE, PAGE, b"x"), SevStatus.INVALID_LENGTH),
    "data with a zero page": ((ZERO, CODE, PAGE, bytes(PAGE)), SevStatus.INVALID_LENGTH),
    "two secrets pages": ((SnpPageType.SECRETS, CODE, 2 * PAGE, b""), SevStatus.INVALID_LENGTH),
}


@pytest.mark.parametrize("name", BAD_UPDATES)
def test_a_page_that_cannot_be_launched_is_refused_and_not_measured(name: str) -> None:
    arguments, status = BAD_UPDATES[name]
    bench = Bench()
    guest = bench.started()
    assert refusal(lambda: bench.processor.launch_update(guest, *arguments)) is status
    assert guest.launch_digest == bytes(48)
    assert not guest.assigned


def test_a_page_is_launched_once() -> None:
    bench = Bench()
    guest = bench.started()
    bench.processor.launch_update(guest, ZERO, CODE, 4 * PAGE, b"")
    digest = guest.launch_digest
    again = [(ZERO, CODE, PAGE, b""), (NORMAL, CODE + 3 * PAGE, 2 * PAGE, bytes(2 * PAGE))]
    for arguments in again:
        status = refusal(bench.processor.launch_update, guest, *arguments)
        assert status is SevStatus.INVALID_PAGE_STATE
    assert guest.launch_digest == digest


def test_a_cpuid_page_is_accepted_when_well_formed_and_else_corrected() -> None:
    bench = Bench()
    entry = bytes(40) + bytes(8)
    good = ((1).to_bytes(4, "little") + bytes(12) + entry).ljust(PAGE, b"\0")
    guest = bench.started()
    bench.processor.launch_update(guest, SnpPageType.CPUID, CODE, PAGE, good)
    assert guest.memory.read(CODE, PAGE) == good
    for position in (4, 15, 16 + 47, 100):
        bad = bytearray(good)
        bad[position] = 1
        spoilt = bytes(bad)
        fresh = bench.started()
        status = refusal(bench.processor.launch_update, fresh, SnpPageType.CPUID, CODE, PAGE, spoilt)
        assert status is SevStatus.INVALID_PARAM
        assert bench.processor.correct_cpuid(spoilt) == good
    assert bench.processor.correct_cpuid(b"\xff" * PAGE)[:4] == (64).to_bytes(4, "little")


REGIONS = st.lists(
    st.tuples(
        st.sampled_from([NORMAL, ZERO, UNMEASURED]),
        st.integers(0, 40),
        st.integers(1, 4),
        st.binary(max_size=3),
    ),
    max_size=6,
    unique_by=lambda region: region[1],
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(REGIONS)
def test_the_digest_is_what_a_verifier_computes(regions: list[tuple[SnpPageType, int, int, bytes]]) -> None:
    bench, expected = Bench(), LaunchDigest()
    guest = bench.started()
    for kind, number, count, seed in regions:
        gpa, size = number * 4 * PAGE, count * PAGE
        data = hashlib.shake_128(seed).digest(size) if kind is not ZERO else b""
        bench.processor.launch_update(guest, kind, gpa, size, data)
        expected.update(PageType(kind), gpa, data or None, size)
    bench.processor.launch_update(guest, SnpPageType.SECRETS, 0x7F_0000, PAGE, b"")
    bench.processor.launch_vmsa(guest, VMSA)
    expected.update(PageType.SECRETS, 0x7F_0000, None, PAGE)
    expected.update(PageType.VMSA, 0, VMSA)
    assert guest.launch_digest == expected.finish()


def test_remembered_digests_change_nothing() -> None:
    """The second of two equal launches is from memory; one byte elsewhere is not."""
    digests, plain = LaunchDigests(limit=64 * PAGE), LaunchDigest()
    data = bytes(range(256)) * 32
    plain.update(PageType.NORMAL, CODE, data)
    for _ in range(2):
        assert digests.extend_region(bytes(48), NORMAL, CODE, len(data), data) == plain.finish()
    other = data[:-1] + b"\0"
    different = LaunchDigest()
    different.update(PageType.NORMAL, CODE, other)
    assert digests.extend_region(bytes(48), NORMAL, CODE, len(other), other) == different.finish()
    assert digests.extend_region(bytes(48), NORMAL, CODE, len(data), data) == plain.finish()


def test_what_is_remembered_is_bounded() -> None:
    digests = LaunchDigests(limit=40 * PAGE)
    for number in range(200):
        data = number.to_bytes(4, "little") * PAGE
        digests.extend_region(bytes(48), NORMAL, number * len(data), len(data), data)
    assert sum(len(known.data) for known in digests._known.values()) <= 40 * PAGE
    huge = bytes(20 * PAGE)
    digests.extend_region(bytes(48), NORMAL, 0, len(huge), huge)
    assert huge not in [known.data for known in digests._known.values()]


def test_the_secrets_page_is_the_firmwares_and_no_guests_keys_are_anothers() -> None:
    bench = Bench()
    pages = []
    for _ in range(2):
        guest = bench.updated()
        page = SecretsPage.parse(guest.memory.read(SECRETS, PAGE))
        assert page.vmpck == guest.vmpck
        assert page.fms == 0x00A1_0F11  # Genoa, stepping 1
        pages.append(page)
    keys = {key for page in pages for key in page.vmpck}
    assert len(keys) == 8


BAD_POLICIES = {
    "bit 17 clear": POLICY & ~(1 << 17),
    "SMT is on and not allowed": POLICY & ~(1 << 16),
    "newer ABI minor": POLICY | 1 << 8 | 56,
    "newer ABI major": POLICY | 2 << 8,
    "reserved bit 26": POLICY | 1 << 26,
    "reserved bit 63": POLICY | 1 << 63,
    "RAPL must be disabled": POLICY | 1 << 23,
    "ciphertext hiding": POLICY | 1 << 24,
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_policy_this_platform_cannot_keep_is_refused(name: str) -> None:
    bench = Bench()
    guest = bench.created()
    status = refusal(lambda: bench.processor.launch_start(guest, BAD_POLICIES[name], bytes(16)))
    assert status is SevStatus.POLICY_FAILURE
    assert guest.state is GuestState.INIT
    assert bench.processor.snp_platform_status()[12] == 0


@pytest.mark.parametrize(
    ("policy", "platform_info"),
    [
        (POLICY | 55 | 1 << 8, 0x25),
        (POLICY | 1 << 19, 0x25),
        (POLICY | 1 << 22, 0x25),
        (POLICY & ~(1 << 16), 0x24),
        (POLICY | 1 << 23, 0x2D),
        (POLICY | 1 << 24, 0x35),
    ],
)
def test_a_policy_this_platform_keeps_is_accepted(policy: int, platform_info: int) -> None:
    bench = Bench(configuration(platform_info=platform_info))
    assert bench.running(policy).policy == policy


def test_policy_bits_come_with_the_firmware() -> None:
    for version, bit, known in ((2, 21, False), (3, 21, True), (3, 25, False), (5, 25, True)):
        bench = Bench(configuration(report_version=version))
        if known:
            bench.started(POLICY | 1 << bit)
        else:
            policy = POLICY | 1 << bit
            assert refusal(bench.started, policy) is SevStatus.POLICY_FAILURE


def test_slots_are_limited_and_come_back() -> None:
    bench = Bench(configuration(slots=3))
    guests = [bench.started() for _ in range(3)]
    assert sorted(guest.asid for guest in guests) == [1, 2, 3]
    assert bench.processor.snp_platform_status()[12] == 3
    assert refusal(bench.started) is SevStatus.RESOURCE_LIMIT
    bench.processor.decommission(guests[1])
    bench.processor.decommission(guests[1])  # twice is once
    assert bench.started().asid == 2
    assert refusal(bench.started) is SevStatus.RESOURCE_LIMIT
    for guest in (guests[0], guests[2]):
        bench.processor.decommission(guest)
    assert bench.processor.snp_platform_status()[12] == 1


def test_a_slot_is_reused_only_after_a_flush() -> None:
    """As long as clean slots are left, none that was used comes back."""
    bench = Bench(configuration(slots=3))
    seen = []
    for _ in range(3):
        guest = bench.started()
        seen.append(guest.asid)
        bench.processor.decommission(guest)
    assert seen == [1, 2, 3]
    assert bench.started().asid == 1


def test_memory_keys_differ_by_guest_and_address() -> None:
    bench = Bench()
    page = bytes(PAGE)
    first, second = bench.started(), bench.started()
    seen = {key.encrypt_page(gpa, page) for key in (first.memory_key, second.memory_key) for gpa in (0, PAGE)}
    assert len(seen) == 4
    assert page not in seen
    assert first.memory_key.encrypt_page(0, page) == first.memory_key.encrypt_page(0, page)
    blocks = {bytes(first.memory_key.encrypt_page(0, page)[at : at + 16]) for at in range(0, PAGE, 16)}
    assert len(blocks) == PAGE // 16


def test_a_guest_that_asks_for_aes_256_gets_a_longer_key() -> None:
    bench = Bench()
    assert len(bench.started().memory_key._key) == 32
    assert len(bench.started(POLICY | 1 << 22).memory_key._key) == 64
