"""SEV's certificates as they lie in files: one, a platform's export, or a pair of authorities. Told by size.

====================  =====================================================
size                  contents
====================  =====================================================
2084                  one SEV certificate
6252                  PEK ‖ OCA ‖ CEK, as PDH_CERT_EXPORT gives them
832, 1600; 576        an ARK or ASK; the legacy Naples ARK
1664, 3200            ASK ‖ ARK
====================  =====================================================

All begin with a version of 1, little-endian. Sorting decides nothing about trust: `chain` checks everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from wasmkeep.evidence.sev import ca_certificate, certificate
from wasmkeep.evidence.sev.ca_certificate import CaCertificate
from wasmkeep.evidence.sev.certificate import CERTIFICATE_SIZE, Certificate, Usage
from wasmkeep.evidence.sev.chain import PlatformCertificates

__all__ = ["AnyCertificate", "assemble", "is_certificates", "parse_all"]

AnyCertificate: TypeAlias = Certificate | CaCertificate

_EXPORT_SIZE = 3 * CERTIFICATE_SIZE
_PAIR_SIZES = tuple(2 * size for size in ca_certificate.SIZES)
_SIZES = {CERTIFICATE_SIZE, _EXPORT_SIZE, *_PAIR_SIZES, *ca_certificate.SIZES, ca_certificate.LEGACY_SIZE}
_VERSION = b"\1\0\0\0"
_PLACES = (Usage.ARK, Usage.ASK, Usage.CEK, Usage.PEK, Usage.OCA, Usage.PDH)


def is_certificates(data: bytes) -> bool:
    """Whether a file looks like certificates of SEV's."""
    return len(data) in _SIZES and data.startswith(_VERSION)


def parse_all(data: bytes) -> tuple[AnyCertificate, ...]:
    """The certificates in a file. Raises `Rejected` as `certificate.parse` and `ca_certificate.parse` do."""
    if len(data) in _PAIR_SIZES:
        return ca_certificate.parse_pair(data)
    if len(data) % CERTIFICATE_SIZE == 0 and data:
        parts = range(0, len(data), CERTIFICATE_SIZE)
        return tuple(certificate.parse(data[at : at + CERTIFICATE_SIZE], "certificate") for at in parts)
    return (ca_certificate.parse(data, "authority"),)


def assemble(found: Iterable[AnyCertificate]) -> tuple[PlatformCertificates | None, tuple[str, ...]]:
    """The chain that certificates make, and the labels of what is missing or there more than once (then
    None).

    A platform exports its CEK without AMD's signature: of two with one body, the one that has a signature of
    the ASK's among them counts.
    """
    by_usage: dict[Usage, list[AnyCertificate]] = {usage: [] for usage in _PLACES}
    for one in found:
        by_usage[one.usage].append(one)
    asks = [one for one in by_usage[Usage.ASK] if isinstance(one, CaCertificate)]
    chosen = {usage: tuple(_candidates(ones, asks)) for usage, ones in by_usage.items()}
    wrong = tuple(usage.name for usage in _PLACES if len(chosen[usage]) != 1)
    if wrong:
        return None, wrong
    return PlatformCertificates(*(chosen[usage][0] for usage in _PLACES)), ()


def _candidates(ones: list[AnyCertificate], asks: list[CaCertificate]) -> Iterator[bytes]:
    """One encoding for each body."""
    by_body: dict[bytes, AnyCertificate] = {}
    for one in ones:
        if one.body not in by_body or (
            isinstance(one, Certificate) and any(one.signed_by(Usage.ASK, ask.key) for ask in asks)
        ):
            by_body[one.body] = one
    yield from (one.encode() for one in by_body.values())
