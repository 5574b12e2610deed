"""Receipt files: what they hold, in one encoding only. Reading one verifies nothing; `receipts` does.

A receipt file is a CMW collection (RFC 9999) in JSON::

    {"__cmwc_t": "tag:wasmkeep.invalid,2026:receipt#1",
     "evidence": ["application/cmw+json", …, 4],                   the report, its endorsements, the binding
     "launch":   ["application/cose; cose-type=\\"cose-sign1\\"", …, 4],
     "receipt":  ["application/cose; cose-type=\\"cose-sign1\\"", …, 4]}

Of SEV and SEV-ES, whose evidence convinces nobody but the tenant that made the launch's keys, two more say
so, as text: ``verifiable-by`` is ``tenant``, and ``protection-lost`` the words of what such a launch does not
protect from, one a line. To verify these the tenant's stored session is needed (``stored_session``).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wasmkeep.errors import ReceiptInvalid
from wasmkeep.evidence import cmw
from wasmkeep.evidence.sev.evidence import KINDS, SevEvidence
from wasmkeep.evidence.sev.lost import inherent
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.protocol import binding

__all__ = ["MAX_RECEIPT_SIZE", "Binding", "ReceiptFile", "decode", "encode", "malformed", "marks_of"]

COLLECTION_TYPE = "tag:wasmkeep.invalid,2026:receipt#1"
MAX_RECEIPT_SIZE = 1 << 20
"""Bytes of a receipt file."""
_STATEMENT_TYPE = 'application/cose; cose-type="cose-sign1"'
_EVIDENCE_INDICATOR, _RESULT_INDICATOR = 1 << 2, 1 << 3
_MEMBERS = {"evidence": cmw.MEDIA_TYPE, "launch": _STATEMENT_TYPE, "receipt": _STATEMENT_TYPE}
_MARKS = ("verifiable-by", "protection-lost")
_MARK_TYPE = "text/plain; charset=us-ascii"
_TEE = re.compile(rb"[a-z]{1,8}(-[a-z]{1,7})?")
_BINDING_LABEL = b"wasmkeep-binding-v1"
_BINDING_SIZES = (
    ("nonce", binding.NONCE_SIZE),
    ("tenant_key_digest", 32),
    ("receiving_key", binding.RECEIVING_KEY_SIZE),
    ("receipt_key", binding.RECEIPT_KEY_SIZE),
    ("hpke_message_digest", 32),
)


@dataclass(frozen=True, slots=True)
class Binding:
    """What the report data and the session's identifier are recomputed from."""

    tee: str
    nonce: bytes
    tenant_key_digest: bytes
    receiving_key: bytes
    receipt_key: bytes
    hpke_message_digest: bytes

    @property
    def report_data(self) -> bytes:
        return binding.report_data(
            tee=self.tee,
            nonce=self.nonce,
            tenant_key_digest=self.tenant_key_digest,
            receiving_key=self.receiving_key,
            receipt_key=self.receipt_key,
        )

    @property
    def session_id(self) -> bytes:
        return binding.session_id(self.report_data, self.hpke_message_digest)

    def encode(self) -> bytes:
        """Label and fields, each with its length as u32 little-endian."""
        values = [getattr(self, name) for name, _ in _BINDING_SIZES]
        return binding.length_prefixed(_BINDING_LABEL, self.tee.encode("ascii"), *values)

    @classmethod
    def decode(cls, data: bytes) -> Binding:
        """Raises ReceiptInvalid unless ``data`` is what `encode` makes."""
        items = _length_prefixed_items(data)
        sizes = [len(item) for item in items]
        if sizes[2:] != [size for _, size in _BINDING_SIZES] or items[0] != _BINDING_LABEL:
            raise malformed("a binding of another form")
        if not _TEE.fullmatch(items[1]):
            raise malformed("a binding to no kind of TEE")
        return cls(items[1].decode("ascii"), *items[2:])


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A receipt file, read; nothing in it is verified."""

    evidence: SnpEvidence | SevEvidence
    binding: Binding
    launch: bytes
    receipt: bytes
    marks: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def tee(self) -> str:
        """The kind of TEE whose evidence it is."""
        return self.evidence.kind if isinstance(self.evidence, SevEvidence) else "snp"

    @property
    def tenant_only(self) -> bool:
        """Whether its evidence convinces nobody but the tenant."""
        return isinstance(self.evidence, SevEvidence)


def encode(*, tee: str, evidence: bytes, launch: bytes, receipt: bytes) -> bytes:
    """The receipt file of a session that ended; ``evidence`` as `collect` gave it."""
    return _to_json({"evidence": evidence, "launch": launch, "receipt": receipt, **marks_of(tee)})


def decode(data: bytes) -> ReceiptFile:
    """Read a receipt file (step 1). Raises ReceiptInvalid, or Rejected for malformed evidence."""
    values = _from_json(data)
    collection = cmw.decode(values["evidence"])
    if collection.binding is None:
        raise malformed("evidence without its binding")
    if not isinstance(collection.evidence, SnpEvidence | SevEvidence):
        raise malformed("evidence of a platform that keeps do not run on")
    marks = {name: values[name] for name in _MARKS if name in values}
    bound = Binding.decode(collection.binding)
    return ReceiptFile(collection.evidence, bound, values["launch"], values["receipt"], marks)


def marks_of(tee: str) -> dict[str, bytes]:
    """What the receipt of a kind of TEE says of itself beside the evidence."""
    for kind in KINDS:
        if kind == tee:
            words = "\n".join(lost.what for lost in inherent(kind))
            return {"verifiable-by": b"tenant", "protection-lost": words.encode("ascii")}
    return {}


def _to_json(values: Mapping[str, bytes]) -> bytes:
    members: dict[str, object] = {"__cmwc_t": COLLECTION_TYPE}
    for label, media_type in _MEMBERS.items():
        members[label] = [media_type, _base64(values[label]), _EVIDENCE_INDICATOR]
    for label in _MARKS:
        if label in values:
            members[label] = [_MARK_TYPE, _base64(values[label]), _RESULT_INDICATOR]
    return json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"


def _from_json(data: bytes) -> dict[str, bytes]:
    if len(data) > MAX_RECEIPT_SIZE:
        raise malformed(f"more than {MAX_RECEIPT_SIZE} bytes")
    try:
        members: Any = json.loads(data)
        labels = [*_MEMBERS, *(label for label in _MARKS if label in members)]
        values = {label: _value(members[label][1]) for label in labels}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise malformed("a file that is no receipt") from error
    if _to_json(values) != data:
        raise malformed("another encoding, or members that a receipt does not have")
    return values


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _value(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _length_prefixed_items(data: bytes) -> list[bytes]:
    items, offset = [], 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "little")
        offset += 4
        if size > len(data) - offset:
            raise malformed("a binding cut short")
        items.append(data[offset : offset + size])
        offset += size
    return items


def malformed(found: str) -> ReceiptInvalid:
    return ReceiptInvalid(
        "receipt.form",
        "this is not a receipt of wasmkeep's",
        found=found,
        required="a receipt file, unaltered",
    )
