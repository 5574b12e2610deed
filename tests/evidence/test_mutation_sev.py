"""Every accepted real SEV chain and measurement, mutated: all refused, and by nothing but `Rejected`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.evidence.mutations import bounded, flipped, positions, refusal
from tests.evidence.vectors import (
    SEV_CHAINS,
    SEV_PARTS,
    needs_vectors,
    sev_chain,
    sev_expected,
    sev_vectors,
)
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.sev import chain, measurement
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.sev.measurement import LaunchMeasurement
from wasmkeep.evidence.snp import signatures

pytestmark = needs_vectors

_SLOTS = {"cek": (0x41C,), "oca": (0x41C,), "pek": (0x41C, 0x624), "pdh": (0x41C,)}
_COMPONENT = 72
_ACCEPTED = [
    name.partition("#")[2]
    for name, expected in sev_expected().items()
    if name.startswith("launch-measurement#") and expected["hmac_valid"]
]


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with bounded():
        yield


def refused(certificates: PlatformCertificates) -> str:
    """The first check that refuses; fails when the platform is accepted."""
    return refusal(lambda: chain.authenticate(certificates, AMD_ROOTS))[0]


def with_part(certificates: PlatformCertificates, part: str, data: bytes) -> PlatformCertificates:
    return replace(certificates, **{part: data})


@pytest.mark.parametrize("part", SEV_PARTS)
@pytest.mark.parametrize("name", SEV_CHAINS)
def test_every_byte(name: str, part: str) -> None:
    own = sev_chain(name)
    data = getattr(own, part)
    for position in positions(len(data), 60, f"{name}{part}"):
        check = refused(with_part(own, part, flipped(data, position)))
        assert check.startswith(("sev.certificate.", "sev.ca-certificate.", "sev.chain.", "sev.root"))


@pytest.mark.parametrize("part", SEV_PARTS)
@pytest.mark.parametrize("name", SEV_CHAINS)
def test_truncated_extended_and_of_others(name: str, part: str) -> None:
    own = sev_chain(name)
    data = getattr(own, part)
    for wrong in (b"", data[:-1], data[:4], data + b"\0", b"\0" + data, data * 2, data * 2000):
        assert refused(with_part(own, part, wrong)).endswith("certificate.size")
    for other in SEV_CHAINS:
        for another in SEV_PARTS:
            replacement = getattr(sev_chain(other), another)
            if replacement != data:
                assert refused(with_part(own, part, replacement)).startswith("sev.")


@pytest.mark.parametrize("part", _SLOTS)
@pytest.mark.parametrize("name", SEV_CHAINS)
def test_signatures_out_of_range(name: str, part: str) -> None:
    """An ECDSA signature with r or s zero or not below the order."""
    own = sev_chain(name)
    data = getattr(own, part)
    for slot in _SLOTS[part]:
        for start in (slot, slot + _COMPONENT):
            for value in (0, signatures.ORDER, signatures.ORDER + 1, (1 << 8 * _COMPONENT) - 1):
                spoilt = bytearray(data)
                spoilt[start : start + _COMPONENT] = value.to_bytes(_COMPONENT, "little")
                assert refused(with_part(own, part, bytes(spoilt))).startswith(("sev.chain.", "sev.cert"))


@pytest.mark.parametrize("identifier", _ACCEPTED)
def test_every_byte_of_a_measurement(identifier: str) -> None:
    entry = sev_vectors("launch-measurement")[identifier]
    inputs = entry["inputs"]
    tik, digest, mnonce = (bytes.fromhex(inputs[name]) for name in ("tik", "launch_digest", "mnonce"))
    version = inputs["api_major"], inputs["api_minor"], inputs["build_id"]
    right = bytes.fromhex(entry["expected"]["measurement_hmac"]) + mnonce

    def judge(measured: bytes, policy: int, of: bytes, key: bytes = tik) -> str:
        return refusal(
            lambda: measurement.verify_measurement(
                key, LaunchMeasurement.parse(measured), *version, policy, [of]
            )
        )[0]

    for position in range(len(right)):
        assert judge(flipped(right, position), inputs["policy"], digest) == "sev.measurement"
    for position in range(len(digest)):
        assert judge(right, inputs["policy"], flipped(digest, position)) == "sev.measurement"
    for position in range(len(tik)):
        assert judge(right, inputs["policy"], digest, flipped(tik, position)) == "sev.measurement"
    for bit in range(32):
        assert judge(right, inputs["policy"] ^ 1 << bit, digest).startswith(("sev.measurement", "sev.policy"))
    for measured in (b"", right[:-1], right + b"\0", right * 2):
        assert judge(measured, inputs["policy"], digest).startswith("sev.measurement")
