"""The step that the talk announced: WebAssembly in place of machine code, by the real deployment path.

That is `wasmkeep run --tee sev`: the same six steps, with the measured keep image in place of nothing, a
secret in place of code and data, and a session under keys from that secret in place of a port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["run", "words"]

_STEPS = (
    "1 and 2 as on the slide: both chains, session and policy",
    "3 and 4 with the measured keep image in place of nothing",
    "5 and 6 with a secret for that keep; then the program goes to it, sealed",
)


def run(options: argparse.Namespace, console: Console) -> int:
    """Deploy the program to a keep on plain SEV; its own exit code. Raises what ``run`` raises."""
    if options.machine == "sev":
        from wasmkeep.cli.tees import no_tee

        raise no_tee()
    from wasmkeep.cli import commands, parser

    console.show(Block("demonstration", "wasm", _STEPS, {"program": options.wasm, "tee": "sev"}))
    found = commands.find(["run"])
    if found is None:
        raise RuntimeError("there is no command `run`")
    command = found[0]
    module = parser.load(command)
    asked = parser.parser_for(command, module).parse_args(words(options))
    asked.arguments = options.arguments
    return module.execute(asked, console)


def words(options: argparse.Namespace) -> list[str]:
    """The command line of ``wasmkeep run`` that does it."""
    given = ["--simulated", "--tee", "sev", "--machine", options.name]
    if options.machine == "kvm":
        given += ["--cpu", "kvm"]
    return [*given, "--", options.wasm]
