"""Whom a guest may be sent to, by its policy: NOSEND, DOMAIN, SEV, the least API version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulator.sev.bench import (
    CHAIN,
    DOMAIN,
    ES,
    NOSEND,
    PAGE,
    SEV,
    VERSION,
    Bench,
    OwnerAuthority,
    policy,
)
from tests.simulator.sev.journey import (
    Source,
    arriving,
    flip,
    receive,
    receive_fields,
    receive_start,
    send_fields,
)
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.products import SevVersion

LENGTH, ADDRESS = SevStatus.INVALID_LENGTH, SevStatus.INVALID_ADDRESS
MALFORMED, SIGNATURE = SevStatus.INVALID_CERTIFICATE, SevStatus.BAD_SIGNATURE
POLICY, MAC = SevStatus.POLICY_FAILURE, SevStatus.BAD_MEASUREMENT
OPEN = policy(0)


# What the policy allows


def test_nosend_stays() -> None:
    source = Source(policy(NOSEND))
    assert source.refused(Bench().export()) is POLICY
    assert source.refused(Bench().export(), session_len=0) is POLICY


def test_without_domain_and_sev_a_host_may_send_a_guest_to_a_counterfeit() -> None:
    """The attack that SEV's policy bits are there against: it works where they are not set."""
    source, counterfeit = Source(OPEN), Bench(amd="a forger")
    handle = arriving(source, counterfeit)
    assert counterfeit.plaintext(handle, receive(counterfeit, handle, source.packet()), PAGE) == source.page


def test_with_sev_a_counterfeit_machine_gets_nothing() -> None:
    counterfeit = Bench(amd="a forger")
    assert Source(policy(SEV)).refused(counterfeit.export()) is MALFORMED


def test_a_root_can_be_made_known_as_amds() -> None:
    source, target = (
        Source(policy(SEV), trusts=frozenset({"AMD", "its other root"})),
        Bench(amd="its other root"),
    )
    handle = arriving(source, target)
    assert target.plaintext(handle, receive(target, handle, source.packet()), PAGE) == source.page


AMD_SIGNATURE = 0x40 + 2 * 256
SEV_REFUSALS = {
    "an ARK that did not sign itself": ("ark", AMD_SIGNATURE, SIGNATURE),
    "another ARK": ("ark", 0x40 + 256 + 8, MALFORMED),
    "an ASK that the ARK did not sign": ("ask", AMD_SIGNATURE, SIGNATURE),
    "an ASK of another version": ("ask", 0, MALFORMED),
    "an ASK that names another ARK": ("ask", 0x14, SIGNATURE),
    "a CEK that the ASK did not sign": ("cek", 0x41C, SIGNATURE),
    "a CEK with another usage": ("cek", 0x008, MALFORMED),
    "a PEK that the CEK did not sign": ("pek", 0x624, SIGNATURE),
    "a PEK of another version": ("pek", 0x000, MALFORMED),
    "a PDH that the PEK did not sign": ("pdh", 0x41C, SIGNATURE),
    "a PDH with another API version": ("pdh", 0x005, SIGNATURE),
    "a PDH with another usage": ("pdh", 0x008, MALFORMED),
}


@pytest.mark.parametrize("name", SEV_REFUSALS)
def test_with_sev_the_chain_is_verified_to_the_root(name: str) -> None:
    part, at, status = SEV_REFUSALS[name]
    target = Bench().export()
    altered = replace(target, **{part: flip(getattr(target, part), at)})
    assert Source(policy(SEV)).refused(altered) is status


def test_with_sev_no_part_of_the_chain_is_another_machines() -> None:
    source, target, other = Source(policy(SEV)), Bench().export(), Bench().export()
    for part in ("pdh", "pek", "cek"):
        assert source.refused(replace(target, **{part: getattr(other, part)})) is SIGNATURE
    assert source.refused(replace(target, ask=target.ark, ark=target.ask)) is MALFORMED
    unsigned = target.cek[:0x414] + 2 * ((0x1000).to_bytes(4, "little") + bytes(516))
    assert source.refused(replace(target, cek=unsigned)) is SIGNATURE  # as exported, without AMD's signature


