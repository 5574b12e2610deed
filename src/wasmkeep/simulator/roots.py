"""A machine's identity on disk: chip secret, ARK and ASK, made once and kept; and what it publishes.

``<state>/machines/<name>/<product>/`` holds ``chip-secret``, ``ark.key``, ``ask.key`` (all 0600),
``ark.der``, ``ask.der``, and ``kds/``, shaped like AMD's key distribution service:
``vcek/v1/<Product>/cert_chain`` (PEM, ASK then ARK), ``…/crl`` (DER) and
``…/<hwid>/blSPL=10,teeSPL=0,snpSPL=23,ucodeSPL=84.der``; and for SEV ``cek/id/<chip id>``, the signed CEK,
and ``sev/ask_ark_<product>.cert``, ASK then ARK in AMD's own format.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from wasmkeep.errors import SystemFailure, UsageError
from wasmkeep.simulator import certificates
from wasmkeep.simulator.certificates import Validity
from wasmkeep.simulator.chip import SECRET_SIZE, Chip
from wasmkeep.simulator.products import Product
from wasmkeep.simulator.sev import endorsement
from wasmkeep.whole_file import write_whole

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ROOT_LIFE = timedelta(days=25 * 365 + 6)
_VCEK_LIFE = timedelta(days=7 * 365 + 2)
_CRL_LIFE = timedelta(days=365)
_CRL_RENEWAL = timedelta(days=30)  # a list older than this is issued anew when the machine starts
BACKDATE = timedelta(hours=1)  # clocks of a tenant's computer run behind, too
_SECRETS = ("chip-secret", "ark.key", "ask.key")


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys and certificates of one machine. `root_sha256` is the SHA-256 of the ARK's SPKI, hex."""

    product: Product
    folder: Path
    chip: Chip
    ark: rsa.RSAPrivateKey
    ask: rsa.RSAPrivateKey
    ark_certificate: bytes
    ask_certificate: bytes

    @property
    def root_sha256(self) -> str:
        return hashlib.sha256(certificates.spki(self.ark.public_key())).hexdigest()

    @property
    def kds(self) -> Path:
        return self.folder / "kds"

    def __repr__(self) -> str:  # keys stay out of logs and tracebacks
        return f"Identity({self.folder}, root {self.root_sha256[:16]})"


