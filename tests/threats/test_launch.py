"""What a host launches in place of what its tenant meant, and what the tenant can tell.

The control is each time the same host with a tenant who has no measurement, or does not use it as it must.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.machines import machine
from tests.simulator.driving import run
from tests.threats.bare import (
    ANY,
    EMULATED_ES,
    EMULATED_SEV,
    ENCRYPTED,
    NODBG,
    PRINT_SECRET,
    SECRET,
    SECRET_AT,
    STRICT,
    Kind,
    Opened,
    Tenant,
    created,
    fill,
    image,
    measured,
    page,
    said,
    status_of,
    trusted,
    without_owner,
)
from wasmkeep.errors import SystemFailure
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import packet
from wasmkeep.evidence.sev.session import LaunchKeys
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.sev_status import SevStatus

# HLT is the exit that every kind has, also SEV-ES without a handler of #VC.
STORE_SEVEN = bytes.fromhex("c6 06 00 20 37  f4")  # mov byte [2000h], '7' · hlt
STORE_BANG = bytes.fromhex("c6 06 00 20 21  f4")
MEANT = {0: page(STORE_SEVEN), SECRET_AT: page(b"")}
ALTERED = {0: page(STORE_BANG), SECRET_AT: page(b"")}


@ANY
def test_integrity_of_the_launch_image(kind: Kind) -> None:
    """A host that launches other code: it runs, and nobody would know; but its measurement is another."""

    async def whole() -> None:
        async with trusted(machine()) as on:
            async with without_owner(on.platform, kind.unprotected, ALTERED) as guest:
                assert (await guest.run()).kind is ExitKind.HALTED
                assert await guest.host_read(SECRET_AT, 1) == b"!"
            tenant = Tenant()
            async with measured(on, kind, tenant, MEANT) as (_, honest):
                await tenant.proven(on.platform, honest, kind.bits, MEANT, kind)
            tenant = Tenant()
            async with measured(on, kind, tenant, ALTERED) as (_, answer):
                with pytest.raises(Rejected) as refused:
                    await tenant.proven(on.platform, answer, kind.bits, MEANT, kind)
                assert refused.value.check == "sev.measurement"

    run(whole())


def test_a_security_feature_silently_left_off() -> None:
    """SEV-ES asked for. A host that gives less: another VM, another policy, its own keys, or no owner."""
    kind, weaker = EMULATED_ES, EMULATED_SEV
    policy = int(kind.bits)

    async def whole() -> None:
        async with trusted(machine()) as on:
            # The control: all of these run, and their registers are the host's.
            for less in (weaker, kind.unprotected):
                async with without_owner(on.platform, less, MEANT) as guest:
                    assert (await guest.run()).kind is ExitKind.HALTED
                    assert (await guest.registers()).general["rip"] in range(1, len(STORE_SEVEN) + 1)
            # The tenant's session does not open for another policy.
            tenant = Tenant()
            certificate, session = tenant.session(on.authentic, policy)
            async with await created(on.platform, weaker) as guest:
                with pytest.raises(SystemFailure) as refusal:
                    await guest.launch_start(int(weaker.bits), certificate, session)
                assert status_of(refusal) is SevStatus.BAD_MEASUREMENT
            # Nor is a guest of SEV-ES given a key slot of plain SEV's.
            async with await created(on.platform, weaker) as guest:
                with pytest.raises(SystemFailure) as refusal:
                    await guest.launch_start(policy, certificate, session)
                assert status_of(refusal) is SevStatus.INVALID_ASID
            # Without session, or with keys of the host's, the measurement is not under the tenant's TIK.
            other = Tenant()
            for given in ((b"", b""), other.session(on.authentic, int(weaker.bits))):
                async with await created(on.platform, weaker) as guest:
                    await guest.launch_start(int(weaker.bits), *given)
                    await fill(guest, weaker, MEANT)
                    answer = await guest.launch_measure()
                for expected in (kind, weaker):  # whatever the tenant would settle for
                    with pytest.raises(Rejected) as refused:
                        await tenant.proven(on.platform, answer, int(expected.bits), MEANT, expected)
                    assert refused.value.check == "sev.measurement"
            # And one that was never measured has none: nothing the host makes up fits.
            with pytest.raises(Rejected):
                await tenant.proven(on.platform, os.urandom(48), policy, MEANT, kind)

    run(whole())


@ENCRYPTED
def test_debug_left_on(kind: Kind) -> None:
    """Without NODBG the firmware itself decrypts for the host, and encrypts; with it, for nobody."""

    async def whole() -> None:
        contents = image(STORE_SEVEN)
        async with trusted(machine()) as on:
            policy = int(kind.bits & ~NODBG)
            async with without_owner(on.platform, kind, contents, policy) as guest:
                assert await guest.dbg_decrypt(SECRET_AT, len(SECRET)) == SECRET
                await guest.dbg_encrypt(0, STORE_BANG)
                assert (await guest.run()).kind is ExitKind.HALTED
                assert (await guest.dbg_decrypt(SECRET_AT, 1)) == b"!"
            async with without_owner(on.platform, kind, contents) as guest:
                for debug in (guest.dbg_decrypt(SECRET_AT, len(SECRET)), guest.dbg_encrypt(0, STORE_BANG)):
                    with pytest.raises(SystemFailure) as refusal:
                        await debug
                    assert status_of(refusal) is SevStatus.POLICY_FAILURE
            # The host cannot take the bit out of what the tenant asked for.
            tenant = Tenant()
            certificate, session = tenant.session(on.authentic, int(kind.bits))
            async with await created(on.platform, kind) as guest:
                with pytest.raises(SystemFailure) as refusal:
                    await guest.launch_start(policy, certificate, session)
                assert status_of(refusal) is SevStatus.BAD_MEASUREMENT

    run(whole())


@ENCRYPTED
def test_a_replayed_launch_measurement(kind: Kind) -> None:
    """The honest launch's measurement, shown for another launch. It fools who uses one session twice, and
    even then the firmware opens no packet made for it.
    """
    policy = int(kind.bits)

    async def whole() -> None:
        async with trusted(machine()) as on:
            first = Tenant()
            given = first.session(on.authentic, policy)
            async with await created(on.platform, kind) as guest:
                await guest.launch_start(policy, *given)
                await fill(guest, kind, MEANT)
                recorded = await guest.launch_measure()
            # The control: the same session again, with other code, and the recorded measurement.
            async with await created(on.platform, kind) as guest:
                await guest.launch_start(policy, *given)
                await fill(guest, kind, ALTERED)
                assert await guest.launch_measure() != recorded
                launch = await first.proven(on.platform, recorded, policy, MEANT, kind)
                sealed = first.sealed(page(SECRET), launch)
                with pytest.raises(SystemFailure) as refusal:
                    await guest.launch_secret(sealed.header, SECRET_AT, sealed.data)
                assert status_of(refusal) is SevStatus.BAD_MEASUREMENT
            # A tenant has new keys for each launch.
            second = Tenant()
            async with measured(on, kind, second, ALTERED):
                with pytest.raises(Rejected) as refused:
                    await second.proven(on.platform, recorded, policy, MEANT, kind)
                assert refused.value.check == "sev.measurement"
            # The same image under the same keys is another measurement too: MNONCE is the firmware's.
            async with await created(on.platform, kind) as guest:
                await guest.launch_start(policy, *given)
                await fill(guest, kind, MEANT)
                assert (await guest.launch_measure())[:32] != recorded[:32]

    run(whole())


NO_KEYS = LaunchKeys(bytes(16), bytes(16))
LEAKING = {0: page(PRINT_SECRET), SECRET_AT: page(b"")}


async def launched_alike(
    guests: Sequence[SevGuest], policy: int, *given: bytes, kind: Kind = EMULATED_SEV
) -> list[bytes]:
    """The first with the contents meant, the others with those that leak: their measurements."""
    answers = []
    for number, guest in enumerate(guests):
        await guest.launch_start(policy, *given)
        await fill(guest, kind, LEAKING if number else MEANT)
        answers.append(await guest.launch_measure())
    return answers


async def stolen_without_owner(on: Opened) -> bytes:
    """Of two guests without an owner: anybody opens and seals for them, the host too."""
    kind = EMULATED_SEV
    async with await created(on.platform, kind) as victim, await created(on.platform, kind) as attacker:
        first, second = await launched_alike((victim, attacker), int(STRICT))
        sealed = packet.seal_secret(NO_KEYS, os.urandom(16), page(SECRET), first[:32])
        stolen = packet.open_secret(NO_KEYS, sealed, first[:32])
        again = packet.seal_secret(NO_KEYS, os.urandom(16), stolen, second[:32])
        await attacker.launch_secret(again.header, SECRET_AT, again.data)
        await attacker.launch_finish()
        return (await said(attacker))[0]


def test_a_secret_for_another_guest() -> None:
    """A packet for one launch, injected into another that the host likes better: one that prints it."""
    kind, policy, tenant = EMULATED_SEV, int(STRICT), Tenant()

    async def whole() -> None:
        async with trusted(machine()) as on:
            assert await stolen_without_owner(on) == SECRET  # the control
            # With an owner: a second guest of the very same session, and one of another tenant's.
            given = tenant.session(on.authentic, policy)
            async with (
                await created(on.platform, kind) as meant,
                await created(on.platform, kind) as twin,
                measured(on, kind, Tenant(), LEAKING) as (stranger, _),
            ):
                answer, _ = await launched_alike((meant, twin), policy, *given)
                launch = await tenant.proven(on.platform, answer, policy, MEANT, kind)
                sealed = tenant.sealed(page(SECRET), launch)
                for guest in (twin, stranger):
                    with pytest.raises(SystemFailure) as refusal:
                        await guest.launch_secret(sealed.header, SECRET_AT, sealed.data)
                    assert status_of(refusal) is SevStatus.BAD_MEASUREMENT
                    await guest.launch_finish()
                    assert (await said(guest))[0] == bytes(len(SECRET))
                with pytest.raises(Rejected):  # and the host's own keys open nothing
                    packet.open_secret(NO_KEYS, sealed, answer[:32])
                await meant.launch_secret(sealed.header, SECRET_AT, sealed.data)

    run(whole())
