"""Acceptance of an enclave: one function a step, each yielding what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.findings import refused, untrusted
from wasmkeep.evidence.errors import Finding, Kind
from wasmkeep.evidence.sgx.bits import Attribute, unknown_attributes
from wasmkeep.evidence.sgx.policy import SgxPolicy

__all__ = ["findings"]

_ATTRIBUTES = "Intel SDM 3D, 35.7.1 ATTRIBUTES"
_REPORT = "SGX ECDSA QuoteLibReference, A.4 enclave report body"


def findings(report: EnclaveReport, policy: SgxPolicy) -> list[Finding]:
    """What the policy refuses of the enclave; empty when it is accepted."""
    return [*_attributes(report, policy), *_signer(report, policy)]


def _attributes(report: EnclaveReport, policy: SgxPolicy) -> Iterator[Finding]:
    found = f"attributes {report.attributes:#x}"
    if not report.attributes & Attribute.INIT:
        message = "the enclave was not initialised"
        yield untrusted("sgx.attributes.init", message, found, "bit 0 set", _ATTRIBUTES)
    if report.attributes & Attribute.DEBUG and not policy.debug:
        yield refused(
            "sgx.attributes.debug",
            "the enclave runs under debug",
            found,
            "bit 1 clear",
            _ATTRIBUTES,
            meaning="the host may read and write the enclave's memory",
        )
    keys = report.attributes & (Attribute.PROVISION_KEY | Attribute.EINITTOKEN_KEY)
    if keys and not policy.provision_key:
        message = "the enclave may derive keys of the platform"
        yield refused("sgx.attributes.provision-key", message, found, "bits 4 and 5 clear", _ATTRIBUTES)
    unknown = unknown_attributes(report.attributes)
    if unknown:
        message = "the enclave has attributes that this verifier does not know"
        yield Finding(
            "sgx.attributes.unknown", Kind.UNSUPPORTED, message, f"{unknown:#x}", "none", _ATTRIBUTES
        )


def _signer(report: EnclaveReport, policy: SgxPolicy) -> Iterator[Finding]:
    if (policy.mrsigners or policy.by_signer) and report.mrsigner not in policy.mrsigners:
        required = f"one of {len(policy.mrsigners)} in the policy"
        message = "MRSIGNER is not one you accept"
        yield refused("sgx.mrsigner", message, report.mrsigner.hex(), required, _REPORT)
    if policy.isv_prod_ids and report.isv_prod_id not in policy.isv_prod_ids:
        required = " or ".join(map(str, sorted(policy.isv_prod_ids)))
        message = "ISVPRODID is not one you accept"
        yield refused("sgx.isv-prod-id", message, str(report.isv_prod_id), required, _REPORT)
    if report.isv_svn < policy.minimum_isv_svn:
        required = f"≥ {policy.minimum_isv_svn}"
        message = "ISVSVN is lower than the policy accepts"
        yield refused("sgx.isv-svn", message, str(report.isv_svn), required, _REPORT)
