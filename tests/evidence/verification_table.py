"""The table of checks in ``docs/verification.md``, made from the source and the tests.

``python -m tests.evidence.verification_table`` writes it. A row is a check id that the code can refuse by,
the section of the specification it comes from, and a test that names the id.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.evidence.check_ids import collect

__all__ = ["DOCUMENT", "END", "START", "render", "section_of", "tests_of"]

_ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = _ROOT / "docs" / "verification.md"
START, END = "<!-- checks: made by tests/evidence/verification_table.py -->", "<!-- end of checks -->"
_NOT_ABOUT_REFUSING = ("tests/evidence/test_verification_table.py", "tests/evidence/test_purity.py")

_REFUSAL = re.compile(r"Rejected|_?refus")

_REPORT = "AMD 56860, 7.3 ATTESTATION_REPORT"
_POLICY = "AMD 56860, 4.3 guest policy"
_KDS = "AMD 57230, VCEK certificate and KDS interface"
_TCB = "AMD 56860, 2.2 TCB_VERSION"
_SEV = "AMD 55766"
_QUOTE = "Intel DCAP quote format, appendix A"
_PCS = "Intel PCS API v4"
_LEVELS = "Intel DCAP quote verification library, 4.1.2.4.17"
_TDX = "Intel TDX module ABI, TD report"
_SGX = "Intel SDM 3D, 38 enclave attributes and report"
# By the longest prefix of the id.
SECTIONS = {
    "cmw": "draft-ietf-rats-msg-wrap; docs/python-api.md",
    "dcap.certificates": "Intel SGX PCK certificate and CRL profile",
    "dcap.chain": "Intel SGX PCK certificate and CRL profile; RFC 5280, 6.1",
    "dcap.collateral": _PCS,
    "dcap.crl": "Intel SGX PCK certificate and CRL profile; RFC 5280, 5",
    "dcap.disagreement": "wasmkeep: two parsers of one quote",
    "dcap.pck": "Intel SGX PCK certificate profile, 1.3.5",
    "dcap.platform": "wasmkeep policy: tdx, sgx",
    "dcap.qe": f"{_PCS}, Get QE Identity",
    "dcap.quote": _QUOTE,
    "dcap.refused": "dcap-qvl",
    "dcap.revoked": "RFC 5280, 5",
    "dcap.root": "wasmkeep policy: roots",
    "dcap.signature": _QUOTE,
    "dcap.tcb": _LEVELS,
    "ear": "draft-ietf-rats-ear; RFC 7519; RFC 9052",
    "evidence": "wasmkeep: kinds of evidence",
    "evidence.age": "wasmkeep policy: evidence age",
    "pem": "RFC 7468, 5.1",
    "platform.denied": "wasmkeep policy: platforms",
    "platform": "wasmkeep: kinds of evidence",
    "sev.ca-certificate": f"{_SEV}, B.1 AMD certificate",
    "sev.certificate": f"{_SEV}, C certificate format",
    "sev.chain": f"{_SEV}, B and C certificates",
    "sev.generation": "wasmkeep policy: sev.generations",
    "sev.measurement": f"{_SEV}, 6.5 LAUNCH_MEASURE",
    "sev.owner": "wasmkeep policy: sev.owners",
    "sev.packet": f"{_SEV}, 6.6 LAUNCH_SECRET; 4.6 packet header",
    "sev.policy": f"{_SEV}, 3 guest policy",
    "sev.product": f"{_SEV}, B and C certificates",
    "sev.proof": "docs/protocol.md: pre-attested launch",
    "sev.report": f"{_SEV}, 6.8 ATTESTATION",
    "sev.root": "wasmkeep policy: roots",
    "sev.session": f"{_SEV}, 2 session",
    "sev.tenant-only": "docs/protocol.md: pre-attested launch",
    "sgx": _SGX,
    "snp.abi": _REPORT,
    "snp.author-key": _REPORT,
    "snp.certificates": _KDS,
    "snp.certificates.table": "AMD 56421, 4.1.8.1 extended guest request",
    "snp.chain": "AMD 57230, certificate chain; RFC 5280, 4.1.2.5",
    "snp.chip": _REPORT,
    "snp.crl": "AMD 57230, CRL; RFC 5280, 5",
    "snp.endorsement": "AMD 57230, certificate extensions",
    "snp.family-id": _REPORT,
    "snp.generation": "wasmkeep policy: snp.generations",
    "snp.guest-svn": _REPORT,
    "snp.hcl": "Azure HCL attestation report",
    "snp.host-data": _REPORT,
    "snp.id-block": "AMD 56860, 8.18 ID block and ID authentication",
    "snp.id-key": _REPORT,
    "snp.image-id": _REPORT,
    "snp.measurement": "AMD 56860, 8.17.2 launch digest",
    "snp.mitigations": _REPORT,
    "snp.platform": "AMD 56860, 7.3 PLATFORM_INFO",
    "snp.policy": _POLICY,
    "snp.product": _REPORT,
    "snp.report": _REPORT,
    "snp.report-data": _REPORT,
    "snp.root": "wasmkeep policy: roots",
    "snp.signature": "AMD 56860, 7.3; 10 signature formats",
    "snp.signer": _REPORT,
    "snp.stepping": "wasmkeep policy: snp.steppings",
    "snp.tcb": _TCB,
    "snp.tcb.provisional": "AMD 56860, 3.3 provisional firmware",
    "snp.vmpl": _REPORT,
    "tdx": _TDX,
    "tdx.module": f"{_PCS}, Get TCB Info",
}


def section_of(check: str) -> str:
    """The longest prefix's; ``KeyError`` for a check of a kind that the table above lacks."""
    parts = check.split(".")
    for size in range(len(parts), 0, -1):
        section = SECTIONS.get(".".join(parts[:size]))
        if section is not None:
            return section
    raise KeyError(check)


