"""An endorsement service over HTTP: one answer at a time, bounded in bytes and time, and never elsewhere.

An address is the operator's or the tenant's word. Nothing that a peer sent, and no address inside a
certificate, ever becomes one.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from wasmkeep.endorsements.documents import Document
from wasmkeep.endorsements.intel import IntelDocument
from wasmkeep.errors import (
    ConfigurationError,
    HostRefused,
    HostUnreachable,
    TimedOut,
    WasmkeepError,
)

__all__ = ["HttpSource", "RateLimited"]

CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 30.0
UNSAID_PAUSE_SECONDS = 10.0
"""After an answer 429 that does not say for how long."""
MAX_PAUSE_SECONDS = 3600.0
_HOST = re.compile(r"[A-Za-z0-9.:_-]+\Z")
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})


class RateLimited(HostRefused):
    """The service allows no more requests for ``seconds``; until then none is sent to it."""

    def __init__(self, base: str, seconds: float) -> None:
        super().__init__(
            "endorsements.rate_limited",
            f"{base} allows no more requests now",
            found="HTTP status 429",
            required=f"a pause of {seconds:.0f} seconds",
            remedy="try again after it; what was fetched before is kept",
        )
        self.seconds = seconds


class HttpSource:
    """A service. Plain HTTP only on loopback; no redirects; answers bounded in bytes and time.

    ``base_url`` is where the service's ``/vcek/v1/...`` or ``/sgx/certification/v4/...`` begins, such as
    ``https://kdsintf.amd.com`` or a host's own address; ``headers`` carry a host's token; ``verify`` holds
    the authorities that the service's own certificate may come from. One request is under way at a time:
    these services limit rates hard. Use as an async context manager, or call ``aclose``.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        total_seconds: float = TOTAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = _checked_base(base_url)
        self._total_seconds = total_seconds
        self._clock = clock
        self._paused_until = clock()
        self._lock = asyncio.Lock()
        # The environment is not consulted: a proxy or a .netrc there could redirect or replace the token.
        self._client = httpx.AsyncClient(
            headers=dict(headers or {}),
            verify=_no_tls() if self._base.startswith("http://") else verify,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(total_seconds, connect=min(CONNECT_SECONDS, total_seconds)),
        )

    async def __aenter__(self) -> HttpSource:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def fetch(self, document: Document, /) -> bytes:
        """The document's bytes, shape checked.

        Raises ``TimedOut``, ``RateLimited``, ``HostRefused`` (the service said no) or ``HostUnreachable``
        (down, or no such service).
        """
        async with self._lock:
            pause = self._paused_until - self._clock()
            if pause > 0:
                raise RateLimited(self._base, pause)
            body = await self._fetch(document)
        document.check(body)
        return body

    async def _fetch(self, document: Document) -> bytes:
        url = f"{self._base}/{document.url_path}" + (f"?{document.query}" if document.query else "")
        try:
            async with asyncio.timeout(self._total_seconds):
                return await self._get(url, document)
        except (TimeoutError, httpx.TimeoutException):
            raise TimedOut(
                "endorsements.slow",
                f"{self._base} did not deliver {document.description} in time",
                required=f"an answer within {self._total_seconds:g} seconds",
                remedy="try again, or use a folder of endorsements fetched before",
            ) from None
        except httpx.HTTPError as error:
            raise HostUnreachable(
                "endorsements.unreachable",
                f"{self._base} cannot be reached",
                found=type(error).__name__,
                remedy="check the address and the network, or use a folder of endorsements fetched before",
            ) from error

    async def _get(self, url: str, document: Document) -> bytes:
        # Identity coding, so that the bound is on the bytes that arrive and nothing is inflated.
        async with self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
            if response.status_code != 200:
                raise self._refusal(response, document)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise self._misanswered("a compressed answer", "no content coding")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > document.max_bytes:
                    raise self._misanswered(
                        f"more than {document.max_bytes} bytes", f"at most {document.max_bytes} bytes"
                    )
            if not isinstance(document, IntelDocument):
                return bytes(body)
            return document.received(self._chain(response, document), bytes(body))

    def _chain(self, response: httpx.Response, document: IntelDocument) -> str:
        """The issuer chain in the answer's headers; empty where the document has none."""
        for name in document.chain_headers:
            values = response.headers.get_list(name)
            if len(values) == 1:
                return str(values[0])
        if document.chain_headers:
            raise self._misanswered("no issuer chain, or several", f"one header {document.chain_headers[0]}")
        return ""

    def _misanswered(self, found: str, required: str) -> HostUnreachable:
        return HostUnreachable(
            "endorsements.body",
            f"{self._base} answered as no endorsement service does",
            found=found,
            required=required,
            remedy="check the address of the service",
        )

    def _refusal(self, response: httpx.Response, document: Document) -> WasmkeepError:
        status = response.status_code
        found = f"HTTP status {status}"
        if status == 429:
            pause = _pause(response.headers.get("Retry-After", ""))
            self._paused_until = self._clock() + pause
            return RateLimited(self._base, pause)
        if status in {400, 404}:
            return HostRefused(
                "endorsements.unknown",
                f"{self._base} has no {document.description}",
                found=found,
                remedy="check that the names asked for are those of the evidence",
            )
        if status in {401, 403}:
            return HostRefused(
                "endorsements.denied",
                f"{self._base} did not accept the token",
                found=found,
                remedy="check the token",
            )
        if 300 <= status < 400:
            return HostUnreachable(
                "endorsements.redirected",
                f"{self._base} sends elsewhere, which is not followed",
                found=found,
                remedy="configure the address that answers itself",
            )
        return HostUnreachable(
            "endorsements.failing",
            f"{self._base} could not deliver {document.description}",
            found=found,
            required="HTTP status 200",
            remedy="try again later, or use a folder of endorsements fetched before",
        )


def _pause(retry_after: str) -> float:
    """Seconds that a ``Retry-After`` names (RFC 9110, 10.2.3: a number, or a date), within bounds."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return min(max(float(retry_after), 1.0), MAX_PAUSE_SECONDS)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return UNSAID_PAUSE_SECONDS
    seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 1.0), MAX_PAUSE_SECONDS)


def _no_tls() -> ssl.SSLContext:
    """For plain HTTP: trusts no certificate, and spares loading the system's."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _checked_base(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise _bad_base("an address that cannot be read") from None
    if url.userinfo or url.query or url.fragment or not _HOST.match(url.host):
        raise _bad_base("an address with user, query or fragment, or no name")
    if url.scheme != "https" and not (url.scheme == "http" and url.host in _LOOPBACK_NAMES):
        raise _bad_base(f"{url.scheme}://{url.host}"[:100])
    return str(url).rstrip("/")


def _bad_base(found: str) -> ConfigurationError:
    return ConfigurationError(
        "endorsements.address",
        "the address of the endorsement service cannot be used",
        found=found,
        required="https://NAME, or http:// on loopback only",
    )
