"""A host that misuses the secret, plays a launch again, or alters what the keep says: nothing arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.hostile.lying_host import Liar, lying_host, prepared
from tests.hostile.pre_attested import (
    LAUNCH,
    MEASUREMENT,
    OFFER,
    SECRET,
    Altering,
    Injecting,
    Relaunching,
    Swapping,
    both,
    deploy,
    deploy_two,
    flipped,
    refused,
)
from tests.machines import machine
from wasmkeep.errors import WasmkeepError
from wasmkeep.host.tap import SecretPacket
from wasmkeep.image import MachineKind, launch, read_image
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.host_api import KeepRequest


@both
def test_the_secrets_of_two_launches_swapped(tee: str) -> None:
    liar = Swapping(to_keep=SECRET)
    for result in deploy_two(liar, tee):
        refused(result, liar, "session.closed", sent=4)


@both
def test_the_offers_of_two_keeps_swapped(tee: str) -> None:
    liar = Swapping(to_tenant=OFFER)
    for result in deploy_two(liar, tee):
        refused(result, liar, "session.proof", sent=4)


# The secret.

SECRET_FIELDS = {"flags": 0, "IV": 4, "MAC": 20, "the packet": 52, "its last byte": 179}


@both
@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_an_altered_secret_is_not_injected(tee: str, name: str) -> None:
    liar = Altering(lambda message: flipped(message, SECRET_FIELDS[name]), to_keep=SECRET)
    result = deploy(liar, tee)
    refused(result, liar, "session.closed", sent=2)
    assert len(liar.from_keep) == 1, "the keep did not run"


@both
def test_no_secret_at_all(tee: str) -> None:
    liar = Injecting(lambda _: ())
    result = deploy(liar, tee)
    refused(result, liar, "session.closed", sent=2)
    assert result.error is not None
    assert "keep refused: 11" in result.error.found


@both
def test_an_old_secret(tee: str) -> None:
    recorder = Liar()
    assert deploy(recorder, tee).outcome is not None
    liar = Altering(lambda _: recorder.from_tenant[SECRET], to_keep=SECRET)
    refused(deploy(liar, tee), liar, "session.closed", sent=2)


def elsewhere(tee: str) -> list[int]:
    """Addresses all over the image: in each region the first, one in the middle and the last that fit."""
    kind = MachineKind.of(tee, process=machine().cpu == "process")
    regions = launch(kind, read_image(kind), prepared().keep_memory).regions[1:]
    found = set()
    for region in regions:
        found |= {region.gpa, region.gpa + region.size // 2 & ~0xFFF, region.gpa + region.size - 128}
    return sorted(found)


@both
def test_the_secret_at_another_address(tee: str) -> None:
    for gpa in elsewhere(tee):
        liar = Injecting(lambda packet, gpa=gpa: (replace(packet, gpa=gpa),))  # type: ignore[misc]
        result = deploy(liar, tee)
        assert result.error is not None, hex(gpa)
        assert not result.accepted_evidence, hex(gpa)
        assert len(liar.from_tenant) == 2, hex(gpa)
        assert result.stdout == b""


@both
@pytest.mark.parametrize("slot_first", [True, False])
def test_the_secret_twice(tee: str, slot_first: bool) -> None:
    """Over code or tables it stops the keep; over what the keep clears or does not use it changes nothing."""
    for gpa in elsewhere(tee):

        def both_places(packet: SecretPacket, gpa: int = gpa) -> Sequence[SecretPacket]:
            places = (packet, replace(packet, gpa=gpa))
            return places if slot_first else places[::-1]

        liar = Injecting(both_places)
        result = deploy(liar, tee)
        if result.error is None:
            assert result.stdout == b"7\n"
            continue
        assert len(liar.from_tenant) == 2 or result.stdout == b"", hex(gpa)


@both
def test_the_secret_in_the_slot_but_not_at_its_beginning(tee: str) -> None:
    liar = Injecting(lambda packet: (replace(packet, gpa=packet.gpa + 128),))
    refused(deploy(liar, tee), liar, "session.closed", sent=2)


# A recorded launch.


@both
def test_a_recorded_launch_cannot_be_run_again(tee: str) -> None:
    """With a tenant who knows nothing of it, and with the host playing the tenant's recorded part."""
    recorder = Liar()
    assert deploy(recorder, tee).outcome is not None

    class Replaying(Liar):
        def alter_to_keep(self, index: int, message: bytes) -> Sequence[bytes]:
            return (recorder.from_tenant[index],)

    liar = Replaying()
    refused(deploy(liar, tee), liar, "sev.measurement", sent=1)

    async def alone() -> list[bytes]:
        observer, order = Liar(), recorder.orders[0]
        async with lying_host(observer) as running, HostClient(running.url, running.token) as client:
            again = KeepRequest(tee, "wasmkeep 0.1.0", order.memory, order.nonce, order.tenant_key_digest)
            async with client.session(again) as (_, channel):
                await channel.send(recorder.from_tenant[LAUNCH])
                await channel.receive()
                for message in recorder.from_tenant[1:]:
                    try:
                        await channel.send(message)
                        await channel.receive()
                    except WasmkeepError:
                        break
        return observer.from_keep

    (measured,) = asyncio.run(alone())
    assert measured != recorder.from_keep[MEASUREMENT], "a fresh MNONCE, so the old secret's MAC is wrong"


# The keep's proof, and what comes after it.

OFFER_FIELDS = {
    "version": 0,
    "receiving key": 4 + 700,
    "receipt key": 1220 + 3,
    "length of the evidence": 1284,
    "proof": 1288,
    "the last byte": -1,
}


@both
@pytest.mark.parametrize("name", OFFER_FIELDS)
def test_an_altered_offer(tee: str, name: str) -> None:
    liar = Altering(lambda message: flipped(message, OFFER_FIELDS[name]), to_tenant=OFFER)
    result = deploy(liar, tee)
    assert result.error is not None
    assert result.error.check in {"session.proof", "session.offer"}
    assert not result.accepted_evidence
    assert len(liar.from_tenant) == 2


@both
def test_an_offer_of_an_earlier_keep(tee: str) -> None:
    recorder = Liar()
    assert deploy(recorder, tee).outcome is not None
    liar = Altering(lambda _: recorder.from_keep[OFFER], to_tenant=OFFER)
    refused(deploy(liar, tee), liar, "session.proof", sent=2)


@both
def test_a_nonce_or_key_of_the_hosts_choice(tee: str) -> None:
    for change in (
        lambda order: replace(order, nonce=bytes(32)),
        lambda order: replace(order, tenant_key_digest=bytes(32)),
    ):
        liar = Relaunching(change)
        refused(deploy(liar, tee), liar, "session.proof", sent=2)


@both
@pytest.mark.parametrize("position", [500, 1168, 1168 + 44, -1])
def test_an_altered_delivery_runs_nothing(tee: str, position: int) -> None:
    liar = Altering(lambda message: flipped(message, position), to_keep=2)
    result = deploy(liar, tee)
    assert result.error is not None
    assert not result.launched
    assert result.stdout == b""


@both
@pytest.mark.parametrize("place", [2, 3])
def test_an_altered_answer_is_no_result(tee: str, place: int) -> None:
    result = deploy(Altering(lambda message: flipped(message, 30), to_tenant=place), tee)
    assert result.outcome is None
    assert result.error is not None
    assert result.error.check.startswith("session.")
