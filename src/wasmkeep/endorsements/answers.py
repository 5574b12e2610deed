"""Answers of Intel's certification service, as they are kept: a line with the issuer chain, then the body.

The service sends the chain in a header, percent-encoded, and the body beside it (Intel PCS API 4.0, "Get
Revocation List", "Get TCB Info", "Get Quoting Enclave Identity"). One file holds both, so that neither is
ever found without the other: ``Issuer-Chain: <percent-encoded PEM>``, LF, the body as it came. What the
certificates, lists and statements say is for ``wasmkeep.evidence``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from wasmkeep.endorsements.bodies import PEM_BLOCK, wrong_body

__all__ = ["CHAIN_BYTES", "Answer", "Statement", "der_of_hex", "join", "split", "split_statement"]

CHAIN_BYTES = 16 * 1024
"""Of an issuer chain in PEM; Intel's, of two certificates, have under 2,000."""
_NAME = b"Issuer-Chain: "
_MAX_CERTIFICATES = 4
_SIGNATURE_DIGITS = 128
_HEX = re.compile(rb"[0-9A-Fa-f]+\Z")
_PERCENT_ENCODED = re.compile(r"(?:[A-Za-z0-9+/=\-._~ ]|%[0-9A-Fa-f]{2})+\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """``chain``: PEM, the issuer before the root. ``body``: DER, or a signed statement in JSON."""

    chain: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """``text`` is the JSON that ``signature`` (64 bytes, r and s big-endian) is over, byte for byte."""

    text: str
    signature: bytes


def join(header: str, body: bytes, what: str) -> bytes:
    """The kept form of an answer, from the chain's header and the body.

    Raises ``HostUnreachable`` (check ``endorsements.body``) where the header is not percent-encoded PEM of
    one to four certificates.
    """
    _chain(header, what)
    return _NAME + header.encode("ascii") + b"\n" + body


def split(kept: bytes, what: str) -> Answer:
    """Chain and body of the kept form. Raises ``HostUnreachable`` (check ``endorsements.body``)."""
    line, end, body = kept.partition(b"\n")
    if not line.startswith(_NAME) or not end:
        raise wrong_body(what, "no issuer chain before it")
    return Answer(_chain(line[len(_NAME) :].decode("ascii", "replace"), what), body)


def _chain(header: str, what: str) -> str:
    """The PEM text, with a line's end after the last certificate."""
    if len(header) > 3 * CHAIN_BYTES or not _PERCENT_ENCODED.match(header):
        raise wrong_body(what, "an issuer chain that is not percent-encoded PEM")
    chain = unquote_to_bytes(header.strip(" ")).rstrip(b"\r\n") + b"\n"
    end, count = 0, 0
    while (block := PEM_BLOCK.match(chain, end)) is not None:
        end, count = block.end(), count + 1
    if end != len(chain) or not 1 <= count <= _MAX_CERTIFICATES or end > CHAIN_BYTES:
        raise wrong_body(what, "an issuer chain that is not PEM of one to four certificates")
    return chain.decode("ascii")


def der_of_hex(body: bytes) -> bytes:
    """A list in DER, which caching services (PCCS) send as hexadecimal digits; other bodies unchanged."""
    text = body.strip(b'"\r\n ')
    if len(text) % 2 or not _HEX.match(text):
        return body
    return bytes.fromhex(text.decode("ascii"))


def split_statement(body: bytes, name: str, what: str) -> Statement:
    """Text and signature of ``{"<name>":{...},"signature":"<128 hexadecimal digits>"}``, in that order.

    Nothing is encoded again: the text is cut out of the body as it stands, for the signature is over those
    bytes. Raises ``HostUnreachable`` (check ``endorsements.body``) for anything else.
    """
    try:
        text = body.decode("utf-8").strip()
        opening = re.compile(r'\{\s*"' + re.escape(name) + r'"\s*:\s*(?=\{)').match(text)
        if opening is None:
            raise ValueError(f"no {name}")
        _, end = json.JSONDecoder().raw_decode(text, opening.end())
        rest = re.compile(r'\s*,\s*"signature"\s*:\s*"([0-9A-Fa-f]+)"\s*\}').fullmatch(text, end)
    except (ValueError, RecursionError):
        raise wrong_body(what, "another text than a signed statement") from None
    if rest is None or len(rest[1]) != _SIGNATURE_DIGITS:
        raise wrong_body(what, "no signature of 64 bytes after the statement")
    return Statement(text[opening.end() : end], bytes.fromhex(rest[1]))
