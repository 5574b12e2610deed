"""A guest that moves, and a host that carries it: where it may go, and what can be done to it on its way.

SEND_UPDATE_VMSA and RECEIVE_UPDATE_VMSA have numbers in KVM and no code, so SEV-ES guests move by raw
firmware commands only (``tests/simulator/sev/test_migration.py``). How the calls themselves behave is in
``tests/simulator/sev_guests/test_migration.py``.
"""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from tests.evidence.sev_forge import signed
from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.sev.bench import OwnerAuthority
from tests.threats.bare import (
    DOMAIN,
    EMULATED_ES,
    EMULATED_SEV,
    ES,
    KVM,
    NODBG,
    NOSEND,
    SEV,
    Kind,
    errno_of,
    new_key,
    opened,
    policy_of,
    status_of,
    without_owner,
)
from tests.threats.journey import (
    CONTENTS,
    FIRST,
    MOVABLE,
    PAGE,
    TEXT,
    TEXT_PAGE,
    End,
    arriving,
    begun,
    ends,
    printed,
    recorded,
    send_memory,
    send_start,
)
from wasmkeep.errors import SystemFailure
from wasmkeep.evidence.sev import certificate, packet, session
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.certificate import Usage
from wasmkeep.evidence.sev.packet import SecretPacket
from wasmkeep.evidence.sev.session import LaunchSession
from wasmkeep.hardware.kvm_sev import SevCmdId, command
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_status import SevStatus

REST = TEXT[FIRST:]
POLICY, MAC = SevStatus.POLICY_FAILURE, SevStatus.BAD_MEASUREMENT


@pytest.mark.parametrize("kind", [pytest.param(EMULATED_SEV, id="sev"), KVM])
def test_a_guest_moves_and_prints_the_rest_where_it_arrives(kind: Kind) -> None:
    async def whole() -> None:
        async with ends() as (here, there), begun(here, kind=kind) as guest, arriving(there, kind) as arrived:
            journey = await recorded(guest, here, there)
            await guest.send_finish()
            await journey.receive(arrived)
            assert await printed(arrived, len(REST)) == REST
            assert await printed(arrived, 1) == bytes((len(TEXT),)), "what it wrote at home came with it"
            assert (await arrived.run()).kind is ExitKind.HALTED
            on_the_way = b"".join(header + data for header, data in journey.packets)
            at_rest = await arrived.host_read(0, 4 * PAGE)
            for piece in (TEXT[at : at + 8] for at in range(0, len(TEXT), 8)):
                assert piece not in on_the_way
                assert piece not in at_rest
            with pytest.raises(SystemFailure) as refusal:
                await guest.run()
            assert errno_of(refusal) == errno.EPERM, "it is not in two places"

    run(whole())


async def start_refused(
    at: End, to: End, bits: GuestPolicyBit, minimum: tuple[int, int] = (0, 0)
) -> SevStatus:
    """Of SEND_START; the guest goes on where it is."""
    async with begun(at, policy_of(MOVABLE | bits, minimum)) as guest:
        with pytest.raises(SystemFailure) as refusal:
            await send_start(guest, await to.certificates())
        assert await printed(guest, len(REST)) == REST
        return status_of(refusal)


def test_nosend_keeps_a_guest_at_home() -> None:
    async def whole() -> None:
        async with ends() as (here, there):
            assert await start_refused(here, there, NOSEND) is POLICY
            async with begun(here) as guest:
                await send_start(guest, await there.certificates())

    run(whole())


def test_a_guest_is_sent_to_secure_processors_only() -> None:
    """Without SEV and DOMAIN in its policy a host sends it to a key of its own, and reads it. With SEV the
    receiver's chain must lead to AMD.
    """
    own_pdh, own_pek = new_key(), new_key()
    forged_pdh = signed(Usage.PDH, own_pdh, {Usage.PEK: own_pek})

    async def whole() -> None:
        async with ends() as (here, there):
            real = await there.certificates()
            async with begun(here) as guest:  # the control
                policy, wrapped = await send_start(guest, replace(real, pdh=forged_pdh))
                shared = session.shared_secret(own_pdh, certificate.parse(await here.pdh(), "PDH").public_key)
                keys = session.open_session(LaunchSession.parse(wrapped), shared, policy)
                pages = [SecretPacket(*one) for one in await send_memory(guest)]
                assert TEXT in packet.open_transport(keys, pages[TEXT_PAGE])
            exported = (await there.platform.pdh_cert_export())[1]
            for chain in (replace(real, pdh=forged_pdh), replace(real, cek=exported[-2084:])):
                async with begun(here, policy_of(MOVABLE | SEV)) as guest:
                    with pytest.raises(SystemFailure) as refusal:
                        await send_start(guest, chain)
                    assert status_of(refusal) is SevStatus.BAD_SIGNATURE
            async with begun(here, policy_of(MOVABLE | SEV)) as guest, arriving(there) as arrived:
                await (await recorded(guest, here, there)).receive(arrived)
                assert await printed(arrived, len(REST)) == REST
        async with ends(amd=False) as (here, there):
            assert await start_refused(here, there, SEV) is SevStatus.INVALID_CERTIFICATE

    run(whole())


