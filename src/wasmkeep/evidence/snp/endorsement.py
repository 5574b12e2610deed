"""What AMD says in an endorsement key's certificate: AMD's extensions, 1.3.6.1.4.1.3704.1 (KDS profile).

Read only after the certificate's signature verified. INTEGERs are minimal DER. hwID is 64 bytes, or 8, as
they are: AMD writes no inner tag, but one that it may add (OCTET STRING, as for every other extension) reads
the same. An extension of AMD's arc that this version does not know is a refusal: it may be a TCB component.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp.certificates import Endorsement
from wasmkeep.evidence.snp.products import layout_of, product_of_certificate
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout

__all__ = ["AMD_ARC", "OID", "EndorsedIdentity", "read_endorsement"]

AMD_ARC = "1.3.6.1.4.1.3704.1"
OID = {
    "structVersion": f"{AMD_ARC}.1",
    "productName": f"{AMD_ARC}.2",
    "blSPL": f"{AMD_ARC}.3.1",
    "teeSPL": f"{AMD_ARC}.3.2",
    "snpSPL": f"{AMD_ARC}.3.3",
    "spl4": f"{AMD_ARC}.3.4",
    "spl5": f"{AMD_ARC}.3.5",
    "spl6": f"{AMD_ARC}.3.6",
    "spl7": f"{AMD_ARC}.3.7",
    "ucodeSPL": f"{AMD_ARC}.3.8",
    "fmcSPL": f"{AMD_ARC}.3.9",
    "hwID": f"{AMD_ARC}.4",
    "cspID": f"{AMD_ARC}.5",
}

_NAMES = {oid: name for name, oid in OID.items()}
_RESERVED = ("spl4", "spl5", "spl6", "spl7")
_TAG_INTEGER, _TAG_OCTETS, _TAG_IA5 = 0x02, 0x04, 0x16
_HW_ID_SIZES = (8, 64)
_MAX_TEXT = 127
_SECTION = "AMD 57230, certificate extensions"


@dataclass(frozen=True, slots=True)
class EndorsedIdentity:
    """The platform that a VCEK or VLEK speaks for.

    ``product`` is the generation (``Milan``), ``product_name`` the certificate's spelling (``Milan-B0``);
    ``hw_id`` is without a tag (64 bytes, on Turin 8) and None in a VLEK; ``csp_id`` names a VLEK's cloud.
    """

    struct_version: int
    product_name: str
    product: str
    tcb: Tcb
    hw_id: bytes | None
    csp_id: str | None


def read_endorsement(certificate: Endorsement) -> EndorsedIdentity:
    """Decode AMD's extensions. Raises `Rejected`: ``snp.endorsement.extension`` (missing, unknown or
    malformed), ``snp.endorsement.product`` (a product this version does not know)."""
    raw = {_known(oid): value for oid, value in certificate.extensions if oid.startswith(AMD_ARC + ".")}
    product_name = _text(raw, "productName")
    product = product_of_certificate(product_name)
    if product is None:
        raise Rejected(
            Finding(
                "snp.endorsement.product",
                Kind.UNSUPPORTED,
                f"the {certificate.label} is for a processor that this verifier does not know",
                found=product_name,
                required="Milan, Genoa or Turin",
                section=_SECTION,
            )
        )
    reserved = [name for name in _RESERVED if name in raw and _integer(raw, name)]
    if reserved:
        raise _refused(f"{reserved[0]} is not zero", "reserved components are zero")
    return EndorsedIdentity(
        struct_version=_integer(raw, "structVersion"),
        product_name=product_name,
        product=product,
        tcb=_tcb(raw, layout_of(product)),
        hw_id=_hw_id(raw),
        csp_id=_text(raw, "cspID") if "cspID" in raw else None,
    )


def _tcb(raw: dict[str, bytes], layout: TcbLayout) -> Tcb:
    has_fmc = layout is TcbLayout.FAMILY_1AH
    if ("fmcSPL" in raw) != has_fmc:
        raise _refused("fmcSPL " + ("missing" if has_fmc else "present"), "fmcSPL on family 1Ah only")
    return Tcb(
        bootloader=_integer(raw, "blSPL"),
        tee=_integer(raw, "teeSPL"),
        snp=_integer(raw, "snpSPL"),
        microcode=_integer(raw, "ucodeSPL"),
        fmc=_integer(raw, "fmcSPL") if has_fmc else None,
    )


def _hw_id(raw: dict[str, bytes]) -> bytes | None:
    """By length alone, so that no value can be read in two ways."""
    value = raw.get("hwID")
    if value is None or len(value) in _HW_ID_SIZES:
        return value
    return _value(raw, "hwID", _TAG_OCTETS, max(_HW_ID_SIZES))


def _known(oid: str) -> str:
    name = _NAMES.get(oid)
    if name is None:
        raise _refused(f"extension {oid}", "AMD's extensions that this verifier knows", Kind.UNSUPPORTED)
    return name


def _value(raw: dict[str, bytes], name: str, tag: int, limit: int) -> bytes:
    """The content of a short-form DER value (X.690, 8.1.3.4) that fills the extension exactly."""
    if name not in raw:
        raise _refused(f"no {name}", "all of AMD's extensions")
    der = raw[name]
    if len(der) < 3 or der[0] != tag or der[1] != len(der) - 2 or der[1] > limit:
        raise _refused(f"{name} is {der[:16].hex()}", "one DER value")
    return der[2:]


def _integer(raw: dict[str, bytes], name: str) -> int:
    """0 to 255, in the minimal encoding (X.690, 8.3.2)."""
    content = _value(raw, name, _TAG_INTEGER, 2)
    padded = len(content) == 2
    if padded != (content[-1] > 0x7F) or (padded and content[0]):
        raise _refused(f"{name} is {raw[name].hex()}", "0 to 255 in minimal DER")
    return content[-1]


def _text(raw: dict[str, bytes], name: str) -> str:
    content = _value(raw, name, _TAG_IA5, _MAX_TEXT)
    if not all(0x20 <= byte < 0x7F for byte in content):
        raise _refused(f"{name} is {content.hex()}", "printable ASCII")
    return content.decode("ascii")


def _refused(found: str, required: str, kind: Kind = Kind.MALFORMED) -> Rejected:
    return Rejected(
        Finding(
            "snp.endorsement.extension",
            kind,
            "an extension of the endorsement key's certificate cannot be read",
            found=found,
            required=required,
            section=_SECTION,
        )
    )
