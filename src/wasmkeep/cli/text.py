"""Words and numbers as people read them, and the escaping of what a stranger wrote."""

from __future__ import annotations

__all__ = ["digest", "duration", "escape", "plural", "short", "size"]

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str) -> str:
    """Make every character visible that a terminal might obey: controls, bidi marks, lone surrogates.

    A host chooses some of what is printed. What is not printable by Unicode's own tables becomes
    ``\\xNN`` or ``\\uNNNN``; a backslash stays one, so the text is for reading, not for parsing back.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _visible(char) for char in text)


def _visible(char: str) -> str:
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def duration(nanoseconds: int) -> str:
    """A time to two digits or so: ``0.4 ms``, ``27 ms``, ``3.1 s``, ``2 min 5 s``."""
    milliseconds = nanoseconds / 1e6
    if milliseconds < 9.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1e3
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def size(count: int) -> str:
    """A number of bytes, in the unit a person would choose: ``214 B``, ``111 KB``, ``64 MiB``.

    Whole binary multiples, which limits usually are, are shown exactly; everything else is decimal.
    """
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if factor <= count < factor * 10_000 and count % factor == 0:
            return f"{count // factor} {unit}"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{count} B"


def plural(count: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``0 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def digest(value: bytes) -> str:
    """A SHA-256 as the command line and policies write it."""
    return "sha256:" + value.hex()


def short(value: bytes) -> str:
    """Enough of a digest to recognise it beside another. Never a substitute for the comparison."""
    text = value.hex()
    return text if len(text) <= 12 else f"{text[:6]}…{text[-4:]}"
