"""The tenant's half of a launch on SEV and SEV-ES: each rule of `PreAttestedLaunch`, and its messages."""

from __future__ import annotations

import gc
import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.firmware_half import BUILD, POLICIES, POLICY, FirmwareHalf, proven
from wasmkeep.errors import SessionError
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.session import LaunchKeys, SessionRefused
from wasmkeep.protocol import pre_attested, slot
from wasmkeep.protocol.pre_attested import (
    FRESH_SIZE,
    Drawn,
    FreshLaunch,
    LaunchMessage,
    LaunchState,
    MeasurementMessage,
    PreAttestedLaunch,
    SecretMessage,
)

TEES = ("sev", "sev-es")


def fresh() -> FreshLaunch:
    return FreshLaunch.cut(ec.generate_private_key(ec.SECP384R1()), os.urandom(FRESH_SIZE))


def begun(chip: FirmwareHalf, tee: str = "sev") -> PreAttestedLaunch:
    return PreAttestedLaunch(tee=tee, platform=chip.platform, policy=POLICIES[tee], fresh=fresh())


def measured(chip: FirmwareHalf, tee: str = "sev") -> tuple[PreAttestedLaunch, MeasurementMessage]:
    launch = begun(chip, tee)
    return launch, launch.receive_measurement(chip.launch(launch.begin()))


@pytest.mark.parametrize("tee", TEES)
def test_a_whole_launch(tee: str) -> None:
    chip = FirmwareHalf()
    launch, said = measured(chip, tee)
    assert said.measurement == chip.measured.encode()
    packet = chip.secret(launch.accept(proven(launch, said)))
    assert slot.launch_secret(packet, tee) == launch.launch_secret
    assert slot.proof_key(launch.launch_secret) == launch.proof_key
    assert (launch.tik, launch.policy, launch.tee) == (chip.keys.tik, POLICIES[tee], tee)
    assert launch.state is LaunchState.DELIVERED


def test_sizes_are_those_of_the_document() -> None:
    chip = FirmwareHalf()
    launch = begun(chip)
    first = launch.begin()
    second = chip.launch(first)
    third = launch.accept(proven(launch, launch.receive_measurement(second)))
    sizes = pre_attested.LAUNCH_SIZE, pre_attested.MEASUREMENT_SIZE, pre_attested.SECRET_SIZE
    assert (len(first), len(second), len(third)) == sizes == (2216, 52, 180)
    assert LaunchMessage.parse(first).encode() == first
    assert MeasurementMessage.parse(second).encode() == second
    assert SecretMessage.parse(third).encode() == third


# Messages.


@pytest.mark.parametrize(
    ("kind", "size", "check"),
    [
        (LaunchMessage, pre_attested.LAUNCH_SIZE, "session.launch-message"),
        (MeasurementMessage, pre_attested.MEASUREMENT_SIZE, "session.measurement-message"),
        (SecretMessage, pre_attested.SECRET_SIZE, "session.secret-message"),
    ],
)
def test_messages_have_one_size(
    kind: type[LaunchMessage | MeasurementMessage | SecretMessage], size: int, check: str
) -> None:
    assert kind.parse(bytes(size)).encode() == bytes(size)
    for other in (0, 1, size - 1, size + 1, 2 * size):
        with pytest.raises(SessionError) as refused:
            kind.parse(bytes(other))
        assert refused.value.check == check


def test_a_reserved_byte_of_the_measurement_is_zero() -> None:
    message = bytearray(pre_attested.MEASUREMENT_SIZE)
    message[3] = 1
    with pytest.raises(SessionError):
        MeasurementMessage.parse(bytes(message))


