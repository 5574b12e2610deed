"""What bytes are, by content; and that what is known but not judged is refused by name."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence import forge as make
from tests.evidence.forge import Forge
from tests.evidence.sev_forge import SevForge
from tests.evidence.soak import SETTINGS
from tests.evidence.vectors import FOLDER, needs_vectors
from wasmkeep.evidence import Kind, Rejected, cmw
from wasmkeep.evidence.kinds import MAX_SIZE, EvidenceKind, recognise, unsupported
from wasmkeep.evidence.snp import hcl
from wasmkeep.evidence.snp.table import CertificateTable, encode

BY_FILE = {
    "report.bin": "snp-report",
    "hcl-report.bin": "hcl-report",
    "collateral.json": "collateral-json",
    "document.cbor": "nitro",
    "token.cbor": "cca",
}


def expected_kind(path: Path) -> str:
    """From the vectors' own naming: by role, then by encoding."""
    if path.name == "quote.bin":
        return f"{path.parents[1].name}-quote"
    if path.suffix == ".cert":
        return "sev-certificates"
    return BY_FILE.get(path.name) or {".pem": "pem", ".der": "der"}.get(path.suffix, "unknown")


@needs_vectors
def test_every_vector_is_recognised_by_content() -> None:
    index = json.loads((FOLDER / "index.json").read_text())
    files = {FOLDER / file["file"] for row in index for file in row["files"]}
    assert len(files) > 80
    for path in sorted(files):
        assert recognise(path.read_bytes()) == expected_kind(path), path


# Hand-made: a quote of a TPM as TPM2_Quote gives it (TPMS_ATTEST), and inside TPM2B_ATTEST.
TPMS_ATTEST = bytes.fromhex("ff544347 8018 0022") + bytes(34) + bytes(0x40)
PSA_CLAIMS = {265: "tag:psacertified.org,2023:psa#tfm", 2394: 1, 2395: 0x3000, 2396: bytes(32), 10: bytes(32)}
LEGACY_PSA = {-75000: "PSA_IOT_PROFILE_1", -75001: 1, -75002: 12288, -75003: bytes(32), -75008: bytes(32)}


def cose(claims: object, *, tag: int | None = 18) -> bytes:
    """A COSE message with a signature that nobody made."""
    message = [cbor2.dumps({1: -7}), {}, cbor2.dumps(claims), bytes(64)]
    return cbor2.dumps(message if tag is None else cbor2.CBORTag(tag, message))


NITRO = {"module_id": "i-0-enc1", "digest": "SHA384", "timestamp": 1, "pcrs": {0: bytes(48)}}
NOT_JUDGED: dict[str, tuple[bytes, EvidenceKind, str, str]] = {
    "nitro": (cose(NITRO, tag=None), EvidenceKind.NITRO, "platform.unsupported", "known, not supported yet"),
    "nitro tagged": (cose(NITRO), EvidenceKind.NITRO, "platform.unsupported", "known, not supported yet"),
    "cca": (
        cbor2.dumps(cbor2.CBORTag(399, {44234: b"platform", 44241: b"realm"})),
        EvidenceKind.CCA,
        "platform.unsupported",
        "known, not supported yet",
    ),
    "cca without its tag": (
        cbor2.dumps({44234: b"platform", 44241: b"realm"}),
        EvidenceKind.CCA,
        "platform.unsupported",
        "known, not supported yet",
    ),
    "cca platform alone": (
        cose({265: "tag:arm.com,2023:cca_platform#1.0.0", 2396: bytes(32)}),
        EvidenceKind.CCA,
        "platform.unsupported",
        "known, not supported yet",
    ),
    "TPMS_ATTEST": (TPMS_ATTEST, EvidenceKind.TPM_QUOTE, "platform.not-a-tee", "not a TEE"),
    "TPM2B_ATTEST": (
        len(TPMS_ATTEST).to_bytes(2, "big") + TPMS_ATTEST,
        EvidenceKind.TPM_QUOTE,
        "platform.not-a-tee",
        "not a TEE",
    ),
    "PSA token": (cose(PSA_CLAIMS), EvidenceKind.TRUSTZONE, "platform.not-a-tee", "not a TEE"),
    "PSA token, MAC": (cose(PSA_CLAIMS, tag=17), EvidenceKind.TRUSTZONE, "platform.not-a-tee", "not a TEE"),
    "PSA token, legacy": (cose(LEGACY_PSA), EvidenceKind.TRUSTZONE, "platform.not-a-tee", "not a TEE"),
}


@pytest.mark.parametrize("name", NOT_JUDGED)
def test_what_is_known_and_not_judged_is_refused_by_name(name: str) -> None:
    data, kind, check, words = NOT_JUDGED[name]
    assert recognise(data) is kind
    refusal = unsupported(kind)
    assert isinstance(refusal, Rejected)
    assert (refusal.check, refusal.kind) == (check, Kind.UNSUPPORTED)
    assert words in refusal.message
    assert all((refusal.found, refusal.required, refusal.meaning, refusal.remedy))
    assert refusal.findings[0].section


