"""A policy from TOML: by the keys of `policy_keys`; errors name file and line.

Unknown keys are refused: a mistyped key of a security policy is a check that silently does not happen.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.policy import (
    Policy,
    RevocationPolicy,
    SevPolicy,
    SgxPolicy,
    SnpPolicy,
    TdxPolicy,
)
from wasmkeep.evidence.policy_keys import GENERAL, PARTS, Table
from wasmkeep.evidence.policy_keys_intel import INTEL
from wasmkeep.evidence.policy_keys_sev import SEV
from wasmkeep.evidence.policy_keys_snp import SNP
from wasmkeep.evidence.policy_keys_snp_parts import MINIMUM_TCB
from wasmkeep.evidence.policy_values import Wrong
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = ["KEYS", "MAX_POLICY_SIZE", "TABLES", "read_policy"]

MAX_POLICY_SIZE = 256 * 1024
"""Characters."""
_MAX_SHOWN = 120


_Values = dict[str, Any]  # Any: each reader makes what its field takes, and `replace` takes them by name

TABLES: tuple[Table, ...] = (*GENERAL, *SNP, *SEV, *INTEL)
"""Every table of a policy file."""
KEYS: tuple[str, ...] = tuple(table.dotted(key) for table in TABLES for key in table.keys)
"""Every key of a policy file, dotted."""


def _subtables() -> Mapping[str, tuple[str, ...]]:
    """The names of the tables within each table, by its dotted path."""
    within: dict[str, list[str]] = {}
    for table in TABLES:
        parts = table.path.split(".") if table.path else []
        for depth, part in enumerate(parts):
            names = within.setdefault(".".join(parts[:depth]), [])
            if part not in names:
                names.append(part)
    return {path: tuple(names) for path, names in within.items()}


_WITHIN = _subtables()


@dataclass(frozen=True, slots=True)
class _Source:
    """The file, for messages."""

    name: str
    text: str

    def error(self, check: str, message: str, path: str, **detail: str) -> ConfigurationError:
        line = _line_of(self.text, path)
        where = f"{self.name}:{line}" if line else self.name
        return ConfigurationError(f"policy.{check}", f"{where}: {message}", **detail)


def read_policy(text: str, name: str) -> Policy:
    """See `Policy.from_toml`."""
    source = _Source(name, text)
    document = _parse(source)
    _refuse_unknown(source, document, MINIMUM_TCB, ())
    values: dict[str, _Values] = {"": {}}
    for table in TABLES:
        if not table.path.startswith(MINIMUM_TCB):
            part = _part_of(table.path)
            values.setdefault(part, {}).update(_read_table(source, document, table))
    minima = _minimum_tcb(source, document)
    try:
        return replace(
            Policy(name=name),
            **values[""],
            revocation=replace(RevocationPolicy(), **values["revocation"]),
            snp=replace(SnpPolicy(), **values["snp"], minimum_tcb=minima),
            sev=replace(SevPolicy(), **values["sev"]),
            tdx=replace(TdxPolicy(), **values["tdx"]),
            sgx=_signed_by_someone(source, replace(SgxPolicy(), **values["sgx"])),
        )
    except ConfigurationError as error:
        key = {"policy.simulated": "simulated", "policy.platform": "platforms"}.get(error.check)
        if key is None:
            raise
        if key not in document:
            key = "denied_platforms"
        raise source.error(
            error.check.removeprefix("policy."),
            error.message,
            key,
            found=error.found,
            required=error.required,
        ) from error


def _part_of(path: str) -> str:
    """The part of a policy that a table's keys belong to, empty for the policy itself."""
    first = path.partition(".")[0]
    return first if first in PARTS else ""


def _signed_by_someone(source: _Source, sgx: SgxPolicy) -> SgxPolicy:
    if sgx.by_signer and not sgx.mrsigners:
        message = "sgx.by_signer accepts whatever a signer signed, and no signer is named"
        raise source.error("value", message, "sgx.by_signer", required="sgx.mrsigners")
    return sgx


