"""Who may come in: checked for every request, HTTP and WebSocket alike, before anything is made for it.

1. The Host header names this host. A web page whose name was pointed at this address (DNS rebinding) does
   not.
2. There is no Origin header, or it is this host's own. Any web page can reach loopback; none may use a keep.
3. The token in the Authorization header is a valid one. Nowhere else is a token looked for.

``/v1/health`` needs no token. Afterwards the request's scope carries the token's owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from wasmkeep.errors import WasmkeepError
from wasmkeep.host.replies import Refused
from wasmkeep.host.settings import Limits
from wasmkeep.host.tokens import Tokens

__all__ = ["LOOPBACK_NAMES", "Gate", "owner_in", "refuse"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_PATHS = frozenset({"/v1/health"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9.-]{0,252})))(?::[0-9]{1,5})?\Z")
_OWNER = "wasmkeep.owner"


def owner_in(scope: Scope) -> str:
    """The owner that the gate put into a request's scope."""
    return cast(str, scope[_OWNER])


class Gate:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, tokens: Tokens, *, names: Iterable[str], limits: Limits) -> None:
        self._app = app
        self._header_bytes = limits.header_bytes
        self._tokens = tokens
        self._names = frozenset(name.lower() for name in names)
        self._requests = limits.requests
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            if scope["type"] == "http" and self._in_work >= self._requests:
                raise Refused(503, "requests", "the host is answering as many requests as it may")
        except Refused as refused:
            await refuse(refused, scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        self._in_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_work -= 1

    def _check(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = (
            len(scope["path"])
            + len(scope["query_string"])
            + sum(len(name) + len(value) for name, value in headers)
        )
        if size > self._header_bytes:
            raise Refused(431, "headers_too_large", "path and headers are too large")
        host = self._check_host(headers)
        self._check_origin(headers, scope, host)
        if scope["path"] not in _OPEN_PATHS:
            scope[_OWNER] = self._check_token(headers)

    def _check_host(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) == 1:
            parts = _HOST.match(hosts[0].decode("latin-1").lower())
            if parts is not None and (parts[1] or parts[2]) in self._names:
                return hosts[0]
        raise Refused(421, "foreign_host", "the request is for another host", required="this host's own name")

    def _check_origin(self, headers: list[tuple[bytes, bytes]], scope: Scope, host: bytes) -> None:
        scheme = b"https" if scope["scheme"] in {"https", "wss"} else b"http"
        own = scheme + b"://" + host.lower()
        if any(value.lower() != own for name, value in headers if name == b"origin"):
            raise Refused(403, "foreign_origin", "requests of web pages from elsewhere are refused")

    def _check_token(self, headers: list[tuple[bytes, bytes]]) -> str:
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) == 1:
            scheme, _, token = given[0].decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                owner = self._owner(token)
                if owner is not None:
                    return owner
        raise Refused(
            401,
            "unauthorized",
            "no valid token",
            required="one header `Authorization: Bearer wk_…` with a token of this host",
        )

    def _owner(self, token: str) -> str | None:
        try:
            return self._tokens.owner(token)
        except WasmkeepError:
            # The token file cannot be trusted now (mode, damage): nobody comes in. The operator's log says
            # why.
            raise Refused(503, "tokens", "the host cannot read its tokens") from None


async def refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal; a WebSocket is refused before it is one (ASGI, WebSocket Denial Response)."""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
    response = refused.response()
    if scope["type"] == "http":
        # What is left of the request is not read.
        response.headers["Connection"] = "close"
    await response(scope, receive, send)
