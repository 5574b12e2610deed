"""Words and numbers, and the escaping of what a host wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmkeep.cli.text import duration, escape, plural, short, size


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.0 ms"),
        (412_000, "0.4 ms"),
        (9_949_999, "9.9 ms"),
        (9_950_000, "10 ms"),
        (999_400_000, "999 ms"),
        (1_000_000_000, "1.0 s"),
        (99_000_000_000, "99.0 s"),
        (125_000_000_000, "2 min 5 s"),
    ],
)
def test_durations_have_two_digits_or_so(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (214, "214 B"),
        (1024, "1 KiB"),
        (111_000, "111 KB"),
        (1_500, "1.5 KB"),
        (64 << 20, "64 MiB"),
        (1_536 << 20, "1536 MiB"),
        (4 << 30, "4 GiB"),
        (26_000_001, "26 MB"),
        (18 * 10**9, "18 GB"),
    ],
)
def test_sizes_are_exact_where_limits_are(count: int, text: str) -> None:
    assert size(count) == text


def test_plurals() -> None:
    assert [plural(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_a_short_digest_keeps_both_ends() -> None:
    assert short(bytes.fromhex("9b41" + "00" * 28 + "017e")) == "9b4100…017e"
    assert short(b"\x01\x02") == "0102"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain · Genoa → ü", "plain · Genoa → ü"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rrefused\nb\tc", "a\\rrefused\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("\u2028\u200b\ufeff", "\\u2028\\u200b\\ufeff"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
    ],
)
def test_what_a_terminal_might_obey_becomes_visible(written: str, shown: str) -> None:
    assert escape(written) == shown


@given(st.text(st.characters()))
def test_nothing_unprintable_survives(text: str) -> None:
    assert escape(text).isprintable()
    assert escape(text) == text or not text.isprintable()
