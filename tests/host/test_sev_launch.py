"""A pre-attested launch over the keep's WebSocket: three messages, and what each costs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.endorsements.bodies import CEK_BODY, SEV_ARK, SEV_ASK, SEV_CA_BODY
from tests.host import machine
from tests.host.daemon import KEY_DIGEST, NONCE, REQUEST, Daemon, closed_with, daemon, run, until
from tests.host.machine import MEASUREMENT, OCA, PDH, PEK, FakePlatform, Step, echo, received
from wasmkeep.endorsements import Cek, Document, SevCa
from wasmkeep.errors import HostRefused, SystemFailure
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.host.endings import EndKeep
from wasmkeep.host.machine import Tee
from wasmkeep.host.settings import Limits
from wasmkeep.host.tap import LaunchOrder, PassThrough, SecretPacket
from wasmkeep.host.window import WINDOW_SIZE, Exchange, read_exit
from wasmkeep.protocol.pre_attested import (
    MEASUREMENT_SIZE,
    SLOT_GPA,
    LaunchMessage,
    MeasurementMessage,
    SecretMessage,
)

TEES = (Tee("snp", 400), Tee("sev-es", 400), Tee("sev", 100))
LAUNCH = LaunchMessage(0x1800_000F, b"c" * 2084, b"s" * 128)
SECRET = SecretMessage(b"h" * 52, b"d" * 128)


def plain_echo(window: memoryview) -> Generator[Step, None, None]:
    """As a keep of plain SEV: no GHCB page."""
    for step in (machine.exchange(window, machine.OFFER),):
        window[:0x1000] = bytes(0x1000)
        yield step
    machine.end(window, b"last " + received(window))
    window[:0x1000] = bytes(0x1000)
    yield machine.Exit()


def es_echo(window: memoryview) -> Generator[Step, None, None]:
    yield machine.exchange(window, machine.OFFER)
    yield machine.end(window, b"last " + received(window))


KEEPS = {"sev": plain_echo, "sev-es": es_echo}


async def launched(host: Daemon, tenant: Any) -> None:
    """The tenant's part up to the offer."""
    await tenant.send(LAUNCH.encode())
    message = await tenant.recv()
    assert len(message) == MEASUREMENT_SIZE
    measured = MeasurementMessage.parse(message)
    assert (measured.api_major, measured.api_minor, measured.build) == (1, 55, 40)
    assert measured.measurement == MEASUREMENT
    await tenant.send(SECRET.encode())
    assert await tenant.recv() == machine.OFFER


@pytest.mark.parametrize("tee", ["sev", "sev-es"])
def test_a_whole_session(tee: str) -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(KEEPS[tee]), tees=TEES) as host:
            created = await host.create(tee=tee)
            assert (created["tee"], created["image"]["kind"]) == (tee, f"process-{tee}")
            assert "reported_tcb" not in created
            async with host.session(created["id"]) as tenant:
                await launched(host, tenant)
                await tenant.send(b"package")
                assert await tenant.recv() == b"last package"
                assert await closed_with(tenant) == (1000, "")
            await host.gone()
            (guest,) = host.platform.sev_guests
            launch = guest.launch
            assert (launch.kind, launch.memory, len(launch.vmsa)) == (tee, machine.MEMORY, 4096)
            assert [region.gpa for region in launch.regions] == [0x10_0000]
            assert (launch.policy, launch.owner_certificate, launch.session) == (
                LAUNCH.policy,
                LAUNCH.owner_certificate,
                LAUNCH.session,
            )
            assert guest.injected == [(SECRET.header, SECRET.data, SLOT_GPA)]
            assert guest.finished
            assert guest.window[0x1200:0x1240] == NONCE + KEY_DIGEST
            assert host.platform.began == 1

    run(scenario())


