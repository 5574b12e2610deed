"""SEV's launch measurement and launch digest: each input altered, and another implementation as witness."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure.guest import calc_launch_digest  # type: ignore[import-untyped]  # no types; a witness only
from sevsnpmeasure.sev_mode import SevMode  # type: ignore[import-untyped]  # as above
from sevsnpmeasure.vmm_types import VMMType  # type: ignore[import-untyped]  # as above
from sevsnpmeasure.vmsa import VMSA  # type: ignore[import-untyped]  # as above

from tests.evidence.soak import SETTINGS
from tests.evidence.test_sev_session import flips
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.errors import Kind
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.firmware import MAX_VCPUS, firmware_digest, firmware_table, reset_vmsa
from wasmkeep.evidence.sev.measurement import (
    EMPTY_DIGEST,
    LaunchMeasurement,
    ProvenLaunch,
    kernel_hash_table,
    launch_digest,
    measure,
    verify_measurement,
)

TIK, MNONCE, DIGEST = bytes(range(1, 17)), bytes(range(16)), bytes(range(32))
POLICY = 0x1800000F
VERSION = (1, 55, 40)


def verify(
    measured: LaunchMeasurement,
    *digests: bytes,
    tik: bytes = TIK,
    version: tuple[int, int, int] = VERSION,
    policy: int = POLICY,
    minimum_api: tuple[int, int] = (0, 24),
    minimum_build: int = 0,
) -> ProvenLaunch:
    return verify_measurement(
        tik, measured, *version, policy, digests, minimum_api=minimum_api, minimum_build=minimum_build
    )


def refused(measured: LaunchMeasurement, *digests: bytes, **changes: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        verify(measured, *(digests or (DIGEST,)), **changes)  # type: ignore[arg-type]  # named arguments
    return caught.value


def measured_at(version: tuple[int, int, int] = VERSION, policy: int = POLICY) -> LaunchMeasurement:
    return LaunchMeasurement(measure(TIK, *version, policy, DIGEST, MNONCE), MNONCE)


# The measurement


def test_a_measurement_proves_one_of_the_digests() -> None:
    measured = measured_at()
    assert LaunchMeasurement.parse(measured.encode()) == measured
    for digests in ((DIGEST,), (bytes(32), DIGEST), (DIGEST, bytes(32))):
        launch = verify(measured, *digests)
        assert launch == ProvenLaunch(*VERSION, GuestPolicy.decode(POLICY), DIGEST, measured)


def test_every_input_of_the_measurement_counts() -> None:
    measured = measured_at()
    for value in flips(measured.measure):
        assert refused(replace(measured, measure=value)).check == "sev.measurement"
    for value in flips(MNONCE):
        assert refused(replace(measured, mnonce=value)).check == "sev.measurement"
    for value in flips(DIGEST):
        assert refused(measured, value).check == "sev.measurement"
    for value in flips(TIK):
        assert refused(measured, tik=value).check == "sev.measurement"
    for version in ((2, 55, 40), (1, 54, 40), (1, 56, 40), (1, 55, 41), (55, 1, 40)):
        assert refused(measured, version=version).check == "sev.measurement"
    for bit in (0, 1, 2, 3, 4, 5, 16, 23, 24, 31):
        error = refused(measured, policy=POLICY ^ 1 << bit)
        assert (error.check, error.kind) == ("sev.measurement", Kind.UNTRUSTED)


def test_no_digest_no_proof() -> None:
    with pytest.raises(Rejected) as caught:
        verify(measured_at())
    assert caught.value.check == "sev.measurement"


def test_a_launch_without_an_owner_proves_nothing() -> None:
    nobody = LaunchMeasurement(measure(bytes(16), *VERSION, POLICY, DIGEST, MNONCE), MNONCE)
    assert refused(nobody, tik=bytes(16)).check == "sev.measurement.tik"


@pytest.mark.parametrize("bit", range(6, 16))
def test_reserved_bits_of_the_policy(bit: int) -> None:
    policy = POLICY | 1 << bit
    error = refused(measured_at(policy=policy), policy=policy)
    assert (error.check, error.kind) == ("sev.policy.reserved", Kind.MALFORMED)


def test_old_firmware_is_refused_though_the_hmac_is_right() -> None:
    for version, checks in (
        ((0, 23, 255), ("sev.measurement.api",)),
        ((0, 23, 9), ("sev.measurement.api", "sev.measurement.build")),
        ((1, 55, 9), ("sev.measurement.build",)),
    ):
        error = refused(measured_at(version), version=version, minimum_build=10)
        assert error.checks == checks
        assert error.kind is Kind.REFUSED
    for version in ((0, 24, 10), (1, 0, 10), (1, 55, 255)):
        assert verify(measured_at(version), DIGEST, version=version, minimum_build=10).build == version[2]


def test_firmware_that_does_not_measure_its_version_is_refused_whatever_is_asked() -> None:
    version = (0, 16, 1)
    assert refused(measured_at(version), version=version, minimum_api=(0, 0)).check == "sev.measurement.api"
    assert verify(measured_at((0, 17, 1)), DIGEST, version=(0, 17, 1), minimum_api=(0, 0))


@pytest.mark.parametrize("size", [0, 32, 47, 49])
def test_the_size_of_a_measurement(size: int) -> None:
    with pytest.raises(Rejected) as caught:
        LaunchMeasurement.parse(bytes(size))
    assert caught.value.check == "sev.measurement.size"


# The guest policy


@SETTINGS
@given(st.integers(0, 0x3F), st.integers(0, 255), st.integers(0, 255))
def test_guest_policies_round_trip(bits: int, major: int, minor: int) -> None:
    policy = GuestPolicy(GuestPolicyBit(bits), (major, minor))
    value = policy.encode()
    assert value.to_bytes(4, "little") == bytes((bits, 0, major, minor))
    assert GuestPolicy.decode(value) == policy


def test_the_bits_have_their_places() -> None:
    names = ["NODBG", "NOKS", "ES", "NOSEND", "DOMAIN", "SEV"]
    assert [bit.name for bit in GuestPolicyBit] == names
    assert [int(bit) for bit in GuestPolicyBit] == [1 << at for at in range(6)]


@pytest.mark.parametrize("value", [-1, 1 << 32, 1 << 40])
def test_a_policy_has_32_bits(value: int) -> None:
    with pytest.raises(Rejected):
        GuestPolicy.decode(value)


# The launch digest


def test_the_digest_is_of_all_plaintext_in_order() -> None:
    one, other, vmsa = b"1" * 16, b"2" * 4096, b"3" * 4096
    whole = hashlib.sha256(one + other + vmsa).digest()
    assert launch_digest([one, memoryview(other)], [vmsa]) == whole
    assert launch_digest([one + other], [vmsa]) == whole, "regions leave no trace, nor do addresses"
    assert launch_digest([other, one], [vmsa]) != whole
    assert launch_digest([one, other]) != whole
    assert launch_digest([one, other], [vmsa, vmsa]) != whole
    assert launch_digest([]) == EMPTY_DIGEST == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(
    ("regions", "vmsas"), [([b""], []), ([bytes(15)], []), ([], [bytes(16)]), ([], [b""])]
)
def test_regions_that_the_firmware_would_not_take(regions: list[bytes], vmsas: list[bytes]) -> None:
    with pytest.raises(ValueError, match="bytes"):
        launch_digest(regions, vmsas)


HASH_AREA = "7255371f-3a3b-4b04-927b-1da6efa8d454"
AP_RESET = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"


def entry(guid: str, data: bytes) -> bytes:
    return data + (len(data) + 18).to_bytes(2, "little") + uuid.UUID(guid).bytes_le


def firmware(ap_reset: int = 0x80B004, size: int = 8192) -> bytes:
    """A small image in OVMF's shape: contents, table, reset vector."""
    area = (0x810C00).to_bytes(4, "little") + (0x400).to_bytes(4, "little")
    entries = entry(HASH_AREA, area) + entry(AP_RESET, ap_reset.to_bytes(4, "little"))
    table = entries + (len(entries) + 18).to_bytes(2, "little") + uuid.UUID(FOOTER).bytes_le
    return b"\x5a" * (size - 32 - len(table)) + table + bytes(range(32))


