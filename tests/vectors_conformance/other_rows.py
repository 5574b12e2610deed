"""Rows of platforms that this release knows and does not judge: as expected means refused as unsupported."""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors_conformance.index import UnusableIndex, VectorRow
from tests.vectors_conformance.outcome import Outcome
from wasmkeep.evidence import Kind, Policy
from wasmkeep.evidence.kinds import recognise, unsupported
from wasmkeep.evidence.pem import decode_certificates

__all__ = ["judge"]

_EVIDENCE = ("document.cbor", "token.cbor")
_NOT_EVIDENCE = (".pem", ".json", ".der", ".md", ".txt")
_UNSUPPORTED = ("nitro", "cca")
_NOT_SUPPORTED, _NOT_A_TEE = "platform.unsupported", "platform.not-a-tee"


def judge(row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    """Recognised by its contents, and refused by name. Facts of its format are not this release's."""
    document = row.file(*_EVIDENCE) or next(
        (one for one in row.files if not one.name.endswith(_NOT_EVIDENCE)), None
    )
    if document is None:
        _judge_root(row, outcome)
        return
    kind = recognise(document.data)
    refusal = unsupported(kind)
    outcome.compared += 1
    known = row.technology in _UNSUPPORTED
    if known and kind.value != row.technology:
        outcome.problems.append(f"recognised as {kind.value}, expected {row.technology}")
    check = _NOT_SUPPORTED if known else _NOT_A_TEE
    if refusal.check != check or refusal.kind is not Kind.UNSUPPORTED:
        outcome.problems.append(f"refused by {refusal.check}, expected {check}")
    outcome.notes.append("not checkable: its facts (refused as unsupported)")


def _judge_root(row: VectorRow, outcome: Outcome) -> None:
    """A root alone: its facts are of X.509, not of the platform's format."""
    root = next((one for one in row.files if one.name.endswith(".pem")), None)
    if root is None:
        raise UnusableIndex("the row has neither evidence nor a root")
    certificate = x509.load_der_x509_certificate(decode_certificates(root.data.decode("ascii"))[0])
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def self_signed() -> bool:
        certificate.verify_directly_issued_by(certificate)
        return True

    outcome.compare(
        row.expected,
        {
            "spki_sha256": lambda: sha256(spki).digest(),
            "self_signed": self_signed,
            "validity": lambda: [certificate.not_valid_before_utc, certificate.not_valid_after_utc],
        },
    )
