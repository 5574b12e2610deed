"""A policy from TOML: one table of keys, one reader a kind of value, and errors that name file and line.

Unknown keys are refused: a mistyped key of a security policy is a check that silently does not happen.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.policy import Policy, RevocationPolicy, SnpPolicy, is_digest
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.products import MODEL_LINES
from wasmkeep.evidence.snp.report import VERSIONS
from wasmkeep.evidence.snp.tcb import COMPONENTS, Tcb

__all__ = ["KEYS", "MAX_POLICY_SIZE", "read_policy"]

MAX_POLICY_SIZE = 256 * 1024
"""Characters."""
_MAX_LIST = 4096
_MAX_SHOWN = 120
_CHIP_SIZE, _SHORT_CHIP_SIZE = 64, 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
_LONG_HEX = re.compile(r"[0-9A-Fa-f]{32,}")
_LINES = tuple(line.name for line in MODEL_LINES)


class _Wrong(Exception):
    """A value of the wrong kind; the text says what is required."""


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return value


def _number(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise _Wrong(f"a number from {lowest} to {highest}")
        return value

    return read


def _texts(value: object, required: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or len(value) > _MAX_LIST
        or not all(isinstance(entry, str) for entry in value)
    ):
        raise _Wrong(required)
    if len(set(value)) != len(value):
        raise _Wrong("each entry once")
    return tuple(value)


def _choice(*names: str) -> Callable[[object], tuple[str, ...]]:
    """At least one of the names given, each at most once."""
    required = "a list of " + ", ".join(names)

    def read(value: object) -> tuple[str, ...]:
        entries = _texts(value, required)
        if not entries or not set(entries) <= set(names):
            raise _Wrong(required)
        return entries

    return read


def _names(value: object) -> tuple[str, ...]:
    entries = _texts(value, "a list of names")
    if not entries or not all(_NAME.fullmatch(entry) for entry in entries):
        raise _Wrong("a list of at least one name")
    return entries


def _runtime(value: object) -> tuple[str, ...]:
    """Names and launch digests; what looks like a digest must be one."""
    entries = _texts(value, "a list of names and launch digests")
    if not entries:
        raise _Wrong("at least one name or launch digest")
    for entry in entries:
        if _LONG_HEX.fullmatch(entry) and not is_digest(entry):
            raise _Wrong("launch digests of 96 lower-case hexadecimal digits")
        if not is_digest(entry) and not _NAME.fullmatch(entry):
            raise _Wrong('names such as "wasmkeep 0.1.0"')
    return entries


def _hexadecimal(*sizes: int) -> Callable[[object], frozenset[bytes]]:
    required = "a list of values of " + " or ".join(f"{2 * size}" for size in sizes) + " hexadecimal digits"

    def read(value: object) -> frozenset[bytes]:
        try:
            entries = frozenset(bytes.fromhex(entry) for entry in _texts(value, required))
        except ValueError as error:
            raise _Wrong(required) from error
        if not all(len(entry) in sizes for entry in entries):
            raise _Wrong(required)
        return entries

    return read


def _chips(value: object) -> frozenset[bytes]:
    """Chip ids as reports carry them: Turin's 8 bytes are padded with zeros to 64."""
    chips = frozenset(
        chip.ljust(_CHIP_SIZE, b"\0") for chip in _hexadecimal(_CHIP_SIZE, _SHORT_CHIP_SIZE)(value)
    )
    if bytes(_CHIP_SIZE) in chips:
        raise _Wrong("chip ids; all zeros is a masked one, which identifies nothing")
    return chips


def _abi(value: object) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", value) if isinstance(value, str) else None
    if match is None or max(map(int, match.groups())) > 0xFF:
        raise _Wrong('a version such as "1.51"')
    return int(match[1]), int(match[2])


def _bits(**names: GuestPolicyBit) -> Callable[[object], GuestPolicyBit]:
    words = {name.replace("_", "-"): bit for name, bit in names.items()}

    def read(value: object) -> GuestPolicyBit:
        required = "a list of " + ", ".join(words)
        flags = GuestPolicyBit(0)
        for entry in _texts(value, required):
            if entry not in words:
                raise _Wrong(required)
            flags |= words[entry]
        return flags

    return read


