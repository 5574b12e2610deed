"""A parser of arguments that refuses in wasmkeep's own words and never guesses at an abbreviation."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

if TYPE_CHECKING:
    from wasmkeep.cli.commands import Command
    from wasmkeep.cli.console import Console

__all__ = ["ArgumentParser", "CommandModule", "load", "parser_for", "split_arguments"]

_WIDTH = 100  # columns: the same help everywhere, so that the documentation can hold it


class CommandModule(Protocol):
    """What a command's module offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, options: argparse.Namespace, console: Console) -> int: ...


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=_WIDTH)


class ArgumentParser(argparse.ArgumentParser):
    """An ``argparse.ArgumentParser`` whose refusals are `UsageError`, exit code 64."""

    def error(self, message: str) -> NoReturn:
        from wasmkeep.errors import UsageError

        raise UsageError(
            "usage",
            message,
            remedy=self._suggestion(message) or f"`{self.prog} --help` lists what it takes",
        )

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - there is one place for help
        """To standard output, as any answer: argparse itself says nothing where that fails."""
        from wasmkeep.cli.console import answer

        answer(self.format_help())

    def _suggestion(self, message: str) -> str:
        """The nearest known flag to the first unknown one that ``message`` names, as advice."""
        prefix = "unrecognized arguments: "
        if not message.startswith(prefix):
            return ""
        import difflib

        word = message[len(prefix) :].split()[0]
        known = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(word.partition("=")[0], known, n=1)
        if near:
            return f"did you mean {near[0]}?"
        if not word.startswith("-"):
            return f"put the program's own arguments after `--`: `-- {word}`" if self._passthrough else ""
        return ""

    _passthrough = False

    def take_passthrough(self) -> None:
        """Say that this command gives what follows ``--`` to the program."""
        self._passthrough = True


def load(command: Command) -> CommandModule:
    """Import a command's module; the name comes from the table, never from the user."""
    return cast("CommandModule", importlib.import_module(command.module))


def parser_for(command: Command, module: CommandModule) -> ArgumentParser:
    """The parser of one command."""
    parser = ArgumentParser(
        prog=" ".join(("wasmkeep", *command.words)),
        description=command.summary[0].upper() + command.summary[1:] + ".",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    if command.passthrough:
        parser.take_passthrough()
    return parser


def split_arguments(command: Command, words: list[str]) -> tuple[list[str], list[str] | None]:
    """The command's own words, and those after the first ``--``; None where there is no ``--``."""
    if not command.passthrough or "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]
