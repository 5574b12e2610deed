"""Ways to spoil bytes, and the bounds that judging them keeps: one flipped bit a byte, DER trees edited
node by node, and memory that does not grow."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from tests.evidence.soak import SOAK
from wasmkeep.evidence import Rejected

__all__ = ["bounded", "der_edits", "flipped", "inserted_extensions", "positions", "refusal"]

_MAX_GROWTH_KIB = 192 * 1024
_CONSTRUCTED = 0x20
_EXTENSIONS = 0xA3
_SEQUENCE, _INTEGER, _OID, _OCTETS, _BOOLEAN = 0x30, 0x02, 0x06, 0x04, 0x01
_UNKNOWN_OID = bytes.fromhex("2b0601040184580103")  # of nobody
AMD_OID = bytes.fromhex("2b060104019c780163")  # 1.3.6.1.4.1.3704.1.99, of AMD's arc and unknown


def flipped(data: bytes, position: int) -> bytes:
    """One bit of one byte."""
    result = bytearray(data)
    result[position] ^= 1 << position % 8
    return bytes(result)


def positions(size: int, count: int, seed: str) -> list[int]:
    """All positions in a soak, a fixed sample otherwise."""
    if SOAK or count >= size:
        return list(range(size))
    return sorted(random.Random(seed).sample(range(size), count))


def refusal(judge: Callable[[], object]) -> tuple[str, ...]:
    """The checks that refuse. Fails when the evidence is accepted; any other exception passes through, and so
    fails the test."""
    with pytest.raises(Rejected) as caught:
        judge()
    assert all(finding.message for finding in caught.value.findings)
    return caught.value.checks


@contextmanager
def bounded() -> Iterator[None]:
    """What happens inside does not need more memory than a verifier has: spoilt lengths and counts must not
    be believed. (A hang ends the run by its own time limit.)"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < _MAX_GROWTH_KIB, f"{grown} KiB"


@dataclass(frozen=True)
class Node:
    """One DER value; ``children`` where it is constructed."""

    tag: int
    content: bytes
    children: tuple[Node, ...] = ()

    def encode(self) -> bytes:
        body = b"".join(child.encode() for child in self.children) if self.children else self.content
        return bytes((self.tag,)) + length(len(body)) + body


def length(size: int, extra: int = 0) -> bytes:
    """A DER length; ``extra`` zero bytes more than the fewest."""
    if size < 0x80 and not extra:
        return bytes((size,))
    digits = size.to_bytes(max(1, (size.bit_length() + 7) // 8) + extra, "big")
    return bytes((0x80 | len(digits),)) + digits


def parse(data: bytes) -> Node:
    """A tree of well-formed DER with short tags."""
    node, rest = _node(data)
    assert not rest
    return node


def _node(data: bytes) -> tuple[Node, bytes]:
    tag, size, at = data[0], data[1], 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    content, children = data[at : at + size], []
    rest = content
    while tag & _CONSTRUCTED and rest:
        child, rest = _node(rest)
        children.append(child)
    return Node(tag, content, tuple(children)), data[at + size :]


def _paths(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    yield path
    for index, child in enumerate(node.children):
        yield from _paths(child, (*path, index))


def _edited(node: Node, path: tuple[int, ...], edit: Callable[[Node], bytes]) -> bytes:
    """The tree encoded again, with one node's bytes replaced."""
    if not path:
        return edit(node)
    index, *rest = path
    parts = [
        _edited(child, tuple(rest), edit) if index == at else child.encode()
        for at, child in enumerate(node.children)
    ]
    body = b"".join(parts)
    return bytes((node.tag,)) + length(len(body)) + body


def _body(node: Node) -> bytes:
    return b"".join(child.encode() for child in node.children) if node.children else node.content


_EDITS: dict[str, Callable[[Node], bytes]] = {
    "twice": lambda node: node.encode() * 2,
    "gone": lambda node: b"",
    "empty": lambda node: bytes((node.tag, 0)),
    "longer length": lambda node: bytes((node.tag,)) + length(len(_body(node)), 1) + _body(node),
    "indefinite": lambda node: bytes((node.tag, 0x80)) + _body(node) + b"\0\0",
    "length too large": lambda node: bytes((node.tag, 0x84, 0x7F, 0xFF, 0xFF, 0xFF)) + _body(node),
    "length of 2^64": lambda node: bytes((node.tag, 0x88)) + b"\xff" * 8 + _body(node),
    "another tag": lambda node: bytes((node.tag ^ 0x01,)) + node.encode()[1:],
    "wrapped": lambda node: bytes((_SEQUENCE,)) + length(len(node.encode())) + node.encode(),
    "bytes behind": lambda node: node.encode() + b"\x05\x00",
    "longer": lambda node: bytes((node.tag,)) + length(len(_body(node)) + 1) + _body(node) + b"\0",
    "negative": lambda node: bytes((node.tag,)) + length(len(_body(node)) + 1) + b"\xff" + _body(node),
}


def der_edits(data: bytes, count: int, seed: str) -> Iterator[tuple[str, bytes]]:
    """Malformed and other DER: every edit of every node in a soak, a fixed sample otherwise."""
    tree = parse(data)
    plan = [(name, path) for path in _paths(tree) for name in _EDITS]
    if not SOAK and count < len(plan):
        plan = random.Random(seed).sample(plan, count)
    for name, path in plan:
        edited = _edited(tree, path, _EDITS[name])
        if edited != data:
            yield f"{name} at {'.'.join(map(str, path))}", edited
    yield "nested", _nested(400)
    yield "nested deeply", _nested(20_000)


def _nested(depth: int) -> bytes:
    data = b"\x05\x00"
    for _ in range(depth):
        data = bytes((_SEQUENCE,)) + length(len(data)) + data
    return data


def inserted_extensions(data: bytes) -> Iterator[tuple[str, bytes]]:
    """A certificate with an extension twice, with one of nobody's (critical or not), one of AMD's arc that no
    version knows, without one, and with two in each other's place."""
    tree = parse(data)
    signed = tree.children[0]
    at = next(index for index, child in enumerate(signed.children) if child.tag == _EXTENSIONS)
    extensions = signed.children[at].children[0]

    def rebuilt(children: tuple[Node, ...]) -> bytes:
        sequence = replace(extensions, children=children)
        wrapped = replace(signed.children[at], children=(sequence,))
        parts = (*signed.children[:at], wrapped, *signed.children[at + 1 :])
        return replace(tree, children=(replace(signed, children=parts), *tree.children[1:])).encode()

    every = extensions.children
    for index, extension in enumerate(every):
        yield f"extension {index} twice", rebuilt((*every, extension))
        yield f"extension {index} missing", rebuilt((*every[:index], *every[index + 1 :]))
    for name, oid in (("of nobody's", _UNKNOWN_OID), ("of AMD's arc", AMD_OID)):
        for critical in (False, True):
            yield f"one {name}, critical {critical}", rebuilt((*every, _extension(oid, critical=critical)))
    if len(every) > 1:
        yield "two exchanged", rebuilt((every[1], every[0], *every[2:]))


def _extension(oid: bytes, *, critical: bool) -> Node:
    flag = (Node(_BOOLEAN, b"\xff"),) if critical else ()
    return Node(_SEQUENCE, b"", (Node(_OID, oid), *flag, Node(_OCTETS, b"\x02\x01\x01")))
