"""What a tenant requires of an enclave."""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.dcap.policy import DcapPolicy

__all__ = ["SgxPolicy"]


@dataclass(frozen=True, slots=True)
class SgxPolicy(DcapPolicy):
    """SGX. MRENCLAVE must be in the policy's ``runtime``; with ``by_signer`` MRSIGNER, product and SVN decide
    in its place, and ``mrsigners`` must not be empty. ``mrsigners`` are 32 bytes each; an empty
    ``isv_prod_ids`` accepts any."""

    debug: bool = False
    by_signer: bool = False
    provision_key: bool = False
    mrsigners: frozenset[bytes] = frozenset()
    isv_prod_ids: frozenset[int] = frozenset()
    minimum_isv_svn: int = 0
