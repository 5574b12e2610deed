"""Bodies of the right outer shape, for tests that do not look inside."""

from __future__ import annotations

import base64

from wasmkeep.endorsements import Cek, CertChain, Crl, Document, Product, SevCa, SevProduct, Vcek

CHIP = bytes(range(1, 65))
VCEK = Vcek.of_report(Product.GENOA, CHIP, bytes([9, 0, 0, 0, 0, 0, 23, 72]))
CHAIN = CertChain(Product.GENOA)
CRL = Crl(Product.GENOA)
CEK = Cek(CHIP)
SEV_CA = SevCa(SevProduct.GENOA)


def der(content: bytes) -> bytes:
    """A DER SEQUENCE around ``content``."""
    size = len(content)
    if size < 128:
        return bytes([0x30, size]) + content
    return b"\x30\x82" + size.to_bytes(2, "big") + content


def pem(certificate: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(certificate) + b"-----END CERTIFICATE-----\n"


VCEK_BODY = der(b"vcek")
ASK, ARK = der(b"ask" * 100), der(b"ark" * 100)
CHAIN_BODY = pem(ASK) + pem(ARK)
CRL_BODY = der(b"crl" * 50)
VERSION_1 = (1).to_bytes(4, "little")
CEK_BODY = VERSION_1 + bytes(2080)
SEV_ASK, SEV_ARK = VERSION_1 + b"a" * 1596, VERSION_1 + b"A" * 1596
SEV_CA_BODY = SEV_ASK + SEV_ARK
BODIES: dict[Document, bytes] = {VCEK: VCEK_BODY, CHAIN: CHAIN_BODY, CRL: CRL_BODY}
SEV_BODIES: dict[Document, bytes] = {CEK: CEK_BODY, SEV_CA: SEV_CA_BODY}
