"""What accepted SGX evidence lacks that the shipped policy would have asked for."""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.dcap.body import Asked, reference
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.lost import of_the_platform
from wasmkeep.evidence.dcap.outcome import Accepted
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.sgx.bits import Attribute

__all__ = ["lost_protections"]


def lost_protections(
    report: EnclaveReport, found: Accepted, policy: Policy, asked: Asked
) -> tuple[LostProtection, ...]:
    """Every exception that this evidence made use of."""
    return (*of_the_platform(found, policy.sgx), *_of_the_enclave(report, policy, asked))


def _of_the_enclave(report: EnclaveReport, policy: Policy, asked: Asked) -> Iterator[LostProtection]:
    if report.attributes & Attribute.DEBUG:
        yield LostProtection("debug-allowed", "the host may read and write the enclave's memory")
    if report.attributes & (Attribute.PROVISION_KEY | Attribute.EINITTOKEN_KEY):
        yield LostProtection("provision-key-allowed", "the enclave may derive keys of the platform")
    if reference(report.mrenclave, policy, asked.reference_values) is None:
        if policy.sgx.by_signer:
            text = "whatever this signer signs is accepted: MRENCLAVE was not compared"
            yield LostProtection("by-signer", text)
        else:
            yield LostProtection("any-measurement", "the policy accepts whatever was launched")
