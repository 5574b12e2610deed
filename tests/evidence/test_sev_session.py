"""Launch sessions, packets and reports of SEV: round trips, a second implementation, and each field
altered."""

from __future__ import annotations

import hashlib
import hmac
import struct
import uuid
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence.sev_forge import KEYS, SevForge
from tests.evidence.soak import SETTINGS
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.sev import certificate, chain, kdf, packet, report, session
from wasmkeep.evidence.sev.certificate import EMPTY_SLOT, Usage
from wasmkeep.evidence.sev.packet import Context, SecretPacket
from wasmkeep.evidence.sev.session import LaunchKeys, LaunchSession, SessionRefused

SIXTEEN = st.binary(min_size=16, max_size=16)
Z = bytes(range(1, 49))
NONCE, IV = bytes(range(16)), bytes(range(240, 256))
POLICY = 0x18000F
MEASURE = bytes(range(100, 132))


def flips(data: bytes) -> list[bytes]:
    """The data with one bit of each byte changed."""
    return [data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :] for at in range(len(data))]


# Key derivation


def test_the_known_answers() -> None:
    """SEV.md A.8: zero Z of any length up to 64 (HMAC pads keys with zeros), zero nonce."""
    for size in (16, 32, 48, 64):
        master = kdf.derive(bytes(size), b"sev-master-secret", bytes(16), 16)
        assert master.hex() == "ab4d269fcc62bedb4511d56c386ce706"
    assert kdf.derive(master, b"sev-kek", b"", 16).hex() == "b6abfbfb75ea1ea74ed8750b8afdb973"
    assert kdf.derive(master, b"sev-kik", b"", 16).hex() == "53b524bf5669a363f365c864acba8572"


