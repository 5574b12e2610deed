"""A policy from TOML: one table of keys, their readers (`policy_values`), errors that name file and line.

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
from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.policy import Policy, RevocationPolicy, SevPolicy, SnpPolicy
from wasmkeep.evidence.policy_values import Reader, Wrong
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevGuestPolicyBit
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.products import MODEL_LINES
from wasmkeep.evidence.snp.report import VERSIONS
from wasmkeep.evidence.snp.tcb import COMPONENTS, Tcb

__all__ = ["KEYS", "MAX_POLICY_SIZE", "read_policy"]

MAX_POLICY_SIZE = 256 * 1024
"""Characters."""
_MAX_SHOWN = 120
_LINES = tuple(line.name for line in MODEL_LINES)


_Values = dict[str, Any]  # Any: each reader makes what its field takes, and `replace` takes them by name

_SNP_GENERATIONS = tuple(entry.name for entry in defaults.GENERATIONS if entry.has_snp)
_GENERATIONS = tuple(entry.name for entry in defaults.GENERATIONS)
_NO_BITS, _NO_SEV_BITS = GuestPolicyBit(0), SevGuestPolicyBit(0)

_GROUPS: Mapping[str, Mapping[str, tuple[str, Reader]]] = {
    # table → key → (field, reader)
    "": {
        "platforms": ("platforms", read.names),
        "runtime": ("runtime", read.runtime),
        "cpu": ("cpu", read.choice("x86-64-v2", "x86-64-v3", "x86-64-v4")),
        "simulated": ("simulated", read.pin),
    },
    "revocation": {
        "required": ("required", read.flag),
        "max_age_days": ("max_age_days", read.number(1, 3660)),
    },
    "unsafe": {
        "any_measurement": ("any_measurement", read.flag),
    },
    "snp": {
        "generations": ("generations", read.choice(*_SNP_GENERATIONS)),
        "signers": ("signers", read.choice("vcek", "vlek")),
        "minimum_report_version": (
            "minimum_report_version",
            read.number_each(min(VERSIONS), max(VERSIONS), *_SNP_GENERATIONS),
        ),
        "minimum_abi": ("minimum_abi", read.version("1.51")),
        "minimum_guest_svn": ("minimum_guest_svn", read.number(0, 0xFFFF_FFFF)),
        "maximum_vmpl": ("maximum_vmpl", read.number(0, 3)),
        "provisional_firmware": ("provisional_firmware", read.flag),
        "alias_check": ("alias_check", read.flag),
        "unknown_platform_bits": ("unknown_platform_bits", read.flag),
        "masked_chip_id": ("masked_chip_id", read.flag),
        "id_key_digests": ("id_key_digests", read.hexadecimal(48)),
        "author_key_digests": ("author_key_digests", read.hexadecimal(48)),
        "family_ids": ("family_ids", read.hexadecimal(16)),
        "image_ids": ("image_ids", read.hexadecimal(16)),
    },
    "snp.chips": {
        "allow": ("chips_allow", read.chips),
        "deny": ("chips_deny", read.chips),
    },
    "snp.guest_policy": {
        "allow": (
            "guest_allow",
            read.bits(
                _NO_BITS,
                smt=GuestPolicyBit.SMT,
                cxl=GuestPolicyBit.CXL_ALLOW,
                debug=GuestPolicyBit.DEBUG,
                migration_agent=GuestPolicyBit.MIGRATE_MA,
            ),
        ),
        "require": (
            "guest_require",
            read.bits(
                _NO_BITS,
                single_socket=GuestPolicyBit.SINGLE_SOCKET,
                aes_256_xts=GuestPolicyBit.MEM_AES_256_XTS,
                rapl_disabled=GuestPolicyBit.RAPL_DIS,
                ciphertext_hiding=GuestPolicyBit.CIPHERTEXT_HIDING_DRAM,
                page_swap_disabled=GuestPolicyBit.PAGE_SWAP_DISABLE,
            ),
        ),
    },
    **{
        f"snp.minimum_tcb.{line}": {name: (name, read.number(0, 0xFF)) for name in COMPONENTS}
        for line in _LINES
    },
    "sev": {
        "generations": ("generations", read.choice(*_GENERATIONS)),
        "minimum_api": ("minimum_api", read.version("0.24")),
        "minimum_build": ("minimum_build", read.number_each(0, 0xFF, *_GENERATIONS)),
        "owners": ("owners", read.hexadecimal(32)),
    },
    "sev.guest_policy": {
        # What a launch may lack are bits that protect: a word names what their absence lets a host do.
        "allow": (
            "guest_allow",
            read.bits(
                _NO_SEV_BITS,
                debug=SevGuestPolicyBit.NODBG,
                key_sharing=SevGuestPolicyBit.NOKS,
                send=SevGuestPolicyBit.NOSEND,
            ),
        ),
        "require": (
            "guest_require",
            read.bits(_NO_SEV_BITS, domain=SevGuestPolicyBit.DOMAIN, sev=SevGuestPolicyBit.SEV),
        ),
    },
}
_TABLES = {
    "": ("revocation", "unsafe", "snp", "sev"),
    "snp": ("chips", "guest_policy", "minimum_tcb"),
    "snp.minimum_tcb": _LINES,
    "sev": ("guest_policy",),
}

KEYS: tuple[str, ...] = tuple(
    f"{table}.{key}" if table else key for table, keys in _GROUPS.items() for key in keys
)
"""Every key of a policy file, dotted."""


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
    values = {table: _read_table(source, document, table, keys) for table, keys in _GROUPS.items()}
    _refuse_unknown(source, document, "snp.minimum_tcb", ())
    snp = replace(
        SnpPolicy(),
        **values["snp"],
        **values["snp.chips"],
        **values["snp.guest_policy"],
        minimum_tcb=_minimum_tcb(source, values),
    )
    sev = replace(SevPolicy(), **values["sev"], **values["sev.guest_policy"])
    try:
        return replace(
            Policy(name=name),
            **values[""],
            **values["unsafe"],
            revocation=replace(RevocationPolicy(), **values["revocation"]),
            snp=snp,
            sev=sev,
        )
    except ConfigurationError as error:
        key = "simulated" if error.check == "policy.simulated" else "platforms"
        raise source.error(
            error.check.removeprefix("policy."),
            error.message,
            key,
            found=error.found,
            required=error.required,
        ) from error


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


def _read_table(
    source: _Source, document: Mapping[str, object], path: str, keys: Mapping[str, tuple[str, Reader]]
) -> _Values:
    _refuse_unknown(source, document, path, tuple(keys))
    values: _Values = {}
    for key, value in _table(source, document, path).items():
        if key not in keys:
            continue
        attribute, reader = keys[key]
        dotted = f"{path}.{key}" if path else key
        try:
            values[attribute] = reader(value)
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
    known = keys + _TABLES.get(path, ())
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


def _minimum_tcb(source: _Source, values: Mapping[str, _Values]) -> Mapping[str, Tcb]:
    """The shipped minima, with the components that the file names replaced."""
    minima = dict(defaults.MINIMUM_TCB)
    for line in _LINES:
        given = values[f"snp.minimum_tcb.{line}"]
        if "fmc" in given and minima[line].fmc is None:
            raise source.error(
                "value", f"{line} has no FMC", f"snp.minimum_tcb.{line}.fmc", required="fmc on Turin only"
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
