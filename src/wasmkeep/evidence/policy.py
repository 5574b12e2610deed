"""What a tenant requires of a platform. Strict where it says nothing; every exception is a named field.

A policy is built from TOML (`Policy.from_toml`; the keys are in ``docs/policy.md``) or by `Policy.default`.
It is plain data: deciding is left to each platform's ``checks``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType

from wasmkeep import __version__
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.roots import AMD_ROOTS, Root, parse_pin, simulated_root
from wasmkeep.evidence.sev.policy import SevPolicy
from wasmkeep.evidence.sgx.policy import SgxPolicy
from wasmkeep.evidence.snp.policy import SnpPolicy
from wasmkeep.evidence.tdx.policy import TdxPolicy

__all__ = [
    "DEFAULT_CPU",
    "DEFAULT_RUNTIME",
    "KEEP_PLATFORMS",
    "KNOWN_PLATFORMS",
    "SUPPORTED_PLATFORMS",
    "Policy",
    "RevocationPolicy",
    "SevPolicy",
    "SgxPolicy",
    "SnpPolicy",
    "TdxPolicy",
]

KNOWN_PLATFORMS = ("snp", "tdx", "sgx", "sev-es", "sev", "cca", "nitro")
SUPPORTED_PLATFORMS = ("snp", "tdx", "sgx", "sev-es", "sev")
"""Kinds whose evidence can be judged."""
KEEP_PLATFORMS = ("snp", "sev-es", "sev")
"""Kinds that this release has keeps for."""
SEV_PLATFORMS = ("sev-es", "sev")
"""Kinds that `SevPolicy` speaks for."""
DEFAULT_RUNTIME = f"wasmkeep {__version__}"
DEFAULT_CPU = "x86-64-v3"
_DIGEST_DIGITS = (64, 96)


@dataclass(frozen=True)
class RevocationPolicy:
    """``required``: a revocation list in date must come with the evidence. ``in_date``: where none is
    required, one that comes must be in date all the same. ``max_age_days`` counts from when the caller
    retrieved it, where that is known, else from its issue; AMD's lists
    say themselves that they last a year. Intel's lists are part of the collateral, and always required."""

    required: bool = True
    in_date: bool = True
    max_age_days: int = 366

    @cached_property
    def max_age(self) -> timedelta:
        return timedelta(days=self.max_age_days)