def _second_kdf(key: bytes, label: str, context: bytes, bits: int) -> bytes:
    """NIST SP 800-108, 5.1, read anew; SEV has counter and length little-endian."""
    result = b""
    for i in range(1, -(-bits // 256) + 1):
        inner = hashlib.sha256(bytes(x ^ 0x36 for x in key.ljust(64, b"\0")))
        inner.update(struct.pack("<I", i) + label.encode() + b"\0" + context + struct.pack("<I", bits))
        outer = hashlib.sha256(bytes(x ^ 0x5C for x in key.ljust(64, b"\0")))
        outer.update(inner.digest())
        result += outer.digest()
    return result[: bits // 8]


@SETTINGS
@given(st.binary(max_size=64), st.sampled_from(["sev-kek", "x"]), st.binary(max_size=20), st.integers(1, 100))
def test_a_second_implementation_of_the_derivation(key: bytes, label: str, context: bytes, size: int) -> None:
    assert kdf.derive(key, label.encode(), context, size) == _second_kdf(key, label, context, 8 * size)


# Sessions


@SETTINGS
@given(st.binary(min_size=48, max_size=48), SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN, st.integers(0, 2**32 - 1))
def test_a_second_implementation_of_the_session(
    z: bytes, nonce: bytes, iv: bytes, tek: bytes, tik: bytes, policy: int
) -> None:
    master = _second_kdf(z, "sev-master-secret", nonce, 128)
    kek, kik = _second_kdf(master, "sev-kek", b"", 128), _second_kdf(master, "sev-kik", b"", 128)
    ecb = Cipher(algorithms.AES(kek), modes.ECB()).encryptor()  # noqa: S305 - a second counter mode
    start = int.from_bytes(iv, "big")
    stream = b"".join(ecb.update(((start + i) % 2**128).to_bytes(16, "big")) for i in range(2))
    wrapped = bytes(x ^ y for x, y in zip(tek + tik, stream, strict=True))
    mac = hmac.new(kik, wrapped, "sha256").digest()
    policy_mac = hmac.new(tik, struct.pack("<I", policy), "sha256").digest()
    made = session.wrap(z, policy, nonce=nonce, iv=iv, keys=LaunchKeys(tek, tik))
    assert made.encode() == nonce + wrapped + iv + mac + policy_mac
    assert LaunchSession.parse(made.encode()) == made
    assert session.open_session(made, z, policy) == LaunchKeys(tek, tik)


def test_an_owner_and_a_platform_agree(sev_forge: SevForge) -> None:
    owner = ec.generate_private_key(ec.SECP384R1())
    platform = chain.authenticate(sev_forge.certificates, sev_forge.policy().roots)
    made = session.create(platform, POLICY, owner, nonce=NONCE, iv=IV, keys=KEYS)
    assert made == session.create(sev_forge.pdh.public_key(), POLICY, owner, nonce=NONCE, iv=IV, keys=KEYS)
    received = certificate.parse(session.owner_certificate(owner.public_key()), "owner")
    assert (received.usage, received.slots) == (Usage.PDH, (EMPTY_SLOT, EMPTY_SLOT))
    z = session.shared_secret(sev_forge.pdh, received.public_key)
    assert len(z) == 48
    assert session.open_session(made, z, POLICY) == KEYS
    other = session.shared_secret(sev_forge.pek, received.public_key)
    with pytest.raises(SessionRefused) as caught:
        session.open_session(made, other, POLICY)
    assert caught.value.mac == "WRAP_MAC"


def test_z_is_the_whole_x_coordinate() -> None:
    """48 bytes, big-endian, also where x begins with zeros."""
    scalar = 1
    while True:
        public = ec.derive_private_key(scalar, ec.SECP384R1()).public_key()
        if public.public_numbers().x.bit_length() <= 376:
            break
        scalar += 1
    one = ec.derive_private_key(1, ec.SECP384R1())
    z = session.shared_secret(one, public)
    assert z == public.public_numbers().x.to_bytes(48, "big")
    assert z[0] == 0


FIELDS = {"nonce": "WRAP_MAC", "wrap_tk": "WRAP_MAC", "wrap_mac": "WRAP_MAC", "policy_mac": "POLICY_MAC"}


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_of_a_session(name: str) -> None:
    made = session.wrap(Z, POLICY, nonce=NONCE, iv=IV, keys=KEYS)
    for changed in flips(getattr(made, name)):
        with pytest.raises(SessionRefused) as caught:
            session.open_session(replace(made, **{name: changed}), Z, POLICY)
        assert caught.value.mac == FIELDS[name]


def test_the_iv_is_covered_by_what_it_decrypts_to() -> None:
    """WRAP_MAC does not cover WRAP_IV: another one gives another TIK, which fits no POLICY_MAC."""
    made = session.wrap(Z, POLICY, nonce=NONCE, iv=IV, keys=KEYS)
    for changed in flips(made.wrap_iv):
        with pytest.raises(SessionRefused) as caught:
            session.open_session(replace(made, wrap_iv=changed), Z, POLICY)
        assert caught.value.mac == "POLICY_MAC"


def test_a_session_for_another_policy_or_key() -> None:
    made = session.wrap(Z, POLICY, nonce=NONCE, iv=IV, keys=KEYS)
    for bit in range(32):
        with pytest.raises(SessionRefused) as caught:
            session.open_session(made, Z, POLICY ^ 1 << bit)
        assert caught.value.mac == "POLICY_MAC"
    for z in flips(Z):
        with pytest.raises(SessionRefused) as caught:
            session.open_session(made, z, POLICY)
        assert caught.value.mac == "WRAP_MAC"


def test_sizes_of_sessions_and_keys() -> None:
    for size in (0, 127, 129, 256):
        with pytest.raises(Rejected) as caught:
            LaunchSession.parse(bytes(size))
        assert caught.value.check == "sev.session.size"
    for tek, tik in ((15, 16), (16, 17)):
        with pytest.raises(ValueError, match="16"):
            LaunchKeys(bytes(tek), bytes(tik))
    for nonce, iv in ((b"", IV), (NONCE, b"")):
        with pytest.raises(ValueError, match="16"):
            session.wrap(Z, POLICY, nonce=nonce, iv=iv, keys=KEYS)


def test_keys_are_not_printed() -> None:
    assert repr(KEYS) == "LaunchKeys()"


# Packets


@SETTINGS
@given(st.binary(min_size=16, max_size=320).map(lambda data: data[: len(data) // 16 * 16]), SIXTEEN)
def test_packets_round_trip(plaintext: bytes, iv: bytes) -> None:
    made = packet.seal_secret(KEYS, iv, plaintext, MEASURE)
    assert len(made.header) == packet.HEADER_SIZE
    assert (made.header[:4], made.header[4:20]) == (bytes(4), iv)
    size = struct.pack("<I", len(plaintext))
    message = b"\1" + bytes(4) + iv + size + size + made.data + MEASURE
    assert made.header[20:] == hmac.new(KEYS.tik, message, "sha256").digest()
    assert packet.open_secret(KEYS, made, MEASURE) == plaintext
    for context in (Context.UPDATE_DATA, Context.UPDATE_VMSA):
        sent = packet.seal_transport(KEYS, iv, plaintext, context)
        assert sent.data == made.data
        assert packet.open_transport(KEYS, sent, context) == plaintext


def refused(found: SecretPacket, keys: LaunchKeys = KEYS, measure: bytes = MEASURE) -> str:
    with pytest.raises(Rejected) as caught:
        packet.open_secret(keys, found, measure)
    return caught.value.check


def test_each_byte_of_a_packet() -> None:
    made = packet.seal_secret(KEYS, IV, bytes(range(64)), MEASURE)
    for header in flips(made.header):
        assert refused(replace(made, header=header)) == "sev.packet.mac"
    for data in flips(made.data):
        assert refused(replace(made, data=data)) == "sev.packet.mac"
    for measure in flips(MEASURE):
        assert refused(made, measure=measure) == "sev.packet.mac"
    for tik in flips(KEYS.tik):
        assert refused(made, LaunchKeys(KEYS.tek, tik)) == "sev.packet.mac"
    assert refused(replace(made, data=made.data[:48])) == "sev.packet.mac"
    assert refused(replace(made, data=made.data + bytes(16))) == "sev.packet.mac"


def test_sizes_of_packets() -> None:
    made = packet.seal_secret(KEYS, IV, bytes(32), MEASURE)
    for header, data in (
        (made.header[:-1], made.data),
        (made.header + b"\0", made.data),
        (made.header, b""),
        (made.header, made.data[:-1]),
        (made.header, bytes(packet.MAX_SECRET_SIZE + 16)),
    ):
        assert refused(SecretPacket(header, data)) == "sev.packet.size"
    for plaintext in (b"", bytes(15), bytes(packet.MAX_SECRET_SIZE + 16)):
        with pytest.raises(ValueError, match="bytes"):
            packet.seal_secret(KEYS, IV, plaintext, MEASURE)
    with pytest.raises(ValueError, match="32 bytes, without MNONCE"):
        packet.seal_secret(KEYS, IV, bytes(16), bytes(48))


def test_compressed_packets_are_not_read_even_with_a_right_mac() -> None:
    data = bytes(16)
    for flags in (1, 2, 0x8000_0000):
        size = struct.pack("<I", len(data))
        head = struct.pack("<I", flags) + IV
        mac = hmac.new(KEYS.tik, b"\1" + head + size + size + data + MEASURE, "sha256").digest()
        assert refused(SecretPacket(head + mac, data)) == "sev.packet.flags"


def test_a_packet_of_another_kind() -> None:
    secret = packet.seal_secret(KEYS, IV, bytes(16), MEASURE)
    data, vmsa = (packet.seal_transport(KEYS, IV, bytes(16), context) for context in (2, 3))
    for found, context in ((secret, 2), (data, 3), (vmsa, 2), (data, 1)):
        with pytest.raises(Rejected) as caught:
            packet.open_transport(KEYS, found, context)
        assert caught.value.check == "sev.packet.mac"
    assert refused(data) == "sev.packet.mac"


def test_a_secret_table() -> None:
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    table = packet.secret_table([(one, b"abc"), (other, b"")])
    assert table[:16].hex() == "42f5741e" + "dd71" + "664d" + "963eef4287ff173b"
    assert table[16:20] == struct.pack("<I", 20 + 23 + 20)
    assert table[20:43] == one.bytes_le + struct.pack("<I", 23) + b"abc"
    assert table[43:63] == other.bytes_le + struct.pack("<I", 20)
    assert table[63:] == bytes(1)


# ATTESTATION reports


def test_reports(sev_forge: SevForge, other_sev: SevForge) -> None:
    made = report.create(sev_forge.pek, mnonce=NONCE, digest=MEASURE, policy=POLICY)
    data = made.encode()
    assert len(data) == report.REPORT_SIZE
    parsed = report.parse(data)
    assert parsed == made
    assert (parsed.mnonce, parsed.digest, parsed.policy) == (NONCE, MEASURE, POLICY)
    pek = sev_forge.pek.public_key()
    parsed.verify(pek, NONCE)
    for key, nonce, check in (
        (other_sev.pek.public_key(), NONCE, "sev.report.signature"),
        (pek, IV, "sev.report.nonce"),
    ):
        with pytest.raises(Rejected) as caught:
            parsed.verify(key, nonce)
        assert caught.value.check == check


def test_each_byte_of_a_report(sev_forge: SevForge) -> None:
    data = report.create(sev_forge.pek, mnonce=NONCE, digest=MEASURE, policy=POLICY).encode()
    for at, changed in enumerate(flips(data)):
        with pytest.raises(Rejected) as caught:
            report.parse(changed).verify(sev_forge.pek.public_key(), NONCE)
        assert caught.value.check == (
            "sev.report.signer"
            if 0x34 <= at < 0x3C
            else "sev.report.reserved"
            if 0x3C <= at < 0x40
            else "sev.report.signature"
        )
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(Rejected) as caught:
            report.parse(wrong)
        assert caught.value.check == "sev.report.size"
