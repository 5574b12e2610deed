"""What a host hands over as TDX or SGX evidence: bytes, nothing believed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Collateral", "SgxEvidence", "TdxEvidence"]


@dataclass(frozen=True, slots=True)
class Collateral:
    """Intel's statements about platforms of one kind, as its certification service gives them (PCS API v4).

    Issuer chains are PEM text, lists DER. ``tcb_info`` and ``qe_identity`` are JSON texts, byte for byte as
    they were signed; signatures are 64 bytes, r and s big-endian (ECDSA P-256, SHA-256).
    """

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes


@dataclass(frozen=True, slots=True)
class TdxEvidence:
    """A quote of version 4 or 5 with a TD report inside, and its collateral, None where there is none."""

    quote: bytes
    collateral: Collateral | None = None


@dataclass(frozen=True, slots=True)
class SgxEvidence:
    """A quote of version 3 with an enclave report inside, and its collateral, None where there is none."""

    quote: bytes
    collateral: Collateral | None = None
