"""The API's description (OpenAPI 3.1), as typed data; ``document`` renders it. A test compares the routes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wasmkeep import __version__
from wasmkeep.host.requests import KEEP_HEADER

__all__ = ["OPERATIONS", "Operation", "document"]

Schema = dict[str, object]

_TEXT: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0}
_HEX_32: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_BASE64: Schema = {"type": "string", "pattern": "^[A-Za-z0-9+/]+=*$"}
_HEX: Schema = {"type": "string", "pattern": "^[0-9a-f]*$"}


def _object(
    required: dict[str, Schema], optional: dict[str, Schema] | None = None, *, closed: bool = False
) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }
    if closed:
        schema["additionalProperties"] = False
    return schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_KINDS: Schema = {"enum": ["snp", "sev-es", "sev"]}
_PRODUCTS: Schema = {"enum": ["naples", "rome", "milan", "genoa", "turin"]}
_TCB: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
_IMAGE = _object(
    {
        "kind": {"enum": ["snp", "process", "sev", "sev-es", "process-sev", "process-sev-es"]},
        "sha256": _HEX_32,
    },
    {"name": _TEXT},
)
_LIMITS = _object(
    {
        "keeps": _INTEGER,
        "keeps_per_token": _INTEGER,
        "memory": _INTEGER,
        "message": _INTEGER,
        "idle_seconds": _SECONDS,
        "lifetime_seconds": _SECONDS,
    }
)
_TEE = _object(
    {
        "kind": _KINDS,
        "product": _PRODUCTS,
        "simulated": {"type": "boolean"},
        "root": {"type": ["string", "null"]},
        "cpu": {"enum": ["kvm", "process"]},
        "cpu_reason": _TEXT,
        "slots": _INTEGER,
        "slots_used": _INTEGER,
        "chip_id": _HEX,
    },
    {
        "reported_tcb": _TCB,
        "api": {"type": "string", "pattern": "^[0-9]+[.][0-9]+$"},
        "build": _INTEGER,
    },
)
SCHEMAS: dict[str, Schema] = {
    "Health": _object({"status": {"const": "ok"}, "service": {"const": "wasmkeep"}, "version": _TEXT}),
    "Platform": _object(
        {
            "version": _TEXT,
            "tees": {"type": "array", "items": _TEE},
            "limits": _LIMITS,
            "images": {"type": "array", "items": _TEXT},
        }
    ),
    "KeepRequest": _object(
        {
            "tee": _KINDS,
            "image": _TEXT,
            "memory": {"type": "integer", "minimum": 32 * 1024**2, "multipleOf": 2 * 1024**2},
            "nonce": _HEX_32,
            "tenant_key_digest": _HEX_32,
        },
        {"policy": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}},
        closed=True,
    ),
    "Keep": _object(
        {
            "id": _HEX,
            "state": {"enum": ["launching", "waiting", "connected", "ending", "ended"]},
        },
        {
            "tee": _KINDS,
            "image": _IMAGE,
            "memory": _INTEGER,
            "ending": _object({"code": _INTEGER, "reason": _TEXT}),
        },
    ),
    "KeepCreated": _object(
        {
            "id": _HEX,
            "state": {"const": "launching"},
            "tee": _KINDS,
            "image": _IMAGE,
            "memory": _INTEGER,
            "product": _PRODUCTS,
            "chip_id": _HEX,
        },
        {"reported_tcb": _TCB},
    ),
    "SevCertificates": _object(
        {"product": _PRODUCTS, **dict.fromkeys(("pdh", "pek", "oca", "cek", "ask", "ark"), _BASE64)}
    ),
    "Keeps": _object({"keeps": {"type": "array", "items": _ref("Keep")}}),
    "Error": _object(
        {"error": _object({"code": _TEXT, "message": _TEXT, "found": _TEXT, "required": _TEXT}, closed=True)},
        closed=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. ``answers`` maps a status to the schema (or media type) of its body.

    ``headers`` are the schemas of the header Wasmkeep-Keep in the request and in the answer.
    """

    method: str
    path: str
    summary: str
    answers: dict[int, str]
    request: str | None = None
    headers: tuple[str, str] | None = None
    query: tuple[str, ...] = ()
    open: bool = False
    note: str = field(default="")


_SESSION_NOTE = (
    "A WebSocket (RFC 6455) of binary messages, without extensions, once in a keep's life. Each message is "
    "carried whole between the keep and its tenant; the first is the keep's offer. With tee sev or sev-es "
    "three messages come before it: the tenant's launch message, the host's measurement, the tenant's "
    "secret. Close codes: 1000 it is done; 1001 the host or its operator stopped it; 1003, 1007, 1009 the "
    "tenant sent text, an empty or malformed, or a too large message; 1011 the machine or the host failed; "
    "1013 no key slot is free; 4001 the keep refused, with its code; 4002 the keep misbehaved; 4003 a time "
    "limit. When the connection is lost, the keep is ended."
)
_LEVELS = ("fmcSPL", "blSPL", "teeSPL", "snpSPL", "ucodeSPL")
_DER = "application/pkix-cert"
_BYTES = "application/octet-stream"

