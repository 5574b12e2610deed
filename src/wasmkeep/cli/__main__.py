"""The entry point: find the command, run it, and turn whatever happens into one message and one exit code."""

from __future__ import annotations

import sys

from wasmkeep.cli import commands

TYPE_CHECKING = False  # without importing typing, which costs more than the rest of `--help`
if TYPE_CHECKING:
    from typing import TextIO

    from wasmkeep.cli.commands import Command
    from wasmkeep.cli.console import Console

__all__ = ["main"]

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("--help", "-h", "help"):
        return _print_help(words)
    if words[0] == "--version":
        from wasmkeep import __version__

        return _printed(f"wasmkeep {__version__}\n")
    found = commands.find(words)
    if found is None:
        return _unknown(words)
    return _guarded(*found)


def _print_help(words: list[str]) -> int:
    return _printed(commands.TOP_HELP) or (0 if words else 64)


def _printed(text: str) -> int:
    """Print what was asked for; 0, or the exit code where standard output takes nothing."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, AttributeError):  # full, or gone; closed from the start
        from wasmkeep.cli.console import Console, answer
        from wasmkeep.errors import OutputError

        errors = _standard_error()
        try:
            answer(text)
        except OutputError as error:
            return Console(errors).error(error)
    return 0


def _unknown(words: list[str]) -> int:
    """A group without its command, or a word that is no command."""
    plain = []
    for word in words:
        if word.startswith("-"):
            break
        plain.append(word)
    group = tuple(plain)
    asked_for_help = len(words) > len(plain) and words[len(plain)] in ("--help", "-h")
    if group and commands.commands_under(group):
        if asked_for_help:
            return _printed(commands.help_for(group))
        _standard_error().write(commands.help_for(group))
        return 64
    from wasmkeep.cli.console import Console
    from wasmkeep.errors import UsageError

    console = Console(_standard_error(), json="--json" in words)
    return console.error(
        UsageError(
            "usage.command", f"there is no command `{' '.join(plain or words[:1])}`", remedy=_nearest(plain)
        )
    )


def _nearest(plain: list[str]) -> str:
    import difflib

    known = [" ".join(command.words) for command in commands.COMMANDS]
    near = difflib.get_close_matches(" ".join(plain), known, n=1)
    return f"did you mean `wasmkeep {near[0]}`?" if near else "`wasmkeep --help` lists the commands"


def _guarded(command: Command, words: list[str]) -> int:
    """Run a command; every failure ends here as a message. A traceback reaching the user is a bug."""
    from wasmkeep.cli.console import Console
    from wasmkeep.errors import WasmkeepError

    _hush_warnings()
    own = _own(command, words)
    console = Console(_standard_error(), json="--json" in own, quiet="--quiet" in own)
    try:
        return _execute(command, words, console)
    except WasmkeepError as error:
        return console.error(error)
    except KeyboardInterrupt:
        console.interrupted()
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last handler there is: a bug becomes a message and exit 70
        return _report_bug(console, error)


def _hush_warnings() -> None:
    """Python's warnings are for developers (``-W`` or PYTHONWARNINGS bring them back), and no user's line."""
    import warnings

    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _standard_error() -> TextIO:
    """Standard error, after giving closed standard descriptors to /dev/null.

    Otherwise the next socket or file would become the program's standard input or output. A closed standard
    output stays one that cannot be written.
    """
    import os

    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number: this one
            os.set_inheritable(descriptor, True)
    return sys.stderr if sys.stderr is not None else open(os.devnull, "w", encoding="utf-8")


def _own(command: Command, words: list[str]) -> list[str]:
    if command.passthrough and "--" in words:
        return words[: words.index("--")]
    return words


def _execute(command: Command, words: list[str], console: Console) -> int:
    from wasmkeep.cli import parser

    module = parser.load(command)
    own, program_arguments = parser.split_arguments(command, words)
    arguments = parser.parser_for(command, module)
    options = arguments.parse_args(own)
    options.arguments = program_arguments
    return module.execute(options, console)


def _report_bug(console: Console, error: Exception) -> int:
    import os

    if os.environ.get("WASMKEEP_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    return console.bug(error)


if __name__ == "__main__":
    sys.exit(main())
