"""Checks by two threads: all of them, and the same refusal as one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import pytest

from tests.demo.fake_machine import FakeMachine
from wasmkeep.demo.parallel import by_two
from wasmkeep.demo.server import Host
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.sev.chain import Check, PlatformCertificates, authenticate, one_by_one


def check(log: list[int], number: int, *, refuses: bool = False) -> Check:
    def performed() -> None:
        log.append(number)
        if refuses:
            raise Rejected(Finding(f"test.{number}", Kind.UNTRUSTED, "refused"))

    return performed


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_each_is_performed_once(count: int) -> None:
    log: list[int] = []
    by_two([check(log, number) for number in range(count)])
    assert sorted(log) == list(range(count))


@pytest.mark.parametrize("wrong", [{0}, {6}, {1, 5}, {0, 1, 2, 3, 4, 5, 6}])
def test_the_first_refusal_counts(wrong: set[int]) -> None:
    for perform in (by_two, one_by_one):
        with pytest.raises(Rejected) as refused:
            perform([check([], number, refuses=number in wrong) for number in range(7)])
        assert refused.value.check == f"test.{min(wrong)}"


def test_two_are_under_way_at_once() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet() -> None:
        both.wait()

    by_two([meet, meet])


def test_a_bug_in_a_check_is_not_lost() -> None:
    def bug() -> None:
        raise ZeroDivisionError

    for checks in ([bug, lambda: None], [lambda: None, bug]):
        with pytest.raises(ZeroDivisionError):
            by_two(checks)


def given(machine: FakeMachine) -> PlatformCertificates:
    answer = asyncio.run(Host(machine, machine.vouchers).certificates())
    return PlatformCertificates(**{field.name: getattr(answer, field.name) for field in fields(answer)})


def test_a_check_that_is_left_out_is_noticed() -> None:
    machine = FakeMachine()
    certificates = given(machine)

    def all_but(left_out: int) -> Callable[[Sequence[Check]], None]:
        return lambda checks: one_by_one([*checks[:left_out], *checks[left_out + 1 :]])

    def one_twice(checks: Sequence[Check]) -> None:
        one_by_one([*checks[:-1], checks[0]])

    authenticate(certificates, machine.trust.roots, perform=by_two)
    for perform in (*(all_but(number) for number in range(8)), one_twice, lambda _checks: None):
        with pytest.raises(RuntimeError):
            authenticate(certificates, machine.trust.roots, perform=perform)


@pytest.mark.parametrize("name", ["ark", "ask", "cek", "pek", "oca", "pdh"])
def test_the_verdict_does_not_depend_on_threads(name: str) -> None:
    machine = FakeMachine()
    certificates = given(machine)
    data = getattr(certificates, name)
    at = 8 if name in ("ark", "ask") else 5  # in the key id, or the API version: signed, and free of form
    altered = replace(certificates, **{name: data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]})
    found = []
    for perform in (by_two, one_by_one):
        with pytest.raises(Rejected) as refused:
            authenticate(altered, machine.trust.roots, perform=perform)
        found.append((refused.value.check, refused.value.found))
    assert found[0] == found[1]
