"""Evidence in, verdict out: is this the hardware, firmware and keep that a tenant asked for, now?

Pure: no files, sockets, clock or global state. Bytes and times are arguments; the answer is an
`AttestationResult` or `Rejected`.

    evidence = assemble(report, material)
    result = verify(evidence, policy, at=now, binding=report_data, reference_values=references)

Names are loaded when first used, so that importing this package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmkeep.evidence.assembly import assemble
    from wasmkeep.evidence.binding import UNBOUND, Unbound
    from wasmkeep.evidence.dcap.evidence import Collateral, SgxEvidence, TdxEvidence
    from wasmkeep.evidence.errors import Finding, Kind, Rejected
    from wasmkeep.evidence.kinds import EvidenceKind, recognise
    from wasmkeep.evidence.material import Material
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.result import AttestationResult, LostProtection
    from wasmkeep.evidence.sev.evidence import SevEvidence, SevKeys
    from wasmkeep.evidence.snp.evidence import SnpEvidence
    from wasmkeep.evidence.snp.memory import ChainMemory
    from wasmkeep.evidence.verification import NO_LISTS_SEEN, verify

__all__ = [
    "NO_LISTS_SEEN",
    "UNBOUND",
    "AttestationResult",
    "ChainMemory",
    "Collateral",
    "EvidenceKind",
    "Finding",
    "Kind",
    "LostProtection",
    "Material",
    "Policy",
    "Rejected",
    "SevEvidence",
    "SevKeys",
    "SgxEvidence",
    "SnpEvidence",
    "TdxEvidence",
    "Unbound",
    "assemble",
    "recognise",
    "verify",
]

_HOMES = {
    "NO_LISTS_SEEN": "verification",
    "UNBOUND": "binding",
    "AttestationResult": "result",
    "ChainMemory": "snp.memory",
    "Collateral": "dcap.evidence",
    "EvidenceKind": "kinds",
    "Finding": "errors",
    "Kind": "errors",
    "LostProtection": "result",
    "Material": "material",
    "Policy": "policy",
    "Rejected": "errors",
    "SevEvidence": "sev.evidence",
    "SevKeys": "sev.evidence",
    "SgxEvidence": "dcap.evidence",
    "SnpEvidence": "snp.evidence",
    "TdxEvidence": "dcap.evidence",
    "Unbound": "binding",
    "assemble": "assembly",
    "recognise": "kinds",
    "verify": "verification",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