@dataclass(frozen=True)
class Policy:
    """A whole policy. ``name`` is for screens (a file name, or ``default``) and decides nothing.

    ``platforms`` is in order of preference, without those that ``denied_platforms`` holds; each kind counts
    only where it names it. ``runtime`` holds names (``wasmkeep 0.1.0``, resolved by the tenant's own
    installation) or launch digests (lower-case hexadecimal digits: 96 for SNP and for TDX's MRTD, 64 for SEV
    and for SGX's MRENCLAVE). ``cpu`` holds levels the tenant may compile for. ``simulated`` is the pin of a
    simulator's root; with it no vendor's root counts. ``max_evidence_age_s``: at most so many seconds since
    the challenge that the evidence answers was made, None where only the challenge itself counts.
    """

    name: str = "default"
    platforms: tuple[str, ...] = ("snp",)
    denied_platforms: tuple[str, ...] = ()
    runtime: tuple[str, ...] = (DEFAULT_RUNTIME,)
    cpu: tuple[str, ...] = (DEFAULT_CPU,)
    simulated: str | None = None
    any_measurement: bool = False
    max_evidence_age_s: int | None = None
    revocation: RevocationPolicy = RevocationPolicy()
    snp: SnpPolicy = field(default_factory=SnpPolicy)
    sev: SevPolicy = field(default_factory=SevPolicy)
    tdx: TdxPolicy = field(default_factory=TdxPolicy)
    sgx: SgxPolicy = field(default_factory=SgxPolicy)

    def __post_init__(self) -> None:
        if self.simulated is not None:
            _checked_pin(self.simulated)
        unknown = [kind for kind in self.platforms if kind not in SUPPORTED_PLATFORMS]
        if unknown or not self.platforms:
            raise _platform_error(unknown[0] if unknown else "")
        left = tuple(kind for kind in self.platforms if kind not in self.denied_platforms)
        if not left:
            raise ConfigurationError(
                "policy.platform",
                "the policy denies every platform that it names",
                found=", ".join(self.denied_platforms),
                required="at least one platform that is not denied",
            )
        object.__setattr__(self, "platforms", left)

    @classmethod
    def default(cls, *, simulated: str | None = None, platforms: tuple[str, ...] = ("snp",)) -> Policy:
        """The shipped policy; ``simulated`` pins a simulator's root (``sha256:…``), ``platforms`` is what the
        user named in its place (``--tee`` without ``--policy``). Raises `ConfigurationError` for an unknown
        platform or a wrong pin."""
        return cls(simulated=simulated, platforms=platforms)

    @classmethod
    def from_toml(cls, text: str, *, name: str) -> Policy:
        """Read a policy file's text; ``name`` is the file's, for messages.

        Raises `ConfigurationError`: ``policy.syntax``, ``policy.unknown-key``, ``policy.value``,
        ``policy.platform``, ``policy.simulated``; each names file and line.
        """
        from wasmkeep.evidence.policy_toml import read_policy

        return read_policy(text, name)

    def narrowed(self, kind: str) -> Policy:
        """This policy for one platform only. Raises `ConfigurationError` ``policy.platform`` when it does not
        name that platform: a flag can choose among what a policy names, never add to it."""
        if kind not in SUPPORTED_PLATFORMS:
            raise _platform_error(kind)
        if kind not in self.platforms:
            raise ConfigurationError(
                "policy.platform",
                f"the policy {self.name} does not name the platform {kind}",
                found=kind,
                required=" or ".join(self.platforms),
                remedy="choose one that it names, or change the policy",
            )
        return replace(self, platforms=(kind,))

    def with_simulated(self, pin: str) -> Policy:
        """This policy with a simulator's root pinned. Raises `ConfigurationError` ``policy.simulated`` when
        the pin is none, is a vendor's root, or the policy pins another."""
        if self.simulated not in (None, pin):
            raise _pin_error(
                f"the policy {self.name} pins another simulator", found=pin, required=self.simulated or ""
            )
        return replace(self, simulated=pin)

    @cached_property
    def runtime_names(self) -> tuple[str, ...]:
        """The entries of ``runtime`` that are names."""
        return tuple(entry for entry in self.runtime if not is_digest(entry))

    @cached_property
    def runtime_digests(self) -> tuple[bytes, ...]:
        """The entries of ``runtime`` that are launch digests: 48 bytes (SNP, TDX) or 32 (SEV, SGX)."""
        return tuple(bytes.fromhex(entry) for entry in self.runtime if is_digest(entry))

    @cached_property
    def roots(self) -> Mapping[bytes, Root]:
        """The roots a chain of AMD's may end at, by SPKI digest: the pinned simulator's alone, or AMD's."""
        if self.simulated is None:
            return AMD_ROOTS
        root = simulated_root(parse_pin(self.simulated))
        return MappingProxyType({root.spki_sha256: root})

    @property
    def identifier(self) -> str:
        """``sha256:<hex>`` over every effective value but the name: policies that decide alike share it."""
        import json

        effective = _plain(replace(self, name=""))
        canonical = json.dumps(effective, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def is_digest(entry: str) -> bool:
    """Whether a ``runtime`` entry is a launch digest rather than a name."""
    return len(entry) in _DIGEST_DIGITS and set(entry) <= set("0123456789abcdef")


def _plain(value: object) -> object:
    """A value of the policy as JSON types, sets sorted."""
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, frozenset):
        return sorted(str(_plain(entry)) for entry in value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value


def _checked_pin(pin: str) -> None:
    try:
        simulated_root(parse_pin(pin))
    except ValueError as error:
        raise _pin_error(
            str(error), found=pin, required="the pin that `wasmkeep host serve --simulated` prints"
        ) from error


def _pin_error(message: str, *, found: str, required: str) -> ConfigurationError:
    return ConfigurationError("policy.simulated", message, found=found, required=required)


def _platform_error(kind: str) -> ConfigurationError:
    known = kind in KNOWN_PLATFORMS
    if not kind:
        message = "a policy must name a platform"
    else:
        message = f"the platform {kind} is {'not supported yet' if known else 'not one that wasmkeep knows'}"
    return ConfigurationError(
        "policy.platform", message, found=kind, required=" or ".join(SUPPORTED_PLATFORMS)
    )
