"""Evidence in files: collections, bare reports, SEV's certificates, and what to judge them with.

Sorting files into their kinds decides nothing about trust: whatever is picked here goes through every check.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli.flags import read_file
from wasmkeep.errors import InputError
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp.report import REPORT_SIZE, SigningKey, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmkeep.evidence.sev.chain import PlatformCertificates
    from wasmkeep.evidence.sev.evidence import SevEvidence
    from wasmkeep.evidence.sev.files import AnyCertificate
    from wasmkeep.evidence.snp.certificates import Authority, Endorsement, RevocationList
    from wasmkeep.evidence.snp.evidence import SnpEvidence

__all__ = ["Files", "read_each", "read_files", "read_report"]

_MAX_FILE_SIZE = 1 << 20  # bytes
_MAX_FILES = 512
_PEM = b"-----BEGIN CERTIFICATE-----"


@dataclass(slots=True)
class Files:
    """What the files hold: reports and whole collections by name, and what can vouch for a report; and the
    certificates of a SEV platform, from whichever files."""

    reports: list[tuple[str, bytes]] = field(default_factory=list)
    collections: list[tuple[str, SnpEvidence | SevEvidence]] = field(default_factory=list)
    sev: list[AnyCertificate] = field(default_factory=list)
    keys: list[Endorsement] = field(default_factory=list)
    authorities: list[Authority] = field(default_factory=list)
    lists: list[tuple[RevocationList, bytes]] = field(default_factory=list)

    def evidence(self) -> Iterator[tuple[str, SnpEvidence | SevEvidence]]:
        """Every piece of evidence with its file's name. Raises Rejected where a certificate is missing."""
        yield from self.collections
        for name, report in self.reports:
            yield name, self._complete(name, report)

    def platform(self) -> PlatformCertificates | None:
        """The SEV chain, None where there is no certificate of one. Raises Rejected where one is missing, or
        two differ."""
        from wasmkeep.evidence.sev.files import assemble

        if not self.sev:
            return None
        certificates, wrong = assemble(self.sev)
        if certificates is None:
            finding = Finding(
                "sev.chain.missing",
                Kind.UNTRUSTED,
                "the files do not hold each certificate of one SEV platform once",
                f"none or several: {', '.join(wrong)}",
                "PDH, PEK, OCA, CEK, ASK and ARK",
                advice="`wasmkeep endorsements fetch` gets the CEK, ASK and ARK",
            )
            raise Rejected(finding)
        return certificates

    def _complete(self, name: str, data: bytes) -> SnpEvidence:
        from wasmkeep.evidence.snp.evidence import SnpEvidence

        report = parse(data)
        signer = "VLEK" if report.signing_key == SigningKey.VLEK else "VCEK"
        keys = [key for key in self.keys if key.common_name == f"SEV-{signer}"]
        if not keys:
            raise _missing(name, f"the {signer} that signed it")
        # A folder may hold the keys of many chips; a certificate contains its chip's identity.
        key = next(
            (key for key in keys if any(report.chip_id in value for _, value in key.extensions)), keys[0]
        )
        ask = next((one for one in self.authorities if one.subject == key.issuer), None)
        ark = next((one for one in self.authorities if ask is not None and one.subject == ask.issuer), None)
        if ask is None or ark is None:
            raise _missing(name, "the ASK above its key" if ask is None else "the ARK above its ASK")
        crl = next((der for found, der in self._newest_first() if found.issuer == ark.subject), None)
        return SnpEvidence(data, key.der, (ask.der, ark.der), crl)

    def _newest_first(self) -> list[tuple[RevocationList, bytes]]:
        return sorted(self.lists, key=lambda pair: pair[0].issued, reverse=True)


def read_files(paths: list[str], folder: str | None) -> Files:
    """Sort the files named and, where given, all files of a folder. Raises InputError, Rejected."""
    files = Files()
    for path, data in read_each(paths):
        _sort(files, path, data)
    if not files.reports and not files.collections and not files.sev:
        raise InputError(
            "evidence.none",
            f"there is no evidence in {', '.join(paths)}",
            required=f"a collection (JSON), a report of {REPORT_SIZE} bytes, or SEV certificates",
        )
    if folder is not None:
        for path in _files_of(folder):
            data = read_file(path, "the endorsement", limit=_MAX_FILE_SIZE)
            if len(data) != REPORT_SIZE and not data.startswith(b"{"):
                _sort(files, path, data)
    return files


def read_report(path: str) -> bytes:
    """The attestation report in a file, bare or in a collection. Raises InputError, Rejected."""
    data = read_file(path, "the evidence", limit=_MAX_FILE_SIZE)
    if not data.startswith(b"{"):
        return data
    from wasmkeep.evidence import SevEvidence, cmw

    evidence = cmw.decode(data).evidence
    if isinstance(evidence, SevEvidence):
        raise InputError("evidence.none", f"there is no attestation report in {path}: SEV has none")
    return evidence.report


def read_each(paths: list[str]) -> Iterator[tuple[str, bytes]]:
    """Files with their names; of a folder, all that are in it. Raises InputError."""
    for path in paths:
        for file in _files_of(path) if Path(path).is_dir() else (path,):
            yield file, read_file(file, "the evidence", limit=_MAX_FILE_SIZE)


def _files_of(folder: str) -> list[str]:
    if not Path(folder).is_dir():
        raise InputError("input.directory", f"there is no folder {folder}")
    paths = []
    for root, _, names in os.walk(folder):
        paths += [os.path.join(root, name) for name in sorted(names)]
        if len(paths) > _MAX_FILES:
            raise InputError(
                "input.too-many", f"too many files in {folder}", required=f"at most {_MAX_FILES}"
            )
    return paths


def _sort(files: Files, path: str, data: bytes) -> None:
    from wasmkeep.evidence import cmw
    from wasmkeep.evidence.pem import decode_certificates
    from wasmkeep.evidence.sev.files import is_certificates, parse_all

    if data.startswith(b"{"):
        files.collections.append((path, cmw.decode(data).evidence))
    elif len(data) == REPORT_SIZE:
        files.reports.append((path, data))
    elif is_certificates(data):
        files.sev += parse_all(data)
    elif data.lstrip().startswith(_PEM):
        for der in decode_certificates(data.decode("ascii", "replace")):
            _sort_certificate(files, path, der)
    else:
        _sort_certificate(files, path, data)


def _sort_certificate(files: Files, path: str, der: bytes) -> None:
    """Try the three kinds of DER that AMD issues; what is none of them is the user's mistake."""
    from wasmkeep.evidence.snp.certificates import load_authority, load_crl, load_endorsement

    try:
        files.authorities.append(load_authority(der, "authority"))
        return
    except Rejected:
        pass
    try:
        files.keys.append(load_endorsement(der, "endorsement key"))
        return
    except Rejected:
        pass
    try:
        files.lists.append((load_crl(der), der))
    except Rejected as error:
        raise InputError(
            "evidence.file",
            f"{path} is nothing that evidence is made of",
            required="a report, a collection, or certificates and revocation lists of AMD's",
        ) from error


def _missing(name: str, what: str) -> Rejected:
    return Rejected(
        Finding(
            "snp.chain.missing",
            Kind.UNTRUSTED,
            f"{name}: {what} is not among the files",
            required="VCEK (or VLEK), ASK and ARK",
            advice="name a folder that holds them with --endorsements",
        )
    )
