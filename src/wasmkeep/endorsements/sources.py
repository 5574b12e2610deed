"""Where endorsements come from: a folder, or a key distribution service over HTTP.

A source fetches and bounds; it trusts nothing and vouches for nothing. Its address comes from the operator or
the tenant, never from a peer.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from wasmkeep.endorsements.bodies import split_chain
from wasmkeep.endorsements.documents import Cek, CertChain, Crl, Document, SevCa, Vcek
from wasmkeep.errors import (
    ConfigurationError,
    HostRefused,
    HostUnreachable,
    InputError,
    TimedOut,
    WasmkeepError,
)

__all__ = ["AMD_KDS", "AmdSource", "Endorsements", "FolderSource", "HttpSource", "Source", "collect"]

AMD_KDS = "https://kdsintf.amd.com"
_AMD_DOWNLOADS = "https://download.amd.com/developer/eula"
CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 30.0
_HOST = re.compile(r"[A-Za-z0-9.:_-]+\Z")
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})


class Source(Protocol):
    """Fetches one document; raises a ``WasmkeepError`` that names what went wrong and what to do."""

    async def fetch(self, document: Document, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Endorsements:
    """What vouches for one chip's reports, all DER."""

    vcek: bytes
    ask: bytes
    ark: bytes
    crl: bytes


async def collect(source: Source, vcek: Vcek) -> Endorsements:
    """Everything that evidence from this chip is checked against. Raises what ``source`` raises."""
    try:
        async with asyncio.TaskGroup() as group:
            certificate = group.create_task(source.fetch(vcek))
            chain = group.create_task(source.fetch(CertChain(vcek.product)))
            crl = group.create_task(source.fetch(Crl(vcek.product)))
    except ExceptionGroup as failures:
        # The first to fail cancelled the others: a caller wants that one error, not a group of one.
        raise failures.exceptions[0] from None
    ask, ark = split_chain(chain.result())
    return Endorsements(certificate.result(), ask, ark, crl.result())


class FolderSource:
    """A folder laid out as ``documents`` names files: exported by a machine, or collected earlier."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, document: Document, /) -> bytes:
        """The document's bytes. Raises ``InputError`` where the folder has none, or something else there."""
        return self.read(document)

    def read(self, document: Document) -> bytes:
        path = self._folder / document.file_path
        try:
            body = read_bounded(path, document.max_bytes)
        except FileNotFoundError:
            raise InputError(
                "endorsements.missing",
                f"{self._folder} has no {_describe(document)}",
                required=document.file_path,
                remedy="`wasmkeep endorsements fetch` gets it",
            ) from None
        except OSError as error:
            raise InputError(
                "endorsements.unreadable",
                f"{path} cannot be read",
                found=error.strerror or type(error).__name__,
            ) from error
        document.check(body)
        return body


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """A regular file's bytes; more than ``max_bytes`` is ``InputError``, other failures are ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError("endorsements.unreadable", f"{path} is not a regular file")
        body = file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise InputError(
            "endorsements.too_large",
            f"{path} is too large",
            found="more",
            required=f"at most {max_bytes} bytes",
        )
    return body


class HttpSource:
    """A KDS-shaped service. Plain HTTP only on loopback; no redirects; answers bounded in bytes and time.

    ``base_url`` is where the service's ``/vcek/v1/...`` begins, such as ``https://kdsintf.amd.com`` or a
    host's own address; ``headers`` carry a host's token. Use as an async context manager, or call ``aclose``.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._base = _checked_base(base_url)
        self._total_seconds = total_seconds
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

        Raises ``TimedOut``, ``HostRefused`` (the service said no) or ``HostUnreachable`` (down, or no such
        service).
        """
        url = f"{self._base}/{document.url_path}" + (f"?{document.query}" if document.query else "")
        try:
            async with asyncio.timeout(self._total_seconds):
                body = await self._get(url, document)
        except (TimeoutError, httpx.TimeoutException):
            raise TimedOut(
                "endorsements.slow",
                f"{self._base} did not deliver {_describe(document)} in time",
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
        document.check(body)
        return body

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
        return bytes(body)

    def _misanswered(self, found: str, required: str) -> HostUnreachable:
        return HostUnreachable(
            "endorsements.body",
            f"{self._base} answered as no key distribution service does",
            found=found,
            required=required,
            remedy="check the address of the service",
        )

    def _refusal(self, response: httpx.Response, document: Document) -> WasmkeepError:
        status, what = response.status_code, _describe(document)
        found = f"HTTP status {status}"
        if status == 429:
            return HostRefused(
                "endorsements.rate_limited",
                f"{self._base} allows no more requests now",
                found=found,
                remedy="wait a minute and try again; what was fetched before is kept",
            )
        if status in {400, 404}:
            return HostRefused(
                "endorsements.unknown",
                f"{self._base} has no {what}",
                found=found,
                remedy="check that product, chip and TCB are those of the report",
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
            f"{self._base} could not deliver {what}",
            found=found,
            required="HTTP status 200",
            remedy="try again later, or use a folder of endorsements fetched before",
        )


class AmdSource:
    """AMD's own addresses: the key distribution service, and the download site for SEV's ASK and ARK."""

    def __init__(self) -> None:
        self._kds = HttpSource(AMD_KDS)
        self._downloads = HttpSource(_AMD_DOWNLOADS)

    async def __aenter__(self) -> AmdSource:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._kds.aclose()
        await self._downloads.aclose()

    async def fetch(self, document: Document, /) -> bytes:
        """The document's bytes. Raises what ``HttpSource.fetch`` raises."""
        source = self._downloads if isinstance(document, SevCa) else self._kds
        return await source.fetch(document)


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


def _describe(document: Document) -> str:
    if isinstance(document, Vcek):
        return f"VCEK of this {document.product} chip at this TCB ({document.query})"
    if isinstance(document, Cek):
        return "signed CEK of this chip"
    if isinstance(document, SevCa):
        return f"ASK and ARK of {document.product.capitalize()} for SEV"
    if isinstance(document, CertChain):
        return f"certificate chain of {document.product}"
    return f"revocation list of {document.product}"
