"""ID block and authentication: each broken rule has its status, in the firmware's order."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.simulator.bench import POLICY, Bench
from wasmkeep.evidence.snp import id_block as verifier
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.guest import GuestContext
from wasmkeep.simulator.states import GuestState
from wasmkeep.simulator.status import Refused

ID_KEY = ec.derive_private_key(11, ec.SECP384R1())
AUTHOR_KEY = ec.derive_private_key(12, ec.SECP384R1())


def encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    point = numbers.x.to_bytes(72, "little") + numbers.y.to_bytes(72, "little")
    return (struct.pack("<I", 2) + point).ljust(1028, b"\0")


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA384())))
    return (r.to_bytes(72, "little") + s.to_bytes(72, "little")).ljust(512, b"\0")


def block(digest: bytes, *, policy: int = POLICY, version: int = 1, svn: int = 7) -> bytes:
    return struct.pack("<48s16s16sIIQ", digest, b"F" * 16, b"I" * 16, version, svn, policy)


def authentication(
    signed: bytes, *, author: bool = False, spoil: Callable[[bytearray], None] | None = None
) -> bytes:
    page = bytearray(4096)
    struct.pack_into("<II", page, 0, 1, int(author))
    page[0x040:0x240] = sign(ID_KEY, signed)
    page[0x240 : 0x240 + 1028] = encode_key(ID_KEY)
    if author:
        page[0x680:0x880] = sign(AUTHOR_KEY, encode_key(ID_KEY))
        page[0x880 : 0x880 + 1028] = encode_key(AUTHOR_KEY)
    if spoil is not None:
        spoil(page)
    return bytes(page)


def put(offset: int, value: bytes) -> Callable[[bytearray], None]:
    def spoil(page: bytearray) -> None:
        page[offset : offset + len(value)] = value

    return spoil


def finish(bench: Bench, guest: GuestContext, signed: bytes, auth: bytes, *, author: bool = False) -> None:
    bench.finish(guest, id_block=signed, id_auth=auth, auth_key_en=author)


@pytest.mark.parametrize("author", [False, True])
def test_a_correct_block_is_taken_into_the_guests_identity(author: bool) -> None:
    bench = Bench()
    guest = bench.updated()
    signed = block(guest.launch_digest)
    auth = authentication(signed, author=author)
    verifier.verify(signed, auth)  # the verifier's own reading agrees
    finish(bench, guest, signed, auth, author=author)
    identity = guest.id_block
    assert (identity.family_id, identity.image_id, identity.guest_svn) == (b"F" * 16, b"I" * 16, 7)
    assert identity.id_key_digest == hashlib.sha384(encode_key(ID_KEY)).digest()
    expected = hashlib.sha384(encode_key(AUTHOR_KEY)).digest() if author else bytes(48)
    assert identity.author_key_digest == expected
    assert identity.author_key_en is author


def flip(offset: int) -> Callable[[bytearray], None]:
    def spoil(page: bytearray) -> None:
        page[offset] ^= 1

    return spoil


SPOILT: dict[str, tuple[dict[str, int], Callable[[bytearray], None] | None, bool, SevStatus]] = {
    "another policy": ({"policy": POLICY | 1 << 19}, None, False, SevStatus.POLICY_FAILURE),
    "another version": ({"version": 2}, None, False, SevStatus.INVALID_PARAM),
    "unknown ID key algorithm": ({}, put(0, b"\x02"), False, SevStatus.INVALID_PARAM),
    "unknown author key algorithm": ({}, put(4, b"\x02"), True, SevStatus.INVALID_PARAM),
    "author key without its switch": ({}, put(4, b"\x01"), False, SevStatus.INVALID_PARAM),
    "switch without author key": ({}, put(4, b"\x00"), True, SevStatus.INVALID_PARAM),
    "reserved bytes after the algorithms": ({}, put(8, b"\x01"), False, SevStatus.INVALID_PARAM),
    "reserved bytes after the ID key": ({}, put(0x644, b"\x01"), False, SevStatus.INVALID_PARAM),
    "reserved bytes at the end": ({}, put(0xFFF, b"\x01"), False, SevStatus.INVALID_PARAM),
    "another curve": ({}, put(0x240, b"\x01"), False, SevStatus.INVALID_PARAM),
    "bytes after the ID key's point": ({}, put(0x240 + 1027, b"\x01"), False, SevStatus.INVALID_PARAM),
    "no point of the curve": ({}, put(0x244, b"\x01" * 48), False, SevStatus.BAD_SIGNATURE),
    "a signature by nobody": ({}, put(0x40, bytes(144)), False, SevStatus.BAD_SIGNATURE),
    "a changed signature": ({}, flip(0x41), False, SevStatus.BAD_SIGNATURE),
    "bytes after the signature": ({}, put(0x23F, b"\x01"), False, SevStatus.BAD_SIGNATURE),
    "a changed author signature": ({}, flip(0x681), True, SevStatus.BAD_SIGNATURE),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_block_is_refused_and_the_guest_does_not_run(name: str) -> None:
    fields, spoil, author, status = SPOILT[name]
    bench = Bench()
    guest = bench.updated()
    signed = block(guest.launch_digest, **fields)
    auth = authentication(signed, author=author, spoil=spoil)
    with pytest.raises(Refused) as refused:
        finish(bench, guest, signed, auth, author=author)
    assert refused.value.status is status
    assert guest.state is GuestState.LAUNCH


def test_a_block_for_another_image_is_bad_measurement_before_anything_else() -> None:
    bench = Bench()
    guest = bench.updated()
    signed = block(bytes(48), policy=0, version=9)
    with pytest.raises(Refused) as refused:
        finish(bench, guest, signed, bytes(4096))
    assert refused.value.status is SevStatus.BAD_MEASUREMENT


def test_an_author_key_needs_an_id_block() -> None:
    bench = Bench()
    guest = bench.updated()
    with pytest.raises(Refused) as refused:
        bench.finish(guest, auth_key_en=True)
    assert refused.value.status is SevStatus.INVALID_PARAM


@pytest.mark.parametrize(("signed", "auth"), [(95, 4096), (96, 4095)])
def test_a_block_of_another_length_is_refused(signed: int, auth: int) -> None:
    bench = Bench()
    guest = bench.updated()
    with pytest.raises(Refused) as refused:
        finish(bench, guest, bytes(signed), bytes(auth))
    assert refused.value.status is SevStatus.INVALID_LENGTH
