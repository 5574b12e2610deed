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
        "--host", required=True, metavar="URL", help="https://NAME[:PORT], or http:// on loopback"
    )
    there.add_argument(
        "--simulated",
        metavar="sha256:…",
        help="accept this simulated machine's root: nothing is protected there",
    )
    there.add_argument("--token-file", metavar="FILE", help="the host's token; or set WASMKEEP_TOKEN")
    there.add_argument("--ca-file", metavar="FILE", help="certificates (PEM) to accept for the host's TLS")


def execute(options: argparse.Namespace, console: Console) -> int:
    """Deploy, and return the program's own exit code."""
    from wasmkeep.cli import deploying, policies, tokens
    from wasmkeep.cli.receipt_place import ReceiptPlace

    policy = policies.policy_for(options, simulated=options.simulated)
    receipt = ReceiptPlace.of(options)
    token = tokens.find(options.token_file, options.host, console)
    request = deploying.request_for(
        options, host=options.host, token=token, policy=policy, ca_file=options.ca_file
    )
    return deploying.run_to_end(_deploy(request, receipt, console))


async def _deploy(request: DeploymentRequest, receipt: ReceiptPlace, console: Console) -> int:
    from wasmkeep.cli import deploying
    from wasmkeep.cli.screens import DeploymentScreen

    screen = DeploymentScreen(console)
    try:
        prepared = await deploying.prepare(request, screen)
        return await deploying.deploy_to(request, prepared, receipt, screen)
    finally:
        screen.close()
