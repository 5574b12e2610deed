"""The table of commands: words on the command line, the module that carries them out, one line of help.

A command's module offers ``configure(parser)``, which describes its arguments, and ``execute(options,
console)``, which carries it out and returns the exit code. Modules are imported only when they are named.
"""

from __future__ import annotations

__all__ = ["COMMANDS", "DESCRIPTION", "TOP_HELP", "Command", "commands_under", "find"]

DESCRIPTION = (
    "Run a WebAssembly program in a keep: a place on somebody else's computer that its owner cannot read."
)


class Command:
    """One row of the table. ``passthrough`` commands take the program's own arguments after ``--``."""

    __slots__ = ("module", "passthrough", "summary", "words")

    def __init__(self, words: str, module: str, summary: str, *, passthrough: bool = False) -> None:
        self.words = tuple(words.split())
        self.module = "wasmkeep.cli." + module
        self.summary = summary
        self.passthrough = passthrough


COMMANDS = (
    Command("run", "run", "host, machine and tenant on this computer, in one command", passthrough=True),
    Command(
        "deploy",
        "deploy",
        "attest a keep on a host, deliver a program, run it, keep a receipt",
        passthrough=True,
    ),
    Command("host serve", "host_serve", "the host's daemon: launches keeps and relays what is sealed"),
    Command("host token create", "host_token_create", "make a token that lets a tenant use this host"),
    Command("host token list", "host_token_list", "the names of this host's tokens"),
    Command("host token revoke", "host_token_revoke", "make a token useless"),
    Command("platform", "platform", "which TEEs are here, or at a host, and their state"),
    Command("evidence verify", "evidence_verify", "verify evidence offline against a policy"),
    Command("evidence ear", "evidence_ear", "verify a signed attestation result (EAR) with a key"),
    Command("evidence show", "evidence_show", "explain evidence field by field, verifying nothing"),
    Command(
        "evidence collect",
        "evidence_collect",
        "ask the confidential guest that this runs in for evidence",
    ),
    Command(
        "endorsements fetch",
        "endorsements_fetch",
        "fetch certificates and revocation lists for offline verification",
    ),
    Command("receipt verify", "receipt_verify", "verify a receipt offline: then, and as of now"),
    Command("receipt show", "receipt_show", "explain a receipt, verifying nothing"),
    Command("image build", "image_build", "build the keep image from its source"),
    Command("image measure", "image_measure", "the launch digest to expect of the keep image you have"),
    Command("image show", "image_show", "the keep images you have and their digests"),
    Command("demo sev", "demo_sev", "the talk's demonstration, step by step", passthrough=True),
    Command("policy check", "policy_check", "explain a policy in plain words, rule by rule"),
    Command("policy init", "policy_init", "make a policy from evidence that you trust"),
    Command("completion", "completion", "print a completion script for bash, zsh or fish"),
)


def find(words: list[str]) -> tuple[Command, list[str]] | None:
    """The command that the leading words name, and what follows it; None where they name none."""
    for command in COMMANDS:
        count = len(command.words)
        if tuple(words[:count]) == command.words:
            return command, words[count:]
    return None


def commands_under(prefix: tuple[str, ...]) -> list[Command]:
    """The commands that start with these words, in the order of the table."""
    return [command for command in COMMANDS if command.words[: len(prefix)] == prefix]


def help_for(prefix: tuple[str, ...]) -> str:
    """Help for ``wasmkeep`` or for a group of commands such as ``wasmkeep host token``."""
    rows = commands_under(prefix)
    name = " ".join(("wasmkeep", *prefix))
    lines = [f"usage: {name} COMMAND …", ""]
    if not prefix:
        lines += [DESCRIPTION, ""]
    lines.append("commands:")
    lines += [f"  {' '.join(row.words):<20}{row.summary}" for row in rows]
    lines += ["", f"`{name} COMMAND --help` explains a command."]
    if not prefix:
        lines.append("`wasmkeep --version` prints the version.")
    return "\n".join(lines) + "\n"


TOP_HELP = help_for(())
