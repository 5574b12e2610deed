"""The two forms of a collection, JSON and CBOR (RFC 9999, 3.3): kind of TEE and values by label, to bytes.

A member is a record: an array of media type, value and indicator. JSON has the value in base64url without
padding, no white space, and the members in the order of `cmw_records`. CBOR has it as bytes, and is
deterministic (`cbor`). What reads back but would be written differently is refused.
"""

from __future__ import annotations

import base64
import json
from enum import StrEnum

from wasmkeep.evidence import cbor
from wasmkeep.evidence.cmw_records import COLLECTION_TYPES, RECORDS, REQUIRED, Records, Values, malformed
from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = ["MAX_COLLECTION_SIZE", "Form", "read", "write"]

MAX_COLLECTION_SIZE = 512 * 1024
"""Bytes of either form."""

_TYPE = "__cmwc_t"


class Form(StrEnum):
    """How a collection is written; one byte tells them apart when it is read."""

    JSON = "json"
    CBOR = "cbor"


def write(kind: str, values: Values, form: Form) -> bytes:
    """The bytes; labels that the kind does not have are left out."""
    named = [(label, record) for label, record in RECORDS[kind].items() if label in values]
    if form is Form.CBOR:
        map_: dict[cbor.Item, cbor.Item] = {_TYPE: COLLECTION_TYPES[kind]}
        for label, record in named:
            map_[label] = [record.media_type, values[label], record.indicator]
        return cbor.encode(map_)
    members: dict[str, object] = {_TYPE: COLLECTION_TYPES[kind]}
    for label, record in named:
        text = base64.urlsafe_b64encode(values[label]).rstrip(b"=").decode("ascii")
        members[label] = [record.media_type, text, record.indicator]
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def read(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Kind of TEE, and the values by label. Raises `Rejected`: ``cmw.size``, ``cmw.malformed``,
    ``cmw.type``."""
    if len(data) > MAX_COLLECTION_SIZE:
        found, required = f"{len(data)} bytes", f"≤ {MAX_COLLECTION_SIZE} bytes"
        message, advice = "the collection is too long", "get the collection again, whole"
        raise Rejected(
            Finding("cmw.size", Kind.MALFORMED, message, found, required, "RFC 9999, 3.3", advice=advice)
        )
    # Arrays, maps and tags of CBOR begin with a byte from 80h on, which no JSON text does.
    form = Form.CBOR if data[:1] >= b"\x80" else Form.JSON
    members = _members(data, form)
    named = members.pop(_TYPE, None) if isinstance(members, dict) else None
    kind = next((kind for kind, name in COLLECTION_TYPES.items() if name == named), None)
    if kind is None or not isinstance(members, dict):
        raise _not_ours()
    values = {
        str(label): _value(RECORDS[kind], str(label), member, form) for label, member in members.items()
    }
    missing = [label for label in REQUIRED[kind] if label not in values]
    if missing:
        raise malformed("the collection is incomplete", f"no {missing[0]}", " and ".join(REQUIRED[kind]))
    if write(kind, values, form) != data:
        raise malformed("not the one encoding of this collection", "another", "no white space, fixed order")
    return kind, values


def _members(data: bytes, form: Form) -> object:
    if form is Form.CBOR:
        try:
            return cbor.decode(data)
        except cbor.NotCbor as error:
            raise malformed(
                "not CBOR in its deterministic encoding", str(error), "a CMW collection"
            ) from error
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise malformed("not JSON", type(error).__name__, "a CMW collection") from error
    return found


def _value(records: Records, label: str, member: object, form: Form) -> bytes:
    record = records.get(label)
    if record is None:
        raise malformed("an unknown member", repr(label)[:80], ", ".join(records))
    required = f"[{record.media_type!r}, {'bytes' if form is Form.CBOR else 'base64url'}, {record.indicator}]"
    carrier = bytes if form is Form.CBOR else str
    if not isinstance(member, list) or len(member) != 3 or not isinstance(member[1], carrier):
        raise malformed(f"{label} is not a record", type(member).__name__, required)
    media_type, carried, indicator = member
    if media_type != record.media_type or indicator != record.indicator or isinstance(indicator, bool):
        raise malformed(f"{label} is another kind of record", repr([media_type, indicator])[:80], required)
    value = carried if isinstance(carried, bytes) else _from_text(label, carried, required)
    if not value or len(value) > record.limit:
        raise malformed(f"{label} has a wrong size", f"{len(value)} bytes", f"1 to {record.limit} bytes")
    return value


def _from_text(label: str, text: str, required: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise malformed(f"{label} is not base64url", "", required) from error


def _not_ours() -> Rejected:
    return Rejected(
        Finding(
            "cmw.type",
            Kind.UNSUPPORTED,
            "not a collection of wasmkeep's",
            "",
            " or ".join(COLLECTION_TYPES.values()),
            "RFC 9999, 3.3",
            advice="take the evidence out of it, and give that",
        )
    )
