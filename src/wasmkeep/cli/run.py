"""``wasmkeep run``: host, machine and tenant on this computer.

The host is a process of its own on a free loopback port, with a token and a folder that nobody else
knows; the tenant half talks to it as to any host and pins the machine that was just started. All of it is
gone when the command ends, however it ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.local_host import LocalHost
    from wasmkeep.cli.receipt_place import ReceiptPlace
    from wasmkeep.tenant.request import DeploymentRequest

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.usage = "wasmkeep run PROGRAM [--simulated] [flags] [-- ARGS …]"
    flags.add_deployment_flags(parser)
    here = parser.add_argument_group("this computer")
    here.add_argument(
        "--simulated",
        action="store_true",
        help="start a simulated machine: everything works, nothing is protected",
    )
    here.add_argument(
        "--machine", default="default", metavar="NAME", help="which simulated machine; default: default"
    )
    here.add_argument(
        "--cpu",
        choices=("kvm", "process"),
        help="run the keep in a virtual machine or in a sandboxed process; default: the first that works",
    )
    here.add_argument(
        "--token-file", metavar="FILE", help="accepted for symmetry with deploy; not needed here"
    )


def execute(options: argparse.Namespace, console: Console) -> int:
    """Run, and return the program's own exit code."""
    from wasmkeep.cli import deploying, policies
    from wasmkeep.cli.receipt_place import ReceiptPlace

    if not options.simulated:
        from wasmkeep.cli.tees import no_tee

        raise no_tee()
    policy = policies.policy_for(options, console)
    receipt = ReceiptPlace.of(options)
    request = deploying.request_for(options, host="", token="", policy=policy)
    return deploying.run_to_end(_run(options, request, receipt, console))


async def _run(
    options: argparse.Namespace, request: DeploymentRequest, receipt: ReceiptPlace, console: Console
) -> int:
    from wasmkeep.cli import deploying
    from wasmkeep.cli.local_host import local_host
    from wasmkeep.cli.screens import DeploymentScreen
    from wasmkeep.evidence.policy import KEEP_PLATFORMS

    screen = DeploymentScreen(console, banner_shown=True)
    # The program is compiled while the machine boots; a program that is refused ends both.
    preparing = asyncio.create_task(deploying.prepare(request, screen))
    try:
        kinds = tuple(kind for kind in request.policy.platforms if kind in KEEP_PLATFORMS)
        async with local_host(options, kinds or KEEP_PLATFORMS, console, meanwhile=preparing) as host:
            pinned = replace(
                request, host=host.url, token=host.token, policy=request.policy.with_simulated(host.root)
            )
            prepared = await preparing
            work = asyncio.create_task(deploying.deploy_to(pinned, prepared, receipt, screen))
            return await _while_alive(work, host)
    finally:
        preparing.cancel()
        screen.close()


async def _while_alive(work: asyncio.Task[int], host: LocalHost) -> int:
    """The result of ``work``; where the host ends before it, the host's failure."""
    watch = asyncio.create_task(host.ended())
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and (not work.done() or work.exception() is not None):
            raise host.failure(watch.result())
        return await work
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)
