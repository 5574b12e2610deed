"""Where a command gets endorsements: a folder, a service at an address, or the services that the user set.

The user's own are in ``endorsements.toml``, in the configuration folder (``$XDG_CONFIG_HOME/wasmkeep``)::

    amd = "https://kds.example"             # shaped like AMD's KDS; default: AMD's own
    intel = "https://pccs.example:8081"     # shaped like Intel's PCS, such as a PCCS; default: Intel's own
    authority = "pccs.pem"                  # whose TLS certificates count too; a path beside this file

What services answer is kept in the cache folder (``$XDG_CACHE_HOME/wasmkeep``), apart for each address.
"""

from __future__ import annotations

import hashlib
import tomllib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from wasmkeep.endorsements import Addresses, Document, VendorSource
    from wasmkeep.endorsements.sources import DatedSource

__all__ = ["ONLINE", "Services", "cache_folder", "is_service", "opened", "services_at"]

ONLINE = "online"
"""Stands for the services that the user set, else the vendors' own."""
_FILE = "endorsements.toml"
_MAX_SIZE = 64 * 1024
_KEYS = ("amd", "intel", "authority")


@dataclass(frozen=True, slots=True)
class Services:
    """``authority`` is a PEM file of authorities for the services' own certificates, beside others."""

    addresses: Addresses
    authority: Path | None = None

    def open(self) -> VendorSource:
        """Raises ``ConfigurationError`` for an address or an authority that cannot be used."""
        from wasmkeep.endorsements import VendorSource

        verify = True if self.authority is None else _trusting(self.authority)
        return VendorSource(self.addresses, verify=verify)

    def origin_of(self, document: Document) -> str:
        """The address, or the vendor, that the document comes from."""
        from wasmkeep.endorsements import IntelDocument

        if isinstance(document, IntelDocument):
            return self.addresses.intel or "Intel"
        return self.addresses.amd or "AMD"


def is_service(where: str) -> bool:
    """Whether the word after a flag names services rather than a folder."""
    return where == ONLINE or "://" in where


def services_at(where: str) -> Services:
    """The services that a word names: an address for both vendors' documents, or `ONLINE`.

    Raises ``ConfigurationError`` for a file of settings that is wrong.
    """
    from wasmkeep.endorsements import Addresses

    return _configured() if where == ONLINE else Services(Addresses(where, where))


def cache_folder(addresses: Addresses) -> Path:
    """Where the answers of these services are kept."""
    import platformdirs

    names = f"{addresses.amd or ''}\n{addresses.intel or ''}".encode()
    folder = "vendors" if addresses.amd is addresses.intel is None else hashlib.sha256(names).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("wasmkeep")) / "endorsements" / folder


@asynccontextmanager
async def opened(where: str) -> AsyncIterator[DatedSource]:
    """A folder, or services behind the cache.

    Only services make a network connection. Raises ``InputError`` for a folder that is not there,
    ``ConfigurationError`` for an address or settings that cannot be used.
    """
    from wasmkeep.endorsements import CachedSource, FolderSource

    if not is_service(where):
        yield FolderSource(_folder(where))
        return
    services = services_at(where)
    async with services.open() as origin:
        yield CachedSource(origin, cache_folder(services.addresses))


def _folder(where: str) -> Path:
    folder = Path(where)
    if not folder.is_dir():
        raise InputError("input.directory", f"there is no folder {where}", required="a folder, or a URL")
    return folder


def _configured() -> Services:
    import platformdirs

    from wasmkeep.cli.flags import read_file
    from wasmkeep.endorsements import Addresses

    path = Path(platformdirs.user_config_dir("wasmkeep")) / _FILE
    if not path.exists():
        return Services(Addresses())
    try:
        settings = tomllib.loads(read_file(str(path), "the services' addresses", limit=_MAX_SIZE).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, " ".join(str(error).split()), "TOML") from error
    for key, value in settings.items():
        if key not in _KEYS or not isinstance(value, str):
            raise _wrong(path, key[:64], f"{', '.join(_KEYS)}: each a text")
    authority = settings.get("authority")
    addresses = Addresses(settings.get("amd"), settings.get("intel"))
    return Services(addresses, None if authority is None else path.parent / authority)


def _trusting(authority: Path) -> ssl.SSLContext:
    import ssl

    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    try:
        context.load_verify_locations(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise _wrong(authority, error.strerror or "no certificate", "certificates in PEM") from error
    return context


def _wrong(path: Path, found: str, required: str) -> ConfigurationError:
    return ConfigurationError(
        "endorsements.settings", f"{path} cannot be used", found=found, required=required
    )
