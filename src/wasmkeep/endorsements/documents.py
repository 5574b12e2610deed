"""What AMD's key distribution service hands out, and how each document is named.

The shape is AMD's KDS (publication 57230, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS
Interface Specification", chapter 4)::

    /vcek/v1/<product>/<hwid>?blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=72     DER, the VCEK
    /vcek/v1/Turin/<hwid>?fmcSPL=1&blSPL=...                             DER, the VCEK of a Turin
    /vcek/v1/<product>/cert_chain                                        PEM, ASK then ARK
    /vcek/v1/<product>/crl                                               DER, the ARK's revocation list
    /vlek/v1/<product>/cert_chain                                        PEM, ASVK then ARK
    /vlek/v1/<product>/crl                                               DER, the ARK's list again
    /cek/id/<128 hexadecimal digits>                                     a chip's signed CEK, SEV certificate
    /sev/ask_ark_<product>.cert                                          ASK then ARK in AMD's own format

AMD gives a VLEK's certificate to the cloud that it is for, so it comes with the evidence. The last two above
are for SEV and SEV-ES (SEV API 0.24, AMD 55766, appendices B and C); AMD serves the pair from
its download site. The same names make up a folder of endorsements, with the query as the last part of a
file's name. Every part is checked before it becomes part of a path: a product is one of a few words, a
hardware id hexadecimal digits, a security patch level an integer of one byte.

Nothing here is trusted or decides trust: ``wasmkeep.evidence`` checks what these documents say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from wasmkeep.endorsements.bodies import check_chain, check_der, check_sev_ca, check_sev_certificate
from wasmkeep.endorsements.intel import IntelDocument
from wasmkeep.errors import InputError

__all__ = ["Cek", "CertChain", "ChipKey", "Crl", "Document", "Product", "SevCa", "SevProduct", "Vcek"]

VCEK_BYTES = 8 * 1024
CHAIN_BYTES = 64 * 1024
CRL_BYTES = 1024 * 1024
SEV_CERTIFICATE_BYTES = 2084
SEV_CA_BYTES = 2 * 1600
_HWID_BYTES = 64
_TURIN_HWID_BYTES = 8
_DECIMAL = re.compile(r"[0-9]{1,3}\Z")
_LOWER_HEX = re.compile(r"[0-9a-f]+\Z")

# Byte of TCB_VERSION that holds each level (SEV-SNP firmware ABI 56860, section 2.2, table 3), in the order
# in which KDS names them.
_FAMILY_19H = (("blSPL", 0), ("teeSPL", 1), ("snpSPL", 6), ("ucodeSPL", 7))
_FAMILY_1AH = (("fmcSPL", 0), ("blSPL", 1), ("teeSPL", 2), ("snpSPL", 3), ("ucodeSPL", 7))


class Product(StrEnum):
    """A processor generation, spelled as KDS spells it."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"

    @classmethod
    def named(cls, name: str) -> Product:
        """The product of this name, in any case. Raises ``InputError`` for any other name."""
        try:
            return cls(name.capitalize())
        except ValueError:
            raise _no_product(name, cls) from None

    @property
    def levels(self) -> tuple[tuple[str, int], ...]:
        """Names of the security patch levels, each with its byte in TCB_VERSION."""
        return _FAMILY_1AH if self is Product.TURIN else _FAMILY_19H

    @property
    def hwid_bytes(self) -> int:
        return _TURIN_HWID_BYTES if self is Product.TURIN else _HWID_BYTES


class ChipKey(StrEnum):
    """The kinds of keys that sign reports; the authority above each is another."""

    VCEK = "vcek"
    VLEK = "vlek"


class SevProduct(StrEnum):
    """A processor generation that has SEV, spelled as in the names of AMD's files."""

    NAPLES = "naples"
    ROME = "rome"
    MILAN = "milan"
    GENOA = "genoa"
    TURIN = "turin"

    @classmethod
    def named(cls, name: str) -> SevProduct:
        """The product of this name, in any case. Raises ``InputError`` for any other name."""
        try:
            return cls(name.lower())
        except ValueError:
            raise _no_product(name, cls) from None


