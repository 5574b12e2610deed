"""What a host hands over as SEV evidence, and what only the tenant has to judge it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from wasmkeep.evidence.sev.chain import PlatformCertificates

__all__ = ["KINDS", "LAUNCH_SIZE", "SevEvidence", "SevKeys", "SevKind"]

SevKind: TypeAlias = Literal["sev", "sev-es"]
KINDS: tuple[SevKind, SevKind] = ("sev", "sev-es")
LAUNCH_SIZE = 88
_TIK_SIZE, _PROOF_KEY_SIZE = 16, 32


@dataclass(frozen=True, slots=True)
class SevEvidence:
    """A pre-attested launch, nothing believed.

    ``api_major``, ``api_minor`` and ``build`` (u8 each) are the firmware's, ``policy`` the u32 that the
    tenant chose, ``measurement`` LAUNCH_MEASURE's 48 bytes, ``proof`` the keep's 32 bytes: an HMAC-SHA-256 of
    the report data under a key from the secret that only this launch was given.
    """

    kind: SevKind
    certificates: PlatformCertificates
    api_major: int
    api_minor: int
    build: int
    policy: int
    measurement: bytes
    proof: bytes

    @property
    def launch(self) -> bytes:
        """All but the certificates, 88 bytes: API major, minor, build u8 ‖ zero ‖ policy u32 ‖
        measurement[48] ‖ proof[32]. ``ValueError`` where a field does not fit."""
        try:
            head = bytes((self.api_major, self.api_minor, self.build, 0)) + self.policy.to_bytes(4, "little")
        except OverflowError as error:
            raise ValueError("a field of the launch is out of range") from error
        whole = head + self.measurement + self.proof
        if len(whole) != LAUNCH_SIZE:
            raise ValueError(f"a launch has {LAUNCH_SIZE} bytes")
        return whole

    @classmethod
    def of_launch(cls, kind: SevKind, certificates: PlatformCertificates, launch: bytes) -> SevEvidence:
        """The inverse of `launch`; ``ValueError`` for another size or a byte 3 that is not zero."""
        if len(launch) != LAUNCH_SIZE or launch[3]:
            raise ValueError(f"a launch has {LAUNCH_SIZE} bytes, of which byte 3 is zero")
        api_major, api_minor, build = launch[:3]
        policy = int.from_bytes(launch[4:8], "little")
        return cls(kind, certificates, api_major, api_minor, build, policy, launch[8:56], launch[56:])


@dataclass(frozen=True, slots=True)
class SevKeys:
    """What the tenant of a launch keeps, and nobody else may have: the TIK (16 bytes) under which the launch
    was measured, and the key (32 bytes) of the keep's proof. Whoever has them can make such evidence. Never
    printed.
    """

    tik: bytes = field(repr=False)
    proof_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.tik) != _TIK_SIZE or len(self.proof_key) != _PROOF_KEY_SIZE:
            raise ValueError(f"a TIK has {_TIK_SIZE} bytes and a proof key {_PROOF_KEY_SIZE}")
