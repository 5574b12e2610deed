"""Request bodies, read within bounds and parsed into types; every member checked, unknown ones refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from wasmkeep.host.replies import Refused
from wasmkeep.host.settings import MEMORY_STEP, MIN_KEEP_MEMORY, Limits

__all__ = ["KEEP_HEADER", "KeepRequest", "parse_keep_request", "read_body", "read_keep_header"]

KEEP_HEADER = "Wasmkeep-Keep"
"""Of ``/v1/session``: a keep request as JSON, and in the answer what was created."""

_HEX_32_BYTES = re.compile(r"[0-9a-f]{64}\Z")
_IMAGE_NAME = re.compile(r"[a-z0-9][a-z0-9 ._+-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """A tenant's request for a keep. ``memory`` in bytes; nonce and key digest are 32 bytes each.

    ``policy`` is an SNP guest policy; a tenant of another kind states its policy with the launch.
    """

    tee: str
    image: str
    memory: int
    nonce: bytes
    tenant_key_digest: bytes
    policy: int | None


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body. Raises ``Refused`` where it is too large or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(limits.request_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.request_bytes:
                    raise Refused(
                        413,
                        "request_too_large",
                        "the request is too large",
                        required=f"at most {limits.request_bytes} bytes",
                    )
    except TimeoutError:
        raise Refused(408, "request_slow", "the request did not arrive in time") from None
    except ClientDisconnect:
        raise Refused(400, "bad_request", "the request was cut") from None
    return bytes(body)


def read_keep_header(values: Sequence[str]) -> bytes:
    """The request in the header of ``/v1/session``. Raises ``Refused`` where there is not exactly one."""
    if len(values) != 1:
        raise _bad(f"the header {KEEP_HEADER}", f"{len(values)} of them", "one")
    return values[0].encode("latin-1")


def parse_keep_request(body: bytes) -> KeepRequest:
    """What ``POST /v1/keeps`` and ``/v1/session`` take. Raises ``Refused`` with the member at fault."""
    members = _parse_object(body)
    known = {"tee", "image", "memory", "nonce", "tenant_key_digest", "policy"}
    for name in members:
        if name not in known:
            raise _bad("a member that is not known", repr(name[:32]), ", ".join(sorted(known)))
    tee = _text(members, "tee", _IMAGE_NAME, "the kind of a TEE")
    if tee != "snp" and "policy" in members:
        raise _bad("policy", f"a member of a request for {tee}", "the policy in the launch message")
    memory = _integer(members, "memory", None, 2**40)
    if memory < MIN_KEEP_MEMORY or memory % MEMORY_STEP:
        raise _bad("memory", f"{memory} bytes", f"a multiple of {MEMORY_STEP}, at least {MIN_KEEP_MEMORY}")
    return KeepRequest(
        tee=tee,
        image=_text(members, "image", _IMAGE_NAME, "the name of an image"),
        memory=memory,
        nonce=bytes.fromhex(_text(members, "nonce", _HEX_32_BYTES, "64 lower-case hexadecimal digits")),
        tenant_key_digest=bytes.fromhex(
            _text(members, "tenant_key_digest", _HEX_32_BYTES, "64 lower-case hexadecimal digits")
        ),
        policy=_integer(members, "policy", None, 2**64 - 1) if "policy" in members else None,
    )


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        raise _bad("the request", "something else", "JSON in UTF-8") from None
    if not isinstance(parsed, dict):
        raise _bad("the request", "JSON of another kind", "a JSON object")
    return parsed


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _bad("the request", "a member that stands twice", "each member once")
    return members


def _text(members: Mapping[str, Any], name: str, form: re.Pattern[str], required: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not form.match(value):
        raise _bad(name, "nothing" if value is None else "something else", required)
    return value


def _integer(members: Mapping[str, Any], name: str, default: int | None, most: int) -> int:
    value = members.get(name, default)
    if type(value) is not int or not 0 <= value <= most:
        raise _bad(name, "nothing" if value is None else "something else", f"an integer, 0 to {most}")
    return value


def _bad(what: str, found: str, required: str) -> Refused:
    return Refused(400, "bad_request", f"malformed: {what}", found=found, required=required)
