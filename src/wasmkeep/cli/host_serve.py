"""``wasmkeep host serve``: the daemon, and where asked for the simulated machine that it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    import argparse

    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--simulated",
        metavar="snp[=PRODUCT]",
        help="start a simulated machine: genoa (default), turin or milan",
    )
    machine.add_argument(
        "--machine", default="default", metavar="NAME", help="which simulated machine; default: default"
    )
    machine.add_argument(
        "--cpu", choices=("auto", "kvm", "process"), default="auto", help="what runs its keeps; default: auto"
    )
    listen = parser.add_argument_group("listening")
    listen.add_argument(
        "--listen",
        default="127.0.0.1",
        metavar="ADDRESS[:PORT]",
        help="default: 127.0.0.1:7433; port 0 takes a free one",
    )
    listen.add_argument(
        "--tls-cert", metavar="FILE", help="certificate chain (PEM); needed to listen beyond loopback"
    )
    listen.add_argument("--tls-key", metavar="FILE", help="its private key (PEM)")
    listen.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="another name tenants call it by"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--keeps", type=int, metavar="N", help="keeps at once; default: 256")
    limits.add_argument(
        "--keep-memory", type=flags.memory_size, metavar="SIZE", help="most memory of one keep; 4GiB"
    )
    limits.add_argument(
        "--memory", type=flags.memory_size, metavar="SIZE", help="memory of all keeps; this computer's"
    )
    limits.add_argument(
        "--idle", type=flags.seconds, metavar="SECONDS", help="wait for a tenant's message; 600"
    )
    parser.add_argument("--private", metavar="FOLDER", help=argparse.SUPPRESS)  # `run` starts its host so
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Serve until Ctrl-C or SIGTERM; both are ordinary ends, exit code 0."""
    from wasmkeep.cli import serving

    return serving.serve(options, console)
