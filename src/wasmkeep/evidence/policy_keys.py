"""The keys of a policy file: one entry each, from which it is read, explained, written and documented.

This module has what is common to all platforms; `policy_keys_amd` and `policy_keys_intel` have the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.platforms import PLATFORM_NAMES
from wasmkeep.evidence.policy import KNOWN_PLATFORMS, Policy
from wasmkeep.evidence.policy_values import Reader

__all__ = [
    "GENERAL",
    "PARTS",
    "Key",
    "Says",
    "Table",
    "among",
    "amount",
    "owner",
    "shown",
    "switch",
]

PARTS = ("revocation", "snp", "sev", "tdx", "sgx")
"""Tables that are a part of a policy of their own; others hold fields of the policy itself."""
_MAX_SHOWN = 3
_LONG_BYTES = 16
_PADDED_CHIP_ID = 64
_DAY_S = 86_400

Says = Callable[[Any], str]  # Any: each takes what its key's reader makes


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``name`` is its last part; ``field`` the attribute of the table's dataclass; ``meaning`` is
    for the reference (Markdown); ``says`` puts the rule that a value makes into plain words. ``words`` are
    the names of flags, where the value is made of such; a ``mask`` is written in hexadecimal digits."""

    name: str
    field: str
    read: Reader
    meaning: str
    says: Says
    words: Mapping[str, IntFlag] | None = None
    mask: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The keys under one dotted path, empty for the top of the file."""

    path: str
    keys: tuple[Key, ...]

    def dotted(self, key: Key) -> str:
        return f"{self.path}.{key.name}" if self.path else key.name


def owner(policy: Policy, path: str) -> Any:  # Any: which dataclass of a policy, the path says
    """The part of a policy that a table's keys are fields of."""
    first = path.partition(".")[0]
    return getattr(policy, first) if first in PARTS else policy


def switch(on: str, off: str) -> Says:
    """Words for a flag."""
    return lambda value: on if value else off


def shown(values: Iterable[object]) -> str:
    """Some values in a line: bytes in hexadecimal and cut, the rest counted where there are many."""
    texts = sorted(_cut(value) if isinstance(value, bytes) else str(value) for value in values)
    more = len(texts) - _MAX_SHOWN
    return ", ".join(texts) if more <= 1 else f"{', '.join(texts[:_MAX_SHOWN])} and {more} more"


def _cut(value: bytes) -> str:
    text = value.hex()
    if not any(value):
        return "zeros"
    if len(value) == _PADDED_CHIP_ID:  # Turin's ids are 8 bytes, then zeros
        text = value.rstrip(b"\0").hex()
    return text if len(text) <= 2 * _LONG_BYTES else f"{text[:8]}…{text[-4:]}"


def among(what: str, nothing: str) -> Says:
    """Words for a list of which one must match, or nothing of it is compared."""
    return lambda values: f"{what} must be one of: {shown(values)}" if values else nothing


def amount(text: str, nothing: str) -> Says:
    """Words for a number that asks for something unless it is zero or absent; ``{}`` stands for it."""
    return lambda value: text.format(value) if value else nothing


def _platforms(kinds: tuple[str, ...]) -> str:
    names = [PLATFORM_NAMES[kind] for kind in kinds]
    return f"evidence must be of {names[0]}" + "".join(f", or else of {name}" for name in names[1:])


def _denied(kinds: tuple[str, ...]) -> str:
    names = ", ".join(PLATFORM_NAMES[kind] for kind in kinds)
    return f"never {names}, even where `platforms` names it" if kinds else "no platform is denied by name"


def _runtime(entries: tuple[str, ...]) -> str:
    return f"the keep that was launched must be {' or '.join(_entry(entry) for entry in entries)}"


def _entry(entry: str) -> str:
    return f"the launch digest {entry[:8]}…{entry[-4:]}" if len(entry) >= 64 else entry


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "evidence is as old as the challenge that it answers; no other limit on its age"
    return f"the challenge that evidence answers must have been made at most {_span(seconds)} before"


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY_S)
    return f"{days} days" if days and not rest else f"{seconds} seconds"


