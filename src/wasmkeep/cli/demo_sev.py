"""``wasmkeep demo sev``: the talk's demonstration, with its order and its meaning.

Client and server run in one process here, or as two programs: ``--listen`` is the server with its machine,
``--connect`` the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.demo.cheats import CHEATS

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]

_ROUNDS = 2
_MAX_ROUNDS = 10_000
_MACHINES = ("simulated", "kvm", "sev")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.usage = "wasmkeep demo sev [flags] [--wasm PROGRAM [-- ARGS …]]"
    parser.description = (
        "The talk's demonstration: an empty machine is measured, gets code and data that are\n"
        "sealed for it, and prints 7. Plain SEV, as in the talk; the command says what that leaves open."
    )
    _add_shown(parser)
    _add_machine(parser)
    flags.add_output_flags(parser)
    parser.epilog = _epilog()


def _add_shown(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--rounds", type=_count, metavar="N", help=f"how often, with fresh keys each time; default: {_ROUNDS}"
    )
    shown.add_argument(
        "--spy", action="store_true", help="what hypervisor, DMA device and cold-boot dump saw at each step"
    )
    shown.add_argument(
        "--tamper",
        choices=tuple(cheat.name for cheat in CHEATS),
        metavar="WHAT",
        help="let the host cheat in one of the ways below, and show who catches it (exit code 77)",
    )
    shown.add_argument(
        "--wasm", metavar="PROGRAM", help="deliver a WebAssembly program in place of the machine code"
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--machine",
        choices=_MACHINES,
        default="simulated",
        help="simulated: memory that holds ciphertext, an emulated CPU (default); kvm: a virtual machine "
        "that is NOT encrypted; sev: this computer's /dev/sev",
    )
    machine.add_argument(
        "--name", default="default", metavar="NAME", help="which simulated machine; default: default"
    )
    apart = parser.add_argument_group("as two programs")
    apart.add_argument(
        "--listen", metavar="ADDRESS", help="be the server: a path, or 127.0.0.1:PORT; until Ctrl-C"
    )
    apart.add_argument("--connect", metavar="ADDRESS", help="be the client of a server that listens there")
    apart.add_argument(
        "--simulated", metavar="sha256:…", help="with --connect: accept this simulated machine's root"
    )
    apart.add_argument(
        "--owner", metavar="sha256:…", help="with --connect: the machine's owner must be this one"
    )


def _epilog() -> str:
    width = max(len(cheat.name) for cheat in CHEATS)
    rows = [f"  {cheat.name:<{width}}  {cheat.does}" for cheat in CHEATS]
    return "\n".join(["--tamper WHAT, the host …", *rows])


def execute(options: argparse.Namespace, console: Console) -> int:
    """Demonstrate; 0 where every round went well, 77 where a cheat was caught."""
    _check(options)
    from wasmkeep.cli import deploying

    if options.wasm:
        from wasmkeep.cli import demo_wasm

        return demo_wasm.run(options, console)
    if options.listen or options.connect:
        from wasmkeep.cli import demo_apart

        work = demo_apart.listen if options.listen else demo_apart.connect
        return deploying.run_to_end(work(options, console))
    from wasmkeep.cli import demo_local

    return deploying.run_to_end(demo_local.run(options, console))


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for flags that do not go together."""
    from wasmkeep.demo.cheats import BY_NAME
    from wasmkeep.errors import UsageError

    together = (
        ("--listen", options.listen, "--connect", options.connect),
        ("--connect", options.connect, "--tamper", options.tamper),
        ("--connect", options.connect, "--spy", options.spy),
        ("--wasm", options.wasm, "--tamper", options.tamper),
        ("--wasm", options.wasm, "--spy", options.spy),
        ("--wasm", options.wasm, "--rounds", options.rounds),
        ("--wasm", options.wasm, "--listen", options.listen),
        ("--wasm", options.wasm, "--connect", options.connect),
    )
    for one, given, other, also in together:
        if given and also:
            raise UsageError("usage.demo", f"{one} and {other} do not go together", required="one of them")
    for one, given in (("--simulated", options.simulated), ("--owner", options.owner)):
        if given and not options.connect:
            raise UsageError("usage.demo", f"{one} is for --connect", remedy="leave it away here")
    if options.arguments is not None and not options.wasm:
        raise UsageError("usage.demo", "arguments are for a program", required="--wasm PROGRAM -- ARGS")
    if options.rounds is None and not options.listen:
        options.rounds = _ROUNDS
    cheat = BY_NAME.get(options.tamper)
    if cheat is not None and options.rounds is not None and options.rounds < cheat.round:
        raise UsageError(
            "usage.demo",
            f"--tamper {cheat.name} needs something to replay",
            found=f"--rounds {options.rounds}",
            required=f"--rounds {cheat.round}, or more",
        )


def _count(text: str) -> int:
    import argparse

    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 1 <= value <= _MAX_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MAX_ROUNDS}")
    return value
