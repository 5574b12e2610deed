"""A fuzz target for each format: any bytes are refused with `Rejected`, or read to a value that says the same
bytes again. Whatever else happens is a finding of the fuzzer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.fuzz import seeds
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence import (
    UNBOUND,
    Collateral,
    Policy,
    Rejected,
    SgxEvidence,
    SnpEvidence,
    TdxEvidence,
    cbor,
    cmw,
    ear_token,
    kinds,
    verify,
)
from wasmkeep.evidence.assembly import assemble
from wasmkeep.evidence.dcap import certificates as intel_certificates
from wasmkeep.evidence.dcap import collateral_json, pck, qe_identity, quote, tcb_info
from wasmkeep.evidence.pem import decode_certificates
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.sev import ca_certificate, certificate, files
from wasmkeep.evidence.sev.measurement import LaunchMeasurement
from wasmkeep.evidence.sev.session import LaunchSession
from wasmkeep.evidence.snp import certificates, endorsement, id_block, report, table

__all__ = ["TARGETS", "Target"]

_AT = datetime(2026, 3, 1, tzinfo=UTC)
_MAX_SIZE = 8192


@dataclass(frozen=True)
class Target:
    """``run`` reads bytes; ``seeds`` gives examples to start from, none where the vectors are absent."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    max_size: int = _MAX_SIZE


def _read(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """Refused, or read."""

    def run(data: bytes) -> None:
        try:
            parse(data)
        except Rejected:
            return

    return run


def _round_trip(
    parse: Callable[[bytes], object], encode: Callable[[object], bytes]
) -> Callable[[bytes], None]:
    """Refused, or read to a value whose encoding is these bytes."""

    def run(data: bytes) -> None:
        try:
            value = parse(data)
        except Rejected:
            return
        if encode(value) != data:
            raise AssertionError("read, and not written again as it was")

    return run


def _encoded(value: object) -> bytes:
    encode: Callable[[], bytes] = value.encode  # type: ignore[attr-defined]  # every parsed struct has it
    return encode()


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """For readers of text: bytes that are not UTF-8 never reach them."""

    def read(data: bytes) -> object:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return parse(text)

    return read


def _endorsement(data: bytes) -> object:
    return endorsement.read_endorsement(certificates.load_endorsement(data, "VCEK"))


def _quote(data: bytes) -> None:
    """What follows a quote is counted and not written again."""
    try:
        parsed = quote.parse(data)
    except Rejected:
        return
    if parsed.encode() + data[len(data) - parsed.trailing :] != data:
        raise AssertionError("read, and not written again as it was")


def _intel_chain(text: str) -> object:
    return intel_certificates.load_chain(text, "PCK", "PCK authority", "Intel root")


def _cbor(data: bytes) -> None:
    """One encoding for each value: what is read is written as it was."""
    try:
        item = cbor.decode(data)
    except ValueError:
        return
    if cbor.encode(item) != data:
        raise AssertionError("read, and not written again as it was")


def _kind(data: bytes) -> None:
    kind = kinds.recognise(data)
    if not isinstance(kind, kinds.EvidenceKind):
        raise AssertionError("no kind")


def _policy(data: bytes) -> None:
    try:
        Policy.from_toml(data.decode("utf-8"), name="fuzz")
    except (UnicodeDecodeError, ConfigurationError):
        return


_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))


def _ear(data: bytes) -> object:
    if ear_token.verify(data, _KEY.public_key(), at=_AT, max_age=timedelta(days=1)):
        raise AssertionError("a token that nobody signed was accepted")
    return None


def _id_block(data: bytes) -> object:
    return id_block.verify(data[:96], data[96:])


def _refuse_snp(data: bytes) -> None:
    """A report in a genuine chain: accepted only as it is."""
    own = seeds.snp_evidence()
    if own is None or data == own.report:
        return
    _refuse(SnpEvidence(data, own.vcek, own.chain, own.crl))


