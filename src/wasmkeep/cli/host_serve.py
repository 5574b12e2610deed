"""``wasmkeep host serve``: the daemon, and where asked for the simulated machine that it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wasmkeep.cli.console import Console

__all__ = ["LIMITS", "configure", "execute"]

LIMITS = (
    # flag, field of `wasmkeep.host.settings.Limits`, what it counts, help
    ("--keeps", "keeps", "N", "keeps at once; default: 256"),
    ("--keeps-per-token", "keeps_per_token", "N", "keeps at once of one token; 64"),
    ("--keep-memory", "keep_memory", "SIZE", "most memory of one keep; 4GiB"),
    ("--memory", "total_memory", "SIZE", "memory of all keeps; this computer's"),
    ("--boot", "boot_seconds", "SECONDS", "from the request to a keep's first message; 20"),
    ("--connect", "connect_seconds", "SECONDS", "wait for a tenant to connect; 30"),
    ("--launch", "launch_seconds", "SECONDS", "each message of a tenant's in a SEV launch; 20"),
    ("--idle", "idle_seconds", "SECONDS", "wait for a tenant's message; 600"),
    ("--stall", "stall_seconds", "SECONDS", "wait for a tenant to take output; 60"),
    ("--compute", "compute_seconds", "SECONDS", "how long a keep may run without an exit; 3600"),
    ("--lifetime", "lifetime_seconds", "SECONDS", "how long a keep may live; 86400"),
    ("--guest-messages", "guest_messages", "N", "a keep's requests to the secure processor; 64"),
    ("--connections", "connections", "N", "TCP connections at once; 1024"),
    ("--requests", "requests", "N", "HTTP requests being answered at once; 64"),
)
"""The limits that an operator sets; a flag that is not given leaves the default."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    import argparse

    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--simulated",
        metavar="KINDS[=PRODUCT]",
        help="start a simulated machine that offers snp, sev-es or sev, or several with commas; "
        "genoa (default), turin, milan, or without snp rome or naples",
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
    _add_limits(parser)
    parser.add_argument("--private", metavar="FOLDER", help=argparse.SUPPRESS)  # `run` starts its host so
    flags.add_output_flags(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    kinds: dict[str, Callable[[str], float]] = {"N": int, "SIZE": flags.memory_size, "SECONDS": flags.seconds}
    group = parser.add_argument_group("limits")
    for flag, field, metavar, text in LIMITS:
        group.add_argument(flag, dest=field, type=kinds[metavar], metavar=metavar, help=text)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Serve until Ctrl-C or SIGTERM; both are ordinary ends, exit code 0."""
    from wasmkeep.cli import serving

    return serving.serve(options, console)
