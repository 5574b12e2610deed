"""The verdict on SEV-SNP evidence. The steps, in order; the code below carries their numbers.

Authenticity. A failure ends the verdict at once: fields that nobody vouches for decide nothing.
 1. The policy names this platform.
 2. The report parses: exact length, known version, reserved bits zero (`report`).
 3. Certificates parse and have AMD's profile; the root is pinned, and each link is signed (`chain`).
 4. The report says that a VCEK or VLEK signed it, and the certificate is of that kind.
 5. The signature over bytes 000h to 29Fh is ECDSA P-384 SHA-384 with r and s in range, and verifies.
 6. The certificate's own extensions parse; product and TCB layout follow.

Acceptance. All failures are collected and reported together.
 7. Dates of all certificates; revocation list (`chain`).
 8. Signer kind is one the policy allows.
 9. Report version is not below the policy's floor.
10. One product: in the certificate, of the root, and by the report's CPUID.
11. TCB in the certificate equals REPORTED_TCB, component by component.
12. Hardware id in the certificate equals CHIP_ID; a masked one only where the policy allows it.
13. The generation is one the policy names, and the stepping one that it names for the model line, if any.
14. Guest policy: bit 17 set, no unknown bit, nothing allowed that the policy forbids, all that it requires,
    the ABI it demands itself among that.
15. Firmware ABI is not below the minimum, neither current nor committed.
16. VMPL is not above the maximum; a report that the host requested is refused.
17. Report data is the expected binding (or the caller said UNBOUND), and listed, if the policy lists any.
18. Host data is the expected value (or the caller said UNBOUND), and listed, if the policy lists any.
19. The launch digest is a reference value that the policy names.
20. ID key, author key, family and image id are listed, where the policy lists any; guest SVN is high enough.
21. REPORTED_TCB reaches the minimum of its model line, in every component.
22. LAUNCH_TCB, of the firmware that launched the keep, reaches the same minimum: a live update mends nothing.
23. Firmware is committed: nothing that runs can still be rolled back.
24. Platform info: memory-alias check done, where the version has it; no unknown bit; what the policy
    requires is set, what it forbids clear and defined.
25. The chip is on the allow-list, if there is one, and not on the deny-list; a masked id satisfies neither.
26. Mitigation vectors hold the bits that the policy requires; a version without vectors holds none.

Left to the caller: that reference values are its own, that the moment is now, and to keep the newest
revocation list's date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.platforms import platform_denied
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.roots import AMD_ROOTS, Root
from wasmkeep.evidence.snp import certificates, chain, outcome, rules, signatures
from wasmkeep.evidence.snp.case import Case
from wasmkeep.evidence.snp.certificates import RevocationList
from wasmkeep.evidence.snp.endorsement import EndorsedIdentity
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.memory import ChainMemory
from wasmkeep.evidence.snp.platform import Platform, read_platform
from wasmkeep.evidence.snp.products import PRODUCTS
from wasmkeep.evidence.snp.report import SIGNED_SIZE, Report, SigningKey, parse, standing_part
from wasmkeep.evidence.snp.standing import standing
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = ["Genuine", "authenticate", "verify"]

_CHAIN_LENGTH = 2
_ALGO_ECDSA_P384_SHA384 = 1
_REPORT = "AMD 56860, 7.3 ATTESTATION_REPORT"
_SIGNERS = {int(kind): kind.name for kind in (SigningKey.VCEK, SigningKey.VLEK)}
_VENDOR_ROOTS = {pin: root for pin, root in AMD_ROOTS.items() if root.product in PRODUCTS}


class Genuine(NamedTuple):
    """A report whose signature leads to an accepted root. Made by `authenticate` only."""

    report: Report
    key: chain.AuthenticKey
    signer: str
    platform: Platform

    @property
    def identity(self) -> EndorsedIdentity:
        return self.platform.identity

    @property
    def line(self) -> str:
        return self.platform.line

    @property
    def product(self) -> str:
        return self.platform.product

    @property
    def reported_tcb(self) -> Tcb:
        return self.platform.reported_tcb

    @property
    def current_tcb(self) -> Tcb:
        return self.platform.current_tcb

    @property
    def committed_tcb(self) -> Tcb:
        return self.platform.committed_tcb

    @property
    def launch_tcb(self) -> Tcb:
        return self.platform.launch_tcb


def verify(
    evidence: SnpEvidence,
    policy: Policy,
    *,
    at: datetime,
    binding: bytes | Unbound,
    host_data: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    crl_not_older_than: Mapping[str, datetime],
    crl_retrieved: datetime | None = None,
    memory: ChainMemory,
) -> AttestationResult:
    """See `wasmkeep.evidence.verify`."""
    genuine = authenticate(evidence, policy, memory)
    authority = genuine.key.authority
    # 7
    findings: list[Finding] = []
    begin, end = genuine.key.valid
    if not begin <= at <= end:
        findings += chain.dates((genuine.key.certificate, authority.ask, authority.ark), at)
    revocation, revocation_findings = chain.revocation(
        authority,
        _list_of(evidence.crl, authority, memory),
        policy.revocation,
        at,
        not_older_than=crl_not_older_than,
        retrieved=crl_retrieved,
    )
    findings += revocation_findings
    # 8 to 26
    case = Case(genuine, policy, binding, host_data, reference_values)
    platform = memory.standing(policy, genuine.platform, lambda: standing(case))
    findings += rules.findings(case) if platform is None else rules.findings_of_session(case)
    if platform is None or findings:
        raise Rejected(*findings)
    return outcome.result(case, platform, revocation, at, hashlib.sha256(evidence.report).digest())


def _list_of(
    crl: bytes | None, authority: chain.AuthenticAuthority, memory: ChainMemory
) -> Callable[[], RevocationList] | None:
    if crl is None:
        return None
    return lambda: memory.revocation_list(crl, authority, lambda: chain.authentic_list(crl, authority))


def authenticate(evidence: SnpEvidence, policy: Policy, memory: ChainMemory) -> Genuine:
    """Steps 1 to 6: whose report this is. Says nothing about dates, revocation or acceptance."""
    # 1
    if "snp" not in policy.platforms:
        raise Rejected(platform_denied("snp", policy))
    # 2
    report = parse(evidence.report)
    # 4, first half: what the report says of its signer, so that the certificate has a name
    signer = _signer(report)
    # 3, and 4, second half
    roots = _VENDOR_ROOTS if policy.simulated is None else policy.roots
    key = memory.key(evidence, signer, roots, lambda: _authentic_key(evidence, roots, signer))
    # 5
    _require_signature(report, evidence.report[:SIGNED_SIZE], key)
    # 6
    part = standing_part(evidence.report)
    return Genuine(report, key, signer, memory.described(key, part, lambda: read_platform(report, key)))


def _authentic_key(evidence: SnpEvidence, roots: Mapping[bytes, Root], signer: str) -> chain.AuthenticKey:
    if len(evidence.chain) != _CHAIN_LENGTH:
        raise Rejected(
            Finding(
                "snp.chain.length",
                Kind.MALFORMED,
                "the certificate chain has a wrong number of certificates",
                found=str(len(evidence.chain)),
                required="2: ASK and ARK",
            )
        )
    ask_label = "ASVK" if signer == SigningKey.VLEK.name else "ASK"
    ark = certificates.load_authority(evidence.chain[1], "ARK")
    ask = certificates.load_authority(evidence.chain[0], ask_label)
    certificate = certificates.load_endorsement(evidence.vcek, signer)
    authority = chain.authenticate_authority(ark, ask, roots)
    key = chain.authenticate_key(certificate, authority)
    _require_kind(key, signer)
    return key


def _signer(report: Report) -> str:
    signer = _SIGNERS.get(report.signing_key)
    if signer is not None:
        return signer
    if report.signing_key == SigningKey.NONE:
        raise Rejected(
            Finding(
                "snp.signature.unsigned",
                Kind.UNTRUSTED,
                "nobody signed the report",
                found="SIGNING_KEY 7 (none)",
                required="VCEK or VLEK",
                section=_REPORT,
                meaning="the host masks the chip's key, so that reports prove nothing",
            )
        )
    raise Rejected(_unsupported("snp.signer", "the report names an unknown signer", str(report.signing_key)))


def _require_kind(key: chain.AuthenticKey, signer: str) -> None:
    """A VLEK is a cloud's, a VCEK a chip's: names in certificates that AMD signed tell them apart."""
    name = key.certificate.common_name
    is_vlek = signer == SigningKey.VLEK.name
    if name != f"SEV-{signer}" or key.authority.issues_vleks != is_vlek:
        raise Rejected(
            Finding(
                "snp.signer.certificate",
                Kind.UNTRUSTED,
                "the certificate is of another kind than the key that the report names",
                found=f"{name or 'no name'} from {key.authority.ask.common_name or 'no name'}",
                required=f"SEV-{signer}",
                section=_REPORT,
            )
        )


def _require_signature(report: Report, signed: bytes, key: chain.AuthenticKey) -> None:
    if report.signature_algo != _ALGO_ECDSA_P384_SHA384:
        found = str(report.signature_algo)
        raise Rejected(
            _unsupported("snp.signature.algorithm", "the report is signed with another algorithm", found)
        )
    try:
        signatures.verify(key.certificate.key, report.signature_r, report.signature_s, signed)
    except ValueError as error:
        raise Rejected(_bad_signature("snp.signature.range", str(error), key)) from error
    except InvalidSignature as error:
        message = f"the report was not signed by this {key.certificate.label}"
        raise Rejected(_bad_signature("snp.signature", message, key)) from error


def _unsupported(check: str, message: str, found: str) -> Finding:
    return Finding(check, Kind.UNSUPPORTED, message, found=found, section=_REPORT)


def _bad_signature(check: str, message: str, key: chain.AuthenticKey) -> Finding:
    return Finding(
        check,
        Kind.UNTRUSTED,
        message,
        found="a signature that does not verify",
        required=f"signed by the {key.certificate.label} that {key.authority.ask.common_name} vouches for",
        section="AMD 56860, 7.3 and 10 (signature format)",
        meaning="report and certificate are from different chips, or the report was altered",
    )
