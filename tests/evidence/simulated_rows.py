"""Evidence that the shared vectors lack, made by the simulator's own firmware under a root of the tests'
own: reports of Turin, Bergamo and Siena, keys of clouds (VLEK), versions 2, 3 and 5, masked chips, revoked
authorities.

`rows()` gives each with the facts to expect, in the words of the vectors' index. The facts are what the
machine was told, not what a parser read. `write` puts them into a folder in the form of the shared vectors.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.evidence.simulated_machines import (
    AT,
    CSP_ID,
    DEBUG,
    HOST_DATA,
    PLANS,
    REPORT_DATA,
    Machine,
    Plan,
    machine,
    roots,
)
from wasmkeep.evidence import Policy, SnpEvidence
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.snp import table
from wasmkeep.simulator.products import PRODUCTS, Product

__all__ = ["ACCEPTED", "AT", "CSP_ID", "NAMES", "SimulatedRow", "row", "rows", "write"]


@dataclass(frozen=True)
class SimulatedRow:
    """One piece of evidence. ``check`` is the check that refuses it under the plain policy, empty where that
    accepts; ``certificate`` is the VCEK or VLEK, ``chain`` its (ASK or ASVK, ARK), all DER."""

    name: str
    report: bytes
    certificate: bytes
    chain: tuple[bytes, bytes]
    crl: bytes
    pin: str
    expected: dict[str, Any]  # Any: JSON
    check: str = ""

    @property
    def product(self) -> str:
        return str(self.expected["product"])

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.expected["verify_at"])

    @property
    def is_vlek(self) -> bool:
        return bool(self.expected["signed_by"] == "VLEK")

    def evidence(self) -> SnpEvidence:
        return SnpEvidence(self.report, self.certificate, self.chain, self.crl)

    def policy(self) -> Policy:
        """The shipped plain policy with this machine's root pinned."""
        return replace(plain(), simulated=self.pin)

    def extended(self) -> bytes:
        """What an extended guest request gives: the report, then the host's certificate table."""
        own = {"vlek" if self.is_vlek else "vcek": self.certificate}
        ask, ark = self.chain
        return self.report + table.encode(table.CertificateTable(**own, ask=ask, ark=ark, crl=self.crl))


NAMES = tuple(PLANS)
ACCEPTED = tuple(name for name, plan in PLANS.items() if not plan.check)


@cache
def row(name: str) -> SimulatedRow:
    """The row of that name, made when it is first asked for."""
    plan, keys, made = PLANS[name], roots(), machine(name)
    product = made.facts.product
    ask, ark, asvk = keys.authorities(product)
    report = made.report()
    right = made.vlek if made.signs_with_vlek else made.vcek
    return SimulatedRow(
        name=name,
        report=report,
        certificate=plan.certificate(made) if plan.certificate else right(),
        chain=(asvk if made.signs_with_vlek else ask, ark),
        crl=keys.crl(product, plan.revoked),
        pin=keys.pin,
        expected=_expected(plan, made),
        check=plan.check,
    )


def rows() -> dict[str, SimulatedRow]:
    """All rows, by name."""
    return {name: row(name) for name in NAMES}


def _expected(plan: Plan, made: Machine) -> dict[str, Any]:
    """The facts, spelt as in the shared index."""
    facts = made.facts
    product = facts.product
    masked = facts.mask_chip_id
    signer = "VLEK" if made.signs_with_vlek else "none" if facts.mask_chip_key else "VCEK"
    expected: dict[str, Any] = {
        "report_version": plan.version,
        "product": product.kds,
        "signed_by": signer,
        "policy": hex(plan.guest_policy),
        "policy_debug": bool(plan.guest_policy & DEBUG),
        "policy_migrate_ma": False,
        "policy_smt": True,
        "policy_abi": "0.0",
        "guest_svn": 0,
        "vmpl": plan.vmpl,
        "platform_info": hex(facts.platform_info),
        "mask_chip_key": facts.mask_chip_key,
        "author_key_en": False,
        "current_tcb": _tcb(product, facts.current_tcb),
        "reported_tcb": _tcb(product, facts.reported_tcb),
        "committed_tcb": _tcb(product, facts.committed_tcb),
        "launch_tcb": _tcb(product, facts.current_tcb),
        "measurement": made.measurement.hex(),
        "report_data": REPORT_DATA.hex(),
        "host_data": HOST_DATA.hex(),
        "chip_id": bytes(64).hex() if masked else made.bench.chip.chip_id.hex(),
        "verify_at": f"{AT:%Y-%m-%dT%H:%M:%SZ}",
        "policy_verdict": plan.verdict,
    }
    if plan.version >= 3:
        expected["cpuid_fam_mod_step"] = bytes((product.family, product.model, product.stepping)).hex()
    if plan.certificate is None and signer != "none":
        expected |= {
            "report_signature_valid": True,
            "chain_valid": True,
            "vek_issuer": f"SEV-{'VLEK-' if signer == 'VLEK' else ''}{product.kds}",
            "vek_serial": 0,
            "vek_tcb": expected["reported_tcb"],
            "vek_tcb_equals_reported_tcb": True,
        }
        if signer == "VCEK":
            expected |= {"hwid_bytes": product.chip_id_size, "vek_product_name": product.extension}
            expected |= {} if masked else {"hwid_matches_chip_id": True}
        else:
            expected |= {"vek_product_name": product.kds, "csp_id": CSP_ID}
    return expected


def _tcb(product: Product, tcb: int) -> dict[str, int]:
    return {name.removesuffix("SPL"): value for name, value in product.tcb_components(tcb).items()}


def write(folder: Path, *, only: tuple[str, ...] = NAMES) -> str:
    """Put rows into `folder` in the form of the shared vectors (``index.json``, a folder for each, roots in
    ``snp/ca-roots``); gives the pin of their root."""
    index: list[dict[str, Any]] = []
    keys = roots()
    for product in (PRODUCTS[name] for name in ("milan", "genoa", "turin")):
        path = folder / f"snp/ca-roots/{product.name}-ask-ark-asvk.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(encode_certificate(der) for der in keys.authorities(product)))
    for name in only:
        made = row(name)
        role = "vlek" if made.is_vlek else "vcek"
        contents = {"report.bin": made.report, f"{role}.der": made.certificate}
        contents[f"ark-{made.product.lower()}.crl.der"] = made.crl
        target = folder / "snp" / name
        target.mkdir(parents=True, exist_ok=True)
        files = []
        for file, data in contents.items():
            (target / file).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            files.append({"file": f"snp/{name}/{file}", "size": len(data), "sha256": digest})
        entry = {"row": f"snp/{name}", "technology": "snp", "generation": made.product, "files": files}
        index.append({**entry, "expected": made.expected})
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    return keys.pin
