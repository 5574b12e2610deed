"""What dcap-qvl refused, in this verifier's words; nothing is said twice.

Its refusals of levels and of what the body says are left to this verifier's own rules, which a policy can
lift, if they see the same; where they do not, the two disagree, and the quote is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from wasmkeep.evidence.dcap.findings import untrusted
from wasmkeep.evidence.dcap.quote import Quote
from wasmkeep.evidence.dcap.qvl import ATTRIBUTES, LEVELS, Opinion
from wasmkeep.evidence.dcap.status import Status
from wasmkeep.evidence.dcap.tcb import TcbVerdict
from wasmkeep.evidence.errors import Finding
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["judge"]

_SIGNATURE: Final = "SGX ECDSA QuoteLibReference, A.4; TDX DCAP Quoting Library API, A.3"
_NAMED: Final = (
    ("ISV enclave report signature", "dcap.signature", "the quote was not signed by its attestation key"),
    (
        "Signature is invalid for qe_report",
        "dcap.signature",
        "the platform's PCK did not sign the QE's report",
    ),
    ("QE report hash mismatch", "dcap.qe.key", "the QE does not vouch for the attestation key"),
    ("Invalid QE auth data", "dcap.qe.key", "the QE does not vouch for the attestation key"),
    ("Signature is invalid for tcb_info", "dcap.collateral.signature", "Intel did not sign the TCB info"),
    (
        "Signature is invalid for qe_identity",
        "dcap.collateral.signature",
        "Intel did not sign the QE identity",
    ),
    ("Failed to verify certificate chain", "dcap.chain", "a certificate was not issued by the one above it"),
)
_SEEN: Final = (
    ("Failed to verify certificate chain", ("dcap.revoked", "dcap.crl.issuer")),
    ("QE ", ("dcap.qe",)),
    ("TDX module", ("tdx.module", "dcap.tcb.level")),
    ("Fmspc mismatch", ("dcap.collateral.fmspc",)),
    ("TDX quote with", ("dcap.collateral.tee",)),
    ("SGX quote with", ("dcap.collateral.tee",)),
    ("Unsupported QE Identity", ("dcap.collateral.tee",)),
)


def judge(opinion: Opinion, quote: Quote, tcb: TcbVerdict | None, known: Collection[str]) -> list[Finding]:
    """What the opinion adds to the checks that already failed (``known``). Findings: ``dcap.signature``,
    ``dcap.qe.key``, ``dcap.collateral.signature``, ``dcap.chain``, ``dcap.refused``,
    ``dcap.disagreement``."""
    words = opinion.refused
    if not words or _sees_the_same(words, quote, tcb):
        return []
    for beginning, checks in _SEEN:
        if words.startswith(beginning) and not set(checks).isdisjoint(known):
            return []
    for beginning, check, message in _NAMED:
        if words.startswith(beginning):
            return [
                untrusted(
                    check,
                    message,
                    "a signature that does not verify",
                    "a signature that verifies",
                    _SIGNATURE,
                    meaning="the quote or its collateral was altered, or their parts do not belong together",
                )
            ]
    if words in LEVELS or words in ATTRIBUTES:
        message = "dcap-qvl refuses what this verifier does not see"
        return [untrusted("dcap.disagreement", message, words, "the same in both", "dcap-qvl")]
    return [untrusted("dcap.refused", "dcap-qvl refuses the quote or its collateral", words, "", "dcap-qvl")]


def _sees_the_same(words: str, quote: Quote, tcb: TcbVerdict | None) -> bool:
    """A refusal of a level, or of the body, that this verifier's own parse confirms."""
    if words in LEVELS:
        return tcb is None or tcb.status is Status.Revoked
    body = quote.body
    if not isinstance(body, TdReport):
        return words == "Debug mode is enabled" and bool(body.attributes & _SGX_DEBUG)
    seen = {
        "Debug mode is enabled": body.attributes & _TD_DEBUG,
        "Reserved bits in TD attributes are set": body.attributes & _TD_RESERVED,
        "SEPT_VE_DISABLE is not enabled": not body.attributes & _SEPT_VE_DISABLE,
        "Invalid MR service TD": body.mr_service_td is not None and any(body.mr_service_td),
    }
    return bool(seen.get(words))


_SGX_DEBUG, _TD_DEBUG, _SEPT_VE_DISABLE = 1 << 1, 1 << 0, 1 << 28
_TD_RESERVED = ~(1 << 0 | 1 << 28 | 1 << 30 | 1 << 31 | 1 << 63)
