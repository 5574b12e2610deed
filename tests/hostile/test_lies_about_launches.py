"""A host that lies about a platform or a launch: refused by name, before a secret is given to it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.hostile.lying_host import Liar, sev_policy
from tests.hostile.pre_attested import (
    LAUNCH,
    MEASUREMENT,
    Altering,
    Relaunching,
    Swapping,
    both,
    deploy,
    deploy_two,
    flipped,
    refused,
)
from tests.machines import machine
from wasmkeep.endorsements import Cek, Document, FolderSource, SevCa
from wasmkeep.evidence.policy import Policy
from wasmkeep.hardware.simulated import Platform
from wasmkeep.host.tap import LaunchOrder
from wasmkeep.image import MachineKind, launch, read_image


@both
def test_an_honest_host_serves(tee: str) -> None:
    liar = Liar()
    result = deploy(liar, tee)
    assert result.error is None
    assert result.stdout == b"7\n"
    assert [len(message) for message in liar.from_tenant[:2]] == [2216, 180]
    assert len(liar.from_keep[MEASUREMENT]) == 52


# The platform's certificates: nothing is wrapped for a platform that is not what it says.


def exporting(change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Callable[[Platform], Any]:
    """The machine, with PDH and chain as ``change`` makes them."""

    class Exporting:
        def __init__(self, platform: Platform) -> None:
            self._platform = platform

        def __getattr__(self, name: str) -> Any:
            return getattr(self._platform, name)

        async def pdh_cert_export(self) -> tuple[bytes, bytes]:
            return change(*await self._platform.pdh_cert_export())

    return Exporting


def exported(of: str) -> tuple[bytes, bytes, bytes]:
    """PDH, chain and id of another machine."""

    async def ask() -> tuple[bytes, bytes, bytes]:
        platform = await Platform.open(machine(name=of).socket)
        try:
            return *await platform.pdh_cert_export(), await platform.get_id()
        finally:
            await platform.close()

    return asyncio.run(ask())


PLACES = {"PEK": 0, "OCA": 2084, "CEK": 4168}


@pytest.mark.parametrize(
    ("part", "check"), [("PDH", "sev.chain.pdh"), ("PEK", "sev.chain.pek"), ("OCA", "sev.chain.pek")]
)
def test_a_certificate_of_another_machine(part: str, check: str) -> None:
    other_pdh, other_chain, _ = exported("other")

    def change(pdh: bytes, chain: bytes) -> tuple[bytes, bytes]:
        if part == "PDH":
            return other_pdh, chain
        at = PLACES[part]
        return pdh, chain[:at] + other_chain[at : at + 2084] + chain[at + 2084 :]

    liar = Liar()
    refused(deploy(liar, altered=exporting(change)), liar, check, sent=0)
    assert liar.orders == [], "no keep was asked for"


def test_the_certificates_of_another_machine_altogether() -> None:
    other = machine(name="other")
    other_pdh, other_chain, other_id = exported("other")

    class Another(FolderSource):
        async def fetch(self, document: Document, /) -> bytes:
            return self.read(Cek(other_id) if isinstance(document, Cek) else document)

    liar = Liar()
    result = deploy(
        liar, endorsements=Another(other.kds), altered=exporting(lambda *_: (other_pdh, other_chain))
    )
    refused(result, liar, "sev.root", sent=0)


class Serving(FolderSource):
    """This machine's endorsements, one of them changed."""

    def __init__(self, kind: type[Document], change: Callable[[bytes], bytes]) -> None:
        super().__init__(machine().kds)
        self._kind, self._change = kind, change

    async def fetch(self, document: Document, /) -> bytes:
        body = self.read(document)
        return self._change(body) if isinstance(document, self._kind) else body


