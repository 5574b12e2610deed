"""Certificates, lists and reports among a row's files, told apart by their contents, not by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.vectors_conformance.index import UnusableIndex, VectorFile, VectorRow
from wasmkeep.evidence import Rejected, SnpEvidence
from wasmkeep.evidence.pem import decode_certificates
from wasmkeep.evidence.snp import table
from wasmkeep.evidence.snp.certificates import (
    PSS_SALT_SIZE,
    Authority,
    Endorsement,
    load_authority,
    load_crl,
    load_endorsement,
)
from wasmkeep.evidence.snp.report import REPORT_SIZE

__all__ = ["HCL_OFFSET", "Material", "collect"]

HCL_OFFSET = 32
_HCL_MAGIC = b"HCLA"
_PEM = re.compile(rb"\s*-----BEGIN ")
_DER_SEQUENCE = b"\x30"
_MAX_PEM = 1 << 16
_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), PSS_SALT_SIZE)
_NOT_EVIDENCE = (".csr.der", ".csr.pem", ".json", ".md", ".txt")


@dataclass(frozen=True)
class Material:
    """What a row holds for SEV-SNP. ``report`` and ``crl`` are None where it has none; ``wrapped`` is the
    whole of Azure's report; ``unreadable`` are certificates that no parser here takes. Roots of other folders
    stand behind the row's own."""

    report: bytes | None
    wrapped: bytes | None
    endorsements: tuple[Endorsement, ...]
    intermediates: tuple[Authority, ...]
    roots: tuple[Authority, ...]
    unreadable: tuple[bytes, ...]
    crl: bytes | None

    @property
    def endorsement(self) -> Endorsement:
        """The VCEK or VLEK."""
        if not self.endorsements:
            raise UnusableIndex("the row has no VCEK and no VLEK that can be read")
        return self.endorsements[0]

    @property
    def intermediate(self) -> Authority:
        """The row's own ASK or ASVK; among several, the one that the endorsement key's issuer names."""
        if not self.intermediates:
            raise UnusableIndex("no intermediate certificate is here")
        named = [one for one in self.intermediates if self._is_issuer(one)]
        signers = [one for one in named if self._signed(one)]
        return (signers or named or list(self.intermediates))[0]

    @property
    def root(self) -> Authority:
        """The ARK that the intermediate names as its issuer."""
        named = [root for root in self.roots if root.subject == self.intermediate.issuer]
        if not named:
            raise UnusableIndex("no root of this product is here")
        return named[0]

    @property
    def evidence(self) -> SnpEvidence:
        """All of it as evidence."""
        if self.report is None:
            raise UnusableIndex("the row has no report")
        key = self.endorsement.der if self.endorsements else b"".join(self.unreadable[:1])
        return SnpEvidence(self.report, key, (self.intermediate.der, self.root.der), self.crl)

    def _is_issuer(self, authority: Authority) -> bool:
        return bool(self.endorsements) and authority.subject == self.endorsement.issuer

    def _signed(self, authority: Authority) -> bool:
        """Of two intermediates with one name, a row without its own means the one that signed."""
        try:
            authority.key.verify(
                self.endorsement.signature, self.endorsement.signed_part, _PSS, hashes.SHA384()
            )
        except InvalidSignature:
            return False
        return True


@dataclass
class _Sorting:
    """The piles, while files are told apart."""

    ders: list[bytes]
    report: bytes | None = None
    wrapped: bytes | None = None
    crl: bytes | None = None

    def add(self, file: VectorFile) -> None:
        data = file.data
        if _PEM.match(data):
            self.ders += decode_certificates(data.decode("ascii"))
        elif data.startswith(_HCL_MAGIC):
            self.wrapped, self.report = data, data[HCL_OFFSET : HCL_OFFSET + REPORT_SIZE]
        elif data.startswith(_DER_SEQUENCE):
            if _is_list(data):
                self.crl = data
            else:
                self.ders.append(data)
        elif file.name.startswith("cert") and len(data) != REPORT_SIZE:
            self._add_table(data)
        else:
            self._add_report(data)

    def _add_report(self, data: bytes) -> None:
        """A report; with a certificate table behind it where it is longer."""
        self.report = data
        if len(data) > REPORT_SIZE:
            try:
                self._add_table(data[REPORT_SIZE:])
            except Rejected:
                return
            self.report = data[:REPORT_SIZE]

    def _add_table(self, data: bytes) -> None:
        found = table.decode(data)
        self.ders += [der for der in (found.vcek, found.vlek, found.ask, found.ark) if der is not None]
        self.crl = self.crl or found.crl


def collect(row: VectorRow) -> Material:
    """Sort a row's files; a second certificate for the same key ("reissued") stands behind the first."""
    piles = _Sorting([])
    for file in sorted(row.files, key=lambda file: "reissued" in file.name):
        if not file.name.endswith(_NOT_EVIDENCE):
            piles.add(file)
    own = [(der, _load(der)) for der in piles.ders]
    authorities = [one for _, one in own if isinstance(one, Authority)]
    mine = {one.der for one in authorities}
    others = [one for folder in row.authorities for one in _authorities(folder) if one.der not in mine]
    every = list({one.der: one for one in (*authorities, *others)}.values())
    return Material(
        piles.report,
        piles.wrapped,
        tuple(one for _, one in own if isinstance(one, Endorsement)),
        tuple(one for one in every if one.subject != one.issuer),
        tuple(one for one in every if one.subject == one.issuer),
        tuple(der for der, one in own if one is None),
        piles.crl,
    )


def _load(der: bytes) -> Endorsement | Authority | None:
    for load, label in ((load_endorsement, "VCEK or VLEK"), (load_authority, "authority")):
        try:
            return load(der, label)
        except Rejected:
            continue
    return None


def _is_list(der: bytes) -> bool:
    try:
        load_crl(der)
    except Rejected:
        return False
    return True


@cache
def _authorities(folder: Path) -> tuple[Authority, ...]:
    return tuple(_read_authorities(folder / "snp"))


def _read_authorities(folder: Path) -> Iterator[Authority]:
    """Those of ``ca-roots`` first, then those that other rows bring."""
    paths = sorted(folder.glob("*/*.pem"), key=lambda path: (path.parent.name != "ca-roots", path))
    for path in (path for path in paths if path.stat().st_size < _MAX_PEM):
        for der in decode_certificates(path.read_text(encoding="ascii")):
            one = _load(der)
            if isinstance(one, Authority):
                yield one
