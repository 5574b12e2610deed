"""Readers of a policy file's values: one a kind of value. Which key takes which, `policy_toml` says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntFlag
from types import MappingProxyType
from typing import TypeVar

from wasmkeep.evidence.policy import is_digest

__all__ = [
    "Reader",
    "Wrong",
    "advisories",
    "bits",
    "chips",
    "choice",
    "flag",
    "hexadecimal",
    "names",
    "number",
    "number_each",
    "numbers",
    "numbers_each",
    "pin",
    "runtime",
    "some_of",
    "version",
]

_MAX_LIST = 4096
_CHIP_SIZE, _SHORT_CHIP_SIZE = 64, 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
_ADVISORY = re.compile(r"INTEL-(SA|DOC)-[0-9]{5}")
_LONG_HEX = re.compile(r"[0-9A-Fa-f]{32,}")

Reader = Callable[[object], object]
_Bits = TypeVar("_Bits", bound=IntFlag)


class Wrong(Exception):
    """A value of the wrong kind; the text says what is required."""


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false")
    return value


def number(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise Wrong(f"a number from {lowest} to {highest}")
        return value

    return read


def number_each(lowest: int, highest: int, *keys: str) -> Callable[[object], Mapping[str, int]]:
    """A number for each of the keys: one for all, or a table that names some."""
    one = number(lowest, highest)

    def read(value: object) -> Mapping[str, int]:
        if not isinstance(value, Mapping):
            return MappingProxyType(dict.fromkeys(keys, one(value)))
        if not set(value) <= set(keys):
            raise Wrong(f"a number from {lowest} to {highest}, or one each for {', '.join(keys)}")
        return MappingProxyType({str(key): one(entry) for key, entry in value.items()})

    return read


def numbers(lowest: int, highest: int) -> Callable[[object], frozenset[int]]:
    """A list of numbers, each once."""
    one = number(lowest, highest)
    required = f"a list of numbers from {lowest} to {highest}, each once"

    def read(value: object) -> frozenset[int]:
        if not isinstance(value, list) or len(value) > _MAX_LIST:
            raise Wrong(required)
        found = frozenset(one(entry) for entry in value)
        if len(found) != len(value):
            raise Wrong(required)
        return found

    return read


def numbers_each(lowest: int, highest: int, *keys: str) -> Callable[[object], Mapping[str, frozenset[int]]]:
    """A table that gives some of the keys a list of numbers, none of them empty."""
    some = numbers(lowest, highest)

    def read(value: object) -> Mapping[str, frozenset[int]]:
        if not isinstance(value, Mapping) or not set(value) <= set(keys):
            raise Wrong(f"a table with lists of numbers for {', '.join(keys)}")
        found = {str(key): some(entry) for key, entry in value.items()}
        if not all(found.values()):
            raise Wrong("at least one number in each list")
        return MappingProxyType(found)

    return read


def _texts(value: object, required: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or len(value) > _MAX_LIST
        or not all(isinstance(entry, str) for entry in value)
    ):
        raise Wrong(required)
    if len(set(value)) != len(value):
        raise Wrong("each entry once")
    return tuple(value)


def choice(*options: str) -> Callable[[object], tuple[str, ...]]:
    """At least one of the names given, each at most once."""
    required = "a list of " + ", ".join(options)

    def read(value: object) -> tuple[str, ...]:
        entries = _texts(value, required)
        if not entries or not set(entries) <= set(options):
            raise Wrong(required)
        return entries

    return read


def some_of(*options: str) -> Callable[[object], tuple[str, ...]]:
    """Any of the names given, or none, each at most once."""
    required = "a list of " + ", ".join(options)

    def read(value: object) -> tuple[str, ...]:
        entries = _texts(value, required)
        if not set(entries) <= set(options):
            raise Wrong(required)
        return entries

    return read


def advisories(value: object) -> frozenset[str]:
    """Intel's security advisories, by number."""
    required = 'a list of security advisories such as "INTEL-SA-00615"'
    entries = _texts(value, required)
    if not all(_ADVISORY.fullmatch(entry) for entry in entries):
        raise Wrong(required)
    return frozenset(entries)


def names(value: object) -> tuple[str, ...]:
    entries = _texts(value, "a list of names")
    if not entries or not all(_NAME.fullmatch(entry) for entry in entries):
        raise Wrong("a list of at least one name")
    return entries


def runtime(value: object) -> tuple[str, ...]:
    """Names and launch digests; what looks like a digest must be one."""
    entries = _texts(value, "a list of names and launch digests")
    if not entries:
        raise Wrong("at least one name or launch digest")
    for entry in entries:
        if _LONG_HEX.fullmatch(entry) and not is_digest(entry):
            raise Wrong("launch digests of 96 lower-case hexadecimal digits (SNP, TDX) or 64 (SEV, SGX)")
        if not is_digest(entry) and not _NAME.fullmatch(entry):
            raise Wrong('names such as "wasmkeep 0.1.0"')
    return entries


def hexadecimal(*sizes: int) -> Callable[[object], frozenset[bytes]]:
    required = "a list of values of " + " or ".join(f"{2 * size}" for size in sizes) + " hexadecimal digits"

    def read(value: object) -> frozenset[bytes]:
        try:
            entries = frozenset(bytes.fromhex(entry) for entry in _texts(value, required))
        except ValueError as error:
            raise Wrong(required) from error
        if not all(len(entry) in sizes for entry in entries):
            raise Wrong(required)
        return entries

    return read


def chips(value: object) -> frozenset[bytes]:
    """Chip ids as reports carry them: Turin's 8 bytes are padded with zeros to 64."""
    found = frozenset(
        chip.ljust(_CHIP_SIZE, b"\0") for chip in hexadecimal(_CHIP_SIZE, _SHORT_CHIP_SIZE)(value)
    )
    if bytes(_CHIP_SIZE) in found:
        raise Wrong("chip ids; all zeros is a masked one, which identifies nothing")
    return found


def version(example: str) -> Callable[[object], tuple[int, int]]:
    """Major and minor of an interface, 0 to 255 each."""

    def read(value: object) -> tuple[int, int]:
        match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", value) if isinstance(value, str) else None
        if match is None or max(map(int, match.groups())) > 0xFF:
            raise Wrong(f'a version such as "{example}"')
        return int(match[1]), int(match[2])

    return read


def bits(nothing: _Bits, words: Mapping[str, _Bits]) -> Callable[[object], _Bits]:
    """Any of the words given, as flags."""
    required = "a list of " + ", ".join(words)

    def read(value: object) -> _Bits:
        found = nothing
        for entry in _texts(value, required):
            if entry not in words:
                raise Wrong(required)
            found |= words[entry]
        return found

    return read


def pin(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong('a pin, "sha256:…", as `wasmkeep host serve --simulated` prints it; never true or false')
    return value
