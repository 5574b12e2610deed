"""A launch of SEV or SEV-ES: three messages of the tenant's WebSocket, and the commands between them.

===========  ================  ====================================================================
message      from              then the host
===========  ================  ====================================================================
LAUNCH       the tenant        LAUNCH_START; LAUNCH_UPDATE_DATA for each region; for SEV-ES
                               LAUNCH_UPDATE_VMSA; LAUNCH_MEASURE
MEASUREMENT  the host
SECRET       the tenant        LAUNCH_SECRET into the image's slot; LAUNCH_FINISH
===========  ================  ====================================================================

Commands are those of SEV API 0.24 (AMD 55766, chapter 6). The messages are laid out in
``wasmkeep.protocol.pre_attested``. A key slot is taken at LAUNCH_START, so a tenant who says nothing costs
none, and one who does not answer a measurement has it for ``launch_seconds`` at most.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from wasmkeep.errors import SessionError
from wasmkeep.host.endings import EndKeep, malformed
from wasmkeep.host.machine import Guest, Platform, SevLaunch
from wasmkeep.host.tap import LaunchOrder, SecretPacket
from wasmkeep.protocol.pre_attested import SLOT_GPA, LaunchMessage, MeasurementMessage, SecretMessage

__all__ = ["Talk", "launch"]

_MNONCE_OFFSET = 32


class Talk(Protocol):
    """What a launch needs of the keep that it is for: messages with its tenant, and limits on each step."""

    async def receive(self, what: str) -> bytes:
        """The tenant's next message. Raises ``EndKeep`` where it does not come."""
        ...

    async def send(self, message: bytes) -> None: ...

    def step(self) -> AbstractContextManager[None]:
        """Around what the machine does: it has its time too."""
        ...

    def secrets(self, packet: SecretPacket) -> tuple[SecretPacket, ...]:
        """What is injected where the tenant's packet should be."""
        ...


async def launch(platform: Platform, order: LaunchOrder, talk: Talk) -> Guest:
    """Everything up to, and not including, the first run. Raises what the machine raises, and ``EndKeep``."""
    wanted = _launch_message(await talk.receive("the tenant's launch message"))
    with talk.step():
        started = await platform.launch_sev(
            order.tee, order.memory, wanted.policy, wanted.owner_certificate, wanted.session
        )
    try:
        with talk.step():
            measured = await _load(platform, started, order)
        await talk.send(measured.encode())
        secret = _secret_message(await talk.receive("the tenant's secret"))
        with talk.step():
            for packet in talk.secrets(SecretPacket(secret.header, secret.data, SLOT_GPA)):
                await started.secret(packet.header, packet.gpa, packet.data)
            return await started.finish()
    except BaseException:
        await started.close()
        raise


async def _load(platform: Platform, started: SevLaunch, order: LaunchOrder) -> MeasurementMessage:
    for region in order.regions:
        await started.update_data(region.gpa, region.data)
    if order.tee == "sev-es":
        await started.update_vmsa(order.vmsa)
    else:
        await started.set_vcpu(order.vmsa)
    measurement = await started.measure()
    status = await platform.sev_status()
    return MeasurementMessage(
        status.api_major,
        status.api_minor,
        status.build,
        measurement[:_MNONCE_OFFSET],
        measurement[_MNONCE_OFFSET:],
    )


def _launch_message(message: bytes) -> LaunchMessage:
    try:
        return LaunchMessage.parse(message)
    except SessionError:
        raise EndKeep(malformed("launch message")) from None


def _secret_message(message: bytes) -> SecretMessage:
    try:
        return SecretMessage.parse(message)
    except SessionError:
        raise EndKeep(malformed("secret")) from None
