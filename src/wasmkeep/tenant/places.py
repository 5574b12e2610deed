"""Where a deployment may go: the hosts in the order given, and at each the policy's platforms in theirs.

A place is passed over before any evidence only: the host is not there, does not have the kind, or has no key
slot free; or it says that its processor is of a generation that the policy denies. All of that is the host's
word: each kind in a policy must be acceptable alone. Where nothing else is left, a denied processor is asked
after all, so that its evidence is refused by name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from wasmkeep.errors import HostRefused, HostUnreachable, PlatformUnavailable, TimedOut, WasmkeepError
from wasmkeep.evidence.policy import KEEP_PLATFORMS, Policy
from wasmkeep.tenant import events
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.events import Watcher
from wasmkeep.tenant.host_api import TeeOffered

__all__ = ["Place", "Places", "may_move_on"]

_ELSEWHERE = frozenset(
    {
        "host.keeps",
        "host.keeps_per_token",
        "host.keep_memory",
        "host.total_memory",
        "host.slots",
        "host.tee",
        "host.image",
        "host.machine",
        "host.requests",
        "host.stopping",
    }
)
"""What a host may refuse, before evidence, that another host or another kind may have."""
_NO_ENDORSEMENTS = "host.endorsements_"


class Place:
    """A kind of TEE at a host."""

    __slots__ = ("client", "tee")

    def __init__(self, client: HostClient, tee: str) -> None:
        self.client = client
        self.tee = tee


def may_move_on(error: WasmkeepError) -> bool:
    """Whether a failure before evidence is about this place alone: absent, or no room."""
    if isinstance(error, HostUnreachable) or error.check == "host.silent":
        return True
    return isinstance(error, HostRefused) and (
        error.check in _ELSEWHERE or error.check.startswith(_NO_ENDORSEMENTS)
    )


class Places:
    """`each` to try one after the other; say `failed` of one that did not have a keep after all."""

    def __init__(self, clients: Sequence[HostClient], policy: Policy, emit: Watcher) -> None:
        self._clients = clients
        self._policy = policy
        self._emit = emit
        self._failed: tuple[Place | HostClient, WasmkeepError] | None = None
        self._offered: list[str] = []
        self._last: WasmkeepError | None = None

    def failed(self, place: Place, error: WasmkeepError) -> None:
        """Of the place given last: it had no keep, because of ``error``, for which `may_move_on`."""
        self._failed = (place, error)
        self._last = error

    def nowhere(self) -> WasmkeepError:
        """The error for when all places were tried: what the last one said, or that there is none."""
        if self._last is not None:
            return self._last
        names = " and ".join(client.name for client in self._clients)
        return PlatformUnavailable(
            "deployment.platform",
            f"{names} has no platform that the policy names"
            if len(self._clients) == 1
            else f"none of {names} has a platform that the policy names",
            found=", ".join(sorted(self._offered)) or "none",
            required=" or ".join(self._policy.platforms),
            remedy="choose another host, or name another platform in the policy",
        )

    async def each(self) -> AsyncGenerator[Place, None]:
        denied: list[Place] = []
        tried = False
        for client in self._clients:
            offered = await self._ask(client)
            for kind in self._policy.platforms if offered is not None else ():
                place = Place(client, kind)
                tee = (offered or {}).get(kind)
                self._say_failed()
                if kind not in KEEP_PLATFORMS:
                    self._passed_over(place, "this release has no keep for it")
                elif tee is None:
                    self._passed_over(place, "the host does not have it")
                elif tee.slots_used >= tee.slots:
                    self._passed_over(place, "the host has no free key slot")
                elif _denies(self._policy, tee):
                    denied.append(place)
                    if len(self._clients) > 1 or len(self._policy.platforms) > 1:
                        product = tee.product.capitalize()
                        self._passed_over(place, f"the host says it has a {product}, which the policy denies")
                else:
                    tried = True
                    yield place
        for place in denied if not tried else ():
            yield place
            self._say_failed()

    async def _ask(self, client: HostClient) -> dict[str, TeeOffered] | None:
        """What a host offers; None where it cannot be asked and another one is left."""
        try:
            offered = {tee.kind: tee for tee in await client.platform()}
        except (HostUnreachable, HostRefused, TimedOut) as error:
            if not may_move_on(error):
                raise
            self._say_failed()
            self._failed, self._last = (client, error), error
            return None
        self._offered += offered
        return offered

    def _say_failed(self) -> None:
        """There is another place: now it can be said that the last one is passed over."""
        if self._failed is None:
            return
        (where, error), self._failed = self._failed, None
        if isinstance(where, Place):
            self._passed_over(where, _reason(error))
        else:
            self._emit(events.HostPassedOver(where.name, _reason(error)))

    def _passed_over(self, place: Place, reason: str) -> None:
        self._emit(events.KindPassedOver(place.tee, reason, place.client.name))


def _reason(error: WasmkeepError) -> str:
    return error.message + (f" ({error.found})" if error.found else "")


def _denies(policy: Policy, tee: TeeOffered) -> bool:
    """Whether the policy accepts no such processor; the product is the host's word."""
    generations = policy.snp.generations if tee.kind == "snp" else policy.sev.generations
    return tee.product.capitalize() not in generations
