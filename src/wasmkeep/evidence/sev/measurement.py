"""The launch measurement: what the secure processor vouches for with the owner's TIK, and what it measured.

LAUNCH_MEASURE gives 48 bytes (S-6.5): MEASURE[32] ‖ MNONCE[16], where MEASURE is HMAC-SHA-256(TIK, 04h ‖ API
major ‖ API minor ‖ build ‖ policy u32 ‖ launch digest[32] ‖ MNONCE). It is an HMAC under a key that the owner
made, so it convinces the owner and nobody else.

The launch digest is SHA-256 over all plaintext in the order of launch, without addresses; then, for SEV-ES,
one 4096-byte VMSA a vCPU, in vCPU order.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wasmkeep.evidence.errors import Finding, Rejected
from wasmkeep.evidence.sev.bits import GuestPolicy, format_api
from wasmkeep.evidence.sev.findings import malformed, refused, untrusted

__all__ = [
    "DIGEST_SIZE",
    "EMPTY_DIGEST",
    "FIRST_API",
    "MEASUREMENT_SIZE",
    "LaunchMeasurement",
    "ProvenLaunch",
    "kernel_hash_table",
    "launch_digest",
    "measure",
    "too_old",
    "verify_measurement",
]

MEASUREMENT_SIZE = 48
DIGEST_SIZE = 32
EMPTY_DIGEST = hashlib.sha256().digest()
"""Of a guest that was launched with nothing in it."""
FIRST_API = (0, 17)
"""Older firmware measures neither its own version nor the policy: never accepted."""

_CONTEXT = b"\x04"
_PAGE_SIZE = 4096
_UNIT = 16
_SECTION = "AMD 55766, 6.5 LAUNCH_MEASURE"


@dataclass(frozen=True, slots=True)
class LaunchMeasurement:
    """MEASURE (32 bytes) and the firmware's MNONCE (16 bytes)."""

    measure: bytes
    mnonce: bytes

    def encode(self) -> bytes:
        return self.measure + self.mnonce

    @classmethod
    def parse(cls, data: bytes) -> LaunchMeasurement:
        """Raises `Rejected` ``sev.measurement.size``."""
        if len(data) != MEASUREMENT_SIZE:
            found, required = f"{len(data)} bytes", f"{MEASUREMENT_SIZE} bytes"
            message = "the launch measurement has a wrong size"
            raise malformed("measurement.size", message, found, required, _SECTION)
        return cls(data[:DIGEST_SIZE], data[DIGEST_SIZE:])


@dataclass(frozen=True, slots=True)
class ProvenLaunch:
    """A launch that a platform measured and this owner checked. Made by `verify_measurement` only."""

    api_major: int
    api_minor: int
    build: int
    policy: GuestPolicy
    digest: bytes
    measurement: LaunchMeasurement


def measure(
    tik: bytes, api_major: int, api_minor: int, build: int, policy: int, digest: bytes, mnonce: bytes
) -> bytes:
    """MEASURE, 32 bytes, of API 0.17 and later."""
    version = bytes((api_major, api_minor, build))
    message = _CONTEXT + version + policy.to_bytes(4, "little") + digest + mnonce
    return hmac.digest(tik, message, "sha256")


def verify_measurement(
    tik: bytes,
    measurement: LaunchMeasurement,
    api_major: int,
    api_minor: int,
    build: int,
    policy: int,
    digests: Iterable[bytes],
    *,
    minimum_api: tuple[int, int] = FIRST_API,
    minimum_build: int = 0,
) -> ProvenLaunch:
    """That a platform launched one of ``digests`` (32 bytes each) under ``policy`` (u32) and this firmware.

    Raises `Rejected`: ``sev.measurement.tik`` (zeros, as of a launch without an owner),
    ``sev.policy.reserved``, ``sev.measurement`` (the HMAC fits none of the digests: another launch, firmware,
    policy or key), ``sev.measurement.api``, ``sev.measurement.build`` (genuine, and older than the minimum).
    """
    if not any(tik):
        message = "the launch has no owner: its measurement proves nothing"
        raise Rejected(refused("measurement.tik", message, "a TIK of zeros", "the owner's TIK", _SECTION))
    decoded = GuestPolicy.decode(policy)
    found: bytes | None = None
    for digest in digests:
        expected = measure(tik, api_major, api_minor, build, policy, digest, measurement.mnonce)
        if hmac.compare_digest(expected, measurement.measure):
            found = digest
    if found is None:
        raise Rejected(_wrong(measurement))
    old = list(too_old((api_major, api_minor), build, max(minimum_api, FIRST_API), minimum_build))
    if old:
        raise Rejected(*old)
    return ProvenLaunch(api_major, api_minor, build, decoded, found, measurement)


