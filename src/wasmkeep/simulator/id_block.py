"""ID block and ID authentication information of SNP_LAUNCH_FINISH (SNP firmware ABI 8.18; SEV.md C.3).

Keys are curve u32 = 2 (P-384), qx[72], qy[72], zeros to 1028; signatures r[72], s[72], zeros to 512; all
components little-endian. Checks in the firmware's order: launch digest, policy, parameters, signatures.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from wasmkeep.hardware.kvm_snp import ID_AUTH_SIZE, ID_BLOCK_SIZE
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.status import Refused, require

_ID_BLOCK = struct.Struct("<48s16s16sIIQ")
_ALGORITHM = 1  # ECDSA P-384 with SHA-384
_CURVE_P384 = 2
_COMPONENT = 72
_KEY_SIZE = 1028
_SIGNATURE_SIZE = 512
_ID_BLOCK_SIG, _ID_KEY, _ID_KEY_SIG, _AUTHOR_KEY, _END = 0x040, 0x240, 0x680, 0x880, 0xC84


@dataclass(frozen=True, slots=True)
class IdBlock:
    """What an ID block puts into the guest's reports; all zero without one."""

    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    guest_svn: int = 0
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    author_key_en: bool = False


NO_ID_BLOCK = IdBlock()


def check_id_block(
    block: bytes, auth: bytes, *, auth_key_en: bool, launch_digest: bytes, policy: int
) -> IdBlock:
    """Raises `Refused`: BAD_MEASUREMENT, POLICY_FAILURE, INVALID_PARAM or BAD_SIGNATURE."""
    require(len(block) == ID_BLOCK_SIZE and len(auth) == ID_AUTH_SIZE, SevStatus.INVALID_LENGTH)
    digest, family, image, version, svn, block_policy = _ID_BLOCK.unpack(block)
    require(hmac.compare_digest(digest, launch_digest), SevStatus.BAD_MEASUREMENT)
    require(block_policy == policy, SevStatus.POLICY_FAILURE)
    id_algorithm, author_algorithm = struct.unpack_from("<II", auth)
    require(version == 1 and id_algorithm == _ALGORITHM, SevStatus.INVALID_PARAM)
    require(author_algorithm == (_ALGORITHM if auth_key_en else 0), SevStatus.INVALID_PARAM)
    reserved = auth[8:_ID_BLOCK_SIG] + auth[_ID_KEY + _KEY_SIZE : _ID_KEY_SIG] + auth[_END:]
    require(not any(reserved), SevStatus.INVALID_PARAM)
    id_key = auth[_ID_KEY : _ID_KEY + _KEY_SIZE]
    _verify(id_key, auth[_ID_BLOCK_SIG : _ID_BLOCK_SIG + _SIGNATURE_SIZE], block)
    author_digest = bytes(48)
    if auth_key_en:
        author_key = auth[_AUTHOR_KEY : _AUTHOR_KEY + _KEY_SIZE]
        _verify(author_key, auth[_ID_KEY_SIG : _ID_KEY_SIG + _SIGNATURE_SIZE], id_key)
        author_digest = hashlib.sha384(author_key).digest()
    return IdBlock(family, image, svn, hashlib.sha384(id_key).digest(), author_digest, auth_key_en)


def _component(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + _COMPONENT], "little")


def _verify(key: bytes, signature: bytes, message: bytes) -> None:
    (curve,) = struct.unpack_from("<I", key)
    require(curve == _CURVE_P384 and not any(key[4 + 2 * _COMPONENT :]), SevStatus.INVALID_PARAM)
    require(not any(signature[2 * _COMPONENT :]), SevStatus.BAD_SIGNATURE)
    x, y = _component(key, 4), _component(key, 4 + _COMPONENT)
    encoded = encode_dss_signature(_component(signature, 0), _component(signature, _COMPONENT))
    try:
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
        public.verify(encoded, message, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError) as error:  # ValueError: not a point of the curve
        raise Refused(SevStatus.BAD_SIGNATURE) from error
