"""Certificates and revocation list with AMD's profile (read off genuine ones; SEV.md C.11).

X.509 v3, RSASSA-PSS with SHA-384, MGF1-SHA-384 and a 48-byte salt. ARK and ASK spell the trailer field out,
VCEKs and lists leave it to its default, as AMD's do today. A VCEK has serial number 0 and only AMD's
extensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wasmkeep.simulator import der
from wasmkeep.simulator.products import Product

SALT_SIZE = 48
_SHA384 = der.object_identifier("2.16.840.1.101.3.4.2.2")
_PSS = der.object_identifier("1.2.840.113549.1.1.10")
_MGF1 = der.object_identifier("1.2.840.113549.1.1.8")
_AMD = "1.3.6.1.4.1.3704.1"
_KEY_CERT_SIGN = der.bit_string(b"\x04", unused=1)  # as AMD writes it; DER wants 2
_KEY_CERT_AND_CRL_SIGN = der.bit_string(b"\x06", unused=1)


@dataclass(frozen=True, slots=True)
class Validity:
    not_before: datetime
    not_after: datetime

    def encode(self) -> bytes:
        return der.sequence(der.time(self.not_before), der.time(self.not_after))


def _pss_algorithm(*, trailer: bool) -> bytes:
    digest = der.sequence(_SHA384, der.null())
    parameters = [
        der.explicit(0, digest),
        der.explicit(1, der.sequence(_MGF1, digest)),
        der.explicit(2, der.integer(SALT_SIZE)),
    ]
    if trailer:
        parameters.append(der.explicit(3, der.integer(1)))
    return der.sequence(_PSS, der.sequence(*parameters))


def _name(common_name: str) -> bytes:
    """AMD's distinguished names, in AMD's order."""
    parts = (
        ("2.5.4.11", der.utf8_string("Engineering")),
        ("2.5.4.6", der.printable_string("US")),
        ("2.5.4.7", der.utf8_string("Santa Clara")),
        ("2.5.4.8", der.utf8_string("CA")),
        ("2.5.4.10", der.utf8_string("Advanced Micro Devices")),
        ("2.5.4.3", der.utf8_string(common_name)),
    )
    return der.sequence(
        *(der.set_of(der.sequence(der.object_identifier(oid), value)) for oid, value in parts)
    )


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = (der.boolean(True),) if critical else ()
    return der.sequence(der.object_identifier(oid), *flag, der.octet_string(value))


def _signed(body: bytes, key: rsa.RSAPrivateKey, algorithm: bytes) -> bytes:
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), SALT_SIZE)
    return der.sequence(body, algorithm, der.bit_string(key.sign(body, pss, hashes.SHA384())))


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo; its SHA-256 is what a policy pins."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_identifier(key: rsa.RSAPublicKey) -> bytes:
    """RFC 5280 4.2.1.2 (1): SHA-1 of the key's bits. An identifier, not a protection."""
    bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return hashlib.sha1(bits, usedforsecurity=False).digest()


def _crl_points(product: Product, key: str) -> bytes:
    """Where AMD publishes the list; `key` is what the certificate's holder is for, vcek or vlek."""
    url = f"https://kdsintf.amd.com/{key}/v1/{product.kds}/crl"
    name = der.explicit(0, der.explicit(0, der.implicit(6, url.encode("ascii"))))
    return _extension("2.5.29.31", der.sequence(der.sequence(name)))


def _certificate(
    *,
    serial: int,
    issuer: str,
    subject: str,
    validity: Validity,
    public_key: bytes,
    extensions: Iterable[bytes],
    signer: rsa.RSAPrivateKey,
    trailer: bool,
) -> bytes:
    algorithm = _pss_algorithm(trailer=trailer)
    body = der.sequence(
        der.explicit(0, der.integer(2)),
        der.integer(serial),
        algorithm,
        _name(issuer),
        validity.encode(),
        _name(subject),
        public_key,
        der.explicit(3, der.sequence(*extensions)),
    )
    return _signed(body, signer, algorithm)


def issue_ark(product: Product, key: rsa.RSAPrivateKey, validity: Validity) -> bytes:
    """The machine's root, self-signed. DER."""
    name = f"ARK-{product.kds}"
    return _certificate(
        serial=product.serial_base,
        issuer=name,
        subject=name,
        validity=validity,
        public_key=spki(key.public_key()),
        extensions=(
            _extension("2.5.29.15", _KEY_CERT_AND_CRL_SIGN, critical=True),
            _extension("2.5.29.14", der.octet_string(_key_identifier(key.public_key()))),
            _extension("2.5.29.19", der.sequence(der.boolean(True)), critical=True),
            _crl_points(product, "vcek"),
        ),
        signer=key,
        trailer=True,
    )