FIELDS = {
    "version": 0,
    "usage": 8,
    "algorithm": 12,
    "curve": 16,
    "x": 20 + 3,
    "y": 92 + 3,
    "signature": 0x41C + 5,
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("part", ["PDH", "PEK", "OCA", "CEK"])
def test_an_altered_certificate(part: str, name: str) -> None:
    def change(pdh: bytes, chain: bytes) -> tuple[bytes, bytes]:
        if part == "PDH":
            return flipped(pdh, FIELDS[name]), chain
        return pdh, flipped(chain, PLACES[part] + FIELDS[name])

    liar = Liar()
    if part == "CEK":
        result = deploy(liar, endorsements=Serving(Cek, lambda body: flipped(body, FIELDS[name])))
    else:
        result = deploy(liar, altered=exporting(change))
    assert result.error is not None
    assert liar.from_tenant == []
    assert liar.orders == []


def test_the_cek_without_amds_signature() -> None:
    """What a platform exports itself."""
    _, chain, _ = exported("tests")
    liar = Liar()
    result = deploy(liar, endorsements=Serving(Cek, lambda _: chain[PLACES["CEK"] :]))
    refused(result, liar, "sev.chain.cek", sent=0)


def test_ask_and_ark_swapped() -> None:
    liar = Liar()
    result = deploy(liar, endorsements=Serving(SevCa, lambda body: body[1600:] + body[:1600]))
    refused(result, liar, "sev.chain.order", sent=0)


def test_an_owner_that_is_not_ours() -> None:
    liar = Liar()
    policy = sev_policy(machine(), "sev-es", owners=frozenset({bytes(32)}))
    refused(deploy(liar, policy=policy), liar, "sev.owner", sent=0)


def test_a_machine_that_nobody_pinned() -> None:
    liar = Liar()
    refused(deploy(liar, policy=Policy.default(platforms=("sev-es",))), liar, "sev.root", sent=0)


def test_a_generation_that_the_policy_denies() -> None:
    liar = Liar()
    policy = sev_policy(machine(), "sev-es", generations=("Turin",))
    refused(deploy(liar, policy=policy), liar, "sev.generation", sent=0)


# The launch message.

CERTIFICATE, SESSION = 4, 4 + 2084
LAUNCH_FIELDS = {
    "policy": 0,
    "policy, reserved": 1,
    "policy, API": 3,
    **{f"certificate, {name}": CERTIFICATE + at for name, at in FIELDS.items() if name != "signature"},
    "nonce": SESSION,
    "TEK": SESSION + 0x10 + 3,
    "TIK": SESSION + 0x20 + 3,
    "wrapping IV": SESSION + 0x30 + 2,
    "MAC of the keys": SESSION + 0x40 + 9,
    "MAC of the policy": SESSION + 0x60 + 31,
}


@pytest.mark.parametrize("name", LAUNCH_FIELDS)
def test_an_altered_launch_message_launches_nothing(name: str) -> None:
    liar = Altering(lambda message: flipped(message, LAUNCH_FIELDS[name]), to_keep=LAUNCH)
    result = deploy(liar)
    refused(result, liar, "session.closed", sent=1)
    assert liar.from_keep == [], "no measurement"


@both
@pytest.mark.parametrize("bit", range(6), ids=["NODBG", "NOKS", "ES", "NOSEND", "DOMAIN", "SEV"])
def test_no_bit_of_the_policy_is_changed(tee: str, bit: int) -> None:
    def change(message: bytes) -> bytes:
        (policy,) = struct.unpack_from("<I", message)
        return struct.pack("<I", policy ^ 1 << bit) + message[4:]

    liar = Altering(change, to_keep=LAUNCH)
    refused(deploy(liar, tee), liar, "session.closed", sent=1)


@pytest.mark.parametrize("size", [0, 1, 2215, 2217])
def test_a_launch_message_of_another_size(size: int) -> None:
    liar = Altering(lambda message: (message + b"x")[:size], to_keep=LAUNCH)
    result = deploy(liar)
    assert result.error is not None
    assert len(liar.from_tenant) == 1


# The measurement.

MEASUREMENT_FIELDS = {
    "API major": 0,
    "API minor": 1,
    "build": 2,
    "MEASURE": 4,
    "MNONCE": 36,
    "the last byte": 51,
}


@both
@pytest.mark.parametrize("name", MEASUREMENT_FIELDS)
def test_an_altered_measurement(tee: str, name: str) -> None:
    liar = Altering(lambda message: flipped(message, MEASUREMENT_FIELDS[name]), to_tenant=MEASUREMENT)
    refused(deploy(liar, tee), liar, "sev.measurement", sent=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[:-1],
        lambda m: m + b"\0",
        lambda m: b"",
        lambda m: m[:3] + b"\1" + m[4:],
        lambda m: m * 2,
    ],
    ids=["short", "long", "empty", "reserved", "twice in one"],
)
def test_a_measurement_of_another_form(change: Callable[[bytes], bytes]) -> None:
    liar = Altering(change, to_tenant=MEASUREMENT)
    result = deploy(liar)
    assert result.error is not None
    assert len(liar.from_tenant) == 1


@both
def test_the_measurement_of_an_earlier_launch(tee: str) -> None:
    recorder = Liar()
    assert deploy(recorder, tee).outcome is not None
    liar = Altering(lambda _: recorder.from_keep[MEASUREMENT], to_tenant=MEASUREMENT)
    refused(deploy(liar, tee), liar, "sev.measurement", sent=1)


