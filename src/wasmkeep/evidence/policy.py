"""What a tenant requires of a platform. Strict where it says nothing; every exception is a named field.

A policy is built from TOML (`Policy.from_toml`; the keys are in ``docs/policy.md``) or by `Policy.default`.
It is plain data: deciding is left to each platform's ``checks``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from types import MappingProxyType

from wasmkeep import __version__
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.roots import AMD_ROOTS, Root, parse_pin, simulated_root
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevGuestPolicyBit
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = [
    "DEFAULT_CPU",
    "DEFAULT_RUNTIME",
    "KNOWN_PLATFORMS",
    "SUPPORTED_PLATFORMS",
    "Policy",
    "RevocationPolicy",
    "SevPolicy",
    "SnpPolicy",
]

KNOWN_PLATFORMS = ("snp", "tdx", "sgx", "sev-es", "sev")
SUPPORTED_PLATFORMS = ("snp", "sev-es", "sev")
SEV_PLATFORMS = ("sev-es", "sev")
"""Kinds that `SevPolicy` speaks for."""
DEFAULT_RUNTIME = f"wasmkeep {__version__}"
DEFAULT_CPU = "x86-64-v3"
_DIGEST_DIGITS = (64, 96)
_NO_BITS = GuestPolicyBit(0)
_NO_SEV_BITS = SevGuestPolicyBit(0)


@dataclass(frozen=True, slots=True)
class RevocationPolicy:
    """``required``: a revocation list in date must come with the evidence. ``max_age_days`` counts from its
    issue; AMD's lists say themselves that they last a year."""

    required: bool = True
    max_age_days: int = 366

    @property
    def max_age(self) -> timedelta:
        return timedelta(days=self.max_age_days)


@dataclass(frozen=True, slots=True)
class SnpPolicy:
    """SEV-SNP. An empty set of digests or identifiers means that the launch digest alone decides; an empty
    ``chips_allow`` means any chip of the generations named."""

    generations: tuple[str, ...] = tuple(
        entry.name for entry in defaults.GENERATIONS if entry.has_snp and not entry.denied
    )
    signers: tuple[str, ...] = ("vcek",)
    minimum_report_version: int = 3
    minimum_abi: tuple[int, int] = (1, 51)
    minimum_tcb: Mapping[str, Tcb] = field(default_factory=lambda: defaults.MINIMUM_TCB)
    minimum_guest_svn: int = 0
    maximum_vmpl: int = 0
    guest_allow: GuestPolicyBit = GuestPolicyBit.SMT
    guest_require: GuestPolicyBit = _NO_BITS
    provisional_firmware: bool = False
    alias_check: bool = True
    unknown_platform_bits: bool = False
    masked_chip_id: bool = False
    chips_allow: frozenset[bytes] = frozenset()
    chips_deny: frozenset[bytes] = frozenset()
    id_key_digests: frozenset[bytes] = frozenset()
    author_key_digests: frozenset[bytes] = frozenset()
    family_ids: frozenset[bytes] = frozenset()
    image_ids: frozenset[bytes] = frozenset()

    @property
    def lifted_denials(self) -> tuple[str, ...]:
        """Generations that this release denies and this policy names."""
        return _lifted(self.generations)


@dataclass(frozen=True, slots=True)
class SevPolicy:
    """SEV and SEV-ES, where ``platforms`` names them. An empty ``owners`` accepts any owner of a platform,
    else those whose OCA key has one of these digests (SHA-256 of its field, 32 bytes). ``minimum_build`` is
    by generation, 0 where it says nothing. ``guest_allow`` holds protecting bits (NODBG, NOKS, NOSEND) that a
    launch may lack, ``guest_require`` further ones that it must have.
    """

    generations: tuple[str, ...] = tuple(entry.name for entry in defaults.GENERATIONS if not entry.denied)
    minimum_api: tuple[int, int] = (0, 24)
    minimum_build: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    owners: frozenset[bytes] = frozenset()
    guest_allow: SevGuestPolicyBit = _NO_SEV_BITS
    guest_require: SevGuestPolicyBit = _NO_SEV_BITS

    @property
    def lifted_denials(self) -> tuple[str, ...]:
        """Generations that this release denies and this policy names."""
        return _lifted(self.generations)


def _lifted(generations: tuple[str, ...]) -> tuple[str, ...]:
    denied = {entry.name for entry in defaults.GENERATIONS if entry.denied}
    return tuple(name for name in generations if name in denied)


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. ``name`` is for screens (a file name, or ``default``) and decides nothing.

    ``platforms`` is in order of preference; SEV and SEV-ES count only where it names them. ``runtime`` holds
    names (``wasmkeep 0.1.0``, resolved by the tenant's own installation) or launch digests (lower-case
    hexadecimal digits: 96 for SNP, 64 for SEV). ``cpu`` holds levels the tenant may compile for.
    ``simulated`` is the pin of a simulator's root; with it no vendor's root counts.
    """

    name: str = "default"
    platforms: tuple[str, ...] = ("snp",)
    runtime: tuple[str, ...] = (DEFAULT_RUNTIME,)
    cpu: tuple[str, ...] = (DEFAULT_CPU,)
    simulated: str | None = None
    any_measurement: bool = False
    revocation: RevocationPolicy = RevocationPolicy()
    snp: SnpPolicy = field(default_factory=SnpPolicy)
    sev: SevPolicy = field(default_factory=SevPolicy)

    def __post_init__(self) -> None:
        if self.simulated is not None:
            _checked_pin(self.simulated)
        unknown = [kind for kind in self.platforms if kind not in SUPPORTED_PLATFORMS]
        if unknown or not self.platforms:
            raise _platform_error(unknown[0] if unknown else "")

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

    @property
    def runtime_names(self) -> tuple[str, ...]:
        """The entries of ``runtime`` that are names."""
        return tuple(entry for entry in self.runtime if not is_digest(entry))

    @property
    def runtime_digests(self) -> tuple[bytes, ...]:
        """The entries of ``runtime`` that are launch digests: 48 bytes for SNP, 32 for SEV."""
        return tuple(bytes.fromhex(entry) for entry in self.runtime if is_digest(entry))

    @property
    def roots(self) -> Mapping[bytes, Root]:
        """The roots a chain may end at, by SPKI digest: the pinned simulator's alone, or the vendors'."""
        if self.simulated is None:
            return AMD_ROOTS
        root = simulated_root(parse_pin(self.simulated))
        return MappingProxyType({root.spki_sha256: root})

    @property
    def identifier(self) -> str:
        """``sha256:<hex>`` over every effective value but the name: policies that decide alike share it."""
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