@pytest.mark.parametrize("kind", EvidenceKind)
def test_only_those_four_kinds_are_refused_as_such(kind: EvidenceKind) -> None:
    if kind in {entry[1] for entry in NOT_JUDGED.values()}:
        return
    with pytest.raises(ValueError, match="known and not judged"):
        unsupported(kind)


def test_what_wasmkeep_makes(forge: Forge, sev_forge: SevForge) -> None:
    evidence = forge.evidence()
    table = encode(CertificateTable(vcek=evidence.vcek, ask=evidence.chain[0], ark=evidence.chain[1]))
    assert recognise(evidence.report) is EvidenceKind.SNP_REPORT
    assert recognise(evidence.report + table) is EvidenceKind.SNP_EXTENDED_REPORT
    assert recognise(evidence.report + bytes(24)) is EvidenceKind.SNP_EXTENDED_REPORT
    assert recognise(evidence.report + b"\1") is EvidenceKind.UNKNOWN
    for one in (evidence, sev_forge.evidence("sev-es")):
        collection = cmw.EvidenceCollection(one, b"binding")
        assert recognise(cmw.encode(collection)) is EvidenceKind.CMW_JSON
        assert recognise(cmw.encode(collection, cmw.Form.CBOR)) is EvidenceKind.CMW_CBOR
    assert recognise(cmw.encode(collection)[:200]) is EvidenceKind.CMW_JSON, "cut, and still a collection"
    assert recognise(evidence.vcek) is EvidenceKind.DER


def test_others_collections_are_collections() -> None:
    """Reading them is another matter: `cmw` says which it knows."""
    for item in (["application/eat+cwt", b"x"], [60, b"x", 4], {1: ["application/eat+cwt", b"x"]}):
        assert recognise(cbor2.dumps(item)) is EvidenceKind.CMW_CBOR
        with pytest.raises(Rejected):
            cmw.decode(cbor2.dumps(item))
    assert recognise(b'["application/eat+jwt","AA"]') is EvidenceKind.CMW_JSON


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"{}", b"[]", b"[" * 5000, b"hello", b"eyJhbGciOiJFUzI1NiJ9.e30.AA", bytes(1183),
     bytes(1185),
     b"\x81" * 5000, b"\xd2\x84\x40\xa0\x40\x40", cose({1: "x"}), cose([1]), b"\xff" * 48, b" " * 100],
    ids=range(15),
)  # fmt: skip
def test_what_is_nothing(data: bytes) -> None:
    assert recognise(data) is EvidenceKind.UNKNOWN


def test_what_is_too_long_is_not_looked_at() -> None:
    assert recognise(b"{" + b" " * MAX_SIZE) is EvidenceKind.UNKNOWN


@SETTINGS
@given(st.binary(max_size=1300))
def test_nothing_is_raised(data: bytes) -> None:
    assert recognise(data) in EvidenceKind
    for start in (b"\xd2\x84", b"\xd9\x01\x8f", b"\xbf", b"{", b"\xffTCG", b"HCLA", b"\4\0\2\0", b"\2\0\0\0"):
        assert recognise(start + data) in EvidenceKind


@SETTINGS
@given(st.binary(max_size=1300))
def test_wrapped_reports_only_ever_refuse(data: bytes) -> None:
    for start in (b"", b"HCLA", b"HCLA" + bytes(1212)):
        with suppress(Rejected):
            assert len(hcl.decode(start + data).report) == 1184


def wrapped(report: bytes, technology: int = 2, runtime: bytes = b"{}", size: int | None = None) -> bytes:
    header = b"HCLA" + bytes(28)
    fields = (len(runtime) + 20, 1, technology, 1, len(runtime) if size is None else size)
    return header + report + b"".join(value.to_bytes(4, "little") for value in fields) + runtime


def test_azures_wrapping() -> None:
    report = make.report().encode()
    found = hcl.decode(wrapped(report) + bytes(100))
    assert (found.report, found.runtime_data, found.claims_runtime_data) == (report, b"{}", False)
    for spoilt in (wrapped(report, 4), wrapped(report, size=3), wrapped(report)[:1237], b"HCLA"):
        with pytest.raises(Rejected) as caught:
            hcl.decode(spoilt)
        assert caught.value.check == "snp.hcl"


@needs_vectors
def test_azures_real_wrapping_holds_the_runtime_data_it_claims() -> None:
    for row in ("milan-v2-azure-vtpm", "milan-v2-wrong-vcek"):
        found = hcl.decode((FOLDER / "snp" / row / "hcl-report.bin").read_bytes())
        assert found.claims_runtime_data
        assert "keys" in json.loads(found.runtime_data)