@both
def test_the_measurements_of_two_launches_swapped(tee: str) -> None:
    liar = Swapping(to_tenant=MEASUREMENT)
    for result in deploy_two(liar, tee):
        refused(result, liar, "sev.measurement", sent=2)


@both
def test_the_launch_messages_of_two_tenants_swapped(tee: str) -> None:
    liar = Swapping(to_keep=LAUNCH)
    for result in deploy_two(liar, tee):
        refused(result, liar, "sev.measurement", sent=2)


@both
@pytest.mark.parametrize(
    ("floor", "check"),
    [
        ({"minimum_api": (1, 56)}, "sev.measurement.api"),
        ({"minimum_build": {"Genoa": 41}}, "sev.measurement.build"),
    ],
)
def test_older_firmware_than_the_policy_accepts(tee: str, floor: dict[str, object], check: str) -> None:
    liar = Liar()
    refused(deploy(liar, tee, policy=sev_policy(machine(), tee, **floor)), liar, check, sent=1)


@both
def test_older_firmware_is_not_made_newer_by_saying_so(tee: str) -> None:
    liar = Altering(lambda message: b"\1\x38" + message[2:], to_tenant=MEASUREMENT)
    policy = sev_policy(machine(), tee, minimum_api=(1, 56))
    refused(deploy(liar, tee, policy=policy), liar, "sev.measurement", sent=1)


# What is launched.


def altered_image(order: LaunchOrder) -> LaunchOrder:
    last = order.regions[-1]
    return replace(order, regions=(*order.regions[:-1], replace(last, data=flipped(last.data, -1))))  # type: ignore[type-var]


def more_memory(order: LaunchOrder) -> LaunchOrder:
    kind = MachineKind.of(order.tee, process=machine().cpu == "process")
    larger = launch(kind, read_image(kind), order.memory * 2)
    return replace(order, regions=larger.regions, memory=order.memory * 2)


def filled_slot(order: LaunchOrder) -> LaunchOrder:
    slot = order.regions[0]
    return replace(order, regions=(replace(slot, data=b"\x06" * 128 + slot.data[128:]), *order.regions[1:]))  # type: ignore[type-var]


CHANGES: dict[str, Callable[[LaunchOrder], LaunchOrder]] = {
    "another image": altered_image,
    "more memory": more_memory,
    "a slot that is not empty": filled_slot,
    "the regions in another order": lambda order: replace(order, regions=order.regions[::-1]),
    "a region less": lambda order: replace(order, regions=order.regions[:-1]),
    "nothing": lambda order: replace(order, regions=order.regions[:1]),
}


@both
@pytest.mark.parametrize("name", CHANGES)
def test_another_launch_than_was_asked_for(tee: str, name: str) -> None:
    liar = Relaunching(CHANGES[name])
    refused(deploy(liar, tee), liar, "sev.measurement", sent=1)


def other_entry(order: LaunchOrder) -> LaunchOrder:
    """The vCPU begins 16 bytes further on (VMSA, RIP at 178h)."""
    vmsa = bytearray(order.vmsa)
    struct.pack_into("<Q", vmsa, 0x178, struct.unpack_from("<Q", vmsa, 0x178)[0] + 16)
    return replace(order, vmsa=bytes(vmsa))


def test_another_entry_point_is_refused_under_sev_es() -> None:
    liar = Relaunching(other_entry)
    refused(deploy(liar), liar, "sev.measurement", sent=1)


@pytest.mark.skipif(machine().cpu != "kvm", reason="a process has no registers that its host chooses")
def test_another_entry_point_is_nothing_that_plain_sev_would_tell() -> None:
    """The control: the launch is accepted, and the secret given; that the keep then fails is luck."""
    liar = Relaunching(other_entry)
    deploy(liar, "sev")
    assert len(liar.from_tenant) >= 2


def test_sev_es_is_not_turned_off_in_silence() -> None:
    liar = Relaunching(lambda order: replace(order, tee="sev"))
    result = deploy(liar)
    assert result.error is not None
    assert len(liar.from_tenant) == 1, "no secret"


def test_sev_is_not_what_a_policy_for_sev_es_accepts() -> None:
    """The host launches the image of plain SEV, under a policy without ES."""
    kind = MachineKind.of("sev", process=machine().cpu == "process")

    def change(order: LaunchOrder) -> LaunchOrder:
        other = launch(kind, read_image(kind), order.memory)
        return replace(order, tee="sev", regions=other.regions, vmsa=other.vmsa)

    liar = Relaunching(change)
    result = deploy(liar)
    assert result.error is not None
    assert len(liar.from_tenant) == 1
