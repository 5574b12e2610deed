"""The places where the host touches bytes that are not its own.

The relay passes every one of them through a ``Tap``. The daemon has only ``PassThrough``, which changes
nothing; no setting, flag or route selects another. A host that lies is made, in tests, by constructing the
relay with one that does, which is also how it is shown what a host can see.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wasmkeep.host.machine import Region

__all__ = ["PASS_THROUGH", "LaunchOrder", "PassThrough", "SecretPacket", "Tap"]


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """Everything the host decides about one launch.

    ``regions`` and ``vmsa`` (4096 bytes) are the guest's initial state, ``memory`` its size in bytes;
    ``host_data``, ``nonce`` and ``tenant_key_digest`` are 32 bytes each; ``policy`` is the SNP guest policy
    (SEV-SNP firmware ABI 56860, section 4.3); ``tsc_khz`` the rate of the time stamp counter. Of ``sev`` and
    ``sev-es`` the tenant's own launch message has the policy, and nothing fixes ``host_data``.
    """

    regions: tuple[Region, ...]
    vmsa: bytes
    memory: int
    policy: int
    host_data: bytes
    nonce: bytes
    tenant_key_digest: bytes
    tsc_khz: int
    id_block: bytes | None = None
    id_auth: bytes | None = None
    tee: str = "snp"


@dataclass(frozen=True, slots=True)
class SecretPacket:
    """A secret for LAUNCH_SECRET (SEV API 0.24, AMD 55766, section 6.6): a header of 52 bytes, its data, and
    the guest address where it goes, which the packet itself does not say."""

    header: bytes
    data: bytes
    gpa: int


class Tap(Protocol):
    """What can be seen and altered on its way. ``keep`` is a keep's id, ``window`` the shared window."""

    @property
    def guest_messages(self) -> bool:
        """Whether ``guest_message`` is called: else the kernel passes them on without an exit."""
        ...

    def launch(self, keep: str, order: LaunchOrder) -> LaunchOrder:
        """Before the launch; returns what is launched."""
        ...

    def secrets(self, keep: str, packet: SecretPacket) -> Sequence[SecretPacket]:
        """The tenant's secret, before it is injected; returns what is, in this order."""
        ...

    def resuming(self, keep: str, window: memoryview) -> None:
        """Right before the keep runs on, after the host wrote its answer. A liar may begin to write here."""
        ...

    def exited(self, keep: str, window: memoryview) -> None:
        """Right after the keep's exit, before the host reads the window."""
        ...

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        """A message of the keep's; returns what the tenant gets."""
        ...

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
        """A message of the tenant's; returns what the keep gets."""
        ...

    async def guest_message(
        self, keep: str, window: memoryview, forward: Callable[[], Awaitable[int]]
    ) -> int:
        """A sealed request to the secure processor; ``forward`` carries it there and back.

        Returns the exitinfo2 for the keep.
        """
        ...


class PassThrough:
    """Alters nothing and keeps nothing."""

    guest_messages = False

    def launch(self, keep: str, order: LaunchOrder) -> LaunchOrder:  # noqa: ARG002
        return order

    def secrets(self, keep: str, packet: SecretPacket) -> Sequence[SecretPacket]:  # noqa: ARG002
        return (packet,)

    def resuming(self, keep: str, window: memoryview) -> None:
        pass

    def exited(self, keep: str, window: memoryview) -> None:
        pass

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:  # noqa: ARG002
        return (message,)

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:  # noqa: ARG002
        return (message,)

    async def guest_message(
        self,
        keep: str,  # noqa: ARG002
        window: memoryview,  # noqa: ARG002
        forward: Callable[[], Awaitable[int]],
    ) -> int:
        return await forward()


PASS_THROUGH = PassThrough()
