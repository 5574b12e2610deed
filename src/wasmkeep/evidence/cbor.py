"""CBOR for what is judged here: integers, bytes, text, arrays, maps, true, false, null (RFC 8949).

One encoding for each value, the core deterministic one (4.2.1): shortest heads, definite lengths, map keys in
the order of their encoded bytes, each once. Tags, floating point numbers and other simple values are refused.
A library that gives tags a meaning (dates, regular expressions, shared references) would run hostile bytes
through many more parsers than are needed here. `outline` reads loosely, to recognise what others wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, Union

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "Item", "NotCbor", "Tagged", "decode", "encode", "outline"]

MAX_DEPTH = 16
"""Arrays, maps and tags inside one another."""
MAX_ITEMS = 4096
"""Items in one encoding, keys and what is inside others included."""

Item: TypeAlias = Union[int, bytes, str, bool, "list[Item]", "dict[Item, Item]", "Tagged", None]

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE, _BREAK = 31, 0xFF
_SIMPLE_VALUES: Mapping[int, bool | None] = {20: False, 21: True, 22: None}
_FLOATS = (25, 26, 27)
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


class NotCbor(ValueError):
    """The bytes are not the encoding asked for; the text says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag and what it stands before; only `outline` gives these."""

    number: int
    item: Item


def encode(item: Item) -> bytes:
    """Deterministic CBOR; ``TypeError`` for a value of another type, ``ValueError`` beyond 64 bits."""
    if item is None or isinstance(item, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[item]
    if isinstance(item, int):
        return _head(_UNSIGNED, item) if item >= 0 else _head(_NEGATIVE, -1 - item)
    if isinstance(item, bytes):
        return _head(_BYTES, len(item)) + item
    if isinstance(item, str):
        text = item.encode("utf-8")
        return _head(_TEXT, len(text)) + text
    if isinstance(item, list | tuple):
        return _head(_ARRAY, len(item)) + b"".join(map(encode, item))
    if isinstance(item, dict):
        pairs = sorted((encode(key), encode(value)) for key, value in item.items())
        return _head(_MAP, len(pairs)) + b"".join(key + value for key, value in pairs)
    if isinstance(item, Tagged):
        return _head(_TAG, item.number) + encode(item.item)
    raise TypeError(f"{type(item).__name__} has no encoding here")


def decode(data: bytes) -> Item:
    """The one item that ``data`` is, in its deterministic encoding. Raises `NotCbor`."""
    reader = _Reader(data, strict=True)
    item = reader.item(MAX_DEPTH)
    if reader.at != len(data):
        raise NotCbor("bytes behind the item")
    return item


def outline(data: bytes) -> Item:
    """The first item of ``data``, in any encoding: tags kept as `Tagged`, indefinite lengths joined, the last
    of equal keys wins, floating point numbers become None. For recognising only. Raises `NotCbor`."""
    return _Reader(data, strict=False).item(MAX_DEPTH)


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major << 5 | value,))
    for code, width in _WIDTHS.items():
        if value < 1 << 8 * width:
            return bytes((major << 5 | code,)) + value.to_bytes(width, "big")
    raise ValueError("an integer of more than 64 bits")


class _Reader:
    """A place in bytes. No count makes anything before the bytes that it promises are read."""

    def __init__(self, data: bytes, *, strict: bool) -> None:
        self.at = 0
        self._data = data
        self._items = 0
        self._strict = strict

    def item(self, depth: int) -> Item:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise NotCbor("too many items")
        major, code = divmod(self._byte(), 32)
        if major == _SIMPLE:
            return self._simple(code)
        if code == _INDEFINITE:
            return self._indefinite(major, depth)
        value = self._argument(code)
        if major == _UNSIGNED:
            return value
        if major == _NEGATIVE:
            return -1 - value
        if major in (_BYTES, _TEXT):
            return self._string(major, value)
        self._enter(depth)
        if major == _ARRAY:
            return [self.item(depth - 1) for _ in range(value)]
        if major == _MAP:
            return self._map(value, depth - 1)
        if self._strict:
            raise NotCbor("a tag")
        return Tagged(value, self.item(depth - 1))

    def _enter(self, depth: int) -> None:
        if depth <= 0:
            raise NotCbor("nested too deep")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise NotCbor("cut short")
        self.at += count
        return self._data[self.at - count : self.at]

    def _argument(self, code: int) -> int:
        if code < 24:
            return code
        width = _WIDTHS.get(code)
        if width is None:
            raise NotCbor("a reserved head")
        value = int.from_bytes(self._take(width), "big")
        smallest = 24 if width == 1 else 1 << 4 * width
        if self._strict and value < smallest:
            raise NotCbor("a head that is not the shortest")
        return value

    def _string(self, major: int, size: int) -> bytes | str:
        data = self._take(size)
        if major == _BYTES:
            return data
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise NotCbor("text that is not UTF-8") from None

    def _map(self, count: int, depth: int) -> dict[Item, Item]:
        found: dict[Item, Item] = {}
        before = b""
        for _ in range(count):
            start = self.at
            key = self._key(depth)
            encoded = self._data[start : self.at]
            if self._strict and encoded <= before:
                raise NotCbor("keys repeated or out of order")
            before = encoded
            found[key] = self.item(depth)
        return found

    def _key(self, depth: int) -> int | str | bytes:
        key = self.item(depth)
        if isinstance(key, bool) or not isinstance(key, int | str | bytes):
            raise NotCbor("a key that is no integer, text or bytes")
        return key

    def _simple(self, code: int) -> bool | None:
        if code in _SIMPLE_VALUES:
            return _SIMPLE_VALUES[code]
        if self._strict or code not in _FLOATS:
            raise NotCbor("a floating point number or an unknown simple value")
        self._take(_WIDTHS[code])
        return None

    def _indefinite(self, major: int, depth: int) -> Item:
        if self._strict or major not in (_BYTES, _TEXT, _ARRAY, _MAP):
            raise NotCbor("an indefinite length")
        self._enter(depth)
        if major == _MAP:
            found: dict[Item, Item] = {}
            while not self._ended():
                key = self._key(depth - 1)
                found[key] = self.item(depth - 1)
            return found
        parts: list[Item] = []
        while not self._ended():
            parts.append(self.item(depth - 1))
        if major == _ARRAY:
            return parts
        if major == _BYTES:
            return b"".join(part for part in parts if isinstance(part, bytes))
        return "".join(part for part in parts if isinstance(part, str))

    def _ended(self) -> bool:
        if self.at < len(self._data) and self._data[self.at] == _BREAK:
            self.at += 1
            return True
        return False