@dataclass(frozen=True, slots=True)
class Vcek:
    """The certificate of one chip's key at one TCB version; it never changes.

    ``hwid`` is 64 bytes (Turin: 8); ``levels`` one integer, 0 to 255, for each name in ``product.levels``.
    """

    product: Product
    hwid: bytes
    levels: tuple[int, ...]

    max_bytes = VCEK_BYTES
    media_type = "application/pkix-cert"

    def __post_init__(self) -> None:
        if len(self.hwid) != self.product.hwid_bytes:
            raise _malformed("hardware id", f"{len(self.hwid)} bytes", f"{self.product.hwid_bytes} bytes")
        if not any(self.hwid):
            raise InputError(
                "endorsements.chip_masked",
                "the chip's id is masked (all zero), so there is no VCEK to fetch",
                found="chip id of zeros",
                required="the chip's own id",
                remedy="ask the host's operator to clear MASK_CHIP_ID",
            )
        if len(self.levels) != len(self.product.levels):
            raise _malformed("patch levels", str(len(self.levels)), str(len(self.product.levels)))
        for level in self.levels:
            if not 0 <= level <= 255:
                raise _malformed("a patch level", str(level), "0 to 255")

    @classmethod
    def of_report(cls, product: Product, chip_id: bytes, reported_tcb: bytes) -> Vcek:
        """The VCEK that signs reports of this chip at this TCB.

        ``chip_id`` is the report's 64 bytes, ``reported_tcb`` its TCB_VERSION of 8 bytes as they stand in the
        report (little-endian u64). Raises ``InputError`` for other lengths, reserved bytes that are set or a
        masked chip id.
        """
        if len(chip_id) != _HWID_BYTES or any(chip_id[product.hwid_bytes :]):
            raise _malformed("chip id", chip_id[:_HWID_BYTES].hex(), "64 bytes; of a Turin, zero after 8")
        if len(reported_tcb) != 8:
            raise _malformed("TCB version", f"{len(reported_tcb)} bytes", "8 bytes")
        used = {byte for _, byte in product.levels}
        if any(value for byte, value in enumerate(reported_tcb) if byte not in used):
            raise _malformed("TCB version", reported_tcb.hex(), f"reserved bytes of {product} zero")
        return cls(
            product, chip_id[: product.hwid_bytes], tuple(reported_tcb[byte] for _, byte in product.levels)
        )

    @classmethod
    def of_request(cls, product: Product, hwid: str, query: Sequence[tuple[str, str]]) -> Vcek:
        """The VCEK that a KDS-shaped request names; each level once, in decimal, in any order."""
        if len(hwid) != 2 * product.hwid_bytes or not _LOWER_HEX.match(hwid.lower()):
            raise _malformed("hardware id", repr(hwid[:128]), f"{2 * product.hwid_bytes} hexadecimal digits")
        names = [name for name, _ in product.levels]
        given = dict(query)
        if len(given) != len(query) or set(given) != set(names):
            raise _malformed(
                "query", repr([name[:16] for name, _ in query[:8]]), ", ".join(names) + ", each once"
            )
        for value in given.values():
            if not _DECIMAL.match(value):
                raise _malformed("a patch level", repr(value[:16]), "a decimal number, 0 to 255")
        return cls(product, bytes.fromhex(hwid), tuple(int(given[name]) for name in names))

    @property
    def url_path(self) -> str:
        return f"vcek/v1/{self.product}/{self.hwid.hex()}"

    @property
    def query(self) -> str:
        return "&".join(
            f"{name}={level}" for (name, _), level in zip(self.product.levels, self.levels, strict=True)
        )

    @property
    def file_path(self) -> str:
        return f"{self.url_path}/{self.query.replace('&', ',')}.der"

    @property
    def description(self) -> str:
        return f"VCEK of this {self.product} chip at this TCB ({self.query})"

    def check(self, body: bytes) -> None:
        check_der(body, "a VCEK certificate")


