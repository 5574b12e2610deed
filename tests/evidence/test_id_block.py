"""ID block and ID authentication, with another implementation as witness."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sevsnpmeasure import id_block as witness  # type: ignore[import-untyped]  # a witness in tests only

from wasmkeep.evidence import Rejected
from wasmkeep.evidence.snp import signatures
from wasmkeep.evidence.snp.id_block import ID_AUTH_SIZE, ID_BLOCK_SIZE, IdAuth, IdBlock, build_id_auth, verify

BLOCK = IdBlock(bytes(range(48)), 0x30000, b"f" * 16, b"i" * 16, 7)
ID_KEY, AUTHOR_KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP384R1()) for _ in range(3))


def test_what_is_built_verifies() -> None:
    for author in (None, AUTHOR_KEY):
        auth = build_id_auth(BLOCK, ID_KEY, author)
        block, keys = verify(BLOCK.encode(), auth.encode())
        assert (block, keys) == (BLOCK, auth)
        assert keys.id_key_digest == signatures.key_digest(signatures.encode_key(ID_KEY.public_key()))
        assert (keys.author_key_digest == bytes(48)) == (author is None)
    assert (len(BLOCK.encode()), len(auth.encode())) == (ID_BLOCK_SIZE, ID_AUTH_SIZE)


def test_another_implementations_blocks_verify(tmp_path: Path) -> None:
    files = []
    for name, key in (("id", ID_KEY), ("author", AUTHOR_KEY)):
        path = tmp_path / name
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.append(str(path))
    output = witness.snp_calc_id_block(BLOCK.launch_digest, *files)
    fields = dict(entry.split("=", 1) for entry in output.split("\n", 1)[0].split(","))
    block, keys = verify(base64.b64decode(fields["id-block"]), base64.b64decode(fields["id-auth"]))
    assert (block.launch_digest, block.policy, block.guest_svn) == (BLOCK.launch_digest, 0x30000, 0)
    digests = [line.split(": ")[1] for line in output.splitlines()[1:]]
    assert [base64.b64decode(digest) for digest in digests] == [keys.id_key_digest, keys.author_key_digest]
    assert keys.id_key_digest == build_id_auth(BLOCK, ID_KEY).id_key_digest


def _set(offset: int, value: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[offset] = value

    return change


AUTH: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "algorithm": (_set(0, 2), "snp.id-block.malformed"),
    "author algorithm": (_set(4, 3), "snp.id-block.malformed"),
    "author without algorithm": (_set(4, 0), "snp.id-block.malformed"),
    "reserved 008": (_set(8, 1), "snp.id-block.malformed"),
    "reserved 644": (_set(0x644, 1), "snp.id-block.malformed"),
    "reserved C84": (_set(0xC84, 1), "snp.id-block.malformed"),
    "reserved FFF": (_set(0xFFF, 1), "snp.id-block.malformed"),
    "signature": (_set(0x40, 0), "snp.id-block.signature"),
    "signature padding": (_set(0x40 + 511, 1), "snp.id-block.signature"),
    "curve": (_set(0x240, 1), "snp.id-block.signature"),
    "point": (_set(0x244, 0), "snp.id-block.signature"),
    "key padding": (_set(0x240 + 1027, 1), "snp.id-block.signature"),
    "author signature": (_set(0x680, 0), "snp.id-block.author"),
    "author point": (_set(0x884, 0), "snp.id-block.author"),
}


@pytest.mark.parametrize("rule", AUTH)
def test_id_auth(rule: str) -> None:
    change, check = AUTH[rule]
    data = bytearray(build_id_auth(BLOCK, ID_KEY, AUTHOR_KEY).encode())
    before = bytes(data)
    change(data)
    if bytes(data) == before:
        data[data.index(0, 0x40)] ^= 0xFF
    with pytest.raises(Rejected) as caught:
        verify(BLOCK.encode(), bytes(data))
    assert caught.value.check == check


def test_every_byte_of_an_id_block_is_signed() -> None:
    auth = build_id_auth(BLOCK, ID_KEY).encode()
    for offset in range(ID_BLOCK_SIZE):
        data = bytearray(BLOCK.encode())
        data[offset] ^= 1
        with pytest.raises(Rejected):
            verify(bytes(data), auth)


def test_the_author_of_another_key() -> None:
    theirs = build_id_auth(BLOCK, OTHER_KEY, AUTHOR_KEY)
    ours = build_id_auth(BLOCK, ID_KEY, AUTHOR_KEY)
    mixed = IdAuth(ours.id_block_signature, ours.id_key, theirs.id_key_signature, ours.author_key)
    with pytest.raises(Rejected) as caught:
        verify(BLOCK.encode(), mixed.encode())
    assert caught.value.check == "snp.id-block.author"


@pytest.mark.parametrize("size", [0, 95, 97])
def test_sizes(size: int) -> None:
    with pytest.raises(Rejected):
        IdBlock.decode(bytes(size))
    with pytest.raises(Rejected):
        IdAuth.decode(bytes(size))


def test_what_does_not_fit_is_not_encoded() -> None:
    for block in (IdBlock(bytes(47), 0), IdBlock(bytes(48), 1 << 64), IdBlock(bytes(48), 0, b"")):
        with pytest.raises(ValueError, match="ID block"):
            block.encode()
    with pytest.raises(ValueError, match="P-384"):
        signatures.encode_key(ec.generate_private_key(ec.SECP256R1()).public_key())


def test_keys_and_signatures_round_trip() -> None:
    encoded = signatures.encode_key(ID_KEY.public_key())
    assert signatures.encode_key(signatures.decode_key(encoded)) == encoded
    with pytest.raises(ValueError, match="1028"):
        signatures.decode_key(encoded[:-1])
    with pytest.raises(ValueError, match="512"):
        signatures.decode_signature(bytes(511))
