"""What is fused into one chip: a secret that never leaves it, and everything derived from that secret.

Real chips derive CEK and VCEK with the SEV KDF from fuses; any derivation will do here, since the secret
stays inside.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wasmkeep.simulator.products import Product

SECRET_SIZE = 32
CHIP_ID_SIZE = 64
_P384_ORDER = (
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
)


def private_key(material: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-384 key out of 64 derived bytes: 16 more than the order's, so that the reduction has no bias worth
    speaking of."""
    return ec.derive_private_key(int.from_bytes(material) % (_P384_ORDER - 1) + 1, ec.SECP384R1())


class Chip:
    """One chip of one product. `chip_id` is 64 bytes, on Turin 8 and zeros."""

    def __init__(self, product: Product, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError("a chip secret has 32 bytes")
        self.product = product
        self._secret = secret
        self._keys: dict[int, ec.EllipticCurvePrivateKey] = {}
        self._cek: ec.EllipticCurvePrivateKey | None = None
        self.chip_id = self._derive("chip id", b"", product.chip_id_size).ljust(CHIP_ID_SIZE, b"\0")

    def _derive(self, label: str, context: bytes, size: int) -> bytes:
        info = f"wasmkeep simulated {self.product.name} {label}\0".encode() + context
        return HKDF(hashes.SHA384(), size, salt=None, info=info).derive(self._secret)

    def vcek(self, tcb: int) -> ec.EllipticCurvePrivateKey:
        """The versioned chip endorsement key: P-384, another one for each TCB version."""
        key = self._keys.get(tcb)
        if key is None:
            key = self._keys[tcb] = self._private_key("VCEK", tcb.to_bytes(8, "little"))
        return key

    def cek(self) -> ec.EllipticCurvePrivateKey:
        """The chip endorsement key (SEV API 2): P-384, one for the chip's life."""
        if self._cek is None:
            self._cek = self._private_key("CEK", b"")
        return self._cek

    def _private_key(self, label: str, context: bytes) -> ec.EllipticCurvePrivateKey:
        return private_key(self._derive(label, context, 64))

    def storage_key(self) -> bytes:
        """What seals SEV's persistent state where INIT_EX keeps it outside the chip, 32 bytes."""
        return self._derive("SEV persistent state", b"", 32)

    def root_key(self) -> bytes:
        """The root of derived guest keys (MSG_KEY_REQ with the VCEK as root), 32 bytes."""
        return self._derive("guest keys", b"", 32)

    def wrapping_key(self) -> bytes:
        """What AMD's key server wraps a cloud's hashstick with (SNP_VLEK_LOAD), 32 bytes."""
        return self._derive("VLEK wrapping", b"", 32)