STARTS = st.integers(1, 2**32 - 1)  # the witness takes 0 for none


@SETTINGS
@given(
    st.sampled_from([(SevMode.SEV, 0), (SevMode.SEV_ES, 1), (SevMode.SEV_ES, 2), (SevMode.SEV_ES, 5)]),
    STARTS,
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_another_implementation_agrees(
    guest: tuple[SevMode, int], ap_reset: int, signature: int, booted: bool
) -> None:
    import tempfile

    mode, vcpus = guest
    image = firmware(ap_reset)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "firmware").write_bytes(image)
        (folder / "kernel").write_bytes(b"a kernel")
        (folder / "initrd").write_bytes(b"its files")
        files = [str(folder / "kernel"), str(folder / "initrd"), "console=ttyS0"] if booted else ["", "", ""]
        expected = calc_launch_digest(mode, vcpus, signature, str(folder / "firmware"), *files, 0)
    table = kernel_hash_table(b"a kernel", b"its files", b"console=ttyS0") if booted else b""
    assert firmware_digest(image, table, vcpus=vcpus, cpuid_signature=signature) == expected


@SETTINGS
@given(STARTS, st.integers(0, 2**32 - 1))
def test_another_implementations_register_states(start: int, signature: int) -> None:
    witness = VMSA(SevMode.SEV_ES, start, signature, 0, VMMType.QEMU)
    first, second = (bytes(page) for page in witness.pages(2))
    assert reset_vmsa(0xFFFFFFF0, signature) == first
    assert reset_vmsa(start, signature) == second


