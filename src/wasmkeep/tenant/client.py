"""The tenant's connection to a host: JSON over HTTP, and one WebSocket a keep.

Everything a host answers is a hint, read within bounds and checked for form; nothing here decides
whether a keep is to be trusted. The token travels in the Authorization header alone. Plain ``http`` is
accepted for loopback addresses only.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)

from wasmkeep.endorsements import Document
from wasmkeep.errors import (
    HostRefused,
    HostUnreachable,
    InputError,
    SessionError,
    TimedOut,
    WasmkeepError,
)
from wasmkeep.evidence.snp.memory import ChainMemory
from wasmkeep.protocol.records import MAX_MESSAGE_SIZE
from wasmkeep.tenant.address import HostAddress
from wasmkeep.tenant.http import ANSWER_TIMEOUT, MAX_ANSWER_SIZE, AnswerTooLong, HttpConnection

REFETCH_SECONDS = 300.0
"""How long a connection goes on with an endorsement that it fetched."""
PLATFORM_SECONDS = 5.0
"""How long it goes on with what the host said of its TEEs: a hint that a refusal corrects."""
_KEEP_HEADER = "Wasmkeep-Keep"
"""A keep request as JSON; in the answer, the keep that was created."""
# The library's own log would hold the Authorization header; this one has no parent and keeps nothing.
_SILENT = logging.Logger("wasmkeep.tenant.websocket", logging.CRITICAL + 1)
_CLOSE_REASONS = {
    4001: "the keep refused to go on",
    4002: "the host ended a keep that misbehaved",
    4003: "the host ended the keep: nothing moved for too long",
}


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


class _NoRedirect(connect):
    """A host that points elsewhere is refused: its word does not choose where a tenant connects."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Channel:
    """Opaque messages to and from one keep, carried by its host."""

    def __init__(self, connection: ClientConnection, host: str) -> None:
        self._connection = connection
        self._host = host

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise self._closed(closed) from None

    async def receive(self) -> bytes | None:
        """The next message, or None where the host closed the connection in an orderly way."""
        try:
            message = await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == 1000:
                return None
            raise self._closed(closed) from None
        return bytes(message)

    def _closed(self, closed: ConnectionClosed) -> WasmkeepError:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        reason = closed.rcvd.reason if closed.rcvd is not None else ""
        error = TimedOut if code == 4003 else SessionError
        return error(
            "session.closed",
            _CLOSE_REASONS.get(code, "the connection to the keep was cut"),
            found=f"close code {code}" + (f", {printable(reason)}" if reason else ""),
            required="a verified receipt",
            meaning=f"what {self._host} says of the cause is its word alone",
            remedy="run again; if it happens again, ask the host's operator or choose another host",
        )


