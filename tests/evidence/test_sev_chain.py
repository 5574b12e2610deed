"""SEV's chains: each field of each real certificate altered, and each wrong way to make one. All refused."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.evidence.mutations import positions
from tests.evidence.soak import SOAK
from tests.evidence.vectors import SEV_CHAINS, SEV_PARTS, needs_vectors, sev_chain
from wasmkeep.evidence import Policy, Rejected
from wasmkeep.evidence.errors import Kind
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.sev import certificate
from wasmkeep.evidence.sev.certificate import (
    EMPTY_SLOT,
)
from wasmkeep.evidence.sev.chain import PlatformCertificates, authenticate

SEV_CERTIFICATES = ("cek", "pek", "oca", "pdh")
AUTHORITIES = ("ark", "ask")


def refusal(certificates: PlatformCertificates, policy: Policy | None = None) -> Rejected:
    """Why a chain is refused; fails where it is accepted."""
    roots = AMD_ROOTS if policy is None else policy.roots
    with pytest.raises(Rejected) as caught:
        authenticate(certificates, roots)
    return caught.value


def with_part(name: str, part: str, data: bytes) -> PlatformCertificates:
    return replace(sev_chain(name), **{part: data})


def flipped(data: bytes, at: int, mask: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= mask
    return bytes(changed)


CHAIN = "sev.chain.*"
"""The check that names the certificate itself."""
FIELDS: dict[str, tuple[int, int, str]] = {
    # field: (offset, bits to flip, the check that refuses)
    "version": (0x000, 0x02, "sev.certificate.version"),
    "version, high byte": (0x003, 0x80, "sev.certificate.version"),
    "API major": (0x004, 0x01, CHAIN),
    "API minor": (0x005, 0x01, CHAIN),
    "reserved": (0x006, 0x01, "sev.certificate.reserved"),
    "reserved, last byte": (0x007, 0x80, "sev.certificate.reserved"),
    "usage": (0x00A, 0x01, "sev.certificate.usage"),
    "algorithm": (0x00D, 0x08, "sev.certificate.algorithm"),
    "curve P-256": (0x010, 0x03, "sev.certificate.key"),
    "curve unknown": (0x013, 0x01, "sev.certificate.key"),
    "x": (0x014, 0x01, "sev.certificate.key"),
    "x, padding": (0x014 + 48, 0x01, "sev.certificate.key"),
    "y": (0x05C, 0x01, "sev.certificate.key"),
    "y, last byte": (0x05C + 71, 0x01, "sev.certificate.key"),
    "key, padding": (0x0A4, 0x01, "sev.certificate.key"),
    "key, last byte": (0x413, 0x80, "sev.certificate.key"),
    "slot 1 usage, ARK": (0x415, 0x10, "sev.certificate.slot"),
    "slot 1 usage, unknown": (0x416, 0x01, "sev.certificate.slot"),
    "slot 1 algorithm": (0x41A, 0x01, "sev.certificate.slot"),
    "signature 1": (0x41C, 0x01, CHAIN),
    "slot 2 usage": (0x61E, 0x01, "sev.certificate.slot"),
    "slot 2 algorithm": (0x622, 0x01, "sev.certificate.slot"),
}
ECDSA_FIELDS = {
    "r, padding": (0x41C + 48, 0x01, CHAIN),
    "s": (0x41C + 72, 0x01, CHAIN),
    "s, padding": (0x41C + 143, 0x80, CHAIN),
    "signature 1, padding": (0x41C + 144, 0x01, "sev.certificate.slot"),
    "signature 1, last byte": (0x61B, 0x01, "sev.certificate.slot"),
}
EMPTY_FIELDS = {
    "empty signature": (0x624, 0x01, "sev.certificate.slot"),
    "empty signature, last byte": (0x823, 0x80, "sev.certificate.slot"),
}
SECOND_FIELDS = {
    "signature 2": (0x624, 0x01, CHAIN),
    "s of signature 2": (0x624 + 72, 0x01, CHAIN),
    "signature 2, padding": (0x823, 0x80, "sev.certificate.slot"),
}
AUTHORITY_FIELDS: dict[str, tuple[int, int, str]] = {
    "version": (0x00, 0x02, "sev.ca-certificate.version"),
    "key id": (0x04, 0x01, CHAIN),
    "key id, last byte": (0x13, 0x80, CHAIN),
    "certifying key id": (0x14, 0x01, CHAIN),
    "usage": (0x24, 0x01, "sev.ca-certificate.usage"),
    "reserved": (0x28, 0x01, "sev.ca-certificate.reserved"),
    "reserved, last byte": (0x37, 0x80, "sev.ca-certificate.reserved"),
    "bits of the exponent": (0x39, 0x01, "sev.ca-certificate.key"),
    "bits of the modulus": (0x3D, 0x01, "sev.ca-certificate.key"),
    "exponent": (0x40, 0x02, "sev.ca-certificate.key"),
    "exponent, padding": (0x43, 0x01, "sev.ca-certificate.key"),
}


def fields_of(part: str) -> dict[str, tuple[int, int, str]]:
    if part == "cek":
        return FIELDS | EMPTY_FIELDS
    return FIELDS | ECDSA_FIELDS | (SECOND_FIELDS if part == "pek" else EMPTY_FIELDS)


@needs_vectors
@pytest.mark.parametrize("name", SEV_CHAINS)
@pytest.mark.parametrize(
    ("part", "field"), [(part, field) for part in SEV_CERTIFICATES for field in fields_of(part)]
)
def test_each_field_of_a_certificate(name: str, part: str, field: str) -> None:
    at, mask, check = fields_of(part)[field]
    error = refusal(with_part(name, part, flipped(getattr(sev_chain(name), part), at, mask)))
    assert error.check == check.replace("*", part)
    assert error.exit_code == 77


@needs_vectors
@pytest.mark.parametrize("name", SEV_CHAINS)
@pytest.mark.parametrize("part", AUTHORITIES)
@pytest.mark.parametrize("field", AUTHORITY_FIELDS)
def test_each_field_of_an_authority(name: str, part: str, field: str) -> None:
    at, mask, check = AUTHORITY_FIELDS[field]
    error = refusal(with_part(name, part, flipped(getattr(sev_chain(name), part), at, mask)))
    # The ARK's key id decides whether the ARK names itself; nothing above it is named by another.
    assert error.check == check.replace("*", part)


@needs_vectors
@pytest.mark.parametrize("name", SEV_CHAINS)
def test_keys_and_signatures_of_authorities(name: str) -> None:
    certificates = sev_chain(name)
    size = (len(certificates.ark) - 0x40) // 3
    at_modulus, at_signature = 0x40 + size, 0x40 + 2 * size
    for part, check in (("ark", "sev.root"), ("ask", "sev.chain.ask")):
        data = getattr(certificates, part)
        changed = flipped(data, at_modulus + 7, 0x10)
        assert refusal(with_part(name, part, changed)).check == check
        even = flipped(data, at_modulus, 0x01)
        assert refusal(with_part(name, part, even)).check == "sev.ca-certificate.key"
        short = flipped(data, at_signature - 1, 0x80)
        assert refusal(with_part(name, part, short)).check == "sev.ca-certificate.key"
        for at in (at_signature, len(data) - 1):
            assert refusal(with_part(name, part, flipped(data, at, 0x01))).check == f"sev.chain.{part}"


@needs_vectors
def test_the_padding_of_a_short_rsa_signature() -> None:
    """Naples' ASK signs with 256 bytes; the other half of the slot is zero."""
    cek = sev_chain("naples").cek
    for at in (0x41C + 255, 0x41C + 256, 0x61B):
        assert refusal(with_part("naples", "cek", flipped(cek, at, 0x01))).check == "sev.chain.cek"


