"""Evidence with all that vouches for it: from the files that were named, a folder, or services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from wasmkeep.errors import InputError
from wasmkeep.evidence.errors import Rejected

if TYPE_CHECKING:
    from datetime import datetime

    from wasmkeep.cli.evidence_files import Files, Subject
    from wasmkeep.evidence.cmw import AnyEvidence

__all__ = ["Completed", "complete"]


@dataclass(frozen=True, slots=True)
class Completed:
    """Evidence, and when the user retrieved its revocation list; None where the list came with it."""

    evidence: AnyEvidence
    crl_retrieved: datetime | None


def complete(subject: Subject, files: Files, where: str | None) -> Completed:
    """The evidence that a subject is, with what vouches for it: from the files, and from ``where`` (a folder
    or services, None for neither). Services are asked for a list and collateral whatever the files hold.

    Raises Rejected: for bytes that break their format, for what is missing, for kinds that are known and not
    judged; and what services raise.
    """
    from wasmkeep.cli.endorsements_places import is_service

    try:
        found: Completed | None = _from_files(subject, files)
    except Rejected as rejected:
        if where is None or rejected.check != "snp.chain.missing":
            raise
        found, missing = None, rejected
    if where is None or (found is not None and not is_service(where) and _is_whole(found.evidence)):
        return found if found is not None else _raise(missing)
    try:
        return _from_elsewhere(subject, found, files, where)
    except InputError:
        if is_service(where):
            raise
        return found if found is not None else _raise(missing)


def _raise(error: Rejected) -> NoReturn:
    raise error


def _from_files(subject: Subject, files: Files) -> Completed:
    from wasmkeep.evidence.assembly import assemble

    evidence = assemble(subject.data, files.material)
    crl = getattr(evidence, "crl", None)
    retrieved = (one.retrieved for one in files.material.lists if one.der == crl)
    return Completed(evidence, next(retrieved, None))


def _is_whole(evidence: AnyEvidence) -> bool:
    from wasmkeep.evidence import SnpEvidence
    from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence

    if isinstance(evidence, SnpEvidence):
        return evidence.crl is not None
    return evidence.collateral is not None if isinstance(evidence, TdxEvidence | SgxEvidence) else True


def _from_elsewhere(subject: Subject, found: Completed | None, files: Files, where: str) -> Completed:
    import asyncio

    return asyncio.run(_asked(subject, found, files, where))


async def _asked(subject: Subject, found: Completed | None, files: Files, where: str) -> Completed:
    from wasmkeep.cli.endorsements_places import opened
    from wasmkeep.endorsements.completion import complete_quote, complete_report
    from wasmkeep.evidence import SnpEvidence
    from wasmkeep.evidence.assembly import bare_report, signing_certificate
    from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence

    evidence = None if found is None else found.evidence
    async with opened(where) as source:
        if isinstance(evidence, TdxEvidence | SgxEvidence):
            return Completed(await complete_quote(source, evidence.quote), None)
        if isinstance(evidence, SnpEvidence):
            completed = await complete_report(source, evidence.report, certificate=evidence.vcek)
        elif found is None:
            report, material = bare_report(subject.data, files.material)
            certificate = signing_certificate(report, material)
            completed = await complete_report(source, report, certificate=certificate)
        else:
            return found
    return Completed(completed.evidence, completed.crl_retrieved)
