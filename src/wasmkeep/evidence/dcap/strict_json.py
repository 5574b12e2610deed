"""Intel's signed JSON texts, read strictly: each key once, no floats, bounded; keys that are not asked for
stay unread, as Intel adds such without a new version."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import NoReturn

__all__ = ["MAX_TEXT_SIZE", "Members", "decode"]

MAX_TEXT_SIZE = 512 * 1024
"""Characters; TCB infos have up to 40,000."""
_MAX_ENTRIES = 4096
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_HEX = re.compile(r"[0-9A-Fa-f]*")


class Members:
    """A JSON object whose members are read with a type. All readers raise ``ValueError``."""

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{name} is not an object")
        self._members: dict[str, object] = value
        self._name = name

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise ValueError(f"{self._name}: {key} is not a text")
        return value

    def number(self, key: str, highest: int) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            raise ValueError(f"{self._name}: {key} is not a number from 0 to {highest}")
        return value

    def octets(self, key: str, size: int) -> bytes:
        """Hexadecimal digits, of either case, for exactly ``size`` bytes."""
        value = self.text(key)
        if len(value) != 2 * size or not _HEX.fullmatch(value):
            raise ValueError(f"{self._name}: {key} is not {size} bytes in hexadecimal")
        return bytes.fromhex(value)

    def moment(self, key: str) -> datetime:
        """``2026-02-01T14:49:26Z``."""
        value = self.text(key)
        if not _TIME.fullmatch(value):
            raise ValueError(f"{self._name}: {key} is not a time in UTC")
        return datetime.fromisoformat(value.removesuffix("Z")).replace(tzinfo=UTC)

    def members(self, key: str) -> Members:
        return Members(self._get(key), f"{self._name}.{key}")

    def each(self, key: str) -> list[Members]:
        return [Members(value, f"{self._name}.{key}") for value in self._array(key)]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; none where the key is absent."""
        values = self._array(key) if key in self else []
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{self._name}: {key} holds something other than text")
        return tuple(str(value) for value in values)

    def _array(self, key: str) -> list[object]:
        value = self._get(key)
        if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
            raise ValueError(f"{self._name}: {key} is not a list of up to {_MAX_ENTRIES} entries")
        return value

    def _get(self, key: str) -> object:
        if key not in self._members:
            raise ValueError(f"{self._name}: no {key}")
        return self._members[key]


def decode(text: str, name: str) -> Members:
    """The object that a text holds. Raises ``ValueError``."""
    if len(text) > MAX_TEXT_SIZE:
        raise ValueError(f"{name} has {len(text)} characters, more than {MAX_TEXT_SIZE}")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply") from error
    return Members(value, name)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key twice in one object")
    return members


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a whole number")