def test_the_number_of_vcpus_and_their_state_count() -> None:
    digests = {firmware_digest(firmware(), vcpus=count, cpuid_signature=1) for count in range(5)}
    assert len(digests) == 5
    assert firmware_digest(firmware(), vcpus=1, cpuid_signature=2) not in digests
    assert firmware_digest(firmware(4), vcpus=2, cpuid_signature=1) not in digests
    plain = firmware_digest(firmware())
    assert plain == firmware_digest(firmware(), cpuid_signature=7), "plain SEV measures no registers"
    for count in (-1, MAX_VCPUS + 1):
        with pytest.raises(ValueError, match="vCPUs"):
            firmware_digest(firmware(), vcpus=count)


def test_firmware_without_a_table() -> None:
    bare = bytes(4096)
    assert firmware_table(bare) == firmware_table(b"") == {}
    assert firmware_digest(bare) == firmware_digest(bare, vcpus=0) == hashlib.sha256(bare).digest()
    assert firmware_digest(bare, vcpus=1), "the first vCPU starts where every processor does"
    with pytest.raises(ValueError, match="SEV-ES"):
        firmware_digest(bare, vcpus=2)


@SETTINGS
@given(st.binary(min_size=50, max_size=50), st.integers(0, 0xFFFF))
def test_a_broken_table(noise: bytes, length: int) -> None:
    image = noise + length.to_bytes(2, "little") + uuid.UUID(FOOTER).bytes_le + bytes(32)
    try:
        table = firmware_table(image)
    except ValueError:
        return
    assert sum(len(data) + 18 for data in table.values()) == length - 18


def test_the_kernels_hash_table() -> None:
    table = kernel_hash_table(b"k", b"", b"c")
    assert len(table) == 176
    assert table[-8:] == bytes(8)
    assert hashlib.sha256(b"c\0").digest() in table, "the command line is hashed with its NUL"
    assert hashlib.sha256(b"").digest() in table, "no initial RAM disk is the hash of nothing"
    assert hashlib.sha256(b"k").digest() in table
