"""Collateral in one JSON file: nine members, as verifiers of quotes keep what Intel's services gave.

=================================  =======================================================================
member                             value
=================================  =======================================================================
``pck_crl_issuer_chain``           PEM text: issuer of the list of PCK certificates, then the root
``root_ca_crl``, ``pck_crl``       DER in hexadecimal digits
``tcb_info_issuer_chain``          PEM text: TCB signing certificate, then the root
``tcb_info``                       JSON text, byte for byte as signed
``tcb_info_signature``             64 bytes in hexadecimal digits: r and s, big-endian
``qe_identity_issuer_chain``       as for the TCB info, likewise ``qe_identity`` and its signature
=================================  =======================================================================

White space between members is the file's own affair; inside the texts every byte counts. Nothing is verified.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Final

from wasmkeep.evidence.dcap.evidence import Collateral
from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = ["MAX_COLLATERAL_SIZE", "decode", "encode"]

MAX_COLLATERAL_SIZE: Final = 256 * 1024
"""Bytes of JSON; today's have about 20,000."""

_MEMBERS: Final = tuple(field.name for field in fields(Collateral))
_SIGNATURE_SIZE: Final = 64
_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


def encode(collateral: Collateral) -> bytes:
    """The JSON bytes, without white space, members in the order above."""
    members = {name: getattr(collateral, name) for name in _MEMBERS}
    plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in members.items()}
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(data: bytes) -> Collateral:
    """Read a file. Raises `Rejected` ``dcap.collateral.malformed``: too long, not JSON, another set of
    members, one twice, or a value of another form."""
    if len(data) > MAX_COLLATERAL_SIZE:
        raise _malformed(f"{len(data)} bytes", f"≤ {MAX_COLLATERAL_SIZE} bytes")
    try:
        members = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON: {str(error)[:80]}", "one JSON object") from error
    if not isinstance(members, dict) or members.keys() != set(_MEMBERS):
        found = ", ".join(sorted(members)) if isinstance(members, dict) else type(members).__name__
        raise _malformed(found[:200], ", ".join(_MEMBERS))
    return Collateral(
        pck_crl_issuer_chain=_text(members, "pck_crl_issuer_chain"),
        root_ca_crl=_bytes(members, "root_ca_crl"),
        pck_crl=_bytes(members, "pck_crl"),
        tcb_info_issuer_chain=_text(members, "tcb_info_issuer_chain"),
        tcb_info=_text(members, "tcb_info"),
        tcb_info_signature=_bytes(members, "tcb_info_signature", _SIGNATURE_SIZE),
        qe_identity_issuer_chain=_text(members, "qe_identity_issuer_chain"),
        qe_identity=_text(members, "qe_identity"),
        qe_identity_signature=_bytes(members, "qe_identity_signature", _SIGNATURE_SIZE),
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _text(members: dict[str, object], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not value or not value.isascii():
        raise _malformed(f"{name}: {type(value).__name__}", f"{name}: ASCII text")
    return value


def _bytes(members: dict[str, object], name: str, size: int | None = None) -> bytes:
    digits = _text(members, name)
    if not _DIGITS.issuperset(digits) or len(digits) % 2:
        raise _malformed(f"{name}: {digits[:32]}", f"{name}: hexadecimal digits")
    value = bytes.fromhex(digits)
    if size is not None and len(value) != size:
        raise _malformed(f"{name}: {len(value)} bytes", f"{name}: {size} bytes")
    return value


def _malformed(found: str, required: str) -> Rejected:
    return Rejected(
        Finding(
            "dcap.collateral.malformed",
            Kind.MALFORMED,
            "the collateral cannot be read",
            found,
            required,
            "Intel SGX PCS API v4",
            advice="fetch it again from Intel's service",
        )
    )
