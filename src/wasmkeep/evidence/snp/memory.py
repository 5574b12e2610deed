"""Chains and revocation lists that already verified, remembered by a caller that judges many reports.

Parsing three certificates and checking their signatures costs more than the report itself, and gives the same
answer for the same bytes and the same accepted roots. So a caller may keep a `ChainMemory` and hand it to
`wasmkeep.evidence.verify`. Only what verified is remembered, under all that it follows from: certificates
with their roots; and how a platform stands with a policy, by every signed byte of a report but its report
data, measurement, host data and report ids. Those, signatures of reports, dates and revocation are judged
anew each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.roots import Root
    from wasmkeep.evidence.sev.chain import AuthenticPlatform, PlatformCertificates
    from wasmkeep.evidence.snp.certificates import RevocationList
    from wasmkeep.evidence.snp.chain import AuthenticAuthority, AuthenticKey
    from wasmkeep.evidence.snp.evidence import SnpEvidence
    from wasmkeep.evidence.snp.platform import Platform
    from wasmkeep.evidence.snp.standing import Standing

__all__ = ["ChainMemory"]

MAX_ENTRIES = 32
"""Of each kind; the one that was used longest ago goes first."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Recent(Generic[_Key, _Value]):
    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """The value of ``key``, made now if it is new; what ``make`` raises is not remembered."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
            return value
        value = make()
        if value is not None:
            self._entries[key] = value
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return value


class ChainMemory:
    """For one thread at a time. Holds public material only."""

    def __init__(self) -> None:
        self._keys: _Recent[tuple[object, ...], AuthenticKey] = _Recent()
        self._described: _Recent[tuple[AuthenticKey, bytes], Platform] = _Recent()
        self._standings: _Recent[tuple[int, Platform], Standing | None] = _Recent()
        self._lists: _Recent[tuple[bytes, bytes], RevocationList] = _Recent()
        self._platforms: _Recent[tuple[object, ...], AuthenticPlatform] = _Recent()

    def key(
        self,
        evidence: SnpEvidence,
        signer: str,
        roots: Mapping[bytes, Root],
        make: Callable[[], AuthenticKey],
    ) -> AuthenticKey:
        """The authenticated key of these certificates under these roots, which their pins tell apart."""
        known = (
            evidence.vcek,
            evidence.chain,
            signer,
            *roots,
        )
        return self._keys.get(known, make)

    def described(self, key: AuthenticKey, standing_part: bytes, make: Callable[[], Platform]) -> Platform:
        """What key and report say of the platform; see `wasmkeep.evidence.snp.report.standing_part`."""
        return self._described.get((key, standing_part), make)

    def standing(
        self, policy: Policy, platform: Platform, make: Callable[[], Standing | None]
    ) -> Standing | None:
        """How this platform stands with this policy, which cannot change; a refusal is not remembered."""
        return self._standings.get((id(policy), platform), make)

    def platform(
        self,
        certificates: PlatformCertificates,
        roots: Mapping[bytes, Root],
        owners: frozenset[bytes],
        make: Callable[[], AuthenticPlatform],
    ) -> AuthenticPlatform:
        """The authenticated SEV platform of these certificates under these roots, of one of these owners."""
        return self._platforms.get((certificates, tuple(roots.items()), owners), make)

    def revocation_list(
        self, crl: bytes, authority: AuthenticAuthority, make: Callable[[], RevocationList]
    ) -> RevocationList:
        """The list, parsed, which this authority's root signed."""
        return self._lists.get((crl, authority.ark.spki_sha256), make)
