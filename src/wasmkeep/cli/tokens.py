"""Where the token for a host comes from: a file, the environment, or the runtime folder of a local host."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from wasmkeep.cli.flags import read_file
from wasmkeep.errors import InputError
from wasmkeep.tenant.address import LOOPBACK, HostAddress

if TYPE_CHECKING:
    from wasmkeep.cli.console import Console

__all__ = ["find", "in_environment"]

_FORM = re.compile(r"wk_[A-Za-z0-9_-]{43}")
_VARIABLE = "WASMKEEP_TOKEN"
_MAX_SIZE = 4096  # bytes of a token file


def in_environment() -> bool:
    """Whether the environment has a token, which is one host's."""
    return bool(os.environ.get(_VARIABLE))


def find(path: str | None, host: str, console: Console) -> str:
    """The token to show ``host``: of ``--token-file``, else WASMKEEP_TOKEN, else what a host of this user on
    loopback left in the user's runtime folder. A token file that others may read is warned of. Raises
    InputError where there is none, or it is not one; without either, ConfigurationError where ``host`` is no
    address, and HostUnreachable where nobody is there on loopback.
    """
    if path is not None:
        _warn_of_readers(path, console)
        return _checked(read_file(path, "the token file", limit=_MAX_SIZE).decode("ascii", "replace"), path)
    if value := os.environ.get(_VARIABLE):
        return _checked(value, "WASMKEEP_TOKEN")
    address = HostAddress.parse(host)
    if address.hostname in LOOPBACK:
        if local := _of_local_host(address):
            return local
        _require_somebody_there(address)
    raise InputError(
        "token.missing",
        f"there is no token for {host}",
        required="the token that `wasmkeep host serve` or `wasmkeep host token create` printed there",
        remedy="--token-file FILE, or set WASMKEEP_TOKEN",
    )


def _require_somebody_there(address: HostAddress) -> None:
    """On loopback a missing token mostly means that no host is running: then that is what to say.

    Raises HostUnreachable.
    """
    import socket

    try:
        socket.create_connection((address.hostname, address.port), timeout=1.0).close()
    except OSError as error:
        raise address.unreachable(error.strerror or type(error).__name__) from None


def _warn_of_readers(path: str, console: Console) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return  # whoever reads it says why it cannot be read
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        from wasmkeep.cli.screens import warning

        mode = stat.S_IMODE(status.st_mode)
        text = f"other users may read the token in {path} (mode {mode:04o}): `chmod 600` it"
        console.show(warning("token-file", text))


def _of_local_host(address: HostAddress) -> str | None:
    from wasmkeep.host.private_files import read_private
    from wasmkeep.host.tokens import runtime_token_path

    path = runtime_token_path(address.port)
    try:
        text = read_private(path, _MAX_SIZE).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    return _checked(text, str(path))


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not _FORM.fullmatch(token):
        raise InputError(
            "token.malformed",
            f"{source} does not hold a token",
            required="wk_ and 43 letters, digits, - or _",
        )
    return token