# Nothing a host alters passes.


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_altered_launch_message_starts_a_launch(data: st.DataObject) -> None:
    """Or it is one whose change says nothing: the version in the owner's certificate."""
    chip = FirmwareHalf(FIXED)
    message = bytearray(begun(chip).begin())
    harmless = range(4 + 4, 4 + 6)
    bit = data.draw(st.integers(0, len(message) * 8 - 1).filter(lambda bit: bit // 8 not in harmless))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises((SessionRefused, Rejected)):
        chip.launch(bytes(message))


FIXED = ec.generate_private_key(ec.SECP384R1())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_altered_measurement_gets_a_secret(data: st.DataObject) -> None:
    chip = FirmwareHalf(FIXED)
    launch = begun(chip)
    message = bytearray(chip.launch(launch.begin()))
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises((SessionError, Rejected)):
        launch.accept(proven(launch, launch.receive_measurement(bytes(message))))
    with pytest.raises(RuntimeError):
        _ = launch.launch_secret


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_altered_packet_is_injected(data: st.DataObject) -> None:
    chip = FirmwareHalf(FIXED)
    launch, said = measured(chip)
    message = bytearray(launch.accept(proven(launch, said)))
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        chip.secret(bytes(message))


def test_a_recorded_launch_takes_no_recorded_packet() -> None:
    """The host launches again with what it recorded: the keys are the same, the firmware's nonce is not."""
    chip = FirmwareHalf()
    launch = begun(chip)
    first = launch.begin()
    packet = launch.accept(proven(launch, launch.receive_measurement(chip.launch(first))))
    chip.mnonce = b"N" * 16
    chip.launch(first)
    with pytest.raises(Rejected):
        chip.secret(packet)


def test_a_packet_of_another_launch_is_not_injected() -> None:
    chip = FirmwareHalf()
    launch, said = measured(chip)
    packet = launch.accept(proven(launch, said))
    measured(chip)
    with pytest.raises(Rejected):
        chip.secret(packet)


def test_another_chip_learns_nothing() -> None:
    launch = begun(FirmwareHalf())
    with pytest.raises(SessionRefused):
        FirmwareHalf().launch(launch.begin())


# The tenant's own rules.


@pytest.mark.parametrize(
    "change",
    [
        {"build": BUILD + 1},
        {"api_minor": 0},
        {"policy": GuestPolicy.decode(POLICIES["sev-es"])},
        {"digest": bytes(32)},
        {"measurement": None},
        {},
    ],
)
def test_a_secret_needs_a_verdict_on_this_launch(change: dict[str, object]) -> None:
    chip = FirmwareHalf(FIXED)
    foreign = proven(*measured(chip))
    launch, said = measured(chip)
    right = proven(launch, said)
    if "measurement" in change:
        change = {"measurement": foreign.measurement}
    wrong = replace(right, **change) if change else foreign  # type: ignore[arg-type]  # fields by name
    with pytest.raises(SessionError) as refused:
        launch.accept(wrong)
    assert refused.value.check == "session.unbound"
    assert launch.state is LaunchState.FAILED
    with pytest.raises(RuntimeError):
        launch.accept(right)


STEPS = ("begin", "measure", "accept")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=5))
def test_no_other_order_of_steps(order: list[str]) -> None:
    chip = FirmwareHalf(FIXED)
    good, said = measured(chip)
    verdict = proven(good, said)
    launch = begun(chip)
    done: list[str] = []
    try:
        for step in order:
            if step == "begin":
                answer = chip.launch(launch.begin())
            elif step == "measure":
                verdict = proven(launch, launch.receive_measurement(answer if done else said.encode()))
            else:
                launch.accept(verdict)
            done.append(step)
    except RuntimeError:
        pass
    assert tuple(done) == STEPS[: len(done)]


def test_one_packet_for_a_measurement_and_one_measurement_for_a_launch() -> None:
    chip = FirmwareHalf()
    launch, said = measured(chip)
    with pytest.raises(RuntimeError):
        launch.receive_measurement(said.encode())
    verdict = proven(launch, said)
    launch.accept(verdict)
    for again in (
        lambda: launch.accept(verdict),
        launch.begin,
        lambda: launch.receive_measurement(said.encode()),
    ):
        with pytest.raises(RuntimeError):
            again()


def test_a_malformed_measurement_ends_the_launch() -> None:
    chip = FirmwareHalf()
    launch = begun(chip)
    message = chip.launch(launch.begin())
    with pytest.raises(SessionError):
        launch.receive_measurement(message[:-1])
    assert launch.state is LaunchState.FAILED
    with pytest.raises(RuntimeError):
        launch.receive_measurement(message)


def test_what_was_drawn_serves_one_launch() -> None:
    drawn, chip = fresh(), FirmwareHalf()
    PreAttestedLaunch(tee="sev", platform=chip.platform, policy=POLICY, fresh=drawn)
    with pytest.raises(RuntimeError):
        PreAttestedLaunch(tee="sev", platform=chip.platform, policy=POLICY, fresh=drawn)


def test_everything_that_was_drawn_counts() -> None:
    """Each field comes from bytes of its own, and none is a constant."""
    key = ec.generate_private_key(ec.SECP384R1())
    zero = FreshLaunch.cut(key, bytes(FRESH_SIZE)).take()
    seen = set()
    for at in range(FRESH_SIZE):
        random = bytearray(FRESH_SIZE)
        random[at] = 1
        one = FreshLaunch.cut(key, bytes(random)).take()
        changed = {
            name
            for name, before, after in (
                ("nonce", zero.nonce, one.nonce),
                ("tek", zero.keys.tek, one.keys.tek),
                ("tik", zero.keys.tik, one.keys.tik),
                ("session_iv", zero.session_iv, one.session_iv),
                ("packet_iv", zero.packet_iv, one.packet_iv),
                ("packet", zero.packet, one.packet),
            )
            if before != after
        }
        assert len(changed) == 1
        seen |= changed
    assert len(seen) == 6


