"""A cloud that has AMD's key server make it keys of its own (VLEK), and what that server publishes of them.

``<machine>/<product>/cloud/`` holds ``seed`` and ``asvk.key`` (0600) and ``asvk.der``, made when a machine is
first told to load a cloud's key. Published in the machine's ``kds/``: ``vlek/v1/<Product>/cert_chain`` (PEM,
ASVK then ARK) and ``…/crl``, the root's one list; and, what AMD's server hands to the cloud alone,
``…/cert/<TCB>.der`` and ``…/hash_sticks/<hwid>/<TCB>.bin``, wrapped for this chip.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wasmkeep.simulator import certificates
from wasmkeep.simulator.certificates import Validity
from wasmkeep.simulator.roots import (
    BACKDATE,
    ROOT_LIFE,
    Identity,
    check_modes,
    damaged,
    load_key,
    locked,
    make_whole,
    write_private,
)
from wasmkeep.simulator.vlek import hashstick, wrap

_SEED_SIZE = 32
_VLEK_LIFE = timedelta(days=365)
_SECRETS = ("seed", "asvk.key")


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud at one machine. `csp_id` is the name that its certificates carry."""

    identity: Identity
    csp_id: str
    seed: bytes
    asvk: rsa.RSAPrivateKey
    asvk_certificate: bytes

    def __repr__(self) -> str:  # keys stay out of logs and tracebacks
        return f"Cloud({self.csp_id!r}, {self.identity!r})"

    @property
    def _folder(self) -> Path:
        return self.identity.kds / "vlek" / "v1" / self.identity.product.kds

    def publish_chain(self, crl: bytes) -> None:
        """``cert_chain``: PEM, the ASVK before the ARK; and the root's list (DER) as ``crl``."""
        chain = (self.asvk_certificate, self.identity.ark_certificate)
        pem = b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in chain)
        write_private(self._folder / "cert_chain", pem)
        write_private(self._folder / "crl", crl)

    def publish_vlek(self, tcb: int) -> bytes:
        """The certificate of the cloud's key at `tcb`, DER, and the hashstick that gives this chip the key.
        Each time anew: it lives for a year only."""
        product, chip = self.identity.product, self.identity.chip
        start = datetime.now(UTC) - BACKDATE
        content = certificates.issue_vlek(
            product,
            hashstick(self.seed, tcb).key().public_key(),
            self.asvk,
            Validity(start, start + _VLEK_LIFE),
            tcb=tcb,
            csp_id=self.csp_id,
        )
        name = product.tcb_file_name(tcb)
        write_private(self._folder / "cert" / name, content)
        hwid = chip.chip_id[: product.chip_id_size].hex()
        stick = (self._folder / "hash_sticks" / hwid / name).with_suffix(".bin")
        write_private(stick, self.wrapped(tcb))
        return content

    def wrapped(self, tcb: int) -> bytes:
        """The hashstick at `tcb` as this machine's chip loads it, 432 bytes."""
        return wrap(hashstick(self.seed, tcb), self.identity.chip.wrapping_key())


def load_or_create(identity: Identity, csp_id: str, progress: Callable[[str], None]) -> Cloud:
    """The machine's cloud, made now if it is new. Raises `SystemFailure` where the folder is not fit."""
    folder = identity.folder / "cloud"
    with locked(identity.folder.parent):
        if not folder.is_dir():
            progress(f"making the cloud's keys of the simulated machine ({identity.product.kds}), once")
            make_whole(folder, lambda temporary: _fill(temporary, identity))
        return _load(folder, identity, csp_id)


def _fill(folder: Path, identity: Identity) -> None:
    product = identity.product
    key = rsa.generate_private_key(65537, product.rsa_bits)
    start = datetime.now(UTC) - BACKDATE
    validity = Validity(start, start + ROOT_LIFE)
    write_private(folder / "seed", secrets.token_bytes(_SEED_SIZE))
    encoded = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / "asvk.key", encoded)
    asvk = certificates.issue_asvk(product, key.public_key(), identity.ark, validity)
    write_private(folder / "asvk.der", asvk)


def _load(folder: Path, identity: Identity, csp_id: str) -> Cloud:
    check_modes(folder, _SECRETS)
    try:
        asvk, certificate = load_key(folder / "asvk.key"), (folder / "asvk.der").read_bytes()
        seed = (folder / "seed").read_bytes()
        certified = x509.load_der_x509_certificate(certificate).public_key()
    except (OSError, ValueError) as error:
        raise damaged(folder, str(error)) from error
    if not isinstance(asvk, rsa.RSAPrivateKey) or certified != asvk.public_key():
        raise damaged(folder, "keys and certificates do not belong together")
    if len(seed) != _SEED_SIZE:
        raise damaged(folder, "the cloud's seed has a wrong length")
    return Cloud(identity, csp_id, seed, asvk, certificate)
