"""Vectors of a session, both ways: ``python -m tests.protocol.session_vectors`` writes the tenant's.

``keep/src/vectors/from_tenant.txt`` is made here and checked by the keep's Zig tests; ``from_keep.txt`` is
made by ``keep/src/session_vectors.zig`` and checked by ``test_vectors.py``. Each line is a name, a colon, and
hexadecimal bytes. Everything in them is made from fixed seeds; nothing is secret.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wasmkeep.protocol import binding, records, slot
from wasmkeep.protocol.binding import Field
from wasmkeep.protocol.records import RecordType

FOLDER = Path(__file__).resolve().parents[2] / "keep" / "src" / "vectors"
FROM_TENANT = FOLDER / "from_tenant.txt"
FROM_KEEP = FOLDER / "from_keep.txt"

KEM_SEED = b"\x11" * 32
RECEIPT_SEED = b"\x22" * 32
KEEP_SALT = b"\x33" * 32
NONCE = b"\x44" * 32
TENANT_SEED = b"\x55" * 32
SECRET = b"\x66" * 32
FIELD_SALT = b"\x77" * 32
PACKAGE = bytes(range(256)) * 3
LONGEST = b"\x88" * 65_528
PACKET_RANDOM = bytes(range(0x99, 0x99 + slot.RANDOM_SIZE))
PRE_ATTESTED_SESSION = b"\xaa" * 32


def receiving_key() -> bytes:
    """X-Wing: SHAKE-256 of the seed gives the seeds of ML-KEM-768 (64 bytes) and X25519 (32)."""
    expanded = hashlib.shake_256(KEM_SEED).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key().public_bytes_raw()
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:]).public_key().public_bytes_raw()
    return mlkem + x25519


def receipt_key() -> bytes:
    return Ed25519PrivateKey.from_private_bytes(RECEIPT_SEED).public_key().public_bytes_raw()


def read(path: Path) -> dict[str, bytes]:
    lines = (line.split(": ") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: bytes.fromhex(value) for name, value in lines}


def from_tenant() -> dict[str, bytes]:
    """What a tenant computes and sends, with a fresh HPKE encapsulation."""
    signing_key = Ed25519PrivateKey.from_private_bytes(TENANT_SEED)
    tenant_key = signing_key.public_key().public_bytes_raw()
    bound = binding.report_data(
        tee="snp",
        nonce=NONCE,
        tenant_key_digest=hashlib.sha256(tenant_key).digest(),
        receiving_key=receiving_key(),
        receipt_key=receipt_key(),
    )
    message = binding.seal_secret(SECRET, receiving_key(), bound)
    session = binding.session_id(bound, hashlib.sha256(message).digest())
    sealer = records.Sealer(binding.to_keep_key(SECRET, session))
    signed = binding.hello_signed_bytes(NONCE, receiving_key(), receipt_key(), message)
    return {
        "receiving_key": receiving_key(),
        "receipt_key": receipt_key(),
        "tenant_key": tenant_key,
        "report_data": bound,
        "hpke_message": message,
        "session_id": session,
        "hello": sealer.seal(RecordType.HELLO, tenant_key + signing_key.sign(signed)),
        "package": sealer.seal(RecordType.PACKAGE, PACKAGE),
        "end_of_input": sealer.seal(RecordType.STDIN, b""),
        "longest": sealer.seal(RecordType.PACKAGE, LONGEST),
        "salted_digest": binding.salted_digest(Field.STDOUT, FIELD_SALT, PACKAGE),
        **pre_attested(),
    }


def pre_attested() -> dict[str, bytes]:
    """What a tenant of a keep on SEV-ES computes and sends besides: all of it follows from fixed bytes."""
    packet = slot.slot_packet(PACKET_RANDOM)
    launch_secret = slot.launch_secret(packet, "sev-es")
    tenant_key = Ed25519PrivateKey.from_private_bytes(TENANT_SEED).public_key().public_bytes_raw()
    bound = binding.report_data(
        tee="sev-es",
        nonce=NONCE,
        tenant_key_digest=hashlib.sha256(tenant_key).digest(),
        receiving_key=receiving_key(),
        receipt_key=receipt_key(),
    )
    sealer = records.Sealer(binding.to_keep_key(SECRET + launch_secret, PRE_ATTESTED_SESSION))
    return {
        "slot_packet": packet,
        "launch_secret_sev": slot.launch_secret(packet, "sev"),
        "launch_secret_sev_es": launch_secret,
        "pre_attested_report_data": bound,
        "proof": slot.proof(slot.proof_key(launch_secret), bound),
        "pre_attested_package": sealer.seal(RecordType.PACKAGE, PACKAGE),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    lines = [
        "# What a tenant computes and sends; made by tests/protocol/session_vectors.py from fixed seeds."
    ]
    lines += [f"{name}: {value.hex()}" for name, value in from_tenant().items()]
    FROM_TENANT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
