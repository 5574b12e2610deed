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

import h11
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from wasmkeep.endorsements import Document
from wasmkeep.errors import (
    HostRefused,
    HostUnreachable,
    InputError,
    TimedOut,
    WasmkeepError,
)
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.snp.memory import ChainMemory
from wasmkeep.protocol.records import MAX_MESSAGE_SIZE
from wasmkeep.tenant.address import HostAddress
from wasmkeep.tenant.channel import Channel
from wasmkeep.tenant.host_api import (
    KEEP_HEADER,
    KeepCreated,
    KeepRequest,
    NotWasmkeep,
    TeeOffered,
    printable,
    read_certificates,
    read_created,
    read_tees,
)
from wasmkeep.tenant.http import ANSWER_TIMEOUT, MAX_ANSWER_SIZE, AnswerTooLong, HttpConnection

REFETCH_SECONDS = 300.0
"""How long a connection goes on with an endorsement that it fetched."""
PLATFORM_SECONDS = 5.0
"""How long it goes on with what the host said of its TEEs: a hint that a refusal corrects."""
# The library's own log would hold the Authorization header; this one has no parent and keeps nothing.
_SILENT = logging.Logger("wasmkeep.tenant.websocket", logging.CRITICAL + 1)


class _NoRedirect(connect):
    """A host that points elsewhere is refused: its word does not choose where a tenant connects."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


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
            answer = await self._get("/v1/platform")
            try:
                self._platform = (time.monotonic(), read_tees(answer))
            except NotWasmkeep as odd:
                raise self._not_wasmkeep(str(odd)) from None
        return self._platform[1]

    async def sev_certificates(self) -> PlatformCertificates:
        """What vouches for the host's SEV platform, nothing believed; asked anew each time.

        Raises HostUnreachable, HostRefused.
        """
        answer = await self._get("/v1/sev/certificates")
        try:
            return read_certificates(answer)
        except NotWasmkeep as odd:
            raise self._not_wasmkeep(str(odd)) from None

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
                additional_headers={"Authorization": f"Bearer {self.token}", KEEP_HEADER: request.encode()},
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
        headers = connection.response.headers if connection.response is not None else Headers()
        try:
            return read_created(headers.get_all(KEEP_HEADER))
        except NotWasmkeep as odd:
            raise self._not_wasmkeep(str(odd)) from None

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
        return self._address.unreachable(found)

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