def test_domain_keeps_a_guest_with_its_owner() -> None:
    """Without DOMAIN it may go to any owner's platform; with it to one with the very same OCA certificate."""
    owner, stranger = OwnerAuthority(), OwnerAuthority()

    async def whole() -> None:
        async with ends() as (here, there):
            try:
                await here.owned_by(owner)
                await there.owned_by(stranger)
                async with begun(here) as guest:  # the control
                    await send_start(guest, await there.certificates())
                assert await start_refused(here, there, DOMAIN) is POLICY
                # Our OCA is no secret: shown in front of a PEK that it did not sign, it helps nobody.
                async with begun(here, policy_of(MOVABLE | DOMAIN)) as guest:
                    shown = replace(await there.certificates(), oca=owner.certificate.encode())
                    with pytest.raises(SystemFailure) as refusal:
                        await send_start(guest, shown)
                    assert status_of(refusal) is SevStatus.BAD_SIGNATURE
                await there.owned_by(owner)
                both = policy_of(MOVABLE | DOMAIN | SEV)
                async with begun(here, both) as guest, arriving(there) as arrived:
                    await (await recorded(guest, here, there)).receive(arrived)
                    assert await printed(arrived, len(REST)) == REST
            finally:
                await here.platform.factory_reset()
                await there.platform.factory_reset()

    run(whole())


def test_an_altered_page_does_not_arrive() -> None:
    """The control is memory at rest, which no MAC covers: there the host's writing goes unnoticed."""

    async def whole() -> None:
        async with ends() as (here, there), begun(here) as guest:
            journey = await recorded(guest, here, there)
            header, data = journey.packets[TEXT_PAGE]
            for at in (0, 4, 20, 51, 52, 52 + PAGE - 1):  # flags, IV, MAC, ciphertext
                async with arriving(there) as arrived:
                    whole = bytearray(header + data)
                    whole[at] ^= 1
                    with pytest.raises(SystemFailure) as refusal:
                        await journey.receive(arrived, {TEXT_PAGE: (bytes(whole[:52]), bytes(whole[52:]))})
                    assert status_of(refusal) is MAC
            async with arriving(there) as arrived:
                await journey.receive(arrived)
                last = TEXT_PAGE * PAGE + len(TEXT) - 16
                at_rest = await arrived.host_read(last, 16)
                await arrived.host_write(last, at_rest[:15] + bytes((at_rest[15] ^ 1,)))
                text = await printed(arrived, len(REST))
                assert text[:-16] == REST[:-16]
                assert text[-16:] != REST[-16:]

    run(whole())


def test_a_guest_does_not_arrive_at_a_wrong_target() -> None:
    """A session is for one PDH: neither another machine nor the sender itself opens it, nor one that says
    that somebody else sent it.
    """

    async def whole() -> None:
        third = machine("--slots", "20", "--min-sev-asid", "1")
        async with ends() as (here, there), begun(here) as guest, opened(third) as other:
            journey = await recorded(guest, here, there)
            strangers_pdh = (await other.pdh_cert_export())[0]
            for at, changes in (
                (End(third, other), {}),
                (here, {}),
                (there, {"pdh": strangers_pdh}),
                (there, {"session": journey.session[:16] + bytes(32) + journey.session[48:]}),
            ):
                async with arriving(at) as arrived:
                    with pytest.raises(SystemFailure) as refusal:
                        await journey.receive_start(arrived, **changes)
                    assert status_of(refusal) is MAC
            async with arriving(there) as arrived:  # the control
                await journey.receive(arrived)
                assert await printed(arrived, len(REST)) == REST

    run(whole())


def test_packets_of_another_journey_do_not_arrive() -> None:
    """The same guest is sent twice. Pages of the first journey are no pages of the second."""

    async def whole() -> None:
        async with ends() as (here, there), begun(here) as guest, arriving(there) as arrived:
            old = await recorded(guest, here, there)
            await guest.send_cancel()
            assert await printed(guest, 5) == REST[:5]
            new = await recorded(guest, here, there)
            await new.receive_start(arrived)
            for gpa, one in enumerate(old.packets):
                with pytest.raises(SystemFailure) as refusal:
                    await arrived.receive_update_data(one[0], gpa * PAGE, one[1])
                assert status_of(refusal) is MAC
        async with ends() as (here, there), begun(here) as guest, arriving(there) as arrived:
            journey = await recorded(guest, here, there)  # the control: the journey's own
            await journey.receive(arrived)
            assert await printed(arrived, len(REST)) == REST

    run(whole())


