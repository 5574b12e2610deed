"""Simulated machines for evidence that the shared vectors lack: what each is like, its keys and certificates.

`PLANS` says by name which machine, what its guest asks for, and what is spoilt afterwards; `machine` makes
one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.simulator.bench import Bench, Channel, configuration
from wasmkeep.simulator import certificates
from wasmkeep.simulator.certificates import Validity, spki
from wasmkeep.simulator.products import PRODUCTS, Product
from wasmkeep.simulator.secure_processor import Configuration
from wasmkeep.simulator.vlek import hashstick, wrap

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
CSP_ID = "CN=cc-simulated.cloud.example"
REPORT_DATA = hashlib.sha512(b"a tenant's question").digest()
HOST_DATA = b"\x11" * 32  # what the bench's host gives every guest
DEBUG = 1 << 19
POLICY = 0x3_0000
_EITHER, _VCEK, _VLEK = 0, 1, 2  # KEY_SEL
_CLOUD_SEED = hashlib.sha256(b"a cloud's seed").digest()
_LINES = {"bergamo": ("genoa", 0xA0, 1), "siena": ("genoa", 0xA0, 2), "turin-dense": ("turin", 0x11, 0)}


@dataclass(frozen=True)
class Plan:
    """How a row is made: the machine, what the guest asks for, and what is spoilt afterwards."""

    line: str
    version: int
    key_select: int = _VCEK
    cloud: bool = False  # a VLEK is loaded, and its host masks the chip's identity
    vmpl: int = 0
    guest_policy: int = POLICY
    settings: dict[str, Any] = field(default_factory=dict)  # Any: fields of Configuration
    revoked: tuple[int, ...] = ()
    certificate: Callable[[Machine], bytes] | None = None  # in place of the right one
    verdict: str = "accept"
    check: str = ""


class Roots:
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


class Machine:
    """A bench of the planned kind and its certificates."""

    def __init__(self, plan: Plan, roots: Roots, name: str) -> None:
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


def _settings(plan: Plan) -> Configuration:
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


def _other_chip(machine: Machine) -> bytes:
    return Bench(machine.facts, b"\x77" * 32).chip.chip_id


PLANS = {
    "turin-v5-vcek": Plan("turin", 5),
    "turin-v3-vcek": Plan("turin", 3),
    "turin-v2-vcek": Plan("turin", 2),
    "turin-dense-v5-vcek": Plan("turin-dense", 5),
    "turin-v5-all-platform-bits": Plan("turin", 5, settings={"platform_info": 0xFF}),
    "turin-v5-reported-below-current": Plan("turin", 5, settings={"reported_tcb": _older("turin", "fmcSPL")}),
    "turin-v5-vlek": Plan("turin", 5, _EITHER, cloud=True),
    "genoa-v5-vlek": Plan("genoa", 5, _EITHER, cloud=True),
    "genoa-v3-vlek-vmpl-1": Plan("genoa", 3, _VLEK, cloud=True, vmpl=1),
    "genoa-v3-vlek-older-tcb": Plan(
        "genoa", 3, _VLEK, cloud=True, settings={"reported_tcb": _older("genoa", "ucodeSPL")}
    ),
    "genoa-v3-vlek-chip-key-masked": Plan("genoa", 3, _VLEK, cloud=True, settings={"mask_chip_key": True}),
    "milan-v3-vlek": Plan("milan", 3, _EITHER, cloud=True),
    "milan-v2-vlek": Plan("milan", 2, _VLEK, cloud=True),
    "milan-v3-vcek-of-a-cloud": Plan("milan", 3, _VCEK, cloud=True),
    "genoa-v3-chip-masked": Plan("genoa", 3, settings={"mask_chip_id": True}),
    "turin-v5-chip-masked": Plan("turin", 5, settings={"mask_chip_id": True}),
    "bergamo-v3-vcek": Plan("bergamo", 3),
    "siena-v5-vlek": Plan("siena", 5, _EITHER, cloud=True),
    "turin-v5-debug": Plan(
        "turin",
        5,
        guest_policy=POLICY | DEBUG,
        verdict="reject: debug allowed",
        check="snp.policy.debug",
    ),
    "genoa-v3-vlek-debug": Plan(
        "genoa",
        3,
        _VLEK,
        cloud=True,
        guest_policy=POLICY | DEBUG,
        verdict="reject: debug allowed",
        check="snp.policy.debug",
    ),
    "turin-v5-unsigned": Plan(
        "turin",
        5,
        settings={"mask_chip_key": True},
        verdict="reject: not signed",
        check="snp.signature.unsigned",
    ),
    "turin-v5-wrong-vcek": Plan(
        "turin",
        5,
        certificate=lambda machine: Machine(machine.plan, machine.roots, "another chip").vcek(),
        verdict="reject: report not signed by this VCEK",
        check="snp.signature",
    ),
    "turin-v5-vcek-of-another-tcb": Plan(
        "turin",
        5,
        certificate=lambda machine: machine.vcek(_older("turin", "snpSPL")),
        verdict="reject: report not signed by this VCEK",
        check="snp.signature",
    ),
    "turin-v5-vcek-names-another-chip": Plan(
        "turin",
        5,
        certificate=lambda machine: machine.vcek(chip_id=_other_chip(machine)),
        verdict="reject: hardware id is not the report's",
        check="snp.chip.certificate",
    ),
    "turin-v5-vlek-of-another-tcb": Plan(
        "turin",
        5,
        _VLEK,
        cloud=True,
        certificate=lambda machine: machine.vlek(_older("turin", "snpSPL")),
        verdict="reject: report not signed by this VLEK",
        check="snp.signature",
    ),
    "genoa-v5-vlek-report-with-a-vcek": Plan(
        "genoa",
        5,
        _VLEK,
        cloud=True,
        certificate=lambda machine: machine.vcek(),
        verdict="reject: the VLEK's authority did not issue this certificate",
        check="snp.chain.key",
    ),
    "genoa-v3-revoked-asvk": Plan(
        "genoa",
        3,
        _VLEK,
        cloud=True,
        revoked=(0x20001, 0x20101),
        verdict="reject: intermediate revoked",
        check="snp.crl.revoked",
    ),
    "turin-v5-revoked-ask": Plan(
        "turin",
        5,
        revoked=(0x30001,),
        verdict="reject: intermediate revoked",
        check="snp.crl.revoked",
    ),
    "genoa-v3-vlek-ask-revoked": Plan("genoa", 3, _VLEK, cloud=True, revoked=(0x20002,)),
}


@cache
def roots() -> Roots:
    """Made when first asked for, once a process."""
    return Roots()


def machine(name: str) -> Machine:
    """The machine that the plan of that name is for; the same chip each time."""
    return Machine(PLANS[name], roots(), name)
