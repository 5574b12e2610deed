"""The guest message channel: reports and keys for who asks properly, a status for every misuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.simulator.bench import (
    MEMORY,
    REQUEST,
    RESPONSE,
    SECRETS,
    WINDOW,
    Bench,
    Channel,
    configuration,
)
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.snp_messages import (
    KeyRequest,
    KeyResponse,
    MessageStatus,
    MessageType,
    ReportRequest,
)
from wasmkeep.simulator.status import Refused

REPORT = MessageType.REPORT_REQ
ASK = ReportRequest(bytes(range(64))).encode()


def channel(bench: Bench | None = None, vmpck: int = 0, **changes: object) -> Channel:
    bench = bench or Bench()
    return Channel(bench, bench.running(**changes), vmpck)  # type: ignore[arg-type]


def refusal(asking: Channel, page: bytes) -> SevStatus:
    before = asking.guest.memory.read(RESPONSE, PAGE)
    with pytest.raises(Refused) as refused:
        asking.send(page)
    assert asking.guest.memory.read(RESPONSE, PAGE) == before
    return refused.value.status


def signature_holds(report: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    r, s = (int.from_bytes(report[at : at + 72], "little") for at in (0x2A0, 0x2A0 + 72))
    try:
        key.verify(encode_dss_signature(r, s), report[:0x2A0], ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(
    ("product", "version"), [("milan", 2), ("milan", 3), ("genoa", 3), ("genoa", 5), ("turin", 5)]
)
def test_a_report_says_what_was_launched_and_is_signed_by_this_chip(product: str, version: int) -> None:
    bench = Bench(configuration(product, version))
    asking = channel(bench)
    raw = asking.report(bytes(range(64))).report
    parsed = verifier.parse(raw)
    guest, facts = asking.guest, bench.settings
    assert parsed.version == version
    assert parsed.report_data == bytes(range(64))
    assert parsed.measurement == guest.launch_digest
    assert parsed.host_data == b"\x11" * 32
    assert parsed.policy == guest.policy
    assert parsed.chip_id == bench.chip.chip_id
    assert raw[0x180:0x188] == facts.reported_tcb.to_bytes(8, "little")
    assert raw[0x1E8:0x1EB] == bytes((facts.firmware.build, facts.firmware.minor, facts.firmware.major))
    cpuid = bytes((facts.product.family, facts.product.model, facts.product.stepping))
    assert raw[0x188:0x18B] == (cpuid if version >= 3 else bytes(3))
    assert any(raw[0x1F8:0x208]) is (version == 5)
    assert raw[0x160:0x180] == b"\xff" * 32
    public = bench.chip.vcek(facts.reported_tcb).public_key()
    assert signature_holds(raw, public)
    assert not signature_holds(raw[:0x50] + b"\xff" + raw[0x51:], public)
    assert not signature_holds(raw, bench.chip.vcek(facts.reported_tcb - 1).public_key())


def test_each_launch_has_its_own_report_id_and_each_channel_counts_for_itself() -> None:
    bench = Bench()
    guest = bench.running()
    reports = [Channel(bench, guest, vmpck).report(vmpl=3).report for vmpck in range(4)]
    assert len({raw[0x140:0x160] for raw in reports}) == 1
    other = channel(bench).report().report
    assert other[0x140:0x160] != reports[0][0x140:0x160]
    assert guest.message_count == [2, 2, 2, 2]


SPOILT_HEADERS: dict[str, tuple[dict[str, int], SevStatus]] = {
    "unknown algorithm": ({"algo": 2}, SevStatus.INVALID_PARAM),
    "unknown header version": ({"header_version": 2}, SevStatus.INVALID_PARAM),
    "another header size": ({"header_size": 0x40}, SevStatus.INVALID_PARAM),
    "fifth key": ({"vmpck": 4}, SevStatus.INVALID_PARAM),
    "no payload": ({"size": 0}, SevStatus.INVALID_LENGTH),
    "payload past the page": ({"size": 4001}, SevStatus.INVALID_LENGTH),
    "sequence number 0": ({"seqno": 0}, SevStatus.AEAD_OFLOW),
    "sequence number skipped": ({"seqno": 3}, SevStatus.AEAD_OFLOW),
    "sequence number of an answer": ({"seqno": 2}, SevStatus.AEAD_OFLOW),
    "sequence number at the end": ({"seqno": (1 << 64) - 1}, SevStatus.AEAD_OFLOW),
    "another level's key number": ({"vmpck": 1}, SevStatus.BAD_MEASUREMENT),
}


@pytest.mark.parametrize("name", SPOILT_HEADERS)
def test_a_spoilt_header_is_refused_and_costs_no_number(name: str) -> None:
    fields, status = SPOILT_HEADERS[name]
    asking = channel()
    assert refusal(asking, asking.seal(REPORT, ASK, **fields)) is status
    assert asking.guest.message_count == [0, 0, 0, 0]
    assert asking.report().status == MessageStatus.SUCCESS


@pytest.mark.parametrize("position", [0x00, 0x0F, 0x34, 0x36, 0x60, 0x60 + 95])
def test_a_flipped_bit_is_refused(position: int) -> None:
    asking = channel()
    page = bytearray(asking.seal(REPORT, ASK))
    page[position] ^= 1
    assert refusal(asking, bytes(page)) is SevStatus.BAD_MEASUREMENT


@pytest.mark.parametrize("position", [0x10, 0x28, 0x38, 0x3D, 0x5F])
def test_a_reserved_byte_is_refused(position: int) -> None:
    asking = channel()
    page = bytearray(asking.seal(REPORT, ASK))
    page[position] = 1
    assert refusal(asking, bytes(page)) is SevStatus.INVALID_PARAM


def test_a_repeated_message_is_refused_however_it_is_repeated() -> None:
    asking = channel()
    page = asking.seal(REPORT, ASK)
    asking.send(page)
    assert refusal(asking, page) is SevStatus.AEAD_OFLOW
    other = asking.seal(REPORT, ReportRequest(b"\1" * 64).encode())  # same number, another payload
    assert refusal(asking, other) is SevStatus.AEAD_OFLOW


def test_an_answer_is_not_a_question() -> None:
    asking = channel()
    answer = asking.send(asking.seal(REPORT, ASK))
    assert refusal(asking, answer) is SevStatus.AEAD_OFLOW


def test_another_guests_message_is_refused() -> None:
    bench = Bench()
    first, second = channel(bench), channel(bench)
    assert refusal(second, first.seal(REPORT, ASK)) is SevStatus.BAD_MEASUREMENT
    with pytest.raises(InvalidTag):
        second.open(first.send(first.seal(REPORT, ASK)))


@pytest.mark.parametrize(
    "kind", [kind for kind in MessageType if kind not in (3, 5, 17)], ids=lambda kind: kind.name
)
def test_a_message_this_firmware_does_not_serve_is_refused_and_its_number_is_spent(kind: MessageType) -> None:
    asking = channel()
    assert refusal(asking, asking.seal(kind, ASK)) is SevStatus.INVALID_PARAM
    assert refusal(asking, asking.seal(REPORT, ASK)) is SevStatus.AEAD_OFLOW
    asking.count += 2
    assert asking.report().status == MessageStatus.SUCCESS


@pytest.mark.parametrize(
    ("kind", "size"), [(REPORT, 95), (REPORT, 97), (MessageType.KEY_REQ, 31), (MessageType.TSC_INFO_REQ, 127)]
)
def test_a_payload_of_another_size_is_refused(kind: MessageType, size: int) -> None:
    asking = channel()
    assert refusal(asking, asking.seal(kind, bytes(size))) is SevStatus.INVALID_PARAM


def test_another_message_version_is_refused() -> None:
    asking = channel()
    assert refusal(asking, asking.seal(REPORT, ASK, version=2)) is SevStatus.INVALID_PARAM


PLACES: dict[str, tuple[int, int, SevStatus]] = {
    "request inside a page": (REQUEST + 1, RESPONSE, SevStatus.INVALID_ADDRESS),
    "response inside a page": (REQUEST, RESPONSE + 8, SevStatus.INVALID_ADDRESS),
    "one page for both": (REQUEST, REQUEST, SevStatus.INVALID_ADDRESS),
    "request beyond memory": (MEMORY, RESPONSE, SevStatus.INVALID_ADDRESS),
    "response far beyond": (REQUEST, 1 << 60, SevStatus.INVALID_ADDRESS),
    "request in private memory": (SECRETS, RESPONSE, SevStatus.INVALID_PAGE_STATE),
    "response into private memory": (REQUEST, SECRETS, SevStatus.INVALID_PAGE_STATE),
    "response below the window": (REQUEST, WINDOW - PAGE, SevStatus.INVALID_PAGE_STATE),
}


@pytest.mark.parametrize("name", PLACES)
def test_messages_lie_in_shared_memory(name: str) -> None:
    request, response, status = PLACES[name]
    asking = channel()
    asking.guest.memory.write(REQUEST, asking.seal(REPORT, ASK))
    with pytest.raises(Refused) as refused:
        asking.bench.processor.guest_request(asking.guest, request, response)
    assert refused.value.status is status
    assert asking.guest.message_count[0] == 0


BAD_REPORTS: dict[str, tuple[int, dict[str, int], MessageStatus]] = {
    "a stronger level than the sender's": (1, {"vmpl": 0}, MessageStatus.INVALID_PARAM),
    "level 4": (0, {"vmpl": 4}, MessageStatus.INVALID_PARAM),
    "the VLEK, which is not loaded": (0, {"key_select": 2}, MessageStatus.INVALID_KEY),
    "key selection 3": (0, {"key_select": 3}, MessageStatus.INVALID_PARAM),
    "a reserved bit": (0, {"key_select": 4}, MessageStatus.INVALID_PARAM),
}


@pytest.mark.parametrize("name", BAD_REPORTS)
def test_a_report_that_may_not_be_had_is_a_sealed_status(name: str) -> None:
    vmpck, fields, status = BAD_REPORTS[name]
    asking = channel(vmpck=vmpck)
    answer = asking.report(**fields)  # type: ignore[arg-type]
    assert (answer.status, answer.report) == (status, b"")
    assert asking.report(vmpl=vmpck).status == MessageStatus.SUCCESS


def test_a_weaker_level_may_be_asked_for() -> None:
    raw = channel(vmpck=1).report(vmpl=3).report
    assert raw[0x30:0x34] == (3).to_bytes(4, "little")


def test_a_guest_launched_without_vcek_gets_no_report() -> None:
    asking = channel(vcek_disabled=True)
    assert asking.report().status == MessageStatus.INVALID_KEY
    assert asking.report(key_select=1).status == MessageStatus.INVALID_KEY


def test_a_masked_chip_key_leaves_reports_unsigned_and_says_so() -> None:
    raw = channel(Bench(configuration(mask_chip_key=True))).report().report
    assert int.from_bytes(raw[0x48:0x4C], "little") == 1 << 1 | 7 << 2
    assert not any(raw[0x2A0:])


def test_a_masked_chip_id_leaves_zeros() -> None:
    bench = Bench(configuration(mask_chip_id=True))
    raw = channel(bench).report().report
    assert raw[0x1A0:0x1E0] == bytes(64)
    assert signature_holds(raw, bench.chip.vcek(bench.settings.reported_tcb).public_key())


def test_reports_follow_the_configuration() -> None:
    """SNP_CONFIG: an older reported TCB has another key, published with it."""
    bench = Bench()
    asking = channel(bench)
    older = bench.settings.committed_tcb - (1 << 48)  # one SNP level down
    from wasmkeep.hardware.psp_sev import SevUserDataSnpConfig

    bench.processor.snp_config(SevUserDataSnpConfig(reported_tcb=older))
    raw = asking.report().report
    assert raw[0x180:0x188] == older.to_bytes(8, "little")
    assert raw[0x038:0x040] == bench.settings.current_tcb.to_bytes(8, "little")
    assert signature_holds(raw, bench.chip.vcek(older).public_key())
    assert bench.endorsed[-1] == older


def test_secure_tsc_is_not_there_and_says_so() -> None:
    answer = channel().ask(MessageType.TSC_INFO_REQ, bytes(128))
    assert len(answer) == 128
    assert int.from_bytes(answer[:4], "little") == MessageStatus.INVALID_PARAM


def key(asking: Channel, **fields: int) -> KeyResponse:
    request = KeyRequest(vmpl=asking.vmpck)
    answer = asking.ask(MessageType.KEY_REQ, dataclasses.replace(request, **fields).encode())
    return KeyResponse.parse(answer)


def derived(bench: Bench, **fields: int) -> bytes:
    answer = key(channel(bench), **fields)
    assert answer.status == MessageStatus.SUCCESS
    return answer.key


def test_a_derived_key_is_the_same_for_the_same_guest_on_the_same_chip_only() -> None:
    bench = Bench()
    assert derived(bench) == derived(bench) == derived(Bench())
    assert derived(bench) != derived(Bench(secret=bytes(32)))
    assert key(channel(bench, host_data=b"\x22" * 32)).key != derived(bench)


def test_every_field_chosen_makes_another_key() -> None:
    bench = Bench()
    keys = [derived(bench, field_select=1 << bit) for bit in range(6)]
    keys += [derived(bench), derived(bench, vmpl=1), derived(bench, field_select=0x20, tcb_version=1)]
    assert len(set(keys)) == len(keys)
    assert bytes(32) not in keys


def test_a_key_from_the_launchs_own_root_dies_with_it() -> None:
    bench = Bench()
    first = channel(bench)
    assert key(first, root_key=1).key == key(first, root_key=1).key
    assert key(first, root_key=1).key != derived(bench, root_key=1)
    assert key(channel(bench, vcek_disabled=True), root_key=1).status == MessageStatus.SUCCESS


BAD_KEYS: dict[str, tuple[dict[str, int], MessageStatus]] = {
    "the VLEK": ({"key_select": 2}, MessageStatus.INVALID_KEY),
    "key selection 3": ({"key_select": 3}, MessageStatus.INVALID_PARAM),
    "level 4": ({"vmpl": 4}, MessageStatus.INVALID_PARAM),
    "an unknown field": ({"field_select": 1 << 6}, MessageStatus.INVALID_PARAM),
    "a higher guest SVN than the ID block's": ({"guest_svn": 1}, MessageStatus.INVALID_PARAM),
    "a TCB above the committed": ({"tcb_version": 0xFF}, MessageStatus.INVALID_PARAM),
    "a TCB with reserved bytes": ({"tcb_version": 1 << 16}, MessageStatus.INVALID_PARAM),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_may_not_be_had_is_a_sealed_status(name: str) -> None:
    fields, status = BAD_KEYS[name]
    answer = key(channel(), **fields)
    assert (answer.status, answer.key) == (status, bytes(32))


@pytest.mark.parametrize("spoil", [lambda d: d[:3] + b"\x80" + d[4:], lambda d: d[:4] + b"\1" + d[5:]])
def test_reserved_bits_of_a_key_request_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    answer = channel().ask(MessageType.KEY_REQ, spoil(KeyRequest().encode()))
    assert KeyResponse.parse(answer).status == MessageStatus.INVALID_PARAM


def test_a_sender_cannot_have_a_stronger_levels_key() -> None:
    asking = channel(vmpck=2)
    assert key(asking, vmpl=1).status == MessageStatus.INVALID_PARAM
    assert key(asking, vmpl=2).status == MessageStatus.SUCCESS


def test_secrets_of_a_guest_are_in_no_representation() -> None:
    guest = channel().guest
    text = repr(guest)
    assert all(
        secret.hex() not in text and repr(secret) not in text for secret in (*guest.vmpck, guest.root_key)
    )
