"""What dcap-qvl refused, in this verifier's words; nothing is said twice.

It stops at the first thing it refuses. Signatures come first; what the body says comes last. A policy may
lift a rule about the body, and then this verifier's own reading of the body decides, if it confirms what
dcap-qvl saw: everything before that was verified. Tests break each signature in turn to hold that order.
Where the two do not see the same, the quote is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.findings import untrusted
from wasmkeep.evidence.dcap.quote import Quote
from wasmkeep.evidence.dcap.qvl import Opinion
from wasmkeep.evidence.errors import Finding
from wasmkeep.evidence.sgx.bits import Attribute
from wasmkeep.evidence.tdx.bits import TdAttribute
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["judge"]

_FORMAT: Final = "Intel DCAP quote format, appendix A; PCS API v4"
_DEBUG: Final = "Debug mode is enabled"
_SERVICE_TD: Final = "Invalid MR service TD"
_TD_ATTRIBUTES: Final = {
    _DEBUG: TdAttribute.DEBUG,
    "TD profiling is enabled": TdAttribute.HGS_PLUS_PROF | TdAttribute.PERF_PROF | TdAttribute.PMT_PROF,
    "SERVTD_EXT is enabled": TdAttribute.SERVTD_EXT,
    "TD migration is enabled": TdAttribute.MIGRATABLE,
    "Reserved bits in TD attributes are set": ~sum(TdAttribute),
}
_SEPT_VE: Final = "SEPT_VE_DISABLE is not enabled"
_SEEN: Final = (
    ("No matching TCB level found", ("dcap.tcb.level",)),
    ("TCB status is invalid: Revoked", ("dcap.tcb.status",)),
    ("TDX module", ("tdx.module", "dcap.tcb.level")),
    ("Failed to evaluate the current TDX TCB", ("tdx.module.current",)),
    ("QE ISVSVN", ("dcap.qe.level",)),
    ("No TCB levels found in QE", ("dcap.qe.level",)),
    ("QE ", ("dcap.qe",)),
    ("Fmspc mismatch", ("dcap.collateral.fmspc",)),
    ("TDX quote with", ("dcap.collateral.tee",)),
    ("SGX quote with", ("dcap.collateral.tee",)),
    ("Unsupported QE Identity", ("dcap.collateral.tee",)),
    ("Failed to verify certificate chain", ("dcap.revoked", "dcap.crl.issuer", "dcap.chain.profile")),
    ("CertRevoked", ("dcap.revoked",)),
)
"""How its refusals begin, and the checks here that say the same."""
_SIGNATURES: Final = (
    ("ISV enclave report signature", "dcap.signature", "the quote was not signed by its attestation key"),
    ("Signature is invalid for qe_report", "dcap.signature", "the PCK did not sign the QE's report"),
    ("QE report hash mismatch", "dcap.qe.key", "the QE does not vouch for the attestation key"),
    ("Invalid QE auth data", "dcap.qe.key", "the QE does not vouch for the attestation key"),
    ("Signature is invalid for tcb_info", "dcap.collateral.signature", "Intel did not sign the TCB info"),
    (
        "Signature is invalid for qe_identity",
        "dcap.collateral.signature",
        "Intel did not sign the QE identity",
    ),
    ("Failed to parse root CA CRL", "dcap.crl.signature", "the root did not sign its revocation list"),
    ("InvalidCrlSignature", "dcap.crl.signature", "the root did not sign its revocation list"),
    (
        "Failed to verify certificate chain",
        "dcap.chain",
        "a certificate, or the list of revoked ones, was not signed by the authority above it",
    ),
)


def judge(opinion: Opinion, quote: Quote, known: Collection[str]) -> list[Finding]:
    """What the opinion adds to the checks that already failed (``known``). Findings: ``dcap.signature``,
    ``dcap.qe.key``, ``dcap.collateral.signature``, ``dcap.crl.signature``, ``dcap.chain``,
    ``dcap.refused``."""
    words = opinion.refused
    if not words or _confirmed(words, quote):
        return []
    for beginning, checks in _SEEN:
        if words.startswith(beginning) and not set(checks).isdisjoint(known):
            return []
    for beginning, check, message in _SIGNATURES:
        if words.startswith(beginning):
            return [
                untrusted(
                    check,
                    message,
                    "a signature that does not verify",
                    "one that verifies",
                    _FORMAT,
                    meaning="the quote or its collateral was altered, or their parts do not belong together",
                )
            ]
    return [
        untrusted(
            "dcap.refused",
            "dcap-qvl refuses the quote or its collateral, for what this verifier does not see",
            words,
            "both verifiers accept",
            _FORMAT,
        )
    ]


def _confirmed(words: str, quote: Quote) -> bool:
    """A refusal of the body, for something that is there."""
    body = quote.body
    if isinstance(body, EnclaveReport):
        return words == _DEBUG and bool(body.attributes & Attribute.DEBUG)
    return _confirmed_of_td(words, body)


def _confirmed_of_td(words: str, body: TdReport) -> bool:
    if words == _SEPT_VE:
        return not body.attributes & TdAttribute.SEPT_VE_DISABLE
    if words == _SERVICE_TD:
        return body.mr_service_td is not None and any(body.mr_service_td)
    return bool(body.attributes & _TD_ATTRIBUTES.get(words, 0))
