"""Evidence that the shared vectors lack, made by the simulator's own firmware under a root of the tests'
own: reports of Turin, Bergamo and Siena, keys of clouds (VLEK), versions 2, 3 and 5, masked chips, revoked
authorities.

`rows()` gives each with the facts to expect, in the words of the vectors' index. The facts are what the
machine was told, not what a parser read. `write` puts them into a folder in the form of the shared vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.simulator.bench import Bench, Channel, configuration
from wasmkeep.evidence import Policy, SnpEvidence
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.snp import table
from wasmkeep.simulator import certificates
from wasmkeep.simulator.certificates import Validity, spki
from wasmkeep.simulator.products import PRODUCTS, Product
from wasmkeep.simulator.secure_processor import Configuration
from wasmkeep.simulator.vlek import hashstick, wrap

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
CSP_ID = "CN=cc-simulated.cloud.example"
REPORT_DATA = hashlib.sha512(b"a tenant's question").digest()
HOST_DATA = b"\x11" * 32  # what the bench's host gives every guest
_DEBUG = 1 << 19
_POLICY = 0x3_0000
_EITHER, _VCEK, _VLEK = 0, 1, 2  # KEY_SEL
_CLOUD_SEED = hashlib.sha256(b"a cloud's seed").digest()
_LINES = {"bergamo": ("genoa", 0xA0, 1), "siena": ("genoa", 0xA0, 2), "turin-dense": ("turin", 0x11, 0)}


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


@dataclass(frozen=True)
class _Plan:
    """How a row is made: the machine, what the guest asks for, and what is spoilt afterwards."""

    line: str
    version: int
    key_select: int = _VCEK
    cloud: bool = False  # a VLEK is loaded, and its host masks the chip's identity
    vmpl: int = 0
    guest_policy: int = _POLICY
    settings: dict[str, Any] = field(default_factory=dict)  # Any: fields of Configuration
    revoked: tuple[int, ...] = ()
    certificate: Callable[[_Machine], bytes] | None = None  # in place of the right one
    verdict: str = "accept"
    check: str = ""


class _Roots:
    """Keys of one ARK, ASK and ASVK, and their certificates for any product."""

    def __init__(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            self.ark, self.ask, self.asvk = pool.map(
                lambda _: rsa.generate_private_key(65537, 4096), range(3)
            )

    @property
    def pin(self) -> str:
        return "sha256:" + hashlib.sha256(spki(self.ark.public_key())).hexdigest()

    def authorities(self, product: Product) -> tuple[bytes, bytes, bytes]:
        """(ASK, ARK, ASVK), DER."""
        life = Validity(AT - timedelta(days=1000), AT + timedelta(days=8000))
        return (
            certificates.issue_ask(product, self.ask.public_key(), self.ark, life, product.ask_serial),
            certificates.issue_ark(product, self.ark, life),
            certificates.issue_asvk(product, self.asvk.public_key(), self.ark, life),
        )

    def crl(self, product: Product, revoked: tuple[int, ...]) -> bytes:
        return certificates.issue_crl(
            product,
            self.ark,
            number=3,
            this_update=AT - timedelta(days=20),
            next_update=AT + timedelta(days=345),
            revoked=revoked,
        )


class _Machine:
    """A bench of the planned kind and its certificates."""

    def __init__(self, plan: _Plan, roots: _Roots, name: str) -> None:
        self.plan, self.roots = plan, roots
        settings = _settings(plan)
        self.facts = settings
        self.bench = Bench(settings, hashlib.sha256(name.encode()).digest())
        self.stick = hashstick(_CLOUD_SEED, settings.current_tcb)
        if plan.cloud:
            self.bench.processor.snp_vlek_load(wrap(self.stick, self.bench.chip.wrapping_key()))

    @property
    def signs_with_vlek(self) -> bool:
        return self.plan.key_select == _VLEK or (self.plan.key_select == _EITHER and self.plan.cloud)

    def vcek(self, tcb: int | None = None, chip_id: bytes | None = None) -> bytes:
        chip, wanted = self.bench.chip, self.facts.reported_tcb if tcb is None else tcb
        return certificates.issue_vcek(
            self.facts.product,
            chip.vcek(wanted).public_key(),
            self.roots.ask,
            Validity(AT - timedelta(days=100), AT + timedelta(days=2457)),
            tcb=wanted,
            chip_id=chip_id or chip.chip_id,
        )

    def vlek(self, tcb: int | None = None) -> bytes:
        wanted = self.facts.reported_tcb if tcb is None else tcb
        return certificates.issue_vlek(
            self.facts.product,
            self.stick.lowered(wanted).key().public_key(),
            self.roots.asvk,
            Validity(AT - timedelta(days=100), AT + timedelta(days=265)),
            tcb=wanted,
            csp_id=CSP_ID,
        )

    def report(self) -> bytes:
        guest = self.bench.running(self.plan.guest_policy)
        asking = Channel(self.bench, guest, self.plan.vmpl)
        answer = asking.report(REPORT_DATA, key_select=self.plan.key_select)
        assert not answer.status
        self.measurement = guest.launch_digest
        return answer.report


def _settings(plan: _Plan) -> Configuration:
    product, model, stepping = _LINES.get(plan.line, (plan.line, None, None))
    settings = configuration(product, plan.version, mask_chip_id=plan.cloud)
    if model is not None:
        line = replace(settings.product, model=model, stepping=stepping or 0)
        settings = replace(settings, product=line)
    return replace(settings, **plan.settings)


def _older(product: str, component: str) -> int:
    """The product's TCB with one component one lower."""
    facts = PRODUCTS[product]
    return facts.tcb - (1 << 8 * facts.components[component])