def test_after_the_packet_tek_owner_key_and_packet_are_forgotten() -> None:
    chip = FirmwareHalf()
    random = os.urandom(FRESH_SIZE)
    launch = PreAttestedLaunch(
        tee="sev",
        platform=chip.platform,
        policy=POLICY,
        fresh=FreshLaunch.cut(ec.generate_private_key(ec.SECP384R1()), random),
    )
    said = launch.receive_measurement(chip.launch(launch.begin()))
    launch.accept(proven(launch, said))
    held = gc.get_referents(launch)
    assert not [one for one in held if isinstance(one, Drawn | LaunchKeys | ec.EllipticCurvePrivateKey)]
    assert random[16:32] not in [one for one in held if isinstance(one, bytes)]  # TEK
    assert launch.tik == random[32:48]  # the control


def test_nothing_secret_is_printed() -> None:
    random = bytes(range(FRESH_SIZE))
    launched = FreshLaunch.cut(ec.generate_private_key(ec.SECP384R1()), random)
    text = repr(launched) + repr(launched.take())
    assert repr(random[16:32])[2:-1] not in text
    assert "tek" not in text


@pytest.mark.parametrize("missing", [GuestPolicyBit.NODBG, GuestPolicyBit.NOKS, GuestPolicyBit.NOSEND])
@pytest.mark.parametrize("tee", TEES)
def test_a_keep_is_launched_closed(tee: str, missing: GuestPolicyBit) -> None:
    with pytest.raises(ValueError, match="NODBG"):
        PreAttestedLaunch(
            tee=tee, platform=FirmwareHalf(FIXED).platform, policy=POLICIES[tee] & ~missing, fresh=fresh()
        )


@pytest.mark.parametrize(
    ("tee", "policy"), [("sev", POLICIES["sev-es"]), ("sev-es", POLICY), ("snp", POLICY)]
)
def test_a_keep_is_launched_as_what_it_is_called(tee: str, policy: int) -> None:
    with pytest.raises(ValueError, match=r"keep|ES"):
        PreAttestedLaunch(tee=tee, platform=FirmwareHalf(FIXED).platform, policy=policy, fresh=fresh())


def test_an_owners_key_is_on_p384() -> None:
    with pytest.raises(ValueError, match="P-384"):
        FreshLaunch.cut(ec.generate_private_key(ec.SECP256R1()), bytes(FRESH_SIZE))
    with pytest.raises(ValueError, match="random"):
        FreshLaunch.cut(FIXED, bytes(FRESH_SIZE - 1))
    with pytest.raises(ValueError, match="16 bytes"):
        FreshLaunch(Drawn(FIXED, bytes(15), LaunchKeys(bytes(16), bytes(16)), bytes(16), bytes(16), b""))


# The packet.


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=slot.RANDOM_SIZE, max_size=slot.RANDOM_SIZE))
def test_a_packet_is_made_of_symbols_and_tells_all_of_its_random_bits(random: bytes) -> None:
    packet = slot.slot_packet(random)
    assert len(packet) == slot.SLOT_PACKET_SIZE
    assert not packet.strip(slot.ALPHABET)
    assert all(byte % 2 == 0 for byte in packet)
    digits = [slot.ALPHABET.index(symbol) for symbol in packet[20:]]
    number = sum(digit << 3 * index for index, digit in enumerate(digits))
    assert number == int.from_bytes(random, "little") & (1 << 324) - 1


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_anything_but_a_packet_has_no_secret(data: st.DataObject) -> None:
    packet = bytearray(slot.slot_packet(bytes(slot.RANDOM_SIZE)))
    at = data.draw(st.integers(0, len(packet) - 1))
    packet[at] = data.draw(st.integers(0, 255))
    changed = bytes(packet) != slot.slot_packet(bytes(slot.RANDOM_SIZE))
    if at >= 20 and packet[at] in slot.ALPHABET:
        different = slot.launch_secret(bytes(packet), "sev") != slot.launch_secret(
            slot.slot_packet(bytes(slot.RANDOM_SIZE)), "sev"
        )
        assert different is changed
    elif changed:
        with pytest.raises(ValueError, match="packet"):
            slot.launch_secret(bytes(packet), "sev")


@pytest.mark.parametrize("size", [0, 40, 42])
def test_a_packet_takes_exactly_its_random_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="41"):
        slot.slot_packet(bytes(size))