GENERAL = (
    Table(
        "",
        (
            Key(
                "platforms",
                "platforms",
                read.names,
                "Kinds of TEE, in order of preference: `snp` (AMD SEV-SNP), `tdx` (Intel TDX), `sgx` "
                "(Intel SGX), `sev-es` (AMD SEV-ES), `sev` (AMD SEV). All but the first are denied until "
                "they are named here. `--tee` can choose among these, never add to them.",
                _platforms,
            ),
            Key(
                "denied_platforms",
                "denied_platforms",
                read.some_of(*KNOWN_PLATFORMS),
                "Kinds of TEE that are never accepted, even where `platforms` names them: the switch for a "
                "platform that is believed broken. A policy that denies all it names is an error.",
                _denied,
            ),
            Key(
                "runtime",
                "runtime",
                read.runtime,
                "What the keep must be: names, which only your own installation resolves, or launch "
                "digests in lower-case hexadecimal digits: 96 for `snp` and `tdx` (MRTD), 64 for `sev-es`, "
                "`sev` and `sgx` (MRENCLAVE).",
                _runtime,
            ),
            Key(
                "cpu",
                "cpu",
                read.choice("x86-64-v2", "x86-64-v3", "x86-64-v4"),
                "Instruction set levels that programs may be compiled for: `x86-64-v2`, `x86-64-v3`, "
                "`x86-64-v4`.",
                lambda levels: f"programs may be compiled for {' or '.join(levels)}",
            ),
            Key(
                "simulated",
                "simulated",
                read.pin,
                "The pin of a simulator's root, `sha256:` and 64 hexadecimal digits. See below.",
                lambda pin: (
                    f"only the simulator with the root {pin} counts: NOTHING IS PROTECTED from its owner"
                    if pin
                    else "real hardware only: certificates must lead to a vendor's root"
                ),
            ),
        ),
    ),
    Table(
        "evidence",
        (
            Key(
                "max_age_seconds",
                "max_evidence_age_s",
                read.number(1, 10 * 366 * _DAY_S),
                "Refuse evidence whose challenge (the nonce in its report data) was made longer ago. "
                "Evidence carries no time of its own; it cannot be older than the challenge that it "
                "answers. Where the time of the challenge is not known, evidence is refused. Absent: the "
                "challenge alone counts.",
                _age,
            ),
        ),
    ),
    Table(
        "unsafe",
        (
            Key(
                "any_measurement",
                "any_measurement",
                read.flag,
                "Accept whatever was launched. For looking at evidence, never for delivering data to a "
                "keep; the result names no reference value and says `any-measurement`. It changes nothing "
                "for SEV and SEV-ES, whose measurement is an HMAC: who does not know the launch digest "
                "cannot check it.",
                switch(
                    "WHATEVER WAS LAUNCHED IS ACCEPTED, also software that tells everything; a deployment "
                    "alone still asks for what `runtime` names",
                    "what was launched must be named in `runtime`",
                ),
            ),
        ),
    ),
    Table(
        "revocation",
        (
            Key(
                "required",
                "required",
                read.flag,
                "AMD SEV-SNP: evidence must come with a revocation list of the root's that is in date. "
                "Without, an absent list is reported and shown, and one that names a certificate of the "
                "chain still refuses. (Intel's lists are part of the collateral, which is always required.)",
                switch(
                    "a revocation list in date must be there, and must not name a certificate of the chain",
                    "a revocation list may be missing: a revoked certificate may go unnoticed",
                ),
            ),
            Key(
                "in_date",
                "in_date",
                read.flag,
                "Where `revocation.required` is false: a list that comes must be in date all the same.",
                switch(
                    "a revocation list that comes must be in date",
                    "a revocation list that is out of date is only reported, unless one is required",
                ),
            ),
            Key(
                "max_age_days",
                "max_age_days",
                read.number(1, 3660),
                "Refuse a list that you retrieved longer ago, 1 to 3660; one that came with the evidence, "
                "if it was issued longer ago. AMD's lists are good for a year by themselves.",
                "a revocation list must have been retrieved, or where it came with the evidence issued, "
                "at most {} days before".format,
            ),
        ),
    ),
)