def test_a_recorded_journey_is_over_when_its_pdh_is() -> None:
    """What this API does not stop: as long as the target keeps its PDH, whoever carried a journey can have
    it arrive again, a copy of the guest as it was. PDH_GEN ends that.
    """

    async def whole() -> None:
        async with ends() as (here, there), begun(here) as guest:
            journey = await recorded(guest, here, there)
            await guest.send_finish()
            for _ in range(2):  # the control, and the honest limit: it arrives, and arrives once more
                async with arriving(there) as arrived:
                    await journey.receive(arrived)
                    assert await printed(arrived, len(REST)) == REST
            await there.platform.pdh_gen()
            async with arriving(there) as arrived:
                with pytest.raises(SystemFailure) as refusal:
                    await journey.receive_start(arrived)
                assert status_of(refusal) is MAC

    run(whole())


def test_within_a_journey_pages_have_no_place() -> None:
    """What this API does not stop either: packets carry no address, and the carrier may exchange them."""

    async def whole() -> None:
        async with ends() as (here, there), begun(here) as guest, arriving(there) as arrived:
            journey = await recorded(guest, here, there)
            await journey.receive(arrived, {TEXT_PAGE: journey.packets[TEXT_PAGE + 1]})
            # The page after the text's holds what the guest counted so far, and zeros.
            assert await printed(arrived, len(REST)) == bytes(len(REST))

    run(whole())


def test_a_guest_is_not_sent_to_older_firmware() -> None:
    """The policy's minimum API: by SEND_START where the receiver must show what it is, else on arrival."""
    older = ("--sev-firmware", "0.23.5")

    async def whole() -> None:
        async with ends(*older) as (here, there):
            assert await start_refused(here, there, SEV, (0, 24)) is POLICY
            async with begun(here, policy_of(MOVABLE, (0, 24))) as guest, arriving(there) as arrived:
                journey = await recorded(guest, here, there)
                with pytest.raises(SystemFailure) as refusal:
                    await journey.receive_start(arrived)
                assert status_of(refusal) is POLICY
            async with begun(here, policy_of(MOVABLE | SEV, (0, 23))) as guest, arriving(there) as arrived:
                await (await recorded(guest, here, there)).receive(arrived)  # the control
                assert await printed(arrived, len(REST)) == REST

    run(whole())


def test_a_policy_does_not_grow_weaker_on_the_way() -> None:
    """With debugging allowed at the target a host reads the guest there. POLICY_MAC is against that."""

    async def whole() -> None:
        policy = policy_of(MOVABLE | SEV, (0, 24))
        async with ends() as (here, there):
            async with begun(here, policy & ~NODBG) as guest, arriving(there) as arrived:  # the control
                await (await recorded(guest, here, there)).receive(arrived)
                assert await arrived.dbg_decrypt(TEXT_PAGE * PAGE, len(TEXT)) == TEXT
            async with begun(here, policy) as guest:
                journey = await recorded(guest, here, there)
                for weaker in (policy & ~NODBG, policy & ~SEV, policy_of(MOVABLE | SEV), 0):
                    async with arriving(there) as arrived:
                        with pytest.raises(SystemFailure) as refusal:
                            await journey.receive_start(arrived, policy=weaker)
                        assert status_of(refusal) is MAC
                async with arriving(there) as arrived:
                    await journey.receive(arrived)
                    assert (await arrived.guest_status()).policy == policy
                    with pytest.raises(SystemFailure) as refusal:
                        await arrived.dbg_decrypt(TEXT_PAGE * PAGE, len(TEXT))
                    assert status_of(refusal) is POLICY

    run(whole())


def test_kvm_moves_no_registers_of_sev_es() -> None:
    """Their memory it would send; without the VMSA nothing runs on the other side."""

    async def whole() -> None:
        async with ends() as (here, there):
            target = await there.certificates()
            bits = int(MOVABLE | ES)
            async with without_owner(here.platform, EMULATED_ES, CONTENTS, bits) as guest:
                await send_start(guest, target)
                await guest.send_update_data(0, PAGE)
                with pytest.raises(SystemFailure) as refusal:
                    await guest._perform(command(SevCmdId.SEND_UPDATE_VMSA))
                assert errno_of(refusal) == errno.EINVAL
                with pytest.raises(SystemFailure) as refusal:
                    await guest.vcpu_state()
                assert errno_of(refusal) == errno.EINVAL

    run(whole())
