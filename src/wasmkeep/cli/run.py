"""``wasmkeep run``: host, machine and tenant on this computer.

The host is a process of its own on a free loopback port, with a token and a folder that nobody else
knows; the tenant half talks to it as to any host and pins the machine that was just started. All of it is
gone when the command ends, however it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.policy import Policy

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

    if not options.simulated:
        from wasmkeep.cli.tees import no_tee

        raise no_tee()
    policy = policies.policy_for(options)
    receipt = deploying.receipt_path(options)
    return deploying.run_to_end(_run(options, policy, receipt, console))


async def _run(options: argparse.Namespace, policy: Policy, receipt: Path, console: Console) -> int:
    from wasmkeep.cli import deploying
    from wasmkeep.cli.local_host import local_host

    async with local_host(options, console) as host:
        pinned = policy.with_simulated(host.root)
        request = deploying.request_for(options, host=host.url, token=host.token, policy=pinned)
        work = asyncio.create_task(deploying.deploy_to(request, receipt, console, banner_shown=True))
        watch = asyncio.create_task(host.ended())
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise host.failure(watch.result())
            return await work
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