OPERATIONS = (
    Operation("get", "/v1/health", "Whether the host is up", {200: "Health"}, open=True),
    Operation("get", "/v1/platform", "The host's TEEs, images and limits", {200: "Platform", 503: "Error"}),
    Operation(
        "post",
        "/v1/keeps",
        "Launch a keep",
        {
            201: "KeepCreated",
            400: "Error",
            408: "Error",
            413: "Error",
            422: "Error",
            429: "Error",
            503: "Error",
        },
        request="KeepRequest",
        note="Answered while the keep is launched. It is ended unless its tenant connects in time.",
    ),
    Operation("get", "/v1/keeps", "The keeps of this token", {200: "Keeps"}),
    Operation("get", "/v1/keeps/{keep}", "One keep", {200: "Keep", 404: "Error"}),
    Operation("delete", "/v1/keeps/{keep}", "End a keep", {204: "", 404: "Error"}),
    Operation(
        "get",
        "/v1/keeps/{keep}/session",
        "The channel to a keep",
        {101: "", 404: "Error", 409: "Error"},
        note=_SESSION_NOTE,
    ),
    Operation(
        "get",
        "/v1/session",
        "Launch a keep and open the channel to it",
        {101: "", 400: "Error", 422: "Error", 429: "Error", 503: "Error"},
        headers=("KeepRequest", "KeepCreated"),
        note="What POST /v1/keeps and the keep's session are, in one request. " + _SESSION_NOTE,
    ),
    Operation(
        "get",
        "/vcek/v1/{product}/cert_chain",
        "ASK and ARK, as AMD's KDS gives them",
        {200: "application/x-pem-file", 404: "Error", 502: "Error"},
    ),
    Operation(
        "get",
        "/vcek/v1/{product}/crl",
        "The ARK's revocation list, as AMD's KDS gives it",
        {200: "application/pkix-crl", 404: "Error", 502: "Error"},
    ),
    Operation(
        "get",
        "/vcek/v1/{product}/{hwid}",
        "A chip's VCEK at a TCB version, as AMD's KDS gives it",
        {200: _DER, 400: "Error", 404: "Error", 429: "Error", 502: "Error", 504: "Error"},
        query=_LEVELS,
        note="fmcSPL for Turin only; the others always.",
    ),
    Operation(
        "get",
        "/v1/sev/certificates",
        "What a tenant verifies before a SEV or SEV-ES launch",
        {200: "SevCertificates", 404: "Error", 429: "Error", 502: "Error", 503: "Error", 504: "Error"},
        note="PDH, PEK, OCA, the CEK as AMD signed it, ASK and ARK, in base64.",
    ),
    Operation(
        "get",
        "/cek/id/{chip}",
        "A chip's signed CEK, as AMD's KDS gives it",
        {200: _BYTES, 400: "Error", 404: "Error", 429: "Error", 502: "Error", 504: "Error"},
    ),
    Operation(
        "get",
        "/sev/ask_ark_{product}.cert",
        "ASK and ARK in AMD's own format, as AMD's download site gives them",
        {200: _BYTES, 404: "Error", 429: "Error", 502: "Error", 504: "Error"},
    ),
    Operation("get", "/openapi.json", "This description", {200: "application/json"}),
)


def document() -> dict[str, object]:
    """The OpenAPI document, ready for JSON."""
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _render(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wasmkeep host",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Launches keeps and carries what tenants and keeps say to each other. "
            "Its answers are hints; tenants trust evidence only.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "wk_…"}},
            "schemas": SCHEMAS,
        },
    }


def _render(operation: Operation) -> dict[str, object]:
    answers = dict(operation.answers)
    answers.setdefault(403, "Error")
    answers.setdefault(421, "Error")
    answers.setdefault(431, "Error")
    if not operation.open:
        answers.setdefault(401, "Error")
    responses = {str(status): _answer(status, answers[status]) for status in sorted(answers)}
    if operation.headers is not None:
        created = {"required": True, "content": _json_of(operation.headers[1])}
        responses["101"]["headers"] = {KEEP_HEADER: created}
    rendered: dict[str, object] = {
        "operationId": operation.method + "".join(part.title() for part in _words(operation.path)),
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": responses,
    }
    if operation.note:
        rendered["description"] = operation.note
    if operation.open:
        rendered["security"] = []
    if operation.request is not None:
        rendered["requestBody"] = {"required": True, "content": _json_of(operation.request)}
    return rendered


def _words(path: str) -> list[str]:
    return "".join(character if character.isalnum() else " " for character in path).split()


def _parameters(operation: Operation) -> list[dict[str, object]]:
    in_path = re.findall(r"{(\w+)}", operation.path)
    found: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in in_path
    ]
    for name in operation.query:
        level: Schema = {"type": "integer", "minimum": 0, "maximum": 255}
        found.append({"name": name, "in": "query", "required": name != "fmcSPL", "schema": level})
    if operation.headers is not None:
        content = _json_of(operation.headers[0])
        found.append({"name": KEEP_HEADER, "in": "header", "required": True, "content": content})
    return found


def _json_of(schema: str) -> dict[str, object]:
    return {"application/json": {"schema": _ref(schema)}}


_DESCRIPTIONS = {
    101: "the connection is a WebSocket now",
    200: "as asked",
    201: "the keep is being launched",
    204: "nothing of the keep is left",
    400: "malformed",
    401: "no valid token",
    403: "a web page from elsewhere",
    404: "not there, or another token's",
    408: "the request did not arrive in time",
    409: "the keep had its connection",
    413: "too large",
    421: "the Host header names another host",
    422: "this host cannot do that",
    429: "too many",
    431: "path and headers are too large",
    502: "the endorsement service failed",
    503: "not now",
    504: "the endorsement service is too slow",
}


def _answer(status: int, body: str) -> dict[str, object]:
    answer: dict[str, object] = {"description": _DESCRIPTIONS[status]}
    if body in SCHEMAS:
        answer["content"] = _json_of(body)
    elif body:
        answer["content"] = {body: {"schema": {} if body == "application/json" else {"type": "string"}}}
    return answer