def _pin(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong('a pin, "sha256:…", as `wasmkeep host serve --simulated` prints it; never true or false')
    return value


_Reader = Callable[[object], object]
_Values = dict[str, Any]  # Any: each reader makes what its field takes, and `replace` takes them by name

_SNP_GENERATIONS = tuple(entry.name for entry in defaults.GENERATIONS if entry.has_snp)

_GROUPS: Mapping[str, Mapping[str, tuple[str, _Reader]]] = {
    # table → key → (field, reader)
    "": {
        "platforms": ("platforms", _names),
        "runtime": ("runtime", _runtime),
        "cpu": ("cpu", _choice("x86-64-v2", "x86-64-v3", "x86-64-v4")),
        "simulated": ("simulated", _pin),
    },
    "revocation": {
        "required": ("required", _flag),
        "max_age_days": ("max_age_days", _number(1, 3660)),
    },
    "unsafe": {
        "any_measurement": ("any_measurement", _flag),
    },
    "snp": {
        "generations": ("generations", _choice(*_SNP_GENERATIONS)),
        "signers": ("signers", _choice("vcek", "vlek")),
        "minimum_report_version": ("minimum_report_version", _number(min(VERSIONS), max(VERSIONS))),
        "minimum_abi": ("minimum_abi", _abi),
        "minimum_guest_svn": ("minimum_guest_svn", _number(0, 0xFFFF_FFFF)),
        "maximum_vmpl": ("maximum_vmpl", _number(0, 3)),
        "provisional_firmware": ("provisional_firmware", _flag),
        "alias_check": ("alias_check", _flag),
        "unknown_platform_bits": ("unknown_platform_bits", _flag),
        "masked_chip_id": ("masked_chip_id", _flag),
        "id_key_digests": ("id_key_digests", _hexadecimal(48)),
        "author_key_digests": ("author_key_digests", _hexadecimal(48)),
        "family_ids": ("family_ids", _hexadecimal(16)),
        "image_ids": ("image_ids", _hexadecimal(16)),
    },
    "snp.chips": {
        "allow": ("chips_allow", _chips),
        "deny": ("chips_deny", _chips),
    },
    "snp.guest_policy": {
        "allow": (
            "guest_allow",
            _bits(
                smt=GuestPolicyBit.SMT,
                cxl=GuestPolicyBit.CXL_ALLOW,
                debug=GuestPolicyBit.DEBUG,
                migration_agent=GuestPolicyBit.MIGRATE_MA,
            ),
        ),
        "require": (
            "guest_require",
            _bits(
                single_socket=GuestPolicyBit.SINGLE_SOCKET,
                aes_256_xts=GuestPolicyBit.MEM_AES_256_XTS,
                rapl_disabled=GuestPolicyBit.RAPL_DIS,
                ciphertext_hiding=GuestPolicyBit.CIPHERTEXT_HIDING_DRAM,
                page_swap_disabled=GuestPolicyBit.PAGE_SWAP_DISABLE,
            ),
        ),
    },
    **{f"snp.minimum_tcb.{line}": {name: (name, _number(0, 0xFF)) for name in COMPONENTS} for line in _LINES},
}
_TABLES = {
    "": ("revocation", "unsafe", "snp"),
    "snp": ("chips", "guest_policy", "minimum_tcb"),
    "snp.minimum_tcb": _LINES,
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
    try:
        return replace(
            Policy(name=name),
            **values[""],
            **values["unsafe"],
            revocation=replace(RevocationPolicy(), **values["revocation"]),
            snp=snp,
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
    source: _Source, document: Mapping[str, object], path: str, keys: Mapping[str, tuple[str, _Reader]]
) -> _Values:
    _refuse_unknown(source, document, path, tuple(keys))
    values: _Values = {}
    for key, value in _table(source, document, path).items():
        if key not in keys:
            continue
        attribute, read = keys[key]
        dotted = f"{path}.{key}" if path else key
        try:
            values[attribute] = read(value)
        except _Wrong as wrong:
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
