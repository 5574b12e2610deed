"""A host that lies: the real daemon, built with a tap that sees and alters what it carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.machines import BootedMachine, machine
from wasmkeep.endorsements import FolderSource, Source
from wasmkeep.errors import WasmkeepError
from wasmkeep.evidence.policy import Policy
from wasmkeep.hardware.simulated import Platform
from wasmkeep.host.images import Images, InstalledImages, PreparedImage
from wasmkeep.host.machine import Tee
from wasmkeep.host.server import Running, Service, serving
from wasmkeep.host.settings import Limits, Listen
from wasmkeep.host.tap import LaunchOrder, PassThrough, Tap
from wasmkeep.image import OWN_NAME, MachineKind, launch, read_image
from wasmkeep.tenant import events
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.deployment import Deployment, Outcome
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeploymentRequest
from wasmkeep.tenant.streams import BytesInput, BytesOutput

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LIMITS = Limits(compute_seconds=10, boot_seconds=10, stall_seconds=2, idle_seconds=2)
TSC_KHZ = 2_500_000
REPORT = 1288  # where the report stands in an offer's message


class Liar(PassThrough):
    """Alters nothing, but remembers what the host carries; the liars of the tests derive from it."""

    guest_messages = True

    def __init__(self) -> None:
        self.orders: list[LaunchOrder] = []
        self.from_keep: list[bytes] = []
        self.from_tenant: list[bytes] = []
        self.exits = 0

    def launch(self, keep: str, order: LaunchOrder) -> LaunchOrder:
        self.orders.append(order)
        return self.relaunch(order)

    def relaunch(self, order: LaunchOrder) -> LaunchOrder:
        return order

    def exited(self, keep: str, window: memoryview) -> None:
        self.exits += 1

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        self.from_keep.append(message)
        return self.alter_to_tenant(len(self.from_keep) - 1, message)

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
        self.from_tenant.append(message)
        return self.alter_to_keep(len(self.from_tenant) - 1, message)

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        return (message,)

    def alter_to_keep(self, index: int, message: bytes) -> Sequence[bytes]:
        return (message,)

    async def guest_message(
        self, keep: str, window: memoryview, forward: Callable[[], Awaitable[int]]
    ) -> int:
        return await forward()


class Launching(Liar):
    """Launches something else than was asked for."""

    def __init__(self, change: Callable[[LaunchOrder], LaunchOrder]) -> None:
        super().__init__()
        self._change = change

    def relaunch(self, order: LaunchOrder) -> LaunchOrder:
        return self._change(order)


class Offering(Liar):
    """Changes the offer."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._change = change

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        return (self._change(message),) if index == 0 else (message,)


def images_of(kind: MachineKind, elf: bytes | None = None) -> Images:
    """The installed images of a kind's CPU; of that kind ``elf``, where it is given, in the image's place."""

    def laid_out(memory: int, tee: str) -> PreparedImage:
        asked = MachineKind.of(tee, process=kind.process)
        replaced = elf is not None and asked is kind
        made = launch(asked, elf if replaced and elf is not None else read_image(asked), memory)
        return PreparedImage(asked.value, made.sha256, made.regions, made.vmsa)

    return InstalledImages(OWN_NAME, laid_out)


@asynccontextmanager
async def lying_host(
    tap: Tap | None = None,
    *,
    on: BootedMachine | None = None,
    endorsements: Source | None = None,
    images: Images | None = None,
    limits: Limits = LIMITS,
    tees: Sequence[str] = ("snp", "sev-es", "sev"),
    altered: Callable[[Platform], Any] = lambda platform: platform,
) -> AsyncIterator[Running]:
    """The daemon, with ``tap`` in it, that serves those of ``tees`` which the machine has.

    ``altered`` makes of the machine what the host takes for it.
    """
    hardware = on if on is not None else machine()
    kind = MachineKind.SNP if hardware.cpu == "kvm" else MachineKind.PROCESS
    platform = await Platform.open(hardware.socket)
    service = Service(
        platform=altered(platform),
        images=images if images is not None else images_of(kind),
        endorsements=endorsements if endorsements is not None else FolderSource(hardware.kds),
        tsc_khz=TSC_KHZ,
        limits=limits,
        tap=tap if tap is not None else Liar(),
        tees=tuple(Tee(tee.kind, tee.slots) for tee in platform.description.tees if tee.kind in tees),
    )
    try:
        async with serving(service, Listen(port=0)) as running:
            yield running
    finally:
        await platform.close()


