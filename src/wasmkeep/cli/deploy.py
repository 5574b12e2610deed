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
        help="the host's token; with several hosts one for each. Or set WASMKEEP_TOKEN, for one host",
    )
    there.add_argument("--ca-file", metavar="FILE", help="certificates (PEM) to accept for the host's TLS")


def execute(options: argparse.Namespace, console: Console) -> int:
    """Deploy, and return the program's own exit code."""
    from wasmkeep.cli import deploying, policies
    from wasmkeep.cli.receipt_place import ReceiptPlace

    policy = policies.policy_for(options, console, simulated=options.simulated)
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

    files = options.token_file or [None] * len(options.host)
    if len(files) != len(options.host) or (len(files) > 1 and files[0] is None and tokens.in_environment()):
        raise UsageError(
            "usage.token-file",
            "one token does not fit several hosts",
            found=f"{len(options.host)} hosts, and {len(options.token_file or ())} --token-file",
            required="one --token-file for each host, in their order",
            meaning="a host that is shown another one's token can use that one as you",
        )
    found: list[tuple[str, str]] = []
    last = len(options.host) - 1
    for number, host in enumerate(options.host):
        try:
            found.append((host, tokens.find(files[number], host, console)))
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
