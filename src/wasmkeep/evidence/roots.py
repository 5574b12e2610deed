"""Pinned root keys: SHA-256 digests of the SubjectPublicKeyInfo (DER), and nothing else.

A common name proves nothing: anyone can make a self-consistent chain under a root called "ARK-Milan". A
simulator's root is in no table; it counts only where the policy pins it, and never beside vendors' roots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["AMD_ROOTS", "INTEL_ROOTS", "Root", "format_pin", "parse_pin", "simulated_root"]

_PIN_PREFIX = "sha256:"
_DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class Root:
    """A root key that a chain may end at.

    ``product`` is the generation it speaks for, empty where its certificates say (a simulator's, Intel's);
    ``simulated`` is True only for a root made from a policy's pin.
    """

    name: str
    spki_sha256: bytes
    product: str
    simulated: bool

    @property
    def pin(self) -> str:
        """``sha256:`` and 64 hexadecimal digits, as policies and screens write it."""
        return format_pin(self.spki_sha256)


def _amd(product: str, digest: str) -> Root:
    return Root(
        name=f"AMD ARK {product}", spki_sha256=bytes.fromhex(digest), product=product, simulated=False
    )


_AMD = (
    # Of Milan, Genoa and Turin each digest agrees in at least five independent projects and with AMD's
    # published certificate. Naples and Rome have no X.509 root: these are of their ARKs in AMD's own format.
    _amd("Naples", "3a04f8f1347de206c9206a81148ba4ef0a233b245d43a15dd82de043bb3e4f69"),
    _amd("Rome", "7447ffa21e2b938bfade89f5e9066c00a328813bfc43685605cceabd18da6fde"),
    _amd("Milan", "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"),
    _amd("Genoa", "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"),
    _amd("Turin", "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"),
)

AMD_ROOTS: Mapping[bytes, Root] = MappingProxyType({root.spki_sha256: root for root in _AMD})
"""AMD's root keys (ARK) by SPKI digest: the same keys in X.509 (SEV-SNP) and in AMD's own format (SEV)."""

INTEL_ROOTS: Mapping[bytes, Root] = MappingProxyType(
    {
        root.spki_sha256: root
        for root in (
            # Agrees in five independent projects, and is the last certificate of every real quote.
            Root(
                name="Intel SGX Root CA",
                spki_sha256=bytes.fromhex("a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"),
                product="",
                simulated=False,
            ),
        )
    }
)
"""Intel's root key by SPKI digest, of SGX and TDX alike."""


def format_pin(spki_sha256: bytes) -> str:
    """``sha256:<hex>`` of a 32-byte SPKI digest; ``ValueError`` for another length."""
    if len(spki_sha256) != _DIGEST_SIZE:
        raise ValueError("an SPKI digest has 32 bytes")
    return _PIN_PREFIX + spki_sha256.hex()


def parse_pin(text: str) -> bytes:
    """The 32-byte digest in ``sha256:`` and 64 lower-case hexadecimal digits; else ``ValueError``."""
    digits = text.removeprefix(_PIN_PREFIX)
    hexadecimal = len(digits) == 2 * _DIGEST_SIZE and set(digits) <= set("0123456789abcdef")
    if not text.startswith(_PIN_PREFIX) or not hexadecimal:
        raise ValueError("a pin is written sha256: and 64 lower-case hexadecimal digits")
    return bytes.fromhex(digits)


def simulated_root(pin: bytes) -> Root:
    """The root that a policy pins for a simulator. Raises ``ValueError`` if it is a vendor's key."""
    vendors = AMD_ROOTS.get(pin) or INTEL_ROOTS.get(pin)
    if vendors is not None:
        raise ValueError(f"{vendors.name} is a vendor's root, not a simulator's")
    return Root(name="a simulator's root", spki_sha256=pin, product="", simulated=True)
