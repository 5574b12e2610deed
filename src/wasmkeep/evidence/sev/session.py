"""The launch session: how an owner hands TEK and TIK to a platform whose PDH it authenticated (S-2).

128 bytes: 00 NONCE[16] · 10 WRAP_TK[32] · 30 WRAP_IV[16] · 40 WRAP_MAC[32] · 60 POLICY_MAC[32].

Z = ECDH(P-384), the x coordinate, 48 bytes **big-endian**, the one such value in SEV. KEK and KIK come from Z
and NONCE by `kdf.derive`. WRAP_TK = AES-128-CTR(KEK, WRAP_IV, TEK ‖ TIK); WRAP_MAC = HMAC(KIK, WRAP_TK);
POLICY_MAC = HMAC(TIK, policy u32). SEND_START makes the same between two platforms.

The firmware does not check who signed the owner's certificate; it is the owner who must authenticate the
platform's PDH, **before** it wraps any key. Randomness is always an argument, and none is ever used twice.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wasmkeep.evidence.sev import kdf
from wasmkeep.evidence.sev.certificate import Algorithm, Certificate, Usage, ec_key_bytes
from wasmkeep.evidence.sev.findings import malformed

if TYPE_CHECKING:
    from wasmkeep.evidence.sev.chain import AuthenticPlatform

__all__ = [
    "KEY_SIZE",
    "NONCE_SIZE",
    "SESSION_SIZE",
    "LaunchKeys",
    "LaunchSession",
    "SessionRefused",
    "counter_mode",
    "create",
    "open_session",
    "owner_certificate",
    "shared_secret",
    "wrap",
]

SESSION_SIZE = 128
KEY_SIZE = NONCE_SIZE = IV_SIZE = 16
_API_OF_THIS_FORMAT = (0, 24)
_SECTION = "AMD 55766, 2 session"


class SessionRefused(ValueError):
    """A session that was not made for this key, or for this policy. ``mac`` says which MAC is wrong."""

    def __init__(self, mac: Literal["WRAP_MAC", "POLICY_MAC"]) -> None:
        super().__init__(f"{mac} of the launch session is wrong")
        self.mac = mac


@dataclass(frozen=True, slots=True)
class LaunchKeys:
    """TEK encrypts what travels, TIK vouches for it; 16 bytes each. Secret: never printed."""

    tek: bytes = field(repr=False)
    tik: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.tek) != KEY_SIZE or len(self.tik) != KEY_SIZE:
            raise ValueError(f"TEK and TIK have {KEY_SIZE} bytes")


@dataclass(frozen=True, slots=True)
class LaunchSession:
    """The 128 bytes, as LAUNCH_START and RECEIVE_START take them."""

    nonce: bytes
    wrap_tk: bytes
    wrap_iv: bytes
    wrap_mac: bytes
    policy_mac: bytes

    def encode(self) -> bytes:
        return self.nonce + self.wrap_tk + self.wrap_iv + self.wrap_mac + self.policy_mac

    @classmethod
    def parse(cls, data: bytes) -> LaunchSession:
        """Raises `Rejected` ``sev.session.size``."""
        if len(data) != SESSION_SIZE:
            message = "the launch session has a wrong size"
            raise malformed("session.size", message, f"{len(data)} bytes", f"{SESSION_SIZE} bytes", _SECTION)
        return cls(data[:0x10], data[0x10:0x30], data[0x30:0x40], data[0x40:0x60], data[0x60:])


def create(
    pdh: AuthenticPlatform | ec.EllipticCurvePublicKey,
    policy: int,
    owner_key: ec.EllipticCurvePrivateKey,
    *,
    nonce: bytes,
    iv: bytes,
    keys: LaunchKeys,
) -> LaunchSession:
    """The session for a platform. A tenant gives the `AuthenticPlatform`; a bare key is for a sending
    firmware, which authenticated the receiver itself. ``policy`` is the u32 that the launch will state."""
    key = pdh if isinstance(pdh, ec.EllipticCurvePublicKey) else pdh.pdh.public_key
    return wrap(shared_secret(owner_key, key), policy, nonce=nonce, iv=iv, keys=keys)


def wrap(shared_z: bytes, policy: int, *, nonce: bytes, iv: bytes, keys: LaunchKeys) -> LaunchSession:
    """The session from the agreed secret Z (48 bytes). ``nonce`` and ``iv`` are 16 fresh random bytes."""
    if len(nonce) != NONCE_SIZE or len(iv) != IV_SIZE:
        raise ValueError("nonce and IV have 16 bytes")
    kek, kik = _wrapping_keys(shared_z, nonce)
    wrap_tk = counter_mode(kek, iv, keys.tek + keys.tik)
    return LaunchSession(nonce, wrap_tk, iv, _mac(kik, wrap_tk), _policy_mac(keys.tik, policy))


def open_session(session: LaunchSession, shared_z: bytes, policy: int) -> LaunchKeys:
    """The firmware's side: the keys, or `SessionRefused` naming WRAP_MAC or, checked after it, POLICY_MAC."""
    kek, kik = _wrapping_keys(shared_z, session.nonce)
    if not hmac.compare_digest(_mac(kik, session.wrap_tk), session.wrap_mac):
        raise SessionRefused("WRAP_MAC")
    plain = counter_mode(kek, session.wrap_iv, session.wrap_tk)
    keys = LaunchKeys(plain[:KEY_SIZE], plain[KEY_SIZE:])
    if not hmac.compare_digest(_policy_mac(keys.tik, policy), session.policy_mac):
        raise SessionRefused("POLICY_MAC")
    return keys


def shared_secret(private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey) -> bytes:
    """Z: the x coordinate of the agreed point, 48 bytes big-endian."""
    return private.exchange(ec.ECDH(), public)


def owner_certificate(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """The owner's DH key as LAUNCH_START takes it: 2084 bytes, usage PDH, signed by nobody."""
    certificate = Certificate(
        *_API_OF_THIS_FORMAT, Usage.PDH, Algorithm.ECDH_SHA256, ec_key_bytes(public_key)
    )
    return certificate.encode()


def counter_mode(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128-CTR with a full 128-bit counter, incremented big-endian; its own inverse."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def _wrapping_keys(shared_z: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """(KEK, KIK)."""
    master = kdf.derive(shared_z, b"sev-master-secret", nonce, KEY_SIZE)
    return kdf.derive(master, b"sev-kek", b"", KEY_SIZE), kdf.derive(master, b"sev-kik", b"", KEY_SIZE)


def _policy_mac(tik: bytes, policy: int) -> bytes:
    return _mac(tik, policy.to_bytes(4, "little"))


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