def _refuse_quote(data: bytes) -> None:
    """A quote with genuine collateral: accepted only with its own signed part, whatever follows it."""
    found = seeds.quote_evidence()
    if found is None:
        return
    own, at = found
    try:
        verify(type(own)(data, own.collateral), plain(), at=at, binding=UNBOUND, reference_values={})
    except Rejected:
        return
    genuine, forged = quote.parse(own.quote), quote.parse(data)
    if forged.signed_part != genuine.signed_part:
        raise AssertionError("accepted a quote that nobody made")


def _refuse_collateral(data: bytes) -> None:
    """Collateral beside a genuine quote: accepted only with Intel's own statements."""
    found = seeds.quote_evidence()
    if found is None:
        return
    own, at = found
    try:
        material: Collateral = collateral_json.decode(data)
        verify(type(own)(own.quote, material), plain(), at=at, binding=UNBOUND, reference_values={})
    except Rejected:
        return
    genuine = own.collateral
    if genuine is None or (material.tcb_info, material.qe_identity) != (
        genuine.tcb_info,
        genuine.qe_identity,
    ):
        raise AssertionError("accepted collateral that nobody signed")


def _refuse(evidence: SnpEvidence | TdxEvidence | SgxEvidence) -> None:
    try:
        verify(evidence, plain(), at=_AT, binding=UNBOUND, reference_values={})
    except Rejected:
        return
    raise AssertionError("accepted")


TARGETS: Mapping[str, Target] = {
    "snp-report": Target(_round_trip(report.parse, _encoded), seeds.reports, 1300),
    "snp-evidence": Target(_refuse_snp, seeds.reports, 1300),
    "snp-endorsement": Target(_read(_endorsement), seeds.endorsements),
    "snp-authority": Target(
        _read(lambda data: certificates.load_authority(data, "ARK")), seeds.amd_authorities
    ),
    "snp-crl": Target(_read(certificates.load_crl), seeds.amd_lists),
    "snp-table": Target(_read(table.decode), seeds.tables),
    "snp-id-block": Target(_read(_id_block), lambda: [bytes(96 + 4096)]),
    "sev-certificate": Target(
        _round_trip(lambda data: certificate.parse(data, "PEK"), _encoded), seeds.sev_certificates
    ),
    "sev-ca-certificate": Target(
        _round_trip(lambda data: ca_certificate.parse(data, "ASK"), _encoded), seeds.sev_authorities
    ),
    "sev-files": Target(_read(files.parse_all), seeds.sev_authorities),
    "sev-session": Target(_round_trip(LaunchSession.parse, _encoded), lambda: [bytes(128)]),
    "sev-measurement": Target(_round_trip(LaunchMeasurement.parse, _encoded), lambda: [bytes(48)]),
    "quote": Target(_quote, seeds.quotes),
    "quote-evidence": Target(_refuse_quote, seeds.quotes),
    "dcap-collateral": Target(_read(collateral_json.decode), seeds.collaterals, 32768),
    "dcap-collateral-evidence": Target(_refuse_collateral, seeds.collaterals, 32768),
    "dcap-tcb-info": Target(_read(_text(tcb_info.read_tcb_info)), seeds.tcb_infos, 32768),
    "dcap-qe-identity": Target(_read(_text(qe_identity.read_qe_identity)), seeds.identities),
    "dcap-chain": Target(_read(_text(_intel_chain)), seeds.intel_chains),
    "dcap-pck-extension": Target(_read(pck.read_identity), seeds.pck_extensions),
    "dcap-crl": Target(_read(lambda data: intel_certificates.load_list(data, "list")), seeds.intel_lists),
    "cmw": Target(_read(cmw.decode), seeds.collections, 32768),
    "cbor": Target(_cbor, seeds.collections),
    "assembly": Target(_read(assemble), seeds.anything),
    "pem": Target(_read(_text(decode_certificates)), seeds.pem_texts),
    "ear": Target(_read(_ear), seeds.tokens),
    "kinds": Target(_kind, seeds.anything),
    "policy": Target(_policy, seeds.policies),
}