def test_a_tenant_who_does_not_answer_a_measurement_has_a_key_slot_for_so_long() -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES, limits=Limits(launch_seconds=0.1)) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await tenant.send(LAUNCH.encode())
                await tenant.recv()
                assert host.platform.alive == 1
                assert await closed_with(tenant) == (4003, "the tenant's secret did not come (0.1 s)")
            await host.gone()

    run(scenario())


def test_a_tenant_who_leaves_after_the_measurement_gives_the_slot_back() -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES) as host:
            created = await host.create(tee="sev")
            async with host.session(created["id"]) as tenant:
                await tenant.send(LAUNCH.encode())
                await tenant.recv()
            await host.gone()

    run(scenario())


def test_a_tenant_who_never_connects_costs_nothing_but_a_keep() -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES, limits=Limits(connect_seconds=0.1)) as host:
            await host.create(tee="sev")
            await until(lambda: not host.running.host.keeps.owners())
            assert host.platform.sev_guests == []

    run(scenario())


@pytest.mark.parametrize("size", [1, 2215, 2217])
def test_what_is_no_launch_message_launches_nothing(size: int) -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await tenant.send(b"x" * size)
                assert await closed_with(tenant) == (1007, "malformed: launch message")
            assert host.platform.sev_guests == []

    run(scenario())


@pytest.mark.parametrize("size", [1, 179, 181])
def test_what_is_no_secret_ends_the_keep(size: int) -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await tenant.send(LAUNCH.encode())
                await tenant.recv()
                await tenant.send(b"x" * size)
                assert await closed_with(tenant) == (1007, "malformed: secret")
            await host.gone()

    run(scenario())


@pytest.mark.parametrize("command", ["start", "inject", "finish"])
@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (
            SystemFailure("platform.firmware", "the secure processor refused"),
            (1011, "machine failed: the secure processor refused"),
        ),
        (FirmwareError("LAUNCH_START", SevStatus.RESOURCE_LIMIT), (1013, "no key slot is free now")),
    ],
    ids=["failure", "no slot"],
)
def test_a_command_that_is_refused_leaves_nothing(
    command: str, error: Exception, ending: tuple[int, str]
) -> None:
    async def scenario() -> None:
        platform = FakePlatform(es_echo, refusing=error, refusing_at=command)
        async with daemon(platform, tees=TEES) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await tenant.send(LAUNCH.encode())
                if command != "start":
                    await tenant.recv()
                    await tenant.send(SECRET.encode())
                assert await closed_with(tenant) == ending
            await host.gone()

    run(scenario())


def test_a_machine_that_stalls_is_given_up() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(stalled=True), tees=TEES, limits=Limits(boot_seconds=0.1)) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await tenant.send(LAUNCH.encode())
                assert (await closed_with(tenant))[0] == 4003

    run(scenario())


# What is offered, and limits.


def test_a_kind_that_is_not_served_is_refused() -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES[1:]) as host:
            answer = await host.client.post("/v1/keeps", json=REQUEST)
            assert answer.status_code == 422
            assert answer.json()["error"]["required"] == "sev-es or sev"

    run(scenario())


def test_a_guest_policy_belongs_to_the_launch_message() -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES) as host:
            answer = await host.client.post("/v1/keeps", json={**REQUEST, "tee": "sev", "policy": 0})
            assert answer.status_code == 400

    run(scenario())


class Kds:
    """Endorsements of this machine; those in ``failing`` are not to be had."""

    def __init__(self, *failing: type[Document]) -> None:
        self.failing = failing

    async def fetch(self, document: Document, /) -> bytes:
        if isinstance(document, self.failing or ()):
            raise HostRefused("endorsements.missing", "no", found="/a/folder")
        bodies = {SevCa: SEV_CA_BODY, Cek: CEK_BODY}
        return bodies[type(document)]