@dataclass(slots=True)
class HostClient:
    """One host, one token. Use as ``async with HostClient(url, token) as host``."""

    url: str
    token: str = field(repr=False)
    ca_file: str | None = None
    _address: HostAddress = field(init=False, repr=False)
    _http: HttpConnection = field(init=False, repr=False)
    _tls: ssl.SSLContext | None = field(init=False, default=None, repr=False)
    chains: ChainMemory = field(init=False, default_factory=ChainMemory, repr=False)
    _platform: tuple[float, tuple[TeeOffered, ...]] | None = field(init=False, default=None, repr=False)
    _closing: set[asyncio.Task[None]] = field(init=False, default_factory=set, repr=False)
    _documents: dict[Document, tuple[float, bytes]] = field(init=False, default_factory=dict, repr=False)
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock, repr=False)

    def __post_init__(self) -> None:
        self._address = HostAddress.parse(self.url)
        if self._address.secure:
            self._tls = _tls_context(self.ca_file)
        self._http = HttpConnection(self._address, self._tls)

    async def __aenter__(self) -> HostClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def close(self) -> None:
        """Close the idle connection. Keeps that are running are ended by their own channel's end."""
        self._http.close()

    @property
    def name(self) -> str:
        """The host as people write it."""
        return self._address.url

    async def platform(self) -> tuple[TeeOffered, ...]:
        """The TEEs that the host says it has, asked at most every few seconds.

        Raises HostUnreachable, HostRefused.
        """
        if self._platform is None or time.monotonic() - self._platform[0] >= PLATFORM_SECONDS:
            answer = self._parsed(await self._get("/v1/platform"))
            self._platform = (time.monotonic(), tuple(_tee(item) for item in _list(answer, "tees")))
        return self._platform[1]

    async def fetch(self, document: Document, /) -> bytes:
        """An endorsement, as the host's copy of a key distribution service has it. Raises HostRefused."""
        kept = self._documents.get(document)
        if kept is not None and time.monotonic() - kept[0] < REFETCH_SECONDS:
            return kept[1]
        query = f"?{document.query}" if document.query else ""
        body = await self._get(f"/{document.url_path}{query}")
        document.check(body)
        self._documents[document] = (time.monotonic(), body)
        return body

    @asynccontextmanager
    async def session(self, request: KeepRequest) -> AsyncIterator[tuple[KeepCreated, Channel]]:
        """A new keep and its channel. When it is left, the host ends the keep.

        Raises HostUnreachable, HostRefused, TimedOut.
        """
        connection = await self._connect(request)
        try:
            yield self._created(connection), Channel(connection, self.name)
        finally:
            # Saying goodbye takes a round trip, for which nobody needs to wait.
            closing = asyncio.create_task(connection.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _connect(self, request: KeepRequest) -> ClientConnection:
        scheme = "wss" if self._address.secure else "ws"
        netloc = self._address.url.split("://", 1)[1]
        try:
            connection = await _NoRedirect(
                f"{scheme}://{netloc}/v1/session",
                additional_headers={"Authorization": f"Bearer {self.token}", _KEEP_HEADER: request.encode()},
                compression=None,
                max_size=MAX_MESSAGE_SIZE,
                max_queue=8,
                open_timeout=ANSWER_TIMEOUT,
                close_timeout=2.0,
                ping_interval=None,
                proxy=None,
                ssl=self._tls,
                logger=_SILENT,
            )
        except TimeoutError:
            raise self._silent() from None
        except InvalidStatus as error:
            self._platform = None
            raise self._refused(error.response.status_code, bytes(error.response.body)) from None
        except (InvalidHandshake, InvalidMessage, InvalidURI) as error:
            raise self._not_wasmkeep(printable(str(error))) from None
        except (OSError, UnicodeError) as error:
            raise self._unreachable(error) from None
        _notice_a_dead_host(connection)
        return connection

    def _created(self, connection: ClientConnection) -> KeepCreated:
        said = [] if connection.response is None else connection.response.headers.get_all(_KEEP_HEADER)
        if len(said) != 1:
            raise self._not_wasmkeep(f"{len(said)} headers {_KEEP_HEADER}")
        answer = self._parsed(said[0])
        identifier = _text(answer, "id")
        if not identifier.isascii() or not identifier.replace("-", "").replace("_", "").isalnum():
            raise self._not_wasmkeep("a keep identifier that is not one")
        image_kind = _text(_map(answer, "image"), "kind")
        return KeepCreated(identifier, _text(answer, "tee"), image_kind, _text(answer, "product"))

    def _parsed(self, answer: str | bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except (ValueError, RecursionError):
            raise self._not_wasmkeep("an answer that is not JSON") from None
        if not isinstance(parsed, dict):
            raise self._not_wasmkeep("an answer of another form")
        return parsed

    async def _get(self, path: str) -> bytes:
        headers = [("Authorization", f"Bearer {self.token}"), ("Accept", "*/*")]
        async with self._lock:
            try:
                status, answer = await self._http.get(path, headers)
            except TimeoutError:
                raise self._silent() from None
            except AnswerTooLong:
                raise self._not_wasmkeep(f"an answer above {MAX_ANSWER_SIZE} bytes") from None
            except h11.ProtocolError as error:
                raise self._not_wasmkeep(f"no HTTP ({printable(str(error))})") from None
            except (OSError, UnicodeError) as error:
                raise self._unreachable(error) from None
        if 200 <= status < 300:
            return answer
        self._platform = None
        raise self._refused(status, answer)

    def _refused(self, status: int, answer: bytes) -> WasmkeepError:
        try:
            said = json.loads(answer)["error"]
            message, code = str(said["message"]), str(said["code"])
            details = [f"{key} {printable(str(said[key]))}" for key in ("found", "required") if said.get(key)]
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._not_wasmkeep(f"HTTP status {status}")
        remedy = {
            401: "give the host's token: --token-file FILE or WASMKEEP_TOKEN",
            403: "give a token of this host: --token-file FILE or WASMKEEP_TOKEN",
            429: "try again later, or choose another host",
            503: "try again later, or choose another host",
        }.get(status, "")
        return HostRefused(
            f"host.{printable(code)}",
            f"the host refused: {printable(message)}",
            found="; ".join([f"HTTP status {status} from {self.name}", *details]),
            remedy=remedy,
        )

    def _unreachable(self, error: OSError | UnicodeError) -> HostUnreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            found = f"a certificate that does not verify: {error.verify_message}"
        elif isinstance(error, UnicodeError):
            found = "a name that no network has"
        else:
            found = error.strerror or type(error).__name__
        return HostUnreachable(
            "host.unreachable",
            f"the host {self.name} cannot be reached",
            found=found,
            remedy="is `wasmkeep host serve` running there?",
        )

    def _silent(self) -> TimedOut:
        return TimedOut(
            "host.silent",
            f"the host {self.name} did not answer",
            found=f"nothing for {ANSWER_TIMEOUT:.0f} s",
            remedy="try again, or choose another host",
        )

    def _not_wasmkeep(self, found: str) -> HostUnreachable:
        return HostUnreachable(
            "host.not-wasmkeep",
            f"{self.name} does not answer as a wasmkeep host",
            found=found,
            remedy="check address and port",
        )


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            "host.ca-file",
            "the certificates to accept for the host cannot be read",
            found=f"{ca_file}: {error.strerror or 'no PEM certificates'}",
            required="a file of PEM certificates",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _notice_a_dead_host(connection: ClientConnection) -> None:
    """Probes by the operating system: a host that vanished silently ends the session within a minute."""
    carrier = connection.transport.get_extra_info("socket")
    carrier.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (
        (socket.TCP_KEEPIDLE, 30),
        (socket.TCP_KEEPINTVL, 10),
        (socket.TCP_KEEPCNT, 3),
        (socket.TCP_USER_TIMEOUT, 60_000),
    ):
        carrier.setsockopt(socket.IPPROTO_TCP, option, seconds)


def printable(text: str) -> str:
    """A host's words, with everything but printable ASCII escaped, cut to 200 characters."""
    return text[:200].encode("unicode_escape").decode("ascii")


def _tee(item: object) -> TeeOffered:
    if not isinstance(item, dict):
        raise _malformed("tees")
    return TeeOffered(
        kind=_text(item, "kind"),
        product=_text(item, "product"),
        simulated=item.get("simulated") is True,
        cpu=_text(item, "cpu"),
        cpu_reason=str(item.get("cpu_reason") or "")[:200],
        slots=_number(item, "slots"),
        slots_used=_number(item, "slots_used"),
    )


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise _malformed(key)
    return value


def _number(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise _malformed(key)
    return value


def _map(answer: dict[str, Any], key: str) -> dict[str, Any]:
    value = answer.get(key)
    if not isinstance(value, dict):
        raise _malformed(key)
    return value


def _list(answer: dict[str, Any], key: str) -> list[object]:
    value = answer.get(key)
    if not isinstance(value, list) or len(value) > 64:
        raise _malformed(key)
    return value


def _malformed(key: str) -> HostUnreachable:
    return HostUnreachable(
        "host.not-wasmkeep",
        "the host's answer is not one of wasmkeep's",
        found=f"no proper {key!r}",
        remedy="check address, port and version",
    )
