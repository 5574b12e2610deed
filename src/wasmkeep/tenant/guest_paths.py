"""Paths as a keep accepts them (docs/protocol.md section 4): checked here so that nothing is sent in vain."""

from __future__ import annotations

from typing import Final

from wasmkeep.errors import InputError

__all__ = ["MAX_COMPONENT_BYTES", "MAX_PATH_BYTES", "check_component", "check_path"]

MAX_PATH_BYTES: Final = 1024
MAX_COMPONENT_BYTES: Final = 255
PRIVATE: Final = b"tmp"
"""A keep's folder of its own, private and writable; nothing is delivered there."""


def refused_name(name: bytes, reason: str, *, required: str = "") -> InputError:
    return InputError(
        "files.name",
        f"a file cannot be delivered under its name: {reason}",
        found=shown(name),
        required=required,
        meaning="nothing was sent",
        remedy="rename it, or deliver another folder",
    )


def shown(name: bytes) -> str:
    """A name for a message: bytes that are not printable text are escaped."""
    text = repr(name[:200].decode("utf-8", "backslashreplace"))
    return text if len(name) <= 200 else f"{text} …"


def check_component(name: bytes) -> None:
    """One name between slashes.

    :raises InputError: empty, too long, ``.``, ``..``, or with a NUL, a slash or a backslash in it.
    """
    if not name or name in (b".", b".."):
        raise refused_name(name, "it is empty, . or ..")
    if len(name) > MAX_COMPONENT_BYTES:
        raise refused_name(name, "it is too long", required=f"at most {MAX_COMPONENT_BYTES} bytes")
    for byte, what in ((b"\0", "a NUL"), (b"/", "a slash"), (b"\\", "a backslash")):
        if byte in name:
            raise refused_name(name, f"it has {what} in it")


def check_path(path: bytes) -> None:
    """A whole path: relative, names joined by single slashes, not under ``tmp``.

    :raises InputError: see `check_component`; or too long, absolute, or the keep's own ``tmp``.
    """
    if len(path) > MAX_PATH_BYTES:
        raise refused_name(path, "its path is too long", required=f"at most {MAX_PATH_BYTES} bytes")
    components = path.split(b"/")
    for name in components:
        check_component(name)
    if components[0] == PRIVATE:
        raise refused_name(path, "tmp is the keep's own folder")
