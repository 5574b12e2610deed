"""Where a receipt goes, decided and checked before anything starts."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.errors import OutputError

if TYPE_CHECKING:
    import argparse

    from wasmkeep.evidence.policy import Policy
    from wasmkeep.tenant.events import Finished

__all__ = ["ReceiptPlace", "session_beside"]


class ReceiptPlace:
    """The receipt's file; beside it the one of the salts that disclose single fields of it, and for SEV and
    SEV-ES the stored session, without which such a receipt cannot be verified."""

    __slots__ = ("_policy_file", "path")

    def __init__(self, path: Path, policy_file: str | None) -> None:
        self.path = path
        self._policy_file = policy_file

    @classmethod
    def of(cls, options: argparse.Namespace) -> ReceiptPlace:
        """What ``--receipt`` says, or PROGRAM's name. Raises OutputError now, not after the run."""
        if options.receipt:
            path = Path(options.receipt)
        else:
            path = Path(f"{Path(options.program).resolve().stem or 'program'}.receipt")
        folder = path.parent
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                "output.receipt",
                f"the receipt cannot be written to {path}",
                found="a directory" if path.is_dir() else f"{folder} is no folder that you may write",
                required="a file name in a folder that you may write",
                remedy="name another place with --receipt FILE",
            )
        return cls(path, options.policy)

    def keep(self, finished: Finished) -> None:
        """Write salts and stored session, then the receipt. Raises OutputError."""
        _write(self.path.with_name(self.path.name + ".salts"), finished.disclosures)
        stored = session_beside(self.path)
        if finished.stored_session:
            _write(stored, finished.stored_session)
        else:
            _remove(stored)  # of an earlier receipt of this name
        _write(self.path, finished.receipt)

    def verification(self, policy: Policy) -> str:
        """The command that verifies this receipt again, as a shell would read it."""
        words = ["wasmkeep", "receipt", "verify", str(self.path)]
        if self._policy_file:
            words += ["--policy", self._policy_file]
        elif policy.platforms != ("snp",):
            words += ["--tee", policy.platforms[0]]
        if policy.simulated:
            words += ["--simulated", policy.simulated]
        return shlex.join(words)


def session_beside(receipt: Path) -> Path:
    """Where the stored session of a receipt is, if it needs one."""
    return receipt.with_name(receipt.name + ".session")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            "output.receipt", f"{path} cannot be removed", found=error.strerror or "?"
        ) from error


def _write(path: Path, content: bytes) -> None:
    from wasmkeep.whole_file import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise OutputError(
            "output.receipt", f"{path} cannot be written", found=error.strerror or "?"
        ) from error
