"""Reports parse strictly and re-encode to the same bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence import forge as make
from tests.evidence.soak import SETTINGS
from wasmkeep.evidence import Kind, Rejected
from wasmkeep.evidence.snp.explain import explain
from wasmkeep.evidence.snp.report import REPORT_SIZE, VERSIONS, Report, parse
from wasmkeep.evidence.snp.tcb import Tcb

U8, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 32, 64))


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Any report that can be encoded."""
    base = make.report()
    values: dict[str, object] = {}
    for name, present in base._asdict().items():
        if isinstance(present, bytes):
            values[name] = draw(st.binary(min_size=len(present), max_size=len(present)))
    for name in ("guest_svn", "vmpl", "signature_algo"):
        values[name] = draw(U32)
    for name in ("policy", "platform_info", "current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        values[name] = draw(U64)
    for name in ("build", "minor", "major"):
        values[f"current_{name}"], values[f"committed_{name}"] = draw(U8), draw(U8)
    values["key_info"] = draw(st.integers(0, 31))
    version = values["version"] = draw(st.sampled_from(VERSIONS))
    for name in ("cpuid_family", "cpuid_model", "cpuid_stepping"):
        values[name] = draw(U8) if version >= 3 else None
    for name in ("launch_mit_vector", "current_mit_vector"):
        values[name] = draw(U64) if version >= 5 else None
    for name in ("signature_r", "signature_s"):
        values[name] = draw(st.integers(0, (1 << 576) - 1))
    return Report(**values)  # type: ignore[arg-type]  # every field, by name


def parsed_or_refused(data: bytes) -> Report | None:
    """The report, or None when the parser refuses it by one of its own checks."""
    try:
        return parse(data)
    except Rejected as rejected:
        if not rejected.check.startswith("snp.report."):
            raise
        return None


@SETTINGS
@given(reports())
def test_round_trip(report: Report) -> None:
    data = report.encode()
    assert len(data) == REPORT_SIZE
    assert parse(data) == report
    assert parse(data).encode() == data
    assert report.signed_part() == data[:0x2A0]


@SETTINGS
@given(st.binary(min_size=REPORT_SIZE, max_size=REPORT_SIZE), st.sampled_from((*VERSIONS, 1, 6)))
def test_whatever_parses_re_encodes(noise: bytes, version: int) -> None:
    data = struct.pack("<I", version) + noise[4:]
    parsed = parsed_or_refused(data)
    assert parsed is None or parsed.encode() == data


@pytest.mark.parametrize("size", [0, 1, REPORT_SIZE - 1, REPORT_SIZE + 1, 4096])
def test_size(size: int) -> None:
    with pytest.raises(Rejected) as caught:
        parse(bytes(size))
    assert (caught.value.check, caught.value.kind) == ("snp.report.size", Kind.MALFORMED)


@pytest.mark.parametrize("version", [0, 1, 6, 0xFFFFFFFF])
def test_version(version: int) -> None:
    data = struct.pack("<I", version) + make.report().encode()[4:]
    with pytest.raises(Rejected) as caught:
        parse(data)
    assert (caught.value.check, caught.value.kind) == ("snp.report.version", Kind.UNSUPPORTED)


COMMON = [0x48, 0x4C, 0x4F, 0x18B, 0x19F, 0x1EB, 0x1EF, 0x208, 0x29F, 0x330, 0x49F]


@pytest.mark.parametrize(
    ("unsigned", "offsets"),
    [
        (make.version_2(), [*COMMON, 0x188, 0x189, 0x18A, 0x1F8, 0x207]),
        (make.report(), [*COMMON, 0x1F8, 0x1FF, 0x200, 0x207]),
        (make.report(version=4), [*COMMON, 0x1F8, 0x1FF, 0x200, 0x207]),
        (make.turin(), COMMON),
    ],
    ids=["version 2", "version 3", "version 4", "version 5"],
)
def test_reserved_fields(unsigned: Report, offsets: list[int]) -> None:
    """Every reserved byte of each version, first and last."""
    for offset in offsets:
        data = bytearray(unsigned.encode())
        data[offset] |= 0x80
        with pytest.raises(Rejected) as caught:
            parse(bytes(data))
        assert caught.value.check == "snp.report.reserved", hex(offset)


def test_every_byte_is_a_field_or_reserved() -> None:
    """No byte of a report is ignored: flipping any one changes the parse or refuses it."""
    for unsigned in (make.version_2(), make.report(), make.turin()):
        data = unsigned.encode()
        for offset in range(REPORT_SIZE):
            flipped = bytearray(data)
            flipped[offset] ^= 0x40
            assert parsed_or_refused(bytes(flipped)) != unsigned, hex(offset)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": 5},
        {"cpuid_family": None},
        {"launch_mit_vector": 0},
        {"measurement": bytes(47)},
        {"guest_svn": 1 << 32},
        {"signature_r": 1 << 576},
        {"vmpl": -1},
    ],
)
def test_what_does_not_fit_is_not_encoded(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="report"):
        make.report()._replace(**changes).encode()  # type: ignore[arg-type]  # wrong on purpose


@SETTINGS
@given(reports(), st.sampled_from((None, "Milan", "Genoa", "Turin")))
def test_any_report_can_be_shown(report: Report, product: str | None) -> None:
    lines = explain(report, product=product)
    assert len({(line.group, line.name) for line in lines}) == len(lines)


def test_what_is_shown() -> None:
    words = {line.name: line for line in explain(make.report(reported_tcb=Tcb(7, 0, 14, 72).encode()))}
    assert words["policy"].meaning == "SMT allowed · debug NOT allowed · migration NOT allowed · ABI ≥ 0.0"
    assert words["processor"].value == "Genoa (family 19h, model 11h, stepping 1)"
    assert words["TCB reported"].meaning == "7.0.14.72  ← reported is below current"
    assert words["TCB current"].meaning == "10.0.23.84"
    assert words["firmware current"].value == "1.55.25"
    everything = explain(
        make.turin(policy=0xFFFF_FFFF_FFFF_FFFF, platform_info=(1 << 64) - 1, vmpl=0xFFFFFFFF)
    )
    shown = {line.name: line for line in everything}
    assert "debug allowed" in shown["policy"].meaning
    assert "unknown bits 0xfffffffffc000000" in shown["policy"].meaning
    assert "unknown bits 0xffffffffffffff00" in shown["platform info"].meaning
