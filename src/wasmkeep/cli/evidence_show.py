"""``wasmkeep evidence show``: every field of an attestation report, in words. Nothing is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.snp.explain import Line

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="an attestation report, or a collection (JSON)"
    )
    parser.epilog = "Shows what the bytes claim. `wasmkeep evidence verify` says whether it is true."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - answers go to stdout
    """Print each report's fields."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.evidence_files import read_report
    from wasmkeep.evidence.snp.explain import explain
    from wasmkeep.evidence.snp.report import parse

    for path in options.files:
        report = parse(read_report(path))
        lines = explain(report)
        if options.json:
            import json

            fields = [{"group": line.group, "name": line.name, "value": line.value, "meaning": line.meaning}
                      for line in lines]  # fmt: skip
            answer(json.dumps({"file": path, "version": report.version, "verified": False, "fields": fields}))
        else:
            answer(_page(report.version, lines))
    return 0


def _page(version: int, lines: tuple[Line, ...]) -> str:
    from wasmkeep.cli.text import escape

    processor = next((line.value for line in lines if line.name == "processor"), "")
    page = [f"AMD SEV-SNP attestation report, version {version}, {processor} · nothing here was verified"]
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