def launch_digest(regions: Iterable[bytes | memoryview], vmsas: Iterable[bytes | memoryview] = ()) -> bytes:
    """The launch digest, 32 bytes, of regions in order of launch and one VMSA a vCPU. ``ValueError`` for a
    region that LAUNCH_UPDATE_DATA would not take (a multiple of 16 bytes, not none) and for a VMSA of another
    size than 4096 bytes."""
    digest = hashlib.sha256()
    for region in regions:
        if not len(region) or len(region) % _UNIT:
            raise ValueError("a launch region is a positive multiple of 16 bytes")
        digest.update(region)
    for vmsa in vmsas:
        if len(vmsa) != _PAGE_SIZE:
            raise ValueError("a VMSA has 4096 bytes")
        digest.update(vmsa)
    return digest.digest()


_TABLE_GUID = uuid.UUID("9438d606-4f22-4cc9-b479-a793d411fd21")
_CMDLINE_GUID = uuid.UUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
_INITRD_GUID = uuid.UUID("44baf731-3a2f-4bd7-9af1-41e29169781d")
_KERNEL_GUID = uuid.UUID("4de79437-abd2-427f-b835-d5b172d2045b")
_ENTRY_SIZE = 16 + 2 + DIGEST_SIZE
_TABLE_SIZE = 16 + 2 + 3 * _ENTRY_SIZE


def kernel_hash_table(kernel: bytes, initrd: bytes = b"", cmdline: bytes = b"") -> bytes:
    """The 176 bytes that QEMU launches after a firmware for ``kernel-hashes=on``: SHA-256 of the command line
    (with a NUL), the initial RAM disk (of nothing where there is none) and the kernel."""
    table = _TABLE_GUID.bytes_le + _TABLE_SIZE.to_bytes(2, "little")
    for guid, contents in ((_CMDLINE_GUID, cmdline + b"\0"), (_INITRD_GUID, initrd), (_KERNEL_GUID, kernel)):
        table += guid.bytes_le + _ENTRY_SIZE.to_bytes(2, "little") + hashlib.sha256(contents).digest()
    return table + bytes(-len(table) % _UNIT)


def _wrong(measurement: LaunchMeasurement) -> Finding:
    return untrusted(
        "measurement",
        "the launch measurement is of no launch that you accept",
        measurement.measure.hex(),
        "an HMAC under this launch's TIK of an accepted digest, and of the version and policy stated",
        _SECTION,
        meaning="the host launched something else, altered what it says of it, or replays another launch",
        advice="compare `wasmkeep image measure`, or ask the host's operator which image it serves",
    )


def too_old(
    api: tuple[int, int], build: int, minimum_api: tuple[int, int], minimum_build: int
) -> Iterator[Finding]:
    """What a proven version falls short of: ``sev.measurement.api``, ``sev.measurement.build``."""
    advice = "the host's operator must update its firmware"
    meaning = "known holes in this firmware are open"
    if api < minimum_api:
        message = "the platform's SEV API is older than you accept"
        yield refused(
            "measurement.api",
            message,
            format_api(api),
            f"≥ {format_api(minimum_api)}",
            _SECTION,
            meaning=meaning,
            advice=advice,
        )
    if build < minimum_build:
        message = "the platform's SEV firmware is older than you accept"
        yield refused(
            "measurement.build",
            message,
            f"build {build}",
            f"≥ {minimum_build}",
            _SECTION,
            meaning=meaning,
            advice=advice,
        )
