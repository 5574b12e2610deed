"""One program, every platform: the same bytes run on SNP, SEV-ES and SEV by one line of the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.test_programs import cpython
from tests.conformance.test_traps import CPUS
from tests.hostile.lying_host import EXAMPLES, Attempt, Liar, attempt, lying_host
from tests.machines import BootedMachine, machine
from tests.tenant.bare import c_program
from wasmkeep.errors import HostRefused, PlatformUnavailable, WasmkeepError
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.policy import Policy
from wasmkeep.host.settings import Limits
from wasmkeep.tenant import events
from wasmkeep.tenant.deployment import Deployment
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeliveredDirectory, DeploymentRequest, OtherHost
from wasmkeep.tenant.streams import BytesInput, BytesOutput

TEES = ("snp", "sev-es", "sev")


def policy(hardware: BootedMachine, *platforms: str) -> Policy:
    """A policy file: only the first line differs."""
    listed = ", ".join(f'"{name}"' for name in platforms)
    text = f'platforms = [{listed}]\nruntime = ["wasmkeep 0.1.0"]\nsimulated = "{hardware.root}"\n'
    return Policy.from_toml(text, name="policy.toml")


def goods(program: Path, *arguments: str, data: Path | None = None) -> Prepared:
    request = DeploymentRequest(
        program=program,
        host="http://127.0.0.1:1",
        policy=Policy.default(),
        arguments=arguments or None,
        directories=(DeliveredDirectory(data, "/given"),) if data else (),
    )
    return prepare(request, lambda _: None)


def run(prepared: Prepared, cpu: str, tee: str, stdin: bytes = b"") -> Attempt:
    hardware = machine(cpu=cpu)

    async def whole() -> Attempt:
        async with lying_host(on=hardware, limits=Limits()) as running:
            return await attempt(running, policy(hardware, tee), prepared, stdin)

    return asyncio.run(whole())


@cache
def hello() -> bytes:
    return c_program(EXAMPLES / "hello.c")


CASES = {
    "add.wat": (("3", "4"), b""),
    "cat.wat": ((), bytes(range(256)) * 3000),
    "primes.wat": ((), b""),
    "trap.wat": ((), b""),
    "letter": ((), b""),
    "hello.c": (("you",), b""),
}


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", CASES)
def test_an_example_is_the_same_everywhere(name: str, cpu: str, tmp_path: Path) -> None:
    program = EXAMPLES / name
    if name == "hello.c":
        program = tmp_path / "hello.wasm"
        program.write_bytes(hello())
    arguments, stdin = CASES[name]
    prepared = goods(program, *arguments)
    seen = []
    for tee in TEES:
        result = run(prepared, cpu, tee, stdin)
        assert result.outcome is not None, (tee, result.error)
        verified = next(event for event in result.events if isinstance(event, events.EvidenceVerified))
        assert verified.result.tee == tee
        assert verified.image_size > 100_000
        assert bool(result.outcome.stored_session) == (tee != "snp")
        seen.append((result.outcome.exit_code, result.outcome.trap, result.stdout, result.stderr))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1] == ("integer divide by zero" if name == "trap.wat" else None)


@pytest.mark.parametrize("tee", TEES[1:])
def test_cpython_runs_unchanged(tee: str, tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("20 22\n")
    script = "print(sum(map(int, open('/given/numbers.txt').read().split())), input())"
    prepared = goods(cpython(), "-c", script, data=tmp_path)
    result = run(prepared, "auto", tee, b"from stdin\n")
    assert result.outcome is not None, result.error
    assert (result.outcome.exit_code, result.stdout) == (0, b"42 from stdin\n")


# Where it goes when the first place is not to be had.


class Tour:
    """A deployment to several hosts, each with the kinds that it serves."""

    def __init__(
        self,
        platforms: Sequence[str],
        *serving: tuple[str, ...] | None,
        taps: Sequence[Liar] = (),
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.events: list[events.Event] = []
        self.error: WasmkeepError | None = None
        self.stdout = b""
        self.urls: list[str] = []
        asyncio.run(self._go(platforms, serving, taps, limits))

    async def _go(
        self,
        platforms: Sequence[str],
        serving: Sequence[tuple[str, ...] | None],
        taps: Sequence[Liar],
        limits: Limits,
    ) -> None:
        from contextlib import AsyncExitStack

        async with AsyncExitStack() as stack:
            hosts = []
            for number, tees in enumerate(serving):
                if tees is None:
                    hosts.append(OtherHost("http://127.0.0.1:9", "wk_x"))
                    continue
                tap = taps[number] if number < len(taps) else None
                running = await stack.enter_async_context(lying_host(tap, tees=tees, limits=limits))
                hosts.append(OtherHost(running.url, running.token))
            self.urls = [host.host for host in hosts]
            await self._deploy(hosts, platforms)

    async def _deploy(self, hosts: list[OtherHost], platforms: Sequence[str]) -> None:
        first, *others = hosts
        request = DeploymentRequest(
            program=EXAMPLES / "add.wat",
            host=first.host,
            token=first.token,
            policy=policy(machine(), *platforms),
            arguments=("3", "4"),
            other_hosts=tuple(others),
        )
        stdout = BytesOutput()
        try:
            async with Deployment(request, on_event=self.events.append) as deployment:
                await deployment.run(BytesInput(b""), stdout, BytesOutput())
        except WasmkeepError as error:
            self.error = error
        self.stdout = stdout.getvalue()

    @property
    def moves(self) -> list[tuple[int, str]]:
        """(host's number, kind or '') of what was passed over."""
        found = []
        for event in self.events:
            if isinstance(event, events.KindPassedOver):
                found.append((self.urls.index(event.host), event.tee))
            elif isinstance(event, events.HostPassedOver):
                found.append((self.urls.index(event.host), ""))
        return found

    @property
    def ran_on(self) -> str:
        return next(event.result.tee for event in self.events if isinstance(event, events.EvidenceVerified))


def test_to_the_next_platform() -> None:
    tour = Tour(("snp", "sev-es", "sev"), ("sev",))
    assert (tour.stdout, tour.ran_on) == (b"7\n", "sev")
    assert tour.moves == [(0, "snp"), (0, "sev-es")]


def test_to_the_next_host() -> None:
    tour = Tour(("snp",), None, ("sev", "sev-es"), ("snp",))
    assert (tour.stdout, tour.ran_on) == (b"7\n", "snp")
    assert tour.moves == [(0, ""), (1, "snp")]


def test_a_policy_never_goes_where_it_does_not_name() -> None:
    tour = Tour(("snp",), ("sev-es", "sev"), ("sev",))
    assert isinstance(tour.error, PlatformUnavailable)
    assert tour.stdout == b""


def test_a_host_that_has_no_room_is_passed_over_and_everything_is_fresh() -> None:
    """The first host answers that it serves, and then takes nobody."""
    full = Limits(total_memory=32 << 20)
    tour = Tour(("sev-es",), ("sev-es",), None, limits=full)
    assert isinstance(tour.error, WasmkeepError)
    assert tour.moves == [(0, "sev-es")]


def test_a_machine_without_a_free_slot_is_passed_over() -> None:
    """One key slot, that another keep has: the machine says so only when it is asked to launch."""
    crowded = machine("--slots", "1", name="tests", cpu="auto")

    async def whole() -> tuple[list[events.Event], WasmkeepError | None]:
        seen: list[events.Event] = []
        async with lying_host(on=crowded) as one, lying_host(on=crowded) as other:
            first = await _hold(one.url, one.token, crowded)
            try:
                request = DeploymentRequest(
                    program=EXAMPLES / "add.wat",
                    host=other.url,
                    token=other.token,
                    policy=policy(crowded, "sev-es", "snp"),
                    arguments=("3", "4"),
                )
                async with Deployment(request, on_event=seen.append) as deployment:
                    await deployment.run(BytesInput(b""), BytesOutput(), BytesOutput())
            except WasmkeepError as error:
                return seen, error
            finally:
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
        return seen, None

    seen, error = asyncio.run(whole())
    assert isinstance(error, WasmkeepError)
    assert isinstance(error, HostRefused | PlatformUnavailable)
    assert next(event.tee for event in seen if isinstance(event, events.KindPassedOver)) == "sev-es"
    assert not any(isinstance(event, events.EvidenceVerified) for event in seen)


async def _hold(url: str, token: str, hardware: BootedMachine) -> asyncio.Task[object]:
    """A keep that waits for input for ever."""
    running = asyncio.Event()

    class Endless:
        async def read(self, limit: int) -> bytes:
            running.set()
            await asyncio.Event().wait()
            return b""

    async def hold() -> object:
        request = DeploymentRequest(
            program=EXAMPLES / "cat.wat", host=url, token=token, policy=policy(hardware, "sev-es")
        )
        async with Deployment(request) as deployment:
            return await deployment.run(Endless(), BytesOutput(), BytesOutput())

    task = asyncio.create_task(hold())
    await asyncio.wait((task, asyncio.create_task(running.wait())), return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), task.exception()
    return task


class LyingOnce(Liar):
    """Alters the measurement: what comes of it must not be another try elsewhere."""

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        return (message[:4] + bytes([message[4] ^ 1]) + message[5:],) if index == 0 else (message,)


@pytest.mark.parametrize("first", ["sev-es", "sev"])
def test_rejected_evidence_never_falls_back(first: str) -> None:
    liar, honest = LyingOnce(), Liar()
    tour = Tour((first, "snp"), (first, "snp"), ("snp", first), taps=(liar, honest))
    assert isinstance(tour.error, Rejected)
    assert "sev.measurement" in tour.error.checks
    assert tour.moves == []
    assert honest.orders == []
    assert len(liar.orders) == 1


def test_a_session_that_breaks_after_the_evidence_never_falls_back() -> None:
    class Cutting(Liar):
        def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
            return (message[:-1],) if index == 2 else (message,)

    honest = Liar()
    tour = Tour(("sev-es", "snp"), ("sev-es", "snp"), ("snp",), taps=(Cutting(), honest))
    assert tour.error is not None
    assert tour.error.exit_code == 72
    assert tour.moves == []
    assert honest.orders == []


def test_every_attempt_draws_everything_anew() -> None:
    """Two launches of one request share no key, nonce or IV."""
    liars = Liar(), Liar()
    for liar in liars:
        assert Tour(("sev-es",), ("sev-es",), taps=(liar,)).stdout == b"7\n"
    one, other = (liar.from_tenant for liar in liars)
    assert one[0][:4] == other[0][:4], "the same policy"
    owner = slice(4 + 20, 4 + 20 + 48), slice(4 + 92, 4 + 92 + 48)
    session = [
        slice(4 + 2084 + start, 4 + 2084 + end) for start, end in ((0, 16), (16, 48), (48, 64), (64, 128))
    ]
    for part in (*owner, *session):
        assert one[0][part] != other[0][part]
    assert one[1] != other[1]
    assert liars[0].orders[0].nonce != liars[1].orders[0].nonce
    assert liars[0].orders[0].tenant_key_digest != liars[1].orders[0].tenant_key_digest
