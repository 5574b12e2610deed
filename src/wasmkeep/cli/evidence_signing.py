"""The result of ``wasmkeep evidence verify`` written as a signed token, with a key of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.cli.flags import read_file
from wasmkeep.errors import OutputError

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.ear_keys import SigningKey
    from wasmkeep.evidence.result import AttestationResult

__all__ = ["Signer"]


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, and how and where the token is written."""

    key: SigningKey
    path: Path
    form: str
    nonce: bytes | None
    lifetime: timedelta | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Signer:
        """As the flags say. Raises InputError, ConfigurationError for a key that cannot be used."""
        from wasmkeep.evidence.ear_keys import load_signing_key

        key = load_signing_key(read_file(options.ear_key, "the key"))
        lifetime = None if options.ear_lifetime is None else timedelta(seconds=options.ear_lifetime)
        return cls(key, Path(options.ear), options.ear_format, options.ear_nonce, lifetime)

    def write(self, result: AttestationResult, console: Console) -> None:
        """Write the result. Raises OutputError where the file cannot be written."""
        from wasmkeep.evidence.ear_token import TokenForm, issue
        from wasmkeep.whole_file import write_whole

        form, now = TokenForm(self.form), datetime.now(UTC)
        token = issue(result, self.key, issued=now, form=form, lifetime=self.lifetime, nonce=self.nonce)
        try:
            write_whole(self.path, token)
        except OSError as error:
            raise OutputError(
                "output.unwritable", f"cannot write {self.path}", found=error.strerror or "?"
            ) from error
        facts = {"file": str(self.path), "format": self.form, "size": len(token)}
        console.show(Block("signed", "signed", (f"{self.path} ({len(token)} B, {self.form})",), facts))