@dataclass
class Attempt:
    """What came of a deployment, seen from the tenant's side."""

    outcome: Outcome | None = None
    error: WasmkeepError | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    events: list[events.Event] = field(default_factory=list)

    @property
    def checks(self) -> set[str]:
        """The identifiers of all checks that refused."""
        if self.error is None:
            return set()
        findings = getattr(self.error, "findings", ())
        return {self.error.check, *(finding.check for finding in findings)}

    @property
    def launched(self) -> bool:
        return any(isinstance(event, events.Launched) for event in self.events)

    @property
    def accepted_evidence(self) -> bool:
        return any(isinstance(event, events.EvidenceVerified) for event in self.events)


def policy_for(hardware: BootedMachine, **snp: object) -> Policy:
    """The shipped policy with this machine pinned, and changes to its SNP part."""
    policy = Policy.default(simulated=hardware.root)
    return replace(policy, snp=replace(policy.snp, **snp))  # type: ignore[arg-type]


def sev_policy(hardware: BootedMachine, *tees: str, **sev: object) -> Policy:
    """The shipped policy for these kinds, with this machine pinned, and changes to its SEV part."""
    policy = Policy.default(simulated=hardware.root, platforms=tees or ("sev-es",))
    return replace(policy, sev=replace(policy.sev, **sev))  # type: ignore[arg-type]


@cache
def prepared(program: str = "add.wat", *arguments: str) -> Prepared:
    """An example, compiled once."""
    request = DeploymentRequest(
        program=EXAMPLES / program,
        host="http://127.0.0.1:1",
        policy=Policy.default(),
        arguments=arguments or ("3", "4"),
    )
    return prepare(request, lambda _: None)


async def attempt(
    running: Running, policy: Policy, goods: Prepared | None = None, stdin: bytes = b""
) -> Attempt:
    """Deploy to the daemon and note what came of it; never raises a WasmkeepError."""
    result = Attempt()
    goods = goods if goods is not None else prepared()
    request = DeploymentRequest(
        program=Path(goods.name), host=running.url, policy=policy, token=running.token
    )
    stdout, stderr = BytesOutput(), BytesOutput()
    try:
        async with (
            HostClient(running.url, running.token) as client,
            Deployment(request, on_event=result.events.append, client=client, prepared=goods) as deployment,
        ):
            result.outcome = await deployment.run(BytesInput(stdin), stdout, stderr)
    except WasmkeepError as error:
        result.error = error
    result.stdout, result.stderr = stdout.getvalue(), stderr.getvalue()
    return result


def deploy_to_liar(
    tap: Tap | None = None,
    *,
    on: BootedMachine | None = None,
    policy: Policy | None = None,
    endorsements: Source | None = None,
    images: Images | None = None,
    goods: Prepared | None = None,
    altered: Callable[[Platform], Any] = lambda platform: platform,
) -> Attempt:
    """One deployment to one lying host."""
    hardware = on if on is not None else machine()

    async def whole() -> Attempt:
        host = lying_host(tap, on=hardware, endorsements=endorsements, images=images, altered=altered)
        async with host as running:
            return await attempt(running, policy if policy is not None else policy_for(hardware), goods)

    return asyncio.run(whole())


def refused(result: Attempt, liar: Liar, check: str) -> None:
    assert check in result.checks, result.error
    assert not result.accepted_evidence
    assert liar.from_tenant == [], "nothing is sent to a keep that was refused"
    assert result.stdout == b""