def issue_ask(
    product: Product, key: rsa.RSAPublicKey, ark: rsa.RSAPrivateKey, validity: Validity, serial: int
) -> bytes:
    """The intermediate that signs VCEKs. DER."""
    return _intermediate(product, f"SEV-{product.kds}", key, ark, validity, serial, leaf="vcek")


def issue_asvk(product: Product, key: rsa.RSAPublicKey, ark: rsa.RSAPrivateKey, validity: Validity) -> bytes:
    """The intermediate that signs VLEKs. DER."""
    name, serial = f"SEV-VLEK-{product.kds}", product.asvk_serial
    return _intermediate(product, name, key, ark, validity, serial, leaf="vlek")


def _intermediate(
    product: Product,
    subject: str,
    key: rsa.RSAPublicKey,
    ark: rsa.RSAPrivateKey,
    validity: Validity,
    serial: int,
    *,
    leaf: str,
) -> bytes:
    authority = der.sequence(der.implicit(0, _key_identifier(ark.public_key())))
    constraints = der.sequence(der.boolean(True), der.integer(0))
    return _certificate(
        serial=serial,
        issuer=f"ARK-{product.kds}",
        subject=subject,
        validity=validity,
        public_key=spki(key),
        extensions=(
            _extension("2.5.29.14", der.octet_string(_key_identifier(key))),
            _extension("2.5.29.35", authority),
            _extension("2.5.29.19", constraints, critical=True),
            _extension("2.5.29.15", _KEY_CERT_SIGN, critical=True),
            _crl_points(product, leaf),
        ),
        signer=ark,
        trailer=True,
    )


def issue_vcek(
    product: Product,
    key: ec.EllipticCurvePublicKey,
    ask: rsa.RSAPrivateKey,
    validity: Validity,
    *,
    tcb: int,
    chip_id: bytes,
) -> bytes:
    """The certificate of one chip's key at one TCB version (u64 as in a report). DER."""
    hw_id = _extension(f"{_AMD}.4", chip_id[: product.chip_id_size])
    struct_version, issuer = product.struct_version, f"SEV-{product.kds}"
    identity = _identity(product, struct_version, product.extension, tcb)
    return _endorsement("SEV-VCEK", issuer, key, ask, validity, (*identity, hw_id))


def issue_vlek(
    product: Product,
    key: ec.EllipticCurvePublicKey,
    asvk: rsa.RSAPrivateKey,
    validity: Validity,
    *,
    tcb: int,
    csp_id: str,
) -> bytes:
    """The certificate of a cloud's key at one TCB version: no chip, but the cloud's name. DER."""
    cloud = _extension(f"{_AMD}.5", der.ia5_string(csp_id))
    identity = _identity(product, 0, product.kds, tcb)
    return _endorsement("SEV-VLEK", f"SEV-VLEK-{product.kds}", key, asvk, validity, (*identity, cloud))


def _identity(product: Product, struct_version: int, name: str, tcb: int) -> tuple[bytes, ...]:
    raw = tcb.to_bytes(8, "little")
    return (
        _extension(f"{_AMD}.1", der.integer(struct_version)),
        _extension(f"{_AMD}.2", der.ia5_string(name)),
        *(_extension(f"{_AMD}.3.{number}", der.integer(raw[at])) for number, at in product.spl_extensions),
    )


def _endorsement(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePublicKey,
    signer: rsa.RSAPrivateKey,
    validity: Validity,
    extensions: Iterable[bytes],
) -> bytes:
    return _certificate(
        serial=0,
        issuer=issuer,
        subject=subject,
        validity=validity,
        public_key=spki(key),
        extensions=extensions,
        signer=signer,
        trailer=False,
    )


def issue_crl(
    product: Product,
    ark: rsa.RSAPrivateKey,
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
    revoked: Iterable[int],
) -> bytes:
    """The root's revocation list, version 2. `revoked` are serial numbers of what the root issued. DER."""
    entries = [der.sequence(der.integer(serial), der.time(this_update)) for serial in revoked]
    algorithm = _pss_algorithm(trailer=False)
    authority = der.sequence(der.implicit(0, _key_identifier(ark.public_key())))
    body = der.sequence(
        der.integer(1),
        algorithm,
        _name(f"ARK-{product.kds}"),
        der.time(this_update),
        der.time(next_update),
        *((der.sequence(*entries),) if entries else ()),
        der.explicit(
            0,
            der.sequence(_extension("2.5.29.35", authority), _extension("2.5.29.20", der.integer(number))),
        ),
    )
    return _signed(body, ark, algorithm)
