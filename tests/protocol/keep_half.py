"""The keep's half of a session in Python, for tests of the tenant's half (docs/protocol.md)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace

import cbor2
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wasmkeep.protocol import binding, records, slot, statements
from wasmkeep.protocol.binding import Field, SaltedDigest
from wasmkeep.protocol.events import Salts, Shipment
from wasmkeep.protocol.offer import Offer
from wasmkeep.protocol.records import RecordType
from wasmkeep.protocol.session import TenantSession

MEASUREMENT = bytes(range(48))
SALTS = Salts(*(bytes([i]) * 32 for i in range(1, 8)))
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True)
class FakeVerdict:
    report_data: bytes
    host_data: bytes
    bound: bool = True
    host_data_bound: bool = True
    launch_digest: bytes = MEASUREMENT

    @classmethod
    def on(cls, session: TenantSession, **change: object) -> FakeVerdict:
        return replace(cls(session.report_data, session.tenant_key_digest), **change)  # type: ignore[arg-type]


def shipment(package: bytes = b"package" * 40_000) -> Shipment:
    return Shipment(
        package=(package,),
        program_digest=hashlib.sha256(package).digest(),
        target="wasmtime 50.0.1 x86_64-unknown-linux-gnu x86-64-v3",
        configuration_digest=bytes(32),
        arguments_digest=b"a" * 32,
        environment_digest=b"e" * 32,
        files_digest=b"f" * 32,
        memory_limit=1 << 26,
        started_ns=1_700_000_000_000_000_000,
        salts=SALTS,
    )


LAUNCH_SECRET = b"L" * 32


def tenant(seed: int = 1, tee: str = "snp") -> TenantSession:
    return TenantSession(
        tee=tee,
        signing_key=Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32),
        nonce=bytes([seed + 1]) * 32,
        secret=bytes([seed + 2]) * 32,
        launch_secret=b"" if tee == "snp" else LAUNCH_SECRET,
    )


@dataclass
class KeepHalf:
    """Deterministic keys from ``seed``; ``open_delivery`` checks everything the real keep checks."""

    seed: int = 7
    salt: bytes = b"s" * 32
    tee: str = "snp"
    launch_secret: bytes = b""
    streams: dict[Field, SaltedDigest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(bytes([self.seed]) * 64)
        x25519 = X25519PrivateKey.from_private_bytes(bytes([self.seed]) * 32)
        self.private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.receiving_key = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.receipt = Ed25519PrivateKey.from_private_bytes(bytes([self.seed + 1]) * 32)
        self.receipt_key = self.receipt.public_key().public_bytes_raw()
        self.offer = Offer(self.receiving_key, self.receipt_key, self.salt, b"evidence").encode()
        self.streams = {
            Field.STDIN: SaltedDigest(Field.STDIN, SALTS.stdin),
            Field.STDOUT: SaltedDigest(Field.STDOUT, SALTS.stdout),
            Field.STDERR: SaltedDigest(Field.STDERR, SALTS.stderr),
        }

    def proven_offer(self, one: TenantSession) -> bytes:
        """The offer of a keep whose launch was given ``launch_secret``, to a tenant's hints."""
        bound = binding.report_data(
            tee=self.tee,
            nonce=one.nonce,
            tenant_key_digest=one.tenant_key_digest,
            receiving_key=self.receiving_key,
            receipt_key=self.receipt_key,
        )
        evidence = slot.proof(slot.proof_key(self.launch_secret), bound)
        return Offer(self.receiving_key, self.receipt_key, self.salt, evidence).encode()

    def open_delivery(self, messages: list[bytes], report_data: bytes, nonce: bytes) -> bytes:
        """The package, opened as the keep would."""
        message = messages[0][: binding.HPKE_MESSAGE_SIZE]
        secret = SUITE.decrypt(message, self.private, b"wasmkeep-session-v1" + report_data)
        secret += self.launch_secret
        self.session = binding.session_id(report_data, hashlib.sha256(message).digest())
        self.opener = records.Opener(binding.to_keep_key(secret, self.session))
        self.sealer = records.Sealer(binding.to_tenant_key(secret, self.session, self.salt))
        opened = [
            item
            for part in [messages[0][binding.HPKE_MESSAGE_SIZE :], *messages[1:]]
            for item in self.opener.open_message(part)
        ]
        kind, hello = opened[0]
        assert kind is RecordType.HELLO
        assert len(hello) == 96
        Ed25519PublicKey.from_public_bytes(hello[:32]).verify(
            hello[32:], binding.hello_signed_bytes(nonce, self.receiving_key, self.receipt_key, message)
        )
        assert all(kind is RecordType.PACKAGE for kind, _ in opened[1:])
        return b"".join(payload for _, payload in opened[1:])

    def seal(self, kind: RecordType, payload: bytes = b"") -> bytes:
        if kind is RecordType.STDOUT:
            self.streams[Field.STDOUT].update(payload)
        if kind is RecordType.STDERR:
            self.streams[Field.STDERR].update(payload)
        return self.sealer.seal(kind, payload)

    def sign(self, payload: bytes, kind: bytes = statements.LAUNCH_TYPE) -> bytes:
        signature = self.receipt.sign(statements.signed_bytes(payload, self.session, kind))
        return cbor2.dumps([bytes.fromhex("a10127"), {}, payload, signature])

    def launch_fields(self, sent: Shipment, tenant_key_digest: bytes) -> dict[int, object]:
        return {
            1: self.tee,
            2: MEASUREMENT if self.tee == "snp" else b"",
            3: sent.program_digest,
            4: sent.target,
            5: sent.configuration_digest,
            6: sent.arguments_digest,
            7: sent.environment_digest,
            8: sent.files_digest,
            9: sent.memory_limit,
            10: sent.started_ns,
            11: tenant_key_digest,
        }

    def launched(self, sent: Shipment, tenant_key_digest: bytes, **change: object) -> bytes:
        fields = self.launch_fields(sent, tenant_key_digest) | {int(k[1:]): v for k, v in change.items()}
        return self.seal(RecordType.LAUNCHED, self.sign(cbor2.dumps(fields, canonical=True)))

    def receipt_record(
        self, sent: Shipment, tenant_key_digest: bytes, outcome: list[int] | None = None, **change: object
    ) -> bytes:
        fields = self.launch_fields(sent, tenant_key_digest)
        fields[20] = [0, 0] if outcome is None else outcome
        for key, name in ((21, Field.STDIN), (23, Field.STDOUT), (25, Field.STDERR)):
            fields[key] = self.streams[name].digest()
            fields[key + 1] = self.streams[name].length
        fields |= {27: 5, 28: 65536, 29: 3}
        fields |= {int(k[1:]): v for k, v in change.items()}
        encoded = self.sign(cbor2.dumps(fields, canonical=True), statements.RECEIPT_TYPE)
        return self.seal(RecordType.RECEIPT, encoded)