def _other_chip(machine: _Machine) -> bytes:
    return Bench(machine.facts, b"\x77" * 32).chip.chip_id


_PLANS = {
    "turin-v5-vcek": _Plan("turin", 5),
    "turin-v3-vcek": _Plan("turin", 3),
    "turin-v2-vcek": _Plan("turin", 2),
    "turin-dense-v5-vcek": _Plan("turin-dense", 5),
    "turin-v5-all-platform-bits": _Plan("turin", 5, settings={"platform_info": 0xFF}),
    "turin-v5-reported-below-current": _Plan(
        "turin", 5, settings={"reported_tcb": _older("turin", "fmcSPL")}
    ),
    "turin-v5-vlek": _Plan("turin", 5, _EITHER, cloud=True),
    "genoa-v5-vlek": _Plan("genoa", 5, _EITHER, cloud=True),
    "genoa-v3-vlek-vmpl-1": _Plan("genoa", 3, _VLEK, cloud=True, vmpl=1),
    "genoa-v3-vlek-older-tcb": _Plan(
        "genoa", 3, _VLEK, cloud=True, settings={"reported_tcb": _older("genoa", "ucodeSPL")}
    ),
    "genoa-v3-vlek-chip-key-masked": _Plan("genoa", 3, _VLEK, cloud=True, settings={"mask_chip_key": True}),
    "milan-v3-vlek": _Plan("milan", 3, _EITHER, cloud=True),
    "milan-v2-vlek": _Plan("milan", 2, _VLEK, cloud=True),
    "milan-v3-vcek-of-a-cloud": _Plan("milan", 3, _VCEK, cloud=True),
    "genoa-v3-chip-masked": _Plan("genoa", 3, settings={"mask_chip_id": True}),
    "turin-v5-chip-masked": _Plan("turin", 5, settings={"mask_chip_id": True}),
    "bergamo-v3-vcek": _Plan("bergamo", 3),
    "siena-v5-vlek": _Plan("siena", 5, _EITHER, cloud=True),
    "turin-v5-debug": _Plan(
        "turin",
        5,
        guest_policy=_POLICY | _DEBUG,
        verdict="reject: debug allowed",
        check="snp.policy.debug",
    ),
    "genoa-v3-vlek-debug": _Plan(
        "genoa",
        3,
        _VLEK,
        cloud=True,
        guest_policy=_POLICY | _DEBUG,
        verdict="reject: debug allowed",
        check="snp.policy.debug",
    ),
    "turin-v5-unsigned": _Plan(
        "turin",
        5,
        settings={"mask_chip_key": True},
        verdict="reject: not signed",
        check="snp.signature.unsigned",
    ),
    "turin-v5-wrong-vcek": _Plan(
        "turin",
        5,
        certificate=lambda machine: _Machine(machine.plan, machine.roots, "another chip").vcek(),
        verdict="reject: report not signed by this VCEK",
        check="snp.signature",
    ),
    "turin-v5-vcek-of-another-tcb": _Plan(
        "turin",
        5,
        certificate=lambda machine: machine.vcek(_older("turin", "snpSPL")),
        verdict="reject: report not signed by this VCEK",
        check="snp.signature",
    ),
    "turin-v5-vcek-names-another-chip": _Plan(
        "turin",
        5,
        certificate=lambda machine: machine.vcek(chip_id=_other_chip(machine)),
        verdict="reject: hardware id is not the report's",
        check="snp.chip.certificate",
    ),
    "turin-v5-vlek-of-another-tcb": _Plan(
        "turin",
        5,
        _VLEK,
        cloud=True,
        certificate=lambda machine: machine.vlek(_older("turin", "snpSPL")),
        verdict="reject: report not signed by this VLEK",
        check="snp.signature",
    ),
    "genoa-v5-vlek-report-with-a-vcek": _Plan(
        "genoa",
        5,
        _VLEK,
        cloud=True,
        certificate=lambda machine: machine.vcek(),
        verdict="reject: the VLEK's authority did not issue this certificate",
        check="snp.chain.key",
    ),
    "genoa-v3-revoked-asvk": _Plan(
        "genoa",
        3,
        _VLEK,
        cloud=True,
        revoked=(0x20001, 0x20101),
        verdict="reject: intermediate revoked",
        check="snp.crl.revoked",
    ),
    "turin-v5-revoked-ask": _Plan(
        "turin",
        5,
        revoked=(0x30001,),
        verdict="reject: intermediate revoked",
        check="snp.crl.revoked",
    ),
    "genoa-v3-vlek-ask-revoked": _Plan("genoa", 3, _VLEK, cloud=True, revoked=(0x20002,)),
}