@dataclass(frozen=True, slots=True)
class CertChain:
    """ASK (above a VLEK: ASVK) and ARK of one generation, PEM. AMD has reissued an ASK before, so it is
    fetched again in time."""

    product: Product
    key: ChipKey = ChipKey.VCEK

    max_bytes = CHAIN_BYTES
    media_type = "application/x-pem-file"
    query = ""

    @property
    def url_path(self) -> str:
        return f"{self.key}/v1/{self.product}/cert_chain"

    @property
    def file_path(self) -> str:
        return self.url_path

    @property
    def description(self) -> str:
        return f"certificate chain of {self.product}"

    def check(self, body: bytes) -> None:
        check_chain(body)


@dataclass(frozen=True, slots=True)
class Crl:
    """The revocation list of one generation's ARK, DER. It is the same for both kinds of keys."""

    product: Product
    key: ChipKey = ChipKey.VCEK

    max_bytes = CRL_BYTES
    media_type = "application/pkix-crl"
    query = ""

    @property
    def url_path(self) -> str:
        return f"{self.key}/v1/{self.product}/crl"

    @property
    def file_path(self) -> str:
        return self.url_path

    @property
    def description(self) -> str:
        return f"revocation list of {self.product}"

    def check(self, body: bytes) -> None:
        check_der(body, "a revocation list")


@dataclass(frozen=True, slots=True)
class Cek:
    """A chip's CEK as its ASK signed it; the chip itself exports it unsigned. It never changes for one chip.

    ``chip_id`` is GET_ID's, 64 bytes (a Turin's eight and zeros).
    """

    chip_id: bytes

    max_bytes = SEV_CERTIFICATE_BYTES
    media_type = "application/octet-stream"
    query = ""
    description = "signed CEK of this chip"

    def __post_init__(self) -> None:
        if len(self.chip_id) != _HWID_BYTES or not any(self.chip_id):
            raise _malformed("chip id", self.chip_id[:_HWID_BYTES].hex(), "64 bytes, not all zero")

    @classmethod
    def of_request(cls, chip_id: str) -> Cek:
        """The CEK that a request names, by 128 hexadecimal digits."""
        if len(chip_id) != 2 * _HWID_BYTES or not _LOWER_HEX.match(chip_id.lower()):
            raise _malformed("chip id", repr(chip_id[:128]), f"{2 * _HWID_BYTES} hexadecimal digits")
        return cls(bytes.fromhex(chip_id))

    @property
    def url_path(self) -> str:
        return f"cek/id/{self.chip_id.hex()}"

    @property
    def file_path(self) -> str:
        return self.url_path

    def check(self, body: bytes) -> None:
        check_sev_certificate(body, "a SEV certificate")


@dataclass(frozen=True, slots=True)
class SevCa:
    """ASK then ARK of one generation, in the format of SEV API 0.24 (AMD 55766), appendix B."""

    product: SevProduct

    max_bytes = SEV_CA_BYTES
    media_type = "application/octet-stream"
    query = ""

    @property
    def url_path(self) -> str:
        return f"sev/ask_ark_{self.product}.cert"

    @property
    def file_path(self) -> str:
        return self.url_path

    @property
    def description(self) -> str:
        return f"ASK and ARK of {self.product.capitalize()} for SEV"

    def check(self, body: bytes) -> None:
        check_sev_ca(body)


AmdDocument = Vcek | CertChain | Crl | Cek | SevCa
Document = AmdDocument | IntelDocument


def _no_product(name: str, products: type[StrEnum]) -> InputError:
    return InputError(
        "endorsements.product",
        "there is no such processor generation",
        found=repr(name[:32]),
        required=", ".join(products),
    )


def _malformed(what: str, found: str, required: str) -> InputError:
    return InputError("endorsements.name", f"{what} is malformed", found=found, required=required)
