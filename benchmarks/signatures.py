"""The raw limit of a verifier: the signatures of some evidence, checked by OpenSSL and nothing else.

Everything is loaded and decoded before the clock starts; `Signatures.check` only calls ``verify``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from wasmkeep.evidence import SgxEvidence, SnpEvidence, TdxEvidence
from wasmkeep.evidence.dcap.quote import parse as parse_quote
from wasmkeep.evidence.snp.certificates import (
    RevocationList,
    Signed,
    load_authority,
    load_crl,
    load_endorsement,
)
from wasmkeep.evidence.snp.report import SIGNED_SIZE
from wasmkeep.evidence.snp.report import parse as parse_report

__all__ = ["Signatures", "of_quote", "of_report", "of_report_and_chain"]

_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_P256 = ec.ECDSA(hashes.SHA256())
_P384 = ec.ECDSA(hashes.SHA384())
_RAW_SIZE = 64
_Signed = x509.Certificate | x509.CertificateRevocationList


@dataclass(frozen=True, slots=True)
class Signatures:
    """``checks`` verify one signature each and raise InvalidSignature."""

    checks: tuple[Callable[[], None], ...]

    def check(self) -> None:
        for check in self.checks:
            check()


def of_report(evidence: SnpEvidence) -> Signatures:
    """The report's: what is left where the chain is known."""
    report, signed = parse_report(evidence.report), evidence.report[:SIGNED_SIZE]
    key = load_endorsement(evidence.vcek, "VCEK").key
    signature = encode_dss_signature(report.signature_r, report.signature_s)
    return Signatures((lambda: key.verify(signature, signed, _P384),))


def of_report_and_chain(evidence: SnpEvidence) -> Signatures:
    """The report's, and those of ARK, ASK, VCEK and revocation list."""
    ask, ark = (load_authority(der, "authority") for der in evidence.chain)
    vcek = load_endorsement(evidence.vcek, "VCEK")
    crl = [load_crl(evidence.crl)] if evidence.crl is not None else []
    of_ark: list[Signed | RevocationList] = [ark, ask, *crl]
    by_ark = [_rsa(ark.key, one.signature, one.signed_part) for one in of_ark]
    by_ask = _rsa(ask.key, vcek.signature, vcek.signed_part)
    return Signatures((*by_ark, by_ask, *of_report(evidence).checks))


def of_quote(evidence: TdxEvidence | SgxEvidence) -> Signatures:
    """The quote's, its quoting enclave's, and those of every certificate, list and statement, once each."""
    quote, collateral = parse_quote(evidence.quote), evidence.collateral
    if collateral is None:
        raise ValueError("a quote is verified with its collateral")
    enclave = quote.quoting_enclave
    pck = x509.load_pem_x509_certificates(enclave.pck_chain)
    signers = x509.load_pem_x509_certificates(collateral.tcb_info_issuer_chain.encode())
    certificates = list(dict.fromkeys((*pck, *signers)))
    lists = [x509.load_der_x509_crl(der) for der in (collateral.root_ca_crl, collateral.pck_crl)]
    signed: list[_Signed] = [*certificates, *lists]
    by_name = {certificate.subject: certificate for certificate in certificates}
    attestation_key = ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(), b"\x04" + quote.attestation_key
    )
    return Signatures(
        (
            *(_issued(what, by_name[what.issuer]) for what in signed),
            _statement(signers[0].public_key(), collateral.tcb_info_signature, collateral.tcb_info.encode()),
            _statement(
                signers[0].public_key(), collateral.qe_identity_signature, collateral.qe_identity.encode()
            ),
            _statement(pck[0].public_key(), enclave.signature, enclave.report.encode()),
            _statement(attestation_key, quote.signature, quote.signed_part),
        )
    )


def _rsa(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> Callable[[], None]:
    return lambda: key.verify(signature, signed, _PSS, hashes.SHA384())


def _issued(what: _Signed, issuer: x509.Certificate) -> Callable[[], None]:
    key, signature = issuer.public_key(), what.signature
    signed = what.tbs_certificate_bytes if isinstance(what, x509.Certificate) else what.tbs_certlist_bytes
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("Intel's authorities have P-256 keys")
    return lambda: key.verify(signature, signed, _P256)


def _statement(key: object, signature: bytes, signed: bytes) -> Callable[[], None]:
    """``signature`` is r and s, big-endian."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or len(signature) != _RAW_SIZE:
        raise TypeError("a P-256 signature was expected")
    half = _RAW_SIZE // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    encoded = encode_dss_signature(r, s)
    return lambda: key.verify(encoded, signed, _P256)
