"""ID block and ID authentication: what the guest's owner requires of a launch, signed (N-8, LAUNCH_FINISH).

The secure processor refuses to finish a launch whose digest or policy differs from the ID block's, and puts
SHA-384 of the keys into every report.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp import signatures

__all__ = ["ID_AUTH_SIZE", "ID_BLOCK_SIZE", "IdAuth", "IdBlock", "build_id_auth", "verify"]

ID_BLOCK_SIZE = 96
ID_AUTH_SIZE = 4096

_ID_BLOCK = struct.Struct("<48s 16s 16s I I Q")
_ID_AUTH = struct.Struct("<I I 56s 512s 1028s 60s 512s 1028s 892s")
_ID_BLOCK_VERSION = 1
_ALGO_ECDSA_P384_SHA384 = 1
_ALGO_NONE = 0
_SECTION = "AMD 56860, 8.18 SNP_LAUNCH_FINISH"


@dataclass(frozen=True, slots=True)
class IdBlock:
    """``launch_digest`` 48 bytes, ``family_id`` and ``image_id`` 16 each; integers unsigned."""

    launch_digest: bytes
    policy: int
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    guest_svn: int = 0

    def encode(self) -> bytes:
        """96 bytes; ``ValueError`` where a field does not fit."""
        if (len(self.launch_digest), len(self.family_id), len(self.image_id)) != (48, 16, 16):
            raise ValueError("an ID block has a digest of 48 and two identifiers of 16 bytes")
        try:
            return _ID_BLOCK.pack(
                self.launch_digest,
                self.family_id,
                self.image_id,
                _ID_BLOCK_VERSION,
                self.guest_svn,
                self.policy,
            )
        except struct.error as error:
            raise ValueError(f"an ID block field is out of range: {error}") from error

    @classmethod
    def decode(cls, data: bytes) -> IdBlock:
        """Read 96 bytes; raises `Rejected` ``snp.id-block.malformed``."""
        if len(data) != ID_BLOCK_SIZE:
            raise _refused("malformed", Kind.MALFORMED, "an ID block has 96 bytes")
        digest, family, image, version, svn, policy = _ID_BLOCK.unpack(data)
        if version != _ID_BLOCK_VERSION:
            raise _refused("malformed", Kind.MALFORMED, f"ID block version {version} is not 1")
        return cls(digest, policy, family, image, svn)


@dataclass(frozen=True, slots=True)
class IdAuth:
    """Keys of 1028 and signatures of 512 bytes, as they stand; the author's are None when not used."""

    id_block_signature: bytes
    id_key: bytes
    id_key_signature: bytes | None = None
    author_key: bytes | None = None

    def encode(self) -> bytes:
        """4096 bytes."""
        return _ID_AUTH.pack(
            _ALGO_ECDSA_P384_SHA384,
            _ALGO_NONE if self.author_key is None else _ALGO_ECDSA_P384_SHA384,
            b"",
            self.id_block_signature,
            self.id_key,
            b"",
            self.id_key_signature or b"",
            self.author_key or b"",
            b"",
        )

    @classmethod
    def decode(cls, data: bytes) -> IdAuth:
        """Read 4096 bytes; raises `Rejected` ``snp.id-block.malformed``."""
        if len(data) != ID_AUTH_SIZE:
            raise _refused("malformed", Kind.MALFORMED, "an ID authentication page has 4096 bytes")
        id_algo, author_algo, pad0, block_sig, id_key, pad1, key_sig, author_key, pad2 = _ID_AUTH.unpack(data)
        if any(pad0) or any(pad1) or any(pad2):
            raise _refused(
                "malformed", Kind.MALFORMED, "a reserved field of the ID authentication is not zero"
            )
        if id_algo != _ALGO_ECDSA_P384_SHA384 or author_algo not in (_ALGO_NONE, _ALGO_ECDSA_P384_SHA384):
            raise _refused("malformed", Kind.MALFORMED, "an algorithm other than ECDSA P-384 with SHA-384")
        if author_algo == _ALGO_NONE:
            if any(key_sig) or any(author_key):
                raise _refused("malformed", Kind.MALFORMED, "an author key without its algorithm")
            return cls(block_sig, id_key)
        return cls(block_sig, id_key, key_sig, author_key)

    @property
    def id_key_digest(self) -> bytes:
        """What a report must carry as ID_KEY_DIGEST, 48 bytes."""
        return signatures.key_digest(self.id_key)

    @property
    def author_key_digest(self) -> bytes:
        """What a report must carry as AUTHOR_KEY_DIGEST; 48 zeros without an author key."""
        return bytes(48) if self.author_key is None else signatures.key_digest(self.author_key)


def build_id_auth(
    block: IdBlock,
    id_key: ec.EllipticCurvePrivateKey,
    author_key: ec.EllipticCurvePrivateKey | None = None,
) -> IdAuth:
    """Sign an ID block with the ID key, and the ID key with the author key where there is one."""
    algorithm = ec.ECDSA(hashes.SHA384())
    public = signatures.encode_key(id_key.public_key())
    block_signature = signatures.encode_signature(id_key.sign(block.encode(), algorithm))
    if author_key is None:
        return IdAuth(block_signature, public)
    return IdAuth(
        block_signature,
        public,
        signatures.encode_signature(author_key.sign(public, algorithm)),
        signatures.encode_key(author_key.public_key()),
    )


def verify(block: bytes, auth: bytes) -> tuple[IdBlock, IdAuth]:
    """Parse both and check both signatures, as LAUNCH_FINISH does.

    Raises `Rejected`: ``snp.id-block.malformed``, ``snp.id-block.signature``, ``snp.id-block.author``.
    """
    parsed, keys = IdBlock.decode(block), IdAuth.decode(auth)
    _check(keys.id_key, keys.id_block_signature, block, "signature", "the ID key did not sign the ID block")
    if keys.author_key is not None and keys.id_key_signature is not None:
        _check(
            keys.author_key,
            keys.id_key_signature,
            keys.id_key,
            "author",
            "the author did not sign the ID key",
        )
    return parsed, keys


def _check(key: bytes, signature: bytes, signed: bytes, check: str, message: str) -> None:
    try:
        signatures.verify(signatures.decode_key(key), *signatures.decode_signature(signature), signed)
    except (ValueError, InvalidSignature) as error:
        raise _refused(check, Kind.UNTRUSTED, message) from error


def _refused(check: str, kind: Kind, message: str) -> Rejected:
    return Rejected(Finding(f"snp.id-block.{check}", kind, message, section=_SECTION))