def test_the_platforms_certificates() -> None:
    async def scenario() -> None:
        async with daemon(endorsements=Kds(), tees=TEES) as host:
            for _ in range(3):
                answer = (await host.client.get("/v1/sev/certificates")).json()
            assert answer.pop("product") == "genoa"
            found = {name: base64.b64decode(value) for name, value in answer.items()}
            assert found == {
                "pdh": PDH,
                "pek": PEK,
                "oca": OCA,
                "cek": CEK_BODY,
                "ask": SEV_ASK,
                "ark": SEV_ARK,
            }
            assert host.platform.exported == 1, "asked of the machine once in a while"

    run(scenario())


@pytest.mark.parametrize(
    ("failing", "words"), [(Cek, "no signed CEK for that chip"), (SevCa, "no ASK and ARK for SEV")]
)
def test_what_is_missing_of_them_is_named(failing: type[Document], words: str) -> None:
    async def scenario() -> None:
        async with daemon(endorsements=Kds(failing), tees=TEES) as host:
            answer = await host.client.get("/v1/sev/certificates")
            assert answer.status_code == 404
            assert words in answer.json()["error"]["message"]
            assert "folder" not in answer.text

    run(scenario())


def test_a_host_without_sev_has_no_such_certificates() -> None:
    async def scenario() -> None:
        async with daemon(endorsements=Kds()) as host:
            assert (await host.client.get("/v1/sev/certificates")).status_code == 404
            assert host.platform.exported == 0

    run(scenario())


def test_a_machine_that_is_gone_exports_nothing() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(broken=True), endorsements=Kds(), tees=TEES) as host:
            answer = await host.client.get("/v1/sev/certificates")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "machine")

    run(scenario())


# The window of these kinds.


def test_plain_sev_shows_its_port_write_alone() -> None:
    window = memoryview(bytearray(WINDOW_SIZE))
    machine.exchange(window, b"message", 5)
    window[:0x1000] = bytes(0x1000)
    assert read_exit(window, "sev") == Exchange(b"message", 5)
    for tee in ("sev-es", "snp"):
        with pytest.raises(EndKeep, match="GHCB protocol"):
            read_exit(window, tee)


def test_sev_es_has_no_guest_messages() -> None:
    window = memoryview(bytearray(WINDOW_SIZE))
    machine.guest_message(window)
    with pytest.raises(EndKeep, match="exit code"):
        read_exit(window, "sev-es")


# A host that lies is made by construction here too.


class Liar(PassThrough):
    """Turns ES off, injects the secret twice and elsewhere, and changes each message."""

    def launch(self, keep: str, order: LaunchOrder) -> LaunchOrder:
        return replace(order, tee="sev")

    def secrets(self, keep: str, packet: SecretPacket) -> Sequence[SecretPacket]:
        return (packet, replace(packet, gpa=0x10_0000))

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        return (message.replace(b"m" * 32, b"M" * 32),)

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
        return (message.replace(b"s" * 128, b"S" * 128),)


def test_a_liar_alters_whatever_a_launch_carries() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(es_echo), tap=Liar(), tees=TEES) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await tenant.send(LAUNCH.encode())
                measured = MeasurementMessage.parse(await tenant.recv(decode=False))
                assert measured.measure == b"M" * 32
                await tenant.send(SECRET.encode())
                assert await tenant.recv() == machine.OFFER
            (guest,) = host.platform.sev_guests
            assert (guest.launch.kind, guest.launch.session) == ("sev", b"S" * 128)
            assert [gpa for _, _, gpa in guest.injected] == [SLOT_GPA, 0x10_0000]

    run(scenario())


def test_many_launches_at_once() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(es_echo), tees=TEES) as host:

            async def one() -> None:
                created = await host.create(tee="sev-es")
                async with host.session(created["id"]) as tenant:
                    await launched(host, tenant)

            await asyncio.gather(*(one() for _ in range(20)))
            await host.gone()

    run(scenario())


def test_snp_is_launched_as_before_beside_them() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(echo), tees=TEES) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await tenant.recv() == machine.OFFER
            assert host.platform.sev_guests == []

    run(scenario())
