"""``wasmkeep deploy``: the tenant's command. The host is a stranger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.receipt_place import ReceiptPlace
    from wasmkeep.tenant.request import DeploymentRequest

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.usage = "wasmkeep deploy PROGRAM --host URL [flags] [-- ARGS …]"
    flags.add_deployment_flags(parser)
    there = parser.add_argument_group("the host")
    there.add_argument(
        "--host",
        required=True,
        action="append",
        metavar="URL",
        help="https://NAME[:PORT], or http:// on loopback; again for where to go when it has no place",
    )
    there.add_argument(
        "--simulated",
        metavar="sha256:…",
        help="accept this simulated machine's root: nothing is protected there",
    )
    there.add_argument(
        "--token-file",
        action="append",
        metavar="FILE",
        help="the host's token, one for all hosts or one for each; or set WASMKEEP_TOKEN",
    )
    there.add_argument("--ca-file", metavar="FILE", help="certificates (PEM) to accept for the host's TLS")


def execute(options: argparse.Namespace, console: Console) -> int:
    """Deploy, and return the program's own exit code."""
    from wasmkeep.cli import deploying, policies
    from wasmkeep.cli.receipt_place import ReceiptPlace

    policy = policies.policy_for(options, simulated=options.simulated)
    receipt = ReceiptPlace.of(options)
    (host, token), *others = _hosts(options, console)
    request = deploying.request_for(
        options, host=host, token=token, policy=policy, ca_file=options.ca_file, other_hosts=others
    )
    return deploying.run_to_end(_deploy(request, receipt, console))


def _hosts(options: argparse.Namespace, console: Console) -> list[tuple[str, str]]:
    """Each host with its token. One on loopback that is down has no token to be found, and is passed over
    where another one is left. Raises UsageError, and what `tokens.find` raises.
    """
    from wasmkeep.cli import tokens
    from wasmkeep.cli.screens import host_passed_over
    from wasmkeep.errors import HostUnreachable, UsageError

    files = options.token_file or [None]
    if len(files) not in (1, len(options.host)):
        raise UsageError(
            "usage.token-file",
            "the number of token files does not fit the hosts",
            found=f"{len(files)} of them for {len(options.host)} hosts",
            required="one --token-file for all hosts, or one for each, in their order",
        )
    found: list[tuple[str, str]] = []
    last = len(options.host) - 1
    for number, host in enumerate(options.host):
        try:
            found.append((host, tokens.find(files[number % len(files)], host, console)))
        except HostUnreachable as error:
            if number == last and not found:
                raise
            console.show(host_passed_over(host, f"{error.message} ({error.found})"))
    return found


async def _deploy(request: DeploymentRequest, receipt: ReceiptPlace, console: Console) -> int:
    from wasmkeep.cli import deploying
    from wasmkeep.cli.screens import DeploymentScreen

    screen = DeploymentScreen(console)
    try:
        prepared = await deploying.prepare(request, screen)
        return await deploying.deploy_to(request, prepared, receipt, screen)
    finally:
        screen.close()
