"""The invocation part, decoded again from docs/protocol.md section 4, and every bound before allocating."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmkeep.errors import InputError, ProgramError, UsageError, WasmkeepError
from wasmkeep.tenant import package
from wasmkeep.tenant.package import DeliveredFile, Delivery, Salts, invocation
from wasmkeep.tenant.program import Program, TrapTables

PROGRAM = Program("t", b"", bytes(32), 2, 65_536, TrapTables(0, b"", b"", b""))
SALTS = Salts(*(bytes((number,)) * 32 for number in range(1, 8)))
ENTROPY = bytes(range(32))
DELIVERY = Delivery(("add", "3", "4"), (("LANG", "C"),), b"{}", (), 1 << 20, 1_700_000_000_000_000_000)


def _encode(delivery: Delivery) -> bytes:
    return invocation(delivery, PROGRAM, SALTS, ENTROPY).encoded


def test_header_to_the_byte() -> None:
    files = (DeliveredFile(b"data", True, True, 5), DeliveredFile(b"data/a", False, False, 6, b"abc"))
    made = invocation(replace(DELIVERY, files=files), PROGRAM, SALTS, ENTROPY)
    data = made.encoded
    assert data[:8] == b"WKINVO01"
    assert struct.unpack_from("<QQ", data, 0x08) == (1_700_000_000_000_000_000, 1 << 20)
    assert struct.unpack_from("<IIIIII", data, 0x18) == (3, 8, 1, 7, 2, 2)
    assert struct.unpack_from("<QQ", data, 0x30) == (3, 0)
    assert data[0x40:0x60] == ENTROPY
    assert data[0x60:0x140] == b"".join(bytes((number,)) * 32 for number in range(1, 8))
    assert data[0x140:0x160] == bytes(32)
    body = b"add\x003\x004\0" + b"LANG=C\0" + b"{}"
    body += struct.pack("<IIQQ", 4, 3, 0, 5) + b"data"
    body += struct.pack("<IIQQ", 6, 0, 3, 6) + b"data/a" + b"abc"
    assert data[352:] == body
    assert bytes(made.arguments) == b"add\x003\x004\0"
    assert bytes(made.environment) == b"LANG=C\0"
    assert bytes(made.configuration) == b"{}"
    assert bytes(made.files) == body[17:]


def test_bytes_that_are_not_text_arrive_as_typed() -> None:
    delivery = replace(DELIVERY, arguments=("x", "\udcff"))
    assert b"x\0\xff\0" in _encode(delivery)


REFUSED: dict[str, tuple[Delivery, type[WasmkeepError], str]] = {
    "arguments": (replace(DELIVERY, arguments=("",) * 4097), UsageError, "too many arguments"),
    "argument bytes": (replace(DELIVERY, arguments=("a" * 65_536,)), UsageError, "bytes of arguments"),
    "argument bytes in UTF-8": (
        replace(DELIVERY, arguments=("é" * 40_000,)),
        UsageError,
        "bytes of arguments",
    ),
    "NUL in an argument": (replace(DELIVERY, arguments=("a\0b",)), UsageError, "NUL"),
    "argument that is no text": (replace(DELIVERY, arguments=("\ud800",)), UsageError, "not text"),
    "variables": (
        replace(DELIVERY, environment=tuple((f"A{n}", "") for n in range(4097))),
        UsageError,
        "too many",
    ),
    "variable without a name": (replace(DELIVERY, environment=(("", "x"),)), UsageError, "empty"),
    "variable with =": (replace(DELIVERY, environment=(("A=B", "x"),)), UsageError, "has ="),
    "variable twice": (replace(DELIVERY, environment=(("A", "x"), ("A", "y"))), UsageError, "twice"),
    "NUL in a variable": (replace(DELIVERY, environment=(("A", "\0"),)), UsageError, "NUL"),
    "configuration": (replace(DELIVERY, configuration=bytes(65_537)), UsageError, "configuration"),
    "memory below a page": (replace(DELIVERY, memory_limit=65_535), UsageError, "out of range"),
    "memory beyond 4 GiB": (replace(DELIVERY, memory_limit=(4 << 30) + 1), UsageError, "out of range"),
    "memory below the program's": (replace(DELIVERY, memory_limit=65_536), ProgramError, "starts with more"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    delivery, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        _encode(delivery)


def test_everything_at_its_bound_is_taken() -> None:
    files = tuple(DeliveredFile(b"%d" % number, False, False, 0) for number in range(4096))
    delivery = Delivery(
        ("a" * 61_440, *("",) * 4095),
        tuple((f"A{n}", "") for n in range(4096)),
        bytes(65_536),
        files,
        4 << 30,
        (1 << 64) - 1,
    )
    assert struct.unpack_from("<IIIIII", _encode(delivery), 0x18)[:2] == (4096, 65_536)


PATHS = {
    "absolute": b"/etc",
    "empty": b"",
    "dot": b"a/./b",
    "parent": b"a/../b",
    "double slash": b"a//b",
    "trailing slash": b"a/",
    "NUL": b"a\0b",
    "backslash": b"a\\b",
    "long name": b"a" * 256,
    "long path": b"/".join([b"a" * 200] * 6),
    "tmp": b"tmp",
    "in tmp": b"tmp/x",
}


@pytest.mark.parametrize("case", PATHS)
def test_paths_a_keep_refuses(case: str) -> None:
    parts = PATHS[case].split(b"/")
    folders = [DeliveredFile(b"/".join(parts[:depth]), True, False, 0) for depth in range(1, len(parts))]
    with pytest.raises(InputError):
        _encode(replace(DELIVERY, files=(*folders, DeliveredFile(PATHS[case], False, False, 0))))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((DeliveredFile(b"a", False, False, 0), DeliveredFile(b"a", False, False, 0)), "same path"),
        ((DeliveredFile(b"a", True, False, 0), DeliveredFile(b"a", False, False, 0)), "same path"),
        ((DeliveredFile(b"a/b", False, False, 0),), "folder does not come before"),
        (
            (DeliveredFile(b"a", False, False, 0), DeliveredFile(b"a/b", False, False, 0)),
            "folder does not come",
        ),
        (
            (DeliveredFile(b"a/b", False, False, 0), DeliveredFile(b"a", True, False, 0)),
            "folder does not come",
        ),
        (tuple(DeliveredFile(b"%d" % n, False, False, 0) for n in range(4097)), "too many files"),
    ],
)
def test_files_a_keep_refuses(files: tuple[DeliveredFile, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _encode(replace(DELIVERY, files=files))


def test_bytes_of_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_FILE_BYTES", 10)
    files = (DeliveredFile(b"a", False, False, 0, bytes(6)), DeliveredFile(b"b", False, False, 0, bytes(5)))
    with pytest.raises(InputError, match="bytes of files"):
        _encode(replace(DELIVERY, files=files))
    assert _encode(replace(DELIVERY, files=files[:1]))


@pytest.mark.parametrize("entropy", [b"", bytes(31), bytes(33)])
def test_wrong_entropy_is_our_own_mistake(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        invocation(DELIVERY, PROGRAM, SALTS, entropy)
    with pytest.raises(ValueError, match="32 bytes"):
        invocation(DELIVERY, PROGRAM, replace(SALTS, files=entropy), ENTROPY)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(max_size=20), max_size=5),
    st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=5),
    st.lists(st.tuples(st.binary(max_size=8), st.booleans()), max_size=6),
)
def test_anything_is_encoded_or_refused(
    arguments: list[str], environment: dict[str, str], files: list[tuple[bytes, bool]]
) -> None:
    delivered = tuple(DeliveredFile(path, folder, False, 0) for path, folder in files)
    delivery = replace(
        DELIVERY, arguments=tuple(arguments), environment=tuple(environment.items()), files=delivered
    )
    try:
        made = invocation(delivery, PROGRAM, SALTS, ENTROPY)
    except (UsageError, InputError):
        return
    count, size = struct.unpack_from("<II", made.encoded, 0x18)
    assert count == len(arguments)
    assert bytes(made.arguments).count(0) == count
    assert len(made.arguments) == size
    sizes = map(len, (made.arguments, made.environment, made.configuration, made.files))
    assert len(made.encoded) == 352 + sum(sizes)
