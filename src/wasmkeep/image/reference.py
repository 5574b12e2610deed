"""Names of keep runtimes, and the launch digests they stand for in this installation.

A name resolves only to images that this installation carries and whose recorded digest they have: a tenant
never asks a host what to expect.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from wasmkeep import __version__
from wasmkeep.errors import ConfigurationError, InputError
from wasmkeep.image.pages import MachineKind, expected_launch_digest, launch

__all__ = ["OWN_NAME", "Reference", "read_image", "recorded_digest", "reference_values", "resolve"]

OWN_NAME = f"wasmkeep {__version__}"
"""The one name that resolves here."""

_PACKAGE = "wasmkeep.image"
_DIGESTS = "digests.toml"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image under a name. A process kind is no TEE: it counts for a simulated machine only."""

    name: str
    kind: MachineKind
    sha256: bytes
    size: int

    @property
    def simulated_only(self) -> bool:
        return self.kind.process

    @property
    def tee(self) -> str:
        return self.kind.tee

    def launch_digest(self, memory: int) -> bytes:
        """The digest (SNP 48 bytes, SEV and SEV-ES 32) that evidence of this image must carry when it was
        launched with ``memory`` bytes."""
        return _launch_digest(self.kind, memory)


def resolve(name: str, tee: str | None = "snp") -> tuple[Reference, ...]:
    """The images that a name stands for on a kind of TEE (None: on all), one a machine kind.

    Raises `ConfigurationError` ``image.unknown`` for any name but this installation's own, and what
    `read_image` raises.
    """
    if name != OWN_NAME:
        raise ConfigurationError(
            "image.unknown",
            f"this installation does not know the runtime {name!r}",
            found=name,
            required=OWN_NAME,
            remedy="name launch digests instead, or install that version",
        )
    return tuple(_reference(kind) for kind in MachineKind if tee in (None, kind.tee))


def reference_values(
    names: Iterable[str], memory: int, *, simulated: bool, tee: str = "snp"
) -> dict[bytes, str]:
    """Launch digests (SNP 48 bytes, SEV and SEV-ES 32) and the names they stand for on this kind of TEE, as
    `wasmkeep.evidence.verify` takes them.

    ``simulated`` is whether the policy pins a simulator: only then the process kind is among them.
    """
    return {
        reference.launch_digest(memory): reference.name
        for name in names
        for reference in resolve(name, tee)
        if simulated or not reference.simulated_only
    }


@lru_cache(maxsize=len(MachineKind))
def read_image(kind: MachineKind) -> bytes:
    """The image file of this installation, after its SHA-256 equalled the recorded one.

    Raises `InputError`: ``image.missing``, ``image.digest``.
    """
    try:
        elf = resources.files(_PACKAGE).joinpath(f"{kind.value}.elf").read_bytes()
    except OSError as error:
        raise _missing(f"the keep's image {kind.value}.elf is not there") from error
    found, recorded = hashlib.sha256(elf).digest(), recorded_digest(kind)
    if not hmac.compare_digest(found, recorded):
        raise InputError(
            "image.digest",
            f"the keep's image {kind.value}.elf is not the one that was recorded",
            found=f"sha256:{found.hex()}",
            required=f"sha256:{recorded.hex()}",
            meaning="it was built from other sources or tools, or was replaced",
            remedy="`make image` builds it again; `make image-record` accepts it on purpose",
        )
    return elf


def recorded_digest(kind: MachineKind) -> bytes:
    """The SHA-256 (32 bytes) that ``digests.toml`` records for an image.

    Raises `InputError`: ``image.missing``, ``image.digests``.
    """
    try:
        text = resources.files(_PACKAGE).joinpath(_DIGESTS).read_text(encoding="utf-8")
    except OSError as error:
        raise _missing(f"{_DIGESTS} of the keep's images is not there") from error
    try:
        digest = bytes.fromhex(tomllib.loads(text)[kind.value]["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "image.digests", f"{_DIGESTS} does not record {kind.value}.elf", required=f"[{kind.value}] sha256"
        ) from error
    if len(digest) != hashlib.sha256().digest_size:
        raise InputError("image.digests", f"{_DIGESTS} records {kind.value}.elf with another size of digest")
    return digest


@lru_cache(maxsize=len(MachineKind))
def _reference(kind: MachineKind) -> Reference:
    elf = read_image(kind)
    return Reference(OWN_NAME, kind, hashlib.sha256(elf).digest(), len(elf))


@lru_cache(maxsize=64)
def _launch_digest(kind: MachineKind, memory: int) -> bytes:
    return expected_launch_digest(launch(kind, read_image(kind), memory))


def _missing(message: str) -> InputError:
    return InputError("image.missing", message, remedy="`make image` builds it")