def trap_payload(frames: int = 2) -> bytes:
    return struct.pack("<IIQQQQQII", 14, 6, 0x40000010, 0, 0x900000, 0x900010, 65536, frames, 0) + bytes(
        8 * frames
    )


@dataclass
class Running:
    """A tenant and a keep whose package has arrived."""

    tenant: TenantSession
    keep: KeepHalf
    sent: Shipment

    @classmethod
    def start(cls, sent: Shipment | None = None) -> Running:
        one, other = tenant(), KeepHalf()
        goods = sent if sent is not None else shipment(b"p" * 1000)
        one.receive_offer(other.offer)
        return cls._delivered(one, other, goods, list(one.accept(FakeVerdict.on(one), goods)))

    @classmethod
    def start_proven(cls, tee: str) -> Running:
        """On SEV or SEV-ES."""
        one, other = tenant(tee=tee), KeepHalf(tee=tee, launch_secret=LAUNCH_SECRET)
        goods = shipment(b"p" * 1000)
        one.receive_offer(other.proven_offer(one))
        return cls._delivered(one, other, goods, list(one.accept_proven(goods)))

    @classmethod
    def _delivered(
        cls, one: TenantSession, other: KeepHalf, goods: Shipment, messages: list[bytes]
    ) -> Running:
        package = other.open_delivery(messages, one.report_data, one.nonce)
        assert package == b"".join(bytes(part) for part in goods.package)
        return cls(one, other, goods)

    def launched(self, **change: object) -> bytes:
        return self.keep.launched(self.sent, self.tenant.tenant_key_digest, **change)

    def receipt(self, outcome: list[int] | None = None, **change: object) -> bytes:
        return self.keep.receipt_record(self.sent, self.tenant.tenant_key_digest, outcome, **change)