@cache
def tests_of() -> dict[str, str]:
    """The most particular test that names each id: the one that names the fewest."""
    found: dict[str, tuple[int, str]] = {}
    ids = set(collect()[0])
    for path in sorted((_ROOT / "tests").rglob("test_*.py")):
        name = str(path.relative_to(_ROOT))
        if name in _NOT_ABOUT_REFUSING:
            continue
        for test, texts, shows_refusal in _tests(ast.parse(path.read_text(encoding="utf-8"))):
            named = texts & ids if shows_refusal else set()
            for check in named:
                found[check] = min(found.get(check, (len(ids), "")), (len(named), f"{name}::{test}"))
    return {check: test for check, (_, test) in found.items()}


def _tests(tree: ast.Module) -> Iterator[tuple[str, set[str], bool]]:
    """Each test with the texts in it, in its parameters and in what it uses of its module, and whether it
    looks at a refusal at all."""
    names: dict[str, ast.AST] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            names |= {target.id: statement for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names[statement.target.id] = statement
        elif isinstance(statement, ast.FunctionDef) and not statement.name.startswith("test_"):
            names[statement.name] = statement
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_"):
            yield statement.name, *_reached(statement, names)
        if isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test_"):
                    yield f"{statement.name}::{inner.name}", *_reached(inner, names)


def _reached(node: ast.AST, names: dict[str, ast.AST]) -> tuple[set[str], bool]:
    """What a test says is not there does not show it refusing."""
    texts: set[str] = set()
    seen: set[str] = set()
    shows_refusal = False
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            texts.add(one.value)
        if isinstance(one, ast.Name) and _REFUSAL.match(one.id):
            shows_refusal = True
        if isinstance(one, ast.Name) and one.id in names and one.id not in seen:
            seen.add(one.id)
            waiting.append(names[one.id])
        if not _denies(one):
            waiting += ast.iter_child_nodes(one)
    return texts, shows_refusal


def _denies(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn | ast.NotEq)


def render() -> str:
    """The table's lines."""
    lines = ["| check | from | shown refusing by |", "|---|---|---|"]
    tests = tests_of()
    lines += [f"| `{check}` | {section_of(check)} | `{tests.get(check, 'none')}` |" for check in collect()[0]]
    return "\n".join(lines)


def document(text: str) -> str:
    """The document with the table in its place."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{render()}\n\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