@needs_vectors
@pytest.mark.parametrize("name", SEV_CHAINS)
@pytest.mark.parametrize("part", SEV_PARTS)
def test_any_byte(name: str, part: str) -> None:
    """No byte of any certificate is free."""
    data = getattr(sev_chain(name), part)
    for at in positions(len(data), 24, f"{name}{part}"):
        check = refusal(with_part(name, part, flipped(data, at, 1 << at % 8))).check
        assert check.startswith(("sev.certificate.", "sev.ca-certificate.", "sev.chain.", "sev.root")), (
            at,
            check,
        )


@needs_vectors
@pytest.mark.parametrize("part", SEV_PARTS)
def test_truncated_and_extended(part: str) -> None:
    kind = "ca-certificate" if part in AUTHORITIES else "certificate"
    data = getattr(sev_chain("milan"), part)
    for wrong in (b"", data[:-1], data + b"\0", data * 2):
        assert refusal(with_part("milan", part, wrong)).check == f"sev.{kind}.size"


@needs_vectors
@pytest.mark.parametrize("name", SEV_CHAINS)
def test_noise_never_escapes_as_another_error(name: str) -> None:
    generator = random.Random(name)
    for _ in range(400 if SOAK else 16):
        part = generator.choice(SEV_PARTS)
        data = bytearray(getattr(sev_chain(name), part))
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(data))
            data[at : at + generator.randint(0, 3)] = generator.randbytes(generator.randint(0, 3))
        if bytes(data) != getattr(sev_chain(name), part):
            assert refusal(with_part(name, part, bytes(data))).check.startswith("sev.")


@needs_vectors
@pytest.mark.parametrize("name", SEV_CHAINS)
@pytest.mark.parametrize("part", ["cek", "pek", "oca", "pdh"])
def test_slots_may_be_swapped(name: str, part: str) -> None:
    """Nobody signs the slots: which of them holds which signature says nothing."""
    one = certificate.parse(getattr(sev_chain(name), part), part)
    swapped = replace(one, slots=(one.slots[1], one.slots[0]))
    assert authenticate(with_part(name, part, swapped.encode()), AMD_ROOTS).generation == name.capitalize()


@needs_vectors
def test_certificates_of_another_platform() -> None:
    naples = sev_chain("naples")
    checks = {
        "ark": "sev.chain.ask",
        "ask": "sev.chain.ask",
        "cek": "sev.chain.cek",
        "pek": "sev.chain.pek",
        "oca": "sev.chain.pek",
        "pdh": "sev.chain.pdh",
    }
    for part, check in checks.items():
        assert refusal(with_part("milan", part, getattr(naples, part))).check == check


@needs_vectors
def test_certificates_in_another_place() -> None:
    chain_ = sev_chain("milan")
    for one, other in (("pek", "pdh"), ("cek", "pek"), ("oca", "cek"), ("ark", "ask")):
        swapped = replace(chain_, **{one: getattr(chain_, other), other: getattr(chain_, one)})
        error = refusal(swapped)
        assert (error.check, error.kind) == ("sev.chain.order", Kind.MALFORMED)
        assert refusal(replace(chain_, **{one: getattr(chain_, other)})).check == "sev.chain.order"


@needs_vectors
def test_the_cek_that_a_platform_exports_is_not_signed_by_amd() -> None:
    cek = certificate.parse(sev_chain("milan").cek, "CEK")
    error = refusal(with_part("milan", "cek", replace(cek, slots=(EMPTY_SLOT, EMPTY_SLOT)).encode()))
    assert error.check == "sev.chain.cek"
    assert "kdsintf.amd.com/cek/id" in error.remedy
