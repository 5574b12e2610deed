"""Certificates in PEM (RFC 7468), as AMD's key distribution service serves chains. Strict, bounded."""

from __future__ import annotations

import base64
import re

from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = ["MAX_CERTIFICATES", "MAX_PEM_SIZE", "decode_certificates", "encode_certificate"]

MAX_PEM_SIZE = 64 * 1024
"""Characters."""
MAX_CERTIFICATES = 8

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]*)\s-----END CERTIFICATE-----")


def decode_certificates(text: str) -> tuple[bytes, ...]:
    """The DER certificates of a PEM text, in order: at least one, at most 8, and nothing else but white space
    around them. Raises `Rejected` ``pem.malformed``."""
    if len(text) > MAX_PEM_SIZE:
        raise _malformed(f"{len(text)} characters", f"≤ {MAX_PEM_SIZE}")
    blocks = _BLOCK.findall(text)
    if not 1 <= len(blocks) <= MAX_CERTIFICATES or _BLOCK.sub("", text).strip():
        raise _malformed(
            f"{len(blocks)} certificates and other text", f"1 to {MAX_CERTIFICATES} certificates"
        )
    try:
        return tuple(base64.b64decode("".join(block.split()), validate=True) for block in blocks)
    except ValueError as error:
        raise _malformed("not base64", "base64") from error


def encode_certificate(der: bytes) -> str:
    """One PEM block with lines of 64 characters."""
    text = base64.b64encode(der).decode("ascii")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _malformed(found: str, required: str) -> Rejected:
    return Rejected(
        Finding("pem.malformed", Kind.MALFORMED, "not certificates in PEM", found, required, "RFC 7468, 5.1")
    )