def machine_folder(state: Path, name: str, product: Product) -> Path:
    """Where a machine lives. Raises `UsageError` for a name that is not one plain path component."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "simulator.machine.name",
            "a machine's name cannot be that",
            found=repr(name),
            required="1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
        )
    return state / "machines" / name / product.name


def load_or_create(state: Path, name: str, product: Product, progress: Callable[[str], None]) -> Identity:
    """The machine's identity, made now if it is new. Raises `SystemFailure` where the folder is not fit."""
    folder = machine_folder(state, name, product)
    with locked(folder.parent):
        if not folder.is_dir():
            progress(f"making the root keys of the simulated machine {name!r} ({product.kds}), once")
            _create(folder, product)
        return _load(folder, product)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the machine's lock file: two starts of one new machine make one root."""
    try:
        _make_private(folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SystemFailure(
            "simulator.state",
            "the simulated machine's state folder cannot be used",
            found=f"{folder}: {error.strerror}",
            remedy="set XDG_STATE_HOME to a folder you may write",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(folder: Path, product: Product) -> None:
    """A machine is there whole or not at all."""
    with ThreadPoolExecutor(2) as pool:
        ark, ask = pool.map(lambda _: rsa.generate_private_key(65537, product.rsa_bits), range(2))
    start = datetime.now(UTC) - BACKDATE
    validity = Validity(start, start + ROOT_LIFE)

    def fill(temporary: Path) -> None:
        write_private(temporary / "chip-secret", secrets.token_bytes(SECRET_SIZE))
        for name, key in (("ark.key", ark), ("ask.key", ask)):
            encoded = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            write_private(temporary / name, encoded)
        write_private(temporary / "ark.der", certificates.issue_ark(product, ark, validity))
        ask_certificate = certificates.issue_ask(product, ask.public_key(), ark, validity, product.ask_serial)
        write_private(temporary / "ask.der", ask_certificate)

    make_whole(folder, fill)


def make_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """`folder` with what `fill` writes, into a folder beside it that is renamed then; or no folder."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fill(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load_key(path: Path) -> PrivateKeyTypes:
    """Raises OSError, or ValueError for bytes that are no key."""
    # Validating an RSA-4096 key takes longer than all else at a boot. This one is the machine's own, and
    # the certificates beside it are compared with its public half.
    return load_der_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)


def _load(folder: Path, product: Product) -> Identity:
    check_modes(folder)
    try:
        ark, ask = (load_key(folder / name) for name in _SECRETS[1:])
        secret = (folder / "chip-secret").read_bytes()
        ark_certificate, ask_certificate = ((folder / f"{name}.der").read_bytes() for name in ("ark", "ask"))
        issued = [x509.load_der_x509_certificate(each) for each in (ark_certificate, ask_certificate)]
    except (OSError, ValueError) as error:
        raise damaged(folder, str(error)) from error
    if not isinstance(ark, rsa.RSAPrivateKey) or not isinstance(ask, rsa.RSAPrivateKey):
        raise damaged(folder, "a root key is not RSA")
    if [each.public_key() for each in issued] != [ark.public_key(), ask.public_key()]:
        raise damaged(folder, "keys and certificates do not belong together")
    if len(secret) != SECRET_SIZE:
        raise damaged(folder, "the chip secret has a wrong length")
    return Identity(product, folder, Chip(product, secret), ark, ask, ark_certificate, ask_certificate)


def check_modes(folder: Path, names: tuple[str, ...] = _SECRETS) -> None:
    """Raises `SystemFailure` where a secret file is missing or others may read it."""
    for name in names:
        try:
            mode = (folder / name).stat().st_mode
        except OSError as error:
            raise damaged(folder, f"{name}: {error.strerror}") from error
        if mode & 0o077:
            raise SystemFailure(
                "simulator.state.mode",
                "a simulated machine's secret key is readable by others",
                found=f"{folder / name} has mode {mode & 0o777:04o}",
                required="0600",
                remedy="delete the machine's folder: its keys may have been read",
            )


def damaged(folder: Path, found: str) -> SystemFailure:
    """What to raise for a folder whose contents do not fit."""
    return SystemFailure(
        "simulator.state.damaged",
        "the simulated machine's state is damaged",
        found=f"{folder}: {found}",
        remedy="delete that folder; the machine then has a new root, which policies must pin anew",
    )


def _make_private(folder: Path) -> None:
    """`folder` and whatever is missing above it, mode 0700."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(exist_ok=True, mode=0o700)


def write_private(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all, mode 0600, folders 0700."""
    _make_private(path.parent)
    write_whole(path, content)


class Endorser:
    """Publishes a machine's endorsements in its ``kds/`` folder, as AMD's service would serve them."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._folder = identity.kds / "vcek" / "v1" / identity.product.kds

    def publish(self, *, revoke_ask: bool) -> None:
        """All that does not depend on a TCB. A chip without SNP has no X.509 certificates of AMD's."""
        self.publish_sev()
        if self._identity.product.has_snp:
            self.publish_chain()
            self.publish_crl(revoke_ask=revoke_ask)

    def publish_chain(self) -> None:
        """``cert_chain``: PEM, the ASK before the ARK."""
        chain = (self._identity.ask_certificate, self._identity.ark_certificate)
        pem = b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in chain)
        path = self._folder / "cert_chain"
        if not path.is_file() or path.read_bytes() != pem:
            write_private(path, pem)

    def publish_crl(self, *, revoke_ask: bool, now: datetime | None = None) -> None:
        """``crl``: renewed when it ages, or when what it revokes changes; its number only grows."""
        moment = now or datetime.now(UTC)
        revoked = {*self._identity.product.revoked}
        if revoke_ask:
            revoked.add(self._identity.product.ask_serial)
        path = self._folder / "crl"
        with locked(self._identity.folder.parent):
            number = 1
            if path.is_file():
                old = x509.load_der_x509_crl(path.read_bytes())
                same = {entry.serial_number for entry in old} == revoked
                if same and timedelta(0) <= moment - old.last_update_utc < _CRL_RENEWAL:
                    return
                number += old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            content = certificates.issue_crl(
                self._identity.product,
                self._identity.ark,
                number=number,
                this_update=moment - BACKDATE,
                next_update=moment + _CRL_LIFE,
                revoked=sorted(revoked),
            )
            write_private(path, content)

    def crl(self) -> bytes:
        """The list as it was published."""
        return (self._folder / "crl").read_bytes()

    def publish_vcek(self, tcb: int) -> bytes:
        """The certificate of this chip's key at `tcb`, issued once and then served again. DER."""
        identity = self._identity
        hwid = identity.chip.chip_id[: identity.product.chip_id_size].hex()
        path = self._folder / hwid / identity.product.tcb_file_name(tcb)
        if path.is_file():
            return path.read_bytes()
        start = datetime.now(UTC) - BACKDATE
        content = certificates.issue_vcek(
            identity.product,
            identity.chip.vcek(tcb).public_key(),
            identity.ask,
            Validity(start, start + _VCEK_LIFE),
            tcb=tcb,
            chip_id=identity.chip.chip_id,
        )
        write_private(path, content)
        return content

    def publish_sev(self) -> None:
        """``sev/ask_ark_<product>.cert`` and ``cek/id/<chip id>``, made anew where they are not this
        machine's.
        """
        machine = self._identity
        ark, ask = machine.ark.public_key(), machine.ask.public_key()
        path = machine.kds / "sev" / f"ask_ark_{machine.product.name}.cert"
        if not (path.is_file() and endorsement.are_authorities(path.read_bytes(), ark, ask)):
            write_private(path, endorsement.issue_authorities(machine.product, machine.ark, machine.ask))
        path = machine.kds / "cek" / "id" / machine.chip.chip_id.hex()
        if not (path.is_file() and endorsement.is_cek(path.read_bytes(), machine.chip, ask)):
            write_private(path, endorsement.issue_cek(machine.chip, machine.ask))