def test_the_owner_of_the_target_does_not_matter_to_sev() -> None:
    target = Bench()
    OwnerAuthority().take(target)
    arriving(Source(policy(SEV)), target)


def test_with_domain_a_guest_stays_with_its_owner() -> None:
    owner, stranger = OwnerAuthority(), OwnerAuthority()
    machines = [Bench() for _ in range(4)]
    for machine, authority in zip(machines[:3], (owner, owner, stranger), strict=True):
        authority.take(machine)
    source = Source(policy(DOMAIN), owner)
    same, again, other, nobodys = machines
    assert source.refused(other.export()) is POLICY
    assert source.refused(nobodys.export()) is POLICY
    handle = arriving(source, same)
    assert same.plaintext(handle, receive(same, handle, source.packet()), PAGE) == source.page
    source.bench.ok(Command.SEND_CANCEL, handle=source.handle)
    target = again.export()
    for part, at in (("oca", 0x41C), ("oca", 0x004)):  # equal in content is not equal
        assert source.refused(replace(target, **{part: flip(getattr(target, part), at)})) is POLICY
    for part in ("pek", "pdh"):
        assert source.refused(replace(target, **{part: flip(getattr(target, part), 0x41C)})) is SIGNATURE
        assert source.refused(replace(target, **{part: getattr(other.export(), part)})) is SIGNATURE


def test_domain_alone_asks_for_no_chain_of_amds() -> None:
    owner, target = OwnerAuthority(), Bench(amd="a forger")
    owner.take(target)
    source = Source(policy(DOMAIN), owner)
    exported = target.export()
    assert source.refused(exported, plat_certs_len=CHAIN - 1) is LENGTH
    source.bench.ok(
        Command.SEND_START, **{**send_fields(source.bench, source.handle, exported), "amd_certs_len": 0}
    )


def test_domain_and_sev_ask_for_both() -> None:
    owner, stranger = OwnerAuthority(), OwnerAuthority()
    forged, foreign, fine = Bench(amd="a forger"), Bench(), Bench()
    for machine, authority in ((forged, owner), (foreign, stranger), (fine, owner)):
        authority.take(machine)
    source = Source(policy(DOMAIN | SEV), owner)
    assert source.refused(forged.export()) is MALFORMED
    assert source.refused(foreign.export()) is POLICY
    source.start(fine)


# Downgrade


@pytest.mark.parametrize("old", [SevVersion(1, 54, 99), SevVersion(0, 24, 15)])
def test_a_guest_is_not_sent_to_older_firmware_than_its_policy_allows(old: SevVersion) -> None:
    source = Source(policy(SEV, 1, 55))
    assert source.refused(Bench(version=old).export()) is POLICY
    source.start(Bench(version=replace(VERSION, build=0)))  # builds are not in a policy


def test_older_firmware_does_not_receive_it_either() -> None:
    source, old = Source(policy(0, 1, 55)), Bench(version=SevVersion(1, 54, 99))
    fields = receive_fields(old, source.pdh, source.start(old), source.bits)
    assert old.refused(Command.RECEIVE_START, **fields) is POLICY


def test_a_policy_is_not_weakened_on_the_way() -> None:
    source, target = Source(policy(ES | 1)), Bench()
    session = source.start(target)
    for bits in (policy(0), policy(1), policy(ES), policy(ES | 1 | SEV)):
        fields = receive_fields(target, source.pdh, session, bits)
        assert target.refused(Command.RECEIVE_START, **fields) is MAC
    receive_start(target, source.pdh, session, source.bits)


def test_an_es_guest_is_not_received_without_es() -> None:
    source, target = Source(policy(ES)), Bench(init={})
    fields = receive_fields(target, source.pdh, source.start(target), source.bits)
    assert target.refused(Command.RECEIVE_START, **fields) is SevStatus.UNSUPPORTED
