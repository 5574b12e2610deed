"""Where a deployment goes, in which order, and what is said of each place that was passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from wasmkeep.errors import (
    HostRefused,
    HostUnreachable,
    PlatformUnavailable,
    SessionError,
    TimedOut,
    WasmkeepError,
)
from wasmkeep.evidence.policy import Policy
from wasmkeep.tenant import events
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.host_api import TeeOffered
from wasmkeep.tenant.places import Place, Places, may_move_on

DOWN = HostUnreachable("host.unreachable", "the host cannot be reached", found="refused")


def tee(kind: str, *, product: str = "genoa", used: int = 0) -> TeeOffered:
    return TeeOffered(kind, product, simulated=True, cpu="kvm", cpu_reason="", slots=2, slots_used=used)


class Host:
    """Says what it has, or fails."""

    def __init__(self, name: str, *tees: TeeOffered, error: WasmkeepError | None = None) -> None:
        self.name = name
        self._tees = tees
        self._error = error

    async def platform(self) -> tuple[TeeOffered, ...]:
        if self._error is not None:
            raise self._error
        return self._tees


class Tour:
    """One deployment's way: ``fail`` says why a place had no keep after all, or None where it had."""

    def __init__(
        self,
        hosts: tuple[Host, ...],
        platforms: tuple[str, ...],
        fail: Callable[[Place], WasmkeepError | None] = lambda _: None,
    ) -> None:
        self.said: list[events.Event] = []
        self.visited: list[tuple[str, str]] = []
        self.end: WasmkeepError | None = None
        asyncio.run(self._go(cast(Any, hosts), platforms, fail))

    async def _go(
        self,
        hosts: tuple[HostClient, ...],
        platforms: tuple[str, ...],
        fail: Callable[[Place], WasmkeepError | None],
    ) -> None:
        places = Places(hosts, Policy.default(platforms=platforms), self.said.append)
        try:
            async for place in places.each():
                self.visited.append((place.client.name, place.tee))
                error = fail(place)
                if error is None:
                    return
                places.failed(place, error)
            self.end = places.nowhere()
        except WasmkeepError as error:
            self.end = error

    @property
    def moves(self) -> list[tuple[str, str, str]]:
        """(host, kind or '', reason) of everything that was passed over, in order."""
        found = []
        for event in self.said:
            if isinstance(event, events.KindPassedOver):
                found.append((event.host, event.tee, event.reason))
            elif isinstance(event, events.HostPassedOver):
                found.append((event.host, "", event.reason))
        return found


def test_the_first_kind_that_the_host_has() -> None:
    tour = Tour((Host("a", tee("sev"), tee("snp")),), ("snp", "sev"))
    assert tour.visited == [("a", "snp")]
    assert tour.moves == []


def test_a_kind_without_a_keep_is_passed_over_whatever_the_host_says() -> None:
    """Evidence of more kinds can be judged than this release has keeps for."""
    tour = Tour((Host("a", tee("tdx"), tee("snp")),), ("tdx", "snp"))
    assert tour.visited == [("a", "snp")]
    assert tour.moves == [("a", "tdx", "this release has no keep for it")]


def test_the_next_kind_and_then_the_next_host() -> None:
    tour = Tour((Host("a", tee("sev", used=2)), Host("b", tee("sev-es"))), ("snp", "sev-es", "sev"))
    assert tour.visited == [("b", "sev-es")]
    absent, full = "the host does not have it", "the host has no free key slot"
    assert tour.moves == [
        ("a", "snp", absent),
        ("a", "sev-es", absent),
        ("a", "sev", full),
        ("b", "snp", absent),
    ]


def test_all_kinds_of_a_host_come_before_the_next_host() -> None:
    full = HostRefused("host.keeps", "the host has as many keeps as it can")
    hosts = Host("a", tee("snp"), tee("sev-es")), Host("b", tee("snp"))
    tour = Tour(hosts, ("snp", "sev-es"), lambda place: full if place.client.name == "a" else None)
    assert tour.visited == [("a", "snp"), ("a", "sev-es"), ("b", "snp")]
    assert [(host, kind) for host, kind, _ in tour.moves] == [("a", "snp"), ("a", "sev-es")]


@pytest.mark.parametrize(
    "error", [DOWN, TimedOut("host.silent", "no answer"), HostRefused("host.stopping", "x")]
)
def test_a_host_that_is_not_there_is_passed_over(error: WasmkeepError) -> None:
    tour = Tour((Host("a", error=error), Host("b", tee("snp"))), ("snp",))
    assert tour.visited == [("b", "snp")]
    assert [(host, kind) for host, kind, _ in tour.moves] == [("a", "")]


def test_where_the_last_host_is_not_there_its_error_is_the_end() -> None:
    tour = Tour((Host("a", error=DOWN),), ("snp",))
    assert tour.end is DOWN
    assert tour.moves == []


def test_a_wrong_token_is_said_and_not_passed_over() -> None:
    wrong = HostRefused("host.unauthorized", "no valid token")
    tour = Tour((Host("a", error=wrong), Host("b", tee("snp"))), ("snp",))
    assert tour.end is wrong
    assert tour.visited == []


def test_no_place_at_all() -> None:
    tour = Tour((Host("a", tee("sev")), Host("b")), ("snp", "sev-es"))
    assert isinstance(tour.end, PlatformUnavailable)
    assert (tour.end.found, tour.end.required) == ("sev", "snp or sev-es")
    assert "none of a and b" in tour.end.message


def test_the_last_refusal_is_the_end_where_every_place_was_full() -> None:
    full = HostRefused("host.slots", "the host has no free key slot now")
    tour = Tour((Host("a", tee("snp"), tee("sev-es")),), ("snp", "sev-es"), lambda _: full)
    assert tour.end is full
    assert [(host, kind) for host, kind, _ in tour.moves] == [("a", "snp")], (
        "the last one is the error itself"
    )


def test_a_processor_that_the_policy_denies_is_passed_over() -> None:
    hosts = Host("a", tee("snp", product="milan"), tee("sev-es", product="milan")), Host("b", tee("sev-es"))
    tour = Tour(hosts, ("snp", "sev-es"))
    assert tour.visited == [("b", "sev-es")]
    assert ("a", "snp", "the host says it has a Milan, which the policy denies") in tour.moves


@pytest.mark.parametrize("platforms", [("snp",), ("snp", "sev-es")])
def test_where_nothing_else_is_left_its_evidence_decides(platforms: tuple[str, ...]) -> None:
    tour = Tour((Host("a", tee("snp", product="milan")),), platforms)
    assert tour.visited == [("a", "snp")]


def test_where_something_else_was_tried_a_denied_processor_is_not() -> None:
    full = HostRefused("host.keeps", "full")
    hosts = Host("a", tee("snp", product="milan")), Host("b", tee("snp"))
    tour = Tour(hosts, ("snp",), lambda _: full)
    assert tour.visited == [("b", "snp")]
    assert tour.end is full


@pytest.mark.parametrize(
    ("error", "moves"),
    [
        (DOWN, True),
        (HostRefused("host.tee", "no"), True),
        (HostRefused("host.endorsements_missing", "no CEK"), True),
        (HostRefused("host.unauthorized", "no"), False),
        (HostRefused("host.bad_request", "no"), False),
        (SessionError("session.closed", "cut"), False),
        (TimedOut("session.stalled", "nothing"), False),
    ],
)
def test_what_is_about_one_place_alone(error: WasmkeepError, moves: bool) -> None:
    assert may_move_on(error) is moves
