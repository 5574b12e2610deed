"""Launch statement and receipt: COSE_Sign1 by the keep's receipt key (docs/protocol.md section 5).

``parse`` reads a statement without believing it; ``verify_launch`` and ``verify_receipt`` check the
signature under a key that verified evidence vouches for, in the one accepted encoding (RFC 9052 with
deterministic CBOR, RFC 8949 section 4.2), and return what the keep said.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wasmkeep.errors import SessionError
from wasmkeep.protocol.binding import length_prefixed

LAUNCH_TYPE = b"wasmkeep-launch-v1"
RECEIPT_TYPE = b"wasmkeep-receipt-v1"
MAX_STATEMENT_SIZE = 4096
_PROTECTED = bytes.fromhex("a10127")  # {1: -8}: EdDSA (RFC 9053 section 2.2)
_LAUNCH_KEYS = tuple(range(1, 12))
_RECEIPT_KEYS = (*_LAUNCH_KEYS, *range(20, 30))
_DIGEST_SIZE = 32
_MEASUREMENT_SIZE = 48

PRE_ATTESTED = ("sev", "sev-es")
"""TEEs that keeps cannot ask for evidence: their launch is attested before they run."""


@dataclass(frozen=True, slots=True)
class LaunchStatement:
    """What a keep says it is about to run. Digests are 32 bytes, times in ns. The measurement has 48 bytes;
    on SEV and SEV-ES none, because a keep cannot know it there."""

    tee: str
    measurement: bytes
    program_digest: bytes
    target: str
    configuration_digest: bytes
    arguments_digest: bytes
    environment_digest: bytes
    files_digest: bytes
    memory_limit: int
    started_ns: int
    tenant_key_digest: bytes


@dataclass(frozen=True, slots=True)
class Exited:
    """The program ended with this exit code."""

    code: int


@dataclass(frozen=True, slots=True)
class Trapped:
    """The program, or the keep's own safety check, ended in this x86 exception vector."""

    vector: int


@dataclass(frozen=True, slots=True)
class StreamDigest:
    """Salted digest (32 bytes) and length of a standard stream."""

    digest: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a keep says it has run."""

    launch: LaunchStatement
    outcome: Exited | Trapped
    stdin: StreamDigest
    stdout: StreamDigest
    stderr: StreamDigest
    elapsed_ns: int
    peak_memory: int
    exits: int


def verify_launch(message: bytes, receipt_key: bytes, session: bytes) -> LaunchStatement:
    """The launch statement of this session. Raises SessionError where it is not one."""
    return _launch(_payload(message, receipt_key, session, LAUNCH_TYPE), _LAUNCH_KEYS)


def verify_receipt(message: bytes, receipt_key: bytes, session: bytes) -> Receipt:
    """The receipt of this session. Raises SessionError where it is not one."""
    fields = _payload(message, receipt_key, session, RECEIPT_TYPE)
    launch = _launch(fields, _RECEIPT_KEYS)
    return Receipt(
        launch=launch,
        outcome=_outcome(fields[20]),
        stdin=StreamDigest(_bytes(fields, 21, _DIGEST_SIZE), _unsigned(fields, 22)),
        stdout=StreamDigest(_bytes(fields, 23, _DIGEST_SIZE), _unsigned(fields, 24)),
        stderr=StreamDigest(_bytes(fields, 25, _DIGEST_SIZE), _unsigned(fields, 26)),
        elapsed_ns=_unsigned(fields, 27),
        peak_memory=_unsigned(fields, 28),
        exits=_unsigned(fields, 29),
    )


def signed_bytes(payload: bytes, session: bytes, statement_type: bytes) -> bytes:
    """The COSE Sig_structure (RFC 9052 section 4.4), with type and session as external data."""
    external = length_prefixed(statement_type, session)
    return cbor2.dumps(["Signature1", _PROTECTED, external, payload])


def _payload(message: bytes, receipt_key: bytes, session: bytes, statement_type: bytes) -> dict[int, Any]:
    envelope = _decode(message)
    if not isinstance(envelope, list) or len(envelope) != 4:
        raise _malformed("not a COSE_Sign1")
    protected, unprotected, payload, signature = envelope
    if protected != _PROTECTED or unprotected != {}:
        raise _malformed("headers other than EdDSA alone")
    if not isinstance(payload, bytes) or not isinstance(signature, bytes) or len(signature) != 64:
        raise _malformed("payload or signature of another form")
    try:
        Ed25519PublicKey.from_public_bytes(receipt_key).verify(
            signature, signed_bytes(payload, session, statement_type)
        )
    except (InvalidSignature, ValueError):
        raise SessionError(
            "statement.signature",
            "the statement is not signed by this keep for this session",
            found="a signature that does not verify",
            required=f"one by the receipt key, as {statement_type.decode()}",
            meaning="it was altered, or belongs to another session or is another kind of statement",
        ) from None
    fields = _decode(payload)
    if not isinstance(fields, dict):
        raise _malformed("a payload that is not a map")
    return fields


def _decode(data: bytes) -> object:
    """One CBOR item in its only accepted encoding: decoded, re-encoded, compared."""
    if not 0 < len(data) <= MAX_STATEMENT_SIZE:
        raise _malformed(f"{len(data)} bytes")
    stream = io.BytesIO(data)
    try:
        item: object = cbor2.CBORDecoder(stream).decode()
        again = cbor2.dumps(item, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _malformed("bytes that are not CBOR") from error
    if again != data:
        raise _malformed("another encoding of CBOR, or bytes after it")
    return item


def _launch(fields: dict[int, Any], keys: tuple[int, ...]) -> LaunchStatement:
    if tuple(fields) != keys:
        raise _malformed("other fields")
    tee = _text(fields, 1)
    return LaunchStatement(
        tee=tee,
        measurement=_bytes(fields, 2, 0 if tee in PRE_ATTESTED else _MEASUREMENT_SIZE),
        program_digest=_bytes(fields, 3, _DIGEST_SIZE),
        target=_text(fields, 4),
        configuration_digest=_bytes(fields, 5, _DIGEST_SIZE),
        arguments_digest=_bytes(fields, 6, _DIGEST_SIZE),
        environment_digest=_bytes(fields, 7, _DIGEST_SIZE),
        files_digest=_bytes(fields, 8, _DIGEST_SIZE),
        memory_limit=_unsigned(fields, 9),
        started_ns=_unsigned(fields, 10),
        tenant_key_digest=_bytes(fields, 11, _DIGEST_SIZE),
    )


def _outcome(value: object) -> Exited | Trapped:
    match value:
        case [0, int(code)] if 0 <= code < 1 << 32 and not isinstance(code, bool):
            return Exited(code)
        case [1, int(vector)] if 0 <= vector < 256 and not isinstance(vector, bool):
            return Trapped(vector)
    raise _malformed("an outcome of another form")


def _unsigned(fields: dict[int, Any], key: int) -> int:
    value = fields[key]
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise _malformed(f"field {key} is not an unsigned integer")
    return value


def _bytes(fields: dict[int, Any], key: int, size: int) -> bytes:
    value = fields[key]
    if type(value) is not bytes or len(value) != size:
        raise _malformed(f"field {key} is not {size} bytes")
    return value


def _text(fields: dict[int, Any], key: int) -> str:
    value = fields[key]
    if type(value) is not str or not 0 < len(value) <= 64 or not value.isascii() or not value.isprintable():
        raise _malformed(f"field {key} is not short printable text")
    return value


def _malformed(found: str) -> SessionError:
    return SessionError(
        "statement.form",
        "the statement is malformed",
        found=found,
        required="the encoding of docs/protocol.md section 5",
    )
