"""What wasmkeep says. The rules:

- Everything goes to standard error, which this module alone writes; standard output belongs to the program
  (or, for a command that answers a question, to the answer).
- A screen is made of blocks: a label, one or more lines, and the same facts for machines (``--json``).
- Everything is escaped here, last, whoever wrote it: no other place has to remember.
- Colour and moving things only on a terminal; NO_COLOR is respected; a pipe gets plain lines.
- ``--quiet`` leaves errors and what says that a protection is missing.
- No capital at the start of a message and no full stop at its end.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from wasmkeep.cli.text import duration, escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmkeep.errors import WasmkeepError

__all__ = ["Block", "Console", "answer", "forget_stdout"]

_LABEL_WIDTH = 12  # columns, after an indent of two
_TIME_COLUMN = 80
_BOLD, _RED, _LOUD, _DIM, _RESET = "\x1b[1m", "\x1b[1;31m", "\x1b[1;30;43m", "\x1b[2m", "\x1b[0m"

# Checks whose screen has labels of its own, in the order of the lines.
_FIELDS = (("found", "found"), ("required", "required"), ("meaning", "meaning"), ("remedy", "next"))
_NO_TEE_FIELDS = (("found", "looked for"), ("remedy", "to try it"), ("meaning", "to use it"))
_REFUSALS = frozenset({76, 77, 78, 79, 80})  # exit codes of verdicts, as opposed to failures


class Block:
    """One thing that was established: a label, its lines, the time it took, the same facts for machines.

    The time stands on the last line, or on the first where ``elapsed_words`` say what it covers.
    """

    __slots__ = ("elapsed_ns", "elapsed_words", "event", "facts", "label", "lines", "loud")

    def __init__(
        self,
        event: str,
        label: str,
        lines: tuple[str, ...],
        facts: Mapping[str, object],
        *,
        elapsed_ns: int | None = None,
        elapsed_words: str = "",
        loud: bool = False,
    ) -> None:
        self.event = event
        self.label = label
        self.lines = lines
        self.facts = facts
        self.elapsed_ns = elapsed_ns
        self.elapsed_words = elapsed_words
        self.loud = loud


class Console:
    """Writes blocks and errors to one stream. Safe to use from several threads."""

    def __init__(self, stream: TextIO, *, json: bool = False, quiet: bool = False) -> None:
        self._stream = stream
        self.json = json
        self.quiet = quiet
        self.terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self.terminal and not os.environ.get("NO_COLOR")
        self._lock = threading.RLock()
        self._status = ""
        self._status_owner: object = None
        self._line_open = False
        self._unread = False

    def show(self, block: Block) -> None:
        """Print a block, unless ``--quiet`` and it is not a warning of lost protection."""
        if self.quiet and not block.loud:
            return
        if self.json:
            elapsed = {} if block.elapsed_ns is None else {"elapsed_ns": block.elapsed_ns}
            self._write_json({"event": block.event, **block.facts, **elapsed})
            return
        self._write("".join(self._block_lines(block)))

    def note(self, text: str) -> None:
        """A plain remark that machines do not need."""
        if not (self.quiet or self.json):
            self._write(f"  {escape(text)}\n")

    def error(self, error: WasmkeepError) -> int:
        """Print a refusal or failure with all it knows; returns its exit code."""
        if self.json:
            facts = {name: value for name, _ in _FIELDS if (value := getattr(error, name))}
            self._write_json(
                {"event": "error", "check": error.check, "message": error.message, **facts,
                 **_several(error), "exit_code": error.exit_code}
            )  # fmt: skip
        else:
            self._write("".join(self._error_lines(error)))
        return error.exit_code

    def program_wrote(self, last: int, *, seen: bool) -> None:
        """The program wrote to where this console writes too, if ``seen``; ``last`` is its last byte."""
        with self._lock:
            self._line_open = seen and last != 0x0A

    def program_error(self, text: str) -> None:
        """The program's own standard error, told apart from ours for machines."""
        self._write_json({"event": "program-stderr", "text": text})

    def interrupted(self) -> None:
        """Ctrl-C: by now everything has been ended and cleared away."""
        if self.json:
            self._write_json({"event": "interrupted"})
        else:
            self._write(f"{self._style(_RED, 'interrupted:')} the keep was ended; nothing is left behind\n")

    def bug(self, error: Exception) -> int:
        """Something no one foresaw. Its text may hold anything, so only its type is shown."""
        name = type(error).__name__
        if self.json:
            self._write_json({"event": "error", "check": "bug", "message": name, "exit_code": 70})
        else:
            self._write(
                f"{self._style(_RED, 'error:')} this is a bug in wasmkeep ({escape(name)}); the run is void\n"
                "  next        run it again with WASMKEEP_DEBUG=1 and report what it prints;\n"
                "              read that first, it may hold parts of your input\n"
            )
        return 70

    def status(self, text: str, owner: object = None) -> None:
        """Show one moving line on a terminal, or with '' take it away. Elsewhere nothing happens.

        There is one such line: while one owner has it, others that do two things at once are not heard.
        """
        if not self.terminal or self.quiet or self.json:
            return
        with self._lock:
            if self._unread or (self._status and owner is not self._status_owner):
                return
            self._erase_status()
            # One that wraps could not be erased again.
            self._status, self._status_owner = escape(text)[: self._columns() - 1], owner
            if text:
                self._stream.write(self._style(_DIM, self._status))
            self._stream.flush()

    def _block_lines(self, block: Block) -> list[str]:
        lines = []
        for number, line in enumerate(block.lines):
            label = block.label if number == 0 else ""
            style = _LOUD if block.loud else _BOLD
            padding = " " * max(1, _LABEL_WIDTH - len(label))
            head = "  " + (self._style(style, escape(label)) if label else "") + padding
            text = escape(line)
            if block.elapsed_ns is not None and number == (
                0 if block.elapsed_words else len(block.lines) - 1
            ):
                used = 2 + _LABEL_WIDTH + len(text)
                text += " " * max(2, _TIME_COLUMN - used) + self._style(
                    _DIM, duration(block.elapsed_ns) + block.elapsed_words
                )
            lines.append(head + text + "\n")
        return lines

    def _error_lines(self, error: WasmkeepError) -> list[str]:
        word = "refused:" if error.exit_code in _REFUSALS else "error:"
        headline = f"{self._style(_RED, word)} {escape(error.message)}"
        failures = _several(error).get("failures", [])
        if len(failures) > 1:
            headline = f"{self._style(_RED, word)} {len(failures)} checks failed\n"
            return [
                headline,
                *(f"  {escape(row['check']):<24}{escape(_one_line(row))}\n" for row in failures),
            ]
        if word == "refused:" and error.check:
            headline += " " * max(2, 60 - len(error.message)) + self._style(
                _DIM, f"check: {escape(error.check)}"
            )
        lines = [headline + "\n"]
        for name, label in _NO_TEE_FIELDS if error.check == "platform.none" else _FIELDS:
            for number, part in enumerate(str(getattr(error, name)).splitlines()):
                lines.append(f"  {label if number == 0 else '':<{_LABEL_WIDTH}}{escape(part)}\n")
        lines += [
            f"  {'see':<{_LABEL_WIDTH}}{escape(row['section'])}\n" for row in failures if "section" in row
        ]
        return lines

    def _style(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._colour else text

    def _write_json(self, facts: Mapping[str, object]) -> None:
        import json

        self._write(json.dumps(facts, default=_plain) + "\n")

    def _write(self, text: str) -> None:
        with self._lock:
            if self._unread:
                return
            status = self._status
            self._erase_status()
            if self._line_open and not self.json:
                text = "\n" + text
            self._line_open = False
            if status:
                self._status = status
                text += self._style(_DIM, status)
            try:
                self._stream.write(text)
                self._stream.flush()
            except BrokenPipeError:
                # Nobody reads what we say: the work goes on, its result does not depend on it.
                self._unread = True

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _erase_status(self) -> None:
        if self._status:
            self._stream.write("\r\x1b[K")
            self._status = ""


def _several(error: WasmkeepError) -> dict[str, list[dict[str, str]]]:
    """The single checks behind an error that is made of several: rejected evidence has ``findings``."""
    rows = []
    for finding in getattr(error, "findings", ()):
        names = ("check", "kind", "message", "found", "required", "section", "meaning")
        fields = {name: str(getattr(finding, name)) for name in names}
        fields["remedy"] = str(finding.advice)
        rows.append({name: value for name, value in fields.items() if value})
    return {"failures": rows} if rows else {}


def _one_line(failure: Mapping[str, str]) -> str:
    parts = [failure["message"]]
    parts += [f"{name} {failure[name]}" for name in ("found", "required") if name in failure]
    text = ", ".join(parts)
    text = f"{text}; {failure['remedy']}" if "remedy" in failure else text
    return f"{text} [{failure['section']}]" if "section" in failure else text


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def answer(text: str) -> None:
    """Print the answer of a command that answers a question, to standard output. Raises OutputError."""
    from wasmkeep.errors import OutputError

    if sys.stdout is None:  # closed when this process started
        raise OutputError("output.unwritable", "standard output is closed")
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
        sys.exit(OutputError.exit_code)  # `| head` has what it wanted: no message
    except OSError as error:
        forget_stdout()
        raise OutputError(
            "output.unwritable", "standard output cannot be written", found=error.strerror or "?"
        ) from error


def forget_stdout() -> None:
    """Whoever read our output is gone: keep Python's own flush at exit from failing again."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
