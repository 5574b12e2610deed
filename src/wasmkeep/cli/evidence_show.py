"""``wasmkeep evidence show``: every field of reports and certificates, in words. Nothing is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.sev.evidence import SevEvidence
    from wasmkeep.evidence.sev.files import AnyCertificate
    from wasmkeep.evidence.snp.explain import Line

__all__ = ["configure", "execute"]

_UNVERIFIED = "nothing here was verified"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an attestation report, a collection (JSON), SEV certificates, or a folder of these",
    )
    parser.epilog = "Shows what the bytes claim. `wasmkeep evidence verify` says whether it is true."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - answers go to stdout
    """Print each file's fields."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.evidence_files import read_each

    for path, data in read_each(options.files):
        for heading, facts, lines in _subjects(data):
            if options.json:
                import json

                fields = [
                    {"group": line.group, "name": line.name, "value": line.value, "meaning": line.meaning}
                    for line in lines
                ]
                answer(json.dumps({"file": path, **facts, "verified": False, "fields": fields}))
            else:
                answer(_page(heading, lines))
    return 0


_Subject = tuple[str, dict[str, object], tuple["Line", ...]]


def _subjects(data: bytes) -> Iterator[_Subject]:
    """What a file holds: a heading, facts for machines, and the fields. Raises Rejected."""
    from wasmkeep.evidence import SevEvidence, cmw
    from wasmkeep.evidence.sev.files import is_certificates, parse_all

    if is_certificates(data):
        yield from map(_certificate, parse_all(data))
    elif data.startswith(b"{"):
        evidence = cmw.decode(data).evidence
        if isinstance(evidence, SevEvidence):
            yield from _launch(evidence)
        else:
            yield _report(evidence.report)
    else:
        yield _report(data)


def _report(data: bytes) -> _Subject:
    from wasmkeep.evidence.snp.explain import explain
    from wasmkeep.evidence.snp.report import parse

    report = parse(data)
    lines = explain(report)
    processor = next((line.value for line in lines if line.name == "processor"), "")
    heading = f"AMD SEV-SNP attestation report, version {report.version}, {processor} · {_UNVERIFIED}"
    return heading, {"version": report.version}, lines


def _certificate(one: AnyCertificate) -> _Subject:
    from wasmkeep.evidence.sev.explain import explain_certificate, title

    return f"{title(one)} · {_UNVERIFIED}", {"certificate": one.label}, explain_certificate(one)


def _launch(evidence: SevEvidence) -> Iterator[_Subject]:
    from wasmkeep.evidence.sev import ca_certificate, certificate
    from wasmkeep.evidence.sev.explain import explain_launch

    heading = f"{evidence.kind.upper()} launch, which only its tenant can verify · {_UNVERIFIED}"
    yield heading, {"launch": evidence.kind}, explain_launch(evidence)
    chain = evidence.certificates
    for name in ("pdh", "pek", "oca", "cek"):
        yield _certificate(certificate.parse(getattr(chain, name), name.upper()))
    for name in ("ask", "ark"):
        yield _certificate(ca_certificate.parse(getattr(chain, name), name.upper()))


def _page(heading: str, lines: tuple[Line, ...]) -> str:
    from wasmkeep.cli.text import escape

    page = [heading]
    group = ""
    for line in lines:
        if line.name == "processor":
            continue
        label, group = (line.group if line.group != group else ""), line.group
        meaning = f"  {line.meaning}" if line.meaning else ""
        page.append(escape(f"  {label:<11}{line.name:<22}{_compact(line.value)}{meaning}"))
    return "\n".join(page)


def _compact(value: str) -> str:
    """A field of nothing but zeros, in one word; everything else whole, since people compare it."""
    return f"0 ({len(value) // 2} bytes)" if len(value) > 8 and not value.strip("0") else value
