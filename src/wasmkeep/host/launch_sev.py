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

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from wasmkeep.errors import SessionError
from wasmkeep.host.endings import EndKeep, malformed
from wasmkeep.host.machine import Guest, Platform, SevStatus
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
        guest = await platform.launch_sev(
            order.tee,
            order.memory,
            order.regions,
            order.vmsa,
            policy=wanted.policy,
            owner_certificate=wanted.owner_certificate,
            session=wanted.session,
        )
    try:
        with talk.step():
            status = await platform.sev_status()
        await talk.send(_measured(status, guest.measurement).encode())
        secret = _secret_message(await talk.receive("the tenant's secret"))
        with talk.step():
            for packet in talk.secrets(SecretPacket(secret.header, secret.data, SLOT_GPA)):
                await guest.inject(packet.header, packet.data, packet.gpa)
            await guest.finish()
    except BaseException:
        await asyncio.shield(guest.close())
        raise
    return guest


def _measured(status: SevStatus, measurement: bytes) -> MeasurementMessage:
    measure, mnonce = measurement[:_MNONCE_OFFSET], measurement[_MNONCE_OFFSET:]
    return MeasurementMessage(status.api_major, status.api_minor, status.build, measure, mnonce)


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
