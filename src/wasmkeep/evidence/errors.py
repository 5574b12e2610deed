"""Why evidence was refused: one finding a failed check, and one error that carries them all.

``Rejected`` is raised for whatever the other side sent. Misuse by our own code (a naive time, a wrong type)
is a plain ``TypeError`` or ``ValueError`` and never a ``Rejected``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from wasmkeep.errors import WasmkeepError

__all__ = ["Finding", "Kind", "Rejected"]


class Kind(StrEnum):
    """Whose fault a finding is; a caller may tell them apart without reading text."""

    MALFORMED = "malformed"
    """The bytes break their format: length, reserved bits, encoding."""
    UNTRUSTED = "untrusted"
    """A signature, a chain, a root, a date or a revocation: nobody vouches for these bytes now."""
    REFUSED = "refused"
    """Genuine, and not what the policy accepts."""
    UNSUPPORTED = "unsupported"
    """A known or unknown thing that this version does not judge, and therefore refuses."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One failed check.

    ``check`` is a stable identifier such as ``snp.measurement``; ``message`` one line in the user's words;
    ``found`` and ``required`` the two values; ``section`` where the rule comes from; ``meaning`` what it says
    about the other side; ``advice`` what the user can do. The last four may be empty.
    """

    check: str
    kind: Kind
    message: str
    found: str = ""
    required: str = ""
    section: str = ""
    meaning: str = ""
    advice: str = ""


class Rejected(WasmkeepError):
    """Evidence was refused. ``findings`` holds every failed check, the first decides ``check`` and text."""

    exit_code: ClassVar[int] = 77

    def __init__(self, *findings: Finding) -> None:
        if not findings:
            raise ValueError("a rejection needs at least one finding")
        first = findings[0]
        one = len(findings) == 1
        super().__init__(
            first.check,
            first.message if one else f"{len(findings)} checks failed, first: {first.message}",
            found=first.found,
            required=first.required,
            meaning=first.meaning,
            remedy=first.advice,
        )
        self.findings = findings

    @property
    def kind(self) -> Kind:
        """The gravest kind among the findings: malformed, untrusted, unsupported, then refused."""
        order = (Kind.MALFORMED, Kind.UNTRUSTED, Kind.UNSUPPORTED, Kind.REFUSED)
        return min((finding.kind for finding in self.findings), key=order.index)

    @property
    def checks(self) -> tuple[str, ...]:
        """The identifiers of all failed checks, in order."""
        return tuple(finding.check for finding in self.findings)
