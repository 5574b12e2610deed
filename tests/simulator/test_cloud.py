"""A cloud at a simulated machine: its keys made once and kept, and published where AMD's service has them."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1  # type: ignore[import-untyped]  # it has no type information
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.machines import machine
from tests.simulator.bench import Bench, Channel, configuration
from tests.simulator.driving import platform, run
from tests.simulator.test_guest_messages import signature_holds
from wasmkeep.errors import SystemFailure, UsageError
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.evidence.snp.endorsement import OID
from wasmkeep.simulator import cloud as clouds
from wasmkeep.simulator import roots
from wasmkeep.simulator.cloud import Cloud
from wasmkeep.simulator.options import parse
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.vlek import unwrap

NAME = "CN=cc.cloud.example"
GENOA, TURIN = (replace(PRODUCTS[name], rsa_bits=2048) for name in ("genoa", "turin"))


def made(state: Path, product: object = GENOA, said: list[str] | None = None) -> Cloud:
    identity = roots.load_or_create(state, "one", product, lambda _: None)  # type: ignore[arg-type]
    return clouds.load_or_create(identity, NAME, (said if said is not None else []).append)


def certified(der: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(asn1.Certificate.load(der)["tbs_certificate"]["subject_public_key_info"].dump())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_a_cloud_is_made_once_and_kept_private(tmp_path: Path) -> None:
    said: list[str] = []
    first, again = made(tmp_path, said=said), made(tmp_path, said=said)
    assert len(said) == 1
    assert (first.seed, first.asvk_certificate) == (again.seed, again.asvk_certificate)
    folder = first.identity.folder / "cloud"
    assert {path.name for path in folder.iterdir()} == {"seed", "asvk.key", "asvk.der"}
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.seed.hex() not in repr(first)


@pytest.mark.parametrize("name", ["seed", "asvk.key", "asvk.der"])
@pytest.mark.parametrize("damage", ["missing", "cut", "readable"])
def test_a_damaged_cloud_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    path = made(tmp_path).identity.folder / "cloud" / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif name == "asvk.der":
        pytest.skip("a certificate is no secret")
    else:
        path.chmod(0o640)
    with pytest.raises(SystemFailure) as refused:
        made(tmp_path)
    assert refused.value.check == f"simulator.state.{'mode' if damage == 'readable' else 'damaged'}"


@pytest.mark.parametrize("product", [GENOA, TURIN], ids=["genoa", "turin"])
def test_what_is_published(tmp_path: Path, product: object) -> None:
    cloud = made(tmp_path, product)
    facts = cloud.identity.product
    endorser = roots.Endorser(cloud.identity)
    endorser.publish(revoke_ask=False)
    cloud.publish_chain(endorser.crl())
    issued = cloud.publish_vlek(facts.tcb)
    folder = cloud.identity.kds / "vlek" / "v1" / facts.kds
    asvk, ark = x509.load_pem_x509_certificates((folder / "cert_chain").read_bytes())
    names = [each.subject.get_attributes_for_oid(x509.OID_COMMON_NAME)[0].value for each in (asvk, ark)]
    assert names == [f"SEV-VLEK-{facts.kds}", f"ARK-{facts.kds}"]
    assert asvk.serial_number == facts.serial_base + 0x101
    assert (folder / "crl").read_bytes() == (cloud.identity.kds / f"vcek/v1/{facts.kds}/crl").read_bytes()
    name = facts.tcb_file_name(facts.tcb)
    assert (folder / "cert" / name).read_bytes() == issued
    extensions = {
        extension["extn_id"].dotted: bytes(extension["extn_value"])
        for extension in asn1.Certificate.load(issued)["tbs_certificate"]["extensions"]
    }
    assert extensions[OID["productName"]] == bytes((0x16, 5)) + facts.kds.encode()
    assert extensions[OID["cspID"]] == bytes((0x16, len(NAME))) + NAME.encode()
    assert OID["hwID"] not in extensions
    hwid = cloud.identity.chip.chip_id[: facts.chip_id_size].hex()
    wrapped = (folder / "hash_sticks" / hwid / name.replace(".der", ".bin")).read_bytes()
    stick = unwrap(wrapped, cloud.identity.chip.wrapping_key())
    assert stick is not None
    assert stick.key().public_key() == certified(issued)


def test_the_published_hashstick_is_what_the_chip_loads(tmp_path: Path) -> None:
    cloud = made(tmp_path)
    settings = configuration()
    bench = Bench(settings)
    bench.chip = cloud.identity.chip
    bench.processor = SecureProcessor(bench.chip, settings, bench.endorsed.append)
    bench.processor.snp_vlek_load(cloud.wrapped(settings.reported_tcb))
    raw = Channel(bench, bench.running()).report().report
    assert verifier.parse(raw).signing_key == verifier.SigningKey.VLEK
    assert signature_holds(raw, certified(cloud.publish_vlek(settings.reported_tcb)))


def test_a_machine_boots_with_a_clouds_key() -> None:
    booted = machine("--vlek", NAME, "--mask-chip-id", name="tests-cloud")

    async def status() -> bool:
        async with platform("process", "--vlek", NAME, "--mask-chip-id") as opened:
            return (await opened.status()).vlek_loaded

    assert (booted.kds / "vlek/v1/Genoa/cert_chain").is_file()
    assert run(status())


@pytest.mark.parametrize("name", ["", "x" * 65, "wölke", "a\nb"])
def test_a_name_that_no_certificate_carries(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(["--socket", "/run/machine", "--vlek", name])
    assert refused.value.check == "simulator.vlek"


def test_a_processor_without_snp_has_no_cloud() -> None:
    with pytest.raises(UsageError) as refused:
        parse(["--socket", "/run/machine", "--product", "rome", "--vlek", NAME])
    assert refused.value.check == "simulator.product"