NAMES = tuple(_PLANS)
ACCEPTED = tuple(name for name, plan in _PLANS.items() if not plan.check)


@cache
def _roots() -> _Roots:
    return _Roots()


@cache
def row(name: str) -> SimulatedRow:
    """The row of that name, made when it is first asked for."""
    plan, roots = _PLANS[name], _roots()
    machine = _Machine(plan, roots, name)
    product = machine.facts.product
    ask, ark, asvk = roots.authorities(product)
    report = machine.report()
    right = machine.vlek if machine.signs_with_vlek else machine.vcek
    return SimulatedRow(
        name=name,
        report=report,
        certificate=plan.certificate(machine) if plan.certificate else right(),
        chain=(asvk if machine.signs_with_vlek else ask, ark),
        crl=roots.crl(product, plan.revoked),
        pin=roots.pin,
        expected=_expected(plan, machine),
        check=plan.check,
    )


def rows() -> dict[str, SimulatedRow]:
    """All rows, by name."""
    return {name: row(name) for name in NAMES}


def _expected(plan: _Plan, machine: _Machine) -> dict[str, Any]:
    """The facts, spelt as in the shared index."""
    facts = machine.facts
    product = facts.product
    masked = facts.mask_chip_id
    signer = "VLEK" if machine.signs_with_vlek else "none" if facts.mask_chip_key else "VCEK"
    expected: dict[str, Any] = {
        "report_version": plan.version,
        "product": product.kds,
        "signed_by": signer,
        "policy": hex(plan.guest_policy),
        "policy_debug": bool(plan.guest_policy & _DEBUG),
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
        "measurement": machine.measurement.hex(),
        "report_data": REPORT_DATA.hex(),
        "host_data": HOST_DATA.hex(),
        "chip_id": bytes(64).hex() if masked else machine.bench.chip.chip_id.hex(),
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
    roots = _roots()
    for product in (PRODUCTS[name] for name in ("milan", "genoa", "turin")):
        path = folder / f"snp/ca-roots/{product.name}-ask-ark-asvk.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(encode_certificate(der) for der in roots.authorities(product)))
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
    return roots.pin
