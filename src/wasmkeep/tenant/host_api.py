"""What a tenant asks of a host and what a host answers, as types (a host's ``/openapi.json`` describes both).

Answers are hints, read within bounds: text of at most 200 characters, lists of at most 64, and every member
of the form it must have.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wasmkeep.evidence.sev.chain import PlatformCertificates

__all__ = [
    "KEEP_HEADER",
    "KeepCreated",
    "KeepRequest",
    "NotWasmkeep",
    "TeeOffered",
    "printable",
    "read_certificates",
    "read_created",
    "read_tees",
]

KEEP_HEADER = "Wasmkeep-Keep"
"""A keep request as JSON; in the answer, the keep that was created."""

_TEXT_LIMIT = 200  # characters
_LIST_LIMIT = 64
_CERTIFICATE_LIMIT = 4096  # characters of base64


class NotWasmkeep(Exception):
    """An answer that no host of wasmkeep's gives; its text says what it is. Never leaves the client."""


@dataclass(frozen=True, slots=True)
class TeeOffered:
    """A kind of TEE that a host says it has."""

    kind: str
    product: str
    simulated: bool
    cpu: str
    cpu_reason: str
    slots: int
    slots_used: int


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """A keep asked for: bound to this nonce and key digest (32 bytes each); ``memory`` in bytes."""

    tee: str
    image: str
    memory: int
    nonce: bytes
    tenant_key_digest: bytes

    def encode(self) -> str:
        """JSON, in ASCII."""
        return json.dumps(
            {
                "tee": self.tee,
                "image": self.image,
                "memory": self.memory,
                "nonce": self.nonce.hex(),
                "tenant_key_digest": self.tenant_key_digest.hex(),
            }
        )


@dataclass(frozen=True, slots=True)
class KeepCreated:
    """A keep that a host says it has launched."""

    identifier: str
    tee: str
    image_kind: str
    product: str


def read_tees(answer: bytes) -> tuple[TeeOffered, ...]:
    """The answer to ``GET /v1/platform``. Raises NotWasmkeep."""
    tees = _parsed(answer).get("tees")
    if not isinstance(tees, list) or len(tees) > _LIST_LIMIT:
        raise _odd("tees")
    return tuple(_tee(item) for item in tees)


def read_created(said: Sequence[str]) -> KeepCreated:
    """The headers KEEP_HEADER of an opened ``/v1/session``. Raises NotWasmkeep."""
    if len(said) != 1:
        raise NotWasmkeep(f"{len(said)} headers {KEEP_HEADER}")
    answer = _parsed(said[0])
    identifier = _text(answer, "id")
    if not identifier.isascii() or not identifier.replace("-", "").replace("_", "").isalnum():
        raise NotWasmkeep("a keep identifier that is not one")
    image = answer.get("image")
    if not isinstance(image, dict):
        raise _odd("image")
    return KeepCreated(identifier, _text(answer, "tee"), _text(image, "kind"), _text(answer, "product"))


def read_certificates(answer: bytes) -> PlatformCertificates:
    """The answer to ``GET /v1/sev/certificates``. Raises NotWasmkeep."""
    parsed = _parsed(answer)
    names = ("ark", "ask", "cek", "pek", "oca", "pdh")
    return PlatformCertificates(**{name: _base64(parsed, name) for name in names})


def printable(text: str) -> str:
    """A host's words, with everything but printable ASCII escaped, cut to 200 characters."""
    return text[:_TEXT_LIMIT].encode("unicode_escape").decode("ascii")


def _parsed(answer: str | bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError):
        raise NotWasmkeep("an answer that is not JSON") from None
    if not isinstance(parsed, dict):
        raise NotWasmkeep("an answer of another form")
    return parsed


def _tee(item: object) -> TeeOffered:
    if not isinstance(item, dict):
        raise _odd("tees")
    return TeeOffered(
        kind=_text(item, "kind"),
        product=_text(item, "product"),
        simulated=item.get("simulated") is True,
        cpu=_text(item, "cpu"),
        cpu_reason=str(item.get("cpu_reason") or "")[:_TEXT_LIMIT],
        slots=_number(item, "slots"),
        slots_used=_number(item, "slots_used"),
    )


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_LIMIT:
        raise _odd(key)
    return value


def _base64(answer: dict[str, Any], key: str) -> bytes:
    value = answer.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _CERTIFICATE_LIMIT:
        raise _odd(key)
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise _odd(key) from None


def _number(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise _odd(key)
    return value


def _odd(key: str) -> NotWasmkeep:
    return NotWasmkeep(f"no proper {key!r}")