def _parse(source: _Source) -> dict[str, object]:
    if len(source.text) > MAX_POLICY_SIZE:
        raise source.error("syntax", f"a policy has at most {MAX_POLICY_SIZE} characters", "")
    try:
        return tomllib.loads(source.text)
    except ValueError as error:  # TOMLDecodeError, and a plain one for an integer of thousands of digits
        raise source.error("syntax", f"not TOML: {error}", "") from error
    except RecursionError as error:
        raise source.error("syntax", "not a policy: nested too deeply", "") from error


def _table(source: _Source, document: Mapping[str, object], path: str) -> Mapping[str, object]:
    """The table at a dotted path, empty where there is none."""
    current: object = document
    for depth, part in enumerate(path.split(".") if path else ()):
        current = current.get(part, {}) if isinstance(current, Mapping) else {}
        if not isinstance(current, Mapping):
            at = ".".join(path.split(".")[: depth + 1])
            raise source.error("value", f"{at} is a table", at, required=f"[{at}]")
    if not isinstance(current, Mapping):
        raise TypeError("a TOML document is a table")
    return current


def _read_table(source: _Source, document: Mapping[str, object], table: Table) -> _Values:
    keys = {key.name: key for key in table.keys}
    _refuse_unknown(source, document, table.path, tuple(keys))
    values: _Values = {}
    for name, value in _table(source, document, table.path).items():
        if name not in keys:
            continue
        key = keys[name]
        dotted = table.dotted(key)
        try:
            values[key.field] = key.read(value)
        except Wrong as wrong:
            check = "simulated" if dotted == "simulated" else "value"
            message = f"{dotted} has a value that it cannot have"
            raise source.error(check, message, dotted, found=_shown(value), required=str(wrong)) from wrong
    return values


def _shown(value: object) -> str:
    """A value for an error, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, tables nested by a dotted key
        return f"a value too large to show ({type(value).__name__})"
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _refuse_unknown(
    source: _Source, document: Mapping[str, object], path: str, keys: tuple[str, ...]
) -> None:
    known = keys + _WITHIN.get(path, ())
    for key in _table(source, document, path):
        if key not in known:
            import difflib

            dotted = f"{path}.{key}" if path else key
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise source.error(
                "unknown-key",
                f"unknown key {dotted!r}",
                dotted,
                found=dotted,
                required=", ".join(known),
                remedy=f"did you mean {nearest[0]!r}?" if nearest else "see docs/policy.md",
            )


def _minimum_tcb(source: _Source, document: Mapping[str, object]) -> Mapping[str, Tcb]:
    """The shipped minima, with the components that the file names replaced."""
    minima = dict(defaults.MINIMUM_TCB)
    for table in TABLES:
        if not table.path.startswith(MINIMUM_TCB):
            continue
        given = _read_table(source, document, table)
        line = table.path.rpartition(".")[2]
        if "fmc" in given and minima[line].fmc is None:
            raise source.error(
                "value", f"{line} has no FMC", f"{table.path}.fmc", required="fmc on Turin only"
            )
        minima[line] = replace(minima[line], **given)
    return MappingProxyType(minima)


_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")


def _line_of(text: str, path: str) -> int:
    """The line (from 1) that sets a dotted key or opens a table, or 0. Good enough to point at."""
    table, best = "", 0
    for number, whole in enumerate(text.splitlines(), start=1):
        line = " ".join(whole.split())  # the patterns' time grows with the cube of a run of spaces
        header = _HEADER.fullmatch(line)
        assignment = _ASSIGNMENT.match(line)
        if header:
            table = _dotted(header[1])
            reached = table
        elif assignment:
            key = _dotted(assignment[1])
            reached = f"{table}.{key}" if table else key
        else:
            continue
        if reached == path:
            return number
        if path.startswith(reached + ".") or reached.startswith(path + "."):
            best = best or number
    return best


def _dotted(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in text.split("."))
