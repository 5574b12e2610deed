"""Keys once a session, and real evidence read in place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.evidence.forge import Forge
from tests.evidence.sev_forge import SevForge


def _rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@pytest.fixture(scope="session")
def forge() -> Forge:
    """A chain of the tests' own."""
    with ThreadPoolExecutor(2) as pool:
        ark, ask = pool.map(_rsa, (4096, 4096))
    return Forge(ark, ask, ec.generate_private_key(ec.SECP384R1()))


@pytest.fixture(scope="session")
def other(forge: Forge) -> Forge:
    """Another root and another chip: the same RSA keys, swapped."""
    return Forge(forge.ask_key, forge.ark_key, ec.generate_private_key(ec.SECP384R1()))


@pytest.fixture(scope="session")
def sev_forge(forge: Forge) -> SevForge:
    """A SEV platform of the tests' own, under the same root."""
    return SevForge.of(forge)


@pytest.fixture(scope="session")
def other_sev(other: Forge) -> SevForge:
    """Another platform under another root."""
    return SevForge.of(other)
