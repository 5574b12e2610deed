"""``wasmkeep completion SHELL``: a script made from the parsers themselves, so that it cannot go stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute", "script"]

SHELLS = ("bash", "zsh", "fish")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    parser.epilog = (
        "bash: source <(wasmkeep completion bash)\n"
        "zsh:  source <(wasmkeep completion zsh)\n"
        "fish: wasmkeep completion fish | source"
    )


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - the answer goes to stdout
    """Print the script."""
    from wasmkeep.cli.console import answer

    answer(script(options.shell))
    return 0


def script(shell: str) -> str:
    """The completion script of one of `SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_words())


def _words() -> dict[str, tuple[str, ...]]:
    """What may follow each sequence of words: further words of commands, and the flags of whole commands."""
    import argparse

    from wasmkeep.cli import parser
    from wasmkeep.cli.commands import COMMANDS

    table: dict[str, list[str]] = {}
    for command in COMMANDS:
        for count in range(len(command.words)):
            following = table.setdefault(" ".join(command.words[:count]), [])
            if command.words[count] not in following:
                following.append(command.words[count])
        actions = parser.parser_for(command, parser.load(command))._actions  # noqa: SLF001 - argparse has no other list
        shown = [action for action in actions if action.help != argparse.SUPPRESS]
        flags = [flag for action in shown for flag in action.option_strings if flag.startswith("--")]
        values = [
            str(value) for action in actions if not action.option_strings for value in action.choices or ()
        ]
        table[" ".join(command.words)] = [*values, *flags]
    return {prefix: tuple(following) for prefix, following in table.items()}


def _cases(words: dict[str, tuple[str, ...]]) -> str:
    return "\n".join(
        f'    "{prefix}") words="{" ".join(following)}" ;;' for prefix, following in words.items()
    )


def _longest(words: dict[str, tuple[str, ...]]) -> int:
    return max(len(prefix.split()) for prefix in words)


def _bash(words: dict[str, tuple[str, ...]]) -> str:
    return f"""# bash completion for wasmkeep
_wasmkeep() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" prefix="" words="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) break ;; esac
    case " {_prefixes(words)} " in
      *" ${{prefix:+$prefix/}}$word "*) prefix="${{prefix:+$prefix/}}$word" ;;
      *) break ;;
    esac
  done
  case "${{prefix//\\// }}" in
{_cases(words)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "$current" in -*) ;; *) COMPREPLY+=($(compgen -f -- "$current")) ;; esac
}}
complete -o filenames -F _wasmkeep wasmkeep
"""


def _zsh(words: dict[str, tuple[str, ...]]) -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(words).replace("# bash", "# zsh")


def _prefixes(words: dict[str, tuple[str, ...]]) -> str:
    return " ".join(prefix.replace(" ", "/") for prefix in words if prefix)


def _fish(words: dict[str, tuple[str, ...]]) -> str:
    lines = [
        "# fish completion for wasmkeep",
        "function __wasmkeep_words",
        "  for word in (commandline -opc)[2..-1]",
        "    string match -q -- '-*' $word; and break",
        "    echo $word",
        "  end",
        "end",
        "function __wasmkeep_exactly",
        '  set -l given (__wasmkeep_words); test "$given" = "$argv"',
        "end",
        "function __wasmkeep_within",
        "  set -l given (__wasmkeep_words); set -l count (count $argv)",
        '  test (count $given) -ge $count; and test "$given[1..$count]" = "$argv"',
        "end",
    ]
    for prefix, following in words.items():
        for word in following:
            if word.startswith("--"):
                lines.append(f"complete -c wasmkeep -n '__wasmkeep_within {prefix}' -l {word[2:]}")
            else:
                lines.append(f"complete -c wasmkeep -n '__wasmkeep_exactly {prefix}' -a {word}")
    return "\n".join(lines) + "\n"
