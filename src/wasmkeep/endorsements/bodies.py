"""The outer shape of what an endorsement service answers: enough to tell a certificate from an error.

What the certificates say is for ``wasmkeep.evidence`` to judge.
"""

from __future__ import annotations

import base64
import binascii
import re

from wasmkeep.errors import HostUnreachable

__all__ = [
    "PEM_BLOCK",
    "check_chain",
    "check_der",
    "check_sev_ca",
    "check_sev_certificate",
    "split_chain",
    "split_sev_ca",
    "wrong_body",
]

_SEQUENCE = 0x30
_SEV_VERSION = (1).to_bytes(4, "little")
_SEV_CERTIFICATE_BYTES = 2084
_SEV_CA_SIZES = {2 * 1600: 1600, 2 * 832: 832, 832 + 576: 832}
"""Size of an ASK by that of ASK and ARK: keys of 4096 bits, of 2048, and an ARK of 2048 without signature, as
Naples' was published first."""
PEM_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END CERTIFICATE-----\r?\n?"
)
"""One certificate (RFC 7468), with the line's end after it."""


def check_der(body: bytes, what: str) -> None:
    """One definite-length DER SEQUENCE (X.690, section 8.1.3) that ends where the body ends.

    Raises ``HostUnreachable`` (check ``endorsements.body``) otherwise.
    """
    if len(body) < 2 or body[0] != _SEQUENCE:
        raise wrong_body(what, _opening(body))
    first = body[1]
    if first < 0x80:
        header, length = 2, first
    else:
        width = first & 0x7F
        header = 2 + width
        if not 1 <= width <= 4 or len(body) < header:
            raise wrong_body(what, "a length that is not DER")
        length = int.from_bytes(body[2:header], "big")
    if header + length != len(body):
        raise wrong_body(what, f"{len(body)} bytes where its header says {header + length}")


def split_chain(body: bytes) -> tuple[bytes, bytes]:
    """ASK and ARK, each DER, from the PEM of ``cert_chain``: exactly two certificates and nothing else.

    Raises ``HostUnreachable`` (check ``endorsements.body``) otherwise.
    """
    certificates: list[bytes] = []
    position = 0
    while position < len(body):
        block = PEM_BLOCK.match(body, position)
        if block is None or len(certificates) == 2:
            raise wrong_body("a chain of two PEM certificates", _opening(body[position:]))
        try:
            der = base64.b64decode(re.sub(rb"[\r\n]", b"", block[1]), validate=True)
        except binascii.Error:
            raise wrong_body("a chain of two PEM certificates", "base64 that does not decode") from None
        check_der(der, "a certificate in the chain")
        certificates.append(der)
        position = block.end()
    if len(certificates) != 2:
        raise wrong_body("a chain of two PEM certificates", f"{len(certificates)} certificates")
    return certificates[0], certificates[1]


def check_chain(body: bytes) -> None:
    split_chain(body)


def check_sev_certificate(body: bytes, what: str) -> None:
    """2084 bytes of version 1 (SEV API 0.24, AMD 55766, appendix C.1).

    Raises ``HostUnreachable`` (check ``endorsements.body``) otherwise.
    """
    if len(body) != _SEV_CERTIFICATE_BYTES or not body.startswith(_SEV_VERSION):
        raise wrong_body(what, f"{len(body)} bytes, {_opening(body)}")


def split_sev_ca(body: bytes) -> tuple[bytes, bytes]:
    """ASK and ARK, each of version 1, from a file of both (SEV API 0.24, AMD 55766, appendix B.1).

    Raises ``HostUnreachable`` (check ``endorsements.body``) otherwise.
    """
    size = _SEV_CA_SIZES.get(len(body))
    if size is None or not (body.startswith(_SEV_VERSION) and body.startswith(_SEV_VERSION, size)):
        raise wrong_body("ASK and ARK in AMD's format", f"{len(body)} bytes, {_opening(body)}")
    return body[:size], body[size:]


def check_sev_ca(body: bytes) -> None:
    split_sev_ca(body)


def wrong_body(what: str, found: str) -> HostUnreachable:
    return HostUnreachable(
        "endorsements.body",
        f"the endorsement service did not answer with {what}",
        found=found,
        required=what,
        meaning="this is not a key distribution service, or something between rewrote its answer",
        remedy="check the address of the service, or give a folder of endorsements",
    )


def _opening(body: bytes) -> str:
    return repr(bytes(body[:24])) if body else "nothing"
